"""The elementwise functions against 60 digits, at their ends, and in what they accept."""

from __future__ import annotations

import doctest
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from expo_analysis import numerics

from .definitions import digits, sigma, softplus

CAP = {"float32": 56.7228, "float64": 677.7827}
"""log of the largest float, less 32."""


@dataclass(frozen=True)
class Case:
    """A function, its formula and its derivative in high precision, and where floats are to follow them."""

    of: Callable[[Any], Any]
    value: Callable[[mp.mpf], mp.mpf]
    slope: Callable[[mp.mpf], mp.mpf]
    low: float
    high: float


CASES = {
    "exp": Case(numerics.exp, mp.exp, mp.exp, -80, 56),
    "expm1": Case(numerics.expm1, mp.expm1, mp.exp, -80, 56),
    "sigmoid": Case(numerics.sigmoid, sigma, lambda x: sigma(x) * sigma(-x), -80, 80),
    "log_sigmoid": Case(numerics.log_sigmoid, lambda x: -softplus(-x), lambda x: sigma(-x), -1e30, 80),
    "softplus": Case(numerics.softplus, softplus, sigma, -80, 1e30),
    "hinge": Case(numerics.hinge, lambda x: max(x, mp.mpf(0)), lambda x: mp.mpf(x > 0), -1e30, 1e30),
    "log_odds": Case(numerics.log_odds, lambda x: x - mp.log(-mp.expm1(x)), lambda x: -1 / mp.expm1(x), -1e30, -1e-12),
}

each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
kinds = pytest.mark.parametrize("library", ["numpy", "torch"])
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def array(values: Any, dtype: str, library: str) -> Any:
    found = np.array(values, dtype=dtype)
    return torch.from_numpy(found) if library == "torch" else found


def points(low: float, high: float) -> np.ndarray:
    """Dense around 0 and in the middle, and out to both ends by powers of ten."""
    far = 10.0 ** np.arange(-12, 31)
    near = np.linspace(-90, 90, 721)
    x = np.unique(np.concatenate([-far, far, near, [0.0, low, high]]))
    return x[(x >= low) & (x <= high)]


def errors(found: Any, expected: list[mp.mpf], dtype: str) -> np.ndarray:
    """Of each number, relative, in units of the last place; absolute where a float is as small as floats get."""
    info = np.finfo(dtype)
    with digits:
        return np.array(
            [
                float(abs(mp.mpf(float(f)) - e) / max(abs(e), mp.mpf(float(info.tiny))) / mp.mpf(float(info.eps)))
                for f, e in zip(found, expected, strict=True)
            ]
        )


@each
@kinds
@dtypes
def test_values_to_the_last_places(case: Case, library: str, dtype: str) -> None:
    x = array(points(case.low, case.high), dtype, library)
    found = case.of(x)
    assert type(found) is type(x) and found.dtype == x.dtype and found.shape == x.shape
    with digits:
        expected = [case.value(mp.mpf(float(one))) for one in x]
    assert errors(found, expected, dtype).max() <= 4


@each
@dtypes
def test_derivatives_to_the_last_places(case: Case, dtype: str) -> None:
    x = array(points(case.low, case.high), dtype, "torch").requires_grad_()
    (found,) = torch.autograd.grad(case.of(x).sum(), x, create_graph=True)
    with digits:
        expected = [case.slope(mp.mpf(float(one))) for one in x.detach()]
    # torch takes sigma(x) sigma(-x) as s (1 - s), which loses s's last places on the right; log_odds divides twice
    worst = errors(found.detach(), expected, dtype)[x.detach().numpy() < 0.5].max()
    assert worst <= 8
    if found.requires_grad:  # the hinge has none
        (bend,) = torch.autograd.grad(found.sum(), x)
        assert torch.isfinite(bend).all()


@each
@kinds
@given(x=st.floats(-1e3, 1e3))
@example(x=0.0)
def test_values_at_random(case: Case, library: str, x: float) -> None:
    x = min(max(x, case.low), case.high)
    found = case.of(array([x], "float64", library))
    with digits:
        assert errors(found, [case.value(mp.mpf(x))], "float64")[0] <= 4


@dtypes
@kinds
def test_what_would_overflow_saturates_and_still_pulls(library: str, dtype: str) -> None:
    """Beyond the cap exp has the value of the cap, and its derivative is the value."""
    cap = CAP[dtype]
    x = array([cap - 1, cap + 1, 1e4, 1e30, math.inf], dtype, library)
    assert np.asarray(numerics.cap_exponent(x)) == pytest.approx([cap - 1, *[cap] * 4], rel=1e-5)
    assert np.asarray(numerics.cap_exponent(x, power=2)) == pytest.approx([cap / 2] * 5, rel=1e-5)
    for function in (numerics.exp, numerics.expm1):
        found = np.asarray(function(x))
        assert np.log(found) == pytest.approx([cap - 1, *[cap] * 4], rel=1e-4)
        assert (found < np.finfo(dtype).max * 1e-13).all()  # room to multiply
    if library == "torch":
        finite = x[:4].clone().requires_grad_()
        for function in (numerics.exp, numerics.expm1):
            value = function(finite)
            (slope,) = torch.autograd.grad(value.sum(), finite, create_graph=True)
            assert slope.detach().numpy() == pytest.approx(value.detach().numpy(), rel=1e-5)
            (bend,) = torch.autograd.grad(slope.sum(), finite)
            assert bend.numpy() == pytest.approx(value.detach().numpy(), rel=1e-5)


@dtypes
@kinds
def test_infinities_and_nan(library: str, dtype: str) -> None:
    ends = array([-math.inf, math.inf, math.nan], dtype, library)
    top = math.exp(CAP[dtype])
    expected = {
        "exp": [0, top],
        "expm1": [-1, top],
        "sigmoid": [0, 1],
        "log_sigmoid": [-math.inf, 0],
        "softplus": [0, math.inf],
        "hinge": [0, math.inf],
    }
    for name, values in expected.items():
        found = np.asarray(CASES[name].of(ends))
        assert found[:2] == pytest.approx(values, rel=1e-3), name
        assert math.isnan(found[2]), name


@kinds
def test_a_certain_response_has_finite_odds(library: str) -> None:
    """p counts as 1 - e^-338.9 at most in float64: half of log(largest) - 32; and p = 0 has no odds at all."""
    for dtype, cap in CAP.items():
        p = array([0.0, -math.inf], dtype, library)
        found = np.asarray(numerics.log_odds(p))
        assert found[0] == pytest.approx(cap / 2, rel=1e-5)
        assert found[1] == -math.inf
    if library == "torch":  # the derivative there is that of the last p, and not zero
        p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(numerics.log_odds(p), p)
        assert math.log(slope.item()) == pytest.approx(CAP["float64"] / 2, rel=1e-5)


@given(scale=st.floats(-1400, 670), x=st.floats(-1400, 1400))
@example(scale=-1000.0, x=1000.0)
def test_exp_expm1_against_its_formula(scale: float, x: float) -> None:
    """As long as scale + max(x, 0) is below the cap, whatever each of them is."""
    x = min(x, 670 - scale)
    found = numerics.exp_expm1(np.array([scale]), np.array([x]))[0]
    with digits:
        expected = mp.exp(scale) * mp.expm1(x)
        # an exponent of several hundred is itself rounded: that many last places
        assert abs(found - expected) <= 4e-16 * (3 + abs(scale) + abs(x)) * abs(expected) + mp.mpf("1e-307")


@kinds
def test_log_sigmoids_are_both(library: str) -> None:
    x = array(np.linspace(-800, 800, 101), "float64", library)
    left, right = numerics.log_sigmoids(x)
    np.testing.assert_array_equal(np.asarray(left), np.asarray(numerics.log_sigmoid(x)))
    np.testing.assert_array_equal(np.asarray(right), np.asarray(numerics.log_sigmoid(-x)))


def test_rise_and_fall() -> None:
    x = torch.tensor([-3.0, 0.0, 2.0], requires_grad=True)
    rise, fall = numerics.rise_and_fall(x)
    assert rise.tolist() == [0, 0, 2] and fall.tolist() == [-3, 0, -2]
    assert torch.autograd.grad(rise.sum(), x)[0].tolist() == [0, 0, 1]
    assert torch.autograd.grad(fall.sum(), x)[0].tolist() == [1, 1, -1]


def test_the_hinge_is_flat_at_its_kink() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    assert torch.autograd.grad(numerics.hinge(x).sum(), x)[0].tolist() == [0, 0, 1]


@each
def test_python_numbers_count_as_float64(case: Case) -> None:
    for x in (-0.75, np.float64(-0.75), np.array(-0.75)):
        found = case.of(x)
        assert found.dtype == np.float64 and found.shape == ()
        assert float(found) == case.of(np.array([-0.75]))[0]
    assert case.of(np.float32(-0.75)).dtype == np.float32
    assert case.of(-1).dtype == np.float64


@each
@pytest.mark.parametrize(
    ("value", "got"),
    [
        (np.array([1, 2]), "dtype int64"),
        (torch.tensor([1, 2]), r"dtype torch\.int64"),
        (np.array([1j]), "dtype complex128"),
        (True, "bool"),
        ("1.0", "str"),
        ([0.5], "list"),
        (None, "NoneType"),
    ],
    ids=str,
)
def test_what_holds_no_floats_is_refused(case: Case, value: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"x must be a number, or a numpy array or torch tensor of floats; got {got}"):
        case.of(value)


def test_numpy_and_torch_are_not_mixed() -> None:
    with pytest.raises(TypeError, match="Multiple namespaces"):
        numerics.namespace(np.zeros(1), torch.zeros(1))
    assert numerics.namespace(torch.zeros(1)).__name__ == "array_api_compat.torch"


def test_examples() -> None:
    found = doctest.testmod(numerics)
    assert found.attempted >= 13 and not found.failed


def test_numpy_needs_neither_torch_nor_scipy() -> None:
    """Only sigmoid asks scipy, and only for numpy arrays; torch is known when the caller has loaded it."""
    program = (
        "import sys, numpy as np; from expo_analysis import numerics as f; x = np.array([-1.0, 2.0]);"
        "[g(-abs(x)) for g in (f.exp, f.expm1, f.log_sigmoid, f.softplus, f.hinge, f.log_odds)];"
        "print(sorted({'torch', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
