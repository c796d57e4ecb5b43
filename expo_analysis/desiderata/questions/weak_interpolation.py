"""The weak interpolation criterion: as lambda tends to 0 the optimum should tend to pi*'s mode. [paper]"""

from __future__ import annotations

from ..falsify.search import Case
from ..rules.margins import sit_at_minima, tree_problems
from ..subject import Optima, Subject
from ..verdict import Verdict
from .at_limit import Limit, judge_limit
from .limits import point_mass

KEY = "weak_interpolation"
LIMIT = Limit(KEY, "zero", point_mass, "the point mass on π*'s mode", "np.eye(bandit.n)[bandit.optimal.argmax()]")


def _known(subject: Subject, case: Case, optima: Optima) -> str:
    settled = sit_at_minima(subject, case, optima)
    return "on a path each pair sits at its own minimum" if settled else ""


def judge(subject: Subject) -> Verdict:
    """Whether the optimum tends to the point mass on the mode of pi*, how fast, or to what else.

    Where the loss reads differences of scores, first on paths that its own margins suggest (`tree_problems`).
    """
    return judge_limit(subject, LIMIT, tree_problems(subject), _known)
