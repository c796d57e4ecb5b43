"""Calibration: at the optimum, is the loss's own model of preferences right? [ours]

A loss of the form -log sigma(m) is the likelihood of a model: P(w > l) = sigma(m). DPO's is that of its implicit reward,
m = lam hbar, EXPO's that of the policy itself, m = h. Whoever takes such a loss takes this P for the preference, to
score answers or to filter data. For a loss without such a model it is that of the policy, sigma(log pi_w/pi_l). The
loss is *calibrated* if P at its optimum on a population is p*. The number is the expected calibration error, |P - p*|
averaged over the pairs, at ordinary lambdas. Constants inside of sigma, such as SimPO's margin, are no part of P, which
could not add up to one with them.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from ..._types import Floats
from ...bandit import Bandit
from ...losses import Facts
from ...losses.psi import Logistic
from ..falsify.problems import pi_star
from ..ordinary import LAMS, measured, not_a_risk, ordinary, tidy
from ..subject import Optima, Subject, facts_of
from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Counterexample, Verdict

KEY = "calibration"
SLACK = 1e-9


def own_model(facts: Facts) -> tuple[str, float] | None:
    """The statistic of a loss's own model and its scale: ``"hbar"``, ``"h"``, or ``"mu"`` of the link; None without."""
    likelihoods = [term for term in facts.bound if type(term.psi) is Logistic] if facts.terms.terms else []
    if len(likelihoods) != 1 or np.ndim(likelihoods[0].scale) != 0:
        return None
    (term,) = likelihoods
    atoms = [atom for _, atom in term.statistic.parts]
    relative = {atom.relative for atom in atoms}
    coefficients = {atom.slot: c for c, atom in term.statistic.parts}
    if len(atoms) != 2 or set(coefficients) != {"w", "l"} or len(relative) != 1 or type(atoms[0]) is not type(atoms[1]):
        return None
    if coefficients["w"] != -coefficients["l"]:
        return None
    scale = float(term.scale) * coefficients["w"]
    if all(atom.plain for atom in atoms):
        return ("hbar" if relative.pop() else "h"), scale
    return ("mu", scale) if facts.link is not None else None


def modelled(subject: Subject, bandit: Bandit, lam: float, log_policy: Floats) -> Floats:
    """P(i > j) by the loss's own model, (P, n, n)."""
    facts = facts_of(subject.at(lam))
    kind, scale = own_model(facts) or ("h", 1.0)
    log_u = log_policy - np.log(bandit.reference)
    if kind == "mu":
        assert facts.link is not None
        score = facts.link.mu(log_u)
    else:
        score = log_u if kind == "hbar" else log_policy
    with np.errstate(invalid="ignore"):
        return np.asarray(expit(scale * (score[:, :, None] - score[:, None, :])))


def errors(subject: Subject, bandit: Bandit, optima: Optima) -> Floats:
    """The expected calibration error, (L, P)."""
    best = pi_star(bandit)
    right = best[:, :, None] / (best[:, :, None] + best[:, None, :])
    return np.stack(
        [
            (bandit.pairs * np.abs(modelled(subject, bandit, float(lam), optima.log_policies[k]) - right)).sum((1, 2))
            for k, lam in enumerate(optima.lams)
        ]
    )


def _slack(bandit: Bandit, optima: Optima, facts_at: list[tuple[str, float] | None]) -> Floats:
    """What errors of the optima can add: d sigma <= scale/4 d(log pi_i - log pi_j), d log pi <= bound / pi."""
    scale = np.array([abs(found[1]) if found else 1.0 for found in facts_at])[:, None]
    bound = np.where(np.isfinite(optima.bound), optima.bound, 1e-6)
    return SLACK + scale * bound / np.maximum(np.exp(optima.log_policies.min(axis=-1)), 1e-300)


def judge(subject: Subject) -> Verdict:
    """The model's probabilities at the optima of ordinary problems."""
    outside = not_a_risk(subject, KEY)
    if outside is not None:
        return outside
    bandit, optima = ordinary(subject)
    models = [own_model(facts_of(subject.at(float(lam)))) for lam in LAMS]
    named = {None: "σ(log π_w/π_l), as the loss has no model of its own", "h": "σ of a multiple of log π_w/π_l"}
    named |= {"hbar": "σ of its implicit rewards' difference", "mu": "σ of its implicit rewards' difference"}
    conditions = (
        f"{len(bandit.reference)} ordinary problems (four responses, policies uniform on the simplex, all pairs equally "
        f"often), λ from {LAMS[0]:g} to {LAMS[-1]:g}; P(w > l) is {named[models[0] and models[0][0]]}"
    )
    if not optima.single.any():
        return Verdict(KEY, NOT_APPLICABLE, "it has no single optimum on ordinary problems", conditions)
    size = np.where(optima.single, errors(subject, bandit, optima), np.nan)
    seen = size - _slack(bandit, optima, models)
    middle = float(np.nanmedian(size))
    evidence = {
        "expected calibration error, median": middle,
        "largest": float(np.nanmax(size)),
        **{
            f"median at λ = {lam:g}": float(np.median(row[~np.isnan(row)])) if (~np.isnan(row)).any() else float("nan")
            for lam, row in zip(LAMS, size, strict=True)
        },
    }
    answer = f"{middle:.2g}" if middle > SLACK else "exact"
    if not (seen > 0).any():
        proven = np.isfinite(optima.bound)[optima.single]
        if optima.single.mean() < 0.9 or proven.mean() < 0.9 or np.nanmax(size) > 1e-3:
            why = "its preferences seem to be right, but the optima are not proven"
            return Verdict(KEY, CANNOT_TELL, why, conditions, evidence, answer=answer)
        return Verdict(KEY, HOLDS, "its own model of preferences is right at the optimum", conditions, evidence, answer="exact")
    k, p = np.unravel_index(np.nanargmax(np.where(np.isnan(seen), -1, size)), size.shape)
    example, proven_one = _shown(subject, int(p), float(LAMS[k]))
    return Verdict(
        KEY,
        FAILS,
        f"its model of preferences is off by {middle:.2g} on average at the optimum",
        conditions,
        evidence,
        example,
        PROVEN if proven_one else EVIDENCE,
        severity=measured("in probability", size, least=1e-6),
        answer=answer,
    )


def _shown(subject: Subject, p: int, lam: float) -> tuple[Counterexample, bool]:
    bandit, _ = ordinary(subject)

    def error(one: Bandit) -> float:
        return float(errors(subject, one, subject.optima(one, [lam]))[0, 0])

    whole = error(tidy(bandit, p, lambda one: False))
    one = tidy(bandit, p, lambda x: error(x) > 0.7 * whole)
    found, optima = error(one), subject.optima(one, [lam])
    kind, scale = own_model(facts_of(subject.at(lam))) or ("h", 1.0)
    reference, optimal = (x[0].tolist() for x in (one.reference, pi_star(one)))
    score = {
        "h": "log_policy",
        "hbar": "log_policy - np.log(bandit.reference)",
        "mu": "loss.facts.link.mu(log_policy - np.log(bandit.reference))",
    }[kind]
    code = "\n".join(
        [
            subject.imports,
            "",
            f"bandit, lam = ea.Bandit({reference}, {optimal}), {lam!r}",
            f"loss = {subject.expression}",
            "log_policy = ea.solve(loss, bandit).log_policy",
            f"score = {scale!r} * ({score})",
            "model = 1 / (1 + np.exp(np.clip(score - score[:, None], -700, 700)))",
            "error = (bandit.pairs * abs(model - bandit.preference)).sum()",
            "print('expected calibration error:', error)",
            f"assert error > {found / 2:.3g}",
        ]
    )
    numbers = {
        "reference": reference,
        "optimal": optimal,
        "lam": lam,
        "policy": optima.policies[0, 0].tolist(),
        "expected calibration error": found,
    }
    statement = f"P(w > l) is off by {found:.3g} on average over the pairs (λ = {lam:g})"
    return Counterexample(statement, numbers, code), bool(np.isfinite(optima.bound).all())
