"""How the error to pi* falls with the number of comparisons: exact optima on data sets, beside theory and training.

Data sets of N comparisons are drawn as win counts; the optimum of every loss on every data set is exact, a data set
being one prompt of a bandit. lambda is either the same for all, or the best one of a grid: chosen by pi*, which nobody
knows in practice, on one half of the data sets and used on the other half. The mean total variation is set beside the
delta method (`simulators.asymptotics`), and the optima beside what Adam reaches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from ... import paper
from ..._progress import Progress, silent
from ..._rounding import all_rounded
from ..._types import Floats, Indices
from ...bandit import Bandit
from ...divergences import kl, total_variation
from ...losses import BradleyTerry
from ...optima import Path, solve, solve_path
from ...paper import LOSSES
from ...simulators.asymptotics import asymptotics
from ...simulators.optimisers import Adam
from ...simulators.policies import Tabular
from ...simulators.sampling import draw_pairs
from ...simulators.training import Training, train
from ..settings import Settings as StudySettings
from ..shared import EPS

OPTIMAL = paper.interpolation().optimal
REFERENCES = {"far": paper.interpolation().reference, "near": np.array([0.62, 0.29, 0.09])}
"""The paper's, flatter than pi*; and one that is close, and sharper than pi*."""
FLATTER = np.array([0.58, 0.31, 0.11])
"""As close as "near", on pi*'s other side: `finite_data_population` has it too."""

IMPLICIT, EXPLICIT = ("dpo", "ipo", "fdpo"), ("expo", "regression_expo")
"""RLHF with reverse KL is not among them: on win counts its optimum is DPO's."""
FIXED = 0.1
SIZES = np.geomspace(10, 1e5, 9).round().astype(int)
FIT_FROM = 1000
"""Rates are fitted to data sets of at least so many comparisons."""
AS_GOOD = 1.1
"""A lambda is as good as the best while the mean error is at most so many times the lowest."""
GRIDS = {
    **dict.fromkeys(IMPLICIT, ((-1, -1, 1), (-0.75, 0.75, 16), (1, 4, 1))),
    "expo": ((-4, 2, 4), (2, 4, 1)),
    "regression_expo": ((-3, 2, 2),),
}
"""Among which lambdas the best is chosen: powers of ten, from and to, and how many to a decade. Losses that pass pi* by
have a sharp minimum, and need a fine grid around it; regression EXPO, the only one here that is not convex, takes
twenty times as long."""
SEED = 4

TRAINED_PAIRS, TRAINED_SETS = 1000, 50
TRAINING = Training(Adam(1e-2, eps=EPS), epochs=40, batch=25, records=40, log_spaced=True, patience=40, seed=SEED)
"""With patience for all records training never stops early, and returns the record of the lowest validation risk."""


def grid(loss: str) -> Floats:
    """The lambdas of `GRIDS`, in order."""
    powers = [np.arange(low * per_decade, high * per_decade + 1) / per_decade for low, high, per_decade in GRIDS[loss]]
    return np.asarray(10.0 ** np.unique(np.concatenate(powers)))


def counts(size: int, data_sets: int) -> Floats:
    """Win counts (data sets, n, n) of ``size`` comparisons each, drawn from the population."""
    wins = Bandit(OPTIMAL, OPTIMAL).wins
    rng = np.random.default_rng([SEED, size])
    return rng.multinomial(size, wins.reshape(-1), size=data_sets).reshape(-1, *wins.shape).astype(np.float64)


def tv_from_optimal(policy: Floats) -> Floats:
    """TV(policy, pi*)."""
    return np.asarray(total_variation(policy, OPTIMAL))


def kl_from_optimal(log_policy: Floats) -> Floats:
    """KL(pi* || policy); infinite where a response has lost all its mass."""
    return np.asarray(kl(np.log(OPTIMAL), log_policy))


def mean_interval(values: Floats) -> tuple[float, float, float]:
    """The mean over data sets, and a 95% confidence interval."""
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    return mean, mean - 1.96 * error, mean + 1.96 * error


def median_interval(values: Floats) -> tuple[float, float, float]:
    """The median over data sets, and order statistics that enclose the true one with probability 95%."""
    ordered = np.sort(values)
    low = int(binom.ppf(0.025, len(values), 0.5))
    return float(np.median(ordered)), ordered[low - 1], ordered[len(values) - low]


MEASURES: dict[str, tuple[Callable[..., Any], Callable[[Floats], tuple[float, float, float]]]] = {
    "tv": (np.mean, mean_interval),
    "kl": (np.median, median_interval),
}
"""How data sets are summed up: KL by its median, since it is infinite on separable data."""


def chosen(errors: Floats, over: Callable[..., Any]) -> tuple[Floats, Indices]:
    """Errors (lams, data sets) at the best lambda of the other half of the data sets; and the best lambda of each."""
    half = errors.shape[1] // 2
    parts = (slice(0, half), slice(half, None))
    best = np.array([over(errors[:, part], axis=1).argmin() for part in parts])
    return np.concatenate([errors[k, part] for k, part in zip(best[::-1], parts, strict=True)]), best


def as_good_up_to(lams: Floats, errors: Floats) -> float:
    """The last lambda whose error is at most `AS_GOOD` times the lowest, interpolated; nan where errors are nan."""
    bound = AS_GOOD * errors.min()
    if np.isnan(bound):
        return float("nan")
    k = int(np.flatnonzero(errors <= bound)[-1])
    if k == len(lams) - 1:
        return float(lams[-1])
    share = np.log(bound / errors[k]) / np.log(errors[k + 1] / errors[k])
    return float(lams[k] * (lams[k + 1] / lams[k]) ** share)


@dataclass(frozen=True)
class Settings(StudySettings):
    """data_sets: of each size. trained, sizes: losses that are trained, on how many comparisons."""

    data_sets: int = 100
    trained: tuple[str, ...] = ("dpo", "ipo", "expo")
    sizes: tuple[int, ...] = (1000,)


FULL = Settings(400, tuple(LOSSES), (100, 1000, 10_000))


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``finite_data``: one row per reference, loss, number of pairs, choice of lambda ("best" or "fixed") and measure
    ("tv": mean TV(pi, pi*); "kl": median KL(pi* || pi) in nats), with the error, its 95% confidence interval, lambda
    (best on all data sets), the range of lambda that is as good within `AS_GOOD`, what the delta method predicts for
    the error and for that range's upper end (TV; nan where it was not computed), and how many data sets have no
    minimiser, several, or an infinite error. Where there is no minimiser the error is that of the limit of minimising
    sequences.
    ``finite_data_rates``: slopes d log error / d log N with standard errors, from `FIT_FROM` on, beside the error that
    is left on the population. ``finite_data_population``: that error, best over lambda and at the fixed one.
    ``finite_data_efficient``: the mean TV of an efficient estimate.
    ``finite_data_training`` and ``finite_data_ends``: mean TV over the steps of Adam, and where it ends.
    """
    solved = list(itertools.product(REFERENCES, LOSSES))
    runs = list(itertools.product(REFERENCES, settings.trained, settings.sizes))
    jobs = len(solved) + len(runs)
    found, paths, ends = [], [], []
    for reference, loss in solved:
        found.append(_optima(reference, loss, settings.data_sets))
        progress(len(found) / jobs)
    for reference, loss, size in runs:
        path, end = _trained(reference, loss, size)
        paths.append(path)
        ends.append(end)
        progress((len(found) + len(ends)) / jobs)
    errors, population = pd.concat(found, ignore_index=True), population_errors()
    tables = {
        "finite_data": errors,
        "finite_data_rates": fitted_rates(errors, population),
        "finite_data_population": population,
        "finite_data_efficient": pd.DataFrame({"pairs": SIZES, "error": efficient_error()}),
        "finite_data_training": pd.concat(paths, ignore_index=True),
        "finite_data_ends": pd.concat(ends, ignore_index=True),
    }
    return all_rounded(tables, trained=["finite_data_training", "finite_data_ends"])


def _optima(reference: str, loss: str, data_sets: int) -> pd.DataFrame:
    """Rows of ``finite_data`` for one loss, all sizes."""
    policy, objective = REFERENCES[reference], LOSSES[loss]
    population = Bandit(policy, OPTIMAL)
    lams = grid(loss)
    fixed = int(np.abs(np.log(lams / FIXED)).argmin())
    known = range(len(lams)) if loss in EXPLICIT else [fixed]
    theory = np.full((len(lams), len(SIZES)), np.nan)
    for k in known:
        theory[k] = asymptotics(objective.with_lam(float(lams[k])), population).mean_tv(OPTIMAL, SIZES)
    rows = []
    for column, size in enumerate(SIZES):
        data = Bandit.from_counts(np.tile(policy, (data_sets, 1)), counts(size, data_sets))
        path = solve_path(objective, data, lams)
        failed = path.status == "failed"
        if failed.any():
            raise RuntimeError(f"{loss} was not solved: {path.message[failed][0]}")
        errors = {"tv": _tv_of(path), "kl": _kl_of(path)}
        for measure, (over, interval) in MEASURES.items():
            own = errors[measure]
            mean = over(own, axis=1)
            at_best, _ = chosen(own, over)
            predicted = theory[:, column] if measure == "tv" else np.full(len(lams), np.nan)
            for choice in ("best", "fixed"):
                best = choice == "best"
                k = int(mean.argmin()) if best else fixed
                values = at_best if best else own[fixed]
                error, low, high = interval(values)
                rows.append(
                    {
                        "reference": reference,
                        "loss": loss,
                        "pairs": size,
                        "choice": choice,
                        "measure": measure,
                        "error": error,
                        "low": low,
                        "high": high,
                        "lam": lams[k],
                        "lam_low": as_good_up_to(lams[::-1], mean[::-1]) if best else lams[k],
                        "lam_high": as_good_up_to(lams, mean) if best else lams[k],
                        "predicted": predicted.min() if best else predicted[fixed],
                        "predicted_lam_high": as_good_up_to(lams, predicted) if best else np.nan,
                        "data_sets": data_sets,
                        "no_minimiser": int((path.status[k] == "no_minimiser").sum()),
                        "not_unique": int((path.status[k] == "not_unique").sum()),
                        "infinite": int(np.isinf(values).sum()),
                    }
                )
    return pd.DataFrame(rows)


def efficient_error() -> Floats:
    """The mean TV of an efficient estimate of pi*, by the Fisher information, for each of `SIZES`."""
    return asymptotics(BradleyTerry(1.0), Bandit(OPTIMAL, OPTIMAL)).mean_tv(OPTIMAL, SIZES)


def population_errors() -> pd.DataFrame:
    """What is left without end of data: TV and KL on the population, lowest over lambda and at `FIXED`.

    The lowest is sought on the grid of the loss, and for those that pass pi* by between the neighbours of that.
    """
    rows = []
    for reference, policy in {**REFERENCES, "near, flatter": FLATTER}.items():
        bandit = Bandit(policy, OPTIMAL)
        for loss, objective in LOSSES.items():
            lams = grid(loss)
            coarse, fixed = (solve_path(objective, bandit, some) for some in (lams, [FIXED]))
            for measure, error in {"tv": _tv_of, "kl": _kl_of}.items():
                own = error(coarse)
                k = int(own.argmin())
                tried = lams
                if loss in IMPLICIT:
                    tried = np.geomspace(lams[max(k - 1, 0)], lams[min(k + 1, len(lams) - 1)], 41)
                    own = error(solve_path(objective, bandit, tried))
                    k = int(own.argmin())
                names = {"reference": reference, "loss": loss, "measure": measure}
                rows.append({**names, "choice": "best", "lam": tried[k], "error": own[k]})
                rows.append({**names, "choice": "fixed", "lam": FIXED, "error": error(fixed)[0]})
    return pd.DataFrame(rows)


def _tv_of(path: Path) -> Floats:
    return tv_from_optimal(path.policies)


def _kl_of(path: Path) -> Floats:
    return kl_from_optimal(path.log_policies)


def fitted_rates(errors: pd.DataFrame, population: pd.DataFrame) -> pd.DataFrame:
    """Weighted least squares of log error on log N, the weights from the confidence intervals."""
    level: Any = population.set_index(["reference", "loss", "choice", "measure"])["error"]
    rows = []
    keys = ["reference", "loss", "choice", "measure"]
    for key, own in errors[errors["pairs"] >= FIT_FROM].groupby(keys, sort=False):
        spread = (own["high"] - own["low"]) / (2 * 1.96 * own["error"])
        fit, covariance = np.polyfit(np.log(own["pairs"]), np.log(own["error"]), 1, w=1 / spread, cov="unscaled")
        row = {**dict(zip(keys, key, strict=True)), "from_pairs": FIT_FROM, "slope": fit[0]}
        rows.append({**row, "standard_error": np.sqrt(covariance[0, 0]), "population_error": level[key]})
    return pd.DataFrame(rows)


def _trained(reference: str, loss: str, size: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of ``finite_data_training`` and ``finite_data_ends``: one loss at `FIXED`, `TRAINED_SETS` data sets."""
    policy, objective = REFERENCES[reference], LOSSES[loss].with_lam(FIXED)
    population = Bandit(policy, OPTIMAL)
    data = draw_pairs(population, size, TRAINED_SETS, seed=SEED)
    validation = draw_pairs(population, size // 4, TRAINED_SETS, seed=SEED + 1)
    epochs = max(1, TRAINING.epochs * TRAINED_PAIRS // size)
    run = train(objective, Tabular(policy), data, replace(TRAINING, epochs=epochs), validation=validation)
    error = run.divergence("tv")[0, :, :, 0]
    summary = np.array([mean_interval(column) for column in error.T])
    names = {"reference": reference, "loss": loss, "pairs": size}
    path = pd.DataFrame(
        {**names, "step": run.steps, "error": summary[:, 0], "low": summary[:, 1], "high": summary[:, 2]}
    )
    exact = solve(objective, Bandit.from_counts(np.tile(policy, (data.data_sets, 1)), data.counts[:, 0]))
    nearest = int(summary[:, 0].argmin())
    ends = {
        "optimum": (tv_from_optimal(exact.policy), np.nan),
        "last": (error[:, -1], float(run.steps[-1])),
        "validation": (tv_from_optimal(run.final[0, :, 0]), float(np.median(run.stopped))),
        "nearest": (error[:, nearest], float(run.steps[nearest])),
    }
    rows = []
    for end, (values, step) in ends.items():
        mean, low, high = mean_interval(values)
        rows.append({**names, "end": end, "error": mean, "low": low, "high": high, "step": step})
    return path, pd.DataFrame(rows)
