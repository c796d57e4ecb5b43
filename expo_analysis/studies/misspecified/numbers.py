"""Preferences that no policy reproduces: label noise, cycles, an annotator who never errs.

Bradley-Terry preferences p* are mixed with others, (1 - s) p* + s p', of strength s:

* ``noise``: p' = 1/2, the labels of a share s/2 of the comparisons are flipped;
* ``cycle``: p' has y1 beat y2, y2 beat y3 and y3 beat y1, always (rock, paper, scissors);
* ``order``: p' has the better response win, always: at s = 1 the data are separable.

With three responses none of them is Bradley-Terry for 0 < s < 1.

Many losses see of the preferences only how often each response wins, w_i = sum_j q_ij p*_ij. These are the losses whose
margin is a difference of scores s_i - s_j and for which psi(m) - psi(-m) = -c m: DPO, IPO, f-DPO, compositional EXPO.
Their mean over pairs is a part that p* does not enter, minus c sum_i s_i w_i and another such part. So they do not see
a circulation, a change of q_ij p*_ij that leaves every response its wins. With uniform pairs a cycle of strength s
takes as many wins from each response as noise of strength s does, and the optima are the same. [ours] Regression EXPO,
by squared error, does see circulations.

Optima are exact, on populations; on samples where a correction for noise has its price.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ... import paper
from ..._progress import Progress, silent
from ..._rounding import all_rounded
from ..._types import Floats
from ...bandit import Bandit
from ...divergences import kl, total_variation
from ...losses import DPO, IPO, BradleyTerry, PairObjective, RegressionEXPO
from ...optima import solve, solve_path
from ...paper import LOSSES
from ..settings import Settings as StudySettings

REFERENCE, OPTIMAL = paper.interpolation().reference, paper.interpolation().optimal
STRENGTHS = np.arange(21) / 20
LAM = 0.1
"""The lambda at which strengths are compared."""
STRENGTH = 0.4
"""The strength at which lambdas are compared."""
LAMS = 10.0 ** (np.arange(-16, 13) / 4)

NOISE = 0.2
"""The rate of flipped labels in the samples, and what robust DPO takes it for where it is not told."""
RATES = np.arange(0, 10) / 20
CORRECTED_LAM = 1.0
"""DPO's optimum is in the middle of the simplex there, where corrections can be told apart."""
SIZES = (30, 100, 300, 1000, 10_000, 100_000)
SEED = 6


def mixed(kind: str, strength: Floats) -> Floats:
    """(1 - s) p* + s p' for each strength s, shape (strengths, 3, 3)."""
    other = np.full((3, 3), 0.5)
    if kind != "noise":
        last = (2, 0) if kind == "cycle" else (0, 2)
        for better, worse in ((0, 1), (1, 2), last):
            other[better, worse], other[worse, better] = 1.0, 0.0
    s = np.asarray(strength)[:, None, None]
    return np.asarray((1 - s) * Bandit(OPTIMAL, OPTIMAL).preference + s * other)


KINDS = ("noise", "cycle", "order")


@dataclass(frozen=True)
class Settings(StudySettings):
    """data_sets: of each size. problems: random ones of each kind."""

    data_sets: int = 100
    problems: int = 500


FULL = Settings(500, 5000)


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``misspecified``: one row per kind of preferences, strength and loss at `LAM`, with the policy and what `described`
    tells of it; loss "fit" is the Bradley-Terry maximum-likelihood policy, which EXPO tends to as lambda -> 0.
    ``misspecified_path``: the same for all `LAMS` at strength `STRENGTH`.
    ``misspecified_corrections``: DPO, conservative DPO and robust DPO under label noise: TV from DPO's optimum without
    noise, on the population (``pairs`` infinite) and its mean over data sets with a 95% confidence interval, and how
    many of them have no minimiser. ``assumed`` is the rate of flips that the loss was told.
    ``misspecified_orders``: shares of random problems in which the order of a fit's responses is not that of their mean
    win rates over all opponents (Borda), and in which the best response by pi* is not the fit's, where there is a pi*.
    """
    ends, paths = [], []
    one = np.full(len(LAMS), STRENGTH)
    for kind in KINDS:
        fits = solve(BradleyTerry(1.0), _bandit(kind, STRENGTHS))
        fit = np.tile(fits.log_policy[STRENGTHS == STRENGTH], (len(LAMS), 1))
        ends.append(described(kind, STRENGTHS, "fit", np.nan, fits.log_policy, fits.status, fits.log_policy))
        for loss, objective in LOSSES.items():
            found = solve(objective.with_lam(LAM), _bandit(kind, STRENGTHS))
            ends.append(described(kind, STRENGTHS, loss, LAM, found.log_policy, found.status, fits.log_policy))
            path = solve_path(objective, _bandit(kind, one[:1]), LAMS)
            paths.append(described(kind, one, loss, LAMS, path.log_policies[:, 0], path.status[:, 0], fit))
    progress(0.3)
    corrections = corrections_table(settings.data_sets)
    progress(0.7)
    orders = orders_table(settings.problems)
    progress(1.0)
    tables = {
        "misspecified": pd.concat(ends, ignore_index=True),
        "misspecified_path": pd.concat(paths, ignore_index=True),
        "misspecified_corrections": corrections,
        "misspecified_orders": orders,
    }
    return all_rounded(tables)


def _bandit(kind: str, strength: Floats) -> Bandit:
    """A prompt for each strength."""
    return Bandit.from_preferences(np.tile(REFERENCE, (len(strength), 1)), mixed(kind, strength))


def described(
    kind: str,
    strength: Floats,
    loss: str,
    lam: float | Floats,
    log_policy: Floats,
    status: NDArray[Any],
    log_fit: Floats,
) -> pd.DataFrame:
    """One row per strength, shape (B,), and log-policy (B, 3).

    ``y0`` to ``y2``: the policy. ``tv_optimal``, ``tv_fit``: TV from pi* and from the Bradley-Terry fit.
    ``worst_win_rate``: the least probability, over opponents y, that a response drawn from the policy is preferred to
    y (1/2 against itself); no policy can be sure of more than 1/2. ``slack``: KL(pi_ref || fit) - KL(pi_ref || pi) -
    KL(pi || fit), which cannot be negative for EXPO (nan where fit or policy have no minimiser).
    """
    policy, preference = np.exp(log_policy), mixed(kind, strength)
    log_reference = np.broadcast_to(np.log(REFERENCE), log_policy.shape)
    proper = np.asarray(np.isfinite(log_fit + log_policy).all(axis=1))
    fit, own = (np.where(proper[:, None], x, log_reference) for x in (log_fit, log_policy))
    slack = kl(log_reference, fit) - kl(log_reference, own) - kl(own, fit)
    against = np.einsum("si,sij->sj", policy, preference)
    return pd.DataFrame(
        {
            "preferences": kind,
            "strength": strength,
            "loss": loss,
            "lam": lam,
            **{f"y{y}": policy[:, y] for y in range(3)},
            "tv_optimal": np.abs(policy - OPTIMAL).sum(axis=1) / 2,
            "tv_fit": np.abs(policy - np.exp(log_fit)).sum(axis=1) / 2,
            "worst_win_rate": against.min(axis=1),
            "win_rate_reference": against @ REFERENCE,
            "slack": np.where(proper, slack, np.nan),
            "status": status,
        }
    )


# --------------------------------------------------------------------------------------------- known noise rates

CORRECTIONS = ("dpo", "conservative_dpo", "robust_dpo")


def corrected(loss: str, assumed: float) -> DPO:
    """DPO told that a share ``assumed`` of the labels is flipped; at 0 all three are the same."""
    if loss == "dpo" or assumed == 0:
        return DPO(CORRECTED_LAM)
    return DPO(CORRECTED_LAM, label_smoothing=assumed, robust=loss == "robust_dpo")


def corrections_table(data_sets: int) -> pd.DataFrame:
    """``misspecified_corrections``."""
    clean = solve(DPO(CORRECTED_LAM), Bandit(REFERENCE, OPTIMAL)).policy
    jobs = [(loss, float(rate), float(rate), np.inf) for loss in CORRECTIONS for rate in RATES]
    jobs += [("robust_dpo", float(rate), NOISE, np.inf) for rate in RATES if rate != NOISE]
    jobs += [(loss, NOISE, NOISE, size) for loss in CORRECTIONS for size in SIZES]
    rows = []
    for loss, rate, assumed, size in jobs:
        population = Bandit.from_preferences(REFERENCE, mixed("noise", np.array([2 * rate]))[0])
        data = population
        if np.isfinite(size):
            rng = np.random.default_rng([SEED, int(size)])
            won = rng.multinomial(int(size), population.wins.reshape(-1), size=data_sets).reshape(-1, 3, 3)
            data = Bandit.from_counts(np.tile(REFERENCE, (data_sets, 1)), won)
        found = solve(corrected(loss, assumed), data)
        error = np.atleast_1d(total_variation(found.policy, clean))
        half = 1.96 * error.std(ddof=1) / np.sqrt(len(error)) if len(error) > 1 else 0.0
        rows.append(
            {
                "loss": loss,
                "noise": rate,
                "assumed": assumed if loss != "dpo" else 0.0,
                "pairs": size,
                "error": error.mean(),
                "low": error.mean() - half,
                "high": error.mean() + half,
                "data_sets": len(error),
                "no_minimiser": int((np.atleast_1d(found.status) == "no_minimiser").sum()),
            }
        )
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------------------------- orders

FITS: dict[str, PairObjective] = {
    "likelihood": BradleyTerry(1.0),
    "ipo": IPO(10.0),
    "squared_error": RegressionEXPO(1e-6),
}
"""By what pairs are fitted, with a uniform reference: the order of the fit is that of DPO (likelihood) and IPO as
lambda -> 0, and of EXPO in its two forms (likelihood, squared error)."""
RESPONSES = 4


def orders_table(problems: int) -> pd.DataFrame:
    """``misspecified_orders``: random problems with four responses."""
    rows = []
    for kind in ("bradley_terry", "noisy", "any"):
        for pairs in ("uniform", "uneven"):
            rng = np.random.default_rng([SEED, 7])
            optimal, preference, weights = random_problems(rng, kind, pairs, problems)
            borda = preference.mean(axis=2)
            bandit = Bandit.from_preferences(np.full_like(optimal, 1 / RESPONSES), preference, weights)
            for fit, objective in FITS.items():
                policy = solve(objective, bandit).policy
                differs = (policy.argsort(axis=1) != borda.argsort(axis=1)).any(axis=1)
                wrong = policy.argmax(axis=1) != optimal.argmax(axis=1)
                rows.append(
                    {
                        "preferences": kind,
                        "pairs": pairs,
                        "fit": fit,
                        "problems": problems,
                        "not_borda": differs.mean(),
                        "wrong_best": np.nan if kind == "any" else wrong.mean(),
                    }
                )
    return pd.DataFrame(rows)


def random_problems(rng: np.random.Generator, kind: str, pairs: str, problems: int) -> tuple[Floats, Floats, Floats]:
    """pi* (problems, n), preferences and pair weights (problems, n, n); uneven weights span four decades."""
    n = RESPONSES
    optimal = rng.dirichlet(np.ones(n), size=problems)
    high, low = np.triu_indices(n, 1)
    stated = rng.random((problems, len(high)))
    uneven = 10.0 ** rng.uniform(-4, 0, size=(problems, len(high)))
    preference = np.full((problems, n, n), 0.5)
    weights = np.zeros((problems, n, n))
    if kind != "any":
        stated = optimal[:, high] / (optimal[:, high] + optimal[:, low])
        if kind == "noisy":
            stated = 0.6 * stated + 0.2
    preference[:, high, low], preference[:, low, high] = stated, 1 - stated
    weights[:, high, low] = weights[:, low, high] = uneven if pairs == "uneven" else 1.0
    return optimal, preference, weights
