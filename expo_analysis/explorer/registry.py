"""Which losses the explorer has, what they are called and how they are drawn."""

from __future__ import annotations

import colorsys
import dataclasses
import re
from dataclasses import dataclass

from ..losses import CATALOGUE, DPO, FDPO, ExplicitPO, Objective, RegressionEXPO, RewardAwarePO
from ..losses.notation import formula
from ..plots.style import LOOKS, PALETTE, loss_label
from .compiled import CompiledLoss, NotCompiled, compile_loss

VARIANTS: dict[str, tuple[str, Objective]] = {
    "cdpo": ("cDPO, ε = 0.1", DPO(1.0, label_smoothing=0.1)),
    "rdpo": ("Robust DPO, ε = 0.1", DPO(1.0, label_smoothing=0.1, robust=True)),
    "fdpo_forward_kl": ("f-DPO, forward KL", FDPO(1.0, divergence="forward_kl")),
    "regression_expo_ce": ("EXPO, regression, cross-entropy", RegressionEXPO(1.0, criterion="cross_entropy")),
    "explicit_jensen_shannon": ("Explicit, Jensen–Shannon", ExplicitPO(1.0, divergence="jensen_shannon")),
    "reward_aware_squared": ("RewardAwarePO, squared", RewardAwarePO(1.0, distance="squared")),
}
"""Losses of the catalogue with other options than the defaults."""

MARKERS = ("o", "s", "D", "^", "v", "P", "X")


@dataclass(frozen=True)
class Entry:
    """A loss on the page. dark: its colour on a dark ground. dashes: of an SVG line. own: whether it is a user's."""

    key: str
    label: str
    colour: str
    dark: str
    dashes: str
    marker: str
    own: bool
    loss: CompiledLoss

    @property
    def objective(self) -> Objective:
        return self.loss.objective


@dataclass(frozen=True)
class Registry:
    """The losses that compile, and those that do not, with the reason."""

    entries: tuple[Entry, ...]
    left_out: dict[str, str]


def registry(own: dict[str, Objective] | None = None) -> Registry:
    """The catalogue, its variants, and losses of one's own by label, which come first."""
    entries: list[Entry] = []
    left_out: dict[str, str] = {}
    named: list[tuple[str, str, Objective, bool]] = []
    for label, objective in (own or {}).items():
        named.append((_key(label, {key for key, *_ in named}), label, objective, True))
    for key, cls in CATALOGUE.items():
        required = [f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING and f.name != "lam"]
        if required:
            left_out[loss_label(key)] = f"needs {' and '.join(required)}, which are functions of your own"
        else:
            named.append((key, loss_label(key), cls(1.0), False))
    named += [(key, label, objective, False) for key, (label, objective) in VARIANTS.items()]
    for place, (key, label, objective, is_own) in enumerate(named):
        try:
            compiled = compile_loss(objective)
        except NotCompiled as reason:
            left_out[label] = str(reason)
            continue
        entries.append(Entry(key, label, *_look(key, place), own=is_own, loss=compiled))
    return Registry(tuple(entries), left_out)


def _key(label: str, taken: set[str]) -> str:
    """A name for URLs, which no loss of the catalogue has."""
    plain = re.sub(r"\W+", "_", label).strip("_").lower() or "mine"
    key, number = f"my_{plain}", 1
    while key in taken or key in CATALOGUE:
        number += 1
        key = f"my_{plain}_{number}"
    return key


def _look(key: str, place: int) -> tuple[str, str, str, str]:
    """Colour, its form on a dark ground, dashes and marker: those of the figures, and others in turn."""
    if key in LOOKS:
        look = LOOKS[key]
        colour, dashes, marker = look.colour, look.dashes, look.marker
    else:
        colour, marker = PALETTE[(place + 5) % len(PALETTE)], MARKERS[place % len(MARKERS)]
        dashes = ("-", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 2, 2)))[place % 4]
    rgb = _rgb(colour)
    return _hex(rgb, "light"), _hex(rgb, "dark"), _svg_dashes(dashes), marker


def _rgb(colour: str) -> tuple[float, float, float]:
    if not colour.startswith("#"):  # matplotlib's greys
        return (float(colour),) * 3
    return tuple(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))  # type: ignore[return-value]


LIGHT_GROUND, DARK_GROUND = (1.0, 1.0, 1.0), (0x16 / 255, 0x1A / 255, 0x20 / 255)


def _hex(rgb: tuple[float, float, float], ground: str, least: float = 3.1) -> str:
    """The colour, moved to darker (lighter) as far as a line needs to be seen on the ground: contrast 3:1."""
    behind = LIGHT_GROUND if ground == "light" else DARK_GROUND
    hue, lightness, saturation = colorsys.rgb_to_hls(*rgb)
    while contrast(rgb, behind) < least and 0.02 < lightness < 0.98:
        lightness += -0.01 if ground == "light" else 0.01
        rgb = colorsys.hls_to_rgb(hue, lightness, saturation)
    return "#" + "".join(f"{round(255 * x):02x}" for x in rgb)


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """The contrast of two colours, from 1 to 21. [WCAG 2.1]"""

    def luminance(rgb: tuple[float, float, float]) -> float:
        linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _svg_dashes(dashes: object) -> str:
    if not isinstance(dashes, tuple):
        return ""
    return " ".join(f"{2 * x:g}" for x in dashes[1])


def formula_of(objective: Objective) -> str:
    """The loss as the documents write it, or nothing where it cannot be written."""
    try:
        return formula(objective)
    except Exception:  # whatever attributes of a user's loss raise
        return ""
