"""An objective on single prompts, as a function of their logits: what restricted problems are sums of.

Each cell is one prompt at one lambda; cells are the last axis, as problems are elsewhere in this room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from ..._types import Floats, Indices
from ...bandit import Bandit
from ...losses.base import Objective, PairObjective, RewardObjective
from .. import apart_certificate
from ..certificate import UNIT, PairRounding, exact_gradient, rounding_errors
from ..derivatives import Expansion, expand, gradient_size, log_softmax, softmax, through_softmax, value
from ..laplacian import pairs
from ..measured import divergence_rounding
from ..problem import Problem


@dataclass(frozen=True, eq=False)
class LogitErrors:
    """An expansion at x, and what rounding may do to it.

    gradient: (n, C). weights: a lower bound on the Hessian's weights by `laplacian.pairs`; proven only where not
    negative. currents: errors of the gradient along pairs. at_responses: errors at single responses, (n, C). bend: by
    which an error of a difference of logits enters the currents; own_bend: the same for a response's own logit.
    """

    gradient: Floats
    weights: Floats
    currents: Floats
    at_responses: Floats
    bend: Floats
    own_bend: Floats


class Cells(Protocol):
    """What a restricted problem asks of its prompts. Logits x have the shape (n, C)."""

    @property
    def log_reference(self) -> Floats: ...

    @property
    def responses(self) -> Indices:
        """The bandit's numbers of the responses, (n, C)."""

    @property
    def coupled(self) -> bool:
        """Whether a cell sees more of a policy than log-ratios of compared responses."""

    def value(self, x: Floats) -> Floats: ...

    def expand(self, x: Floats) -> Expansion: ...

    def gradient_size(self, x: Floats) -> Floats: ...

    def take(self, columns: Indices) -> Self: ...


@dataclass(frozen=True, eq=False)
class PairCells:
    """Losses of pairs, of a `Problem` in the logits."""

    problem: Problem

    @property
    def log_reference(self) -> Floats:
        return self.problem.log_reference

    @property
    def responses(self) -> Indices:
        assert self.problem.responses is not None
        return self.problem.responses

    @property
    def coupled(self) -> bool:
        return self.problem.target is not None or not self.problem.only_pairs

    def value(self, x: Floats) -> Floats:
        return value(self.problem, x)

    def expand(self, x: Floats) -> Expansion:
        return expand(self.problem, x)

    def gradient_size(self, x: Floats) -> Floats:
        """The sum of the moduli of what the gradient is a sum of, (n, C)."""
        return gradient_size(self.problem, x)

    def take(self, columns: Indices) -> PairCells:
        return PairCells(self.problem.take(columns))

    @property
    def certifiable(self) -> bool:
        """Whether `errors` knows what rounding does to the derivatives."""
        problem = self.problem
        return (
            problem.concordance is not None
            and (self._of_log_ratios or problem.divergence is None)
            and (self._of_log_ratios or apart_certificate.known(problem))
        )

    @property
    def _of_log_ratios(self) -> bool:
        """Whether nothing but parts of log-ratios, a cross-entropy and a divergence is there."""
        problem = self.problem
        return not problem.general and (not problem.is_formula or problem.facts.log_ratio_only)

    def errors(self, x: Floats) -> LogitErrors:
        """The expansion at x with its rounding errors, where `certifiable`."""
        problem = self.problem
        local = expand(problem, x)
        gradient, nothing = exact_gradient(problem, local), np.zeros_like(local.curvature)
        if not self._of_log_ratios:
            per_response, blur = apart_certificate.rounding(problem, x, local)
            weights = local.curvature * (1 - 1e-6) - blur
            return LogitErrors(gradient, weights, nothing, per_response, nothing, np.abs(per_response) / UNIT)
        rounding = PairRounding.of(problem, x)
        currents, at_responses = rounding_errors(problem, x, local.slope, rounding)
        policy, own, blur = softmax(x), np.zeros_like(x), 4 * UNIT * rounding.bend_scale
        if problem.target is not None:
            own = problem.target.sum(axis=0) * policy
        if problem.divergence is None:
            return LogitErrors(
                gradient, np.maximum(local.curvature - blur, 0.0), currents, at_responses, rounding.bend, own
            )
        other, (high, low) = divergence_rounding(problem, x), pairs(problem.n)
        blur = blur + 16 * UNIT * (policy[high] + policy[low]) * other.bend.sum(axis=0)
        own = own + other.bend + policy * (other.bend.sum(axis=0) + other.total)
        # nothing but its M is known of a divergence's Hessian: weights that may be negative prove nothing
        return LogitErrors(
            gradient, local.curvature - blur, currents, at_responses + other.at_responses, rounding.bend, own
        )


@dataclass(frozen=True, eq=False)
class RewardCells:
    """-E_pi[r] + lam D(pi, pi_ref); reward: (n, C), known up to ``error`` (C,)."""

    objective: RewardObjective
    log_reference: Floats
    responses: Indices
    reward: Floats
    error: Floats
    coupled = True

    def value(self, x: Floats) -> Floats:
        log_policy = log_softmax(x)
        terms = self.objective.regulariser.terms(log_policy, self.log_reference)
        return np.asarray((self.objective.lam * terms - np.exp(log_policy) * self.reward).sum(axis=0))

    def expand(self, x: Floats) -> Expansion:
        policy = np.exp(log_softmax(x))
        gained = policy * (self.reward - (policy * self.reward).sum(axis=0))  # a reward that all share is nothing
        first, second = (self.objective.lam * d - gained for d in self._derivatives(x))
        gradient, curvature = through_softmax(policy, first, second, first.sum(axis=0))
        return Expansion(gradient, curvature, np.zeros_like(curvature))

    def _derivatives(self, x: Floats) -> tuple[Floats, Floats]:
        return self.objective.regulariser.derivatives(log_softmax(x), self.log_reference)

    def gradient_size(self, x: Floats) -> Floats:
        """The sum of the moduli of what the gradient is a sum of, (n, C)."""
        policy = np.exp(log_softmax(x))
        own = self.objective.lam * np.abs(self._derivatives(x)[0])
        own = own + policy * np.abs(self.reward - (policy * self.reward).sum(axis=0))
        return np.asarray(own + policy * own.sum(axis=0))

    def take(self, columns: Indices) -> RewardCells:
        objective = self.objective.with_lam(np.asarray(self.objective.lam)[columns])
        log_reference, reward, error = (x.take(columns, axis=-1) for x in (self.log_reference, self.reward, self.error))
        return RewardCells(objective, log_reference, self.responses[:, columns], reward, error)


def cells_of(objective: Objective, bandit: Bandit, prompt: Indices, lam: Floats) -> PairCells:
    """The cells of a loss of pairs at (prompt, lam) pairs (C,)."""
    likelihood = _likelihood(objective.with_lam(lam), bandit, prompt)
    problem = Problem.cut(objective, bandit, range(bandit.n), prompt, lam, likelihood)
    return PairCells(problem.in_logits())


def _likelihood(objective: Objective, bandit: Bandit, prompt: Indices) -> Floats | None:
    """The weights of -log pi that winners and losers bring, (C, n); None where the loss has none or more."""
    assert isinstance(objective, PairObjective)
    facts = objective.facts_at(None)
    if not facts.likelihood or facts.general:
        return None
    n = bandit.n
    wins = bandit.wins.reshape(-1, n, n)[prompt]
    shares = {"w": wins.sum(axis=2), "l": wins.sum(axis=1)}
    return np.asarray(sum(np.reshape(a, (-1, 1)) * shares[slot] for slot, a in facts.likelihood.items()))
