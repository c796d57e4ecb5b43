"""Tables of every kind from files of every kind: what they mean, and what is said of wrong ones."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import expo_analysis as ea

from .table_files import FORMATS, Write, frame, writer

ROOT = Path(__file__).parents[1]
FILES = Path(__file__).parent / "files"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


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
