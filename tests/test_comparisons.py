"""`Comparisons`: arrays, matrices, frames and files of any length, counted alike, and what is refused of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import expo_analysis as ea
from expo_analysis.bandit import columns

FILES = Path(__file__).parent / "files"
WINNERS, LOSERS = ["bo", "ada", "bo", "cy", "ada"], ["ada", "cy", "ada", "bo", "bo"]


def counted(comparisons: ea.Comparisons) -> dict[tuple[Any, Any], float]:
    names = comparisons.responses or range(comparisons.n)
    ends = zip(comparisons.winner, comparisons.loser, comparisons.weight, strict=True)
    return {(names[i], names[j]): float(w) for i, j, w in ends}


def test_names_are_sorted_and_equal_pairs_are_added_up() -> None:
    found = ea.Comparisons(WINNERS, LOSERS)
    assert found.responses == ("ada", "bo", "cy")
    assert counted(found) == {("ada", "bo"): 1, ("ada", "cy"): 1, ("bo", "ada"): 2, ("cy", "bo"): 1}
    assert repr(found) == "<Comparisons: 3 responses, 5 comparisons of 3 pairs>"


def test_positions_weights_and_ties_by_hand() -> None:
    found = ea.Comparisons(np.array([3, 0, 3]), np.array([0, 3, 1]), [1.5, 4.0, 0.0], tie=[False, True, False])
    assert found.n == 4 and found.responses is None
    assert counted(found) == {(0, 3): 2.0, (3, 0): 3.5}
    assert (found.reference == 0.25).all()


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_a_table_of_all_pairs_counts_as_sorting_does(
    weighted: bool, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 9, 200)
    other = (one + rng.integers(1, 9, 200)) % 9
    weight = rng.integers(0, 3, 200) / 4 if weighted else None  # of which sums are exact
    tie = rng.random(200) < 0.3 if tied else None
    by_table = ea.Comparisons(one, other, weight, tie=tie)
    monkeypatch.setattr(columns, "ROOM", 0)
    by_sorting = ea.Comparisons(one, other, weight, tie=tie)
    for name in ("winner", "loser", "weight"):
        assert (getattr(by_table, name) == getattr(by_sorting, name)).all()


def test_positions_in_names_and_numbers_that_are_names() -> None:
    assert counted(ea.Comparisons([0, 1], [1, 0], responses=["x", "y", "z"])) == {("x", "y"): 1, ("y", "x"): 1}
    assert counted(ea.Comparisons([7, 9], [9, 30], responses=[30, 7, 9])) == {(7, 9): 1, (9, 30): 1}


def test_arrays_cannot_be_written_to() -> None:
    found = ea.Comparisons(WINNERS, LOSERS)
    for name in ("winner", "loser", "weight", "reference"):
        with pytest.raises(ValueError):
            getattr(found, name)[0] = 1


@pytest.mark.parametrize("kind", [sp.csr_array, sp.coo_matrix, np.asarray])
def test_counts_in_a_matrix(kind: Any) -> None:
    counts, ties = np.array([[0, 3, 0], [1, 0, 2.5], [0, 0, 0]]), np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    found = ea.Comparisons.from_counts(kind(counts), ties=kind(ties), responses=list("abc"))
    assert (found.bandit().counts == ea.Bandit.from_counts("uniform", counts, ties=ties).counts).all()
    assert found.bandit().responses == ("a", "b", "c")


@pytest.mark.parametrize("ties", ["half", "drop"])
def test_frames_are_counted_as_for_a_bandit(ties: Any) -> None:
    frame = pd.DataFrame(
        [("x", "y", "model_a", 2), ("y", "z", "tie", 3), ("z", "x", "x", 1)],
        columns=["model_a", "model_b", "winner", "weight"],
    )
    found = ea.Comparisons.from_frame(frame, ties=ties)
    wanted = ea.Bandit.from_comparisons("uniform", frame, ties=ties)
    assert (found.bandit().counts == wanted.counts).all() and found.responses == wanted.responses


def test_a_reference_by_names_or_in_order() -> None:
    series = pd.Series({"cy": 0.5, "ada": 0.2, "bo": 0.3})
    for reference in (series, [0.2, 0.3, 0.5]):
        assert np.allclose(ea.Comparisons(WINNERS, LOSERS, reference=reference).reference, [0.2, 0.3, 0.5], atol=0)


REFUSED = {
    "one side is shorter": (dict(winner=[0, 1], loser=[1]), "loser must have a response for each of 2 winners, got 1"),
    "nothing": (dict(winner=[], loser=[]), "winner must hold"),
    "a table": (dict(winner=[[0]], loser=[[1]]), "winner must be names or positions"),
    "fractions": (dict(winner=[0.5], loser=[1]), "winner must be names or positions"),
    "itself": (dict(winner=["a", "b"], loser=["b", "b"]), "winner and loser must differ, got 1 in row 1"),
    "negative position": (
        dict(winner=[0, -1], loser=[1, 0]),
        r"winner must be a position from 0 to 1, got -1 in row 1",
    ),
    "position beyond names": (
        dict(winner=[0, 2], loser=[1, 0], responses=["a", "b"]),
        r"winner must be a position from 0 to 1, got 2 in row 1",
    ),
    "unknown name": (
        dict(winner=["a", "c"], loser=["b", "a"], responses=["a", "b"]),
        r"winner must be one of responses, 'a', 'b', got 'c' in row 1",
    ),
    "names twice": (dict(winner=[0], loser=[1], responses=["a", "a"]), "responses must have distinct names, got 'a'"),
    "missing name": (dict(winner=["a", None], loser=["b", "a"]), "must not be missing, as in row 1"),
    "negative weight": (dict(winner=[0, 1], loser=[1, 0], weight=[1, -1]), "weight .*got -1.0 at index 1"),
    "too few weights": (dict(winner=[0, 1], loser=[1, 0], weight=[1]), "weight must have shape"),
    "all weights zero": (dict(winner=[0], loser=[1], weight=[0]), "must hold at least one comparison"),
    "weights without a sum": (dict(winner=[0, 1], loser=[1, 0], weight=[1e308, 1e308]), "weight must have a sum"),
    "half a tie": (dict(winner=[0], loser=[1], tie=[0.5]), "tie must be true or false for each of 1 comparisons"),
    "reference of another length": (dict(winner=["a"], loser=["b"], reference=[0.2, 0.3, 0.5]), "reference must have"),
    "reference of other names": (
        dict(winner=["a"], loser=["b"], reference=pd.Series({"a": 0.5, "c": 0.5})),
        "reference must have a probability for each response and no other: it lacks 'b'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    arguments, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        ea.Comparisons(**arguments)


@pytest.mark.parametrize(
    ("counts", "ties", "message"),
    [
        ([[0, 1, 2]], None, r"counts must have shape \(n, n\), got \(1, 3\)"),
        ([[0, -1], [0, 0]], None, r"counts must be non-negative and finite, got -1.0 at index \(0, 1\)"),
        ([[0, 1], [0, 2]], None, r"counts must have a zero diagonal, got 2.0 at index \(1, 1\)"),
        ([[0, 1], [1, 0]], [[0, 1], [0, 0]], "ties must be symmetric"),
    ],
)
def test_refused_counts(counts: Any, ties: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ea.Comparisons.from_counts(sp.csr_array(np.array(counts)), ties=None if ties is None else np.array(ties))


def test_a_bandit_of_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match=r"5,001 responses are too many for a Bandit, which takes 5,000"):
        ea.Comparisons([0, 5000], [5000, 0]).bandit()


# --------------------------------------------------------------------------------------------------------------- files


def battles() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = np.array(["ada", "bo", "cy", "dee", "007", "NA"])
    one = rng.integers(0, 6, 50)
    other = (one + rng.integers(1, 6, 50)) % 6
    outcome = rng.choice(["model_a", "model_b", "tie", "tie (bothbad)"], 50)
    weight = rng.integers(1, 5, 50) / 4
    return pd.DataFrame({"model_a": names[one], "model_b": names[other], "winner": outcome, "weight": weight})


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.name.endswith(".parquet"):
        frame.to_parquet(path)
    elif path.name.endswith(".jsonl"):
        path.write_text("\n\n".join(json.dumps(row) for row in frame.to_dict("records")))
    else:
        frame.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "jsonl", "parquet"])
@pytest.mark.parametrize("rows", [1, 7, 50, 1000])
def test_files_in_chunks_are_files_as_a_whole(tmp_path: Path, ending: str, rows: int) -> None:
    """The same as the dense reader makes of them, and as the frame."""
    path = write(battles(), tmp_path / f"battles.{ending}")
    found = ea.read_comparisons(path, rows=rows)
    assert counted(found) == counted(ea.Comparisons.from_frame(battles()))
    whole = ea.read_bandit(path, "uniform")
    assert found.responses == whole.responses and (found.bandit().counts == whole.counts).all()


@pytest.mark.filterwarnings("ignore:.*not read")
@pytest.mark.parametrize("name", ["arena.jsonl", "season.csv"])
def test_files_of_other_forms(name: str) -> None:
    found, whole = ea.read_comparisons(FILES / name, rows=4), ea.read_bandit(FILES / name, "uniform")
    assert found.responses == whole.responses and (found.bandit().counts == whole.counts).all()


def test_players_by_number_are_positions_where_all_are_there_and_names_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "games.csv"
    path.write_text("winner,loser\n1,0\n10,2\n2,10\n")
    assert ea.read_comparisons(path).responses == ("0", "1", "2", "10")
    path.write_text("winner,loser\n1,0\n0,1\n2,1\n")
    found = ea.read_comparisons(path)
    assert found.responses is None and counted(found) == {(0, 1): 1, (1, 0): 1, (2, 1): 1}


def test_rows_of_counts_stand_once_in_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text("winner,loser,count\na,b,3\nb,a,1\na,b,2\n")
    with pytest.raises(ValueError, match="row 4: a row with this winner, loser came before"):
        ea.read_comparisons(path, rows=1)


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("winner,loser\na,b\n\nb,a\nc,c\n", "row 5: winner and loser must differ"),
        ("winner,loser,weight\na,b,1\nb,a,2\na,b,x\n", "row 4: weight must be a number, got 'x'"),
        ("winner,loser\na,b\nb,\n", "row 3: loser must not be empty"),
        ("winner,loser\na,b\nb,a\na,b,c\n", "row 4: has 3 cells, and the header has 2"),
        ("winner,loser\n", "has a header and no rows"),
        ("", "is empty"),
        ("winner;loser\na;b\n", "cells must be separated by commas, and these are by semicolons"),
        ("winner,winner\na,b\n", "the column 'winner' is given twice"),
        ("winner,losers\na,b\n", "column 'loser' is missing|unknown column 'losers'"),
        ("who,whom\na,b\n", "must have the columns 'winner', 'loser'"),
        ("prompt,winner,loser\nx,a,b\n", "comparisons have no prompt"),
    ],
)
def test_rows_that_are_wrong_are_named_wherever_chunks_end(tmp_path: Path, rows: int, text: str, message: str) -> None:
    path = tmp_path / "games.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"games.csv: .*({message})"):
        ea.read_comparisons(path, rows=rows)


def test_files_that_are_no_text_or_not_whole(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"winner,loser\na,\xff\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"winner,loser\na,b\n" * 1000)[:-9])
    (tmp_path / "c.jsonl").write_text('{"winner": "a", "loser": "b"}\n{"winner": "a"')
    (tmp_path / "d.parquet").write_text("no")
    for name, message in {
        "a.csv": "is not UTF-8 text",
        "b.csv.gz": "is not a whole gzip file",
        "c.jsonl": "malformed JSON: .* in row 2",
        "d.parquet": "malformed Parquet",
    }.items():
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            ea.read_comparisons(tmp_path / name, rows=10)
    with pytest.raises(ValueError, match=r"must end in \.jsonl, \.csv, \.tsv, \.parquet"):
        ea.read_comparisons(tmp_path / "e.json")
    with pytest.raises(FileNotFoundError):
        ea.read_comparisons(tmp_path / "f.csv")
    with pytest.raises(ValueError, match="rows must be a whole number of at least 1"):
        ea.read_comparisons(tmp_path / "a.csv", rows=0)
