"""Hypothesis strategies: policies, comparison graphs, bandits, feedback of every kind, log-probabilities, lambdas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..bandit import Bandit

GRAPHS = ("uniform", "reference", "uneven", "sparse", "disconnected")
COUNTS = ("plenty", "separable", "unseen")
FEEDBACK = ("counts", "ties", "labels", "scores", "rankings", "triples")

lams = st.floats(-3.0, 3.0).map(lambda exponent: 10**exponent)
powers_of_two = st.integers(-6, 6).map(lambda exponent: 2.0**exponent)

dyadic_log_probs = st.integers(-(2**24), 0).map(lambda k: k / 2**18)
"""Log-probabilities in [-64, 0] whose sums and differences have no rounding."""


@st.composite
def policies(draw: st.DrawFn, n: int, smallest: float = 1e-6) -> np.ndarray:
    """Probabilities log-uniform over [smallest, 1] before they are normalised."""
    weights = np.exp(draw(st.lists(st.floats(math.log(smallest), 0.0), min_size=n, max_size=n)))
    return weights / weights.sum()


@st.composite
def pair_weights(draw: st.DrawFn, n: int, graph: str) -> np.ndarray | str:
    """The argument ``pairs`` of a Bandit. A sparse graph is connected, a disconnected one has n >= 3 and is not."""
    if graph in ("uniform", "reference"):
        return graph
    order = draw(st.permutations(range(n)))
    if graph == "disconnected":
        cut = draw(st.integers(2, n - 1))  # the first part has at least one pair
        parts = [order[:cut], order[cut:]]
    else:
        parts = [order]
    q = np.zeros((n, n))
    for part in parts:
        for a, i in enumerate(part):
            for b, j in enumerate(part[:a]):
                if graph == "uneven" or b == a - 1 or draw(st.integers(0, 3)) == 0:  # a chain, and some more
                    q[i, j] = q[j, i] = 10 ** draw(st.floats(-4.0, 0.0))
    return q


@st.composite
def graphs(draw: st.DrawFn, n: int, kinds: tuple[str, ...] = GRAPHS) -> np.ndarray | str:
    """The argument ``pairs`` of a Bandit with n responses, of any kind; a disconnected one needs n >= 3."""
    possible = [kind for kind in kinds if n > 2 or kind != "disconnected"]
    return draw(pair_weights(n, draw(st.sampled_from(possible))))


@st.composite
def bandits(draw: st.DrawFn, max_n: int = 12, graphs: tuple[str, ...] = GRAPHS, smallest: float = 1e-6) -> Bandit:
    """Bandits of one prompt with n = 2 .. max_n."""
    graph = draw(st.sampled_from(graphs))
    n = draw(st.integers(3 if graph == "disconnected" else 2, max_n))
    return Bandit(draw(policies(n, smallest)), draw(policies(n, smallest)), draw(pair_weights(n, graph)))


@st.composite
def win_counts(draw: st.DrawFn, n: int, kind: str = "plenty") -> np.ndarray:
    """Counts (n, n): every ordered pair seen; one response that never loses; or one response in no comparison."""
    smallest = 1 if kind == "plenty" else 0
    rows = st.lists(st.integers(smallest, 9), min_size=n, max_size=n)
    counts = np.array(draw(st.lists(rows, min_size=n, max_size=n)), dtype=float)
    np.fill_diagonal(counts, 0.0)
    special, other = draw(st.permutations(range(n)))[:2]
    if kind == "separable":
        counts[special, other] += 1
        counts[:, special] = 0.0
    elif kind == "unseen":
        counts[special], counts[:, special] = 0.0, 0.0
        rest = [i for i in range(n) if i != special]
        counts[rest, np.roll(rest, 1)] += 1
        np.fill_diagonal(counts, 0.0)
    return counts


@st.composite
def count_bandits(draw: st.DrawFn, max_n: int = 8, kinds: tuple[str, ...] = COUNTS, rewards: bool = False) -> Bandit:
    """Bandits of observed win counts, and of ``rewards`` between -3 and 3."""
    kind = draw(st.sampled_from(kinds))
    n = draw(st.integers(3 if kind == "unseen" else 2, max_n))
    known = draw(st.lists(st.floats(-3.0, 3.0), min_size=n, max_size=n)) if rewards else None
    return Bandit.from_counts(draw(policies(n)), draw(win_counts(n, kind)), rewards=known)


@st.composite
def feedback(draw: st.DrawFn, max_n: int = 5, kinds: tuple[str, ...] = FEEDBACK) -> Bandit:
    """Data sets of n = 3 .. max_n responses: win counts, with ties or without; single responses with a label or a
    score; rankings of all of them; or triples of a third response, a winner and a loser."""
    kind, n = draw(st.sampled_from(kinds)), draw(st.integers(3, max_n))
    reference = draw(policies(n))
    if kind in ("counts", "ties"):
        counts = draw(win_counts(n))
        ties = np.triu(draw(win_counts(n)), 1)
        return Bandit.from_counts(reference, counts, ties=ties + ties.T if kind == "ties" else None)
    if kind == "labels":
        seen = st.lists(st.integers(0, 9), min_size=n, max_size=n)
        liked, disliked = draw(seen.filter(any)), draw(seen)
        return Bandit.from_labels(reference, liked, disliked)
    if kind == "scores":
        return Bandit.from_scores(reference, draw(st.lists(st.floats(-3.0, 3.0), min_size=n, max_size=n)))
    orders = draw(st.lists(st.permutations(range(n)), min_size=1, max_size=5))
    if kind == "rankings":
        return Bandit.from_rankings(reference, orders)
    return Bandit.from_triples(reference, [order[:3] for order in orders])


@st.composite
def log_probs(
    draw: st.DrawFn, rows: int = 4, lowest: float = -30.0, elements: Any = None, highest: float = 0.0
) -> tuple[np.ndarray, ...]:
    """``rows`` arrays of log-probabilities of one shape (k,), k = 1 .. 3: for a pair loss logp_w, logp_l and the same
    under the reference."""
    k = draw(st.integers(1, 3))
    elements = st.floats(lowest, highest) if elements is None else elements
    return tuple(np.array(draw(st.lists(elements, min_size=k, max_size=k)), dtype=float) for _ in range(rows))
