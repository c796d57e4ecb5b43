r"""Logistic losses with a penalty on winners that have lost mass, as DPOP: kinks where pi = pi_ref.

In x = log pi/pi_ref the loss is convex, F(x) = sum_e weight_e softplus(-lam [x_winner - x_loser - penalty max(0,
-x_winner)]), with a kink in x_i at 0, and it cannot rise when all x_i do. So the problem is convex over the x with
sum_i pi_ref,i exp(x_i) <= 1, and x with a sum of 1 is a minimiser if and only if, for some nu >= 0, every response has

    -nu pi_i  between the left and the right derivative of F in x_i                        (which differ at kinks only).

Where some nu > 0 does, there is no other minimiser: each one minimises F(x) + nu sum_i pi_ref,i exp(x_i), too, which is
strictly convex. Where an interval of nu does at the reference itself, that is the minimiser. Elsewhere an interior
point method comes near the minimiser, where |x| of the responses on the kink is far smaller than that of the others: it
is cut in two where its logarithm has the widest gap (then the next), Newton's method finds what is off the kink, and
the conditions are checked at the end. [ours]

**Existence** [ours]. Along a direction d <= 0, a pair's loss does not rise if and only if (1 + penalty) |d_winner| <=
|d_loser|. Around a cycle of wins that leaves only d = 0, and so it does for whatever beats something on a cycle,
directly or through others. All other responses that are compared can fall, each so much faster than what beats it that
every pair that it loses is won: no minimiser exists, and all mass goes to the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from .._types import Floats, Mask
from .certificate import UNIT
from .edges import Edges

DECADES = 15
"""By how much the weight of the loss beside the barrier grows, from 1/lam."""
STEPS, SHORTEST = 300, 1e-9
"""Of Newton's method, for each such weight, and its shortest step."""
ACCURACY = 1e-10


@dataclass(frozen=True, eq=False)
class KinkedOptimum:
    """log pi/pi_ref (n,); whether the conditions hold; whether they prove that there is no other; nu."""

    x: Floats
    optimal: bool
    unique: bool
    nu: float = 0.0


@dataclass(frozen=True, eq=False)
class KinkedProblem:
    """One problem: pairs with weight, (E,) each, lam, penalty, and pi_ref (n,)."""

    edges: Edges
    weight: Floats
    lam: float
    penalty: float
    reference: Floats

    @property
    def falling(self) -> Mask:
        """The responses (n,) that no minimiser holds up: compared, and beating no cycle, directly or through others."""
        seen = self.weight > 0
        n, winner, loser = self.edges.n, self.edges.winner[seen], self.edges.loser[seen]
        wins = coo_array((np.ones(len(winner)), (winner, loser)), shape=(n, n)).tocsr()
        count, label = connected_components(wins, directed=True, connection="strong")
        held = np.bincount(label, minlength=count)[label] > 1
        for _ in range(n):  # what beats what is held is held
            held = held | (wins @ held > 0)
        return np.asarray(self.compared & ~held)

    @property
    def compared(self) -> Mask:
        """The responses (n,) that are in some pair."""
        seen = self.weight > 0
        ends = np.concatenate([self.edges.winner[seen], self.edges.loser[seen]])
        return np.isin(np.arange(self.edges.n), ends)

    @property
    def unbeaten(self) -> Mask:
        """The responses (n,) that are compared and never lose."""
        seen = self.weight > 0
        return np.isin(np.arange(self.edges.n), self.edges.winner[seen]) & ~np.isin(
            np.arange(self.edges.n), self.edges.loser[seen]
        )

    def among(self, members: Mask) -> KinkedProblem:
        """The same pairs, those between ``members`` alone, with all mass on these."""
        number = np.cumsum(members) - 1
        inside = members[self.edges.winner] & members[self.edges.loser]
        edges = Edges(int(members.sum()), number[self.edges.winner[inside]], number[self.edges.loser[inside]])
        return KinkedProblem(edges, self.weight[inside], self.lam, self.penalty, self.reference[members])

    def derivatives(self, x: Floats, negative: Mask, v: Floats | None = None) -> tuple[float, Floats, Floats]:
        """F, its gradient and Hessian in x on the side of the kinks that ``negative`` tells.

        With ``v`` in the place of max(0, -x), the gradient has the derivatives in v behind those in x.
        """
        winner, loser = self.edges.ends
        n, lost = len(x), np.where(negative, -x, 0.0) if v is None else v
        logits = -self.lam * (x[winner] - x[loser] - self.penalty * lost[winner])
        value = float((self.weight * np.logaddexp(0.0, logits)).sum())
        slope = -self.weight * self.lam * expit(logits)
        bend = self.weight * (self.lam * self.lam) * expit(logits) * expit(-logits)
        own = np.ones(n) if v is not None else np.where(negative, 1.0 + self.penalty, 1.0)  # of a margin, in its winner
        won, lose = self.edges.to_winner @ slope, self.edges.to_loser @ slope
        among = np.zeros((n, n))
        np.add.at(among, (winner, loser), bend)
        gradient = own * won - lose
        hessian = np.diag(own**2 * among.sum(1) + among.sum(0)) - own[:, None] * among - own * among.T
        if v is None:
            return value, gradient, hessian
        across = self.penalty * (among.T - np.diag(among.sum(1)))
        both = np.block([[hessian, across], [across.T, np.diag(self.penalty * self.penalty * among.sum(1))]])
        return value, np.concatenate([gradient, -self.penalty * won]), both

    def conditions(self, x: Floats, kinked: Mask) -> tuple[Floats, Floats, Floats]:
        """Left and right derivatives at each response, and the size of the terms that they are sums of."""
        left, right = (self.derivatives(x, ((x < 0) & ~kinked) | (side & kinked))[1] for side in (True, False))
        terms = self.weight * self.lam * (1.0 + self.penalty)
        return left, right, self.edges.to_winner @ terms + self.edges.to_loser @ terms


def kinked_optimum(problem: KinkedProblem) -> KinkedOptimum:
    """The minimiser of a problem all of whose responses are held up, or the best point reached."""
    n = len(problem.reference)
    if n == 1:
        return KinkedOptimum(-np.log(problem.reference), True, True)
    left, right, _ = problem.conditions(np.zeros(n), np.ones(n, dtype=bool))
    least, most = -right / problem.reference, -left / problem.reference  # the ends of the intervals of nu
    whole = abs(problem.reference.sum() - 1) < 1e-9
    if whole and max(least.max(), 0.0) < most.min() * (1 - ACCURACY):
        return KinkedOptimum(np.zeros(n), True, True, max(least.max(), 0.0))
    x = np.zeros(n)
    for x in _path(problem):
        for kinked in _cuts(x):
            found = _polish(problem, x, kinked)
            if found is not None and found.optimal:
                return found
    return KinkedOptimum(x, False, False)


def _cuts(x: Floats) -> list[Mask]:
    """Which responses may be on the kink, those with the smallest |x|: first as log |x| has the widest gap."""
    size = np.abs(x)
    ends = np.sort(size)
    gaps = np.diff(np.log(np.maximum(ends, UNIT)), prepend=np.log(UNIT))
    return [size < ends[k] for k in np.argsort(-gaps, kind="stable")]


def _path(problem: KinkedProblem) -> Iterator[Floats]:
    """Points x ever nearer to a minimiser: those of least `_barrier`, for growing t, shifted to a mass of 1.

    Newton's method, as it does not mind that responses go as far as 1 and as far as 1/lam in one problem.
    """
    n = len(problem.reference)
    y = np.concatenate([np.full(n, -1.0), np.full(n, 2.0)])
    for t in 10.0 ** np.arange(DECADES) / (problem.lam * problem.weight.sum()):
        for _ in range(STEPS):
            value, gradient, hessian = _barrier(problem, y, t)
            scale = 1 / np.sqrt(np.diag(hessian))
            try:
                move = -scale * np.linalg.solve(scale[:, None] * hessian * scale, scale * gradient)
            except np.linalg.LinAlgError:
                return
            slope, step = float(gradient @ move), 1.0
            while step > SHORTEST and not _barrier(problem, y + step * move, t)[0] <= value + 0.1 * step * slope:
                step /= 2
            if not slope < 0 or step <= SHORTEST:
                break
            y = y + step * move
            if -slope < 1e-9:
                break
        mass = (problem.reference * np.exp(y[:n])).sum()
        if not mass > 0:  # the loss is level to rounding, and the barrier alone moves responses
            return
        yield y[:n] - np.log(mass)


@np.errstate(over="ignore")  # far outside
def _barrier(problem: KinkedProblem, y: Floats, t: float) -> tuple[float, Floats, Floats]:
    """t F(x, v) less the logarithms of 1 - sum pi_ref exp(x), of v and of v + x, where v >= max(0, -x), with its
    gradient and Hessian in y = (x, v); inf outside."""
    n = len(problem.reference)
    x, v, above = y[:n], y[n:], y[:n] + y[n:]
    policy = problem.reference * np.exp(x)
    left = 1.0 - policy.sum()
    if not min(left, v.min(), above.min()) > 0:
        return np.inf, y, np.empty((0, 0))
    value, gradient, hessian = problem.derivatives(x, np.zeros(n, dtype=bool), v)
    value = t * value - float(np.log(left) + np.log(v).sum() + np.log(above).sum())
    gradient = t * gradient + np.concatenate([policy / left - 1 / above, -1 / v - 1 / above])
    hessian = t * hessian + np.diag(np.concatenate([policy / left, v**-2]))
    hessian[:n, :n] += np.outer(policy, policy) / left**2
    hessian += np.tile(np.diag(above**-2), (2, 2))
    return value, gradient, hessian


@np.errstate(all="ignore")  # what a wrong cut leads to is not finite, and no minimiser
def _polish(problem: KinkedProblem, x: Floats, kinked: Mask) -> KinkedOptimum | None:
    """Newton's method for the responses off the kink and nu, and whether the conditions hold then."""
    x = np.where(kinked, 0.0, x)
    free = np.flatnonzero(~kinked)
    negative = x < 0
    if len(free) == 0:
        return None
    nu = -float(problem.derivatives(x, negative)[1][free].sum() / (problem.reference * np.exp(x))[free].sum())
    for _ in range(40):
        _, gradient, hessian = problem.derivatives(x, negative)
        policy = problem.reference * np.exp(x)
        system = np.zeros((len(free) + 1, len(free) + 1))
        system[:-1, :-1] = hessian[np.ix_(free, free)] + nu * np.diag(policy[free])
        system[:-1, -1] = system[-1, :-1] = policy[free]
        missing = -np.append(gradient[free] + nu * policy[free], policy.sum() - 1.0)
        try:
            move = np.linalg.solve(system, missing)
        except np.linalg.LinAlgError:
            return None
        x = x.copy()
        x[free] += move[:-1]
        nu += move[-1]
        if not np.isfinite(move).all() or (np.sign(x[free]) != np.where(negative[free], -1, 1)).any():
            return None
        if np.abs(move[:-1]).max() < 1e-14 * (1 + np.abs(x).max()):
            break

    left, right, size = problem.conditions(x, kinked)
    blur, pull = ACCURACY * size, -nu * problem.reference * np.exp(x)
    optimal = nu >= 0 and bool((left - blur <= pull).all() and (pull <= right + blur).all())
    return KinkedOptimum(x, optimal, optimal and bool((pull < -blur).any()), nu)
