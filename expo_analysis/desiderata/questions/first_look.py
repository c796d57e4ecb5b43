"""A look at a few problems chosen for a question, before many are drawn: where theorems say that failures are."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ..falsify.problems import FAMILIES, Family, extreme, nearly_disconnected, pi_star, uneven
from ..falsify.search import PROVEN, Case, Hunt, Measure, confirm, shrink
from ..falsify.shrink import spanned
from ..subject import Subject

DISTANCES_FROM_OPTIMAL = (0.3, 0.03, 0.003)
"""How far log-probabilities of references near pi* are from those of pi*."""

HARD = (
    Family("probabilities over six decades, pairs along a path with a weak link", extreme, nearly_disconnected),
    Family("probabilities over six decades, pair weights over four decades", extreme, uneven),
)


def near_optimal(subject: Subject, count: int) -> list[Bandit]:
    """Problems of two and three responses whose reference is near pi*: who does not preserve pi* leaves them."""

    def draw() -> list[Bandit]:
        rng, found = subject.rng("references near the optimum"), []
        for n in (2, 3):
            optimal = pi_star(FAMILIES["moderate"].draw(rng, count, n))
            distance = rng.choice(DISTANCES_FROM_OPTIMAL, (count, 1))
            reference = optimal * np.exp(distance * rng.uniform(-1.0, 1.0, (count, n)))
            found.append(Bandit(reference / reference.sum(axis=-1, keepdims=True), optimal))
        return found

    return subject.once(("near optimal", count), draw)


def hard(subject: Subject, count: int, responses: int = 4) -> list[Bandit]:
    """Problems with extreme policies and pairs that are uneven or hardly connected: where paths turn back."""
    return subject.once(
        ("hard", count, responses),
        lambda: [family.draw(subject.rng(family.description), count, responses) for family in HARD],
    )


def look(subject: Subject, measure: Measure, bandits: Iterable[Bandit], lams: Floats) -> Hunt:
    """What a hunt over these problems finds: each batch's largest violation, simplified, until one is confirmed."""
    total = Hunt(0, 0, 0, -np.inf, None, 0.0, "")
    for bandit in bandits:
        optima = subject.once((id(bandit), "look", *lams), partial(subject.optima, bandit, lams))
        excess = measure.excess(optima, bandit)
        proven = spanned(optima.bound <= PROVEN, measure.span)
        worst = float(np.fmax.reduce(np.where(proven, excess, np.nan), axis=None, initial=total.worst))
        counts = (total.problems + excess.shape[1], total.optima + excess.size, total.proven + int(proven.sum()))
        total = Hunt(*counts, worst, total.case, total.excess, "")
        if not np.nanmax(excess, initial=-np.inf) > 0:
            continue
        k, p = np.unravel_index(np.nanargmax(excess), excess.shape)
        case = Case.of(bandit, int(p), tuple(float(x) for x in optima.lams[k : k + measure.span]))
        for candidate in (shrink(subject, measure, case), case):
            beyond, how = confirm(subject, measure, candidate)
            if how:
                return Hunt(*counts, worst, candidate, beyond, how)
        total = Hunt(*counts, worst, case, float(excess[k, p]), "")
    return total
