"""Are all ways to call a loss one loss? Solvers give ``pair_loss`` tensors; users call ``loss``, also with arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..._types import Floats
from ...losses import PairObjective
from ...losses.data import LOG_PROBABILITIES
from .points import LAMS, SHAPE, pairs_to_try

CALLS = ("loss", "one_per_pair")
"""What a subclass may write anew, and better does not: both call ``pair_loss``."""


def other_lambda(objective: PairObjective) -> str:
    """What is wrong with ``with_lam``; empty where nothing is."""
    other = objective.with_lam(2.0)
    if type(other) is type(objective) and np.ndim(other.lam) == 0 and float(other.lam) == 2.0:
        return ""
    found = f"lambda {other.lam!r}" if type(other) is type(objective) else f"a {type(other).__name__}"
    return f"with_lam(2.0) does not give it at lambda 2, but {found}"


def overridden(objective: PairObjective, points: list[torch.Tensor]) -> str:
    """Whether a ``loss`` of its own gives other numbers than its ``pair_loss``, in words; empty for not."""
    written = [call for call in CALLS if getattr(type(objective), call) is not getattr(PairObjective, call)]
    if not written:
        return ""
    inner = objective.pair_loss(*points)
    data = dict(zip(objective.data, points[len(LOG_PROBABILITIES) :], strict=True))
    outer: Any = objective.loss(*points[: len(LOG_PROBABILITIES)], **data)
    if tuple(outer.shape) == tuple(inner.shape) and torch.allclose(outer, inner, rtol=1e-12, atol=1e-12):
        return ""
    return (
        f"it overrides {written[0]}, which gives other numbers than its pair_loss: the formula belongs into pair_loss "
        "(or terms), which loss calls"
    )


def numpy_differs(objective: PairObjective, lams: Floats) -> str:
    """Whether it gives other numbers for numpy arrays than for torch tensors, in words; empty for not.

    One that takes no arrays is fine: everything here computes its values with tensors.
    """
    points = pairs_to_try(objective, SHAPE[0])
    for lam in lams:
        own = objective.with_lam(float(lam))
        ours = own.pair_loss(*points).detach().numpy()
        try:
            with np.errstate(all="ignore"):
                theirs = np.asarray(own.pair_loss(*(x.numpy().copy() for x in points)))
        except Exception:
            return ""
        if theirs.shape != ours.shape:
            return f"it returns shape {theirs.shape} for numpy arrays of shape {ours.shape}, unlike for torch tensors"
        size = np.abs(ours) + np.abs(theirs) + 1e-3
        off = np.abs(theirs - ours) > 1e-9 * size
        if off.any():
            k = np.unravel_index(int(np.argmax(np.where(off, np.abs(theirs - ours) / size, 0.0))), off.shape)
            return (
                f"it gives other numbers for numpy arrays than for torch tensors, {theirs[k]:.6g} for {ours[k]:.6g} "
                f"at lambda = {lam:g}: verdicts are of the latter"
            )
    return ""


def undefined_on_two(own: PairObjective) -> str:
    """What it is where pi_w + pi_l = 1, if that is no number; empty where it is one."""
    x = torch.linspace(-5.0, 5.0, 41, dtype=torch.float64) + 0.0123
    ends = [torch.nn.functional.logsigmoid(sign * x) for sign in (1.0, -1.0)]
    rest = [torch.full_like(x, 1.0) if "logp" not in name else ends[0] for name in own.data]
    found = own.pair_loss(*ends, *(torch.full_like(x, np.log(0.5)) for _ in range(2)), *rest)
    if torch.isfinite(found).all():
        return ""
    what = "NaN" if found.isnan().any() else "infinite"
    return f"it is {what} where pi_w + pi_l = 1, as with two responses (it seems to read 1 - pi_w - pi_l)"


def arrays_refused(objective: PairObjective, lams: Floats) -> str:
    """What does not accept an array of lambdas, with what single lambdas give: the loss, or what is said of it."""
    points = pairs_to_try(objective, SHAPE[0])
    try:
        together = objective.with_lam(torch.tensor(lams)).pair_loss(*points)
        alone = [objective.with_lam(float(lam)).pair_loss(*points)[:, k] for k, lam in enumerate(lams)]
        if not (together.shape == SHAPE and torch.allclose(together, torch.stack(alone, 1), rtol=1e-9, equal_nan=True)):
            return "it"
    except Exception:
        return "it"
    return next((name for name in ("regulariser", "claims", "ratio_slopes") if _refuses(objective, lams, name)), "")


def _refuses(objective: PairObjective, lams: Floats, name: str) -> bool:
    """Whether a property raises for an array of lambdas, though it does not for single ones."""

    def read(lam: Any) -> Any:
        found = getattr(objective.with_lam(lam), name)
        return found() if callable(found) and name == "ratio_slopes" else found

    for lam in lams:
        read(float(lam))
    try:
        read(np.array(lams))
    except Exception:
        return True
    return False


def couples(objective: PairObjective) -> bool:
    """Whether the loss of a pair depends on the pairs that it is computed with, at any lambda, as far as was tried.

    Each of a batch of pairs, plain and unlikely ones, is computed alone as well. One that returns anything but a loss
    per pair couples none: it is broken, and told so elsewhere.
    """
    rng = np.random.default_rng(8)
    for k, lam in enumerate(LAMS):
        own = objective.with_lam(float(lam))
        order = rng.permutation(SHAPE[0] * SHAPE[1])
        points = [x.reshape(-1)[order] for x in pairs_to_try(objective, SHAPE[0], k)]
        together = own.pair_loss(*points)
        if getattr(together, "shape", None) != points[0].shape:
            return False
        alone = torch.cat([own.pair_loss(*(x[[i]] for x in points)) for i in range(len(together))])
        if not torch.allclose(together, alone, rtol=1e-12, atol=1e-12, equal_nan=True):
            return True
    return False
