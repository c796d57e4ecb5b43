"""Objectives by name, as settings and recipes have them."""

from __future__ import annotations

from typing import Any

from ...losses import QPO, PairObjective
from ...own_loss import make_loss
from .objectives import check_pairwise

DEFAULT_OBJECTIVE, DEFAULT_BETA = "expo", 0.1


def named_objectives(given: Any, beta: float | None, options: Any, weights: list[float] | None) -> Any:
    """What is minimised.

    Args:
        given: a name of the catalogue, ``FILE.py:NAME``, an objective, or a list of these or of pairs (weight, such);
            None is EXPO.
        beta: lambda of what is named; None is 0.1.
        options: of what is named; of several, a mapping from names to options.
        weights: of several; None is 1 each.

    Returns:
        An objective, or a list of pairs (weight, objective).

    Raises:
        TypeError, ValueError: naming the setting that is wrong.
    """
    given = DEFAULT_OBJECTIVE if given is None else given
    if not isinstance(given, list):
        if weights is not None:
            raise ValueError("objective_weights belong to several objectives, and there is one")
        return _make_one(given, beta, options)
    weights = [1.0] * len(given) if weights is None else weights
    if len(weights) != len(given):
        raise ValueError(f"objective_weights must have one number for each of {len(given)} objectives, got {weights}")
    strange = sorted(set(options) - {name for name in given if isinstance(name, str)})
    if strange:
        raise ValueError(f"objective_options of several objectives go by their names; {strange} is none of {given}")
    made: list[Any] = []
    for weight, entry in zip(weights, given, strict=True):
        own, name = entry if isinstance(entry, (tuple, list)) and len(entry) == 2 else (1.0, entry)
        made.append((weight * own, _make_one(name, beta, options.get(name, {}) if isinstance(name, str) else {})))
    return made


def _make_one(name: Any, beta: float | None, options: dict[str, Any]) -> PairObjective:
    if not isinstance(name, str):
        return check_pairwise(name)
    if name == QPO.name:
        raise ValueError("objective qpo is made of two Python functions: pass QPO(lam, psi, mu) to the trainer")
    return check_pairwise(make_loss(name, beta, DEFAULT_BETA, **options))
