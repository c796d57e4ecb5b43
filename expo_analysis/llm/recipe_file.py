"""The YAML file of a recipe: where it is, and what it says."""

from __future__ import annotations

import itertools
import re
from argparse import Action
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from .._errors import did_you_mean, given_once

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
    places = [place for place, word in enumerate(words) if word == "--config"]
    if places[-1] + 1 == len(words):
        raise ValueError("config must be followed by the path of a YAML file")
    wrong = given_once("--config", [words[place + 1] for place in places])
    if wrong is not None:
        raise ValueError(wrong)
    name = words[places[0] + 1]
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
    left_out = {place + after for place in places for after in (0, 1)}
    return path, [word for place, word in enumerate(words) if place not in left_out]


def check_repeated(words: list[str], actions: Iterable[Action]) -> None:
    """Raise for a setting that a command line gives two values, as by ``--seed 1 --seed 2``, or ``--x --no_x``.

    Args:
        actions: argparse's, which say what sets what.
    """
    setters = {option: action for action in actions for option in action.option_strings}
    given: dict[str, list[tuple[str, str]]] = {}
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in setters:
            rest = itertools.takewhile(lambda word: not word.startswith("--"), words[place + 1 :])
            value = value if equals else " ".join(rest)
            action = setters[option]
            given.setdefault(action.dest, []).append((option, value or str(action.const).lower()))
    for found in given.values():
        wrong = given_once(found[0][0], [value for _, value in found])
        if wrong is not None:
            raise ValueError(wrong)


def with_meant(message: str) -> str:
    """What argparse says of a word that is none of those accepted, with the one that may be meant.

    Example:
        >>> with_meant("argument --optim: invalid choice: 'sdg' (choose from 'sgd', 'lomo')")
        "argument --optim: invalid choice: 'sdg' (choose from 'sgd', 'lomo'); did you mean 'sgd'?"
    """
    found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message)
    return message if found is None else message + did_you_mean(found[1], re.findall(r"[^', ]+", found[2]))


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
