"""What constraints make of RLHF, DPO and EXPO."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .. import plots
from ..results import Result
from ..simulators.experiments import constraints
from .simulation import Simulation

NAMES = {"weight_decay": "weight decay", "early_stopping": "early stopping", "few_features": "too few features"}


def show(tables: dict[str, pd.DataFrame]) -> Result:
    summary, search = tables["constraints"], tables["constraints_search"]
    small, large = summary["lam"].min(), summary["lam"].max()
    searched = search[search["lam"] == small].iloc[0]

    def rows(constraint: str, loss: str, lam: float = small, pairs: str = "reference") -> pd.DataFrame:
        wanted = {"pairs": pairs, "constraint": constraint, "lam": lam, "loss": loss}
        kept = np.all([summary[column] == value for column, value in wanted.items()], axis=0)
        return summary[kept].sort_values("strength", ignore_index=True)

    def worst(measure: str, constraint: str, loss: str, lam: float = small, pairs: str = "reference") -> float:
        return float(rows(constraint, loss, lam, pairs)[measure].max())

    regrets = ", ".join(
        f"{name} {worst('regret', c, 'dpo'):.2g} (at λ = {large:g}: {worst('regret', c, 'dpo', large):.2g})"
        for c, name in NAMES.items()
    )
    features, starts = rows("few_features", "dpo"), rows("few_features", "rlhf")["share_of_starts_agreeing"].iloc[0]
    decays, stops, adam = (rows(c, "dpo") for c in ("weight_decay", "early_stopping", "early_stopping_adam"))
    lost = {
        (c, loss): worst("reward_lost", c, loss) for c in ("weight_decay", "early_stopping") for loss in ("dpo", "rlhf")
    }
    uniform = max(worst("reward_lost", c, "dpo", pairs="uniform") for c in ("weight_decay", "early_stopping"))
    nearest, nearest_stop = (x.iloc[x["kl_optimal_policy"].argmin()] for x in (decays, stops))
    expo = rows("weight_decay", "expo")["kl_optimal_policy"].iloc[0]
    distance = tables["constraints_reference"].set_index("problems")["kl_optimal_policy"]
    shares = summary[summary["loss"] == "expo"].groupby("constraint")["share_between"].min()
    return Result(
        "Restricted policies: RLHF, DPO and EXPO",
        tables,
        (
            f"""Over all policies RLHF and DPO have the same optimum; once policies are restricted they part
            **[paper]**, and by how much is a number. *Top row:* the median over random problems of what DPO's policy
            costs in RLHF's own objective, at the worst strength and λ = {small:g}: {regrets}, in nats. It ends where
            the constraint does: with {features["strength"].iloc[-1]:.0f} features, which reach every policy, no regret
            is left ({features["regret_high"].iloc[-1]:.1g}). Weight decay is part of both objectives; early stopping
            compares equal numbers of steps. RLHF is not convex over restricted policies: over few features only about
            {starts:.0%} of its starts found the best point known, so the regret there is at least what is shown.""",
            f"""*Second row* **[ours]**: under weight decay and early stopping this regret is mostly one of strength.
            DPO's gradient carries a factor λ that RLHF's does not, so that the same decay, or the same number of steps,
            holds it back more. Measured against the best policy at its own KL from π_ref, DPO leaves less reward lying
            than RLHF under the same decay (at the worst strength {lost["weight_decay", "dpo"]:.2g} against
            {lost["weight_decay", "rlhf"]:.2g} nats) and stopped at the same step
            ({lost["early_stopping", "dpo"]:.2g} against {lost["early_stopping", "rlhf"]:.2g}); on uniformly drawn
            pairs it hardly leaves RLHF's own path of optima at all ({uniform:.0e}). Late in training DPO is ahead in
            RLHF's own objective on {stops["share_regret_negative"].iloc[-1]:.0%} of the problems, and with Adam, which
            takes the factor away, on {adam["share_regret_negative"].median():.0%} at the median record and on
            {adam["share_regret_negative"].iloc[-1]:.0%} at the end: gradients of RLHF vanish where the policy has
            committed itself. Too few features are another matter: there the class is the same for both, and the
            regret is DPO's.""",
            f"""*Third row:* at λ = {small:g} weight decay and early stopping help DPO, by keeping it from its optimum,
            which is {decays["kl_optimal_policy"].iloc[0]:.2g} nats from π\\*: at a decay of {nearest["strength"]:.2g}
            it comes to {nearest["kl_optimal_policy"]:.2g} nats, stopped after {nearest_stop["strength"]:.0f} steps to
            {nearest_stop["kl_optimal_policy"]:.2g}, the reference being at {distance["single"]:.2g}. Both strengths
            must be found first; EXPO needs neither, and is at {expo:.2g}. With too few features DPO's median is
            always further from π\\* than the reference ({features["kl_optimal_policy"].min():.2g} nats and more against
            {distance["shared"]:.2g}), and RLHF further still (up to
            {worst("kl_optimal_policy", "few_features", "rlhf"):.2g}).""",
            f"""*Bottom row:* (KL(π_ref ‖ π) + KL(π ‖ fit)) / KL(π_ref ‖ fit), at most 1 for a policy between the
            reference and the best fit to the preferences that the constraint allows. For EXPO this is a theorem under
            weight decay and over any features **[ours]**, and held on {shares["weight_decay"]:.0%} and
            {shares["few_features"]:.0%} of the problems. The best fit may itself be worse than π_ref, where the
            features cannot follow the preferences: between is not better. Early stopping has no such theorem: measured
            against π\\*, it held on {shares["early_stopping"]:.0%} of these problems, but with pair weights over four
            decades
            {searched["share_not_between"]:.0%} of {searched["problems"]:.0f} others leave the stretch on their way (by
            a factor of up to {searched["largest_detour"]:.2g}), and {searched["share_further_than_reference"]:.0%} are
            for a while further from π\\* than the reference is (up to {searched["largest_kl_quotient"]:.2g} times).""",
        ),
        plots.constraints(summary, tables["constraints_reference"]),
    )


SIMULATION = Simulation(
    "Weight decay, early stopping, too few features: what do they make of RLHF, DPO and EXPO?", constraints, show
)
