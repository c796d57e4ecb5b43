"""Losses that are made of another: the same, on data of another kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from .._types import Array
from ..divergences import Divergence
from .base import PairObjective


@dataclass(frozen=True)
class DerivedObjective(PairObjective):
    """All but the terms are those of another loss, ``of``."""

    of: PairObjective

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.of.name

    def with_lam(self, lam: Any) -> Self:
        return type(self)(lam, self.of.with_lam(lam))

    @property
    def regulariser(self) -> Divergence | None:
        return self.of.regulariser

    @property
    def reads_rewards(self) -> bool:
        return self.of.reads_rewards

    def derived(self, known: Mapping[str, Array]) -> Mapping[str, Array]:
        return self.of.derived(known)
