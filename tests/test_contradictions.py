"""A theorem and a search that contradict each other, and rules whose premises a loss only seems to meet."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

import expo_analysis as ea
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.decide import contradicted, decide, reconsidered
from expo_analysis.desiderata.questions import JUDGES
from expo_analysis.desiderata.rules import RULES, Conclusion, Known, Rule, first
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import CANNOT_TELL, FAILS, HOLDS, NOT_APPLICABLE
from expo_analysis.numerics import log_sigmoid
from expo_analysis.terms import Linear, Logistic, Sigmoid, Stated, h, log_u_l, log_u_w, reference_log_ratio

decide_module = importlib.import_module("expo_analysis.desiderata.decide")


def subject(objective: Any, effort: float = 0.1) -> Subject:
    return Subject(objective, *written(objective), effort=effort)


def rule_about(objective: Any, key: str) -> str:
    found = first(RULES, key, Known(subject(objective), {}))
    return "" if found is None else found[0].name


def wrong(known: Known) -> Conclusion | None:
    """Whatever is made of terms is said to preserve."""
    return None if known.formula.symbolic is None else Conclusion(HOLDS, "it preserves")


def test_a_search_outweighs_the_theorem_that_it_contradicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then and when all else is decided; and the loss is audited again without what the theorem read."""
    monkeypatch.setattr(decide_module, "RULES", (Rule("all_preserve", "preservation", "All losses preserve.", wrong),))
    key, asked = "preservation", subject(ea.DPO(1.0), effort=1.0)
    found = {key: decide(key, JUDGES[key], asked, {})}
    assert (found[key].decision, found[key].basis, found[key].rule) == (CANNOT_TELL, "", "all_preserve")
    assert contradicted(found[key]) and "a search that it fails" in found[key].summary
    assert reconsidered(asked, found) == found
    card = ea.audit(ea.DPO(1.0), only=key, effort=1.0)
    assert card.verdicts[key].decision == FAILS and card.verdicts[key].counterexample is not None
    (remark,) = card.remarks
    assert "a search contradicts all_preserve (preserves π*)" in remark and "audited without that" in remark
    kept = ea.audit(ea.EXPO(1.0), only=key)
    assert (kept.verdicts[key].decision, kept.verdicts[key].rule, kept.remarks) == (HOLDS, "all_preserve", ())


@dataclass(frozen=True)
class KinkFarOut(ea.PairObjective):
    """EXPO but for a kink at a log-ratio of 6, which is said to have Bradley-Terry's margins; it is judged as it is."""

    name = "kink_far_out"
    regulariser = ea.EXPO(1.0).regulariser

    @property
    def terms(self) -> Any:
        def psi(m: Any) -> Any:
            return -log_sigmoid(m) + 0.1 * (m - 6).clip(0, None)

        return Stated(psi, slopes=(-1.0, 0.1), convex=True, lower_bound=0.0, log_odds_scale=1.0)(h)


def test_margins_that_are_stated_are_looked_at_far_out() -> None:
    card = ea.audit(KinkFarOut(0.3), only=["preservation", "first_step"], effort=0.2, time_limit=300.0)
    assert any("log_odds_scale is false" in remark for remark in card.remarks)
    assert HOLDS not in {verdict.decision for verdict in card.verdicts.values()}


@dataclass(frozen=True)
class ShiftedKTO(ea.PairObjective):
    """KTO with a baseline that each pair has of its own: its risk is no sum over responses, and it has an optimum."""

    name = "shifted_kto"

    @property
    def terms(self) -> Any:
        z = reference_log_ratio
        return Sigmoid()(self.lam * log_u_l - z) - 1.0 * Sigmoid()(self.lam * log_u_w - z)


def test_what_differs_from_pair_to_pair_is_no_difference_of_scores() -> None:
    loss, bandit = ShiftedKTO(1.0), ea.Bandit([0.8, 0.2], [0.9, 0.1])
    grid = np.linspace(-20.0, 20.0, 4001)
    values = ea.risk(loss, bandit, np.log(softmax(np.stack([grid, 0 * grid], axis=1), axis=1)))
    assert 0 < int(np.argmin(values)) < len(grid) - 1 and values.min() < min(values[0], values[-1]) - 1e-3
    for key in ("improvement", "monotone_path", "consistency", "reference_limit"):
        assert rule_about(loss, key) != "no_optimum_on_any_population"
        assert rule_about(ea.KTO(1.0), key) == "no_optimum_on_any_population"


@dataclass(frozen=True)
class Explicit(ea.PairObjective):
    """A loss of h beside lam D."""

    psi: Any = None
    divergence: Any = None
    name = "explicit"

    @property
    def terms(self) -> Any:
        return self.psi(h)

    @property
    def regulariser(self) -> Any:
        return self.divergence


def test_without_a_stationary_point_a_pair_can_lose_on_both_sides() -> None:
    """-h and KL(pi_ref || pi): all but the first fall by v/lam in the end, v = (g - lam pi_ref)/4 of the logits."""
    loss = Explicit(1.0, Linear(), ea.divergences.ForwardKL())
    theta, pull = np.log(np.full(5, 0.2)), np.array([0.4, -0.4, 0.0, 0.0, 0.0])
    for _ in range(20_000):
        theta += 0.05 * (pull - (softmax(theta) - 0.2))
    np.testing.assert_allclose(softmax(theta), [0.55, 0, 0.15, 0.15, 0.15], atol=1e-6)
    gains = "someone_in_every_pair_gains"
    assert rule_about(loss, "displacement") != gains
    assert rule_about(Explicit(1.0, Logistic(), ea.divergences.ForwardKL()), "displacement") == gains
    assert rule_about(Explicit(1.0, Logistic(), ea.divergences.ReverseKL()), "displacement") == gains


def test_what_falls_slowly_may_take_a_flow_to_the_boundary() -> None:
    """Beside a divergence that is finite there, 1/m for e^-m does."""
    slow = Stated(lambda m: (1 + m * m) ** 0.5 - m, slopes=(-2.0, 0.0), convex=True, lower_bound=0.0)
    for divergence, gains in ((ea.divergences.ReverseKL(), False), (ea.divergences.ForwardKL(), True)):
        found = rule_about(Explicit(1.0, slow, divergence), "displacement")
        assert (found == "someone_in_every_pair_gains") == gains


def test_where_the_population_has_no_optimum_none_is_consistent_with_it() -> None:
    found = decide("consistency", JUDGES["consistency"], subject(ea.objective("apo_down", 1.0)), {})
    assert found.decision == NOT_APPLICABLE and "no optimum to be consistent with" in found.summary


@dataclass(frozen=True)
class AnotherInBetween(ea.PairObjective):
    """EXPO but at lambdas between those that are looked at, where its preferences are a straight line without end."""

    name = "another_in_between"
    regulariser = ea.divergences.ForwardKL()

    @property
    def terms(self) -> Any:
        return Linear()(h) if 2.0 < self.lam < 50.0 else Logistic()(h)


def test_what_holds_at_some_lambdas_is_not_said_of_all() -> None:
    assert rule_about(AnotherInBetween(1.0), "displacement") != "someone_in_every_pair_gains"
