"""Branch and bound: it holds the true minimisers, never certifies a wrong one, and says what it cannot do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import expo_analysis as ea
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.falsify import certify
from expo_analysis.desiderata.falsify.cases import Case, Measure
from expo_analysis.desiderata.falsify.certify import Enclosure, enclose_minimisers, is_lower
from expo_analysis.desiderata.falsify.intervals import functions, jets, objective, rounding
from expo_analysis.desiderata.falsify.search import confirm
from expo_analysis.desiderata.questions import improvement, monotone_path
from expo_analysis.desiderata.subject import Subject

from .planted.broken import Broken


def subject(objective: ea.PairObjective) -> Subject:
    return Subject(objective, *written(objective), effort=0.1)


@dataclass(frozen=True)
class TwoWells(ea.PairObjective):
    """(lam^2 h^2 - 1)^2 + tilt lam h of the winner's log-ratio: wells near lam h = 1 and -1, the deeper one by tilt."""

    tilt: float = 0.0
    name = "two wells"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        m = self.lam * (logp_w - logp_l)
        return (m**2 - 1) ** 2 + self.tilt * m


@dataclass(frozen=True)
class Kinked(ea.PairObjective):
    """|lam h - 1| in three ways of writing it, and a bit of the winner's likelihood."""

    name = "kinked"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        m = self.lam * (logp_w - logp_l) - 1
        return torch.relu(m) + (-m).clamp(min=0) + torch.where(m > 0, m, -m) - 0.1 * logp_w


@dataclass(frozen=True)
class Summed(ea.PairObjective):
    """DPO by a function that there are no bounds for."""

    name = "summed"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        h = self.lam * (logp_w - logp_l - ref_logp_w + ref_logp_l)
        return torch.logsumexp(torch.stack([0.0 * h, -h]), dim=0) + 0.3 * torch.sigmoid(h)


def lowest(objective: ea.PairObjective, bandit: ea.Bandit, scale: float) -> np.ndarray:
    """The log-policy of the lowest value of a dense look and of scipy's simplex search from there: no gradient, no
    solver of this package."""
    rng, n = np.random.default_rng(0), bandit.n
    x = rng.standard_normal((60_000, n)) * 10 ** rng.uniform(-2, 1.5, (60_000, 1)) * scale + np.log(bandit.reference)

    def value(theta: np.ndarray) -> np.ndarray:
        return ea.risk(objective, bandit, torch.from_numpy(theta).log_softmax(-1)).numpy()

    best = x[np.nanargmin(value(x))]
    options = {"xatol": 1e-13, "fatol": 0, "maxiter": 4000, "maxfev": 4000}
    found = minimize(lambda z: value(np.array([*z, 0.0])), best[:-1] - best[-1], method="Nelder-Mead", options=options)
    return torch.tensor([*found.x, 0.0]).double().log_softmax(-1).numpy()


def holds(objective: ea.PairObjective, bandit: ea.Bandit, true: np.ndarray, target: float = 1e-3) -> bool:
    """Whether the search from the true minimiser ends with boxes that hold it, within the target."""
    search = Enclosure(objective, bandit, true)
    reached = search.refine(target)
    low, high = (bound - true_p for bound, true_p in ((b, np.exp(true)[:, None]) for b in search.boxes.policies))
    return reached and bool(((low <= 1e-6) & (high >= -1e-6)).all(axis=0).any())


THREE = ea.Bandit([0.2, 0.5, 0.3], [0.5, 0.3, 0.2])
TWO = ea.Bandit([0.3, 0.7], [0.8, 0.2])
LOSSES: dict[str, tuple[ea.PairObjective, ea.Bandit]] = {
    "two wells": (TwoWells(1.0, 0.4), ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])),
    "two wells of three": (
        TwoWells(0.5, 0.3),
        ea.Bandit.from_counts([0.3, 0.3, 0.4], [[0, 1, 0], [0, 0, 1], [0, 0, 0]]),
    ),
    "kinked": (Kinked(0.7), TWO),
    "kinked of three": (Kinked(2.0), THREE),
    "EXO": (ea.EXO(1.0), THREE),
    "BCO": (ea.BCO(0.3), THREE),
    "SPPO": (ea.SPPO(1.0), THREE),
    "DiscoPOP": (ea.DiscoPOP(1.0), TWO),
    "SPO": (ea.SPO(0.5), THREE),
    "SLiC": (ea.SLiC(1.0), THREE),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_left_holds_the_minimiser(name: str) -> None:
    objective, bandit = LOSSES[name]
    assert holds(objective, bandit, lowest(objective, bandit, 1 / objective.lam))


def inward(low: Any, high: Any, by: float = 0.0) -> tuple[Any, Any]:
    """Rounding that goes the wrong way, by a thousandth so that no luck can hide it."""
    return low + 1e-3 * np.abs(low), high - 1e-3 * np.abs(high)


def one_half(halved: Callable[..., Any]) -> Callable[..., Any]:
    """Halves of which the second is forgotten."""

    def half(boxes: Any, turn: Any) -> Any:
        both, turns = halved(boxes, turn)
        return both.take(np.arange(boxes.size)), turns[: boxes.size]

    return half


def flat(through: Callable[..., Any]) -> Callable[..., Any]:
    """The chain rule with the upper bound of the derivative alone."""
    return lambda self, value, derivative: through(self, value, (derivative[1], derivative[1]))


@pytest.mark.parametrize("mutant", ["rounds inward", "forgets a half", "slopes from above", "one order"])
def test_a_search_with_a_mistake_loses_the_minimiser(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above would not notice is not tested; so mistakes are planted, and each must be noticed."""
    cases = [(o, b, lowest(o, b, 1 / o.lam)) for o, b in (LOSSES["two wells of three"], LOSSES["BCO"])]
    discopop = ea.DiscoPOP(0.01)
    cases.append((discopop, TWO, ea.solve(discopop, TWO).log_policy))
    assert all(holds(*case) for case in cases)
    if mutant == "rounds inward":
        for module in (certify, functions, jets, objective, rounding):
            monkeypatch.setattr(module, "outward", inward)
    elif mutant == "forgets a half":
        monkeypatch.setattr(certify, "_halved", one_half(certify._halved))
    elif mutant == "slopes from above":
        monkeypatch.setattr(jets.Jet, "through", flat(jets.Jet.through))
    else:
        monkeypatch.setattr(certify.itertools, "permutations", lambda ranks: [tuple(ranks)])
    assert not all(holds(*case) for case in cases)


# ---------------------------------------------------------------------------------------------- nothing wrong certified


def well(objective: TwoWells, near: float) -> np.ndarray:
    """The log-policy of the well next to a margin, of one pair."""
    m = near
    for _ in range(50):
        m -= (4 * m * (m * m - 1) + objective.tilt) / (12 * m * m - 4)
    return torch.tensor([m / objective.lam, 0.0], dtype=torch.float64).log_softmax(-1).numpy()


@pytest.mark.parametrize("lam", [1e-3, 0.3, 1.0, 1e3])
def test_only_the_deeper_of_two_wells_is_certified(lam: float) -> None:
    one_win = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    for tilt, deeper in ((0.1, -1.0), (-0.1, 1.0), (1e-6, -1.0)):
        loss = TwoWells(lam, tilt)
        found = enclose_minimisers(subject(loss), one_win, lam, well(loss, deeper), target=1e-4)
        assert found is not None and found.reach <= 1e-4
        other = enclose_minimisers(subject(loss), one_win, lam, well(loss, -deeper), target=1e-4)
        assert other is None, "another policy is lower"
        assert is_lower(subject(loss), one_win, lam, well(loss, deeper), well(loss, -deeper))
        assert not is_lower(subject(loss), one_win, lam, well(loss, -deeper), well(loss, deeper))
    even = TwoWells(lam, 0.0)
    assert enclose_minimisers(subject(even), one_win, lam, well(even, 1.0), target=1e-4) is None, "two as low"


def excess_beyond(distance: float) -> Measure:
    """Violated where the optimum is farther from the reference than that, in 1-norm, and its bound."""

    def excess(optima: Any, bandit: ea.Bandit) -> np.ndarray:
        away = np.abs(optima.policies - bandit.reference).sum(axis=-1)
        return away - np.where(np.isfinite(optima.bound), optima.bound, 1e-7) - distance

    return Measure(excess)


def test_a_violation_is_certified_with_what_is_certain_of_it() -> None:
    case = Case(np.array([0.5, 0.5]), np.array([0.6, 0.4]), None, (1.0,))
    loss = ea.DiscoPOP(1.0)
    away = np.abs(ea.solve(loss, case.bandit).policy - 0.5).sum()
    certain, how = confirm(subject(loss), excess_beyond(0.1), case)
    assert how.startswith("certified by branch and bound") and 0.5 * (away - 0.1) <= certain <= away - 0.1
    assert confirm(subject(loss), excess_beyond(away + 1e-4), case)[1] == ""


def test_a_wrong_optimum_is_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the solver to return the loser, as it once did at small lambda, no claim could rest on it."""
    loss = ea.DiscoPOP(1.0)
    case = Case(np.array([0.5, 0.5]), np.array([0.6, 0.4]), None, (1.0,))
    assert confirm(subject(loss), excess_beyond(0.1), case)[1]
    solved = Subject.optima

    def losing(self: Subject, bandit: ea.Bandit, lams: Any) -> Any:
        optima = solved(self, bandit, lams)
        return type(optima)(
            optima.lams, optima.policies[..., ::-1], optima.log_policies[..., ::-1], optima.bound, optima.status
        )

    monkeypatch.setattr(Subject, "optima", losing)
    assert confirm(subject(loss), excess_beyond(0.1), case)[1] == ""


def test_two_lambdas_are_certified_together() -> None:
    found = monotone_path.judge(subject(ea.DiscoPOP(1.0)))
    assert found.decision == "fails" and found.basis == "proven"
    assert "branch and bound" in found.evidence["the counterexample's optimum"]
    first, second = found.counterexample.numbers["lam"]
    bandit = ea.Bandit(found.counterexample.numbers["reference"], found.counterexample.numbers["optimal"])
    apart = [
        abs(np.exp(lowest(ea.DiscoPOP(lam), bandit, 1 / lam)) - bandit.optimal).sum() / 2 for lam in (first, second)
    ]
    assert apart[0] - apart[1] >= found.counterexample.numbers["excess"] - 1e-6


def test_what_has_no_bounds_is_no_proof() -> None:
    """Neither an operation that is not known, nor code that raises, nor more responses than can be searched."""
    case = Case(np.array([0.5, 0.5]), np.array([0.6, 0.4]), None, (1.0,))
    excess, how = confirm(subject(Summed(1.0)), excess_beyond(0.01), case)
    assert excess > 0 and how.startswith("the lowest of many local searches")
    assert enclose_minimisers(subject(Broken(1.0, "raises at small lambda")), TWO, 1e-6, np.log([0.5, 0.5])) is None
    five = ea.Bandit([0.2] * 5, [0.2] * 5)
    assert enclose_minimisers(subject(ea.EXO(1.0)), five, 1.0, np.log(five.reference)) is None
    assert not is_lower(subject(Summed(1.0)), TWO, 1.0, np.log([0.5, 0.5]), np.log([0.01, 0.99]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exo", "discopop", "bco", "nca", "sppo", "apo_down", "alpha_po", "orpo", "cal_dpo"])
def test_no_policy_is_lower_than_the_solvers_at_any_lambda(name: str) -> None:
    """Of two responses at lambdas from 1e-4 to 1e3, plain and extreme policies: every optimum is certified."""
    rng = np.random.default_rng(3)
    for lam in 10.0 ** np.arange(-4, 4):
        for concentration in (1.0, 0.1):
            bandit = ea.Bandit(*(rng.dirichlet([concentration] * 2) * 0.999 + 5e-4 for _ in range(2)))
            solution = ea.solve(ea.objective(name, lam), bandit)
            if solution.status in ("optimal", "best_found"):
                search = Enclosure(ea.objective(name, lam), bandit, solution.log_policy)
                assert search.refine(1e-4), (lam, solution)


def test_improvement_is_refuted_with_proof_where_nothing_else_proves_optima() -> None:
    found = improvement.judge(subject(ea.SPPO(1.0)))
    assert (found.decision, found.basis) == ("fails", "proven")
    numbers = found.counterexample.numbers
    bandit = ea.Bandit(numbers["reference"], numbers["optimal"])
    pi = np.exp(lowest(ea.SPPO(numbers["lam"][0]), bandit, 1.0))
    apart = [float((p * np.log(p / bandit.optimal)).sum()) for p in (pi, bandit.reference)]
    assert apart[0] - apart[1] >= numbers["excess"] - 1e-6 > 0
