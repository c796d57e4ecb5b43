"""Which exceptions become one sentence, and which keep their traceback."""

from __future__ import annotations

import doctest
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from expo_analysis import _errors
from expo_analysis._errors import did_you_mean, one_sentence
from expo_analysis.own_file import load_file


def raised(function: Any, *args: Any) -> Exception:
    try:
        function(*args)
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


FOREIGN = {
    "a class of another library": (lambda: yaml.safe_load("[1"), r"^ParserError: while parsing .*=1 shows where$"),
    "a reader's own": (lambda: zipfile.ZipFile(__file__), r"^BadZipFile: File is not a zip file; "),
    "a JSON error, which is a ValueError": (lambda: json.loads("{"), r"^Expecting property name enclosed in double"),
    "a builtin one, from another library": (lambda: np.array([1]).view("no"), r"^data type 'no' not understood$"),
    "a file": (lambda: Path("/nowhere/at/all").read_text(), r"^/nowhere/at/all: No such file or directory$"),
    "one without a message": (lambda: json.loads(object()), "JSON object must be str"),
}


@pytest.mark.parametrize(("function", "message"), FOREIGN.values(), ids=FOREIGN)
def test_what_others_raise_is_one_line(function: Any, message: str) -> None:

    sentence = one_sentence(raised(function))
    assert sentence is not None and re.search(message, sentence) and "\n" not in sentence


def test_a_cause_is_named_with_it() -> None:
    """As `datasets` has it, whose own message says nothing."""

    class Foreign(Exception):
        pass

    Foreign.__module__ = "datasets.exceptions"

    def fail() -> None:
        try:
            int("x")
        except ValueError as error:
            raise Foreign("while generating") from error

    expected = "Foreign: while generating (ValueError: invalid literal for int() with base 10: 'x'); "
    assert one_sentence(raised(fail)) == f"{expected}EXPO_ANALYSIS_TRACEBACK=1 shows where"


def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> Any:
    """A function of a file that counts as the package's."""
    monkeypatch.setattr(_errors, "PACKAGE", tmp_path)
    scope: dict[str, Any] = {}
    exec(compile(code, str(tmp_path / "ours.py"), "exec"), scope)
    return scope["fail"]


def test_faults_of_ours_keep_their_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the line that raised is the package's; one that it called may have raised for the input's sake."""
    ours = planted(tmp_path, monkeypatch, "def fail(x):\n    return {}[x]\n")
    assert one_sentence(raised(ours, 1)) is None
    through = planted(tmp_path, monkeypatch, "import fractions\ndef fail(x):\n    return fractions.Fraction(1, 0)\n")
    sentence = one_sentence(raised(through, 1))
    assert sentence is not None and sentence.startswith("ZeroDivisionError: ")


def test_our_own_classes() -> None:
    class Refused(ValueError):
        pass

    class Broken(RuntimeError):
        pass

    Refused.__module__ = Broken.__module__ = f"{_errors.PACKAGE.name}.somewhere"
    assert one_sentence(Refused("no\n  good")) == "no good"
    assert one_sentence(Broken("no good")) is None


def test_what_a_file_of_the_users_raises_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(x):\n    return g(x)\n\ndef g(x):\n    return x['no']\n")
    error = raised(load_file(tmp_path / "mine.py").f, {})
    assert one_sentence(error) == "mine.py, line 5: KeyError: 'no'"


def test_nothing_is_made_a_sentence_of_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPO_ANALYSIS_TRACEBACK", "1")
    assert one_sentence(ValueError("no")) is None


@pytest.mark.parametrize(
    ("value", "accepted", "meant"),
    [
        ("exppo", ["dpo", "expo"], "expo"),
        ("DPO", ["dpo", "ipo"], "dpo"),
        ("RegressionEXPO", ["expo", "regression_expo"], "regression_expo"),
        ("lamda", ["lam", "beta", "Lambda"], "Lambda"),
        ("dop", ["dpop", "dpo", "odpo"], "dpo"),
        ("dpoo", ["dpop", "dpo", "odpo"], "dpo"),
        ("xyzzy", ["dpo"], None),
        (3, ["3"], None),
        ("none", [None, 1], None),
    ],
)
def test_names_that_are_nearly_right(value: Any, accepted: list[Any], meant: str | None) -> None:
    assert did_you_mean(value, accepted) == ("" if meant is None else f"; did you mean {meant!r}?")


def test_examples() -> None:
    found = doctest.testmod(_errors)
    assert found.attempted >= 1 and not found.failed
