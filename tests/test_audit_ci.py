"""``expo-analysis audit`` in continuous integration: gates, saved cards, JUnit, SARIF, badges; of made-up verdicts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer

import expo_analysis as ea
from expo_analysis.cli import app
from expo_analysis.desiderata.report.badge import GREEN, GREY, RED, YELLOW, to_badge
from expo_analysis.desiderata.report.baseline import Gate, compare, read_baseline
from expo_analysis.desiderata.report.junit import to_junit
from expo_analysis.desiderata.report.report_card import ReportCard, ReportCards
from expo_analysis.desiderata.report.sarif import to_sarif
from expo_analysis.desiderata.verdict import CANNOT_TELL, DESIDERATA, FAILS, HOLDS, NOT_APPLICABLE

from .cards import CODE, FAILED, HOSTILE, card, cards, verdict
from .test_cli import invoke

LOSS = """\
import torch.nn.functional as F


def my_loss(policy_chosen_logps, policy_rejected_logps, tau=0.1):
    return F.softplus(-tau * (policy_chosen_logps - policy_rejected_logps))
"""


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, ReportCard]:
    """Cards of the losses asked for: those of `FAILED`, unless a test puts others here."""
    others: dict[str, ReportCard] = {}

    def audit_many(objectives: Any, **settings: Any) -> ReportCards:
        made = [others.get(name) or card(name, name if name in FAILED else "dpo") for name in objectives]
        return ReportCards(replace(one, objective=objectives[one.name]) for one in made)

    monkeypatch.setattr("expo_analysis.desiderata.audit_many", audit_many)
    return others


def with_verdicts(one: ReportCard, **decisions: Any) -> ReportCard:
    return replace(one, verdicts={**one.verdicts, **{key: verdict(key, found) for key, found in decisions.items()}})


def saved(folder: Path, *made: ReportCard) -> Path:
    file = folder / "card.json"
    file.write_text(json.dumps(ReportCards(made).to_dict()), encoding="utf-8")
    return file


# ---------------------------------------------------------------------------------------------------- saved cards


@pytest.mark.parametrize(
    ("before", "now", "worse"),
    [
        (HOLDS, FAILS, True),
        (HOLDS, CANNOT_TELL, True),
        (HOLDS, NOT_APPLICABLE, True),
        (CANNOT_TELL, FAILS, True),
        (NOT_APPLICABLE, FAILS, True),
        (CANNOT_TELL, NOT_APPLICABLE, False),
        (NOT_APPLICABLE, CANNOT_TELL, False),
        (CANNOT_TELL, HOLDS, False),
        (FAILS, CANNOT_TELL, False),
        (FAILS, HOLDS, False),
        (HOLDS, HOLDS, False),
        (FAILS, FAILS, False),
    ],
)
def test_what_is_worse_ends_with_1_and_is_named(before, now, worse, tmp_path, made_up) -> None:
    file = saved(tmp_path, with_verdicts(card("dpo"), uniqueness=before))
    made_up["dpo"] = with_verdicts(card("dpo"), uniqueness=now)
    ran = invoke("audit", "dpo", "--baseline", file)
    assert ran.exit_code == int(worse), ran.stderr
    told = [line for line in ran.stderr.splitlines() if "dpo, uniqueness" in line]
    how = "worse" if worse else "changed" if {before, now} == {CANNOT_TELL, NOT_APPLICABLE} else "better"
    expected = f"{how}: dpo, uniqueness: {before} before, {now} now: "
    assert len(told) == (before != now) and all(line.startswith(expected) for line in told)


def test_what_is_in_one_of_the_two_only_is_said_and_let_through(tmp_path, made_up) -> None:
    old = card("dpo")
    fewer = replace(old, verdicts={key: old.verdicts[key] for key in ("existence", "uniqueness")})
    file = saved(tmp_path, fewer, card("expo"))
    ran = invoke("audit", "dpo", "regression_expo", "--only", "existence,preservation", "--baseline", file)
    assert ran.exit_code == 0
    assert "regression_expo is not in the baseline, which has dpo, expo" in ran.stderr
    assert "of the baseline, expo is not audited now" in ran.stderr
    assert "dpo: the baseline does not have reference_limit, " in ran.stderr  # the made-up cards have all questions
    made_up["dpo"] = replace(fewer, verdicts={"existence": old.verdicts["existence"]})
    assert "dpo: of the baseline, uniqueness is not judged now" in invoke("audit", "dpo", "--baseline", file).stderr


def test_cards_that_were_made_differently_are_compared_with_a_word_of_warning() -> None:
    now = replace(card("dpo"), made=replace(card("dpo").made, effort=2.0, version="9.9"))  # type: ignore[type-var]
    found = compare(ReportCards([now]), read_baseline_of(card("dpo")))
    assert found.notes == ("dpo was audited differently: version 0.1.0 before, 9.9 now; effort 0.5 before, 2.0 now",)


def read_baseline_of(*made: ReportCard) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return read_baseline(saved(Path(folder), *made))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", "has no 'losses'"),
        ('{"losses": {}}', "has no 'losses'"),
        ('{"losses": {"dpo": 3}}', "has no verdict for dpo: one of holds"),
        ('{"losses": {"dpo": {"existence": {"verdict": "maybe"}}}}', "has no verdict for dpo, existence: one of holds"),
        ('{"losses": {"ipo": {"existence": {"verdict": "holds"}}}}', "it has ipo, and none of dpo"),
        (None, "No such file"),
    ],
)
def test_what_is_no_saved_card_is_refused_before_the_audit(text, message, tmp_path) -> None:
    file = tmp_path / "card.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    ran = invoke("audit", "dpo", "--baseline", file)
    assert ran.exit_code == 2 and message in " ".join(ran.stderr.split()) and "Traceback" not in ran.stderr


def test_a_gate_of_both_kinds_says_each_thing_once(tmp_path, made_up) -> None:
    file = saved(tmp_path, with_verdicts(card("dpo"), uniqueness=HOLDS, preservation=HOLDS))
    ran = invoke("audit", "dpo", "--baseline", file, "--require", "preservation")
    lines = [line for line in ran.stderr.splitlines() if "dpo, " in line]
    assert ran.exit_code == 1 and [line.split(": ")[0] for line in lines] == ["required, but not held", "worse"]


# ---------------------------------------------------------------------------------------------------------- JUnit


def test_junit_has_a_test_for_each_question(tmp_path) -> None:
    file = tmp_path / "card.xml"
    assert invoke("audit", "expo", "dpo", "--junit", file).exit_code == 0
    root = ElementTree.parse(file).getroot()
    assert [suite.get("name") for suite in root] == ["expo", "dpo"]
    for suite in root:
        cases = suite.findall("testcase")
        assert [case.get("name") for case in cases] == list(DESIDERATA)
        failed = {case.get("name") for case in cases if case.find("failure") is not None}
        assert failed == FAILED[suite.get("name")]
        assert int(suite.get("failures")) == len(failed) and int(suite.get("tests")) == len(cases)
        assert int(suite.get("skipped")) == sum(case.find("skipped") is not None for case in cases) == 1
    texts = [failure.text for failure in root.iter("failure")]
    assert all(CODE in text for text in texts)
    assert int(root.get("failures")) == len(texts)


def test_junit_fails_where_the_gate_does_and_nowhere_else() -> None:
    made = ReportCards([card("dpo")])
    worse = compare(made, read_baseline_of(with_verdicts(card("dpo"), uniqueness=HOLDS)))
    root = ElementTree.fromstring(to_junit(made, Gate(("preservation",), worse)))
    failed = {case.get("name"): case.find("failure") for case in root.iter("testcase")}
    told = {name: failure.get("message") for name, failure in failed.items() if failure is not None}
    assert set(told) == {"preservation", "uniqueness"}
    assert told["preservation"].startswith("required, but not held: dpo, preservation: fails: ")
    assert told["uniqueness"].startswith("worse: dpo, uniqueness: holds before, fails now: ")
    skipped = {case.get("name"): case.find("skipped") for case in root.iter("testcase")}
    assert skipped["improvement"].get("message").startswith("fails, which was not asked for: ")
    assert skipped["consistency"].get("message").startswith("cannot tell: ")
    never = ReportCards([with_verdicts(card("dpo"), uniqueness=NOT_APPLICABLE)])
    root = ElementTree.fromstring(to_junit(never, Gate(("preservation",))))
    skipped = {case.get("name"): case.find("skipped") for case in root.iter("testcase")}
    assert skipped["uniqueness"].get("message").startswith("not applicable: ")


def test_junit_of_hostile_names_and_of_losses_that_cannot_be_loaded() -> None:
    made = [*cards().values(), card("with \x00 in it \ud800", "expo")]
    root = ElementTree.fromstring(to_junit(ReportCards(made)).encode())
    names = [suite.get("name") for suite in root]
    assert HOSTILE in names and names[-1] == "with \ufffd in it \ufffd"
    broken = next(suite for suite in root if suite.get("name") == "broken")
    assert broken.get("errors") == "1" and "it must not reduce" in broken.find("testcase/error").get("message")


def test_junit_is_read_by_another_parser(tmp_path) -> None:
    junitparser = pytest.importorskip("junitparser")
    file = tmp_path / "card.xml"
    file.write_text(to_junit(cards()), encoding="utf-8")
    for suite, one in zip(junitparser.JUnitXml.fromfile(str(file)), cards().values(), strict=True):
        failing = {case.name for case in suite if any(isinstance(r, junitparser.Failure) for r in case.result)}
        assert failing == {key for key, found in one.verdicts.items() if found.decision == FAILS}
        assert suite.name == one.name and suite.failures == len(failing)
        assert {p.name: p.value for p in suite.properties()}.get("version") == (one.made and one.made.version)


# ---------------------------------------------------------------------------------------------------------- SARIF


def results(document: str) -> list[dict[str, Any]]:
    """The results of a document, whose structure is looked at on the way."""
    read = json.loads(document)
    assert read["version"] == "2.1.0" and len(read["runs"]) == 1
    run = read["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note") and result["message"]["text"]
        assert result["locations"] and "\n" not in result["message"]["text"]
    fingerprints = [json.dumps(result["partialFingerprints"]) for result in run["results"]]
    assert len(set(fingerprints)) == len(fingerprints)
    return run["results"]


def test_sarif_has_a_result_for_each_failure() -> None:
    found = results(to_sarif(cards()))
    for name, failed in FAILED.items():
        own = [r for r in found if r["locations"][0]["logicalLocations"][0]["name"] == name]
        assert {result["ruleId"] for result in own} == failed
        assert all(result["properties"]["code"] == CODE for result in own)
    [unsound] = [r for r in found if r["ruleId"] == "sound" and HOSTILE in r["message"]["text"]]
    assert "claims to be convex" in unsound["message"]["text"]


def test_levels_say_what_stops_and_what_weighs_little() -> None:
    made = ReportCards([card("dpo")])
    levels = {result["ruleId"]: result["level"] for result in results(to_sarif(made, Gate(("existence",))))}
    assert levels["existence"] == "error" and levels["preservation"] == "warning"
    assert levels["improvement"] == "note"  # on no ordinary problem
    required = results(to_sarif(ReportCards([card("expo")]), Gate(("consistency",))))
    assert {r["ruleId"]: r["level"] for r in required} == {"weak_interpolation": "warning", "consistency": "error"}


def test_what_is_new_since_the_saved_card_is_marked() -> None:
    made = ReportCards([card("dpo")])
    comparison = compare(made, read_baseline_of(with_verdicts(card("dpo"), uniqueness=HOLDS)))
    states = {r["ruleId"]: r["baselineState"] for r in results(to_sarif(made, Gate((), comparison)))}
    assert states.pop("uniqueness") == "new" and set(states.values()) == {"unchanged"}


def test_a_loss_of_ones_own_has_its_file_and_line(tmp_path, monkeypatch) -> None:
    (tmp_path / "my losses").mkdir()
    (tmp_path / "my losses" / "mine.py").write_text(LOSS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ran = invoke("audit", "my losses/mine.py:my_loss", "--beta-name", "tau", "--sarif", "card.sarif")
    assert ran.exit_code == 0, ran.stderr
    for result in results((tmp_path / "card.sarif").read_text(encoding="utf-8")):
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "my%20losses/mine.py", "uriBaseId": "%SRCROOT%"}
        assert place["region"]["startLine"] == 1 + LOSS.splitlines().index(
            "def my_loss(policy_chosen_logps, policy_rejected_logps, tau=0.1):"
        )
    one = replace(card("mine", "dpo"), objective=ea.objective("dpo", 1.0))
    assert all("physicalLocation" not in r["locations"][0] for r in results(to_sarif(ReportCards([one]))))


def test_sarif_is_read_by_another_library() -> None:
    sarif_pydantic = pytest.importorskip("sarif_pydantic")
    read = sarif_pydantic.Sarif.model_validate(json.loads(to_sarif(cards(), Gate(("existence",)))))
    assert len(read.runs[0].results) == len(results(to_sarif(cards(), Gate(("existence",)))))


# ---------------------------------------------------------------------------------------------------------- badges


def text_of(badge: str) -> str:
    return ": ".join(text.text or "" for text in ElementTree.fromstring(badge).iter("{http://www.w3.org/2000/svg}text"))


@pytest.mark.parametrize(
    ("one", "keys", "text", "colour"),
    [
        (card("expo"), None, "expo: preserves, exists, unique; 19 of 21", GREEN),
        (card("dpo"), None, "dpo: 14 of 21", RED),
        (card("dpo"), ("existence", "reference_limit"), "dpo: reaches π_ref; 14 of 21", YELLOW),
        (card("regression_expo"), ("conservation", "improvement"), "regression_expo: improves; 17 of 20", YELLOW),
        (card("expo"), (), "expo: 19 of 21", GREY),
    ],
)
def test_a_badge_says_what_holds_and_how_many(one, keys, text, colour) -> None:
    badge = to_badge(one) if keys is None else to_badge(one, keys)
    count = len(DESIDERATA)  # whatever is asked by now
    assert text_of(badge) == text.replace("of 21", f"of {count}").replace("of 20", f"of {count - 1}").replace(
        "19", str(count - 2)
    ).replace("14", str(count - 7)).replace("17", str(count - 4))
    assert colour in badge


def test_texts_stay_in_their_boxes_and_names_are_no_markup() -> None:
    for one in (card("expo"), card(HOSTILE, "dpo"), card("a_name_that_goes_on_and_on_and_on_and_on_and_on", "dpo")):
        root = ElementTree.fromstring(to_badge(one))
        ns = "{http://www.w3.org/2000/svg}"
        ends = [float(t.get("x")) + float(t.get("textLength")) for t in root.iter(f"{ns}text")]
        starts = [float(t.get("x")) for t in root.iter(f"{ns}text")]
        assert 0 < starts[0] < ends[0] < starts[1] < ends[1] < float(root.get("width"))
        assert not list(root.iter(f"{ns}script")) and "id=" not in to_badge(one)


def test_the_command_writes_a_badge_of_one_loss(tmp_path) -> None:
    file = tmp_path / "card.svg"
    ran = invoke("audit", "expo", "--badge", file, "--require", "preservation")
    assert ran.exit_code == 0 and f"wrote {file}" in " ".join(ran.stderr.split()).replace(" " + str(file), f" {file}")
    assert text_of(file.read_text(encoding="utf-8")).startswith("expo: preserves; ")
    ran = invoke("audit", "expo", "dpo", "--badge", file)
    assert ran.exit_code == 2 and "--badge shows one loss: name that loss alone" in ran.stderr


@pytest.mark.parametrize("option", ["--junit", "--sarif", "--badge"])
def test_where_nothing_can_be_written_the_audit_does_not_begin(option, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("expo_analysis.desiderata.audit_many", None)
    for file, message in ((tmp_path, "Is a directory"), (tmp_path / "no" / "card", "No such file or directory")):
        ran = invoke("audit", "dpo", option, file)
        assert ran.exit_code == 2 and message in ran.stderr


# ------------------------------------------------------------------------------------------------------ --beta-name


def test_a_function_may_call_lambda_what_it_likes(tmp_path, monkeypatch) -> None:
    (tmp_path / "mine.py").write_text(LOSS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    policies = ("--lam", "2", "--reference", ".4,.4,.2", "--optimal", ".6,.3,.1", "--json")
    ran = invoke("solve", "mine.py:my_loss", "--beta-name", "tau", *policies)
    assert ran.exit_code == 0, ran.stderr
    right = json.loads(invoke("solve", "bradley_terry", *policies).stdout)
    assert json.loads(ran.stdout)["policy"] == pytest.approx(right["policy"], abs=1e-6)
    assert "tau is not used" not in ran.stderr
    plain = json.loads(invoke("solve", "mine.py:my_loss", *policies).stdout)  # which has a default of its own
    assert plain["policy"] != pytest.approx(right["policy"], abs=1e-3)
    made = json.loads(invoke("audit", "mine.py:my_loss", "--beta-name", "tau", "--json").stdout)["made"]["my_loss"]
    assert made["call"] == "expo-analysis audit mine.py:my_loss --beta-name tau"


def test_among_several_losses_it_belongs_to_one_s_own(tmp_path, monkeypatch) -> None:
    (tmp_path / "mine.py").write_text(LOSS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ran = invoke("audit", "mine.py:my_loss", "dpo", "--beta-name", "tau", "--json")
    assert ran.exit_code == 0 and list(json.loads(ran.stdout)["losses"]) == ["my_loss", "dpo"], ran.stderr
    drawn = ("figures", "mine.py:my_loss", "bradley_terry", "--kind", "convergence", "--lam", "0.1:10:3", "--json")
    ran = invoke(*drawn, "--format", "svg", "-o", "drawn", "--beta-name", "tau")
    assert ran.exit_code == 0 and "my_loss" in json.loads(ran.stdout)["losses"], ran.stderr
    with_tau = (tmp_path / "drawn" / "convergence.svg").read_text(encoding="utf-8")
    assert invoke(*drawn, "--format", "svg", "-o", "drawn").exit_code == 0
    assert with_tau != (tmp_path / "drawn" / "convergence.svg").read_text(encoding="utf-8")


def test_every_command_that_takes_a_function_can_be_told_its_lambda() -> None:
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        if any("FILE.py:NAME" in (getattr(given, "help", None) or "") for given in command.params):
            found[name] = [given.name for given in command.params if "beta_name" in given.name]
    assert set(found) >= {"audit", "solve", "diff", "figures", "explore"} and all(found.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("audit", "dpo", "--beta-name", "tau"), "--beta-name is not used"),
        (("audit", "dpo", "ipo", "--beta-name", "tau"), "--beta-name is not used"),
        (("audit", "--all", "--beta-name", "tau"), "--beta-name is not used"),
        (("figures", "dpo", "ipo", "--beta-name", "tau"), "--beta-name is not used"),
        (("figures", "mine.py:my_loss", "dpo", "--beta-name", "gamma"), "beta_name must be an argument of my_loss"),
        (("audit", "mine.py:my_loss", "--beta-name", "gamma"), "beta_name must be an argument of my_loss, which has"),
        (("audit", "mine.py:my_loss", "--option", "beta_name=tau"), "beta_name is not an option of a loss"),
        (("solve", "dpo", "--lam", "1", "--beta-name", "tau"), "beta_name is not used for dpo"),
    ],
)
def test_a_name_that_is_not_used_is_refused(words, message, tmp_path, monkeypatch) -> None:
    (tmp_path / "mine.py").write_text(LOSS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ran = invoke(*words)
    assert ran.exit_code == 2 and re.search(re.escape(message), " ".join(ran.stderr.split())), ran.stderr
