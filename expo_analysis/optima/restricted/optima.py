"""From a bandit and features to families of problems, and back to policies in the bandit's order of responses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._types import Floats, Indices
from ...bandit import Bandit
from ...losses.base import Objective, RewardObjective
from ...losses.responses import reward_of
from ..alike import alike
from ..solution import Certificate, Status
from ..structure import data_of
from ..values import INFINITE, UNDEFINED, without_value
from .arguments import LogLinearClass
from .cells import RewardCells, cells_of
from .family import Family, roots_of
from .methods import solve_family
from .reward import Reward


@dataclass(frozen=True, eq=False)
class RestrictedOptima:
    """Optima of B problems, each of P prompts that share w.

    weights: w. log_policy: of every prompt. value: the objective on each prompt; total: their sum by prompt weights,
    and decay |w|^2/2. status, certificate, bound: by prompt; bound is of the policy, in 1-norm, nan where none is
    proven. weight_bounds: of w. direction: of w, along which minimising sequences run to infinity, nan where there is
    a minimiser. agreeing: the share of a search's starts that reached its value; 1 for other methods.
    """

    weights: Annotated[Floats, "batch d"]
    log_policy: Annotated[Floats, "batch prompts n"]
    value: Annotated[Floats, "batch prompts"]
    total: Annotated[Floats, "batch"]
    status: Annotated[NDArray[Any], "batch prompts"]
    certificate: Annotated[NDArray[Any], "batch prompts"]
    message: Annotated[NDArray[Any], "batch"]
    bound: Annotated[Floats, "batch prompts"]
    weight_bounds: Annotated[Floats, "batch d"]
    steps: Annotated[Indices, "batch"]
    direction: Annotated[Floats, "batch d"]
    agreeing: Annotated[Floats, "batch"]


@dataclass(frozen=True, eq=False)
class Classes:
    """B classes of log-linear policies on P prompts of a bandit each.

    prompt: which. features, base, decay: as in `Family`, responses in the bandit's order. shares: of the prompts.
    """

    bandit: Bandit
    prompt: Annotated[Indices, "batch prompts"]
    features: Annotated[Floats, "batch prompts n d"]
    base: Annotated[Floats, "batch prompts n"]
    shares: Annotated[Floats, "batch prompts"]
    decay: Annotated[Floats, "batch"]

    def family(self, objective: Objective, lam: Floats, reward: Reward | None = None) -> Family:
        """The problems of an objective at lambdas (B,)."""
        n, prompt = self.bandit.n, self.prompt.reshape(-1)
        lams = np.repeat(lam, self.prompt.shape[1])
        if isinstance(objective, RewardObjective):
            assert reward is not None
            cells: Any = self._reward_cells(objective, lams, reward)
        else:
            cells = cells_of(objective, self.bandit, prompt, lams)
        order = cells.responses  # of the bandit's responses, (n, C)
        labels = np.zeros_like(order) if cells.coupled else self.bandit.components.reshape(-1, n)[prompt].T
        features = np.take_along_axis(self.features, order.T.reshape(*self.prompt.shape, n, 1), axis=2)
        base = np.take_along_axis(self.base.reshape(-1, n).T, order, axis=0)
        roots = roots_of(np.take_along_axis(labels, order, axis=0))
        return Family.of(cells, features, base, self.shares, self.decay, roots)

    def _reward_cells(self, objective: RewardObjective, lams: Floats, reward: Reward) -> RewardCells:
        prompt, n = self.prompt.reshape(-1), self.bandit.n
        log_reference = np.log(self.bandit.reference.reshape(-1, n)[prompt].T)
        order = np.broadcast_to(np.arange(n)[:, None], log_reference.shape)
        own = objective.with_lam(lams)
        return RewardCells(own, log_reference, order, reward.reward[prompt].T, reward.error[prompt])

    def solve(
        self,
        objective: Objective,
        lam: Floats,
        method: str = "auto",
        starts: list[Floats] | None = None,
        reward: Reward | None = None,
    ) -> RestrictedOptima:
        """Every problem by the first method that accepts it; see `solve_family`."""
        parts = []
        one = objective.with_lam(float(lam[0]))  # with many lambdas what a loss derives has another shape
        groups = alike(objective, lam, data_of(one, self.bandit))
        for rows in groups:
            own = None if starts is None else [start[rows] for start in starts]
            parts.append(self._take(rows)._solve_alike(objective, lam[rows], method, own, reward))
        back = np.argsort(np.concatenate(groups))
        names = [field.name for field in dataclasses.fields(RestrictedOptima)]
        return RestrictedOptima(*(np.concatenate([getattr(part, name) for part in parts])[back] for name in names))

    def _take(self, rows: Indices) -> Classes:
        kept = (x[rows] for x in (self.features, self.base, self.shares, self.decay))
        return Classes(self.bandit, self.prompt[rows], *kept)

    def _solve_alike(
        self, objective: Objective, lam: Floats, method: str, starts: list[Floats] | None, reward: Reward | None
    ) -> RestrictedOptima:
        family = self.family(objective, lam, reward)
        found = solve_family(family, method, starts)
        policies = np.empty_like(found.log_policy)
        np.put_along_axis(policies, family.cells.responses, found.log_policy, axis=0)
        lost = found.status == "no_minimiser"
        with np.errstate(all="ignore"):
            x = family.logits(found.w)
            value = np.where(lost, np.nan, family.by_problem(family.cells.value(x)))
            total = np.where(lost.any(axis=1), np.nan, family.value(found.w, x))
        undefined = without_value(value, family.by_problem(found.log_policy), found.status).any(axis=1)
        nan = np.isnan(value).any(axis=1)
        found.say(undefined & nan, Status.FAILED, Certificate.NONE, UNDEFINED)
        found.say(undefined & ~nan, Status.FAILED, Certificate.NONE, INFINITE)
        lost[undefined] = True
        return RestrictedOptima(
            found.w,
            np.moveaxis(policies, 0, -1).reshape(*self.prompt.shape, -1),
            value,
            total,
            found.status,
            found.certificate,
            found.message,
            np.where(lost | ~(found.bound < 2), np.nan, found.bound),
            np.where(lost.any(axis=1, keepdims=True), np.nan, found.weight_bound),
            found.steps,
            found.direction,
            found.agreeing,
        )


def along_lambdas(
    objective: Objective,
    bandit: Bandit,
    lams: Floats,
    restricted: LogLinearClass,
    method: str,
    reward: Reward | None,
) -> RestrictedOptima:
    """One class of policies on all prompts of a bandit, at lambdas (B,)."""
    batch, prompts = len(lams), bandit.prompts or 1
    features, base = restricted.features, restricted.base
    classes = Classes(
        bandit,
        np.tile(np.arange(prompts), (batch, 1)),
        np.broadcast_to(features, (batch, *features.shape)),
        np.broadcast_to(base, (batch, *base.shape)),
        np.tile(np.asarray(bandit.prompt_weights).reshape(1, prompts), (batch, 1)),
        np.full(batch, restricted.decay),
    )
    return classes.solve(objective, lams, method, None, reward)


def check_features(features: Floats, bandit: Bandit) -> None:
    """Raise ValueError unless they are (B, P, n, d), and the bandit has B P prompts of n responses."""
    shape = np.shape(features)
    if len(shape) != 4 or shape[2] != bandit.n or shape[0] * shape[1] != bandit.prompts:
        raise ValueError(f"features must have shape (B, P, {bandit.n}, d) with B P = {bandit.prompts}, got {shape}")


def restricted_optima(
    objective: Objective,
    bandit: Bandit,
    features: Floats,
    decay: ArrayLike = 0.0,
    method: str = "auto",
    starts: list[Floats] | None = None,
) -> RestrictedOptima:
    """Many problems of one size as a batch: problem b has the prompts b P ... b P + P - 1 of the bandit.

    Args:
        objective: its ``lam`` may have shape (B,).
        bandit: with B P prompts; those of a problem weigh as the bandit says, relative to each other.
        features: (B, P, n, d).
        decay: one number, or (B,).
        method, starts: as for `solve_family`; starts have the shape (B, d).

    Raises:
        ValueError: a shape that does not fit the bandit, or a decay that is negative.
    """
    classes, lam, reward = _batch(objective, bandit, features, decay)
    return classes.solve(objective, lam, method, starts, reward)


def restricted_values(
    objective: Objective, bandit: Bandit, features: Floats, weights: Floats, decay: ArrayLike = 0.0
) -> Floats:
    """The ``total`` of `restricted_optima` at any w = ``weights`` (B, d), shape (B,)."""
    classes, lam, reward = _batch(objective, bandit, features, decay)
    return classes.family(objective, lam, reward).value(weights)


def _batch(
    objective: Objective, bandit: Bandit, features: Floats, decay: ArrayLike
) -> tuple[Classes, Floats, Reward | None]:
    check_features(features, bandit)
    batch, prompts, n, _ = features.shape
    decays = np.asarray(decay, dtype=np.float64)
    if decays.shape not in ((), (batch,)) or not ((decays >= 0) & np.isfinite(decays)).all():
        raise ValueError(f"decay must be finite, not negative, and one number or {batch}; got {decay!r}")
    weights = np.asarray(bandit.prompt_weights).reshape(batch, prompts)
    classes = Classes(
        bandit,
        np.arange(batch * prompts).reshape(batch, prompts),
        np.asarray(features, dtype=np.float64),
        np.log(bandit.reference).reshape(batch, prompts, n),
        weights / weights.sum(axis=1, keepdims=True),
        np.broadcast_to(decays, (batch,)),
    )
    reward = Reward.of(np.atleast_2d(np.asarray(reward_of(bandit)))) if isinstance(objective, RewardObjective) else None
    return classes, np.broadcast_to(np.asarray(objective.lam, dtype=np.float64), (batch,)), reward
