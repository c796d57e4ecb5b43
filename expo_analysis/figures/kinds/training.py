"""What training goes through on its way from pi_ref, and where the exact optimum is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..._checks import check_number, check_whole
from ...bandit import Bandit
from ...divergences import kl
from ...paper import interpolation as paper_interpolation
from ...simulators import Adam, Tabular, Training, train
from ..looks import INK, Look
from ..losses import Given, Named, named_losses
from ..sheet import Sheet, level_key, level_style, line_key, message, path_style
from ..solved import because, fit, one_bandit, solved
from ..style import Size, size_of, under
from .interpolation import which_prompt
from .preservation import DIVERGENCE, OPTIMAL, REFERENCE

LEAST = 1e-9
"""KL below this is drawn at the bottom of the panel."""


def training(
    losses: Given | Iterable[Given] | Mapping[str, Given],
    *,
    bandit: Bandit | None = None,
    lam: float | None = 0.1,
    steps: int = 1000,
    lr: float = 0.03,
    prompt: int = 0,
    width: str | float = "column",
    title: str | None = None,
) -> Figure:
    r"""KL(pi* || pi) over steps of training from pi_ref, and that of the exact optimum as a mark on the right.

    Where pi* is not known, and the data have no Bradley-Terry fit, it is KL(pi_ref || pi).

    The policy is softmax(theta), theta = log pi_ref at first, trained by Adam on the full gradient of J(theta; lambda).
    A line that falls and rises again passes pi* by; one that ends far from its mark has not arrived.

    Args:
        losses: see `named_losses`.
        bandit: as for `interpolation`.
        lam: lambda of all losses; None for each loss's own. Then two of them may differ in lambda alone.
        steps: of Adam, at least 2. lr: its learning rate, positive.
        prompt, width, title: as for `interpolation`.

    Returns:
        The figure. What cannot be trained or solved, and what diverges, is said below it, in words.

    Raises:
        TypeError, ValueError: naming the argument, and what is accepted.

    Source: this package.

    Example:
        >>> import expo_analysis as ea
        >>> figure = ea.figures.training([ea.DPO(1), ea.EXPO(1)], steps=20)
        >>> figure.axes[0].get_xlabel()
        'step of training'
    """
    size, problem = size_of(width), one_bandit(bandit, paper_interpolation().population)
    check_whole("steps", steps, 2)
    check_number("lr", lr, 0.0)
    if lam is not None:
        check_number("lam", lam, 0.0)
    named = named_losses(losses, lam, apart=lam is None)
    prompt = which_prompt(problem, prompt)
    target = fit(problem)
    from_where = np.atleast_2d(problem.reference) if target is None else target
    log_optimal = np.log(from_where[prompt])
    tables, optima, notes = [], {}, []
    for one in named:
        table, note = _trained(one, problem, log_optimal, prompt, steps, lr)
        end = solved(one, problem, np.array([float(one.objective.lam)]))
        optima[one.name] = float(kl(log_optimal, end.log_policies[0, prompt])) if end.attained[0, prompt] else np.nan
        tables.append(table)
        notes += [note, end.note.replace(" (thin: the limit)", "").replace(" (thin: one of the minimisers)", "")]
    if problem.optimal is None:
        known = "is not known, and has no fit" if target is None else "is the Bradley–Terry fit to the counts"
        notes.append(rf"{OPTIMAL} {known}.")
    notes.append(f"Prompt {prompt + 1} of {problem.prompts}." if problem.prompts else "")
    notes.append(f"Adam on the full gradient, rate {lr:g}" + ("." if lam is None else rf"; $\lambda$ = {lam:g}."))
    start = np.nan if target is None else float(kl(log_optimal, np.log(np.atleast_2d(problem.reference)[prompt])))
    measure = DIVERGENCE if target is not None else DIVERGENCE.replace(OPTIMAL, REFERENCE)
    looks = {one.name: one.look for one in named}
    words = r"What training passes through, and where the exact optimum is"
    frame = pd.concat(tables, ignore_index=True)
    return draw(frame, optima, start, looks, size, words if title is None else title, dict.fromkeys(notes), measure)


def draw(
    frame: pd.DataFrame,
    optima: Mapping[str, float],
    start: float,
    looks: Mapping[str, Look],
    size: Size,
    title: str,
    notes: Iterable[str] = (),
    measure: str = DIVERGENCE,
) -> Figure:
    """The figure of a table with the columns ``loss``, ``step`` and ``kl``.

    Args:
        optima: KL(pi* || optimum) by loss, nan where there is none. start: KL(pi* || pi_ref), nan for no line.
        measure: what ``kl`` is.
    """
    with under(size):
        mark = Line2D([], [], **_open(INK, "o", size))
        key = [*(line_key(look, size) for look in looks.values()), (mark, "exact optimum")]
        sheet = Sheet(size, title, [*key, *([level_key(size)] if np.isfinite(start) else [])], notes)
        axes = sheet.subplots(1.7 * size.text / 8 + 3.2 * size.row, 1, 1)[0, 0]
        drawn = 0
        last = int(frame["step"].max())
        for k, (loss, look) in enumerate(looks.items()):
            path = frame[frame["loss"] == loss]
            drawn += int(np.isfinite(path["kl"]).any())
            every = max(1, len(path) // 6)
            style = path_style(look, size, markevery=((k * every) // max(1, len(looks)), every))
            axes.plot(path["step"], path["kl"].clip(lower=LEAST), **style)
            if np.isfinite(optima[loss]):
                x = last * 10 ** (0.12 + 0.16 * k / max(1, len(looks) - 1) * np.log10(last + 1))
                axes.plot(x, max(optima[loss], LEAST), clip_on=False, **_open(look.colour, look.marker, size))
        if not drawn:
            message(axes, "nothing to draw: see below")
        axes.set(xlabel="step of training", ylabel=measure, yscale="log")
        axes.set_xscale("symlog", linthresh=1.0, linscale=0.4)
        axes.set_xlim(0, last * 10 ** (0.2 + 0.16 * np.log10(last + 1)))
        axes.set_xticks([0, *(10.0**k for k in range(int(np.log10(last)) + 1))])
        _vertical(axes, frame, optima, start)
        if np.isfinite(start):
            axes.axhline(max(start, LEAST), **level_style(size))
        axes.minorticks_off()
        return sheet.finished()


def _vertical(axes: Axes, frame: pd.DataFrame, optima: Mapping[str, float], start: float) -> None:
    values = np.array([*frame["kl"], *optima.values(), start])
    values = values[np.isfinite(values)]
    low, high = (max(values.min(), LEAST), max(values.max(), LEAST)) if len(values) else (0.1, 1.0)
    bottom, top = 10.0 ** np.floor(np.log10(low) - 0.2), 10.0 ** np.ceil(np.log10(high) + 0.2)
    axes.set_ylim(bottom, top)
    powers = np.arange(round(np.log10(bottom)), round(np.log10(top)) + 1)
    axes.set_yticks(10.0 ** powers[:: -(-len(powers) // 5)])


def _trained(
    one: Named, bandit: Bandit, log_optimal: np.ndarray, prompt: int, steps: int, lr: float
) -> tuple[pd.DataFrame, str]:
    """KL from pi* at recorded steps, and what is to be said of them."""
    how = Training(optimiser=Adam(lr), epochs=steps, records=60, log_spaced=True)
    policy = Tabular(bandit.reference)
    try:
        run = train(one.objective, policy, bandit, how)
    except Exception as error:  # a loss of one's own may raise anything
        nothing = pd.DataFrame({"loss": [one.name], "step": [steps], "kl": [np.nan]})
        return nothing, f"{one.look.label}: {because(error).replace('drawn', 'trained', 1)}.".replace("….", "…")
    distance = kl(log_optimal, run.log_policies[0, 0, :, prompt])
    lost = np.flatnonzero(~np.isfinite(run.log_policies[0, 0, :, prompt]).all(axis=-1))
    note = f"{one.look.label}: diverges before step {run.steps[lost[0]]}." if len(lost) else ""
    return pd.DataFrame({"loss": one.name, "step": run.steps, "kl": distance}), note


def _open(colour: str, marker: str, size: Size) -> dict[str, Any]:
    return {
        "color": colour,
        "linestyle": "none",
        "marker": marker,
        "markersize": 1.3 * size.mark,
        "markerfacecolor": "white",
        "markeredgewidth": size.mark / 3.5,
        "zorder": 5,
    }
