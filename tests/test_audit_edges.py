"""What reports are made of: counterexamples that accuse the guilty alone, numbers that can be computed again, and the
order, time and words of an audit."""

from __future__ import annotations

import importlib
import io
import math
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis import tasks, terms
from expo_analysis.desiderata.audit import OWN_LIMIT, PREMISES, chosen, in_order, is_own, late, limit_of
from expo_analysis.desiderata.code import _same, audit_call, written
from expo_analysis.desiderata.questions import JUDGES
from expo_analysis.desiderata.report.layout import weight
from expo_analysis.desiderata.rules import RULES, Conclusion, Known, examples, existence
from expo_analysis.desiderata.rules.wells import two_wells
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import (
    CANNOT_TELL,
    DESIDERATA,
    FAILS,
    HOLDS,
    Counterexample,
    Severity,
    Verdict,
)

from .own_losses import own
from .test_rules_cells import cells
from .test_rules_minimisers_cells import CELLS, KEYS

audit_module = importlib.import_module("expo_analysis.desiderata.audit")  # whose name in the package is the function


def subject(objective: Any, effort: float = 0.1) -> Subject:
    return Subject(objective, *written(objective), effort=effort)


def run(code: str) -> str:
    """What a program prints."""
    out = io.StringIO()
    with redirect_stdout(out), np.errstate(all="ignore"):
        exec(compile(code, "counterexample", "exec"), {"__name__": "counterexample"})
    return out.getvalue()


SAMPLE = (
    *(
        "dpo",
        "ipo",
        "hinge",
        "rlhf",
        "bco",
        "sppo",
        "nca",
        "orpo",
        "sft",
        "cal_dpo",
        "rpo",
        "kto",
        "simper",
        "apo_down",
    ),
    *("discopop", "spo", "pro", "dpop", "alpha_po", "slic", "regression_expo", "qrpo"),
)


@cache
def conclusions() -> dict[tuple[str, str, str], tuple[Subject, Conclusion]]:
    """What every rule says by itself, also where another one comes first."""
    found: dict[tuple[str, str, str], tuple[Subject, Conclusion]] = {}
    for name in SAMPLE:
        one = subject(ea.objective(name, 1.0))
        known = Known(one, {})
        for rule in RULES:
            if rule.name in ("two_wells", "near_the_infimum_all_at_once"):  # which search for a second each
                continue
            with suppress(Exception):
                conclusion = rule.conclude(known)
                if conclusion is not None:
                    found[rule.name, rule.about, name] = one, conclusion
    return found


@cache
def proofs() -> dict[tuple[str, str, str], tuple[Subject, Counterexample]]:
    """The counterexamples that rules make by themselves, of at most two losses for each rule and question."""
    found: dict[tuple[str, str, str], tuple[Subject, Counterexample]] = {}
    for key, (one, conclusion) in conclusions().items():
        if conclusion.counterexample is not None and sum(other[:2] == key[:2] for other in found) < 2:
            found[key] = one, conclusion.counterexample
    return found


def test_no_rule_contradicts_a_cell_also_where_another_comes_first() -> None:
    """Each of the rules by itself; where a question does not arise an answer to it is none."""
    signs = {"+": HOLDS, "-": FAILS}
    said = 0
    for (rule, about, name), (_, conclusion) in conclusions().items():
        table = {**cells(name), **dict(zip(KEYS, map(signs.get, CELLS[name]), strict=True))}
        if table.get(about) in (HOLDS, FAILS):
            said += 1
            assert conclusion.decision == table[about], (name, rule, about)
    assert said > 120


def test_paths_that_do_not_fall_prove_nothing() -> None:
    """A value that is no number, one step up, or a level stretch: then there is no example."""
    one = subject(ea.SFT(1.0))
    bandit = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    population = ea.Bandit([0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    down = np.array([[0.3, 0.4, 0.3], [0.4, 0.4, 0.2], [0.5, 0.4, 0.1]])
    for policies, falls in (
        (down, True),
        (down[::-1], False),
        (down[[0, 2, 1]], False),
        (down[[0, 0, 1]], False),
        (np.array([[0.3, 0.4, 0.3], [0.0, 0.4, 0.6]]), False),
    ):
        with np.errstate(divide="ignore"):
            found = existence._shown(one, bandit, [0.4, 0.4, 0.2], 1.0, policies, "it falls")
        assert (found is not None) == falls
        even = policies.copy()
        even[:, :2] = policies[:, :1] / 2 + policies[:, 1:2] / 2
        with np.errstate(divide="ignore"):
            both = examples.falling(one, population, 1.0, even, "it falls")
        assert (both is not None) == (falls and (np.diff(even[:, 0]) > 0).all())


def test_rules_say_something_of_each_loss_that_they_are_about() -> None:
    """Losers pushed down (NCA, Cal-DPO, SPPO), and winners up (SFT, PRO): mass of those whom nobody judged goes."""
    said = {key: example for key, (_, example) in proofs().items() if key[0] == "the_unseen_takes_the_mass"}
    every = {name for rule, _, name in conclusions() if rule == "the_unseen_takes_the_mass"}
    assert len(every) >= 2 and said
    for loss, words in ((ea.NCA(1.0), "goes from the loser to a response"), (ea.SFT(1.0), "goes to the winner from")):
        (rule,) = (x for x in RULES if x.name == "the_unseen_takes_the_mass")
        found = rule.conclude(Known(subject(loss), {}))
        assert found is not None and found.counterexample is not None and words in found.counterexample.statement
        policies, values = (np.array(found.counterexample.numbers[name]) for name in ("policies", "values"))
        assert np.allclose(policies.sum(axis=1), 1.0) and (policies > 0).all() and (np.diff(values) < 0).all()
        moved = policies[-1] - policies[0]
        assert abs(moved[0 if "loser" in words else 1]) < 1e-12, "the other one of the pair keeps its own"


BY_RULE = (
    *("scores_know_no_lambda", "limit_is_lower_elsewhere", "no_optimum_on_any_population", "one_win_asks_for_more"),
    *("the_unseen_takes_the_mass", "no_stationary_policy", "the_reward_is_fitted", "one_number_leaves_masses_open"),
    *("two_unseen_share_what_is_left", "all_together_up_or_down", "a_minimum_elsewhere", "a_fitted_reward_is_open"),
)


@pytest.mark.parametrize("rule", BY_RULE)
def test_proofs_run_and_accuse_no_innocent(rule: str) -> None:
    """Each program runs for its loss; and for one that meets what is asked, its assertion fails."""
    mine = {key: value for key, value in proofs().items() if key[0] == rule}
    assert mine, "this rule made no counterexample"
    for (_, about, name), (one, example) in mine.items():
        assert run(example.code), (about, name)
        if about == "weak_interpolation" or name == "rlhf":
            continue  # which EXPO does not meet, or it is about the reward's likelihood
        turned = example.code.replace(one.expression, "ea.EXPO(lam)")
        assert turned != example.code
        with pytest.raises((AssertionError, ValueError)):
            run(turned)


def test_the_numbers_of_proofs_can_be_computed_again() -> None:
    """By `ea.risk` at the policies that are told, at the lambda that is told, on the problem that is told."""
    checked = 0
    for key, (one, example) in proofs().items():
        numbers = example.numbers
        for name in ("reference", "optimal", "policy"):
            assert np.sum(numbers.get(name, 1.0)) == pytest.approx(1.0), (key, name)
        if {"policies", "values", "lam", "optimal"} <= set(numbers):
            bandit = ea.Bandit(numbers["reference"], numbers["optimal"], np.array(numbers["pairs"]))
            logs = np.log(numbers["policies"])
        elif {"policies", "values", "lam", "counts"} <= set(numbers):
            rewards = -np.arange(len(numbers["reference"])) if "reward" in example.code else None
            bandit = ea.Bandit.from_counts(numbers["reference"], numbers["counts"], rewards=rewards)
            logs = np.log(numbers["policies"])
        elif {"log-ratio added", "values", "lam", "counts"} <= set(numbers):
            bandit = ea.Bandit.from_counts(numbers["reference"], numbers["counts"])
            theta = np.log(numbers["reference"]) + np.outer(numbers["log-ratio added"], [1.0, 0.0])
            logs = torch.tensor(theta).log_softmax(-1).numpy()
        else:
            continue
        values = ea.risk(ea.BradleyTerry(1.0) if key[2] == "rlhf" else one.at(numbers["lam"]), bandit, logs)
        assert np.allclose(values, numbers["values"], rtol=1e-9, atol=1e-12), key
        assert key[2] == "rlhf" or f"λ = {numbers['lam']:g}" in example.statement
        checked += 1
    assert checked >= 10


def test_proofs_say_in_words_what_their_numbers_are() -> None:
    """Gaps of values, masses and policies in statements are those of the numbers."""
    seen = set()
    for (rule, about, name), (one, example) in proofs().items():
        numbers, told = example.numbers, example.statement
        if rule in ("scores_know_no_lambda", "limit_is_lower_elsewhere"):
            gap = numbers["values"][-1][1] - numbers["values"][-1][0]
            assert gap > 0 and f"by {gap:.3g} at λ = {numbers['lam'][-1]:g}" in told, (rule, name)
        elif rule == "a_minimum_elsewhere":
            before, after = sum(numbers["reference"][:2]), sum(numbers["policy"][:2])
            assert (numbers["mass before"], numbers["mass after"]) == pytest.approx((before, after))
            assert f"from a mass of {before:g} to {after:.6g}" in told and sum(numbers["policy"]) == pytest.approx(1.0)
            bandit = ea.Bandit(numbers["reference"], numbers["optimal"], np.array(numbers["pairs"]))
            share = np.linspace(0.0, 1.0, 4001)[1:-1]
            keeping = np.stack([before * share, before * (1 - share), 1 - before + 0 * share], axis=1)
            kept = ea.risk(one.at(numbers["lam"]), bandit, np.log(keeping)).min()
            assert numbers["value"] < kept
            assert numbers["lowest value with the masses kept"] == pytest.approx(kept, rel=1e-4)
            assert numbers["value"] == pytest.approx(ea.risk(one.at(numbers["lam"]), bandit, np.log(numbers["policy"])))
        elif about == "weak_interpolation" and rule == "no_optimum_on_any_population":
            scope: dict[str, Any] = {}
            with redirect_stdout(io.StringIO()):
                exec(example.code, scope)
            assert np.allclose(scope["before"].numpy(), numbers["values"])
            assert np.allclose(scope["after"].numpy(), numbers["values with the two exchanged"])
            assert f"{scope['before'][-1]:.6g}, and {scope['after'][-1]:.6g} where" in told
        else:
            continue
        seen.add(rule)
    assert len(seen) == 4


def test_two_wells_are_told_as_they_are() -> None:
    found = two_wells(subject(ea.SPPO(1.0)))
    assert found is not None
    (p, q), (r, s) = found.numbers["optimal"], found.numbers["reference"]
    first, second = (x[0] for x in found.numbers["policies"])
    assert f"π* = ({p:.6g}, {q:.6g}) and π_ref = ({r:g}, {s:g})" in found.statement and p + q == pytest.approx(1.0)
    assert f"π_1 = {first:.6g} and {second:.6g}" in found.statement
    assert f"with the value {found.numbers['values'][0]:.9g}"[:24] in found.statement


JUDGED = {
    "first_step": "dpo",
    "preservation": "dpo",
    "improvement": "ipo",
    "existence": "dpo",
    "uniqueness": "ipo",
    "conservation": "dpo",
    "strong_interpolation": "ipo",
    "displacement": "dpo",
    "local_minima": "discopop",
    "gradient_weight": "ipo",
    "restricted_improvement": "dpo",
    "constraint_robustness": "ipo",
}
INNOCENT = {"restricted_improvement": "ea.RLHF(lam)", "constraint_robustness": "ea.RLHF(lam)"}


@pytest.mark.parametrize("key", JUDGED)
def test_judges_accuse_no_innocent(key: str) -> None:
    """The same of what searches find."""
    one = subject(ea.objective(JUDGED[key], 1.0))
    found = JUDGES[key](one)
    assert found.decision == FAILS and found.counterexample is not None
    assert run(found.counterexample.code)
    with pytest.raises(AssertionError):
        run(found.counterexample.code.replace(one.expression, INNOCENT.get(key, "ea.EXPO(lam)")))


def test_examples_tell_the_policies_that_the_solver_finds() -> None:
    """Distances, excess and masses of the counterexamples, computed from their problem again."""
    dpo = subject(ea.DPO(1.0))
    found = JUDGES["preservation"](dpo).counterexample
    assert found is not None
    numbers = found.numbers
    bandit = ea.Bandit(numbers["reference"], numbers["optimal"])
    (lam,) = numbers["lam"]
    away = np.abs(ea.solve(ea.DPO(lam), bandit).policy - numbers["optimal"]).sum()
    assert numbers["excess"] == pytest.approx(away, abs=1e-6) and f"{numbers['excess']:.3g}" in found.statement
    moved = JUDGES["conservation"](subject(ea.SPO(1.0))).counterexample
    assert moved is not None
    pairs, components = np.array(moved.numbers["pairs"]), np.array(moved.numbers["components"])
    bandit = ea.Bandit(moved.numbers["reference"], moved.numbers["optimal"], pairs)
    policy = ea.solve(ea.SPO(moved.numbers["lam"]), bandit).policy
    after = [policy[components == c].sum() for c in np.unique(components)]
    assert after == pytest.approx(moved.numbers["masses after"], abs=1e-6)
    before = [np.array(moved.numbers["reference"])[components == c].sum() for c in np.unique(components)]
    assert before == pytest.approx(moved.numbers["masses before"])
    lost = JUDGES["restricted_improvement"](dpo).counterexample
    assert lost is not None
    given = lost.numbers
    uniform = isinstance(given["pairs"], str)
    bandit = ea.Bandit(given["reference"], given["optimal"], "uniform" if uniform else np.array(given["pairs"]))
    policy = ea.solve(ea.DPO(given["lam"]), bandit, features=given["features"]).policy
    assert policy == pytest.approx(given["policy"], abs=1e-6)
    assert given["E[r*] lost (nats)"] == pytest.approx((bandit.reference - policy) @ np.log(given["optimal"]), abs=1e-6)


# ------------------------------------------------------------------------------------------------------ order and time


def test_judges_say_in_words_what_their_numbers_are() -> None:
    noise = JUDGES["label_noise"](subject(ea.EXPO(1.0))).counterexample
    assert noise is not None and noise.numbers["harm"] > 0
    assert f"{noise.numbers['harm']:.3g} nats farther from π* than π_ref is" in noise.statement
    assert f"{noise.numbers['gain']:.3g} nats nearer" in noise.statement
    wrong = JUDGES["calibration"](subject(ea.EXPO(1.0))).counterexample
    assert wrong is not None
    assert f"off by {wrong.numbers['expected calibration error']:.3g} on average" in wrong.statement
    apart = JUDGES["pair_dependence"](subject(ea.EXPO(1.0))).counterexample
    assert apart is not None and f"optima {apart.numbers['TV']:.3g} apart in TV" in apart.statement
    tv = np.abs(np.subtract(*apart.numbers["policies"])).sum() / 2
    assert tv == pytest.approx(apart.numbers["TV"], abs=1e-9)
    fall = JUDGES["displacement"](subject(ea.DPO(1.0))).counterexample
    assert fall is not None
    pair, policy = fall.numbers["pair"], fall.numbers["policy"]
    lost = [np.log(fall.numbers["reference"][k] / policy[k]) for k in pair]
    assert min(lost) == pytest.approx(fall.numbers["both fall by (nats)"], abs=1e-9) and min(lost) > 0.01
    assert str([round(policy[k], 4) for k in pair]) in fall.statement


def test_what_is_asked_and_in_which_order() -> None:
    assert chosen(None) == tuple(DESIDERATA) and chosen("existence") == ("existence",)
    assert chosen(["existence", "reference_limit"]) == ("reference_limit", "existence"), "in the order of the card"
    for bad in ([], "no such thing", ["existence", "no such thing"]):
        with pytest.raises(ValueError, match="only must name desiderata"):
            chosen(bad)
    order = in_order(sorted(DESIDERATA, key=late))
    assert sorted(order) == sorted(DESIDERATA) and order[0] == "first_step"
    for key, premises in PREMISES.items():
        assert all(order.index(premise) < order.index(key) for premise in premises)
    assert [late(key) for key in ("first_step", "existence", "improvement", "monotone_path")] == [-1, 0, 1, 3]


class Mine(ea.DPO):
    """A class of somebody's own."""


def test_who_is_somebodys_own_and_for_how_long() -> None:
    assert not is_own(ea.DPO(1.0)) and is_own(Mine(1.0)) and is_own(own(lambda lam: terms.Logistic()(lam * terms.hbar)))
    assert is_own(ea.QPO(1.0, psi=lambda m, lam: -m, mu=torch.log))
    assert limit_of(ea.DPO(1.0), 1.0, None) == math.inf and limit_of(Mine(1.0), 1.0, None) == OWN_LIMIT == 30.0
    assert limit_of(Mine(1.0), 0.1, None) == 30.0 and limit_of(Mine(1.0), 3.0, None) == 90.0
    assert limit_of(ea.DPO(1.0), 1.0, 7) == 7.0
    with pytest.raises(ValueError, match="time_limit must be a positive"):
        limit_of(ea.DPO(1.0), 1.0, 0.0)
    for bad in ({"effort": 0.0}, {"effort": -1.0}, {"seed": -1}, {"seed": 0.5}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
            ea.audit(ea.DPO(1.0), **bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="objective must be an Objective"):
        ea.audit("dpo")  # type: ignore[arg-type]


def judge_of(key: str, seen: list[Any], decision: Any = HOLDS) -> Any:
    def judge(one: Subject) -> Verdict:
        seen.append(key)
        return Verdict(key, decision, key, "c")

    return judge


def test_an_audit_asks_premises_unseen_and_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    told: list[tuple[float, str]] = []
    monkeypatch.setattr(audit_module, "JUDGES", {key: judge_of(key, seen) for key in DESIDERATA})
    monkeypatch.setattr(audit_module, "decide", lambda key, judge, one, verdicts: judge(one))
    monkeypatch.setattr(audit_module, "reconsidered", lambda one, verdicts: dict(verdicts))

    def progress(fraction: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        told.append((fraction / total, what))

    card = ea.audit(ea.DPO(1.0), only="improvement", progress=progress, effort=0.5, seed=3)
    assert seen == ["first_step", "preservation", "improvement"] and list(card.verdicts) == ["improvement"]
    assert [round(x, 3) for x, _ in told] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [what for _, what in told][1:4] == [DESIDERATA[key].title for key in seen]
    assert card.made is not None and (card.made.effort, card.made.seed) == (0.5, 3) and card.seconds >= 0
    assert len(card.path) == 81 and card.path["lam"].iloc[0] == pytest.approx(1e-4)
    assert card.path["lam"].iloc[-1] == pytest.approx(1e4) and list(card.path) == ["lam", "y1", "y2", "y3"]
    assert np.allclose(card.path[["y1", "y2", "y3"]].sum(axis=1), 1.0)


def test_what_speaks_of_others_is_asked_again_when_these_are_decided_later(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(audit_module, "JUDGES", {key: judge_of(key, seen, CANNOT_TELL) for key in DESIDERATA})
    monkeypatch.setattr(audit_module, "decide", lambda key, judge, one, verdicts: judge(one))

    def later(one: Subject, verdicts: dict[str, Verdict]) -> dict[str, Verdict]:
        return {**verdicts, "strong_interpolation": Verdict("strong_interpolation", HOLDS, "s", "c")}

    monkeypatch.setattr(audit_module, "reconsidered", later)
    card = ea.audit(ea.DPO(1.0), only=["small_lambda", "weak_interpolation"])
    assert seen.count("small_lambda") == 2 and seen.count("weak_interpolation") == 2 and len(seen) == 5
    assert list(card.verdicts) == ["weak_interpolation", "small_lambda"]


class Channel(list):  # type: ignore[type-arg]
    """What is told to another process."""

    put = list.append


def test_what_a_process_tells_and_what_becomes_of_it_where_an_audit_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = importlib.import_module("expo_analysis.desiderata.processes")
    settings = {"effort": 1.0, "seed": 0, "only": ("existence",), "time_limit": None}

    def audits(objective: Any, *, name: str, progress: Any, **given: Any) -> Any:
        progress(0.25, what="a question")
        progress(3.0, 4.0, what="another")
        raise RuntimeError("no more")

    monkeypatch.setattr(processes, "audit", audits)
    channel = Channel()
    answer = tasks._call(processes._guarded, ("mine", ea.DPO(1.0), settings), "mine", channel)
    card = answer.value
    assert channel == [("mine", "a question", 0.25), ("mine", "another", 0.75)]
    assert card.seconds == 0 and "no more" in card.remarks[0] and list(card.verdicts) == ["existence"]


@pytest.mark.parametrize(
    ("names", "workers", "here"),
    [(("dpo",), 2, 1), (("dpo", "ipo"), 2, 0), (("dpo", "ipo"), 1, 2), (("mine",), 2, 0), (("mine", "dpo"), 1, 1)],
)
def test_who_is_audited_where(names: Any, workers: int, here: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own losses here where one is alone or works alone; others in processes of theirs."""
    processes = importlib.import_module("expo_analysis.desiderata.processes")
    made = {name: Mine(1.0) if name == "mine" else ea.objective(name, 1.0) for name in names}
    done: dict[str, list[str]] = {"here": [], "there": []}

    def card(name: str) -> Any:
        return audit_module.unjudged(name, None, ["stub"], 0.0)

    def guarded(name: str, objective: Any, settings: Any, progress: Any) -> Any:
        done["here"].append(name)
        return card(name)

    def away(losses: Any, settings: Any, **given: Any) -> Any:
        done["there"] += list(losses)
        assert given["workers"] == min(workers, len(losses)) and given["executor"] is given["keep"] is None
        return {name: card(name) for name in losses}

    monkeypatch.setattr(processes, "_guarded", guarded)
    monkeypatch.setattr(processes, "_in_processes", away)
    cards = ea.audit_many({**made, "broken": ValueError("it is broken")}, workers=workers)
    assert len(done["here"]) == here and len(done["there"]) == len(names) - here
    assert list(cards) == [*names, "broken"] and cards["broken"].seconds == 0
    assert "it is broken" in cards["broken"].remarks[0] and all(c.made is not None for c in cards.values())


def test_what_cannot_be_compared_is_not_the_same() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no")

        __hash__ = None  # type: ignore[assignment]

    one, two = Odd(), Odd()
    assert _same(one, one) and not _same(one, two) and not _same(1, 1.0) and _same(np.arange(3), np.arange(3))


def test_the_call_that_makes_a_card_again() -> None:
    every = tuple(DESIDERATA)
    assert audit_call(ea.DPO(0.5), 1.0, 0, every) == "ea.audit(ea.DPO(0.5))"
    assert audit_call(ea.DPO(0.5), 2.0, 0, every) == "ea.audit(ea.DPO(0.5), effort=2.0)"
    assert audit_call(ea.DPO(0.5), 1.0, 4, every, 9.0) == "ea.audit(ea.DPO(0.5), seed=4, time_limit=9.0)"
    assert audit_call(ea.DPO(0.5), 1.0, 0, ("existence",)) == "ea.audit(ea.DPO(0.5), only=['existence'])"
    assert audit_call(ea.DPO(np.array([1.0, 2.0])), 1.0, 0, every) == "ea.audit(ea.DPO(1.0))"


@dataclass(frozen=True)
class Parts(ea.DPO):
    """A loss with a part of any kind."""

    part: Any = None


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ((), "()"),
        ((1,), "(1,)"),
        ([1.5, "a"], "[1.5, 'a']"),
        ({"a": (True, None)}, "{'a': (True, None)}"),
        ({2}, "set([2])"),
        (frozenset({2}), "frozenset([2])"),
        (float("inf"), 'float("inf")'),
        (np.float32(0.5), "np.float32(0.5)"),
        (np.array([1, 2]), "np.array([1, 2], dtype='int64')"),
        (torch.tensor([0.5]), "torch.tensor([0.5], dtype=torch.float32)"),
        (torch.float64, "torch.float64"),
        (torch.device("cpu"), "torch.device('cpu')"),
        (torch.exp, "torch.exp"),
        (np.exp, "np.exp"),
        (ea.EXPO(2.0), "ea.EXPO(lam)"),
        (None, ""),
    ],
)
def test_values_as_python(part: Any, text: str) -> None:
    """And what is the default is left out; torch is imported where it is named."""
    expression, imports = written(Parts(1.0, part=part))
    assert expression == (f"Parts(lam, part={text})" if text else "Parts(lam)")
    assert ("import torch" in imports.splitlines()) == text.startswith("torch")


# ------------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize(
    ("share", "typical", "how"),
    [
        (0.1, 0.01, "often"),
        (0.0999, 0.01, "seldom"),
        (0.1, 0.00999, "seldom"),
        (1.0, 5.0, "often"),
        (0.0, 5.0, "constructed"),
        (1e-9, 5.0, "seldom"),
        (None, 5.0, "seldom"),
        (0.5, None, "seldom"),
        (float("nan"), float("nan"), "seldom"),
    ],
)
def test_a_weight_has_its_edges_where_the_legend_says(share: float | None, typical: float | None, how: str) -> None:
    assert weight(share, typical) == how


def test_severities_in_words() -> None:
    for given, text in (
        (("TV", 0.834, 0.123, 1.9), "0.12 TV on 83% of ordinary problems, 1.9 at worst"),
        (("TV", 0.0099, 0.5, 0.0), "0.5 TV on under 1% of ordinary problems"),
        (("TV", 0.01, 0.5, 0.0), "0.5 TV on 1% of ordinary problems"),
        (("", 0.5, 1.0, 1.0), "on 50% of ordinary problems"),
        (("nats", 0.0, 0.0, 0.3), "never on ordinary problems; 0.3 at worst (nats)"),
        (("nats", float("nan"), 0.0, 0.3), "not to be measured on ordinary problems; 0.3 at worst (nats)"),
        (("nats", float("nan"), 0.0, float("nan")), "not to be measured on ordinary problems"),
    ):
        assert str(Severity(*given)) == text
