"""Error to pi* against the number of comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .. import plots
from ..plots.style import LOOKS
from ..results import Result
from ..simulators.experiments import finite_data
from .simulation import Simulation

IMPLICIT, EXPLICIT = ["dpo", "ipo", "fdpo"], ["expo", "regression_expo"]


def show(tables: dict[str, pd.DataFrame]) -> Result:
    errors = tables["finite_data"]
    by_loss = ["reference", "choice", "measure", "loss"]
    at: Any = errors.set_index([*by_loss, "pairs"]).sort_index()
    rates: Any = tables["finite_data_rates"].set_index(by_loss)
    population: Any = tables["finite_data_population"].set_index(by_loss)["error"]
    efficient = tables["finite_data_efficient"].set_index("pairs")["error"]
    ends: Any = tables["finite_data_ends"].set_index(["reference", "loss", "pairs", "end"])["error"]
    few, more, *_, most = sorted(errors["pairs"].unique())
    fit_from = int(tables["finite_data_rates"]["from_pairs"].iloc[0])
    sets = int(errors["data_sets"].iloc[0])
    fixed = float(errors.loc[errors["choice"] == "fixed", "lam"].iloc[0])
    trained = sorted(tables["finite_data_ends"]["pairs"].unique())
    size = trained[len(trained) // 2]
    far: Any = at.loc[("far", "best", "tv")]
    upper: Any = far.loc["expo", "predicted_lam_high"]
    upper = upper[upper.index >= fit_from]
    edge = np.polyfit(np.log(upper.index), np.log(upper), 1)[0]
    gain = 1 - far.loc[("expo", fit_from), "predicted"] / efficient[fit_from]

    def slope(reference: str, loss: str, measure: str = "tv") -> str:
        rate = rates.loc[(reference, "best", measure, loss)]
        return minus(f"{rate['slope']:.2f} ± {rate['standard_error']:.2f}")

    def left(reference: str, losses: list[str], choice: str = "best") -> str:
        return ", ".join(f"{population[reference, choice, 'tv', x]:.2g} ({LOOKS[x].label})" for x in losses)

    def none(loss: str, pairs: int, column: str = "no_minimiser") -> int:
        return int(at.loc[("far", "best", "kl", loss, pairs), column])

    def end(loss: str, name: str) -> str:
        return f"{ends['far', loss, size, name]:.3f}"

    return Result(
        "Finite data",
        tables,
        (
            f"""Exact optima on {sets} data sets of each size, π\\* = (0.6, 0.3, 0.1), uniform pairs; π_ref = (0.4, 0.4,
            0.2) above, (0.62, 0.29, 0.09) below. The best λ is chosen with π\\* known, as nobody can in practice: on
            one half of the data sets for use on the other half. *EXPO at its best λ* falls as an efficient estimate
            does, whose error the Fisher information gives (grey): fitted slopes of mean TV from N = {fit_from:,} on are
            {slope("far", "expo")} (compositional) and {slope("far", "regression_expo")} (regression), and of median
            KL(π\\* ‖ π) {slope("far", "expo", "kl")} and {slope("far", "regression_expo", "kl")}, against −1/2 and −1
            in theory. With the near reference the slopes of TV are still {slope("near", "expo")} and
            {slope("near", "regression_expo")}: there π_ref itself is a good estimate until N is in the thousands, so
            that the error starts lower and falls later. **[ours]**""",
            f"""*DPO, IPO and f-DPO at their best λ* level off, at the distance from π\\* to the nearest policy that
            some λ reaches: {left("far", IMPLICIT)} with the far reference.
            {_small_samples(far["error"].unstack("loss"))} The near reference is sharper than π\\*, and these losses can
            only make it sharper still: their best λ is the largest on the grid, which leaves π_ref where it is,
            {at.loc[("near", "best", "tv", "ipo", most), "error"]:.3f} away. It is a matter of luck on which side π_ref
            lies: as near but flatter, (0.58, 0.31, 0.11), leaves {left("near, flatter", IMPLICIT)}. **[ours]**""",
            f"""*At a fixed λ = {fixed:g}* every loss levels off, at the error of its optimum on the population:
            {left("far", [*IMPLICIT, *EXPLICIT], "fixed")}; with the near reference, since EXPO's bias is O(λ) times
            what π_ref is away, {left("near", EXPLICIT, "fixed")}. The dotted lines are the delta method, bias and
            sandwich covariance at that λ, an argument that has seen no data set. **[ours]**""",
            f"""*The trade-off:* EXPO is the posterior mode under a prior worth λN draws from π_ref. Its bias is O(λ),
            its noise N^(−1/2): all λ up to about N^(−1/2) are as good as the best within 10% (band; by the delta method
            the slope of its upper edge is {minus(f"{edge:.2f}")}). The very best λ is O(1/N), a prior whose worth does
            not grow with N (on two responses exactly p(1 − p)/(N (π_ref − π\\*)²)), but it hardly matters: at N =
            {fit_from:,} it gains {gain:.1%} over λ → 0 with the far reference by the delta method, less than {sets}
            data sets can show, and where the line jumps, it says no more than that. **[ours]**""",
            f"""*Data sets without a minimiser:* of {sets} with N = {few}, {none("dpo", few)} are separable and leave
            DPO and f-DPO none, at any λ; with N = {more}, {none("dpo", more)}. They are counted with the limit of
            minimising sequences, in which some response has no mass: a finite TV, and an infinite KL(π\\* ‖ π)
            ({none("dpo", few, "infinite")} of {sets}), which is why KL goes by its median. IPO and EXPO have a
            minimiser on every data set. RLHF needs no line of its own: on win counts its optimum is DPO's.
            **[ours]**""",
            f"""*Training* (Adam, batches of 25, N = {size:,}, λ = {fixed:g}) ends where the optimum is: EXPO at
            {end("expo", "last")} (exact {end("expo", "optimum")}), DPO at {end("dpo", "last")} (exact
            {end("dpo", "optimum")}). On its way from the far reference DPO passes π\\* at {end("dpo", "nearest")}, but
            held-out comparisons do not tell it to stop: the record with the lowest validation risk is
            {end("dpo", "validation")} away, since DPO's risk is that of its rewards λ log π/π_ref, which fit better and
            better. EXPO loses by such a choice, {end("expo", "validation")}: a quarter as many comparisons tell less
            than those that the optimum has used. **[ours]**""",
        ),
        plots.finite_data(*(tables[f"finite_data{x}"] for x in ("", "_efficient", "_training", "_ends"))),
    )


def _small_samples(error: Any) -> str:
    """Where the best implicit loss is ahead of EXPO, each at its best lambda; ``error`` has losses in columns."""
    implicit, explicit = error[IMPLICIT].min(axis=1), error[EXPLICIT].min(axis=1)
    ahead = error.index[implicit < explicit]
    if not len(ahead):
        return "They are ahead of EXPO at no size."
    first, last = ahead.min(), ahead.max()
    return (
        f"In samples of up to N = {last:,} the best of them does no worse than EXPO ({implicit[first]:.3f} against "
        f"{explicit[first]:.3f} at N = {first:,}, {implicit[last]:.3f} against {explicit[last]:.3f} at N = {last:,}): "
        "a bias towards π_ref is worth as much there as consistency."
    )


def minus(number: str) -> str:
    """With a proper minus sign."""
    return number.replace("-", "−")


SIMULATION = Simulation(
    "How fast does each loss come closer to π* with more comparisons, and at which λ?", finite_data, show
)
