"""Losses of one's own, for `expo-analysis audit examples/exponential.py:Exponential`; CONTRIBUTING.md explains them."""

from dataclasses import dataclass

from expo_analysis import Claims, PairObjective, terms
from expo_analysis.numerics import exp


@dataclass(frozen=True)
class Exponential(PairObjective):
    """exp(-lam hbar), the boosting loss on reference-relative log-ratios."""

    name = "exponential"

    @property
    def terms(self):
        return terms.Exponential()(self.lam * terms.hbar)


@dataclass(frozen=True)
class ExponentialFormula(PairObjective):
    """The same as a bare formula, of which nothing is known but what it claims."""

    name = "exponential formula"

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return exp(-self.lam * ((logp_w - ref_logp_w) - (logp_l - ref_logp_l)))

    @property
    def claims(self):
        return Claims(
            convex=True, closed_form=False, needs_reference=True, log_ratio_only=True, self_concordance=self.lam
        )
