r"""What is logged besides the loss, with TRL's names where TRL has it.

Each is a mean over all pairs, or tokens, that were seen since the last log: a sum divided by a sum, over micro-batches,
batches of an evaluation and processes, whatever their sizes.

==============================  =======================================================================================
loss                            the loss; of an evaluation set called a it is eval_a_loss, and so with all others
rewards/chosen, /rejected       lam log(pi/pi_ref); lam log pi for losses that do not read the reference (as in TRL's
                                CPO trainer). TRL's ``beta`` is lam
rewards/accuracies, /margins    how often, and by how much, the chosen response has the higher reward
logps/chosen, /rejected         log pi of the responses, aggregated as the loss is
logits/chosen, /rejected        mean logit of the responses' tokens, over the vocabulary
entropy, mean_token_accuracy    of the next-token distributions, on all responses and on the chosen ones
kl/reference_policy             KL(pi_ref || pi) per sequence
kl/policy_reference             KL(pi || pi_ref) per sequence
kl/..._per_token                the same sums divided by the numbers of tokens
mass/chosen, /rejected          log(pi/pi_ref) of the sequences in nats: by which factor exp(.) their mass has moved
mass/both_fell                  share of pairs of which both responses have lost mass: likelihood displacement
loss/preference, /regulariser   the two parts of the loss, the second before it is multiplied by lam
aux_loss                        the load-balancing loss of a mixture of experts, before its coefficient
==============================  =======================================================================================

Those with ``kl/`` and ``mass/`` need the reference's log-probabilities: they are there where the loss reads them, where
its regulariser is token-wise, and where ``precompute_ref_log_probs`` is set (which costs one pass over the data, and no
memory).

**Estimates of the KLs.** With a token-wise regulariser both are sums over the whole vocabulary along the prefixes that
it uses. Otherwise they are estimated from the pair's own responses, as if these had been drawn from pi_ref: the mean of
-log r for the first, and of r log r - r + 1 for the second, where r = pi/pi_ref. Both are unbiased under that condition
only, and the second has heavy tails for long responses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...numerics import exp

Ratio = tuple[Tensor, Tensor]
"""Numerator and denominator of a mean: they add up over batches and processes."""

LIKELIHOOD = "_likelihood"
"""The part of the loss that is a mean over tokens, which is added to the means over pairs."""


@dataclass(frozen=True)
class BatchValues:
    """What the metrics of a batch of B pairs are made of; everything is detached.

    losses, regulariser     (B,), weighted, the latter None where there is none
    logps, ref_logps        (2, B): log pi and log pi_ref of chosen and rejected, aggregated; the latter may be None
    reads_reference, lam    whether rewards are relative to the reference, and their scale
    sequence_logps          (2, B): log pi, summed over tokens
    sequence_ref_logps      the same under pi_ref, or None where it is not known
    lengths                 (2, B): numbers of tokens
    entropy, mean_logits, is_top1   (2 B, T), per token
    mask                    (2 B, T)
    token_kls               KL(pi_ref || pi), KL(pi || pi_ref) and length of each prefix that was compared, or None;
                            the first is None where the regulariser is another divergence
    """

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
        """(2, B)."""
        if self.reads_reference and self.ref_logps is not None:
            return self.lam * (self.logps - self.ref_logps)
        return self.lam * self.logps


def batch_metrics(values: BatchValues) -> dict[str, Ratio]:
    """The metrics of a batch, each as a numerator and a denominator."""
    found: dict[str, Ratio] = {}
    rewards = values.rewards
    for row, name in enumerate(("chosen", "rejected")):
        found[f"rewards/{name}"] = mean(rewards[row])
        found[f"logps/{name}"] = mean(values.logps[row])
        found[f"logits/{name}"] = mean(values.mean_logits.chunk(2)[row], values.mask.chunk(2)[row])
    margins = rewards[0] - rewards[1]
    found["rewards/margins"] = mean(margins)
    found["rewards/accuracies"] = mean((margins > 0).to(margins.dtype))
    found["entropy"] = mean(values.entropy, values.mask)
    found["mean_token_accuracy"] = mean(values.is_top1.chunk(2)[0].to(margins.dtype), values.mask.chunk(2)[0])
    found["loss/preference"] = mean(values.losses)
    if values.regulariser is not None:
        found["loss/regulariser"] = mean(values.regulariser)
    if values.sequence_ref_logps is not None:
        moved = values.sequence_logps - values.sequence_ref_logps
        found["mass/chosen"], found["mass/rejected"] = mean(moved[0]), mean(moved[1])
        found["mass/both_fell"] = mean((moved < 0).all(dim=0).to(moved.dtype))
        ratio = exp(moved)
        _add_kl(found, "reference_policy", -moved, values.lengths)
        _add_kl(found, "policy_reference", ratio * moved - ratio + 1, values.lengths)
    if values.token_kls is not None:
        forward, reverse, lengths = values.token_kls
        if forward is not None:
            _add_kl(found, "reference_policy", forward, lengths)
        _add_kl(found, "policy_reference", reverse, lengths)
    return found


def _add_kl(found: dict[str, Ratio], name: str, values: Tensor, lengths: Tensor) -> None:
    found[f"kl/{name}"] = mean(values)
    found[f"kl/{name}_per_token"] = (values.sum(), lengths.sum())


def mean(values: Tensor, mask: Tensor | None = None) -> Ratio:
    """Sum and number of the values, of those in the mask if there is one."""
    if mask is None:
        return values.sum(), torch.tensor(values.numel(), device=values.device)
    return torch.where(mask.bool(), values, values.new_zeros(())).sum(), mask.sum()


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
        found = {name: a / b if b else 0.0 for name, a, b in zip(names, above, below, strict=True)}
        found["loss/preference"] += found.pop(LIKELIHOOD, 0.0)
        found["loss"] = (
            found["loss/preference"]
            + strength * found.get("loss/regulariser", 0.0)
            + router_coef * found.get("aux_loss", 0.0)
        )
        return found
