"""The second opinion on a report card: its formulas are the catalogue's, and it tells right numbers from wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import expo_analysis as ea

from .definitions import OF_MORE_THAN_PAIRS
from .recheck.__main__ import CHECKS, recheck
from .recheck.risks import CARD, Problem, gradient, lowest_along, risk

NOT_A_PAIR = {*OF_MORE_THAN_PAIRS, "aot", "qpo", "rlhf"}


def test_every_loss_of_pairs_has_a_formula() -> None:
    assert set(CARD) == set(ea.CATALOGUE) - NOT_A_PAIR


@pytest.mark.parametrize("name", sorted(CARD))
@pytest.mark.parametrize("lam", [0.3, 2.0])
def test_risks_are_those_of_the_catalogue_at_its_defaults(name: str, lam: float) -> None:
    """Three responses, uneven pairs; the gradient against differences, which know nothing of the slopes."""
    reference, optimal, policy = np.random.default_rng(7).dirichlet([2.0] * 3, 3)
    pairs = np.array([[0, 1, 3], [1, 0, 2], [3, 2, 0]]) / 12
    problem, bandit = Problem.between(reference, optimal, pairs), ea.Bandit(reference, optimal, pairs)
    logits = np.log(policy)
    expected = float(ea.risk(ea.objective(name, lam), bandit, logits - np.log(policy.sum())))
    assert float(risk(name, lam, problem, logits)) == pytest.approx(expected, rel=1e-11, abs=1e-12)
    with mp.workdps(40):
        steps = [
            float((risk(name, lam, problem, logits + x) - risk(name, lam, problem, logits - x)) / 2e-5)
            for x in 1e-5 * np.eye(3)
        ]
    np.testing.assert_allclose(gradient(name, lam, problem, logits), steps, rtol=1e-6, atol=1e-8)


def test_the_lowest_point_of_a_line() -> None:
    assert lowest_along(lambda w: abs(w - 3.21) + 0.1 * w) == pytest.approx(3.21, abs=1e-9)


def numbers_of(loss: Any, question: str) -> dict[str, Any]:
    verdict = ea.audit(loss, only=[question], effort=0.05).verdicts[question]
    assert verdict.decision == "fails" and verdict.counterexample is not None
    return dict(verdict.counterexample.numbers)


def less(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Numbers that claim four times as much of something."""
    return lambda numbers: numbers | {key: 4 * np.array(numbers[key])}


LONG = ("improvement", "monotone_path", "restricted_improvement", "uniqueness")
CLAIMS: list[tuple[Any, str, Callable[[dict[str, Any]], dict[str, Any]]]] = [
    (ea.DPO(1.0), "first_step", less("gradient")),
    (ea.DPO(1.0), "improvement", less("excess")),
    (ea.DPO(1.0), "monotone_path", less("excess")),
    (ea.DPO(1.0), "restricted_improvement", less("E[r*] lost (nats)")),
    (ea.IPO(1.0), "gradient_weight", less("weights")),
    (ea.IPO(1.0), "strong_interpolation", lambda x: x | {"policy": x["policy"][::-1]}),
    (ea.NCA(1.0), "local_minima", lambda x: x | {(k := next(k for k in x if "trap" in k)): x[k][::-1]}),
    (ea.DPO(1.0), "uniqueness", lambda x: x | {"policies": [x["policies"][0], [0.5, 0.3, 0.2]]}),
    (ea.DPO(1.0), "existence", lambda x: x | {"log-ratio added": x["log-ratio added"][::-1]}),
    (ea.EXPO(1.0), "label_noise", lambda x: x | {"flips": 0.0}),
]


@pytest.mark.parametrize(
    ("loss", "question", "spoiled"),
    [
        pytest.param(*claim, id=f"{claim[0].name}-{claim[1]}", marks=pytest.mark.slow if claim[1] in LONG else ())
        for claim in CLAIMS
    ],
)
def test_it_tells_right_numbers_from_wrong_ones(
    loss: Any, question: str, spoiled: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    if question == "label_noise":  # an example of two responses, which a grid covers at once
        numbers = {"reference": [0.2, 0.8], "optimal": [0.05, 0.95], "lam": 0.01, "flips": 0.4}
        distances = []
        for flips in (0.0, 0.4):
            p = 0.95 * (1 - flips) + 0.05 * flips
            best = ea.solve(ea.EXPO(0.01), ea.Bandit.from_counts([0.2, 0.8], [[0, 1 - p], [p, 0]])).policy
            distances.append(float((best * np.log(best / [0.05, 0.95])).sum()))
        start = float(([0.2, 0.8] * np.log(np.array([0.2, 0.8]) / [0.05, 0.95])).sum())
        numbers |= {"gain": start - distances[0], "harm": distances[1] - start}
    else:
        numbers = numbers_of(loss, question)
    assert recheck(loss.name, question, numbers) == ""
    assert recheck(loss.name, question, spoiled(numbers)) not in ("", "skipped")


def test_what_it_does_not_look_at_it_says() -> None:
    assert recheck("wrpo", "first_step", {}) == recheck("dpo", "consistency", {}) == "skipped"
    five = {"reference": [0.2] * 5, "optimal": [0.2] * 5, "lam": [1.0]}
    assert "preservation" in CHECKS and recheck("dpo", "preservation", five) == "skipped"
