"""A language model that answers with one token out of K words is a K-armed bandit, and is trained as one.

Losses and gradients go through `PreferenceTrainer.compute_loss` on its own batches, and are compared with `ea.risk`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea

from . import llm_models as tiny

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip (needs the environment of llm_models)

ARMS = 4
REFERENCE = np.array([[0.4, 0.3, 0.2, 0.1], [0.15, 0.25, 0.35, 0.25]])
COUNTS = np.random.default_rng(0).integers(0, 3, size=(2, ARMS, ARMS)) * (1 - np.eye(ARMS, dtype=int))
REWARDS = np.random.default_rng(2).normal(size=(2, ARMS))
POLICY = np.random.default_rng(1).normal(size=(2, ARMS))


def smooth(margin: Any, lam: Any) -> Any:
    return (margin - 1 / lam) ** 2


def ratio(u: Any) -> Any:
    return u


OPTIONS: dict[str, dict[str, Any]] = {
    "qpo": {},
    "fdpo": {},
    "exo": {"label_smoothing": 0.01},
    "aot": {},
}
PAIRWISE = {name: cls for name, cls in ea.CATALOGUE.items() if issubclass(cls, ea.PairObjective) and not cls.auxiliary}
TRIPLES = ("wrpo", "tpo")
"""Losses that need a third response; test_llm_feedback.py has them."""


def make(name: str, lam: float = 0.7) -> ea.PairObjective:
    if name == "qpo":
        return ea.QPO(lam, psi=smooth, mu=ratio)
    return ea.objective(name, lam, **OPTIONS.get(name, {}))


def make_trainer(
    objective: ea.PairObjective, dtype: torch.dtype, folder: Path, counts: np.ndarray = COUNTS, **given: Any
) -> PreferenceTrainer:
    prompts = len(counts)
    logits = given.pop("logits", POLICY[:prompts])
    model = tiny.one_token_model(logits, dtype)
    reference = tiny.one_token_model(np.log(REFERENCE[:prompts]), dtype)
    divergence = objective.regulariser
    estimator = "token_kl" if type(divergence) is ea.ForwardKL else None
    reads = objective.claims.needs_reference or divergence is not None
    optimizers = given.pop("optimizers", lambda model: (None, None))(model)
    return PreferenceTrainer(
        model,
        objective,
        PreferenceConfig(
            **tiny.settings(folder, regulariser_estimator=estimator, per_device_train_batch_size=int(counts.sum()))
            | given
        ),
        ref_model=reference if reads else None,
        train_dataset=tiny.bandit_pairs(counts, REWARDS[:prompts], tiny.reference_scores(REWARDS, REFERENCE)),
        processing_class=tiny.tokenizer(tiny.bandit_words(ARMS, prompts)),
        optimizers=optimizers,
    )


def by_trainer(trainer: PreferenceTrainer) -> tuple[float, np.ndarray]:
    """Loss and gradient in the free logits, of one batch of all rows."""
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    (gradient,) = torch.autograd.grad(loss, trainer.model.head.weight)
    return loss.item(), gradient[3 : 3 + ARMS].T.double().numpy()


def by_table(objective: ea.PairObjective, counts: np.ndarray = COUNTS) -> tuple[float, np.ndarray]:
    """The same from the tabular risk, each prompt weighted by how many pairs it has."""
    prompts = len(counts)
    bandit = ea.Bandit.from_counts(REFERENCE[:prompts], counts, rewards=REWARDS[:prompts])
    weights = torch.tensor(counts.sum(axis=(1, 2)) / counts.sum())
    logits = torch.tensor(POLICY[:prompts], requires_grad=True)
    value = (weights * ea.risk(objective, bandit, torch.log_softmax(logits, dim=-1))).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    return value.item(), gradient.numpy()


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=["64", "32"])
@pytest.mark.parametrize("name", sorted(set(PAIRWISE) - {"aot", *TRIPLES}))
def test_loss_and_gradient_are_the_tabular_ones(name: str, dtype: torch.dtype, close: float, tmp_path: Path) -> None:
    objective = make(name)
    trainer = make_trainer(objective, dtype, tmp_path)
    loss, gradient = by_trainer(trainer)
    value, slopes = by_table(objective)
    size = max(1.0, abs(value))
    assert abs(loss - value) <= close * size
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=close * max(1.0, abs(slopes).max()))
    assert abs(slopes).max() > 1e-3  # there was something to compare


@pytest.mark.parametrize("unpaired", [False, True])
def test_a_loss_of_whole_batches_is_that_of_the_batch(unpaired: bool, tmp_path: Path) -> None:
    """AOT couples the pairs of a batch, and so has no tabular risk: the batch of all rows, by hand."""
    objective = ea.AOT(0.7, unpaired=unpaired)
    loss, gradient = by_trainer(make_trainer(objective, torch.float64, tmp_path))
    rows = [(p, i, j) for (p, i, j), count in np.ndenumerate(COUNTS) for _ in range(count)]
    logits = torch.tensor(POLICY, requires_grad=True)
    prompt, winner, loser = (torch.tensor(column) for column in zip(*rows, strict=True))
    logp, ref = torch.log_softmax(logits, dim=-1), torch.tensor(np.log(REFERENCE))
    value = objective.loss(logp[prompt, winner], logp[prompt, loser], ref[prompt, winner], ref[prompt, loser]).mean()
    assert abs(loss - value.item()) <= 1e-12
    np.testing.assert_allclose(gradient, torch.autograd.grad(value, logits)[0].numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "rate"), [("expo", 1.0), ("dpo", 4.0), ("ipo", 1.0), ("rebel", 1.0), ("odpo", 4.0)])
def test_training_ends_at_the_exact_optimum(name: str, rate: float, tmp_path: Path) -> None:
    """One prompt, every response having won and lost, so that DPO has a minimiser."""
    counts = COUNTS[:1].copy()
    counts[0] += 1 - np.eye(ARMS, dtype=int)
    objective = make(name, 0.5)
    trainer = make_trainer(
        objective,
        torch.float64,
        tmp_path,
        counts,
        logits=np.log(REFERENCE[:1]),
        max_steps=60,
        logging_steps=60,
        optimizers=lambda model: (torch.optim.SGD(model.parameters(), lr=rate, momentum=0.5), None),
    )
    trainer.train()
    policy = torch.softmax(trainer.model.policy_logits(), dim=-1).detach().numpy()[0]
    solution = ea.solve(objective, ea.Bandit.from_counts(REFERENCE[0], counts[0], rewards=REWARDS[0]))
    assert solution.status == "optimal"
    assert abs(policy - solution.policy).sum() < 1e-6
    assert abs(policy - REFERENCE[0]).sum() > 0.05  # it went somewhere
