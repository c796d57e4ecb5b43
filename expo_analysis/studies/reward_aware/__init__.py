"""Three distances to a reward: where do they share an optimum, and where do they part?"""

from ..study import Study

STUDY = Study(
    __name__,
    "Three distances to a reward: where do they share an optimum, and where do they part?",
    180,
    ("reward_aware", "reward_aware_restricted", "reward_aware_shared"),
    seconds=2,
)
