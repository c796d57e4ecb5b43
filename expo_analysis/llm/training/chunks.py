r"""Scores of tokens under a head over the whole vocabulary, a chunk of tokens at a time, in buffers that are reused.

N tokens and a vocabulary of V words have N V logits, often the largest tensor of a step. Here C of the N tokens have
theirs at a time, always in the same C x V blocks, so that memory grows with C V + N H and never with N V. The backward
pass computes the logits of each chunk once more, but for the last one, which it begins with.

For logits z = a (W s + b), or c tanh of that over c, and p = softmax(z), the scores of a token t are log p_t and,
beside a reference q, sum_v q_v log(q_v / p_v). With upstream gradients g and h their gradient is
(h - g) p - h q + g 1_t.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...divergences import ForwardKL
from .scores import BESIDE, NAMES, Divergence, Head, Reference


@contextlib.contextmanager
def _plain(device: torch.device) -> Iterator[None]:
    """No autocast: the dtype of every product is chosen here."""
    with torch.autocast(device.type, enabled=False):
        yield


class _Blocks:
    """The blocks of C x V numbers that all chunks share."""

    def __init__(self, head: Head, states: Tensor, size: int, compute: torch.dtype, beside: bool) -> None:
        shape, device = (size, head.weight.shape[0]), states.device
        self.dtype = torch.promote_types(compute, torch.float32)
        self.logits, self.probs = (torch.empty(shape, dtype=self.dtype, device=device) for _ in range(2))
        self.low = None if compute == self.dtype else torch.empty(shape, dtype=compute, device=device)
        self.ref_logits = torch.empty(shape, dtype=self.dtype, device=device) if beside else None
        self.ref_probs = torch.empty(shape, dtype=self.dtype, device=device) if beside else None

    def multiply(self, states: Tensor, head: Head, out: Tensor) -> Tensor:
        """a (W s + b) of a chunk, before any cap, in ``out``."""
        out = out[: len(states)]
        if self.low is None:
            torch.mm(states, head.weight.T, out=out)
        else:
            out.copy_(torch.mm(states, head.weight.T, out=self.low[: len(states)]))
        if head.bias is not None:
            out.add_(head.bias)
        return out if head.scale == 1 else out.mul_(head.scale)


def _cap(logits: Tensor, cap: float | None) -> Tensor:
    return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)


def _softmax(logits: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """exp(z - max z) of a chunk in ``out``, and its sums; the logits become z - max z."""
    logits.sub_(logits.amax(dim=1, keepdim=True))
    powers = torch.exp(logits, out=out[: len(logits)])
    return powers, powers.sum(dim=1)


@dataclass(frozen=True)
class _Plan:
    """What does not change from chunk to chunk, beside the tensors."""

    scale: float
    cap: float | None
    size: int
    compute: torch.dtype
    divergence: Divergence | None
    ref_scale: float
    ref_cap: float | None

    @property
    def forward_kl(self) -> bool:
        return type(getattr(self.divergence, "divergence", None)) is ForwardKL


class _TokenScores(torch.autograd.Function):
    """`measure` in chunks."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        ref_states: Tensor | None,
        ref_weight: Tensor | None,
        ref_bias: Tensor | None,
        ref_logits: Tensor | None,
        plan: _Plan,
    ) -> tuple[Tensor, ...]:
        given = (states, weight, bias, targets, ref_states, ref_weight, ref_bias, ref_logits)
        work = _Work(given, plan)
        with _plain(states.device):
            found = work.forward()
        ctx.save_for_backward(*given)
        ctx.plan, ctx.last = plan, work.last
        ctx.mark_non_differentiable(*found[1:-1] if plan.divergence is not None else found[1:])
        return found

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        work = _Work(ctx.saved_tensors, ctx.plan, ctx.last)
        ctx.last = None
        with torch.no_grad(), _plain(slopes[0].device):
            beside = slopes[-1] if ctx.plan.divergence is not None else None
            return (*work.backward(slopes[0], beside, *ctx.needs_input_grad[1:3]), *[None] * 6)


class _Work:
    """Both passes over the chunks."""

    def __init__(self, given: tuple[Tensor | None, ...], plan: _Plan, last: _Blocks | None = None) -> None:
        states, weight, bias, targets, ref_states, ref_weight, ref_bias, self.ref_logits = given
        assert states is not None and weight is not None and targets is not None
        self.plan, self.targets, self.last = plan, targets, last
        self.states, self.head = self._cast(states), Head(self._cast(weight), bias, plan.scale, plan.cap)
        self.ref_states, self.ref_head = None, None
        if ref_states is not None and ref_weight is not None:
            self.ref_states = self._cast(ref_states)
            self.ref_head = Head(self._cast(ref_weight), ref_bias, plan.ref_scale, plan.ref_cap)
        count = len(states)
        size = min(plan.size, max(count, 1))
        # the last chunk is a full one: its blocks are kept for the backward pass, which needs no fewer
        starts = [0, *range(count % size or size, count, size)]
        self.parts = [slice(start, end) for start, end in zip(starts, [*starts[1:], count], strict=True)]
        self.blocks = last or _Blocks(self.head, self.states, size, plan.compute, plan.divergence is not None)

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.plan.compute)

    def _ref(self, part: slice) -> tuple[Tensor, Tensor]:
        """log q and q of a chunk."""
        blocks = self.blocks
        assert blocks.ref_logits is not None and blocks.ref_probs is not None
        if self.ref_states is not None and self.ref_head is not None:
            logits = blocks.multiply(self.ref_states[part], self.ref_head, blocks.ref_logits)
            _cap(logits, self.ref_head.cap)
        else:
            assert self.ref_logits is not None
            logits = blocks.ref_logits[: part.stop - part.start].copy_(self.ref_logits[part])
        powers, sums = _softmax(logits, blocks.ref_probs)
        return logits.sub_(sums.log()[:, None]), powers.div_(sums[:, None])

    def forward(self) -> tuple[Tensor, ...]:
        names = [*NAMES, *(BESIDE if self.plan.divergence is not None else ())]
        blocks = self.blocks
        found = {
            name: torch.empty(
                len(self.states), dtype=torch.bool if name == "is_top1" else blocks.dtype, device=self.states.device
            )
            for name in names
        }
        for part in self.parts:
            logits = _cap(blocks.multiply(self.states[part], self.head, blocks.logits), self.head.cap)
            targets = self.targets[part]
            found["mean_logits"][part] = logits.mean(dim=1)
            found["is_top1"][part] = logits.argmax(dim=1) == targets
            powers, sums = _softmax(logits, blocks.probs)
            logits.sub_(sums.log()[:, None])
            probs = powers.div_(sums[:, None])
            found["log_probs"][part] = logits.gather(1, targets[:, None])[:, 0]
            found["entropy"][part] = -torch.linalg.vecdot(probs, logits)
            found["log_sum_squares"][part] = torch.linalg.vecdot(probs, probs).log()
            if self.plan.divergence is not None:
                ref_logp, ref_probs = self._ref(part)
                if not self.plan.forward_kl:
                    found["divergence"][part] = self.plan.divergence(logits, ref_logp)
                gap = ref_logp.sub_(logits)  # before it is summed: equal distributions have a divergence of exactly 0
                found["reverse_kl"][part] = -torch.linalg.vecdot(probs, gap)
                if self.plan.forward_kl:
                    found["divergence"][part] = torch.linalg.vecdot(ref_probs, gap)
        if self._reusable:
            self.last = blocks
        return tuple(found.values())

    @property
    def _reusable(self) -> bool:
        """Whether p and q of the last chunk are all that its backward pass needs."""
        return self.plan.cap is None and (self.plan.divergence is None or self.plan.forward_kl)

    def backward(
        self, slope: Tensor, slope_beside: Tensor | None, weight_too: bool, bias_too: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        states, weight, bias = self.states, self.head.weight, self.head.bias
        d_states = torch.empty_like(states)
        d_weight = torch.zeros_like(weight, dtype=self.blocks.dtype) if weight_too else None
        d_bias = torch.zeros_like(bias, dtype=self.blocks.dtype) if bias_too and bias is not None else None
        for place, part in reversed(list(enumerate(self.parts))):
            kept = self.last is not None and place == len(self.parts) - 1
            d_logits = self._d_logits(part, slope[part], None if slope_beside is None else slope_beside[part], kept)
            if self.plan.scale != 1:
                d_logits.mul_(self.plan.scale)
            if d_bias is not None:
                d_bias.add_(d_logits.sum(dim=0))
            low = self.blocks.low
            d_low = d_logits if low is None else low[: len(d_logits)].copy_(d_logits)
            torch.mm(d_low, weight, out=d_states[part])
            if d_weight is not None and low is None:
                d_weight.addmm_(d_low.T, states[part])
            elif d_weight is not None:
                d_weight.add_(d_low.T @ states[part])
        return d_states, d_weight, d_bias

    def _d_logits(self, part: slice, slope: Tensor, slope_beside: Tensor | None, kept: bool) -> Tensor:
        """The gradient in a chunk's logits, before the scale."""
        blocks, targets = self.blocks, self.targets[part]
        count = part.stop - part.start
        curve = None
        if kept:
            probs = blocks.probs[:count]
            ref_probs = None if blocks.ref_probs is None else blocks.ref_probs[:count]
        else:
            logits = _cap(blocks.multiply(self.states[part], self.head, blocks.logits), self.head.cap)
            if self.head.cap is not None:
                curve = 1 - (logits / self.head.cap).square_()
            powers, sums = _softmax(logits, blocks.probs)
            logits.sub_(sums.log()[:, None])
            probs, ref_probs = powers.div_(sums[:, None]), None
            if slope_beside is not None:
                ref_logp, ref_probs = self._ref(part)
                if not self.plan.forward_kl:
                    return self._by_autograd(logits, ref_logp, targets, slope, slope_beside, curve)
        if slope_beside is None or ref_probs is None:
            d_logits = probs.mul_(-slope[:, None])
        else:
            d_logits = probs.mul_((slope_beside - slope)[:, None]).sub_(ref_probs.mul_(slope_beside[:, None]))
        d_logits.scatter_add_(1, targets[:, None], slope[:, None])
        return d_logits if curve is None else d_logits.mul_(curve)

    def _by_autograd(
        self, logp: Tensor, ref_logp: Tensor, targets: Tensor, slope: Tensor, beside: Tensor, curve: Tensor | None
    ) -> Tensor:
        """The same for any other divergence, whose derivative is torch's."""
        assert self.plan.divergence is not None
        with torch.enable_grad():
            leaf = logp.detach().requires_grad_()
            value = self.plan.divergence(leaf, ref_logp)
            (d_logp,) = torch.autograd.grad(value, leaf, beside)
        d_logp.scatter_add_(1, targets[:, None], slope[:, None])
        d_logits = d_logp - logp.exp() * d_logp.sum(dim=1, keepdim=True)
        return d_logits if curve is None else d_logits.mul_(curve)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def token_scores(
    states: Tensor,
    head: Head,
    targets: Tensor,
    reference: Reference | None = None,
    divergence: Divergence | None = None,
    size: int = 256,
) -> tuple[Tensor, ...]:
    """`measure` of the head's logits of N tokens, ``size`` of them at a time.

    Args:
        states: (N, H), where each token is predicted. N may be 0.
        targets: (N,), the tokens.
        reference, divergence: both or neither.

    Returns:
        One tensor (N,) for each of `NAMES`, and of `BESIDE` where there is a reference; differentiable in states,
        weight and bias.

    Example:
        >>> import torch
        >>> token_scores(torch.zeros(1, 2), Head(torch.ones(4, 2)), torch.tensor([3]))[0].exp()
        tensor([0.2500])
    """
    compute = states.dtype
    if torch.is_autocast_enabled(states.device.type):
        compute = torch.get_autocast_dtype(states.device.type)
    elif head.weight.dtype != states.dtype:
        compute = torch.promote_types(states.dtype, head.weight.dtype)
    ref = reference or Reference()
    ref_head = ref.head or Head(head.weight)
    plan = _Plan(
        scale=float(head.scale),
        cap=head.cap,
        size=size,
        compute=compute,
        divergence=divergence if reference is not None else None,
        ref_scale=float(ref_head.scale),
        ref_cap=ref_head.cap,
    )
    beside = (None, None) if ref.head is None else (ref.head.weight, ref.head.bias)
    return _TokenScores.apply(states, head.weight, head.bias, targets, ref.states, *beside, ref.logits, plan)
