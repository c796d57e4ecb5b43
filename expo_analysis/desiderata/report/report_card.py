"""The report card: every desideratum judged for one loss, and the cards of many losses together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ..._json import plain
from ...losses import Objective
from ..verdict import DESIDERATA, Verdict
from .layout import grouped, ranked_cards
from .provenance import Provenance
from .wording import ORDINARY, SIGNS, decided, legend, mark, one_line, readable

COLUMNS = (
    *("loss", "desideratum", "title", "verdict", "basis", "rule", "answer"),
    *("severity", "severity_unit", "severity_share", "severity_typical", "severity_worst"),
    *("summary", "conditions", "evidence", "counterexample"),
    *("version", "date", "effort", "seed", "call"),
)
"""The columns of `ReportCard.to_frame`."""


@dataclass(frozen=True)
class ReportCard:
    """What `audit` found out about a loss.

    name: what the loss is called in the report.
    objective: the loss; its lambda is not used, as all lambdas are tried.
    verdicts: by desideratum, in the order of `DESIDERATA`.
    remarks: what is wrong with the loss itself (it raises, reduces, is not differentiable, claims what is not
        true ...); empty where nothing is.
    path: exact optima for the simplex picture, on the paper's bandit pi* = (.6, .3, .1), pi_ref = (.4, .4, .2): columns
        lam, y1, y2, y3, one row per lambda, ascending; empty where there are none.
    seconds: how long the audit took.
    made: version, date, effort, seed and call; None where nobody said.
    """

    name: str
    objective: Objective | None
    verdicts: Mapping[str, Verdict]
    remarks: tuple[str, ...]
    path: pd.DataFrame
    seconds: float
    made: Provenance | None = None

    def __repr__(self) -> str:
        found = [verdict.decision for verdict in self.verdicts.values()]
        counts = ", ".join(f"{found.count(decision)} {decision}" for decision in SIGNS)
        return f"ReportCard({self.name!r}: {counts}; to_markdown() shows what and why)"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, by desideratum; `ReportCards.to_dict` tells how the card was made, too."""
        return {key: verdict.to_dict() for key, verdict in self.verdicts.items()}

    def to_frame(self) -> pd.DataFrame:
        """One row per desideratum, with the columns `COLUMNS`.

        loss, desideratum, title, verdict, basis, rule, answer; severity in words, and severity_unit, _share, _typical
        and _worst (nan where it was not measured); summary, conditions, evidence (as JSON text), counterexample (its
        statement, empty where there is none); version, date, effort, seed and call of the audit.
        """
        return pd.DataFrame([self._row(key, verdict) for key, verdict in self.verdicts.items()], columns=list(COLUMNS))

    def _row(self, key: str, verdict: Verdict) -> dict[str, Any]:
        size, example, nan = verdict.severity, verdict.counterexample, float("nan")
        made = {} if self.made is None else self.made.to_dict()
        return {
            "loss": self.name,
            "desideratum": key,
            "title": DESIDERATA[key].title,
            "verdict": verdict.decision,
            "basis": verdict.basis,
            "rule": verdict.rule,
            "answer": one_line(verdict.answer),
            "severity": "" if size is None else str(size),
            "severity_unit": "" if size is None else size.unit,
            "severity_share": nan if size is None else float(size.share),
            "severity_typical": nan if size is None else float(size.typical),
            "severity_worst": nan if size is None else float(size.worst),
            "summary": one_line(verdict.summary),
            "conditions": one_line(verdict.conditions),
            "evidence": json.dumps(plain(verdict.evidence), ensure_ascii=False, separators=(",", ":")),
            "counterexample": "" if example is None else one_line(example.statement),
            **{name: made.get(name, "") for name in ("version", "date", "effort", "seed", "call")},
        }

    def to_markdown(self) -> str:
        """The verdicts as a table, then what was found on each, with the counterexamples' code."""
        keys = [key for keys in grouped(self.verdicts).values() for key in keys]
        rows = [
            (
                _escaped(DESIDERATA[key].title),
                f"{SIGNS[verdict.decision]} {_escaped(decided(verdict))}",
                "" if verdict.severity is None else _escaped(str(verdict.severity)),
                _escaped(verdict.summary),
            )
            for key, verdict in ((key, self.verdicts[key]) for key in keys)
        ]
        blocks = [
            f"# {_escaped(self.name)}",
            *(f"**Remark:** {_escaped(remark)}" for remark in self.remarks),
            _table(("desideratum", "verdict", "how much", "found"), rows),
            ORDINARY,
        ]
        for key in keys:
            blocks += _section(key, self.verdicts[key])
        return "\n\n".join([*blocks, *_made([self])]) + "\n"

    def to_html(self) -> str:
        """A page of its own, in one file."""
        return ReportCards([self]).to_html()


class ReportCards(Mapping[str, ReportCard]):
    """The cards of several losses, by name, in the order given.

    Raises:
        ValueError: two cards of one name.
    """

    def __init__(self, cards: Iterable[ReportCard]) -> None:
        self._cards: dict[str, ReportCard] = {}
        for card in cards:
            if card.name in self._cards:
                raise ValueError(f"cards must have different names, got {card.name!r} twice")
            self._cards[card.name] = card

    def __getitem__(self, name: str) -> ReportCard:
        return self._cards[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)

    def __repr__(self) -> str:
        return f"ReportCards({list(self)})"

    def with_call(self, call: str) -> ReportCards:
        """The same cards, as made by another call, such as a command."""
        return ReportCards(
            card if card.made is None else replace(card, made=replace(card.made, call=call)) for card in self.values()
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: "losses" by name and desideratum; "remarks" by name; and by name "made", which is the
        version, date, effort, seed and call of the audit."""
        return {
            "losses": {name: card.to_dict() for name, card in self.items()},
            "remarks": {name: list(card.remarks) for name, card in self.items()},
            "made": {name: None if card.made is None else card.made.to_dict() for name, card in self.items()},
        }

    def to_frame(self) -> pd.DataFrame:
        """The rows of `ReportCard.to_frame`, one loss after the other."""
        frames = [card.to_frame() for card in self.values()]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))

    def desiderata(self) -> dict[str, list[str]]:
        """The desiderata that were judged, by their groups, as tables show them."""
        return grouped({key for card in self.values() for key in card.verdicts})

    def ranked(self) -> list[ReportCard]:
        """The cards as tables show them: those with the most that holds first."""
        return [self[name] for name in ranked_cards({name: card.verdicts for name, card in self.items()})]

    def to_markdown(self) -> str:
        """The table of losses and desiderata, a legend, and every counterexample in a sentence."""
        groups = self.desiderata()
        keys = [key for keys in groups.values() for key in keys]
        rows = [
            (_escaped(card.name), *(_escaped(mark(card.verdicts[key])) if key in card.verdicts else "" for key in keys))
            for card in self.ranked()
        ]
        blocks = [_table(("loss", *(_escaped(DESIDERATA[key].title) for key in keys)), rows)]
        blocks.append("\n".join(f"- {_escaped(one)} {text}" for one, text in legend().items()))
        blocks.append(ORDINARY)
        for card in self.ranked():
            items = [f"- remark: {_escaped(remark)}" for remark in card.remarks]
            for key in keys:
                verdict = card.verdicts.get(key)
                if verdict is not None and verdict.counterexample is not None:
                    title, statement = DESIDERATA[key].title, verdict.counterexample.statement
                    size = "" if verdict.severity is None else f" ({_escaped(str(verdict.severity))})"
                    items.append(f"- {_escaped(mark(verdict))} {_escaped(title)}{size}: {_escaped(statement)}")
            if items:
                blocks += [f"**{_escaped(card.name)}**", "\n".join(items)]
        return "\n\n".join([*blocks, *_made(self.values())]) + "\n"

    def to_html(self) -> str:
        """A page in one file: the table of losses and desiderata, then every card."""
        from .html import render  # jinja2 is loaded only where a page is asked for

        return render(self)


def _section(key: str, verdict: Verdict) -> list[str]:
    """What was found on one desideratum, as blocks of Markdown."""
    desideratum, example = DESIDERATA[key], verdict.counterexample
    blocks = [
        f"## {_escaped(desideratum.title)}: {_escaped(decided(verdict))}",
        f"*{_escaped(desideratum.question)}*",
        _escaped(verdict.summary),
    ]
    if verdict.severity is not None:
        blocks.append(f"How much: {_escaped(str(verdict.severity))}")
    blocks.append(f"Conditions: {_escaped(verdict.conditions)}")
    if verdict.evidence:
        evidence = plain(verdict.evidence).items()
        blocks.append(_table(("evidence", ""), [(_escaped(name), _escaped(readable(item))) for name, item in evidence]))
    if example is not None:
        blocks += [f"Counterexample: {_escaped(example.statement)}", _fenced(example.code)]
    return blocks


def _made(cards: Iterable[ReportCard]) -> list[str]:
    """How the cards were made, each way once."""
    return [f"Made by {_escaped(str(made))}" for made in dict.fromkeys(card.made for card in cards) if made is not None]


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *map(list, rows)])


def _escaped(text: str) -> str:
    """Text in one line that Markdown shows as it is; an underscore inside a word needs no escape."""
    return re.sub(r"([\\`*\[\]<>|&~$#]|(?<!\w)_|_(?!\w))", r"\\\1", one_line(text))


def _fenced(code: str) -> str:
    """A block of Python, in a fence longer than any inside it."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", code)), 3)
    return f"{fence}python\n{code.strip()}\n{fence}"
