"""Pair losses: by hand, against their definitions in high precision, and the relations between them."""

from __future__ import annotations

import itertools
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
from expo_analysis.losses import estimators
from expo_analysis.testing import strategies as own

from .definitions import BATCH_CASES, CASES, GENERATORS, PAIR_CASES, Case, digits

EPS = np.finfo(np.float64).eps
each_pair_case = pytest.mark.parametrize("case", PAIR_CASES.values(), ids=PAIR_CASES)

Logs = tuple[np.ndarray, ...]


def losses(objective: ea.PairObjective, logs: Logs, swapped: bool = False) -> np.ndarray:
    """The loss at (logp_w, logp_l, ref_logp_w, ref_logp_l), or with winner and loser swapped."""
    won, lost, ref_won, ref_lost = logs
    return objective.loss(lost, won, ref_lost, ref_won) if swapped else objective.loss(won, lost, ref_won, ref_lost)


def log_ratio(logs: Logs) -> np.ndarray:
    """h"""
    return logs[0] - logs[1]


def relative_log_ratio(logs: Logs) -> np.ndarray:
    """hbar"""
    return logs[0] - logs[1] - (logs[2] - logs[3])


# ---------------------------------------------------------------------------------------------------- by hand

# pi = (.6, .2) and pi_ref = (.2, .4): h = log 3, h_ref = -log 2, hbar = log 6, u_w = 3, u_l = 1/2
HAND = tuple(np.array([math.log(p)]) for p in (0.6, 0.2, 0.2, 0.4))
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


def evaluate(objective: ea.PairObjective, logs: Logs, dtype: torch.dtype = torch.float64) -> tuple[Any, Any, Any]:
    """Losses and their derivatives in logp_w and logp_l, by torch."""
    tensors = [torch.tensor(x, dtype=dtype) for x in logs]
    for tensor in tensors[:2]:
        tensor.requires_grad_(True)
    value = objective.loss(*tensors)
    slopes = torch.autograd.grad(value.sum(), tensors[:2])
    return value.detach().numpy(), *(slope.numpy() for slope in slopes)


def steepness(case: Case, lam: float) -> float:
    """The size of psi' that rounding refers to: lam where lam multiplies the margin, 1 where it does not."""
    return lam if case.steep else 1.0


def where_finite(case: Case, logs: Logs) -> Logs:
    """The same points, held away from where the loss is infinite."""
    return tuple(np.minimum(x, case.highest) for x in logs)


def slopes_within(case: Case, lam: float, point: list[float], found: list[Any], eps: float) -> bool:
    """Whether gradients are those of the definition, up to the rounding of the four log-probabilities and of psi'.

    psi'' is at most the square of psi's steepness, and psi' moves with the rounding of its argument.
    """
    exact = case.slopes(lam, *point)
    steep = max(abs(s) for s in exact) + steepness(case, lam)
    blur = (1 + sum(abs(x) for x in point)) * steep * (1 + steep)
    return all(abs(float(f) - e) <= 8 * eps * (blur + abs(e)) for f, e in zip(found, exact, strict=True))


@each_pair_case
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


SEE_RATIOS = ("fdpo", "qpo", "chi_po", "alpha_po")
"""Objectives of powers of u, or of pi, which saturate."""


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


@pytest.mark.parametrize("name", [name for name, case in PAIR_CASES.items() if case(1.0).claims.log_ratio_only])
@given(logs=own.log_probs(elements=own.dyadic_log_probs), shift=own.dyadic_log_probs, lam=own.lams)
def test_shift_invariance(name: str, logs: Logs, shift: float, lam: float) -> None:
    """Both policy log-probabilities moved together: no change at all, where the log-ratio is all that counts."""
    objective = PAIR_CASES[name](lam)
    moved = (logs[0] + shift, logs[1] + shift, *logs[2:])
    assert np.array_equal(losses(objective, moved), losses(objective, logs))


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


# ---------------------------------------------------------------------------------------------------- risk


RISK_CASES = {name: case for name, case in CASES.items() if name not in BATCH_CASES}


@pytest.mark.parametrize("case", RISK_CASES.values(), ids=RISK_CASES)
@settings(max_examples=15)
@given(own.bandits(max_n=6, smallest=1e-3), st.data())
def test_relabelling_responses_changes_nothing(case: Case, bandit: ea.Bandit, data: st.DataObject) -> None:
    log_policy = np.log(data.draw(own.policies(bandit.n, smallest=1e-3)))
    if case.options.get("scale") == "log":  # of the rewards' difference: it is positive one way at least
        bandit = ea.Bandit.from_counts(
            bandit.reference, np.triu(np.ones((bandit.n,) * 2), 1), rewards=-np.arange(bandit.n)
        )
        order = np.arange(bandit.n)[::-1]
        counts = bandit.counts[np.ix_(order, order)]
        relabelled = ea.Bandit.from_counts(bandit.reference[order], counts, rewards=bandit.rewards[order])
        value = ea.risk(case(0.7), bandit, log_policy)
        assert ea.risk(case(0.7), relabelled, log_policy[order]) == pytest.approx(float(value), rel=1e-11, abs=1e-12)
        return
    order = np.array(data.draw(st.permutations(range(bandit.n))))
    relabelled = ea.Bandit(bandit.reference[order], bandit.optimal[order], bandit.pairs[np.ix_(order, order)])
    value = ea.risk(case(0.7), bandit, log_policy)
    assert ea.risk(case(0.7), relabelled, log_policy[order]) == pytest.approx(float(value), rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("case", PAIR_CASES.values(), ids=PAIR_CASES)
@settings(max_examples=15)
@given(own.bandits(max_n=6, smallest=1e-3), st.data())
def test_risk_is_the_weighted_sum_of_losses(case: Case, bandit: ea.Bandit, data: st.DataObject) -> None:
    """sum_ij 2 q_ij p*_ij loss(i beats j) + lam D, in high precision."""
    policy = data.draw(own.policies(bandit.n, smallest=1e-3))
    log_policy, log_reference = np.log(policy), np.log(bandit.reference)
    objective = case(0.7)
    with digits:
        total = scale = mp.mpf(0)
        for i, j in itertools.permutations(range(bandit.n), 2):
            weight = (
                2 * mp.mpf(bandit.pairs[i, j]) * bandit.optimal[i] / (mp.mpf(bandit.optimal[i]) + bandit.optimal[j])
            )
            loss = case.loss(0.7, log_policy[i], log_policy[j], log_reference[i], log_reference[j])
            total += weight * loss
            scale += weight * abs(loss)
        if objective.regulariser is not None:
            g = next(g for g in GENERATORS.values() if g.divergence == objective.regulariser)
            total += 0.7 * g.sum([mp.exp(x) for x in log_policy], [mp.exp(x) for x in log_reference])
    # losses themselves are checked above; here it is the weights that matter
    assert ea.risk(objective, bandit, log_policy) == pytest.approx(
        float(total), rel=1e-12, abs=1e-10 * float(1 + scale)
    )


@given(own.count_bandits(), own.lams)
def test_counts_are_weights(bandit: ea.Bandit, lam: float) -> None:
    """The empirical risk is the mean loss over the comparisons, one by one."""
    log_policy, log_reference = np.log(bandit.reference[::-1]), np.log(bandit.reference)
    winner, loser = np.array(
        [(i, j) for i, j in itertools.permutations(range(bandit.n), 2) for _ in range(int(bandit.counts[i, j]))]
    ).T
    each = ea.IPO(lam).loss(log_policy[winner], log_policy[loser], log_reference[winner], log_reference[loser])
    assert ea.risk(ea.IPO(lam), bandit, log_policy) == pytest.approx(each.mean(), rel=1e-12)


def test_risk_over_prompts_and_batches() -> None:
    reference, optimal = np.array([[0.4, 0.4, 0.2], [0.2, 0.3, 0.5]]), np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    bandit = ea.Bandit(reference, optimal)
    log_policies = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    one_by_one = [
        [ea.risk(ea.EXPO(0.3), ea.Bandit(r, o), policy) for r, o in zip(reference, optimal, strict=True)]
        for policy in log_policies
    ]
    together = ea.risk(ea.EXPO(0.3), bandit, log_policies)
    np.testing.assert_allclose(together, np.diag(one_by_one), rtol=1e-14)
    batch = ea.risk(ea.EXPO(0.3), bandit, log_policies[:, None, :])
    np.testing.assert_allclose(batch, one_by_one, rtol=1e-14)
    same = ea.risk(ea.EXPO(0.3), bandit, log_policies[0])
    np.testing.assert_allclose(same, one_by_one[0], rtol=1e-14)
    in_torch = ea.risk(ea.EXPO(0.3), bandit, torch.from_numpy(log_policies[0]))
    np.testing.assert_allclose(in_torch.numpy(), one_by_one[0], rtol=1e-14)


def test_risk_ignores_pairs_without_weight() -> None:
    """A pair that is never compared may have an infinite loss."""
    q = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    bandit = ea.Bandit(np.full((2, 3), 1 / 3), np.full((2, 3), 1 / 3), np.stack([q, q[::-1, ::-1]]))
    log_policy = torch.tensor([[-0.7, -0.7, -math.inf], [-math.inf, -0.7, -0.7]], dtype=torch.float64)
    value = ea.risk(ea.IPO(1.0), bandit, log_policy)
    assert torch.isfinite(value).all()


# ---------------------------------------------------------------------------------------------------- arrays


@each_pair_case
@settings(max_examples=20)
@given(logs=own.log_probs(lowest=-10.0), lam=st.floats(0.05, 5.0))
def test_numpy_equals_torch_and_float32_follows_float64(case: Case, logs: Logs, lam: float) -> None:
    objective = case(lam)
    logs = where_finite(case, logs)
    exact = losses(objective, logs)
    slopes = evaluate(objective, logs)[1:]
    size = 1 + sum(np.abs(x) for x in logs)
    # rounding of the arguments, and of psi's own
    blur = size * (np.abs(slopes).max(axis=0) + lam) + np.abs(exact)
    for dtype in (np.float64, np.float32):
        rounded = tuple(x.astype(dtype) for x in logs)
        ours = losses(objective, rounded)
        theirs = objective.loss(*(torch.from_numpy(x) for x in rounded))
        assert ours.dtype == dtype
        assert theirs.dtype == getattr(torch, dtype.__name__)
        tolerance = 16 * float(np.finfo(dtype).eps) * blur
        # float32 rounds the arguments first, which moves a steep slope too
        steep = 1 + (tolerance if dtype == np.float32 else 0)
        assert (np.abs(ours - exact) <= tolerance * steep).all()
        assert (np.abs(theirs.numpy() - ours) <= tolerance * steep).all()


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (0,), (2, 1, 4)], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@each_pair_case
def test_never_reduces_and_leaves_its_arguments_alone(
    case: Case, dtype: type[np.floating], shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    logs = [np.asarray(-rng.exponential(size=shape), dtype=dtype) for _ in range(4)]
    before = [x.copy() for x in logs]
    value = case(0.7).loss(*logs)
    assert value.shape == shape
    assert value.dtype == dtype
    for x, y in zip(logs, before, strict=True):
        assert np.array_equal(x, y)
    tensors = [torch.from_numpy(x).requires_grad_(True) for x in logs]
    result = case(0.7).loss(*tensors)
    assert result.shape == shape
    assert result.dtype == tensors[0].dtype
    assert result.requires_grad
    result.sum().backward()
    assert tensors[0].grad is not None
    assert tensors[0].grad.shape == shape


def test_reference_gets_a_gradient_too() -> None:
    """The loss is a function of all four, for whoever trains the reference."""
    tensors = [torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in (-1.0, -2.0, -0.5, -3.0)]
    ea.DPO(0.5).loss(*tensors).sum().backward()
    assert tensors[2].grad == -tensors[0].grad
    assert tensors[3].grad == -tensors[1].grad


FALLING = {
    *("dpo", "fdpo", "expo", "explicit_po", "hinge", "slic", "chi_po", "dpop", "rpo", "cpo", "orpo", "bradley_terry"),
    *("simpo", "spo", "bco", "sft", "pessimistic_dpo", "length_normalised_dpo", "dpo_shift", "alpha_po", "simper"),
}
"""Objectives whose loss falls in logp_w and rises in logp_l everywhere (label smoothing makes exceptions of some)."""

FAR = [0.0, -1e-3, -1.0, -30.0, -1e3, -1e4]


@pytest.mark.parametrize("lam", [1e-3, 0.7, 1e2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@each_pair_case
def test_finite_far_out(case: Case, dtype: torch.dtype, lam: float) -> None:
    """Log-probabilities down to -1e4 and so log-ratios up to +-1e4: finite losses and gradients of the right sign.

    Where no intermediate leaves the floats they are those of the definition.
    """
    info = torch.finfo(dtype)
    logs = tuple(np.array(list(itertools.product(FAR, repeat=4)), dtype=torch.zeros(0, dtype=dtype).numpy().dtype).T)
    value, slope_w, slope_l = evaluate(case(lam), logs, dtype)
    for array in (value, slope_w, slope_l):
        assert np.isfinite(array).all()
    by_numpy = losses(case(lam), logs)
    assert by_numpy.dtype == value.dtype
    assert np.isfinite(by_numpy).all()

    if case.name in FALLING and not case.options.get("label_smoothing"):
        assert (slope_w <= 0).all()
        assert (slope_l >= 0).all()
    sees_ratios = case.name in SEE_RATIOS
    unity = (0.0, 0.0) if case.name == "alpha_po" else logs[2:]
    reach = np.abs(np.array([logs[0] - unity[0], logs[1] - unity[1]])).max(axis=0)
    within = (math.log(info.max) - 32) / 2 if sees_ratios else math.inf
    inside = np.flatnonzero((np.maximum(logs[0], logs[1]) <= case.highest) & (reach < within))
    assert len(inside) > 100
    with digits:
        for k in inside[:: len(inside) // 30]:
            point = [float(x[k]) for x in logs]
            assert slopes_within(case, lam, point, [slope_w[k], slope_l[k]], info.eps), point


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    "name",
    [name for name, case in PAIR_CASES.items() if case.name in FALLING and name not in ("simper", "alpha_po_negative")],
)
def test_a_badly_ranked_pair_keeps_its_pull(name: str, dtype: torch.dtype) -> None:
    """At hbar = h = -1000 the winner's gradient is not lost to rounding: -lam (or -1) times dmu/dlog u, or more.

    Powers of pi above 0 have no such pull: SimPER, and AlphaPO at negative alpha.
    """
    # chi-square has mu' = 2u, which no float holds at u = exp(-999)
    winner, other = np.array([-60.0 if name == "fdpo_chi_square" else -1000.0]), np.array([-1.0])
    pull = evaluate(PAIR_CASES[name](0.5), (winner, other, other, other), dtype)[1][0]
    assert pull < (-1e-27 if name == "fdpo_chi_square" else -0.4)


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("lam", [0, -1.0, math.inf, -math.inf, math.nan, 0.0, np.array([1.0, -1.0])])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_lambda_must_be_positive_and_finite(case: Case, lam: Any) -> None:
    with pytest.raises(ValueError, match="lam must be a positive finite number"):
        case(lam)


@pytest.mark.parametrize("lam", [True, np.True_, "1", None, "one", [object()], 1j, pytest.param(10**400, id="huge")])
def test_lambda_must_be_a_number(lam: Any) -> None:
    for make in (ea.DPO, ea.EXPO, ea.RLHF):
        with pytest.raises(TypeError, match="lam must be a positive finite number"):
            make(lam)


def test_lambda_may_be_any_real_type() -> None:
    for lam in (1, np.float32(1), np.int64(1), np.array(1.0)):
        objective = ea.DPO(lam)
        assert type(objective.lam) is float
        assert losses(objective, tuple(x.astype(np.float32) for x in HAND)).dtype == np.float32
    assert ea.DPO(1.0).with_lam(2.0) == ea.DPO(2.0)
    assert ea.FDPO(1.0, divergence="alpha", alpha=0.5).with_lam(3).facts.link == ea.Alpha(0.5)


BAD_OPTIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "smoothing of a half": (lambda: ea.DPO(1.0, label_smoothing=0.5), "label_smoothing must be a number in"),
    "negative smoothing": (lambda: ea.DPO(1.0, label_smoothing=-0.1), "label_smoothing must be a number in"),
    "nan smoothing": (lambda: ea.DPO(1.0, label_smoothing=math.nan), "label_smoothing must be a number in"),
    "text smoothing": (lambda: ea.DPO(1.0, label_smoothing="0.1"), "label_smoothing must be a number in"),
    "boolean smoothing": (lambda: ea.DPO(1.0, label_smoothing=True), "label_smoothing must be a number in"),
    "robust alone": (lambda: ea.DPO(1.0, robust=True), "robust=True is not used without label_smoothing"),
    "robust as a number": (lambda: ea.DPO(1.0, label_smoothing=0.1, robust=1), "robust must be True or False"),
    "alpha with Jensen-Shannon": (lambda: ea.FDPO(1.0, alpha=0.5), "alpha is not used by divergence 'jensen_shannon'"),
    "alpha missing": (lambda: ea.FDPO(1.0, divergence="alpha"), "alpha must be given for divergence='alpha'"),
    "alpha with reverse KL": (lambda: ea.RLHF(1.0, alpha=0.5), "alpha is not used by divergence 'reverse_kl'"),
    "alpha with forward KL": (lambda: ea.ExplicitPO(1.0, alpha=1.0), "alpha is not used by divergence 'forward_kl'"),
    "unknown divergence": (lambda: ea.ExplicitPO(1.0, divergence="kl"), "divergence must be one of"),
    "divergence by class": (lambda: ea.RLHF(1.0, divergence=ea.ReverseKL), "divergence must be a name or a Divergence"),
    "hinge margin of zero": (lambda: ea.SLiC(1.0, margin=0), "margin must be a finite number above 0, got 0"),
    "EXO without smoothing": (
        lambda: ea.EXO(1.0, label_smoothing=0.0),
        "label_smoothing must be a number in",
    ),
    "tau of zero": (lambda: ea.DiscoPOP(1.0, tau=0.0), "tau must be a finite number above 0, got 0.0"),
    "infinite penalty": (lambda: ea.DPOP(1.0, penalty=math.inf), "penalty must be a finite number above 0, got inf"),
    "alpha of RPO": (lambda: ea.RPO(1.0, alpha=-1.0), "alpha must be a finite number above 0, got -1.0"),
    "alpha of CPO": (lambda: ea.CPO(1.0, alpha=0.0), "alpha must be a finite number above 0"),
    "alpha of SPO": (lambda: ea.SPO(1.0, alpha=True), "alpha must be a finite number above 0, got True"),
    "beta of pessimistic DPO": (lambda: ea.PessimisticDPO(1.0, beta=0.0), "beta must be a finite number above 0, got"),
    "shift of zero": (lambda: ea.DPOShift(1.0, shift=0.0), r"shift must be a number in \(0, 1\], got 0.0"),
    "shift above one": (lambda: ea.DPOShift(1.0, shift=1.5), r"shift must be a number in \(0, 1\], got 1.5"),
    "strength of Cal-DPO": (lambda: ea.CalDPO(1.0, strength=0), "strength must be a finite number above 0, got 0"),
    "infinite alpha of AlphaPO": (lambda: ea.AlphaPO(1.0, alpha=math.inf), "alpha must be a finite number, got inf"),
    "gamma of AlphaPO": (lambda: ea.AlphaPO(1.0, gamma=-1.0), "gamma must be a finite number of at least 0, got -1.0"),
    "unknown distance": (lambda: ea.RewardAwarePO(1.0, "kl"), "distance must be one of"),
    "eta of zero": (lambda: ea.RewardAwarePO(1.0, eta=0.0), "eta must be a finite number above 0, got 0.0"),
    "alpha of ODPO": (lambda: ea.ODPO(1.0, alpha=math.nan), "alpha must be a finite number above 0, got nan"),
    "scale of ODPO": (lambda: ea.ODPO(1.0, scale="sqrt"), "scale must be one of"),
    "tau of MADPO": (lambda: ea.MADPO(1.0, tau=0.0), "tau must be a finite number above 0, got 0.0"),
    "most of MADPO": (lambda: ea.MADPO(1.0, most=1.0), "most must be a finite number above 1, got 1.0"),
    "least of MADPO": (lambda: ea.MADPO(1.0, least=1.0), r"least must be a number in \(0, 1\), got 1.0"),
    "rate of MADPO": (lambda: ea.MADPO(1.0, rate="1"), "rate must be a finite number above 0, got '1'"),
    "gamma": (lambda: ea.SimPO(1.0, gamma=-0.1), "gamma must be a finite number of at least 0, got -0.1"),
    "desirable weight": (lambda: ea.KTO(1.0, desirable_weight=0.0), "desirable_weight must be a finite number above"),
    "undesirable weight": (lambda: ea.KTO(1.0, undesirable_weight="1"), "undesirable_weight must be a finite"),
    "KL below zero": (lambda: ea.KTO(1.0, reference_point=-1.0), "reference_point must be a finite number of at least"),
    "nan for a shift": (lambda: ea.BCO(1.0, reference_point=math.nan), "reference_point must be a finite number, got"),
    "AOT smoothing": (lambda: ea.AOT(1.0, label_smoothing=0.5), r"label_smoothing must be a number in \[0, 0.5"),
    "unpaired as a number": (lambda: ea.AOT(1.0, unpaired=1), "unpaired must be True or False"),
    "unknown criterion": (lambda: ea.RegressionEXPO(1.0, criterion="mse"), "criterion must be one of"),
    "psi not callable": (lambda: ea.QPO(1.0, psi=3, mu=np.log), "psi must be a function"),
    "mu not callable": (lambda: ea.QPO(1.0, psi=lambda m, lam: m, mu="log"), "mu must be a function"),
}


@pytest.mark.parametrize(("make", "message"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_options(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize("missing", [2, 3])
@pytest.mark.parametrize(
    "case", [c for c in PAIR_CASES.values() if c(1.0).claims.needs_reference], ids=lambda c: c.name
)
def test_missing_reference(case: Case, missing: int) -> None:
    arguments: list[Any] = list(HAND)
    arguments[missing] = None
    with pytest.raises(TypeError, match=("ref_logp_w", "ref_logp_l")[missing - 2] + " must be given"):
        case(1.0).loss(*arguments)


NAMES = ("logp_w", "logp_l", "ref_logp_w", "ref_logp_l")


@pytest.mark.parametrize("position", [1, 2, 3])
@pytest.mark.parametrize("case", [PAIR_CASES["dpo"], PAIR_CASES["expo"]], ids=lambda c: c.name)
def test_arguments_must_match(case: Case, position: int) -> None:
    name = NAMES[position]
    for wrong, kind, message in (
        (np.zeros(2), ValueError, rf"{name} must have the shape of logp_w, \(1,\); got \(2,\)"),
        (np.zeros((1, 1)), ValueError, f"{name} must have the shape of logp_w"),
        (np.zeros(1, dtype=np.float32), TypeError, f"{name} must have the dtype of logp_w"),
        (np.zeros(1, dtype=int), TypeError, f"{name} must hold floats"),
        ([0.0], TypeError, f"{name} must be a numpy array or a torch tensor, got list"),
        (-1.0, TypeError, f"{name} must be a numpy array or a torch tensor, got float"),
    ):
        arguments: list[Any] = list(HAND)
        arguments[position] = wrong
        with pytest.raises(kind, match=message):
            case(1.0).loss(*arguments)


def test_numpy_and_torch_do_not_mix() -> None:
    with pytest.raises(TypeError, match="Multiple namespaces"):
        ea.DPO(1.0).loss(torch.from_numpy(HAND[0]), *HAND[1:])


@pytest.mark.parametrize(
    "psi", [lambda m, lam: (lam * m).mean(), lambda m, lam: 1.0, lambda m, lam: m[:1]], ids=["mean", "number", "first"]
)
def test_a_psi_that_reduces_is_refused(psi: Callable[[Any, Any], Any]) -> None:
    logs = tuple(np.repeat(x, 3) for x in HAND)
    with pytest.raises(ValueError, match=r"QPO must return one loss per pair, shape \(3,\)"):
        ea.QPO(1.0, psi, np.log).loss(*logs)


def test_bad_arguments_of_risk() -> None:
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    log_policy = np.log([0.5, 0.3, 0.2])
    counted = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="log_policy must have 3 responses on its last axis"):
        ea.risk(ea.EXPO(1.0), bandit, log_policy[:2])
    with pytest.raises(ValueError, match="reward is not used by EXPO"):
        ea.risk(ea.EXPO(1.0), bandit, log_policy, reward=log_policy)
    with pytest.raises(ValueError, match="reward must be given for RLHF on win counts"):
        ea.risk(ea.RLHF(1.0), counted, log_policy[:2])
    with pytest.raises(TypeError, match="objective must be RLHF or a PairObjective"):
        ea.risk("expo", bandit, log_policy)  # type: ignore[arg-type]


def test_which_estimators_are_of_which_regulariser() -> None:
    """Of the forward KL all of them; of any other, or of none, the exact one."""
    for name in estimators.ESTIMATORS:
        estimators.check_estimator(ea.EXPO(1.0), name)
        for made in (ea.DPO(1.0), ea.ExplicitPO(1.0, "reverse_kl")):
            if name == "exact":
                estimators.check_estimator(made, name)
            else:
                with pytest.raises(ValueError, match=f"'{name}' .* is not the regulariser of .*; 'exact' is accepted"):
                    estimators.check_estimator(made, name)
    with pytest.raises(ValueError, match="estimator must be one of"):
        estimators.check_estimator(ea.EXPO(1.0), "best")


def test_estimators_of_the_regulariser_by_hand() -> None:
    """-(log pi_w + log pi_l)/2; -mean log pi of samples; KL(pi_ref || pi) of tokens, where the mask counts them."""
    log_half, log_eighth = math.log(0.5), math.log(0.125)
    found = estimators.own_responses(np.array([log_half, log_half]), np.array([log_eighth, log_half]))
    np.testing.assert_allclose(found, [2 * math.log(2), math.log(2)], rtol=1e-14)
    samples = np.array([[log_half, log_eighth, log_half], [0.0, log_half, log_half]])
    np.testing.assert_allclose(
        estimators.reference_samples(samples), [5 / 3 * math.log(2), 2 / 3 * math.log(2)], rtol=1e-14
    )
    tokens, reference = np.log([[[0.5, 0.5], [0.25, 0.75]]]), np.log([[[0.25, 0.75], [0.5, 0.5]]])
    each = [0.25 * math.log(0.5) + 0.75 * math.log(1.5), 0.5 * math.log(2.0) + 0.5 * math.log(2 / 3)]
    for mask in ([1.0, 1.0], [1.0, 0.0], [0.0, 0.0]):
        found = estimators.token_kl(tokens, reference, np.array([mask]))
        np.testing.assert_allclose(found, [np.dot(mask, each)], rtol=1e-13)
