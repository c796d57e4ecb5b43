"""What rounding adds to bounds over log-linear policies grows with what is summed, and where nothing is off it is all.

A sum of k products is known to u k sum|.|: with k of hundreds no fixed number of units would cover it.
"""

from __future__ import annotations

import dataclasses

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.psi import Hinge, Logistic
from expo_analysis.losses.statistics import h
from expo_analysis.optima.restricted.arguments import LogLinearClass
from expo_analysis.optima.restricted.auxiliary import Steps, least_squares
from expo_analysis.optima.restricted.certificate import certify
from expo_analysis.optima.restricted.kinks import Kinked
from expo_analysis.optima.restricted.line import OneLine
from expo_analysis.optima.restricted.newton import concordance
from expo_analysis.optima.restricted.whole import WholeClass

from . import problems
from .own_losses import own
from .test_restricted_kinked import drawn as few_comparisons

UNIT = float(np.finfo(np.float64).eps)


def many(n: int, prompts: int, d: int, seed: int = 0) -> tuple[ea.Bandit, np.ndarray]:
    rng = np.random.default_rng([seed, n, prompts, d])
    shares = rng.dirichlet(np.full(prompts, 3.0))
    return ea.Bandit(*rng.dirichlet(np.full(n, 2.0), (2, prompts)), prompt_weights=shares), rng.standard_normal(
        (prompts, n, d)
    )


def test_w_of_features_that_hold_all_policies() -> None:
    """k = prompts (n - 1) products: bounds of at least u k |A||g|, and of some hundreds of these."""
    bandit, _ = many(31, 5, 1)
    features = np.zeros((5, 31, 150))
    for x in range(5):
        features[x, 1:, 30 * x : 30 * x + 30] = np.eye(30) + 0.1 * np.random.default_rng(x).standard_normal((30, 30))
    whole = WholeClass.of(LogLinearClass.of(bandit, features, None, 0.0), np.asarray(bandit.prompt_weights))
    assert whole is not None
    w, off = whole.weights(np.log(bandit.optimal), np.zeros(5))
    moved = np.log(bandit.optimal / bandit.reference)
    moved = (moved[:, 1:] - moved[:, :1]).reshape(-1)
    inverse = np.linalg.pinv(features[:, 1:].reshape(150, 150))
    np.testing.assert_allclose(w, inverse @ moved, rtol=1e-9, atol=1e-12)
    least = UNIT * 150 * (np.abs(inverse) @ np.abs(moved))
    assert (least < off).all() and (off < 300 * least).all()
    # of a batch each alone
    other = np.log(np.full((5, 31), 1 / 31))
    both = whole.weights(np.stack([np.log(bandit.optimal), other]), np.array([np.zeros(5), np.full(5, 1e-9)]))
    np.testing.assert_allclose(both[0][0], w, rtol=1e-12)
    np.testing.assert_allclose(both[1][1], whole.weights(other, np.full(5, 1e-9))[1], rtol=1e-12)


def test_steps_towards_an_optimum() -> None:
    """Of auxiliary variables: each bound is from its own policy, and at least u k |A||g|; nan where one is lost."""
    bandit, features = many(20, 6, 3)
    base, shares = np.log(bandit.reference), np.asarray(bandit.prompt_weights)
    goal = np.stack([np.log(bandit.optimal), np.log(bandit.reference[:, ::-1])])
    exact = Steps.towards(goal, np.zeros((2, 6)), features, base, shares)
    matrix = least_squares(features, base, shares)
    assert matrix.shape == (3, 120)
    centred = goal - base
    centred = centred - centred.mean(axis=2, keepdims=True)
    for b in range(2):
        sizes = np.abs(matrix) @ np.abs(centred[b]).reshape(-1)
        assert (exact.weight_bounds[b] >= UNIT * 120 * sizes).all()
        assert (exact.weight_bounds[b] <= 300 * UNIT * 120 * sizes).all()
        np.testing.assert_allclose(exact.weights[b], matrix @ centred[b].reshape(-1), rtol=1e-12)
        reach = np.abs(features) @ exact.weight_bounds[b]
        assert (exact.bound[b] >= reach.max(axis=1)).all()
        assert (exact.bound[b] <= 2 * reach.max(axis=1) + 1e-12).all()
    # a policy known to e: its logarithm to e/(pi - e)
    known = np.array([np.full(6, 1e-7), np.full(6, 1e-5)])
    rough = Steps.towards(goal, known, features, base, shares)
    for b in range(2):
        each = known[b][:, None] / (np.exp(goal[b]) - known[b][:, None])
        each = np.where(each >= 0, each, np.inf)
        own = (np.abs(matrix) @ each.reshape(-1)) if np.isfinite(each).all() else np.full(3, np.nan)
        np.testing.assert_allclose(rough.weight_bounds[b], own, rtol=1e-3)
    lost = goal.copy()
    lost[1, 2, 3] = -np.inf
    found = Steps.towards(lost, np.zeros((2, 6)), features, base, shares)
    np.testing.assert_array_equal(found.weights[0], exact.weights[0])
    for values in (found.weights[1], found.weight_bounds[1], found.log_policy[1], found.bound[1]):
        assert np.isnan(values).all()


def test_the_error_of_a_step_worked_by_hand() -> None:
    """Two responses, one feature of 1 and 0, a uniform base: w = g_0 - g_1, the error both of theirs added."""
    half, features, one = np.log([[0.5, 0.5]]), np.array([[[1.0], [0.0]]]), np.ones(1)

    def bound(log_policy: np.ndarray, error: float, base: np.ndarray = half) -> float:
        found = Steps.towards(log_policy[None, None], np.array([[error]]), features, base, one)
        return float(found.weight_bounds[0, 0])

    # 0.8 and 0.2, known to 0.1: logarithms to 1/7 and 1
    assert bound(np.log([0.8, 0.2]), 0.1) == pytest.approx(1 / 7 + 1, rel=1e-12)
    for error in (0.2, 0.3):  # 0.2 may be 0
        assert np.isnan(bound(np.log([0.8, 0.2]), error))
    # nothing but rounding, and a goal of 0 all over: four units of log pi and of the base each
    far = np.array([-700.0, -700.0])
    for base in (-700.0, -700.0 + 2**-20):  # whose mean is taken off
        assert bound(far, 0.0, np.full((1, 2), base)) == pytest.approx(2 * 4 * 1400 * UNIT, rel=1e-6, abs=0.0)
    # goals of +-2.5, whose 64 units for each of two responses come on top
    apart = np.array([-1.0, -6.0])
    own = 4 * (1 + 6 + 2 * np.log(2)) + 64 * 2 * (2.5 + 2.5)
    assert bound(apart, 0.0) == pytest.approx(own * UNIT, rel=1e-12, abs=0.0)


@pytest.mark.parametrize("d", [3, 60])
def test_gradients_of_many_parameters(d: int) -> None:
    """Of two responses, w times decay beside their gradient: u k of each number's size at least, k = 2 d and a few."""
    bandit, features = many(2, 1, d)
    decay, made = 0.1, ea.DPO(0.6)
    bandit = ea.Bandit(bandit.reference[0], bandit.optimal[0])
    w = ea.solve(made, bandit, features=features[0], decay=decay).weights
    family = problems.restricted_family(made, bandit, features, decay)
    found = certify(family, w[None], concordance(family))
    local = family.cells.expand(family.logits(w[None]))
    each = np.sqrt(np.diag(np.linalg.inv(family.hessian(local)[0])))
    size = np.abs(features[0]).sum(axis=0) * np.abs(local.gradient).max() + decay * np.abs(w)
    least = each * 2 * UNIT * 2 * d * (each @ size)
    assert (least <= found.weights[0]).all() and (found.weights[0] <= 40 * least).all()


@pytest.mark.parametrize("name", ["dpo", "expo", "cpo", "ipo", "rpo"])
def test_gradients_over_many_prompts(name: str) -> None:
    """At the minimiser all of the gradient is rounding: told to be u k of the sum's size at least, k = prompts n."""
    bandit, features = many(6, 40, 2)
    made = ea.objective(name, 0.6)
    family = problems.restricted_family(made, bandit, features, 0.1)
    w = ea.solve(made, bandit, features=features, decay=0.1).weights
    found = certify(family, w[None], concordance(family))
    x = family.logits(w[None])
    local = family.cells.expand(x)
    hessian = family.hessian(local)[0]
    inverse = np.linalg.inv(hessian)
    order = family.cells.responses
    moved = np.stack([features[k, order[:, k]] for k in range(40)])  # (P, n, d)
    summed = np.einsum("pnd,np,p->d", np.abs(moved), np.abs(local.gradient), bandit.prompt_weights)
    own = np.sqrt(np.diag(inverse))
    least = UNIT * 240 * float(np.sqrt(np.linalg.eigvalsh(inverse).max()) * summed.min())
    assert (found.weights[0] >= own * least * 0.5).all()
    assert (found.weights[0] < 1e-11).all() and (found.policies[0] < 1e-11).all()


@mp.workdps(50)
@pytest.mark.parametrize("name", ["dpo", "cpo"])
def test_values_and_slopes_along_a_line_of_large_logits(name: str) -> None:
    """What rounding does to value, slope and bend of DPO and CPO, t far out: never more than is told, in 50 digits."""
    bandit, features = many(5, 3, 1)
    made = ea.objective(name, 0.6)
    line = OneLine(problems.restricted_family(made, bandit, features, 0.3))
    order = line.family.cells.responses
    lam, alpha = mp.mpf(0.6), 1 if name == "cpo" else 0
    for t in (-40.0, -3.0, 0.1, 7.0, 55.0):
        at = line.at(np.array([t]))
        value, slope, bend = (mp.mpf(line.decay) * c for c in (mp.mpf(t) ** 2 / 2, mp.mpf(t), 1))
        for x in range(3):
            own = order[:, x]
            f = [mp.mpf(float(v)) for v in features[x, own, 0]]
            reference = [mp.mpf(float(v)) for v in bandit.reference[x, own]]
            optimal = [mp.mpf(float(v)) for v in bandit.optimal[x, own]]
            share, q = mp.mpf(float(bandit.prompt_weights[x])), bandit.pairs.reshape(-1, 5, 5)[x][np.ix_(own, own)]
            theta = [mp.log(r) + c * mp.mpf(t) for r, c in zip(reference, f, strict=True)]
            total = mp.fsum(mp.exp(v) for v in theta)
            policy = [mp.exp(v) / total for v in theta]
            mean = mp.fdot(policy, f)
            variance = mp.fsum(p * (c - mean) ** 2 for p, c in zip(policy, f, strict=True))
            for i in range(5):
                for j in range(5):
                    if i == j:
                        continue
                    weight = share * 2 * mp.mpf(float(q[i, j])) * optimal[i] / (optimal[i] + optimal[j])
                    rise = f[i] - f[j]
                    m = lam * (theta[i] - theta[j] - (mp.log(reference[i] / reference[j]) if name == "dpo" else 0))
                    against = 1 / (1 + mp.exp(m))
                    value += weight * (mp.log(1 + mp.exp(-m)) - alpha * mp.log(policy[i]))
                    slope += weight * (-against * lam * rise - alpha * (f[i] - mean))
                    bend += weight * (against * (1 - against) * (lam * rise) ** 2 + alpha * variance)
        for found, exact, noise in (
            (at.value, value, at.value_noise),
            (at.slope, slope, at.slope_noise),
            (at.bend, bend, at.bend_noise),
        ):
            assert abs(mp.mpf(float(found[0])) - exact) <= noise[0], t
            assert noise[0] <= 1e-10 * (1 + abs(float(exact)))


@pytest.mark.parametrize("name", ["dpo", "cpo", "expo"])
def test_bounds_grow_with_the_base_as_logits_lose_digits(name: str) -> None:
    """A base that is s higher on every response: the same policies, from logits that are known to u s less.

    Each pair's slope is then off by its bend times u s at least, which costs the pair's length in the norm.
    """
    bandit, features = many(4, 3, 2)
    made, base = ea.objective(name, 0.6), np.log(bandit.reference)
    w = ea.solve(made, bandit, features=features, decay=0.2).weights[None]
    found = {}
    for s in (0.0, 1e5, 1e7):
        family = problems.restricted_family(made, bandit, features, 0.2, base + s)
        found[s] = certify(family, w, concordance(family))
    family = problems.restricted_family(made, bandit, features, 0.2)
    local = family.cells.errors(family.logits(w))
    inverse = np.linalg.inv(family.hessian(family.cells.expand(family.logits(w)))[0])
    lengths = np.sqrt(np.einsum("xkd,de,xke->xk", family.pair_directions[0], inverse, family.pair_directions[0]))
    per_unit = float((np.asarray(bandit.prompt_weights) * (local.bend.T * lengths).sum(axis=1)).sum())
    own = np.sqrt(np.diag(inverse))
    for s in (1e5, 1e7):
        grown = found[s].weights[0] - found[0.0].weights[0]
        assert (grown >= 2 * UNIT * s * own * per_unit).all() and (grown <= 40 * UNIT * s * own * (per_unit + 5)).all()
        if name == "dpo":  # two logits, each known to u (d + 2) s, and nothing else: what all share is taken away first
            assert (grown <= 12 * UNIT * s * own * per_unit).all()
        spread = found[s].logits[0] - found[0.0].logits[0]
        assert (spread >= 2 * UNIT * s * 4 * 0.9).all()


@pytest.mark.parametrize("name", ["dpo", "cpo", "rlhf"])
def test_noise_along_a_line_grows_with_the_base(name: str) -> None:
    """Values by what logits do to them, slopes by their bends: at least u s of it, at most some tens."""
    bandit, features = many(4, 3, 1)
    made, base = ea.objective(name, 0.6), np.log(bandit.reference)
    t = np.array([-1.0, 0.3, 2.0])
    lines = {s: OneLine(problems.restricted_family(made, bandit, features, 0.2, base + s)) for s in (0.0, 1e6)}
    near, far = (lines[s].at(t) for s in (0.0, 1e6))
    for k, at in enumerate(t):
        line = lines[0.0]
        x = line.base + line.f * at
        size = line.family.cells.gradient_size(x).sum(axis=0) @ line.shares
        grown = far.value_noise[k] - near.value_noise[k]
        assert 2 * UNIT * 1e6 * size <= grown <= 10 * UNIT * 1e6 * size
        curved = float(near.bend[k] - line.decay) if name != "rlhf" else 0.0
        reach = np.ptp(line.f, axis=0).max()
        grown = far.slope_noise[k] - near.slope_noise[k]
        assert UNIT * 1e6 * curved / reach <= grown <= 100 * UNIT * 1e6 * (size * reach + curved)


def test_bounds_with_kinks_over_many_prompts() -> None:
    """On no kink: u k of what the gradient is a sum of, k = the pairs of all prompts, by the length of each number."""
    bandit, features = many(6, 40, 2)
    made = own(lambda lam: Hinge()(lam * h + 30.0) + Logistic()(lam * h))  # a kink that is far off
    found = ea.solve(made, bandit, features=features, decay=0.1)
    family = problems.restricted_family(made, bandit, features, 0.1)
    local = Kinked(family).at(found.weights, np.zeros(40 * 15 * 2))
    inverse = np.linalg.inv(local.rows.T @ local.rows)
    length = np.sqrt(np.diag(inverse))
    least = UNIT * 600 * length * (length @ local.size)
    assert (found.weight_bounds >= least).all() and (found.weight_bounds <= 1e3 * least).all()


def test_bounds_with_kinks_grow_with_the_base() -> None:
    """A gap of u s times the heights of the kinks that a minimiser is on: bounds grow by its root, elsewhere by u s."""
    seen = set()
    for seed in range(4):
        bandit, features = few_comparisons(np.random.default_rng(seed), 4, 3, 2)
        base = np.log(bandit.reference)
        one, other = (
            ea.solve(ea.SLiC(0.6), bandit, features=features, base=base + s, decay=0.3).weight_bounds
            for s in (1e2, 1e4)
        )
        kinked = bool(other[0] > 1e-8)
        seen.add(kinked)
        np.testing.assert_allclose(other / one, 10.0 if kinked else 100.0, rtol=0.1)
        off = 0.15 * other**2 if kinked else other
        assert (off > 0.3 * UNIT * 1e4).all() and (off < 1e3 * UNIT * 1e4).all()
    assert seen == {True, False}


def test_what_an_error_of_rewards_does_along_a_line() -> None:
    """A reward that is off by e: the k-th derivative of E[r] by e (2 range(f))^k at most, which is what is told."""
    rng = np.random.default_rng(3)
    bandit, features = many(4, 1, 1)
    line = OneLine(problems.restricted_family(ea.RLHF(0.5), bandit, features, 0.2))
    t, e = np.array([-0.7, 0.0, 1.3]), 1e-3

    def at(error: float, moved: np.ndarray) -> np.ndarray:
        cells = dataclasses.replace(
            line.family.cells, error=np.full(1, error), reward=line.family.cells.reward + moved[:, None]
        )
        found = OneLine(line.family.replace(cells=cells)).at(t)
        return np.stack([getattr(found, f.name) for f in dataclasses.fields(found)])

    exact, told = at(0.0, np.zeros(4)), at(e, np.zeros(4))
    spread = float(np.ptp(features))
    for k, noise in enumerate(told[3:] - exact[3:]):
        np.testing.assert_allclose(noise, e * (2 * spread) ** k, rtol=1e-6)
    for _ in range(20):
        moved = e * rng.choice([-1.0, 1.0], 4)
        assert (np.abs(at(0.0, moved)[:3] - exact[:3]) <= told[3:]).all()


@pytest.mark.parametrize("name", ["expo", "spo", "dpo"])
def test_values_lose_the_digits_of_what_they_are_a_sum_of(name: str) -> None:
    """lam times the moduli of the divergence's terms, which cancel; of a reward twice the mean of its moduli."""
    bandit, features = many(4, 2, 1)
    for lam in (1e-3, 1e3):
        line = OneLine(problems.restricted_family(ea.objective(name, lam), bandit, features, 0.2))
        x = line.base + line.f * 0.5
        found = OneLine._magnitude(line.tiled(1), x)
        log_policy, log_reference = x - np.logaddexp.reduce(x, axis=0), line.family.cells.log_reference
        terms = {
            "expo": np.exp(log_reference) * (log_reference - log_policy),
            "spo": np.exp(log_policy) * (log_policy - log_reference),
            "dpo": 0.0 * x,
        }[name]
        np.testing.assert_allclose(found, lam * np.abs(terms).sum(axis=0), rtol=1e-9)
    line = OneLine(problems.restricted_family(ea.RLHF(0.5), bandit, features, 0.2))
    policy = np.exp(line.base - np.logaddexp.reduce(line.base, axis=0))
    found = OneLine._magnitude(line.tiled(1), line.base)
    np.testing.assert_allclose(found, 2 * (policy * np.abs(line.family.cells.reward)).sum(axis=0), rtol=1e-12)
