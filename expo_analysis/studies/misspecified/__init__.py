"""Label noise, cycles, an annotator who never errs: what does each loss make of such preferences?"""

from ..study import Study

STUDY = Study(
    __name__,
    "Label noise, cycles, an annotator who never errs: what does each loss make of such preferences?",
    160,
    ("misspecified", "misspecified_path", "misspecified_corrections", "misspecified_orders"),
    seconds=4,
)
