"""Families over log-linear policies: roots and bases, bounds by their formula, symmetries, and searches."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

import expo_analysis as ea
from expo_analysis.optima.restricted import newton, restricted_optima
from expo_analysis.optima.restricted.certificate import certify, logit_rounding, stretch
from expo_analysis.optima.restricted.family import Root, _bases
from expo_analysis.optima.restricted.newton import concordance
from expo_analysis.optima.restricted.reward import Reward
from expo_analysis.optima.restricted.whole import WholeClass

from . import problems, restricted_oracle
from .test_restricted_bounds import NAMES, objective

UNIT = float(np.finfo(np.float64).eps)


def drawn(seed: Any, n: int = 4, prompts: int = 3, d: int = 2) -> tuple[ea.Bandit, np.ndarray]:
    rng = np.random.default_rng(seed)
    policies = rng.dirichlet(np.full(n, 2.0), (2, prompts))
    return ea.Bandit(*policies, prompt_weights=rng.dirichlet(np.full(prompts, 3.0))), rng.standard_normal(
        (prompts, n, d)
    )


# -------------------------------------------------------------------------------------------------- linear algebra


def test_the_root_of_a_hessian() -> None:
    """R'R = S'S: solutions, lengths in both norms; columns of any scale; told where it is not to be trusted."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5, 7, 3)) * 10.0 ** rng.uniform(-80, 80, (5, 1, 3))
    rows[3, :, 2] = rows[3, :, 1]  # no full rank
    rows[4, 0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        root = Root.of(rows)
    assert root.sound.tolist() == [True, True, True, False, False]
    for b in range(3):
        scale = np.sqrt((rows[b] ** 2).sum(axis=0))
        hessian = (rows[b] / scale).T @ (rows[b] / scale)
        rhs = rng.standard_normal(3)
        exact = np.linalg.solve(hessian, rhs) / scale
        np.testing.assert_allclose(root.solve((rhs * scale)[None].repeat(5, 0))[b], exact, rtol=1e-10)
        white = root.whitened((rhs * scale)[None].repeat(5, 0))[b]
        np.testing.assert_allclose(white @ white, rhs @ np.linalg.solve(hessian, rhs), rtol=1e-10)
        lengths = root.lengths((rhs * scale)[None, None].repeat(5, 0).repeat(2, 1))
        assert lengths.shape == (5, 2)
        np.testing.assert_allclose(lengths[b], np.sqrt(white @ white), rtol=1e-10)
    assert not Root.of(rows[:1, :2]).sound[0]  # fewer rows than d
    # rounding of a millionth: the condition may be what float64's digits leave of it
    for off, sound in ((1e-6, True), (1e-12, False)):
        near = np.array([[[1.0, 1.0], [0.0, off], [0.0, 0.0]]])
        assert Root.of(near).sound[0] == sound


def test_the_basis_of_what_is_seen() -> None:
    """Orthonormal, orthogonal to what no row sees, of the rank of the rows; whatever the scale of the columns."""
    rng = np.random.default_rng(1)
    for rank in (0, 1, 2, 4):
        for scale in (np.ones(4), np.array([1e-9, 1.0, 1e9, 3.0])):
            seen = (rng.standard_normal((2, 9, rank)) @ rng.standard_normal((2, rank, 4))) * scale
            basis, found = _bases(seen)
            assert found.tolist() == [rank, rank]
            for b in range(2):
                own = basis[b, :, :rank]
                np.testing.assert_allclose(own.T @ own, np.eye(rank), atol=1e-12)
                assert (basis[b, :, rank:] == 0).all()
                rest = np.eye(4) - own @ own.T
                assert (np.abs(seen[b] @ rest) <= 1e-9 * np.abs(seen[b]) @ np.ones((4, 4))).all()
    _, found = _bases(rng.standard_normal((3, 2, 4)))
    assert found.tolist() == [2, 2, 2]


# --------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize("name", NAMES)
def test_bounds_are_what_their_formula_says(name: str) -> None:
    """At w that are off by more than rounding: D = sqrt(g'H^-1 g) (-log(1 - delta)/delta), from 50-digit g and H."""
    for seed in range(3):
        bandit, features = drawn([seed, *name.encode()])
        decay = (0.0, 0.2, 0.7)[seed]
        family = problems.restricted_family(objective(name, 0.6), bandit, features, decay)
        w = ea.solve(objective(name, 0.6), bandit, features=features, decay=decay).weights + np.array([2e-3, -1e-3])
        gradient, hessian = decay * w, decay * np.eye(2)
        for x, share in enumerate(bandit.prompt_weights):
            theta = np.log(bandit.reference[x]) + features[x] @ w
            g, h = restricted_oracle.derivatives(
                restricted_oracle.losses(0.6)[name], bandit, x, [mp.mpf(float(t)) for t in theta]
            )
            gradient = gradient + share * features[x].T @ np.array(g.tolist(), dtype=float)[:, 0]
            hessian = hessian + share * features[x].T @ np.array(h.tolist(), dtype=float) @ features[x]
        inverse = np.linalg.inv(hessian)
        differences = features[:, :, None] - features[:, None]
        lengths = np.sqrt(np.einsum("xijd,de,xije->xij", differences, inverse, differences)).max(axis=(1, 2))
        norm, m = np.sqrt(gradient @ inverse @ gradient), concordance(family)[0]
        delta = m * lengths.max() * norm
        assert delta < 0.5
        distance = norm * (-np.log1p(-delta) / delta if m > 0 else 1.0)
        found = certify(family, w[None], concordance(family))
        np.testing.assert_allclose(found.logits[0], lengths * distance, rtol=1e-4)
        np.testing.assert_allclose(found.weights[0], np.sqrt(np.diag(inverse)) * distance, rtol=1e-4)
        assert (found.policies[0] <= 2 * np.tanh(found.logits[0] / 4) * (1 + 1e-9)).all()
    assert np.isnan(stretch(np.array([1.0, 1.5, np.nan]))).all()
    some = np.array([1e-12, 1e-9, 1e-8, 0.3, 0.99])
    np.testing.assert_allclose(stretch(some), np.maximum(-np.log1p(-some) / some, 1 + some / 2), rtol=1e-8)
    assert (stretch(some) >= -np.log1p(-some) / some).all()


@pytest.mark.parametrize("name", ["dpo", "expo", "bradley_terry"])
@pytest.mark.parametrize("decay", [0.0, 3.0])
def test_where_gradients_cancel_the_bound_is_rounding(name: str, decay: float) -> None:
    """All responses alike, w = 0: the gradient is computed as 0 from terms that are not; u times their size stays."""
    bandit = ea.Bandit(np.full((2, 4), 0.25), np.full((2, 4), 0.25), prompt_weights=[0.25, 0.75])
    for size in (1e-3, 1.0, 1e3):
        features = size * np.random.default_rng(2).standard_normal((2, 4, 1))
        family = problems.restricted_family(objective(name, 0.5), bandit, features, decay * size**2)
        found = certify(family, np.zeros((1, 1)), concordance(family))
        flat = np.zeros((4, 2))
        slope = family.cells.gradient_size(flat)
        weighed = float((np.abs(features[:, :, 0].T) * slope * bandit.prompt_weights).sum())
        curved = float(family.hessian(family.cells.expand(flat))[0, 0, 0])
        least = UNIT * weighed / curved
        assert (least < found.weights).all() and (found.weights < 1e4 * least).all()
        spread = np.ptp(features[:, :, 0], axis=1)
        assert (found.logits[0] >= found.weights[0] * spread * 0.9).all()


def test_rounding_of_logits() -> None:
    """2u (d + 2) (|base| + |F||w|), and no less than what 50 digits show."""
    rng = np.random.default_rng(3)
    for d in (1, 2, 5):
        bandit, features = drawn([4, d], d=d)
        base, w = 100 * rng.standard_normal((3, 4)), 10 * rng.standard_normal((1, d))
        family = problems.restricted_family(ea.DPO(0.5), bandit, features, 0.1, base)
        told = logit_rounding(family, w)
        order, found = family.cells.responses, family.logits(w)
        for x in range(3):
            for i in range(4):
                own = order[i, x]
                terms = [mp.mpf(float(f)) * mp.mpf(float(v)) for f, v in zip(features[x, own], w[0], strict=True)]
                exact = mp.mpf(float(base[x, own])) + sum(terms)
                assert abs(mp.mpf(float(found[i, x])) - exact) <= told[i, x]
                size = abs(base[x, own]) + np.abs(features[x, own]) @ np.abs(w[0])
                assert told[i, x] == pytest.approx(UNIT * (d + 2) * size, rel=1e-12, abs=0.0)


def test_what_a_known_error_makes_of_a_logarithm() -> None:
    """log pi is known to e/(pi - e) where pi is to e: of rewards, and of w where features hold every policy."""
    policy = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]])
    bound = np.array([1e-5, 1e-3])
    found = Reward.of(np.log(policy), bound)
    np.testing.assert_allclose(found.error, [1e-5 / (0.2 - 1e-5), 1e-3 / (0.1 - 1e-3)], rtol=1e-12)
    np.testing.assert_array_equal(found.reward, np.log(policy))
    for lost in (np.array([1e-5, np.nan]), np.array([1e-5, 0.11])):
        found = Reward.of(np.log(policy), lost)
        assert np.isfinite(found.error).tolist() == [True, False] and (found.reward[1] == 0).all()
    assert (Reward.of(np.log(policy)).error == 0).all()

    features = np.zeros((2, 3, 4))  # w are the log-ratios to response 0 less those of the base
    features[0, 1, 0] = features[0, 2, 1] = features[1, 1, 2] = features[1, 2, 3] = 2.0
    bandit = ea.Bandit([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], policy)
    shares = np.array([0.5, 0.5])
    from expo_analysis.optima.restricted.arguments import LogLinearClass

    whole = WholeClass.of(LogLinearClass.of(bandit, features, None, 0.0), shares)
    assert whole is not None
    w, off = whole.weights(np.log(policy), bound)
    ratios = np.log(policy[:, 1:] / policy[:, :1]) - np.log(bandit.reference[:, 1:] / bandit.reference[:, :1])
    np.testing.assert_allclose(w, ratios.reshape(-1) / 2, rtol=1e-13)
    each = bound[:, None] / (policy - bound[:, None])
    exact = (each[:, 1:] + each[:, :1]).reshape(-1) / 2
    np.testing.assert_allclose(off, exact, rtol=1e-7)
    assert (off >= exact).all()
    for size in (1e-150, 1.0, 1e150):  # rounding alone, in units of what w does
        scaled = WholeClass.of(LogLinearClass.of(bandit, size * features, None, 0.0), shares)
        assert scaled is not None
        _, off = scaled.weights(np.log(policy), np.zeros(2))
        natural = UNIT * (np.abs(np.log(policy)).max() + np.abs(np.log(bandit.reference)).max()) / (2 * size)
        assert (off > natural / 2).all() and (off < 1e3 * natural).all()
    assert np.isnan(whole.weights(np.log(policy), np.array([0.0, 0.11]))[1][2:]).all()
    alike = features.copy()
    alike[0, 2] = alike[0, 1] + [1e-7, -1e-7, 0.0, 0.0]
    # with decay, too few features, or a prompt without weight, w is more than a change of coordinates
    for spec, own in (
        (LogLinearClass.of(bandit, features, None, 1e-9), shares),
        (LogLinearClass.of(bandit, features[..., :3], None, 0.0), shares),
        (LogLinearClass.of(bandit, features, None, 0.0), np.array([1.0, 0.0])),
        (LogLinearClass.of(bandit, alike, None, 0.0), shares),
        (LogLinearClass.of(bandit, features * [1.0, 0.0, 1.0, 1.0], None, 0.0), shares),
    ):
        assert WholeClass.of(spec, own) is None


# ----------------------------------------------------------------------------------------------------- symmetries


@pytest.mark.parametrize("name", ["dpo", "ipo", "expo", "cpo", "slic", "dpop", "hinge", "orpo", "exo", "rlhf", "fdpo"])
@pytest.mark.parametrize("d", [1, 2])
def test_units_of_features_change_nothing(name: str, d: int) -> None:
    """Features times a power of two, decay times its square: w in the other unit, its bounds too.

    What has kinks is bounded by a gap of values, which is all rounding, and comes out as it comes.
    """
    unit, close = (2.0**3, 10.0) if name in ("slic", "hinge", "dpop") else (2.0**20, 1.5)
    made = ea.DPOP(0.6, penalty=3.0) if name == "dpop" else ea.objective(name, 0.6)
    bandit, features = drawn([d, *name.encode()], d=d)
    for decay in (0.0, 0.25):
        one, other = (ea.solve(made, bandit, features=c * features, decay=c**2 * decay) for c in (1.0, unit))
        for field in ("status", "certificate"):
            assert (getattr(one, field) == getattr(other, field)).all(), field
        off = 1e-9 if one.certificate[0] == "error_bound" else 1e-7
        np.testing.assert_allclose(other.policy, one.policy, rtol=1e-6, atol=off)
        np.testing.assert_allclose(other.weights * unit, one.weights, rtol=1e-6, atol=off)
        np.testing.assert_allclose(other.total, one.total, rtol=1e-12)
        for mine, theirs in ((one.error_bound, other.error_bound), (one.weight_bounds, other.weight_bounds * unit)):
            assert (np.isnan(mine) == np.isnan(theirs)).all()
            assert not (np.maximum(mine, theirs) > close * np.minimum(mine, theirs) + 1e-14).any()


@pytest.mark.parametrize("name", ["dpo", "expo", "slic", "dpop", "orpo", "rlhf"])
@pytest.mark.parametrize("d", [1, 2])
def test_order_of_prompts_and_responses_changes_nothing(name: str, d: int) -> None:
    made = ea.DPOP(0.6, penalty=3.0) if name == "dpop" else ea.objective(name, 0.6)
    bandit, features = drawn([5, d, *name.encode()], d=d)
    rows, columns = [2, 0, 1], [3, 1, 0, 2]
    moved = ea.Bandit(
        bandit.reference[rows][:, columns],
        bandit.optimal[rows][:, columns],
        prompt_weights=bandit.prompt_weights[rows],
    )
    one = ea.solve(made, bandit, features=features, decay=0.1)
    other = ea.solve(made, moved, features=features[rows][:, columns], decay=0.1)
    assert (one.status[rows] == other.status).all() and (one.certificate[rows] == other.certificate).all()
    close = dict(rtol=1e-6, atol=1e-9 if one.certificate[0] == "error_bound" else 1e-7)
    np.testing.assert_allclose(other.policy, one.policy[rows][:, columns], **close)
    np.testing.assert_allclose(other.value, one.value[rows], rtol=1e-9)
    np.testing.assert_allclose(other.weights, one.weights, **close)
    np.testing.assert_allclose(other.error_bound, one.error_bound[rows], rtol=0.7)
    np.testing.assert_allclose(other.weight_bounds, one.weight_bounds, rtol=0.7)


@pytest.mark.parametrize("name", ["dpo", "slic", "orpo", "rlhf"])
def test_a_batch_is_its_problems(name: str) -> None:
    """Of other prompts, lambdas and decays each; values, bounds and verdicts are those of each alone."""
    rng = np.random.default_rng([6, *name.encode()])
    reference, optimal = rng.dirichlet(np.full(3, 2.0), (2, 6))
    lam, decay, features = np.array([0.3, 0.8, 1.7]), np.array([0.1, 0.4, 0.2]), rng.standard_normal((3, 2, 3, 2))
    weights = np.array([0.1, 0.3, 0.2, 0.2, 0.15, 0.05])
    made = ea.objective(name, 1.0).with_lam(lam)
    batch = restricted_optima(made, ea.Bandit(reference, optimal, prompt_weights=weights), features, decay)
    for b in range(3):
        rows = slice(2 * b, 2 * b + 2)
        own = ea.Bandit(reference[rows], optimal[rows], prompt_weights=weights[rows] / weights[rows].sum())
        one = ea.solve(ea.objective(name, float(lam[b])), own, features=features[b], decay=float(decay[b]))
        assert batch.status[b].tolist() == one.status.tolist() and batch.message[b] == one.message[0]
        close = dict(rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(np.exp(batch.log_policy[b]), one.policy, **close)
        np.testing.assert_allclose(batch.weights[b], one.weights, **close)
        np.testing.assert_allclose(batch.value[b], one.value, rtol=1e-10)
        np.testing.assert_allclose(batch.total[b], one.total, rtol=1e-10)
        np.testing.assert_allclose(batch.bound[b], one.error_bound, rtol=0.2)
        np.testing.assert_allclose(batch.weight_bounds[b], one.weight_bounds, rtol=0.2)
        assert 0 < batch.agreeing[b] <= 1 and batch.steps[b] > 0


# -------------------------------------------------------------------------------------------------------- searches


@pytest.mark.parametrize("name", ["orpo", "spo", "exo", "rlhf", "fdpo", "bco"])
def test_searches_end_at_what_another_optimiser_finds(name: str) -> None:
    """The lowest of quasi-Newton runs from many starts is no lower, and a step in any direction is higher."""
    for seed in range(2):
        bandit, features = drawn([7, seed, *name.encode()], n=3, prompts=2, d=2)
        made, rng = ea.objective(name, 0.5), np.random.default_rng(seed)

        def total(w: np.ndarray, made: Any = made, bandit: Any = bandit, features: Any = features) -> float:
            log_policy = log_softmax(np.log(bandit.reference) + features @ w, axis=-1)
            return float(ea.risk(made, bandit, log_policy) @ bandit.prompt_weights + 0.05 * w @ w)

        found = ea.solve(made, bandit, features=features, decay=0.1)
        assert (found.status == "best_found").all() and np.isnan(found.error_bound).all()
        assert total(found.weights) == pytest.approx(found.total, rel=1e-12)
        starts = [np.zeros(2), *rng.standard_normal((3, 2)) * 3]
        best = min(minimize(total, start, method="BFGS", options={"gtol": 1e-8}).fun for start in starts)
        assert found.total <= best + 1e-10
        for size in (1e-3, 1e-1):
            assert all(total(found.weights + size * v) > found.total for v in rng.standard_normal((20, 2)))
        slope = [(total(found.weights + 1e-5 * e) - total(found.weights - 1e-5 * e)) / 2e-5 for e in np.eye(2)]
        assert np.abs(slope).max() < 1e-9


def test_two_minima_of_one_value_are_not_unique() -> None:
    """Two responses that are alike, a feature that tells them apart: one or the other, by intervals and by a search."""
    bandit = ea.Bandit([0.3, 0.3, 0.4], [0.45, 0.45, 0.1])
    found = ea.solve(ea.RLHF(0.02), bandit, features=[[3.0], [-3.0], [0.0]])
    assert abs(found.weights[0]) > 1e-2
    assert found.status == "not_unique" and "several w" in found.message
    searched = ea.solve(ea.RLHF(0.02), bandit, features=[[3.0, 0.1], [-3.0, 0.1], [0.0, 0.0]], decay=1e-3)
    assert abs(searched.weights[0]) > 1e-2
    assert searched.status == "not_unique" and "several policies" in searched.message


def test_fields_of_a_family() -> None:
    """`take` and `replace` keep what belongs together; and what a step does to logits."""
    bandit, features = drawn([8], d=3)
    family = problems.restricted_family(ea.DPO(0.5), bandit, features, 0.1)
    assert family.d == 3 and family.size == 1 and not family.dead.any()
    again = family.take([0, 0])
    assert again.size == 2 and again.base.shape[1] == 6
    step = np.array([[0.3, -0.2, 0.5]])
    moved = features @ step[0]
    assert family.reach(step)[0] == pytest.approx(np.ptp(moved, axis=1).max())
    other = family.replace(decay=np.array([0.7]))
    assert other.decay[0] == 0.7 and dataclasses.replace(other, decay=family.decay).decay[0] == 0.1
    w = np.array([[1.0, 2.0, -1.0]])
    assert other.value(w)[0] - family.value(w)[0] == pytest.approx(0.3 * 6.0)


@pytest.mark.parametrize("name", ["dpo", "expo", "ipo", "cpo"])
def test_a_step_of_newtons_method(name: str) -> None:
    """H^-1 g; where it is longer than 1/M and does not lower the value by a share of its promise, log(1+r)/r of it.

    Its size is r = M reach, or relative to the logits where M is 0.
    """
    seen = set()
    for seed, far in itertools.product(range(6), (0.0, 3.0, 30.0)):
        bandit, features = drawn([9, seed, *name.encode()])
        family = problems.restricted_family(objective(name, 2.0), bandit, features, 0.01)
        w = far * np.random.default_rng(seed).standard_normal((1, 2))
        x = family.logits(w)
        local = family.cells.expand(x)
        gradient, hessian = family.gradient(w, local.gradient)[0], family.hessian(local)[0]
        step = -np.linalg.solve(hessian, gradient)
        reach, m = np.ptp(features @ step, axis=1).max(), concordance(family)[0]
        r = m * reach
        moved, size, sound = newton._step(family, w)
        if not sound[0]:
            continue
        promised = newton.PROMISED * gradient @ step
        falls = family.value(w + step)[0] <= family.value(w)[0] + promised
        damped = r > 1 and not falls
        seen.add((r > 1, bool(damped)))
        expected = step * (np.log1p(r) / r if damped else 1.0)
        np.testing.assert_allclose(moved[0], expected, rtol=1e-6, atol=1e-12)
        spread = np.ptp(x, axis=0).max()
        np.testing.assert_allclose(size[0], r if m > 0 else reach / (1 + spread), rtol=1e-6)
        assert family.value(w + moved)[0] <= family.value(w)[0] + 1e-12
    assert name == "ipo" or {(False, False), (True, False)} <= seen


def test_a_quadratic_takes_one_step_and_one_to_see_it() -> None:
    """Newton's method on IPO, from w = 0, for any decay; and the steps that are told are those."""
    for seed, decay in ((0, 0.0), (1, 0.3)):
        bandit, features = drawn([10, seed])
        found = ea.solve(ea.IPO(0.5), bandit, features=features, decay=decay)
        assert (found.iterations == 2).all() and (found.status == "optimal").all()
