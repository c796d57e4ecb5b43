"""Local minima: does every descent end in the minimum? [ours]

With two responses a policy is one number, t = log pi_1/pi_0, and the loss a curve that can be looked at from end to
end. It has a *trap* where it has a minimum that is not the lowest, or falls towards infinity though its lowest value is
elsewhere: gradient descent that starts on the wrong side of the ridge ends there, whatever its step. Where no curve has
one, more responses may: `circles` of win counts are looked at, and pairs beside a response that is `overlooked`. A
loss passes if nothing was seen, and by a theorem if it is convex in the logits, or in scores mu(pi/pi_ref) of a link,
which are a smooth change of coordinates, or in pi itself as RLHF is: a stationary point is then a minimum in all
coordinates, and of convex functions every minimum is the lowest, with any number of responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logsumexp

from ..._types import Floats
from ...bandit import Bandit
from ...losses import PairObjective, risk
from ..falsify.certify import is_trap
from ..falsify.problems import FAMILIES, pi_star
from ..ordinary import LAMS, alone, best_shown, measured, not_a_risk, tidy
from ..subject import Subject
from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Counterexample, Severity, Verdict
from . import circles, overlooked

KEY = "local_minima"
COUNT = 100
"""Problems with policies uniform on the simplex; fewer where a theorem excludes traps."""
AGAINST = (3.0, 5.0, 7.0, 9.0, 12.0)
PREFERRED = np.linspace(0.2, 6.0, 30)
"""Log-odds of pi_ref against what is preferred, and of pi* for it: where traps are that random policies seldom show."""
LARGE = np.array([3.0, 10.0, 30.0])
"""Lambdas that are looked at beside ordinary ones, which alone count for the severity."""
RIDGE = 1e-7
"""How much higher than a trap the ridge beside it must be, and the trap than the lowest value, relative to 1 + |F|."""


@dataclass(frozen=True)
class Trap:
    """A trap at log-ratio ``at``, the lowest point ``best``, and the ridge between them; with the values there.

    away: whether the trap is no minimum, but a stretch to one end on which the loss falls, or is level.
    """

    at: float
    ridge: float
    best: float
    values: tuple[float, float, float]
    away: bool


def log_ratios(reference: Floats, lam: float) -> Floats:
    """Where curves are looked at, (T, P): in units of 1/lam around pi_ref, in units of 1 around even odds."""
    own = np.log(reference[:, 1] / reference[:, 0])
    wide = 60 / lam * np.sinh(np.linspace(-8, 8, 601)) / np.sinh(8)
    plain = np.linspace(-40, 40, 801)
    return np.sort(
        np.concatenate([own + wide[:, None], np.broadcast_to(plain[:, None], (len(plain), len(own)))]), axis=0
    )


@np.errstate(all="ignore")
def curve(subject: Subject, bandit: Bandit, lam: float, t: Floats) -> tuple[Floats, Floats]:
    """Value and slope in t at log-ratios (T, P)."""
    at = torch.tensor(t, requires_grad=True)
    logs = torch.nn.functional.logsigmoid(torch.stack([-at, at], dim=-1))
    values = risk(subject.at(lam), bandit, logs)
    (slope,) = torch.autograd.grad(values.sum(), at, allow_unused=True)
    return values.detach().numpy(), np.zeros_like(t) if slope is None else slope.numpy()


def trap(t: Floats, value: Floats, slope: Floats) -> Trap | None:
    """The deepest trap of one curve, (T,) each; None where there is none, or no lowest point to miss."""
    finite = np.isfinite(value) & np.isfinite(slope)
    t, value, slope = t[finite], value[finite], slope[finite]
    if len(t) < 10:
        return None
    steep = np.flatnonzero(slope)  # a minimum may lie where the slope is 0 to the last digit
    turns = (slope[steep[:-1]] < 0) & (slope[steep[1:]] > 0)
    sides = zip(steep[:-1][turns], steep[1:][turns], strict=True)
    inner = [int(k + np.argmin(value[k : other + 1])) for k, other in sides]
    if not inner:
        return None  # no minimum at all
    ends = [k for k, open_ in ((0, slope[0] > 0), (len(t) - 1, slope[-1] < 0)) if open_]
    best = min(inner, key=lambda k: float(value[k]))
    scale = RIDGE * (1 + abs(value[best]))
    if any(value[k] < value[best] + scale for k in ends):
        return None  # what is lowest is not reached
    found: list[tuple[float, Trap]] = []
    for k in (*inner, *ends):
        if k == best:
            continue
        low, high = sorted((k, best))
        ridge = low + int(np.argmax(value[low : high + 1]))
        if value[ridge] - value[k] > scale and value[k] - value[best] > scale:
            values = (float(value[k]), float(value[ridge]), float(value[best]))
            beyond = value[: k + 1] if k < best else value[k:]  # the side of the trap on which the lowest point is not
            level = bool(beyond.max() - value[k] <= scale)
            found.append((value[ridge] - value[k], Trap(float(t[k]), float(t[ridge]), float(t[best]), values, level)))
    return max(found, key=lambda one: (not one[1].away, one[0]))[1] if found else None


def has_minimum(value: Floats) -> bool:
    """Whether the lowest value of a curve (T,) lies inside, and not at an end."""
    ends = min(value[0], value[-1])
    return (
        bool(np.nanmin(value) < ends - RIDGE * (1 + abs(ends))) if np.isfinite(ends) else bool(np.isfinite(value).any())
    )


def lopsided(preferred: Floats) -> Bandit:
    """Every pair of `AGAINST` and log-odds of pi* (P,)."""
    against, towards = (x.ravel() for x in np.meshgrid(AGAINST, preferred))
    return Bandit(*(np.stack([expit(x), expit(-x)], axis=1) for x in (-against, towards)))


def judge(subject: Subject) -> Verdict:
    """Curves of random problems of two responses."""
    outside = not_a_risk(subject, KEY)
    if outside is not None:
        return outside
    families = {
        "moderate": FAMILIES["moderate"].draw(subject.rng(KEY), COUNT // 5 if subject.fast else COUNT, 2),
        "lopsided": lopsided(PREFERRED[:: 5 if subject.fast else 1]),
    }
    count = sum(len(bandit.reference) for bandit in families.values())
    size, traps, minima = _looked_at(subject, families)
    conditions = (
        f"{count} problems of two responses, with policies uniform on the simplex, or a reference that is more and "
        f"more against what is preferred; λ from {LAMS[0]:g} to {LARGE[-1]:g}; values and slopes at 1,402 policies, "
        f"log-ratios up to 60/λ; {circles.SEEN}; {overlooked.SEEN}; "
        "other problems of more responses, which may have traps where these have none, were not looked at"
    )
    ordinary = np.array(size["moderate"])[: len(LAMS)]
    evidence = {
        "share of problems with a trap, policies uniform on the simplex, λ up to 1": float(np.mean(ordinary > 0)),
        "policies uniform on the simplex, λ from 3 on": float(np.mean(np.array(size["moderate"])[len(LAMS) :] > 0)),
        "a reference against what is preferred, any λ": float(np.mean(np.array(size["lopsided"]) > 0)),
        "curves with a minimum": minima,
        "curves": count * (len(LAMS) + len(LARGE)),
    }
    if not traps:
        seen = list(circles.caught(subject)) if isinstance(subject.objective, PairObjective) else []
        if seen:
            return _on_circles(subject, seen, conditions, evidence)
        missed = overlooked.missed(subject) if isinstance(subject.objective, PairObjective) and not subject.fast else []
        if missed:
            return _overlooked(subject, missed, conditions, evidence)
    if not minima:
        summary = "no minimum to miss was seen: as far as the curves go, they are lowest at their ends"
        return Verdict(KEY, NOT_APPLICABLE, summary, conditions, evidence)
    if not traps:
        summary = "no minimum that is not the lowest was seen, on curves of two responses and on some problems of more"
        return Verdict(KEY, HOLDS, summary, conditions, evidence, answer="none seen")
    traps.sort(key=lambda one: (one[0] != "moderate", one[3].away, -one[3].values[1] + one[3].values[0]))
    example, proven = best_shown(_shown(subject, families[one[0]], *one[1:]) for one in traps[:5])
    answer = f"{np.mean(ordinary > 0):.1%} of problems" if (ordinary > 0).any() else "rare"
    if example is None:
        why = "minima that are not the lowest were seen, but not finely enough"
        return Verdict(KEY, CANNOT_TELL, why, conditions, evidence, answer=answer)
    return Verdict(
        KEY,
        FAILS,
        "descent can end in a minimum that is not the lowest, with two responses already",
        conditions,
        evidence,
        example,
        PROVEN if proven else EVIDENCE,
        severity=measured(
            "TV", ordinary, max(max(row) for rows in size.values() for row in rows), of="two-response problems"
        ),
        answer=answer,
    )


def _looked_at(
    subject: Subject, families: dict[str, Bandit]
) -> tuple[dict[str, list[list[float]]], list[tuple[str, int, float, Trap]], int]:
    """How far traps are from the lowest minimum in TV (0: none), by family; they; how many curves have a minimum."""
    size: dict[str, list[list[float]]] = {name: [] for name in families}
    traps: list[tuple[str, int, float, Trap]] = []
    minima = 0
    for name, bandit in families.items():
        for lam in (*LAMS, *LARGE):
            t = log_ratios(bandit.reference, float(lam))
            value, slope = curve(subject, bandit, float(lam), t)
            minima += sum(map(has_minimum, value.T))
            found = [trap(*one) for one in zip(t.T, value.T, slope.T, strict=True)]
            size[name].append([0.0 if x is None else float(abs(expit(x.at) - expit(x.best))) for x in found])
            traps += [(name, p, float(lam), x) for p, x in enumerate(found) if x is not None]
    return size, traps, minima


def _on_circles(subject: Subject, seen: list[circles.Caught], conditions: str, evidence: dict[str, Any]) -> Verdict:
    """ "fails" by a circle; of each number of responses the first is tried."""
    few = {one.bandit.n: one for one in reversed(seen)}
    example, proven = best_shown(circles.shown(subject, few[n]) for n in sorted(few))
    away = max(float(np.abs(np.exp(x.lower - logsumexp(x.lower)) - 1 / x.bandit.n).sum()) / 2 for x in seen)
    return Verdict(
        KEY,
        FAILS,
        f"descent can end in a minimum that is not the lowest, on win counts of {min(few)} responses",
        conditions,
        evidence | {"circles with a trap": f"{len(seen)} of {len(circles.RESPONSES) * len(LAMS)}"},
        example,
        PROVEN if proven else EVIDENCE,
        severity=Severity("TV", 0.0, 0.0, away, of="two-response problems"),
        answer="rare",
    )


def _overlooked(
    subject: Subject, missed: list[overlooked.Missed], conditions: str, evidence: dict[str, Any]
) -> Verdict:
    """ "fails" by three responses, of which one is hardly compared."""
    example, proven = best_shown(overlooked.attempts(subject, missed))
    if example is None:
        why = "minima that are not the lowest were seen, but no ridge around them"
        return Verdict(KEY, CANNOT_TELL, why, conditions, evidence)
    away = max(float(np.abs(np.exp(x.trap) - np.exp(x.lower)).sum()) / 2 for x in missed)
    count = len(overlooked.problems().reference) * len(overlooked.LAMS)
    return Verdict(
        KEY,
        FAILS,
        "descent can end in a minimum that is not the lowest, with three responses",
        conditions,
        evidence | {"problems of three responses with a trap": f"{len(missed)} of {count}"},
        example,
        PROVEN if proven else EVIDENCE,
        severity=Severity("TV", 0.0, 0.0, away, of="two-response problems"),
        answer="rare",
    )


def _shown(subject: Subject, bandit: Bandit, p: int, lam: float, seen: Trap) -> tuple[Counterexample | None, bool]:
    """The trap once more, of a problem with rounder numbers, and whether intervals prove it."""

    def again(one: Bandit) -> Trap | None:
        t = log_ratios(one.reference, lam)
        value, slope = curve(subject, one, lam, t)
        return trap(t[:, 0], value[:, 0], slope[:, 0])

    def same(one: Bandit) -> bool:
        found = again(one)
        return found is not None and found.away == seen.away

    one = tidy(subject, bandit, p, same)
    found = again(one)
    if found is None:
        return None, False
    log_ratios_shown = [round(x, 6) for x in (found.at, found.ridge, found.best)]
    values = curve(subject, one, lam, np.array(log_ratios_shown)[:, None])[0][:, 0]
    if not values[1] > values[0] > values[2]:
        return None, False
    reference, optimal = (x[0].tolist() for x in (one.reference, pi_star(one)))
    code = "\n".join(
        [
            f"import torch\n{subject.imports}",
            "",
            f"bandit, lam = ea.Bandit({reference}, {optimal}), {lam!r}",
            f"t = torch.tensor({log_ratios_shown}, dtype=torch.float64)  # log pi_1/pi_0: trap, ridge, lowest point",
            "logs = torch.nn.functional.logsigmoid(torch.stack([-t, t], dim=-1))",
            f"values = ea.risk({subject.expression}, bandit, logs).tolist()",
            "print(values)",
            "assert values[1] > values[0] > values[2]",
        ]
    )
    numbers = {
        "reference": reference,
        "optimal": optimal,
        "lam": lam,
        "log-ratios of trap, ridge and lowest point": log_ratios_shown,
        "values": values.tolist(),
    }
    what = "does not rise any more from" if found.away else "has a minimum at"
    statement = (
        f"the loss {what} log π_1/π_0 = {found.at:.4g}, with the value {values[0]:.6g}, behind a ridge of "
        f"{values[1]:.6g}; its lowest value is {values[2]:.6g} at {found.best:.4g} (λ = {lam:g})"
    )
    at_trap, at_ridge, at_best = log_ratios_shown
    return Counterexample(statement, numbers, code), is_trap(subject, alone(one), lam, at_trap, at_ridge, at_best)
