"""One λ for a good and a bad reference: which losses leave the one alone and improve the other?"""

from ..study import Study

STUDY = Study(
    __name__,
    "One λ for a good and a bad reference: which losses leave the one alone and improve the other?",
    30,
    ("preservation",),
    seconds=1,
)
