"""Pairs that the policy draws itself."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .. import plots
from ..on_policy import nash_policy
from ..results import Result
from ..simulators.experiments import on_policy
from ..simulators.experiments.on_policy import CYCLE, ETA, TAU
from .simulation import Simulation


def show(tables: dict[str, pd.DataFrame]) -> Result:
    points, rounds, xpo = (tables[name] for name in ("on_policy", "on_policy_rounds", "on_policy_xpo"))
    at: Any = points.set_index(["population", "loss", "pairs", "lam"]).sort_index()
    lams = sorted(points["lam"].unique())
    low, middle = lams[0], lams[len(lams) // 2]
    own, uniform = (points[points["pairs"] == kind].reset_index(drop=True) for kind in ("own", "uniform"))
    apart: Any = (own[["y0", "y1", "y2"]] - uniform[["y0", "y1", "y2"]]).abs().max(axis=1)
    dpo = apart[(own["loss"] == "dpo") & (own["population"] == "bradley_terry")].max()
    expo = apart[(own["loss"] == "expo") & (own["population"] == "bradley_terry")].max()
    unstable = int((~points["stable"]).sum())
    several = int((own["fixed_points"] > 1).sum())
    last: Any = rounds.sort_values("step").groupby("method").last()
    late: Any = rounds[rounds["step"] >= rounds["step"].max() // 2].groupby("method")["worst_win_rate"]
    share: Any = xpo.set_index(["n", "pairs", "ratio"])["exists"]
    ratios = sorted(xpo["ratio"].unique())
    tenth = min(ratios, key=lambda r: abs(r - 0.1))

    def win(loss: str, pairs: str, lam: float) -> str:
        return f"{at.loc[('cycle', loss, pairs, lam), 'worst_win_rate']:.3f}"

    return Result(
        "Pairs drawn by the policy itself",
        tables,
        (
            f"""Pairs of two different responses are drawn with q_ij ∝ π_i π_j, and the gradient takes q as constant.
            *Where a policy has the preferences* (π\\* = (0.2, 0.2, 0.6), π_ref = (0.5, 0.3, 0.2)), DPO rests at the
            optimum that it has on any other pairs (difference at most {dpo:.1g}), since its margins reproduce each
            preference; EXPO and IPO rest elsewhere, EXPO at most {expo:.3f} away in any probability, and still at a
            place where its chain leads from π_ref towards π\\*: every step of it improves. Searches found more than one
            fixed point in {several} of {len(own)} settings, and {unstable or "none"} that gradient descent would leave.
            **[ours]**""",
            f"""*Where preferences go round*, y₁ beats y₂, y₂ beats y₃, y₃ beats y₁, by unequal margins. No policy is
            preferred by more than 1/2 to every opponent; the Nash policy, {_shown(nash_policy(CYCLE).policy)}, is
            beaten by none. Online IPO at λ is the equilibrium of the game with the price λ KL(π ‖ π_ref), known from
            arXiv 2403.08635 (abstract seen) and found again here: at λ = {low:g} it wins {win("ipo", "own", low)}
            against its worst opponent, IPO on uniform pairs {win("ipo", "uniform", low)}. So does online DPO
            ({win("dpo", "own", low)}; {win("dpo", "uniform", low)} on uniform pairs): as λ → 0 a fixed point in the
            inside of the simplex has λ h̄ → 0, hence Σ_j π_j (p_ij − 1/2) → 0 for any loss ψ(λ h̄) with a slope at 0.
            Online EXPO wins {win("expo", "own", low)}, on uniform pairs {win("expo", "uniform", low)}: it goes to the
            Bradley-Terry fit under its own weights, which is not the Nash policy. From λ = {middle:g} on the order is
            another: EXPO {win("expo", "own", middle)}, IPO {win("ipo", "own", middle)}, DPO
            {win("dpo", "own", middle)}. **[ours]** for DPO and EXPO.""",
            f"""*Rounds.* SPPO (η = {ETA:g}), which has no reference to be held by, circles: in the second half its
            win rate against the worst opponent moves between {late.min()["sppo"]:.2f} and {late.max()["sppo"]:.2f}; the
            mean of its policies is at {last.loc["sppo_mean", "worst_win_rate"]:.3f}. Nash-MD (τ = {TAU:g}) and online
            IPO at λ = {TAU:g} come to rest, at {last.loc["nash_md", "worst_win_rate"]:.4f} and
            {last.loc["online_ipo", "worst_win_rate"]:.4f}: near each other, and not at the same point, since a step of
            Nash-MD asks what wins against a mixture with π_ref. Online DPO ends at
            {last.loc["online_dpo", "worst_win_rate"]:.3f}, online EXPO at
            {last.loc["online_expo", "worst_win_rate"]:.3f}.""",
            f"""*XPO* (arXiv 2405.21046) adds α E_π_ref[log π] to DPO's loss: it pays for taking mass from what the
            reference says. On fixed pairs all its sublevel sets are bounded exactly if α π_ref(S) < β × (weight of the
            comparisons that S wins against others) for every group S of responses, a minimum cut of the comparison
            graph ([proof](../docs/theory.md)). Of {xpo["problems"].iloc[0]} random problems with five responses and
            pairs drawn by π_ref {share[(5, "reference", tenth)]:.0%} have one at α = {tenth:.2g} β,
            {share[(5, "uniform", tenth)]:.0%} with uniform pairs, and at α = β
            {share[(5, "reference", min(ratios, key=lambda r: abs(r - 1)))]:.0%}. **[ours]**""",
        ),
        plots.on_policy(points, rounds, xpo),
    )


def _shown(policy: Any) -> str:
    return "(" + ", ".join(f"{p:.3f}" for p in policy) + ")"


SIMULATION = Simulation(
    "Pairs drawn by the policy itself: where does each loss rest, and what has a game of preferences to do with it?",
    on_policy,
    show,
)
