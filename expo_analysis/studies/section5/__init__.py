"""The paper's Section 5 trained anew: what is the loss, the sample, the stopping time, the clipping?"""

from ..study import Study

STUDY = Study(
    __name__,
    "The paper's Section 5 trained anew: what is the loss, the sample, the stopping time, the clipping?",
    110,
    ("section5", "section5_steps"),
    seconds=30,
)
