"""What was gained against what drifted, and what the intervals decide."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ...figures.kinds.frontier import draw as draw_frontier
from ...figures.looks import Look
from ...figures.sheet import Sheet
from ...figures.style import INK, estimator_look, look_of, size_of, under
from .questions import MATTERS, METHODS, Method

SHOWN = {
    "dpo": "drift: DPO - EXPO",
    "ipo": "drift: IPO - EXPO",
    "dpo_held": "held out: DPO - EXPO",
    "ipo_held": "held out: IPO - EXPO",
    "dpo_few": "few pairs: DPO - EXPO",
    "ipo_few": "few pairs: IPO - EXPO",
    "dpo_table": "table: DPO - EXPO",
    "ipo_table": "table: IPO - EXPO",
    "regression": "drift: regression - EXPO",
    "reward_aware": "drift: reward-aware - DPO",
    "own_responses": "own responses - token KL",
    "reference_samples": "samples - token KL",
    "labels_expo": "EXPO: few - many pairs",
    "labels_dpo": "DPO: few - many pairs",
    "sharing_expo": "EXPO: transformer - table",
    "mass_table_expo": "mass in a table, EXPO",
    "mass_table_dpo": "mass in a table, DPO",
    "mass_table_ipo": "mass in a table, IPO",
    "mass_expo": "mass, EXPO",
    "mass_dpo": "mass, DPO",
    "mass_ipo": "mass, IPO",
}
"""By question, what is estimated; of EXPO's estimators the token-wise KL, for masses reference samples."""
MARKS = {"for": "o", "against": "X", "undecided": "d"}


def look(method: Method) -> Look:
    """How a method is drawn."""
    name, estimator = method
    return estimator_look(estimator) if estimator else look_of(name)


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The pictures of the study."""
    return {
        "small_transformer": frontier(tables["small_transformer_path"]),
        "small_transformer_answers": decided(tables["small_transformer_answers"]),
    }


def frontier(path: pd.DataFrame) -> Figure:
    """Gain on prompts to be learned against drift on prompts to be kept at the end of training, a panel a method."""
    own = path[(path["model"] == "transformer") & (path["pairs"] == path["pairs"].max())]
    ends = own[own["step"] == own["step"].max()]
    methods = []
    for name, estimator in METHODS:
        rows = ends[(ends["loss"] == name) & (ends["estimator"] == estimator)]
        if len(rows):
            methods.append((look((name, estimator)), rows))
    title = "What was gained on prompts to be learned, against the drift on prompts that were right already"
    labels = r"TV($\pi$, $\pi_{\mathrm{ref}}$) of these", "reward gained (sd)"
    notes = ["Means over seeds at the end of training, one point a λ; bars: 95% intervals over seeds."]
    return draw_frontier(methods, "tv", "gain", size_of("page"), title, labels, notes)


def decided(answers: pd.DataFrame) -> Figure:
    """Estimates and intervals of all questions, beside what counts as an effect."""
    size = size_of("page")
    with under(size):
        handles = [
            *((Line2D([], [], color=INK, marker=mark, linestyle="none"), word) for word, mark in MARKS.items()),
            (Patch(color="0.85"), f"too small to matter: within {MATTERS:g}"),
        ]
        notes = ["All intervals hold together with 95%, over seeds. Drift is TV at equal gain on the other half."]
        sheet = Sheet(size, "What the intervals decide", handles, notes)
        axes = sheet.subplots(1.25 * size.row * len(answers) + 2 * size.row, 1, 1)[0, 0]
        axes.axvspan(-MATTERS, MATTERS, color="0.85", linewidth=0, zorder=0)
        axes.axvline(0, color=INK, linewidth=size.line / 2, zorder=1)
        for place, (_, row) in enumerate(answers.iterrows()):
            axes.plot([row["low"], row["high"]], [place, place], color=INK, linewidth=size.line / 1.5, zorder=2)
            mark = MARKS[row["decision"]]
            axes.plot([row["estimate"]], [place], color=INK, marker=mark, markersize=size.mark, zorder=3)
        axes.set_yticks(range(len(answers)), [SHOWN[name] for name in answers["question"]])
        axes.set_ylim(len(answers) - 0.4, -0.6)
        axes.set_xlabel("difference of total variation, or of probability")
        return sheet.finished()
