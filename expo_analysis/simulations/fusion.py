"""Weighted-reward fusion."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .. import plots
from ..results import Result
from ..simulators.experiments import fusion
from ..simulators.experiments.fusion import BETA, LAM, MASSES, PREFERENCE, START
from .simulation import Simulation


def show(tables: dict[str, pd.DataFrame]) -> Result:
    training, held, status = (tables[name] for name in ("fusion", "fusion_held", "fusion_status"))
    at: Any = status.set_index("alpha")["status"]
    steps = sorted(training["step"].unique())
    middle = min(steps, key=lambda step: abs(step - 300))
    then: Any = training[training["step"] == middle].set_index("alpha")["source"]
    end: Any = training[training["step"] == steps[-1]].set_index("alpha")["source"]
    tenth: Any = training[training["alpha"] == 0.1].set_index("step")["source"]
    half: Any = tenth[tenth > 0.5].index.min()
    own: Any = held.pivot(index="reference_mass", columns="alpha", values="source")
    least = own.index.min()
    without = [a for a, s in at.items() if s == "no_minimiser"]
    return Result(
        "Weighted-reward fusion",
        tables,
        (
            f"""WRPO (arXiv 2412.03187; the form of its public code) compares a log u of a source model's response plus
            (1 − a) log u of the target's better one with log u of its worse one, β = {BETA:g}. Here the target's two
            responses win against each other {PREFERENCE:.0%} and {1 - PREFERENCE:.0%} of the time, the source's is
            beside them in every datum, and the reference gives it {START:g}. *Alone it has no minimiser* for a =
            {", ".join(f"{a:g}" for a in without)}: every margin rises with the source's response, so that the loss
            falls for ever as its probability outgrows that of the target's two, however good or bad it is. At a = 0 the
            loss is DPO, the source's response is in no datum, and its probability is left open: `solve` says
            {at[0.0].replace("_", " ")}. **[ours]**""",
            f"""*Training* is stopped before that limit, or is not: after {middle} steps of gradient descent the
            source's response has {then[0.03]:.2g}, {then[0.1]:.2g} and {then[0.3]:.2g} at a = 0.03, 0.1 and 0.3; after
            {steps[-1]:,} at least {end[[0.03, 0.1, 0.3]].min():.3g}. At a = 0.1 it has more than half from step
            {half:,} on; before that its mass falls for a while, as the normaliser takes from it what the better
            response gains. At a = 0 it ends at {end[0.0]:.1g}, by nothing but that. **[ours]**""",
            f"""*With λ KL(π_ref ‖ π)*, EXPO's regulariser (λ = {LAM:g}), there is one optimum, and a decides: a
            response to which the reference gives {least:.0e} gets {own.loc[least, 0.03]:.3f}, {own.loc[least, 0.1]:.3f}
            and {own.loc[least, 0.3]:.3f} at a = 0.03, 0.1 and 0.3, hardly less than one to which it gives
            {MASSES[6]:.0e}. At a = 0 it keeps exactly what the reference gave it. **[ours]**""",
        ),
        plots.fusion(training, held),
    )


SIMULATION = Simulation("Weighted-reward fusion: where does the mass of another model's response go?", fusion, show)
