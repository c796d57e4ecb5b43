"""Batches of preference data, with samples of the reference beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..data.columns import SCORES
from ..data.feedback import KINDS, PAIRS, TRIPLES, Feedback

ROWS = ("input_ids", "attention_mask", "completion_mask")
"""What a batch has of every response after its prompt."""
REF_COLUMNS = PAIRS.ref_columns
"""Columns of log pi_ref of a pair's responses."""
Sequence = tuple[list[int], list[int], list[int] | None]
"""Tokens of a prompt and of a response, and which of the latter count; None where all do."""
NUMBERS = tuple(dict.fromkeys(name for kind in KINDS.values() for name in (*kind.numbers, *kind.vectors)))
"""Columns of one number for each example, or of a list of them, which a batch has under the same name."""


def rewards_of(batch: Mapping[str, Any], like: Tensor) -> Tensor:
    """The rewards of both responses, (2, B), that came with the data; of a difference that of the rejected is 0."""
    columns = next(pair for pair in SCORES if set(pair) <= set(batch))
    chosen, *rejected = (torch.tensor(batch[name], dtype=like.dtype, device=like.device) for name in columns)
    return torch.stack([chosen, *(rejected or [torch.zeros_like(chosen)])])


def kind_of(row: Mapping[str, Any]) -> Feedback:
    """The kind of a row of `PreferenceData`."""
    return next(kind for kind in (TRIPLES, *KINDS.values()) if set(kind.token_columns) <= row.keys())


def _sequences(kind: Feedback, row: Mapping[str, Any]) -> list[Sequence]:
    ids = kind.values(row, "_ids")
    masks = kind.values(row, "_mask") if row.get(kind.masks[0]) is not None else dict.fromkeys(ids)
    return [(row["prompt_ids"], ids[name], masks[name]) for name in ids]


@dataclass
class PreferenceCollator:
    """Pads responses to a batch, each after its prompt: of pairs the chosen ones, then the rejected ones.

    A subclass may add to what ``__call__`` returns; the trainer keeps the columns that it reads where
    ``remove_unused_columns`` is False.

    Args:
        pad_token_id: what shorter sequences are filled up with, on the right.
        max_length: longer sequences lose their end; None cuts nothing.
        pad_to_multiple_of: the length of a batch is a multiple of this, where it is given.

    Returns (of a call, on a list of B rows of `PreferenceData`):
        ``input_ids``, ``attention_mask`` and ``completion_mask``, shape (R, T), the last one being 1 for the tokens
        that count; R is 2 B of pairs, 3 B of triples, B of single responses, and all responses of all lists, one list
        after the other; ``feedback``, which of these it is; ``rows``, the rows' numbers (B,); the columns of `NUMBERS`
        that the rows have, lists of B floats or lists; of lists ``ranking``, and ``sizes``, how many responses each
        has; ``sample_input_ids`` and so on, shape (B K, T'), where they have ``sample_ids``: the K samples of each
        row, row by row; ``counted`` (B,), false for rows that only fill up a batch, where some do.

    Example:
        >>> rows = [{"prompt_ids": [5, 6], "chosen_ids": [7], "rejected_ids": [8, 9]}]
        >>> PreferenceCollator(pad_token_id=0)(rows)["input_ids"]
        tensor([[5, 6, 7, 0],
                [5, 6, 8, 9]])
    """

    pad_token_id: int
    max_length: int | None = None
    pad_to_multiple_of: int | None = None

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        first, kind = examples[0], kind_of(examples[0])
        # the rows' numbers come first: transformers takes the first tensor's length for the number of examples
        batch: dict[str, Any] = {"rows": torch.tensor([row.get("row_number", -1) for row in examples])}
        each = [_sequences(kind, row) for row in examples]
        if kind.listed:
            batch |= self._padded([sequence for own in each for sequence in own])
            batch |= {"sizes": list(map(len, each)), "ranking": [list(row["ranking"]) for row in examples]}
        else:
            batch |= self._padded([own[side] for side in range(len(kind.sides)) for own in each])
        batch["feedback"] = kind.name
        for name in (*kind.numbers, *kind.vectors):
            if name in first:  # not a tensor: DeepSpeed would round it to bfloat16
                values = [row[name] for row in examples]
                batch[name] = [list(map(float, x)) if name in kind.vectors else float(x) for x in values]
        if "counted" in first:
            batch["counted"] = torch.tensor([bool(row["counted"]) for row in examples])
        if "sample_ids" in first:
            samples: list[Sequence] = [
                (row["prompt_ids"], sample, None) for row in examples for sample in row["sample_ids"]
            ]
            batch |= {f"sample_{name}": value for name, value in self._padded(samples).items()}
        return batch

    def _padded(self, sequences: list[Sequence]) -> dict[str, Tensor]:
        """Prompt and response of each sequence, cut and filled up to one length."""
        ids = [[*prompt, *response][: self.max_length] for prompt, response, _ in sequences]
        counts = [
            [*[0] * len(prompt), *([1] * len(response) if mask is None else mask)][: self.max_length]
            for prompt, response, mask in sequences
        ]
        longest = max(map(len, ids))
        if self.pad_to_multiple_of is not None:
            longest = -(-longest // self.pad_to_multiple_of) * self.pad_to_multiple_of
        return {
            "input_ids": torch.tensor([row + [self.pad_token_id] * (longest - len(row)) for row in ids]),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]),
            "completion_mask": torch.tensor([row + [0] * (longest - len(row)) for row in counts]),
        }


def with_samples(batch: dict[str, Tensor], pad_token_id: int) -> dict[str, Tensor]:
    """``input_ids``, ``attention_mask`` and ``completion_mask`` of responses and samples in one batch, (R + B K, T)."""
    fill = {"input_ids": pad_token_id, "attention_mask": 0, "completion_mask": 0}
    joined = {}
    for name, value in fill.items():
        parts = [batch[name], batch[f"sample_{name}"]]
        longest = max(part.shape[1] for part in parts)
        joined[name] = torch.cat([pad(part, (0, longest - part.shape[1]), value=value) for part in parts])
    return joined
