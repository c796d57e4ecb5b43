"""``expo-analysis audit``."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
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
from ..desiderata.audit import audit_many
from ..desiderata.report_card import ReportCard, ReportCards
from ..desiderata.verdict import CANNOT_TELL, DESIDERATA, FAILS, HOLDS, Decision, Verdict
from ..desiderata.wording import SIGNS, one_line, readable
from ..losses import CATALOGUE, Objective
from .errors import bad_input
from .own_loss import own_loss
from .solve import parse_objective, parse_options, required_options

WIDTH = 100
"""Columns of the terminal that tables and texts keep to."""

QUICK = 0.1
"""Effort of ``--quick``."""

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

STYLES: dict[Decision, str] = {HOLDS: "green", FAILS: "bold red", CANNOT_TELL: "yellow"}


def audit(
    losses: Annotated[
        list[str] | None,
        typer.Argument(metavar="LOSS", help="Names in the catalogue, or FILE.py:CLASS for a loss of your own."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Audit the whole catalogue, besides the FILE.py:CLASS named.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option of the loss, where one loss is named; repeatable."),
    ] = None,
    effort: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="Try so many times as many problems; 100 takes minutes.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Try a tenth of the problems: --effort 0.1.")] = False,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Audit up to N losses at a time.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a report as one HTML file.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure",
            metavar="DIRECTORY",
            help="Also write report_card.csv, .png and .pdf there, which reproduce then shows.",
        ),
    ] = None,
) -> None:
    """Judge losses on twelve desiderata, with counterexamples where they fail.

    \b
    Examples:
      expo-analysis audit expo dpo ipo
      expo-analysis audit dpo --option label_smoothing=0.1 --quick
      expo-analysis audit expo examples/exponential.py:Exponential --json
      expo-analysis audit --all --html report.html --figure figures

    \b
    One loss alone is shown in full, with the code of its counterexamples; several as a table of
    losses and desiderata, and a line for each failure. All lambdas are tried, so none is given.
    A loss of your own is a subclass of ea.PairObjective in a Python file. Where it cannot be
    loaded, the other losses are audited nevertheless, and its card says what happened.

    \b
    --json prints {"losses": {NAME: {DESIDERATUM: {"verdict": "holds" | "fails" | "cannot tell",
    "summary": ..., "conditions": ..., "evidence": {...}, "counterexample": null |
    {"statement": ..., "numbers": {...}, "code": ...}}}}, "remarks": {NAME: [...]}}, where NAME is
    the loss as it was asked for. The exit code is 0 whatever the verdicts are.
    """
    with bad_input():
        if quick and effort is not None:
            raise ValueError("quick is not used beside --effort: it means --effort 0.1")
        work = QUICK if quick else 1.0 if effort is None else effort
        if not 0 < work < math.inf:
            raise ValueError(f"effort must be a positive finite number, got {work}")
        objectives = parse_losses(losses or [], everything, option or [])
        for directory in (html and html.parent, figure):
            if directory is not None:
                if directory is figure:
                    directory.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=directory).close()  # now, as an audit takes long
        if html is not None and html.is_dir():
            raise IsADirectoryError(21, "Is a directory", str(html))
    errors = Console(stderr=True)
    if everything:
        for name in sorted(set(CATALOGUE) - set(objectives)):
            needs = ", ".join(required_options(CATALOGUE[name]))
            errors.print(Text(f"{name} is left out of --all: it needs {needs}"), soft_wrap=True)
    with progress_bars(len(objectives), errors) as report:
        cards = audit_many(objectives, workers=workers, progress=report, effort=work)

    written = []
    if html is not None:
        html.write_text(cards.to_html(), encoding="utf-8")
        written.append(html)
    if figure is not None:
        from ..reproduce import write_report_card  # matplotlib is loaded only where something is drawn

        written += write_report_card(cards.to_frame(), figure)
    for path in written:
        errors.print(Text(f"wrote {path}"), soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(cards.to_dict(), indent=2, allow_nan=False))
    elif len(cards) == 1:
        print_card(*cards.values())
    else:
        print_cards(cards)


# --------------------------------------------------------------------------------------------------------------- input


def audited() -> dict[str, Objective]:
    """The losses of ``--all``: those of the catalogue that need nothing but lambda."""
    return {name: cls(1.0) for name, cls in CATALOGUE.items() if not required_options(cls)}


def parse_losses(names: list[str], everything: bool, options: list[str]) -> dict[str, Objective | Exception]:
    """What to audit, by the name asked for; an exception in place of a user's loss that could not be loaded."""
    if not names and not everything:
        raise ValueError("name a loss, or --all for the whole catalogue")
    if options and (everything or len(names) > 1):
        raise ValueError("--option belongs to one loss: name that loss alone")
    objectives: dict[str, Objective | Exception] = dict(audited()) if everything else {}
    for name in names:
        if name in objectives:
            raise ValueError(f"{name} is given twice" if names.count(name) > 1 else f"{name} is among --all already")
        objectives[name] = parse_loss(name, options)
    failed = [outcome for outcome in objectives.values() if isinstance(outcome, Exception)]
    if len(failed) == len(objectives):
        raise ValueError("; ".join(map(str, failed)))
    return objectives


def parse_loss(name: str, options: list[str]) -> Objective | Exception:
    """A loss of the catalogue, or the user's own; what is wrong in a user's file is returned, as others can go on."""
    if ":" in name:
        given = parse_options(options)
        try:
            return own_loss(name, given)
        except ValueError as error:
            return error
    if name.endswith(".py"):
        raise ValueError(f"{name} must be followed by a colon and the name of a class in it, as {name}:MyLoss")
    return parse_objective(name, 1.0, options)


# -------------------------------------------------------------------------------------------------------------- output


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
