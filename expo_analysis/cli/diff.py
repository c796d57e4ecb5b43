"""``expo-analysis diff``."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import bad_input

if TYPE_CHECKING:
    from ..differences import Difference

Loss = Annotated[
    str, typer.Argument(metavar="A", help="A name in the catalogue; FILE.py:NAME or MODULE:NAME for one of your own.")
]
Other = Annotated[str, typer.Argument(metavar="B", help="The other one, or another version of the same.")]
OfA = Annotated[list[str] | None, typer.Option("--option-a", metavar="NAME=VALUE", help="An option of A; repeatable.")]
OfB = Annotated[list[str] | None, typer.Option("--option-b", metavar="NAME=VALUE", help="An option of B; repeatable.")]
BetaA = Annotated[
    str | None, typer.Option("--beta-name-a", metavar="NAME", help="Which argument of the function A is lambda.")
]
BetaB = Annotated[
    str | None, typer.Option("--beta-name-b", metavar="NAME", help="Which argument of the function B is lambda.")
]
Lambdas = Annotated[
    list[str] | None,
    typer.Option(
        "--lam",
        "--beta",
        metavar="LAMBDA",
        help="Lambdas to compare at: a positive number, or START:STOP:COUNT; repeatable.",
    ),
]


def diff(
    a: Loss,
    b: Other,
    option_a: OfA = None,
    option_b: OfB = None,
    beta_name_a: BetaA = None,
    beta_name_b: BetaB = None,
    lam: Lambdas = None,
    effort: Annotated[float, typer.Option(metavar="NUMBER", help="Try NUMBER times as many problems.")] = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of every random number.")] = 0,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 if they differ.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Where the optima of two losses part, by how much, and on which smallest problem.

    \b
    Examples:
      expo-analysis diff dpo ipo
      expo-analysis diff dpo dpo --option-b label_smoothing=0.1 --lam 0.1
      expo-analysis diff expo examples/exponential.py:Exponential --json

    \b
    For one loss at two versions name two files: old/my_loss.py:my_loss new/my_loss.py:my_loss. First
    the losses of pairs are compared: equal up to a constant, a factor and the way lambda enters, or on
    which pair they differ. Then their optima, at the same lambda, on bandits with 2, 3 and 4 responses:
    on which share they differ by more than error bounds explain, and by how much, in total variation
    and in nats of KL(A | B). At the end stands the smallest problem found, with Python that shows it.

    \b
    --json prints {"losses": [A, B], "differ": ..., "equality": null | {"equal": ..., "error": ...,
    "lam": ..., "scale": [...], "constant": [...], "pair": null | {...}, "in_words": ...},
    "matched": ..., "optima": [{"lam": ..., "problems": ..., "share": ..., "tv": ..., "tv_worst": ...,
    "nats": ..., "nats_worst": ..., "proven": ..., "one_exists": ...}, ...], "example": null |
    {"statement": ..., "numbers": {...}, "code": ...}, "existence": null | the same}. "matched" is the
    largest TV where B has the lambda that "equality" names; what is not known is null.
    """
    with bad_input():
        from ..differences import diff as compare
        from .parsing import parse_lams, parse_loss

        lams = None if not lam else sorted(dict.fromkeys(parse_lams(lam)))
        losses = [
            parse_loss(text, 1.0, options or [], beta_name)
            for text, options, beta_name in ((a, option_a, beta_name_a), (b, option_b, beta_name_b))
        ]
        found = compare(*losses, lams=lams, effort=effort, seed=seed, names=_names([a, b], [x.name for x in losses]))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        show(found)
    if exit_code and found.differ:
        raise typer.Exit(1)


def _names(given: list[str], own: list[str]) -> tuple[str, str]:
    """What to call the losses: by their own names, or by what was typed where these are one."""
    first, second = own if own[0] != own[1] else given
    return (first, second) if first != second else (f"{first} (A)", f"{second} (B)")


def show(found: Difference) -> None:
    """The sentences, a table of lambdas, and code."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=100)
    for sentence in found.sentences():
        console.print(Text(sentence))
    heads = ("lambda", "problems", "differ", "TV", "worst", "nats", "worst", "proven", "only one exists")
    table = Table(box=SIMPLE, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right")
    for row in found.table.to_dict(orient="records"):
        sizes = [f"{row[name]:.2g}" for name in ("tv", "tv_worst", "nats", "nats_worst")]
        share, proven = ("" if math.isnan(row[name]) else f"{row[name]:.0%}" for name in ("share", "proven"))
        table.add_row(f"{row['lam']:g}", str(row["problems"]), share, *sizes, proven, str(row["one_exists"]))
    console.print(table)
    for example in (found.example, found.existence):
        if example is not None:
            console.print(Text(example.code), soft_wrap=True)
            console.print()
