"""Losses of the reference-relative log-ratio that are not convex in it: EXO and DiscoPOP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ..._checks import check_number
from ..._symbols import Symbol
from ..base import PairObjective
from ..psi import BernoulliKL, Modulated
from ..statistics import hbar
from ..terms import Sum


@dataclass(frozen=True)
class EXO(PairObjective):
    r"""EXO on pairs: the reverse KL((q, 1-q) || (1-eps, eps)), q = sigma(lam hbar). TRL: ``"exo_pair"``.

    Args:
        label_smoothing: eps in (0, 1/2); the paper recommends 1e-3. At 0 the loss would be infinite.

    psi is least where q = 1 - eps and bounded on both sides: quasi-convex, not convex. Where a pair is ranked badly its
    gradient fades. (`EXPO` is another method.)

    Source: Ji et al. 2024 (arXiv 2402.00856), eq. 16, with beta_pi = lam.
    """

    label_smoothing: float = 1e-3
    name: ClassVar[str] = "exo"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("label_smoothing", self.label_smoothing, 0.0, 0.5)

    @property
    def terms(self) -> Sum:
        odds: Any = (1 - self.label_smoothing) / self.label_smoothing
        goal = odds.of("log") if isinstance(odds, Symbol) else math.log(odds)
        return BernoulliKL(goal)(self.lam * hbar)


@dataclass(frozen=True)
class DiscoPOP(PairObjective):
    r"""The log-ratio modulated loss that a language model discovered. TRL: ``"discopop"``.

    (1 - sigma(m/tau)) (-log sigma(m)) + sigma(m/tau) exp(-m),  m = lam hbar: logistic for pairs ranked badly,
    exponential for those ranked well. Not convex in the margin at the paper's tau.

    Args:
        tau: > 0, the width of the change between the two; the paper's is 0.05.

    Source: Lu et al. 2024 (arXiv 2406.08414), eq. 5, with beta = lam.
    """

    tau: float = 0.05
    name: ClassVar[str] = "discopop"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("tau", self.tau, 0.0)

    @property
    def terms(self) -> Sum:
        return Modulated(self.tau)(self.lam * hbar)
