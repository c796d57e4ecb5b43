r"""Four ways to estimate EXPO's regulariser from samples: their bias, variance, and the optimum that each has.

A pair's estimate is the mean of a statistic over two sequences y. The statistic is the *likelihood* -log pi(y), or the
*token KL* A(y) = sum_t KL(pi_ref(.|y_<t) || pi(.|y_<t)); the two sequences are *fresh* samples of pi_ref, or the pair's
*own* responses. The world is small enough to list every sequence: expectations, variances and optima are finite sums
and exact solutions, beside which stand draws and training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..._progress import Progress, silent
from ..._rounding import all_rounded
from ..._threads import one_thread
from ..._types import Floats, Indices, Mask
from ...bandit import Bandit
from ...divergences import total_variation
from ...losses import EXPO
from ...optima import Solution, solve
from ...simulators.autoregressive import Autoregressive, NGram, Transformer
from ...simulators.optimisers import Adam
from ...simulators.sampling import Pairs, draw_pairs
from ...simulators.training import Training, train
from ...simulators.trajectory import kinds_of
from ..settings import Settings as StudySettings
from ..shared import EPS

VOCABULARY, LENGTH = 3, 3
LAM = 0.3
PART = 12
"""How many of the sequences the design ``"part"`` compares."""
PAIRS = 15
"""Comparisons in a data set: about as many responses as there are sequences, so that some are never seen."""
BATCH = 5

ESTIMATORS: dict[str, dict[str, Any]] = {
    "exact": {"estimator": "exact"},
    "own_responses": {"estimator": "own_responses"},
    "reference_samples": {"estimator": "reference_samples", "samples": 2},
    "token_kl": {"estimator": "token_kl", "samples": 2},
    "token_kl_own": {"estimator": "token_kl", "prefixes": "own_responses"},
}
"""Arguments of `Training`. All but the first look at two sequences for each pair."""


def world() -> tuple[Transformer, Bandit]:
    """A transformer that is pi_ref at its start, and pairs drawn from it; pi* has nothing to do with pi_ref."""
    model = Transformer(VOCABULARY, LENGTH, sharpness=2.0, seed=1)
    optimal = np.exp(1.5 * np.random.default_rng(0).normal(size=model.n))
    return model, Bandit(model.initial()[0], optimal / optimal.sum(), pairs="reference")


def designs(bandit: Bandit) -> dict[str, Bandit]:
    """``"reference"``: both responses from pi_ref, again where they are equal; ``"part"``: of some sequences."""
    among = np.zeros(bandit.n)
    among[np.random.default_rng(1).choice(bandit.n, PART, replace=False)] = 1.0
    graph = np.outer(among, among) * (1 - np.eye(bandit.n))
    return {"reference": bandit, "part": replace(bandit, pairs=graph)}


def table(policy: Floats) -> NGram:
    """The full-order n-gram that starts as a given policy: one row of logits for each prefix."""
    return NGram(VOCABULARY, LENGTH, initial_policy=policy)


# --- bias and variance ------------------------------------------------------------------------------------------------


def statistics(model: Autoregressive, parameters: torch.Tensor, reference: Floats) -> dict[str, tuple[Floats, Floats]]:
    """Value (n,) and gradient in the parameters (n, size) of the two statistics on every sequence, of one prompt.

    The likelihood is counted from the entropy of pi_ref, -log pi(y) - H(pi_ref), so that both have the expectation
    KL(pi_ref || pi) over pi_ref.
    """
    log_reference = torch.from_numpy(np.log(reference))
    entropy = -(log_reference.exp() * log_reference).sum()
    conditionals = model.conditionals(log_reference[None])
    every = torch.arange(model.n)
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "likelihood": lambda theta: -model.log_policy(theta)[0] - entropy,
        "token_kl": lambda theta: model.log_probs_and_kl(theta, conditionals, every)[1],
    }
    with one_thread():
        return {
            name: (f(parameters).numpy(), torch.func.jacrev(f)(parameters).numpy()) for name, f in functions.items()
        }


def moments(statistic: Floats, joint: Floats) -> tuple[Floats, float]:
    """Expectation and total variance of (s(y) + s(y'))/2 for (y, y') from a symmetric joint distribution (n, n).

    ``statistic`` is (n,) or (n, d); the variances of d components are added up.
    """
    s = statistic.reshape(len(statistic), -1)
    marginal = joint.sum(axis=1)
    mean = marginal @ s
    s = s - mean
    variance, covariance = marginal @ s**2, ((joint @ s) * s).sum(axis=0)
    return mean, float(np.maximum(variance + covariance, 0.0).sum() / 2)  # rounding may go below zero


def sources(bandit: Bandit) -> dict[tuple[str, str], Floats]:
    """By (estimator, design): the joint distribution of the two sequences that an estimator looks at."""
    fresh = np.outer(bandit.reference, bandit.reference)
    joints = {("reference_samples", "any"): fresh, ("token_kl", "any"): fresh}
    for design, population in designs(bandit).items():
        joints |= {(name, design): population.pairs for name in ("own_responses", "token_kl_own")}
    return joints


def drawn(bandit: Bandit, design: str, count: int) -> Indices:
    """Pairs of sequences as training meets them, (count, 2)."""
    if design == "any":
        return np.random.default_rng(2).choice(bandit.n, size=(count, 2), p=bandit.reference)
    how = "reference" if design == "reference" else "pairs"
    pairs = draw_pairs(designs(bandit)[design], count, seed=3, design=how)
    return np.stack([pairs.winner[0], pairs.loser[0]], axis=-1)


def bias_and_variance(bandit: Bandit, count: int) -> pd.DataFrame:
    """One row per policy, estimator, design and quantity, see `estimators`."""
    reference = np.asarray(bandit.reference)
    rows = []
    for policy_name, policy in {"reference": reference, "trained": solve(EXPO(LAM), bandit).policy}.items():
        model = table(policy)
        found = statistics(model, model.start(), reference)
        for (name, design), joint in sources(bandit).items():
            statistic = "token_kl" if name.startswith("token_kl") else "likelihood"
            draws = drawn(bandit, design, count)
            for quantity, s, exact in zip(("value", "gradient"), found[statistic], found["token_kl"], strict=True):
                mean, variance = moments(s, joint)
                target, _ = moments(exact, np.outer(reference, reference))
                # a gradient is shown by its component along the exact one, which is zero at the reference
                size = float(np.linalg.norm(target))
                unit = target / size if size > 1e-12 else np.full(len(target), np.nan)
                along = np.ones(1) if quantity == "value" else unit
                each = (s.reshape(len(s), -1) @ along)[draws].mean(axis=1)
                half = 1.96 * each.std(ddof=1) / np.sqrt(count)
                rows.append(
                    {
                        "policy": policy_name,
                        "estimator": name,
                        "design": design,
                        "quantity": quantity,
                        "target": float(target @ along),
                        "expectation": float(mean @ along),
                        "bias": float(np.linalg.norm(mean - target)),
                        "sd": np.sqrt(variance),
                        "sd_along": np.sqrt(moments(s.reshape(len(s), -1) @ along, joint)[1]),
                        "drawn": each.mean(),
                        "drawn_low": each.mean() - half,
                        "drawn_high": each.mean() + half,
                    }
                )
    return pd.DataFrame(rows)


def paths(transformer: Transformer, bandit: Bandit) -> pd.DataFrame:
    """How the token KL's standard deviation compares with the likelihood's on three ways away from pi_ref.

    The likelihood counts here without the noise that does not depend on pi: log(pi_ref/pi), whose gradient is the same.
    """
    reference, optimal = np.asarray(bandit.reference), np.asarray(bandit.optimal)
    rare = np.eye(bandit.n)[reference.argmin()]
    direction = torch.from_numpy(np.random.default_rng(4).normal(size=len(transformer.start())))
    fresh = np.outer(reference, reference)

    def places() -> Iterator[tuple[str, float, Autoregressive, torch.Tensor]]:
        for step in np.geomspace(0.01, 3.0, 12):
            policy = np.exp((1 - step) * np.log(reference) + step * np.log(optimal))
            model = table(policy / policy.sum())
            yield "optimal", step, model, model.start()
        for step in np.geomspace(1e-3, 0.95, 12):
            model = table((1 - step) * reference + step * rare)
            yield "one_sequence", step, model, model.start()
        for step in np.geomspace(3e-3, 1.0, 10):
            yield "weights", step, transformer, transformer.start() + step * direction

    rows = []
    for path, step, model, parameters in places():
        found = statistics(model, parameters, reference)
        likelihood, slope = found["likelihood"]
        kl, token = moments(found["token_kl"][0], fresh)
        _, ratio = moments(likelihood + np.log(reference), fresh)
        gradients = [np.sqrt(moments(gradient, fresh)[1]) for gradient in (found["token_kl"][1], slope)]
        rows.append((path, step, kl.item(), np.sqrt(token / ratio), gradients[0] / gradients[1]))
    return pd.DataFrame(rows, columns=["path", "step", "kl", "value", "gradient"])


# --- the optima that they really have ---------------------------------------------------------------------------------


def optimum(name: str, data: Bandit | Pairs) -> Floats:
    """What an estimator's expectation over pairs leads EXPO to: policies (data sets, n), of one prompt.

    ``"own_responses"``: EXPO towards the distribution m of the pairs' responses instead of pi_ref; what is in no pair
    has probability zero. ``"token_kl_own"``: pi_ref's distributions over the next token, kept with the weight of m on
    each prefix; see `imbalance`. All others: EXPO.
    """
    bandits = [data.bandit(s) for s in range(data.data_sets)] if isinstance(data, Pairs) else [data]
    if name == "token_kl_own":
        policies = np.asarray(converged(name, data))
        if max(map(imbalance, policies, bandits)) > 1e-7:
            raise RuntimeError("the optimum of the token KL along own responses was not found")
        return policies
    if name != "own_responses":
        return np.stack([_optimal(solve(EXPO(LAM), bandit)) for bandit in bandits])
    policies = np.zeros((len(bandits), bandits[0].n))
    for policy, bandit in zip(policies, bandits, strict=True):
        marginal = bandit.pairs.reshape(bandit.n, bandit.n).sum(axis=1)
        on = marginal > 0
        policy[on] = _optimal(solve(EXPO(LAM), _among(bandit, on, marginal[on])))
    return policies


def converged(name: str, data: Bandit | Pairs) -> Floats:
    """Where full gradients end in a table, with an estimator that draws nothing: policies (data sets, n)."""
    batch = data.winner.shape[1] if isinstance(data, Pairs) else None
    how = {"batch": batch, "shuffle": False, "schedule": "cosine", "records": 2, **ESTIMATORS[name]}
    model = table(np.asarray(data.reference).reshape(-1))
    return train(EXPO(LAM), model, data, Training(Adam(0.2, eps=EPS), epochs=400, **how)).final[0, :, 0]


def imbalance(policy: Floats, bandit: Bandit, lam: float = LAM) -> float:
    r"""How far a policy is from a stationary point of EXPO with the token KL along the pairs' own responses.

    Let m(c) be the probability that a response of a pair begins with the prefix c, and D(c) the sum of -(1/lam) d/d log
    pi(y) of the preference term over sequences y that begin with c. Stationary are those policies with, for every
    prefix c and next token v,

        D(cv) = pi(v|c) (m(c) + D(c)) - m(c) pi_ref(v|c).    [ours]

    With m = pi_ref this is D(c) = pi(c) - pi_ref(c), the stationarity of EXPO. Where no pair has a response that begins
    with cv, D(cv) = 0 and pi(v|c) = pi_ref(v|c) m(c) / (m(c) + D(c)): next tokens never seen after c share one factor.
    It is 1 at the start, where m = 1 and D = 0; and what follows after an unseen prefix is free.

    Returns:
        The largest absolute difference between the two sides.
    """
    wins, reference = bandit.wins.reshape(bandit.n, bandit.n), np.asarray(bandit.reference).reshape(-1)
    marginal = bandit.pairs.reshape(bandit.n, bandit.n).sum(axis=1)
    doubt = wins / (1 + policy[:, None] / policy)  # weight times p_theta(loser beats winner)
    pull = (doubt.sum(axis=1) - doubt.sum(axis=0)) / lam

    def begin(y: Floats, t: int) -> Floats:
        """Sums over sequences that begin alike for t tokens, a row for each beginning of t - 1."""
        return y.reshape(VOCABULARY**t, -1).sum(axis=1).reshape(VOCABULARY ** max(t - 1, 0), -1)

    worst = 0.0
    for t in range(LENGTH):
        m, d, own, kept = (begin(y, t).reshape(-1, 1) for y in (marginal, pull, policy, reference))
        next_d, next_own, next_kept = (begin(y, t + 1) for y in (pull, policy, reference))
        worst = max(worst, float(np.abs(next_d - next_own / own * (m + d) + m * next_kept / kept).max()))
    return worst


def _among(bandit: Bandit, on: Mask, reference: Floats) -> Bandit:
    """The same comparisons of the sequences that are in any, with another reference."""
    grid = np.ix_(on, on)
    if bandit.counts is not None:
        return Bandit.from_counts(reference, bandit.counts.reshape(bandit.n, bandit.n)[grid])
    optimal = np.asarray(bandit.optimal)[on]
    return Bandit(reference, optimal / optimal.sum(), pairs=bandit.pairs[grid])


def _optimal(solution: Solution) -> Floats:
    if not np.all(np.asarray(solution.status) == "optimal"):
        raise RuntimeError(f"EXPO has no optimum here: {solution.message}")
    return np.asarray(solution.policy).reshape(-1)


def masses(policy: Floats, wins: Floats) -> dict[str, float]:
    """Probability of the chosen, the rejected and the unseen sequences, see `trajectory.kinds_of`."""
    return {kind: float(policy[mask].sum()) for kind, mask in kinds_of(wins).items()}


# --- the experiment ---------------------------------------------------------------------------------------------------

OPTIMISERS = {"table": Adam(0.03, eps=1e-4), "transformer": Adam(8e-3, eps=EPS)}
"""A prefix that is in no pair stays at pi_ref: a minimum, of curvature h, where gradients are rounding, far below eps.
There Adam makes what rounding left larger with every step unless lr h/eps < 38 = 2 (1 + beta_1)/(1 - beta_1). For the
table that takes more than `EPS`, at which the 17th digit became the third within forty steps."""


def training(
    name: str, model: Autoregressive, optimiser: Adam, pairs: Pairs, goals: Floats, epochs: int
) -> pd.DataFrame:
    """One row per data set and step: masses, and the distance in total variation from the optima ``goals``."""
    how = {"batch": BATCH, "schedule": "cosine", "records": 16, "log_spaced": True, **ESTIMATORS[name]}
    run = train(EXPO(LAM), model, pairs, Training(optimiser, epochs=epochs, **how))
    frame = run.to_frame()[["data_set", "step", "chosen", "rejected", "unseen"]]
    distance = total_variation(run.policies[0, :, :, 0], goals[:, None])
    return frame.assign(estimator=name, distance=distance.reshape(-1))


def optima(name: str, bandit: Bandit, data: str, given: Bandit | Pairs, exact: Floats, goals: Floats) -> pd.DataFrame:
    """One row per data set: masses at an estimator's optimum and at pi_ref, and distances in total variation.

    ``from_exact``: from the optimum of EXPO; ``from_full_gradients``: from where full gradients end in a table, known
    for ``"own_responses"`` (the optimum of ``"token_kl_own"`` is found that way).
    """
    wins = given.counts[:, 0] if isinstance(given, Pairs) else given.wins[None]
    ends = converged(name, given) if name == "own_responses" else np.full_like(goals, np.nan)
    return pd.DataFrame(
        {
            "data": data,
            "data_set": np.arange(len(goals)),
            "estimator": name,
            **pd.DataFrame(list(map(masses, goals, wins))),
            "unseen_reference": [masses(np.asarray(bandit.reference), won)["unseen"] for won in wins],
            "from_exact": total_variation(goals, exact),
            "from_full_gradients": total_variation(goals, ends),
        }
    )


@dataclass(frozen=True)
class Settings(StudySettings):
    """draws: of pairs, for means. sets: data sets to train on, epochs: how long; for the table, for the transformer."""

    draws: int = 4000
    sets: tuple[int, int] = (8, 2)
    epochs: tuple[int, int] = (200, 100)


FULL = Settings(100_000, (30, 8), (1000, 600))


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``estimators``: per policy (pi_ref; the optimum of EXPO), estimator, design of the pairs and quantity (value;
    gradient in a table's logits): ``target``, what the exact regulariser has; ``expectation`` and ``sd`` of one pair's
    estimate, exact; ``bias``, the norm of expectation minus target; ``drawn``, the mean over drawn pairs, with a 95%
    interval. Of a gradient, target, expectation, ``sd_along`` and drawn are components along the exact gradient, nan
    where that is zero; ``sd`` is the root of its total variance.
    ``estimators_paths``: see `paths`. ``estimators_optima``: see `optima`; on both designs, and on drawn pairs.
    ``estimators_steps``: training on those pairs, see `training`; ``distance`` is total variation from the estimator's
    own optimum.
    """
    transformer, bandit = world()
    sets, epochs = (dict(zip(OPTIMISERS, own, strict=True)) for own in (settings.sets, settings.epochs))
    tables = {
        "estimators": bias_and_variance(bandit, settings.draws),
        "estimators_paths": paths(transformer, bandit),
    }
    progress(0.1)
    pairs = draw_pairs(bandit, PAIRS, max(sets.values()), seed=5, design="reference")
    ends = []
    inputs: dict[str, Bandit | Pairs] = {**designs(bandit), "pairs": pairs}
    for data, given in inputs.items():
        exact = optimum("exact", given)
        goals = {name: optimum(name, given) if "own" in name else exact for name in ESTIMATORS}
        ends += [
            optima(name, bandit, data, given, exact, goals[name]) for name in ("exact", "own_responses", "token_kl_own")
        ]
    tables["estimators_optima"] = pd.concat(ends, ignore_index=True)
    progress(0.3)
    steps = []
    for world_name, model in {"table": table(np.asarray(bandit.reference)), "transformer": transformer}.items():
        few = sets[world_name]
        some = draw_pairs(bandit, PAIRS, few, seed=5, design="reference")  # the first of those above
        for name in ESTIMATORS:
            frame = training(name, model, OPTIMISERS[world_name], some, goals[name][:few], epochs[world_name])
            steps.append(frame.assign(world=world_name))
            progress(0.3 + 0.07 * len(steps))
    tables["estimators_steps"] = pd.concat(steps, ignore_index=True)
    return all_rounded(tables, trained=["estimators_optima", "estimators_steps"])
