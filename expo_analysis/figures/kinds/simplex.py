"""The paths of optima through the probability simplex."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mpltern  # noqa: F401  (registers the ternary projection)
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator
from numpy.typing import ArrayLike

from ..._types import Floats
from ...bandit import Bandit
from ...paper import interpolation as paper_interpolation
from ..looks import INK, Look
from ..losses import Given, named_losses
from ..sheet import MARGIN, Sheet, above, end_key, end_style, line_key
from ..solved import Solved, fit, grid, one_bandit, solved
from ..style import Size, size_of, under
from .interpolation import response_names, which_prompt

LOW, HIGH, POINTS = 1e-4, 1e4, 121
MARKED = (10.0, 1.0, 0.1)
"""The lambdas marked by dots along every path."""


@dataclass(frozen=True, eq=False)
class Path:
    """A path to draw: corners (L, 3) in the simplex, nan in gaps; attained (L,); marked (M, 3)."""

    look: Look
    corners: Floats
    attained: Any
    marked: Floats


def simplex(
    losses: Given | Iterable[Given] | Mapping[str, Given],
    *,
    bandit: Bandit | None = None,
    lams: ArrayLike | None = None,
    prompt: int = 0,
    width: str | float = "column",
    title: str | None = None,
) -> Figure:
    r"""The way of the exact optimum through the simplex, from pi_ref at lambda -> infinity on.

    Draws the curve lambda -> argmin_pi J(pi; lambda) with dots at lambda = 10, 1 and 0.1, in the part of the triangle
    where all paths are, which a small triangle shows. Beyond three responses there are the two on which pi* and pi_ref
    differ most, and all others together: adding probabilities up is exact. With two responses the simplex is a line,
    and each loss has its own.

    Args:
        losses, bandit, lams, prompt, width, title: as for `interpolation`; lams by default 121 from 1e-4 to 1e4.

    Returns:
        The figure. What cannot be solved, is not proven or not attained is said below it, in words.

    Raises:
        TypeError, ValueError: naming the argument, and what is accepted.

    Source: arXiv 2506.07492, figure 1, for the question; the picture is this package's.

    Example:
        >>> import expo_analysis as ea
        >>> len(ea.figures.simplex([ea.DPO(1), ea.EXPO(1)], lams=[0.1, 1.0, 10.0]).axes)
        2
    """
    size, problem = size_of(width), one_bandit(bandit, paper_interpolation().population)
    named, at = named_losses(losses), grid(lams, LOW, HIGH, POINTS)
    prompt = which_prompt(problem, prompt)
    inside = [lam for lam in MARKED if at[0] <= lam <= at[-1]]
    at = np.union1d(at, inside)
    paths = [solved(one, problem, at) for one in named]
    target, reference = fit(problem), np.atleast_2d(problem.reference)[prompt]
    optimal = None if target is None else target[prompt]
    rows, corners, lumped = _corners(reference, optimal, problem)
    drawn = [_path(path, prompt, rows, inside) for path in paths]
    notes = [path.note for path in paths]
    if inside:
        notes.append(rf"Marks on a path: $\lambda$ = {', then '.join(f'{lam:g}' for lam in inside)}.")
    notes += [lumped, f"Prompt {prompt + 1} of {problem.prompts}." if problem.prompts else ""]
    if problem.optimal is None:
        known = "is the Bradley–Terry fit to the counts" if optimal is not None else "is not known, and has no fit"
        notes.append(rf"$\pi^*$ {known}.")
    ends = {"reference": rows @ reference} | ({} if optimal is None else {"optimal": rows @ optimal})
    words = r"The way of the optimum from $\pi_{\mathrm{ref}}$ as $\lambda$ falls"
    draw = draw_line if problem.n == 2 else draw_triangle
    return draw(drawn, ends, corners, size, words if title is None else title, notes)


def draw_triangle(
    paths: Sequence[Path],
    ends: Mapping[str, Floats],
    corners: Sequence[str],
    size: Size,
    title: str,
    notes: Iterable[str] = (),
) -> Figure:
    """The figure of paths in a triangle.

    Args:
        ends: pi_ref as "reference" and pi* as "optimal", (3,), where it is known. corners: names of the responses.
    """
    with under(size):
        key = [*(line_key(path.look, size) for path in paths), *(end_key(name, size) for name in ends)]
        lows = _lows(paths, ends)
        whole = ["Grey in the small triangle: the part of the simplex that is drawn."] if sum(lows) else []
        sheet = Sheet(size, title, key, [*notes, *whole])
        unit = size.text / 8
        side = min(size.width - 0.95 * unit, 3.6 * unit)
        figure = sheet.lay_out(side * np.sqrt(3) / 2 + 0.72 * unit)
        left = (size.width - side) / 2 + 0.02
        base = sheet.below * sheet.height + 0.36 * unit
        place = (left / size.width, base / sheet.height, side / size.width, side * np.sqrt(3) / 2 / sheet.height)
        near: Any = figure.add_axes(place, projection="ternary")
        near.set_ternary_min(*lows, fit="triangle")
        _ternary_axes(near, corners, size, 1 - sum(lows))
        for path in paths:
            _draw_path(near, path, size)
        for name, policy in ends.items():
            near.plot(*policy[:, None], **end_style(name, size, zorder=6))
        if not any(np.isfinite(path.corners).any() for path in paths):
            middle = np.array(lows) + (1 - sum(lows)) / 3
            near.text(*middle, "no optimum to draw: see below", ha="center", color=INK)
        _where(figure, lows, size, sheet)
        return sheet.finished()


def draw_line(
    paths: Sequence[Path],
    ends: Mapping[str, Floats],
    corners: Sequence[str],
    size: Size,
    title: str,
    notes: Iterable[str] = (),
) -> Figure:
    """Two responses: a line for each loss, from pi_ref on."""
    with under(size):
        sheet = Sheet(size, title, [end_key(name, size) for name in ends], notes)
        labels = [sheet.wrapped(path.look.label, 0.36 * size.width) for path in paths]
        tall = sum(label.count("\n") + 1.6 for label in labels) * size.row + 3.2 * size.row
        axes = sheet.subplots(tall, 1, 1)[0, 0]
        for k, path in enumerate(paths):
            x = path.corners[:, 0]
            axes.plot(x, np.full(len(x), k), **path.look.line(linewidth=size.line / 2))
            axes.plot(np.where(path.attained, x, np.nan), np.full(len(x), k), **path.look.line(linewidth=size.line))
            axes.plot(path.marked[:, 0], np.full(len(path.marked), k), **_dot(path.look, size))
            if not np.isfinite(x).any():
                axes.text(0.5, k, "no optimum to draw: see below", ha="center", va="center", color=INK)
                continue
            for name, policy in ends.items():
                axes.plot(policy[0], k, **end_style(name, size))
        axes.set(xlim=(-0.03, 1.03), ylim=(len(paths) - 0.4, -0.6), xlabel=f"probability of {corners[0]}")
        axes.set_yticks(range(len(paths)), labels)
        figure = sheet.finished()
        for label, path in zip(axes.get_yticklabels(), paths, strict=True):
            label.set_color(path.look.colour)
        return figure


def _corners(reference: Floats, optimal: Floats | None, bandit: Bandit) -> tuple[Floats, list[str], str]:
    """What adds responses up to three, or fewer: rows (3, n) or (2, n); the corners' names; and a note."""
    n = bandit.n
    names, legend = response_names(bandit)
    keys = list(names.values())
    if n <= 3:
        return np.eye(n), keys, legend[0] if legend else ""
    gap = np.abs((reference if optimal is None else optimal) - (0 if optimal is None else reference))
    first, second = sorted(np.argsort(-gap, kind="stable")[:2])
    rest = np.ones(n)
    rest[[first, second]] = 0.0
    note = f"Of {n} responses the two that matter most; the rest is the other {n - 2} together."
    return np.array([np.eye(n)[first], np.eye(n)[second], rest]), [keys[first], keys[second], "rest"], note


def _path(path: Solved, prompt: int, rows: Floats, inside: Sequence[float]) -> Path:
    corners = path.policies[:, prompt] @ rows.T
    attained = path.attained[:, prompt]
    return Path(path.named.look, corners, attained, corners[np.isin(path.lams, inside)])


def _lows(paths: Sequence[Path], ends: Mapping[str, Floats]) -> tuple[float, float, float]:
    """The least probability of each corner in the smallest triangle with all paths in it and some room."""
    points = np.concatenate([*(path.corners for path in paths), *(end[None] for end in ends.values())])
    points = points[np.isfinite(points).all(axis=1)]
    lows = points.min(axis=0)
    side = 1 - lows.sum()
    lows = np.maximum(lows - max(0.06 * side, 0.015), 0.0)
    if 1 - lows.sum() > 0.85:  # hardly smaller than all of it
        lows[:] = 0.0
    return tuple(float(low) for low in np.floor(lows * 1000) / 1000)  # type: ignore[return-value]


def _draw_path(axes: Any, path: Path, size: Size) -> None:
    over = {"zorder": above(path.look)}
    wide = size.line if path.attained.all() else size.line / 2
    axes.plot(*path.corners.T, **path.look.line(linewidth=wide, **over))
    if path.attained.any() and not path.attained.all():
        kept = np.where(path.attained[:, None], path.corners, np.nan)
        axes.plot(*kept.T, **path.look.line(linewidth=size.line, **over))
    axes.plot(*path.marked.T, zorder=3, **_dot(path.look, size))


def _dot(look: Look, size: Size) -> dict[str, Any]:
    white = {"markeredgecolor": "white", "markeredgewidth": size.mark / 9}
    return {"color": look.colour, "linestyle": "none", "marker": look.marker, "markersize": size.mark, **white}


def _ternary_axes(axes: Any, corners: Sequence[str], size: Size, side: float) -> None:
    step = next(s for s in (0.2, 0.1, 0.05, 0.02, 0.01, 0.005) if side / s >= 2.5 or s == 0.005)
    for axis in (axes.taxis, axes.laxis, axes.raxis):
        axis.set_major_locator(MultipleLocator(step))
        axis.set_tick_params(labelsize=size.text, length=size.text / 3.2, width=size.text / 13, pad=size.text / 5)
        axis.set_tick_params(labelrotation="horizontal")
        axis.set_label_rotation_mode("horizontal")
    for set_label, name in zip((axes.set_tlabel, axes.set_llabel, axes.set_rlabel), corners, strict=True):
        set_label(name, fontsize=size.text)
    axes.grid(color="0.92", linewidth=size.text / 13)


def _where(figure: Figure, lows: Sequence[float], size: Size, sheet: Sheet) -> None:
    """The whole simplex, small, with the part that is drawn in grey."""
    if sum(lows) == 0:
        return
    wide = 0.5 * size.text / 8
    tall = wide * np.sqrt(3) / 2
    x = (MARGIN + 0.05) / size.width
    y = sheet.above - (tall + 0.2 * size.text / 8) / sheet.height
    axes = figure.add_axes((x, y, wide / size.width, tall / sheet.height))
    axes.set(xlim=(0, 1), ylim=(0, np.sqrt(3) / 2))
    axes.axis("off")
    image = np.array([[0.5, np.sqrt(3) / 2], [0.0, 0.0], [1.0, 0.0]])
    part = np.array(lows) + (1 - sum(lows)) * np.eye(3)
    axes.fill(*(part @ image).T, color="0.75", linewidth=0)
    axes.add_line(Line2D(*image[[0, 1, 2, 0]].T, color="0.3", linewidth=size.text / 12, clip_on=False))
