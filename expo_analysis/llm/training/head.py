r"""A model's own forward pass, taught to return scores of tokens in the place of logits.

`add_scores` lets ``model(..., labels=labels, ask=Ask(...))`` return what a loss needs of every token, without the N x V
logits of a step in memory (`chunks`). It has to be inside of forward, where DDP, FSDP and DeepSpeed hook in.

How the logits come from a model's last states is not guessed: `candidates` lists ways to compute them, from the fastest
to the model's own forward pass, and `checks.choose_way` takes the first that gives the model's own logits.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import types
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint
from transformers.integrations import is_deepspeed_zero3_enabled

from .chunks import token_scores
from .scores import BESIDE, NAMES, Divergence, Head, Reference, measure, shape_logits

MULTIPLIERS = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
"""Settings of models that multiply logits, or divide them: both are tried."""
CAPS = ("final_logit_softcapping", "output_logit_soft_cap", "logits_soft_cap")
"""Settings of models that bound logits by c tanh(z / c)."""


@dataclass(frozen=True)
class Way:
    """How logits come from a model: a (W s + b) with its weights, with its module, or its own forward pass.

    kind    "weight", "module" or "logits"
    scale   a; 1 for "logits"
    cap     c of c tanh(z / c), or None
    """

    kind: str
    scale: float = 1.0
    cap: float | None = None


LOGITS = Way("logits")


@dataclass(frozen=True)
class Ask:
    """What is asked of a model beside, or in the place of, logits.

    way         how its logits are made
    size        how many tokens have their logits in memory at a time
    as_reference    return a `Reference` instead of scores; ``copy_head`` where sharding frees weights after forward
    reference, divergence   what the next-token distributions are compared with, and how
    router      the load-balancing loss of a mixture of experts too, as "aux_loss"
    """

    way: Way
    size: int = 256
    as_reference: bool = False
    copy_head: bool = False
    reference: Reference | None = None
    divergence: Divergence | None = None
    router: bool = False


def base_of(model: Any) -> Any:
    """The transformers model inside of a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def candidates(model: Any) -> list[Way]:
    """Ways to a model's logits, fastest first; the last one is always right."""
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    if head is None or model.base_model is model:
        return [LOGITS]
    factors = [getattr(config, name, None) for name in MULTIPLIERS]
    scales = [1.0, *(a for x in factors if isinstance(x, (int, float)) and x not in (0, 1) for a in (x, 1 / x))]
    found = [getattr(config, name, None) for name in CAPS]
    caps = [None, *(cap for cap in found if isinstance(cap, (int, float)) and cap > 0)]
    # what the configuration names is usually what the model does
    ordered = list(itertools.product(reversed(scales), reversed(caps)))
    plain = type(head) is nn.Linear and not hasattr(head, "_hf_hook") and not is_deepspeed_zero3_enabled()
    kinds = ("weight", "module") if plain else ("module",)
    return [*(Way(kind, scale, cap) for kind in kinds for scale, cap in ordered), LOGITS]


def add_scores(model: Any) -> None:
    """Teach a transformers model to answer an `Ask`; without one its forward pass is what it was.

    A copy of the model answers with its own weights. With ``labels`` (-100 where no token is asked for) and ``ask``,
    the answer is a dictionary of tensors of shape (rows, positions - 1): `NAMES`, and `BESIDE` where there is a
    reference, 0 where no token is asked for; ``"aux_loss"`` where the router's is asked for.
    """
    if not hasattr(model, "_plain_forward"):
        model._plain_forward = vars(model).get("forward")  # of a hook, such as that of a model on several devices
        model.forward = types.MethodType(_forward_of(model.__class__), model)


@functools.cache
def _forward_of(kind: Any) -> Any:
    @functools.wraps(kind.forward)  # `generate` reads the signature
    def forward(self: Any, *args: Any, ask: Ask | None = None, **kwargs: Any) -> Any:
        plain = self._plain_forward or functools.partial(kind.forward, self)
        if ask is None:
            return plain(*args, **kwargs)
        return _answer(self, plain, ask, *args, **kwargs)

    return forward


def _answer(model: Any, plain: Any, ask: Ask, *args: Any, labels: Tensor, **kwargs: Any) -> Any:
    targets = labels[:, 1:]
    mask = targets != -100
    aux_loss, logits, states = None, None, None
    if ask.way.kind == "logits":
        outputs = _with_router(model, plain, *args, **kwargs) if ask.router else plain(*args, **kwargs)
        logits, aux_loss = outputs.logits, getattr(outputs, "aux_loss", None)
    elif ask.router:
        states, aux_loss = _states_and_aux(model, plain, *args, **kwargs)
    else:
        states = model.base_model(*args, **kwargs).last_hidden_state
    if logits is not None:
        found: Any = _from_logits(logits[:, :-1][mask.to(logits.device)], targets[mask], ask)
    else:
        assert states is not None
        found = _from_states(model, states[:, :-1][mask.to(states.device)], targets[mask], ask)
    if ask.as_reference:
        return found
    names = [*NAMES, *(BESIDE if ask.reference is not None else ())]
    mask = mask.to(found[0].device)
    answer = {
        # masked_scatter keeps the graph whole where no token is asked for
        name: column.new_zeros(mask.shape).masked_scatter(mask, column)
        for name, column in zip(names, found, strict=True)
    }
    return answer if aux_loss is None else answer | {"aux_loss": aux_loss}


def _states_and_aux(model: Any, plain: Any, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """The last states and the router's loss, from the model's own forward pass with the logits of one position."""
    caught: list[Any] = []
    few = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(type(model).forward).parameters else {}
    handle = model.base_model.register_forward_hook(lambda module, given, output: caught.append(output))
    try:
        outputs = _with_router(model, plain, *args, **kwargs, **few)
    finally:
        handle.remove()
    return caught[-1].last_hidden_state, outputs.aux_loss


def _with_router(model: Any, plain: Any, *args: Any, **kwargs: Any) -> Any:
    """A forward pass with the router's loss.

    Raises:
        ValueError: for a model none of whose layers has a router, where its family's have one.
    """
    try:
        return plain(*args, **kwargs, output_router_logits=True)
    except IndexError as error:
        if "tuple index" not in str(error):
            raise
        raise ValueError(
            f"model {type(model).__name__} has no router in any of its layers, whose logits its load-balancing loss is "
            "made of: set router_aux_loss_coef=0"
        ) from error


def _from_logits(logits: Tensor, targets: Tensor, ask: Ask) -> Any:
    if ask.as_reference:
        return Reference(logits=logits)
    ref_logits = None if ask.reference is None else ask.reference.part(slice(None))
    return measure(logits, targets.to(logits.device), ref_logits, ask.divergence)


def _from_states(model: Any, states: Tensor, targets: Tensor, ask: Ask) -> Any:
    head, way = model.get_output_embeddings(), ask.way
    if way.kind == "weight":
        weight, bias = (_whole(tensor) for tensor in (head.weight, head.bias))
        assert weight is not None
        states = states.to(weight.device)
        own = Head(weight, bias, way.scale, way.cap)
        if ask.as_reference:
            fixed = (lambda x: x.detach().clone()) if ask.copy_head else (lambda x: x.detach())
            return Reference(states, Head(fixed(weight), None if bias is None else fixed(bias), way.scale, way.cap))
        return token_scores(states, own, targets.to(weight.device), ask.reference, ask.divergence, ask.size)
    if ask.as_reference:
        if is_deepspeed_zero3_enabled() and type(head) is nn.Linear:
            return Reference(states, Head(*_gathered(head, states), way.scale, way.cap))
        return Reference(logits=shape_logits(head(states), way.scale, way.cap))
    return _by_module(head, states, targets, ask)


def _by_module(head: Any, states: Tensor, targets: Tensor, ask: Ask) -> tuple[Tensor, ...]:
    """Scores in chunks through the head's own forward pass, recomputed in the backward pass."""

    def scores(states: Tensor, part: slice) -> tuple[Tensor, ...]:
        logits = shape_logits(head(states), ask.way.scale, ask.way.cap)
        ref_logits = None if ask.reference is None else ask.reference.part(part)
        return measure(logits, targets[part].to(logits.device), ref_logits, ask.divergence)

    found = []
    for start in range(0, max(len(states), 1), ask.size):  # no token at all is a chunk too, and keeps the graph whole
        part = slice(start, start + ask.size)
        if torch.is_grad_enabled() and len(states) > ask.size:
            found.append(checkpoint(scores, states[part], part, use_reentrant=False))
        else:
            found.append(scores(states[part], part))
    return tuple(torch.cat(column) for column in zip(*found, strict=True))


def _whole(tensor: Tensor | None) -> Tensor | None:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _gathered(head: Any, states: Tensor) -> tuple[Tensor, Tensor | None]:
    """Copies of a head's weight and bias, which ZeRO-3 gathers for the head's own forward pass only."""
    caught: list[tuple[Tensor, Tensor | None]] = []

    def catch(module: Any, given: Any) -> None:
        bias = None if module.bias is None else module.bias.detach().clone()
        caught.append((module.weight.detach().clone(), bias))

    handle = head.register_forward_pre_hook(catch)  # after DeepSpeed's own, which gathers
    try:
        head(states[:1])
    finally:
        handle.remove()
    return caught[0]
