"""A command whose options have one value, whatever names they go by and however often they are given."""

from __future__ import annotations

import copy
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from .._errors import given_once
from .errors import WRITTEN, print_error


class Command(TyperCommand):
    """As typer's, but an option that is given twice, under one name or two, is refused: who does that means two things.

    The same value twice is one value. Options that say that they are repeatable may be given as often as one likes.

    Raises:
        typer.Exit: with code 2, after one line that names the options and what they were given.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = args[: args.index("--")] if "--" in args else args
        given = list(dict.fromkeys(word.split("=", 1)[0] for word in words))
        written: dict[str, str] = {}
        values = {} if ctx.resilient_parsing else self._all_values(ctx, args)
        for option in self.params:
            names = [name for name in given if name in option.opts and name.startswith("-")]
            wrong = None
            if len(names) > 1 and not getattr(option, "is_flag", False):
                wrong = f"give {' or '.join(names)}, not both: they are two names of one option"
            elif option.name in values:
                wrong = given_once(names[0] if names else option.opts[0], values[option.name])
            if wrong is not None:
                print_error(wrong)
                raise typer.Exit(2)
            if names and option.name is not None and sum(name.startswith("--") for name in option.opts) > 1:
                written[option.name] = names[0].lstrip("-")
        WRITTEN.set(written)
        found: list[str] = super().parse_args(ctx, args)
        return found

    def _all_values(self, ctx: Any, args: list[str]) -> dict[str | None, list[str]]:
        """Every value, as it was written, of each option that has one: if all were repeatable, none would be lost."""
        repeatable = copy.copy(self)
        repeatable.params = [copy.copy(option) for option in self.params]
        single = [
            option
            for option in repeatable.params
            if isinstance(option, TyperOption) and not (option.is_flag or option.multiple or option.count)
        ]
        for option in single:
            option.multiple = True
        found, _, _ = repeatable.make_parser(ctx).parse_args(args=list(args))
        return {option.name: found[option.name] for option in single if option.name in found}
