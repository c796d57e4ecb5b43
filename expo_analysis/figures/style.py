"""What all figures share: sizes of journals, the theme, the marks of pi* and pi_ref, and rendering to files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from .looks import INK, LOOKS, Look, estimator_look, look_of, loss_label, set_look
from .saving import laid_out, letters_only, plain

__all__ = [
    "END_POINTS",
    "GREYS",
    "INK",
    "LAMBDA",
    "LOOKS",
    "MOVED",
    "THEME",
    "EndPoint",
    "Look",
    "Size",
    "estimator_look",
    "look_of",
    "looks_in",
    "loss_label",
    "render",
    "set_look",
    "shades",
    "size_of",
    "themed",
    "under",
]

P = ParamSpec("P")

GREYS = (
    Look("", "0.1", "-", "o"),
    Look("", "0.5", (0, (5, 1.5)), "s"),
    Look("", "0.3", (0, (1.2, 1.2)), "^"),
    Look("", "0.55", (0, (5, 1.5, 1.2, 1.5)), "D"),
)
"""For what is no loss and has no order: a colour is a loss, so greys, told apart by dashes and markers, too."""


def shades(count: int) -> list[str]:
    """Greys from light to dark, for values of what is no loss and has an order; each can be seen on white.

    Example:
        >>> shades(3)
        ['0.55', '0.30', '0.05']
    """
    return [f"{0.55 - 0.5 * k / max(1, count - 1):.2f}" for k in range(count)]


MOVED = {
    "chosen": Look("chosen", "0.1", "-", "^"),
    "rejected": Look("rejected", "0.45", (0, (3, 1.2)), "v"),
    "other": Look("other samples of the reference", "0.3", (0, (1.2, 1.2)), "o"),
}
"""What a loss does to responses: greys, since a colour is a loss."""

LAMBDA = r"trade-off $\lambda$ (dimensionless)"


@dataclass(frozen=True)
class EndPoint:
    """How pi* and pi_ref are marked."""

    label: str
    shape: str
    size: float

    def marker(self, **changes: Any) -> dict[str, Any]:
        """Keyword arguments of ``Axes.plot`` for the point."""
        return {"color": INK, "linestyle": "none", "marker": self.shape, "markersize": self.size, **changes}


END_POINTS = {
    "optimal": EndPoint(r"$\pi^*$", "*", 12),
    "reference": EndPoint(r"$\pi_{\mathrm{ref}}$", "p", 8.5),
}

BASE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so that figures look alike everywhere
    "text.color": ".15",
    "axes.labelcolor": ".15",
    "axes.edgecolor": ".15",
    "xtick.color": ".15",
    "ytick.color": ".15",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "pdf.fonttype": 42,  # TrueType, embedded: journals refuse type 3
    "ps.fonttype": 42,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "expo_analysis",
}

THEME: dict[Any, Any] = {
    **BASE,
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "legend.title_fontsize"), 11.4),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 10.45),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size", "lines.markersize"), 6),
    **dict.fromkeys(("xtick.minor.size", "ytick.minor.size"), 4),
    **dict.fromkeys(("xtick.major.width", "ytick.major.width", "axes.linewidth"), 1.25),
    **dict.fromkeys(("xtick.minor.width", "ytick.minor.width", "grid.linewidth", "patch.linewidth"), 1),
    "lines.linewidth": 1.5,
    "legend.handlelength": 2.8,
    "figure.constrained_layout.h_pad": 0.08,
}
"""For posters and supplements, 8 to 16 inches wide; figures for a page take `under` a `Size`."""


@dataclass(frozen=True)
class Size:
    """A width in inches, and the size of all text at that width, in points."""

    width: float
    text: float

    @property
    def line(self) -> float:
        """Width of a path, in points."""
        return self.text / 5.7

    @property
    def mark(self) -> float:
        """Size of a marker, in points."""
        return self.text / 2

    @property
    def row(self) -> float:
        """Height of a line of text, in inches."""
        return 1.35 * self.text / 72

    def theme(self) -> dict[Any, Any]:
        """matplotlib's settings."""
        t = self.text
        sizes = ("font.size", "axes.labelsize", "axes.titlesize", "figure.titlesize", "legend.fontsize")
        widths = ("axes.linewidth", "xtick.major.width", "ytick.major.width", "grid.linewidth", "patch.linewidth")
        return {
            **BASE,
            **dict.fromkeys((*sizes, "legend.title_fontsize", "xtick.labelsize", "ytick.labelsize"), t),
            **dict.fromkeys(widths, t / 13),
            **dict.fromkeys(("xtick.major.size", "ytick.major.size"), t / 3.2),
            **dict.fromkeys(("xtick.major.pad", "ytick.major.pad", "axes.labelpad"), t / 4),
            **dict.fromkeys(("xtick.minor.size", "ytick.minor.size"), t / 5),
            "axes.titlepad": t / 2.5,
            "lines.linewidth": self.line,
            "lines.markersize": self.mark,
            "legend.handlelength": 2.8,
            "figure.constrained_layout.h_pad": 0.03,
            "figure.constrained_layout.w_pad": 0.03,
        }


SIZES = {"column": Size(3.3, 8.0), "page": Size(6.9, 8.0), "slide": Size(10.0, 14.0)}
"""A column of a two-column page (ICML 3.25 in, IEEE 3.5, Nature 3.5), both columns (6.75, 7.16, 7.2), and a slide."""

NARROWEST, WIDEST = 3.0, 20.0
"""Widths in inches that a figure may have."""


def size_of(width: str | float) -> Size:
    """The size that ``"column"``, ``"page"``, ``"slide"`` or a width in inches means.

    A width in inches has text of 8 pt below a slide's, and of 14 pt from there on.

    Raises:
        ValueError: it is none of these, or less than 3 or more than 20 inches.

    Example:
        >>> size_of("column").width, size_of(5.5).text
        (3.3, 8.0)
    """
    if isinstance(width, str):
        if width in SIZES:
            return SIZES[width]
    elif isinstance(width, int | float) and not isinstance(width, bool) and NARROWEST <= width <= WIDEST:
        return Size(float(width), SIZES["page" if width < SIZES["slide"].width else "slide"].text)
    raise ValueError(f"width must be one of {list(SIZES)} or {NARROWEST:g} to {WIDEST:g} inches, got {width!r}")


@contextmanager
def under(size: Size) -> Iterator[None]:
    """matplotlib's settings for a size; put around what draws."""
    with mpl.rc_context(size.theme()):
        yield


def themed(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under the theme of posters, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(THEME):
            return draw(*args, **kwargs)

    return wrapper


def looks_in(frame: pd.DataFrame) -> dict[str, Look]:
    """How every loss of a frame is drawn, whatever it is: those of `LOOKS` first, the rest in the frame's order.

    >>> list(looks_in(pd.DataFrame({"loss": ["mine", "expo", "optimal", "dpo"]})))
    ['dpo', 'expo', 'mine']
    """
    found = dict.fromkeys(str(loss) for loss in frame["loss"] if loss not in END_POINTS)
    first = [loss for loss in LOOKS if loss in found]
    return {loss: look_of(loss) for loss in dict.fromkeys([*first, *found])}


METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
"""What a file does not tell, so that the same figure gives the same bytes."""


def render(figure: Figure, kind: str, title: str = "", dpi: int = 200) -> bytes:
    """The figure as ``"png"``, ``"pdf"`` or ``"svg"``, fonts embedded in PDF and text kept as text in SVG.

    Args:
        kind: of file. title: put into the file's metadata; by default the figure's own. dpi: dots per inch, of a PNG.

    Raises:
        ValueError: the kind is another one.

    Example:
        >>> render(Figure(figsize=(1, 1)), "png")[1:4]
        b'PNG'
    """
    if kind not in METADATA:
        raise ValueError(f"kind must be one of {list(METADATA)}, got {kind!r}")
    title = title or plain(figure.get_suptitle())
    metadata = METADATA[kind] | ({"Title": title} if title else {})
    buffer = io.BytesIO()
    own: dict[Any, Any] = {name: BASE[name] for name in ("pdf.fonttype", "svg.fonttype", "svg.hashsalt")}
    with mpl.rc_context(own), laid_out(figure, dpi), letters_only() if kind == "pdf" else nullcontext():
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()
