"""Which losses the explorer has, what they are called and how they are drawn."""

from __future__ import annotations

import colorsys
import re
from dataclasses import dataclass

from ..figures.colour import contrast
from ..figures.looks import look_of, loss_label
from ..losses import CATALOGUE, DPO, FDPO, ExplicitPO, Objective, RegressionEXPO, RewardAwarePO
from ..losses.catalogue import required_options
from ..losses.notation import formula
from .compiled import CompiledLoss, compile_loss
from .function import NotCompiled

VARIANTS: dict[str, tuple[str, Objective]] = {
    "conservative_dpo": ("cDPO, ε = 0.1", DPO(1.0, label_smoothing=0.1)),
    "robust_dpo": ("Robust DPO, ε = 0.1", DPO(1.0, label_smoothing=0.1, robust=True)),
    "fdpo_forward_kl": ("f-DPO, forward KL", FDPO(1.0, divergence="forward_kl")),
    "regression_expo_ce": ("EXPO, regression, cross-entropy", RegressionEXPO(1.0, criterion="cross_entropy")),
    "explicit_jensen_shannon": ("Explicit, Jensen–Shannon", ExplicitPO(1.0, divergence="jensen_shannon")),
    "reward_aware_squared": ("RewardAwarePO, squared", RewardAwarePO(1.0, distance="squared")),
}
"""Losses of the catalogue with other options than the defaults."""


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
        if required := required_options(cls):
            left_out[loss_label(key)] = f"needs {' and '.join(required)}, which are functions of your own"
        else:
            named.append((key, loss_label(key), cls(1.0), False))
    named += [(key, label, objective, False) for key, (label, objective) in VARIANTS.items()]
    for key, label, objective, is_own in named:
        try:
            compiled = compile_loss(objective)
        except NotCompiled as reason:
            left_out[label] = str(reason)
            continue
        entries.append(Entry(key, label, *_look(key, label, is_own), own=is_own, loss=compiled))
    return Registry(tuple(entries), left_out)


def _key(label: str, taken: set[str]) -> str:
    """A name for URLs, which no loss of the catalogue has."""
    plain = re.sub(r"\W+", "_", label).strip("_").lower() or "mine"
    key, number = f"my_{plain}", 1
    while key in taken or key in CATALOGUE:
        number += 1
        key = f"my_{plain}_{number}"
    return key


def _look(key: str, label: str, own: bool) -> tuple[str, str, str, str]:
    """Colour, its form on a dark ground, dashes and marker: those of the figures."""
    look = look_of(label if own else key)
    return look.colour, _on_dark(look.colour), _svg_dashes(look.dashes), look.marker


LIGHT_GROUND, DARK_GROUND = "#ffffff", "#161a20"


def _on_dark(colour: str, least: float = 4.6) -> str:
    """The colour, as much lighter as text needs to be read on the dark ground."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)))
    while contrast(colour, DARK_GROUND) < least and lightness < 0.98:
        lightness += 0.01
        rgb = colorsys.hls_to_rgb(hue, lightness, saturation)
        colour = "#" + "".join(f"{round(255 * x):02x}" for x in rgb)
    return colour


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
