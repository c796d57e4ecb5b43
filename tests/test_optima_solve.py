"""`solve` and `solve_path` as their users meet them."""

from __future__ import annotations

import json
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch

import expo_analysis as ea

from . import problems

BANDIT = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
ALL = [
    ea.RLHF(0.5),
    ea.RLHF(0.5, "chi_square"),
    ea.DPO(0.5),
    ea.IPO(0.5),
    ea.FDPO(0.5),
    ea.FDPO(0.3, "chi_square"),
    ea.QPO(0.5, psi=lambda m, lam: -torch.nn.functional.logsigmoid(lam * m), mu=torch.log),
    ea.EXPO(0.5),
    ea.RegressionEXPO(0.5),
    ea.ExplicitPO(0.5, "reverse_kl"),
]


@pytest.mark.parametrize("objective", ALL, ids=lambda o: o.name)
def test_shapes_and_a_path_equals_its_points(objective: ea.Objective) -> None:
    rng = np.random.default_rng(0)
    reference, optimal = (np.stack([problems.policy(rng, 3, 0.05) for _ in range(4)]) for _ in range(2))
    many = ea.Bandit(reference, optimal)
    lams = np.array([0.3, 3.0])
    path = ea.solve_path(objective, many, lams)
    assert path.policies.shape == (2, 4, 3)
    assert path.error_bound.shape == path.status.shape == path.value.shape == (2, 4)
    np.testing.assert_allclose(path.policies.sum(axis=-1), 1, atol=1e-14)
    for k, lam in enumerate(lams):
        together = ea.solve(objective.with_lam(lam), many)
        np.testing.assert_array_equal(path[k].policy, path.policies[k])
        assert path[k].objective.lam == lam
        assert together.policy.shape == (4, 3)
        np.testing.assert_allclose(together.policy, path.policies[k], atol=1e-9)
        for x in range(4):
            alone = ea.solve(objective.with_lam(lam), ea.Bandit(reference[x], optimal[x]))
            assert alone.policy.shape == (3,)
            assert np.ndim(alone.value) == 0
            np.testing.assert_allclose(alone.policy, path.policies[k, x], atol=1e-9)
            assert isinstance(alone.status, str)


@pytest.mark.parametrize("objective", ALL, ids=lambda o: o.name)
def test_the_value_is_the_risk_and_nothing_nearby_is_lower(objective: ea.Objective) -> None:
    solution = ea.solve(objective, BANDIT)
    rng = np.random.default_rng(1)
    if (solution.policy > 0).all():
        risk = float(ea.risk(objective, BANDIT, torch.from_numpy(solution.log_policy)))
        assert abs(risk - solution.value) <= 4e-16 * abs(risk)  # the solver adds up the same terms in another order
    for _ in range(100):
        logits = np.maximum(solution.log_policy, -40) + 10 ** rng.uniform(-5, 0.5) * rng.standard_normal(3)
        nearby = torch.log_softmax(torch.from_numpy(logits), 0)
        assert float(ea.risk(objective, BANDIT, nearby)) >= solution.value - 1e-13


def test_worked_numbers_to_eight_digits() -> None:
    worked = {
        0.1: (0.56674459, 0.32236506, 0.11089035),
        1.0: (0.47097182, 0.37611929, 0.15290889),
        10.0: (0.41110634, 0.39724487, 0.19164879),
    }
    path = ea.solve_path(ea.EXPO(1.0), BANDIT, list(worked))
    np.testing.assert_allclose(path.policies, list(worked.values()), atol=5e-9)


def test_one_bandit_for_data_and_population() -> None:
    """Counts in exact proportion to the population's weights have the population's optimum."""
    wins = np.round(BANDIT.wins * 12_600_000).astype(int)
    assert np.abs(wins / wins.sum() - BANDIT.wins).max() < 1e-15
    counted = ea.Bandit.from_counts(BANDIT.reference, wins)
    for objective in (ea.DPO(0.3), ea.IPO(0.3), ea.EXPO(0.3), ea.FDPO(0.3), ea.RLHF(0.3), ea.RegressionEXPO(0.3)):
        np.testing.assert_allclose(ea.solve(objective, counted).policy, ea.solve(objective, BANDIT).policy, atol=1e-9)


def test_frames() -> None:
    frame = ea.solve(ea.EXPO(0.5), BANDIT).to_frame()
    assert list(frame["response"]) == [0, 1, 2]
    np.testing.assert_array_equal(frame["optimal"], BANDIT.optimal)
    many = ea.Bandit(np.stack([BANDIT.reference] * 2), np.stack([BANDIT.optimal, BANDIT.reference]))
    path = ea.solve_path(ea.DPO(1.0), many, [0.1, 1.0, 10.0])
    long = path.to_frame()
    assert len(long) == 3 * 2 * 3
    row = long[(long["lam"] == 1.0) & (long["prompt"] == 1) & (long["response"] == 2)].squeeze()
    assert isinstance(row, pd.Series)
    assert row["policy"] == path.policies[1, 1, 2]
    assert row["value"] == path.value[1, 1]
    assert row["reference"] == many.reference[1, 2]


def test_dictionaries_are_json() -> None:
    bandit = ea.Bandit.from_counts([0.4, 0.6], [[0, 3], [0, 0]])
    for objective in (ea.DPO(0.5), ea.EXPO(0.5), ea.FDPO(0.5, "alpha", alpha=0.3)):
        solution = ea.solve(objective, bandit)
        parsed = json.loads(json.dumps(solution.to_dict(), allow_nan=False))
        assert parsed["objective"] == objective.name
        assert parsed["status"] == solution.status
        np.testing.assert_array_equal(parsed["policy"], solution.policy)
    assert parsed["options"] == {"lam": 0.5, "divergence": "alpha", "alpha": 0.3}
    assert ea.solve(ea.DPO(0.5), bandit).to_dict()["error_bound"] is None


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: ea.solve("expo", BANDIT), "objective"),
        (lambda: ea.solve(ea.EXPO, BANDIT), "objective"),
        (lambda: ea.solve(ea.EXPO(1.0), [0.4, 0.6]), "bandit"),
        (lambda: ea.solve(ea.EXPO(1.0), BANDIT, "guess"), "method"),
        (lambda: ea.solve(ea.ORPO(1.0), BANDIT, "newton"), "newton"),
        (lambda: ea.solve(ea.EXPO(1.0), BANDIT, "closed_form"), "closed_form"),
        (lambda: ea.solve(ea.DPO(1.0, label_smoothing=0.1), BANDIT, "closed_form"), "closed_form"),
        (lambda: ea.solve(ea.RLHF(1.0), BANDIT, "newton"), "method"),
        (lambda: ea.solve(ea.EXPO(np.array([1.0, 2.0])), BANDIT), "lam"),
        (lambda: ea.solve_path(ea.EXPO(1.0), BANDIT, []), "lams"),
        (lambda: ea.solve_path(ea.EXPO(1.0), BANDIT, [[1.0]]), "lams"),
        (lambda: ea.solve_path(ea.EXPO(1.0), BANDIT, [1.0, -1.0]), "lams"),
        (lambda: ea.solve_path(ea.EXPO(1.0), BANDIT, [1.0, np.inf]), "lams"),
        (lambda: ea.solve_path(ea.EXPO(1.0), BANDIT, ["a"]), "lams"),
    ],
)
def test_bad_input_is_named(call, named: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((TypeError, ValueError), match=named):
        call()


@pytest.mark.parametrize("objective", ALL, ids=lambda o: o.name)
def test_relabelling_responses_relabels_the_optimum(objective: ea.Objective) -> None:
    rng = np.random.default_rng(2)
    for graph in problems.GRAPHS:
        bandit = problems.bandit(rng, 4, graph, smallest=0.05)
        order = rng.permutation(4)
        q = bandit.pairs[np.ix_(order, order)]
        relabelled = ea.Bandit(bandit.reference[order], bandit.optimal[order], q)
        np.testing.assert_allclose(
            ea.solve(objective, relabelled).policy, ea.solve(objective, bandit).policy[order], atol=1e-8
        )


def test_prompt_weights_do_not_move_a_tabular_optimum() -> None:
    policies = np.stack([BANDIT.reference, BANDIT.optimal])
    even, uneven = (ea.Bandit(policies, policies[::-1], prompt_weights=w) for w in ([1, 1], [1, 99]))
    np.testing.assert_array_equal(ea.solve(ea.EXPO(0.5), even).policy, ea.solve(ea.EXPO(0.5), uneven).policy)
    np.testing.assert_allclose(uneven.prompt_weights, [0.01, 0.99])


@pytest.mark.parametrize("lam", [1e-6, 1e-3, 0.1])
def test_optima_far_out_are_found(lam: float) -> None:
    """EXO sees lam hbar alone, so that on two responses hbar is in proportion to 1/lam: 1e6 nats need long steps."""
    two = ea.Bandit([0.4, 0.6], [0.7, 0.3])
    far, near = (ea.solve(ea.EXO(x), two) for x in (lam, 1.0))
    assert far.status == near.status == "best_found"
    scores = [x * (log[0] - log[1] - np.log(0.4 / 0.6)) for x, log in ((lam, far.log_policy), (1.0, near.log_policy))]
    assert scores[0] == pytest.approx(scores[1], abs=1e-8)


@pytest.mark.parametrize("lam", [1e-4, 1e-2, 0.1, 1.0, 10.0])
def test_a_plateau_is_no_minimum(lam: float) -> None:
    """Between two responses KTO falls for ever as the better one's probability grows, which soon no value tells."""
    both_ways = ea.Bandit([[0.4, 0.6], [0.6, 0.4]], [[0.7, 0.3], [0.3, 0.7]])
    solution = ea.solve(ea.KTO(lam), both_ways)
    assert (solution.status == "no_minimiser").all() and (solution.policy[[0, 1], [0, 1]] > 1 - 1e-9).all()


# -------------------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("objective", [ea.EXPO(0.3), ea.DPO(0.3), ea.IPO(0.3), ea.ExplicitPO(0.5, "reverse_kl")])
@pytest.mark.parametrize("kind", ["population", "counts"])
def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch, objective: ea.Objective, kind: str) -> None:
    """Prompts in blocks of a few, of pieces of several sizes, some without a minimiser: by one thread or many."""
    monkeypatch.setattr(sys.modules["expo_analysis.optima.solve"], "BLOCK", 256)
    rng = np.random.default_rng(0)
    reference = rng.dirichlet(np.ones(5), 30)
    if kind == "population":
        many = ea.Bandit(reference, rng.dirichlet(np.ones(5), 30))
    else:
        many = ea.Bandit.from_counts(reference, rng.integers(0, 3, (30, 5, 5)) * (1 - np.eye(5)))
    one = ea.solve_path(objective, many, [0.1, 1.0])
    used: set[int] = set()
    problem = sys.modules["expo_analysis.optima.solve"].solve_problem
    monkeypatch.setattr(
        sys.modules["expo_analysis.optima.solve"],
        "solve_problem",
        lambda *given: (used.add(threading.get_ident()), problem(*given))[1],
    )
    for jobs in (2, 3, -1):
        several = ea.solve_path(objective, many, [0.1, 1.0], n_jobs=jobs)
        for name in ("log_policies", "value", "error_bound", "iterations", "status", "message", "certificate"):
            np.testing.assert_array_equal(getattr(several, name), getattr(one, name), err_msg=name)
    assert len(used) > 1
    own = ea.solve(objective, many, n_jobs=2)
    np.testing.assert_array_equal(own.log_policy, ea.solve(objective, many).log_policy)


def test_what_a_thread_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ArithmeticError("a fault of a block")

    module = sys.modules["expo_analysis.optima.solve"]
    monkeypatch.setattr(module, "BLOCK", 8)
    monkeypatch.setattr(module, "solve_problem", fails)
    with pytest.raises(ArithmeticError, match="a fault of a block"):
        ea.solve(ea.EXPO(1.0), ea.Bandit([[0.5, 0.5]] * 4, [[0.6, 0.4]] * 4), n_jobs=2)


@pytest.mark.parametrize("n_jobs", [0, -2, 1.5, True, "all"])
def test_numbers_of_threads_that_are_none(n_jobs: object) -> None:
    for solve, lams in ((ea.solve, []), (ea.solve_path, [[1.0]])):
        with pytest.raises(ValueError, match="n_jobs must be a number of threads, or -1 for one on each core, got "):
            solve(ea.EXPO(1.0), BANDIT, *lams, n_jobs=n_jobs)  # type: ignore[operator]


def test_threads_are_refused_where_they_are_not_used() -> None:
    for call in (
        lambda: ea.solve(ea.EXPO(1.0), ea.Comparisons([0, 1], [1, 0]), n_jobs=2),
        lambda: ea.solve(ea.EXPO(1.0), BANDIT, features=[[1.0], [0.0], [-1.0]], n_jobs=-1),
    ):
        with pytest.raises(ValueError, match="n_jobs is for prompts of a Bandit over all policies, and not used here"):
            call()
