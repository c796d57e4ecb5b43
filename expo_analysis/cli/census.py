"""``expo-analysis census``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from .. import __version__
from .._files import from_home, writable
from .errors import bad_input

if TYPE_CHECKING:
    from ..adapters import Package


def census(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="PACKAGE", help="Distributions, such as trl; all where none is named.")
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Put each package into an environment of its own first, by pip.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIRECTORY", help="Write census.json, census.md and a script for each difference there."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIRECTORY", help="Make the environments there, and keep the base of them.")
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Add the rows that a census.json has of other packages; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Compare the losses of packages that people install with ours: the same, the same up to something, or different.

    \b
    Examples:
      expo-analysis census
      expo-analysis census trl torchtune --json
      expo-analysis census --install --output docs
      expo-analysis census trl --install --output docs --add docs/census.json

    \b
    Without --install only what is installed here is compared. With it every package is installed, one
    after the other, into a throw-away environment that stands on one with what expo-analysis needs:
    pip must reach a registry. It takes some minutes, and a gigabyte while it runs.

    \b
    --json prints {"settings": {...}, "packages": [...], "failed": {PACKAGE: why}, "rows": [{"package": ...,
    "version": ..., "name": ..., "title": ..., "where": ..., "ours": ..., "relation": "equal" | "equal up to" |
    "single precision" | "differs" | "cannot be run", "loss": ..., "how": ..., "error": ..., "slope_error": ...,
    "explained": ..., "note": ..., "pairs": [...], "script": ..., "card": {...}}]}. docs/census.md explains them.
    """
    with bad_input():
        wanted = _wanted(names or [])
        if keep is not None and not install:
            raise ValueError("--keep is not used without --install")
        if output is not None:
            output = writable(from_home(str(output)))
        earlier = [_earlier(path) for path in add or []]
    from ..census.document import added, document, here, installed, with_cards, write

    errors = Console(stderr=True)

    def progress(text: str) -> None:
        errors.print(Text(text), soft_wrap=True)

    if install:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) if keep is None else writable(from_home(str(keep)))
            rows, failed = installed(wanted, place, progress)
    else:
        rows, failed = here(wanted, progress)
    found = added(document(rows, wanted, failed, __version__), earlier)
    if output is not None:
        found = with_cards(found, progress)
        for path in write(found, output):
            progress(f"wrote {path}")
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, allow_nan=False))
    else:
        _show(found, errors)


def _wanted(names: list[str]) -> list[Package]:
    """The packages that are named; all where none is."""
    from ..adapters import packages

    known = packages()
    for name in names:
        if name not in known:
            raise ValueError(f"PACKAGE must be one of {', '.join(known)}; got {name!r}")
    return [package for name, package in known.items() if not names or name in names]


def _earlier(path: Path) -> dict[str, Any]:
    """An earlier document."""
    try:
        found: dict[str, Any] = json.loads(from_home(str(path)).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: it is not JSON: {error}") from None
    if not isinstance(found, dict) or not {"rows", "packages", "failed"} <= set(found):
        raise ValueError(f"{path}: it must be what expo-analysis census --json prints")
    return found


def _show(found: dict[str, Any], errors: Console) -> None:
    """One line a loss on standard output; what is not installed on standard error."""
    for row in found["rows"]:
        told = row["why"] if row["relation"] == "cannot be run" else f"{row['loss']}, error {row['error']:.0e}"
        how = f" ({row['how']})" if row.get("how") else ""
        typer.echo(f"{row['package']} {row['version']}: {row['title']}: {row['relation']} {told}{how}")
    for name, why in found["failed"].items():
        errors.print(Text(f"{name} is left out: {why}"), soft_wrap=True)
