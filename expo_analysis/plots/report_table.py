"""Losses and desiderata in one table, a sign and a colour for each verdict."""

from __future__ import annotations

from textwrap import fill

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch, Rectangle

from ..desiderata.report.wording import SIGNS
from ..desiderata.verdict import CANNOT_TELL, DESIDERATA, FAILS, HOLDS, NOT_APPLICABLE, Decision
from .style import INK, themed

COLOURS: dict[Decision, tuple[str, str]] = {
    HOLDS: ("#cfe3f3", "#0b4f86"),
    FAILS: ("#f7b48f", "#6b2200"),
    NOT_APPLICABLE: ("#ffffff", "#5a5e66"),
    CANNOT_TELL: ("#ececee", "#5a5e66"),
}
"""Fill and ink: a light blue, a darker orange, and grey, which differ in lightness too."""

ROW, HEAD, FOOT = 0.29, 1.75, 0.45
"""Heights in inches."""

LONGEST = 32
"""Names longer than this many characters are folded."""


@themed
def report_table(frame: pd.DataFrame) -> Figure:
    """A row per loss and a column per desideratum, in the order of the frame and of `DESIDERATA`.

    Args:
        frame: columns ``loss``, ``desideratum`` and ``verdict``, as `ReportCards.to_frame` gives them; a verdict that
            is not there leaves its cell empty.
    """
    losses = list(dict.fromkeys(frame["loss"]))
    names = [fill(" ".join(loss.split()), LONGEST) for loss in losses]
    heights = [1 + 0.55 * name.count("\n") for name in names]
    tops = [sum(heights[:k]) for k in range(len(heights))]
    rows = dict(zip(losses, zip(tops, heights, strict=True), strict=True))
    columns = {key: x for x, key in enumerate(DESIDERATA)}

    layout = ConstrainedLayoutEngine(w_pad=0.12)  # inches
    figure = Figure(figsize=(11, ROW * sum(heights) + HEAD + FOOT), layout=layout)
    axes = figure.subplots()
    for loss, key, verdict in frame[["loss", "desideratum", "verdict"]].itertuples(index=False):
        (y, height), x = rows[loss], columns[key]
        fill_colour, ink = COLOURS[verdict]
        axes.add_patch(Rectangle((x, y), 1, height, facecolor=fill_colour, edgecolor="white", linewidth=1.5))
        axes.text(x + 0.5, y + height / 2, SIGNS[verdict], color=ink, ha="center", va="center_baseline", weight="bold")
    axes.set(xlim=(0, len(columns)), ylim=(sum(heights), 0))
    axes.set_xticks([x + 0.5 for x in columns.values()], [DESIDERATA[key].title for key in columns])
    axes.set_yticks([y + height / 2 for y, height in rows.values()], names)
    axes.tick_params(length=0, labelcolor=INK, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for label in axes.get_xticklabels():
        label.set(rotation=40, ha="left", va="bottom", rotation_mode="anchor")
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        label.set_parse_math(False)  # a name may have dollars in it
    handles = [
        Patch(facecolor=colour, edgecolor=ink, label=f"{SIGNS[decision]}  {decision}")
        for decision, (colour, ink) in COLOURS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.4)
    figure.suptitle("Report card: what the exact optima of each loss do", fontsize="x-large")
    return figure
