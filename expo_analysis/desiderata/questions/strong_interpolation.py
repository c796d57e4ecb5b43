"""The strong interpolation criterion: as lambda tends to 0 the optimum should tend to pi*. [paper]"""

from __future__ import annotations

from ..falsify.problems import pi_star
from ..subject import Subject
from ..verdict import Verdict
from .at_limit import Limit, judge_limit

KEY = "strong_interpolation"
LIMIT = Limit(KEY, "zero", pi_star, "π*", "bandit.optimal")


def judge(subject: Subject) -> Verdict:
    """Whether the optimum tends to pi*, how fast, or to what else."""
    return judge_limit(subject, LIMIT)
