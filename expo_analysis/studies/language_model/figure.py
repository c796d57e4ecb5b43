"""A real language model: reward against KL, what is kept beside what is gained, and where the mass goes."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FormatStrFormatter, LogLocator, NullFormatter

from ...figures.kinds.frontier import draw as draw_frontier
from ...figures.sheet import Sheet, banded, level_key, level_style, line_key, path_style
from ...figures.style import LAMBDA, LOOKS, MOVED, Look, estimator_look, size_of, under

METHODS = {
    ("dpo", ""): LOOKS["dpo"],
    ("ipo", ""): LOOKS["ipo"],
    **{("expo", name): estimator_look(name) for name in ("own_responses", "reference_samples", "token_kl")},
}
"""By loss and estimator of the regulariser, in the order of the legends."""

DRIFT = r"drift: KL$(\pi_{\mathrm{ref}}\,\|\,\pi)$ per response (nats)"


def methods_in(frame: pd.DataFrame) -> Iterator[tuple[Look, pd.DataFrame]]:
    """How each method is drawn, and its rows by rising lambda."""
    for (loss, estimator), look in METHODS.items():
        own = frame[(frame["loss"] == loss) & (frame["estimator"] == estimator)]
        if len(own):
            yield look, own.sort_values("lam")


def draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """The pictures of the study."""
    return {name: panel(tables[table]) for name, (table, panel) in PICTURES.items()}


def lm_frontier(frontier: pd.DataFrame) -> Figure:
    """Reward gained against KL(pi || pi_ref), one point a run, a panel a method; columns of ``lm_frontier.csv``."""
    methods = list(methods_in(frontier))
    title = "Reward gained against KL from the reference, on the prompts that the reward labelled"
    labels = r"KL$(\pi\,\|\,\pi_{\mathrm{ref}})$ in nats", "reward gained"
    notes = [r"Lines join runs by $\lambda$. Bars: 95% intervals over responses. Reward: VADER's compound score."]
    return draw_frontier(methods, "reverse_kl", "gain", size_of("page"), title, labels, notes)


def lm_preservation(kept: pd.DataFrame) -> Figure:
    """Drift by lambda where the reference is optimal already; columns of ``lm_preservation.csv``."""
    size = size_of("page")
    methods = list(methods_in(kept))
    with under(size):
        title = "Drift where there is nothing to learn: prompts that the reference itself labelled"
        note = "Bars: 95% intervals over responses. Methods at one λ stand beside each other."
        sheet = Sheet(size, title, [line_key(look, size) for look, _ in methods], [note])
        axes = sheet.subplots(17 * size.row, 1, 1)[0, 0]
        lams = sorted(kept["lam"].unique())
        axes.set(xscale="log", yscale="log", xlabel=LAMBDA, ylabel=DRIFT)
        for place, (look, own) in enumerate(methods):
            beside = own["lam"] * 1.03 ** (place - (len(methods) - 1) / 2)  # bars beside each other
            axes.plot(beside, own["drift"], **path_style(look, size))
            error = 1.96 * own["drift_standard_error"]
            axes.errorbar(beside, own["drift"], yerr=error, fmt="none", ecolor=look.colour, elinewidth=size.line / 2.2)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # hardly a decade: powers of ten say little
        axes.xaxis.set_major_locator(FixedLocator(lams))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_formatter(NullFormatter())
        return sheet.finished()


def lm_kept_and_gained(kept: pd.DataFrame) -> Figure:
    """Reward gained on one half against drift on the other, a panel a method; columns of ``lm_preservation.csv``."""
    title = "What was gained on one half of the prompts, against the damage on the other"
    labels = "drift (nats)", "reward gained"
    notes = [r"The same runs, one $\lambda$ for both halves. Bars: 95% intervals over responses."]
    return draw_frontier(list(methods_in(kept)), "drift", "gain", size_of("page"), title, labels, notes)


def lm_displacement(moved: pd.DataFrame) -> Figure:
    """Mean log(pi/pi_ref) of chosen, rejected and other responses over steps, a panel a method.

    Args:
        moved: columns of ``lm_displacement.csv``.
    """
    size, panels = size_of("page"), list(methods_in(moved))
    lines = {
        kind: look.line(marker=look.marker, linewidth=size.line, markersize=size.mark) for kind, look in MOVED.items()
    }
    with under(size):
        title = (
            rf"What becomes of chosen, rejected and other responses in training, $\lambda$ = {moved['lam'].iloc[0]:g}"
        )
        key = [(Line2D([], [], **line), MOVED[kind].label) for kind, line in lines.items()]
        sheet = Sheet(size, title, [*key, level_key(size)], ["Bands: 95% intervals over responses."])
        grid = sheet.subplots(17 * size.row, 1, len(panels), sharey=True)[0]
        for axes, (look, own) in zip(grid, panels, strict=True):
            own = own.sort_values("step")
            for kind, line in lines.items():
                error = 1.96 * own[f"{kind}_standard_error"]
                banded(axes, line, own["step"], own[kind], own[kind] - error, own[kind] + error)
            axes.axhline(0, **level_style(size))
            axes.set_title(sheet.wrapped(look.label, size.width / len(panels) - 0.4), color=look.colour)
            axes.set_xlabel("step")
            axes.set_xticks(own["step"].iloc[[0, len(own) // 2, -1]])
        grid[0].set_ylabel(r"mean $\log(\pi/\pi_{\mathrm{ref}})$ (nats)")
        return sheet.finished()


PICTURES = {
    "lm_frontier": ("lm_frontier", lm_frontier),
    "lm_preservation": ("lm_preservation", lm_preservation),
    "lm_kept_and_gained": ("lm_preservation", lm_kept_and_gained),
    "lm_displacement": ("lm_displacement", lm_displacement),
}
"""By file name: the table, and what draws it."""
