"""Error to pi* against the number of comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ...figures.style import LOOKS

IMPLICIT, EXPLICIT = ["dpo", "ipo", "fdpo"], ["expo", "regression_expo"]


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    errors = tables["finite_data"]
    by_loss = ["reference", "choice", "measure", "loss"]
    at: Any = errors.set_index([*by_loss, "pairs"]).sort_index()
    rates: Any = tables["finite_data_rates"].set_index(by_loss)
    population: Any = tables["finite_data_population"].set_index(by_loss)["error"]
    efficient = tables["finite_data_efficient"].set_index("pairs")["error"]
    ends: Any = tables["finite_data_ends"].set_index(["reference", "loss", "pairs", "end"])["error"]
    few, more, *_, most = sorted(errors["pairs"].unique())
    fit_from = int(tables["finite_data_rates"]["from_pairs"].iloc[0])
    trained = sorted(tables["finite_data_ends"]["pairs"].unique())
    size = trained[len(trained) // 2]
    far: Any = at.loc[("far", "best", "tv")]
    upper: Any = far.loc["expo", "predicted_lam_high"]
    upper = upper[upper.index >= fit_from]

    def slope(reference: str, loss: str, measure: str = "tv") -> str:
        rate = rates.loc[(reference, "best", measure, loss)]
        return minus(f"{rate['slope']:.2f} ± {rate['standard_error']:.2f}")

    def left(reference: str, losses: list[str], choice: str = "best") -> str:
        return ", ".join(f"{population[reference, choice, 'tv', x]:.2g} ({LOOKS[x].label})" for x in losses)

    def without(loss: str, pairs: int, column: str = "no_minimiser") -> int:
        return int(at.loc[("far", "best", "kl", loss, pairs), column])

    return {
        "sets": errors["data_sets"].iloc[0],
        "few": few,
        "more": more,
        "fit_from": fit_from,
        "fixed": errors.loc[errors["choice"] == "fixed", "lam"].iloc[0],
        "size": size,
        "slope": slope,
        "left": left,
        "without": without,
        "end": lambda loss, name: f"{ends['far', loss, size, name]:.3f}",
        "implicit": IMPLICIT,
        "explicit": EXPLICIT,
        "ahead": ahead(far["error"].unstack("loss")),
        "near_error": at.loc[("near", "best", "tv", "ipo", most), "error"],
        "edge": minus(f"{np.polyfit(np.log(upper.index), np.log(upper), 1)[0]:.2f}"),
        "gain": 1 - far.loc[("expo", fit_from), "predicted"] / efficient[fit_from],
    }


def ahead(error: Any) -> dict[str, Any]:
    """The least and the largest size at which the best implicit loss is ahead of EXPO, and both errors there.

    Each is at its best lambda; ``error`` has losses in columns. Empty where it never is.
    """
    implicit, explicit = error[IMPLICIT].min(axis=1), error[EXPLICIT].min(axis=1)
    sizes = error.index[implicit < explicit]
    if not len(sizes):
        return {}
    ends = [sizes.min(), sizes.max()]
    return {"least": ends[0], "most": ends[1], "implicit": list(implicit[ends]), "explicit": list(explicit[ends])}


def minus(number: str) -> str:
    """With a proper minus sign."""
    return number.replace("-", "−")
