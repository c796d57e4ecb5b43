"""The former name of `expo_analysis.numerics`, for code that still imports from here."""

from ._checks import check_same_shape
from .numerics import (
    Array,
    cap_exponent,
    exp,
    exp_expm1,
    expm1,
    hinge,
    log_odds,
    log_sigmoid,
    log_sigmoids,
    namespace,
    rise_and_fall,
    sigmoid,
    softplus,
)

__all__ = [
    "Array",
    "cap_exponent",
    "check_same_shape",
    "exp",
    "exp_expm1",
    "expm1",
    "hinge",
    "log_odds",
    "log_sigmoid",
    "log_sigmoids",
    "namespace",
    "rise_and_fall",
    "sigmoid",
    "softplus",
]
