r"""Fine-tune a language model from a recipe: the one entry behind ``expo-analysis finetune``.

    expo-analysis finetune --config recipe.yaml
    accelerate launch --config_file $(expo-analysis recipes zero2) --num_processes 4 \\
        -m expo_analysis.llm.finetune --config recipe.yaml

What a recipe is, `recipe` says; what is left of a run in its folder, `run_record`, `summary` and `checkpoints`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PrinterCallback, ProgressCallback

from .._errors import one_sentence
from .._files import replace
from ..own_file import in_words
from .data import read_split
from .data.splits import DataRecipe
from .data.splits import load_pairs as load
from .interrupt import CODES, NAMES, StopAndSave
from .models import adapter_base, find_model
from .progress import LogEnds, ShowProgress
from .recipe import Recipe, list_options, parse
from .recipe_file import RECIPES
from .run_record import SUMMARY, BadStart, Begin, all_done, check_resumed, finished_before, record_of, where_to_start
from .summary import print_summary, summarise
from .training import NonFiniteLoss, PreferenceTrainer, identity
from .training._trl import get_peft_config
from .training._trl import get_quantization_config as quantization
from .training.checkpoints import latest_checkpoint

__all__ = ["RECIPES", "list_options", "load_pairs", "main", "make_trainer", "parse", "run", "set_up", "where_to_start"]


def load_pairs(recipe: Recipe, say: Any) -> tuple[Any, Any]:
    """Training and evaluation data of a recipe, as rows with the place that they come from."""
    script, mixture, config = recipe.script, recipe.mixture, recipe.config
    return load(
        DataRecipe(
            name=script.dataset_name,
            config=script.dataset_config,
            mixture=mixture.datasets,
            train_split=script.dataset_train_split,
            test_split=script.dataset_test_split,
            test_split_size=mixture.test_split_size,
            evaluated=config.eval_strategy != "no",
            columns=script.columns,
            max_train_rows=script.max_train_rows,
            preparation=script.preparation,
            streaming=script.dataset_streaming or mixture.streaming,
            seed=config.seed,
        ),
        say,
    )


def tell_of_unused(recipe: Recipe, say: Any) -> None:
    """Say which settings have no effect on the command, beside those that have none on a trainer."""
    script, config = recipe.script, recipe.config
    evaluated = config.eval_strategy != "no"
    if config.do_predict or (config.do_eval and not evaluated):
        say("do_eval, do_predict have no effect here: eval_strategy says when to evaluate while training")
    if script.dataset_test_split != "test" and not evaluated:
        say("dataset_test_split has no effect without an evaluation: set eval_strategy")
    if recipe.mixture.test_split_size is not None and not evaluated:
        say("test_split_size only takes rows from the training data without an evaluation: set eval_strategy")


def make_trainer(recipe: Recipe, say: Any) -> PreferenceTrainer:
    """The trainer of a recipe, data checked and model loaded."""
    script, config, model = recipe.script, recipe.config, recipe.model
    tell_of_unused(recipe, say)
    name = find_model(recipe.model_name, model.model_revision)
    train, test = load_pairs(recipe, say)
    optimal = None
    if script.optimal_dataset is not None:
        optimal = read_split(script.optimal_dataset, script.dataset_train_split)
    given = {"revision": model.model_revision, "attn_implementation": model.attn_implementation, "dtype": model.dtype}
    settings: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    more: Any = config.model_init_kwargs or {}
    config.model_init_kwargs = settings = settings | more
    if adapter_base(name) is not None and model.use_peft:
        raise ValueError(f"use_peft is not used by {name}, which is an adapter itself and is trained further")
    with loading(name):
        trainer = PreferenceTrainer(
            name,
            args=config,
            train_dataset=train,
            eval_dataset=test,
            optimal_dataset=optimal,
            quantization_config=quantization(model),
            peft_config=get_peft_config(model),
        )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(LogEnds())
    if not config.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(ShowProgress())
    return trainer


@contextlib.contextmanager
def loading(name: str) -> Iterator[None]:
    """Name the model where what reads its files has exceptions of its own, or says nothing of the file.

    Raises:
        ValueError: naming the model, instead of these.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("safetensors", "tokenizers", "json", "pickle", "_pickle", "zipfile")):
            raise
        raise ValueError(f"model {name!r}: its files cannot be read: {in_words(error)}") from error


def _evaluated_at(state: Any) -> bool:
    """Whether the last step was evaluated already."""
    return any("eval_loss" in entry and entry["step"] == state.global_step for entry in state.log_history)


def run(trainer: PreferenceTrainer, recipe: Recipe, checkpoint: str | None, say: Any) -> int:
    """Train, save, evaluate, and print the summary.

    Returns:
        The exit code: 0 for a training that is done; for one that was stopped after saving, 130 by Ctrl-C and 143 by
        SIGTERM.
    """
    folder = Path(trainer.args.output_dir)
    before = all_done(trainer, recipe, checkpoint)
    if before:
        say(f"{folder} is finished, with all of its {before['steps']} steps: nothing in it was changed")
        return _end(trainer, recipe, before, 0)
    start = time.perf_counter()
    begin, stop = Begin(trainer, recipe, checkpoint, say), StopAndSave()
    trainer.add_callback(begin)
    trainer.add_callback(stop)
    with contextlib.redirect_stdout(sys.stderr):
        with stop, begin:  # only while training
            trainer.train(resume_from_checkpoint=checkpoint)
        finished = trainer.state.global_step >= trainer.state.max_steps
        if finished:
            trainer.save_model(trainer.args.output_dir)  # first: an evaluation may take long, and be interrupted
            if trainer.eval_dataset is not None and not _evaluated_at(trainer.state):
                trainer.evaluate()
            trainer.save_state()
    summary = summarise(trainer, time.perf_counter() - start, finished)
    if trainer.is_world_process_zero():
        replace(folder / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
        if not finished:
            saved, _ = latest_checkpoint(folder)
            how = "" if stop.received is None else f" by {NAMES[stop.received]}"
            where = (
                f"saved {saved}: resume with --resume" if saved else "there is no complete checkpoint to resume from"
            )
            say(f"stopped{how} after step {summary['steps']} of {summary['max_steps']}; {where}")
    return _end(trainer, recipe, summary, 0 if finished or stop.received is None else CODES[stop.received])


def _end(trainer: PreferenceTrainer, recipe: Recipe, summary: dict[str, Any], code: int) -> int:
    """Print the summary, and end all processes with this code."""
    if trainer.is_world_process_zero():
        if recipe.script.json:
            print(json.dumps(summary, indent=2))
        else:
            print_summary(summary)
    # together: a launcher ends all processes when the first one has ended with a code that is not 0
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    return code


def say_on_stderr(line: str) -> None:
    """A line for whoever watches, from one process only."""
    if os.environ.get("RANK", "0") != "0":
        return
    Console(stderr=True).print(line, soft_wrap=True, markup=False, highlight=False)


class OneLine(logging.Handler):
    """What the trainer has to say, as it is said here: a line each, from one process, without what accelerate adds."""

    def emit(self, record: logging.LogRecord) -> None:
        say_on_stderr(re.sub(r"^\[RANK \d+\] ", "", record.getMessage()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a recipe, as ``python -m expo_analysis.llm.finetune``.

    Returns:
        The exit code: 0 done, 1 for a loss that is not finite, 2 for bad input, 130 and 143 for a training that Ctrl-C
        or SIGTERM ended.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help", "--list_options"} & set(arguments):
        print(list_options())
        return 0
    try:
        try:
            recipe, trainer, checkpoint = set_up(arguments)
        except Exception as error:
            sentence = one_sentence(error)
            if sentence is None:
                raise
            say_error(sentence)
            return 2
        return run(trainer, recipe, checkpoint, say_on_stderr)
    except BadStart as error:
        say_error(str(error))
        return 2
    except NonFiniteLoss as error:
        say_error(str(error))
        return 1
    except KeyboardInterrupt:
        say_on_stderr("interrupted: nothing was saved beyond what is in output_dir")
        return 130


def say_error(sentence: str) -> None:
    """Why it ends, from every process: what is wrong may be wrong in one of them only."""
    rank = os.environ.get("RANK", "0")
    line = f"{'' if rank == '0' else f'[process {rank}] '}Error: {sentence}"
    Console(stderr=True).print(line, soft_wrap=True, markup=False, highlight=False)


def set_up(arguments: Sequence[str]) -> tuple[Recipe, PreferenceTrainer, str | None]:
    """Everything that can go wrong by bad input: recipe, trainer, and checkpoint to resume from."""
    # TRL uses names of transformers that are about to change; nobody who runs a recipe can do anything about that.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    log = logging.getLogger(__name__.split(".")[0])
    if not any(isinstance(handler, OneLine) for handler in log.handlers):
        log.addHandler(OneLine())
        log.propagate = False
    with contextlib.redirect_stdout(sys.stderr):  # of libraries, DeepSpeed for one: results are alone on the other
        recipe = parse(arguments)
        checkpoint = where_to_start(recipe, say_on_stderr)
        trainer = make_trainer(recipe, say_on_stderr)
        if checkpoint is not None or (recipe.script.resume and finished_before(Path(recipe.config.output_dir))):
            check_resumed(Path(recipe.config.output_dir), record_of(trainer, recipe))
        if checkpoint is not None:
            identity.check(checkpoint, trainer.identity.parts(trainer))
        return recipe, trainer, checkpoint


if __name__ == "__main__":
    sys.exit(main())
