"""Triples, single responses and lists: the trainer's loss of one-token responses is the tabular risk of the same data.

Each kind goes from its rows through `PreferenceTrainer.compute_loss` on its own batches, and is compared, with its
gradient, with `ea.risk` of a `Bandit` that was made of the same triples, labels, scores or rankings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.losses.responses import reads_third
from expo_analysis.losses.unpaired import stands_apart

from . import llm_models as tiny

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip (needs the environment of llm_models)

ARMS, LAM = 4, 0.7
REFERENCE = np.array([[0.4, 0.3, 0.2, 0.1], [0.15, 0.25, 0.35, 0.25]])
POLICY = np.random.default_rng(1).normal(size=(2, ARMS))
REWARDS = np.random.default_rng(2).normal(size=(2, ARMS))
SAMPLES = [
    [x for x, p in zip(r, q, strict=True) for _ in range(round(20 * p))]
    for r, q in zip(REWARDS, REFERENCE, strict=True)
]
"""Rewards of 20 responses of each prompt, among which each is as often as the reference says: nothing is estimated."""

OPTIONS: dict[str, dict[str, Any]] = {"exo": {"label_smoothing": 0.01}, "fdpo": {}}
OBJECTIVES = {
    name: ea.objective(name, LAM, **OPTIONS.get(name, {}))
    for name, cls in ea.CATALOGUE.items()
    if issubclass(cls, ea.PairObjective) and name not in ("aot", "qpo")
}
WITH_REWARDS = {name: objective for name, objective in OBJECTIVES.items() if objective.reads_rewards}


def said(kind: str, number: int) -> list[dict[str, str]]:
    """A prompt or a response, as conversations: their template adds no token at the end."""
    return [{"role": "user" if kind == "prompt" else "assistant", "content": f"{kind}{number}"}]


def arm(number: int) -> list[dict[str, str]]:
    return said("arm", number)


Row = dict[str, Any]


def triples() -> tuple[list[Row], Callable[[], ea.Bandit]]:
    found = [(0, 1, 0, 2), (0, 3, 1, 0), (0, 3, 1, 0), (1, 2, 3, 1), (1, 0, 0, 1), (1, 1, 2, 3), (1, 3, 0, 2)]
    rows = [
        {"prompt": said("prompt", p), "third": arm(t), "chosen": arm(w), "rejected": arm(lost)}
        for p, t, w, lost in found
    ]
    prompts = [p for p, *_ in found]
    return rows, lambda: ea.Bandit.from_triples(
        REFERENCE, [tuple(t) for _, *t in found], prompts=prompts, prompt_names=[0, 1], responses=range(ARMS)
    )


def labels() -> tuple[list[Row], Callable[[], ea.Bandit]]:
    rng = np.random.default_rng(3)
    liked, disliked = rng.integers(0, 3, size=(2, ARMS)), rng.integers(0, 3, size=(2, ARMS))
    liked[0, 0], disliked[1, 2] = 0, 0  # sides that a response has not
    rows = [
        {"prompt": said("prompt", p), "completion": arm(a), "label": good}
        for counts, good in ((liked, True), (disliked, False))
        for (p, a), count in np.ndenumerate(counts)
        for _ in range(int(count))
    ]
    return rows, lambda: ea.Bandit.from_labels(REFERENCE, liked, disliked)


def scores() -> tuple[list[Row], Callable[[], ea.Bandit]]:
    counts = np.array([[1, 2, 0, 1], [3, 1, 1, 2]])
    rows = [
        {
            "prompt": said("prompt", p),
            "completion": arm(a),
            "score": REWARDS[p, a],
            "reference_scores": SAMPLES[p],
        }
        for (p, a), count in np.ndenumerate(counts)
        for _ in range(int(count))
    ]
    return rows, lambda: ea.Bandit.from_scores(REFERENCE, REWARDS, counts)


RANKINGS = [
    (0, [2, 0, 1], [0, 1, 2]),
    (0, [3, 1, 0], [0, 1, 3]),
    (1, [1, 3, 0, 2], [0, 1, 2, 3]),
    (1, [2, 3], [3, 2, 1, 0]),
]
"""Prompt, ranking, and the set that it was made from: 3, 3, 4 and 4 responses, the last one's best two alone."""


def lists(rankings: Any = RANKINGS) -> tuple[list[Row], Callable[[], ea.Bandit]]:
    rows = [
        {
            "prompt": said("prompt", p),
            "responses": [arm(a) for a in among],
            "ranking": [among.index(a) for a in ranking],
            "scores": [REWARDS[p, a] for a in among],
            "reference_scores": SAMPLES[p],
        }
        for p, ranking, among in rankings
    ]
    orders, sets = [ranking for _, ranking, _ in rankings], [among for *_, among in rankings]
    prompts = [p for p, *_ in rankings]
    return rows, lambda: ea.Bandit.from_rankings(
        REFERENCE, orders, sets=sets, prompts=prompts, prompt_names=[0, 1], responses=range(ARMS), rewards=REWARDS
    )


def make_trainer(objective: Any, rows: list[Row], folder: Path, **given: Any) -> PreferenceTrainer:
    divergence = objective.regulariser
    estimator = "token_kl" if type(divergence) is ea.ForwardKL else None
    reads = objective.claims.needs_reference or divergence is not None
    settings = {"regulariser_estimator": estimator, "per_device_train_batch_size": len(rows)} | given
    return PreferenceTrainer(
        tiny.one_token_model(POLICY, torch.float64),
        objective,
        PreferenceConfig(**tiny.settings(folder, **settings)),
        ref_model=tiny.one_token_model(np.log(REFERENCE), torch.float64) if reads else None,
        train_dataset=rows,
        processing_class=tiny.tokenizer(tiny.bandit_words(ARMS, len(REFERENCE))),
    )


def check_keystone(objective: Any, rows: list[Row], bandit: ea.Bandit, folder: Path) -> None:
    """Loss and gradient in the free logits, each prompt weighted by how many rows it has."""
    trainer = make_trainer(objective, rows, folder)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    (gradient,) = torch.autograd.grad(loss, trainer.model.head.weight)
    of_prompt = torch.tensor([sum(row["prompt"] == said("prompt", p) for row in rows) for p in (0, 1)]).double()
    logits = torch.tensor(POLICY, requires_grad=True)
    value = (of_prompt * ea.risk(objective, bandit, torch.log_softmax(logits, dim=-1))).sum() / len(rows)
    (slopes,) = torch.autograd.grad(value, logits)
    assert abs(loss.item() - value.item()) <= 1e-12 * max(1.0, abs(value.item()))
    size = max(1.0, float(slopes.abs().max()))
    np.testing.assert_allclose(gradient[3 : 3 + ARMS].T.numpy(), slopes.numpy(), rtol=0, atol=1e-12 * size)
    assert slopes.abs().max() > 1e-3  # there was something to compare


# ------------------------------------------------------------------------------------------------------- the keystone


@pytest.mark.parametrize("name", [name for name, objective in OBJECTIVES.items() if reads_third(objective)])
@pytest.mark.parametrize("alpha", [0.1, 0.75])
def test_triples_have_the_tabular_loss(name: str, alpha: float, tmp_path: Path) -> None:
    rows, bandit = triples()
    check_keystone(ea.objective(name, LAM, alpha=alpha), rows, bandit(), tmp_path)


APART = [n for n, x in OBJECTIVES.items() if stands_apart(x) and not x.reads_rewards and not reads_third(x)]


@pytest.mark.parametrize("name", APART)
def test_labels_have_the_tabular_loss(name: str, tmp_path: Path) -> None:
    rows, bandit = labels()
    check_keystone(OBJECTIVES[name], rows, bandit(), tmp_path)


SCORED: dict[str, Any] = {
    **{name: x for name, x in WITH_REWARDS.items() if stands_apart(x)},
    "a_star_po, beta": ea.AStarPO(LAM, beta=0.4),
    "qrpo, exact": ea.QRPO(LAM, partition="exact"),
}


@pytest.mark.parametrize("name", SCORED)
def test_scores_have_the_tabular_loss(name: str, tmp_path: Path) -> None:
    rows, bandit = scores()
    check_keystone(SCORED[name], rows, bandit(), tmp_path)


@pytest.mark.parametrize("name", [name for name, x in OBJECTIVES.items() if not reads_third(x)])
def test_lists_have_the_tabular_loss(name: str, tmp_path: Path) -> None:
    """A prompt's rankings have as many pairs each, so that a table, which weights pairs alike, weights rows alike."""
    alike = [*RANKINGS[:3], (1, [2, 3, 0, 1], [3, 2, 1, 0])]
    rows, bandit = lists(RANKINGS if OBJECTIVES[name].listwise else alike)
    check_keystone(OBJECTIVES[name], rows, bandit(), tmp_path)
