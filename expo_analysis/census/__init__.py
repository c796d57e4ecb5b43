"""The census: losses of packages that people install, run through one instrument.

    from expo_analysis.census import rows_of
    from expo_analysis.adapters import packages

    rows_of(packages()["trl"])                       # what each loss of an installed package is, beside ours

``expo-analysis census`` does this for all that are installed; ``--install`` puts each into an environment of its own
first.
"""

from .rows import QUESTIONS, row, rows_of

__all__ = ["QUESTIONS", "row", "rows_of"]
