"""`solve` on `Comparisons`: the dense solver's optima, bounds that 50 digits do not break, what they are made of."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

import expo_analysis as ea
from expo_analysis.losses.data import Data
from expo_analysis.losses.psi import Logistic
from expo_analysis.losses.statistics import h
from expo_analysis.optima import derivatives, parts
from expo_analysis.optima.solution import Status
from expo_analysis.optima.sparse import certificate, factor, newton
from expo_analysis.optima.sparse.certificate import Routes
from expo_analysis.optima.sparse.graph import Graph
from expo_analysis.optima.sparse.newton import Solver
from expo_analysis.optima.sparse.problem import Local, System, Wins, problem_of
from expo_analysis.optima.sparse.tree import Tree

from . import oracles
from .own_losses import own

LOSSES: dict[str, Any] = {
    "expo": ea.EXPO(0.1),
    "expo, small lambda": ea.EXPO(1e-6),
    "dpo": ea.DPO(0.5),
    "conservative dpo": ea.DPO(0.5, label_smoothing=0.1),
    "bradley-terry": ea.BradleyTerry(1.0),
    "ipo": ea.IPO(0.3),
    "regression": ea.RegressionEXPO(0.5, criterion="cross_entropy"),
}


def drawn(n: int, m: int, seed: int = 0, reference: Any = None, least: float = 0.0) -> ea.Comparisons:
    """m battles of players whose scores are normal; each then beats the next with the weight ``least``."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n)
    one = rng.integers(0, n, m)
    other = (one + rng.integers(1, n, m)) % n
    won = rng.random(m) < 1 / (1 + np.exp(score[other] - score[one]))
    winner, loser = np.where(won, one, other), np.where(won, other, one)
    weight = np.ones(m)
    if least:
        winner, loser = np.append(winner, np.arange(n)), np.append(loser, (np.arange(n) + 1) % n)
        weight = np.append(weight, np.full(n, least))
    policy = rng.dirichlet(np.full(n, 3.0)) if reference is None else reference
    return ea.Comparisons(winner, loser, weight, reference=policy, responses=[f"p{k:07}" for k in range(n)])


# ------------------------------------------------------------------------------------------------ as the dense solver


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n", [2, 3, 12, 40])
def test_the_dense_solvers_optimum(name: str, n: int) -> None:
    comparisons = drawn(n, 4 * n, n, least=0.5)
    found, wanted = ea.solve(LOSSES[name], comparisons), ea.solve(LOSSES[name], comparisons.bandit())
    assert found.status == wanted.status == "optimal" and found.certificate == "error_bound"
    assert np.abs(found.policy - wanted.policy).sum() < 1e-12 and found.error_bound < 1e-11
    assert np.abs(found.log_policy - wanted.log_policy).max() < 1e-10
    assert math.isclose(found.value, wanted.value, rel_tol=1e-12, abs_tol=1e-14)
    assert found.message == wanted.message


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(12))
def test_what_exists_and_what_is_unique(name: str, seed: int) -> None:
    """Few battles of many: components, lone players, players who never win or lose, told as the dense solver does."""
    comparisons = drawn(9, 4 + seed, seed)
    found, wanted = ea.solve(LOSSES[name], comparisons), ea.solve(LOSSES[name], comparisons.bandit())
    assert found.status == wanted.status
    assert np.abs(found.policy - wanted.policy).sum() < 1e-12
    assert math.isnan(found.error_bound) == math.isnan(wanted.error_bound)
    # pieces of two responses have a closed form there, whose bound is smaller where a small lambda is all that holds
    most = 1e-4 if name == "expo, small lambda" else 1e-11 + 30 * wanted.error_bound
    assert math.isnan(found.error_bound) or found.error_bound < most
    assert (found.policy == 0).tolist() == (wanted.policy == 0).tolist()


def test_robust_dpo_is_proven_or_said_to_be_unknown() -> None:
    """Costs of both signs: an error bound proves existence, or nothing does."""
    robust = ea.DPO(1.0, label_smoothing=0.2, robust=True)
    even = ea.Comparisons([0, 1, 1, 2], [1, 0, 2, 1], [3, 2, 2, 3])
    found, wanted = ea.solve(robust, even), ea.solve(robust, even.bandit())
    assert found.status == wanted.status == "optimal"
    assert np.abs(found.policy - wanted.policy).sum() < 1e-12
    cycle = ea.Comparisons([0, 1, 2], [1, 2, 0], [1.0, 1e-3, 1e-6])  # on which steps run away until numbers overflow
    for uneven in (ea.Comparisons([0, 1], [1, 0], [95, 5]), cycle):
        lost = ea.solve(ea.DPO(1.0, label_smoothing=0.1, robust=True), uneven)
        assert lost.status == "failed" and "no error bound proves that there is a minimiser" in lost.message


def test_messages_name_a_few_of_many() -> None:
    chain = ea.Comparisons(np.arange(100), np.arange(1, 101))
    found = ea.solve(ea.DPO(1.0), chain)
    assert found.status == "no_minimiser" and abs(found.policy[0] - 1) < 1e-14 and found.certificate == "theorem"
    assert "responses [1, 2, 3, 4, 5, ... 100 in all] lose every comparison" in found.message
    apart = ea.Comparisons([0, 1], [1, 0], responses=list("abcd"))
    found = ea.solve(ea.EXPO(1.0), apart)
    assert found.status == "optimal" and np.allclose(found.policy, 0.25, atol=1e-15)
    assert "3 components (responses [c, d] are in no comparison); each keeps its mass" in found.message


# -------------------------------------------------------------------------------------------------- against 50 digits


def tilted(bandit: ea.Bandit, scores: list[mp.mpf]) -> list[mp.mpf]:
    return oracles.normalised([mp.log(r) + s for r, s in zip(oracles.reference_of(bandit), scores, strict=True)])


def smoothed(eps: str) -> Callable[[ea.Bandit, float, ea.Solution], list[mp.mpf]]:
    """DPO's optimum, from where the solver found it: there is a long way to it where weights are uneven."""

    def exact(bandit: ea.Bandit, lam: float, found: ea.Solution) -> list[mp.mpf]:
        kept, flipped = 1 - mp.mpf(eps), mp.mpf(eps)
        theta = oracles.newton(
            lambda i, j, m: -kept * oracles.sigma(-m) + flipped * oracles.sigma(m),
            lambda i, j, m: oracles.sigma(m) * oracles.sigma(-m),
            oracles.wins(bandit),
            lam * (found.log_policy - np.log(bandit.reference)),
            mp.mpf(0),
            oracles.reference_of(bandit),
            [[0]],
        )
        return tilted(bandit, [t / mp.mpf(lam) for t in theta])

    return exact


EXACT: dict[str, tuple[Callable[[float], Any], Callable[[ea.Bandit, float, ea.Solution], list[mp.mpf]]]] = {
    "expo": (ea.EXPO, lambda b, lam, s: oracles.expo(b, lam, s.log_policy)),
    "ipo": (ea.IPO, lambda b, lam, s: tilted(b, oracles.ipo_scores(b, lam))),
    "dpo": (ea.DPO, smoothed("0")),
    "smoothed dpo": (lambda lam: ea.DPO(lam, label_smoothing=0.125), smoothed("0.125")),
}


@st.composite
def sparse_problems(draw: st.DrawFn) -> tuple[ea.Comparisons, float]:
    """A cycle, so that all hangs together and everyone wins once, a few more pairs, and weights over some decades."""
    n = draw(st.integers(2, 8))
    decades = draw(st.sampled_from([0.0, 2.0, 6.0]))
    more = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(1, n - 1)), max_size=2 * n))
    winner = [*range(n), *(i for i, _ in more)]
    loser = [*((i + 1) % n for i in range(n)), *((i + step) % n for i, step in more)]
    exponents = draw(st.lists(st.floats(-1, 1), min_size=len(winner), max_size=len(winner)))
    reference = np.array(draw(st.lists(st.floats(0.01, 1), min_size=n, max_size=n)))
    weight = [10 ** (decades * x) for x in exponents]
    return ea.Comparisons(winner, loser, weight, reference=reference / reference.sum()), 10 ** draw(st.floats(-2, 2))


def check_bound(name: str, problem: tuple[ea.Comparisons, float]) -> None:
    (make, exact), (comparisons, lam) = EXACT[name], problem
    found = ea.solve(make(lam), comparisons)
    if math.isnan(found.error_bound):
        assert found.status == "best_found"  # rounding hides the curvature
        return
    assert found.status == "optimal"
    with mp.workdps(80):  # steps of 1e-42 are below rounding in 50 digits where weights are uneven
        assert oracles.distance(found.policy, exact(comparisons.bandit(), lam, found)) <= found.error_bound


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(problem=sparse_problems())
def test_bounds_against_50_digits(name: str, problem: tuple[ea.Comparisons, float]) -> None:
    check_bound(name, problem)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(problem=sparse_problems())
def test_bounds_against_50_digits_on_a_thousand(name: str, problem: tuple[ea.Comparisons, float]) -> None:
    check_bound(name, problem)


@pytest.mark.parametrize("name", ["ipo", "smoothed dpo"])
@pytest.mark.parametrize("weight", [1e-6, 1e-9, 1e-12])
def test_two_cliques_on_a_thread(name: str, weight: float) -> None:
    rng = np.random.default_rng(3)
    counts = np.zeros((10, 10))
    counts[:5, :5], counts[5:, 5:] = rng.random((2, 5, 5))
    counts[0, 5], counts[5, 0] = weight, weight / 3
    np.fill_diagonal(counts, 0)
    comparisons, (make, exact) = ea.Comparisons.from_counts(counts), EXACT[name]
    found = ea.solve(make(0.3), comparisons)
    with mp.workdps(80):
        error = oracles.distance(found.policy, exact(comparisons.bandit(), 0.3, found))
    assert error <= found.error_bound < 1e-12


@pytest.mark.parametrize(
    ("exponents", "lam"), [([-1, 3, -3, -5, 6, 1], 10.0), ([0, 6, -6, 2, -4, 5, 1, -3], 0.5), ([6, -6, 6, -6], 3.0)]
)
def test_weights_of_twelve_decades(monkeypatch: pytest.MonkeyPatch, exponents: list[int], lam: float) -> None:
    """DPO on a cycle: Newton's method ran out of steps on the first; a table of all pairs has its optimum, proven."""
    n = len(exponents)
    cycle = ea.Comparisons(np.arange(n), (np.arange(n) + 1) % n, 10.0 ** np.array(exponents))
    found = ea.solve(ea.DPO(lam), cycle)
    assert found.status == "optimal" and found.bandit is cycle
    check_bound("dpo", (cycle, lam))
    monkeypatch.setattr(sys.modules["expo_analysis.optima.sparse.solve"], "FEW", 0)
    alone = ea.solve(ea.DPO(lam), cycle)
    assert alone.status in ("optimal", "failed", "best_found")
    if alone.status == "optimal":
        assert np.abs(alone.policy - found.policy).sum() <= alone.error_bound + found.error_bound
    else:
        assert math.isnan(alone.error_bound)


# --------------------------------------------------------------------------------------------------------- invariance


@pytest.mark.parametrize("name", ["expo", "ipo", "bradley-terry"])
def test_neither_the_order_of_rows_nor_how_they_are_counted_changes_a_bit(name: str) -> None:
    games = drawn(30, 200, 5, least=1.0)
    wanted = ea.solve(LOSSES[name], games)
    order = np.random.default_rng(0).permutation(len(games.winner))
    halves = np.repeat(order, 2)
    rows = (games.winner[halves], games.loser[halves], games.weight[halves] / 2)
    again = ea.solve(LOSSES[name], ea.Comparisons(*rows, reference=games.reference))
    assert (again.policy == wanted.policy).all() and again.error_bound == wanted.error_bound


@pytest.mark.parametrize("name", ["expo", "ipo", "bradley-terry"])
def test_other_names_give_the_same_policy(name: str) -> None:
    games = drawn(30, 200, 5, least=1.0)
    wanted = ea.solve(LOSSES[name], games)
    place = np.random.default_rng(1).permutation(30)
    reference = np.empty(30)
    reference[place] = games.reference
    again = ea.solve(
        LOSSES[name],
        ea.Comparisons(place[games.winner], place[games.loser], games.weight * 7, reference=reference),
    )
    assert np.abs(again.policy[place] - wanted.policy).sum() < wanted.error_bound + again.error_bound


# -------------------------------------------------------------------------------------------------------------- large


def residual(objective: Any, comparisons: ea.Comparisons, log_policy: np.ndarray) -> float:
    """Largest component of EXPO's or Bradley-Terry's gradient, relative to the weights there; written out here."""
    i, j, w = comparisons.winner, comparisons.loser, comparisons.weight / comparisons.weight.sum()
    slope = -w / (1 + np.exp(log_policy[i] - log_policy[j]))
    n = comparisons.n
    gradient = np.bincount(i, slope, n) - np.bincount(j, slope, n)
    if isinstance(objective, ea.EXPO):
        gradient += objective.lam * (np.exp(log_policy) - comparisons.reference)
    return float(np.abs(gradient).max() / np.bincount(i, w, n).max())


@pytest.mark.parametrize("name", ["expo", "bradley-terry"])
def test_thousands_of_players(name: str) -> None:
    comparisons = drawn(1500, 12_000, 1, reference="uniform", least=1.0)
    found = ea.solve(LOSSES[name], comparisons)
    assert found.status == "optimal" and found.error_bound < 1e-9
    assert residual(LOSSES[name], comparisons, found.log_policy) < 1e-13
    assert len(found.to_frame()) == 1500


@pytest.mark.parametrize("objective", [ea.EXPO(1.0), ea.DPO(1.0)], ids=lambda o: o.name)
def test_masses_are_exact_however_many_share_them(objective: Any) -> None:
    """60,000 on a ring, all alike, and two apart: each part keeps its mass to the last digits."""
    n = 60_000
    reference = np.full(n + 2, 0.1 / n)
    reference[-2:] = 0.45
    ring = np.arange(n)
    winner, loser = np.concatenate([ring, [n, n + 1]]), np.concatenate([(ring + 1) % n, [n + 1, n]])
    found = ea.solve(objective, ea.Comparisons(winner, loser, reference=reference))
    assert abs(math.fsum(found.policy[:n]) - 0.1) < 2e-16 and abs(math.fsum(found.policy[-2:]) - 0.9) < 1e-15


def ladder(n: int) -> ea.Comparisons:
    """Each beats the next twice and loses to it once: on a path Bradley-Terry's scores fall by log 2 at each step."""
    upper = np.arange(n - 1)
    return ea.Comparisons(np.append(upper, upper + 1), np.append(upper + 1, upper), np.repeat([2.0, 1.0], n - 1))


@pytest.mark.parametrize("thin", [True, False])
def test_a_path_of_thousands_by_a_factor_and_by_a_tree(monkeypatch: pytest.MonkeyPatch, thin: bool) -> None:
    monkeypatch.setattr(newton, "is_thin", lambda graph: thin)
    found = ea.solve(
        ea.BradleyTerry(1.0), ladder(700)
    )  # diagonals alone do not come halfway in `newton.PATIENCE` steps
    assert found.status == "optimal" and found.error_bound < 1e-9
    assert np.abs(np.diff(found.log_policy) + np.log(2)).max() < 1e-10


@pytest.mark.parametrize("name", ["ipo", "expo"])
@pytest.mark.parametrize("thin", [True, False])
def test_systems_are_solved_by_a_factor_or_beside_a_tree(
    name: str, thin: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where diagonals do not do. A factor is kept where it does nearly as well, and made anew where it does not."""
    monkeypatch.setattr(newton, "is_thin", lambda graph: thin)
    made, _ = system(name, 30, 80, 6)
    rng = np.random.default_rng(0)
    solver, local, rhs = Solver(made, long=True), made.at(np.zeros(30)), rng.normal(size=30)
    rhs -= rhs.mean()

    plain = Solver(made)
    plain.solve(local, rhs, 1e-12)
    assert plain.factor is None and plain.tree is None and not plain.long

    def check(at: Local) -> None:
        y = solver.solve(at, rhs, 1e-12)
        np.testing.assert_allclose(solver.hessian(at)[1](y), rhs, atol=1e-9)

    check(local)
    first, steps = solver.factor, solver.steps
    assert (first is not None) == thin and (solver.tree is None) == thin and steps < (5 if thin else 200)
    check(dataclasses.replace(local, curvature=local.curvature * rng.uniform(1.0, 1.01, len(local.curvature))))
    assert solver.factor is first
    check(dataclasses.replace(local, curvature=local.curvature * 10.0 ** rng.uniform(-4, 4, len(local.curvature))))
    assert not thin or solver.factor is not first


def test_on_a_path_a_tree_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Diagonals alone pass on what they know by one player a step; a tree's resistances are those of the path."""
    monkeypatch.setattr(newton, "is_thin", lambda graph: False)
    games = ladder(150)
    wins = Wins.of(games)
    problem = problem_of(ea.IPO(0.3), games.reference, wins, True)
    made = System(problem, Graph(wins.high, wins.low, np.zeros(150, dtype=np.intp), 1), games.reference, np.ones(1))
    rhs = np.zeros(150)
    rhs[0], rhs[-1] = 1.0, -1.0
    steps = {}
    for long in (False, True):
        solver, local = Solver(made, long=long), made.at(np.zeros(150))
        y = solver.solve(local, rhs, 1e-9)
        np.testing.assert_allclose(y[0] - y[-1], (1 / local.curvature).sum(), rtol=1e-6)
        steps[long] = solver.steps
    assert steps[False] > 70 > 4 * steps[True]  # what goes out from both ends meets halfway


def test_values_are_centred_piece_by_piece() -> None:
    graph = Graph(np.array([1, 3, 4]), np.array([0, 2, 3]), np.array([0, 0, 1, 1, 1]), 2)
    np.testing.assert_array_equal(graph.centred(np.array([3.0, 5.0, 7.0, -1.0, 0.0])), [-1.0, 1.0, 4.0, -4.0, -3.0])


def test_what_is_thin() -> None:
    ring = np.arange(20_000)
    one, other = np.maximum(ring, (ring + 1) % 20_000), np.minimum(ring, (ring + 1) % 20_000)
    order = np.lexsort((other, one))
    assert factor.is_thin(Graph(one[order], other[order], np.zeros(20_000, dtype=np.intp), 1))
    wins = Wins.of(drawn(20_000, 100_000, reference="uniform"))
    assert not factor.is_thin(Graph(wins.high, wins.low, np.zeros(20_000, dtype=np.intp), 1))


# ---------------------------------------------------------------------------------------------- what a bound is made of


def system(name: str, n: int, m: int, seed: int) -> tuple[System, np.ndarray]:
    """A connected problem, and its Hessian at 0 as a dense matrix."""
    comparisons = drawn(n, m, seed, least=0.2)
    wins = Wins.of(comparisons)
    problem = problem_of(LOSSES[name], comparisons.reference, wins, True)
    graph = Graph(wins.high, wins.low, np.zeros(n, dtype=np.intp), 1)
    made = System(problem, graph, comparisons.reference, np.ones(1))
    local = made.at(np.zeros(n))
    _, product = Solver(made).hessian(local)
    return made, np.stack([product(row) for row in np.eye(n)])


@pytest.mark.parametrize("name", ["ipo", "expo"])
@pytest.mark.parametrize("seed", range(5))
def test_what_flows_cost_is_never_less_than_the_truth(name: str, seed: int) -> None:
    made, hessian = system(name, 9, 14, seed)
    inverse, graph, rng = np.linalg.pinv(hessian), made.graph, np.random.default_rng(seed)
    local = made.at(np.zeros(9))
    routes = Routes.of(made, local.curvature, local.policy)
    assert routes is not None
    root = np.flatnonzero(routes.way == 0)
    resistance = np.diag(inverse) + np.diag(inverse)[root] - 2 * inverse[:, root[0]]
    assert (routes.way >= resistance - 1e-9 * resistance.max()).all()
    flow = rng.normal(size=len(graph.high))
    gradient = graph.inflow(flow)
    assert routes.energy(routes.on_pairs(flow)) >= np.sqrt(gradient @ inverse @ gradient) * (1 - 1e-9)
    assert routes.rise(routes.on_pairs(flow)) >= np.ptp(inverse @ gradient) * (1 - 1e-9)
    size = rng.random(9)
    signed = size * rng.choice([-1, 1], 9)
    signed[root] -= signed.sum()  # what flows in anywhere flows out at the root
    assert routes.energy_at(np.abs(signed), local.policy) >= np.sqrt(signed @ inverse @ signed) * (1 - 1e-9)
    assert routes.rise_at(np.abs(signed)) >= np.ptp(inverse @ signed) * (1 - 1e-9)
    routed = routes.tree.currents(signed)
    assert np.allclose(np.delete(routes.graph.inflow(routed), root), np.delete(signed, root), atol=1e-12)
    assert routes.left(signed, local.policy)[0] >= np.sqrt(signed @ inverse @ signed) * (1 - 1e-9)


def two_parts(name: str) -> tuple[System, np.ndarray, np.ndarray]:
    """Five and four players who never meet, some logits, and the part of each."""
    one, other = drawn(5, 12, 3, least=0.3), drawn(4, 9, 4, least=0.3)
    ends = (np.concatenate([a, 5 + b]) for a, b in ((one.winner, other.winner), (one.loser, other.loser)))
    rng = np.random.default_rng(8)
    reference = rng.dirichlet(np.full(9, 2.0))
    comparisons = ea.Comparisons(*ends, np.concatenate([one.weight, other.weight]), reference=reference)
    wins, part = Wins.of(comparisons), np.repeat([0, 1], [5, 4])
    problem = problem_of(LOSSES[name], reference, wins, True)
    made = System(problem, Graph(wins.high, wins.low, part, 2), reference, np.bincount(part, reference))
    return made, 3 * rng.normal(size=9), part


@pytest.mark.parametrize("name", ["expo", "dpo"])
def test_a_gradient_is_known_to_what_is_told(name: str) -> None:
    """Of two parts, in 50 digits, beside pi - pi_ref: each policy costs some units, each reference four."""
    made, x, part = two_parts(name)
    lam = made.pull
    local = made.at(x)
    found, error = certificate._gradient(made, x, local)
    high, low, slope = made.graph.high, made.graph.low, [mp.mpf(s) for s in local.slope]
    flows = [[*(s for s, i in zip(slope, high, strict=True) if i == k)] for k in range(9)]
    back = [[*(-s for s, i in zip(slope, low, strict=True) if i == k)] for k in range(9)]
    policy = np.zeros(9)
    for k in range(9):
        inside = np.flatnonzero(part == part[k])
        odds = [mp.exp(mp.mpf(x[i])) for i in inside]
        share = mp.fsum(mp.mpf(made.reference[i]) for i in inside) * mp.exp(mp.mpf(x[k])) / mp.fsum(odds)
        exact = mp.fsum([*flows[k], *back[k], mp.mpf(lam) * (share - mp.mpf(made.reference[k]))])
        policy[k] = share
        assert abs(exact - mp.mpf(found[k])) <= error[k]
    own = lam * certificate.UNIT * policy
    held = 4 * lam * certificate.UNIT * made.reference
    rest = 4 * certificate.UNIT * (np.abs(found) + np.abs(made.graph.inflow(local.slope)))
    assert (error >= 16 * own + held).all() and (error <= 60 * own + held + rest).all()
    assert (np.abs(np.bincount(part, found)) < 1e-16).all()
    # of who has no mass it is four units of the reference, two of the gradient, and what sums over pairs leave
    x[2] -= 90.0
    (inflow, left), error = made.graph.exact_inflow(made.at(x).slope), certificate._gradient(made, x, made.at(x))[1]
    own = 4 * lam * made.reference[2] + (2 * abs(inflow[2] - lam * made.reference[2]) if lam else 0.0)
    assert error[2] >= left[2] and (
        not lam or error[2] == pytest.approx(left[2] + certificate.UNIT * own, rel=1e-6, abs=0.0)
    )


@pytest.mark.parametrize("name", ["expo", "dpo"])
def test_what_a_step_moves_in_each_part(name: str) -> None:
    """Flows along pairs, what the cross-entropy takes, and what both leave, as each part's dense Hessian has it."""
    made, x, part = two_parts(name)
    lam, graph, local, rng = made.pull, made.graph, made.at(x), np.random.default_rng(9)
    y, gradient = rng.normal(size=9), rng.normal(size=9)
    gradient = gradient - (np.bincount(part, gradient) / [5, 4])[part]
    policy = local.policy if lam else np.zeros(9)
    mass = made.mass[part]
    mean = np.bincount(part, policy * y)[part] / mass
    product = graph.laplacian(local.curvature)[1](y) + lam * policy * (y - mean)
    flow, energy, left, blur = certificate._flows(made, local, gradient, y)
    np.testing.assert_array_equal(flow, local.curvature * (y[graph.high] - y[graph.low]))
    np.testing.assert_allclose(energy, np.sqrt(lam * np.bincount(part, policy * (y - mean) ** 2)), rtol=1e-12)
    np.testing.assert_allclose(left, gradient - product, atol=1e-14)
    assert (np.abs(np.bincount(part, left)) < 1e-15).all()
    ends = certificate.UNIT * graph.at_ends(np.abs(flow))
    least = 4 * ends + certificate.UNIT * np.abs(gradient)
    assert (blur >= least).all() and (blur <= 4 * least + 20 * certificate.UNIT * lam * policy * np.abs(y).max()).all()
    if not lam:
        return
    np.testing.assert_allclose(
        certificate._in_cross_entropy(made, policy, y), lam * policy * np.abs(y - mean), rtol=1e-11, atol=1e-15
    )
    # what a part's gradient does not sum up to is taken from it in proportion to the policy
    again = certificate._flows(made, local, gradient + 1e-3 * policy, y)[2]
    np.testing.assert_allclose(again, left, atol=1e-15)
    # a step that is 2^30 higher all over a part is known to so much less there, and moves nothing else
    far = certificate._flows(made, local, gradient, y + 2.0**30 * part)
    grown = far[3] - blur
    assert (grown[part == 0] == 0).all()
    np.testing.assert_allclose((grown / (certificate.UNIT * lam * policy * 2.0**30))[part == 1], 8.0, rtol=1e-2)
    assert (np.abs(far[2] - left) <= far[3] + blur).all()


def test_a_loss_of_reference_probabilities_reads_those_of_all() -> None:
    """Weights of pi_ref(w): of those who were compared it is what it is among all, the lone one included."""
    weight = Data(lambda datum: np.exp(datum["ref_logp_w"]), frozenset({"ref_logp_w"}))
    objective = own(lambda lam: weight * Logistic()(h), ea.ForwardKL())
    games = ea.Comparisons([0, 1, 2, 0], [1, 2, 0, 2], [3, 2, 1, 2], reference=[0.1, 0.2, 0.3, 0.4])
    found, wanted = ea.solve(objective, games), ea.solve(objective, games.bandit())
    assert found.status == wanted.status == "optimal"
    np.testing.assert_allclose(found.policy, wanted.policy, atol=1e-12)
    np.testing.assert_allclose(found.value, wanted.value, rtol=1e-12)
    # stationarity, written out
    p, lam, r = found.policy, 0.7, games.reference
    slope = lam * (p - r)
    for i, j, c in zip(games.winner, games.loser, games.weight / 8, strict=True):
        step = c * r[i] * p[j] / (p[i] + p[j])
        slope[i], slope[j] = slope[i] - step, slope[j] + step
    assert np.abs(slope).max() < 1e-13


def test_hidden_weights_send_what_flows_along_the_tree() -> None:
    made, _ = system("ipo", 9, 20, 0)
    weights = made.at(np.zeros(9)).curvature.copy()
    tree = Tree.of(made.graph, weights)
    assert tree is not None
    outside = np.setdiff1d(np.arange(len(weights)), tree.pair)[0]
    weights[outside] = 0.0
    flow = np.zeros_like(weights)
    flow[outside] = 1.0
    routes = Routes.of(made, weights, np.zeros(0))
    assert routes is not None
    around = routes.way[made.graph.high[outside]] + routes.way[made.graph.low[outside]]
    assert routes.energy(flow) == pytest.approx(np.sqrt(around)) and routes.rise(flow) == pytest.approx(around)
    assert Routes.of(made, 0 * weights, np.zeros(0)) is None


def test_a_tree_needs_a_weight_to_everyone() -> None:
    graph = Graph(np.array([1, 2]), np.array([0, 1]), np.zeros(3, dtype=np.intp), 1)
    assert Tree.of(graph, np.array([1.0, 0.0])) is None
    tree = Tree.of(graph, np.array([1.0, 2.0]))
    assert tree is not None and tree.solve(np.array([1.0, 2.0]), np.array([-1.0, 0.0, 1.0])).tolist() == [-1, 0, 0.5]


def test_sums_of_currents_are_exact_where_large_ones_cancel() -> None:
    rng = np.random.default_rng(0)
    n = 40
    high, low = np.tril_indices(n, -1)
    graph = Graph(high, low, np.zeros(n, dtype=np.intp), 1)
    currents = rng.normal(size=len(high)) * 10.0 ** rng.integers(-12, 1, len(high))
    found, left = graph.exact_inflow(currents)
    wanted = [math.fsum([*currents[high == k], *(-currents[low == k])]) for k in range(n)]
    assert (np.abs(found - wanted) <= left).all() and left.max() < 1e-14
    assert (np.abs(found - wanted) <= 2.3e-16 * np.abs(wanted) + 1e-28).all()


def test_pairs_are_those_that_were_compared_and_no_others() -> None:
    comparisons = drawn(30, 200, 4, reference="uniform")
    wins, table = Wins.of(comparisons), np.zeros((30, 30))
    table[comparisons.winner, comparisons.loser] = comparisons.weight / comparisons.weight.sum()
    high, low = np.nonzero(np.tril(table + table.T))
    assert (wins.high == high).all() and (wins.low == low).all()
    assert np.allclose(wins.up, table[high, low], rtol=1e-15) and np.allclose(wins.down, table[low, high], rtol=1e-15)


@pytest.mark.parametrize("name", ["bradley-terry", "conservative dpo", "ipo", "expo"])
def test_a_few_pairs_at_a_time_give_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = system(name, 40, 300, 1)
    x = np.random.default_rng(0).normal(size=(40, 1))
    whole, value = derivatives.pair_derivatives(made.problem, x), derivatives.pair_value(made.problem, x)
    monkeypatch.setattr(parts, "CACHED", 7)
    blocks = derivatives.pair_derivatives(made.problem, x)
    assert all((one == other).all() for one, other in zip(whole[:2], blocks[:2], strict=True))
    assert np.allclose(derivatives.pair_value(made.problem, x), value, rtol=1e-14)


def test_sums_over_the_edges_of_pairs_are_those_of_matrices() -> None:
    made, _ = system("ipo", 12, 60, 2)
    edges, rng = made.problem.edges, np.random.default_rng(0)
    up = edges.winner > edges.loser
    place = {pair: k for k, pair in enumerate(zip(*edges.pairs, strict=True))}
    pair = [place[max(i, j), min(i, j)] for i, j in zip(edges.winner, edges.loser, strict=True)]
    for values in (rng.normal(size=(len(up), 1)), rng.normal(size=(len(up), 3))):
        for sums, entry in (
            (edges.net, np.where(up, 1, -1)),
            (edges.to_pair, 1 + 0 * up),
            (edges.upward, 1 * up),
            (edges.downward, 1 * ~up),
        ):
            wanted = np.zeros((len(place), values.shape[1]))
            np.add.at(wanted, pair, entry[:, None] * values)
            assert (sums @ values == wanted).all()


def test_an_honest_bound_grows_with_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Newton's method is stopped early and nothing is polished, bounds tell how far it came."""
    comparisons = drawn(12, 100, 2, least=0.5)
    wanted = ea.solve(ea.EXPO(0.1), comparisons.bandit()).policy
    module = __import__("expo_analysis.optima.sparse.solve", fromlist=["solve"])
    monkeypatch.setattr(module, "POLISHES", 0)
    last = 2.0
    for steps in (2, 3, 4, 5):
        monkeypatch.setattr(newton, "MAX_STEPS", steps)
        found = ea.solve(ea.EXPO(0.1), comparisons)
        error = np.abs(found.policy - wanted).sum()
        if not math.isnan(found.error_bound):
            assert error <= found.error_bound < 30 * error + 1e-12
            last = found.error_bound
    assert last < 1e-4


def test_without_a_bound_nothing_is_called_optimal(monkeypatch: pytest.MonkeyPatch) -> None:
    comparisons = drawn(6, 30, 0, least=0.5)
    monkeypatch.setattr(certificate.Tree, "of", classmethod(lambda cls, graph, weights: None))
    assert ea.solve(ea.IPO(1.0), comparisons).status == "optimal"  # of few, a table of all pairs is asked
    monkeypatch.setattr(sys.modules["expo_analysis.optima.sparse.solve"], "FEW", 5)
    found = ea.solve(ea.IPO(1.0), comparisons)
    assert found.status == "best_found" and math.isnan(found.error_bound)
    monkeypatch.setattr(newton, "MAX_STEPS", 1)
    assert ea.solve(ea.BradleyTerry(1.0), comparisons).status == "failed"


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "objective",
    [ea.SPO(1.0), ea.KTO(1.0), ea.Hinge(1.0), ea.SLiC(1.0), ea.DPOP(1.0), ea.CPO(1.0), ea.FDPO(1.0), ea.ODPO(1.0)],
    ids=lambda objective: objective.name,
)
def test_losses_that_are_refused(objective: Any) -> None:
    with pytest.raises(ValueError, match=f"on Comparisons, such as BradleyTerry.*{type(objective).__name__}"):
        ea.solve(objective, drawn(4, 20))


@pytest.mark.parametrize(
    ("option", "value"), [("method", "newton"), ("features", np.eye(4)), ("base", np.zeros(4)), ("decay", 1.0)]
)
def test_options_that_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} is not used on Comparisons"):
        ea.solve(ea.EXPO(1.0), drawn(4, 20), **{option: value})


def test_a_path_has_the_solutions_of_its_lambdas() -> None:
    comparisons = drawn(5, 40, least=0.5)
    path, wanted = (ea.solve_path(ea.EXPO(1.0), data, [0.1, 10.0]) for data in (comparisons, comparisons.bandit()))
    assert np.abs(path.policies - wanted.policies).max() < 1e-13 and len(path.to_frame()) == 10
    assert path[1].status is Status.OPTIMAL and path[1].error_bound < 1e-12 and path[1].objective.lam == 10.0
    assert (path[0].policy == ea.solve(ea.EXPO(0.1), comparisons).policy).all()
    with pytest.raises(ValueError, match="decay is not used on Comparisons"):
        ea.solve_path(ea.EXPO(1.0), comparisons, [1.0], decay=1.0)


def test_what_takes_a_table_of_pairs_says_how_to_get_one() -> None:
    comparisons = drawn(5, 40)
    with pytest.raises(AttributeError, match=r"Comparisons have no .*: comparisons.bandit\(\) has one"):
        ea.risk(ea.EXPO(1.0), comparisons, np.log(comparisons.reference))  # type: ignore[arg-type]


def test_solution_keeps_what_a_solution_has() -> None:
    comparisons = drawn(4, 20, least=0.5)
    found = ea.solve(ea.EXPO(0.5), comparisons)
    assert found.to_dict()["options"] == {"lam": 0.5} and found.bandit is comparisons
    assert list(found.to_frame()["policy"]) == list(found.policy)
    assert connected_components(comparisons.bandit().pairs)[0] == 1
