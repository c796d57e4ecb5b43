"""Two responses and an explicit divergence: one root, told in logits, against closed forms and fifty digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.divergences import resolve_divergence
from expo_analysis.optima.methods import two_explicit
from expo_analysis.terms import Logistic, h

from . import oracles, problems
from .own_losses import own

MU: dict[str, tuple[Callable[[mp.mpf], mp.mpf], dict[str, float]]] = {
    # f'(u) from its definition, and the divergence's options
    "reverse_kl": (lambda u: mp.log(u) + 1, {}),
    "jensen_shannon": (lambda u: mp.log(2 * u / (1 + u)), {}),
    "alpha": (lambda u: 2 * (1 - 1 / mp.sqrt(u)), {"alpha": 0.5}),
    "chi_square": (lambda u: 2 * (u - 1), {}),
    "mixed_chi_square": (lambda u: mp.log(u) + u, {}),
}


def derivative(bandit: ea.Bandit, lam: float, mu: Any, t: mp.mpf) -> mp.mpf:
    """dF/dt over pi_0 pi_1, t = log pi_1/pi_0, from the objective: -sum w log sigma + lam sum pi_ref f(pi/pi_ref)."""
    w, ref = oracles.wins(bandit), oracles.reference_of(bandit)
    up, down = oracles.sigma(t), oracles.sigma(-t)
    return w[0, 1] / down - w[1, 0] / up + mp.mpf(lam) * (mu(up / ref[1]) - mu(down / ref[0]))


def bandits() -> list[ea.Bandit]:
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(6):
        reference, optimal = ([p, 1 - p] for p in 10 ** rng.uniform(-6, -0.1, 2))
        drawn.append(ea.Bandit(reference, optimal))
    counts = ([[0, 4], [3, 0]], [[0, 1], [0, 0]], [[0, 0], [7, 0]])
    return drawn + [ea.Bandit.from_counts([p, 1 - p], c) for p in (0.3, 0.999) for c in counts]


@pytest.mark.parametrize("divergence", MU)
def test_against_fifty_digits(divergence: str) -> None:
    """Probabilities down to exp(-1e8), as log-probabilities; and no bound is violated."""
    mu, options = MU[divergence]
    told = 0
    for bandit in bandits():
        for lam in (1e-8, 1e-3, 0.1, 1.0, 1e4):
            solution = ea.solve(ea.ExplicitPO(lam, divergence, **options), bandit)
            assert (solution.status, solution.certificate) == ("optimal", "error_bound")
            if np.isneginf(solution.log_policy).any():
                continue
            with mp.workdps(60):
                t = mp.mpf(solution.log_policy[1]) - mp.mpf(solution.log_policy[0])
                slack, share = mp.mpf(1e-12) * max(1, abs(t)), mp.mpf(solution.policy[1])
                for side in (-1, 1):  # the derivative rises, so that its signs tell on which side the root is
                    assert side * derivative(bandit, lam, mu, t + side * slack) > 0
                    off = share + side * mp.mpf(solution.error_bound) / 2
                    if 0 < off < 1:
                        assert side * derivative(bandit, lam, mu, mp.log(off / (1 - off))) > 0
            assert solution.error_bound < 1e-12
            told += 1
    assert told >= 40


@pytest.mark.parametrize("lam", [0.1, 1e-3, 1e-6, 1e-10])
def test_what_never_wins_falls_as_exp_of_one_over_lambda(lam: float) -> None:
    """SPO, w = 1: the log-odds are those of the reference less 1/(lam pi_0), and exp(-1e10) is told."""
    solution = ea.solve(ea.SPO(lam), ea.Bandit.from_counts([0.3, 0.7], [[0, 1], [0, 0]]))
    log_odds = solution.log_policy[1] - solution.log_policy[0]
    assert log_odds == pytest.approx(math.log(0.7 / 0.3) - 1 / (lam * solution.policy[0]), rel=1e-13)
    assert solution.status == "optimal" and solution.error_bound < 1e-14


@pytest.mark.parametrize("lose", [0, 1])
def test_a_finite_slope_at_zero_may_leave_nothing(lose: int) -> None:
    """Chi-square: at pi_i = 0 the objective rises with pi_i iff lam (mu(1/pi_ref,j) - mu(0)) <= w, and w = 1."""
    reference, counts = np.array([0.3, 0.7]), np.zeros((2, 2))
    counts[1 - lose, lose] = 1
    edge = 1 / (2 * (1 / reference[1 - lose] - 1) + 2)
    bandit = ea.Bandit.from_counts(reference, counts)
    beyond, before = (ea.solve(ea.ExplicitPO(edge * x, "chi_square"), bandit) for x in (1 - 1e-9, 1 + 1e-9))
    assert beyond.status == before.status == "optimal"
    assert beyond.policy[lose] == 0 and np.isneginf(beyond.log_policy[lose]) and beyond.error_bound < 1e-14
    assert f"responses [{lose}] have probability 0" in beyond.message
    assert 0 < before.policy[lose] < 1e-8 and before.message == "the minimiser"


@mp.workdps(50)
@pytest.mark.parametrize("lose", [0, 1])
def test_no_proof_at_the_edge_of_the_boundary_is_false(lose: int) -> None:
    """Lambdas within some roundings of that edge: pi_i there solves 1/(1 - p) + 2 lam (p/r_i - (1 - p)/r_j) = 0.

    Where signs of the slope are rounding, "probability 0" would be off by more than the bound that comes with it.
    """
    reference, counts = np.array([0.3, 0.7]), np.zeros((2, 2))
    counts[1 - lose, lose] = 1
    bandit = ea.Bandit.from_counts(reference, counts)
    own, other = (mp.mpf(float(reference[i])) for i in (lose, 1 - lose))
    proven = 0
    for k in (-64, -40, -24, -16, 8, 16, 24, 40, 64):
        lam = float(reference[1 - lose]) / 2 * (1 + k * 2.0**-52)
        solution = ea.solve(ea.ExplicitPO(lam, "chi_square"), bandit)
        # in q = 1 - p it is a quadratic: q (1/r_i + 1/r_j) - 1/r_i = 1/(2 lam q)
        half = 1 / (2 * own)
        q = (half + mp.sqrt(half**2 + (1 / own + 1 / other) / (2 * mp.mpf(lam)))) / (1 / own + 1 / other)
        exact = max(1 - q, mp.mpf(0))
        if "on the boundary: responses" in solution.message and solution.certificate == "error_bound":
            assert solution.policy[lose] == 0 and f"responses [{lose}] have" in solution.message
        if solution.certificate == "error_bound":
            proven += 1
            assert 2 * abs(mp.mpf(float(solution.policy[lose])) - exact) <= solution.error_bound
    assert proven >= 2


def test_a_batch_is_its_members() -> None:
    """Prompts, lambdas, the boundary and roots within at once."""
    lams = np.array([1e-6, 1e-2, 1.0, 50.0])
    reference = np.array([[0.3, 0.7], [0.9, 0.1], [0.5, 0.5]])
    counts = np.array([[[0, 1], [0, 0]], [[0, 1], [3, 0]], [[0, 0], [2, 0]]])
    path = ea.solve_path(ea.ExplicitPO(1.0, "chi_square"), ea.Bandit.from_counts(reference, counts), lams)
    for k, lam in enumerate(lams):
        for prompt in range(3):
            one = ea.solve(ea.ExplicitPO(lam, "chi_square"), ea.Bandit.from_counts(reference[prompt], counts[prompt]))
            np.testing.assert_allclose(path.log_policies[k, prompt], one.log_policy, rtol=1e-14)
            assert path.message[k, prompt] == one.message


@pytest.mark.parametrize("divergence", MU)
@pytest.mark.parametrize(("kept", "flipped"), [(1.25, -0.25), (1.5, -0.5), (0.5, -1.0)])
def test_a_weight_below_0_leaves_the_loss_without_a_bound(divergence: str, kept: float, flipped: float) -> None:
    """kept (wins of 0) + flipped (wins of 1) is the weight of "0 beats 1": negative, the loss falls like log pi_0.

    Elsewhere there is one minimum, convex or not, between -60 and 60, and none of a fine grid is lower.
    """
    regulariser = resolve_divergence(divergence, **MU[divergence][1])
    made = own(lambda lam: Logistic(kept, flipped)(h), regulariser).with_lam(0.3)
    t = np.linspace(-60, 60, 24001)
    log_policies = np.stack([-np.logaddexp(0, t), -np.logaddexp(0, -t)], axis=-1)
    for wins in ([[0, 1], [0, 0]], [[0, 3], [1, 0]], [[0, 9], [1, 0]], [[0, 1], [9, 0]]):
        bandit = ea.Bandit.from_counts([0.3, 0.7], wins)
        found, least = ea.solve(made, bandit), np.asarray(ea.risk(made, bandit, log_policies)).min()
        speak = [kept * bandit.wins[i, j] + flipped * bandit.wins[j, i] for i, j in ((0, 1), (1, 0))]
        if min(speak) < 0 and not (divergence == "alpha" and found.status == "optimal"):
            assert (found.status, found.certificate) == ("no_minimiser", "search") and np.isnan(found.value)
        else:
            assert found.status == "optimal" and least - 1e-5 <= found.value <= least + 1e-12


@mp.workdps(50)
@pytest.mark.parametrize("divergence", ["reverse_kl", "jensen_shannon", "chi_square"])
def test_weights_that_cancel_are_known_to_their_parts(divergence: str) -> None:
    """kept w + flipped w' of large parts of both signs: a bound of 16 units would be violated."""
    worst = 0.0
    for p in (0.50003, 0.49997):
        bandit = ea.Bandit([0.3, 0.7], [p, 1 - p])
        for kept, flipped in ((0.9, 0.3), (1.25, -0.25), (500.5, -499.5), (5000.25, -4999.25)):
            made = own(lambda lam, k=kept, f=flipped: Logistic(k, f)(h), resolve_divergence(divergence)).with_lam(0.3)
            found = ea.solve(made, bandit)
            w, ref = oracles.wins(bandit), oracles.reference_of(bandit)
            speak = [mp.mpf(kept) * w[i, 1 - i] + mp.mpf(flipped) * w[1 - i, i] for i in (0, 1)]

            def slope(t: mp.mpf, k: Any = speak, ref: Any = ref, lam: float = float(made.lam)) -> mp.mpf:
                up, down = oracles.sigma(t), oracles.sigma(-t)
                mu = MU[divergence][0]
                return k[0] / down - k[1] / up + mp.mpf(lam) * (mu(up / ref[1]) - mu(down / ref[0]))

            exact = oracles.sigma(mp.findroot(slope, (-3, 3), solver="anderson", tol=1e-80))
            error = 2 * abs(mp.mpf(float(found.policy[1])) - exact)
            assert found.status == "optimal" and error <= found.error_bound
            lost = (abs(kept) + abs(flipped)) / (kept + flipped)
            assert found.error_bound < 60 * lost * 2.3e-16
            worst = max(worst, float(error) / 2.3e-16)
    assert worst > 50


def test_what_is_not_of_this_form_is_searched_for() -> None:
    """A divergence of one's own may have a mu that is not its derivative, and soft steps need not have one root."""

    class Own(ea.divergences.ReverseKL):
        """KL(pi || pi_ref) by another name."""

    bandit = ea.Bandit([0.3, 0.7], [0.6, 0.4])
    for objective in (ea.ExplicitPO(0.1, Own()), ea.SPO(0.1, alpha=0.5)):
        assert ea.solve(objective, bandit).certificate == "search"
    own, known = (ea.solve(ea.ExplicitPO(0.1, d), bandit).policy for d in (Own(), "reverse_kl"))
    np.testing.assert_allclose(own, known, rtol=1e-8)


def test_where_derivatives_underflow_it_says_so() -> None:
    """A chain 0 > 1 > 2 under reverse KL: the derivatives in pi agree at the optimum, where log pi_2 is -1e7."""
    counts, lam = [[0, 5, 3], [0, 0, 4], [0, 0, 0]], mp.mpf(0.03)
    bandit = ea.Bandit.from_counts([0.4, 0.4, 0.2], counts)
    solution = ea.solve(ea.ExplicitPO(0.03, "reverse_kl"), bandit)
    assert (solution.status, solution.certificate) == ("failed", "none")
    assert "a minimiser exists" in solution.message and "responses [2] have fallen below 1e-290" in solution.message
    with mp.workdps(50):
        w, ref = oracles.wins(bandit), oracles.reference_of(bandit)

        def slopes(share: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
            """dF/dpi_0 and dF/dpi_1 of F = sum w log(1 + pi_l/pi_w) + lam KL, where pi_2 is nothing beside pi_1."""
            first = -w[0, 1] * share / (1 - share) + lam * (mp.log((1 - share) / ref[0]) + 1)
            return first, w[0, 1] + lam * (mp.log(share / ref[1]) + 1)

        def difference(y: mp.mpf) -> mp.mpf:
            return slopes(mp.exp(y))[1] - slopes(mp.exp(y))[0]

        second = mp.exp(mp.findroot(difference, mp.mpf(solution.log_policy[1])))
        pressure = w[0, 2] / (1 - second) + w[1, 2] / second
        third = (slopes(second)[0] - pressure) / lam - 1 + mp.log(ref[2])
        assert int(third / mp.log(10)) == -5_192_971
        assert oracles.distance(solution.policy, [1 - second, second, mp.mpf(0)]) < 2e-13


@pytest.mark.parametrize("shift", [1e-12, -1e-12, 1e-6, -1e-6, 0.3, -0.3])
def test_what_encloses_the_root_reaches_it_on_either_side(shift: float) -> None:
    """From beside the root: no less than the way to it, no more than twice that and some rounding."""
    problem = problems.problem(ea.ExplicitPO(0.5, "reverse_kl"), ea.Bandit([0.3, 0.7], [0.6, 0.4]))
    found = two_explicit.solve(problem).log_policy
    root = found[1] - found[0]
    near = two_explicit._enclosed(problem, root)
    assert (near < 1e-14).all()
    off = two_explicit._enclosed(problem, root + shift)
    assert (off >= abs(shift) - near).all() and (off <= 2 * abs(shift) + 2 * near).all()
    for far in (1.01, 1.1, 1.3, 1.5, 1.9, 5.0):
        assert np.isnan(two_explicit._enclosed(problem, root + far * np.sign(shift))).all()
