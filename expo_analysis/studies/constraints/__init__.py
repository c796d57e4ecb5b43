"""Weight decay, early stopping, too few features: what do they make of RLHF, DPO and EXPO?"""

from ..study import Study

STUDY = Study(
    __name__,
    "Weight decay, early stopping, too few features: what do they make of RLHF, DPO and EXPO?",
    130,
    ("constraints", "constraints_reference", "constraints_search"),
    seconds=8,
)
