"""Rounding that is told and rounding that is measured: of clean formulas next to none, of noisy ones what they have."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.optima.certificate import PairRounding, rounding_errors, sums_at_responses, target_rounding
from expo_analysis.optima.derivatives import expand
from expo_analysis.optima.laplacian import incidence, pairs
from expo_analysis.optima.measured import divergence_rounding, formula_rounding, formula_rounding_of_ends

from . import problems

UNIT = 2.220446049250313e-16


class Noisy(ea.PairObjective):
    """A logistic loss whose winner's slope is off by ``noise``, in waves too short for curvature to explain."""

    name = "noisy"
    noise: ClassVar[float] = 0.0
    ends: ClassVar[bool] = False

    @property
    def claims(self) -> ea.Claims:
        return ea.Claims(True, False, False, not self.ends, 1.0)

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        from torch import sin
        from torch.nn.functional import softplus

        m = logp_w - logp_l
        value = softplus(-m)
        if self.ends:
            value = value - 0.5 * logp_w
        if not self.noise:
            return value
        return value + self.noise * 1e-5 * sin(1e5 * (logp_w if self.ends else m))


def made(noise: float, ends: bool) -> ea.PairObjective:
    return type("Made", (Noisy,), {"noise": noise, "ends": ends})(1.0)


def at(objective: ea.Objective, n: int = 4, seed: int = 0) -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(seed)
    problem = problems.problem(objective, ea.Bandit(*rng.dirichlet(np.full(n, 3.0), 2)))
    return problem, rng.standard_normal((n, 1))


def test_noise_of_a_formula_of_log_ratios_is_seen() -> None:
    """Its slope's, to within ten; moduli are those of the derivatives; a clean one has rounding alone."""
    for noise in (0.0, 1e-9, 1e-7):
        problem, x = at(made(noise, False))
        first, second, extra = formula_rounding(problem, x)
        m = (x[problem.edges.winner] - x[problem.edges.loser])[:, 0]
        np.testing.assert_allclose(first[:, 0], 1 / (1 + np.exp(m)), atol=2 * noise + 1e-15)
        np.testing.assert_allclose(second[:, 0], 1 / (1 + np.exp(m)) / (1 + np.exp(-m)), atol=2e5 * noise + 1e-15)
        assert (extra >= 0).all()
        if noise:
            assert (noise / 10 <= extra).all() and (extra <= 30 * noise).all()
        else:
            assert (extra < 1e-14).all()


def test_noise_of_a_formula_of_both_ends_is_seen_at_its_end() -> None:
    for noise in (0.0, 1e-8):
        problem, x = at(made(noise, True))
        log_policy = x - np.logaddexp.reduce(x, axis=0)
        errors, sizes, bend = formula_rounding_of_ends(problem, log_policy)
        m = (x[problem.edges.winner] - x[problem.edges.loser])[:, 0]
        against = 1 / (1 + np.exp(m))
        np.testing.assert_allclose(sizes[0][:, 0], np.maximum(1.0, against + 0.5), atol=1e-7)
        np.testing.assert_allclose(sizes[1][:, 0], np.maximum(1.0, against), atol=1e-7)
        np.testing.assert_allclose(bend[:, 0], 4 * against * (1 - against), atol=2e5 * noise + 1e-14)
        ends = [log_policy[end] for end in problem.edges.ends]
        least = 8 * UNIT * np.ones_like(ends[0]) + 2 * UNIT * (np.abs(ends[0]) + np.abs(ends[1])) * bend
        for error in errors:
            assert (error >= least).all()
        if noise:
            assert (errors[0] >= noise / 10).all() and (errors[0] <= 40 * noise).all()
            assert (errors[1] <= 1e-3 * noise).all()
        else:
            assert all((error < 1e-13).all() for error in errors)


@pytest.mark.parametrize("along", [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1)])
def test_a_step_of_a_slope_is_seen_within_a_ten_thousandth_in_each_direction(along: tuple[int, int]) -> None:
    """A slope that is 1e-6 higher beyond so many steps of 1e-4 along one direction: at its size, or not at all."""
    reach = 1e-4 * sum(map(abs, along))

    def errors(beyond: float) -> Any:
        class Stepped(Noisy):
            ends = True

            def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
                from torch import relu

                moved = along[0] * (logp_w + np.log(2)) + along[1] * (logp_l + np.log(2))
                return super().pair_loss(logp_w, logp_l, ref_logp_w, ref_logp_l) + 1e-6 * relu(moved - beyond)

        problem, _ = at(Stepped(1.0), n=2)
        return formula_rounding_of_ends(problem, np.full((2, 1), -np.log(2)))[0]

    for end, moves in enumerate(along):
        np.testing.assert_allclose(errors(0.9 * reach)[end], 1e-6 * abs(moves), rtol=1e-3, atol=1e-11)
        assert (errors(1.1 * reach)[end] < 1e-11).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_step_of_a_slope_in_the_log_ratio_is_seen_on_either_side(sign: float) -> None:
    """Of two responses the one moves by half of a step of 1e-4, the other by all of it."""

    def extra(beyond: float) -> Any:
        class Stepped(Noisy):
            def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
                from torch import relu

                moved = sign * (logp_w - logp_l)
                return super().pair_loss(logp_w, logp_l, ref_logp_w, ref_logp_l) + 1e-6 * relu(moved - beyond)

        problem, x = at(Stepped(1.0), n=2)
        return formula_rounding(problem, 0 * x)[2]

    np.testing.assert_allclose(extra(0.9 * 5e-5), 1e-6, rtol=1e-3)
    assert (extra(1.1 * 5e-5) < 1e-11).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_step_of_a_divergences_slope_is_seen_on_either_side(sign: float) -> None:
    def errors(beyond: float) -> Any:
        class Stepped(ea.JensenShannon):
            def derivatives(self, log_policy: Any, log_reference: Any) -> Any:
                first, second = super().derivatives(log_policy, log_reference)
                return first + 1e-6 * (sign * (log_policy + np.log(4)) > beyond), second

        problem, x = at(ea.ExplicitPO(2.0, "jensen_shannon"))
        object.__setattr__(problem.facts, "regulariser", Stepped())
        return divergence_rounding(problem, 0 * x).at_responses

    step = 1e-4 * np.log(4)
    np.testing.assert_allclose(errors(0.9 * step), 2 * 1e-6 * (1 + 4 / 4), rtol=1e-3)
    assert (errors(1.1 * step) < 1e-11).all()


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("at_", [(-0.1, -0.1), (-3.0, -5.0)])
def test_what_rounding_explains_is_no_noise(at_: tuple[float, float], ends: bool) -> None:
    """Of m^2/2 about its minimum, where slopes have no rounding of their own: 4e-16 (|log pi_w| + |log pi_l| + 2) times
    the curvature before and after is what a step may be off by; of what is more, the excess is told."""

    def told(jump: float) -> Any:
        class Stepped(Noisy):
            def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
                from torch import relu

                m = logp_w - logp_l - (at_[0] - at_[1])
                moved = logp_w - at_[0] if self.ends else m
                return m**2 / 2 + jump * relu(moved - 0.4e-7)

        made = type("Made", (Stepped,), {"ends": ends})(1.0)
        problem = problems.problem(made, ea.Bandit.from_counts("uniform", [[0, 1], [0, 0]]))
        x = np.array(at_)[:, None]
        return formula_rounding_of_ends(problem, x)[0][0] if ends else formula_rounding(problem, x)[2]

    slack = 4e-16 * (abs(at_[0]) + abs(at_[1]) + 2) * (8 if ends else 1)
    np.testing.assert_allclose(told(0.5 * slack), told(0.0), rtol=1e-9)
    np.testing.assert_allclose(told(3 * slack) - told(0.0), 2 * slack, rtol=1e-4)


def test_what_rounding_explains_of_a_divergence_is_no_noise() -> None:
    x = np.log([[0.1], [0.2], [0.3], [0.4]])
    policy = np.exp(x)

    def told(jump: Any) -> Any:
        class Stepped(ea.JensenShannon):
            def derivatives(self, log_policy: Any, log_reference: Any) -> Any:
                return (log_policy - x) + jump * (log_policy - x > 0.4e-7), np.ones_like(log_policy)

        problem, _ = at(ea.ExplicitPO(2.0, "jensen_shannon"))
        object.__setattr__(problem.facts, "regulariser", Stepped())
        return divergence_rounding(problem, x).at_responses

    slack = 4e-16 * (np.abs(x) + 2) * 2
    np.testing.assert_allclose(told(0.5 * slack), told(0.0 * slack), rtol=1e-9)
    grown = told(3 * slack) - told(0.0 * slack)
    np.testing.assert_allclose(grown, 2 * (2 * slack + policy * (2 * slack).sum()), rtol=1e-4)


class Single(Noisy):
    """The same, clean, of log-probabilities in single precision, whose last digit at 1000 is worth 6e-5."""

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        from torch import float32, float64

        return super().pair_loss(*(x.to(float32).to(float64) for x in (logp_w, logp_l)), ref_logp_w, ref_logp_l)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("shift", [-1e3, 1e3])
def test_steps_are_as_large_as_digits_are(shift: float, ends: bool) -> None:
    """Far from 0 single precision is coarse: no step of 1e-4 would see it, one of a ten-thousandth of 1000 does."""
    for kind, least, most in ((Single, 1e-6, 1e-2), (Noisy, 0.0, 1e-11)):
        problem, x = at(type("Made", (kind,), {"ends": ends})(1.0))
        if ends:
            (error, _), *_ = formula_rounding_of_ends(problem, x + shift)
        else:
            *_, error = formula_rounding(problem, x + shift)
        assert (error >= least).all() and (error <= most).all()


class Rough(ea.JensenShannon):
    """Jensen-Shannon with waves in its slope."""

    noise: ClassVar[float] = 0.0

    def derivatives(self, log_policy: Any, log_reference: Any) -> Any:
        first, second = super().derivatives(log_policy, log_reference)
        return first + self.noise * np.sin(1e6 * log_policy), second


def test_rounding_of_a_divergence() -> None:
    """|A_ii| with lam; errors of at least u times the sizes, and what is shared; noise where there is some."""
    for lam in (0.4, 3.0):
        for noise in (0.0, 1e-8):
            problem, x = at(ea.ExplicitPO(lam, "jensen_shannon"))
            assert problem.divergence is not None
            rough = type("Made", (Rough,), {"noise": noise})()
            object.__setattr__(problem.facts, "regulariser", rough)
            found = divergence_rounding(problem, x)
            log_policy = x - np.logaddexp.reduce(x, axis=0)
            first, second = ea.JensenShannon().derivatives(log_policy, problem.log_reference)
            np.testing.assert_allclose(found.bend, lam * np.abs(second), rtol=1e-9)
            policy = np.exp(log_policy)
            own = 2 * UNIT * lam * (np.abs(first) + np.abs(second))
            assert (found.at_responses >= own + policy * own.sum(axis=0) * 0.3).all()
            if noise:
                assert (found.at_responses >= lam * noise / 3 * (1 + policy)).all()
                assert (found.at_responses <= 8 * lam * noise * (1 + 4 * policy)).all()
            else:
                assert (found.at_responses <= 300 * own.max()).all()


LOSSES: dict[str, ea.Objective] = {
    "bradley_terry": ea.BradleyTerry(0.7),
    "dpo": ea.DPO(0.7),
    "two": ea.objective("cpo", 0.6),
    "expo": ea.EXPO(0.4),
    "ipo": ea.IPO(0.5),
}


@pytest.mark.parametrize("name", LOSSES)
def test_rounding_grows_with_logits_as_arguments_lose_digits(name: str) -> None:
    """A shift of all logits by s: each argument is known to 2 u s less, which enters slopes by psi''."""
    for n in (3, 7):
        problem, x = at(LOSSES[name], n)
        x = np.abs(x)
        found = {}
        for shift in (0.0, 100.0, 1e4):
            local, rounding = expand(problem, x + shift), PairRounding.of(problem, x + shift)
            found[shift] = rounding_errors(problem, x + shift, local.slope, rounding)
        bend = PairRounding.of(problem, x).bend
        for shift in (100.0, 1e4):
            grown = found[shift][0] - found[0.0][0]
            np.testing.assert_allclose(grown, 2 * UNIT * 2 * shift * bend, rtol=1e-6)
        currents, at_responses = found[0.0]
        slope = np.abs(expand(problem, x).slope)
        assert (currents >= 4 * UNIT * slope).all() and (currents < 1e-13).all()
        net = np.abs(incidence(n)) @ np.ones(len(pairs(n)[0]))
        own = at_responses - target_rounding(problem, x)
        flow = np.abs(incidence(n) @ expand(problem, x).slope)
        assert (own >= 2 * UNIT * flow * (1 - 1e-9)).all()
        assert (own <= 2.1 * UNIT * flow + 1e-28 + (n * UNIT) ** 2 * net[:, None] * slope.max() * 1.1).all()
        target = target_rounding(problem, x)
        if problem.target is None:
            assert (target == 0).all()
        else:  # T pi and its target, each to some units that grow with the summands
            policy = np.exp(x - np.logaddexp.reduce(x, axis=0))
            size = problem.target.sum(axis=0) * policy
            assert (target >= 2 * UNIT * (4 + n) * size).all()
            assert (target <= 2 * UNIT * (40 + 4 * n + len(problem.edges.winner) * 2) * (size + problem.target)).all()


def test_sums_are_exact_where_currents_cancel() -> None:
    """Integers and powers of two that cancel to nothing but their last digits."""
    n = 4
    currents = np.zeros((6, 2))
    currents[:, 0] = [2.0**60, 1.0, -(2.0**60), 3.0, 5.0, 2.0**-10]
    currents[:, 1] = [1e16, 1.0, -1e16, -1e16, 1.0, 1e16]
    exact = np.zeros((n, 2), dtype=object)
    for k, (i, j) in enumerate(zip(*pairs(n), strict=True)):
        for b in range(2):
            whole = int(currents[k, b] * 1024)
            exact[i, b] += whole
            exact[j, b] -= whole
    np.testing.assert_array_equal(sums_at_responses(currents), exact.astype(float) / 1024)


def test_rounding_of_a_divergence_grows_with_its_logits() -> None:
    """Logits of size s make log pi uncertain by u s, and each derivative by as much of itself, for any n."""
    for n in (3, 30):
        problem, x = at(ea.ExplicitPO(0.7, "jensen_shannon"), n)
        near, far = (divergence_rounding(problem, x + s).at_responses for s in (0.0, 1e6))
        log_policy = x - np.logaddexp.reduce(x, axis=0)
        first, second = (0.7 * np.abs(d) for d in ea.JensenShannon().derivatives(log_policy, problem.log_reference))
        grown = 2 * UNIT * 2e6 * (first + second)
        shared = np.exp(log_policy) * (grown.sum(axis=0) + 2 * UNIT * 2e6 * first.sum(axis=0))
        assert (far - near >= 0.9 * (grown + shared)).all() and (far - near <= 1.2 * (grown + shared)).all()
        assert (near >= 2 * UNIT * n * (first + second)).all()


class Steep(ea.PairObjective):
    """A hundred times a loss of both ends, at a scale of ten, without noise: M is 10, its slopes are of hundreds."""

    name = "steep"

    @property
    def claims(self) -> ea.Claims:
        return ea.Claims(True, False, False, False, 10.0)

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        from torch.nn.functional import softplus

        return 100.0 * softplus(-10.0 * (logp_w - logp_l)) - 50.0 * logp_w


def test_rounding_of_a_formula_is_relative_to_its_slopes() -> None:
    """Eight units of the larger of M and a slope at least, and not a hundred times as much where no curvature is."""
    problem, x = at(Steep(1.0))
    x = 4 * x
    log_policy = x - np.logaddexp.reduce(x, axis=0)
    errors, sizes, bend = formula_rounding_of_ends(problem, log_policy)
    m = 10.0 * (x[problem.edges.winner] - x[problem.edges.loser])
    against = 1000.0 / (1 + np.exp(m))
    for size, error, exact in zip(sizes, errors, (against + 50.0, against), strict=True):
        np.testing.assert_allclose(size, np.maximum(10.0, exact), rtol=1e-9)
        assert (error >= 8 * UNIT * size).all()
        level = bend < 1e-3
        assert level.any() and (error[level] <= 100 * UNIT * size[level]).all()


class Waves(ea.PairObjective):
    """A loss whose slopes have waves of 1e-9, a few ten thousandths long; of log-ratios alone, or of both ends."""

    name = "waves"
    ends: ClassVar[bool] = False

    @property
    def claims(self) -> ea.Claims:
        return ea.Claims(True, False, False, not self.ends, 1.0)

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        from torch import sin
        from torch.nn.functional import softplus

        m = logp_w - logp_l
        own = logp_w + 0.5 * logp_l if self.ends else m
        return softplus(-m) - (0.5 * logp_w if self.ends else 0.0) + 1e-13 * sin(1e4 * own)


def test_what_curvature_explains_is_of_third_order() -> None:
    """Waves that only a step of 1e-4 goes across: what curvature changes on the way is 1e-12 there, not 1e-8 as d^2 is.

    Their own curvature, 1e-5, tells nothing of them: it changes sign on the way.
    """
    problem, x = at(type("OfRatios", (Waves,), {})(1.0))
    extra = formula_rounding(problem, x)[2]
    assert (extra.max(axis=0) > 1e-11).all() and (extra < 1e-8).all()
    problem, x = at(type("OfEnds", (Waves,), {"ends": True})(1.0))
    errors = formula_rounding_of_ends(problem, x - np.logaddexp.reduce(x, axis=0))[0]
    for error in errors:
        assert (error.max(axis=0) > 1e-11).all() and (error < 1e-8).all()

    class Long(ea.JensenShannon):
        """Jensen-Shannon with such waves in its slope."""

        def derivatives(self, log_policy: Any, log_reference: Any) -> Any:
            first, second = super().derivatives(log_policy, log_reference)
            return first + 1e-9 * np.sin(1e4 * log_policy), second

    problem, x = at(ea.ExplicitPO(1.0, "jensen_shannon"))
    object.__setattr__(problem.facts, "regulariser", Long())
    found = divergence_rounding(problem, x).at_responses
    assert (found.max(axis=0) > 3e-10).all() and (found < 1e-8).all()


def test_rounding_of_a_pull_is_little_where_probabilities_are() -> None:
    """lam (pi - pi_ref) of a hardly possible response is known to units of both, and not to units of 1."""
    reference = np.array([1e-9, 1e-4, 0.5, 0.4999])
    for lam in (0.3, 5.0):
        problem = problems.problem(ea.EXPO(lam), ea.Bandit(reference / reference.sum(), [0.1, 0.2, 0.3, 0.4]))
        x = problem.log_reference + 0.3
        found = target_rounding(problem, x)[:, 0]
        size = 2 * lam * problem.reference[:, 0]
        assert (found >= 4 * UNIT * size).all()
        assert (found <= 2 * UNIT * (size * (20 + 2 * np.abs(problem.log_reference[:, 0]))) + 1e-40).all()


class FreeOfTheReference(ea.PairObjective):
    """-log sigma(lam h) as a bare formula."""

    name = "free"

    @property
    def claims(self) -> ea.Claims:
        return ea.BradleyTerry(self.lam).claims

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        from torch.nn.functional import softplus

        return softplus(-self.lam * (logp_w - logp_l))


def test_a_reference_that_is_not_read_has_no_rounding() -> None:
    """As a formula or as terms: what currents may be off by is the same whatever the reference; of DPO it is not."""
    x = np.array([[0.3], [-1.0], [0.7]])
    for made, reads in ((FreeOfTheReference(0.7), False), (ea.BradleyTerry(0.7), False), (ea.DPO(0.7), True)):
        found = []
        for reference in ([0.4, 0.3, 0.3], [1e-200, 0.5, 0.5]):
            problem = problems.problem(made, ea.Bandit(reference, [0.5, 0.3, 0.2])).in_logits()
            assert (np.diff(problem.responses[:, 0]) == 1).all()
            found.append(rounding_errors(problem, x, expand(problem, x).slope, PairRounding.of(problem, x))[0])
        assert (found[0] == found[1]).all() != reads


def test_second_derivatives_of_choices_are_known_to_themselves() -> None:
    """They are sums of what is not negative: their rounding is relative to the curvature by pairs."""
    bandit = ea.Bandit.from_rankings([0.4, 0.3, 0.2, 0.1], [[0, 1, 2, 3], [2, 0, 3, 1], [3, 1, 0, 2]])
    problem = problems.problem(ea.PlackettLuceDPO(0.6), bandit)
    x = np.random.default_rng(0).standard_normal((4, 1))
    np.testing.assert_allclose(PairRounding.of(problem, x).bend_scale, expand(problem, x).curvature, rtol=1e-12)


def test_rounding_of_a_choice_worked_by_hand() -> None:
    """Of one from two, in units of 2 u: its slope lam p, times 4, one a summand, and lam times what both arguments are
    known to: scores, log pi_ref, and two."""
    lam, x = 0.6, np.array([[0.9], [-0.4]])
    problem = problems.problem(ea.PlackettLuceDPO(lam), ea.Bandit.from_rankings([0.7, 0.3], [[0, 1]]))
    log_reference = np.log([0.7, 0.3])
    size = np.abs(x[:, 0]) + np.abs(log_reference) + 2
    m = lam * x[:, 0]
    p = np.exp(m) / np.exp(m).sum()
    expected = 2 * UNIT * lam * p[1] * (4 + 2 + lam * (size[1] + p @ size))
    np.testing.assert_allclose(PairRounding.of(problem, x).extra, [[expected]], rtol=1e-12)


def test_what_two_sums_leave_is_added_where_currents_cancel() -> None:
    """A current round a circle: nothing flows into any response, and (n u)^2 of what passes may be left."""
    problem = problems.problem(ea.DPO(1.0), ea.Bandit([0.2, 0.5, 0.3], [0.5, 0.3, 0.2]))
    x = np.zeros((3, 1))
    slope = np.array([[2.0], [-2.0], [2.0]])  # (1, 0), (2, 0), (2, 1): from 0 to 2, to 1, to 0
    assert (incidence(3) @ slope == 0).all()
    _, per_response = rounding_errors(problem, x, slope, PairRounding.of(problem, x))
    np.testing.assert_allclose(per_response, np.full((3, 1), (3 * UNIT) ** 2 * 4.0), rtol=1e-12)


@pytest.mark.parametrize("level", [-3e4, 3e4])
def test_what_large_logits_round_is_no_error_of_the_formula(level: float) -> None:
    """A clean formula of a difference of two large numbers is right to what the difference is."""
    problem, x = at(made(0.0, False))
    assert (formula_rounding(problem, x + level)[2] == 0).all()
