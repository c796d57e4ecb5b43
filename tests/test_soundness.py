"""What a loss in terms states of itself is believed where it is true, and refuted where it is not."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.desiderata.subject import Unclaimed
from expo_analysis.desiderata.suspicion.convexity import sagging
from expo_analysis.desiderata.suspicion.digits import FEW, digits_of
from expo_analysis.desiderata.suspicion.lines import refuted_on_lines, wrong_slopes
from expo_analysis.desiderata.suspicion.points import SHAPE, pairs_to_try
from expo_analysis.desiderata.suspicion.psi_statements import refuted_psi
from expo_analysis.desiderata.suspicion.soundness import inspect
from expo_analysis.desiderata.suspicion.statements import refuted_divergence, refuted_terms
from expo_analysis.losses import CATALOGUE
from expo_analysis.numerics import log_sigmoid
from expo_analysis.terms import (
    Atom,
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
    TargetKL,
    Well,
    h,
    hbar,
    log_pi_w,
    reference_log_ratio,
)

from .planted import suspicious
from .planted.expo import Explicit, FalselyConvex, WrongInverse
from .planted.terms import (
    FALSE_ATOMS,
    FALSE_DATA,
    FALSE_PSIS,
    Cancelling,
    Written,
    claimed,
    logistic,
    statistic,
    written,
)

DATUM = {
    name: torch.tensor(np.log(np.random.default_rng(0).uniform(0.05, 0.9, (4, 30, 15)))[k])
    for k, name in enumerate(("logp_w", "logp_l", "ref_logp_w", "ref_logp_l"))
}


def in_unit(unit):
    """-log sigma(m / unit) with what is true of it."""
    return Stated(
        lambda m: logistic(m / unit),
        slopes=(-1 / unit, 0.0),
        convex=True,
        self_concordance=1 / unit,
        lower_bound=0.0,
        decay=(1 / unit, 1 / unit),
        log_odds_scale=1 / unit,
    )


ARRAY = np.array([0.1, 0.5, 0.9])
TRUE_PSIS = {
    **{
        "logistic": Logistic(),
        "smoothed": Logistic(0.9, 0.1),
        "robust": Logistic(1.2, -0.2),
        "concave": Logistic(-1.0),
    },
    **{"soft targets": Logistic(ARRAY, 1 - ARRAY), "square": Square(), "hinge": Hinge(1.0), "hinges": Hinge(ARRAY)},
    **{"linear": Linear(), "exponential": Exponential(), "sigmoid": Sigmoid(), "modulated": Modulated(0.05)},
    **{
        "squared sigmoid": SquaredSigmoid(0.8, 0.2),
        "Bernoulli": BernoulliKL(np.log((1 - 1e-3) / 1e-3)),
        **{"target": TargetKL(-0.7), "targets": TargetKL(ARRAY), "Bernoullis": BernoulliKL(ARRAY)},
        "claimed": claimed(),
    },
    **{f"in units of {unit:g}": in_unit(unit) for unit in (1e-4, 1e-2, 30.0, 1e4)},
    "a power": Stated(lambda m: (1 + m**2) ** 0.5, slopes=(-1.0, 1.0), convex=True, lower_bound=1.0),
    "steep": Stated(lambda m: m**4, slopes=(-np.inf, np.inf), convex=True, lower_bound=0.0, log_odds_scale=None),
    "squared hinge": Stated(lambda m: (1 - m).clip(min=0) ** 2, slopes=(-np.inf, 0.0), convex=True, lower_bound=0.0),
    "nothing known": Stated(lambda m: torch.sin(m) if isinstance(m, torch.Tensor) else np.sin(m)),
}


@pytest.mark.parametrize("name", TRUE_PSIS)
def test_nothing_true_of_a_psi_is_refuted(name):
    assert refuted_psi(TRUE_PSIS[name]) == ""


@pytest.mark.parametrize("name", FALSE_PSIS)
def test_what_is_false_of_a_psi_is_refuted(name):
    psi, message = FALSE_PSIS[name]
    assert re.search(message, refuted_psi(psi)), refuted_psi(psi)


@pytest.mark.parametrize(
    ("well", "message"),
    [(Well(0.3, 0.01, 1.0), "not so deep"), (Well(0.0, 0.2, 1.0), "not so deep"), (Well(0.0, 0.01, 0.1), "faster")],
)
def test_a_false_well_is_refuted(well: Well, message: str) -> None:
    """KL(sigma(m), 1/2) is least at 0, (1 - 1/e)/8 to 1/8 of m^2 around it: a minimum elsewhere, deeper, or flatter."""

    class False_(BernoulliKL):
        @property
        def well(self) -> Well:
            return stated

    stated = BernoulliKL(0.0).well
    assert refuted_psi(False_(0.0)) == ""
    stated = well
    assert message in refuted_psi(False_(0.0))


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_in_any_unit(unit):
    """The curvature of -log sigma(m/unit) changes at the rate 1/unit: half of that is too little."""
    psi = in_unit(unit)
    for false, message in (
        ({"self_concordance": 0.5 / unit}, "self_concordance"),
        ({"slopes": (-2 / unit, 0.0)}, "slopes"),
        ({"decay": (2 / unit, 1 / unit)}, "decay"),
        ({"log_odds_scale": 2 / unit}, "log_odds_scale"),
    ):
        stated = {name: getattr(psi, name) for name in ("slopes", "convex", "self_concordance", "lower_bound", "decay")}
        assert message in refuted_psi(Stated(psi.function, **{**stated, **false})), message


@pytest.mark.parametrize("name", FALSE_ATOMS)
def test_what_is_false_of_an_atom_is_refuted(name):
    atom, message = FALSE_ATOMS[name]
    objective = written(1.0, lambda lam: Logistic()(lam * statistic(atom)))
    assert re.search(message, refuted_terms(objective, DATUM)), refuted_terms(objective, DATUM)


@pytest.mark.parametrize("atom", [Atom("w"), *(atom for _, atom in (*hbar.parts, *ea.terms.log_odds.parts))], ids=str)
def test_nothing_true_of_an_atom_is_refuted(atom):
    assert refuted_terms(written(1.0, lambda lam: Logistic()(statistic(atom))), DATUM) == ""


@pytest.mark.parametrize("name", FALSE_DATA)
@pytest.mark.parametrize("where", ["offset", "centre", "scale", "weight"])
def test_data_read_what_they_name_of_the_reference_and_nothing_else(name, where):
    def made(data):
        return {
            "offset": Logistic()(0.5 * hbar - data),
            "centre": Logistic()(h - data),
            "scale": Logistic()(data * h),
            "weight": data * Logistic()(h),
        }[where]

    false = written(1.0, lambda lam: made(FALSE_DATA[name]))
    assert re.search("that data in it read .* is false", refuted_terms(false, DATUM))
    assert refuted_terms(written(1.0, lambda lam: made(reference_log_ratio)), DATUM) == ""


def test_divergences():
    assert "FalselyConvex is convex" in refuted_divergence(FalselyConvex(), False)
    assert "descend of WrongInverse" in refuted_divergence(WrongInverse(), True)
    for name, cls in ea.divergences.DIVERGENCES.items():
        divergence = cls(0.5) if name == "alpha" else cls()
        assert refuted_divergence(divergence, False) == "", name
        assert refuted_divergence(divergence, True) == "", name


def test_a_refuted_loss_goes_on_without_its_facts():
    """What its own solver calls proven with a tenth of M rests on nothing; without it no bound is given."""
    false = written(1.0, lambda lam: claimed(self_concordance=0.1)(h), True)
    found = inspect(false)
    assert isinstance(found.objective, Unclaimed)
    assert "self_concordance = 0.1 is false" in found.remarks[0]
    bandit = ea.Bandit([0.5, 0.3, 0.2], [0.2, 0.3, 0.5])
    assert np.isfinite(ea.solve(false, bandit).error_bound)
    left = ea.solve(found.objective, bandit)
    assert left.status == "best_found" and np.isnan(left.error_bound)
    assert not inspect(written(1.0, lambda lam: claimed()(h), True)).remarks


PLANTS = {planted.name.removeprefix("suspicious: "): planted for planted in suspicious.PLANTED}


@pytest.mark.parametrize("name", [name for name, planted in PLANTS.items() if planted.remark])
def test_a_remark_says_what_is_wrong_in_words_of_the_author(name):
    planted = PLANTS[name]
    hostile = isinstance(planted.objective, suspicious.Hostile)  # nothing of what it raises comes out of an audit
    remarks = (ea.audit(planted.objective, only="first_step") if hostile else inspect(planted.objective)).remarks
    assert any(re.search(planted.remark, remark) for remark in remarks), remarks


def test_what_is_wrong_is_not_blamed_on_a_true_claim():
    """Where digits are lost, or lambda is rounded, its claims fail with it: one remark says why, and none says more."""
    for name in ("digits cancel", "lambda in float32", "rippled", "if lambda in the regulariser"):
        found = inspect(PLANTS[name].objective)
        assert not [remark for remark in found.remarks if "its claim " in remark], found.remarks
    assert inspect(PLANTS["rippled"].objective).remarks == ()


def test_pairs_have_probabilities_that_a_policy_may_have():
    """So that a loss of what is left, 1 - pi_w - pi_l, is none that gives NaN."""
    logp_w, logp_l, ref_logp_w, ref_logp_l = (x.exp() for x in pairs_to_try(ea.DPO(1.0), SHAPE[0]))
    assert (logp_w + logp_l < 1).all() and (ref_logp_w + ref_logp_l < 1).all() and (logp_w + logp_l > 0.9).any()
    assert inspect(PLANTS["reads what is left"].objective).remarks == ()
    assert inspect(PLANTS["reads what is left, of two"].objective).objective is not None


def test_chords_in_three_logits():
    for lam in (1e-6, 1.0, 1e8):
        for sound in (Explicit(lam), ea.SLiC(lam), ea.DPOP(lam), ea.IPO(lam)):
            assert sagging(sound, lam) == ""
        assert sagging(suspicious.ClippedMargin(lam), lam)
    assert sagging(suspicious.Clipped(1e-6), 1e-6) and sagging(ea.ExplicitPO(1.0, "reverse_kl"), 1.0)


def test_true_claims_are_kept_one_lambda_at_a_time():
    kept = inspect(PLANTS["if lambda in the regulariser"].objective).objective
    assert isinstance(kept, Unclaimed) and kept.facts.convex
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    path = ea.solve_path(kept, bandit, [0.1, 1.0, 20.0, 1e3])
    assert (path.error_bound < 1e-12).all()
    for policy, lam in zip(path.policies, (0.7, 7.0, 20.0, 1e3), strict=True):
        np.testing.assert_allclose(policy, ea.solve(ea.EXPO(lam), bandit).policy, atol=1e-12)
    steep = Unclaimed(1.0, suspicious.Margin(1.0), True, True).with_lam(np.array([2.0, 0.5, 2.0]))
    np.testing.assert_array_equal(steep.claims.self_concordance, [2.0, 0.5, 2.0])
    np.testing.assert_array_equal(steep.ratio_slopes()[0], [-2.0, -0.5, -2.0])


NATURAL = {
    "torch's logsigmoid": lambda h: -torch.nn.functional.logsigmoid(h),
    "log1p of exp": lambda h: torch.log1p(torch.exp(-h)),
    "log of sigmoid": lambda h: -torch.log(torch.sigmoid(h)),
    "binary cross-entropy": lambda h: torch.nn.functional.binary_cross_entropy_with_logits(
        h, torch.ones_like(h), reduction="none"
    ),
    "softplus": lambda h: torch.nn.functional.softplus(-h),
}


@dataclass(frozen=True)
class Natural(Explicit):
    """EXPO's preferences as people write them."""

    how: str = ""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return NATURAL[self.how](logp_w - logp_l)


@pytest.mark.parametrize("how", list(NATURAL))
def test_true_claims_survive_the_ways_in_which_people_write_a_sigmoid(how):
    """But torch's softplus, which is a straight line from 20 on and jumps there by log(1 + exp(-20)) = 2.06e-9."""
    found = inspect(Natural(1.0, how))
    if how == "softplus":
        assert "its values jump by 2.1e-09 at a log-ratio of -20" in found.remarks[0]
        assert isinstance(found.objective, Unclaimed)
    else:
        assert found.remarks == () and not isinstance(found.objective, Unclaimed)


# of third responses, of data, without claims, kinked in single log-probabilities; test_desiderata has the plainer kinds
SOUND = ("exo", "wrpo", "reward_aware_po", "regression_expo", "dpop")


@pytest.mark.parametrize(
    "name", [name if name in SOUND else pytest.param(name, marks=pytest.mark.slow) for name in CATALOGUE]
)
def test_nothing_is_said_of_a_sound_loss(name):
    needed = {"aot": "couples the pairs"}
    try:
        objective = CATALOGUE[name](1.0)
    except TypeError:
        pytest.skip("it needs options")
    assert [remark for remark in inspect(objective).remarks if needed.get(name, "\n") not in remark] == []


def test_a_formula_has_its_digits_or_not():
    """16 at best; (x + 1e6) - (y + 1e6) leaves errors of 1e-10, 2^-33; a gradient that is wrong is another mistake."""
    assert digits_of(Explicit(1.0)).lost < 4
    cancelled = digits_of(suspicious.FewDigits(1.0, "cancels", 1e6))
    assert 1e4 < cancelled.lost < 1e6 and cancelled.right == 10 and not cancelled.single
    assert digits_of(suspicious.FewDigits(1.0, "cancels", 1e3)).lost > FEW
    assert digits_of(suspicious.FewDigits(1.0, "float32 arguments")).single
    assert digits_of(suspicious.Backward(1.0, "off", 1.0)).lost < FEW


def test_a_bound_that_is_called_proven_has_room_for_the_digits_that_a_loss_may_lose():
    """(x + 100) - (y + 100) loses too little for its claims to go; the true optimum is that of EXPO."""
    loses = suspicious.FewDigits(1.0, "cancels", 100.0)
    assert 4 < digits_of(loses).lost < FEW and inspect(loses).remarks == ()
    rng = np.random.default_rng(0)
    bandit = ea.Bandit(rng.dirichlet(np.ones(3), 40), rng.dirichlet(np.ones(3), 40))
    for lam in (1e-6, 1e-3, 1.0):
        found, true = ea.solve(loses.with_lam(lam), bandit), ea.solve(ea.EXPO(lam), bandit)
        off = np.abs(found.policy - true.policy).sum(axis=-1)
        assert off.max() > 1e-15 and (off <= found.error_bound + true.error_bound).all()


@pytest.mark.parametrize(("size", "wrong"), [(1e-8, True), (-1e-8, True), (0.0, False)])
def test_a_slope_is_checked_to_a_part_in_a_billion(size, wrong):
    found = wrong_slopes(suspicious.Backward(1.0, "off", size), 1.0, 0)
    assert (found is not None) == wrong
    if found is not None:
        assert found.near and found.part == pytest.approx(1e-8, rel=0.5) and not found.jump


def test_a_slope_that_is_wrong_only_where_it_bends_is_found():
    """Between -5 and 5: farther out, where slopes are straight, changes of values show as little by themselves."""
    found = wrong_slopes(suspicious.Backward(1.0, "off within 5", 1e-7), 1.0, 0)
    assert found is not None and found.part == pytest.approx(1e-7, rel=0.5)


def test_a_kink_is_no_wrong_slope_and_a_concave_one_no_convexity():
    for lam in (1e-6, 1.0, 1e8):
        for sound in (ea.Hinge(lam), ea.SLiC(lam), ea.DPOP(lam)):
            assert wrong_slopes(sound, lam, 0) is None
            assert refuted_on_lines(sound, lam, 0, None) == ""
        at = 30 / lam
        clipped = suspicious.ClippedMargin(lam)
        assert wrong_slopes(clipped, lam, 0) is None
        told = refuted_on_lines(clipped, lam, 0, None)
        assert "its slope falls by" in told and float(told.split()[-1]) == pytest.approx(-at, rel=0.02)


def test_a_kink_is_no_self_concordance():
    """-log sigma(h) has M = 1, and its curvature changes as fast far out; what has a kink has no M."""
    assert refuted_on_lines(Explicit(1.0), 1e-3, 0, 1.0) == ""
    assert "self_concordance = 0.9 is false" in refuted_on_lines(Explicit(1.0), 1e-3, 0, 0.9)
    assert "self_concordance = 1 is false" in refuted_on_lines(Bent(1.0), 1e-3, 0, 1.0)
    assert refuted_on_lines(Bent(1.0), 1e-3, 0, None) == ""
    for side in (1.0, -1.0):  # curvature that jumps up, and curvature that jumps down
        assert "self_concordance = 1 is false" in refuted_on_lines(Bent(1.0, 2, side), 1e-3, 0, 1.0)


@dataclass(frozen=True)
class Bent(Explicit):
    """EXPO, which costs a little more from a log-ratio of 12 or -12 on: convex, and with a kink or a bend."""

    power: int = 1
    side: float = 1.0

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        h = logp_w - logp_l
        return -log_sigmoid(h) + 1e-3 * (self.side * h - 12.0).clip(min=0) ** self.power


@dataclass(frozen=True)
class Forgetful(Written):
    """EXPO's preferences times (1 + lam)/2, of which the gradient has no trace, as of a backward written by hand."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        loss = logistic(logp_w - logp_l)
        return loss + (((1 + self.lam) / 2 - 1) * loss).detach() if isinstance(loss, torch.Tensor) else loss


def test_a_gradient_is_compared_with_values_at_every_lambda():
    """At lambda 1 this one is right."""
    found = inspect(Forgetful(1.0, written(1.0, lambda lam: Logistic()(h)).formula, True))
    assert found.objective is None
    assert re.match("at lambda = .*, its gradient by torch is not the slope of its values", found.remarks[0])


def test_digits_that_are_lost_are_no_wrong_gradient():
    """Neither cancelling nor a loss that overflows: both have their gradients, to what digits they have."""
    found = inspect(Cancelling(1.0, written(1.0, lambda lam: Logistic()(h)).formula, True))
    assert isinstance(found.objective, Unclaimed) and "only 10 digits" in found.remarks[0]
    assert inspect(written(1.0, lambda lam: Exponential()(lam * hbar))).remarks == ()
    assert inspect(written(1.0, lambda lam: Logistic()(lam * hbar) + Linear()(log_pi_w))).remarks == ()
