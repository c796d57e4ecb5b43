"""A case: one problem and the lambdas that a claim speaks of. A measure: by how much optima violate the claim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..._types import Floats, Mask
from ...bandit import Bandit
from ..subject import Optima, Subject
from .problems import pi_star


@dataclass(frozen=True)
class Measure:
    """How much a batch of optima violates a claim.

    excess: (L - span + 1, P) from the optima and their bandit; positive where the claim is violated by more than
        rounding and the optima's error bounds allow.
    span: the number of neighbouring lambdas that an entry speaks of: 1, or 2 where it compares two.
    preserved: whether the problems have pi_ref = pi*.
    admits: (P,), which problems of a batch have the premises of the claim, such as a unique mode; all by default. No
        other is drawn, and a counterexample that is made simpler keeps them.
    refuted: where it need not be known that an optimum is one: says in words why a case refutes the claim all the same,
        empty where it does not.
    """

    excess: Callable[[Optima, Bandit], Floats]
    span: int = 1
    preserved: bool = False
    admits: Callable[[Bandit], Mask] = lambda bandit: np.ones(len(bandit.reference), dtype=bool)
    refuted: Callable[[Subject, Case, Optima], str] = lambda subject, case, optima: ""


@dataclass(frozen=True)
class Case:
    """A single problem, as it will be printed. pairs: (n, n), or None for all pairs equally often."""

    reference: Floats
    optimal: Floats
    pairs: Floats | None
    lams: tuple[float, ...]

    @classmethod
    def of(cls, bandit: Bandit, prompt: int, lams: tuple[float, ...]) -> Case:
        """One prompt of a population."""
        pairs = bandit.pairs[prompt]
        even = np.ptp(pairs[~np.eye(bandit.n, dtype=bool)]) < 1e-12
        return cls(bandit.reference[prompt], pi_star(bandit)[prompt], None if even else pairs, lams)

    @property
    def bandit(self) -> Bandit:
        return Bandit(self.reference, self.optimal, "uniform" if self.pairs is None else self.pairs)


def batch(cases: Sequence[Case]) -> Bandit:
    """Cases with equally many responses as the prompts of one bandit."""
    n = len(cases[0].reference)
    uniform = np.ones((n, n)) - np.eye(n)
    pairs = np.stack([uniform if c.pairs is None else c.pairs for c in cases])
    return Bandit(np.stack([c.reference for c in cases]), np.stack([c.optimal for c in cases]), pairs)


# ---------------------------------------------------------------------------------------------- printing


def case_code(subject: Subject, case: Case, lines: Sequence[str]) -> str:
    """Python that builds the case, solves it as ``path``, and goes on with ``lines``."""
    pairs = "" if case.pairs is None else f",\n    pairs={_matrix(case.pairs)}"
    return "\n".join(
        [
            subject.imports,
            "",
            "bandit = ea.Bandit(",
            f"    reference={_vector(case.reference)},\n    optimal={_vector(case.optimal)}{pairs},",
            ")",
            f"solutions = [ea.solve({subject.expression}, bandit) for lam in {_vector(np.array(case.lams))}]",
            *lines,
        ]
    )


def bandit_code(bandit: Bandit) -> str:
    """Python that builds a bandit of one prompt."""
    policies = [f"    {name}={getattr(bandit, name).tolist()}," for name in ("reference", "optimal", "pairs")]
    return "\n".join(["bandit = ea.Bandit(", *policies, ")"])


def _vector(x: Floats) -> str:
    return "[" + ", ".join(f"{float(v):.12g}" for v in x) + "]"


def _matrix(x: Floats) -> str:
    return "[" + ", ".join(map(_vector, x)) + "]"
