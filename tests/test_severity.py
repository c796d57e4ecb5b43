"""The size of failures, against closed forms and by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.decide import decide
from expo_analysis.desiderata.falsify.problems import pi_star
from expo_analysis.desiderata.ordinary import COUNT, LAMS, measured, ordinary
from expo_analysis.desiderata.questions import JUDGES
from expo_analysis.desiderata.severity import SEVERITIES, severity
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import CANNOT_TELL, DESIDERATA, FAILS, Counterexample, Severity, Verdict

OLD = list(DESIDERATA)[:12]


def subject(objective):
    return Subject(objective, *written(objective), effort=0.1)


def of(key, objective, example=None):
    """The severity of a question that is not decided, or fails with a counterexample of these numbers."""
    if example is None:
        return severity(key, subject(objective), Verdict(key, CANNOT_TELL, "", ""))
    return severity(key, subject(objective), Verdict(key, FAILS, "", "", {}, Counterexample("", example, "")))


def tilted(reference, optimal, lam):
    """DPO's optimum, pi_ref pi*^(1/lam), in logarithms."""
    logs = np.log(reference) + np.log(optimal) / lam
    return logs - np.logaddexp.reduce(logs, axis=-1, keepdims=True)


def drawn(preserved=False):
    bandit, _ = ordinary(subject(ea.DPO(1.0)), preserved)
    assert len(bandit.reference) == COUNT
    log_policies = np.stack([tilted(bandit.reference, pi_star(bandit), lam) for lam in LAMS])
    return bandit.reference, pi_star(bandit), log_policies


def tv(policies, target):
    return np.abs(policies - target).sum(axis=-1) / 2


# ------------------------------------------------------------------------------------------------------------- Severity


def test_what_is_measured():
    size = np.array([[0.0, 1e-10, 0.2], [0.4, 0.6, np.nan]])
    found = measured("TV", size, worst=0.5)
    assert (found.share, found.typical, found.worst) == (3 / 5, 0.4, 0.6)
    assert measured("TV", size, worst=5.6).worst == 5.6
    assert measured("TV", size, least=0.3).share == 2 / 5
    nowhere = measured("TV", np.zeros(4), worst=2e-7)
    assert (nowhere.share, nowhere.typical, nowhere.worst) == (0.0, 0.0, 2e-7)
    assert math.isnan(measured("TV", np.full(3, np.nan)).share)


def test_a_speck_and_a_disaster_do_not_look_alike():
    assert str(measured("nats", np.zeros(4), worst=2e-7)) == "never on ordinary problems; 2e-07 at worst (nats)"
    assert str(measured("nats", np.full(4, 1.25), worst=5.6)) == "1.2 nats on 100% of ordinary problems, 5.6 at worst"
    assert str(Severity("", 0.57, 1.0, 1.0, "data sets")) == "on 57% of data sets"
    assert str(Severity("", 0.0, 0.0, 0.0, "data sets")) == "never on data sets"
    assert str(measured("TV", np.full(3, np.nan))) == "not to be measured on ordinary problems"


# ------------------------------------------------------------------------------------------ the twelve, by closed forms


def test_each_of_the_twelve_has_a_size():
    assert list(SEVERITIES) == [key for key in OLD if key in SEVERITIES] == OLD


def test_limits_are_measured_by_tv_from_where_they_should_lead():
    reference, optimal, logs = drawn()
    mode = np.eye(4)[optimal.argmax(axis=1)]
    for key, target in (("strong_interpolation", optimal), ("weak_interpolation", mode)):
        size = tv(np.exp(logs[0]), target)
        found = of(key, ea.DPO(1.0))
        assert found.share == np.mean(size > 0.01), key
        assert found.typical == pytest.approx(np.median(size[size > 0.01]), abs=1e-9), key
    far = tv(np.exp(tilted(reference, optimal, 100.0)), reference)
    assert of("reference_limit", ea.DPO(1.0)).worst == pytest.approx(far.max(), abs=1e-9)


def test_preservation_improvement_and_path():
    reference, optimal, logs = drawn()
    best = np.log(optimal)
    harm = ((np.exp(logs) * (logs - best)).sum(axis=-1)) - (reference * (np.log(reference) - best)).sum(axis=-1)
    found = of("improvement", ea.DPO(1.0))
    assert found.unit == "nats" and found.share == np.mean(harm > 1e-9)
    assert found.typical == pytest.approx(np.median(harm[harm > 1e-9]), abs=1e-9)
    distance = tv(np.exp(logs), optimal)
    falls = np.max([distance[i] - distance[j] for i in range(5) for j in range(i + 1, 5)], axis=0)
    found = of("monotone_path", ea.DPO(1.0))
    assert found.share == np.mean(falls > 1e-9) and found.worst == pytest.approx(falls.max(), abs=1e-9)
    _, optimal, logs = drawn(preserved=True)
    found = of("preservation", ea.DPO(1.0))
    assert found.share == 1.0 and found.typical == pytest.approx(np.median(tv(np.exp(logs), optimal)), abs=1e-9)


@pytest.mark.parametrize("key", ["preservation", "improvement", "monotone_path", "conservation", "first_step"])
def test_expo_fails_nowhere_on_ordinary_problems(key):
    found = of(key, ea.EXPO(1.0))
    assert found.share == 0.0 and not found.worst > 1e-9


def test_the_counterexample_counts_for_the_worst():
    """Far from ordinary: a reference that knows one response only, which pi* does not like, at lambda = 10."""
    reference, optimal = np.array([1 - 1e-6, 1e-6]), np.array([0.001, 0.999])
    example = {"reference": reference.tolist(), "optimal": optimal.tolist(), "pairs": "uniform", "lam": [10.0]}
    size = tv(np.exp(tilted(reference, optimal, 10.0)), optimal)
    usual = of("strong_interpolation", ea.DPO(1.0))
    found = of("strong_interpolation", ea.DPO(1.0), example)
    assert usual.worst < 0.9 < size == pytest.approx(found.worst, abs=1e-9)
    assert (found.share, found.typical) == (usual.share, usual.typical)
    small = {**example, "reference": [0.5, 0.5], "optimal": [0.51, 0.49]}
    assert of("strong_interpolation", ea.DPO(1.0), small).worst == usual.worst


def test_existence_counts_data_sets():
    """Of one to four comparisons of two responses there are 14 data sets; in 8 somebody wins all."""
    assert of("existence", ea.DPO(1.0)).share == 8 / 14
    assert of("existence", ea.EXPO(1.0)).share == 0.0


def test_open_masses_count_as_far_as_they_can_move():
    found = of("conservation", ea.DPO(1.0))
    assert found.share == 1.0 and 0.5 < found.typical < 1.0
    assert of("uniqueness", ea.DPO(1.0)).share == 0.5  # with two pairs only, of which the other half is made
    moved = of("conservation", ea.SPO(1.0))
    assert 0 < moved.typical < 0.2 and moved.share == 1.0


def test_consistency_by_a_large_sample():
    assert of("consistency", ea.EXPO(1.0)).share == 0.0


def test_regret_is_zero_for_rlhf_and_not_for_others():
    assert of("constraint_robustness", ea.RLHF(1.0)).share == 0.0
    found = of("constraint_robustness", ea.IPO(1.0))
    assert found.unit == "nats" and found.share > 0.9 and found.typical > 1e-3


# --------------------------------------------------------------------------------------------------------------- in use


@dataclass(frozen=True)
class Raises(ea.PairObjective):
    """A loss that cannot be evaluated."""

    name = "raises"

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        raise RuntimeError("no")


def test_a_loss_that_raises_has_no_severity_and_stops_nothing():
    assert all(of(key, Raises(1.0)) is None for key in OLD)


def test_decide_gives_failures_their_severity():
    found = decide("preservation", JUDGES["preservation"], subject(ea.DPO(1.0)), {})
    assert found.decision == FAILS and found.severity.share == 1.0 and found.severity.worst > 0.4
    assert decide("preservation", JUDGES["preservation"], subject(ea.EXPO(1.0)), {}).severity is None


def test_all_sizes_share_one_batch(monkeypatch):
    one, calls = subject(ea.DPO(1.0)), []
    solve = Subject.optima
    monkeypatch.setattr(
        Subject, "optima", lambda self, bandit, lams: calls.append(len(lams)) or solve(self, bandit, lams)
    )
    for key in ("strong_interpolation", "weak_interpolation", "improvement", "monotone_path"):
        severity(key, one, Verdict(key, CANNOT_TELL, "", ""))
    assert calls == [len(LAMS)]
