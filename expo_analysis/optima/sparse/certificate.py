r"""Proven distances between optima on sparse graphs and the true ones, without eigenvalues and without factors.

`expo_analysis.optima.certificate` needs g'H^+g, resistances between all pairs, and currents that make up g. Each can be
bounded from above by what flows somewhere (Thomson's principle): [ours, elementary]

* g'H^+g <= sum_e f_e^2 / w_e for every flow f of which g is the inflow. Here f is w_e (y_high - y_low), y being what
  conjugate gradients found for H y = g, and what that leaves flows along a spanning tree.
* An effective resistance is at most that of the way along the tree, and of a pair at most 1/w_e of its own.
* Rounding of a pair's term is a current along this pair, which costs c_e^2/w_e. Those of all pairs together thus cost
  about a unit of rounding, however many there are.

Where a cross-entropy T KL(r || pi) is beside the pairs, H has the Laplacian of the weights T pi_i pi_j too: flows in it
with inflow d_i, of any kind, cost sum d_i^2/(T pi_i), and a resistance is at most 1/(T pi_i) + 1/(T pi_j).
Where rounding hides a pair's weight, what flows along it is sent along the tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._types import Floats, Indices, Mask
from ..certificate import UNIT, PairRounding, pair_currents, radius
from .graph import Graph
from .newton import Solver
from .problem import Local, System
from .tree import Tree

TOLERANCE = 1e-6
ROOM = 1 + 1e-6
"""For the rounding of bounds themselves, and for weights that are too large by a part in a million."""
HIDDEN = 1e-3
"""A pair whose weight times the resistance of the way around it is below this carries nothing."""


@dataclass(frozen=True, eq=False)
class Certified:
    """radius: a bound on range(x - x_true) of each piece, (count,), nan where none is proven; floor: what is left of it
    by the rounding of the gradient alone. step: the next step, (n,).
    """

    radius: Floats
    floor: Floats
    step: Floats


@dataclass(frozen=True, eq=False)
class Routes:
    """What flows cost, on a graph of all pairs; beside a cross-entropy it has one from each response to a hub, too.

    place: of the system's pairs among those of the graph. weights: of these, below the true ones. way: resistance to
    the tree's root, (n,). around: that of the way around a pair. carries: whether a pair carries its own flow.
    """

    system: System
    graph: Graph
    place: Indices
    weights: Floats
    tree: Tree
    way: Floats
    around: Floats
    carries: Mask

    @classmethod
    def of(cls, system: System, weights: Floats, policy: Floats) -> Routes | None:
        """From weights of the system's pairs; None where they do not join all responses of a piece."""
        graph, place = system.graph, np.arange(len(weights))
        if system.pull:
            graph, place = _with_hubs(graph, policy)
            own, weights = weights, system.pull * policy[graph.high] * policy[graph.low] / ROOM
            weights = weights / system.mass[graph.piece[graph.high]]
            weights[place] += own
        tree = Tree.of(graph, weights)
        if tree is None:
            return None
        way = ROOM * tree.resistances(weights)
        if system.pull:
            with np.errstate(divide="ignore"):
                direct = ROOM / (system.pull * policy)
            way = np.minimum(way, direct + graph.spread(direct[tree.roots]))
            way[tree.roots] = 0.0
        around = way[graph.high] + way[graph.low]
        return cls(system, graph, place, weights, tree, way, around, weights * around > HIDDEN)

    @cached_property
    def least(self) -> Floats:
        """The resistance that a pair's flow meets at most, (P,)."""
        with np.errstate(divide="ignore"):
            return np.fmin(1 / self.weights, self.around)

    def on_pairs(self, flow: Floats) -> Floats:
        """A flow along the system's pairs as one along those of the graph."""
        if not self.system.pull:
            return flow
        found = np.zeros(len(self.weights))
        found[self.place] = flow
        return found

    def energy(self, flow: Floats, pairs: Indices | None = None) -> Floats:
        """sqrt(g' H^+ g) at most, of each piece, for the inflow g of a flow (P,), or along these ``pairs`` alone."""
        graph = self.graph
        weights, around, own = (x if pairs is None else x[pairs] for x in (self.weights, self.around, self.carries))
        if own.all():
            return np.sqrt(graph.pair_totals(flow**2 / weights, pairs))
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = np.where(own & (flow != 0), flow**2 / weights, 0.0)
            other = np.where(own | (flow == 0), 0.0, np.abs(flow) * np.sqrt(around))
        return np.sqrt(graph.pair_totals(squares, pairs)) + graph.pair_totals(other, pairs)

    def rise(self, flow: Floats, pairs: Indices | None = None) -> Floats:
        """The range of H^+ g at most, likewise."""
        least = self.least if pairs is None else self.least[pairs]
        with np.errstate(invalid="ignore"):
            return self.graph.pair_totals(np.where(flow != 0, np.abs(flow) * least, 0.0), pairs)

    def left(self, inflow: Floats, policy: Floats) -> tuple[Floats, Floats]:
        """`energy` and `rise` for a small ``inflow`` (n,), which sums to zero over each piece."""
        graph, pairs = self.graph, self.tree.pair
        along = self.tree.flows(inflow)
        # what is summed along the tree is rounded
        blur = 2 * UNIT * (graph.largest_degree + graph.n) * self.tree.flows(np.abs(inflow))
        energy, rise = (cost(along, pairs) + cost(blur, pairs) for cost in (self.energy, self.rise))
        return np.fmin(energy, self.energy_at(np.abs(inflow), policy)), np.fmin(rise, self.rise_at(np.abs(inflow)))

    def energy_at(self, inflow: Floats, policy: Floats) -> Floats:
        """As `energy`, where at each vertex up to ``inflow`` (n,) flows in, of whatever sign, and out elsewhere."""
        graph = self.system.graph
        found = graph.totals(np.where(inflow > 0, inflow * np.sqrt(self.way), 0.0))
        if self.system.pull:
            found = np.minimum(found, np.sqrt(graph.totals(inflow**2 / policy) / self.system.pull))
        return found

    def rise_at(self, inflow: Floats) -> Floats:
        """As `rise`, likewise."""
        return self.system.graph.totals(np.where(inflow > 0, inflow * self.way, 0.0))


def _with_hubs(graph: Graph, policy: Floats) -> tuple[Graph, Indices]:
    """The graph with a pair from each response to the likeliest of its piece, and where its own pairs are in it."""
    hub = graph.tops(policy)[graph.piece]
    vertex = np.flatnonzero(hub != np.arange(graph.n))
    hub = hub[vertex]
    own = graph.high * graph.n + graph.low
    keys = np.union1d(own, np.maximum(vertex, hub) * graph.n + np.minimum(vertex, hub))
    return Graph(keys // graph.n, keys % graph.n, graph.piece, graph.count), np.searchsorted(keys, own)


def certify(solver: Solver, x: Floats) -> Certified:
    """What is proven of x (n,), which is centred."""
    system, graph = solver.system, solver.system.graph
    unknown = np.full(graph.count, np.nan)
    nothing = Certified(unknown, unknown, np.zeros_like(x))
    local = system.at(x)
    rounding = PairRounding.of(system.problem, x[:, None], local.curvature[:, None])
    weights = np.maximum(local.curvature - 4 * UNIT * rounding.bend_scale[:, 0], 0.0)
    routes = Routes.of(system, weights, local.policy)
    if routes is None:
        return nothing
    gradient, at_responses = _gradient(system, x, local)
    step = -solver.solve(local, gradient, TOLERANCE)
    with np.errstate(over="ignore", invalid="ignore"):
        flow, own, left, blur = _flows(system, local, gradient, -step)
        flow = routes.on_pairs(flow)
        currents = routes.on_pairs(pair_currents(system.problem, x[:, None], rounding)[:, 0])
        at_responses = at_responses + blur
        rest = routes.left(left, local.policy)
        floor = routes.energy(currents) + routes.energy_at(at_responses, local.policy)
        moved = routes.energy(flow) + own + rest[0]
        resistance = 2 * graph.largest(routes.way)
        m = np.full(graph.count, system.m)
        by_norm = [radius(m, ROOM * np.sqrt(resistance) * (floor + more)) for more in (0.0 * moved, moved)]
        k = np.maximum(m, 2.0 if system.pull else 0.0)
        least = routes.rise(currents) + routes.rise_at(at_responses)
        rise = least + routes.rise(flow) + rest[1]
        if system.pull:
            rise = rise + routes.rise_at(_in_cross_entropy(system, local.policy, step))
        by_currents = [radius(k, ROOM * first) for first in (least, rise)]
    found, at_least = np.fmin(by_norm[1], by_currents[1]), np.fmin(by_norm[0], by_currents[0])
    return Certified(np.where(np.isfinite(found), found, np.nan), at_least, step)


def _gradient(system: System, x: Floats, local: Local) -> tuple[Floats, Floats]:
    """The gradient, whose sums over pairs are exact, and what rounding leaves at each response; both (n,)."""
    graph, pull = system.graph, system.pull
    gradient, error = graph.exact_inflow(local.slope)
    if pull:
        policy, log_policy = system.policy(x)
        known = policy * system.policy_rounding(x, log_policy) + 4 * UNIT * system.reference
        gradient = gradient + pull * (policy - system.reference)
        error = error + pull * known + 2 * UNIT * np.abs(gradient)
        excess = graph.spread(graph.totals(gradient) / system.mass) * policy
    else:
        excess = graph.spread(graph.totals(gradient) / graph.totals(np.ones(graph.n)))
    return gradient - excess, error + np.abs(excess)


def _flows(system: System, local: Local, gradient: Floats, y: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The flow of y along pairs, its energy in the cross-entropy, what is left of the gradient, and its rounding."""
    graph = system.graph
    flow = local.curvature * graph.differences(y)
    inflow = graph.inflow(flow)
    sizes = graph.at_ends(np.abs(flow)) * (4 + graph.largest_degree)
    if not system.pull:
        return flow, np.zeros(graph.count), gradient - inflow, UNIT * (sizes + np.abs(gradient))
    policy = local.policy
    away = y - graph.spread(graph.totals(policy * y) / system.mass)
    also = system.pull * policy * away
    energy = np.sqrt(system.pull * graph.totals(policy * away**2))
    sizes = sizes + 8 * system.pull * policy * (np.abs(away) + graph.spread(graph.largest(np.abs(y))))
    left = gradient - inflow - also
    left = left - graph.spread(graph.totals(left) / system.mass) * policy
    return flow, energy, left, UNIT * (sizes + np.abs(gradient))


def _in_cross_entropy(system: System, policy: Floats, y: Floats) -> Floats:
    """What the flow of y in the cross-entropy takes from each response, as moduli."""
    graph = system.graph
    away = y - graph.spread(graph.totals(policy * y) / system.mass)
    return system.pull * policy * np.abs(away)
