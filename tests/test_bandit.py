"""The bandit: what its numbers mean, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import expo_analysis as ea
from expo_analysis.bandit import SUM_TOLERANCE

from . import strategies as own

EPS = float(np.finfo(np.float64).eps)
REFERENCE, OPTIMAL = [0.4, 0.4, 0.2], [0.6, 0.3, 0.1]
CHAIN = np.array([[0, 1, 0], [1, 0, 3], [0, 3, 0]])
COUNTS = np.array([[0, 3, 0], [1, 0, 2], [0, 2, 0]])


# ---------------------------------------------------------------------------------------------------- by hand


def test_by_hand() -> None:
    bandit = ea.Bandit(REFERENCE, OPTIMAL)
    assert (bandit.n, bandit.prompts) == (3, None)
    # p* = pi*_i / (pi*_i + pi*_j)
    preference = [[1 / 2, 2 / 3, 6 / 7], [1 / 3, 1 / 2, 3 / 4], [1 / 7, 1 / 4, 1 / 2]]
    np.testing.assert_allclose(bandit.preference, preference, rtol=4 * EPS)
    np.testing.assert_allclose(bandit.pairs, (1 - np.eye(3)) / 6, rtol=2 * EPS)
    # 2 q p*: each of the three pairs has weight 1/3, shared as p* says
    wins = np.array([[0, 2 / 9, 2 / 7], [1 / 9, 0, 1 / 4], [1 / 21, 1 / 12, 0]])
    np.testing.assert_allclose(bandit.wins, wins, rtol=8 * EPS)
    winner, loser, weight = bandit.edges
    assert list(zip(winner.tolist(), loser.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    np.testing.assert_array_equal(weight, bandit.wins[winner, loser])
    assert bandit.components.tolist() == [0, 0, 0]
    assert bandit.counts is None
    assert bandit.prompt_weights == 1


def test_pairs_by_the_reference() -> None:
    """pi_ref x pi_ref conditioned on i != j: 1 - (.16 + .16 + .04) = .64."""
    bandit = ea.Bandit(REFERENCE, OPTIMAL, "reference")
    pairs = np.array([[0, 0.16, 0.08], [0.16, 0, 0.08], [0.08, 0.08, 0]]) / 0.64
    np.testing.assert_allclose(bandit.pairs, pairs, rtol=8 * EPS)


def test_an_array_of_pairs_is_divided_by_its_sum() -> None:
    bandit = ea.Bandit(REFERENCE, OPTIMAL, CHAIN)
    np.testing.assert_allclose(bandit.pairs, CHAIN / 8, rtol=2 * EPS)
    assert bandit.wins[0, 2] == bandit.wins[2, 0] == 0
    assert len(bandit.edges[0]) == 4


def test_counts_by_hand() -> None:
    bandit = ea.Bandit.from_counts(REFERENCE, COUNTS)
    np.testing.assert_allclose(bandit.wins, COUNTS / 8, rtol=2 * EPS)
    np.testing.assert_allclose(bandit.pairs, np.array([[0, 4, 0], [4, 0, 4], [0, 4, 0]]) / 16, rtol=2 * EPS)
    assert bandit.optimal is None
    np.testing.assert_array_equal(bandit.counts, COUNTS)
    with pytest.raises(ValueError, match="preference is not known for win counts"):
        _ = bandit.preference


def test_prompts() -> None:
    reference = np.array([REFERENCE, [0.2, 0.2, 0.6]])
    optimal = np.array([OPTIMAL, [0.1, 0.8, 0.1]])
    graphs = np.stack([CHAIN, CHAIN[::-1, ::-1]])
    for pairs in ("uniform", "reference", CHAIN, graphs):
        bandit = ea.Bandit(reference, optimal, pairs)
        assert (bandit.n, bandit.prompts) == (3, 2)
        np.testing.assert_allclose(bandit.prompt_weights, [0.5, 0.5])
        for x in range(2):
            alone = ea.Bandit(reference[x], optimal[x], graphs[x] if pairs is graphs else pairs)
            for name in ("wins", "pairs", "preference", "components"):
                np.testing.assert_array_equal(getattr(bandit, name)[x], getattr(alone, name))
    weighted = ea.Bandit(reference, optimal, prompt_weights=[1, 3])
    np.testing.assert_allclose(weighted.prompt_weights, [0.25, 0.75])
    counted = ea.Bandit.from_counts(reference, np.stack([COUNTS, 3 * COUNTS]))
    np.testing.assert_allclose(counted.prompt_weights, [0.25, 0.75])
    shared = ea.Bandit.from_counts(reference, COUNTS)
    np.testing.assert_array_equal(shared.counts, np.stack([COUNTS, COUNTS]))


def test_a_prompt_without_comparisons() -> None:
    bandit = ea.Bandit.from_counts([REFERENCE, REFERENCE], np.stack([COUNTS, np.zeros((3, 3))]))
    np.testing.assert_array_equal(bandit.prompt_weights, [1, 0])
    np.testing.assert_array_equal(bandit.wins[1], 0)
    assert bandit.components[1].tolist() == [0, 1, 2]


# ---------------------------------------------------------------------------------------------------- properties


@given(own.bandits())
def test_population(bandit: ea.Bandit) -> None:
    assert bandit.wins.sum() == pytest.approx(1, abs=1e-14)
    assert bandit.pairs.sum() == pytest.approx(1, abs=1e-14)
    assert bandit.reference.sum() == pytest.approx(1, abs=1e-15)
    np.testing.assert_array_equal(bandit.pairs, bandit.pairs.T)
    np.testing.assert_array_equal(np.diag(bandit.wins), 0)
    np.testing.assert_allclose(bandit.preference + bandit.preference.T, 1, rtol=4 * EPS)
    # both orders of a pair make up its weight, in the ratio of the optimal probabilities
    np.testing.assert_allclose(bandit.wins + bandit.wins.T, 2 * bandit.pairs, rtol=8 * EPS)
    odds = bandit.optimal[:, None] / bandit.optimal
    np.testing.assert_allclose(bandit.wins, odds * bandit.wins.T, rtol=16 * EPS)


@given(own.count_bandits())
def test_counts(bandit: ea.Bandit) -> None:
    total = bandit.counts.sum()
    np.testing.assert_allclose(bandit.wins, bandit.counts / total, rtol=4 * EPS)
    np.testing.assert_allclose(bandit.pairs, (bandit.counts + bandit.counts.T) / (2 * total), rtol=4 * EPS)
    winner, loser, weight = bandit.edges
    assert (weight > 0).all()
    assert weight.sum() == pytest.approx(1, abs=1e-14)
    assert len(winner) == (bandit.counts > 0).sum()
    np.testing.assert_array_equal(bandit.counts[winner, loser] > 0, True)


@given(own.bandits(max_n=5, smallest=1e-2))
def test_the_population_is_the_limit_of_counts(bandit: ea.Bandit) -> None:
    """Counts in the proportions of the population, the more the closer."""
    for size in (1e6, 1e12):
        counted = ea.Bandit.from_counts(bandit.reference, np.floor(size * bandit.wins))
        assert np.abs(counted.wins - bandit.wins).max() <= 2 * bandit.n**2 / size
        assert np.abs(counted.pairs - bandit.pairs).max() <= 2 * bandit.n**2 / size


def test_counts_drawn_at_random_approach_the_population() -> None:
    bandit = ea.Bandit(REFERENCE, OPTIMAL, CHAIN)
    draws = 1_000_000
    counts = np.random.default_rng(0).multinomial(draws, bandit.wins.reshape(-1)).reshape(3, 3)
    counted = ea.Bandit.from_counts(REFERENCE, counts)
    assert np.abs(counted.wins - bandit.wins).max() < 5 * math.sqrt(0.25 / draws)


def _reachable(graph: np.ndarray, start: int) -> set[int]:
    """Breadth-first search."""
    seen, frontier = {start}, [start]
    while frontier:
        frontier = [int(j) for i in frontier for j in np.flatnonzero(graph[i]) if int(j) not in seen]
        seen.update(frontier)
    return seen


@given(st.one_of(own.bandits(), own.count_bandits()))
def test_components_against_a_search(bandit: ea.Bandit) -> None:
    compared = bandit.wins > 0
    for i in range(bandit.n):
        same = set(np.flatnonzero(bandit.components == bandit.components[i]).tolist())
        assert same == _reachable(compared | compared.T, i)
    assert set(bandit.components) == set(range(max(bandit.components) + 1))


@given(st.lists(own.pair_weights(5, "disconnected"), min_size=1, max_size=4))
def test_components_of_many_prompts(graphs: list[np.ndarray]) -> None:
    policies = np.full((len(graphs), 5), 0.2)
    together = ea.Bandit(policies, policies, np.stack(graphs))
    for x, graph in enumerate(graphs):
        np.testing.assert_array_equal(together.components[x], ea.Bandit(policies[0], policies[0], graph).components)


@given(own.bandits(max_n=6), st.data())
def test_relabelling_responses(bandit: ea.Bandit, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(bandit.n))))
    relabelled = ea.Bandit(bandit.reference[order], bandit.optimal[order], bandit.pairs[np.ix_(order, order)])
    np.testing.assert_allclose(relabelled.wins, bandit.wins[np.ix_(order, order)], rtol=16 * EPS)


# ---------------------------------------------------------------------------------------------------- care


def test_inputs_are_copied_and_fields_are_frozen() -> None:
    reference, pairs = np.array(REFERENCE), CHAIN.astype(float)
    bandit = ea.Bandit(reference, OPTIMAL, pairs)
    reference[0], pairs[0, 1] = 9.0, 9.0
    assert bandit.reference[0] == pytest.approx(0.4)
    assert bandit.pairs[0, 1] == pytest.approx(1 / 8)
    for name in ("reference", "optimal", "pairs"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(bandit, name)[0] = 1.0
    with pytest.raises(AttributeError):
        bandit.reference = reference  # type: ignore[misc]


@pytest.mark.parametrize("total", [1 - 0.9 * SUM_TOLERANCE, 1 + 0.9 * SUM_TOLERANCE])
def test_sums_within_the_tolerance_are_normalised(total: float) -> None:
    assert SUM_TOLERANCE == 1e-6
    bandit = ea.Bandit(np.array(REFERENCE) * total, np.array(OPTIMAL) * total)
    np.testing.assert_allclose(bandit.reference, REFERENCE, rtol=4 * EPS)
    np.testing.assert_allclose(bandit.optimal, OPTIMAL, rtol=4 * EPS)


def test_lists_tuples_and_float32_are_accepted() -> None:
    for kind in (list, tuple, lambda x: np.array(x, dtype=np.float32)):
        bandit = ea.Bandit(kind(REFERENCE), kind(OPTIMAL))
        assert bandit.reference.dtype == np.float64
        np.testing.assert_allclose(bandit.reference, REFERENCE, rtol=1e-6)


# ---------------------------------------------------------------------------------------------------- bad input

BAD_POLICIES: dict[str, tuple[Any, str]] = {
    "negative": ([1.2, -0.1, -0.1], r"must hold positive finite probabilities, got -0\.1 at index 1"),
    "zero": ([0.5, 0.5, 0.0], r"must hold positive finite probabilities, got 0\.0 at index 2"),
    "nan": ([0.5, math.nan, 0.5], r"must hold positive finite probabilities, got nan at index 1"),
    "infinite": ([math.inf, 0.5, 0.5], r"must hold positive finite probabilities, got inf at index 0"),
    "zero on one prompt": (
        [REFERENCE, [0.5, 0.5, 0.0]],
        r"must hold positive finite probabilities, got 0\.0 at .*1, 2",
    ),
    "sum too large": ([0.4, 0.4, 0.3], r"must sum to one within 1e-06, got a sum of 1\.1"),
    "sum a little off": ([0.4, 0.4, 0.200002], r"must sum to one within 1e-06, got a sum of 1\.000002"),
    "one prompt off": ([REFERENCE, [0.4, 0.4, 0.1]], r"must sum to one within 1e-06, got a sum of 0\.9"),
    "a number": (1.0, r"must have shape \(n,\) or \(prompts, n\), got \(\)"),
    "three axes": ([[REFERENCE]], r"must have shape \(n,\) or \(prompts, n\), got \(1, 1, 3\)"),
    "empty": ([], r"must have shape \(n,\) or \(prompts, n\), got \(0,\)"),
    "ragged": ([[0.5, 0.5], [1.0]], "must be an array of numbers"),
    "text": (["a", "b", "c"], "must be an array of numbers"),
    "complex": ([0.5j, 0.5], "must be an array of numbers"),
}


@pytest.mark.parametrize(("value", "message"), BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_bad_policies(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match="reference " + message):
        ea.Bandit(value, OPTIMAL)
    with pytest.raises(ValueError, match="optimal " + message):
        ea.Bandit(REFERENCE, value)
    with pytest.raises(ValueError, match="reference " + message):
        ea.Bandit.from_counts(value, COUNTS)


def replaced(array: np.ndarray, entries: dict[tuple[int, ...], float]) -> np.ndarray:
    changed = array.astype(float)
    for index, value in entries.items():
        changed[index] = value
    return changed


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "one response": (lambda: ea.Bandit([1.0], [1.0]), "reference must have at least two responses"),
    "other length": (lambda: ea.Bandit(REFERENCE, [0.5, 0.5]), r"optimal must have the shape of reference, \(3,\)"),
    "other prompts": (lambda: ea.Bandit(REFERENCE, [OPTIMAL]), "optimal must have the shape of reference"),
    "no optimal": (lambda: ea.Bandit(REFERENCE, None), "optimal must be given"),
    "optimal and counts": (lambda: ea.Bandit(REFERENCE, OPTIMAL, counts=COUNTS), "optimal is not used with counts"),
    "pairs and counts": (lambda: ea.Bandit(REFERENCE, None, CHAIN, counts=COUNTS), "pairs is not used with counts"),
    "unknown pairs": (lambda: ea.Bandit(REFERENCE, OPTIMAL, "all"), "pairs must be 'uniform', 'reference' or an array"),
    "pairs of another size": (
        lambda: ea.Bandit(REFERENCE, OPTIMAL, np.ones((2, 2))),
        r"pairs must have shape \(3, 3\), got \(2, 2\)",
    ),
    "pairs of other prompts": (
        lambda: ea.Bandit([REFERENCE] * 2, [OPTIMAL] * 2, np.ones((3, 3, 3))),
        r"pairs must have shape \(3, 3\) or \(2, 3, 3\), got \(3, 3, 3\)",
    ),
    "asymmetric pairs": (
        lambda: ea.Bandit(REFERENCE, OPTIMAL, replaced(CHAIN, {(0, 1): 2})),
        "pairs must be symmetric",
    ),
    "negative pairs": (
        lambda: ea.Bandit(REFERENCE, OPTIMAL, replaced(CHAIN, {(0, 1): -1, (1, 0): -1})),
        "pairs must be non-negative and finite",
    ),
    "nan pairs": (
        lambda: ea.Bandit(REFERENCE, OPTIMAL, replaced(CHAIN, {(0, 1): math.nan, (1, 0): math.nan})),
        "pairs must be non-negative and finite",
    ),
    "diagonal pairs": (lambda: ea.Bandit(REFERENCE, OPTIMAL, CHAIN + np.eye(3)), "pairs must have a zero diagonal"),
    "empty pairs": (lambda: ea.Bandit(REFERENCE, OPTIMAL, np.zeros((3, 3))), "pairs must not be empty"),
    "empty pairs of a prompt": (
        lambda: ea.Bandit([REFERENCE] * 2, [OPTIMAL] * 2, np.stack([CHAIN, 0 * CHAIN])),
        "pairs must not be empty: at least one pair of every prompt",
    ),
    "text in pairs": (lambda: ea.Bandit(REFERENCE, OPTIMAL, [["x"]]), "pairs must be an array of numbers"),
    "negative counts": (
        lambda: ea.Bandit.from_counts(REFERENCE, replaced(COUNTS, {(0, 1): -1})),
        "counts must be non-negative integers",
    ),
    "fractional counts": (
        lambda: ea.Bandit.from_counts(REFERENCE, replaced(COUNTS, {(0, 1): 0.5})),
        "counts must be non-negative integers",
    ),
    "nan counts": (
        lambda: ea.Bandit.from_counts(REFERENCE, replaced(COUNTS, {(0, 1): math.nan})),
        "counts must be non-negative integers",
    ),
    "infinite counts": (
        lambda: ea.Bandit.from_counts(REFERENCE, replaced(COUNTS, {(0, 1): math.inf})),
        "counts must be non-negative integers",
    ),
    "diagonal counts": (
        lambda: ea.Bandit.from_counts(REFERENCE, COUNTS + np.eye(3)),
        "counts must have a zero diagonal",
    ),
    "no comparison": (
        lambda: ea.Bandit.from_counts(REFERENCE, np.zeros((3, 3))),
        "counts must hold at least one comparison",
    ),
    "counts of another size": (
        lambda: ea.Bandit.from_counts(REFERENCE, np.ones((2, 2))),
        r"counts must have shape \(3, 3\), got \(2, 2\)",
    ),
    "text in counts": (lambda: ea.Bandit.from_counts(REFERENCE, "many"), "counts must be an array of numbers"),
    "weights of another length": (
        lambda: ea.Bandit([REFERENCE] * 2, [OPTIMAL] * 2, prompt_weights=[1, 1, 1]),
        r"prompt_weights must have shape \(2,\), got \(3,\)",
    ),
    "negative weights": (
        lambda: ea.Bandit([REFERENCE] * 2, [OPTIMAL] * 2, prompt_weights=[2, -1]),
        "prompt_weights must be non-negative, finite and not all zero",
    ),
    "nan weights": (
        lambda: ea.Bandit([REFERENCE] * 2, [OPTIMAL] * 2, prompt_weights=[math.nan, 1]),
        "prompt_weights must be non-negative, finite and not all zero",
    ),
    "zero weights": (
        lambda: ea.Bandit([REFERENCE] * 2, [OPTIMAL] * 2, prompt_weights=[0, 0]),
        "prompt_weights must be non-negative, finite and not all zero",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_bad_input(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# ------------------------------------------------------------------------------------------ preferences of any kind

CYCLE = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])


def test_stated_preferences_are_those_of_the_population():
    pairs = np.array([[0, 2, 1], [2, 0, 1], [1, 1, 0]])
    bandit = ea.Bandit.from_preferences([0.5, 0.3, 0.2], CYCLE, pairs)
    np.testing.assert_array_equal(bandit.preference, CYCLE)
    np.testing.assert_allclose(bandit.wins, 2 * pairs / pairs.sum() * CYCLE, rtol=1e-15)
    assert bandit.wins.sum() == pytest.approx(1)
    assert bandit.optimal is None and bandit.counts is None
    reference = ea.Bandit.from_preferences([0.5, 0.3, 0.2], CYCLE, "reference")
    q = np.outer([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]) * (1 - np.eye(3))
    np.testing.assert_allclose(reference.pairs, q / q.sum(), rtol=1e-14)


def test_bradley_terry_preferences_give_the_bandit_of_their_policy():
    """In wins, risks and optima; only pi* itself is not known."""
    reference, optimal = np.array([[0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]), np.array([[0.6, 0.3, 0.1], [0.3, 0.3, 0.4]])
    known = ea.Bandit(reference, optimal, prompt_weights=[1, 3])
    stated = ea.Bandit.from_preferences(reference, known.preference, prompt_weights=[1, 3])
    np.testing.assert_allclose(stated.wins, known.wins, rtol=1e-14)
    np.testing.assert_array_equal(stated.prompt_weights, [0.25, 0.75])
    for objective in (ea.EXPO(0.3), ea.DPO(0.3), ea.IPO(2.0), ea.RegressionEXPO(0.5)):
        found, expected = ea.solve(objective, stated), ea.solve(objective, known)
        assert np.abs(found.policy - expected.policy).max() < 1e-12
        np.testing.assert_allclose(found.value, expected.value, rtol=1e-12)


def test_one_table_of_preferences_serves_all_prompts_and_its_diagonal_is_not_read():
    odd = CYCLE.copy()
    np.fill_diagonal(odd, np.nan)
    bandit = ea.Bandit.from_preferences(np.full((2, 3), 1 / 3), odd)
    np.testing.assert_array_equal(bandit.preference, np.stack([CYCLE, CYCLE]))


def test_on_a_cycle_expo_stays_between_and_meets_its_condition():
    bandit = ea.Bandit.from_preferences([0.5, 0.3, 0.2], CYCLE)
    for lam in (0.01, 1.0, 100.0):
        pi = ea.solve(ea.EXPO(lam), bandit).policy
        moved = pi[:, None] / (pi[:, None] + pi) - CYCLE
        np.fill_diagonal(moved, 0.0)
        slope = (2 * bandit.pairs * moved).sum(axis=1) + lam * (pi - bandit.reference)
        assert np.abs(slope).max() < 1e-14 * (1 + lam)


@pytest.mark.parametrize(
    ("preference", "message"),
    [
        (CYCLE[:2], r"preference must have shape \(3, 3\), got \(2, 3\)"),
        (
            CYCLE + 0.1 * np.triu(np.ones((3, 3)), 1) / 2,
            r"preference must have p\(i > j\) \+ p\(j > i\) = 1 within 1e-06",
        ),
        (np.where(CYCLE == 0.9, 1.9, np.where(CYCLE == 0.1, -0.9, CYCLE)), "preference must hold probabilities"),
        (np.where(CYCLE == 0.9, np.nan, CYCLE), "preference must hold probabilities"),
        ("all", "preference must be an array of numbers"),
    ],
)
def test_bad_preferences_are_refused(preference, message):
    with pytest.raises(ValueError, match=message):
        ea.Bandit.from_preferences([0.5, 0.3, 0.2], preference)


def test_preferences_exclude_what_they_replace():
    for also in ({"optimal": [0.5, 0.5]}, {"optimal": None, "counts": [[0, 1], [1, 0]]}):
        with pytest.raises(ValueError, match="optimal and counts are not used with stated preferences"):
            ea.Bandit([0.5, 0.5], **also, stated_preference=[[0.5, 0.7], [0.3, 0.5]])
    with pytest.raises(ValueError, match="pairs must be 'uniform', 'reference' or an array"):
        ea.Bandit.from_preferences([0.5, 0.5], [[0.5, 0.7], [0.3, 0.5]], "all")
