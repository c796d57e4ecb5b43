"""`Status` and `Certificate`: enums that are their strings wherever results go, and what each may stand beside."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

import expo_analysis as ea
from expo_analysis.optima.flat import Flat
from expo_analysis.optima.found import HIDDEN, judged
from expo_analysis.optima.solution import Certificate, Status

from . import problems

MEMBERS = [*Status, *Certificate]


def solutions() -> dict[str, Any]:
    """One of each status, and of each certificate that goes with it."""
    mild, separable = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1]), ea.Bandit.from_counts([0.4, 0.6], [[0, 3], [0, 0]])
    islands = np.zeros((3, 3))
    islands[0, 1], islands[1, 0] = 3, 1
    return {
        "optimal by a bound": ea.solve(ea.EXPO(1.0), mild),
        "optimal by conditions": ea.solve(ea.DPOP(1.0), mild),
        "best found": ea.solve(ea.ORPO(1.0), mild),
        "no minimiser by theorem": ea.solve(ea.DPO(1.0), separable),
        "no minimiser by search": ea.solve(ea.KTO(1.0), separable),
        "not unique by theorem": ea.solve(ea.DPO(1.0), ea.Bandit.from_counts([0.4, 0.4, 0.2], islands)),
        "not unique by conditions": ea.solve(ea.Hinge(1.0), separable),
        "failed": ea.solve(ea.SLiC(0.5), mild, method="multistart"),
    }


EXPECTED = {
    "optimal by a bound": (Status.OPTIMAL, Certificate.ERROR_BOUND),
    "optimal by conditions": (Status.OPTIMAL, Certificate.CONDITIONS),
    "best found": (Status.BEST_FOUND, Certificate.SEARCH),
    "no minimiser by theorem": (Status.NO_MINIMISER, Certificate.THEOREM),
    "no minimiser by search": (Status.NO_MINIMISER, Certificate.SEARCH),
    "not unique by theorem": (Status.NOT_UNIQUE, Certificate.THEOREM),
    "not unique by conditions": (Status.NOT_UNIQUE, Certificate.CONDITIONS),
    "failed": (Status.FAILED, Certificate.NONE),
}
SOLUTIONS = solutions()
each = pytest.mark.parametrize("name", SOLUTIONS)


@each
def test_what_is_said_and_what_it_rests_on(name: str) -> None:
    solution = SOLUTIONS[name]
    assert (solution.status, solution.certificate) == EXPECTED[name]
    assert isinstance(solution.status, Status) and isinstance(solution.certificate, Certificate)
    assert np.isfinite(solution.error_bound) == (solution.certificate == "error_bound" or "not unique by th" in name)
    assert np.isnan(solution.value) == (solution.status == "no_minimiser")


def test_every_status_and_every_certificate_occurs() -> None:
    assert {s for s, _ in EXPECTED.values()} == set(Status)
    assert {c for _, c in EXPECTED.values()} == set(Certificate)


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_a_member_is_its_string(member: Any) -> None:
    text = member.value
    assert member == text and text == member and not member != text  # noqa: SIM202
    assert hash(member) == hash(text) and {text: 1}[member] == 1
    assert f"{member}" == str(member) == text and member in {text} and text in {member}
    assert json.loads(json.dumps({"status": member})) == {"status": text}
    for other in (pickle.loads(pickle.dumps(member)), copy.deepcopy(member), type(member)(text)):
        assert other is member
    column = np.array([member, member], dtype=object)
    assert (column == text).all() and np.isin(column, [text]).all() and not np.isin(column, ["other"]).any()


@each
def test_solutions_keep_theirs_on_every_way(name: str) -> None:
    solution = SOLUTIONS[name]
    status, certificate = EXPECTED[name]
    again = pickle.loads(pickle.dumps(solution))
    assert (again.status, again.certificate) == (status, certificate)
    parsed = json.loads(json.dumps(solution.to_dict(), allow_nan=False))
    assert (parsed["status"], parsed["certificate"]) == (status.value, certificate.value)
    frame = solution.to_frame()
    assert (frame["status"] == status.value).all() and (frame["certificate"] == certificate.value).all()
    written = pd.read_csv(io.StringIO(frame.to_csv(index=False)), keep_default_na=False)
    assert (written["status"] == status.value).all() and (written["certificate"] == certificate.value).all()
    assert frame.groupby("status").size().loc[status.value] == len(frame)
    assert status.value in frame.to_string()


def test_paths_and_prompts_have_one_each() -> None:
    rng = np.random.default_rng(0)
    wins = np.stack([problems.strongly_connected_counts(rng, 3, 9), [[0, 2, 1], [0, 0, 1], [0, 0, 0]]])
    bandit = ea.Bandit.from_counts([problems.policy(rng, 3, 0.05) for _ in range(2)], wins)
    path = ea.solve_path(ea.DPO(1.0), bandit, [0.1, 1.0, 10.0])
    assert path.status.shape == path.certificate.shape == (3, 2)
    assert (path.status == [["optimal", "no_minimiser"]] * 3).all()
    assert (path.certificate == [["error_bound", "theorem"]] * 3).all()
    assert (path[1].status == path.status[1]).all() and (path[1].certificate == path.certificate[1]).all()
    frame = path.to_frame()
    assert frame["status"].value_counts().to_dict() == {"optimal": 9, "no_minimiser": 9}
    assert json.dumps(path[2].to_dict(), allow_nan=False)


def test_the_worst_of_the_pieces_is_said() -> None:
    """Two islands of which one ties: the hinge's open log-ratio there, and the masses, and no claim to a bound."""
    counts = np.zeros((4, 4))
    counts[0, 1], counts[1, 0], counts[2, 3], counts[3, 2] = 2, 1, 1, 1
    both = ea.solve(ea.Hinge(1.0), ea.Bandit.from_counts([0.25] * 4, counts))
    assert (both.status, both.certificate) == ("not_unique", "theorem")
    assert "components [0, 1], [2, 3]" in both.message and "between responses [2], [3]" in both.message
    # beside a theorem about masses, an island whose optimum is a search's is a search's
    exo = ea.solve(ea.EXO(1.0), ea.Bandit.from_counts([0.25] * 4, counts))
    assert exo.status in ("not_unique", "best_found") and np.isnan(exo.error_bound)


def test_what_is_found_stays_as_it_was_found() -> None:
    solution = ea.solve(ea.EXPO(1.0), ea.Bandit([0.4, 0.6], [0.6, 0.4]))
    path = ea.solve_path(ea.EXPO(1.0), ea.Bandit([0.4, 0.6], [0.6, 0.4]), [1.0])
    for found in (solution, path):
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.status = "optimal"  # type: ignore[misc]


def test_iterations_are_the_steps_that_were_taken() -> None:
    """At the minimiser itself: a step that shows it, and the last one, which carries the error bound."""
    same = [0.2, 0.3, 0.5]
    assert ea.solve(ea.EXPO(1.0), ea.Bandit(same, same)).iterations == 2
    assert ea.solve(ea.EXPO(1.0), ea.Bandit([0.4, 0.6], [0.6, 0.4])).iterations == 0


def test_each_piece_says_what_is_open_in_it() -> None:
    """Ties within both of two components, and no comparison between them."""
    counts = np.zeros((4, 4))
    counts[0, 1] = counts[1, 0] = counts[2, 3] = counts[3, 2] = 1
    message = ea.solve(ea.Hinge(1.0), ea.Bandit.from_counts([0.1, 0.2, 0.3, 0.4], counts)).message
    for part in ("components [0, 1], [2, 3]", "between responses [0], [1]", "between responses [2], [3]"):
        assert part in message


def test_what_is_put_together_of_pieces() -> None:
    """Masses times policies; errors weighed by masses; the worst status with what it rests on; messages in a row."""
    flat = Flat.empty(5, 4)
    assert (flat.log_policy == -np.inf).all() and np.isnan(flat.reward).all() and np.isnan(flat.value).all()
    at = np.array([1, 3])
    flat.begin(at, Status.OPTIMAL, "the minimiser")
    assert (flat.certificate[at] == Certificate.ERROR_BOUND).all() and flat.status[0] is None
    first = judged(np.log([[0.25, 0.5], [0.75, 0.5]]), np.array([1e-3, np.nan]), np.array([4, 9]))
    flat.put(at, np.array([0.4, 0.2]), np.array([[2, 0], [3, 1]]), first, whole=False)
    np.testing.assert_allclose(np.exp(flat.log_policy[1]), [0, 0, 0.1, 0.3], atol=1e-16)
    np.testing.assert_allclose(np.exp(flat.log_policy[3]), [0.1, 0.1, 0, 0], atol=1e-16)
    assert flat.iterations[at].tolist() == [4, 9] and flat.error_bound[1] == pytest.approx(4e-4, rel=1e-9)
    assert flat.error_bound[1] > 4e-4 and np.isnan(flat.error_bound[3])
    assert flat.status[at].tolist() == ["optimal", "best_found"]
    assert flat.certificate[at].tolist() == [Certificate.ERROR_BOUND, Certificate.CONDITIONS]
    assert flat.message[1] == "the minimiser" and flat.message[3] == HIDDEN
    second = judged(np.log([[0.5, 0.5], [0.5, 0.5]]), np.array([2e-3, 1e-3]), np.array([2, 11]))
    second.status[0], second.certificate[0], second.message[0] = Status.NOT_UNIQUE, Certificate.THEOREM, "many"
    flat.put(at, np.array([0.6, 0.8]), np.array([[0, 2], [1, 3]]), second, whole=False)
    np.testing.assert_allclose(np.exp(flat.log_policy[at]).sum(axis=1), 1.0)
    assert flat.iterations[at].tolist() == [4, 11]
    assert flat.status[at].tolist() == ["not_unique", "best_found"] and flat.certificate[1] == Certificate.THEOREM
    assert flat.error_bound[1] == pytest.approx(4e-4 + 1.2e-3, rel=1e-9) and flat.message[1] == "many"
    third = judged(np.zeros((1, 2)), np.array([0.0, 0.0]))
    third.message[:] = "and more"
    flat.put(at, np.array([1.0, 1.0]), np.array([[0, 0]]), third, whole=True)
    assert flat.message[1] == "many; and more" and flat.status[1] == "not_unique"
    assert np.isnan(flat.reward).all() and np.isnan(flat.value).all()
    flat.begin(at, Status.NO_MINIMISER, "none")
    assert (flat.certificate[at] == Certificate.THEOREM).all() and (flat.log_policy[at] == -np.inf).all()
    assert (flat.error_bound[at] == 0).all() and (flat.iterations[at] == 0).all()
    known = dataclasses.replace(third, reward=np.array([[3.0, 4.0]]), value=np.array([0.5, 0.25]))
    flat.put(at, np.array([1.0, 1.0]), np.array([[2, 1]]), known, whole=False)
    assert np.isnan(flat.reward).all() and np.isnan(flat.value).all() and (flat.status[at] == "no_minimiser").all()
    flat.put(at, np.array([1.0, 1.0]), np.array([[2, 1]]), known, whole=True)
    assert flat.reward[1, 2] == 3.0 and flat.reward[3, 1] == 4.0 and flat.value[at].tolist() == [0.5, 0.25]
    found = flat.verdicts((5,))
    assert set(found) == {"value", "status", "message", "error_bound", "iterations", "certificate"}
    assert found["value"].shape == (5,) and found["iterations"][0] == 0


def test_what_is_found_in_turns() -> None:
    """`judged`: proven, converged, or neither; `merged`: what another method found, where it was asked."""
    found = judged(
        np.zeros((2, 3)), np.array([1e-9, np.nan, np.nan]), np.array([1, 2, 3]), np.array([False, True, False])
    )
    assert found.status.tolist() == ["optimal", "best_found", "failed"]
    assert found.certificate.tolist() == [Certificate.ERROR_BOUND, Certificate.CONDITIONS, Certificate.NONE]
    assert found.message[0] == "" and found.message[1] == HIDDEN and "ran out" in found.message[2]
    assert not found.passed_on.any()
    other = judged(np.ones((2, 1)), np.array([0.5]), np.array([7]))
    both = found.merged(other, np.array([False, False, True]))
    assert both.log_policy.tolist() == [[0, 0, 1], [0, 0, 1]] and both.steps.tolist() == [1, 2, 7]
    assert (
        both.status.tolist() == ["optimal", "best_found", "optimal"]
        and both.bound[2] == 0.5
        and found.steps.tolist() == [1, 2, 3]
    )
    assert judged(np.zeros((2, 1)), np.array([np.nan])).status.tolist() == ["best_found"]
