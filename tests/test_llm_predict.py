"""Predictions for language models: features, the linear training, what is said of them, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from . import llm_models as tiny

from expo_analysis import AOT, DPO, EXPO, IPO, RLHF, PairObjective, RewardAwarePO  # isort: skip (as above)
from expo_analysis.cli import app  # isort: skip
from expo_analysis.llm import prediction as module  # isort: skip
from expo_analysis.llm.data.logps import response_logps  # isort: skip
from expo_analysis.llm.held_out import Given, HeldOut  # isort: skip
from expo_analysis.llm.prediction import Sample, Steps, linear_training, moved_by, tangent_features  # isort: skip

PROMPTS = [[3, 4], [5], [6, 7, 8], [9, 10]]
PAIRS = [
    Given(at, [3 + at, 12], [20 + at], [1, 1], [1]) for at in (0, 1, 2, 3)
] + [Given(0, [30], [31, 32, 33], [1], [1, 1, 1])]  # fmt: skip
DATA = HeldOut("data", ["a", "b", "c", "d"], PROMPTS, PAIRS)
SAMPLE = Sample(DATA, PAIRS[:3], PAIRS[3:], [(3, [13, 14]), (3, [15])])


def model() -> Any:
    return tiny.llama(0).eval()


def weights_of(one: Any) -> torch.Tensor:
    return torch.cat([weight.detach().reshape(-1) for weight in one.parameters()])


def test_features_are_the_slopes_of_log_probabilities() -> None:
    one = model()
    prompts, responses = SAMPLE.responses()
    features = tangent_features(one, prompts, responses)
    way = torch.randn(features.shape[1], generator=torch.Generator().manual_seed(1)) / 50
    ends = []
    for sign in (1.0, -1.0):
        with moved_by(one, sign * 0.05 * way):
            ends.append(response_logps(one, prompts, responses))
    slopes = (ends[0] - ends[1]) / 0.1
    assert np.abs(slopes).max() > 0.05
    np.testing.assert_allclose((features @ way).numpy(), slopes, atol=2e-3)


def test_a_model_is_moved_and_comes_back() -> None:
    one = model()
    before = weights_of(one)
    with pytest.raises(RuntimeError, match="stop"), moved_by(one, torch.ones_like(before)):
        torch.testing.assert_close(weights_of(one), before + 1)
        raise RuntimeError("stop")
    assert torch.equal(weights_of(one), before)


@pytest.mark.parametrize("objective", [DPO(0.3), IPO(0.5), EXPO(0.7)], ids=lambda one: one.name)
def test_linear_training_is_torchs_adam_on_a_linear_model(objective: PairObjective) -> None:
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(8, 5)).astype(np.float32))
    references, pairs = rng.normal(size=8), np.arange(8).reshape(4, 2)
    steps = Steps(count=6, batch=2, lr=0.05, orders=2, seed=3)
    ends = []
    for number in range(2):
        free = torch.zeros(5, requires_grad=True)
        optimiser = torch.optim.Adam([free], lr=0.05)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / 6)
        for batch in steps.order(4, number):
            ratio = features @ free
            w, l = (pairs[batch][:, end] for end in (0, 1))  # noqa: E741
            ref = torch.from_numpy(references).float()
            h = ratio[w] - ratio[l]
            if objective.name == "dpo":
                loss = -torch.nn.functional.logsigmoid(0.3 * h).mean()
            elif objective.name == "ipo":
                loss = ((h - 1 / (2 * 0.5)) ** 2).mean()
            else:
                own = h + ref[w] - ref[l]
                loss = -torch.nn.functional.logsigmoid(own).mean()
                loss = loss + 0.7 * (ratio[w] ** 2 + ratio[l] ** 2).mean() / 4
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        ends.append(free.detach())
    assert (ends[0] - ends[1]).abs().max() > 1e-3  # the orders matter
    found = linear_training(objective, features, references, pairs, steps)
    torch.testing.assert_close(found, (ends[0] + ends[1]) / 2, atol=2e-5, rtol=1e-4)


def test_every_pass_meets_every_pair_once() -> None:
    batches = list(Steps(count=6, batch=4, seed=1).order(8, 0))
    for begin in (0, 2, 4):
        assert sorted(np.concatenate(batches[begin : begin + 2]).tolist()) == list(range(8))
    assert [own.tolist() for own in batches] != [own.tolist() for own in Steps(count=6, batch=4, seed=1).order(8, 1)]


@pytest.mark.parametrize("objective", [DPO(0.3), EXPO(0.3)], ids=lambda one: one.name)
def test_what_is_said_is_what_short_training_does(objective: PairObjective) -> None:
    """The network itself, trained with the same steps; the error is of the second order in how far it goes."""
    steps = Steps(count=4, batch=3, lr=3e-4, orders=1)
    one = model()
    (said,) = module.predict(one, SAMPLE, [objective], steps, lambda: None)
    prompts, responses = SAMPLE.responses()
    before = response_logps(one, prompts, responses)
    optimiser = torch.optim.Adam(one.parameters(), lr=3e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / 4)

    def logp(row: int) -> torch.Tensor:
        ids = torch.tensor([[*prompts[row], *responses[row]]])
        own = one(ids).logits[0, len(prompts[row]) - 1 : -1].log_softmax(dim=-1)
        return own.gather(1, ids[0, len(prompts[row]) :, None]).sum()

    for batch in steps.order(3, 0):
        risk = 0.0
        for k in batch:
            w, l = logp(2 * k), logp(2 * k + 1)  # noqa: E741
            read = [w, l, *(torch.tensor(before[2 * k + end]).float() for end in (0, 1))]
            risk = risk + objective.loss(*read[: 4 if objective.facts.needs_reference else 2]) / len(batch)
            if objective.regulariser is not None:
                risk = risk + 0.3 * ((w - read[2]) ** 2 + (l - read[3]) ** 2) / 4 / len(batch)
        optimiser.zero_grad()
        risk.backward()
        optimiser.step()
        schedule.step()
    moved = response_logps(one, prompts, responses) - before
    truth = [moved[0:6:2].mean(), moved[1:6:2].mean(), moved[6::2][:2].mean(), moved[7::2][:2].mean()]
    told = [said.chosen, said.rejected, said.chosen_held, said.rejected_held]
    assert np.abs(truth).max() > 0.02
    np.testing.assert_allclose(told, truth, atol=0.1 * np.abs(truth).max())
    held = moved[6:10]
    assert said.accuracy_held == pytest.approx(np.mean([held[0] > held[1], held[2] > held[3]]))
    drawn = moved[10:]
    assert said.drift == pytest.approx((np.expm1(drawn) - drawn).mean(), rel=0.3)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (RLHF(1.0), "objective must be a loss of pairs, got rlhf"),
        (RewardAwarePO(1.0), "single pairs and nothing else; reward_aware_po reads more"),
        (AOT(1.0), "single pairs and nothing else; aot reads more"),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_losses_that_read_more_are_refused(objective: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module.check_objective(objective)


# ------------------------------------------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("predict")
    tiny.llama(0).save_pretrained(made / "base")
    tiny.tokenizer().save_pretrained(made / "base")
    tiny.pairs(12).to_json(made / "pairs.jsonl")
    tiny.pairs(1).to_json(made / "one.jsonl")
    return made


def invoke(folder: Path, *words: str, data: str = "pairs.jsonl") -> Any:
    given = ["--model", str(folder / "base"), "--dataset_name", str(folder / data), "--max-new-tokens", "4"]
    return CliRunner().invoke(app, ["predict", *given, *words])


def test_the_command_predicts_every_loss_at_every_lambda(folder: Path) -> None:
    words = ["--objective", "expo", "dpo", "ipo", "--beta", "0.1", "--beta", "1", "--learning_rate", "1e-3"]
    done = invoke(folder, *words, "--max_steps", "10", "--pairs", "4", "--json")
    assert done.exit_code == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["pairs"], made["held_out"], made["steps"]["orders"]) == (4, 4, 8)
    rows = made["predictions"]
    assert [(row["objective"], row["lam"]) for row in rows] == [
        (name, lam) for name in ("expo", "dpo", "ipo") for lam in (0.1, 1.0)
    ]
    for row in rows:
        assert row["chosen"] - row["rejected"] > 0.01 and row["drift"] > 0 and 0 <= row["accuracy_held"] <= 1
    table = invoke(folder, "--objective", "dpo", "--max_steps", "2", "--samples", "0").stdout
    assert "held out" in table and "dpo" in table and "Before training: 2 steps of 8 of 6 pairs" in table
    nothing = json.loads(invoke(folder, "--objective", "dpo", "--max_steps", "2", "--samples", "0", "--json").stdout)
    assert nothing["predictions"][0]["drift"] is None


@pytest.mark.parametrize(
    ("words", "data", "message"),
    [
        ([], "pairs.jsonl", "objective must be given: --objective"),
        (["--objective", "dpoo"], "pairs.jsonl", "dpoo"),
        (["--objective", "reward_aware_po"], "pairs.jsonl", "reward_aware_po reads more"),
        (["--objective", "dpo", "--memory", "1e-4"], "pairs.jsonl", "pairs must be at most"),
        (["--objective", "dpo"], "one.jsonl", "pairs of at least two prompts are needed, got 1"),
        (["--objective", "dpo", "--learning_rate", "-1"], "pairs.jsonl", "learning_rate must be a finite number above"),
    ],
)
def test_bad_input_is_one_line(folder: Path, words: list[str], data: str, message: str) -> None:
    done = invoke(folder, *words, data=data)
    assert done.exit_code == 2 and done.stdout == "" and message in done.stderr and done.stderr.count("\n") == 1
