"""Drawn comparisons against the probabilities that they are drawn by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import expo_analysis as ea
from expo_analysis.simulators import Pairs, draw_pairs, sampling
from expo_analysis.simulators.sampling import first_above
from expo_analysis.testing import strategies as own

RHO = np.array([0.2, 0.5, 0.3])
REFERENCE = np.array([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])
OPTIMAL = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.4, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1]])
GRAPH = np.array([[0, 5, 1, 0], [5, 0, 0, 0], [1, 0, 0, 2], [0, 0, 2, 0]])
POPULATION = ea.Bandit(REFERENCE, OPTIMAL, GRAPH, prompt_weights=RHO)
UNEQUAL = 1 - np.eye(4)
COUNT = 60_000


def distinct(one: np.ndarray) -> np.ndarray:
    """Probability of each ordered pair of two independent draws, given that they differ; (prompts, n, n)."""
    together = one[:, :, None] * one[:, None, :] * UNEQUAL
    return together / together.sum(axis=(-1, -2), keepdims=True)


DESIGNS = {
    "pairs": np.broadcast_to(GRAPH / GRAPH.sum(), (3, 4, 4)),
    "uniform": distinct(np.full((3, 4), 0.25)),
    "reference": distinct(REFERENCE),
}


def p_value(observed: np.ndarray, probability: np.ndarray) -> float:
    """Of a chi-square test on the cells that can occur; what cannot must not."""
    assert observed[probability == 0].sum() == 0
    kept = probability > 0
    return float(stats.chisquare(observed[kept], observed.sum() * probability[kept] / probability[kept].sum()).pvalue)


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("design", DESIGNS)
def test_prompts_pairs_and_winners_follow_their_probabilities(design: str, noise: float) -> None:
    """All three at once: P(x, i beats j) = rho(x) 2 q(i, j | x) p(i > j | x), with p* mixed with its flip."""
    pairs = draw_pairs(POPULATION, COUNT, seed=11, design=design, label_noise=noise)
    preference = (1 - noise) * POPULATION.preference + noise * POPULATION.preference.swapaxes(-1, -2)
    expected = RHO[:, None, None] * 2 * DESIGNS[design] * preference
    assert expected.sum() == pytest.approx(1)
    assert p_value(pairs.counts[0], expected) > 1e-3
    wrong = RHO[:, None, None] * 2 * DESIGNS[design] * POPULATION.preference
    assert (p_value(pairs.counts[0], wrong) > 1e-3) == (noise == 0)  # the test has the power to see it


def test_preferences_need_not_be_of_the_bradley_terry_kind() -> None:
    cycle = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])
    bandit = ea.Bandit.from_preferences([0.4, 0.4, 0.2], cycle)
    pairs = draw_pairs(bandit, COUNT, seed=1)
    assert pairs.optimal is None
    assert p_value(pairs.counts[0, 0], 2 * (1 - np.eye(3)) / 6 * cycle) > 1e-3


def test_preferences_of_zero_and_one_are_certain() -> None:
    certain = np.triu(np.ones((3, 3)), 1)
    counts = draw_pairs(ea.Bandit.from_preferences(np.full(3, 1 / 3), certain), 500).counts[0, 0]
    assert (counts[np.triu_indices(3, 1)] > 100).all() and counts.sum() == 500


@pytest.mark.parametrize("design", ["uniform", "reference"])
def test_equal_pairs_are_thrown_away_with_their_probability(design: str) -> None:
    """P(equal) = sum_x rho(x) sum_i p_i^2; what is left is distributed as its joint probability, not drawn again."""
    one = np.full((3, 4), 0.25) if design == "uniform" else REFERENCE
    pairs = draw_pairs(POPULATION, 300, 200, seed=2, design=design, discard_equal=True)
    size = np.asarray(pairs.size)
    together = RHO[:, None, None] * one[:, :, None] * one[:, None, :] * UNEQUAL
    assert stats.binomtest(int(size.sum()), 300 * 200, together.sum()).pvalue > 1e-3
    assert len(set(size)) > 10 and size.max() == pairs.winner.shape[1]
    assert p_value(pairs.counts.sum(axis=0), 2 * together * POPULATION.preference) > 1e-3
    again = draw_pairs(POPULATION, 300, 200, seed=2, design=design)
    assert (np.asarray(again.size) == 300).all()


def test_the_same_seed_draws_the_same_and_more_data_sets_change_none() -> None:
    for options in ({}, {"design": "reference", "discard_equal": True, "label_noise": 0.1}):
        three, five = (draw_pairs(POPULATION, 50, k, seed=7, **options) for k in (3, 5))  # type: ignore[arg-type]
        np.testing.assert_array_equal(three.counts, five.counts[:3])
        np.testing.assert_array_equal(three.size, np.asarray(five.size)[:3])
        for name in ("winner", "loser", "prompt"):
            for s, size in enumerate(np.asarray(three.size)):
                np.testing.assert_array_equal(getattr(three, name)[s, :size], getattr(five, name)[s, :size])
        assert not np.array_equal(five.counts[0], five.counts[1])
        other = draw_pairs(POPULATION, 50, 3, seed=8, **options)  # type: ignore[arg-type]
        assert not np.array_equal(three.counts, other.counts)


def test_one_prompt_may_go_without_its_axis() -> None:
    flat, deep = (
        draw_pairs(ea.Bandit(REFERENCE[k], OPTIMAL[k]), 40, 2, seed=3, design="reference") for k in (0, slice(0, 1))
    )
    np.testing.assert_array_equal(flat.winner, deep.winner)
    assert flat.reference.shape == flat.optimal.shape == (1, 4)  # type: ignore[union-attr]


@settings(max_examples=30)
@given(data=st.data())
def test_counts_are_a_loop_over_the_pairs(data: st.DataObject) -> None:
    n, prompts = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 3))
    sets, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 9))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    reference = np.stack([data.draw(own.policies(n)) for _ in range(prompts)])
    winner, prompt = rng.integers(n, size=(sets, length)), rng.integers(prompts, size=(sets, length))
    loser = (winner + rng.integers(1, n, size=(sets, length))) % n
    size = rng.integers(1, length + 1, size=sets)
    pairs = Pairs(reference, winner, loser, prompt, size)
    expected = np.zeros((sets, prompts, n, n))
    for s in range(sets):
        for k in range(size[s]):
            expected[s, prompt[s, k], winner[s, k], loser[s, k]] += 1
    np.testing.assert_array_equal(pairs.counts, expected)
    for s in range(sets):
        np.testing.assert_array_equal(pairs.bandit(s).counts, expected[s])


GOOD: dict[str, Any] = {"reference": REFERENCE, "winner": [0, 1], "loser": [1, 2], "prompt": [0, 2]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": [0.5, 0.6]}, "reference must sum to one"),
        ({"winner": [0.0, 1.0]}, "winner must be whole numbers of shape .* got float64"),
        ({"winner": []}, "winner must be whole numbers"),
        ({"winner": [0, 4]}, "winner must be from 0 to 3, got 4"),
        ({"loser": [-1, 2]}, "loser must be from 0 to 3, got -1"),
        ({"loser": [1]}, "loser must have the shape of winner"),
        ({"loser": [0, 2]}, "loser must differ from winner"),
        ({"prompt": [0, 3]}, "prompt must be from 0 to 2, got 3"),
        ({"prompt": [0]}, "prompt must have the shape of winner"),
        ({"size": [3]}, "size must hold one whole number from 1 to 2"),
        ({"size": [0]}, "size must hold"),
        ({"size": [1.5]}, "size must hold"),
        ({"size": [1, 2]}, "size must hold one whole number from 1 to 2 for each of 1 data sets"),
        ({"optimal": [0.5, 0.5]}, "optimal must have the shape of reference"),
    ],
)
def test_bad_pairs_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pairs(**{**GOOD, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, "count must be a whole number of at least 1, got 0"),
        ({"count": 2.0}, "count must be a whole number"),
        ({"count": True}, "count must be a whole number"),
        ({"data_sets": 0}, "data_sets must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"design": "all"}, r"design must be one of \['pairs', 'uniform', 'reference'\], got 'all'"),
        ({"discard_equal": True}, "discard_equal is not used by design 'pairs'"),
        ({"label_noise": 0.6}, "label_noise must be a probability from 0 to 0.5, got 0.6"),
        ({"label_noise": float("nan")}, "label_noise must be"),
        ({"label_noise": "0.1"}, "label_noise must be"),
        ({"bandit": ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])}, "bandit must be a population"),
        ({"bandit": ea.Bandit([0.999, 0.001], [0.5, 0.5]), "count": 1, "design": "reference", "discard_equal": True},
         "count must be larger"),
    ],
)  # fmt: skip
def test_bad_drawing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_pairs(**{"bandit": POPULATION, "count": 10, **changes})


def test_what_is_no_bandit_is_refused() -> None:
    with pytest.raises(TypeError, match="bandit must be a Bandit, got Pairs"):
        draw_pairs(Pairs(**GOOD), 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9])
def test_rows_are_searched_as_numpy_searches_each(size: int) -> None:
    """Ties and both ends included."""
    rng = np.random.default_rng(size)
    rows = np.sort(rng.integers(0, 5, (6, size)), axis=1).astype(float)
    row, value = rng.integers(0, 6, (40, 3)), rng.integers(-1, 6, (40, 3)).astype(float)
    wanted = [np.searchsorted(rows[x], v, side="right") for x, v in zip(row.ravel(), value.ravel(), strict=True)]
    assert first_above(rows, row, value).ravel().tolist() == wanted


@pytest.mark.parametrize("design", ["pairs", "uniform", "reference"])
@pytest.mark.parametrize("own", [False, True])
def test_tables_that_are_made_in_parts_draw_the_same(monkeypatch: pytest.MonkeyPatch, design: str, own: bool) -> None:
    rng = np.random.default_rng(0)
    reference, optimal = rng.dirichlet(np.ones(4), 9), rng.dirichlet(np.ones(4), 9)
    q = rng.random((9, 4, 4)) * (1 - np.eye(4))
    bandit = ea.Bandit(reference, optimal, pairs=q + q.swapaxes(1, 2) if own else "uniform")
    whole = draw_pairs(bandit, 200, 3, seed=1, design=design)
    monkeypatch.setattr(sampling, "CELLS", 33)  # two prompts at a time
    parts = draw_pairs(bandit, 200, 3, seed=1, design=design)
    for name in ("winner", "loser", "prompt"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_what_occurs_is_counted_as_in_the_table_of_all() -> None:
    pairs = Pairs(
        np.full((3, 4), 0.25),
        [[0, 1, 0, 2], [3, 3, 1, 0]],
        [[1, 0, 1, 3], [2, 2, 0, 1]],
        [[2, 0, 2, 1], [0, 0, 2, 2]],
        [3, 4],
    )
    prompt, winner, loser, counts = pairs.compared
    table = np.zeros_like(pairs.counts)
    table[:, prompt, winner, loser] = counts
    np.testing.assert_array_equal(table, pairs.counts)
    assert len(prompt) == 4 and (counts.sum(axis=0) > 0).all()  # what is padding does not occur
    assert (np.diff((prompt * 4 + winner) * 4 + loser) > 0).all()
