"""Label noise: does what clean labels improve stay improved when some of them are flipped? [ours]

A share e of the labels is flipped at random: p becomes (1 - 2e) p + e, which reverses no preference as long as e is
below one half. Every loss that listens to its data moves. What matters is whether it still leaves the policy better
off: on problems where the optimum of clean labels is nearer to pi* than pi_ref is, in KL(pi || pi*), that of noisy ones
should be no farther than pi_ref. The yardstick is that of `improvement`; the premise keeps losses that harm even with
clean labels from being blamed on the noise. How far the optimum moves is a number, in TV, at 10, 20 and 40 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import numpy as np
from scipy.special import entr

from ..._types import Floats, Mask
from ...bandit import Bandit
from ...divergences import kl, total_variation
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
    with_wins,
)
from ..subject import Optima, Subject
from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Counterexample, Verdict

KEY = "label_noise"
FLIPS = (0.1, 0.2, 0.4)
TOLD = 0.2
"""The share of flips that the answer is about."""
SLACK = 1e-6
"""Nats that count as nothing."""


def noisy(subject: Subject, bandit: Bandit, flips: float) -> Bandit:
    """The same problems with a share of the labels flipped."""
    return with_wins(subject.objective, bandit, (1 - flips) * bandit.wins + flips * np.swapaxes(bandit.wins, 1, 2))


def nearer(bandit: Bandit, optima: Optima) -> Floats:
    """KL(pi_ref || pi*) - KL(pi || pi*), (L, P); nan where there is no single optimum."""
    best = np.log(pi_star(bandit))
    found = kl(np.log(bandit.reference), best) - kl(optima.log_policies, best)
    return np.where(optima.single, found, np.nan)


def flipped(subject: Subject, bandit: Bandit, clean: Optima) -> tuple[Floats, Floats]:
    """How much farther from pi* than pi_ref noise makes what clean labels improve, in nats, and how far it moves the
    optimum, in TV: (flips, L, P) each, nan where there is no single optimum or no improvement."""
    harms, moved, improved = [], [], nearer(bandit, clean) > SLACK
    for flips in FLIPS:
        found = subject.optima(noisy(subject, bandit, flips), LAMS)
        both = clean.single & found.single
        moved.append(np.where(both, total_variation(found.policies, clean.policies), np.nan))
        harms.append(np.where(both & improved, np.maximum(-nearer(bandit, found), 0.0), np.nan))
    return np.stack(harms), np.stack(moved)


def judge(subject: Subject) -> Verdict:
    """Optima with and without noise on ordinary problems."""
    outside = not_a_risk(subject, KEY)
    if outside is not None:
        return outside
    bandit, clean = ordinary(subject)
    improved = nearer(bandit, clean)
    conditions = f"{described(subject)}; 10, 20 and 40 % of the labels flipped at random"
    if np.isnan(improved).all():
        return Verdict(KEY, NOT_APPLICABLE, "it has no optimum on ordinary problems", conditions)
    if not (improved > SLACK).any():
        return Verdict(KEY, NOT_APPLICABLE, "nothing is lost, as clean labels improve nothing either", conditions)
    evidence: dict[str, object] = {"share of problems that clean labels improve": _share(improved > SLACK, improved)}
    size, moved = subject.once((KEY, RESPONSES), lambda: flipped(subject, bandit, clean))
    for flips, harm, apart in zip(FLIPS, size, moved, strict=True):
        evidence[f"{flips:.0%} flips: TV from the optimum of clean labels, median"] = middle(apart)
        evidence[f"{flips:.0%} flips: share of what clean labels improve that is worse than π_ref"] = _share(
            harm > SLACK, harm
        )
    largest = float(np.fmax.reduce(moved, axis=None))
    answer = "unmoved" if largest <= 1e-9 else f"{middle(moved[FLIPS.index(TOLD)]):.2g} TV at {TOLD:.0%}"
    if (~np.isnan(size)).sum() < 0.5 * len(FLIPS) * (improved > SLACK).sum():
        return Verdict(KEY, CANNOT_TELL, "noisy labels leave too few optima", conditions, evidence, answer=answer)
    if not (size > SLACK).any():
        summary = "no flips of up to 40% of the labels made worse than π_ref what clean labels improve"
        if largest <= 1e-9:
            summary = "its optimum does not depend on who won, so that flipped labels do not move it"
        return Verdict(KEY, HOLDS, summary, conditions, evidence, answer=answer)
    example, proven = best_shown(_attempts(subject))
    if example is None:
        return Verdict(KEY, CANNOT_TELL, "the policies found are not the optima", conditions, evidence, answer=answer)
    return Verdict(
        KEY,
        FAILS,
        f"noise can make worse than π_ref what clean labels improve (first seen at {_first(size):.0%} flips)",
        conditions,
        evidence,
        example,
        PROVEN if proven else EVIDENCE,
        severity=measured("nats", size, least=SLACK, of="ordinary problems that clean labels improve"),
        answer=answer,
    )


def _share(seen: Mask, of: Floats) -> float:
    """The share of ``seen`` where ``of`` is known."""
    known = ~np.isnan(of)
    return float(seen[known].mean()) if known.any() else float("nan")


def _first(size: Floats) -> float:
    """The smallest share of flips at which some problem is harmed."""
    return FLIPS[int(np.argmax((size > SLACK).any(axis=(1, 2))))]


def _attempts(subject: Subject) -> Iterator[tuple[Counterexample | None, bool]]:
    """Examples of four responses, and of fewer where it takes branch and bound to prove one."""
    for responses in (RESPONSES, 3, 2):
        bandit, clean = ordinary(subject, responses=responses)
        size, _ = subject.once((KEY, responses), partial(flipped, subject, bandit, clean))
        if (size > SLACK).any():
            yield _shown(subject, bandit, size)


def _shown(subject: Subject, bandit: Bandit, size: Floats) -> tuple[Counterexample | None, bool]:
    """The problem that suffers most from the smallest share of flips that does harm, and whether it is proven."""
    flips = _first(size)
    k, p = np.unravel_index(np.nanargmax(size[FLIPS.index(flips)]), size.shape[1:])
    lam = float(LAMS[k])

    @cache
    def both(one: Bandit) -> tuple[Optima, Optima]:
        return subject.optima(one, [lam]), subject.optima(noisy(subject, one, flips), [lam])

    def gains(one: Bandit) -> tuple[float, float]:
        clean, other = both(one)
        return float(nearer(one, clean)[0, 0]), float(nearer(one, other)[0, 0])

    def fails(one: Bandit) -> bool:
        clean, other = gains(one)
        return clean > 1e-4 and other < -1e-4

    one = tidy(subject, bandit, int(p), fails)
    (clean, other), (first, second) = gains(one), both(one)
    if not (believable(subject, one, first) and believable(subject, noisy(subject, one, flips), second)):
        return None, False
    reference, optimal = (x[0].tolist() for x in (one.reference, pi_star(one)))
    rewards = (
        ", rewards=np.log(bandit.optimal)" if with_wins(subject.objective, one, one.wins).rewards is not None else ""
    )
    code = "\n".join(
        [
            f"{subject.imports}\nfrom scipy.special import rel_entr  # p log(p/q), 0 where p is",
            "",
            f"bandit, lam, flips = ea.Bandit({reference}, {optimal}), {lam!r}, {flips}",
            "wins = (1 - flips) * bandit.wins + flips * bandit.wins.T",
            f"noisy = ea.Bandit.from_counts(bandit.reference, wins{rewards})",
            f"policies = [ea.solve({subject.expression}, data).policy for data in (bandit, noisy)]",
            "distance = [rel_entr(p, bandit.optimal).sum() for p in (*policies, bandit.reference)]",
            "print('KL to pi* of clean labels, of noisy ones, of the reference:', distance)",
            "assert distance[0] < distance[2] < distance[1]",
        ]
    )
    statement = (
        f"with {flips:.0%} of the labels flipped the optimum is {-other:.3g} nats farther from π* than π_ref is, with "
        f"clean labels {clean:.3g} nats nearer (λ = {lam:g})"
    )
    numbers = {"reference": reference, "optimal": optimal, "lam": lam, "flips": flips, "gain": clean, "harm": -other}
    noise = noisy(subject, one, flips)
    near = min(clean, -other) / 100  # in 1-norm, of which some twenty times can be added
    added = [_added(one, error_bound(subject, data, x, near)) for data, x in ((one, first), (noise, second))]
    return Counterexample(statement, numbers, code), added[0] < clean and added[1] < -other


def _added(bandit: Bandit, bound: float) -> float:
    """How much KL(pi || pi*) can change as pi moves by T = ``bound``/2 in TV: by T log(n - 1) + h(T) for the entropy,
    where h is that of a coin (Audenaert 2007), and by ``bound`` times the largest |log pi*|."""
    if not bound < 1:
        return np.inf
    moved, n = bound / 2, bandit.n
    entropy = moved * np.log(n - 1) + float(entr(moved) + entr(1 - moved))
    return entropy + bound * float(np.abs(np.log(pi_star(bandit))).max())
