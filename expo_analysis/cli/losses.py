"""``expo-analysis losses``."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer


def losses(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """List the losses of the catalogue, with the options of each.

    \b
    Example:
      expo-analysis losses

    \b
    --json prints {NAME: {"class": ..., "options": [...], "summary": ...}, ...}.
    """
    from ..losses import CATALOGUE

    found = {
        name: {
            "class": cls.__name__,
            "options": [field.name for field in dataclasses.fields(cls) if field.init and field.name != "lam"],
            "summary": " ".join((cls.__doc__ or "").split("\n\n")[0].split()).partition(" TRL: ")[0],
        }
        for name, cls in CATALOGUE.items()
    }
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    width = max(map(len, found))
    for name, entry in found.items():
        options = f" [{', '.join(entry['options'])}]" if entry["options"] else ""
        typer.echo(f"{name:{width}}  {entry['summary']}{options}")
