"""Another processor, made on this one: the same arithmetic with other last bits.

`perturbed` multiplies what each step of training gives, and what numpy's functions give that processors compute in ways
of their own (exp, log, matrix products, linear equations), by 1 + a few ulp, at random. `noise` says what that changes
in the tables of a study: ``python -m tests.other_processor NAME [SETTING=VALUE ...]`` prints it by table, and the
digits that survive (`expo_analysis._rounding`).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch

from expo_analysis import _rounding
from expo_analysis.simulators import training
from expo_analysis.studies import STUDIES
from expo_analysis.studies.settings import changed, read_changes

ULPS = 1
"""How far, at most, a result is off, as an honest exp is; after every step, for thousands of steps."""
LINEAR = ("solve", "inv", "pinv", "eigh", "qr", "svd", "lstsq")
FUNCTIONS = {np: ("exp", "log", "log1p", "expm1", "einsum"), np.linalg: LINEAR}
EPS = float(np.finfo(np.float64).eps)


class Off:
    """A function whose results have other last bits; its methods, such as a ufunc's ``reduce``, are as they are."""

    def __init__(self, function: Callable[..., Any], rng: np.random.Generator, ulps: float = ULPS) -> None:
        self.function, self.rng, self.ulps = function, rng, ulps

    def __getattr__(self, name: str) -> Any:
        return getattr(self.function, name)

    def __call__(self, *args: Any, **given: Any) -> Any:
        found = self.function(*args, **given)
        if "out" in given:
            return found
        if isinstance(found, tuple):  # what a matrix is factored into
            moved = map(self._moved, found)
            return type(found)(*moved) if hasattr(found, "_fields") else tuple(moved)
        return self._moved(found)

    def _moved(self, found: Any) -> Any:
        if not isinstance(found, np.ndarray | float) or np.result_type(found) != np.float64:
            return found
        return found * (1 + EPS * self.ulps * self.rng.uniform(-1, 1, np.shape(found)))


@contextlib.contextmanager
def perturbed(seed: int, ulps: float = ULPS) -> Iterator[None]:
    """Other last bits, for as long as the context lasts; with more ulps worse ones than any processor has."""
    rng, drawn = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    real = training.recorded

    def moved(x: torch.Tensor) -> torch.Tensor:
        return x * (1 + EPS * ulps * (2 * torch.rand(x.shape, generator=drawn, dtype=x.dtype) - 1))

    def recorded(step: Callable[..., Any], example: tuple[Any, ...]) -> Callable[..., Any]:
        replay = real(step, example)

        def other(*given: Any) -> Any:
            parameters, state = replay(*given)
            return moved(parameters), tuple(map(moved, state))

        return other

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(training, "recorded", recorded))
        for module, names in FUNCTIONS.items():
            for name in names:
                stack.enter_context(mock.patch.object(module, name, Off(getattr(module, name), rng, ulps)))
        yield


@contextlib.contextmanager
def unrounded() -> Iterator[None]:
    """Studies that write every bit."""
    with mock.patch.object(_rounding, "rounded", lambda table, *_, **__: table):
        yield


@contextlib.contextmanager
def also_unrounded() -> Iterator[list[pd.DataFrame]]:
    """Studies that write what they always write; and the tables as they were before, in their order."""
    real, every = _rounding.rounded, list[pd.DataFrame]()

    def kept(table: pd.DataFrame, *given: Any, **named: Any) -> pd.DataFrame:
        every.append(table)
        return real(table, *given, **named)

    with mock.patch.object(_rounding, "rounded", kept):
        yield every


def half_a_unit(table: pd.DataFrame) -> float:
    """What rounding changes at most of a number below 1 in a table that training made."""
    digits = _rounding.surviving(_rounding.TRAINED, table.select_dtypes("float").size)
    return 0.5 * 10.0 ** -min(_rounding.DIGITS, digits)


def noise(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """The largest difference of two tables' numbers in parts of what is written of them.

    A number is written to `_rounding.DIGITS` digits and `_rounding.DECIMALS` decimals: small ones may be off by more.
    """
    worst = 0.0
    for column in one.select_dtypes("float"):
        x, y = one[column].to_numpy(), other[column].to_numpy()
        np.testing.assert_array_equal(np.isfinite(x), np.isfinite(y))
        kept = np.isfinite(x)
        least = 10.0 ** (_rounding.DIGITS - _rounding.DECIMALS)
        worst = max(worst, float((np.abs(x - y)[kept] / np.maximum(np.abs(x[kept]), least)).max(initial=0.0)))
    return worst


def main() -> None:
    """Print the noise of a study."""
    study = STUDIES[sys.argv[1]]
    settings = changed(study.settings(), read_changes(sys.argv[2:]))
    with unrounded():
        one = study.run(settings)
        with perturbed(1):
            other = study.run(settings)
    for name, table in one.items():
        size, found = table.select_dtypes("float").size, noise(table, other[name])
        digits = _rounding.surviving(found, size) if found else "all"
        print(f"{name:28} {size:6} numbers, noise {found:.1e}: {digits} digits")


if __name__ == "__main__":
    main()
