"""How fast does each loss come closer to π* with more comparisons, and at which λ?"""

from ..study import Study

STUDY = Study(
    __name__,
    "How fast does each loss come closer to π* with more comparisons, and at which λ?",
    120,
    (
        "finite_data",
        "finite_data_rates",
        "finite_data_population",
        "finite_data_efficient",
        "finite_data_training",
        "finite_data_ends",
    ),
    seconds=13,
)
