"""Losses of MLX arrays as torch functions with derivatives. MLX runs on the processors of Linux too: ``mlx[cpu]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .implementation import Pairs

PRECISION = "MLX computes exp and its kin in single precision, in float64 too."


def through_mlx(f: Callable[..., Any], p: Pairs, names: tuple[str, ...]) -> torch.Tensor:
    """f of the batches of one that the pairs are, in float64: losses (pairs,).

    Args:
        f: a function of `Pairs` of MLX arrays (1,) that returns one number.
        names: of the attributes of ``p`` that it reads.
    """
    import mlx.core as mx

    def losses(*arrays: Any) -> Any:
        rows = range(len(arrays[0]))
        alone = ({name: array[row : row + 1] for name, array in zip(names, arrays, strict=True)} for row in rows)
        empty = dict.fromkeys(("w", "l", "ref_w", "ref_l"))
        return mx.stack([f(Pairs(**(empty | one))).reshape(()) for one in alone])

    return _as_torch(losses)(*(getattr(p, name) for name in names))


def _as_torch(f: Callable[..., Any]) -> Callable[..., torch.Tensor]:
    """A function of arrays (pairs,), pair by pair; as in JAX, its derivatives are functions of the same kind."""
    import mlx.core as mx

    class Elementwise(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(*tensors)
            with mx.stream(mx.cpu):
                values = f(*(mx.array(t.detach().numpy(), dtype=mx.float64) for t in tensors))
                mx.eval(values)
            return torch.from_numpy(np.array(values)).to(tensors[0].dtype)

        @staticmethod
        def backward(ctx: Any, *weights: Any) -> Any:
            (weight,), tensors = weights, ctx.saved_tensors
            return tuple(
                weight * slope(k)(*tensors) if needed else None for k, needed in enumerate(ctx.needs_input_grad)
            )

    def slope(k: int) -> Callable[..., torch.Tensor]:
        return _as_torch(mx.grad(lambda *arrays: f(*arrays).sum(), argnums=k))

    return lambda *tensors: Elementwise.apply(*tensors)
