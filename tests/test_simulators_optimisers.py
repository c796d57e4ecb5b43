"""Optimisers against torch.optim, step by step, and whole training runs against a plain torch loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea
from benchmarks.plain_torch import Loop
from expo_analysis.losses.risk import risk
from expo_analysis.simulators import SGD, Adam, Pairs, Tabular, Training, draw_pairs, train
from expo_analysis.simulators.optimisers import Optimiser
from expo_analysis.simulators.training import LAST_RATE

STEPS = 400
PEERS = {
    "sgd": (SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": (SGD(0.05, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    "sgd, decay": (
        SGD(0.05, weight_decay=0.2, momentum=0.5),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.5, weight_decay=0.2),
    ),
    "adam": (Adam(0.02), lambda p: torch.optim.Adam(p, lr=0.02)),
    "adam, options": (
        Adam(0.02, betas=(0.8, 0.95), eps=1e-4),
        lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.95), eps=1e-4),
    ),
    "adam, decay": (Adam(0.02, weight_decay=0.3), lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=0.3)),
    "adamw": (
        Adam(0.02, weight_decay=0.3, decoupled=True),
        lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.3),
    ),
}
SCHEDULES = {
    "constant": lambda optimiser: torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0),
    "linear": lambda optimiser: torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=STEPS),
    "cosine": lambda optimiser: torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=STEPS),
    "exponential": lambda optimiser: torch.optim.lr_scheduler.ExponentialLR(optimiser, LAST_RATE ** (1 / STEPS)),
}
BANDIT = ea.Bandit([[0.4, 0.4, 0.2], [0.2, 0.3, 0.5]], [[0.6, 0.3, 0.1], [0.3, 0.4, 0.3]])


def gradient(parameters: torch.Tensor, step: int) -> torch.Tensor:
    """Of sizes over several decades, and never at rest."""
    scales = torch.tensor([1e-4, 1e-2, 0.1, 1.0], dtype=torch.float64)
    return scales * (torch.tanh(parameters) + torch.sin(torch.tensor(0.7 * step + 1.0, dtype=torch.float64)))


@pytest.mark.parametrize("name", PEERS)
def test_each_step_is_that_of_torch(name: str) -> None:
    ours, peer = PEERS[name]
    theirs = torch.nn.Parameter(torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64))
    optimiser = peer([theirs])
    parameters = theirs.detach().clone()
    state = tuple(torch.zeros_like(parameters) for _ in range(ours.states))
    rates = ours.rates(torch.full((STEPS,), ours.lr, dtype=torch.float64))
    for step in range(STEPS):
        theirs.grad = gradient(theirs.detach(), step)
        optimiser.step()
        parameters, state = ours.update(parameters, gradient(parameters, step), state, rates[step])
        torch.testing.assert_close(parameters, theirs.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", ["momentum", "adam, decay", "adamw"])
@pytest.mark.slow
def test_training_with_a_schedule_is_that_of_torch(name: str, schedule: str) -> None:
    """The whole of `train` on a population, against autograd and torch.optim with torch's own scheduler."""
    ours, peer = PEERS[name]
    objective = ea.EXPO(0.5)
    logits = torch.nn.Parameter(torch.log(torch.tensor(BANDIT.reference)))
    optimiser = peer([logits])
    scheduler = SCHEDULES[schedule](optimiser)
    for _ in range(STEPS):
        optimiser.zero_grad()
        risk(objective, BANDIT, logits.log_softmax(dim=-1)).mean().backward()
        optimiser.step()
        scheduler.step()
    training = Training(ours, epochs=STEPS, schedule=schedule, records=3)
    trained = train(objective, Tabular(BANDIT.reference), BANDIT, training)
    expected = logits.detach().log_softmax(dim=-1)
    np.testing.assert_allclose(trained.log_final[0, 0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("clip", [None, 0.05, 1.0])
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize(
    "objective", [ea.DPO(0.5), ea.DPO(5.0), ea.IPO(0.1), ea.EXPO(0.3)], ids=lambda o: f"{o.name} {o.lam}"
)
def test_minibatches_are_those_of_a_plain_loop(objective: ea.PairObjective, batch: int, clip: float | None) -> None:
    """A ragged last batch, the prompts' shares of the regulariser, and clipping as `clip_grad_norm_` does it.

    torch divides by the norm plus 1e-6, a relative difference of 1e-6 / norm that is left where gradients are clipped.
    """
    pairs = draw_pairs(BANDIT, 40, seed=1)
    given = (pairs.reference, pairs.prompt[0], pairs.winner[0], pairs.loser[0])
    loop = Loop(objective, *given, batch=batch, lr=0.01, clip=clip)
    training = Training(Adam(0.01), epochs=3, batch=batch, shuffle=False, clip_norm=clip, records=2)
    loop.run(3 * -(-40 // batch))
    trained = train(objective, Tabular(BANDIT.reference), pairs, training)
    np.testing.assert_allclose(trained.final[0, 0], loop.result(), rtol=1e-12 if clip is None else 1e-5)


def test_clipping_is_per_setting_and_leaves_short_gradients_alone() -> None:
    """With SGD a step is lr times the gradient: its length shows what was clipped, and for whom."""
    pairs = Pairs(np.full(4, 0.25), np.array([0, 0, 1]), np.array([1, 2, 3]))
    lams = [0.01, 0.3, 3.0, 100.0]
    steps = {}
    for clip in (None, 0.5):
        training = Training(SGD(1e-3), epochs=1, batch=3, clip_norm=clip, records=2)
        trained = train([ea.DPO(lam) for lam in lams], Tabular(pairs.reference), pairs, training)
        logits = trained.log_policies - trained.log_policies.mean(axis=-1, keepdims=True)
        steps[clip] = np.diff(logits[:, 0, :, 0], axis=1)[:, 0] / 1e-3
    length = np.linalg.norm(steps[None], axis=-1)
    assert (length[:2] < 0.5).all() and (length[2:] > 0.5).all()
    np.testing.assert_allclose(steps[0.5][:2], steps[None][:2], rtol=1e-14)
    np.testing.assert_allclose(steps[0.5][2:], 0.5 * steps[None][2:] / length[2:, None], rtol=1e-9)


@pytest.mark.parametrize(("share", "kept"), [(0.25, 5), (1.0, 20), (1, 20), (1e-9, 1)])
def test_the_average_is_of_the_last_parameters(share: float, kept: int) -> None:
    """Of parameters, and not of policies: with records at every step it can be formed anew from them."""
    pairs = draw_pairs(BANDIT, 20, 2, seed=3)
    training = Training(SGD(0.5), epochs=10, batch=10, records=21, average=share)
    trained = train(ea.EXPO(0.3), Tabular(BANDIT.reference), pairs, training)
    assert list(trained.steps) == list(range(21))
    # steps of SGD on softmax keep the mean of the logits, so log-policies give the parameters back up to that
    mean = trained.log_policies[:, :, -kept:].mean(axis=2)
    expected = mean - np.log(np.exp(mean).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(trained.log_final, expected, rtol=1e-12)


def test_weight_decay_pulls_towards_zero_parameters() -> None:
    """Without data to speak of, decoupled decay multiplies parameters by 1 - lr w at each step."""

    class Idle(ea.PairObjective):
        name = "idle"

        def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
            return 0.0 * logp_w

    optimiser: Optimiser = Adam(0.1, weight_decay=0.5, decoupled=True)
    trained = train(Idle(1.0), Tabular(BANDIT.reference), BANDIT, Training(optimiser, epochs=30, records=2))
    log_odds = trained.log_policies - trained.log_policies[..., :1]
    np.testing.assert_allclose(log_odds[0, 0, 1], 0.95**30 * log_odds[0, 0, 0], rtol=1e-12, atol=1e-15)
