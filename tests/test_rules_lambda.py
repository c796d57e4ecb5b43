"""Arithmetic with lambda, its signs and limits: what rules may read off formulas in which it stands."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.rules import RULES, Known, first
from expo_analysis.desiderata.rules.formula import Formula
from expo_analysis.desiderata.rules.in_lambda import InLambda, of_lambda
from expo_analysis.desiderata.rules.limit_formula import goes_elsewhere, limit_value, shuns_point_masses
from expo_analysis.desiderata.rules.signs import Sign, Unknown, sign_of
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import HOLDS
from expo_analysis.losses.statistics import log_pi_l, log_pi_w, log_u_w

from .own_losses import own
from .test_rules_edges import HBAR, HINGE, LOGISTIC, SMOOTHED, SQUARE, H

# ------------------------------------------------------------------------------------------------------ lambda's signs

SIGNS = {1: (0.3, 7.0), -1: (-0.3, -7.0), 0: (0.0,), None: (-7.0, -0.3, 0.0, 0.3, 7.0)}
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def sign_by_numbers(values: list[float]) -> int | None:
    found = {int(np.sign(x)) for x in values}
    return found.pop() if len(found) == 1 else None


@pytest.mark.parametrize("name", OPERATORS)
def test_signs_of_sums_and_products_are_all_that_signs_tell(name: str) -> None:
    """Every pair of signs, with a number and with an array of numbers on either side: neither more nor less."""
    combine = OPERATORS[name]
    for a, b in itertools.product(SIGNS, SIGNS):
        pairs = [*itertools.product(SIGNS[a], SIGNS[b])]
        true = None if name == "/" and (b in (0, None)) else sign_by_numbers([combine(x, y) for x, y in pairs])
        if name == "/" and b is None and a == 0:
            true = None
        assert combine(Sign(a), Sign(b)).sign == true, (a, b)
        for y in SIGNS[b]:
            expected = (
                None
                if name == "/" and y == 0
                else sign_by_numbers([combine(x, y) for x in SIGNS[a] if y or name != "/"])
            )
            assert sign_of(combine(Sign(a), y)) == expected, (a, y)
            assert sign_of(combine(Sign(a), np.array([y, 2 * y]))) == expected, (a, y)
            if name != "/" or a in (1, -1):
                turned = sign_by_numbers([combine(y, x) for x in SIGNS[a]])
                assert sign_of(combine(y, Sign(a))) == turned, (y, a)
                assert sign_of(combine(np.float64(y), Sign(a))) == turned, (y, a)


def test_signs_of_powers_and_functions() -> None:
    for a, power in itertools.product((1, -1, 0, None), (2, 3, 4, 0.5, -1)):
        found = (Sign(a) ** power).sign
        if a == 1:
            assert found == 1
        elif isinstance(power, int) and power % 2 == 0 and a is not None:
            assert found == abs(a)
        else:
            assert found is None
    assert [(-Sign(a)).sign for a in (1, -1, 0, None)] == [-1, 1, 0, None]
    assert [abs(Sign(a)).sign for a in (1, -1, 0, None)] == [1, 1, 0, None]
    assert sign_of(np.negative(Sign(1))) == -1 and sign_of(np.exp(Sign(-1))) == 1 and sign_of(np.log(Sign(1))) is None
    assert sign_of(np.array([])) is None and sign_of("text") is None and sign_of(np.array([1.0, 0.0])) is None
    assert sign_of(np.array([Sign(1), Sign(1)], dtype=object)) == 1
    assert sign_of(np.array([Sign(1), Sign(-1)], dtype=object)) is None


COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_are_answered_where_signs_tell_and_raise_elsewhere(name: str) -> None:
    compare = COMPARISONS[name]
    for a, y in itertools.product((1, -1, 0, None), (-2.0, 0.0, 2.0)):
        same = a is None or a * y > 0
        answers = {compare(x, y) for x in SIGNS[a]}
        if same:
            with pytest.raises(Unknown):
                compare(Sign(a), y)
        else:
            assert {compare(Sign(a), y)} == answers, (a, y)
    assert bool(Sign(1)) and bool(Sign(-1)) and not bool(Sign(0))
    with pytest.raises(Unknown):
        bool(Sign(None))


# ------------------------------------------------------------------------------------------------- lambda's quotients


def at(x: InLambda, lam: float) -> float:
    top, bottom = (sum(float(c) * lam**k for k, c in enumerate(side)) for side in (x.top, x.bottom))
    return top / bottom


def random_quotients(count: int) -> list[tuple[InLambda, Callable[[float], float]]]:
    """Random expressions of lambda and small numbers, and the same of floats."""
    rng, lam = np.random.default_rng(0), InLambda.itself()
    found: list[tuple[Any, Callable[[float], float]]] = [(lam, lambda x: x), (2.0 * lam, lambda x: 2 * x)]
    while len(found) < count:
        (a, f), (b, g) = (found[k] for k in rng.integers(0, len(found), 2))
        number = float(rng.integers(-3, 4))
        kind = int(rng.integers(0, 9))
        made_of: list[Callable[[], tuple[Any, Callable[[float], float]]]] = [
            lambda a=a, b=b, f=f, g=g: (a + b, lambda x: f(x) + g(x)),
            lambda a=a, b=b, f=f, g=g: (a - b, lambda x: f(x) - g(x)),
            lambda a=a, b=b, f=f, g=g: (a * b, lambda x: f(x) * g(x)),
            lambda a=a, b=b, f=f, g=g: (a / b, lambda x: f(x) / g(x)),
            lambda a=a, f=f, c=number: (c - a, lambda x: c - f(x)),
            lambda a=a, f=f, c=number: (a - c, lambda x: f(x) - c),
            lambda a=a, f=f, c=number: (c / a, lambda x: c / f(x)),
            lambda a=a, f=f: (a**2, lambda x: f(x) ** 2),
            lambda a=a, f=f: (-a, lambda x: -f(x)),
        ]
        try:
            one, two = made_of[kind]()
        except ZeroDivisionError:
            continue
        if max(len(one.top), len(one.bottom)) <= 6:
            found.append((one, two))
    return found


def test_quotients_of_polynomials_are_what_numbers_are() -> None:
    """Values, signs, limits at both ends, and what is a constant or a multiple of lambda."""
    for x, f in random_quotients(300):
        seen = np.array([f(lam) for lam in (0.13, 0.77, 1.9, 5.3)])
        assert np.allclose([at(x, lam) for lam in (0.13, 0.77, 1.9, 5.3)], seen, rtol=1e-8, atol=1e-8)
        constant = np.ptp(seen) <= 1e-9 * (1 + np.abs(seen).max())
        assert (x.constant is not None) == constant and (not constant or x.constant == pytest.approx(seen[0], abs=1e-9))
        lams = np.array([0.13, 0.77, 1.9, 5.3])
        linear = np.ptp(seen / lams) <= 1e-9 * (1 + np.abs(seen / lams).max())
        assert (x.per_lambda is not None) == linear
        if linear:
            assert x.per_lambda == pytest.approx(seen[0] / 0.13, abs=1e-9)
        if x.sign:
            assert (np.sign(seen) == x.sign).all() and np.sign(at(abs(x), 1.9)) == 1
        for end, lam in (("zero", 1e-7), ("infinity", 1e7)):
            limit, there = x.limit(end), at(x, lam)
            if limit is None:
                assert abs(there) > 1e4
            else:
                assert limit.constant is not None and there == pytest.approx(limit.constant, rel=1e-4, abs=1e-4)


def test_what_lambda_may_be_compared_with_and_what_not() -> None:
    lam = InLambda.itself()
    assert lam != 0 and lam * 0 == 0 and lam - lam == 0
    for use in (lambda: lam == 1.0, lambda: lam - 1 == 0, lambda: bool(lam), lambda: abs(lam - 1), lambda: lam**-1):
        with pytest.raises(TypeError):
            use()
    with pytest.raises(ZeroDivisionError):
        1 / (lam - lam)
    assert abs(-lam).per_lambda == 1.0 and (lam**0).constant == 1.0 and at(lam**3, 2.0) == 8.0
    for bad in (np.inf, np.nan, True, np.array([1.0])):
        with pytest.raises((TypeError, ValueError)):
            of_lambda(bad)
    for name, f in (("add", np.add), ("subtract", np.subtract), ("multiply", np.multiply), ("divide", np.divide)):
        assert at(f(np.float64(3.0), lam), 2.0) == f(3.0, 2.0), name
        assert at(f(lam, np.float64(3.0)), 2.0) == f(2.0, 3.0), name
    assert at(np.negative(lam), 2.0) == -2.0
    assert str(0.5 / lam + 1) == "[0.5, 1.0] / [0.0, 1.0] in powers of lambda"


# --------------------------------------------------------------------------------------------------- limits of formulas


@pytest.mark.parametrize(
    "formula",
    [
        lambda lam: LOGISTIC(H / (1 + lam)) + lam / (1 + lam) * SQUARE(HBAR - 1 / (2 + lam)),
        lambda lam: 2 / (1 + lam) * HINGE(log_pi_w) + SMOOTHED((1 + 2 * lam) / (3 + lam) * (log_u_w - 0.4 * log_pi_l)),
    ],
)
def test_a_limit_of_a_formula_is_that_of_its_values(formula: Callable[[Any], Any]) -> None:
    rng = np.random.default_rng(0)
    reference, optimal = rng.dirichlet(np.ones(3), 2)
    policies, bandit = rng.dirichlet(np.ones(3), 7), ea.Bandit(reference, optimal)
    symbolic = Formula(own(formula)).symbolic
    assert symbolic is not None
    for end, lam in (("zero", 1e-9), ("infinity", 1e9)):
        found = limit_value(symbolic[0], end, reference, optimal, policies)  # type: ignore[arg-type]
        values = ea.risk(own(formula).with_lam(lam), bandit, np.log(policies))
        assert np.allclose(found / 3, values, atol=1e-6) or np.allclose(found / 6, values, atol=1e-6)


def test_a_reward_is_no_term_that_shuns_point_masses() -> None:
    """A term without lambda that grows at a point mass, all bounded below, and everything with a limit as lambda
    falls."""
    assert not shuns_point_masses(Formula(ea.RLHF(1.0))) and shuns_point_masses(Formula(ea.SFT(1.0)))
    for formula, shuns in (
        (lambda lam: terms.Linear(1.0)(log_pi_w), False),
        (lambda lam: HINGE(H) + LOGISTIC(lam * HBAR), True),
        (lambda lam: HINGE(-1.0 * H) + LOGISTIC(lam * HBAR), False),
        (lambda lam: HINGE(H) - 1.0 * LOGISTIC(lam * HBAR), False),
        (lambda lam: HINGE(H) + LOGISTIC(HBAR / lam), False),
        (lambda lam: LOGISTIC(lam * HBAR), False),
    ):
        assert shuns_point_masses(Formula(own(formula))) == shuns


def test_the_optimum_of_rlhf_follows_the_reward_for_divergences_that_are_known() -> None:
    def concluded(objective: Any) -> tuple[str, str] | None:
        found = first(RULES, "consistency", Known(Subject(objective, *written(objective)), {}))
        return None if found is None else (found[0].name, found[1].decision)

    class Mine(ea.divergences.ForwardKL):
        name = "mine"

    assert concluded(ea.RLHF(1.0)) == ("the_optimum_follows_the_reward", HOLDS)
    assert concluded(ea.RLHF(1.0, "forward_kl")) == ("the_optimum_follows_the_reward", HOLDS)
    assert concluded(ea.RLHF(1.0, Mine())) is None


def test_lower_elsewhere_by_how_much() -> None:
    """Where F_0 is -log pi_w - r^ log ..., its own minimum: by the gap that is told, at the policy that is told."""
    for objective in (ea.SFT(1.0), ea.RPO(1.0)):
        found = goes_elsewhere(Formula(objective), "zero")
        assert found is not None
        bandit = ea.Bandit(found.reference, found.optimal)
        values = ea.risk(objective.with_lam(1e-9), bandit, np.log([found.optimal, found.policy]))
        assert found.gap > 0 and values[0] - values[1] > 0 and found.policy.sum() == pytest.approx(1.0)
        ratio = found.gap / (values[0] - values[1])
        assert ratio == pytest.approx(3.0, rel=1e-4) or ratio == pytest.approx(1.0, rel=1e-4) or len(found.policy) == 2
