"""A command whose options have one value, whatever names they go by."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from .errors import WRITTEN, print_error


class Command(TyperCommand):
    """As typer's, but an option that is given under two of its names is refused: who does that means two things.

    Raises:
        typer.Exit: with code 2, after one line that names both.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = args[: args.index("--")] if "--" in args else args
        given = list(dict.fromkeys(word.split("=", 1)[0] for word in words))
        written: dict[str, str] = {}
        for option in self.params:
            names = [name for name in given if name in option.opts and name.startswith("-")]
            if len(names) > 1 and not getattr(option, "is_flag", False):
                print_error(f"give {' or '.join(names)}, not both: they are two names of one option")
                raise typer.Exit(2)
            if names and option.name is not None and sum(name.startswith("--") for name in option.opts) > 1:
                written[option.name] = names[0].lstrip("-")
        WRITTEN.set(written)
        found: list[str] = super().parse_args(ctx, args)
        return found
