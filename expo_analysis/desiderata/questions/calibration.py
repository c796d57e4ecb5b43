"""Calibration: at the optimum, is the loss's own model of preferences right? [ours]

A loss of the form -log sigma(m) is the likelihood of a model: P(w > l) = sigma(m). DPO's is that of its implicit
reward, m = lam hbar, EXPO's that of the policy itself, m = h. Whoever takes such a loss takes this P for the
preference, to score answers or to filter data. Another loss that reads the reference is taken to have DPO's implicit
reward, lam log pi/pi_ref, which is what trainers log; one that reads log pi only, or has an explicit regulariser, the
policy's own log-ratio. The loss is *calibrated* if P at its optimum on a population is p*. The number is the expected
calibration error, |P - p*| averaged over the pairs, at ordinary lambdas. Constants inside of sigma, such as SimPO's
margin, are no part of P, which could not add up to one with them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache

import numpy as np
from scipy.special import expit

from ..._types import Floats
from ...bandit import Bandit
from ...losses.facts import BoundTerm
from ...losses.psi import Logistic
from ...losses.statistics import THIRD
from ..falsify.problems import pi_star
from ..ordinary import (
    LAMS,
    RESPONSES,
    believable,
    best_shown,
    described,
    error_bound,
    measured,
    middle,
    not_a_risk,
    ordinary,
    tidy,
)
from ..subject import Optima, Subject, facts_of
from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Counterexample, Verdict

KEY = "calibration"
SLACK = 1e-9


def own_model(subject: Subject, lam: float) -> tuple[str, float]:
    """The score that P is made of, ``"hbar"``, ``"h"``, or ``"mu"`` of the link, and what it is multiplied by."""
    facts = facts_of(subject.at(lam))
    likelihoods = [term for term in facts.bound if type(term.psi) is Logistic]
    if len(likelihoods) == 1 and (found := _difference(likelihoods[0])) is not None:
        kind, scale = found
        if kind != "mu" or facts.link is not None:
            return kind, scale
    relative = [atom.relative for term in facts.bound for _, atom in term.statistic.parts]
    if facts.regulariser is not None or not (any(relative) if relative else facts.needs_reference):
        return "h", 1.0
    return ("mu" if facts.link is not None and not facts.log_ratio_only else "hbar"), lam


def _difference(term: BoundTerm) -> tuple[str, float] | None:
    """The atom of a term that reads the same atom of winner and loser, and its coefficient; None for any other."""
    size: dict[str, float] = {}
    for c, atom in term.statistic.parts:  # on plain pairs a third response is the winner
        slot = "w" if atom.slot == THIRD else atom.slot
        size[slot] = size.get(slot, 0.0) + c
    atoms = [dataclasses.replace(atom, slot="w") for _, atom in term.statistic.parts]
    if set(size) != {"w", "l"} or abs(size["w"] + size["l"]) > 1e-12 or any(atom != atoms[0] for atom in atoms):
        return None
    kind = ("hbar" if atoms[0].relative else "h") if atoms[0].plain else "mu"
    return (kind, float(term.scale) * size["w"]) if np.ndim(term.scale) == 0 else None


def modelled(subject: Subject, bandit: Bandit, lam: float, log_policy: Floats) -> Floats:
    """P(i > j) by the loss's own model, (P, n, n)."""
    score = scores(subject, bandit, lam, log_policy)
    return _more_than(score, score)


def scores(subject: Subject, bandit: Bandit, lam: float, log_policy: Floats) -> Floats:
    """What the model's log-odds are differences of, (P, n): increasing in each probability."""
    kind, scale = own_model(subject, lam)
    log_u = log_policy - np.log(bandit.reference)
    if kind == "mu":
        link = facts_of(subject.at(lam)).link
        assert link is not None
        return np.asarray(scale * link.mu(log_u))
    return np.asarray(scale * (log_u if kind == "hbar" else log_policy))


def _more_than(winner: Floats, loser: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(expit(winner[:, :, None] - loser[:, None, :]))


def least_error(subject: Subject, bandit: Bandit, lam: float, policy: Floats, bound: float) -> float:
    """A lower bound of the expected calibration error of one prompt where no probability is off by more than ``bound``:
    each pair's model is between those of the extremes, as scores rise with probabilities."""
    with np.errstate(divide="ignore"):
        low, high = (scores(subject, bandit, lam, np.log(np.clip(x, 0, 1))) for x in (policy - bound, policy + bound))
    right, least, most = preferences(bandit), _more_than(low, high), _more_than(high, low)
    apart = np.maximum(np.maximum(least - right, right - most), 0.0)
    return float((bandit.pairs * np.nan_to_num(apart)).sum())


def preferences(bandit: Bandit) -> Floats:
    """P*(i > j), (P, n, n)."""
    best = pi_star(bandit)
    return np.asarray(best[:, :, None] / (best[:, :, None] + best[:, None, :]))


def errors(subject: Subject, bandit: Bandit, optima: Optima) -> Floats:
    """The expected calibration error, (L, P)."""
    right = preferences(bandit)
    return np.stack(
        [
            (bandit.pairs * np.abs(modelled(subject, bandit, float(lam), optima.log_policies[k]) - right)).sum((1, 2))
            for k, lam in enumerate(optima.lams)
        ]
    )


def _slack(optima: Optima, scale: Floats) -> Floats:
    """What errors of the optima can add: d sigma <= scale/4 d(log pi_i - log pi_j), d log pi <= bound / pi."""
    bound = np.where(np.isfinite(optima.bound), optima.bound, 1e-6)
    return np.asarray(SLACK + scale * bound / np.maximum(np.exp(optima.log_policies.min(axis=-1)), 1e-300))


def judge(subject: Subject) -> Verdict:
    """The model's probabilities at the optima of ordinary problems."""
    outside = not_a_risk(subject, KEY)
    if outside is not None:
        return outside
    models = [own_model(subject, float(lam)) for lam in LAMS]
    named = {"h": "σ(c log π_w/π_l)", "hbar": "σ(c log u_w/u_l)", "mu": "σ(c (f'(u_w) - f'(u_l)))"}
    scales = " to ".join(dict.fromkeys(f"{scale:g}" for _, scale in (models[0], models[-1])))
    conditions = f"{described(subject)}; P(w > l) is {named[models[0][0]]}, u = π/π_ref, c = {scales}"
    optima, size, seen = _measured(subject, RESPONSES)
    if not optima.single.any():
        return Verdict(KEY, NOT_APPLICABLE, "it has no single optimum on ordinary problems", conditions)
    usual = middle(size)
    evidence = {
        "expected calibration error, median": usual,
        "largest": float(np.nanmax(size)),
        **{f"median at λ = {lam:g}": middle(row) for lam, row in zip(LAMS, size, strict=True)},
    }
    answer = f"{usual:.2g}" if usual > SLACK else "exact"
    if not (seen > 0).any():
        proven = np.isfinite(optima.bound)[optima.single]
        if optima.single.mean() < 0.9 or proven.mean() < 0.9 or np.nanmax(size) > 1e-3:
            why = "its preferences seem to be right, but the optima are not proven"
            return Verdict(KEY, CANNOT_TELL, why, conditions, evidence, answer=answer)
        return Verdict(
            KEY, HOLDS, "its own model of preferences is right at the optimum", conditions, evidence, answer="exact"
        )
    example, proven_one = best_shown(_attempts(subject))
    if example is None:
        return Verdict(KEY, CANNOT_TELL, "the policies found are not the optima", conditions, evidence, answer=answer)
    return Verdict(
        KEY,
        FAILS,
        f"its model of preferences is off by {usual:.2g} on average at the optimum",
        conditions,
        evidence,
        example,
        PROVEN if proven_one else EVIDENCE,
        severity=measured("in probability", size, least=1e-6),
        answer=answer,
    )


def _measured(subject: Subject, responses: int) -> tuple[Optima, Floats, Floats]:
    """The optima of ordinary problems, their errors (L, P), nan where there is no single one, and what of these is more
    than the optima's own errors can add."""
    bandit, optima = ordinary(subject, responses=responses)
    size = np.where(optima.single, errors(subject, bandit, optima), np.nan)
    return optima, size, size - _slack(optima, np.abs([[own_model(subject, float(lam))[1]] for lam in LAMS]))


def _attempts(subject: Subject) -> Iterator[tuple[Counterexample | None, bool]]:
    """Examples of four responses, and of fewer where it takes branch and bound to prove one: those with the largest
    error beyond what the optimum's own can add, which is much where probabilities are tiny."""
    for responses in (RESPONSES, 3, 2):
        _, size, seen = _measured(subject, responses)
        if (seen > 0).any():
            k, p = np.unravel_index(np.nanargmax(seen), seen.shape)
            bandit, _ = ordinary(subject, responses=responses)
            yield _shown(subject, bandit, int(p), float(LAMS[k]), float(size[k, p]))


def _shown(subject: Subject, bandit: Bandit, p: int, lam: float, size: float) -> tuple[Counterexample | None, bool]:

    @cache
    def error(one: Bandit) -> tuple[float, Optima]:
        optima = subject.optima(one, [lam])
        return float(errors(subject, one, optima)[0, 0]), optima

    one = tidy(subject, bandit, p, lambda x: error(x)[0] > 0.7 * size)
    found, optima = error(one)
    if not believable(subject, one, optima):
        return None, False
    kind, scale = own_model(subject, lam)
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
    bound = error_bound(subject, one, optima, found * float(optima.policies.min()) / max(scale, 1.0))
    return Counterexample(statement, numbers, code), least_error(
        subject, one, lam, optima.policies[0], bound
    ) > found / 2
