"""Tables that are wrong: each is refused in one sentence that names file, row and column."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import expo_analysis as ea

from .table_files import FORMATS, Write, frame, writer


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


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
