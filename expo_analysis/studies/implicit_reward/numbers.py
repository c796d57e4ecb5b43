"""How well does the reward that a policy implies rank new pairs, beside a reward model fitted to the same pairs?

Policies are log-linear, pi proportional to pi_ref exp(w . phi), reward models r = w . phi with the same features, and
the accuracy of either, the expected share of pairs whose preferred response it scores higher, is known exactly once the
data are drawn. New pairs come from where the training pairs came from, from other prompts, or from another source of
responses.

**An identity** [ours]. beta log pi/pi_ref = beta w . phi - beta log Z(x), so that on pairs DPO at beta is the
likelihood of the reward beta w: its minimiser is the reward model's, over beta, with the same accuracy on every pair of
any distribution; with weight decay c it is the reward model's with c/beta^2. A loss psi(beta hbar) without decay has an
accuracy that beta does not change.

**With tokens** it is no identity. A policy over sequences is normalised token by token, and what a prefix's normaliser
takes away differs from response to response: near pi_ref, log pi/pi_ref is w . (phi - sum_t E_ref[phi_t | y_<t]). So
implicit and explicit rewards are two classes, each of which may hold the true reward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax, stdtrit

from ..._progress import Progress, part, silent
from ..._rounding import all_rounded
from ..._types import Floats
from ...accuracy import reward_accuracy
from ...bandit import Bandit
from ...losses import DPO, EXPO, IPO, BradleyTerry, Objective, PairObjective, objective
from ...optima import RestrictedOptima, Status, restricted_optima, solve
from ..settings import Settings as StudySettings

D, N, PROMPTS, HELD_OUT = 8, 4, 50, 200
"""Features; responses to a prompt; prompts of training, and of each evaluation."""
PAIRS = 400
SIZES = (100, 200, 400, 800, 1600)
LAMS = (0.1, 1.0)
SMOOTHING = 0.1
DECAYS = np.geomspace(1e-4, 10.0, 11)
DECAY_LAMS = (0.1, 1.0, 10.0)

REWARDS = ("linear", "quadratic")
"""The true reward in the features: of the class that is fitted, or with a quadratic part as large as the linear."""
SHIFTS = ("none", "prompts", "responses")
NEWTON = ("dpo", "conservative_dpo", "ipo", "expo", "rpo", "cpo", "bradley_terry", "simpo", "sft")
"""Losses that are convex in the logits and smooth."""
KINKED = ("hinge", "slic")
"""Losses with kinks, which are solved one by one."""
SEARCHED = ("fdpo", "chi_po", "regression_expo", "spo", "exo", "discopop", "orpo", "bco", "nca", "sppo")
"""Losses that are searched, from pi_ref and from the reward model's fit."""
ROUGH = ("discopop",)
"""Searched losses with minima everywhere. From pi_ref a run takes some fifty steps, in which rounding grows until it
decides between minima, so that other processors find another one; from near the reward model's fit runs are short."""
NEAR = (0.7, 1.0, 1.4)
"""Where those are searched from: multiples of the reward model's fit, over lambda, so that lambda has no say in it."""
SHARES = {**dict.fromkeys(NEWTON, 1.0), **dict.fromkeys(KINKED, 0.12), **dict.fromkeys(SEARCHED, 0.3)}
"""Of the worlds in which a loss is fitted, since some take long."""
MARGIN = 2.0
"""Standard deviation of differences of the true reward in training."""


@dataclass(frozen=True)
class Prompts:
    """W worlds of P prompts each."""

    features: Annotated[Floats, "W P n d"]
    log_reference: Annotated[Floats, "W P n"]
    reward: Annotated[Floats, "W P n"]

    def first(self, count: int) -> Prompts:
        return Prompts(self.features[:count], self.log_reference[:count], self.reward[:count])

    def bandit(self, world: int) -> Bandit:
        """The population of a world's prompts, all pairs alike."""
        return Bandit(np.exp(self.log_reference[world]), softmax(self.reward[world], axis=-1))

    def log_policy(self, weights: Floats) -> Floats:
        """log pi (W, P, n) at w (W, d)."""
        return np.asarray(log_softmax(self.log_reference + np.einsum("wpnd,wd->wpn", self.features, weights), axis=-1))


def worlds(count: int, reward: str, seed: int = 0) -> dict[str, Prompts]:
    """Prompts for training ("training") and for each of the `SHIFTS`.

    Features are s(x) z(x, y), elementwise: log s ~ N(m, 0.3^2) says what a prompt is about, z ~ N(mu, spread^2) what
    its responses differ in. With prompts shifted m is turned round, so that features count that hardly did; with
    responses shifted mu has the other sign and the spread is turned round. log pi_ref is linear in the features but for
    noise.
    """
    rng = np.random.default_rng([2409, seed])
    theta, u, mu = rng.standard_normal((3, count, 1, 1, D))
    bent = rng.standard_normal((count, D, D))
    about, spread = np.linspace(0.8, -0.8, D), np.linspace(1.0, 0.3, D)

    def drawn(prompts: int, m: Floats, mean: Floats, deviation: Floats) -> tuple[Floats, Floats]:
        scale = np.exp(m + 0.3 * rng.standard_normal((count, prompts, 1, D)))
        z = mean + deviation * rng.standard_normal((count, prompts, N, D))
        return scale * z, rng.standard_normal((count, prompts, N))

    mu = mu * 0.7
    found = {
        "training": drawn(PROMPTS, about, mu, spread),
        "none": drawn(HELD_OUT, about, mu, spread),
        "prompts": drawn(HELD_OUT, about[::-1], mu, spread),
        "responses": drawn(HELD_OUT, about, -mu, spread[::-1]),
    }
    parts = {
        "linear": lambda x: (x * theta).sum(axis=-1),
        "quadratic": lambda x: np.einsum("wpnd,wde,wpne->wpn", x, bent, x),
        "reference": lambda x: (x * u).sum(axis=-1),
    }
    # in units of differences within a prompt, in training
    unit = {name: _spread(of(found["training"][0])) for name, of in parts.items()}
    kinds = ("linear",) if reward == "linear" else ("linear", "quadratic")
    total = _spread(sum(parts[name](found["training"][0]) / unit[name] for name in kinds))
    return {
        name: Prompts(
            x,
            log_softmax(parts["reference"](x) / unit["reference"] + noise, axis=-1),
            MARGIN / total * sum(parts[kind](x) / unit[kind] for kind in kinds),
        )
        for name, (x, noise) in found.items()
    }


def _spread(r: Any) -> Floats:
    """The standard deviation of r_i - r_j over pairs of each world, (W, 1, 1)."""
    return np.sqrt(2 * r.var(axis=2, ddof=1, keepdims=True).mean(axis=1, keepdims=True))


def draw_counts(prompts: Prompts, pairs: int, seed: int = 0) -> Bandit:
    """So many comparisons of uniform pairs in each world, as one bandit whose prompts are those of all worlds."""
    count = len(prompts.reward)
    optimal = softmax(prompts.reward, axis=-1)
    wins = optimal[..., :, None] / (optimal[..., :, None] + optimal[..., None, :]) * (1 - np.eye(N))
    rng = np.random.default_rng([3650, seed, pairs])  # the first worlds have the same data, however many there are
    flat = wins.reshape(count, -1)
    counts = np.stack([rng.multinomial(pairs, row / row.sum()) for row in flat])
    return Bandit.from_counts(np.exp(prompts.log_reference).reshape(-1, N), counts.reshape(-1, N, N))


def fitted_reward(training: Prompts, data: Bandit, decay: ArrayLike = 0.0) -> Floats:
    """w (W, d) of the reward model r = w . phi, by maximum likelihood less decay |w|^2/2 on the mean over pairs."""
    assert data.counts is not None
    flat = Bandit.from_counts(np.full_like(data.reference, 1 / N), data.counts)  # nothing but w . phi
    found = restricted_optima(BradleyTerry(1.0), flat, training.features, decay)
    if not (found.status == Status.OPTIMAL).all():
        raise RuntimeError(f"a reward model has no maximum: {found.message[0]}")
    return found.weights


def made(name: str, lam: float) -> Objective:
    """A loss of the catalogue, or DPO with label smoothing."""
    return DPO(lam, label_smoothing=SMOOTHING) if name == "conservative_dpo" else objective(name, lam)


def fitted(loss: Objective, training: Prompts, data: Bandit, explicit: Floats) -> RestrictedOptima:
    """A loss's optima; searches start from pi_ref and from the reward model's fit, or from around that (`ROUGH`)."""
    starts: list[Floats] | None = [np.zeros_like(explicit), explicit, explicit / loss.lam]
    if isinstance(loss, PairObjective) and loss.facts.convex:
        starts = None
    elif loss.name in ROUGH:
        starts = [near * explicit / loss.lam for near in NEAR]
    return restricted_optima(loss, data, training.features, starts=starts)


@dataclass(frozen=True)
class Evaluation:
    """Accuracies on the prompts of one shift, of all worlds at once: `reward_accuracy` of each world's prompts."""

    prompts: Prompts

    @cached_property
    def margin(self) -> Annotated[Floats, "W P pairs"]:
        """What being right about each pair i < j is worth: p*(i > j) - p*(j > i), which is what being wrong costs."""
        wins = expit(self._differences(self.prompts.reward))
        return 2 * wins - 1

    def _differences(self, rewards: Floats) -> Annotated[Floats, "W P pairs"]:
        high, low = np.triu_indices(N, 1)
        return np.asarray(rewards[..., high] - rewards[..., low])

    def rewards(self, rewards: Floats) -> Floats:
        """Of rewards (W, P, n) in the first worlds, (W,); equal rewards count half."""
        right = np.sign(self._differences(rewards)) * self.margin[: len(rewards)]
        return np.asarray((1 + right.mean(axis=(1, 2))) / 2)

    def explicit(self, weights: Floats) -> Floats:
        """Of rewards w . phi, (W,)."""
        return self.rewards(np.einsum("wpnd,wd->wpn", self.prompts.features, weights))

    def implicit(self, weights: Floats, relative: bool = True) -> Floats:
        """Of beta log pi/pi_ref, or of beta log pi, in the first worlds, as many as there are w."""
        prompts = self.prompts.first(len(weights))
        logp = prompts.log_policy(weights)
        return self.rewards(logp - prompts.log_reference if relative else logp)


def with_interval(name: str, values: Floats) -> dict[str, float]:
    """The mean over worlds and its 95% interval, by Student's distribution."""
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return {name: values.mean(), f"{name}_low": values.mean() - half, f"{name}_high": values.mean() + half}


@dataclass(frozen=True)
class Settings(StudySettings):
    """worlds: random ones, each with a data set of its own."""

    worlds: int = 100


FULL = Settings(500)


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Tables by file name; every accuracy and gap is a mean over worlds, with a 95% interval.

    ``implicit_reward``: one row per true reward, shift, loss and lambda at `PAIRS` pairs: accuracy of the implicit
    reward (``accuracy``) and of log pi (``own``), each with its gap to the reward model fitted to the same pairs, world
    by world; by how much the gap is ``wider`` than without a shift; and the share of worlds without a minimiser. Losses
    "explicit", "best" and "reference" are the reward model, r* itself and log pi_ref.
    ``implicit_reward_sizes``: DPO, IPO, EXPO and the reward model by number of pairs.
    ``implicit_reward_decay``: DPO and the reward model with the same weight decay, by decay and lambda.
    ``implicit_reward_tokens``: policies over sequences of two tokens, whose true reward is of the reward model's class
    ("explicit") or of the implicit reward's ("implicit").

    Losses that take long are fitted in the first of the worlds only (``worlds``, `SHARES`).
    """
    count = settings.worlds
    tables: dict[str, list[pd.DataFrame]] = {"": [], "_sizes": [], "_decay": []}
    for k, reward in enumerate(REWARDS):
        own = part(progress, 0.4 * k, 0.4 * (k + 1))
        drawn = worlds(count, reward)
        evaluations = {shift: Evaluation(drawn[shift]) for shift in SHIFTS}
        tables[""].append(losses_table(drawn["training"], evaluations, part(own, 0, 0.7)).assign(reward=reward))
        tables["_sizes"].append(sizes_table(drawn["training"], evaluations).assign(reward=reward))
        tables["_decay"].append(decay_table(drawn["training"], evaluations).assign(reward=reward))
        own(1.0)
    found = {f"implicit_reward{name}": pd.concat(frames, ignore_index=True) for name, frames in tables.items()}
    found = {name: frame[["reward", *frame.columns.drop("reward")]] for name, frame in found.items()}
    found["implicit_reward_tokens"] = tokens_table(count // 2)
    progress(1.0)
    return all_rounded(found)


def losses_table(training: Prompts, evaluations: dict[str, Evaluation], progress: Progress = silent) -> pd.DataFrame:
    """``implicit_reward`` for one true reward."""
    data = draw_counts(training, PAIRS)
    explicit = fitted_reward(training, data)
    base = {shift: one.explicit(explicit) for shift, one in evaluations.items()}
    rows = []
    for shift, one in evaluations.items():
        known = (("explicit", base[shift]), ("best", one.rewards(one.prompts.reward)))
        for name, accuracy in (*known, ("reference", one.rewards(one.prompts.log_reference))):
            rows.append(_row(shift, name, np.nan, accuracy, accuracy, base[shift], 0.0))
    for k, (name, share) in enumerate(SHARES.items()):
        count = round(share * len(explicit))
        own = training.first(count)
        few = draw_counts(own, PAIRS)
        for lam in LAMS:
            found = fitted(made(name, lam), own, few, explicit[:count])
            lost = (found.status == Status.NO_MINIMISER).any(axis=1).mean()
            accuracies = {shift: one.implicit(found.weights) for shift, one in evaluations.items()}
            behind = {shift: base[shift][:count] - own for shift, own in accuracies.items()}
            for shift, one in evaluations.items():
                alone = one.implicit(found.weights, relative=False)
                row = _row(shift, name, lam, accuracies[shift], alone, base[shift][:count], lost)
                rows.append({**row, **with_interval("wider", behind[shift] - behind["none"])})
        progress((k + 1) / len(SHARES))
    return pd.DataFrame(rows)


def _row(
    shift: str, loss: str, lam: float, accuracy: Floats, own: Floats, explicit: Floats, lost: float
) -> dict[str, Any]:
    """Beside the reward model's accuracies, world by world."""
    return {
        "shift": shift,
        "loss": loss,
        "lam": lam,
        **with_interval("accuracy", accuracy),
        **with_interval("gap", accuracy - explicit),
        **with_interval("own", own),
        **with_interval("own_gap", own - explicit),
        "largest_gap": np.abs(accuracy - explicit).max(),
        "worlds": len(accuracy),
        "no_minimiser": lost,
    }


def sizes_table(training: Prompts, evaluations: dict[str, Evaluation]) -> pd.DataFrame:
    """``implicit_reward_sizes`` for one true reward."""
    rows = []
    for pairs in SIZES:
        data = draw_counts(training, pairs)
        explicit = fitted_reward(training, data)
        weights = {"explicit": explicit}
        for cls in (DPO, IPO, EXPO):
            weights[cls.name] = fitted(cls(LAMS[0]), training, data, explicit).weights
        for shift, one in evaluations.items():
            for loss, w in weights.items():
                accuracy = one.explicit(w) if loss == "explicit" else one.implicit(w)
                rows.append({"shift": shift, "pairs": pairs, "loss": loss, **with_interval("accuracy", accuracy)})
    return pd.DataFrame(rows)


def decay_table(training: Prompts, evaluations: dict[str, Evaluation]) -> pd.DataFrame:
    """``implicit_reward_decay`` for one true reward."""
    data = draw_counts(training, SIZES[0])
    rows = []
    for decay in DECAYS:
        weights = {("explicit", 1.0): fitted_reward(training, data, decay)}
        for lam in DECAY_LAMS:
            weights["dpo", lam] = restricted_optima(DPO(lam), data, training.features, decay).weights
        for shift, one in evaluations.items():
            for (loss, lam), w in weights.items():
                accuracy = one.explicit(w) if loss == "explicit" else one.implicit(w)
                row = {"shift": shift, "decay": decay, "loss": loss, "lam": lam}
                rows.append({**row, **with_interval("accuracy", accuracy)})
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------------------------- sequences of two tokens

TOKENS = 3
TOKEN_LAMS = (0.1, 1.0, 10.0)
CLASSES = ("explicit", "implicit")


@dataclass(frozen=True)
class Sequences:
    """P prompts of one world; responses are the pairs of two tokens out of V.

    first: features of the first token (P, V, d). second: of the second, after each first one (P, V, V, d). log_first,
    log_second: log pi_ref of tokens, (P, V) and (P, V, V).
    """

    first: Floats
    second: Floats
    log_first: Floats
    log_second: Floats

    @property
    def log_reference(self) -> Floats:
        return _flat(self.log_first[..., None] + self.log_second)

    @property
    def features(self) -> Floats:
        """phi, the sum over tokens, (P, V^2, d)."""
        return _flat(self.first[:, :, None] + self.second)

    @property
    def centred(self) -> Floats:
        """phi - sum_t E_ref[phi_t | y_<t]: what log pi/pi_ref is linear in near pi_ref, (P, V^2, d)."""
        mean = np.einsum("pab,pabd->pad", np.exp(self.log_second), self.second)
        first = self.first - np.einsum("pa,pad->pd", np.exp(self.log_first), self.first)[:, None]
        return _flat(first[:, :, None] + self.second - mean[:, :, None])

    def log_ratio(self, w: Floats) -> tuple[Floats, Floats]:
        """log pi/pi_ref of the policy normalised token by token, (P, V^2), and its gradient (P, V^2, d)."""
        after = _normalised(self.log_second + self.second @ w)
        before = _normalised(self.log_first + self.first @ w)
        moved = Sequences(self.first, self.second, before, after)
        return moved.log_reference - self.log_reference, moved.centred


def _normalised(x: Floats) -> Floats:
    """log_softmax along the last axis, where calls are many and arrays are small: scipy's takes five times as long."""
    x = x - x.max(axis=-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)))


def _flat(x: Floats) -> Floats:
    return x.reshape(len(x), TOKENS**2, *x.shape[3:])


def sequences(rng: np.random.Generator, prompts: int, about: Floats) -> Sequences:
    """Random features, scaled by what the prompt is about; the reference's logits are normal."""
    scale = np.exp(about + 0.3 * rng.standard_normal((prompts, 1, D)))
    first = scale * rng.standard_normal((prompts, TOKENS, D))
    second = scale[:, None] * rng.standard_normal((prompts, TOKENS, TOKENS, D))
    logits = rng.standard_normal((prompts, TOKENS)), rng.standard_normal((prompts, TOKENS, TOKENS))
    return Sequences(first, second, *(np.asarray(log_softmax(x, axis=-1)) for x in logits))


def token_fit(own: Sequences, counts: Floats, lam: float, starts: list[Floats]) -> Floats:
    """w (d,) of the lowest of local minima of DPO over policies normalised token by token; counts (P, n, n)."""
    prompt, winner, loser = np.nonzero(counts)
    weight = counts[prompt, winner, loser] / counts.sum()

    def loss(w: Floats) -> tuple[float, Floats]:
        ratio, gradient = own.log_ratio(w)
        margin = lam * (ratio[prompt, winner] - ratio[prompt, loser])
        slope = -lam * weight * expit(-margin)
        step = gradient[prompt, winner] - gradient[prompt, loser]
        return float(weight @ np.logaddexp(0, -margin)), slope @ step

    found = [minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-7}) for start in starts]
    return np.asarray(min(found, key=lambda one: one.fun).x)


def tokens_table(count: int) -> pd.DataFrame:
    """``implicit_reward_tokens``."""
    rows = []
    about = np.linspace(0.8, -0.8, D)
    for truth in CLASSES:
        accuracies: dict[tuple[str, str, float], list[float]] = {}
        for world in range(count):
            rng = np.random.default_rng([2409, 3650, world])
            theta = rng.standard_normal(D)
            drawn = [sequences(rng, k, m) for k, m in ((PROMPTS, about), (HELD_OUT, about), (HELD_OUT, about[::-1]))]
            parts = [one.features if truth == "explicit" else one.centred for one in drawn]
            unit = MARGIN / _spread(parts[0][None] @ theta)[0, 0, 0]
            rewards = [unit * (part @ theta) for part in parts]
            populations = [
                Bandit(np.exp(one.log_reference), softmax(r, axis=-1)) for one, r in zip(drawn, rewards, strict=True)
            ]
            share = populations[0].wins / PROMPTS
            counts = rng.multinomial(PAIRS, share.reshape(-1)).reshape(share.shape).astype(float)
            flat = Bandit.from_counts(np.full_like(populations[0].reference, 1 / TOKENS**2), counts)
            w = solve(BradleyTerry(1.0), flat, features=drawn[0].features).weights
            assert w is not None
            fits = {lam: token_fit(drawn[0], counts, lam, [np.zeros(D), w / lam]) for lam in TOKEN_LAMS}
            for shift, one, r, population in zip(SHIFTS, drawn[1:], rewards[1:], populations[1:], strict=False):
                scores = {("explicit", 1.0): one.features @ w, ("best", 1.0): r}
                scores |= {("dpo", lam): one.log_ratio(fit)[0] for lam, fit in fits.items()}
                for (loss, lam), score in scores.items():
                    own = accuracies.setdefault((shift, loss, lam), [])
                    own.append(reward_accuracy(score, population))
        for (shift, loss, lam), values in accuracies.items():
            gap = np.array(values) - np.array(accuracies[shift, "explicit", 1.0])
            row = {"truth": truth, "shift": shift, "loss": loss, "lam": lam}
            rows.append({**row, **with_interval("accuracy", np.array(values)), **with_interval("gap", gap)})
    return pd.DataFrame(rows)
