"""What tangent features say before training, beside what training did and what was published."""

from ..study import Study

STUDY = Study(
    __name__,
    "Can it be predicted before training where mass goes: log-ratios, reward, drift?",
    305,
    ("prediction", "prediction_measures", "prediction_settings"),
    seconds=400,
    kept=True,
)
