r"""Newton's method on sparse graphs, its steps by conjugate gradients.

The step d that conjugate gradients leave has g'd = -d'Hd, as Newton's own has; so what `optima.methods.newton` says of
lengths holds: with r = M range(d), t = min(1, log(1 + r)/r) lowers the objective. That is the last length that is
tried. Before it come t = 1, and what the secant of the slope along d tells, each taken where the slope along d has not
turned: a convex function still falls there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._types import Floats
from .conjugate import Map, conjugate_gradients
from .factor import Factor, is_thin
from .problem import Local, System
from .tree import Tree

MAX_STEPS = 100
LOOSEST, TIGHTEST = 0.1, 1e-6
"""Tolerances of conjugate gradients: the size of the last step, within these."""
DONE = 1e-13
"""Steps end when what the last one leaves is shorter than this."""
PATIENCE, FEW, MOST = 300, 25, 2_000
"""Steps of conjugate gradients with diagonals alone, with a factor, and with a tree beside diagonals."""
STALLED = 4
"""Steps, short ones, of which none is shorter than half of all before: then rounding is what is left."""
HESITANT = 20
"""Such steps of any length: where a probability tends to 0, a response takes one of about 1 after the other."""


@dataclass(eq=False)
class Solver:
    """Solves systems with Hessians, and remembers what that takes: diagonals, a factor, or a tree.

    steps: of conjugate gradients. factor: of the Hessian at some point, which does for those nearby too.
    """

    system: System
    tree: Tree | None = None
    factor: Factor | None = None
    long: bool = False
    steps: int = 0

    def hessian(self, local: Local) -> tuple[Floats, Map]:
        """Its diagonal, and its products."""
        graph, pull, policy = self.system.graph, self.system.pull, local.policy
        diagonal, product = graph.laplacian(local.curvature)
        if not pull:
            return diagonal, product
        share = policy / graph.spread(self.system.mass)

        def with_policy(x: Floats) -> Floats:
            return product(x) + pull * (policy * x - share * graph.spread(graph.totals(policy * x)))

        return diagonal + pull * policy, with_policy

    def solve(self, local: Local, rhs: Floats, tolerance: float) -> Floats:
        """y with H y = ``rhs``, about."""
        graph = self.system.graph
        diagonal, product = self.hessian(local)
        # what rounding leaves of the sum is in no image of H
        whole = graph.totals(diagonal)
        rhs = rhs - graph.spread(graph.totals(rhs) / np.where(whole > 0, whole, 1.0)) * diagonal

        def by(inverse: Map, most: int) -> tuple[Floats, bool]:
            y, steps, done = conjugate_gradients(product, inverse, rhs, graph, tolerance, most)
            self.steps += steps
            return y, done

        scale = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
        if not self.long:
            y, done = by(lambda r: scale * r, PATIENCE)
            if done:
                return y
            self.long = True
        if self.thin:
            for fresh in (self.factor is None, True):
                self.factor = Factor.of(graph, local.curvature, diagonal) if fresh else self.factor
                if self.factor is None:
                    break
                y, done = by(self.factor.solve, FEW)
                if done:
                    return y
        tree = self.tree_of(local.curvature)
        if tree is None:
            return by(lambda r: scale * r, MOST)[0]
        return by(lambda r: scale * r + tree.solve(local.curvature, r), MOST)[0]

    @cached_property
    def thin(self) -> bool:
        """Whether the graph is worth a factorisation."""
        return is_thin(self.system.graph)

    def tree_of(self, weights: Floats) -> Tree | None:
        """The tree that was found first; made where its pairs have no weight any more."""
        if self.tree is None or not (weights[self.tree.pair] > 0).all():
            self.tree = Tree.of(self.system.graph, weights)
        return self.tree


def newton(solver: Solver, x: Floats) -> tuple[Floats, int, bool]:
    """Minimise from x (n,). Returns x, the steps taken, and whether they converged."""
    system = solver.system
    graph, m = system.graph, system.m
    local, tolerance = system.at(x), LOOSEST
    smallest, stalled = np.inf, 0
    for step in range(1, MAX_STEPS + 1):
        direction = -solver.solve(local, local.gradient, tolerance)
        reach = graph.range(direction)
        if not np.isfinite(reach).all():
            return x, step, False
        x, local, length = _along(system, x, local, direction, m * reach)
        # quadratics have no scale of their own: theirs is that of the scores
        size = float((length * (m * reach if m else reach / (1 + graph.range(x)))).max())
        stalled = 0 if size < smallest / 2 else stalled + 1
        smallest = min(size, smallest)
        # as where parts hang together by threads, whose currents diagonals do not tell
        solver.long |= stalled > HESITANT
        if size * max(tolerance, size if m else 0.0) <= DONE or (stalled >= STALLED and size < 1e-2):
            return x, step, True
        tolerance = min(LOOSEST, max(TIGHTEST, size))
    return x, MAX_STEPS, False


def _along(system: System, x: Floats, local: Local, direction: Floats, reach: Floats) -> tuple[Floats, Local, Floats]:
    """The end of a step, the expansion there, and the length that was taken of it, by piece."""
    graph = system.graph
    length = np.ones(graph.count)
    with np.errstate(divide="ignore", invalid="ignore"):
        sure = np.where(reach > 1, np.log1p(reach) / reach, 1.0)
    falls = -graph.totals(local.gradient * direction)
    for last in (False, True):
        there = x + graph.spread(length) * direction
        ahead = system.at(there)
        rises = graph.totals(ahead.gradient * direction)
        over = (length > sure) & (rises > 0)
        if not over.any():
            return there, ahead, length
        with np.errstate(divide="ignore", invalid="ignore"):
            secant = length * falls / (falls + rises)
        length = np.where(over, sure if last else np.fmax(sure, np.minimum(secant, length)), length)
    there = x + graph.spread(length) * direction
    return there, system.at(there), length
