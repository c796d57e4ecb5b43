"""Tables of other kinds than rows of JSON: Arrow types that `datasets` has not, and conversations in cells of text."""

from __future__ import annotations

import csv
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .llm_files import TOOLS as WEATHER
from .llm_files import call
from .llm_rows import CHAT, read
from .llm_texts import TOOLS, byte_tokenizer, said, user

from expo_analysis.llm.data import BadRows, read_split  # isort: skip

TEXTS = {"prompt": ["Hi", "Ho"], "chosen": ["a", "b"], "rejected": ["c", "d"]}

IDS = [uuid.UUID(int=k) for k in (1, 2)]

STRANGE: dict[str, tuple[Any, Any]] = {
    "map": (pa.array([[("a", 1)], [("b", 2)]], pa.map_(pa.string(), pa.int64())), [{"a": 1}, {"b": 2}]),
    "map with a key twice": (
        pa.array([[("a", 1), ("a", 2)], None], pa.map_(pa.string(), pa.int64())),
        [[["a", 1], ["a", 2]], None],
    ),
    "map of numbers": (pa.array([[(7, 1)], []], pa.map_(pa.int64(), pa.int64())), [{"7": 1}, {}]),
    "map in a struct": (
        pa.array([{"x": [("a", 1)]}, None], pa.struct([("x", pa.map_(pa.string(), pa.int64()))])),
        [{"x": {"a": 1}}, None],
    ),
    "list view": (pa.array([[1], [2, 3]], pa.list_view(pa.int64())), [[1], [2, 3]]),
    "large list view": (pa.array([["x"], None], pa.large_list_view(pa.string())), [["x"], None]),
    "uuid": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([one.bytes for one in IDS], pa.binary(16))),
        [str(one) for one in IDS],
    ),
    "bool8": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1], pa.int8())), [False, True]),
    "json": (pa.array(['{"a": 1}', "[2]"], pa.string()).cast(pa.json_()), [{"a": 1}, [2]]),
    "tensor": (
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(4.0).reshape(2, 2)),
        [[0.0, 1.0], [2.0, 3.0]],
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("column", "values"), STRANGE.values(), ids=STRANGE)
def test_a_column_of_any_arrow_type_keeps_no_file_from_being_read(
    column: Any, values: list[Any], stream: bool, tmp_path: Path
) -> None:
    """Read it has the values that it has in JSON, and what is trained on is the same without it."""
    pq.write_table(pa.table(TEXTS | {"meta": column}), tmp_path / "a.parquet")
    found = read_split(tmp_path / "a.parquet", streaming=stream)
    assert [row["meta"] for row in found] == values
    alone = list(read([dict(zip(TEXTS, row, strict=True)) for row in zip(*TEXTS.values(), strict=True)]).rows)
    for row, expected in zip(read(found).rows, alone, strict=True):
        assert all(row[name] == expected[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids"))


def test_a_column_that_is_read_and_has_such_a_type_is_refused_by_file_and_name(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table(TEXTS | {"chosen": STRANGE["map"][0]}), file)
    with pytest.raises(BadRows, match=f"{file}: all 2 rows, chosen: its message 0 must have 'role' and 'content'"):
        read(read_split(file))


def test_messages_in_list_views_are_messages(tmp_path: Path) -> None:
    kind = pa.list_view(pa.struct([("role", pa.string()), ("content", pa.string())]))
    pq.write_table(pa.table({name: pa.array([value], kind) for name, value in CHAT.items()}), tmp_path / "a.parquet")
    found = read(read_split(tmp_path / "a.parquet"))
    assert found.rows[0]["chosen_ids"] == read([CHAT]).rows[0]["chosen_ids"]


# --------------------------------------------------------------------------------------------- conversations in cells

COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")


def table_of(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in row.values()])
    return path


TURNS = {
    "plain": CHAT,
    "roles of others": {name: [{"from": m["role"], "value": m["content"]} for m in CHAT[name]] for name in CHAT},
    "several turns": CHAT | {"prompt": [user('a, "b"\n'), said("c"), user("d")]},
    "no prompt": {side: CHAT["prompt"] + CHAT[side] for side in ("chosen", "rejected")},
    "a prompt of text": {"prompt": "Hi"} | {side: CHAT[side] for side in ("chosen", "rejected")},
    "OpenAI's": {
        "input": {"messages": CHAT["prompt"]},
        "preferred_output": CHAT["chosen"],
        "non_preferred_output": CHAT["rejected"],
    },
    "tool calls": {"prompt": [user("Oslo?")], "chosen": [call("Oslo")], "rejected": [call("Rome")], "tools": WEATHER},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize("row", TURNS.values(), ids=TURNS)
def test_conversations_in_cells_of_json_are_those_of_json(
    row: dict[str, Any], ending: str, stream: bool, tmp_path: Path
) -> None:
    tokenizer = byte_tokenizer(TOOLS)
    file = table_of(tmp_path / f"a.{ending}", [row, row])
    found = list(read(read_split(file, streaming=stream), tokenizer).rows)
    (expected,) = read([row], tokenizer).rows
    assert len(found) == 2
    for one in found:
        assert [one[name] for name in COLUMNS] == [expected[name] for name in COLUMNS]


def test_a_column_of_text_of_which_some_cells_are_such_json_stays_text(tmp_path: Path) -> None:
    row = CHAT | {"prompt": "Hi"}
    file = table_of(tmp_path / "a.csv", [row, row | {"chosen": "Hello"}])
    assert [type(value) for value in read_split(file)["chosen"]] == [str, str]
    with pytest.raises(BadRows, match=r"row 0 \(line 2\), chosen: it is a conversation that was written as text; "):
        read(read_split(file))


def test_what_python_prints_of_a_conversation_is_refused_with_what_a_table_wants(tmp_path: Path) -> None:
    file = table_of(tmp_path / "a.csv", [{name: str(value) for name, value in CHAT.items()}])
    with pytest.raises(BadRows, match=r"give it as a list of messages, in a table \(CSV\) as JSON, in every row"):
        read(read_split(file))


@pytest.mark.parametrize("cell", ["[1]", "[", "{}", "[]", '[{"a": 1}]', "null", "[[]]", '{"messages": []}', "[" * 5000])
def test_other_cells_stay_text(cell: str, tmp_path: Path) -> None:
    file = table_of(tmp_path / "a.csv", [{"prompt": "p", "chosen": cell, "rejected": "r"}])
    assert read_split(file)["chosen"][:] == [cell]
