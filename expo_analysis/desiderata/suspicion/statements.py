"""Is it true what the parts of a loss state of themselves: atoms, data, divergences? Solvers and proofs rest on it.

Psis have a file of their own (`psi_statements`); what follows for the whole, such as convexity, is looked at in
`claims`.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..._types import Array, Floats
from ...divergences import Divergence
from ...losses import PairObjective
from ...losses.data import Data, evaluate
from ...losses.statistics import Atom, Statistic
from ...losses.terms import Sum, Term, bound
from .psi_statements import derivative, refuted_psi


def refuted_terms(objective: PairObjective, datum: dict[str, torch.Tensor]) -> str:
    """The first statement about the terms of an objective, at its lambda, that numbers refute; empty where none is.

    datum: pairs on which the loss is compared with the sum of its terms.
    """
    facts = objective.facts
    for term in facts.terms:
        claim = _refuted_data(term, datum) or _refuted_atoms(term.statistic)
        if claim:
            return claim
    assert objective.terms is not None
    for terms in (objective.terms, facts.terms):
        if _differs(objective.pair_loss(*datum.values()), _assembled(terms, datum)):
            return "to be the sum of its terms is false"
    for psi, *_ in facts.bound:
        claim = refuted_psi(psi)
        if claim:
            return f"{claim} at lambda = {float(objective.lam):g}"
    return ""


def _differs(a: torch.Tensor, b: torch.Tensor) -> bool:
    return not torch.allclose(a, b.expand_as(a), rtol=1e-9, atol=1e-9, equal_nan=True)


def _assembled(terms: Sum, datum: dict[str, torch.Tensor]) -> torch.Tensor:
    """The sum of weight psi(scale (sum_k c_k atom_k - centre) - offset), part by part as solvers take it."""
    total = torch.zeros_like(datum["logp_w"])
    for term in terms:
        statistic = term.statistic
        inside: Any = 0.0
        for coefficient, atom in statistic.parts:
            inside = inside + coefficient * atom.of(datum)
        scale, centre, offset = (evaluate(x, datum) for x in (statistic.scale, statistic.centre, statistic.offset))
        total = total + evaluate(term.weight, datum) * bound(term.psi, datum).value(scale * (inside - centre) - offset)
    return total


def _atom_at(atom: Atom, logp: Array, ref_logp: Array) -> Array:
    return atom.value(logp, ref_logp if atom.relative else None)


# ------------------------------------------------------------------------------------------------------ data and atoms


def _refuted_data(term: Term, datum: dict[str, torch.Tensor]) -> str:
    """Data must be functions of the reference's log-probabilities, those that they name and no others."""
    own = [getattr(term.psi, field.name) for field in dataclasses.fields(term.psi)]
    for value in (*own, term.weight, term.statistic.scale, term.statistic.centre, term.statistic.offset):
        if not isinstance(value, Data):
            continue
        known = {name: datum[name] for name in value.reads if not name.startswith("logp_")}
        try:
            same = not _differs(torch.as_tensor(value(datum)), torch.as_tensor(value(known)))
        except KeyError:
            same = False
        if not same or len(known) < len(value.reads):
            return (
                f"that data in it read {', '.join(sorted(value.reads)) or 'nothing'}, of the reference alone, is false"
            )
    return ""


def _refuted_atoms(statistic: Statistic) -> str:
    """The first false statement of an atom."""
    return next((claim for _, atom in statistic.parts if (claim := _refuted_atom(atom))), "")


@lru_cache(maxsize=64)
def _refuted_atom(atom: Atom) -> str:
    """What an atom reads, its derivatives, whether it is log pi, how it bends: the first that is false."""
    rng = np.random.default_rng(5)
    ref, name = -rng.exponential(1.0, 200), type(atom).__name__
    logp = np.concatenate([-rng.exponential(size, 50) for size in (0.3, 1.0, 10.0, 100.0)]) - 1e-3
    value = _atom_at(atom, logp, ref)
    if not atom.relative and not np.array_equal(value, atom.value(logp, ref - 1.0)):
        return f"that {name} does not read the reference is false"
    if atom.plain and np.ptp(np.asarray(value) - logp + (ref if atom.relative else 0.0)) > 1e-9:
        return f"that {name} is log pi but for what does not depend on the policy is false"
    if _refuted_derivatives(atom, logp, ref):
        return f"the derivatives that {name} states are false"
    if atom.curvature == "concave" and _bends_up(atom, rng):
        return f"that {name} is concave in the logits is false"
    return ""


def _refuted_derivatives(atom: Atom, logp: Floats, ref: Floats) -> bool:
    x = torch.tensor(logp, requires_grad=True)
    value = _atom_at(atom, x, torch.tensor(ref)) + 0.0 * x
    first = derivative(value, x)
    second = derivative(first, x).detach().numpy()
    stated = [np.broadcast_to(np.asarray(d, dtype=np.float64), logp.shape) for d in atom.derivatives(logp, ref)]
    return any(
        (np.abs(ours - theirs) > 1e-6 * np.abs(ours) + 1e-9 * np.abs(ours).max()).any()
        for ours, theirs in zip((first.detach().numpy(), second), stated, strict=True)
    )


def _bends_up(atom: Atom, rng: np.random.Generator) -> bool:
    """Whether the middle of a random chord in the logits of three responses lies below the mean of its ends."""
    size = 10.0 ** rng.uniform(-1, 2, (4000, 1))
    ends = [size * rng.normal(size=(4000, 3)) for _ in range(2)]
    ref = -rng.exponential(1.0, 4000)
    left, right, middle = (
        np.asarray(_atom_at(atom, np.minimum(x[:, 0] - np.logaddexp.reduce(x, axis=1), -1e-15), ref))
        for x in (*ends, (ends[0] + ends[1]) / 2)
    )
    return bool((middle < (left + right) / 2 - 1e-9 * (1 + np.abs(left) + np.abs(right))).any())


# --------------------------------------------------------------------------------------------------------- divergences


def refuted_divergence(divergence: Divergence, inverted: bool) -> str:
    """The first statement of a divergence that is false.

    inverted: whether solvers use its mu and ``descend``, the inverse of that, instead of its terms.
    """
    name = type(divergence).__name__
    rng = np.random.default_rng(6)
    log_u = rng.normal(0.0, 2.0, 300)
    if inverted:
        mu = np.asarray(divergence.mu(log_u))
        if (np.diff(mu[np.argsort(log_u)]) < 0).any():
            return f"that mu of {name} increases is false"
        gap = rng.uniform(0.0, 1.0, 300) * np.minimum(mu - max(divergence.mu_at_zero, -1e3), 3.0)
        back = np.asarray(divergence.mu(divergence.descend(log_u, gap)))
        if (np.abs(back - (mu - gap)) > 1e-6 * (1 + np.abs(mu))).any():
            return f"that descend of {name} inverts its mu is false"
        return ""
    theta, reference = (torch.tensor(rng.normal(size=(200, 3)) * 3.0) for _ in range(2))
    return _refuted_bend(divergence, theta, reference.log_softmax(-1), rng)


def _refuted_bend(divergence: Divergence, theta: torch.Tensor, reference: torch.Tensor, rng: Any) -> str:
    """Convexity and self-concordance in the logits, along random lines; derivatives, in log pi."""
    name = type(divergence).__name__
    line, across = (torch.tensor(rng.normal(size=theta.shape)) for _ in range(2))
    x, y = (torch.zeros(len(theta), dtype=torch.float64, requires_grad=True) for _ in range(2))
    at = (theta + x[:, None] * line + y[:, None] * across).log_softmax(-1)
    value = divergence.terms(at, reference).sum(-1)
    bend = derivative(derivative(value, x), x)
    twist = derivative(bend, y).detach().abs()
    bend, slack = bend.detach(), 1e-9 * (1 + value.detach().abs())
    if divergence.convex_in_logits and (bend < -slack).any():
        return f"that {name} is convex in the logits is false"
    m = divergence.self_concordance
    if m is not None and (twist > m * (across.amax(1) - across.amin(1)) * bend * (1 + 1e-6) + 1e3 * slack).any():
        return f"self_concordance = {m:g} of {name} is false"
    own = theta.log_softmax(-1).requires_grad_(True)
    first = derivative(divergence.terms(own, reference), own)
    second = derivative(first, own).detach()
    stated = map(torch.as_tensor, divergence.derivatives(own.detach().numpy(), reference.numpy()))
    # but for c pi, which adds the same to every policy's gradient and nothing to its direction
    gaps = [(seen - told) / own.detach().exp() for seen, told in zip((first.detach(), second), stated, strict=True)]
    spread = max(float(gap.amax() - gap.amin()) for gap in gaps)
    size = float((second / own.detach().exp()).abs().amax())
    return f"the derivatives that {name} states are false" if spread > 1e-6 * (1 + size) else ""
