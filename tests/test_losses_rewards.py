"""Losses that read rewards or lengths: against their definitions in high precision, and the relations between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import expo_analysis as ea
from expo_analysis.numerics import log_sigmoid
from expo_analysis.terms import Logistic, Square, length_l, length_w, per_token, reward_gap
from expo_analysis.testing import strategies as own

from .definitions import REWARD_CASES, Case, digits, madpo_amplification

EPS = np.finfo(np.float64).eps
LOG = "odpo_log"
each_case = pytest.mark.parametrize("case", REWARD_CASES.values(), ids=REWARD_CASES)

Arrays = tuple[np.ndarray, ...]


@st.composite
def rewards(draw: st.DrawFn, of: str = "any", size: float = 30.0) -> tuple[float, float]:
    """r_l and r_w: equal, the loser's higher, or any; from 1e-3 to ``size``; of ``"winner"`` the winner's is higher."""
    low, gap = draw(st.floats(-size, size)), draw(st.floats(1e-3, size))
    kind = "ahead" if of == "winner" else draw(st.sampled_from(("ahead", "behind", "equal")))
    return {"ahead": (low, low + gap), "behind": (low + gap, low), "equal": (low, low)}[kind]


@st.composite
def pairs(draw: st.DrawFn, case: Case | None = None, **sizes: Any) -> tuple[Arrays, Arrays]:
    """log-probabilities of one to three pairs, and their rewards (loser's, winner's)."""
    logs = draw(own.log_probs(lowest=-20.0))
    of = "winner" if case is REWARD_CASES[LOG] else "any"
    found = [draw(rewards(of, **sizes)) for _ in logs[0]]
    return logs, tuple(np.array(x) for x in zip(*found, strict=True))


def loss(objective: ea.PairObjective, logs: Arrays, of_rewards: Arrays) -> np.ndarray:
    return objective.loss(*logs, reward_l=of_rewards[0], reward_w=of_rewards[1])


def gap_of(logs: Arrays) -> np.ndarray:
    """hbar"""
    return logs[0] - logs[1] - (logs[2] - logs[3])


def evaluate(
    objective: ea.PairObjective, logs: Arrays, of_rewards: Arrays, dtype: torch.dtype = torch.float64
) -> list[np.ndarray]:
    """Losses, their derivatives in logp_w and logp_l, and the second ones, each in its own, by torch."""
    tensors = [torch.tensor(x, dtype=dtype) for x in (*logs, *of_rewards)]
    own_logs = [x.requires_grad_(True) for x in tensors[:2]]
    value = objective.loss(*tensors[:4], reward_l=tensors[4], reward_w=tensors[5])
    slopes = torch.autograd.grad(value.sum(), own_logs, create_graph=True)
    bends = [torch.autograd.grad(s.sum(), x, retain_graph=True)[0] for s, x in zip(slopes, own_logs, strict=True)]
    return [x.detach().numpy() for x in (value, *slopes, *bends)]


# ---------------------------------------------------------------------------------------------------- definitions


@each_case
@settings(max_examples=60)
@given(data=st.data(), lam=own.lams)
def test_value_gradient_and_curvature_of_the_definition(case: Case, data: st.DataObject, lam: float) -> None:
    """Equal rewards, reversed ones, differences from 1e-3 to 30, up to the rounding of all six arguments."""
    logs, known = data.draw(pairs(case))
    found = evaluate(case(lam), logs, known)
    with digits:
        for k, point in enumerate(zip(*logs, *known, strict=True)):
            value, *slopes = case.loss(lam, *point), *case.slopes(lam, *point)
            bend = mp.diff(lambda x, lam=lam, rest=point[1:]: case.slopes(lam, x, *rest)[0], point[0])
            # what a rounding of an argument does: psi' of the reward's part is of the size of psi' in lam hbar
            steep = (max(map(abs, slopes)) + lam) * (1 + 1 / mp.mpf(lam))
            if case.name == "odpo" and case.options.get("scale") == "log":
                steep *= 1 + 1 / abs(mp.mpf(point[5]) - mp.mpf(point[4]))
            blur = (1 + sum(map(abs, point))) * steep
            assert abs(found[0][k] - value) <= 8 * EPS * (blur + abs(value))
            for place, exact in zip((1, 2), slopes, strict=True):
                assert abs(found[place][k] - exact) <= 8 * EPS * (blur * (1 + steep) + abs(exact))
            for place in (3, 4):
                assert abs(found[place][k] - bend) <= 32 * EPS * (blur * (1 + steep) * (1 + lam) + abs(bend))


@each_case
def test_the_definitions_slopes_are_their_derivatives(case: Case) -> None:
    """Those that the test above compares with: differences of the values in mpmath."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        point = [*-rng.exponential(size=4), *np.sort(rng.normal(size=2))]
        lam = float(rng.uniform(0.1, 3))
        with digits:
            for k, exact in enumerate(case.slopes(lam, *point)):
                before, after = point[:k], point[k + 1 :]
                loss_of = partial(lambda lam, before, after, x: case.loss(lam, *before, x, *after), lam, before, after)
                found = mp.diff(loss_of, point[k])
                assert mp.almosteq(found, exact, 1e-12, 1e-12)


@each_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_finite_far_out(case: Case, dtype: torch.dtype) -> None:
    """Log-probabilities down to -1e4, rewards up to 1e4: finite losses and gradients, in numpy and in torch."""
    far = np.array([0.0, -1e-3, -1.0, -30.0, -1e3, -1e4])
    gaps = np.array([1e-3, 1.0, 30.0, 1e4] if case is REWARD_CASES[LOG] else [0.0, 1e-3, 1.0, 30.0, 1e4, -1.0, -1e4])
    w, y, gap = (x.ravel() for x in np.meshgrid(far, far, gaps))
    kind = torch.zeros(0, dtype=dtype).numpy().dtype
    logs, known = tuple(x.astype(kind) for x in (w, y, y, w)), tuple(x.astype(kind) for x in (0 * gap, gap))
    for lam in (1e-3, 0.7, 1e2):
        for array in evaluate(case(lam), logs, known, dtype):
            assert array.dtype == kind and np.isfinite(array).all()
        assert np.isfinite(loss(case(lam), logs, known)).all()


# ---------------------------------------------------------------------------------------------------- by hand

HAND = tuple(np.array([math.log(p)]) for p in (0.6, 0.2, 0.2, 0.4))  # hbar = log 6
AHEAD = (np.array([0.0]), np.array([math.log(3)]))  # sigma(r_w - r_l) = 3/4
BY_HAND = {
    # KL of 3/4 from 6/7
    "RPO": (ea.RewardAwarePO(1.0), 3 / 4 * math.log(7 / 8) + 1 / 4 * math.log(7 / 4)),
    # 9/10 from 6/7
    "RPO, eta = 2": (ea.RewardAwarePO(1.0, eta=2.0), 0.9 * math.log(21 / 20) + 0.1 * math.log(0.7)),
    "RPO, policy first": (ea.RewardAwarePO(1.0, "forward_kl"), 6 / 7 * math.log(8 / 7) + 1 / 7 * math.log(4 / 7)),
    "RPO, squared": (ea.RewardAwarePO(2.0, "squared", eta=3.0), (2 * math.log(6) - 3 * math.log(3)) ** 2),
    "REBEL": (ea.REBEL(2.0), (math.log(6) - math.log(3) / 2) ** 2),
    "distillation": (ea.RewardDistillation(2.0), (2 * math.log(6) - math.log(3)) ** 2),
    # log 6 - log 3 = log 2
    "ODPO": (ea.ODPO(1.0), math.log(3 / 2)),
    "ODPO, alpha = 2": (ea.ODPO(1.0, alpha=2.0), math.log(5 / 2)),
    # log 6 - log log 3: 6/log 3
    "ODPO, log": (ea.ODPO(1.0, scale="log"), math.log1p(math.log(3) / 6)),
    # k = (2 - 1)/(1 - 1/2) = 2, e^(g - tau) = 1/4: c = 1/2 + 3/2/(3/2) = 3/2, sigma(c g) = 3^1.5/(1 + 3^1.5)
    "MADPO": (ea.MADPO(1.0, tau=math.log(12)), 3**1.5 / (1 + 3**1.5) / (3 / 4) * math.log(7 / 6)),
}


@pytest.mark.parametrize(("objective", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_by_hand(objective: ea.PairObjective, expected: float) -> None:
    assert loss(objective, HAND, AHEAD) == pytest.approx(np.array([expected]), rel=16 * EPS)


def test_a_logarithm_of_a_reversed_pair_is_nan_and_of_that_pair_alone() -> None:
    logs = tuple(np.repeat(x, 3) for x in HAND)
    found = loss(ea.ODPO(1.0, scale="log"), logs, (np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])))
    assert np.isnan(found).tolist() == [False, True, True] and found[0] == pytest.approx(math.log(7 / 6))


# ---------------------------------------------------------------------------------------------------- relations


@given(pair=pairs(), lam=own.lams)
def test_rebel_is_squared_reward_aware_po_is_distillation(pair: tuple[Arrays, Arrays], lam: float) -> None:
    """lam^2 REBEL(lam) = RPO(lam, squared, eta = 1) = distillation(lam)."""
    distilled = loss(ea.RewardDistillation(lam), *pair)
    assert np.array_equal(loss(ea.RewardAwarePO(lam, "squared"), *pair), distilled)
    logs, known = pair
    size = lam * (1 + sum(map(np.abs, logs))) + sum(map(np.abs, known))
    rebel = lam**2 * loss(ea.REBEL(lam), *pair)
    assert (np.abs(rebel - distilled) <= 16 * EPS * size * (np.sqrt(distilled) + EPS * size)).all()


@given(pair=pairs(size=4.0), lam=st.floats(0.05, 5.0))
def test_reward_aware_po_tends_to_dpo(pair: tuple[Arrays, Arrays], lam: float) -> None:
    """Backward KL at eta -> inf: DPO of whichever response has the higher reward, and even odds where they tie."""
    logs, (low, high) = pair
    swapped = (logs[1], logs[0], logs[3], logs[2])
    dpo, other = (ea.DPO(lam).loss(*x) for x in (logs, swapped))
    expected = np.where(high > low, dpo, np.where(high < low, other, (dpo + other) / 2 - math.log(2)))
    found = loss(ea.RewardAwarePO(lam, eta=1e6), *pair)
    size = 1 + lam * sum(map(np.abs, logs))
    assert (np.abs(found - expected) <= 8 * EPS * size).all()


@each_case
@given(data=st.data(), shift=st.integers(-64, 64), lam=own.lams)
def test_a_shift_of_all_rewards_changes_nothing(case: Case, data: st.DataObject, shift: int, lam: float) -> None:
    """Bit for bit, for dyadic rewards."""
    logs, known = data.draw(pairs(case))
    low, high = (np.round(x * 2**10) / 2**10 for x in known)
    high = np.where(high == low, high + (2.0**-10 if case is REWARD_CASES[LOG] else 0.0), high)
    moved = loss(case(lam), logs, (low + shift, high + shift))
    assert np.array_equal(moved, loss(case(lam), logs, (low, high)))


@given(pair=pairs(), lam=own.lams)
def test_where_rewards_say_nothing(pair: tuple[Arrays, Arrays], lam: float) -> None:
    """Equal rewards: ODPO is DPO, and so is MADPO; the regressions pull to the reference."""
    logs, (low, _) = pair
    even = (low, low)
    for objective in (ea.ODPO(lam), ea.MADPO(lam)):
        np.testing.assert_array_equal(loss(objective, logs, even), ea.DPO(lam).loss(*logs))
    at_reference = (*logs[2:], *logs[2:])
    for name in ("reward_aware_po", "reward_aware_po_squared", "reward_aware_po_forward", "rebel"):
        assert not loss(REWARD_CASES[name](lam), at_reference, even).any()


def test_madpo_amplification() -> None:
    """1 at tau, ``most`` far below, ``least`` far above; the weight is sigma(c g)/sigma(g), and 1 from -tau on down."""
    objective = ea.MADPO(1.0, tau=1.5, most=3.0, least=0.25, rate=40.0)
    with digits:
        own_options = (1.5, 3, mp.mpf(0.25), 40)
        for gap, c in ((1.5, 1), (0.05, 3), (30, 0.25)):
            assert abs(madpo_amplification(gap, *own_options) - c) < 1e-8
    sigma = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    gaps = np.array([1.5, 0.05, 30.0, -0.05, -1.5, -1.6, -1e4])
    expected = [1.0, sigma(0.15) / sigma(0.05), sigma(7.5), sigma(-0.15) / sigma(-0.05), 1.0, 1.0, 1.0]
    np.testing.assert_allclose(np.exp(objective.log_weight(gaps)), expected, rtol=1e-10)


# ---------------------------------------------------------------------------------------------------- lengths


def by_hand_in_means(name: str) -> Any:
    """The loss of means over tokens: w, y, and the same under the reference, from the formula."""
    log_odds = lambda x: x - np.log(-np.expm1(x))  # noqa: E731
    power = lambda x: -np.expm1(-0.25 * x) / 0.25  # noqa: E731
    return {
        "length_normalised_dpo": lambda lam, w, y, rw, ry: -log_sigmoid(lam * (w - rw - y + ry)),
        "simpo": lambda lam, w, y, rw, ry: -log_sigmoid(lam * (w - y) - 0.5),
        "alpha_po": lambda lam, w, y, rw, ry: -log_sigmoid(lam * (power(w) - power(y)) - 0.1),
        "simper": lambda lam, w, y, rw, ry: np.exp(y) - np.exp(w),
        "orpo": lambda lam, w, y, rw, ry: -w - lam * log_sigmoid(log_odds(w) - log_odds(y)),
    }[name]


PER_TOKEN = ("length_normalised_dpo", "simpo", "alpha_po", "simper", "orpo")
each_per_token = pytest.mark.parametrize("name", PER_TOKEN)
lengths = st.lists(st.tuples(*[st.integers(1, 400)] * 2), min_size=3, max_size=3)


def test_every_loss_that_reads_lengths_is_here() -> None:
    assert {n for n, cls in ea.CATALOGUE.items() if n != "qpo" and _lengths_of(cls(1.0))} == set(PER_TOKEN)


def _lengths_of(objective: Any) -> list[str]:
    read = objective.data if isinstance(objective, ea.PairObjective) else ()
    return [name for name in read if name.startswith("length_")]


@each_per_token
@given(logs=own.log_probs(lowest=-20.0, highest=-1e-3), of_both=lengths, lam=st.floats(0.05, 20.0))
def test_lengths_divide_log_probabilities(name: str, logs: Arrays, of_both: list[tuple[int, int]], lam: float) -> None:
    """Sums and lengths give what means give by themselves, and what the formula of means gives."""
    long_w, long_l = (np.array(x, dtype=float)[: len(logs[0])] for x in zip(*of_both, strict=True))
    means = tuple(x / length for x, length in zip(logs, (long_w, long_l, long_w, long_l), strict=True))
    objective = ea.objective(name, lam)
    found = objective.loss(*logs, length_w=long_w, length_l=long_l)
    assert np.array_equal(found, objective.loss(*means))
    expected = by_hand_in_means(name)(lam, *means)
    # of odds near certainty, log(1 - e^x), the rounding of x counts by how close it is to 0
    near = 1 + 1 / np.abs(np.array(means[:2])).min(axis=0) if name == "orpo" else 1.0
    size = (1 + lam) * (1 + np.abs(np.array(means)).sum(axis=0)) * 8 * near
    np.testing.assert_allclose(found, expected, rtol=0, atol=float((8 * EPS * size).max()) * 8)


@each_per_token
@given(logs=own.log_probs(highest=-1e-3), lam=own.lams)
def test_lengths_of_one_change_nothing(name: str, logs: Arrays, lam: float) -> None:
    one = np.ones_like(logs[0])
    objective = ea.objective(name, lam)
    assert np.array_equal(objective.loss(*logs), objective.loss(*logs, length_w=one, length_l=one))


@given(logs=own.log_probs(elements=own.dyadic_log_probs), length=st.sampled_from([2, 4, 64]), lam=own.lams)
def test_equal_lengths_are_a_smaller_lambda(logs: Arrays, length: int, lam: float) -> None:
    """SimPO and length-normalised DPO, and not the others; bit for bit, for powers of two."""
    both = dict.fromkeys(("length_w", "length_l"), np.full(logs[0].shape, float(length)))
    for make in (ea.SimPO, ea.LengthNormalisedDPO):
        assert np.array_equal(make(lam).loss(*logs, **both), make(lam / length).loss(*logs))


@pytest.mark.parametrize("make", [ea.SimPO, ea.LengthNormalisedDPO], ids=lambda make: make.name)
def test_equal_lengths_are_a_smaller_lambda_for_solvers_too(make: Any) -> None:
    """A bandit whose responses have 4 tokens each: the optimum, its proof and its bound are those at lam / 4."""
    reference, optimal = [0.4, 0.4, 0.2], [0.6, 0.3, 0.1]
    long = ea.solve(make(0.8), ea.Bandit(reference, optimal, lengths=[4, 4, 4]))
    short = ea.solve(make(0.2), ea.Bandit(reference, optimal))
    assert (long.status, long.certificate) == (short.status, short.certificate) and long.status == "optimal"
    assert abs(long.policy - short.policy).sum() <= long.error_bound + short.error_bound < 1e-11


@pytest.mark.parametrize("make", [ea.SimPO, ea.LengthNormalisedDPO], ids=lambda make: make.name)
def test_uneven_lengths_are_no_longer_called_convex(make: Any) -> None:
    """Its curvature in the logits is negative somewhere, and nothing is proven by convexity."""
    bandit = ea.Bandit([0.3, 0.3, 0.4], [0.2, 0.3, 0.5], lengths=[1, 50, 7])
    lowest = 0.0
    for theta in np.random.default_rng(0).normal(0, 4, (200, 3)):
        hessian = torch.autograd.functional.hessian(
            lambda x: ea.risk(make(2.0), bandit, torch.log_softmax(x, -1)), torch.tensor(theta)
        )
        lowest = min(lowest, float(torch.linalg.eigvalsh(hessian)[0]))
    assert lowest < -1e-3
    assert ea.solve(make(2.0), bandit).certificate != "convex"


# ---------------------------------------------------------------------------------------------------- bad input


@each_case
def test_rewards_that_are_missing_or_of_no_use(case: Case) -> None:
    objective = case(1.0)
    kind = type(objective).__name__
    for given_, message in (
        ({}, "reward_l must be given"),
        ({"reward_l": AHEAD[0]}, "reward_w must be given"),
        ({"reward_w": AHEAD[1]}, "reward_l must be given"),
        (dict(reward_l=AHEAD[0], reward_w=AHEAD[1], length_w=AHEAD[1]), "length_w is not read"),
        (dict(reward_l=AHEAD[0], reward_w=AHEAD[1], score=AHEAD[1]), "score is not read"),
    ):
        with pytest.raises(TypeError, match=f"^{message}: {kind} reads reward_l and reward_w$"):
            objective.loss(*HAND, **given_)
    for wrong, error, message in (
        (np.zeros(2), ValueError, r"reward_w must have the shape of logp_w, \(1,\); got \(2,\)"),
        (np.zeros(1, dtype=np.float32), TypeError, "reward_w must have the dtype of logp_w"),
        ([0.0], TypeError, "reward_w must be a numpy array or a torch tensor, got list"),
        (None, TypeError, "reward_w must be a numpy array or a torch tensor, got NoneType"),
    ):
        with pytest.raises(error, match=message):
            objective.loss(*HAND, reward_l=AHEAD[0], reward_w=wrong)


def test_data_that_a_loss_does_not_read() -> None:
    with pytest.raises(TypeError, match=r"^reward_w is not read: DPO reads log-probabilities alone$"):
        ea.DPO(1.0).loss(*HAND, reward_w=AHEAD[1])
    with pytest.raises(TypeError, match=r"^reward_l is not read: SimPO reads length_l and length_w$"):
        ea.SimPO(1.0).loss(*HAND, reward_l=AHEAD[0])


@each_per_token
def test_one_length_alone(name: str) -> None:
    """Not taken for a pair of which the other has one token."""
    with pytest.raises(TypeError, match=r"^length_l must be given: .* reads length_l and length_w$"):
        ea.objective(name, 1.0).loss(*HAND, length_w=np.array([3.0]))


@each_per_token
def test_no_lengths_and_bad_log_probabilities(name: str) -> None:
    """The message is of the argument, and an impossible response has no nan for a length."""
    with pytest.raises(TypeError, match="logp_w must be a numpy array or a torch tensor, got list"):
        ea.objective(name, 1.0).loss([-1.0], *HAND[1:])
    with pytest.raises(TypeError, match="logp_w must hold floats, got dtype int64"):
        ea.objective(name, 1.0).loss(np.array([-1]), *HAND[1:])
    with np.errstate(all="ignore"):
        assert not np.isnan(ea.objective(name, 1.0).loss(np.array([-np.inf]), *HAND[1:])).any()


# ---------------------------------------------------------------------------------------------------- one's own


@dataclass(frozen=True)
class Formula(ea.PairObjective):
    """ODPO with lengths, as a bare formula; its further arguments in an order of its own."""

    name = "formula"

    def pair_loss(
        self,
        logp_w: Any,
        logp_l: Any,
        ref_logp_w: Any,
        ref_logp_l: Any,
        reward_w: Any,
        reward_l: Any,
        length_w: Any,
        length_l: Any,
    ) -> Any:
        ratio = (logp_w - ref_logp_w) / length_w - (logp_l - ref_logp_l) / length_l
        return -log_sigmoid(self.lam * ratio - (reward_w - reward_l))


@dataclass(frozen=True)
class InTerms(ea.PairObjective):
    name = "in_terms"

    @property
    def terms(self) -> Any:
        return Logistic()(self.lam * per_token(ea.terms.hbar) - reward_gap)


@given(pair=pairs(size=3.0), of_both=lengths, lam=st.floats(0.1, 5.0))
def test_a_bare_formula_gives_what_terms_give(
    pair: tuple[Arrays, Arrays], of_both: list[tuple[int, int]], lam: float
) -> None:
    logs, (low, high) = pair
    long_w, long_l = (np.array(x, dtype=float)[: len(logs[0])] for x in zip(*of_both, strict=True))
    given_ = {"reward_l": low, "reward_w": high, "length_w": long_w, "length_l": long_l}
    assert Formula(lam).data == ("reward_w", "reward_l", "length_w", "length_l")
    assert InTerms(lam).data == ("length_l", "length_w", "reward_l", "reward_w")
    first, second = (make(lam).loss(*logs, **given_) for make in (Formula, InTerms))
    size = 1 + lam * np.abs(np.array(logs)).sum(axis=0) + np.abs(low) + np.abs(high)
    assert (np.abs(first - second) <= 8 * EPS * size).all()


def test_a_bare_formula_has_the_risk_and_the_optimum_of_terms() -> None:
    """On prompts with rewards and lengths of their own, for batches of policies too, as many as there are pairs."""
    rng = np.random.default_rng(1)
    reference, optimal, known = rng.dirichlet(np.ones(3), 2), rng.dirichlet(np.ones(3), 2), rng.normal(size=(2, 3))
    bandit = ea.Bandit(reference, optimal, rewards=known, lengths=[[1, 2, 9], [3, 3, 5]])
    log_policies = np.log(rng.dirichlet(np.ones(3), (6, 2)))
    ours, theirs = (ea.risk(make(0.8), bandit, log_policies) for make in (InTerms, Formula))
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    first, second = (ea.solve(make(0.8), bandit) for make in (InTerms, Formula))
    np.testing.assert_allclose(first.policy, second.policy, atol=1e-7)


def test_an_argument_that_is_no_data() -> None:
    @dataclass(frozen=True)
    class Odd(ea.PairObjective):
        name = "odd"

        def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any, weight: Any) -> Any:
            return weight * (logp_l - logp_w)

    message = (
        "pair_loss of Odd has an argument 'weight'; beside log-probabilities a loss may read length_l, length_w, "
        "reward_l, reward_w"
    )
    for use in (
        lambda: Odd(1.0).loss(*HAND, weight=AHEAD[1]),
        lambda: ea.solve(Odd(1.0), ea.Bandit([0.5, 0.5], [0.7, 0.3])),
        lambda: ea.risk(Odd(1.0), ea.Bandit([0.5, 0.5], [0.7, 0.3]), np.log([0.5, 0.5])),
    ):
        with pytest.raises(TypeError) as caught:
            use()
        assert str(caught.value) == message


def test_an_option_of_a_formula_is_no_data() -> None:
    @dataclass(frozen=True)
    class Optional(ea.PairObjective):
        name = "optional"

        def pair_loss(
            self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any, scale: float = 2.0, *more: Any
        ) -> Any:
            return scale * (logp_l - logp_w)

    assert Optional(1.0).data == ()
    assert Optional(1.0).loss(*HAND) == pytest.approx(-2 * math.log(3))


def test_arithmetic_of_data() -> None:
    """A margin that grows with how much longer the winner is, and a weight: as if written by hand."""

    @dataclass(frozen=True)
    class Own(ea.PairObjective):
        name = "own"

        @property
        def terms(self) -> Any:
            return (1 + abs_of(reward_gap)) / 2 * Square()(ea.terms.hbar - (length_w - length_l) / (2 * length_l))

    def abs_of(data: Any) -> Any:
        return data.map(abs)

    known = {"reward_l": np.array([0.5]), "reward_w": np.array([-1.5]), "length_w": np.array([9.0])}
    known["length_l"] = np.array([3.0])
    assert Own(1.0).data == ("length_l", "length_w", "reward_l", "reward_w")
    assert Own(1.0).loss(*HAND, **known) == pytest.approx(1.5 * (math.log(6) - 1) ** 2, rel=8 * EPS)


def test_the_formula_without_its_data_says_what_it_reads() -> None:
    with pytest.raises(
        TypeError, match=r"^WRPO reads logp_t, ref_logp_t beside log-probabilities, in this order; got 0 of 2$"
    ):
        ea.WRPO(0.1).pair_loss(*np.log([[0.3], [0.2], [0.4], [0.1]]))
