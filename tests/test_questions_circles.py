"""Traps on win counts that go round in a circle: known by hand, and proven by intervals."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.desiderata.falsify import basin
from expo_analysis.desiderata.falsify.basin import is_caught
from expo_analysis.desiderata.questions import circles, local_minima
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN
from expo_analysis.losses.psi import Stated
from expo_analysis.losses.statistics import h

from .own_losses import own
from .recheck.others import local_minima as rechecked


def subject(loss: ea.PairObjective, expression: str = "") -> Subject:
    return Subject(loss, expression or f"ea.{type(loss).__name__}(lam)", effort=0.1)


@pytest.fixture(scope="module", params=[ea.EXO(1.0), ea.RegressionEXPO(1.0)], ids=["exo", "regression_expo"])
def failed(request: pytest.FixtureRequest) -> tuple[ea.PairObjective, Any]:
    return request.param, local_minima.judge(subject(request.param))


def test_losses_that_bend_over_are_caught(failed: tuple[ea.PairObjective, Any]) -> None:
    loss, found = failed
    assert (found.decision, found.basis, found.rule) == (FAILS, PROVEN, "")
    n = {"exo": 3, "regression_expo": 5}[loss.name]
    assert found.summary.endswith(f"win counts of {n} responses") and circles.SEEN in found.conditions
    numbers = found.counterexample.numbers
    assert np.array_equal(numbers["counts"], np.roll(np.eye(n), 1, axis=1)) and numbers["lam"] in (0.1, 1.0)
    exec(found.counterexample.code, {})
    assert rechecked(loss.name, numbers) == ""
    turned = numbers | {"log-policies of trap and of a lower value": [[*range(n)], [0.0] * n]}
    assert rechecked(loss.name, turned) != "", "what is no trap is told"


def test_the_values_are_those_of_the_formula(failed: tuple[ea.PairObjective, Any]) -> None:
    """In 40 digits: n - 1 pairs won by a step each, and one lost by their sum, against n undecided ones. psi'' > 0 at 0
    makes the Hessian at the even policy that of a weighted graph, which is connected."""
    loss, found = failed
    numbers = found.counterexample.numbers
    lam, n = mpmath.mpf(numbers["lam"]), len(numbers["reference"])

    def psi(margin: Any) -> Any:
        q = 1 / (1 + mpmath.exp(-margin))
        if loss.name == "regression_expo":
            return (q - (1 + lam / 2) / (1 + lam)) ** 2
        eps = mpmath.mpf("0.001")
        return q * mpmath.log(q / (1 - eps)) + (1 - q) * mpmath.log((1 - q) / eps)

    with mpmath.workdps(40):
        scale = lam if loss.name == "exo" else 1
        even, lower = numbers["log-policies of trap and of a lower value"]
        margins = [scale * (mpmath.mpf(lower[k]) - mpmath.mpf(lower[(k + 1) % n])) for k in range(n)]
        exact = [psi(mpmath.mpf(0)), sum(map(psi, margins)) / n]
        assert numbers["values"] == pytest.approx([float(x) for x in exact], rel=1e-12)
        assert exact[1] < exact[0] and mpmath.diff(psi, 0, 2) > 0
    assert np.ptp(even) == 0


@pytest.mark.parametrize("loss", [ea.DPO(1.0), ea.IPO(1.0), ea.SPO(1.0), ea.ORPO(1.0), ea.QRPO(1.0), ea.EXPO(1.0)])
def test_others_are_not_caught(loss: ea.PairObjective) -> None:
    assert not list(circles.caught(subject(loss)))


def test_a_proof_needs_the_ring_and_the_lower_value() -> None:
    one, bandit = subject(ea.EXO(1.0)), circles.circle(subject(ea.EXO(1.0)), 3)
    lower = np.array([0.0, -7.0, -14.0])
    assert is_caught(one, bandit, 1.0, 0.5, lower)
    assert not is_caught(one, bandit, 1.0, 8.0, lower), "the neighbourhood holds the lower value"
    assert not is_caught(one, bandit, 1.0, 0.5, np.array([0.0, -0.3, -0.6])), "it is in the neighbourhood, and higher"
    assert not is_caught(one, bandit, 1.0, 0.5, np.zeros(3)), "it is the even policy"
    assert not is_caught(subject(ea.DPO(1.0)), bandit, 1.0, 0.5, lower), "it is higher: the even policy is lowest"


def test_what_seems_caught_is_not_always() -> None:
    """A loss that falls along one gap of the ring only, and one whose even policy is a peak."""
    peak = own(lambda lam: Stated(lambda m: -(m**2) / (1 + m**2))(h))
    bandit = circles.circle(subject(peak), 3)
    assert not list(circles.caught(subject(peak)))
    assert not is_caught(subject(peak), bandit, 1.0, 0.5, np.array([0.0, -7.0, -14.0]))


def test_boxes_that_are_spent_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one = subject(ea.EXO(1.0))
    bandit, lower = circles.circle(one, 3), np.array([0.0, -7.0, -14.0])
    monkeypatch.setattr(basin, "MOST", {3: 10})
    assert not is_caught(one, bandit, 1.0, 0.5, lower)
    found = local_minima.judge(one)
    assert (found.decision, found.basis) == (FAILS, EVIDENCE), "seen, and not proven"


def test_the_ring_is_all_of_the_boundary() -> None:
    """A policy on it is in some box: each order but for rotations, each gap at the radius, the others up to it."""
    ring = basin._ring(np.array([[0, 0], [1, 2], [2, 1]]), 0.5)
    assert sorted(map(tuple, np.concatenate([ring.low, ring.high, ring.order]).T.tolist())) == [
        (0.0, 0.5, 0.5, 0.5, 0, 1, 2),
        (0.0, 0.5, 0.5, 0.5, 0, 2, 1),
        (0.5, 0.0, 0.5, 0.5, 0, 1, 2),
        (0.5, 0.0, 0.5, 0.5, 0, 2, 1),
    ]


def test_what_was_looked_at_is_said() -> None:
    held, nothing = (local_minima.judge(subject(loss)) for loss in (ea.ORPO(1.0), ea.SimPER(1.0)))
    assert held.decision == HOLDS and circles.SEEN in held.conditions and "were not looked at" in held.conditions
    assert nothing.decision == NOT_APPLICABLE and nothing.summary.startswith("no minimum to miss was seen")
    assert "log-ratios up to 60/λ" in nothing.conditions
