"""Losses of any terms, for tests of what is derived from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import expo_analysis as ea


class Own(ea.PairObjective):
    """Any terms, and any divergence, of classes that `own` makes."""

    name = "own"


def own(terms: Callable[[Any], Any], divergence: ea.Divergence | None = None) -> ea.PairObjective:
    """An objective with these terms, a function of lam, and this regulariser."""

    class Made(Own):
        @property
        def terms(self) -> Any:
            return terms(self.lam)

        @property
        def regulariser(self) -> ea.Divergence | None:
            return divergence

    return Made(0.7)
