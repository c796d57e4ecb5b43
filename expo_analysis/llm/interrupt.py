"""Ctrl-C and SIGTERM while training: a checkpoint is saved after the step that is under way, and training ends."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback

CODES = {int(signal.SIGINT): 130, int(signal.SIGTERM): 143}
"""Exit codes, 128 + the signal's number, as shells have them."""

NAMES = {int(signal.SIGINT): "Ctrl-C", int(signal.SIGTERM): "SIGTERM"}


class StopAndSave(TrainerCallback):
    """A callback that is also a context manager: only inside of it the two signals are handled.

    The first signal asks for a checkpoint. A second Ctrl-C interrupts at once, as it does elsewhere. Of several
    processes all stop after the same step, whichever of them got the signal.

    received    the number of the signal that was obeyed; None as long as there is none
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._asked = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopAndSave:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in CODES}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = number
        hint = "; once more ends it at once, without" if number == signal.SIGINT else ""
        # not by print: a signal may come while something else is being printed
        os.write(2, f"\n{NAMES[number]}: saving a checkpoint after this step{hint}\n".encode())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        asked = self._asked
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            everywhere = torch.tensor(asked, device=args.device)
            torch.distributed.all_reduce(everywhere, torch.distributed.ReduceOp.MAX)
            asked = int(everywhere)
        if asked:
            self.received = asked
            control.should_save = True
            control.should_training_stop = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What comes during an evaluation does not wait for the next step."""
        self.on_step_end(args, state, control)
