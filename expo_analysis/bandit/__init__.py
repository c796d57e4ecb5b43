"""Bandits: prompts, responses, a reference, and preferences of every kind that a table can hold.

bandit.py has the class, arrays.py the checks of its arrays, labels.py names and pandas objects, ragged.py prompts with
different responses, classes.py the order of responses where no policy fits their wins. comparisons.py knows the forms
of tables of comparisons, and counting.py counts them; files.py reads all of this from files. paired.py has comparisons
among so many that there is no table of all pairs, columns.py the checks of theirs, and chunks.py reads them from files
of any length.
"""

from .._checks import SUM_TOLERANCE, check_policy
from .bandit import Bandit
from .classes import WinClasses, win_classes
from .ragged import RaggedBandit

__all__ = ["SUM_TOLERANCE", "Bandit", "RaggedBandit", "WinClasses", "check_policy", "win_classes"]
