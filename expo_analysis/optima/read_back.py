"""Solutions from what `Solution.to_dict` made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..bandit import Bandit
from ..bandit.paired import Comparisons
from ..losses import objective as named
from ..losses.base import Objective
from .solution import RESTRICTED, Certificate, Solution, Status

NUMBERS = ("policy", "log_policy", "value", "error_bound", *RESTRICTED)
WORDS = {"status": Status, "certificate": Certificate, "message": str}


def solution_of(values: Mapping[str, Any], bandit: Bandit | Comparisons, objective: Objective | None) -> Solution:
    """See `Solution.from_dict`."""
    known = {field.name for field in dataclasses.fields(Solution)} - {"bandit"} | {"options"}
    needed, given = known - set(RESTRICTED), set(values)
    if not needed <= given <= known:
        lacking, strange = sorted(needed - given), sorted(given - known)
        raise ValueError(f"values must be those of Solution.to_dict: they {_wrong(lacking, strange)}")
    shape = np.shape(bandit.reference)
    if np.shape(values["policy"]) != shape:
        raise ValueError(f"values must be of policies of shape {shape}, got {np.shape(values['policy'])}")
    loss = objective
    if loss is None:
        loss = named(values["objective"], **values["options"])
    fields: dict[str, Any] = {name: _numbers(name, values.get(name)) for name in NUMBERS if name in values}
    fields |= {name: _words(make, values[name]) for name, make in WORDS.items()}
    steps = np.asarray(values["iterations"], dtype=np.intp)
    return Solution(loss, bandit, **fields, iterations=steps[()])


def _wrong(lacking: list[str], strange: list[str]) -> str:
    return f"lack {', '.join(lacking)}" if lacking else f"have {', '.join(strange)}, too"


def _numbers(name: str, values: Any) -> Any:
    """None stands for -inf of a logarithm, and for nan elsewhere."""
    found = np.array(values, dtype=np.float64)
    if name == "log_policy":
        found[np.isnan(found)] = -np.inf
    return found[()]


def _words(make: Any, values: Any) -> Any:
    if not isinstance(values, list):
        return None if values is None else make(values)
    found = np.empty(len(values), dtype=object)
    found[:] = [make(value) for value in values]
    return found
