r"""What a trained policy pi is, beside its reference pi_ref, on held-out prompts and pairs.

=========================================  ==========================================================================
kl/reference_policy, kl/policy_reference   KL(pi_ref ‖ pi) and KL(pi ‖ pi_ref) of a response, in nats: sums over tokens
                                           of exact next-token KLs along samples of the first of the two, up to
                                           ``max_new_tokens``; ``_per_token`` divides the sum by the tokens
implicit/accuracy, implicit/margin         of given pairs: how often lam log pi/pi_ref is higher for the chosen response
                                           (ties count half), and by how much
reward/policy, reward/reference            expected rewards of samples
win_rate                                   how often a sample of pi has a higher reward than one of pi_ref to the same
                                           prompt (ties count half)
explicit/accuracy, explicit/agreement      of given pairs: how often the reward is higher for the chosen response, and
                                           how often it and the implicit reward prefer the same (ties count half)
optimal/...                                the KLs, and the mean of \|implicit margin\|, where the reference was optimal
                                           already: all of it is drift
=========================================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data.logps import Compared, compare
from .data.rewards import Reward
from .data.sampling import Draw, Sampler, Sampling, end_tokens
from .data.texts import Texts
from .held_out import HeldOut
from .intervals import Sums

Floats = NDArray[np.float64]

Progress = Callable[[int], None]
"""Called with how many responses were sampled or scored since the last call."""


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Args:
        sampling: at temperature 1 and top_p 1: expectations are those of the policies.
        responses: samples of each policy to each prompt.
        lam: by which implicit rewards are multiplied.
        batch_size: responses that are sampled at a time; of those that are compared, whose logits over the whole
            vocabulary are in memory for two models, at most 8.

    Raises:
        ValueError: naming the argument and what is accepted.
    """

    sampling: Sampling
    responses: int = 4
    lam: float = 1.0
    batch_size: int = 16

    def __post_init__(self) -> None:
        if not self.sampling.from_model_itself:
            raise ValueError("sampling must have temperature 1 and top_p 1: expectations are those of the policies")
        for name in ("responses", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {getattr(self, name)}")

    @property
    def compared(self) -> int:
        """How many responses are compared at a time."""
        return min(self.batch_size, 8)


def draw_each(
    model: Any,
    tokenizer: Any,
    ids: Sequence[Sequence[int]],
    sampling: Sampling,
    count: int,
    batch_size: int,
    progress: Progress = lambda done: None,
) -> list[list[Draw]]:
    """``count`` responses to each prompt; every policy has the same random numbers for the same prompt and number."""
    rows = [(prompt, number) for prompt in range(len(ids)) for number in range(count)]
    found, draw = [], Sampler(model, sampling, end_tokens(model, tokenizer))  # type: list[Draw], Sampler
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        found += draw([ids[prompt] for prompt, _ in part], part)
        progress(len(part))
    return [found[start : start + count] for start in range(0, len(found), count)]


def texts_of(tokenizer: Any, ids: Sequence[Sequence[int]], draws: Sequence[Sequence[Draw]]) -> list[list[str]]:
    """Samples as texts."""
    to_text = Texts(tokenizer, {prompt: list(tokens) for prompt, tokens in enumerate(ids)})
    return [[to_text((prompt, number), one) for number, one in enumerate(own)] for prompt, own in enumerate(draws)]


def rewards_of(reward: Reward, prompts: Sequence[Any], texts: Sequence[Sequence[str]]) -> Floats:
    """Rewards of as many texts to each prompt, shape (prompts, texts).

    Raises:
        RewardError: naming the prompt and the response.
    """
    rows = [(prompt, number) for prompt, own in enumerate(texts) for number in range(len(own))]
    values = reward([prompts[prompt] for prompt, _ in rows], [text for own in texts for text in own], rows)
    return values.reshape(len(texts), -1)


@dataclass(frozen=True)
class Reference:
    """What is known of a reference on held-out data, for all policies that are compared with it.

    draws       its samples; rewards: theirs, (prompts, responses), None without a reward
    """

    draws: list[list[Draw]]
    rewards: Floats | None

    @classmethod
    def of(
        cls,
        model: Any,
        tokenizer: Any,
        data: HeldOut,
        settings: Settings,
        reward: Reward | None = None,
        progress: Progress = lambda done: None,
    ) -> Reference:
        """Sample from a reference, and score what was sampled."""
        draws = draw_each(
            model, tokenizer, data.ids, settings.sampling, settings.responses, settings.batch_size, progress
        )
        scores = None if reward is None else rewards_of(reward, data.prompts, texts_of(tokenizer, data.ids, draws))
        return cls(draws, scores)


def evaluate(
    model: Any,
    reference: Any,
    tokenizer: Any,
    data: HeldOut,
    settings: Settings,
    *,
    sampled: Reference | None = None,
    reward: Reward | None = None,
    optimal: bool = False,
    progress: Progress = lambda done: None,
) -> dict[str, Sums]:
    """The sums of all measures that these data allow, by the names in the table above.

    Args:
        sampled: of the reference on these data; None samples it here.
        optimal: whether the reference is optimal on these data: then drift is what is measured.

    Raises:
        ValueError: if the reference has another vocabulary.
        RewardError: naming the prompt and the response.
    """
    if sampled is None:
        sampled = Reference.of(model=reference, tokenizer=tokenizer, data=data, settings=settings, reward=reward)
    draws = draw_each(model, tokenizer, data.ids, settings.sampling, settings.responses, settings.batch_size, progress)
    found: dict[str, Sums] = {}
    for name, of, one in (("reference_policy", sampled.draws, "kl"), ("policy_reference", draws, "reverse_kl")):
        prompts = [ids for ids, own in zip(data.ids, of, strict=True) for _ in own]
        compared = compare(model, reference, prompts, [d.ids for own in of for d in own], settings.compared)
        values = getattr(compared, one)
        total = values.reshape(len(data.ids), -1).sum(axis=1)
        found[f"kl/{name}"] = Sums(total / settings.responses, np.ones(len(total)))
        found[f"kl/{name}_per_token"] = Sums(total, np.array([float(sum(len(d.ids) for d in own)) for own in of]))
        progress(len(prompts))
    margins = implicit_margins(model, reference, data, settings)
    if optimal:
        if data.pairs:
            found["margin"] = per_prompt(data, np.abs(margins))
        return {f"optimal/{name}": sums for name, sums in found.items()}
    if data.pairs:
        found["implicit/accuracy"] = per_prompt(data, halves(margins))
        found["implicit/margin"] = per_prompt(data, margins)
    if reward is not None:
        assert sampled.rewards is not None
        scores = rewards_of(reward, data.prompts, texts_of(tokenizer, data.ids, draws))
        found |= _of_rewards(scores, sampled.rewards)
        if data.pairs:
            gaps = explicit_margins(reward, tokenizer, data)
            found["explicit/accuracy"] = per_prompt(data, halves(gaps))
            found["explicit/agreement"] = per_prompt(data, halves(gaps * margins))
    return found


def _of_rewards(policy: Floats, reference: Floats) -> dict[str, Sums]:
    """Expected rewards, and the win rate over all pairs of samples to a prompt; (prompts, responses) each."""
    ones = np.ones(len(policy))
    # every sample of the one against every sample of the other: fewer samples are needed, and equal policies tie
    wins = halves(policy[:, :, None] - reference[:, None, :]).mean(axis=(1, 2))
    return {
        "reward/policy": Sums(policy.mean(axis=1), ones),
        "reward/reference": Sums(reference.mean(axis=1), ones),
        "win_rate": Sums(wins, ones),
    }


def halves(differences: Floats) -> Floats:
    """1 where positive, 1/2 where zero, 0 where negative."""
    return (np.sign(differences) + 1) / 2


def per_prompt(data: HeldOut, values: Floats) -> Sums:
    """The sums over the pairs of each prompt, and their numbers; ``values``: (pairs,)."""
    places = np.array([pair.prompt for pair in data.pairs], dtype=np.int64)
    size = len(data.ids)
    sums, counts = (np.bincount(places, weights, size) for weights in (values, np.ones(len(places))))
    return Sums(sums.astype(np.float64), counts.astype(np.float64))


def implicit_margins(model: Any, reference: Any, data: HeldOut, settings: Settings) -> Floats:
    """lam [log pi/pi_ref of the chosen response - log pi/pi_ref of the rejected one], in nats: (pairs,)."""
    if not data.pairs:
        return np.empty(0)
    prompts = [data.ids[pair.prompt] for pair in data.pairs]
    ratios = []
    for side in ("chosen", "rejected"):
        responses = [getattr(pair, side) for pair in data.pairs]
        masks = [getattr(pair, f"{side}_mask") for pair in data.pairs]
        found: Compared = compare(model, reference, prompts, responses, settings.compared, masks)
        ratios.append(found.logp - found.ref_logp)
    return settings.lam * (ratios[0] - ratios[1])


def explicit_margins(reward: Reward, tokenizer: Any, data: HeldOut) -> Floats:
    """The reward of the chosen response less that of the rejected one: (pairs,)."""
    prompts = [data.prompts[pair.prompt] for pair in data.pairs]
    ids = [data.ids[pair.prompt] for pair in data.pairs]
    given = [[Draw(pair.chosen, 0.0, True), Draw(pair.rejected, 0.0, True)] for pair in data.pairs]
    values = rewards_of(reward, prompts, texts_of(tokenizer, ids, given))
    return np.asarray(values[:, 0] - values[:, 1])
