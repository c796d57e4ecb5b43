"""The bandit: what its numbers mean, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import doctest
import inspect
import math
import pickle
import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import expo_analysis as ea
import expo_analysis.bandit as bandit_room
from expo_analysis.bandit import SUM_TOLERANCE
from expo_analysis.testing import strategies as own

ROOM = [module.name for module in pkgutil.iter_modules(bandit_room.__path__)]
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


def test_counts_as_large_as_floats_allow_have_their_exact_optimum() -> None:
    """4e307 wins each way: EXPO's optimum at lam = 1, from the reference (.4, .6), is (.45, .55) as for 1 win each."""
    large = ea.Bandit.from_counts([0.4, 0.6], [[0, 4e307], [4e307, 0]])
    small = ea.Bandit.from_counts([0.4, 0.6], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(large.wins, small.wins)
    found = ea.solve(ea.EXPO(1.0), large).policy
    assert found == pytest.approx(ea.solve(ea.EXPO(1.0), small).policy, abs=1e-15)
    # (pi - pi_ref) lam + sigma(h) - 1/2 = 0, h = log pi_0 / pi_1
    assert found[0] - 0.4 + 1 / (1 + found[1] / found[0]) - 0.5 == pytest.approx(0, abs=1e-15)


def test_the_constructors_have_the_public_arguments_and_no_others() -> None:
    own = ["responses", "prompt_names", "rewards", "lengths"]
    expected = {
        ea.Bandit: ["reference", "optimal", "pairs", "prompt_weights", *own],
        ea.Bandit.from_counts: ["reference", "counts", "prompt_weights", "ties", *own, "choices", "triples"],
        ea.Bandit.from_comparisons: ["reference", "comparisons", "ties", "responses", "prompt_weights"],
        ea.Bandit.from_preferences: ["reference", "preference", "pairs", "prompt_weights", *own],
    }
    for make, names in expected.items():
        assert list(inspect.signature(make).parameters) == names
    by_name = ea.Bandit(reference=REFERENCE, optimal=OPTIMAL, pairs=CHAIN, prompt_weights=None)
    np.testing.assert_array_equal(by_name.pairs, ea.Bandit(REFERENCE, OPTIMAL, CHAIN).pairs)
    counted = ea.Bandit.from_counts(reference=REFERENCE, counts=COUNTS, prompt_weights=None)
    stated = ea.Bandit.from_preferences(reference=REFERENCE, preference=by_name.preference, pairs="uniform")
    for bandit, given_too in ((by_name, "optimal"), (counted, "counts"), (stated, "stated_preference")):
        known = [x for x in ("optimal", "counts", "stated_preference") if getattr(bandit, x) is not None]
        assert known == [given_too]


def test_copies_are_whole() -> None:
    class Named(ea.Bandit):
        """A subclass of a user's."""

    for bandit in (ea.Bandit(REFERENCE, OPTIMAL), ea.Bandit.from_counts(REFERENCE, COUNTS), Named(REFERENCE, OPTIMAL)):
        for other in (copy.copy(bandit), copy.deepcopy(bandit)):
            assert type(other) is type(bandit)
            np.testing.assert_array_equal(other.wins, bandit.wins)
    sent = pickle.loads(pickle.dumps(ea.Bandit.from_counts(REFERENCE, COUNTS)))
    np.testing.assert_array_equal(sent.counts, COUNTS)
    assert type(Named.from_counts(REFERENCE, COUNTS)) is Named
    tilted = dataclasses.replace(ea.Bandit(REFERENCE, OPTIMAL, CHAIN), reference=[0.2, 0.2, 0.6])
    np.testing.assert_allclose(tilted.pairs, CHAIN / 8, rtol=1e-15)


def test_what_prompts_share_is_kept_once() -> None:
    """10,000 prompts with 100 responses: pairs of every prompt would be 800 MB."""
    policies = np.full((10_000, 100), 0.01)
    for pairs in ("uniform", np.ones((100, 100)) - np.eye(100)):
        bandit = ea.Bandit(policies, policies, pairs)
        assert bandit.pairs.shape == (10_000, 100, 100)
        assert bandit.pairs.strides[0] == 0


# ---------------------------------------------------------------------------------------------------- as people see it


def test_a_line_for_every_bandit() -> None:
    rows = np.full((50, 3), 1 / 3)
    two, all_three = np.array([CHAIN, CHAIN]), np.array([CHAIN, 1 - np.eye(3)])
    expected = {
        ea.Bandit(REFERENCE, OPTIMAL): "3 responses, Bradley-Terry preferences, all pairs compared equally often; "
        "reference [0.4, 0.4, 0.2], optimal [0.6, 0.3, 0.1]",
        ea.Bandit(REFERENCE, OPTIMAL, "reference"): "3 responses, Bradley-Terry preferences, all pairs compared, "
        "unevenly; reference [0.4, 0.4, 0.2], optimal [0.6, 0.3, 0.1]",
        ea.Bandit.from_counts(REFERENCE, COUNTS): "3 responses, win counts of 8 comparisons, 2 of 3 pairs compared; "
        "reference [0.4, 0.4, 0.2]",
        ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]]): "2 responses, win counts of 1 comparison, all pairs "
        "compared equally often; reference [0.5, 0.5]",
        ea.Bandit.from_preferences(REFERENCE, np.full((3, 3), 0.5)): "3 responses, stated preferences, all pairs "
        "compared equally often; reference [0.4, 0.4, 0.2]",
        ea.Bandit(rows, rows): "3 responses, 50 prompts, Bradley-Terry preferences, all pairs compared equally often",
        ea.Bandit(rows[:2], rows[:2], two): "3 responses, 2 prompts, Bradley-Terry preferences, 2 of 3 pairs compared",
        ea.Bandit(rows[:2], rows[:2], all_three): "3 responses, 2 prompts, Bradley-Terry preferences, 2 to 3 of "
        "3 pairs compared",
        ea.Bandit(rows[:1], rows[:1]): "3 responses, 1 prompt, Bradley-Terry preferences, all pairs compared equally "
        "often",
    }
    for bandit, line in expected.items():
        assert repr(bandit) == f"<Bandit: {line}>"
    large = np.full(1000, 1e-3)
    assert repr(ea.Bandit(large, large)).count("\n") == 0 and len(repr(ea.Bandit(large, large))) < 100


def test_a_table_for_notebooks() -> None:
    """A row a response, with wins and losses of counts; of large ones the first rows, and how many more there are."""

    def cells(bandit: ea.Bandit) -> list[list[str]]:
        rows = bandit._repr_html_().split("<tr>")[1:]
        return [[cell.split("<")[0] for cell in row.replace("<th>", "<td>").split("<td>")[1:]] for row in rows]

    assert cells(ea.Bandit(REFERENCE, OPTIMAL)) == [
        ["response", "reference", "optimal"],
        ["0", "0.4", "0.6"],
        ["1", "0.4", "0.3"],
        ["2", "0.2", "0.1"],
    ]
    counted = cells(ea.Bandit.from_counts([REFERENCE] * 2, np.stack([COUNTS, 2 * COUNTS.T])))
    assert counted[0] == ["prompt", "response", "reference", "wins", "losses"]
    assert counted[1:3] == [["0", "0", "0.4", "3", "1"], ["0", "1", "0.4", "3", "5"]]
    assert counted[4] == ["1", "0", "0.4", "2", "6"]
    many = np.full((20, 40), 1 / 40)
    large = cells(ea.Bandit(many, many))
    assert len(large) == 1 + 3 * 11 + 1 and {len(row) for row in large} == {4}
    assert large[11] == ["0", "and 30 more responses", "", ""] and large[-1] == ["and 17 more prompts", "", "", ""]
    assert repr(ea.Bandit(many, many))[1:-1] in ea.Bandit(many, many)._repr_html_()


def test_examples() -> None:
    found = [doctest.testmod(import_module(f"expo_analysis.bandit.{name}")) for name in ROOM]
    assert sum(own.attempted for own in found) >= 12 and not any(own.failed for own in found)


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
        r"pairs must be symmetric: q\(i, j\) = q\(j, i\), got 2\.0 at index \(0, 1\)",
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
        r"counts must be non-negative and finite \(a win of j over i is counts\[j, i\]\), got -1\.0 at index \(0, 1\)",
    ),
    "nan counts": (
        lambda: ea.Bandit.from_counts(REFERENCE, replaced(COUNTS, {(0, 1): math.nan})),
        "counts must be non-negative and finite",
    ),
    "infinite counts": (
        lambda: ea.Bandit.from_counts(REFERENCE, replaced(COUNTS, {(0, 1): math.inf})),
        "counts must be non-negative and finite",
    ),
    "diagonal counts": (
        lambda: ea.Bandit.from_counts(REFERENCE, COUNTS + np.eye(3)),
        r"counts must have a zero diagonal: a response does not beat itself, got 1\.0 at index \(0, 0\)",
    ),
    "diagonal counts of a prompt": (
        lambda: ea.Bandit.from_counts([REFERENCE] * 2, np.stack([COUNTS, COUNTS + np.diag([0, 0, 2])])),
        r"counts must have a zero diagonal: .* got 2\.0 at index \(1, 2, 2\)",
    ),
    "no comparison": (
        lambda: ea.Bandit.from_counts(REFERENCE, np.zeros((3, 3))),
        "counts must hold at least one comparison",
    ),
    "counts of another size": (
        lambda: ea.Bandit.from_counts(REFERENCE, np.ones((2, 2))),
        r"counts must have shape \(3, 3\), got \(2, 2\)",
    ),
    "counts whose sum overflows": (
        lambda: ea.Bandit.from_counts([0.4, 0.6], [[0, 1e308], [1e308, 0]]),
        r"counts must have a sum that is finite in floating point, got entries up to 1e\+308",
    ),
    "counts whose sum in both orders overflows": (
        lambda: ea.Bandit.from_counts([0.4, 0.6], [[0, 6e307], [6e307, 0]]),
        "counts must have a sum that is finite",
    ),
    "counts whose sum over prompts overflows": (
        lambda: ea.Bandit.from_counts([[0.4, 0.6]] * 20, [[0, 1e307], [1e307, 0]]),
        "counts must have a sum that is finite",
    ),
    "pairs whose sum overflows": (
        lambda: ea.Bandit([0.4, 0.6], [0.5, 0.5], [[0, 1e308], [1e308, 0]]),
        "pairs must have a sum that is finite",
    ),
    "weights whose sum overflows": (
        lambda: ea.Bandit([[0.4, 0.6]] * 2, [[0.5, 0.5]] * 2, prompt_weights=[1e308, 1e308]),
        "prompt_weights must have a sum that is finite",
    ),
    "a whole number of 400 digits": (
        lambda: ea.Bandit.from_counts([0.4, 0.6], [[0, 10**400], [1, 0]]),
        "counts must be an array of numbers",
    ),
    "text of numbers": (lambda: ea.Bandit(["0.4", "0.6"], [0.5, 0.5]), "reference must be an array of numbers"),
    "text among numbers": (
        lambda: ea.Bandit(np.array([0.4, "0.6"], dtype=object), [0.5, 0.5]),
        "reference must be an array of numbers",
    ),
    "a tensor with a gradient": (
        lambda: ea.Bandit(torch.tensor([0.4, 0.6], requires_grad=True), [0.5, 0.5]),
        "reference must be an array of numbers, got tensor",
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


def test_pairs_of_stated_preferences_are_checked_too():
    with pytest.raises(ValueError, match="pairs must be 'uniform', 'reference' or an array"):
        ea.Bandit.from_preferences([0.5, 0.5], [[0.5, 0.7], [0.3, 0.5]], "all")
