"""What a run does around its training, with a trainer that only notes what is asked of it; and what it shows."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from . import llm_models as tiny  # its environment

from transformers import TrainerControl, TrainerState  # isort: skip
from expo_analysis.llm import finetune, progress  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.training import NonFiniteLoss  # isort: skip


class Noted:
    """A trainer of 4 steps that ends after ``steps``, perhaps by a signal, and notes what is done with it."""

    def __init__(self, folder: Path, steps: int = 4, number: int | None = None, first: bool = True) -> None:
        self.args = SimpleNamespace(output_dir=str(folder))
        self.state = TrainerState(global_step=0, max_steps=4)
        self.accelerator = SimpleNamespace(
            wait_for_everyone=lambda: self.done.append("wait"), end_training=lambda: self.done.append("end")
        )
        self.steps, self.number, self.first = steps, number, first
        self.eval_dataset: Any = None
        self.done: list[str] = []
        self.callbacks: list[Any] = []

    def add_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def train(self, resume_from_checkpoint: Any) -> None:
        print("a library's words")
        self.state.global_step = self.steps
        self.done.append(f"train from {resume_from_checkpoint}")
        if self.number is not None:
            signal.raise_signal(self.number)
            self.callbacks[-1].on_step_end(self.args, self.state, TrainerControl())

    def save_model(self, folder: str) -> None:
        assert folder == self.args.output_dir
        self.done.append("save")

    def evaluate(self) -> None:
        self.done.append("evaluate")

    def save_state(self) -> None:
        self.done.append("state")

    def is_world_process_zero(self) -> bool:
        return self.first


class Nothing:
    """In the place of what is done once a first step is."""

    def __init__(self, *given: Any, **more: Any) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *error: Any) -> None: ...


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr(finetune, "Begin", Nothing)
    monkeypatch.setattr(finetune, "print_summary", lambda summary: print(f"table of {summary['steps']}"))
    monkeypatch.setattr(
        finetune,
        "summarise",
        lambda trainer, seconds, finished: {"steps": trainer.state.global_step, "max_steps": 4, "finished": finished},
    )

    def goes(trainer: Noted, checkpoint: str | None = None, as_json: bool = False) -> tuple[int, list[str]]:
        said: list[str] = []
        recipe: Any = SimpleNamespace(script=SimpleNamespace(json=as_json, resume=checkpoint is not None))
        trained: Any = trainer
        return finetune.run(trained, recipe, checkpoint, said.append), said

    return goes


@pytest.mark.parametrize("number", [None, signal.SIGINT, signal.SIGTERM])
def test_a_training_that_came_to_its_end_is_done_whatever_signal_came_at_last(
    go: Any, number: int | None, tmp_path: Path
) -> None:
    trainer = Noted(tmp_path, 4, number)
    assert go(trainer, "checkpoint-2") == (0, [])
    assert trainer.done == ["train from checkpoint-2", "save", "state", "wait", "end"]
    assert json.loads((tmp_path / "summary.json").read_text())["finished"] is True


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_training_that_was_stopped_says_where_to_go_on(
    go: Any, number: int, code: int, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Noted(tmp_path, 3, number)
    nothing = "there is no complete checkpoint to resume from"
    assert go(trainer) == (code, [f"stopped by {name} after step 3 of 4; {nothing}"])
    assert trainer.done == ["train from None", "wait", "end"]  # what is not whole is not saved as the model
    assert json.loads((tmp_path / "summary.json").read_text())["finished"] is False
    assert capsys.readouterr().out == "table of 3\n"  # what libraries print is not among the results


def test_a_training_that_a_callback_stopped_is_no_error(
    go: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(finetune, "latest_checkpoint", lambda folder: (folder / "checkpoint-2", []))
    code, said = go(Noted(tmp_path, 2))
    assert code == 0
    assert said == [f"stopped after step 2 of 4; saved {tmp_path / 'checkpoint-2'}: resume with --resume"]


@pytest.mark.parametrize(
    ("log", "evaluated"),
    [
        ([], True),
        ([{"eval_loss": 1.0, "step": 3}], True),
        ([{"loss": 1.0, "step": 4}], True),
        ([{"eval_loss": 1.0, "step": 4}], False),
    ],
)
def test_the_last_step_is_evaluated_once(go: Any, log: list[dict[str, float]], evaluated: bool, tmp_path: Path) -> None:
    trainer = Noted(tmp_path)
    trainer.eval_dataset, trainer.state.log_history = object(), log
    assert go(trainer)[0] == 0
    assert trainer.done[1:-2] == ["save", *["evaluate"] * evaluated, "state"]  # saved before it may be interrupted


def test_results_are_of_one_process_and_json_is_all_there_is(
    go: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(Noted(tmp_path / "other", 2, first=False)) == (0, [])
    assert capsys.readouterr().out == "" and not (tmp_path / "other").exists()
    go(Noted(tmp_path), as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "summary.json").read_text())


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (NonFiniteLoss("the loss is not finite"), 1, "Error: the loss is not finite\n"),
        (finetune.BadStart("no such head"), 2, "Error: no such head\n"),
        (KeyboardInterrupt(), 130, "interrupted: nothing was saved beyond what is in output_dir\n"),
    ],
)
def test_how_a_training_ended_is_its_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*given: Any) -> int:
        raise error

    monkeypatch.setattr(finetune, "set_up", lambda arguments: (None, None, None))
    monkeypatch.setattr(finetune, "run", fails)
    assert finetune.main(["--config", "x"]) == code
    assert capsys.readouterr() == ("", line)


def test_whoever_asks_for_a_traceback_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(arguments: Any) -> Any:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(finetune, "set_up", fails)
    assert finetune.main(["--config", "x"]) == 2
    monkeypatch.setenv("EXPO_ANALYSIS_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        finetune.main(["--config", "x"])


@pytest.mark.parametrize("flag", ["-h", "--help", "--list_options"])
def test_help_ends_well_and_trains_nothing(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune.main(["--model", "none", flag]) == 0
    assert capsys.readouterr().out.startswith("usage: expo-analysis finetune")


def test_lines_are_of_the_first_process_and_errors_of_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    for rank, prefix in ((None, ""), ("0", ""), ("3", "[process 3] ")):
        if rank is not None:
            monkeypatch.setenv("RANK", rank)
        finetune.say_on_stderr("a line")
        finetune.say_error("a fault")
        assert capsys.readouterr().err == ("" if rank == "3" else "a line\n") + f"{prefix}Error: a fault\n"


def test_lines_are_printed_as_they_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """However long, whatever brackets they have, and without colours of their own."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    line = f"rows [3] of '/a/b' at step 12: [bold]{'x' * 300}"
    for say, shown in ((finetune.say_on_stderr, line), (finetune.say_error, f"Error: {line}")):
        say(line)
        assert capsys.readouterr().err == shown + "\n"


def test_the_bar_follows_the_steps_from_where_the_training_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    shown, control = progress.ShowProgress(), TrainerControl()
    state = TrainerState(global_step=2, max_steps=8, is_world_process_zero=True)
    shown.on_train_begin(None, state, control)
    bar = shown.bar
    assert bar is not None and bar.console.stderr
    (task,) = bar.tasks
    assert (task.total, task.completed) == (8, 2)
    state.global_step = 3
    shown.on_step_end(None, state, control)
    assert task.completed == 3
    shown.on_log(None, state, control, {"loss": "0.51239", "rewards/accuracies": 0.75})
    assert task.description == "loss 0.5124, accuracy 75%"
    for logs in (None, {}, {"eval_loss": 3.0}):  # what says nothing of the training leaves it
        shown.on_log(None, state, control, logs)
    assert task.description == "loss 0.5124, accuracy 75%"
    shown.on_log(None, state, control, {"loss": 2.0})
    assert task.description == "loss 2"
    shown.on_train_end(None, state, control)
    assert shown.bar is None and bar.finished is False and not bar.live.is_started
    assert capsys.readouterr().out == ""


def test_other_processes_draw_no_bar() -> None:
    shown, control = progress.ShowProgress(), TrainerControl()
    state = TrainerState(global_step=0, max_steps=8, is_world_process_zero=False)
    shown.on_train_begin(None, state, control)
    shown.on_step_end(None, state, control)
    shown.on_log(None, state, control, {"loss": 1.0})
    shown.on_train_end(None, state, control)
    assert shown.bar is None


# --------------------------------------------------------------------------------------------------- from recipe to run


def test_data_of_a_recipe_are_read_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    script = {
        "dataset_name": "d", "dataset_config": "c", "dataset_train_split": "a", "dataset_test_split": "b",
        "columns": "prompt=q", "max_train_rows": 7, "preparation": "hh", "dataset_streaming": False,
    }  # fmt: skip
    mixture = {"datasets": [1], "test_split_size": 0.25, "streaming": False}
    asked: list[Any] = []
    monkeypatch.setattr(finetune, "load", lambda recipe, say: asked.append(recipe) or (1, 2))

    def read(strategy: str = "no", **given: Any) -> Any:
        recipe: Any = SimpleNamespace(
            script=SimpleNamespace(**script | {k: v for k, v in given.items() if k in script}),
            mixture=SimpleNamespace(**mixture | {k: v for k, v in given.items() if k in mixture}),
            config=SimpleNamespace(eval_strategy=strategy, seed=5),
        )
        assert finetune.load_pairs(recipe, print) == (1, 2)
        return asked.pop()

    made = read()
    assert (made.name, made.config, made.mixture, made.train_split, made.test_split) == ("d", "c", [1], "a", "b")
    assert (made.test_split_size, made.columns, made.max_train_rows, made.preparation) == (0.25, "prompt=q", 7, "hh")
    assert made.seed == 5 and made.evaluated is False and made.streaming is False
    assert read("steps").evaluated is True and read("epoch").evaluated is True
    assert read(streaming=True).streaming is True and read(dataset_streaming=True).streaming is True


def test_a_file_of_a_model_that_cannot_be_read_is_told_with_the_model() -> None:
    import json as library
    import pickle
    import zipfile

    for error in (library.JSONDecodeError("x", "y", 0), pickle.UnpicklingError("x"), zipfile.BadZipFile("x")):
        with pytest.raises(ValueError, match=r"model 'm': its files cannot be read: ") as caught, finetune.loading("m"):
            raise error
        assert caught.value.__cause__ is error
    with pytest.raises(RuntimeError, match=r"^own$"), finetune.loading("m"):
        raise RuntimeError("own")
    with finetune.loading("m"):
        pass


def test_a_trainer_of_a_recipe_shows_one_bar_or_none(tmp_path: Path) -> None:
    from transformers import PrinterCallback, ProgressCallback

    tiny.llama(0).save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    tiny.pairs(4).to_json(tmp_path / "pairs.jsonl")
    for quiet in (True, False):
        recipe, trainer, checkpoint = finetune.set_up(
            ["--model", str(tmp_path / "model"), "--dataset_name", str(tmp_path / "pairs.jsonl"), "--dtype", "bfloat16",
             "--output_dir", str(tmp_path / "out"), "--use_cpu", "true", "--bf16", "false", "--report_to", "none",
             "--save_strategy", "no", "--disable_tqdm", str(quiet), "--optimal_dataset", str(tmp_path / "pairs.jsonl"),
             "--regulariser_estimator", "own_responses"]
        )  # fmt: skip
        kinds = [type(one) for one in trainer.callback_handler.callbacks]
        assert kinds.count(progress.LogEnds) == 1 and PrinterCallback not in kinds
        assert kinds.count(progress.ShowProgress) == (not quiet) and ProgressCallback not in kinds
        assert checkpoint is None and recipe.model_name == str(tmp_path / "model")
        assert str(trainer.model.dtype) == "torch.bfloat16" and trainer._optimal is not None


def test_files_of_ones_own_losses_are_part_of_a_run(tmp_path: Path) -> None:
    import expo_analysis as ea
    from expo_analysis.llm.training.identity import _own_code

    for name, content in (("a.py", "1"), ("b.py", "2")):
        (tmp_path / name).write_text(content)
    one, two = (f"{tmp_path / name}:Loss" for name in ("a.py", "b.py"))
    assert _own_code("dpo", []) is None and _own_code(None, [ea.DPO(1.0)]) is None
    assert _own_code(["dpo", (1.0, "x")], []) is None
    digests = [_own_code(given, []) for given in (one, two, [one, two], [one, "dpo"])]
    assert len({*digests[:3]}) == 3 and digests[3] == digests[0]
    (tmp_path / "a.py").write_text("3")
    assert _own_code(one, []) != digests[0]
