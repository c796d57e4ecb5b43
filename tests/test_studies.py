"""What all studies have in common: four parts, words without a number of their own, no prose among the Python."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import re
from pathlib import Path

import pandas as pd
import pytest
from jinja2 import Environment, UndefinedError
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

import expo_analysis
from expo_analysis import CATALOGUE
from expo_analysis.figures.looks import VARIANTS, look_of, loss_label
from expo_analysis.figures.style import render
from expo_analysis.studies import STUDIES, Settings, words
from expo_analysis.studies import settings as settings_module

from .committed import FOLDER, committed

PACKAGE = Path(expo_analysis.__file__).parent
ROOMS = ("studies", "paper.py")


@pytest.mark.parametrize("name", STUDIES)
def test_each_has_four_parts_in_one_folder(name: str) -> None:
    study, folder = STUDIES[name], PACKAGE / "studies" / name
    assert (folder / "numbers.py").is_file() and (folder / "words.py").is_file() and (folder / "words.md.j2").is_file()
    assert study.question.endswith("?") or "?" in study.question or ":" in study.question
    assert "\n" not in study.question and len(study.question) < 160 and re.fullmatch(r"[a-z_0-9]+", study.name)
    defaults = study.settings()
    assert dataclasses.is_dataclass(defaults) and type(defaults).__dataclass_params__.frozen  # type: ignore[attr-defined]
    if name != "language_model":  # whose settings are of a room below
        assert isinstance(defaults, Settings) and isinstance(study.settings(full=True), type(defaults))


def test_words_and_pictures_have_no_digits_that_are_not_written() -> None:
    """Another processor's last digits change no file: a picture that was drawn of them did."""
    study = STUDIES["simplex"]
    tables = study.read(FOLDER)
    assert tables is not None
    shaken = {name: table.assign(y1=table["y1"] * (1 + 4e-13)) for name, table in tables.items()}
    assert not shaken["simplex"].equals(tables["simplex"])
    drawn, other = (
        [line.get_xydata().tolist() for line in study.draw(given)["simplex"].findobj(Line2D)]
        for given in (tables, shaken)
    )
    assert drawn != other
    first, second = study.show(tables), study.show(shaken)
    assert first.text == second.text
    assert render(first.figure, "pdf") == render(second.figure, "pdf")


def colours_of(figure: Figure) -> set[str]:
    """Of everything that is drawn and no grey."""
    drawn: list[object] = []
    for line in figure.findobj(Line2D):
        drawn += [line.get_color()] * (line.get_linestyle() != "None")
        drawn += [line.get_markerfacecolor(), line.get_markeredgecolor()] * (line.get_marker() != "None")
    for patch in figure.findobj(Patch):
        drawn += [patch.get_facecolor(), patch.get_edgecolor()]
    for many in figure.findobj(Collection):
        drawn += [*many.get_facecolor(), *many.get_edgecolor()]
    drawn += [text.get_color() for text in figure.findobj(Text)]
    found = {to_hex(colour) for colour in drawn if not (isinstance(colour, str) and colour == "none")}
    return {colour for colour in found if len({colour[1:3], colour[3:5], colour[5:7]}) > 1}


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "report_card"])  # whose colours are verdicts
def test_a_colour_is_a_loss_that_the_picture_names(name: str) -> None:
    for figure in committed(name).figures.values():
        words = " ".join(" ".join(text.get_text().split()) for text in figure.findobj(Text)).lower()
        named = {x for x in CATALOGUE if loss_label(x).split(",")[0].split(" (")[0].lower() in words}
        named |= {
            x for x, (stem, label) in VARIANTS.items() if stem in named and label.split(", ")[-1].lower() in words
        }
        assert colours_of(figure) <= {look_of(x).colour for x in named}


def test_places_and_tables_are_of_one_study() -> None:
    places = [study.place for study in STUDIES.values()]
    assert places == sorted(set(places))
    tables = [table for study in STUDIES.values() for table in study.tables]
    assert len(tables) == len(set(tables))
    assert {path.stem for path in FOLDER.glob("*.csv")} == set(tables)


def test_settings_that_are_not_there_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"^'stepz' is no setting of fusion; did you mean 'steps'\?: it has \['steps'\]"
    ):
        STUDIES["fusion"].settings(stepz=3)
    with pytest.raises(ValueError, match=r"^steps must be a whole number of at least 1, got 0"):
        STUDIES["fusion"].settings(steps=0)
    assert STUDIES["fusion"].settings(full=True).steps > STUDIES["fusion"].settings(steps=7).steps == 7


@pytest.mark.parametrize("name", STUDIES)
def test_words_follow_their_tables(name: str) -> None:
    """What is committed; and a study whose words call numbers says something else of other numbers."""
    study, shown = STUDIES[name], committed(name)
    assert shown.text in (FOLDER / "README.md").read_text()
    assert "nan" not in shown.text and "{{" not in shown.text and max(map(len, _running(shown.text))) <= words.WIDTH
    source = (PACKAGE / "studies" / name / "words.md.j2").read_text()
    if name == "simplex":
        assert "|f(" not in source
        return
    other = {stem: _off(table) for stem, table in shown.tables.items()}
    try:
        assert study.say(other, shown.figures) != shown.text
    except (KeyError, ValueError, IndexError, UndefinedError):
        return  # the keys of rows are numbers too


def _running(text: str) -> list[str]:
    """Lines of paragraphs."""
    return [line for line in text.splitlines() if not line.startswith(words.VERBATIM)]


def _off(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with other numbers in its last columns, which no row is found by."""
    numbers = [column for column in table.select_dtypes("float") if column not in ("lam", "log_lam", "strength")]
    return table.assign(**{str(column): 0.37 * table[column] + 0.11 for column in numbers})


def test_words_refuse_what_they_cannot_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def given(template: str, facts: dict[str, object], tables: tuple[str, ...] = ("a",)) -> str:
        from jinja2 import DictLoader, StrictUndefined

        made = Environment(loader=DictLoader({words.TEMPLATE: template}), undefined=StrictUndefined)
        made.filters |= {"f": format, "each": words.each}
        monkeypatch.setattr(words, "environment", lambda package: made)
        return words.section("own", facts, tables, ())

    assert given("## T\n\n{{ x|f('.2f') }}\n\n{{ files() }}", {"x": 1.0}) == "## T\n\n1.00\n\nFiles: [a.csv](a.csv)"
    with pytest.raises(UndefinedError, match="'y' is undefined"):
        given("{{ y }} {{ files() }}", {"x": 1.0})
    with pytest.raises(ValueError, match=r"^own: words\.md\.j2 does not link b\.csv"):
        given("{{ files('a') }}", {}, ("a", "b"))
    with pytest.raises(ValueError, match=r"^own: facts must not be called 'files'"):
        given("{{ files() }}", {"files": 1})


def prose(source: str) -> list[str]:
    """Running text of more than 120 characters that is no docstring: strings, and f-strings as they are written."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)  # type: ignore[misc]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if isinstance(parents[node], ast.Expr | ast.JoinedStr):  # a docstring; a part of the above
                continue
            text = node.value
        else:
            continue
        text = " ".join(text.split())
        if len(text) > 120 and text.count(" ") > 10:
            found.append(text)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_prose_is_in_templates(room: str) -> None:
    paths = [PACKAGE / room] if room.endswith(".py") else sorted((PACKAGE / room).rglob("*.py"))
    for path in paths:
        assert not prose(path.read_text()), path


def test_prose_among_python_is_noticed() -> None:
    long = "It is well known that " + "and so on " * 12
    assert (
        prose(f"show({long!r})") and prose(f'show(f"{long} {{x:.2f}}")') and prose(f"x = ({long[:70]!r} {long[70:]!r})")
    )
    assert not prose(f'def f():\n    """{long}"""\n') and not prose(f"X = 1\n{long!r}\n") and not prose("x = 'short'")


def test_examples() -> None:
    for module in (settings_module, words):
        done = doctest.testmod(module)
        assert done.attempted and not done.failed
