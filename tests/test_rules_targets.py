"""The theorem on places that do not fit into one policy, against scipy's flow: who is said to lose does, only that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import log_softmax

import expo_analysis as ea
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.rules import RULES, Known, first, targets
from expo_analysis.desiderata.rules.boxes import SingleScores
from expo_analysis.desiderata.subject import Subject
from expo_analysis.terms import Hinge, Linear, Logistic, Square, hbar, log_u_l, log_u_w

RULE = "places_that_do_not_fit"


@dataclass(frozen=True)
class Held(ea.PairObjective):
    """Rewards lam log u held to +goal and -goal by squares, and to 0 by logistic losses, beside a margin."""

    squares: float = 1.0
    goal: float = 0.5
    logistic: float = 0.0
    margin: float = 0.0
    name = "held"

    @property
    def terms(self):
        up, down = (self.lam * x for x in (log_u_w, log_u_l))
        return (
            self.squares * Square()(up - self.goal)
            + self.squares * Square()(down + self.goal)
            + self.logistic * Logistic(0.9, 0.1)(up)
            + self.logistic * Logistic(0.1, 0.9)(down)
            + self.margin * Logistic()(self.lam * hbar)
        )


def subject(loss):
    return Subject(loss, *written(loss), effort=0.1)


def concluded(loss):
    found = first(RULES, "displacement", Known(subject(loss), {}))
    return None if found is None else found[0].name


def sigma(x):
    return 1 / (1 + np.exp(-x))


# Slopes of a pair's loss in the winner's and the loser's reward, lam log u, from the definitions.
BY_HAND = {
    "bco": lambda won, lost: (-sigma(-won), sigma(lost)),
    "nca": lambda won, lost: (-sigma(-won) + sigma(won) / 2, sigma(lost) / 2),
    "sppo": lambda won, lost: (2 * (won - 0.5), 2 * (lost + 0.5)),
    "cal_dpo": lambda won, lost: (-sigma(lost - won) + won - 0.5, sigma(lost - won) + lost + 0.5),
    "pro": lambda won, lost: (-sigma(lost - won) + sigma(won) - 0.5, sigma(lost - won) + sigma(lost) - 0.5),
}
LOSSES = [ea.BCO(1.0), ea.NCA(1.0), ea.SPPO(1.0), ea.CalDPO(1.0), ea.PRO(1.0)]


def by_hand(loss):
    """As in `BY_HAND`, of `Held`."""

    def held(m):
        return loss.logistic * (0.1 * sigma(m) - 0.9 * sigma(-m))

    def slopes(won, lost):
        margin = loss.margin * sigma(lost - won)
        return (
            2 * loss.squares * (won - loss.goal) + held(won) - margin,
            2 * loss.squares * (lost + loss.goal) - held(-lost) + margin,
        )

    return slopes


def gradient(slopes, bandit, theta):
    """In the logits, at lambda = 1."""
    logs = log_softmax(theta)
    score, c = logs - np.log(bandit.reference), np.zeros(5)
    for i in range(5):
        for j in range(5):
            if bandit.wins[i, j] > 0:
                up, down = slopes(score[i], score[j])
                c[i] += bandit.wins[i, j] * up
                c[j] += bandit.wins[i, j] * down
    return c - np.exp(logs) * c.sum()


def ended(loss, bandit, slopes):
    """The policy at which scipy's flow from pi_ref has come to rest, by slopes that are the package's."""
    theta = np.array([0.3, -1.0, 0.2, 0.7, -0.4])
    np.testing.assert_allclose(
        gradient(slopes, bandit, theta), subject(loss).gradient(bandit, 1.0, theta), rtol=1e-10, atol=1e-13
    )
    start = np.log(bandit.reference)
    found = solve_ivp(
        lambda _, theta: -gradient(slopes, bandit, theta), (0, 1e4), start, method="LSODA", rtol=1e-8, atol=1e-10
    )
    assert found.success and np.abs(gradient(slopes, bandit, found.y[:, -1])).max() < 1e-3
    return np.exp(log_softmax(found.y[:, -1]))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_a_pair_at_its_place_loses_on_both_sides(loss):
    assert concluded(loss) == RULE
    policy = ended(loss, ea.Bandit(targets.REFERENCE, targets.OPTIMAL, targets.PAIRS), BY_HAND[loss.name])
    assert (policy[2:4] < np.array(targets.REFERENCE[2:4]) - 0.002).all()
    assert policy[4] < 0.01  # the response in no pair loses all


def test_who_asks_for_more_than_there_is_takes_it_and_who_does_not_takes_nothing():
    """Random rewards, references and preferences: the premise, and the end of the flow."""
    rng = np.random.default_rng(5)
    asked = []
    for _ in range(30):
        weights = rng.uniform(0, 1, 3) * (rng.random(3) < 0.7)
        loss = Held(1.0, weights[0] + 0.1, rng.uniform(0, 1), *weights[1:])
        still = rng.uniform(0.05, 0.2)
        left = (1 - 2 * still) * rng.dirichlet([3, 2, 1.5])
        share = left[:2].sum() * rng.uniform(0.5, 0.97)
        optimal = [share, left[:2].sum() - share, still, still, left[2]]
        bandit = ea.Bandit([left[0], left[1], still, still, left[2]], optimal, targets.PAIRS)
        scores = SingleScores.of(loss, targets._parts(bandit)[0], loss.lam)
        assert targets._held(scores)
        asked.append(targets.asked_for(scores, 1 - 2 * still) is not None)
        policy = ended(loss, bandit, by_hand(loss))
        if asked[-1]:
            assert (policy[2:4] < still * (1 - 1e-6)).all()
        else:  # or they ask for so little more that no point of the grid has shown it
            np.testing.assert_allclose(policy[2:4], still, rtol=2e-3)
    assert 5 < sum(asked) < 25


def test_premises():
    """What is not of the theorem's terms, or holds only one side, is left to the flow."""
    assert concluded(Held(1.0)) == concluded(Held(1.0, 0.0, 0.0, 1.0, 1.0)) == RULE
    for loss in (Held(1.0, 0.0, 0.0, 0.0, 1.0), ea.EXPO(1.0), ea.DPO(1.0), ea.IPO(1.0), ea.DPOP(1.0), ea.SPO(1.0)):
        assert concluded(loss) != RULE, loss.name
    assert concluded(Held(1.0, 1.0, 0.0)) is None  # they ask for nothing

    @dataclass(frozen=True)
    class Other(Held):
        """Beside them one term that is none of the theorem's."""

        which: str = "hinge"
        name = "other"

        @property
        def terms(self):
            beside = {
                "hinge": Hinge()(self.lam * hbar),
                "line": Linear()(0.01 * log_u_w),
                "lopsided": Logistic()(self.lam * hbar + 0.5 * self.lam * log_u_w),
            }
            return Held(self.lam).terms + beside[self.which]

    assert all(concluded(Other(1.0, which=which)) != RULE for which in ("hinge", "line", "lopsided"))

    @dataclass(frozen=True)
    class Winners(Held):
        """Nothing holds the loser but the margin."""

        name = "winners"

        @property
        def terms(self):
            return Square()(self.lam * log_u_w - 0.5) + Logistic()(self.lam * hbar)

    one_win = ea.Bandit.from_counts([0.3, 0.3, 0.4], [[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    at = SingleScores.of(Winners(1.0), one_win, 1.0)
    assert at is not None and not targets._held(at)
