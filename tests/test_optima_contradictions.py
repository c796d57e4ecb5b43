"""Claims that are false where they led: `solve` does not call optimal what rests on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import expo_analysis as ea
from expo_analysis.losses import Claims

BANDIT = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
Formula = Callable[..., torch.Tensor]


def dpo(lam: Any, w: Any, lost: Any, rw: Any, rl: Any) -> torch.Tensor:
    return -torch.nn.functional.logsigmoid(lam * (w - lost - rw + rl))


def claimed(formula: Formula, **claims: Any) -> ea.PairObjective:
    stated = {"convex": False, "closed_form": False, "needs_reference": True, "log_ratio_only": False} | claims

    @dataclass(frozen=True)
    class Mine(ea.PairObjective):
        name = "mine"
        claims = property(lambda self: Claims(**stated))  # type: ignore[assignment]

        def pair_loss(self, w: Any, lost: Any, rw: Any, rl: Any) -> Any:
            return formula(self.lam, w, lost, rw, rl)

    return Mine(1.0)


CONVEX = {"convex": True, "log_ratio_only": True, "self_concordance": 1.0}


def test_true_claims_lead_to_a_proof() -> None:
    found = ea.solve(claimed(dpo, **CONVEX), BANDIT)
    assert found.status == "optimal" and found.error_bound < 1e-12
    assert abs(found.policy - ea.solve(ea.DPO(1.0), BANDIT).policy).sum() < 1e-12


def with_mass(lam: Any, w: Any, lost: Any, rw: Any, rl: Any) -> torch.Tensor:
    return dpo(lam, w, lost, rw, rl) - 0.1 * w


def wells(lam: Any, w: Any, lost: Any, rw: Any, rl: Any) -> torch.Tensor:
    return ((w - lost) ** 2 - 4) ** 2 + 0.3 * (w - lost)


def test_a_loss_that_reads_the_mass_does_not_read_log_ratios_alone() -> None:
    found = ea.solve(claimed(with_mass, **CONVEX), BANDIT)
    assert found.status == "failed" and "log_ratio_only = True" in found.message
    both = ea.solve_path(claimed(with_mass, **CONVEX), BANDIT, [0.5, 1.0])
    assert list(both.status) == ["failed", "failed"]


def test_two_wells_are_not_convex() -> None:
    found = ea.solve(claimed(wells, **CONVEX), BANDIT)
    assert found.status == "failed" and "convex = True" in found.message and found.error_bound != found.error_bound


def coupled(lam: Any, w: Any, lost: Any, rw: Any, rl: Any) -> torch.Tensor:
    return dpo(lam, w, lost, rw, rl) + 0.5 * (w - lost - (w - lost).mean()) ** 2


def test_pairs_that_are_coupled_are_no_sum() -> None:
    found = ea.solve(claimed(coupled), BANDIT)
    assert found.status == "failed"


def test_a_false_claim_of_coupling_is_named() -> None:
    with pytest.raises(ValueError, match="must not have couples_pairs = True"):
        ea.solve(claimed(dpo, couples_pairs=True), BANDIT)
    with pytest.raises(ValueError, match="AOT couples the pairs"):
        ea.solve(ea.AOT(1.0), BANDIT)


def test_a_loss_that_reads_the_reference_and_says_that_it_does_not() -> None:
    with pytest.raises(TypeError, match=r"states needs_reference=False, but its pair_loss reads the reference \(uns"):
        ea.solve(claimed(dpo, needs_reference=False), BANDIT)
