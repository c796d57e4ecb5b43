"""Batches that several processes share: how many examples a step has, and which rows only fill up and do not count.

Every process gets as many rows. accelerate repeats rows of a data set at the end of a pass, and a stream is filled up
here; neither is counted twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import DataLoaderShard
from torch import Tensor
from torch.utils.data import IterableDataset
from transformers import EvalPrediction

from ..data import PreferenceData
from .links import Links

FILLER = -1
"""The row number of a row that does not count."""


class Filled(IterableDataset[dict[str, Any]]):
    """The rows of a stream, and then its last one again until their number is a multiple of ``size``."""

    def __init__(self, rows: Any, size: int) -> None:
        self.rows, self.size = rows, size

    def set_epoch(self, epoch: int) -> None:
        self.rows.set_epoch(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        row, count = None, 0
        for count, row in enumerate(self.rows, 1):  # noqa: B007 (both are used below)
            yield row | {"counted": True}
        if row is not None:
            for _ in range(-count % self.size):
                yield row | {"counted": False, "row_number": FILLER}


def fill(rows: Any, size: int, processes: int, workers: int) -> Any:
    """A stream for several processes, ``size`` rows for all of them at a time; the stream itself for one.

    Raises:
        ValueError: for several processes whose rows are read by further processes.
    """
    if processes == 1:
        return rows
    if workers:
        raise ValueError(f"dataloader_num_workers must be 0 for a stream in several processes, got {workers}")
    return Filled(rows, size * processes)


def filled(data: PreferenceData, size: int, args: Any) -> Any:
    """The rows of a data set, and those of a stream filled up as the settings ask for; see `fill`."""
    rows, workers = data.rows, args.dataloader_num_workers
    return fill(rows, size, args.world_size, workers) if isinstance(rows, IterableDataset) else rows


def real_predictions(compute_metrics: Callable[..., Any]) -> Callable[..., Any]:
    """A user's ``compute_metrics`` of the rows that count; transformers looks at its arguments (``compute_result``)."""

    @functools.wraps(compute_metrics)
    def of_those_that_count(prediction: EvalPrediction, **kwargs: Any) -> Any:
        values, rows = prediction.predictions, prediction.label_ids
        if isinstance(rows, list):  # of batches, which eval_do_concat_batches=False does not put together
            both = [_that_count(*batch) for batch in zip(values, rows, strict=True)]
            values, rows = [kept for kept, _ in both], [kept for _, kept in both]
        else:
            values, rows = _that_count(values, rows)
        return compute_metrics(EvalPrediction(predictions=values, label_ids=rows), **kwargs)

    return of_those_that_count


def _that_count(values: dict[str, Any], rows: Any) -> tuple[dict[str, Any], Any]:
    """Predictions and numbers of the rows that count."""
    counts = np.asarray(rows) != FILLER
    return {name: of_rows[counts] for name, of_rows in values.items()}, rows[counts]


def add_up(tensor: Tensor, accelerator: Any) -> Tensor:
    """The sum over all processes."""
    return accelerator.reduce(tensor, "sum") if accelerator.num_processes > 1 else tensor


def mark_repeated(batch: dict[str, Any], accelerator: Any, drop_last: bool) -> None:
    """Add ``counted`` to the last batch of a pass, where accelerate has repeated rows to give every process as many."""
    state, even = accelerator.gradient_state, accelerator.even_batches and not drop_last
    if accelerator.num_processes == 1 or "counted" in batch or not even or not state.end_of_dataloader:
        return
    examples = len(batch["rows"])
    new = _new_rows(state, examples * accelerator.num_processes)
    if new > 0:
        places = accelerator.process_index * examples + torch.arange(examples)
        batch["counted"] = (places < new).to(batch["input_ids"].device)


def _new_rows(state: Any, size: int) -> int:
    """How many rows of all processes' last batches, of ``size`` rows together, are no repeated ones; 0 for all.

    accelerate's own number is that of one process's batches in the pass in which a training is resumed.
    """
    if isinstance(state.active_dataloader, DataLoaderShard):
        return len(state.active_dataloader.dataset) % size
    return state.remainder


def tokens_in(batch: dict[str, Any]) -> int:
    """How many tokens a batch's responses have, prompts included, without those that only fill up."""
    mask: Tensor = batch["attention_mask"]
    if "counted" not in batch:
        return int(mask.sum())
    owner = Links.of_batch(batch).owner.to(mask.device)
    return int(mask[batch["counted"].to(mask.device)[owner]].sum())


@dataclass(frozen=True)
class StepTotals:
    """How many examples, and tokens of chosen responses, a step has in all its micro-batches and processes.

    ``seen`` are the tokens of all responses, prompts included.
    """

    pairs: float
    tokens: float
    seen: float = 0.0

    @classmethod
    def of(
        cls, batches: list[dict[str, Any]], accelerator: Any, device: torch.device, links: Callable[[Any], Links]
    ) -> StepTotals:
        """Those of a step; ``links`` gives the links of a batch."""
        totals = torch.zeros(3, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        for batch in batches:
            lengths = batch["completion_mask"][:, 1:].sum(dim=1)
            own = links(batch).to(lengths.device)
            if "counted" in batch:
                own = own.only(batch["counted"].to(lengths.device).nonzero()[:, 0])
            tokens = (own.chosen.to(totals.dtype) * lengths[own.ends[0]]).sum()
            totals += tokens.new_tensor([own.examples, tokens.item(), tokens_in(batch)]).to(device)
        return cls(*add_up(totals, accelerator).tolist())
