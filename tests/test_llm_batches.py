"""Batches that several processes share, each process played in turn: what counts, and how often."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, SequentialSampler

import expo_analysis as ea

from . import llm_models as tiny
from .llm_trainers import make

from accelerate import skip_first_batches  # isort: skip
from accelerate.data_loader import BatchSamplerShard, DataLoaderShard  # isort: skip
from datasets import Dataset  # isort: skip
from transformers import EvalPrediction  # isort: skip
from expo_analysis.llm.training import batches, metrics  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.training.collator import PreferenceCollator  # isort: skip
from expo_analysis.llm.training.links import Links  # isort: skip


class Rows:
    """A stream of rows by number."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        return ({"row_number": number} for number in range(self.count))


@pytest.mark.parametrize(("count", "filled"), [(0, 0), (1, 6), (5, 6), (6, 6), (7, 12)])
def test_a_stream_is_filled_up_to_whole_batches_of_all_processes(count: int, filled: int) -> None:
    """3 rows of each of 2 processes at a time; what fills up repeats the last row and does not count."""
    rows = Rows(count)
    found = batches.fill(rows, 3, 2, 0)
    seen = list(found)
    assert len(seen) == filled and [row["row_number"] for row in seen if row["counted"]] == list(range(count))
    assert all(row["row_number"] == batches.FILLER for row in seen[count:]) and batches.FILLER < 0
    found.set_epoch(4)
    assert rows.epoch == 4


def test_a_stream_of_one_process_is_left_alone_and_readers_of_several_are_refused() -> None:
    rows = Rows(3)
    assert batches.fill(rows, 2, 1, 5) is rows
    with pytest.raises(ValueError, match="dataloader_num_workers must be 0 for a stream in several processes, got 1"):
        batches.fill(rows, 2, 2, 1)


def accelerator(processes: int = 2, index: int = 0, remainder: int = 0, last: bool = True, even: bool = True) -> Any:
    state = SimpleNamespace(end_of_dataloader=last, remainder=remainder, active_dataloader=None)
    return SimpleNamespace(
        num_processes=processes, process_index=index, gradient_state=state, even_batches=even,
        reduce=lambda tensor, how: tensor * processes if how == "sum" else None,
    )  # fmt: skip


def batch(kind: str = "pairs", rows: int = 3) -> dict[str, Any]:
    """What the collator makes of rows with different lengths."""
    examples = []
    for row in range(rows):
        prompt = {"prompt_ids": [3] * (1 + row), "row_number": row}
        sides = {"pairs": ("chosen", "rejected"), "labels": ("completion",)}[kind]
        responses = {f"{side}_ids": [4 + place] * (2 + row + place) for place, side in enumerate(sides)}
        examples.append(prompt | responses | ({"label": float(row != 1)} if kind == "labels" else {}))
    made: dict[str, Any] = PreferenceCollator(0)(examples)
    return made


@pytest.mark.parametrize("remainder", range(1, 6))
def test_each_row_of_a_last_batch_counts_in_one_process(remainder: int) -> None:
    """Two processes with 3 rows each, of which accelerate says how many are new, the others being repeated."""
    counted = []
    for index in range(2):
        own = batch()
        batches.mark_repeated(own, accelerator(index=index, remainder=remainder), False)
        counted += own["counted"].tolist()
    assert counted == [place < remainder for place in range(6)]


@pytest.mark.parametrize(
    ("given", "drop_last"),
    [
        ({"processes": 1, "remainder": 1}, False),
        ({"remainder": 0}, False),  # none was repeated
        ({"remainder": -1}, False),  # not known
        ({"remainder": 1, "last": False}, False),
        ({"remainder": 1, "even": False}, False),
        ({"remainder": 1}, True),
    ],
)
def test_all_rows_count_where_none_was_repeated(given: dict[str, Any], drop_last: bool) -> None:
    own = batch()
    batches.mark_repeated(own, accelerator(**given), drop_last)
    assert "counted" not in own


@pytest.mark.parametrize("skipped", [0, 1])
@pytest.mark.parametrize("rows", range(1, 14))
def test_each_row_of_a_pass_counts_once_also_where_it_is_resumed(rows: int, skipped: int) -> None:
    """accelerate's own loaders of two processes with 3 rows each; after the skip their remainder is another one."""
    counted: list[int] = []
    for index in range(2):
        order = BatchSampler(SequentialSampler(range(rows)), 3, drop_last=False)
        shard = BatchSamplerShard(order, num_processes=2, process_index=index)
        loader: Any = DataLoaderShard(
            Dataset.from_dict({"row": [*range(rows)]}).with_format("torch"), batch_sampler=shard
        )
        for own in skip_first_batches(loader, skipped) if skipped else loader:
            state = accelerator(index=index, last=loader.gradient_state.end_of_dataloader).gradient_state
            state.active_dataloader = loader.gradient_state.active_dataloader
            state.remainder = loader.gradient_state.remainder
            both = SimpleNamespace(num_processes=2, process_index=index, gradient_state=state, even_batches=True)
            marked = {"rows": own["row"], "input_ids": own["row"]}
            batches.mark_repeated(marked, both, False)
            counted += own["row"][marked.get("counted", torch.ones(3, dtype=torch.bool))].tolist()
    assert sorted(counted) == list(range(6 * skipped, rows))


def test_what_a_stream_says_of_its_rows_stays() -> None:
    own = batch() | {"counted": torch.tensor([True, True, False])}
    batches.mark_repeated(own, accelerator(remainder=1), False)
    assert own["counted"].tolist() == [True, True, False]


@pytest.mark.parametrize("kind", ["pairs", "labels"])
@pytest.mark.parametrize("counts", [None, [True, False, True], [False, False, False]])
def test_totals_are_of_the_rows_that_count_in_all_processes(kind: str, counts: list[bool] | None) -> None:
    """By hand: row k has a prompt of 1 + k tokens, a chosen response of 2 + k and a rejected one of 3 + k; of labelled
    rows the second is disliked, so that its tokens are none of a chosen response."""
    own = batch(kind) | ({} if counts is None else {"counted": torch.tensor(counts)})
    kept = [row for row in range(3) if counts is None or counts[row]]
    liked = [row for row in kept if kind == "pairs" or row != 1]
    totals = batches.StepTotals.of([own, own], accelerator(), torch.device("cpu"), Links.of_batch)
    assert (totals.pairs, totals.tokens) == (2 * 2 * len(kept), 2 * 2 * sum(2 + row for row in liked))
    alone = batches.StepTotals.of([own], accelerator(1), torch.device("cpu"), Links.of_batch)
    assert (alone.pairs, alone.tokens) == (len(kept), sum(2 + row for row in liked))
    responses = (lambda row: 2 * (1 + row) + 5 + 2 * row) if kind == "pairs" else (lambda row: 3 + 2 * row)
    assert batches.tokens_in(own) == alone.seen == sum(map(responses, kept)) == totals.seen / 4


def test_metrics_are_computed_of_rows_that_count() -> None:
    """A compute_metrics of one's own never sees what only filled up, and gets what else it is called with."""
    given = EvalPrediction(
        predictions={"a": np.arange(4.0)}, label_ids=np.array([7, batches.FILLER, 0, batches.FILLER])
    )

    def metrics(prediction: EvalPrediction, scale: float) -> dict[str, Any]:
        return {"a": (scale * prediction.predictions["a"]).tolist(), "rows": prediction.label_ids.tolist()}

    assert batches.real_predictions(metrics)(given, scale=2.0) == {"a": [0.0, 4.0], "rows": [7, 0]}


def test_metrics_of_batches_that_are_not_put_together(tmp_path: Path) -> None:
    """As `eval_do_concat_batches` asks for: a list of batches, the last one smaller, without rows that fill up."""
    seen: list[EvalPrediction] = []

    def metrics(prediction: EvalPrediction) -> dict[str, float]:
        seen.append(prediction)
        return {"rows": sum(len(rows) for rows in prediction.label_ids)}

    given = {"eval_dataset": tiny.pairs(6, seed=3), "per_device_eval_batch_size": 4, "compute_metrics": metrics}
    found = make(ea.DPO(0.1), tmp_path, eval_do_concat_batches=False, **given).evaluate()
    assert found["eval_rows"] == 6 and [rows.tolist() for rows in seen[0].label_ids] == [[0, 1, 2, 3], [4, 5]]
    together = make(ea.DPO(0.1), tmp_path, **given | {"compute_metrics": lambda p: seen.append(p) or {}})
    together.evaluate()
    for name, values in seen[1].predictions.items():
        assert np.concatenate([batch[name] for batch in seen[0].predictions]).tolist() == values.tolist()
    filling = EvalPrediction(predictions=[{"a": np.arange(2.0)}], label_ids=[np.array([5, batches.FILLER])])
    assert batches.real_predictions(metrics)(filling) == {"rows": 1}
    assert seen[2].predictions[0]["a"].tolist() == [0.0]


def test_numbers_of_tokens_are_counted_exactly() -> None:
    """float32 would lose one of 2^24 + 1 tokens, and thirds of a weight all but eight digits."""
    many = 2**24 + 1
    own = {"input_ids": torch.zeros(2, 2), "completion_mask": torch.tensor([[0, many], [0, 1]])}
    own["attention_mask"] = own["completion_mask"]
    totals = batches.StepTotals.of([own], accelerator(1), torch.device("cpu"), Links.of_batch)
    assert (totals.tokens, totals.seen) == (many, many + 1)
    links = Links.of_lists([[0, 1, 2]], [3]).to(torch.device("cpu"))
    assert links.share.tolist() == [1 / 3] * 3
    sums = metrics.Sums()
    sums.add({"loss/preference": (torch.tensor(many), torch.tensor(1))})
    assert sums.means(lambda tensor: tensor, 0.0, 0.0)["loss"] == many
