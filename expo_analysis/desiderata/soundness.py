"""Is the loss a loss at all, and is what it claims true? Asked before anything is concluded from its optima."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax

from .._types import Floats
from ..losses import Facts, Objective, PairObjective, RewardObjective, risk
from ..losses.facts import StatedFacts
from ..losses.psi import Psi, Stated
from .problems import FAMILIES
from .subject import Subject, Unclaimed

LAMS = 10.0 ** np.arange(-6, 9)
"""The lambdas at which a loss must be finite, and what it claims must be true."""

SHAPE = (3, len(LAMS))


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
        refuted = _refuted(Unclaimed(objective.lam, objective, scalar_only), objective, lams)
        if not refuted and not scalar_only and _misled(objective):
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


def _points(count: int, seed: int = 0) -> list[torch.Tensor]:
    """log pi_w, log pi_l and the same under pi_ref, plain ones first, then unlikely ones: (count, SHAPE[1]) each."""
    rng = np.random.default_rng(seed)
    width = np.geomspace(0.1, 20.0, count)[:, None]
    return [torch.tensor(-width * rng.uniform(0.05, 1.0, (count, SHAPE[1]))) for _ in range(4)]


def _broken(objective: PairObjective, lam: float) -> str:
    """What is wrong with the loss's values or derivatives at one lambda; empty where nothing is."""
    own = objective.with_lam(lam)
    points = _points(SHAPE[0])
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
    if lam != 1.0:  # far out, differences of values have no digits left
        return ""
    if all(g is None or not g.any() for g in gradients) and np.ptp(values.numpy()) > 0:
        return "its gradient is zero wherever it was tried, though its values differ: nothing can be learnt from it"
    step = 1e-6
    for which, gradient in enumerate(gradients):
        moved = [[x + sign * step * (k == which) for k, x in enumerate(points)] for sign in (1.0, -1.0)]
        up, down = (own.pair_loss(*m) for m in moved)
        slope = torch.zeros_like(values) if gradient is None else gradient.detach()
        size = slope.abs().max() + values.abs().max() * 1e-9 / step + 1e-9
        # a kink is no mistake: most points must agree, not all
        agree = ((up - down) / (2 * step) - slope).abs() <= 1e-4 * size
        if agree.double().mean() < 0.8:
            return "its gradient by torch is not the slope of its values"
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


def _accepts_arrays(objective: PairObjective, lams: Floats) -> bool:
    """Whether ``lam`` may be an array over the last axis, with the values that single lambdas give."""
    points = _points(SHAPE[0])
    try:
        together = objective.with_lam(torch.tensor(lams)).pair_loss(*points)
        alone = [objective.with_lam(float(lam)).pair_loss(*points)[:, k] for k, lam in enumerate(lams)]
        return together.shape == SHAPE and torch.allclose(together, torch.stack(alone, 1), rtol=1e-9, equal_nan=True)
    except Exception:
        return False


def _refuted(plain: Unclaimed, objective: PairObjective, lams: Floats) -> list[str]:
    """The claims that numbers refute at these lambdas, in words."""
    facts = objective.facts
    found: list[str] = []
    points = _points(SHAPE[0], seed=1)
    everywhere = [objective.with_lam(float(lam)) for lam in lams]

    def losses(*at: torch.Tensor) -> torch.Tensor:
        return torch.stack([one.pair_loss(*at) for one in everywhere])

    def differs(a: torch.Tensor, b: torch.Tensor) -> bool:
        return not torch.allclose(a, b, rtol=1e-7, atol=1e-10, equal_nan=True)

    here = losses(*points)
    if not facts.needs_reference and differs(here, losses(*points[:2], points[3], points[2])):
        found.append("needs_reference = False is false: its values change with the reference")
    if facts.log_ratio_only and differs(here, losses(points[0] - 0.7, points[1] - 0.7, *points[2:])):
        found.append("log_ratio_only = True is false: its values change where log pi_w - log pi_l does not")
    if facts.terms.terms:
        found += [claim for one in everywhere for claim in refuted_terms(one.facts)][:1]
    if facts.convex:
        found += _refuted_convexity(plain, objective, lams)
    if isinstance(facts, StatedFacts) and facts.log_ratio_only:
        for one in everywhere:
            limits = one.ratio_slopes()
            if limits is not None and _refuted_limits(_of_log_ratio(one), [float(x) for x in limits], float(one.lam)):
                found.append(f"ratio_slopes = ({limits[0]:g}, {limits[1]:g}) is false at lambda = {one.lam:g}")
                break
    return found


def _of_log_ratio(objective: PairObjective) -> Callable[[torch.Tensor], torch.Tensor]:
    """The loss as a function of log pi_w/pi_l, under an even reference."""
    return lambda x: objective.pair_loss(x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x))


def refuted_terms(facts: Facts) -> list[str]:
    """What the psis of an objective's terms state of themselves and numbers refute, at one lambda."""
    found = []
    for psi, _, scale, _ in facts.bound:
        size = float(np.max(np.abs(np.asarray(scale))))
        # a psi of this package has its lambda in its statistic; another may have it inside, in any unit
        units = (1.0,) if type(psi) is not Stated else (1.0, 1e-3, 1e3)
        for unit in units:
            claim = _refuted_psi(psi, torch.linspace(-30.0, 30.0, 121, dtype=torch.float64) * unit)
            if claim:
                found.append(f"{claim} at a scale of {size:g}")
    return found


def _refuted_psi(psi: Psi, at: torch.Tensor) -> str:
    """The statements of one psi that are false, at margins ``at``."""

    def value(x: torch.Tensor) -> torch.Tensor:
        return psi.value(x) + 0.0 * x

    if value(at).shape != at.shape:
        return ""  # its parameters are data
    left, middle, right = (value(x) for x in (at[:-2], at[1:-1], at[2:]))
    if psi.convex and (middle - (left + right) / 2 > 1e-9 * (1 + middle.abs())).any():
        return "that psi is convex is false"
    if psi.linear_pieces is not None:
        lines = torch.stack([float(slope) * at + float(intercept) for slope, intercept in psi.linear_pieces]).amax(0)
        if not torch.allclose(value(at), lines, rtol=1e-9, atol=1e-9):
            return "that psi is made of its linear_pieces is false"
    x = at.clone().requires_grad_(True)
    slope = _derivative(value(x), x)
    bend = _derivative(slope, x)
    twist = _derivative(bend, x).detach()
    slope, bend = slope.detach(), bend.detach()
    if psi.slopes is not None:
        slack = 1e-9 * float(slope.abs().max())
        ends = [float(np.max(end)) for end in psi.slopes]
        beyond = psi.convex and ((slope < ends[0] - slack).any() or (slope > ends[1] + slack).any())
        if beyond or _refuted_limits(value, ends, 30.0 / float(at.abs().max())):
            return f"slopes = ({ends[0]:g}, {ends[1]:g}) is false"
    m = psi.self_concordance
    if m is not None:
        m = float(np.max(m))
        if (twist.abs() > m * bend * (1 + 1e-6) + 1e-9 * bend.max() * (m + 1 / (1 + at.abs().max()))).any():
            return f"self_concordance = {m:g} is false"
    if psi.log_odds_scale is not None:
        for p in (0.6, 0.9, 0.99):
            y = torch.tensor([1.0, -1.0], dtype=torch.float64) * np.log(p / (1 - p)) / float(np.max(psi.log_odds_scale))
            y.requires_grad_(True)
            win, lose = _derivative(value(y), y).detach().tolist()
            if abs(p * win - (1 - p) * lose) > 1e-9 * (abs(win) + abs(lose)):
                return "log_odds_scale is false"
    return ""


def _refuted_limits(loss: Callable[[torch.Tensor], torch.Tensor], ends: Sequence[float], lam: float) -> bool:
    """Whether slopes far out contradict their claimed limits at -inf and +inf: they do not come closer to them."""
    for limit, sign in zip(ends, (-1.0, 1.0), strict=True):
        x = sign * torch.tensor([1e3, 1e6], dtype=torch.float64) * max(1.0, 1.0 / lam)
        near, far = _derivative(loss(x.requires_grad_(True)), x).detach().tolist()
        if not np.isfinite([near, far]).all():
            continue
        if np.isinf(limit):
            if far * limit <= 0 or abs(far) <= 1.1 * abs(near):
                return True
        elif abs(far - limit) > max(0.1 * max(abs(near), abs(limit)), 0.9 * abs(near - limit)):
            return True
    return False


def _refuted_convexity(plain: Unclaimed, objective: PairObjective, lams: Floats) -> list[str]:
    """Curvature in the logits, and its rate of change, along random lines."""
    rng = np.random.default_rng(3)
    for family in FAMILIES.values():
        bandit = family.draw(rng, 24, 3)
        for lam in lams:
            theta = torch.tensor(rng.normal(0.0, 3.0, (24, 3)))
            line, across = (torch.tensor(rng.normal(size=(24, 3))) for _ in range(2))
            x = torch.zeros(24, dtype=torch.float64, requires_grad=True)
            y = torch.zeros(24, dtype=torch.float64, requires_grad=True)
            at = theta + x[:, None] * line + y[:, None] * across
            value = risk(plain.with_lam(float(lam)), bandit, torch.log_softmax(at, -1))
            bend = _derivative(_derivative(value, x), x)
            twist = _derivative(bend, y).detach()
            bend = bend.detach()
            slack = 1e-9 * (1 + lam**2 * min(1.0, 1.0 / lam) + value.detach().abs())
            if (bend < -slack).any():
                return [f"convex = True is false: its curvature is {bend.min():.3g} somewhere at lambda = {lam:g}"]
            m = objective.with_lam(float(lam)).facts.self_concordance
            if m is not None:
                limit = float(np.max(m))
                reach = across.amax(1) - across.amin(1)
                if (twist.abs() > limit * reach * bend * (1 + 1e-6) + 1e3 * slack * (1 + lam)).any():
                    return [f"self_concordance = {limit:g} is false at lambda = {lam:g}"]
    return []


def _misled(objective: PairObjective) -> bool:
    """Whether what the solver calls a proven optimum is none.

    A subclass may have a formula of its own, which the closed form of its parent does not know of.
    """
    rng = np.random.default_rng(4)
    for n in (2, 3):
        bandit = FAMILIES["moderate"].draw(rng, 8, n)
        start = np.log(bandit.reference) + np.eye(n)[0]
        lams = (0.1, 1.0, 10.0)
        own = Subject(objective)
        found = own.optima(bandit, lams)
        for k, lam in enumerate(lams):
            inside = np.isfinite(found.bound[k]) & np.isfinite(found.log_policies[k]).all(axis=-1)
            at = np.where(inside[:, None], found.log_policies[k], start)
            gradient = own.gradient(bandit, lam, at)
            there, before = (np.abs(x).max(axis=-1) for x in (gradient, own.gradient(bandit, lam, start)))
            # at a kink the gradient need not vanish, but no step along it leads down
            down = [
                at - size * gradient / np.maximum(there, 1e-300)[:, None] for size in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
            ]
            value, *lower = (own.value(bandit, lam, log_softmax(x, axis=-1)) for x in (at, *down))
            falls = np.min(lower, axis=0) < value - 1e-13 * (1 + np.abs(value))
            if ((there > 1e-6 * (1e-3 + before)) & falls & inside).any():
                return True
    return False


def _derivative(value: torch.Tensor, x: torch.Tensor) -> Any:
    if not value.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(value.sum(), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if found is None else found
