"""``expo-analysis audit``."""

from __future__ import annotations

import difflib
import errno
import json
import math
import os
import shlex
from collections.abc import Iterable
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


Only = Annotated[
    list[str] | None, typer.Option(metavar="DESIDERATUM,...", help="Judge these desiderata only; repeatable.")
]
Require = Annotated[
    list[str] | None,
    typer.Option(metavar="DESIDERATUM,...", help="Exit with 1 unless these hold for every loss; repeatable. For CI."),
]
Limit = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Stop judging a loss after SECONDS; of what is left it cannot be told."),
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also write a report as one HTML file.")]
Picture = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="DIRECTORY",
        help="Also write report_card.csv, .png and .pdf there, which reproduce then shows.",
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
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of every random number.")] = 0,
    only: Only = None,
    require: Require = None,
    time_limit: Limit = None,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Audit up to N losses at a time.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    html: Html = None,
    figure: Picture = None,
) -> None:
    """Judge losses by many desiderata, with counterexamples where they fail.

    \b
    Examples:
      expo-analysis audit expo dpo ipo
      expo-analysis audit dpo --option label_smoothing=0.1 --quick
      expo-analysis audit expo examples/exponential.py:Exponential --json
      expo-analysis audit expo --only preservation,existence --seed 3
      expo-analysis audit expo --quick --require preservation,existence
      expo-analysis audit --all --html report.html --figure figures

    \b
    One loss alone is shown in full, with the code of its counterexamples; several as a table of
    losses and desiderata, and a line for each failure. All lambdas are tried, so none is given.
    A loss of your own is a subclass of ea.PairObjective in a Python file. Where it cannot be
    loaded, the other losses are audited nevertheless, and its card says what happened.

    \b
    A loss of your own that is slow ends after half a minute (times the effort, where that is above
    1), or after --time-limit: what was judged until then stays, the rest cannot be told.

    \b
    --only and --require take the names that --json has; docs/desiderata.md explains each. What is
    required is judged too, whatever --only says, and must hold: "not applicable" and "cannot tell"
    do not do. A line on standard error says which does not hold, and the exit code is 1. Without
    --require the exit code is 0 whatever the verdicts are.

    \b
    --json prints {"losses": {NAME: {DESIDERATUM: {"verdict": "holds" | "fails" | "not applicable" |
    "cannot tell", "basis": "proven" | "evidence" | "", "rule": ..., "answer": ...,
    "severity": null | {"unit": ..., "share": ..., "of": ..., "typical": ..., "worst": ...},
    "summary": ..., "conditions": ..., "evidence": {...}, "counterexample": null |
    {"statement": ..., "numbers": {...}, "code": ...}}}}, "remarks": {NAME: [...]}, "made": {NAME: {"version": ...,
    "date": ..., "effort": ..., "seed": ..., "call": ...}}}, where NAME is the loss's own (for yours
    the class's attribute name; FILE.py:CLASS is added where another has that name, and stands alone
    where it could not be loaded).
    """
    with bad_input():
        from ..losses import CATALOGUE
        from .parsing import parse_losses, required_options

        work = effort_of(effort, quick)
        check_limit(time_limit)
        required = desiderata_of("--require", require)
        wanted = desiderata_of("--only", only)
        objectives = parse_losses(losses or [], everything, option or [])
        check_outputs(html, figure)
    from ..desiderata import audit_many
    from .card_table import progress_bars

    errors = Console(stderr=True)
    if everything:
        for name in sorted(set(CATALOGUE) - set(objectives)):
            needs = ", ".join(required_options(CATALOGUE[name]))
            errors.print(Text(f"{name} is left out of --all: it needs {needs}"), soft_wrap=True)
    with progress_bars(len(objectives), errors) as report:
        asked = None if wanted is None else {*wanted, *(required or ())}
        settings: dict[str, Any] = {"effort": work, "seed": seed, "only": asked, "time_limit": time_limit}
        cards = audit_many(objectives, workers=workers, progress=report, **settings)
    cards = cards.with_call(command(losses or [], everything, option or [], work, seed, time_limit, wanted, required))
    for path in write_reports(cards, html, figure):
        errors.print(Text(f"wrote {path}"), soft_wrap=True)
    show(cards, as_json)
    lacking = not_held(cards, required or ())
    for sentence in lacking:
        errors.print(Text(sentence), soft_wrap=True)
    if lacking:
        raise typer.Exit(1)


def show(cards: ReportCards, as_json: bool) -> None:
    """The cards on standard output."""
    from .card_table import print_card, print_cards

    if as_json:
        typer.echo(json.dumps(cards.to_dict(), indent=2, allow_nan=False))
    elif len(cards) == 1:
        print_card(*cards.values())
    else:
        print_cards(cards)


def desiderata_of(option: str, texts: list[str] | None) -> list[str] | None:
    """The desiderata that an option names, in commas or again and again; None where it was not given."""
    from ..desiderata.verdict import DESIDERATA

    if texts is None or not texts:
        return None
    names = [name.strip() for text in texts for name in text.split(",")]
    for name in names:
        if name not in DESIDERATA:
            near = difflib.get_close_matches(name, DESIDERATA, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{option} must name desiderata among {', '.join(DESIDERATA)}; got {name!r}{hint}")
    return [name for name in DESIDERATA if name in names]


def not_held(cards: ReportCards, required: Iterable[str]) -> list[str]:
    """A sentence for each loss and required desideratum that does not hold."""
    return [
        f"required, but not held: {name}, {key}: {verdict.decision}: {' '.join(verdict.summary.split())}"
        for name, card in cards.items()
        for key, verdict in card.verdicts.items()
        if key in required and verdict.decision != "holds"
    ]


def command(
    losses: list[str],
    everything: bool,
    options: list[str],
    effort: float,
    seed: int,
    time_limit: float | None,
    only: list[str] | None,
    required: list[str] | None,
) -> str:
    """The command with all that the verdicts depend on, and nothing else."""
    words = ["expo-analysis", "audit", *(["--all"] if everything else []), *losses]
    words += [word for option in options for word in ("--option", option)]
    words += [] if effort == 1 else ["--effort", f"{effort:g}"]
    words += [] if seed == 0 else ["--seed", str(seed)]
    words += [] if time_limit is None else ["--time-limit", f"{time_limit:g}"]
    words += [] if only is None else ["--only", ",".join(only)]
    words += [] if required is None else ["--require", ",".join(required)]
    return shlex.join(words)


def effort_of(effort: float | None, quick: bool) -> float:
    """The effort that ``--effort`` or ``--quick`` asks for."""
    if quick and effort is not None:
        raise ValueError("quick is not used beside --effort: it means --effort 0.1")
    work = QUICK if quick else 1.0 if effort is None else effort
    if not 0 < work < math.inf:
        raise ValueError(f"effort must be a positive finite number, got {work}")
    return work


def check_limit(seconds: float | None) -> None:
    """Raise a ValueError unless ``--time-limit`` is a time, or was not given."""
    if seconds is not None and not 0 < seconds < math.inf:
        raise ValueError(f"--time-limit must be a positive finite number of seconds, got {seconds}")


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
        from ..studies.report_card.numbers import (
            write_report_card,  # matplotlib is loaded only where something is drawn
        )

        written += write_report_card(cards.to_frame(), figure)
    return written
