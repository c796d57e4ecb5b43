"""log pi_ref of a whole data set, computed before training and kept in a cache.

The key of a cached file is everything its content depends on: the tokens, the reference's weights, how it is computed,
and the versions of what computes it. A key that lacks one of these would give another run's numbers without a word; the
check before the first step (`engine`) would notice that too.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, tqdm
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader

from ..data.feedback import Feedback
from .identity import fingerprint, weights_fingerprint
from .links import Links
from .reference import COPY, FIRST_ADAPTER, prepare

LIBRARIES = ("expo-analysis", "torch", "transformers", "peft")


def cache_folder() -> Path:
    """Where log-probabilities are kept: beside what `datasets` keeps."""
    import datasets

    return Path(datasets.config.HF_DATASETS_CACHE) / "expo_analysis"


@cache
def _code() -> str:
    """A digest of this room, which computes what is stored."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def cache_key(**parts: Any) -> str:
    """The name of a cached file."""
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return fingerprint(parts | {"versions": versions, "code": _code()})


def with_ref_logps(
    dataset: Dataset,
    feedback: Feedback,
    key: str,
    batches: Callable[[], Iterable[dict[str, Any]]],
    logps: Callable[[dict[str, Any]], Tensor],
    accelerator: Any,
) -> Dataset:
    """The data set with `Feedback.ref_columns`, from the cache or computed now.

    Args:
        key: see `cache_key`; the main process's counts.
        batches: gives the batches of this process, in the data set's order.
        logps: gives log pi_ref of a batch's responses, (R,), summed over tokens.
        accelerator: gathers what the processes found, without rows that only fill up batches.
    """
    shared = [key]
    broadcast_object_list(shared, from_process=0)
    path = cache_folder() / f"{shared[0]}.npy"
    known = [path.is_file()]
    broadcast_object_list(known, from_process=0)
    sizes = [len(row) for row in dataset[feedback.token_columns[1]]] if feedback.listed else []
    width = max(sizes, default=len(feedback.sides))
    if not known[0]:
        tables = (_table(batch, logps(batch), width) for batch in batches())
        found = [accelerator.gather_for_metrics(table).cpu() for table in tables]
        if accelerator.is_main_process:
            _write(path, torch.cat(found).double().numpy())
        accelerator.wait_for_everyone()
    values = np.load(path)
    if values.shape != (len(dataset), width):
        raise ValueError(f"{path} has {values.shape[0]} rows, and the data set {len(dataset)}: remove the file")
    kept = dataset.remove_columns([name for name in feedback.ref_columns if name in dataset.column_names])
    if feedback.listed:
        own = [row[:size].tolist() for row, size in zip(values, sizes, strict=True)]
        return kept.add_column(feedback.ref_columns[0], own)
    for place, name in enumerate(feedback.ref_columns):
        kept = kept.add_column(name, values[:, place].tolist())
    return kept


def _table(batch: dict[str, Any], logps: Tensor, width: int) -> Tensor:
    """Numbers of a batch's responses, (B, width), each example's own in a row; lists may be shorter."""
    parts = list(Links.of_batch(batch).by_side(logps).values())
    table = parts[0] if parts[0].ndim == 2 else torch.stack(parts, dim=1)
    return torch.nn.functional.pad(table, (0, width - table.shape[1])).contiguous()


def _write(path: Path, values: np.ndarray) -> None:
    """All of the file or nothing, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, values)
    partial.rename(path)


def precompute(trainer: Any, data: Any, size: int) -> Dataset:
    """The rows of `PreferenceData` with log pi_ref, under the reference of a `PreferenceTrainer`.

    Args:
        size: how many pairs a batch has where ``precompute_ref_batch_size`` is not set.

    Raises:
        ValueError: for a stream, and after training where the reference was the model before it.
    """
    if not isinstance(data.rows, Dataset):
        raise ValueError(f"precompute_ref_log_probs is not used with a stream, and {data.name} is one")
    args, engine, accelerator = trainer.args, trainer.engine, trainer.accelerator
    size = args.precompute_ref_batch_size or size
    reference = engine.reference
    if reference.kind == COPY and reference.model is None and trainer.state.global_step:
        raise ValueError(
            f"{data.name} has no log-probabilities of the reference, which was the model before training: give it when "
            "the trainer is made, pass ref_model, or leave precompute_ref_log_probs out"
        )
    weights = trainer.identity.weights if reference.derived else weights_fingerprint(reference.model)
    key = cache_key(
        weights=weights,
        kind=reference.kind,
        adapter=trainer.identity.adapter if reference.kind == FIRST_ADAPTER else None,
        data=data.fingerprint,
        max_length=args.max_length,
        ld_alpha=engine.rules.ld_alpha,
        precision=[accelerator.mixed_precision, str(trainer.model.dtype), torch.get_float32_matmul_precision()],
        attention=getattr(trainer.model.config, "_attn_implementation", None),
        pad=[args.pad_to_multiple_of, size],
        device=accelerator.device.type,
        config=trainer.model.config.to_json_string(use_diff=False),
    )
    loader = DataLoader(data.rows, batch_size=size, collate_fn=trainer.data_collator, shuffle=False)

    def batches() -> Iterable[dict[str, Any]]:
        progress = tqdm(accelerator.prepare(loader), desc=f"log pi_ref of {data.name}", disable=args.disable_tqdm)
        yield from progress

    model = trainer.model
    if reference.model is None and trainer.is_deepspeed_enabled:
        model = prepare(model, accelerator)  # whole, or gathered part by part

    def logps(batch: dict[str, Any]) -> Tensor:
        return engine.live_ref_logps(model, batch)

    return with_ref_logps(data.rows, data.feedback, key, batches, logps, accelerator)
