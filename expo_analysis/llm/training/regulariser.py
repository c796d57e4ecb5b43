r"""Explicit regularisers on batches of a language model's tokens: which estimator, what it conserves, what it costs.

For a sequence y of tokens, KL(pi_ref || pi) = E_{y ~ pi_ref} sum_t KL(pi_ref(.|y_<t) || pi(.|y_<t)). The formulas are
those of `expo_analysis.losses.estimators`, shared with the simulators; this module feeds them.

==================  ==============================================  ===============================================
estimator           what it conserves                               what it costs
==================  ==============================================  ===============================================
own_responses       nothing outside of the data: it raises the      nothing: no reference model, no further tokens.
                    likelihood of both responses, and mass moves    Unbiased only if they were drawn from pi_ref
                    onto them
reference_samples   the mass of whatever pi_ref says (in            no reference model; K further rows for each pair
                    expectation): unbiased                          in the forward pass, drawn beforehand
token_kl            the same along samples of pi_ref: unbiased,     the reference's forward pass, and both
                    never negative, without noise at pi_ref. Along  vocabularies' logits, a chunk of tokens at a
                    the pair's own responses it keeps pi_ref        time; the reference in memory (none beside the
                    where that is optimal, but no masses            adapter with PEFT)
token_divergence    as token_kl, for other divergences: sum_t       as token_kl
                    D(pi(.|y_<t), pi_ref(.|y_<t)), which is D
                    itself for responses of one token only
==================  ==============================================  ===============================================
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...divergences import Divergence, ForwardKL
from ...losses.base import PairObjective, check_option
from ...losses.estimators import own_responses, reference_samples, token_kl

ESTIMATORS = ("own_responses", "reference_samples", "token_kl", "token_divergence")
"""The estimators that a language model can be trained with."""

TOKEN_WISE = ("token_kl", "token_divergence")
"""Those that compare next-token distributions, and so read the reference's logits."""


def resolve_estimator(objective: PairObjective, estimator: str | None) -> str | None:
    """The estimator of an objective's regulariser, checked; None where there is no regulariser.

    Left open, it is ``"token_kl"`` for KL(pi_ref || pi), and ``"token_divergence"`` for any other divergence: the ones
    that leave a policy alone which is its reference. docs/llm.md has the numbers behind this choice.

    Raises:
        ValueError: for an estimator that is unknown, that the objective has no use for, or that estimates another
            divergence.
    """
    name, divergence = type(objective).__name__, objective.regulariser
    if divergence is None:
        if estimator is not None:
            raise ValueError(f"regulariser_estimator is not used by {name}, which has no explicit regulariser")
        return None
    forward = type(divergence) is ForwardKL
    if estimator is None:
        return "token_kl" if forward else "token_divergence"
    check_option("regulariser_estimator", estimator, ESTIMATORS)
    if forward and estimator == "token_divergence":
        raise ValueError(f"regulariser_estimator must be 'token_kl' for {name}: that is the same, of KL(pi_ref || pi)")
    if not forward and estimator != "token_divergence":
        raise ValueError(
            f"regulariser_estimator {estimator!r} estimates KL(pi_ref || pi), which is not the regulariser of {name}; "
            "'token_divergence' is accepted"
        )
    return estimator


CONSERVES = {
    "own_responses": "it raises the likelihood of both responses of a pair, rejected ones too, and conserves no mass "
    "outside of the data",
    "reference_samples": "it conserves the reference's masses in expectation over the samples; with few of them and a "
    "large lambda it fits these few",
    "token_kl": "it leaves the reference alone where there is nothing to learn, and conserves next-token distributions "
    "along its prefixes, but not the masses of whole responses off them",
    "token_divergence": "it leaves the reference alone where there is nothing to learn, and conserves no masses off "
    "its prefixes",
}
"""What each estimator conserves, and what it does not: a user is told once."""


class TokenDivergence:
    """A divergence between next-token distributions: (N, V) log-probabilities of policy and reference -> (N,)."""

    def __init__(self, divergence: Divergence) -> None:
        self.divergence = divergence

    def __call__(self, token_logp: Tensor, ref_token_logp: Tensor) -> Tensor:
        if type(self.divergence) is ForwardKL:  # every token as a response of length one, which the caller adds up
            one = torch.ones_like(token_logp[:, :1])
            return token_kl(token_logp[:, None], ref_token_logp[:, None], one)
        return self.divergence(token_logp, ref_token_logp)


def per_response(estimator: str, values: Tensor) -> Tensor:
    """The regulariser's estimate along each response, of those whose mean is that of an example, (R,).

    Args:
        values: of `own_responses` and `reference_samples` log pi of the example's responses, or of its samples of the
            reference; of the others sum_t of the token-wise divergence along these.
    """
    check_option("regulariser_estimator", estimator, ESTIMATORS)
    if estimator == "own_responses":
        return own_responses(values, values)
    return reference_samples(values[:, None]) if estimator == "reference_samples" else values
