"""An audit on a terminal: its progress, and its report cards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.progress import Progress as Bars
from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from .._json import plain
from .._progress import Progress
from ..desiderata.report.layout import CONSTRUCTED, OFTEN, SELDOM, Weight, weight_of
from ..desiderata.report.report_card import ReportCard, ReportCards
from ..desiderata.report.wording import ORDINARY, decided, legend, mark, one_line, readable
from ..desiderata.verdict import CANNOT_TELL, DESIDERATA, FAILS, HOLDS, NOT_APPLICABLE, Decision, Verdict

WIDTH = 100
"""Columns of the terminal that tables and texts keep to."""

NAME = 23
"""The most columns for the name of a loss; longer ones are folded."""

CELL = 3
"""Columns for a verdict: a gap, its sign, and how much it weighs."""

STYLES: dict[Decision, str] = {HOLDS: "green", NOT_APPLICABLE: "dim", CANNOT_TELL: "yellow"}

FAILURES: dict[Weight, str] = {OFTEN: "bold red", SELDOM: "red", CONSTRUCTED: "dim red"}
"""Styles of what fails: a failure that weighs little is no alarm."""


@contextmanager
def progress_bars(count: int, console: Console) -> Iterator[Progress]:
    """A bar for all losses, and one for each that is being audited."""
    with Bars(console=console) as progress:
        total = progress.add_task("1 loss" if count == 1 else f"{count} losses", total=count)
        bars: dict[str, TaskID] = {}
        shares: dict[str, float] = {}

        def report(done: float, whole: float = 1.0, /, *, what: str = "", task: str = "") -> None:
            if task not in bars:
                bars[task] = progress.add_task("", total=1.0)
            shares[task] = done / whole
            label = escape(one_line(f"{task}: {what}"))
            progress.update(bars[task], description=label, completed=shares[task], visible=shares[task] < 1)
            progress.update(total, completed=sum(shares.values()))

        yield report
        progress.update(total, completed=count)


def print_cards(cards: ReportCards) -> None:
    """The table of losses and desiderata, a key to its columns, and a line for every remark and failure."""
    groups = cards.desiderata()
    numbers = {key: k for k, key in enumerate((key for keys in groups.values() for key in keys), start=1)}
    table = Table(box=None, pad_edge=False, padding=0, header_style="bold underline")
    table.add_column("loss", overflow="fold", max_width=NAME)
    for keys in groups.values():
        table.add_column("", min_width=1)  # a gap between groups
        for key in keys:
            table.add_column(f"{numbers[key]} ", justify="right", no_wrap=True, min_width=CELL)
    for card in cards.ranked():
        row: list[Text] = [Text(card.name)]
        for keys in groups.values():
            row += [Text(), *(sign(card.verdicts.get(key)) for key in keys)]
        table.add_row(*row)

    Console(width=max(WIDTH, NAME + len(groups) + CELL * len(numbers))).print(table)
    console = Console(width=WIDTH)
    console.print(Group(Text(), _key(groups, numbers), Text(), *_legend()))
    for card in cards.ranked():
        lines = [(card.name, "  ", remark) for remark in card.remarks]
        for desideratum in numbers:
            verdict = card.verdicts.get(desideratum)
            if verdict is not None and verdict.counterexample is not None:
                size = "" if verdict.severity is None else f"{verdict.severity}: "
                lines.append((card.name, f"  {desideratum}  ", size + verdict.counterexample.statement))
        if lines:
            console.print()
        for *start, text in lines:  # a line each, however long: they are to be searched and cut
            console.print(Text("".join(start), "bold") + Text(one_line(text), "not bold"), soft_wrap=True)
    _print_made(console, cards)


def _key(groups: dict[str, list[str]], numbers: dict[str, int]) -> Table:
    """What the numbers over the columns stand for, in two columns of text."""
    lines: list[Text] = []
    for group, keys in groups.items():
        lines.append(Text(group, "bold"))
        lines += [Text(f"{numbers[key]:>2}  {DESIDERATA[key].title}  ({key})") for key in keys]
    half = (len(lines) + 1) // 2
    grid = Table.grid(padding=(0, 3, 0, 0))
    for k in range(half):
        grid.add_row(lines[k], lines[half + k] if half + k < len(lines) else Text())
    return grid


def _legend() -> list[Text]:
    return [Text(f"{one:>2}  {words}") for one, words in legend().items()] + [Text(), Text(ORDINARY)]


def _print_made(console: Console, cards: ReportCards) -> None:
    """How the cards were made, each way once."""
    for made in dict.fromkeys(card.made for card in cards.values()):
        if made is not None:
            console.print()
            console.print(Text(f"Made by {one_line(str(made))}", "dim"), soft_wrap=True)


def print_card(card: ReportCard) -> None:
    """All that was found on one loss."""
    console = Console(width=WIDTH)
    console.print(Text(card.name, "bold"))
    for remark in card.remarks:
        console.print(Text.assemble(("Remark: ", "bold"), one_line(remark)))
    cards = ReportCards([card])
    for group, keys in cards.desiderata().items():
        console.print()
        console.print(Text(group, "bold underline"))
        for key in keys:
            _print_verdict(console, key, card.verdicts[key])
    _print_made(console, cards)


def _print_verdict(console: Console, key: str, verdict: Verdict) -> None:
    console.print()
    console.print(sign(verdict, aligned=False) + Text(f" {DESIDERATA[key].title}: {decided(verdict)}"))
    texts = [verdict.summary]
    texts += [] if verdict.severity is None else [f"How much: {verdict.severity}"]
    texts += [f"Conditions: {verdict.conditions}"]
    texts += [f"{name}: {readable(value)}" for name, value in plain(verdict.evidence).items()]
    if verdict.counterexample is not None:
        texts.append(f"Counterexample: {verdict.counterexample.statement}")
    for text in texts:
        console.print(Padding(Text(one_line(text)), (0, 0, 0, 2)))
    if verdict.counterexample is not None:
        console.print()  # the code begins in the first column and is not folded, so that it can be copied
        console.print(Text(verdict.counterexample.code.strip()), soft_wrap=True)


def sign(verdict: Verdict | None, aligned: bool = True) -> Text:
    """The mark of a verdict, in its colour; with room for what may stand after a sign, where signs are ``aligned``."""
    if verdict is None:
        return Text()
    style = FAILURES[weight_of(verdict)] if verdict.decision == FAILS else STYLES[verdict.decision]
    text = mark(verdict)
    if aligned and not text.endswith(("!", "°")):
        text += " "
    return Text(text, style)
