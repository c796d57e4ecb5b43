"""Batches of preference pairs, with samples of the reference beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from trl.trainer.dpo_trainer import DataCollatorForPreference


@dataclass
class PreferenceCollator(DataCollatorForPreference):
    """TRL's collator, and for examples that have them: ``rows``, their numbers (B,), and ``sample_*``.

    ``sample_input_ids``, ``sample_attention_mask`` and ``sample_completion_mask`` have shape (B K, T): the K reference
    samples of each pair, pair by pair.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        if "row_number" in examples[0]:
            batch["rows"] = torch.tensor([example["row_number"] for example in examples])
        for side, half in zip(("chosen", "rejected"), batch["completion_mask"].chunk(2), strict=True):
            if f"{side}_mask" in examples[0]:  # others' turns inside of a response do not count
                for row, example in zip(half, examples, strict=True):
                    start = len(example["prompt_ids"])
                    mask = torch.tensor(example[f"{side}_mask"])[: max(0, len(row) - start)]
                    row[start : start + len(mask)] *= mask
        if "sample_ids" in examples[0]:
            responses = [
                {"prompt_ids": example["prompt_ids"], "chosen_ids": sample, "rejected_ids": []}
                for example in examples
                for sample in example["sample_ids"]
            ]
            rows = super().torch_call(responses)
            for name in ("input_ids", "attention_mask", "completion_mask"):
                batch[f"sample_{name}"] = rows[name][: len(responses)]
        return batch


def with_samples(batch: dict[str, Tensor], pad_token_id: int) -> dict[str, Tensor]:
    """``input_ids``, ``attention_mask`` and ``completion_mask`` of pairs and samples, (2 B + B K, T), in one batch."""
    fill = {"input_ids": pad_token_id, "attention_mask": 0, "completion_mask": 0}
    joined = {}
    for name, value in fill.items():
        parts = [batch[name], batch[f"sample_{name}"]]
        longest = max(part.shape[1] for part in parts)
        pad = torch.nn.functional.pad
        joined[name] = torch.cat([pad(part, (0, longest - part.shape[1]), value=value) for part in parts])
    return joined
