"""Bounds from multipliers, against minimisers in exact fractions: every corner is tried."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog

import expo_analysis as ea
from expo_analysis.optima.sharp import nearest


def corners(rows, slope, intercept):
    """All points (d,) of fractions at which d independent margins are at kinks of theirs."""
    d = len(rows[0])
    kinks = [
        (row, (intercept[b][e] - intercept[a][e]) / (slope[a][e] - slope[b][e]))
        for e, row in enumerate(rows)
        for a, b in itertools.combinations(range(len(slope)), 2)
        if slope[a][e] != slope[b][e]
    ]
    for some in itertools.combinations(kinks, d):
        found = solved([list(row) for row, _ in some], [at for _, at in some])
        if found is not None:
            yield found


def solved(matrix, right):
    """Gauss's elimination in fractions; None if singular."""
    rows = [[*map(Fraction, row), value] for row, value in zip(matrix, right, strict=True)]
    for k in range(len(rows)):
        pivot = next((r for r in range(k, len(rows)) if rows[r][k] != 0), None)
        if pivot is None:
            return None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [x / rows[k][k] for x in rows[k]]
        for r in range(len(rows)):
            if r != k:
                rows[r] = [x - rows[r][k] * y for x, y in zip(rows[r], rows[k], strict=True)]
    return [row[-1] for row in rows]


def exact_minimisers(rows, slope, intercept, weight, gradient):
    """The corners with the lowest value, in fractions; of a function that falls nowhere without end."""

    def value(z):
        total = sum(g * x for g, x in zip(gradient, z, strict=True))
        for e, row in enumerate(rows):
            margin = sum(a * x for a, x in zip(row, z, strict=True))
            total += weight[e] * max(s[e] * margin + b[e] for s, b in zip(slope, intercept, strict=True))
        return total

    found = {tuple(z): value(z) for z in corners(rows, slope, intercept)}
    least = min(found.values())
    return [z for z, at in found.items() if at == least]


def as_fractions(array):
    return [as_fractions(x) for x in array] if np.ndim(array) else Fraction(float(array))


def drawn(rng, d, count, lines):
    """Maxima of lines, with minimisers: a slope of either sign at every row, and rows that span everything."""
    rows = rng.integers(-2, 3, (count, d)).astype(float)
    rows[:d] += 3 * np.eye(d)
    slope = rng.integers(-3, 4, (lines, count)).astype(float)
    slope[0], slope[1] = -rng.integers(1, 4, count), rng.integers(1, 4, count)
    weight = rng.uniform(0.1, 1, count) * 10 ** rng.uniform(-2, 0, count)
    return rows, slope, rng.uniform(-2, 2, (lines, count)), weight, 0.01 * rng.standard_normal(d) * weight.min()


def program(rows, slope, intercept, weight, gradient):
    """z and multipliers (K, E), by HiGHS."""
    lines, count = slope.shape
    upper = np.concatenate([np.hstack([slope[k][:, None] * rows, -np.eye(count)]) for k in range(lines)])
    bounds = [(None, None)] * (rows.shape[1] + count)
    found = linprog(np.r_[gradient, weight], A_ub=upper, b_ub=-intercept.ravel(), bounds=bounds, method="highs-ds")
    assert found.success
    return found.x[: rows.shape[1]], -found.ineqlin.marginals.reshape(lines, count)


@pytest.mark.parametrize(("d", "count", "lines"), [(1, 3, 2), (1, 4, 3), (2, 4, 2), (2, 3, 3), (3, 5, 2)])
def test_no_minimiser_is_farther_than_the_bound(d, count, lines):
    """Of the program's own numbers, and of worse ones: multipliers and points that are off by up to a tenth."""
    rng = np.random.default_rng([d, count, lines])
    known = tight = 0
    for _ in range(15):
        problem = drawn(rng, d, count, lines)
        exact = np.array([[float(x) for x in z] for z in exact_minimisers(*map(as_fractions, problem))])
        z, multipliers = program(*problem)
        for off in (0.0, 1e-12, 1e-6, 1e-3, 0.1):
            worse = multipliers * (1 + off * rng.standard_normal(multipliers.shape))
            at = z + off * rng.standard_normal(d)
            nearer, bound = nearest(*problem, worse, at)
            assert (np.abs(exact - nearer) <= bound).all()
            known += np.isfinite(bound).all()
            tight += off == 0 and len(exact) == 1 and bound.max() < 1e-9
    assert known > 30 and tight > 10


def test_what_proves_nothing():
    """Several minimisers, weights of nothing, one line only, multipliers of another problem."""
    rows, slope = np.array([[1.0]]), np.array([[-1.0], [1.0]])
    intercept, weight, none = np.array([[0.0], [0.0]]), np.array([1.0]), np.zeros(1)
    even = np.array([[0.5], [0.5]])
    for start in (0.0, 3.0):  # |z|: wherever one starts from
        z, off = nearest(rows, slope, intercept, weight, none, even, np.array([start]))
        assert z == [0.0] and off < 1e-15

    def unproven(*problem):
        z, off = nearest(*problem)
        return (z == problem[-1]).all() and np.isinf(off).all()

    assert unproven(rows, slope, intercept, weight, none, np.array([[1.0], [0.0]]), np.array([0.0]))
    assert unproven(rows, slope[:1], intercept[:1], weight, none, weight[None], np.array([0.0]))
    assert unproven(rows, 0 * slope, intercept, weight, none, even, np.array([0.0]))
    # |z_0 - 1| and nothing of z_1
    wide = np.array([[1.0, 0.0]])
    assert unproven(wide, slope, np.array([[1.0], [-1.0]]), weight, np.zeros(2), even, np.ones(2))
    # multipliers out of balance by more than they are worth
    tilted = np.array([[0.9], [0.1]])
    assert unproven(rows, slope, intercept, weight, none, tilted, np.array([0.0]))


@pytest.mark.parametrize("lam", [1e-3, 0.1, 1.0, 40.0])
def test_the_hinge_has_proven_bounds(lam):
    """Three responses, all pairs: scores in fractions, and from them the policy."""
    rng = np.random.default_rng(int(1000 * lam))
    for _ in range(12):
        weights = 10 ** rng.uniform(-3, 0, (3, 3))
        np.fill_diagonal(weights, 0.0)
        bandit = ea.Bandit.from_counts(rng.dirichlet(np.ones(3)), weights)
        solution = ea.solve(ea.Hinge(lam), bandit)
        rows, wins = [], []
        for i, j in itertools.permutations(range(3), 2):
            rows.append([(i == k) - (j == k) for k in (1, 2)])
            wins.append(Fraction(float(bandit.wins[i, j])))
        steep = [[-Fraction(lam)] * 6, [Fraction(0)] * 6]
        exact = exact_minimisers(rows, steep, [[Fraction(1)] * 6, [Fraction(0)] * 6], wins, [Fraction(0)] * 2)
        if len(exact) > 1:
            assert solution.status == "not_unique"
            continue
        assert solution.status == "optimal" and solution.certificate == "error_bound"
        scores = np.array([0.0, *(float(x) for x in exact[0])])
        logits = np.log(bandit.reference) + scores
        policy = np.exp(logits - np.logaddexp.reduce(logits))
        assert np.abs(policy - solution.policy).sum() <= solution.error_bound + 1e-15
        assert solution.error_bound < 1e-6


def test_over_restricted_policies_too():
    rng = np.random.default_rng(3)
    for _ in range(20):
        lam = float(10 ** rng.uniform(-1, 1))
        bandit = ea.Bandit(*rng.dirichlet(np.ones(3), 2))
        features = rng.integers(-2, 3, (3, 1)).astype(float)
        if np.ptp(features) == 0:
            continue
        solution = ea.solve(ea.Hinge(lam), bandit, features=features)
        rows, wins = [], []
        for i, j in itertools.permutations(range(3), 2):
            rows.append([Fraction(float(features[i, 0] - features[j, 0]))])
            wins.append(Fraction(float(bandit.wins[i, j])))
        used = [k for k, row in enumerate(rows) if row[0] != 0]
        steep = [[-Fraction(lam)] * len(used), [Fraction(0)] * len(used)]
        flat = [[Fraction(1)] * len(used), [Fraction(0)] * len(used)]
        exact = exact_minimisers([rows[k] for k in used], steep, flat, [wins[k] for k in used], [Fraction(0)])
        if len(exact) == 1:
            assert solution.certificate == "error_bound"
            assert abs(solution.weights[0] - float(exact[0][0])) <= solution.weight_bounds[0] < 1e-6
