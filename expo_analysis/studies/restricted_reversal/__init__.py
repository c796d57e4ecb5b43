"""Policies of one parameter: on which problems does each loss lower the reward that its pairs were made from?"""

from ..study import Study

STUDY = Study(
    __name__,
    "Policies of one parameter: on which problems does each loss lower the reward that its pairs were made from?",
    210,
    ("restricted_reversal", "restricted_reversal_thresholds", "restricted_reversal_classes"),
    seconds=48,
)
