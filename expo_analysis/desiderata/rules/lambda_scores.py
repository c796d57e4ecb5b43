"""Losses of lambda times scores: both limits, without a look at an optimum. [ours]

A loss reads x = lam mu(u), u = pi/pi_ref and mu = f' of a divergence less f'(1) (the logarithm, say), increasing, mu(1)
= 0, and nothing else of the policy: its risk is w(lam) F(x) with w of one sign, taken to be positive. DPO, IPO (whose
(hbar - 1/(2 lam))^2 is (lam hbar - 1/2)^2/lam^2), the hinge, DPOP, BCO, SPPO ... are such losses. A loss may have
further terms, L(pi), which do not see lambda and are bounded below; then w is a constant. Policies are the x with

    sum_i pi_ref,i mu^-1(x_i/lam) = 1,        so that min x <= 0 <= max x, as mean u = 1 under pi_ref,

and x = 0 is pi_ref. The population has 0 < p* < 1, and its comparisons are connected.

**lambda -> infinity leads to pi_ref**, if F rises (`scores.rises`). F(x_lam) <= F(0) + L(pi_ref) - inf L for a
minimiser, so that x_lam stays in one bounded set, and mu(u_lam) = x_lam/lam -> 0: u -> 1. A minimiser exists once lam
is large: the x of that set are policies of the open simplex then, and F is continuous.

**The same by gaps**, where F reads differences of x only, each term psi(k (x_w - x_l) - offset) with a psi that falls
all the way to its one minimum and rises from it (such as EXO's, which is bounded). Let c be so large that all minima,
as values of x_w - x_l, are within c. Every pair's expected loss never falls in |x_i - x_j| beyond c, and rises: for x_i
- x_j > c both orders' terms do. Sort x; close each gap wider than c to c, by a common shift of all above it: each pair
across it has a difference of at least c still, and its loss falls, and there is a compared pair, as comparisons are
connected. (A common shift makes a policy of it again, as the mean of u was 1 before and is at most that where the least
x is left as it is; and F does not see it.) So minimisers have no gap above c, their range is at most (n - 1) c, and the
rest is as before; they exist, as F is continuous on the compact set of such x.

**lambda -> 0 never leads to pi\\***, if mu -> -inf as u -> 0 and the loss of a pair is lower at (x_w, x_l) = (0, -e)
than at (0, 0), for some e > 0. Take two responses, the first of which wins with probability p; the risk at (0, -e) is p
f(0, -e) + (1 - p) f(-e, 0), and for p near 1 it is below f(0, 0), F at 0. Policies near (0, -e) exist once lam is
small: x = (s, s - e) is one for some 0 <= s <= lam mu(1/min pi_ref), as at s = 0 the mean of u is at most 1, and there
at least 1; and s -> 0. Were pi_lam -> pi* (in the open simplex), then log u would be bounded, x_lam = lam mu(u) -> 0,
and F(x_lam) -> F(0) > F(0, -e) = lim F(s, s - e): they would not be minimisers. So for such a p no minimisers tend to
pi*, whatever pi_ref is. In words: scores depend neither on lambda nor on pi_ref, and so what is near the best score in
the end has all the mass. The same holds for scores of pi alone (SimPO's), for which pi_ref = 1 in the sum above.

**A kink may keep the reference.** Let scores be logarithms of u, psis smooth and convex, and the loss convex in the
logits. From x = 0 along the ray t log u of any policy the risk is convex in t, as statistics are positively homogeneous
but for their offsets: if its slope at t = 0 is positive, pi_ref is better than that policy at every lambda. Of two
responses let that be so of a policy on either side of pi_ref. By convexity in the log-odds the optimum is between them
at every lambda, and far from the mode as lambda -> 0. So it is for DPOP, whose shortfalls have a slope on one side
only.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

from ...bandit import Bandit
from ...divergences import ReverseKL
from ...losses.statistics import LogRatioToReference
from ..falsify.problems import pi_star
from ..verdict import FAILS, HOLDS, Counterexample
from .formula import Formula
from .rule import Conclusion, Known, Rule
from .scores import UnitTerm, link_of, rises

LOGARITHM = link_of(LogRatioToReference("w"))


def stays_near(formula: Formula) -> bool:
    """Whether minimisers in x stay in a bounded set, by slopes or by gaps."""
    if formula.unit is None or formula.link is None or not formula.link.relative:
        return False
    rest_below = all(part.is_bounded_below for at in formula.rest for part in at)
    if rest_below and all(rises(at) for at in formula.unit):
        return True
    wells = all(t.is_difference and t.weight > 0 and t.psi.well is not None for at in formula.unit for t in at)
    return wells and not any(formula.rest)


def _reference_limit(known: Known) -> Conclusion | None:
    return Conclusion(HOLDS, "as λ → ∞ the optimum tends to π_ref") if stays_near(known.formula) else None


def prefers_a_loser_below(formula: Formula) -> bool:
    """Whether the loss of a pair is lower at scores (0, -e) than at (0, 0), at all data, beyond rounding."""
    if not formula.is_of_scores or formula.unit is None:
        return False

    def lower(e: float) -> bool:
        assert formula.unit is not None
        for at in formula.unit:
            here, there = (sum(float(t.value(0.0, x)[0]) for t in at) for x in (0.0, -e))
            if not there < here - 1e-9 * (1 + abs(here)):
                return False
        return True

    with np.errstate(all="ignore"):
        return any(map(lower, (0.01, 0.1, 1.0)))


def _holds_at_all_data(formula: Formula) -> bool:
    """Whether what the loss of a pair is at given scores depends on data by a positive factor at most."""
    return formula.data_read is not None and formula.data_read.places <= {"weight"}


def _strong_interpolation(known: Known) -> Conclusion | None:
    if not (_holds_at_all_data(known.formula) and prefers_a_loser_below(known.formula)):
        return None
    return Conclusion(FAILS, "as λ → 0 the optimum does not tend to π*", _example(known))


NEAR = 0.1
"""The log-odds, on either side of pi_ref's, between which the optimum is."""


def _kept_at_a_kink(known: Known) -> Conclusion | None:
    formula = known.formula
    if not _holds_at_all_data(formula):
        return None
    if not (formula.is_of_scores and known.shape.convex and formula.link == LOGARITHM and formula.unit is not None):
        return None
    if not all(term.psi.self_concordance is not None for at in formula.unit for term in at):
        return None
    if not all(_slope(at, side) > 1e-6 for at in formula.unit for side in (-NEAR, NEAR)):
        return None
    return Conclusion(FAILS, "where a kink keeps the optimum near π_ref at every λ, it does not tend to π*'s mode")


WINS = 0.6


def _slope(terms: Sequence[UnitTerm], log_odds: float) -> float:
    """Of the risk along t log u at t = 0: two responses, even under pi_ref, the first of which wins 0.6 of the time."""
    first, second = (float(x) for x in log_softmax([log_odds, 0.0]) + np.log(2))
    return sum(
        WINS * term.slope_at_zero(first, second) + (1 - WINS) * term.slope_at_zero(second, first) for term in terms
    )


LAMS = (0.1, 0.01, 0.001, 1e-4)


def _example(known: Known) -> Counterexample | None:
    """Two responses, and policies that are better than all near pi* once lambda is small; None where not that is
    wanted:
    for scores of u other than its logarithm, and rewards."""
    formula = known.formula
    if formula.link is None or formula.link.kind != ReverseKL() or formula.unit is None or len(formula.unit) > 1:
        return None
    (terms,) = formula.unit

    def loss(x_w: float, x_l: float) -> float:
        return sum(float(t.value(x_w, x_l)[0]) for t in terms)

    for wins, e in itertools.product((0.6, 0.7, 0.8, 0.9, 0.95, 0.99), (1.0, 0.3, 0.1, 3.0, 10.0, 0.03)):
        gap = loss(0.0, 0.0) - wins * loss(0.0, -e) - (1 - wins) * loss(-e, 0.0)
        if gap > 1e-3 * (1 + abs(loss(0.0, 0.0))):
            break
    else:
        return None
    bandit = Bandit([0.5, 0.5], optimal := [wins, round(1 - wins, 2)])
    values = [_values(known, bandit, lam, e) for lam in LAMS]
    beyond = values[-1][1] - values[-1][0]
    if not (np.isfinite(values).all() and beyond > gap / 2):
        return None
    subject, scale = known.subject, float(f"{beyond / 2:.2g}")
    lines = [
        subject.imports,
        "",
        f"bandit = ea.Bandit(reference=[0.5, 0.5], optimal={optimal})",
        f"for lam in {list(LAMS)}:",
        f"    logs = np.array([0.0, -{e} / lam])",
        "    log_policies = (logs - np.logaddexp(*logs), np.log(bandit.optimal))",
        f"    values = [float(ea.risk({subject.expression}, bandit, logs)) for logs in log_policies]",
        "    print(lam, values)",
        f"assert values[0] < values[1] - {scale}",
    ]
    return Counterexample(
        f"with π_ref = [0.5, 0.5] and π* = {optimal}, π ∝ [1, exp(-{e:g}/λ)] has a value that is lower than that of π* "
        f"by {values[-1][1] - values[-1][0]:.3g} at λ = {LAMS[-1]:g}, and than all near π* as λ → 0",
        {"reference": [0.5, 0.5], "optimal": optimal, "lam": list(LAMS), "values": values},
        "\n".join(lines),
    )


def _values(known: Known, bandit: Bandit, lam: float, e: float) -> list[float]:
    """The risk at pi_1 : pi_2 = 1 : exp(-e/lam), and at pi*."""
    log_policy = log_softmax(np.array([0.0, -e / lam]))
    return [float(known.subject.value(bandit, lam, x)) for x in (log_policy, np.log(pi_star(bandit)))]


RULES = (
    Rule(
        "scores_stay_bounded",
        "reference_limit",
        "A loss of λ times scores (and of terms without λ that are bounded below), which rises far out or has minima "
        "of pairs that are not far out, keeps λ times scores bounded, and the scores of its optimum tend to 0.",
        _reference_limit,
    ),
    Rule(
        "scores_know_no_lambda",
        "strong_interpolation",
        "The best scores of a loss of λ times scores depend neither on λ nor on π_ref, and as λ → 0 they have all "
        "mass.",
        _strong_interpolation,
    ),
    Rule(
        "a_kink_keeps_the_reference",
        "weak_interpolation",
        "If the risk rises from π_ref towards a policy on either side of it, along t log π/π_ref, the optimum of a "
        "convex loss of λ log π/π_ref is between the two at every λ, and not near the mode.",
        _kept_at_a_kink,
    ),
)
