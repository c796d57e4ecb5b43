"""The files that commands write are named at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import pandas as pd


def report_files(files: list[Path], tables: dict[str, pd.DataFrame], as_json: bool, **first: Any) -> None:
    """Print the files' names or, as JSON, ``first``, the files and the tables; what is not known is null."""
    if not as_json:
        for path in files:
            typer.echo(path)
        return
    records = {stem: json.loads(table.to_json(orient="records")) for stem, table in tables.items()}
    document = first | {"files": list(map(str, files)), "tables": records}
    typer.echo(json.dumps(document, allow_nan=False, ensure_ascii=False))
