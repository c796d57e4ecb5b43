"""What a step of training reads: weighted pairs, of all the data or a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._types import Floats, Indices
from ..bandit import Bandit
from .sampling import Pairs, first_above


class Batch(NamedTuple):
    """What one step reads, with a leading axis for data sets.

    ends: numbers of responses (see `policies`), winners and then losers, (S, 2 B). weight: (S, B), summing to one.
    prompts: the share of each prompt, (S, prompts). samples: responses drawn from pi_ref, (S, B, k), where the
    estimator needs them. third: numbers of third responses, (S, B); the winners where data have none. rows: the prompts
    that are read, (P,), where they are a few among many, and responses then are numbered among theirs; else empty.
    """

    ends: Tensor
    weight: Tensor
    prompts: Tensor
    samples: Tensor
    third: Tensor
    rows: Tensor

    @property
    def winner(self) -> Tensor:
        """Numbers of the winners, (S, B)."""
        return self.ends[..., : self.weight.shape[-1]]

    @property
    def loser(self) -> Tensor:
        """Numbers of the losers, (S, B)."""
        return self.ends[..., self.weight.shape[-1] :]


def steps_per_epoch(data: Pairs, size: int) -> int:
    """How many batches of so many pairs are in a pass over the largest data set."""
    return -(-int(np.max(np.asarray(data.size))) // size)


def is_same_every_epoch(data: Pairs, shuffle: bool, draws: int) -> bool:
    """Whether all epochs have the same batches: nothing is drawn, and every data set is passed through once."""
    return not shuffle and not draws and len(set(np.asarray(data.size).tolist())) == 1


def batches(
    data: Pairs, epoch: int, size: int, seed: int, shuffle: bool = True, draws: int = 0, few: bool = False
) -> Iterator[Batch]:
    """The batches of one epoch, in order.

    Args:
        size: pairs in a batch; the last has what is left. With data sets of several sizes an epoch is a pass over the
            largest, while smaller ones start over again and again.
        seed: of orders and samples; each data set and epoch has its own.
        shuffle: whether each pass over a data set has an order of its own.
        draws: responses to draw from pi_ref for each pair.
        few: whether batches have ``rows``: as many prompts as pairs.
    """
    reference, sizes = data.reference, np.asarray(data.size).tolist()
    prompts, n = reference.shape
    longest = max(sizes)
    steps = steps_per_epoch(data, size)
    short = steps * size - longest
    start, stop = epoch * longest, (epoch + 1) * longest
    order = np.stack([_order(own, start, stop, [seed, s] if shuffle else None) for s, own in enumerate(sizes)])
    if short:  # the last batch is filled up with the last pair, without weight
        order = np.concatenate([order, np.repeat(order[:, -1:], short, axis=1)], axis=1)
    winner, loser, prompt = (np.take_along_axis(x, order, axis=1) for x in (data.winner, data.loser, data.prompt))
    weight = np.ones_like(winner, dtype=np.float64)
    weight[:, longest:] = 0.0

    def split(array: NDArray[Any]) -> NDArray[Any]:  # (S, N, ...) to (steps, S, B, ...)
        return np.moveaxis(array.reshape(len(array), steps, size, *array.shape[2:]), 1, 0)

    used, asked = split(weight), split(prompt)
    weight = used / used.sum(axis=-1, keepdims=True)
    samples = np.zeros((*winner.shape, 0), dtype=np.intp)
    if draws:
        streams = (np.random.default_rng([seed, s, epoch, 1]) for s in range(data.data_sets))
        u = np.stack([rng.random((winner.shape[1], draws)) for rng in streams])
        place = np.broadcast_to(prompt[..., None], u.shape)
        samples = place * n + np.minimum(first_above(np.cumsum(reference, axis=1), place, u), n - 1)
    ends = np.concatenate([split(prompt * n + winner), split(prompt * n + loser)], axis=-1)
    arrays = [ends, weight, split(samples)]
    if not few:
        arrays.append(_shares(asked, used, prompts))
    tensors = [torch.from_numpy(np.ascontiguousarray(array)).unbind(0) for array in arrays]
    nothing = torch.zeros(0, dtype=torch.int64)
    for k, (of_ends, of_weight, of_samples, *share) in enumerate(zip(*tensors, strict=True)):
        third = of_ends[..., :size]
        if not few:
            yield Batch(of_ends, of_weight, share[0], of_samples, third, nothing)
            continue
        rows = _some(asked[k], prompts)
        among = np.searchsorted(rows, asked[k])
        shares = _shares(among[None], used[k][None], len(rows))[0]
        moved = torch.from_numpy((among - asked[k]) * n)  # from all responses to those of the rows
        own = of_ends + torch.cat([moved, moved], dim=-1), of_samples + moved[..., None]
        yield Batch(own[0], of_weight, torch.from_numpy(shares), own[1], own[0][..., :size], torch.from_numpy(rows))


def _shares(prompt: Indices, used: Floats, prompts: int) -> Floats:
    """The share of each prompt in each step, (steps, S, prompts), from the prompts of its pairs, (steps, S, B)."""
    steps, sets, _ = prompt.shape
    place = np.arange(steps * sets).reshape(steps, sets, 1) * prompts + prompt
    counts = np.bincount(place.reshape(-1), used.reshape(-1), steps * sets * prompts).reshape(steps, sets, prompts)
    return np.asarray(counts / used.sum(axis=-1, keepdims=True))


def _some(prompt: Indices, prompts: int) -> Indices:
    """As many prompts as pairs, sorted: those of the pairs, and others that they lack."""
    found = np.unique(prompt)
    others = np.setdiff1d(np.arange(min(prompts, 2 * prompt.size)), found)[: prompt.size - len(found)]
    return np.sort(np.concatenate([found, others]))


def _order(size: int, start: int, stop: int, seed: list[int] | None) -> Indices:
    """Pairs number ``start`` to ``stop`` that training meets of a data set, one pass through it after another."""
    passes = range(start // size, -(-stop // size))
    if seed is None:
        return np.arange(start, stop) % size
    orders = [np.random.default_rng([*seed, k]).permutation(size) for k in passes]
    return np.concatenate(orders)[start - passes[0] * size : stop - passes[0] * size]


def whole(data: Bandit | Pairs) -> Batch:
    """All the data as one batch of weighted pairs."""
    reference = np.atleast_2d(data.reference)
    prompts, n = reference.shape
    share = np.reshape(1.0 if isinstance(data, Pairs) else data.prompt_weights, (-1, 1))
    if isinstance(data, Bandit) and data.triples is not None:
        weight = data.triples.weight.reshape(prompts, -1) * share
        prompt, row = np.nonzero(weight > 0)
        ends = [end[row] for end in (data.triples.winner, data.triples.loser, data.triples.third)]
        weight = weight[prompt, row][None]
    elif isinstance(data, Pairs):
        prompt, winner, loser, counts = data.compared
        size = np.asarray(data.size)[:, None]
        ends, weight = [winner, loser, winner], counts / size
    else:
        wins = (data.wins.reshape(prompts, n, n) * share[..., None])[None]
        prompt, winner, loser = np.nonzero((wins > 0).any(axis=0))
        ends, weight = [winner, loser, winner], wins[:, prompt, winner, loser]
    # a prompt may have no comparison, and is regularised all the same
    share = _counted(data) / size if isinstance(data, Pairs) else share.T
    first, second, third = (torch.from_numpy(prompt * n + end)[None] for end in ends)
    nothing = torch.zeros((1, len(prompt), 0), dtype=torch.int64)
    both = torch.cat([first, second], dim=-1)
    return Batch(both, torch.from_numpy(weight), torch.tensor(share), nothing, third, torch.zeros(0, dtype=torch.int64))


def _counted(data: Pairs) -> Floats:
    """How many pairs each prompt has in each data set, (data sets, prompts)."""
    prompt, _, _, counts = data.compared
    return np.stack([np.bincount(prompt, own, len(data.reference)) for own in counts])
