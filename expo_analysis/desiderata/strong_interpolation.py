"""The strong interpolation criterion: as lambda tends to 0 the optimum should tend to pi*. [paper]"""

from __future__ import annotations

from typing import Any

from .._types import Floats
from .at_limit import judge_limit
from .by_parts import proof
from .problems import pi_star
from .subject import Subject
from .verdict import Verdict

KEY = "strong_interpolation"


def _optimal(bandit: Any) -> Floats:
    return pi_star(bandit)


def judge(subject: Subject) -> Verdict:
    """Whether the optimum tends to pi*, how fast, or to what else."""
    return judge_limit(subject, KEY, "zero", _optimal, "π*", "bandit.optimal", proof(subject.objective))
