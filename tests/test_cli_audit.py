"""``expo-analysis audit``, with made-up verdicts in place of the audit."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import re
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.cli import app, card_table
from expo_analysis.cli.card_table import WIDTH
from expo_analysis.cli.parsing import audited
from expo_analysis.desiderata.report.layout import grouped
from expo_analysis.desiderata.report.report_card import ReportCards
from expo_analysis.desiderata.report.wording import ORDINARY, decided, legend, mark
from expo_analysis.desiderata.verdict import DESIDERATA, FAILS
from expo_analysis.own_loss import make_loss

from .called import evaluated
from .cards import CODE, FAILED, HOSTILE, broken, card, many, more_desiderata
from .test_cli import ROOT, examples, fails, invoke

MINE = """\
from dataclasses import dataclass
from beside import scale
from expo_analysis import DPO, Claims, PairObjective

@dataclass(frozen=True)
class Options:
    sharpness: float

@dataclass(frozen=True)
class Mine(PairObjective):
    '''Square of the log-ratio's distance from 1.'''
    extra: object = Options(2.0)
    name = "mine"
    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return scale(logp_w - logp_l - 1, self.lam) ** 2
    @property
    def claims(self):
        return Claims(convex=True, closed_form=False, needs_reference=False, log_ratio_only=True)

@dataclass(frozen=True)
class Needy(Mine):
    tau: float = None
    def __post_init__(self):
        if self.tau is None:
            raise RuntimeError("tau must\\nbe given")

class Unfinished(PairObjective):
    name = "unfinished"

number = 3
"""


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("def scale(x, by):\n    return x * by\n")
    (tmp_path / "my_loss.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("x = 1\n\nraise ZeroDivisionError('no\\nway')\n")
    (tmp_path / "syntax.py").write_text("x = (\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit\n")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "numpy.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass
class Call:
    objectives: dict[str, Any]
    workers: int
    effort: float
    seed: int = 0
    only: set[str] | None = None
    time_limit: float | None = None


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Audits that were asked for; each gives made-up cards and reports progress."""
    made = []

    def audit_many(objectives, *, workers=2, keep=None, progress, effort=1.0, seed=0, only=None, time_limit=None):
        made.append(Call(dict(objectives), workers, effort, seed, only, time_limit))
        for name in objectives:
            progress(0.5, what="hunting [counterexamples]", task=name)
        return ReportCards(
            broken(name, str(given)) if isinstance(given, Exception) else card(name, name if name in FAILED else "dpo")
            for name, given in objectives.items()
        )

    monkeypatch.setattr("expo_analysis.desiderata.audit_many", audit_many)
    return made


def audit_document(*arguments):
    result = invoke("audit", *arguments, "--json")
    assert result.exit_code == 0, result.output

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(result.stdout, parse_constant=refuse)


# -------------------------------------------------------------------------------------------------------------- output


def test_json_is_one_document_of_the_promised_shape():
    given = audit_document("expo", "dpo")
    assert set(given) == {"losses", "remarks", "made"}
    assert given["made"]["dpo"]["call"] == "expo-analysis audit expo dpo"
    assert list(given["losses"]) == ["expo", "dpo"]
    for name, verdicts in given["losses"].items():
        assert list(verdicts) == list(DESIDERATA)
        assert {key for key, verdict in verdicts.items() if verdict["verdict"] == "fails"} == FAILED[name]
    assert given["losses"]["dpo"]["existence"]["counterexample"]["code"] == CODE


def test_progress_is_on_standard_error():
    result = invoke("audit", "expo", "dpo", "--json")
    assert "2 losses" in result.stderr
    assert "dpo: hunting [counterexamples]" in result.stderr
    assert "hunting" not in result.stdout


def table_of(text):
    """The marks of every row of the table, by the loss's name, and the numbers over them."""
    lines = text.splitlines()
    [head] = [k for k, line in enumerate(lines) if line.split()[:1] == ["loss"]]
    rows = {}
    for line in lines[head + 1 : lines.index("", head)]:
        rows[line.split()[0]] = line.split()[1:]
    return lines[head].split()[1:], rows


def test_table_fits_and_has_one_mark_per_verdict():
    result = invoke("audit", *FAILED)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    numbers, rows = table_of(result.stdout)
    order = [key for keys in grouped().values() for key in keys]
    assert numbers == [str(k) for k in range(1, len(DESIDERATA) + 1)]
    assert list(rows) == ["expo", "regression_expo", "dpo"]  # the most that holds first
    for name, marks in rows.items():
        assert marks == [mark(card(name).verdicts[key]) for key in order]
    key = "\n".join(lines)
    for number, desideratum in zip(numbers, order, strict=True):
        title = re.escape(DESIDERATA[desideratum].title)
        assert re.search(rf"(^|  ) ?{number}  {title}  \({desideratum}\)", key, flags=re.MULTILINE)
    for one, words in legend().items():
        assert f"{one:>2}  {words}" in lines
    assert ORDINARY in " ".join(result.stdout.split())
    sentences = [line for line in lines if re.match(rf"({'|'.join(FAILED)})  ", line)]
    assert all(len(line.rstrip()) <= WIDTH for line in lines[:-1] if line not in sentences)  # the last has the command
    assert len(sentences) == len(rows) + sum(map(len, FAILED.values()))  # the table's rows are among them
    for name, failed in FAILED.items():
        for desideratum in failed:
            [line] = [line for line in sentences if line.startswith(f"{name}  {desideratum}  ")]
            assert line.endswith(f": {DESIDERATA[desideratum].title} < fails.")
    assert any(line.startswith("dpo  preservation  0.31 TV on 90% of ordinary problems") for line in sentences)
    assert lines[-1] == "Made by expo_analysis 0.1.0, 2026-01-31, effort 0.5, seed 3: expo-analysis audit " + " ".join(
        FAILED
    )


def test_a_table_of_many_questions_fits_a_terminal(monkeypatch):
    """Of as many as there will be; longer names are folded, and no mark is cut off."""
    for key, desideratum in more_desiderata().items():
        monkeypatch.setitem(DESIDERATA, key, desideratum)
    monkeypatch.setattr("expo_analysis.desiderata.audit_many", lambda *_, **__: many(5))
    text = invoke("audit", "expo", "dpo").stdout
    numbers, rows = table_of(text)
    assert numbers == [str(k) for k in range(1, len(DESIDERATA) + 1)]
    order = [key for keys in grouped().values() for key in keys]
    assert rows["dpo_variant_0"] == [mark(many(5)["dpo_variant_0"].verdicts[key]) for key in order]
    assert all(len(line.rstrip()) <= WIDTH for line in text.splitlines()[:-1] if "On π*" not in line)


def test_one_loss_is_shown_in_full_with_code_that_can_be_copied():
    text = invoke("audit", "dpo").stdout
    flat = " ".join(text.split())
    for key, verdict in card("dpo").verdicts.items():
        assert f"{DESIDERATA[key].title}: {decided(verdict)}" in text
        assert verdict.severity is None or f"How much: {verdict.severity}" in flat
    assert "Conditions: 240 random problems with n = 2 to 6 responses" in flat
    assert "largest error bound: 2.346e-13" in text
    assert text.count(CODE) == len(FAILED["dpo"])
    assert "seed 3: expo-analysis audit dpo" in text


def test_markup_in_names_is_text(monkeypatch):
    monkeypatch.setattr(
        "expo_analysis.desiderata.audit_many", lambda *_, **__: ReportCards([card(HOSTILE, "dpo"), card("expo")])
    )
    text = invoke("audit", "expo", "dpo").stdout
    assert HOSTILE + "  strong_interpolation" in text
    monkeypatch.setattr("expo_analysis.desiderata.audit_many", lambda *_, **__: ReportCards([card(HOSTILE, "dpo")]))
    assert HOSTILE in invoke("audit", "dpo").stdout


def test_html_is_written_beside_the_table(tmp_path):
    file = tmp_path / "report.html"
    result = invoke("audit", "expo", "dpo", "--html", file)
    assert result.exit_code == 0 and "loss" in result.stdout
    shown = ReportCards([card("expo"), card("dpo")]).with_call("expo-analysis audit expo dpo")
    assert file.read_text(encoding="utf-8") == shown.to_html()
    assert f"wrote {file}" in result.stderr


def test_figure_writes_table_and_pictures_that_are_the_same_every_time(tmp_path):
    written = []
    for directory in (tmp_path / "a" / "new", tmp_path / "b"):
        result = invoke("audit", "expo", "dpo", "--figure", directory, "--json")
        assert result.exit_code == 0
        assert set(json.loads(result.stdout)["losses"]) == {"expo", "dpo"}
        assert result.stderr.count("wrote ") == 3
        written.append({path.name: path.read_bytes() for path in directory.iterdir()})
    assert set(written[0]) == {"report_card.csv", "report_card.png", "report_card.pdf"}
    assert written[0] == written[1]
    table = pd.read_csv(tmp_path / "b" / "report_card.csv")
    assert {"loss", "desideratum", "verdict", "basis", "severity_share", "summary", "version", "date"} <= set(table)
    assert set(table["call"]) == {"expo-analysis audit expo dpo"}
    assert len(table) == 2 * len(DESIDERATA)
    assert set(table.loc[(table["loss"] == "dpo") & (table["verdict"] == FAILS), "desideratum"]) == FAILED["dpo"]


# --------------------------------------------------------------------------------------------------------------- input


def test_all_audits_the_catalogue_and_says_what_it_leaves_out(calls):
    result = invoke("audit", "--all")
    assert result.exit_code == 0
    assert list(calls[0].objectives) == [name for name in ea.CATALOGUE if name != "qpo"]
    assert all(isinstance(given, ea.CATALOGUE[name]) for name, given in calls[0].objectives.items())
    assert "qpo is left out of --all: it needs psi, mu" in result.stderr


def test_new_entries_of_the_catalogue_are_audited_if_they_need_nothing_but_lambda(monkeypatch):
    @dataclass(frozen=True)
    class Tuned(ea.DPO):
        label_smoothing: float = 0.1

    @dataclass(frozen=True)
    class Needy(ea.IPO):
        tau: float

    monkeypatch.setitem(ea.CATALOGUE, "tuned", Tuned)
    monkeypatch.setitem(ea.CATALOGUE, "needy", Needy)
    assert audited()["tuned"] == Tuned(1.0)
    assert "needy" not in audited()
    assert "needy is left out of --all: it needs tau" in invoke("audit", "--all").stderr
    assert "needy needs --option tau=VALUE" in fails("audit", "needy")
    assert invoke("audit", "needy", "--option", "tau=2").exit_code == 0


def test_options_effort_and_workers_reach_the_audit(calls):
    assert invoke("audit", "dpo", "--option", "label_smoothing=0.1", "--quick", "--workers", 5).exit_code == 0
    assert invoke("audit", "dpo", "ipo").exit_code == 0
    assert calls == [
        Call({"dpo": ea.DPO(1.0, label_smoothing=0.1)}, 5, 0.1),
        Call({"dpo": ea.DPO(1.0), "ipo": ea.IPO(1.0)}, 2, 1.0),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a loss, or --all"),
        (["ppo"], r"objective must be one of .*got 'ppo'"),
        (["exppo"], r"did you mean 'expo'\? objective must be one of .*got 'exppo'"),
        (["dpo", "ppo"], "got 'ppo'"),
        (["qpo"], "qpo is made of two Python functions"),
        (["dpo", "dpo"], "dpo is given twice"),
        (["--all", "dpo"], "dpo is among --all already"),
        (["--all", "--option", "robust=true"], "--option belongs to one loss"),
        (["dpo", "ipo", "--option", "robust=true"], "--option belongs to one loss"),
        (["expo", "--option", "beta=2"], "beta is not an option of 'expo'"),
        (["dpo", "--option", "lam=2"], "lam is not an option"),
        (["dpo", "--html", "nowhere/report.html"], "Error: nowhere: No such file or directory"),
        (["dpo", "--html", "examples"], "examples: Is a directory"),
        (["dpo", "--figure", "README.md"], "README.md: File exists"),
        (["README.md"], "objective must be one of"),
        (["none.py"], "none.py must be followed by a colon and the name of a class"),
        (["none.py:Loss"], "none.py: No such file or directory"),
        (["dpo", "--only", "preserves"], r"--only must name desiderata among reference_limit, .*; got 'preserves'"),
        (["dpo", "--only", "existence,"], r"--only must name desiderata among .*; got ''$"),
        (["dpo", "--time-limit", "0"], "--time-limit must be a positive finite number of seconds, got 0"),
        (["dpo", "--time-limit", "inf"], "--time-limit must be a positive finite number of seconds, got inf"),
        (["dpo", "--require", "existance"], r"--require must .*; got 'existance'; did you mean 'existence'\?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_before_anything_is_audited(calls, arguments, message):
    for also in ([], ["--json"]):
        assert re.search(message, fails("audit", *arguments, *also))
    assert calls == []


def test_too_few_workers_are_bad_usage(calls):
    result = invoke("audit", "dpo", "--workers", 0)
    assert (result.exit_code, result.stdout, calls) == (2, "", [])


# ----------------------------------------------------------------------------------------------------- what is asked


def test_only_and_seed_reach_the_audit(calls):
    assert (
        invoke("audit", "dpo", "--only", "existence, preservation", "--only", "improvement", "--seed", 7).exit_code == 0
    )
    assert (calls[0].only, calls[0].seed) == ({"preservation", "improvement", "existence"}, 7)
    assert invoke("audit", "dpo", "--only", "existence", "--require", "uniqueness").exit_code == 1
    assert calls[1].only == {"existence", "uniqueness"}  # what is required is judged too
    invoke("audit", "dpo", "--require", "uniqueness")
    assert calls[2].only is None  # all are
    result = invoke("audit", "dpo", "--time-limit", 12.5, "--json")
    assert calls[3].time_limit == 12.5
    assert json.loads(result.stdout)["made"]["dpo"]["call"] == "expo-analysis audit dpo --time-limit 12.5"


@pytest.mark.parametrize(
    ("losses", "required", "lacking"),
    [
        (["expo"], "preservation,existence", []),
        (["expo", "dpo"], "preservation,first_step", ["dpo, preservation: fails: It fails on the paper's own bandit"]),
        (["expo"], "consistency", ["expo, consistency: cannot tell: The solver proves no error bound"]),
        (
            ["regression_expo"],
            "monotone_path",
            ["regression_expo, monotone_path: not applicable: Its optimum"],
        ),
        (["dpo"], "existence,uniqueness", ["dpo, existence: fails", "dpo, uniqueness: fails"]),
    ],
)
def test_what_is_required_must_hold(losses, required, lacking):
    """For continuous integration: neither "not applicable" nor "cannot tell" will do, and JSON stays whole."""
    result = invoke("audit", *losses, "--require", required, "--json")
    assert result.exit_code == (1 if lacking else 0)
    assert list(json.loads(result.stdout)["losses"]) == losses
    told = [line for line in result.stderr.splitlines() if line.startswith("required, but not held: ")]
    assert len(told) == len(lacking)
    for line, expected in zip(told, lacking, strict=True):
        assert line.startswith(f"required, but not held: {expected}")


def test_a_required_loss_that_cannot_be_loaded_does_not_hold(folder):
    assert invoke("audit", "expo", "broken.py:Mine", "--require", "existence").exit_code == 1


def test_the_command_says_all_that_the_verdicts_depend_on_and_nothing_else(tmp_path):
    """Files and workers are no part of it, so that the same verdicts give the same reports."""
    result = invoke(
        *("audit", "dpo", "--option", "label_smoothing=0.1", "--quick", "--seed", 3, "--only", "existence"),
        *("--require", "existence", "--workers", 5, "--html", tmp_path / "x.html", "--json"),
    )
    call = json.loads(result.stdout)["made"]["dpo"]["call"]
    settings = "--option label_smoothing=0.1 --effort 0.1 --seed 3 --only existence --require existence"
    assert call == f"expo-analysis audit dpo {settings}"
    made = json.loads(invoke("audit", "--all", "--json").stdout)["made"]["dpo"]["call"]
    assert made == "expo-analysis audit --all"


# ---------------------------------------------------------------------------------------------------------- own losses


def test_a_loss_of_ones_own_is_called_by_its_name(folder, calls):
    given = audit_document("expo", "my_loss.py:Mine")
    assert list(given["losses"]) == ["expo", "mine"]
    mine = calls[0].objectives["mine"]
    assert mine.loss(np.array([-1.0]), np.array([-4.0])) == 4.0
    assert invoke("audit", "my_loss.py:Mine", "--option", "extra=3").exit_code == 0
    assert calls[1].objectives["mine"].extra == 3
    assert invoke("audit", "--all", str(folder / "my_loss.py") + ":Mine").exit_code == 0
    assert len(calls[2].objectives) == len(ea.CATALOGUE)


def test_losses_of_one_name_are_told_apart(folder, calls):
    """Two files with one class, a class with the name of a loss of the catalogue, whatever their order."""
    (folder / "taken.py").write_text(MINE.replace('name = "mine"', 'name = "dpo"'))
    assert invoke("audit", "my_loss.py:Mine", "numpy.py:Mine", "taken.py:Mine", "dpo").exit_code == 0
    assert list(calls[0].objectives) == ["mine", "mine (numpy.py:Mine)", "dpo (taken.py:Mine)", "dpo"]
    assert calls[0].objectives["dpo"] == ea.DPO(1.0)
    assert invoke("audit", "--all", "taken.py:Mine").exit_code == 0
    assert calls[1].objectives["dpo"] == ea.DPO(1.0) and "dpo (taken.py:Mine)" in calls[1].objectives
    assert "my_loss.py:Mine is given twice" in fails("audit", "my_loss.py:Mine", "my_loss.py:Mine")


def test_an_instance_of_ones_own(folder, calls):
    (folder / "my_loss.py").write_text(MINE + "\nhard = DPO(0.3, label_smoothing=0.1)\n")
    assert invoke("audit", "my_loss.py:hard").exit_code == 0
    assert calls[0].objectives == {"dpo": ea.DPO(1.0, label_smoothing=0.1)}


def test_a_file_may_have_the_name_of_a_module(folder, calls):
    assert invoke("audit", "numpy.py:Mine").exit_code == 0
    assert calls[0].objectives["mine"].name == "mine"
    assert __import__("numpy") is np


FAULTY = [
    ("none.py:Mine", r"none\.py: No such file or directory"),
    ("sub:Mine", r"sub: it is a directory"),
    ("notes.txt:Mine", r"notes\.txt: it is not a Python file"),
    ("my_loss.py:Yours", r"my_loss\.py: it has no class or function 'Yours'; its losses: Mine, Needy, Unfinished$"),
    ("my_loss.py:", r"my_loss\.py: it has no class or function ''"),
    ("my_loss.py:number", r"my_loss\.py: it has no class or function 'number'"),
    ("my_loss.py:Options", r"my_loss\.py:Options: it is not a loss"),
    (
        "my_loss.py:Unfinished",
        r"my_loss\.py:Unfinished: it cannot be made with lam=1\.0: "
        r"TypeError: Unfinished must define terms or pair_loss$",
    ),
    ("my_loss.py:Needy", r"my_loss\.py:Needy: it cannot be made with lam=1\.0: RuntimeError: tau must be given$"),
    ("broken.py:Mine", r"broken\.py: importing it failed in line 3: ZeroDivisionError: no way$"),
    ("syntax.py:Mine", r"syntax\.py: importing it failed in line 1: SyntaxError: '\(' was never closed$"),
    ("leaves.py:Mine", r"leaves\.py: importing it failed in line 1: SystemExit$"),
]


@pytest.mark.parametrize(("name", "message"), FAULTY, ids=[name for name, _ in FAULTY])
def test_what_is_wrong_with_ones_own_loss_is_said_in_one_line(folder, calls, name, message):
    (folder / "sub").mkdir()
    for _ in range(2):  # a failed import leaves nothing behind
        assert re.search(message, fails("audit", name).rstrip("\n"))
    assert calls == []


@pytest.mark.parametrize("name", ["none.py:Mine", "my_loss.py:Unfinished", "broken.py:Mine"])
def test_the_others_are_audited_when_ones_own_loss_fails(folder, calls, name):
    given = audit_document("expo", name)
    assert list(given["losses"]) == ["expo", name]
    assert isinstance(calls[0].objectives[name], ValueError)
    [remark] = given["remarks"][name]
    assert remark == str(calls[0].objectives[name])
    assert {verdict["verdict"] for verdict in given["losses"][name].values()} == {"cannot tell"}
    assert f"{name}  {name.split(':')[0]}" in invoke("audit", "expo", name).stdout  # the remark, on the terminal


def test_when_all_of_ones_own_losses_fail_each_is_named(folder, calls):
    line = fails("audit", "none.py:Mine", "broken.py:Mine")
    assert "none.py" in line and "broken.py" in line and calls == []


def test_options_of_ones_own_loss_are_checked(folder):
    assert "beta is not an option of 'my_loss.py:Mine'; accepted: ['extra']" in fails(
        "audit", "my_loss.py:Mine", "--option", "beta=2"
    )
    assert "option must be NAME=VALUE" in fails("audit", "my_loss.py:Mine", "--option", "beta")


def test_ones_own_loss_can_be_sent_to_a_fresh_process(folder):
    mine = make_loss("my_loss.py:Mine").with_lam(3.0)
    assert pickle.loads(pickle.dumps(mine)) == mine
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(evaluated, (mine,)).get(timeout=300) == ("Mine", 2.0, 36.0)


# ---------------------------------------------------------------------------------------------------------------- help


def test_examples_in_the_help(calls, tmp_path, monkeypatch):
    """Their pictures are drawn, and what is in the files is asked above."""
    monkeypatch.setattr("expo_analysis.figures.style.render", lambda figure, kind: b"")
    for arguments in examples("audit"):
        files = {"--html": "report.html", "--junit": "card.xml", "--badge": "card.svg"}
        for option, value in ({k: tmp_path / v for k, v in files.items()} | {"--figure": tmp_path}).items():
            if option in arguments:
                arguments[arguments.index(option) + 1] = str(value)
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    assert len(calls) == 7
    assert (tmp_path / "report.html").is_file() and (tmp_path / "report_card.png").is_file()


def test_a_bar_is_full_when_its_loss_is_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each loss has one that goes to 1, and is hidden then; the first is of all losses."""
    made: list[Any] = []

    class Kept(card_table.Bars):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            made.append(self)

    monkeypatch.setattr(card_table, "Bars", Kept)
    with card_table.progress_bars(2, Console(file=StringIO())) as report:
        (bars,) = made
        report(0.25, what="[asks]", task="dpo")
        report(1, 2, what="asks", task="expo")
        assert [bar.percentage for bar in bars.tasks] == [37.5, 25, 50]
        assert bars.tasks[1].description == r"dpo: \[asks]"
        report(1.0, task="dpo")
        assert [bar.visible for bar in bars.tasks] == [True, False, True] and bars.tasks[0].percentage == 75
    assert bars.tasks[0].finished and [bar.description for bar in bars.tasks[:1]] == ["2 losses"]
