"""In which order tables show desiderata and losses, and how much a failure weighs there."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

from ..verdict import DESIDERATA, FAILS, HOLDS, Decision, Verdict

Weight = Literal["often", "seldom", "constructed"]

OFTEN: Weight = "often"
SELDOM: Weight = "seldom"
CONSTRUCTED: Weight = "constructed"

COMMON_SHARE = 0.1
"""A failure is common where it shows on at least this share of ordinary problems."""

LARGE = 0.01
"""And large where the typical size is at least this, in nats, total variation, or whatever its unit is."""

Name = TypeVar("Name", bound=Hashable)


def weight(share: float | None, typical: float | None) -> Weight:
    """How much a failure weighs that shows on this share of ordinary problems, and has this size there.

    "often": common and large. "constructed": never on ordinary problems. "seldom": everything between, and where
    nothing was measured (None or nan).
    """
    if share is not None and share == 0:
        return CONSTRUCTED
    if share is not None and typical is not None and share >= COMMON_SHARE and typical >= LARGE:
        return OFTEN
    return SELDOM


def weight_of(verdict: Verdict) -> Weight:
    """That of a verdict that fails."""
    measured = verdict.severity
    return SELDOM if measured is None else weight(measured.share, measured.typical)


def grouped(keys: Iterable[str] | None = None) -> dict[str, list[str]]:
    """Desiderata by their groups, both in the order of `DESIDERATA`; all of them, or the known ones of ``keys``."""
    kept = DESIDERATA.keys() if keys is None else set(keys)
    groups: dict[str, list[str]] = {}
    for key, desideratum in DESIDERATA.items():
        if key in kept:
            groups.setdefault(desideratum.group, []).append(key)
    return groups


def ranked(found: Mapping[Name, Sequence[tuple[Decision, Weight]]]) -> list[Name]:
    """Losses by how many desiderata hold, most first; then by how few fail often, and by how few fail at all.

    An order that puts like beside like; the desiderata do not weigh alike, and some exclude each other. Losses that
    are equal in this stay in the order given.
    """

    def place(name: Name) -> tuple[int, int, int]:
        decisions = [decision for decision, _ in found[name]]
        often = sum(decision == FAILS and how == OFTEN for decision, how in found[name])
        return -decisions.count(HOLDS), often, decisions.count(FAILS)

    return sorted(found, key=place)


def ranked_cards(cards: Mapping[str, Mapping[str, Verdict]]) -> list[str]:
    """The names of losses, in the order of `ranked`, by their verdicts."""
    return ranked({name: [(v.decision, weight_of(v)) for v in verdicts.values()] for name, verdicts in cards.items()})
