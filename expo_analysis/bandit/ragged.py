"""Prompts with different responses: a bandit for each set of responses, and the weights of all prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from .._checks import as_floats, check_shape
from .._frozen import set_fields
from .._types import Floats
from .bandit import Bandit
from .display import count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RaggedBandit"]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class RaggedBandit:
    """Prompts whose responses differ, in number or by name, as parts that are `Bandit` each.

    An objective falls apart into prompts, and so do its optima, which `solve_ragged` finds. The risk over all prompts
    is the mean of theirs under `weights`, which sum to one over all.

    Args:
        parts: bandits, of one prompt or of several.
        weights: rho, a number for each prompt of all parts in their order; divided by its sum. Default: in proportion
            to the number of comparisons where all parts hold win counts, else equal.

    Attributes:
        parts: a tuple. weights: shape (prompts,).

    Example:
        >>> import expo_analysis as ea
        >>> two, three = ea.Bandit([0.5, 0.5], [0.6, 0.4]), ea.Bandit([0.2, 0.3, 0.5], [0.3, 0.3, 0.4])
        >>> [s.policy.round(2).tolist() for s in ea.solve_ragged(ea.EXPO(1e-3), ea.RaggedBandit([two, three]))]
        [[0.6, 0.4], [0.3, 0.3, 0.4]]
    """

    parts: tuple[Bandit, ...]
    weights: Floats

    def __init__(self, parts: Sequence[Bandit], weights: ArrayLike | None = None) -> None:
        kept = tuple(parts)
        if not kept or not all(isinstance(part, Bandit) for part in kept):
            raise ValueError("parts must be a sequence of at least one Bandit")
        sizes = [part.prompts or 1 for part in kept]
        if weights is not None:
            rho = as_floats("weights", weights)
            check_shape("weights", rho, (sum(sizes),))
            if not (np.isfinite(rho) & (rho >= 0)).all() or not 0 < rho.sum() < np.inf:
                raise ValueError("weights must be non-negative, finite and not all zero")
        elif len(counts := [part.counts for part in kept if part.counts is not None]) == len(kept):
            rho = np.concatenate([np.atleast_1d(own.sum(axis=(-1, -2))) for own in counts])
        else:
            rho = np.ones(sum(sizes))
        set_fields(self, parts=kept, weights=rho / rho.sum())

    @classmethod
    def from_comparisons(
        cls, reference: ArrayLike | None, comparisons: pd.DataFrame, *, ties: Literal["half", "drop"] = "half"
    ) -> RaggedBandit:
        """As `Bandit.from_comparisons`, in any form that has prompts: each has the responses that occur on it.

        Args:
            reference: ``"uniform"`` over the responses of each prompt; or a Series, whose responses all prompts have.
            comparisons: such as ``winner, loser, prompt``, optionally with ``weight`` and ``tie``. Memory grows with
                the pairs of each prompt's responses.

        Example:
            >>> import expo_analysis as ea, pandas as pd
            >>> rows = [("hi", "hello", "go away"), ("2 + 2", "4", "5"), ("2 + 2", "4", "22")]
            >>> pairs = pd.DataFrame(rows, columns=["prompt", "chosen", "rejected"])
            >>> ea.RaggedBandit.from_comparisons("uniform", pairs)
            <RaggedBandit: 2 prompts, 2 to 3 responses, 2 sets of responses>

        Raises:
            ValueError: naming the row.
        """
        from .counting import from_frame

        found = from_frame(comparisons, reference, None, ties, None, own=True)
        return found if isinstance(found, RaggedBandit) else cls([found])

    @property
    def prompts(self) -> int:
        """Number of prompts in all parts."""
        return len(self.weights)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"a RaggedBandit has no {name!r}, as its prompts have different responses: take its parts, each of which "
            "is a Bandit",
            name=name,
            obj=self,
        )

    def __iter__(self) -> Iterator[Bandit]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        fewest, most = min(part.n for part in self.parts), max(part.n for part in self.parts)
        sizes = count(most, "response") if fewest == most else f"{fewest:,} to {count(most, 'response')}"
        different = f"{count(len(self.parts), 'set')} of responses"
        return f"<RaggedBandit: {count(self.prompts, 'prompt')}, {sizes}, {different}>"
