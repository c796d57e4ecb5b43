"""What theorems and suspicions read off numbers, where a little more or less decides: by hand and in closed form."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis.desiderata.code import written as expression
from expo_analysis.desiderata.rules import Known, limit_formula, no_optimum
from expo_analysis.desiderata.rules import shares as shared
from expo_analysis.desiderata.rules.examples import ONE_PAIR, TIED
from expo_analysis.desiderata.rules.formula import Formula
from expo_analysis.desiderata.rules.lambda_scores import prefers_a_loser_below
from expo_analysis.desiderata.rules.masses import open_reward
from expo_analysis.desiderata.rules.scores import UnitTerm
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.suspicion import soundness, statements
from expo_analysis.desiderata.suspicion.digits import FEW, TOO_MANY, UNIT, Digits
from expo_analysis.losses.data import Data
from expo_analysis.losses.statistics import log_u_l, log_u_w
from expo_analysis.terms import Atom

from .own_losses import own
from .planted.terms import written
from .test_soundness import DATUM

H, HBAR = terms.h, terms.hbar
LOGISTIC, SQUARE = terms.Logistic(), terms.Square()


def subject(objective: Any) -> Subject:
    return Subject(objective, *expression(objective), effort=0.1)


# --------------------------------------------------------------------------------------------- examples' own numbers


def test_problems_of_theorems_are_policies() -> None:
    """Whatever a theorem is shown on: probabilities that sum to one, and nothing that is decided by being equal."""
    for reference, optimal in limit_formula.PROBLEMS:
        for policy in (reference, optimal):
            assert (policy > 0).all() and policy.sum() == pytest.approx(1.0, abs=1e-12)
        assert reference.argmax() != optimal.argmax() or np.abs(reference - optimal).sum() > 0.1
    assert np.allclose(shared.OPTIMAL.sum(axis=1), 1.0) and (np.diff(shared.OPTIMAL, axis=1) < 0).all()
    for policy in shared.OPTIMAL:  # two of three win more often than they lose
        wins = policy[:, None] / (policy[:, None] + policy)
        assert ((wins.sum(axis=1) > wins.sum(axis=0)) == [True, True, False]).all()
    assert [sum(x) for x in TIED] == [1.0, 1.0] and TIED[1][0] == TIED[1][1]
    assert np.array_equal(ONE_PAIR, np.transpose(ONE_PAIR)) and np.sum(ONE_PAIR) == 2 and ONE_PAIR[0][1] == 1


@pytest.mark.parametrize("loss", [ea.KTO(1.0), ea.APOZero(1.0), ea.SimPER(1.0)], ids=lambda loss: loss.name)
def test_mass_leaves_the_mode_for_the_second_best_at_every_lambda(loss: Any) -> None:
    """Wherever the mode has more, exchanging the two lowers the risk, by the difference of their surplus wins times
    that of their terms: of any policy, not only of those that are shown, which come near the mode's vertex."""
    one = subject(loss)
    found = no_optimum._past_the_mode(one)
    assert found is not None
    numbers, rng = found.numbers, np.random.default_rng(0)
    shown = np.array(numbers["policies"])
    assert np.allclose(shown.sum(axis=1), 1.0) and (shown > 0).all() and (shown[:, 0] > shown[:, 1]).all()
    assert shown[-1, 0] > 1 - 1e-8 and len({tuple(x) for x in shown.tolist()}) == 12
    bandit = ea.Bandit(numbers["reference"], numbers["optimal"], numbers["pairs"])
    assert np.argmax(numbers["optimal"]) == 0 and bandit.pairs[0, 1] == pytest.approx(0.1 * bandit.pairs[1, 2])
    surplus = bandit.wins.sum(axis=1) - bandit.wins.sum(axis=0)
    assert 0 < surplus[0] < surplus[1] and sum(numbers["optimal"]) == sum(numbers["reference"]) == 1.0
    policies = np.maximum(rng.dirichlet(np.full(3, 0.3), 2000), 1e-9)
    policies = policies[policies[:, 0] > policies[:, 1] + 1e-3]
    for lam in (0.01, 1.0):
        with np.errstate(all="ignore"):
            before, after = (one.value(bandit, lam, np.log(x)) for x in (policies, policies[:, [1, 0, 2]]))
        assert (after < before).all()
    told = [ea.risk(one.at(numbers["lam"]), bandit, np.log(x)) for x in (shown, shown[:, [1, 0, 2]])]
    assert np.allclose(told, [numbers["values"], numbers["values with the two exchanged"]])


def test_both_rewards_are_fitted_and_have_the_optima_that_are_told() -> None:
    """The fit of a tie is any reward that is equal on both; RLHF's optimum is pi_ref exp(r/lam) up to a factor."""
    found = open_reward(Known(subject(ea.RLHF(1.0)), {}))
    assert found is not None
    numbers = found.numbers
    counts, lam = np.array(numbers["counts"], float), numbers["lam"]
    for rewards in numbers["rewards"]:
        share = 1 / (1 + np.exp(np.subtract.outer(rewards, rewards).T))
        slope = (counts * (1 - share)).sum(axis=1) - (counts * (1 - share)).sum(axis=0)
        assert slope == pytest.approx(np.zeros(3)), "no likelihood is higher"
    optima = [softmax(np.log(numbers["reference"]) + np.array(r) / lam) for r in numbers["rewards"]]
    room: dict[str, Any] = {}
    exec(found.code, room)
    assert np.allclose(room["policies"], optima, atol=1e-12)
    assert np.array_equal(room["counts"], numbers["counts"]) and room["lam"] == lam
    assert room["reference"] == numbers["reference"] and sum(numbers["reference"]) == 1.0


# ------------------------------------------------------------------------------------------------------------- scores


def term(slope: float, kink: float = 0.0) -> UnitTerm:
    """slope (x_w - x_l), and kink |x_l| of the loser's."""
    psi = terms.Stated(lambda m: slope * m + kink * abs(m))
    return UnitTerm(psi, 1.0, 1.0, -1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("slopes", "prefers"),
    [([-1.0], True), ([1.0], False), ([0.0], False), ([-1.0, -2.0], True), ([-1.0, 1.0], False), ([1.0, -1.0], False)],
)
def test_a_loser_is_preferred_below_at_all_data_or_not_at_all(slopes: list[float], prefers: bool) -> None:
    """(0, -e) is a margin e: a line down is lower there, at this datum and at the next."""
    formula: Any = SimpleNamespace(is_of_scores=True, unit=[[term(slope)] for slope in slopes])
    assert prefers_a_loser_below(formula) == prefers
    formula.unit = [[term(slope / 2), term(slope / 2)] for slope in slopes]
    assert prefers_a_loser_below(formula) == prefers
    formula.is_of_scores = False
    assert not prefers_a_loser_below(formula)


def test_a_loser_may_be_preferred_a_little_below_only() -> None:
    """Of a bowl around a margin of 0.1, 0.4 or 2: one of the three places that are tried is lower than 0."""
    for centre, prefers in ((0.006, True), (0.06, True), (0.6, True), (-0.1, False)):
        psi = terms.Stated(lambda m, c=centre: (m - c) ** 2)
        formula: Any = SimpleNamespace(is_of_scores=True, unit=[[UnitTerm(psi, 1.0, 1.0, -1.0, 0.0, 0.0)]])
        assert prefers_a_loser_below(formula) == prefers, centre


@pytest.mark.parametrize("strength", [0.3, 3.0])
def test_shares_of_what_reads_margins_too(strength: float) -> None:
    """The minimum over scores below 0 by another method, of a loss that is no sum of single responses'; pi is its
    slope at the top. And optima at a small lambda are there."""
    objective = own(
        lambda lam: SQUARE(lam * log_u_w - 1.0) + SQUARE(lam * log_u_l + 1.0) + strength * LOGISTIC(lam * HBAR)
    )
    for optimal in (np.array([0.5, 0.4, 0.1]), np.array([0.7, 0.2, 0.08, 0.02]), np.array([0.45, 0.35, 0.2])):
        n = len(optimal)
        wins = optimal[:, None] / (optimal[:, None] + optimal) * (1 - np.eye(n))

        def value(x: Any, w: Any = wins) -> float:
            margin = x[:, None] - x[None, :]
            each = (x[:, None] - 1) ** 2 + (x[None, :] + 1) ** 2 + strength * np.logaddexp(0, -margin)
            return float((w * each).sum())

        best = minimize(
            value, np.full(n, -0.2), method="SLSQP", bounds=[(None, 0.0)] * n, options={"ftol": 1e-15, "maxiter": 500}
        )
        step = 1e-6 * np.eye(n)
        slope = np.array([(value(best.x + s) - value(best.x - s)) / 2e-6 for s in step])
        top = best.x > -1e-4
        expected = np.where(top, slope, 0.0) / slope[top].sum()
        found = shared.shares(Formula(objective), optimal)
        assert found is not None and found == pytest.approx(expected, abs=1e-4)
        assert found.sum() == pytest.approx(1.0, abs=1e-12) and (found >= 0).all()


# ----------------------------------------------------------------------------------------------- digits and soundness


@pytest.mark.parametrize(
    ("lost", "right"), [(0.0, 15), (0.5, 15), (1.0, 15), (4.0, 15), (1e1, 14), (1e7, 8), (5e15, 0), (1e18, 0)]
)
def test_digits_that_are_left(lost: float, right: int) -> None:
    assert Digits(lost, False).right == right
    assert right in (0, 15) or 10.0 ** -(right + 1) <= UNIT * lost <= 10.0**-right


@pytest.mark.parametrize(
    ("lost", "verdicts", "told", "claims"),
    [
        (0.0, True, False, True),
        (FEW, True, False, True),
        (np.nextafter(FEW, 99), True, True, False),
        (TOO_MANY, True, True, False),
        (np.nextafter(TOO_MANY, 1e9), False, True, False),
    ],
)
def test_a_few_digits_cost_the_claims_and_many_all_verdicts(
    lost: float, verdicts: bool, told: bool, claims: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At one lambda only; what is lost at the others does not matter."""
    monkeypatch.setattr(soundness, "digits_of", lambda own: Digits(lost if own.lam == 10.0 else 0.0, False))
    monkeypatch.setattr(soundness, "wrong_slopes", lambda *given: None)
    asked: list[float] = []
    monkeypatch.setattr(soundness, "refuted_claims", lambda *given: asked.append(given[-1]) or [])
    for name in ("_broken", "arrays_refused", "numpy_differs", "misled"):
        monkeypatch.setattr(soundness, name, lambda *given: "")
    found = soundness.inspect(ea.DPO(1.0))
    assert (found.objective is not None) == verdicts and bool(found.remarks) == told, found.remarks
    assert (found.objective == ea.DPO(1.0)) == claims and asked == [lost] * claims
    if not verdicts:
        assert found.remarks[-1].endswith("too few for a verdict")


# --------------------------------------------------------------------------------------------------- what data read


@pytest.mark.parametrize(
    ("reads", "of", "false"),
    [
        (("ref_logp_w",), lambda datum: datum["ref_logp_w"], False),
        (("ref_logp_w", "ref_logp_l"), lambda datum: datum["ref_logp_w"] - 2 * datum["ref_logp_l"], False),
        (("ref_logp_w",), lambda datum: datum["ref_logp_w"] - datum["ref_logp_l"], True),
        (("logp_w",), lambda datum: datum["logp_w"], True),
        (("ref_logp_w", "logp_w"), lambda datum: datum["ref_logp_w"], True),
        (("ref_logp_w",), lambda datum: datum["ref_logp_w"] + 0.1 * ("logp_w" in datum), True),
    ],
)
def test_data_that_name_the_policy_are_refuted_even_if_they_do_not_read_it(
    reads: tuple[str, ...], of: Any, false: bool
) -> None:
    data = Data(of, frozenset(reads))
    found = statements.refuted_terms(written(1.0, lambda lam: LOGISTIC(0.5 * HBAR - data)), DATUM)
    assert bool(found) == false, found
    if false:
        assert f"read {', '.join(sorted(reads))}, of the reference alone" in found


@pytest.mark.parametrize(("bend", "up"), [(0.0, False), (1e-14, False), (1e-6, True), (1.0, True), (-1.0, False)])
def test_chords_tell_which_way_an_atom_bends(bend: float, up: bool) -> None:
    """(log pi)^2 bends up where log pi is a straight line, far out, by as much as is added to it."""

    class Bent(Atom):
        def value(self, logp: Any, ref_logp: Any) -> Any:
            return bend * logp**2

    assert statements._bends_up(Bent("w"), np.random.default_rng(0)) == up


def test_what_bends_up_by_a_part_of_its_size_is_rounding() -> None:
    """A billionth of the values at the ends of a chord, and no more."""
    for part, up in ((1e-15, False), (1e-12, True)):

        class Bent(Atom):
            def value(self, logp: Any, ref_logp: Any, p: float = part) -> Any:
                return 1e6 * (1 + p * logp**2)

        assert statements._bends_up(Bent("w"), np.random.default_rng(0)) == up
