"""Predictions from tangent features at the reference, beside the training that they are about.

Worlds, losses, lambdas, data and training are those of the study of a small transformer. What is predicted from is the
transformer with logits that are linear in its weights (`simulators.TangentTransformer`): the same steps on the same
pairs, without training the network. The weights that it ends with are put into the network, which is looked at once.

How to predict was chosen on one world, which no run has.
"""

from __future__ import annotations

import dataclasses
import os
import time
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata

from ... import tasks
from ..._checks import check_option
from ..._progress import Progress, part, silent
from ..._rounding import rounded
from ..._types import Floats
from ...simulators import Adam, Training, Trajectory, train
from ..settings import Settings as StudySettings
from ..small_transformer import world
from ..small_transformer.measures import measures
from ..small_transformer.numbers import DIGITS, ESTIMATORS, LOSSES, label_of, read
from ..small_transformer.numbers import Settings as Trained
from ..small_transformer.questions import CONFIDENCE, FIRST, MANY, METHODS, Method
from ..small_transformer.world import Compared, Learned, compare, learn, make_world
from .published import band, ches, gram

__all__ = ["FULL", "Settings", "explained", "one_seed", "ranked", "read", "run"]

CHOSEN_ON = 4
"""The world that the way to predict was chosen on, counted from 1."""
MEASURES = ("gain", "gain_held", "tv", "tv_held", "mass", "chosen", "rejected")
"""What is predicted of a run beside its log-ratios; as `small_transformer.measures` has them."""
AS_TRAINED = ("lams", "batch", "lr", "temperature", "text_steps", "text_batch")
"""Settings of the study of a small transformer that hold here too."""
OTHER_ORDER = 1000
"""What is added to the seed of training where it is repeated with its pairs in another order."""


@dataclass(frozen=True)
class Settings(StudySettings):
    """What to run: worlds ``first``, ``first + 1``, ... counted from 1, data sets of each, methods by `label_of`."""

    seeds: int = 6
    data_sets: int = 3
    methods: tuple[str, ...] = tuple(map(label_of, FIRST))
    first: int = CHOSEN_ON + 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for method in self.methods:
            check_option("methods", method, tuple(map(label_of, METHODS)))
        if self.first <= CHOSEN_ON < self.first + self.seeds:
            raise ValueError(f"first must leave out world {CHOSEN_ON}, which the way to predict was chosen on")

    @property
    def worlds(self) -> range:
        """The seeds."""
        return range(self.first - 1, self.first - 1 + self.seeds)

    @property
    def chosen(self) -> list[Method]:
        """The methods."""
        return [method for method in METHODS if label_of(method) in self.methods]


FULL = Settings(seeds=20, methods=tuple(map(label_of, METHODS)))


def run(
    settings: Settings,
    progress: Progress = silent,
    *,
    folder: Path = Path("prediction_runs"),
    workers: int | None = None,
    executor: Executor | None = None,
) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``prediction``: a row per world, method and lambda, means over data sets. ``prediction_measures``: what was measured
    of each run, and what had been predicted. ``prediction_settings``.

    Args:
        folder, workers, executor: as for the study of a small transformer.
    """
    own = {name: value for name, value in asdict(settings).items() if name not in ("seeds", "first")}
    found = tasks.run(
        one_seed,
        {f"seed {seed}": (settings, seed) for seed in settings.worlds},
        executor=executor,
        workers=workers or os.cpu_count() or 1,
        keep=folder,
        settings=repr((own, MANY, world.FIXED, Trained())),
        progress=progress,
    )
    scores = pd.DataFrame([row for one in found.values() for row in one["scores"]])
    measured = pd.DataFrame([row for one in found.values() for row in one["measured"]])
    values = asdict(settings) | {
        **{name: getattr(Trained(), name) for name in AS_TRAINED},
        "pairs": MANY,
        "other_order": OTHER_ORDER,
        "chosen_on": CHOSEN_ON,
        "measures": MEASURES,
        "confidence": CONFIDENCE,
        "runs": len(measured),
        "seconds_of_all_seeds": round(sum(one["seconds"] for one in found.values())),
    }
    return {
        "prediction": rounded(scores, digits=DIGITS),
        "prediction_measures": rounded(measured, digits=DIGITS),
        "prediction_settings": pd.DataFrame(
            {"setting": list(values), "value": [str(value) for value in values.values()]}
        ),
    }


def one_seed(settings: Settings, seed: int, *, progress: Progress) -> dict[str, Any]:
    """All runs of one seed: how well they were predicted, and what was measured of each."""
    begun, trained = time.process_time(), Trained()
    learned = learn(
        make_world(seed), seed, trained.text_steps, trained.text_batch, trained.temperature, part(progress, 0.0, 0.1)
    )
    compared = compare(learned, seed, settings.data_sets, MANY)
    published = (ches(learned.model, compared.pairs), *band(gram(learned.model), compared.pairs))
    progress(0.2)
    scores, measured = list[dict[str, Any]](), list[dict[str, Any]]()
    for done, method in enumerate(settings.chosen):
        found, again, guess = trained_three_ways(trained, learned, compared, seed, method)
        moved, linear, repeated = (x.log_policies[:, :, -1] - np.log(learned.reference) for x in (found, guess, again))
        predicted = predicted_moves(guess, learned)
        key = {"loss": method[0], "estimator": method[1], "seed": seed}
        means = [_at_end(x, learned, compared, method[0], seed) for x in (found, _with(found, predicted, learned))]
        for o, lam in enumerate(trained.lams):
            each = [
                _scores(learned, compared, s, published, moved[o, s], predicted[o, s], linear[o, s], repeated[o, s])
                for s in range(settings.data_sets)
            ]
            scores.append(key | {"lam": lam} | {name: float(np.mean([one[name] for one in each])) for name in each[0]})
            for s in range(settings.data_sets):
                own = {name: float(means[0][name][o, s]) for name in MEASURES}
                told = {f"{name}_predicted": float(means[1][name][o, s]) for name in MEASURES}
                measured.append(key | {"lam": lam, "data_set": s} | own | told)
        progress(0.2 + 0.8 * (done + 1) / len(settings.chosen))
    return {"scores": scores, "measured": measured, "seconds": time.process_time() - begun}


def trained_three_ways(
    settings: Trained, learned: Learned, compared: Compared, seed: int, method: Method
) -> tuple[Trajectory, Trajectory, Trajectory]:
    """The network, the network with its pairs in another order, and the linear one that predicts the first."""
    name, estimator = method
    given: dict[str, Any] = {"batch": settings.batch, "schedule": "linear", "records": 2, "epochs": 1}
    given |= ESTIMATORS[estimator]
    objectives = [LOSSES[name](lam) for lam in settings.lams]

    def trained(model: Any, seed: int) -> Trajectory:
        training = Training(Adam(settings.lr), seed=seed, **given)
        return train(objectives, model, compared.pairs, training)

    model = learned.model
    return trained(model, seed), trained(model, seed + OTHER_ORDER), trained(model.tangent(), seed)


def predicted_moves(guess: Trajectory, learned: Learned) -> Floats:
    """log(pi/pi_ref) of the network at the weights that the linear one ended with, (O, S, prompts, n)."""
    with torch.no_grad():
        found = learned.model.log_policy(torch.from_numpy(guess.parameters)).numpy()
    return np.asarray(found - np.log(learned.reference))


def explained(predicted: Floats, measured: Floats, weight: Floats | None = None) -> float:
    """R2 = 1 - sum w (measured - predicted)^2 / sum w (measured - mean)^2; nothing is fitted: it may be negative.

    Example:
        >>> import numpy as np
        >>> explained(np.array([0.0, 2.0]), np.array([0.0, 1.0]))
        -1.0
    """
    w = np.ones_like(measured) if weight is None else weight
    w = w / w.sum()
    left = (w * (measured - predicted) ** 2).sum()
    return float(1 - left / (w * (measured - (w * measured).sum()) ** 2).sum())


def ranked(x: Floats, y: Floats) -> float:
    """Spearman's rank correlation."""
    a, b = (rankdata(one) for one in (x.reshape(-1), y.reshape(-1)))
    return float(np.corrcoef(a, b)[0, 1])


def _scores(
    learned: Learned,
    compared: Compared,
    s: int,
    published: tuple[Floats, Floats, Floats],
    moved: Floats,
    predicted: Floats,
    linear: Floats,
    repeated: Floats,
) -> dict[str, float]:
    """Of one run: over responses to held-out prompts, each alike and as the reference draws them; and over pairs."""
    held = ~compared.trained[s]
    drawn = learned.reference[held]
    found = {"r2": explained(predicted[held], moved[held]), "rank": ranked(predicted[held], moved[held])}
    for name, told in (("", predicted), ("_linear", linear), ("_repeated", repeated)):
        found[f"r2_drawn{name}"] = explained(told[held], moved[held], drawn)
    found["r2_drawn_other_order"] = explained(predicted[held], repeated[held], drawn)
    pairs = compared.pairs
    at, won, lost = pairs.prompt[s], pairs.winner[s], pairs.loser[s]
    chosen, rejected = moved[at, won], moved[at, lost]
    similar, above, below = (x[s] for x in published)
    return found | {
        "pairs_rank": ranked(predicted[at, won], chosen),
        "pairs_rank_ches": ranked(-similar, chosen),
        "pairs_rank_band": ranked(above, chosen),
        "pathway": float(((chosen >= 0) & (rejected <= 0)).mean()),
        "pathway_right": _right(predicted[at, won], -predicted[at, lost], chosen, -rejected),
        "pathway_right_band": _right(above, below, chosen, -rejected),
    }


def _right(first: Floats, second: Floats, chosen: Floats, rejected: Floats) -> float:
    """Of how many pairs it was rightly said whether the chosen response does not fall and the rejected not rise."""
    return float((((first >= 0) & (second >= 0)) == ((chosen >= 0) & (rejected >= 0))).mean())


def _with(found: Trajectory, moves: Floats, learned: Learned) -> Trajectory:
    """A trajectory that ends where it was predicted to."""
    return dataclasses.replace(found, log_policies=(moves + np.log(learned.reference))[:, :, None])


def _at_end(found: Trajectory, learned: Learned, compared: Compared, name: str, seed: int) -> dict[str, Floats]:
    return {own: x[:, :, -1] for own, x in measures(found, learned, compared, name, seed).items()}
