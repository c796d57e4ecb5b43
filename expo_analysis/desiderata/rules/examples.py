"""Counterexamples that theorems build themselves: policies whose values are equal, or fall, by construction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._types import Floats
from ...bandit import Bandit
from ..subject import Subject
from ..verdict import Counterexample

ONE_PAIR = [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
TIED = ([0.25, 0.25, 0.5], [0.25, 0.25, 0.5])
"""Reference and pi* of three responses, of which the first two are compared and win equally often."""


def risks(subject: Subject, bandit: Bandit, lam: float, policies: Any) -> Any:
    """The risk at policies (count, n)."""
    with np.errstate(all="ignore"):
        return subject.value(bandit, lam, np.log(np.asarray(policies)))


def bandit_lines(bandit: Bandit, lam: float, policies: Any) -> list[str]:
    """Python that makes a population, lambda and policies."""
    assert bandit.optimal is not None
    pairs = [[1.0 if x > 0 else 0.0 for x in row] for row in bandit.pairs.tolist()]
    return [
        f"bandit = ea.Bandit({bandit.reference.tolist()}, {bandit.optimal.tolist()}, {pairs})",
        f"lam, policies = {lam!r}, torch.tensor({np.asarray(policies).tolist()}, dtype=torch.float64)",
    ]


def program(subject: Subject, lines: Sequence[str]) -> str:
    """Python with the imports that it needs."""
    return "\n".join([f"import torch\n{subject.imports}", "", *lines])


def equal(
    subject: Subject, bandit: Bandit, lam: float, policies: Any, others: Any, statement: str, slack: float = 1e-12
) -> Counterexample | None:
    """Policies with one value, and others whose value is not below it; None where numbers say otherwise."""
    values, elsewhere = (risks(subject, bandit, lam, x) for x in (policies, others))
    size = 1 + abs(float(values[0]))
    if not (np.ptp(values) <= slack * size and (elsewhere >= values[0] - slack * size).all()):
        return None
    code = program(
        subject,
        [
            *bandit_lines(bandit, lam, policies),
            f"others = torch.tensor({np.asarray(others).tolist()}, dtype=torch.float64)",
            f"values, elsewhere = (ea.risk({subject.expression}, bandit, x.log()) for x in (policies, others))",
            "print(values.tolist(), 'elsewhere at least', float(elsewhere.min()))",
            f"assert abs(values - values[0]).max() < {10 * slack:g} * (1 + abs(values[0]))",
            f"assert elsewhere.min() > values[0] - {10 * slack:g} * (1 + abs(values[0]))",
        ],
    )
    return _of_policies(statement, bandit, lam, policies, values, code)


def _of_policies(
    statement: str, bandit: Bandit, lam: float, policies: Any, values: Floats, code: str
) -> Counterexample:
    """What is stated of the risks, ``values``, of some policies."""
    assert bandit.optimal is not None
    numbers = {
        "reference": bandit.reference.tolist(),
        "optimal": bandit.optimal.tolist(),
        "pairs": bandit.pairs.tolist(),
        "lam": lam,
        "policies": np.asarray(policies).tolist(),
        "values": values.tolist(),
    }
    return Counterexample(f"{statement} (λ = {lam:g})", numbers, code)


def falling(subject: Subject, bandit: Bandit, lam: float, policies: Any, statement: str) -> Counterexample | None:
    """Policies along which the risk strictly falls; None where numbers do not show it."""
    values = risks(subject, bandit, lam, policies)
    if not (np.isfinite(values).all() and (np.diff(values) < 0).all()):
        return None
    code = program(
        subject,
        [
            *bandit_lines(bandit, lam, policies),
            f"values = ea.risk({subject.expression}, bandit, policies.log()).tolist()",
            "print(values)",
            "assert all(later < earlier for earlier, later in zip(values, values[1:]))",
        ],
    )
    return _of_policies(statement, bandit, lam, policies, values, code)


def tied(subject: Subject, statement: str, only_equal: bool = False) -> Counterexample | None:
    """Two policies that differ in the mass of a response in no pair, where the two that are compared win equally often.

    A pair loss that reads s(pi_w) - s(pi_l) only, with a convex psi, is least where both are equal.
    """
    bandit = Bandit(*TIED, ONE_PAIR)
    ratios = np.array([0.01, 0.2, 0.5, 2.0, 5.0, 100.0])
    others = np.stack([ratios / (1 + ratios) / 2, 1 / (1 + ratios) / 2, 0.5 + 0 * ratios], axis=1)
    return equal(subject, bandit, 1.0, [TIED[0], [0.4, 0.4, 0.2]], [TIED[0]] if only_equal else others, statement)
