"""Report cards as one self-contained HTML file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..._json import plain
from ...losses import Objective
from ..questions.consistency import OPTIMAL, REFERENCE
from ..verdict import (
    CANNOT_TELL,
    DESIDERATA,
    EVIDENCE,
    FAILS,
    HOLDS,
    NOT_APPLICABLE,
    PROVEN,
    Decision,
    Verdict,
)
from .layout import OFTEN, weight_of
from .wording import ORDINARY, SIGNS, SIZES, WEIGHTS, decided, readable, rests_on, shown_size

if TYPE_CHECKING:
    from .report_card import ReportCards

Point = tuple[float, float]

SIDE = 260.0
"""Side of the triangle, in pixels."""

ORIGIN = (62.0, 26.0)
"""Left and upper margin: room for labels."""

WIDTH, HEIGHT = 384.0, ORIGIN[1] + SIDE * math.sqrt(3) / 2 + 26

ENDS = {"π*": tuple(OPTIMAL), "π_ref": tuple(REFERENCE)}
"""pi* and pi_ref of the bandit that the paths are drawn on."""

MARKED = (10.0, 1.0, 0.1)
"""The lambdas that are marked along a path."""

LINE = 17.0
"""Least distance between labels."""


def render(cards: ReportCards) -> str:
    """The page: table and legend, then every card. All text is escaped."""
    environment = Environment(
        loader=PackageLoader("expo_analysis.desiderata.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"readable": readable, "plain": plain, "facts": facts, "drawing": drawing}
    environment.filters |= {"how": _how, "basis": _basis, "number": _number, "rests": rests_on, "words": _words}
    groups = cards.desiderata()
    page = environment.get_template("report.html.j2").render(
        cards=cards.ranked(),
        groups=groups,
        count=sum(map(len, groups.values())),
        desiderata=DESIDERATA,
        signs=SIGNS,
        legend=LEGEND,
        note=f"{SIZES} {ORDINARY}",
        provenances=[made for made in dict.fromkeys(card.made for card in cards.values()) if made is not None],
    )
    return page + "\n"


def _how(verdict: Verdict) -> str:
    """How much a failure weighs, as a class of the page; empty for what does not fail."""
    return weight_of(verdict) if verdict.decision == FAILS else ""


def _basis(verdict: Verdict) -> str:
    return verdict.basis if verdict.decision in (HOLDS, FAILS) else ""


def _number(verdict: Verdict) -> str:
    size = verdict.severity
    return shown_size(size.share, size.typical, size.unit) if size is not None and verdict.decision == FAILS else ""


def _words(verdict: Verdict) -> str:
    return decided(verdict) if verdict.severity is None else f"{decided(verdict)}; {verdict.severity}"


LEGEND: list[tuple[Decision, str, str, str, str]] = [
    (HOLDS, "", PROVEN, "", "holds, proven: a theorem, which is named, says so"),
    (HOLDS, "", EVIDENCE, "", "holds, by search: no counterexample is among the problems that the conditions name"),
    *((FAILS, how, PROVEN, ".31" if how == OFTEN else "", f"fails {words}") for how, words in WEIGHTS.items()),
    (
        FAILS,
        OFTEN,
        EVIDENCE,
        ".31",
        "fails, by search: the counterexample's optimum is the lowest of many searches",
    ),
    (NOT_APPLICABLE, "", "", "", "not applicable: the question makes no sense for this loss; the summary says why"),
    (CANNOT_TELL, "", "", "", "cannot tell: neither could be established; the summary says why"),
]
"""Every kind of cell, as decision, weight, basis and number, with what it means."""


def facts(objective: Objective | None) -> dict[str, str]:
    """What a loss says of itself: the first sentence of its docstring, and its options."""
    if objective is None:
        return {}
    cls = type(objective)
    own = (cls.__doc__ or "").strip()
    found = {"definition": own.splitlines()[0]} if own and not own.startswith(f"{cls.__name__}(") else {}
    for field in dataclasses.fields(objective):
        if field.name != "lam":
            value = getattr(objective, field.name)
            is_plain = value is None or isinstance(value, bool | int | float | str)
            found[field.name] = readable(value) if is_plain else getattr(value, "__name__", type(value).__name__)
    return found


# ------------------------------------------------------------------------------------------------------------- simplex


@dataclasses.dataclass(frozen=True)
class Label:
    """A mark in the triangle, and its text beside the triangle at the height ``y``."""

    text: str
    at: Point
    y: float


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What the template draws: pixels, origin at the upper left."""

    width: float
    height: float
    corners: list[Point]
    line: list[Point]
    ends: list[Label]
    marks: list[Label]
    start: str
    stop: str


def drawing(path: pd.DataFrame) -> Drawing | None:
    """The path of a card in the triangle with corners y1 (above), y2 (left) and y3 (right); None where it is empty."""
    rows = path[np.isfinite(path[["lam", "y1", "y2", "y3"]]).all(axis=1)] if len(path) else path
    if not len(rows):
        return None
    points = [_pixel(policy) for policy in rows[["y1", "y2", "y3"]].to_numpy()]
    lams = rows["lam"].to_numpy()
    marks = []
    for lam in MARKED:
        k = int(np.argmin(np.abs(np.log(lams / lam))))
        if abs(math.log(lams[k] / lam)) < 0.01:
            marks.append((f"λ = {lam:g}", points[k]))
    policies = [f"({', '.join(f'{p:.3g}' for p in rows.iloc[k][['y1', 'y2', 'y3']])})" for k in (0, -1)]
    return Drawing(
        WIDTH,
        HEIGHT,
        [_pixel(corner) for corner in np.eye(3)],
        points,
        spread((name, _pixel(policy)) for name, policy in ENDS.items()),
        spread(marks),
        f"{policies[1]} at λ = {lams[-1]:.3g}",
        f"{policies[0]} at λ = {lams[0]:.3g}",
    )


def _pixel(policy: Iterable[Any]) -> Point:
    y1, _, y3 = policy
    return round(ORIGIN[0] + SIDE * (y3 + y1 / 2), 1), round(ORIGIN[1] + SIDE * math.sqrt(3) / 2 * (1 - y1), 1)


def spread(points: Iterable[tuple[str, Point]]) -> list[Label]:
    """Labels from above to below, each as near to its point's height as the others allow."""
    labels: list[Label] = []
    for text, at in sorted(points, key=lambda point: point[1][1]):
        labels.append(Label(text, at, max(at[1], labels[-1].y + LINE) if labels else at[1]))
    shift = sum(label.y - label.at[1] for label in labels) / len(labels) if labels else 0.0
    return [dataclasses.replace(label, y=round(label.y - shift, 1)) for label in labels]
