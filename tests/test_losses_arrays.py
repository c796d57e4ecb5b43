"""Pair losses of arrays: their mean over a population, shapes and types, gradients, and bad input."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import expo_analysis as ea
from expo_analysis.losses import estimators
from expo_analysis.testing import strategies as own

from .definitions import BATCH_CASES, CASES, GENERATORS, PAIR_CASES, Case, digits
from .pairs import HAND, SEE_RATIOS, Logs, each_pair_case, evaluate, losses, slopes_within, where_finite

# ---------------------------------------------------------------------------------------------------- risk


RISK_CASES = {name: case for name, case in CASES.items() if name not in BATCH_CASES}


@settings(max_examples=15)
@given(own.bandits(max_n=6, smallest=1e-3), st.data())
def test_relabelling_responses_changes_nothing(bandit: ea.Bandit, data: st.DataObject) -> None:
    """Of all losses, on the same problems, which take longer to draw than to look at."""
    log_policy = np.log(data.draw(own.policies(bandit.n, smallest=1e-3)))
    order = np.array(data.draw(st.permutations(range(bandit.n))))
    relabelled = ea.Bandit(bandit.reference[order], bandit.optimal[order], bandit.pairs[np.ix_(order, order)])
    # of the rewards' difference, which is positive one way at least
    won = ea.Bandit.from_counts(bandit.reference, np.triu(np.ones((bandit.n,) * 2), 1), rewards=-np.arange(bandit.n))
    last = np.arange(bandit.n)[::-1]
    lost = ea.Bandit.from_counts(won.reference[last], won.counts[np.ix_(last, last)], rewards=won.rewards[last])
    for name, case in RISK_CASES.items():
        one, other, moved = (won, lost, last) if case.options.get("scale") == "log" else (bandit, relabelled, order)
        value = ea.risk(case(0.7), one, log_policy)
        again = ea.risk(case(0.7), other, log_policy[moved])
        assert again == pytest.approx(float(value), rel=1e-11, abs=1e-12), name


@settings(max_examples=10)
@given(own.bandits(max_n=6, smallest=1e-3), st.data())
def test_risk_is_the_weighted_sum_of_losses(bandit: ea.Bandit, data: st.DataObject) -> None:
    """Of all losses, on the same problems."""
    policy = data.draw(own.policies(bandit.n, smallest=1e-3))
    for case in PAIR_CASES.values():
        _check_risk(case, bandit, policy)


def _check_risk(case: Case, bandit: ea.Bandit, policy: np.ndarray) -> None:
    """sum_ij 2 q_ij p*_ij loss(i beats j) + lam D, in high precision."""
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
    found = ea.risk(objective, bandit, log_policy)
    assert found == pytest.approx(float(total), rel=1e-12, abs=1e-10 * float(1 + scale)), case.name


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


SHAPES = [(), (1,), (3,), (2, 3), (0,), (2, 1, 4)]


@each_pair_case
def test_never_reduces_and_leaves_its_arguments_alone(case: Case) -> None:
    for dtype, shape in itertools.product((np.float64, np.float32), SHAPES):
        _check_shape(case, dtype, shape)


def _check_shape(case: Case, dtype: type[np.floating], shape: tuple[int, ...]) -> None:
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


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_lambda_must_be_positive_and_finite(case: Case) -> None:
    for lam in (0, -1.0, math.inf, -math.inf, math.nan, 0.0, np.array([1.0, -1.0])):
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


@pytest.mark.parametrize("far", [-338.0, 338.0])
def test_ratios_of_qpo_are_told_as_far_as_their_squares_are(far: float) -> None:
    objective = ea.QPO(1.0, psi=lambda margin, lam: margin, mu=np.log)
    zero = np.zeros(1)
    np.testing.assert_allclose(objective.pair_loss(np.full(1, far), zero, zero, zero), far, rtol=1e-14)
