"""Steps of training a language model: EXPO and DPO by our trainer, against TRL's DPOTrainer.

Every variant has a process of its own, so that its peak memory is its own too. The processes of a group wait for their
turn and make one step each, round after round: what else the machine does hits all of them alike.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np

from expo_analysis._progress import Progress, silent

Lines = tuple[tuple[str, ...], ...]

SMOLLM2, TINY = "smollm2", "tiny"
"""The model that counts, and a random one of two small layers for tests and ``--quick``."""

LAM = 0.1
RATE = 1e-5
RANK = 16
WARM_UP = 1
"""Steps that are not timed: the first makes the optimiser's state."""

QUIET = {
    **{"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"},
    **{"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "DS_ACCELERATOR": "cpu"},
}
"""Environment of the processes."""


@dataclass(frozen=True)
class Variant:
    """A way to train.

    ours: whether by our `PreferenceTrainer` or by TRL's `DPOTrainer`. reference: whether it is given a second model.
    settings: of the config, beside those that all have.
    """

    objective: str
    ours: bool
    reference: bool = False
    lora: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


PRECOMPUTED = {"precompute_ref_log_probs": True}
OWN = {"regulariser_estimator": "own_responses"}

VARIANTS = {
    "DPO (TRL)": Variant("dpo", ours=False, reference=True),
    "DPO": Variant("dpo", ours=True, reference=True),
    "DPO, precomputed (TRL)": Variant("dpo", ours=False, settings=PRECOMPUTED),
    "DPO, precomputed": Variant("dpo", ours=True, settings=PRECOMPUTED),
    "DPO, LoRA (TRL)": Variant("dpo", ours=False, lora=True),
    "DPO, LoRA": Variant("dpo", ours=True, lora=True),
    "EXPO": Variant("expo", ours=True, settings=OWN),
    "EXPO, LoRA": Variant("expo", ours=True, lora=True, settings=OWN),
    "EXPO, reference samples": Variant("expo", True, settings={"regulariser_estimator": "reference_samples"}),
    "EXPO, token-wise": Variant("expo", True, reference=True, settings={"regulariser_estimator": "token_kl"}),
}

GROUPS = {
    "DPO with its reference in memory": ("DPO (TRL)", "DPO", "EXPO"),
    "DPO with precomputed references": ("DPO, precomputed (TRL)", "DPO, precomputed", "EXPO"),
    "LoRA": ("DPO, LoRA (TRL)", "DPO, LoRA", "EXPO, LoRA"),
    "Other estimators of EXPO's regulariser": ("DPO (TRL)", "EXPO, reference samples", "EXPO, token-wise"),
}
"""Variants that take turns, by the title of their table, the one to compare with first.

All of a group are in memory at once, which takes about 12 GiB.
"""

PAIRS = (
    ("EXPO", "DPO (TRL)", "time ≤ 0.75, 1 copy less"),
    ("DPO", "DPO (TRL)", "time ≤ 1.05"),
    ("EXPO", "DPO", ""),
    ("EXPO", "DPO, precomputed (TRL)", ""),
    ("DPO, precomputed", "DPO, precomputed (TRL)", ""),
    ("EXPO, LoRA", "DPO, LoRA (TRL)", ""),
    ("DPO, LoRA", "DPO, LoRA (TRL)", ""),
    ("EXPO, reference samples", "DPO (TRL)", ""),
    ("EXPO, token-wise", "DPO (TRL)", ""),
)
"""Two variants of one group, and what was aimed at."""


@dataclass(frozen=True)
class Row:
    """What a variant took.

    seconds, cpu: of each timed step, by the clock and of all cores together. peak, weights: GiB. reference: whether a
        second model was in memory. lengths: tokens of every sequence of the batch. loss: of the last step.
    """

    name: str
    seconds: tuple[float, ...]
    cpu: tuple[float, ...]
    peak: float
    weights: float
    reference: bool
    lengths: tuple[int, ...]
    loss: float

    @cached_property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @cached_property
    def median_cpu(self) -> float:
        return float(np.median(self.cpu))


def missing(model: str) -> str | None:
    """What has to be installed before this model can be trained, or None; SmolLM2 is converted here, if need be."""
    if find_spec("trl") is None:
        return "TRL must be installed: pip install -c constraints.txt -e '.[llm]' (or: make bench)"
    if model == SMOLLM2:
        try:
            from expo_analysis.llm.models import resolve_model

            resolve_model(model)
        except (ImportError, ValueError) as error:  # of another TRL, and of SmolLM2 or gguf
            return f"{error} (or: make bench)"
    return None


def serve(name: str, model: str, steps: int, connection: Any) -> None:
    """What the process of a variant does: set up, and then one step for every message."""
    variant = VARIANTS[name]
    os.environ.update(QUIET)  # before anything of huggingface is imported
    warnings.simplefilter("ignore", FutureWarning)  # of transformers, about names that TRL uses
    from expo_analysis.llm.summary import peak_memory

    from .language_model_trainers import Gate, facts, make_trainer

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(variant, model, folder, steps)
        connection.send(facts(trainer))
        trainer.add_callback(Gate(connection))
        trainer.train()
        connection.recv()  # the others may still have a step to make
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        connection.send({"loss": losses[-1], "peak": (peak_memory() or math.nan) / 2**30})


class Process:
    """A variant in a process of its own."""

    def __init__(self, name: str, model: str, steps: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.connection, end = context.Pipe()
        self.process = context.Process(target=serve, args=(name, model, steps, end), daemon=True)
        self.process.start()
        end.close()  # so that its death is noticed

    def receive(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError:
            self.process.join()
            raise RuntimeError(f"{self.name}: its process ended with exit code {self.process.exitcode}") from None

    def ask(self) -> Any:
        self.connection.send(None)
        return self.receive()

    def end(self) -> None:
        self.connection.close()
        self.process.join(timeout=30)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()


def compare(names: Sequence[str], model: str, repeats: int, progress: Progress = silent) -> dict[str, Row]:
    """Time steps of these variants, ``repeats`` of each, in turns.

    Raises:
        RuntimeError: where a process ends early, or where two variants would train on different tokens.
    """
    rounds = WARM_UP + repeats
    processes: list[Process] = []
    try:
        for name in names:
            processes.append(Process(name, model, rounds))
        known = [process.receive() for process in processes]
        if any(one["tokens"] != known[0]["tokens"] for one in known):
            raise RuntimeError("the variants must train on the same tokens, but they do not")
        times: list[list[tuple[float, float]]] = []
        for turn in range(rounds):
            times.append([process.ask() for process in processes])
            progress(turn + 1, rounds)
        ends = [process.ask() for process in processes]
    finally:
        for process in processes:
            process.end()
    rows = {}
    for place, name in enumerate(names):
        seconds, cpu = zip(*(turn[place] for turn in times[WARM_UP:]), strict=True)
        lengths = tuple(map(len, known[place]["tokens"]))
        measured = {key: known[place][key] for key in ("weights", "reference")}
        rows[name] = Row(name, seconds, cpu, lengths=lengths, **measured, **ends[place])
    return rows


HEADER = ("variant", "second model", "step s", "× first", "fastest s", "CPU s", "peak GiB", "last loss")
PAIRS_HEADER = ("variant", "against", "× time", "× fastest", "× CPU", "copies less", "aimed at")


def lines(rows: dict[str, Row]) -> Lines:
    """A row for each variant of a group."""
    base = next(iter(rows.values()))
    return (
        HEADER,
        *(
            (
                *(name, "yes" if row.reference else "no", f"{row.median:.3f}", f"{row.median / base.median:.2f}"),
                *(f"{min(row.seconds):.3f}", f"{row.median_cpu:.2f}", f"{row.peak:.2f}", f"{row.loss:.4f}"),
            )
            for name, row in rows.items()
        ),
    )


def pair_lines(groups: Sequence[dict[str, Row]]) -> Lines:
    """The ratios that matter, each of two variants that took turns."""
    found = [PAIRS_HEADER]
    for name, other, aim in PAIRS:
        rows = next(group for group in groups if name in group and other in group)
        one, two = rows[name], rows[other]
        ratios = (one.median / two.median, min(one.seconds) / min(two.seconds), one.median_cpu / two.median_cpu)
        found.append((name, other, *(f"{x:.3f}" for x in ratios), f"{(two.peak - one.peak) / one.weights:.2f}", aim))
    return tuple(found)


def notes(row: Row, model: str) -> str:
    """What was compared, in words, of which any row has the numbers."""
    name = "SmolLM2-135M-Instruct" if model == SMOLLM2 else "A small random model"
    count, mean, most, steps = len(row.lengths), np.mean(row.lengths), max(row.lengths), len(row.seconds)
    return f"""\
{name} in float32 (a copy of its weights: {row.weights:.3f} GiB), without gradient checkpointing; AdamW, λ = {LAM:g}.
A batch of {count // 2} pairs of random words, {count} sequences of {mean:.0f} tokens on average and {most} at most,
the same in every step and for every variant, which is checked. "(TRL)" is `trl.DPOTrainer`; all others are
`expo_analysis.llm.PreferenceTrainer`.

A step is one round of the trainer's own loop: the batch, forward, loss and metrics, backward, clipping, optimiser, log.
Every variant runs in a process of its own with all cores. Those of a table take turns: {steps} steps each, after
{WARM_UP} that is not timed.

- step s, CPU s: medians, by the clock and of all cores together. × first: the median over the first row's.
- × time, × fastest, × CPU: ratios of medians, of minima and of medians of CPU time, of two variants that took turns;
  the first two far apart tell of a busy machine. copies less: how much less memory, in copies of the weights.
- peak GiB: largest resident memory of the process from its start, libraries included.
- last loss: after the same steps on the same batch. Equal losses say that both trainers do the same.

The variants:

- **EXPO** has its regulariser estimated on the pair's own responses, and needs no reference. **Reference samples** adds
  one sampled response for each pair to the batch. **Token-wise** compares whole next-token distributions with those of
  the reference.
- **DPO** has a second copy of the model as its reference, as TRL does by default. **Precomputed**: the reference's
  log-probabilities are computed once before training, which is not in the time of a step.
- **LoRA**: rank {RANK} on the projections of queries and values. DPO's reference is the model with the adapter off, so
  that no second model is in memory.

EXPO saves the reference's forward pass and its copy of the weights. DPO with precomputed references has neither in a
step, and costs about what EXPO costs; what is left to EXPO is that nothing has to be precomputed. With LoRA there is no
second copy to save, only the forward pass.

Only between two of ours, or two of TRL's, is a ratio the objective's alone. Without a Triton kernel TRL's head computes
the logits of prompts and padding too, and ours those of responses only; what that saves depends on how much of a batch
is responses. On a GPU both leave that to TRL's kernel.
"""
