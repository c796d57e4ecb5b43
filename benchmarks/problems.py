"""The problems that every solver gets, and how far each answer is from solving them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

import expo_analysis as ea

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problems:
    """Compositional EXPO on many prompts with n responses, one lambda, every pair compared equally often.

    reference, optimal: pi_ref and pi*, shape (count, n). pairs, preference: q and p*, shape (count, n, n).
    """

    lam: float
    reference: Floats
    optimal: Floats
    pairs: Floats
    preference: Floats

    @classmethod
    def random(cls, n: int, count: int, lam: float, seed: int = 0) -> Problems:
        """pi_ref and pi* drawn from the uniform distribution on the simplex (Dirichlet with all parameters 1)."""
        rng = np.random.default_rng(seed)
        reference, optimal = rng.dirichlet(np.ones(n), (2, count))
        bandit = ea.Bandit(reference, optimal)
        return cls(lam, reference, optimal, bandit.pairs, bandit.preference)

    @property
    def start(self) -> Floats:
        """The starting point of all solvers, log((pi* + lam pi_ref) / (1 + lam)), shape (count, n)."""
        return np.log((self.optimal + self.lam * self.reference) / (1 + self.lam))

    def residual(self, policy: Floats) -> float:
        """Largest |sum_j 2 q_ij (sigma(theta_i - theta_j) - p*_ij) + lam (pi_i - pi_ref,i)| of all: 0 at the optima."""
        theta = np.log(policy)
        moved = expit(theta[:, :, None] - theta[:, None, :]) - self.preference
        gradient = np.einsum("kij,kij->ki", 2 * self.pairs, moved) + self.lam * (policy - self.reference)
        return float(np.abs(gradient).max())


def softmax(theta: Floats) -> Floats:
    """Policies of logits, over the last axis."""
    policy = np.exp(theta - theta.max(axis=-1, keepdims=True))
    return np.asarray(policy / policy.sum(axis=-1, keepdims=True))
