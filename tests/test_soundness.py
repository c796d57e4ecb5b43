"""What a loss in terms states of itself is believed where it is true, and refuted where it is not."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.desiderata.subject import Unclaimed
from expo_analysis.desiderata.suspicion.psi_statements import refuted_psi
from expo_analysis.desiderata.suspicion.soundness import inspect
from expo_analysis.desiderata.suspicion.statements import refuted_divergence, refuted_terms
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

from .planted.expo import FalselyConvex, WrongInverse
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
    assert re.fullmatch("at lambda = .*, its gradient by torch is not the slope of its values", found.remarks[0])


def test_digits_that_are_lost_are_no_wrong_gradient():
    """Neither cancelling nor a loss that overflows: both have their gradients, to what digits they have."""
    assert inspect(Cancelling(1.0, written(1.0, lambda lam: Logistic()(h)).formula, True)).remarks == ()
    assert inspect(written(1.0, lambda lam: Exponential()(lam * hbar))).remarks == ()
    assert inspect(written(1.0, lambda lam: Logistic()(lam * hbar) + Linear()(log_pi_w))).remarks == ()
