"""What was sampled and scored, kept in a file batch by batch: a run that was killed goes on where it was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from .prompts import Prompts
from .sampling import Draw, Sampler, Sampling
from .tokens import tokenizer_digest

Row = tuple[int, int]
"""The number of a prompt, and of a response to it."""

OnProgress = Callable[[int, int, int], None]
"""Called with how many responses there are, how many there will be, and how many tokens this run has sampled."""


class JournalError(ValueError):
    """A journal that is damaged, or was written with other settings."""


class Journal:
    """What was sampled and scored, in a file that is only ever appended to, one batch a line.

    The first line has what the responses depend on. A last line that is not whole, which a killed process may leave,
    is cut off; all lines before it count.

    Raises:
        JournalError: if the file was written with another ``origin``, naming the differences, or a line that ends is
            damaged.
    """

    def __init__(self, path: Path, origin: dict[str, Any]) -> None:
        self.path = path
        self.draws: dict[Row, Draw] = {}
        self.scores: dict[str, dict[Row, float]] = {}
        if not path.exists() or not self._read(origin):
            path.write_bytes(b"")
            self._append({"origin": origin})

    def _read(self, origin: dict[str, Any]) -> bool:
        """Take the lines in; whether there were any."""
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = json.loads(line)
                if number == 1:
                    _check_origin(self.path, record["origin"], origin)
                elif "sampled" in record:
                    for prompt, response, ids, logp, finished in record["sampled"]:
                        self.draws[prompt, response] = Draw(ids, logp, finished)
                else:
                    known = self.scores.setdefault(record["reward"], {})
                    known |= {(prompt, response): value for prompt, response, value in record["scored"]}
            except JournalError:
                raise
            except (KeyError, TypeError, ValueError):
                raise JournalError(f"{self.path}: line {number} is damaged: mend it, or remove the file") from None
        return bool(whole)

    def add_draws(self, rows: Sequence[Row], draws: Sequence[Draw]) -> None:
        self.draws.update(zip(rows, draws, strict=True))
        self._append({"sampled": [[*row, d.ids, d.logp, d.finished] for row, d in zip(rows, draws, strict=True)]})

    def add_scores(self, reward: str, rows: Sequence[Row], values: Sequence[float]) -> None:
        self.scores.setdefault(reward, {}).update(zip(rows, values, strict=True))
        self._append(
            {"reward": reward, "scored": [[*row, value] for row, value in zip(rows, values, strict=True)]},
        )

    def _append(self, record: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass
class Work:
    """What a run has sampled, and the time that this took."""

    responses: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "responses_sampled": self.responses,
            "tokens_sampled": self.tokens,
            "sampling_seconds": round(self.seconds, 2),
            "tokens_per_second": round(self.tokens / self.seconds, 1) if self.seconds else None,
        }


def sample_missing(
    journal: Journal,
    model: Any,
    tokens_of: Mapping[int, Sequence[int]],
    rows: Sequence[Row],
    sampling: Sampling,
    ends: Sequence[int],
    batch_size: int,
    on_batch: Callable[[list[Row]], None] = lambda rows: None,
    on_progress: OnProgress = lambda done, total, tokens: None,
) -> Work:
    """Draw the responses that the journal does not have.

    Args:
        tokens_of: each prompt's tokens.
        rows: all responses that are wanted.
        on_batch: called with the rows of every batch, of those in the journal first, once it has their draws.
    """
    known = [row for row in rows if row in journal.draws]
    # prompts of similar length go together, so that little of a batch is padding
    missing = sorted((row for row in rows if row not in journal.draws), key=lambda row: (len(tokens_of[row[0]]), row))
    work, draw = Work(), Sampler(model, sampling, ends)
    on_progress(len(known), len(rows), 0)
    for batch in _batches(known, batch_size):
        on_batch(batch)
    for batch in _batches(missing, batch_size):
        start = time.perf_counter()
        draws = draw([tokens_of[prompt] for prompt, _ in batch], batch)
        work.seconds += time.perf_counter() - start
        journal.add_draws(batch, draws)
        work.responses += len(batch)
        work.tokens += sum(len(one.ids) for one in draws)
        on_progress(len(known) + work.responses, len(rows), work.tokens)
        on_batch(batch)
    return work


def origin_of(
    model: Any,
    tokenizer: Any,
    name: str,
    prompts: Prompts,
    prompt_ids: Sequence[Sequence[int]],
    ends: Sequence[int],
    sampling: Sampling,
) -> dict[str, Any]:
    """All that responses, and the scores of their texts, depend on, besides their numbers and the reward's name.

    A response is kept under the number of its prompt's row, and its score was given to texts: numbers, texts and the
    tokenizer belong to it as much as the prompts' tokens.
    """
    asked = [list(part) for part in zip(prompts.rows, prompts.prompts, map(list, prompt_ids), strict=True)]
    return {
        "model": name,
        "weights": weights_digest(model),
        "config": _digest({key: value for key, value in model.config.to_dict().items() if key not in NO_MATTER}),
        "dtype": str(model.dtype).removeprefix("torch."),
        "tokenizer": tokenizer_digest(tokenizer),
        "prompts": _digest(asked),
        "end_tokens": list(ends),
        **asdict(sampling),
    }


NO_MATTER = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
"""What a model's config says that changes no logits, or is said elsewhere."""


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def weights_digest(model: Any) -> str:
    """A digest of all weights and buffers, with their names and shapes; about a second for each GB."""
    digest = sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _check_origin(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    different = [
        f"{name} {found.get(name)!r} instead of {wanted.get(name)!r}"
        for name in {**wanted, **found}
        if found.get(name) != wanted.get(name)
    ]
    if different:
        raise JournalError(
            f"{path}: it has responses that were sampled otherwise: {', '.join(different)}. Choose another output, or "
            "start afresh with --restart, which removes them"
        )


def _batches(rows: list[Row], size: int) -> Iterator[list[Row]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
