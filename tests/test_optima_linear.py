"""Hinge losses by linear programming: the minimum, whether it is unique, and which member is returned.

The oracle is enumeration. In units of 1/lam the program's vertices are whole numbers, because each is fixed by
differences of 1 along a tree; so some minimiser has whole scores less than n apart, the minimiser is unique if and only
if one whole vector is, and two responses are fixed to each other if and only if all whole minimisers agree on them.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import expo_analysis as ea
from expo_analysis.losses.psi import Linear
from expo_analysis.losses.statistics import hbar
from expo_analysis.losses.terms import Sum
from expo_analysis.optima.methods.linear_program import linear_optimum
from expo_analysis.testing import strategies as own

from . import oracles, problems, stress


def risks(bandit: ea.Bandit, scores: np.ndarray) -> np.ndarray:
    """The hinge risk of scores (..., n) in units of 1/lam, from its definition."""
    margins = scores[..., :, None] - scores[..., None, :]
    return (bandit.wins * np.maximum(0.0, 1.0 - margins)).sum(axis=(-1, -2))


def whole_minimisers(bandit: ea.Bandit) -> tuple[float, np.ndarray]:
    """The least risk, and all whole scores, 0 for the first response, within n of it that reach it."""
    span = range(-bandit.n, bandit.n + 1)
    grid = np.array(list(itertools.product([0], *[span] * (bandit.n - 1))), dtype=float)
    values = risks(bandit, grid)
    return values.min(), grid[values <= values.min() + 1e-12]


def scores_of(solution: ea.Solution) -> np.ndarray:
    return (solution.log_policy - np.log(solution.bandit.reference)) * solution.objective.lam


def connected(bandit: ea.Bandit) -> bool:
    reached = np.eye(bandit.n) + (bandit.pairs > 0)
    return bool((np.linalg.matrix_power(reached, bandit.n) > 0).all())


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        own.bandits(max_n=4, graphs=("uniform", "uneven", "sparse")), own.count_bandits(4, ("plenty", "separable"))
    ),
    st.floats(0.05, 5.0),
)
def test_against_enumeration(bandit: ea.Bandit, lam: float) -> None:
    if not connected(bandit):
        return
    solution = ea.solve(ea.Hinge(lam), bandit)
    least, whole = whole_minimisers(bandit)
    assert solution.value == pytest.approx(least, abs=1e-8)
    assert np.isfinite(solution.error_bound) == (solution.status == "optimal")
    if solution.status == "optimal":
        found = scores_of(solution) - scores_of(solution)[0]
        assert len(whole) == 1
        logits = np.log(bandit.reference) + whole[0] / lam
        policy = np.exp(logits - np.logaddexp.reduce(logits))
        assert np.abs(policy - solution.policy).sum() <= solution.error_bound + 1e-15
        np.testing.assert_allclose(found, whole[0], atol=1e-7)
    else:
        assert solution.status == "not_unique"
        assert len(whole) > 1
        centred = scores_of(solution) - scores_of(solution).mean()
        # the nearest of all: no nearer than any whole minimiser or a mixture of two
        mixtures = np.concatenate([(1 - t) * whole + t * whole[:1] for t in (0.0, 0.25, 0.5, 0.75)])
        assert (centred**2).sum() <= mixtures.var(axis=1).min() * bandit.n + 1e-6


def test_the_nearest_of_a_face_with_equal_multipliers() -> None:
    """37 comparisons of four: scipy's nnls stopped at (.11, .89, -.89, -.11), of which (1, 1, -1, -1)/2 is nearer."""
    bandit = ea.Bandit.from_counts([0.25] * 4, [[0, 3, 6, 3], [1, 0, 1, 6], [5, 2, 0, 1], [1, 1, 7, 0]])
    solution = ea.solve(ea.Hinge(1.0), bandit)
    assert solution.status == "not_unique"
    centred = scores_of(solution) - scores_of(solution).mean()
    np.testing.assert_allclose(centred, [0.5, 0.5, -0.5, -0.5], rtol=0, atol=1e-7)


@pytest.mark.parametrize("thread", [1e-3, 1e-6, 1e-9, 1e-12])
def test_a_thread_fixes_what_it_ties(thread: float) -> None:
    """Two groups of three that a pair of hardly any weight holds together: one whole vector is lowest, exactly."""
    named = {name: bandit for name, bandit, _ in stress.fixed()}
    bandit = named[f"a thread of {thread:g}"]
    solution = ea.solve(ea.Hinge(0.5), bandit)
    assert solution.status == "optimal"
    assert oracles.distance(solution.policy, stress.hinge(bandit, 0.5)) < 1e-12


COUNTS: dict[str, tuple[Any, str, list[float]]] = {
    "2 responses": ([[0, 2], [1, 0]], "optimal", [1.0, 0.0]),
    "a tie": ([[0, 1], [1, 0]], "not_unique", [0.0, 0.0]),
    "separable": ([[0, 1], [0, 0]], "not_unique", [1.0, 0.0]),
    "a chain": ([[0, 2, 0], [1, 0, 2], [0, 1, 0]], "optimal", [2.0, 1.0, 0.0]),
    "a cycle": ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], "not_unique", [0.0, 0.0, 0.0]),
}


@pytest.mark.parametrize(("counts", "status", "scores"), COUNTS.values(), ids=COUNTS)
def test_by_hand(counts: Any, status: str, scores: list[float]) -> None:
    reference = np.arange(1, len(counts) + 1) / np.arange(1, len(counts) + 1).sum()
    for lam in (0.5, 3.0):
        solution = ea.solve(ea.Hinge(lam), ea.Bandit.from_counts(reference, counts))
        assert solution.status == status
        found = scores_of(solution)
        np.testing.assert_allclose(found - found[-1], scores, atol=1e-9)


def test_messages_name_what_is_open() -> None:
    """0 and 1 are fixed to each other, and never lose to 2: how far above it they are is open, without bound."""
    counts = [[0, 3, 1], [1, 0, 1], [0, 0, 0]]
    solution = ea.solve(ea.Hinge(1.0), ea.Bandit.from_counts([0.5, 0.25, 0.25], counts))
    assert solution.status == "not_unique"
    assert "between responses [0, 1], [2] the log-ratios are open, some of them without bound" in solution.message
    scores = scores_of(solution)
    np.testing.assert_allclose(scores - scores[1], [1.0, 0.0, -1.0], atol=1e-7)
    tie = ea.solve(ea.Hinge(1.0), ea.Bandit([0.5, 0.5], [0.5, 0.5]))
    assert "between responses [0], [1] the log-ratios are open, within bounds" in tie.message


def test_components_and_ties_at_once() -> None:
    counts = np.zeros((4, 4))
    counts[0, 1], counts[1, 0], counts[2, 3], counts[3, 2] = 2, 1, 1, 1
    solution = ea.solve(ea.Hinge(1.0), ea.Bandit.from_counts([0.25] * 4, counts))
    assert solution.status == "not_unique"
    assert "components [0, 1], [2, 3]" in solution.message
    assert "between responses [2], [3]" in solution.message
    np.testing.assert_allclose(solution.policy[:2].sum(), 0.5, rtol=1e-12)


def test_a_path_has_the_same_scores_throughout() -> None:
    bandit = ea.Bandit([[0.4, 0.4, 0.2], [0.3, 0.3, 0.4]], [[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    lams = np.array([0.1, 1.0, 10.0])
    path = ea.solve_path(ea.Hinge(1.0), bandit, lams)
    scores = (path.log_policies - np.log(bandit.reference)) * lams[:, None, None]
    scores -= scores[..., :1]
    np.testing.assert_allclose(scores[:, 0], [[0.0, -1.0, -2.0]] * 3, atol=1e-7)
    np.testing.assert_allclose(scores[:, 1], [[0.0, 0.0, 1.0]] * 3, atol=1e-7)  # a tie that the third resolves
    assert (path.status == "optimal").all()


@settings(max_examples=25, deadline=None)
@given(
    own.bandits(max_n=4, graphs=("uniform", "uneven"), smallest=1e-2),
    st.sampled_from(["jensen_shannon", "forward_kl", "mixed_chi_square"]),
    st.floats(0.2, 2.0),
)
def test_scores_do_not_depend_on_the_link(bandit: ea.Bandit, divergence: str, lam: float) -> None:
    objective = ea.with_divergence(ea.Hinge(lam), divergence)
    plain, linked = ea.solve(ea.Hinge(lam), bandit), ea.solve(objective, bandit)
    assert linked.status == plain.status
    assert linked.value == pytest.approx(plain.value, abs=1e-8)


def test_other_methods_are_refused_or_honest() -> None:
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    for method in ("closed_form", "newton"):
        with pytest.raises(ValueError, match=f"method '{method}'"):
            ea.solve(ea.Hinge(1.0), bandit, method=method)
    assert ea.solve(ea.Hinge(1.0), bandit, method="multistart").status == "failed"  # no smooth minimum to stop at


def test_a_loss_without_a_minimum_is_not_solved() -> None:
    """psi = -m falls for ever."""

    class Falling(ea.Hinge):
        @property
        def terms(self) -> Sum:
            return Linear(-1)(self.lam * hbar)

    bandit = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    assert not linear_optimum(problems.problem(Falling(1.0), bandit)).solved.any()
    solution = ea.solve(Falling(1.0), bandit)
    assert (solution.status, solution.certificate) == ("no_minimiser", "theorem")


# ---------------------------------------------------------------------------------------------------- other links


@pytest.mark.parametrize("divergence", ["jensen_shannon", "forward_kl", "mixed_chi_square"])
@pytest.mark.parametrize(
    "base", [ea.IPO(0.5), ea.DPO(0.5, label_smoothing=0.1), ea.DPO(0.5, label_smoothing=0.1, robust=True)], ids=repr
)
def test_smooth_losses_with_another_divergence_are_solved_exactly(base: Any, divergence: str) -> None:
    """Stationary in the logits, with a proven bound; only the reverse KL gives the loss itself back."""
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    objective = ea.with_divergence(base, divergence)
    solution = ea.solve(objective, bandit)
    assert solution.status == "optimal"
    assert solution.error_bound < 1e-11
    theta = torch.tensor(solution.log_policy, requires_grad=True)
    (gradient,) = torch.autograd.grad(ea.risk(objective, bandit, torch.log_softmax(theta, -1)), theta)
    assert gradient.abs().max() < 1e-12
    assert np.abs(solution.policy - ea.solve(base, bandit).policy).sum() > 1e-3
    assert objective.with_lam(2.0) == ea.with_divergence(base.with_lam(2.0), divergence)
    assert ea.with_divergence(base, "reverse_kl") is base


def test_dpo_with_a_divergence_is_fdpo() -> None:
    assert ea.with_divergence(ea.DPO(0.3), "alpha", alpha=0.5) == ea.FDPO(0.3, divergence=ea.Alpha(0.5))


def test_bad_arguments_of_with_divergence() -> None:
    for objective in (ea.EXPO(1.0), ea.FDPO(1.0), ea.KTO(1.0), "dpo"):
        with pytest.raises(TypeError, match="objective must be a loss of the reference-relative log-ratio"):
            ea.with_divergence(objective, "forward_kl")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="divergence must be one of"):
        ea.with_divergence(ea.IPO(1.0), "js")
