"""What a training tells: its callbacks, of the last step too; and its user, once. And how it is resumed."""

from __future__ import annotations

import logging
from typing import Any

from accelerate import PartialState
from torch.optim.lr_scheduler import LambdaLR
from transformers import ProgressCallback, TrainerCallback

logger = logging.getLogger("expo_analysis.llm")

TRAINERS = logging.getLogger("transformers.trainer")


def tell(line: str) -> None:
    """A line for whoever watches, from one process only."""
    if PartialState().is_main_process:
        logger.warning(line)


def follow_schedule(scheduler: Any) -> None:
    """Set the learning rate of the next step to what this schedule has there.

    A checkpoint brings the rate that its own schedule had for the next step. transformers takes that for one step, and
    only then the schedule of this training, which is another one where there are more steps.
    """
    scheduler = getattr(scheduler, "scheduler", scheduler)  # in accelerate's wrapper, under DeepSpeed
    if not isinstance(scheduler, LambdaLR):  # others follow what was measured, and not how many steps there are
        return
    rates = [
        base * factor(scheduler.last_epoch)
        for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    if rates != list(scheduler.get_last_lr()):
        scheduler.last_epoch -= 1  # `step` goes to the next one, which is this one again
        scheduler.step()


def tell_of_warm_up(scheduler: Any, warmup: int, steps: int) -> None:
    """Say that a warm-up leaves no step at the learning rate that was asked for; its first step is at 0.

    Args:
        scheduler: of the training, not stepped yet.
        warmup: its steps.
        steps: of the training.
    """
    scheduler = getattr(scheduler, "scheduler", scheduler)
    if not isinstance(scheduler, LambdaLR) or not 0 < steps <= warmup:
        return
    highest = max(factor(step) for factor in scheduler.lr_lambdas for step in range(steps))
    if highest < 1:  # a schedule without a warm-up is at 1 from its first step
        rate = "0, which changes nothing" if highest == 0 else f"at most {highest:.2g} of the one that was set"
        tell(f"warmup_steps comes to {warmup}, of {steps} in all, so that the learning rate is {rate}: lower it")


def _blames_no_stream(record: logging.LogRecord) -> bool:
    """Leaves out that a stream has no rows, which transformers takes for the reason where no step is left."""
    return "not to be a single sample" not in record.getMessage()


class Companion(TrainerCallback):
    """Asks for a log of the last step, and logs what a training that ended early has not.

    Of a training that is resumed it sees that the learning rate is the schedule's, and that after the last step there
    is no other one.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, **kwargs: Any) -> None:
        """Raise for a checkpoint that has more steps behind it than there are to be."""
        if state.global_step > state.max_steps:
            asked = "max_steps is" if args.max_steps > 0 else f"num_train_epochs={args.num_train_epochs:g} comes to"
            raise ValueError(
                f"{asked} {state.max_steps}, and the checkpoint that is resumed from has done {state.global_step} "
                "steps already: raise it, or give another output_dir"
            )
        self.trainer.identity.forget_other_best(state, args)
        self.trainer.nothing_left = state.global_step == state.max_steps
        if self.trainer.nothing_left:  # transformers asks after each step whether it was the last one, and before none
            control.should_training_stop = True
            tell(f"the checkpoint that is resumed from has done all {state.max_steps} steps: nothing is left to train")
            TRAINERS.addFilter(_blames_no_stream)
            for callback in self.trainer.callback_handler.callbacks:
                if isinstance(callback, ProgressCallback):  # whose bar begins at 0, and moves when a step is done
                    callback.on_step_end(args, state, control)
        elif state.global_step > 0:
            follow_schedule(lr_scheduler)
        else:
            tell_of_warm_up(lr_scheduler, args.get_warmup_steps(state.max_steps), state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps or control.should_training_stop:
            control.should_log = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.nothing_left:  # all of these were done when its last step was
            control.should_log = control.should_evaluate = control.should_save = False

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        TRAINERS.removeFilter(_blames_no_stream)
        if self.trainer.sums:  # it was stopped after its last log, by a callback of evaluation for one
            self.trainer.log({"loss": 0.0})  # which becomes the mean of what was not logged yet
