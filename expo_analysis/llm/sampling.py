r"""Responses of a reference model to prompts: in batches, and in a file that a killed run goes on from.

Every batch has a random state of its own, made of the seed and the batch's number, so that a run which was interrupted
ends with the very responses of one that was not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from ..losses.base import check_number

Prompt = str | list[dict[str, str]]


@dataclass(frozen=True)
class SamplingSettings:
    """How responses are drawn.

    samples          responses for each prompt
    max_new_tokens   responses that have no end by then are cut
    temperature      1 draws from the model itself, which EXPO's estimators and known truths ask for
    batch_size       prompts in a batch, each with all of its responses
    seed             of the random numbers
    """

    samples: int = 4
    max_new_tokens: int = 64
    temperature: float = 1.0
    batch_size: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "max_new_tokens", "batch_size"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        check_number("temperature", self.temperature, 0.0)
        if type(self.seed) is not int or self.seed < 0:
            raise ValueError(f"seed must be a non-negative integer, got {self.seed!r}")


@dataclass(frozen=True)
class Responses:
    """K responses to a prompt.

    texts      what they say
    ids        their tokens, the one that ends them included where there is one
    finished   whether they ended by themselves, and were not cut
    logps      log pi_ref of the tokens, at temperature 1
    """

    prompt: Prompt
    texts: list[str]
    ids: list[list[int]]
    finished: list[bool]
    logps: list[float]


def prompt_tokens(tokenizer: Any, prompt: Prompt) -> list[int]:
    """The tokens after which a response begins."""
    if isinstance(prompt, str):
        return list(tokenizer(prompt)["input_ids"])
    rendered = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)
    return list(rendered["input_ids"])


@torch.no_grad()
def sample_batch(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], settings: SamplingSettings, number: int
) -> list[Responses]:
    """Responses to the prompts of the batch with this number."""
    tokens = [prompt_tokens(tokenizer, prompt) for prompt in prompts]
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    longest = max(map(len, tokens))
    device = model.device
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in tokens], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in tokens], device=device)
    ids, mask = (x.repeat_interleave(settings.samples, dim=0) for x in (ids, mask))
    torch.manual_seed(settings.seed * 1_000_003 + number)
    model.eval()
    ends = _end_tokens(model, tokenizer)
    own = model.generation_config
    model.generation_config = GenerationConfig(  # in place of the model's own, which may cut or tilt the distribution
        do_sample=True,
        temperature=settings.temperature,
        top_k=0,
        max_new_tokens=settings.max_new_tokens,
        pad_token_id=pad,
        eos_token_id=ends,
    )
    try:
        whole = model.generate(input_ids=ids, attention_mask=mask)
    finally:
        model.generation_config = own
    new = whole[:, longest:]
    is_end = torch.isin(new, torch.tensor(ends, device=device))
    finished = is_end.any(dim=1)
    lengths = torch.where(finished, is_end.long().argmax(dim=1) + 1, new.shape[1])
    present = torch.arange(new.shape[1], device=device) < lengths[:, None]
    logps = _log_probs(model, whole, torch.cat([mask, present.long()], dim=1), longest, present)
    found = []
    for place, prompt in enumerate(prompts):
        rows = range(place * settings.samples, (place + 1) * settings.samples)
        kept = [new[row, : lengths[row]].tolist() for row in rows]
        found.append(
            Responses(
                prompt=prompt,
                texts=[tokenizer.decode(row, skip_special_tokens=True) for row in kept],
                ids=kept,
                finished=[bool(finished[row]) for row in rows],
                logps=[float(logps[row]) for row in rows],
            )
        )
    return found


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    return [ends] if isinstance(ends, int) else list(ends)


def _log_probs(model: Any, ids: Tensor, mask: Tensor, start: int, present: Tensor) -> Tensor:
    """log pi of the tokens from ``start`` on, row by row, so that one row's logits are in memory at a time."""
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    sums = []
    for row in range(len(ids)):
        part = slice(row, row + 1)
        logits = model(input_ids=ids[part], attention_mask=mask[part], position_ids=positions[part]).logits
        logp = logits[0, start - 1 : -1].double().log_softmax(dim=-1)
        chosen = logp.gather(1, ids[row, start:, None])[:, 0]
        sums.append((chosen * present[row]).sum())
    return torch.stack(sums)


def sample_all(
    model_name: str,
    load: Callable[[], tuple[Any, Any]],
    prompts: Sequence[Prompt],
    settings: SamplingSettings,
    store: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Responses]:
    """Responses to all prompts, those that ``store`` has already taken from there.

    Args:
        model_name: goes into the store, so that responses of two models are never mixed.
        load: gives model and tokenizer; called only if something is left to sample.
        store: a JSON-lines file, a line of settings and then a line for each prompt, written batch by batch.
        progress: called with the number of prompts that are done.

    Raises:
        ValueError: if the store was made with other settings, another model or other prompts.
    """
    header = {"model": model_name, "settings": dataclasses.asdict(settings), "prompts": _fingerprint(prompts)}
    done = _read_store(store, header)
    done = done[: len(done) - len(done) % settings.batch_size] if len(done) < len(prompts) else done
    write_lines(store, [header, *(dataclasses.asdict(one) for one in done)])
    progress(len(done))
    if len(done) == len(prompts):
        return done
    model, tokenizer = load()
    with store.open("a", encoding="utf-8") as file:
        for start in range(len(done), len(prompts), settings.batch_size):
            batch = prompts[start : start + settings.batch_size]
            made = sample_batch(model, tokenizer, batch, settings, start // settings.batch_size)
            file.writelines(json.dumps(dataclasses.asdict(one), ensure_ascii=False) + "\n" for one in made)
            file.flush()
            done += made
            progress(len(done))
    return done


def _fingerprint(prompts: Sequence[Prompt]) -> str:
    return hashlib.sha256(json.dumps(list(prompts), ensure_ascii=False).encode()).hexdigest()[:16]


def _read_store(store: Path, header: dict[str, Any]) -> list[Responses]:
    if not store.exists():
        return []
    lines = store.read_text(encoding="utf-8").split("\n")[:-1]  # what comes after the last newline was cut off
    if not lines:
        return []
    found = _flat(json.loads(lines[0]))
    for name, value in _flat(header).items():
        if found.get(name) != value:
            raise ValueError(
                f"{store} has responses of another run ({name} is {found.get(name)!r} there and {value!r} here): "
                "delete it, or choose another output"
            )
    return [Responses(**json.loads(line)) for line in lines[1:]]


def _flat(header: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in header.items() if name != "settings"} | header["settings"]


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A JSON-lines file, which is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    os.replace(part, path)
