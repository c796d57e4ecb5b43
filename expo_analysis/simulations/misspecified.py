"""Preferences that are not Bradley-Terry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .. import plots
from ..results import Result
from ..simulators.experiments import misspecified
from ..simulators.experiments.misspecified import mixed
from .simulation import Simulation


def show(tables: dict[str, pd.DataFrame]) -> Result:
    ends, paths = tables["misspecified"], tables["misspecified_path"]
    at: Any = ends.set_index(["preferences", "strength", "loss"]).sort_index()
    path: Any = paths.set_index(["preferences", "loss", "lam"]).sort_index()
    lam, strength = ends["lam"].dropna().iloc[0], paths["strength"].iloc[0]
    low = paths["lam"].min()
    policies: Any = ends.pivot(index=["strength", "loss"], columns="preferences", values="y0")
    apart = (policies["noise"] - policies["cycle"]).abs().groupby("loss").max()
    same = ["dpo", "ipo", "fdpo", "expo"]
    expo = pd.concat([ends, paths]).query("loss == 'expo'")
    best_lam = float(path.loc[("noise", "expo"), "tv_optimal"].idxmin())
    least = path.loc[("noise", "expo", best_lam), "tv_optimal"]
    helps = "no λ undoes it" if best_lam == low else f"at the best λ, {best_lam:.2g}, TV from π\\* is {least:.3f}"
    cycles: Any = ends[ends["preferences"] == "cycle"].pivot(index="strength", columns="loss", values="worst_win_rate")
    beaten = cycles.index[mixed("cycle", cycles.index.to_numpy())[:, 2, 0] > 0.5].min()
    overtaken = cycles.index[cycles["expo"] > cycles["dpo"]].min()
    strong: Any = ends.query("preferences == 'cycle' and loss == 'fdpo'").set_index("strength")["worst_win_rate"]
    worst_at = float(strong.idxmin())
    corrections = tables["misspecified_corrections"]
    population: Any = corrections[np.isinf(corrections["pairs"])].set_index(["loss", "noise", "assumed"])
    samples: Any = corrections[np.isfinite(corrections["pairs"])].set_index(["loss", "pairs"])
    rate = float(corrections.loc[np.isfinite(corrections["pairs"]), "noise"].iloc[0])
    sizes = sorted(samples.index.get_level_values("pairs").unique())
    told: Any = population.loc["robust_dpo"].reset_index()
    recovered = told.loc[told["noise"] == told["assumed"], "error"].max()
    wrong: Any = told[(told["assumed"] == rate) & (told["noise"] < rate)].set_index("noise")
    none = [f"{x:g}" for x in wrong.index[wrong["no_minimiser"] > 0]]
    orders: Any = tables["misspecified_orders"].set_index(["preferences", "pairs", "fit"])

    def tv(kind: str, s: float, loss: str) -> float:
        return float(at.loc[(kind, s, loss), "tv_optimal"])

    def worst(kind: str, s: float, loss: str) -> float:
        return float(at.loc[(kind, s, loss), "worst_win_rate"])

    def share(preferences: str, pairs: str, fit: str, column: str = "not_borda") -> str:
        return f"{orders.loc[(preferences, pairs, fit), column]:.1%}"

    return Result(
        "Preferences that no policy reproduces",
        tables,
        (
            f"""π\\* = (0.6, 0.3, 0.1), π_ref = (0.4, 0.4, 0.2), uniform pairs; the preferences of π\\* are mixed with a
            share s of coin flips (label noise at the rate s/2), of a cycle y₁ > y₂ > y₃ > y₁, or of an annotator who
            always names the better response. As λ → 0 compositional EXPO goes to π_fit, the Bradley-Terry
            maximum-likelihood policy, at a rate O(λ): TV {path.loc[("noise", "expo", low), "tv_fit"]:.1e} at λ =
            {low:.0e} (s = {strength:g}); DPO, IPO and f-DPO go to the point mass on the mode
            ({path.loc[("noise", "dpo", low), "tv_fit"]:.2f} away), and regression EXPO to another fit, by squared error
            ({path.loc[("noise", "regression_expo", low), "tv_fit"]:.1e} away with noise,
            {path.loc[("cycle", "regression_expo", low), "tv_fit"]:.1e} with the cycle). The three points hold: KL(π_ref
            ‖ π) + KL(π ‖ π_fit) exceeds KL(π_ref ‖ π_fit) at none of {expo["slack"].notna().sum()} EXPO optima (least
            slack {expo["slack"].min():.1e}). **[ours]**""",
            f"""*Label noise biases EXPO, and {helps}.* π_fit moves from π\\* towards uniform, by
            {tv("noise", 0.2, "fit"):.3f} in TV with 10% of the labels flipped and {tv("noise", 0.4, "fit"):.3f} with
            20%; with two responses by exactly ε |1 − 2π\\*₁|. Noise acts like a reference that is uniform. At λ =
            {lam:g} EXPO is nearer to π\\* than the three implicit losses only up to s = {_last_ahead(ends):g}: beyond,
            noise has flattened them so far that they pass π\\* by on their way to π_ref, which they return when labels
            are nothing but noise. That is no merit of theirs: where they pass depends on λ. IPO under a rate ε of flips
            is exactly IPO without, at λ/(1 − 2ε). **[ours]**""",
            f"""*A cycle is invisible.* DPO, IPO, f-DPO and compositional EXPO depend on the preferences only through
            how often each response wins, so that with uniform pairs a cycle of strength s and noise of strength s have
            the same optima: the policies of the first two columns differ by at most {apart[same].max():.2g} at any s
            (the tables have ten decimals), regression EXPO's by {apart["regression_expo"]:.2f}. What differs is what
            the policies are worth (third row: the chance of being preferred to the worst opponent; 1/2 is the most that
            can be had). While one response beats all others, the point mass on it is the best there is, and EXPO, which
            reproduces preferences instead of winning, has less: {worst("noise", 0.0, "expo"):.2f} against
            {worst("noise", 0.0, "dpo"):.2f} without any noise. From s = {beaten:g} on y₃ beats y₁, the point mass loses
            to it, and at s = {overtaken:g} EXPO overtakes DPO: at s = {worst_at:g} f-DPO has
            {worst("cycle", worst_at, "fdpo"):.2f}, DPO {worst("cycle", worst_at, "dpo"):.2f}, EXPO
            {worst("cycle", worst_at, "expo"):.2f}. In a pure cycle EXPO goes to the uniform policy as λ → 0, which is
            the only one that is not beaten, and DPO, IPO and f-DPO to π_ref at every λ. **[ours]**""",
            f"""*An annotator who never errs* (s = 1) leaves DPO and f-DPO without a minimiser at any λ; IPO and EXPO
            have one, at λ = {lam:g} with {at.loc[("order", 1.0, "ipo"), "y0"]:.3f} and
            {at.loc[("order", 1.0, "expo"), "y0"]:.3f} on y₁. (For DPO and IPO an observation of IPO's authors; for EXPO
            **[ours]**.)""",
            f"""*Knowing the rate of flips* (last row, DPO at λ = 1): robust DPO recovers DPO's optimum without noise
            exactly on the population, as its authors say (largest error {recovered:.2g}); conservative DPO, told the
            same, goes the other way, since it smooths what is already smooth: at a rate {rate:g} it is
            {population.loc[("conservative_dpo", rate, rate), "error"]:.3f} away, plain DPO
            {population.loc[("dpo", rate, 0.0), "error"]:.3f}. The price of robust DPO is variance, with N =
            {sizes[0]:g} pairs {samples.loc[("robust_dpo", sizes[0]), "error"]:.3f} against
            {samples.loc[("dpo", sizes[0]), "error"]:.3f} for plain DPO, and data sets without a minimiser
            ({samples.loc[("robust_dpo", sizes[0]), "no_minimiser"]:.0f} of
            {samples.loc[("robust_dpo", sizes[0]), "data_sets"]:.0f}, plain DPO
            {samples.loc[("dpo", sizes[0]), "no_minimiser"]:.0f}). Told a rate that is too high it corrects too much:
            told {rate:g} it has no minimiser even on the population where the rate is {" or ".join(none) or "lower"},
            and at a rate of {wrong.index[1]:g} it is {wrong["error"].iloc[1]:.3f} away, plain DPO
            {population.loc[("dpo", wrong.index[1], 0.0), "error"]:.3f}. **[ours]**""",
            f"""*Orders* (a table only: {orders["problems"].iloc[0]} random problems of each kind, four responses). With
            uniform pairs the Bradley-Terry fit and IPO rank responses by their mean win rates (Borda), whatever the
            preferences: {share("any", "uniform", "likelihood")} and {share("any", "uniform", "ipo")} differ; the fit by
            squared error does not ({share("any", "uniform", "squared_error")}). With uneven pairs none does
            ({share("any", "uneven", "likelihood")}, {share("any", "uneven", "ipo")},
            {share("any", "uneven", "squared_error")}). IPO then misses the best response in
            {share("bradley_terry", "uneven", "ipo", "wrong_best")} of the problems *even if preferences are exactly
            Bradley-Terry*, since it fits 2p − 1 where log-odds add up; the likelihood never does
            ({share("bradley_terry", "uneven", "likelihood", "wrong_best")}), but with 20% of the labels flipped it does
            in {share("noisy", "uneven", "likelihood", "wrong_best")}, and so do DPO as λ → 0 and EXPO, whose limits it
            is. **[ours]**""",
        ),
        plots.misspecified(ends, paths, corrections),
    )


def _last_ahead(ends: pd.DataFrame) -> float:
    """The largest strength of noise up to which EXPO is nearer to pi* than DPO, IPO and f-DPO."""
    tv: Any = ends[ends["preferences"] == "noise"].pivot(index="strength", columns="loss", values="tv_optimal")
    behind = tv.index[tv["expo"] >= tv[["dpo", "ipo", "fdpo"]].min(axis=1)]
    return float(tv.index[tv.index < behind.min()].max())


SIMULATION = Simulation(
    "Label noise, cycles, an annotator who never errs: what does each loss make of such preferences?",
    misspecified,
    show,
)
