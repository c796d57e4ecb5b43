"""The YAML file of a recipe: where it is, and what it says."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from .._errors import did_you_mean

logger = logging.getLogger(__name__)

RECIPES = Path(__file__).parent / "recipes"


def recipe_path(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """The file of ``--config FILE``, which may be the name of a recipe of this package, and all other arguments."""
    words = [
        part
        for word in arguments
        for part in (word.split("=", 1) if word.startswith("--config=") else [word])
    ]  # fmt: skip
    if "--config" not in words:
        return None, words
    place = words.index("--config")
    if place + 1 == len(words):
        raise ValueError("config must be followed by the path of a YAML file")
    name = words[place + 1]
    path = Path(name)
    shipped = RECIPES / f"{path.name.removesuffix('.yaml')}.yaml"
    # a folder of that name is what the recipe itself has left
    if not path.is_file() and path.parent == Path() and shipped.exists():
        path = shipped
    if not path.is_file():
        names = sorted(recipe.stem for recipe in RECIPES.glob("*.yaml"))
        raise ValueError(
            f"config must be a YAML file, or one of the recipes {names}; got {name!r}{did_you_mean(name, names)}"
        )
    return path, words[:place] + words[place + 2 :]


def tell_of_repeated(words: list[str]) -> None:
    """Say which options stand on the command line more than once: of these the last one counts."""
    given = ["--" + word.removeprefix("--").split("=")[0].replace("-", "_") for word in words if word.startswith("--")]
    for name in sorted({name for name in given if given.count(name) > 1}):
        logger.warning(f"the command line gives {name} {given.count(name)} times: the last one counts")


class _Loader(yaml.SafeLoader):
    """YAML in which a name that is given twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set[Any]()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is given a second time", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_recipe(path: Path) -> dict[str, Any]:
    """The settings of a YAML file.

    Raises:
        ValueError: naming the file and the line, and what is wrong.
    """
    try:
        found = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        raise ValueError(f"{path}{where}: it is no YAML that can be read: {error.problem}") from None
    except (ValueError, yaml.YAMLError) as error:  # bytes that are no text, a number of too many digits
        raise ValueError(f"{path}: it is no YAML that can be read: {error}") from None
    if not isinstance(found, dict):
        what = "nothing" if found is None else type(found).__name__
        raise ValueError(f"{path}: a recipe must be settings, NAME: VALUE, one on a line; got {what}")
    for name, value in found.items():
        if value is False and str(name).endswith("_strategy"):
            found[name] = "no"  # in YAML a bare no is false
    return found
