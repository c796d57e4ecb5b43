"""Rows that cannot be trained on are refused by number and field, or counted; before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import expo_analysis as ea

from . import llm_models as tiny

from expo_analysis.llm import BadRows, PreferenceConfig, PreferenceTrainer  # isort: skip

GOOD = {"prompt": "w1 w2 ", "chosen": "w3 w4", "rejected": "w5"}


def chat(text: str, role: str = "assistant") -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


CHAT = {"prompt": chat("w1 w2", "user"), "chosen": chat("w3"), "rejected": chat("w4")}


def train_on(rows: list[dict[str, Any]], folder: Path, **given: Any) -> PreferenceTrainer:
    names = ("eval_dataset",)
    trainer = {name: given.pop(name) for name in names if name in given}
    return PreferenceTrainer(
        tiny.llama(0),
        ea.EXPO(0.1),
        PreferenceConfig(**tiny.settings(folder, max_steps=1, **given)),
        train_dataset=tiny.Dataset.from_list(rows),
        processing_class=tiny.tokenizer(),
        **trainer,
    )


BAD_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "no chosen": (GOOD | {"chosen": None}, r"row 2, chosen: it is missing \(None\)"),
    "no prompt": (GOOD | {"prompt": None}, r"row 2, prompt: it is missing \(None\)"),
    "empty chosen": (GOOD | {"chosen": " "}, "row 2, chosen: it is empty"),
    "empty rejected": (GOOD | {"rejected": ""}, "row 2, rejected: it is empty"),
    "empty prompt": (GOOD | {"prompt": ""}, "row 2, prompt: it has no tokens"),
    "same": (GOOD | {"rejected": "w3 w4"}, "row 2, rejected: it is the same as chosen"),
    "same tokens": (GOOD | {"rejected": "w3  w4"}, "row 2, rejected: it has the same tokens as chosen"),
    "long prompt": (
        GOOD | {"prompt": "w1 " * 30},
        "row 2, prompt: it has 30 tokens, which leaves no room for a response within max_length=16",
    ),
    "same when cut": (
        GOOD | {"chosen": "w1 " * 20 + "w2", "rejected": "w1 " * 20 + "w3"},
        "row 2, rejected: it is the same as chosen within max_length=16",
    ),
}
BAD_CHATS: dict[str, tuple[dict[str, Any], str]] = {
    "no message": (CHAT | {"chosen": []}, "row 1, chosen: it is a conversation without messages"),
    "no content": (
        CHAT | {"chosen": [{"role": "assistant", "content": None}]},
        "row 1, chosen: the content of its message 0 must be text, got NoneType",
    ),
    "no role": (
        CHAT | {"rejected": [{"role": None, "content": "w1"}]},
        "row 1, rejected: the role of its message 0 must be text, got None",
    ),
    "empty": (CHAT | {"rejected": chat("")}, "row 1, rejected: its last message is empty"),
}


@pytest.mark.parametrize(("row", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_rows_are_refused_or_left_out(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"chosen": "w6"}, row, GOOD | {"chosen": "w7"}]
    with pytest.raises(BadRows, match=f"train_dataset has rows that cannot be trained on: {message}.*1 of 4 rows"):
        train_on(rows, tmp_path, max_length=16)
    trainer = train_on(rows, tmp_path, max_length=16, on_bad_rows="drop")
    assert [problem.row for problem in trainer.data_reports["train_dataset"].dropped] == [2]
    assert list(trainer.train_dataset["row"]) == [0, 1, 3]
    assert "these rows are left out" in trainer.data_reports["train_dataset"].lines()[-1]
    trainer.train()


@pytest.mark.parametrize(("row", "message"), BAD_CHATS.values(), ids=BAD_CHATS)
def test_bad_conversations(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadRows, match=message):
        train_on([CHAT, row], tmp_path)


def test_all_that_is_bad_is_counted(tmp_path: Path) -> None:
    rows = [GOOD] + [GOOD | {"chosen": ""}] * 9
    with pytest.raises(BadRows, match=r"row 1, chosen: it is empty; .*row 5, chosen: it is empty; \.\.\. \(9 of 10"):
        train_on(rows, tmp_path)
    with pytest.raises(BadRows, match="9 of 9 rows"):  # nothing would be left
        train_on(rows[1:], tmp_path, on_bad_rows="drop")


COLUMNS: dict[str, tuple[dict[str, Any], str]] = {
    "misspelled": (
        {"prompt": "w1", "choosen": "w2", "rejected": "w3"},
        r"train_dataset must have the column 'chosen', but its columns are \[.*\]; is 'choosen' meant to be it\?",
    ),
    "missing": ({"prompt": "w1", "chosen": "w2"}, "must have the column 'rejected'"),
    "no prompt": ({"chosen": "w1 w2", "rejected": "w1 w3"}, "must have the column 'prompt'.*extract_prompt"),
    "image": (GOOD | {"image": "x"}, "must hold text only, but it has the column 'image'"),
}


@pytest.mark.parametrize(("row", "message"), COLUMNS.values(), ids=COLUMNS)
def test_columns(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train_on([row], tmp_path)


def test_the_evaluation_data_are_checked_too(tmp_path: Path) -> None:
    bad = tiny.Dataset.from_list([GOOD, GOOD | {"chosen": ""}])
    with pytest.raises(BadRows, match=r"eval_dataset has rows .*: row 1, chosen"):
        train_on([GOOD], tmp_path, eval_dataset=bad)
    with pytest.raises(BadRows, match=r"eval_dataset\['b'\] has rows .*: row 1, chosen"):
        train_on([GOOD], tmp_path, eval_dataset={"a": tiny.Dataset.from_list([GOOD]), "b": bad})
    with pytest.raises(BadRows, match=r"eval_dataset has rows .*: row 1, chosen"):
        train_on([GOOD], tmp_path).evaluate(bad)


def test_a_data_set_without_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train_dataset must have rows, but it is empty"):
        PreferenceTrainer(
            tiny.llama(0),
            ea.EXPO(0.1),
            PreferenceConfig(**tiny.settings(tmp_path)),
            train_dataset=tiny.pairs(2).select([]),
            processing_class=tiny.tokenizer(),
        )


def test_a_stream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="must be a Dataset: rows that cannot be trained on"):
        PreferenceTrainer(
            tiny.llama(0),
            ea.EXPO(0.1),
            PreferenceConfig(**tiny.settings(tmp_path, max_steps=1)),
            train_dataset=tiny.pairs(2).to_iterable_dataset(),
            processing_class=tiny.tokenizer(),
        )


def test_plain_text_beside_conversations(tmp_path: Path) -> None:
    with pytest.raises(BadRows, match="row 0, prompt: it is a conversation, while chosen and rejected of that row is"):
        train_on([{"prompt": chat("w1", "user"), "chosen": "w2", "rejected": "w3"}], tmp_path)


def test_what_can_be_trained_on_is_counted(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"prompt": "w1 <eos> w2 "}, GOOD | {"chosen": "w1 " * 20}, GOOD | {"chosen": "w9 <eos>"}]
    report = train_on(rows, tmp_path, max_length=16).data_reports["train_dataset"]
    assert report.lines() == [
        "train_dataset: 1 of 4 rows have special tokens inside the text of prompt (first: row 1)",
        "train_dataset: 1 of 4 rows have a response that is cut at max_length=16 (first: row 2)",
    ]


SAMPLES: dict[str, tuple[Any, str]] = {
    "none": (None, "row 1, reference_samples: it must be a list of at least one response"),
    "fewer": (["w1"], "row 1, reference_samples: it has 1 responses, while the first row has 2"),
    "empty": (["w1", ""], "row 1, reference_samples: response 1: it is empty"),
}


@pytest.mark.parametrize(("samples", "message"), SAMPLES.values(), ids=SAMPLES)
def test_bad_reference_samples(samples: Any, message: str, tmp_path: Path) -> None:
    rows = [GOOD | {"reference_samples": ["w8", "w9"]}, GOOD | {"reference_samples": samples}]
    with pytest.raises(BadRows, match=message):
        train_on(rows, tmp_path, regulariser_estimator="reference_samples")


def test_reference_samples_as_text_and_as_tokens_are_the_same(tmp_path: Path) -> None:
    as_text = [GOOD | {"reference_samples": ["w8 w9", "w3"]}]
    ids = [tiny.tokenizer()(text + "<eos>")["input_ids"] for text in ("w8 w9", "w3")]
    as_tokens = [GOOD | {"reference_sample_ids": ids}]
    found = [
        train_on(rows, tmp_path, regulariser_estimator="reference_samples").train_dataset["sample_ids"][0]
        for rows in (as_text, as_tokens)
    ]
    assert found[0] == found[1] == ids
