"""What rounding may do to losses that read log-probabilities apart: to gradients by response, to Hessians by pair."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.psi import Logistic, Sigmoid, Square
from expo_analysis.losses.statistics import Powered, Statistic, log_pi_l, log_pi_w, log_u_l, log_u_t, log_u_w
from expo_analysis.optima.apart_certificate import _dense_inverse, _Inverse, apart_error, known, rounding
from expo_analysis.optima.derivatives import expand
from expo_analysis.optima.laplacian import pairs
from expo_analysis.optima.problem import Problem

from . import problems
from .own_losses import own
from .test_optima_apart import REFERENCE, TRIPLES, WEIGHTS
from .test_optima_parts import BareOfEnds

UNIT = float(np.finfo(np.float64).eps)
PLAIN = ea.Bandit(REFERENCE, [0.35, 0.15, 0.4, 0.1])
OF_THREE = ea.Bandit.from_triples(REFERENCE, TRIPLES, weights=WEIGHTS)


def squares(lam: Any) -> Any:
    return Square()(0.8 * (0.3 * log_u_t + 0.7 * log_u_w - log_u_l) - 1.0)


LOSSES: dict[str, tuple[ea.PairObjective, ea.Bandit, dict[str, float], float, float]] = {
    # loss, data, coefficients of log u, scale, offset
    "wrpo": (ea.WRPO(0.8, alpha=0.3), OF_THREE, {"t": 0.3, "w": 0.7, "l": -1.0}, 0.8, 0.0),
    "dpo-shift": (ea.DPOShift(0.6, shift=0.75), PLAIN, {"w": 1.0, "l": -0.75}, 0.6, 0.0),
    "squares": (own(squares), OF_THREE, {"t": 0.3, "w": 0.7, "l": -1.0}, 0.8, 1.0),
}


def posed(name: str) -> tuple[Problem, np.ndarray]:
    objective, bandit, *_ = LOSSES[name]
    problem = Problem.cut(objective, bandit, range(4), np.zeros(1, dtype=int), np.full(1, objective.lam))
    assert known(problem)
    return problem, np.random.default_rng([*name.encode()]).standard_normal((4, 1))


def sizes(name: str, problem: Problem, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the gradient in log pi: the sum of moduli at each response; that of its change where each log pi changes by 1,
    with psi'' and with the most that psi'' is; and of all of A."""
    _, _, c, scale, offset = LOSSES[name]
    log_u = x - np.logaddexp.reduce(x, axis=0) - problem.log_reference
    ends = problem.edges.by_slot
    m = scale * sum(c[s] * log_u[ends[s]] for s in c) - offset
    if name == "squares":
        slope, bend, most = 2 * np.abs(m), 2.0 + 0.0 * m, 2.0
    else:
        slope, bend, most = 1 / (1 + np.exp(m)), 1 / (2 + np.exp(m) + np.exp(-m)), 1.0
    first, second, largest = np.zeros((3, 4, 1))
    total = sum(map(abs, c.values()))
    for s in c:
        np.add.at(first, ends[s], problem.weight * scale * abs(c[s]) * slope)
        np.add.at(second, ends[s], problem.weight * scale**2 * abs(c[s]) * total * bend)
        np.add.at(largest, ends[s], problem.weight * scale**2 * abs(c[s]) * total * most)
    return first, second, largest, (problem.weight * scale**2 * bend).sum(axis=0)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_lose_the_digits_of_their_logits(name: str) -> None:
    """Logits that are s higher are known to u s less, and log pi to twice that; each derivative changes by its bend.

    What all share, pi times the sum of a, loses as much, and what pi itself loses.
    """
    problem, x = posed(name)
    near, _ = rounding(problem, x, expand(problem, x))
    first, second, largest, _ = sizes(name, problem, x)
    policy = np.exp(x - np.logaddexp.reduce(x, axis=0))
    count = 4 + len(problem.edges.winner)
    assert (near >= 8 * UNIT * first + 2 * UNIT * count * first).all()
    assert (near <= 100 * UNIT * (count * first + largest + policy * (count * first + largest).sum(axis=0))).all()
    for s in (1e4, 1e7):
        far, _ = rounding(problem, x + s, expand(problem, x + s))
        grown = (far - near) / (2 * UNIT * s)
        shared = 2 * first.sum(axis=0)
        least, most = (own_ + policy * (own_.sum(axis=0) + shared) for own_ in (second, largest))
        assert (grown >= 0.99 * least).all() and (grown <= 1.01 * most).all()


def _pairs_of(c: dict[str, float]) -> list[tuple[str, str]]:
    return list(itertools.combinations(c, 2))


@mp.workdps(50)
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_and_hessians_in_fifty_digits(name: str) -> None:
    """Neither is off by more than is told, and that is little: at logits near 0, and at some that are large."""
    _, _, c, scale, offset = LOSSES[name]
    problem, x = posed(name)
    high, low = pairs(4)
    ends, order = problem.edges.by_slot, problem.responses[:, 0]
    reference = [mp.mpf(REFERENCE[i]) / mp.fsum(map(mp.mpf, REFERENCE)) for i in order]
    for shift in (0.0, 300.0):
        at = 3 * x + shift
        local = expand(problem, at)
        own_error, blur = rounding(problem, at, local)
        theta = [mp.mpf(float(v)) for v in at[:, 0]]
        top = max(theta)
        total = mp.log(mp.fsum(mp.exp(t - top) for t in theta)) + top
        log_policy = [t - total for t in theta]
        a, second = [mp.mpf(0)] * 4, mp.zeros(4)
        for e, weight in enumerate(problem.weight[:, 0]):
            here = {s: int(ends[s][e]) for s in c}
            m = mp.mpf(scale) * mp.fsum(mp.mpf(c[s]) * (log_policy[i] - mp.log(reference[i])) for s, i in here.items())
            m -= mp.mpf(offset)
            if name == "squares":
                slope, bend = 2 * m, mp.mpf(2)
            else:
                slope, bend = -1 / (1 + mp.exp(m)), 1 / (2 + mp.exp(m) + mp.exp(-m))
            for s, i in here.items():
                a[i] += mp.mpf(float(weight)) * scale * mp.mpf(c[s]) * slope
                for t, j in here.items():
                    second[i, j] += mp.mpf(float(weight)) * scale**2 * mp.mpf(c[s]) * mp.mpf(c[t]) * bend
        policy, whole = [mp.exp(v) for v in log_policy], mp.fsum(a)
        rows = [mp.fsum(second[i, j] for j in range(4)) for i in range(4)]
        for i in range(4):
            exact = a[i] - policy[i] * whole
            assert abs(mp.mpf(float(local.gradient[i, 0])) - exact) <= own_error[i, 0]
        # of each weight some units of the second derivatives that it is a sum of, those of all pairs by pi
        most, total = 2.0 if name == "squares" else 1.0, sum(map(abs, c.values()))
        bends = problem.weight[:, 0] * scale**2 * most * total**2
        size = sizes(name, problem, at)[0].sum()
        for k, (i, j) in enumerate(zip(high, low, strict=True)):
            exact = -second[i, j] + policy[i] * rows[j] + policy[j] * rows[i]
            exact -= policy[i] * policy[j] * (mp.fsum(rows) + whole)
            assert abs(mp.mpf(float(local.curvature[k, 0])) - exact) <= blur[k, 0] + 1e-6 * abs(exact)
            met = [[{i, j} == {int(ends[s][e]), int(ends[t][e])} for e in range(len(bends))] for s, t in _pairs_of(c)]
            own_bend = sum(bends[np.array(one)].sum() for one in met)
            share = float(policy[i] + policy[j]) * bends.sum() + float(policy[i] * policy[j]) * size
            assert 8 * UNIT * (own_bend + share) <= blur[k, 0] <= 17 * UNIT * (own_bend + share)
        assert (own_error < 1e-10).all() and (blur > 0).all()


def test_of_a_formula_as_of_its_terms() -> None:
    """CPO as a bare formula: errors of at least some units of its parts, not many times those of the terms."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4, 1))
    bare = problems.problem(BareOfEnds(0.7), PLAIN)
    assert bare.is_formula and known(bare)
    policy = np.exp(x - np.logaddexp.reduce(x, axis=0))
    weight, (winner, loser) = bare.weight, bare.edges.ends
    against = 0.7 / (1 + np.exp(0.7 * (x[winner] - x[loser])))
    bend = 4 * 0.7**2 / (2 + np.exp(0.7 * (x[winner] - x[loser])) + np.exp(-0.7 * (x[winner] - x[loser])))
    first, size, second = np.zeros((3, 4, 1))
    for end, slope in ((winner, 1 + against), (loser, against)):
        np.add.at(first, end, weight * slope)
        np.add.at(size, end, weight * np.maximum(slope, 1.0))  # M of CPO, to which any formula's rounding is relative
        np.add.at(second, end, weight * bend)
    count = 4 + len(winner)
    near, blur = rounding(bare, x, expand(bare, x))
    own_ = 8 * UNIT * first + 2 * UNIT * count * first
    assert (near >= own_ + policy * own_.sum(axis=0)).all()
    assert (near <= 6 * (own_ + policy * own_.sum(axis=0)) + 60 * UNIT * (second + 1)).all()
    high, low = pairs(4)
    least = np.zeros((6, 1))
    for k, (i, j) in enumerate(zip(high, low, strict=True)):
        here = ((winner == i) & (loser == j)) | ((winner == j) & (loser == i))
        least[k] = (weight * bend)[here].sum() + ((policy[i] + policy[j]) * (weight * bend).sum())[0]
    np.testing.assert_allclose(blur, 16 * UNIT * least, rtol=1e-6)
    # a common shift of the logits, which the formula does not see, leaves log pi with fewer digits
    for s in (1e4, 1e6):
        far, _ = rounding(bare, x + s, expand(bare, x + s))
        grown = (far - near) / (2 * UNIT * s)
        np.testing.assert_allclose(grown, 2 * policy * size.sum(axis=0), rtol=1e-2)


def test_inverses_of_weights_of_both_signs() -> None:
    """g'H^+ g and resistances by the pseudo-inverse, from above by a millionth; infinite where H is not definite."""
    rng = np.random.default_rng(6)
    n, size = 5, 7
    high, low = pairs(n)
    weights = 0.5 + rng.random((10, size))
    weights[0, 3:] = -0.1  # an edge of the other sign, which the rest outweighs
    weights[0, 6] = -40.0
    blur = np.full((10, size), 1e-9)
    found = _Inverse.of(weights, blur)
    assert found.signed.tolist() == [3, 4, 5, 6]
    gradient = rng.standard_normal((n, size))
    gradient -= gradient.mean(axis=0)
    squared = found.squared(gradient)
    for b in range(size):
        laplacian = np.zeros((n, n))
        for k, (i, j) in enumerate(zip(high, low, strict=True)):
            laplacian += weights[k, b] * np.outer(np.eye(n)[i] - np.eye(n)[j], np.eye(n)[i] - np.eye(n)[j])
        if b == 6:
            assert np.isinf(found.resistance[high, low, b]).all()
            continue
        inverse = np.linalg.pinv(laplacian)
        own_ = np.diag(inverse)
        exact = own_[:, None] + own_ - 2 * inverse
        assert (found.resistance[..., b] >= exact - 1e-12).all()
        np.testing.assert_allclose(found.resistance[..., b], exact, rtol=4e-6, atol=1e-12)
        assert squared[b] >= (gradient[:, b] @ inverse @ gradient[:, b]) * (1 - 1e-12)
        assert squared[b] == pytest.approx(gradient[:, b] @ inverse @ gradient[:, b], rel=2e-5)
    # what a condition of 1e7 leaves is a proof, and what more leaves is none
    for small, proven in ((1e-6, True), (1e-8, False)):
        path = np.zeros((3, 1))
        path[[0, 2], 0] = 1.0, small
        resistance = _dense_inverse(path, 3)[1]
        assert np.isfinite(resistance).all() == proven
        if proven:
            np.testing.assert_allclose(resistance[2, 1, 0], 1 / small, rtol=1e-6)
            np.testing.assert_allclose(resistance[1, 0, 0], 1.0, atol=0.2)


class SomebodysOwn(ea.ForwardKL):
    """Whose rounding nobody knows."""


def test_of_which_losses_rounding_is_known() -> None:
    """Convex, of log-probabilities and nothing that bends them, and without a divergence that is no cross-entropy."""
    bandit = ea.Bandit([0.2, 0.5, 0.3], [0.5, 0.3, 0.2])
    uneven, bent = log_pi_w - 0.5 * log_pi_l, Statistic(((1.0, Powered("w", 0.5)),))
    for made, told in (
        (own(lambda lam: Logistic()(uneven)), True),
        (own(lambda lam: Logistic()(uneven), ea.ForwardKL()), True),
        (own(lambda lam: Logistic()(uneven), SomebodysOwn()), False),
        (own(lambda lam: Logistic()(bent)), False),
        (own(lambda lam: Sigmoid()(-uneven)), False),
        (own(lambda lam: Logistic()(-uneven)), False),
    ):
        problem = problems.problem(made, bandit)
        assert problem.general and known(problem) == told, made.terms
        assert np.isnan(apart_error(problem, problem.log_reference)[0]) or told


@pytest.mark.parametrize("offset", [1e6, 0.0, -1e6])
def test_slopes_are_known_to_eight_units_of_themselves(offset: float) -> None:
    """Squares of a margin of 1e6, whose slope is 2e6: of each response as many units of what meets there, and more."""
    bandit = ea.Bandit([0.2, 0.5, 0.3], [0.5, 0.3, 0.2])
    problem = problems.problem(own(lambda lam: Square()(log_pi_w - 0.5 * log_pi_l - offset)), bandit)
    x = problem.log_reference
    told, _ = rounding(problem, x, expand(problem, x))
    least = np.zeros(3)
    for e, (w, other) in enumerate(zip(*problem.edges.ends, strict=True)):
        slope = 2 * abs(x[w, 0] - 0.5 * x[other, 0] - offset) * problem.weight[e, 0]
        least[w], least[other] = least[w] + slope, least[other] + slope / 2
    assert (told[:, 0] >= 8 * UNIT * least).all() and (told[:, 0] <= 200 * UNIT * (least + 10)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_bound_of_a_solution_knows_of_this_rounding(name: str) -> None:
    objective, bandit, *_ = LOSSES[name]
    found, (problem, _) = ea.solve(objective, bandit), posed(name)
    assert problem.responses is not None
    own_bound = apart_error(problem, found.log_policy[problem.responses[:, 0], None])[0]
    assert found.error_bound == pytest.approx(own_bound, rel=0.3, abs=0.0)
