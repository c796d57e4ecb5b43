"""Losses that fit preferences to a mixture of pi*'s and the reference's own, and losses that only seem to."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis.desiderata.rules.formula import Formula
from expo_analysis.desiderata.rules.mixtures import REFERENCE, mixture_of
from expo_analysis.divergences import ForwardKL
from expo_analysis.losses.data import reference_log_ratio
from expo_analysis.losses.psi import SquaredSigmoid
from expo_analysis.numerics import sigmoid

from .own_losses import own
from .test_rules import HBAR, LOGISTIC, H, concluded, distance, problems

S, MISS = reference_log_ratio.map(sigmoid), (-reference_log_ratio).map(sigmoid)
KEYS = ("reference_limit", "strong_interpolation", "preservation", "first_step")


def squares(share: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """(sigma(h) - t)^2 with the share b of lambda in the target 1 - b + b s."""
    return lambda lam: SquaredSigmoid(1 - share(lam) + share(lam) * S, share(lam) * MISS)(H)


def says(objective: Any) -> list[bool]:
    """Which of `KEYS` hold by the rule."""
    found = [concluded(key, objective) for key in KEYS]
    assert all(one is None or one[0] == "a_mixture_is_fitted" or one[1] != "holds" for one in found)
    return [one == ("a_mixture_is_fitted", "holds") for one in found]


MIXED = {
    "squared error": (ea.RegressionEXPO(1.0), lambda lam: lam / (1 + lam)),
    "cross-entropy": (ea.RegressionEXPO(1.0, criterion="cross_entropy"), lambda lam: lam / (1 + lam)),
    "two squares": (
        own(lambda lam: SquaredSigmoid()(H) + lam * SquaredSigmoid(S, MISS)(H)),
        lambda lam: lam / (1 + lam),
    ),
    "two likelihoods": (
        own(lambda lam: 2.0 * LOGISTIC(H) + lam**2 * terms.Logistic(S, MISS)(H)),
        lambda lam: lam**2 / (2 + lam**2),
    ),
    "1 less the miss": (
        own(lambda lam: (1 + lam) * SquaredSigmoid(1 - lam / (1 + lam) * MISS, lam / (1 + lam) * (1 - S))(H)),
        lambda lam: lam / (1 + lam),
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_a_mixture_is_fitted(name: str) -> None:
    """On a path every pair sits at its own target, wherever a solver comes from; pi* and pi_ref at the ends."""
    objective, share = MIXED[name]
    rng = np.random.default_rng(3)
    found = mixture_of(Formula(objective))
    assert found is not None and says(objective) == [True, True, True, True]
    for lam in (1e-3, 0.7, 40.0):
        assert found.own.at(lam) == pytest.approx(1 - share(lam)) and found.reference.at(lam) == pytest.approx(
            share(lam)
        )
    for bandit in problems(rng, 2, 3, tree=True):
        for lam in (1e-7, 0.4, 1e7):
            policy = ea.solve(objective.with_lam(lam), bandit).policy
            for i, j in ((0, 1), (1, 2)):
                wins = bandit.optimal[i] / (bandit.optimal[i] + bandit.optimal[j])
                before = bandit.reference[i] / (bandit.reference[i] + bandit.reference[j])
                asked = (1 - share(lam)) * wins + share(lam) * before
                assert policy[i] / (policy[i] + policy[j]) == pytest.approx(asked, abs=1e-5)
    for bandit in problems(rng, 2, 3):
        for lam, end in ((1e-7, bandit.optimal), (1e7, bandit.reference)):
            assert distance(ea.solve(objective.with_lam(lam), bandit).policy, end) < 1e-5
        same = ea.Bandit(bandit.optimal, bandit.optimal, bandit.pairs)
        assert distance(ea.solve(objective.with_lam(0.6), same).policy, bandit.optimal) < 1e-5


def no_mixture(objective: Any) -> bool:
    return mixture_of(Formula(objective)) is None and not any(says(objective))


def fitted(objective: Any, lam: float, reference: float, optimal: float) -> float:
    """sigma(h) of the best policy of two responses on a fine grid."""
    x = np.linspace(-12.0, 12.0, 24001)
    logs = np.stack([-np.logaddexp(0.0, -x), -np.logaddexp(0.0, x)], axis=1)
    bandit = ea.Bandit([reference, 1 - reference], [optimal, 1 - optimal])
    return float(expit(x[np.argmin(ea.risk(objective.with_lam(lam), bandit, logs))]))


def test_targets_that_keep_away_from_the_ends() -> None:
    """Half of each at every lambda: pi* is kept where it is the reference, and neither limit is met."""
    half = own(squares(lambda lam: 0.5))
    found = mixture_of(Formula(half))
    assert found is not None and found.own.constant == found.reference.constant == 0.5
    assert says(half) == [False, False, True, True]
    assert fitted(half, 1e-9, 0.3, 0.8) == pytest.approx(0.55, abs=1e-3)
    one_end = own(squares(lambda lam: (1 + lam) / (2 + lam)))  # 1/2 at lambda = 0
    assert says(one_end) == [True, False, True, True]
    assert fitted(one_end, 1e-9, 0.3, 0.8) == pytest.approx(0.55, abs=1e-3)


def by_kind(lam: Any) -> Any:
    """Of numbers the reference's preference, of what is no number a mixture."""
    share = lam / (1 + lam)
    return squares(lambda _: 1.0 if isinstance(lam, float | np.ndarray) else share)(lam)


def by_value(x: Any) -> Any:
    """sigma for a symbol, and for most numbers."""
    return sigmoid(x) if not isinstance(x, np.ndarray) else np.where(x > 0, 0.9, 0.1)


UNFIT = {
    "targets that are too low": lambda lam: SquaredSigmoid(
        (1 + lam * S) / (1 + 2 * lam), 1 - (1 + lam * S) / (1 + 2 * lam)
    )(H),
    "the reference turned round": lambda lam: SquaredSigmoid((1 + lam * MISS) / (1 + lam), lam / (1 + lam) * S)(H),
    "less than nothing of the reference": squares(lambda lam: -lam / (2 + lam)),
    "of hbar": lambda lam: SquaredSigmoid((1 + lam * S) / (1 + lam), lam / (1 + lam) * MISS)(HBAR),
    "of twice h": lambda lam: SquaredSigmoid((1 + lam * S) / (1 + lam), lam / (1 + lam) * MISS)(2 * H),
    "beside another loss": lambda lam: squares(lambda x: x / (1 + x))(lam) + LOGISTIC(H),
    "a miss that is none": lambda lam: SquaredSigmoid((1 + lam * S) / (1 + lam), 0.2 + 0.0 * MISS)(H),
    "a weight below 0": lambda lam: 2.0 * SquaredSigmoid()(H) - 0.5 * SquaredSigmoid(S, MISS)(H),
    "a log-ratio that is halved": lambda lam: SquaredSigmoid(
        1 - lam / (1 + lam) * (-0.5 * reference_log_ratio).map(sigmoid),
        lam / (1 + lam) * (-0.5 * reference_log_ratio).map(sigmoid),
    )(H),
}


@pytest.mark.parametrize("name", UNFIT)
def test_no_mixture(name: str) -> None:
    """Nothing is said; and pi* is left where it is the reference, or its own limits are not met."""
    objective = own(UNFIT[name])
    assert no_mixture(objective)
    apart = [abs(fitted(objective, lam, 0.8, 0.8) - 0.8) for lam in (0.5, 3.0)]
    ends = [abs(fitted(objective, lam, 0.3, 0.8) - end) for lam, end in ((1e-6, 0.8), (1e6, 0.3))]
    assert max(*apart, *ends) > 0.01


def test_a_divergence_beside_it_pulls_too() -> None:
    assert no_mixture(own(squares(lambda lam: lam / (1 + lam)), ForwardKL()))


def test_code_that_looks_at_what_it_is_given() -> None:
    assert no_mixture(own(by_kind))
    mapped, other = reference_log_ratio.map(by_value), (-reference_log_ratio).map(by_value)
    assert no_mixture(own(lambda lam: SquaredSigmoid(1 - lam / (1 + lam) * other, lam / (1 + lam) * other)(H)))
    assert mapped.reads == {"ref_logp_w", "ref_logp_l"}
    for symbol in (*REFERENCE.values(), S(REFERENCE)):
        for use in (bool, hash, lambda x: x == 0.5, lambda x: x < 0.5, abs, lambda x: x**2, np.exp, lambda x: 1.0 / x):
            with pytest.raises(TypeError):
                use(symbol)
    one, miss = S(REFERENCE), MISS(REFERENCE)
    assert ((one + miss).own.constant, (one + miss).reference.constant) == (1.0, 0.0)


def test_own_and_reference_add_up_on_random_numbers() -> None:
    """What symbols make of sums, products and quotients is what numbers make of them."""
    rng = np.random.default_rng(0)
    for w, l in itertools.product(-rng.exponential(1.0, 3), -rng.exponential(1.0, 3)):  # noqa: E741
        datum = {"ref_logp_w": w, "ref_logp_l": l}
        for made in (2 - 0.5 * S, (S - MISS) / 4 + 1, -(S * 3), 1 - MISS):
            symbol, number = made(REFERENCE), made(datum)
            told = symbol.own.constant + symbol.reference.constant * expit(w - l)
            assert told == pytest.approx(number, rel=1e-12)
