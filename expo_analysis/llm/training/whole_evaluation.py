"""Evaluations use all rows: `dataloader_drop_last` is a setting of training, whose steps are to be of one size.

A search over settings, which compares evaluations, is left to its user.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from transformers import Trainer


class WholeEvaluation(Trainer):
    """transformers' `Trainer`, but that evaluations and predictions leave out no rows of a last batch."""

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """As in `Trainer`, with the last batch."""
        with _nothing_dropped(self.args):
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """As in `Trainer`, with the last batch."""
        with _nothing_dropped(self.args):
            return super().get_test_dataloader(test_dataset)

    def hyperparameter_search(self, *args: Any, **kwargs: Any) -> Any:
        """Not here: transformers makes each model by ``model_init``, and the reference is the model as it is given.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "hyperparameter_search is not used here, where the reference is the model as it is given: make a trainer "
            "for each setting, and compare what evaluate() returns"
        )


@contextlib.contextmanager
def _nothing_dropped(args: Any) -> Iterator[None]:
    asked, args.dataloader_drop_last = args.dataloader_drop_last, False
    try:
        yield
    finally:
        args.dataloader_drop_last = asked
