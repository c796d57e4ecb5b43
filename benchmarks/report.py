"""The tables, on the terminal and in Markdown."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from . import battles, language_model, optimistix_newton, own_losses, prompts, scipy_bfgs
from .measure import OURS, Row
from .training import CLIP, Growth, Sweep

HEADER = (
    *("solver", "n", "problems", "ms", "× ours", "fastest ms", "× ours", "first ms", "× ours", "µs each"),
    *("solved", "1-norm", "residual"),
)
SWEEP_HEADER = (
    *("loss", "settings", "steps each", "steps in all", "plain: steps timed each", "plain: µs a step"),
    *("train: s", "plain: s (projected)", "× faster", "difference at λ = 1"),
)
GROWTH_HEADER = ("data sets", "n", "steps", "s", "µs a step", "µs a step and data set")
Lines = tuple[tuple[str, ...], ...]
"""A header and its rows."""

LEFT = ("variant", "against", "aimed at", "way", "status")
"""Columns of words."""

WIDTH = 112
"""Columns of a terminal that the tables need."""

PACKAGES = ("expo-analysis", "numpy", "scipy", "torch", "jax", "jaxlib", "optimistix", "lineax")
BATTLES_PACKAGES = ("expo-analysis", "numpy", "scipy", "choix", "scikit-learn", "arena-rank", "arenakit")
LANGUAGE_MODEL_PACKAGES = ("expo-analysis", "torch", "transformers", "trl", "accelerate", "peft")
NOTES = f"""\
Compositional EXPO on random prompts: reference and BT-optimal policy uniform on the simplex, all pairs equally often,
all prompts in one bandit, everything in float64. All solvers start at log((pi* + λ pi_ref) / (1 + λ)).

- **expo_analysis**: `ea.solve(ea.EXPO(λ), bandit)` with all that it returns: the proven error bound of every policy,
  values, statuses. "Solved" counts finite error bounds.
- **optimistix**: its undamped Newton on the gradient, `jit` of `vmap`, Cholesky, tolerance
  {optimistix_newton.STEP_TOLERANCE:g} on the step (the error left is its square). No bounds, no values.
- **scipy BFGS**: a loop over `scipy.optimize.minimize`, analytic gradients,
  `gtol` {scipy_bfgs.GRADIENT_TOLERANCE:g}. It does not reach the accuracy of the others. At tighter tolerances it takes
  longer and reports failures, and its worst error hardly improves, so the ratio favours scipy. One pass over all
  problems, nothing extrapolated.

ms, fastest ms: median and minimum of the calls after the first, the two fast solvers taking turns; far apart, they tell
of a busy machine. first ms: the first call, which compiles for optimistix; ours has nothing to compile. × ours: the
column before it divided by ours, so that above 1 ours is faster. 1-norm: largest distance of any policy from ours.
residual: largest component of the gradient at any policy, computed apart from all solvers.
"""


TRAINING_NOTES = f"""\
The preservation experiment of the paper's Section 5 with the authors' settings: Adam, batches of one pair, {CLIP:g} for
the norm of gradients, four losses at eleven λ; the policy has one logit for each prompt and response. Everything is in
float64, all starts included: the first step of `train` is recorded, once for each loss and call.

- **train**: `expo_analysis.simulators.train`, one call for each loss with all its λ, in full. Median over turns.
- **plain**: one setting at a time, as one writes it first: a `torch.nn.Module` with the logits, `torch.optim.Adam`,
  `backward`, `clip_grad_norm_`, the same formulas of losses. The loop is too long to run in full, so **its time is
  projected**: the time of a step, measured over the stated number of steps of every setting in turns with `train`,
  multiplied by the number of steps. At λ = 1 it is run to the end, and the last column has the largest difference of
  a probability from that of `train`; torch's clipping divides by the norm plus 1e-6, and ours by the norm.

The last tables: EXPO on data sets of 200 comparisons, batches of 20, shuffled; a data set is a seed.
"""


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The lines of a table; each set of problems begins with our own row."""
    lines: list[tuple[str, ...]] = []
    own = rows[0]
    for row in rows:
        own = row if row.solver == OURS else own
        lines.append(
            (
                row.solver,
                str(row.n),
                f"{row.count:,}",
                _milliseconds(row.seconds),
                f"{row.seconds / own.seconds:.2f}",
                _milliseconds(row.fastest) if row.repeated else "",
                f"{row.fastest / own.fastest:.2f}" if row.repeated else "",
                _milliseconds(row.first) if row.repeated else "",
                f"{row.first / own.first:.2f}" if row.repeated else "",
                f"{1e6 * row.seconds / row.count:,.1f}",
                "all" if row.solved == 1 else f"{row.solved:.2%}",
                "" if row is own else f"{row.distance:.1e}",
                f"{row.residual:.1e}",
            )
        )
    return lines


def table(title: str, rows: Sequence[Row]) -> Table:
    """For the terminal."""
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE, padding=0, collapse_padding=True)
    for name in HEADER:
        drawn.add_column(name, justify="left" if name == "solver" else "right", no_wrap=True)
    for line in cells(rows):
        drawn.add_row(*line)
    return drawn


def markdown(
    tables: Mapping[str, Sequence[Row]], command: str, load: float, training: Mapping[str, Lines] | None = None
) -> str:
    """The part on bandits: the tables by their titles, what was compared, and on what machine."""
    sections = [_heading("Benchmarks", command, load, PACKAGES)]
    sections += [_section(title, (HEADER, *cells(rows))) for title, rows in tables.items()]
    sections += ["## What is compared\n", NOTES]
    if training:
        sections += [_section(title, lines) for title, lines in training.items()]
        sections += ["## What is compared in training\n", TRAINING_NOTES]
    return "\n".join(sections)


def language_model_markdown(
    groups: Mapping[str, Mapping[str, language_model.Row]], model: str, command: str, load: float
) -> str:
    """The part on language models: the ratios that matter, the tables they are from, what was compared and on what."""
    row = next(iter(next(iter(groups.values())).values()))
    return "\n".join(
        [
            _heading("Benchmarks of language models", command, load, LANGUAGE_MODEL_PACKAGES),
            _section("Step time and memory, two by two", language_model.pair_lines(list(groups.values()))),
            *(_section(title, language_model.lines(rows)) for title, rows in groups.items()),
            "## What is compared in steps of language models\n",
            language_model.notes(row, model),
        ]
    )


def own_losses_markdown(lines: Lines, command: str, load: float) -> str:
    """The part on losses that a user writes from terms."""
    packages = ("expo-analysis", "numpy", "scipy")
    table = _section("Against the catalogue's of the same formula, λ = 0.1", lines)
    return "\n".join([_heading("Benchmarks of losses of one's own", command, load, packages), table, own_losses.NOTES])


def battles_markdown(fits: Lines, grown: Lines, command: str, load: float) -> str:
    """The part on battles among many players."""
    packages = [name for name in BATTLES_PACKAGES if find_spec(name.replace("-", "_")) or name == "scikit-learn"]
    tables = [_section("1,000 players, 1,000,000 battles", fits), _section("How cost grows", grown)]
    return "\n".join([_heading("Benchmarks of battles", command, load, packages), *tables, battles.NOTES])


def prompts_markdown(lines: Lines, command: str, load: float) -> str:
    """The part on many prompts of few comparisons."""
    table = _section("Four responses, six comparisons, λ = 0.1", lines)
    heading = _heading("Benchmarks of many prompts", command, load, ("expo-analysis", "numpy", "scipy"))
    return "\n".join([heading, table, prompts.NOTES])


def with_part(report: str, part: str) -> str:
    """The report with this part, a heading of the first level and all under it, in place of the one so called."""
    parts = [old for old in re.split(r"^(?=# )", report, flags=re.MULTILINE) if old.strip()]
    named = {one.partition("\n")[0]: one.strip() + "\n" for one in [*parts, part]}
    return "\n".join(named.values())


def sweep_lines(sweeps: Sequence[Sweep]) -> Lines:
    """A row for each loss, and one for all."""
    lines = [SWEEP_HEADER]
    for one in sweeps:
        speed = _speed(one.ours, one.plain)
        equal = "" if np.isnan(one.distance) else f"{one.distance:.1e}"
        total = one.settings * one.steps
        each = f"{1e6 * one.step_seconds:,.0f}"
        lines.append(
            (one.loss, str(one.settings), f"{one.steps:,}", f"{total:,}", f"{one.timed:,}", each, *speed, equal)
        )
    total = sum(one.settings * one.steps for one in sweeps)
    ours, plain = (sum(getattr(one, name) for one in sweeps) for name in ("ours", "plain"))
    settings = str(sum(one.settings for one in sweeps))
    lines.append(("all", settings, "", f"{total:,}", "", "", *_speed(ours, plain), ""))
    return tuple(lines)


def growth_lines(runs: Sequence[Growth]) -> Lines:
    """A row for each run."""
    rows = []
    for one in runs:
        step = 1e6 * one.seconds / one.steps
        counts = (f"{one.data_sets:,}", str(one.n), f"{one.steps:,}")
        rows.append((*counts, f"{one.seconds:.2f}", f"{step:,.0f}", f"{step / one.data_sets:,.2f}"))
    return (GROWTH_HEADER, *rows)


def lines_table(title: str, lines: Lines) -> Table:
    """For the terminal."""
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE, padding=0, collapse_padding=True)
    for name in lines[0]:
        drawn.add_column(name, justify="left" if name in LEFT else "right", no_wrap=True)
    for line in lines[1:]:
        drawn.add_row(*line)
    return drawn


def _speed(ours: float, plain: float) -> tuple[str, str, str]:
    return f"{ours:.2f}", f"{plain:,.0f}", f"{plain / ours:,.0f}"


def _heading(title: str, command: str, load: float, packages: Sequence[str]) -> str:
    machine = f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"# {title}\n\nWritten by `{command}` on {date.today()}.\n\n"
        f"Machine: {machine}; load average {load:.1f} when it started.\n\nVersions: {versions}.\n"
    )


def _section(title: str, lines: Lines) -> str:
    rule = ["---" if place == 0 or name in LEFT else "--:" for place, name in enumerate(lines[0])]
    every = [lines[0], rule, *lines[1:]]
    return f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in every) + "\n"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f}"


def _processor() -> str:
    """The processor's model, where the system tells."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine()
