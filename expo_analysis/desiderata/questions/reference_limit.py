"""As lambda tends to infinity the optimum should tend to the reference. [paper]"""

from __future__ import annotations

from ..subject import Subject
from ..verdict import Verdict
from .at_limit import judge_limit

KEY = "reference_limit"


def judge(subject: Subject) -> Verdict:
    """Whether the optimum tends to pi_ref, and how fast."""
    return judge_limit(subject, KEY, "infinity", lambda bandit: bandit.reference, "π_ref", "bandit.reference")
