"""Tensors that hold bounds in the place of numbers: a loss's own code, run on them, gives bounds of the loss.

`Enclosed` is given to a loss as log-probabilities. Every torch function that it meets there is replaced by the one of
`intervals`; one that has no such counterpart raises `Unknown`, and so nothing is said of the loss. Conditions on bounds
are known to be true, known to be false, or neither. What autograd is told beside the values (``detach``, a backward of
one's own) is of no account here: what is enclosed are the values, and their true slopes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...._types import Mask
from .jets import Jet


class Unknown(TypeError):
    """A function of tensors that bounds are not known for."""


class Answering(torch.Tensor):
    """A tensor of which only the functions of this module know what it is."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise Unknown(str(func))


class Enclosed(Answering):
    """Bounds of numbers, ``jet``, as a tensor of float64 of their shape."""

    jet: Jet

    @staticmethod
    def __new__(cls, jet: Jet) -> Enclosed:
        found = torch.Tensor._make_wrapper_subclass(cls, jet.shape, dtype=torch.float64)
        found.jet = jet
        return found


class Condition(Answering):
    """Where a condition is known to be true, ``yes``, and where it is known to be false, ``no``.

    margin: what is compared with 0, where it is that.
    """

    yes: Mask
    no: Mask
    margin: Jet | None

    @staticmethod
    def __new__(cls, yes: Mask, no: Mask, margin: Jet | None = None) -> Condition:
        found = torch.Tensor._make_wrapper_subclass(cls, np.shape(yes), dtype=torch.bool)
        found.yes, found.no, found.margin = yes, no, margin
        return found

    def __invert__(self) -> Condition:
        return Condition(self.no, self.yes, self.margin)

    def __bool__(self) -> bool:
        return decided(self)


SHAPES = {"size", "dim", "numel", "is_floating_point", "is_complex", "ndimension", "__len__", "is_nested"}
"""Methods that ask for nothing but shape and type."""

GETTERS = {"shape", "ndim", "dtype", "device", "layout", "is_sparse", "is_nested", "itemsize"}

SAME = {"detach", "clone", "contiguous", "double", "positive", "view_as", "expand_as"}

FILLED = {"zeros_like": 0.0, "ones_like": 1.0, "new_zeros": 0.0, "new_ones": 1.0}


def _called(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = getattr(func, "__name__", str(func))
    if name == "__get__":
        name = getattr(func.__self__, "__name__", "")
        if name == "requires_grad":
            return False
        if name in GETTERS:
            return _as_tensor(func, args, kwargs)
        raise Unknown(f"{name} of a tensor")
    if name in SHAPES:
        return _as_tensor(func, args, kwargs)
    if name.endswith("_") and not name.endswith("__"):
        raise Unknown(f"{name}, which changes its argument")
    plain = name.strip("_")
    if plain in SAME and (plain[-3:] != "_as" or args[0].shape == args[1].shape):
        return args[0]
    if plain == "to" or plain == "type":
        return _converted(args, kwargs)
    if plain in FILLED and (plain.endswith("_like") or args[1:]):
        shape = args[0].shape if plain.endswith("_like") else args[1]
        return torch.full(tuple(np.atleast_1d(shape)), FILLED[plain], dtype=torch.float64)
    if plain == "full_like":
        return torch.full(tuple(args[0].shape), float(args[1]), dtype=torch.float64)
    if plain in ("new_tensor", "asarray", "as_tensor"):
        value = args[1] if plain == "new_tensor" else args[0]
        return value if isinstance(value, Enclosed) else torch.as_tensor(value, dtype=torch.float64)
    from .operations import FUNCTIONS  # which are made of these tensors

    known = FUNCTIONS.get(plain)
    if known is None or any(
        not (name in PASSED and value == PASSED[name]) for name, value in kwargs.items() if name not in NAMED
    ):
        raise Unknown(f"{name}{f' with {sorted(kwargs)}' if kwargs else ''}")
    named = {name: value for name, value in kwargs.items() if name in NAMED}
    return known(*args, **named)


NAMED = {"min", "max", "input", "other", "condition", "exponent", "threshold", "beta", "alpha"}
PASSED: dict[str, Any] = {"rounding_mode": None, "out": None, "inplace": False}


def _as_tensor(func: Any, args: Any, kwargs: Any) -> Any:
    with torch._C.DisableTorchFunctionSubclass():
        return func(*args, **kwargs)


def _converted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    kinds = [x for x in (*args[1:], *kwargs.values()) if isinstance(x, torch.dtype)]
    others = [x for x in args[1:] if isinstance(x, torch.Tensor)]
    if any(kind != torch.float64 for kind in [*kinds, *(x.dtype for x in others)]):
        raise Unknown("a tensor of less than float64")
    return args[0]


def lift(x: Any) -> Jet:
    """The bounds of anything that a loss may put into a formula.

    Raises:
        Unknown: it is no number.
    """
    if isinstance(x, Enclosed):
        return x.jet
    if isinstance(x, Condition):
        if not np.all(x.yes | x.no):
            raise Unknown("arithmetic with a condition that is not known")
        return Jet.constant(np.where(x.yes, 1.0, 0.0))
    if isinstance(x, torch.Tensor):
        if x.dtype not in (torch.float64, torch.int64, torch.int32, torch.bool) and x.ndim:
            raise Unknown("a tensor of less than float64")
        return Jet.constant(x.detach().double().numpy())
    if isinstance(x, (int, float, np.ndarray, np.generic)):
        return Jet.constant(np.asarray(x, dtype=np.float64))
    raise Unknown(f"arithmetic with {type(x).__name__}")


def decided(x: Condition) -> bool:
    """Whether a condition is true everywhere.

    Raises:
        Unknown: that is not known.
    """
    if np.all(x.yes):
        return True
    if np.any(x.no):
        return False
    raise Unknown("a condition that is not known")
