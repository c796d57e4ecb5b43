"""What the figures share: the theme, and one colour, line style and marker for each loss."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..losses import CATALOGUE

P = ParamSpec("P")

PALETTE = sns.color_palette("colorblind").as_hex()
INK = "0.25"
"""Grey of annotations."""

LAMBDA = r"trade-off $\lambda$ (dimensionless)"


@dataclass(frozen=True)
class Look:
    """How a loss is drawn, wherever it is drawn."""

    label: str
    colour: str
    dashes: Any
    marker: str

    def line(self, **changes: Any) -> dict[str, Any]:
        """Keyword arguments of ``Axes.plot`` for an exact path."""
        return {"color": self.colour, "linestyle": self.dashes, "linewidth": 2.0, **changes}

    def end(self, **changes: Any) -> dict[str, Any]:
        """Keyword arguments of ``Axes.plot`` for where a training script stopped: an open marker."""
        return {
            "color": self.colour,
            "linestyle": "none",
            "marker": self.marker,
            "markersize": 8,
            "markerfacecolor": "white",
            "markeredgewidth": 1.8,
            **changes,
        }


LOOKS = {
    "dpo": Look("DPO", PALETTE[0], (0, (5, 1.5)), "o"),
    "ipo": Look("IPO", PALETTE[1], (0, (1.2, 1.2)), "s"),
    "fdpo": Look("f-DPO (Jensen–Shannon)", PALETTE[2], (0, (5, 1.5, 1.2, 1.5)), "D"),
    "expo": Look("EXPO, compositional", PALETTE[3], "-", "^"),
    "regression_expo": Look("EXPO, regression", PALETTE[4], (0, (9, 2)), "v"),
    "aux_dpo": Look("AuxDPO", PALETTE[5], (0, (1.2, 1.2, 5, 1.2)), "P"),
    "rlhf": Look("RLHF", "0.15", (0, (3, 1.2, 1, 1.2, 1, 1.2)), "X"),
}
"""By name in `expo_analysis.CATALOGUE`, in the order of the legends."""


@dataclass(frozen=True)
class EndPoint:
    """How pi* and pi_ref are marked."""

    label: str
    shape: str
    size: float

    def marker(self) -> dict[str, Any]:
        """Keyword arguments of ``Axes.plot`` for the point."""
        return {"color": INK, "linestyle": "none", "marker": self.shape, "markersize": self.size}


END_POINTS = {
    "optimal": EndPoint(r"$\pi^*$", "*", 12),
    "reference": EndPoint(r"$\pi_{\mathrm{ref}}$", "p", 8.5),
}

THEME: dict[Any, Any] = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("notebook", font_scale=0.95),
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so that figures look alike everywhere
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "figure.constrained_layout.h_pad": 0.08,
    "pdf.fonttype": 42,
}


def themed(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under the theme, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(THEME):
            return draw(*args, **kwargs)

    return wrapper


def losses_in(frame: pd.DataFrame) -> list[str]:
    """The losses of a frame, in the order of the legends."""
    return [loss for loss in LOOKS if (frame["loss"] == loss).any()]


def loss_label(name: str) -> str:
    """What a loss of the catalogue is called beside the others, where it may have no look of its own."""
    return LOOKS[name].label if name in LOOKS else CATALOGUE[name].__name__


def render(figure: Figure, kind: str) -> bytes:
    """The figure as ``"png"`` (200 dpi) or ``"pdf"``, without dates, so that the same figure gives the same bytes."""
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}[kind]
    buffer = io.BytesIO()
    with mpl.rc_context(THEME):
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()
