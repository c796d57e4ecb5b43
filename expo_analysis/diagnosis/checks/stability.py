"""Whether training holds together: numbers that are none, and steps that are too long."""

from __future__ import annotations

import numpy as np

from ..finding import FAULT, FEW, WARNING, Clear, Finding, Outcome, lacking
from ..log import Log, Series
from ..run import Run
from ..thresholds import at

WATCHED = ("loss", "grad_norm", "logps/chosen", "logps/rejected", "rewards/chosen", "rewards/rejected")


def first_not_finite(log: Log) -> tuple[float, str] | None:
    """The first step at which something that is watched is nan or infinite, and its name; None where nothing is."""
    found = [
        (float(series.steps[~np.isfinite(series.values)][0]), f"{prefix}{name}")
        for prefix, own in (("", log.train), ("eval_", log.evaluation))
        for name in WATCHED
        if (series := own.get(name)) is not None and not np.isfinite(series.values).all()
    ]
    return min(found, default=None)


def not_finite(run: Run) -> Outcome:
    """One nan in a gradient makes all weights nan."""
    if not {*run.log.train, *run.log.evaluation} & {*WATCHED}:
        return lacking("loss")
    found = first_not_finite(run.log)
    if found is None:
        return Clear("every number is finite")
    step, name = found
    before = run.log.until(step).train
    last = {key: float(before[key].values[-1]) for key in ("loss", "grad_norm") if key in before}
    told = ", ".join(f"{key} {value:.3g}" for key, value in last.items())
    return Finding(
        "not finite",
        FAULT,
        f"{name} is no finite number from step {step:g} on",
        f"{name} at step {step:g}; the entry before has {told or 'nothing'}",
        "one nan in a gradient makes all weights nan: whatever is logged or saved later is worth nothing",
        "go back to a checkpoint before this step; then a lower learning rate with warmup, bfloat16 instead of "
        "float16, and rows of that batch without tokens in a response; set logging_nan_inf_filter to False, which "
        "hides it",
        ((name, step),),
    )


def too_fast(run: Run) -> Outcome:
    """A loss far above that of no training at all."""
    loss = run.preference or run.train("loss")
    if loss is None:
        return lacking("loss")
    if len(loss) < at("entries"):
        return FEW
    base = _level(run, loss)
    if base <= 0:
        return lacking("loss that is positive at the start")
    high = loss.values[1:] > at("spike") * base
    end, top = loss.last, int(np.argmax(loss.values))
    gradient = _gradient_spikes(run, base)
    diverged = end > at("diverged") * base
    leap = _leap(run)
    if not diverged and high.sum() < at("spikes") and gradient is None and leap is None:
        return Clear(f"the loss is at most {loss.values.max() / base:.2g} times that of the start")
    told = [f"the loss begins at {loss.first:.3g} and reaches {loss.values[top]:.3g} at step {loss.steps[top]:g}"]
    told += (
        [f"{int(high.sum())} of {len(loss)} entries are above {at('spike'):g} times the start"] if high.any() else []
    )
    told += [f"it ends at {end:.3g}"] if diverged else []
    told += [more for more in (gradient, leap) if more is not None]
    rate = run.train("learning_rate")
    told += [f"the learning rate was {rate.values.max():.3g} at most"] if rate is not None else []
    return Finding(
        "learning rate too high",
        FAULT if diverged else WARNING,
        "training diverges" if diverged else "steps are too long",
        "; ".join(told),
        "with steps short enough a descent lowers its loss; the loss of no training is what it begins with",
        "a learning rate three to ten times lower, with warmup, and gradients clipped at norm 1; larger batches for "
        "spikes",
        (("loss", float(loss.steps[top])),),
    )


def _level(run: Run, loss: Series) -> float:
    """The loss of no training: known where the loss reads a reference, else the highest of the first entries."""
    if run.shape is not None and run.shape.reads_reference:
        return max(loss.first, run.shape.start)
    return float(loss.values[: max(3, len(loss) // 10)].max())


def _leap(run: Run) -> str | None:
    """What is to be said of a policy that moves, in a step, by more than the loss asks for in all, and is lost."""
    moved, capacity = run.moved("chosen"), run.capacity
    if moved is None or len(moved) < 2 or not capacity or run.shape is None or not run.shape.reads_reference:
        return None
    pace = np.abs(np.diff(moved.values)) / np.diff(moved.steps)
    top = int(np.argmax(pace))
    if pace[top] < at("leap") * run.shape.reach or moved.last > -at("lost") * capacity:
        return None
    return (
        f"before step {moved.steps[top + 1]:g} chosen responses move by {pace[top]:.3g} nats a step, and the loss asks "
        f"for {run.shape.reach:.2g} in all; at the end they are at {moved.last:.3g}, from {-capacity:.3g} at the start"
    )


def _gradient_spikes(run: Run, base: float) -> str | None:
    """What is to be said of gradients far longer than at the start, at steps whose loss is above the start's too."""
    norm, loss = run.train("grad_norm"), run.preference or run.train("loss")
    if norm is None or loss is None or not np.array_equal(norm.steps, loss.steps):
        return None
    usual = float(np.median(norm.values[: max(2, len(norm) // 5)]))
    jumps = (norm.values > at("gradient") * usual) & (loss.values > base)
    if jumps.sum() < at("spikes"):
        return None
    top = int(np.argmax(norm.values))
    return f"the gradient's norm, {usual:.3g} at the start, is {norm.values[top]:.3g} at step {norm.steps[top]:g}"
