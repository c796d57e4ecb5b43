"""What is shown while training, and what is logged for the summary."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

FROM_STEP = "from_step"
"""In a log entry: the first of the steps that it is the mean of; ``step`` is the last."""


class LogEnds(TrainerCallback):
    """Logs the first and the last step by themselves, whatever ``logging_steps`` is, and which steps an entry is of."""

    logged: int
    """The last step that an entry is of."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.logged = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # one before the last, so that the last entry is of one step too
        if state.global_step in (1, state.max_steps - 1, state.max_steps):
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.log_history and "loss" in state.log_history[-1]:
            state.log_history[-1][FROM_STEP] = self.logged + 1
            self.logged = state.global_step


class ShowProgress(TrainerCallback):
    """A bar on standard error, with the loss and the share of pairs whose chosen response has the higher reward."""

    def __init__(self) -> None:
        self.bar: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self.bar = Progress(*columns, console=Console(stderr=True))
            self.bar.start()
            self.task = self.bar.add_task("training", total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self.bar is not None and logs and "loss" in logs:
            right = f", accuracy {logs['rewards/accuracies']:.0%}" if "rewards/accuracies" in logs else ""
            self.bar.update(self.task, description=f"loss {float(logs['loss']):.4g}{right}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
