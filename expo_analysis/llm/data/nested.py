"""Where rows are that lie inside of something else: a document with its metadata, a column of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .columns import NAMED, OPENAI, SYNONYMS

RESPONSES = {"chosen", "rejected", "completion", "responses", *SYNONYMS["chosen"], *SYNONYMS["rejected"]}
RESPONSES |= {OPENAI["chosen"], OPENAI["rejected"]}
KNOWN = {*NAMED, *OPENAI.values(), *(name for names in SYNONYMS.values() for name in names)}

DEPTH = 4
"""How deep rows are looked for."""


def place_of_rows(value: Any) -> str:
    """Where inside of a value rows with responses are, such as ``"data.pairs"``; empty where none are.

    Args:
        value: what JSON has. Of a list its first part is looked at.

    Example:
        >>> place_of_rows({"meta": {}, "data": {"pairs": [{"prompt": "a", "chosen": "b", "rejected": "c"}]}})
        'data.pairs'
    """
    level = list(_parts("", value))
    for _ in range(DEPTH):
        found = next((place for place, part in level if _is_row(part[0] if isinstance(part, list) else part)), None)
        if found is not None:
            return found
        level = [inner for place, part in level for inner in _parts(place, part)]
    return ""


def _parts(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The lists and mappings in a mapping, or in the first of a list, that are not empty, each with its place."""
    if isinstance(value, list) and value:
        place, value = f"{place}[0]", value[0]
    for key, part in value.items() if isinstance(value, Mapping) else ():
        if isinstance(part, list | Mapping) and part:
            yield f"{place}.{key}".lstrip("."), part


def _is_row(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(RESPONSES & value.keys()) and len(KNOWN & value.keys()) > 1
