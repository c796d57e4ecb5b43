"""Rows of a data set on their way to tokens: forms, messages, tokenizers that add something, and remarks."""

from __future__ import annotations

import re
from typing import Any

import pytest
from datasets import IterableDataset

from . import llm_models as tiny

from expo_analysis.llm.data import checks, columns, conversation, feedback, forms, given, passing  # isort: skip
from expo_analysis.llm.data import report, rows, table, tokens  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.data.columns import SYSTEM  # isort: skip
from expo_analysis.llm.data.report import BadField, Place  # isort: skip


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


# --------------------------------------------------------------------------------------------------------------- forms


def form_of(row: dict[str, Any], kind: Any = feedback.PAIRS) -> tuple[Any, dict[str, Any], list[str]]:
    remarks: list[str] = []
    made = forms.example_of(row, kind, "prompt" not in row, "", remarks.append)
    return made.prompt, made.responses, remarks


def refused(row: dict[str, Any], kind: Any = feedback.PAIRS) -> str:
    with pytest.raises(BadField) as caught:
        form_of(row, kind)
    return str(caught.value)


def test_pairs_of_every_form() -> None:
    both = {"chosen": "a", "rejected": "b"}
    said = {"chosen": [answer("a")], "rejected": [answer("b")]}
    asked = [user("q")]
    whole = {name: [*asked, *messages] for name, messages in said.items()}
    assert form_of({"prompt": "q"} | both) == ("q", both, [])
    assert form_of({"prompt": asked} | said) == (asked, said, [])
    assert form_of({"prompt": asked} | both) == (asked, said, [forms.SAID])
    assert form_of({"prompt": asked} | whole) == (asked, said, [forms.REPEATS])
    assert form_of({"prompt": "q"} | said) == (asked, said, [forms.ASKED])
    prompt, responses, remarks = form_of({"prompt": " q "} | whole)
    assert (prompt, responses) == (asked, said) and "are split where they part" in remarks[0]
    prompt, responses, remarks = form_of(whole)
    assert (prompt, responses) == (asked, said) and "what both responses begin with" in remarks[0]
    # the last message alone may be repeated, as some data sets have it
    before = [answer("hello"), *asked]
    assert form_of({"prompt": before} | whole) == (before, said, [forms.REPEATS])
    for row, words in (
        ({"prompt": "q", "chosen": "a", "rejected": [answer("b")]}, "rejected: it is a conversation, while chosen of"),
        ({"prompt": "q", "chosen": [answer("a")], "rejected": "b"}, "chosen: it is a conversation, while rejected of"),
        (
            {"prompt": asked} | whole | {"rejected": said["rejected"]},
            "chosen: it repeats the prompt, and rejected does",
        ),
        (
            {"prompt": asked} | said | {"rejected": whole["rejected"]},
            "rejected: it repeats the prompt, and chosen does",
        ),
        ({"prompt": asked} | whole | {"chosen": asked}, "chosen: all of its messages begin the other response too"),
        ({"prompt": asked} | whole | {"rejected": asked}, "rejected: all of its messages begin the other response"),
        (said, "prompt: there is none: chosen and rejected have no message in common"),
        (whole | {"rejected": asked}, "rejected: all of its messages begin the other response too"),
        (
            {"prompt": "other"} | whole,
            "prompt: it is text that no user says in what chosen and rejected have in common",
        ),
        ({"prompt": None} | both, r"prompt: it is missing \(None\)"),
        (
            {"prompt": "q", "chosen": 3, "rejected": "b"},
            "chosen: it must be text or a list of messages, got a number, 3",
        ),
        ({"prompt": ["q"]} | both, "prompt: it must be text or a list of messages, got a list of text"),
        ({"prompt": []} | both, "prompt: it is a conversation without messages"),
    ):
        assert re.match(words, refused(row)), (words, refused(row))


def test_texts_without_a_prompt_are_split_where_they_part() -> None:
    """Not with the space before it, as TRL does it."""
    for chosen, rejected, prompt in (
        ("the cat", "the dog", "the"), ("ab", "ac", "a"), ("a  b", "a  c", "a "), ("q: yes", "q: yea", "q: ye"),
    ):  # fmt: skip
        found, responses, remarks = form_of({"chosen": chosen, "rejected": rejected})
        assert found == prompt and len(remarks) == 1
        assert responses == {"chosen": chosen[len(prompt) :], "rejected": rejected[len(prompt) :]}
    _, _, remarks = form_of({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"})
    assert len(remarks) == 2 and "preparation 'hh'" in remarks[1]
    for chosen, rejected, words in (
        ("ab", "abc", "chosen: all of it begins the other response"),
        ("abc", "ab", "rejected: all of it begins the other response"),
        ("ab", "ab", "chosen: all of it begins the other response"),
        ("a", "b", "prompt: there is none: chosen and rejected have no beginning in common"),
        (" a", " b", "prompt: there is none"),
    ):
        assert refused({"chosen": chosen, "rejected": rejected}).startswith(words)


def test_third_responses_single_ones_and_lists_follow_their_prompt() -> None:
    three = feedback.TRIPLES
    texts = {"chosen": "q a", "rejected": "q b"}
    prompt, responses, _ = form_of(texts | {"third": "q c"}, three)
    assert (prompt, responses["third"]) == ("q", " c")
    said = {"chosen": [user("q"), answer("a")], "rejected": [user("q"), answer("b")]}
    for third in ([user("q"), answer("c")], "c"):
        prompt, responses, remarks = form_of(said | {"third": third}, three)
        assert responses["third"] == [answer("c")] and prompt == [user("q")]
        assert (forms.SAID in remarks) == (third == "c") and forms.REPEATS not in remarks
    for row, words in (
        (texts | {"third": "x c"}, "third: it does not begin with what chosen and rejected begin with"),
        (texts | {"third": [answer("c")]}, "third: it is a conversation, while the rest of that row is plain text"),
        (said | {"third": [user("q")]}, "third: all of its messages begin the other response too"),
    ):
        assert refused(row, three).startswith(words)
    for prompt, said_so, expected, remarks in (
        ("q", "a", "a", []),
        ("q", [answer("a")], [answer("a")], [forms.ASKED]),
        ([user("q")], "a", [answer("a")], [forms.SAID]),
        ([user("q")], [user("q"), answer("a")], [answer("a")], [forms.REPEATS]),
    ):
        row = {"prompt": prompt, "completion": said_so}
        found, responses, told = form_of(row, feedback.SINGLES)
        assert (responses["completion"], told) == (expected, remarks)
        assert found == ([user("q")] if isinstance(expected, list) else "q")
    found, responses, _ = form_of({"prompt": "q", "responses": ["a", "b"]}, feedback.LISTS)
    assert list(responses.values()) == ["a", "b"]


def test_system_messages_and_arguments_of_templates() -> None:
    pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
    for system in (None, "", "  "):
        assert form_of(pair | {SYSTEM: system})[0] == "q"
    prompt, responses, _ = form_of(pair | {SYSTEM: "be kind"})
    assert prompt == [{"role": "system", "content": "be kind"}, user("q")] and responses["chosen"] == [answer("a")]
    chat = {"prompt": [user("q")], "chosen": [answer("a")], "rejected": [answer("b")]}
    assert form_of(chat | {SYSTEM: "s"})[0] == [{"role": "system", "content": "s"}, user("q")]
    assert refused(pair | {SYSTEM: 3}) == "system: it must be text, got a number"
    has_one = chat | {"prompt": [{"role": "system", "content": "x"}, user("q")], SYSTEM: "s"}
    assert refused(has_one) == "system: the prompt has a system message already"
    for row, expected in (
        ({}, {"tools": None}), ({"tools": '[{"a": 1}]'}, {"tools": [{"a": 1}]}), ({"tools": " "}, {"tools": " "}),
        ({"tools": [1]}, {"tools": [1]}), ({"tools": []}, {"tools": None}),
        ({"chat_template_kwargs": {"a": 1, "b": None}}, {"tools": None, "a": 1}),
    ):  # fmt: skip
        assert forms.template_arguments(row) == expected
    for row, words in (
        ({"tools": "x"}, "tools: it is text that is not JSON"),
        ({"chat_template_kwargs": 3}, "chat_temp"),
    ):
        with pytest.raises(BadField, match=words):
            forms.template_arguments(row)


def test_messages_of_every_spelling() -> None:
    def read(message: Any, template: str = "") -> tuple[Any, list[str]]:
        remarks: list[str] = []
        (found,) = conversation.conversation("chosen", [message], template, remarks.append)
        return found, remarks

    for message, role in (
        ({"role": "user", "content": "a"}, "user"), ({"role": "Human", "content": "a"}, "user"),
        ({"from": "gpt", "value": "a"}, "assistant"), ({"role": " System ", "content": "a"}, "system"),
        ({"role": "function", "content": "a"}, "tool"),
    ):  # fmt: skip
        found, remarks = read(message)
        assert found["role"] == role and found["content"] == "a"
        assert len(remarks) == (message.get("role", message.get("from")) != role) + ("from" in message)
    assert read({"role": "critic", "content": "a"}, "{{ 'critic' }}") == ({"role": "critic", "content": "a"}, [])
    assert read({"role": "critic", "content": "a"}, '{{ "critic" }}')[0]["role"] == "critic"
    parts = ["a", {"type": "text", "text": "b"}, {"type": "output_text", "value": "c"}]
    assert read({"role": "user", "content": parts})[0]["content"] == "abc"
    assert read({"role": "assistant", "content": None, "tool_calls": [1], "x": None})[0] == {
        "role": "assistant", "content": "", "tool_calls": [1],
    }  # fmt: skip
    for message, words in (
        (3, "its message 0 must be a mapping with 'role' and 'content', got a number: 3"),
        ({"content": "a"}, "its message 0 must have 'role' and 'content'"),
        ({"role": 3, "content": "a"}, "the role of its message 0 must be text, got 3"),
        ({"role": "", "content": "a"}, "the role of its message 0 must be text"),
        ({"role": "critic", "content": "a"}, "the role of its message 0 must be one of system, developer, user"),
        ({"role": "user"}, r"the content of its message 0 is missing \(None\)"),
        ({"role": "assistant", "tool_calls": []}, r"the content of its message 0 is missing"),
        ({"role": "user", "content": 3}, "the content of its message 0 must be text, got a number: 3"),
        ({"role": "user", "content": [{"type": "image"}]}, "its message 0 has a part that is no text.*, got image"),
        ({"role": "user", "content": [3]}, "its message 0 has a part that is no text.*, got a number"),
        ({"role": "user", "content": [{"type": "text"}]}, "its message 0 has a part that is no text"),
    ):
        with pytest.raises(BadField, match=words):
            read(message)
    a, b, c = user("a"), answer("b"), user("c")
    for first, second, shared in (
        ([a, b], [a, c], 1),
        ([a], [a, b], 1),
        ([], [a], 0),
        ([a, b], [a, b], 2),
        ([b], [a], 0),
    ):
        assert conversation.shared_beginning(first, second) == shared
    assert conversation.says_something(a) and not conversation.says_something(user(" "))
    assert conversation.says_something(user("") | {"thinking": "x"})


# -------------------------------------------------------------------------------------------------------------- checks


def check(prompt: Any, responses: dict[str, Any], end: str = "<eos>") -> list[str]:
    remarks: list[str] = []
    checks.check_example(forms.Example(prompt, responses), end, re.compile("<eos>|<go>"), remarks.append)
    return remarks


def test_what_nobody_means_to_teach() -> None:
    assert check("q", {"chosen": "a", "rejected": "b"}) == []
    assert check(" ", {"chosen": "a", "rejected": "b"}) == ["have an empty prompt"]
    assert "have an empty rejected response" in check("q", {"chosen": "a", "rejected": " "})[0]
    assert "have an empty response," in check("q", {"completion": ""})[0]
    assert check("q", {"chosen": "a<eos>", "rejected": "b"}) == []
    assert "ends with <go>, after which" in check("q", {"chosen": "a<go>", "rejected": "b"})[0]
    assert check("q <go>", {"chosen": "a", "rejected": "b"}) == ["have special tokens inside the text of prompt"]
    long = "a question that is long"
    assert check(long, {"chosen": f" {long} a", "rejected": f"{long} b"}) == [checks.REPEATED]
    assert check(long, {"chosen": f"{long} a", "rejected": "b"}) == ["have a prompt that chosen alone repeats"]
    three = {"responses[0]": f"{long} a", "responses[1]": "b", "responses[2]": "c"}
    assert check(long, three) == ["have a prompt that some of their responses repeat"]
    turns = {"chosen": [answer("a"), user("x"), answer("b")], "rejected": [answer("c")]}
    assert check([user("q")], turns) == ["have turns of others inside a response; only the assistant's count"]
    begun = [user("q"), answer("a")]
    assert check(begun, {"chosen": [answer("b")], "rejected": [answer("c")]}) == [checks.NOT_CONTINUED]
    asked = [{"role": "system", "content": "Be brief."}]
    alone = "have a prompt of a system message alone, which asks nothing"
    assert check(asked, {"chosen": [answer("b")], "rejected": [answer("c")]}) == [alone]
    assert check([*asked, user("q")], {"chosen": [answer("b")], "rejected": [answer("c")]}) == []
    # a third response may be any of its pair's
    assert check("q", {"chosen": "a", "rejected": "b", "third": "a"}) == []
    for prompt, responses, words in (
        ("q", {"chosen": "", "rejected": "b"}, "chosen: it is empty"),
        ("q", {"chosen": "a", "rejected": "b", "third": " "}, "third: it is empty"),
        ([user("q")], {"chosen": [answer(" ")], "rejected": [answer("b")]}, "chosen: its last message is empty"),
        ("q", {"chosen": "a", "rejected": "a"}, "rejected: it is the same as chosen, so that the pair says nothing"),
        ("q", {"responses[0]": "a", "responses[1]": "b", "responses[2]": "a"}, r"responses\[2\].*responses\[0\].*list"),
        ("q", {"chosen": "a<go>b", "rejected": "b"}, "chosen: it has the control token <go> inside its text"),
        ("q", {"chosen": "a<eos><eos>", "rejected": "b"}, "chosen: it has the control token <eos> inside"),
        ("q", {"chosen": "a<go>b<eos>c", "rejected": "b"}, "chosen: it has the control token <go> inside"),
        ([user("q")], {"chosen": [answer("a<eos>")], "rejected": [answer("b")]}, "chosen: it has the control token"),
        ([user("q")], {"chosen": [user("a")], "rejected": [answer("b")]}, "chosen: its last message is the user's"),
        (
            [user("q"), answer("")],
            {"chosen": [answer("a")], "rejected": [answer("b")]},
            "prompt: its last message is e",
        ),
        ([user(" ")], {"chosen": [answer("a")], "rejected": [answer("b")]}, "prompt: its last message is empty"),
        (
            "q",
            {"chosen": '[{"role": "user", "content": "a"}]', "rejected": "b"},
            "chosen: it is a conversation that was",
        ),
        ("[{'role': 'user', 'content': 'a'}]", {"chosen": "a", "rejected": "b"}, "prompt: it is a conversation that"),
        ("q", {"chosen": "\ud800", "rejected": "b"}, "chosen: its character 1 is half of a surrogate pair"),
    ):
        with pytest.raises(BadField, match=words):
            check(prompt, responses)
    for text in ('[{"a": 1}]', "[{'a': 1}]", "[{'role': 'user', 'content': 'a'}] and more", '[{"role": 1}, 2]'):
        checks.check_text("chosen", text)
    for repeated, short, count, wrong in (
        *((3, 0, 3, True), (2, 0, 3, False), (0, 0, 1, False), (2, 1, 3, True), (1, 2, 3, False), (0, 7, 7, False)),
        *((0, 8, 8, True), (1, 7, 8, True), (0, 7, 8, False)),
    ):
        assert (checks.check_repetition(repeated, short, count, "chosen") is not None) == wrong


# -------------------------------------------------------------------------------------------------------------- tokens


class Adding:
    """A tokenizer of letters that puts tokens around a text by itself."""

    chat_template, bos_token_id, eos_token_id = None, 1, 2
    all_special_tokens, added_tokens_decoder = ("<s>", "</s>"), {}

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...], eos: str | None = "</s>") -> None:
        self.before, self.after, self.eos_token = before, after, eos

    def get_vocab(self) -> dict[str, int]:
        return {"a": 10, "b": 11}

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids = [1 if letter == "^" else 10 + ord(letter) - 97 for letter in text]
        around = (list(self.before), list(self.after)) if add_special_tokens else ([], [])
        return {"input_ids": [*around[0], *ids, *around[1]]}


def test_tokens_that_a_tokenizer_adds_are_left_out_at_the_end_and_once_at_the_beginning() -> None:
    for before, after in (((), ()), ((1,), ()), ((), (2,)), ((1,), (2,)), ((1,), (2, 3))):
        encoder = tokens.Encoder(Adding(before, after))
        assert encoder.after == list(after)
        assert encoder.text("ab") == [*before, 10, 11] and encoder.text("") == list(before)
        remarks: list[str] = []
        assert encoder.response("a", "b</s>", {}, remarks.append) == [*before, 10, 11, 2] and not remarks
        typed = encoder.text("^a", remarks.append)
        assert typed == [1, 10] and len(remarks) == len(before)
        assert encoder.text("^") == [1]
    with pytest.raises(ValueError, match="the tokenizer must have an end token"):
        tokens.Encoder(Adding((), (), None)).response("a", "b", {}, remarks.append)
    assert tokens.Encoder(Adding((), (), None)).end == ""
    with pytest.raises(BadField, match="it is a conversation, and the tokenizer has no chat template"):
        tokens.Encoder(Adding((), ())).conversation([user("a")], {})
    for first, second, shared in (
        ([1, 2], [1, 3], 1),
        ([1], [1, 2], 1),
        ([], [1], 0),
        ([1, 2], [1, 2], 2),
        ([2], [1], 0),
    ):
        assert tokens.common_beginning(first, second) == shared
    found = tokens.either_of(["<a>", "<a><b>", ""])
    assert found.findall("x<a><b><a>") == ["<a><b>", "<a>"] and tokens.either_of([]).search("x") is None


# ---------------------------------------------------------------------------------------------- as given, as they pass


def test_what_was_given_is_opened_or_refused_by_name() -> None:
    one = [{"prompt": "q"}]
    for rows_given in (one, tuple(one), tiny.Dataset.from_list(one), IterableDataset.from_generator(lambda: iter(one))):
        found = given.Given.of(rows_given, "data", None, {})
        assert (found.names, found.source, found.called) == (["prompt"], "data", "data")
        assert given.Given.of(rows_given, "data", "file", {}).called == "data (file)"
    renamed = given.Given.of([{"question": "q", "prompt": "x"}], "data", None, {"prompt": "question"})
    assert renamed.names == ["prompt"] and renamed.rows["prompt"][:] == ["q"]
    marked = tiny.Dataset.from_list([{"prompt": "q"}] * 2).add_column(
        table.ORIGIN, [table.origin(Place(0, "a")), table.origin(Place(0, "b"))]
    )
    found = given.Given.of(marked, "data", None, {})
    assert found.source == "a + b" and found.called == "data (a + b)" and found.names == ["prompt"]
    assert given.files_of(None, {table.ORIGIN: table.origin(Place(0, "a"))}) == "a" and given.files_of(None, {}) == ""
    for bad, kind, words in (
        ([], ValueError, "data must have rows, but it is empty"),
        (tiny.Dataset.from_list([]), ValueError, "data must have rows, but it is empty"),
        (IterableDataset.from_generator(lambda: iter([])), ValueError, "data must have rows, but it is empty"),
        ({"train": 1, "test": 2}, TypeError, "got dict; give one of its splits, 'train', 'test'"),
        (3, TypeError, "got int$"),
        ([1], TypeError, "got list$"),
    ):
        with pytest.raises(kind, match=words):
            given.Given.of(bad, "data", None, {})


def test_columns_are_named_as_asked_and_others_of_the_name_removed() -> None:
    data = tiny.Dataset.from_list([{"a": "x", "b": "y", "prompt": "old", "system": "s"}])

    def named(asked: dict[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = columns.named(data, asked, "data", data.column_names)[0]
        return found

    assert named({"prompt": "a"}) == {"prompt": "x", "b": "y", "system": "s"}
    assert named({"prompt": "prompt"})["prompt"] == "old"
    assert named({"prompt": "a + b"})["prompt"] == "x\ny"
    assert named({"system": "system"})[SYSTEM] == "s"
    assert named({"chosen": "a", "prompt": "b"}) == {"chosen": "x", "prompt": "y", "system": "s"}
    for asked, words in (
        ({"chosen": "c"}, "data must have the column 'c', which is to be chosen"),
        ({"prompt": "a+c"}, "data must have the column 'c', which is to be prompt"),
        ({"chosen": "a", "rejected": "a"}, "columns must name each column once"),
    ):
        with pytest.raises(ValueError, match=words):
            named(asked)
    plus = tiny.Dataset.from_list([{"a+b": "x"}])
    assert columns.named(plus, {"prompt": "a+b"}, "data", ["a+b"])[0] == {"prompt": "x"}


def test_rows_of_a_stream_are_counted_anew_in_each_pass() -> None:
    def maker(row: dict[str, Any], number: int) -> dict[str, Any]:
        bad = {"field": "chosen", "what": "it is bad", "example": ""} if row["x"] == "bad" else None
        return {
            rows.PROBLEM: bad, rows.REMARKS: ["have a remark"] if row["x"] == "odd" else [], rows.KIND: None,
            table.ORIGIN: table.origin(Place(number)),
        }  # fmt: skip

    found = report.DataReport("data")
    made: Any = maker
    passes = passing.Passing(made, found, "drop")
    for _ in range(2):
        kept = [passing._is_good(passes({"x": x}, k)[rows.PROBLEM]) for k, x in enumerate(("a", "bad", "odd", "odd"))]
        assert kept == [True, False, True, True] and found.rows == 4
        assert [problem.row for problem in found.dropped] == [1] and found.remarks == {"have a remark": 2}
        assert found.first["have a remark"] == Place(2)
    strict = passing.Passing(made, report.DataReport("data"), "error")
    strict({"x": "a"}, 0)
    with pytest.raises(report.BadRows, match=r"data has rows .*: row 1, chosen: it is bad \(1 of 2 rows of the"):
        strict({"x": "bad"}, 1)


def test_half_surrogates_are_found_and_replaced_wherever_they_are() -> None:
    for value, words in (
        ("ab\ud800", "its character 3 is half of a surrogate pair, \\ud800"), ("abc", None), ("\U0001f600", None),
        ({"a": ["x", "\udc00y"]}, "its character 1 is half of a surrogate pair, \\udc00"), ([1, None], None), (3, None),
    ):  # fmt: skip
        found = table.half_surrogate(value)
        assert (found is None) == (words is None) and (words is None or (found or "").startswith(words))
    assert table.without_halves({"a\ud800": ["\udc00y", 1]}) == {"a\ufffd": ["\ufffdy", 1]}
    made = table.to_dataset([{"x": "a"}, {"x": "b\ud800"}])
    origins = made[table.ORIGIN][:]
    assert origins[0]["problem"] is None and origins[1]["field"] == "x" and origins[1]["row"] == 1
    assert table.to_dataset([{"x": "a"}]).column_names == ["x"]
    padded = {"a": None, "b": [{"c": None, "d": 1}], "e": "x"}
    assert rows._unpadded(padded) == {"b": [{"d": 1}], "e": "x"}


def test_prompts_that_all_of_several_rows_repeat_are_refused() -> None:
    """Two do; one alone may be so by chance."""
    from expo_analysis.llm.data import PreferenceData

    def read(*repeats: bool) -> PreferenceData:
        made = []
        for number, repeated in enumerate(repeats):
            prompt = f"w{number} w5 w6 w7 w8 "
            begin = prompt if repeated else ""
            made.append({"prompt": prompt, "chosen": f"{begin}w1", "rejected": f"{begin}w2"})
        return PreferenceData.from_rows(made, tiny.tokenizer(), name="data", max_length=None)

    for repeats in ((True, True), (True, True, True)):
        with pytest.raises(report.BadRows, match="chosen: it begins with the prompt, which would be trained on"):
            read(*repeats)
    for repeats in ((True,), (True, False), (False, False)):
        assert len(read(*repeats)) == len(repeats)
