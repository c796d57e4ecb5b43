"""What a run was begun with, in run.json in its folder: under anything else it is not resumed, nor written over."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from .._errors import one_sentence
from .._files import from_home, replace
from .models import ADAPTER, MODEL, WEIGHTS, adapter_base, resolve_model
from .recipe import Recipe
from .training import NonFiniteLoss, identity
from .training.checkpoints import checkpoints, latest_checkpoint

FILE, SUMMARY = "run.json", "summary.json"

MAIN = "main"
"""The revision of a model of the Hub that is loaded where none is asked for."""

FINISHED = (*WEIGHTS, "adapter_model.*")
"""What a training that came to its end leaves beside its checkpoints."""

WORDS = {
    **identity.WORDS,
    "model": "initial model",
    "data": "data",
    "max_length": "max_length",
}
"""What has to be the same beside `identity.SETTINGS`, and what it is called."""


def record_of(trainer: Any, recipe: Recipe) -> dict[str, Any]:
    """What a run depends on: the identity of its training, and what model, data and files of losses are called."""
    folder = resolve_model(recipe.model_name)
    data = recipe.script.dataset_name or json.dumps(recipe.mixture.datasets, default=repr)
    parts = trainer.identity.parts(trainer) | {
        "model": model_digest(folder) or recipe.model.model_revision,  # of what is on the disk: quick, for any run
        "data": trainer.data.fingerprint,
        "max_length": trainer.args.max_length,
    }
    names = {"model": recipe.model_name, "data": data}
    return {"is": parts, "names": names, "version": version("expo-analysis")}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What another run was begun with, in words, one for each of `WORDS`, and each setting, that is not the same."""
    found = []
    for key, word in WORDS.items():
        if key not in before["is"] or before["is"][key] == now["is"].get(key):
            continue
        old, new = (record["names"].get(key, record["is"].get(key)) for record in (before, now))
        if key == "adapter" and before["is"][key] is None:
            found.append("without an adapter, and this has one")
        elif key == "adapter" and now["is"].get(key) is None:
            found.append("an adapter, and this has none")
        elif key in ("adapter", "files"):
            found.append(f"another {word}")
        elif old != new:
            found.append(f"the {word} {old}, and this is {new}")
        else:
            found.append(f"the {word} {old} with another content")
    changed = identity.changed_settings(before["is"], now["is"])
    return found + [f"{name} {old!r}, and this is {new!r}" for name, old, new in changed]


def check_resumed(folder: Path, record: dict[str, Any]) -> None:
    """Compare a run that is to be resumed with its record; one without a record may be anything.

    Raises:
        ValueError: naming what the run in this folder was begun with, where that is something else.
    """
    file = folder / FILE
    if not file.is_file():
        return
    try:
        found = differences(json.loads(file.read_text(encoding="utf-8")), record)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{file}: it is damaged; remove it to resume without it") from None
    if found:
        said = "; ".join(words if words.startswith("without ") else f"with {words}" for words in found)
        raise ValueError(f"resume: {folder} was begun {said}: resume with the same, or choose another output_dir")


def finished_before(folder: Path) -> dict[str, Any]:
    """The summary of a run in this folder that came to its end, with its model beside it; empty where there is none."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = isinstance(summary, dict) and {"steps", "max_steps", "metrics", "steps_shown"} <= summary.keys()
    return summary if known and summary.get("finished") and _model_in(folder) is not None else {}


def all_done(trainer: Any, recipe: Recipe, checkpoint: str | None) -> dict[str, Any]:
    """The summary of a run that is to be resumed and has done all of its steps; empty where there are some to do.

    Raises:
        BadStart: where more steps are asked for than a finished run has, and there is no checkpoint to go on from.
    """
    folder = Path(trainer.args.output_dir)
    before = finished_before(folder) if recipe.script.resume else {}
    if not before or before["max_steps"] == steps_asked(trainer):
        return before
    if checkpoint is None:
        raise BadStart(
            f"resume: {folder} is finished, with all of its {before['steps']} steps, and has no complete checkpoint "
            f"from which to go on to {steps_asked(trainer)}: give another output_dir, or --overwrite to start afresh"
        )
    return {}


def steps_asked(trainer: Any) -> int:
    """How many steps a training is to have, as transformers counts them."""
    args = trainer.args
    if args.max_steps > 0:
        return int(args.max_steps)
    an_epoch = max(math.ceil(len(trainer.get_train_dataloader()) / args.gradient_accumulation_steps), 1)
    return math.ceil(args.num_train_epochs * an_epoch)


def _model_in(folder: Path) -> str | None:
    """The file of a model's weights, or of an adapter's, that a training has left here; None where there is none."""
    return next((path.name for pattern in FINISHED for path in folder.glob(pattern)), None)


def write_record(folder: Path, record: dict[str, Any], anew: bool) -> None:
    """Write the record of a run that begins anew; one that is resumed keeps that of its beginning, if it has one."""
    if anew or not (folder / FILE).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / FILE, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


def reference_of(name: str) -> str:
    """What a model was trained from: as its run.json says, or the base of an adapter.

    Raises:
        ValueError: naming the model, where neither is known, or where what was trained from is there no longer: another
            model lies in its folder, or it is another revision than the one that would be loaded.
    """
    folder = Path(resolve_model(name))
    file = folder / FILE
    if file.is_file():
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            reference, before = str(record["names"]["model"]), record.get("is", {}).get("model")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{file}: it is damaged; give --reference") from None
        _check_same(name, reference, before)
        return reference
    base = adapter_base(folder)
    if base is None:
        raise ValueError(f"model {name!r}: it has no {FILE} that says what it was trained from; give --reference")
    revision = json.loads((folder / ADAPTER).read_text(encoding="utf-8")).get("revision")
    _check_same(name, base, None if Path(base).is_dir() else revision)
    return base


def _check_same(name: str, reference: str, before: str | None) -> None:
    """Raise where a reference is not what a model was trained from, by its digest or revision; None is unknown."""
    now = model_digest(resolve_model(reference)) or MAIN
    if before in (None, now):
        return
    if now == MAIN:
        raise ValueError(
            f"model {name!r}: it was trained from {reference}, {before}, and what would be loaded is the Hub's {MAIN}: "
            "give --reference with a folder of what it was trained from"
        )
    raise ValueError(
        f"model {name!r}: it was trained from {reference}, and what lies there now is another model (its digest was "
        f"{before}, and is {now}): give --reference with what it was trained from, or --reference {reference} for what "
        "lies there now"
    )


def where_to_start(recipe: Recipe, say: Callable[[str], None]) -> str | None:
    """The checkpoint to resume from, or None to start afresh.

    Raises:
        ValueError: where ``output_dir`` has a model or checkpoints, and neither resume nor overwrite is asked for.
    """
    folder = Path(recipe.config.output_dir)
    if recipe.script.resume and recipe.script.overwrite:
        raise ValueError("give resume or overwrite, not both")
    if from_home(recipe.model_name).resolve() == folder.resolve():
        raise ValueError(f"output_dir must not be the folder of the model that is trained, {str(folder)!r}")
    if recipe.script.overwrite:
        return None
    model = _model_in(folder)
    if recipe.script.resume:
        found, passed = latest_checkpoint(folder)
        for line in passed:
            say(f"not resumed from {line}")
        if found is None and finished_before(folder):
            return None  # whether that is all that was asked for, the trainer will know
        if found is None and model is not None:
            raise ValueError(
                f"resume: output_dir {str(folder)!r} has a model, {model}, and no complete checkpoint: give another "
                "output_dir, or --overwrite to start afresh"
            )
        if found is None:
            say(f"{folder} has no complete checkpoint: starting afresh")
        return None if found is None else str(found)
    if checkpoints(folder):
        raise ValueError(f"output_dir {str(folder)!r} has checkpoints already: give --resume, or --overwrite")
    if model is not None:
        raise ValueError(
            f"output_dir {str(folder)!r} has a model already, {model}: give another output_dir, or --overwrite"
        )
    return None


def clear(folder: Path) -> None:
    """Remove what an earlier run left: its checkpoints, model and summary would be taken for the next one's."""
    for path in checkpoints(folder):
        shutil.rmtree(path)
    for pattern in (*FINISHED, MODEL, ADAPTER, "generation_config.json", FILE, SUMMARY, "trainer_state.json"):
        for path in folder.glob(pattern):
            path.unlink()


class BadStart(ValueError):
    """What a training could not begin with."""


class Begin(TrainerCallback):
    """What is done once a first step is: then a run has begun, and what an earlier one left is in its way.

    It is a context manager too. Before a step is done, what fails is the input's fault: settings that nobody had read,
    a loss of one's own. So long nothing is removed.

    Raises:
        BadStart: instead of an error that has a sentence to say.
    """

    def __init__(self, trainer: Any, recipe: Recipe, checkpoint: str | None, say: Callable[[str], None]) -> None:
        self.trainer, self.overwrite, self.done = trainer, recipe.script.overwrite, False
        self.checkpoint, self.say = checkpoint, say
        self.record = record_of(trainer, recipe)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.checkpoint is not None and state.global_step < state.max_steps:
            self.say(f"resuming from {self.checkpoint}")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.done:
            return
        self.done = True
        folder = Path(args.output_dir)
        if state.is_world_process_zero:
            if self.overwrite:
                clear(folder)
            write_record(folder, self.record, anew=self.checkpoint is None)
        self.trainer.accelerator.wait_for_everyone()  # before any of them saves

    def __enter__(self) -> Begin:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self.done or not isinstance(error, Exception) or isinstance(error, NonFiniteLoss):
            return
        sentence = one_sentence(error)
        if sentence is not None:
            raise BadStart(sentence) from error


def model_digest(name: str) -> str:
    """A digest of a folder's weights and settings, by samples of the files; empty for a model of the Hub.

    Of an adapter it is that of its base model too.
    """
    folder = Path(name)
    if not folder.is_dir():
        return ""
    base = adapter_base(folder)
    digest = hashlib.sha256(b"" if base is None else model_digest(base).encode())
    for pattern in (MODEL, ADAPTER, *FINISHED):
        for path in sorted(folder.glob(pattern)):
            size = path.stat().st_size
            digest.update(f"{path.name} {size}\n".encode())
            with path.open("rb") as file:
                for place in range(64):  # training changes nearly all weights, so that a few tell
                    file.seek(size * place // 64)
                    digest.update(file.read(4096))
    return digest.hexdigest()[:16]
