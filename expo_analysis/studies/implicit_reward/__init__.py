"""How well does the reward that a policy implies rank new pairs, beside a reward model fitted to the same pairs?"""

from ..study import Study

STUDY = Study(
    __name__,
    "How well does the reward that a policy implies rank new pairs, beside a reward model fitted to the same pairs?",
    200,
    ("implicit_reward", "implicit_reward_sizes", "implicit_reward_decay", "implicit_reward_tokens"),
    seconds=28,
)
