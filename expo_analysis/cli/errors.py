"""What a user got wrong becomes one line on standard error and exit code 2; a fault of ours keeps its traceback."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

import typer
from rich.console import Console
from rich.text import Text

from .._errors import INSTALL_LLM, one_sentence

WRITTEN: ContextVar[Mapping[str, str]] = ContextVar("written", default=MappingProxyType({}))
"""The name by which an option was given that has several, by its own name; set while a command is parsed."""


@contextmanager
def bad_input(is_users: Callable[[BaseException], bool] = lambda error: True) -> Iterator[None]:
    """Put around what checks input, and around nothing else; ``is_users`` narrows down whose error it is."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except (Exception, SystemExit, GeneratorExit) as error:  # a loss of the user's may raise any of them
        sentence = one_sentence(error) if is_users(error) else None
        if sentence is None:
            raise
        print_error(as_written(sentence))
        raise typer.Exit(2) from None


def as_written(sentence: str) -> str:
    """A sentence that begins with an option of several names, with the name by which it was given."""
    name, _, rest = sentence.partition(" ")
    return f"{WRITTEN.get().get(name, name)} {rest}" if rest else sentence


def print_error(sentence: str) -> None:
    """One line on standard error."""
    line = Text.assemble(("Error: ", "bold red"), " ".join(sentence.split()))
    Console(stderr=True).print(line, soft_wrap=True)


@contextmanager
def language_models() -> Iterator[None]:
    """Put around imports of `expo_analysis.llm`: where something is not installed, the message says how it is."""
    try:
        yield
    except ImportError as error:
        hint = "" if INSTALL_LLM in str(error) else f": {INSTALL_LLM}"
        raise ValueError(f"{error}{hint}") from error


@contextmanager
def remarks() -> Iterator[None]:
    """What is said of input that is good becomes a line on standard error; put around what reads it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        line = Text.assemble(("Note: ", "bold"), " ".join(str(warning.message).split()))
        Console(stderr=True).print(line, soft_wrap=True)
