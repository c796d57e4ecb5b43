"""``expo-analysis recipes``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .._errors import did_you_mean
from .errors import bad_input

FOLDER = Path(__file__).parents[1] / "llm" / "recipes"


def files() -> dict[str, Path]:
    """The files that this package ships, by name: recipes, then what accelerate launch reads."""
    return {path.stem: path for folder in (FOLDER, FOLDER / "accelerate") for path in sorted(folder.glob("*.yaml"))}


def recipes(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Whose path to print; none lists them.")] = None,
) -> None:
    """List the recipes of finetune and the accelerate files that come with this package, or print the path of one.

    \b
    Examples:
      expo-analysis recipes
      expo-analysis recipes smollm2_sentiment
      accelerate launch --config_file $(expo-analysis recipes fsdp2) -m expo_analysis.llm.finetune \\
        --config ultrafeedback_llama3_8b
    """
    if name is None:
        for key, path in files().items():
            first = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
            typer.echo(f"{key:24}  {first}")
        return
    with bad_input():
        if name not in files():
            raise ValueError(f"name must be one of {list(files())}, got {name!r}{did_you_mean(name, files())}")
    typer.echo(files()[name])
