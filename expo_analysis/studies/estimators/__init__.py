"""The estimators of EXPO's regulariser: bias, variance, and the optimum that each one really has"""

from ..study import Study

STUDY = Study(
    __name__,
    "The estimators of EXPO's regulariser: bias, variance, and the optimum that each one really has",
    150,
    ("estimators", "estimators_paths", "estimators_optima", "estimators_steps"),
    seconds=9,
)
