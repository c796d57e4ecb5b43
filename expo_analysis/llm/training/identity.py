"""What a training is of: the identity that a checkpoint, or a cache of reference log-probabilities, belongs to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor
from transformers.integrations import is_deepspeed_zero3_enabled

IDENTITY_FILE = "preference_training.json"
"""What a checkpoint says about the training that it belongs to."""

WORDS = {
    "objective": "objective",
    "aggregation": "aggregation",
    "estimator": "estimator of the regulariser",
    "weighting": "weighting of tokens and pairs",
    "data": "training data, tokenizer or max_length",
    "model": "initial model",
    "adapter": "adapter",
    "reference": "reference",
}
"""The parts of an identity, as messages call them."""


def fingerprint(value: Any) -> str:
    """A hash of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def weights_fingerprint(model: Any) -> str:
    """A hash of every bit of a model's parameters and persistent buffers; ZeRO-3 needs all processes for it."""
    digest = xxhash.xxh3_128()
    persistent = set(model.state_dict())
    buffers = [(name, buffer) for name, buffer in model.named_buffers() if name in persistent]
    for name, tensor in [*model.named_parameters(), *buffers]:
        whole = _whole(tensor).detach().contiguous()
        digest.update(f"{name} {whole.dtype} {tuple(whole.shape)}".encode())
        flat = whole.flatten().view(torch.uint8) if whole.ndim else whole.reshape(1).view(torch.uint8)
        for start in range(0, flat.numel(), 1 << 28):  # a part at a time: it may have to come from another device
            digest.update(flat[start : start + (1 << 28)].cpu().numpy())
    return digest.hexdigest()


def _whole(tensor: Tensor) -> Tensor:
    if is_deepspeed_zero3_enabled() and hasattr(tensor, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([tensor]):
            return tensor.detach().clone()
    return tensor


def write_identity(folder: str | Path, identity: dict[str, Any]) -> None:
    Path(folder, IDENTITY_FILE).write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")


def check_identity(folder: str | Path, identity: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says about itself; empty where it says nothing.

    Raises:
        ValueError: where it belongs to another training, naming what differs.
    """
    path = Path(folder, IDENTITY_FILE)
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    differing = [name for name in WORDS if name in found and name in identity and found[name] != identity[name]]
    if differing:
        shown = "; ".join(
            f"its {WORDS[name]} is {found[name]}, and here it is {identity[name]}"
            if len(str(found[name])) < 100 and name not in ("data", "model", "adapter")
            else f"its {WORDS[name]} is another one"
            for name in differing
        )
        raise ValueError(
            f"checkpoint {str(folder)!r} belongs to another training: {shown}. Give a fresh output_dir, or the settings "
            "it was made with"
        )
    return found
