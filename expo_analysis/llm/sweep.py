r"""Three questions to a real language model, answered by one sweep: losses x lambda, on one data set with known truth.

Half of the prompts are labelled by a reward, and the other half by the reference itself, p* = p_ref: there pi_ref is
optimal already. Every run trains the same model on both halves with one lambda, and is then measured on each:

- **reward against KL**: expected reward and KL(pi || pi_ref) on the prompts that the reward labelled;
- **preservation**: KL(pi_ref || pi) where nothing was to be learned, beside the reward gained where something was;
- **displacement**: log(pi/pi_ref) of chosen responses, of rejected ones, and of fresh samples of the reference that no
  run has seen, over the steps of training.

Everything is measured on the prompts that were trained on, with fresh responses: what a loss does to the policy is the
question here, and not what carries over to other prompts. What a run found is written when it ends: a sweep that was
stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from .._files import replace
from ..losses.base import check_number, check_whole
from .config import PreferenceConfig
from .models import load_model, load_tokenizer, without_progress_bars
from .preferences import Settings, make_preferences
from .prompts import Prompts, read_prompts, tokenize
from .rewards import vader
from .sampling import Draw, Sampling, compare, draw, end_tokens, response_logps
from .texts import Texts
from .trainer import PreferenceTrainer
from .truth import Estimate, estimate

HALVES = ("reward", "reference")
"""Who labelled a prompt."""


class Method(NamedTuple):
    """A loss, by its name in the catalogue, and how its regulariser is estimated."""

    loss: str
    estimator: str | None = None


METHODS = (
    Method("dpo"),
    Method("ipo"),
    Method("expo", "own_responses"),
    Method("expo", "reference_samples"),
    Method("expo", "token_kl"),
)


@dataclass(frozen=True)
class Sweep:
    """What to run.

    Args:
        model, prompts: as in ``expo-analysis preferences``; the first ``prompt_count`` prompts are used.
        responses, pairs: for each prompt, how many responses are compared, and in how many pairs.
        reference_samples: for each prompt, how many samples EXPO's estimator of that name has.
        max_new_tokens: of a response.
        label_temperature: of the Bradley-Terry labels where the reward gives them.
        lams: the trade-offs, and recorded, the one of them at which displacement is recorded.
        epochs, batch_size, learning_rate: of AdamW, with a rate that falls linearly to 0.
        evaluated: fresh responses to each prompt, of every policy and of the reference.
        records, watched: how often displacement is recorded, the start and the end included, and on how many pairs and
            fresh responses of each prompt; KLs are measured along as many.
        seed: of everything random.

    Raises:
        ValueError: naming the argument and what is accepted.
    """

    model: str = "smollm2"
    prompts: str = "sentiment"
    prompt_count: int = 32
    responses: int = 8
    pairs: int = 8
    reference_samples: int = 1
    max_new_tokens: int = 12
    label_temperature: float = 0.1
    lams: tuple[float, ...] = (0.03, 0.3, 3.0)
    recorded: float = 0.3
    epochs: int = 1
    batch_size: int = 8
    learning_rate: float = 5e-5
    evaluated: int = 6
    records: int = 5
    watched: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("prompt_count", 2), ("responses", 2), ("pairs", 1), ("reference_samples", 1)):
            check_whole(name, getattr(self, name), least)
        for name, least in (("max_new_tokens", 1), ("epochs", 1), ("batch_size", 1), ("records", 2), ("seed", 0)):
            check_whole(name, getattr(self, name), least)
        check_whole("watched", self.watched, 2)
        check_whole("evaluated", self.evaluated, self.watched)
        for lam in self.lams:
            check_number("lams", lam, 0.0)
        if self.recorded not in self.lams:
            raise ValueError(f"lams must have the one at which displacement is recorded, {self.recorded:g}")

    @property
    def shared(self) -> dict[str, Any]:
        """All settings but the lambdas: others are more runs of the same sweep."""
        return {name: value for name, value in asdict(self).items() if name != "lams"}

    @property
    def evaluation(self) -> Sampling:
        """How responses are drawn that no run is trained on."""
        return Sampling(self.max_new_tokens, seed=self.seed + 1)


SCALES = {
    "small": Sweep(),
    "large": Sweep(
        prompt_count=64, responses=8, pairs=16, reference_samples=4, max_new_tokens=32, epochs=3, evaluated=16,
        lams=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0), records=12, watched=8,
    ),
}  # fmt: skip
"""``small`` takes 40 minutes on two cores; ``large`` is for a GPU."""


@dataclass(frozen=True)
class World:
    """The data set of a sweep, and fresh samples of the reference: what all runs share.

    settings    of the sweep that it belongs to, all but the lambdas
    rows        as of `make_preferences`
    prompts     text of each prompt; ids: its tokens; halves: who labelled it
    draws       for each prompt, ``evaluated`` samples of the reference, none of which is in ``rows``
    rewards     theirs, (prompts, evaluated)
    """

    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    prompts: list[Any]
    ids: list[list[int]]
    halves: list[str]
    draws: list[list[Draw]]
    rewards: list[list[float]]

    @classmethod
    def read(cls, path: Path) -> World:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["draws"] = [[Draw(**one) for one in draws] for draws in found["draws"]]
        return cls(**found)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)


def device() -> str:
    """Where models are put."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_world(sweep: Sweep, journal: Path) -> World:
    """Sample, score and label; draw what is kept for evaluation."""
    found = read_prompts(sweep.prompts)
    tokenizer, model = load_tokenizer(sweep.model), load_model(sweep.model).to(device())
    found, ids = tokenize(
        Prompts(found.prompts[: sweep.prompt_count], found.rows[: sweep.prompt_count]), tokenizer, None
    )
    settings = Settings(
        responses=sweep.responses,
        reference_samples=sweep.reference_samples,
        sampling=Sampling(sweep.max_new_tokens, seed=sweep.seed),
        pairs=sweep.pairs,
        label_temperature=sweep.label_temperature,
        reference_share=0.5,
    )
    made = make_preferences(model, tokenizer, found, ids, vader(), settings, journal, model_name=sweep.model)
    labelled = {row["prompt_index"]: row["labelled_by"] for row in made.rows}
    keep = [place for place, row in enumerate(found.rows) if row in labelled]  # some may have no two texts to compare
    prompts, ids = [found.prompts[place] for place in keep], [ids[place] for place in keep]
    draws = fresh(model, tokenizer, ids, sweep)
    return World(
        settings=sweep.shared,
        rows=made.rows,
        prompts=prompts,
        ids=ids,
        halves=[labelled[found.rows[place]] for place in keep],
        draws=draws,
        rewards=rewards_of(tokenizer, prompts, ids, draws).tolist(),
    )


def fresh(model: Any, tokenizer: Any, ids: Sequence[Sequence[int]], sweep: Sweep) -> list[list[Draw]]:
    """``evaluated`` responses to each prompt, by the same random numbers for every policy."""
    rows = [(prompt, number) for prompt in range(len(ids)) for number in range(sweep.evaluated)]
    found: list[Draw] = []
    for start in range(0, len(rows), 32):
        part = rows[start : start + 32]
        ends = end_tokens(model, tokenizer)
        found += draw(model, [ids[prompt] for prompt, _ in part], part, sweep.evaluation, ends)
    return [found[start : start + sweep.evaluated] for start in range(0, len(found), sweep.evaluated)]


def rewards_of(
    tokenizer: Any, prompts: Sequence[Any], ids: Sequence[Sequence[int]], draws: Sequence[Sequence[Draw]]
) -> np.ndarray:
    """Rewards of responses, shape (prompts, responses to each)."""
    rows = [(prompt, number) for prompt, own in enumerate(draws) for number in range(len(own))]
    to_text = Texts(tokenizer, dict(enumerate(ids)))
    texts = [to_text(row, draws[row[0]][row[1]]) for row in rows]
    return np.asarray(vader()([prompts[prompt] for prompt, _ in rows], texts, rows)).reshape(len(prompts), -1)


# --------------------------------------------------------------------------------------------------------------- a run


class Displacement(TrainerCallback):
    """Mean log(pi/pi_ref) of chosen, rejected and fresh responses on the prompts that the reward labelled."""

    def __init__(self, world: World, records: int, watched: int) -> None:
        per_prompt: dict[int, list[dict[str, Any]]] = {}
        for row in world.rows:
            if row["labelled_by"] == "reward":
                per_prompt.setdefault(row["prompt_index"], []).append(row)
        rows = [row for own in per_prompt.values() for row in own[:watched]]
        self.groups = {
            side: (
                [row["prompt_ids"] for row in rows],
                [row[f"{side}_ids"] for row in rows],
                np.array([row[f"ref_logp_{side}"] for row in rows]),
            )
            for side in ("chosen", "rejected")
        }
        other = [
            (ids, one)
            for ids, draws, half in zip(world.ids, world.draws, world.halves, strict=True)
            for one in draws[:watched]
            if half == "reward"
        ]
        self.groups["other"] = (
            [ids for ids, _ in other], [one.ids for _, one in other], np.array([one.logp for _, one in other])
        )  # fmt: skip
        self.records, self.due, self.found = records, set[int](), list[dict[str, float]]()

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.due = set(np.linspace(0, state.max_steps, self.records).round().astype(int).tolist())
        self.look(0, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step in self.due:
            self.look(state.global_step, model)

    def look(self, step: int, model: Any) -> None:
        record: dict[str, float] = {"step": step}
        for name, (prompts, responses, ref_logps) in self.groups.items():
            moved = response_logps(model, prompts, responses) - ref_logps
            record[name] = float(moved.mean())
            record[f"{name}_standard_error"] = float(moved.std(ddof=1) / np.sqrt(len(moved)))
        self.found.append(record)


def train_one(sweep: Sweep, method: Method, lam: float, world: World, scratch: Path) -> dict[str, Any]:
    """One run: what it ends with on each half, and, at one lambda, displacement on the way."""
    start = time.perf_counter()
    tokenizer, model = load_tokenizer(sweep.model), load_model(sweep.model)
    args = PreferenceConfig(
        output_dir=str(scratch),
        objective=method.loss,
        beta=lam,
        regulariser_estimator=method.estimator,
        precompute_ref_log_probs=method.estimator is None,
        num_train_epochs=sweep.epochs,
        per_device_train_batch_size=sweep.batch_size,
        learning_rate=sweep.learning_rate,
        lr_scheduler_type="linear",
        max_length=None,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=device() == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        seed=sweep.seed,
    )
    columns = ["prompt", "chosen", "rejected", "prompt_ids", "chosen_ids", "rejected_ids", "reference_sample_ids"]
    watch = Displacement(world, sweep.records, sweep.watched)
    trainer = PreferenceTrainer(
        model,
        args=args,
        ref_model=load_model(sweep.model) if method.estimator == "token_kl" else None,
        train_dataset=Dataset.from_list([{name: row[name] for name in columns} for row in world.rows]),
        processing_class=tokenizer,
        callbacks=[watch] if lam == sweep.recorded else None,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trained = time.perf_counter()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    reference = load_model(sweep.model).to(trainer.model.device)
    return {
        **{"loss": method.loss, "estimator": method.estimator or "", "lam": lam},
        **{"steps": trainer.state.global_step, "first_loss": losses[0], "last_loss": losses[-1]},
        "ends": measure(sweep, world, trainer.model, reference, tokenizer),
        "displacement": watch.found,
        "training_seconds": trained - start,
        "seconds": time.perf_counter() - start,
    }


def measure(sweep: Sweep, world: World, model: Any, reference: Any, tokenizer: Any) -> list[dict[str, Any]]:
    """Rewards and divergences of a policy on each half of the prompts, with standard errors (see `truth`)."""
    drawn = fresh(model, tokenizer, world.ids, sweep)
    rewards = {"reward": rewards_of(tokenizer, world.prompts, world.ids, drawn), "ref_reward": np.array(world.rewards)}
    values = {**rewards, "gain": rewards["reward"] - rewards["ref_reward"]}
    for name, draws in (("kl", world.draws), ("reverse_kl", drawn)):
        some = [own[: sweep.watched] for own in draws]  # sums of exact next-token KLs vary little
        prompts = [ids for ids in world.ids for _ in range(sweep.watched)]
        found = compare(model, reference, prompts, [one.ids for own in some for one in own])
        values[name] = getattr(found, name).reshape(len(some), -1)
    rows = []
    for half in HALVES:
        own = np.array([one == half for one in world.halves])
        row: dict[str, Any] = {"labelled_by": half, "prompts": int(own.sum())}
        for name, array in values.items():
            mean: Estimate = estimate(array[own])
            row |= {name: mean.mean, f"{name}_standard_error": mean.standard_error}
        rows.append(row)
    return rows


# ------------------------------------------------------------------------------------------------------------ all runs


def run_sweep(
    sweep: Sweep, folder: Path, *, workers: int = 1, progress: Callable[[str, int, int], None] = lambda what, k, n: None
) -> dict[str, pd.DataFrame]:
    """Every method at every lambda; returns the tables.

    Args:
        folder: what was sampled and what runs found, kept for the next call.
        workers: processes, which share the cores.
        progress: called with what is being done, how many runs are done, and how many there are.

    Raises:
        ValueError: if the folder has a sweep with other settings.
    """
    without_progress_bars()
    runs = [(method, lam) for lam in sweep.lams for method in METHODS]
    progress("sampling", 0, len(runs))
    path = folder / "world.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        replace(path, make_world(sweep, folder / "responses.jsonl").to_json().encode())
    world = World.read(path)
    if world.settings != sweep.shared:
        raise ValueError(f"{folder} has runs with other settings: choose another folder, or remove it")
    missing = [run for run in runs if not _file(folder, *run).exists()]
    os.environ.setdefault("TQDM_DISABLE", "1")  # the runs' own bars; tqdm asks when it is imported
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare, initargs=(threads,)) as pool:
        futures = {pool.submit(_run, sweep, *run, folder): run for run in missing}
        progress("training", len(runs) - len(missing), len(runs))
        for count, future in enumerate(as_completed(futures), start=len(runs) - len(missing) + 1):
            if future.exception() is not None:
                pool.shutdown(wait=False, cancel_futures=True)
            future.result()
            progress("training", count, len(runs))
    found = [json.loads(_file(folder, *run).read_text(encoding="utf-8")) for run in runs]
    return tables(sweep, found, world)


def _file(folder: Path, method: Method, lam: float) -> Path:
    return folder / f"{'_'.join(filter(None, method))}_{lam:g}.json"


def _prepare(threads: int) -> None:
    torch.set_num_threads(threads)
    without_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of TRL, not of whoever runs it


def _run(sweep: Sweep, method: Method, lam: float, folder: Path) -> None:
    target = _file(folder, method, lam)
    found = train_one(sweep, method, lam, World.read(folder / "world.json"), folder / "scratch" / target.stem)
    replace(target, (json.dumps(found, indent=2, allow_nan=False) + "\n").encode())


def tables(sweep: Sweep, runs: Sequence[dict[str, Any]], world: World) -> dict[str, pd.DataFrame]:
    """By file name: ``lm_frontier`` and ``lm_preservation`` (a row a run), ``lm_displacement``, ``lm_settings``."""
    key = ("loss", "estimator", "lam")
    frontier, kept, moved = [], [], []
    for run in runs:
        own = {name: run[name] for name in key}
        by_reward, by_reference = ({k: v for k, v in end.items() if k != "labelled_by"} for end in run["ends"])
        frontier.append(own | by_reward | {name: run[name] for name in ("steps", "first_loss", "last_loss", "seconds")})
        drift = {f"drift{name}": by_reference[f"kl{name}"] for name in ("", "_standard_error")}
        reverse = {f"reverse_{name}": by_reference[name.replace("drift", "reverse_kl")] for name in drift}
        kept.append(own | drift | reverse | {k: v for k, v in by_reward.items() if k.startswith("gain")})
        moved += [own | record for record in run["displacement"]]
    settings: dict[str, Any] = asdict(sweep) | {
        **{f"pairs_labelled_by_{half}": sum(row["labelled_by"] == half for row in world.rows) for half in HALVES},
        "device": device(),
        "seconds_of_all_runs": round(sum(run["seconds"] for run in runs)),
        **{name: version(name) for name in ("torch", "transformers", "trl")},
    }
    return {
        "lm_frontier": pd.DataFrame(frontier),
        "lm_preservation": pd.DataFrame(kept),
        "lm_displacement": pd.DataFrame(moved),
        "lm_settings": pd.DataFrame({"setting": list(settings), "value": [str(v) for v in settings.values()]}),
    }


def at_scale(name: str, **changes: Any) -> Sweep:
    """A `Sweep` of `SCALES`, with some settings changed."""
    if name not in SCALES:
        raise ValueError(f"scale must be one of {list(SCALES)}, got {name!r}")
    return dataclasses.replace(SCALES[name], **changes)
