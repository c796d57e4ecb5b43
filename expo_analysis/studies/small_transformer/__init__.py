"""A small transformer with known truth: what is kept, what is gained and where the mass goes, decided by intervals."""

from ..study import Study

STUDY = Study(
    __name__,
    "A small transformer with known truth: does EXPO keep where DPO and IPO do not, and where does the mass go?",
    300,
    ("small_transformer", "small_transformer_path", "small_transformer_answers", "small_transformer_settings"),
    seconds=160,
    kept=True,
)
