"""Conservation: what was never compared should keep its mass, every unseen response and every component. [ours]"""

from __future__ import annotations

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ..falsify.certify import enclose_minimisers
from ..falsify.lowest import lower_exists, lowest_keeping
from ..falsify.problems import pi_star, single
from ..falsify.search import bandit_code
from ..subject import Subject
from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, PROVEN, Basis, Counterexample, Verdict
from .flatness import on_graphs, other_minimiser
from .uniqueness import shown

KEY = "conservation"
SLACK = 1e-10
LIGHT = 0.05
"""The effort below which nothing is certified."""


def masses(bandit: Bandit, policies: Floats) -> Floats:
    """The mass of each component of the comparison graph (the same for all prompts), in the last axis."""
    labels = bandit.components[0] if bandit.prompts else bandit.components
    return policies @ np.eye(labels.max() + 1)[labels]


def judge(subject: Subject) -> Verdict:
    """Compare the mass of components and unseen responses at the optimum with that under the reference."""
    tried = kept = 0
    largest = 0.0
    example: Counterexample | None = None
    summary = ""
    basis: Basis = EVIDENCE
    for name, bandit, optima in on_graphs(subject):
        if bandit.components.max() == 0:
            continue
        gap = np.abs(masses(bandit, optima.policies) - masses(bandit, bandit.reference)).max(axis=-1)
        proven = np.isfinite(optima.bound) & (optima.status == "optimal")
        tried += gap.size
        low, high = optima.lams.min(), optima.lams.max()
        kept += int((proven & (gap <= optima.bound + SLACK)).sum())
        # only a minimum counts, as on a plateau there may be none
        moved = optima.single & (gap > np.where(np.isfinite(optima.bound), optima.bound, 1e-6) + SLACK)
        largest = max(largest, float(gap[optima.exists].max(initial=0.0)))
        if example is None:
            for k, p in [*np.argwhere(moved)[:3], *np.argwhere(optima.status == "not_unique")[:2]]:
                one = single(bandit, int(p))
                lam, log_policy = float(optima.lams[k]), optima.log_policies[k, p]
                if moved[k, p]:
                    certain = bool(proven[k, p]) or _certified(subject, one, lam, log_policy)
                    example = _moved(subject, one, lam, log_policy, certain)
                    basis = PROVEN if certain else EVIDENCE
                    summary = f"mass moves between what was never compared ({name})"
                else:
                    flat = other_minimiser(subject, one, lam, log_policy)
                    if (
                        flat is not None
                        and np.abs(np.diff(masses(one, np.exp([flat.first, flat.second])), axis=0)).max() > 1e-3
                    ):
                        example = shown(subject, one, flat)
                        summary = f"the mass of what was never compared is left open ({name})"
                if example is not None:
                    break
    conditions = (
        f"two components and a response in no pair; 3 to 5 responses; λ from {low:g} to {high:g}; {tried} problems"
    )
    evidence = {"problems": tried, "proven to keep all masses": kept, "largest change of a mass": largest}
    if example is not None:
        return Verdict(KEY, FAILS, summary, conditions, evidence, example, basis)
    if kept == tried:
        summary = "every component, and every response in no pair, keeps its mass under the reference"
        return Verdict(KEY, HOLDS, summary, conditions, evidence)
    return Verdict(
        KEY, CANNOT_TELL, "no change of mass was found, but the minimisers are not proven", conditions, evidence
    )


def _certified(subject: Subject, bandit: Bandit, lam: float, log_policy: Floats) -> bool:
    """Whether all minimisers are enclosed, and none of them keeps the masses; of four responses that takes too long."""
    gap = float(np.abs(masses(bandit, np.exp(log_policy)) - masses(bandit, bandit.reference)).max())
    if bandit.n > 3 or subject.effort < LIGHT or not gap > SLACK:
        return False
    with np.errstate(over="ignore"):
        found = enclose_minimisers(subject, bandit, lam, log_policy, target=gap / 2)
    return found is not None and found.reach < gap


def _moved(subject: Subject, bandit: Bandit, lam: float, log_policy: Floats, proven: bool) -> Counterexample | None:
    """The optimum's masses beside the reference's; None where it is not shown to be the optimum."""
    how = "proven"
    if not proven:
        lower, count = lower_exists(subject, bandit, lam, log_policy)
        if lower or not count:
            return None
        here, there = float(subject.value(bandit, lam, log_policy)), lowest_keeping(subject, bandit, lam, log_policy)
        if not there - here > 1e-10 * (1 + abs(here)):  # rounding may have moved it, or another minimiser keeps them
            return None
        how = f"lower than {count:,} policies on a grid, and by {there - here:.3g} than all that keep the masses"
    before, after = masses(bandit, bandit.reference), masses(bandit, np.exp(log_policy))
    labels = bandit.components.tolist()
    code = "\n".join(
        [
            subject.imports,
            "",
            bandit_code(bandit),
            f"lam, components = {lam!r}, np.array({labels})",
            f"policy = ea.solve({subject.expression}, bandit).policy",
            "groups = [components == c for c in np.unique(components)]",
            "before, after = ([p[group].sum() for group in groups] for p in (bandit.reference, policy))",
            "print(before, after)",
            "assert max(abs(a - b) for a, b in zip(after, before)) > 1e-10",
        ]
    )
    return Counterexample(
        f"the components' masses go from {np.round(before, 4).tolist()} to {np.round(after, 4).tolist()} (λ = {lam:g})",
        {
            "reference": bandit.reference.tolist(),
            "optimal": pi_star(bandit).tolist(),
            "pairs": bandit.pairs.tolist(),
            "lam": lam,
            "components": labels,
            "masses before": before.tolist(),
            "masses after": after.tolist(),
            "the optimum": how,
        },
        code,
    )
