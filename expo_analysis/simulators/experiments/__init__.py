"""What training reaches: one experiment a file, each a function from ``full`` to tables by file name."""

from .constraints import constraints
from .displacement import displacement
from .estimators import estimators
from .finite_data import finite_data
from .fusion import fusion
from .implicit_reward import implicit_reward
from .misspecified import misspecified
from .on_policy import on_policy
from .restricted_reversal import restricted_reversal
from .reward_aware import reward_aware
from .section5 import section5

__all__ = [
    "constraints",
    "displacement",
    "estimators",
    "finite_data",
    "fusion",
    "implicit_reward",
    "misspecified",
    "on_policy",
    "restricted_reversal",
    "reward_aware",
    "section5",
]
