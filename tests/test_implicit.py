"""Gradients of optima: against differences of optima in 50 digits, of torch, of samples with one more comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.optima import implicit

DIGITS, STEP = 50, mp.mpf(10) ** -15


def psis(name: str, lam: Any, relative: Any) -> tuple[Any, Any, bool]:
    """psi' and psi'' in h = log pi_w/pi_l, given that of pi_ref; and whether lam KL(pi_ref || pi) stands beside it."""
    match name:
        case "expo":
            return lambda h: -1 / (1 + mp.exp(h)), lambda h: 1 / (2 + mp.exp(h) + mp.exp(-h)), True
        case "dpo":
            return (
                lambda h: -lam / (1 + mp.exp(lam * (h - relative))),
                lambda h: lam**2 / (2 + mp.exp(lam * (h - relative)) + mp.exp(-lam * (h - relative))),
                False,
            )
        case "ipo":
            return lambda h: 2 * (h - relative - 1 / (2 * lam)), lambda h: mp.mpf(2), False
    raise AssertionError(name)


def optimum(name: str, lam: Any, reference: Any, weights: Any) -> list[Any]:
    """The optimum in 50 digits, by Newton's method from scratch; weights[i][j] of i over j, whatever their sum."""
    n = len(reference)
    total, mass = mp.fsum(x for row in weights for x in row), mp.fsum(reference)
    reference = [x / mass for x in reference]
    theta = [mp.log(x) for x in reference]
    for _ in range(60):
        top = mp.fsum(mp.exp(t) for t in theta)
        policy = [mp.exp(t) / top for t in theta]
        gradient, hessian = mp.matrix(n, 1), mp.matrix(n, n)
        for i in range(n):
            for j in range(n):
                if weights[i][j] == 0:
                    continue
                first, second, pull = psis(name, lam, mp.log(reference[i] / reference[j]))
                h, w = theta[i] - theta[j], weights[i][j] / total
                for a, sign in ((i, 1), (j, -1)):
                    gradient[a] += sign * w * first(h)
                    for b, other in ((i, 1), (j, -1)):
                        hessian[a, b] += sign * other * w * second(h)
        for a in range(n):
            gradient[a] += lam * (policy[a] - reference[a]) if pull else 0
            for b in range(n):
                hessian[a, b] += 1 + (lam * ((a == b) * policy[a] - policy[a] * policy[b]) if pull else 0)
        step = mp.lu_solve(hessian, -gradient)
        size = max(abs(s) for s in step)
        theta = [t + s / max(1, size) for t, s in zip(theta, step, strict=True)]  # a step may be exactly 0
        if size < mp.mpf(10) ** -40:
            break
    top = mp.fsum(mp.exp(t) for t in theta)
    return [mp.exp(t) / top for t in theta]


def difference(function: Callable[[Any], Any], at: float) -> float:
    """By a central difference in 50 digits: 30 digits of the derivative."""
    return float((function(at + STEP) - function(at - STEP)) / (2 * STEP))


REFERENCE, BEST = [0.2, 0.5, 0.3], [0.5, 0.3, 0.2]
Q = [[0.0, 0.2, 0.1], [0.2, 0.0, 0.2], [0.1, 0.2, 0.0]]
COUNTS = [[0.0, 5.0, 4.0], [2.0, 0.0, 3.5], [1.0, 2.0, 0.0]]
C = [1.0, -2.0, 0.5]
LOSSES = [ea.EXPO(0.3), ea.DPO(0.7), ea.IPO(0.4)]


def number(name: str, lam: Any, reference: Any, weights: Any) -> Any:
    return mp.fsum(c * p for c, p in zip(C, optimum(name, lam, reference, weights), strict=True))


def of_population(best: Any, q: Any) -> Any:
    n = len(best)
    return [[(q[i][j] + q[j][i]) * best[i] / (best[i] + best[j]) for j in range(n)] for i in range(n)]


def nudged(values: Any, place: Any, by: Any) -> Any:
    """Numbers in 50 digits, one of them changed."""
    if isinstance(place, tuple):
        return [nudged(row, place[1], by) if k == place[0] else list(map(mp.mpf, row)) for k, row in enumerate(values)]
    return [mp.mpf(x) + (by if k == place else 0) for k, x in enumerate(values)]


@pytest.mark.parametrize("objective", LOSSES, ids=lambda o: o.name)
def test_against_differences_of_optima_in_fifty_digits(objective: Any) -> None:
    with mp.workdps(DIGITS):
        name, lam = objective.name, mp.mpf(objective.lam)
        found = ea.solve(objective, ea.Bandit(REFERENCE, BEST, Q)).gradients(C)
        exact = [[mp.mpf(x) for x in row] for row in Q]
        pairs = of_population([mp.mpf(x) for x in BEST], exact)
        assert found.lam == pytest.approx(difference(lambda x: number(name, x, REFERENCE, pairs), lam), rel=1e-9)
        for k in range(3):

            def at_reference(x: Any, k: int = k) -> Any:
                return number(name, lam, nudged(REFERENCE, k, x), pairs)

            def at_best(x: Any, k: int = k) -> Any:
                return number(name, lam, REFERENCE, of_population(nudged(BEST, k, x), exact))

            for own, function in ((found.reference, at_reference), (found.optimal, at_best)):
                assert own is not None
                assert own[k] == pytest.approx(difference(function, mp.mpf(0)), rel=1e-10, abs=1e-12)
        best = [mp.mpf(x) for x in BEST]
        in_q = difference(lambda x: number(name, lam, REFERENCE, of_population(best, nudged(Q, (0, 2), x))), mp.mpf(0))
        total = sum(map(sum, Q))  # the bandit's q is divided by its sum
        assert found.pairs[0, 2] / total == pytest.approx(in_q, rel=1e-10, abs=1e-12)  # type: ignore[index]
        assert found.counts is None


@pytest.mark.parametrize("objective", LOSSES, ids=lambda o: o.name)
def test_influence_of_single_comparisons_in_fifty_digits(objective: Any) -> None:
    """Of tables of counts, and of comparisons without a table."""
    with mp.workdps(DIGITS):
        name, lam = objective.name, mp.mpf(objective.lam)
        dense = ea.solve(objective, ea.Bandit.from_counts(REFERENCE, COUNTS)).gradients(C)
        games = ea.Comparisons.from_counts(np.array(COUNTS), reference=REFERENCE)
        sparse = ea.solve(objective, games).gradients(C)
        for place, (i, j) in enumerate(zip(games.winner, games.loser, strict=True)):

            def at_count(x: Any, pair: Any = (i, j)) -> Any:
                return number(name, lam, REFERENCE, nudged(COUNTS, pair, x))

            told = difference(at_count, mp.mpf(0))
            for own in (dense.counts[i, j], sparse.counts[place]):  # type: ignore[index]
                assert own == pytest.approx(told, rel=1e-10, abs=1e-13)
        assert np.allclose(sparse.reference, dense.reference, rtol=1e-9, atol=1e-13)
        assert sparse.lam == pytest.approx(dense.lam, rel=1e-9)
    # as many times over changes nothing
    assert np.sum(dense.counts * COUNTS) == pytest.approx(0, abs=1e-14)


def test_leagues_that_never_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """EXPO holds them together by the reference: a win moves mass within its league alone, and lambda too."""
    counts = np.zeros((5, 5))
    counts[[0, 1, 2, 3], [1, 0, 3, 2]] = 3, 2, 4, 1  # and nobody met the last one
    dense = ea.solve(ea.EXPO(0.2), ea.Bandit.from_counts("uniform", counts)).gradients([1, 0, 0, 0, 0])
    fit = ea.solve(ea.EXPO(0.2), ea.Comparisons.from_counts(counts))
    found = fit.gradients([1, 0, 0, 0, 0])
    assert np.allclose(found.counts, dense.counts[fit.bandit.winner, fit.bandit.loser], rtol=1e-9)  # type: ignore
    assert np.allclose(found.reference, dense.reference, rtol=1e-9) and found.lam == pytest.approx(dense.lam)
    whole = fit.gradients([1, 1, 0, 0, 0])  # which is the reference's
    assert np.allclose(whole.counts, 0, atol=1e-12) and whole.reference[0] > 0.5
    monkeypatch.setattr(implicit, "DENSE", 4)
    with pytest.raises(ValueError, match="that all hang together, as there are more than 4"):
        fit.gradients([1, 0, 0, 0, 0])


def test_one_more_win_does_what_its_influence_says() -> None:
    rng = np.random.default_rng(0)
    n, size = 300, 6_000
    one = rng.integers(0, n, size)
    other = (one + rng.integers(1, n, size)) % n
    games = ea.Comparisons(one, other)
    fit = ea.solve(ea.EXPO(0.01), games)
    found = fit.gradients(np.eye(n)[7])
    at = int(np.flatnonzero(games.winner == 7)[0])
    more = games.weight.copy()
    more[at] += 1e-3
    moved = ea.solve(ea.EXPO(0.01), ea.Comparisons(games.winner, games.loser, more)).policy[7] - fit.policy[7]
    assert found.counts is not None and found.counts[at] > 0
    assert moved / 1e-3 == pytest.approx(found.counts[at], rel=1e-3)


@pytest.mark.parametrize(
    "objective",
    [ea.EXPO(0.2), ea.DPO(0.5, label_smoothing=0.1), ea.IPO(0.3), ea.FDPO(0.5), ea.CPO(0.5), ea.ChiPO(0.5)],
    ids=lambda o: o.name,
)
def test_torch_agrees_with_differences(objective: Any) -> None:
    """Of several prompts at once, in directions that keep sums."""
    rng = np.random.default_rng(1)
    draw = lambda: torch.tensor(rng.dirichlet(np.full(4, 4.0), 2))  # noqa: E731
    inputs = [
        draw().requires_grad_(),
        draw().requires_grad_(),
        torch.tensor(objective.lam, dtype=torch.float64, requires_grad=True),
    ]
    outer = torch.tensor(rng.normal(size=(2, 4)))

    def value(reference: Any, best: Any, lam: Any) -> Any:
        return (outer * ea.optimum(objective, reference, optimal=best, lam=lam)).sum()

    own = torch.autograd.grad(value(*inputs), inputs)
    shift = torch.tensor(rng.normal(size=(2, 4)))
    shift = 0.01 * (shift - shift.mean(dim=1, keepdim=True))
    for k, way in enumerate((shift, shift, torch.tensor(1.0))):
        ends = []
        for sign in (1, -1):
            moved = [x.detach() + (sign * 1e-4 * way if k == at else 0) for at, x in enumerate(inputs)]
            ends.append(float(value(*moved)))
        told = (ends[0] - ends[1]) / 2e-4
        assert float((own[k] * way).sum()) == pytest.approx(told, rel=2e-5, abs=1e-8)


def test_torch_goes_on_from_there() -> None:
    """A policy's own tensor of q, float32 inputs, and a step that makes the optimum better."""
    logits = torch.zeros(3, requires_grad=True)
    reference = torch.softmax(logits, dim=0)
    pairs = reference[:, None] * reference * (1 - torch.eye(3))
    policy = ea.optimum(ea.DPO(0.5), reference, optimal=torch.tensor(BEST), pairs=pairs)
    policy[0].backward()
    assert logits.grad is not None and logits.grad.dtype == torch.float32
    assert abs(float(logits.grad.sum())) < 1e-6 < float(logits.grad[0])
    counts = torch.tensor(COUNTS, requires_grad=True)
    first = ea.optimum(ea.EXPO(0.1), torch.tensor(REFERENCE), counts=counts)[0]
    [slope] = torch.autograd.grad(first, counts)
    again = ea.optimum(ea.EXPO(0.1), torch.tensor(REFERENCE), counts=torch.clamp(counts + 0.1 * slope, min=0))[0]
    assert slope[0, 1] > 0 > slope[1, 0] and again > first


def test_what_has_no_gradients() -> None:
    fit = ea.solve(ea.EXPO(0.1), ea.Bandit(REFERENCE, BEST))
    with pytest.raises(ValueError, match="weights must have shape"):
        fit.gradients([1.0, 0.0])
    lost = ea.solve(ea.DPO(1.0), ea.Comparisons([0], [1]))
    with pytest.raises(ValueError, match="solution must be the one optimum, proven; it is no_minimiser"):
        lost.gradients([1.0, 0.0])
    with pytest.raises(ValueError, match="got SimPO"):
        ea.solve(ea.SimPO(1.0), ea.Bandit(REFERENCE, BEST)).gradients(C)
    restricted = ea.solve(ea.EXPO(0.1), ea.Bandit(REFERENCE, BEST), features=np.eye(3)[:, :1])
    with pytest.raises(ValueError, match="over all policies"):
        restricted.gradients(C)
    reference = torch.tensor(REFERENCE)
    with pytest.raises(ValueError, match="optimal or counts must be given, and not both"):
        ea.optimum(ea.EXPO(0.1), reference)
    with pytest.raises(ValueError, match="pairs is not used beside counts"):
        ea.optimum(ea.EXPO(0.1), reference, counts=torch.tensor(COUNTS), pairs=torch.tensor(Q))
    with pytest.raises(ValueError, match="it is no_minimiser"):
        ea.optimum(ea.DPO(0.1), reference, counts=torch.tensor([[0.0, 1, 1], [0, 0, 1], [0, 0, 0]]))
