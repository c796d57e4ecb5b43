"""Judges of weights, ordinary problems, constraints and conditioning, on both sides of each threshold."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis.desiderata import ordinary as ordinary_problems
from expo_analysis.desiderata.falsify.problems import pi_star
from expo_analysis.desiderata.ordinary import believable, measured, middle, tidy
from expo_analysis.desiderata.questions import (
    conditioning,
    conservation,
    constraint_robustness,
    existence,
    flatness,
    gradient_weight,
    restricted_improvement,
)
from expo_analysis.desiderata.questions.label_noise import nearer, noisy
from expo_analysis.desiderata.subject import Subject, facts_of
from expo_analysis.desiderata.verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, PROVEN
from expo_analysis.losses import statistics

from .judged import DPO, EXPO, HBAR, LOGISTIC, SQUARED, optima_at, subject, verdict_example
from .own_losses import own

# ------------------------------------------------------------------------------------------------------ gradient weight


def test_weights_by_closed_forms() -> None:
    """DPO's is lam sigma(-lam h), IPO's 2 |h - 1/(2 lam)|, with an even reference."""
    h = np.array([-40.0, -1.0, 0.0, 0.7, 30.0])
    for lam in (0.1, 1.0):
        assert gradient_weight.weights(DPO, lam, h) == pytest.approx(lam * expit(-lam * h), rel=1e-9)
        assert gradient_weight.weights(subject(ea.IPO(1.0)), lam, h) == pytest.approx(2 * np.abs(h - 0.5 / lam))


@pytest.mark.parametrize(
    ("psi", "kind"),
    [
        (lambda m: (1 + m**2) ** (1.25 / 2), "bounded"),
        (lambda m: (1 + m**2) ** (1.28 / 2), "unbounded"),
        (lambda m: -np.log(2) + 0 * m + terms.Logistic(0.011, 1.0).value(m), "bounded"),
        (lambda m: terms.Logistic(0.009, 1.0).value(m), "fades"),
        (lambda m: 0 * m, "nothing"),
    ],
)
def test_growth_and_fading_on_both_sides_of_their_thresholds(psi: Any, kind: str) -> None:
    """Slopes in proportion to m^0.25 grow by 1.19 from one distance to twice that, to m^0.28 by 1.21."""
    loss = own(lambda lam: terms.Stated(psi)(lam * HBAR))
    for lam in (1.0, 0.1):
        assert gradient_weight.behaviour(subject(loss), lam)[0] == kind
    turned = own(lambda lam: terms.Stated(psi)(-1.0 * (lam * HBAR)))
    expected = {"fades": "bounded"}.get(kind, kind)
    assert gradient_weight.behaviour(subject(turned), 1.0)[0] in (expected, "fades" if kind == "bounded" else expected)


def test_weights_are_told_at_both_ends_and_at_0() -> None:
    found = gradient_weight.judge(DPO)
    for lam in gradient_weight.LAMS:
        told = [found.evidence[f"λ = {lam:g}: weight at {name}"] for name in ("-30/λ", "0", "30/λ")]
        assert told == pytest.approx([lam * expit(30.0), lam / 2, lam * expit(-30.0)], rel=1e-9)


def test_weights_that_grow_are_shown_at_margins_that_double() -> None:
    found = gradient_weight.judge(subject(ea.IPO(1.0))).counterexample
    assert found is not None
    margins, lam = found.numbers["margins"], found.numbers["lam"]
    assert np.abs(margins) == pytest.approx(np.array([30.0, 60.0, 120.0]) / lam) and len(set(np.sign(margins))) == 1
    assert found.numbers["weights"] == pytest.approx(2 * np.abs(np.array(margins) - 0.5 / lam))
    fades = gradient_weight.judge(subject(own(lambda lam: terms.Logistic(0.0, 1.0)(lam * HBAR)))).counterexample
    assert fades is not None and fades.numbers["margins"][0] == pytest.approx(-30.0 / fades.numbers["lam"])
    assert fades.numbers["weights"][0] < 0.01 * fades.numbers["weights"][1]


def test_what_slopes_say_of_weights() -> None:
    for psi, kind in (
        (LOGISTIC, "bounded"),
        (terms.Square(), "unbounded"),
        (terms.Exponential(), "unbounded"),
        (terms.Logistic(0.0, 1.0), "fades"),
        (terms.Sigmoid(), "fades"),  # not convex, and its slope's limits are what they are
        (terms.SquaredSigmoid(), "fades"),
        (terms.Modulated(0.05), ""),  # not convex: limits do not say that nothing between them is larger
        (terms.Stated(lambda m: m**4), ""),
    ):
        assert gradient_weight._by_slopes(subject(own(lambda lam, p=psi: p(lam * HBAR))), 1.0) == kind
    margins = np.linspace(-2, 2, 5)
    assert gradient_weight._relative(margins, np.array([4.0, 2.0, 2.0, 1.0, 0.0])).tolist() == [2.0, 1.0, 1.0, 0.5, 0.0]
    assert gradient_weight._relative(margins, np.array([4.0, 2.0, 0.0, 1.0, 3.0])).tolist() == [2.0, 1.0, 0.0, 0.5, 1.5]
    assert np.isnan(gradient_weight._relative(margins, np.zeros(5))).all()


U_W, U_L = statistics.log_u_w, statistics.log_u_l
POWERED = statistics.powered(0.25)


@pytest.mark.parametrize(
    ("made", "left", "right"),
    [
        (lambda lam: LOGISTIC(lam * U_W) + LOGISTIC(-1.0 * (lam * U_L)), -1.0, 0.0),
        (lambda lam: 3.0 * LOGISTIC(lam * U_W) + LOGISTIC(2.0 * (lam * U_L)), -3.0, 2.0),
        (lambda lam: terms.Logistic(0.8, 0.1)(-1.0 * (lam * U_W)) + LOGISTIC(lam * U_W - 0.5 * U_L), -1.1, 0.0),
        (lambda lam: terms.Sigmoid()(lam * U_W) + terms.Linear(-2.0)(U_L), 0.0, 2.0),
        (lambda lam: terms.Exponential()(lam * U_L) + LOGISTIC(lam * U_W), -1.0, np.inf),
        (lambda lam: SQUARED(lam * U_W - 5.0) + LOGISTIC(lam * U_W), -np.inf, 0.0),
        (lambda lam: SQUARED(lam * U_W) - SQUARED(0.5 * (lam * U_W)), np.nan, 0.0),
        (lambda lam: LOGISTIC(lam * POWERED), -np.inf, np.nan),
        (lambda lam: LOGISTIC(lam * U_W - 2.0 * (lam * U_L)), -1.0, 0.0),
    ],
)
def test_limits_of_slopes_of_single_scores_are_seen_far_out(made: Any, left: float, right: float) -> None:
    """By hand, and beside slopes of the loss itself at log-ratios of 40 to 640, to which they tend or grow."""
    one = subject(own(made))
    found = gradient_weight._limits(facts_of(one.at(1.0)))
    assert found == pytest.approx((left, right), nan_ok=True)
    far = 40.0 * 2.0 ** np.arange(5)
    for end, sign in zip(found, (-1.0, 1.0), strict=True):
        h = torch.tensor(sign * far, dtype=torch.float64, requires_grad=True)
        logs = torch.nn.functional.logsigmoid(torch.stack([h, -h]))
        even = torch.full_like(h, np.log(0.5))
        (slope,) = torch.autograd.grad(one.at(1.0).pair_loss(logs[0], logs[1], even, even).sum(), h)
        if np.isfinite(end):
            assert slope[-1].item() == pytest.approx(end, abs=1e-9)
        elif np.isinf(end):
            assert (np.diff(np.abs(slope.numpy())) > 0).all() and np.sign(slope[-1].item()) == np.sign(end)


def test_what_fades_or_grows_is_proven_by_the_limits() -> None:
    for made, told in (
        (lambda lam: terms.Sigmoid()(-1.0 * (lam * U_W)) + terms.Sigmoid()(lam * U_L), "fades"),
        (lambda lam: SQUARED(lam * U_L + 0.5), "unbounded"),
        (lambda lam: LOGISTIC(lam * POWERED), "unbounded"),
        (
            lambda lam: LOGISTIC(lam * U_W) + LOGISTIC(-1.0 * (lam * U_L)),
            "",
        ),  # not convex in h: it may be large between
        (lambda lam: SQUARED(lam * U_W) - SQUARED(0.5 * (lam * U_W)), ""),
        (lambda lam: LOGISTIC(lam * U_W + terms.linked(ea.divergences.JensenShannon())), ""),
    ):
        assert gradient_weight._by_slopes(subject(own(made)), 1.0) == told
    for loss in (ea.KTO(1.0), ea.APODown(1.0), ea.SPPO(1.0), ea.CalDPO(1.0), ea.QRPO(1.0), ea.AlphaPO(1.0)):
        found = gradient_weight.judge(subject(loss))
        assert (found.decision, found.basis) == (FAILS, PROVEN), loss


# --------------------------------------------------------------------------------------------------- ordinary problems


def test_sizes_that_count() -> None:
    assert middle(np.array([np.nan, 1.0, 3.0])) == 2.0 and math.isnan(middle(np.array([np.nan])))
    found = measured("TV", np.array([0.1, 0.2, 0.3, np.nan]), least=0.15)
    assert (found.share, found.typical, found.worst) == (2 / 3, 0.25, 0.3)


def test_rounder_problems_of_one_prompt() -> None:
    """As round as what is asked of them allows: one digit, two, three, or as they are."""
    bandit = ea.Bandit([[0.1234567, 0.8765433]] * 2, [[0.3, 0.7], [0.4567891, 0.5432109]])
    for digits in (1, 2, 3):
        found = tidy(EXPO, bandit, 1, lambda one, d=digits: bool(abs(one.reference[0, 0] - 0.1234567) < 0.6 * 10.0**-d))
        assert found.reference[0, 0] == pytest.approx(round(0.1234567, digits), abs=1e-12)
        assert found.reference.sum() == pytest.approx(1.0, abs=1e-15) and found.optimal is not None
    kept = tidy(EXPO, bandit, 1, lambda one: False)
    assert np.array_equal(kept.reference, bandit.reference[1:]) and np.array_equal(pi_star(kept), pi_star(bandit)[1:])


def test_what_is_believed_of_an_optimum() -> None:
    """A proven bound, or a policy that no grid beats."""
    one = ea.Bandit([[0.5, 0.5]], [[0.7, 0.3]])
    best = subject(ea.DiscoPOP(1.0)).optima(one, [1.0])
    assert np.isnan(best.bound).all() and believable(subject(ea.DiscoPOP(1.0)), one, best)
    turned = replace(best, log_policies=best.log_policies[..., ::-1])
    assert not believable(subject(ea.DiscoPOP(1.0)), one, turned)
    assert believable(subject(ea.DiscoPOP(1.0)), one, replace(turned, bound=np.zeros((1, 1))))
    five = ea.Bandit([[0.2] * 5], [[0.2] * 5])
    assert not believable(EXPO, five, optima_at([[[0.2] * 5]], [1.0], np.nan)), "nothing was looked at"


def test_a_bandit_of_one_prompt_by_itself() -> None:
    """A population, or counts with rewards and without, less the first axis."""
    population = ordinary_problems.alone(ea.Bandit([[0.4, 0.6]], [[0.7, 0.3]]))
    assert population.prompts is None and population.reference.tolist() == [0.4, 0.6]
    for rewards in (None, [[0.5, -0.5]]):
        given = ea.Bandit.from_counts([[0.4, 0.6]], [[[0, 3], [1, 0]]], rewards=rewards)
        found = ordinary_problems.alone(given)
        assert found.reference.tolist() == [0.4, 0.6] and found.counts is not None
        assert found.counts.tolist() == [[0, 3], [1, 0]]
        assert (found.rewards is None) == (rewards is None) and (
            rewards is None or found.rewards.tolist() == rewards[0]
        )


def test_ordinary_problems_are_what_they_are_said_to_be() -> None:
    for loss, count in ((ea.EXPO(1.0), 40), (ea.SPPO(1.0), 8)):
        one = subject(loss)
        assert ordinary_problems.count(one) == count and f"{count} ordinary problems" in ordinary_problems.described(
            one
        )
    bandit, optima = ordinary_problems.ordinary(EXPO)
    assert bandit.reference.shape == (40, 4) and optima.lams.tolist() == [0.01, 0.03, 0.1, 0.3, 1.0]
    assert np.ptp(bandit.pairs[:, ~np.eye(4, dtype=bool)]) < 1e-12
    same, _ = ordinary_problems.ordinary(EXPO, preserved=True)
    assert np.array_equal(same.reference, same.optimal)


def test_flipped_labels_and_gains() -> None:
    bandit = ea.Bandit([[0.5, 0.5]], [[0.8, 0.2]])
    counts = noisy(EXPO, bandit, 0.25).wins[0]
    assert counts[0, 1] / counts.sum() == pytest.approx(0.75 * 0.8 + 0.25 * 0.2)
    gain = nearer(bandit, optima_at([[[0.7, 0.3]], [[0.1, 0.9]]], [1.0, 2.0]))[:, 0]
    kl = [
        sum(p * np.log(p / q) for p, q in zip(x, (0.8, 0.2), strict=True)) for x in ((0.5, 0.5), (0.7, 0.3), (0.1, 0.9))
    ]
    assert gain == pytest.approx([kl[0] - kl[1], kl[0] - kl[2]])
    assert np.isnan(nearer(bandit, optima_at([[[0.7, 0.3]]], [1.0], status="not_unique"))).all()


# ---------------------------------------------------------------------------------------------------------- constraints


def test_one_parameter_by_scipy() -> None:
    """The best w of EXPO, RLHF and the preferences alone on random classes, with weight decay and without."""
    drawn = constraint_robustness.classes_of(EXPO, 8)
    assert drawn.count == 8 and drawn.decay.tolist() == [0.0, 0.1] * 4
    outcomes = constraint_robustness.compare(EXPO, drawn)
    rlhf = ea.RLHF(1.0)
    for k, (place, lam) in itertools.product(range(8), enumerate(constraint_robustness.LAMS)):
        reference, optimal = drawn.bandit.reference[2 * k : 2 * k + 2], pi_star(drawn.bandit)[2 * k : 2 * k + 2]
        bandit, decay = ea.Bandit(reference, optimal), drawn.decay[k]

        def value(w: float, loss: Any, held: float, b: Any = bandit, r: Any = reference, j: int = k) -> float:
            logs = log_softmax(np.log(r) + w * drawn.features[j, :, :, 0], axis=1)
            return float(ea.risk(loss, b, logs).mean() + held / 2 * w**2)

        bests = [
            (ea.EXPO(lam), decay, outcomes.w[place, k]),
            (rlhf.with_lam(lam), decay, outcomes.w_rlhf[place, k]),
            (ea.BradleyTerry(1.0), 0.0, outcomes.w_fit[place, k]),
        ]
        for loss, held, found in bests:
            if not np.isfinite(found):
                continue
            best = minimize_scalar(value, bracket=(found - 0.5, found + 0.6), args=(loss, held), tol=1e-10)
            assert value(found, loss, held) <= best.fun + 1e-9
        w, w_rlhf, w_fit = (x[place, k] for x in (outcomes.w, outcomes.w_rlhf, outcomes.w_fit))
        if np.isfinite([w, w_rlhf, w_fit]).all():
            lost = value(w, rlhf.with_lam(lam), decay) - value(w_rlhf, rlhf.with_lam(lam), decay)
            assert outcomes.regret[place, k] == pytest.approx(max(lost, 0.0), abs=1e-9)
            beyond = max(min(w_fit, 0.0) - w, w - max(w_fit, 0.0), 0.0)
            assert outcomes.outside[place, k] == pytest.approx(beyond, abs=1e-12)


@pytest.mark.parametrize(
    ("regret", "outside", "decision"),
    [
        (0.9e-6, 1.0, HOLDS),
        (1.1e-6, 0.9e-5, HOLDS),
        (0.1, 0.9e-5, HOLDS),
        (0.1, 1.1e-5, CANNOT_TELL),
        (0.9e-3, 1.0, CANNOT_TELL),
        (1.1e-3, 0.9e-2, CANNOT_TELL),
        (1.1e-3, 1.1e-2, FAILS),
    ],
)
def test_verdicts_on_constraints(regret: float, outside: float, decision: str) -> None:
    """One class of many has such a regret at one lambda, and is so far outside of both ends."""

    def compare(one: Subject, classes: Any) -> constraint_robustness.Outcomes:
        shape = (len(constraint_robustness.LAMS), classes.count)
        at = np.zeros(shape)
        at[1, 3] = 1.0
        true = np.ones(shape, bool)
        return constraint_robustness.Outcomes(
            0.5 + at, 0.5 + 0 * at, 1.0 + 0 * at, regret * at, outside * at, true, true
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constraint_robustness, "compare", compare)
        found = constraint_robustness.judge(DPO)
    assert found.decision == decision, found.summary
    assert found.evidence["largest regret in RLHF's own objective (nats)"] == pytest.approx(regret)
    assert found.evidence["largest distance outside of [π_ref, best fit] (in w)"] == pytest.approx(outside)
    if found.counterexample is not None:
        assert found.counterexample.numbers["lam"] == constraint_robustness.LAMS[1] and found.basis == PROVEN


def test_classes_are_extreme_and_alike_by_turns() -> None:
    """Every other class has probabilities of pi* below 0.05 or so; in every fourth both prompts are one."""
    drawn = constraint_robustness.classes_of(EXPO, 400)
    optimal = pi_star(drawn.bandit).reshape(-1, 2, 2, 3)[:, 0]
    least = optimal.min(axis=(1, 2))
    assert np.median(least[1::2]) < 0.03 < 0.1 < np.median(least[2::2]) and (least > 0).all()
    reference, features = drawn.bandit.reference.reshape(-1, 2, 2, 3)[:, 0], drawn.features.reshape(-1, 2, 2, 3)[:, 0]
    same = [np.array_equal(x[0], x[1]) for x in reference]
    assert all(same[3::4]) and np.mean(np.delete(same, np.arange(3, len(same), 4))) < 0.1
    assert set(np.unique(features)) <= {-1.0, 0.0, 1.0} and (np.ptp(features, axis=2) > 0).all()


def test_auxiliary_variables_have_a_restricted_optimum_that_is_proven() -> None:
    one = subject(ea.AuxDPO(1.0))
    drawn = constraint_robustness.classes_of(one, 4)
    assert (drawn.decay == 0).all() and drawn.count >= 4
    w, proven = drawn.minimise(ea.AuxDPO(np.full(drawn.count, 0.3)))
    assert proven.mean() >= 0.5 and np.isfinite(w).all()


def test_rlhf_is_judged_to_improve_and_regret_is_of_some_classes() -> None:
    found = restricted_improvement.judge(subject(ea.RLHF(1.0)))
    assert found.decision == HOLDS and found.evidence["share of random classes with less E[r*] than the reference"] == 0
    lost = restricted_improvement.regret(EXPO)
    assert lost.shape == (20,) and (lost[np.isfinite(lost)] >= 0).all() and np.isfinite(lost).sum() > 15


def test_existence_is_not_proven_by_optima_that_are_not() -> None:
    found = existence.judge(subject(ea.EXO(1.0)))
    assert found.decision == CANNOT_TELL and found.evidence["with a proven minimiser"] < found.evidence["problems"]
    sure = existence.judge(EXPO)
    assert sure.decision == HOLDS and sure.evidence["with a proven minimiser"] == sure.evidence["problems"]
    assert sure.evidence["without one"] == 0


def test_masses_that_move_are_shown_where_no_lower_policy_is_known() -> None:
    """And a search for an example ends with the first."""
    pairs = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0] * 3])
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.3, 0.2, 0.5], pairs)
    spo = subject(ea.SPO(1.0))
    best = spo.optima(ea.Bandit(bandit.reference[None], pi_star(bandit)[None], pairs[None]), [1.0]).log_policies[0, 0]
    assert conservation._moved(spo, bandit, 1.0, best, False) is not None
    assert conservation._moved(spo, bandit, 1.0, np.log([0.2, 0.2, 0.6]), False) is None, "there are lower ones"
    assert conservation._moved(spo, bandit, 1.0, np.log([0.2, 0.2, 0.6]), True) is not None
    calls = []
    shown = conservation._moved
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conservation, "_moved", lambda *given: calls.append(given) or shown(*given))
        assert conservation.judge(spo).decision == FAILS
    assert len(calls) == 1


@dataclass(frozen=True)
class Floor(ea.PairObjective):
    """DPO, and what it costs if the pair has less mass than e^-1, or more than e^-0.3: flat between, or on one side."""

    side: float = -1.0
    name = "floor"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        margin = self.lam * (logp_w - logp_l - ref_logp_w + ref_logp_l)
        mass = torch.logaddexp(logp_w, logp_l)
        beyond = (-1.2 - mass) if self.side < 0 else (mass + 0.25)
        return -ea.numerics.log_sigmoid(margin) + beyond.clip(min=0) ** 2


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_what_is_flat_on_one_side_only_has_no_other_minimiser_shown(side: float) -> None:
    """A third of a nat either way changes nothing, and three nats one way do."""
    pairs = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0] * 3])
    bandit = ea.Bandit([0.25, 0.25, 0.5], [0.25, 0.25, 0.5], pairs)
    even = np.log([0.25, 0.25, 0.5])
    assert flatness.other_minimiser(subject(ea.EXO(1.0)), bandit, 1.0, even) is not None
    assert flatness.other_minimiser(subject(Floor(1.0, side)), bandit, 1.0, even) is None


def test_who_stands_for_rlhf() -> None:
    plain = constraint_robustness.twin(ea.DPO(2.0))
    assert isinstance(plain, ea.RLHF) and plain.lam == 2.0 and plain.regulariser.name == "reverse_kl"
    assert constraint_robustness.twin(ea.FDPO(2.0, "jensen_shannon")).regulariser.name == "jensen_shannon"
    own_rlhf = ea.RLHF(1.0, "forward_kl")
    assert constraint_robustness.twin(own_rlhf) is own_rlhf
    assert isinstance(constraint_robustness.preferences_alone(ea.DPO(1.0), 1.0), ea.BradleyTerry)
    alone = constraint_robustness.preferences_alone(ea.SPO(1.0), 0.3)
    x = np.log(np.random.default_rng(0).dirichlet(np.ones(2), 9)).T
    assert alone.loss(x[0], x[1], x[0], x[1]) == pytest.approx(-np.log(expit(x[0] - x[1])))


def test_rewards_lost_over_restricted_classes() -> None:
    """By the policy that is found: E_ref[r*] - E_pi[r*]; random classes are what they are said to be."""
    drawn = restricted_improvement.classes_of(EXPO)
    assert len(drawn.lam) == 80 and sorted(set(drawn.lam)) == [0.1, 1.0]
    assert drawn.bandit.reference.min() >= 0.01 - 1e-12
    assert np.allclose(drawn.bandit.reference * 100, np.round(drawn.bandit.reference * 100))
    assert (np.ptp(drawn.feature, axis=1) > 0).all() and set(np.unique(drawn.feature)) <= {-1.0, 0.0, 1.0}
    some = drawn.some(np.array([3, 50]))
    found = some.solve(ea.EXPO(1.0))
    policies = np.exp(found.log_policy[:, 0])
    expected = ((some.bandit.reference - policies) * np.log(pi_star(some.bandit))).sum(axis=1)
    assert some.lost(found) == pytest.approx(expected) and np.array_equal(some.lam, drawn.lam[[3, 50]])
    assert len(restricted_improvement.classes_of(subject(ea.SPPO(1.0))).lam) == 20


# --------------------------------------------------------------------------------------------------------- conditioning


@pytest.mark.parametrize(("step", "known"), [(0.9e-3, True), (1.1e-3, False)])
def test_a_point_that_newton_would_leave_is_no_minimum(step: float, known: bool) -> None:
    from expo_analysis.desiderata.questions.curvature import Expansion

    turned = np.linalg.qr(np.column_stack([np.ones(3), [1, -1, 0], [1, 1, -2]]))[0]
    hessian = (turned @ np.diag([0.0, 0.5, 2.0]) @ turned.T)[None]
    gradient = (turned @ [0.0, 0.5 * step, 0.0])[None]
    found = conditioning.condition(Expansion(np.zeros(1), gradient, hessian), np.ones(1, bool))
    assert np.isfinite(found[0]) == known and (not known or found[0] == pytest.approx(4.0))


@pytest.mark.parametrize(
    ("least", "slope", "ratio"), [(1e-14, 1e-10, 5e15), (1e-14, 1e-8, None), (1e-12, 1e-10, 1e12), (1e-11, 1e-10, None)]
)
def test_curvatures_that_cannot_be_resolved_are_counted_as_an_ulp(least: float, slope: float, ratio: Any) -> None:
    """Along a direction that is all but flat Newton's step says nothing, as long as the slope itself is rounding."""
    from expo_analysis.desiderata.questions.curvature import Expansion

    turned = np.linalg.qr(np.column_stack([np.ones(3), [1, -1, 0], [1, 1, -2]]))[0]
    hessian = (turned @ np.diag([0.0, least, 1.0]) @ turned.T)[None]
    found = conditioning.condition(
        Expansion(np.zeros(1), (turned @ [0.0, slope, 0.0])[None], hessian), np.ones(1, bool)
    )
    if least == 1e-14:  # below what eigenvalues are known to
        assert (np.isnan(found[0])) == (ratio is None) and (ratio is None or found[0] > 1e13)
    else:
        assert np.isnan(found[0]), "a step of a hundred, with a slope that is there"


def test_curvatures_are_told_apart_if_errors_are_small_beside_the_least() -> None:
    ratios = np.array([np.nan, 100.5, 102.0, 1e6, 1e6, 1e13, 1e3, 1e3])
    bound = np.array([0.0, 0.0, 9e-7, 1e-11, 1e-9, 0.0, np.nan, 1e-16])
    policies = np.array([[0.1, 0.9]] * 7 + [[0.0, 1.0]])
    told = conditioning._told_apart(ratios, bound, policies)
    assert told.tolist() == [False, False, True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("ratio", "decision", "basis"), [(99.0, HOLDS, ""), (100.5, FAILS, EVIDENCE), (102.0, FAILS, PROVEN)]
)
def test_well_conditioned_is_up_to_a_hundred(ratio: float, decision: str, basis: str) -> None:
    """All ordinary problems have this ratio at one lambda and 4 at the others."""
    lams = list(ordinary_problems.LAMS)

    def ratios(local: Any, unique: Any) -> np.ndarray:
        calls.append(0)
        return np.full(40, ratio if len(calls) == len(lams) else 4.0)

    calls: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditioning, "condition", ratios)
        patch.setattr(conditioning, "_shown", lambda *given: verdict_example())
        found = conditioning.judge(DPO)
    assert (found.decision, found.basis) == (decision, basis) and found.evidence[f"median at λ = {lams[-1]:g}"] == ratio
    assert found.evidence["median ratio of curvatures"] == 4.0 and found.answer == "4"
    assert found.evidence["largest"] == ratio and found.evidence["of these on a kink"] == 0


def test_of_several_policies_each_is_as_far_from_the_reference_or_not() -> None:
    bandit = ea.Bandit([0.5, 0.3, 0.2], [0.2, 0.3, 0.5])
    there, turned, off = np.log([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.25, 0.25, 0.5]])
    for others, expected in (([turned, off], [True, False]), ([off, turned], [False, True])):
        flat = flatness._flat_indeed(subject(ea.EXPO(1.0)), bandit, 1.0, np.stack(others), there, resolved=True)
        assert flat.tolist() == expected
