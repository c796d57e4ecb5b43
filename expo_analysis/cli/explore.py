"""``expo-analysis explore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import bad_input
from .solve import BetaName


def explore(
    losses: Annotated[
        list[str] | None,
        typer.Argument(metavar="LOSS", help="FILE.py:NAME for losses of your own, which join those of the catalogue."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write; explorer.html by default.")
    ] = Path("explorer.html"),
    beta_name: BetaName = None,
) -> None:
    """Write a page on which policies are dragged and every loss's exact optimum is drawn.

    \b
    Examples:
      expo-analysis explore
      expo-analysis explore -o explorer.html
      expo-analysis explore examples/exponential.py:Exponential -o mine.html

    \b
    The page is one file that needs nothing else, no network and no server. The formulas on it are
    compiled from the losses' own code, yours too: from its terms, or from a bare formula of numpy
    arrays or torch tensors. What cannot be compiled is left out, and a line on standard error says why.
    """
    from .. import __version__

    with bad_input():
        from ..explorer import PAGE, write_page
        from ..own_loss import make_loss
        from .parsing import beta_names

        beta_names(losses or [], beta_name)
        own = {label: make_loss(text, beta_name=beta_name) for label, text in _labels(losses or []).items()}
        if own or not PAGE.is_file():
            left_out = write_page(output, own, __version__).left_out
        else:
            from .._files import replace

            replace(output, PAGE.read_bytes())
            left_out = {}
    for label, why in left_out.items():
        if label in own:
            typer.echo(f"{label} {why}", err=True)
    typer.echo(f"wrote {output}", err=True)


def _labels(texts: list[str]) -> dict[str, str]:
    """What each loss is called on the page: its name, or all that was typed where another has that name."""
    for text in texts:
        if ":" not in text:
            raise ValueError(f"LOSS must be FILE.py:NAME, got {text!r}; the catalogue is on the page already")
    names = [text.rpartition(":")[2] for text in texts]
    return {name if names.count(name) == 1 else text: text for name, text in zip(names, texts, strict=True)}
