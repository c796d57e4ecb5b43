"""One colour, line style and marker for each loss, in every figure; also for a loss of the user's own.

Every colour has a contrast of at least 4.5 on white, so that text may have it, too. The seven losses of `LOOKS` can be
told apart by colour alone, also by the colour-blind; the others share six colours, and no two losses share colour, line
style and marker.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any
from zlib import crc32

from matplotlib.colors import is_color_like, to_hex

from ..losses import CATALOGUE
from .colour import contrast

INK = "0.25"
"""Grey of annotations."""

Dashes = Any
"""A line style of matplotlib: a word, or (offset, (on, off, ...))."""


@dataclass(frozen=True)
class Look:
    """How a loss is drawn, wherever it is drawn."""

    label: str
    colour: str
    dashes: Dashes
    marker: str

    @property
    def ink(self) -> float:
        """The share of its line that is drawn: what has less goes above, so that nothing hides what is below it."""
        if isinstance(self.dashes, str):
            return 1.0
        lengths = self.dashes[1]
        return float(sum(lengths[::2]) / sum(lengths))

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
    "dpo": Look("DPO", "#02468f", (0, (5, 1.5)), "o"),
    "ipo": Look("IPO", "#c15402", (0, (1.2, 1.2)), "s"),
    "fdpo": Look("f-DPO (Jensen–Shannon)", "#146d54", (0, (5, 1.5, 1.2, 1.5)), "D"),
    "expo": Look("EXPO, compositional", "#a40923", "-", "^"),
    "regression_expo": Look("EXPO, regression", "#5847f7", (0, (9, 2)), "v"),
    "aux_dpo": Look("AuxDPO", "#187f95", (0, (1.2, 1.2, 5, 1.2)), "P"),
    "rlhf": Look("RLHF", "#212121", (0, (3, 1.2, 1, 1.2, 1, 1.2)), "X"),
}
"""By name in `expo_analysis.CATALOGUE`, in the order of the legends."""

COLOURS = ("#d0206a", "#6b5d00", "#55224f", "#4f6070", "#7a3e12", "#0b5d1e")
"""Of all other losses."""

DASHES: tuple[Dashes, ...] = (
    (0, (3, 1)),
    (0, (6, 1.2, 1, 1.2)),
    (0, (1.8, 1)),
    (0, (7, 1, 2, 1)),
    (0, (11, 1.5)),
    (0, (4, 1, 1, 1, 1, 1, 1, 1)),
)

MARKERS = ("h", "<", ">", "d", "8", "H", "*")

NAMES = {
    "explicit_po": "explicit PO",
    "chi_po": "χPO",
    "pessimistic_dpo": "pessimistic DPO",
    "length_normalised_dpo": "length-normalised DPO",
    "dpo_shift": "DPO-Shift",
    "cal_dpo": "Cal-DPO",
    "dpop": "DPO-Positive",
    "bradley_terry": "Bradley–Terry",
    "plackett_luce": "Plackett–Luce",
    "plackett_luce_dpo": "Plackett–Luce DPO",
    "plackett_luce_expo": "Plackett–Luce EXPO",
    "reward_aware_po": "reward-aware PO",
    "reward_distillation": "reward distillation",
    "a_star_po": "A*-PO",
    "apo_zero": "APO zero",
    "apo_down": "APO down",
    "hinge": "hinge",
    "slic": "SLiC-HF",
}
"""What a loss is called where that is not the name of its class."""

VARIANTS = {
    "conservative_dpo": ("dpo", "conservative DPO"),
    "robust_dpo": ("dpo", "robust DPO"),
    "fdpo_forward_kl": ("fdpo", "f-DPO, forward KL"),
    "regression_expo_ce": ("regression_expo", "EXPO, regression, cross-entropy"),
    "explicit_jensen_shannon": ("explicit_po", "explicit PO, Jensen–Shannon"),
    "reward_aware_squared": ("reward_aware_po", "reward-aware PO, squared"),
    "reward_aware_forward_kl": ("reward_aware_po", "reward-aware PO, forward KL"),
}
"""Losses with other options than the catalogue's, by name: the loss that each stands beside, and what it is called."""

ESTIMATORS = {
    "own_responses": ("own responses", "-", "^"),
    "reference_samples": ("reference samples", (0, (11, 1.5)), "<"),
    "token_kl": ("token-wise KL", (0, (7, 1, 2, 1)), "d"),
    "token_kl_own": ("token-wise KL of own responses", (0, (1.2, 1.0)), "s"),
}
"""Of EXPO's regulariser, trained with each of which a model is drawn in EXPO's colour: label, dashes and marker."""

_own: dict[str, Look] = {}
"""Looks that were given out in this process, or set by the user."""


def look_of(name: str, label: str | None = None) -> Look:
    """How a loss is drawn, by its name: fixed for the catalogue's, and for any other from a checksum of the name.

    Two own losses whose checksums agree are told apart in the order in which a process first asks for them.

    Args:
        name: in the catalogue, or that of a loss of your own; options may stand behind it, ``"dpo(robust=True)"``.
        label: what it is called in legends; by default the usual name, or ``name``.

    Example:
        >>> look_of("dpo").colour, look_of("simpo").label
        ('#02468f', 'SimPO')
    """
    found = LOOKS.get(name) or CATALOGUE_LOOKS.get(name) or _own.get(name)
    if found is None:
        taken = [*LOOKS.values(), *CATALOGUE_LOOKS.values(), *_own.values()]
        found = _own[name] = _free(name, loss_label(name), taken, [look.colour for look in _own.values()])
    return found if label is None else replace(found, label=label)


def estimator_look(name: str) -> Look:
    """How EXPO is drawn where its regulariser is estimated in one of the ways of `ESTIMATORS`.

    Example:
        >>> estimator_look("token_kl").label
        'EXPO, token-wise KL'
    """
    label, dashes, marker = ESTIMATORS[name]
    return replace(LOOKS["expo"], label=f"EXPO, {label}", dashes=dashes, marker=marker)


def set_look(
    name: str, *, label: str | None = None, colour: Any = None, dashes: Dashes = None, marker: str | None = None
) -> Look:
    """Choose how a loss of your own is drawn, in this process and all its figures.

    Args:
        name: the loss's own; those of the catalogue keep theirs, so that readers can rely on them.
        label: for legends. colour: any of matplotlib's. dashes: a line style. marker: a marker. None: as it was.

    Raises:
        ValueError: the name is in the catalogue, dashes are no line style, or the colour is none, or has a
            contrast below 4.5 on white.

    Example:
        >>> set_look("my_loss", label="my loss", colour="#7b1fa2").label
        'my loss'
    """
    if name in CATALOGUE or name in VARIANTS:
        raise ValueError(f"name must be that of a loss of your own, and {name!r} has its look for all figures")
    if dashes is not None and not (isinstance(dashes, str) or (isinstance(dashes, tuple) and len(dashes) == 2)):
        raise ValueError(f"dashes must be a line style such as '-' or (0, (5, 1.5)), got {dashes!r}")
    if colour is not None and (not is_color_like(colour) or contrast(colour) < 4.5):
        raise ValueError(f"colour must be a colour with a contrast of at least 4.5 on white, got {colour!r}")
    given: dict[str, Any] = {"label": label, "colour": colour and to_hex(colour), "dashes": dashes, "marker": marker}
    _own[name] = replace(look_of(name), **{key: value for key, value in given.items() if value is not None})
    return _own[name]


def loss_label(name: str) -> str:
    """What a loss is called in legends, by its name in the catalogue and the options behind it.

    >>> loss_label("chi_po"), loss_label("dpo(robust=True)"), loss_label("mine")
    ('χPO', 'DPO (robust=True)', 'mine')
    """
    stem, bracket, options = name.partition("(")
    if stem in LOOKS:
        words = LOOKS[stem].label.split(" (")[0]
        return f"{words} ({options}" if bracket else LOOKS[stem].label
    if name in VARIANTS:
        return VARIANTS[name][1]
    words = NAMES.get(stem) or (CATALOGUE[stem].__name__ if stem in CATALOGUE else stem)
    return f"{words} ({options}" if bracket else words


def _free(name: str, label: str, taken: Iterable[Look], colours: Iterable[str]) -> Look:
    """The first look that nobody has, from where the name's checksum points; of the least used colour in ``colours``.

    Args:
        taken: the looks of all other losses.
        colours: those of the losses that this one is most likely to stand beside.
    """
    used = {(look.colour, str(look.dashes), look.marker) for look in taken}
    beside = list(colours)
    start = crc32(name.encode("utf-8", "surrogatepass"))
    order = [COLOURS[(start + k) % len(COLOURS)] for k in range(len(COLOURS))]
    styles = list(product(DASHES, MARKERS))
    for colour in sorted(order, key=beside.count):  # the sort is stable
        for k in range(len(styles)):
            dashes, marker = styles[(start // len(COLOURS) + k) % len(styles)]
            if (colour, str(dashes), marker) not in used:
                return Look(label, colour, dashes, marker)
    dashes, marker = styles[start % len(styles)]  # hundreds of losses: the labels still differ
    return Look(label, order[0], dashes, marker)


def _of_catalogue() -> dict[str, Look]:
    found: dict[str, Look] = {}
    for name in CATALOGUE:
        if name not in LOOKS:
            found[name] = _free(name, loss_label(name), found.values(), ())
    for name, (stem, label) in VARIANTS.items():
        family = [one for one, (of, _) in VARIANTS.items() if of == stem] + [stem]
        beside = [found[one].colour for one in family if one in found]
        found[name] = _free(name, label, found.values(), beside)
    return found


CATALOGUE_LOOKS = _of_catalogue()
"""Of the catalogue's other losses, and of `VARIANTS`."""
