"""Searches over log-linear policies: where they start, where they end, and what is said of it."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.psi import Logistic, Sigmoid, Square
from expo_analysis.losses.statistics import h, log_pi_w
from expo_analysis.optima.restricted import restricted_optima, restricted_values, search
from expo_analysis.optima.restricted.family import Family
from expo_analysis.optima.solution import Certificate

from . import problems
from .own_losses import own


def drawn(seed: Any, n: int = 4, prompts: int = 3, d: int = 2) -> tuple[ea.Bandit, np.ndarray]:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(prompts, 3.0))
    return ea.Bandit(*rng.dirichlet(np.full(n, 2.0), (2, prompts)), prompt_weights=shares), rng.standard_normal(
        (prompts, n, d)
    )


@pytest.mark.parametrize("name", ["orpo", "rlhf", "spo"])
def test_searches_of_a_batch_do_not_know_of_each_other(name: str) -> None:
    """Features of three scales, one of them blind in a direction: each ends where it ends alone."""
    rng = np.random.default_rng([*name.encode()])
    reference, optimal = rng.dirichlet(np.full(3, 2.0), (2, 8))
    features = rng.standard_normal((4, 2, 3, 3))
    features[1] *= 1e-3
    features[2] *= 1e3
    features[3, ..., 2] = 2 * features[3, ..., 0]
    decay = np.array([0.1, 1e-7, 1e5, 0.0])
    weights = rng.dirichlet(np.full(8, 3.0))
    made = ea.objective(name, 0.7)
    starts = [3.0 * rng.standard_normal((4, 3)) / np.array([[1.0], [1e-3], [1e3], [1.0]]) for _ in range(4)]
    batch = restricted_optima(
        made, ea.Bandit(reference, optimal, prompt_weights=weights), features, decay, "multistart", starts
    )
    for b in range(4):
        rows = slice(2 * b, 2 * b + 2)
        one = ea.Bandit(reference[rows], optimal[rows], prompt_weights=weights[rows] / weights[rows].sum())
        alone = restricted_optima(
            made, one, features[b][None], decay[b], "multistart", [start[b][None] for start in starts]
        )
        assert batch.status[b].tolist() == alone.status[0].tolist() and batch.message[b] == alone.message[0]
        assert batch.agreeing[b] == alone.agreeing[0]
        np.testing.assert_allclose(np.exp(batch.log_policy[b]), np.exp(alone.log_policy[0]), atol=1e-9)
        np.testing.assert_allclose(batch.total[b], alone.total[0], rtol=1e-12)
        assert batch.steps[b] > 0
        # the lowest of the runs, and stationary to rounding
        ends = [
            restricted_optima(made, one, features[b][None], decay[b], "multistart", [start[b][None]]).total[0]
            for start in starts
        ]
        np.testing.assert_allclose(batch.total[b], np.nanmin(ends), rtol=1e-10)
        assert batch.agreeing[b] == np.mean(np.array(ends) <= np.nanmin(ends) + 1e-9)
        if batch.status[b, 0] != "no_minimiser":
            family = problems.restricted_family(made, one, features[b], float(decay[b]))
            w = batch.weights[b][None]
            x = family.logits(w)
            gradient = family.gradient(w, family.cells.expand(x).gradient)[0]
            size = np.abs(features[b]).max() * family.cells.gradient_size(x).max()
            assert np.abs(gradient).max() <= 1e-13 * size
    assert (batch.status[:3] != "no_minimiser").all()


def test_where_searches_start() -> None:
    """At w = 0, and at w that move log-ratios by some units of the loss: of its steepest part, and of logits."""
    bandit, features = drawn(1)
    for scale, offset in ((1.0, 0.0), (0.1, 0.0), (4.0, 3.0)):
        unit = (1 + offset) / scale
        made = own(lambda lam, scale=scale, offset=offset: Sigmoid()(-scale * h - offset))
        for size in (1e-2, 1.0, 30.0):
            family = problems.restricted_family(made, bandit, size * features, 0.1)
            starts = np.array(search.starts_of(family))[:, 0]
            assert (starts[0] == 0).all() and np.abs(starts[1:]).max(axis=1).min() > 0
            assert len(starts) == 1 + search.RANDOM_STARTS * (2 if unit != 1 else 1)
            assert len(np.unique(starts, axis=0)) == len(starts)
            moved = np.array([family.reach(start[None])[0] for start in starts[1:]])
            own_units, plain = (moved[::2], moved[1::2]) if unit != 1 else (moved, moved)
            for moves, one in ((own_units, unit), (plain, 1.0)):
                assert 0.05 < np.median(moves) / one < 15 and moves.max() / one < 30
                assert moves.max() > 2 * moves.min()
            again = np.array(search.starts_of(family, 1))[:, 0]
            assert (again[0] == 0).all() and (again[1:] != starts[1:]).any()


def test_the_scan_of_one_parameter_finds_the_lowest_dips() -> None:
    """Of a loss with several: in the order of their values, each lower than its surroundings, the lowest among them."""
    several = 0
    for k in range(6):
        bandit, features = drawn([3, k], n=5, prompts=4, d=1)
        made = own(lambda lam: Sigmoid()(-6.0 * h - 1.0) + 0.02 * Square()(0.4 * h))
        family = problems.restricted_family(made, bandit, 4 * features, 0.01)
        starts = np.array(search.starts_of(family))[:, 0, 0]
        assert starts[0] == 0 and 2 <= len(starts) <= 1 + search.LOWEST

        def value(t: np.ndarray, family: Family = family) -> np.ndarray:
            return family.take(np.zeros(len(t), dtype=int)).value(t[:, None])

        at = value(starts[1:])
        reach = 1 / np.ptp(4 * features[..., 0], axis=1).max()
        grid = np.concatenate([np.linspace(-60, 60, 600), np.linspace(-2, 2, 400)]) * reach
        found = ea.solve(made, bandit, "multistart", features=4 * features, decay=0.01)
        assert found.total <= value(grid).min() + 1e-9
        assert at.min() <= value(grid).min() + 0.05 * np.ptp(value(grid))
        unit = search._units(family)[0] * reach
        places, step = np.arcsinh(starts[1:] / unit), 8 / search.SCANNED  # on a grid of arsinh
        beside = np.minimum(*(value(np.sinh(places + sign * step) * unit) for sign in (-1, 1)))
        dips = at <= beside + 1e-12
        several += dips.sum() > 1
        assert dips.all() and (np.diff(at) >= 0).all()
    assert several >= 2


def test_a_problem_with_fewer_dips_is_searched_from_these_alone() -> None:
    """In a batch with others as by itself, and what it says counts its own starts."""
    made = own(lambda lam: Sigmoid()(-6.0 * h - 1.0) + 0.02 * Square()(0.4 * h))
    drawings = [drawn([3, k], n=5, prompts=1, d=1) for k in range(6)]
    features = np.stack([4 * one[1] for one in drawings])
    bandit = ea.Bandit(*(np.concatenate([getattr(one, x) for one, _ in drawings]) for x in ("reference", "optimal")))
    batch = restricted_optima(made, bandit, features, 0.01, method="multistart")
    alone = [restricted_optima(made, one, 4 * own_[None], 0.01, method="multistart") for one, own_ in drawings]
    counts = []
    for b, one in enumerate(alone):
        assert batch.message[b] == one.message[0] and batch.agreeing[b] == one.agreeing[0]
        np.testing.assert_allclose(batch.weights[b], one.weights[0], rtol=1e-9)
        counts.append(int(re.search(r"of (\d+) starts", str(batch.message[b]))[1]))
    assert len(set(counts)) > 1


class Wavy:
    """One parameter, and a value with two dips: a wide one at 2, whose bottom is level below ``floor``, one at -3."""

    size, d = 1, 1

    def __init__(self, floor: float) -> None:
        self.floor = floor

    def take(self, rows: np.ndarray) -> Wavy:
        return self

    def weights(self, z: np.ndarray) -> np.ndarray:
        return z

    def value(self, w: np.ndarray) -> np.ndarray:
        t = w[:, 0]
        return np.maximum(np.minimum(0.02 * (t - 2) ** 2, 0.1 + (t + 3) ** 2), self.floor)


@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_each_dip_of_the_scan_counts_once(floor: float) -> None:
    """The lower one's bottom has more places than are taken, all below the other dip; a level one counts as one."""
    made: Any = Wavy(floor)
    places = np.array(search._scanned(made, np.ones((1, 1))))[:, 0, 0]
    assert len(places) == 2 and (made.value(np.linspace(1.0, 3.0, 9)[:, None]) < 0.1).all()
    assert abs(places[0] - 2) < (0.2 if floor == 0 else 0.9) and abs(places[1] + 3) < 0.2


def test_the_first_step_is_a_thousandth_short_of_newtons(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPO in one parameter is a quadratic: what is left of the way is the damping, and the next step leaves less."""
    bandit, features = drawn(5, d=1)
    family = problems.restricted_family(ea.IPO(0.7), bandit, features, 0.0)
    exact = ea.solve(ea.IPO(0.7), bandit, features=features).weights
    start = exact[None] + 0.5
    for steps, left in ((1, 1e-3 / 1.001), (2, 1e-3 / 1.001 * 1e-4 / 1.0001)):
        monkeypatch.setattr(search, "MAX_STEPS", steps)
        w, count, _ = search._levenberg(family, start, np.ones(1))
        assert count.tolist() == [steps]
        np.testing.assert_allclose(w[0] - exact, 0.5 * left, rtol=1e-4)


def test_what_is_said_of_the_lowest() -> None:
    """Convex: the minimiser. Not: the best local one. Vanishing mass: held by a divergence, or none is reached."""
    bandit, features = drawn(4)
    convex = ea.solve(ea.DPO(0.5), bandit, "multistart", features=features, decay=0.1)
    exact = ea.solve(ea.DPO(0.5), bandit, features=features, decay=0.1)
    assert np.all(convex.status == "optimal") and np.all(convex.certificate == Certificate.CONDITIONS)
    assert "as the objective is convex (13 of 13 starts)" in convex.message[0] or "25 of 25" in convex.message[0]
    np.testing.assert_allclose(convex.weights, exact.weights, atol=1e-12)
    assert np.isnan(convex.error_bound).all() and np.isnan(convex.direction).all()

    local = ea.solve(ea.objective("orpo", 0.5), bandit, features=features, decay=0.1)
    assert np.all(local.status == "best_found") and np.all(local.certificate == Certificate.SEARCH)
    assert "the best local minimum found, reached by" in local.message[0] and "not proven" in local.message[0]

    # each prefers one response by far: all mass goes there, to what exp can tell
    kept = ea.solve(ea.RLHF(1e-5), bandit, features=features)
    assert np.all(kept.status == "best_found") and "a minimiser exists" in kept.message[0]
    assert np.isnan(kept.direction).all()
    lost = ea.solve(ea.RLHF(1e-5, "chi_square"), bandit, features=features)
    assert np.all(lost.status == "no_minimiser") and np.all(lost.certificate == Certificate.SEARCH)
    assert np.abs(lost.direction).max() == 1.0 and np.isnan(lost.total)
    assert "no minimiser was reached" in lost.message[0] and "starts; not proven" in lost.message[0]
    far = np.log(bandit.reference) + features @ (lost.direction * 1e3)
    likeliest = np.argsort(far, axis=1)[:, -1]
    assert (np.asarray(lost.policy).argmax(axis=1) == likeliest).all()


def test_what_is_level_to_rounding_is_not_a_minimum() -> None:
    """A loss that saturates: where runs end far out, nothing is claimed that gradients cannot show."""
    bandit, features = drawn(5, n=3, prompts=2, d=2)
    made = own(lambda lam: Sigmoid()(-2.0 * h))
    starts = [np.array([[1e3, -1e3]]), np.array([[-2e3, 1e3]])]
    found = restricted_optima(made, bandit, features[None], 0.0, "multistart", starts)
    assert not np.isin(found.status, ("optimal", "best_found")).any()
    with_decay = restricted_optima(made, bandit, features[None], 0.3, "multistart", starts)
    assert (with_decay.status == "best_found").all()
    at = restricted_values(made, bandit, features[None], with_decay.weights, 0.3)
    np.testing.assert_allclose(at, with_decay.total, rtol=1e-14)
    # a direction that no policy has is not what makes a minimum flat; one that all policies share is
    both = own(lambda lam: Logistic()(2.0 * h) + 0.1 * Square()(log_pi_w))
    again = ea.solve(both, bandit, features=np.concatenate([features, 2 * features[..., :1]], axis=-1))
    assert np.all(again.status == "best_found") and "1 directions of w are open" in again.message[0]
    assert again.weights[2] == pytest.approx(2 * again.weights[0], rel=1e-9)


@pytest.mark.parametrize("name", ["orpo", "rlhf", "spo"])
def test_columns_of_other_units_are_searched_as_well(name: str) -> None:
    """One feature of 1e-8 of the other's size: its curvature is below rounding of the other's, its gradient is not."""
    bandit, features = drawn([6, *name.encode()], n=3, prompts=2, d=2)
    made = ea.objective(name, 0.7)
    plain = ea.solve(made, bandit, features=features)
    small = ea.solve(made, bandit, features=features * [1.0, 1e-8])
    assert plain.status.tolist() == small.status.tolist() and np.all(plain.status == "best_found")
    np.testing.assert_allclose(small.policy, plain.policy, atol=1e-9)
    np.testing.assert_allclose(small.weights * [1.0, 1e-8], plain.weights, rtol=1e-6)


@pytest.mark.parametrize("unit", [0.2, 1.0, 3.0])
def test_where_rounding_alone_makes_a_step_nothing_is_a_minimum(unit: float) -> None:
    """A log-ratio that w moves by 2 w: w may be off by 32 units of a gradient's size over a curvature of 1."""

    def ends(moved: float) -> bool:
        size = np.full((2, 1), moved * search.NEGLIGIBLE / 2 / (32 * search.UNIT))
        cells = SimpleNamespace(
            expand=lambda x: SimpleNamespace(gradient=np.zeros((2, 1))), gradient_size=lambda x: size
        )
        family: Any = SimpleNamespace(
            cells=cells,
            size=1,
            d=1,
            directions=np.array([1.0, -1.0]).reshape(1, 1, 2, 1),
            dead=np.zeros((1, 1), dtype=bool),
            shares=np.ones((1, 1)),
            logits=lambda w: np.zeros((2, 1)),
            gradient=lambda w, in_logits: np.zeros((1, 1)),
            hessian=lambda local: np.ones((1, 1, 1)),
            by_problem=lambda values: values.T.reshape(1, 1, 2),
            reach=lambda step: np.zeros(1),
            weights=lambda z: z,
        )
        _, short, flat = search._polished(family, np.zeros((1, 1)), np.ones(1, dtype=bool), np.full(1, unit))
        assert not flat.any()
        return bool(short[0])

    assert ends(0.98 * max(unit, 1.0)) and not ends(1.02 * max(unit, 1.0))
