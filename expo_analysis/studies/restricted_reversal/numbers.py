"""Policies of one parameter: on which problems does a loss of pairs lower the reward that its pairs were made from?

Policies are in proportion to pi_ref exp(t f). An optimum *reverses* if t leads where E[r*] falls at pi_ref, that is if
t Cov_ref(f, r*) < 0, r* = log pi*. RLHF does so only to gain: it maximises E[r*] - lam KL, and is never below pi_ref.

**Where a loss turns** [ours]. At pi_ref a loss of pairs has a slope -c_w in log pi_w and c_l in log pi_l. With W_i
and L_i the shares of comparisons that i wins and loses, the slope in t at 0 is sum_i (c_l L_i - c_w W_i)(f_i - E f), E
under pi_ref, as long as the c's are the same for all pairs. For a loss psi(lam hbar) they are, and c_w = c_l = -lam
psi'(0): the sign is that of -sum_ij q_ij (p*_ij - p*_ji)(f_i - f_j), and neither psi nor lam is in it. So all such
losses that are convex in t reverse on the same problems, at every lam. A regulariser D(pi, pi_ref) has no slope at
pi_ref: where lam D is added to a preference term without lam and all is convex, as for EXPO, lam does not decide who
reverses either.

**The example** is that of "Why DPO is a Misspecified Estimator and How to Fix It" (arXiv 2510.20413): three responses,
a uniform pi_ref, r* = (1, 2, 0), f = (1, -1, 0), and most comparisons between the first and the third.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from ..._progress import Progress, part, silent
from ..._rounding import all_rounded
from ..._types import Floats, Mask
from ...bandit import Bandit
from ...divergences import kl
from ...losses import CATALOGUE, Objective, PairObjective, objective
from ...optima import RestrictedOptima, Status, restricted_optima, solve, stepped_optima
from ..settings import Settings as StudySettings

REWARD = np.array([1.0, 2.0, 0.0])
FEATURE = np.array([1.0, -1.0, 0.0])
WEIGHT = 0.98
"""The share of comparisons between the first and the third response; the others share the rest."""
WEIGHTS = np.linspace(0.02, 0.98, 25)
LAMS = 10.0 ** np.linspace(-2, 2, 33)
LAM = 1.0
COMPARED = (0.1, 1.0, 10.0)
"""Lambdas at which all losses are compared."""
DRAWN = ("rlhf", "dpo", "ipo", "fdpo", "expo", "regression_expo", "aux_dpo")

LOSSES = tuple(name for name in CATALOGUE if name not in ("qpo", "aot", "explicit_po"))
"""Without QPO, which is what one makes it, AOT, which has no risk, and explicit PO, which is EXPO by default."""

N = 4
"""Responses."""
WITH_KINKS = ("hinge", "slic", "dpop")
FREE = ("rlhf", "dpo", "ipo", "fdpo", "expo", "rpo", "sft", "bradley_terry", "cpo", "simpo")
"""Losses that are also solved over all policies."""
PAIRS = ("uniform", "uneven")
DRAWN_SHARES = ("less_reward", "farther")
"""Shares with 95% intervals."""
DECADES = 4
"""Over which uneven weights of pairs are spread."""
LEAST = 0.01
"""Added to every probability before it is normalised again."""
RESOLUTION = 1e-6
"""Of weights at which an optimum turns."""
LEVEL = 1e-9
"""What counts as lower."""


@dataclass(frozen=True)
class Classes:
    """B problems: pi_ref, pi* and f (B, n), q (B, n, n)."""

    reference: Floats
    optimal: Floats
    feature: Floats
    pairs: Floats

    @property
    def bandit(self) -> Bandit:
        return Bandit(self.reference, self.optimal, self.pairs)

    def first(self, count: int) -> Classes:
        return Classes(*(x[:count] for x in (self.reference, self.optimal, self.feature, self.pairs)))

    def optima(self, loss: Objective, proven: bool = False) -> RestrictedOptima:
        """The optimum of each problem; of losses that are not convex the lowest of searches, unless ``proven``."""
        if isinstance(loss, PairObjective) and loss.auxiliary:
            return stepped_optima(loss, self.bandit, self.feature[:, None, :, None])
        method = "auto" if proven or by_newton(loss) else "multistart"
        return restricted_optima(loss, self.bandit, self.feature[:, None, :, None], method=method)

    def worse(self, log_policy: Floats) -> tuple[Mask, Mask]:
        """Whether policies (B, n) have less reward than pi_ref, and whether they are farther from pi*."""
        reward = np.log(self.optimal)
        gain = ((np.exp(log_policy) - self.reference) * reward).sum(axis=1)
        nearer = kl(np.log(self.reference), reward) - kl(log_policy, reward)
        return np.asarray(gain < -LEVEL), np.asarray(nearer < -LEVEL)

    def slope(self) -> Floats:
        """Cov_ref(f, r*): what E[r*] gains with t at pi_ref."""
        reward = np.log(self.optimal)
        centred = self.feature - (self.reference * self.feature).sum(axis=1, keepdims=True)
        return np.asarray((self.reference * centred * reward).sum(axis=1))


def example(weight: Floats) -> Classes:
    """The three responses, for every share of comparisons (B,) between the first and the third."""
    pairs = np.zeros((len(weight), 3, 3))
    pairs[:, 0, 2] = pairs[:, 2, 0] = weight
    for other in ((0, 1), (1, 2)):
        pairs[(slice(None), *other)] = pairs[(slice(None), *other[::-1])] = (1 - weight) / 2
    optimal = np.exp(REWARD) / np.exp(REWARD).sum()
    reference, optimal, feature = (np.tile(x, (len(weight), 1)) for x in (np.full(3, 1 / 3), optimal, FEATURE))
    return Classes(reference, optimal, feature, pairs)


def random_classes(count: int, pairs: str) -> Classes:
    """pi_ref and pi* uniform over the simplex, normal f; uneven weights of pairs are log-uniform."""
    rng = np.random.default_rng([14, N, PAIRS.index(pairs)])
    reference, optimal = rng.dirichlet(np.ones(N), (2, count)) + LEAST
    feature = rng.standard_normal((count, N))
    high, low = np.triu_indices(N, 1)
    drawn = 10.0 ** rng.uniform(-DECADES, 0, (count, len(high))) if pairs == "uneven" else 1.0
    weights = np.zeros((count, N, N))
    weights[:, high, low] = weights[:, low, high] = drawn
    return Classes(
        reference / reference.sum(axis=1, keepdims=True),
        optimal / optimal.sum(axis=1, keepdims=True),
        feature,
        weights,
    )


@dataclass(frozen=True)
class Settings(StudySettings):
    """classes: random ones, for each kind of pairs; searched: for losses that are searched; kinked: with kinks."""

    classes: int = 5000
    searched: int = 500
    kinked: int = 100
    all_lams: bool = False


FULL = Settings(5000, 5000, 1000, True)


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``restricted_reversal``: the example, one row per loss, lambda and weight of the pair that dominates: t, E[r*] and
    KL(pi ‖ pi*); by lambda at `WEIGHT`, by weight at `LAM`. All proven; "not_unique" is what is so far out that
    rounding cannot tell one t from another (nan).
    ``restricted_reversal_thresholds``: one row per loss and lambda: ``low`` and ``high``, between which weights the
    optimum reverses (nan: nowhere), and t and E[r*] at `WEIGHT`.
    ``restricted_reversal_classes``: one row per kind of pairs, loss and lambda: shares of random classes whose optimum
    reverses, has less reward than pi_ref, is farther from pi* in KL(pi ‖ pi*), or loses to pi_ref by p*; in which there
    is no minimiser, where what counts is the limit; and whose optimum over all policies has less reward or is farther
    (nan where that was not solved).
    """
    paths = example_table()
    progress(0.1)
    thresholds = thresholds_table(part(progress, 0.1, 0.3))
    classes = classes_table(settings, part(progress, 0.3, 1.0))
    progress(1.0)
    return all_rounded(
        {
            "restricted_reversal": paths,
            "restricted_reversal_thresholds": thresholds,
            "restricted_reversal_classes": classes,
        }
    )


def example_table() -> pd.DataFrame:
    """``restricted_reversal``."""
    at_weight = example(np.full(len(LAMS), WEIGHT))
    by_weight = example(WEIGHTS)
    frames = []
    for name in DRAWN:
        for classes, lam, weight in ((at_weight, LAMS, np.full(len(LAMS), WEIGHT)), (by_weight, LAM, WEIGHTS)):
            found = classes.optima(objective(name, 1.0).with_lam(np.broadcast_to(lam, len(weight))), proven=True)
            left = ~np.isin(found.status[:, 0], (Status.OPTIMAL, Status.NOT_UNIQUE))
            if left.any():
                raise RuntimeError(f"an optimum of {name} is not proven: {found.message[left][0]}")
            log_policy = found.log_policy[:, 0]
            frames.append(
                pd.DataFrame(
                    {
                        "loss": name,
                        "lam": lam,
                        "weight": weight,
                        "t": np.where(found.status[:, 0] == Status.OPTIMAL, found.weights[:, 0], np.nan),
                        "reward": np.exp(log_policy) @ REWARD,
                        "kl_policy_optimal": kl(log_policy, np.log(classes.optimal)),
                        "status": found.status[:, 0],
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def thresholds_table(progress: Progress = silent) -> pd.DataFrame:
    """``restricted_reversal_thresholds``: t at `WEIGHT` is proven; intervals are found by ever finer grids."""
    rows = []
    for k, name in enumerate(LOSSES):
        loss = objective(name, LAM)
        turns = reversing(loss.with_lam(np.array(COMPARED)))
        last = example(np.full(len(COMPARED), WEIGHT)).optima(loss.with_lam(np.array(COMPARED)), proven=True)
        for which, (lam, low, high) in enumerate(zip(COMPARED, *turns, strict=True)):
            reward = np.exp(last.log_policy[which, 0]) @ REWARD
            row = {"loss": name, "lam": lam, "low": low, "high": high, "reward": reward}
            rows.append({**row, "t": last.weights[which, 0], "status": last.status[which, 0]})
        progress((k + 1) / len(LOSSES))
    return pd.DataFrame(rows)


def reversing(loss: Objective) -> tuple[Floats, Floats]:
    """The interval of weights on which the example's optimum reverses; 0 and 1 are its ends, (nan, nan) is nowhere.

    The shape is that of the loss's lambda: several are looked at together.

    Raises:
        RuntimeError: it is no interval.
    """
    lams = np.atleast_1d(np.asarray(loss.lam, dtype=np.float64))
    grid = np.linspace(0, 1, 34)[1:-1]
    hit = example_reverses(loss.with_lam(np.repeat(lams, len(grid))), np.tile(grid, len(lams))).reshape(len(lams), -1)
    ends = np.full((2, len(lams)), np.nan)
    open_: list[tuple[int, int, float, float]] = []  # of which end, of which lambda: between which weights it is
    for k, reversed_ in enumerate(hit):
        at = np.flatnonzero(reversed_)
        if len(at) == 0:
            continue
        if len(at) != at[-1] - at[0] + 1:
            raise RuntimeError(f"{loss.with_lam(float(lams[k]))} reverses on more than one interval of weights")
        for end, inner, step in ((0, at[0], -1), (1, at[-1], 1)):
            if 0 <= inner + step < len(grid):
                open_.append((end, k, grid[inner + step], grid[inner]))
            else:
                ends[end, k] = float(end)
    if open_:
        end_of, lam_of, no, yes = (np.array(column) for column in zip(*open_, strict=True))
        ends[end_of, lam_of] = _turns(loss, lams[lam_of], no, yes)
    low, high = ends.reshape(2, *np.shape(loss.lam))
    return low, high


def _turns(loss: Objective, lam: Floats, no: Floats, yes: Floats) -> Floats:
    """Where between two weights the optimum begins to reverse, by ever finer grids; all (E,)."""
    while (np.abs(yes - no) > RESOLUTION).any():
        between = np.linspace(no, yes, 9, axis=1)
        inner = between[:, 1:-1]
        hit = example_reverses(loss.with_lam(np.repeat(lam, inner.shape[1])), inner.reshape(-1)).reshape(inner.shape)
        first = np.where(hit.any(axis=1), hit.argmax(axis=1), inner.shape[1])
        every = np.arange(len(no))
        no, yes = between[every, first], between[every, first + 1]
    return np.asarray((yes + no) / 2)


def example_reverses(loss: Objective, weight: Floats) -> Mask:
    """Whether t > 0 at each weight: E[r*] = (e^t + 2 e^-t)/(e^t + e^-t + 1) is below 1 exactly there."""
    return np.asarray(moved(example(weight).optima(loss)) > LEVEL)


def moved(found: RestrictedOptima) -> Floats:
    """t (B,), infinite where there is no minimiser."""
    lost = found.status[:, 0] == Status.NO_MINIMISER
    return np.where(lost, np.copysign(np.inf, found.direction[:, 0]), found.weights[:, 0])


def classes_table(settings: Settings, progress: Progress = silent) -> pd.DataFrame:
    """``restricted_reversal_classes``."""
    rows: list[dict[str, Any]] = []
    jobs = list(_jobs(settings))
    for k, (pairs, name, lam, count) in enumerate(jobs):
        classes = random_classes(settings.classes, pairs).first(count)
        row: dict[str, Any] = {"pairs": pairs, "loss": name, "lam": lam, "classes": count}
        for column, hit in judged(classes, objective(name, lam)).items():
            row[column] = hit.mean()
            if column in DRAWN_SHARES:
                row[f"{column}_low"], row[f"{column}_high"] = interval(int(hit.sum()), count)
        rows.append(row)
        progress((k + 1) / len(jobs))
    return pd.DataFrame(rows)


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share."""
    low, high = binomtest(hits, count).proportion_ci(method="wilson")
    return float(low), float(high)


def _jobs(settings: Settings) -> Iterator[tuple[str, str, float, int]]:
    for pairs in PAIRS:
        for name in LOSSES:
            smooth = name not in WITH_KINKS and by_newton(objective(name, LAM))
            few = settings.kinked if name in WITH_KINKS else settings.searched
            for lam in COMPARED if smooth or settings.all_lams else (LAM,):
                yield pairs, name, lam, settings.classes if smooth else min(few, settings.classes)


def by_newton(loss: Objective) -> bool:
    """Whether the loss is convex in t."""
    return isinstance(loss, PairObjective) and loss.facts.convex


def judged(classes: Classes, loss: Objective) -> dict[str, Floats | Mask]:
    """What becomes of each class, (B,): the columns of ``restricted_reversal_classes``."""
    found = classes.optima(loss)
    log_policy = found.log_policy[:, 0]
    wins = np.einsum("bi,bij,bj->b", np.exp(log_policy), classes.bandit.preference, classes.reference)
    less, farther = classes.worse(log_policy)
    unknown = np.full(len(less), np.nan)
    free = classes.worse(solve(loss, classes.bandit).log_policy) if loss.name in FREE else (unknown, unknown)
    return {
        "reverses": moved(found) * classes.slope() < -LEVEL,
        "less_reward": less,
        "farther": farther,
        "outvoted": wins < 0.5 - LEVEL,
        "no_minimiser": found.status[:, 0] == Status.NO_MINIMISER,
        "less_reward_free": free[0],
        "farther_free": free[1],
    }
