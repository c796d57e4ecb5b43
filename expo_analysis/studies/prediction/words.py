"""What was predicted, and how well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ..small_transformer.figure import look
from ..small_transformer.questions import CONFIDENCE, Method, interval
from .figure import AIM, methods_of, of_method
from .numbers import CHOSEN_ON, MEASURES, explained

NAMES = {
    "gain": "reward gained, trained prompts",
    "gain_held": "reward gained, held-out prompts",
    "tv": "drift, trained prompts",
    "tv_held": "drift, held-out prompts",
    "mass": "mass that compared responses won",
    "chosen": "mean log-ratio of chosen responses",
    "rejected": "mean log-ratio of rejected responses",
}


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    scores, measured, settings = tables.values()
    setting = settings.set_index("setting")["value"]
    methods = methods_of(scores)
    mean = _means(scores)
    low, high = mean("r2_drawn")[1:]
    cells = scores.groupby(["loss", "estimator", "lam"])["r2_drawn"].apply(
        lambda own: interval(own.to_numpy(dtype=float), CONFIDENCE)[0]
    )
    return {
        "setting": setting,
        "seeds": int(setting["seeds"]),
        "runs": int(setting["runs"]),
        "minutes": int(setting["seconds_of_all_seeds"]) / 60,
        "confidence": CONFIDENCE,
        "chosen_on": CHOSEN_ON,
        "aim": AIM,
        "answer": "yes" if low > AIM else "no" if high < AIM else "undecided",
        "said": lambda name, method=None: _written(*mean(name, method)),
        "rows": [(look(method).label, _by_lam(scores, method)) for method in methods],
        "lams": sorted(scores["lam"].unique()),
        "above": int((cells > AIM).sum()),
        "cells": len(cells),
        "pathway": scores["pathway"].mean(),
        "measures": [(NAMES[name], _of_runs(measured, name)) for name in MEASURES],
    }


def _means(scores: pd.DataFrame) -> Callable[..., tuple[float, float, float]]:
    """The mean of a score over lambdas, data sets and, if none is named, methods; and its interval over worlds."""

    def mean(name: str, method: Any = None) -> tuple[float, float, float]:
        own = scores if method is None else of_method(scores, method)
        values = own.groupby("seed")[name].mean().to_numpy(dtype=float)
        return (float(values.mean()), *interval(values, CONFIDENCE))

    return mean


def _by_lam(scores: pd.DataFrame, method: Method) -> list[str]:
    """R2 of a method at each lambda, with its interval."""
    return [_written(*_means(own)("r2_drawn", method)) for _, own in scores.groupby("lam")]


def _of_runs(measured: pd.DataFrame, name: str) -> tuple[float, float]:
    """R2 over all runs, and the mean difference of predicted and measured."""
    told, found = (measured[column].to_numpy(dtype=np.float64) for column in (f"{name}_predicted", name))
    return explained(told, found), float((told - found).mean())


def _written(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"
