"""How far from the exact optimum did the authors' script stop?"""

from ..study import Study

STUDY = Study(
    __name__,
    "How far from the exact optimum did the authors' script stop?",
    50,
    ("authors_final",),
    seconds=1,
)
