r"""Where training on one's own pairs rests: fixed points of losses whose pairs are drawn from the policy itself.

On-policy, the pair (i, j) of two different responses is drawn with probability q_ij proportional to pi_i pi_j, and the
gradient takes these weights as constants ("stopped"). Training rests where

    grad_theta L(theta; w(pi)) = 0  at  pi = softmax(theta),      w_ij(pi) = 2 q_ij(pi) p(i > j),

which need not be the minimum of anything. What is known [ours unless said otherwise]:

* A loss of log u whose margins reproduce the preferences pair by pair (DPO and IPO where there is such a policy) rests
  at the same policy whatever the weights: its off-policy optimum.
* IPO at lambda rests at the equilibrium of the game with price tau = lambda, `regularised_nash`; known from
  Calandriello et al., arXiv 2403.08635, of which only the abstract was seen. Derivation: sum_j pi_j (hbar_ij - (2 p_ij
  - 1)/(2 lambda)) = 0 for all i is equation (1) of `nash`.
* Compositional EXPO rests at T pi_ref, T the kernel of `optima.chain` with the weights of the fixed point: it improves
  on pi_ref in every f-divergence from pi*, and never leaves the range of pi_ref/pi*. At least one exists (Brouwer: the
  map from pi to the optimum under w(pi) is continuous, and keeps that range).

Equations are solved by Powell's hybrid method (MINPACK, by scipy) with torch's exact derivatives of the gradient, the
weights' included, from several starts; what is found is a root to the residual that is reported, and nothing says that
there are no others. On the boundary, where a response is never drawn again, losses that leave the mass of what is not
compared alone rest too; these points, at infinity in the logits and unstable in all examples seen, are not listed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import root
from torch import Tensor

from .._checks import check_number, check_whole
from .._types import Floats
from ..bandit import Bandit
from ..losses import PairObjective
from ..losses.responses import at_ends, refuse_undefined, response_data
from ..losses.risk import refuse_coupled

RESTS = 1e-10
"""Each entry of the gradient, relative to the moduli of its parts and slopes, at which training counts as at rest."""
SAME = 1e-6
"""Two fixed points are one where no log-ratio to the other is off by more."""


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """A policy at which on-policy training rests.

    policy, log_policy: shape (n,). residual: the largest entry of the gradient in the logits. stable: whether gradient
    descent with small steps returns to it, as all eigenvalues of the gradient's derivative have positive real parts.
    weights: w_ij at the fixed point, (n, n).
    """

    log_policy: Floats
    residual: float
    stable: bool
    weights: Floats

    @property
    def policy(self) -> Floats:
        return np.asarray(np.exp(self.log_policy))


@dataclass(frozen=True, eq=False)
class OnPolicy:
    """A loss on pairs that the policy draws: its weights and its gradient, of one prompt.

    objective: a loss of single pairs. bandit: one prompt; its comparison graph says which pairs may be drawn.
    """

    objective: PairObjective
    bandit: Bandit

    def __post_init__(self) -> None:
        if not isinstance(self.objective, PairObjective):
            raise TypeError(f"objective must be a loss of pairs, got {type(self.objective).__name__}")
        if not isinstance(self.bandit, Bandit):
            raise TypeError(f"bandit must be a Bandit, got {type(self.bandit).__name__}")
        if self.bandit.reference.size != self.bandit.n:
            raise ValueError(f"bandit must hold one prompt, got {self.bandit.prompts}: take them one by one")
        if self.bandit.counts is not None:
            raise ValueError("bandit must state preferences, as new pairs are drawn all the time; it holds win counts")
        refuse_coupled(self.objective)
        refuse_undefined(self.objective, self.bandit, self.bandit.wins > 0)

    @cached_property
    def log_reference(self) -> Tensor:
        return torch.from_numpy(np.log(self.bandit.reference).reshape(-1))

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """The ordered pairs (i, j) that may be drawn."""
        i, j = np.nonzero(self.bandit.pairs.reshape(self.bandit.n, -1))
        return torch.from_numpy(i), torch.from_numpy(j)

    @cached_property
    def known(self) -> dict[str, Tensor]:
        """What else the loss reads of responses, (n,) each."""
        found = response_data(self.objective, self.bandit)
        return {kind: torch.from_numpy(x[:, 0].copy()) for kind, x in found.items()}

    @cached_property
    def preferred(self) -> Tensor:
        """2 p(i > j) of these pairs."""
        i, j = self.ends
        return torch.from_numpy(2 * self.bandit.preference.reshape(self.bandit.n, -1)[i, j])

    def weights(self, log_policy: Tensor) -> Tensor:
        """w_ij(pi) of these pairs, which sum to one."""
        i, j = self.ends
        q = (log_policy[i] + log_policy[j]).exp()
        return self.preferred * q / q.sum()

    def parts(self, theta: Tensor, weights: Tensor) -> Tensor:
        """What L(theta; w) of logits (n,) is a sum of: each pair's weighted loss, and the regulariser."""
        i, j = self.ends
        logp, ref = theta.log_softmax(-1), self.log_reference
        data = at_ends(self.objective, {**self.known, "logp": logp}, (i, j))
        parts = weights * self.per_pair(logp[i], logp[j], ref[i], ref[j], data)
        if self.objective.regulariser is None:
            return parts
        return torch.cat([parts, (self.objective.lam * self.objective.regulariser(logp, ref))[None]])

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """What the loss reads beside log-probabilities, in the order of its formula."""
        return self.objective.data

    def per_pair(self, logp_w: Tensor, logp_l: Tensor, ref_w: Tensor, ref_l: Tensor, data: dict[str, Tensor]) -> Tensor:
        """The loss of each pair: its formula alone, as all arguments are made here; where some may be left out, all."""
        if set(self.reads) == set(data):
            found = self.objective.one_per_pair(logp_w, logp_l, ref_w, ref_l, *(data[name] for name in self.reads))
        else:
            found = self.objective.loss(logp_w, logp_l, ref_w, ref_l, **data)
        assert isinstance(found, Tensor)
        return found

    def value(self, theta: Tensor, weights: Tensor) -> Tensor:
        """L(theta; w)."""
        return self.parts(theta, weights).sum()

    def gradient(self, theta: Tensor) -> Tensor:
        """The gradient in the logits, (n,), with the weights stopped; its derivative, by torch, has theirs."""
        weights = self.weights(theta.log_softmax(-1))
        found: Tensor = torch.func.grad(self.value)(theta, weights)
        return found

    def gradient_only(self, theta: Tensor) -> Tensor:
        """`gradient` of logits that are numbers: a third of the time, but nothing can be derived from it."""
        theta = theta.detach().requires_grad_()
        with torch.enable_grad():
            value = self.value(theta, self.weights(theta.detach().log_softmax(-1)))
        return torch.autograd.grad(value, theta)[0]


def fixed_points(
    objective: PairObjective, bandit: Bandit, starts: int = 8, seed: int = 0, spread: float = 3.0
) -> list[FixedPoint]:
    """All fixed points of on-policy training that searches from several starts find, that of the reference first.

    Args:
        objective: a loss of single pairs. bandit: one prompt with stated preferences; its ``pairs`` say which pairs may
            be drawn, not how often.
        starts: the reference (followed from strong regularisation to lam), pi* where it is known, and random policies.
        seed, spread: of random starts, log pi_ref + spread times a normal vector.

    Raises:
        TypeError, ValueError: naming the argument that is wrong. ArithmeticError: no search ended at a fixed point.

    Example:
        >>> import expo_analysis as ea
        >>> from expo_analysis.on_policy import fixed_points
        >>> bandit = ea.Bandit(reference=[0.4, 0.4, 0.2], optimal=[0.6, 0.3, 0.1])
        >>> fixed_points(ea.DPO(lam=1.0), bandit)[0].policy.round(3)
        array([0.632, 0.316, 0.053])
    """
    check_whole("starts", starts, 1)
    check_number("spread", spread, 0.0)
    problem = OnPolicy(objective, bandit)
    rng = np.random.default_rng(seed)
    reference = np.log(bandit.reference).reshape(-1)
    begun = [followed(problem, reference)]
    if bandit.optimal is not None:
        begun.append(np.log(bandit.optimal).reshape(-1))
    begun += [reference + spread * rng.standard_normal(bandit.n) for _ in range(starts)]
    found: list[FixedPoint] = []
    for start in begun[:starts]:
        point = search(problem, start)
        if point is not None and not any(same(point, other) for other in found):
            found.append(point)
    if not found:
        raise ArithmeticError(f"no fixed point of {objective.name} was found from {starts} starts")
    return found


def followed(problem: OnPolicy, start: Floats) -> Floats:
    """Logits of the fixed point that is reached from the reference while lambda is halved, from 1 or more, to its own.

    It is where the search at the objective's own lambda begins; with lambda above 1 that is the reference itself.
    """
    lam = float(problem.objective.lam)
    for doublings in range(int(np.ceil(np.log2(max(1 / lam, 1.0)))), 0, -1):
        strong = OnPolicy(problem.objective.with_lam(lam * 2.0**doublings), problem.bandit)
        point = search(strong, start)
        start = start if point is None else point.log_policy
    return start


def same(one: FixedPoint, other: FixedPoint) -> bool:
    """Whether two fixed points are one, to rounding of the search."""
    return bool(np.abs(one.log_policy - other.log_policy).max() <= SAME)


def search(problem: OnPolicy, start: ArrayLike) -> FixedPoint | None:
    """The fixed point that Powell's method finds from these logits; None if it ends elsewhere.

    It looks for a root of the gradient first, and then of the gradient divided by the policy, response by response,
    which has no roots at infinity.
    """

    def rate(theta: Tensor) -> Tensor:
        return problem.gradient(theta) / theta.softmax(-1)

    def rate_only(theta: Tensor) -> Tensor:
        return problem.gradient_only(theta) / theta.softmax(-1)

    for function, only in ((problem.gradient, problem.gradient_only), (rate, rate_only)):
        logits = _root(function, only, np.asarray(start, dtype=np.float64))
        point = None if logits is None else _judged(problem, torch.from_numpy(logits))
        if point is not None:
            return point
    return None


def _root(function: Callable[[Tensor], Tensor], only: Callable[[Tensor], Tensor], start: Floats) -> Floats | None:
    """Logits of mean 0 at which a function of them is 0 but for a constant, by MINPACK, then Newton's method.

    only: the same function, quicker, of which no derivative is asked.
    """
    basis = _centred(len(start))

    def off(z: Floats) -> Floats:
        return np.asarray(basis.T @ only(torch.from_numpy(basis @ z)).numpy())

    def bend(z: Floats) -> Floats:
        return np.asarray(basis.T @ torch.func.jacrev(function)(torch.from_numpy(basis @ z)).numpy() @ basis)

    with np.errstate(all="ignore"):
        found: Any = root(off, basis.T @ start, jac=bend, method="hybr", tol=1e-14)
    z = found.x
    for _ in range(2):  # MINPACK stops at relative steps; Newton's method goes on to rounding
        try:
            z = z - np.linalg.solve(bend(z), off(z))
        except np.linalg.LinAlgError:
            return None
    return np.asarray(basis @ z) if np.isfinite(z).all() else None


def _judged(problem: OnPolicy, logits: Tensor) -> FixedPoint | None:
    """What is known of a fixed point; None unless the gradient of every response is 0 to rounding.

    Where a response is hardly ever drawn its gradient is small without being at rest: each is measured by its parts,
    and by what a step in the logits does to it, as all parts vanish where a regression fits every pair.
    """
    gradient = problem.gradient(logits)
    log_policy = logits.log_softmax(-1)
    weights = problem.weights(log_policy)
    slopes = torch.func.jacrev(problem.parts)(logits, weights)
    bend = torch.func.jacrev(problem.gradient)(logits)
    if not (gradient.abs() <= RESTS * (slopes.abs().sum(dim=0) + bend.abs().sum(dim=1))).all():
        return None
    basis = _centred(len(logits))
    stable = bool((np.linalg.eigvals(basis.T @ bend.numpy() @ basis).real > 0).all())
    matrix = np.zeros((len(logits), len(logits)))
    matrix[problem.ends] = weights
    return FixedPoint(log_policy.numpy(), float(gradient.abs().max()), stable, matrix)


def _centred(n: int) -> Floats:
    """An orthonormal basis of the logits of mean 0, (n, n - 1): a constant changes no policy."""
    return np.asarray(np.linalg.svd(np.ones((1, n)))[2][1:].T)
