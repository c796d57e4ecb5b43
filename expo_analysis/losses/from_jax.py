"""A JAX function of arrays (pairs,) that returns (pairs,), pair by pair, as a torch function with derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def as_torch(f: Callable[..., Any]) -> Callable[..., torch.Tensor]:
    """f on tensors. As no pair depends on another, the derivative in an argument is a function of the same kind, so
    that torch can differentiate as often as it likes."""

    class Elementwise(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(*tensors)
            import jax

            with jax.enable_x64(True):
                values = f(*(jax.numpy.asarray(t.detach().numpy()) for t in tensors))
            return torch.from_numpy(np.array(values, dtype=np.float64)).to(tensors[0].dtype)

        @staticmethod
        def backward(ctx: Any, *weights: Any) -> Any:
            (weight,), tensors = weights, ctx.saved_tensors
            needed = ctx.needs_input_grad
            return tuple(weight * slope(k)(*tensors) if need else None for k, need in enumerate(needed))

    def slope(k: int) -> Callable[..., torch.Tensor]:
        import jax

        return as_torch(jax.grad(lambda *arrays: f(*arrays).sum(), argnums=k))

    return lambda *tensors: Elementwise.apply(*tensors)


def one_by_one(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function that reduces a batch to one number, as a function of arrays (pairs,) that returns (pairs,)."""
    import jax

    def alone(*values: Any) -> Any:
        return f(*(value.reshape(1) for value in values)).reshape(())

    def each(*arrays: Any) -> Any:
        try:  # all at once, where the function does nothing that depends on its values
            return jax.vmap(alone)(*arrays)
        except jax.errors.JAXTypeError:
            return jax.numpy.stack([alone(*pair) for pair in zip(*arrays, strict=True)])

    return each
