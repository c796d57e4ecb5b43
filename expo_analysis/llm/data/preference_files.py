"""The files of a data set that `make_preferences` made: its rows, its settings, and what was sampled for it."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pandas as pd

from ..._files import replace
from .preferences import Preferences

FORMATS = (".jsonl", ".parquet")
PACKAGES = ("numpy", "torch", "transformers")


class NoPairs(ValueError):
    """Nothing to write: no two responses to a prompt can be compared."""


COLUMNS = {
    "prompt": "as given: plain text or a conversation",
    "chosen": "the response that won, text or a conversation of one message",
    "rejected": "the response that lost",
    "prompt_index": "the prompt's row in its file, from 0 on",
    "chosen_index": "the number of the response among those to its prompt",
    "rejected_index": "the same of the other",
    "score_chosen": "the reward; log pi_ref(y | x) where there is no other",
    "score_rejected": "the same of the other",
    "label_probability": "p*(chosen > rejected | x), with which this label was drawn",
    "labelled_by": "'reward', or 'reference' where p* is the reference's own",
    "ref_logp_chosen": "log pi_ref(y | x) in nats, of the tokens in chosen_ids, at temperature 1",
    "ref_logp_rejected": "the same of the other",
    "prompt_ids": "the prompt's tokens",
    "chosen_ids": "the tokens that were sampled, with an end token unless the response was cut",
    "rejected_ids": "the same of the other",
    "reference_sample_ids": "tokens of further samples of the reference, where they were asked for",
}


def paths_of(output: Path) -> dict[str, Path]:
    """The files that belong to a data set: itself, its settings, and the journal.

    Raises:
        ValueError: if its name ends in neither .jsonl nor .parquet.
    """
    if output.suffix not in FORMATS or not output.stem:
        raise ValueError(f"output must be a file whose name ends in {' or '.join(FORMATS)}, got {str(output)!r}")
    return {
        "data": output,
        "settings": output.with_suffix(".settings.json"),
        "responses": output.with_suffix(".responses.jsonl"),
    }


def write_preferences(output: Path, made: Preferences, settings: dict[str, Any]) -> dict[str, Any]:
    """Write the data set and beside it ``NAME.settings.json``, each whole or not at all; returns the latter.

    Args:
        output: its ending says whether JSON lines or parquet is written.
        settings: to be written with the counts, the columns' meaning and the versions of packages.
    """
    if not made.rows:
        raise NoPairs(
            "no pair is left to write: every two responses to a prompt are equal, or one is empty "
            f"({made.counts['pairs_skipped_equal']} and {made.counts['pairs_skipped_empty']} pairs)"
        )
    files = paths_of(output)
    document = {
        "settings": settings,
        "counts": made.counts,
        "columns": {name: meaning for name, meaning in COLUMNS.items() if name in made.rows[0]},
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    if output.suffix == ".jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in made.rows)
        content = text.encode()
    else:
        content = pd.DataFrame(made.rows).to_parquet(index=False)
    replace(output, content)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace(files["settings"], text.encode())
    return document
