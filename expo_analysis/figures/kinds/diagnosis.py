"""A training run at a glance: loss, how far both responses have moved, accuracy, and what is left of the gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..sheet import Sheet
from ..style import INK, MOVED, Look, Size, size_of, under

PANELS = {
    "loss": ("loss", None),
    "moved": (r"log $\pi/\pi_{\mathrm{ref}}$, in nats", 0.0),
    "rewards": ("reward", 0.0),
    "accuracy": ("pairs in order", 0.5),
    "gradient": ("gradient", None),
}
"""What the panels show, and the value that means nothing has happened."""

LINES = {
    "training": Look("training", "0.1", "-", "o"),
    "evaluation": Look("evaluation", "0.5", (0, (3, 1.2)), "s"),
    "chosen": MOVED["chosen"],
    "rejected": MOVED["rejected"],
    "weight": Look("mean weight, at most", "0.1", "-", "o"),
    "norm": Look("norm", "0.1", "-", "o"),
}

Lines = Mapping[str, tuple[Any, Any]]


def diagnosis(
    panels: Mapping[str, Lines],
    marks: Iterable[tuple[str, float, str]],
    title: str,
    width: str | float,
    names: list[str],
) -> Figure:
    """The picture of `diagnose`.

    Args:
        panels: by panel, as in `PANELS`, and by line, as in `LINES`: steps and values.
        marks: panel, step and number-less name of what is marked there. names: of what is wrong, in order.
        title: the message. width: see `size_of`.
    """
    size, columns = size_of(width), 2 if size_of(width).width > 5 else 1
    rows = -(-len(panels) // columns) or 1
    with under(size):
        sheet = Sheet(size, title, (), [_key(names)] if names else [])
        grid = sheet.subplots(rows * (1.25 * size.text / 8 + 2.2 * size.row), rows, columns)
        places = dict(zip(panels, grid.flat, strict=False))
        for axes in list(grid.flat)[len(places) :]:
            axes.remove()
        for panel, axes in places.items():
            _draw(axes, panel, panels[panel], size)
        seen: dict[tuple[str, float], list[str]] = {}
        for panel, step, name in marks:
            if panel in places and name in names:
                seen.setdefault((panel, step), []).append(str(names.index(name) + 1))
        for (panel, step), numbers in seen.items():
            _mark(places[panel], step, ", ".join(numbers), size)
        return sheet.finished()


def _key(names: list[str]) -> str:
    return "Marked: " + ", ".join(f"{k} {name}" for k, name in enumerate(names, 1)) + "."


def _draw(axes: Axes, panel: str, lines: Lines, size: Size) -> None:
    label, nothing = PANELS[panel]
    for name, (steps, values) in lines.items():
        look = LINES[name]
        style = look.line(linewidth=size.line * 0.7)
        few: dict[str, Any] = {"marker": look.marker, "markersize": size.mark / 2} if len(steps) < 15 else {}
        axes.plot(steps, values, label=look.label, **style, **few)
    if nothing is not None:
        axes.axhline(nothing, color=INK, linewidth=size.line / 2, linestyle=":")
    if panel == "accuracy":
        axes.set_ylim(-0.03, 1.03)
    if panel == "gradient":
        axes.set_ylim(bottom=0)
        label = LINES[next(iter(lines))].label if "weight" in lines else "norm of the gradient"
    axes.set(xlabel="step", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if len(lines) > 1:
        axes.legend(loc="best", borderpad=0.1, labelspacing=0.2, handlelength=2.0)


def _mark(axes: Axes, step: float, number: str, size: Size) -> None:
    """A line at the step, with the finding's number above the panel."""
    axes.axvline(step, color=INK, linewidth=size.line / 2, linestyle=(0, (2, 2)), zorder=1)
    axes.annotate(
        number,
        (step, 1.0),
        xycoords=("data", "axes fraction"),
        ha="center",
        va="bottom",
        fontsize=size.text,
        weight="bold",
    )
