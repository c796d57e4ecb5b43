"""The preference term of a batch: what each loss reads of its responses, and what it makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...losses import PairObjective
from ...losses.responses import at_ends
from ..data.feedback import LISTS, SINGLES
from .aggregation import TOKEN_MEAN, scale
from .derived import derived_data, rewards_in
from .links import Links
from .objectives import Mixture


def preference_losses(
    mixture: Mixture,
    everyone: Links,
    keep: Tensor,
    sums: Tensor,
    ref_sums: Tensor | None,
    lengths: Tensor,
    batch: Mapping[str, Any],
    weights: Tensor,
    whole: Tensor,
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """The sum of all terms for each example that counts, (B,), and those that are means over all tokens.

    Args:
        everyone: the links of the batch.
        keep: the numbers of its examples that count.
        sums, ref_sums, lengths: log pi, log pi_ref and numbers of tokens of all responses of the batch.
        weights: of the examples that count, for means over tokens.
        whole: log pi of all responses without the weights of LD-DPO, which a likelihood has not.
    """
    links = everyone.only(keep)
    total, likelihood = sums.new_zeros(links.examples), None
    known = _known(mixture, everyone, lengths.to(sums.dtype), batch)
    for term in mixture.unpaired if links.feedback == SINGLES else mixture.terms:
        if term.aggregation == TOKEN_MEAN:
            winner, counts = links.ends[0], links.chosen.to(sums)
            likelihood = (
                -term.weight * (weights[links.of] * counts * whole[winner]).sum(),
                (counts * lengths[winner]).sum(),
            )
            continue
        logps = scale(sums, lengths, term.aggregation)
        references = None
        if term.objective.facts.needs_reference:
            assert ref_sums is not None
            references = scale(ref_sums, lengths, term.aggregation)
        if links.feedback == LISTS and term.objective.listwise:
            each = _choice_losses(term.objective, links, logps, references)
        else:
            data = known | derived_data(term.objective, everyone, batch, known["length"])
            each = _comparison_losses(term.objective, links, logps, references, data)
        total = total + term.weight * each
    return total, likelihood


def _comparison_losses(
    objective: PairObjective, links: Links, logps: Tensor, references: Tensor | None, data: Mapping[str, Tensor]
) -> Tensor:
    """A loss of pairs on all comparisons, summed with their shares for each example, (B,)."""
    ends = tuple(links.ends)
    values = {**data, "logp": logps} | ({} if references is None else {"ref_logp": references})
    both = (logps,) if references is None else (logps, references)
    read = (array[end] for array in both for end in ends[:2])
    return links.sum_of(objective.loss(*read, **at_ends(objective, values, ends)))


def _choice_losses(objective: PairObjective, links: Links, logps: Tensor, references: Tensor | None) -> Tensor:
    """-log softmax(s)_c of each list's choices, of its first among all, of its second among the rest ..., (B,)."""
    (term,) = objective.facts.terms
    score = term.statistic.scale * (logps if references is None else logps - references)
    found = []
    for places, ranked in links.orders:
        own = score[places]
        among = own.flip(0).logcumsumexp(dim=0).flip(0)
        choices = min(ranked, len(own) - 1)  # the last of all has nobody to be chosen from
        found.append((among - own)[:choices].sum())
    return torch.stack(found) if found else logps[:0]  # which still has a gradient, of zero


def _known(mixture: Mixture, links: Links, lengths: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the data say of all responses of the batch, beside log-probabilities, by name."""
    found = {"length": lengths.clamp(min=1)}  # as in `aggregation.scale`: where nothing counts, sums are 0
    if links.feedback == SINGLES:
        one = torch.ones_like(lengths)
        liked = one if links.liked is None else lengths.new_tensor(batch["label"])
        found |= {"liked": liked, "disliked": one if links.liked is None else 1 - liked}
    rewards = rewards_in(batch, len(lengths)) if mixture.reads_rewards else None
    return found if rewards is None else found | {"reward": rewards.to(lengths)}
