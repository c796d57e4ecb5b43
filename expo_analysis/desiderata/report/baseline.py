"""A saved card, and what got worse since: for continuous integration, where a loss may fail but must not get worse."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..verdict import CANNOT_TELL, FAILS, HOLDS, NOT_APPLICABLE, Decision, Verdict
from .provenance import Provenance
from .report_card import ReportCards
from .wording import one_line

RANK: dict[str, int] = {HOLDS: 2, NOT_APPLICABLE: 1, CANNOT_TELL: 1, FAILS: 0}
"""A verdict of a lower rank is worse; of "cannot tell" and "not applicable" neither is better."""


@dataclass(frozen=True)
class Baseline:
    """A saved card. decisions: by loss and desideratum. made: how, by loss, where it says so."""

    decisions: Mapping[str, Mapping[str, str]]
    made: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Change:
    """A verdict that is another one than in the saved card."""

    loss: str
    desideratum: str
    before: str
    now: Decision
    summary: str

    @property
    def is_worse(self) -> bool:
        """Whether it got worse."""
        return RANK[self.now] < RANK[self.before]

    def __str__(self) -> str:
        how = "worse" if self.is_worse else "better" if RANK[self.now] > RANK[self.before] else "changed"
        return f"{how}: {self.loss}, {self.desideratum}: {self.before} before, {self.now} now: {one_line(self.summary)}"


@dataclass(frozen=True)
class Comparison:
    """What is different from the saved card. notes: what was not compared, and why, in sentences."""

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def worse(self) -> tuple[Change, ...]:
        """What got worse."""
        return tuple(change for change in self.changes if change.is_worse)


def read_baseline(path: Path) -> Baseline:
    """A card that ``expo-analysis audit --json`` wrote.

    Raises:
        OSError: it cannot be read. ValueError: it is something else; says what.
    """
    wants = "it must be what expo-analysis audit --json prints"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: {wants}, and is no JSON ({one_line(str(error))})") from None
    losses = document.get("losses") if isinstance(document, dict) else None
    if not isinstance(losses, dict) or not losses:
        raise ValueError(f"{path}: {wants}, and has no 'losses'")
    decisions: dict[str, dict[str, str]] = {}
    for loss, verdicts in losses.items():
        decisions[loss] = {}
        for key, verdict in verdicts.items() if isinstance(verdicts, dict) else [("", None)]:
            found = verdict.get("verdict") if isinstance(verdict, dict) else None
            if found not in RANK:
                where = f"{loss}, {key}" if key else loss
                raise ValueError(f"{path}: {wants}, and has no verdict for {where}: one of {', '.join(RANK)}")
            decisions[loss][key] = found
    made = document.get("made")
    known = made if isinstance(made, dict) else {}
    return Baseline(decisions, {loss: how for loss, how in known.items() if isinstance(how, dict)})


def compare(cards: ReportCards, baseline: Baseline) -> Comparison:
    """Every verdict that is in both, and what is in one alone."""
    changes, notes = [], []
    for name, card in cards.items():
        before = baseline.decisions.get(name)
        if before is None:
            notes.append(f"{name} is not in the baseline, which has {', '.join(baseline.decisions)}")
            continue
        for key, verdict in card.verdicts.items():
            if key in before and before[key] != verdict.decision:
                changes.append(Change(name, key, before[key], verdict.decision, verdict.summary))
        new = [key for key in card.verdicts if key not in before]
        left_out = [key for key in before if key not in card.verdicts]
        notes += [f"{name}: the baseline does not have {', '.join(new)}"] if new else []
        notes += [f"{name}: of the baseline, {_listed(left_out)} not judged now"] if left_out else []
        notes += _differently_made(name, card.made, baseline.made.get(name, {}))
    absent = [name for name in baseline.decisions if name not in cards]
    notes += [f"of the baseline, {_listed(absent)} not audited now"] if absent else []
    return Comparison(tuple(changes), tuple(notes))


def _listed(keys: list[str]) -> str:
    shown = ", ".join(keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
    return f"{shown} {'is' if len(keys) == 1 else 'are'}"


def _differently_made(name: str, now: Provenance | None, before: Mapping[str, Any]) -> list[str]:
    """What makes two cards hard to compare."""
    if now is None or not before:
        return []
    parts = [
        f"{key} {before[key]} before, {getattr(now, key)} now"
        for key in ("version", "effort", "seed")
        if key in before and before[key] != getattr(now, key)
    ]
    return [f"{name} was audited differently: {'; '.join(parts)}"] if parts else []


@dataclass(frozen=True)
class Gate:
    """What an audit must show: that some desiderata hold, and that nothing got worse.

    required: desiderata. comparison: with a saved card, None for none.
    """

    required: tuple[str, ...] = ()
    comparison: Comparison | None = None
    _worse: Mapping[tuple[str, str], Change] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        worse = () if self.comparison is None else self.comparison.worse
        object.__setattr__(self, "_worse", {(change.loss, change.desideratum): change for change in worse})

    @property
    def asks(self) -> bool:
        """Whether anything is asked; otherwise all verdicts are let through."""
        return bool(self.required) or self.comparison is not None

    def why_not(self, loss: str, verdict: Verdict) -> str:
        """Why a verdict is not let through, in a sentence; empty where it is."""
        key = verdict.desideratum
        if key in self.required and verdict.decision != HOLDS:
            return f"required, but not held: {loss}, {key}: {verdict.decision}: {one_line(verdict.summary)}"
        change = self._worse.get((loss, key))
        return "" if change is None else str(change)

    def was(self, loss: str, verdict: Verdict) -> str:
        """The verdict in the saved card, as far as it is known; empty where there is none."""
        if self.comparison is None:
            return ""
        known = {(each.loss, each.desideratum): each.before for each in self.comparison.changes}
        return known.get((loss, verdict.desideratum), verdict.decision)

    def refused(self, cards: ReportCards) -> list[str]:
        """A sentence for each verdict that is not let through."""
        sentences: Iterable[str] = (
            self.why_not(name, verdict) for name, card in cards.items() for verdict in card.verdicts.values()
        )
        return [sentence for sentence in sentences if sentence]
