"""The path between the ends: as lambda falls the optimum should come steadily closer to pi*. [ours]

With uneven pair weights and four responses even EXPO has exceptions. [ours]
"""

from __future__ import annotations

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ...divergences import total_variation
from ..falsify.problems import FAMILIES, pi_star
from ..falsify.search import Measure, hunt
from ..subject import Optima, Subject
from ..verdict import Verdict
from .outcome import from_hunt

KEY = "monotone_path"
LAMS = 10.0 ** np.array([-6, *np.arange(-12, 13) / 4, 6])
COUNTS = {2: 300, 3: 1500, 4: 3000, 5: 1200, 8: 100}
ENOUGH = 20_000
"""Problems without a violation that it takes to conclude anything: EXPO's exceptions are one in a thousand."""


def _excess(optima: Optima, bandit: Bandit) -> Floats:
    """How much TV to pi* falls from one lambda to the next larger one."""
    distance = np.where(optima.single, total_variation(optima.policies, pi_star(bandit)), np.nan)
    bound = np.where(np.isfinite(optima.bound), optima.bound, 1e-7)
    return distance[:-1] - distance[1:] - 1e-9 - bound[:-1] - bound[1:]


def judge(subject: Subject) -> Verdict:
    """Look for two lambdas of which the larger has its optimum closer to pi* in total variation."""
    found = hunt(
        subject,
        KEY,
        Measure(_excess, span=2),
        LAMS,
        {n: subject.count(count, least=3) for n, count in COUNTS.items()},
    )
    moves = _moves(subject)
    return from_hunt(
        subject,
        KEY,
        found,
        holds="TV to π* never fell as λ grew" if moves else "vacuously: the optimum is the same for every λ",
        fails="the optimum does not always come closer to π* as λ falls",
        conditions="2 to 8 responses; λ from 1e-6 to 1e6, on a grid and between its points",
        statement=""
        if found.case is None
        else f"TV to π* falls by {found.excess:.3g} as λ grows from {found.case.lams[0]:g} to {found.case.lams[1]:g}",
        lines=[
            "distance = [abs(s.policy - bandit.optimal).sum() / 2 for s in solutions]",
            "print([s.policy for s in solutions], distance)",
            "assert distance[1] < distance[0]",
        ],
        evidence={"the optimum depends on λ": moves},
        enough=ENOUGH,
    )


def _moves(subject: Subject) -> bool:
    """Whether the optimum depends on lambda at all, by more than error bounds allow, on random problems."""
    bandit = FAMILIES["moderate"].draw(subject.rng("does it move?"), 4, 3)
    optima = subject.optima(bandit, LAMS[::8])
    bound = np.where(np.isfinite(optima.bound), optima.bound, 1e-7).max()
    return bool(np.abs(np.diff(optima.policies, axis=0)).sum(axis=-1).max() > 2 * bound + 1e-10)
