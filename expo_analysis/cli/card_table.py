"""An audit on a terminal: its progress, and its report cards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.progress import Progress as Bars
from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from .._json import plain
from .._progress import Progress
from ..desiderata.report.report_card import ReportCard, ReportCards
from ..desiderata.report.wording import SIGNS, one_line, readable
from ..desiderata.verdict import CANNOT_TELL, DESIDERATA, FAILS, HOLDS, NOT_APPLICABLE, Decision, Verdict

WIDTH = 100
"""Columns of the terminal that tables and texts keep to."""

HEADS = {
    "reference_limit": "ref",
    "strong_interpolation": "SIC",
    "weak_interpolation": "WIC",
    "preservation": "pres",
    "improvement": "impr",
    "monotone_path": "mono",
    "existence": "exist",
    "uniqueness": "uniq",
    "conservation": "mass",
    "constraint_robustness": "restr",
    "first_step": "step",
    "consistency": "data",
}
"""Column heads of the table, short enough for twelve of them."""

STYLES: dict[Decision, str] = {HOLDS: "green", FAILS: "bold red", NOT_APPLICABLE: "dim", CANNOT_TELL: "yellow"}


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
    """The table of losses and desiderata, a key to its heads, and a line for every remark and failure."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("loss", overflow="fold")
    for head in HEADS.values():
        table.add_column(head, justify="center", no_wrap=True)
    for name, card in cards.items():
        table.add_row(Text(name), *(sign(card.verdicts.get(key)) for key in HEADS))
    key = Table.grid(padding=(0, 2, 0, 0))
    entries = [(head, DESIDERATA[name].title) for name, head in HEADS.items()]
    half = (len(entries) + 1) // 2
    for left, right in zip(entries[:half], entries[half:], strict=True):
        key.add_row(*(Text(text) for text in (*left, *right)))
    signs = Text(", ").join(Text(f"{SIGNS[decision]} {decision}", style) for decision, style in STYLES.items())

    console = Console(width=WIDTH)
    console.print(Group(table, key, Text(), signs))
    for name, card in cards.items():
        lines = [(name, "  ", remark) for remark in card.remarks]
        for desideratum, verdict in card.verdicts.items():
            if verdict.counterexample is not None:
                lines.append((name, f"  {HEADS[desideratum]}  ", verdict.counterexample.statement))
        if lines:
            console.print()
        for *start, text in lines:  # a line each, however long: they are to be searched and cut
            console.print(Text("".join(start), "bold") + Text(one_line(text), "not bold"), soft_wrap=True)


def print_card(card: ReportCard) -> None:
    """All that was found on one loss."""
    console = Console(width=WIDTH)
    console.print(Text(card.name, "bold"))
    for remark in card.remarks:
        console.print(Text.assemble(("Remark: ", "bold"), one_line(remark)))
    for key, verdict in card.verdicts.items():
        console.print()
        console.print(sign(verdict) + Text(f" {DESIDERATA[key].title}: {verdict.decision}"))
        texts = [verdict.summary, f"Conditions: {verdict.conditions}"]
        texts += [f"{name}: {readable(value)}" for name, value in plain(verdict.evidence).items()]
        if verdict.counterexample is not None:
            texts.append(f"Counterexample: {verdict.counterexample.statement}")
        for text in texts:
            console.print(Padding(Text(one_line(text)), (0, 0, 0, 2)))
        if verdict.counterexample is not None:
            console.print()  # the code begins in the first column and is not folded, so that it can be copied
            console.print(Text(verdict.counterexample.code.strip()), soft_wrap=True)


def sign(verdict: Verdict | None) -> Text:
    """The sign of a verdict, in its colour."""
    return Text() if verdict is None else Text(SIGNS[verdict.decision], STYLES[verdict.decision])
