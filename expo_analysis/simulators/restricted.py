r"""Optima over restricted policies: fewer parameters than policies, or weight decay. Many problems as one batch.

A problem has ``prompts`` prompts, parameters w of length d that they share, and minimises

    (1/prompts) sum_x J_x(softmax(log pi_ref(.|x) + features(x, .) w)) + (decay/2) |w|^2,

J_x being the objective on prompt x. A loss that is convex in the logits is convex in w too, and one start is enough;
RLHF is not, and gets the best of several, which need not be the best there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import log_softmax
from torch import Tensor

from .._frozen import set_fields
from .._threads import one_thread
from .._types import Floats, Indices, Mask
from ..bandit import Bandit
from ..losses import Objective, risk

MAX_STEPS = 300
LONGEST_STEP = 30.0
"""A step moves no logit by more than this."""
ROUNDING = 1e-15
"""A run ends with the step that promises to lower the value by no more than this, relative to it."""
SAME_VALUE = 1e-9
"""Starts that end so close in value, in nats, are said to agree."""


@dataclass(frozen=True, eq=False, init=False)
class Restrictions:
    """B problems of one size.

    Args:
        reference, optimal: pi_ref and pi*, shape (B, prompts, n).
        features: shape (B, prompts, n, d).
        pairs: as for `Bandit`: ``"uniform"``, ``"reference"``, or weights (n, n) for the pairs of every prompt.
        decay: weight decay, shape (B,) or one number.
        free: shape (B, d): which parameters may differ from 0. Default: all.
    """

    reference: Annotated[Floats, "batch prompts n"]
    optimal: Annotated[Floats, "batch prompts n"]
    features: Annotated[Floats, "batch prompts n d"]
    pairs: str | Floats
    decay: Annotated[Floats, "batch"]
    free: Annotated[Mask, "batch d"]

    def __init__(
        self,
        reference: Floats,
        optimal: Floats,
        features: Floats,
        pairs: str | Floats = "uniform",
        decay: ArrayLike = 0.0,
        free: Mask | None = None,
    ) -> None:
        shape, width = np.shape(reference), np.shape(features)
        if len(shape) != 3 or np.shape(optimal) != shape:
            raise ValueError(
                f"reference and optimal must have one shape (B, prompts, n), got {shape} and {np.shape(optimal)}"
            )
        if len(width) != 4 or width[:3] != shape:
            raise ValueError(f"features must have shape {(*shape, 'd')}, got {width}")
        weights = np.array(decay, dtype=np.float64)
        if weights.shape not in ((), shape[:1]) or not ((weights >= 0) & np.isfinite(weights)).all():
            raise ValueError(f"decay must be finite, not negative, and one number or {shape[0]}; got {decay!r}")
        mask = np.ones((shape[0], width[-1]), dtype=bool) if free is None else np.array(free)
        if mask.shape != (shape[0], width[-1]) or mask.dtype != bool:
            raise ValueError(f"free must be a mask of shape {(shape[0], width[-1])}")
        given = {"reference": reference, "optimal": optimal, "features": features}
        copies = {name: np.array(value, dtype=np.float64) for name, value in given.items()}
        set_fields(self, **copies, pairs=pairs, decay=np.broadcast_to(weights, shape[:1]), free=mask)

    @property
    def size(self) -> int:
        """How many problems there are."""
        return len(self.reference)

    def take(self, rows: Indices) -> Restrictions:
        """Some of the problems, by their numbers."""
        reference, optimal, features = (part[rows] for part in (self.reference, self.optimal, self.features))
        return Restrictions(reference, optimal, features, self.pairs, self.decay[rows], self.free[rows])

    def log_policy(self, w: Floats) -> Floats:
        """log pi of all responses, (B, prompts, n), at parameters (B, d)."""
        theta = np.log(self.reference) + np.einsum("bxyd,bd->bxy", self.features, w * self.free)
        return np.asarray(log_softmax(theta, axis=-1))

    def value(self, objective: Objective, w: Floats) -> Floats:
        """The objective and the decay's share in it at parameters (B, d), shape (B,); ``lam`` may have shape (B,)."""
        return np.asarray(_Batch(self, objective).value(torch.from_numpy(w)).numpy())


@dataclass(frozen=True, eq=False)
class RestrictedOptima:
    """Best parameters w (B, d), their ``log_policy`` (B, prompts, n) and ``value`` (B,).

    converged: (B,), whether the best run ended by a negligible step. agreeing: (B,), the share of the starts that ended
    at the same value.
    """

    w: Annotated[Floats, "batch d"]
    log_policy: Annotated[Floats, "batch prompts n"]
    value: Annotated[Floats, "batch"]
    converged: Annotated[Mask, "batch"]
    agreeing: Annotated[Floats, "batch"]


def restricted_optima(
    objective: Objective, problems: Restrictions, starts: Sequence[ArrayLike] = (0.0,)
) -> RestrictedOptima:
    """The lowest point that Levenberg-Marquardt steps with the exact Hessian reach from the starts.

    Args:
        objective: any but AOT; its ``lam`` may have shape (B,).
        starts: parameters, each of a shape that broadcasts to (B, d). The result is no worse than any of them.
    """
    shape = (problems.size, problems.features.shape[-1])
    first = np.concatenate([np.where(problems.free, np.broadcast_to(start, shape), 0.0) for start in starts])
    rows = np.tile(np.arange(problems.size), len(starts))
    with one_thread():
        w, value, converged = _levenberg(objective, problems, rows, first)
    runs = (len(starts), problems.size)
    w, value, converged = w.reshape(*runs, -1), value.reshape(runs), converged.reshape(runs)
    best, every = value.argmin(axis=0), np.arange(problems.size)
    agreeing = (value <= value.min(axis=0) + SAME_VALUE).mean(axis=0)
    best_w = w[best, every]
    return RestrictedOptima(best_w, problems.log_policy(best_w), value[best, every], converged[best, every], agreeing)


class _Batch:
    """The problems as tensors, with the objective and its derivatives in w."""

    def __init__(self, problems: Restrictions, objective: Objective) -> None:
        self.size, self.prompts, self.n = problems.reference.shape
        reference, optimal = (x.reshape(-1, self.n) for x in (problems.reference, problems.optimal))
        self.bandit = Bandit(reference, optimal, problems.pairs)
        self.log_reference = torch.from_numpy(np.log(problems.reference))
        self.features = torch.from_numpy(np.where(problems.free[:, None, None], problems.features, 0.0))
        self.free = torch.from_numpy(np.array(problems.free, dtype=np.float64))
        self.decay = torch.from_numpy(np.array(problems.decay))
        lam = np.repeat(np.broadcast_to(objective.lam, self.size), self.prompts)
        self.objective = objective.with_lam(torch.from_numpy(lam))

    def logits(self, w: Tensor) -> Tensor:
        return self.log_reference + torch.einsum("bxyd,bd->bxy", self.features, w)

    def risk(self, logits: Tensor) -> Tensor:
        """Of every prompt, (B, prompts), from logits (B, prompts, n)."""
        flat = torch.log_softmax(logits, dim=-1).reshape(-1, self.n)
        return risk(self.objective, self.bandit, flat).reshape(self.size, self.prompts)

    def value(self, w: Tensor) -> Tensor:
        return self.risk(self.logits(w)).mean(dim=-1) + self.decay / 2 * (w**2).sum(dim=-1)

    def expand(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (B, d) and Hessian (B, d, d) in w; the Hessian of parameters that are not free is the identity."""
        logits = self.logits(w).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.risk(logits).sum(), logits, create_graph=True)
        # prompts are independent of each other, so that one column belongs to all of them
        columns = [torch.autograd.grad(slope[..., y].sum(), logits, retain_graph=True)[0] for y in range(self.n)]
        curvature, slope = torch.stack(columns, dim=-1), slope.detach()
        scaled = self.features / self.prompts
        g = torch.einsum("bxyd,bxy->bd", scaled, slope) + self.decay[:, None] * w
        h = torch.einsum("bxyd,bxyz,bxze->bde", scaled, curvature, self.features)
        return g, h + torch.diag_embed(self.decay[:, None] * self.free + 1.0 - self.free)


def _levenberg(
    objective: Objective, problems: Restrictions, rows: Indices, start: Floats
) -> tuple[Floats, Floats, Mask]:
    """Run from every start: parameters, values and whether the last step was negligible."""
    lam = np.broadcast_to(np.asarray(objective.lam, dtype=np.float64), problems.size)
    w, value = start.copy(), np.full(len(start), np.inf)
    converged = np.zeros(len(start), dtype=bool)
    active = np.arange(len(start))
    damping = torch.full((len(start),), 1e-3, dtype=torch.float64)

    def batch() -> _Batch:
        return _Batch(problems.take(rows[active]), objective.with_lam(lam[rows[active]]))

    here = batch()
    at = torch.from_numpy(start)
    height = here.value(at)
    for _ in range(MAX_STEPS):
        gradient, hessian = here.expand(at)
        eigenvalues, vectors = torch.linalg.eigh(hessian)
        scale = eigenvalues.abs().amax(dim=-1, keepdim=True).clamp(min=1e-300)
        # |eigenvalues|: away from saddles; what is flat to rounding is left where it is
        along = torch.einsum("bde,bd->be", vectors, gradient)
        flat = (eigenvalues.abs() <= 1e-13 * scale) & (along.abs() <= 1e-13)
        quotient = torch.where(flat, 0.0, along / (eigenvalues.abs() + damping[:, None] * scale))
        promised = (along * quotient).sum(dim=-1) / 2
        step = -torch.einsum("bde,be->bd", vectors, quotient) * here.free
        reach = torch.einsum("bxyd,bd->bxy", here.features, step).abs().amax(dim=(-1, -2))
        step = step * (LONGEST_STEP / reach.clamp(min=LONGEST_STEP))[:, None]
        trial = here.value(at + step)
        rounding = ROUNDING * (1 + height.abs())
        accepted = trial <= height + torch.where(promised <= rounding, 4 * rounding, 0.0)
        at = torch.where(accepted[:, None], at + step, at)
        height = torch.where(accepted, trial, height)
        done = accepted & (promised <= rounding) & (damping <= 1e-3)
        damping = torch.where(accepted, damping / 10, damping.clamp(min=1e-12) * 8)
        damping = torch.where(damping < 1e-12, 0.0, damping)
        ended = (done | (damping > 1e10)).numpy()
        w[active], value[active] = at.numpy(), height.numpy()
        converged[active] = done.numpy()
        if ended.all():
            break
        if ended.mean() > 0.3:
            kept = torch.from_numpy(~ended)
            active, at, height, damping = active[~ended], at[kept], height[kept], damping[kept]
            here = batch()
    return w, value, converged
