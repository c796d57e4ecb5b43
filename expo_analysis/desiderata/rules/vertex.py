r"""Where chi-square lets go: a data set on which no policy has the infimum. [ours]

The objective is w times the Bradley-Terry likelihood of the policy's own log-ratios plus lam times chi-square, w > 0.
Of three responses 0 and 1 win once against each other, and 2 wins four times against each: of ten comparisons each
counts for a tenth. Let pi_ref be even, t = pi_0 + pi_1 and lam <= w/20. Then

    F = w/10 [log(1 + pi_0/pi_1) + log(1 + pi_1/pi_0)] + 4w/10 [log(1 + pi_0/pi_2) + log(1 + pi_1/pi_2)] + lam D
      >= w/5 log 2 - 4w/10 log(1 - t) + lam D,

as the first bracket is least, 2 log 2, at pi_0 = pi_1, and the second is at least log(1 + t/pi_2). D = 3 sum pi^2 - 1
is at least 3 (1 - t)^2 - 1 >= 2 - 6t, so that F - (w/5 log 2 + 2 lam) >= (4w/10 - 6 lam) t > 0 for every t > 0. Along
pi_0 = pi_1 -> 0 values tend to w/5 log 2 + 2 lam. So that is the infimum, and no policy at which pi_0 and pi_1 are not
both 0 has it; where both are 0 their log-ratio is not defined, and F has no value.
"""

from __future__ import annotations

import numpy as np

from ...bandit import Bandit
from ...divergences import ChiSquare
from ...losses.psi import Logistic, Psi
from ..verdict import Counterexample
from .examples import program, risks
from .rule import Conclusion, Known, Rule, refuted

REFERENCE, COUNTS = [1 / 3] * 3, [[0, 1, 0], [1, 0, 0], [4, 4, 0]]
SHARES = [0.1, 1e-2, 1e-4, 1e-6, 1e-8]
"""pi_0 = pi_1 along the path."""


def _no_value_at_the_vertex(known: Known) -> Conclusion | None:
    formula = known.formula
    if not formula.is_explicit or type(formula.regulariser) is not ChiSquare or len(formula.facts.bound) != 1:
        return None
    (term,) = formula.facts.bound
    psi: Psi = term.psi
    if not (isinstance(psi, Logistic) and psi.flipped == 0):
        return None
    return refuted("some data sets have no minimiser", _example(known, term.weight * psi.kept))


def _example(known: Known, weight: float) -> Counterexample | None:
    """The path of policies with falling values, and the infimum; None where numbers do not show it."""
    subject, lam = known.subject, float(weight / 50)
    infimum = float(weight * np.log(2) / 5 + 2 * lam)
    policies = [[x, x, 1 - 2 * x] for x in SHARES]
    values = risks(subject, Bandit.from_counts(REFERENCE, COUNTS), lam, policies)
    if not ((np.diff(values) < 0).all() and infimum < values[-1] < infimum * (1 + 1e-6)):
        return None
    lines = [
        f"lam, infimum = {lam!r}, {infimum!r}",
        f"bandit = ea.Bandit.from_counts({REFERENCE}, {COUNTS})",
        f"policies = torch.tensor({policies}, dtype=torch.float64)",
        f"values = ea.risk({subject.expression}, bandit, policies.log()).tolist()",
        "print(values, 'tend to', infimum)",
        "assert all(later < earlier for earlier, later in zip(values, values[1:]))",
        "assert infimum < values[-1] < infimum * (1 + 1e-6)",
    ]
    return Counterexample(
        f"with the win counts {COUNTS} values fall to {infimum:.9g} as the first two tend to 0 together, where their "
        f"log-ratio has no value; all policies have more (λ = {lam:g})",
        {"reference": REFERENCE, "counts": COUNTS, "lam": lam, "policies": policies, "values": values.tolist()},
        program(subject, lines),
    )


RULES = (
    Rule(
        "no_value_at_the_vertex",
        "existence",
        "Beside a Bradley-Terry likelihood chi-square is too weak to keep two responses that lose from 0, where their "
        "log-ratio has no value.",
        _no_value_at_the_vertex,
    ),
)
