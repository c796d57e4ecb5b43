"""Bare formulas, of which nothing is known but what torch finds: their losses and derivatives on a problem's edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._autograd import derivatives, tensor, values
from .._types import Floats
from ..losses.base import PairObjective
from .problem import Problem


def formula(problem: Problem) -> Callable[..., Any]:
    """A bare formula's loss of each edge as a function of log pi at its two ends, in torch."""
    objective = problem.objective
    assert isinstance(objective, PairObjective)
    needed = problem.facts.needs_reference or objective.data
    given: list[Any] = [tensor(problem.log_reference[end]) if needed else None for end in problem.edges.ends]
    given += [tensor(problem.datum[name]) for name in objective.data]
    loss = objective.with_lam(tensor(problem.lam)).one_per_pair
    return lambda logp_w, logp_l: loss(logp_w, logp_l, *given)


def losses(problem: Problem, logp: Floats) -> Floats:
    """A bare formula's losses at log-probabilities (n, B), (E, B)."""
    return values(formula(problem), *(logp[end] for end in problem.edges.ends))


def at_ends(problem: Problem, log_policy: Floats) -> tuple[Floats, list[Floats], list[list[Floats]]]:
    """A bare formula's losses at log pi (n, B), and their derivatives in log pi_w and log pi_l, (E, B) each."""
    return derivatives(formula(problem), *(log_policy[end] for end in problem.edges.ends))


def in_log_ratio(problem: Problem, x: Floats) -> tuple[Floats, Floats, Floats]:
    """Losses of a bare formula that reads log-ratios only, and their derivatives in x_w - x_l, (E, B) each."""
    loss, loser = formula(problem), tensor(x[problem.edges.loser])
    found, (first,), ((second,),) = derivatives(lambda x_w: loss(x_w, loser), x[problem.edges.winner])
    return found, first, second
