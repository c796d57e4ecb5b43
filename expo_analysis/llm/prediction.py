r"""What training on pairs would do to each response, from the gradients at the reference, before training.

Near the reference's weights theta_0 log-probabilities are linear in the weights, log pi(y|x) = log pi_ref(y|x) + g_y d,
with the tangent features g_y = d log pi(y|x) / d theta at theta_0 and d = theta - theta_0. This linear model is trained
with Adam on the pairs, with any loss at any lambda, at the cost of two products with a small matrix a step: features
are computed once. In which order training will meet the pairs is not known, so d is the mean over several orders. The
weights theta_0 + d are then put into the network, which has not been trained, and responses are scored.

An explicit regulariser KL(pi_ref || pi) is the mean of (g_y d)^2 / 2 over the pairs' own responses, its second order
where these are samples of pi_ref. Log-probabilities are sums over tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..divergences import ForwardKL
from ..losses import PairObjective
from ..losses.base import check_number
from .data.logps import response_logps, without_dropout
from .held_out import Given, HeldOut

Floats = NDArray[np.float64]

DECAYS = (0.9, 0.999)
"""Adam's, of both moments."""
EPSILON = 1e-8


@dataclass(frozen=True)
class Steps:
    """How the run is to train: Adam with a rate that falls linearly to zero.

    Args:
        count, batch: steps, and pairs in each. lr: the first learning rate.
        orders: of the pairs; what is predicted is the mean over these. seed: of the orders.

    Raises:
        ValueError: naming the argument and what is accepted.
    """

    count: int = 100
    batch: int = 8
    lr: float = 1e-6
    orders: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("count", "batch", "orders"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {getattr(self, name)}")
        check_number("lr", self.lr, 0.0)

    def order(self, pairs: int, number: int) -> Iterator[NDArray[np.intp]]:
        """The pairs of each step: one pass over all of them after another, each in an order of its own."""
        rng = np.random.default_rng([self.seed, number])
        ahead = np.zeros(0, dtype=np.intp)
        for _ in range(self.count):
            while len(ahead) < self.batch:
                ahead = np.concatenate([ahead, rng.permutation(pairs)])
            yield ahead[: self.batch]
            ahead = ahead[self.batch :]


def check_objective(objective: Any) -> None:
    """Raise where a loss is none of pairs and their log-probabilities alone."""
    name = getattr(objective, "name", type(objective).__name__)
    if not isinstance(objective, PairObjective):
        raise ValueError(f"objective must be a loss of pairs, got {name}")
    if objective.data or objective.facts.couples_pairs or objective.auxiliary:
        raise ValueError(f"objective must read log-probabilities of single pairs and nothing else; {name} reads more")
    if objective.regulariser is not None and type(objective.regulariser) is not ForwardKL:
        raise ValueError(f"objective must have no regulariser, or KL(pi_ref || pi); {name} has another one")


def tangent_features(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    progress: Callable[[], None] = lambda: None,
) -> Tensor:
    """d log pi(y|x) / d theta of each response, over all weights that are trained: (responses, weights), float32."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    features = torch.empty(len(responses), sum(weight.numel() for weight in weights))
    with without_dropout(model):
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            ids = torch.tensor([[*prompt, *response]], device=weights[0].device)
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float()
            logp = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
            total = logp.gather(1, ids[0, len(prompt) :, None]).sum()
            own = torch.autograd.grad(total, weights, allow_unused=True, materialize_grads=True)
            features[row] = torch.cat([one.reshape(-1) for one in own])
            progress()
    return features


def linear_training(
    objective: PairObjective, features: Tensor, references: Floats, pairs: NDArray[np.intp], steps: Steps
) -> Tensor:
    """theta - theta_0 after training the linear model, the mean over orders of the pairs: (weights,).

    Args:
        features: (responses, weights). references: log pi_ref of the same responses.
        pairs: numbers of chosen and rejected responses, (pairs, 2).
    """
    total = torch.zeros(features.shape[1])
    for number in range(steps.orders):
        total += _in_one_order(objective, features, torch.from_numpy(references), pairs, steps, number)
    return total / steps.orders


def _in_one_order(
    objective: PairObjective, features: Tensor, references: Tensor, pairs: NDArray[np.intp], steps: Steps, number: int
) -> Tensor:
    moved = torch.zeros(features.shape[1])
    mean, square = torch.zeros_like(moved), torch.zeros_like(moved)
    for step, batch in enumerate(steps.order(len(pairs), number)):
        ends = torch.from_numpy(pairs[batch].T.reshape(-1))
        own = features[ends]
        ratio = (own @ moved).double().requires_grad_()
        (slope,) = torch.autograd.grad(_risk(objective, ratio, references[ends]), ratio)
        gradient = slope.to(own) @ own
        mean = torch.lerp(mean, gradient, 1 - DECAYS[0])
        square = torch.lerp(square, gradient**2, 1 - DECAYS[1])
        first, second = (1 - decay ** (step + 1) for decay in DECAYS)
        rate = steps.lr * (1 - step / steps.count)
        moved = moved - rate * (mean / first) / ((square / second).sqrt() + EPSILON)
    return moved


def _risk(objective: PairObjective, ratio: Tensor, reference: Tensor) -> Tensor:
    """The mean loss of a batch whose log-ratios these are, chosen responses first."""
    read = [*(ratio + reference).chunk(2)]
    if objective.facts.needs_reference:
        read += reference.chunk(2)
    risk = objective.loss(*read).mean()
    return risk if objective.regulariser is None else risk + objective.lam * (ratio**2).mean() / 2


@contextmanager
def moved_by(model: Any, move: Tensor) -> Iterator[None]:
    """The model with theta_0 + ``move`` for its weights, and afterwards with its own again."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    before = [weight.detach().clone() for weight in weights]
    parts = move.split([weight.numel() for weight in weights])
    try:
        with torch.no_grad():
            for weight, part in zip(weights, parts, strict=True):
                weight += part.view_as(weight).to(weight)
        yield
    finally:
        with torch.no_grad():
            for weight, old in zip(weights, before, strict=True):
                weight.copy_(old)


@dataclass(frozen=True)
class Said:
    """What is predicted of one loss at one lambda, means in nats.

    chosen, rejected            log pi/pi_ref of the responses of the pairs that are trained on
    chosen_held, rejected_held  of held-out pairs; accuracy_held: how often the chosen one gains more, ties half
    drift                       KL(pi_ref || pi) of samples of pi_ref to held-out prompts; nan without samples
    """

    chosen: float
    rejected: float
    chosen_held: float
    rejected_held: float
    accuracy_held: float
    drift: float


@dataclass(frozen=True)
class Sample:
    """What a prediction rests on: pairs to train on, pairs held out, and samples of the reference.

    data: whose prompts they belong to. samples: (number of a prompt, tokens).
    """

    data: HeldOut
    trained: list[Given]
    held: list[Given]
    samples: list[tuple[int, list[int]]]

    def responses(self) -> tuple[list[list[int]], list[list[int]]]:
        """Prompts and responses: chosen and rejected of trained pairs, of held-out pairs, and the samples."""
        ends = [(pair.prompt, end) for pair in self.trained for end in (pair.chosen, pair.rejected)]
        ends += [(pair.prompt, end) for pair in self.held for end in (pair.chosen, pair.rejected)]
        ends += self.samples
        return [self.data.ids[prompt] for prompt, _ in ends], [list(response) for _, response in ends]


def split_pairs(data: HeldOut, pairs: int, seed: int) -> tuple[list[Given], list[Given]]:
    """So many pairs to train on, and as many of other prompts, at random; of all prompts where there are fewer.

    Raises:
        ValueError: there are not two prompts with pairs, or a pair's responses have masks.
    """
    prompts = list({pair.prompt: None for pair in data.pairs})
    if len(prompts) < 2:
        raise ValueError(f"{data.name}: pairs of at least two prompts are needed, got {len(prompts)}")
    if any(not all((*pair.chosen_mask, *pair.rejected_mask)) for pair in data.pairs):
        raise ValueError(f"{data.name}: responses with turns of others inside cannot be predicted")
    order = np.random.default_rng(seed).permutation(prompts).tolist()
    first = set(order[: (len(order) + 1) // 2])
    chosen = sorted(data.pairs, key=lambda pair: order.index(pair.prompt))
    trained = [pair for pair in chosen if pair.prompt in first][:pairs]
    held = [pair for pair in chosen if pair.prompt not in first][:pairs]
    return trained, held


def predict(
    model: Any, sample: Sample, objectives: Sequence[PairObjective], steps: Steps, progress: Callable[[], None]
) -> list[Said]:
    """What each loss would do to the model, which is left as it is.

    Raises:
        ValueError: as `check_objective`.
    """
    for objective in objectives:
        check_objective(objective)
    prompts, responses = sample.responses()
    count = 2 * len(sample.trained)
    before = response_logps(model, prompts, responses)
    features = tangent_features(model, prompts[:count], responses[:count], progress)
    pairs = np.arange(count).reshape(-1, 2)
    found = []
    for objective in objectives:
        move = linear_training(objective, features, before[:count], pairs, steps)
        with moved_by(model, move):
            found.append(_said(response_logps(model, prompts, responses) - before, sample))
        progress()
    return found


def _said(moved: Floats, sample: Sample) -> Said:
    """The means, from log pi/pi_ref of all responses of a sample."""
    upto = 2 * np.array([len(sample.trained), len(sample.trained) + len(sample.held)])
    of_trained, of_held, drawn = np.split(moved, upto)
    (chosen, rejected), (won, lost) = (part.reshape(-1, 2).T for part in (of_trained, of_held))
    drift = float((np.expm1(drawn) - drawn).mean()) if len(drawn) else np.nan
    accuracy = float((np.sign(won - lost) + 1).mean() / 2)
    first, second, third, fourth = (float(ends.mean()) for ends in (chosen, rejected, won, lost))
    return Said(first, second, third, fourth, accuracy, drift)
