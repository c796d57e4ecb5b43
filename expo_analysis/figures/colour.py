"""Colours as numbers: contrast on a background, how a colour is seen, and how far two are apart.

    contrast = (Y1 + 0.05)/(Y2 + 0.05), Y the relative luminance, Y1 >= Y2        (WCAG 2.2, W3C 2023)

Text needs a contrast of at least 4.5, lines and markers 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from numpy.typing import ArrayLike

from .._types import Floats

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])

VISIONS: dict[str, Floats] = {
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
    "grey": np.tile(LUMINANCE, (3, 1)),
}
"""Matrices on linear RGB. Machado, Oliveira and Fernandes 2009, "A physiologically-based model for simulation of color
vision deficiency", severity 1; and luminance alone."""

XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""From linear RGB, D65."""


def contrast(first: Any, second: Any = "white") -> float:
    """The contrast of two colours, from 1 to 21; they are whatever matplotlib takes, without transparency.

    >>> round(contrast("black"), 1)
    21.0
    """
    low, high = sorted(float(_linear(np.array(to_rgb(colour))) @ LUMINANCE) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


def as_seen(picture: ArrayLike, vision: str) -> Floats:
    """RGB in [0, 1], shape (..., 3), as somebody with this of `VISIONS` sees it.

    >>> as_seen([1.0, 0.0, 0.0], "grey").round(3).tolist()
    [0.498, 0.498, 0.498]
    """
    if vision not in VISIONS:
        raise ValueError(f"vision must be one of {list(VISIONS)}, got {vision!r}")
    rgb = np.asarray(picture, dtype=np.float64)
    return _encoded(np.clip(_linear(rgb) @ VISIONS[vision].T, 0.0, 1.0))


def difference(first: Any, second: Any, vision: str | None = None) -> float:
    """The distance of two colours in CIELAB (Delta E of 1976; about 2 can just be told apart), as they are seen.

    >>> round(difference("black", "white"))
    100
    """
    rgb = np.array([to_rgb(first), to_rgb(second)])
    labs = _lab(rgb if vision is None else as_seen(rgb, vision))
    return float(np.linalg.norm(labs[0] - labs[1]))


def seen_colour(colour: Any, vision: str) -> str:
    """One colour, as `as_seen`, in hexadecimal.

    >>> seen_colour("white", "deuteranopia")
    '#ffffff'
    """
    red, green, blue = as_seen(to_rgb(colour), vision)
    return str(to_hex((float(red), float(green), float(blue))))


def _linear(rgb: Floats) -> Floats:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _encoded(linear: Floats) -> Floats:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


def _lab(rgb: Floats) -> Floats:
    xyz = _linear(rgb) @ XYZ.T / XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
