"""Is the loss a loss at all, and is what it claims true? Asked before anything is concluded from its optima."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from ..._types import Floats
from ...losses import Objective, PairObjective, RewardObjective
from ..subject import Unclaimed
from .claims import LAMS, SHAPE, misled, pairs_to_try, refuted_claims
from .psi_statements import LARGEST

WRONG_GRADIENT = "its gradient by torch is not the slope of its values"
"""The whole loss is refused for it, at whichever lambda: no optimum can be relied on."""


@dataclass(frozen=True)
class Inspection:
    """What was found: ``objective`` is what the judges may rely on (None where nothing can be computed)."""

    objective: Objective | None
    remarks: tuple[str, ...] = field(default=())


def inspect(objective: Objective) -> Inspection:
    """Check that a loss computes one differentiable number per pair, and every claim that the solvers rely on.

    A loss whose claims are refuted goes on without them, since they would make wrong answers look proven. One that does
    not accept an array of lambdas is given them one at a time.
    """
    if isinstance(objective, RewardObjective):
        own = type(objective)
        if own.reward_terms is RewardObjective.reward_terms:
            return Inspection(objective)
        return Inspection(None, (f"{own.__name__} is RLHF with a formula of its own, for which there is no solver",))
    if not isinstance(objective, PairObjective):
        kind = type(objective).__name__
        return Inspection(None, (f"{kind} is neither RLHF nor a loss of pairs (PairObjective), and cannot be judged",))
    try:
        if objective.facts.couples_pairs:
            return Inspection(None, ("it couples the pairs of a batch, and so has no value for a single pair",))
        broken = _broken(objective, 1.0) or _broken_regulariser(objective)
    except Exception as error:  # a user's code may raise anything
        return Inspection(None, (f"it raises {_described(error)}",))
    if broken:
        return Inspection(None, (broken,))
    remarks: list[str] = []
    lams = np.ones_like(LAMS)  # those at which it works, and 1 in the place of others
    for k, lam in enumerate(LAMS):
        try:
            broken = _broken(objective, float(lam))
        except Exception as error:
            broken = f"it raises {_described(error)}"
        if broken == WRONG_GRADIENT:
            return Inspection(None, (f"at lambda = {lam:g}, {broken}",))
        if not broken:
            lams[k] = lam
        elif not remarks:
            remarks.append(f"at lambda = {lam:g}, {broken}")
    scalar_only = not _accepts_arrays(objective, lams)
    if scalar_only:
        remarks.append(
            "it does not accept an array of lambdas, and is audited one lambda at a time, which takes longer"
        )
    try:
        refuted = refuted_claims(Unclaimed(objective.lam, objective, scalar_only), objective, lams)
        if not refuted and not scalar_only and misled(objective):
            refuted = ["to be solved like the loss that it derives from is false: other policies have lower values"]
    except Exception as error:
        refuted = [f"could not be checked: it raises {_described(error)}"]
    remarks += [f"its claim {claim}" for claim in refuted]
    if refuted:
        remarks.append("it is therefore audited without its claims, so that less can be proven of it")
    if refuted or scalar_only:
        return Inspection(Unclaimed(objective.lam, objective, scalar_only), tuple(remarks))
    return Inspection(objective, tuple(remarks))


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _broken(objective: PairObjective, lam: float) -> str:
    """What is wrong with the loss's values or derivatives at one lambda; empty where nothing is."""
    own = objective.with_lam(lam)
    points = pairs_to_try(objective, SHAPE[0])
    inputs = [x.clone().requires_grad_(True) for x in points[:2]]
    given = [x.detach().clone() for x in points]
    result = own.pair_loss(*inputs, *points[2:])
    if not all(map(torch.equal, points, given)):
        return "it changes the log-probabilities that it is given"
    if not isinstance(result, torch.Tensor):
        return f"it returns {type(result).__name__} for torch tensors, not a tensor"
    if result.ndim == 0:
        return "it reduces: it returns a single number where one loss per pair is wanted"
    if tuple(result.shape) != SHAPE:
        return f"it returns shape {tuple(result.shape)} for pairs of shape {SHAPE}"
    if result.dtype != torch.float64:
        return f"it returns {result.dtype} where it is given torch.float64"
    if not torch.isfinite(result).all():
        return f"it is {'NaN' if result.isnan().any() else 'infinite'} at ordinary log-probabilities"
    if not result.requires_grad:
        return "it is not differentiable: its value does not depend on the policy through torch"
    gradients = torch.autograd.grad(result.sum(), inputs, allow_unused=True, create_graph=True)
    if not all(g is None or torch.isfinite(g).all() for g in gradients):
        return "its gradient is not finite at ordinary log-probabilities"
    values = result.detach()
    if not torch.equal(own.pair_loss(*points), values):
        return "it gives different values for the same pairs when called again"
    shuffled = own.pair_loss(*(x.flip(0) for x in points)).flip(0)
    alone = torch.cat([own.pair_loss(*(x[k : k + 1] for x in points)) for k in range(SHAPE[0])])
    if not all(torch.allclose(values, x, rtol=1e-12, atol=1e-12) for x in (shuffled, alone)):
        return "the loss of a pair depends on which other pairs it is computed with"
    flat = all(g is None or not g.any() for g in gradients)
    if flat and lam == 1.0 and np.ptp(values.numpy()) > 0:  # a bounded loss may be flat where lambda is large
        return "its gradient is zero wherever it was tried, though its values differ: nothing can be learnt from it"
    slopes = [torch.zeros_like(values) if g is None else g.detach() for g in gradients]
    return "" if all(_is_slope(own, points, k, slope) for k, slope in enumerate(slopes)) else WRONG_GRADIENT


def _is_slope(own: PairObjective, points: list[torch.Tensor], which: int, slope: torch.Tensor) -> bool:
    """Whether differences of values agree with the gradient in one of the arguments, where neither may be saturated."""
    values = own.pair_loss(*points)
    usual = (values.abs() < LARGEST) & (slope.abs() < LARGEST)
    if not usual.any():
        return True
    agree = torch.zeros_like(usual)
    shortest = 1e-6 / max(1.0, 1e-3 * float(own.lam))  # where lambda is large, so is what a step does
    for step in np.geomspace(shortest, 1e-3, 5):  # over short steps digits are lost, long ones are no straight lines
        moved = [[x + sign * step * (k == which) for k, x in enumerate(points)] for sign in (1.0, -1.0)]
        up, down = (own.pair_loss(*m) for m in moved)
        scale = slope[usual].abs().max() + values[usual].abs().max() * 1e-9 / step + 1e-9
        agree |= ((up - down) / (2 * step) - slope).abs() <= 1e-4 * scale
    # a kink is no mistake: most points must agree, not all
    return bool(agree[usual].double().mean() >= 0.8)


def _broken_regulariser(objective: PairObjective) -> str:
    """What is wrong with the divergence, which the solvers take response by response, and the value as a sum."""
    divergence = objective.regulariser
    if divergence is None:
        return ""
    for n in (2, 3, 5):
        log_policy, log_reference = (torch.tensor(np.random.default_rng(n).normal(size=(2, 2, n)))).log_softmax(-1)
        whole = divergence.terms(log_policy, log_reference)
        turned = divergence.terms(log_policy.T.contiguous(), log_reference.T.contiguous()).T
        alone = torch.cat([divergence.terms(log_policy[:, [k]], log_reference[:, [k]]) for k in range(n)], 1)
        if not all(torch.allclose(whole, x, rtol=1e-12, atol=1e-12) for x in (turned, alone)):
            return "a response's term of its divergence depends on which other responses it is computed with"
        if not torch.allclose(divergence(log_policy, log_reference), whole.sum(-1), rtol=1e-12, atol=1e-12):
            return "its divergence is not the sum of its terms"
    return ""


def _accepts_arrays(objective: PairObjective, lams: Floats) -> bool:
    """Whether ``lam`` may be an array over the last axis, with the values that single lambdas give."""
    points = pairs_to_try(objective, SHAPE[0])
    try:
        together = objective.with_lam(torch.tensor(lams)).pair_loss(*points)
        alone = [objective.with_lam(float(lam)).pair_loss(*points)[:, k] for k, lam in enumerate(lams)]
        return together.shape == SHAPE and torch.allclose(together, torch.stack(alone, 1), rtol=1e-9, equal_nan=True)
    except Exception:
        return False
