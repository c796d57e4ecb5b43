"""Distance of the optima from pi* and from pi_ref against lambda, on log-log axes."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from .style import END_POINTS, LAMBDA, LOOKS, losses_in, themed


@themed
def convergence(frame: pd.DataFrame, slopes: pd.DataFrame) -> Figure:
    """Two panels, pi* and pi_ref; the fitted slopes stand in the legends, and the stretch they are fitted to is grey.

    Args:
        frame: columns ``loss``, ``lam``, ``from_optimal`` and ``from_reference`` (1-norm distances).
        slopes: columns ``loss``, ``target`` ("optimal" or "reference"), ``lam_min``, ``lam_max`` and ``slope``.
    """
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    for axes, (target, point) in zip(figure.subplots(1, 2), END_POINTS.items(), strict=True):
        fits = slopes[slopes["target"] == target]
        slope_of = dict(zip(fits["loss"], fits["slope"], strict=True))
        for loss in losses_in(frame):
            path = frame[frame["loss"] == loss]
            label = f"{LOOKS[loss].label}: slope {_signed(slope_of[loss])}"
            axes.plot(path["lam"], path[f"from_{target}"], label=label, **LOOKS[loss].line())
        axes.axvspan(fits["lam_min"].min(), fits["lam_max"].max(), color="0.95", zorder=0, label="slopes fitted here")
        axes.set(xscale="log", yscale="log", xlabel=LAMBDA, title=f"distance from {point.label}")
        axes.set(ylim=(5e-8, 5), ylabel=rf"1-norm of $\pi$ − {point.label}")
        axes.legend(loc="lower right" if target == "optimal" else "lower left", fontsize="small")
    figure.suptitle(r"Convergence: how fast the optimum reaches its two ends", fontsize="x-large")
    return figure


def _signed(slope: float) -> str:
    """Two decimals with a sign, no sign for zero."""
    return f"{slope:+.2f}".replace("-", "−") if abs(slope) >= 0.005 else "0.00"
