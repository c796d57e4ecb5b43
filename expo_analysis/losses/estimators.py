r"""Estimators of EXPO's regulariser, KL(pi_ref || pi), where responses are too many to sum over.

For responses y = (y_1, ..., y_T) of tokens, the chain rule gives

    KL(pi_ref || pi) = E_{y ~ pi_ref} sum_t KL(pi_ref(.|y_<t) || pi(.|y_<t)).    [ours]

Each estimator turns what a batch holds into one number per pair, so that its mean over pairs, times lam, stands for
lam KL(pi_ref || pi) up to a constant. The simulators and the language-model trainer share them. They differ in what
they do to responses outside of the data [ours]:

* `own_responses` needs nothing but the pair. Unbiased only if each response has the distribution pi_ref, which throwing
  pairs of equal ones away already upsets. On given pairs its optimum is EXPO's towards *their* distribution instead of
  pi_ref: all mass moves onto the data.
* `reference_samples` needs fresh responses drawn from pi_ref: unbiased, conserves.
* `token_kl` needs the reference's distributions over the next token, along whatever prefixes are at hand. It is never
  negative, and its gradient vanishes at pi_ref whatever the prefixes, so that it always preserves. Along samples of
  pi_ref it is unbiased and conserves. Along the pairs' own responses neither: compared responses may lose mass.

Near pi_ref the variance of `token_kl` is of a smaller order than that of log(pi_ref/pi), and so is its gradient's. In a
table with a row for every prefix the gradient's variance is never the larger one; but the value's can be, and with
parameters that positions share the gradient's too: the sum over t is no conditional expectation (Rao-Blackwell), only
its terms are.
"""

from __future__ import annotations

from .._checks import check_same_shape
from .._types import Array
from ..divergences import ForwardKL
from ..numerics import namespace
from .base import PairObjective

ESTIMATORS = ("exact", "own_responses", "reference_samples", "token_kl")
"""Ways to a regulariser. ``"exact"``, the only one for other divergences, sums over all responses."""


def own_responses(logp_w: Array, logp_l: Array) -> Array:
    """-(log pi_w + log pi_l) / 2, shape of its arguments: the cross-entropy of a pair's own two responses."""
    check_same_shape(logp_w=logp_w, logp_l=logp_l)
    return -(logp_w + logp_l) / 2


def reference_samples(logp_samples: Array) -> Array:
    """-mean_k log pi(y_k): samples of pi_ref on the last axis, which is averaged away."""
    return -namespace(logp_samples).mean(logp_samples, axis=-1)


def token_kl(token_logp: Array, ref_token_logp: Array, mask: Array) -> Array:
    """sum_t KL(pi_ref(.|y_<t) || pi(.|y_<t)), in nats, along given prefixes.

    Args:
        token_logp, ref_token_logp: log-probabilities of every next token, shape (..., T, V).
        mask: shape (..., T), 1 where a position belongs to the response and 0 elsewhere.

    Returns:
        Shape (...): summed over positions and vocabulary, never averaged.
    """
    divergence = ForwardKL()(token_logp, ref_token_logp)
    return namespace(divergence).sum(divergence * mask, axis=-1)


def check_estimator(objective: PairObjective, estimator: str) -> None:
    """Raise unless this estimator is one of this objective's regulariser."""
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {list(ESTIMATORS)}, got {estimator!r}")
    if estimator != "exact" and type(objective.regulariser) is not ForwardKL:
        raise ValueError(
            f"estimator {estimator!r} estimates KL(pi_ref || pi), which is not the regulariser of "
            f"{type(objective).__name__}; 'exact' is accepted"
        )
