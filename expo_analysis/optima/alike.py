"""Lambdas at which the same is known of an objective, which may therefore be solved together."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._types import Floats, Indices
from ..losses.base import Objective
from ..losses.data import Datum


def alike(objective: Objective, lams: Floats, data: Datum) -> list[Indices]:
    """Places of lambdas at which the same is known of the objective: each is to be solved as it would be alone."""
    known = {lam: _known(objective, lam, data) for lam in np.unique(lams).tolist()}
    found: dict[Any, list[int]] = {}
    for place, lam in enumerate(lams.tolist()):
        found.setdefault(known[lam], []).append(place)
    return [np.array(places) for places in found.values()]


def _known(objective: Objective, lam: float, data: Datum) -> tuple[Any, ...]:
    facts = objective.with_lam(lam).facts_at(data)
    signs = None if facts.slopes is None else tuple(np.sign(end).tobytes() for end in facts.slopes)
    known = (facts.convex, facts.psis_convex, facts.link is None, facts.self_concordance is None, signs)
    return *known, bool(facts.likelihood), _hashed(facts.regulariser)


def _hashed(divergence: Any) -> Any:
    """A divergence that may differ from lambda to lambda, or its repr where it cannot be hashed."""
    try:
        hash(divergence)
    except TypeError:
        return repr(divergence)
    return divergence
