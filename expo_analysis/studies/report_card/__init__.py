"""Every loss of the catalogue: which of the questions does it pass, and how much does a failure weigh?"""

from ..study import Study

STUDY = Study(
    __name__,
    "Every loss of the catalogue: which of the questions does it pass, and how much does a failure weigh?",
    320,
    ("report_card",),
    seconds=1000,
    kept=True,
)
