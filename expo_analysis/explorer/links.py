"""Divergences as functions of numbers, and what a loss derives of all responses of a prompt."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from ..divergences import DIVERGENCES, Divergence
from ..losses import PairObjective
from . import expression as ex
from .function import POINTS, Function, NotCompiled, function_of, node_of, traced
from .trace import NotTraceable, Traced, stacked, symbol

RESPONSES = (2, 3, 4, 5)
"""Numbers of responses of the explorer's problems, for losses that compute something of all of a prompt's."""


def _log_u() -> Traced:
    return symbol("log_u", np.random.default_rng(1).normal(scale=2.0, size=POINTS))


def of_link(link: Divergence) -> dict[str, Function]:
    """mu with its derivative, and descend, of log u and a gap."""
    log_u, gap = _log_u(), symbol("gap", np.abs(np.random.default_rng(2).normal(size=POINTS)))
    slope, _ = _of_divergences_own(link, log_u)
    found = {"mu": function_of(("log_u",), link.mu(log_u), slope)}
    with contextlib.suppress(NotTraceable):  # the page then inverts mu
        found["descend"] = function_of(("log_u", "gap"), link.descend(log_u, gap))
    return found


def _of_divergences_own(link: Divergence, log_u: Traced) -> tuple[Any, Any]:
    if type(link).mu_derivatives is not Divergence.mu_derivatives:
        return link.mu_derivatives(log_u)
    value = node_of(link.mu(log_u))
    slope = ex.derivative(value, log_u.expression)
    return slope, ex.derivative(slope, log_u.expression)


def of_divergence(divergence: Divergence) -> Function:
    """A response's summand, and its first and second derivative in log pi but for those of a multiple of pi."""
    rng = np.random.default_rng(3)
    policy, reference = (symbol(name, -rng.exponential(2.0, size=POINTS)) for name in ("logp", "ref_logp"))
    value = traced(divergence.terms, policy, reference)
    own = type(divergence).derivatives is not Divergence.derivatives
    try:
        first, second = divergence.derivatives(policy, reference) if own or _stated(divergence) else (None, None)
    except NotTraceable:
        first = None
    if first is None:
        first = ex.derivative(value, policy.expression)
        second = ex.derivative(first, policy.expression)
    return function_of(("logp", "ref_logp"), value, first, second)


def _stated(divergence: Divergence) -> bool:
    return type(divergence) in DIVERGENCES.values()


def derived_of(objective: PairObjective, data: tuple[str, ...]) -> dict[str, dict[int, Function]]:
    """What the loss derives of all responses, by name and by how many these are."""
    kinds = sorted({name.rsplit("_", 1)[0] for name in data} - {"reward", "logp", "ref_logp"})
    made = {n: _derived_of(objective, n) for n in RESPONSES} if kinds else {}
    unknown = [kind for kind in kinds if kind not in made[RESPONSES[0]]]
    if unknown:
        raise NotCompiled(f"reads {', '.join(unknown)}, which the explorer does not have")
    return {kind: {n: own[kind] for n, own in made.items()} for kind in kinds}


def _derived_of(objective: PairObjective, n: int) -> dict[str, Function]:
    rng = np.random.default_rng(4)
    names = [f"{kind}{k}" for kind in "rg" for k in range(n)]
    numbers = {name: symbol(name, rng.normal(size=POINTS) - 1.0) for name in names}
    lam = symbol("lam", np.exp(rng.normal(size=POINTS)))
    known = {
        "ref_logp": stacked([numbers[f"r{k}"] for k in range(n)]),
        "reward": stacked([numbers[f"g{k}"] for k in range(n)]),
        "length": np.ones((n, POINTS)),
    }
    own = objective.with_lam(lam).derived(known)
    return {kind: function_of(("lam", *names), *(values[k] for k in range(n))) for kind, values in own.items()}
