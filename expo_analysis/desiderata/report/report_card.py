"""The report card: every desideratum judged for one loss, and the cards of many losses together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..._json import plain
from ...losses import Objective
from ..verdict import DESIDERATA, Verdict
from .wording import MEANINGS, SIGNS, one_line, readable

COLUMNS = ("loss", "desideratum", "title", "verdict", "summary", "conditions", "evidence", "counterexample")
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
    """

    name: str
    objective: Objective | None
    verdicts: Mapping[str, Verdict]
    remarks: tuple[str, ...]
    path: pd.DataFrame
    seconds: float

    def __repr__(self) -> str:
        found = [verdict.decision for verdict in self.verdicts.values()]
        counts = ", ".join(f"{found.count(decision)} {decision}" for decision in SIGNS)
        return f"ReportCard({self.name!r}: {counts}; to_markdown() shows what and why)"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, by desideratum."""
        return {key: verdict.to_dict() for key, verdict in self.verdicts.items()}

    def to_frame(self) -> pd.DataFrame:
        """One row per desideratum: loss, desideratum, title, verdict, summary, conditions, evidence (as JSON text) and
        counterexample (its statement, empty where there is none)."""
        rows = [
            (
                self.name,
                key,
                DESIDERATA[key].title,
                verdict.decision,
                one_line(verdict.summary),
                one_line(verdict.conditions),
                json.dumps(plain(verdict.evidence), ensure_ascii=False, separators=(",", ":")),
                "" if verdict.counterexample is None else one_line(verdict.counterexample.statement),
            )
            for key, verdict in self.verdicts.items()
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def to_markdown(self) -> str:
        """The verdicts as a table, then what was found on each, with the counterexamples' code."""
        rows = [
            (
                _escaped(DESIDERATA[key].title),
                f"{SIGNS[verdict.decision]} {verdict.decision}",
                _escaped(verdict.summary),
            )
            for key, verdict in self.verdicts.items()
        ]
        blocks = [
            f"# {_escaped(self.name)}",
            *(f"**Remark:** {_escaped(remark)}" for remark in self.remarks),
            _table(("desideratum", "verdict", "found"), rows),
        ]
        for key, verdict in self.verdicts.items():
            blocks += _section(key, verdict)
        return "\n\n".join(blocks) + "\n"

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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: "losses" by name and desideratum, and "remarks" by name."""
        return {
            "losses": {name: card.to_dict() for name, card in self.items()},
            "remarks": {name: list(card.remarks) for name, card in self.items()},
        }

    def to_frame(self) -> pd.DataFrame:
        """The rows of `ReportCard.to_frame`, one loss after the other."""
        frames = [card.to_frame() for card in self.values()]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))

    def to_markdown(self) -> str:
        """The table of losses and desiderata, a legend, and every counterexample in a sentence."""
        rows = [
            (
                _escaped(name),
                *(SIGNS[card.verdicts[key].decision] if key in card.verdicts else "" for key in DESIDERATA),
            )
            for name, card in self.items()
        ]
        heads = ("loss", *(_escaped(desideratum.title) for desideratum in DESIDERATA.values()))
        blocks = [_table(heads, rows)]
        blocks.append("\n".join(f"- {SIGNS[decision]} {decision}: {text}" for decision, text in MEANINGS.items()))
        for name, card in self.items():
            items = [f"- remark: {_escaped(remark)}" for remark in card.remarks]
            for key, verdict in card.verdicts.items():
                if verdict.counterexample is not None:
                    title, statement = DESIDERATA[key].title, verdict.counterexample.statement
                    items.append(f"- {SIGNS[verdict.decision]} {_escaped(title)}: {_escaped(statement)}")
            if items:
                blocks += [f"**{_escaped(name)}**", "\n".join(items)]
        return "\n\n".join(blocks) + "\n"

    def to_html(self) -> str:
        """A page in one file: the table of losses and desiderata, then every card."""
        from .html import render  # jinja2 is loaded only where a page is asked for

        return render(self)


def _section(key: str, verdict: Verdict) -> list[str]:
    """What was found on one desideratum, as blocks of Markdown."""
    desideratum, example = DESIDERATA[key], verdict.counterexample
    blocks = [
        f"## {_escaped(desideratum.title)}: {verdict.decision}",
        f"*{_escaped(desideratum.question)}*",
        _escaped(verdict.summary),
        f"Conditions: {_escaped(verdict.conditions)}",
    ]
    if verdict.evidence:
        evidence = plain(verdict.evidence).items()
        blocks.append(_table(("evidence", ""), [(_escaped(name), _escaped(readable(item))) for name, item in evidence]))
    if example is not None:
        blocks += [f"Counterexample: {_escaped(example.statement)}", _fenced(example.code)]
    return blocks


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
