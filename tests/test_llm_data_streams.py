"""Tokens that were given, what stays beside them, streams, and all of it in the trainer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from . import llm_models as tiny
from .llm_rows import ids
from .llm_texts import END, EOS, byte_tokenizer, model_for, said, user

from datasets import IterableDataset, concatenate_datasets  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm import BadRows, PreferenceTrainer  # isort: skip
from expo_analysis.llm.data import PreferenceData, read_split  # isort: skip
from expo_analysis.llm.data.table import to_dataset  # isort: skip
from expo_analysis.llm.data import tokens  # isort: skip
from expo_analysis.llm.data.tokens import tokenizer_digest  # isort: skip
from .llm_rows import CHAT, GOOD, TOKENIZER, read, write

# --------------------------------------------------------------------------------------------- tokens that were given

TOKENS = {"prompt_ids": [10, 11], "chosen_ids": [12, 13], "rejected_ids": [14]}
GIVEN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "unknown token": ({"chosen_ids": [12, 999]}, {}, "chosen_ids: it has a token that the tokenizer, .*, has not: 999"),
    "negative": ({"rejected_ids": [-1]}, {}, "rejected_ids: it has a token that the tokenizer, .*, has not: -1"),
    "no tokens": ({"rejected_ids": []}, {}, "rejected: it has no tokens"),
    "no prompt": ({"prompt_ids": []}, {}, "prompt: it has no tokens"),
    "the same": ({"rejected_ids": [12, 13]}, {}, "rejected: it has the same tokens as chosen"),
    "long prompt": (
        {"prompt_ids": [10] * 6},
        {"max_length": 6},
        "prompt: it leaves no room for a response within max_length=6",
    ),
    "positions": (
        {"chosen_ids": [12] * 9},
        {"max_positions": 8},
        "chosen: with its prompt it is longer than the model's 8",
    ),
    "a number": ({"chosen_ids": 7}, {}, "chosen_ids: it must be a list of token numbers, got 7"),
    "text": ({"chosen_ids": "12"}, {}, "chosen_ids: it must be a list of token numbers, got '12'"),
    "numbers": ({"chosen_ids": [1.5]}, {}, r"chosen_ids: it must be a list of token numbers, got \[1.5\]"),
    "another tokenizer": (
        {"prompt": "Hi"},
        {},
        "prompt_ids: they are not the prompt's tokens: were they made by another",
    ),
}


@pytest.mark.parametrize(("change", "options", "message"), GIVEN.values(), ids=GIVEN)
def test_tokens_that_are_given_are_checked(change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    rows = [TOKENS, TOKENS | change]
    assert ids(read([TOKENS], **options)) == tuple(TOKENS.values())
    with pytest.raises(BadRows, match=f"row 1, {message}"):
        read(rows, **options)


def test_columns_named_row_are_no_sign_of_checked_data() -> None:
    with pytest.raises(BadRows, match="row 0, rejected: it has the same tokens as chosen"):
        read([GOOD | TOKENS | {"rejected_ids": [12, 13], "row": 7, "row_number": 7, "prompt": None}])


def test_given_tokens_beside_texts_without() -> None:
    """Where a row has no tokens, its texts are split."""
    prompt = TOKENIZER("Hi")["input_ids"]
    data = read([GOOD | TOKENS | {"prompt_ids": prompt}, GOOD | dict.fromkeys(TOKENS)])
    assert ids(data) == (prompt, [12, 13], [14]) and TOKENIZER.decode(ids(data, 1)[1]) == f"Hello!{EOS}"


def test_data_that_were_checked_are_checked_again_for_other_limits() -> None:
    rows = [{"prompt": "p" * n, "chosen": "ab", "rejected": "c"} for n in (5, 3, 16, 1)]
    data = read(rows, max_length=64)
    assert read(data, max_length=64).rows is data.rows  # nothing is to be done
    for other in (data, data.rows, data.rows.select([3, 2, 1, 0]), concatenate_datasets([data.rows, data.rows])):
        with pytest.raises(BadRows, match=r"rows? 2.*, prompt: it leaves no room for a response within max_length=6"):
            read(other, max_length=6)
    kept = read(data, max_length=6, on_bad_rows="drop")
    assert kept.rows["row_number"][:] == [0, 1, 3] and [problem.row for problem in kept.report.dropped] == [2]
    assert kept.rows[0]["chosen_ids"] == data.rows[0]["chosen_ids"]  # uncut
    with pytest.raises(BadRows, match="row 2, chosen: with its prompt it is longer than the model's 12 positions"):
        read(data, max_length=None, max_positions=12)


@pytest.mark.parametrize("other", [{"merges": [("p", "s")]}, {"template": None}, {"end": END}, {"begin": True}])
def test_data_that_another_tokenizer_made_are_refused(other: dict[str, Any], tmp_path: Path) -> None:
    data = read([GOOD, GOOD])
    data.rows.save_to_disk(tmp_path / "saved")
    loaded = read_split(tmp_path / "saved")
    assert ids(read(loaded)) == ids(data)
    for prepared in (data, data.rows, data.rows.select([1]), loaded):
        with pytest.raises(
            ValueError, match="train_dataset has tokens of another tokenizer, or of another chat template"
        ):
            read(prepared, byte_tokenizer(**other))


def test_a_tokenizers_digest_is_of_its_rules_alone() -> None:
    tokenizer = byte_tokenizer()
    before = tokenizer_digest(tokenizer)
    tokenizer(["a", "abc"], padding=True, truncation=True, max_length=2)
    assert tokenizer_digest(tokenizer) == before == tokenizer_digest(byte_tokenizer())


def test_masks_and_samples_stay_with_checked_data() -> None:
    row = CHAT | {"chosen": [said("a"), user("b"), said("c")], "reference_samples": ["x"]}
    data = read([row, CHAT | {"reference_samples": ["y"]}], reference_samples="needed")
    again = read(data, max_length=100, reference_samples="needed")
    assert again.rows.to_list() == data.rows.to_list() and not all(again.rows[0]["chosen_mask"])


# ----------------------------------------------------------------------------------------------- what stays beside them


def test_columns_that_are_kept() -> None:
    rows = [GOOD | {"weight": "0.5", "margin": 2, "source": "a"}, GOOD | {"weight": 1, "margin": 1.5, "source": "b"}]
    data = read(rows, keep_columns=("weight", "margin", "source"))
    assert data.rows["weight"][:] == [0.5, 1.0] and data.rows["margin"][:] == [2.0, 1.5]
    assert data.rows["source"][:] == ["a", "b"] and "prompt" not in data.rows.column_names
    every = read(data, max_length=99, keep_columns=PreferenceData.columns_of(data))
    assert set(every.rows.column_names) == set(data.rows.column_names)
    assert read(data, max_length=99, keep_columns=("weight",)).rows["weight"][:] == [0.5, 1.0]


@pytest.mark.parametrize("value", ["high", None, float("nan"), True, [1.0]])
def test_numbers_that_are_none(value: Any) -> None:
    with pytest.raises(BadRows, match="row 1, weight: it must be a finite number, got"):
        read([GOOD | {"weight": 1.0}, GOOD | {"weight": value}], keep_columns=["weight"])


def test_the_fingerprint_is_of_the_tokens(tmp_path: Path) -> None:
    rows = [GOOD | {"chosen": f"a{k}"} for k in range(5)]
    data = read(rows)
    path = write(tmp_path / "a.jsonl", rows)
    assert PreferenceData.read(path, TOKENIZER, max_length=64).fingerprint == data.fingerprint
    assert read(tiny.Dataset.from_list(rows), num_proc=2).fingerprint == data.fingerprint
    shuffled = read([rows[k] for k in (4, 2, 0, 1, 3)])
    assert read(shuffled.rows.select([2, 3, 1, 4, 0]), max_length=64).fingerprint == data.fingerprint
    # what moves from one response to the other, or to another row, is another content
    others = [
        shuffled,
        read(rows[:4]),
        read([rows[0] | {"chosen": "a0b"}, *rows[1:]]),
        read([TOKENS]),
        read([{"prompt_ids": [10], "chosen_ids": [11, 12, 13], "rejected_ids": [14]}]),
        read([{"prompt_ids": [10, 11], "chosen_ids": [12], "rejected_ids": [13, 14]}]),
        read([CHAT | {"chosen": [said("a"), user("b"), said("c")]}]),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1


def test_the_source_and_the_places_of_rows(tmp_path: Path) -> None:
    a, b = (write(tmp_path / f"{name}.jsonl", [GOOD, GOOD, GOOD]) for name in "ab")
    data = PreferenceData.read(tmp_path, TOKENIZER, max_length=None, name="train_dataset")
    assert data.source == f"{a} + {b}"
    assert data.where(1) == f"{a}: row 1 (line 2) or {b}: row 1 (line 2)"
    assert read([GOOD], source="mine").where(0) == "mine: row 0" and read([GOOD]).source == "train_dataset"
    assert data.where(7) == f"{a} + {b}: row 7"


@pytest.mark.parametrize("seed", range(2))
def test_numbers_are_those_of_the_file_whatever_was_done(seed: int, tmp_path: Path) -> None:
    rows = [GOOD | {"chosen": f"answer {k}"} for k in range(20)]
    path = write(tmp_path / "a.jsonl", [*rows[:7], rows[7] | {"chosen": ""}, *rows[8:]])
    parts = read_split(path).train_test_split(0.25, seed=seed)
    bad = next(name for name in parts if "" in parts[name]["chosen"])
    with pytest.raises(BadRows, match=rf"{path}: row 7 \(line 8\), chosen: it is empty"):
        read(parts[bad])
    for part in parts.values():
        data = read(part.shuffle(seed=1), on_bad_rows="drop")
        for row in data.rows:
            assert TOKENIZER.decode(row["chosen_ids"]) == f"answer {row['row_number']}{EOS}"


# ------------------------------------------------------------------------------------------------------------- streams


def streams(rows: list[dict[str, Any]], tmp_path: Path) -> dict[str, IterableDataset]:
    return {
        "file": read_split(write(tmp_path / "s.jsonl", rows), streaming=True),
        "dataset": to_dataset(rows).to_iterable_dataset(),
        "generator": IterableDataset.from_generator(lambda rows: iter(rows), gen_kwargs={"rows": rows}),
    }


@pytest.mark.parametrize("kind", ["file", "dataset", "generator"])
def test_a_stream_gives_the_rows_of_the_whole(kind: str, tmp_path: Path) -> None:
    rows = [GOOD | {"chosen": f"a{k}", "weight": k} for k in range(5)]
    whole = read(rows, keep_columns=["weight"])
    stream = read(streams(rows, tmp_path)[kind], keep_columns=["weight"])
    names = ["prompt_ids", "chosen_ids", "rejected_ids", "row_number", "weight"]
    for _ in range(2):  # an epoch, and another
        assert [{name: row[name] for name in names} for row in stream.rows] == whole.rows.select_columns(
            names
        ).to_list()
        assert stream.report.rows == 5
    assert stream.fingerprint == "" and re.search("row 3( of the data set as it was given)?$", stream.where(3))


@pytest.mark.parametrize("kind", ["file", "dataset", "generator"])
def test_bad_rows_of_a_stream(kind: str, tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"chosen": ""}, GOOD | {"rejected": ""}, GOOD | {"rejected": "Hello!"}, GOOD]
    stream = streams(rows, tmp_path)[kind]
    refused = read(stream)
    with pytest.raises(BadRows, match=r"row 1.*, chosen: it is empty \(1 of 2 rows( of the.*)?\)"):
        list(refused.rows)
    data = read(stream, on_bad_rows="drop")
    for _ in range(2):
        assert [row["row_number"] for row in data.rows] == [0, 2, 4]
        assert [problem.row for problem in data.report.dropped] == [1, 3] and data.report.rows == 5
        assert data.report.remarks == {"have an empty rejected response, which is its end token alone": 1}


def test_a_stream_that_changes_on_the_way(tmp_path: Path) -> None:
    data = read(streams([GOOD, CHAT], tmp_path)["generator"])
    with pytest.raises(
        BadRows, match="row 1, prompt: it is a conversation, while that of the rows before is plain text"
    ):
        list(data.rows)


def test_half_of_a_pair_in_a_stream(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"rejected": "x\ud800"}, GOOD]
    for kind in ("file", "generator"):
        stream = streams(rows, tmp_path)[kind]
        with pytest.raises(BadRows, match=r"row 1.*, rejected: its character 2 is half of a surrogate pair"):
            list(read(stream).rows)
        assert [row["row_number"] for row in read(stream, on_bad_rows="drop").rows] == [0, 2]


def test_a_stream_without_the_columns_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must have the column 'chosen', .*; is 'choosen' meant to be it"):
        read(streams([{"prompt": "a", "choosen": "b", "rejected": "c"}], tmp_path)["generator"])


# ------------------------------------------------------------------------------------------------------ in the trainer


def trainer(rows: Any, folder: Path, **given: Any) -> PreferenceTrainer:
    import expo_analysis as ea
    from expo_analysis.llm import PreferenceConfig

    beside = {name: given.pop(name) for name in ("eval_dataset", "processing_class") if name in given}
    tokenizer = beside.pop("processing_class", TOKENIZER)
    args = PreferenceConfig(**tiny.settings(folder, **{"max_steps": 1, "max_length": None} | given))
    made = model_for(tokenizer)
    return PreferenceTrainer(made, ea.EXPO(0.1), args, train_dataset=rows, processing_class=tokenizer, **beside)


def test_the_trainer_refuses_and_leaves_out(tmp_path: Path) -> None:
    rows = tiny.Dataset.from_list([GOOD, GOOD | {"chosen": ""}, GOOD])
    with pytest.raises(BadRows, match="train_dataset has rows that cannot be trained on: row 1, chosen: it is empty"):
        trainer(rows, tmp_path)
    made = trainer(rows, tmp_path, on_bad_rows="drop")
    assert [problem.row for problem in made.data_reports["train_dataset"].dropped] == [1]
    made.train()
    assert made.state.global_step == 1


def test_the_evaluation_data_are_checked_too(tmp_path: Path) -> None:
    good, bad = tiny.Dataset.from_list([GOOD, GOOD]), tiny.Dataset.from_list([GOOD, GOOD | {"chosen": ""}])
    with pytest.raises(BadRows, match=r"eval_dataset has rows .*: row 1, chosen"):
        trainer(good, tmp_path, eval_dataset=bad)
    with pytest.raises(BadRows, match=r"eval_dataset\['b'\] has rows .*: row 1, chosen"):
        trainer(good, tmp_path, eval_dataset={"a": good, "b": bad})
    with pytest.raises(BadRows, match=r"eval_dataset has rows .*: row 1, chosen"):
        trainer(good, tmp_path).evaluate(bad)


def test_an_evaluation_set_called_train_has_its_own_report(tmp_path: Path) -> None:
    train = tiny.Dataset.from_list([GOOD] * 4)
    other = tiny.Dataset.from_list([GOOD, GOOD | {"chosen": ""}])
    made = trainer(train, tmp_path, eval_dataset={"train": other}, on_bad_rows="drop")
    found = {name: (report.rows, len(report.dropped)) for name, report in made.data_reports.items()}
    assert found == {"train_dataset": (4, 0), "eval_dataset['train']": (2, 1)}


@pytest.mark.parametrize("bad", [0, 1])
def test_a_stream_trains_and_evaluates(bad: int, tmp_path: Path) -> None:
    rows = [GOOD | {"chosen": f"a{k}"} for k in range(8)]
    train = tiny.Dataset.from_list(rows).to_iterable_dataset()
    evaluation = tiny.Dataset.from_list(rows + [GOOD | {"chosen": ""}] * bad).to_iterable_dataset()
    whole_batch = {"max_steps": 2, "per_device_train_batch_size": 8}  # in which the order does not count
    made = trainer(train, tmp_path, eval_dataset=evaluation, **whole_batch)
    made.train()
    if bad:
        with pytest.raises(
            BadRows, match="eval_dataset has rows that cannot be trained on: row 8, chosen: it is empty"
        ):
            made.evaluate()
    else:
        whole = trainer(
            tiny.Dataset.from_list(rows), tmp_path, eval_dataset=tiny.Dataset.from_list(rows), **whole_batch
        )
        whole.train()
        assert made.evaluate()["eval_loss"] == pytest.approx(whole.evaluate()["eval_loss"], rel=1e-5)


def test_only_the_assistants_tokens_are_in_the_loss(tmp_path: Path) -> None:
    """What a user says inside of a response is read, and not learned: its log-probability is in no sum."""
    row = CHAT | {"chosen": [said("Hello!"), user("A secret?"), said("No.")], "rejected": [said("Go.")]}
    made = trainer(tiny.Dataset.from_list([row] * 4), tmp_path)
    made.train()
    data = read([row])
    prompt, chosen, _ = ids(data)
    whole = torch.tensor([prompt + chosen])
    model = model_for(TOKENIZER)
    with torch.no_grad():
        logps = model(whole).logits.log_softmax(-1)[0, :-1].gather(1, whole[0, 1:, None])[:, 0]
    mask = np.array([0] * len(prompt) + data.rows[0]["chosen_mask"])[1:]
    logged = next(entry for entry in made.state.log_history if "logps/chosen" in entry)["logps/chosen"]
    assert 0 < mask.sum() < len(chosen)
    assert logged == pytest.approx(float((logps.numpy() * mask).sum()), rel=1e-4)


@pytest.mark.parametrize("what", ["response", "reference sample"])
def test_what_just_fits_is_not_cut(what: str) -> None:
    for more, expected in ((0, []), (1, [f"have a {what} that is cut at max_length=5"])):
        told: list[str] = []
        longest = [8, *[7] * (2 + more)]
        rejected, samples = (longest, [[9]]) if what == "response" else ([8], [[9], longest])
        masks = {"chosen": [1], "rejected": [1] * len(rejected)}
        given = tokens.Tokens([5, 6], {"chosen": [7], "rejected": rejected}, masks, samples)
        tokens.check_lengths(given, 5, None, told.append)
        assert told == expected
