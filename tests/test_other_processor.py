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

from .other_processor import also_unrounded, noise, perturbed, unrounded

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
        ("fusion", {"steps": 1500}),
        ("misspecified", {"data_sets": 10, "problems": 20}),
        *(pytest.param(name, {}, marks=pytest.mark.slow) for name in (*TRAINED, "implicit_reward")),
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
    with also_unrounded() as every:
        ordinary = STUDIES["section5"].run()
    with perturbed(3), also_unrounded() as off:
        other = STUDIES["section5"].run()
    assert written(ordinary) == written(other)
    pairs = list(zip(every, off, strict=True))
    assert len(pairs) == len(ordinary)
    assert any(to_csv(one) != to_csv(another) for one, another in pairs), "it has reached what is written"
    assert max(noise(one, another) for one, another in pairs) < numbers.NOISE


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_noise_is_below_its_bound(name: str) -> None:
    """What the digits rest on; a study that is noisier amplifies rounding."""
    study = STUDIES[name]
    bound = getattr(study.part("numbers"), "NOISE", _rounding.TRAINED)
    with unrounded():
        one = study.run()
        for seed in (5, 6, 7):
            with perturbed(seed):
                other = study.run()
            for table in TRAINED[name]:
                assert noise(one[table], other[table]) < bound, table


@pytest.mark.parametrize("estimator", ["exact", "token_kl"])
def test_what_no_pair_shows_stays_where_it_is(estimator: str) -> None:
    """A prefix in no pair is at its optimum from the start: with an eps of 1e-6 Adam threw it off, to the third digit.

    The other processor makes the world, too.
    """
    numbers = STUDIES["estimators"].part("numbers")

    def trained() -> pd.DataFrame:
        _, bandit = numbers.world()
        pairs = numbers.draw_pairs(bandit, numbers.PAIRS, 8, seed=5, design="reference")
        model = numbers.table(np.asarray(bandit.reference))
        found: pd.DataFrame = numbers.training(
            estimator, model, numbers.OPTIMISERS["table"], pairs, numbers.optimum("exact", pairs), epochs=60
        )
        return found

    ordinary = trained()
    for seed in (1, 2):
        with perturbed(seed):
            assert noise(ordinary, trained()) < _rounding.TRAINED


@pytest.mark.parametrize("reward", ["linear", "quadratic"])
def test_searches_among_many_minima_end_in_the_same_one(reward: str) -> None:
    """DiscoPOP's, a thousand times further off than any processor is; and lambda, which only scales w, has no say.

    From pi_ref one of its worlds ended, by its last bits, in another minimum.
    """
    numbers = STUDIES["implicit_reward"].part("numbers")
    drawn = numbers.worlds(numbers.Settings().worlds, reward)["training"]
    count = round(numbers.SHARES["discopop"] * numbers.Settings().worlds)
    training, data = drawn.first(count), numbers.draw_counts(drawn.first(count), numbers.PAIRS)
    explicit = numbers.fitted_reward(training, data)

    def weights(lam: float) -> Any:
        return lam * numbers.fitted(numbers.made("discopop", lam), training, data, explicit).weights

    ordinary = weights(numbers.LAMS[0])
    for seed in (0, 1):
        with perturbed(seed, ulps=1000):
            np.testing.assert_allclose(weights(numbers.LAMS[0]), ordinary, rtol=0, atol=1e-9 * np.abs(ordinary).max())
    np.testing.assert_allclose(weights(numbers.LAMS[1]), ordinary, rtol=0, atol=1e-9 * np.abs(ordinary).max())


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
