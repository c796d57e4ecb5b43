"""Traps on win counts: responses that beat one another in a circle, each the next one; the reference is even. [ours]

The problem does not change when the responses are rotated, and so nor does the gradient at the even policy: its parts
are equal, and as they sum to zero, all are zero. That policy, at which every pair is undecided, is a trap where losses
rise around it and are lower elsewhere: where n - 1 pairs are won, and one is lost by the sum of what these are won by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from ..._types import Floats
from ...bandit import Bandit
from ...losses import risk
from ..falsify.basin import is_caught
from ..falsify.problems import counted, rewards_written
from ..ordinary import LAMS
from ..subject import Subject
from ..verdict import Counterexample

RESPONSES = (3, 4, 5)
"""How many; intervals prove no more."""
STEPS = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0])
"""By how much each response is above the next one where the loss may be lower, in log-probabilities and in 1/lambda."""
RADII = (0.5, 0.7, 1.0)
"""Of the neighbourhood of the even policy that descent does not leave, likewise."""
RIDGE = 1e-6
"""How much values must differ, relative to 1 + |F|."""
SEEN = "circles of 3 to 5 responses that beat one another in turn, π_ref even"
"""What is looked at, for the conditions of a verdict."""


@dataclass(frozen=True)
class Caught:
    """A circle ``bandit`` at ``lam``: a minimum is within ``radius`` of the even policy; log pi ``lower`` is lower."""

    bandit: Bandit
    lam: float
    radius: float
    lower: Floats


def circle(subject: Subject, n: int) -> Bandit:
    """Each response beats the next one once; all rewards that a loss reads are equal."""
    return counted(subject.objective, np.full(n, 1 / n), np.roll(np.eye(n), 1, axis=1), np.zeros(n))


@np.errstate(all="ignore")
def caught(subject: Subject) -> Iterator[Caught]:
    """Circles on which the even policy is seen to be a trap, those of few responses and of large lambda first."""
    for n in RESPONSES:
        bandit = circle(subject, n)
        around = np.concatenate([np.eye(n), 1 - np.eye(n), -np.tri(n)[:-1], np.tri(n)[:-1]])
        down = -np.arange(n, dtype=float)
        for lam in LAMS[::-1]:
            units = (1.0, 1 / float(lam)) if lam != 1 else (1.0,)

            def value(theta: Floats, lam: float = float(lam), bandit: Bandit = bandit) -> Floats:
                return np.asarray(risk(subject.at(lam), bandit, log_softmax(theta, axis=-1)))

            even = float(value(np.zeros(n)))
            margin = RIDGE * (1 + abs(even))
            steps = [step * unit for unit in units for step in STEPS]
            heights = value(np.array(steps)[:, None] * down)
            if not heights.min() < even - margin:
                continue
            lower = log_softmax(steps[int(np.nanargmin(heights))] * down)
            for radius in (r * unit for unit in units for r in RADII):
                if (value(radius * around) > even + margin * min(1.0, radius**2)).all():
                    yield Caught(bandit, float(lam), float(radius), np.round(lower, 6))
                    break


def shown(subject: Subject, found: Caught) -> tuple[Counterexample, bool]:
    """The trap as a counterexample, and whether intervals prove it."""
    n, lam, bandit = found.bandit.n, found.lam, found.bandit
    counts = bandit.counts
    assert counts is not None
    even, lower = (float(risk(subject.at(lam), bandit, x)) for x in (np.full(n, -np.log(n)), log_softmax(found.lower)))
    wins = counts.astype(int).tolist()
    code = "\n".join(
        [
            f"import torch\n{subject.imports}",
            "",
            f"bandit, lam = ea.Bandit.from_counts([1 / {n}] * {n}, {wins}{rewards_written(bandit)}), {lam!r}",
            f"value = lambda theta: ea.risk({subject.expression}, bandit, torch.log_softmax(theta, dim=-1))",
            f"even = torch.zeros({n}, dtype=torch.float64, requires_grad=True)",
            "(slope,) = torch.autograd.grad(value(even), even)",
            "curvature = torch.linalg.eigvalsh(torch.autograd.functional.hessian(value, even))",
            f"lower = torch.tensor({found.lower.tolist()}, dtype=torch.float64)",
            "print(slope, curvature, value(even).item(), value(lower).item())",
            "assert slope.abs().max() < 1e-12, 'stationary'",
            "assert (curvature > 1e-9).sum() == len(even) - 1, 'a minimum, but for the common shift of the logits'",
            "assert value(lower) < value(even), 'and not the lowest'",
        ]
    )
    numbers = {
        "reference": bandit.reference.reshape(-1).tolist(),
        "counts": wins,
        "lam": lam,
        "log-policies of trap and of a lower value": [np.full(n, -np.log(n)).tolist(), found.lower.tolist()],
        "values": [even, lower],
        "radius of the trap (log-ratios of neighbours)": found.radius,
    }
    statement = (
        f"{n} responses beat one another in a circle, each the next one once; the even policy, which is the reference, "
        f"is stationary by symmetry, with the value {even:.6g}; all policies around it are higher, and the lowest "
        f"value is {lower:.6g} or less (λ = {lam:g})"
    )
    return Counterexample(statement, numbers, code), is_caught(subject, bandit, lam, found.radius, found.lower)
