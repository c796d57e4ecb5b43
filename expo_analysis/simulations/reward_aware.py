"""RPO's three distances between lam hbar and a reward's differences."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .. import plots
from ..results import Result
from ..simulators.experiments import reward_aware
from .simulation import Simulation


def show(tables: dict[str, pd.DataFrame]) -> Result:
    noise, restricted, shared = (tables[f"reward_aware{end}"] for end in ("", "_restricted", "_shared"))
    apart = shared["tv_optimum"].max()
    means: Any = noise.groupby(["noise", "distance"])["tv_optimum"].mean().unstack()
    largest = float(means.index.max())
    wide = noise.pivot(index=["noise", "seed"], columns="distance", values="tv_optimum")
    forward: Any = (wide["forward_kl"] - wide["squared"]).abs().max()
    reward: Any = restricted.pivot(index="lam", columns="loss", values="expected_reward")
    best: Any = reward.max()
    spread: Any = (
        reward[["squared", "backward_kl", "forward_kl"]].max(axis=1)
        - reward[["squared", "backward_kl", "forward_kl"]].min(axis=1)
    ).max()
    low = reward.index.min()
    return Result(
        "Reward-aware preference optimisation",
        tables,
        (
            f"""RPO (arXiv 2502.00203) fits λ h̄ to a reward's difference η (r_w − r_l) by a squared distance, a backward
            KL (the target first) or a forward KL (the policy first). *Over all policies* the three have one optimum,
            π_ref exp(η r/λ), that of RLHF with this reward: here no TV from it is above {max(apart, 1e-9):.0e} at any
            λ. The paper states the connection; the numbers are **[ours]**.""",
            f"""*Noise.* Each datum has a reward of its own, r plus noise, and one policy serves all. The squared
            distance asks for the mean of the differences, and so does the forward KL, whose gradient
            σ'(λh̄)(λh̄ − η Δr) is zero at the mean too: they differ by no more than {max(forward, 1e-9):.0e}. The
            backward KL asks for the mean of σ(η Δr), which noise pulls towards 1/2: at a standard deviation of
            {largest:g} its optimum is {means.loc[largest, "backward_kl"]:.2f} from the one for r, the others'
            {means.loc[largest, "squared"]:.2f}, which more data would remove and not the former. **[ours]**""",
            f"""*Restricted policies.* With one feature that cannot follow the reward the three have optima of their
            own, by up to {spread:.2f} in expected reward. At λ = {low:g} RLHF earns {reward.loc[low, "rlhf"]:.2f}, the
            three {reward.loc[low, "squared"]:.2f}: for small λ they fit differences of rewards, not an expectation. The
            best that each reaches at any λ is {best["rlhf"]:.2f} for RLHF, {best["squared"]:.2f} (squared),
            {best["forward_kl"]:.2f} (forward), {best["backward_kl"]:.2f} (backward). **[ours]**""",
        ),
        plots.reward_aware(noise, restricted),
    )


SIMULATION = Simulation(
    "Three distances to a reward: where do they share an optimum, and where do they part?", reward_aware, show
)
