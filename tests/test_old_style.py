"""Losses as they were written before there were terms: a bare `pair_loss`, and what their authors claim of them.

They do no worse than the catalogue's of the same formula. Of a subclass that writes its parent's formula anew the bits
are the same, as its numbers are. Of a formula of its own solvers know no more than the claims, and its derivatives are
torch's, whose rounding is measured: the bound is proven too, and larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.numerics import log_sigmoid, namespace

from . import problems


@dataclass(frozen=True)
class MyCPO(ea.PairObjective):
    """CPO's formula and CPO's true claims."""

    name = "mycpo"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        return -log_sigmoid(self.lam * (logp_w - logp_l)) - logp_w

    @property
    def claims(self) -> ea.Claims:
        return ea.Claims(True, False, False, False, np.maximum(1.0, self.lam))


@dataclass(frozen=True)
class MySLiC(ea.SLiC):
    """SLiC, its formula restated by what it had."""

    name = "myslic"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        return super().pair_loss(logp_w, logp_l, ref_logp_w, ref_logp_l)


@dataclass(frozen=True)
class WrittenSLiC(ea.SLiC):
    """SLiC, its formula restated from scratch."""

    name = "writtenslic"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        short = self.margin - (logp_w - logp_l)
        return namespace(logp_w).where(short > 0, short, 0.0 * short)


def drawn(count: int = 36) -> list[tuple[ea.Bandit, float]]:
    """Populations and counts on all kinds of graphs, lambdas over four decades."""
    rng = np.random.default_rng(13)
    found = []
    for k in range(count):
        n, lam = int(rng.integers(2, 7)), float(10 ** rng.uniform(-2, 2))
        reference = problems.policy(rng, n, 1e-3)
        if k % 3 == 2:
            bandit = ea.Bandit.from_counts(reference, problems.counts(rng, n, 30))
        else:
            pairs = problems.pairs(rng, n, problems.GRAPHS[k % 4])
            bandit = ea.Bandit(reference, problems.policy(rng, n, 1e-3), pairs)
        found.append((bandit, lam))
    return found


@pytest.mark.parametrize("written", [MySLiC, WrittenSLiC])
def test_a_formula_restated_has_the_bits_of_its_parent(written: Any) -> None:
    for bandit, lam in drawn():
        mine, theirs = ea.solve(written(lam), bandit), ea.solve(ea.SLiC(lam), bandit)
        assert theirs.status == "optimal" and np.isfinite(theirs.error_bound)
        for field in ("status", "certificate", "message", "error_bound", "value", "iterations"):
            assert getattr(mine, field) == getattr(theirs, field), field
        np.testing.assert_array_equal(mine.log_policy, theirs.log_policy)


def test_a_formula_with_claims_is_proven_too() -> None:
    """Status and certificate are the same, and no bound is violated or says nothing.

    What is measured at each end of a pair is a larger error than what is known of a log-ratio, a few hundred times
    where one response hangs by a thread; it would be thousands if every end's error had to pass the thread.
    """
    larger = []
    for bandit, lam in drawn():
        mine, theirs = ea.solve(MyCPO(lam), bandit), ea.solve(ea.CPO(lam), bandit)
        assert (mine.status, mine.certificate) == (theirs.status, theirs.certificate)
        if theirs.status != "optimal":
            continue
        assert mine.iterations == theirs.iterations  # the same method from the same start
        assert np.abs(mine.policy - theirs.policy).sum() <= theirs.error_bound + 1e-15
        assert theirs.error_bound <= mine.error_bound < 1e-10
        larger.append(mine.error_bound / theirs.error_bound)
    assert len(larger) >= 30
    assert max(larger) < 1e3
