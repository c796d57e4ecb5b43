"""Losses of pairs over policies of one parameter, which may lower the reward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from .. import plots
from ..plots.style import loss_label
from ..results import Result
from ..simulators.experiments import restricted_reversal
from ..simulators.experiments.restricted_reversal import DECADES, LAM, WEIGHT, N
from .simulation import Simulation

SAME = 1e-5
"""Weights that are no farther apart are taken to be the same."""


def show(tables: dict[str, pd.DataFrame]) -> Result:
    paths, thresholds, classes = tables.values()
    return Result(
        "Where losses of pairs lower the reward",
        tables,
        (_example(thresholds), _turning(thresholds), _classes(classes), _free(classes)),
        plots.restricted_reversal(paths, thresholds, classes, LAM),
    )


def _example(thresholds: pd.DataFrame) -> str:
    at: Any = thresholds.set_index(["loss", "lam"])["reward"]
    lams = sorted(thresholds["lam"].unique())

    def rewards(loss: str) -> str:
        return ", ".join(f"{at[loss, lam]:.4f}" for lam in lams)

    return f"""*Three responses, one parameter:* policies ∝ (e^t, e^−t, 1), a uniform π_ref, r\\* = (1, 2, 0),
    preferences exactly Bradley–Terry, and {WEIGHT:.0%} of the comparisons between the first and the third response.
    DPO reverses the order and lowers E[r\\*], which is 1 for π_ref **[paper**, 2510.20413**]**. At λ =
    {", ".join(f"{lam:g}" for lam in lams)} E[r\\*] is {rewards("dpo")} for DPO, {rewards("ipo")} for IPO,
    {rewards("expo")} for EXPO, {rewards("spo")} for SPO, and {rewards("rlhf")} for RLHF, which sees rewards and not
    pairs. EXPO is no exception: it lies between π_ref and the best fit of the class, and that fit is reversed.
    **[ours]**"""


def _turning(thresholds: pd.DataFrame) -> str:
    at: Any = thresholds.set_index(["loss", "lam"]).sort_index()
    lams = sorted(thresholds["lam"].unique())
    common = float(at.loc[("dpo", LAM), "low"])
    apart: Any = (thresholds["low"] - common).abs() > SAME
    others = thresholds[apart | thresholds["low"].isna()]
    alike = [loss for loss in dict.fromkeys(thresholds["loss"]) if loss not in set(others["loss"])]

    def low(loss: str) -> str:
        return ", ".join(f"{at.loc[(loss, lam), 'low']:.3f}" for lam in lams)

    return f"""*When does it turn?* {len(alike)} of {len(dict.fromkeys(thresholds["loss"]))} losses turn at one share
    of these comparisons, {common:.4f} = (2A + B)/(4A + B), A = σ(1) − 1/2 and B = σ(2) − 1/2, at each of the three λ:
    {_names(alike)}. At a uniform π_ref every loss whose slopes in log π_w and log π_l are opposite moves along Σ q_ij
    (p\\*_ij − p\\*_ji)(f_i − f_j), in which neither the loss nor λ occurs. Those that add the winner's likelihood turn
    earlier, since it pays for being compared often: SFT at {at.loc[("sft", LAM), "low"]:.3f}, RPO at {low("rpo")}, CPO
    at {low("cpo")}, ORPO at {low("orpo")}. Losses that are not convex may jump: χPO at λ = {lams[0]:g} at
    {at.loc[("chi_po", lams[0]), "low"]:.3f}, DiscoPOP at {at.loc[("discopop", LAM), "low"]:.3f}. {_odd(at, lams)}
    **[ours]**"""


Share = Callable[..., str]


def _shares(classes: pd.DataFrame) -> Share:
    """A share of random classes in words."""
    share: Any = classes.set_index(["pairs", "loss", "lam"]).sort_index()

    def of(loss: str, column: str, pairs: str = "uniform", lam: float = LAM) -> str:
        return f"{share.loc[(pairs, loss, lam), column]:.1%}"

    return of


def _classes(classes: pd.DataFrame) -> str:
    of, lams, largest = _shares(classes), sorted(classes["lam"].unique()), int(classes["classes"].max())
    compared = classes[(classes["lam"] == LAM) & (classes["classes"] == largest)]
    most: Any = compared.loc[compared.groupby("pairs")["less_reward"].idxmax()]
    worst = [
        f"{loss_label(loss)} with {pairs} pairs ({x:.1%})"
        for pairs, loss, x in most[["pairs", "loss", "less_reward"]].to_numpy()
    ]
    moved: Any = classes[classes["loss"].isin(["dpo", "ipo", "expo"])].groupby(["pairs", "loss"])["reverses"]
    spread = float(moved.agg(np.ptp).max())
    lost: Any = classes[(classes["lam"] == LAM) & (classes["no_minimiser"] > 0)].groupby("loss")["no_minimiser"].mean()
    limits = ", ".join(f"{loss_label(loss)} {x:.1%}" for loss, x in lost.items()) or "nowhere"
    return f"""*Random classes:* {N} responses, π_ref and π\\* uniform over the simplex, one normal feature; {largest}
    classes with uniform pairs and as many with weights over {DECADES} decades (fewer for losses that are searched or
    have kinks: bars are 95% intervals). An optimum *reverses* if it moves where E[r\\*] falls at π_ref. At λ = {LAM:g}
    DPO does so in {of("dpo", "reverses")} of the classes with uniform pairs and {of("dpo", "reverses", "uneven")} with
    uneven ones, EXPO in {of("expo", "reverses")} and {of("expo", "reverses", "uneven")}; with less reward than π_ref
    end {of("dpo", "less_reward")} and {of("dpo", "less_reward", "uneven")} for DPO, {of("expo", "less_reward")} and
    {of("expo", "less_reward", "uneven")} for EXPO, most often, among losses that are convex and smooth,
    {" and ".join(worst)}. RLHF never ends with less. Where there is no minimiser ({limits}) the limit counts. Whether
    a convex loss ψ(λh̄) reverses depends neither on ψ nor on λ, so that DPO and IPO do on the same classes; nor does λ
    decide it for EXPO (shares of the three at different λ differ by at most {spread:.2g}). How much reward goes
    depends on λ: DPO at λ = {lams[0]:g} ends below π_ref in {of("dpo", "less_reward", lam=lams[0])}, more often than
    it reverses, since it overshoots. **[ours]**"""


def _free(classes: pd.DataFrame) -> str:
    of = _shares(classes)
    return f"""*What the restriction does, and what it does not.* Over all policies RLHF and DPO never have less reward
    than π_ref; IPO has in {of("ipo", "less_reward_free")} of the classes, EXPO in {of("expo", "less_reward_free")}
    (uneven pairs: {of("expo", "less_reward_free", "uneven")}), because it goes towards π\\*, and π\\* itself may have
    less. Its own aim is another, to come nearer to π\\*: over all policies it is never farther from π\\* in KL(π ‖
    π\\*) (a theorem: {of("expo", "farther_free")} and {of("expo", "farther_free", "uneven")} here), DPO is in
    {of("dpo", "farther_free")}. In classes of one parameter the theorem is gone: EXPO is farther in
    {of("expo", "farther")} (uneven pairs: {of("expo", "farther", "uneven")}), DPO in {of("dpo", "farther")}
    ({of("dpo", "farther", "uneven")}), IPO in {of("ipo", "farther")} ({of("ipo", "farther", "uneven")}). **[ours]**"""


def _names(losses: list[str]) -> str:
    return "; ".join(loss_label(loss) for loss in losses)


def _odd(at: Any, lams: list[float]) -> str:
    """What becomes of losses that never reverse, or reverse where few pairs are the first and the third."""
    found = []
    still = [loss for loss in at.index.unique("loss") if loss != "rlhf" and at.loc[loss, "low"].isna().all()]
    for loss in still:
        low, high = at.loc[loss, "t"].min(), at.loc[loss, "t"].max()
        where = (
            "stays at π_ref" if max(abs(low), abs(high)) < 1e-6 else f"is never reversed (t = {low:.2g} to {high:.2g})"
        )
        found.append(f"{loss_label(loss)} {where}.")
    for loss in at.index.unique("loss"):
        for lam in lams:
            if at.loc[(loss, lam), "low"] == 0:
                high = at.loc[(loss, lam), "high"]
                found.append(f"{loss_label(loss)} at λ = {lam:g} is reversed below {high:.3f}, and not above.")
    return " ".join(found)


SIMULATION = Simulation(
    "Policies of one parameter: on which problems does each loss lower the reward that its pairs were made from?",
    restricted_reversal,
    show,
)
