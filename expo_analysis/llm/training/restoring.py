"""A trainer that takes up the weights of a checkpoint: all of them, by the names that they were saved under.

`save_pretrained` gives many tensors the names of a family's first release, and takes some apart, those of experts for
one. `from_pretrained` brings them back, and transformers' `Trainer` does not: where it reads a checkpoint, to go on
from it or for the best model, it takes what the model calls by the same name, and leaves the rest as it is.
"""

from __future__ import annotations

import copy
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, Trainer

from ..models import WEIGHTS, load_whole


class RestoringTrainer(Trainer):
    """transformers' `Trainer`, but that a checkpoint's weights become the model's as `from_pretrained` reads them.

    Adapters, FSDP and DeepSpeed have files of their own, with the names that the model has: these are read as they are
    in `Trainer`.

    Raises:
        ValueError: naming the checkpoint, and the first weight that it lacks.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if model is not None or not self._restored(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if not self._restored(self.state.best_model_checkpoint):
            super()._load_best_model()

    def _restored(self, folder: Any) -> bool:
        """Whether the weights are those of the checkpoint now; if not, it is `Trainer` that reads them."""
        if self.is_deepspeed_enabled or self.is_fsdp_enabled or not _is_as_its_class(self.model):
            return False
        if not any(path for pattern in WEIGHTS for path in Path(folder).glob(pattern)):
            return False
        dtypes = [parameter.dtype for parameter in self.model.parameters() if parameter.is_floating_point()]
        settings = {"config": copy.deepcopy(self.model.config), "dtype": reduce(torch.promote_types, dtypes)}
        found = load_whole(type(self.model), str(folder), **settings)
        self.model.load_state_dict(found.state_dict())
        return True

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Raise for weights that `Trainer` did not find: it would go on with those that the model began with."""
        state, missing = self.model.state_dict(), set(load_result.missing_keys)
        there = {tensor.data_ptr() for name, tensor in state.items() if name not in missing}  # tied ones have one file
        unsaved = set(getattr(self.model, "_keys_to_ignore_on_save", None) or ())
        lost = sorted(name for name in missing - unsaved if state[name].data_ptr() not in there)
        if lost:
            more = f" and {len(lost) - 1} more weights" if len(lost) > 1 else ""
            raise ValueError(
                f"the checkpoint that is loaded lacks {lost[0]}{more} of {type(self.model).__name__}: these would be "
                "those that the model began with"
            )
        super()._issue_warnings_after_load(load_result)


def _is_as_its_class(model: Any) -> bool:
    """Whether its class makes this model of its configuration alone, as `from_pretrained` does."""
    if not isinstance(model, PreTrainedModel) or getattr(model, "is_quantized", False):
        return False
    try:
        with torch.device("meta"):
            made = type(model)(copy.deepcopy(model.config))
    except TypeError:  # of a class that wants more
        return False
    return made.state_dict().keys() == model.state_dict().keys()
