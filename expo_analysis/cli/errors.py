"""What a user got wrong becomes one line on standard error and exit code 2; a fault of ours keeps its traceback."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.text import Text


@contextmanager
def bad_input(is_users: Callable[[Exception], bool] = lambda error: True) -> Iterator[None]:
    """Put around what checks input, and around nothing else; ``is_users`` narrows down whose error it is."""
    try:
        yield
    except (OSError, TypeError, ValueError) as error:
        if not is_users(error):
            raise
        message = str(error)
        if isinstance(error, OSError) and error.filename is not None:
            message = f"{error.filename}: {error.strerror}"
        line = Text.assemble(("Error: ", "bold red"), " ".join(message.split()))
        Console(stderr=True).print(line, soft_wrap=True)
        raise typer.Exit(2) from None


@contextmanager
def remarks() -> Iterator[None]:
    """What is said of input that is good becomes a line on standard error; put around what reads it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        line = Text.assemble(("Note: ", "bold"), " ".join(str(warning.message).split()))
        Console(stderr=True).print(line, soft_wrap=True)
