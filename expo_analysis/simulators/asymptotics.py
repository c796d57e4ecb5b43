"""What large samples do to an optimum: its asymptotic covariance, by the delta method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import erf

from .._threads import one_thread
from .._types import Floats
from ..bandit import Bandit
from ..losses import PairObjective, risk
from ..losses.responses import at_ends, edges_of, response_data
from ..losses.risk import refuse_coupled
from ..optima import solve


@dataclass(frozen=True, eq=False)
class Asymptotics:
    r"""sqrt(N) (optimum on N comparisons - policy) tends to a normal distribution with mean 0 and this covariance.

    policy: the optimum on the population, (n,). covariance: (n, n), singular, as policies sum to one.
    """

    policy: Annotated[Floats, "n"]
    covariance: Annotated[Floats, "n n"]

    def mean_tv(self, target: ArrayLike, pairs: ArrayLike) -> Floats:
        """E TV(optimum on so many ``pairs``, target), shape of ``pairs``, were the optimum's distribution normal.

        Each difference is normal with a mean b and a deviation s, and E|b + s Z| is that of the folded normal.
        """
        bias = np.abs(self.policy - np.asarray(target))
        spread = np.sqrt(np.diagonal(self.covariance) / np.asarray(pairs, dtype=np.float64)[..., None])
        away = np.divide(bias, spread, out=np.full(spread.shape, np.inf), where=spread > 0)
        folded = spread * np.sqrt(2 / np.pi) * np.exp(-(away**2) / 2) + bias * erf(away / np.sqrt(2))
        return np.asarray(folded.sum(axis=-1) / 2)


@one_thread()
def asymptotics(objective: PairObjective, bandit: Bandit) -> Asymptotics:
    r"""The asymptotic distribution of an objective's optimum on N comparisons drawn from a population.

    Each comparison is drawn by itself, the pair by q and the winner by p*. The optimum then is an M-estimator (van der
    Vaart, Asymptotic Statistics, 1998, theorem 5.21): in the logits its covariance is H^+ V H^+ / N, with H the
    Hessian of the population's risk at its minimiser and V the covariance of a single comparison's gradient, and
    J H^+ V H^+ J / N in the policy, J = diag(pi) - pi pi'. For the Bradley-Terry likelihood H = V is the Fisher
    information, and the covariance the smallest that is possible.

    Args:
        objective: of any loss that is twice differentiable at the optimum.
        bandit: a population with one prompt.

    Raises:
        TypeError, ValueError: naming the argument that is wrong, or that there is no unique minimiser.
    """
    if not isinstance(objective, PairObjective):
        raise TypeError(f"objective must be a loss of pairs, got {type(objective).__name__}")
    refuse_coupled(objective)
    if bandit.counts is not None or bandit.reference.ndim != 1:
        raise ValueError("bandit must be a population with one prompt, policies of shape (n,)")
    found = solve(objective, bandit)
    if found.status not in ("optimal", "best_found"):
        raise ValueError(f"bandit must have one minimiser of {objective.name}: {found.message}")
    theta = torch.from_numpy(found.log_policy)
    log_reference = torch.from_numpy(np.log(bandit.reference))
    winner, loser, third, weight = edges_of(objective, bandit)
    known = {kind: torch.from_numpy(x[:, 0].copy()) for kind, x in response_data(objective, bandit).items()}

    def losses(theta: torch.Tensor) -> torch.Tensor:
        log_policy = torch.log_softmax(theta, dim=-1)
        read = [log_policy, log_reference] if objective.facts.needs_reference else [log_policy]
        data = at_ends(objective, {**known, "logp": log_policy}, (winner, loser, third))
        return torch.as_tensor(objective.loss(*(array[end] for array in read for end in (winner, loser)), **data))

    def total(theta: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(risk(objective, bandit, torch.log_softmax(theta, dim=-1)))

    single = torch.func.jacrev(losses)(theta).numpy()
    single = single - weight @ single
    inverse = np.linalg.pinv(torch.func.hessian(total)(theta).numpy(), rcond=1e-12, hermitian=True)
    products = np.outer(found.policy, found.policy)
    np.fill_diagonal(products, 0.0)
    jacobian = np.diag(products.sum(axis=1)) - products  # diag(pi) - pi pi', to the last digit in corners too
    response = jacobian @ inverse
    return Asymptotics(found.policy, response @ (single.T * weight) @ single @ response.T)
