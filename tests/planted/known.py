"""What a planted loss is, and the answers that mathematics gives for EXPO, DPO and IPO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import expo_analysis as ea

HOLDS, FAILS = "holds", "fails"

ALL = list(ea.DESIDERATA)


def answers(holds: str = "", fails: str = "") -> dict[str, str]:
    """Known answers from two lists of desiderata."""
    known = {key: HOLDS for key in holds.split()} | {key: FAILS for key in fails.split()}
    assert set(known) <= set(ALL), set(known) - set(ALL)
    return known


EXPO = answers(
    "reference_limit strong_interpolation preservation improvement existence uniqueness conservation "
    "constraint_robustness first_step consistency",
    "weak_interpolation monotone_path",
)
DPO = answers(
    "reference_limit weak_interpolation consistency",
    "strong_interpolation preservation improvement monotone_path existence uniqueness conservation "
    "constraint_robustness first_step",
)
IPO = answers(
    "reference_limit existence consistency",
    "strong_interpolation weak_interpolation preservation improvement uniqueness conservation first_step",
)
COERCIVE = answers("existence uniqueness conservation consistency")
"""What a convex function of log-ratios plus lam KL(pi_ref || pi) always has."""


def but(known: Mapping[str, str], holds: str = "", fails: str = "", unknown: str = "") -> dict[str, str]:
    """The same answers but for some."""
    return {k: v for k, v in {**known, **answers(holds, fails)}.items() if k not in unknown.split()}


@dataclass(frozen=True)
class Planted:
    """A loss, what is known of it, and one sentence why.

    decided: desiderata that the report card has to decide. remark: what one of its remarks must match. slow: whether an
    audit takes more than some seconds, with many local searches or one lambda at a time.
    """

    name: str
    objective: Any
    known: Mapping[str, str]
    why: str
    decided: str = ""
    remark: str = ""
    effort: float = 0.1
    slow: bool = False
