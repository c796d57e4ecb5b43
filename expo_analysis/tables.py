"""The numbers behind the figures of `expo_analysis.reproduce`: one table a function, from exact optima."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import linregress

from . import paper
from ._rounding import rounded
from ._types import Floats
from .bandit import Bandit
from .divergences import kl
from .optima import SolutionPath, solve_path
from .paper import LOSSES

__all__ = [
    "agreement_table",
    "convergence_table",
    "interpolation_table",
    "preservation_table",
    "simplex_table",
    "slopes_table",
]


RESPONSES = ["y1", "y2", "y3"]

DECIMALS = 13
"""Numbers are rounded to this many decimals, below which there is only rounding error, and written to 12 digits."""

FITTED = {"optimal": (1e-6, 1e-3), "reference": (1e3, 1e6)}
"""The stretch of lambda on which the slope towards each end is fitted."""


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
    return _rounded(table[["source", "loss", "lam", "response", "policy", "optimal", "reference", "error_bound"]])


def simplex_table() -> pd.DataFrame:
    """Figure 2: the exact policies of figure 1, one row each, then pi* ("optimal") and pi_ref ("reference")."""
    experiment = paper.interpolation()
    long = interpolation_table().query("source == 'exact'")
    paths = long.pivot(index=["loss", "lam"], columns="response", values="policy").reset_index()
    ends = pd.DataFrame([experiment.optimal, experiment.reference], columns=RESPONSES)
    return _rounded(pd.concat([paths, ends.assign(loss=["optimal", "reference"])], ignore_index=True))


def preservation_table() -> pd.DataFrame:
    """Figure 3: divergence from pi* on both prompts, log lambda = -5..5, on the population and on the paper's pairs.

    One row per source, data ("population" or "pairs"), prompt, loss and published log lambda: the package's own lambda,
    KL(pi* ‖ pi) and KL(pi ‖ pi*) in nats, and whether the former is only a lower bound, because the recorded policy
    has a probability rounded to 0 (which is then taken at its greatest, half a unit of the last decimal); of exact
    optima the solver's status.
    """
    experiment = paper.preservation()
    log_lams = np.arange(-50, 51) / 10
    parts = []
    for data, bandit in (("population", experiment.population), ("pairs", experiment.data)):
        for loss in LOSSES:
            lams = experiment.own_lam(loss, np.exp(log_lams))
            path = _solved(loss, bandit, lams)
            rows = _divergences(loss, log_lams, lams, path.log_policies)
            parts.append(rows.assign(source="exact", data=data, at_least=False, status=path.status.reshape(-1)))
    for end in experiment.ends:
        log_lam, lam = np.log([end.published_lam]).round(12), experiment.own_lam(end.loss, [end.published_lam])
        rows = _divergences(end.loss, log_lam, lam, _recorded_log_policy(end)[None])
        parts.append(rows.assign(source="script", data="pairs", at_least=(end.policy == 0).any(axis=-1), status=""))
    table = pd.concat(parts, ignore_index=True)
    keys = ["source", "data", "prompt", "loss", "log_lam", "lam"]
    return _rounded(table[[*keys, "kl_optimal_policy", "kl_policy_optimal", "at_least", "status"]])


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
    return _rounded(pd.concat(parts, ignore_index=True))


def slopes_table(convergence: pd.DataFrame) -> pd.DataFrame:
    """Figure 4's slopes d log distance / d log lambda, by least squares on the stretches of `FITTED`."""
    rows = []
    for target, (low, high) in FITTED.items():
        near = convergence[convergence["lam"].between(low * 0.999, high * 1.001)]
        for loss, path in near.groupby("loss", sort=False):
            fit = linregress(np.log(path["lam"]), np.log(path[f"from_{target}"]))
            rows.append({"loss": loss, "target": target, "lam_min": low, "lam_max": high, "slope": fit.slope})
    return _rounded(pd.DataFrame(rows))


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
                    "kl_stopped": kl(log_optimal, np.atleast_2d(_recorded_log_policy(end))),
                    "kl_exact": kl(log_optimal, np.atleast_2d(path.log_policies[0])),
                    "kl_stopped_at_least": (stopped == 0).any(axis=-1),
                }
            )
            parts.append(rows)
    return _rounded(pd.concat(parts, ignore_index=True))


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Without what is only rounding error, so that every run draws and writes the same numbers."""
    return rounded(table, DECIMALS, digits=None)


def _solved(loss: str, bandit: Bandit, lams: Floats) -> SolutionPath:
    """The path of a loss; nothing is drawn but optima, and the best that was found where that is not proven."""
    path = solve_path(LOSSES[loss], bandit, lams)
    failed = ~np.isin(path.status, ("optimal", "best_found"))
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
    log_optimal = np.log(paper.preservation().optimal)
    return pd.DataFrame(
        {
            "prompt": np.tile(paper.PROMPTS, len(lams)),
            "loss": loss,
            "log_lam": np.repeat(log_lams, len(paper.PROMPTS)),
            "lam": np.repeat(lams, len(paper.PROMPTS)),
            "kl_optimal_policy": kl(log_optimal, log_policies).reshape(-1),
            "kl_policy_optimal": kl(log_policies, log_optimal).reshape(-1),
        }
    )


def _recorded_log_policy(end: paper.TrainingEnd) -> Floats:
    """Logarithm of a policy recorded to six decimals, a recorded 0 taken at the most it can be."""
    policy = np.maximum(end.policy, paper.RECORDED_STEP / 2)
    return np.log(policy / policy.sum(axis=-1, keepdims=True))
