"""Small data sets as people have them, by name: what they hold, and what is to become of them."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import Any

from .llm_texts import END, EOS, START, said, user

BASE = [
    {"prompt": f"Name a city, {k}.", "chosen": f" City{k} is nice.", "rejected": f" No idea {k}."} for k in range(4)
]
WHOLE = [{side: [user(row["prompt"]), said(row[side])] for side in ("chosen", "rejected")} for row in BASE]
ASKED = [
    {"prompt": [user(row["prompt"])], "chosen": [said(row["chosen"])], "rejected": [said(row["rejected"])]}
    for row in BASE
]
TEXT = ("Name a city, 0.", f" City0 is nice.{EOS}")
CHAT = (f"{START}user\nName a city, 0.{END}\n{START}assistant\n", f" City0 is nice.{END}\n")


@dataclass(frozen=True)
class File:
    """A file and its fate.

    content     of the file
    rows        how many rows are trained on; 0 where it is refused
    first       the first row's prompt and chosen response, put together again from tokens
    message     the refusal, what comes after the file's name
    remark      a part of the report
    flags       of the command
    """

    content: bytes
    rows: int = 0
    first: tuple[str, str] | None = None
    message: str = ""
    remark: str = ""
    flags: dict[str, Any] = field(default_factory=dict)


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def of_each(**fields: Any) -> list[dict[str, Any]]:
    """`BASE`, with fields that are functions of a row."""
    return [row | {name: value(row) if callable(value) else value for name, value in fields.items()} for row in BASE]


def asked_by(ask: str, answer: str) -> bytes:
    rows = [
        {"prompt": (ask, row["prompt"]), "chosen": (answer, row["chosen"]), "rejected": (answer, row["rejected"])}
        for row in BASE
    ]
    return lines(*({name: [{"role": who, "content": text}] for name, (who, text) in row.items()} for row in rows))


def in_parts(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [{"role": m["role"], "content": [{"type": "text", "text": m["content"]}]} for m in messages]
        for name, messages in row.items()
    }


def call(city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": {"city": city}}
    return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}


TURN = "\n\nHuman: q{}\n\nAssistant: "
HH = [{"chosen": TURN.format(k) + (f"a{k}" if k > 1 else ""), "rejected": TURN.format(k) + f"b{k}"} for k in range(6)]
HH[4]["rejected"] = HH[4]["chosen"]
SCORED = [row | {"score_chosen": 8.0, "score_rejected": 3.0} for row in WHOLE]
NUMBERED = [{"prompt": f"Q{k}?", "chosen": f"yes {k}", "rejected": f"no {k}"} for k in range(20)]
TOOLS = json.dumps([{"type": "function", "function": {"name": "weather", "description": "w"}}])
IMPLICIT = "have no prompt of their own: what both responses begin with is taken for it"
MEANT = "must have the column"

FILES = {
    "ok.jsonl": File(lines(*BASE), 4, TEXT),
    "ok.jsonl.gz": File(gzip.compress(lines(*BASE)), 4, TEXT),
    "array.json": File(json.dumps(BASE).encode(), 4, TEXT),
    "wrapped.json": File(json.dumps({"data": BASE}).encode(), 4, TEXT),
    "extra.jsonl": File(lines(*BASE[:3], BASE[3] | {"note": "x"}), 4, TEXT),
    "mixed.jsonl": File(lines(*of_each(score=lambda row: 1 if "0" in row["prompt"] else "high")), 4, TEXT),
    "rowcol.jsonl": File(lines(*(row | {"row": k, "row_number": k + 5} for k, row in enumerate(BASE))), 4, TEXT),
    "contradict.jsonl": File(lines(BASE[0], BASE[0] | {"chosen": "No.", "rejected": "Yes."}, BASE[0]), 3, TEXT),
    "na.csv": File(
        b"prompt,chosen,rejected\nBus?,None,The 42.\nSodium?,NA,Sodium\nTwo?,yes,null\n", 3, ("Bus?", f"None{EOS}")
    ),
    "num.csv": File(b"prompt,chosen,rejected\n4+4=,8,9\n1+1=,2,3\n", 2, ("4+4=", f"8{EOS}")),
    "zero.csv": File(b"prompt,chosen,rejected\nAgent?,007,the butler\n", 1, ("Agent?", f"007{EOS}")),
    "tabs.tsv": File(b"prompt\tchosen\trejected\na\tb\tc\n", 1, ("a", f"b{EOS}")),
    "dates.jsonl": File(
        lines({"prompt": "When?", "chosen": "2021-05-04", "rejected": "2020-01-01T00:00:00"}),
        1,
        ("When?", f"2021-05-04{EOS}"),
    ),
    "unicode.jsonl": File(
        lines(
            {"prompt": "\U0001f468\u200d\U0001f469?", "chosen": "\u05e9\u05dc\u05d5\u05dd", "rejected": "e\u0301"},
            {"prompt": "a\u2028b", "chosen": "nul\x00", "rejected": "\ufeffbom"},
        ),
        2,
        ("\U0001f468\u200d\U0001f469?", f"\u05e9\u05dc\u05d5\u05dd{EOS}"),
    ),
    "separators.jsonl": File(
        json.dumps(BASE[0] | {"chosen": "a\u2028b\x85c\x0cd"}, ensure_ascii=False).encode(),
        1,
        (TEXT[0], f"a\u2028b\x85c\x0cd{EOS}"),
    ),
    "implicit_text.jsonl": File(
        lines(*({side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in BASE)),
        4,
        TEXT,
        remark=IMPLICIT,
    ),
    "implicit_chat.jsonl": File(lines(*WHOLE), 4, CHAT, remark=IMPLICIT),
    "scored.jsonl": File(lines(*SCORED), 4, CHAT, remark=IMPLICIT),
    "scored_prepared.jsonl": File(lines(*SCORED), 4, CHAT, flags={"preparation": "ultrafeedback"}),
    "text_beside_chat.jsonl": File(
        lines(*({"prompt": row["prompt"]} | whole for row, whole in zip(BASE, WHOLE, strict=True))),
        4,
        CHAT,
        remark="have whole conversations beside a prompt of text",
    ),
    "repeat_chat.jsonl": File(
        lines(*({"prompt": ask["prompt"]} | whole for ask, whole in zip(ASKED, WHOLE, strict=True))),
        4,
        CHAT,
        remark="have responses that repeat the prompt",
    ),
    "parts.jsonl": File(lines(*map(in_parts, ASKED)), 4, CHAT, remark="have messages whose content is a list of parts"),
    "human_gpt.jsonl": File(
        asked_by("human", "gpt"), 4, CHAT, remark="have the role 'human', which is taken for 'user'"
    ),
    "pretemplated.jsonl": File(
        lines(
            *of_each(
                prompt=lambda row: f"{START}user\n{row['prompt']}{END}\n{START}assistant\n",
                chosen=lambda row: row["chosen"] + END,
                rejected=lambda row: row["rejected"] + END,
            )
        ),
        4,
        (CHAT[0], f" City0 is nice.{END}{EOS}"),
        remark="have special tokens inside the text of prompt",
    ),
    "trailing.jsonl": File(
        lines(
            {"prompt": "p", "chosen": "same", "rejected": "same "}, {"prompt": "p", "chosen": "yes", "rejected": "no"}
        ),
        2,
        ("p", f"same{EOS}"),
    ),
    "long_answers.jsonl": File(
        lines(*BASE, BASE[0] | {"chosen": " word" * 60}),
        5,
        TEXT,
        remark="have a response that is cut at max_length=200",
    ),
    "tools.jsonl": File(
        lines({"prompt": [user("Oslo?")], "chosen": [call("Oslo")], "rejected": [call("Rome")], "tools": TOOLS}),
        message="row 0 (line 1), chosen: the tokenizer's chat template leaves out its tool calls",
    ),
    "tool_turns.jsonl": File(
        lines(
            {
                "prompt": [user("Oslo?")],
                "chosen": [said("5C?"), {"role": "tool", "name": "weather", "content": "5C"}, said("5C.")],
                "rejected": [said("No.")],
            }
        ),
        1,
        (
            f"{START}user\nOslo?{END}\n{START}assistant\n",
            f"5C?{END}\n{START}tool\n5C{END}\n{START}assistant\n5C.{END}\n",
        ),
        remark="have turns of others inside a response",
    ),
    "orca.jsonl": File(
        lines(
            *(
                {"system": "Be brief.", "question": row["prompt"]}
                | {side: row[side] for side in ("chosen", "rejected")}
                for row in BASE
            )
        ),
        message=(
            f"{MEANT} 'prompt', but its columns are ['system', 'question', 'chosen', 'rejected']; "
            "set columns to prompt=question,system=system"
        ),
    ),
    "orca_named.jsonl": File(
        lines(*({"question": row["prompt"]} | {side: row[side] for side in ("chosen", "rejected")} for row in BASE)),
        4,
        TEXT,
        flags={"columns": "prompt=question"},
    ),
    "argilla.jsonl": File(
        lines({"instruction": "a", "chosen_response": "b", "rejected_response": "c"}),
        message="set columns to prompt=instruction,chosen=chosen_response,rejected=rejected_response",
    ),
    "completions.jsonl": File(
        lines({"prompt": "Q0", "completion": "A0"}), message="they are single responses, and no pairs"
    ),
    "hh.jsonl": File(
        lines(*HH), message="rows 0, 1 and 4 (the first in line 1), chosen: all of it begins the other response"
    ),
    "hh_prepared.jsonl": File(
        lines(*HH), message="row 4 (line 5), rejected: it is the same as chosen", flags={"preparation": "hh"}
    ),
    "bad_row.jsonl": File(
        lines(*NUMBERED[:7], NUMBERED[7] | {"chosen": ""}, *NUMBERED[8:]),
        message="row 7 (line 8), chosen: it is empty (1 of",
    ),
    "bad_row_split.jsonl": File(
        lines(*NUMBERED[:7], NUMBERED[7] | {"chosen": ""}, *NUMBERED[8:]),
        message="row 7 (line 8), chosen: it is empty (1 of",
        flags={"test_split_size": 0.25, "eval_strategy": "steps", "eval_steps": 1},
    ),
    "numbers.jsonl": File(
        lines(*of_each(chosen=1, rejected=2)),
        message=(
            "all 4 rows (the first in line 1), chosen: it must be text or a list of messages, got a number, 1 in row 0"
        ),
    ),
    "truth.jsonl": File(
        lines({"prompt": "p?", "chosen": True, "rejected": False}),
        message="row 0 (line 1), chosen: it must be text or a list of messages, got a truth value, True",
    ),
    "lists.jsonl": File(
        lines(*of_each(chosen=["a"], rejected=["b"])),
        message="all 4 rows (the first in line 1), chosen: it must be text or a list of messages, got a list of text",
    ),
    "repeat_text.jsonl": File(
        lines(
            *of_each(
                chosen=lambda row: row["prompt"] + row["chosen"], rejected=lambda row: row["prompt"] + row["rejected"]
            )
        ),
        message="all 4 rows (the first in line 1), chosen: it begins with the prompt",
    ),
    "roles.jsonl": File(
        asked_by("assistant", "user"),
        message="all 4 rows (the first in line 1), chosen: its last message is the user's",
    ),
    "half.jsonl": File(
        b'{"prompt": "p", "chosen": "bad \\ud800 half", "rejected": "fine"}\n',
        message="row 0 (line 1), chosen: its character 5 is half of a surrogate pair, \\ud800, and no text",
    ),
    "long.jsonl": File(
        lines(BASE[0] | {"prompt": "word " * 50}, *BASE),
        message="row 0 (line 1), prompt: it leaves no room for a response within max_length=200: it has 250 tokens",
    ),
    "long_same.jsonl": File(
        lines({"prompt": "p", "chosen": "word " * 60 + "good", "rejected": "word " * 60 + "bad"}, *BASE),
        message="row 0 (line 1), rejected: it is the same as chosen within max_length=200, and differs only after",
    ),
    "malformed.jsonl": File(
        lines(BASE[0]) + b'{"prompt": "x", "chosen": "y"\n',
        message="line 2, column 30: it is not JSON: Expecting ',' delimiter",
    ),
    "empty.jsonl": File(b"", message="it has no rows"),
    "latin1.jsonl": File(
        '{"prompt": "p", "chosen": "caf\xe9", "rejected": "tea"}\n'.encode("latin-1"),
        message="line 1, column 31: the byte 0xe9 is not UTF-8: save the file as UTF-8",
    ),
    "text.txt": File(b"a\n", message="the name of a data file must end in one of .jsonl"),
}
