"""The main job: the paper's two controlled experiments (arXiv 2506.07492, Section 5), solved exactly and drawn.

The ``*_table`` functions compute what `expo_analysis.plots` draws; `reproduce` writes both, side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import linregress

from . import paper, plots
from .bandit import Bandit
from .divergences import ForwardKL, ReverseKL
from .losses import DPO, EXPO, FDPO, IPO, Objective, RegressionEXPO
from .optima import Path as SolutionPath
from .optima import solve_path
from .plots.style import LOOKS, losses_in, render

__all__ = [
    "agreement_table",
    "convergence_table",
    "interpolation_table",
    "preservation_table",
    "reproduce",
    "simplex_table",
    "slopes_table",
]

Floats = NDArray[np.float64]

LOSSES: dict[str, Objective] = {
    objective.name: objective for objective in (DPO(1.0), IPO(1.0), FDPO(1.0), EXPO(1.0), RegressionEXPO(1.0))
}
"""What is compared, by name in the catalogue; `solve_path` sets lambda."""

RESPONSES = ["y1", "y2", "y3"]

DECIMALS = 15
"""Numbers are rounded to this many decimals, below which there is only rounding error, and written to 12 digits."""

FITTED = {"optimal": (1e-6, 1e-3), "reference": (1e3, 1e6)}
"""The stretch of lambda on which the slope towards each end is fitted."""


# ------------------------------------------------------------------------------------------------------- tables


def interpolation_table() -> pd.DataFrame:
    """Figure 1: exact optima on the population from lambda = 1e-5 to 1e3, and where the script stopped.

    One row per source ("exact" or "script"), loss, lambda and response: the policy, pi*, pi_ref, and for exact policies
    the proven bound on their 1-norm error.
    """
    experiment = paper.interpolation()
    lams = 10.0 ** (np.arange(-100, 61) / 20)
    parts = []
    for loss in LOSSES:
        path = _solved(loss, experiment.population, lams)
        bound = np.ceil(path.error_bound * 10.0**DECIMALS) / 10.0**DECIMALS  # a bound is rounded up
        rows = _policies(loss, lams, path.policies)
        parts.append(rows.assign(source="exact", error_bound=np.repeat(bound, len(RESPONSES))))
    for end in experiment.ends:
        lam = experiment.own_lam(end.loss, [end.published_lam])
        parts.append(_policies(end.loss, lam, end.policy[None]).assign(source="script", error_bound=np.nan))
    table = pd.concat(parts, ignore_index=True)
    for name in ("optimal", "reference"):
        table[name] = table["response"].map(dict(zip(RESPONSES, getattr(experiment, name), strict=True)))
    return _tidy(table[["source", "loss", "lam", "response", "policy", "optimal", "reference", "error_bound"]])


def simplex_table() -> pd.DataFrame:
    """Figure 2: the exact policies of figure 1, one row each, then pi* ("optimal") and pi_ref ("reference")."""
    experiment = paper.interpolation()
    long = interpolation_table().query("source == 'exact'")
    paths = long.pivot(index=["loss", "lam"], columns="response", values="policy").reset_index()
    ends = pd.DataFrame([experiment.optimal, experiment.reference], columns=RESPONSES)
    return _tidy(pd.concat([paths, ends.assign(loss=["optimal", "reference"])], ignore_index=True))


def preservation_table() -> pd.DataFrame:
    """Figure 3: divergence from pi* on both prompts, log lambda = -5..5, on the population and on the paper's pairs.

    One row per source, data ("population" or "pairs"), prompt, loss and published log lambda: the package's own lambda,
    KL(pi* ‖ pi) and KL(pi ‖ pi*) in nats, and whether the former is only a lower bound, because the recorded policy
    has a probability rounded to 0 (which is then taken at its greatest, half a unit of the last decimal).
    """
    experiment = paper.preservation()
    log_lams = np.arange(-50, 51) / 10
    parts = []
    for data, bandit in (("population", experiment.population), ("pairs", experiment.data)):
        for loss in LOSSES:
            lams = experiment.own_lam(loss, np.exp(log_lams))
            path = _solved(loss, bandit, lams)
            rows = _divergences(loss, log_lams, lams, path.log_policies)
            parts.append(rows.assign(source="exact", data=data, at_least=False))
    for end in experiment.ends:
        log_lam, lam = np.log([end.published_lam]).round(12), experiment.own_lam(end.loss, [end.published_lam])
        rows = _divergences(end.loss, log_lam, lam, _recorded_log_policy(end)[None])
        parts.append(rows.assign(source="script", data="pairs", at_least=(end.policy == 0).any(axis=-1)))
    table = pd.concat(parts, ignore_index=True)
    keys = ["source", "data", "prompt", "loss", "log_lam", "lam"]
    return _tidy(table[[*keys, "kl_optimal_policy", "kl_policy_optimal", "at_least"]])


def convergence_table() -> pd.DataFrame:
    """Figure 4: 1-norm distances of the exact optima of figure 1 from pi* and from pi_ref, lambda = 1e-6 to 1e6."""
    experiment = paper.interpolation()
    lams = 10.0 ** (np.arange(-120, 121) / 20)
    parts = []
    for loss in LOSSES:
        policies = _solved(loss, experiment.population, lams).policies
        distances = {
            f"from_{name}": np.abs(policies - getattr(experiment, name)).sum(axis=-1)
            for name in ("optimal", "reference")
        }
        parts.append(pd.DataFrame({"loss": loss, "lam": lams, **distances}))
    return _tidy(pd.concat(parts, ignore_index=True))


def slopes_table(convergence: pd.DataFrame) -> pd.DataFrame:
    """Figure 4's slopes d log distance / d log lambda, by least squares on the stretches of `FITTED`."""
    rows = []
    for target, (low, high) in FITTED.items():
        near = convergence[convergence["lam"].between(low * 0.999, high * 1.001)]
        for loss, path in near.groupby("loss", sort=False):
            fit = linregress(np.log(path["lam"]), np.log(path[f"from_{target}"]))
            rows.append({"loss": loss, "target": target, "lam_min": low, "lam_max": high, "slope": fit.slope})
    return _tidy(pd.DataFrame(rows))


def agreement_table() -> pd.DataFrame:
    """Where the authors' script stopped beside the exact optimum of what it minimises, for every recorded run.

    What it minimises: the loss on the pairs as it weighs them, EXPO at a third of the published lambda. One row per
    run and prompt: both policies, their 1-norm distance, and KL(pi* ‖ pi) of both, in nats.
    """
    parts = []
    for name in ("interpolation", "preservation"):
        experiment: paper.Experiment = getattr(paper, name)()
        for end in experiment.ends:
            lam = experiment.own_lam(end.loss, [end.published_lam])
            path = _solved(end.loss, experiment.data_as_trained, lam)
            stopped, exact = np.atleast_2d(end.policy), np.atleast_2d(path.policies[0])
            log_optimal = np.atleast_2d(np.log(experiment.optimal))
            rows = pd.DataFrame(
                {
                    "experiment": name,
                    "prompt": paper.PROMPTS if len(stopped) > 1 else "only",
                    "loss": end.loss,
                    "published_lam": end.published_lam,
                    "lam": lam[0],
                    **{f"stopped_{y}": column for y, column in zip(RESPONSES, stopped.T, strict=True)},
                    **{f"exact_{y}": column for y, column in zip(RESPONSES, exact.T, strict=True)},
                    "distance": np.abs(stopped - exact).sum(axis=-1),
                    "kl_stopped": ForwardKL()(np.atleast_2d(_recorded_log_policy(end)), log_optimal),
                    "kl_exact": ForwardKL()(np.atleast_2d(path.log_policies[0]), log_optimal),
                    "kl_stopped_at_least": (stopped == 0).any(axis=-1),
                }
            )
            parts.append(rows)
    return _tidy(pd.concat(parts, ignore_index=True))


def _solved(loss: str, bandit: Bandit, lams: Floats) -> SolutionPath:
    """The path of a loss; nothing is drawn that the solver does not call an optimum."""
    path = solve_path(LOSSES[loss], bandit, lams)
    failed = path.status != "optimal"
    if failed.any():
        raise RuntimeError(f"{loss} has no optimum to draw: {path.message[failed][0]}")
    return path


def _policies(loss: str, lams: Floats, policies: Floats) -> pd.DataFrame:
    """One row per lambda and response, from policies (L, 3)."""
    return pd.DataFrame(
        {
            "loss": loss,
            "lam": np.repeat(lams, len(RESPONSES)),
            "response": np.tile(RESPONSES, len(lams)),
            "policy": policies.reshape(-1),
        }
    )


def _divergences(loss: str, log_lams: Floats, lams: Floats, log_policies: Floats) -> pd.DataFrame:
    """One row per lambda and prompt of the preservation experiment, from log-policies (L, 2, 3)."""
    log_optimal = np.broadcast_to(np.log(paper.preservation().optimal), log_policies.shape)
    return pd.DataFrame(
        {
            "prompt": np.tile(paper.PROMPTS, len(lams)),
            "loss": loss,
            "log_lam": np.repeat(log_lams, len(paper.PROMPTS)),
            "lam": np.repeat(lams, len(paper.PROMPTS)),
            "kl_optimal_policy": ForwardKL()(log_policies, log_optimal).reshape(-1),
            "kl_policy_optimal": ReverseKL()(log_policies, log_optimal).reshape(-1),
        }
    )


def _recorded_log_policy(end: paper.TrainingEnd) -> Floats:
    """Logarithm of a policy recorded to six decimals, a recorded 0 taken at the most it can be."""
    policy = np.maximum(end.policy, paper.RECORDED_STEP / 2)
    return np.log(policy / policy.sum(axis=-1, keepdims=True))


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    """Round away what is only rounding error, so that every run draws and writes the same numbers."""
    floats = table.select_dtypes("float").columns
    return table.assign(**{name: table[name].round(DECIMALS) + 0.0 for name in floats})  # + 0.0 turns -0 into 0


# ------------------------------------------------------------------------------------------------------ results


@dataclass(frozen=True)
class Result:
    """What one section of the README shows.

    tables: by file name, the figure's own first. paragraphs: Markdown, wrapped when written. figure: None where a table
    says it all.
    """

    title: str
    tables: dict[str, pd.DataFrame]
    paragraphs: Sequence[str]
    figure: Figure | None = None

    @property
    def name(self) -> str:
        """The figure's file name."""
        return next(iter(self.tables))

    def to_markdown(self) -> str:
        """The section, with links to its files."""
        files = [f"[{stem}.csv]({stem}.csv)" for stem in self.tables]
        blocks = [f"## {self.title}"]
        if self.figure is not None:
            blocks.append(f"![{self.title}]({self.name}.png)")
            files.insert(0, f"[{self.name}.pdf]({self.name}.pdf)")
        return "\n\n".join([*blocks, *map(_wrapped, self.paragraphs), f"Files: {', '.join(files)}"])


def _wrapped(paragraph: str) -> str:
    """A paragraph in lines of at most 116 characters; tables as they are."""
    if paragraph.startswith("|"):
        return paragraph
    return fill(" ".join(paragraph.split()), 116, break_on_hyphens=False, break_long_words=False)


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


def reproduce(directory: Path, on_progress: Callable[[str, float], None] | None = None) -> list[Path]:
    """Solve both experiments and write every figure (PNG and PDF), its numbers (CSV) and a README.md that shows them.

    Files of the same names are replaced, each one only when its successor is complete. Running again writes the same
    CSV files byte for byte.

    Args:
        directory: made if it does not exist.
        on_progress: called with a message and the fraction done, from 0 to 1.

    Returns:
        The files written.

    Raises:
        NotADirectoryError: ``directory`` is a file.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"directory must be a directory or a new name, got the file {directory}")
    report = on_progress or (lambda message, done: None)
    directory.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []

    def write(name: str, content: bytes) -> None:
        path = directory / name
        part = directory / f".{name}.part"
        try:
            part.write_bytes(content)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        written.append(path)

    sections = []
    for k, (name, compute) in enumerate(RESULTS.items()):
        report(name, k / len(RESULTS))
        result = compute()
        for stem, table in result.tables.items():
            write(f"{stem}.csv", table.to_csv(index=False, float_format="%.12g", lineterminator="\n").encode())
        if result.figure is not None:
            for kind in ("png", "pdf"):
                write(f"{result.name}.{kind}", render(result.figure, kind))
        sections.append(result.to_markdown())
    write("README.md", ("\n\n".join([PREAMBLE, *sections]) + "\n").encode())
    report("done", 1.0)
    return written
