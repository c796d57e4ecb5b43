"""As lambda tends to infinity the optimum should tend to the reference. [paper]"""

from __future__ import annotations

from ..subject import Subject
from ..verdict import Verdict
from .at_limit import Limit, judge_limit

KEY = "reference_limit"
LIMIT = Limit(KEY, "infinity", lambda bandit: bandit.reference, "π_ref", "bandit.reference")


def judge(subject: Subject) -> Verdict:
    """Whether the optimum tends to pi_ref, and how fast."""
    return judge_limit(subject, LIMIT)
