"""Language models, trained with the objectives that `expo_analysis.solve` solves.

The only room that imports transformers, TRL and datasets: ``import expo_analysis`` does not load it. Install the extra
for it: ``pip install '.[llm]'`` in the folder of the repository.
"""

from .versions import check_trl

check_trl()  # before a wrong TRL fails on its own

from .aggregation import AGGREGATIONS, aggregate  # noqa: E402
from .config import PreferenceConfig  # noqa: E402
from .data import BadRows, DataReport  # noqa: E402
from .regulariser import ESTIMATORS  # noqa: E402
from .trainer import NonFiniteLoss, PreferenceTrainer, reduce_pairs  # noqa: E402

__all__ = [
    "AGGREGATIONS",
    "ESTIMATORS",
    "BadRows",
    "DataReport",
    "NonFiniteLoss",
    "PreferenceConfig",
    "PreferenceTrainer",
    "aggregate",
    "check_trl",
    "reduce_pairs",
]
