"""A small transformer, trained here on generated text, and then on pairs with every loss at every lambda.

A seed has a world of its own (grammar, reward, weights, texts), and data sets drawn from it; see `world`. All lambdas
and data sets of a loss train at once (`simulators.train`), from the same reference. A table with a row of logits for
every prompt and prefix is trained beside it on the same pairs: it shares no parameters between prompts.

A seed is a task, kept when it ends: a study that was stopped resumes there.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ... import tasks
from ..._checks import check_option
from ..._progress import Progress, part, silent
from ..._rounding import rounded
from ...losses import DPO, EXPO, IPO, PairObjective, RegressionEXPO, RewardAwarePO
from ...simulators import Adam, NGram, Policy, Training, train
from ..settings import Settings as StudySettings
from . import world
from .measures import at_gain, measures
from .questions import ANCHOR, CONFIDENCE, DESIGNS, FEW, FIRST, MANY, MATTERS, METHODS, SEEN, TOKENS, Method, answers
from .world import LENGTH, VOCABULARY, Learned, compare, learn, make_world

LOSSES: dict[str, type[PairObjective]] = {own.name: own for own in (DPO, IPO, RewardAwarePO, RegressionEXPO, EXPO)}
ESTIMATORS: dict[str, dict[str, str]] = {
    "": {},
    "own_responses": {"estimator": "own_responses"},
    "reference_samples": {"estimator": "reference_samples"},
    "token_kl_own": {"estimator": "token_kl", "prefixes": "own_responses"},
}
"""As `Training` has them; the last is the language-model trainer's default."""
DIGITS = 4


def label_of(method: Method) -> str:
    """A method as settings name it.

    Example:
        >>> label_of(("expo", "token_kl_own")), label_of(("dpo", ""))
        ('expo:token_kl_own', 'dpo')
    """
    return ":".join(filter(None, method))


@dataclass(frozen=True)
class Settings(StudySettings):
    """What to run.

    seeds: worlds. data_sets: drawn from each. methods: by `label_of`. few: also with few pairs to a prompt. first: the
    first world, counted from 1. lams: of every loss, rising. batch, lr: of training on pairs, with a rate that falls
    linearly to 0; table_lr: of the table. records: looks at each run. temperature: of the reward's labels. text_steps,
    text_batch: of the training on text.
    """

    seeds: int = 8
    data_sets: int = 3
    methods: tuple[str, ...] = tuple(map(label_of, FIRST))
    few: bool = False
    first: int = 1
    lams: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    batch: int = 16
    lr: float = 2e-3
    table_lr: float = 0.1
    records: int = 7
    temperature: float = 0.5
    text_steps: int = 250
    text_batch: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        for method in self.methods:
            check_option("methods", method, tuple(map(label_of, METHODS)))
        if label_of(TOKENS) not in self.methods:
            raise ValueError(f"methods must have {label_of(TOKENS)}, at whose gain losses are compared")
        if list(self.lams) != sorted(set(self.lams)) or not self.lams[0] <= ANCHOR <= self.lams[-1]:
            raise ValueError(f"lams must rise, and enclose {ANCHOR:g}, got {self.lams}")

    @property
    def worlds(self) -> range:
        """The seeds."""
        return range(self.first - 1, self.first - 1 + self.seeds)

    @property
    def jobs(self) -> list[tuple[str, int, Method]]:
        """What is trained of each seed: model, pairs to a prompt, and method."""
        chosen = [method for method in METHODS if label_of(method) in self.methods]
        designs = [(model, pairs) for model, pairs in DESIGNS if self.few or pairs != FEW]
        return [(model, pairs, method) for model, pairs in designs for method in chosen]


FULL = Settings(seeds=20, methods=tuple(map(label_of, METHODS)), few=True, first=SEEN + 1)


def run(
    settings: Settings,
    progress: Progress = silent,
    *,
    folder: Path = Path("small_transformer_runs"),
    workers: int | None = None,
    executor: Executor | None = None,
) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``small_transformer``: per seed, model, pairs and method, the measures at equal gain, means over data sets
    (`compared_at`). ``small_transformer_path``: per lambda and record, means over seeds with the standard errors of
    two. ``small_transformer_answers``: the questions. ``small_transformer_settings``.

    Args:
        folder: where seeds are kept that are done. workers: processes; by default one for each core. executor: where
            seeds run instead.
    """
    own = {name: value for name, value in asdict(settings).items() if name not in ("seeds", "first")}
    found = tasks.run(
        one_seed,
        {f"seed {seed}": (settings, seed) for seed in settings.worlds},
        executor=executor,
        workers=workers or os.cpu_count() or 1,
        keep=folder,
        settings=repr((own, FEW, MANY, world.FIXED)),
        progress=progress,
    )
    path = pd.DataFrame([row for one in found.values() for row in one["path"]])
    ends = rounded(compared_at(path, settings), digits=DIGITS)  # of which the answers are, as anybody can see
    return {
        "small_transformer": ends,
        "small_transformer_path": rounded(_over_seeds(path), digits=DIGITS),
        "small_transformer_answers": rounded(answers(ends), digits=DIGITS),
        "small_transformer_settings": _settings(settings, [one["facts"] for one in found.values()]),
    }


def read(path: Path | BytesIO) -> pd.DataFrame:
    """A table that an earlier run wrote; an estimator that is empty is none."""
    table = pd.read_csv(path)
    return table.fillna({"estimator": ""}) if "estimator" in table else table


KEY = ["model", "pairs", "loss", "estimator"]


def compared_at(path: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """A row per seed, model, pairs, method and ``at``: the measures where it gains what EXPO gains with `ANCHOR`.

    Args:
        path: a row per seed, model, pairs, method, lambda and step, means over data sets.
    """
    last = path[path["step"] == path.groupby(KEY)["step"].transform("max")].sort_values("lam")
    cells: dict[Any, pd.DataFrame] = {key: own for key, own in last.groupby(["seed", *KEY], sort=False)}
    names = [name for name in path.columns if name not in (*KEY, "seed", "lam", "step")]

    def anchor(seed: int, model: str, pairs: int) -> float:
        own = cells[seed, model, pairs, *TOKENS]
        return float(np.interp(np.log(ANCHOR), np.log(own["lam"]), own["gain"]))

    rows = []
    for (seed, model, pairs, *method), own in cells.items():
        ends = {name: own[name].to_numpy() for name in names}
        for at in ("own", "table"):
            level = anchor(seed, model, pairs) if at == "own" else anchor(seed, "table", MANY)
            key = dict(zip(KEY, (model, pairs, *method), strict=True)) | {"at": at, "seed": seed}
            rows.append(key | at_gain(ends, np.array(settings.lams), level))
    return pd.DataFrame(rows)


def _over_seeds(path: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds; and of what is drawn, standard errors."""
    grouped = path.groupby([*KEY, "lam", "step"], sort=False)
    means = grouped.mean().drop(columns="seed")
    for name in ("gain", "tv"):
        means[f"{name}_standard_error"] = grouped[name].sem()
    return means.reset_index()


def _settings(settings: Settings, facts: list[dict[str, float]]) -> pd.DataFrame:
    values = asdict(settings) | {
        "parameters": int(facts[0]["parameters"]),
        "responses": VOCABULARY**LENGTH,
        "prompts": int(facts[0]["prompts"]),
        "few": FEW,
        "many": MANY,
        "matters": MATTERS,
        "confidence": CONFIDENCE,
        "runs": int(sum(one["runs"] for one in facts)),
        "seconds_of_all_seeds": round(sum(one["seconds"] for one in facts)),
        "kl_of_grammar_and_reference": f"{np.mean([one['fit'] for one in facts]):.2g}",
        "entropy_of_grammar": f"{np.mean([one['entropy'] for one in facts]):.3g}",
        "attainable_gain": f"{np.mean([one['attainable'] for one in facts]):.3g}",
    }
    return pd.DataFrame({"setting": list(values), "value": [str(value) for value in values.values()]})


def one_seed(settings: Settings, seed: int, *, progress: Progress) -> dict[str, Any]:
    """All runs of one seed: their paths, means over data sets, and facts about its world."""
    begun = time.process_time()
    learned = learn(
        make_world(seed), seed, settings.text_steps, settings.text_batch, settings.temperature, part(progress, 0.0, 0.1)
    )
    parameters = len(learned.model.start())
    models: dict[str, tuple[Policy, float]] = {
        "transformer": (learned.model, settings.lr),
        "table": (table_of(learned), settings.table_lr),
    }
    path, runs = list[dict[str, Any]](), 0
    for done, (model, pairs, method) in enumerate(settings.jobs):
        key = dict(zip(KEY, (model, pairs, *method), strict=True))
        steps, means = trained(settings, learned, *models[model], seed, pairs, method)
        runs += len(settings.lams) * settings.data_sets
        for o, lam in enumerate(settings.lams):
            for k, step in enumerate(steps):
                own = {name: float(x[o, :, k].mean()) for name, x in means.items()}
                path.append(key | {"seed": seed, "lam": lam, "step": int(step)} | own)
        progress(0.1 + 0.9 * (done + 1) / len(settings.jobs))
    best = ((learned.optimal - learned.reference) * learned.world.reward).sum(axis=1)
    facts = {
        "parameters": parameters,
        "prompts": len(learned.reference),
        "runs": runs,
        "fit": learned.fit[0],
        "entropy": learned.fit[1],
        "attainable": float(best[learned.world.by_reward].mean()),
        "seconds": time.process_time() - begun,
    }
    return {"path": path, "facts": facts}


def table_of(learned: Learned) -> NGram:
    """A row of logits for each prompt and prefix, the reference's at the start."""
    return NGram(VOCABULARY, LENGTH, len(learned.reference), initial_policy=learned.reference)


def trained(
    settings: Settings, learned: Learned, policy: Policy, lr: float, seed: int, pairs: int, method: Method
) -> tuple[Any, dict[str, Any]]:
    """One loss at all lambdas on all data sets: the steps that were looked at, and what was measured there."""
    name, estimator = method
    compared = compare(learned, seed, settings.data_sets, pairs)
    training = Training(
        Adam(lr),
        epochs=max(1, MANY // pairs),
        batch=settings.batch,
        schedule="linear",
        records=settings.records,
        seed=seed,
        **ESTIMATORS[estimator],  # type: ignore[arg-type]
    )
    found = train([LOSSES[name](lam) for lam in settings.lams], policy, compared.pairs, training)
    return found.steps, measures(found, learned, compared, name, seed)
