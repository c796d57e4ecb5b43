"""What the sweep over a real language model found: its three pictures, and what they say, from its tables alone.

The sweep itself is `expo_analysis.llm.experiment`; here nothing of torch or transformers is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from . import plots
from .plots.language_model import methods_in
from .results import Result

TABLES = ("lm_frontier", "lm_preservation", "lm_displacement", "lm_settings")


def read_language_models(directory: Path) -> dict[str, pd.DataFrame] | None:
    """The tables that ``expo-analysis experiment`` wrote; None where they are not all there."""
    paths = {name: Path(directory) / f"{name}.csv" for name in TABLES}
    if not all(path.is_file() for path in paths.values()):
        return None
    return {name: pd.read_csv(path, keep_default_na=False) for name, path in paths.items()}


def show(tables: dict[str, pd.DataFrame]) -> list[Result]:
    """The three sections."""
    return [_frontier(tables), _preservation(tables), _displacement(tables)]


def _listed(frame: pd.DataFrame, say: Callable[[pd.Series], str], pick: Callable[[pd.DataFrame], pd.Series]) -> str:
    """What is said of each method, in the order of the legends."""
    return "; ".join(f"{look.label} {say(pick(own))}" for look, own in methods_in(frame))


def _first(own: pd.DataFrame) -> pd.Series:
    return own.iloc[0]


def _frontier(tables: dict[str, pd.DataFrame]) -> Result:
    frontier = tables["lm_frontier"]
    setting = tables["lm_settings"].set_index("setting")["value"]
    best = _listed(
        frontier,
        lambda row: (
            f"{row['gain']:+.2f} ± {1.96 * row['gain_standard_error']:.2f} at {row['reverse_kl']:.2g} nats "
            f"(λ = {row['lam']:g})"
        ),
        lambda own: own.sort_values("gain").iloc[-1],
    )
    return Result(
        "A real language model: reward against KL",
        {"lm_frontier": frontier, "lm_settings": tables["lm_settings"]},
        (
            f"""{len(frontier)} runs of {setting["model"]}, every parameter trained, on {setting["prompt_count"]}
            prompts of the list `{setting["prompts"]}` and responses of at most {setting["max_new_tokens"]} tokens: half
            of the prompts labelled by VADER's sentiment
            ({setting["pairs_labelled_by_reward"]} pairs, Bradley-Terry at temperature
            {setting["label_temperature"]}), half by the reference itself
            ({setting["pairs_labelled_by_reference"]} pairs). Written by `expo-analysis experiment`, not by `reproduce`:
            seed {setting["seed"]}, {int(setting["seconds_of_all_runs"]) / 3600:.1f} hours of {setting["device"]} in all
            runs together; the other settings are in lm_settings.csv **[ours]**.""",
            f"""Expected reward is measured on fresh responses to the prompts that the reward labelled; bars are 95%
            intervals over responses, not over data sets or seeds, of which there is one. The most that each loss
            gained: {best}. Training is stopped after {frontier["steps"].iloc[0]} steps, far from the optimum of any of
            them: this is what a short run does, and exact optima are in the sections above.""",
        ),
        plots.lm_frontier(frontier),
    )


def _preservation(tables: dict[str, pd.DataFrame]) -> Result:
    kept = tables["lm_preservation"]
    samples = int(tables["lm_settings"].set_index("setting")["value"]["reference_samples"])

    def drift(row: pd.Series) -> str:
        return f"{row['drift']:.2g} ± {1.96 * row['drift_standard_error']:.1g}"

    low = _listed(kept, drift, _first)
    high = _listed(kept, drift, lambda own: own.iloc[-1])
    return Result(
        "A real language model: preservation",
        {"lm_preservation": kept},
        (
            f"""The same runs. On half of the prompts the reference labelled its own responses, so that π\\* = π_ref
            there and any drift is damage; the other half is to be learned, with the same λ. Drift in nats at
            λ = {kept["lam"].min():g}: {low}. At λ = {kept["lam"].max():g}: {high}. The paper argues that losses with an
            implicit reward cannot keep the one while they learn the other **[paper]**; this measures it on a language
            model **[ours]**.""",
            f"""Two things keep EXPO's drift from zero here. The prompts share all parameters, so that learning on one
            half moves the other: this every loss has. And labels are a sample: the gradient at π_ref is zero on
            average, not in every batch. With its own responses, and with reference samples, there is a third: on a
            fixed data set these regularisers pull towards its own responses, or towards its samples ({samples} for each
            prompt here), and the more so the larger λ is. Only the token-wise KL has its minimum at π_ref whatever was
            sampled.""",
        ),
        plots.lm_preservation(kept),
    )


def _displacement(tables: dict[str, pd.DataFrame]) -> Result:
    moved = tables["lm_displacement"]
    last = _listed(
        moved,
        lambda row: f"chosen {row['chosen']:+.2f}, rejected {row['rejected']:+.2f}, other {row['other']:+.2f}",
        lambda own: own.sort_values("step").iloc[-1],
    )
    return Result(
        "A real language model: displacement",
        {"lm_displacement": moved},
        (
            f"""Mean log(π/π_ref) in nats on the prompts that the reward labelled, at λ = {moved["lam"].iloc[0]:g};
            bands are 95% intervals over responses. "Other" are fresh samples of the reference, which no run has seen:
            what they lose went to the compared ones, or to responses that the reference hardly gives. At the last step:
            {last} **[ours]**.""",
        ),
        plots.lm_displacement(moved),
    )
