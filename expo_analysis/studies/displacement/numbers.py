r"""Where the mass goes: chosen, rejected and unseen responses while DPO, IPO and EXPO are trained.

Conservation, as it shows in training [ours]. A loss of log-ratios has a gradient in the logits that sums to zero over
every connected component of the comparison graph. Gradient descent on one logit per response, whole or in batches, with
momentum or without, therefore keeps the sum of the logits of every component, and the logit of every response that was
never compared. DPO and IPO determine each component's conditional distribution c and leave its mass open; this sum is
what settles it:

    theta_i = log c_i + mean_C(log pi_ref - log c),        i in C,

(`flow_limit`). For a pair (w, l) with delta = theta_w - theta_l its odds against the rest are in proportion to
cosh(delta / 2): unseen mass falls as soon as the pair is further apart than it began, though no gradient ever touches
it. EXPO's optimum keeps the mass of each component; on the way there it need not.

With features that responses share, the gradient of one pair moves all the others, and chosen and rejected may both
fall: "likelihood displacement" (Razin et al. 2024, arXiv 2410.08847), the more, the more alike the two are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..._progress import Progress, silent
from ..._rounding import all_rounded
from ..._types import Floats, Indices
from ...bandit import Bandit
from ...losses import DPO, EXPO, IPO, Objective
from ...optima import restricted_optima, solve
from ...simulators.autoregressive import Transformer
from ...simulators.optimisers import SGD, Adam
from ...simulators.policies import LogLinear, Policy, Tabular
from ...simulators.training import Training, train
from ...simulators.trajectory import Trajectory, kinds_of
from ..settings import Settings as StudySettings

LOSSES: tuple[type[Objective], ...] = (DPO, IPO, EXPO)
REFERENCE = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
OPTIMAL = np.array([0.35, 0.15, 0.2, 0.1, 0.2])
COMPARED = ((0, 1), (2, 3))
"""The worked example: two pairs, and one response that is never compared."""
PREFERENCE = 0.8
"""Of the chosen over the rejected response in the worlds of shared features and of the transformer."""
PROMPTS, N, FEATURES, SIMILARITY = 4, 6, 8, 0.9
"""Worlds of shared features: prompts, responses, features, and the correlation of those of a pair."""
TRAINED_WORLDS = 12
SIMILARITIES = np.array([0.0, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99])
LAMS = np.array([0.03, 0.1, 0.3, 1.0, 3.0])


@dataclass(frozen=True)
class World:
    """What is trained on what: policy, data and lambda, and how."""

    policy: Policy
    bandit: Bandit
    lam: float
    training: Training

    @property
    def objectives(self) -> list[Objective]:
        return [cls(self.lam) for cls in LOSSES]

    def train(self) -> Trajectory:
        return train(self.objectives, self.policy, self.bandit, self.training)


def compared(n: int, pairs: tuple[tuple[int, int], ...]) -> Floats:
    """An adjacency matrix (n, n)."""
    graph = np.zeros((n, n))
    for i, j in pairs:
        graph[i, j] = graph[j, i] = 1.0
    return graph


def preferring(reference: Floats, winner: Indices, loser: Indices) -> tuple[Floats, Floats]:
    """pi* and pairs of prompts (prompts, n) whose first response is preferred: pi* is pi_ref outside of the pair."""
    prompt = np.arange(len(reference))
    total = reference[prompt, winner] + reference[prompt, loser]
    optimal, pairs = reference.copy(), np.zeros((*reference.shape, reference.shape[1]))
    optimal[prompt, winner], optimal[prompt, loser] = PREFERENCE * total, (1 - PREFERENCE) * total
    pairs[prompt, winner, loser] = pairs[prompt, loser, winner] = 1.0
    return optimal, pairs


def similar_features(rng: np.random.Generator, worlds: int, prompts: int, n: int, similarity: float) -> Floats:
    """Gaussian features, (worlds, prompts, n, FEATURES); those of responses 0 and 1 have this correlation."""
    features = rng.standard_normal((worlds, prompts, n, FEATURES)) / np.sqrt(FEATURES)
    features[:, :, 1] = similarity * features[:, :, 0] + np.sqrt(1 - similarity**2) * features[:, :, 1]
    return features


def worlds(steps: int) -> dict[str, World]:
    """By name: all policies on the population and on one-sided data, shared features, and a transformer."""
    example = Bandit(REFERENCE, OPTIMAL, compared(5, COMPARED))
    counts = np.zeros((5, 5))
    for winner, loser in COMPARED:
        counts[winner, loser] = 4
    one_sided = Bandit.from_counts(REFERENCE, counts)
    descent = Training(SGD(0.2), epochs=5000, records=50, log_spaced=True)

    rng = np.random.default_rng(0)
    total = TRAINED_WORLDS * PROMPTS
    reference = rng.dirichlet(np.full(N, 3.0), total)
    shared = Bandit(reference, *preferring(reference, *np.repeat([[0], [1]], total, axis=1)))
    # several worlds at once: each has parameters of its own
    own = similar_features(rng, TRAINED_WORLDS, PROMPTS, N, SIMILARITY)
    features = np.einsum("wv,wxyd->wxyvd", np.eye(TRAINED_WORLDS), own).reshape(total, N, -1)

    decoder = Transformer(3, 2, 24, width=8, sharpness=3.0)
    begun = decoder.initial()
    # the two responses of a pair differ in their last token only
    prefix = 3 * rng.integers(0, 3, len(begun))
    winner, loser = np.array([rng.permutation(3)[:2] for _ in begun]).T + prefix
    sequences = Bandit(begun, *preferring(begun, winner, loser))
    # the rate falls to 0: at a constant one Adam goes on in steps that rounding decides once gradients have vanished
    adam = Training(Adam(0.02), epochs=2000, schedule="cosine", records=50, log_spaced=True)
    slower = Training(Adam(3e-3), epochs=steps, records=50, log_spaced=True)
    return {
        "population": World(Tabular(REFERENCE), example, 0.3, descent),
        "one_sided": World(Tabular(REFERENCE), one_sided, 0.3, descent),
        "features": World(LogLinear(reference, features), shared, 0.1, adam),
        "transformer": World(decoder, sequences, 0.1, slower),
    }


def flow_limit(policy: Floats, bandit: Bandit) -> Floats:
    """Where gradient descent on the logits ends, shape (n,), given any minimiser of a loss of log-ratios."""
    start, theta = np.log(bandit.reference), np.log(policy)
    for component in np.unique(bandit.components):
        own = bandit.components == component
        theta[own] += (start[own] - theta[own]).mean()
    odds = np.exp(theta - theta.max())
    return np.asarray(odds / odds.sum())


@dataclass(frozen=True)
class Settings(StudySettings):
    """steps: of the transformer. worlds: of shared features, whose exact optima are summed up."""

    steps: int = 400
    worlds: int = 100


FULL = Settings(4000, 500)


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``displacement``: one row per world, loss and step, with the masses of the chosen, rejected and unseen responses
    averaged over prompts, the share of prompts on which chosen and rejected both have less mass than at the start, and
    KL(pi_ref || pi). ``displacement_ends``: for the worlds of one logit per response, the least and the largest mass
    of each kind among all minimisers, and where gradient descent is to end by `flow_limit`. ``displacement_optima``:
    over many worlds of shared features, what the exact restricted optima do, by similarity and lambda.
    """
    steps, ends = [], []
    named = worlds(settings.steps)
    for k, (name, world) in enumerate(named.items()):
        steps.append(recorded(name, world.train()))
        if isinstance(world.policy, Tabular):
            ends.append(minimisers(name, world))
        progress((k + 1) / (len(named) + 1))
    tables = {
        "displacement": pd.concat(steps, ignore_index=True),
        "displacement_ends": pd.concat(ends, ignore_index=True),
        "displacement_optima": optima(settings.worlds),
    }
    progress(1.0)
    return all_rounded(tables, trained=["displacement"])


def recorded(name: str, run: Trajectory) -> pd.DataFrame:
    """The masses of a run, averaged over its prompts."""
    masses = {kind: run.mass(kind)[:, 0] for kind in ("chosen", "rejected", "unseen")}
    fallen = [masses[kind] < masses[kind][:, :1] - 1e-9 for kind in ("chosen", "rejected")]
    columns = {kind: mass.mean(axis=-1) for kind, mass in masses.items()}
    columns["share_displaced"] = (fallen[0] & fallen[1]).mean(axis=-1)
    columns["kl_reference_policy"] = run.divergence("kl_reference_policy")[:, 0].mean(axis=-1)
    frames = [
        pd.DataFrame(
            {
                "world": name,
                "prompts": len(run.reference),
                "loss": objective.name,
                "lam": objective.lam,
                "step": run.steps,
            }
            | {column: values[k] for column, values in columns.items()}
        )
        for k, objective in enumerate(run.objectives)
    ]
    return pd.concat(frames, ignore_index=True)


def minimisers(name: str, world: World) -> pd.DataFrame:
    """The range of each kind's mass over all minimisers, one row per loss and kind; nan where there is none."""
    bandit = world.bandit
    rows = []
    for objective in world.objectives:
        solution = solve(objective, bandit)
        exists = solution.status in ("optimal", "best_found", "not_unique")
        limit = flow_limit(solution.policy, bandit) if exists and not isinstance(objective, EXPO) else solution.policy
        for kind, mask in kinds_of(bandit.wins).items():
            low = high = end = np.nan
            if exists:
                low = high = end = float(limit[mask].sum())
            if solution.status == "not_unique":  # every component may have any mass
                shares = [
                    solution.policy[mask & own].sum() / solution.policy[own].sum()
                    for own in (bandit.components == c for c in np.unique(bandit.components))
                ]
                low, high = min(shares), max(shares)
            row = {"world": name, "loss": objective.name, "kind": kind, "reference": bandit.reference[mask].sum()}
            rows.append(row | {"lowest": low, "highest": high, "end": end, "status": solution.status})
    return pd.DataFrame(rows)


def optima(count: int) -> pd.DataFrame:
    """Restricted optima over ``count`` worlds; a row per similarity, lambda and loss.

    DPO and IPO determine four log-ratios, fewer than there are features: of their minimisers this is the one nearest to
    the start, where gradient descent ends.

    share_displaced: of prompts on which chosen and rejected both lose mass. mass_lost: by the compared pair, where it
    loses any, averaged over all prompts. unseen_gained: by all other responses, which may be negative.
    """
    rng = np.random.default_rng(1)
    reference = rng.dirichlet(np.full(N, 3.0), (count, PROMPTS))
    flat = reference.reshape(-1, N)
    optimal = preferring(flat, *np.repeat([[0], [1]], len(flat), axis=1))[0].reshape(reference.shape)
    settings = [(s, 0.1) for s in SIMILARITIES] + [(SIMILARITY, lam) for lam in LAMS if lam != 0.1]
    features = np.concatenate([similar_features(np.random.default_rng(2), count, PROMPTS, N, s) for s, _ in settings])
    row = np.tile(np.arange(count), len(settings))
    bandit = Bandit(reference[row].reshape(-1, N), optimal[row].reshape(-1, N), compared(N, ((0, 1),)))
    lam = np.repeat([lam for _, lam in settings], count)
    rows = []
    for cls in LOSSES:
        found = restricted_optima(cls(lam), bandit, features)
        shape = (len(settings), count, PROMPTS, N)
        change = np.exp(found.log_policy).reshape(shape) - reference
        pair = change[..., :2].sum(axis=-1)
        settled = np.array([np.isfinite(bound).all() for bound in found.bound]).reshape(shape[:2])
        for k, (similarity, one) in enumerate(settings):
            rows.append(
                {
                    "similarity": similarity,
                    "lam": one,
                    "loss": cls.name,
                    "share_displaced": (change[k, ..., :2] < -1e-9).all(axis=-1).mean(),
                    "mass_lost": np.maximum(-pair[k], 0.0).mean(),
                    "unseen_gained": -pair[k].mean(),
                    "share_converged": settled[k].mean(),
                }
            )
    return pd.DataFrame(rows)
