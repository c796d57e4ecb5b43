r"""What is logged besides the loss, with TRL's names where TRL has it.

Each is a mean over all pairs, or tokens, that were seen since the last log: a sum divided by a sum, over micro-batches,
batches of an evaluation and processes, whatever their sizes.

==============================  =======================================================================================
loss                            the loss; of an evaluation set called a it is eval_a_loss, and so with all others
rewards/chosen, /rejected       lam log(pi/pi_ref); lam log pi for losses that do not read the reference (as in TRL's
                                CPO trainer). TRL's ``beta`` is lam
rewards/accuracies, /margins    how often, and by how much, the chosen response has the higher reward
.../third                       the same of third responses
logps/chosen, /rejected         log pi of the responses, aggregated as the loss is
logits/chosen, /rejected        mean logit of the responses' tokens, over the vocabulary
entropy, mean_token_accuracy    of the next-token distributions, on all responses and on the chosen ones
kl/reference_policy             KL(pi_ref || pi) per sequence, exact along its prefixes: token-wise regularisers only
kl/policy_reference             KL(pi || pi_ref) per sequence, in the same way
kl_estimate/reference_policy, /policy_reference
                                importance estimates of the two from the pair's own responses; see below
kl/..., kl_estimate/..._per_token
                                the same sums divided by the numbers of tokens
mass/chosen, /rejected          log(pi/pi_ref) of the sequences in nats: by which factor exp(.) their mass has moved
mass/both_fell                  share of pairs of which both responses have lost mass: likelihood displacement
loss/preference, /regulariser   the two parts of the loss, the second before it is multiplied by lam
aux_loss                        the load-balancing loss of a mixture of experts, before its coefficient
==============================  =======================================================================================

Of lists all pairs count, each with its weight. Of single responses with labels ``chosen`` are the good ones and
``rejected`` the others, and margins the difference of their means; of those with scores all are ``.../completion``. A
mean over no response at all is left out of a log.

Those with ``mass/`` and ``kl_estimate/`` need log pi_ref of the responses: they are there where the loss reads it, and
where ``precompute_ref_log_probs`` or ``use_ref_columns`` is set, and not under ``ld_alpha``, which weights tokens.

**Two kinds of KLs, under two names.** With a token-wise regulariser ``kl/`` is a sum over the whole vocabulary at every
prefix that it uses. Without one nothing is known but the pair's own responses. What is estimated from them, as if they
had been drawn from pi_ref, is called ``kl_estimate/``: the mean of -log r for the first, and of r log r - r + 1 for the
second, where r = pi/pi_ref. Both are unbiased under that condition only, which chosen responses and other data do not
meet, and the second has a tail as heavy as r: it may be larger than the KL by many orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...numerics import exp
from .links import Links

Ratio = tuple[Tensor, Tensor]
"""Numerator and denominator of a mean: they add up over batches and processes."""

LIKELIHOOD = "_likelihood"
"""The part of the loss that is a mean over tokens, which is added to the means over pairs."""


@dataclass(frozen=True)
class BatchValues:
    """What the metrics of a batch with R responses are made of; everything is detached.

    links                   the examples that count, B of them
    losses, regulariser     (B,), weighted, the latter None where there is none
    logps, ref_logps        (R,): log pi and log pi_ref of all responses, aggregated; the latter may be None
    reads_reference, lam    whether rewards are relative to the reference, and their scale
    sequence_logps          (R,): log pi, summed over tokens
    sequence_ref_logps      the same under pi_ref, or None where it is not known
    lengths                 (R,): numbers of tokens
    entropy, mean_logits, is_top1   (R, T), per token
    mask                    (R, T)
    token_kls               KL(pi_ref || pi), KL(pi || pi_ref) and length of each prefix that was compared, or None;
                            the first is None where the regulariser is another divergence
    """

    links: Links
    losses: Tensor
    regulariser: Tensor | None
    logps: Tensor
    ref_logps: Tensor | None
    reads_reference: bool
    lam: float
    sequence_logps: Tensor
    sequence_ref_logps: Tensor | None
    lengths: Tensor
    entropy: Tensor
    mean_logits: Tensor
    is_top1: Tensor
    mask: Tensor
    token_kls: tuple[Tensor | None, Tensor, Tensor] | None

    @property
    def rewards(self) -> Tensor:
        """(R,)."""
        if self.reads_reference and self.ref_logps is not None:
            return self.lam * (self.logps - self.ref_logps)
        return self.lam * self.logps


def batch_metrics(values: BatchValues) -> dict[str, Ratio]:
    """The metrics of a batch, each as a numerator and a denominator."""
    found: dict[str, Ratio] = {}
    links, mask, rewards = values.links, values.mask, values.rewards
    sides = {name: (at, weight.to(rewards)) for name, (at, weight) in links.sides().items()}
    winner, loser = links.ends[:2]
    share = links.share.to(rewards)
    for name, (at, weight) in sides.items():
        found[f"rewards/{name}"] = mean(rewards[at], weight)
        found[f"logps/{name}"] = mean(values.logps[at], weight)
        found[f"logits/{name}"] = mean(values.mean_logits[at], mask[at] * weight[:, None])
    if links.compares:
        margins = rewards[winner] - rewards[loser]
        found["rewards/margins"] = mean(margins, share)
        found["rewards/accuracies"] = mean((margins > 0).to(margins.dtype), share)
    found["entropy"] = mean(values.entropy[links.rows], mask[links.rows])
    at, weight = next(iter(sides.values()))
    found["mean_token_accuracy"] = mean(values.is_top1[at].to(rewards.dtype), mask[at] * weight[:, None])
    found["loss/preference"] = mean(values.losses)
    if values.regulariser is not None:
        found["loss/regulariser"] = mean(values.regulariser)
    if values.sequence_ref_logps is not None:
        moved = values.sequence_logps - values.sequence_ref_logps
        for name, (at, weight) in sides.items():
            found[f"mass/{name}"] = mean(moved[at], weight)
        if links.compares:
            fell = (moved[winner] < 0) & (moved[loser] < 0)
            found["mass/both_fell"] = mean(fell.to(moved.dtype), share.to(moved.dtype))
        if values.token_kls is None:
            own, lengths = moved[links.rows], values.lengths[links.rows]
            ratio = exp(own)
            _add_kl(found, "kl_estimate/reference_policy", -own, lengths)
            _add_kl(found, "kl_estimate/policy_reference", ratio * own - ratio + 1, lengths)
    if values.token_kls is not None:
        forward, reverse, lengths = values.token_kls
        if forward is not None:
            _add_kl(found, "kl/reference_policy", forward, lengths)
        _add_kl(found, "kl/policy_reference", reverse, lengths)
    return found


def logged_names(ratios: Mapping[str, Ratio]) -> list[str]:
    """The names under which `Sums.means` gives what these come to, where no mean is over nothing."""
    found = {*ratios, "loss", "loss/preference"} - {LIKELIHOOD}
    if {"rewards/chosen", "rewards/rejected"} <= found:
        found.add("rewards/margins")
    return sorted(found)


def _add_kl(found: dict[str, Ratio], name: str, values: Tensor, lengths: Tensor) -> None:
    found[name] = mean(values)
    found[f"{name}_per_token"] = (values.sum(), lengths.sum())


def mean(values: Tensor, weights: Tensor | None = None) -> Ratio:
    """Sum and number of the values, or their weighted sum and the sum of weights; at weight 0 they may be anything."""
    if weights is None:
        return values.sum(), torch.tensor(values.numel(), device=values.device)
    weights = weights.to(values.dtype)
    return torch.where(weights > 0, values * weights, values.new_zeros(())).sum(), weights.sum()


class Sums:
    """Numerators and denominators of everything that was seen, in float64 where the device has it."""

    def __init__(self) -> None:
        self._parts: dict[str, Tensor] = {}

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, ratios: Mapping[str, Ratio]) -> None:
        for name, (above, below) in ratios.items():
            wide = torch.float32 if above.device.type == "mps" else torch.float64
            part = torch.stack([above.detach().to(wide), below.detach().to(wide)])
            self._parts[name] = self._parts[name] + part if name in self._parts else part

    def means(self, add_up: Callable[[Tensor], Tensor], strength: float, router_coef: float) -> dict[str, float]:
        """The means, and the loss that they make.

        Args:
            add_up: adds a tensor up over all processes, which all have the same metrics.
            strength, router_coef: what multiplies the regulariser and the router's loss in the loss.
        """
        names = sorted(self._parts)
        above, below = add_up(torch.stack([self._parts[name] for name in names])).T.tolist()
        found = {name: a / b for name, a, b in zip(names, above, below, strict=True) if b}
        found["loss/preference"] = found.get("loss/preference", 0.0) + found.pop(LIKELIHOOD, 0.0)
        if {"rewards/chosen", "rewards/rejected"} <= found.keys():  # single responses have no margins of their own
            found.setdefault("rewards/margins", found["rewards/chosen"] - found["rewards/rejected"])
        found["loss"] = (
            found["loss/preference"]
            + strength * found.get("loss/regulariser", 0.0)
            + router_coef * found.get("aux_loss", 0.0)
        )
        return found
