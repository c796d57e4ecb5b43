"""Theorems on minimisers, masses, constraints and data: attempts to refute each by numbers, and what breaks without a
premise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, linprog, minimize, minimize_scalar
from scipy.special import log_softmax

import expo_analysis as ea
from expo_analysis import PairObjective, numerics, terms
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.falsify.runaway import runs_away
from expo_analysis.desiderata.questions.consistency import SIZES, rate
from expo_analysis.desiderata.questions.constraint_robustness import Classes, classes_of, compare
from expo_analysis.desiderata.rules import RULES, Known, first
from expo_analysis.desiderata.rules.boxes import SingleScores
from expo_analysis.desiderata.rules.examples import ONE_PAIR
from expo_analysis.desiderata.rules.shapes import Shape
from expo_analysis.desiderata.rules.signs import Sign, Unknown, sign_of
from expo_analysis.desiderata.rules.wells import log_policies, two_wells
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import FAILS, HOLDS
from expo_analysis.divergences import Alpha, ForwardKL, ReverseKL
from expo_analysis.numerics import log_sigmoid

RNG = np.random.default_rng(20)
PAIRS = [name for name in ea.CATALOGUE if name not in ("qpo", "aot", "rlhf")]


def subject(objective, effort=0.1):
    return Subject(objective, *written(objective), effort=effort)


def concluded(key, objective):
    """The rule that decides, and how; None where none does."""
    found = first(RULES, key, Known(subject(objective), {}))
    return None if found is None else (found[0].name, found[1].decision)


def value(objective, bandit, log_policy):
    with np.errstate(all="ignore"):
        return np.asarray(ea.risk(objective, bandit, np.asarray(log_policy)))


@dataclass(frozen=True)
class Made(PairObjective):
    """Terms from a function of lambda, with a divergence or none."""

    of: object = None
    divergence: object = None
    name = "made"

    @property
    def terms(self):
        return self.of(self.lam)

    @property
    def regulariser(self):
        return self.divergence


# --------------------------------------------------------------------------------------------------------------- signs


def test_signs_agree_with_numbers():
    """Whatever is said to have a sign has it at every lambda; and what changes sign is not said to have one."""
    formulas = {
        "1/(2 lam)": (lambda x: 0.5 / x, 1),
        "lam/(1 + lam)": (lambda x: x / (1 + x), 1),
        "-lam - 2": (lambda x: -x - 2, -1),
        "lam^2 (-3)": (lambda x: x**2 * -3, -1),
        "2 - -lam": (lambda x: 2 - -x, 1),
        "exp(-lam)": (lambda x: np.exp(-x), 1),
        "0 lam": (lambda x: 0.0 * x, 0),
        "lam - 2": (lambda x: x - 2, None),
        "1 - 2 exp(-lam)": (lambda x: 1 - 2 * np.exp(-x), None),
        "(lam - 1)^2": (lambda x: (x - 1) ** 2, None),
        "1/(lam - 1)": (lambda x: 1 / (x - 1), None),
        "array": (lambda x: np.array([1.0, 2.0]) * x, 1),
        "mixed array": (lambda x: np.array([1.0, -2.0]) * x, None),
    }
    lams = 10.0 ** np.linspace(-6, 2, 41)
    for name, (formula, expected) in formulas.items():
        found = sign_of(formula(Sign(1)))
        assert found == expected, name
        if found is not None:
            assert all((np.sign(formula(lam)) == found).all() for lam in lams.tolist()), name


def test_comparisons_that_signs_do_not_tell_raise():
    lam = Sign(1)
    assert lam > 0 and -lam < 0 and lam >= -1 and not lam <= 0
    for compare_ in (lambda: lam > 10, lambda: lam - 1 >= 0, lambda: bool(lam - 1)):
        with pytest.raises(Unknown):
            compare_()


def test_a_loss_that_turns_over_in_a_window_of_lambda_is_not_read():
    """A factor that is negative between 0.37 and 0.39 only, or by an if, leaves no premise standing."""
    window = Made(1.0, lambda lam: terms.Square()(terms.hbar - 1.0) * (1 - 2 * np.exp(-(((lam - 0.38) * 1e2) ** 2))))
    by_if = Made(1.0, lambda lam: terms.Square()(terms.hbar) if lam < 10 else terms.Hinge()(terms.hbar))
    for loss in (window, by_if):
        assert not Shape(loss).has_wells and concluded("existence", loss) is None
    assert Shape(Made(1.0, lambda lam: terms.Square()(terms.hbar - 1 / lam) * (1 + lam))).has_wells


# -------------------------------------------------------------------------------------------------------------- shapes


def pair_losses(objective, x):
    """The loss at (log pi_w, log pi_l) (count, 2), with references and rewards that do not change."""
    count = len(x)
    fixed = {
        "ref_logp_w": -0.7,
        "ref_logp_l": -1.9,
        "logp_t": x[:, 0],
        "ref_logp_t": -0.7,
        "goal_w": 0.3,
        "goal_l": -0.4,
    }
    fixed |= {"reward_w": 0.8, "reward_l": 0.1, "value_w": 0.2, "value_l": 0.2, "length_w": 1.0, "length_l": 1.0}
    read = {name: np.broadcast_to(fixed[name], count) for name in objective.data}
    given = (x[:, 0], x[:, 1], np.full(count, -0.7), np.full(count, -1.9))
    return objective.pair_loss(*given, *(read[name] for name in objective.data))


@pytest.mark.parametrize("name", PAIRS)
def test_shapes_agree_with_numbers(name):
    """Monotony, differences and lower bounds that are read off the formula, at random log-probabilities and lambdas."""
    shape = Shape(ea.objective(name, 1.0))
    assert shape.parts is not None
    for lam in (0.01, 0.4, 1.0, 6.0):
        loss = ea.objective(name, lam)
        t, step = RNG.uniform(-6, 6, 200), RNG.uniform(0.01, 1, 200)
        x = np.stack([-np.logaddexp(0, -t), -np.logaddexp(0, t)], axis=1)
        further = np.stack([-np.logaddexp(0, -t - step), -np.logaddexp(0, t + step)], axis=1)
        free = -RNG.exponential(2.0, (200, 2)) - 1.1
        here, lower_loser, higher_winner, together = (
            pair_losses(loss, free + np.outer(step, move)) for move in ((0, 0), (0, -1), (1, 0), (1, 1))
        )
        slack = 1e-12 * (1 + abs(here))
        if shape.falls_with_each_win:
            assert (pair_losses(loss, further) <= pair_losses(loss, x) + slack).all()
        if shape.wants_the_loser_lower:
            assert (lower_loser <= here + slack).all()
        if shape.wants_the_winner_higher:
            assert (higher_winner <= here + slack).all()
        if shape.along_both:
            assert (np.sign(together - here) * shape.along_both >= 0).all()
            assert (together != here).mean() > 0.5
        if shape.of_log_ratios:
            assert np.allclose(together, here, rtol=1e-9, atol=1e-9)
        if shape.is_a_difference and not loss.facts.needs_reference:
            assert np.allclose(here + pair_losses(loss, free[:, ::-1]), 2 * pair_losses(loss, free[:1] * 0 - 1)[0])
        if shape.bounded_below:
            far = -(10.0 ** RNG.uniform(-3, 2.5, (500, 2)))
            assert pair_losses(loss, far).min() > -10


def test_shapes_are_not_read_into_losses_that_lack_them():
    assert not Shape(ea.DPO(1.0, label_smoothing=0.1)).falls_with_each_win
    assert not Shape(ea.NCA(1.0)).falls_with_each_win and Shape(ea.NCA(1.0)).wants_the_loser_lower
    assert not Shape(ea.SPPO(1.0)).wants_the_winner_higher
    assert not Shape(ea.KTO(1.0, desirable_weight=2.0)).is_a_difference
    assert Shape(ea.KTO(1.0, 2.0, 2.0, 0.5)).is_a_difference and not Shape(ea.BCO(1.0)).is_a_difference
    assert not Shape(ea.DPO(1.0)).strictly_convex and not Shape(ea.DPOP(1.0)).strictly_convex
    assert not Shape(ea.DPO(1.0, label_smoothing=0.1, robust=True)).bounded_below
    assert not Shape(ea.RPO(1.0)).of_one_number and Shape(ea.AlphaPO(1.0)).of_one_number


@pytest.mark.parametrize("name", [n for n in PAIRS if Shape(ea.objective(n, 1.0)).strictly_convex])
def test_strict_convexity_in_numbers(name):
    """The middle of two policies is below the mean of both, also where one response is compared with nothing."""
    pairs = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    bandit = ea.Bandit([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], pairs)
    first_, second = RNG.normal(0, 2, (2, 300, 4))
    points = (first_, second, (first_ + second) / 2)
    one, other, middle = (value(ea.objective(name, 0.7), bandit, log_softmax(x, axis=1)) for x in points)
    assert (middle < (one + other) / 2 - 1e-12).all()


# ----------------------------------------------------------------------------------------------------------- existence


def by_gap(objective, bandit, gap, reach):
    """The lowest risks among policies of three responses with log-ratios up to ``reach``: where neighbours, in the
    order of the logits, are at most ``gap`` apart (a local minimum from a grid's best), and where some are farther."""
    axis = np.linspace(-reach, reach, 301)
    theta = np.stack([np.zeros(301**2), *(x.reshape(-1) for x in np.meshgrid(axis, axis))], axis=1)
    far = np.diff(np.sort(theta, axis=1), axis=1).max(axis=1) > gap
    values = value(objective, bandit, log_softmax(theta, axis=1))

    def inside(t):
        held = np.diff(np.sort(np.r_[0.0, t])).max() <= gap
        return float(value(objective, bandit, log_softmax(np.r_[0.0, t]))) if held else np.inf

    start = theta[~far][values[~far].argmin(), 1:]
    return minimize(inside, start, method="Nelder-Mead").fun, values[far].min()


def test_gaps_close_and_without_wells_they_do_not():
    """Policies with larger gaps are never lower than those with gaps at most c, for EXO; for DPO they are."""
    reference = np.array([0.5, 0.2, 0.3])
    for k in range(6):
        counts = RNG.integers(0, 2, (3, 3)) * (1 - np.eye(3, dtype=int))
        counts[0, 1] += 1
        bandit = ea.Bandit.from_counts(reference, counts)
        lam = float(10 ** RNG.uniform(-0.5, 0.5))
        c = np.log(9) / lam + np.ptp(np.log(reference))
        near, far = by_gap(ea.EXO(lam, label_smoothing=0.1), bandit, c, 4 * c)
        assert near <= far + 1e-7, k
    one_win = ea.Bandit.from_counts(reference, [[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    near, far = by_gap(ea.DPO(1.0), one_win, 3.0, 20.0)
    assert far < near - 1e-3
    assert concluded("existence", ea.EXO(1.0)) == ("gaps_close", HOLDS)
    tiny = Made(1.0, lambda lam: terms.Logistic()(lam * terms.hbar) + 1e-20 * terms.Square()(lam * terms.hbar))
    assert concluded("existence", tiny) == ("gaps_close", HOLDS), "a tiny square makes a well"


def test_linear_programs_attain_unless_they_are_unbounded():
    """The hinge's minimum by an independent linear program is the value that `solve` finds, on one-sided data too."""
    for counts in ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], [[0, 2, 1], [1, 0, 0], [0, 3, 0]]):
        counts = np.array(counts)
        reference, lam = np.array([0.5, 0.2, 0.3]), 0.7
        wins = np.argwhere(counts > 0)
        rows = np.zeros((len(wins), 3 + len(wins)))
        for k, (i, j) in enumerate(wins):
            rows[k, i], rows[k, j], rows[k, 3 + k] = -lam, lam, -1.0
        share = counts[tuple(wins.T)] / counts.sum()
        shift = lam * np.array([np.log(reference[i] / reference[j]) for i, j in wins])
        bounds = [(None, None)] * 3 + [(0, None)] * len(wins)
        found = linprog(np.r_[np.zeros(3), share], A_ub=rows, b_ub=-1 - shift, bounds=bounds)
        solved = ea.solve(ea.Hinge(lam), ea.Bandit.from_counts(reference, counts))
        assert found.success and solved.value == pytest.approx(found.fun, abs=1e-9)
    falling = Made(1.0, lambda lam: terms.Linear(-1.0)(lam * terms.hbar))
    assert Shape(falling).polyhedral and concluded("existence", falling) == ("one_win_asks_for_more", FAILS)


def test_a_divergence_holds_what_is_bounded_below():
    """On one-sided data SPO falls as a vanishing response is raised; of a loss that falls for ever nothing is said."""
    bandit = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 5, 5], [0, 0, 5], [0, 0, 0]])
    for tiny in (1e-6, 1e-8, 1e-10, 1e-12):
        near = np.log([[1 - 2 * tiny, tiny, tiny], [1 - 4 * tiny, 2 * tiny, 2 * tiny]])
        with_it, without = value(ea.SPO(1.0), bandit, near), value(ea.BradleyTerry(1.0), bandit, near)
        assert with_it[1] < with_it[0] and without[1] > without[0]
    assert concluded("existence", ea.SPO(1.0)) == ("a_divergence_holds", HOLDS)
    assert concluded("existence", ea.ExplicitPO(1.0, "chi_square")) == ("no_value_at_the_vertex", FAILS)
    robust = Made(1.0, lambda lam: terms.Logistic(1.5, -0.5)(terms.h), ReverseKL())
    assert concluded("existence", robust) is None


def test_boundary_optima_count_where_the_boundary_is_meant():
    """Chi-square is finite at probability 0: of one comparison at small lambda the loser's vertex is the minimum."""
    bandit = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    t = np.linspace(0, 60, 400)
    values = value(ea.ExplicitPO(0.1, "chi_square"), bandit, log_softmax(np.stack([t, 0 * t], axis=1), axis=1))
    assert (np.diff(values) < 0).any() and values[-1] == pytest.approx(0.1, abs=1e-9) == values.min()
    for loss in (ea.ExplicitPO(0.1, "chi_square"), ea.FDPO(0.1, "chi_square"), ea.AlphaPO(1.0, alpha=-0.5)):
        assert isinstance(loss, ea.ExplicitPO) or concluded("existence", loss)[1] == HOLDS
        assert runs_away(subject(loss), bandit, 0.1) is None


@dataclass(frozen=True)
class Bare(PairObjective):
    """DPO as a bare formula, with something more."""

    more: object = None
    name = "bare"

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        m = self.lam * ((logp_w - logp_l) - (ref_logp_w - ref_logp_l))
        return -log_sigmoid(m) + self.more(m)


def test_a_coercive_part_is_seen_however_small():
    one_win = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    tiny = {
        "1e-20 m^2": lambda m: 1e-20 * m**2,
        "1e-16 flipped": lambda m: -1e-16 * log_sigmoid(-m),
        "1e-30 |m|": lambda m: 1e-30 * abs(m),
    }
    for name, more in tiny.items():
        assert runs_away(subject(Bare(1.0, more)), one_win, 1.0) is None, name
    for at in (5.0, 20.0, 200.0):
        clipped = Bare(1.0, lambda m, at=at: log_sigmoid(m) - log_sigmoid(m.clip(-at, at)))
        assert runs_away(subject(clipped), one_win, 1.0) is None, "attained from the clip on"
    fall = runs_away(subject(Bare(1.0, lambda m: 0.0 * m)), one_win, 1.0)
    assert fall is not None and fall.far == 0 and "towards 0" in fall.towards
    endless = runs_away(subject(Bare(1.0, lambda m: -m)), one_win, 1.0)
    assert endless is not None and "no lower bound" in endless.towards


def one_pair_of_three(win=1.0, reference=(0.4, 0.4, 0.2)):
    return ea.Bandit.from_counts(reference, [[0, win, 0], [1 - win, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("loss", [ea.SPPO(0.5), ea.PRO(0.5), ea.CalDPO(0.5), ea.NCA(2.0), ea.BCO(0.3)])
def test_boxes_hold_the_gradient(loss):
    """Intervals of the partial derivatives contain those of torch at random policies of the box."""
    bandit = one_pair_of_three(0.7)
    scores = SingleScores.of(loss, bandit, float(loss.lam))
    centre = -RNG.exponential(1.0, (50, 2)) - 1.0
    half = RNG.uniform(1e-6, 0.3, (50, 1))
    below, above = scores.gradient(centre - half, centre + half)
    for _ in range(4):
        x = torch.tensor(centre + half * RNG.uniform(-1, 1, (50, 2)), requires_grad=True)
        rest = torch.log1p(-x.exp().sum(1, keepdim=True)).detach()  # the third is read by nothing
        ea.risk(loss, bandit, torch.cat([x, rest], 1)).sum().backward()
        assert ((below <= x.grad.numpy() + 1e-9) & (x.grad.numpy() <= above + 1e-9)).all()
    assert (above - below > 0).all()


def test_stationary_policies_are_excluded_only_where_there_is_none():
    """SPPO wants log u = +-1/(2 lam) of winner and loser, which a policy has where 0.8 cosh(1/(2 lam)) < 1."""
    for lam in (0.1, 0.3, 0.55, 0.8, 1.0, 3.0):
        wanted = 0.4 * np.exp(0.5 / lam) + 0.4 * np.exp(-0.5 / lam)
        scores = SingleScores.of(ea.SPPO(lam), one_pair_of_three(), lam)
        assert scores.none_stationary() == (wanted > 1), lam
        box = scores.minimum_inside()
        assert (box is not None) == (wanted < 1)
        if box is not None:
            goal = np.log(0.4) + np.array([0.5, -0.5]) / lam
            assert (box[0] <= goal).all() and (goal <= box[1]).all()


# ---------------------------------------------------------------------------------------------------------- uniqueness


def test_known_ties_of_two_responses():
    """SPPO by symmetry, and BCO, NCA and APO-down where the lower well changes: both are lowest on a dense grid."""
    t = np.linspace(-14, 14, 280_001)
    grid = np.stack([-np.logaddexp(0, -t), -np.logaddexp(0, t)], axis=1)
    for loss, reference, optimal, minimisers in (
        (ea.SPPO(0.1), 0.01, 0.72976, (0.1422, 0.8578)),
        (ea.BCO(0.3), 0.00244, 0.7, (0.0482, 0.9285)),
        (ea.NCA(0.3), 0.02232, 0.8, (0.1372, 0.9399)),
        (ea.APODown(6.684), 0.2957, 0.82164, (0.1447, 0.3534)),
    ):
        values = value(loss, ea.Bandit([reference, 1 - reference], [optimal, 1 - optimal]), grid)
        lows = [k for k in range(1, len(t) - 1) if values[k] < values[k - 1] and values[k] < values[k + 1]]
        assert np.exp(grid[lows, 0]) == pytest.approx(minimisers, abs=2e-3), loss
        assert values[lows].max() - values.min() < 2e-4 * (1 + abs(values.min())), loss


@pytest.mark.parametrize("loss", [ea.BCO(1.0), ea.SPPO(1.0)])
def test_two_wells_are_minimisers(loss):
    """The example's two policies have one value, and no policy on an independent grid is lower."""
    numbers = two_wells(subject(loss)).numbers
    bandit = ea.Bandit(numbers["reference"], numbers["optimal"])
    policies = np.array(numbers["policies"])
    values = value(loss.with_lam(numbers["lam"]), bandit, np.log(policies))
    p = np.linspace(1e-5, 1 - 1e-5, 100_001)
    elsewhere = value(loss.with_lam(numbers["lam"]), bandit, np.log(np.stack([p, 1 - p], axis=1)))
    assert abs(values[0] - values[1]) < 1e-12 and elsewhere.min() > values[0] - 1e-12
    middle = (policies[0, 0] + policies[1, 0]) / 2
    between = elsewhere[(p > middle - 0.05) & (p < middle + 0.05)]
    assert abs(policies[0] - policies[1]).sum() > 0.05 and between.min() > values[0] + 1e-9


class Wells:
    """Of m = lam hbar: wells at |m| = 2 and 6, of nearly one depth, and a slope; at pi* = ``tie`` both are lowest.

    Beyond |m| = 1e8, where ``below`` is given, it turns to an end whose value is lower than both wells by that at the
    tie, and by a slope between theirs: then there is no minimiser near the tie, and never are there two. ``third``:
    the depth of a well at |m| = 2.7 that is a thousandth wide.
    """

    def __init__(self, below=None, third=0.0):
        self.below, self.third = below, third
        self.slope = float(self.odd(np.array([2.0, 6.0])).mean())

    @staticmethod
    def even(a):
        return 1 - numerics.exp(-((a - 2) ** 2)) - 0.99 * numerics.exp(-((a - 6) ** 2))

    @staticmethod
    def odd(m):
        return 0.2 * numerics.sigmoid(m / 3) - 0.1

    def least(self, p, low, high):
        def risk(m):
            return float(self.even(np.array(abs(m))) - (2 * p - 1) * self.odd(np.array(m)))

        return minimize_scalar(risk, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).fun

    @cached_property
    def tie(self):
        return brentq(lambda p: self.least(p, 1, 3) - self.least(p, 5, 7), 0.55, 0.95, xtol=1e-14)

    @cached_property
    def end(self):
        return self.least(self.tie, 1, 3) + (2 * self.tie - 1) * self.slope - self.below

    def __call__(self, m):
        value = self.even(abs(m)) - self.odd(m)
        value = value - self.third * numerics.exp(-(((abs(m) - 2.7) / 1e-3) ** 2))
        if self.below is None:
            return value
        gone, side = numerics.sigmoid((abs(m) - 1e8) / 1e6), 2 * numerics.sigmoid(m) - 1
        return (1 - gone) * value + gone * (self.end - self.slope * side)


def test_the_ends_and_all_between_are_looked_at_for_two_wells():
    """Where an end, or a third well, is lower, there is no tie between the two that are seen."""

    def loss(shape):
        return Made(1.0, lambda lam: terms.Stated(shape)(lam * terms.hbar))

    wells = Wells()
    numbers = two_wells(subject(loss(wells))).numbers
    assert max(numbers["optimal"]) == pytest.approx(wells.tie, abs=1e-6)
    for shape, m in ((Wells(below=2e-5), 1e10), (Wells(below=5.0), 1e10), (Wells(third=2.0), 2.7)):
        bandit = ea.Bandit(numbers["reference"], numbers["optimal"])
        own = np.log(bandit.reference[0] / bandit.reference[1])
        t = own + np.array([m, -m]) / numbers["lam"]
        elsewhere = value(loss(shape).with_lam(numbers["lam"]), bandit, log_policies(t))
        seen = value(loss(shape).with_lam(numbers["lam"]), bandit, np.log(np.array(numbers["policies"])))
        assert elsewhere.min() < seen.min() - 1e-5
        assert two_wells(subject(loss(shape))) is None


def test_one_well_is_not_called_two():
    assert two_wells(subject(ea.DPO(1.0))) is None and two_wells(subject(ea.SPO(1.0))) is None


# -------------------------------------------------------------------------------------------------------------- masses

ISLANDS = ea.Bandit(
    [0.1, 0.3, 0.2, 0.25, 0.15],
    [0.35, 0.15, 0.2, 0.1, 0.2],
    [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]],
)


def test_pair_gradients_cancel_without_convexity_but_not_without_a_premise():
    """EXO's loss beside the forward KL keeps all masses; beside another divergence, or a likelihood, it does not."""
    exo = ea.EXO(1.0).terms
    cases = {
        "forward KL": (Made(0.5, lambda lam: exo, ForwardKL()), True),
        "reverse KL": (Made(0.5, lambda lam: exo, ReverseKL()), False),
        "with a likelihood": (Made(0.5, lambda lam: exo + terms.Linear(-1.0)(terms.log_pi_w), ForwardKL()), False),
    }
    for name, (loss, kept) in cases.items():
        policy = ea.solve(loss, ISLANDS).policy
        moved = abs(np.array([policy[:2].sum(), policy[2:4].sum(), policy[4]]) - [0.4, 0.45, 0.15]).max()
        assert (moved < 1e-5) == kept, name
        found = concluded("conservation", loss)
        assert (found == ("pair_gradients_cancel", HOLDS)) == kept, name


def test_masses_that_go_all_the_way():
    """From any policy the response in no pair loses to -log pi_w what it has, and gains from APO-down."""
    bandit = ea.Bandit([0.2, 0.3, 0.5], [0.5, 0.3, 0.2], ONE_PAIR)
    policies = RNG.dirichlet(np.ones(3), 200)
    for loss, sign in ((ea.SFT(1.0), -1), (ea.DPOShift(0.3), -1), (ea.RPO(2.0), -1), (ea.APODown(0.7), 1)):
        rest = policies[:, 2:] * (1 - 0.5 * (sign < 0)) + 0.5 * (sign > 0) * (1 - policies[:, 2:])
        after = np.concatenate([policies[:, :2] * (1 - rest) / (1 - policies[:, 2:]), rest], axis=1)
        assert (value(loss, bandit, np.log(after)) < value(loss, bandit, np.log(policies))).all(), loss
        assert concluded("conservation", loss) == ("all_together_up_or_down", FAILS)
    assert concluded("conservation", ea.EXPO(1.0)) == ("pair_gradients_cancel", HOLDS)


def test_two_unseen_responses_need_a_minimum_with_something_left():
    """PRO has one at lambda = 1 on this reference and none at 0.1, and only from the former anything is concluded."""
    bandit = ea.Bandit([0.1, 0.1, 0.4, 0.4], [0.3, 0.2, 0.25, 0.25], np.pad(np.array([[0.0, 1.0], [1.0, 0.0]]), (0, 2)))
    assert SingleScores.of(ea.PRO(1.0), bandit, 1.0).minimum_inside() is not None
    assert SingleScores.of(ea.PRO(1.0), one_pair_of_three(), 0.1).minimum_inside() is None
    assert concluded("uniqueness", ea.PRO(1.0)) == ("two_unseen_share_what_is_left", FAILS)


# ---------------------------------------------------------------------------------------------------------- no optimum


@pytest.mark.parametrize("loss", [ea.KTO(0.7, reference_point=0.4), ea.APOZero(3.0), ea.SimPER(1.0)])
def test_every_policy_can_be_improved_or_none(loss):
    """Mass that goes from N < 0 to N > 0 lowers the risk, from any policy; with N = 0 the risk is flat."""
    for _ in range(20):
        optimal, reference = RNG.dirichlet(np.ones(3), 2)
        bandit = ea.Bandit(reference, optimal)
        net = bandit.wins.sum(axis=1) - bandit.wins.sum(axis=0)
        policies = RNG.dirichlet(np.ones(3), 50)
        moved = policies.copy()
        step = 0.3 * policies[:, net.argmin()]
        moved[:, net.argmin()] -= step
        moved[:, net.argmax()] += step
        assert (value(loss, bandit, np.log(moved)) < value(loss, bandit, np.log(policies))).all()
        even = value(loss, ea.Bandit(reference, [1 / 3] * 3), np.log(policies))
        assert np.ptp(even) < 1e-12
    assert concluded("uniqueness", loss) == ("no_optimum_on_any_population", FAILS)
    assert concluded("uniqueness", ea.KTO(1.0, desirable_weight=2.0)) is None


# --------------------------------------------------------------------------------------------------------- constraints


def test_divergences_rise_on_both_sides_along_tilts():
    """dD/dw has the sign of w for every f-divergence; a quadratic in log u, which is none, does not keep to that."""
    w = np.linspace(-6, 6, 241)
    for divergence in (
        ReverseKL(),
        ForwardKL(),
        Alpha(0.5),
        Alpha(3.0),
        *map(ea.divergences.resolve_divergence, ("jensen_shannon", "chi_square")),
    ):
        for _ in range(5):
            log_reference, f = np.log(RNG.dirichlet(np.ones(4))), RNG.normal(0, 1, 4)
            path = log_softmax(log_reference + w[:, None] * f, axis=1)
            values = divergence(path, np.broadcast_to(log_reference, path.shape))
            assert (np.diff(values)[w[1:] <= 0] <= 1e-9).all() and (np.diff(values)[w[:-1] >= 0] >= -1e-9).all()


def test_a_loss_that_moves_is_seen_to_move():
    """DPOP on the first class: w is far from 0 and beyond the fit, as branch and bound proves."""
    one = subject(ea.DPOP(0.3))
    drawn = classes_of(one, 2)
    first_class = Classes(
        ea.Bandit(drawn.bandit.reference[:2], drawn.bandit.optimal[:2]), drawn.features[:1], drawn.decay[:1]
    )
    found = compare(one, first_class)
    assert found.w[1, 0] == pytest.approx(7.095, abs=2e-3) and found.outside[1, 0] == pytest.approx(1.056, abs=2e-3)
    assert found.regret[1, 0] == pytest.approx(1.3e-3, rel=0.05) and found.resolved[1, 0]


@pytest.mark.parametrize("name", ["a_star_po", "qrpo"])
def test_losses_that_derive_from_rewards_are_solved_at_many_lambdas(name):
    """A batch of lambdas gives what each gives alone."""
    bandit = ea.Bandit([[0.4, 0.4, 0.2]] * 4, [[0.6, 0.3, 0.1]] * 4)
    features = np.array([[1.0], [0.0], [-1.0]])[None, None].repeat(2, 0).repeat(2, 1)
    lams = np.array([0.3, 2.0])
    from expo_analysis.optima import restricted_optima

    together = restricted_optima(ea.objective(name, lams), bandit, features).weights[:, 0]
    one = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    alone = [ea.solve(ea.objective(name, lam), one, features=features[0, 0]).weights[0] for lam in lams.tolist()]
    assert together == pytest.approx(alone, abs=1e-8) and abs(alone[0] - alone[1]) > 0.1


# ---------------------------------------------------------------------------------------------------------------- data


def test_rates():
    """Root-n is -1/2; what is zero at last falls faster than any power; what stays is 0."""
    assert rate(SIZES**-0.5, 1e-9) == pytest.approx(-0.5, abs=1e-9)
    assert rate(np.array([0.6, 0.0, 0.0, 0.0, 0.0, 0.0]), 1e-9) == -np.inf
    assert rate(np.full(6, 0.3), 1e-9) == pytest.approx(0.0, abs=1e-9)


def test_risks_converge_relative_to_their_height():
    """(1-e)(F-b) <= F_N-b <= (1+e)(F-b) on random policies, near the boundary too; the sign of F-b is what it takes."""
    optimal = np.array([0.6, 0.3, 0.1])
    population = ea.Bandit([0.4, 0.4, 0.2], optimal)
    counts = RNG.multinomial(100_000, population.wins.ravel()).reshape(3, 3)
    sample = ea.Bandit.from_counts([0.4, 0.4, 0.2], counts)
    off = counts / counts.sum() / np.where(population.wins > 0, population.wins, 1.0) - 1
    e = abs(off[population.wins > 0]).max()
    policies = log_softmax(RNG.normal(0, 1, (500, 3)) * 10 ** RNG.uniform(-1, 2.5, (500, 1)), axis=1)
    for loss in (ea.BCO(0.3), ea.SPPO(1.0), ea.ORPO(1.0), ea.EXO(1.0)):
        whole, seen = value(loss, population, policies), value(loss, sample, policies)
        assert ((1 - e) * whole <= seen + 1e-9).all() and (seen <= (1 + e) * whole + 1e-9).all()
    falling = Made(1.0, lambda lam: terms.Linear(-1.0)(terms.hbar))
    whole, seen = value(falling, population, policies), value(falling, sample, policies)
    assert not ((1 - e) * whole <= seen + 1e-9).all()
    assert concluded("consistency", falling) is None
