"""Where scores lead as lambda -> 0: to the mode, if margins add up as log-odds do. [ours]

A loss reads differences of x = lam mu(u), u = pi/pi_ref, and nothing else of the policy; mu is increasing and tends to
-inf as u -> 0. (Or x = lam g(pi), with u for pi, and pi_ref = 1 below.) Its risk is a sum over compared pairs of
q_ij phi_ij(x_i - x_j), phi_ij(m) = p_ij f(m) + p_ji f(-m), f the loss of a pair.

**Any differences of x can be had**: for numbers a_i there is one policy with mu(u_i) = a_i/lam + nu, as the mean of u
rises in nu from 0 (where nu -> -inf) to beyond 1 (where some u does).

**Bradley-Terry's margins.** Let c > 0 be such that phi_ij is least at m = log(p_ij/p_ji)/c alone, for every p. Log-odds
are differences of log pi*, so a_i = log pi*_i/c brings all pairs to their minima at once, and on connected comparisons
no other differences do: mu(u_i) = log pi*_i/(c lam) + nu is the one optimum. Let response 1 be the mode. u_1 is at most
1/pi_ref,1, so mu(u_1) is bounded from above, and mu(u_j) = mu(u_1) - log(pi*_1/pi*_j)/(c lam) -> -inf: u_j -> 0. The
limit is the point mass on the mode.

**Known rewards.** The same where every phi_ij is least at eta (r_i - r_j) alone, eta > 0, for rewards r: differences of
eta r. A population that states no rewards has r = log pi*, whose mode is that of pi*. Where a pair is content is read
off the formula: at a number that is c (r_w - r_l) for all rewards and references. Anything beside it, such as the
reference's log-ratio, a constant or a clip, and the pairs' places need not add up, or add up to something else.

**On trees** the differences along compared pairs can be chosen one by one, whatever the loss (if it reads no data but
the gap of rewards): with p_ij = sigma(t), every pair sits at the minimum Y(t) of its own phi. The score of i less that
of j is the sum of Y along the path between them, and as lambda -> 0 all mass goes where the score is largest, by the
argument above. Y is odd, as phi_ij(m) = phi_ji(-m). *The mode gets it on every tree if and only if Y is linear and
increasing.* If it is, margins are Bradley-Terry's. If the mode always gets it, Y(t) > 0 for t > 0 (two responses).
Suppose Y(t1) + Y(t2) != Y(t1 + t2) for some t1, t2 > 0 at which Y is continuous (it is monotone where f(m) - f(-m) is,
hence continuous but at jumps, which can be avoided); by oddness, additivity on t > 0 is additivity. Take the path A, 1,
2, B with log pi* = 0, -t1, -t1 - t2, and -e at B: score A - score B = Y(t1) + Y(t2) - Y(t1 + t2 - e). If this is
negative as e falls to 0, A is the mode and B has the larger score. Otherwise lift B to +e instead: B is the mode and A
has the larger score. So Y is additive, and additive and positive functions are linear. `paths_against` looks for such
paths on a grid, which may miss a narrow well or one far out. What is said of a path rests on intervals
(`content_bounds`): of two responses all minimisers have x_1 - x_0 within bounds of Y, and where the sums of these along
the path put another response above the mode, it is above it.

**The two criteria exclude each other**, as pi* has full support and a point mass has not.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, log_expit

from ..._types import Floats
from ...bandit import Bandit
from ...divergences import Divergence
from ...losses.psi import BernoulliKL, Square, TargetKL
from ..falsify.certify import enclose_minimisers, log_ratios_of
from ..falsify.search import Case
from ..subject import Optima, Subject
from ..verdict import FAILS, HOLDS
from .formula import Formula
from .given import Given
from .in_lambda import InLambda
from .parts import at_gap
from .rule import Conclusion, Known, Rule, formula_of
from .scores import Link, UnitTerm

STEP = 0.1
"""Log-odds are looked at in steps of this."""

RANGE = 32
"""How many steps: pi* has no probability below 1/100 then, as limits are followed where it has none."""

LIFTS = (0.2, 0.02)
"""e of the module's docstring."""

SETTLED = 1e-3
"""How near a pair's difference must be to its own minimum, to be said to sit there."""

REACH = 600.0
"""How far apart log-probabilities of two responses are looked at."""

ENCLOSED = 1e-5
"""How near all minimisers of a pair are to be, in 1-norm."""

ROUNDED = 1e-9
"""Scores are known to so much, relative to their size."""

MEANT = 1e-6
"""Sums that differ by less, relative to the largest minimum, are taken for equal."""


def _weak_holds(known: Known) -> Conclusion | None:
    if not known.formula.has_bradley_terry_margins:
        return None
    return Conclusion(HOLDS, "as λ → 0 the optimum tends to the point mass on π*'s mode")


def _known_rewards(known: Known) -> Conclusion | None:
    if not fits_rewards(known.formula):
        return None
    return Conclusion(HOLDS, "as λ → 0 the optimum tends to the point mass on π*'s mode, that of the rewards")


def _trees(known: Known) -> Conclusion | None:
    formula = known.formula
    if formula.has_bradley_terry_margins or formula.data_read is None or not formula.data_read.of_gap:
        return None
    suspected = tree_problems(known.subject)
    if suspected is None or not _one_is_proven(known.subject, suspected):
        return None
    return Conclusion(FAILS, "as λ → 0 the optimum does not always tend to the point mass on π*'s mode")


def _not_the_mode(known: Known) -> Conclusion | None:
    if not known.is_("strong_interpolation", HOLDS):
        return None
    return Conclusion(FAILS, "as λ → 0 the optimum tends to π*, not to the point mass on its mode")


def _not_optimal(known: Known) -> Conclusion | None:
    if not (
        known.is_("weak_interpolation", HOLDS) or known.formula.has_bradley_terry_margins or fits_rewards(known.formula)
    ):
        return None
    return Conclusion(FAILS, "as λ → 0 the optimum tends to the point mass on π*'s mode, not to π*")


def fits_rewards(formula: Formula) -> bool:
    """Whether each pair is content at eta times the difference of rewards, eta > 0, and nowhere else."""
    read = formula.data_read
    if not formula.is_of_score_differences or formula.unit is None or read is None or len(read.goals) != 1:
        return False
    term = formula.unit[0][0]
    if term.weight <= 0 or term.winner == 0:
        return False
    goal, shift = (_per_gap(value) for (value,) in (read.goals, read.shifts))
    if goal is None or shift is None:
        return False
    if type(term.psi) not in (Square, BernoulliKL, TargetKL):
        scale = term.psi.log_odds_scale
        if scale is None or not term.psi.is_least_at_log_odds_alone or "weight" in read.places:
            return False
        goal = 1 / scale  # log-odds of a population with r = log pi* are the gap
    return (goal + shift) / term.winner > 0


def _per_gap(value: Given | InLambda) -> float | None:
    """c where a number is c (r_w - r_l) at all data; None for any other."""
    if isinstance(value, InLambda):
        return 0.0 if value.constant == 0 else None
    factor, coefficient = value.factor.constant, value.gap_coefficient
    return None if factor is None or coefficient is None else factor * coefficient


def _terms_at(formula: Formula, gap: float) -> list[UnitTerm]:
    """The terms at lambda = 1 of a pair whose winner has a reward so much above the loser's."""
    return [UnitTerm.of(part) for part in formula.numeric_at(at_gap(gap))]


def contents(formula: Formula, log_odds: NDArray[Any]) -> Floats:
    """Y: the differences x_w - x_l at which pairs with these log-odds seem content; nan where none was found.

    Rewards, if they are read, are r = log pi*. Looked for on a grid from -200 to 200 that is refined, and so a guess.
    """
    return np.array([_content(formula, float(odds)) for odds in log_odds])


def _content(formula: Formula, odds: float) -> float:
    won, lost = (_terms_at(formula, gap) for gap in (odds, -odds))
    share, found = 1 / (1 + np.exp(-odds)), np.nan
    grid = GRID
    with np.errstate(all="ignore"):
        for _ in range(6):
            risk = share * sum(t.value(grid, 0.0) for t in won) + (1 - share) * sum(t.value(-grid, 0.0) for t in lost)
            best = int(np.argmin(risk))
            if best in (0, len(grid) - 1):
                break
            found = float(grid[best])
            grid = np.linspace(grid[best - 1], grid[best + 1], 41)
    return found


GRID = 200 * np.sinh(np.linspace(-8, 8, 1601)) / np.sinh(8)


def tree_problems(subject: Subject) -> Bandit | None:
    """The problems of `paths_against` for the loss under audit, found once."""
    return subject.once("tree problems", lambda: paths_against(formula_of(subject)))


def paths_against(formula: Formula) -> Bandit | None:
    """Problems on a path of four on which the mode does not have the largest score, the clearest ones; or None."""
    if not formula.is_of_score_differences:
        return None
    steps = np.arange(1, RANGE + 1) * STEP
    least = np.concatenate([[np.nan], contents(formula, steps)])
    size = np.nanmax(np.abs(least), initial=0.0)
    found = []
    for lift, sign in itertools.product(LIFTS, (1, -1)):  # A is the mode, or B
        last = np.concatenate([[np.nan], contents(formula, steps - sign * lift)])
        for first, second in itertools.product(range(1, RANGE), range(1, RANGE)):
            both = first + second
            ahead = np.nan if both > RANGE else sign * (least[first] + least[second] - last[both])
            if ahead < -MEANT * size:
                found.append((ahead, np.array([0.0, -first * STEP, -both * STEP, -sign * lift])))
    if not found:
        return None
    found.sort(key=lambda one: one[0])
    optimal = np.exp([heights for _, heights in found[:: max(1, len(found) // 4)][:3]])
    optimal = np.round(optimal / optimal.sum(axis=1, keepdims=True), 4)
    optimal[:, 1] += 1 - optimal.sum(axis=1)
    pairs = np.zeros((len(optimal), 4, 4))
    for i, j in ((0, 1), (1, 2), (2, 3)):
        pairs[:, i, j] = pairs[:, j, i] = 1.0
    return Bandit(np.full_like(optimal, 0.25), optimal, pairs)


def content_bounds(subject: Subject, log_odds: float) -> tuple[float, float] | None:
    """Bounds of all x_1 - x_0 at which a pair is content, if the log-odds that 1 wins are these; None without a proof.

    Of two responses with an even reference, at lambda = 1: all policies but those within the bounds have a higher risk.
    """
    return subject.once(("content", log_odds), lambda: _content_bounds(subject, log_odds))


def _content_bounds(subject: Subject, log_odds: float) -> tuple[float, float] | None:
    formula = formula_of(subject)
    (guess,) = np.sign(log_odds) * contents(formula, np.array([abs(log_odds)]))
    if formula.link is None or not np.isfinite(guess):
        return None
    link, even = formula.link, np.log([0.5, 0.5])

    def apart(t: float) -> float:
        scores = score(link, log_expit(np.array([-t, t])), even)
        return float(scores[1] - scores[0])

    if not apart(-REACH) < guess < apart(REACH):
        return None
    near = brentq(lambda t: apart(t) - guess, -REACH, REACH)
    bandit = Bandit([0.5, 0.5], expit([-log_odds, log_odds]))
    found = enclose_minimisers(subject, bandit, 1.0, log_expit(np.array([-near, near])), ENCLOSED)
    if found is None:
        return None
    low, high = map(apart, log_ratios_of(found.boxes))
    slack = ROUNDED * (1 + abs(low) + abs(high))
    return (low - slack, high + slack) if np.isfinite([low, high]).all() else None


def _path(case: Case) -> list[int] | None:
    """The responses of a path in its order; None where the compared pairs are none."""
    compared = np.zeros((0, 0), dtype=bool) if case.pairs is None else np.asarray(case.pairs) > 0
    ends = np.flatnonzero(compared.sum(axis=1) == 1)
    if len(ends) != 2 or compared.sum() != 2 * (len(compared) - 1):
        return None
    order = [int(ends[0])]
    while len(order) < len(compared):
        after = [k for k in np.flatnonzero(compared[order[-1]]).tolist() if k not in order]
        if len(after) != 1:
            return None
        order += after
    return order


def mode_is_not_on_top(subject: Subject, case: Case) -> bool:
    """Whether it is proven that on a path another response than pi*'s mode has the largest score at every lambda."""
    order = _path(case)
    if order is None:
        return False
    logs = np.log(case.optimal)[order]
    steps = [content_bounds(subject, float(odds)) for odds in np.diff(logs)]
    known = [step for step in steps if step is not None]
    if len(known) < len(steps):
        return False
    low, high = (np.concatenate([[0.0], np.cumsum(ends)]) for ends in zip(*known, strict=True))
    top = int(logs.argmax())
    # scores less the mode's: sums of the steps between, whose bounds do not cancel
    ahead = [low[k] - low[top] if k > top else high[k] - high[top] for k in range(len(order))]
    return bool(max(ahead) > 0)


def _one_is_proven(subject: Subject, bandit: Bandit) -> bool:
    return any(mode_is_not_on_top(subject, Case.of(bandit, p, (1.0,))) for p in range(len(bandit.reference)))


def sit_at_minima(subject: Subject, case: Case, optima: Optima) -> bool:
    """Whether lambda times the scores of a path's optima (L, 1, n) differ by what each pair alone is content with, and
    that keeps the mode from the top."""
    formula = formula_of(subject)
    if formula.link is None or case.pairs is None or not mode_is_not_on_top(subject, case):
        return False
    log_policy = optima.log_policies[:, 0]
    scores = optima.lams[:, None] * score(formula.link, log_policy, np.log(case.reference))
    order = _path(case)
    assert order is not None
    for i, j in itertools.pairwise(order):
        bounds = content_bounds(subject, float(np.log(case.optimal)[[i, j]] @ [-1.0, 1.0]))
        assert bounds is not None
        found = scores[:, j] - scores[:, i]
        near = SETTLED * (1 + abs(bounds[0]))
        if not ((found >= bounds[0] - near) & (found <= bounds[1] + near)).all():
            return False
    return True


def score(link: Link, log_policy: Floats, log_reference: Floats) -> Floats:
    """The scores of policies (..., n)."""
    if isinstance(link.kind, Divergence):
        return np.asarray(link.kind.mu(log_policy - log_reference))
    if link.kind == "log":
        return log_policy
    return np.asarray(-np.expm1(-link.kind[1] * log_policy) / link.kind[1])


RULES = (
    Rule(
        "margins_are_log_odds",
        "weak_interpolation",
        "Where every pair is content at its log-odds, scores are log π*/(cλ) up to a constant, and as λ → 0 the mode "
        "of π* leaves nothing to the rest.",
        _weak_holds,
    ),
    Rule(
        "rewards_are_fitted",
        "weak_interpolation",
        "Where every pair is content at η times the difference of rewards, scores are η r/λ up to a constant, and as "
        "λ → 0 the best reward has all mass.",
        _known_rewards,
    ),
    Rule(
        "margins_add_up_on_trees",
        "weak_interpolation",
        "On a tree every pair sits at its own minimum, and unless these add up as log-odds do, some path takes the "
        "mode's mass elsewhere.",
        _trees,
    ),
    Rule(
        "one_limit_only",
        "weak_interpolation",
        "A limit that is π*, which has full support, is no point mass.",
        _not_the_mode,
    ),
    Rule(
        "one_limit_only",
        "strong_interpolation",
        "A limit that is a point mass is not π*, which has full support.",
        _not_optimal,
    ),
)
