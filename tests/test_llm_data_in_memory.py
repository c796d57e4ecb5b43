"""Data in memory, in whatever form, are read as their rows are; and what is remarked of rows that contradict others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from . import llm_models as tiny
from .llm_rows import CHAT, GOOD, ids, read
from .llm_trainers import make

import expo_analysis as ea  # isort: skip
from expo_analysis.llm.data import BadRows  # isort: skip
from expo_analysis.llm.data.contradictions import REVERSED  # isort: skip
from expo_analysis.llm.data.feedback import PAIRS, SINGLES  # isort: skip
from expo_analysis.llm.data.in_memory import are_columns, as_rows  # isort: skip

ROWS = [GOOD, GOOD | {"prompt": "Ho"}]
CHATS = [CHAT, CHAT | {"chosen": [{"role": "assistant", "content": "Well."}]}]


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def arrays(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """As pandas reads parquet: lists are arrays."""
    return pd.DataFrame({name: [np.array(cell) for cell in cells] for name, cells in columns(rows).items()})


FORMS: dict[str, Any] = {
    "columns": columns,
    "columns of tuples": lambda rows: {name: tuple(cells) for name, cells in columns(rows).items()},
    "arrays": lambda rows: {name: np.array(cells, dtype=object) for name, cells in columns(rows).items()},
    "a frame": pd.DataFrame,
    "a frame with an index": lambda rows: pd.DataFrame(rows, index=[5, 5]),
    "a table": pa.Table.from_pylist,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [ROWS, CHATS], ids=["text", "conversations"])
def test_every_form_gives_the_tokens_of_its_rows(form: str, rows: list[dict[str, Any]]) -> None:
    expected, found = read(rows), read(FORMS[form](rows))
    assert [ids(found, row) for row in range(2)] == [ids(expected, row) for row in range(2)]
    assert found.rows["row_number"][:] == [0, 1]


def test_cells_that_are_arrays_are_lists() -> None:
    assert ids(read(arrays(CHATS)), 1) == ids(read(CHATS), 1)


def test_what_a_frame_lacks_is_missing_and_numbers_are_pythons() -> None:
    frame = pd.DataFrame(ROWS).assign(weight=np.array([1, 2]), note=[np.nan, "x"], when=[pd.NaT, pd.Timestamp(0)])
    found = as_rows(frame, "x")
    assert found[0] == GOOD | {"weight": 1, "note": None, "when": None} and type(found[1]["weight"]) is int
    with pytest.raises(BadRows, match=r"row 1, chosen: it is missing \(None\)"):
        read(pd.DataFrame([GOOD, GOOD | {"chosen": np.nan}]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            columns(ROWS) | {"chosen": ["a"]},
            "train_dataset: its columns must have one length; they have {'prompt': 2, 'ch",
        ),
        (pd.DataFrame(ROWS).set_axis(["prompt", "chosen", "chosen"], axis=1), "the column 'chosen' stands twice"),
        (pd.DataFrame(ROWS)[["prompt", "chosen"]], "must have the column 'rejected', but its columns are"),
        (pd.DataFrame(ROWS).iloc[:0], "train_dataset must have rows, but it is empty"),
        ({"prompt": [], "chosen": [], "rejected": []}, "train_dataset must have rows, but it is empty"),
    ],
)
def test_what_is_wrong_with_them_is_said(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(given)


@pytest.mark.parametrize(
    ("given", "are"),
    [
        ({"question": ["a"], "answer": ["b"]}, True),
        ({"chosen": [[{"role": "user"}]], "rejected": [[{"role": "user"}]]}, True),
        ({"a": ROWS, "b": ROWS}, False),
        ({"prompt": ROWS}, False),  # the name of a data set
        ({"a": []}, False),
        ({}, False),
        ({"a": tiny.pairs(1)}, False),
        (GOOD, False),
        (ROWS, False),
    ],
)
def test_what_are_columns(given: Any, are: bool) -> None:
    assert are_columns(given) == are


@pytest.mark.parametrize("form", ["columns", "a frame"])
def test_a_trainer_takes_them_wherever_it_takes_rows(form: str, tmp_path: Path) -> None:
    rows = list(tiny.pairs(4))
    given = FORMS[form](rows)
    trainer = make(ea.DPO(0.1), tmp_path, data=given, eval_dataset=given, optimal_dataset=given)
    assert trainer.data.rows["chosen_ids"][:] == make(ea.DPO(0.1), tmp_path, data=rows).data.rows["chosen_ids"][:]
    expected = trainer.evaluate()
    assert trainer.evaluate(given)["eval_loss"] == expected["eval_loss"]
    assert trainer.predict(given).metrics["test_loss"] == expected["eval_loss"]
    several = make(ea.DPO(0.1), tmp_path, data=given, eval_dataset={"a": given, "b": rows}).evaluate()
    assert several["eval_a_loss"] == several["eval_b_loss"] == expected["eval_loss"]


# ------------------------------------------------------------------------------------------------------- contradictions


def turned(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"chosen": row["rejected"], "rejected": row["chosen"]}


@pytest.mark.parametrize("row", [GOOD, CHAT], ids=["text", "conversations"])
def test_pairs_that_others_have_the_other_way_round_are_counted(row: dict[str, Any]) -> None:
    """Each row once, however often; another prompt's pair is another pair."""
    other = row | {"prompt": CHATS[0]["prompt"] + [{"role": "user", "content": "?"}] if row is CHAT else "Ho"}
    rows = [row, row, turned(row), other, other]
    found = read(rows)
    assert found.report.remarks[REVERSED[PAIRS]] == 3 and len(found) == 5
    assert found.report.lines()[-1].startswith("train_dataset: 3 of 5 rows have a pair that other rows have the other")
    assert not read([row, row, turned(other)]).report.remarks[REVERSED[PAIRS]]
    third = [one | {"third": row["rejected"]} for one in rows]
    assert read(third, feedback="triples").report.remarks[REVERSED[PAIRS]] == 3


def test_rows_that_are_left_out_contradict_nothing() -> None:
    rows = [GOOD, turned(GOOD) | {"chosen_mask": [1]}, GOOD]
    found = read(rows, on_bad_rows="drop")
    assert len(found) == 2 and not found.report.remarks[REVERSED[PAIRS]]


def test_responses_that_are_good_and_are_not_are_counted() -> None:
    said = [("a", True), ("a", False), ("b", True), ("a", 0)]
    rows = [{"prompt": "q", "completion": text, "label": label} for text, label in said]
    assert read(rows).report.remarks == {REVERSED[SINGLES]: 3}
    assert not read([{"prompt": "q", "completion": "a", "score": score} for score in (0, 1)]).report.remarks
    lists = {"prompt": "q", "responses": ["a", "b"]}
    assert not read([lists | {"ranking": order} for order in ([0, 1], [1, 0])]).report.remarks
