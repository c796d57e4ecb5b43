"""What a run was begun with, in run.json in its folder: under anything else it is not resumed, nor written over."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .._files import replace
from .data import DataReport, PreferenceData
from .models import ADAPTER, MODEL, WEIGHTS, adapter_base, resolve_model
from .recipe import Recipe
from .training.checkpoints import checkpoints, latest_checkpoint

FILE = "run.json"

FINISHED = (*WEIGHTS, "adapter_model.*")
"""What a training that came to its end leaves beside its checkpoints."""

WORDS = {
    "objective": "the loss",
    "estimator": "the estimator",
    "aggregation": "the aggregation",
    "token_prefixes": "the token prefixes",
    "model": "the model",
    "adapter": "the adapter",
    "data": "the data",
    "max_length": "the maximal length",
    "seed": "the seed",
}
"""What has to be the same, and what it is called."""

BY_CONTENT = ("model", "data")
"""What may have been moved: it is the same if its digest is."""


def record_of(trainer: Any, recipe: Recipe) -> dict[str, Any]:
    """What a run depends on: for each of `WORDS` what it is called, and a digest where its name does not settle it."""
    config = trainer.args
    peft = getattr(trainer.model, "peft_config", {}).get("default")
    data = recipe.script.dataset_name or json.dumps(recipe.mixture.datasets, default=repr)
    named: dict[str, tuple[Any, str]] = {
        "objective": (repr(trainer.objective), _own_files(config.objective)),
        "estimator": (trainer.estimator, ""),
        "aggregation": (config.aggregation, ""),
        "token_prefixes": (config.token_prefixes, ""),
        "model": (recipe.model_name, model_digest(resolve_model(recipe.model_name)) or recipe.model.model_revision),
        "adapter": (None, "") if peft is None else (str(peft.peft_type.value), _digest(repr(_plain(peft)))),
        "data": (data, data_digest(trainer.train_dataset)),
        "max_length": (config.max_length, ""),
        "seed": (config.seed, ""),
    }
    found = {key: {"is": value, "digest": digest} for key, (value, digest) in named.items()}
    return found | {"version": version("expo-analysis")}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What another run was begun with, in words, one for each of `WORDS` that is not the same."""
    found = []
    for key, word in WORDS.items():
        old, new = before.get(key), now[key]
        moved = key in BY_CONTENT and new["digest"] and old is not None and old["digest"] == new["digest"]
        if old is None or old == new or moved:
            continue
        if old["is"] != new["is"]:
            found.append(f"{word} {old['is']}, and this is {new['is']}")
        else:
            found.append(f"{word} {old['is']} as it was then, and its content has changed")
    return found


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
        raise ValueError(
            f"resume: {folder} was begun with {'; with '.join(found)}: resume with the same, or choose another "
            "output_dir"
        )


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write the record of a run, if there is none: a run that is resumed keeps that of its beginning."""
    if not (folder / FILE).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / FILE, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


def reference_of(name: str) -> str:
    """What a model was trained from: as its run.json says, or the base of an adapter.

    Raises:
        ValueError: naming the model, where neither is known.
    """
    folder = Path(resolve_model(name))
    file = folder / FILE
    if file.is_file():
        try:
            return str(json.loads(file.read_text(encoding="utf-8"))["model"]["is"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{file}: it is damaged; give --reference") from None
    base = adapter_base(folder)
    if base is None:
        raise ValueError(f"model {name!r}: it has no {FILE} that says what it was trained from; give --reference")
    return base


def where_to_start(recipe: Recipe, say: Callable[[str], None]) -> str | None:
    """The checkpoint to resume from, or None to start afresh.

    Raises:
        ValueError: where ``output_dir`` has a model or checkpoints, and neither resume nor overwrite is asked for.
    """
    folder = Path(recipe.config.output_dir)
    if recipe.script.resume and recipe.script.overwrite:
        raise ValueError("give resume or overwrite, not both")
    if Path(recipe.model_name).expanduser().resolve() == folder.resolve():
        raise ValueError(f"output_dir must not be the folder of the model that is trained, {str(folder)!r}")
    if recipe.script.overwrite:
        return None
    model = next((path.name for pattern in FINISHED for path in folder.glob(pattern)), None)
    if recipe.script.resume:
        found, passed = latest_checkpoint(folder)
        for line in passed:
            say(f"not resumed from {line}")
        if found is None and model is not None:
            raise ValueError(
                f"resume: output_dir {str(folder)!r} has a model, {model}, and no complete checkpoint: give another "
                "output_dir, or --overwrite to start afresh"
            )
        say(f"resuming from {found}" if found else f"{folder} has no complete checkpoint: starting afresh")
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
    for pattern in (*FINISHED, FILE, "summary.json", "trainer_state.json"):
        for path in folder.glob(pattern):
            path.unlink()


def data_digest(rows: Any) -> str:
    """A digest of all tokens; empty for a stream, whose rows are not known beforehand."""
    return PreferenceData("train_dataset", rows, DataReport("train_dataset"), "", "", None).fingerprint


def model_digest(name: str) -> str:
    """A digest of a folder's weights and settings, by samples of the files; empty for a model of the Hub."""
    folder = Path(name)
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for pattern in (MODEL, ADAPTER, *FINISHED):
        for path in sorted(folder.glob(pattern)):
            size = path.stat().st_size
            digest.update(f"{path.name} {size}\n".encode())
            with path.open("rb") as file:
                for place in range(64):  # training changes nearly all weights, so that a few tell
                    file.seek(size * place // 64)
                    digest.update(file.read(4096))
    return digest.hexdigest()[:16]


def _own_files(objective: Any) -> str:
    """A digest of the files of the user's own losses, whose formulas their names do not tell."""
    named = objective if isinstance(objective, list) else [objective]
    files = [text.rpartition(":")[0] for text in named if isinstance(text, str) and ":" in text]
    return _digest("".join(Path(file).read_text(encoding="utf-8") for file in files)) if files else ""


def _plain(peft: Any) -> list[tuple[str, Any]]:
    """Settings of an adapter, all in order; without where it came from and what training sets."""
    left_out = ("base_model_name_or_path", "inference_mode", "revision", "peft_version")
    settings = {name: value for name, value in peft.to_dict().items() if name not in left_out}
    return sorted((name, sorted(value) if isinstance(value, set) else value) for name, value in settings.items())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
