"""The former name of `expo_analysis.bandit_files`, for code that still imports from here."""

from .bandit_files import NamedBandit, read_bandit, read_named_bandit

__all__ = ["NamedBandit", "read_bandit", "read_named_bandit"]
