"""Methods for kinks over log-linear policies: conditions for a minimum, by a solver that knows nothing of the methods.

At z some tau in [0, 1], 1 above each kink and 0 below it, must make the gradient of L(z, tau) zero: a bounded least
squares problem in the tau of the kinks that z is on.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog, lsq_linear
from scipy.special import log_softmax

import expo_analysis as ea
from expo_analysis.losses.data import reference_log_ratio
from expo_analysis.losses.psi import Hinge, Linear, Logistic, Stated
from expo_analysis.losses.statistics import h, hbar, log_pi_w
from expo_analysis.numerics import log_sigmoid
from expo_analysis.optima.restricted import kinked as method
from expo_analysis.optima.restricted.found import one_found
from expo_analysis.optima.restricted.kinks import Kinked
from expo_analysis.optima.solution import Certificate, Status

from . import problems
from .own_losses import own

OBJECTIVES: dict[str, ea.Objective] = {
    "slic": ea.SLiC(0.6),
    "hinge": ea.Hinge(0.6),
    "dpop": ea.DPOP(0.6, penalty=3.0),
    "two hinges": own(lambda lam: Hinge(0.3)(lam * hbar) + 0.4 * Hinge(0.7)(-2.0 * h)),
    "hinge and logistic": own(lambda lam: Hinge(0.5)(2.0 * h) + 0.3 * Logistic()(1.5 * hbar)),
    "hinge, line": own(lambda lam: Hinge(0.3)(3.0 * hbar) + 0.2 * Linear(0.5)(h) + 0.1 * Linear(-1.0)(log_pi_w)),
}


def drawn(rng: np.random.Generator, n: int, prompts: int, d: int) -> tuple[ea.Bandit, np.ndarray]:
    """A few comparisons a prompt, so that minimisers sit on kinks."""
    counts = np.zeros((prompts, n, n))
    for x in range(prompts):
        for _ in range(3):
            i, j = rng.choice(n, 2, replace=False)
            counts[x, i, j] += int(rng.integers(1, 4))
            counts[x, j, i] += int(rng.integers(0, 2))
    bandit = ea.Bandit.from_counts(
        rng.dirichlet(np.full(n, 3.0), prompts), counts, prompt_weights=rng.dirichlet(np.full(prompts, 3.0))
    )
    return bandit, rng.standard_normal((prompts, n, d))


def residual(kinked: Kinked, z: np.ndarray, off: float) -> float:
    """How far the conditions for a minimum are from holding at z, kinks nearer than ``off`` counting as met."""
    kappa = kinked.kappa(kinked.family.logits(kinked.w(z)))
    on, tau = np.abs(kappa) <= off, (kappa > 0) * 1.0
    at = kinked.at(z, np.where(on, 0.0, tau))
    columns = []
    for k in np.flatnonzero(on):
        columns.append(kinked.at(z, np.where(on, np.arange(len(kappa)) == k, tau)).gradient - at.gradient)
    if not columns or not np.abs(np.array(columns)).max() > 0:
        return float(np.abs(at.gradient).max())
    found = lsq_linear(np.array(columns).T, -at.gradient, (0.0, 1.0), tol=1e-14)
    return float(np.abs(np.array(columns).T @ found.x + at.gradient).max())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_conditions_hold_at_what_is_called_a_minimiser(name: str) -> None:
    """With and without decay, on many kinks and few: where a verdict says so, and nearly everywhere it does.

    No step is lower, those to the minimisers of other decays among them.
    """
    objective, settled, met = OBJECTIVES[name], 0, 0
    rng = np.random.default_rng([1, *name.encode()])
    for k in range(9):
        n, prompts, d = [(3, 2, 1), (4, 1, 2), (3, 3, 2), (4, 2, 3)][k % 4]
        bandit, features = drawn(rng, n, prompts, d)
        decay = (0.0, 0.05, 0.5)[k % 3]
        kinked = Kinked(problems.restricted_family(objective, bandit, features, decay))
        if name == "dpop" or decay > 0 or objective.facts.self_concordance is not None:
            found = method.solve(kinked.family, np.zeros((1, d)))
        else:
            solution = ea.solve(objective, bandit, features=features)
            found = None
        status = found.status[0, 0] if found is not None else solution.status[0] if prompts > 1 else solution.status
        w = found.w[0] if found is not None else solution.weights
        if status not in ("optimal", "not_unique"):
            assert status == "no_minimiser" and decay == 0
            continue
        settled += 1
        rank = kinked.family.rank[0]
        z = kinked.family.basis[0, :, :rank].T @ w
        kappa = kinked.kappa(kinked.family.logits(kinked.w(z)))
        met += int((np.abs(kappa) < 1e-6).sum())
        assert residual(kinked, z, 1e-6 * (1 + np.abs(z).max())) < 1e-6, (k, decay)

        def value(z: np.ndarray, kinked: Kinked = kinked) -> float:
            above = kinked.kappa(kinked.family.logits(kinked.w(z))) > 0
            return kinked.at(z, above * 1.0).value

        for size in (1e-3, 0.1, 3.0):
            assert all(value(z + size * v) >= value(z) - 1e-9 for v in rng.standard_normal((10, rank)))
    assert settled >= 5 and met >= 3


def test_bounds_with_kinks_hold() -> None:
    """The minimiser, to far more digits than its bound, from Newton's method on the kinks that it is on.

    Bounds are at most of the order of the root of what rounding hides from values.
    """
    rng = np.random.default_rng(2)
    for name, objective in OBJECTIVES.items():
        for n, prompts, d in [(3, 2, 1), (4, 3, 2), (3, 1, 3)]:
            bandit, features = drawn(rng, n, prompts, d)
            solution = ea.solve(objective, bandit, features=features, decay=0.2)
            assert np.all(solution.status == "optimal"), name
            kinked = Kinked(problems.restricted_family(objective, bandit, features, 0.2))
            z, tau = solution.weights, None
            kappa = kinked.kappa(kinked.family.logits(kinked.w(z)))
            sharp = method._on_kinks(kinked, z + 1e-7, np.where(np.abs(kappa) < 1e-5, 0.5, (kappa > 0) * 1.0))
            assert sharp is not None
            off, tau = np.abs(sharp[0] - z), sharp[1]
            assert ((tau >= 0) & (tau <= 1)).all()
            assert (off <= solution.weight_bounds).all() and (solution.weight_bounds < 1e-5).all()
            assert (solution.weight_bounds > 1e-16).all()


def test_far_from_it_the_bound_is_what_its_formula_says() -> None:
    """At z and tau far from the minimiser, of y^2 omega(c y) <= gap + norm y with gap F - L and norm sqrt(g'H^-1 g).

    Twice the gap, or up to four times, is as good: how much a kink costs is not known on the way.
    """
    for name, objective in OBJECTIVES.items():
        rng = np.random.default_rng([3, *name.encode()])
        bounded = 0
        for n, prompts, d in [(3, 2, 1), (4, 3, 2), (3, 2, 4)]:
            bandit, features = drawn(rng, n, prompts, d)
            kinked = Kinked(problems.restricted_family(objective, bandit, features, 0.5))
            z = ea.solve(objective, bandit, features=features, decay=0.5).weights + 1e-4 * rng.standard_normal(d)
            kappa = kinked.kappa(kinked.family.logits(kinked.w(z)))
            tau = np.where(np.abs(kappa) < 1e-2, method._tau(kinked, z, 1e-4), (kappa > 0) * 1.0)
            at = kinked.at(z, tau)
            inverse = np.linalg.inv(at.rows.T @ at.rows)
            gap, norm = kinked.at(z, (kappa > 0) * 1.0).value - at.value, np.sqrt(at.gradient @ inverse @ at.gradient)
            moves = kinked.directions[:, None] - kinked.directions[None]
            c = method._concordance(kinked) * np.sqrt(np.einsum("ijxd,de,ijxe->ijx", moves, inverse, moves).max())
            found = method._judged(kinked, z, tau)
            np.testing.assert_allclose(found.w[0], z)
            least, most = (method._largest_step(times * gap, norm, c) for times in (1.0, 4.0))
            if np.isfinite(most):
                bounded += 1
                own = np.sqrt(np.diag(inverse))
                assert (found.weight_bound[0] >= own * least * (1 - 1e-9)).all()
                assert (found.weight_bound[0] <= own * most * (1 + 1e-4)).all()
            elif not np.isfinite(least):
                assert np.isnan(found.weight_bound).all()
        assert bounded, name


def test_where_nothing_but_kinks_holds_a_direction() -> None:
    """There is no bound, but conditions: the logistic part has no weight where the reference tells nothing apart.

    Two prompts, each with a direction of its own: on the second the kinks at -1 and 1 are all there is.
    """
    counts = np.zeros((2, 2, 2))
    counts[0, 0, 1], counts[0, 1, 0], counts[1, 0, 1] = 3, 1, 2
    bandit = ea.Bandit.from_counts([[0.4, 0.6], [0.5, 0.5]], counts)
    features = np.zeros((2, 2, 2))
    features[0, 0, 0] = features[1, 0, 1] = 1.0
    weight = 2.0 * reference_log_ratio * reference_log_ratio
    for back, many in ((0.5, False), (1.0, True)):
        objective = own(
            lambda lam, back=back: weight * Logistic()(h) + 0.5 * Hinge(1.0)(h) + 0.5 * back * Hinge(1.0)(-h)
        )
        found = ea.solve(objective, bandit, features=features)
        assert np.all(found.status == "optimal") and np.all(found.certificate == Certificate.CONDITIONS)
        assert np.isnan(found.error_bound).all() and np.isnan(found.direction).all()
        assert ("there may be others" in found.message[0]) == many
        assert -1 - 1e-9 <= found.weights[1] <= 1 + 1e-9 and (many or abs(found.weights[1] - 1) < 1e-9)
        kinked = Kinked(problems.restricted_family(objective, bandit, features, 0.0))
        assert residual(kinked, found.weights, 1e-8) < 1e-8


def test_piecewise_linear_problems_by_another_program() -> None:
    """The least value, by a program in epigraph form of its own; w of least norm among all; what is open is told."""
    rng = np.random.default_rng(4)
    seen = set()
    for k in range(16):
        n, prompts, d = [(3, 1, 2), (3, 2, 2), (4, 2, 3), (4, 1, 1)][k % 4]
        bandit, features = drawn(rng, n, prompts, d)
        if k % 5 == 0:
            features[..., -1] = 0.5 * features[..., 0]
        lam = (0.5, 1.0, 2.0)[k % 3]
        found = ea.solve(ea.Hinge(lam), bandit, features=features)
        x, i, j = np.nonzero(bandit.wins > 0)
        weight = bandit.wins[x, i, j] * np.asarray(bandit.prompt_weights)[x]
        moved = lam * (features[x, i] - features[x, j])
        count = len(x)
        goal = np.r_[np.zeros(d), weight]
        upper = np.hstack([-moved, -np.eye(count)])
        least = linprog(goal, upper, -np.ones(count), bounds=[(None, None)] * d + [(0, None)] * count)
        total = (weight * np.maximum(0.0, 1 - moved @ found.weights)).sum()
        np.testing.assert_allclose(found.total, total, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(total, least.fun, atol=1e-8)
        assert np.isin(found.status, ("optimal", "not_unique")).all() and (found.certificate != "none").all()
        proven = found.certificate[0] == Certificate.ERROR_BOUND
        assert np.isfinite(found.error_bound).all() == np.isfinite(found.weight_bounds).all() == proven
        # how far each coordinate goes among minimisers
        fixed = np.vstack([upper, goal[None]])
        limits = np.r_[-np.ones(count), least.fun + 1e-9]
        ends = []
        for c in range(d):
            for sign in (1.0, -1.0):
                one = linprog(
                    sign * np.eye(d + count)[c], fixed, limits, bounds=[(None, None)] * d + [(0, None)] * count
                )
                ends.append(one.fun if one.status == 0 else -np.inf)
        open_ = -np.add(ends[::2], ends[1::2]) > 1e-5
        unique = not open_.any()
        seen.add((unique, bool(np.isinf(ends).any())))
        assert unique == (np.all(found.status == "optimal") and "directions" not in str(found.message)), k
        for w in rng.standard_normal((40, d)) * 3 + found.weights:
            if (weight * np.maximum(0.0, 1 - moved @ w)).sum() <= least.fun + 1e-12:
                assert np.linalg.norm(w) >= np.linalg.norm(found.weights) - 1e-6
        if not unique and "least for many w" in str(found.message):
            assert ("without bound" in str(found.message)) == bool(np.isinf(ends).any())
            log_policy = log_softmax(np.log(bandit.reference) + features @ found.weights, axis=-1)
            np.testing.assert_allclose(np.reshape(found.log_policy, log_policy.shape), log_policy, atol=1e-12)
    assert len(seen) == 3


def test_a_loss_that_still_falls_where_nothing_is_known_far_out() -> None:
    """A logistic loss of which no slopes are stated, beside a hinge: on separable data no minimiser is reached."""
    unknown = Stated(lambda m: -log_sigmoid(m), convex=True, self_concordance=1.0)
    objective = own(lambda lam: unknown(h) + 0.5 * Hinge(-1.0)(h))
    lone = ea.Bandit.from_counts([[0.4, 0.6], [0.3, 0.7]], np.array([[[0, 2], [0, 0]], [[0, 1], [0, 0]]]))
    features = [[[0.0], [1.0]], [[0.0], [0.5]]]
    found = ea.solve(objective, lone, features=features)
    assert np.all(found.status == "no_minimiser") and np.all(found.certificate == Certificate.SEARCH)
    assert found.direction[0] == -1.0 and "the loss still falls as w runs to infinity" in found.message[0]
    assert np.isnan(found.error_bound).all() and np.isnan(found.weight_bounds).all()
    held = ea.solve(objective, lone, features=features, decay=0.1)
    assert np.all(held.status == "optimal") and np.isfinite(held.error_bound).all()
    both = ea.Bandit.from_counts([[0.4, 0.6], [0.3, 0.7]], np.array([[[0, 2], [1, 0]], [[0, 1], [3, 0]]]))
    found = ea.solve(objective, both, features=features)
    assert np.all(found.status == "optimal") and np.isfinite(found.error_bound).all()


def test_where_curvature_ends_before_the_gradient_does() -> None:
    """-log sigma(100 h), 30 units down the slope of a lone win: a millionth of the curvature, which is level, and a
    gradient of e^-30 beside parts of 1, which is not rounding; 60 units down it is."""
    unknown = Stated(lambda m: -log_sigmoid(m), convex=True, self_concordance=1.0)
    objective = own(lambda lam: unknown(100.0 * h) + 0.5 * Hinge(-1.0)(h))
    bandit = ea.Bandit.from_counts([[0.5, 0.5]] * 2, np.array([[[0, 2], [1, 0]], [[0, 3], [0, 0]]]))
    features = np.array([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, -1.0]]])
    kinked = Kinked(problems.restricted_family(objective, bandit, features, 0.0))
    for down, status in ((30.0, Status.NO_MINIMISER), (60.0, Status.OPTIMAL), (5.0, Status.OPTIMAL)):
        a, b = -np.log(2) / 100, -down / 100  # log pi_1/pi_0 on both prompts
        z = np.array([a + b, a - b]) / 2
        found = one_found(kinked.family, z)
        assert (found.log_policy > -1.5).all()
        method._say_unbounded(kinked, found, (z, np.zeros(len(kinked.hinges[0]))))
        assert (found.status == status).all()
        if down > 5:
            text = "still falls as w runs to infinity" if status == Status.NO_MINIMISER else "; there may be others"
            assert text in found.message[0]
        else:
            assert found.message[0] == "a minimiser: the objective is convex and its conditions hold"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_newtons_method_on_a_smoothed_loss_ends_where_it_has_converged(name: str) -> None:
    """A second run from the end of the first sees that in one step; the gradient is little beside its summands."""
    rng = np.random.default_rng([4, *name.encode()])
    for width in (0.2, 1e-2):
        bandit, features = drawn(rng, 4, 2, 2)
        kinked = Kinked(problems.restricted_family(OBJECTIVES[name], bandit, features, 0.3))
        z, tau, steps = method._smoothed(kinked, np.zeros(2), width)
        again, same, one = method._smoothed(kinked, z, width)
        assert 1 < steps < 40 and one == 1
        np.testing.assert_array_equal(again, z)
        np.testing.assert_array_equal(same, tau)
        np.testing.assert_allclose(tau, 1 / (1 + np.exp(-kinked.at(z, tau).kappa / width)), rtol=1e-9)
        local = kinked.at(z, tau, width)
        assert (np.abs(local.gradient) <= 1e-2 * local.size).all()
        hessian = local.rows.T @ local.rows
        fall = local.gradient @ np.linalg.solve(hessian, local.gradient) / 2  # what is left to gain, to second order
        assert fall <= 1e-5 * width * local.costs.sum()
        moved = [kinked.at(z + v, method._tau(kinked, z + v, width), width).value for v in 1e-2 * np.eye(2)]
        assert min(moved) > local.value
    solution = ea.solve(OBJECTIVES[name], bandit, features=features, decay=0.3)
    assert (solution.iterations < 200).all()
