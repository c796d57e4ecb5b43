"""Forms of data that people have at hand, read as they mean it; and what is said of those that cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from . import llm_models as tiny

import expo_analysis as ea  # isort: skip
from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.data import PreferenceData, read_split  # isort: skip
from expo_analysis.llm.data.table import ORIGIN, python_rows  # isort: skip
from expo_analysis.llm.held_out import read_held_out  # isort: skip

ROWS = [{"prompt": f"w{k} ", "chosen": f"w{k + 1}", "rejected": f"w{k + 2} w3"} for k in range(3)]
CHATS = [
    {name: [{"role": "user" if name == "prompt" else "assistant", "content": text}] for name, text in row.items()}
    for row in ROWS
]


def openai(row: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "input": {"messages": row["prompt"], "parallel_tool_calls": True, **more},
        "preferred_output": row["chosen"],
        "non_preferred_output": row["rejected"],
    }


def written(folder: Path, rows: list[Any], name: str = "p.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def tokens(data: PreferenceData) -> list[list[int]]:
    return [row[name] for row in data.rows for name in ("prompt_ids", "chosen_ids", "rejected_ids")]


def test_openais_format(tmp_path: Path) -> None:
    words = tiny.tokenizer()
    expected = tokens(PreferenceData.from_rows(CHATS, words, name="x", max_length=None))
    rows = [openai(row) for row in CHATS]
    assert tokens(PreferenceData.from_rows(rows, words, name="x", max_length=None)) == expected
    file = written(tmp_path, rows)
    assert tokens(PreferenceData.read(file, words, max_length=None)) == expected
    assert tokens(PreferenceData.read(file, words, max_length=None, streaming=True)) == expected
    args = PreferenceConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none")
    trainer = PreferenceTrainer(tiny.llama(), ea.DPO(0.1), args, train_dataset=rows, processing_class=words)
    assert tokens(trainer.data) == expected
    found, _ = read_held_out(str(file), words)
    assert found.prompts == [row["prompt"] for row in CHATS] and len(found.pairs) == 3


def test_tools_of_openais_format_are_the_chat_templates() -> None:
    words = tiny.tokenizer()
    words.chat_template = "{% if tools %}w9 {% endif %}" + words.chat_template
    tools = [{"type": "function", "function": {"name": "w1"}}]
    with_tools = PreferenceData.from_rows([openai(CHATS[0], tools=tools)], words, name="x", max_length=None)
    beside = PreferenceData.from_rows([CHATS[0] | {"tools": tools}], words, name="x", max_length=None)
    assert tokens(with_tools) == tokens(beside)
    assert tokens(with_tools)[0] == [words.convert_tokens_to_ids("w9"), *words("w0")["input_ids"]]
    words.chat_template = tiny.CHAT
    data = PreferenceData.from_rows([openai(CHATS[0], tools=tools)], words, name="x", max_length=None)
    assert any("have 'tools', which the chat template does not read" in line for line in data.report.lines())


def test_columns_that_have_a_name_of_ours_are_not_openais() -> None:
    rows = [row | openai(row) for row in CHATS]
    data = PreferenceData.from_rows(rows, tiny.tokenizer(), name="x", max_length=None)
    assert tokens(data) == tokens(PreferenceData.from_rows(CHATS, tiny.tokenizer(), name="x", max_length=None))


def plain(file: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != ORIGIN} for row in python_rows(read_split(file))]


COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}

DOCUMENTS: dict[str, tuple[Any, list[Any]]] = {
    "columns": (COLUMNS, ROWS),
    "columns of conversations": ({name: [row[name] for row in CHATS] for name in CHATS[0]}, CHATS),
    "a row of text": (ROWS[0], ROWS[:1]),
    "a row of conversations": (CHATS[0], CHATS[:1]),
    "a row of both": ({**CHATS[0], "prompt": "w0 "}, [{**CHATS[0], "prompt": "w0 "}]),
    "rows": ({"data": ROWS}, ROWS),
    "rows of a split": ({"train": ROWS}, ROWS),
    "rows beside their version": ({"version": "1", "system": "none", "data": ROWS}, ROWS),
}


@pytest.mark.parametrize(("document", "expected"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_documents(document: Any, expected: list[Any], tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(document, indent=1))
    assert plain(tmp_path / "p.json") == expected


NO_DOCUMENTS: dict[str, tuple[Any, str]] = {
    "splits": (
        {"train": ROWS, "test": ROWS[:1]},
        "p.json: it has several lists of rows, 'train', 'test': write each to a file of its own, such as train.json "
        "and test.json, and give one of them, or their folder, whose splits they are",
    ),
    "columns of two lengths": (
        COLUMNS | {"chosen": ["w1"]},
        "p.json: its columns must have one length; they have {'prompt': 3, 'chosen': 1, 'rejected': 3}",
    ),
    "lists of nothing known": ({"a": [1], "b": [2]}, "p.json: it must be a list of objects such as"),
    "no rows beside their version": ({"version": "1", "data": []}, "p.json: it must be a list of objects such as"),
    "numbers beside a version": ({"version": "1", "data": [1]}, "p.json: it must be a list of objects such as"),
    "nothing": ({"prompt": [], "chosen": [], "rejected": []}, "p.json: it has no rows"),
}


@pytest.mark.parametrize(("document", "message"), NO_DOCUMENTS.values(), ids=NO_DOCUMENTS)
def test_what_is_no_document(document: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=re.escape(message)):
        plain(tmp_path / "p.json")


NESTED: dict[str, tuple[Any, str]] = {
    "below metadata": ({"meta": {"v": 1}, "data": {"pairs": ROWS}}, "data.pairs"),
    "beside other lists": ({"tags": ["x"], "meta": [1], "data": {"pairs": ROWS}}, "data.pairs"),
    "beside a list of others": ({"authors": [{"name": "x"}], "data": {"pairs": ROWS}}, "data.pairs"),
    "four deep": ({"a": {"b": {"c": {"d": ROWS}}}}, "a.b.c.d"),
    "columns": ({"data": COLUMNS, "meta": {}}, "data"),
    "in every row": ([{"id": k, "pair": row} for k, row in enumerate(ROWS)], "pair"),
    "in lists": ([{"pairs": ROWS}], "pairs"),
    "in rows of others": ([{"shards": [{"pairs": ROWS}]}], "shards[0].pairs"),
    "OpenAI's": ({"meta": {}, "data": {"pairs": [openai(row) for row in CHATS]}}, "data.pairs"),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("document", "place"), NESTED.values(), ids=NESTED)
def test_rows_inside_of_something_else_are_found(document: Any, place: str, streaming: bool, tmp_path: Path) -> None:
    lines = written(tmp_path, document if isinstance(document, list) else [document])
    (tmp_path / "p.json").write_text(json.dumps(document))
    for file in (lines, tmp_path / "p.json"):
        message = re.escape(f"; the rows seem to be in {place}: give these alone, one object each") + "$"
        with pytest.raises(ValueError, match=message):
            PreferenceData.read(file, tiny.tokenizer(), max_length=None, streaming=streaming)


@pytest.mark.parametrize(
    "row",
    [
        {"a": {"b": {"c": {"d": {"e": ROWS}}}}},
        {"x": 1, "scores": [{"label": "good", "score": 1.0}]},
        {"prompt": "w1", "chosen": "w2", "meta": {"first": ROWS}},  # whose other response is missing
        {"x": []},
    ],
)
def test_no_place_is_guessed_where_rows_are_not_meant(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must have the column '(chosen|rejected)', but its columns are") as caught:
        PreferenceData.from_rows([row], tiny.tokenizer(), name="x", max_length=None)
    assert "seem to be" not in str(caught.value)


def test_splits_in_files_of_their_own(tmp_path: Path) -> None:
    """What the sentence says to do does it."""
    for name, rows in (("train", ROWS), ("test", ROWS[:1])):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    assert len(read_split(tmp_path, "train")) == 3 and len(read_split(tmp_path, "test")) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"better_response_id": 0}, "into chosen, and the other into rejected; better_response_id says which"),
        ({}, "put the better one of response_0 and response_1 into chosen, and the other into rejected"),
    ],
)
def test_two_responses_in_no_order(more: dict[str, Any], message: str) -> None:
    row = {"prompt": "w1", "response_0": "w2", "response_1": "w3", **more}
    with pytest.raises(ValueError, match=f"x must have the column 'chosen', .*{message}$"):
        PreferenceData.from_rows([row], tiny.tokenizer(), name="x", max_length=None)


@pytest.mark.parametrize("objective", [ea.DPO(0.1), ea.WRPO(0.1), ea.REBEL(0.1)], ids=str)
@pytest.mark.parametrize("argument", ["train_dataset", "eval_dataset", "optimal_dataset"])
def test_a_file_in_the_place_of_rows(argument: str, objective: Any, tmp_path: Path) -> None:
    """Whatever columns the loss reads beside the pair."""
    rows = [row | {"third": "w7", "score_chosen": 1.0, "score_rejected": 0.0} for row in ROWS]
    args = PreferenceConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none")
    given = {"train_dataset": rows} | {argument: "p.jsonl"}
    message = f"{argument} must be a Dataset, .*, got str; PreferenceData.read, or read_split, reads 'p.jsonl'"
    with pytest.raises(TypeError, match=message):
        PreferenceTrainer(tiny.llama(), objective, args, processing_class=tiny.tokenizer(), **given)
