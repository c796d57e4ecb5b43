"""Language models, trained with the objectives that `expo_analysis.solve` solves.

The only room that imports transformers and datasets: ``import expo_analysis`` does not load it. What it
needs is installed by ``pip install '.[llm]'`` in the folder of the repository.
"""

from .data import BadRows, DataReport, PreferenceData
from .training import (
    AGGREGATIONS,
    ESTIMATORS,
    NonFiniteLoss,
    NotTheReference,
    PreferenceCollator,
    PreferenceConfig,
    PreferenceTrainer,
    aggregate,
)

__all__ = [
    "AGGREGATIONS",
    "ESTIMATORS",
    "BadRows",
    "DataReport",
    "NonFiniteLoss",
    "NotTheReference",
    "PreferenceCollator",
    "PreferenceConfig",
    "PreferenceData",
    "PreferenceTrainer",
    "aggregate",
]
