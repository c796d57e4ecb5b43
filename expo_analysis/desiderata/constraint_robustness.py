"""Behaviour under constraints: restricted policies part what full policies cannot tell apart. [paper]

DPO's claim is to have RLHF's optimum, which it has over all policies. Over a restricted class the two part, and what
RLHF loses by it is a number: the regret of the loss's optimum in RLHF's own objective. An explicit objective has
another claim: its optimum lies between the reference and the best fit to the preferences. A loss passes if, over
restricted classes, its optimum is still RLHF's or still lies between these two. [ours]

The classes have one parameter w in [-10, 10], shared by two prompts: theta = log pi_ref + w * features, with weight
decay (decay / 2) w^2 or without. One parameter means that minimisers, convex or not, are found by looking at all w.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.special import log_softmax

from .._types import Array, Floats
from ..bandit import Bandit
from ..losses import RLHF, BradleyTerry, Objective, PairObjective, RewardObjective
from .problems import pi_star
from .subject import Subject, facts_of
from .verdict import CANNOT_TELL, FAILS, HOLDS, Counterexample, Verdict

KEY = "constraint_robustness"
LAMS = (0.03, 0.3, 1.0, 3.0)
DECAYS = (0.0, 0.1)
RADIUS = 10.0
POINTS = 2001
TOLERANCE = 1e-6
"""Regrets, in nats, and distances in w below this are taken for rounding."""


@dataclass(frozen=True)
class Restriction:
    """Two prompts, features (2, n) that share the parameter w, and weight decay."""

    bandit: Bandit
    features: Floats
    decay: float

    def log_policy(self, w: Floats) -> Floats:
        """(count, 2, n) at parameters (count,)."""
        return log_softmax(np.log(self.bandit.reference) + w[:, None, None] * self.features, axis=-1)

    def value(self, objective: Objective, w: Floats) -> Floats:
        """The restricted objective at parameters (count,)."""
        risks = Subject(objective).value(self.bandit, float(objective.lam), self.log_policy(w))
        return risks @ self.bandit.prompt_weights + self.decay / 2 * w**2

    def minimise(self, objective: Objective) -> tuple[float, float]:
        """The best w in [-RADIUS, RADIUS] and its value: all w on a grid, then finer grids around the best."""
        low, high = -RADIUS, RADIUS
        for _ in range(4):
            w = np.linspace(low, high, POINTS)
            values = self.value(objective, w)
            best = int(np.nanargmin(values))
            step = w[1] - w[0]
            low, high = max(-RADIUS, w[best] - 2 * step), min(RADIUS, w[best] + 2 * step)
        return float(w[best]), float(values[best])


def twin(objective: Objective) -> RewardObjective:
    """RLHF with the divergence that the loss's own link stands for; KL where it has none."""
    if isinstance(objective, RewardObjective):
        return objective
    facts = facts_of(objective)
    return RLHF(objective.lam, facts.link if facts.link is not None and facts.psis_convex else "reverse_kl")


@dataclass(frozen=True)
class PreferenceTerm(PairObjective):
    """The pair loss of an objective without its regulariser."""

    of: PairObjective
    name: ClassVar[str] = "preference_term"

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array) -> Array:
        return self.of.pair_loss(logp_w, logp_l, ref_logp_w, ref_logp_l)


def preferences_alone(objective: Objective) -> PairObjective:
    """What an explicit objective fits to the preferences; the Bradley-Terry likelihood for all others."""
    if isinstance(objective, PairObjective) and objective.regulariser is not None:
        return PreferenceTerm(objective.lam, objective)
    return BradleyTerry(1.0)


@dataclass(frozen=True)
class Outcome:
    """On one restriction, at one lambda.

    w, w_rlhf, w_fit: where the loss, RLHF and the preferences alone have their optimum. regret: of w in RLHF.
    outside: how far w is from the stretch between 0 (the reference) and w_fit.
    resolved: whether the loss is lower at w than at RLHF's optimum and on that stretch by more than rounding.
    """

    lam: float
    w: float
    w_rlhf: float
    w_fit: float
    regret: float
    outside: float
    resolved: bool


def compare(subject: Subject, restriction: Restriction, lam: float) -> Outcome:
    """Minimise the loss, RLHF and the preference term alone over the restricted class."""
    objective = subject.at(lam)
    w, _ = restriction.minimise(objective)
    w_rlhf, lowest = restriction.minimise(twin(objective))
    # without weight decay, beside which the loss's own unit would count
    w_fit, _ = replace(restriction, decay=0.0).minimise(preferences_alone(objective))
    regret = float(restriction.value(twin(objective), np.array([w]))[0]) - lowest
    outside = max(min(0.0, w_fit) - w, w - max(0.0, w_fit), 0.0)
    nearest = min(max(w, min(0.0, w_fit)), max(0.0, w_fit))
    here, *elsewhere = restriction.value(objective, np.array([w, w_rlhf, nearest]))
    resolved = bool(min(elsewhere) - here > 1e-12 * (1 + abs(here)))
    return Outcome(lam, w, w_rlhf, w_fit, max(regret, 0.0), outside, resolved)


def restrictions(subject: Subject, count: int) -> list[Restriction]:
    """Random ones: three responses, round numbers, features from -1, 0 and 1."""
    rng = subject.rng(KEY)
    found: list[Restriction] = []
    while len(found) < count:
        reference, optimal = (np.round(rng.dirichlet([3.0] * 3, 2), 1) for _ in range(2))
        features = rng.integers(-1, 2, (2, 3)).astype(float)
        tidy = all((p > 0).all() and np.allclose(p.sum(axis=1), 1) for p in (reference, optimal))
        if tidy and (np.ptp(features, axis=1) > 0).all():
            for decay in DECAYS:
                found.append(Restriction(Bandit(reference, optimal), features, decay))
    return found


def judge(subject: Subject) -> Verdict:
    """Compare with RLHF, and with the two ends, on restricted classes."""
    if not isinstance(subject.objective, RewardObjective | PairObjective):
        return Verdict(KEY, CANNOT_TELL, "neither RLHF nor a loss of pairs", "", {})
    tried = restrictions(subject, max(6, round(16 * subject.effort)))
    outcomes = [(r, compare(subject, r, lam)) for r in tried for lam in LAMS]
    regrets = np.array([o.regret for _, o in outcomes])
    outside = np.array([o.outside for _, o in outcomes])
    conditions = (
        f"{len(tried)} restricted classes: two prompts of three responses that share one parameter in [-10, 10], with "
        f"weight decay and without; λ from {LAMS[0]:g} to {LAMS[-1]:g}; minimisers by looking at all parameters"
    )
    evidence = {
        "largest regret in RLHF's own objective (nats)": float(regrets.max()),
        "median regret (nats)": float(np.median(regrets)),
        "largest distance outside of [π_ref, best fit] (in w)": float(outside.max()),
    }
    if regrets.max() <= TOLERANCE:
        return Verdict(KEY, HOLDS, "over restricted policies its optimum is still RLHF's", conditions, evidence)
    if outside.max() <= 10 * TOLERANCE:
        summary = "over restricted policies its optimum still lies between π_ref and the best restricted fit"
        return Verdict(KEY, HOLDS, summary, conditions, evidence)
    both = (regrets > 1e-3) & (outside > 1e-2) & np.array([o.resolved for _, o in outcomes])
    if not both.any():
        return Verdict(KEY, CANNOT_TELL, "it departs from RLHF and from the ends by too little", conditions, evidence)
    # plain cases first: no decay, then the largest regret
    chosen = max(np.flatnonzero(both), key=lambda k: (outcomes[k][0].decay == 0, regrets[k]))
    restriction, outcome = outcomes[chosen]
    worst = f"{regrets.max():.3g} nats worse in RLHF's own objective"
    summary = f"over restricted policies its optimum is not RLHF's: up to {worst}"
    return Verdict(KEY, FAILS, summary, conditions, evidence, _shown(subject, restriction, outcome))


def _shown(subject: Subject, restriction: Restriction, outcome: Outcome) -> Counterexample:
    bandit, own = restriction.bandit, twin(subject.objective)
    divergence, alpha = own.regulariser.name, getattr(own.regulariser, "alpha", None)
    options = "" if divergence == "reverse_kl" else f", divergence={divergence!r}"
    options += "" if alpha is None else f", alpha={alpha!r}"
    code = "\n".join(
        [
            "from scipy.special import log_softmax",
            f"import torch\n{subject.imports}",
            "",
            f"bandit = ea.Bandit({bandit.reference.tolist()}, {pi_star(bandit).tolist()})",
            f"features, decay, lam = np.array({restriction.features.tolist()}), {restriction.decay}, {outcome.lam}",
            f"w = np.linspace(-{RADIUS:g}, {RADIUS:g}, 100_001)",
            "log_policy = log_softmax(np.log(bandit.reference) + w[:, None, None] * features, axis=-1)",
            "log_policy = torch.tensor(log_policy)",
            "",
            "",
            "def restricted(loss):",
            "    return ea.risk(loss, bandit, log_policy).numpy().mean(axis=-1) + decay / 2 * w**2",
            "",
            "",
            f"loss, rlhf = restricted({subject.expression}), restricted(ea.RLHF(lam{options}))",
            "print('w of the loss:', w[loss.argmin()], 'of RLHF:', w[rlhf.argmin()])",
            "regret = rlhf[loss.argmin()] - rlhf.min()",
            "print('regret in RLHF (nats):', regret)",
            "assert regret > 1e-4",
        ]
    )
    numbers = {
        "reference": bandit.reference.tolist(),
        "optimal": pi_star(bandit).tolist(),
        "features": restriction.features.tolist(),
        "weight decay": restriction.decay,
        "lam": outcome.lam,
        "w of the loss": outcome.w,
        "w of RLHF": outcome.w_rlhf,
        "w of the preferences alone": outcome.w_fit,
        "regret (nats)": outcome.regret,
    }
    return Counterexample(
        f"with one shared parameter the loss ends at w = {outcome.w:.4g}, RLHF at {outcome.w_rlhf:.4g}: a regret of "
        f"{outcome.regret:.3g} nats (λ = {outcome.lam:g})",
        numbers,
        code,
    )
