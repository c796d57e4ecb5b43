"""One question a file: ``KEY``, and ``judge(subject)`` that gives its `Verdict` with evidence or a counterexample."""

from __future__ import annotations

from collections.abc import Callable

from ..subject import Subject
from ..verdict import Verdict
from . import (
    calibration,
    conditioning,
    conservation,
    consistency,
    constraint_robustness,
    displacement,
    existence,
    first_step,
    gradient_weight,
    improvement,
    label_noise,
    local_minima,
    monotone_path,
    pair_dependence,
    preservation,
    reference_limit,
    restricted_improvement,
    small_lambda,
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
        small_lambda,
        restricted_improvement,
        label_noise,
        displacement,
        local_minima,
        gradient_weight,
        conditioning,
        pair_dependence,
        calibration,
    )
}
"""By desideratum, in the order of the report card. A new one is a module with ``KEY`` and ``judge``, and a line both
here and in `DESIDERATA`."""
