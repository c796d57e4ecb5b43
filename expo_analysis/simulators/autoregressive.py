"""Autoregressive policies over short sequences: small enough to list every sequence, so every number is known exactly.

Responses are the V^T sequences of T tokens out of V, in lexicographic order: sequence y has the number
sum_t y_t V^(T-t). Training computes the tokens of the sequences that it is shown and nothing else; the enumeration is
for looking at it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .._checks import check_number, check_policy, check_shape, check_whole
from .._frozen import set_fields
from .._types import Floats, Indices
from ..losses.estimators import token_kl
from .policies import Policy

MAX_SEQUENCES = 100_000


@dataclass(frozen=True, eq=False)
class Autoregressive(Policy):
    """log pi(y|x) = sum_t log pi(y_t | x, y_<t).

    Args:
        vocabulary: V, at least 2. length: T, at least 1; V^T must not exceed `MAX_SEQUENCES`. prompts: how many.
    """

    vocabulary: int
    length: int
    prompts: int = 1

    def __post_init__(self) -> None:
        for name, least in (("vocabulary", 2), ("length", 1), ("prompts", 1)):
            check_whole(name, getattr(self, name), least)
        if self.vocabulary**self.length > MAX_SEQUENCES:
            raise ValueError(f"vocabulary ** length must not exceed {MAX_SEQUENCES}, to list all sequences")
        set_fields(self, n=self.vocabulary**self.length)

    @cached_property
    def sequences(self) -> Indices:
        """All sequences of tokens, shape (n, T)."""
        return np.indices((self.vocabulary,) * self.length).reshape(self.length, -1).T

    @abstractmethod
    def token_logits(self, parameters: Tensor, prompt: Tensor, tokens: Tensor) -> Tensor:
        """Logits of every next token: parameters (..., size), prompt (..., B) and tokens (..., B, T) to (..., B, T, V).

        Position t must depend on the prompt and on the tokens before t only.
        """

    def token_logp(self, parameters: Tensor, response: Tensor) -> Tensor:
        """log pi(. | x, y_<t) along some responses (..., B), shape (..., B, T, V)."""
        prompt = response.div(self.n, rounding_mode="floor")
        return self.token_logits(parameters, prompt, self._tokens(response)).log_softmax(dim=-1)

    def log_probs(self, parameters: Tensor, response: Tensor) -> Tensor:
        return self._taken(self.token_logp(parameters, response), response)

    def conditionals(self, log_reference: Tensor) -> Tensor:
        """log pi_ref(. | x, y_<t), shape (prefixes, V): prefixes in order of length, then of prompt, then of tokens."""
        levels = []
        for t in range(self.length):
            below = log_reference.reshape(self.prompts * self.vocabulary**t, self.vocabulary, -1).logsumexp(dim=-1)
            levels.append(below.log_softmax(dim=-1))
        return torch.cat(levels)

    def log_probs_and_kl(self, parameters: Tensor, conditionals: Tensor, response: Tensor) -> tuple[Tensor, Tensor]:
        counts = self.vocabulary ** torch.arange(self.length)  # prefixes of each length, for one prompt
        prefix = response[..., None].div(self.n // counts, rounding_mode="floor")
        log_reference = conditionals[prefix + self.prompts * (counts.cumsum(0) - counts)]
        logp = self.token_logp(parameters, response)
        return self._taken(logp, response), token_kl(logp, log_reference, torch.ones_like(logp[..., 0]))

    def log_policy(self, parameters: Tensor) -> Tensor:
        every = torch.arange(self.prompts * self.n).expand(*parameters.shape[:-1], -1)
        return self.log_probs(parameters, every).unflatten(-1, (self.prompts, self.n))

    def _taken(self, token_logp: Tensor, response: Tensor) -> Tensor:
        """log pi of responses, from those of every next token along them."""
        return token_logp.gather(-1, self._tokens(response)[..., None]).squeeze(-1).sum(dim=-1)

    def _tokens(self, response: Tensor) -> Tensor:
        powers = self.vocabulary ** torch.arange(self.length - 1, -1, -1)
        return response[..., None].div(powers, rounding_mode="floor") % self.vocabulary


@dataclass(frozen=True, eq=False, init=False)
class NGram(Autoregressive):
    """A table of logits for each prompt and each run of the last ``order - 1`` tokens (fewer at the start).

    Args:
        order: from 1 (tokens are independent) to T, the default, which reaches every distribution over sequences.
        initial_policy: what training starts from, shape (n,) or (prompts, n); its conditional probabilities, averaged
            over what the table does not tell apart. Default: uniform.
    """

    order: int = 1
    initial_policy: Annotated[Floats, "prompts n"] | None = None

    def __init__(
        self,
        vocabulary: int,
        length: int,
        prompts: int = 1,
        order: int | None = None,
        initial_policy: ArrayLike | None = None,
    ) -> None:
        set_fields(self, vocabulary=vocabulary, length=length, prompts=prompts)
        super().__post_init__()
        order = length if order is None else order
        check_whole("order", order, 1)
        if order > length:
            raise ValueError(f"order must be at most the length {length}, got {order!r}")
        policy = None
        if initial_policy is not None:
            policy = np.atleast_2d(check_policy("initial_policy", initial_policy))
            check_shape("initial_policy", policy, (prompts, self.n))
        set_fields(self, order=order, initial_policy=policy)

    @property
    def contexts(self) -> int:
        """Rows of the table for one prompt: runs of order - 1 tokens, V standing for "before the start"."""
        return int((self.vocabulary + 1) ** (self.order - 1))

    def start(self) -> Tensor:
        table = np.ones((self.prompts * self.contexts, self.vocabulary))
        if self.initial_policy is not None:
            response = torch.arange(self.prompts * self.n)
            tokens = self._tokens(response)
            row = self._rows(response.div(self.n, rounding_mode="floor"), tokens).numpy()
            table = np.zeros_like(table)
            weight = np.repeat(self.initial_policy.reshape(-1), self.length)
            np.add.at(table, (row.reshape(-1), tokens.numpy().reshape(-1)), weight)
            table[table.sum(axis=1) == 0] = 1.0  # runs that do not occur
        return torch.from_numpy(np.log(table / table.sum(axis=1, keepdims=True))).reshape(-1)

    def token_logits(self, parameters: Tensor, prompt: Tensor, tokens: Tensor) -> Tensor:
        rows = self._rows(prompt, tokens)
        table = parameters.unflatten(-1, (self.prompts * self.contexts, self.vocabulary))
        at = rows.flatten(-2)[..., None].expand(*rows.shape[:-2], -1, self.vocabulary)
        return table.gather(-2, at).unflatten(-2, (-1, self.length))

    def _rows(self, prompt: Tensor, tokens: Tensor) -> Tensor:
        """Row of the table at each position, (..., B, T)."""
        run = self.order - 1
        begun = torch.nn.functional.pad(tokens, (run, 0), value=self.vocabulary)
        row = prompt[..., None].expand(tokens.shape)
        for back in range(run, 0, -1):
            row = row * (self.vocabulary + 1) + begun[..., run - back : run - back + self.length]
        return row


class _Decoder(nn.Module):
    """A pre-norm transformer decoder, every block attention and then a feed-forward layer."""

    def __init__(self, prompts: int, vocabulary: int, length: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.heads = heads
        self.token = nn.Embedding(prompts + vocabulary, width)
        self.position = nn.Parameter(0.1 * torch.randn(length, width))
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.LayerNorm(width),
                    "attend": nn.Linear(width, 3 * width),
                    "project": nn.Linear(width, width),
                    "feed": nn.Sequential(
                        nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
                    ),
                }
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, vocabulary)

    def forward(self, inputs: Tensor, place: Tensor | None = None, hidden: Tensor | None = None) -> Tensor:
        """Tokens (B, T), the prompt first, to logits (B, T, V).

        Args:
            place: the position of each token, (T,); by default they stand one after the other.
            hidden: which tokens (second axis) each (first axis) does not see, (T, T); by default those after it.
        """
        x = self.token(inputs) + (self.position if place is None else self.position[place])
        future = torch.ones(inputs.shape[-1], inputs.shape[-1], dtype=torch.bool).triu(1) if hidden is None else hidden
        for block in self.blocks:
            assert isinstance(block, nn.ModuleDict)
            mixed = block["attend"](block["norm"](x)).chunk(3, dim=-1)
            q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for y in mixed)
            scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
            seen = scores.masked_fill(future, -torch.inf).softmax(dim=-1) @ v
            x = x + block["project"](seen.transpose(-2, -3).flatten(-2))
            x = x + block["feed"](x)
        logits: Tensor = self.output(self.norm(x))
        return logits


@dataclass(frozen=True, eq=False)
class Transformer(Autoregressive):
    """A small decoder with weights drawn by a seed; prompts are tokens of their own that stand before the response.

    Args:
        width, heads, layers: of the decoder; heads must divide width.
        seed: of the weights at the start, which are usually taken for the reference (`Policy.initial`).
        sharpness: factor on the output layer at the start: larger means further from uniform.
    """

    width: int = 16
    heads: int = 2
    layers: int = 1
    seed: int = 0
    sharpness: float = 1.0
    _module: _Decoder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("width", 1), ("heads", 1), ("layers", 1), ("seed", 0)):
            check_whole(name, getattr(self, name), least)
        check_number("sharpness", self.sharpness, 0.0)
        if self.width % self.heads:
            raise ValueError(f"heads must divide width {self.width}, got {self.heads}")
        shape = (self.prompts, self.vocabulary, self.length, self.width, self.heads, self.layers)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            module = _Decoder(*shape).double().requires_grad_(False)  # it lends its structure; weights are given
        module.output.weight.mul_(self.sharpness)
        set_fields(self, _module=module)

    @property
    def _weights(self) -> dict[str, Tensor]:
        return dict(self._module.named_parameters())

    def start(self) -> Tensor:
        return torch.cat([weight.reshape(-1) for weight in self._weights.values()])

    def token_logits(self, parameters: Tensor, prompt: Tensor, tokens: Tensor) -> Tensor:
        weights = self._weights
        sizes = [weight.numel() for weight in weights.values()]
        # the prompt's own token, then all but the last of the response
        inputs = torch.cat([(self.vocabulary + prompt)[..., None], tokens[..., :-1]], dim=-1)

        def one(flat: Tensor, inputs: Tensor) -> Tensor:
            parts = flat.split(sizes)
            named = {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}
            logits: Tensor = torch.func.functional_call(self._module, named, (inputs,))
            return logits

        lead = parameters.shape[:-1]
        if not lead:
            return one(parameters, inputs)
        inputs = inputs.expand(*lead, *inputs.shape[-2:]).flatten(0, len(lead) - 1)
        logits = torch.func.vmap(one)(parameters.flatten(0, -2), inputs)
        return logits.unflatten(0, lead)
