"""Who is above whom where no policy fits: classes and their order, against searches and against the solver's limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import expo_analysis as ea


def counted(n: int, *won: tuple[int, int], **names: list[str]) -> ea.Bandit:
    counts = np.zeros((n, n))
    for winner, loser in won:
        counts[winner, loser] += 1
    return ea.Bandit.from_counts("uniform", counts, **names)


def reachable(graph: np.ndarray) -> np.ndarray:
    """Paths of any length, by squaring."""
    paths = graph | np.eye(len(graph), dtype=bool)
    for _ in range(len(graph)):
        paths = (paths.astype(int) @ paths.astype(int)) > 0
    return paths


@st.composite
def win_graphs(draw: st.DrawFn) -> np.ndarray:
    n = draw(st.integers(2, 7))
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    graph = np.zeros((n, n), dtype=bool)
    for i, j in draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=2 * n)):
        graph[i, j] = True
    return graph


@given(win_graphs())
def test_classes_and_order_are_those_of_paths(graph: np.ndarray) -> None:
    found = ea.win_classes(ea.Bandit.from_counts("uniform", graph.astype(float)))
    paths = reachable(graph)
    own = found.of_response
    np.testing.assert_array_equal(own[:, None] == own, paths & paths.T)
    np.testing.assert_array_equal(found.above[own[:, None], own], paths & ~paths.T)
    assert sorted(i for members in found.members for i in members) == list(range(len(graph)))
    assert not np.tril(found.above).any()  # the upper stand before the lower
    assert found.has_fit == paths.all()
    assert found.ordered == (paths | paths.T).all()
    covers = np.zeros_like(found.above)
    for upper, lower in found.covers:
        covers[upper, lower] = True
    np.testing.assert_array_equal(reachable(covers) & ~np.eye(len(covers), dtype=bool), found.above)
    for upper, lower in found.covers:  # none can be left out
        fewer = covers.copy()
        fewer[upper, lower] = False
        assert not reachable(fewer)[upper, lower]


@given(win_graphs())
def test_the_order_is_that_of_the_limit(graph: np.ndarray) -> None:
    """EXPO's optima as lambda tends to 0: within a class ratios settle, from class to lower class they tend to 0."""
    bandit = ea.Bandit.from_counts("uniform", graph.astype(float))
    found = ea.win_classes(bandit)
    near, far = (ea.solve(ea.EXPO(lam), bandit).log_policy for lam in (1e-6, 1e-3))
    own = found.of_response
    for i in range(bandit.n):
        for j in range(bandit.n):
            fallen = (near[j] - near[i]) - (far[j] - far[i])
            if found.above[own[i], own[j]]:
                assert fallen < -0.5  # forever; at least with the square root of lambda here
            elif own[i] == own[j]:
                assert abs(fallen) < 0.5 * bandit.n


def test_the_likelihood_of_a_class_alone_is_what_ratios_tend_to() -> None:
    """anna > {bob, carl} > dora, where bob beat carl twice and lost once: 2 to 1."""
    counts = np.array([[0, 1, 0, 0], [0, 0, 2, 1], [0, 1, 0, 0], [0, 0, 0, 0]])
    bandit = ea.Bandit.from_counts("uniform", counts, responses=["anna", "bob", "carl", "dora"])
    found = ea.win_classes(bandit)
    assert found.members == ((0,), (1, 2), (3,)) and found.ordered and not found.has_fit
    assert str(found) == (
        "no policy fits the wins: anna is above {bob, carl} is above dora; in the limit the lower have probability 0 "
        "relative to the higher, and within braces the ratios are finite"
    )
    near = ea.solve(ea.EXPO(1e-9), bandit).log_policy
    assert near[1] - near[2] == pytest.approx(np.log(2), abs=1e-3)
    assert near[0] - near[1] > 5 and near[2] - near[3] > 5


def test_sentences() -> None:
    line = "no policy fits the wins: 0 is above 1 is above 2; in the limit the lower have probability 0 relative to "
    assert str(ea.win_classes(counted(3, (0, 1), (1, 2)))) == line + "the higher"
    fork = str(ea.win_classes(counted(3, (0, 1), (0, 2), responses=["x", "y", "z"])))
    assert fork.startswith("no policy fits the wins: x is above y and z; in the limit")
    assert fork.endswith("classes of which neither is above the other are not ranked by the wins")
    islands = counted(4, (0, 1), (1, 0), (2, 3), (3, 2))
    assert str(ea.win_classes(islands)) == (
        "the wins do not say how {0, 1} and {2, 3} stand to each other: no comparison joins them"
    )
    assert str(ea.win_classes(counted(2, (0, 1), (1, 0)))).startswith("one policy fits the wins best")
    chain = str(ea.win_classes(counted(400, *((i, i + 1) for i in range(399)))))
    assert "5 is above (393 more classes) is above 399;" in chain and len(chain) < 250
    ring = [(i, (i + 1) % 40) for i in range(40)]
    assert "{1, 2, 3, 4, 5, 6, (33 more), 40}" in str(
        ea.win_classes(counted(41, *((i + 1, j + 1) for i, j in ring), (0, 1)))
    )


def test_a_tie_holds_both() -> None:
    tied = ea.Bandit.from_counts("uniform", [[0, 1], [0, 0]], ties=[[0, 1], [1, 0]])
    assert ea.win_classes(tied).has_fit


def test_prompts_have_classes_of_their_own() -> None:
    counts = np.array([[[0, 1], [1, 0]], [[0, 0], [1, 0]]])
    bandit = ea.Bandit.from_counts(np.full((2, 2), 0.5), counts)
    assert ea.win_classes(bandit, 0).has_fit
    assert ea.win_classes(bandit, 1).members == ((1,), (0,))
    with pytest.raises(ValueError, match="prompt must be given: the bandit has 2"):
        ea.win_classes(bandit)
    with pytest.raises(ValueError, match="prompt must be a whole number below 2, got 2"):
        ea.win_classes(bandit, 2)


def test_a_thousand_players() -> None:
    """A class of 500 above a chain of 500."""
    ring = [(i, (i + 1) % 500) for i in range(500)]
    found = ea.win_classes(counted(1000, *ring, *((i, i + 1) for i in range(499, 999))))
    assert [len(own) for own in found.members] == [500] + [1] * 500 and found.ordered
