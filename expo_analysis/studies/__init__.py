"""The studies: a question, the numbers that answer it, a picture and words, one folder each.

A folder that has an entry ``STUDY`` is a study, and nothing else needs to know of it. `STUDIES` has all of them by
name, in the order of the README; their numbers, and what these import, are loaded when they are asked for.

Example:
    >>> from expo_analysis.studies import STUDIES
    >>> tables = STUDIES["fusion"].run()  # doctest: +SKIP
    >>> STUDIES["fusion"].show(tables).figure  # doctest: +SKIP
"""

from __future__ import annotations

from .registry import STUDIES, find_studies
from .settings import Settings
from .study import Shown, Study

__all__ = ["STUDIES", "Settings", "Shown", "Study", "find_studies"]
