"""The path between the ends: as lambda falls the optimum should come steadily closer to pi*. [ours]

A loss that does not preserve pi* leaves references near it, along a path that turns back. With uneven pair weights and
four responses even EXPO has exceptions. [ours]
"""

from __future__ import annotations

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ...divergences import total_variation
from ..falsify.problems import FAMILIES, pi_star
from ..falsify.search import Measure, hunt
from ..subject import Optima, Subject
from ..verdict import EVIDENCE, NOT_APPLICABLE, Verdict
from .first_look import hard, look, near_optimal
from .outcome import from_hunt

KEY = "monotone_path"
LAMS = 10.0 ** np.array([-6, *np.arange(-12, 13) / 4, 6])
COUNTS = {2: 300, 3: 1500, 4: 3000, 5: 1200, 8: 100}
NEAR, HARD = 20, 200
"""Problems to look at first: references near pi*, and extreme policies with uneven pairs."""
ENOUGH = 20_000
"""Problems without a violation that it takes to conclude anything: EXPO's exceptions are one in a thousand."""


def _excess(optima: Optima, bandit: Bandit) -> Floats:
    """How much TV to pi* falls from one lambda to the next larger one."""
    distance = np.where(optima.single, total_variation(optima.policies, pi_star(bandit)), np.nan)
    bound = np.where(np.isfinite(optima.bound), optima.bound, 1e-7)
    return distance[:-1] - distance[1:] - 1e-9 - bound[:-1] - bound[1:]


def judge(subject: Subject) -> Verdict:
    """Look for two lambdas of which the larger has its optimum closer to pi* in total variation."""
    measure = Measure(_excess, span=2)
    likely = [*near_optimal(subject, subject.count(NEAR, least=3)), *hard(subject, subject.count(HARD, least=12))]
    found = look(subject, measure, likely, LAMS)
    if not found.confirmed:
        found = hunt(subject, KEY, measure, LAMS, {n: subject.count(count, least=3) for n, count in COUNTS.items()})
        if found.case is None and _stays(subject):
            return Verdict(
                KEY,
                NOT_APPLICABLE,
                "the optimum is the same for every λ",
                f"{found.describe()}; four values of λ on problems of all kinds",
                {"the optimum depends on λ": False},
                basis=EVIDENCE,
            )
    return from_hunt(
        subject,
        KEY,
        found,
        holds="TV to π* never fell as λ grew",
        fails="the optimum does not always come closer to π* as λ falls",
        conditions="π_ref near π*, and unrelated; 2 to 8 responses; λ from 1e-6 to 1e6, on a grid and between its "
        "points",
        statement=""
        if found.case is None
        else f"TV to π* falls by {found.excess:.3g} as λ grows from {found.case.lams[0]:g} to {found.case.lams[1]:g}",
        lines=[
            "distance = [abs(s.policy - bandit.optimal).sum() / 2 for s in solutions]",
            "print([s.policy for s in solutions], distance)",
            "assert distance[1] < distance[0]",
        ],
        evidence={"the optimum depends on λ": True},
        enough=ENOUGH,
    )


def _stays(subject: Subject) -> bool:
    """Whether there are optima, and none depends on lambda by more than error bounds allow, on random problems."""
    rng, compared = subject.rng("does it move?"), 0
    for family in FAMILIES.values():
        optima = subject.optima(family.draw(rng, 4, 3), LAMS[::8])
        bound = np.where(np.isfinite(optima.bound), optima.bound, 1e-7)
        both = optima.single[1:] & optima.single[:-1]
        apart = np.abs(np.diff(optima.policies, axis=0)).sum(axis=-1) - bound[1:] - bound[:-1]
        if (apart[both] > 1e-10).any():
            return False
        compared += int(both.sum())
    return compared > 0
