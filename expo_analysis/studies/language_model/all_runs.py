r"""Three questions to a real language model, answered by one sweep: losses x lambda, on one data set with known truth.

Half of the prompts are labelled by a reward, and the other half by the reference itself, p* = p_ref: there pi_ref is
optimal already. Every run trains the same model on both halves with one lambda, and is then measured on each:

- **reward against KL**: expected reward and KL(pi || pi_ref) on the prompts that the reward labelled;
- **preservation**: KL(pi_ref || pi) where nothing was to be learned, beside the reward gained where something was;
- **displacement**: log(pi/pi_ref) of chosen responses, of rejected ones, and of fresh samples of the reference that no
  run has seen, over the steps of training.

Everything is measured on the prompts that were trained on, with fresh responses: what a loss does to the policy is the
question here, and not what carries over to other prompts. What a run found is written when it ends: a sweep that was
stopped resumes where it was.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ... import tasks
from ..._files import replace
from ..._progress import Progress, silent
from ...llm.models import without_progress_bars
from .one_run import train_one
from .sweep import HALVES, METHODS, Method, Sweep
from .world import World, device, make_world


def run_sweep(
    settings: Sweep, folder: Path, *, workers: int = 1, executor: Executor | None = None, progress: Progress = silent
) -> dict[str, pd.DataFrame]:
    """Every method at every lambda; returns the tables.

    Args:
        folder: what was sampled and what runs found, kept for the next call.
        workers: processes, which share the cores. executor: where runs go instead; all have to see the folder.
        progress: called with how many runs are done, how many there are, and what is being done.

    Raises:
        ValueError: if the folder has a sweep with other settings.
    """
    without_progress_bars()
    runs = [(method, lam) for lam in settings.lams for method in METHODS]
    progress(0, len(runs), what="sampling")
    path = folder / "world.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        replace(path, make_world(settings, folder / "responses.jsonl").to_json().encode())
    world = World.read(path)
    if world.settings != settings.shared:
        raise ValueError(f"{folder} has runs with other settings: choose another folder, or remove it")
    missing = {_file(folder, *one).stem: (settings, *one, folder) for one in runs if not _file(folder, *one).exists()}
    os.environ.setdefault("TQDM_DISABLE", "1")  # the runs' own bars; tqdm asks when it is imported
    threads = max(1, (os.cpu_count() or 1) // workers)

    def tell(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
        if not task:
            progress(len(runs) - len(missing) + done, len(runs), what="training")

    tasks.run(
        _run, missing, executor=executor, workers=workers, progress=tell, prepare=_prepare, prepared_with=(threads,)
    )
    found = [json.loads(_file(folder, *one).read_text(encoding="utf-8")) for one in runs]
    return tables(settings, found, world)


def _file(folder: Path, method: Method, lam: float) -> Path:
    return folder / f"{'_'.join(filter(None, method))}_{lam:g}.json"


def _prepare(threads: int) -> None:
    torch.set_num_threads(threads)
    without_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of TRL, not of whoever runs it


def _run(sweep: Sweep, method: Method, lam: float, folder: Path, *, progress: Progress) -> None:
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
        "lm_settings": pd.DataFrame({"setting": list(settings), "value": [str(v) for v in settings.values()]}),
        "lm_preservation": pd.DataFrame(kept),
        "lm_displacement": pd.DataFrame(moved),
    }
