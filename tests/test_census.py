"""The census: planted implementations whose answers are known, and the committed table held to its numbers."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.adapters import Ours
from expo_analysis.adapters.implementation import Package, Pairs
from expo_analysis.census import row
from expo_analysis.census import script as scripts
from expo_analysis.census.compare import compare, remembered
from expo_analysis.census.document import added, document, with_cards, write
from expo_analysis.census.page import file_of, page
from expo_analysis.cli import app

from .test_adapters import few_pairs

ROOT = Path(__file__).parents[1]

PLANTED = "numpy"
"""A distribution that is installed, which stands for the one that has the planted losses."""


def gap(p: Pairs) -> torch.Tensor:
    won, lost = p.ratios
    return won - lost


comparing = sys.modules[compare.__module__]


@cache
def some_of_the_catalogue() -> Any:
    names = ("hinge", "ipo", "slic", "simpo", "nca", "odpo")
    return [(ea.objective(name, 1.0), Ours(name), Ours(name, of_means=True)) for name in names]


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the census's pairs, and six of the losses that another one may be: planted differences are everywhere.

    test_adapters.py looks for implementations among all of them.
    """
    monkeypatch.setattr(comparing, "drawn_pairs", few_pairs)
    monkeypatch.setattr(comparing, "_catalogue", some_of_the_catalogue)


@pytest.fixture(autouse=True)
def _planted_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[Package.__module__]  # whose name is also that of a function beside it
    check = module.check_installed  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "check_installed", lambda p, *more: None if p == "planted" else check(p, *more))


def planted(adapter: Any, ours: Ours, **more: Any) -> tuple[Any, Package]:
    package = Package(PLANTED, "1.0")
    package.add("loss", "a loss", "nowhere:loss", adapter, ours, **more)
    return package.losses["loss"], package


def found(adapter: Any, ours: Ours, **more: Any) -> Any:
    one, _ = planted(adapter, ours, **more)
    return compare(one, remembered(one))


@pytest.mark.parametrize(
    ("adapter", "ours", "relation", "how"),
    [
        (lambda p, b: F.softplus(-b * gap(p)), Ours("dpo"), "equal", ""),
        (lambda p, b: F.softplus(-b * gap(p)).mean(), Ours("dpo"), "equal", ""),
        (lambda p, b: F.softplus(-b * gap(p)) / 2, Ours("dpo"), "equal up to", "0.5 times it"),
        (lambda p, b: F.softplus(-b * gap(p)) / b + 3, Ours("dpo"), "equal up to", "lam^-1 times it, plus 3"),
        (
            lambda p, b: (b * gap(p) - 1 / (2 * b)) ** 2,
            Ours("ipo"),
            "equal up to",
            "lam^2 times it, at lam^2 in the place of lam",
        ),
        (lambda p, b: F.softplus(-b * gap(p).float()), Ours("dpo"), "single precision", ""),
        (lambda p, b: (1 + (-b * gap(p)).exp()).log(), Ours("dpo"), "equal", ""),
        (lambda p, b: F.softplus(-b * gap(p)) - 0.01 * p.w, Ours("dpo"), "differs", ""),
        (lambda p, b: -F.softplus(-b * gap(p)), Ours("dpo"), "differs", ""),
    ],
)
def test_what_an_implementation_is_of_ours(adapter: Any, ours: Ours, relation: str, how: str) -> None:
    answer = found(adapter, ours)
    assert (answer.relation, answer.loss, answer.how) == (relation, str(ours), how)


def test_a_loss_under_another_name_is_found() -> None:
    answer = found(lambda p, b: torch.relu(1 - b * gap(p)), Ours("kto"))
    assert (answer.relation, answer.loss) == ("equal", "hinge")
    answer = found(
        lambda p, b: (p.w / p.length_w - p.l / p.length_l - p.ref_w / p.length_w + p.ref_l / p.length_l - 0.5 / b) ** 2,
        Ours("ipo"),
        reads="lengths",
    )
    assert (answer.relation, answer.loss) == ("equal", "ipo of means")


def test_a_derivative_that_is_not_the_loss_s_shows() -> None:
    answer = found(lambda p, b: F.softplus(-b * (p.w - p.l.detach() - p.ref_w + p.ref_l)), Ours("dpo"))
    assert answer.error < 1e-9 and answer.slope_error > 0.01
    assert (answer.relation, answer.how) == ("differs", "the same values with other derivatives")


def test_what_an_adapter_says_of_a_difference_is_checked() -> None:
    simpo = lambda p, b: F.softplus(-b * (p.w / p.length_w - p.l / p.length_l - 0.5))  # noqa: E731
    right = found(simpo, Ours("simpo", gamma=0.5), reads="lengths", really=Ours("simpo", gamma=lambda lam: lam / 2).at)
    assert right.relation == "differs" and right.explained < 1e-12
    wrong = found(simpo, Ours("simpo", gamma=0.5), reads="lengths", really=Ours("simpo", gamma=lambda lam: lam / 3).at)
    assert wrong.explained > 0.01


def test_losses_of_a_batch_are_compared_as_such() -> None:
    def sorted_apart(p: Pairs, beta: float) -> torch.Tensor:
        won, lost = (ratio.sort()[0] for ratio in p.ratios)
        return F.softplus(-beta * (won - lost))

    assert found(sorted_apart, Ours("aot", unpaired=True), by_batch=True).relation == "equal"
    assert found(sorted_apart, Ours("aot"), by_batch=True).relation == "differs"


@pytest.mark.parametrize(
    ("adapter", "ours", "reads", "count"),
    [
        (lambda p, b: F.softplus(-b * gap(p)), Ours("dpo"), "", 0),
        (lambda p, b: (1 + (-b * gap(p)).exp()).log(), Ours("dpo"), "", 1),  # overflows
        (lambda p, b: F.softplus(-b * gap(p)) / 2, Ours("dpo"), "", 1),
        (lambda p, b: F.softplus(-b * (p.w / p.length_w - p.l / p.length_l - 0.5)), Ours("simpo"), "lengths", 1),
        (lambda p, b: (gap(p) / p.length_w - 0.5 / b) ** 2, Ours("ipo", of_means=True), "lengths", 1),
        (lambda p, b: F.softplus(-b * gap(p) + 2 * (p.reward_w - p.reward_l)), Ours("odpo"), "rewards", 1),
    ],
)
def test_a_script_of_ten_lines_shows_the_difference(
    adapter: Any,
    ours: Ours,
    reads: str,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, package = planted(adapter, ours, reads=reads)
    answer = row(one, package, card=False)
    assert len(answer["pairs"]) == count and bool(answer["script"]) == bool(count)
    if not count:
        return
    text = answer["script"]
    assert len(text.splitlines()) <= scripts.LINES and max(map(len, text.splitlines())) < 300
    monkeypatch.setattr("expo_analysis.adapters.packages", lambda: {PLANTED: package})
    exec(text, {})
    assert "theirs" in capsys.readouterr().out
    with pytest.raises(AssertionError):  # and it fails once they agree
        exec(text.replace("assert not", "theirs = ours\nassert not"), {})


def test_a_broken_adapter_has_a_row_that_says_so() -> None:
    one, package = planted(lambda p, b: p.w.no_such_method(), Ours("dpo"))
    answer = row(one, package)
    assert answer["relation"] == "cannot be run" and "no_such_method" in answer["why"]


def test_an_implementation_that_is_none_of_ours_is_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expo_analysis.census.rows.QUESTIONS", ("first_step",))
    one, package = planted(lambda p, b: F.softplus(-b * gap(p)) + 0.3 * (p.w - p.ref_w) ** 2, Ours("dpo"))
    assert row(one, package)["card"]["first_step"]["verdict"] == "fails"


def test_one_that_is_explained_has_the_card_of_its_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an audit of its own, which may take too long to say anything: the loss that it was shown to be is audited."""
    adapter = lambda p, b: F.softplus(-b * gap(p)) + 0.3 * (p.w - p.ref_w) ** 2  # noqa: E731
    same, _ = planted(adapter, Ours("dpo"))
    answer = row(*planted(adapter, Ours("dpo"), really=same.loss))
    assert answer["relation"] == "differs" and answer["explained"] == 0 and "card" not in answer
    _, package = planted(lambda p, b: F.softplus(-b * gap(p)), Ours("ipo"), really=ea.DPO)
    asked = []

    def verdicts(loss: Any, seconds: float | None = None) -> dict[str, Any]:
        asked.append(loss)
        return {"first_step": {"verdict": "fails", "basis": "proven"}}

    monkeypatch.setattr("expo_analysis.census.document.verdicts", verdicts)
    monkeypatch.setattr("expo_analysis.census.document.packages", lambda: {PLANTED: package})
    head = {"package": PLANTED, "name": "loss", "loss": "ipo", "relation": "differs"}
    cases = [({"explained": 1e-9}, True), ({"explained": 0.5}, False), ({"explained": None}, False)]
    for more, is_judged in cases:
        asked.clear()
        (made,) = with_cards({"rows": [{**head, **more}], "cards": {}}, lambda text: None)["rows"]
        assert ("card" in made) == is_judged and asked == [ea.DPO(1.0)] * is_judged
        kept = with_cards({"rows": [{**made, "card": {}}], "cards": {}}, lambda text: None)["rows"]
        assert kept == [{**made, "card": {}}], "a card that is there stays"


# ------------------------------------------------------------------------------------------------ the committed table

CENSUS = json.loads((ROOT / "docs/census.json").read_text(encoding="utf-8"))
DIFFERING = [row for row in CENSUS["rows"] if row["pairs"]]


def test_the_census_is_as_large_as_it_has_to_be() -> None:
    assert len(CENSUS["rows"]) >= 25 and len({row["package"] for row in CENSUS["rows"]}) >= 5
    assert all(CENSUS["settings"][key] for key in ("date", "torch", "python", "expo_analysis"))
    assert all(row["version"] for row in CENSUS["rows"])


def test_the_page_is_written_from_the_numbers() -> None:
    assert (ROOT / "docs/census.md").read_text(encoding="utf-8") == page(CENSUS)


def test_every_difference_has_its_script() -> None:
    for one in CENSUS["rows"]:
        assert one["relation"] in ("equal", "equal up to", "single precision", "differs"), one["title"]
        if one["relation"] in ("differs", "equal up to", "single precision") or one["loss"] != one["ours"]:
            assert one["pairs"], f"{one['package']} {one['name']}"
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs/census").glob("*.py")}
    assert files == {file_of(one): one["script"] for one in DIFFERING}
    assert all(len(text.splitlines()) <= 10 for text in files.values())


def test_differences_that_are_explained_are_explained() -> None:
    """A note on a difference says what a loss is instead; where that is a formula, it was checked."""
    for one in CENSUS["rows"]:
        if one["relation"] == "differs":
            assert one["note"], f"{one['package']} {one['name']} differs, and nothing says how"
        if one["explained"] is not None:
            assert one["explained"] < 1e-4, f"{one['package']} {one['name']} is not what its adapter says"


def test_cards_of_the_losses_that_differ_say_something() -> None:
    """At least the first step, which needs no optimum, unless the loss is rounded so that it has no derivatives."""
    told = [one for one in CENSUS["rows"] if one["relation"] == "differs" and "bfloat16" not in one["note"]]
    for one in told:
        assert one["card"]["first_step"]["verdict"] in ("holds", "fails"), f"{one['package']} {one['name']}"


@pytest.mark.parametrize("name", sorted({one["package"] for one in DIFFERING}))
def test_scripts_run_where_their_package_is_installed(name: str) -> None:
    from expo_analysis.adapters import packages

    package = packages()[name]
    if package.version != package.pinned:
        pytest.skip(f"{name} {package.pinned} is not installed")
    for one in DIFFERING:
        if one["package"] == name:
            exec(one["script"], {})


# --------------------------------------------------------------------------------------------------------- the command


def test_the_command_says_what_is_not_installed() -> None:
    done = CliRunner().invoke(app, ["census", "openrlhf", "--json"])
    assert done.exit_code == 0
    answer = json.loads(done.stdout)
    assert answer["rows"] == [] and "openrlhf" in answer["failed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["census", "trlx"], "PACKAGE must be one of trl, torchtune"),
        (["census", "--keep", "x"], "--keep is not used without --install"),
        (["census", "--add", "nothing.json"], "nothing.json"),
    ],
)
def test_bad_input_gets_one_sentence(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and message in done.output and len(done.output.strip().splitlines()) == 1


def test_rows_of_earlier_runs_are_kept_unless_they_are_run_again(tmp_path: Path) -> None:
    one, package = planted(lambda p, b: F.softplus(-b * gap(p)) / 2, Ours("dpo"))
    monkeypatched = {**row(one, package, card=False), "version": "1.0"}
    mine = document([monkeypatched], [package], {"trl": "no registry"}, "0")
    both = added(mine, [CENSUS])
    assert "trl" not in {one["package"] for one in both["rows"]} and both["failed"]["trl"] == "no registry"
    assert {PLANTED, "torchtune"} <= {one["name"] for one in both["packages"]}
    assert added(both, [CENSUS]) == both
    files = write(both, tmp_path)
    assert (tmp_path / "census.md").read_text() == page(both) and len(files) == len(set(files))
    assert np.isfinite([one["error"] for one in both["rows"]]).all()


@pytest.mark.slow
def test_a_package_is_installed_into_an_environment_of_its_own() -> None:
    """pip has to reach a registry."""
    done = CliRunner().invoke(app, ["census", "knowlyr-trainer", "--install", "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout[done.stdout.index("{") :])
    assert [one["relation"] for one in answer["rows"]] == ["equal", "equal"] and not answer["failed"]
