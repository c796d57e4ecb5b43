"""No bound is violated: random problems of every convex loss, and nasty ones, against as many digits as they take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from expo_analysis.optima.certificate import Errors

from . import stress

SLOW = ("f-dpo", "rlhf, alpha", "chi-po")
"""Losses whose exact policies take their time."""


@pytest.mark.parametrize("name", stress.LOSSES)
def test_random_problems(name: str) -> None:
    tally = stress.random_problems(name, 15 if name.startswith(SLOW) else 24, wild=False)
    assert not tally.violated and not tally.undecided
    assert tally.proven + tally.without == tally.count - len(tally.unlike)
    few = tally.without <= 4 and name in (*stress.PARTLY, "hinge")
    assert tally.without == 0 or name in stress.WITHOUT_BOUND or few
    assert not tally.unlike or name == "robust dpo"
    assert tally.proven + tally.without >= 15
    assert tally.worst < (1e-9 if name == "slic" else 1e-13) and tally.farthest < 1e-9


@pytest.mark.parametrize("name", ["expo", "expo and likelihood", "regression", "conservative dpo", "ipo", "cpo", "rpo"])
def test_each_of_the_two_bounds_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By norms and by currents: `solve` takes the smaller one, so that one could hide what is wrong with the other."""

    def nothing(self: Errors, change: Any) -> Any:
        return np.full(self.gradient.shape[1], np.inf)

    together = stress.random_problems(name, 20)
    for left_out in ("reach", "potential"):
        with monkeypatch.context() as patch:
            patch.setattr(Errors, left_out, nothing)
            alone = stress.random_problems(name, 20)
        assert not alone.violated, left_out
        assert 15 <= alone.proven <= together.proven and alone.largest > together.largest * (1 - 1e-9), left_out


@pytest.mark.slow
@pytest.mark.parametrize("name", stress.LOSSES)
def test_a_thousand_random_problems(name: str) -> None:
    """Populations of down to 1e-9, pairs over ten decades, counts of up to 1e6, lambdas over sixteen decades."""
    tally = stress.random_problems(name, 1000)
    assert not tally.violated and not tally.undecided
    assert not tally.unlike or name == "robust dpo"
    # the hinge's scores are multiples of 1/lam, up to 1e8, and known to an ulp
    assert tally.worst < 1e-9 and tally.farthest < (1e-8 if name == "hinge" else 1e-9)
    assert name != "hinge" or tally.without < 10


@pytest.mark.slow
@pytest.mark.parametrize("name", stress.LOSSES)
def test_fixed_problems(name: str) -> None:
    """Responses of 1e-100, ties, threads, chains, stars, counts of 1e9, at lambdas from 1e-10 to 1e10."""
    tally = stress.fixed_problems(name)
    assert not tally.violated
