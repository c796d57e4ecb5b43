"""A small language model: prompts are texts, so that what training teaches of some carries over to others.

It is trained from scratch on texts whose distribution is known (`fit_texts`), and then by `simulators.train` as any
other policy. Responses are short enough to list, V^T of them, and one pass over the tree of all prefixes of a prompt
gives the probability of every one: 1 + V + ... + V^(T-1) places instead of the T V^T of all responses.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .._checks import check_number, check_policy, check_shape, check_whole
from .._frozen import set_fields
from .._progress import Progress, silent
from .._threads import one_thread
from .._types import Floats, Indices
from .autoregressive import Autoregressive, _Decoder
from .optimisers import Adam
from .policies import Policy


@dataclass(frozen=True, eq=False, init=False)
class PromptedTransformer(Autoregressive):
    """A decoder that reads a prompt's words and then the response, log pi(y|x) = sum_t log pi(y_t | x, y_<t).

    Weights are kept in double precision, as those of all policies; the decoder computes in single precision, and the
    normalisation of its distributions in double.

    Args:
        vocabulary, length: V and T, as for `Autoregressive`.
        texts: the prompts, whole numbers from 0 to ``words`` - 1, shape (prompts, P). words: what they are made of.
        width, heads, layers: of the decoder; heads must divide width.
        seed: of the weights that training starts from, unless ``weights`` are given, shape (size,).

    Raises:
        ValueError: naming the argument and what is accepted.

    Example:
        >>> from expo_analysis.simulators import PromptedTransformer
        >>> model = PromptedTransformer(vocabulary=3, length=2, texts=[[0, 1], [1, 1]], words=2)
        >>> model.initial().shape
        (2, 9)
    """

    replayed: ClassVar[bool] = False

    _: KW_ONLY
    texts: Annotated[Indices, "prompts P"]
    words: int
    width: int
    heads: int
    layers: int
    seed: int
    weights: Tensor | None = field(repr=False)
    _module: _Decoder = field(repr=False)

    def __init__(
        self,
        vocabulary: int,
        length: int,
        texts: ArrayLike,
        words: int,
        *,
        width: int = 32,
        heads: int = 2,
        layers: int = 2,
        seed: int = 0,
        weights: Tensor | None = None,
    ) -> None:
        for name, value in {"words": words, "width": width, "heads": heads, "layers": layers}.items():
            check_whole(name, value, 1)
        check_whole("seed", seed, 0)
        if width % heads:
            raise ValueError(f"heads must divide width {width}, got {heads}")
        given = np.asarray(texts)
        if given.dtype.kind not in "iu" or given.ndim != 2 or 0 in given.shape:
            raise ValueError(
                f"texts must be whole numbers of shape (prompts, P), got {given.dtype} of shape {given.shape}"
            )
        if given.min() < 0 or given.max() >= words:
            raise ValueError(f"texts must be from 0 to {words - 1}, got {given[(given < 0) | (given >= words)][0]}")
        set_fields(self, vocabulary=vocabulary, length=length, prompts=len(given))
        super().__post_init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = _Decoder(words, vocabulary, given.shape[1] + length - 1, width, heads, layers)
        size = sum(one.numel() for one in module.requires_grad_(False).parameters())
        if weights is not None and (weights.shape != (size,) or not torch.isfinite(weights).all()):
            raise ValueError(f"weights must be {size} finite numbers, got shape {tuple(weights.shape)}")
        own = {"width": width, "heads": heads, "layers": layers, "seed": seed, "weights": weights}
        set_fields(self, texts=given.astype(np.intp), words=words, _module=module, **own)

    def start(self) -> Tensor:
        if self.weights is not None:
            return self.weights.double()
        return torch.cat([one.reshape(-1) for one in self._module.parameters()]).double()

    def hidden(self, parameters: Tensor) -> Tensor:
        """What the output layer reads, added up over a response's tokens: parameters (size,) to (prompts, n, width)."""
        read: list[Tensor] = []
        hook = self._module.output.register_forward_pre_hook(lambda _, given: read.append(given[0]))
        try:
            self._logits(parameters, *self._tree())
        finally:
            hook.remove()
        levels = read[0][:, self.texts.shape[1] - 1 :].split([self.vocabulary**t for t in range(self.length)], dim=1)
        total = levels[0]
        for own in levels[1:]:
            total = total.repeat_interleave(self.vocabulary, dim=1) + own
        return total.repeat_interleave(self.vocabulary, dim=1).double()

    def tangent(self) -> TangentTransformer:
        """The same transformer with logits that are linear in its weights."""
        own = {name: getattr(self, name) for name in ("width", "heads", "layers", "seed", "weights")}
        return TangentTransformer(self.vocabulary, self.length, self.texts, self.words, **own)

    def token_logits(self, parameters: Tensor, prompt: Tensor, tokens: Tensor) -> Tensor:
        inputs = torch.cat([self._read(prompt), tokens[..., :-1]], dim=-1)
        lead = parameters.shape[:-1]
        inputs = inputs.expand(*lead, *inputs.shape[-2:])
        return self._logits(parameters, inputs)[..., self.texts.shape[1] - 1 :, :]

    def log_probs(self, parameters: Tensor, response: Tensor) -> Tensor:
        nodes = (self.vocabulary**self.length - 1) // (self.vocabulary - 1)
        if response.shape[-1] * self.length < self.prompts * nodes:
            return super().log_probs(parameters, response)
        return Policy.log_probs(self, parameters, response)  # all of them cost less

    def log_policy(self, parameters: Tensor) -> Tensor:
        levels = self._levels(parameters)
        total = levels[0]
        for own in levels[1:]:
            total = (total[..., None] + own).flatten(-2)
        return total

    def _levels(self, parameters: Tensor) -> list[Tensor]:
        """log pi(. | x, y_<t) of all prefixes of each length, (..., prompts, V) and then (..., prompts, V^t, V)."""
        words = self.texts.shape[1]
        inputs, place, hidden = self._tree()
        logp = self._logits(parameters, inputs, place, hidden)[..., words - 1 :, :].log_softmax(dim=-1)
        sizes = [self.vocabulary**t for t in range(self.length)]
        first, *rest = logp.split(sizes, dim=-2)
        return [first.squeeze(-2), *rest]

    def _tree(self) -> tuple[Tensor, Tensor, Tensor]:
        """All prefixes of each prompt's responses in one row: tokens (prompts, N), places (N,) and what is hidden."""
        words = self.texts.shape[1]
        parent, place, last = list(range(-1, words - 1)), list(range(words)), []
        level = [words - 1]  # where the prefixes of one length stand
        for t in range(1, self.length):
            begin = len(parent)
            parent += [above for above in level for _ in range(self.vocabulary)]
            last += list(range(self.vocabulary)) * len(level)
            level = list(range(begin, len(parent)))
            place += [words - 1 + t] * len(level)
        seen = torch.eye(len(parent), dtype=torch.bool)
        for node, above in enumerate(parent):
            if above >= 0:
                seen[node] |= seen[above]
        prompts = self._read(torch.arange(self.prompts))
        tokens = torch.tensor(last, dtype=torch.int64).expand(self.prompts, -1)
        return torch.cat([prompts, tokens], dim=1), torch.tensor(place), ~seen

    def _read(self, prompt: Tensor) -> Tensor:
        """The words of prompts (..., B), as the decoder numbers them: (..., B, P)."""
        return self.vocabulary + torch.tensor(self.texts)[prompt]

    def _logits(self, parameters: Tensor, inputs: Tensor, *tree: Tensor) -> Tensor:
        """The decoder of each row of parameters (..., size) on inputs (..., B, L), or on (B, L) with a tree."""
        weights = dict(self._module.named_parameters())
        sizes = [weight.numel() for weight in weights.values()]

        def one(flat: Tensor, inputs: Tensor) -> Tensor:
            parts = flat.split(sizes)
            named = {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}
            logits: Tensor = torch.func.functional_call(self._module, named, (inputs, *tree))
            return logits

        lead, single = parameters.shape[:-1], parameters.float()
        if not lead:
            return one(single, inputs).double()
        own = inputs if tree else inputs.flatten(0, len(lead) - 1)
        logits = torch.func.vmap(one, in_dims=(0, None if tree else 0))(single.flatten(0, -2), own)
        return logits.unflatten(0, lead).double()


class TangentTransformer(PromptedTransformer):
    r"""The transformer whose logits are linear in its weights, z(theta) = z(theta_0) + J (theta - theta_0).

    theta_0 are the weights that training starts from, J the derivatives of the logits there. What `train` makes of it
    is what training would do if the tangent features did not change; it needs no training of the transformer itself.
    The weights that it ends with (`Trajectory.parameters`), put into the transformer, predict the trained one.

    Example:
        >>> from expo_analysis.simulators import PromptedTransformer
        >>> model = PromptedTransformer(vocabulary=3, length=2, texts=[[0, 1], [1, 1]], words=2)
        >>> bool((model.tangent().initial() == model.initial()).all())
        True
    """

    def _logits(self, parameters: Tensor, inputs: Tensor, *tree: Tensor) -> Tensor:
        start = self.start().expand_as(parameters).clone()
        network = super()._logits
        found: Any = torch.func.jvp(lambda own: network(own, inputs, *tree), (start,), (parameters - start,))
        logits: Tensor = found[0] + found[1]
        return logits


def fit_texts(
    policy: Autoregressive,
    truth: ArrayLike,
    *,
    steps: int = 1000,
    batch: int = 256,
    lr: float = 3e-3,
    seed: int = 0,
    progress: Progress = silent,
) -> Tensor:
    """Maximum likelihood on fresh texts, -mean log pi(y|x) over a batch at each step; returns the parameters (size,).

    Prompts are all as frequent. Adam, with a rate that falls linearly to zero.

    Args:
        truth: the distribution of the texts, shape (prompts, n).
        steps, batch, lr, seed: of training; every step has texts of its own.
        progress: called with how many steps are done, and of how many.

    Raises:
        ValueError: naming the argument and what is accepted.
    """
    distribution = np.atleast_2d(check_policy("truth", truth))
    check_shape("truth", distribution, (policy.prompts, policy.n))
    for name, value, least in (("steps", steps, 1), ("batch", batch, 1), ("seed", seed, 0)):
        check_whole(name, value, least)
    check_number("lr", lr, 0.0)
    rng, optimiser = np.random.default_rng([seed, 2]), Adam(lr)
    upto = np.cumsum(distribution, axis=1)
    rates = optimiser.rates(lr * (1 - torch.arange(steps, dtype=torch.float64) / steps)).unbind(0)

    def step(
        parameters: Tensor, state: tuple[Tensor, ...], rate: Tensor, response: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        with torch.enable_grad():
            free = parameters.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(-policy.log_probs(free, response).mean(), free)
        return optimiser.update(parameters.detach(), gradient, state, rate)

    with one_thread(), torch.no_grad():
        parameters = policy.start()
        state: tuple[Tensor, ...] = tuple(torch.zeros_like(parameters) for _ in range(optimiser.states))
        for k in range(steps):
            response = torch.from_numpy(_drawn(rng, upto, batch))
            parameters, state = step(parameters, state, rates[k], response)
            progress(k + 1, steps)
    return parameters


def _drawn(rng: np.random.Generator, upto: Floats, count: int) -> Indices:
    """Numbers of texts: a prompt, all as likely, and a response to it."""
    prompts, n = upto.shape
    prompt, u = rng.integers(prompts, size=count), rng.random(count)
    response = (upto[prompt] < u[:, None] * upto[prompt, -1:]).sum(axis=1)
    return np.asarray(prompt * n + np.minimum(response, n - 1))
