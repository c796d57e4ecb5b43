"""Rows of preferences, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .llm_texts import byte_tokenizer, said, user

from expo_analysis.llm.data import PreferenceData  # isort: skip


TOKENIZER = byte_tokenizer()
GOOD = {"prompt": "Hi", "chosen": "Hello!", "rejected": "Go."}
CHAT = {"prompt": [user("Hi")], "chosen": [said("Hello!")], "rejected": [said("Go.")]}


def read(rows: Any, tokenizer: Any = TOKENIZER, **options: Any) -> PreferenceData:
    return PreferenceData.from_rows(rows, tokenizer, **{"name": "train_dataset", "max_length": None} | options)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ids(data: PreferenceData, row: int = 0) -> tuple[list[int], list[int], list[int]]:
    return tuple(data.rows[row][f"{name}_ids"] for name in ("prompt", "chosen", "rejected"))
