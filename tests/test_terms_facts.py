"""What is derived of a sum of terms is true of its numbers: random psis, statistics, scales, signs and divergences.

Derivatives are torch's of the whole objective at random policies, and nothing of what the rules of composition read.
Where a rule stops, a loss stands of which it would be false, were it wider.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import expo_analysis as ea
from expo_analysis.desiderata.suspicion.psi_statements import refuted_psi
from expo_analysis.losses.data import LOG_PROBABILITIES, evaluate, reward_gap
from expo_analysis.losses.facts import Facts, bend
from expo_analysis.losses.of_pairs import OfPairs, can_be_of_pairs
from expo_analysis.losses.statistics import Powered, Statistic
from expo_analysis.losses.unpaired import on
from expo_analysis.terms import (
    BernoulliKL,
    Exponential,
    Hinge,
    Linear,
    Logistic,
    Modulated,
    Sigmoid,
    Square,
    SquaredSigmoid,
    Stated,
    Sum,
    TargetKL,
    h,
    hbar,
    linked,
    log_odds,
    log_pi_l,
    log_pi_w,
    log_u_l,
    log_u_w,
    reference_log_ratio,
    shortfall_w,
)

from .own_losses import own as of_terms

W, L = (np.array(ends) for ends in zip(*((i, j) for i in range(3) for j in range(3) if i != j), strict=True))
"""Winners and losers of the ordered pairs of three responses."""


def fourth_power(m: Any) -> Any:
    return m**4


def squared_hinge(m: Any) -> Any:
    return (1 - m).clip(min=0.0) ** 2


def softened(m: Any) -> Any:
    """sigma of a reference's log-ratio, by arithmetic that numpy, torch and data all have."""
    return 0.5 + 0.5 * m / (1 + abs(m))


TARGET = reference_log_ratio.map(softened)

PSIS = {
    "logistic": Logistic(),
    "smoothed": Logistic(0.9, 0.1),
    "robust": Logistic(1.125, -0.125),
    "turned": Logistic(1.0, -1.5),
    "soft": Logistic(TARGET, 1 - TARGET),
    "square": Square(),
    "hinge": Hinge(),
    "hinge at 0.3": Hinge(0.3),
    "falling": Linear(-1.0),
    "rising": Linear(2.0),
    "flat": Linear(0.0),
    "exponential": Exponential(),
    "sigmoid": Sigmoid(),
    "squared sigmoid": SquaredSigmoid(0.7, 0.3),
    "bernoulli": BernoulliKL(np.log(99.0)),
    "bernoulli of data": BernoulliKL(reference_log_ratio),
    "target": TargetKL(-2.0),
    "modulated": Modulated(0.05),
    "mildly modulated": Modulated(2.0),
    "fourth power": Stated(fourth_power, (-math.inf, math.inf), convex=True, lower_bound=0.0, decay=(0.0, 0.0)),
    "squared hinge": Stated(squared_hinge, (-math.inf, 0.0), True, lower_bound=0.0, decay=(0.0, math.inf)),
    "unknown": Stated(fourth_power),
}

STATISTICS = {
    "h": h,
    "hbar": hbar,
    "-h": -h,
    "log pi_w": log_pi_w,
    "log pi_l": log_pi_l,
    "log u_w": log_u_w,
    "log u_l": log_u_l,
    "more of the winner": 0.2 * log_pi_w - 0.1 * log_pi_l,
    "more of the loser": 0.1 * log_pi_w - 0.2 * log_pi_l,
    "both": 0.5 * log_pi_w + 0.25 * log_pi_l,
    "half relative": log_u_w - log_pi_l,
    "log odds": log_odds,
    "shortfall": shortfall_w,
    "ratio and shortfall": hbar + 2.0 * shortfall_w,
    "Jensen-Shannon": linked(ea.JensenShannon()),
    "chi-square": linked(ea.ChiSquare()),
}
SCALES = (1.0, 0.5, 2.0, -1.0)
OFFSETS: tuple[Any, ...] = (0.0, 0.0, 0.7, -1.2, reference_log_ratio, -0.5 * reference_log_ratio)
WEIGHTS: tuple[Any, ...] = (1.0, 1.0, 0.5, 2.0, 0.0, -0.5, TARGET)
REGULARISERS: dict[str, ea.Divergence | None] = {
    "none": None,
    "forward KL": ea.ForwardKL(),
    "reverse KL": ea.ReverseKL(),
    "Jensen-Shannon": ea.JensenShannon(),
    "alpha 0.5": ea.Alpha(0.5),
    "alpha 1.5": ea.Alpha(1.5),
    "chi-square": ea.ChiSquare(),
    "mixed": ea.MixedChiSquare(),
}


@st.composite
def terms(draw: st.DrawFn, psis: dict[str, Any] = PSIS, statistics: dict[str, Any] = STATISTICS) -> Sum:
    """One to three terms, in which any psi may meet any statistic."""
    total: Any = None
    for _ in range(draw(st.integers(1, 3))):
        psi = psis[draw(st.sampled_from(sorted(psis)))]
        statistic = statistics[draw(st.sampled_from(sorted(statistics)))]
        moved = draw(st.sampled_from(SCALES)) * statistic - draw(st.sampled_from(OFFSETS))
        term = draw(st.sampled_from(WEIGHTS)) * psi(moved)
        total = term if total is None else total + term
    return total


@dataclass(frozen=True)
class At:
    """Random problems of three responses, and a point and a direction in the logits of each; (problems, ...)."""

    theta: torch.Tensor
    direction: torch.Tensor
    reference: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def drawn(cls, seed: int, count: int = 20) -> At:
        rng = np.random.default_rng(seed)
        theta = 10 ** rng.uniform(-1, 0.7, (count, 1)) * rng.normal(size=(count, 3))
        weight = 10 ** rng.uniform(-2, 0, (count, len(W))) * (rng.random((count, len(W))) < 0.7)
        weight[:, 0] += 1
        arrays = (theta, rng.normal(size=(count, 3)), rng.dirichlet(np.ones(3) * 2, count), weight)
        return cls(*map(torch.tensor, arrays))

    def datum(self, log_policy: torch.Tensor) -> dict[str, torch.Tensor]:
        logs = {"logp": log_policy, "ref_logp": self.reference.log()}
        return {f"{name}_{slot}": x[:, end] for name, x in logs.items() for slot, end in (("w", W), ("l", L))}

    def parts(self, own: Sum, regulariser: Any, theta: torch.Tensor) -> list[torch.Tensor]:
        """What the objective is a sum of, term by term, at some logits: (problems,) each."""
        log_policy = torch.log_softmax(theta, -1)
        datum = self.datum(log_policy)
        found = [(self.weight * term.value(datum)).sum(-1) for term in own]
        if regulariser is not None:
            found.append(regulariser.terms(log_policy, self.reference.log()).sum(-1))
        return found


def derivatives(at: At, own: Sum, regulariser: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """D2 f[v, v] of each part, (parts, problems), and its gradient in the logits, (parts, problems, responses)."""
    theta = at.theta.clone().requires_grad_(True)
    t = torch.zeros(len(theta), dtype=torch.float64, requires_grad=True)
    bends, twists = [], []
    for part in at.parts(own, regulariser, theta + t[:, None] * at.direction):
        derivative = part + 0.0 * t**4
        for _ in range(2):
            (derivative,) = torch.autograd.grad(derivative.sum(), t, create_graph=True)
        (twist,) = torch.autograd.grad(derivative.sum(), theta, retain_graph=True, allow_unused=True)
        bends.append(derivative.detach())
        twists.append(torch.zeros_like(theta).detach() if twist is None else twist)
    return torch.stack(bends), torch.stack(twists)


seeds = st.integers(0, 2**32 - 1)
regularisers = st.sampled_from(sorted(REGULARISERS)).map(REGULARISERS.__getitem__)


@pytest.mark.parametrize("name", PSIS)
def test_a_psi_says_nothing_false_of_itself(name: str) -> None:
    """What all else is derived from; data are the audit's own."""
    psi = PSIS[name]
    at = At.drawn(0)
    datum = {key: x[0].numpy() for key, x in at.datum(at.theta).items()}
    (term,) = Facts(psi(h), None, datum).bound
    assert refuted_psi(term.psi) == ""


@settings(max_examples=80, deadline=None)
@given(own=terms(), regulariser=regularisers, seed=seeds)
def test_convexity_and_self_concordance(own: Sum, regulariser: Any, seed: int) -> None:
    """D2 f[v,v] >= 0 and |D3 f[v,v,u]| <= M range(u) D2 f[v,v], for all u at once."""
    facts, at = Facts(own, regulariser), At.drawn(seed)
    if not facts.convex:
        return
    bends, twists = derivatives(at, own, regulariser)
    size = bends.abs().sum(0)
    assert (bends.sum(0) >= -1e-9 * size).all()
    if facts.self_concordance is not None:
        steepest = twists.sum(0).clip(min=0.0).sum(-1)  # sup over u of range 1, as the twist adds up to 0
        slack = 1e-8 * (twists.abs().sum((0, 2)) + size)
        assert (steepest <= float(np.max(facts.self_concordance)) * bends.sum(0) + slack).all()


@settings(max_examples=150, deadline=None)
@given(own=terms(), regulariser=regularisers, seed=seeds)
def test_convexity_across_kinks(own: Sum, regulariser: Any, seed: int) -> None:
    """The middle of a chord is not above the mean of its ends, which second derivatives do not see at a kink."""
    if not Facts(own, regulariser).convex:
        return
    at = At.drawn(seed)
    moved = [torch.stack(at.parts(own, regulariser, at.theta + t * at.direction)) for t in (-1.0, 0.0, 1.0)]
    low, middle, high = (x.sum(0) for x in moved)
    assert (middle <= (low + high) / 2 + 1e-12 * sum(x.abs().sum(0) for x in moved)).all()


@settings(max_examples=150, deadline=None)
@given(own=terms(), seed=seeds)
def test_what_is_read(own: Sum, seed: int) -> None:
    """No reference where none is needed, nothing but log pi_w/pi_l where that is all, and no value below the bound."""
    at = At.drawn(seed)
    datum = at.datum(torch.log_softmax(at.theta, -1))
    values = own.value(datum) + torch.zeros_like(at.weight)
    facts = Facts(own, None)
    if not facts.needs_reference:
        other = {**datum, "ref_logp_w": datum["ref_logp_w"] - 0.3, "ref_logp_l": datum["ref_logp_l"] - 1.1}
        assert torch.equal(own.value(other) + torch.zeros_like(at.weight), values)
    shifted = {**datum, "logp_w": datum["logp_w"] - 0.7, "logp_l": datum["logp_l"] - 0.7}
    change = own.value(shifted) - values
    size = 1e-12 * (1 + values.abs() + sum(x.abs() for x in datum.values())) ** 4
    if facts.log_ratio_only:
        assert (change.abs() <= size).all()
    local = Facts(own, None, {name: x.numpy() for name, x in datum.items()})
    if not local.general:  # then the rest is -sum a log pi
        expected = 0.7 * sum(local.likelihood.values())
        assert (np.abs(change.numpy() - expected) <= size.numpy()).all()
    if local.lower_bound is not None:
        assert (values.numpy() >= local.lower_bound - 1e-12 * (1 + np.abs(values.numpy()))).all()
    merged = own.merged.value(datum) + torch.zeros_like(at.weight)
    assert torch.allclose(merged, values, rtol=1e-12, atol=1e-12)


RATIOS = {name: STATISTICS[name] for name in ("h", "hbar", "-h")}


def loss_of_ratio(own: Sum, at: At, x: torch.Tensor, turned: bool = False) -> torch.Tensor:
    """The loss of the first pair at log pi_w/pi_l = x; with winner and loser changed, where it is ``turned``."""
    w, l = (L[0], W[0]) if turned else (W[0], L[0])  # noqa: E741
    ref, loser = at.reference[0].log(), torch.full_like(x, -50.0)
    return own.value({"logp_w": x + loser, "logp_l": loser, "ref_logp_w": ref[w], "ref_logp_l": ref[l]}) + 0.0 * x


def slope(own: Sum, at: At, x: torch.Tensor, turned: bool = False) -> torch.Tensor:
    """Its derivative in x."""
    return torch.func.grad(lambda y: loss_of_ratio(own, at, y, turned).sum())(x)


def at_first_pair(at: At) -> dict[str, np.ndarray]:
    ref = at.reference[0].log().numpy()
    return {"ref_logp_w": ref[W[:1], None], "ref_logp_l": ref[L[:1], None]}


@settings(max_examples=100, deadline=None)
@given(own=terms(statistics=RATIOS), seed=seeds)
def test_slopes_and_how_soon_they_are_reached(own: Sum, seed: int) -> None:
    at = At.drawn(seed)
    facts = Facts(own, None, at_first_pair(at))
    if facts.slopes is None:
        return
    for sign, end, place in ((-1.0, facts.slopes[0], 0), (1.0, facts.slopes[1], 1)):
        limit = float(np.asarray(end).reshape(-1)[0])
        near = slope(own, at, sign * torch.linspace(14.0, 22.0, 9).double())
        far = slope(own, at, sign * torch.linspace(26.0, 30.0, 5).double())
        if math.isinf(limit):
            assert (far.sign() == math.copysign(1.0, limit)).all() and far.abs().min() > near.abs().min()
            continue
        rate = None if facts.decay is None else facts.decay[place]
        if rate is None or rate == 0:
            continue
        left, first = (float((x - limit).abs().max()) for x in (far, near))
        rate = min(rate, 100.0)
        assert left <= 3 * math.exp(-rate * 10) * first + 1e-12 * (1 + abs(limit)) * 10


@settings(max_examples=100, deadline=None)
@given(own=terms(statistics={"linked": hbar}), divergence=st.sampled_from(sorted(REGULARISERS)), seed=seeds)
def test_in_scores_every_link_is_the_logarithm(own: Sum, divergence: str, seed: int) -> None:
    """A loss of mu(u_w) - mu(u_l) has in the scores what the same loss of hbar has in the logits."""
    link = REGULARISERS[divergence]
    if link is None or not own.merged.reads & {"ref_logp_w"}:
        return  # what is 0 everywhere has no link
    mine = Sum(tuple(_of(term, linked(link)) for term in own))
    datum = at_first_pair(At.drawn(seed))
    ours, theirs = Facts(mine, None, datum), Facts(own, None, datum)
    assert ours.link == (ea.ReverseKL() if type(link) is ea.ReverseKL else link) and theirs.link == ea.ReverseKL()
    assert ours.psis_convex == theirs.psis_convex == theirs.convex
    same = (ours.score_concordance, theirs.self_concordance)
    assert same == (None, None) or np.array_equal(*same)
    assert repr(ours.slopes) == repr(theirs.slopes) and ours.decay == theirs.decay
    assert repr(ours.log_odds_scale) == repr(theirs.log_odds_scale)


def _of(term: Any, statistic: Any) -> Any:
    return dataclasses.replace(term, statistic=dataclasses.replace(term.statistic, parts=statistic.parts))


@settings(max_examples=100, deadline=None)
@given(
    own=terms({name: PSIS[name] for name in ("logistic", "exponential", "smoothed", "square")}, {"h": h, "hbar": hbar}),
    seed=seeds,
    p=st.sampled_from([0.03, 0.4, 0.7, 0.99]),
)
def test_the_margin_of_log_odds_is_least(own: Sum, seed: int, p: float) -> None:
    at = At.drawn(seed)
    facts = Facts(own, None, at_first_pair(at))
    c = facts.log_odds_scale
    if c is None:
        return
    (relative,) = {atom.relative for term in own for _, atom in term.statistic.parts}
    ref = at.reference[0].log()
    x = torch.tensor([-0.5, 0.0, 0.5]).double() + math.log(p / (1 - p)) / float(c)
    x = x + (ref[W[0]] - ref[L[0]] if relative else 0.0)
    expected = p * loss_of_ratio(own, at, x) + (1 - p) * loss_of_ratio(own, at, -x, turned=True)
    assert expected[1] < expected[0] and expected[1] < expected[2]
    won, lost = p * slope(own, at, x), (1 - p) * slope(own, at, -x, turned=True)
    assert abs(float(won[1] - lost[1])) <= 1e-12 * float(won[1].abs())


# ------------------------------------------------------------------------------------------------ where the rules stop


@dataclass(frozen=True)
class Beyond:
    """A sum of which a wider rule would claim something, and how large the contradiction is that numbers show."""

    terms: Sum
    regulariser: Any = None
    convex: bool = False
    m: Any = None


BEYOND = {
    "a straight line of log pi upwards": Beyond(Linear(1.0)(log_pi_w)),
    "a negative weight": Beyond(-1.0 * Logistic()(h)),
    "negative weights of a straight line of log pi": Beyond(Linear(-1.0)(log_pi_w) + 2.0 * Linear(1.0)(log_pi_w)),
    "smoothing of what is concave": Beyond(Logistic(0.4, 0.6)(log_pi_w)),
    "a square of what is concave": Beyond(Square()(log_pi_w + 2.0)),
    "falling, of what is convex": Beyond(Logistic()(-log_pi_w)),
    "rising, of what is concave": Beyond(Logistic()(-(0.2 * log_pi_w - 0.1 * log_pi_l))),
    "log-odds": Beyond(Logistic()(log_odds)),
    "kept and flipped below 0": Beyond(Logistic(1.0, -1.5)(h)),
    "a link": Beyond(Logistic()(linked(ea.JensenShannon()))),
    "reverse KL": Beyond(Linear(0.0)(h), ea.ReverseKL()),
    "alpha below 1": Beyond(Linear(0.0)(h), ea.Alpha(0.5)),
}


def largest_contradiction(case: Beyond) -> tuple[float, float]:
    """How negative D2 f gets, and how large |D3 f| / D2 f, with its sup over u; both relative to their parts."""
    bends, twists = derivatives(At.drawn(0, 3000), case.terms, case.regulariser)
    total, size = bends.sum(0), bends.abs().sum(0) + 1e-300
    ratio = twists.sum(0).clip(min=0.0).sum(-1) / total
    return float((-total / size).max()), max(ratio[total > 1e-6 * size].tolist(), default=math.nan)


@pytest.mark.parametrize("name", BEYOND)
def test_a_wider_rule_of_convexity_would_be_false(name: str) -> None:
    case = BEYOND[name]
    facts = Facts(case.terms, case.regulariser)
    assert not facts.convex and facts.self_concordance is None
    assert largest_contradiction(case)[0] > 1e-3


def test_a_wider_rule_of_self_concordance_would_be_false() -> None:
    """A convex loss of what is concave: psi's M times the coefficients, here 0.2, does not hold as for log-ratios."""
    for scale, negative in ((0.2, 0.5), (0.2, 0.0), (3.0, 0.7), (30.0, 0.2)):
        more = Logistic()(scale * (log_pi_w - negative * log_pi_l))
        facts = Facts(more, None)
        assert facts.convex
        assert facts.self_concordance == pytest.approx(scale + 1 + (scale * (1 - negative)) ** 0.5 / 2)
        seen = largest_contradiction(Beyond(more))[1]
        assert 0.8 < seen <= facts.self_concordance, (scale, negative)  # 0.8 is more than 0.2, psi's M by P
    for known, m in (
        (Logistic()(0.2 * h) + Linear(-1.0)(0.1 * log_pi_w), 1.0),
        (Logistic()(3.0 * h), 3.0),
        (Logistic()(-3.0 * hbar - 0.5), 3.0),
        (Square()(3.0 * h), 0.0),
        (Logistic()(0.2 * h) + Logistic()(-0.7 * hbar), 0.7),
    ):
        assert Facts(known, None).self_concordance == m
        assert largest_contradiction(Beyond(known))[1] <= m * (1 + 1e-4) + 1e-6


def test_opposite_logistic_terms_are_one() -> None:
    """1.25 f(m) - 0.25 f(-m), f = -log sigma, is robust DPO's; of two terms, one of them negative, nothing is known."""

    @dataclass(frozen=True)
    class Robust(ea.PairObjective):
        name = "mine"

        @property
        def terms(self) -> Sum:
            margin = self.lam * hbar
            return 1.25 * Logistic()(margin) - 0.25 * Logistic()(-margin)

    mine, theirs = Robust(0.5), ea.DPO(0.5, label_smoothing=1 / 6, robust=True)
    assert mine.facts.convex and mine.facts.self_concordance == theirs.facts.self_concordance == 0.5
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    found = ea.solve(mine, bandit)
    assert found.status == "optimal" and found.error_bound < 1e-13
    np.testing.assert_allclose(found.policy, ea.solve(theirs, bandit).policy, rtol=1e-12)


def test_powers_are_concave_where_they_bend_as_the_logarithm_does() -> None:
    """(1 - pi^-a)/a for a >= 0: then a falling convex psi of it is convex; at a = -1 it is pi itself."""
    for alpha, concave in ((0.5, True), (0.0, True), (-0.5, False), (-1.0, False)):
        one = Statistic(((1.0, Powered("w", alpha)),))
        assert Facts(Logistic()(one), None).convex == concave
        assert not Facts(Logistic()(-one), None).convex


def test_losses_of_three_responses_are_of_pairs_where_nothing_else_of_the_third_is_read() -> None:
    """WRPO reads log pi and log pi_ref of it, TPO log pi alone; of a length of its own pairs know nothing."""
    pairs = ea.Bandit([0.2, 0.3, 0.5], [0.5, 0.3, 0.2])
    for made in (ea.WRPO(0.5, alpha=0.3), ea.TPO(0.5)):
        assert can_be_of_pairs(made) and isinstance(on(pairs, made), OfPairs)
    for other in (ea.DPO(0.5), ea.SFT(0.5)):
        assert not can_be_of_pairs(other) and on(pairs, other) is other
    assert on(pairs, ea.WRPO(0.5, alpha=0.3)).facts.log_ratio_only and not ea.WRPO(0.5, alpha=0.3).facts.log_ratio_only


@pytest.mark.parametrize("gap", [reference_log_ratio, reward_gap], ids=["log-ratio", "rewards"])
def test_without_data_they_may_be_in_any_order(gap: Any) -> None:
    """A weight that is the difference of two numbers of a pair has either sign; its square has one."""
    assert Facts((gap * gap) * Logistic()(h), None).convex
    for sign in (1.0, -1.0):
        facts = Facts((sign * gap) * Logistic()(h), None)
        assert not facts.convex and not facts.psis_convex and facts.lower_bound is None
        assert bend(h * (sign * gap), evaluate(sign * gap, facts.datum)) == "affine"
        assert bend(log_pi_w, evaluate(sign * gap, facts.datum)) == "unknown"


def test_the_size_of_a_statistic_is_that_of_its_parts() -> None:
    """|scale| (sum |c| |x| + |centre|) + |offset|: what its rounding goes by, however much of it cancels."""
    datum = {
        name: np.array([value, -50.0]) for name, value in zip(LOG_PROBABILITIES, (-1.0, -2.0, -3.0, -4.0), strict=True)
    }
    np.testing.assert_allclose(h.size(datum), [3.0, 100.0])
    np.testing.assert_allclose((0.25 * hbar - 7.0).size(datum), [0.25 * 10 + 7, 0.25 * 200 + 7])
    np.testing.assert_allclose((3.0 * log_pi_w - 0.5 * log_pi_l).size(datum), [4.0, 175.0])


@pytest.mark.parametrize("slope", [-2.0, -1.0, 0.5, 1.0])
def test_the_margin_is_a_number_of_log_odds_whatever_its_sign(slope: float) -> None:
    """E psi(slope h) is least where slope h is the log-odds of Logistic; nothing is known of 0 h."""
    loss = of_terms(lambda lam: Logistic()(slope * h))
    assert loss.facts.log_odds_scale == slope
    assert of_terms(lambda lam: Logistic()(0.0 * h)).facts.log_odds_scale is None
