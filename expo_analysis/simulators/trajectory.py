"""What training went through: policies over steps, and what one wants to know of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pandas as pd

from .._checks import check_option
from .._types import Floats, Indices, Mask
from ..divergences import kl, total_variation
from ..losses import Objective
from ..losses.notation import full_name

MASSES = ("chosen", "rejected", "unseen")


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Policies of O objectives on S data sets at R recorded steps, over the responses of all prompts.

    objectives: the O objectives. steps: (R,), from 0. log_policies: (O, S, R, prompts, n). values: the objective on
    all the training data, with its exact regulariser, (O, S, R). log_final: what training returned, (O, S, prompts,
    n): the last iterate, or the average or the early stop that was asked for. stopped: the step of the result, (O, S).
    parameters: the policy's, after the last step, (O, S, size). reference, optimal: (prompts, n), the latter None
    where it is not known. won, lost: how often each response won and lost, (1 or S, prompts, n). Entries after an early
    stop of all settings, and of diverged settings, are nan.
    """

    objectives: tuple[Objective, ...]
    steps: Annotated[Indices, "records"]
    log_policies: Annotated[Floats, "objectives data_sets records prompts n"]
    values: Annotated[Floats, "objectives data_sets records"]
    log_final: Annotated[Floats, "objectives data_sets prompts n"]
    stopped: Annotated[Indices, "objectives data_sets"]
    parameters: Annotated[Floats, "objectives data_sets size"]
    reference: Annotated[Floats, "prompts n"]
    optimal: Annotated[Floats, "prompts n"] | None
    won: Annotated[Floats, "#data_sets prompts n"]
    lost: Annotated[Floats, "#data_sets prompts n"]

    @property
    def policies(self) -> Floats:
        """Recorded policies, (O, S, R, prompts, n)."""
        return np.asarray(np.exp(self.log_policies))

    @property
    def final(self) -> Floats:
        """The policies that training returned, (O, S, prompts, n)."""
        return np.asarray(np.exp(self.log_final))

    @cached_property
    def kinds(self) -> dict[str, Mask]:
        """`kinds_of` the training data: masks (1 or S, prompts, n)."""
        return _kinds(self.won, self.lost)

    def mass(self, kind: str) -> Floats:
        """Probability of the ``"chosen"``, ``"rejected"`` or ``"unseen"`` responses of a prompt, (O, S, R, prompts)."""
        check_option("kind", kind, MASSES)
        mask = self.kinds[kind][None, :, None]
        return np.asarray((self.policies * mask).sum(axis=-1))

    def divergence(self, name: str) -> Floats:
        """A distance in nats, or for ``"tv"`` in probability, (O, S, R, prompts).

        ``"kl_reference_policy"`` KL(pi_ref || pi), ``"kl_policy_reference"`` KL(pi || pi_ref), and where pi* is known
        ``"kl_optimal_policy"``, ``"kl_policy_optimal"`` and ``"tv"``, half the 1-norm of pi - pi*.
        """
        check_option("name", name, self.divergences)
        distance, target = self._distances[name]
        return np.asarray(distance(self.log_policies, np.log(target)))

    @property
    def divergences(self) -> tuple[str, ...]:
        """The names that `divergence` knows here."""
        return tuple(self._distances)

    @property
    def _distances(self) -> dict[str, tuple[Callable[[Floats, Floats], Floats], Floats]]:
        """Distances of log-policies from the logarithm of a target, and that target."""
        known: dict[str, tuple[Callable[[Floats, Floats], Floats], Floats]] = {
            "kl_reference_policy": (_kl_to, self.reference),
            "kl_policy_reference": (kl, self.reference),
        }
        if self.optimal is not None:
            known |= {
                "kl_optimal_policy": (_kl_to, self.optimal),
                "kl_policy_optimal": (kl, self.optimal),
                "tv": (_tv, self.optimal),
            }
        return known

    def to_frame(self, policies: bool = False) -> pd.DataFrame:
        """One row per objective, data set, step and prompt: value, divergences and masses; with the policies if wished.

        Columns: loss, lam, data_set, step, prompt, value, those of `divergence`, chosen, rejected, unseen, and for
        ``policies`` y0, y1, ...
        """
        shape = self.log_policies.shape[:-1]
        at = np.indices(shape).reshape(4, -1)
        labels = np.array([full_name(objective) for objective in self.objectives], dtype=object)
        lams = np.array([objective.lam for objective in self.objectives])
        columns: dict[str, Any] = {
            "loss": labels[at[0]],
            "lam": lams[at[0]],
            "data_set": at[1],
            "step": self.steps[at[2]],
            "prompt": at[3],
            "value": np.broadcast_to(self.values[..., None], shape).reshape(-1),
        }
        columns |= {name: self.divergence(name).reshape(-1) for name in self.divergences}
        columns |= {kind: self.mass(kind).reshape(-1) for kind in MASSES}
        if policies:
            flat = self.policies.reshape(-1, self.policies.shape[-1])
            columns |= {f"y{y}": flat[:, y] for y in range(flat.shape[1])}
        return pd.DataFrame(columns)


def _kl_to(log_policy: Floats, log_target: Floats) -> Floats:
    """KL(target || policy)."""
    return np.asarray(kl(log_target, log_policy))


def _tv(log_policy: Floats, log_target: Floats) -> Floats:
    return np.asarray(total_variation(np.exp(log_policy), np.exp(log_target)))


def kinds_of(wins: Floats) -> dict[str, Mask]:
    """Which responses are chosen, rejected and unseen, from how often i beats j (..., n, n): masks (..., n).

    chosen: won more often than lost; unseen: in no comparison; rejected: all others. One of them holds for each.
    """
    return _kinds(wins.sum(axis=-1), wins.sum(axis=-2))


def _kinds(won: Floats, lost: Floats) -> dict[str, Mask]:
    chosen = won > lost * (1 + 1e-12)  # on populations a tie may be off by rounding
    unseen = (won == 0) & (lost == 0)
    return {"chosen": chosen, "rejected": ~chosen & ~unseen, "unseen": unseen}
