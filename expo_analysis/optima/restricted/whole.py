r"""Features that hold every policy: then the optimum is that over all policies, with its own proof, and only w is new.

That is so without decay if the features, less those of one response on each prompt, have full rank over all prompts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ..._types import Floats
from ..certificate import UNIT
from ..solution import Path
from .arguments import LogLinearClass

WELL_CONDITIONED = 1e-6
"""The least singular value, of rows and columns scaled to one, relative to the largest."""


@dataclass(frozen=True, eq=False)
class WholeClass:
    """w from a policy: pseudo-inverse (d, prompts (n-1)) of what w does to logits less that of response 0."""

    restricted: LogLinearClass
    inverse: Annotated[Floats, "d rows"]

    @classmethod
    def of(cls, restricted: LogLinearClass, shares: Floats) -> WholeClass | None:
        """None where the features do not hold all policies, or hardly."""
        prompts, n, d = restricted.features.shape
        if restricted.decay > 0 or d < prompts * (n - 1) or not (shares > 0).all():
            return None
        rows = (restricted.features[:, 1:] - restricted.features[:, :1]).reshape(-1, d)
        lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
        if not (lengths > 0).all():
            return None
        u, values, v = np.linalg.svd(rows / lengths, full_matrices=False)
        if values[-1] < WELL_CONDITIONED * values[0]:
            return None
        return cls(restricted, (v.T / values) @ u.T / lengths.T)

    def described(self, path: Path, shares: Floats) -> Path:
        """Optima over all policies, with their w."""
        prompts, n, _ = self.restricted.features.shape
        log_policies = path.log_policies.reshape(-1, prompts, n)
        weights, bounds = self.weights(log_policies, np.asarray(path.error_bound).reshape(-1, prompts))
        total = np.asarray(path.value).reshape(-1, prompts) @ shares
        nothing = np.full_like(weights, np.nan)
        return dataclasses.replace(path, weights=weights, weight_bounds=bounds, total=total, direction=nothing)

    def weights(self, log_policy: Floats, bound: Floats) -> tuple[Floats, Floats]:
        """w of the least norm, (..., d), and bounds, from log pi (..., prompts, n) and 1-norm bounds (..., prompts)."""
        moved = log_policy - self.restricted.base
        moved = (moved[..., 1:] - moved[..., :1]).reshape(*moved.shape[:-2], -1)
        policy = np.exp(log_policy)
        size = np.abs(log_policy) + np.abs(self.restricted.base)
        with np.errstate(
            invalid="ignore", divide="ignore"
        ):  # a probability known to e has a logarithm known to e/(pi - e)
            off = bound[..., None] / np.maximum(policy - bound[..., None], 0.0) + 2 * UNIT * size
            each = (off[..., 1:] + off[..., :1]).reshape(moved.shape)
            bounds = each @ np.abs(self.inverse).T * (1 + 1e-9)
        weights = moved @ self.inverse.T
        bounds = bounds + 64 * UNIT * moved.shape[-1] * (np.abs(moved) @ np.abs(self.inverse).T)
        return weights, np.where(np.isfinite(bounds), bounds, np.nan)
