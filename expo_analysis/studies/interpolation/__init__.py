"""From π* to π_ref: where is each loss's optimum on the way, as λ grows?"""

from ..study import Study

STUDY = Study(
    __name__,
    "From π* to π_ref: where is each loss's optimum on the way, as λ grows?",
    10,
    ("interpolation",),
    seconds=1,
)
