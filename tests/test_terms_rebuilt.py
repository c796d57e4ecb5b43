"""Every loss of the catalogue that is made of terms, written once more by somebody who has the public terms alone.

Solvers, proofs and words follow from what a loss is made of and from nothing else: same terms, same bits.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.data import LOG_PROBABILITIES, RESPONSE_DATA

from . import problems
from .rebuilt_losses import MINE, THE_CATALOGUES

LAMS = np.array([0.03, 1.0, 30.0])


def bandits() -> dict[str, ea.Bandit]:
    """Populations of two, three and five responses and of two prompts; counts, separable ones and islands too.

    Counts and prompts state rewards, which elsewhere are log pi*, and prompts lengths too.
    """
    rng = np.random.default_rng(0)
    separable = [[0, 3, 1, 0], [1, 0, 2, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    islands = [[0, 3, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 2, 1], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]]

    def counted(n: int, counts: Any) -> ea.Bandit:
        return ea.Bandit.from_counts(problems.policy(rng, n, 0.05), counts, rewards=rng.normal(size=n))

    two = [problems.policy(rng, 3, 0.05) for _ in range(4)]
    return {
        "two": problems.bandit(rng, 2, "uniform", 0.05),
        "five": problems.bandit(rng, 5, "sparse", 0.05),
        "prompts": ea.Bandit(np.stack(two[:2]), np.stack(two[2:]), rewards=rng.normal(size=(2, 3)), lengths=[1, 4, 9]),
        "counts": counted(4, problems.strongly_connected_counts(rng, 4, 20)),
        "separable": counted(4, separable),
        "islands": counted(5, islands),
    }


BANDITS = bandits()
SOLVED_ALIKE = ("five", "counts")
"""Solved by what solves "two" and "prompts", of other sizes: among the slow tests."""


@pytest.mark.parametrize(
    "bandit",
    [pytest.param(b, id=k, marks=[pytest.mark.slow] if k in SOLVED_ALIKE else []) for k, b in BANDITS.items()],
)
@pytest.mark.parametrize("name", MINE)
def test_same_terms_same_bits(name: str, bandit: ea.Bandit) -> None:
    """Policies, values, bounds, statuses, certificates, messages and steps."""
    mine, theirs = (ea.solve_path(make(1.0), bandit, LAMS) for make in (MINE[name], THE_CATALOGUES[name]))
    for field in ("policies", "log_policies", "value", "error_bound", "iterations"):
        np.testing.assert_array_equal(getattr(mine, field), getattr(theirs, field), err_msg=field)
    for field in ("status", "certificate", "message"):
        assert np.array_equal(getattr(mine, field), getattr(theirs, field)), field


@pytest.mark.parametrize("name", MINE)
def test_same_terms_same_facts(name: str) -> None:
    mine, theirs = MINE[name](0.7), THE_CATALOGUES[name](0.7)
    assert mine.claims == theirs.claims
    assert mine.facts.link == theirs.facts.link
    logs = np.log(np.random.default_rng(0).dirichlet(np.ones(6), 4))
    assert mine.data == theirs.data
    data = {name: np.random.default_rng(1).integers(1, 9, 6).astype(float) for name in mine.data}
    np.testing.assert_array_equal(mine.loss(*logs, **data), theirs.loss(*logs, **data))


def restated(objective: ea.PairObjective, more: Any = 0.0, name: str = "logp_w") -> ea.PairObjective:
    """Of a class below the objective's, which writes down the parent's formula once more; ``more``: added to it, or a
    function of the argument ``name``."""
    kind, arguments = type(objective), (*LOG_PROBABILITIES, *objective.data)

    def pair_loss(self: Any, *given: Any) -> Any:
        own = given[arguments.index(name)]
        return kind.pair_loss(self, *given) + (more(own) if callable(more) else more)

    parameters = [inspect.Parameter(k, inspect.Parameter.POSITIONAL_OR_KEYWORD) for k in ("self", *arguments)]
    pair_loss.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return type("Restated", (kind,), {"pair_loss": pair_loss})(**dataclasses.asdict(objective))


@pytest.mark.parametrize("name", [n for n in MINE if set(THE_CATALOGUES[n](0.7).data) <= set(RESPONSE_DATA)])
def test_a_parents_terms_count_where_the_formula_is_the_same(name: str) -> None:
    """Whatever it reads; and no longer if it is another one, be it for usual pairs or lengths alone."""
    made = THE_CATALOGUES[name](0.7)
    assert restated(made).is_made_of_terms and not restated(made, 1e-9).is_made_of_terms
    assert not restated(made, lambda x: 1e-6 * ((x < -0.1) & (x > -0.5))).is_made_of_terms
    for of_response in made.data:
        assert not restated(made, lambda x: 1e-6 * ((x > 1.1) & (x < 2.0)), of_response).is_made_of_terms


@pytest.mark.parametrize("name", MINE)
def test_a_loss_is_ten_lines(name: str) -> None:
    assert len(inspect.getsource(MINE[name]).strip().splitlines()) <= 10


def test_nothing_of_the_catalogue_is_left_out() -> None:
    """But what has no terms: a reward, a loss of batches, the family with any psi and mu; and what derives data."""
    written = {type(make(1.0)) for make in THE_CATALOGUES.values()} | {ea.ExplicitPO}
    assert set(ea.CATALOGUE.values()) - written == {ea.RLHF, ea.AOT, ea.QPO, ea.AStarPO, ea.QRPO}
    assert all(cls(1.0).is_made_of_terms for cls in written)
