"""Where a loss has kinks, and the same loss with its kinks rounded off."""

from __future__ import annotations

import numpy as np

from . import expression as ex
from .expression import Node
from .function import POINTS, Function, with_derivatives

FAR, TINY = 100.0, 1e-100
"""Comparisons with numbers beyond these keep functions from overflowing, and are no kinks."""


def kinks_of(pair: Function) -> tuple[Function, ...]:
    """Where the two sides of a comparison meet on which the loss depends, and its slope jumps there."""
    found: dict[Node, Function] = {}
    for node in ex.in_order([pair.results[0]]):
        if node.operation not in ("less", "less_equal", "minimum", "maximum", "abs"):
            continue
        first, second = node.on if len(node.on) == 2 else (ex.number(0.0), node.on[0])
        if any(x.operation == "number" and (abs(x.value) > FAR or 0 < abs(x.value) < TINY) for x in (first, second)):
            continue
        gap = ex.subtract(second, first)
        if {"logp_w", "logp_l"} & ex.reads(gap) and _jumps(pair, gap):
            found[gap] = Function(pair.arguments, with_derivatives(gap))
    return tuple(found.values())


def rounded_of(pair: Function, kinks: tuple[Function, ...]) -> Function:
    """A smooth loss close to one with kinks, of one more argument: ``width``, over which kinks are rounded off.

    What a comparison of a with 0 adds, r max(a, 0), becomes r width log(1 + e^(a / width)), which is convex where it
    was; where it is anything else, what is chosen between is blended by sigma(a / width).
    """
    gaps = {kink.results[0] for kink in kinks}
    width = ex.variable("width")
    by: dict[Node, Node] = {}
    for node in ex.in_order([pair.results[0]]):
        on = tuple(by.get(x, x) for x in node.on)
        same = node if on == node.on else ex.apply(node.operation, *on)
        sides = _sides(node)
        if sides is not None and sides[0] in gaps:
            gap, below, above = (ex.replaced(x, by) for x in sides)
            same = ex.add(below, _softened(gap, ex.subtract(above, below), width))
        if same is not node:
            by[node] = same
    value = by.get(pair.results[0], pair.results[0])
    return Function((*pair.arguments, "width"), with_derivatives(value))


def _softened(gap: Node, rise: Node, width: Node) -> Node:
    """max(gap, 0) times rise / gap, rounded off."""
    soft = ex.negative(ex.multiply(width, ex.log_sigmoid(ex.negative(ex.divide(gap, width)))))
    if rise is gap:
        return soft
    if rise is ex.negative(gap):
        return ex.negative(soft)
    if rise is ex.add(gap, gap):
        return ex.multiply(ex.number(2.0), soft)
    return ex.multiply(rise, ex.sigmoid(ex.divide(gap, width)))


def _sides(node: Node) -> tuple[Node, Node, Node] | None:
    """Of a node that chooses: what it compares with 0, its value below, and its value above."""
    if node.operation == "where" and node.on[0].operation in ("less", "less_equal"):
        first, second = node.on[0].on
        return ex.subtract(second, first), node.on[2], node.on[1]
    if node.operation in ("minimum", "maximum"):
        first, second = node.on
        below, above = (second, first) if node.operation == "minimum" else (first, second)
        return ex.subtract(second, first), below, above
    if node.operation == "abs":
        return node.on[0], ex.negative(node.on[0]), node.on[0]
    return None


def _jumps(pair: Function, gap: Node) -> bool:
    """Whether the loss has another slope on the one side of gap = 0 than on the other, close to it."""
    rng = np.random.default_rng(5)
    at = {ex.variable(name): -rng.exponential(3.0, size=POINTS) for name in pair.arguments}
    at[ex.variable("lam")] = np.exp(rng.normal(size=POINTS))
    by = next(ex.variable(name) for name in ("logp_w", "logp_l") if name in ex.reads(gap))
    slope, place = ex.derivative(gap, by), at[by]
    for _ in range(60):  # Newton's method, to where the sides meet
        with np.errstate(all="ignore"):
            place = place - ex.evaluate(gap, {**at, by: place}) / ex.evaluate(slope, {**at, by: place})
    own = pair.results[1 if by.value == "logp_w" else 2]
    step = 1e-6 * (1 + np.abs(place))
    above, below = (np.asarray(ex.evaluate(own, {**at, by: place + side * step})) for side in (1, -1))
    with np.errstate(all="ignore"):
        gaps = np.abs(above - below) / (np.abs(above) + np.abs(below) + 1e-300)
    return bool(np.any(gaps[np.isfinite(gaps)] > 1e-3)) if np.ndim(gaps) else bool(gaps > 1e-3)
