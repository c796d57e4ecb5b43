"""Weighted-reward fusion (WRPO): where does the mass of another model's response go?

Four responses: that of a source model, which the reference hardly ever gives, the target's better and worse one, and
another. The data are triples (source, winner, loser), in which the target's two responses win against each other with
pi*'s preference. The statistic a log u_source + (1 - a) log u_w - log u_l rises with the source's response in every
datum, so that the loss falls for ever as its probability tends to 1; at a = 0 it is in no datum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy.special import expit, softmax

from ..._progress import Progress, silent
from ..._rounding import all_rounded
from ..._types import Floats
from ...bandit import Bandit
from ...divergences import Divergence, ForwardKL
from ...losses import WRPO, PairObjective
from ...losses.terms import Sum
from ...optima import solve
from ..settings import Settings as StudySettings

SOURCE, BETTER, WORSE, OTHER = range(4)
PREFERENCE = 0.7
"""How often the target's better response wins against its worse one."""
BETA, RATE = 0.1, 5.0
ALPHAS = (0.0, 0.03, 0.1, 0.3)
MASSES = 10.0 ** np.linspace(-8, -1, 15)
"""Of the source's response under the reference."""
START = 1e-4
LAM = 0.1
"""Weight of KL(pi_ref || pi) where there is one."""


@dataclass(frozen=True)
class HeldWRPO(PairObjective):
    """WRPO's term at `BETA`, and lam KL(pi_ref || pi)."""

    alpha: float = 0.1
    name: ClassVar[str] = "held_wrpo"

    @property
    def terms(self) -> Sum:
        return WRPO(BETA, self.alpha).terms

    @property
    def regulariser(self) -> Divergence:
        return ForwardKL()


def bandit_of(mass: float) -> Bandit:
    """Triples of the source's response with the target's two, in both orders."""
    reference = np.array([mass, *((1 - mass) * np.array([0.4, 0.4, 0.2]))])
    triples = [(SOURCE, BETTER, WORSE), (SOURCE, WORSE, BETTER)]
    return Bandit.from_triples(reference, triples, weights=[PREFERENCE, 1 - PREFERENCE])


@dataclass(frozen=True)
class Settings(StudySettings):
    """steps: of gradient descent."""

    steps: int = 20_000


FULL = Settings(100_000)


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``fusion``: per a and step of gradient descent from pi_ref, the policy under WRPO at beta = 0.1.
    ``fusion_held``: per a and mass of the source's response under pi_ref, the optimum with lam KL(pi_ref || pi).
    ``fusion_status``: per a, what `solve` says of WRPO alone: a status and its words.
    """
    training = pd.concat([path_of(alpha, settings.steps) for alpha in ALPHAS], ignore_index=True)
    progress(0.5)
    held = held_table()
    status = status_table()
    progress(1.0)
    return all_rounded({"fusion": training, "fusion_held": held, "fusion_status": status}, trained=["fusion"])


def path_of(alpha: float, steps: int) -> pd.DataFrame:
    """Gradient descent on the population's risk in the logits, at steps evenly spaced in their logarithm."""
    log_reference = np.log(bandit_of(START).reference)
    # log u of (source, better, worse, other) in the margin, where the better wins, and where the worse does
    c = np.array([[alpha, 1 - alpha, -1, 0], [alpha, -1, 1 - alpha, 0]])
    share = np.array([PREFERENCE, 1 - PREFERENCE])
    theta, rows = log_reference.copy(), []
    shown = set(np.unique(np.r_[0, np.geomspace(1, steps, 60).round()]).astype(int).tolist())
    for step in range(steps + 1):
        if step in shown:
            rows.append({"alpha": alpha, "step": step, **_named(softmax(theta))})
        # the coefficients add up to 0: the normaliser has no part in margin or slope
        slope = -BETA * (share * expit(-BETA * (c @ (theta - log_reference)))) @ c
        theta = theta - RATE * slope
    return pd.DataFrame(rows)


def held_table() -> pd.DataFrame:
    """``fusion_held``."""
    rows = []
    for alpha in ALPHAS:
        for mass in MASSES:
            found = solve(HeldWRPO(LAM, alpha), bandit_of(float(mass)))
            rows.append({"alpha": alpha, "reference_mass": mass, **_named(found.policy), "status": str(found.status)})
    return pd.DataFrame(rows)


def status_table() -> pd.DataFrame:
    """``fusion_status``."""
    rows = []
    for alpha in ALPHAS:
        found = solve(WRPO(BETA, alpha), bandit_of(START))
        rows.append({"alpha": alpha, "status": str(found.status), "message": str(found.message)})
    return pd.DataFrame(rows)


def _named(policy: Floats) -> dict[str, float]:
    return dict(zip(("source", "better", "worse", "other"), policy.tolist(), strict=True))
