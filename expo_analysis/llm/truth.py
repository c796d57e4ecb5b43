r"""What is known where rewards are: expected reward, and divergences between policies, by samples with their errors.

What the errors mean is said in `expo_analysis.llm.data.estimates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .data.estimates import Estimate, estimate, expected_reward
from .data.prompts import Prompts
from .data.rewards import Reward
from .data.sampling import Draw, Sampling, compare, draw, end_tokens
from .data.texts import Texts


def kl_by_samples(logp: ArrayLike, other_logp: ArrayLike) -> Estimate:
    """KL(p ‖ q) = E_{y~p} [log p(y) - log q(y)], from log-probabilities (prompts, k) of responses *drawn from p*.

    Unbiased, and noisy: single values may be negative. `evaluate` uses the sums over tokens of `Compared`, which have
    the same expectation and less variance.
    """
    first, second = np.asarray(logp, dtype=np.float64), np.asarray(other_logp, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"other_logp must have the shape of logp, {first.shape}, got {second.shape}")
    return estimate(first - second)


@dataclass(frozen=True)
class Evaluation:
    """A policy beside its reference.

    reward, ref_reward      expected rewards
    kl                      KL(pi_ref ‖ pi) per sequence, EXPO's regulariser, along samples of the reference
    reverse_kl              KL(pi ‖ pi_ref) per sequence, along samples of the policy
    texts                   the policy's responses, k for each prompt
    """

    reward: Estimate
    ref_reward: Estimate
    kl: Estimate
    reverse_kl: Estimate
    texts: list[list[str]]


def evaluate(
    model: Any,
    reference: Any,
    tokenizer: Any,
    prompts: Prompts,
    prompt_ids: Sequence[Sequence[int]],
    reward: Reward,
    sampling: Sampling,
    *,
    responses: int = 4,
    batch_size: int = 16,
) -> Evaluation:
    """Expected reward of a policy and of its reference, and both KLs, on k responses of each to each prompt.

    KLs are sums over tokens of exact next-token KLs along samples (as EXPO's `token_kl`), up to
    ``max_new_tokens``. Policy and reference use the same random numbers, so that equal policies give equal rewards.

    Raises:
        ValueError: if ``sampling`` draws from something else than the policies themselves.
        RewardError: as of `Reward`.
    """
    if not sampling.from_model_itself:
        raise ValueError("sampling must have temperature 1 and top_p 1: expectations are those of the policies")
    rows = [(row, number) for row in prompts.rows for number in range(responses)]
    tokens_of = dict(zip(prompts.rows, prompt_ids, strict=True))
    text_of = dict(zip(prompts.rows, prompts.prompts, strict=True))
    ids = [tokens_of[row] for row, _ in rows]
    to_text = Texts(tokenizer, tokens_of)
    shape = (len(prompts.rows), responses)

    def drawn_from(policy: Any) -> list[Draw]:
        found: list[Draw] = []
        for start in range(0, len(rows), batch_size):
            part = slice(start, start + batch_size)
            found += draw(policy, ids[part], rows[part], sampling, end_tokens(policy, tokenizer))
        return found

    draws = {"policy": drawn_from(model), "reference": drawn_from(reference)}
    texts = {who: [to_text(row, one) for row, one in zip(rows, found, strict=True)] for who, found in draws.items()}
    rewards = {who: reward([text_of[row] for row, _ in rows], found, rows) for who, found in texts.items()}
    along = {who: compare(model, reference, ids, [one.ids for one in found]) for who, found in draws.items()}
    return Evaluation(
        reward=expected_reward(rewards["policy"].reshape(shape)),
        ref_reward=expected_reward(rewards["reference"].reshape(shape)),
        kl=estimate(along["reference"].kl.reshape(shape)),
        reverse_kl=estimate(along["policy"].reverse_kl.reshape(shape)),
        texts=[texts["policy"][start : start + responses] for start in range(0, len(rows), responses)],
    )
