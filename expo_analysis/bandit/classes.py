r"""Who is above whom where no policy fits the wins: the strongly connected classes, and their order in the limit.

Let i -> j be an edge where i beat j with any weight. The Bradley-Terry likelihood, and every loss of pairs that keeps
falling with the margin of a pair that was won, has a minimiser on n responses exactly if any two of them are joined by
edges in both directions (Zermelo 1929; Ford 1957). Otherwise let C and D be classes of responses that are so joined.
Within a class the ratios tend to the minimiser of the class alone. Where edges lead from C to D, none leads back, and
along every minimising sequence the probability of D's responses relative to C's tends to 0. Where no edges lead either
way, the wins say nothing of C and D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._types import Indices, Mask
from .bandit import Bandit
from .labels import Labels

__all__ = ["WinClasses", "win_classes"]

SHOWN = 8
"""The sentence names so many responses of a class, and so many classes, at the most."""


@dataclass(frozen=True, eq=False)
class WinClasses:
    """The strongly connected classes of one prompt's win graph, the upper before the lower.

    members: the responses of each class. above: shape (classes, classes), whether a path of wins leads from the first
    to the second, so that the second's probability relative to the first's tends to 0. names: of the responses.
    """

    members: tuple[tuple[int, ...], ...]
    above: Mask
    names: Labels | None = None

    @property
    def has_fit(self) -> bool:
        """Whether the likelihood of the wins has a maximiser with positive probabilities."""
        return len(self.members) == 1

    @property
    def ordered(self) -> bool:
        """Whether of any two classes one is above the other."""
        size = len(self.members)
        return bool((self.above | self.above.T | np.eye(size, dtype=bool)).all())

    @property
    def of_response(self) -> Indices:
        """The class of each response, shape (n,)."""
        found = np.empty(sum(map(len, self.members)), dtype=np.intp)
        for k, own in enumerate(self.members):
            found[list(own)] = k
        return found

    @property
    def covers(self) -> list[tuple[int, int]]:
        """The pairs of classes, one above the other with none between; all others follow from them."""
        between = self.above.astype(np.float32) @ self.above.astype(np.float32) > 0  # how many stand between
        return [(int(k), int(m)) for k, m in np.argwhere(self.above & ~between)]

    def __str__(self) -> str:
        """What is so, in a sentence or two.

        Example:
            >>> import expo_analysis as ea
            >>> wins = [[0, 1, 0], [0, 0, 1], [0, 1, 0]]
            >>> print(win_classes(ea.Bandit.from_counts("uniform", wins, responses=["anna", "bob", "carl"])))
            no policy fits the wins: anna is above {bob, carl}; in the limit the lower have probability 0 relative to \
the higher, and within braces the ratios are finite
        """
        if self.has_fit:
            return "one policy fits the wins best: each response has won against each other, directly or through others"
        end = (
            "in the limit the lower have probability 0 relative to the higher, and within braces the ratios are finite"
            if any(len(own) > 1 for own in self.members)
            else "in the limit the lower have probability 0 relative to the higher"
        )
        if self.ordered:
            return f"no policy fits the wins: {self._chain()}; {end}"
        if not self.above.any():
            apart = self._listed(range(len(self.members)), " and ")
            return f"the wins do not say how {apart} stand to each other: no comparison joins them"
        rest = "classes of which neither is above the other are not ranked by the wins"
        return f"no policy fits the wins: {self._covered()}; {end}; {rest}"

    def _chain(self) -> str:
        return self._listed(range(len(self.members)), " is above ")

    def _covered(self) -> str:
        """Each class with those right below it."""
        below: dict[int, list[int]] = {}
        for upper, lower in self.covers:
            below.setdefault(upper, []).append(lower)
        parts = [f"{self._class(k)} is above {self._listed(lower, ' and ')}" for k, lower in below.items()]
        return _shortened(parts, ", ", "more classes with some below")

    def _listed(self, classes: Sequence[int] | range, between: str) -> str:
        return _shortened([self._class(k) for k in classes], between, "more classes")

    def _class(self, k: int) -> str:
        own = [str(i if self.names is None else self.names[i]) for i in self.members[k]]
        return own[0] if len(own) == 1 else "{" + _shortened(own, ", ", "more") + "}"


def win_classes(bandit: Bandit, prompt: int | None = None) -> WinClasses:
    """The classes of a prompt's win graph and their order.

    Args:
        prompt: its index; not needed where there is one.

    Raises:
        ValueError: no such prompt.

    Example:
        >>> import expo_analysis as ea
        >>> found = win_classes(ea.Bandit.from_counts("uniform", [[0, 2, 1], [0, 0, 1], [0, 3, 0]]))
        >>> found.members, found.has_fit
        (((0,), (1, 2)), False)
    """
    prompts = bandit.prompts or 1
    if prompt is None and prompts > 1:
        raise ValueError(f"prompt must be given: the bandit has {prompts}")
    if not 0 <= (prompt or 0) < prompts:
        raise ValueError(f"prompt must be a whole number below {prompts}, got {prompt!r}")
    return _classes(bandit.wins.reshape(-1, bandit.n, bandit.n)[prompt or 0] > 0, bandit.responses)


def _classes(graph: Mask, names: Labels | None) -> WinClasses:
    """Strongly connected classes in a topological order, among several the one with the first response first."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components  # takes longer to load than most bandits to solve

    size, found = connected_components(csr_array(graph.astype(np.int8)), connection="strong")
    _, first = np.unique(found, return_index=True)
    label = np.argsort(np.argsort(first))[found]  # numbered by their first response
    edges = np.zeros((size, size), dtype=bool)
    winner, loser = np.nonzero(graph)
    edges[label[winner], label[loser]] = True
    np.fill_diagonal(edges, False)
    order = _topological(edges)
    edges = edges[np.ix_(order, order)]
    for k in reversed(range(size)):  # from the bottom: what is below a class is all that is below those it beat
        edges[k] |= edges[edges[k]].any(axis=0)
    members = tuple(tuple(np.flatnonzero(label == k).tolist()) for k in order)
    return WinClasses(members, edges, names)


def _topological(edges: Mask) -> list[int]:
    """The classes in an order in which nobody stands before who beat it (Kahn 1962), the first of several first."""
    import heapq

    waiting = edges.sum(axis=0)
    ready = np.flatnonzero(waiting == 0).tolist()
    order = []
    while ready:
        k = heapq.heappop(ready)
        order.append(k)
        for lower in np.flatnonzero(edges[k]).tolist():
            waiting[lower] -= 1
            if waiting[lower] == 0:
                heapq.heappush(ready, lower)
    return order


def _shortened(parts: list[str], between: str, rest: str) -> str:
    """All of them, or the first, how many are left out, and the last."""
    if len(parts) <= SHOWN:
        return between.join(parts)
    return between.join([*parts[: SHOWN - 2], f"({len(parts) - SHOWN + 1} {rest})", parts[-1]])
