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


def subject(objective):
    return Subject(objective, *written(objective), effort=0.1)


def rule(objective):
    found = first(RULES, "displacement", Known(subject(objective), {}))
    return None if found is None else found[0].name


# ------------------------------------------------------------------------------------------------ a pair that is still

STILL = "a_still_pair_is_displaced"


@pytest.mark.parametrize(
    "loss",
    [ea.DPO(0.5), ea.IPO(0.5), ea.EXO(0.5), ea.DiscoPOP(0.5), ea.SimPO(0.5), ea.BradleyTerry(0.5), ea.REBEL(0.5)],
    ids=lambda loss: loss.name,
)
def test_the_flow_takes_from_a_still_pair_what_the_theorem_says(loss):
    """scipy's flow of the package's risk against log(1 + b (cosh(d/2) - 1)), with d the other pair's difference."""
    assert rule(loss) == STILL
    bandit = ea.Bandit(flows.REFERENCE, flows.OPTIMAL, flows.PAIRS)
    one = subject(loss)

    def slope(_, theta):
        return -one.gradient(bandit, 0.5, theta)

    start = np.log(flows.REFERENCE)
    end = solve_ivp(slope, (0, 20.0), start, method="LSODA", rtol=1e-10, atol=1e-12).y[:, -1]
    apart = end[2] - end[3]
    assert abs(apart) > 1e-3
    fall = np.log(1 + (flows.REFERENCE[2] + flows.REFERENCE[3]) * (np.cosh(apart / 2) - 1))
    np.testing.assert_allclose(log_softmax(end)[:2] - start[:2], -fall, rtol=1e-6, atol=1e-9)


def test_the_premises_of_the_still_pair_are_needed():
    """A divergence, a likelihood, or scores other than log u: the still pair is pulled at, or pulls."""
    for loss in (ea.EXPO(1.0), ea.SPO(1.0), ea.CPO(1.0), ea.SFT(1.0), ea.KTO(1.0), ea.FDPO(1.0)):
        assert rule(loss) != STILL, loss.name


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
