"""A fine-tuning that was killed goes on as if it had not been; half a checkpoint is never loaded."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import llm_killed

from expo_analysis.llm.training.checkpoints import SENTINEL, latest_checkpoint, whats_missing  # isort: skip


def run(arguments: list[str], **given: Any) -> int:
    """The exit code of a new process; a server has imported everything once, and forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.llm_killed", "tests.llm_distributed", "tests.frozen"])
    process = context.Process(target=llm_killed.train, args=(arguments,), kwargs=given)
    process.start()
    process.join(timeout=900)
    assert process.exitcode is not None
    return process.exitcode


def curve(folder: Path) -> list[dict[str, Any]]:
    """What was logged at every step, less what times it, and less the tokens seen by this process."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [{k: v for k, v in entry.items() if k != "num_tokens"} for entry in history if "loss" in entry]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], list[dict[str, Any]]]:
    """A folder, the arguments but for the output, and the curve of a training that nothing interrupts."""
    folder = tmp_path_factory.mktemp("killed")
    arguments = llm_killed.prepare(folder)
    assert run([*arguments, str(folder / "whole")]) == 0
    found = curve(folder / "whole")
    assert [entry["step"] for entry in found] == list(range(1, 25))
    return folder, arguments, found


def kill_and_resume(whole: Any, kills: list[tuple[str, int]], name: str) -> None:
    folder, arguments, expected = whole
    out = folder / name
    arguments = [*arguments, str(out), "--resume"]
    for place, step in kills:
        assert run(arguments, place=place, step=step) == -9, (place, step)
        found, passed = latest_checkpoint(out)
        assert found is None or whats_missing(found) is None
        if place != "step":
            assert passed and passed[0].startswith("checkpoint-"), (place, step)  # the half that was written
    assert run(arguments) == 0
    assert curve(out) == expected


@pytest.mark.slow
def test_killed_while_it_saves(whole: Any) -> None:
    kill_and_resume(whole, [("optimizer.pt", 9)], "once")


@pytest.mark.slow
def test_killed_ten_times(whole: Any) -> None:
    """At random steps and in random places, each at least once; always later than the last, so that it gets on."""
    rng = np.random.default_rng(0)
    places = [*rng.permutation(llm_killed.PLACES), *rng.choice(llm_killed.PLACES, size=4)]
    steps = np.sort(rng.integers(1, 22, size=10))
    kill_and_resume(whole, [(str(place), int(step)) for place, step in zip(places, steps, strict=True)], "ten")


@pytest.mark.parametrize(("how", "code", "called"), [("SIGTERM", 143, "SIGTERM"), ("SIGINT", 130, "Ctrl-C")])
def test_a_signal_saves_first(how: str, code: int, called: str, whole: Any, tmp_path: Path) -> None:
    """After the step that is under way, at whatever step it saves anyhow; and says which checkpoint that is."""
    folder, arguments, expected = whole
    out = folder / how
    assert run([*arguments, str(out)], place="step", step=7, how=how, errors=str(tmp_path / "errors")) == code
    said = (tmp_path / "errors").read_text()
    found, passed = latest_checkpoint(out)
    assert found is not None and not passed
    step = int(found.name.removeprefix("checkpoint-"))
    assert step in (7, 8)  # sent at the end of step 7, before or after the callback that looks for it
    assert f"{called}: saving a checkpoint after this step" in said
    assert f"stopped by {called} after step {step} of 24; saved {found}: resume with --resume" in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["finished"] is False and summary["steps"] == step
    assert not (out / "model.safetensors").exists()
    assert run([*arguments, str(out), "--resume"]) == 0
    assert curve(out) == expected


def test_a_second_interrupt_ends_at_once(whole: Any, tmp_path: Path) -> None:
    folder, arguments, _ = whole
    how = {"place": "step", "step": 7, "how": "SIGINT", "times": 2, "errors": str(tmp_path / "errors")}
    assert run([*arguments, str(folder / "twice")], **how) == 130
    assert "\ninterrupted: nothing was saved beyond what is in output_dir" in (tmp_path / "errors").read_text()
    assert latest_checkpoint(folder / "twice")[0] == folder / "twice" / "checkpoint-6"  # of its own schedule


DAMAGE: dict[str, tuple[Any, str]] = {
    "no state": (lambda folder: (folder / "trainer_state.json").unlink(), "trainer_state.json is missing or cut off"),
    "half a state": (lambda folder: _halve(folder / "trainer_state.json"), "trainer_state.json is missing or cut off"),
    "no optimiser": (lambda folder: (folder / "optimizer.pt").unlink(), "the optimiser's state is missing"),
    "half an optimiser": (lambda folder: _halve(folder / "optimizer.pt"), "optimizer.pt is cut off"),
    "no schedule": (lambda folder: (folder / "scheduler.pt").unlink(), "the schedule's state is missing"),
    "no random numbers": (lambda folder: (folder / "rng_state.pth").unlink(), "the state of random numbers is missing"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "weights are missing"),
    "half the weights": (lambda folder: _halve(folder / "model.safetensors"), "model.safetensors is cut off"),
    "a shard less": (
        lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}'),
        "b.safetensors is missing",
    ),
    "sentinel": (lambda folder: (folder / SENTINEL).write_text(""), "it was being written when the process ended"),
}


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_the_newest_complete_checkpoint_is_taken(whole: Any, damage: Any, message: str, tmp_path: Path) -> None:
    for step in (9, 24):  # 9 comes after 24 in the order of names
        shutil.copytree(whole[0] / "whole" / f"checkpoint-{step}", tmp_path / f"checkpoint-{step}")
    assert latest_checkpoint(tmp_path) == (tmp_path / "checkpoint-24", [])
    damage(tmp_path / "checkpoint-24")
    assert latest_checkpoint(tmp_path) == (tmp_path / "checkpoint-9", [f"checkpoint-24: {_its(message)}"])
    assert latest_checkpoint(tmp_path / "nothing") == (None, [])


def _its(message: str) -> str:
    return f"its {message}" if message.startswith("trainer_state") else message
