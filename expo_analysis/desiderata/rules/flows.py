"""Where gradient flow on free logits leads, without following it. [ours, elementary]

**A pair that nothing pulls at is displaced** (the pair loss reads log pi_w/pi_l, or log u_w/u_l, alone; no divergence).
Four responses with one logit each, compared as 0 with 1 and as 2 with 3; the two of each pair are equally likely under
pi_ref. 0 and 1 win equally often, 2 wins more often than 3. Gradient flow starts in pi_ref.

Proof. A pair's loss reads the difference of its two logits alone, so the flow keeps the sum of the two, and the
difference of each pair follows a flow of its own. That of 0 and 1 starts at 0, about which its risk is even, as both
win equally often: its slope there is 0, and the two logits stay. If the slope of the other difference d is not 0 at
the start, d moves, and a flow on a line never comes back: from then on |d| > 0. With the sum of the logits 2 and 3 kept
their weights are exp(d/2) and exp(-d/2) times what they were, and cosh(d/2) > 1: the normaliser has risen, and the
probabilities of 0 and 1 have both fallen, for good, by log(1 + b (cosh(d/2) - 1)), where b is the mass of 2 and 3 under
pi_ref. That stays so if 0 wins a little more often than 1, as flows depend continuously on what drives them. No
convexity is needed.
"""

from __future__ import annotations

import numpy as np

from ...bandit import Bandit
from ..verdict import FAILS
from .rule import Conclusion, Known, Rule

REFERENCE = [0.3, 0.3, 0.2, 0.2]
OPTIMAL = [0.3, 0.3, 0.3, 0.1]
PAIRS = [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]
CLEAR = 1e-6
"""A slope is not 0 if it is above this, relative to the slopes of the two orders of the pair."""


def _pulled_apart(known: Known) -> Conclusion | None:
    if not (known.shape.alone and known.shape.of_log_ratios):
        return None
    theta = np.log(REFERENCE)
    slopes = known.subject.gradient(Bandit(REFERENCE, OPTIMAL, PAIRS), 1.0, theta)
    still, moved = np.abs(slopes[:2]).max(), np.abs(slopes[2:]).min()
    if not (moved > CLEAR and still < CLEAR * moved):
        return None
    return Conclusion(FAILS, "training can take probability from both responses of a pair")


RULES = (
    Rule(
        "a_still_pair_is_displaced",
        "displacement",
        "If the pair loss reads log π_w/π_l alone, a pair at its minimum loses mass on both sides as others part.",
        _pulled_apart,
    ),
)
