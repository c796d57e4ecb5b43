"""The theorems of docs/note, each where it could be refuted: with optimisers that share nothing with the package."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import expit, log_expit, log_softmax

import expo_analysis as ea
from expo_analysis.divergences import kl, total_variation

ROOT = Path(__file__).parents[1]
NOTE = (ROOT / "docs/note/note.md").read_text(encoding="utf-8")


def test_every_test_that_it_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", NOTE))
    assert len(named) >= 6
    for file, test in named:
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in source, (file, test)


def random_problem(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pi_ref, pi* and symmetric weights over two decades, of which about a third are zero."""
    weights = np.triu(10 ** rng.uniform(-2, 0, (n, n)) * (rng.uniform(size=(n, n)) > 0.3), 1)
    return rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n)), weights + weights.T


RISKS = {
    # R'(h) has the sign of h - h*, as Theorem 2 asks; the second is not convex
    "logistic": lambda h, best: np.logaddexp(0, h) - expit(best) * h,
    "tanh squared": lambda h, best: np.tanh(h - best) ** 2 + 0.02 * (h - best) ** 2,
    "fourth power": lambda h, best: (h - best) ** 4,
}


def optimum(risk: object, reference: np.ndarray, optimal: np.ndarray, weights: np.ndarray, lam: float) -> np.ndarray:
    """A stationary point of the pairs' risks plus lam KL(pi_ref || pi), by BFGS."""
    i, j = np.nonzero(np.triu(weights))
    best = np.log(optimal[i] / optimal[j])

    def value(theta: np.ndarray) -> float:
        log_pi = log_softmax(np.r_[theta, 0.0])
        return float(weights[i, j] @ risk(log_pi[i] - log_pi[j], best) - lam * reference @ log_pi)  # type: ignore[operator]

    found = minimize(value, np.log(reference[:-1] / reference[-1]), method="BFGS", options={"gtol": 1e-9})
    return log_softmax(np.r_[found.x, 0.0])


@pytest.mark.parametrize("name", RISKS)
def test_improvement_needs_a_unimodal_risk_and_the_forward_kl_only(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        reference, optimal, weights = random_problem(rng, 4)
        log_pi = optimum(RISKS[name], reference, optimal, weights, 10 ** rng.uniform(-1, 1))
        ref, best = np.log(reference), np.log(optimal)
        assert kl(log_pi, best) <= kl(ref, best) + 1e-6
        assert kl(best, log_pi) <= kl(best, ref) + 1e-6
        assert total_variation(np.exp(log_pi), optimal) <= total_variation(reference, optimal) + 1e-6


def test_improvement_is_lost_where_the_risk_has_another_minimum() -> None:
    """What the premise is for: pair risks that are least at half the margin, as IPO's would be."""
    rng, worse = np.random.default_rng(2), 0
    for _ in range(40):
        reference, optimal, weights = random_problem(rng, 4)
        near = 0.9 * optimal + 0.1 * reference
        log_pi = optimum(lambda h, best: (h - best / 2) ** 2, near, optimal, weights, 0.1)
        worse += kl(log_pi, np.log(optimal)) > kl(np.log(near), np.log(optimal)) + 1e-3
    assert worse > 10


# ---------------------------------------------------------------------------------------------- only the forward KL

DIVERGENCES = {
    # f
    "reverse_kl": lambda u: u * np.log(u),
    "jensen_shannon": lambda u: u * np.log(2 * u / (1 + u)) + np.log(2 / (1 + u)),
    "chi_square": lambda u: (u - 1) ** 2,
    "forward_kl": lambda u: -np.log(u),
}


def third_mass(
    f: object, shares: tuple[float, float], target: tuple[float, float], s: float, link: float = 0.0
) -> float:
    """pi_3 where L + lam D_f is least at lam = 1e-4: pairs (1, 2), and (2, 3) with the weight ``link``."""
    reference = np.r_[(1 - s) * np.array(shares), s]
    optimal = np.r_[0.5 * np.array(target), 0.5]

    def value(theta: np.ndarray) -> float:
        log_pi = log_softmax(np.r_[theta, 0.0])
        total = 1e-4 * reference @ f(np.exp(log_pi) / reference)  # type: ignore[operator]
        for i, j, weight in ((0, 1, 1.0), (1, 2, link)):
            h, best = log_pi[i] - log_pi[j], np.log(optimal[i] / optimal[j])
            total += weight * (np.logaddexp(0, h) - expit(best) * h + expit(best) * best - np.logaddexp(0, best))
        return 1e4 * float(total)

    options = {"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4000}
    found = minimize(value, np.log(reference[:-1] / reference[-1]), method="Nelder-Mead", options=options)
    return float(np.exp(log_softmax(np.r_[found.x, 0.0]))[2])


@pytest.mark.parametrize("name", DIVERGENCES)
def test_only_the_forward_kl_keeps_the_mass_of_what_was_never_compared(name: str) -> None:
    """Theorem 3 (i), and its formula for the slope of phi, whose sign says which way the mass goes."""
    f = DIVERGENCES[name]
    shares, target, s, step = (0.05, 0.95), (0.5, 0.5), 0.3, 1e-6
    slope = (f(1 + step) - f(1 - step)) / (2 * step)
    for share, aim in zip(shares, target, strict=True):
        u = aim / share
        slope -= aim * (f(u * (1 + step)) - f(u * (1 - step))) / (2 * step * u)
    moved = third_mass(f, shares, target, s) - s
    if name == "forward_kl":
        assert abs(moved) < 1e-5 and abs(slope) < 1e-8
    else:
        assert abs(moved) > 0.01 and np.sign(moved) == -np.sign(slope)


@pytest.mark.parametrize("divergence", ["reverse_kl", "jensen_shannon", "chi_square", "mixed_chi_square", "forward_kl"])
@pytest.mark.parametrize("link", [0.0, 1e-9])
def test_only_the_forward_kl_improves_on_every_problem(divergence: str, link: float) -> None:
    """Theorem 3 (ii): the optimum is lower than every policy that is as close to pi* as the reference is."""
    pairs = np.array([[0, 1, 0], [1, 0, link], [0, link, 0]])
    optimal = np.array([(1 - 1e-6) / 2, (1 - 1e-6) / 2, 1e-6])
    bandit = ea.Bandit([0.7 * 0.05, 0.7 * 0.95, 0.3], optimal, pairs)
    objective = ea.ExplicitPO(1e-3, divergence)
    found = ea.solve(objective, bandit)
    before, after = kl(np.log(bandit.reference), np.log(optimal)), kl(found.log_policy, np.log(optimal))
    if divergence == "forward_kl":
        assert after < before
        return
    assert after > before + 0.1
    # KL to pi* is at most the reference's only where pi_3 is small: on a grid of those, nothing is as low
    first, third = np.meshgrid(np.linspace(1e-3, 1 - 1e-3, 400), 10 ** np.linspace(-12, np.log10(0.999), 400))
    grid = np.stack([first * (1 - third), (1 - first) * (1 - third), third], axis=-1).reshape(-1, 3)
    close = kl(np.log(grid), np.log(optimal)) <= before
    assert close.any() and ea.risk(objective, bandit, np.log(grid[close])).min() > found.value


# ------------------------------------------------------------------------------------------- scores and the winners


def test_the_gap_argument_bounds_scores_on_every_data_set() -> None:
    """EXO's scores differ by at most c (n - 1), c = log (1-e)/e, also where a response never loses."""
    rng, smoothing = np.random.default_rng(3), 1e-3
    c = np.log((1 - smoothing) / smoothing)
    for counts in ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], rng.integers(0, 3, (3, 3)) * (1 - np.eye(3, dtype=int))):
        wins = np.array(counts, dtype=float)

        def value(s: np.ndarray, wins: np.ndarray = wins) -> float:
            gap = np.subtract.outer(np.r_[s, 0.0], np.r_[s, 0.0])
            p, q = expit(gap), 1 - smoothing
            inside = p * (log_expit(gap) - np.log(q)) + (1 - p) * (log_expit(-gap) - np.log(1 - q))
            return float((wins * inside).sum())

        found = min(
            (minimize(value, rng.normal(size=2) * 3, method="Nelder-Mead") for _ in range(8)), key=lambda x: x.fun
        )
        ends = [value(np.array([a, b])) for a, b in ((30.0, 0.0), (0.0, 30.0), (30.0, 15.0), (-30.0, -15.0))]
        assert np.ptp(np.r_[found.x, 0.0]) <= 2 * c + 1e-6 and min(ends) > found.fun


MARGINS = {
    # psi
    "logistic": lambda m: np.logaddexp(0, -m),
    "logistic, twice as steep": lambda m: np.logaddexp(0, -2 * m),
    "exponential": lambda m: np.exp(-m),
    "square": lambda m: (m - 0.5) ** 2,
    "SimPO": lambda m: np.logaddexp(0, 0.5 - m),
    "EXO": lambda m: expit(m) * (log_expit(m) - np.log(0.999)) + expit(-m) * (log_expit(-m) - np.log(0.001)),
}


@pytest.mark.parametrize("name", MARGINS)
def test_trees_reward_the_mode_only_where_margins_are_bradley_terry(name: str) -> None:
    """Theorem 6: its two paths, with each pair's minimiser found by a search on the line."""

    def g(z: float) -> float:
        x = expit(z)
        psi, options = MARGINS[name], {"xatol": 1e-10}
        found = minimize_scalar(
            lambda m: x * psi(m) + (1 - x) * psi(-m), bounds=(-9, 9), method="bounded", options=options
        )
        return float(found.x)

    wrong = 0
    for a, b in ((0.5, 0.5), (1.0, 2.0), (0.3, 1.5)):
        for path in ((0.0, -a, -a - b, -0.02), (0.0, -a - b, -b, -0.02)):
            scores = np.cumsum([0.0, *(-g(first - second) for first, second in pairwise(path))])
            wrong += int(np.argmax(scores) != 0)
    assert (wrong == 0) == (name in ("logistic", "logistic, twice as steep", "exponential"))


@pytest.mark.parametrize("squares", [False, True])
def test_the_winners_share(squares: bool) -> None:
    """Theorem 7 by Lagrange's condition alone, G_i'(s_i) = -nu pi_i: a root in s_i for each nu, and a root in nu."""
    rng = np.random.default_rng(4)
    reference, wins = rng.dirichlet(np.ones(5)), rng.uniform(size=(5, 5)) * (1 - np.eye(5))
    won, lost, lam = wins.sum(1), wins.sum(0), 1e-5

    def scores(nu: float) -> np.ndarray:
        def slope(s: float, i: int) -> float:
            own = (
                2 * won[i] * (s - 0.5) + 2 * lost[i] * (s + 0.5) if squares else lost[i] * expit(s) - won[i] * expit(-s)
            )
            return float(own + nu * reference[i] * np.exp(min(s / lam, 700.0)))

        return np.array([brentq(slope, -20, 700 * lam, args=(i,), xtol=1e-16) for i in range(5)])

    def policy(nu: float) -> np.ndarray:
        return np.asarray(reference * np.exp(scores(nu) / lam))

    nu = brentq(lambda nu: policy(nu).sum() - 1, 1e-3, 50)
    share = np.maximum(won - lost, 0) / np.maximum(won - lost, 0).sum()
    assert abs(policy(nu) - share).sum() < 1e-3
    loss = ea.SPPO(lam) if squares else ea.BCO(lam)
    assert abs(ea.solve(loss, ea.Bandit.from_counts(reference, wins)).policy - policy(nu)).sum() < 1e-5


# ------------------------------------------------------------------------------------------------ restricted policies


def slope_condition(pairs: np.ndarray, rewards: np.ndarray) -> float:
    """Left side less right side of (2)."""
    p = expit(np.subtract.outer(rewards, rewards))
    return float(pairs[0] * (2 * p[0, 2] - 1) - 2 * pairs[1] * (2 * p[1, 0] - 1) - pairs[2] * (2 * p[1, 2] - 1))


LOSSES = {
    "DPO": (lambda h: np.logaddexp(0, -0.3 * h), None),
    "IPO": (lambda h: (h - 1.7) ** 2, None),
    "exponential": (lambda h: np.exp(-h), None),
    "EXPO": (lambda h: np.logaddexp(0, -h), lambda log_pi: -0.5 * log_pi.mean()),
    "SPO": (lambda h: np.logaddexp(0, -h), lambda log_pi: 0.5 * np.exp(log_pi) @ log_pi),
}


@pytest.mark.parametrize("name", LOSSES)
def test_one_condition_says_when_the_order_is_reversed(name: str) -> None:
    """Theorem 10, by minimising over t; true rewards of many kinds, and weights on both sides of the condition."""
    psi, divergence = LOSSES[name]
    rng, signs = np.random.default_rng(5), []
    for _ in range(60):
        rewards = np.sort(rng.normal(size=3))[[1, 2, 0]]
        pairs = rng.dirichlet(np.ones(3) * 0.7)  # of (1, 3), (1, 2), (2, 3)
        p = expit(np.subtract.outer(rewards, rewards))

        def value(t: float, pairs: np.ndarray = pairs, p: np.ndarray = p) -> float:
            total = 0.0
            for weight, (i, j), h in zip(pairs, ((0, 2), (0, 1), (1, 2)), (t, 2 * t, -t), strict=True):
                total += weight * (p[i, j] * psi(h) + p[j, i] * psi(-h))
            log_pi = log_softmax([t, -t, 0.0])
            return total + (0.0 if divergence is None else divergence(log_pi))

        t = minimize_scalar(value, bounds=(-20, 20), method="bounded", options={"xatol": 1e-9}).x
        condition = slope_condition(pairs, rewards)
        if abs(condition) > 1e-3:
            assert (t > 0) == (condition > 0)
            signs.append(condition > 0)
    assert 5 < sum(signs) < len(signs) - 5


def test_the_order_reversed_is_a_loss_of_reward() -> None:
    t = np.linspace(-8, 8, 401)
    policies = np.exp(log_softmax(np.stack([t, -t, 0 * t], axis=1), axis=1))
    reward = policies @ [1.0, 2.0, 0.0]
    assert ((reward < 1) == (t > 0))[t != 0].all()


def test_true_rewards_do_not_help_either() -> None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        r, q = rng.normal(size=3), rng.dirichlet(np.ones(3))  # q of (1, 3), (1, 2), (2, 3)
        design, target = np.array([1.0, 2.0, -1.0]), np.array([r[0] - r[2], r[0] - r[1], r[1] - r[2]])
        fitted = np.linalg.lstsq(np.sqrt(q)[:, None] * design[:, None], np.sqrt(q) * target, rcond=None)[0][0]
        told = (q[0] * (r[0] - r[2]) - 2 * q[1] * (r[1] - r[0]) - q[2] * (r[1] - r[2])) / (q[0] + 4 * q[1] + q[2])
        assert fitted == pytest.approx(told, abs=1e-12)


# --------------------------------------------------------------------------------------------------- near the target


def test_references_close_to_a_target_that_is_not_preserved_are_left() -> None:
    """Theorem 9 for DPO: the nearer the reference, the surer its optimum is farther from pi*."""
    optimal = np.array([0.6, 0.3, 0.1])
    excess = []
    for distance in (0.3, 0.1, 0.01, 1e-4):
        reference = (1 - distance) * optimal + distance * np.array([0.2, 0.3, 0.5])
        found = ea.solve(ea.DPO(1.0), ea.Bandit(reference, optimal))
        excess.append(kl(found.log_policy, np.log(optimal)) - kl(np.log(reference), np.log(optimal)))
    assert excess[-1] > 0.05 and all(a < b for a, b in pairwise(excess))


@pytest.mark.slow
def test_it_builds_to_a_page_and_to_paper(tmp_path: Path) -> None:
    import importlib.util

    pytest.importorskip("pypandoc")
    pytest.importorskip("typst")
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs/note/build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page, paper = module.build(tmp_path)
    assert "<math" in page.read_text(encoding="utf-8") and paper.read_bytes().startswith(b"%PDF")
