"""A finished run that is resumed stays what it is, and one that is to have more steps follows the longer schedule."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from . import llm_models as tiny
from .llm_trainers import make

import transformers  # isort: skip (needs the environment of llm_models)
import expo_analysis as ea  # isort: skip
from expo_analysis.llm import finetune  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.training import PreferenceConfig, PreferenceTrainer  # isort: skip


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """Arguments of a run on 8 rows, 4 steps an epoch."""
    tiny.llama().save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    tiny.pairs(8).to_json(tmp_path / "pairs.jsonl")
    settings = {
        **{"model": tmp_path / "model", "dataset_name": tmp_path / "pairs.jsonl", "output_dir": tmp_path / "out"},
        **{"objective": "dpo", "use_cpu": "true", "bf16": "false", "report_to": "none", "learning_rate": "0.01"},
        **{"per_device_train_batch_size": "2", "logging_steps": "1"},
    }
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


ENDS: dict[str, tuple[int, list[str]]] = {
    "in an epoch": (3, ["--max_steps", "3"]),
    "in a later epoch": (6, ["--max_steps", "6"]),
    "at an epoch's end": (4, ["--max_steps", "4"]),
    "by epochs": (4, ["--num_train_epochs", "1"]),
    "in an epoch, by epochs": (2, ["--num_train_epochs", "0.5"]),
    "saved and evaluated by epochs": (
        3,
        ["--max_steps", "3", "--save_strategy", "epoch", "--eval_strategy", "epoch", "--test_split_size", "0.25"],
    ),
    "accumulated": (1, ["--max_steps", "1", "--gradient_accumulation_steps", "3"]),
    "data not skipped": (3, ["--max_steps", "3", "--ignore_data_skip", "true"]),
    "a stream": (3, ["--max_steps", "3", "--dataset_streaming", "true"]),
    "an adapter": (3, ["--max_steps", "3", "--use_peft", "true", "--lora_target_modules", "q_proj", "v_proj"]),
    "the best": (
        3,
        [
            *("--max_steps", "3", "--save_steps", "1", "--eval_strategy", "steps", "--eval_steps", "1"),
            *("--test_split_size", "0.25", "--load_best_model_at_end", "true", "--save_total_limit", "1"),
        ],
    ),
}


SLOW = ("in a later epoch", "in an epoch, by epochs", "accumulated")
"""Other numbers of steps, of which the rest have some."""


@pytest.mark.parametrize(
    ("steps", "flags"),
    [pytest.param(*own, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, own in ENDS.items()],
)
def test_a_finished_run_that_is_resumed_is_not_changed(
    steps: int, flags: list[str], given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune.main([*given, *flags, "--json"]) == 0
    first = capsys.readouterr().out
    assert json.loads(first)["steps"] == json.loads(first)["max_steps"] == steps
    before = contents(tmp_path / "out")
    assert any(name.startswith("checkpoint-") for name in before)
    assert finetune.main([*given, *flags, "--json", "--resume"]) == 0
    out, err = capsys.readouterr()
    assert out == first
    assert f"{tmp_path / 'out'} is finished, with all of its {steps} steps: nothing in it was changed" in err
    assert "resuming from" not in err
    assert contents(tmp_path / "out") == before


def test_a_finished_run_without_checkpoints(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given += ["--save_strategy", "no"]
    assert finetune.main([*given, "--max_steps", "3", "--json"]) == 0
    first, out = capsys.readouterr().out, tmp_path / "out"
    before = contents(out)
    assert finetune.main([*given, "--max_steps", "3", "--json", "--resume"]) == 0
    again, err = capsys.readouterr()
    assert again == first and f"{out} is finished, with all of its 3 steps: nothing in it was changed" in err
    assert "starting afresh" not in err
    for steps in ("2", "5"):
        assert finetune.main([*given, "--max_steps", steps, "--resume"]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line == (
            f"Error: resume: {out} is finished, with all of its 3 steps, and has no complete checkpoint from which to "
            f"go on to {steps}: give another output_dir, or --overwrite to start afresh"
        )
    assert finetune.main([*given, "--max_steps", "3", "--resume", "--lam", "0.7"]) == 2
    assert "was begun with the objective DPO(lam=0.1" in capsys.readouterr().err
    assert contents(out) == before


KILLED = ("in an epoch", "at an epoch's end", "saved and evaluated by epochs", "data not skipped", "a stream")


@pytest.mark.parametrize(("steps", "flags"), [ENDS[name] for name in KILLED], ids=KILLED)
def test_what_was_killed_after_its_last_checkpoint_is_finished(
    steps: int, flags: list[str], given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model and the summary are made of the last checkpoint, without another step."""
    given += flags
    assert finetune.main(given) == 0
    model = (tmp_path / "out" / "model.safetensors").read_bytes()
    for name in ("model.safetensors", "summary.json"):
        (tmp_path / "out" / name).unlink()
    capsys.readouterr()
    assert finetune.main([*given, "--resume"]) == 0
    err = capsys.readouterr().err
    assert f"has done all {steps} steps: nothing is left to train" in err and "nothing in it was changed" not in err
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == model
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["steps"] == steps
    assert not (tmp_path / "out" / f"checkpoint-{steps + 1}").exists()


def trainer(folder: Path, steps: int, stream: bool = False, **settings: Any) -> PreferenceTrainer:
    args = PreferenceConfig(
        str(folder),
        max_steps=steps,
        use_cpu=True,
        bf16=False,
        report_to="none",
        logging_steps=1,
        save_steps=1,
        learning_rate=0.01,
        per_device_train_batch_size=2,
        **settings,
    )
    data, words = tiny.pairs(8), tiny.tokenizer()
    data = data.to_iterable_dataset() if stream else data
    return PreferenceTrainer(tiny.llama(), ea.DPO(0.1), args, train_dataset=data, processing_class=words)


def test_of_a_trainer_too(tmp_path: Path) -> None:
    trainer(tmp_path, 3).train()
    again = trainer(tmp_path, 3)
    assert again.train(resume_from_checkpoint=True).global_step == 3
    assert again.state.global_step == 3 and not (tmp_path / "checkpoint-4").exists()
    assert [entry["step"] for entry in again.state.log_history if "loss" in entry] == [1, 2, 3]


class Bar:
    """In the place of tqdm's."""

    def __init__(self, total: int, **_: Any) -> None:
        self.total, self.done, self.lines = total, 0, list[str]()

    def update(self, steps: int) -> None:
        self.done += steps

    def write(self, line: str) -> None:
        self.lines.append(line)

    def close(self) -> None: ...


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("more", [0, 2])
def test_what_is_shown_of_steps_that_were_done_before(
    more: int, stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """transformers' bar would stay at 0, its line of a stream blame the data, and its mean of no losses be 0."""
    bars: list[Bar] = []
    monkeypatch.setattr(transformers.trainer_callback, "tqdm", lambda **given: bars.append(Bar(**given)) or bars[-1])

    def made(steps: int) -> PreferenceTrainer:
        return trainer(tmp_path, steps, stream=stream, disable_tqdm=False)

    made(3).train()
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    with caplog.at_level("WARNING"), caplog.at_level("WARNING", "transformers"):
        again = made(3 + more)
        found = again.train(resume_from_checkpoint=True)
    assert [(bar.done, bar.total) for bar in bars] == [(3, 3), (3 + more, 3 + more)]
    assert not any("single sample" in record.getMessage() for record in caplog.records)
    logged = "train_loss" in again.state.log_history[-1]
    assert logged == ("train_loss" in found.metrics) == ("train_loss" in bars[-1].lines[-1]) == bool(more)
    assert math.isfinite(found.training_loss) == bool(more)
    assert logging.getLogger("transformers.trainer").filters == []


def rates(trained: PreferenceTrainer) -> list[float]:
    return [entry["learning_rate"] for entry in trained.state.log_history if "loss" in entry]


SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {},
    "warm-up": {"warmup_steps": 2},
    "cosine": {"lr_scheduler_type": "cosine"},
    "floor": {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 0.001}},
    "polynomial": {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 2.0}},
    "constant": {"lr_scheduler_type": "constant"},
}


OTHERS = ("cosine", "polynomial", "constant")
"""Of which "floor" is a cosine with an argument more: they are among the slow tests."""


@pytest.mark.parametrize(
    "settings",
    [pytest.param(own, id=name, marks=[pytest.mark.slow] * (name in OTHERS)) for name, own in SCHEDULES.items()],
)
def test_more_steps_follow_the_schedule_of_the_longer_run(settings: dict[str, Any], tmp_path: Path) -> None:
    straight = trainer(tmp_path / "straight", 6, **settings)
    straight.train()
    trainer(tmp_path / "out", 3, **settings).train()
    resumed = trainer(tmp_path / "out", 6, **settings)
    used: list[float] = []

    class Note(tiny.TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, *_: Any, optimizer: Any, **__: Any) -> None:
            used.append(optimizer.param_groups[0]["lr"])

    resumed.add_callback(Note())
    resumed.train(resume_from_checkpoint=True)
    assert rates(resumed)[3:] == used == rates(straight)[3:]  # what is logged, and what the optimiser takes
    if settings == {}:
        assert used == pytest.approx([0.005, 0.01 / 3, 0.01 / 6])


def test_the_same_steps_are_resumed_as_if_nothing_had_been(tmp_path: Path) -> None:
    straight = trainer(tmp_path, 4, lr_scheduler_type="cosine")
    straight.train()
    resumed = trainer(tmp_path, 4, lr_scheduler_type="cosine")
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    losses = [[entry["loss"] for entry in one.state.log_history if "loss" in entry] for one in (straight, resumed)]
    assert losses[0] == losses[1] and rates(straight) == rates(resumed)


def test_the_best_by_another_metric_is_not_compared_with_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usual = {"eval_dataset": tiny.pairs(6, seed=3), "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1}
    usual |= {"save_strategy": "steps", "load_best_model_at_end": True, "learning_rate": 1e-2}
    make(ea.DPO(0.1), tmp_path, max_steps=2, metric_for_best_model="eval_loss", **usual).train()
    same = make(ea.DPO(0.1), tmp_path, max_steps=3, metric_for_best_model="loss", **usual)  # its other name
    same.train(resume_from_checkpoint=True)
    losses = [entry["eval_loss"] for entry in same.state.log_history if "eval_loss" in entry]
    assert same.state.best_metric == min(losses) and len(losses) == 3 and "only evaluations" not in caplog.text
    other = {"metric_for_best_model": "eval_rewards/margins", "greater_is_better": True}
    changed = make(ea.DPO(0.1), tmp_path, max_steps=5, **usual, **other)
    changed.train(resume_from_checkpoint=True)
    margins = [entry["eval_rewards/margins"] for entry in changed.state.log_history if "eval_rewards/margins" in entry]
    assert len(margins) == 5 and changed.state.best_metric == max(margins[3:])
    assert changed.state.best_global_step == 4 + margins[3:].index(max(margins[3:]))
    said = (
        "the greatest eval_rewards/margins, and of the checkpoint of the least eval_loss: only evaluations from here on"
    )
    assert caplog.text.count(f"the best model is that of {said} count") == 1
    turned = make(ea.DPO(0.1), tmp_path, max_steps=6, **usual, **other | {"greater_is_better": False})
    turned.train(resume_from_checkpoint=True)
    assert turned.state.best_global_step == 6 and "of the checkpoint of the greatest eval_rewards/" in caplog.text
