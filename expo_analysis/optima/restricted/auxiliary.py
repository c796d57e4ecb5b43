r"""Losses with auxiliary variables: lam log u is what they fit to the pairs, and w one step from the base towards it.

Beside w such a loss has a number delta(x, y) for every response: log(pi/pi_ref) + delta takes the place of
log(pi/pi_ref), pi in proportion to exp(base + F w). delta lies in the null space of the matrix A with columns
s_x pi_0(y|x) (F(x, y) - E_0 F(x, .)), s the prompts' shares and pi_0 the policy of the base. What w moves within a
prompt, F w less its mean, and the null space are all of it together: A F = M, with M = sum_x s_x Cov_0(F, F) invertible
unless a part of F moves no policy. So the least loss is that over all policies, theirs alone is F w + delta = g up to a
number for each prompt, g = log pi^ - base, pi^ the optimum over all policies, and

    w = M^-1 sum_x s_x Cov_0(F, g):

least squares of g on the features, in the weights of pi_0. For the base log pi_ref that is one natural gradient step
of E[lam log(pi^/pi_ref)], the reward that pi^ stands for, from pi_ref, of length 1/lam. [ours]
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.special import log_softmax

from ..._types import Floats, Indices
from ..certificate import UNIT
from ..solution import Path
from .arguments import LogLinearClass
from .optima import RestrictedOptima


@dataclass(frozen=True, eq=False)
class Steps:
    """w, bounds of its error, the policies, and bounds of theirs in 1-norm; nan where pi^ is not finite."""

    weights: Annotated[Floats, "batch d"]
    weight_bounds: Annotated[Floats, "batch d"]
    log_policy: Annotated[Floats, "batch prompts n"]
    bound: Annotated[Floats, "batch prompts"]

    @classmethod
    def towards(cls, log_policy: Floats, bound: Floats, features: Floats, base: Floats, shares: Floats) -> Steps:
        """From optima over all policies and their bounds.

        Args:
            log_policy: (batch, prompts, n). bound: (batch, prompts), in 1-norm. base: (..., prompts, n).
            features: (..., prompts, n, d). shares: (..., prompts).
        """
        finite = np.isfinite(log_policy).all(axis=(1, 2), keepdims=True)
        goal = np.where(finite, log_policy - base, np.nan)
        goal = goal - goal.mean(axis=2, keepdims=True)  # which changes nothing but rounding
        matrix = least_squares(features, base, shares)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            policy, error = np.exp(log_policy), bound[..., None]
            # a probability known to e has a logarithm known to e/(pi - e)
            off = error / np.maximum(policy - error, 0.0) + 4 * UNIT * (np.abs(log_policy) + np.abs(base))
            off = off + 64 * UNIT * goal[0].size * np.abs(goal)
            weights, bounds = (
                (m @ x.reshape(len(x), -1, 1))[..., 0] for m, x in ((matrix, goal), (np.abs(matrix), off))
            )
            logits, reach = (
                np.einsum("...xyd,...d->...xy", f, w) for f, w in ((features, weights), (np.abs(features), bounds))
            )
            logits = logits + base
            # d pi = pi (d theta - E d theta), and a mean distance from the mean is at most half the range
            policies = (reach + 8 * UNIT * np.abs(logits)).max(axis=2) + 8 * UNIT
        return cls(
            weights,
            np.where(np.isfinite(bounds), bounds, np.nan),
            log_softmax(logits, axis=-1),
            np.where(policies < 2, policies, np.nan),
        )


def least_squares(features: Floats, base: Floats, shares: Floats) -> Floats:
    """The matrix (..., d, prompts * n) that turns g into w."""
    *batch, prompts, n, d = features.shape
    start = np.exp(log_softmax(base, axis=-1))
    centred = features - (start[..., None] * features).sum(axis=-2, keepdims=True)
    rows = np.sqrt(shares[..., None] * start)  # scaled by these, least squares are plain
    scaled = (rows[..., None] * centred).reshape(*batch, prompts * n, d)
    return np.asarray(np.linalg.pinv(scaled) * rows.reshape(*batch, 1, prompts * n))


def refuse(restricted: LogLinearClass, shares: Floats, method: str, name: str) -> None:
    """Raise ValueError where the class or the method is none that auxiliary variables have a meaning for."""
    if restricted.decay > 0:
        raise ValueError(f"decay must be 0 for {name}, whose auxiliary variables have none, got {restricted.decay:g}")
    if method != "auto":
        raise ValueError(f"method must be 'auto' for {name} over restricted policies, got {method!r}")
    if not (shares > 0).all():
        raise ValueError(f"prompt_weights of the bandit must be positive for {name}: every prompt takes part in w")


def along_path(path: Path, restricted: LogLinearClass, shares: Floats) -> Path:
    """The optima over all policies, ``path``, as w and its policies.

    ``value`` and ``total`` are of the loss with its delta, and so those over all policies.
    """
    shape, (prompts, n, _) = path.log_policies.shape, restricted.features.shape
    found, bound = path.log_policies.reshape(-1, prompts, n), np.asarray(path.error_bound).reshape(-1, prompts)
    steps = Steps.towards(found, bound, restricted.features, restricted.base, shares)
    return dataclasses.replace(
        path,
        log_policies=steps.log_policy.reshape(shape),
        policies=np.exp(steps.log_policy).reshape(shape),
        error_bound=steps.bound.reshape(shape[:-1]),
        weights=steps.weights,
        weight_bounds=steps.weight_bounds,
        total=np.asarray(path.value).reshape(-1, prompts) @ shares,
        direction=np.full_like(steps.weights, np.nan),
    )


def of_batch(path: Path, row: Indices, features: Floats) -> RestrictedOptima:
    """Optima over all policies of B P prompts as `restricted_optima` has them: B problems of P prompts, from pi_ref.

    Args:
        row: (B,), which lambda of the path each problem has.
        features: (B, P, n, d).
    """
    batch, prompts, n, _ = features.shape
    shares = np.asarray(path.bandit.prompt_weights).reshape(batch, prompts)
    shares = shares / shares.sum(axis=1, keepdims=True)
    take = row, np.arange(batch)
    fields = (path.value, path.status, path.error_bound, path.certificate, path.message, path.iterations)
    value, status, bound, certificate, message, count = (
        np.asarray(x).reshape(-1, batch, prompts)[take] for x in fields
    )
    found = path.log_policies.reshape(-1, batch, prompts, n)[take]
    base = np.log(path.bandit.reference).reshape(found.shape)
    steps = Steps.towards(found, bound, features, base, shares)
    total, nothing = (value * shares).sum(axis=1), np.full_like(steps.weights, np.nan)
    own = (steps.log_policy, value, total, status, certificate, message[:, 0], steps.bound, steps.weight_bounds)
    return RestrictedOptima(steps.weights, *own, count.max(axis=1), nothing, np.ones(batch))
