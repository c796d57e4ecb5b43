"""Training: losses of batches, their reference, and a thin class on transformers' trainer."""

from .versions import check_version

check_version("transformers")

from .aggregation import AGGREGATIONS, aggregate  # noqa: E402
from .checks import NonFiniteLoss  # noqa: E402
from .collator import PreferenceCollator  # noqa: E402
from .config import PreferenceConfig  # noqa: E402
from .engine import NotTheReference  # noqa: E402
from .regulariser import ESTIMATORS  # noqa: E402
from .trainer import PreferenceTrainer  # noqa: E402

__all__ = [
    "AGGREGATIONS",
    "ESTIMATORS",
    "NonFiniteLoss",
    "NotTheReference",
    "PreferenceCollator",
    "PreferenceConfig",
    "PreferenceTrainer",
    "aggregate",
]
