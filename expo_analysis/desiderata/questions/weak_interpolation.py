"""The weak interpolation criterion: as lambda tends to 0 the optimum should tend to pi*'s mode. [paper]"""

from __future__ import annotations

from ..subject import Subject
from ..verdict import Verdict
from .at_limit import judge_limit
from .limits import point_mass

KEY = "weak_interpolation"


def judge(subject: Subject) -> Verdict:
    """Whether the optimum tends to the point mass on the mode of pi*, how fast, or to what else."""
    mode = "np.eye(bandit.n)[bandit.optimal.argmax()]"
    return judge_limit(subject, KEY, "zero", point_mass, "the point mass on π*'s mode", mode)
