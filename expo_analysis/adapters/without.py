"""Packages that people train preferences with, without a loss of their own that could be compared here.

Looked at by hand, on the date and in the versions that are stated.
"""

from __future__ import annotations

LOOKED = "2026-11-29"

WITHOUT = {
    "aligntune": "0.1.28 calls the trainers of TRL and Unsloth, and ships copies of them",
    "align-anything": "0.0.1b0, the only release, is an empty package",
    "alignment-handbook": "0.3.0 has recipes for TRL's trainers",
    "autotrain-advanced": "0.8.36 calls TRL's trainers",
    "h2o-llmstudio": "no release on PyPI",
    "halos": "no release on PyPI",
    "litalign": "0.0.3 has no loss",
    "lmflow": "0.0.1.dev0, the only release, is an empty package",
    "maxtext": "0.2.5 calls Tunix's trainer",
    "merlina": "3.0.0 calls TRL's trainers",
    "nanodpo": "0.1.post1 trains by a margin ranking loss of scores: no log-probabilities, no reference",
    "nanorlhf": "1.0.0 has no loss of pairs",
    "ntf": "1.0.0 calls TRL's trainers",
    "nemo-rl": "0.0.0, the only release, is an empty package",
    "paddlenlp": "2.8.1 has no loss of pairs",
    "palm-rlhf-pytorch": "0.8.0 has no loss of pairs of responses",
    "realhf": "0.3.0 is a source distribution whose build fails here",
    "rlax": "0.1.9 has no loss of pairs",
    "rlinf": "0.3.0 has no loss of pairs of responses",
    "torchrl": "0.14.1 has no loss of pairs",
    "trlx": "no release on PyPI",
    "verl": "0.9.1 has no loss of pairs",
}
"""Why a package is not in the census, by its name."""
