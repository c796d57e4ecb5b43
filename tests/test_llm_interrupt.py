"""Ctrl-C and SIGTERM are handled while training, by all processes alike, and nowhere else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from . import llm_models as tiny

from expo_analysis.llm import finetune  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.interrupt import StopAndSave  # isort: skip

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in SIGNALS]


def step(stop: StopAndSave, hook: str = "on_step_end") -> tuple[bool, bool]:
    """Whether the callback asks for a checkpoint, and for an end."""
    control = SimpleNamespace(should_save=False, should_training_stop=False)
    getattr(stop, hook)(SimpleNamespace(device=torch.device("cpu")), SimpleNamespace(), control)
    return control.should_save, control.should_training_stop


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("hook", ["on_step_end", "on_evaluate"])
def test_a_signal_asks_for_a_checkpoint_and_an_end(number: int, hook: str) -> None:
    stop = StopAndSave()
    with stop:
        assert step(stop, hook) == (False, False) and stop.received is None
        os.kill(os.getpid(), number)
        assert step(stop, hook) == (True, True) and stop.received == number


def test_a_second_interrupt_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), StopAndSave():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_after_sigterm_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), StopAndSave():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # a scheduler may repeat itself
        os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back_whatever_happens() -> None:
    before = handlers()
    with pytest.raises(ZeroDivisionError), StopAndSave():
        assert handlers() != before
        raise ZeroDivisionError
    assert handlers() == before


def test_a_thread_may_train() -> None:
    """There signals cannot be handled, and nothing is."""
    before, failed = handlers(), []

    def work() -> None:
        try:
            with StopAndSave() as stop:
                assert step(stop) == (False, False)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed and handlers() == before


def test_nothing_is_handled_before_and_after_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While data and model are loaded, and when all is saved, signals end the process as they do others."""
    tiny.llama(0).save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    tiny.pairs(4).to_json(tmp_path / "pairs.jsonl")
    before, seen = handlers(), {}
    make, train = finetune.make_trainer, finetune.PreferenceTrainer.train
    save = finetune.PreferenceTrainer.save_state

    def note(name: str, function: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Any:
            seen.setdefault(name, handlers())
            found = function(*args, **kwargs)
            seen[f"after {name}"] = handlers()
            return found

        return noted

    monkeypatch.setattr(finetune, "make_trainer", note("making", make))
    monkeypatch.setattr(finetune.PreferenceTrainer, "train", note("training", train))
    monkeypatch.setattr(finetune.PreferenceTrainer, "save_state", note("saving", save))
    flags = {
        **{"model": str(tmp_path / "model"), "dataset_name": str(tmp_path / "pairs.jsonl"), "max_steps": "1"},
        **{"output_dir": str(tmp_path / "out"), "use_cpu": "true", "bf16": "false", "report_to": "none"},
        **{"save_strategy": "no"},
    }
    arguments = [word for name, value in flags.items() for word in (f"--{name}", value)]
    assert finetune.main(arguments) == 0
    assert set(seen) >= {"making", "after making", "training", "saving"}
    for name in ("making", "after making", "saving", "after saving"):
        assert seen[name] == before, name
    assert all(now != then for now, then in zip(seen["training"], before, strict=True))
    assert handlers() == before


def one_of_two(rank: int, store: str, results: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    with StopAndSave() as stop:
        found = [step(stop)]
        if rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        found += [step(stop), step(stop)]
    results.put((rank, found, stop.received))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_all_processes_stop_after_the_same_step(tmp_path: Path) -> None:
    """Though one of them alone got the signal: the others would wait for it for ever."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=one_of_two, args=(rank, str(tmp_path / "store"), results)) for rank in (0, 1)]
    for process in processes:
        process.start()
    found = dict((rank, rest) for rank, *rest in (results.get(timeout=600) for _ in processes))
    for process in processes:
        process.join(timeout=600)
        assert process.exitcode == 0
    assert found[0] == found[1] == [[(False, False), (True, True), (True, True)], int(signal.SIGTERM)]
