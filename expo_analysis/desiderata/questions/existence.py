"""Existence: there should be a minimiser for every data set, however small and one-sided. [ours]

A loss of log-probabilities alone is asked for a policy of the open simplex; an objective with an explicit divergence,
or whose margins stay finite at probability 0, for one of the closed simplex. Theorems decide it for losses that say
what they are made of (`expo_analysis.desiderata.rules.existence`); here small data sets are solved.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._types import Mask
from ...losses import BradleyTerry, RewardObjective
from ..falsify.problems import counted, rewards_written
from ..falsify.runaway import runs_away
from ..subject import Subject
from ..verdict import CANNOT_TELL, FAILS, HOLDS, Counterexample, Verdict

KEY = "existence"
LAMS = (1e-6, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e6)
LIGHT = 0.15
"""The effort below which data sets are fewer."""
LARGEST = {2: 4, 3: 3}
"""Every data set with at most so many comparisons is tried, by the number of responses."""

REFERENCES = {2: [[0.5, 0.5], [0.2, 0.8]], 3: [[0.4, 0.4, 0.2]]}


def data_sets(n: int, comparisons: int) -> Iterator[NDArray[Any]]:
    """All win counts (n, n) with so many comparisons in all, few first."""
    cells = [(i, j) for i in range(n) for j in range(n) if i != j]
    for total in range(1, comparisons + 1):
        for chosen in itertools.combinations_with_replacement(cells, total):
            counts = np.zeros((n, n))
            for cell in chosen:
                counts[cell] += 1
            yield counts


def judge(subject: Subject) -> Verdict:
    """Solve every small data set; most of them are separable, which is where minimisers get lost."""
    tried, proven, missing = 0, 0, 0
    example: Counterexample | None = None
    light = subject.effort < LIGHT
    lams = LAMS[1::2] if light else LAMS
    for n, comparisons in LARGEST.items():
        counts = np.stack(list(data_sets(n, comparisons - light)))
        if not subject.fast:
            counts = counts[: (2 if light else 6) * n]
        size, references = len(counts), REFERENCES[n]
        tiled = np.tile(counts, (len(references), 1, 1))
        bandit = counted(subject.objective, np.repeat(references, size, axis=0), tiled)
        optima = subject.optima(bandit, lams)
        tried += optima.status.size
        proven += int((optima.exists & (np.isfinite(optima.bound))).sum())
        missing += int((optima.status == "no_minimiser").sum())
        for k, reference in enumerate(references):
            gone = optima.problems(slice(k * size, (k + 1) * size)).status == "no_minimiser"
            if example is None and gone.any():
                example = _counterexample(subject, reference, counts, gone, lams)
    conditions = (
        f"every data set of at most {LARGEST[2] - light} comparisons of two responses, and of at most "
        f"{LARGEST[3] - light} of three ({'the first few of each' if not subject.fast else 'all of them'}); "
        f"λ from {lams[0]:g} to {lams[-1]:g}; {tried} problems"
    )
    evidence = {"problems": tried, "with a proven minimiser": proven, "without one": missing}
    if example is not None:
        return Verdict(KEY, FAILS, "some data sets have no minimiser", conditions, evidence, example)
    if proven == tried:
        return Verdict(KEY, HOLDS, "every data set tried has a minimiser", conditions, evidence)
    why = "minimisers seem to be missing" if missing else "the minimisers found are not proven"
    return Verdict(KEY, CANNOT_TELL, f"{why}, which was not decided", conditions, evidence)


def _counterexample(
    subject: Subject, reference: list[float], counts: NDArray[Any], gone: Mask, lams: tuple[float, ...]
) -> Counterexample | None:
    """The smallest data set on which the loss keeps falling along a path to the boundary of the simplex, as numbers
    tell.

    For RLHF it is the likelihood of its reward model, exp(reward) in the place of pi, that does so.
    """
    if isinstance(subject.objective, RewardObjective):
        subject = replace(subject, objective=BradleyTerry(1.0), expression="ea.BradleyTerry(1.0)")
    for k in np.flatnonzero(gone.any(axis=0))[:4]:
        order = sorted(np.flatnonzero(gone[:, k]), key=lambda i: abs(np.log(lams[i])))
        lam, bandit = lams[order[0]], counted(subject.objective, reference, counts[k])
        fall = runs_away(subject, bandit, lam)
        if fall is None:
            continue
        wins = counts[k].astype(int).tolist()
        code = "\n".join(
            [
                f"import torch\n{subject.imports}",
                "",
                f"lam = {lam!r}",
                f"bandit = ea.Bandit.from_counts(reference={reference}, counts={wins}{rewards_written(bandit)})",
                f"tilts = {fall.tilts}",
                f"paths = [np.log(bandit.reference) + tilt * np.array({fall.direction}) for tilt in tilts]",
                "paths = [torch.tensor(x).log_softmax(-1) for x in paths]",
                f"values = [float(ea.risk({subject.expression}, bandit, path)) for path in paths]",
                "print(values)",
                "assert all(later < earlier for earlier, later in zip(values, values[1:]))",
            ]
        )
        return Counterexample(
            f"with the win counts {wins} the loss falls as the winner's log-ratio grows, {fall.towards} (λ = {lam:g})",
            {"reference": reference, "counts": wins, "lam": lam, "log-ratio added": fall.tilts, "values": fall.values},
            code,
        )
    return None
