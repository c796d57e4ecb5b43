"""What restricted policies make of RLHF, DPO and EXPO: weight decay, early stopping, too few features.

Many random problems. For each constraint at each strength: what DPO's policy costs in RLHF's own objective; how much
reward a policy leaves lying at its own distance from pi_ref; how far it is from pi*; and whether it lies between pi_ref
and the best fit to the preferences that the constraint allows.

For EXPO the last is a theorem [ours] under weight decay and for any features: with L the preference term and R the
decay, both convex in w, stationarity of L + R + lam KL(pi_ref || pi) and (L + R)(fit) <= (L + R)(w) give

    0 <= (pi - pi_ref)'(log fit - log pi) = KL(pi_ref || fit) - KL(pi_ref || pi) - KL(pi || fit)

on the mean over prompts. Early stopping has no such theorem: `search` finds counterexamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ..._progress import Progress, silent
from ..._rounding import all_rounded, significant
from ..._types import Floats, Indices, Mask
from ...bandit import Bandit
from ...divergences import kl
from ...losses import DPO, EXPO, RLHF, BradleyTerry, Objective
from ...optima import Status, restricted_optima, restricted_values
from ...simulators.optimisers import SGD, Adam, Optimiser
from ...simulators.policies import Tabular
from ...simulators.training import Training, train
from ..settings import Settings as StudySettings
from ..shared import EPS

N, PROMPTS = 4, 3
"""Responses; prompts that share features. Under weight decay and early stopping every problem has one prompt."""
LEAST = 0.02
"""Added to every probability before it is normalised again: it bounds the rewards."""
PAIRS = ("reference", "uniform")
"""Responses to compare are drawn from pi_ref; where each prompt is alone, also uniformly."""
LAMS = (0.1, 1.0)
DECAYS = np.geomspace(1e-5, 10.0, 13)
STEPS, RATES = 3000, {"early_stopping": 1.0, "early_stopping_adam": 0.01}
SPREADS = (3.0, 10.0)
"""Standard deviations of the random starts of RLHF, beside pi_ref and the optima of the three other objectives."""
MEASURES = ("regret", "reward_lost", "kl_optimal_policy", "detour")
ILL_CONDITIONED = ("kl_optimal_policy", "detour")
"""Known of RLHF's optima to about five digits: its value hardly depends on the small log-probabilities these add up."""


@dataclass(frozen=True)
class Problems:
    """K problems: pi_ref and pi*, shape (K, prompts, n). Policies have shape (..., K, prompts, n)."""

    reference: Floats
    optimal: Floats

    def reward_lost(self, log_policy: Floats) -> Floats:
        """max {E_rho[r*]: KL(rho || pi_ref) <= KL(pi || pi_ref)} - E_pi[r*], in nats, over all policies rho.

        The maximum is at rho ~ pi_ref (pi*)^s, RLHF's optimum at lambda = 1/s, with s by bisection.
        """
        log_reference, reward = np.log(self.reference), np.log(self.optimal)
        budget = mean_kl(log_policy, log_reference)
        low, high = np.zeros_like(budget), np.full_like(budget, 1e3)
        for _ in range(60):
            middle = (low + high) / 2
            beyond = mean_kl(tilted(log_reference, reward, middle), log_reference) > budget
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        best = tilted(log_reference, reward, low)
        return np.asarray(((np.exp(best) - np.exp(log_policy)) * reward).sum(axis=-1).mean(axis=-1))

    def detour(self, log_policy: Floats, log_fit: Floats) -> Floats:
        """(KL(pi_ref || pi) + KL(pi || fit)) / KL(pi_ref || fit): at most 1 where pi lies between the two."""
        log_reference = np.log(self.reference)
        way = mean_kl(log_reference, log_policy) + mean_kl(log_policy, log_fit)
        return np.asarray(way / mean_kl(log_reference, log_fit))

    def rlhf(self, lam: float, log_policy: Floats) -> Floats:
        """RLHF's objective."""
        reward = (np.exp(log_policy) * np.log(self.optimal)).sum(axis=-1).mean(axis=-1)
        return np.asarray(lam * mean_kl(log_policy, np.log(self.reference)) - reward)


def mean_kl(log_p: Floats, log_q: Floats) -> Floats:
    """KL(p || q), averaged over the prompts, (..., prompts, n) to (...)."""
    return np.asarray(kl(log_p, log_q).mean(axis=-1))


def tilted(log_reference: Floats, reward: Floats, s: Floats) -> Floats:
    """log of pi_ref exp(s r), normalised."""
    logits = log_reference + s[..., None, None] * reward
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))


def random_problems(count: int, prompts: int, seed: int = 0) -> Problems:
    """pi_ref and pi* from a Dirichlet distribution of parameters 2."""
    rng = np.random.default_rng([seed, prompts])
    reference, optimal = rng.dirichlet(np.full(N, 2.0), (2, count, prompts)) + LEAST
    return Problems(*(p / p.sum(axis=-1, keepdims=True) for p in (reference, optimal)))


@dataclass(frozen=True)
class Reached:
    """At one lambda, one constraint: log-policies (strengths, K, prompts, n) by loss; ``fit`` is a loss of its own.

    regret: in RLHF's objective, (strengths, K) by loss. agreeing: the share of all RLHF's starts that found it.
    """

    strength: Floats
    log_policies: dict[str, Floats]
    fit: Floats
    regret: dict[str, Floats]
    agreeing: float


@dataclass(frozen=True)
class Constraint:
    """B log-linear classes of policies: features (B, prompts, n, d), decay, and which parameters may differ from 0."""

    features: Floats
    decay: ArrayLike = 0.0
    free: Mask | None = None

    def starts(self, drawn: Sequence[Floats]) -> list[Floats]:
        """Parameters (B, d), with zeros for those that are not free."""
        return [start if self.free is None else np.where(self.free, start, 0.0) for start in drawn]


def optima(
    problems: Problems, bandit: Bandit, constraint: Constraint, strength: Floats, lam: float, draws: int
) -> Reached:
    """The optima of RLHF, DPO and EXPO, and the best fit, under a constraint of each strength in turn.

    RLHF starts from pi_ref, from the three other optima, and ``draws`` times from each of the `SPREADS`.
    """
    rng = np.random.default_rng(0)
    features, decay = constraint.features, constraint.decay
    found = {o.name: restricted_optima(o, bandit, features, decay) for o in (DPO(lam), EXPO(lam), BradleyTerry(1.0))}
    missed = [name for name, x in found.items() if not (x.status == Status.OPTIMAL).all()]
    if missed:
        raise RuntimeError(f"no restricted optimum was reached by {missed}")
    size, width = len(features), features.shape[-1]
    starts = [np.zeros((size, width)), *(x.weights for x in found.values())]
    starts += constraint.starts([s * rng.standard_normal((size, width)) for s in SPREADS * draws])
    found["rlhf"] = restricted_optima(RLHF(lam), bandit, features, decay, starts=starts)

    shape = (len(strength), *problems.reference.shape)
    log_policies = {name: x.log_policy.reshape(shape) for name, x in found.items()}
    fit = log_policies.pop("bradley_terry")
    costs = {name: restricted_values(RLHF(lam), bandit, features, x.weights, decay) for name, x in found.items()}
    regret = {name: (costs[name] - costs["rlhf"]).reshape(shape[:2]) for name in log_policies}
    return Reached(strength, log_policies, fit, regret, float(found["rlhf"].agreeing.mean()))


def repeated(problems: Problems, row: Indices, pairs: str) -> Bandit:
    """The prompts of the problems ``row``, all in one bandit."""
    return Bandit(problems.reference[row].reshape(-1, N), problems.optimal[row].reshape(-1, N), pairs)


def weight_decay(problems: Problems, pairs: str, lam: float, draws: int = 1) -> Reached:
    """All policies, one logit per response, with (decay/2) |logits - those of pi_ref|^2 in every objective."""
    count = len(problems.reference)
    row = np.tile(np.arange(count), len(DECAYS))
    constraint = Constraint(np.broadcast_to(np.eye(N), (len(row), 1, N, N)), np.repeat(DECAYS, count))
    return optima(problems, repeated(problems, row, pairs), constraint, DECAYS, lam, draws)


def few_features(problems: Problems, pairs: str, lam: float, draws: int = 3) -> Reached:
    """theta = log pi_ref + features w with the first d of random features, which all prompts share."""
    count, prompts, n = problems.reference.shape
    enough = prompts * (n - 1)
    sizes = np.arange(1, enough + 1)
    row = np.tile(np.arange(count), len(sizes))
    drawn = np.random.default_rng(1).standard_normal((count, prompts, n, enough))
    # a constant on all responses of a prompt does nothing; orthogonal columns span the same policies, well-conditioned
    columns = (drawn - drawn.mean(axis=2, keepdims=True)).reshape(count, prompts * n, enough)
    features = np.linalg.qr(columns).Q.reshape(drawn.shape) * np.sqrt(prompts * n)
    free = np.arange(enough) < np.repeat(sizes, count)[:, None]
    constraint = Constraint(np.where(free[:, None, None], features[row], 0.0), free=free)
    return optima(problems, repeated(problems, row, pairs), constraint, sizes.astype(float), lam, draws)


def early_stopping(problems: Problems, pairs: str, optimiser: str) -> Iterator[tuple[float, Reached]]:
    """Full gradients from pi_ref in the logits, one lambda after the other; strengths are steps.

    Each problem is a prompt of one training, and has a gradient of its own: prompts share no logits.
    """
    count = len(problems.reference)
    bandit = Bandit(problems.reference[:, 0], problems.optimal[:, 0], pairs=pairs)
    rate = RATES[optimiser]
    # the training's objective is the mean over prompts, of which SGD undoes the 1/count
    chosen: Optimiser = SGD(rate * count) if optimiser == "early_stopping" else Adam(rate, eps=EPS)
    objectives: list[Objective] = [cls(lam) for lam in LAMS for cls in (RLHF, DPO, EXPO)]
    training = Training(chosen, epochs=STEPS, records=17, log_spaced=True)
    run = train(objectives, Tabular(bandit.reference), bandit, training)
    fit = np.log(problems.optimal)
    for lam in LAMS:
        log_policies = {
            o.name: run.log_policies[k, 0, 1:, :, None] for k, o in enumerate(run.objectives) if o.lam == lam
        }
        value = {name: problems.rlhf(lam, log_policy) for name, log_policy in log_policies.items()}
        regret = {name: value[name] - value["rlhf"] for name in value}
        steps = run.steps[1:].astype(float)
        yield lam, Reached(steps, log_policies, fit, regret, 1.0)


@dataclass(frozen=True)
class Settings(StudySettings):
    """problems: random ones. searched: those of `search`. draws: random starts of RLHF for each of the `SPREADS`."""

    problems: int = 50
    searched: int = 500
    draws: int = 3


FULL = Settings(250, 2500, 10)


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``constraints``: one row per pair distribution, constraint, strength, lambda and loss; of every measure the median
    and the 10% and 90% quantiles over the problems, and the shares of problems whose regret is negative and whose
    policy lies between pi_ref and the best fit. ``constraints_reference``: quantiles of KL(pi* || pi_ref).
    ``constraints_search``: EXPO stopped early on problems with uneven pairs, and how often it is not between.
    """
    single, shared = (random_problems(settings.problems, prompts) for prompts in (1, PROMPTS))
    rows = []
    jobs = [("reference", optimiser) for optimiser in RATES] + [("uniform", "early_stopping")]
    for k, (pairs, optimiser) in enumerate(jobs):
        for lam, reached in early_stopping(single, pairs, optimiser):
            rows.append(summary(reached, single, pairs, optimiser, lam))
        progress(0.1 * (k + 1))
    for k, lam in enumerate(LAMS):
        for pairs in PAIRS:
            rows.append(summary(weight_decay(single, pairs, lam), single, pairs, "weight_decay", lam))
        rows.append(
            summary(few_features(shared, "reference", lam, settings.draws), shared, "reference", "few_features", lam)
        )
        progress(0.3 + 0.3 * (k + 1))
    reference = [
        {"problems": name, **quantiles("kl_optimal_policy", mean_kl(np.log(p.optimal), np.log(p.reference)))}
        for name, p in (("single", single), ("shared", shared))
    ]
    tables = {
        "constraints": pd.concat(rows, ignore_index=True),
        "constraints_reference": pd.DataFrame(reference),
        "constraints_search": search(settings.searched),
    }
    progress(1.0)
    return all_rounded(tables, trained=["constraints", "constraints_search"])


def summary(reached: Reached, problems: Problems, pairs: str, constraint: str, lam: float) -> pd.DataFrame:
    """Quantiles over the problems, one row per strength and loss."""
    rows = []
    log_optimal = np.log(problems.optimal)
    for name, log_policy in reached.log_policies.items():
        measures = {
            "regret": reached.regret[name],
            "reward_lost": problems.reward_lost(log_policy),
            "kl_optimal_policy": mean_kl(log_optimal, log_policy),
            "detour": problems.detour(log_policy, reached.fit),
        }
        for k, strength in enumerate(reached.strength):
            row = {"pairs": pairs, "constraint": constraint, "strength": strength, "lam": lam, "loss": name}
            for measure in MEASURES:
                found = quantiles(measure, measures[measure][k])
                if name == "rlhf" and measure in ILL_CONDITIONED:
                    found = {column: significant(value, 3) for column, value in found.items()}
                row |= found
            row["share_regret_negative"] = (measures["regret"][k] < -1e-9).mean()
            row["share_between"] = (measures["detour"][k] <= 1 + 1e-9).mean()
            # of all strengths together and in tenths: whether a single start agrees can be a matter of rounding errors
            row["share_of_starts_agreeing"] = round(float(reached.agreeing), 1) if name == "rlhf" else 1.0
            rows.append(row)
    return pd.DataFrame(rows)


def quantiles(measure: str, values: Floats) -> dict[str, float]:
    """The 10%, 50% and 90% quantiles under names of their own."""
    low, median, high = np.quantile(values, [0.1, 0.5, 0.9])
    return {f"{measure}_low": low, measure: median, f"{measure}_high": high}


def search(count: int) -> pd.DataFrame:
    """EXPO by gradient descent on problems with pair weights over four decades: how often is it not between?

    One row per lambda: the share of problems with a record at which (KL(pi_ref || pi) + KL(pi || pi*)) / KL(pi_ref ||
    pi*) exceeds 1, and at which KL(pi || pi*) exceeds the reference's, the largest such quotients, and how often the
    end of training, and the exact optimum, are not between.
    """
    rng = np.random.default_rng(2)
    reference, optimal = (w / w.sum(axis=-1, keepdims=True) for w in 10 ** rng.uniform(-3, 0, (2, count, 1, N)))
    problems = Problems(reference, optimal)
    q = np.triu(10 ** rng.uniform(-4, 0, (count, N, N)), 1)
    bandit = Bandit(reference[:, 0], optimal[:, 0], pairs=q + np.swapaxes(q, 1, 2))
    training = Training(SGD(0.3 * count), epochs=600, records=60, log_spaced=True)
    run = train([EXPO(lam) for lam in LAMS], Tabular(reference[:, 0]), bandit, training)
    log_policy = run.log_policies[:, 0, 1:, :, None]
    detour = problems.detour(log_policy, np.log(optimal)).max(axis=1)
    apart = (mean_kl(log_policy, np.log(optimal)) / mean_kl(np.log(reference), np.log(optimal))).max(axis=1)
    return pd.DataFrame(
        {
            "lam": LAMS,
            "problems": count,
            "share_not_between": (detour > 1 + 1e-9).mean(axis=1),
            "largest_detour": detour.max(axis=1),
            "share_further_than_reference": (apart > 1 + 1e-9).mean(axis=1),
            "largest_kl_quotient": apart.max(axis=1),
        }
    )
