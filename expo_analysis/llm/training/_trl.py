"""Everything that this package takes from TRL, in one place: how recipes are parsed, and nothing of its trainers.

All of it is public and documented. `NAMES` says what each is taken for; the tests have one for each of them.
"""

from __future__ import annotations

from .versions import check_version

check_version("trl")

from trl import (  # noqa: E402
    DatasetMixtureConfig,
    ModelConfig,
    ScriptArguments,
    TrlParser,
    get_dataset,
    get_peft_config,
    get_quantization_config,
)

NAMES = {
    "TrlParser": "a recipe in YAML, overridden by flags, into dataclasses",
    "ScriptArguments": "names of data sets and splits",
    "ModelConfig": "the model, its adapter and its quantisation",
    "DatasetMixtureConfig": "several data sets in one",
    "get_dataset": "reads them",
    "get_peft_config": "the adapter that a ModelConfig describes",
    "get_quantization_config": "the quantisation that a ModelConfig describes",
}

__all__ = [
    "NAMES",
    "DatasetMixtureConfig",
    "ModelConfig",
    "ScriptArguments",
    "TrlParser",
    "get_dataset",
    "get_peft_config",
    "get_quantization_config",
]
