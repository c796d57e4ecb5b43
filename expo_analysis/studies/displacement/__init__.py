"""Likelihood displacement: what becomes of chosen, rejected and unseen responses under DPO, IPO and EXPO?"""

from ..study import Study

STUDY = Study(
    __name__,
    "Likelihood displacement: what becomes of chosen, rejected and unseen responses under DPO, IPO and EXPO?",
    140,
    ("displacement", "displacement_ends", "displacement_optima"),
    seconds=7,
)
