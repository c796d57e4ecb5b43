"""`solve` and `solve_path`: route an objective to what can be proven about it.

1. `structure` tells which responses hang together and whether a minimiser exists.
2. `pieces` solves each connected piece: scores and a root for the QPO family, the two-response form or Newton for what
   is convex in the logits, many starts for the rest.
3. Here the pieces are put together at their masses: by the conservation law for EXPO, by the limit or by the convention
   that the message states for the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .._threads import one_thread
from ..bandit import Bandit
from ..losses import RLHF, Objective, risk
from ..losses.risk import refuse_coupled
from .certificate import UNIT
from .pieces import METHODS, Piece, PieceResult, solve_piece
from .solution import Path, Solution
from .structure import describe, structures

Floats = NDArray[np.float64]

BLOCK = 1 << 18
"""Entries of one n x n x B array, or n x 8 x B for small n, that are worked on at a time: enough for Python's own time
not to count, and little enough for caches to help and for memory to be used again."""


def solve(objective: Objective, bandit: Bandit, method: str = "auto") -> Solution:
    """The exact optimum of an objective on every prompt of a bandit.

    Args:
        method: ``"auto"`` takes the first that applies of ``"closed_form"``, ``"newton"`` (needs convexity in the
            logits) and ``"multistart"``; naming one insists on it.

    Returns:
        A `Solution`; its status and message say what was found, and ``error_bound`` how far from the truth it can be.

    Raises:
        TypeError, ValueError: naming the argument. A problem without a minimiser is not an error but a status.

    Example:
        >>> import expo_analysis as ea
        >>> bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
        >>> ea.solve(ea.EXPO(lam=1.0), bandit).policy.round(8)
        array([0.47097182, 0.37611929, 0.15290889])
    """
    _check(objective, bandit, method)
    if np.ndim(objective.lam) != 0:
        raise ValueError("lam must be one number for solve; use solve_path for several")
    flat = _solve(objective, bandit, np.array([objective.lam]), method)
    shape = bandit.reference.shape
    log_policy = flat.log_policy.reshape(shape)
    return Solution(objective, bandit, np.exp(log_policy), log_policy, **flat.verdicts(shape[:-1]))


def solve_path(objective: Objective, bandit: Bandit, lams: ArrayLike, method: str = "auto") -> Path:
    """Optima for every lambda in ``lams``, shape (L,), positive and finite; all are solved in one batch.

    The objective's own ``lam`` is not used. See `solve`.
    """
    _check(objective, bandit, method)
    try:
        values = np.array(lams, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"lams must be an array of numbers, got {lams!r}") from None
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"lams must have shape (L,) with L >= 1, got {values.shape}")
    if not ((values > 0) & (values < np.inf)).all():
        raise ValueError("lams must be positive and finite")
    flat = _solve(objective, bandit, values, method)
    shape = (len(values), *bandit.reference.shape)
    log_policies = flat.log_policy.reshape(shape)
    return Path(objective, bandit, values, np.exp(log_policies), log_policies, **flat.verdicts(shape[:-1]))


def _check(objective: Any, bandit: Any, method: str) -> None:
    if not isinstance(objective, Objective):
        raise TypeError(f"objective must be an Objective such as ea.EXPO(lam=0.1), got {type(objective).__name__}")
    if not isinstance(bandit, Bandit):
        raise TypeError(f"bandit must be a Bandit, got {type(bandit).__name__}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}, got {method!r}")
    refuse_coupled(objective)


@dataclass
class _Flat:
    """Results for each (lambda, prompt): log-policies and fitted rewards (size, n), the rest (size,)."""

    log_policy: Floats
    reward: Floats
    value: Floats
    status: NDArray[Any]
    message: NDArray[Any]
    error_bound: Floats
    iterations: NDArray[np.intp]

    def put(
        self, at: NDArray[np.intp], mass: Floats, responses: NDArray[np.intp], result: PieceResult, whole: bool
    ) -> None:
        """Enter what was found for a piece of these ``responses`` and of this ``mass`` in the rows ``at``.

        whole: whether these are all responses, so that the piece's reward and value are those of the problem.
        """
        self.log_policy[at, responses] = np.log(mass) + result.log_policy
        self.error_bound[at] += mass * (result.bound + 4 * UNIT)
        self.iterations[at] = np.maximum(self.iterations[at], result.steps)
        if result.reward is not None and whole:
            self.reward[at, responses] = result.reward
        if result.value is not None and whole:
            self.value[at] = result.value
        told = np.flatnonzero(result.message != "")
        rows, status = at[told], result.status[told]
        self.status[rows] = np.where(status == "optimal", self.status[rows], status)
        before = self.message[rows]
        both = (before != "the minimiser") & (before != "")
        self.message[rows] = np.where(both, before + "; " + result.message[told], result.message[told])

    def verdicts(self, shape: tuple[int, ...]) -> dict[str, Any]:
        names = ("value", "status", "message", "error_bound", "iterations")
        return {name: getattr(self, name).reshape(shape)[()] for name in names}


@one_thread()
def _solve(objective: Objective, bandit: Bandit, lams: Floats, method: str) -> _Flat:
    prompts, n = bandit.prompts or 1, bandit.n
    size = len(lams) * prompts
    prompt = np.tile(np.arange(prompts), len(lams))
    lam = np.repeat(lams, prompts)
    reference = bandit.reference.reshape(prompts, n)
    flat = _Flat(
        log_policy=np.full((size, n), -np.inf),
        reward=np.full((size, n), np.nan),
        value=np.full(size, np.nan),
        status=np.empty(size, dtype=object),
        message=np.empty(size, dtype=object),
        error_bound=np.zeros(size),
        iterations=np.zeros(size, dtype=np.intp),
    )
    for structure, members in structures(objective, bandit):
        columns = np.arange(size) if len(members) == prompts else np.flatnonzero(np.isin(prompt, members))
        masses = np.ones((len(columns), 1))
        if structure.split:
            masses = structure.masses(reference[members])[np.searchsorted(members, prompt[columns])]
        flat.status[columns], flat.message[columns] = describe(objective, structure)
        for responses, mass in zip(structure.pieces, masses.T, strict=True):
            if len(responses) == 1:
                flat.log_policy[columns, responses[0]] = np.log(mass)
                flat.error_bound[columns] += 2 * UNIT * mass
                continue
            blocks = -(-len(columns) * len(responses) * max(len(responses), 8) // BLOCK)
            for at, part in zip(np.array_split(columns, blocks), np.array_split(mass, blocks), strict=True):
                piece = Piece.cut(objective, bandit, responses, prompt[at], lam[at], part)
                flat.put(at, part, piece.responses, solve_piece(piece, method), whole=not structure.split)
    lost = flat.status == "no_minimiser"
    flat.error_bound[lost] = np.nan
    flat.error_bound = np.where(flat.error_bound < 2, flat.error_bound, np.nan)  # any two policies are within 2
    flat.value[lost] = np.nan
    if (np.isnan(flat.value) & ~lost).any():
        flat.value = np.where(lost, np.nan, _values(flat, objective, bandit, lams))
    return flat


def _values(flat: _Flat, objective: Objective, bandit: Bandit, lams: Floats) -> Floats:
    """The objective at each policy, from log-probabilities, which do not underflow; by torch, as in the solvers."""
    shape = (len(lams), *bandit.reference.shape)
    log_policy, reward = (torch.from_numpy(x.reshape(shape)) for x in (flat.log_policy, flat.reward))
    fitted = isinstance(objective, RLHF) and bandit.optimal is None
    values = [
        risk(objective.with_lam(lam), bandit, log_policy[k], reward[k] if fitted else None)
        for k, lam in enumerate(lams)
    ]
    return torch.stack(values).reshape(-1).numpy()
