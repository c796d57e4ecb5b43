r"""Proven distances between a computed optimum over log-linear policies and the true one.

**The bound of all policies, carried over** [ours]. Let f be the sum over prompts of share_x J_x(base_x + F_x w) and
decay |w|^2/2, where |D3 J_x[v,v,u]| <= M range(u) D2 J_x[v,v] in the logits. Put rho(u) = max_x range(F_x u). Then
|D3 f[v,v,u]| <= M rho(u) D2 f[v,v]: the shares are not negative, and a quadratic has no third derivative. With g and
H = sum_x share_x F_x' H_x F_x + decay at w, and R_a = a' H^+ a for the difference a = f_i - f_j of two responses'
features,

    delta = M sqrt(max R_a) sqrt(g' H^+ g) < 1

proves that a minimiser w + d exists, and that rho(d) <= r = -log(1 - delta) / M. Further, sqrt(d'Hd) <= sqrt(g' H^+ g)
M r / (1 - exp(-M r)) =: D, so that no log-ratio with difference a is off by more than sqrt(R_a) D, and no w_k by more
than sqrt((H^+)_kk) D. Policies follow from log-ratios as they do without restrictions, prompt by prompt.

**Rounding.** As without restrictions, with sqrt(R_a) for a pair's current. Further: logits are sums of products, off by
2u (d + 2) (|base| + |F||w|); F'g is one, too, and what is off in its k-th number costs sqrt((H^+)_kk).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ..._types import Floats, Indices
from ..certificate import UNIT, policy_error
from ..derivatives import log_softmax
from ..laplacian import pairs
from .cells import LogitErrors, PairCells
from .family import Family, Root


@dataclass(frozen=True, eq=False)
class Bounds:
    """Of policies, 1-norm, and of w; nan where nothing is proven. logits: the range of their error on each prompt."""

    policies: Annotated[Floats, "batch prompts"]
    logits: Annotated[Floats, "batch prompts"]
    weights: Annotated[Floats, "batch d"]


def logit_rounding(family: Family, w: Floats) -> Floats:
    """By how much computed logits may be off, (n, C)."""
    size = np.abs(family.base) + family._in_cells(np.einsum("bpnd,bd->bpn", np.abs(family.features), np.abs(w)))
    return np.asarray(UNIT * (family.d + 2) * size)


def certify(family: Family, w: Floats, concordance: Floats) -> Bounds:
    """Bounds at w (B, d), for M of each problem (B,)."""
    cells = family.cells
    assert isinstance(cells, PairCells)
    theta = family.logits(w)
    x = theta - (theta.max(axis=0) + theta.min(axis=0)) / 2
    blur = logit_rounding(family, w)
    errors = cells.errors(x)
    proven = family.by_problem(errors.weights >= 0).all(axis=(1, 2))
    root = family.root(np.maximum(errors.weights, 0.0))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        lengths = root.lengths(family.pair_directions) * (1 + 2e-6)  # (B, P, pairs)
        norm = _norm(family, w, errors, root, lengths, blur)
        reach = concordance * lengths.max(axis=(1, 2)) * norm
        ok = root.sound & proven
        distance = norm * stretch(np.where(ok, reach, np.nan))
        return bounds(family, w, distance, root, lengths, blur)


def stretch(delta: Floats) -> Floats:
    """M r / (1 - exp(-M r)) = -log(1 - delta) / delta, at least 1; nan where delta >= 1."""
    inside = np.where(delta < 1, delta, np.nan)
    return np.where(inside > 1e-8, -np.log1p(-inside) / np.where(inside > 0, inside, 1.0), 1 + inside)


def bounds(family: Family, w: Floats, distance: Floats, root: Root, lengths: Floats, blur: Floats) -> Bounds:
    """From sqrt(d'Hd) <= ``distance`` (B,). blur: by which the logits at hand are off, (n, C)."""
    off = family.by_problem(blur).max(axis=2)
    spread = lengths.max(axis=2) * distance[:, None] + 2 * off
    policy = np.exp(log_softmax(family.logits(w)))
    flat = np.where(np.isfinite(spread), spread, np.nan).reshape(-1)
    with np.errstate(invalid="ignore"):
        policies = policy_error(policy, flat).reshape(spread.shape)
    rows = np.sqrt((np.einsum("bde,bef->bdf", family.basis, root.inverse) ** 2).sum(axis=2)) * (1 + 2e-6)
    weights = rows * distance[:, None] + 4 * UNIT * family.d * np.abs(w)
    return Bounds(policies, spread, np.where(np.isfinite(weights), weights, np.nan))


def _norm(family: Family, w: Floats, errors: LogitErrors, root: Root, lengths: Floats, blur: Floats) -> Floats:
    """sqrt(g' H^+ g) and what rounding can add to it, (B,)."""
    high, low = pairs(family.features.shape[2])
    shares = family.shares
    currents = errors.currents + (blur[high] + blur[low]) * errors.bend
    off = blur.max(axis=0)
    at_responses = errors.at_responses + 2 * errors.own_bend * off
    hub, to_hub = _hubs(family.by_problem(at_responses), lengths)
    relative = family.directions - np.take_along_axis(family.directions, hub[:, :, None, None], axis=2)
    in_logits = family.by_problem(errors.gradient) * shares[..., None]
    held = family.decay[:, None] * w
    gradient = np.einsum("bpnd,bpn->bd", relative, in_logits) + np.einsum("bde,bd->be", family.basis, held)
    # what is summed, from products of which the directions are sums already
    size = np.einsum("bpnd,bpn->bd", _sizes(family), np.abs(in_logits))
    size = size + np.einsum("bde,bd->be", np.abs(family.basis), np.abs(held))
    count = in_logits.shape[1] * in_logits.shape[2] + 2 * family.d + 4
    own = np.sqrt((root.inverse**2).sum(axis=2))
    norm = np.sqrt((root.whitened(gradient) ** 2).sum(axis=1)) + (own * size).sum(axis=1) * 2 * UNIT * count
    along = (family.by_problem(currents) * lengths).sum(axis=2) + to_hub
    return np.asarray((1 + 1e-6) * (norm + (shares * along).sum(axis=1)))


def _sizes(family: Family) -> Floats:
    """The moduli of what directions are sums of, from the likeliest and any other response, (B, P, n, d)."""
    own = np.einsum("bpnd,bde->bpne", np.abs(family.features), np.abs(family.basis), optimize=True)
    return own + own.max(axis=2, keepdims=True)


def _hubs(at_responses: Floats, lengths: Floats) -> tuple[Indices, Floats]:
    """The response (B, P) to which errors at responses (B, P, n) flow at the least cost, and that cost (B, P)."""
    n = at_responses.shape[2]
    high, low = pairs(n)
    cost = np.zeros((*at_responses.shape[:2], n, n))
    cost[:, :, high, low] = cost[:, :, low, high] = lengths
    to_hub = np.einsum("bpi,bpij->bpj", at_responses, cost)
    hub = to_hub.argmin(axis=2)
    return hub, np.take_along_axis(to_hub, hub[..., None], axis=2)[..., 0]
