"""One row of a data set: from what was read to the tokens that are trained on, or to what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import Features, Json, List, Value

from .checks import check_example, check_samples
from .columns import NAMED
from .conversation import assistant
from .feedback import KINDS, LABEL, SINGLE_DATA, SINGLES, Feedback, check_count, checked, ranking_of
from .forms import Example, Remark, example_of, field_of, nothing, opened, template_arguments
from .given import Given
from .masks import column_of, masks_of, remark_on_padding
from .report import BadField, Place
from .table import ORIGIN, ORIGIN_FEATURES, origin, origin_in, place_of
from .tokens import Encoder, Ids, Tokens, check_lengths, encode, encode_samples, tokenizer_digest
from .unread import remark_on_arguments, remark_on_columns

ROW_NUMBER = "row_number"

MADE = (
    *dict.fromkeys(column for kind in KINDS.values() for column in (*kind.token_columns, *kind.masks)),
    *("ranking", "sample_ids", ROW_NUMBER),
)
"""The columns of `PreferenceData`, besides those that are kept."""

MEDIA = ("image", "images", "video", "videos", "audio", "audios")
"""Columns of what is no text."""

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
        feedback: the kind of the rows.
        encoder: of the tokenizer.
        implicit: whether there is no column of prompts.
        json_columns: those that hold JSON text.
        prepared: whether the tokens are known to be this tokenizer's, and ``row_number`` that of `PreferenceData`.
        max_length, max_positions: as in `check_lengths`.
        samples: whether reference samples are needed.
        keep: columns that are kept, with their features.
    """

    feedback: Feedback
    encoder: Encoder
    implicit: bool
    json_columns: Collection[str]
    prepared: bool
    max_length: int | None
    max_positions: int | None
    samples: bool
    keep: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        given: Given,
        feedback: Feedback,
        encoder: Encoder,
        tokenizer: str,
        limits: tuple[int | None, int | None],
        samples: bool,
        keep_columns: Sequence[str],
    ) -> RowMaker:
        """That of the rows of a data set.

        Args:
            tokenizer: its digest.
            limits: ``max_length`` and ``max_positions``.
            keep_columns: as in `PreferenceData.from_rows`.

        Raises:
            ValueError: for tokens of another tokenizer.
        """
        own = feedback == SINGLES and not {LABEL, *SINGLE_DATA} & set(keep_columns)
        wanted = {*keep_columns, *((LABEL, SINGLE_DATA[0]) if own else ())} - {*MADE, ORIGIN, *NOTES}
        kept = [column for column in given.names if column in wanted]
        return cls(
            feedback,
            encoder,
            "prompt" not in given.names,
            frozenset(given.json_columns),
            given.are_of(tokenizer, feedback),
            *limits,
            samples,
            kept_features(feedback, kept, given.rows.features or {}),
        )

    def features(self) -> Features:
        kind, tokens, counts = self.feedback, List(Value("int32")), List(Value("int8"))
        found: dict[str, Any] = {"prompt_ids": tokens}
        found |= {name: List(tokens) if kind.listed else tokens for name in kind.token_columns[1:]}
        found |= {name: List(counts) if kind.listed else counts for name in kind.masks}
        found |= {"ranking": tokens} if kind.listed else {}
        found |= {"sample_ids": List(tokens)} if self.samples else {}
        return Features(found | {ROW_NUMBER: Value("int64")} | dict(self.keep) | {ORIGIN: ORIGIN_FEATURES} | NOTES)

    def __call__(self, row: Mapping[str, Any], number: int) -> dict[str, Any]:
        place = self.place(row, number)
        remarks: list[str] = []
        made: dict[str, Any] = {name: [] for name in (*self.feedback.token_columns, *self.feedback.masks)}
        made |= {KIND: None, PROBLEM: None} | {name: None for name in self.keep}
        made |= ({"ranking": []} if self.feedback.listed else {}) | ({"sample_ids": []} if self.samples else {})
        masked = False
        try:
            tokens, kind = self._tokens(row, remarks.append)
            masked = not all(map(all, tokens.masks.values()))
            made |= self._columns(tokens) | self._beside(row, len(tokens.responses)) | {KIND: kind}
        except BadField as bad:
            made[PROBLEM] = note_of(bad)
        once = list(dict.fromkeys(remarks))  # a dictionary for its order
        return made | {ROW_NUMBER: place.row, ORIGIN: origin(place), REMARKS: once, MASKED: masked}

    def _columns(self, tokens: Tokens) -> dict[str, Any]:
        found = {"prompt_ids": tokens.prompt} | self.feedback.columns(tokens.responses, "_ids")
        found |= self.feedback.columns(tokens.masks, "_mask")
        return found | ({"sample_ids": tokens.samples} if self.samples else {})

    def _beside(self, row: Mapping[str, Any], responses: int) -> dict[str, Any]:
        """What else is kept of a row, checked."""
        kind, checks = self.feedback, {*self.feedback.numbers, *self.feedback.vectors}
        found: dict[str, Any] = {
            name: checked(kind, name, self._decoded(name, row.get(name))) if name in checks else row.get(name)
            for name in self.keep
        }
        if kind.listed:
            given = {name: self._decoded(name, row.get(name)) for name in ("ranking", "scores")}
            found["ranking"] = ranking_of(given, responses)
            for name in ("scores", *kind.ref_columns):
                if name in found:
                    check_count(found[name], responses, name)
        return found

    def digest(self) -> str:
        """Of all that what is made of a row depends on."""
        settings = [self.feedback.name, self.implicit, sorted(self.json_columns), self.prepared, self.max_length]
        settings += [self.max_positions, self.samples, sorted(self.keep), self.encoder.template_arguments]
        return f"{tokenizer_digest(self.encoder.tokenizer)} {settings!r}"

    def place(self, row: Mapping[str, Any], number: int) -> Place:
        """Where a row comes from: as it says itself, or else its number in the data set as it was given."""
        found = origin_in(row)
        if found:
            return place_of(found)
        return Place(row[ROW_NUMBER] if self.prepared and ROW_NUMBER in row else number)

    def _tokens(self, row: Mapping[str, Any], remark: Remark) -> tuple[Tokens, str | None]:
        """A row's tokens, and what they were made of; None where they came with the row."""
        unread = origin_in(row) or {}
        if unread.get("problem"):
            raise BadField(unread["field"], unread["problem"])
        row = opened({name: self._decoded(name, value) for name, value in row.items()}, remark)
        for name in MEDIA:
            if row.get(name):
                what = {"i": "an image", "v": "a video", "a": "a sound"}[name[0]]
                raise BadField(name, f"it has {what}; models of text only are trained here")
        given = all(row.get(name) is not None for name in self.feedback.token_columns)
        tokens, kind = (self._given(row, remark), None) if given else self._written(row, remark)
        if self.feedback.listed and len(tokens.responses) < 2:
            raise BadField(self.feedback.sides[0], "it must have at least two responses")
        check_lengths(tokens, self.max_length, self.max_positions, remark)
        return tokens, kind

    def _decoded(self, name: str, value: Any) -> Any:
        if value is not None and name in self.json_columns:
            return json.loads(value)
        return _unpadded(value) if name in NAMED else value

    def _written(self, row: Mapping[str, Any], remark: Remark) -> tuple[Tokens, str]:
        """The tokens of texts."""
        if self.feedback.listed and not self.feedback.values(row):
            raise BadField(self.feedback.sides[0], "it must have at least two responses")
        for name in self.feedback.masks:
            if row.get(name) is not None:
                ids = ", ".join(self.feedback.token_columns)
                raise BadField(name, f"it says which tokens count, and the row has none: give {ids} beside it")
        example = example_of(row, self.feedback, self.implicit, self.encoder.template, remark)
        check_example(example, self.encoder.end, self.encoder.controls, remark)
        remark_on_columns(row, example.prompt, remark)
        remark_on_arguments(row, self.encoder.template if example.conversational else None, remark)
        tokens = encode(example, self.encoder, remark)
        if self.samples:
            tokens.samples = self._sample_ids(row, example, tokens.prompt, remark)
        return tokens, "a conversation" if example.conversational else "plain text"

    def _given(self, row: Mapping[str, Any], remark: Remark) -> Tokens:
        """Tokens that come with the row."""
        ids = self.feedback.values(row, "_ids")
        given = {name: self._ids(column_of(name, "_ids"), value) for name, value in ids.items()}
        tokens = Tokens(self._ids("prompt_ids", row["prompt_ids"]), given, {})
        tokens.masks = masks_of(row, self.feedback, given)
        remark_on_padding(tokens, self.encoder.tokenizer, remark)
        prompt = row.get("prompt")
        if prompt is not None and not self.prepared:
            self._check_prompt(row, prompt, tokens.prompt)
        if self.samples:
            example = None
            if prompt is not None:
                example = Example(field_of("prompt", prompt, self.encoder.template, nothing), {})
            tokens.samples = self._sample_ids(row, example, tokens.prompt, nothing)
        return tokens

    def _ids(self, name: str, value: Any) -> Ids:
        if not isinstance(value, list) or not all(type(token) is int for token in value):
            raise BadField(name, "it must be a list of token numbers", f", got {value!r:.40}")
        strange = [token for token in value if not 0 <= token < len(self.encoder.tokenizer)]
        if strange:
            what = f"it has a token that the tokenizer, with its {len(self.encoder.tokenizer)} tokens, has not"
            raise BadField(name, what, f": {strange[0]}")
        return value

    def _check_prompt(self, row: Mapping[str, Any], prompt: Any, ids: Ids) -> None:
        said = field_of("prompt", prompt, self.encoder.template, nothing)
        if isinstance(said, str):
            tokens = self.encoder.text(said)
        else:
            tokens = self.encoder.conversation(said, template_arguments(row), answer=True)
        if tokens != ids:
            raise BadField("prompt_ids", "they are not the prompt's tokens: were they made by another tokenizer?")

    def _sample_ids(self, row: Mapping[str, Any], example: Example | None, prompt: Ids, remark: Remark) -> list[Ids]:
        given = row.get("sample_ids")
        if given is None:
            given = row.get("reference_sample_ids")
        if given is None:
            return self._written_samples(row, example, prompt, remark)
        if not isinstance(given, list) or not given:
            raise BadField("reference_sample_ids", "it must be a list of at least one response")
        if not all(given):
            raise BadField("reference_sample_ids", "one of them has no tokens")
        return [self._ids("reference_sample_ids", ids) for ids in given]

    def _written_samples(
        self, row: Mapping[str, Any], example: Example | None, prompt: Ids, remark: Remark
    ) -> list[Ids]:
        given = row.get("reference_samples")
        if not isinstance(given, list) or not given:
            raise BadField("reference_samples", "it must be a list of at least one response")
        if example is None:
            raise BadField("reference_samples", "they are text, and there is no text of the prompt before them")
        read = [field_of("reference_samples", sample, self.encoder.template, remark) for sample in given]
        if example.conversational:  # plain text is the assistant's, as in chosen and rejected
            read = [[assistant(one)] if isinstance(one, str) else one for one in read]
        check_samples(read, example.conversational)
        example.samples = read
        return encode_samples(example, prompt, self.encoder, remark)


def note_of(bad: BadField) -> dict[str, str]:
    """A value of the column `PROBLEM`."""
    return {"field": bad.field, "what": bad.what, "example": bad.example}


def _unpadded(value: Any) -> Any:
    """Mappings without the keys that Arrow fills with None where other rows have them."""
    if isinstance(value, Mapping):
        return {key: _unpadded(part) for key, part in value.items() if part is not None}
    return [_unpadded(part) for part in value] if isinstance(value, list) else value


def kept_features(feedback: Feedback, columns: Sequence[str], features: Mapping[str, Any]) -> dict[str, Any]:
    """The features of columns that are to be kept."""
    own: dict[str, Any] = dict.fromkeys(feedback.numbers, Value("float64"))
    own |= dict.fromkeys(feedback.vectors, List(Value("float64")))
    found = {name: own.get(name) or features[name] for name in columns}
    return {name: Json() if isinstance(feature, Json) else feature for name, feature in found.items()}
