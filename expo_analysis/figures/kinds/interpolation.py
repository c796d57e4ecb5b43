"""Where a loss leads from pi_ref as lambda falls: to pi*, or past it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from ...bandit import Bandit
from ...paper import interpolation as paper_interpolation
from ..looks import INK, Look
from ..losses import Given, named_losses, tidy
from ..sheet import Entry, Sheet, end_key, end_style, message, spread
from ..solved import Solved, fit, grid, one_bandit, solved
from ..style import END_POINTS, Size, size_of, under

LOW, HIGH, POINTS = 1e-3, 1e3, 61
"""The default lambdas."""

PER_ROW = {"column": 3, "wide": 5}
"""Panels beside each other, by whether the figure is a column or wider."""

SHORT = 3
"""Names of responses up to so many letters stand beside the lines; longer ones are numbered."""


def interpolation(
    losses: Given | Iterable[Given] | Mapping[str, Given],
    *,
    bandit: Bandit | None = None,
    lams: ArrayLike | None = None,
    prompt: int = 0,
    width: str | float = "column",
    title: str | None = None,
) -> Figure:
    r"""The exact optimum against lambda, a panel for each loss: does it reach pi* as lambda falls?

    Draws pi_lambda = argmin_pi J(pi; lambda), each response's probability a line, between pi_ref (lambda -> infinity)
    and pi*; where the bandit has counts, pi* is their Bradley-Terry fit. Above each panel stands
    TV = 1/2 sum_y |pi(y) - pi*(y)| at the smallest lambda drawn: strong interpolation means that it tends to 0.

    Args:
        losses: see `named_losses`. Their own lambdas are not used.
        bandit: pi_ref, pi* or counts, and pairs; by default the paper's, pi* = (.6, .3, .1), pi_ref = (.4, .4, .2).
        lams: at least two; by default 61 from 1e-3 to 1e3.
        prompt: which one is drawn, where the bandit has several.
        width: ``"column"`` (3.3 in), ``"page"`` (6.9 in), ``"slide"`` (10 in), or inches; see `size_of`.
        title: instead of the usual one; ``""`` for none.

    Returns:
        The figure. What cannot be solved, is not proven or not attained is said below it, in words.

    Raises:
        TypeError, ValueError: naming the argument, and what is accepted.

    Source: arXiv 2506.07492, Section 5 (interpolation).

    Example:
        >>> import expo_analysis as ea
        >>> figure = ea.figures.interpolation([ea.DPO(1), ea.EXPO(1)], lams=[0.01, 1.0, 100.0])
        >>> [axes.get_title().split()[0] for axes in figure.axes]
        ['DPO', 'EXPO,']
    """
    size, problem = size_of(width), one_bandit(bandit, paper_interpolation().population)
    named, at = named_losses(losses), grid(lams, LOW, HIGH, POINTS)
    prompt = which_prompt(problem, prompt)
    paths = [solved(one, problem, at) for one in named]
    target = fit(problem)
    rows = [_rows(path, problem, target, prompt) for path in paths]
    notes = [path.note for path in paths]
    notes.append(r"TV: distance of the optimum at the smallest $\lambda$ from $\pi^*$ (total variation).")
    if problem.optimal is None:
        known = "is the Bradley–Terry fit to the counts" if target is not None else "is not known, and has no fit"
        notes.append(rf"$\pi^*$ {known}.")
    if problem.prompts:
        notes.append(f"Prompt {prompt + 1} of {problem.prompts}.")
    names, legend = response_names(problem)
    words = r"Which optimum each loss has, from $\lambda \to 0$ (left) to $\lambda \to \infty$ (right)"
    looks = {path.named.name: path.named.look for path in paths}
    return draw(
        pd.concat(rows, ignore_index=True), looks, size, words if title is None else title, names, notes + legend
    )


def draw(
    frame: pd.DataFrame,
    looks: Mapping[str, Look],
    size: Size,
    title: str,
    names: Mapping[str, str],
    notes: Iterable[str] = (),
    script: str = "",
) -> Figure:
    """The figure of a table: a panel for each of ``looks``.

    Args:
        frame: columns ``source`` ("exact" or "script"), ``loss``, ``lam``, ``response``, ``policy``, ``optimal``,
            ``reference``, and ``attained`` where something is not.
        names: of responses, as they are drawn. script: what points of source "script" are.
    """
    with under(size):
        reading: list[Entry] = [end_key(name, size, words) for name, words in _ends(frame, names).items()]
        if script:
            reading.append((Line2D([], [], **_stopped(size, INK, "o")), script))
        sheet = Sheet(size, title, reading, notes)
        rows = -(-len(looks) // PER_ROW["column" if size.width < 5 * size.text / 8 else "wide"])
        columns = -(-len(looks) // rows)
        tall = (1.05 + 0.25 * (size.width > 5)) * size.text / 8
        titles = {loss: sheet.wrapped(look.label, (size.width - 0.5) / columns - 0.05) for loss, look in looks.items()}
        lines = max(text.count("\n") + 1 for text in titles.values()) + 1
        panels = rows * (tall + (lines + 2.2) * size.row + 0.1)
        grid_of = sheet.subplots(panels, rows, columns, sharex=True, sharey=True)
        across = (size.width - 0.55) / columns
        for axes, loss in zip(grid_of.flat, looks, strict=False):
            reach = (float(frame["lam"].min()), float(frame["lam"].max()))
            _panel(axes, frame[frame["loss"] == loss], looks[loss], size, names, across, tall, reach)
            axes.set_title(f"{titles[loss]}\n{_miss(frame[frame['loss'] == loss])}", color=looks[loss].colour)
        for axes in list(grid_of.flat)[len(looks) :]:
            axes.remove()
        for column in range(columns):  # the last row may be short
            last = grid_of[rows - 1 - (rows > 1 and (rows - 1) * columns + column >= len(looks)), column]
            last.tick_params(labelbottom=True)
            last.set_xlabel(r"trade-off $\lambda$")
        for axes in grid_of[:, 0]:
            axes.set_ylabel(r"probability $\pi(y)$")
        return sheet.finished()


def which_prompt(bandit: Bandit, prompt: int) -> int:
    """The prompt, from 0.

    Raises:
        ValueError: there is no such prompt.
    """
    count = bandit.prompts or 1
    if not isinstance(prompt, int | np.integer) or isinstance(prompt, bool) or not 0 <= prompt < count:
        raise ValueError(f"prompt must be a number from 0 to {count - 1}, got {prompt!r}")
    return int(prompt)


def response_names(bandit: Bandit) -> tuple[dict[str, str], list[str]]:
    """What is written beside each response's line, and a note where that is a number instead of its name."""
    keys = [f"y{k + 1}" for k in range(bandit.n)]
    own = [tidy(str(name)) for name in bandit.responses] if bandit.responses else []
    if own and len(set(own)) == bandit.n and max(map(len, own)) <= SHORT:
        return dict(zip(keys, own, strict=True)), []
    numbered = {key: numbered_name(key) for key in keys}
    meaning = ", ".join(f"{numbered[key]} {name}" for key, name in zip(keys, own, strict=True)) if own else ""
    return numbered, [f"Responses: {meaning}."] if meaning and len(meaning) < 200 else []


def numbered_name(key: str) -> str:
    """ "y1" as it is drawn.

    >>> numbered_name("y1"), numbered_name("y12")
    ('$y_1$', '$y_{12}$')
    """
    return f"$y_{key[1:]}$" if len(key) == 2 else f"$y_{{{key[1:]}}}$"


def _rows(path: Solved, bandit: Bandit, target: Any, prompt: int) -> pd.DataFrame:
    """The table of one loss."""
    count, n = len(path.lams), bandit.n
    unknown = np.full((bandit.prompts or 1, n), np.nan) if target is None else target
    return pd.DataFrame(
        {
            "source": "exact",
            "loss": path.named.name,
            "lam": np.repeat(path.lams, n),
            "response": np.tile([f"y{k + 1}" for k in range(n)], count),
            "policy": path.policies[:, prompt].reshape(-1),
            "optimal": np.tile(unknown[prompt], count),
            "reference": np.tile(np.atleast_2d(bandit.reference)[prompt], count),
            "attained": np.repeat(path.attained[:, prompt], n),
        }
    )


def _ends(frame: pd.DataFrame, names: Mapping[str, str]) -> dict[str, str]:
    """What the key says of pi* and pi_ref."""
    one = frame.drop_duplicates("response").set_index("response").loc[list(names)]
    known = [name for name in END_POINTS if one[name].notna().all()]
    few = len(names) <= 4
    return {name: f" = ({', '.join(f'{p:.2g}' for p in one[name])})" if few else "" for name in known}


def _panel(
    axes: Axes,
    rows: pd.DataFrame,
    look: Look,
    size: Size,
    names: Mapping[str, str],
    across: float,
    tall: float,
    reach: tuple[float, float],
) -> None:
    exact = rows[rows["source"] == "exact"]
    low, high = np.log10(reach)
    data = max(across - 0.46 * size.text / 8, 0.2)  # its width in inches
    scale = (high - low) / data * size.text / 8
    left, right, written = low - 0.09 * scale, high + 0.08 * scale, low - 0.15 * scale
    optimum = exact.drop_duplicates("response").set_index("response")["optimal"]
    for response in names:
        path = exact[exact["response"] == response]
        script = rows[(rows["source"] == "script") & (rows["response"] == response)]
        _path(axes, path, look, size)
        axes.plot(script["lam"], script["policy"], **_stopped(size, look.colour, look.marker))
        if exact["policy"].notna().any():
            axes.plot(10**left, path["optimal"].iloc[0], **end_style("optimal", size, zorder=4))
            axes.plot(10**right, path["reference"].iloc[0], **end_style("reference", size, zorder=4))
    drawn = exact["policy"].notna().any()
    if not drawn:
        message(axes, "no optimum\nto draw:\nsee below")
    ends = optimum if optimum.notna().all() else exact.groupby("response", sort=False)["policy"].first()
    for response, y in _labelled(ends, tall, size).items() if drawn else ():
        axes.text(10**written, y, names[response], ha="right", va="center", color=INK)
    axes.set(xscale="log", xlim=(10 ** (low - 0.31 * scale), 10 ** (high + 0.15 * scale)), ylim=(-0.04, 1.04))
    axes.set(
        xticks=_decades(low, high, max(2, int(data / (0.4 * size.text / 8)))),
        yticks=[0, 0.5, 1],
        yticklabels=["0", "0.5", "1"],
    )
    axes.minorticks_off()


def _path(axes: Axes, path: pd.DataFrame, look: Look, size: Size) -> None:
    """A response's line, thin where it is no minimiser's."""
    axes.plot(path["lam"], path["policy"], **look.line(linewidth=size.line / 2 if _open(path) else size.line))
    if _open(path) and path["attained"].any():
        axes.plot(path["lam"], path["policy"].where(path["attained"]), **look.line(linewidth=size.line))


def _open(path: pd.DataFrame) -> bool:
    return "attained" in path and not path["attained"].all()


def _stopped(size: Size, colour: str, marker: str) -> dict[str, Any]:
    return {
        "color": colour,
        "linestyle": "none",
        "marker": marker,
        "markersize": size.mark,
        "markerfacecolor": "white",
        "markeredgewidth": size.mark / 4.5,
        "zorder": 3,
    }


def _labelled(wanted: pd.Series, tall: float, size: Size) -> dict[str, float]:
    """Where the names of responses stand: beside where their lines end, the most probable first, while there is room.

    Args:
        wanted: probability by response. tall: the panel's height in inches.
    """
    apart = 1.08 * size.row / tall
    places: dict[str, float] = {}
    for response in wanted.dropna().sort_values(ascending=False, kind="stable").index:
        tried = [*places, response]
        found = spread([float(wanted[one]) for one in tried], apart, 0.0, 1.0)
        if max(abs(wanted[one] - y) for one, y in zip(tried, found, strict=True)) <= 0.6 * apart:
            places = dict(zip(tried, found, strict=True))
    return places


def _miss(rows: pd.DataFrame) -> str:
    """The distance of the first policy from pi*."""
    exact = rows[rows["source"] == "exact"]
    first = exact[exact["lam"] == exact["lam"].min()]
    gap = 0.5 * (first["policy"] - first["optimal"]).abs().sum(skipna=False)
    return "TV unknown" if np.isnan(gap) else f"TV {gap:.2f}"


def _decades(low: float, high: float, most: int) -> list[float]:
    """At most so many powers of ten, evenly spaced."""
    first, last = int(np.ceil(low - 1e-9)), int(np.floor(high + 1e-9))
    step = max(1, int(np.ceil((last - first) / max(1, most - 1))))
    start = first + ((last - first) % step) // 2
    return [10.0**k for k in range(start, last + 1, step)] or [10.0**low, 10.0**high]
