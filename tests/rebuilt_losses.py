"""Every loss of the catalogue that is made of terms, written once more with the public terms alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import expo_analysis as ea
from expo_analysis.divergences import Divergence, ForwardKL
from expo_analysis.numerics import exp, log_sigmoid, sigmoid
from expo_analysis.terms import (
    BernoulliKL,
    Data,
    Exponential,
    Linear,
    Logistic,
    Modulated,
    Sigmoid,
    Square,
    SquaredSigmoid,
    Sum,
    TargetKL,
    h,
    hbar,
    linked,
    log_odds,
    log_pi_l,
    log_pi_t,
    log_pi_w,
    log_u_l,
    log_u_t,
    log_u_w,
    per_token,
    powered,
    reference_log_ratio,
    reward_gap,
    reward_l,
    reward_w,
    shortfall_w,
)
from expo_analysis.terms import Hinge as HingePsi

THE_CATALOGUES: dict[str, Callable[[Any], ea.PairObjective]] = {
    "MyDPO": lambda lam: ea.DPO(lam),
    "MyConservativeDPO": lambda lam: ea.DPO(lam, label_smoothing=0.125),
    "MyRobustDPO": lambda lam: ea.DPO(lam, label_smoothing=0.125, robust=True),
    "MyIPO": lambda lam: ea.IPO(lam),
    "MyFDPO": lambda lam: ea.FDPO(lam),
    "MyForwardFDPO": lambda lam: ea.FDPO(lam, "forward_kl"),
    "MyChiSquareFDPO": lambda lam: ea.FDPO(lam, "chi_square"),
    "MyChiPO": lambda lam: ea.ChiPO(lam),
    "MyEXPO": lambda lam: ea.EXPO(lam),
    "MySPO": lambda lam: ea.SPO(lam, alpha=0.5),
    "MyAlphaPO": lambda lam: ea.ExplicitPO(lam, "alpha", alpha=2.0),
    "MyRegressionEXPO": lambda lam: ea.RegressionEXPO(lam),
    "MyRegressionCE": lambda lam: ea.RegressionEXPO(lam, criterion="cross_entropy"),
    "MyHinge": lambda lam: ea.Hinge(lam),
    "MySLiC": lambda lam: ea.SLiC(lam, margin=1.5),
    "MyEXO": lambda lam: ea.EXO(lam),
    "MyDiscoPOP": lambda lam: ea.DiscoPOP(lam),
    "MyDPOP": lambda lam: ea.DPOP(lam, penalty=5.0),
    "MySFT": lambda lam: ea.SFT(lam),
    "MyBradleyTerry": lambda lam: ea.BradleyTerry(lam),
    "MySimPO": lambda lam: ea.SimPO(lam),
    "MyCPO": lambda lam: ea.CPO(lam, alpha=0.5),
    "MyRPO": lambda lam: ea.RPO(lam),
    "MyORPO": lambda lam: ea.ORPO(lam),
    "MyKTO": lambda lam: ea.KTO(lam, 1.5, 0.5, 0.25),
    "MyAPOZero": lambda lam: ea.APOZero(lam),
    "MyAPODown": lambda lam: ea.APODown(lam),
    "MyBCO": lambda lam: ea.BCO(lam, -0.75),
    "MyNCA": lambda lam: ea.NCA(lam),
    "MySPPO": lambda lam: ea.SPPO(lam),
    "MyAuxDPO": ea.AuxDPO,
    "MyPessimisticDPO": lambda lam: ea.PessimisticDPO(lam, beta=0.25),
    "MyLengthNormalisedDPO": lambda lam: ea.LengthNormalisedDPO(lam),
    "MyDPOShift": lambda lam: ea.DPOShift(lam, shift=0.5),
    "MyCalDPO": lambda lam: ea.CalDPO(lam, strength=2.0),
    "MyPRO": lambda lam: ea.PRO(lam),
    "MyAlphaPOLoss": lambda lam: ea.AlphaPO(lam, alpha=0.5),
    "MySimPER": lambda lam: ea.SimPER(lam),
    "MyRewardAwarePO": lambda lam: ea.RewardAwarePO(lam, eta=0.5),
    "MyForwardRewardAwarePO": lambda lam: ea.RewardAwarePO(lam, "forward_kl"),
    "MyREBEL": lambda lam: ea.REBEL(lam),
    "MyRewardDistillation": lambda lam: ea.RewardDistillation(lam),
    "MyODPO": lambda lam: ea.ODPO(lam, alpha=0.5),
    "MyMADPO": lambda lam: ea.MADPO(lam),
    "MyPlackettLuce": lambda lam: ea.PlackettLuce(lam),
    "MyPlackettLuceDPO": lambda lam: ea.PlackettLuceDPO(lam),
    "MyPlackettLuceEXPO": lambda lam: ea.PlackettLuceEXPO(lam),
    "MyWRPO": lambda lam: ea.WRPO(lam, alpha=0.25),
    "MyTPO": lambda lam: ea.TPO(lam, alpha=0.5),
}


def target(lam: Any) -> Data:
    """Regression EXPO's target for p(w > l)."""
    return (1 + lam * reference_log_ratio.map(sigmoid)) / (1 + lam)


def miss(lam: Any) -> Data:
    return lam / (1 + lam) * (-reference_log_ratio).map(sigmoid)


def madpo_weight(gap: Any) -> Any:
    """MADPO's, from its formula, at its own options; by logarithms, as there, so that the bits are the same.

    A function of numpy's arrays alone will do for a solver.
    """
    c = 0.5 + 1.5 / (1 + 2 * exp(abs(gap) - 2.0))
    ratio = exp(log_sigmoid(c * gap) - log_sigmoid(gap))
    return np.where(gap > -2.0, ratio, 1.0)


@dataclass(frozen=True)
class MyDPO(ea.PairObjective):
    name = "my_dpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * hbar)


@dataclass(frozen=True)
class MyConservativeDPO(ea.PairObjective):
    name = "my_conservativedpo"

    @property
    def terms(self) -> Sum:
        return Logistic(0.875, 0.125)(self.lam * hbar)


@dataclass(frozen=True)
class MyRobustDPO(ea.PairObjective):
    name = "my_robustdpo"

    @property
    def terms(self) -> Sum:
        return Logistic(0.875 / 0.75, -0.125 / 0.75)(self.lam * hbar)


@dataclass(frozen=True)
class MyIPO(ea.PairObjective):
    name = "my_ipo"

    @property
    def terms(self) -> Sum:
        return Square()(hbar - 0.5 / self.lam)


@dataclass(frozen=True)
class MyFDPO(ea.PairObjective):
    name = "my_fdpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * linked(ea.JensenShannon()))


@dataclass(frozen=True)
class MyForwardFDPO(ea.PairObjective):
    name = "my_forwardfdpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * linked(ea.ForwardKL()))


@dataclass(frozen=True)
class MyChiSquareFDPO(ea.PairObjective):
    name = "my_chisquarefdpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * linked(ea.ChiSquare()))


@dataclass(frozen=True)
class MyChiPO(ea.PairObjective):
    name = "my_chipo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * linked(ea.MixedChiSquare()))


@dataclass(frozen=True)
class MyEXPO(ea.PairObjective):
    name = "my_expo"

    regulariser = ea.ForwardKL()

    @property
    def terms(self) -> Sum:
        return Logistic()(h)


@dataclass(frozen=True)
class MySPO(ea.PairObjective):
    name = "my_spo"

    regulariser = ea.ReverseKL()

    @property
    def terms(self) -> Sum:
        return Logistic()(0.5 * h) / 0.5


@dataclass(frozen=True)
class MyAlphaPO(ea.PairObjective):
    name = "my_alphapo"

    regulariser = ea.Alpha(2.0)

    @property
    def terms(self) -> Sum:
        return Logistic()(h)


@dataclass(frozen=True)
class MyRegressionEXPO(ea.PairObjective):
    name = "my_regressionexpo"

    @property
    def terms(self) -> Sum:
        return SquaredSigmoid(target(self.lam), miss(self.lam))(h)


@dataclass(frozen=True)
class MyRegressionCE(ea.PairObjective):
    name = "my_regressionce"

    @property
    def terms(self) -> Sum:
        return Logistic(target(self.lam), miss(self.lam))(h)


@dataclass(frozen=True)
class MyHinge(ea.PairObjective):
    name = "my_hinge"

    @property
    def terms(self) -> Sum:
        return HingePsi()(self.lam * hbar)


@dataclass(frozen=True)
class MySLiC(ea.PairObjective):
    name = "my_slic"

    regulariser = ea.ForwardKL()

    @property
    def terms(self) -> Sum:
        return HingePsi(1.5)(h)


@dataclass(frozen=True)
class MyEXO(ea.PairObjective):
    name = "my_exo"

    @property
    def terms(self) -> Sum:
        return BernoulliKL(np.log((1 - 1e-3) / 1e-3))(self.lam * hbar)


@dataclass(frozen=True)
class MyDiscoPOP(ea.PairObjective):
    name = "my_discopop"

    @property
    def terms(self) -> Sum:
        return Modulated(0.05)(self.lam * hbar)


@dataclass(frozen=True)
class MyDPOP(ea.PairObjective):
    name = "my_dpop"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * (hbar + 5.0 * shortfall_w))


@dataclass(frozen=True)
class MySFT(ea.PairObjective):
    name = "my_sft"

    @property
    def terms(self) -> Sum:
        return Linear(-1)(log_pi_w)


@dataclass(frozen=True)
class MyBradleyTerry(ea.PairObjective):
    name = "my_bradleyterry"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * h)


@dataclass(frozen=True)
class MySimPO(ea.PairObjective):
    name = "my_simpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * per_token(h) - 0.5)


@dataclass(frozen=True)
class MyCPO(ea.PairObjective):
    name = "my_cpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * h) + 0.5 * Linear(-1)(log_pi_w)


@dataclass(frozen=True)
class MyRPO(ea.PairObjective):
    name = "my_rpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * hbar) + Linear(-1)(log_pi_w)


@dataclass(frozen=True)
class MyORPO(ea.PairObjective):
    name = "my_orpo"

    @property
    def terms(self) -> Sum:
        return Linear(-1)(per_token(log_pi_w)) + self.lam * Logistic()(per_token(log_odds))


@dataclass(frozen=True)
class MyKTO(ea.PairObjective):
    name = "my_kto"

    @property
    def terms(self) -> Sum:
        return 1.5 * Sigmoid()(-(self.lam * (log_u_w - 0.25))) + 0.5 * Sigmoid()(self.lam * (log_u_l - 0.25))


@dataclass(frozen=True)
class MyAPOZero(ea.PairObjective):
    name = "my_apozero"

    @property
    def terms(self) -> Sum:
        return Sigmoid()(-(self.lam * log_u_w)) + Sigmoid()(self.lam * log_u_l)


@dataclass(frozen=True)
class MyAPODown(ea.PairObjective):
    name = "my_apodown"

    @property
    def terms(self) -> Sum:
        return Sigmoid()(self.lam * log_u_w) + Sigmoid()(-(self.lam * hbar))


@dataclass(frozen=True)
class MyBCO(ea.PairObjective):
    name = "my_bco"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * log_u_w + 0.75) + Logistic()(-(self.lam * log_u_l + 0.75))


@dataclass(frozen=True)
class MyNCA(ea.PairObjective):
    name = "my_nca"

    @property
    def terms(self) -> Sum:
        return Logistic(1.0, 0.5)(self.lam * log_u_w) + 0.5 * Logistic()(-(self.lam * log_u_l))


@dataclass(frozen=True)
class MySPPO(ea.PairObjective):
    name = "my_sppo"

    @property
    def terms(self) -> Sum:
        return Square()(log_u_w - 0.5 / self.lam) + Square()(log_u_l + 0.5 / self.lam)


@dataclass(frozen=True)
class MyAuxDPO(ea.PairObjective):
    name = "my_auxdpo"
    auxiliary = True

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * hbar)


@dataclass(frozen=True)
class MyPessimisticDPO(ea.PairObjective):
    name = "my_pessimisticdpo"

    regulariser = ea.ForwardKL()

    @property
    def terms(self) -> Sum:
        return Logistic()(0.25 * hbar)


@dataclass(frozen=True)
class MyLengthNormalisedDPO(ea.PairObjective):
    name = "my_lengthnormaliseddpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * per_token(hbar))


@dataclass(frozen=True)
class MyDPOShift(ea.PairObjective):
    name = "my_dposhift"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * (log_u_w - 0.5 * log_u_l))


@dataclass(frozen=True)
class MyCalDPO(ea.PairObjective):
    name = "my_caldpo"

    @property
    def terms(self) -> Sum:
        goal = 0.5 / self.lam
        return Logistic()(hbar) + 2 * (Square()(log_u_w - goal) + Square()(log_u_l + goal))


@dataclass(frozen=True)
class MyPRO(ea.PairObjective):
    name = "my_pro"

    @property
    def terms(self) -> Sum:
        held = Logistic(0.5, 0.5)
        return Logistic()(self.lam * hbar) + held(self.lam * log_u_w) + held(self.lam * log_u_l)


@dataclass(frozen=True)
class MyAlphaPOLoss(ea.PairObjective):
    name = "my_alphapoloss"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * per_token(powered(0.5)) - 0.1)


@dataclass(frozen=True)
class MySimPER(ea.PairObjective):
    name = "my_simper"

    @property
    def terms(self) -> Sum:
        return Exponential()(-per_token(log_pi_l)) - Exponential()(-per_token(log_pi_w))


@dataclass(frozen=True)
class MyRewardAwarePO(ea.PairObjective):
    name = "my_rewardawarepo"

    @property
    def terms(self) -> Sum:
        return TargetKL(0.5 * reward_gap)(self.lam * hbar)


@dataclass(frozen=True)
class MyForwardRewardAwarePO(ea.PairObjective):
    name = "my_forwardrewardawarepo"

    @property
    def terms(self) -> Sum:
        return BernoulliKL(1.0 * (reward_w - reward_l))(self.lam * hbar)


@dataclass(frozen=True)
class MyREBEL(ea.PairObjective):
    name = "my_rebel"

    @property
    def terms(self) -> Sum:
        return Square()(hbar - reward_gap / self.lam)


@dataclass(frozen=True)
class MyRewardDistillation(ea.PairObjective):
    name = "my_rewarddistillation"

    @property
    def terms(self) -> Sum:
        return Square()(self.lam * hbar - reward_gap)


@dataclass(frozen=True)
class MyODPO(ea.PairObjective):
    name = "my_odpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * hbar - 0.5 * reward_gap)


@dataclass(frozen=True)
class MyMADPO(ea.PairObjective):
    name = "my_madpo"

    @property
    def terms(self) -> Sum:
        return reward_gap.map(madpo_weight) * Logistic()(self.lam * hbar)


@dataclass(frozen=True)
class MyPlackettLuce(ea.PairObjective):
    name = "my_plackett_luce"
    listwise = True

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * h)


@dataclass(frozen=True)
class MyPlackettLuceDPO(ea.PairObjective):
    name = "my_plackett_luce_dpo"
    listwise = True

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * hbar)


@dataclass(frozen=True)
class MyPlackettLuceEXPO(ea.PairObjective):
    name = "my_plackett_luce_expo"
    listwise = True
    terms = property(lambda self: Logistic()(h))

    @property
    def regulariser(self) -> Divergence:
        return ForwardKL()


@dataclass(frozen=True)
class MyWRPO(ea.PairObjective):
    name = "my_wrpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * (0.25 * log_u_t + 0.75 * log_u_w - log_u_l))


@dataclass(frozen=True)
class MyTPO(ea.PairObjective):
    name = "my_tpo"

    @property
    def terms(self) -> Sum:
        return Logistic()(self.lam * h) + 0.5 * Linear(-1.0)(log_pi_t)


MINE = {name: globals()[name] for name in THE_CATALOGUES}
