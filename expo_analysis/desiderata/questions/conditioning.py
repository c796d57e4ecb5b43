"""Conditioning: how many steps does gradient descent take near the optimum? [ours]

The ratio of the largest to the smallest curvature (eigenvalue of the Hessian in the logits) at the optimum, over the
directions that matter: the common shift of all logits is none, nor is one in which the loss is flat. Gradient descent
with the best step gains a digit in about 1.15 times this ratio of steps, momentum in the square root of it. A loss is
*well conditioned* if at every ordinary lambda the ratio is at most 100 on half of the ordinary problems: hundreds of
steps, not more. What is slow on the way to the optimum, such as a softmax that has almost decided, shows only as far as
it is so at the optimum. A loss whose optimum lies on a kink has no curvature there.
"""

from __future__ import annotations

import numpy as np

from ..._types import Floats, Mask
from ..falsify.problems import pi_star
from ..ordinary import LAMS, described, measured, middle, not_a_risk, ordinary, tidy
from ..subject import Subject
from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Counterexample, Verdict
from .curvature import Expansion, Local

KEY = "conditioning"
THRESHOLD = 100.0
FLAT = 1e-12
"""A curvature, relative to the largest, below which a direction counts as flat, if the loss has such directions."""
STATIONARY = 1e-3
"""Logits that Newton's step would move: farther, and there is a kink, or no minimum."""


def condition(local: Expansion, unique: Floats) -> Floats:
    """Largest to smallest curvature, (P,); nan where the point is no smooth minimum.

    unique: (P,), whether there is one minimiser, so that only the common shift is flat.
    """
    found = np.full(len(local.value), np.nan)
    finite = np.isfinite(local.hessian).all(axis=(1, 2)) & np.isfinite(local.gradient).all(axis=1)
    for p in np.flatnonzero(finite):
        curvature, along = np.linalg.eigh(local.hessian[p])
        largest = curvature[-1]
        # the shift of all logits is the direction whose components are all the same
        shift = np.argmax(np.abs(along.sum(axis=0)))
        kept = np.arange(len(curvature)) != shift
        if not unique[p]:
            kept &= curvature > FLAT * largest
        if not kept.any() or not largest > 0:
            continue
        step = np.abs(along[:, kept].T @ local.gradient[p]) / np.maximum(curvature[kept], 1e-300)
        least = curvature[kept].min()
        if step.max() <= STATIONARY or (least < 1e-13 * largest and np.abs(local.gradient[p]).max() < 1e-9 * largest):
            # eigenvalues are known to an ulp of the largest
            found[p] = largest / max(least, 2e-16 * largest)
    return found


def judge(subject: Subject) -> Verdict:
    """The Hessian at the optima of ordinary problems."""
    outside = not_a_risk(subject, KEY)
    if outside is not None:
        return outside
    bandit, optima = ordinary(subject)
    conditions = f"{described(subject)}; exact derivatives; ratios beyond 5e15 are not resolved"
    if not optima.exists.any():
        return Verdict(KEY, NOT_APPLICABLE, "it has no optimum on ordinary problems", conditions)
    ratios = np.stack(
        [
            np.where(
                optima.exists[k],
                condition(Local(subject, bandit, float(lam)).expand(optima.log_policies[k]), optima.single[k]),
                np.nan,
            )
            for k, lam in enumerate(LAMS)
        ]
    )
    smooth = ~np.isnan(ratios)
    if smooth.sum() < 0.5 * optima.exists.sum():
        return Verdict(KEY, NOT_APPLICABLE, "its optima lie on kinks, where there is no curvature", conditions)
    medians = np.array([middle(row) for row in ratios])
    usual, worst = middle(ratios), int(np.nanargmax(medians))
    evidence = {
        "median ratio of curvatures": usual,
        **{f"median at λ = {lam:g}": float(x) for lam, x in zip(LAMS, medians, strict=True)},
        "largest": float(ratios[smooth].max()),
        "optima": int(optima.exists.sum()),
        "of these on a kink": int(optima.exists.sum() - smooth.sum()),
    }
    answer = f"{usual:.2g}"
    if medians[worst] <= THRESHOLD:
        summary = (
            f"the median ratio of curvatures at the optimum is {usual:.2g}, and at most {medians[worst]:.2g} at any λ"
        )
        return Verdict(KEY, HOLDS, summary, conditions, evidence, answer=answer)
    mildest = int(np.flatnonzero(np.nan_to_num(medians) > THRESHOLD)[-1])  # at the largest lambda, where it is least
    example = _shown(subject, float(LAMS[mildest]), ratios[mildest])
    exceeding = _told_apart(ratios[mildest], optima.bound[mildest], optima.policies[mildest])
    if example is None:
        why = "curvatures seem to be far apart, but no example could be written down"
        return Verdict(KEY, CANNOT_TELL, why, conditions, evidence, answer=answer)
    return Verdict(
        KEY,
        FAILS,
        f"half of the problems have curvatures at least {medians[mildest]:.2g} times apart at λ = {LAMS[mildest]:g}, "
        f"and {medians[worst]:.2g} at λ = {LAMS[worst]:g}",
        conditions,
        evidence,
        example,
        PROVEN if 2 * exceeding.sum() > len(exceeding) else EVIDENCE,
        severity=measured("times apart", ratios, least=THRESHOLD),
        answer=answer,
    )


def _told_apart(ratios: Floats, bound: Floats, policies: Floats) -> Mask:
    """Whether curvatures are proven to be farther apart than the threshold, (P,): neither what the optimum's error does
    to log-probabilities, and so to them, nor rounding, relative to the largest, reaches a thousandth of the least."""
    with np.errstate(invalid="ignore", divide="ignore"):
        off = bound / policies.min(axis=-1)
        return np.asarray((ratios > 1.01 * THRESHOLD) & (ratios * (off + 1e-15) < 1e-3))


def _shown(subject: Subject, lam: float, ratios: Floats) -> Counterexample | None:
    """The problem that is in the middle of those that are worse than the threshold."""
    bandit, _ = ordinary(subject)
    bad = np.flatnonzero(np.nan_to_num(ratios) > THRESHOLD)
    p = int(bad[np.argsort(ratios[bad])[len(bad) // 2]])

    def ratio(one: object) -> float:
        optima = subject.optima(one, [lam])  # type: ignore[arg-type]
        local = Local(subject, one, lam).expand(optima.log_policies[0])  # type: ignore[arg-type]
        return float(condition(local, optima.single[0])[0]) if optima.exists[0, 0] else float("nan")

    one = tidy(subject, bandit, p, lambda x: ratio(x) > THRESHOLD)
    found = ratio(one)
    if not found > THRESHOLD:
        return None
    reference, optimal = (x[0].tolist() for x in (one.reference, pi_star(one)))
    code = "\n".join(
        [
            f"import torch\n{subject.imports}",
            "",
            f"bandit, lam = ea.Bandit({reference}, {optimal}), {lam!r}",
            f"loss = {subject.expression}",
            "theta = torch.tensor(ea.solve(loss, bandit).log_policy)",
            "value = lambda theta: ea.risk(loss, bandit, theta.log_softmax(-1))",
            "curvature = torch.linalg.eigvalsh(torch.autograd.functional.hessian(value, theta))",
            "print(curvature)  # the smallest is that of the shift of all logits",
            f"assert curvature[-1] > {THRESHOLD:g} * curvature.abs().sort().values[1]",
        ]
    )
    numbers = {"reference": reference, "optimal": optimal, "lam": lam, "ratio of curvatures": found}
    return Counterexample(f"curvatures at the optimum are {found:.3g} times apart (λ = {lam:g})", numbers, code)
