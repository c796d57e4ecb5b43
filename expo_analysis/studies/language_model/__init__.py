"""A real language model: how much reward for how much KL, what is kept, and where does the mass go?"""

from ..study import Study

STUDY = Study(
    __name__,
    "A real language model: how much reward for how much KL, what is kept, and where does the mass go?",
    310,
    ("lm_frontier", "lm_settings", "lm_preservation", "lm_displacement"),
    seconds=4000,
    kept=True,
)
