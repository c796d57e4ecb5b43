"""What came of a training, as one JSON document and as a table."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from .progress import FROM_STEP

SHOWN = (
    *("loss", "loss/preference", "loss/regulariser", "rewards/accuracies", "rewards/margins", "logps/chosen"),
    *("logps/rejected", "mass/chosen", "mass/rejected", "mass/both_fell", "kl/reference_policy"),
    *("kl/reference_policy_per_token", "kl/policy_reference", "kl_estimate/reference_policy", "optimal/grad_norm"),
)

COLUMNS = ("first", "last", "evaluation")

STATUS = Path("/proc/self/status")
"""What Linux says of this process."""


def summarise(trainer: Any, seconds: float, finished: bool) -> dict[str, Any]:
    """What came of a training: metrics at its first and last steps and evaluation, what it cost, where it is.

    ``steps_shown`` has the first and the last of the steps that each column of ``metrics`` is the mean of: one step
    each, but where a training was stopped between two entries of its log.
    """
    history = trainer.state.log_history
    logs = [entry for entry in history if "loss" in entry]
    evaluations = [entry for entry in history if "eval_loss" in entry]
    entries = {"first": logs[:1], "last": logs[-1:], "evaluation": evaluations[-1:]}
    rows: dict[str, dict[str, float | None]] = {}
    for name in SHOWN:
        row = {
            column: entry[0].get(f"eval_{name}" if column == "evaluation" else name) if entry else None
            for column, entry in entries.items()
        }
        if any(value is not None for value in row.values()):
            rows[name] = row
    peak = peak_memory()
    return {
        "objective": repr(trainer.objective),
        "estimator": trainer.estimator,
        "finished": finished,
        "steps": trainer.state.global_step,
        "max_steps": trainer.state.max_steps,
        "seconds": round(seconds, 1),
        "peak_memory_gib": None if peak is None else round(peak / 2**30, 2),
        "processes": trainer.accelerator.num_processes,
        "reference_in_memory": trainer.ref_model is not None,
        "rows": _rows(trainer),
        "rows_left_out": sum(len({p.row for p in report.dropped}) for report in trainer.data_reports.values()),
        "output_dir": str(trainer.args.output_dir),
        "steps_shown": {
            column: [entry[0].get(FROM_STEP, entry[0]["step"]), entry[0]["step"]] if entry else None
            for column, entry in entries.items()
        },
        "metrics": rows,
    }


def _rows(trainer: Any) -> int:
    """How many rows were trained on; of a stream, how many have passed."""
    data = trainer.train_dataset
    if hasattr(data, "__len__"):
        return len(data)
    report = trainer.data_reports["train_dataset"]
    return int(report.rows - len(report.dropped))


def print_summary(summary: dict[str, Any]) -> None:
    """The summary as a table, on standard output."""
    table = Table(title=summary["objective"], title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("metric")
    steps = summary["steps_shown"]
    shown = [column for column in COLUMNS if steps[column] is not None]
    if steps["first"] == steps["last"] and "first" in shown:
        shown.remove("first")
    for column in shown:
        table.add_column(_heading(column, *steps[column]), justify="right")
    for name, row in summary["metrics"].items():
        table.add_row(name, *("" if row[c] is None else f"{row[c]:.5g}" for c in shown))
    console = Console(width=120)
    console.print(table)
    peak = summary["peak_memory_gib"]
    console.print(
        f"{summary['steps']} of {summary['max_steps']} steps in {summary['seconds']} s, "
        f"{summary['processes']} process(es), {'' if peak is None else f'peak memory {peak} GiB, '}"
        f"reference model in memory: {'yes' if summary['reference_in_memory'] else 'no'}; {summary['output_dir']}",
        soft_wrap=True,
    )


def _heading(column: str, start: int, end: int) -> str:
    if column == "evaluation":
        return f"evaluation after step {end}"
    return f"step {end}" if start == end else f"mean of steps {start}–{end}"


def peak_memory() -> int | None:
    """The most memory that this process has had, resident, in bytes; None where the system does not say (Windows)."""
    if STATUS.exists():  # on Linux, where getrusage begins with the peak of the process that started this one
        found = re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kibibytes on other systems
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
