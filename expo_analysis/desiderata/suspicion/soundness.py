"""Is the loss a loss at all, and is what it claims true? Asked before anything is concluded from its optima."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import torch

from ..._types import Floats
from ...divergences import mu_is_slope
from ...losses import Objective, PairObjective, RewardObjective
from ...losses.base import NOTHING
from ...own_file import in_words
from ..subject import Unclaimed, facts_of
from .claims import misled, refuted_claims
from .digits import FEW, NONE, TOO_MANY, Digits, digits_of, lambda_is_single
from .effects import effects_of, spoils
from .faces import arrays_refused, couples, numpy_differs, other_lambda, overridden, undefined_on_two
from .lines import NEAR, Wrong, wrong_slopes
from .points import LAMS, SHAPE, pairs_to_try

WRONG_GRADIENT = "its gradient by torch is not the slope of its values"
"""The whole loss is refused for it, at whichever lambda: no optimum can be relied on."""


COUPLES = "it couples the pairs of a batch, and so has no value for a single pair"
"""Said of a loss that claims so, where numbers do not refute it."""

MANY = 400
"""So many times the pairs to try, which makes some ten thousand, must be worth the same as alone."""


@dataclass(frozen=True)
class Inspection:
    """What was found: ``objective`` is what the judges may rely on (None where nothing can be computed)."""

    objective: Objective | None
    remarks: tuple[str, ...] = field(default=())


def first_call(objective: Objective) -> float:
    """Seconds that one call of a loss takes; 0 where it cannot be called."""
    started = time.monotonic()
    if isinstance(objective, PairObjective) and not objective.facts.couples_pairs:
        objective.with_lam(1.0).pair_loss(*pairs_to_try(objective, SHAPE[0]))
    return time.monotonic() - started


def inspect(objective: Objective) -> Inspection:
    """Check that a loss computes one differentiable number per pair, and every claim that the solvers rely on.

    A loss whose claims are refuted goes on without them, since they would make wrong answers look proven. One that does
    not accept an array of lambdas is given them one at a time.
    """
    if isinstance(objective, RewardObjective):
        own = type(objective)
        if own.reward_terms is RewardObjective.reward_terms:
            refuted = "" if mu_is_slope(objective.regulariser) else _not_of_mu(objective)
            return Inspection(None, (refuted,)) if refuted else Inspection(objective)
        return Inspection(None, (f"{own.__name__} is RLHF with a formula of its own, for which there is no solver",))
    if not isinstance(objective, PairObjective):
        kind = type(objective).__name__
        return Inspection(None, (f"{kind} is neither RLHF nor a loss of pairs (PairObjective), and cannot be judged",))
    try:
        if objective.facts.couples_pairs and _may_couple(objective):
            return Inspection(None, (COUPLES,))
        effects = effects_of(objective)
        broken = next(filter(spoils, effects), "") or other_lambda(objective) or _broken(objective, 1.0)
        broken = broken or _broken_regulariser(objective)
        broken = broken or overridden(objective, pairs_to_try(objective, SHAPE[0]))
        alone = "" if broken else undefined_on_two(objective.with_lam(1.0))
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        return Inspection(None, (f"it raises {in_words(error)}",))
    if broken:
        return Inspection(None, (broken,))
    remarks = [*effects, alone] if alone else effects
    log_mass = -0.25 if alone else 0.0
    lams = np.ones_like(LAMS)  # those at which it works, and 1 in the place of others
    digits, jump, agree = Digits(0.0, False), "", set[int]()
    for k, lam in sorted(enumerate(LAMS), key=lambda each: float(each[1] != 1.0)):
        try:
            broken = _broken(objective, float(lam)) or _broken_regulariser(objective.with_lam(float(lam)))
            seen = Digits(0.0, False) if broken else digits_of(objective.with_lam(float(lam)))
            wrong = None if broken else wrong_slopes(objective.with_lam(float(lam)), float(lam), k, seen.lost, log_mass)
        except (Exception, SystemExit) as error:
            broken, wrong, seen = f"it raises {in_words(error)}", None, Digits(0.0, False)
        if wrong is not None and wrong.near and not wrong.small:
            return Inspection(None, (_in_words(wrong, float(lam)),))
        if wrong is not None and wrong.small and not jump:
            jump = _in_words(wrong, float(lam))
        if not broken and wrong is None and seen.lost <= NONE and not alone:
            agree.add(k)
        digits = max(digits, seen, key=lambda each: each.lost)
        if not broken:
            lams[k] = lam
        elif not any(remark.startswith("at lambda") for remark in remarks):
            remarks.append(f"at lambda = {lam:g}, {broken}")
    if digits.lost > TOO_MANY:
        return Inspection(None, (*remarks, f"{_lost(digits)}: too few for a verdict"))
    if digits.lost > FEW:
        remarks.append(_lost(digits))
    lost = np.inf if jump else digits.lost
    return _claimed(objective, lams, float(lost), [*remarks, jump] if jump else remarks, agree)


def _may_couple(objective: PairObjective) -> bool:
    """Whether a loss that claims to couple pairs does; also where it cannot be called as others are."""
    try:
        return couples(objective)
    except (Exception, SystemExit):
        return True


def _not_of_mu(objective: RewardObjective) -> str:
    divergence = type(objective.regulariser).__name__
    return f"its divergence, {divergence}, is not pi_ref f(pi/pi_ref) with f' = mu, by which RLHF is solved"


def _claimed(
    objective: PairObjective, lams: Floats, lost: float, remarks: list[str], agree: Collection[int]
) -> Inspection:
    """What of a sound loss's claims may be relied on.

    lams: those at which it works. lost: units of rounding that it loses; beyond `FEW` no claim of it is true. agree:
    the places of lambdas at which its slopes were compared with its values, as a loss that loses none.
    """
    exact = lost <= FEW
    refuted: list[str] = []
    single = False
    try:
        single = lambda_is_single(objective)
        other = numpy_differs(objective, np.unique(lams))
        remarks += [other] if other else []
        refused = "" if single else arrays_refused(objective, lams)
    except (Exception, SystemExit) as error:
        refused = "it"
        remarks.append(f"it raises {in_words(error)}")
    if refused:
        who = "it does" if refused == "it" else f"its {refused} {'do' if refused.endswith('s') else 'does'}"
        remarks.append(
            f"{who} not accept an array of lambdas, and it is audited one lambda at a time, which takes longer"
        )
    if single:
        remarks.append("it rounds lambda to float32, as torch.tensor(self.lam) does without dtype=torch.float64")
    keeps = bool(refused) and not objective.is_made_of_terms
    kept = Unclaimed(objective.lam, objective, True, keeps) if refused else objective
    if exact and not single:
        plain = Unclaimed(objective.lam, objective, bool(refused))
        try:
            refuted = refuted_claims(plain, objective, lams, agree, lost)
            if not refuted and misled(kept):
                refuted = ["to be solved like the loss that it derives from is false: other policies have lower values"]
        except (Exception, SystemExit) as error:
            refuted = [f"could not be checked: it raises {in_words(error)}"]
    remarks += [f"its claim {claim}" for claim in refuted]
    distrusted = bool(refuted) or single or not exact
    if distrusted and facts_of(objective).claims() != NOTHING:
        remarks.append("it is therefore audited without its claims, so that less can be proven of it")
    if distrusted:
        kept = Unclaimed(objective.lam, objective, bool(refused))
    return Inspection(kept, tuple(remarks))


def _lost(digits: Digits) -> str:
    """Lost digits in words."""
    if digits.single:
        return (
            f"it computes in float32, so that {digits.right} digits of its values are right (look for .float(), or for "
            "a tensor made without dtype=torch.float64)"
        )
    return f"only {digits.right} digits of its values are right, as where large numbers cancel: (x + c) - (y + c)"


def _in_words(wrong: Wrong, lam: float) -> str:
    """Values and slopes that disagree in words, with what does that."""
    if wrong.jump:
        jump = f"at lambda = {lam:g}, its values jump by {wrong.jump:.2g} at {wrong.where}"
        known = ", as torch's softplus does at 20 (log_sigmoid does not)" if wrong.small else ""
        return f"{jump}{known}, of which its gradient by torch knows nothing"
    how = f"at lambda = {lam:g}, {WRONG_GRADIENT}: at {wrong.where} it is off by {wrong.part:.2g} of it"
    if lam != 1 and abs(wrong.at) <= NEAR:  # 1 is looked at first
        return f"{how}, though it is right at lambda = 1, as from a backward written by hand that forgets lambda"
    return f"{how}, as from .detach(), a clip whose backward goes straight through, or a wrong backward"


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
    compared = [(values, shuffled), (values[1:2], own.pair_loss(*(x[1:2] for x in points)))]
    if lam == 1.0:  # as many as solvers and simulators give it
        compared.append((values, own.pair_loss(*(x.repeat(MANY, 1) for x in points))[: SHAPE[0]]))
    if not all(torch.allclose(x, y, rtol=1e-12, atol=1e-12) for x, y in compared):
        single = all(torch.allclose(x, y, rtol=1e-6, atol=1e-6) for x, y in compared)
        why = ", by no more than what float32 rounds: look for .float()" if single else ""
        return f"the loss of a pair depends on which other pairs it is computed with{why}"
    flat = all(g is None or not g.any() for g in gradients)
    if flat and lam == 1.0 and np.ptp(values.numpy()) > 0:  # a bounded loss may be flat where lambda is large
        return "its gradient is zero wherever it was tried, though its values differ: nothing can be learnt from it"
    return ""


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
