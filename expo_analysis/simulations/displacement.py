"""Where the mass goes while DPO, IPO and EXPO are trained."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .. import plots
from .._rounding import DIGITS
from ..results import Result
from ..simulators.experiments import displacement
from .simulation import Simulation


def show(tables: dict[str, pd.DataFrame]) -> Result:
    steps, ends, optima = (tables[name] for name in ("displacement", "displacement_ends", "displacement_optima"))

    def last(world: str, loss: str, column: str) -> float:
        rows = steps[(steps["world"] == world) & (steps["loss"] == loss)]
        return float(rows[column].iloc[-1])

    def end(world: str, loss: str, kind: str) -> float:
        return float(ends[(ends["world"] == world) & (ends["loss"] == loss) & (ends["kind"] == kind)]["end"].iloc[0])

    def optimum(loss: str, column: str, similarity: float, lam: float) -> float:
        at = np.isclose(optima["similarity"], similarity) & np.isclose(optima["lam"], lam)
        return float(optima[at & (optima["loss"] == loss)][column].iloc[0])

    trained = [(world, loss) for world in ends["world"].unique() for loss in ends["loss"].unique()]
    miss = max(
        abs(last(world, loss, kind) - end(world, loss, kind))
        for world, loss in trained
        for kind in ("chosen", "rejected", "unseen")
        if np.isfinite(end(world, loss, kind))
    )
    met = f"within {miss:.0e} of it" if miss > 0 else f"there, to {DIGITS} digits,"
    reference = ends[ends["kind"] == "unseen"]["reference"].iloc[0]
    on_the_way = steps[steps["world"].isin(["population", "one_sided"]) & (steps["loss"] == "expo")]["unseen"]
    shared = optima[optima["lam"] == steps[steps["world"] == "features"]["lam"].iloc[0]]
    alike, lam = shared["similarity"].max(), shared["lam"].iloc[0]
    many = optima.groupby("similarity")["lam"].transform("nunique") > 1
    similarity, largest = optima[many]["similarity"].iloc[0], optima[many]["lam"].max()
    words = {"dpo": "DPO", "ipo": "IPO", "expo": "EXPO"}

    def shares(world: str) -> str:
        return ", ".join(f"{word} {last(world, loss, 'share_displaced'):.0%}" for loss, word in words.items())

    displaced = ", ".join(f"{w} {optimum(loss, 'share_displaced', alike, lam):.0%}" for loss, w in words.items())
    lost = ", ".join(f"{w} {optimum(loss, 'mass_lost', similarity, lam):.2g}" for loss, w in words.items())
    lost_large = ", ".join(f"{w} {optimum(loss, 'mass_lost', similarity, largest):.2g}" for loss, w in words.items())
    return Result(
        "Displacement: where the mass goes",
        tables,
        (
            f"""*First row,* one logit per response, the worked example of two compared pairs and a fifth response that
            is never compared. EXPO's optimum keeps the mass of every connected component of the comparison graph, and
            of the response outside it, exactly **[ours]**: training ends with
            {last("population", "expo", "unseen"):.6f} on the unseen one, as it began. DPO and IPO leave these masses
            open (bars); what settles them is that
            gradient descent keeps the sum of the logits of every component **[ours]**, and with it the end is known
            beforehand: training ends {met} in every mass. DPO's unseen response ends with
            {last("population", "dpo", "unseen"):.3f} instead of {reference:.2f}, although no gradient ever touches its
            logit: pairs whose logits are drawn apart take from all others by normalisation.""",
            f"""*Second row,* where the winners always win, DPO has no minimiser, and the unseen response fades away
            ({last("one_sided", "dpo", "unseen"):.1g} at the last step); IPO stops, EXPO returns to
            {last("one_sided", "expo", "unseen"):.6f}. It *returns*: conservation holds at EXPO's optimum, not on the
            way, where the unseen mass went from {on_the_way.min():.3f} to {on_the_way.max():.3f}.""",
            f"""*Third and fourth row,* where responses share parameters, one pair's gradient moves all the others, and
            chosen and rejected can both lose mass to the unseen ("likelihood displacement", Razin et al. 2024). At the
            last step they both have on these shares of the prompts: with shared features {shares("features")}; in a
            transformer {shares("transformer")}. EXPO does not prevent it where the policies cannot follow: conservation
            needs one logit per response or as good. The transformer is nearly free enough, and KL(π_ref ‖ π) there ends
            at {last("transformer", "expo", "kl_reference_policy"):.2g} nats for EXPO and
            {last("transformer", "dpo", "kl_reference_policy"):.2g} for DPO.""",
            f"""*Last row,* exact optima over many worlds of shared features **[ours]**: the more alike chosen and
            rejected are, the more often both fall (at similarity {alike:g} and λ = {lam:g}: {displaced}). The mass that
            the pair loses, averaged over prompts, is at similarity {similarity:g} {lost}, and shrinks for all as λ
            grows (λ = {largest:g}: {lost_large}). Part of EXPO's advantage is that at the same λ it asks for less:
            log-ratios of the preferences themselves, not these divided by λ.""",
        ),
        plots.displacement(steps, ends, optima),
    )


SIMULATION = Simulation(
    "Likelihood displacement: what becomes of chosen, rejected and unseen responses under DPO, IPO and EXPO?",
    displacement,
    show,
)
