"""Behaviour under constraints: restricted policies part what full policies cannot tell apart. [paper]

DPO's claim is to have RLHF's optimum, which it has over all policies. Over a restricted class the two part, and what
RLHF loses by it is a number: the regret of the loss's optimum in RLHF's own objective. An explicit objective has
another claim: its optimum lies between the reference and the best fit to the preferences. A loss passes if, over
restricted classes, its optimum is still RLHF's or still lies between these two. [ours]

The classes have one parameter w, shared by two prompts: theta = log pi_ref + w * features, with weight decay
(decay / 2) w^2 or without. Of one parameter `solve` finds the global minimum, convex or not, and proves it for all
losses whose terms it can enclose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeGuard

import numpy as np

from ..._types import Array, Floats, Mask
from ...bandit import Bandit
from ...losses import RLHF, BradleyTerry, Objective, PairObjective, RewardObjective
from ...losses.terms import Sum
from ...optima import Certificate, Status, restricted_optima, restricted_values, stepped_optima
from ..falsify.problems import pi_star
from ..subject import Subject, facts_of
from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Counterexample, Verdict

KEY = "constraint_robustness"
LAMS = (0.03, 0.3, 1.0, 3.0)
DECAYS = (0.0, 0.1)
FIRST = (
    np.array([[0.4, 0.3, 0.3]] * 2),
    np.array([[0.6, 0.399, 0.001]] * 2),
    np.array([[1.0, 1.0, 0.0]] * 2),
)
"""Reference, pi* and features of the first class: two good responses that rise together."""
TOLERANCE = 1e-6
"""Regrets, in nats, and distances in w below this are taken for rounding."""


@dataclass(frozen=True, eq=False)
class Classes:
    """Restricted classes: two prompts each of a bandit, features (count, 2, n, 1) that share a parameter, decay."""

    bandit: Bandit
    features: Annotated[Floats, "count prompts n d"]
    decay: Annotated[Floats, "count"]

    @property
    def count(self) -> int:
        return len(self.decay)

    def repeated(self, times: int) -> Classes:
        """All of them, ``times`` times."""
        bandit, own = self.bandit, (times, 1)
        repeated = Bandit(np.tile(bandit.reference, own), np.tile(pi_star(bandit), own))
        return Classes(repeated, np.tile(self.features, (times, 1, 1, 1)), np.tile(self.decay, times))

    def minimise(self, objective: Objective, decay: Floats | None = None) -> tuple[Floats, Mask]:
        """The best w on each, (count,): infinite where there is no minimiser, nan where none was found; and whether it
        is proven to `TOLERANCE`, or by theorem that there is none."""
        if has_auxiliary(objective):  # and classes without decay only
            stepped = stepped_optima(objective, self.bandit, self.features)
            return stepped.weights[:, 0], stepped.weight_bounds[:, 0] < TOLERANCE
        held = self.decay if decay is None else decay
        with np.errstate(all="ignore"):  # losses may overflow where they have no minimiser
            found = restricted_optima(objective, self.bandit, self.features, held)
        status = found.status[:, 0]
        away = np.copysign(np.inf, found.direction[:, 0])
        w = np.where(status == Status.NO_MINIMISER, away, found.weights[:, 0])
        proven = (found.weight_bounds[:, 0] < TOLERANCE) | (
            (status == Status.NO_MINIMISER) & (found.certificate[:, 0] == Certificate.THEOREM)
        )
        return np.where(status == Status.FAILED, np.nan, w), proven

    def value(self, objective: Objective, w: Floats) -> Floats:
        """The restricted objective at w (count,), nan where w is not finite."""
        finite = np.where(np.isfinite(w), w, 0.0)
        with np.errstate(all="ignore"):
            value = restricted_values(objective, self.bandit, self.features, finite[:, None], self.decay)
        return np.where(np.isfinite(w), value, np.nan)


def has_auxiliary(objective: Objective) -> TypeGuard[PairObjective]:
    """Whether the loss has a variable for every response beside the policy's own."""
    return isinstance(objective, PairObjective) and objective.auxiliary


def twin(objective: Objective) -> RewardObjective:
    """RLHF with the divergence that the loss's own link stands for; KL where it has none."""
    if isinstance(objective, RewardObjective):
        return objective
    facts = facts_of(objective)
    return RLHF(objective.lam, facts.link if facts.link is not None and facts.psis_convex else "reverse_kl")


@dataclass(frozen=True)
class PreferenceTerms(PairObjective):
    """The terms of an objective without its regulariser."""

    of: PairObjective
    name: ClassVar[str] = "preference_terms"

    @property
    def terms(self) -> Sum | None:
        return self.of.with_lam(self.lam).terms


@dataclass(frozen=True)
class PreferenceFormula(PairObjective):
    """The pair loss of an objective that is a formula, without its regulariser."""

    of: PairObjective
    name: ClassVar[str] = "preference_formula"

    @property
    def data(self) -> tuple[str, ...]:
        return self.of.data

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array, *data: Array) -> Array:
        return self.of.with_lam(self.lam).pair_loss(logp_w, logp_l, ref_logp_w, ref_logp_l, *data)


def preferences_alone(objective: Objective, lam: Any) -> PairObjective:
    """What an explicit objective fits to the preferences at lam; for others, the Bradley-Terry likelihood."""
    if not isinstance(objective, PairObjective) or objective.regulariser is None:
        return BradleyTerry(1.0)
    kind = PreferenceTerms if objective.is_made_of_terms else PreferenceFormula
    return kind(lam, objective)


@dataclass(frozen=True)
class Outcomes:
    """At each of `LAMS`, on each class.

    w, w_rlhf, w_fit: where the loss, RLHF and the preferences alone have their optimum. regret: of w in RLHF. outside:
    how far w is from the stretch between 0 (the reference) and w_fit. resolved: whether the loss is lower at w than at
    RLHF's optimum and on that stretch by more than rounding. All nan where one of them has no minimiser. proven:
    whether all three optima are.
    """

    w: Annotated[Floats, "lams count"]
    w_rlhf: Annotated[Floats, "lams count"]
    w_fit: Annotated[Floats, "lams count"]
    regret: Annotated[Floats, "lams count"]
    outside: Annotated[Floats, "lams count"]
    resolved: Annotated[Mask, "lams count"]
    proven: Annotated[Mask, "lams count"]


def compare(subject: Subject, classes: Classes) -> Outcomes:
    """Minimise the loss, RLHF and the preference term alone over restricted classes, at every lambda."""
    objective, every = subject.objective.with_lam(np.repeat(LAMS, classes.count)), classes.repeated(len(LAMS))
    rlhf = twin(subject.objective).with_lam(objective.lam)
    # the fit without weight decay, beside which the loss's own unit would count
    fit = preferences_alone(subject.objective, objective.lam)
    found = every.minimise(objective), every.minimise(rlhf), every.minimise(fit, np.zeros_like(every.decay))
    (w, w_rlhf, w_fit), proven = (x for x, _ in found), np.all([x for _, x in found], axis=0)
    regret = np.maximum(every.value(rlhf, w) - every.value(rlhf, w_rlhf), 0.0)
    low, high = np.minimum(w_fit, 0.0), np.maximum(w_fit, 0.0)
    with np.errstate(invalid="ignore"):
        outside = np.where(np.isfinite(w), np.maximum(np.maximum(low - w, w - high), 0.0), np.nan)
    if has_auxiliary(objective):  # w is one product of matrices
        resolved = np.isfinite(w)
    else:
        here = every.value(objective, w)
        elsewhere = np.fmin(every.value(objective, w_rlhf), every.value(objective, np.clip(w, low, high)))
        resolved = elsewhere - here > 1e-12 * (1 + np.abs(here))
    shape = (len(LAMS), classes.count)
    parts: list[Any] = [w, w_rlhf, w_fit, regret, outside, resolved, proven]
    return Outcomes(*(x.reshape(shape) for x in parts))


def classes_of(subject: Subject, count: int) -> Classes:
    """Random ones: three responses, round numbers, features from -1, 0 and 1.

    pi* is extreme in every other class (probabilities down to 0.001), so that a loss which moves for strong preferences
    only is seen to move; in every fourth both prompts are one, so that no prompt holds back what the other wants.
    """
    rng = subject.rng(KEY)
    decays = DECAYS[:1] if has_auxiliary(subject.objective) else DECAYS  # which auxiliary variables have none of
    found: list[tuple[Floats, Floats, Floats]] = [FIRST]
    while len(found) * len(decays) < count:
        reference = np.round(rng.dirichlet([3.0] * 3, 2), 2)
        extreme = len(found) % 2 == 1
        weights = 10 ** rng.uniform(-2.5, 0, (2, 3)) if extreme else rng.dirichlet([3.0] * 3, 2)
        optimal = np.round(weights / weights.sum(axis=1, keepdims=True), 3 if extreme else 2)
        features = rng.integers(-1, 2, (2, 3)).astype(float)
        if len(found) % 4 == 3:
            reference, optimal, features = (np.repeat(x[:1], 2, axis=0) for x in (reference, optimal, features))
        tidy = all((p > 0).all() and np.allclose(p.sum(axis=1), 1) for p in (reference, optimal))
        if tidy and (np.ptp(features, axis=1) > 0).all():
            found.append((reference, optimal, features))
    reference, optimal, features = (np.repeat(parts, len(decays), axis=0) for parts in zip(*found, strict=True))
    bandit = Bandit(reference.reshape(-1, 3), optimal.reshape(-1, 3))
    return Classes(bandit, features[..., None], np.tile(decays, len(found)))


def judge(subject: Subject) -> Verdict:
    """Compare with RLHF, and with the two ends, on restricted classes."""
    if not isinstance(subject.objective, RewardObjective | PairObjective):
        return Verdict(KEY, CANNOT_TELL, "neither RLHF nor a loss of pairs", "", {})
    classes = classes_of(subject, max(10, round(16 * subject.effort)))
    outcomes = compare(subject, classes)
    regret, outside = outcomes.regret, outcomes.outside
    known = np.isfinite(regret) & np.isfinite(outside)
    held = "with weight decay and without" if classes.decay.any() else "without weight decay"
    conditions = (
        f"{classes.count} restricted classes: two prompts of three responses that share one parameter, {held}; "
        f"λ from {LAMS[0]:g} to {LAMS[-1]:g}; the global minimum over that parameter"
    )
    if not known.all():
        conditions += f"; {np.sum(~known)} of {known.size} have no minimiser and were left out"
    if not known.any():
        return Verdict(KEY, CANNOT_TELL, "it has no minimiser on any restricted class", conditions, {})
    if np.abs(outcomes.w[known]).max() <= TOLERANCE:
        return Verdict(KEY, NOT_APPLICABLE, "its optimum stays at π_ref on every class", conditions, {})
    regret, outside = (np.where(known, x, 0.0) for x in (regret, outside))
    evidence = {
        "largest regret in RLHF's own objective (nats)": float(regret.max()),
        "median regret (nats)": float(np.median(regret[known])),
        "largest distance outside of [π_ref, best fit] (in w)": float(outside.max()),
    }
    if regret.max() <= TOLERANCE:
        return Verdict(KEY, HOLDS, "over restricted policies its optimum is still RLHF's", conditions, evidence)
    if outside.max() <= 10 * TOLERANCE:
        summary = "over restricted policies its optimum still lies between π_ref and the best restricted fit"
        return Verdict(KEY, HOLDS, summary, conditions, evidence)
    both = known & (regret > 1e-3) & (outside > 1e-2) & outcomes.resolved
    if not both.any():
        return Verdict(KEY, CANNOT_TELL, "it departs from RLHF and from the ends by too little", conditions, evidence)
    # plain cases first: proven, no decay, then the largest regret
    place, chosen = max(
        np.argwhere(both).tolist(),
        key=lambda at: (outcomes.proven[tuple(at)], classes.decay[at[1]] == 0, regret[tuple(at)]),
    )
    worst = f"{regret.max():.3g} nats worse in RLHF's own objective"
    summary = f"over restricted policies its optimum is not RLHF's: up to {worst}"
    basis = PROVEN if outcomes.proven[place, chosen] else EVIDENCE
    return Verdict(KEY, FAILS, summary, conditions, evidence, _shown(subject, classes, outcomes, place, chosen), basis)


def _shown(subject: Subject, classes: Classes, outcomes: Outcomes, place: int, chosen: int) -> Counterexample:
    own = twin(subject.objective)
    reference, optimal = (
        p[2 * chosen : 2 * chosen + 2].tolist() for p in (classes.bandit.reference, pi_star(classes.bandit))
    )
    features, decay, lam = classes.features[chosen].tolist(), float(classes.decay[chosen]), LAMS[place]
    divergence, alpha = own.regulariser.name, getattr(own.regulariser, "alpha", None)
    options = "" if divergence == "reverse_kl" else f", divergence={divergence!r}"
    options += "" if alpha is None else f", alpha={alpha!r}"
    code = "\n".join(
        [
            f"{subject.imports}",
            "",
            f"bandit = ea.Bandit({reference}, {optimal})",
            f"features, decay, lam = {features}, {decay}, {lam}",
            f"loss, rlhf = {subject.expression}, ea.RLHF(lam{options})",
            "found, best = (ea.solve(one, bandit, features=features, decay=decay) for one in (loss, rlhf))",
            "",
            "print('w of the loss:', found.weights, 'of RLHF:', best.weights)",
            "reached = ea.risk(rlhf, bandit, found.log_policy).mean() + decay / 2 * (found.weights**2).sum()",
            "regret = reached - best.total",
            "print('regret in RLHF (nats):', regret)",
            "assert regret > 1e-4",
        ]
    )
    found = (outcomes.w, outcomes.w_rlhf, outcomes.w_fit, outcomes.regret)
    w, w_rlhf, w_fit, regret = (float(x[place, chosen]) for x in found)
    numbers = {
        "reference": reference,
        "optimal": optimal,
        "features": features,
        "weight decay": decay,
        "lam": lam,
        "w of the loss": w,
        "w of RLHF": w_rlhf,
        "w of the preferences alone": w_fit,
        "regret (nats)": regret,
    }
    return Counterexample(
        f"with one shared parameter the loss ends at w = {w:.4g}, RLHF at {w_rlhf:.4g}: a regret of {regret:.3g} nats "
        f"(λ = {lam:g})",
        numbers,
        code,
    )
