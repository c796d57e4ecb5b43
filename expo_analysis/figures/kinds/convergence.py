"""How fast the exact optimum reaches pi* as lambda falls, and pi_ref as lambda rises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ...bandit import Bandit
from ...paper import interpolation as paper_interpolation
from ..looks import Look
from ..losses import Given, named_losses
from ..sheet import Sheet, above, line_key, message, path_style
from ..solved import Solved, fit, grid, number, one_bandit, solved
from ..style import END_POINTS, Size, size_of, under
from .interpolation import which_prompt

LOW, HIGH, POINTS = 1e-5, 1e5, 61

FITTED = 0.3
"""The share of the lambdas, at each end and in the logarithm, on which a slope is fitted."""

ROUNDING = 1e-11
"""Distances below this may be rounding only, and no slope is fitted to them."""

TARGETS = tuple(END_POINTS)


def convergence(
    losses: Given | Iterable[Given] | Mapping[str, Given],
    *,
    bandit: Bandit | None = None,
    lams: ArrayLike | None = None,
    prompt: int = 0,
    width: str | float = "column",
    title: str | None = None,
) -> Figure:
    r"""Distances |pi - pi*|_1 and |pi - pi_ref|_1 of the exact optimum against lambda, with fitted slopes.

    A slope s towards pi* is d log |pi - pi*|_1 / d log lambda over the smallest 30% of the lambdas, by least squares:
    an error of O(lambda^s). Towards pi_ref over the largest 30%. EXPO has +1 and -1; a loss that passes pi* by has 0.

    Args:
        losses, bandit, lams, prompt, width, title: as for `interpolation`; lams by default 61 from 1e-5 to 1e5.

    Returns:
        The figure. What cannot be solved, is not proven or not attained is said below it, in words, and so is a
        distance of 0, which log axes cannot show.

    Raises:
        TypeError, ValueError: naming the argument, and what is accepted.

    Source: this package; the orders of EXPO's errors are in docs/theory.md.

    Example:
        >>> import expo_analysis as ea
        >>> figure = ea.figures.convergence([ea.DPO(1), ea.EXPO(1)], lams=[1e-4, 1e-3, 1e3, 1e4])
        >>> [axes.get_xscale() for axes in figure.axes]
        ['log', 'log']
    """
    size, problem = size_of(width), one_bandit(bandit, paper_interpolation().population)
    named, at = named_losses(losses), grid(lams, LOW, HIGH, POINTS)
    prompt = which_prompt(problem, prompt)
    target = fit(problem)
    ends = {
        "optimal": np.full(problem.n, np.nan) if target is None else target[prompt],
        "reference": np.atleast_2d(problem.reference)[prompt],
    }
    paths = [solved(one, problem, at) for one in named]
    frame = pd.concat([_rows(path, ends, prompt) for path in paths], ignore_index=True)
    slopes = slopes_of(frame)
    notes = [path.note for path in paths] + _zero(frame, paths)
    if problem.optimal is None:
        known = "is the Bradley–Terry fit to the counts" if target is not None else "is not known, and has no fit"
        notes.append(rf"{END_POINTS['optimal'].label} {known}.")
    notes.append(f"Prompt {prompt + 1} of {problem.prompts}." if problem.prompts else "")
    looks = {path.named.name: path.named.look for path in paths}
    words = r"How fast the optimum reaches $\pi^*$ and $\pi_{\mathrm{ref}}$"
    return draw(frame, slopes, looks, size, words if title is None else title, notes)


def slopes_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns ``loss``, ``target``, ``lam_min``, ``lam_max`` and ``slope``, nan where there is none to fit."""
    lams = np.log(np.unique(frame["lam"]))
    reach = FITTED * (lams[-1] - lams[0])
    stretch = {"optimal": (lams[0], lams[0] + reach), "reference": (lams[-1] - reach, lams[-1])}
    rows = []
    for target, (low, high) in stretch.items():
        for loss, path in frame.groupby("loss", sort=False):
            x, y = np.log(path["lam"].to_numpy()), path[f"from_{target}"].to_numpy()
            kept = (x >= low - 1e-9) & (x <= high + 1e-9) & path["attained"].to_numpy() & (y > ROUNDING)
            enough = len(np.unique(x[kept])) >= 2
            slope = float(np.polyfit(x[kept], np.log(y[kept]), 1)[0]) if enough else np.nan
            rows.append({"loss": loss, "target": target, "lam_min": low, "lam_max": high, "slope": slope})
    slopes = pd.DataFrame(rows)
    slopes[["lam_min", "lam_max"]] = np.exp(slopes[["lam_min", "lam_max"]])
    return slopes


def draw(
    frame: pd.DataFrame,
    slopes: pd.DataFrame,
    looks: Mapping[str, Look],
    size: Size,
    title: str,
    notes: Iterable[str] = (),
) -> Figure:
    """The figure of two tables, a panel for pi* and one for pi_ref.

    Args:
        frame: columns ``loss``, ``lam``, ``from_optimal``, ``from_reference`` (1-norms), and ``attained`` where
            something is not.
        slopes: columns ``loss``, ``target`` ("optimal" or "reference"), ``lam_min``, ``lam_max`` and ``slope``.
    """
    found = {target: rows.set_index("loss")["slope"] for target, rows in slopes.groupby("target")}
    key = []
    with under(size):
        for loss, look in looks.items():
            artist, words = line_key(look, size)
            told = ", ".join(signed(found[target].get(loss, np.nan)) for target in TARGETS)
            key.append((artist, f"{words}: {told}"))
        both = " and ".join(END_POINTS[target].label for target in TARGETS)
        reading = f"Numbers: slopes towards {both}, fitted where the panels are grey."
        sheet = Sheet(size, title, key, [reading, *notes])
        tall = 1.5 * size.text / 8 + 4.2 * size.row
        grid_of = sheet.subplots(tall, 1, 2, sharex=True, sharey=True)[0]
        low = _least(frame)
        for axes, target in zip(grid_of, TARGETS, strict=True):
            fits = slopes[slopes["target"] == target]
            axes.axvspan(fits["lam_min"].min(), fits["lam_max"].max(), color="0.93", zorder=0, linewidth=0)
            axes.set_title(f"from {END_POINTS[target].label}")
            axes.set(xscale="log", yscale="log")
            _panel(axes, frame, f"from_{target}", looks, size)
            axes.set(ylim=(low, 5), xlabel=r"trade-off $\lambda$")
            axes.set_xticks(_powers(frame["lam"].min(), frame["lam"].max(), 3 if size.width < 5 else 6))
            axes.set_yticks(_powers(low, 5, 5))
            axes.minorticks_off()
        grid_of[0].set_ylabel("distance (1-norm)")
        return sheet.finished()


def signed(slope: float) -> str:
    """Two decimals with a sign, no sign for zero, and a dash where there is none."""
    if not np.isfinite(slope):
        return "–"
    return f"{slope:+.2f}".replace("-", "−") if abs(slope) >= 0.005 else "0.00"


def _rows(path: Solved, ends: Mapping[str, np.ndarray], prompt: int) -> pd.DataFrame:
    policies = path.policies[:, prompt]
    distances = {f"from_{name}": np.abs(policies - end).sum(axis=-1) for name, end in ends.items()}
    own = {"loss": path.named.name, "lam": path.lams, **distances, "attained": path.attained[:, prompt]}
    return pd.DataFrame(own)


def _zero(frame: pd.DataFrame, paths: Iterable[Solved]) -> list[str]:
    """Of distances that are rounding only at every lambda."""
    notes = []
    for path in paths:
        rows = frame[frame["loss"] == path.named.name]
        for target in TARGETS:
            distance = rows[f"from_{target}"]
            if distance.notna().any() and (distance.dropna() < ROUNDING).all():
                words = f"at {END_POINTS[target].label} for every $\\lambda$, distance below {number(ROUNDING)}"
                notes.append(f"{path.named.look.label}: {words}.")
    return notes


def _panel(axes: Axes, frame: pd.DataFrame, column: str, looks: Mapping[str, Look], size: Size) -> None:
    drawn = 0
    for k, (loss, look) in enumerate(looks.items()):
        path = frame[frame["loss"] == loss]
        path = path.assign(**{column: path[column].where(path[column] > 0)})  # log axes have no 0
        drawn += int(path[column].notna().any())
        every = max(1, len(path) // 5)
        whole = "attained" not in path or bool(path["attained"].all())
        style = path_style(look, size) if whole else {**path_style(look, size), "linewidth": size.line / 2}
        axes.plot(path["lam"], path[column], markevery=((k * every) // max(1, len(looks)), every), **style)
        if not whole:
            axes.plot(
                path["lam"], path[column].where(path["attained"]), **look.line(linewidth=size.line, zorder=above(look))
            )
    if not drawn:
        message(axes, "nothing\nto draw:\nsee below")


def _least(frame: pd.DataFrame) -> float:
    """The bottom of the axis: a power of ten below what is more than rounding."""
    values = frame[["from_optimal", "from_reference"]].to_numpy().ravel()
    values = values[np.isfinite(values) & (values > ROUNDING)]
    least = values.min() if len(values) else 1e-3
    return float(10.0 ** np.floor(np.log10(min(least, 0.1)) - 0.3))


def _powers(low: float, high: float, most: int) -> list[float]:
    """At most so many powers of ten from low to high, evenly spaced and with 1 among them where it can be."""
    first, last = int(np.ceil(np.log10(low) - 1e-9)), int(np.floor(np.log10(high) + 1e-9))
    step = max(1, -(-(last - first) // max(1, most - 1)))
    return [10.0**k for k in range(first, last + 1) if k % step == 0] or [low, high]
