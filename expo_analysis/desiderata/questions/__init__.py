"""One question a file: ``KEY``, and ``judge(subject)`` that gives its `Verdict` with evidence or a counterexample."""

from __future__ import annotations

from collections.abc import Callable

from ..subject import Subject
from ..verdict import Verdict
from . import (
    conservation,
    consistency,
    constraint_robustness,
    existence,
    first_step,
    improvement,
    monotone_path,
    preservation,
    reference_limit,
    strong_interpolation,
    uniqueness,
    weak_interpolation,
)

JUDGES: dict[str, Callable[[Subject], Verdict]] = {
    module.KEY: module.judge
    for module in (
        reference_limit,
        strong_interpolation,
        weak_interpolation,
        preservation,
        improvement,
        monotone_path,
        existence,
        uniqueness,
        conservation,
        constraint_robustness,
        first_step,
        consistency,
    )
}
"""By desideratum, in the order of the report card. A new one is a module with ``KEY`` and ``judge``, and a line both
here and in `DESIDERATA`."""
