"""The forms of a pair: each ends as the same prompt and responses, with changes counted, or is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from trl import extract_prompt

from . import llm_models as tiny
from .llm_texts import EOS, FORGETFUL, START, TOOLS, byte_tokenizer, said, user

from expo_analysis.llm.data import BadRows, PreferenceData, parse_columns  # isort: skip (needs llm_models)

TOKENIZER = byte_tokenizer()


def read(rows: list[dict[str, Any]], tokenizer: Any = TOKENIZER, **options: Any) -> PreferenceData:
    return PreferenceData.from_rows(rows, tokenizer, **{"name": "train_dataset", "max_length": None} | options)


def texts(data: PreferenceData, tokenizer: Any = TOKENIZER, row: int = 0) -> tuple[str, str, str]:
    return tuple(tokenizer.decode(data.rows[row][f"{name}_ids"]) for name in ("prompt", "chosen", "rejected"))


def counted(data: PreferenceData, text: str, rows: int) -> bool:
    return data.report.remarks == {text: rows}


TEXT = ("Hi", f"Hello!{EOS}", f"Go.{EOS}")
CHAT = (f"{START}user\nHi<|im_end|>\n{START}assistant\n", "Hello!<|im_end|>\n", "Go.<|im_end|>\n")

WHOLE = {"chosen": [user("Hi"), said("Hello!")], "rejected": [user("Hi"), said("Go.")]}
PLAIN = {"prompt": "Hi", "chosen": "Hello!", "rejected": "Go."}
ASKED = {"prompt": [user("Hi")], "chosen": [said("Hello!")], "rejected": [said("Go.")]}


def speaker(name: str, text: str, other: bool = False) -> dict[str, str]:
    return {"from": name, "value": text} if other else {"role": name, "content": text}


def part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


ALONE = "have a message in the place of a conversation, which is taken for all of it"
FORMS: dict[str, tuple[dict[str, Any], tuple[str, str, str], list[str]]] = {
    "text": (PLAIN, TEXT, []),
    "OpenAI's": (
        {
            "input": {"messages": [user("Hi")], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [said("Hello!")],
            "non_preferred_output": [said("Go.")],
        },
        CHAT,
        ["have a prompt with 'messages', as OpenAI's format has it; these are the prompt"],
    ),
    "text with its end": (PLAIN | {"chosen": f"Hello!{EOS}"}, TEXT, []),
    "conversation": (ASKED, CHAT, []),
    "implicit text": (
        {"chosen": "Hi Hello!", "rejected": "Hi Go."},
        ("Hi", f" Hello!{EOS}", f" Go.{EOS}"),
        ["have no prompt of their own: what both responses begin with is taken for it"],
    ),
    "implicit conversation": (
        WHOLE,
        CHAT,
        ["have no prompt of their own: what both responses begin with is taken for it"],
    ),
    "text beside whole conversations": (
        {"prompt": "Hi "} | WHOLE,
        CHAT,
        ["have whole conversations beside a prompt of text; they are split where they part"],
    ),
    "text asked of conversations": (
        ASKED | {"prompt": "Hi"},
        CHAT,
        ["have a prompt of plain text to conversations, which is taken for the user's"],
    ),
    "text in answer to a conversation": (
        ASKED | {"chosen": "Hello!", "rejected": "Go."},
        CHAT,
        ["have responses of plain text to a conversation, which are taken for the assistant's"],
    ),
    "repeated": (ASKED | WHOLE, CHAT, ["have responses that repeat the prompt, which is split off them"]),
    "one message": ({"prompt": user("Hi"), "chosen": said("Hello!"), "rejected": said("Go.")}, CHAT, [ALONE]),
    "parts": (
        {
            "prompt": [speaker("user", [part("H"), part("i")])],  # type: ignore[arg-type]
            "chosen": [speaker("assistant", ["Hello!"])],  # type: ignore[arg-type]
            "rejected": [speaker("assistant", [{"type": "text", "value": "Go."}])],  # type: ignore[arg-type]
        },
        CHAT,
        ["have messages whose content is a list of parts, which are put together"],
    ),
    "human and gpt": (
        {
            "prompt": [speaker("human", "Hi")],
            "chosen": [speaker("gpt", "Hello!")],
            "rejected": [speaker("gpt", "Go.")],
        },
        CHAT,
        ["have the role 'human', which is taken for 'user'", "have the role 'gpt', which is taken for 'assistant'"],
    ),
    "from and value": (
        {
            "prompt": [speaker("user", "Hi", True)],
            "chosen": speaker("assistant", "Hello!", True),
            "rejected": speaker("assistant", "Go.", True),
        },
        CHAT,
        ["have messages with 'from' and 'value', which are taken for 'role' and 'content'", ALONE],
    ),
    "capitals": (
        ASKED | {"prompt": [speaker("User", "Hi")]},
        CHAT,
        ["have the role 'User', which is taken for 'user'"],
    ),
    "keys without a value": (ASKED | {"prompt": [user("Hi") | {"tool_calls": None, "name": None}]}, CHAT, []),
    "no images": (ASKED | {"images": []}, CHAT, []),
}


@pytest.mark.parametrize(("row", "wanted", "remarks"), FORMS.values(), ids=FORMS)
def test_every_form_says_the_same(row: dict[str, Any], wanted: tuple[str, str, str], remarks: list[str]) -> None:
    data = read([row, row])
    assert texts(data) == texts(data, row=1) == wanted
    assert data.report.remarks == {text: 2 for text in remarks}
    assert "chosen_mask" not in data.rows.column_names


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [("Hi Hello!", "Hi Go."), ("Hi: a", "Hi: b"), ("ab cd", "ab ce"), (WHOLE["chosen"], WHOLE["rejected"])],
)
def test_a_prompt_is_split_off_as_trl_does_it(chosen: Any, rejected: Any) -> None:
    split = extract_prompt({"chosen": chosen, "rejected": rejected})
    assert texts(read([{"chosen": chosen, "rejected": rejected}])) == texts(read([split]))


def test_transcripts_are_pointed_to_their_preparation() -> None:
    row = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
    assert any("which preparation 'hh' splits before the last answer" in line for line in read([row]).report.lines())


def chat(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return list(messages)


def test_answers_in_json_are_text() -> None:
    row = {"prompt": "Hi", "chosen": '[{"city": "Oslo"}]', "rejected": "[{'city': 'Rome'}]"}
    assert texts(read([row])) == ("Hi", f"{row['chosen']}{EOS}", f"{row['rejected']}{EOS}")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no common beginning": ({"chosen": "Yes", "rejected": "No"}, "prompt: there is none: chosen and rejected have no"),
    "one begins the other": ({"chosen": "Hi", "rejected": "Hi Go"}, "chosen: all of it begins the other response"),
    "the other way": ({"chosen": "Hi Go", "rejected": "Hi"}, "rejected: all of it begins the other response"),
    "no common message": (
        {"chosen": [user("a"), said("b")], "rejected": [user("c"), said("b")]},
        "prompt: there is none: chosen and rejected have no message in common",
    ),
    "no response": ({"chosen": WHOLE["chosen"], "rejected": [user("Hi")]}, "rejected: all of its messages begin the"),
    "text and conversation": (
        PLAIN | {"chosen": [said("a")]},
        "chosen: it is a conversation, while rejected of that row is plain text",
    ),
    "another prompt": (
        WHOLE | {"prompt": "Ho"},
        "prompt: it is text that no user says in what chosen and rejected have",
    ),
    "one repeats": (ASKED | {"chosen": WHOLE["chosen"]}, "chosen: it repeats the prompt, and rejected does not"),
    "repeats and ends": (
        ASKED | {"chosen": ASKED["prompt"], "rejected": [*ASKED["prompt"], *ASKED["rejected"]]},
        "chosen: all of its messages begin the other response too, which leaves no response",
    ),
    "nothing": (PLAIN | {"chosen": None}, r"chosen: it is missing \(None\)"),
    "a number": (PLAIN | {"chosen": 7}, "chosen: it must be text or a list of messages, got a number, 7"),
    "a truth value": (PLAIN | {"chosen": True}, "chosen: it must be .*, got a truth value, True"),
    "texts": (PLAIN | {"chosen": ["a"]}, r"chosen: it must be .*, got a list of text, \['a'\]"),
    "no messages": (ASKED | {"chosen": []}, "chosen: it is a conversation without messages"),
    "no role": (ASKED | {"chosen": [{"content": "a"}]}, "chosen: its message 0 must have 'role' and 'content', got"),
    "role of a number": (
        ASKED | {"chosen": [{"role": 1, "content": "a"}]},
        "chosen: the role of its message 0 must be text, got 1",
    ),
    "unknown role": (
        ASKED | {"chosen": [said("a"), {"role": "critic", "content": "a"}]},
        "chosen: the role of its message 1 must be one of system, .*, got 'critic'",
    ),
    "no content": (
        ASKED | {"chosen": [{"role": "assistant", "content": None}]},
        r"chosen: the content of its message 0 is missing \(None\)",
    ),
    "content of a number": (
        ASKED | {"chosen": [said(3)]},
        "chosen: the content of its message 0 must be text, got a number: 3",
    ),  # type: ignore[arg-type]
    "an image": (
        ASKED | {"prompt": [{"role": "user", "content": [part("a"), {"type": "image"}]}]},
        "prompt: its message 0 has a part that is no text; models of text only are trained here, got image",
    ),
    "an image beside": (PLAIN | {"image": "a.png"}, "image: it has an image; models of text only are trained here"),
    "messages of text": (
        ASKED | {"chosen": [said("a"), "b"]},
        "chosen: its message 1 must be a mapping with 'role' and 'content'",
    ),
    "said by the user": (
        ASKED | {"chosen": [user("a")]},
        "chosen: its last message is the user's, and a response must",
    ),
    "said by a tool": (
        ASKED | {"rejected": [said("a"), {"role": "tool", "content": "b"}]},
        "rejected: its last message is the tool's, and a response must end with the assistant's",
    ),
    "begins with nothing": (ASKED | {"prompt": [user("Hi"), said("")]}, "prompt: its last message is empty"),
    "asks nothing": (ASKED | {"prompt": [user(" ")]}, "prompt: its last message is empty"),
    "empty": (PLAIN | {"chosen": " "}, "chosen: it is empty"),
    "empty message": (ASKED | {"chosen": [said("")]}, "chosen: its last message is empty"),
    "the same": (PLAIN | {"rejected": "Hello!"}, "rejected: it is the same as chosen, so that the pair says nothing"),
    "json as text": (
        PLAIN | {"prompt": json.dumps(ASKED["prompt"])},
        "prompt: it is a conversation that was written as text; give it as a list of messages",
    ),
    "python as text": (
        PLAIN | {"chosen": str(ASKED["chosen"])},
        "chosen: it is a conversation that was written as text",
    ),
    "control token": (
        PLAIN | {"chosen": f"a{EOS}b"},
        r"chosen: it has the control token <\|end\|> inside its text",
    ),
    "a turn of another": (
        PLAIN | {"rejected": f"a<|im_end|>\n{START}user\nb"},
        r"rejected: it has the control token <\|im_end\|> inside",
    ),
    "a turn within a message": (
        ASKED | {"chosen": [said(f"a<|im_end|>\n{START}user\nb")]},
        r"chosen: it has the control token <\|im_end\|> inside its text",
    ),
    "an end within a message": (
        ASKED | {"chosen": [said("a<|im_end|>")]},
        r"chosen: it has the control token <\|im_end\|> inside",
    ),
    "ends twice": (PLAIN | {"chosen": f"a{EOS}{EOS}"}, r"chosen: it has the control token <\|end\|> inside its text"),
    "half a surrogate": (
        PLAIN | {"chosen": "ab\ud83d"},
        r"chosen: its character 3 is half of a surrogate pair, \\ud83d, and no text",
    ),
    "half a surrogate in a message": (
        ASKED | {"prompt": [user("\udc00")]},
        "prompt: its character 1 is half of a surrogate",
    ),
    "arguments": (
        ASKED | {"chat_template_kwargs": "x"},
        "chat_template_kwargs: it must be a mapping of names to values",
    ),
    "tools": (ASKED | {"tools": "[{"}, "tools: it is text that is not JSON"),
    "call without a name": (
        ASKED | {"chosen": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
        "chosen: a tool call must have a function with a name",
    ),
}


@pytest.mark.parametrize(("row", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_pair_is_refused_by_row_and_field(row: dict[str, Any], message: str) -> None:
    good = {name: value for name, value in (PLAIN if isinstance(row.get("prompt"), str) else ASKED).items()}
    good = WHOLE if "prompt" not in row else good
    with pytest.raises(BadRows, match=f"rows that cannot be trained on: row 1, {message}.*1 of 2 rows") as caught:
        read([good if "chosen" in good else PLAIN, row])
    assert "\n" not in str(caught.value)
    data = read([good, row, good], on_bad_rows="drop")
    assert data.rows["row_number"][:] == [0, 2] and [problem.row for problem in data.report.dropped] == [1]


# --------------------------------------------------------------------------------------------------------- turns, tools

SEVERAL = {
    "prompt": [user("Hi")],
    "chosen": [said("Hello!"), user("A secret?"), said("No.")],
    "rejected": [said("Hey"), user("A joke?"), said("Why?")],
}


def counting(data: PreferenceData, side: str, tokenizer: Any = TOKENIZER) -> str:
    """What of a response counts."""
    row = data.rows[0]
    return tokenizer.decode([t for t, m in zip(row[f"{side}_ids"], row[f"{side}_mask"], strict=True) if m])


def test_only_the_assistants_turns_count() -> None:
    data = read([SEVERAL, ASKED])
    assert counting(data, "chosen") == "Hello!<|im_end|>\nNo.<|im_end|>\n"
    assert counting(data, "rejected") == "Hey<|im_end|>\nWhy?<|im_end|>\n"
    assert texts(data)[1] == f"Hello!<|im_end|>\n{START}user\nA secret?<|im_end|>\n{START}assistant\nNo.<|im_end|>\n"
    assert all(data.rows[1]["chosen_mask"]) and len(data.rows[1]["chosen_mask"]) == len(data.rows[1]["chosen_ids"])
    assert counted(data, "have turns of others inside a response; only the assistant's count", 1)


def test_a_response_may_begin_with_others() -> None:
    """The header of the assistant's turn is then in the response, and does not count."""
    row = ASKED | {"chosen": [user("And?"), said("Yes.")], "rejected": [said("No.")]}
    data = read([row])
    assert texts(data)[0] == f"{START}user\nHi<|im_end|>\n"
    assert counting(data, "chosen") == "Yes.<|im_end|>\n" and counting(data, "rejected") == "No.<|im_end|>\n"


def test_turns_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(BadRows, match="chosen: the chat template renders its turns differently where others follow"):
        read([SEVERAL], byte_tokenizer(FORGETFUL))
    assert texts(read([ASKED], byte_tokenizer(FORGETFUL)))[1] == "so: Hello!<|im_end|>\n"
    urgent = FORGETFUL.replace("'assistant' %}{{ 'so: ' }}", "'user' %}{{ 'now: ' }}")  # a user's last turn is another
    assert "now: " in urgent
    with pytest.raises(BadRows, match="chosen: the chat template renders its turns differently where others follow"):
        read([SEVERAL], byte_tokenizer(urgent))


def call(city: str, content: Any = None) -> dict[str, Any]:
    function = {"name": "weather", "arguments": {"city": city}}
    return {"role": "assistant", "content": content, "tool_calls": [{"type": "function", "function": function}]}


CALLS = {"prompt": [user("Hi")], "chosen": [call("Oslo")], "rejected": [call("Rome")]}


def test_tool_calls_are_trained_on_where_the_template_shows_them() -> None:
    tokenizer = byte_tokenizer(TOOLS)
    tools = [{"type": "function", "function": {"name": "weather", "description": "w"}}]
    without = {key: value for key, value in CALLS["chosen"][0].items() if key != "content"}
    rows = [CALLS | {"tools": json.dumps(tools)}, CALLS | {"tools": tools, "chosen": [without]}]
    data = read(rows, tokenizer)
    assert texts(data, tokenizer) == texts(data, tokenizer, 1)
    prompt, chosen, rejected = texts(data, tokenizer)
    assert "weather" in prompt and '"description": "w"' in prompt
    assert chosen == '[call {"name": "weather", "arguments": {"city": "Oslo"}}]<|im_end|>\n' != rejected
    with pytest.raises(BadRows, match="chosen: the tokenizer's chat template leaves out its tool calls"):
        read([CALLS])


def test_what_a_tool_answers_does_not_count() -> None:
    tokenizer = byte_tokenizer(TOOLS)
    row = CALLS | {"chosen": [call("Oslo"), {"role": "tool", "name": "weather", "content": "5C"}, said("It is 5C.")]}
    data = read([row], tokenizer)
    shown = counting(data, "chosen", tokenizer)
    assert shown.startswith("[call") and shown.endswith("It is 5C.<|im_end|>\n") and "tool\n5C" not in shown


def test_arguments_of_tools_are_not_changed() -> None:
    """Where calls have different arguments, Arrow would give each call those of all others, as None."""
    tokenizer = byte_tokenizer(TOOLS)
    other = {
        "role": "assistant",
        "tool_calls": [{"function": {"name": "weather", "arguments": {"unit": None, "x": 1.5}}}],
    }
    rows = [CALLS, CALLS | {"rejected": [other]}]
    for given in (rows, tiny.Dataset.from_list(rows)):
        data = read(given, tokenizer)
        assert '"arguments": {"city": "Oslo"}' in texts(data, tokenizer)[1]
    assert '"arguments": {"unit": null, "x": 1.5}' in texts(read(rows, tokenizer), tokenizer, 1)[2]


def test_a_template_that_names_a_role_keeps_it() -> None:
    template = "{% for m in messages %}{% if m['role'] == 'human' %}H:{% endif %}{{ m['content'] }}\n{% endfor %}"
    tokenizer = byte_tokenizer(template)
    data = read([ASKED | {"prompt": [speaker("human", "Hi")]}], tokenizer)
    assert texts(data, tokenizer)[0] == "H:Hi\n" and not data.report.remarks


def test_a_template_that_refuses() -> None:
    tokenizer = byte_tokenizer("{{ raise_exception('roles must\n alternate') }}")
    with pytest.raises(BadRows, match="prompt: the chat template refuses the conversation: roles must alternate"):
        read([ASKED], tokenizer)
    with pytest.raises(
        BadRows, match="all 2 rows, prompt: it is a conversation, and the tokenizer has no chat template"
    ):
        read([ASKED, ASKED], byte_tokenizer(None))


def test_arguments_of_the_template() -> None:
    tokenizer = byte_tokenizer("{{ mood }}{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    data = read(
        [ASKED | {"chat_template_kwargs": {"mood": "b:"}}, ASKED], tokenizer, chat_template_kwargs={"mood": "a:"}
    )
    assert [texts(data, tokenizer, row)[0] for row in (0, 1)] == ["b:Hi\n", "a:Hi\n"]


# -------------------------------------------------------------------------------------------------------------- columns

HINTS: dict[str, tuple[list[str], str]] = {
    "argilla": (
        ["instruction", "chosen_response", "rejected_response"],
        "'chosen', .*; set columns to prompt=instruction,chosen=chosen_response,rejected=rejected_response$",
    ),
    "orca": (
        ["system", "question", "chosen", "rejected"],
        "'prompt', .*; set columns to prompt=question,system=system$",
    ),
    "alpaca": (["instruction", "input", "chosen", "rejected"], ".*set columns to prompt=instruction\\+input$"),
    "sharegpt": (["conversations", "chosen", "rejected"], ".*set columns to prompt=conversations$"),
    "messages": (
        ["chosen_messages", "rejected_messages"],
        ".*set columns to chosen=chosen_messages,rejected=rejected_messages$",
    ),
    "misspelled": (["prompt", "choosen", "rejected"], "'chosen', .*; is 'choosen' meant to be it\\?$"),
    "completions": (["prompt", "completion"], ".*they are single responses, and no pairs$"),
    "answers": (["instruction", "output", "generator"], ".*they are single responses, and no pairs$"),
    "winner": (
        ["question", "response_a", "response_b", "winner"],
        ".*put the response that won into chosen, and the other",
    ),
    "one missing": (["prompt", "chosen"], r"'rejected', but its columns are \['prompt', 'chosen'\]$"),
}


@pytest.mark.parametrize(("columns", "message"), HINTS.values(), ids=HINTS)
def test_other_columns_get_a_hint_that_is_right(columns: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"train_dataset must have the column {message}") as caught:
        read([dict.fromkeys(columns, "x")])
    assert "extract_prompt" not in str(caught.value)
    if "set columns to" in message:  # and the hint works
        hint = str(caught.value).partition("set columns to ")[2]
        row = {name: f"a {name}." for name in columns}
        if "conversations" in columns:
            row["conversations"] = [speaker("human", "Hi", True)]  # type: ignore[assignment]
            row |= {"chosen": speaker("gpt", "a", True), "rejected": speaker("gpt", "b", True)}  # type: ignore[dict-item]
        assert len(read([row], columns=hint)) == 1


def test_columns_by_other_names() -> None:
    row = {"question": "Hi", "good": "Hello!", "bad": "Go.", "prompt": 7, "chosen": None}
    names = "prompt=question, chosen=good,rejected=bad"
    assert texts(read([row], columns=names)) == texts(read([row], columns=parse_columns(names))) == TEXT
    swapped = read([PLAIN], columns="chosen=rejected,rejected=chosen")
    assert texts(swapped)[1:] == TEXT[:0:-1]
    joined = read([PLAIN | {"more": "There"}, PLAIN | {"more": None}], columns="prompt=prompt+more")
    assert texts(joined)[0] == "Hi\nThere" and texts(joined, row=1)[0] == "Hi"


def test_system_messages_are_used_where_they_are_asked_for() -> None:
    row = PLAIN | {"system": "Be brief."}
    assert texts(read([row])) == TEXT  # a column of that name may be anything
    asked = read([row, PLAIN | {"system": " "}], columns="system=system", on_bad_rows="drop")
    assert texts(asked)[0] == f"{START}system\nBe brief.<|im_end|>\n{CHAT[0]}" and texts(asked)[1:] == CHAT[1:]
    of_chat = read([ASKED | {"s": "Be brief."}], columns="system=s")
    assert texts(of_chat)[0] == texts(asked)[0]
    with pytest.raises(BadRows, match="system: the prompt has a system message already"):
        read([ASKED | {"s": "a", "prompt": [{"role": "system", "content": "b"}, user("Hi")]}], columns="system=s")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("prompt", "columns must be like 'prompt=question,chosen=answer', got 'prompt'"),
        ("question=prompt", "columns must name one of prompt, chosen, .*, got 'question'"),
        ("prompt=promt", r"must have the column 'promt', which is to be prompt, .*; is 'prompt' meant to be it\?"),
        ("prompt=prompt+inputs", "must have the column 'inputs', which is to be prompt"),
        ("chosen=prompt,rejected=prompt", "columns must name each column once"),
    ],
)
def test_names_of_columns_that_are_wrong(columns: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read([PLAIN], columns=columns)


def test_columns_that_are_only_columns() -> None:
    """``row``, ``row_number``, ``system``, ``label`` and the like are nobody's but the user's."""
    rows = [
        PLAIN | {"row": 100 + k, "row_number": 200 + k, "system": 3, "label": "x", "source": None} for k in range(3)
    ]
    data = read(rows)
    assert data.rows["row_number"][:] == [0, 1, 2] and "row" not in data.rows.column_names


def test_a_system_message_beside_plain_text_is_counted() -> None:
    rows = [{"sys": "Be brief.", "prompt": "Hi", "chosen": "good", "rejected": "bad"}]
    found = read(rows, columns="system=sys,prompt=prompt,chosen=chosen,rejected=rejected")
    assert counted(found, "have a system message beside plain text, which is taken for a conversation", 1)


def test_columns_of_stack_exchange_and_others_are_told_how_to_name() -> None:
    with pytest.raises(ValueError, match=r"set columns to prompt=question,chosen=response_j,rejected=response_k"):
        read([{"question": "q", "response_j": "good", "response_k": "bad"}])
    with pytest.raises(ValueError, match=r"must have the column 'chosen'.*; columns='chosen=\.\.\.' says which one is"):
        read([{"prompt": "q", "winning": "good", "losing": "bad"}])
