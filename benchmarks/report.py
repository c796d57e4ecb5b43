"""The tables, on the terminal and in Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.table import Table

from . import optimistix_newton, scipy_bfgs
from .measure import OURS, Row

HEADER = (
    *("solver", "n", "problems", "ms", "× ours", "fastest ms", "× ours", "first ms", "× ours", "µs each"),
    *("solved", "1-norm", "residual"),
)
WIDTH = 112
"""Columns of a terminal that the tables need."""

PACKAGES = ("expo-analysis", "numpy", "scipy", "torch", "jax", "jaxlib", "optimistix", "lineax")
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


def markdown(tables: Mapping[str, Sequence[Row]], command: str, load: float) -> str:
    """The whole report: the tables by their titles, what was compared, and on what machine."""
    machine = f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    sections = [
        f"# Benchmarks\n\nWritten by `{command}` on {date.today()}.\n\n"
        f"Machine: {machine}; load average {load:.1f} when it started.\n\nVersions: {versions}.\n"
    ]
    for title, rows in tables.items():
        lines = [HEADER, ("---", *["--:"] * (len(HEADER) - 1)), *cells(rows)]
        sections.append(f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    return "\n".join([*sections, "## What is compared\n", NOTES])


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f}"


def _processor() -> str:
    """The processor's model, where the system tells."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine()
