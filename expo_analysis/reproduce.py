"""The main job: the paper's two controlled experiments (arXiv 2506.07492, Section 5), solved exactly and drawn.

`expo_analysis.tables` computes the numbers and `expo_analysis.plots` draws them; here they are written side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from . import language_models, plots
from ._files import made, replace
from ._progress import Progress, fraction_to, part, silent
from .card_files import read_report_card, report_card, write_report_card
from .plots.style import LOOKS, losses_in
from .results import Result, write_result
from .simulations import SIMULATIONS, run_all
from .tables import (
    agreement_table,
    convergence_table,
    interpolation_table,
    preservation_table,
    simplex_table,
    slopes_table,
)

__all__ = ["read_report_card", "reproduce", "write_report_card"]


def _interpolation() -> Result:
    table = interpolation_table()
    exact = table[table["source"] == "exact"]
    first = exact[exact["lam"] == exact["lam"].min()]
    proven = np.ceil(np.log10(exact["error_bound"].max()))
    miss = (first["policy"] - first["optimal"]).abs().groupby(first["loss"]).sum()
    return Result(
        "Interpolation",
        {"interpolation": table},
        (
            f"""The optimum on one prompt with π\\* = (0.6, 0.3, 0.1) and π_ref = (0.4, 0.4, 0.2), every pair compared
            equally often. At the right all losses return π_ref. At the left EXPO returns π\\*, while DPO, IPO and f-DPO
            put everything on the most preferred response, however mildly it is preferred **[paper]**: at λ = 1e-5 the
            1-norm distance from π\\* is {miss["expo"]:.1e} (EXPO, compositional), {miss["regression_expo"]:.1e} (EXPO,
            regression, in this package's own formulation) and {miss[["dpo", "ipo", "fdpo"]].min():.2g} (the other
            three). Open markers show where the authors' script stopped after training on 213 sampled pairs.""",
            f"""Each exact policy is within 1e{proven:.0f} of the true minimiser in 1-norm, a proven bound
            **[ours]**.""",
        ),
        plots.interpolation(table),
    )


def _simplex() -> Result:
    table = simplex_table()
    return Result(
        "The same paths in the simplex",
        {"simplex": table},
        (
            """All paths leave π_ref together as λ falls; dots mark λ = 10, 1 and 0.1. EXPO walks from π_ref to π\\* and
            stops there; DPO, IPO and f-DPO pass it by and run into the corner where y₁ has all the mass **[paper]**.
            DPO and IPO follow almost the same curve, at different λ; that they do is particular to these policies
            **[ours]**.""",
        ),
        plots.simplex(table),
    )


def _preservation() -> Result:
    table = preservation_table()
    exact = table[table["source"] == "exact"]
    good = exact[(exact["prompt"] == "good") & (exact["data"] == "population")]
    kept = good.loc[good["loss"].isin(["expo", "regression_expo"]), "kl_optimal_policy"].max()
    implicit = table[table["loss"].isin(["dpo", "ipo", "fdpo"]) & (table["data"] == "pairs") & (table["log_lam"] == -5)]
    gap = implicit.groupby("source")["kl_optimal_policy"].agg(["min", "max"])
    stopped, exists = gap.loc["script"], gap.loc["exact"]
    searched = exact[exact["status"] == "best_found"]
    return Result(
        "Preservation",
        {"preservation": table},
        (
            f"""One λ for two prompts: on the good one π_ref is already π\\*, on the bad one it is not. The axis is
            KL(π\\* ‖ π) in nats; the other direction, KL(π ‖ π\\*), levels off at -log 0.6 = 0.51 in the corner and
            cannot show how far a policy has run (the CSV has both). On the population (top) EXPO leaves the good prompt
            at π\\* for every λ (largest divergence: {kept:.1g}) and brings the bad one closer to π\\* than π_ref is;
            DPO, IPO and f-DPO move the good prompt away from π\\* at every λ, the farther the smaller λ is **[paper]**.
            On a sample (bottom) no loss can know π\\*: EXPO goes from π_ref to the Bradley-Terry fit to the pairs as λ
            falls **[ours]**.""",
            f"""In the published picture DPO, IPO and f-DPO level off at small λ. That is where training stopped, not
            where the minimisers are **[ours]**: at log λ = -5 on the paper's pairs the script stopped
            {stopped["min"]:.2g} to {stopped["max"]:.2g} nats away, and the minimisers are {exists["min"]:.3g} to
            {exists["max"]:.3g} nats away ({exists["min"] / 3:.2g} to {exists["max"] / 3:.3g} in the unit of the
            published figure, which averages over the three responses instead of summing). The markers of f-DPO there
            are lower bounds, because its recorded policies have probabilities rounded to 0.""",
            f"""All but {len(searched)} of these {len(exact)} optima are proven. Those are regression EXPO's on the
            pairs, at log λ of {searched["log_lam"].max():g} and less: the lowest of many searches (`best_found` in the
            CSV).""",
            """The horizontal axis is the published λ. The authors' script also averages the KL inside EXPO's objective,
            so that their objective is this package's at λ/3: that is what is drawn for compositional EXPO. All other
            losses are drawn at λ itself.""",
        ),
        plots.preservation(table),
    )


def _convergence() -> Result:
    table = convergence_table()
    slopes = slopes_table(table)
    slope = slopes.set_index(["target", "loss"])["slope"]
    start = table[table["lam"] == table["lam"].min()].set_index("loss")["from_optimal"]
    return Result(
        "Convergence rates",
        {"convergence": table, "convergence_slopes": slopes},
        (
            f"""1-norm distance of the optima of the first figure from their two ends. EXPO's error is O(λ) near π\\*
            (fitted slopes {slope["optimal", "expo"]:.4f} and {slope["optimal", "regression_expo"]:.4f}); DPO, IPO and
            f-DPO pass π\\* at a distance and end {start[["dpo", "ipo", "fdpo"]].min():.2g} away from it. Near π_ref all
            errors are O(1/λ) (fitted slopes {slope["reference"].min():.4f} to {slope["reference"].max():.4f})
            **[ours]**.""",
        ),
        plots.convergence(table, slopes),
    )


def _agreement() -> Result:
    table = agreement_table()
    expo = table[table["loss"] == "expo"].groupby("experiment")["distance"].max()
    return Result(
        "Where the authors' script stopped",
        {"authors_final": table},
        (
            """1-norm distance between the policy at which the script stopped and the exact optimum of what it
            minimises: the loss on its own pairs as it weighs them (in the interpolation experiment the last batch of an
            epoch has 13 pairs instead of 20, so each of them counts 20/13), and for EXPO at a third of its λ. The first
            two columns are the interpolation experiment, the others the worse prompt of the preservation
            experiment.""",
            _markdown_table(table),
            f"""EXPO had converged: it agrees to {expo["interpolation"]:.0e} in the interpolation experiment, and to
            {expo["preservation"]:.0e} in the other one, which takes one pair a step at a constant learning rate and
            keeps the last iterate. At log λ = 0 the other losses agree about as well. At their smallest λ the distance
            is small only because both policies are near the corner: the divergences in the CSV (`kl_stopped`,
            `kl_exact`) show the gap. At log λ = 5 DPO and f-DPO stopped too far from π_ref: the script clips the
            gradient of every pair at norm 10, and at π_ref theirs have norm λ/√2 ≈ {np.exp(5) / 2**0.5:.0f} and half of
            that **[ours]**.""",
        ),
    )


def _markdown_table(agreement: pd.DataFrame) -> str:
    """Distances, the worse prompt's where there are two: losses in rows, runs in columns."""
    runs = [
        f"λ = {lam:g}" if experiment == "interpolation" else f"log λ = {np.log(lam):.0f}"
        for experiment, lam in zip(agreement["experiment"], agreement["published_lam"], strict=True)
    ]
    worst = agreement.assign(run=runs).groupby(["loss", "run"])["distance"].max()
    columns = list(dict.fromkeys(runs))
    rows = [["", *columns], ["---"] * (1 + len(columns))]
    for loss in losses_in(agreement):
        rows.append([LOOKS[loss].label, *(f"{worst[loss, run]:.1e}" for run in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


RESULTS: dict[str, Callable[[], Result]] = {
    "interpolation": _interpolation,
    "simplex": _simplex,
    "preservation": _preservation,
    "convergence rates": _convergence,
    "agreement with the authors' script": _agreement,
}


# ------------------------------------------------------------------------------------------------------ writing


PREAMBLE = """\
# The paper's two controlled experiments, solved exactly

Written by `expo-analysis reproduce`; do not edit. The experiments are those of Section 5 of "Explicit Preference
Optimization: No Need for an Implicit Reward Model" ([arXiv 2506.07492](https://arxiv.org/abs/2506.07492)). Lines are
exact optima, without any training; every picture stands beside a CSV file of the numbers drawn in it. Claims marked
**[paper]** are the paper's; those marked **[ours]** go beyond it."""


EXACT_SHARE = 0.1
"""Of the time that everything takes, about what exact results need."""


def reproduce(directory: Path, progress: Progress = silent, *, full: bool = False) -> list[Path]:
    """Write every figure (PNG and PDF), its numbers (CSV) and a README.md that shows them: exact optima, simulations.

    Files of the same names are replaced, each one only when its successor is complete. Running again writes the same
    CSV files byte for byte. Where `write_report_card` has left a report_card.csv, it is drawn again and shown too,
    and so are the tables of ``expo-analysis experiment``.

    Args:
        directory: made if it does not exist.
        progress: called with the fraction done, from 0 to 1, and what is being done.
        full: simulate with as many steps, seeds and settings as are worth waiting for, instead of a minute's.

    Returns:
        The files written.

    Raises:
        NotADirectoryError: ``directory`` is a file.
        ValueError: ``report_card.csv`` is not one that an audit wrote.
    """
    directory = made(directory)
    card, learned = read_report_card(directory), language_models.read_language_models(directory)
    written: list[Path] = []
    sections = []

    def show(result: Result) -> None:
        written.extend(write_result(directory, result))
        sections.append(result.to_markdown())

    exact = EXACT_SHARE if SIMULATIONS else 1.0
    for k, (name, compute) in enumerate(RESULTS.items()):
        progress(exact * k / len(RESULTS), what=name)
        show(compute())
    if SIMULATIONS:
        progress(exact, what="simulations")
        share = part(progress, exact, 0.999)
        tables = run_all(SIMULATIONS, full, fraction_to(lambda done: share(done, what="simulations")))
        for name, simulation in SIMULATIONS.items():
            show(simulation.show(tables[name]))
    if learned is not None:
        for result in language_models.show(learned):
            show(result)
    if card is not None:
        show(report_card(card))
    written.append(replace(directory / "README.md", ("\n\n".join([PREAMBLE, *sections]) + "\n").encode()))
    progress(1.0, what="done")
    return written
