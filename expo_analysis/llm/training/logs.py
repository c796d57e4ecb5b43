"""What a training tells: its callbacks, of the last step too; and its user, once."""

from __future__ import annotations

import logging
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback

logger = logging.getLogger("expo_analysis.llm")


def tell(line: str) -> None:
    """A line for whoever watches, from one process only."""
    if PartialState().is_main_process:
        logger.warning(line)


class Companion(TrainerCallback):
    """Asks for a log of the last step, and logs what a training that ended early has not."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Raise for a checkpoint that has more steps behind it than there are to be."""
        if state.global_step > state.max_steps:
            asked = "max_steps is" if args.max_steps > 0 else f"num_train_epochs={args.num_train_epochs:g} comes to"
            raise ValueError(
                f"{asked} {state.max_steps}, and the checkpoint that is resumed from has done {state.global_step} "
                "steps already: raise it, or give another output_dir"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps or control.should_training_stop:
            control.should_log = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.sums:  # it was stopped after its last log, by a callback of evaluation for one
            self.trainer.log({"loss": 0.0})  # which becomes the mean of what was not logged yet
