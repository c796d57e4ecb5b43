"""Arrays have the axes that their types name, with one size for one name within an object."""

from __future__ import annotations

import dataclasses
import doctest
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import expo_analysis as ea
from expo_analysis import _types, paper
from expo_analysis._types import Floats, PairMatrices, Policies, axes
from expo_analysis.desiderata.subject import Subject
from expo_analysis.optima import restricted_optima
from expo_analysis.simulators import Adam, LogLinear, NGram, Pairs, Tabular, Training, asymptotics, draw_pairs, train
from expo_analysis.testing import strategies as own

Sizes = dict[str, tuple[int, ...]]


def bind(names: tuple[str, ...], shape: tuple[int, ...], sizes: Sizes) -> None:
    """Give each name its size, or hold the shape to the size that the name has."""
    star = [k for k, name in enumerate(names) if name.startswith("*")]
    assert len(star) <= 1
    many = len(shape) - (len(names) - 1) if star else 0
    assert (len(shape) == len(names)) if not star else many >= 0, f"{names} have shape {shape}"
    at = 0
    for name in names:
        width = many if name.startswith("*") else 1
        found, at = shape[at : at + width], at + width
        if name.startswith("#") and found == (1,):
            continue
        known = sizes.setdefault(name.lstrip("*#"), found)
        assert known == found, f"{name} is {known}, and {found} in {names} of shape {shape}"


def arrays(instance: Any) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """The fields that say what their axes are, and are arrays."""
    found = {}
    for name, hint in get_type_hints(type(instance), include_extras=True).items():
        given_ = [hint] if get_origin(hint) is Annotated else list(get_args(hint))
        named = [axes(one) for one in given_ if axes(one) is not None]
        value = getattr(instance, name, None)
        if named and isinstance(value, np.ndarray):
            found[name] = (named[0], value)
    return found


def check(instance: Any) -> Sizes:
    sizes: Sizes = {}
    found = arrays(instance)
    assert found, f"{type(instance).__name__} names no axes"
    for names, value in found.values():
        bind(names, value.shape, sizes)
    return sizes


@given(st.one_of(own.bandits(), own.count_bandits()))
def test_bandits(bandit: ea.Bandit) -> None:
    assert check(bandit) == {"prompts": (), "n": (bandit.n,)}
    assert {name: names for name, (names, _) in arrays(bandit).items()}["pairs"] == ("*prompts", "n", "n")
    rows = np.tile(bandit.reference, (4, 1))
    assert check(ea.Bandit(rows, rows)) == {"prompts": (4,), "n": (bandit.n,)}


POLICY = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
FEATURES = np.random.default_rng(0).normal(size=(2, 3, 4))


def pairs() -> Pairs:
    return draw_pairs(ea.Bandit(POLICY, POLICY[:, ::-1]), 20, 5)


def trained() -> Any:
    return train([ea.DPO(0.1), ea.EXPO(0.1)], Tabular(POLICY), pairs(), Training(Adam(), epochs=3, records=3))


def repeated() -> ea.Bandit:
    return ea.Bandit(np.tile(POLICY, (6, 1)), np.tile(POLICY, (6, 1)))


MADE: dict[str, tuple[Callable[[], Any], Sizes]] = {
    "pairs": (pairs, {"prompts": (2,), "n": (3,), "data_sets": (5,), "pairs": (20,)}),
    "one data set": (
        lambda: Pairs([0.5, 0.5], [0, 1], [1, 0]),
        {"prompts": (1,), "n": (2,), "data_sets": (1,), "pairs": (2,)},
    ),
    "tabular": (lambda: Tabular(POLICY), {"prompts": (2,), "n": (3,)}),
    "log-linear": (lambda: LogLinear(POLICY, FEATURES), {"prompts": (2,), "n": (3,), "d": (4,)}),
    "n-gram": (lambda: NGram(3, 1, 2, initial_policy=POLICY), {"prompts": (2,), "n": (3,)}),
    "trajectory": (
        trained,
        {"prompts": (2,), "n": (3,), "objectives": (2,), "data_sets": (5,), "records": (3,), "size": (6,)},
    ),
    "restricted optima": (
        lambda: restricted_optima(ea.EXPO(1.0), repeated(), np.tile(FEATURES, (6, 1, 1, 1))),
        {"batch": (6,), "prompts": (2,), "n": (3,), "d": (4,)},
    ),
    "asymptotics": (lambda: asymptotics(ea.EXPO(1.0), ea.Bandit(POLICY[0], POLICY[1])), {"n": (3,)}),
    "optima of an audit": (
        lambda: Subject(ea.EXPO(1.0)).optima(ea.Bandit(POLICY, POLICY), [0.1, 1.0, 2.0, 3.0]),
        {"lams": (4,), "problems": (2,), "n": (3,)},
    ),
    "interpolation": (paper.interpolation, {"prompts": (), "n": (3,), "pairs": (213,)}),
    "preservation": (paper.preservation, {"prompts": (2,), "n": (3,), "pairs": (277,)}),
}


@pytest.mark.parametrize(("make", "sizes"), MADE.values(), ids=MADE)
def test_sizes(make: Callable[[], Any], sizes: Sizes) -> None:
    assert check(make()) == sizes


@pytest.mark.parametrize(
    "other",
    [
        {"log_policies": lambda x: np.moveaxis(x, 0, 1)},
        {"values": lambda x: x[..., :-1]},
        {"reference": lambda x: x.T},
        {"won": lambda x: x[:2]},
        {"lost": lambda x: x[..., :-1]},
        {"steps": lambda x: x[None]},
    ],
    ids=lambda other: next(iter(other)),
)
def test_an_array_with_other_axes_is_noticed(other: dict[str, Callable[[Any], Any]]) -> None:
    """Otherwise the checks above would say nothing."""
    given_ = trained()
    wrong = dataclasses.replace(given_, **{name: change(getattr(given_, name)) for name, change in other.items()})
    with pytest.raises(AssertionError):
        check(wrong)


def test_axes_of_types() -> None:
    assert axes(Policies) == ("*prompts", "n") and axes(PairMatrices) == ("*prompts", "n", "n")
    assert axes(Floats) is None and axes(int) is None
    found = doctest.testmod(_types)
    assert found.attempted == 1 and not found.failed
