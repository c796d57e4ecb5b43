"""Divergences against scipy, against their definitions in high precision, and against each other."""

from __future__ import annotations

import doctest
import itertools
import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.distance import cityblock, jensenshannon
from scipy.special import rel_entr

import expo_analysis as ea
from expo_analysis import divergences
from expo_analysis.divergences import DIVERGENCES, kl, resolve_divergence, total_variation
from expo_analysis.testing import strategies as own

from .definitions import GENERATORS, Generator, digits

EPS = np.finfo(np.float64).eps
each = pytest.mark.parametrize("g", GENERATORS.values(), ids=GENERATORS)
log_ratios = st.floats(math.log(1e-12), math.log(1e12))

policy_pairs = st.integers(2, 12).flatmap(lambda n: st.tuples(own.policies(n), own.policies(n)))


def test_every_divergence_is_tested() -> None:
    assert {g.divergence.name for g in GENERATORS.values()} == set(DIVERGENCES)


# ---------------------------------------------------------------------------------------------------- values


@given(policy_pairs)
def test_kl_and_total_variation_against_scipy(both: tuple[np.ndarray, np.ndarray]) -> None:
    p, q = both
    for one, other in ((p, q), (q, p), (p, p)):
        # rel_entr loses digits where the two are close, as any sum of terms of both signs does
        size = np.abs(rel_entr(one, other)).sum()
        assert kl(np.log(one), np.log(other)) == pytest.approx(rel_entr(one, other).sum(), abs=64 * EPS * (1 + size))
        assert total_variation(one, other) == pytest.approx(cityblock(one, other) / 2, rel=1e-14, abs=1e-16)
        assert kl(np.log(one), np.log(other)) == ea.ReverseKL()(np.log(one), np.log(other))


def test_kl_of_what_has_no_mass() -> None:
    """0 log 0 is 0, also against another 0; mass where the other has none makes it infinite, even if it underflows."""
    certain, other = np.array([0.0, -np.inf]), np.log([0.25, 0.75])
    assert kl(certain, other) == pytest.approx(math.log(4), rel=1e-15)
    assert kl(other, certain) == math.inf
    assert kl(certain, certain) == 0.0
    assert kl(np.array([0.0, -1e5]), certain) == math.inf
    assert kl(certain, np.array([0.0, -1e5])) == 0.0
    assert total_variation(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0


@pytest.mark.parametrize("of", [np.asarray, torch.as_tensor])
def test_what_is_not_known_is_not_taken_for_no_mass(of: Any) -> None:
    """-inf on both sides adds nothing, but nan on either stays nan, for one entry and for all."""
    known, gone = np.log([0.25, 0.75]), np.array([-np.inf, 0.0])
    assert float(kl(of(gone), of(gone))) == 0
    for lost in (np.array([np.nan, known[1]]), np.full(2, np.nan), np.array([-np.inf, np.nan])):
        for pair in ((lost, known), (known, lost), (lost, lost), (lost, gone), (gone, lost)):
            assert np.isnan(float(kl(*map(of, pair)))), pair


def test_kl_and_total_variation_broadcast_and_take_tensors() -> None:
    many, one = np.log(np.random.default_rng(0).dirichlet(np.ones(4), (3, 2))), np.log([0.1, 0.2, 0.3, 0.4])
    for function, first, second in ((kl, many, one), (kl, one, many), (total_variation, np.exp(many), np.exp(one))):
        found = function(first, second)
        assert found.shape == (3, 2)
        np.testing.assert_allclose(function(torch.tensor(first), torch.tensor(second)).numpy(), found, rtol=1e-14)
        apart = [
            [function(*np.broadcast_arrays(a, b)) for a, b in zip(x, y, strict=True)]
            for x, y in zip(*np.broadcast_arrays(first, second), strict=True)
        ]
        np.testing.assert_array_equal(found, apart)
    theta = torch.tensor(many, requires_grad=True)
    (slope,) = torch.autograd.grad(kl(torch.log_softmax(theta, -1), torch.tensor(one)).sum(), theta)
    assert torch.isfinite(slope).all() and slope.abs().max() > 0.01


def test_examples() -> None:
    found = doctest.testmod(divergences)
    assert found.attempted >= 4 and not found.failed


def test_worked_values() -> None:
    """pi = (3/4, 1/4), pi_ref = (1/4, 3/4): u = (3, 1/3)."""
    log_policy, log_reference = np.log([0.75, 0.25]), np.log([0.25, 0.75])
    expected = {
        ea.ReverseKL(): 0.5 * math.log(3),
        ea.ForwardKL(): 0.5 * math.log(3),
        # m = (1/2, 1/2): each of the two KL is log 2 - H(1/4)
        ea.JensenShannon(): 2 * (math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)),
        # sum pi_ref u^2 - 1 = 9/4 + 1/12 - 1
        ea.ChiSquare(): 4 / 3,
        ea.MixedChiSquare(): 0.5 * math.log(3) + 2 / 3,
        # f(u) = (1/u - 1 + u - 1) / 2: f(3) = f(1/3) = 2/3
        ea.Alpha(2.0): 2 / 3,
        # 4 (1 - sum sqrt(pi pi_ref)), four times the squared Hellinger distance
        ea.Alpha(0.5): 4 * (1 - math.sqrt(3) / 2),
    }
    for divergence, value in expected.items():
        assert divergence(log_policy, log_reference) == pytest.approx(value, rel=4 * EPS), divergence


@given(policy_pairs)
def test_against_scipy(both: tuple[np.ndarray, np.ndarray]) -> None:
    policy, reference = both
    logs = np.log(policy), np.log(reference)
    assert ea.ReverseKL()(*logs) == pytest.approx(rel_entr(policy, reference).sum(), rel=1e-12, abs=1e-14)
    assert ea.ForwardKL()(*logs) == pytest.approx(rel_entr(reference, policy).sum(), rel=1e-12, abs=1e-14)
    with np.errstate(invalid="ignore"):  # the root of a rounding below 0
        root = np.nan_to_num(jensenshannon(policy, reference))  # of the mean of the two KL to the midpoint
    assert ea.JensenShannon()(*logs) == pytest.approx(2 * root**2, rel=1e-12, abs=1e-13)
    chi_square = ((policy - reference) ** 2 / reference).sum()
    assert ea.ChiSquare()(*logs) == pytest.approx(chi_square, rel=1e-12, abs=1e-14)


@each
@given(policy_pairs)
def test_value_is_the_sum_of_the_definition(g: Generator, both: tuple[np.ndarray, np.ndarray]) -> None:
    policy, reference = both
    value = g.divergence(np.log(policy), np.log(reference))
    with digits:
        exact = g.sum([mp.mpf(p) for p in policy], [mp.mpf(r) for r in reference])
        # rounding of log u moves f by |d f / d log u| = u |f'(u)|, and cancels in the sum only up to u itself
        blur = mp.fsum(
            r + p * (1 + abs(g.slope(p / r)) * (1 + abs(mp.log(p)) + abs(mp.log(r))))
            for p, r in zip(map(mp.mpf, policy), map(mp.mpf, reference), strict=True)
        )
        assert abs(value - exact) <= 8 * EPS * blur
        assert exact >= -1e-15


@each
@given(log_u=log_ratios)
def test_generator_and_link(g: Generator, log_u: float) -> None:
    """f and mu = f' - f'(1), and that the definitions' own derivatives are derivatives."""
    x = np.array([log_u])
    with digits:
        assert abs(g.f(mp.mpf(1))) < mp.mpf(10) ** -50
        u = mp.mpf(math.exp(log_u))
        blur = 1 + u + abs(g.f(u)) + u * abs(g.slope(u))
        assert abs(g.divergence.f(np.exp(x))[0] - g.f(u)) <= 8 * EPS * (1 + abs(mp.log(u))) * blur
        exact_x = mp.mpf(log_u)
        u = mp.exp(exact_x)
        mu = g.slope(u) - g.slope(mp.mpf(1))
        assert abs(g.divergence.mu(x)[0] - mu) <= 4 * EPS * (1 + abs(mu) + abs(exact_x) * g.bend(u))
        assert mp.almosteq(mp.diff(lambda y: g.f(mp.exp(y)), exact_x), u * g.slope(u), 1e-15, 1e-15)
        assert mp.almosteq(mp.diff(lambda y: g.slope(mp.exp(y)), exact_x), g.bend(u), 1e-15)


@each
def test_zero_only_at_equality(g: Generator) -> None:
    log_policy = np.log([0.5, 0.3, 0.2])
    assert g.divergence(log_policy, log_policy) == 0
    assert g.divergence(np.log([0.49, 0.31, 0.2]), log_policy) > 1e-5


@each
@given(policy_pairs)
def test_sums_over_the_last_axis_only(g: Generator, both: tuple[np.ndarray, np.ndarray]) -> None:
    policy, reference = (np.log(p) for p in both)
    batch = g.divergence(np.stack([policy, policy[::-1]]), np.stack([reference, reference]))
    assert batch.shape == (2,)
    terms = g.divergence.terms(policy, reference)
    assert terms.shape == policy.shape
    assert batch[0] == pytest.approx(math.fsum(terms), rel=1e-12, abs=1e-14)


@each
def test_log_zero(g: Generator) -> None:
    """A response without mass adds pi_ref f(0+), which is infinite (here: saturated) for forward KL and alpha >= 1."""
    log_reference = np.log([0.5, 0.25, 0.25])
    at_zero = {"reverse_kl": 0.0, "jensen_shannon": math.log(2), "chi_square": 1.0, "alpha_small": 1 / (1 - 0.3)}
    at_zero["mixed_chi_square"] = 0.5
    name = next(name for name, other in GENERATORS.items() if other is g)
    with np.errstate(divide="ignore"):
        log_policy = np.log([0.5, 0.5, 0.0])
    for kind in (np.asarray, torch.asarray):
        added = g.divergence.terms(kind(log_policy), kind(log_reference))[-1]
        if name in at_zero:
            assert float(added) == pytest.approx(0.25 * at_zero[name], rel=1e-14)
        else:
            assert float(added) > 1e200


def test_claims_of_convexity_in_the_logits() -> None:
    """Checked with numbers in test_catalogue."""
    assert [name for name, g in GENERATORS.items() if g.divergence.convex_in_logits] == ["forward_kl", "alpha_large"]


# ---------------------------------------------------------------------------------------------------- inverses


@each
@given(log_u=log_ratios, log_gap=log_ratios)
@example(log_u=26.0, log_gap=-4.0)  # u = 2e11 on its way to 1
def test_descend_solves_its_equation(g: Generator, log_u: float, log_gap: float) -> None:
    """f'(u') = f'(u) - gap: by the definition's f', with what rounding of u, gap and u' can do to it."""
    gap = math.exp(log_gap)
    found = float(g.divergence.descend(np.array([log_u]), np.array([gap]))[0])
    with digits:
        x, goal = mp.mpf(log_u), g.slope(mp.exp(mp.mpf(log_u))) - mp.mpf(gap)
        if found == -math.inf:
            assert goal <= g.slope(mp.mpf(0)) * (1 - 4 * EPS)
            return
        y = mp.mpf(found)
        blur = gap + (1 + abs(x)) * g.bend(mp.exp(x)) + (1 + abs(y)) * g.bend(mp.exp(y))
        assert abs(g.slope(mp.exp(y)) - goal) <= 4 * EPS * blur


@each
def test_mu_at_zero(g: Generator) -> None:
    """The limit of mu at u -> 0+: finite for chi-square alone."""
    far = g.divergence.mu(np.array([-50.0, -500.0]))
    if math.isfinite(g.divergence.mu_at_zero):
        np.testing.assert_allclose(far, g.divergence.mu_at_zero, rtol=1e-15)
    else:
        assert far[1] < 9 * far[0] < 0


@each
@given(log_u=log_ratios)
def test_mu_increases(g: Generator, log_u: float) -> None:
    low, high = g.divergence.mu(np.array([log_u, log_u + 0.1]))
    with digits:
        visible = g.bend(mp.exp(mp.mpf(log_u))) > 100 * EPS
    assert high > low or (high == low and not visible)


def test_mixed_chi_square_by_hand() -> None:
    """u + log u = 1 has the root u = 1, and u + log u = -30 the root u = e^-30 (1 - e^-30 + ...)."""
    d = ea.MixedChiSquare()
    at_two, gap = np.array([math.log(2), 0.0]), np.array([1 + math.log(2), 31.0])
    np.testing.assert_allclose(d.descend(at_two, gap), [0.0, -30 - math.exp(-30)], rtol=EPS, atol=EPS)
    assert d.mu(np.array([math.log(2)]))[0] == pytest.approx(1 + math.log(2), rel=4 * EPS)
    small = d.descend(at_two.astype(np.float32), gap.astype(np.float32))
    assert small.dtype == np.float32
    assert d.descend(np.array([0.0]), np.array([1e4]))[0] == -9999.0  # u' underflows, its logarithm does not


# ---------------------------------------------------------------------------------------------------- limits of alpha


@given(policy_pairs)
def test_alpha_one_is_forward_kl(both: tuple[np.ndarray, np.ndarray]) -> None:
    logs = [np.log(p) for p in both]
    forward = ea.ForwardKL()(*logs)
    assert ea.Alpha(1.0)(*logs) == pytest.approx(forward, rel=1e-12, abs=1e-14)
    for near in (1 - 1e-9, 1 + 1e-9):
        assert ea.Alpha(near)(*logs) == pytest.approx(forward, rel=1e-6, abs=1e-14)
    x = np.linspace(-20, 20, 9)
    np.testing.assert_allclose(ea.Alpha(1.0).mu(x), ea.ForwardKL().mu(x), rtol=4 * EPS)
    np.testing.assert_allclose(
        ea.Alpha(1.0).descend(x, np.full(9, 0.5)), ea.ForwardKL().descend(x, np.full(9, 0.5)), rtol=1e-14, atol=1e-14
    )


def test_alpha_to_zero_is_reverse_kl() -> None:
    """To first order in alpha: halving alpha halves the difference."""
    log_policy, log_reference = np.log([0.7, 0.2, 0.1]), np.log([0.2, 0.3, 0.5])
    for function in (
        lambda d: d(log_policy, log_reference),
        lambda d: d.mu(np.array(1.5)),
        lambda d: d.descend(np.array(1.5), np.array(0.5)),
    ):
        off = [float(function(ea.Alpha(alpha)) - function(ea.ReverseKL())) for alpha in (1e-4, 5e-5)]
        assert abs(off[0]) < 1e-3
        assert off[0] / off[1] == pytest.approx(2, rel=1e-3)


# ---------------------------------------------------------------------------------------------------- arrays


@each
@given(policy_pairs)
def test_numpy_equals_torch(g: Generator, both: tuple[np.ndarray, np.ndarray]) -> None:
    for dtype in (np.float64, np.float32):
        arrays = [np.log(p).astype(dtype) for p in both]
        ours = g.divergence(*arrays)
        theirs = g.divergence(*(torch.from_numpy(a) for a in arrays))
        assert ours.dtype == dtype
        assert theirs.dtype == getattr(torch, dtype.__name__)
        scale = float(np.abs(g.divergence.terms(*arrays)).sum()) + 1
        assert float(theirs) == pytest.approx(float(ours), abs=8 * float(np.finfo(dtype).eps) * scale)


EXTREME = [-1e4, -9e3, -1e3, -600.0, -60.0, -1.0, -1e-3, 0.0]


def _derivatives(g: Generator, log_policy: float, log_reference: float, dtype: torch.dtype) -> list[float]:
    """The term of one response with its first and second derivative in log pi."""
    x = torch.tensor([log_policy], dtype=dtype, requires_grad=True)
    found = [g.divergence.terms(x, torch.tensor([log_reference], dtype=dtype))]
    for _ in range(2):
        last = found[-1].sum()
        found.append(torch.autograd.grad(last, x, create_graph=True)[0] if last.requires_grad else torch.zeros(1))
    return [float(value.detach()) for value in found]


def _exact_derivatives(g: Generator, log_policy: float, log_reference: float) -> list[mp.mpf]:
    p, r = mp.exp(mp.mpf(log_policy)), mp.exp(mp.mpf(log_reference))
    slope, bend = g.slope(p / r), g.bend(p / r)
    return [r * g.f(p / r), p * slope, p * (slope + bend)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@each
def test_terms_and_derivatives_far_out(g: Generator, dtype: torch.dtype) -> None:
    """Log-probabilities down to -1e4: the definition where a float holds it, else finite, large, and the right sign."""
    info = torch.finfo(dtype)
    cap = math.log(info.max) - 32
    for pair in itertools.product(torch.tensor(EXTREME, dtype=dtype).tolist(), repeat=2):
        found = _derivatives(g, *pair, dtype)
        with digits:
            for ours, exact in zip(found, _exact_derivatives(g, *pair), strict=True):
                assert math.isfinite(ours), pair
                if abs(exact) < mp.exp(cap - 2):
                    scale = mp.exp(pair[0]) + mp.exp(pair[1]) + abs(exact)
                    assert abs(ours - exact) <= 8 * info.eps * (1 + abs(pair[0]) + abs(pair[1])) * scale + info.tiny
                else:
                    assert ours * exact > 0, pair
                    assert abs(ours) > math.exp(cap - 3), pair


@each
@pytest.mark.parametrize("log_u", [-1e-3, -1e-9, 0.0, 1e-9, 1e-3])
def test_derivatives_near_equality(g: Generator, log_u: float) -> None:
    """The branches of the stable forms meet at u = 1 with their first two derivatives."""
    log_reference = math.log(0.3)
    found = _derivatives(g, log_reference + log_u, log_reference, torch.float64)
    with digits:
        exact = _exact_derivatives(g, log_reference + log_u, log_reference)
        for ours, theirs in zip(found, exact, strict=True):
            assert abs(ours - theirs) <= 4 * EPS * (1 + abs(theirs))


# ---------------------------------------------------------------------------------------------------- bad input


def test_shapes_and_dtypes_are_checked() -> None:
    good = np.log([0.5, 0.5])
    with pytest.raises(ValueError, match="log_reference must have the shape of log_policy"):
        ea.ForwardKL()(good, np.log([0.5, 0.25, 0.25]))
    with pytest.raises(TypeError, match="log_reference must have the dtype of log_policy"):
        ea.ForwardKL()(good, good.astype(np.float32))
    with pytest.raises(TypeError, match="log_policy must be a numpy array or a torch tensor"):
        ea.ForwardKL()([0.5, 0.5], good)
    with pytest.raises(TypeError, match="log_policy must hold floats"):
        ea.ForwardKL()(np.array([0, 0]), np.array([0, 0]))


@pytest.mark.parametrize("alpha", [0, -1.0, math.inf, math.nan, "1", None, True])
def test_bad_alpha(alpha: object) -> None:
    with pytest.raises(ValueError, match="alpha must be"):
        resolve_divergence("alpha", alpha)  # type: ignore[arg-type]


def test_bad_divergence() -> None:
    with pytest.raises(ValueError, match=r"divergence must be one of .*'jensen_shannon'.*got 'js'"):
        resolve_divergence("js")
    with pytest.raises(TypeError, match="divergence must be a name or a Divergence"):
        resolve_divergence(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="alpha is not used by divergence 'jensen_shannon'"):
        resolve_divergence("jensen_shannon", alpha=0.5)
    with pytest.raises(ValueError, match="alpha is not used by divergence 'alpha'"):
        resolve_divergence(ea.Alpha(0.5), alpha=0.5)
