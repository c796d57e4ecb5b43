"""Which tokens of a response count is the same whichever way its tokens come in; what cannot be meant is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import expo_analysis as ea

from . import llm_models as tiny
from .llm_trainers import make

import datasets  # isort: skip (needs the environment of llm_models)
from datasets import Dataset  # isort: skip
from expo_analysis.llm.data import BadRows, PreferenceData, read_split  # isort: skip


def several_turns(rows: int = 3) -> list[dict[str, Any]]:
    """Conversations with a turn of the user's inside of the responses."""

    def response(word: str, row: int) -> list[dict[str, str]]:
        said = [("assistant", word), ("user", f"{tiny.WORDS[row]} w9 w9"), ("assistant", f"{word} w7")]
        return [{"role": role, "content": content} for role, content in said]

    asked = [[{"role": "user", "content": tiny.WORDS[row]}] for row in range(rows)]
    return [{"prompt": asked[k], "chosen": response("w3", k), "rejected": response("w4", k)} for k in range(rows)]


def read(rows: Any, **given: Any) -> PreferenceData:
    return PreferenceData.from_rows(rows, tiny.tokenizer(), **{"name": "rows", "max_length": 64} | given)


TOKENS = ("prompt_ids", "chosen_ids", "rejected_ids", "chosen_mask", "rejected_mask")


def through_json(rows: Dataset, folder: Path) -> Any:
    rows.to_json(folder / "rows.jsonl")
    return folder / "rows.jsonl"


def through_parquet(rows: Dataset, folder: Path) -> Any:
    rows.to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def through_disk(rows: Dataset, folder: Path) -> Any:
    rows.save_to_disk(folder / "disk")
    return datasets.load_from_disk(folder / "disk")


WAYS: dict[str, Callable[[Dataset, Path], Any]] = {
    "as it is": lambda rows, folder: rows,
    "a list": lambda rows, folder: rows.to_list(),
    "a list of tokens alone": lambda rows, folder: rows.select_columns(TOKENS).to_list(),
    "a data set of tokens alone": lambda rows, folder: Dataset.from_list(rows.select_columns(TOKENS).to_list()),
    "a stream": lambda rows, folder: rows.to_iterable_dataset(),
    "a stream of tokens alone": lambda rows, folder: rows.select_columns(TOKENS).to_iterable_dataset(),
    "mapped": lambda rows, folder: rows.map(lambda row: row),
    "on the disk": through_disk,
    "jsonl": lambda rows, folder: read_split(str(through_json(rows, folder)), "train"),
    "parquet": lambda rows, folder: read_split(str(through_parquet(rows, folder)), "train"),
    "jsonl by datasets": lambda rows, folder: datasets.load_dataset(
        "json", data_files=str(through_json(rows, folder)), cache_dir=str(folder / "cache")
    )["train"],
    "parquet by datasets": lambda rows, folder: datasets.load_dataset(
        "parquet", data_files=str(through_parquet(rows, folder)), cache_dir=str(folder / "cache")
    )["train"],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_masks_come_in_by_every_way(way: Callable[[Dataset, Path], Any], tmp_path: Path) -> None:
    made = read(several_turns())
    assert not all(made.rows[0]["chosen_mask"]) and any(made.rows[0]["chosen_mask"])
    again = list(read(way(made.rows, tmp_path)).rows)
    expected = made.rows.to_list()
    assert [{name: row[name] for name in TOKENS} for row in again] == [
        {name: row[name] for name in TOKENS} for row in expected
    ]
    assert [row["row_number"] for row in again] == [0, 1, 2]


def test_the_loss_is_of_the_turns_that_count(tmp_path: Path) -> None:
    """Of the assistant's tokens alone, from conversations and from their tokens in a list."""
    rows = several_turns(4)
    given = {"max_steps": 1, "learning_rate": 1e-9}
    found = []
    for data in (
        rows,
        read(rows).rows.to_list(),
        [{k: v for k, v in r.items() if k in TOKENS} for r in read(rows).rows],
    ):
        trainer = make(ea.SFT(1.0), tmp_path, data=data, **given)
        trainer.train()
        found.append(trainer.state.log_history[0]["loss"])
    assert found[0] == found[1] == found[2]
    bare = [{k: v for k, v in row.items() if not k.endswith("_mask")} for row in read(rows).rows.to_list()]
    trainer = make(ea.SFT(1.0), tmp_path, data=bare, **given)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] > 1.5 * found[0]  # the user's turns would be learned as well


def test_masks_of_lists_and_of_one_side(tmp_path: Path) -> None:
    row: dict[str, Any] = {"prompt_ids": [5], "responses_ids": [[6, 7], [8], [9, 4]], "scores": [1.0, 2.0, 3.0]}
    made = read([row | {"responses_mask": [[0, 1], None, [True, False]]}])
    assert made.rows[0]["responses_mask"] == [[0, 1], [1], [1, 0]]
    pair: dict[str, Any] = {"prompt_ids": [5], "chosen_ids": [6, 7], "rejected_ids": [8, 9]}
    made = read([pair | {"chosen_mask": [0, 1]}])
    assert made.rows[0]["chosen_mask"] == [0, 1] and made.rows[0]["rejected_mask"] == [1, 1]
    made = read([{"prompt_ids": [5], "completion_ids": [6, 7], "completion_mask": [1, 0], "label": True}])
    assert made.rows[0]["completion_mask"] == [1, 0]
    assert "chosen_mask" not in read([pair | {"chosen_mask": [1, 1], "rejected_mask": [1, 1]}]).rows.column_names


PAIR: dict[str, Any] = {"prompt_ids": [5, 6, 7], "chosen_ids": [8, 9, 4], "rejected_ids": [10, 4]}
REFUSED = {
    "another length": (
        PAIR | {"chosen_mask": [1, 1]},
        "chosen_mask: it must have a number for each token, got 2 for 3",
    ),
    "nothing counts": (PAIR | {"chosen_mask": [0, 0, 0]}, "chosen_mask: it counts none of the tokens"),
    "no counts": (
        PAIR | {"rejected_mask": [1, 2]},
        "rejected_mask: it must be a list of 1 for tokens that count and 0 for others, got [1, 2]",
    ),
    "fractions": (PAIR | {"rejected_mask": [1, 0.5]}, "rejected_mask: it must be a list of 1 for tokens that count"),
    "text": (PAIR | {"chosen_mask": "111"}, "chosen_mask: it must be a list of 1 for tokens that count and 0 for othe"),
    "beside texts": (
        {"prompt": "w1", "chosen": "w2", "rejected": "w3", "chosen_mask": [1]},
        "chosen_mask: it says which tokens count, and the row has none: give prompt_ids, chosen_ids, rejected_ids",
    ),
    "of a list": (
        {"prompt_ids": [5], "responses_ids": [[6, 7], [8]], "scores": [1, 2], "responses_mask": [[1, 1], [0]]},
        "responses_mask[1]: it counts none of the tokens",
    ),
    "of a response too many": (
        {"prompt_ids": [5], "responses_ids": [[6, 7], [8]], "scores": [1, 2], "responses_mask": [[1, 1], [1], [1]]},
        "responses_mask[2]: there are no tokens of this response",
    ),
}


@pytest.mark.parametrize(("row", "message"), REFUSED.values(), ids=REFUSED)
def test_masks_that_cannot_be_meant_are_refused(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    for rows in ([row], Dataset.from_list([row]), read_split(str(tmp_path / "rows.jsonl"), "train")):
        with pytest.raises(BadRows, match=re.escape(message)):
            read(rows)
    with pytest.raises(BadRows, match=re.escape(message)):
        list(read(Dataset.from_list([row]).to_iterable_dataset()).rows)


def test_samples_of_checked_data_come_in_as_a_list_too() -> None:
    rows = tiny.pairs(3, samples=2)
    made = read(rows, reference_samples="needed")
    again = read(made.rows.to_list(), reference_samples="needed")
    assert again.rows["sample_ids"][:] == made.rows["sample_ids"][:]


def test_padding_in_tokens_is_remarked_on() -> None:
    padded = {"prompt_ids": [0, 0, 5], "chosen_ids": [6, 1, 0, 0], "rejected_ids": [7, 1]}
    response = "have padding in the tokens of a response, which counts as the rest of it; give a mask, or leave it out"
    prompt = "have a prompt that begins with padding, which the model reads as any other token"
    assert dict(read([padded]).report.remarks) == {response: 1, prompt: 1}
    assert dict(read([padded | {"prompt_ids": [5], "chosen_mask": [1, 1, 0, 0]}]).report.remarks) == {}
    ends = tiny.tokenizer()
    ends.pad_token = ends.eos_token
    for ids, remarks in (([6, 1], {}), ([6, 1, 1], {response: 1})):
        row = {"prompt_ids": [1, 5], "chosen_ids": ids, "rejected_ids": [7, 1]}
        found = PreferenceData.from_rows([row], ends, name="rows", max_length=None)
        assert dict(found.report.remarks) == remarks
    none = tiny.tokenizer()
    none.pad_token = None
    assert not PreferenceData.from_rows([padded], none, name="rows", max_length=None).report.remarks


@pytest.mark.parametrize("value", ["x", 3, {"file": "f"}, None, ["a"]])
@pytest.mark.parametrize("name", ["__origin__", "__problem__", "__kind__"])
def test_columns_called_like_ours(name: str, value: Any, tmp_path: Path) -> None:
    """A column of the user's that is called as what this package writes is none of it, in whatever way it comes in."""
    rows = [row | {name: value} for row in tiny.pairs(3).to_list()]
    rows[2]["chosen"] = rows[2]["rejected"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    files = [str(tmp_path / file) for file in ("rows.jsonl", "rows.parquet")]
    given = [rows, Dataset.from_list(rows), *(read_split(file, "train") for file in files)]
    for each, place in zip(given, ("row 2", "row 2", f"{files[0]}: row 2 (line 3)", f"{files[1]}: row 2"), strict=True):
        keep = [name] if name != "__origin__" else []
        made = read(each, on_bad_rows="drop", keep_columns=keep)
        assert [str(problem.place) for problem in made.report.dropped] == [place]
        assert made.rows["row_number"][:] == [0, 1]
    stream = read(Dataset.from_list(rows).to_iterable_dataset(), on_bad_rows="drop")
    assert len(list(stream.rows)) == 2 and stream.report.dropped[0].row == 2


def test_a_saved_data_set_with_a_column_called_like_ours(tmp_path: Path) -> None:
    Dataset.from_list([row | {"__origin__": "x"} for row in tiny.pairs(3).to_list()]).save_to_disk(tmp_path / "saved")
    assert read(read_split(str(tmp_path / "saved"), "train")).where(1) == f"{tmp_path / 'saved'}: row 1"
