"""``expo-analysis audit``."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from .._files import replace, writable
from .errors import bad_input

if TYPE_CHECKING:
    from ..desiderata.report.report_card import ReportCards

QUICK = 0.1
"""Effort of ``--quick``."""


TimeLimit = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="For each loss, after which the rest is left out; by default 30 (times the effort) for losses of your "
        "own, and none for those of the catalogue.",
    ),
]


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
        float | None, typer.Option(metavar="NUMBER", help="Try NUMBER times as many problems; 100 takes minutes.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Try a tenth of the problems: --effort 0.1.")] = False,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Audit up to N losses at a time.")] = 2,
    time_limit: TimeLimit = None,
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
    the loss's own (for yours the class's attribute name; FILE.py:CLASS is added where another has
    that name, and stands alone where it could not be loaded). The exit code is 0 whatever the
    verdicts are.
    """
    with bad_input():
        from ..losses import CATALOGUE
        from .parsing import parse_losses, required_options

        work = effort_of(effort, quick)
        limit = limit_of(time_limit)
        objectives = parse_losses(losses or [], everything, option or [])
        check_outputs(html, figure)
    from ..desiderata import audit_many
    from .card_table import print_card, print_cards, progress_bars

    errors = Console(stderr=True)
    if everything:
        for name in sorted(set(CATALOGUE) - set(objectives)):
            needs = ", ".join(required_options(CATALOGUE[name]))
            errors.print(Text(f"{name} is left out of --all: it needs {needs}"), soft_wrap=True)
    with progress_bars(len(objectives), errors) as report:
        cards = audit_many(objectives, workers=workers, progress=report, effort=work, **limit)
    for path in write_reports(cards, html, figure):
        errors.print(Text(f"wrote {path}"), soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(cards.to_dict(), indent=2, allow_nan=False))
    elif len(cards) == 1:
        print_card(*cards.values())
    else:
        print_cards(cards)


def effort_of(effort: float | None, quick: bool) -> float:
    """The effort that ``--effort`` or ``--quick`` asks for."""
    if quick and effort is not None:
        raise ValueError("quick is not used beside --effort: it means --effort 0.1")
    work = QUICK if quick else 1.0 if effort is None else effort
    if not 0 < work < math.inf:
        raise ValueError(f"effort must be a positive finite number, got {work}")
    return work


def limit_of(time_limit: float | None) -> dict[str, Any]:
    """The option of `audit_many` that ``--time-limit`` asks for; none where it is not given."""
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"time_limit must be a positive number of seconds, got {time_limit}")
    return {} if time_limit is None else {"time_limit": time_limit}


def check_outputs(html: Path | None, figure: Path | None) -> None:
    """Raise an OSError, before an audit that takes long, unless the report and the picture can be written."""
    if figure is not None:
        figure.mkdir(parents=True, exist_ok=True)
        writable(figure)
    if html is not None:
        if html.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(html))
        if not html.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(html.parent))
        writable(html.parent)


def write_reports(cards: ReportCards, html: Path | None, figure: Path | None) -> list[Path]:
    """Write the HTML report and the picture that were asked for; returns the files."""
    written = []
    if html is not None:
        written.append(replace(html, cards.to_html().encode()))
    if figure is not None:
        from ..reproduce import write_report_card  # matplotlib is loaded only where something is drawn

        written += write_report_card(cards.to_frame(), figure)
    return written
