"""The strong interpolation criterion: as lambda tends to 0 the optimum should tend to pi*. [paper]"""

from __future__ import annotations

from typing import Any

from ..._types import Floats
from ..falsify.problems import pi_star
from ..subject import Subject
from ..verdict import Verdict
from .at_limit import judge_limit

KEY = "strong_interpolation"


def _optimal(bandit: Any) -> Floats:
    return pi_star(bandit)


def judge(subject: Subject) -> Verdict:
    """Whether the optimum tends to pi*, how fast, or to what else."""
    return judge_limit(subject, KEY, "zero", _optimal, "π*", "bandit.optimal")
