"""The paper's Section 5 trained anew: how much of its pictures is the loss, the sample, the clipping, the time?

On the authors' own pairs, for every loss and lambda of the paper, one table has the exact optimum on the population,
the exact optimum on the pairs, where training with the authors' settings ends, and where training ends that differs
from it in three ways: gradients are not clipped, the KL is summed instead of averaged, pairs are shuffled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ... import paper
from ..._progress import Progress, silent
from ..._rounding import all_rounded, significant
from ..._types import Floats
from ...divergences import kl
from ...losses import DPO, EXPO, FDPO, IPO, Objective
from ...optima import solve_path
from ...simulators.optimisers import Adam
from ...simulators.policies import Tabular
from ...simulators.sampling import Pairs
from ...simulators.training import Training, train
from ...simulators.trajectory import Trajectory
from ..settings import Settings as StudySettings

LOSSES: dict[str, type[Objective]] = {cls.name: cls for cls in (DPO, IPO, FDPO, EXPO)}
LAMS = {"interpolation": np.array([1e-5, 100.0]), "preservation": np.exp(np.arange(-5.0, 6.0))}
"""As published."""
RATES = {"dpo": 1e-3, "ipo": 1e-3, "fdpo": 1e-3, "expo": 5e-4}
EPOCHS = {
    "interpolation": {"dpo": 1000, "ipo": 1000, "fdpo": 3000, "expo": 1000},
    "preservation": {"dpo": 50, "ipo": 50, "fdpo": 100, "expo": 200},
}
CLIP = 10.0
"""The authors' script scales the gradient of a step down to this norm before Adam sees it."""
NOISE = 3e-11
"""What other last bits change, relative to a number (`expo_analysis._rounding`): the authors' Adam, a pair a step and
with an eps of 1e-8, amplifies rounding more than the other studies' training."""


def training(experiment: str, loss: str, authors: bool, longer: int = 1) -> Training:
    """The authors' settings, or those without clipping and with shuffling."""
    return Training(
        Adam(RATES[loss]),
        epochs=EPOCHS[experiment][loss] * longer,
        batch=getattr(paper, experiment)().batch,
        shuffle=not authors,
        clip_norm=CLIP if authors else None,
        records=60,
        log_spaced=True,
    )


def pairs(experiment: paper.Experiment) -> Pairs:
    """The comparisons that the authors' seeds draw, in their order."""
    return Pairs(
        experiment.reference, experiment.winner, experiment.loser, experiment.prompt, optimal=experiment.optimal
    )


def trained(experiment: str, loss: str, published: Floats, authors: bool, longer: int = 1) -> Trajectory:
    """One loss at published lambdas: EXPO at lambda / 3 as the authors' script has it, at lambda itself otherwise."""
    data = getattr(paper, experiment)()
    lams = data.own_lam(loss, published) if authors else published
    objectives = [LOSSES[loss](float(lam)) for lam in lams]
    return train(objectives, Tabular(data.reference), pairs(data), training(experiment, loss, authors, longer))


@dataclass(frozen=True)
class Settings(StudySettings):
    """longer: training that is not the authors' takes so many times their epochs."""

    longer: int = 1


FULL = Settings(longer=10)


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``section5``: one row per experiment, source, loss, published lambda and prompt, with the policy, KL(pi* || pi) and
    KL(pi || pi*) in nats. Sources: ``population`` and ``pairs`` are exact optima, ``authors`` and ``ought`` ends of
    training. ``section5_steps``: the policies of both trainings at recorded steps of the interpolation experiment, at
    the lower lambda.
    """
    ends, steps = [], []
    jobs = [(name, loss) for name in LAMS for loss in LOSSES]
    for k, (name, loss) in enumerate(jobs):
        experiment: paper.Experiment = getattr(paper, name)()
        published = LAMS[name]
        for source, bandit in (("population", experiment.population), ("pairs", experiment.data)):
            path = solve_path(LOSSES[loss](1.0), bandit, published)
            failed = path.status != "optimal"
            if failed.any():
                raise RuntimeError(f"{loss} has no optimum on the {source}: {path.message[failed][0]}")
            ends.append(_rows(experiment, name, source, loss, published, path.log_policies))
        for source, authors in (("authors", True), ("ought", False)):
            run = trained(name, loss, published, authors, 1 if authors else settings.longer)
            ends.append(_rows(experiment, name, source, loss, published, run.log_final[:, 0]))
            if name == "interpolation":
                frame = run.to_frame(policies=True)
                frame = frame[frame["lam"] == frame["lam"].min()].assign(published_lam=published[0])
                kept = ["loss", "published_lam", "step", "kl_optimal_policy", "y0", "y1", "y2"]
                steps.append(frame[kept].assign(source=source))
        progress((k + 1) / len(jobs))
    tables = {"section5": pd.concat(ends, ignore_index=True), "section5_steps": pd.concat(steps, ignore_index=True)}
    found = all_rounded(tables, trained=tables, noise=NOISE)
    lams = {name: table["published_lam"].map(lambda lam: significant(lam, 6)) for name, table in tables.items()}
    return {name: table.assign(published_lam=lams[name]) for name, table in found.items()}


def _rows(
    experiment: paper.Experiment, name: str, source: str, loss: str, published: Floats, log_policies: Floats
) -> pd.DataFrame:
    """One row per lambda and prompt, from log-policies (L, 3) or (L, prompts, 3)."""
    log_policies = log_policies.reshape(len(published), -1, experiment.n)
    prompts = log_policies.shape[1]
    log_optimal = np.log(experiment.optimal)
    flat = np.exp(log_policies).reshape(-1, experiment.n)
    return pd.DataFrame(
        {
            "experiment": name,
            "source": source,
            "loss": loss,
            "published_lam": np.repeat(published, prompts),
            "prompt": np.tile(paper.PROMPTS if prompts > 1 else ("only",), len(published)),
            **{f"y{y}": flat[:, y] for y in range(experiment.n)},
            "kl_optimal_policy": kl(log_optimal, log_policies).reshape(-1),
            "kl_policy_optimal": kl(log_policies, log_optimal).reshape(-1),
        }
    )
