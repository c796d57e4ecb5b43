"""Divergence from pi* on a good and a bad prompt, against log lambda."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...figures.kinds.preservation import DIVERGENCE, LINEAR_BELOW, OPTIMAL, REFERENCE
from ...figures.sheet import Entry, Sheet, line_key, path_style
from ...figures.style import INK, Look, Size, looks_in, size_of, under

PROMPTS = {"good": f"good prompt ({REFERENCE} = {OPTIMAL})", "bad": f"bad prompt ({REFERENCE} ≠ {OPTIMAL})"}
DATA = {"population": "population", "pairs": "the paper's pairs"}

STOPPED_EARLY = -5.0
"""The log lambda at which the figure also tells minimisers and ends of training in numbers."""

BAR = 2.6
"""Width of the bars from where training stopped to the minimiser, in points."""

TITLE = r"Preservation: how far from $\pi^*$ one shared $\lambda$ leaves two prompts"


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """The picture of the study."""
    return preservation(tables["preservation"])


def preservation(frame: pd.DataFrame) -> Figure:
    """KL(pi* ‖ pi) against log lambda: prompts in columns, population and pairs in rows; a page wide.

    Args:
        frame: columns ``source`` ("exact" or "script"), ``data`` ("population" or "pairs"), ``prompt`` ("good" or
            "bad"), ``loss``, ``log_lam``, ``kl_optimal_policy`` and ``at_least`` (True where that is a lower bound).
    """
    size, looks = size_of("page"), looks_in(frame)
    data = {name: words for name, words in DATA.items() if (frame["data"] == name).any()}
    with under(size):
        sheet = Sheet(size, TITLE, _key(frame, looks, size), _told(frame, looks))
        grid = sheet.subplots(len(data) * 2.35, len(data), 2, sharex=True, sharey=True)
        for row, (name, words) in zip(grid, data.items(), strict=True):
            for axes, (prompt, of_prompt) in zip(row, PROMPTS.items(), strict=True):
                rows = frame[(frame["data"] == name) & (frame["prompt"] == prompt)]
                _panel(axes, rows, looks, size)
                axes.set_title(f"{of_prompt}, {words}")
        return sheet.finished()


def _panel(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], size: Size) -> None:
    shown = {loss: look for loss, look in looks.items() if (rows["loss"] == loss).any()}
    for k, (loss, look) in enumerate(shown.items()):
        own = rows[rows["loss"] == loss]
        exact, script = own[own["source"] == "exact"], own[own["source"] == "script"]
        every = max(1, len(exact) // 5)
        style = look.line(linewidth=size.line)
        if script.empty:
            style = path_style(look, size, markevery=((k * every) // len(shown), every))
        axes.plot(exact["log_lam"], exact["kl_optimal_policy"], **style)
        axes.plot(script["log_lam"], script["kl_optimal_policy"], **_stopped(look.colour, look.marker, size))
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW)
    axes.set(ylim=(-0.4 * LINEAR_BELOW, 4e2), xticks=range(-5, 6), xlim=(-6.1, 5.4))
    axes.set_yticks([0, *(10.0**k for k in (-6, -4, -2, 0, 2))])
    axes.minorticks_off()
    axes.set(xlabel=r"$\log \lambda$ (natural, as published)", ylabel=DIVERGENCE)
    axes.tick_params(labelbottom=True, labelleft=True)
    if (rows["source"] == "script").any():
        _gap(axes, rows, shown)


def _stopped(colour: str, marker: str, size: Size) -> dict[str, Any]:
    own = {"markersize": 1.3 * size.mark, "markeredgewidth": size.mark / 4, "markerfacecolor": "none"}
    return {"color": colour, "linestyle": "none", "marker": marker, **own}


def _gap(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Bars from where training stopped to the minimiser."""
    for k, (loss, stopped, minimiser, _) in enumerate(_stops(rows)):
        if minimiser > 2 * stopped:  # a shorter bar would be no more than a speck
            axes.vlines(STOPPED_EARLY - 0.3 - 0.24 * k, stopped, minimiser, color=looks[loss].colour, linewidth=BAR)


def _stops(rows: pd.DataFrame) -> list[tuple[str, float, float, bool]]:
    """Of one prompt: loss, where training stopped, where the minimiser is, and whether the former is a lower bound."""
    early = rows[rows["log_lam"] == STOPPED_EARLY]
    minimisers = early[early["source"] == "exact"].set_index("loss")["kl_optimal_policy"].to_dict()
    script = early[early["source"] == "script"]
    ends = zip(script["loss"], script["kl_optimal_policy"], script["at_least"], strict=True)
    return [(loss, stopped, minimisers[loss], bool(least)) for loss, stopped, least in ends if loss in minimisers]


def _told(frame: pd.DataFrame, looks: Mapping[str, Look]) -> list[str]:
    """The same in numbers, a sentence for each prompt."""
    notes = []
    for prompt in PROMPTS:
        stops = _stops(frame[(frame["data"] == "pairs") & (frame["prompt"] == prompt)])
        parts = [
            f"{looks[loss].label} {'≥ ' if least else ''}{stopped:.2g} and {minimiser:.2g}"
            for loss, stopped, minimiser, least in stops
        ]
        if parts:
            begin = rf"{prompt.capitalize()} prompt, $\log \lambda = {STOPPED_EARLY:g}$, script and minimiser in nats: "
            notes.append(f"{begin}{'; '.join(parts)}.")
    return notes


def _key(frame: pd.DataFrame, looks: Mapping[str, Look], size: Size) -> list[Entry]:
    entries: list[Entry] = []
    for loss, look in looks.items():
        line, words = line_key(look, size)
        entries.append((line, words + (" (at λ/3: see text)" if loss == "expo" else "")))
    if (frame["source"] == "script").any():
        entries.append((Line2D([], [], **_stopped(INK, "o", size)), "where the authors' script stopped"))
        words = rf"from there to the minimiser, $\log \lambda = {STOPPED_EARLY:g}$"
        entries.append((Line2D([], [], color=INK, linewidth=BAR), words))
    return entries
