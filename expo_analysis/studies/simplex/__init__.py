"""The same paths in the simplex: which leave π_ref for π*, and which for a corner?"""

from ..study import Study

STUDY = Study(
    __name__,
    "The same paths in the simplex: which leave π_ref for π*, and which for a corner?",
    20,
    ("simplex",),
    seconds=1,
)
