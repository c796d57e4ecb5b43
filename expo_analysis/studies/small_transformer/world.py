"""A world whose truth is known: a grammar, a reward, a transformer trained on the grammar's texts, and labelled pairs.

A prompt is three words, a topic and two subjects, and a response `LENGTH` tokens out of `VOCABULARY`. The grammar is a
Markov chain: the first token depends on the topic and the first subject, each later one on the token before it, on the
topic and on the second subject. The reward is a sum over tokens and over neighbouring tokens of a response, in
coefficients of its own. Both carry over from prompts to others that share their words.

Half of the topics are labelled by the reward, pi* proportional to exp(reward / temperature). On the other half pi* is
the reference itself, so that there is nothing to learn. Every number is a sum over all responses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._progress import Progress, silent
from ..._types import Floats, Indices, Mask
from ...bandit import Bandit
from ...simulators import Pairs, PromptedTransformer, draw_pairs, fit_texts

VOCABULARY, LENGTH = 5, 3
TOPICS, SUBJECTS = 4, 4
"""How many topics there are, the first half of them labelled by the reward; and how many first and second subjects."""

SHARPNESS = 1.2
"""Standard deviation of the grammar's logits."""
FIXED = (VOCABULARY, LENGTH, TOPICS, SUBJECTS, SHARPNESS)
"""What all seeds share."""


@dataclass(frozen=True, eq=False)
class World:
    """What all runs of one seed share.

    texts: the prompts, (prompts, 3). truth: the grammar's distribution over responses, (prompts, n). reward: (prompts,
    n), of standard deviation 1 under the grammar. by_reward: which prompts it labels, (prompts,).
    """

    texts: Indices
    truth: Floats
    reward: Floats
    by_reward: Mask

    @property
    def words(self) -> int:
        """Of how many words prompts are made."""
        return TOPICS + 2 * SUBJECTS


def make_world(seed: int) -> World:
    """The grammar and the reward of a seed."""
    topic, first, second = (x.reshape(-1) for x in np.indices((TOPICS, SUBJECTS, SUBJECTS)))
    texts = np.stack([topic, TOPICS + first, TOPICS + SUBJECTS + second], axis=1)
    rng = np.random.default_rng([seed, 0])
    tokens = np.indices((VOCABULARY,) * LENGTH).reshape(LENGTH, -1).T

    def coefficients(*shape: int) -> Floats:
        return rng.normal(size=(*shape, VOCABULARY))

    # logits of the first token; then by the token before
    begin = coefficients(TOPICS)[topic] + coefficients(SUBJECTS)[first]
    after = coefficients(TOPICS, VOCABULARY)[topic] + coefficients(SUBJECTS)[second][:, None]
    chain = [_log_softmax(SHARPNESS / np.sqrt(2) * logits) for logits in (begin, after)]
    log_truth = chain[0][:, tokens[:, 0]]
    for t in range(1, LENGTH):
        log_truth = log_truth + chain[1][:, tokens[:, t - 1], tokens[:, t]]
    truth = np.exp(log_truth)
    # the reward: each token by topic, the first and the last by a subject, and neighbours
    reward = coefficients(TOPICS)[topic][:, tokens].sum(axis=-1)
    reward += coefficients(SUBJECTS)[first][:, tokens[:, 0]] + coefficients(SUBJECTS)[second][:, tokens[:, -1]]
    neighbours = coefficients(VOCABULARY)
    reward += sum(neighbours[tokens[:, t - 1], tokens[:, t]] for t in range(1, LENGTH))
    reward -= (truth * reward).sum(axis=1, keepdims=True)
    reward /= np.sqrt((truth * reward**2).sum(axis=1).mean())
    return World(texts, truth / truth.sum(axis=1, keepdims=True), reward, topic < TOPICS // 2)


@dataclass(frozen=True, eq=False)
class Learned:
    """A world, the transformer that was trained on its texts, and what follows from it.

    reference, optimal: (prompts, n). fit: KL(grammar || reference) in nats, and the entropy of the grammar, means.
    """

    world: World
    model: PromptedTransformer
    reference: Floats
    optimal: Floats
    fit: tuple[float, float]


def learn(world: World, seed: int, steps: int, batch: int, temperature: float, progress: Progress = silent) -> Learned:
    """Train the transformer on the world's texts, from random weights; it becomes the reference."""
    model = PromptedTransformer(VOCABULARY, LENGTH, world.texts, world.words, seed=seed)
    weights = fit_texts(model, world.truth, steps=steps, batch=batch, seed=seed, progress=progress)
    model = PromptedTransformer(VOCABULARY, LENGTH, world.texts, world.words, seed=seed, weights=weights)
    reference = model.initial()
    tilted = np.exp((world.reward - world.reward.max(axis=1, keepdims=True)) / temperature)
    labelled = tilted / tilted.sum(axis=1, keepdims=True)
    optimal = np.where(world.by_reward[:, None], labelled, reference)
    entropy = -(world.truth * np.log(world.truth)).sum(axis=1).mean()
    cross = -(world.truth * np.log(reference)).sum(axis=1).mean()
    return Learned(world, model, reference, optimal, (float(cross - entropy), float(entropy)))


@dataclass(frozen=True, eq=False)
class Compared:
    """Data sets of one seed. pairs: all of them. trained: which prompts each has pairs of, (data sets, prompts)."""

    pairs: Pairs
    trained: Mask


def compare(learned: Learned, seed: int, data_sets: int, pairs: int) -> Compared:
    """Half of the prompts of each topic, ``pairs`` comparisons to each on average, of responses of the reference.

    Winners are drawn with probability p*. Each data set has prompts, responses and labels of its own.
    """
    world, found, trained = learned.world, [], []
    topic = world.texts[:, 0]
    for k in range(data_sets):
        rng = np.random.default_rng([seed, 1, k])
        chosen = np.zeros(len(topic), dtype=bool)
        for own in range(TOPICS):
            of_topic = np.flatnonzero(topic == own)
            chosen[rng.choice(of_topic, size=len(of_topic) // 2, replace=False)] = True
        bandit = Bandit(learned.reference, learned.optimal, prompt_weights=chosen)
        found.append(draw_pairs(bandit, pairs * int(chosen.sum()), design="reference", seed=int(rng.integers(2**31))))
        trained.append(chosen)
    ends = [np.concatenate([getattr(one, end) for one in found]) for end in ("winner", "loser", "prompt")]
    winner, loser, prompt = ends
    rewards = np.log(learned.optimal)
    drawn = Pairs(learned.reference, winner, loser, prompt, optimal=learned.optimal, rewards=rewards)
    return Compared(drawn, np.array(trained))


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
