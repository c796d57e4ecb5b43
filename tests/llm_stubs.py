"""Batches, accelerators and rules, as pieces of a training are given them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from expo_analysis.llm.training import step  # isort: skip
from expo_analysis.llm.training.collator import PreferenceCollator  # isort: skip
from expo_analysis.llm.training.objectives import make_mixture  # isort: skip

LAM = 0.3
PAIR = {"prompt_ids": [3, 4], "chosen_ids": [5, 6, 7], "rejected_ids": [8], "row_number": 2}


def batch(**more: Any) -> dict[str, Any]:
    made: dict[str, Any] = PreferenceCollator(0)([PAIR, PAIR | {"chosen_ids": [9]}])
    return made | more


def accelerator(**given: Any) -> Any:
    usual = {"unwrap_model": lambda model: model, "gather": lambda tensor: tensor, "mixed_precision": "no"}
    return SimpleNamespace(**usual | {"autocast": torch.no_grad} | given)


def rules(objective: Any, estimator: str | None = None, **given: Any) -> step.Rules:
    usual: dict[str, Any] = {"on_samples": False, "ld_alpha": None, "use_weighting": False, "chunk": 2}
    return step.Rules(make_mixture(objective, None), estimator, **usual | given)
