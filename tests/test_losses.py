"""Pair losses: by hand, against their definitions in high precision, and the relations between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import expo_analysis as ea
from expo_analysis.testing import strategies as own

from .definitions import BATCH_CASES, GENERATORS, PAIR_CASES, Case, digits
from .pairs import (
    EPS,
    HAND,
    SEE_RATIOS,
    Logs,
    each_pair_case,
    evaluate,
    log_ratio,
    losses,
    relative_log_ratio,
    slopes_within,
    steepness,
    where_finite,
)

# ---------------------------------------------------------------------------------------------------- by hand

# pi = (.6, .2) and pi_ref = (.2, .4): h = log 3, h_ref = -log 2, hbar = log 6, u_w = 3, u_l = 1/2
BY_HAND = {
    "DPO": (ea.DPO(1.0), math.log(7 / 6)),
    "DPO, lam = 2": (ea.DPO(2.0), math.log(37 / 36)),
    "conservative DPO": (ea.DPO(1.0, label_smoothing=0.25), 0.75 * math.log(7 / 6) + 0.25 * math.log(7)),
    "robust DPO": (
        ea.DPO(1.0, label_smoothing=0.25, robust=True),
        (0.75 * math.log(7 / 6) - 0.25 * math.log(7)) / 0.5,
    ),
    "IPO": (ea.IPO(0.5), (math.log(6) - 1) ** 2),
    "IPO, lam = 1/4": (ea.IPO(0.25), (math.log(6) - 2) ** 2),
    # f' = log(2u/(1+u)): log(3/2) - log(2/3) = log(9/4)
    "f-DPO, Jensen-Shannon": (ea.FDPO(1.0), math.log(1 + 4 / 9)),
    "f-DPO, Jensen-Shannon, lam = 2": (ea.FDPO(2.0), math.log(1 + 16 / 81)),
    "f-DPO, reverse KL": (ea.FDPO(1.0, divergence="reverse_kl"), math.log(7 / 6)),
    # f' = -1/u: -1/3 + 2
    "f-DPO, forward KL": (ea.FDPO(3.0, divergence="forward_kl"), math.log1p(math.exp(-5))),
    # f' = (1 - u^-2)/2: (4 - 1/9)/2 = 35/18
    "f-DPO, alpha = 2": (ea.FDPO(1.8, divergence="alpha", alpha=2.0), math.log1p(math.exp(-3.5))),
    # f' = 2 (u - 1): 2 (3 - 1/2)
    "f-DPO, chi-square": (ea.FDPO(1.0, divergence="chi_square"), math.log1p(math.exp(-5))),
    # mu = u + log u: 5/2 + log 6
    "QPO, psi = -lam m": (ea.QPO(2.0, lambda m, lam: -lam * m, lambda u: u + np.log(u)), -5 - 2 * math.log(6)),
    "hinge": (ea.Hinge(0.25), 1 - math.log(6) / 4),
    "hinge, beyond its kink": (ea.Hinge(1.0), 0.0),
    "SLiC": (ea.SLiC(7.0, margin=2.0), 2 - math.log(3)),
    # 2 (3 - 1/2 + log 6) = 5 + log 36
    "chi-PO": (ea.ChiPO(2.0), math.log1p(math.exp(-5) / 36)),
    # q = 6/7 against 7/8
    "EXO": (ea.EXO(1.0, label_smoothing=0.125), 6 / 7 * math.log(48 / 49) + 1 / 7 * math.log(8 / 7)),
    # sigma(log 6) = 6/7, exp(-log 6) = 1/6
    "DiscoPOP": (ea.DiscoPOP(1.0, tau=1.0), math.log(7 / 6) / 7 + 1 / 7),
    "DPOP, winner above the reference": (ea.DPOP(1.0, penalty=2.0), math.log(7 / 6)),
    "RPO": (ea.RPO(1.0, alpha=2.0), math.log(7 / 6) - 2 * math.log(0.6)),
    "pessimistic DPO": (ea.PessimisticDPO(7.0, beta=1.0), math.log(7 / 6)),
    "length-normalised DPO, without lengths": (ea.LengthNormalisedDPO(1.0), math.log(7 / 6)),
    # 3 against sqrt(1/2)
    "DPO-Shift": (ea.DPOShift(1.0, shift=0.5), math.log1p(1 / (3 * math.sqrt(2)))),
    "Cal-DPO": (ea.CalDPO(0.5, strength=2.0), math.log(7 / 6) + 2 * ((math.log(3) - 1) ** 2 + (1 - math.log(2)) ** 2)),
    # sigma(log 3) = 3/4 and sigma(-log 2) = 1/3: logarithms of 16/3 and 9/2, halved
    "PRO": (ea.PRO(1.0), math.log(7 / 6) + math.log(24) / 2),
    # 1 - 1/0.6 = -2/3 and 1 - 1/0.2 = -4
    "AlphaPO": (ea.AlphaPO(1.0, alpha=1.0, gamma=0.5), math.log1p(math.exp(0.5 - 10 / 3))),
    "AlphaPO, alpha = -1: probabilities": (ea.AlphaPO(2.0, alpha=-1.0, gamma=0.0), math.log1p(math.exp(-0.8))),
    "SimPER": (ea.SimPER(7.0), -0.4),
    "SFT": (ea.SFT(7.0), -math.log(0.6)),
    "Bradley-Terry, lam = 2": (ea.BradleyTerry(2.0), math.log(10 / 9)),
    "CPO": (ea.CPO(2.0, alpha=0.5), math.log(10 / 9) - 0.5 * math.log(0.6)),
    # h - log 2 = log(3/2)
    "SimPO": (ea.SimPO(1.0, gamma=math.log(2)), math.log(5 / 3)),
    # odds 3/2 and 1/4
    "ORPO": (ea.ORPO(2.0), -math.log(0.6) + 2 * math.log(7 / 6)),
    # u / 2 is 3/2 and 1/4
    "KTO": (
        ea.KTO(1.0, desirable_weight=2.0, undesirable_weight=3.0, reference_point=math.log(2)),
        2 * 2 / 5 + 3 * 1 / 5,
    ),
    "APO zero": (ea.APOZero(1.0), 1 / 4 + 1 / 3),
    "APO down": (ea.APODown(1.0), 3 / 4 + 1 / 7),
    "BCO": (ea.BCO(1.0), math.log(4 / 3) + math.log(3 / 2)),
    "BCO, shifted": (ea.BCO(1.0, reference_point=math.log(2)), math.log(5 / 3) + math.log(5 / 4)),
    "NCA": (ea.NCA(1.0), math.log(4 / 3) + (math.log(4) + math.log(3 / 2)) / 2),
    "SPPO": (ea.SPPO(0.5), (math.log(3) - 1) ** 2 + (1 - math.log(2)) ** 2),
    "SPO": (ea.SPO(7.0, alpha=2.0), math.log(10 / 9) / 2),
    "AOT, a batch of one": (ea.AOT(1.0), math.log(7 / 6)),
    "EXPO": (ea.EXPO(7.0), math.log(4 / 3)),
    "explicit, reverse KL": (ea.ExplicitPO(7.0, divergence="reverse_kl"), math.log(4 / 3)),
    # p_ref = 1/3: t = (1 + 1/3)/2 = 2/3 against sigma(h) = 3/4
    "regression EXPO": (ea.RegressionEXPO(1.0), 1 / 144),
    # t = (1 + 3/3)/4 = 1/2
    "regression EXPO, lam = 3": (ea.RegressionEXPO(3.0), 1 / 16),
    "regression EXPO, cross-entropy": (
        ea.RegressionEXPO(1.0, criterion="cross_entropy"),
        -2 / 3 * math.log(3 / 4) - 1 / 3 * math.log(1 / 4),
    ),
}


@pytest.mark.parametrize(("objective", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_by_hand(objective: ea.PairObjective, expected: float) -> None:
    assert losses(objective, HAND) == pytest.approx(np.array([expected]), rel=8 * EPS)


def test_dpop_by_hand_where_the_winner_has_lost_mass() -> None:
    """Swapped, u_w = 1/2 and u_l = 3: the margin -log 6 falls by 2 log 2, and by 50 log 2 at the default penalty."""
    assert losses(ea.DPOP(1.0, penalty=2.0), HAND, swapped=True) == pytest.approx(math.log(25), rel=8 * EPS)
    assert losses(ea.DPOP(1.0), HAND, swapped=True) == pytest.approx(math.log(6) + 50 * math.log(2), rel=1e-14)


def test_aot_by_hand() -> None:
    """Two pairs with h = log 2, log 3 and h_ref = log 5, 0: sorted differences log 2 and log(3/5)."""
    logs = [np.log(x) for x in ([0.2, 0.3], [0.1, 0.1], [0.5, 0.1], [0.1, 0.1])]
    assert ea.AOT(1.0).loss(*logs) == pytest.approx([math.log(3 / 2), math.log(8 / 3)], rel=8 * EPS)
    smooth = ea.AOT(1.0, label_smoothing=0.25).loss(*logs)
    expected = [0.75 * math.log(3 / 2) + 0.25 * math.log(3), 0.75 * math.log(8 / 3) + 0.25 * math.log(8 / 5)]
    assert smooth == pytest.approx(expected, rel=8 * EPS)
    # u_w = 2/5, 3 and u_l = 1, 1
    assert ea.AOT(1.0, unpaired=True).loss(*logs) == pytest.approx([math.log(7 / 2), math.log(4 / 3)], rel=8 * EPS)


def test_risk_by_hand() -> None:
    """pi = (3/4, 1/4) and pi_ref = pi* = uniform: KL(ref || pi) = log 2 - log(3)/2, mean loss half of either order."""
    bandit = ea.Bandit([0.5, 0.5], [0.5, 0.5])
    log_policy = np.log([0.75, 0.25])
    forward, reverse = math.log(2) - math.log(3) / 2, 0.75 * math.log(3) - math.log(2)
    mean_loss = (math.log(4 / 3) + math.log(4)) / 2
    expected = {
        ea.EXPO(1.0): mean_loss + forward,
        ea.EXPO(2.0): mean_loss + 2 * forward,
        ea.ExplicitPO(2.0, divergence="reverse_kl"): mean_loss + 2 * reverse,
        ea.DPO(1.0): mean_loss,
        ea.IPO(0.5): math.log(3) ** 2 + 1,
        ea.RLHF(2.0): math.log(2) + 2 * reverse,
        ea.RLHF(2.0, divergence="forward_kl"): math.log(2) + 2 * forward,
    }
    for objective, value in expected.items():
        assert ea.risk(objective, bandit, log_policy) == pytest.approx(value, rel=8 * EPS), objective
    counted = ea.Bandit.from_counts([0.5, 0.5], [[0, 3], [1, 0]])
    assert ea.risk(ea.EXPO(1.0), counted, log_policy) == pytest.approx(
        0.75 * math.log(4 / 3) + 0.25 * math.log(4) + forward, rel=8 * EPS
    )
    reward = np.array([1.0, 3.0])
    assert ea.risk(ea.RLHF(2.0), counted, log_policy, reward) == pytest.approx(-1.5 + 2 * reverse, rel=8 * EPS)


# ---------------------------------------------------------------------------------------------------- definitions


@each_pair_case
@settings(max_examples=25)
@given(logs=own.log_probs(lowest=-20.0), lam=own.lams)
def test_value_and_gradient_of_the_definition(case: Case, logs: Logs, lam: float) -> None:
    logs = where_finite(case, logs)
    value, *slopes = evaluate(case(lam), logs)
    with digits:
        for k, point in enumerate(zip(*logs, strict=True)):
            exact = case.loss(lam, *point)
            steep = max(abs(s) for s in case.slopes(lam, *point)) + steepness(case, lam)
            assert abs(value[k] - exact) <= 8 * EPS * ((1 + sum(abs(x) for x in point)) * steep + abs(exact))
            assert slopes_within(case, lam, point, [s[k] for s in slopes], EPS)


@each_pair_case
@settings(max_examples=10)
@given(logs=own.log_probs(lowest=-5.0), lam=st.floats(0.1, 3.0))
def test_the_definitions_slopes_are_their_derivatives(case: Case, logs: Logs, lam: float) -> None:
    logs = where_finite(case, logs)
    assume(not (case.kinks and abs(logs[0][0] - logs[2][0]) < 1e-6))
    with digits:
        point = [mp.mpf(x[0]) for x in logs]
        for k, exact in enumerate(case.slopes(lam, *point)):
            found = mp.diff(lambda x, k=k: case.loss(lam, *point[:k], x, *point[k + 1 :]), point[k])
            assert mp.almosteq(found, exact, 1e-12, 1e-12)


@each_pair_case
@pytest.mark.parametrize("log_u", [-1000.0, -40.0, -1.0, 0.0, 1.0, 40.0, 1000.0])
def test_second_derivative_from_zero_margin_to_far_out(case: Case, log_u: float) -> None:
    """d2/dlogp_w2 at the ratios (e^log_u, 1): up to a few roundings of psi'' at its largest, and never nan."""
    lam, at = 0.5, -1000.0
    winner = torch.tensor([at + min(log_u, 0)], dtype=torch.float64, requires_grad=True)
    loser, ref_winner = (torch.tensor([x], dtype=torch.float64) for x in (at, at - max(log_u, 0)))
    (slope,) = torch.autograd.grad(case(lam).loss(winner, loser, ref_winner, loser).sum(), winner, create_graph=True)
    bend = float(torch.autograd.grad(slope.sum(), winner)[0]) if slope.requires_grad else 0.0
    assert math.isfinite(bend)
    if (abs(log_u) > 100 and case.name in SEE_RATIOS) or (case.kinks and log_u == 0):
        return  # ratios that saturate, or a slope that jumps
    with mp.workdps(900):  # exp(1000) beside 1
        exact = mp.diff(lambda x: case.slopes(lam, x, at, float(ref_winner), at)[0], float(winner.detach()))
        assert abs(bend - exact) <= 4 * EPS * (case.bend + abs(exact) + abs(float(slope.detach())))
        underflows = abs(exact) < np.finfo(np.float64).tiny
        if log_u == 0 and not (underflows or case.options.get("reference_point")):  # moves an inflection close to 0
            assert abs(bend - exact) <= 4 * EPS * abs(exact)


# ---------------------------------------------------------------------------------------------------- relations


OF_LOG_RATIOS = {name: case for name, case in PAIR_CASES.items() if case(1.0).claims.log_ratio_only}


@given(logs=own.log_probs(elements=own.dyadic_log_probs), shift=own.dyadic_log_probs, lam=own.lams)
def test_shift_invariance(logs: Logs, shift: float, lam: float) -> None:
    """Both policy log-probabilities moved together: no change at all, where the log-ratio is all that counts."""
    moved = (logs[0] + shift, logs[1] + shift, *logs[2:])
    for name, case in OF_LOG_RATIOS.items():
        assert np.array_equal(losses(case(lam), moved), losses(case(lam), logs)), name


@pytest.mark.parametrize(
    "name", sorted({name for name in PAIR_CASES if name.startswith("fdpo_")} - {"fdpo_reverse_kl"} | {"qpo_chi_po"})
)
def test_shift_changes_what_sees_more_than_the_log_ratio(name: str) -> None:
    """For f-DPO with Jensen-Shannon: at u = (3, 1/2) the margin is log(9/4), at half of both, u = (3/2, 1/4), log 3."""
    halved = (HAND[0] - math.log(2), HAND[1] - math.log(2), *HAND[2:])
    objective = PAIR_CASES[name](0.1)
    assert abs(losses(objective, halved) - losses(objective, HAND))[0] > 1e-3
    if name == "fdpo_jensen_shannon":
        assert losses(ea.FDPO(1.0), halved) == pytest.approx(np.array([math.log(1 + 1 / 3)]), rel=8 * EPS)


SWAPS: dict[str, tuple[ea.PairObjective, Callable[[Logs], np.ndarray]]] = {
    "dpo": (ea.DPO(0.5), lambda logs: -0.5 * relative_log_ratio(logs)),
    "dpo_conservative": (ea.DPO(0.5, label_smoothing=0.1), lambda logs: -0.5 * 0.8 * relative_log_ratio(logs)),
    "dpo_robust": (
        ea.DPO(0.5, label_smoothing=0.1, robust=True),
        lambda logs: -0.5 / 0.8 * relative_log_ratio(logs),
    ),
    "ipo": (ea.IPO(0.5), lambda logs: -4 * relative_log_ratio(logs)),
    "fdpo": (
        ea.FDPO(0.5, divergence="forward_kl"),
        lambda logs: -0.5 * (np.exp(logs[3] - logs[1]) - np.exp(logs[2] - logs[0])),
    ),
    "expo": (ea.EXPO(0.5), lambda logs: -log_ratio(logs)),
    "explicit_po": (ea.ExplicitPO(0.5, divergence="chi_square"), lambda logs: -log_ratio(logs)),
    # the two targets add to (2 + lam)/(1 + lam), and differ by lam tanh(h_ref/2)/(1 + lam)
    "regression_expo": (
        ea.RegressionEXPO(0.5),
        lambda logs: (np.tanh((logs[2] - logs[3]) / 2) * 0.5 / 1.5 - np.tanh(log_ratio(logs) / 2)) / 1.5,
    ),
    "regression_expo_cross_entropy": (
        ea.RegressionEXPO(0.5, criterion="cross_entropy"),
        lambda logs: -log_ratio(logs) / 1.5,
    ),
}


@pytest.mark.parametrize(("objective", "difference"), SWAPS.values(), ids=SWAPS)
@given(logs=own.log_probs(lowest=-8.0))
def test_swapping_a_pair(objective: ea.PairObjective, difference: Callable[[Logs], np.ndarray], logs: Logs) -> None:
    """loss(w, l) - loss(l, w)."""
    ahead, back = losses(objective, logs), losses(objective, logs, swapped=True)
    scale = 1 + np.abs(ahead) + np.abs(back)
    assert (np.abs(ahead - back - difference(logs)) <= 64 * EPS * scale).all()


@given(logs=own.log_probs(), eps=st.floats(0.01, 0.49), lam=own.lams)
def test_label_smoothing_mixes_the_two_orders(logs: Logs, eps: float, lam: float) -> None:
    plain, flipped = losses(ea.DPO(lam), logs), losses(ea.DPO(lam), logs, swapped=True)
    scale = 1 + plain + flipped
    conservative = losses(ea.DPO(lam, label_smoothing=eps), logs)
    assert (np.abs(conservative - ((1 - eps) * plain + eps * flipped)) <= 8 * EPS * scale).all()
    robust = ea.DPO(lam, label_smoothing=eps, robust=True)
    # unbiased: its mean over labels that are flipped at rate eps is the loss of the true label
    mean = (1 - eps) * losses(robust, logs) + eps * losses(robust, logs, swapped=True)
    assert (np.abs(mean - plain) <= 16 * EPS * scale / (1 - 2 * eps)).all()


def test_no_label_smoothing_is_dpo() -> None:
    assert np.array_equal(losses(ea.DPO(0.3, label_smoothing=0.0), HAND), losses(ea.DPO(0.3), HAND))


@given(logs=own.log_probs(elements=own.dyadic_log_probs), lam=own.powers_of_two)
def test_lambda_scales_log_ratios(logs: Logs, lam: float) -> None:
    """DPO(lam)(hbar) = DPO(1)(lam hbar), and IPO(lam)(hbar) = IPO(1)(lam hbar) / lam^2: exactly, for powers of two."""
    scaled = tuple(lam * x for x in logs)
    assert np.array_equal(losses(ea.DPO(lam), logs), losses(ea.DPO(1.0), scaled))
    assert np.array_equal(losses(ea.IPO(lam), logs), losses(ea.IPO(1.0), scaled) / lam**2)
    smooth = {"label_smoothing": 0.25, "robust": True}
    assert np.array_equal(losses(ea.DPO(lam, **smooth), logs), losses(ea.DPO(1.0, **smooth), scaled))


@given(logs=own.log_probs(), lam=own.lams)
def test_lambda_does_not_enter_the_pair_loss_of_the_explicit_family(logs: Logs, lam: float) -> None:
    assert np.array_equal(losses(ea.EXPO(lam), logs), losses(ea.EXPO(1.0), logs))


@given(logs=own.log_probs(), lam=own.lams)
def test_dpo_is_reverse_kl_fdpo(logs: Logs, lam: float) -> None:
    assert np.array_equal(losses(ea.DPO(lam), logs), losses(ea.FDPO(lam, divergence="reverse_kl"), logs))


@given(logs=own.log_probs(lowest=-5.0), lam=st.floats(0.1, 2.0))
def test_alpha_fdpo_has_its_two_limits(logs: Logs, lam: float) -> None:
    forward = losses(ea.FDPO(lam, divergence="forward_kl"), logs)
    np.testing.assert_allclose(
        losses(ea.FDPO(lam, divergence="alpha", alpha=1.0), logs), forward, rtol=1e-12, atol=1e-12
    )
    # f' - log u = -alpha log^2(u)/2 + O(alpha^2), at most alpha 12.5 e^(5 alpha) each
    tiny = losses(ea.FDPO(lam, divergence="alpha", alpha=1e-7), logs)
    assert (np.abs(tiny - losses(ea.DPO(lam), logs)) <= lam * 1e-7 * 26 + 1e-12).all()


@given(own.bandits(), own.lams, st.data())
def test_expo_is_the_explicit_form_with_forward_kl(bandit: ea.Bandit, lam: float, data: st.DataObject) -> None:
    log_policy = np.log(data.draw(own.policies(bandit.n)))
    assert ea.risk(ea.EXPO(lam), bandit, log_policy) == ea.risk(ea.ExplicitPO(lam), bandit, log_policy)


@given(logs=own.log_probs(), lam=own.lams)
def test_qpo_holds_the_named_members(logs: Logs, lam: float) -> None:
    for name in ("reverse_kl", "jensen_shannon", "chi_square"):
        g = GENERATORS[name]
        qpo = ea.QPO(lam, lambda m, lam: np.logaddexp(0.0, -lam * m), lambda u, g=g: g.divergence.mu(np.log(u)))
        named = losses(ea.FDPO(lam, **g.options), logs)
        np.testing.assert_allclose(losses(qpo, logs), named, rtol=1e-12 * (1 + lam), atol=1e-300)
    ipo = ea.QPO(lam, lambda m, lam: (m - 0.5 / lam) ** 2, np.log)
    np.testing.assert_allclose(losses(ipo, logs), losses(ea.IPO(lam), logs), rtol=1e-12, atol=1e-12)


@given(logs=own.log_probs(), lam=own.lams)
def test_regression_targets_lie_between_label_and_reference(logs: Logs, lam: float) -> None:
    """(sigma(h) - t)^2 is zero where sigma(h) = t; and lam -> infinity fits the reference, lam -> 0 the label."""
    _, _, ref_w, ref_l = logs
    p_ref = 1 / (1 + np.exp(ref_l - ref_w))
    at_target = np.log1p(lam * p_ref) - np.log(lam * (1 - p_ref))  # log t/(1 - t)
    fitted = (at_target, np.zeros_like(at_target), ref_w, ref_l)
    assert (losses(ea.RegressionEXPO(lam), fitted) <= 1e-28).all()
    far = losses(ea.RegressionEXPO(1e12), (ref_w, ref_l, ref_w, ref_l))
    near = losses(ea.RegressionEXPO(1e-12), logs)
    assert (far <= 1e-23).all()
    np.testing.assert_allclose(near, (1 / (1 + np.exp(logs[0] - logs[1]))) ** 2, rtol=1e-9, atol=2e-12)


@given(logs=own.log_probs(), lam=own.lams)
def test_losses_that_contain_others(logs: Logs, lam: float) -> None:
    """What a loss adds to another, and the options at which it is another."""
    dpo, own_ratio = losses(ea.DPO(lam), logs), losses(ea.BradleyTerry(lam), logs)
    uniform = (*logs[:2], np.zeros_like(logs[0]), np.zeros_like(logs[0]))
    assert np.array_equal(own_ratio, losses(ea.DPO(lam), uniform))
    assert np.array_equal(losses(ea.BradleyTerry(1.0), logs), losses(ea.EXPO(lam), logs))
    assert np.array_equal(losses(ea.SPO(lam), logs), losses(ea.ExplicitPO(lam, divergence="reverse_kl"), logs))
    assert np.array_equal(losses(ea.RPO(lam, alpha=0.5), logs), dpo - 0.5 * logs[0])
    assert np.array_equal(losses(ea.CPO(lam, alpha=0.5), logs), own_ratio - 0.5 * logs[0])
    assert np.array_equal(losses(ea.SimPO(lam, gamma=0.0), logs), own_ratio)
    assert np.array_equal(losses(ea.APOZero(lam), logs), losses(ea.KTO(lam), logs))
    chi = losses(ea.FDPO(lam, divergence="mixed_chi_square"), logs)
    assert np.array_equal(losses(ea.ChiPO(lam), logs), chi)


@given(logs=own.log_probs(lowest=-5.0), lam=st.floats(0.1, 3.0))
def test_exo_is_a_reverse_kl(logs: Logs, lam: float) -> None:
    """To the smoothed label; its forward KL is conservative DPO up to the label's entropy."""
    q = 1 / (1 + np.exp(-lam * relative_log_ratio(logs)))
    policy, label = np.stack([q, 1 - q]), np.array([[0.9], [0.1]])
    np.testing.assert_allclose(
        losses(ea.EXO(lam, label_smoothing=0.1), logs), (policy * np.log(policy / label)).sum(axis=0), atol=1e-9
    )


@given(own.log_probs(), own.lams, st.randoms(use_true_random=False))
def test_aot_does_not_see_how_a_batch_is_paired_up(logs: Logs, lam: float, random: Any) -> None:
    """Not which winner comes with which loser (unpaired), nor which policy's ratio with which reference's (paired)."""
    order = random.sample(range(len(logs[0])), len(logs[0]))
    unpaired = ea.AOT(lam, unpaired=True)
    assert np.array_equal(losses(unpaired, logs), losses(unpaired, (logs[0], logs[1][order], logs[2], logs[3][order])))
    mixed = (*logs[:2], logs[2][order], logs[3][order])
    assert np.array_equal(losses(ea.AOT(lam), logs), losses(ea.AOT(lam), mixed))


@pytest.mark.parametrize("shape", [(), (1,), (0,), (5,), (2, 3)], ids=str)
@pytest.mark.parametrize("case", BATCH_CASES.values(), ids=BATCH_CASES)
def test_batch_losses_sort_the_last_axis(case: Case, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    logs = [np.asarray(-rng.exponential(size=shape)) for _ in range(4)]
    value = case(0.7).loss(*logs)
    assert value.shape == shape
    tensors = [torch.from_numpy(x).requires_grad_(True) for x in logs]
    result = case(0.7).loss(*tensors)
    np.testing.assert_allclose(result.detach().numpy(), value, rtol=1e-14)
    result.sum().backward()
    assert tensors[0].grad is not None
    assert torch.isfinite(tensors[0].grad).all()
    if len(shape) == 2:
        for row, single in zip(value, zip(*logs, strict=True), strict=True):
            np.testing.assert_array_equal(row, case(0.7).loss(*single))


@pytest.mark.parametrize("case", BATCH_CASES.values(), ids=BATCH_CASES)
def test_batch_losses_have_no_risk_and_no_optimum(case: Case) -> None:
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    for call in (
        lambda: ea.risk(case(1.0), bandit, np.log([0.5, 0.3, 0.2])),
        lambda: ea.solve(case(1.0), bandit),
        lambda: ea.solve_path(case(1.0), bandit, [1.0]),
    ):
        with pytest.raises(ValueError, match="AOT couples the pairs of a batch and has no risk over weighted pairs"):
            call()
