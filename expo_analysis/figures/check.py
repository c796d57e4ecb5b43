"""A figure measured as a journal's editor would: sizes of text, overlaps, contrast, and what is cropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from .._types import Floats
from .colour import contrast

SMALLEST = 8.0
"""Points of text, at the width of the figure."""

TEXT_CONTRAST, LINE_CONTRAST = 4.5, 3.0
"""On what is behind them, see `colour`."""

TOUCHING = 0.75
"""Points by which boxes of text may be in each other: they have some air around the letters."""


class Box(NamedTuple):
    """A text and the rectangle that it takes, in points from the lower left corner."""

    text: Text
    x0: float
    y0: float
    x1: float
    y1: float

    def corners(self) -> Floats:
        """Of the rectangle around the letters, (4, 2), turned as they are."""
        turn = self.text.get_rotation()
        middle = np.array([self.x0 + self.x1, self.y0 + self.y1]) / 2
        w, h = (self.x1 - self.x0) / 2, (self.y1 - self.y0) / 2
        if turn % 90:  # from the sides of the box around it: (w, h) = (|c| |s|; |s| |c|) (a, b)
            c, s = abs(np.cos(np.radians(turn))), abs(np.sin(np.radians(turn)))
            w, h = np.linalg.lstsq(np.array([[c, s], [s, c]]), np.array([w, h]), rcond=None)[0]
        else:
            turn = 0.0
        out = np.array([[-w, -h], [w, -h], [w, h], [-w, h]])
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        return np.asarray(middle + out @ np.array([[c, s], [-s, c]]))

    @property
    def points(self) -> float:
        """The size of the text."""
        return float(self.text.get_fontsize())

    @property
    def words(self) -> str:
        """The text in one line."""
        return " ".join(self.text.get_text().split())


def faults(figure: Figure, losses: Iterable[str] = (), *, smallest: float = SMALLEST) -> list[str]:
    """What is wrong with a figure, a sentence each; empty where nothing is.

    Looks for text smaller than 8 pt, text above text or with a line through it, text or markers beyond the canvas, text
    with a contrast below 4.5 and lines and markers with one below 3 on what is behind them, panels without anything
    drawn or said in them, and losses that have no artist in their colour, or no label.

    Args:
        figure: at the width at which it is printed.
        losses: labels that must be there, such as ``look_of("dpo").label``, with an artist in the label's colour, or
            in that of its line in the key.
        smallest: points of text.

    Raises:
        TypeError: it is no Figure.

    Source: WCAG 2.2 for contrast; ICML, IEEE and Nature for sizes of text.

    Example:
        >>> import expo_analysis as ea
        >>> ea.figures.faults(ea.figures.interpolation("expo", lams=[0.1, 1.0, 10.0]))
        []
    """
    if not isinstance(figure, Figure):
        raise TypeError(f"figure must be a matplotlib Figure, got {type(figure).__name__}")
    behind, boxes = _rendered(figure)
    found = [f"text of {box.points:.3g} pt: {box.words!r}" for box in boxes if box.points < smallest - 1e-6]
    found += (
        _overlaps(boxes)
        + _crossed(boxes, figure)
        + _beyond(figure, boxes)
        + _pale_text(boxes, behind, figure)
        + _pale_lines(figure)
    )
    found += [f"a panel without anything in it: {axes.get_title()!r}" for axes in figure.axes if not _says(axes)]
    return found + [fault for label in losses for fault in _missing(figure, label)]


class Listener(RendererAgg):
    """Draws, and remembers which texts it drew; of texts in several lines matplotlib does not tell."""

    def __init__(self, figure: Figure) -> None:
        super().__init__(*figure.bbox.size, figure.dpi)
        self.drawn: list[Text | None] = []

    def draw_text(self, gc: Any, x: float, y: float, s: str, *args: Any, **options: Any) -> None:
        """As Agg's own."""
        self.drawn.append(options.get("mtext") or (args[3] if len(args) > 3 else None))
        super().draw_text(gc, x, y, s, *args, **options)

    def picture(self) -> Floats:
        """RGB in [0, 1]."""
        return np.asarray(np.asarray(self.buffer_rgba())[..., :3] / 255)


def _rendered(figure: Figure) -> tuple[Floats, list[Box]]:
    """The picture without any text, and the boxes of the texts."""
    renderer = Listener(figure)
    figure.draw(renderer)
    folded = [text for text in figure.findobj(Text) if "\n" in text.get_text() and _shown(text)]
    texts = [text for text in dict.fromkeys([*renderer.drawn, *folded]) if text is not None and text.get_text().strip()]
    points = 72 / figure.dpi
    boxes = [Box(text, *(points * np.asarray(text.get_window_extent(renderer).extents))) for text in texts]
    for box in boxes:
        box.text.set_visible(False)
    try:
        bare = Listener(figure)
        with _no_layout(figure):
            figure.draw(bare)
    finally:
        for box in boxes:
            box.text.set_visible(True)
    return bare.picture(), boxes


@contextmanager
def _no_layout(figure: Figure) -> Iterator[None]:
    """Panels stay where they are, although their labels are gone."""
    engine = figure.get_layout_engine()
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        if engine is not None:
            figure.set_layout_engine(engine)


def _shown(text: Text) -> bool:
    axes = text.axes
    return text.get_visible() and (axes is None or (axes.get_visible() and (axes.axison or text in axes.texts)))


def _overlaps(boxes: list[Box]) -> list[str]:
    ends = np.array([box[1:] for box in boxes]).reshape(-1, 4)
    low, high = ends[:, :2], ends[:, 2:]
    into = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    pairs = np.argwhere(np.triu((into > TOUCHING).all(axis=-1), 1))
    met = ((boxes[i], boxes[j]) for i, j in pairs if _ink_meets(boxes[i], boxes[j]) and _meet(boxes[i], boxes[j]))
    return [f"text above text: {first.words!r} and {second.words!r}" for first, second in met]


def _meet(first: Box, second: Box) -> bool:
    """Whether the turned rectangles are in each other: no side of either separates them."""
    shapes = (first.corners(), second.corners())
    for shape in shapes:
        for side in (shape[1] - shape[0], shape[2] - shape[1]):
            normal = side / max(float(np.hypot(*side)), 1e-9)
            (a, b), (c, d) = ((float((one @ normal).min()), float((one @ normal).max())) for one in shapes)
            if min(b, d) - max(a, c) <= TOUCHING:
                return False
    return True


def _crossed(boxes: list[Box], figure: Figure) -> list[str]:
    """Text in a panel with a line or a marker of that panel through it."""
    found = []
    for box in boxes:
        axes = box.text.axes
        if axes is None or box.text not in axes.texts:
            continue
        air = 0.2 * box.points
        inner = np.array([[box.x0 + 0.5, box.y0 + air], [box.x1 - 0.5, box.y1 - air]]) * figure.dpi / 72
        for line in axes.get_lines():
            path = line.get_path().transformed(line.get_transform()).cleaned(remove_nans=True)
            vertices = np.asarray(path.vertices, dtype=float)
            dots = vertices[np.isfinite(vertices).all(axis=1)]
            if line.get_linestyle() in ("None", "none", "", " "):
                hit = bool(((dots > inner[0]) & (dots < inner[1])).all(axis=1).any())
            else:
                hit = line.get_visible() and path.intersects_bbox(Bbox(inner), filled=False)
            if hit:
                found.append(f"a line through text: {box.words!r}")
                break
    return found


def _ink_meets(first: Box, second: Box) -> bool:
    """Lines of text have a descent that is mostly air: it may be above the ascent of what is below."""
    upper, lower = sorted((first, second), key=lambda box: -box.y1)
    if upper.text.get_rotation() or lower.text.get_rotation():
        return True
    return lower.y1 - upper.y0 > 0.25 * upper.points


def _beyond(figure: Figure, boxes: list[Box]) -> list[str]:
    wide, high = figure.get_size_inches() * 72
    found = []
    for box in boxes:
        if box.x0 < -0.5 or box.y0 < -0.5 or box.x1 > wide + 0.5 or box.y1 > high + 0.5:
            found.append(f"text beyond the canvas: {box.words!r}")
    for axes in figure.axes:
        for line in axes.get_lines():
            if not line.get_clip_on() and line.get_visible() and _has_points(line):
                points = line.get_transform().transform(np.column_stack(line.get_data(orig=False)))
                inside = (points >= -1) & (points <= figure.get_size_inches() * figure.dpi + 1)
                if not inside[np.isfinite(points)].all():
                    found.append(f"a marker beyond the canvas: {line.get_label()!r}")
    return found


def _pale_text(boxes: list[Box], behind: Floats, figure: Figure) -> list[str]:
    found = []
    tall = behind.shape[0]
    scale = figure.dpi / 72
    for box in boxes:
        rows = slice(max(0, int(tall - box.y1 * scale)), max(0, int(np.ceil(tall - box.y0 * scale))))
        columns = slice(max(0, int(box.x0 * scale)), max(0, int(np.ceil(box.x1 * scale))))
        patch = behind[rows, columns].reshape(-1, 3)
        if not len(patch):
            continue
        colours, counts = np.unique((patch * 255).round().astype(int), axis=0, return_counts=True)
        ground = to_hex(colours[counts.argmax()] / 255)
        ratio = contrast(box.text.get_color(), ground)
        if ratio < TEXT_CONTRAST:
            found.append(f"text with contrast {ratio:.2f} on {ground}: {box.words!r}")
    return found


def _pale_lines(figure: Figure) -> list[str]:
    found = []
    for line in _data_lines(figure):
        ground = figure.get_facecolor() if line.axes is None else line.axes.get_facecolor()
        alpha = line.get_alpha()
        seen = 1.0 if alpha is None else alpha
        colour = seen * np.array(to_rgb(line.get_color())) + (1 - seen) * np.array(to_rgb(ground))
        ratio = contrast(colour, to_hex(ground))
        if ratio < LINE_CONTRAST:
            found.append(f"a line with contrast {ratio:.2f}: {line.get_label()!r}")
    return found


def _data_lines(figure: Figure) -> Iterator[Line2D]:
    """Lines that carry data or stand in a key."""
    for axes in figure.axes:
        yield from (line for line in axes.get_lines() if line.get_visible())
    for legend in figure.findobj(Legend):
        yield from legend.get_lines()


def _says(axes: Any) -> bool:
    """Whether there is anything in a panel: a finite point, a patch or words."""
    lines = [line for line in axes.get_lines() if _has_points(line)]
    words = [text for text in axes.texts if text.get_text().strip()]
    return bool(lines or words or axes.patches or axes.collections)


def _has_points(line: Line2D) -> bool:
    x, y = (np.asarray(values, dtype=float) for values in line.get_data())
    return bool((np.isfinite(x) & np.isfinite(y)).any())


def _missing(figure: Figure, label: str) -> list[str]:
    """A loss that has no label, or nothing in its colour."""
    key = _letters(label)
    named = [text for text in figure.findobj(Text) if key in _letters(text.get_text())]
    if not named:
        return [f"a loss without its label: {label!r}"]
    if any(f"{key}:" in _letters(text.get_text()) for text in figure.texts):
        return []  # said in words why there is nothing, or what there is to it
    colours = {to_hex(text.get_color()) for text in named}
    for legend in figure.findobj(Legend):
        for text, line in zip(legend.get_texts(), legend.legend_handles, strict=True):
            if key in _letters(text.get_text()) and isinstance(line, Line2D):
                colours.add(to_hex(line.get_color()))
    drawn = {to_hex(line.get_color()) for axes in figure.axes for line in axes.get_lines() if _has_points(line)}
    drawn |= {to_hex(text.get_color()) for axes in figure.axes for text in axes.texts}
    return [] if colours & drawn else [f"a loss without an artist in its colour: {label!r}"]


def _letters(text: str) -> str:
    """Without white space: a label may be folded, in a word too."""
    return "".join(text.split())
