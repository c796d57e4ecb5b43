"""The classes of losses and optima as values: what is made is not changed, and arrays are not compared with ==."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import expo_analysis as ea
from expo_analysis.losses.facts import Claims
from expo_analysis.losses.statistics import Atom

CHANGED_IN_PLACE = {"_Runs", "Flat", "Solver"}
"""The state of a method while it runs, and batches that are filled in."""
ARRAYS = ("Floats", "Indices", "Mask", "NDArray", "Any", "Term", "Problem", "Family")
BY_VALUE = (ea.Objective, Atom, Claims)
"""Caches know objectives by value, and sums of statistics know atoms."""


def classes(room: str) -> list[type[Any]]:
    """The dataclasses that a room defines."""
    found = []
    package = importlib.import_module(f"expo_analysis.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for cls in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(cls) and "__dataclass_params__" in vars(cls) and cls.__module__ == module.name:
                found.append(cls)
    return found


@pytest.mark.parametrize("room", ["losses", "optima"])
def test_values_do_not_change(room: str) -> None:
    assert {c.__name__ for c in classes(room) if not c.__dataclass_params__.frozen} <= CHANGED_IN_PLACE


@pytest.mark.parametrize("room", ["losses", "optima"])
def test_what_holds_arrays_is_compared_by_identity(room: str) -> None:
    """And what is derived from it; not what is known by value."""
    for cls in classes(room):
        values = issubclass(cls, BY_VALUE)
        arrays = any(kind in str(field.type) for field in dataclasses.fields(cls) for kind in ARRAYS)
        above = [parent for parent in cls.__mro__[1:] if "__dataclass_params__" in vars(parent)]
        by_identity = not values and (arrays or any(not parent.__dataclass_params__.eq for parent in above))
        if by_identity:
            assert cls.__eq__ is object.__eq__, cls
            assert cls.__hash__ is object.__hash__, cls
        elif values:
            assert "__eq__" in vars(cls), cls


@pytest.mark.parametrize("room", ["losses", "optima"])
def test_arguments_can_be_given_by_name(room: str) -> None:
    """None is told by its position alone."""
    package = importlib.import_module(f"expo_analysis.{room}")
    for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(each.name)
        own = [value for value in vars(module).values() if getattr(value, "__module__", None) == each.name]
        for value in (*own, *(method for cls in own if inspect.isclass(cls) for method in vars(cls).values())):
            code = getattr(inspect.unwrap(value) if callable(value) else value, "__code__", None)
            if code is not None and code.co_filename == module.__file__:
                assert code.co_posonlyargcount == 0, value
