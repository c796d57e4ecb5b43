r"""Gradients of optima with respect to what their problem is made of, by the implicit function theorem.

The optimum pi = softmax(theta) has dF/dtheta = g(theta; z) = 0, where z is any of pi_ref, pi*, p*, q, counts and lam.
So for a function with the gradient c in pi,

    dL/dz = -v' dg/dz,    H v = (diag(pi) - pi pi') c,    H = d2F/dtheta2,

at the certified optimum, by torch's derivatives of the loss itself; those of v'g in lam by Richardson's extrapolation
of differences, to some 12 digits. Arguments are taken as `Bandit` takes them: pi_ref and counts are divided by their
sums, q is made symmetric and divided by its sum, and of pi* there are ratios only; gradients are of that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._checks import as_floats, check_shape
from .._types import Floats
from ..bandit import Bandit
from ..bandit.paired import Comparisons
from ..losses.base import PairObjective
from .inference import DENSE
from .sparse.newton import Solver
from .sparse.problem import System
from .sparse.solve import system_of_all

if TYPE_CHECKING:
    import torch

    from .solution import Solution

TOLERANCE = 1e-13
RELATIVE = 1e-3
"""Steps of lam, relative to it: what the extrapolation leaves is of the order of their fourth power."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """Of one number, in what the problem was made of; None for what it was not made of.

    reference, optimal: the shape of policies. preference, pairs, counts: of pairs, entries i, j and j, i together being
    what changes them both; of `Comparisons` counts has one number for each (winner, loser), of what one more such
    comparison does. lam: a number.
    """

    reference: Floats
    lam: float
    optimal: Floats | None = None
    preference: Floats | None = None
    pairs: Floats | None = None
    counts: Floats | None = None


def gradients(solution: Solution, weights: ArrayLike) -> Gradients:
    """See `Solution.gradients`."""
    import torch

    cotangent = as_floats("weights", weights)
    check_shape("weights", cotangent, solution.policy.shape)
    objective = _checked(solution)
    data = solution.bandit
    leaves = _leaves(data)
    theta = torch.tensor(solution.log_policy, dtype=torch.float64, requires_grad=True)
    policy = solution.policy
    pulled = policy * (cotangent - (policy * cotangent).sum(axis=-1, keepdims=True))
    slope = _slope(objective, data, theta, leaves, create_graph=True)
    system = system_of_all(objective, data) if isinstance(data, Comparisons) else None
    if system is not None:
        v = torch.as_tensor(_by_system(system, solution, pulled))
    elif data.n <= DENSE:
        v = torch.as_tensor(_by_matrix(slope, theta, pulled))
    else:
        raise ValueError(f"solution must be of responses that all hang together, as there are more than {DENSE:,}")

    def along(lam: float) -> float:
        return float((_slope(objective.with_lam(lam), data, theta, leaves) * v).sum())

    found = torch.autograd.grad(-(slope * v).sum(), list(leaves.values()), allow_unused=True, retain_graph=True)
    arrays = {
        name: np.zeros(tuple(leaf.shape)) if own is None else own.numpy()
        for (name, leaf), own in zip(leaves.items(), found, strict=True)
    }
    return Gradients(lam=-_derivative(along, float(objective.lam)), **arrays)


def _checked(solution: Solution) -> PairObjective:
    """The objective.

    Raises:
        ValueError: something of which there are no gradients here.
    """
    objective, bandit = solution.objective, solution.bandit
    plain = isinstance(objective, PairObjective) and not (objective.data or objective.auxiliary or objective.single)
    if not plain:
        raise ValueError(
            "solution must be of a loss of pairs that reads nothing but log-probabilities, such as EXPO, DPO or IPO; "
            f"got {type(objective).__name__}"
        )
    if isinstance(bandit, Bandit) and (bandit.liked, bandit.triples, bandit.choices) != (None, None, None):
        raise ValueError("solution must be on pairs, of a Bandit or of Comparisons")
    if solution.weights is not None:
        raise ValueError("solution must be over all policies, not over restricted ones")
    lacking = np.asarray(solution.status) != "optimal"
    if lacking.any():
        which = np.ravel(solution.status)[np.flatnonzero(np.ravel(lacking))[0]]
        raise ValueError(f"solution must be the one optimum, proven; it is {which}")
    assert isinstance(objective, PairObjective)
    return objective


def _leaves(data: Bandit | Comparisons) -> dict[str, torch.Tensor]:
    """What the problem is made of, as tensors of which there are to be gradients."""
    import torch

    if isinstance(data, Comparisons):
        made = {"reference": data.reference, "counts": data.weight}
    elif data.counts is not None:
        made = {"reference": data.reference, "counts": data.counts}
    elif data.optimal is not None:
        made = {"reference": data.reference, "optimal": data.optimal, "pairs": data.pairs}
    else:
        made = {"reference": data.reference, "preference": data.preference, "pairs": data.pairs}
    return {name: torch.tensor(array, dtype=torch.float64, requires_grad=True) for name, array in made.items()}


def _slope(
    objective: PairObjective,
    data: Bandit | Comparisons,
    theta: torch.Tensor,
    leaves: dict[str, torch.Tensor],
    create_graph: bool = False,
) -> torch.Tensor:
    """dF/dtheta, of the shape of policies."""
    import torch

    logp = torch.log_softmax(theta, dim=-1)
    reference = leaves["reference"]
    log_reference = torch.log(reference / reference.sum(dim=-1, keepdim=True))
    winner, loser, weight = _weights(data, leaves)
    ends = [one[..., end] for one in (logp, log_reference) for end in (winner, loser)]
    losses = objective.one_per_pair(*(end.contiguous() for end in ends))
    total = (weight * losses).sum()
    if objective.regulariser is not None:
        total = total + (objective.lam * objective.regulariser(logp, log_reference)).sum()
    [found] = torch.autograd.grad(total, theta, create_graph=create_graph)
    return found


def _weights(data: Bandit | Comparisons, leaves: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Winners, losers and weights (..., E) of ordered pairs, which sum to one."""
    import torch

    sides = (data.winner, data.loser) if isinstance(data, Comparisons) else data.edges[:2]
    winner, loser = map(torch.tensor, sides)
    if isinstance(data, Comparisons):
        return winner, loser, leaves["counts"] / leaves["counts"].sum()
    if "counts" in leaves:
        counts = leaves["counts"]
        return winner, loser, counts[..., winner, loser] / counts.sum(dim=(-1, -2))[..., None]
    if "optimal" in leaves:
        first, second = leaves["optimal"][..., winner], leaves["optimal"][..., loser]
        chance = first / (first + second)
    else:
        there = leaves["preference"]
        chance = (there[..., winner, loser] + 1 - there[..., loser, winner]) / 2
    pairs = leaves["pairs"]
    even = (pairs[..., winner, loser] + pairs[..., loser, winner]) / 2
    return winner, loser, 2 * even / pairs.sum(dim=(-1, -2))[..., None] * chance


def _by_matrix(slope: torch.Tensor, theta: torch.Tensor, pulled: Floats) -> Floats:
    """v with H v = ``pulled``, prompt by prompt."""
    import torch

    n = theta.shape[-1]
    rows = [torch.autograd.grad(slope[..., k].sum(), theta, retain_graph=True)[0].numpy() for k in range(n)]
    hessian = np.stack(rows, axis=-2)
    hessian = (hessian + np.swapaxes(hessian, -1, -2)) / 2
    size = np.trace(hessian, axis1=-2, axis2=-1)[..., None, None] / n
    try:  # what a shift of all adds makes it regular, and changes nothing of rows that sum to 0
        factor = np.linalg.cholesky(hessian + size / n)
    except np.linalg.LinAlgError:
        raise ValueError("solution must be where the loss is curved in all directions, and it is not") from None
    half = np.linalg.solve(factor, pulled[..., None])
    return np.asarray(np.linalg.solve(np.swapaxes(factor, -1, -2), half)[..., 0])


def _by_system(system: System, solution: Solution, pulled: Floats) -> Floats:
    """The same, of as many players as there are, who all hang together."""
    x = solution.log_policy
    if system.problem.link is not None:
        x = x - system.problem.log_reference[:, 0]
    return np.asarray(Solver(system).solve(system.at(x), pulled, TOLERANCE))


def _derivative(function: Callable[[float], float], at: float) -> float:
    """By differences over one and two steps, extrapolated."""
    step = RELATIVE * at
    one, two = ((function(at + k * step) - function(at - k * step)) / (2 * k * step) for k in (1, 2))
    return (4 * one - two) / 3


def optimum(
    objective: PairObjective,
    reference: torch.Tensor,
    *,
    optimal: torch.Tensor | None = None,
    counts: torch.Tensor | None = None,
    pairs: torch.Tensor | str = "uniform",
    lam: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""The exact optimum as a tensor that torch differentiates: in pi_ref, pi*, counts, q and lam.

    What `solve` finds, with the proven bound that it has; gradients are those of `Solution.gradients`.

    Args:
        objective: a loss of pairs. reference: pi_ref, (n,) or (prompts, n). optimal: pi*, of the same shape; or counts,
            (..., n, n). pairs: q, as for `Bandit`; a tensor to have its gradients. lam: in the place of the
            objective's own, to have its gradient.

    Returns:
        pi, of the shape of ``reference``, in float64.

    Raises:
        ValueError: as `Bandit` does; or an optimum is not proven, or not the only one.

    Example:
        >>> import torch, expo_analysis as ea
        >>> best = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64, requires_grad=True)
        >>> policy = ea.optimum(ea.EXPO(1.0), torch.tensor([0.4, 0.4, 0.2]), optimal=best)
        >>> policy[0].backward()
        >>> best.grad.numpy().round(3)
        array([ 0.184, -0.261, -0.321])
    """
    import torch

    if (optimal is None) == (counts is None):
        raise ValueError("optimal or counts must be given, and not both")
    names = {"reference": reference, "optimal": optimal, "counts": counts, "pairs": pairs, "lam": lam}
    given = {name: value for name, value in names.items() if isinstance(value, torch.Tensor)}
    if counts is not None and "pairs" in given:
        raise ValueError("pairs is not used beside counts, which say how often each pair is compared")
    plain = {name: value.detach().numpy().astype(np.float64) for name, value in given.items()}
    own = objective if lam is None else objective.with_lam(float(plain["lam"]))
    if counts is None:
        bandit = Bandit(plain["reference"], plain["optimal"], plain.get("pairs", pairs))
    else:
        bandit = Bandit.from_counts(plain["reference"], plain["counts"])
    found: torch.Tensor = _function().apply(own, bandit, tuple(given), *given.values())
    return found


def _function() -> Any:
    """The torch function: solved forwards, and the theorem backwards."""
    import torch

    from .solve import solve

    class Optimum(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, objective: PairObjective, bandit: Bandit, names: tuple[str, ...], *given: Any) -> Any:
            ctx.solution, ctx.names = solve(objective, bandit), names
            ctx.kinds = [value.dtype for value in given]
            _checked(ctx.solution)
            return torch.tensor(ctx.solution.policy)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, outer: Any) -> Any:
            with torch.enable_grad():
                found = gradients(ctx.solution, outer.numpy())
            named = zip(ctx.names, ctx.kinds, strict=True)
            return None, None, None, *(torch.as_tensor(getattr(found, name), dtype=kind) for name, kind in named)

    return Optimum
