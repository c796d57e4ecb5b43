"""Settings of a run, from what lies beside its log; nothing is unpickled."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import divergences
from ..losses import CATALOGUE, PairObjective
from ..losses.trl import TRL_LOSSES, from_trl

FILES = (
    *("preference_training.json", "run.json", "training_args.json", "args.json", "all_args.json"),
    *("train_config.json", "dpo_config.json", "summary.json"),
)
"""Files that settings are looked for in, beside the log, in the newest checkpoint and in the folder above."""

CARD = re.compile(r"trained with \[?(DPO|CPO|KTO|ORPO|BCO)\b", re.IGNORECASE)
"""The sentence of TRL's model cards."""

WANTED = ("learning_rate", "train_batch_size", "per_device_train_batch_size", "gradient_accumulation_steps")


def settings_beside(folder: Path) -> dict[str, Any]:
    """All that is known from the files beside a log: ``objective``, ``lam``, ``learning_rate`` ..., by name."""
    found: dict[str, Any] = {}
    newest = sorted(folder.glob("checkpoint-*"), key=_number)[-1:]
    above = [folder.parent] if folder.name.startswith("checkpoint-") else []
    for place in (folder, *newest, *above):
        for name in FILES:
            try:
                read = json.loads((place / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(read, dict):
                found = {**settings_of(read), **found}
        found = {**_card(place / "README.md"), **found}
    return found


def _number(folder: Path) -> int:
    """Of which step a checkpoint is; -1 for a folder that is none."""
    last = folder.name.rpartition("-")[2]
    return int(last) if last.isdigit() else -1


def _card(file: Path) -> dict[str, Any]:
    """The trainer that TRL's model card names, which is not yet a loss: the DPO trainer has fifteen."""
    try:
        named = CARD.search(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {} if named is None else {"trainer": named[1].upper()}


def settings_of(read: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a JSON document has: this package's identity of a training, or arguments of a trainer."""
    found: dict[str, Any] = {name: read[name] for name in WANTED if isinstance(read.get(name), int | float)}
    for inner in ("is", "settings"):
        if isinstance(read.get(inner), dict):
            found |= settings_of(read[inner])
    text = read.get("objective")
    if isinstance(text, str):
        made = parsed(text)
        found |= {"objective_text": text} if made is None else {"objective": made}
    if "aggregation" in read and isinstance(read["aggregation"], list):
        found["averaged"] = read["aggregation"] == ["mean"]
    found |= _trl(read)
    return found


def _trl(read: Mapping[str, Any]) -> dict[str, Any]:
    """The loss that arguments of TRL's trainers name."""
    beta, kind = read.get("beta"), read.get("loss_type")
    if isinstance(kind, list) and len(kind) == 1:
        kind = kind[0]
    if not isinstance(beta, int | float) or isinstance(beta, bool):
        return {}
    if "cpo_alpha" in read:  # of CPO's trainer, whose beta is inside of a loss of its own
        return {"beta": float(beta), "trainer": "CPO"}
    if not isinstance(kind, str) or kind not in TRL_LOSSES:
        return {"beta": float(beta), **({"objective": CATALOGUE["kto"](beta)} if kind == "kto" else {})}
    smoothing = read.get("label_smoothing") or 0.0
    try:
        return {"beta": float(beta), "objective": from_trl(kind, float(beta), label_smoothing=float(smoothing))}
    except (TypeError, ValueError):
        return {"beta": float(beta)}


def parsed(text: str) -> PairObjective | None:
    """The objective that this package's `repr` of one says; None for a sum of several, and for one's own.

    Example:
        >>> parsed("DPO(lam=0.1, label_smoothing=0.0, robust=False)").lam
        0.1
    """
    classes: dict[str, Any] = {cls.__name__: cls for cls in CATALOGUE.values()}
    classes |= {name: value for name, value in vars(divergences).items() if isinstance(value, type)}

    def value_of(node: ast.expr) -> Any:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            return classes[node.func.id](**{str(own.arg): value_of(own.value) for own in node.keywords})
        return ast.literal_eval(node)

    try:
        found = value_of(ast.parse(text, mode="eval").body)
    except (KeyError, SyntaxError, TypeError, ValueError):
        return None
    return found if isinstance(found, PairObjective) else None
