r"""The Markov chain behind compositional EXPO.

**Theorem** [ours]. Let pi be the optimum of EXPO at lambda > 0 with pair weights w_ij = 2 q_ij and Bradley-Terry
preferences pi*. With u_i = pi_i/pi*_i and D = diag(pi*), stationarity is

    pi_ref = (I + A D^-1 / lambda) pi,      A the graph Laplacian of
    a_ij = w_ij (sigma(h_ij) - sigma(h*_ij)) / (u_i - u_j) = w_ij pi*_i pi*_j / ((pi_i + pi_j)(pi*_i + pi*_j)) > 0.

So pi = T pi_ref, T = (I + A D^-1/lambda)^-1: nonnegative, its columns sum to one, T pi* = pi*. EXPO's optimum is where
a chain that is reversible with respect to pi* and starts in pi_ref is after an exponential time of rate lambda.
*Proof.* The gradient in the logits is sum_j w_ij (sigma(h_ij) - p*_ij) + lambda (pi_i - pi_ref,i); put sigma(h_ij) =
pi_i/(pi_i + pi_j), p*_ij likewise, over a common denominator. I + A D^-1/lambda has nonpositive entries off the
diagonal and columns that sum to one, so that it is a nonsingular M-matrix, whose inverse is nonnegative. QED

Hence D(pi ‖ pi*) <= D(pi_ref ‖ pi*) for every divergence that obeys data processing, pi_i/pi*_i stays within the range
of pi_ref/pi*, and chi2(pi ‖ pi*) <= chi2(pi_ref ‖ pi*)/(1 + gap/lambda)^2, gap the least positive eigenvalue of A D^-1
(on a connected graph). All of it holds with any preferences if pi* is the Bradley-Terry fit to them, and for pairs
drawn on-policy at every fixed point: w at the fixed point then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .._checks import as_floats, check_number, check_policy
from .._types import Floats


@dataclass(frozen=True, eq=False)
class Chain:
    """The chain of one prompt. generator: A D^-1, (n, n). kernel: T, (n, n). stationary: pi*, (n,)."""

    generator: Floats
    kernel: Floats
    stationary: Floats

    @property
    def gap(self) -> float:
        """The least eigenvalue of the generator but for one 0; 0 where the graph is not connected."""
        root = np.sqrt(self.stationary)
        symmetric = self.generator * root / root[:, None]  # D^-1/2 A D^-1/2
        return float(np.linalg.eigvalsh((symmetric + symmetric.T) / 2)[1])


def expo_chain(policy: ArrayLike, optimal: ArrayLike, pairs: ArrayLike, lam: float) -> Chain:
    """The chain for EXPO's optimum, or on-policy fixed point.

    Args:
        policy: pi, shape (n,). optimal: pi*, or the Bradley-Terry fit, shape (n,). pairs: q_ij, shape (n, n), symmetric
            and summing to one over all ordered pairs. lam: positive.

    Raises:
        ValueError: naming the argument that is wrong.

    Example:
        >>> import expo_analysis as ea
        >>> from expo_analysis.optima.chain import expo_chain
        >>> bandit = ea.Bandit(reference=[0.4, 0.4, 0.2], optimal=[0.6, 0.3, 0.1])
        >>> policy = ea.solve(ea.EXPO(lam=0.1), bandit).policy
        >>> kernel = expo_chain(policy, bandit.optimal, bandit.pairs, 0.1).kernel
        >>> bool(abs(kernel @ bandit.reference - policy).max() < 1e-14)
        True
    """
    pi, best = check_policy("policy", policy), check_policy("optimal", optimal)
    q = as_floats("pairs", pairs)
    n = pi.size
    for name, shape in (("policy", pi.shape), ("optimal", best.shape)):
        if shape != (n,) or n < 2:
            raise ValueError(f"{name} must have shape (n,) of one prompt, got {shape}")
    if q.shape != (n, n) or not (q >= 0).all() or not np.allclose(q, q.T, rtol=1e-12, atol=0):
        raise ValueError(f"pairs must be symmetric and non-negative, of shape {(n, n)}")
    check_number("lam", lam, 0.0)
    rate = 2 * q * np.outer(best, best) / (np.add.outer(pi, pi) * np.add.outer(best, best))
    generator = (np.diag(rate.sum(axis=0)) - rate) / best
    return Chain(generator, inverse_of_columns(generator / lam), best)


def inverse_of_columns(flow: Floats) -> Floats:
    """(I + flow)^-1 for a matrix whose columns sum to zero, with nothing positive off its diagonal.

    Gaussian elimination without a subtraction: the diagonal of what is left is one's share and what flows elsewhere
    (Grassmann, Taksar and Heyman 1985), so that every entry keeps its digits, however small lambda.
    """
    n = len(flow)
    out = -flow * (1 - np.eye(n))  # out[i, j]: what column j sends to i
    # to rest is one more place, to which each column sends one
    rest, kernel = np.eye(n), np.zeros((n, n))
    order: list[Floats] = []
    for k in range(n):
        total = rest[:, k].sum() + out[k + 1 :, k].sum()
        order.append(total)
        share_out, share_rest = out[k + 1 :, k] / total, rest[:, k] / total
        inflow = out[k, k + 1 :].copy()
        out[k + 1 :, k + 1 :] += np.outer(share_out, inflow)
        rest[:, k + 1 :] += np.outer(share_rest, inflow)
        out[k + 1 :, k], rest[:, k] = share_out, share_rest
    for k in range(n - 1, -1, -1):  # where one that is in k comes to rest: at once, or by way of a later place
        kernel[:, k] = rest[:, k] + kernel[:, k + 1 :] @ out[k + 1 :, k]
    return kernel
