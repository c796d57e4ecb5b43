r"""Responses drawn from a language model, with their log-probabilities, and log-probabilities of given responses.

**What is drawn.** A response y = (y_1, ..., y_T) ends with an end token, or after ``max_new_tokens`` tokens without
one. Each token is drawn from pi(. | x, y_<t), the softmax of the model's logits: at temperature 1 without truncation
responses are samples of pi itself, which is what EXPO's `own_responses` estimator asks of them. Nothing of the model's
generation_config has a say but its end tokens: not its temperature, nor transformers' own default of top_k = 50.

**Random numbers.** Token t of response k to prompt x is the inverse of the cumulative distribution at a uniform number
that depends on (seed, x, k, t) and on nothing else: neither on the batch, nor on how many responses or prompts follow.
The logits themselves depend on the batch by their last digits (about 1e-6 in float32), so that another batch size
changes about one token in a million, and everything in that response after it.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList

from ...losses.base import check_whole
from .inversion import InverseTransform, NotFinite, invert, nucleus
from .logps import Compared, all_logits, compare, embeddings_off_by, of_products, response_logps, without_dropout

__all__ = ["CHOICES", "LABELS", "RESPONSES", "Draw", "NotItself", "Sampler", "Sampling", "context_length", "draw"]
__all__ += ["Compared", "InverseTransform", "NotFinite", "compare", "invert", "nucleus", "response_logps"]
__all__ += ["end_tokens", "rng", "without_dropout"]

logger = logging.getLogger("expo_analysis.llm")

RESPONSES, LABELS, CHOICES = 0, 1, 2
"""What a seed's random numbers are for; each use has its own."""
CLOSE = 1e-3
"""By how many nats for each root of a response's tokens its log-probability may differ, beside rounding."""
ROUNDINGS = 32
"""By how many times what one rounding of each embedding moves it, where a network amplifies that."""


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn.

    Args:
        max_new_tokens: after so many tokens a response is cut.
        temperature: the logits are divided by it; 1 draws from the model itself.
        top_p: in (0, 1]: draw from the fewest tokens that have this probability together; 1 draws from all.
        seed: of all random numbers.

    Raises:
        ValueError: naming the argument and what is accepted.
    """

    max_new_tokens: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("max_new_tokens", self.max_new_tokens, 1)
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be a positive finite number, got {self.temperature!r}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p!r}")
        check_whole("seed", self.seed, 0)

    @property
    def from_model_itself(self) -> bool:
        """Whether what is drawn are samples of pi, and not of a sharpened or truncated version of it."""
        return self.temperature == 1 and self.top_p == 1


@dataclass(frozen=True)
class Draw:
    """A response as tokens: with its end token, if it was not cut, and log pi(y | x) at temperature 1, in nats."""

    ids: list[int]
    logp: float
    finished: bool


def rng(seed: int, *key: int) -> np.random.Generator:
    """Random numbers that depend on the seed and on what they are for."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a response: those of the model's generation_config, and the tokenizer's."""
    config = getattr(model, "generation_config", None)
    found = getattr(config, "eos_token_id", None)
    ends = set(found) if isinstance(found, list | tuple) else {found}
    return sorted(token for token in ends | {tokenizer.eos_token_id} if token is not None)


def context_length(model: Any) -> int | None:
    """The most tokens of prompt and response together, where the model's config knows a limit."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def draw(
    model: Any,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[tuple[int, int]],
    settings: Sampling,
    ends: Sequence[int],
) -> list[Draw]:
    """A response to each prompt, in one batch; see `Sampler`, which draws several.

    Args:
        model: a causal language model of transformers.
        prompts: token ids, a list for each response that is to be drawn.
        rows: for each of them the number of its prompt and of the response, of which its random numbers are made.
        ends: the tokens that end a response.
    """
    return Sampler(model, settings, ends)(prompts, rows)


class Sampler:
    """Draws responses, batch by batch, and sees that they are the model's.

    `generate` pads prompts on the left and keeps states of earlier tokens, which not every family survives: its
    positions, or its states, are then others than in a forward pass over the same tokens, and so is its distribution.
    So what is drawn is compared with `response_logps`: of the first batch, and of every one that pads more, or whose
    responses are longer, than twice what was compared before. Where it differs, this batch and later ones are drawn
    another way, of `WAYS`: with prompts of one length together; then, slowly, by a whole forward pass for each token.

    Args:
        model, settings, ends: as in `draw`.

    Raises:
        NotFinite: for a model without a distribution of the next token.
        NotItself: for one whose log-probabilities differ in every way.
    """

    def __init__(self, model: Any, settings: Sampling, ends: Sequence[int]) -> None:
        self.model, self.settings, self.ends = model, settings, list(ends)
        self.way, self._compared = 0, (-1, -1)

    def __call__(self, prompts: Sequence[Sequence[int]], rows: Sequence[tuple[int, int]]) -> list[Draw]:
        """A response to each prompt; arguments as in `draw`."""
        while True:
            sampler = InverseTransform(self._uniforms(rows), self.settings.temperature, self.settings.top_p)
            last = self.way == len(WAYS) - 1
            with torch.no_grad(), without_dropout(self.model):
                try:
                    drawn = WAYS[self.way](self.model, prompts, sampler, self.settings.max_new_tokens, self.ends)
                    gap = self._gap(prompts, drawn, sampler.largest)
                except OF_A_WAY as error:  # padding and states alone can be its reason
                    if last or isinstance(error, torch.OutOfMemoryError):
                        raise
                    gap = math.inf
            if gap <= 0:
                return drawn
            if last:
                raise NotItself(
                    f"model {_name(self.model)} cannot be sampled from: log-probabilities of what it draws are not "
                    f"those that it gives the same tokens, and differ by {gap:.2g} nats more than rounding does"
                )
            self.way, self._compared = self.way + 1, (-1, -1)
            logger.warning("%s draws other tokens than its own %s", _name(self.model), REASONS[self.way])

    def _uniforms(self, rows: Sequence[tuple[int, int]]) -> Tensor:
        size = self.settings.max_new_tokens
        found = np.stack([rng(self.settings.seed, RESPONSES, *row).random(size) for row in rows])
        return torch.tensor(found, device=self.model.device)

    def _gap(self, prompts: Sequence[Sequence[int]], drawn: Sequence[Draw], largest: float) -> float:
        """By how much more than rounding log-probabilities differ from those of forward passes; 0 if not compared."""
        sizes = [len(prompt) for prompt in prompts]
        reach = (max(sizes) - min(sizes), max(len(one.ids) for one in drawn))
        if all(now <= 2 * before for now, before in zip(reach, self._compared, strict=True)):
            return 0.0
        self._compared = (max(reach[0], self._compared[0]), max(reach[1], self._compared[1]))
        order = sorted(range(len(drawn)), key=lambda place: (sizes[place], len(drawn[place].ids)))
        places = sorted({*order[:4], *order[-4:]})  # of those that are padded most and least
        some = [drawn[place] for place in places]
        given = [prompts[place] for place in places], [one.ids for one in some], 1  # one by one: nothing is padded
        roots, exact = np.sqrt([len(one.ids) for one in some]), response_logps(self.model, *given)
        rounding = max(torch.finfo(self.model.dtype).eps, of_products())
        gap = (np.abs(exact - [one.logp for one in some]) / roots).max() - (CLOSE + 4 * rounding * largest)
        if gap > 0 and (np.abs(exact - response_logps(self.model, *given)) / roots).max() < CLOSE:
            with embeddings_off_by(self.model, rounding):
                gap -= ROUNDINGS * (np.abs(exact - response_logps(self.model, *given)) / roots).max()
        return float(np.maximum(gap, 0.0))


class NotItself(NotFinite):
    """A model whose draws have other log-probabilities than it gives them: of those there is no distribution either."""


def _generated(
    model: Any, prompts: Sequence[Sequence[int]], sampler: InverseTransform, size: int, ends: list[int]
) -> list[Draw]:
    """By `generate`, with prompts padded on their left."""
    length, pad = max(map(len, prompts)), ends[0] if ends else 0
    ids = torch.tensor([[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    config = GenerationConfig(
        do_sample=False,  # the sampler leaves one token, and the greedy choice is that token
        max_new_tokens=size,
        eos_token_id=ends or None,
        pad_token_id=pad,
    )
    with _without_defaults(model):
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=LogitsProcessorList([sampler]),
        )
    return _draws(output[:, length:].tolist(), sampler, ends)


def _by_length(
    model: Any, prompts: Sequence[Sequence[int]], sampler: InverseTransform, size: int, ends: list[int]
) -> list[Draw]:
    """By `generate`, with prompts of one length at a time, so that nothing is padded."""
    found: dict[int, Draw] = {}
    for length in sorted({len(prompt) for prompt in prompts}):
        places = [place for place, prompt in enumerate(prompts) if len(prompt) == length]
        own = InverseTransform(sampler.uniforms[places], sampler.temperature, sampler.top_p)
        draws = _generated(model, [prompts[place] for place in places], own, size, ends)
        found |= dict(zip(places, draws, strict=True))
        sampler.largest = max(sampler.largest, own.largest)
    return [found[place] for place in range(len(prompts))]


def _by_forward_passes(
    model: Any, prompts: Sequence[Sequence[int]], sampler: InverseTransform, size: int, ends: list[int]
) -> list[Draw]:
    """By a forward pass over all tokens for each new one, as those of `response_logps`."""
    sequences, drawn = [list(prompt) for prompt in prompts], [[] for _ in prompts]  # type: list[list[int]], Any
    going = set(range(len(prompts)))
    while going and len(sampler.log_probs) < size:
        length = max(map(len, sequences))
        ids = torch.tensor([own + [0] * (length - len(own)) for own in sequences], device=model.device)
        logits = all_logits(model, ids)
        last = torch.tensor([len(own) - 1 for own in sequences], device=logits.device)
        tokens = sampler(ids, logits[torch.arange(len(last), device=logits.device), last]).argmax(dim=-1).tolist()
        for place, token in enumerate(tokens):
            sequences[place].append(token)
            drawn[place].append(token)
            going -= {place} if token in ends else set()
    return _draws(drawn, sampler, ends)


WAYS = (_generated, _by_length, _by_forward_passes)
"""How responses are drawn, the fastest first."""
OF_A_WAY = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)
"""What models raise where they cannot be sampled from in a way; `NotFinite` is one of these."""
REASONS = (
    "",
    "where prompts are padded: prompts of one length are sampled together",
    "where its states are kept: every token is drawn by a forward pass over all before it, which is slow",
)
"""Why it is this way and not the one before."""


def _draws(drawn: Sequence[Sequence[int]], sampler: InverseTransform, ends: Sequence[int]) -> list[Draw]:
    """Responses up to their end tokens."""
    logps, found = torch.stack(sampler.log_probs, dim=1).tolist(), []
    for tokens, values in zip(drawn, logps, strict=True):
        end = next((place for place, token in enumerate(tokens) if token in ends), None)
        size = len(tokens) if end is None else end + 1
        found.append(Draw(list(tokens[:size]), math.fsum(values[:size]), end is not None))
    return found


def _name(model: Any) -> str:
    return type(model.get_base_model() if hasattr(model, "get_base_model") else model).__name__


@contextlib.contextmanager
def _without_defaults(model: Any) -> Iterator[None]:
    """Hide the model's generation_config: `generate` takes from it what another config leaves open."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own
