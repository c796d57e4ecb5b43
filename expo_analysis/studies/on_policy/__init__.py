"""Pairs drawn by the policy itself: where does each loss rest, and what has a game of preferences to do with it?"""

from ..study import Study

STUDY = Study(
    __name__,
    "Pairs drawn by the policy itself: where does each loss rest, and what has a game of preferences to do with it?",
    170,
    ("on_policy", "on_policy_rounds", "on_policy_xpo"),
    seconds=12,
)
