"""``expo-analysis figures``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from .errors import bad_input, remarks
from .output import report_files
from .solve import BanditFile, BetaName, Optimal, Options, Pairs, Reference, Ties

if TYPE_CHECKING:
    from ..bandit import Bandit
    from ..losses import Objective

KINDS = ("interpolation", "simplex", "preservation", "convergence", "training", "report_card")
USUAL = KINDS[:-1]
"""What is drawn where nothing is asked for: a report card takes seconds a loss, and more."""

FORMATS = ("pdf", "png", "svg")
DPI = 300

Losses = Annotated[
    list[str],
    typer.Argument(metavar="LOSS", help="Names in the catalogue, or FILE.py:NAME for losses of your own."),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(metavar="KIND,...", help=f"Of {', '.join(KINDS)}, or all; repeatable. Default: all but the last."),
]
Width = Annotated[str, typer.Option(metavar="WIDTH", help="column, page, slide, or a width in inches.")]
Lambdas = Annotated[
    list[str] | None,
    typer.Option(
        "--lam",
        "--beta",
        metavar="LAMBDA",
        help="Lambdas to draw, as START:STOP:COUNT or several numbers; for training the first alone.",
    ),
]
Formats = Annotated[list[str] | None, typer.Option("--format", metavar="FORMAT,...", help="pdf, png, svg; repeatable.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where to write; made if missing.")]


def figures(
    losses: Losses,
    kind: Kinds = None,
    width: Width = "column",
    lam: Lambdas = None,
    option: Options = None,
    beta_name: BetaName = None,
    reference: Reference = None,
    optimal: Optimal = None,
    pairs: Pairs = None,
    bandit: BanditFile = None,
    ties: Ties = "half",
    formats: Formats = None,
    output: Output = Path("loss_figures"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of file names.")] = False,
) -> None:
    """Draw what losses do, yours beside others, at the width of a journal's column.

    \b
    Examples:
      expo-analysis figures examples/exponential.py:Exponential dpo expo
      expo-analysis figures dpo ipo expo --kind interpolation,simplex --width page -o paper
      expo-analysis figures dpo expo --bandit examples/wins.json --kind preservation --format svg
      expo-analysis figures dpo expo --kind training --lam 0.1
      expo-analysis figures simpo expo --kind report_card --width slide --format png

    \b
    interpolation  where each optimum goes as lambda falls: to pi*, or past it
    simplex        its way through the triangle of three responses
    preservation   what becomes of a prompt whose reference is optimal already
    convergence    how fast the optimum reaches pi* and pi_ref
    training       what training passes through, and where the exact optimum is
    report_card    the verdicts of audit --quick, in rows of questions

    \b
    Without --bandit (or --reference and --optimal) the paper's own problems are drawn. Text has
    8 points at that width (14 on a slide). Where a loss has no optimum, or fails, the figure says
    so in words.

    \b
    --json prints {"width": ..., "losses": {LABEL: NAME}, "files": [...], "tables": {}}.
    """
    with bad_input():
        chosen = words_of("kind", kind, KINDS, USUAL)
        kinds_of_file = words_of("format", formats, FORMATS, ("pdf", "png"))
        inches = parse_width(width)
    with bad_input():
        from .._files import writable
        from .parsing import parse_lams

        lams = None if lam is None else parse_lams(lam)
        if lams is not None and len(set(lams)) < 2 and set(chosen) - {"training", "report_card"}:
            raise ValueError("lam must be several numbers, or a range such as 1e-3:1e3:61, except for training alone")
        named = parse_named(losses, option or [], beta_name)
        with remarks():
            problem = parse_problem(reference, optimal, pairs, bandit, ties)
        output.mkdir(parents=True, exist_ok=True)
        writable(output)
    errors = Console(stderr=True)
    written: list[Path] = []
    for one in chosen:
        errors.print(Text(f"drawing {one}"), soft_wrap=True)
        with bad_input():
            figure = drawn(one, list(named.values()), problem, lams, inches)
        written += write(figure, output / one, kinds_of_file)
    report_files(written, {}, as_json, width=inches, losses={label: one.name for label, one in named.items()})


def words_of(name: str, texts: list[str] | None, accepted: tuple[str, ...], usual: tuple[str, ...]) -> list[str]:
    """What an option names, in commas or again and again, in the order of ``accepted``."""
    from .._errors import did_you_mean

    if texts is None or not texts:
        return list(usual)
    given = [word.strip() for text in texts for word in text.split(",")]
    for word in given:
        if word != "all" and word not in accepted:
            hint = did_you_mean(word, accepted)
            raise ValueError(f"{name} must be among {', '.join(accepted)} and all, got {word!r}{hint}")
    return [word for word in accepted if word in given or "all" in given]


def parse_width(text: str) -> str | float:
    """A name, or inches."""
    from ..figures.style import size_of

    try:
        width: str | float = float(text)
    except ValueError:
        width = text
    size_of(width)
    return width


def parse_named(losses: list[str], options: list[str], beta_name: str | None = None) -> dict[str, Objective]:
    """The losses by their labels."""
    from ..figures import named_losses
    from .parsing import beta_names, parse_loss

    if options and len(losses) > 1:
        raise ValueError("--option belongs to one loss: name that loss alone")
    own_beta = beta_names(losses, beta_name)
    found = named_losses([parse_loss(text, 1.0, options, own_beta[text]) for text in losses])
    return {one.look.label: one.objective for one in found}


def parse_problem(
    reference: str | None, optimal: str | None, pairs: str | None, file: Path | None, ties: str
) -> Bandit | None:
    """The bandit to draw; None for the paper's."""
    from .parsing import parse_bandit

    if file is None and reference is None and optimal is None:
        if pairs is not None:
            raise ValueError("pairs is not used without --reference and --optimal")
        return None
    found = parse_bandit(reference, optimal, pairs, file, ties)
    if len(found) > 1:
        raise ValueError(f"{file}: prompts must have the same responses to be drawn")
    return found[0].bandit


def drawn(
    kind: str, losses: list[Objective], bandit: Bandit | None, lams: list[float] | None, width: str | float
) -> Any:
    """The figure of a kind."""
    from .. import figures as room

    if kind == "report_card":
        return room.report_card(losses, width=width)
    given: dict[str, Any] = {"bandit": bandit, "width": width}
    if kind == "training":
        return room.training(losses, **given, lam=0.1 if lams is None else lams[0])
    return getattr(room, kind)(losses, lams=lams, **given)


def write(figure: Any, stem: Path, formats: list[str]) -> list[Path]:
    """One file a format."""
    from .._files import replace
    from ..figures import render

    return [replace(stem.with_suffix(f".{one}"), render(figure, one, dpi=DPI)) for one in formats]
