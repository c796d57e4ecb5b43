"""Weighted-reward fusion: where does the mass of another model's response go?"""

from ..study import Study

STUDY = Study(
    __name__,
    "Weighted-reward fusion: where does the mass of another model's response go?",
    190,
    ("fusion", "fusion_held", "fusion_status"),
    seconds=1,
)
