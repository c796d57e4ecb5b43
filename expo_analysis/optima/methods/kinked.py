"""Logistic losses with a penalty on winners that have lost mass, as DPOP: one problem after the other.

No error bound is proven, but that the conditions for a minimum of a convex problem hold; see `optima.shortfall`.
"""

from __future__ import annotations

import numpy as np

from ..._types import Floats, Mask
from ...losses.psi import Logistic
from ...losses.statistics import LogRatioToReference, Shortfall, is_number
from ..found import Found, named, texts
from ..problem import Problem
from ..shortfall import KinkedOptimum, KinkedProblem, kinked_optimum
from ..solution import Certificate, Status

NAME = "auto"


def accepts(problem: Problem) -> bool:
    """One logistic term of lam (hbar + penalty min(log u_w, 0)), and nothing else."""
    terms = problem.facts.terms.terms
    if len(terms) != 1 or problem.target is not None or problem.divergence is not None or not problem.general:
        return False
    (term,) = terms
    plain = is_number(term.weight, 1) and is_number(term.statistic.centre, 0) and is_number(term.statistic.offset, 0)
    psi = term.psi
    logistic = type(psi) is Logistic and is_number(psi.kept, 1) and is_number(psi.flipped, 0)
    return plain and logistic and _penalty(problem) is not None


def _penalty(problem: Problem) -> float | None:
    (term,) = problem.facts.terms.terms
    found = {(type(atom), atom.slot): c for c, atom in term.statistic.parts}
    known = {(LogRatioToReference, "w"), (LogRatioToReference, "l"), (Shortfall, "w")}
    if set(found) != known or (found[LogRatioToReference, "w"], found[LogRatioToReference, "l"]) != (1.0, -1.0):
        return None
    return found[Shortfall, "w"] if found[Shortfall, "w"] > 0 else None


def solve(problem: Problem) -> Found:
    """The minimisers, or the limits of minimising sequences."""
    penalty = _penalty(problem)
    assert penalty is not None
    scale = np.broadcast_to(np.asarray(problem.facts.terms.terms[0].statistic.scale, dtype=np.float64), problem.size)
    log_policy = np.empty_like(problem.log_reference)
    status, certificate, message = (texts("", problem.size) for _ in range(3))
    for b in range(problem.size):
        one = KinkedProblem(
            problem.edges, problem.weight[:, b], float(scale[b]), penalty, np.exp(problem.log_reference[:, b])
        )
        found, kept = _among_kept(one)
        x, is_open = _whole(one, found, kept)
        with np.errstate(invalid="ignore", divide="ignore"):
            at = problem.log_reference[:, b] + x
            log_policy[:, b] = at - np.log(np.exp(at - at.max()).sum()) - at.max()
        status[b], certificate[b], message[b] = _verdict(found, is_open, *_lost(problem, one, b))
    nothing, steps = np.full(problem.size, np.nan), np.zeros(problem.size, dtype=np.intp)
    return Found(log_policy, nothing, steps, status, certificate, message, np.zeros(problem.size, dtype=bool))


def _among_kept(one: KinkedProblem) -> tuple[KinkedOptimum, Mask]:
    """The minimiser over the responses that are held up, and which these are, (n,); all where nothing is compared."""
    falling, unseen = one.falling, ~one.compared
    if unseen.all():
        return KinkedOptimum(np.zeros(len(unseen)), True, False), unseen
    if (falling | unseen).all():  # nothing is held up: what never loses takes all, in proportion to the reference
        kept = one.unbeaten
        return KinkedOptimum(np.full(int(kept.sum()), -np.log(one.reference[kept].sum())), True, False), kept
    kept = ~(falling | unseen)
    return kinked_optimum(one.among(kept)), kept


def _whole(one: KinkedProblem, found: KinkedOptimum, kept: Mask) -> tuple[Floats, bool]:
    """log pi/pi_ref (n,) of all responses; whether the mass of those that are in no comparison is open.

    If more mass is of use to those that are held up, what nobody compares falls too; else its mass is open, and taken
    to be in proportion to the reference, as near to its own as the others leave it.
    """
    falling, unseen = one.falling, ~one.compared
    if unseen.all():  # any policy will do
        return found.x, True
    x = np.full(len(kept), -np.inf)
    x[kept] = found.x
    unused = found.nu <= 1e-9 * one.weight.sum() * one.lam
    if not (found.optimal and unseen.any() and not falling.any() and unused):
        return x, False
    share = min(float(found.x.min()), -float(np.log1p(-one.reference[unseen].sum())))
    x[kept] -= max(share, 0.0)
    rest = -np.expm1(np.log((one.reference[kept] * np.exp(x[kept])).sum()))
    x[unseen] = np.log(rest / one.reference[unseen].sum())
    return x, True


def _lost(problem: Problem, one: KinkedProblem, b: int) -> list[str]:
    """Responses that never win; those whose wins are of no use to them; those in no comparison; and all of them."""
    wins = one.edges.to_winner @ one.weight > 0
    kinds = [one.falling & ~wins, one.falling & wins, ~one.compared]
    return [named(problem, np.tile(kind[:, None], problem.size), b) for kind in (*kinds, np.any(kinds, axis=0))]


def _verdict(
    found: KinkedOptimum, is_open: bool, never: str, useless: str, unseen: str, every: str
) -> tuple[Status, Certificate, str]:
    if not found.optimal:
        return Status.FAILED, Certificate.NONE, "no point was found at which the conditions for a minimum hold"
    if is_open:
        text = f"responses {unseen} are in no comparison, and the objective leaves their mass open"
        return Status.NOT_UNIQUE, Certificate.CONDITIONS, text
    why = [f"responses {never} never win"] * bool(never)
    why += [f"wins of responses {useless} are over such responses only"] * bool(useless)
    why += [f"responses {unseen} are in no comparison, and the others can use their mass"] * bool(unseen)
    if why:
        text = (
            f"no minimiser: {', '.join(why)}; the loss falls as the probability of responses {every} tends to 0, and "
            "the policy is that limit"
        )
        return Status.NO_MINIMISER, Certificate.THEOREM, text
    if not found.unique:
        text = "a minimiser: the objective is convex and its conditions hold; there may be others"
        return Status.OPTIMAL, Certificate.CONDITIONS, text
    return Status.OPTIMAL, Certificate.CONDITIONS, "the minimiser: the objective is convex and its conditions hold"
