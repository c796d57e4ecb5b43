"""Sections of figures/README.md: a picture beside the tables that it was drawn from, and what they say in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import pandas as pd
from matplotlib.figure import Figure

from ._files import replace
from .plots.style import render

__all__ = ["Result", "write_result"]


@dataclass(frozen=True)
class Result:
    """What one section of the README shows.

    tables: by file name, the figure's own first. paragraphs: Markdown, wrapped when written. figure: None where a table
    says it all.
    """

    title: str
    tables: dict[str, pd.DataFrame]
    paragraphs: Sequence[str]
    figure: Figure | None = None

    @property
    def name(self) -> str:
        """The figure's file name."""
        return next(iter(self.tables))

    def to_markdown(self) -> str:
        """The section, with links to its files."""
        files = [f"[{stem}.csv]({stem}.csv)" for stem in self.tables]
        blocks = [f"## {self.title}"]
        if self.figure is not None:
            blocks.append(f"![{self.title}]({self.name}.png)")
            files.insert(0, f"[{self.name}.pdf]({self.name}.pdf)")
        return "\n\n".join([*blocks, *map(_wrapped, self.paragraphs), f"Files: {', '.join(files)}"])


def _wrapped(paragraph: str) -> str:
    """A paragraph in lines of at most 116 characters; tables and lists as they are."""
    if paragraph.startswith(("|", "- ")):
        return paragraph
    return fill(" ".join(paragraph.split()), 116, break_on_hyphens=False, break_long_words=False)


def write_result(directory: Path, result: Result) -> list[Path]:
    """The tables of a section, and its figure."""
    contents = {
        f"{stem}.csv": table.to_csv(index=False, float_format="%.12g", lineterminator="\n").encode()
        for stem, table in result.tables.items()
    }
    written = [replace(directory / name, content) for name, content in contents.items()]
    if result.figure is not None:
        for kind in ("png", "pdf"):
            written.append(replace(directory / f"{result.name}.{kind}", render(result.figure, kind)))
    return written
