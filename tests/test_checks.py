"""What is said of arguments, word for word, and what is let through."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import expo_analysis as ea
from expo_analysis import _checks as checks
from expo_analysis.losses import base

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "option": (
        lambda: checks.check_option("schedule", "step", ("constant", "linear")),
        "schedule must be one of ['constant', 'linear'], got 'step'",
    ),
    "misspelt option": (
        lambda: checks.check_option("schedule", "constnat", ("constant", "linear")),
        "schedule must be one of ['constant', 'linear'], got 'constnat'; did you mean 'constant'?",
    ),
    "option of another type": (
        lambda: checks.check_option("prefixes", 3, (None, "own")),
        "prefixes must be one of [None, 'own'], got 3",
    ),
    "whole: fraction": (lambda: checks.check_whole("seed", 1.5), "seed must be a whole number of at least 0, got 1.5"),
    "whole: float": (lambda: checks.check_whole("seed", 1.0), "seed must be a whole number of at least 0, got 1.0"),
    "whole: bool": (lambda: checks.check_whole("seed", True), "seed must be a whole number of at least 0, got True"),
    "whole: small": (lambda: checks.check_whole("count", 0, 1), "count must be a whole number of at least 1, got 0"),
    "number: text": (lambda: checks.check_number("x", "1"), "x must be a finite number, got '1'"),
    "number: bool": (lambda: checks.check_number("x", True), "x must be a finite number, got True"),
    "number: nan": (lambda: checks.check_number("x", math.nan), "x must be a finite number, got nan"),
    "number: inf": (lambda: checks.check_number("x", math.inf, 0.0), "x must be a finite number above 0, got inf"),
    "number: low": (lambda: checks.check_number("lr", 0.0, 0.0), "lr must be a finite number above 0, got 0.0"),
    "number: below low": (
        lambda: checks.check_number("decay", -1, 0.0, low_too=True),
        "decay must be a finite number of at least 0, got -1",
    ),
    "number: open": (lambda: checks.check_number("x", 1.0, 0.0, 1.0), "x must be a number in (0, 1), got 1.0"),
    "number: left": (
        lambda: checks.check_number("betas", 1.0, 0.0, 1.0, low_too=True),
        "betas must be a number in [0, 1), got 1.0",
    ),
    "number: right": (
        lambda: checks.check_number("average", 0.0, 0.0, 1.0, high_too=True, kind="share"),
        "average must be a share in (0, 1], got 0.0",
    ),
    "number: closed": (
        lambda: checks.check_number("noise", 0.6, 0, 0.5, low_too=True, high_too=True, kind="probability"),
        "noise must be a probability from 0 to 0.5, got 0.6",
    ),
    "shape": (
        lambda: checks.check_shape("q", np.zeros((2, 3)), (2, 2), (4, 2, 2)),
        "q must have shape (2, 2) or (4, 2, 2), got (2, 3)",
    ),
    "array: text": (lambda: checks.as_floats("x", "many"), "x must be an array of numbers, got 'many'"),
    "array: long": (
        lambda: checks.as_floats("x", [[1.0], list(range(1000))]),
        "x must be an array of numbers, got [[1.0], [0, 1, 2, 3, 4, 5, ...]]",
    ),
    "array: complex": (lambda: checks.as_floats("x", [1j]), "x must be an array of numbers, got [1j]"),
    "array: dates": (
        lambda: checks.as_floats("x", np.array(["2026-01-01"], dtype="datetime64[D]")),
        "x must be an array of numbers, got array(['2026-...atetime64[D]')",
    ),
    "policy: few": (
        lambda: checks.check_policy("pi", [1.0], least=2),
        "pi must have at least two responses, got shape (1,)",
    ),
}
"""What is called, and what it says; the rest of policies' messages is in test_bandit.py."""


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_one_sentence_word_for_word(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message


def test_examples() -> None:
    found = doctest.testmod(checks)
    assert found.attempted >= 1 and not found.failed


def test_what_is_accepted_passes() -> None:
    checks.check_option("x", None, (None, "a"))
    for value in (0, 7, np.int64(7), 10**400):
        checks.check_whole("x", value)
    for value in (-1e308, 0, 0.5, np.float64(0.5), 5e-324):
        checks.check_number("x", value)
    for low_too, high_too in ((True, True), (True, False), (False, True)):
        checks.check_number("x", 0.0 if low_too else 1.0, 0.0, 1.0, low_too=low_too, high_too=high_too)
    checks.check_shape("x", torch.zeros(2, 3), (2, 3))


def test_a_whole_number_of_400_digits_is_no_finite_number() -> None:
    """math.isfinite would raise an OverflowError."""
    with pytest.raises(ValueError, match="x must be a finite number above 0, got 1000"):
        checks.check_number("x", 10**400, 0.0)
    with pytest.raises(ValueError, match="desirable_weight must be a finite number above 0"):
        ea.KTO(0.1, desirable_weight=10**400)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.floats(), st.booleans(), st.booleans())
def test_a_number_is_refused_just_where_it_is_outside(
    low: float, high: float, value: float, low_too: bool, high_too: bool
) -> None:
    inside = math.isfinite(value) and (low < value or (low_too and value == low))
    inside = inside and (value < high or (high_too and value == high))
    try:
        checks.check_number("x", value, low, high, low_too=low_too, high_too=high_too)
    except ValueError:
        assert not inside
    else:
        assert inside


def test_arrays_of_whatever_holds_numbers() -> None:
    """A copy each time: nothing of the caller's is written to."""
    for given_ in (
        [1, 2],
        (1.0, 2.0),
        np.array([1, 2], dtype=np.uint8),
        torch.tensor([1, 2]),
        [Fraction(1), Decimal(2)],
        np.array([1, 2], dtype=object),
        np.array([False, True]) + 1,
        memoryview(np.array([1.0, 2.0])),
    ):
        found = checks.as_floats("x", given_)
        assert found.dtype == np.float64 and found.tolist() == [1.0, 2.0]
    mine = np.array([1.0, 2.0])
    checks.as_floats("x", mine)[0] = 9.0
    assert mine[0] == 1.0


def test_the_first_bad_entry_is_named() -> None:
    array = np.arange(8.0).reshape(2, 2, 2)
    assert checks.first_where(array, array > 4) == "5.0 at index (1, 0, 1)"
    assert checks.first_where(array[0, 0], array[0, 0] > 0) == "1.0 at index 1"


def test_there_is_one_set() -> None:
    """Where losses and old code look for them stand the same functions."""
    from expo_analysis import _array, bandit

    for name in ("check_number", "check_option", "check_whole", "check_same_shape"):
        assert getattr(base, name) is getattr(checks, name)
    assert _array.check_same_shape is checks.check_same_shape
    assert bandit.check_policy is checks.check_policy and bandit.SUM_TOLERANCE is checks.SUM_TOLERANCE


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logp_l": np.zeros(3)}, ValueError, r"logp_l must have the shape of logp_w, \(2,\); got \(3,\)"),
        (
            {"logp_l": np.zeros(2, dtype=np.float32)},
            TypeError,
            "logp_l must have the dtype of logp_w, float64; got float32",
        ),
        ({"logp_w": np.zeros(2, dtype=int)}, TypeError, "logp_w must hold floats, got dtype int64"),
        ({"logp_w": [0.0, 0.0]}, TypeError, "logp_w must be a numpy array or a torch tensor, got list"),
        ({"logp_l": torch.zeros(2)}, TypeError, "Multiple namespaces"),
    ],
)
def test_same_shape(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        checks.check_same_shape(**{"logp_w": np.zeros(2), "logp_l": np.zeros(2)} | change)
