"""What is written and said: cards, summaries, settings beside a data set, records of runs; and the settings of TRL."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import expo_analysis as ea

from . import llm_models as tiny

from expo_analysis.llm import evaluation, held_out, intervals, run_record, summary  # isort: skip (needs llm_models)
from expo_analysis.llm.data import preference_files, preferences, prompts, sampling, texts  # isort: skip
from expo_analysis.llm.data.feedback import LISTS, PAIRS, SINGLES  # isort: skip
from expo_analysis.llm.data.journal import Journal  # isort: skip
from expo_analysis.llm.data.report import Place, Problem  # isort: skip
from expo_analysis.llm.training import card, from_trl, precomputed  # isort: skip
from expo_analysis.llm.training.objectives import make_mixture  # isort: skip

LAM = 0.3


# --------------------------------------------------------------------------------------------------------------- cards


def trained(**given: Any) -> Any:
    """What a card reads of a trainer."""
    rules = {"estimator": None, "on_samples": False, "reads_reference": False, "ld_alpha": None, "use_weighting": False}
    args = {"use_ref_columns": False, "precompute_ref_log_probs": False, "train_batch_size": 4, "learning_rate": 1e-3}
    schedule = SimpleNamespace(value="linear")
    args |= {"gradient_accumulation_steps": 3, "lr_scheduler_type": schedule, "seed": 5}
    data = {"rows": [1, 2, 3], "feedback": PAIRS, "source": "pairs.jsonl", "fingerprint": "abc"}
    for part in (rules, args, data):
        part |= {name: value for name, value in given.items() if name in part}
    return SimpleNamespace(
        mixture=given.get("mixture", make_mixture(ea.DPO(LAM), None)),
        rules=SimpleNamespace(**rules, router_coef=given.get("router_coef", 0.0)),
        args=SimpleNamespace(**args),
        data=SimpleNamespace(**data),
        accelerator=SimpleNamespace(num_processes=2),
        state=SimpleNamespace(global_step=7),
        engine=SimpleNamespace(reference=SimpleNamespace(kind=given.get("kind", "copy"))),
    )


def test_a_card_has_a_line_for_all_that_was_not_left_alone_and_for_nothing_else() -> None:
    plain = dict(card.facts(trained()))
    assert list(plain) == ["loss", "λ", "from tokens to responses", "data", "training", "versions"]
    assert plain["data"] == "pairs.jsonl, 3 pairs, fingerprint `abc`"
    # 4 in each of 2 processes, 3 times before a step
    assert plain["training"] == "7 steps, learning rate 0.001 (linear), 24 pairs a step, seed 5"
    assert dict(card.facts(trained(), "mine"))["data"].startswith("mine, 3 pairs")
    stream = dict(card.facts(trained(rows=iter([]), fingerprint="", feedback=SINGLES)))
    assert stream["data"] == "pairs.jsonl, a stream" and "24 single responses a step" in stream["training"]
    for given, name, words in (
        ({"ld_alpha": 0.25}, "weight of tokens beyond the shared length", "0.25"),
        ({"use_weighting": True}, "pairs weighted by", "the policy's probability of both responses"),
        ({"router_coef": 0.5}, "weight of the load-balancing loss", "0.5"),
        ({"estimator": "own_responses"}, "regulariser", "own_responses: it raises"),
        ({"estimator": "token_kl", "on_samples": True}, "regulariser", "token_kl along reference samples: it leaves"),
        ({"reads_reference": True}, "reference", "the model before training"),
        ({"reads_reference": True, "kind": "given"}, "reference", "another model, given to the trainer"),
        (
            {"reads_reference": True, "precompute_ref_log_probs": True},
            "reference",
            "the model before training; log-probabilities computed before training",
        ),
        ({"reads_reference": True, "use_ref_columns": True}, "reference", "log-probabilities that came with the data"),
    ):
        found = dict(card.facts(trained(**given)))
        assert found[name].startswith(words) and set(found) == {*plain, name}
    assert card._version("torch") is not None and card._version("no-such-library") is None
    two = make_mixture([ea.EXPO(0.1), ea.DPO(0.1), (2.0, ea.DPO(0.2))], None)
    assert card.tags(two) == ["expo-analysis", "preference-optimization", "expo", "dpo"]


def test_a_card_is_called_as_its_repository_or_its_folder(tmp_path: Path) -> None:
    for hub, given, title in (
        *(("org/mine", None, "mine"), (None, None, "out"), ("mine", None, "mine"), (None, "a/b", "a/b")),
    ):
        made = trained()
        made.args.output_dir, made.args.hub_model_id = str(tmp_path / "new" / "out"), hub
        made.model = SimpleNamespace(config=SimpleNamespace(_name_or_path=str(tmp_path)))
        made.accelerator.unwrap_model = lambda model: model
        file = tmp_path / "new" / "out" / "README.md"
        card.write(made, given)
        written = file.read_text(encoding="utf-8")
        assert (
            f"\n# {title}\n" in written and "A SimpleNamespace, fine-tuned" in written and "base_model" not in written
        )
        made.model.config._name_or_path = "org/base"
        card.write(made, given)
        written = file.read_text(encoding="utf-8")
        assert (
            "[org/base](https://huggingface.co/org/base), fine-tuned" in written and "base_model: org/base" in written
        )


# ----------------------------------------------------------------------------------------------------------- summaries


def test_a_summary_counts_rows_memory_and_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = [Problem(1, "chosen", "x"), Problem(1, "rejected", "y"), Problem(4, "chosen", "x")]
    reports = {
        "train_dataset": SimpleNamespace(rows=9, dropped=dropped),
        "eval_dataset": SimpleNamespace(rows=3, dropped=dropped[:1]),
    }
    log = [
        {"loss": 1.0, "step": 1, "mass/chosen": -0.5}, {"eval_loss": 3.0, "step": 1}, {"loss": 2.0, "step": 4},
        {"eval_loss": 4.0, "step": 4, "eval_kl/policy_reference": 0.25}, {"train_loss": 9.0, "step": 4},
    ]  # fmt: skip
    trainer = SimpleNamespace(
        state=SimpleNamespace(log_history=log, global_step=4, max_steps=4),
        **{"objective": ea.DPO(LAM), "estimator": "token_kl", "data_reports": reports, "train_dataset": [1] * 7},
        **{"ref_model": object(), "accelerator": SimpleNamespace(num_processes=2)},
        args=SimpleNamespace(output_dir=Path("out")),
    )
    for peak, shown in ((None, None), (3 * 2**30 + 2**28, 3.25)):
        monkeypatch.setattr(summary, "peak_memory", lambda peak=peak: peak)
        found = summary.summarise(trainer, 12.345, True)
        assert found["peak_memory_gib"] == shown
    assert found["rows"] == 7 and found["rows_left_out"] == 3  # a row counts once in each data set
    assert (found["seconds"], found["processes"], found["reference_in_memory"]) == (12.3, 2, True)
    assert found["output_dir"] == "out" and found["objective"] == repr(ea.DPO(LAM))
    assert found["metrics"] == {
        "loss": {"first": 1.0, "last": 2.0, "evaluation": 4.0},
        "mass/chosen": {"first": -0.5, "last": None, "evaluation": None},
        "kl/policy_reference": {"first": None, "last": None, "evaluation": 0.25},
    }
    assert found["steps_shown"] == {"first": [1, 1], "last": [4, 4], "evaluation": [4, 4]}
    trainer.train_dataset, trainer.ref_model = iter([]), None  # a stream: how many have passed
    found = summary.summarise(trainer, 0.0, False)
    assert found["rows"] == 9 - 3 and found["reference_in_memory"] is False


def test_peak_memory_is_what_linux_says_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And what the system counts, where its file says nothing of that."""
    monkeypatch.setattr(summary, "STATUS", tmp_path / "status")
    counted = summary.peak_memory()
    (tmp_path / "status").write_text("VmPeak:\t   9 kB\nVmHWM:\t   2048 kB\nVmRSS:\t   8 kB\n")
    assert summary.peak_memory() == 2048 * 1024
    (tmp_path / "status").write_text("VmPeak:\t   9 kB\n")
    assert counted is not None and (summary.peak_memory() or 0) >= counted > 2048 * 1024


def test_a_table_has_the_columns_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def print_of(**given: Any) -> str:
        usual: dict[str, Any] = {
            "objective": "DPO", "metrics": {"loss": {"first": 1.0, "last": 0.123456, "evaluation": None}}, "steps": 4,
            "max_steps": 8, "seconds": 3.1, "processes": 1, "peak_memory_gib": 2.5, "reference_in_memory": True,
            "output_dir": "out", "steps_shown": {"first": [1, 1], "last": [3, 4], "evaluation": None},
        }  # fmt: skip
        stream = io.StringIO()
        monkeypatch.setattr("sys.stdout", stream)
        summary.print_summary(usual | given)
        shown.append(stream.getvalue())
        return shown[-1]

    text = " ".join(print_of().split())
    assert "DPO metric step 1 mean of steps 3–4" in text and "loss 1 0.12346" in text
    assert "4 of 8 steps in 3.1 s, 1 process(es), peak memory 2.5 GiB, reference model in memory: yes; out" in text
    assert "/long" * 99 + "\n" in print_of(output_dir="/long" * 99)  # which can be copied
    text = print_of(peak_memory_gib=None, reference_in_memory=False)
    assert "1 process(es), reference model in memory: no; out" in text
    same = {"first": [1, 1], "last": [1, 1], "evaluation": [1, 1]}
    text = " ".join(print_of(steps_shown=same, metrics={"loss": {"first": 1, "last": 1, "evaluation": 2}}).split())
    assert "metric step 1 evaluation after step 1" in text and "loss 1 2" in text  # one step is shown once
    text = print_of(steps_shown={"first": None, "last": None, "evaluation": None}, metrics={})
    assert "step 1" not in text


# ------------------------------------------------------------------------------------------------ intervals, evaluation


def test_every_resample_is_a_mean_of_what_was_sampled() -> None:
    """However many are drawn at a time: at level 1 an interval is from the least resample to the largest."""
    rng = np.random.default_rng(0)
    values = 5 + rng.random(30)
    for resamples in (1, 99, 100, 101, 250):
        sums = {"a": intervals.Sums(values, np.ones(30))}
        found = intervals.measures(sums, resamples=resamples, level=1.0)["a"]
        assert 5.2 < found.low <= found.high < 5.8 and (found.low == found.high) == (resamples == 1)
        assert found.estimate == pytest.approx(values.mean())
    wide, narrow = (intervals.measures(sums, level=level)["a"] for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high
    # as many above the interval as below it
    many = intervals.measures(sums, resamples=4000, level=0.9)["a"]
    assert abs((many.high + many.low) / 2 - values.mean()) < 0.2 * (many.high - many.low)


def test_wins_count_every_pair_of_samples_and_ties_half() -> None:
    policy, reference = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [3.0, 0.0]])
    found = evaluation._of_rewards(policy, reference)
    wins = [[(p > r) + 0.5 * (p == r) for p in ps for r in rs] for ps, rs in zip(policy, reference, strict=True)]
    assert found["win_rate"].numerators.tolist() == [np.mean(own) for own in wins]
    assert found["reward/policy"].numerators.tolist() == [1.5, 0.0]
    assert found["reward/reference"].numerators.tolist() == [0.5, 1.5]
    assert all(sums.denominators.tolist() == [1, 1] for sums in found.values())
    pairs = [held_out.Given(place, [7], [8], [1], [1]) for place in (0, 2, 2)]
    data = held_out.HeldOut("data", ["a", "b", "c"], [[1], [2], [3]], pairs)
    sums = evaluation.per_prompt(data, np.array([1.0, 2.0, 4.0]))
    assert sums.numerators.tolist() == [1, 0, 6] and sums.denominators.tolist() == [1, 0, 2]
    assert evaluation.halves(np.array([-2.0, 0.0, 3.0])).tolist() == [0, 0.5, 1]


# ----------------------------------------------------------------------------------------------------- what was sampled


WORDS = ["w1", "w2", "w3"]


def label(scores: list[list[float]], folder: Path, by_reward: bool = True, **given: Any) -> preferences.Preferences:
    """Labels of two responses, and a further sample, to each of a few prompts: words of the tokenizer."""
    tokenizer = tiny.tokenizer()
    found = prompts.check_prompts(["w5", " ", *[f"w{6 + k}" for k in range(len(scores) - 1)]], on_bad_rows="drop")
    settings = preferences.Settings(
        **{"responses": 2, "reference_samples": 1, "sampling": sampling.Sampling(4)} | given
    )
    kept = Journal(folder / "journal", {})
    for row, own in zip(found.rows, scores, strict=True):
        ids = [tokenizer(word)["input_ids"] for word in WORDS]
        draws = [sampling.Draw([*one, 1] if k else one * 2, -1.0 - k, k > 0) for k, one in enumerate(ids)]
        kept.add_draws([(row, number) for number in range(3)], draws)
        kept.add_scores("r", [(row, number) for number in range(2)], own)
    tokens_of = {row: tokenizer(text)["input_ids"] for row, text in zip(found.rows, found.prompts, strict=True)}
    reward: Any = SimpleNamespace(name="r") if by_reward else None
    frame = preferences._responses(kept, found, reward, settings, texts.Texts(tokenizer, tokens_of))
    return preferences.label(frame, found, tokens_of, kept, settings, by_reward)


def test_rows_and_counts_of_what_was_labelled(tmp_path: Path) -> None:
    made = label([[100.0, 0.0], [0.0, 50.0], [-40.0, 60.0]], tmp_path)
    assert [row["prompt_index"] for row in made.rows] == [0, 2, 3]
    first = made.rows[0]
    ids = [tiny.tokenizer()(word)["input_ids"] for word in WORDS]
    assert (first["chosen_index"], first["rejected_index"]) == (0, 1)
    assert first["chosen_ids"] == ids[0] * 2 and first["rejected_ids"] == [*ids[1], 1]
    assert first["reference_sample_ids"] == [[*ids[2], 1]]
    assert (first["score_chosen"], first["score_rejected"]) == (100.0, 0.0)
    assert (first["ref_logp_chosen"], first["ref_logp_rejected"]) == (-1.0, -2.0)
    assert [row["chosen_index"] for row in made.rows] == [0, 1, 1] and first["labelled_by"] == "reward"
    counts = made.counts
    assert list(counts) == list(preferences.COUNTS)
    assert (counts["prompts"], counts["prompts_left_out"], counts["prompts_without_pairs"]) == (3, 1, 0)
    # the first response of each prompt was cut after two tokens, the second has one and an end
    assert (counts["responses"], counts["responses_cut_at_max_new_tokens"], counts["tokens"]) == (6, 3, 12)
    assert (counts["pairs"], counts["pairs_labelled_by_reference"], counts["prompts_labelled_by_reference"]) == (
        3,
        0,
        0,
    )
    assert counts["expected_reward"] == pytest.approx(np.mean([100, 0, 0, 50, -40, 60]))
    assert counts["reward_standard_deviation"] == pytest.approx(np.std([100, 0, 0, 50, -40, 60]))
    spread = [np.var(own, ddof=1) / 2 for own in ([100, 0], [0, 50], [-40, 60])]
    assert counts["expected_reward_standard_error"] == pytest.approx(sum(spread) ** 0.5 / 3)
    assert counts["labels_for_the_less_probable"] == 0 and counts["mean_label_probability"] == pytest.approx(1.0)


def test_the_reference_labels_its_share_at_temperature_1(tmp_path: Path) -> None:
    """By log pi_ref, -1 for the first response and -2 for the second, whatever the rewards and their temperature."""
    for share, by_reward, expected in ((1.0, True, 2), (0.5, True, 1), (0.0, True, 0), (0.0, False, 2)):
        folder = tmp_path / f"{share} {by_reward}"
        folder.mkdir()
        made = label([[0.0, 9e9], [0.0, 9e9]], folder, by_reward, reference_share=share, label_temperature=1e-3)
        by_reference = [row for row in made.rows if row["labelled_by"] == "reference"]
        assert len(by_reference) == made.counts["pairs_labelled_by_reference"] == expected
        assert made.counts["prompts_labelled_by_reference"] == expected
        for row in by_reference:
            gap = row["ref_logp_chosen"] - row["ref_logp_rejected"]
            assert row["label_probability"] == pytest.approx(1 / (1 + math.exp(-gap))) and abs(gap) == 1
        less = sum(row["label_probability"] < 0.5 for row in made.rows)
        assert made.counts["labels_for_the_less_probable"] == less
        assert made.counts["mean_label_probability"] == pytest.approx(
            np.mean([row["label_probability"] for row in made.rows])
        )
        assert all(row["chosen_index"] == 1 for row in made.rows if row["labelled_by"] == "reward")
    numbers = list(range(10, 30))
    for share in (0.0, 0.3, 0.5, 1.0):
        chosen = preferences.reference_labelled(numbers, share, 1)
        assert len(chosen) == round(share * 20) and chosen <= set(numbers)
    assert preferences.reference_labelled(numbers, 0.5, 1) == preferences.reference_labelled(numbers, 0.5, 1)
    assert preferences.reference_labelled(numbers, 0.5, 1) != preferences.reference_labelled(numbers, 0.5, 2)
    assert preferences.reference_labelled(numbers, 0.5, 1) != set(numbers[:10])


def test_files_of_a_data_set_are_written_whole_with_what_their_columns_mean(tmp_path: Path) -> None:
    row = {"prompt": "größer", "chosen": "a", "rejected": "b", "score_chosen": 1.0}
    made = preferences.Preferences([row, row], {"pairs": 2}, pd.DataFrame())
    for ending in (".jsonl", ".parquet"):
        output = tmp_path / f"pairs{ending}"
        document = preference_files.write_preferences(output, made, {"seed": 3, "text": "größer"})
        written = (tmp_path / "pairs.settings.json").read_text(encoding="utf-8")
        assert json.loads(written) == document and "größer" in written
        assert document["settings"]["seed"] == 3 and document["counts"] == {"pairs": 2}
        assert list(document["columns"]) == list(row) and set(document["versions"]) == {
            "numpy",
            "torch",
            "transformers",
        }
        read: Any = pd.read_json(output, lines=True) if ending == ".jsonl" else pd.read_parquet(output)
        assert read.to_dict("records") == [row, row]
    assert "größer" in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8")
    files = preference_files.paths_of(tmp_path / "a.b.jsonl")
    names = ("a.b.jsonl", "a.b.settings.json", "a.b.responses.jsonl")
    assert [path.name for path in files.values()] == list(names)
    for name in ("pairs.csv", "pairs", ".jsonl"):
        with pytest.raises(ValueError, match=r"output must be a file whose name ends in .jsonl or .parquet"):
            preference_files.paths_of(tmp_path / name)
    for what in (row | {"score_chosen": math.nan}, row):
        settings = {"seed": math.inf} if what is row else {}
        with pytest.raises(ValueError, match="not JSON compliant"):
            preference_files.write_preferences(
                tmp_path / "bad.jsonl", preferences.Preferences([what], {}, pd.DataFrame()), settings
            )
    empty = preferences.Preferences([], {"pairs_skipped_equal": 4, "pairs_skipped_empty": 5}, pd.DataFrame())
    with pytest.raises(preference_files.NoPairs, match=r"\(4 and 5 pairs\)$"):
        preference_files.write_preferences(tmp_path / "none.jsonl", empty, {})


# ------------------------------------------------------------------------------------------------------ records of runs


def test_what_differs_between_two_runs_is_said_in_words() -> None:
    def record(names: dict[str, str] | None = None, **parts: Any) -> dict[str, Any]:
        return {"is": {"model": "a1", "data": "b1", "max_length": 1, "adapter": "x"} | parts, "names": names or {}}

    usual = {"model": "m", "data": "d.jsonl"}
    for now, words in (
        (record(usual), []),
        (record(usual, max_length=2), ["the max_length 1, and this is 2"]),
        (record(usual, adapter="y"), ["another adapter"]),
        (record(usual, adapter=None), ["an adapter, and this has none"]),
        (record(usual | {"model": "n"}, model="a2"), ["the initial model m, and this is n"]),
        (record(usual | {"model": "l"}, model="a0"), ["the initial model m, and this is l"]),
        (record(usual, model="a2"), ["the initial model m with another content"]),
        (
            record(usual, model="a0", max_length=0),
            ["the initial model m with another content", "the max_length 1, and this is 0"],
        ),
        (
            record(usual, data="b2", max_length=3),
            ["the data d.jsonl with another content", "the max_length 1, and this is 3"],
        ),
        (record(usual, objective="new"), []),  # of which the earlier run said nothing
        ({"is": {"model": "a1", "data": "b1", "adapter": "x"}, "names": usual}, ["the max_length 1, and this is None"]),
    ):
        assert sorted(run_record.differences(record(usual), now)) == sorted(words)
    full = record(usual, adapter=None)
    assert run_record.differences(full, record(usual)) == ["without an adapter, and this has one"]
    assert not run_record.differences(full, full)


def test_what_a_model_was_trained_from(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"it has no run.json that says what it was trained from; give --reference"):
        run_record.reference_of(str(tmp_path))
    (tmp_path / "run.json").write_text('{"names": {"model": "base"}}')
    assert run_record.reference_of(str(tmp_path)) == "base"
    for content in ("{", "{}", "[]", '{"names": 3}'):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(ValueError, match=r"run.json: it is damaged; give --reference"):
            run_record.reference_of(str(tmp_path))
    (tmp_path / "run.json").unlink()
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    assert run_record.reference_of(str(tmp_path)) == str(base)


def test_a_record_is_written_once_and_an_older_run_is_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    run_record.write_record(folder, {"is": 1}, anew=True)
    run_record.write_record(folder, {"is": "größer"}, anew=True)  # what was there began, and came to nothing
    run_record.write_record(folder, {"is": 2}, anew=False)
    assert "größer" in (folder / "run.json").read_text(encoding="utf-8")
    for name in ("model.safetensors", "adapter_model.safetensors", "summary.json", "trainer_state.json", "mine.txt"):
        (folder / name).write_text("x")
    for name in ("checkpoint-1", "checkpoint-mine"):
        (folder / name).mkdir()
    run_record.clear(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-mine", "mine.txt"]


def test_a_run_is_finished_if_its_summary_says_so_and_its_model_is_there(tmp_path: Path) -> None:
    whole = {"steps": 2, "max_steps": 2, "metrics": {}, "steps_shown": [1, 2], "finished": True}
    (tmp_path / "model.safetensors").write_text("x")
    for said, done in (
        (whole, whole),
        (whole | {"finished": False}, {}),
        ({name: value for name, value in whole.items() if name != "metrics"}, {}),
        ([1], {}),
    ):
        (tmp_path / "summary.json").write_text(json.dumps(said))
        assert run_record.finished_before(tmp_path) == done
    (tmp_path / "summary.json").write_text("{")
    assert run_record.finished_before(tmp_path) == {}
    (tmp_path / "summary.json").write_text(json.dumps(whole))
    (tmp_path / "model.safetensors").unlink()
    assert run_record.finished_before(tmp_path) == {}


class Waited:
    def __init__(self) -> None:
        self.count = 0

    def wait_for_everyone(self) -> None:
        self.count += 1


@pytest.mark.parametrize(("overwrite", "first"), [(False, True), (True, True), (True, False)])
def test_a_run_has_begun_once_a_step_is_done(
    overwrite: bool, first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_record, "record_of", lambda trainer, recipe: {"is": {}})
    trainer: Any = SimpleNamespace(accelerator=Waited())
    recipe: Any = SimpleNamespace(script=SimpleNamespace(overwrite=overwrite))
    begin = run_record.Begin(trainer, recipe, None, print)
    (tmp_path / "summary.json").write_text("x")
    for error, expected in (
        (ValueError("a head is missing"), run_record.BadStart),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):
        with pytest.raises(expected), begin:
            raise error
    with pytest.raises(run_record.NonFiniteLoss), begin:
        raise run_record.NonFiniteLoss("no number")
    assert (tmp_path / "summary.json").exists() and not (tmp_path / "run.json").exists()
    args, state = SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace(is_world_process_zero=first)
    begin.on_step_end(args, state, None)
    assert (tmp_path / "run.json").exists() == first
    assert (tmp_path / "summary.json").exists() == (not (overwrite and first))
    (tmp_path / "summary.json").write_text("of this run")
    begin.on_step_end(args, state, None)
    assert (tmp_path / "summary.json").exists() and trainer.accelerator.count == 1
    with pytest.raises(ValueError, match="later"), begin:  # no fault of what it began with
        raise ValueError("later")


# ------------------------------------------------------------------------------------------------------- TRL's settings


@dataclasses.dataclass
class Theirs:
    """The fields of a `trl.DPOConfig` that decide something, and a few others."""

    loss_type: Any = "sigmoid"
    beta: float = 0.1
    loss_weights: Sequence[float] | None = None
    f_divergence_type: str = "reverse_kl"
    f_alpha_divergence_coef: float = 0.5
    label_smoothing: float = 0.0
    discopop_tau: float = 0.05
    router_aux_loss_coef: float | None = 0.001
    pad_to_multiple_of: Any = "auto"
    padding_free: bool = False
    truncation_mode: str = "keep_start"
    use_liger_kernel: bool = False
    made: list[int] = dataclasses.field(default_factory=list)
    learning_rate: float = 1e-6
    gradient_checkpointing: bool | None = None
    activation_checkpointing: bool | None = None
    activation_checkpointing_kwargs: Any = None
    derived: int = dataclasses.field(default=0, init=False)


KNOWN = {
    *("learning_rate", "router_aux_loss_coef", "gradient_checkpointing", "activation_checkpointing"),
    *("activation_checkpointing_kwargs", "pad_to_multiple_of"),
}


def settings_of(**given: Any) -> dict[str, Any]:
    return from_trl.settings_of(Theirs(**given), KNOWN)


def test_settings_of_trl_say_which_loss_is_minimised_and_how() -> None:
    for kind, aggregation in (("sigmoid", "sum"), ("ipo", "mean"), ("sigmoid_norm", "mean"), ("sft", "token_mean")):
        found = settings_of(loss_type=kind)
        assert found["aggregation"] == [aggregation] and found["objective_weights"] is None
        assert len(found["objective"]) == 1 and found["objective"][0].lam == pytest.approx(0.1)
    two = settings_of(loss_type=["sigmoid", "sft"], loss_weights=[0.5, 2.0])
    assert two["objective_weights"] == [0.5, 2.0] and two["aggregation"] == ["sum", "token_mean"]
    assert settings_of(loss_type=["sigmoid", "sft"])["objective_weights"] is None
    assert settings_of(loss_type=["sigmoid"], loss_weights=[1.0])["objective_weights"] is None
    for weight in (2.0, 0.5):
        with pytest.raises(ValueError, match=rf"loss_weights of a single loss_type have .* got \[{weight}\]"):
            settings_of(loss_type=["sigmoid"], loss_weights=[weight])
    plain, smoothed = (settings_of(loss_type=["robust", "ipo"], label_smoothing=x)["objective"] for x in (0.0, 0.2))
    assert smoothed[0] != plain[0] and smoothed[1] == plain[1] == settings_of(loss_type="ipo")["objective"][0]
    steep = [settings_of(loss_type="discopop", discopop_tau=tau)["objective"][0] for tau in (0.05, 0.1)]
    assert steep[0] != steep[1]
    with pytest.raises(ValueError, match=r"label_smoothing is not used by loss_type \['ipo'\], though TRL accepts it"):
        settings_of(loss_type="ipo", label_smoothing=0.2)
    other = {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.7}
    assert settings_of(**other)["objective"] != settings_of(**other | {"f_alpha_divergence_coef": 0.6})["objective"]
    assert settings_of(f_alpha_divergence_coef=0.7)["objective"] == settings_of()["objective"]
    # a likelihood has no divergence
    assert settings_of(loss_type="sft", **other)["objective"] == settings_of(loss_type="sft")["objective"]


def test_settings_of_trl_that_need_nothing_done_and_those_without_a_counterpart() -> None:
    found = settings_of(learning_rate=3e-4)
    assert found["learning_rate"] == 3e-4
    # TRL's own default for any model, and "auto", are not taken for what somebody asked for
    assert not {"router_aux_loss_coef", "pad_to_multiple_of", "padding_free", "made", "derived", "beta"} & set(found)
    assert settings_of(router_aux_loss_coef=0.01)["router_aux_loss_coef"] == 0.01
    assert settings_of(pad_to_multiple_of=8)["pad_to_multiple_of"] == 8
    for given, words in (
        ({"padding_free": True}, "padding_free has no counterpart here: TRL itself ignores it"),
        ({"truncation_mode": "keep_end"}, "truncation_mode has no counterpart here: responses are cut at their end"),
        ({"use_liger_kernel": True}, "use_liger_kernel has no counterpart here: the head is"),
        ({"made": [1]}, r"made has no counterpart here: leave it out; got \[1\]"),
    ):
        with pytest.raises(ValueError, match=words):
            settings_of(**given)
    # the older name of transformers wins where both are there
    both = settings_of(gradient_checkpointing=True, activation_checkpointing=True, activation_checkpointing_kwargs={})
    assert both["gradient_checkpointing"] is True
    assert both["activation_checkpointing"] is None and both["activation_checkpointing_kwargs"] is None
    one = settings_of(activation_checkpointing=True)
    assert one["activation_checkpointing"] is True
    sft = dataclasses.make_dataclass("SFTConfig", [("loss_type", str, "nll")])()
    for bad in (Theirs, SimpleNamespace(loss_type="ipo"), Place(1), sft):
        with pytest.raises(TypeError, match=f"config must be a trl.DPOConfig, got {type(bad).__name__}"):
            from_trl.settings_of(bad, KNOWN)


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (["ipo"], "loss_type 'ipo': rewards/... and logps/... are logged as means"),
        (["sigmoid_norm"], "loss_type 'sigmoid_norm': rewards/..."),
        (["sft", "ipo", "sigmoid"], "loss_type 'ipo': rewards/..."),  # what is logged is the first one's that has pairs
        (["sigmoid", "ipo"], None),
        (["sigmoid"], None),
        (["sft"], None),
    ],
)
def test_it_is_told_where_what_is_logged_is_another_number_than_trls(
    kinds: list[str], told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "expo_analysis.llm"):
        settings_of(loss_type=kinds)
    assert [record.getMessage()[: len(told or "")] for record in caplog.records] == ([] if told is None else [told])


# --------------------------------------------------------------------------------------------- stored log-probabilities


def test_stored_numbers_are_of_each_row_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precomputed, "cache_folder", lambda: tmp_path / "no" / "cache")
    monkeypatch.setattr(precomputed, "broadcast_object_list", lambda shared, from_process: None)
    accelerator = SimpleNamespace(
        gather_for_metrics=lambda table: table, is_main_process=True, wait_for_everyone=lambda: None
    )
    data = tiny.Dataset.from_dict(
        {"prompt_ids": [[3]] * 3, "chosen_ids": [[4]] * 3, "rejected_ids": [[5]] * 3, "ref_chosen_logps": [9.0] * 3}
    )
    calls = []

    def numbers(batch: dict[str, Any]) -> torch.Tensor:
        calls.append(batch)
        return torch.tensor(batch["made"])

    def stored(data: Any, feedback: Any, key: str, batches: list[dict[str, Any]]) -> Any:
        return precomputed.with_ref_logps(data, feedback, key, lambda: batches, numbers, accelerator)

    both = [
        {"input_ids": [0] * 4, "made": [-1.0, -2.0, -10.0, -20.0]},  # two chosen ones, then two rejected ones
        {"input_ids": [0] * 2, "made": [-3.0, -30.0]},
    ]
    for _ in range(2):
        made = stored(data, PAIRS, "k", both)
        assert made["ref_chosen_logps"][:] == [-1, -2, -3] and made["ref_rejected_logps"][:] == [-10, -20, -30]
        assert len(calls) == 2  # the second time they are read
    for kept in ([0, 1], [0, 1, 2, 2]):
        with pytest.raises(ValueError, match=f"has 3 rows, and the data set {len(kept)}: remove the file"):
            stored(data.select(kept), PAIRS, "k", both)
    lists = tiny.Dataset.from_dict({"responses_ids": [[[4], [5]], [[4], [5], [6]]]})
    batch = {"input_ids": [0] * 5, "feedback": LISTS.name, "ranking": [[0], [0]], "sizes": [2, 3]}
    made = stored(lists, LISTS, "l", [batch | {"made": [-1.0, -2.0, -3.0, -4.0, -5.0]}])
    assert made["ref_responses_logps"][:] == [[-1, -2], [-3, -4, -5]]
    table = precomputed._table(batch, torch.arange(5.0), 4)
    assert table.shape == (2, 4) and table[1].tolist() == [2, 3, 4, 0]
    keys = {precomputed.cache_key(a=1), precomputed.cache_key(a=2), precomputed.cache_key(a=1, b=None)}
    assert len(keys) == 3 and precomputed.cache_key(a=1) in keys
