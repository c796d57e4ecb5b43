"""RPO's three distances to a reward: one optimum over all policies, and where it ceases to be one.

Three responses with a known reward r. Over all policies the squared distance, the backward and the forward KL have
their optimum at pi_ref exp(eta r/lam), that of RLHF. They part where no policy fits all differences of rewards: where
each datum has a reward of its own, r plus noise, and where policies are restricted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..._progress import Progress, silent
from ..._rounding import all_rounded
from ..._types import Floats
from ...bandit import Bandit
from ...losses import RLHF, RewardAwarePO
from ...losses.catalogue.rewards import DISTANCES
from ...optima import solve, solve_path
from ..settings import Settings as StudySettings

REFERENCE = np.array([0.5, 0.3, 0.2])
REWARD = np.array([0.0, 1.5, 3.0])
LAM = 1.0
LAMS = 10.0 ** np.linspace(-2, 2, 17)
NOISE = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
FEATURE = np.array([[1.0], [0.0], [0.4]])
"""Of the restricted policies pi_ref exp(w f): no w has them follow the reward."""
FREE = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
"""Features of all policies, by which prompts share one."""


@dataclass(frozen=True)
class Settings(StudySettings):
    """seeds: of the noise, at each size of it."""

    seeds: int = 8


FULL = Settings(30)


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``reward_aware``: per distance, standard deviation of the noise and seed, the policy and its TV from the
    optimum for r; each of 40 data has its own noise, and one policy serves them all. ``reward_aware_restricted``: per
    distance (and RLHF) and lambda, over policies with one feature, the policy and its expected reward.
    ``reward_aware_shared``: over all policies, by lambda, the largest TV between the optima and pi_ref exp(r/lam).
    """
    shared = shared_table()
    noise = noise_table(settings.seeds, progress)
    restricted = restricted_table()
    progress(1.0)
    return all_rounded({"reward_aware": noise, "reward_aware_restricted": restricted, "reward_aware_shared": shared})


def tilted(reward: Floats, lam: float) -> Floats:
    """pi_ref exp(r/lam), normalised."""
    log_policy = np.log(REFERENCE) + (reward - reward.max()) / lam
    policy = np.exp(log_policy - log_policy.max())
    return np.asarray(policy / policy.sum())


def bandit_of(reward: Floats) -> Bandit:
    """A uniform pi*, which no distance reads, and these rewards, (n,) or (prompts, n)."""
    reference = np.broadcast_to(REFERENCE, reward.shape)
    return Bandit(reference, np.full(reward.shape, 1 / reward.shape[-1]), rewards=reward)


def shared_table() -> pd.DataFrame:
    """``reward_aware_shared``."""
    bandit, rows = bandit_of(REWARD), []
    for lam in LAMS:
        optimum = tilted(REWARD, lam)
        for distance in DISTANCES:
            policy = solve(RewardAwarePO(float(lam), distance), bandit).policy
            rows.append({"distance": distance, "lam": lam, "tv_optimum": np.abs(policy - optimum).sum() / 2})
    return pd.DataFrame(rows)


def noise_table(seeds: int, progress: Progress = silent, data: int = 40) -> pd.DataFrame:
    """``reward_aware``: data with rewards of their own are prompts that share one policy."""
    optimum, rows = tilted(REWARD, LAM), []
    for k, sigma in enumerate(NOISE):
        for seed in range(seeds):
            noise = np.random.default_rng([17, seed]).normal(size=(data, 3))
            bandit = bandit_of(REWARD + sigma * noise)
            for distance in DISTANCES:
                policy = solve(RewardAwarePO(LAM, distance), bandit, features=FREE).policy[0]
                tv = np.abs(policy - optimum).sum() / 2
                own = {f"y{y}": policy[y] for y in range(3)}
                rows.append({"distance": distance, "noise": sigma, "seed": seed, **own, "tv_optimum": tv})
        progress((k + 1) / (len(NOISE) + 1))
    return pd.DataFrame(rows)


def restricted_table() -> pd.DataFrame:
    """``reward_aware_restricted``."""
    bandit, rows = bandit_of(REWARD), []
    losses = {distance: RewardAwarePO(1.0, distance) for distance in DISTANCES} | {"rlhf": RLHF(1.0)}
    for name, loss in losses.items():
        path = solve_path(loss, bandit, LAMS, features=FEATURE)
        for lam, policy, status in zip(LAMS, path.policies, path.status, strict=True):
            own = {f"y{y}": policy[y] for y in range(3)}
            rows.append({"loss": name, "lam": lam, **own, "expected_reward": policy @ REWARD, "status": str(status)})
    return pd.DataFrame(rows)
