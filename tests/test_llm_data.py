"""Preference data, checked and split into tokens once: rows that cannot be trained on are refused by row and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import llm_models as tiny
from .llm_rows import ids
from .llm_texts import END, EOS, START, byte_tokenizer, said, user
from .test_llm_data_readers import WRITERS, any_text

from datasets import IterableDataset  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm import BadRows  # isort: skip
from expo_analysis.llm.data import PreferenceData  # isort: skip
from expo_analysis.llm.data.table import half_surrogate  # isort: skip
from expo_analysis.llm.data.checks import REPEATED_SHORT  # isort: skip
from .llm_rows import CHAT, GOOD, TOKENIZER, read

# --------------------------------------------------------------------------------------------------------- what is said


def test_a_row_is_named_by_file_row_and_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n" + json.dumps(GOOD | {"chosen": ""}) + "\n")
    message = (
        rf"train_dataset has rows that cannot be trained on: {path}: row 1 \(line 3\), chosen: it is empty \(1 of 2"
    )
    with pytest.raises(BadRows, match=message):
        PreferenceData.read(path, TOKENIZER, max_length=None, name="train_dataset")
    with pytest.raises(BadRows, match=rf"{path} has rows that cannot be trained on: row 1 \(line 3\), chosen"):
        PreferenceData.read(path, TOKENIZER, max_length=None)  # the file is not named twice


def test_problems_that_are_alike_are_one(tmp_path: Path) -> None:
    number = "it must be text or a list of messages, got a number"
    with pytest.raises(BadRows) as caught:
        read([GOOD | {"chosen": k} for k in range(64)])
    assert (
        f"on: all 64 rows, chosen: {number}, 0 in row 0 (64 of 64 rows of the data set as it was given). Correct"
        in str(caught.value)
    )
    assert len(caught.value.problems) == 64
    rows = [GOOD] + [GOOD | {"chosen": ""}] * 7 + [GOOD | {"rejected": 3}] * 2
    with pytest.raises(BadRows) as caught:
        read(rows)
    assert (
        ": rows 1, 2, 3, 4, 5 and 2 more, chosen: it is empty; rows 8 and 9, "
        f"rejected: {number}, 3 in row 8 (9 of 10 rows of the data set as it was given)"
    ) in str(caught.value)
    kinds = [GOOD, *(GOOD | {"chosen": [said("a")] * k + [{"role": "x", "content": "y"}]} for k in range(7))]
    for count in (5, 7):  # kinds, of which five are shown
        with pytest.raises(BadRows) as caught:
            read(kinds[: count + 1])
        assert [f"row {k}, chosen" in str(caught.value) for k in range(8)] == [0 < k < 6 for k in range(8)]
        assert f"{'; ...' if count > 5 else ''} ({count} of {count + 1} rows of the data set" in str(caught.value)
        assert ("..." in str(caught.value).partition(" rows of the")[0]) == (count > 5)


def test_bad_rows_may_be_left_out(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"chosen": ""}, GOOD | {"rejected": "Hello!"}, GOOD]
    data = read(rows, on_bad_rows="drop")
    assert data.rows["row_number"][:] == [0, 3] and len(data) == 2
    assert [(problem.row, problem.field) for problem in data.report.dropped] == [(1, "chosen"), (2, "rejected")]
    assert data.report.lines() == [
        "train_dataset: row 1, chosen: it is empty; row 2, rejected: it is the same as chosen, so that the pair says "
        "nothing (2 of 4 rows of the data set as it was given); these rows are left out"
    ]
    with pytest.raises(BadRows, match="2 of 2 rows"):  # nothing would be left
        read(rows[1:3], on_bad_rows="drop")


def test_what_is_unusual_is_counted() -> None:
    rows = [GOOD, GOOD | {"prompt": f"{START}Hi"}, GOOD | {"chosen": "a" * 20}, GOOD | {"prompt": f"{START}Hi"}]
    where = "of the data set as it was given"
    assert read(rows, max_length=16).report.lines() == [
        f"train_dataset: 2 of 4 rows have special tokens inside the text of prompt (first: row 1 {where})",
        f"train_dataset: 1 of 4 rows have a response that is cut at max_length=16 (first: row 2 {where})",
    ]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([], ValueError, "train_dataset must have rows, but it is empty"),
        (tiny.Dataset.from_list([]), ValueError, "train_dataset must have rows, but it is empty"),
        (IterableDataset.from_generator(lambda: iter(())), ValueError, "must have rows, but it is empty"),
        ("pairs.jsonl", TypeError, "train_dataset must be a Dataset, .* got str"),
        ({"train": tiny.pairs(2)}, TypeError, "got dict; give one of its splits, 'train'"),
        ([1, 2], TypeError, "must be a Dataset, .* got list"),
    ],
)
def test_what_is_no_data_set(rows: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read(rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_bad_rows": "skip"}, r"on_bad_rows must be one of \['error', 'drop'\], got 'skip'"),
        ({"reference_samples": "yes"}, r"reference_samples must be one of \['no', 'needed'\], got 'yes'"),
        ({"max_length": 0}, "max_length must be a whole number of at least 1, got 0"),
        ({"max_positions": -1}, "max_positions must be a whole number of at least 1"),
        ({"keep_columns": ["weight"]}, "train_dataset must have the column 'weight', but its columns are"),
        (
            {"reference_samples": "needed"},
            "train_dataset must have the column 'reference_samples', but its columns are",
        ),
    ],
)
def test_settings_that_are_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read([GOOD], **options)


# ----------------------------------------------------------------------------------------------------------- the tokens


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.tuples(any_text, any_text, any_text), name=st.sampled_from(list(WRITERS)))
def test_any_text_is_trained_on_unchanged_or_refused(row: tuple[str, str, str], name: str, tmp_path: Path) -> None:
    """Written to a file, read and split into tokens, and put together again: the text, or a sentence about its row."""
    texts = dict(zip(("prompt", "chosen", "rejected"), row, strict=True))
    try:
        (tmp_path / name).write_bytes(WRITERS[name]([GOOD, texts]))
    except UnicodeEncodeError:
        return
    try:
        data = PreferenceData.read(tmp_path / name, TOKENIZER, max_length=None)
    except BadRows as bad:
        assert all(problem.row == 1 and problem.field in texts for problem in bad.problems)
        problem = bad.problems[0]
        expected = {
            "it is empty": not row[1].strip(),
            "it has no tokens, so that nothing predicts a response's first one": not row[0],
            "it is the same as chosen, so that the pair says nothing": row[1] == row[2],
        }
        assert expected.get(problem.what, any(map(half_surrogate, row)))
        return
    except ValueError as error:
        assert any(map(half_surrogate, row)) and "is not UTF-8" in str(error)
        return
    made = data.rows[1]
    assert TOKENIZER.decode(made["prompt_ids"]) == row[0]
    assert TOKENIZER.decode(made["chosen_ids"]) == row[1] + EOS
    assert TOKENIZER.decode(made["rejected_ids"]) == row[2] + EOS


@pytest.mark.parametrize("begin", [False, True])
@pytest.mark.parametrize("ends_itself", [False, True])
@pytest.mark.parametrize("typed", ["", EOS])
def test_a_response_ends_once(begin: bool, ends_itself: bool, typed: str) -> None:
    """Whether the tokenizer adds the end token itself, or the text has it already."""
    tokenizer = byte_tokenizer(begin=begin, ends_itself=ends_itself)
    data = read([{"prompt": "p", "chosen": f"a{typed}", "rejected": f"b{typed}"}], tokenizer)
    p, a, b = (tokenizer.convert_tokens_to_ids(letter) for letter in "pab")
    assert ids(data) == ([1, p] if begin else [p], [a, tokenizer.eos_token_id], [b, tokenizer.eos_token_id])
    assert not data.report.remarks


def test_a_beginning_token_that_is_typed_and_added() -> None:
    data = read([GOOD | {"prompt": "<s>Hi"}], byte_tokenizer(begin=True))
    assert ids(data) == ids(read([GOOD], byte_tokenizer(begin=True))) and ids(data)[0][:2] != [1, 1]
    assert data.report.remarks == {
        "have special tokens inside the text of prompt": 1,
        "begin with a beginning token beside the one that the tokenizer adds; it is left out": 1,
    }


def test_a_tokenizer_without_an_end_token() -> None:
    tokenizer = byte_tokenizer(end=None)
    with pytest.raises(
        ValueError, match="the tokenizer must have an end token, with which responses end: set its eos_"
    ):
        read([GOOD], tokenizer)
    assert len(read([CHAT], tokenizer)) == 1  # the chat template ends responses


def test_text_that_a_template_made() -> None:
    """It may end with a control token, in the prompt all are fine, and inside of a response none is."""
    prompt = f"{START}user\nHi{END}\n{START}assistant\n"
    row = {"prompt": prompt, "chosen": f"a{END}", "rejected": f"b{END}"}
    with_end = byte_tokenizer(end=END)
    assert with_end.decode(ids(read([row], with_end))[1]) == f"a{END}"
    data = read([row])
    assert TOKENIZER.decode(ids(data)[1]) == f"a{END}{EOS}"
    assert data.report.remarks == {
        "have special tokens inside the text of prompt": 1,
        f"have a response that ends with {END}, after which the end token is put": 1,
    }


def test_tokens_that_merge_are_counted() -> None:
    """The response begins with the first token that is not the prompt's own."""
    tokenizer = byte_tokenizer(merges=[("p", "s"), ("H", "i")])
    rows = [{"prompt": "up", "chosen": "same", "rejected": "no"}, {"prompt": "up", "chosen": "yes", "rejected": "no"}]
    data = read(rows, tokenizer)
    assert [tokenizer.decode(part) for part in ids(data)] == ["u", f"psame{EOS}", f"pno{EOS}"]
    assert [tokenizer.decode(part) for part in ids(data, 1)] == ["up", f"yes{EOS}", f"no{EOS}"]
    assert data.report.remarks == {"have a prompt whose last tokens merge with those of a response": 1}
    with pytest.raises(
        BadRows, match="row 0, prompt: its tokens merge with the first ones of a response, which leaves"
    ):
        read([{"prompt": "p", "chosen": "same", "rejected": "no"}], tokenizer)
    begun = byte_tokenizer(merges=[("p", "s")], begin=True)
    assert ids(read([{"prompt": "p", "chosen": "same", "rejected": "no"}], begun))[0] == [1]


def test_an_empty_prompt_needs_a_beginning_token() -> None:
    row = GOOD | {"prompt": ""}
    with pytest.raises(BadRows, match="prompt: it has no tokens, so that nothing predicts a response's first one"):
        read([row])
    data = read([row], byte_tokenizer(begin=True))
    assert ids(data)[0] == [1] and data.report.remarks == {"have an empty prompt": 1}


@pytest.mark.parametrize("row", [GOOD | {"rejected": " "}, GOOD | {"rejected": ""}, CHAT | {"rejected": [said("")]}])
def test_an_empty_response_may_lose(row: dict[str, Any]) -> None:
    """A model that says nothing is an honest loser: its end token is what the response is."""
    data = read([row])
    assert data.report.remarks == {"have an empty rejected response, which is its end token alone": 1}
    assert TOKENIZER.decode(ids(data)[2]).strip() in (EOS, END)
    with pytest.raises(BadRows, match=r"chosen: (it|its last message) is empty"):
        read([row | {"chosen": row["rejected"], "rejected": row["chosen"]}])


def test_an_empty_response_without_an_end_token_is_none() -> None:
    tokenizer = byte_tokenizer("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    with pytest.raises(BadRows, match="row 0, rejected: it has no tokens"):
        read([CHAT | {"rejected": [said("")]}], tokenizer)


LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "long prompt": (
        {"prompt": "p" * 16},
        {"max_length": 16},
        "prompt: it leaves no room for a response within max_length=16: it has 16 tokens",
    ),
    "same when cut": (
        {"chosen": "a" * 20 + "b", "rejected": "a" * 20 + "c"},
        {"max_length": 16},
        "rejected: it is the same as chosen within max_length=16, and differs only after",
    ),
    "positions": (
        {"rejected": "a" * 20},
        {"max_positions": 16},
        "rejected: with its prompt it is longer than the model's 16 positions; set max_length=16: it has 23 tokens",
    ),
    "positions, and a limit beyond": (
        {"chosen": "a" * 20},
        {"max_positions": 16, "max_length": 17},
        "chosen: with its prompt it is longer than the model's 16 positions",
    ),
}


@pytest.mark.parametrize(("change", "options", "message"), LIMITS.values(), ids=LIMITS)
def test_limits(change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRows, match=f"row 1, {message}"):
        read([GOOD, GOOD | change], **options)


@pytest.mark.parametrize(("length", "passes"), [(16, False), (17, True)])
def test_a_limit_is_the_last_token_that_counts(length: int, passes: bool) -> None:
    """Two prompt tokens and fourteen equal ones: the fifteenth of the response is the first that differs."""
    row = GOOD | {"chosen": "a" * 14 + "b", "rejected": "a" * 14 + "c"}
    if passes:
        assert "cut at max_length=17" in read([row], max_length=length).report.lines()[0]
        assert not read([row], max_length=length + 1).report.remarks  # the end token is the last
    else:
        with pytest.raises(BadRows, match="it is the same as chosen within max_length=16"):
            read([row], max_length=length)


def test_a_response_of_exactly_the_positions_fits() -> None:
    row = GOOD | {"chosen": "a" * 13}
    assert len(read([row], max_positions=16)) == 1
    assert len(read([row | {"chosen": "a" * 99}], max_positions=16, max_length=16)) == 1  # it is cut before
    with pytest.raises(BadRows, match="positions"):
        read([row], max_positions=15)


def test_the_assistants_turns_must_be_within_the_limit() -> None:
    row = CHAT | {"chosen": [user("a" * 50), said("b")], "rejected": [said("c")]}
    with pytest.raises(BadRows, match="chosen: none of the assistant's tokens are within max_length=60"):
        read([row], max_length=60)


def test_a_prompt_that_all_responses_repeat_is_refused() -> None:
    def row(k: int) -> dict[str, str]:
        prompt = f"Name city {k}."
        return {"prompt": prompt, "chosen": f"{prompt} Oslo {k}", "rejected": f" {prompt} No."}

    with pytest.raises(
        BadRows, match="all 3 rows, chosen: it begins with the prompt, which would be trained on as a part"
    ):
        read([row(k) for k in range(3)])
    some = read([row(0), row(1), GOOD])
    assert some.report.remarks == {"have a prompt that all of their responses repeat": 2}
    for prompt, counts in (("p", False), ("1234567", False), ("12345678", True)):
        short = read([{"prompt": prompt, "chosen": f"{prompt}ick", "rejected": f"{prompt}ear"}, GOOD])
        assert bool(short.report.remarks) == counts


def test_prompts_that_are_repeated_otherwise_are_counted() -> None:
    """In one response alone, as a few characters, by an assistant; a word that only begins like the prompt is none."""
    long = "Name a city in the north."
    for row, remark in (
        ({"prompt": long, "chosen": f"{long} Oslo", "rejected": "No."}, "have a prompt that chosen alone repeats"),
        ({"prompt": long, "chosen": "Oslo", "rejected": f" {long} No."}, "have a prompt that rejected alone repeats"),
        ({"prompt": "Go!", "chosen": "Go! Yes", "rejected": "Go!No"}, REPEATED_SHORT),
        ({"prompt": "Hi", "chosen": "Hi there", "rejected": "Go."}, "have a prompt that chosen alone repeats"),
        ({"prompt": "Hi", "chosen": "Hint", "rejected": "Hill"}, None),
        ({"prompt": "你好", "chosen": "你好！", "rejected": "你好。"}, REPEATED_SHORT),
        (
            {"prompt": [user(long)], "chosen": [said(f"{long} Oslo")], "rejected": [said("No.")]},
            "have a response that begins with what the user said",
        ),
    ):
        assert read([row]).report.remarks == ({} if remark is None else {remark: 1})
    rows = [{"prompt": "Go!", "chosen": f"Go! {k}", "rejected": f"Go!No {k}"} for k in range(8)]
    assert read(rows[:7]).report.remarks == {REPEATED_SHORT: 7}
    with pytest.raises(BadRows, match="all 8 rows, chosen: it begins with the prompt"):
        read(rows)


def test_what_is_no_data_set_is_named_with_what_reads_it() -> None:
    for rows, error, message in (
        ("pairs.jsonl", TypeError, "got str; PreferenceData.read, or read_split, reads 'pairs.jsonl'$"),
        (Path("pairs.jsonl"), TypeError, "; PreferenceData.read, or read_split, reads 'pairs.jsonl'$"),
        ([GOOD, GOOD | {3: 1}], ValueError, "^train_dataset: row 1: the key 3 is no text: it must be text$"),
        (
            [GOOD | {"\ud800": 1}],
            ValueError,
            r"^train_dataset: row 0: the key '\\ud800' is no text: its character 1 is",
        ),
        ([GOOD | {"x": object()}], ValueError, "^train_dataset: the column 'x' has values of types that do not go"),
    ):
        with pytest.raises(error, match=message):
            read(rows)


def test_rows_that_no_file_numbers_are_those_of_the_data_set_as_given() -> None:
    """After shuffling and selecting a `Dataset` says nothing of the rows that it had before."""
    given = tiny.Dataset.from_list([GOOD, GOOD | {"chosen": ""}, GOOD | {"prompt": f"{START}Hi"}]).select([2, 0, 1])
    message = r"^train_dataset has .*: row 2, chosen: it is empty \(1 of 3 rows of the data set as it was given\)\. "
    with pytest.raises(BadRows, match=message):
        read(given)
    found = read(given, on_bad_rows="drop")
    assert found.report.lines()[0].endswith("(first: row 0 of the data set as it was given)")
    assert found.where(1) == "train_dataset: row 1 of the data set as it was given"
    assert (
        PreferenceData.from_rows(given.select([0]), TOKENIZER, name="a", max_length=None, source="b").where(0)
        == "b: row 0"
    )


@pytest.mark.parametrize(
    ("row", "remark"),
    [
        (
            CHAT | {"system": "Be brief."},
            "have the column 'system', which is not read; columns='system=system' puts it",
        ),
        (
            GOOD | {"system_prompt": "Be brief."},
            "have the column 'system_prompt', which is not read; columns='system=s",
        ),
        (GOOD | {"history": [["q", "a"]]}, "have the column 'history', which is not read"),
        (GOOD | {"instruction": "Greet me", "input": ""}, "have the column 'instruction', which is not read"),
        (GOOD | {"rejected_system": "Be rude."}, "have the column 'rejected_system', which is not read"),
        (GOOD | {"tools": [{"name": "f"}]}, "have 'tools', which a prompt of plain text has no place for"),
        (CHAT | {"tools": [{"name": "f"}]}, "have 'tools', which the chat template does not read"),
        (CHAT | {"chat_template_kwargs": {"thinking": True}}, "have 'thinking', which the chat template does not read"),
        (
            CHAT | {"chosen": [said("Hello!") | {"reasoning_content": "Polite."}]},
            "have messages with 'reasoning_content', which the chat template does not read",
        ),
    ],
)
def test_what_a_row_says_and_nothing_reads_is_counted(row: dict[str, Any], remark: str) -> None:
    found = read([row])
    assert len(found.report.remarks) == 1 and next(iter(found.report.remarks)).startswith(remark)
    plain = {name: value for name, value in row.items() if name in GOOD}
    plain["chosen"] = GOOD["chosen"] if isinstance(plain["chosen"], str) else [said("Hello!")]
    assert found.rows["chosen_ids"][:] == read([plain]).rows["chosen_ids"][:]


def test_what_is_read_is_not_counted() -> None:
    """Arguments and keys that the template names, a system message that was asked for, a part of the prompt."""
    thinking = "{% for m in messages %}{{ m.get('reasoning_content', '') + m['content'] + (level or '') }}{% endfor %}"
    row = CHAT | {"chosen": [said("Hello!") | {"reasoning_content": "Polite."}], "chat_template_kwargs": {"level": "!"}}
    found = read([row], byte_tokenizer(thinking))
    assert not found.report.remarks
    assert byte_tokenizer().decode(found.rows[0]["chosen_ids"]) == "Polite.Hello!!"
    assert not read([CHAT | {"system": "Be brief."}], columns="system=system").report.remarks
    joined = read(
        [{"instruction": "Greet", "input": "me", "chosen": "a", "rejected": "b"}], columns="prompt=instruction+input"
    )
    assert not joined.report.remarks and byte_tokenizer().decode(joined.rows[0]["prompt_ids"]) == "Greet\nme"
    assert not read([GOOD | {"instruction": "Hi", "input": None, "history": []}]).report.remarks


def test_thoughts_that_no_template_shows_are_no_answer() -> None:
    silent = [said("") | {"reasoning_content": "I would say hello."}]
    with pytest.raises(BadRows, match="row 0, chosen: its last message is empty"):
        read([CHAT | {"chosen": silent}])


def test_text_among_conversations_is_refused() -> None:
    with pytest.raises(
        BadRows, match="row 1, prompt: it is plain text, while that of the rows before is a conversation"
    ):
        read([CHAT, GOOD])


# -------------------------------------------------------------------------------------------------- reference samples


SAMPLES: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"reference_samples": None}, "reference_samples: it must be a list of at least one response"),
    "fewer": ({"reference_samples": ["a"]}, "reference_samples: the first row has 2 responses, .*, got 1"),
    "empty": ({"reference_samples": ["a", ""]}, "reference_samples: response 1: it is empty"),
    "a control token": ({"reference_samples": ["a", f"b{START}c"]}, "reference_samples: it has the control token"),
    "merged": (
        {"prompt": "up", "reference_samples": ["a", "s"]},
        "the tokens of response 1 merge with those of the prompt",
    ),
    "a conversation": (
        {"reference_samples": ["a", [said("b")]]},
        "response 1: it must be text or a conversation as the",
    ),
    "long": (
        {"reference_samples": ["a", "b" * 60]},
        "reference_samples: with its prompt it is longer than the model's 50",
    ),
}


@pytest.mark.parametrize(("change", "message"), SAMPLES.values(), ids=SAMPLES)
def test_reference_samples_that_are_none_are_bad_rows(change: dict[str, Any], message: str) -> None:
    tokenizer = byte_tokenizer(merges=[("p", "s")])
    rows = [GOOD | {"reference_samples": ["x", "y"]}, GOOD | change]
    options: dict[str, Any] = {"reference_samples": "needed", "max_positions": 50}
    with pytest.raises(BadRows, match=f"row 1, .*{message}"):
        read(rows, tokenizer, **options)
    data = read(rows, tokenizer, on_bad_rows="drop", **options)
    assert data.rows["row_number"][:] == [0] and len(data.rows[0]["sample_ids"]) == 2
    assert len(read(rows[1:], tokenizer)) == 1  # where nothing needs them, nobody looks


def test_reference_samples_as_text_messages_and_tokens_are_the_same() -> None:
    tokens = [TOKENIZER(text + EOS)["input_ids"] for text in ("x y", "z")]
    needed = {"reference_samples": "needed"}
    as_text = read([GOOD | {"reference_samples": ["x y", f"z{EOS}"]}], **needed)
    as_tokens = read([GOOD | {"reference_sample_ids": tokens}], **needed)
    assert as_text.rows["sample_ids"][0] == as_tokens.rows["sample_ids"][0] == tokens
    chats = [
        read([CHAT | {"reference_samples": given}], **needed).rows["sample_ids"][0]
        for given in (["x", "y"], [[said("x")], said("y")])
    ]
    assert chats[0] == chats[1] and TOKENIZER.decode(chats[0][1]) == f"y{END}\n"
    with pytest.raises(BadRows, match="response 0: it must be the assistant's alone, without turns of others"):
        read([CHAT | {"reference_samples": [[said("x"), user("y"), said("z")]]}], **needed)
