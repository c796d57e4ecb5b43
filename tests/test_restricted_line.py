"""One parameter: derivatives, what encloses them on an interval, and how low an objective falls far out."""

from __future__ import annotations

from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.losses.psi import Logistic, Sigmoid, Square
from expo_analysis.losses.statistics import h, linked, log_pi_w
from expo_analysis.optima.restricted import line as method
from expo_analysis.optima.restricted.enclosure import Line, _largest, _of_mu, enclosable, third_derivative
from expo_analysis.optima.restricted.line import OneLine
from expo_analysis.optima.restricted.tails import Tail, tail_least

from . import problems
from .own_losses import own

N, PROMPTS = 4, 3
OBJECTIVES: dict[str, ea.Objective] = {
    "dpo": ea.DPO(0.7),
    "ipo": ea.IPO(0.6),
    "expo": ea.EXPO(0.4),
    "cpo": ea.objective("cpo", 0.7),
    "orpo": ea.objective("orpo", 0.6),
    "spo": ea.objective("spo", 0.6),
    "exo": ea.objective("exo", 0.6),
    "discopop": ea.DiscoPOP(0.6, tau=0.5),
    "regression": ea.RegressionEXPO(0.4),
    "bco": ea.objective("bco", 0.6),
    "nca": ea.objective("nca", 0.6),
    "f-dpo": ea.FDPO(0.6, "jensen_shannon"),
    "f-dpo, alpha": ea.FDPO(0.6, "alpha", alpha=0.3),
    "alpha-po": ea.AlphaPO(0.6),
    "alpha-po, below 0": ea.AlphaPO(0.6, alpha=-0.7),
    "simper": ea.SimPER(0.6),
    "rlhf": ea.RLHF(0.3),
    "rlhf, chi-square": ea.RLHF(0.3, "chi_square"),
    "rlhf, mixed": ea.RLHF(0.3, "mixed_chi_square"),
    "rlhf, alpha": ea.RLHF(0.3, "alpha", alpha=0.5),
}


@cache
def line_of(name: str, seed: int, decay: float = 0.3) -> tuple[ea.Bandit, OneLine]:
    """Three prompts of four responses, one of which has no weight, and a feature."""
    rng = np.random.default_rng([seed, *name.encode()])
    weights = np.append(rng.dirichlet(np.full(PROMPTS - 1, 3.0)), 0.0)
    bandit = ea.Bandit(*rng.dirichlet(np.full(N, 2.0), (2, PROMPTS)), prompt_weights=weights)
    features = rng.standard_normal((PROMPTS, N, 1))
    return bandit, OneLine(problems.restricted_family(OBJECTIVES[name], bandit, features, decay))


def in_torch(name: str, line: OneLine, bandit: ea.Bandit, t: np.ndarray) -> torch.Tensor:
    """The objective by its definition at t (T,), as a tensor that can be differentiated in t."""
    family = line.family
    order = np.argsort(family.cells.responses, axis=0)
    base, f = (torch.from_numpy(np.take_along_axis(x, order, 0).T.copy()) for x in (family.base, _whole(line)))
    at = torch.from_numpy(t).requires_grad_(True)
    logits = base + at[:, None, None] * f
    own = ea.risk(OBJECTIVES[name], bandit, torch.log_softmax(logits, -1))
    total = own @ torch.tensor(bandit.prompt_weights) + line.decay / 2 * at**2
    return torch.stack([total, *_derivatives(total, at)])


def _whole(line: OneLine) -> np.ndarray:
    return line.family.directions[0, :, :, 0].T


def _derivatives(total: torch.Tensor, at: torch.Tensor) -> list[torch.Tensor]:
    found = []
    for _ in range(3):
        (total,) = torch.autograd.grad(total.sum(), at, create_graph=True)
        found.append(total)
    return found


def test_what_a_divergence_states_of_its_mu_is_its_own() -> None:
    """A class of one's own may bend another's mu: what it inherits says nothing; both, stated anew, are taken."""

    class Inherits(ea.ReverseKL):
        """With another mu."""

    class Half(ea.ReverseKL):
        mu_growth = 0.0

    class Both(Half):
        mu_growth = 2.0
        slope_at_one = 1.0

    class Nothing(Both):
        mu_growth = None
        slope_at_one = 1.0

    divergences: dict[Any, bool] = {ea.ReverseKL: True, ea.JensenShannon: True, ea.ChiSquare: True}
    divergences |= {Inherits: False, Half: False, Both: True, Nothing: False}
    bandit, f = ea.Bandit([0.5, 0.5], [0.4, 0.6]), np.array([[[1.0], [0.0]]])
    for kind, known in divergences.items():
        for made in (own(lambda lam: Logistic()(h), kind()), own(lambda lam, kind=kind: Sigmoid()(linked_to(kind)))):
            assert enclosable(problems.restricted_family(made, bandit, f, 0.1).cells) == known, (kind, made)


def linked_to(kind: Any) -> Any:
    """h itself for the reverse KL, whose mu is the logarithm; of its subclasses, mu(u_w) - mu(u_l)."""
    return linked(kind())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_derivatives_along_the_line(name: str) -> None:
    """Values and both derivatives are the objective's own, and what rounding adds to each is told, and is little."""
    bandit, line = line_of(name, 1)
    t = np.array([-3.0, -0.4, 0.0, 0.7, 2.5])
    at = line.at(t)
    value, slope, bend, _ = in_torch(name, line, bandit, t).detach().numpy()
    for found, exact, noise in (
        (at.value, value, at.value_noise),
        (at.slope, slope, at.slope_noise),
        (at.bend, bend, at.bend_noise),
    ):
        constant = found[0] - exact[0] if found is at.value else 0.0  # a loss may leave out what no policy changes
        np.testing.assert_allclose(found - constant, exact, rtol=1e-9, atol=1e-10)
        assert (noise > 1e-16).all() and (noise < 1e-11).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_third_derivatives_are_enclosed(name: str) -> None:
    """None on an interval is above the bound, which grows with the interval and is of the size of what it bounds."""
    assert enclosable(line_of(name, 0)[1].family.cells)
    ratios = []
    for seed in range(6):
        bandit, line = line_of(name, seed)
        centre = np.array([-2.0, -0.5, 0.1, 1.3])
        before = np.zeros(len(centre))
        for half in (1e-9, 0.05, 0.4):
            bound = line.third(centre, np.full(len(centre), half))
            inside = np.linspace(-half, half, 9)
            exact = np.abs(in_torch(name, line, bandit, (centre[:, None] + inside).reshape(-1))[3].detach().numpy())
            largest = exact.reshape(len(centre), -1).max(axis=1)
            assert (largest <= bound * (1 + 1e-9) + 1e-9).all()
            assert (bound >= before * (1 - 1e-12)).all()
            before = bound
            ratios.append(bound / np.maximum(largest, 1e-3 * bound))
    assert np.median(ratios) < 100


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_tail_is_lower_than_its_bound(name: str) -> None:
    """On both sides; and far out, without decay, the bound is what the objective tends to, or falls with it."""
    for seed in range(4):
        _, line = line_of(name, seed, 0.0)
        for sign in (1.0, -1.0):
            for start in (0.0, 0.5, 3.0, 30.0):
                t = sign * (start + np.concatenate([[0.0], np.geomspace(1e-3, 300.0, 40)]))
                own = line.at(t)
                least = line.tail(np.array([start]), sign)[0]
                assert (own.value + own.value_noise >= least).all(), (seed, sign, start)
            far = own.value[-1]
            assert least == -np.inf or abs(far - least) < 0.05 * (1 + abs(far)) or far > least


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_tail_on_which_nothing_moves_is_told_to_its_value(name: str) -> None:
    """Of populations, and of counts that leave pairs out; from t = 2 on, as from 0."""
    bandit, line = line_of(name, 2, 0.0)
    problems_of_both = [(bandit, line.family)]
    if name not in ("bco", "rlhf", "rlhf, chi-square", "rlhf, mixed", "rlhf, alpha"):
        wins = np.zeros((PROMPTS, N, N))
        wins[:, 0, 1], wins[:, 1, 2], wins[0, 2, 0], wins[1, 2, 1] = 3, 1, 2, 4  # the last response is never seen
        counted = ea.Bandit.from_counts(bandit.reference, wins, prompt_weights=bandit.prompt_weights)
        f = np.random.default_rng(0).standard_normal((PROMPTS, N, 1))
        problems_of_both.append((counted, problems.restricted_family(OBJECTIVES[name], counted, f, 0.0)))
    for one, family in problems_of_both:
        base = family.base + 0.5 * np.random.default_rng(1).standard_normal(family.base.shape)
        back = np.argsort(family.cells.responses, axis=0)
        log_policy = np.take_along_axis(base, back, 0).T
        log_policy = log_policy - np.logaddexp.reduce(log_policy, axis=1)[:, None]
        value = ea.risk(OBJECTIVES[name], one, log_policy)
        seen = np.asarray(one.prompt_weights) > 0
        for start in (0.0, 2.0):
            found = tail_least(family.cells, Tail(base, np.ones_like(base), np.full(PROMPTS, start)))
            assert (found <= value + 1e-9)[seen].all()
            if name not in ("discopop", "spo"):  # whose psi bends both ways
                np.testing.assert_allclose(found[seen], value[seen], rtol=1e-9, atol=1e-9)


def test_ranges_over_a_tail() -> None:
    """Of log pi_i - sum: an end that is reached is told to rounding; one that runs away is infinite."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        base, f = rng.standard_normal((2, N, 1))
        f[1] = f.max()  # two of the responses stay
        start = np.abs(rng.standard_normal(1))
        tail = Tail(base, f, start)
        t = start + np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 200)])
        theta = base + (f - f.max()) * t
        log_policy = theta - np.logaddexp.reduce(theta, axis=0)
        low, high = (end[:, 0] for end in tail.log_policy)
        assert (low <= log_policy.min(axis=1)).all() and (log_policy.max(axis=1) <= high).all()
        stays = f[:, 0] == f.max()
        assert (low[~stays] == -np.inf).all()
        np.testing.assert_allclose(low[stays], log_policy.min(axis=1)[stays], atol=1e-11)
        np.testing.assert_allclose(high[stays], log_policy.max(axis=1)[stays], atol=1e-11)
        _, now, limit = tail.normaliser(slice(None))
        assert (high <= log_policy.max(axis=1) + (now - limit)[0] + 1e-10).all()
        # sums of c log pi_i, whose log-normaliser counts c times, of both signs
        for c in (2.0, -1.5):
            low, high = (end[:, 0] for end in tail.ranges(c * f, c * base, c, slice(None)))
            sums = c * log_policy
            assert (low <= sums.min(axis=1)).all() and (sums.max(axis=1) <= high).all()
            np.testing.assert_allclose(low[stays], sums.min(axis=1)[stays], atol=1e-11)
            np.testing.assert_allclose(high[stays], sums.max(axis=1)[stays], atol=1e-11)


def cumulants_of(theta: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, ...]:
    policy = np.exp(theta - np.logaddexp.reduce(theta, axis=0))
    mean = (policy * f).sum(axis=0)
    return mean, (policy * (f - mean) ** 2).sum(axis=0), (policy * (f - mean) ** 3).sum(axis=0)


def test_moments_on_an_interval() -> None:
    """Mean, variance and third cumulant under pi(t) stay within what is told of them, and at a point are that."""
    rng = np.random.default_rng(1)
    for half in (0.0, 0.02, 0.7, 40.0):
        for _ in range(30):
            x, f = rng.standard_normal((2, N, 1))
            line = Line(x, f, np.array([half]))
            along = np.linspace(-half, half, 21)
            mean, variance, third = cumulants_of(x + f * along, f)
            np.testing.assert_allclose(line.means, [[mean[0]], [mean[-1]]], rtol=1e-12)
            assert mean[0] <= mean[-1] + 1e-15
            largest, third_bound = (c[0] for c in line.cumulants)
            spread = np.ptp(f)
            assert variance.max() <= largest * (1 + 1e-12) <= spread**2 / 4 * (1 + 1e-11)
            assert np.abs(third).max() <= third_bound * (1 + 1e-12)
            np.testing.assert_allclose(third_bound, spread * largest, rtol=1e-14)
            middle = variance[10]
            grown = middle * np.exp(min(spread * half, 700.0))
            np.testing.assert_allclose(largest, min(grown, spread**2 / 4), rtol=1e-12)
            first = line.log_policy[0][:, 0]
            np.testing.assert_allclose(first, np.maximum(abs(f[:, 0] - mean[0]), abs(f[:, 0] - mean[-1])), rtol=1e-12)
            # log-odds of a response: its logit less the log-normaliser of all others
            for k, i in enumerate([2, 0]):
                rest = np.arange(N) != i
                first, second, _ = (size[k, 0] for size in line.odds([2, 0]))
                mean, variance, _ = cumulants_of((x + f * along)[rest], f[rest])
                np.testing.assert_allclose(first, np.abs(f[i, 0] - mean[[0, -1]]).max(), rtol=1e-12)
                assert variance.max() <= second * (1 + 1e-12)


def test_the_chain_rule_of_bounds_where_nothing_is_lost() -> None:
    """At a point, with all of like sign, the bound is the third derivative itself: a square of c log pi_w.

    Two responses, one of them rare: then |third cumulant| = range Var, and F''' = 3 psi'' m' m'' + psi' m'''.
    """
    for rare in (1e-7, 1e-9):
        bandit = ea.Bandit([1 - rare, rare], [0.5, 0.5])
        for statistic, offset in ((log_pi_w, 40.0), (2.5 * log_pi_w, 90.0)):

            class Own(ea.PairObjective):
                name = "own"

                @property
                def terms(self) -> Any:
                    return Square()(self.lam * statistic - offset)  # noqa: B023

            f = np.array([[[0.0], [1.0]]])
            line = OneLine(problems.restricted_family(Own(0.5), bandit, f, 0.0))
            t = np.array([0.0])
            exact = in_torch_of(Own(0.5), line, bandit)
            assert abs(exact) <= line.third(t, np.zeros(1))[0] * (1 + 1e-9)
            np.testing.assert_allclose(line.third(t, np.zeros(1))[0], abs(exact), rtol=0.5)


def in_torch_of(objective: ea.PairObjective, line: OneLine, bandit: ea.Bandit) -> float:
    """The third derivative at 0 of a problem of one prompt whose second response has the feature 1."""
    at = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    logits = torch.log(torch.tensor(bandit.reference)) + at * torch.tensor([0.0, 1.0], dtype=torch.float64)
    total = ea.risk(objective, bandit, torch.log_softmax(logits, -1)).sum()
    return _derivatives(total, at)[2].detach().item()


@pytest.mark.parametrize("name", ["rlhf", "rlhf, chi-square", "rlhf, mixed", "rlhf, alpha"])
def test_bounds_of_rewards_by_their_formula(name: str) -> None:
    """At a point: pi |r - r_top| (a^3 + 3 a V + R V), and of a divergence what mu, mu' and their growth c make of it.

    a = |f - E f|, V the variance, R the range; on intervals all that can grow has grown by exp of its rate.
    """
    for seed in range(3):
        _, line = line_of(name, seed)
        cells, (x, f) = line.tiled(1), line.logits(np.array([0.4]))
        divergence, lam = OBJECTIVES[name].regulariser, OBJECTIVES[name].lam
        log_policy = x - np.logaddexp.reduce(x, axis=0)
        policy = np.exp(log_policy)
        mean = (policy * f).sum(axis=0)
        a, variance, reach = np.abs(f - mean), (policy * (f - mean) ** 2).sum(axis=0), np.ptp(f, axis=0)
        third = reach * variance
        top = cells.reward[x.argmax(axis=0), np.arange(x.shape[1])]
        exact = (policy * np.abs(cells.reward - top) * (a**3 + 3 * a * variance + third)).sum(axis=0)
        log_u, c = log_policy - cells.log_reference, divergence.mu_growth
        mu, slope = np.abs(divergence.mu(log_u)), divergence.mu_derivatives(log_u)[0]
        own = (mu + (2 + c) * slope) * a**3 + 3 * (mu + slope) * a * variance + mu * third
        exact = exact + lam * (policy * own).sum(axis=0)
        found = third_derivative(cells, Line(x, f, np.zeros(x.shape[1])))
        np.testing.assert_allclose(found, exact, rtol=1e-9)
        before = found
        for half in (1e-3, 0.1, 0.5):
            grown = third_derivative(cells, Line(x, f, np.full(x.shape[1], half)))
            assert (grown >= before).all() and (
                grown <= found * np.exp((8 + 3 * c) * reach * half) * (1 + 40 * half)
            ).all()
            before = grown


@pytest.mark.parametrize("name", ["orpo", "f-dpo", "f-dpo, alpha"])
def test_sizes_of_atoms_by_their_formula(name: str) -> None:
    """Along the line, at a point: |d m|, |d2 m|, |d3 m| of log-odds and of mu are no more than what their parts allow.

    Of two responses, where log-odds are a logit's difference: exactly f_i - f_j, with nothing beyond.
    """
    for seed in range(3):
        _, line = line_of(name, seed)
        x, f = line.logits(np.array([-0.3]))
        own = Line(x, f, np.zeros(x.shape[1]))
        first, second, third = own.odds(np.arange(N))
        for i in range(N):
            others = np.arange(N) != i
            policy = np.exp(x[others] - np.logaddexp.reduce(x[others], axis=0))
            mean = (policy * f[others]).sum(axis=0)
            variance = (policy * (f[others] - mean) ** 2).sum(axis=0)
            np.testing.assert_allclose(first[i], np.abs(f[i] - mean), rtol=1e-10)
            np.testing.assert_allclose(second[i], variance, rtol=1e-10)
            np.testing.assert_allclose(third[i], variance * np.ptp(f[others], axis=0), rtol=1e-10)
        two = Line(x[:2], f[:2], np.full(x.shape[1], 0.7))
        first, second, third = two.odds(np.arange(2))
        np.testing.assert_allclose(first, np.tile(np.abs(f[0] - f[1]), (2, 1)), rtol=1e-12)
        assert (second == 0).all() and (third == 0).all()


@pytest.mark.parametrize("divergence", [ea.ForwardKL(), ea.Alpha(0.3), ea.ChiSquare()])
def test_sizes_of_mu_by_the_chain_rule(divergence: ea.Divergence) -> None:
    """mu = k exp(+-c log u), so that along log u = 0.4 + 0.7 t + 0.3 t^2/2 + 0.2 t^3/6 derivatives are known exactly.

    Where mu falls in log u its odd derivatives change sign in parts: then c is taken for its size.
    """
    sizes = (np.array([0.7]), np.array([0.3]), np.array([0.2]))
    log_u, c = np.array([0.4]), divergence.mu_growth
    found = _of_mu(divergence, log_u, sizes, np.zeros(1))
    k = mp.mpf(float(divergence.mu_derivatives(log_u)[0][0])) / c

    def mu(t: mp.mpf) -> mp.mpf:
        return k * mp.exp(c * (mp.mpf("0.7") * t + mp.mpf("0.15") * t**2 + mp.mpf("0.2") * t**3 / 6))

    with mp.workdps(40):
        for order, one in enumerate(found, start=1):
            assert float(mp.diff(mu, 0, order)) == pytest.approx(float(one[0]), rel=1e-9)


def test_probabilities_on_an_interval() -> None:
    """None is above exp(log pi + a h), a the largest |f - E f| at the interval's ends, nor above 1."""
    rng = np.random.default_rng(2)
    for half in (0.0, 0.1, 2.0):
        x, f = rng.standard_normal((2, N, 3))
        log_policy = x - np.logaddexp.reduce(x, axis=0)
        ends = [x + sign * half * f for sign in (-1, 1)]
        means = [(np.exp(e - np.logaddexp.reduce(e, axis=0)) * f).sum(axis=0) for e in ends]
        a = np.maximum(*(np.abs(f - mean) for mean in means))
        found = _largest(log_policy, Line(x, f, np.full(3, half)))
        np.testing.assert_allclose(found, np.minimum(np.exp(log_policy + a * half), 1.0), rtol=1e-12)
        for t in np.linspace(-half, half, 9):
            moved = x + t * f
            assert (np.exp(moved - np.logaddexp.reduce(moved, axis=0)) <= found * (1 + 1e-12)).all()


def test_what_rounding_moves_belongs_to_the_bound_of_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone win over one response: at the inner end of what is left nothing but the winner has any mass, and the
    bound is what the rounding of its logits makes of a policy."""
    bounds = []

    def seen(own: OneLine, t: float, error: float, left: Any, to_end: tuple[bool, bool]) -> Any:
        bounds.append((any(to_end), given(own, t, error, left, to_end)))
        return bounds[-1][1]

    given = method._bound
    monkeypatch.setattr(method, "_bound", seen)
    won = ea.Bandit.from_counts([0.5, 0.5], [[0, 3], [0, 0]])
    ea.solve(ea.DiscoPOP(1.0), won, features=np.array([[0.0], [1.0]]))
    (ended, bound), *_ = bounds
    assert ended and np.finfo(float).eps <= bound.max() < 1e-13
