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
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from ...losses.base import check_whole

Floats = NDArray[np.float64]

RESPONSES, LABELS, CHOICES = 0, 1, 2
"""What a seed's random numbers are for; each use has its own."""


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
    """A response to each prompt, in one batch.

    Args:
        model: a causal language model of transformers.
        prompts: token ids, a list for each response that is to be drawn.
        rows: for each of them the number of its prompt and of the response, of which its random numbers are made.
        ends: the tokens that end a response.
    """
    length, pad = max(map(len, prompts)), ends[0] if ends else 0
    device = model.device
    ids = torch.tensor([[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    uniforms = np.stack([rng(settings.seed, RESPONSES, *row).random(settings.max_new_tokens) for row in rows])
    sampler = InverseTransform(torch.tensor(uniforms, device=device), settings.temperature, settings.top_p)
    config = GenerationConfig(
        do_sample=False,  # the sampler leaves one token, and the greedy choice is that token
        max_new_tokens=settings.max_new_tokens,
        eos_token_id=list(ends) or None,
        pad_token_id=pad,
    )
    with torch.no_grad(), without_dropout(model), _without_defaults(model):
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=LogitsProcessorList([sampler]),
        )
    drawn, logps = output[:, length:].tolist(), torch.stack(sampler.log_probs, dim=1).tolist()
    found = []
    for tokens, values in zip(drawn, logps, strict=True):
        end = next((place for place, token in enumerate(tokens) if token in ends), None)
        size = len(tokens) if end is None else end + 1
        found.append(Draw(tokens[:size], math.fsum(values[:size]), end is not None))
    return found


class NotFinite(ValueError):
    """A model that gives no distribution of the next token."""


class InverseTransform(LogitsProcessor):
    """Draws each row's next token at a given uniform number, and forbids all others.

    Args:
        uniforms: numbers in [0, 1), shape (rows, steps), float64.
        temperature, top_p: as in `Sampling`.
    """

    def __init__(self, uniforms: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> None:
        self.uniforms, self.temperature, self.top_p = uniforms, temperature, top_p
        self.log_probs: list[Tensor] = []
        """log pi(y_t | x, y_<t) of the tokens drawn, at temperature 1: shape (rows,) for each step."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        log_probs = scores.log_softmax(dim=-1)
        if bool(log_probs.isnan().any()):
            raise NotFinite(
                f"the model's logits are not finite after {len(self.log_probs)} tokens of a response: look at its "
                "weights, and at the type that they are computed in"
            )
        tempered = log_probs if self.temperature == 1 else (scores / self.temperature).log_softmax(dim=-1)
        probabilities = tempered.exp()
        if self.top_p < 1:
            probabilities = nucleus(probabilities, self.top_p)
        tokens = invert(probabilities, self.uniforms[:, len(self.log_probs)])
        self.log_probs.append(log_probs.gather(1, tokens)[:, 0])
        return torch.full_like(scores, -math.inf).scatter(1, tokens, 0.0)


def invert(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """The token at which the cumulative distribution passes u: never one of probability 0.

    Args:
        probabilities: shape (rows, V); they need not sum to 1.
        uniforms: shape (rows,), float64 in [0, 1).

    Returns:
        Shape (rows, 1).
    """
    upto = probabilities.double().cumsum(dim=-1)  # in float32 the many small ones would be lost beside the sum
    total = upto[:, -1:]
    below = torch.nextafter(total, torch.zeros_like(total))
    return torch.searchsorted(upto, torch.minimum(uniforms[:, None] * total, below), right=True)


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """The probabilities of the fewest tokens that have ``top_p`` together, and 0 for all others; shape (rows, V)."""
    ordered, places = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.double().cumsum(dim=-1) - ordered
    return torch.zeros_like(probabilities).scatter(1, places, ordered.masked_fill(before >= top_p, 0.0))


@dataclass(frozen=True)
class Compared:
    """Given responses under a policy pi and a reference pi_ref, in nats, shape (responses,) each.

    logp, ref_logp      log pi(y | x) and log pi_ref(y | x), summed over tokens
    kl, reverse_kl      sum_t KL(pi_ref(.|x, y_<t) || pi(.|x, y_<t)), and the same with pi and pi_ref exchanged
    """

    logp: Floats
    ref_logp: Floats
    kl: Floats
    reverse_kl: Floats


def response_logps(
    model: Any, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], batch_size: int = 8
) -> Floats:
    """log pi(y | x) = sum_t log pi(y_t | x, y_<t) of given responses, in nats, by forward passes: shape (responses,).

    Args:
        prompts, responses: token ids, as many lists of the one as of the other.
    """
    found: list[float] = []
    for ids, mask in _batches(prompts, responses, batch_size, model.device):
        log_probs = _log_probs(model, ids)
        picked = log_probs.gather(2, ids[:, 1:, None])[:, :, 0].double()
        found += (picked * mask[:, 1:]).sum(dim=1).tolist()
    return np.array(found)


def compare(
    model: Any,
    reference: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    batch_size: int = 8,
    masks: Sequence[Sequence[int]] | None = None,
) -> Compared:
    """Given responses under two models of one vocabulary, which need not have the same weights, size or device.

    Args:
        masks: 1 for each token that counts, 0 for others' turns inside of a response; None counts all.
    """
    found: list[Tensor] = []
    for ids, mask in _batches(prompts, responses, batch_size, model.device, masks):
        both = [_log_probs(one, ids.to(one.device)).to(ids.device) for one in (model, reference)]
        if both[0].shape != both[1].shape:
            raise ValueError(
                f"reference must have the model's vocabulary of {both[0].shape[2]} tokens, got {both[1].shape[2]}"
            )
        columns = [part.gather(2, ids[:, 1:, None])[:, :, 0] for part in both]
        p, q = both
        columns += [(q.exp() * (q - p)).sum(dim=2), (p.exp() * (p - q)).sum(dim=2)]
        found.append(torch.stack([(column.double() * mask[:, 1:]).sum(dim=1) for column in columns]))
    return Compared(*torch.cat(found, dim=1).cpu().numpy())


def _log_probs(model: Any, ids: Tensor) -> Tensor:
    """log pi(. | all tokens before) at every position but the first: shape (rows, positions - 1, V)."""
    with torch.no_grad(), without_dropout(model):
        # what pads a row is to its right, where the tokens before do not see it
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    logits = logits[:, -ids.shape[1] :][:, :-1]  # prompt-learning adapters put virtual tokens in front
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(dim=-1)


def _batches(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    size: int,
    device: Any,
    masks: Sequence[Sequence[int]] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens, padded on the right, and a mask of those that belong to responses."""
    given = masks if masks is not None else [[1] * len(response) for response in responses]
    rows = list(zip(prompts, responses, given, strict=True))
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        length = max(len(prompt) + len(response) for prompt, response, _ in batch)
        ids = [[*prompt, *response] + [0] * (length - len(prompt) - len(response)) for prompt, response, _ in batch]
        mask = [[0] * len(prompt) + [*own] + [0] * (length - len(prompt) - len(own)) for prompt, _, own in batch]
        yield torch.tensor(ids, device=device), torch.tensor(mask, device=device)


@contextlib.contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """The model in evaluation mode, and afterwards in what it was before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextlib.contextmanager
def _without_defaults(model: Any) -> Iterator[None]:
    """Hide the model's generation_config: `generate` takes from it what another config leaves open."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own
