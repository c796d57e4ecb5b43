"""The smallest problem on which two losses have different optima, with Python that shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._json import plain
from .._types import Floats
from ..bandit import Bandit
from ..desiderata.falsify.cases import Case, batch
from ..desiderata.falsify.problems import FAMILIES, counted, rewards_written
from ..desiderata.falsify.shrink import shrink
from .optima import Two

PLAIN = ("moderate", "uneven", "extreme", "weak link")
"""Families of problems in which differences are looked for, the plainest first."""


@dataclass(frozen=True)
class Example:
    """A problem on which two losses differ.

    statement: one sentence with the numbers. numbers: what it consists of and what comes out, as plain values. code:
    Python that shows it: it prints the numbers, and asserts that they differ.
    """

    statement: str
    numbers: Mapping[str, Any]
    code: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"statement": self.statement, "numbers": plain(self.numbers), "code": self.code}


def smallest(two: Two, lams: Sequence[float], counts: Mapping[int, int]) -> Example | None:
    """The simplest problem found on which the optima differ: few responses first, then round numbers; None for none.

    counts: how many problems of each family, by the number of responses.
    """
    measure = two.measure()
    for n, count in counts.items():
        for name in PLAIN if n > 2 else PLAIN[:1]:
            rng = two.first.rng(f"differences {name} {n}")
            bandit = FAMILIES[name].draw(rng, count, n)
            found = np.nan_to_num(two.apart(bandit, list(lams)).excess, nan=-np.inf)
            if not (found > 0).any():
                continue
            k, p = map(int, np.unravel_index(int(found.argmax()), found.shape))
            case = Case.of(bandit, p, (float(lams[k]),))
            return _example(two, shrink(two.first, measure, case))
    return None


def _example(two: Two, case: Case) -> Example:
    """A case in words, numbers and code."""
    lam = case.lams[0]
    solutions = [subject.optima(batch([case]), [lam]) for subject in (two.first, two.second)]
    policies = [found.policies[0, 0] for found in solutions]
    apart = two.apart(batch([case]), [lam])
    tv, nats = float(apart.tv[0, 0]), float(apart.nats[0, 0])
    bounds = [float(found.bound[0, 0]) for found in solutions]
    proven = f", proven to {max(bounds):.0e}" if np.isfinite(bounds).all() else ", found by search"
    names = two.names
    pairs = "" if case.pairs is None else ", unevenly compared,"
    statement = (
        f"on π* = {_shown(case.optimal)} and π_ref = {_shown(case.reference)}{pairs} at λ = {lam:g} the optimum of "
        f"{names[0]} is {_shown(policies[0], 6)} and that of {names[1]} {_shown(policies[1], 6)}: {tv:.2g} TV and "
        f"{nats:.2g} nats apart{proven}"
    )
    weights = {} if case.pairs is None else {"pairs": case.pairs}
    numbers = {"reference": case.reference, "optimal": case.optimal, **weights, "lam": lam}
    numbers |= {"first": policies[0], "second": policies[1], "tv": tv, "nats": nats, "error_bounds": bounds}
    pairs_code = "" if case.pairs is None else f", pairs={case.pairs.tolist()}"
    problem = f"bandit = ea.Bandit(reference={case.reference.tolist()}, optimal={case.optimal.tolist()}{pairs_code})"
    tail = [
        problem,
        "solutions = [ea.solve(loss, bandit) for loss in (first, second)]",
        "for solution in solutions:",
        "    print(solution.objective.name, solution.policy, solution.status)",
        f"assert abs(solutions[0].policy - solutions[1].policy).sum() / 2 > {0.9 * tv:.2g}",
    ]
    return Example(statement, numbers, "\n".join([*_losses_in_code(two, lam), *tail]))


def _losses_in_code(two: Two, lam: float) -> list[str]:
    """Python that builds both losses; one after the other, as both may have one name."""
    lines = ["import numpy as np", "import expo_analysis as ea", "", f"lam = {lam!r}"]
    for name, subject in (("first", two.first), ("second", two.second)):
        own = [line for line in subject.imports.splitlines() if line not in lines]
        lines += [*own, f"{name} = {subject.expression}"]
    return lines


def existence(two: Two, lam: float = 1.0) -> Example | None:
    """The smallest data set on which only one of the losses has a minimiser; None where none of a few dozen is."""
    for counts in data_sets():
        n = len(counts)
        reference = np.full(n, 1 / n)
        bandits = [counted(subject.objective, reference, counts) for subject in (two.first, two.second)]
        found = [
            subject.optima(bandit, [lam]).status[0, 0]
            for subject, bandit in zip((two.first, two.second), bandits, strict=True)
        ]
        exists = [str(status) in ("optimal", "best_found", "not_unique") for status in found]
        if exists[0] != exists[1] and "failed" not in map(str, found):
            return _without(two, lam, counts, bandits, [str(status) for status in found])
    return None


def _without(two: Two, lam: float, counts: Floats, bandits: list[Bandit], statuses: list[str]) -> Example:
    wins = [f"{i} won {counts[i, j]:.0f} against {j}" for i, j in np.argwhere(counts > 0)]
    which = 0 if statuses[0] == "no_minimiser" else 1
    without, having = two.names[which], two.names[1 - which]
    statement = (
        f"of the comparisons in which {', '.join(wins)}, with π_ref uniform over {len(counts)} responses and λ = "
        f"{lam:g}, {without} has no minimiser, and {having} has one"
    )
    numbers = {"counts": counts, "lam": lam, "first": statuses[0], "second": statuses[1]}
    uniform = [1 / len(counts)] * len(counts)
    lines = [
        f"solution = ea.solve({name}, ea.Bandit.from_counts({uniform}, {counts.tolist()}{rewards_written(bandit)}))\n"
        f"print({name}.name, solution.status)\n"
        f"assert solution.status == {status!r}"
        for name, bandit, status in zip(("first", "second"), bandits, statuses, strict=True)
    ]
    return Example(statement, numbers, "\n".join([*_losses_in_code(two, lam), *lines]))


def data_sets() -> Iterator[Floats]:
    """Win counts (n, n), small ones first: of two responses, then chains, circles and leaders of three."""
    for first, second in ((1, 0), (1, 1), (2, 1)):
        yield np.array([[0.0, first], [second, 0.0]])
    for wins in (
        [(0, 1), (1, 2)],
        [(0, 1), (1, 2), (2, 0)],
        [(0, 1), (0, 2)],
        [(0, 2), (1, 2)],
        [(0, 1), (1, 0)],
        [(0, 1), (1, 0), (0, 2)],
        [(0, 1), (1, 0), (2, 0)],
        [(0, 1), (1, 0), (1, 2), (2, 1)],
    ):
        counts = np.zeros((3, 3))
        for winner, loser in wins:
            counts[winner, loser] += 1
        yield counts


def _shown(policy: Floats, digits: int = 12) -> str:
    return f"({', '.join(f'{float(x):.{digits}g}' for x in policy)})"
