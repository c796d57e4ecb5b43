"""The command line: what it prints where, and how it ends."""

import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from numpy.testing import assert_allclose
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis import cli
from expo_analysis._files import writable
from expo_analysis.cli import app

ROOT = Path(__file__).parent.parent
POLICIES = ["--reference", "0.4,0.4,0.2", "--optimal", "0.6,0.3,0.1"]
FIELDS = {
    *(
        "objective",
        "options",
        "policy",
        "log_policy",
        "value",
        "status",
        "message",
        "error_bound",
        "iterations",
        "certificate",
    ),
}
WORKED = [0.56674459, 0.32236506, 0.11089035]  # EXPO at lambda 0.1 on these policies


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def document(*arguments):
    """The JSON that a command prints, where it may print nothing else and no NaN."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    result = invoke(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout, parse_constant=refuse)


def fails(*arguments):
    """The one line on standard error of a command that must end with exit code 2."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"Error: .*\n", result.stderr), result.stderr
    return result.stderr


def examples(command):
    """The commands that a help text shows."""
    found = re.findall(r"^ +expo-analysis (.+)$", invoke(command, "--help").stdout, flags=re.MULTILINE)
    assert found
    return [shlex.split(line) for line in found]


# --------------------------------------------------------------------------------------------------------------- solve


def test_json_of_one_lambda_is_the_solution():
    given = document("solve", "expo", "--lam", 0.1, *POLICIES)
    assert set(given) == FIELDS
    assert_allclose(given["policy"], WORKED, atol=5e-9, rtol=0)

    solution = ea.solve(ea.EXPO(0.1), ea.Bandit(np.array([0.4, 0.4, 0.2]), np.array([0.6, 0.3, 0.1])))
    assert given == solution.to_dict()
    assert (given["status"], given["options"]) == ("optimal", {"lam": 0.1})


def test_json_of_several_lambdas_is_a_list_of_solutions():
    given = document("solve", "dpo", "--lam", 2, "--lam", "1e-1:10:3", "--option", "label_smoothing=0.1", *POLICIES)
    assert set(given) == {"solutions"}
    assert [solution["options"]["lam"] for solution in given["solutions"]] == pytest.approx([2, 0.1, 1, 10], rel=1e-15)
    bandit = ea.Bandit(np.array([0.4, 0.4, 0.2]), np.array([0.6, 0.3, 0.1]))
    for solution in given["solutions"]:
        assert set(solution) == FIELDS
        assert solution["options"]["label_smoothing"] == 0.1
        alone = ea.solve(ea.DPO(solution["options"]["lam"], label_smoothing=0.1), bandit)
        assert_allclose(solution["policy"], alone.policy, rtol=1e-12)


def test_json_of_several_prompts_and_names():
    given = document("solve", "expo", "--lam", 0.5, "--bandit", "examples/two_prompts.csv")
    assert set(given) == FIELDS | {"responses", "prompts"}
    assert (given["prompts"], given["responses"]) == (["good", "bad"], ["A", "B", "C"])
    assert np.shape(given["policy"]) == (2, 3)
    assert_allclose(given["policy"][0], [0.6, 0.3, 0.1], atol=1e-12)  # what is optimal already stays
    assert given["status"] == ["optimal", "optimal"]
    assert [len(given[name]) for name in ("value", "message", "error_bound", "iterations")] == [2, 2, 2, 2]


def test_json_of_what_has_no_minimiser_holds_null():
    wins = ["--bandit", "examples/wins.csv", "--reference", "examples/reference.csv"]
    given = document("solve", "dpo", "--lam", 0.5, *wins)
    assert (given["status"], given["value"], given["error_bound"]) == ("no_minimiser", None, None)
    assert given["responses"] == ["concise", "detailed", "evasive"]
    assert given["policy"][2] == 0
    assert document("solve", "expo", "--lam", 0.5, *wins)["status"] == "optimal"


def test_pairs_and_reference_choices_reach_the_bandit():
    for pairs in ("uniform", "reference"):
        given = document("solve", "expo", "--lam", 1, "--pairs", pairs, *POLICIES)
        bandit = ea.Bandit(np.array([0.4, 0.4, 0.2]), np.array([0.6, 0.3, 0.1]), pairs)
        assert given == ea.solve(ea.EXPO(1.0), bandit).to_dict()
    for reference, policy in (("uniform", [1 / 3] * 3), ("examples/reference.csv", [0.4, 0.4, 0.2])):
        given = document("solve", "expo", "--lam", 1e12, "--bandit", "examples/wins.csv", "--reference", reference)
        assert_allclose(given["policy"], policy, atol=1e-9)


def test_numbers_on_the_command_line_are_a_reference_for_win_counts(tmp_path):
    wins = tmp_path / "wins.csv"
    wins.write_text("winner,loser\n0,1\n1,0\n")
    given = document("solve", "dpo", "--lam", 1, "--bandit", wins, "--reference", "0.3,0.7")
    assert_allclose(given["policy"], [0.3, 0.7], atol=1e-12)


@pytest.mark.parametrize(
    ("loss", "option", "expected"),
    [
        ("dpo", ["label_smoothing=0.1", "robust=true"], ea.DPO(1.0, label_smoothing=0.1, robust=True)),
        ("fdpo", ["divergence=alpha", "alpha=2"], ea.FDPO(1.0, divergence="alpha", alpha=2)),
        ("regression_expo", ["criterion=cross_entropy"], ea.RegressionEXPO(1.0, criterion="cross_entropy")),
        ("rlhf", ["divergence=chi_square"], ea.RLHF(1.0, divergence="chi_square")),
    ],
)
def test_options_are_read_as_what_they_are(loss, option, expected):
    given = document("solve", loss, "--lam", 1, *(f"--option={o}" for o in option), *POLICIES)
    bandit = ea.Bandit(np.array([0.4, 0.4, 0.2]), np.array([0.6, 0.3, 0.1]))
    assert given == ea.solve(expected, bandit).to_dict()


def test_lambda_may_be_called_beta():
    """As other libraries call it, and together with the name it has here."""
    given = document("solve", "dpo", "--beta", 0.5, *POLICIES)
    assert given == document("solve", "dpo", "--lam", 0.5, *POLICIES)
    assert re.search("beta must be a positive finite number", fails("solve", "dpo", "--beta", "-1", *POLICIES))


@pytest.mark.parametrize("command", [["solve", "dpo"], ["evaluate", "x", "--data", "y"], ["experiment"]])
@pytest.mark.parametrize("words", [["--beta", "0.5", "--lam", "2"], ["--lam=2", "--beta=0.5", "--lam=1"]])
def test_an_option_goes_by_one_of_its_names(command, words):
    first, second = dict.fromkeys(word.split("=")[0] for word in words if word.startswith("--"))
    line = fails(*command, *words)
    assert line == f"Error: give {first} or {second}, not both: they are two names of one option\n"


COMMANDS = {
    "audit": ["dpo", "--effort"],
    "census": ["--output"],
    "diagnose": ["run", "--objective"],
    "diff": ["dpo", "ipo", "--effort"],
    "evaluate": ["x", "--data", "y", "--reward"],
    "experiment": ["--scale"],
    "explore": ["-o"],
    "figures": ["dpo", "-o"],
    "losses": [],
    "predict": ["--model", "x", "--dataset_name", "y", "--split"],
    "preferences": ["--model", "x", "--prompts", "y", "--seed"],
    "rank": ["x.csv", "--alpha"],
    "recipes": [],
    "reproduce": ["--output"],
    "simulate": ["displacement", "-o"],
    "solve": ["dpo", "--lam", "1", "--bandit"],
    "study": [],
}
"""Every command of typer's, with an option that has one value; finetune's parser is its own (test_llm_given.py)."""


def test_the_commands_are_all_there():
    commands = typer.main.get_command(cli.app).commands
    assert set(COMMANDS) == set(commands) - {"finetune"}
    for name, words in COMMANDS.items():
        single = [
            p for p in commands[name].params if p.param_type_name == "option" and not p.is_flag and not p.multiple
        ]
        assert bool(single) == bool(words)


@pytest.mark.parametrize("command", [name for name, words in COMMANDS.items() if words])
def test_an_option_has_one_value(command):
    """Of two values one would be ignored without a word; typer takes the last."""
    *first, option = COMMANDS[command]
    line = fails(command, *first, option, "one", option, "two")
    assert line == f"Error: give {option} once, got 'one' and 'two'\n"
    joined = f"{option}two" if len(option) == 2 else f"{option}=two"
    assert fails(command, joined, *first, option, "one") == f"Error: give {option} once, got 'two' and 'one'\n"


def test_the_same_value_twice_is_one_value(tmp_path):
    once = document("solve", "dpo", "--lam", 1, *POLICIES)
    assert document("solve", "dpo", "--lam", 1, *POLICIES, *POLICIES) == once
    both = document("solve", "dpo", "--lam", 1, "--lam", 1, *POLICIES)  # repeatable: what is asked for twice is given
    assert both == {"solutions": [once, once]}


def test_a_loss_of_ones_own_is_solved(tmp_path):
    """The boosting loss has DPO's optimum at twice the lambda; a class and an instance, whose lambda is given."""
    (tmp_path / "mine.py").write_text(f"import sys\nsys.path.append({str(ROOT / 'examples')!r})\n{OWN}")
    for name in ("Exponential", "hard"):
        given = document("solve", f"{tmp_path}/mine.py:{name}", "--lam", 0.5, *POLICIES)
        assert (given["objective"], given["options"]["lam"]) == ("exponential", 0.5)
        assert_allclose(given["policy"], document("solve", "dpo", "--lam", 1, *POLICIES)["policy"], atol=1e-12)
    table = invoke("solve", f"{tmp_path}/mine.py:hard", "--lam", 0.5, *POLICIES).stdout
    assert table.startswith("exponential ") and str(tmp_path) not in table


OWN = """\
from exponential import Exponential
import expo_analysis as ea

hard = Exponential(3.0)

class Broken(ea.PairObjective):
    name = "broken"
    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        raise KeyError("margin")
"""


def test_what_a_loss_of_ones_own_raises_is_one_line(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"import sys\nsys.path.append({str(ROOT / 'examples')!r})\n{OWN}")
    line = OWN.splitlines().index('        raise KeyError("margin")') + 3
    expected = f"Error: mine.py, line {line}: KeyError: 'margin'\n"
    assert fails("solve", f"{file}:Broken", "--lam", 1, *POLICIES) == expected


@pytest.mark.parametrize(
    ("name", "why"),
    [("folder", "Is a directory"), ("nowhere/x.html", "No such file or directory"), ("file/x.html", "Not a directory")],
)
def test_what_cannot_be_written_is_named_as_it_was_given(tmp_path, name, why):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert fails("explore", "-o", tmp_path / name) == f"Error: {tmp_path / name}: {why}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_method_is_insisted_on():
    closed = document("solve", "ipo", "--lam", 1, *POLICIES)
    newton = document("solve", "ipo", "--lam", 1, "--method", "newton", *POLICIES)
    assert closed["iterations"] == 0 < newton["iterations"]


def test_table_of_one_prompt():
    result = invoke("solve", "expo", "--lam", 0.1, *POLICIES)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["lambda", "status", "error", "bound", "response", "policy", "reference", "optimal"] in rows
    assert ["1", "0.32236506", "0.4", "0.3"] in rows
    [first] = [row for row in rows if row[:2] == ["0.1", "optimal"]]
    assert first[3:] == ["0", "0.56674459", "0.4", "0.6"]
    assert 0 < float(first[2]) < 1e-11
    assert rows[-1] == ["the", "minimiser"]


def test_table_of_names_statuses_and_messages():
    result = invoke("solve", "dpo", "--lam", 0.5, "--bandit", "examples/wins.csv", "--reference", "uniform")
    assert re.search(r"no_minimiser +none proven +0 concise ", result.stdout)
    assert re.search(r"\n +2 evasive +0 +0\.333333 *\n", result.stdout)
    assert "optimal" not in result.stdout  # not known for win counts
    words = " ".join(result.stdout.split())
    assert re.search(r"no minimiser: responses \[evasive\] lose every comparison .*; .* evasive; in the limit", words)


def test_table_has_a_gap_between_the_prompts():
    """And nowhere between the responses of one."""
    result = invoke("solve", "expo", "--lam", 0.5, "--bandit", "examples/two_prompts.csv")
    first = [(line.split() or [""])[0] for line in result.stdout.splitlines()]
    start = first.index("0.5")
    assert first[start : start + 8] == ["0.5", "1", "2", "", "0.5", "1", "2", ""]


def test_table_says_where_a_message_holds(tmp_path):
    path = tmp_path / "b.json"
    counts = [[[0, 2], [1, 0]], [[0, 2], [0, 0]]]
    path.write_text(json.dumps({"reference": [[0.5, 0.5], [0.5, 0.5]], "counts": counts}))
    result = invoke("solve", "dpo", "--lam", 1, "--lam", 2, "--bandit", path)
    assert re.search(r"^lambda 1, prompt 0; lambda 2, prompt 0: the minimiser$", result.stdout, flags=re.MULTILINE)
    assert re.search(r"^lambda 1, prompt 1; lambda 2, prompt 1: no minimiser", result.stdout, flags=re.MULTILINE)


def test_names_are_not_markup(tmp_path):
    path = tmp_path / "b.csv"
    path.write_text("response,reference,optimal\n[red]x[/red],0.5,0.4\n[/],0.5,0.6\n")
    result = invoke("solve", "expo", "--lam", 1, "--bandit", path)
    assert result.exit_code == 0
    assert "0 [red]x[/red] " in result.stdout


@pytest.mark.parametrize("arguments", examples("solve"), ids=" ".join)
def test_examples_in_the_help_of_solve(arguments):
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ppo", "--lam", "1", *POLICIES], r"objective must be one of \['a_star_po', .*'wrpo'\], got 'ppo'"),
        (["exppo", "--lam", "1", *POLICIES], r"did you mean 'expo'\? objective must be one of .*, got 'exppo'$"),
        (["none.py:Loss", "--lam", "1", *POLICIES], "none.py: No such file or directory"),
        (["qpo", "--lam", "1", *POLICIES], r"qpo is made of two Python functions.*ea\.QPO"),
        (["dpo", "--lam", "0", *POLICIES], "lam must be a positive finite number.*got '0'"),
        (["dpo", "--lam", "-1", *POLICIES], "lam must be a positive.*got '-1'"),
        (["dpo", "--lam", "nan", *POLICIES], "lam must be a positive.*got 'nan'"),
        (["dpo", "--lam", "1", "--lam", "inf", *POLICIES], "lam must be a positive.*got 'inf'"),
        (["dpo", "--lam", "much", *POLICIES], "lam must be a positive.*got 'much'"),
        (["dpo", "--lam", "1:10", *POLICIES], "lam must be a positive.*a range such as .*got '1:10'"),
        (["dpo", "--lam", "0:10:3", *POLICIES], "lam must be a positive.*got '0:10:3'"),
        (["dpo", "--lam", "1:10:3:4", *POLICIES], "lam must be a positive.*got '1:10:3:4'"),
        (["dpo", "--lam", "1:10:2.5", *POLICIES], "lam must be a positive.*got '1:10:2.5'"),
        (["dpo", "--lam", "1:10:1", *POLICIES], "lam must be a range of 2 to 100000 values, got '1:10:1'"),
        (["dpo", "--lam", "1:10:1000000", *POLICIES], "lam must be a range of 2 to 100000 values"),
        (["expo", "--lam", "1", "--option", "beta=2", *POLICIES], "beta is not an option of 'expo'; accepted: none"),
        (["dpo", "--lam", "1", "--option", "beta=2", *POLICIES], r"beta .* accepted: \['label_smoothing', 'robust'\]"),
        (["dpo", "--lam", "1", "--option", "lam=2", *POLICIES], "lam is not an option"),
        (["dpo", "--lam", "1", "--option", "name=2", *POLICIES], "name is not an option"),
        (["dpo", "--lam", "1", "--option", "robust", *POLICIES], "option must be NAME=VALUE.*got 'robust'"),
        (["dpo", "--lam", "1", "--option", "robust=yes", *POLICIES], "robust must be True or False, got 'yes'"),
        (["dpo", "--lam", "1", *["--option", "robust=true"] * 2, *POLICIES], "option robust is given twice"),
        (["dpo", "--lam", "1", "--option", "label_smoothing=2", *POLICIES], r"label_smoothing must be .*got 2"),
        (["fdpo", "--lam", "1", "--option", "divergence=l2", *POLICIES], "divergence must be one of .*'l2'"),
        (["fdpo", "--lam", "1", "--option", "divergence=2", *POLICIES], "divergence must be a name"),
        (["dpo", "--lam", "1"], "give both --reference and --optimal, or --bandit"),
        (["dpo", "--lam", "1", "--reference", "0.5,0.5"], "give both --reference and --optimal, or --bandit"),
        (["dpo", "--lam", "1", "--reference", "a,b", "--optimal", "0.5,0.5"], "reference must be numbers.*got 'a,b'"),
        (["dpo", "--lam", "1", "--reference", "0.5,0.6", "--optimal", "0.5,0.5"], r"reference must sum .* of 1\.1"),
        (["dpo", "--lam", "1", "--reference", "0.5,0.5", "--optimal", "1"], "optimal must have the shape of reference"),
        (["dpo", "--lam", "1", "--pairs", "all", *POLICIES], "pairs must be 'uniform' or 'reference' here"),
        (["dpo", "--lam", "1", "--bandit", "examples/none.json"], "examples/none.json: No such file or directory"),
        (["dpo", "--lam", "1", "--bandit", "examples"], "examples: the name of a bandit's file must end in"),
        (["dpo", "--lam", "1", "--bandit", "examples/wins.csv"], "examples/wins.csv: win counts need a reference"),
        (
            ["dpo", "--lam", "1", "--bandit", "examples/wins.csv", "--reference", "some"],
            r"reference must be numbers separated by commas \(or uniform, or a \.csv file\).*got 'some'",
        ),
        (
            ["dpo", "--lam", "1", "--bandit", "examples/wins.csv", "--reference", "none.csv"],
            "none.csv: No such file or directory",
        ),
        (["dpo", "--lam", "1", "--bandit", "examples/wins.json", "--pairs", "uniform"], "pairs is not used beside"),
        (["dpo", "--lam", "1", "--bandit", "examples/wins.json", "--optimal", "1"], "optimal is not used beside"),
        (["dpo", "--lam", "1", "--bandit", "examples/wins.json", "--reference", "uniform"], "reference is not used"),
        (["dpo", "--lam", "1", "--method", "guess", *POLICIES], "method must be one of .*'newton'.*got 'guess'"),
        (["spo", "--lam", "1", "--method", "newton", *POLICIES], "method 'newton' is not available for SPO"),
        (["rlhf", "--lam", "1", "--method", "newton", *POLICIES], "method 'newton' is not available for RLHF"),
        (["expo", "--lam", "1", "--method", "closed_form", *POLICIES], "method 'closed_form' is not available"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message):
    for also in ([], ["--json"]):
        assert re.search(message, fails("solve", *arguments, *also))


@pytest.mark.parametrize("arguments", [[], ["solve"], ["solve", "dpo"], ["train"], ["solve", "dpo", "--lamb", "1"]])
def test_bad_usage_is_exit_code_2_and_leaves_standard_output_alone(arguments):
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: " in result.stderr


def test_faults_of_this_package_keep_their_traceback(monkeypatch):
    def broken(*_):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr("expo_analysis.optima.solve_path", broken)
    result = invoke("solve", "dpo", "--lam", 1, *POLICIES)
    assert isinstance(result.exception, ValueError)
    assert result.exit_code == 1


def test_control_c_ends_quietly(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("expo_analysis.optima.solve_path", interrupted)
    result = invoke("solve", "dpo", "--lam", 1, *POLICIES)
    assert (result.exit_code, result.output) == (130, "")


# ----------------------------------------------------------------------------------------------------------- reproduce


@pytest.fixture
def drawn(monkeypatch):
    """Replace the drawing, which has its own tests, by one that records where it is to write."""
    calls = []

    def draw(directory, progress, *, full=False):
        calls.append(directory if not full else (directory, "full"))
        progress(0.5, what="drawing")
        return [directory / "one.png", directory / "one.csv"]

    monkeypatch.setattr(importlib.import_module("expo_analysis.studies.reproduce"), "reproduce", draw)
    return calls


def test_reproduce_prints_what_it_wrote_and_shows_progress_elsewhere(drawn, tmp_path):
    output = tmp_path / "new" / "figures"
    result = invoke("reproduce", "--output", output)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [str(output / "one.png"), str(output / "one.csv")]
    assert re.search(r"drawing .* 50%", result.stderr)
    assert drawn == [output]
    assert output.is_dir()


def test_example_in_the_help_of_reproduce(drawn, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for arguments in examples("reproduce"):
        assert invoke(*arguments).exit_code == 0
    assert invoke("reproduce").exit_code == 0
    assert invoke("reproduce", "--full").exit_code == 0
    assert drawn == [Path("figures"), Path("figures"), (Path("figures"), "full")]


def test_a_directory_that_cannot_be_written_is_bad_input(drawn, tmp_path):
    file = tmp_path / "file"
    file.touch()
    expected = f"Error: directory must be a directory or a new name, got the file {file}\n"
    assert fails("reproduce", "--output", file) == expected
    assert fails("reproduce", "-o", file / "below") == f"Error: {file / 'below'}: Not a directory\n"
    if os.geteuid():  # root may write anywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        assert "Permission denied" in fails("reproduce", "-o", tmp_path / "closed")
    assert drawn == []


def test_a_closed_directory_is_named(tmp_path, monkeypatch):
    """And not the file that was to try it; for every user, root among them."""

    def closed(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "tmpabc"))

    monkeypatch.setattr("tempfile.TemporaryFile", closed)
    with pytest.raises(PermissionError) as caught:
        writable(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_a_report_card_that_no_audit_wrote_is_bad_input(drawn, tmp_path):
    (tmp_path / "report_card.csv").write_text("loss\ndpo\n")
    assert "report_card.csv: must have the columns" in fails("reproduce", "--output", tmp_path)
    assert drawn == []


# ------------------------------------------------------------------------------------------------------ true processes


def run(*arguments, **options):
    command = [sys.executable, "-m", "expo_analysis", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False, **options)


def test_version():
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"expo-analysis {ea.__version__}\n")


def test_a_process_prints_one_document_and_nothing_else():
    result = run("solve", "expo", "--lam", "0.1", *POLICIES, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert_allclose(json.loads(result.stdout)["policy"], WORKED, atol=5e-9, rtol=0)


def test_a_process_tells_errors_apart_from_output():
    result = run("solve", "expo", "--lam", "0", *POLICIES, "--json")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: lam must be")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("also", [[], pytest.param(["--json"], marks=pytest.mark.slow)])
def test_a_closed_pipe_ends_a_process_quietly(also):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "expo_analysis", "solve", "expo", "--lam", "1e-3:1e3:99", *POLICIES, *also]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.slow
def test_a_process_draws_the_figures(tmp_path):
    [arguments] = examples("reproduce")
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    written = [tmp_path / line for line in result.stdout.splitlines()]
    assert written
    assert all(path.is_file() for path in written)
    assert {path.suffix for path in written} >= {".png", ".pdf", ".csv", ".md"}


# -------------------------------------------------------------------------------------------------------------- losses


def test_losses_are_those_of_the_catalogue_with_the_options_of_each():
    listed = document("losses")
    assert list(listed) == list(ea.CATALOGUE)
    for name, entry in listed.items():
        cls = ea.CATALOGUE[name]
        assert entry["class"] == cls.__name__
        assert set(entry["options"]) == set(inspect.signature(cls).parameters) - {"lam"}
        assert entry["summary"] and "TRL:" not in entry["summary"]
        assert " ".join(cls.__doc__.split()).startswith(entry["summary"])
    lines = invoke("losses").stdout.splitlines()
    width = max(map(len, listed))
    for line, (name, entry) in zip(lines, listed.items(), strict=True):
        options = f" [{', '.join(entry['options'])}]" if entry["options"] else ""
        assert line == name.ljust(width) + "  " + entry["summary"] + options
