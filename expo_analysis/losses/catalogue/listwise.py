"""Plackett and Luce's model: losses of rankings and of choices among several responses.

A ranking is a choice of its first response, of its second among the rest, and so on; each choice of c among S has the
loss -log(exp(s_c) / sum_{j in S} exp(s_j)). On pairs it is -log sigma(s_w - s_l).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...divergences import Divergence, ForwardKL
from ..base import PairObjective
from ..psi import Logistic
from ..statistics import h, hbar
from ..terms import Sum


@dataclass(frozen=True)
class PlackettLuce(PairObjective):
    r"""-log softmax_S(s)_c, s = lam log pi: the likelihood of choices under scores lam log pi; of pairs `BradleyTerry`.

    Sources: Luce 1959, Individual Choice Behavior; Plackett 1975, Applied Statistics 24.
    """

    name: ClassVar[str] = "plackett_luce"
    listwise: ClassVar[bool] = True

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * h)


@dataclass(frozen=True)
class PlackettLuceDPO(PairObjective):
    r"""-log softmax_S(s)_c, s = lam log(pi/pi_ref): DPO for rankings, and `DPO` on pairs.

    Source: Rafailov et al. 2023 (arXiv 2305.18290), appendix on the Plackett-Luce model, as third-party code has it.
    """

    name: ClassVar[str] = "plackett_luce_dpo"
    listwise: ClassVar[bool] = True

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * hbar)


@dataclass(frozen=True)
class PlackettLuceEXPO(PairObjective):
    r"""-log softmax_S(log pi)_c + lam KL(pi_ref || pi): EXPO for rankings, and `EXPO` on pairs.

    One minimiser for every data set, as for EXPO: the likelihood is convex in the logits. [ours]

    Source: this package's own, in the manner of the EXPO paper (arXiv 2506.07492).
    """

    name: ClassVar[str] = "plackett_luce_expo"
    listwise: ClassVar[bool] = True

    @property
    def terms(self) -> Sum:
        return Logistic()(h)

    @property
    def regulariser(self) -> Divergence:
        return ForwardKL()
