"""Log-probabilities of given responses, by forward passes over prompt and response: what a model is, token by token."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


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


def all_logits(model: Any, ids: Tensor) -> Tensor:
    """The logits of the next token at every position, in float32 at least: shape (rows, positions, V)."""
    with torch.no_grad(), without_dropout(model):
        # what pads a row is to its right, where the tokens before do not see it
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    logits = logits[:, -ids.shape[1] :]  # prompt-learning adapters put virtual tokens in front
    return logits if logits.dtype == torch.float64 else logits.float()


def _log_probs(model: Any, ids: Tensor) -> Tensor:
    """log pi(. | all tokens before) at every position but the first: shape (rows, positions - 1, V)."""
    return all_logits(model, ids)[:, :-1].log_softmax(dim=-1)


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
def embeddings_off_by(model: Any, part: float) -> Iterator[None]:
    """While it lasts every embedded token is off by this part of it, up or down at random, as by a rounding."""
    signs = torch.Generator().manual_seed(0)

    def moved(module: Any, given: Any, found: Tensor) -> Tensor:
        return found * (1 + part * (2.0 * torch.randint(2, found.shape, generator=signs) - 1).to(found))

    hook = model.get_input_embeddings().register_forward_hook(moved)
    try:
        yield
    finally:
        hook.remove()


@contextlib.contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """The model in evaluation mode, and afterwards in what it was before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


PRODUCTS = {"tf32": 2.0**-10, "bf16": 2.0**-7}
"""Relative errors of the factors of a product of float32, where torch is asked for less than that."""


def of_products() -> float:
    """The relative error of one rounding in products of float32 matrices, beyond float32's own."""
    backends: Any = torch.backends  # of whose parts torch does not say all types
    asked = (part.fp32_precision for part in (backends.cuda.matmul, backends.mkldnn.matmul, backends))
    return max(PRODUCTS.get(name, 0.0) for name in asked)
