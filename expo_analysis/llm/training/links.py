"""Which responses of a batch its losses compare, and which example each is of.

A batch's responses stand one below the other: of pairs all chosen ones, then all rejected ones, then all third ones if
there are any; single responses as they come; lists one after the other, each in its own order. A loss of pairs reads
comparisons of a winner and a loser: the pair itself; of a list all its pairs, each with the weight 1/number of pairs;
a single response is both, and labels say which of the two counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..data.feedback import KINDS, LABEL, LISTS, PAIRS, SINGLES, Feedback

MISSING = -100.0
"""What stands in a table of a batch's lists beyond the end of shorter ones, as transformers pads predictions."""


@dataclass(frozen=True)
class Links:
    """Comparisons of a batch with B examples and R responses.

    feedback    the kind of the examples
    examples    B
    rows        (R,) the responses: places in the batch
    owner       (R,) the example of each
    ends        (3, P) places of winner, loser and third response of each comparison; without a third it is the winner
    of          (P,) the example of each comparison
    share       (P,) its weight in the example, where all weights add up to 1
    liked       (P,) of single responses: 1 where it counts as a winner, else 0; None where it counts as both
    orders      of lists: places of each example's responses, best first and those without a rank last, and how many
                have a rank
    """

    feedback: Feedback
    examples: int
    rows: Tensor
    owner: Tensor
    ends: Tensor
    of: Tensor
    share: Tensor
    liked: Tensor | None = None
    orders: tuple[tuple[Tensor, int], ...] = ()

    @classmethod
    def of_batch(cls, batch: Mapping[str, Any], scored: bool = False) -> Links:
        """Those of a batch of `PreferenceCollator`; ``scored`` where labels do not count."""
        kind = feedback_in(batch)
        rows = torch.arange(len(batch["input_ids"]))
        if kind == LISTS:
            return _of_lists(batch["ranking"], batch["sizes"], rows)
        count = len(rows) // len(kind.sides)
        each = rows[:count]
        parts = list(rows.view(len(kind.sides), count))
        ends = torch.stack([parts[0], parts[min(1, len(parts) - 1)], parts[2] if len(parts) > 2 else parts[0]])
        liked = None
        if kind == SINGLES and LABEL in batch and not scored:
            liked = torch.tensor(batch[LABEL], dtype=torch.float64)
        share = torch.ones(count, dtype=torch.float64)
        return cls(kind, count, rows, each.repeat(len(parts)), ends, each, share, liked)

    def to(self, device: torch.device) -> Links:
        return replace(
            self,
            **{name: getattr(self, name).to(device) for name in ("rows", "owner", "ends", "of", "share")},
            liked=None if self.liked is None else self.liked.to(device),
            orders=tuple((places.to(device), ranked) for places, ranked in self.orders),
        )

    def only(self, keep: Tensor) -> Links:
        """Those of some of the examples, which are numbered anew."""
        number = torch.full((self.examples,), -1, device=keep.device)
        number[keep] = torch.arange(len(keep), device=keep.device)
        own, here = number[self.owner] >= 0, number[self.of] >= 0
        return replace(
            self,
            examples=len(keep),
            rows=self.rows[own],
            owner=number[self.owner[own]],
            ends=self.ends[:, here],
            of=number[self.of[here]],
            share=self.share[here],
            liked=None if self.liked is None else self.liked[here],
            orders=tuple(self.orders[k] for k in keep.tolist()) if self.orders else (),
        )

    @property
    def chosen(self) -> Tensor:
        """(P,) how much the winner of each comparison counts."""
        return self.share if self.liked is None else self.share * self.liked

    @property
    def compares(self) -> bool:
        """Whether a comparison has two responses."""
        return self.feedback != SINGLES

    def sides(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Places and weights of the responses that metrics are means over, by the name of the side."""
        if self.feedback == SINGLES and self.liked is None:
            return {"completion": (self.ends[0], self.share)}
        found = {"chosen": (self.ends[0], self.chosen), "rejected": (self.ends[1], self.share)}
        if self.liked is not None:
            found["rejected"] = (self.ends[1], 1 - self.liked)
        if len(self.feedback.sides) > 2:
            found["third"] = (self.ends[2], self.share)
        return found

    def sum_of(self, values: Tensor) -> Tensor:
        """Of numbers of comparisons (P,) the weighted sum in each example, (B,)."""
        return values.new_zeros(self.examples).index_add(0, self.of, self.share.to(values) * values)

    def mean_of(self, values: Tensor) -> Tensor:
        """Of numbers of all responses of the batch the mean over those of each example, (B,)."""
        own = values[self.rows]
        total = own.new_zeros(self.examples).index_add(0, self.owner, own)
        return total / own.new_zeros(self.examples).index_add(0, self.owner, torch.ones_like(own))

    def by_side(self, values: Tensor) -> dict[str, Tensor]:
        """Numbers of all responses of a batch by the column that they are of: (B,), of lists (B, K)."""
        if self.feedback != LISTS:
            return dict(zip(self.feedback.sides, values.view(-1, self.examples), strict=True))
        parts = list(values.split(torch.bincount(self.owner, minlength=self.examples).tolist()))
        padded = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=MISSING)
        return {self.feedback.sides[0]: padded}


def feedback_in(batch: Mapping[str, Any]) -> Feedback:
    """The kind of a batch's examples."""
    return KINDS[batch.get("feedback", PAIRS.name)]


def _of_lists(rankings: list[list[int]], sizes: list[int], rows: Tensor) -> Links:
    """Every response that has a rank beats those after it, and those without a rank."""
    ends: list[tuple[int, int]] = []
    of: list[int] = []
    share: list[float] = []
    orders = []
    start = 0
    for example, (ranking, size) in enumerate(zip(rankings, sizes, strict=True)):
        order = [*ranking, *(k for k in range(size) if k not in ranking)]
        pairs = [(a, b) for place, a in enumerate(ranking) for b in order[place + 1 :]]
        ends += [(start + a, start + b) for a, b in pairs]
        of += [example] * len(pairs)
        share += [1 / len(pairs)] * len(pairs)
        orders.append((rows[[start + k for k in order]], len(ranking)))
        start += size
    winner, loser = torch.tensor(ends).T
    owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    shares = torch.tensor(share, dtype=torch.float64)
    return Links(
        LISTS,
        len(sizes),
        rows,
        owner,
        torch.stack([winner, loser, winner]),
        torch.tensor(of),
        shares,
        None,
        tuple(orders),
    )
