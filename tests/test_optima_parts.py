"""Sums over edges, choices, and searches, for one problem at a time: against dense matrices and differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.data import reference_log_ratio
from expo_analysis.losses.psi import Linear, Logistic, Sigmoid, Square
from expo_analysis.losses.statistics import h, hbar, linked, log_odds, log_pi_l, log_pi_w, log_u_l, log_u_w, shortfall_w
from expo_analysis.optima.choices import ChoicePart
from expo_analysis.optima.derivatives import expand, gradient_size, gradient_sizes, value
from expo_analysis.optima.edges import Edges
from expo_analysis.optima.laplacian import pairs
from expo_analysis.optima.levenberg import HeavyFirst, _at_minimum, derivatives_at, gradient_noise, levenberg
from expo_analysis.optima.methods.multistart import units
from expo_analysis.optima.problem import Problem
from expo_analysis.optima.structure import data_of, structures

from . import problems
from .own_losses import own


def test_sums_over_edges() -> None:
    """Each matrix against its definition, edge by edge; a third response is the winner unless it is told."""
    rng = np.random.default_rng(0)
    n = 5
    support = rng.random((n, n)) < 0.5
    np.fill_diagonal(support, False)
    edges = Edges.of(support)
    np.testing.assert_array_equal(np.argwhere(support).T, edges.ends)
    values = rng.standard_normal((len(edges.winner), 3))
    third = rng.integers(0, n, len(edges.winner))
    triples = Edges(n, edges.winner, edges.loser, third)
    high, low = pairs(n)
    for e in (edges, triples):
        ends = {"w": e.winner, "l": e.loser, "t": e.winner if e is edges else third}
        for slot, end in ends.items():
            np.testing.assert_array_equal(e.by_slot[slot], end)
            exact = np.array([values[end == i].sum(axis=0) for i in range(n)])
            np.testing.assert_allclose(e.to(slot) @ values, exact, atol=1e-14)
            for other, far in ends.items():
                found = e.between(slot, other) @ values
                for k, (i, j) in enumerate(zip(high, low, strict=True)):
                    met = ((end == i) & (far == j)) | ((end == j) & (far == i))
                    np.testing.assert_allclose(found[k], values[met].sum(axis=0), atol=1e-14)
        np.testing.assert_allclose(e.to_winner @ values, e.to("w") @ values, atol=1e-14)
        np.testing.assert_allclose(e.to_loser @ values, e.to("l") @ values, atol=1e-14)
        for k, (i, j) in enumerate(zip(high, low, strict=True)):
            up, down = (values[(e.winner == a) & (e.loser == b)].sum(axis=0) for a, b in ((i, j), (j, i)))
            for matrix, exact in ((e.upward, up), (e.downward, down), (e.net, up - down), (e.to_pair, up + down)):
                np.testing.assert_allclose((matrix @ values)[k], exact, atol=1e-14)


def test_choices_among_several() -> None:
    """Value, slopes and bends by pairs against differences of the value written out; take; and what rounding adds."""
    rng = np.random.default_rng(1)
    n, choices, batch = 4, 5, 3
    members = rng.random((choices, n, batch)) < 0.7
    chosen = rng.integers(0, n, (choices, batch))
    np.put_along_axis(members, chosen[:, None], True, 1)
    weight = rng.random((choices, batch))
    high, low = pairs(n)
    for slope in (0.7, np.array([0.4, 1.0, 2.5])):
        part = ChoicePart(slope, False, chosen, members, weight)
        steep = np.broadcast_to(slope, batch)

        def value(x: np.ndarray, steep: np.ndarray = steep) -> np.ndarray:
            total = np.zeros(batch)
            for c in range(choices):
                for b in range(batch):
                    m = steep[b] * x[:, b]
                    total[b] += weight[c, b] * (np.log(np.exp(m[members[c, :, b]]).sum()) - m[chosen[c, b]])
            return total

        x = rng.standard_normal((n, batch))
        np.testing.assert_allclose(part.value(x), value(x), rtol=1e-12)
        flow, bend = part.derivatives(x)
        gradient = np.zeros((n, batch))
        np.add.at(gradient, high, flow)
        np.add.at(gradient, low, -flow)
        e = 1e-5
        for i in range(n):
            step = e * (np.arange(n) == i)[:, None]
            np.testing.assert_allclose(gradient[i], (value(x + step) - value(x - step)) / (2 * e), atol=1e-9)
            for k in np.flatnonzero((high == i) | (low == i)):
                j = low[k] if high[k] == i else high[k]
                other = e * (np.arange(n) == j)[:, None]
                mixed = value(x + step + other) - value(x + step - other) - value(x - step + other)
                mixed = (mixed + value(x - step - other)) / (4 * e**2)
                np.testing.assert_allclose(bend[k], -mixed, atol=1e-5)
        kept = np.array([2, 0])
        np.testing.assert_allclose(part.take(kept).value(x[:, kept]), value(x)[kept], rtol=1e-12)
        # arguments that are off by u size move slopes by no more than is told, and by some of it
        size = 1.0 + np.abs(x)
        told, largest = part.rounding(x, size), 0.0
        by_hand = np.zeros_like(told)
        for c in range(choices):
            for b in range(batch):
                p = np.where(members[c, :, b], np.exp(steep[b] * x[:, b]), 0.0)
                p = p / p.sum()
                error = steep[b] * weight[c, b] * p * (4 + n + steep[b] * (size[:, b] + (p * size[:, b]).sum()))
                for k, (i, j) in enumerate(zip(high, low, strict=True)):
                    by_hand[k, b] += error[j] * (chosen[c, b] == i) + error[i] * (chosen[c, b] == j)
        np.testing.assert_allclose(told, by_hand, rtol=1e-12)
        for _ in range(30):
            moved = part.derivatives(x + 1e-6 * size * rng.choice([-1.0, 1.0], x.shape))[0]
            assert (np.abs(moved - flow) <= 1e-6 * told * (1 + 1e-4) + 1e-14).all()
            largest = max(largest, float((np.abs(moved - flow) / (1e-6 * told + 1e-300)).max()))
        assert largest > 0.02 and (told >= (4 + n) * np.abs(flow) * (1 - 1e-12)).all()


def test_the_heaviest_are_eliminated_last() -> None:
    """H x = rhs up to a shift, for degrees of many orders in any place; alone as in a batch."""
    rng = np.random.default_rng(2)
    n, high, low = 5, *pairs(5)
    masses = 10.0 ** rng.uniform(-12, 0, (n, 6))
    masses[0, :3] = 1e-14  # the ground hardly counts
    weights = masses[high] * masses[low]
    degree = np.zeros((n, 6))
    np.add.at(degree, high, weights)
    np.add.at(degree, low, weights)
    rhs = rng.standard_normal((n, 6)) * degree
    for columns in (slice(None), slice(0, 1), slice(3, 6)):
        found = HeavyFirst.of(weights[:, columns], degree[:, columns])
        assert found.positive_definite.all()
        own = rhs[:, columns].copy()
        heaviest = degree[:, columns].argmax(axis=0)
        column = np.arange(own.shape[1])
        own[heaviest, column] = 0.0
        own[heaviest, column] = -own.sum(axis=0)
        x = found.solve(own)
        flow = weights[:, columns] * (x[high] - x[low])
        back = np.zeros_like(own)
        np.add.at(back, high, flow)
        np.add.at(back, low, -flow)
        np.testing.assert_allclose(back, own, atol=1e-12, rtol=1e-6)
        light = ~(np.arange(n)[:, None] == heaviest)
        np.testing.assert_allclose(np.where(light, back / own, 1.0), 1.0, rtol=1e-6)
        assert found.firm(np.full(own.shape[1], 1e-16)).all()
        assert not found.firm(np.full(own.shape[1], 1.0)).any()
    broken = weights.copy()
    broken[:, 1] *= -1.0
    assert HeavyFirst.of(broken, degree).positive_definite.tolist() == [True, False, True, True, True, True]


SEARCHED = {
    "orpo": ea.objective("orpo", 0.6),
    "spo": ea.objective("spo", 0.5),
    "explicit": ea.objective("explicit_po", 0.5),
    "two": own(lambda lam: Sigmoid()(-2.0 * hbar) + 0.2 * Square()(0.5 * log_pi_w) + 0.1 * Logistic()(log_u_l)),
}


@pytest.mark.parametrize("name", SEARCHED)
def test_runs_end_where_gradients_vanish(name: str) -> None:
    """Each run at a point with no gradient but rounding, a positive definite Hessian, and its own value; no step is
    lower. And the noise of gradients covers what 1e-16 does to them."""
    made, rng = SEARCHED[name], np.random.default_rng([*name.encode()])
    for n in (2, 4):
        bandit = ea.Bandit(*rng.dirichlet(np.full(n, 2.0), 2))
        one = problems.problem(made, bandit)
        many = one.take(np.zeros(5, dtype=np.intp))
        unit = units(many)
        starts = many.log_reference + 2.0 * rng.standard_normal((n, 5))
        ends = levenberg(many, starts, unit)
        gradient, _, height = derivatives_at(many, ends.theta)
        assert (ends.steps > 0).all() and (ends.steps <= 300).all()
        done = ends.converged
        assert done.sum() >= 3 and (ends.stationary[done]).all()
        np.testing.assert_allclose(ends.value, height, rtol=1e-12)
        assert np.abs(gradient[:, done]).max() < 1e-13
        noise = gradient_noise(many, ends.theta)
        assert (noise > 0).all() and (noise < 1e-13).all()
        for _ in range(20):
            moved = derivatives_at(many, ends.theta + 1e-3 * rng.standard_normal(ends.theta.shape))[2]
            assert (moved >= height - 1e-14)[done].all()
        exact = np.abs(derivatives_at(many, ends.theta * (1 + 2.3e-16))[0] - gradient)
        assert (exact <= 8 * noise).all()


def test_units_of_losses() -> None:
    """(1 + |shift|)/scale of the steepest statistic, at each lambda of a batch."""
    bandit = ea.Bandit([0.2, 0.3, 0.5], [0.5, 0.3, 0.2])
    for terms, exact in (
        (lambda lam: Sigmoid()(-0.25 * h), 4.0),
        (lambda lam: Sigmoid()(-4.0 * h), 0.25),
        (lambda lam: Sigmoid()(0.5 * h - 3.0), 8.0),
        (lambda lam: Sigmoid()(-4.0 * (h - 0.5)), 0.75),
        (lambda lam: Sigmoid()(-4.0 * h) + Square()(0.1 * h), 0.25),
        (lambda lam: Sigmoid()(-1.0 * h) + Square()(2.0 * h - 1.0), 1.0),
    ):
        problem = problems.problem(own(terms), bandit)
        np.testing.assert_allclose(units(problem), [exact])
        np.testing.assert_allclose(units(problem.take(np.array([0, 0]))), [exact] * 2)


class Bare(ea.PairObjective):
    """The formula of another loss, of which only claims are known."""

    name = "bare"
    of = ea.DPO(0.7)

    @property
    def claims(self) -> ea.Claims:
        return self.of.claims

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):  # type: ignore[no-untyped-def]
        return self.of.with_lam(self.lam).pair_loss(logp_w, logp_l, ref_logp_w, ref_logp_l)


class BareOfEnds(Bare):
    """The same for a loss that sees more than log-ratios."""

    of = ea.objective("cpo", 0.7)


@pytest.mark.parametrize("kind", [Bare, BareOfEnds])
def test_derivatives_of_a_formula_are_those_of_its_terms(kind: type[Bare]) -> None:
    """Value, gradient, curvature; and what gradients are sums of, by pairs and by responses, edge by edge."""
    rng = np.random.default_rng(6)
    bandit = ea.Bandit(*rng.dirichlet(np.full(4, 2.0), 2))
    bare, plain = (problems.problem(made, bandit) for made in (kind(0.7), kind.of))
    assert bare.is_formula and not plain.is_formula
    x = np.log(bandit.reference)[bare.responses] + rng.standard_normal((4, 1))
    at = x if plain.link is None else x - plain.log_reference  # scores
    for mine, theirs in zip(derivatives_at(bare, x), derivatives_at(plain, at), strict=True):
        np.testing.assert_allclose(np.diff(mine, axis=0), np.diff(theirs, axis=0), atol=1e-12)
    between, own_size = gradient_sizes(bare, x)
    high, low = pairs(4)
    if kind is Bare:
        m = 0.7 * (x - np.log(bandit.reference)[bare.responses])[:, 0]
        slopes = 0.7 * bare.weight[:, 0] / (1 + np.exp(m[bare.edges.winner] - m[bare.edges.loser]))
        exact = np.array(
            [
                sum(s for s, w, lost in zip(slopes, *bare.edges.ends, strict=True) if {w, lost} == {i, j})
                for i, j in zip(high, low, strict=True)
            ]
        )
        np.testing.assert_allclose(between[:, 0], exact, rtol=1e-10)
        assert (own_size == 0).all()
    else:
        policy = np.exp(x - np.logaddexp.reduce(x, axis=0))[:, 0]
        against = 0.7 / (1 + np.exp(0.7 * (x[bare.edges.winner] - x[bare.edges.loser])[:, 0]))
        total = np.zeros(4)
        weight = bare.weight[:, 0]
        np.add.at(total, bare.edges.winner, weight * (1 + against))
        np.add.at(total, bare.edges.loser, weight * against)
        shared = policy * (total.sum())
        np.testing.assert_allclose(own_size[:, 0], total + shared, rtol=1e-9)
        assert (between == 0).all()


TERMS = {
    "logistic": lambda lam: Logistic()(0.7 * hbar - 0.2),
    "soft": lambda lam: 0.5 * Logistic(0.8, 0.3)(1.5 * h),
    "half relative": lambda lam: Square()(2.0 * (log_pi_w - log_u_l) - 0.3),
    "half relative, moved": lambda lam: Logistic()(0.5 * (log_u_w - log_pi_l - 0.4) + 0.1),
    "uneven": lambda lam: Square()(0.4 * (log_pi_w - 2.0 * log_u_l) - 1.0),
    "odds": lambda lam: 0.3 * Logistic()(0.8 * log_odds),
    "linked": lambda lam: Logistic()(0.6 * linked(ea.JensenShannon())),
    "likelihood": lambda lam: 0.4 * Linear(-1.0)(log_pi_w + 0.5 * log_u_l),
    "weighed": lambda lam: reference_log_ratio * reference_log_ratio * Logistic()(h),
    "shortfall": lambda lam: Logistic()(hbar + 2.0 * shortfall_w),
}
DIVERGENCES = {
    None: None,
    "fkl": ea.ForwardKL(),
    "js": ea.JensenShannon(),
    "alpha": ea.Alpha(0.6),
    "kl": ea.ReverseKL(),
}


@pytest.mark.parametrize("name", TERMS)
def test_gradients_and_their_sizes_add_up(name: str) -> None:
    """Of each term, beside another and beside any divergence: gradient and Hessian by differences of the risk; sizes of
    sums are sums of sizes, none of them below the gradient."""
    rng = np.random.default_rng([*name.encode()])
    bandit = ea.Bandit(*rng.dirichlet(np.full(3, 3.0), 2))
    high, low = pairs(3)

    def problem_of(made: ea.PairObjective) -> Any:
        """In logits, with its likelihood taken out as solvers do."""
        lam = np.array([made.lam])
        found = structures(made, bandit, lam, data_of(made, bandit))
        return Problem.cut(made, bandit, range(3), np.zeros(1, dtype=np.intp), lam, found.likelihood).in_logits()

    x = rng.standard_normal((3, 1))
    for divergence in DIVERGENCES.values():
        made = own(TERMS[name], divergence)
        problem = problem_of(made)
        order = problem.responses[:, 0]

        def risk(theta: np.ndarray, made: Any = made, order: Any = order) -> float:
            logits = np.empty(3)
            logits[order] = theta
            return float(ea.risk(made, bandit, logits - np.logaddexp.reduce(logits)))

        local, e = expand(problem, x), 1e-5
        at = x[:, 0]
        slopes = [(risk(at + e * d) - risk(at - e * d)) / (2 * e) for d in np.eye(3)]
        np.testing.assert_allclose(local.gradient[:, 0], slopes, atol=1e-8)
        values = [value(problem, x + e * d[:, None]) - value(problem, x) for d in np.eye(3)]
        np.testing.assert_allclose(np.ravel(values), [risk(at + e * d) - risk(at) for d in np.eye(3)], atol=1e-12)
        for k, (i, j) in enumerate(zip(high, low, strict=True)):
            one, two = 1e-3 * np.eye(3)[i], 1e-3 * np.eye(3)[j]
            mixed = risk(at + one + two) - risk(at + one - two) - risk(at - one + two) + risk(at - one - two)
            assert local.curvature[k, 0] == pytest.approx(-mixed / 4e-6, abs=2e-5)
        assert (gradient_size(problem, x) >= np.abs(local.gradient) * (1 - 1e-9)).all()
    plain = own(TERMS[name])
    for other in (own(TERMS["soft"]), own(TERMS["odds"])):
        both = own(lambda lam, other=other: TERMS[name](lam) + other.terms)
        if both.facts.likelihood == plain.facts.likelihood and len(both.facts.terms.terms) == 2:
            sizes = [gradient_size(problem_of(made), x) for made in (plain, other, both)]
            if name != "likelihood":
                np.testing.assert_allclose(sizes[2], sizes[0] + sizes[1], rtol=1e-9)
    for key in ("js", "alpha", "kl"):
        alone = own(lambda lam: 0.0 * Logistic()(h), DIVERGENCES[key])
        sizes = [gradient_size(problem_of(made), x) for made in (plain, alone, own(TERMS[name], DIVERGENCES[key]))]
        if name != "linked":
            np.testing.assert_allclose(sizes[2], sizes[0] + sizes[1], rtol=1e-9)


@pytest.mark.parametrize("name", SEARCHED)
def test_what_counts_as_a_minimum(name: str) -> None:
    """Where runs ended, and nowhere a thousandth of a unit from there; gradients of 1e-3 are not stationary."""
    rng = np.random.default_rng([1, *name.encode()])
    bandit = ea.Bandit(*rng.dirichlet(np.full(3, 3.0), 2))
    one = problems.problem(SEARCHED[name], bandit)
    unit = units(one)
    ends = levenberg(one, one.log_reference.copy(), unit)
    if not ends.converged[0]:
        return
    for size, there in ((0.0, True), (1e-3, False), (0.1, False)):
        moved = ends.theta + size * np.maximum(unit, 1.0) * np.array([[1.0], [-0.6], [-0.4]])
        reached, stationary = _at_minimum(one, moved, unit)
        assert (reached[0], stationary[0]) == (there, there)


def test_what_is_cut_out_of_a_bandit() -> None:
    """Some responses of some prompts: references of mass 1, what that mass was, weights; most compared first."""
    rng = np.random.default_rng(11)
    wins = rng.integers(0, 4, (3, 5, 5)) * (1.0 - np.eye(5))
    wins[:, 4], wins[:, :, 4] = 0.0, 0.0
    reference, lengths = rng.dirichlet(np.full(5, 3.0), 3), rng.integers(1, 6, (3, 5)).astype(float)
    bandit = ea.Bandit.from_counts(reference, wins, lengths=lengths)
    wins = np.asarray(bandit.wins)
    members, prompt, lam = [3, 0, 2], np.array([2, 0, 2]), np.array([0.5, 1.0, 2.0])
    likelihood = rng.random((3, 5))
    exists = np.array([True, False, True])
    for made in (ea.EXPO(1.0), ea.SimPO(1.0)):
        problem = Problem.cut(made, bandit, members, prompt, lam, likelihood, exists)
        assert problem.n == 3 and problem.size == 3 and problem.exists.tolist() == exists.tolist()
        for b, x in enumerate(prompt):
            order = problem.responses[:, b]
            assert sorted(order.tolist()) == sorted(members)
            degree = (wins[x] + wins[x].T)[np.ix_(order, order)].sum(axis=1)
            assert (np.diff(degree) <= 1e-12).all()
            mass = reference[x, order].sum()
            np.testing.assert_allclose(problem.reference[:, b], reference[x, order] / mass, rtol=1e-12)
            np.testing.assert_allclose(problem.log_mass[b], np.log(mass), rtol=1e-12)
            np.testing.assert_array_equal(problem.likelihood[:, b], likelihood[b, order])
            for e, (i, j) in enumerate(zip(*problem.edges.ends, strict=True)):
                assert problem.weight[e, b] == wins[x, order[i], order[j]]
            total = likelihood[b, order].copy()
            if isinstance(made, ea.EXPO):
                np.testing.assert_allclose(problem.pull[b], lam[b] * mass, rtol=1e-12)
                total += lam[b] * reference[x, order]
            else:
                assert problem.pull is None
                np.testing.assert_array_equal(problem.of_responses["length"][:, b], lengths[x, order])
                of_winner = problem.datum["length_w"][:, b]
                np.testing.assert_array_equal(of_winner, lengths[x, order[problem.edges.winner]])
            np.testing.assert_allclose(problem.target[:, b], total, rtol=1e-12)
        few = problem.take(np.array([2, 1]))
        for name in ("weight", "log_reference", "log_mass", "likelihood", "responses", "exists"):
            np.testing.assert_array_equal(getattr(few, name), getattr(problem, name)[..., [2, 1]])
        assert few.lam.tolist() == [2.0, 1.0] and few.size == 2
        x = rng.standard_normal((3, 3))
        np.testing.assert_allclose(value(few, x[:, [2, 1]]), value(problem, x)[[2, 1]], rtol=1e-13)
        for mine, theirs in zip(derivatives_at(few, x[:, [2, 1]]), derivatives_at(problem, x), strict=True):
            np.testing.assert_allclose(mine, theirs[..., [2, 1]], rtol=1e-12, atol=1e-15)
    every = Problem.cut(ea.EXPO(1.0), bandit, range(5), np.arange(3), lam)
    assert every.log_mass is None and every.n == 5 and every.exists is None
    np.testing.assert_allclose(every.pull, lam)
