"""Improvement over restricted policies: is the expected reward never below the reference's? [ours]

Policies are in proportion to pi_ref exp(w f), f a feature, w the one parameter; w = 0 is pi_ref. The reward is that of
which the preferences are made, r* = log pi*. A loss *improves* if E[r*] under its optimum is never below E[r*] under
pi_ref. RLHF does so by definition: E_pi[r*] - lam D(pi, pi_ref) is at its optimum at least what it is at pi_ref, where
D = 0. A loss that sees pairs only does not know what the class does to a response that a pair does not have: the three
responses of "Why DPO is a Misspecified Estimator and How to Fix It" (arXiv 2510.20413), r* = (1, 2, 0), f = (1, -1, 0),
most pairs between first and third, are enough for all such losses that we know of. [paper 2510.20413 for DPO; ours for
the others] No distance is asked for: with a small lam RLHF itself goes away from pi*, for the reward's sake.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.special import log_softmax

from ..._types import Floats, Indices, Mask
from ...bandit import Bandit
from ...losses import Objective, RewardObjective
from ...optima import RestrictedOptima, restricted_optima, restricted_values, stepped_optima
from ..falsify.problems import pi_star, single
from ..ordinary import measured, not_a_risk
from ..subject import Subject, facts_of
from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Counterexample, Verdict
from .constraint_robustness import has_auxiliary, twin

KEY = "restricted_improvement"
LAMS = np.array([0.1, 1.0])
COUNT = 40
"""Random classes; a quarter of them for a loss that takes branch and bound."""
EXAMPLE_LAMS = np.array([1.0, 0.1, 10.0])
EXAMPLE = Bandit(
    np.full((1, 3), 1 / 3),
    np.exp([[1.0, 2.0, 0.0]]) / np.exp([1.0, 2.0, 0.0]).sum(),
    np.array([[0, 0.01, 0.98], [0.01, 0, 0.01], [0.98, 0.01, 0]]),
)
FEATURE = np.array([[1.0, -1.0, 0.0]])
SLACK = 1e-7
"""Rewards, in nats, and probabilities below this are taken for rounding."""


@dataclass(frozen=True, eq=False)
class Classes:
    """Classes of one parameter: a prompt of a bandit each, and a feature (count, n); solved at lambdas (count,)."""

    bandit: Bandit
    feature: Annotated[Floats, "count n"]
    lam: Annotated[Floats, "count"]

    @classmethod
    def at(cls, bandit: Bandit, feature: Floats, lams: Floats) -> Classes:
        """Each of some classes at each of some lambdas, lambda by lambda."""
        parts = (np.concatenate([x] * len(lams)) for x in (bandit.reference, pi_star(bandit), bandit.pairs))
        return cls(Bandit(*parts), np.concatenate([feature] * len(lams)), np.repeat(lams, len(feature)))

    def some(self, rows: Indices) -> Classes:
        """Those of some rows."""
        parts = (x[rows] for x in (self.bandit.reference, pi_star(self.bandit), self.bandit.pairs))
        return Classes(Bandit(*parts), self.feature[rows], self.lam[rows])

    @property
    def features(self) -> Floats:
        return self.feature[:, None, :, None]

    def solve(self, objective: Objective) -> RestrictedOptima:
        """The optimum over each."""
        own = objective.with_lam(self.lam)
        with np.errstate(all="ignore"):  # losses may overflow where they have no minimiser
            if has_auxiliary(own):
                return stepped_optima(own, self.bandit, self.features)
            return restricted_optima(own, self.bandit, self.features)

    def lost(self, found: RestrictedOptima) -> Floats:
        """By how much E[r*] is below the reference's, (count,); nan where there is no one optimum."""
        change = self.bandit.reference - np.exp(found.log_policy[:, 0])
        return np.where(_single(found), (change * np.log(pi_star(self.bandit))).sum(axis=1), np.nan)


def _single(found: RestrictedOptima) -> Mask:
    return np.isin(found.status[:, 0], ("optimal", "best_found"))


def classes_of(subject: Subject) -> Classes:
    """Random ones of three responses, all pairs compared equally often; policies with two decimals."""
    rng = subject.rng(KEY)
    hundredths = [1 + rng.multinomial(97, rng.dirichlet(np.ones(3), COUNT)) for _ in range(2)]
    feature = rng.integers(-1, 2, (COUNT, 3)).astype(float)
    feature[np.ptp(feature, axis=1) == 0] = (1.0, 0.0, -1.0)
    by_newton = (
        subject.fast and facts_of(subject.objective).convex and not isinstance(subject.objective, RewardObjective)
    )
    count = COUNT if by_newton else COUNT // 4
    return Classes.at(Bandit(*(x[:count] / 100 for x in hundredths)), feature[:count], LAMS)


def random_classes(subject: Subject) -> tuple[Classes, RestrictedOptima]:
    """Random classes and the optima over them."""

    def compute() -> tuple[Classes, RestrictedOptima]:
        classes = classes_of(subject)
        return classes, classes.solve(subject.objective)

    return subject.once(KEY, compute)


def regret(subject: Subject) -> Floats:
    """What the optimum over some of the random classes loses in RLHF's own objective, in nats; nan where there is no
    one optimum."""
    classes, found = random_classes(subject)
    per_lambda = len(classes.lam) // len(LAMS)
    rows = np.flatnonzero(np.arange(len(classes.lam)) % per_lambda < COUNT // 4)
    single, some = _single(found)[rows], classes.some(rows)
    rlhf = twin(subject.objective).with_lam(some.lam)
    best = some.solve(rlhf)
    with np.errstate(all="ignore"):
        own, least = (
            restricted_values(rlhf, some.bandit, some.features, w)
            for w in (np.where(single[:, None], found.weights[rows], 0.0), best.weights)
        )
    return np.where(single & _single(best), np.maximum(own - least, 0.0), np.nan)


def judge(subject: Subject) -> Verdict:
    """The example, and random classes."""
    outside = not_a_risk(subject, KEY)
    if outside is not None:
        return outside
    example = Classes.at(EXAMPLE, FEATURE, EXAMPLE_LAMS)
    looked = [(example, example.solve(subject.objective)), random_classes(subject)]
    lost = [classes.lost(found) for classes, found in looked]
    both = np.concatenate(lost)
    known = both[~np.isnan(both)]
    conditions = (
        "policies of one parameter: the three responses of arXiv 2510.20413, at λ = 0.1, 1 and 10, and "
        f"{len(lost[1])} random classes of three responses, all pairs compared equally often, at λ = 0.1 and 1; "
        "rewards are r* = log π*"
    )
    if not known.size:
        return Verdict(KEY, NOT_APPLICABLE, "it has no one optimum over any restricted class", conditions)
    steps = [np.abs(np.exp(f.log_policy[:, 0]) - c.bandit.reference).max(axis=1)[_single(f)] for c, f in looked]
    moved = np.concatenate(steps) > 1e-6
    ordinary = measured("nats", lost[1], float(known.max()), SLACK, "random classes with one optimum")
    evidence = {
        "classes and lambdas": len(both),
        "with one optimum": known.size,
        "E[r*] less that of the reference, on the example, at λ = 1, 0.1, 10": [-float(x) for x in lost[0]],
        "share of random classes with less E[r*] than the reference": ordinary.share,
        "largest loss of E[r*] (nats)": float(known.max()),
    }
    for (classes, found), size in zip(looked, lost, strict=True):
        beyond = size - np.nan_to_num(found.bound[:, 0]) * np.abs(np.log(pi_star(classes.bandit))).max(axis=1)
        beyond = np.where(np.isnan(beyond), -np.inf, np.round(beyond, 6))
        if (beyond > SLACK).any() and _is_lowest(subject, classes, found, k := int(np.argmax(beyond))):
            example_found, proven = _shown(subject, classes, found, k, float(size[k]))
            return Verdict(
                KEY,
                FAILS,
                "over restricted policies the optimum can have less expected reward than the reference",
                conditions,
                evidence,
                example_found,
                PROVEN if proven else EVIDENCE,
                severity=ordinary,
                answer=f"less reward on {ordinary.share:.0%}",
            )
    if moved.mean() < 0.5:
        summary = f"nothing to judge: its optimum is the reference on {1 - moved.mean():.0%} of the restricted classes"
        return Verdict(KEY, NOT_APPLICABLE, summary, conditions, evidence)
    if known.size < 0.5 * both.size:
        return Verdict(KEY, NOT_APPLICABLE, "most restricted classes have no one optimum", conditions, evidence)
    if known.size < 0.9 * both.size:
        return Verdict(KEY, CANNOT_TELL, "too many classes have no one optimum", conditions, evidence)
    summary = "over restricted policies the optimum never had less expected reward than the reference"
    return Verdict(KEY, HOLDS, summary, conditions, evidence, answer="never less reward")


def _is_lowest(subject: Subject, classes: Classes, found: RestrictedOptima, k: int) -> bool:
    """Whether the optimum of one class is proven, or no w on a grid has a lower value."""
    if found.status[k, 0] == "optimal":
        return True
    one, lam = single(classes.bandit, k), float(classes.lam[k])
    w = 60 * np.linspace(-1, 1, 4001)[:, None] ** 3
    values = subject.value(one, lam, log_softmax(np.log(one.reference) + w * classes.feature[k], axis=1))
    own = float(subject.value(one, lam, found.log_policy[k, 0]))
    return bool(np.nanmin(values) >= own - 1e-12 * (1 + abs(own)))


def _shown(
    subject: Subject, classes: Classes, found: RestrictedOptima, k: int, lost: float
) -> tuple[Counterexample, bool]:
    """One of the classes as a counterexample, and whether its optimum is proven."""
    bandit, lam = classes.bandit, float(classes.lam[k])
    even = np.ptp(bandit.pairs[k][~np.eye(bandit.n, dtype=bool)]) < 1e-12
    numbers = {
        "reference": bandit.reference[k].tolist(),
        "optimal": pi_star(bandit)[k].tolist(),
        "pairs": "uniform" if even else bandit.pairs[k].tolist(),
        "features": classes.feature[k][:, None].tolist(),
        "lam": lam,
        "policy": np.exp(found.log_policy[k, 0]).tolist(),
        "E[r*] lost (nats)": lost,
    }
    code = "\n".join(
        [
            subject.imports,
            "",
            f"bandit = ea.Bandit({numbers['reference']}, {numbers['optimal']}, {numbers['pairs']!r})",
            f"lam, features = {lam!r}, {numbers['features']}",
            f"solution = ea.solve({subject.expression}, bandit, features=features)",
            "gain = (solution.policy - bandit.reference) @ np.log(bandit.optimal)",
            "print(solution.policy, 'gains in E[r*]:', gain)",
            f"assert gain < {-SLACK / 2}",
        ]
    )
    proven = bool(found.status[k, 0] == "optimal" and np.isfinite(found.bound[k, 0]))
    policy = np.round(np.exp(found.log_policy[k, 0]), 4).tolist()
    return Counterexample(f"{policy} has {lost:.3g} nats less E[r*] than π_ref (λ = {lam:g})", numbers, code), proven
