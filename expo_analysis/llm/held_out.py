"""Data to evaluate on: prompts to sample responses to, and pairs of given responses, where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..losses.base import check_option
from .data import ON_BAD_ROWS, PreferenceData
from .data.columns import TOKEN_COLUMNS, named, parse_columns, well_known
from .data.feedback import PAIRS
from .data.files import format_of
from .data.forms import example_of, nothing, opened
from .data.prompts import Prompt, read_prompts, shipped_prompts, tokenize
from .data.readers import read_split
from .data.table import ORIGIN, python_rows


@dataclass(frozen=True)
class Given:
    """A pair of responses to a prompt: the prompt's place in `HeldOut.prompts`, and tokens with their masks."""

    prompt: int
    chosen: list[int]
    rejected: list[int]
    chosen_mask: list[int]
    rejected_mask: list[int]


@dataclass(frozen=True)
class HeldOut:
    """Prompts, no two of them alike, and pairs of responses to them.

    name        the file or data set, as it was asked for
    prompts     text or conversations; ids: their tokens, of the same order
    pairs       none for a file of prompts
    """

    name: str
    prompts: list[Prompt]
    ids: list[list[int]]
    pairs: list[Given]

    def first(self, count: int | None) -> HeldOut:
        """The first prompts, and the pairs that belong to them."""
        return self if count is None else self.only(range(min(count, len(self.ids))))

    def only(self, prompts: Sequence[int]) -> HeldOut:
        """Some of the prompts, and the pairs that belong to them."""
        place = {old: new for new, old in enumerate(prompts)}
        pairs = [replace(pair, prompt=place[pair.prompt]) for pair in self.pairs if pair.prompt in place]
        return replace(
            self, prompts=[self.prompts[p] for p in prompts], ids=[self.ids[p] for p in prompts], pairs=pairs
        )

    def with_room(self, longest: int, on_bad_rows: str) -> tuple[HeldOut, list[str]]:
        """The prompts that leave room for a response, and a remark on the others.

        Raises:
            ValueError: where there are others and ``on_bad_rows`` is ``"error"``, or no prompt is left.
        """
        kept = [prompt for prompt, ids in enumerate(self.ids) if len(ids) <= longest]
        more = len(self.ids) - len(kept)
        if not more:
            return self, []
        what = f"{self.name}: {more} of {len(self.ids)} prompts have more than {longest} tokens, and the model no room"
        if on_bad_rows == "error" or not kept:
            raise ValueError(f"{what} for a response of --max-new-tokens; leave them out with --on-bad-rows drop")
        return self.only(kept), [f"{what}; they are left out"]


def read_held_out(
    name: str,
    tokenizer: Any,
    *,
    room: int | None = None,
    new_tokens: int = 0,
    split: str = "train",
    columns: str | None = None,
    on_bad_rows: str = "error",
    limit: int | None = None,
) -> tuple[HeldOut, list[str]]:
    """The data of a file, a folder or a data set of the Hub, and remarks on them.

    Args:
        name: pairs as for fine-tuning, or, of columns without chosen and rejected or in a .txt file, prompts.
        room: the most tokens that a model reads; None knows no limit.
        new_tokens: how many tokens are to be sampled after a prompt.
        limit: only the first prompts; None takes all.
        split, columns, on_bad_rows: as in `DataRecipe`.

    Raises:
        OSError, ValueError: naming the file and what is wrong, or the row and the field.
    """
    check_option("on_bad_rows", on_bad_rows, ON_BAD_ROWS)
    check_room(room, new_tokens)
    found, remarks = _read(name, tokenizer, room, split, columns, on_bad_rows)
    found = found.first(limit)
    if room is not None:
        found, more = found.with_room(room - new_tokens, on_bad_rows)
        remarks += more
    return found, remarks


def check_room(room: int | None, new_tokens: int) -> None:
    """Raise where a model has no room for samples of so many tokens after a prompt of even one."""
    if room is not None and new_tokens >= room:
        raise ValueError(
            f"max-new-tokens must be less than the {room} tokens that the model reads, prompt and response together; "
            f"got {new_tokens}"
        )


def _read(
    name: str, tokenizer: Any, room: int | None, split: str, columns: str | None, on_bad_rows: str
) -> tuple[HeldOut, list[str]]:
    path = Path(name)
    if name in shipped_prompts() or path.suffix == ".txt":
        if columns is not None:
            raise ValueError(f"columns is not used by {name}, which has a prompt on each line; got {columns!r}")
        return _prompts(name, tokenizer, on_bad_rows)
    rows = read_split(name, split)
    given = PreferenceData.columns_of(rows)
    wanted = parse_columns(columns) or well_known(given)
    if wanted:
        rows = named(rows, wanted, name, given)
    has_pairs = {"chosen", "rejected"} <= set(rows.column_names) or set(TOKEN_COLUMNS) <= set(rows.column_names)
    if not has_pairs and "prompt" in rows.column_names and format_of(path) is not None:
        column = wanted.get("prompt", "prompt")
        if set(wanted) - {"prompt"} or column not in given:
            wrong = f"columns must be prompt=COLUMN for {name}, which has prompts without pairs"
            raise ValueError(f"{wrong}; got {columns!r}")
        return _prompts(name, tokenizer, on_bad_rows, column)
    return _pairs(name, rows, tokenizer, room, on_bad_rows)


def _prompts(name: str, tokenizer: Any, on_bad_rows: str, column: str = "prompt") -> tuple[HeldOut, list[str]]:
    found, ids = tokenize(read_prompts(name, column, on_bad_rows), tokenizer, None, on_bad_rows)
    unique = {tuple(tokens): at for at, tokens in reversed(list(enumerate(ids)))}
    kept = sorted(unique.values())
    prompts, tokens = [found.prompts[at] for at in kept], [ids[at] for at in kept]
    return HeldOut(name, prompts, tokens, []), found.report.lines()


def _pairs(name: str, rows: Dataset, tokenizer: Any, room: int | None, on_bad_rows: str) -> tuple[HeldOut, list[str]]:
    data = PreferenceData.from_rows(
        rows, tokenizer, name=name, max_length=None, max_positions=room, on_bad_rows=on_bad_rows, feedback=PAIRS.name
    )
    raw = {_place(row): row for row in python_rows(rows)}
    places: dict[tuple[int, ...], int] = {}
    prompts: list[Prompt] = []
    pairs = []
    for row in data.rows:
        key = tuple(row["prompt_ids"])
        if key not in places:
            places[key] = len(prompts)
            prompts.append(_prompt(raw.get(_place(row), {}), row["prompt_ids"], tokenizer))
        chosen, rejected = row["chosen_ids"], row["rejected_ids"]
        masks = (row.get("chosen_mask") or [1] * len(chosen), row.get("rejected_mask") or [1] * len(rejected))
        pairs.append(Given(places[key], chosen, rejected, *masks))
    return HeldOut(name, prompts, [list(key) for key in places], pairs), data.report.lines()


def _place(row: dict[str, Any]) -> tuple[Any, Any]:
    return row[ORIGIN]["file"], row[ORIGIN]["row"]


def _prompt(row: dict[str, Any], ids: list[int], tokenizer: Any) -> Prompt:
    """A prompt as a reward reads it: as the row has it, or what its tokens say."""
    if all(row.get(name) is not None for name in ("chosen", "rejected")):
        template = str(tokenizer.chat_template or "")
        prompt: Prompt = example_of(opened(row, nothing), PAIRS, "prompt" not in row, template, nothing).prompt
        return prompt
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
