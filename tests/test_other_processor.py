"""Studies write the same bytes on other processors: with other last bits in every operation."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expo_analysis import _rounding
from expo_analysis.studies import STUDIES
from expo_analysis.studies.study import to_csv

from .other_processor import noise, perturbed, unrounded

TRAINED = {
    "section5": ("section5", "section5_steps"),
    "finite_data": ("finite_data_training", "finite_data_ends"),
    "constraints": ("constraints", "constraints_search"),
    "displacement": ("displacement",),
    "estimators": ("estimators_optima", "estimators_steps"),
    "fusion": ("fusion",),
}
"""Tables that training makes; all others are solved for."""


def written(tables: dict[str, pd.DataFrame]) -> dict[str, bytes]:
    return {name: to_csv(table) for name, table in tables.items()}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fusion", {"steps": 3000}),
        ("misspecified", {"data_sets": 10, "problems": 20}),
        *(pytest.param(name, {}, marks=pytest.mark.slow) for name in TRAINED),
    ],
)
def test_other_last_bits_change_no_byte(name: str, settings: dict[str, Any]) -> None:
    study = STUDIES[name]
    given = study.settings(**settings)
    ordinary = written(study.run(given))
    with perturbed(7):
        other = written(study.run(given))
    assert {name for name in ordinary if ordinary[name] != other[name]} == set()


def test_section_5_in_a_few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two losses, the paper's steps of Adam with and without clipping: same bytes."""
    numbers = STUDIES["section5"].part("numbers")
    monkeypatch.setattr(numbers, "LOSSES", {name: numbers.LOSSES[name] for name in ("ipo", "expo")})
    monkeypatch.setattr(numbers, "EPOCHS", {name: dict.fromkeys(numbers.LOSSES, 3) for name in numbers.LAMS})
    ordinary = STUDIES["section5"].run()
    with perturbed(3):
        other = STUDIES["section5"].run()
    assert written(ordinary) == written(other)
    with unrounded():
        every = STUDIES["section5"].run()
        with perturbed(3):
            off = STUDIES["section5"].run()
    assert written(every) != written(off), "the perturbation has reached what is written"
    assert max(noise(every[name], off[name]) for name in every) < numbers.NOISE


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_noise_is_below_its_bound(name: str) -> None:
    """What the digits rest on; a study that is noisier amplifies rounding."""
    study = STUDIES[name]
    bound = getattr(study.part("numbers"), "NOISE", _rounding.TRAINED)
    with unrounded():
        one = study.run()
        with perturbed(5):
            other = study.run()
    for table in TRAINED[name]:
        assert noise(one[table], other[table]) < bound, table


def test_digits_follow_from_noise_and_size() -> None:
    """u = MARGIN N d, and with it the chance that a table changes is at most 2/MARGIN."""
    done = doctest.testmod(_rounding)
    assert done.attempted >= 2 and not done.failed
    rng = np.random.default_rng(0)
    changed = 0
    for _ in range(200):
        x, off = rng.uniform(0.1, 1, 300), 1 + 1e-7 * rng.uniform(-1, 1, 300)
        digits = _rounding.surviving(1e-7, 300)
        assert digits == math.floor(-math.log10(_rounding.MARGIN * 300 * 1e-7)) == 3
        pairs = [
            (_rounding.significant(a, digits), _rounding.significant(b, digits))
            for a, b in zip(x, x * off, strict=True)
        ]
        changed += any(a != b for a, b in pairs)
    assert changed / 200 <= 2 / _rounding.MARGIN
    assert _rounding.surviving(1e-20, 10) > _rounding.DIGITS  # more than is ever written
    table = pd.DataFrame({"x": [0.123456789012]})
    small, large = (_rounding.all_rounded({"t": table}, trained=t)["t"]["x"].iloc[0] for t in ([], ["t"]))
    assert small == large == 0.12345679
    many = pd.DataFrame({"x": np.full(4000, 0.123456789012)})
    assert _rounding.all_rounded({"t": many}, trained=["t"])["t"]["x"].iloc[0] == 0.123457
