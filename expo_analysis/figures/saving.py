"""What is done around the writing of a figure's files: the layout, the fonts in a PDF, a title for the metadata."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.figure import Figure


@contextmanager
def laid_out(figure: Figure, dpi: float = 200) -> Iterator[None]:
    """The figure with its layout computed, once for all that is drawn of it meanwhile.

    Without this, matplotlib computes the layout, and draws for nothing, before each file; and a PDF and a PNG of the
    same figure have layouts that differ a little, as letters are as wide as a whole number of dots.
    """
    engine = figure.get_layout_engine()
    if engine is None:
        yield
        return
    as_it_was = figure.dpi
    try:
        figure.dpi = dpi
        engine.execute(figure)
        figure.dpi = as_it_was
        with mpl.rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
            figure.set_layout_engine(None)
        yield
    finally:
        figure.dpi = as_it_was
        figure.set_layout_engine(engine)


@contextmanager
def letters_only() -> Iterator[None]:
    """Leave out of embedded fonts the rules for setting new text, which no reader of a finished page follows: cutting
    them down to the letters used is most of the work on a PDF."""
    from fontTools.subset import Options

    with_rules = getattr(Options, "_drop_tables_default", [])
    Options._drop_tables_default = [*with_rules, "GDEF", "GPOS", "GSUB"]
    try:
        yield
    finally:
        Options._drop_tables_default = with_rules


SYMBOLS = {r"\mathrm{ref}": "ref", r"\lambda": "λ", r"\pi": "π", r"\to": "→", r"\infty": "∞", "_{ref}": "_ref"}


def plain(text: str) -> str:
    r"""A title without mathematics, in one line.

    >>> plain(r"from $\pi_{\mathrm{ref}}$ on")
    'from π_ref on'
    """
    for symbol, letters in SYMBOLS.items():
        text = text.replace(symbol, letters)
    for mark in ("$", "{", "}", "\\"):
        text = text.replace(mark, "")
    return " ".join(text.split())
