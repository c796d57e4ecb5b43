"""Error to pi* against the number of comparisons."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .. import plots
from ..plots.style import LOOKS
from ..results import Result
from ..simulators.experiments import finite_data
from .simulation import Simulation

IMPLICIT = ("dpo", "ipo", "fdpo")


def show(tables: dict[str, pd.DataFrame]) -> Result:
    errors = tables["finite_data"]
    tv = errors[errors["measure"] == "tv"].set_index(["reference", "choice", "loss", "pairs"]).sort_index()
    rates = tables["finite_data_rates"].set_index(["reference", "choice", "measure", "loss"])
    population = tables["finite_data_population"].set_index(["reference", "choice", "measure", "loss"])["error"]
    ends = tables["finite_data_ends"].set_index(["reference", "loss", "pairs", "end"])["error"]
    sizes = sorted(errors["pairs"].unique())
    few, most = sizes[0], sizes[-1]
    fit_from = int(tables["finite_data_rates"]["from_pairs"].iloc[0])
    best = tv["error"].xs("best", level="choice")
    none = tv["no_minimiser"].xs("best", level="choice")["far"]
    infinite = errors.query("measure == 'kl' and choice == 'best' and reference == 'far'").set_index(["loss", "pairs"])
    sets = int(errors["data_sets"].iloc[0])
    fixed = float(errors.loc[errors["choice"] == "fixed", "lam"].iloc[0])
    trained = sorted(tables["finite_data_ends"]["pairs"].unique())
    size = trained[len(trained) // 2]
    widest = tv.xs("best", level="choice").loc["far", "expo"]
    later = widest[widest.index >= fit_from]
    edge = np.polyfit(np.log(later.index), np.log(later["predicted_lam_high"]), 1)[0]

    def slope(reference: str, loss: str, choice: str = "best", measure: str = "tv") -> str:
        rate = rates.loc[(reference, choice, measure, loss)]
        return f"{rate['slope']:.2f} ± {rate['standard_error']:.2f}".replace("-", "−")

    def left(reference: str, choice: str = "best") -> str:
        return ", ".join(f"{population[reference, choice, 'tv', x]:.2g} ({LOOKS[x].label})" for x in IMPLICIT)

    ahead = best["far"].unstack("loss")
    leads = ahead.index[ahead[list(IMPLICIT)].min(axis=1) < ahead[["expo", "regression_expo"]].min(axis=1)]
    small = (
        f"Up to N = {leads.max():,} the best of the implicit losses at its best λ is ahead "
        f"({ahead.loc[few, list(IMPLICIT)].min():.3f} against {ahead.loc[few, ['expo', 'regression_expo']].min():.3f} "
        f"at N = {few}): a bias towards π_ref is worth more there than consistency."
        if len(leads)
        else "The implicit losses are ahead at no size."
    )
    return Result(
        "Finite data",
        tables,
        (
            f"""Exact optima on {sets} data sets of each size, π\\* = (0.6, 0.3, 0.1), uniform pairs; π_ref = (0.4, 0.4,
            0.2) above, (0.62, 0.29, 0.09) below. The best λ is chosen with π\\* known, as nobody can in practice: on
            one half of the data sets for use on the other half. *EXPO at its best λ* falls as an efficient estimate
            does, whose error the Fisher information gives (grey): fitted slopes of mean TV from N = {fit_from:,} on are
            {slope("far", "expo")} (compositional) and {slope("far", "regression_expo")} (regression), and of median
            KL(π\\* ‖ π) {slope("far", "expo", measure="kl")}, against −1/2, −1/2 and −1 in theory. With the near
            reference the slopes are still {slope("near", "expo")} and {slope("near", "regression_expo")}: there π_ref
            itself is a good estimate until N is in the thousands, so that the error starts lower and falls later.
            **[ours]**""",
            f"""*DPO, IPO and f-DPO at their best λ* level off, at the distance from π\\* to the nearest point of the
            curve of policies that λ can reach: {left("far")} with the far reference. {small} The near reference is
            sharper than π\\*, and these losses can only make it sharper still: their best λ is the largest on the grid,
            which leaves π_ref as it is, {best["near", "ipo", most]:.3f} away. It is a matter of luck on which side
            π_ref lies: as near but flatter, (0.58, 0.31, 0.11), leaves {left("near, flatter")}. **[ours]**""",
            f"""*At a fixed λ = {fixed:g}* every loss levels off, at the error of its optimum on the population: EXPO at
            {population["far", "fixed", "tv", "expo"]:.2g} and {population["far", "fixed", "tv", "regression_expo"]:.2g}
            with the far reference and at {population["near", "fixed", "tv", "expo"]:.1e} and
            {population["near", "fixed", "tv", "regression_expo"]:.1e} with the near one, which is O(λ) times the
            distance of π_ref; the implicit losses at {left("far", "fixed")}. The dotted lines are the delta method,
            bias and sandwich covariance at that λ, an argument that knows nothing of the data sets. *The trade-off:*
            EXPO's bias is O(λ) and its noise N^(−1/2), so all λ up to about N^(−1/2) are as good as the best within 10%
            (band; the fitted slope of its upper edge, by the delta method, is {edge:.2f}). The very best λ is O(1/N),
            but what it gains over λ → 0 is lost in the noise as soon as N is in the thousands; where the line jumps, it
            says no more than that. EXPO is the posterior mode under a prior worth λN draws from π_ref, and the best
            prior has a size that does not grow with N. **[ours]**""",
            f"""*Data sets without a minimiser:* of {sets} with N = {few}, {none["dpo", few]:.0f} are separable and
            leave DPO and f-DPO none, at any λ ({none["dpo", sizes[1]]:.0f} at N = {sizes[1]}). They are counted with
            the limit of minimising sequences, which lacks some response altogether: a finite TV, and an infinite
            KL(π\\* ‖ π) ({infinite.loc[("dpo", few), "infinite"]:.0f} of {sets} at the best λ), which is why KL goes by
            its median. IPO and EXPO have a minimiser on every one. RLHF needs no line of its own: on win counts its
            optimum is DPO's.""",
            f"""*Training* (Adam, batches of 25, N = {size:,}, λ = {fixed:g}) ends where the optimum is: EXPO at
            {ends["far", "expo", size, "last"]:.3f} (exact {ends["far", "expo", size, "optimum"]:.3f}), DPO at
            {ends["far", "dpo", size, "last"]:.3f} ({ends["far", "dpo", size, "optimum"]:.3f}). On the way from the far
            reference DPO passes π\\* at {ends["far", "dpo", size, "nearest"]:.3f}, but held-out comparisons do not tell
            it to stop: the record with the lowest validation risk is {ends["far", "dpo", size, "validation"]:.3f} away,
            since DPO's risk measures rewards, not the policy. For EXPO this choice among records does harm,
            {ends["far", "expo", size, "validation"]:.3f}: a quarter as many comparisons choose worse than the optimum
            itself. **[ours]**""",
        ),
        plots.finite_data(*(tables[f"finite_data{x}"] for x in ("", "_efficient", "_training", "_ends"))),
    )


SIMULATION = Simulation(
    "How fast does each loss come closer to π* with more comparisons, and at which λ?", finite_data, show
)
