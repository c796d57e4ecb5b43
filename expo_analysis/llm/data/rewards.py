"""Rewards r(x, y) of responses: known functions, so that the truth behind the preferences is known."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .journal import weights_digest
from .prompts import Prompt
from .tokens import tokenizer_digest

SCORED = ("response", "both")
"""What is scored: the response alone, or the prompt with the response after it."""


class RewardError(ValueError):
    """A reward that failed, or gave something else than one finite number for each response."""


@dataclass(frozen=True)
class Reward:
    """A reward, with a name that says all that its values depend on.

    Args:
        name: such as ``"vader 3.3.2 of the response"``: scores that were stored under one name are used again.
        function: takes a list of N prompts and a list of N responses, both in the same order, and returns N numbers.
    """

    name: str
    function: Callable[[list[Prompt], list[str]], Sequence[float]]

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[str], where: Sequence[tuple[int, int]] | None = None
    ) -> NDArray[np.float64]:
        """The rewards, shape (N,).

        Args:
            where: the rows of prompts and the numbers of responses, for messages.

        Raises:
            RewardError: naming the row and what is wrong.
        """
        rows = [(place, 0) for place in range(len(responses))] if where is None else list(where)
        try:
            found = self.function(list(prompts), list(responses))
        except Exception as error:
            span = f"{min(rows)[0]}" if len({row for row, _ in rows}) == 1 else f"{min(rows)[0]} to {max(rows)[0]}"
            raise RewardError(
                f"reward {self.name}: it failed on responses to prompts of rows {span}: {type(error).__name__}: {error}"
            ) from error
        try:
            values = np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError):
            raise RewardError(f"reward {self.name}: it must return a list of numbers, got {found!r:.80}") from None
        if values.shape != (len(responses),):
            raise RewardError(
                f"reward {self.name}: it must return one number for each of {len(responses)} responses, "
                f"got shape {values.shape}"
            )
        for (row, number), value, response in zip(rows, values, responses, strict=True):
            if not math.isfinite(value):
                raise RewardError(
                    f"reward {self.name}: row {row}, response {number}: it must be finite, got {value} "
                    f"for {response!r:.80}"
                )
        return values

    def try_out(self, prompts: Sequence[Prompt]) -> None:
        """Score two made-up responses, one of them empty, so that what is wrong is found before anything is sampled."""
        first = list(prompts[:1]) * 2
        self(first, ["It is good.", ""], [(0, 0), (0, 1)])


def vader(scored: str = "response") -> Reward:
    """The compound sentiment of VADER, in [-1, 1] (Hutto and Gilbert 2014).

    Raises:
        ValueError: if vaderSentiment is not installed, or ``scored`` is unknown.
    """
    _check_scored(scored)
    if importlib.util.find_spec("vaderSentiment") is None:
        raise ValueError("reward 'vader' needs the package vaderSentiment: pip install vaderSentiment")
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()

    def compound(prompts: list[Prompt], responses: list[str]) -> list[float]:
        texts = _texts(prompts, responses, scored)
        return [analyzer.polarity_scores(text)["compound"] for text in texts]

    version = importlib.metadata.version("vaderSentiment")
    return Reward(f"vader {version} of {_what(scored)}", compound)


def classifier(
    name: str, label: str | None = None, scored: str = "response", *, batch_size: int = 16, device: str | None = None
) -> Reward:
    """log p/(1 - p) of a label under a sequence classifier; the logit of one with a single output, a reward model.

    Texts longer than the classifier's limit lose their end. Conversations are put through its tokenizer's chat
    template where that has one and ``scored`` is ``"both"``.

    Args:
        name: a folder or a model of the Hub, for AutoModelForSequenceClassification.
        label: which of its labels; None for a classifier with one output.

    Raises:
        ValueError: naming the labels there are, where ``label`` is none of them.
        OSError: from transformers, for a name that is neither a folder nor a model of the Hub.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    _check_scored(scored)
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForSequenceClassification.from_pretrained(name, dtype="float32").eval()
    labels = [str(model.config.id2label[place]) for place in range(model.config.num_labels)]
    if len(labels) == 1 and label is not None:
        raise ValueError(f"label is not used by {name}, which has one output; got {label!r}")
    if len(labels) > 1 and label not in labels:
        raise ValueError(f"label must be one of {labels} of {name}, got {label!r}")
    if tokenizer.pad_token_id is None:
        batch_size = 1
    model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None) or 10**9)

    def score(prompts: list[Prompt], responses: list[str]) -> list[float]:
        chats = _chats(prompts, responses) if scored == "both" and tokenizer.chat_template else []
        texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
        special = len(texts) < len(prompts)
        texts = _texts(prompts, responses, scored) if special else texts
        found: list[float] = []
        for start in range(0, len(texts), batch_size):
            batch = tokenizer(
                texts[start : start + batch_size],
                truncation=True,
                max_length=limit,
                padding=batch_size > 1,
                add_special_tokens=special,
                return_tensors="pt",
            ).to(model.device)
            with torch.no_grad():
                logits = model(**batch).logits.float()
            found += (logits[:, 0] if label is None else _log_odds(logits, labels.index(label))).tolist()
        return found

    what = "logit" if label is None else f"log-odds of {label}"
    # a folder may have other weights tomorrow, whose scores are others
    version = f"{weights_digest(model)[:8]}-{tokenizer_digest(tokenizer)[:8]}"
    return Reward(f"{what} by {name} ({version}) on {_what(scored)}", score)


def _log_odds(logits: torch.Tensor, place: int) -> torch.Tensor:
    """log p/(1 - p) of one of the outputs, shape (N,)."""
    others = torch.cat([logits[:, :place], logits[:, place + 1 :]], dim=1)
    return logits[:, place] - others.logsumexp(dim=1)


def _chats(prompts: Sequence[Prompt], responses: Sequence[str]) -> list[list[dict[str, Any]]]:
    """The conversations that end with a response; a prompt of text is none."""
    pairs = zip(prompts, responses, strict=True)
    return [[*prompt, {"role": "assistant", "content": said}] for prompt, said in pairs if not isinstance(prompt, str)]


def _texts(prompts: Sequence[Prompt], responses: Sequence[str], scored: str) -> list[str]:
    if scored == "response":
        return list(responses)
    pairs = zip(prompts, responses, strict=True)
    return [
        prompt + response
        if isinstance(prompt, str)
        else "\n".join([*(message["content"] for message in prompt), response])
        for prompt, response in pairs
    ]


def _what(scored: str) -> str:
    return "the response" if scored == "response" else "prompt and response"


def _check_scored(scored: str) -> None:
    if scored not in SCORED:
        raise ValueError(f"scored must be one of {list(SCORED)}, got {scored!r}")
