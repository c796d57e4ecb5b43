"""Which checkpoint to go on from: the newest that is complete.

A process can be killed while it saves. transformers writes ``trainer_state.json`` last, and then takes the folder with
the highest number, whatever it holds; where the optimiser's state is missing it silently starts optimiser and schedule
afresh. So here a folder counts only if all it needs is there, and is whole.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

SENTINEL = "checkpoint-is-incomplete.txt"
"""What transformers leaves in a folder while it saves after SIGTERM."""

NEEDED = {
    "weights": ("*.safetensors", "pytorch_model*.bin", "pytorch_model_fsdp*", "global_step*"),
    "the optimiser's state": ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*"),
    "the schedule's state": ("scheduler.pt",),
    "the state of random numbers": ("rng_state*.pth",),
}
"""What training goes on from, and the names it goes by: plain, FSDP, DeepSpeed."""


def whats_missing(folder: Path) -> str | None:
    """What a checkpoint lacks, in words; None if it is complete."""
    if (folder / SENTINEL).exists():
        return "it was being written when the process ended"
    try:
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        if not isinstance(state.get("global_step"), int):
            return "its trainer_state.json has no global_step"
    except (OSError, ValueError, AttributeError):
        return "its trainer_state.json is missing or cut off"
    for what, patterns in NEEDED.items():
        found = [path for pattern in patterns for path in folder.glob(pattern)]
        if not found:
            return f"{what} are missing" if what == "weights" else f"{what} is missing"
        for path in found:
            if not _is_whole(path):
                return f"{path.name} is cut off"
    for index in folder.glob("*.index.json"):
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        lost = sorted(shard for shard in shards if not (folder / shard).exists())
        if lost:
            return f"{lost[0]} is missing"
    return None


def _is_whole(path: Path) -> bool:
    if path.is_dir():
        return any(path.iterdir())
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt"):
                return True
        except (SafetensorError, OSError):
            return False
    return zipfile.is_zipfile(path)  # torch.save writes a zip file, whose directory is at its end


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of an output folder, newest first, complete or not."""
    numbered = [(int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := _number(path))]
    return [path for _, path in sorted(numbered, reverse=True)]


def _number(path: Path) -> re.Match[str] | None:
    return re.fullmatch(r"checkpoint-(\d+)", path.name) if path.is_dir() else None


def latest_checkpoint(folder: str | Path) -> tuple[Path | None, list[str]]:
    """The newest complete checkpoint of an output folder, or None, and what is wrong with those that are newer."""
    passed: list[str] = []
    for path in checkpoints(Path(folder)):
        missing = whats_missing(path)
        if missing is None:
            return path, passed
        passed.append(f"{path.name}: {missing}")
    return None, passed
