"""The page's solver, in a JavaScript engine without a browser, against `ea.solve` and against the report card."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.explorer.counterexamples import read
from expo_analysis.explorer.losses_script import losses_script
from expo_analysis.explorer.page import BUILT
from expo_analysis.explorer.registry import registry

from .explorer_states import HARNESS, samples

quickjs = pytest.importorskip("quickjs", reason="quickjs is not installed: there is no JavaScript engine")

ENTRIES = registry().entries
PROVEN = tuple(entry for entry in ENTRIES if entry.loss.convex or entry.loss.scored or entry.loss.reward)
"""Losses whose optima the package proves."""


@cache
def engine() -> Any:
    context = quickjs.Context()
    context.set_max_stack_size(1 << 22)
    for text in ((BUILT / "engine.js").read_text(), losses_script(ENTRIES), HARNESS):
        context.eval(text)
    return context


def call(function: str, *given: Any) -> Any:
    """A JavaScript function of JSON values, which returns JSON."""
    text = ",".join(json.dumps(value) for value in given)
    return json.loads(engine().eval(f"JSON.stringify({function}({text}))"))


def optima(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(engine().eval(f"optima({json.dumps(states)})"))
    return found


def test_a_thousand_random_states_have_the_optima_of_solve() -> None:
    """To 1e-9, and to what the package itself can say where that is less."""
    compared = 0
    for entry in PROVEN:
        own = list(samples((entry,), 30, seed=compared + 1))
        for one, found in zip(own, optima([sample.state for sample in own]), strict=True):
            if one.status != "optimal":
                continue
            compared += 1
            bound = 0.0 if np.isnan(one.bound) else one.bound
            assert np.abs(one.policy - found["policy"]).max() <= 1e-9 + bound, (one.state, found)
            assert found["status"] == "minimum", (one.state, found)
    assert compared >= 1000


@pytest.mark.slow
def test_losses_that_are_not_convex_have_no_higher_minimum_than_solve_finds() -> None:
    others = tuple(entry for entry in ENTRIES if entry not in PROVEN)
    worse = total = 0
    for entry in others:
        own = list(samples((entry,), 10, seed=3))
        for one, found in zip(own, optima([sample.state for sample in own]), strict=True):
            if one.status not in ("optimal", "best_found"):
                continue
            total += 1
            worse += found["value"] > one.value + 1e-9 * (1 + abs(one.value))
    assert total > 100 and worse <= 0.01 * total


def counts(rng: np.random.Generator, n: int) -> np.ndarray:
    """Few comparisons, so that some responses never lose or are compared with nobody."""
    return rng.poisson(0.8, size=(n, n)) * (1 - np.eye(n, dtype=int))


@pytest.mark.parametrize("key", ["dpo", "ipo", "fdpo", "expo", "slic", "simpo", "conservative_dpo", "robust_dpo"])
def test_on_counts_it_says_where_there_is_no_minimiser(key: str) -> None:
    (entry,) = [entry for entry in ENTRIES if entry.key == key]
    rng = np.random.default_rng(11)
    said = {"optimal": "minimum", "no_minimiser": "no minimum", "not_unique": "not unique"}
    seen = set()
    for _ in range(40):
        n = int(rng.integers(2, 5))
        won = counts(rng, n)
        if not won.any():
            continue
        reference = rng.dirichlet([2.0] * n)
        lam = float(10 ** rng.uniform(-1, 1))
        solution = ea.solve(entry.objective.with_lam(lam), ea.Bandit.from_counts(reference, won))
        (found,) = optima([{"key": key, "ref": list(reference), "wins": won.tolist(), "lam": lam}])
        seen.add(str(solution.status))
        if key == "robust_dpo" and solution.status == "no_minimiser":
            assert found["status"] == "no minimum"  # of several directions in which it falls, either will do
            continue
        assert said[str(solution.status)] == found["status"] or str(solution.status) == "optimal", (won, solution)
        assert np.abs(solution.policy - found["policy"]).max() <= 1e-9 + np.nan_to_num(solution.error_bound), (
            reference, won, lam, solution, found,
        )  # fmt: skip
    assert len(seen) > 1 or key in ("expo", "slic")


# ------------------------------------------------------------------------------------------------------------ the story

ENDS = """
(key)=>{const step=engine.STORY.find((s)=>s.key===key),state={...engine.decode("",new Set()),...step.state};
const world=engine.worldOf(state),out={};
for(const name of state.losses){const solver=new engine.Solver(BY[name],world),path=engine.pathOf(solver,engine.COARSE);
out[name]={zero:path.zero.policy,infinity:path.infinity.policy,now:engine.policyOf(solver.at(state.lam)),
status:solver.at(state.lam).status,along:path.points.map((p)=>p.policy)};}
return {state,out}}
"""


def step(key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    found = call(f"({ENDS})", key)
    return found["state"], found["out"]


def tv(p: Any, q: Any) -> float:
    return float(np.abs(np.asarray(p) - q).sum() / 2)


def test_story_where_lambda_leads() -> None:
    for key in ("ends", "degenerate"):
        state, out = step(key)
        for name, found in out.items():
            assert tv(found["infinity"], state["reference"]) < 1e-6
            assert tv(found["zero"], state["optimal"] if name == "expo" else [1, 0, 0]) < 1e-6
    for name in ("dpo", "ipo", "fdpo"):
        assert sum(out[name]["now"][1:]) < 0.01
        away = [tv(p, state["optimal"]) for p in out[name]["along"]]
        assert min(away) < 0.5 * away[0] and min(away) < 0.5 * away[-1]  # a dip in between
    assert np.all(np.diff([tv(p, state["optimal"]) for p in out["expo"]["along"]]) > 0)


def test_story_preservation_and_improvement() -> None:
    state, out = step("preserve")
    assert max(tv(p, state["optimal"]) for p in out["expo"]["along"]) < 1e-9
    assert all(tv(out[name]["now"], state["optimal"]) > 0.04 for name in ("dpo", "ipo", "fdpo"))
    state, out = step("harm")
    own = tv(state["reference"], state["optimal"])
    assert tv(out["rlhf"]["now"], state["optimal"]) > own and tv(out["dpo"]["now"], state["optimal"]) > own
    assert tv(out["expo"]["now"], state["optimal"]) < own


TRAINED = """
(key,name)=>{const step=engine.STORY.find((s)=>s.key===key),state={...engine.decode("",new Set()),...step.state};
const world=engine.worldOf(state),moments=engine.train(BY[name],world,state.lam);
return [moments[0],moments[moments.length-1]].map((m)=>engine.chosenAndRejected(world,m.logp))}
"""


def test_story_chosen_answers_that_become_less_likely() -> None:
    (chosen, rejected), (chosen_after, rejected_after) = call(f"({TRAINED})", "displace", "dpo")
    assert chosen_after < chosen - 0.5 and rejected_after < rejected - 0.5
    (chosen, _), (chosen_after, _) = call(f"({TRAINED})", "displace", "expo")
    assert chosen_after > chosen


def test_story_pairs_divergences_and_counts() -> None:
    state, uneven = step("pairs")
    even = {}
    for name in ("dpo", "ipo", "expo"):
        (found,) = optima([
            {"key": name, "ref": state["reference"], "opt": state["optimal"], "pairs": [1, 1, 1], "lam": state["lam"]}
        ])  # fmt: skip
        even[name] = tv(found["policy"], uneven[name]["now"])
    assert even["dpo"] < 1e-9 < 0.01 < even["ipo"] < even["expo"]
    assert tv(uneven["expo"]["zero"], state["optimal"]) < 1e-5
    state, out = step("divergence")
    for found in out.values():
        assert tv(found["zero"], state["optimal"]) < 1e-6 and tv(found["infinity"], state["reference"]) < 1e-6
    assert all(tv(out["expo"]["now"], out[name]["now"]) > 0.05 for name in out if name != "expo")
    _, out = step("noise")
    assert {name: found["status"] for name, found in out.items()} == {
        "dpo": "no minimum", "ipo": "minimum", "fdpo": "no minimum", "expo": "minimum",
    }  # fmt: skip


# --------------------------------------------------------------------------------------------------- counterexamples

PACKED = read()
CASES = [(loss, key) for loss, own in PACKED["cases"].items() for key in own]
DRAWN = [(loss, key) for loss, key in CASES if isinstance(PACKED["cases"][loss][key][1], int)]

AT = """
(loss,problem,lams)=>{const world=problem.wins?engine.ofCounts(problem.ref,problem.wins):engine.population(problem.ref,
problem.opt,problem.pairs||Array(problem.ref.length*(problem.ref.length-1)/2).fill(1),problem.flips||0);
const solver=new engine.Solver(BY[loss],world);
return lams.map((lam)=>{const found=solver.at(lam);
return {policy:engine.policyOf(found),status:found.status,value:found.value}})}
"""


def shown(loss: str, key: str, lams: list[float] | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    _, where, lam, *_ = PACKED["cases"][loss][key]
    problem = PACKED["problems"][where]
    return problem, call(f"({AT})", loss, problem, lams or [lam])


def kl(p: Any, q: Any) -> float:
    p = np.asarray(p)
    return float(np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / q), 0.0)))


def _limit(loss: str, key: str) -> bool:
    problem, (found,) = shown(loss, key, [1e4 if key == "reference_limit" else 1e-8])
    goal = problem["ref"] if key == "reference_limit" else problem["opt"]
    if key == "weak_interpolation":
        goal = np.eye(len(goal))[int(np.argmax(goal))]
    return tv(found["policy"], goal) > 1e-3


def _preservation(loss: str, key: str) -> bool:
    problem, (found,) = shown(loss, key)
    return tv(found["policy"], problem["opt"]) > 1e-4


def _improvement(loss: str, key: str) -> bool:
    problem, (found,) = shown(loss, key)
    return kl(found["policy"], problem["opt"]) > kl(problem["ref"], problem["opt"])


def _monotone(loss: str, key: str) -> bool:
    """Somewhere along lambda the optimum comes closer as lambda grows."""
    problem, path = shown(loss, key, _around(problem_lam(loss, key)))
    away = [tv(found["policy"], problem["opt"]) for found in path]
    return bool(np.diff(away).min() < -1e-6)


def problem_lam(loss: str, key: str) -> float:
    return float(PACKED["cases"][loss][key][2])


def _around(lam: float) -> list[float]:
    """From the case's lambda on, as it names the lower one of two, and all the rest more coarsely."""
    return sorted([*np.geomspace(lam, 10 * lam, 21), *np.logspace(-4, 4, 17)])


def _existence(loss: str, key: str) -> bool:
    _, (found,) = shown(loss, key)
    return found["status"] != "minimum"


def _marked(loss: str, key: str) -> bool:
    """The page's optimum is one of the policies that the report names, or has their value."""
    marks = PACKED["cases"][loss][key][3]
    _, (found,) = shown(loss, key)
    return min(tv(found["policy"], mark) for mark in marks) < 1e-5


JUDGED: dict[str, Callable[[str, str], bool]] = {
    **dict.fromkeys(["strong_interpolation", "weak_interpolation", "reference_limit"], _limit),
    "preservation": _preservation,
    "improvement": _improvement,
    "monotone_path": _monotone,
    "existence": _existence,
    "calibration": _marked,
    "pair_dependence": _marked,
}


def test_the_card_has_counterexamples_of_every_kind_and_says_what_is_not_drawn() -> None:
    assert len(CASES) > 500 and set(JUDGED) <= {key for _, key in CASES}
    for loss, key in set(CASES) - set(DRAWN):
        why = PACKED["cases"][loss][key][1]
        assert isinstance(why, str) and len(why) > 20
    assert {loss for loss, _ in CASES} <= {entry.key for entry in ENTRIES} | {"aot"}


@pytest.mark.parametrize("key", JUDGED)
def test_counterexamples_show_what_they_say(key: str) -> None:
    """Of losses whose optima are proven: all of them; in the limit of large lambda others fail, too."""
    proven = {entry.key for entry in (ENTRIES if key == "reference_limit" else PROVEN)}
    losses = [loss for loss, own in DRAWN if own == key and loss in proven]
    assert losses
    not_shown = [loss for loss in losses if not JUDGED[key](loss, key)]
    assert not not_shown
