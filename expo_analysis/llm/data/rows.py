"""One row of a data set: from what was read to the tokens that are trained on, or to what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import Features, Json, List, Value

from .checks import check_pair, check_samples
from .columns import NAMED, SCORES, TOKEN_COLUMNS
from .conversation import assistant, kind_of
from .forms import Pair, Remark, field_of, pair_of, template_arguments
from .report import BadField, Place
from .table import ORIGIN, ORIGIN_FEATURES, origin, place_of
from .tokens import Encoder, Ids, check_lengths, encode, encode_samples, tokenizer_digest

MASKS = ("chosen_mask", "rejected_mask")
ROW_NUMBER = "row_number"

MADE = (*TOKEN_COLUMNS, *MASKS, "sample_ids", ROW_NUMBER)
"""The columns of `PreferenceData`, besides those that are kept."""

NUMBERS = ("weight", *(column for pair in SCORES for column in pair), "ref_chosen_logps", "ref_rejected_logps")
"""Columns that hold a finite number, where they are to be kept."""

PROBLEM, REMARKS, KIND, MASKED = "__problem__", "__remarks__", "__kind__", "__masked__"
NOTES = {
    PROBLEM: {"field": Value("string"), "what": Value("string"), "example": Value("string")},
    REMARKS: List(Value("string")),
    KIND: Value("string"),
    MASKED: Value("bool"),
}
"""Columns that `RowMaker` adds for whoever settles what becomes of the rows."""


@dataclass
class RowMaker:
    """Called with a row and its number, as `datasets.Dataset.map` does it, perhaps in several processes.

    Args:
        encoder: of the tokenizer.
        implicit: whether there is no column of prompts.
        json_columns: those that hold JSON text.
        prepared: whether the tokens are known to be this tokenizer's, and ``row_number`` that of `PreferenceData`.
        max_length, max_positions: as in `check_lengths`.
        samples: whether reference samples are needed.
        keep: columns that are kept, with their features.
    """

    encoder: Encoder
    implicit: bool
    json_columns: Collection[str]
    prepared: bool
    max_length: int | None
    max_positions: int | None
    samples: bool
    keep: Mapping[str, Any] = field(default_factory=dict)

    def features(self) -> Features:
        tokens = List(Value("int32"))
        ids = {name: tokens for name in TOKEN_COLUMNS} | {name: List(Value("int8")) for name in MASKS}
        samples = {"sample_ids": List(tokens)} if self.samples else {}
        return Features(
            ids | samples | {ROW_NUMBER: Value("int64")} | dict(self.keep) | {ORIGIN: ORIGIN_FEATURES} | NOTES
        )

    def __call__(self, row: Mapping[str, Any], number: int) -> dict[str, Any]:
        place = self.place(row, number)
        remarks: list[str] = []
        made: dict[str, Any] = {name: [] for name in (*TOKEN_COLUMNS, *MASKS)} | {KIND: None, PROBLEM: None}
        made |= {name: None for name in self.keep} | ({"sample_ids": []} if self.samples else {})
        try:
            made |= self._tokens(row, remarks.append)
            made |= {name: self._kept(name, row.get(name)) for name in self.keep}
        except BadField as bad:
            made[PROBLEM] = note_of(bad)
        masked = not all(all(made[name]) for name in MASKS)
        once = list(dict.fromkeys(remarks))  # a dictionary for its order
        return made | {ROW_NUMBER: place.row, ORIGIN: origin(place), REMARKS: once, MASKED: masked}

    def digest(self) -> str:
        """Of all that what is made of a row depends on."""
        settings = [self.implicit, sorted(self.json_columns), self.prepared, self.max_length]
        settings += [self.max_positions, self.samples, sorted(self.keep), self.encoder.template_arguments]
        return f"{tokenizer_digest(self.encoder.tokenizer)} {settings!r}"

    def place(self, row: Mapping[str, Any], number: int) -> Place:
        """Where a row comes from: as it says itself, or else its number in the data set as it was given."""
        if row.get(ORIGIN):
            return place_of(row[ORIGIN])
        return Place(row[ROW_NUMBER] if self.prepared and ROW_NUMBER in row else number)

    def _tokens(self, row: Mapping[str, Any], remark: Remark) -> dict[str, Any]:
        unread = row.get(ORIGIN) or {}
        if unread.get("problem"):
            raise BadField(unread["field"], unread["problem"])
        row = {name: self._decoded(name, value) for name, value in row.items()}
        for name in ("image", "images"):
            if row.get(name):
                raise BadField(name, "it has an image; models of text only are trained here")
        given = all(row.get(name) is not None for name in TOKEN_COLUMNS)
        made = self._given(row) if given else self._written(row, remark)
        check_lengths(made, self.max_length, self.max_positions, remark)
        return made

    def _decoded(self, name: str, value: Any) -> Any:
        if value is not None and name in self.json_columns:
            return json.loads(value)
        return _unpadded(value) if name in NAMED else value

    def _kept(self, name: str, value: Any) -> Any:
        return number_of(name, self._decoded(name, value)) if name in NUMBERS else value

    def _written(self, row: Mapping[str, Any], remark: Remark) -> dict[str, Any]:
        """The tokens of texts."""
        pair = pair_of(row, self.implicit, self.encoder.template, remark)
        check_pair(pair, self.encoder.end, self.encoder.controls, remark)
        made = encode(pair, self.encoder, remark) | {KIND: "a conversation" if pair.conversational else "plain text"}
        if self.samples:
            made["sample_ids"] = self._sample_ids(row, pair, made["prompt_ids"], remark)
        return made

    def _given(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Tokens that come with the row."""
        made: dict[str, Any] = {name: self._ids(name, row[name]) for name in TOKEN_COLUMNS}
        for name, ids in zip(MASKS, TOKEN_COLUMNS[1:], strict=True):
            mask = row.get(name) if self.prepared else None
            made[name] = [1] * len(made[ids]) if mask is None else list(mask)
        prompt = row.get("prompt")
        if prompt is not None and not self.prepared:
            self._check_prompt(row, prompt, made["prompt_ids"])
        if self.samples:
            pair = None if prompt is None else Pair(field_of("prompt", prompt, self.encoder.template, _nothing), [], [])
            made["sample_ids"] = self._sample_ids(row, pair, made["prompt_ids"], _nothing)
        return made

    def _ids(self, name: str, value: Any) -> Ids:
        if not isinstance(value, list) or not all(type(token) is int for token in value):
            raise BadField(name, "it must be a list of token numbers", f", got {value!r:.40}")
        strange = [token for token in value if not 0 <= token < len(self.encoder.tokenizer)]
        if strange:
            what = f"it has a token that the tokenizer, with its {len(self.encoder.tokenizer)} tokens, has not"
            raise BadField(name, what, f": {strange[0]}")
        return value

    def _check_prompt(self, row: Mapping[str, Any], prompt: Any, ids: Ids) -> None:
        said = field_of("prompt", prompt, self.encoder.template, _nothing)
        if isinstance(said, str):
            tokens = self.encoder.text(said)
        else:
            tokens = self.encoder.conversation(said, template_arguments(row), answer=True)
        if tokens != ids:
            raise BadField("prompt_ids", "they are not the prompt's tokens: were they made by another tokenizer?")

    def _sample_ids(self, row: Mapping[str, Any], pair: Pair | None, prompt: Ids, remark: Remark) -> list[Ids]:
        given = row.get("sample_ids") if self.prepared else None
        if given is None:
            given = row.get("reference_sample_ids")
        if given is None:
            return self._written_samples(row, pair, prompt, remark)
        if not isinstance(given, list) or not given:
            raise BadField("reference_sample_ids", "it must be a list of at least one response")
        if not all(given):
            raise BadField("reference_sample_ids", "one of them has no tokens")
        return [self._ids("reference_sample_ids", ids) for ids in given]

    def _written_samples(self, row: Mapping[str, Any], pair: Pair | None, prompt: Ids, remark: Remark) -> list[Ids]:
        given = row.get("reference_samples")
        if not isinstance(given, list) or not given:
            raise BadField("reference_samples", "it must be a list of at least one response")
        if pair is None:
            raise BadField("reference_samples", "they are text, and there is no text of the prompt before them")
        read = [field_of("reference_samples", sample, self.encoder.template, remark) for sample in given]
        if pair.conversational:  # plain text is the assistant's, as in chosen and rejected
            read = [[assistant(one)] if isinstance(one, str) else one for one in read]
        check_samples(read, pair.conversational)
        pair.samples = read
        return encode_samples(pair, prompt, self.encoder, remark)


def note_of(bad: BadField) -> dict[str, str]:
    """A value of the column `PROBLEM`."""
    return {"field": bad.field, "what": bad.what, "example": bad.example}


def _nothing(remark: str) -> None:
    """What a row says that is checked elsewhere too."""


def _unpadded(value: Any) -> Any:
    """Mappings without the keys that Arrow fills with None where other rows have them."""
    if isinstance(value, Mapping):
        return {key: _unpadded(part) for key, part in value.items() if part is not None}
    return [_unpadded(part) for part in value] if isinstance(value, list) else value


def number_of(name: str, value: Any) -> float:
    """The value of a column of `NUMBERS`."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadField(name, "it must be a finite number", f", got {kind_of(value)}: {value!r:.40}")
    return number


def kept_features(columns: Sequence[str], features: Mapping[str, Any]) -> dict[str, Any]:
    """The features of columns that are to be kept."""
    found = {name: Value("float64") if name in NUMBERS else features[name] for name in columns}
    return {name: Json() if isinstance(feature, Json) else feature for name, feature in found.items()}
