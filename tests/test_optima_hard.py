"""Problems that solvers are prone to get wrong: large ones, flat ones, and those with quantities 1e12 apart.

Right values are from brute force over the one number that decides, from closed forms, or from 50 digits.
"""

from __future__ import annotations

import math
import time
from typing import Any

import cvxpy as cp
import mpmath as mp
import numpy as np
import pytest
from scipy.special import expit

import expo_analysis as ea
from expo_analysis.losses.psi import Modulated
from expo_analysis.optima.certificate import last_step
from expo_analysis.optima.solution import Certificate, Status

from . import oracles, problems

# ------------------------------------------------------------------------------------------------------ many responses


def ring(n: int) -> ea.Bandit:
    """Each player beats the next twice and loses to it once: by symmetry all are equal."""
    counts, i = np.zeros((n, n)), np.arange(n)
    counts[i, (i + 1) % n], counts[(i + 1) % n, i] = 1, 2
    return ea.Bandit.from_counts(np.full(n, 1 / n), counts)


LARGE = (512, 513)  # one problem fills a block of work, and more than that


@pytest.mark.parametrize("n", [*LARGE, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("objective", [ea.EXPO(1.0), ea.IPO(1.0)], ids=lambda o: o.name)
def test_many_players(objective: ea.PairObjective, n: int) -> None:
    solution = ea.solve(objective, ring(n))
    assert solution.status == "optimal"
    assert np.abs(solution.policy - 1 / n).sum() <= solution.error_bound < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("n", [*LARGE, 1000])
@pytest.mark.parametrize("objective", [ea.DPO(1.0), ea.BradleyTerry(1.0), ea.RLHF(1.0)], ids=lambda o: o.name)
def test_many_players_by_newton_in_scores(objective: ea.Objective, n: int) -> None:
    solution = ea.solve(objective, ring(n))
    assert solution.status == "optimal"
    assert np.abs(solution.policy - 1 / n).sum() <= solution.error_bound < 1e-6


@pytest.mark.parametrize("n", [*LARGE, 1000])
@pytest.mark.parametrize(
    "objective", [ea.DPO(0.7), ea.BradleyTerry(0.7), ea.RLHF(0.7), ea.FDPO(0.7), ea.SFT(1.0)], ids=lambda o: o.name
)
def test_many_responses_in_closed_form(objective: ea.Objective, n: int) -> None:
    rng = np.random.default_rng(n)
    bandit = ea.Bandit(rng.dirichlet(np.full(n, 3.0)), rng.dirichlet(np.full(n, 3.0)))
    solution = ea.solve(objective, bandit)
    assert solution.status == "optimal" and solution.error_bound < 1e-9
    if isinstance(objective, ea.DPO | ea.RLHF):
        expected = bandit.reference * bandit.optimal ** (1 / 0.7)
        assert np.abs(expected / expected.sum() - solution.policy).sum() <= solution.error_bound


@pytest.mark.parametrize("n", [2, 3, 4, 9])
def test_blocks_of_any_size_give_the_same(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One problem in a block, one more than a block holds, all of them in one."""
    import importlib

    module = importlib.import_module("expo_analysis.optima.solve")
    rng = np.random.default_rng(n)
    bandit = ea.Bandit(*(np.stack([problems.policy(rng, n, 0.01) for _ in range(7)]) for _ in range(2)))
    width = n * max(n, 8)
    searched = [ea.SPO(1.0)] if n == 2 else []
    for objective in (ea.EXPO(1.0), ea.DPO(1.0, label_smoothing=0.1), ea.IPO(1.0), *searched):
        whole = ea.solve_path(objective, bandit, [0.1, 3.0])
        sizes = (
            (width - 1, width, 13 * width)
            if isinstance(objective, ea.SPO)
            else (1, width - 1, width, width + 1, 2 * width, 13 * width, 14 * width)
        )
        for block in sizes:
            monkeypatch.setattr(module, "BLOCK", block)
            found = ea.solve_path(objective, bandit, [0.1, 3.0])
            np.testing.assert_allclose(found.policies, whole.policies, rtol=0, atol=4e-15 if n < 9 else 1e-13)
            np.testing.assert_array_equal(np.isnan(found.error_bound), np.isnan(whole.error_bound))
            assert (found.status == whole.status).all()
        monkeypatch.undo()


# ------------------------------------------------------------------------------------------- the loss's own units

TWO = ea.Bandit([0.4, 0.6], [0.3, 0.7])


def disco(m: Any) -> Any:
    return Modulated(0.05).value(np.asarray(m, dtype=float))


@pytest.mark.parametrize("lam", [1e-6, 1e-3, 1e-2, 1.0, 1e3, 1e6])
def test_a_loss_of_lam_hbar_has_one_optimal_margin(lam: float) -> None:
    """Whatever lam is: a local minimum at 0.165 puts all mass on the response that loses 70%, at a small lam."""
    grid = np.linspace(-10, 10, 2_000_001)
    values = 0.3 * disco(grid) + 0.7 * disco(-grid)
    solution = ea.solve(ea.DiscoPOP(lam), TWO)
    margin = lam * (solution.log_policy[0] - solution.log_policy[1] - math.log(0.4 / 0.6))
    assert (solution.status, solution.certificate) == (Status.BEST_FOUND, Certificate.SEARCH)
    assert margin == pytest.approx(grid[values.argmin()], abs=2e-5 + 1e-15 * lam)
    assert solution.value == pytest.approx(values.min(), abs=1e-10)


@pytest.mark.parametrize("lam", [30, 100, 200, 300, 1000, 1e4, 1e6])
def test_losses_of_one_response_at_a_time_are_not_lost_on_a_plateau(lam: float) -> None:
    """Their minima are 1/lam wide, close to the reference: pi_0 = 0.4 - 0.6/lam or so."""
    x = np.linspace(-30, 30, 1_000_001) / lam  # log u_0, at most -log 0.4
    x = x[x < 0.91]
    other = np.log1p(-0.4 * np.exp(x)) - math.log(0.6)
    apo_down = 0.3 * (expit(lam * x) + expit(-lam * (x - other))) + 0.7 * (
        expit(lam * other) + expit(lam * (x - other))
    )
    solution = ea.solve(ea.APODown(lam), TWO)
    assert solution.status == "best_found"
    assert solution.value <= apo_down.min() + 1e-12
    assert solution.policy[0] == pytest.approx(0.4 * math.exp(x[apo_down.argmin()]), abs=1e-4 / lam)


def test_a_plateau_is_no_minimum_whatever_its_height() -> None:
    """KTO falls for ever; at lam = 1e4 no number shows it, as all derivatives underflow: nothing is claimed then."""
    for lam, statuses in (
        (1e2, {"no_minimiser"}),
        (1e4, {"no_minimiser", "failed"}),
        (1e6, {"no_minimiser", "failed"}),
    ):
        solution = ea.solve(ea.KTO(lam), TWO)
        assert solution.status in statuses
        assert float(ea.risk(ea.KTO(lam), TWO, solution.log_policy)) == pytest.approx(0.6, abs=1e-12)
        assert "steps" in solution.message or "tends to 0" in solution.message


def nasty(rng: np.random.Generator, n: int) -> ea.Bandit:
    """Probabilities down to 1e-14, pair weights over twelve decades, or counts of up to 1e9 in which everybody wins."""
    smallest = 10 ** rng.uniform(-14, -1)
    if rng.random() < 0.5:
        counts = np.rint(10 ** rng.uniform(0, 9, (n, n))) * (1 - np.eye(n))
        return ea.Bandit.from_counts(problems.policy(rng, n, smallest), counts)
    return ea.Bandit(
        problems.policy(rng, n, smallest),
        problems.policy(rng, n, smallest),
        problems.pairs(rng, n, "uneven", decades=12),
    )


SEARCHED: dict[str, Any] = {
    "discopop": ea.DiscoPOP,
    "apo_down": ea.APODown,
    "apo_zero": ea.APOZero,
    "kto": ea.KTO,
    "exo": ea.EXO,
    "bco": ea.BCO,
    "nca": ea.NCA,
    "sppo": ea.SPPO,
}


def beaten_by(make: Any, count: int) -> list[float]:
    """By how much a fine grid over all log-ratios of two responses is lower than what `solve` returns."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(count):
        lam, bandit = 10 ** rng.uniform(-6, 4), nasty(rng, 2)
        solution = ea.solve(make(lam), bandit)
        units = np.unique(np.concatenate([np.sinh(np.linspace(-8, 8, 4001)) * unit for unit in (1.0, 1 / lam)]))
        h = math.log(bandit.reference[0] / bandit.reference[1]) + units
        logs = np.stack([-np.logaddexp(0, -h), -np.logaddexp(0, h)], axis=-1)
        values, own = ea.risk(make(lam), bandit, logs), float(ea.risk(make(lam), bandit, solution.log_policy))
        found.append((own - values.min()) / (1 + abs(own)))
    return found


@pytest.mark.parametrize("name", SEARCHED)
def test_no_point_of_a_grid_is_lower(name: str) -> None:
    assert max(beaten_by(SEARCHED[name], 5)) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHED)
def test_no_point_of_a_grid_is_lower_on_many_problems(name: str) -> None:
    assert max(beaten_by(SEARCHED[name], 300)) < 1e-9


# ----------------------------------------------------------------------------- a minimiser that theory knows of

ONE_SIDED = ea.Bandit.from_counts([0.5, 0.5], [[0, 3], [0, 0]])


@pytest.mark.parametrize("lam", [1.0, 0.04, 0.035, 0.03, 0.02, 0.01, 3e-3, 1e-3, 1e-6])
def test_spo_on_one_sided_data_has_its_minimiser(lam: float) -> None:
    """-log sigma(h) + lam KL(pi || pi_ref): stationary at sigma(-h) = lam pi_0 pi_1 h', solved in 50 digits."""
    with mp.workdps(50):

        def slope(h: Any) -> Any:
            p = oracles.sigma(h)
            return mp.mpf(lam) * p * h - 1  # over q; the reference is even, so that log pi_0/pi_ref,0 - log ... is h

        exact = mp.findroot(slope, (1 / lam - 1e-3, 1 / lam + 1e-3) if lam < 0.5 else (0.5, 2.0), solver="anderson")
        expected = oracles.sigma(-exact)
    solution = ea.solve(ea.SPO(lam), ONE_SIDED)
    assert solution.status == "optimal" and solution.error_bound < 1e-13
    assert abs(solution.log_policy[1] - float(mp.log(expected))) <= 1e-14 * (1 + 1 / lam)


@pytest.mark.parametrize("lam", [1.0, 0.1, 0.01, 1e-3])
@pytest.mark.parametrize("divergence", ["reverse_kl", "jensen_shannon", "mixed_chi_square"])
def test_a_divergence_that_is_infinitely_steep_at_0_holds_every_response(divergence: str, lam: float) -> None:
    """The last of three is far below exp(-1/lam), and below 1e-290 no search finds it: then no more is claimed."""
    objective = ea.ExplicitPO(lam, divergence)
    three = ea.Bandit.from_counts([0.5, 0.3, 0.2], [[0, 3, 2], [0, 0, 5], [0, 0, 0]])
    two, solution = ea.solve(objective, ONE_SIDED), ea.solve(objective, three)
    assert two.status == "optimal" and np.isfinite(two.log_policy).all()
    if lam >= 0.1:
        assert solution.status == "best_found" and np.isfinite(solution.log_policy).all()
    else:
        assert solution.status == "failed" and "a minimiser exists" in solution.message


@pytest.mark.parametrize("lam", [0.5, 0.1, 0.01])
def test_optima_on_the_boundary_are_optima(lam: float) -> None:
    """Chi-square's slope at 0 is finite: the same point by RLHF's scores, by f-DPO's psi and beside a likelihood."""
    explicit = ea.solve(ea.ExplicitPO(lam, "chi_square"), ONE_SIDED)
    p = np.linspace(0.5, 1.0, 500_001)
    with np.errstate(divide="ignore"):
        values = np.log1p((1 - p) / p) + lam * 2 * (p - 0.5) ** 2 * 2
    assert explicit.status == "optimal"
    assert explicit.policy[0] == pytest.approx(p[values.argmin()], abs=2e-6)
    boundary = explicit.policy[1] == 0.0
    assert boundary == ("on the boundary: responses [1] have probability 0" in explicit.message)
    f_dpo = ea.solve(ea.FDPO(lam, "chi_square"), ONE_SIDED)
    assert f_dpo.status == "optimal" and f_dpo.policy[1] == 0.0 and "KKT" in f_dpo.message


@pytest.mark.parametrize("lam", [1e-6, 1e-10])
@pytest.mark.parametrize("smallest", [1e-12, 1e-13, 1e-14, 1e-15])
@pytest.mark.parametrize("make", [ea.BradleyTerry, ea.SimPO, ea.DPO], ids=lambda make: make.name)
def test_populations_with_next_to_impossible_responses(make: Any, smallest: float, lam: float) -> None:
    """A minimiser exists, as every response wins: no rounding decides about that, and nothing warns."""
    optimal = np.array([1, smallest, 2 * smallest]) / (1 + 3 * smallest)
    solution = ea.solve(make(lam), ea.Bandit([0.4, 0.3, 0.3], optimal))
    told = [("optimal", "error_bound"), ("best_found", "optimality_conditions")]  # 1e-15 is a unit of rounding
    assert (solution.status, solution.certificate) in told[: 1 if smallest > 1e-15 else 2]
    np.testing.assert_array_equal(solution.policy, [1.0, 0.0, 0.0])


def test_two_cliques_at_a_tiny_lambda() -> None:
    for objective in (ea.BradleyTerry(1e-10), ea.SimPO(1e-10), ea.CPO(1e-10), ea.RPO(1e-10)):
        assert ea.solve(objective, cliques(1e-12, 0)).status == "optimal"


def with_likelihoods(count: int) -> list[tuple[str, str]]:
    rng = np.random.default_rng(0)
    found = []
    for k in range(count):
        objective = (ea.CPO, ea.RPO)[k % 2](10 ** rng.uniform(-10, 10), alpha=10 ** rng.uniform(-3, 1))
        solution = ea.solve(objective, nasty(rng, int(rng.integers(2, 7))))
        found.append((solution.status, solution.message))
    return found


def test_a_likelihood_holds_whatever_wins_once() -> None:
    """Strictly convex and coercive: there is one minimiser, and neither several nor none of them."""
    wrong = [one for one in with_likelihoods(25) if one[0] != "optimal"]
    assert not wrong


@pytest.mark.slow
def test_a_likelihood_holds_whatever_wins_once_on_many_problems() -> None:
    found = with_likelihoods(423)
    assert {status for status, _ in found} <= {"optimal", "best_found"}
    # one is held by preferences of 1e-17 at lambda = 3e-7, less than rounding leaves of the others' slopes
    assert [message.split(",")[0] for status, message in found if status != "optimal"] == [
        "the lowest value to rounding"
    ]


# -------------------------------------------------------------------------------------------- graphs by a thread


def cliques(weight: float, seed: int) -> ea.Bandit:
    """Two cliques of five, joined by one pair."""
    rng = np.random.default_rng(seed)
    q = np.zeros((10, 10))
    q[:5, :5] = q[5:, 5:] = 1.0
    np.fill_diagonal(q, 0.0)
    q[4, 5] = q[5, 4] = weight
    return ea.Bandit(rng.dirichlet(np.ones(10)), rng.dirichlet(np.ones(10)), q)


def tilted(bandit: ea.Bandit, scores: list[Any]) -> list[Any]:
    return oracles.normalised([mp.log(r) + s for r, s in zip(oracles.reference_of(bandit), scores, strict=True)])


BY_A_THREAD: dict[str, tuple[ea.PairObjective, Any]] = {
    "ipo": (ea.IPO(0.3), lambda b, s: tilted(b, oracles.ipo_scores(b, 0.3))),
    "conservative dpo": (
        ea.DPO(0.3, label_smoothing=0.1),
        lambda b, s: tilted(b, oracles.scores(b, 0.3, mp.mpf(1 - 0.1), mp.mpf(0.1))),
    ),
    "cross-entropy regression": (
        ea.RegressionEXPO(0.3, criterion="cross_entropy"),
        lambda b, s: oracles.regression_cross_entropy(b, 0.3, s.log_policy),
    ),
}


@pytest.mark.parametrize("weight", [1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("name", BY_A_THREAD)
def test_parts_joined_by_a_thread(name: str, weight: float) -> None:
    """The currents between the parts are tiny differences of large ones, which errors must not grow with."""
    objective, exact = BY_A_THREAD[name]
    for seed in range(5):
        bandit = cliques(weight, seed)
        solution = ea.solve(objective, bandit)
        assert solution.status == "optimal"
        with mp.workdps(80):
            error = oracles.distance(solution.policy, exact(bandit, solution))
        assert error <= solution.error_bound < 5e-11
        assert error < 1e-12


@pytest.mark.parametrize("name", ["ipo", "conservative dpo"])
@pytest.mark.parametrize("weight", [1e-12, 1e-14])
@pytest.mark.parametrize("size", [5, 10])
def test_uneven_counts_joined_by_a_thread(name: str, weight: float, size: int) -> None:
    objective, exact = BY_A_THREAD[name]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        counts = np.zeros((2 * size, 2 * size))
        for part in (slice(size), slice(size, None)):
            counts[part, part] = rng.random((size, size)) * 10 ** rng.uniform(-4.0 * (seed == 2), 0.0, (size, size))
        np.fill_diagonal(counts, 0.0)
        counts[0, size], counts[size, 0] = weight, weight / 3
        bandit = ea.Bandit.from_counts(rng.dirichlet(np.full(2 * size, 3.0)), counts)
        solution = ea.solve(objective, bandit)
        with mp.workdps(80):
            error = oracles.distance(solution.policy, exact(bandit, solution))
        assert error <= solution.error_bound < 1e-12


def test_a_step_over_a_thread_is_proven_from_wherever_it_starts() -> None:
    """A square's step is taken however long it is; what it leaves at the thread is summed from large currents."""
    for seed in range(20):
        bandit, rng = cliques(1e-12, seed), np.random.default_rng(seed)
        problem = problems.problem(ea.IPO(0.3), bandit)
        assert problem.responses is not None
        with mp.workdps(60):
            scores = oracles.ipo_scores(bandit, 0.3)
            exact = [scores[int(i)] for i in problem.responses[:, 0]]
            away = rng.normal(size=10) * 10 ** rng.uniform(-6, 0)
            found, bound = last_step(problem, (np.array([float(s) for s in exact]) + away)[:, None])
            error = [mp.mpf(float(x)) - s for x, s in zip(found[:, 0], exact, strict=True)]
            assert float(max(error) - min(error)) <= bound[0] < 1e-3


def test_a_chain_of_threads() -> None:
    """Thirty responses in a row, each pair of a tenth of the weight of the last: EXPO, where nothing is large."""
    q = np.zeros((30, 30))
    i = np.arange(29)
    q[i, i + 1] = q[i + 1, i] = 10.0 ** -(i % 12)
    rng = np.random.default_rng(0)
    bandit = ea.Bandit(rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(30)), q)
    for lam in (1e-6, 1.0):
        solution = ea.solve(ea.EXPO(lam), bandit)
        assert oracles.distance(solution.policy, oracles.expo(bandit, lam, solution.log_policy)) <= solution.error_bound
        assert solution.error_bound < 1e-9


# --------------------------------------------------------------------------------------------------------- DPOP

NEVER_WINS = ea.Bandit.from_counts([0.4, 0.35, 0.25], [[0, 3, 1], [0, 0, 0], [1, 2, 0]])


@pytest.mark.parametrize("lam", [1e-4, 3.5e-3, 0.3, 12.0, 72.0])
def test_dpop_returns_the_limit_of_minimising_sequences(lam: float) -> None:
    """What never wins has probability 0 in the limit; the two others, which tie, stay as in the reference."""
    solution = ea.solve(ea.DPOP(lam, penalty=50.0), NEVER_WINS)
    assert (solution.status, solution.certificate) == ("no_minimiser", "theorem")
    np.testing.assert_allclose(solution.policy, [8 / 13, 0.0, 5 / 13], rtol=1e-12)
    assert "responses [1] never win" in solution.message


def least_dpop(objective: ea.DPOP, bandit: ea.Bandit) -> float:
    """The infimum by Clarabel: convex in x = log pi/pi_ref, over sum pi_ref exp(x) <= 1."""
    winner, loser, weight = bandit.edges
    x = cp.Variable(bandit.n)
    margin = x[winner] - x[loser] - objective.penalty * cp.pos(-x[winner])
    loss = weight @ cp.logistic(-objective.lam * margin)
    held = cp.sum(cp.multiply(bandit.reference, cp.exp(x))) <= 1
    program = cp.Problem(cp.Minimize(loss), [held, x >= -300 / min(objective.lam, 1.0)])
    return float(program.solve(solver="CLARABEL"))


def test_dpop_is_as_low_as_an_interior_point_method_gets() -> None:
    rng = np.random.default_rng(1)
    statuses = set()
    for k in range(24):
        n = int(rng.integers(2, 5))
        counts = rng.integers(0, 5, (n, n)) * (rng.random((n, n)) < 0.7) * (1 - np.eye(n))
        counts[0, 1] += 1
        if k % 2:
            counts[n - 1] = 0.0  # the last never wins
        bandit = ea.Bandit.from_counts(problems.policy(rng, n, 0.1), counts)
        objective = ea.DPOP(10 ** rng.uniform(-1, 1), penalty=10 ** rng.uniform(-1, 1))
        solution = ea.solve(objective, bandit)
        statuses.add(str(solution.status))
        policy = np.where(solution.policy > 0, solution.policy, 1e-300)
        # what falls has to fall faster than what falls beside it, the later the faster
        lost = np.flatnonzero(solution.policy == 0)
        own = min(
            float(ea.risk(objective, bandit, np.log(policy) + _falling(lost, order, n, objective)))
            for order in (lost, lost[::-1])
        )
        assert own <= least_dpop(objective, bandit) + 1e-6
    assert {"optimal", "no_minimiser"} <= statuses


def _falling(lost: np.ndarray, order: np.ndarray, n: int, objective: ea.DPOP) -> np.ndarray:
    depth = np.zeros(n)
    for place, response in enumerate(order):
        depth[response] = -(100 / objective.lam + 1000) * (2 + 2 * objective.penalty) ** place
    return depth


# --------------------------------------------------------------------------------------------------- robust DPO


def test_robust_dpo_says_why_there_is_no_minimiser() -> None:
    """p* beyond 1 - eps is more than flips at the rate eps leave room for: the loss has no lower bound."""
    robust = ea.DPO(1.0, label_smoothing=0.1, robust=True)
    solution = ea.solve(robust, ea.Bandit([0.5, 0.5], [0.95, 0.05]))
    assert (solution.status, solution.certificate) == ("no_minimiser", "theorem")
    assert "against responses [1] preferences are stronger than the loss allows for" in solution.message
    assert "it has no lower bound" in solution.message
    assert ea.solve(robust, ea.Bandit([0.5, 0.5], [0.89, 0.11])).status == "optimal"


def test_robust_dpo_needs_no_linear_programs_where_a_bound_proves_existence() -> None:
    rng = np.random.default_rng(0)
    bandit = ea.Bandit(*(np.stack([problems.policy(rng, 16, 0.3) for _ in range(50)]) for _ in range(2)))
    started = time.process_time()
    solution = ea.solve(ea.DPO(1.0, label_smoothing=0.1, robust=True), bandit)
    assert (solution.status == "optimal").all() and np.isfinite(solution.error_bound).all()
    assert (time.process_time() - started) / 50 < 0.02  # it used to take 0.29 s a prompt, and takes 0.0002


# ------------------------------------------------------------------------------------------------- values, overflow


@pytest.mark.parametrize("lam", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("split", [False, True])
def test_values_keep_their_digits(lam: float, split: bool) -> None:
    """Near the reference, lam times a divergence is lam times next to nothing; IPO's squares are 1/lam^2."""
    pairs: Any = np.diag([1.0, 0, 1], 1) + np.diag([1.0, 0, 1], -1) if split else "uniform"
    bandit = ea.Bandit([0.4, 0.3, 0.2, 0.1], [0.5, 0.2, 0.2, 0.1], pairs)
    wins, reference = oracles.wins(bandit), oracles.reference_of(bandit)
    for make, of, least in (
        (ea.EXPO, _expo_value, lambda b, x: oracles.expo(b, lam, x.log_policy)),
        (ea.IPO, _ipo_value, None),
    ):
        if split and make is ea.IPO:
            continue
        solution = ea.solve(make(lam), bandit)
        with mp.workdps(50):
            policy = least(bandit, solution) if least else tilted(bandit, oracles.ipo_scores(bandit, lam))
            exact = of(wins, reference, policy, mp.mpf(lam))
            assert abs(mp.mpf(float(solution.value)) - exact) <= 4e-15 * exact


def _expo_value(wins: Any, reference: Any, policy: Any, lam: Any) -> Any:
    n = len(policy)
    terms = [
        -wins[i, j] * mp.log(oracles.sigma(mp.log(policy[i] / policy[j])))
        for i in range(n)
        for j in range(n)
        if wins[i, j]
    ]
    return mp.fsum(terms) + lam * mp.fsum(r * mp.log(r / p) for r, p in zip(reference, policy, strict=True))


def _ipo_value(wins: Any, reference: Any, policy: Any, lam: Any) -> Any:
    u = [mp.log(p / r) for p, r in zip(policy, reference, strict=True)]
    n = len(policy)
    return mp.fsum(wins[i, j] * (u[i] - u[j] - 1 / (2 * lam)) ** 2 for i in range(n) for j in range(n) if i != j)


def test_counts_that_overflow_are_refused() -> None:
    with pytest.raises(ValueError, match="counts"):
        ea.Bandit.from_counts([0.4, 0.6], [[0, 1e308], [1e308, 0]])
