"""Exceptions as one sentence, where the one who called can do something about them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .own_file import in_own_file, in_words

PACKAGE = Path(__file__).parent

INSTALL_LLM = "pip install '.[llm]' in the folder of the repository"
"""How what language models need is installed; the package is on no index."""

TRACEBACK = "EXPO_ANALYSIS_TRACEBACK"
"""Set this variable, and nothing is made a sentence of."""


def one_sentence(error: BaseException) -> str | None:
    """What was wrong with the input, in one line; None for a fault of this package, whose traceback is to be kept.

    Whatever is raised while input is checked is the input's fault if it is an OSError, TypeError, ValueError or
    ImportError, if it comes from a file of the user's own, or if it is another library's: raised in its code, or of one
    of its classes (parsers, readers and loaders have their own).
    """
    if os.environ.get(TRACEBACK):
        return None
    own = in_own_file(error)
    if own is not None:
        return own
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    message = " ".join(str(error).split()) or in_words(error)
    root = type(error).__module__.split(".")[0]
    if root == PACKAGE.name:
        return message if isinstance(error, ValueError) else None
    if isinstance(error, OSError | TypeError | ValueError | ImportError):
        return message
    if root == "builtins" and _is_ours(error):
        return None
    cause = error.__cause__ or error.__context__
    because = f" ({in_words(cause)})" if cause is not None and str(cause) not in message else ""
    return f"{in_words(error)}{because}; {TRACEBACK}=1 shows where"


def _is_ours(error: BaseException) -> bool:
    """Whether the line that raised it belongs to this package."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is None or PACKAGE in Path(trace.tb_frame.f_code.co_filename).parents


def given_once(name: str, values: Sequence[str]) -> str | None:
    """What is wrong with an option that was given several values, of which one alone could count; None if nothing is.

    Example:
        >>> given_once("--seed", ["1", "2"])
        "give --seed once, got '1' and '2'"
    """
    distinct = list(dict.fromkeys(values))
    return None if len(distinct) < 2 else f"give {name} once, got {' and '.join(map(repr, distinct))}"


def _swapped(word: str) -> set[str]:
    """What a word is with two neighbouring letters in the other order: a slip of the fingers that difflib rates low."""
    return {word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1)}


def did_you_mean(value: Any, accepted: Iterable[Any]) -> str:
    """The end of a message for a misspelt word, whatever its case; nothing for what is like none of those accepted.

    Example:
        >>> did_you_mean("Linaer", ("constant", "linear"))
        "; did you mean 'linear'?"
    """
    import difflib  # only where something is wrong

    words = {word.lower(): word for word in accepted if isinstance(word, str)}
    close = difflib.get_close_matches(value.lower(), words) if isinstance(value, str) else []
    close.sort(key=lambda word: word not in _swapped(value.lower()))  # first what has two neighbouring letters swapped
    return f"; did you mean {words[close[0]]!r}?" if close else ""
