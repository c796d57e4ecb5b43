"""The former name of `expo_analysis.bandit.files`, for code that still imports from here."""

from .bandit.files import NamedBandit, read_bandit, read_named_bandit

__all__ = ["NamedBandit", "read_bandit", "read_named_bandit"]
