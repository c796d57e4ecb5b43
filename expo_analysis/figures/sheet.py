"""A figure of one width: a title, panels, a key and notes, each with the room that it needs and none in another's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text

from .looks import INK, Look
from .style import END_POINTS, Size

MARGIN = 0.04
"""Around everything, in inches."""

Entry = tuple[Artist, str]


class Sheet:
    """The figure, and what measures text for it; use it under the theme of its size.

    Args:
        size: width and text.
        title: the message in a line; it is wrapped. Empty for none.
        key: artists and what they mean, drawn in as many columns as there is room for.
        notes: sentences at the bottom.
    """

    def __init__(self, size: Size, title: str = "", key: Sequence[Entry] = (), notes: Iterable[str] = ()) -> None:
        self.size = size
        self.figure = Figure(figsize=(size.width, 1.0), dpi=100)
        self._canvas = FigureCanvasAgg(self.figure)
        inner = size.width - 2 * MARGIN
        self._title = self.wrapped(title, inner, bold=True)
        self._heading: Text | None = None
        self._notes = [self.wrapped(note, inner) for note in notes if note]
        self._key = [(artist, self.wrapped(label, inner - 4 * size.text / 72)) for artist, label in key]

    def width_of(self, text: str, bold: bool = False) -> float:
        """The width of a line of text, in inches."""
        math = bool(is_math_text(text))
        font = FontProperties(family="DejaVu Sans", size=self.size.text, weight="bold" if bold else "normal")
        drawn = text if math else text.replace(r"\$", "$")
        across: float = self._canvas.get_renderer().get_text_width_height_descent(drawn, font, math)[0]
        return across / self.figure.dpi

    def wrapped(self, text: str, width: float, bold: bool = False) -> str:
        """The text in lines no wider than this, in inches; words that are too wide are broken."""
        lines: list[str] = []
        for paragraph in text.split("\n"):
            words = paragraph.split(" ")
            line = " ".join(filter(None, words))
            if self.width_of(line, bold) <= width:  # as most: to measure mathematics word by word takes long
                lines.append(line)
                continue
            line = ""
            for word in words:
                longer = f"{line} {word}".strip()
                if self.width_of(longer, bold) <= width:
                    line = longer
                    continue
                if line:
                    lines.append(line)
                while not is_math_text(word) and len(word) > 1 and self.width_of(word, bold) > width:
                    cuts = range(len(word) - 1, 0, -1)
                    fits = next(k for k in cuts if k == 1 or self.width_of(word[:k], bold) <= width)
                    lines.append(word[:fits])
                    word = word[fits:]
                line = word
            lines.append(line)
        return "\n".join(lines)

    def lay_out(self, panels: float) -> Figure:
        """Give the figure its height, panels of this height in inches among the rest, and write the rest."""
        row, figure = self.size.row, self.figure
        legend = self._legend()
        key = 0.0 if legend is None else legend.get_window_extent().height / figure.dpi + 0.04
        lines = sum(note.count("\n") + 1 for note in self._notes)
        notes = lines * row + (0.06 if lines else 0.0)
        top = (self._title.count("\n") + 1) * row + 0.06 if self._title else 0.0
        height = top + panels + key + notes + 2 * MARGIN
        figure.set_size_inches(self.size.width, height)
        if self._title:
            place = {"x": MARGIN / self.size.width, "y": 1 - MARGIN / height, "ha": "left", "va": "top"}
            title = figure.suptitle(self._title, **place, weight="bold", fontsize=self.size.text, linespacing=1.15)
            title.set_in_layout(False)
            self._heading = title
        below = notes
        for note in self._notes:
            self._write(note, (MARGIN + below - 0.06) / height)
            below -= (note.count("\n") + 1) * row
        if legend is not None:
            legend.set_bbox_to_anchor((0.5, (MARGIN + notes) / height), transform=figure.transFigure)
        self.below, self.above, self.height = (MARGIN + notes + key) / height, 1 - (MARGIN + top) / height, height
        return figure

    def subplots(self, panels: float, rows: int, columns: int, **options: Any) -> Any:
        """Axes (rows, columns) of a figure laid out with panels of this height in all, in inches."""
        figure = self.lay_out(panels)
        figure.set_layout_engine("constrained", rect=(0.0, self.below, 1.0, self.above - self.below))
        return figure.subplots(rows, columns, squeeze=False, **options)

    def finished(self) -> Figure:
        """The figure, with ticks and panels that stay as they are, under whatever settings it is drawn."""
        t = self.size.text
        for axes in self.figure.axes:
            if hasattr(axes, "taxis"):
                continue
            axes.tick_params(which="major", labelsize=t, length=t / 3.2, width=t / 13, pad=t / 4, labelcolor=".15")
            axes.tick_params(which="minor", length=0, width=0)
        engine = self.figure.get_layout_engine()
        if engine is None:
            self.figure.draw_without_rendering()
        else:
            for _ in range(2):  # the layout moves a little each time it is computed; so this one is kept
                engine.execute(self.figure)
        self.figure.set_layout_engine("none")
        if self._heading is not None:  # notebooks cut a picture to what is "in the layout"
            self._heading.set_in_layout(True)
        return self.figure

    def _write(self, text: str, y: float, **options: Any) -> None:
        x = MARGIN / self.size.width
        self.figure.text(x, y, text, va="top", ha="left", linespacing=1.15, color=".15", **options)

    def _legend(self) -> Legend | None:
        """The key in as many columns as fit."""
        if not self._key:
            return None
        artists, labels = zip(*self._key, strict=True)
        for columns in range(len(labels), 0, -1):
            legend = self.figure.legend(
                handles=artists,
                labels=labels,
                loc="lower center",
                ncols=columns,
                borderpad=0.1,
                labelspacing=0.35,
                columnspacing=1.2,
                handletextpad=0.5,
                borderaxespad=0.0,
            )
            across = legend.get_window_extent(self._canvas.get_renderer()).width / self.figure.dpi
            if columns == 1 or across <= self.size.width - 2 * MARGIN:
                return legend
            legend.remove()
        return None


def line_key(look: Look, size: Size) -> Entry:
    """A loss in the key: its line and marker."""
    return Line2D([], [], **path_style(look, size)), look.label


def path_style(look: Look, size: Size, **changes: Any) -> dict[str, Any]:
    """Keyword arguments of ``Axes.plot`` for a path of a loss with its markers on it."""
    own = {
        "zorder": above(look),
        "marker": look.marker,
        "markersize": size.mark,
        "markeredgecolor": "white",
        "markeredgewidth": size.mark / 9,
    }
    return look.line(linewidth=size.line, **own, **changes)


def banded(axes: Axes, line: dict[str, Any], x: Any, path: Any, low: Any, high: Any) -> None:
    """A path, drawn with these keyword arguments of ``Axes.plot``, and a pale band of its colour from low to high."""
    axes.fill_between(x, low, high, color=line["color"], alpha=0.18, linewidth=0)
    axes.plot(x, path, **line)


def above(look: Look) -> float:
    """A z-order for a path: lines that coincide can all be seen."""
    return 2.5 - 0.5 * look.ink


def level_style(size: Size) -> dict[str, Any]:
    """Keyword arguments for a horizontal line at what pi_ref has."""
    return {"color": "0.45", "linewidth": size.line / 2, "linestyle": (0, (1, 1.5)), "zorder": 1}


def level_key(size: Size) -> Entry:
    """That line in the key."""
    return Line2D([], [], **level_style(size)), END_POINTS["reference"].label


def end_key(name: str, size: Size, words: str = "") -> Entry:
    """pi* or pi_ref in the key."""
    point = END_POINTS[name]
    return Line2D([], [], **end_style(name, size)), f"{point.label}{words}"


def end_style(name: str, size: Size, **changes: Any) -> dict[str, Any]:
    """Keyword arguments of ``Axes.plot`` for pi* or pi_ref."""
    point = END_POINTS[name]
    return point.marker(markersize=point.size * size.text / 13, **changes)


def spread(wanted: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Places as near as possible to those wanted, in their order, at least this far apart where there is room.

    >>> spread([1.0, 1.0, 5.0], 1.0, 0.0, 10.0)
    [0.5, 1.5, 5.0]
    """
    order = np.argsort(wanted, kind="stable")
    blocks: list[list[float]] = []  # the mean of what is wanted by so many neighbours
    for k in order:
        blocks.append([float(wanted[k]), 1.0])
        while len(blocks) > 1 and blocks[-1][0] - blocks[-2][0] < apart * (blocks[-1][1] + blocks[-2][1]) / 2:
            (second, m), (first, n) = blocks.pop(), blocks.pop()
            blocks.append([(first * n + second * m) / (n + m), n + m])
    sorted_places = [centre + (k - (n - 1) / 2) * apart for centre, n in blocks for k in range(int(n))]
    shift = max(low - sorted_places[0], 0.0) or min(high - sorted_places[-1], 0.0)
    places = [0.0] * len(wanted)
    for at, place in zip(order, sorted_places, strict=True):
        places[at] = place + shift
    return places


def message(axes: Axes, text: str) -> None:
    """Words in the middle of a panel that has nothing to draw."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=INK)
