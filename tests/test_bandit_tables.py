"""Tables of every kind from files of every kind: what they mean, and what is said of wrong ones."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import expo_analysis as ea
from expo_analysis.bandit.comparisons import REWARDS
from expo_analysis.bandit.files import read_named_bandits

ROOT = Path(__file__).parents[1]
FILES = Path(__file__).parent / "files"
Write = Callable[[str, pd.DataFrame], Path]


def as_csv(path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(path, index=False)


def as_tsv(path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(path, index=False, sep="\t")


def as_json(path: Path, frame: pd.DataFrame) -> None:
    frame.to_json(path, orient="records")


def as_lines(path: Path, frame: pd.DataFrame) -> None:
    frame.to_json(path, orient="records", lines=True)


def as_parquet(path: Path, frame: pd.DataFrame) -> None:
    frame.to_parquet(path)


FORMATS: dict[str, tuple[Callable[[Path, pd.DataFrame], None], int]] = {
    ".csv": (as_csv, 2),
    ".csv.gz": (as_csv, 2),
    ".tsv": (as_tsv, 2),
    ".tsv.gz": (as_tsv, 2),
    ".json": (as_json, 1),
    ".json.gz": (as_json, 1),
    ".jsonl": (as_lines, 1),
    ".jsonl.gz": (as_lines, 1),
    ".parquet": (as_parquet, 1),
}
"""How pandas writes each (compressed by the name's ending), and the number of its first row."""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, frame: pd.DataFrame) -> Path:
        path = tmp_path / name
        FORMATS[name[name.index(".") :]][0](path, frame)
        return path

    return write


def frame(header: str, *rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=header.split(","))


ABC = ("a", "b", "c")
A_B, A_C, B_A = [[0, 1], [0, 0]], [[0, 0, 1], [0, 0, 0], [0, 0, 0]], [[0, 0], [1, 0]]

FORMS: dict[str, tuple[pd.DataFrame, Any]] = {
    "wins": (frame("winner,loser", ("a", "b"), ("a", "b"), ("b", "a")), [[0, 2], [1, 0]]),
    "fractions and weights": (
        frame("winner,loser,count,weight", ("a", "b", 1.5, 2), ("b", "a", 1, 0.25)),
        [[0, 3], [0.25, 0]],
    ),
    "arena": (
        frame(
            "model_a,model_b,winner",
            ("a", "b", "model_a"),
            ("b", "a", "model_a"),
            ("a", "b", "tie"),
            ("b", "a", "tie (bothbad)"),
            ("b", "a", "both_bad"),
        ),
        [[0, 2.5], [2.5, 0]],
    ),
    "arena, by names": (
        frame("model_a,model_b,winner", ("x", "y", "x"), ("y", "x", "x"), ("y", "x", "y")),
        [[0, 2], [1, 0]],
    ),
    "short names of sides": (
        frame("model_a,model_b,winner", ("x", "y", "a"), ("x", "y", "B"), ("y", "x", "b")),
        [[0, 2], [1, 0]],
    ),
    "left and right": (
        frame("left,right,winner", ("a", "b", "left"), ("a", "b", "right"), ("b", "a", "tie")),
        [[0, 1.5], [1.5, 0]],
    ),
    "scores": (
        frame("home_team,away_team,home_score,away_score", ("a", "b", 2, 1), ("b", "a", 0, 0), ("b", "a", 3, 10)),
        [[0, 2.5], [0.5, 0]],
    ),
    "scores of models": (frame("model_a,model_b,score_a,score_b", ("b", "a", 0.5, 0.25)), B_A),
    "scores of players": (frame("player1,player2,score1,score2", ("b", "a", 6, 3)), B_A),
    "chosen": (frame("chosen,rejected", ("a", "b")), A_B),
    "ranking": (
        frame("ranking,response,rank", ("v", "b", 2), ("v", "a", 1), ("v", "c", 2), ("w", "a", 3), ("w", "c", 1)),
        [[0, 1, 1], [0, 0, 0.5], [1, 0.5, 0]],
    ),
    "weighted ranking": (
        frame(
            "ranking,response,rank,count,weight",
            ("v", "b", 2, 3, 0.5),
            ("v", "a", 1, 3, 0.5),
            ("w", "b", 1, 1, 1),
            ("w", "a", 2, 1, 1),
        ),
        [[0, 1.5], [1, 0]],
    ),
    "written ranking": (
        frame("ranking,count", ("a > b = c", 1), ("c>a", 1)),
        [[0, 1, 1], [0, 0, 0.5], [1, 0.5, 0]],
    ),
    "counts": (
        frame("winner,a,b,d", ("a", 0, 2, 1.5), ("c", 1, 0, 0)),
        [[0, 2, 0, 1.5], [0] * 4, [1, 0, 0, 0], [0] * 4],
    ),
    "prompts": (
        frame("prompt,winner,loser", ("p", "a", "b"), ("q", "b", "a"), ("p", "a", "b")),
        [[[0, 2], [0, 0]], [[0, 0], [1, 0]]],
    ),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_from_every_kind_of_file(write: Write, form: str, kind: str) -> None:
    given, counts = FORMS[form]
    bandit = ea.read_bandit(write(f"data{kind}", given), "uniform")
    np.testing.assert_array_equal(bandit.counts, counts)
    assert bandit.responses is not None and len(bandit.responses) == bandit.n
    assert (bandit.prompt_names == ("p", "q")) == (form == "prompts")


@pytest.mark.parametrize("form", [form for form in FORMS if form != "counts"])
def test_a_frame_is_read_as_its_file(form: str) -> None:
    given, counts = FORMS[form]
    bandit = ea.Bandit.from_comparisons("uniform", given)
    np.testing.assert_array_equal(bandit.counts, counts)
    assert bandit.responses is not None


WRONG: dict[str, tuple[pd.DataFrame, str]] = {
    "wins": (
        frame("winner,loser,count", ("a", "b", "1"), ("b", "a", "many")),
        "row {1}: count must be a number, got 'many'",
    ),
    "weights": (
        frame("winner,loser,weight", ("a", "b", "1"), ("b", "a", "-0.5")),
        "row {1}: weight must be a finite number of at least 0, got '-0.5'",
    ),
    "arena": (
        frame("model_a,model_b,winner", ("a", "b", "model_a"), ("a", "b", "model_c")),
        "row {1}: winner must be 'model_a', 'model_b', a name of the two, 'tie' or 'tie (bothbad)', got 'model_c'",
    ),
    "the same model": (
        frame("model_a,model_b,winner", ("a", "b", "model_a"), ("a", "a", "tie")),
        "row {1}: model_a and model_b must differ",
    ),
    "a name that is a side": (
        frame("model_a,model_b,winner", ("a", "b", "tie"), ("b", "a", "a")),
        "row {1}: winner may be the name of a response or of a side, and they differ, got 'a'",
    ),
    "no outcome": (
        frame("model_a,model_b", ("a", "b")),
        "the column 'winner' (or 'score_a', 'score_b') is missing; the header has 'model_a', 'model_b'",
    ),
    "two outcomes": (
        frame("model_a,model_b,winner,score_a,score_b", ("a", "b", "tie", 1, 2)),
        "the outcome is given twice, by 'winner' and by 'score_a', 'score_b': leave out one",
    ),
    "season": (
        frame("home_team,away_team,home_score,away_score", ("x", "y", "1", "0"), ("y", "x", "1", "-")),
        "row {1}: away_score must be a number, got '-'",
    ),
    "half a pair": (
        frame("home_team,home_score,away_score", ("x", 1, 0)),
        "the column 'away_team' is missing; the header has 'home_team', 'home_score', 'away_score'",
    ),
    "scored pairs": (
        frame(
            "prompt,chosen,rejected,score_chosen,score_rejected", ("p", "x", "y", "1", "2"), ("p", "x", "y", "1", "b")
        ),
        "row {1}: score_rejected must be a number, got 'b'",
    ),
    "one score": (
        frame("chosen,rejected,chosen_score", ("x", "y", 1)),
        "the column 'rejected_score' is missing; the header has 'chosen', 'rejected', 'chosen_score'",
    ),
    "scores under two names": (
        frame("chosen,rejected,chosen_score,score_chosen", ("x", "y", 1, 1)),
        "scores of a response are given twice: 'score_chosen', 'score_rejected', 'chosen_score', 'rejected_score'",
    ),
    "ranking": (
        frame("ranking,response,rank", ("v", "a", "1"), ("v", "b", "last")),
        "row {1}: rank must be a number, got 'last'",
    ),
    "twice in a ranking": (
        frame("ranking,response,rank", ("v", "a", 1), ("v", "a", 2)),
        "row {1}: a row with this ranking, response came before",
    ),
    "alone in a ranking": (
        frame("ranking,response,rank", ("v", "a", 1), ("v", "b", 2), ("w", "a", 1)),
        "row {2}: a ranking has one response only",
    ),
    "weights of a ranking": (
        frame("ranking,response,rank,weight", ("v", "a", "1", "1"), ("v", "b", "2", "3")),
        "row {1}: weight must be the same for all rows of a ranking, got '3'",
    ),
    "written ranking": (
        frame("ranking", ("a > b",), ("a > b > a",)),
        "row {1}: ranking must be two distinct names or more, as in 'a > b = c', got 'a > b > a'",
    ),
    "counts": (
        frame("winner,a,b", ("a", "0", "2"), ("b", "x", "0")),
        "row {1}: a must be a number, got 'x'",
    ),
    "a count of its own": (
        frame("winner,a,b", ("a", "0", "2"), ("b", "1", "1")),
        "row {1}: a response does not beat itself: its own column must hold 0, got '1'",
    ),
    "a winner twice": (frame("winner,a,b", ("a", 0, 2), ("a", 0, 2)), "row {1}: this winner came before, got 'a'"),
    "no name": (frame("prompt,winner,loser", ("p", "a", "b"), ("p", "", "b")), "row {1}: winner must not be empty"),
    "thumbs": (
        frame("response,label", ("a", "true"), ("b", "maybe")),
        "row {1}: label must be true or false, 1 or 0, up or down, good or bad, got 'maybe'",
    ),
    "policies": (
        frame("response,reference,optimal,reward", ("a", "0.5", "0.5", "1"), ("b", "0.5", "0.5", "high")),
        "row {1}: reward must be a number, got 'high'",
    ),
    "lengths": (
        frame("response,reference,optimal,length", ("a", 0.5, 0.5, 1), ("b", 0.5, 0.5, 0)),
        "row {1}: length must be a positive finite number, got '0'",
    ),
    "rewards without end": (
        frame("response,reference,optimal,reward", ("a", "0.5", "0.5", "1"), ("b", "0.5", "0.5", "inf")),
        "row {1}: reward must be a finite number, got 'inf'",
    ),
    "a probability below 0": (
        frame("response,reference,optimal", ("a", "0.5", "1.4"), ("b", "0.5", "-0.4")),
        "row {1}: optimal must be a positive finite number, got '-0.4'",
    ),
    "a prompt's sum": (
        frame(
            "prompt,response,reference,optimal",
            *(("p", y, 0.5, 0.5) for y in "ab"),
            *(("q", y, 0.5, 0.75) for y in "ab"),
        ),
        "prompt 'q': optimal must sum to one within 1e-06, got a sum of 1.5",
    ),
    "a policy of one response": (
        frame("prompt,response,reference,optimal", ("p", "a", 0.5, 0.5), ("p", "b", 0.5, 0.5), ("q", "c", 1, 1)),
        "row {2}: prompt 'q' has one response only, 'c'; there must be two or more",
    ),
    "scores without end": (
        frame("response,score", ("a", "1"), ("b", "-inf")),
        "row {1}: score must be a finite number, got '-inf'",
    ),
    "ranks without end": (
        frame("ranking,response,rank", ("v", "a", "1"), ("v", "b", "inf")),
        "row {1}: rank must be a finite number, got 'inf'",
    ),
    "one completion of a prompt": (
        frame("prompt,completion,label", ("p", "a", "true"), ("p", "b", "false"), ("q", "c", "true")),
        "row {2}: prompt 'q' has one response only, 'c'; there must be two or more, or a reference that lists them",
    ),
    "one completion": (
        frame("response,score", ("a", "1"), ("a", "2")),
        "row {0}: 'a' is the only response; there must be two or more, or a reference that lists them",
    ),
    "margins that contradict": (
        frame("winner,loser,margin", ("a", "b", "1"), ("b", "c", "1"), ("a", "c", "2.00001")),
        "row {2}: margin contradicts those of other rows, by which 'a' is 2 above 'c', so that no rewards have them, "
        "got '2.00001'",
    ),
    "a margin of text": (
        frame("chosen,rejected,margin", ("a", "b", "1"), ("b", "c", "much")),
        "row {1}: margin must be a number, got 'much'",
    ),
    "totals": (
        frame("winner,a,b,All", ("a", "0", "3", "3"), ("b", "1", "0", "1"), ("All", "1", "3", "4")),
        "row {2}: 'All' is a total of the others: leave out its row and its column (pd.crosstab with margins=False)",
    ),
    "totals of rows": (
        frame("winner,a,b,All", ("a", "0", "3", "3"), ("b", "1", "0", "1")),
        "column 'All' is a total of the others: leave out its row and its column (pd.crosstab with margins=False)",
    ),
}


@pytest.mark.parametrize("kind", [".csv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_one_is_refused_by_file_row_and_field(write: Write, name: str, kind: str) -> None:
    given, message = WRONG[name]
    path = write(f"data{kind}", given)
    with pytest.raises(ValueError) as caught:
        ea.read_ragged_bandit(path, None if "reference" in given else "uniform")
    first = FORMATS[kind][1]
    expected = message.format(*(first + k for k in range(3)))
    assert str(caught.value) == f"{path}: {expected}"


def test_what_is_text_stays_text(write: Write, tmp_path: Path) -> None:
    """NA, None, 007, 1e3 and dates are names like others, in CSV as they stand and in JSON as strings."""
    odd = ["007", "1e3", "2026-01-01", "NA", "None", "nan", "true"]
    rows = [(a, b) for a in odd for b in odd if a != b]
    for kind in (".csv", ".json", ".parquet", ".jsonl"):
        bandit = ea.read_bandit(write(f"odd{kind}", frame("winner,loser", *rows)), "uniform")
        assert bandit.responses == tuple(odd)
        np.testing.assert_array_equal(bandit.counts, 1 - np.eye(7))
    zeros = write("zeros.csv", frame("winner,loser", ("007", "010"), ("010", "100")))
    assert ea.read_bandit(zeros, "uniform").responses == ("007", "010", "100")
    path = tmp_path / "numbers.jsonl"
    path.write_text('{"winner": 12345678901234567890, "loser": 2.50}\n\n{"winner": true, "loser": 2.50}\n')
    assert ea.read_bandit(path, "uniform").responses == ("12345678901234567890", "2.50", "true")


def test_lines_are_the_files(tmp_path: Path) -> None:
    """Empty lines count, as an editor counts them."""
    path = tmp_path / "b.jsonl"
    path.write_bytes(b'{"winner": "a", "loser": "b"}\r\n\r\n{"winner": "b", "loser": "a"}\r\n')
    assert np.sum(ea.read_bandit(path, "uniform").counts) == 2
    for text, message in (
        ('{"winner": "a", "loser": "b"}\n\n{"winner": "a"}', "row 3: loser must not be empty"),
        ('{"winner": "a", "loser": "b"}\n\n{"winner": "a", "loser"}', "malformed JSON: .* in row 3"),
        ('{"winner": "a", "loser": "b"}\n["a", "b"]', "row 2: must be an object, .*, got an array"),
        ('{"winner": "a", "loser": "b", "loser": "c"}', "the key 'loser' is given twice in row 1"),
        ('{"chosen": ["a"], "rejected": "b"}', "row 1: chosen must be a name or a text, got an array"),
        ('{"chosen": "a", "rejected": {"content": "b"}}', "row 1: rejected must be a name or a text, got an object"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            ea.read_bandit(path, "uniform")
        assert str(caught.value).startswith(f"{path}: ")


def test_files_that_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {
        "b.csv.gz": (b"winner,loser\na,b\n", "is not a whole gzip file: Not a gzipped file"),
        "c.csv.gz": (gzip.compress(b"winner,loser\na,b\n" * 50)[:-12], "is not a whole gzip file: "),
        "d.csv.gz": (gzip.compress(b""), "is empty"),
        "b.parquet": (b"winner,loser\na,b\n", "malformed Parquet: "),
        "b.tsv": (b"winner,loser\na,b\n", "cells must be separated by tabs, and these are by commas"),
        "c.tsv": (b"winner;loser\na;b\n", "cells must be separated by tabs, and these are by semicolons"),
        "b.json": (b"[]", "must hold one JSON object, .* or an array of objects"),
        "b.parquet.gz": (gzip.compress(b"x"), "the name of a bandit's file must end in"),
    }
    for name, (content, message) in broken.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            ea.read_bandit(path, "uniform")
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    pd.DataFrame({"winner": ["a"], "loser": ["b"]}).to_parquet(tmp_path / "good.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    with pytest.raises(ValueError, match=r"good\.parquet: reading Parquet needs pyarrow: pip install pyarrow"):
        ea.read_bandit(tmp_path / "good.parquet", "uniform")


def test_a_crosstab_as_pandas_writes_it(tmp_path: Path) -> None:
    games = frame("w,l", ("A", "B"), ("A", "C"), ("B", "A"), ("D", "A"), ("D", "B"))
    table = pd.crosstab(games.w.rename("winner"), games.l)
    aligned = ea.Bandit.from_counts("uniform", table)
    table.to_csv(tmp_path / "t.csv")
    table.to_csv(tmp_path / "t.tsv.gz", sep="\t")
    table.to_parquet(tmp_path / "t.parquet")
    table.rename_axis(None).to_csv(tmp_path / "unnamed.csv")
    table.rename_axis(None).to_parquet(tmp_path / "unnamed.parquet")
    for name in ("t.csv", "t.tsv.gz", "t.parquet", "unnamed.csv", "unnamed.parquet"):
        found = ea.read_bandit(tmp_path / name, "uniform")
        assert found.responses == aligned.responses == ("A", "B", "C", "D")
        np.testing.assert_array_equal(found.counts, aligned.counts)
    games.rename(columns={"w": "winner", "l": "loser"})[games.w != "B"].to_parquet(tmp_path / "filtered.parquet")
    assert np.sum(ea.read_bandit(tmp_path / "filtered.parquet", "uniform").counts) == 4


def test_what_is_no_table_of_counts(write: Write, tmp_path: Path) -> None:
    """A first column of that name is not enough: some winner must be among the columns."""
    with pytest.raises(ValueError, match="the column 'loser' is missing; the header has 'winner', 'date', 'score'"):
        ea.read_bandit(write("b.csv", frame("winner,date,score", ("a", "2026-01-01", 1))), "uniform")
    path = tmp_path / "p.csv"
    frame("response,reference,optimal", ("a", 0.5, 0.6), ("b", 0.5, 0.4)).to_csv(path)  # with pandas' index
    with pytest.warns(UserWarning, match="not read: ''"):
        assert ea.read_bandit(path).responses == ("a", "b")


def test_columns_that_are_not_read_are_named_and_those_that_may_be_meant_refused(write: Write) -> None:
    """`country` and `year` are no misspelt `count`; `cuont`, `Winner` and numbers under `votes` are refused."""
    given = frame("winner,loser,country,year,prompt_id", ("a", "b", "NO", 2024, "p1"), ("b", "a", "SE", 2025, "p2"))
    with pytest.warns(UserWarning, match="not read: 'country', 'year', 'prompt_id'; read: 'winner', 'loser', 'count'"):
        ea.read_bandit(write("b.csv", given), "uniform")
    with pytest.warns(UserWarning, match="^comparisons: not read: 'country'"):
        ea.Bandit.from_comparisons("uniform", given)
    for name, message in (
        ("cuont", "unknown column 'cuont'; .* did you mean 'count'"),
        ("weights", "unknown column 'weights'; .* did you mean 'weight'"),
        ("votes", "unknown column 'votes', which holds whole numbers: name it 'count'"),
    ):
        with pytest.raises(ValueError, match=message):
            ea.read_bandit(write("c.csv", frame(f"winner,loser,{name}", ("a", "b", 2))), "uniform")
        with pytest.raises(ValueError, match=f"^comparisons: {message}"):
            ea.Bandit.from_comparisons("uniform", frame(f"winner,loser,{name}", ("a", "b", 2)))
    with pytest.raises(ValueError, match="column 'winner' is missing; the header has 'Winner', 'loser'"):
        ea.read_bandit(write("d.csv", frame("Winner,loser", ("a", "b"))), "uniform")


def test_references_of_comparisons(write: Write) -> None:
    wins = frame("winner,loser", ("a", "b"), ("b", "c"))
    by_name = pd.Series([0.5, 0.3, 0.2], index=["c", "b", "a"])
    for reference, responses in (
        (by_name, None),
        ([0.5, 0.3, 0.2], ["c", "b", "a"]),
        (by_name[["a", "c", "b"]], "cba"),
    ):
        bandit = ea.Bandit.from_comparisons(reference, wins, responses=None if responses is None else list(responses))
        assert bandit.responses == ("c", "b", "a")
        np.testing.assert_array_equal(bandit.reference, [0.5, 0.3, 0.2])
        np.testing.assert_array_equal(bandit.counts, [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    shared = frame("response,reference", ("c", 0.5), ("b", 0.3), ("a", 0.2))
    for kind in (".csv", ".json", ".parquet", ".tsv.gz"):
        file = write(f"r{kind}", shared)
        found = ea.read_bandit(write("w.csv", wins), file)
        assert found.responses == ("c", "b", "a") and found.reference.tolist() == [0.5, 0.3, 0.2]
    with pytest.raises(ValueError, match=r"w\.csv: row 2: loser must be one of 'c', 'b', 'a', as in .*r\.csv, got 'd'"):
        ea.read_bandit(write("w.csv", frame("prompt,winner,loser", ("p", "a", "d"))), write("r.csv", shared))
    numbered = frame("winner,loser", (0, 1), (1, 2))
    assert ea.Bandit.from_comparisons(REFERENCE, numbered).responses is None
    for given, reference, message in (
        (
            wins,
            REFERENCE,
            "comparisons: row 0: winner must be one of 0, 1, 2, as in a reference of 3 .* without responses",
        ),
        (
            wins,
            pd.Series([0.5, 0.5], index=["a", "b"]),
            "row 1: loser must be one of 'a', 'b', as in reference, got 'c'",
        ),
        (wins, [[0.5, 0.5]], r"reference must have shape \(n,\) beside comparisons, got \(1, 2\)"),
        (wins, pd.Series([0.5, 0.6, 0.1], index=["a", "b", "c"]), "reference must sum to one"),
        (wins.assign(loser=["b", None]), "uniform", "comparisons: row 1: loser must not be empty"),
        (wins.to_dict("records"), "uniform", "comparisons must be a pandas DataFrame, got list"),
        (wins.iloc[:0], "uniform", "comparisons must hold at least one comparison"),
        (wins.assign(weight=0), "uniform", "counts must hold at least one comparison"),
    ):
        with pytest.raises(ValueError, match=message):
            ea.Bandit.from_comparisons(reference, given)
    with pytest.raises(ValueError, match=r"ties must be one of \['half', 'drop'\], got 'win'"):
        ea.Bandit.from_comparisons("uniform", wins, ties="win")


REFERENCE = [0.4, 0.4, 0.2]


def test_columns_of_any_type() -> None:
    """Categories, pandas' own strings and nullable integers, numbers and dates as names."""
    given = frame("winner,loser,count", ("a", "b", 2), ("b", "a", 1), ("a", "b", 4))
    for types in ({"winner": "category", "loser": "category"}, {"winner": "string", "count": "Int64"}):
        np.testing.assert_array_equal(
            ea.Bandit.from_comparisons("uniform", given[:2].astype(types)).counts, [[0, 2], [1, 0]]
        )
    days = [pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-02")]
    for one, other in ((17, 4), (0.5, 0.25), (days[1], days[0]), (("x", 2), ("x", 1))):
        games = pd.DataFrame({"winner": [one], "loser": [other]})
        bandit = ea.Bandit.from_comparisons("uniform", games)
        assert bandit.responses == (other, one)
        assert bandit.counts is not None and bandit.counts.tolist() == [[0, 0], [1, 0]]
    talks = frame("winner,loser,count,talk", ("a", "b", 2, ["hi"]), ("a", "b", 4, ["hello"]))
    with pytest.warns(UserWarning, match="not read: 'talk'"):
        counts = ea.Bandit.from_comparisons("uniform", talks).counts
    assert counts is not None and counts.tolist() == [[0, 6], [0, 0]]
    missing = given.astype({"winner": "string"})
    missing.loc[1, "winner"] = pd.NA
    for bad, message in (
        (missing, "comparisons: row 1: winner must not be empty"),
        (given.assign(count=[1, np.nan, 1]), "comparisons: row 1: count must not be empty"),
        (given, "comparisons: row 2: a row with this winner, loser came before"),
        (given.assign(loser=[["b"], "a", "b"]), r"comparisons: row 0: loser must be a name or a text, got \['b'\]"),
        (pd.concat([given, given[["count"]]], axis=1), "comparisons: the column 'count' is given twice"),
    ):
        with pytest.raises(ValueError, match=message):
            ea.Bandit.from_comparisons("uniform", bad)


def test_a_subclass_makes_its_own() -> None:
    class Named(ea.Bandit):
        """A user's."""

    assert type(Named.from_comparisons("uniform", FORMS["wins"][0])) is Named


# ---------------------------------------------------------------------------------------------- responses of a prompt


def test_scored_pairs_have_prompts_with_their_own_responses() -> None:
    parts = ea.read_ragged_bandit(FILES / "scored_pairs.jsonl", "uniform")
    assert [part.n for part in parts] == [3, 2, 3, 2] and parts.prompts == 4
    first = parts.parts[0]
    assert first.prompt_names == ("Write a haiku about rain.",)
    assert first.responses is not None and first.responses[0] == "I cannot write poems."
    np.testing.assert_array_equal(first.rewards, [[1.0, 4.0, 8.5]])
    with pytest.raises(ValueError, match="prompts have different responses: use read_ragged_bandit"):
        ea.read_bandit(FILES / "scored_pairs.jsonl", "uniform")
    given = pd.read_json(FILES / "scored_pairs.jsonl", lines=True)
    with pytest.raises(ValueError, match=r"prompts have different responses: use RaggedBandit\.from_comparisons"):
        ea.Bandit.from_comparisons("uniform", given)
    again = ea.RaggedBandit.from_comparisons("uniform", given)
    for part, other in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part.counts, other.counts)
        np.testing.assert_array_equal(part.rewards, other.rewards)
        assert part.responses == other.responses
    np.testing.assert_allclose(again.weights, [12 / 32, 4 / 32, 12 / 32, 4 / 32])


def test_scores_are_averaged_and_may_be_missing() -> None:
    header = "chosen,rejected,chosen_score,rejected_score,weight"
    rows = [("a", "b", 1.0, 0.0, 1), ("b", "a", 3.0, None, 1), ("a", "c", 2.0, None, 3)]
    bandit = ea.Bandit.from_comparisons("uniform", frame(header, *rows))
    np.testing.assert_allclose(bandit.rewards, [(1 + 3 * 2) / 4, 1.5, np.nan])


def test_policies_of_prompts_with_different_responses() -> None:
    short, long = ea.read_ragged_bandit(FILES / "prompts.csv")
    assert (short.responses, long.responses) == (("yes", "no"), ("essay", "list", "refusal"))
    assert (short.prompt_names, long.prompt_names) == (("short",), ("open",))
    np.testing.assert_array_equal(long.rewards, [[2.0, 2.5, -1.0]])
    np.testing.assert_array_equal(long.lengths, [[310, 120, 12]])
    np.testing.assert_array_equal(long.optimal, [[0.2, 0.5, 0.3]])


def test_as_many_responses_are_not_the_same_responses(write: Write) -> None:
    rows = [("p", "a", 0.5, 0.6), ("p", "b", 0.5, 0.4), ("q", "a", 0.3, 0.2), ("q", "c", 0.7, 0.8)]
    first, second = ea.read_ragged_bandit(write("b.csv", frame("prompt,response,reference,optimal", *rows)))
    assert (first.responses, second.responses) == (("a", "b"), ("a", "c"))
    np.testing.assert_array_equal(second.optimal, [[0.2, 0.8]])


def test_a_reference_of_prompts_with_different_responses(write: Write) -> None:
    rows = [
        ("p", "a", 0.5),
        ("p", "b", 0.5),
        ("q", "a", 0.2),
        ("q", "b", 0.3),
        ("q", "c", 0.5),
        ("r", "b", 0.6),
        ("r", "a", 0.4),
    ]
    reference = write("r.csv", frame("prompt,response,reference", *rows))
    wins = frame("prompt,winner,loser", ("q", "c", "a"), ("p", "a", "b"), ("r", "b", "a"), ("r", "b", "a"))
    two, three = ea.read_ragged_bandit(write("w.csv", wins), reference)
    assert (two.prompt_names, two.responses) == (("p", "r"), ("a", "b"))
    np.testing.assert_array_equal(two.reference, [[0.5, 0.5], [0.4, 0.6]])
    np.testing.assert_array_equal(two.counts, [[[0, 1], [0, 0]], [[0, 0], [2, 0]]])
    np.testing.assert_array_equal(three.counts, [[[0, 0, 0], [0, 0, 0], [1, 0, 0]]])
    battles = frame("prompt,model_a,model_b,winner", ("p", "a", "b", "tie"), ("q", "a", "b", "model_a"))
    tied, won = ea.read_ragged_bandit(write("w.csv", battles), reference)  # a tie alone is a comparison
    np.testing.assert_array_equal(tied.counts, [[[0, 0.5], [0.5, 0]], np.zeros((2, 2))])
    assert np.sum(won.counts) == 1
    with pytest.raises(ValueError, match=r"w\.csv: prompt 'p', 'r' has no comparison"):
        ea.read_ragged_bandit(write("w.csv", battles), reference, ties="drop")
    stray = pd.concat([wins, frame("prompt,winner,loser", ("p", "c", "a"))])
    with pytest.raises(ValueError, match=r"w\.csv: row 6: winner must be one of 'a', 'b', as in .*r\.csv, got 'c'"):
        ea.read_ragged_bandit(write("w.csv", stray), reference)
    with pytest.raises(ValueError, match=r"w\.csv: prompt 'q' has no comparison: leave it out of the reference"):
        ea.read_ragged_bandit(write("w.csv", wins[1:]), reference)
    short = write("r.csv", frame("prompt,response,reference", *rows[:4], *rows[5:]))
    with pytest.raises(
        ValueError, match=r"r\.csv: prompt 'q': reference must sum to one within 1e-06, got a sum of 0\.5"
    ):
        ea.read_ragged_bandit(write("w.csv", wins), short)


def test_json_of_every_key(tmp_path: Path) -> None:
    path = tmp_path / "b.json"

    def read(value: Any) -> ea.RaggedBandit:
        path.write_text(json.dumps(value))
        return ea.read_ragged_bandit(path)

    names = {"responses": ["x", "007"], "rewards": [1, None], "lengths": [3, 4]}
    [counted] = read({"reference": "uniform", "counts": [[0, 1.5], [1, 0]], "ties": [[0, 1], [1, 0]], **names})
    np.testing.assert_array_equal(counted.counts, [[0, 2], [1.5, 0]])
    np.testing.assert_array_equal(counted.rewards, [1, np.nan])
    assert counted.responses == ("x", "007") and counted.lengths is not None and counted.lengths.tolist() == [3, 4]
    [stated] = read({"reference": [0.5, 0.5], "preference": [[0.5, 0.9], [0.1, 0.5]], "pairs": "reference"})
    np.testing.assert_array_equal(stated.preference, [[0.5, 0.9], [0.1, 0.5]])
    two, three = read(
        {
            "reference": [[0.5, 0.5], [0.2, 0.3, 0.5]],
            "optimal": [[0.6, 0.4], [0.1, 0.1, 0.8]],
            "responses": [["yes", "no"], ["a", "b", "c"]],
            "prompts": ["short", "long"],
            "prompt_weights": [3, 1],
            "pairs": "uniform",
        }
    )
    assert two.responses == ("yes", "no") and three.prompt_names == ("long",)
    np.testing.assert_array_equal(three.optimal, [[0.1, 0.1, 0.8]])
    same_size = {"reference": [[0.5, 0.5]] * 2, "optimal": [[0.6, 0.4]] * 2, "responses": [["a", "b"], ["c", "d"]]}
    assert [part.responses for part in read(same_size)] == [("a", "b"), ("c", "d")]
    ragged = {"reference": [[0.5, 0.5], [0.2, 0.3, 0.5]]}
    for value, message in (
        ({**ragged, "optimal": [[0.6, 0.4]]}, "optimal must have an entry for each of 2 prompts, got 1"),
        (
            {**ragged, "optimal": [[0.6, 0.4], [0.5, 0.5]]},
            r"prompt '1': optimal must have the shape of reference, \(1, 3\); got \(1, 2\)",
        ),
        (
            {**ragged, "optimal": ragged["reference"], "prompts": ["p"]},
            "json: prompts must have an entry for each of 2",
        ),
        ({"reference": "uniform", "responses": ["a", "b"]}, r"the key 'optimal' \(or counts\) is missing"),
        (
            {"reference": "even", "optimal": [0.5, 0.5]},
            "reference must be an array of numbers or 'uniform', got 'even'",
        ),
        (
            {"reference": [0.5, 0.5], "optimal": [0.5, 0.5], "responses": [1, True]},
            "responses must be an array of names, but holds true at index 1",
        ),
        (
            {"reference": [0.5, 0.5], "counts": [[0, 1], ["3", 0]]},
            r'counts .* numbers, but holds "3" at index \(1, 0\)',
        ),
        ({"reference": [0.5, 0.25, 0.25], "rewards": [1, 2]}, r"rewards must have shape \(3,\), got \(2,\)"),
        (
            {"reference": [0.5, 0.5], "rankings": [[0, 1], [0, -1]]},
            r"numbers from 0 on, but holds -1 at index \(1, 1\)",
        ),
        ({"reference": [[0.5, 0.5]], "rankings": [[0, 1]]}, "ranking_prompts must be given for a bandit with prompts"),
        (
            {"reference": [0.5, 0.5], "triples": [[0, 1, 1]]},
            r"triple 0 must have a winner and a loser that differ, got",
        ),
        (
            {"reference": [0.5, 0.5], "optimal": [0.5, 0.5], "lengths": [1, None]},
            "lengths must be an array of numbers, but",
        ),
        (
            {"reference": [0.5, 0.5], "optimal": [0.5, 0.5], "ties": [[0, 1], [1, 0]]},
            "unknown key 'ties' beside optimal",
        ),
        (
            {"reference": [0.5, 0.5], "optimal": [0.5, 0.5], "responses": ["a", "a"]},
            "must have distinct names, got 'a'",
        ),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            read(value)
        assert str(caught.value).startswith(f"{path}: ")


# --------------------------------------------------------------------------------------------------- thumbs up or down


def test_labels_of_single_responses_are_read(write: Write) -> None:
    found = ea.read_bandit(FILES / "thumbs.csv", "uniform")
    given = pd.read_csv(FILES / "thumbs.csv")
    assert set(found.prompt_names) == set(given.prompt) and set(found.responses) == set(given.completion)
    for x, prompt in enumerate(found.prompt_names):
        for y, response in enumerate(found.responses):
            own = given[(given.prompt == prompt) & (given.completion == response)].label
            assert (found.liked[x, y], found.disliked[x, y]) == (own.sum(), (~own).sum())
    rows = [("a", True), ("a", False), ("b", True)]
    for kind in FORMATS:
        for labelled in (rows, [(name, float(good)) for name, good in rows]):  # as pandas keeps them beside a gap
            labels = ea.read_bandit(write(f"t{kind}", frame("response,label", *labelled)), "uniform")
            assert (labels.liked.tolist(), labels.disliked.tolist()) == ([1, 1], [1, 0])
    weighted = frame("response,label,weight", ("a", "up", 0.5), ("a", "Bad", 2), ("b", "up", 1))
    labels = ea.read_bandit(write("t.csv", weighted), "uniform")
    assert (labels.liked.tolist(), labels.disliked.tolist()) == ([0.5, 1], [2, 0])


def test_names_of_parts_reach_the_command_line() -> None:
    named = read_named_bandits(FILES / "prompts.csv")
    assert [(one.prompts, one.responses) for one in named] == [
        (("short",), ("yes", "no")),
        (("open",), ("essay", "list", "refusal")),
    ]
    [alone] = read_named_bandits(ROOT / "examples" / "policies.json")
    assert alone.responses is None and alone.prompts is None


@pytest.mark.parametrize("seed", range(5))
def test_margins_are_differences_of_rewards(seed: int, write: Write) -> None:
    """Of any rewards: given back up to their mean over the responses that margins join, whichever rows come first."""
    rng = np.random.default_rng([7, seed])
    scale = 10.0 ** rng.uniform(-6, 6)
    known = {prompt: dict(zip("abcdef", scale * rng.normal(size=6), strict=True)) for prompt in ("p", "q")}
    joined = {"p": ["abcdef"], "q": ["abc", "de"]}  # f is not compared on q
    rows = [
        (x, one, other, known[x][one] - known[x][other])
        for x, parts in joined.items()
        for part in parts
        for one, other in [*pairwise(part), *(rng.permutation(list(part))[:2] for _ in range(6))]
    ]
    rows = [rows[k] for k in rng.permutation(len(rows))]
    given = frame("prompt,winner,loser,margin", *rows)
    with pytest.warns(UserWarning, match="no margin tells .* on prompt 'q': each of 2 parts has rewards of mean 0"):
        bandit = ea.read_bandit(write("m.parquet", given), "uniform")
    expected = {
        (x, y): known[x][y] - np.mean([known[x][z] for z in part])
        for x, parts in joined.items()
        for part in parts
        for y in part
    }
    wanted = [[expected.get((x, y), np.nan) for y in "abcdef"] for x in bandit.prompt_names or ()]
    np.testing.assert_allclose(bandit.rewards, wanted, rtol=1e-12, atol=1e-12 * scale)
    # each prompt alone, with responses of its own, and a loss that reads differences
    one = given[given.prompt == "p"].rename(columns={"winner": "chosen", "loser": "rejected"})
    [part] = ea.RaggedBandit.from_comparisons("uniform", one)
    ours = part.rewards / scale
    scored = ea.Bandit.from_counts("uniform", part.counts, rewards=[[known["p"][y] / scale for y in "abcdef"]])
    halved = ea.Bandit.from_counts("uniform", part.counts, rewards=ours)
    np.testing.assert_allclose(
        ea.solve(ea.REBEL(1.0), halved).policy, ea.solve(ea.REBEL(1.0), scored).policy, rtol=1e-9
    )
    # a row without a margin, or without weight, says nothing of rewards
    more = pd.concat([one, one.iloc[:1].assign(margin=np.nan)]).assign(weight=1.0)
    more = pd.concat([more, more.iloc[:1].assign(margin=99 * scale, weight=0.0)])
    [again] = ea.RaggedBandit.from_comparisons("uniform", more)
    np.testing.assert_allclose(again.rewards, part.rewards, rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("names", REWARDS, ids=" ".join)
def test_rewards_by_each_of_their_names(names: tuple[str, str]) -> None:
    bandit = ea.Bandit.from_comparisons(
        "uniform", frame(",".join(("chosen", "rejected", *names)), ("x", "y", 2.5, -1.0))
    )
    np.testing.assert_array_equal(bandit.rewards, [2.5, -1.0])
