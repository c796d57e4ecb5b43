"""The options of ``expo-analysis audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Losses = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="LOSS", help="Names in the catalogue; FILE.py:NAME or MODULE:NAME for a class or function of your own."
    ),
]
Everything = Annotated[bool, typer.Option("--all", help="Audit the whole catalogue, besides the FILE.py:NAME named.")]
Options = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="An option of the loss, where one loss is named; repeatable."),
]
BetaName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which argument of a function is lambda, where it has no name that says so."),
]
Effort = Annotated[
    float | None, typer.Option(metavar="NUMBER", help="Try NUMBER times as many problems; 100 takes minutes.")
]
Quick = Annotated[bool, typer.Option("--quick", help="Try a tenth of the problems: --effort 0.1.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Seed of every random number.")]
Workers = Annotated[int, typer.Option(metavar="N", min=1, help="Audit up to N losses at a time.")]
Keep = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Keep each card here as soon as it is there; go on from those that are there."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
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
BaselineFile = Annotated[
    Path | None,
    typer.Option("--baseline", metavar="CARD.json", help="Exit with 1 where a verdict is worse than in a saved card."),
]
Junit = Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Also write JUnit XML.")]
Sarif = Annotated[Path | None, typer.Option("--sarif", metavar="FILE", help="Also write SARIF, for code scanning.")]
Badge = Annotated[Path | None, typer.Option("--badge", metavar="FILE.svg", help="Also draw a badge, of one loss.")]
