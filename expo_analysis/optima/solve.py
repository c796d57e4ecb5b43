"""`solve` and `solve_path`: route an objective to what can be proven about it.

1. `structure` tells which responses hang together and whether a minimiser exists.
2. Each connected piece becomes a batch of `Problem`, and goes to the first of `methods` that accepts it.
3. Here the pieces are put together at their masses: by the cross-entropy where there is one (for EXPO the conservation
   law), by the limit or by the convention that the message states for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._types import Floats, Indices, Mask
from ..bandit import Bandit, RaggedBandit, win_classes
from ..bandit.paired import Comparisons
from ..losses.base import Objective, PairObjective, RewardObjective
from ..losses.data import Datum
from ..losses.responses import refuse_undefined, reward_of
from ..losses.risk import refuse_coupled
from ..losses.unpaired import on
from .alike import alike
from .certificate import UNIT
from .extremes import quiet_at_extremes
from .flat import Flat
from .found import Found
from .jobs import in_threads, jobs_of
from .methods import NAMES, solve_problem
from .problem import Problem
from .recession import Structure
from .restricted import NAMES as RESTRICTED_NAMES
from .restricted import LogLinearClass, RestrictedOptima, Reward, RewardLikelihood, WholeClass, along_lambdas, auxiliary
from .restricted.optima import check_features
from .solution import Path, Solution, Status, path_of
from .sparse import solve_comparisons
from .structure import Structures, data_of, decided, describe, structures
from .values import settle_values

BLOCK = 1 << 17
"""Entries of one n x n x B array, or n x 8 x B for small n, that are worked on at a time: enough for Python's own time
not to count, and little enough for caches to help and for memory to be used again."""


def solve(
    objective: Objective,
    bandit: Bandit | Comparisons,
    method: str = "auto",
    *,
    features: ArrayLike | None = None,
    base: ArrayLike | None = None,
    decay: float = 0.0,
    n_jobs: int = 1,
) -> Solution:
    r"""The exact optimum of an objective on every prompt of a bandit, over all policies or over restricted ones.

    On `Comparisons`, of up to millions of responses, it is that of a convex loss of log-ratios over all policies.

    With ``features`` F the policies are softmax(theta), theta(x, y) = base(x, y) + F[x, y] @ w: all prompts share w,
    and w minimises  sum_x prompt_weights[x] J_x + decay/2 |w|^2,  J_x being the objective on prompt x.

    Args:
        method: ``"auto"`` takes the first that applies of ``"closed_form"``, ``"newton"`` (needs convexity in the
            logits) and ``"multistart"``; naming one insists on it.
        features: F, shape (prompts, n, d), or (n, d) for one prompt or for the same on every prompt.
        base: theta at w = 0, the shape of the reference; log pi_ref by default.
        decay: weight decay, at least 0.
        n_jobs: threads that share many prompts, over all policies, or -1 for one on each core; the same bits come out.

    Returns:
        A `Solution`; its status and message say what was found, and ``error_bound`` how far from the truth it can be.
        With features it has ``weights``, w. What is convex in the logits is proven as over all policies; other losses
        are proven for d = 1, and searched for beyond.

    Raises:
        TypeError, ValueError: naming the argument. A problem without a minimiser is not an error but a status.

    Example:
        >>> import expo_analysis as ea
        >>> bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
        >>> ea.solve(ea.EXPO(lam=1.0), bandit).policy.round(8)
        array([0.47097182, 0.37611929, 0.15290889])
        >>> ea.solve(ea.EXPO(lam=1.0), bandit, features=[[1.0], [0.0], [-1.0]]).weights.round(6)
        array([0.217213])
    """
    _check(objective, bandit, method, NAMES if features is None else RESTRICTED_NAMES)
    jobs = jobs_of(n_jobs, bandit, features)
    if np.ndim(objective.lam) != 0:
        raise ValueError("lam must be one number for solve; use solve_path for several")
    lam = np.array([objective.lam])
    with quiet_at_extremes(objective, lam):
        if isinstance(bandit, Comparisons):
            _refuse_options(method, features, base, decay)
            return solve_comparisons(objective, bandit)
        restricted = LogLinearClass.of(bandit, features, base, decay)
        if restricted is not None:
            return _restricted(objective, bandit, lam, method, restricted)[0]
        flat = _solve(objective, bandit, lam, method, jobs)
    shape = bandit.reference.shape
    log_policy = flat.log_policy.reshape(shape)
    return Solution(objective, bandit, np.exp(log_policy), log_policy, **flat.verdicts(shape[:-1]))


def solve_path(
    objective: Objective,
    bandit: Bandit | Comparisons,
    lams: ArrayLike,
    method: str = "auto",
    *,
    features: ArrayLike | None = None,
    base: ArrayLike | None = None,
    decay: float = 0.0,
    n_jobs: int = 1,
) -> Path:
    """Optima for every lambda in ``lams``, shape (L,), positive and finite; all are solved in one batch.

    The objective's own ``lam`` is not used. See `solve`.
    """
    _check(objective, bandit, method, NAMES if features is None else RESTRICTED_NAMES)
    jobs = jobs_of(n_jobs, bandit, features)
    try:
        values = np.array(lams, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"lams must be an array of numbers, got {lams!r}") from None
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"lams must have shape (L,) with L >= 1, got {values.shape}")
    if not ((values > 0) & (values < np.inf)).all():
        raise ValueError("lams must be positive and finite")
    with quiet_at_extremes(objective, values):
        if isinstance(bandit, Comparisons):
            _refuse_options(method, features, base, decay)
            return path_of([solve_comparisons(objective.with_lam(lam), bandit) for lam in values.tolist()])
        restricted = LogLinearClass.of(bandit, features, base, decay)
        if restricted is None:
            return _over_all(objective, bandit, values, method, jobs)
        return _restricted(objective, bandit, values, method, restricted)


def _over_all(objective: Objective, bandit: Bandit, lams: Floats, method: str, jobs: int = 1) -> Path:
    flat = _solve(objective, bandit, lams, method, jobs)
    shape = (len(lams), *bandit.reference.shape)
    log_policies = flat.log_policy.reshape(shape)
    return Path(objective, bandit, lams, np.exp(log_policies), log_policies, **flat.verdicts(shape[:-1]))


def _restricted(objective: Objective, bandit: Bandit, lams: Floats, method: str, restricted: LogLinearClass) -> Path:
    """Over log-linear policies; where these are all policies, the optimum over all with its w."""
    shares = np.atleast_1d(bandit.prompt_weights)
    if isinstance(objective, PairObjective) and objective.auxiliary:
        auxiliary.refuse(restricted, shares, method, type(objective).__name__)
        return auxiliary.along_path(_over_all(objective, bandit, lams, method), restricted, shares)
    whole = WholeClass.of(restricted, shares) if method == "auto" else None
    if whole is not None:
        path = _over_all(objective, bandit, lams, method)
        if (np.asarray(path.status) == Status.OPTIMAL).all() and np.isfinite(path.log_policies).all():
            return whole.described(path, shares)
    objective = on(bandit, objective) if isinstance(objective, PairObjective) else objective
    reward = _reward(bandit) if isinstance(objective, RewardObjective) else None
    found = along_lambdas(objective, bandit, lams, restricted, method, reward)
    shape, own = (len(lams), *bandit.reference.shape), (len(lams), *bandit.reference.shape[:-1])
    prompts = found.status.shape[1]
    message, steps = (np.repeat(x[:, None], prompts, axis=1) for x in (found.message, found.steps))
    by_prompt: tuple[Any, ...] = (found.value, found.status, message, found.bound, steps, found.certificate)
    verdicts = [x.reshape(own) for x in by_prompt]
    more: list[Any] = [found.weights, found.weight_bounds, found.total, found.direction]
    log_policies = found.log_policy.reshape(shape)
    return Path(objective, bandit, lams, np.exp(log_policies), log_policies, *verdicts, *more)


def stepped_optima(objective: PairObjective, bandit: Bandit, features: Floats) -> RestrictedOptima:
    """`restricted_optima` of a loss with auxiliary variables; lam is one number, or (B,), features are (B, P, n, d)."""
    check_features(features, bandit)
    lams, row = np.unique(np.broadcast_to(objective.lam, len(features)), return_inverse=True)
    return auxiliary.of_batch(_over_all(objective, bandit, lams, "auto"), row, features)


def _reward(bandit: Bandit) -> Reward:
    """The bandit's rewards, else r* = log pi*; of counts the Bradley-Terry fit, prompt by prompt."""
    stated = reward_of(bandit)
    if stated is not None:
        return Reward.of(np.atleast_2d(stated))
    fit = _solve(RewardLikelihood(1.0), bandit, np.ones(1), "auto")
    return Reward.of(fit.log_policy, np.where(fit.status == Status.OPTIMAL, fit.error_bound, np.nan))


def _check(objective: Any, bandit: Any, method: str, names: tuple[str, ...]) -> None:
    if not isinstance(objective, Objective):
        raise TypeError(f"objective must be an Objective such as ea.EXPO(lam=0.1), got {type(objective).__name__}")
    if isinstance(bandit, RaggedBandit):
        raise TypeError(
            "bandit must be a Bandit; solve_ragged(loss, it) solves the parts of a RaggedBandit, all together"
        )
    if not isinstance(bandit, Bandit | Comparisons):
        raise TypeError(f"bandit must be a Bandit or Comparisons, got {type(bandit).__name__}")
    if method not in names:
        raise ValueError(f"method must be one of {list(names)}, got {method!r}")
    if not isinstance(objective, (PairObjective, RewardObjective)):
        raise TypeError(f"objective must be a loss of pairs or a reward, got {type(objective).__name__}")
    refuse_coupled(objective)
    if isinstance(bandit, Bandit):
        refuse_undefined(objective, bandit, bandit.wins > 0)


def _refuse_options(method: str, features: Any, base: Any, decay: float) -> None:
    """Raise for what is not to be had on comparisons."""
    used = {"method": method != "auto", "features": features is not None, "base": base is not None, "decay": decay != 0}
    for name, given in used.items():
        if given:
            raise ValueError(f"{name} is not used on Comparisons: solve comparisons.bandit() with it")


def _solve(objective: Objective, bandit: Bandit, lams: Floats, method: str, jobs: int = 1) -> Flat:
    objective = on(bandit, objective) if isinstance(objective, PairObjective) else objective
    prompts, n = bandit.prompts or 1, bandit.n
    flat = Flat.empty(len(lams) * prompts, n)
    data = data_of(objective, bandit)
    for own in alike(objective, lams, data):
        columns = (own[:, None] * prompts + np.arange(prompts)).reshape(-1)
        _Alike.at(flat, columns, objective, bandit, lams[own], method, data, jobs).solve(data)
    lost = flat.status == Status.NO_MINIMISER
    flat.error_bound[lost] = np.nan
    flat.error_bound = np.where(flat.error_bound < 2, flat.error_bound, np.nan)  # any two policies are within 2
    flat.value[lost] = np.nan
    settle_values(objective, bandit, lams, flat)
    return flat


@dataclass(frozen=True, eq=False)
class _Piece:
    """Responses (k,) that are solved on their own, the places (B,) where they are a piece, and its mass there (B,)."""

    responses: Indices
    at: Indices
    mass: Floats


@dataclass(frozen=True, eq=False)
class _Alike:
    """All prompts at lambdas at which the same is known of the objective: places, each with its lam and prompt, (B,).

    columns: their rows in ``flat``. orders: sentences on who is above whom, by graphs of wins.
    """

    flat: Flat
    columns: Indices
    objective: Objective
    bandit: Bandit
    method: str
    found: Structures
    lam: Floats
    prompt: Indices
    jobs: int
    orders: dict[bytes, str] = field(default_factory=dict)

    @classmethod
    def at(
        cls,
        flat: Flat,
        columns: Indices,
        objective: Objective,
        bandit: Bandit,
        lams: Floats,
        method: str,
        data: Datum,
        jobs: int,
    ) -> _Alike:
        prompts = bandit.prompts or 1
        lam, prompt = np.repeat(lams, prompts), np.tile(np.arange(prompts), len(lams))
        found = structures(objective, bandit, lams, data)
        return cls(flat, columns, objective, bandit, method, found, lam, prompt, jobs)

    def solve(self, data: Datum) -> None:
        """Pieces of one size are one batch, whatever their responses."""
        alone = self.bandit.triples is not None  # which are looked up by the responses of a piece
        waiting: dict[Any, list[_Piece]] = {}
        for structure, at in self.found.groups:
            pieces = self.begin(structure, at, signed=False)
            for k, piece in enumerate(pieces):
                size = len(piece.responses)
                before = sum(len(one.responses) == size for one in pieces[:k])  # so that a batch has each place once
                waiting.setdefault((tuple(piece.responses) if alone else size, before), []).append(piece)
        for one_size in waiting.values():
            self.put(one_size, self.found.exists, search=not self.found.assumed)
        if not self.found.assumed:
            return
        # a minimiser's bound proves that there is one; elsewhere it takes a linear program to tell
        for place in np.flatnonzero(np.isnan(self.flat.error_bound[self.columns])):
            structure = decided(self.objective, self.bandit, float(self.lam[place]), int(self.prompt[place]), data)
            for piece in self.begin(structure, np.array([place]), signed=True):
                self.put([piece], np.full(len(self.lam), not structure.lost), search=True)

    def begin(self, structure: Structure, at: Indices, signed: bool) -> list[_Piece]:
        """Enter what follows from the structure alone; the pieces that are left to be solved."""
        flat, target = self.flat, self.found.target
        told = np.array([self.order(k) if structure.lost else "" for k in at], dtype=object)
        for text in dict.fromkeys(told.tolist()):
            said = describe(self.objective, structure, target is not None, signed, self.bandit.responses, text)
            flat.begin(self.columns[at[told == text]], *said)
        masses = np.ones((len(at), 1))
        if structure.split:
            reference = self.bandit.reference.reshape(-1, self.bandit.n)[self.prompt[at]]
            masses = structure.masses(reference if target is None else target[at], reference)
        pieces = []
        for responses, mass in zip(structure.pieces, masses.T, strict=True):
            if len(responses) > 1:
                pieces.append(_Piece(np.array(responses), at, mass))
            else:
                flat.log_policy[self.columns[at], responses[0]] = np.log(mass)
                flat.error_bound[self.columns[at]] += 2 * UNIT * mass
        return pieces

    def order(self, place: int) -> str:
        """Who is above whom where no policy fits the wins of a prompt: once for each graph of wins."""
        prompt = int(self.prompt[place])
        graph = (self.bandit.wins.reshape(-1, self.bandit.n**2)[prompt] > 0).tobytes()
        if graph not in self.orders:
            self.orders[graph] = str(win_classes(self.bandit, prompt)).removeprefix("no policy fits the wins: ")
        return self.orders[graph]

    def put(self, pieces: list[_Piece], exists: Mask, search: bool) -> None:
        """Solve pieces of one size, of which a place has one, and enter what was found."""
        members = np.concatenate([np.tile(piece.responses, (len(piece.at), 1)) for piece in pieces])
        at, mass = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("at", "mass"))
        size, likelihood = members.shape[1], self.found.likelihood
        blocks = min(len(at), -(-len(at) * size * max(size, 8) // BLOCK))

        def found(rows: Indices) -> tuple[Problem, Found]:
            places = at[rows]
            problem = Problem.cut(
                self.objective,
                self.bandit,
                members[0] if len(pieces) == 1 else members[rows].T,
                self.prompt[places],
                self.lam[places],
                None if likelihood is None else likelihood[places],
                exists[places],
            )
            return problem, solve_problem(problem, self.method, search)

        parts = np.array_split(np.arange(len(at)), blocks)  # the same whatever ``jobs``, so that the bits are
        for rows, (problem, solved) in zip(parts, in_threads(found, parts, self.jobs), strict=True):
            assert problem.responses is not None
            whole = size == self.bandit.n
            self.flat.put(self.columns[at[rows]], mass[rows], problem.responses, solved, whole)
