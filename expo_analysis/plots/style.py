"""The style of all figures, which lives in `expo_analysis.figures.style`."""

from ..figures.style import (
    END_POINTS,
    INK,
    LAMBDA,
    LOOKS,
    PALETTE,
    THEME,
    EndPoint,
    Look,
    looks_in,
    loss_label,
    losses_in,
    render,
    themed,
)

__all__ = [
    "END_POINTS",
    "INK",
    "LAMBDA",
    "LOOKS",
    "PALETTE",
    "THEME",
    "EndPoint",
    "Look",
    "looks_in",
    "loss_label",
    "losses_in",
    "render",
    "themed",
]
