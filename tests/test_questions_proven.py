"""Counterexamples of questions are proofs where they say so: what proves them, tried from both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import log_expit, log_softmax, rel_entr

import expo_analysis as ea
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.decide import decide
from expo_analysis.desiderata.falsify.certify import is_trap
from expo_analysis.desiderata.ordinary import alone, best_shown, error_bound
from expo_analysis.desiderata.questions import JUDGES
from expo_analysis.desiderata.questions.calibration import errors, least_error
from expo_analysis.desiderata.questions.label_noise import _added
from expo_analysis.desiderata.rules import RULES, Known, first, flows
from expo_analysis.desiderata.subject import Optima, Subject
from expo_analysis.desiderata.verdict import FAILS, PROVEN, Counterexample
from expo_analysis.losses.statistics import log_pi_w


def subject(objective):
    return Subject(objective, *written(objective), effort=0.1)


def rule(objective):
    found = first(RULES, "displacement", Known(subject(objective), {}))
    return None if found is None else found[0].name


# ------------------------------------------------------------------------------------------------ a pair that is still

STILL, EQUALS = "a_still_pair_is_displaced", "of_two_pairs_of_equals_one_is_displaced"


def followed(loss, bandit, lam, until):
    """log-policies (T, n) along scipy's flow of the package's risk from pi_ref."""
    one = subject(loss)

    def slope(_, theta):
        return -one.gradient(bandit, lam, theta)

    start, times = np.log(bandit.reference), np.concatenate([[0.0], np.geomspace(1e-2, until, 25)])
    found = solve_ivp(slope, (0, until), start, method="LSODA", t_eval=times, rtol=1e-9, atol=1e-11)
    assert found.success
    return log_softmax(found.y.T, axis=1)


@pytest.mark.parametrize(
    "loss",
    [ea.DPO(0.5), ea.IPO(0.5), ea.EXO(0.5), ea.DiscoPOP(0.5), ea.SimPO(0.5), ea.BradleyTerry(0.5), ea.REBEL(0.5)],
    ids=lambda loss: loss.name,
)
def test_the_flow_takes_from_a_still_pair_what_the_theorem_says(loss):
    """scipy's flow against log(1 + b (cosh(d/2) - 1)), with d the other pair's difference."""
    assert rule(loss) == STILL
    bandit = ea.Bandit(flows.REFERENCE, flows.OPTIMAL, flows.PAIRS)
    logs = followed(loss, bandit, 0.5, 20.0)
    apart = logs[-1, 2] - logs[-1, 3]
    assert abs(apart) > 1e-3
    fall = np.log(1 + (flows.REFERENCE[2] + flows.REFERENCE[3]) * (np.cosh(apart / 2) - 1))
    np.testing.assert_allclose(logs[-1, :2] - logs[0, :2], -fall, rtol=1e-6, atol=1e-9)


SCORES = [
    *(ea.FDPO(1.0, name) for name in ("jensen_shannon", "forward_kl")),
    *(ea.FDPO(1.0, "alpha", alpha) for alpha in (0.3, 0.7, 1.0)),
    *(ea.ChiPO(1.0), ea.AlphaPO(1.0), ea.AlphaPO(1.0, alpha=1.0)),
    *(ea.KTO(1.0), ea.KTO(1.0, reference_point=0.5), ea.APOZero(1.0), ea.SimPER(1.0)),
]


@pytest.mark.parametrize("loss", SCORES, ids=str)
def test_a_still_pair_falls_all_the_time(loss):
    """Whatever the score: 0 and 1 keep equal, and fall from each time to the next, on problems that are drawn, too."""
    assert rule(loss) == STILL
    rng = np.random.default_rng(0)
    for least, wins in ((0.1, 0.75), *rng.uniform((0.01, 0.55), (0.24, 0.95), (1, 2))):
        reference = [least, least, 0.5 - least, 0.5 - least]
        optimal = [least, least, (1 - 2 * least) * wins, (1 - 2 * least) * (1 - wins)]
        logs = followed(loss, ea.Bandit(reference, optimal, flows.PAIRS), 1.0, 10.0)
        assert np.abs(logs[:, 0] - logs[:, 1]).max() < 1e-7
        assert (np.diff(logs[1:, 0]) < 1e-9).all() and logs[-1, 0] < logs[0, 0] - 1e-5


def test_scores_are_convex_in_minus_one_over_pi_where_the_theorem_wants_them():
    """pi a never falls: u^2 mu'(u) of a divergence. Beyond alpha = 1 it does, and nothing is concluded."""
    log_u = np.linspace(-6.0, 6.0, 2001)
    for name, of in ea.divergences.DIVERGENCES.items():
        for alpha in (0.5, 1.0, 1.2, 2.0) if name == "alpha" else (None,):
            divergence = of() if alpha is None else of(alpha)
            slope = np.exp(log_u) * np.gradient(divergence.mu(log_u), log_u)
            never_falls = bool((np.diff(slope[1:-1]) > -1e-6 * slope[1:-2]).all())
            try:
                loss = ea.FDPO(1.0, divergence)
            except (TypeError, ValueError):
                continue
            assert rule(loss) != STILL or never_falls, (name, alpha)
            if name == "alpha":
                assert (rule(loss) == STILL) == never_falls == (alpha <= 1)
    assert rule(ea.AlphaPO(1.0, alpha=1.2)) != STILL


def test_the_premises_of_the_still_pair_are_needed():
    """A divergence, or a likelihood: the still pair is pulled at, or pulls."""
    for loss in (ea.EXPO(1.0), ea.SPO(1.0), ea.CPO(1.0), ea.SFT(1.0), ea.BCO(1.0), ea.KTO(1.0, desirable_weight=1.5)):
        assert rule(loss) != STILL, loss.name


@pytest.mark.parametrize(
    "loss",
    [ea.SFT(1.0), ea.CPO(1.0), ea.RPO(1.0), ea.ORPO(1.0), ea.DPOShift(1.0), ea.TPO(1.0), ea.QRPO(1.0), ea.APODown(1.0)],
    ids=lambda loss: loss.name,
)
def test_of_two_pairs_of_equals_one_loses_on_both_sides_all_the_time(loss):
    assert rule(loss) == EQUALS
    logs = followed(loss, ea.Bandit(flows.REFERENCE, flows.REFERENCE, flows.UNEVEN), 1.0, 20.0)
    assert np.abs(logs[:, [0, 2]] - logs[:, [1, 3]]).max() < 1e-7
    steps = np.diff(logs[:, [0, 2]], axis=0)
    assert ((steps < 1e-9).all(axis=0)).sum() == 1 and (logs[-1] < logs[0] - 0.01).sum() == 2


@dataclass(frozen=True)
class Kinked(ea.PairObjective):
    """|log u_w| + |log u_l| beside DPO, less a part of both: least at pi_ref unless the part is above 1."""

    part: float = 0.5
    name = "kinked"

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        ends = (logp_w - ref_logp_w, logp_l - ref_logp_l)
        margin = -ea.numerics.log_sigmoid(self.lam * (ends[0] - ends[1]))
        # a kink with one slope at 0 itself, as by clip
        return margin + sum(2 * x.clip(min=0) - x - self.part * x for x in ends)


@pytest.mark.parametrize(("weight", "concluded"), [(0.3, True), (1e-2, False), (0.0, False)])
def test_a_pair_that_stops_at_once_is_not_displaced(weight, concluded):
    """EXPO with a likelihood beside it moves the mass of pairs: a little of it by less than what counts."""

    @dataclass(frozen=True)
    class Beside(ea.EXPO):
        name = "beside"

        @property
        def terms(self):
            return ea.EXPO(self.lam).terms + ea.terms.Linear(-weight)(log_pi_w)

    assert (rule(Beside(1.0)) == EQUALS) == concluded
    logs = followed(Beside(1.0), ea.Bandit(flows.REFERENCE, flows.REFERENCE, flows.UNEVEN), 1.0, 200.0)
    assert ((logs[0] - logs[-1]).max() > 0.01) == concluded


def test_a_kink_at_the_reference_is_no_slope():
    for part, concluded in ((0.5, False), (2.0, True)):
        assert (rule(Kinked(1.0, part)) == EQUALS) == concluded
    for loss in (ea.EXPO(1.0), ea.SPO(1.0), ea.SLiC(1.0), ea.DPO(1.0), ea.DPOP(1.0), ea.BCO(1.0), ea.SPPO(1.0)):
        assert rule(loss) != EQUALS, loss.name


# -------------------------------------------------------------------------------------------------------------- traps


@dataclass(frozen=True)
class Wells(ea.PairObjective):
    """F(h) = -cos h + (h - centre)^2 / 100 of h = log pi_w/pi_l: the lowest well is the one nearest to the centre."""

    centre: float = 7.0
    name = "wells"

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        h = logp_w - logp_l
        return -torch.cos(h) + (h - self.centre) ** 2 / 100


ONE_WIN = ea.Bandit.from_counts([0.5, 0.5], [[0, 0], [1, 0]])  # 1 beats 0: h is log pi_1/pi_0


@pytest.mark.parametrize(
    ("trap", "ridge", "best", "expected"),
    [
        (0.1, np.pi, 6.3, True),  # the well at 0 ends below the ridge; everything left of that is higher than at 2 pi
        (12.5, 9.4, 6.3, True),  # the same on the other side
        (0.1, 6.3, 6.3, False),  # no ridge
        (0.1, 1.0, 6.3, True),  # any point that is high enough keeps a descent on its side
        (4.0, np.pi, 0.1, False),  # behind the ridge, on the trap's side, 2 pi is lower than what is called best
        (6.3, np.pi, 0.1, False),  # the trap is lower than what is called best
    ],
)
def test_traps(trap, ridge, best, expected):
    assert is_trap(subject(Wells(1.0)), ONE_WIN, 1.0, trap, ridge, best) is expected


def test_a_convex_loss_has_no_trap():
    bandit = ea.Bandit([0.5, 0.5], [0.8, 0.2])
    rng = np.random.default_rng(0)
    for trap, ridge, best in np.sort(rng.uniform(-8, 8, (20, 3)), axis=1):
        for a, b in ((trap, best), (best, trap)):
            assert not is_trap(subject(ea.DPO(1.0)), bandit, 1.0, a, ridge, b)


# ------------------------------------------------------------------------------------------------------- error bounds


def test_branch_and_bound_finds_how_far_the_minimiser_may_be():
    loss, bandit = ea.BCO(0.3), ea.Bandit([[0.5, 0.5]], [[0.8, 0.2]])
    one = subject(loss)
    optima = one.optima(bandit, [0.3])
    assert not np.isfinite(optima.bound).any()
    bound = error_bound(one, bandit, optima, 1e-4)
    assert bound <= 1e-4
    t = np.linspace(-15, 15, 400_001)
    policies = np.stack([log_expit(-t), log_expit(t)], axis=1)
    lowest = np.exp(policies[np.argmin(one.value(alone(bandit), 0.3, policies))])
    assert np.abs(lowest - optima.policies[0, 0]).sum() <= bound + 1e-4
    turned = (x[..., ::-1] for x in (optima.policies, optima.log_policies))
    elsewhere = Optima(optima.lams, *turned, optima.bound, optima.status)
    assert error_bound(one, bandit, elsewhere, 1e-4) == np.inf


def test_the_solvers_own_bound_is_taken():
    one, bandit = subject(ea.DPO(1.0)), ea.Bandit([[0.5, 0.5]], [[0.8, 0.2]])
    optima = one.optima(bandit, [1.0])
    assert error_bound(one, bandit, optima, 1e-30) == optima.bound.max() < 1e-10


@pytest.mark.parametrize("loss", [ea.BCO(0.5), ea.SimPO(0.5), ea.ChiPO(0.5)], ids=lambda loss: loss.name)
def test_the_least_calibration_error_near_a_policy(loss):
    """No policy within the bound has less; it is the error itself at bound 0, and reached with two responses."""
    rng, one = np.random.default_rng(1), subject(loss)
    for n in (2, 3, 4):
        bandit = ea.Bandit(*(rng.dirichlet(np.full(n, 3.0), 1) for _ in range(2)))
        policy = rng.dirichlet(np.full(n, 3.0))

        optima = one.optima(bandit, [0.5])

        def error(x, bandit=bandit, optima=optima):
            at = Optima(optima.lams, x[None, None], np.log(x)[None, None], optima.bound, optima.status)
            return float(errors(one, bandit, at)[0, 0])

        assert least_error(one, bandit, 0.5, policy[None], 0.0) == pytest.approx(error(policy), rel=1e-12)
        bound = 0.02
        least = least_error(one, bandit, 0.5, policy[None], bound)
        moves = rng.normal(size=(300, n))
        moves -= moves.mean(axis=1, keepdims=True)
        moves *= bound / np.abs(moves).max(axis=1, keepdims=True)
        near = [error(policy + m) for m in moves if (policy + m > 0).all()]
        assert least <= min(near)
        if n == 2:
            assert least == pytest.approx(min(near), rel=1e-9)


def test_how_much_the_distance_to_pi_star_can_change():
    rng = np.random.default_rng(2)
    for n in (2, 3, 4):
        for _ in range(100):
            best, policy = rng.dirichlet(np.ones(n)), rng.dirichlet(np.full(n, 0.3))
            other = rng.dirichlet(np.full(n, 0.3))
            moved = policy + rng.uniform(0, 0.2) * (other - policy)
            bound = np.abs(moved - policy).sum()
            change = abs(rel_entr(moved, best).sum() - rel_entr(policy, best).sum())
            assert change <= _added(ea.Bandit(best, best), bound) + 1e-12
    assert _added(ea.Bandit(best, best), np.inf) == np.inf and _added(ea.Bandit(best, best), 0.0) == 0.0


def test_what_is_proven_is_shown_before_what_is_not():
    seen, proven = Counterexample("seen", {}, ""), Counterexample("proven", {}, "")

    def attempts(*found):
        for x in found:
            assert x != "late", "nothing is tried after a proof"
            yield x

    assert best_shown(attempts((seen, False), (None, False), (proven, True), "late")) == (proven, True)
    assert best_shown(attempts((None, False), (seen, False), (proven, False))) == (seen, False)
    assert best_shown(attempts()) == (None, False)


@pytest.mark.parametrize(
    ("key", "loss"),
    [("local_minima", ea.BCO(1.0)), ("calibration", ea.SPPO(1.0)), ("pair_dependence", ea.SPPO(1.0))],
    ids=["local_minima", "calibration", "pair_dependence"],
)
def test_failures_of_losses_without_bounds_are_proven(key, loss):
    found = decide(key, JUDGES[key], Subject(loss, *written(loss), effort=1.0), {})
    assert (found.decision, found.basis) == (FAILS, PROVEN)
