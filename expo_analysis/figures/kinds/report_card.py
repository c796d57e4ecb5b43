"""Report cards at the size of a page: questions in rows, losses in columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..._progress import Progress, silent
from ...desiderata import ReportCard, ReportCards, audit
from ...desiderata.report.layout import grouped
from ...desiderata.report.wording import SIZES
from ...desiderata.verdict import DESIDERATA, PROVEN
from ..cells import MEANINGS, Cell, cell, written
from ..looks import INK, Look, look_of
from ..losses import Given, named_losses, tidy
from ..sheet import MARGIN, Sheet
from ..style import Size, size_of, under

EFFORT = 0.1
"""Of the audit of losses that come without a card."""

EXCLUSIVE = "No loss can have both: λ → 0 gives π*, and λ → 0 gives π*'s mode."

WIDE, NARROW, ROW = 0.42, 0.19, 0.165
"""Width of a column with numbers and of one without, and height of a row, in inches at 8 pt."""


def report_card(
    losses: Given | Iterable[Given] | Mapping[str, Given] | ReportCard | ReportCards | pd.DataFrame,
    *,
    only: str | Iterable[str] | None = None,
    effort: float = EFFORT,
    seed: int = 0,
    width: str | float = "column",
    title: str | None = None,
    progress: Progress = silent,
) -> Figure:
    """The verdicts of `expo_analysis.audit` on each loss: a row for each question, a column for each loss.

    A sign in a disc is proven, one in a ring was found by search; the darker a failure's cell, the more it weighs, and
    the number is its typical size (see `expo_analysis.desiderata.severity`). Where not all losses fit beside each
    other, the rest stand below them.

    Args:
        losses: see `named_losses`; or cards that exist already: what `audit` or `audit_many` returned, or its frame.
        only: questions to ask, keys of `DESIDERATA`; all by default.
        effort, seed: of the audit, see `audit`: 0.1 tries a tenth of the problems. Not used for cards.
        width, title: as for `interpolation`.
        progress: called as ``progress(done, what=...)`` with the fraction of the losses judged.

    Returns:
        The figure. A loss that cannot be judged has question marks.

    Raises:
        TypeError, ValueError: naming the argument, and what is accepted.

    Source: the questions and their theorems are in docs/desiderata.md.

    Example:
        >>> import expo_analysis as ea
        >>> card = ea.audit(ea.EXPO(1), only="preservation", effort=0.05)
        >>> [text.get_text() for text in ea.figures.report_card(card).axes[0].texts][:2]
        ['a good reference', 'preserves π*']
    """
    size = size_of(width)
    frame, looks = _cards(losses, only, effort, seed, progress)
    return draw(frame, looks, size, "What the exact optima of each loss do" if title is None else title)


def _cards(
    losses: Any, only: str | Iterable[str] | None, effort: float, seed: int, progress: Progress
) -> tuple[pd.DataFrame, dict[str, Look]]:
    """The table of verdicts, and how each loss is drawn."""
    if isinstance(losses, ReportCard):
        losses = ReportCards([losses])
    if isinstance(losses, ReportCards):
        losses = losses.to_frame()
    if not isinstance(losses, pd.DataFrame):
        named = named_losses(losses)
        cards = []
        for k, one in enumerate(named):
            progress(k / len(named), what=one.look.label)
            cards.append(audit(one.objective, name=one.name, effort=effort, seed=seed, only=only))
        progress(1.0, what="done")
        return ReportCards(cards).to_frame(), {one.name: one.look for one in named}
    missing = {"loss", "desideratum", "verdict"} - set(losses)
    if missing or losses.empty:
        raise ValueError(f"losses must be losses, or a report card's table; it has no {sorted(missing) or 'rows'}")
    wanted = list(DESIDERATA) if only is None else [only] if isinstance(only, str) else list(only)
    kept = losses[losses["desideratum"].isin([key for key in wanted if key in DESIDERATA])]
    if kept.empty:
        raise ValueError(f"only must name questions of the card, {sorted(set(losses['desideratum']))}; got {wanted}")
    looks = {name: look_of(name) for name in dict.fromkeys(kept["loss"].astype(str))}
    return kept, {name: Look(tidy(look.label), look.colour, look.dashes, look.marker) for name, look in looks.items()}


def draw(frame: pd.DataFrame, looks: Mapping[str, Look], size: Size, title: str) -> Figure:
    """The figure of a table as `ReportCards.to_frame` has it; a verdict that is not there leaves its cell empty."""
    cells = cells_of(frame)
    groups = grouped(frame["desideratum"])
    unit = size.text / 8
    with under(size):
        measured = Sheet(size)
        names = [written(DESIDERATA[key].title) for keys in groups.values() for key in keys]
        left = max(measured.width_of(name) for name in [*names, *groups]) + 0.14 * unit
        room = size.width - 2 * MARGIN - left
        wide, narrow = WIDE * unit, NARROW * unit
        column = wide if len(looks) * wide <= room else narrow
        each = max(1, int(room / column + 1e-9))
        blocks = [list(looks)[k : k + each] for k in range(0, len(looks), each)]
        fold = 1.6 * unit if column == wide else 10.0
        heads = {name: measured.wrapped(look.label, fold) for name, look in looks.items()}
        tops = [max(measured.width_of(line) for name in block for line in heads[name].split("\n")) for block in blocks]
        rows = sum(len(keys) + 1 for keys in groups.values())
        shown = [(one, words) for one, words in MEANINGS if _alike(one, cells.values())]
        meanings = [(one, measured.wrapped(words, size.width - 2 * MARGIN - 0.3 * unit)) for one, words in shown]
        below = sum(_tall(words) for _, words in meanings) * unit + 0.08
        notes = [SIZES if any(one.number for one in cells.values()) and column == wide else ""]
        notes += [EXCLUSIVE if {"strong_interpolation", "weak_interpolation"} <= set(frame["desideratum"]) else ""]
        notes.append(made(frame))
        sheet = Sheet(size, title, (), notes)
        tall = [top + 0.1 * unit + rows * ROW * unit + 0.08 for top in tops]
        figure = sheet.lay_out(sum(tall) + below)
        y = sheet.above * sheet.height
        for block, height, top in zip(blocks, tall, tops, strict=True):
            y -= height
            axes = _canvas(figure, y, height, sheet)
            _block(axes, block, cells, groups, looks, heads, left, column, top + 0.1 * unit, size)
        axes = _canvas(figure, y - below, below, sheet)
        _legend(axes, meanings, size)
        return sheet.finished()


def cells_of(frame: pd.DataFrame) -> dict[tuple[str, str], Cell]:
    """By loss and desideratum."""
    numbers, words = ["severity_share", "severity_typical"], ["basis", "severity_unit"]
    full = frame.assign(**{name: "" for name in words if name not in frame})
    rows = full.reindex(columns=["loss", "desideratum", "verdict", "basis", *numbers, "severity_unit"])
    return {(str(loss), key): cell(*shown) for loss, key, *shown in rows.itertuples(index=False)}


def _alike(kind: Cell, found: Iterable[Cell]) -> bool:
    return any((one.colours, one.sign, one.basis) == (kind.colours, kind.sign, kind.basis) for one in found)


def _canvas(figure: Figure, bottom: float, height: float, sheet: Sheet) -> Axes:
    """Axes in inches, y downwards from the top, as wide as the figure."""
    axes = figure.add_axes((0, bottom / sheet.height, 1, height / sheet.height))
    axes.set(xlim=(0, sheet.size.width), ylim=(height, 0))
    axes.axis("off")
    return axes


def _block(
    axes: Axes,
    losses: Sequence[str],
    cells: Mapping[tuple[str, str], Cell],
    groups: Mapping[str, Sequence[str]],
    looks: Mapping[str, Look],
    heads: Mapping[str, str],
    left: float,
    column: float,
    top: float,
    size: Size,
) -> None:
    unit = size.text / 8
    row = ROW * unit
    y = top
    for group, keys in groups.items():
        axes.text(MARGIN, y + row / 2, group, weight="bold", color=INK, va="center_baseline")
        y += row
        for key in keys:
            axes.text(MARGIN + 0.06 * unit, y + row / 2, written(DESIDERATA[key].title), va="center_baseline")
            for k, loss in enumerate(losses):
                if (loss, key) in cells:
                    _cell(axes, cells[loss, key], MARGIN + left + k * column, y, column, row, size)
            y += row
    for k, loss in enumerate(losses):
        x = MARGIN + left + (k + 0.5) * column
        look = looks[loss]
        axes.text(x, top - 0.05 * unit, heads[loss], rotation=90, ha="center", va="bottom", color=look.colour)


def _cell(axes: Axes, one: Cell, x: float, y: float, width: float, height: float, size: Size) -> None:
    fill, ink = one.colours
    unit = size.text / 8
    axes.add_patch(Rectangle((x, y), width, height, facecolor=fill, edgecolor="white", linewidth=0.8 * unit))
    number = one.number if width > 1.5 * NARROW * unit else ""
    at, middle = x + (0.105 * unit if number else width / 2), y + height / 2
    colour = ink
    if one.basis:
        face = ink if one.basis == PROVEN else "white"
        axes.scatter([at], [middle], s=(8.6 * unit) ** 2, facecolor=face, edgecolor=ink, linewidth=0.8 * unit, zorder=2)
        colour = "white" if one.basis == PROVEN else ink
    axes.text(at, middle, one.sign, color=colour, weight="bold", ha="center", va="center_baseline", zorder=3)
    if number:
        axes.text(x + width - 0.02 * unit, middle, number, color=ink, ha="right", va="center_baseline", zorder=3)


def _legend(axes: Axes, meanings: Sequence[tuple[Cell, str]], size: Size) -> None:
    unit = size.text / 8
    y = 0.04
    for one, words in meanings:
        bare = Cell(one.colours, one.sign, one.basis, "")
        _cell(axes, bare, MARGIN, y, NARROW * unit, 0.96 * ROW * unit, size)
        axes.text(MARGIN + 0.27 * unit, y + 0.01, words, va="top", linespacing=1.15, color=INK)
        y += _tall(words) * unit


def _tall(words: str) -> float:
    """The height of an entry of the legend, in inches at 8 pt."""
    return 1.08 * ROW + 0.13 * words.count("\n")


def made(frame: pd.DataFrame) -> str:
    """Version, date, effort and seed of the audit, where the frame tells."""
    columns = ["version", "date", "effort", "seed"]
    if not set(columns) <= set(frame):
        return ""
    rows = [row for row in frame[columns].astype(str).itertuples(index=False, name=None) if all(row)]
    told = [f"expo_analysis {version}, {date}, effort {effort}, seed {seed}" for version, date, effort, seed in rows]
    return "; ".join(dict.fromkeys(told))
