"""Optima on the boundary of the simplex, and what is said where the objective has no value."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.catalogue import of_lambda_alone
from expo_analysis.losses.psi import Logistic, Stated
from expo_analysis.losses.statistics import h, hbar, linked, log_pi_w, per_token, powered
from expo_analysis.optima.faces import has_closed_domain, may_be_on_a_face, minimum_on_face
from expo_analysis.optima.methods import boundary

from . import problems
from .own_losses import Cubic, own

LOSSES: dict[str, ea.Objective] = {
    **{name: loss for name, loss in of_lambda_alone(1.0).items() if name != "aot"},
    **{f"explicit, {name}": ea.ExplicitPO(1.0, name) for name in ("chi_square", "mixed_chi_square", "jensen_shannon")},
    **{f"f-dpo, {name}": ea.FDPO(1.0, name) for name in ("chi_square", "forward_kl")},
    **{f"rlhf, {name}": ea.RLHF(1.0, name) for name in ("chi_square", "forward_kl")},
    "explicit, cubic": ea.ExplicitPO(1.0, Cubic()),
    "f-dpo, cubic": ea.FDPO(1.0, Cubic()),
    "alpha_po, -1/2": ea.AlphaPO(1.0, alpha=-0.5),
}
COUNTS: dict[str, tuple[Any, Any]] = {
    "one win": ([0.5, 0.5], [[0, 1], [0, 0]]),
    "equals below one": ([0.4, 0.4, 0.2], [[0, 0, 1], [3, 0, 3], [1, 0, 0]]),
    "islands": ([0.3, 0.3, 0.2, 0.2], [[0, 3, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]),
    "prompts": ([[0.5, 0.5], [0.9, 0.1]], [[[0, 1], [0, 0]], [[0, 2], [3, 0]]]),
}


def extreme(with_rewards: bool = False) -> dict[str, ea.Bandit]:
    """Preferences, references and data that are hard to fit; with rewards of hundreds for losses that read them."""
    return {
        "sharp": ea.Bandit([0.4, 0.4, 0.2], [1 - 2e-300, 1e-300, 1e-300]),
        "sharp reference": ea.Bandit([1 - 2e-300, 1e-300, 1e-300], [0.6, 0.3, 0.1]),
        **{
            name: ea.Bandit.from_counts(r, counts, rewards=-300.0 * np.array(r) if with_rewards else None)
            for name, (r, counts) in COUNTS.items()
        },
    }


EXTREME = extreme()
LAMS = (1e-300, 1e-3, 1.0, 1e12)


def said_of_nothing(path: ea.Path) -> list[Any]:
    """What is said of policies that are none, or whose values are none, but that they are no minimisers."""
    none = np.isnan(path.value) | np.isnan(path.log_policies).any(axis=-1)
    nothing = ["no_minimiser", "failed"]  # and of a reward that is known on components alone, no value is
    nothing += ["not_unique"] if isinstance(path.objective, ea.RLHF) else []
    said = ~np.isin(np.asarray(path.status, dtype=str), nothing)
    return list(zip(*np.nonzero(none & said), strict=True))


@pytest.mark.parametrize(
    "name", [n if k % 6 == 0 else pytest.param(n, marks=pytest.mark.slow) for k, n in enumerate(LOSSES)]
)
@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # 1/lam^2 is no number
def test_nothing_is_said_of_what_has_no_value(name: str, restricted: bool) -> None:
    loss = LOSSES[name]
    for where, bandit in extreme(isinstance(loss, ea.PairObjective) and loss.reads_rewards).items():
        features = np.arange(bandit.n, dtype=float)[:, None] if restricted else None
        path = ea.solve_path(loss, bandit, LAMS, features=features)
        assert not said_of_nothing(path), (where, path.status)


@pytest.mark.parametrize("method", ["auto", "multistart"])
@pytest.mark.parametrize("lam", [1e-3, 1e-2, 0.03])
def test_a_vertex_without_a_value_is_no_minimiser(lam: float, method: str) -> None:
    """Two that win as often against one another, beside one that beats both: at its vertex their loss is log(0/0)."""
    loss, bandit = ea.ExplicitPO(lam, "chi_square"), EXTREME["equals below one"]
    found = ea.solve(loss, bandit, method)
    assert (found.status, found.certificate) == ("no_minimiser", "search") and np.isnan(found.value)
    assert "responses [0, 2] tends to 0" in found.message and np.isnan(found.error_bound)
    assert found.policy.tolist() == [0, 1, 0]
    e = 10.0 ** -np.arange(2, 9)
    values = ea.risk(loss, bandit, np.log(np.stack([e, 1 - 2 * e, e], axis=1)))
    assert (np.diff(values) < 0).all(), "the values fall all the way"


@pytest.mark.parametrize("lam", [0.05, 0.08, 0.1, 0.11, 0.15])
def test_the_minimum_on_a_face_is_found_on_it(lam: float) -> None:
    """Where searches stop short of it, too: 2 loses to 1 alone, and chi-square's slope at 0 lets it go."""
    loss, bandit = (
        ea.ExplicitPO(lam, "chi_square"),
        ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 1, 0], [3, 0, 3], [0] * 3]),
    )
    found = ea.solve(loss, bandit)
    assert found.status == "best_found" and "on the boundary: responses [2] have probability 0" in found.message
    p = np.linspace(0.2, 0.4, 200_001)
    face = ea.risk(loss, bandit, np.log(np.stack([p, 1 - p, 1e-300 + 0 * p], axis=1)))
    assert found.policy == pytest.approx([p[face.argmin()], 1 - p[face.argmin()], 0.0], abs=2e-6)
    assert found.value == pytest.approx(face.min(), abs=1e-11)


def lowest_on_a_grid(loss: ea.PairObjective, bandit: ea.Bandit) -> float:
    """Over the closed simplex of two or three responses: code that takes -inf for log 0."""
    x = np.linspace(0.0, 1.0, 201)
    grid = np.stack(np.meshgrid(*[x] * (bandit.n - 1), indexing="ij"), axis=-1).reshape(-1, bandit.n - 1)
    rest = 1 - grid.sum(axis=1)
    kept = rest > -1e-12
    with np.errstate(divide="ignore"):
        logs = np.log(np.concatenate([grid, np.maximum(rest, 0.0)[:, None]], axis=1)[kept])
    return float(ea.risk(loss, bandit, logs).min())


@pytest.mark.parametrize("lam", [0.01, 0.3])
def test_scores_that_are_finite_at_zero_have_a_minimiser(lam: float) -> None:
    """A continuous function on the closed simplex: a vertex with a finite loss that nothing is below is a minimum."""
    rng = np.random.default_rng(3)
    drawn = [ea.Bandit([0.5, 0.5], [0.9, 0.1]), EXTREME["one win"], ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])]
    drawn += [problems.bandit(rng, 3, "uniform", 0.02) for _ in range(3)]
    for loss in (ea.FDPO(lam, Cubic()), ea.AlphaPO(lam, alpha=-0.5), ea.FDPO(lam, "chi_square")):
        for bandit in drawn:
            found = ea.solve(loss, bandit)
            assert found.status in ("optimal", "best_found", "failed"), (loss, bandit, found.message)
            assert found.status == "failed" or found.value <= lowest_on_a_grid(loss, bandit) + 1e-12
    vertex = ea.solve(ea.FDPO(0.05, Cubic()), drawn[0])
    assert vertex.policy.tolist() == [1, 0] and vertex.status == "best_found"
    assert "on the boundary: responses [1] have probability 0" in vertex.message


def test_code_without_a_value_at_minus_infinity_is_asked_next_to_it() -> None:
    """exp(3x) - 1 as 0 x + ...: nan at log 0, though the loss is continuous there."""

    class Careless(Cubic):
        def mu(self, log_u: Any) -> Any:
            return super().mu(log_u) + 0.0 * log_u

    found = ea.solve(ea.FDPO(0.05, Careless()), ea.Bandit([0.5, 0.5], [0.9, 0.1]))
    other = ea.solve(ea.FDPO(0.05, Cubic()), ea.Bandit([0.5, 0.5], [0.9, 0.1]))
    assert found.status == other.status == "best_found" and found.value == pytest.approx(other.value, rel=1e-14)
    assert found.policy[1] < 1e-290 and np.isfinite(found.log_policy).all()


def test_which_objectives_have_values_on_the_boundary() -> None:
    chi, cubic = ea.ChiSquare(), Cubic()
    closed = {
        "cubic": (own(lambda lam: Logistic()(lam * linked(cubic))), True, True),
        "cubic beside chi-square": (own(lambda lam: Logistic()(linked(cubic)), chi), True, True),
        "cubic beside KL": (own(lambda lam: Logistic()(linked(cubic)), ea.ReverseKL()), False, False),
        "powers": (own(lambda lam: Logistic()(per_token(powered(-0.5)))), True, True),
        "other powers": (own(lambda lam: Logistic()(powered(0.5))), False, False),
        "ratios": (own(lambda lam: Logistic()(lam * hbar)), False, False),
        "ratios beside chi-square": (own(lambda lam: Logistic()(h), chi), False, True),
        "one of two": (own(lambda lam: Logistic()(linked(cubic)) + Stated(lambda m: m**2)(log_pi_w)), False, False),
    }
    for name, (loss, has, may) in closed.items():
        assert (has_closed_domain(loss), may_be_on_a_face(loss)) == (has, may), name
    assert not has_closed_domain(ea.RLHF(1.0, "chi_square")) and not may_be_on_a_face(ea.RLHF(1.0, "chi_square"))


def test_a_vertex_from_which_something_is_gained_is_none() -> None:
    """At the loser's vertex every move is downhill; at the winner's none is."""
    problem = problems.problem(ea.FDPO(0.05, Cubic()), EXTREME["one win"]).in_logits()
    winner = problem.responses[:, 0] == 0
    up, down = (np.where(winner, x, -x)[:, None] for x in (450.0, -450.0))
    found = minimum_on_face(problem, up)
    assert found is not None and np.exp(found[:, 0]).tolist() == [float(x) for x in winner]
    assert minimum_on_face(problem, down) is None
    assert minimum_on_face(problem, np.zeros((2, 1))) is None, "nothing has vanished"


@pytest.mark.parametrize("n", [2, 4])
def test_the_derivatives_in_ratios_that_steps_towards_a_face_take(n: int) -> None:
    """Gradient and Hessian in u = pi/pi_ref, of chi-square's scores, against differences in 30 digits."""
    rng = np.random.default_rng(n)
    bandit = problems.bandit(rng, n, "complete")
    one = problems.problem(ea.FDPO(0.7, "chi_square"), bandit)
    place = np.abs(np.log(bandit.reference) - one.log_reference).argmin(axis=1)  # whose order is one's own
    wins, u = bandit.wins[np.ix_(place, place)], rng.uniform(0.2, 2.0, n)
    gradient, hessian = boundary._derivatives(one, u)

    def value(*own: Any) -> Any:
        terms = [
            float(wins[i, j]) * mp.log1p(mp.exp(-mp.mpf(0.7) * 2 * (own[i] - own[j])))
            for i in range(n)
            for j in range(n)
            if wins[i, j] > 0
        ]
        return mp.fsum(terms)

    with mp.workdps(30):
        for i in range(n):
            order = [int(k == i) for k in range(n)]
            np.testing.assert_allclose(gradient[i], float(mp.diff(value, tuple(u), tuple(order))), rtol=1e-9)
            for j in range(n):
                both = [order[k] + int(k == j) for k in range(n)]
                np.testing.assert_allclose(hessian[i, j], float(mp.diff(value, tuple(u), tuple(both))), rtol=1e-8)
