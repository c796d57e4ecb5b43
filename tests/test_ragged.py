"""Prompts with different responses, solved together: each part as it is alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.optima import ragged as room


def parts_of(rng: np.random.Generator) -> list[ea.Bandit]:
    """Counts and populations, of one prompt and of three, of two to four responses with names of their own."""
    made = []
    for k in range(24):
        n = 2 + k % 3
        names = [f"{k}: {i}" for i in range(n)]
        if k % 2:
            shape: tuple[int, ...] = (3, n) if k % 4 == 3 else (n,)
            own = [rng.dirichlet(np.ones(n), shape[:-1]) for _ in range(2)]
            pairs = rng.random((n, n)) * (1 - np.eye(n))
            made.append(ea.Bandit(*own, pairs + pairs.T, responses=names))
        else:
            counts = rng.integers(0, 3, (n, n)) * (1 - np.eye(n)) + np.eye(n, k=1)
            made.append(ea.Bandit.from_counts(rng.dirichlet(np.ones(n)), counts, responses=names))
    return made


@pytest.mark.parametrize("objective", [ea.EXPO(0.1), ea.DPO(0.3), ea.IPO(0.5)], ids=lambda o: o.name)
def test_each_part_is_solved_as_it_is_alone(objective: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ragged = ea.RaggedBandit(parts_of(np.random.default_rng(0)))
    batches: list[int] = []
    solve = room.solve
    monkeypatch.setattr(room, "solve", lambda loss, bandit, method: (batches.append(1), solve(loss, bandit, method))[1])
    together = ea.solve_ragged(objective, ragged)
    assert len(batches) == 6  # two kinds of three sizes
    assert len(together) == len(ragged)
    for part, own in zip(ragged, together, strict=True):
        alone = ea.solve(objective, part)
        assert own.bandit is part and own.policy.shape == part.reference.shape
        assert np.array_equal(own.status, alone.status) and np.array_equal(own.certificate, alone.certificate)
        proven = np.isfinite(alone.error_bound)
        assert np.array_equal(np.isfinite(own.error_bound), proven)
        apart = np.abs(own.policy - alone.policy).sum(axis=-1)
        assert (apart[proven] <= (own.error_bound + alone.error_bound)[proven]).all()
        assert np.allclose(own.value, alone.value, rtol=1e-12, equal_nan=True)
        assert own.to_dict().keys() == alone.to_dict().keys()


def test_what_is_more_than_pairs_is_solved_alone() -> None:
    scored = ea.Bandit([0.5, 0.5], [0.6, 0.4], rewards=[1.0, 0.0])
    stated = ea.Bandit.from_preferences([0.5, 0.5], [[0.5, 0.8], [0.2, 0.5]])
    found = ea.solve_ragged(ea.EXPO(0.1), ea.RaggedBandit([scored, stated, ea.Bandit([0.5, 0.5], [0.6, 0.4])]))
    assert np.allclose(found[0].policy, found[2].policy, rtol=1e-12)
    assert found[1].policy[0] > found[0].policy[0]
    assert found[0].bandit is scored
    rewarded = ea.solve_ragged(ea.RewardAwarePO(1.0), ea.RaggedBandit([scored]))
    assert np.array_equal(rewarded[0].policy, ea.solve(ea.RewardAwarePO(1.0), scored).policy)


def test_what_is_no_ragged_bandit_is_refused() -> None:
    part = ea.Bandit([0.5, 0.5], [0.6, 0.4])
    with pytest.raises(TypeError, match="ragged must be a RaggedBandit, got Bandit"):
        ea.solve_ragged(ea.EXPO(0.1), part)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="solve_ragged"):
        ea.solve(ea.EXPO(0.1), ea.RaggedBandit([part]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method must be one of"):
        ea.solve_ragged(ea.EXPO(0.1), ea.RaggedBandit([part]), method="guess")
