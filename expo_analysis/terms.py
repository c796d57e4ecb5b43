r"""What a loss is made of: psi(statistic), added up.

A loss of pairs is a sum of terms psi(m), each a scalar loss psi of a margin m, plus lambda times a divergence. Written
so, everything else follows: its derivatives, what it reads, whether it is convex, whether a minimiser exists, how to
solve it and with what proven error bound.

================================  ================================================================================
psi                               psi(m)
================================  ================================================================================
``Logistic(kept, flipped)``       -kept log sigma(m) - flipped log sigma(-m); ``Logistic()`` is -log sigma(m)
``Square()``                      m^2
``Hinge(at)``                     max(0, at - m)
``Linear(slope)``                 slope m; ``Linear()`` of a log-probability is its negative log-likelihood
``Exponential()``                 exp(-m)
``Sigmoid()``                     sigma(m)
``SquaredSigmoid(target, miss)``  (sigma(m) - target)^2, miss = 1 - target
``TargetKL(goal)``                KL(Bernoulli(sigma(goal)) || Bernoulli(sigma(m)))
``BernoulliKL(goal)``             KL(Bernoulli(sigma(m)) || Bernoulli(sigma(goal)))
``Modulated(tau)``                logistic for m < 0, exponential for m > 0
``Stated(function, ...)``         any function of numpy arrays and torch tensors, with what you know of it
================================  ================================================================================

==========================  ===================================================================================
statistic                   of a pair of a winner w and a loser l
==========================  ===================================================================================
``h``, ``hbar``             log pi_w/pi_l, and the same minus log pi_ref,w/pi_ref,l
``log_pi_w``, ``log_pi_l``  log-probabilities
``log_u_w``, ``log_u_l``    log u = log pi/pi_ref
``log_pi_t``, ``log_u_t``   both of a third response that data may have; on pairs it is the winner
``linked(divergence)``      f'(u_w) - f'(u_l)
``log_odds``                log-odds of the winner minus those of the loser
``shortfall_w``             min(log u_w, 0)
``powered(alpha)``          (1 - pi_w^-alpha)/alpha minus the same of the loser
``per_token(statistic)``    the same of log-probabilities averaged over a response's tokens
==========================  ===================================================================================

Statistics are added to each other and scaled by numbers; numbers are taken from them; terms are added and weighted.
Numbers may be `Data`, functions of what comes with a pair: ``reference_log_ratio``, ``reward_gap``, ``reward_w``,
``length_l`` and so on, with ordinary arithmetic, and ``data.map(function)`` of any function of arrays. ``str()`` writes
terms as a formula, and `formula` an objective.

Example:
    >>> from dataclasses import dataclass
    >>> import expo_analysis as ea
    >>> from expo_analysis.terms import Linear, Logistic, formula, hbar, log_pi_w
    >>> @dataclass(frozen=True)
    ... class Mine(ea.PairObjective):
    ...     name = "mine"
    ...
    ...     @property
    ...     def terms(self):
    ...         return Logistic()(self.lam * hbar - 0.5) + 0.1 * Linear()(log_pi_w)
    >>> formula(Mine(lam=0.1))
    '-log σ(λh̄ - 1/2) - 0.1 log π_w'
    >>> ea.solve(Mine(lam=0.1), ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])).error_bound < 1e-10
    True
"""

from .losses.data import (
    Data,
    length_l,
    length_w,
    reference_log_ratio,
    reward_gap,
    reward_l,
    reward_w,
)
from .losses.notation import formula
from .losses.psi import (
    BernoulliKL,
    Exponential,
    Hinge,
    Linear,
    Logistic,
    Modulated,
    Psi,
    Sigmoid,
    Square,
    SquaredSigmoid,
    Stated,
    TargetKL,
    Well,
)
from .losses.statistics import (
    Atom,
    Statistic,
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
    shortfall_w,
)
from .losses.terms import Sum, Term

__all__ = [
    "Atom",
    "BernoulliKL",
    "Data",
    "Exponential",
    "Hinge",
    "Linear",
    "Logistic",
    "Modulated",
    "Psi",
    "Sigmoid",
    "Square",
    "SquaredSigmoid",
    "Stated",
    "Statistic",
    "Sum",
    "TargetKL",
    "Term",
    "Well",
    "formula",
    "h",
    "hbar",
    "length_l",
    "length_w",
    "linked",
    "log_odds",
    "log_pi_l",
    "log_pi_t",
    "log_pi_w",
    "log_u_l",
    "log_u_t",
    "log_u_w",
    "per_token",
    "powered",
    "reference_log_ratio",
    "reward_gap",
    "reward_l",
    "reward_w",
    "shortfall_w",
]
