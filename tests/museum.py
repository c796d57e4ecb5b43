"""A museum of bugs: historical faults of public preference-loss code, each beside its fixed twin.

All are written here from what their public descriptions say (the issue or pull request is named), as the small
functions that their libraries have; no code is copied. ``right`` is the loss of the catalogue that the twin is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

import expo_analysis as ea


@dataclass(frozen=True)
class Exhibit:
    """A fault. bug, fixed: functions. right: what the fixed one is. found_by: the assertion that has to notice.
    options: of `from_function`."""

    title: str
    source: str
    bug: Callable[..., Any]
    fixed: Callable[..., Any]
    right: ea.PairObjective
    options: dict[str, Any] = field(default_factory=dict)


def _gap(w, l, ref_w, ref_l):  # noqa: E741
    return w - l - ref_w + ref_l


def dpo(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    return -F.logsigmoid(beta * _gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps))


# ------------------------------------------------------------------------------------------------------------ signs


def ipo(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    return (_gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps) - 1 / (2 * beta)) ** 2


def ipo_sign(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    return (_gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps) + 1 / (2 * beta)) ** 2


def ipo_of_means(
    chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, chosen_lengths, rejected_lengths, beta
):
    won, lost = (
        (chosen_logps - ref_chosen_logps) / chosen_lengths,
        (rejected_logps - ref_rejected_logps) / rejected_lengths,
    )
    return (won - lost - 1 / (2 * beta)) ** 2


def references_swapped(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    return -F.logsigmoid(beta * _gap(chosen_logps, rejected_logps, ref_rejected_logps, ref_chosen_logps))


# -------------------------------------------------------------------------------------------------------- smoothing


def smoothed(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta, label_smoothing=0.1):
    gap = beta * _gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    return -(1 - label_smoothing) * F.logsigmoid(gap) - label_smoothing * F.logsigmoid(-gap)


def smoothing_ignored(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta, label_smoothing=0.1):
    return dpo(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta)


def robust(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta, label_smoothing=0.1):
    gap = beta * _gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    mixed = -(1 - label_smoothing) * F.logsigmoid(gap) + label_smoothing * F.logsigmoid(-gap)
    return mixed / (1 - 2 * label_smoothing)


def robust_sign(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta, label_smoothing=0.1):
    gap = beta * _gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    mixed = -(1 - label_smoothing) * F.logsigmoid(gap) - label_smoothing * F.logsigmoid(-gap)
    return mixed / (1 - 2 * label_smoothing)


# ----------------------------------------------------------------------------------------------------------- margins


def simpo(chosen_logps, rejected_logps, chosen_lengths, rejected_lengths, beta, gamma=0.5):
    return -F.logsigmoid(beta * (chosen_logps / chosen_lengths - rejected_logps / rejected_lengths) - gamma)


def simpo_gamma_by_beta(chosen_logps, rejected_logps, chosen_lengths, rejected_lengths, beta, gamma=0.5):
    return -F.logsigmoid(beta * (chosen_logps / chosen_lengths - rejected_logps / rejected_lengths - gamma))


def simpo_of_sums(chosen_logps, rejected_logps, beta, gamma=0.5):
    return -F.logsigmoid(beta * (chosen_logps - rejected_logps) - gamma)


# ----------------------------------------------------------------------------------------------------------- numbers


def orpo(chosen_logps, rejected_logps, chosen_lengths, rejected_lengths, beta):
    won, lost = chosen_logps / chosen_lengths, rejected_logps / rejected_lengths
    odds = (
        won - lost - torch.log(-torch.expm1(won.clamp(max=-1e-300))) + torch.log(-torch.expm1(lost.clamp(max=-1e-300)))
    )
    return -won - beta * F.logsigmoid(odds)


def orpo_low_precision(chosen_logps, rejected_logps, chosen_lengths, rejected_lengths, beta):
    won, lost = (chosen_logps / chosen_lengths).bfloat16(), (rejected_logps / rejected_lengths).bfloat16()
    odds = won - lost - torch.log1p(-torch.exp(won)) + torch.log1p(-torch.exp(lost))
    return -won - beta * F.logsigmoid(odds)


def exponential(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta, tau=0.05):
    gap = beta * _gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    share = torch.sigmoid(gap / tau)
    return -torch.sigmoid(-gap / tau) * F.logsigmoid(gap) + share * torch.exp(-gap.clamp(min=-600))


def exponential_that_overflows(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta, tau=0.05):
    gap = beta * _gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    share = torch.sigmoid(gap / tau)
    return -(1 - share) * F.logsigmoid(gap) + share * torch.exp(-gap)


def log_of_sigmoid(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    return -torch.log(torch.sigmoid(beta * _gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)))


# ----------------------------------------------------------------------------------------- divergences and constants


def forward_kl_fdpo(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    won, lost = ref_chosen_logps - chosen_logps, ref_rejected_logps - rejected_logps
    return -F.logsigmoid(beta * (torch.exp(lost.clamp(max=600)) - torch.exp(won.clamp(max=600))))


def reverse_for_forward(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    won, lost = chosen_logps - ref_chosen_logps, rejected_logps - ref_rejected_logps
    return -F.logsigmoid(beta * (won - lost))


def js_fdpo(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    won, lost = chosen_logps - ref_chosen_logps, rejected_logps - ref_rejected_logps
    return -F.logsigmoid(beta * (won - lost - F.softplus(won) + F.softplus(lost)))


def js_with_half_of_it(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    won, lost = chosen_logps - ref_chosen_logps, rejected_logps - ref_rejected_logps
    return -F.logsigmoid(beta * (won - lost) - (F.softplus(won) - F.softplus(lost)))


def bco(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    won, lost = beta * (chosen_logps - ref_chosen_logps), beta * (rejected_logps - ref_rejected_logps)
    return -F.logsigmoid(won) - F.logsigmoid(-lost)


def bco_with_log_ratio_constants(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    """f' = log u + 1 of the reverse KL: the constant cancels in DPO, and does not where responses are scored alone."""
    won, lost = beta * (chosen_logps - ref_chosen_logps + 1), beta * (rejected_logps - ref_rejected_logps + 1)
    return -F.logsigmoid(won) - F.logsigmoid(-lost)


def kto(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    won, lost = chosen_logps - ref_chosen_logps, rejected_logps - ref_rejected_logps
    return torch.sigmoid(-beta * won) + torch.sigmoid(beta * lost)


def kto_with_its_own_kl(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    """The KL that rewards are compared with, taken from the very responses, and not cut at 0."""
    won, lost = chosen_logps - ref_chosen_logps, rejected_logps - ref_rejected_logps
    kl = ((won + lost) / 2).detach()
    return torch.sigmoid(-beta * (won - kl)) + torch.sigmoid(beta * (lost - kl))


# ---------------------------------------------------------------------------------------------------- the wrong axis


def mean_over_pairs(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    gap = beta * _gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    return -F.logsigmoid(gap - gap.mean())


def summed_by_lengths(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, chosen_lengths, beta):
    losses = dpo(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta)
    return losses * chosen_lengths / chosen_lengths.sum()


def mean_over_tokens(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, chosen_lengths, beta):
    """A mean over the tokens of a batch, in which long answers count more than short ones."""
    losses = dpo(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta)
    return (losses * chosen_lengths).sum() / chosen_lengths.sum()


def mean_over_batch(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    return dpo(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta).mean()


class DistilledWithAttributes(torch.nn.Module):
    """Reads an attribute that nobody has set."""

    def __init__(self, beta: float = 0.1):
        super().__init__()
        self.beta = beta

    def forward(self, chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps):
        return (
            self.beta * _gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps) - self.margins
        ) ** 2


def distilled(
    chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, chosen_rewards, rejected_rewards, beta
):
    gap = beta * _gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    return (gap - (chosen_rewards - rejected_rewards)) ** 2


def reference_not_detached(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    """A reference that shares the policy's graph: here, one that is computed from the policy."""
    ref_chosen_logps = ref_chosen_logps + 0.1 * (chosen_logps - ref_chosen_logps)
    return dpo(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta)


MUSEUM = (
    Exhibit("IPO's sign", "many copies of eq. 17", ipo_sign, ipo, ea.IPO(1.0)),
    Exhibit("IPO of averaged log-probabilities", "TRL #1677, #1265", ipo_of_means, ipo, ea.IPO(1.0)),
    Exhibit("reference log-probabilities swapped", "many", references_swapped, dpo, ea.DPO(1.0)),
    Exhibit("label smoothing ignored", "TRL", smoothing_ignored, smoothed, ea.DPO(1.0, label_smoothing=0.1)),
    Exhibit(
        "robust DPO with conservative signs", "TRL", robust_sign, robust, ea.DPO(1.0, label_smoothing=0.1, robust=True)
    ),
    Exhibit("gamma multiplied by beta", "rlhf-book #358", simpo_gamma_by_beta, simpo, ea.SimPO(1.0)),
    Exhibit("SimPO of sums", "V18", simpo_of_sums, simpo, ea.SimPO(1.0)),
    Exhibit("log-odds in low precision", "TRL's ORPO", orpo_low_precision, orpo, ea.ORPO(1.0)),
    Exhibit("exp overflows", "DiscoPOP in TRL", exponential_that_overflows, exponential, ea.DiscoPOP(1.0)),
    Exhibit("log of a sigmoid", "many", log_of_sigmoid, dpo, ea.DPO(1.0)),
    Exhibit(
        "reverse for forward KL", "kl_div's arguments", reverse_for_forward, forward_kl_fdpo, ea.FDPO(1.0, "forward_kl")
    ),
    Exhibit("beta on one part only", "f-divergences in TRL", js_with_half_of_it, js_fdpo, ea.FDPO(1.0)),
    Exhibit("a constant that does not cancel", "TRL #6441", bco_with_log_ratio_constants, bco, ea.BCO(1.0)),
    Exhibit("KTO's KL from the same batch", "TRL #1380, LLaMA-Factory #8655", kto_with_its_own_kl, kto, ea.KTO(1.0)),
    Exhibit("mean over the wrong axis", "many", mean_over_pairs, dpo, ea.DPO(1.0)),
    Exhibit("normalised by the batch's tokens", "many", summed_by_lengths, dpo, ea.DPO(1.0)),
    Exhibit("a mean over the batch's tokens", "many", mean_over_tokens, mean_over_batch, ea.DPO(1.0)),
    Exhibit(
        "attributes that nobody set", "NeMo-RL #1388", DistilledWithAttributes, distilled, ea.RewardDistillation(1.0)
    ),
    Exhibit("a reference that is not detached", "many", reference_not_detached, dpo, ea.DPO(1.0)),
)
