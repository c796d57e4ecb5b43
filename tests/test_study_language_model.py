"""The sweep over a language model on a tiny one: what is measured, what is kept, and what is shown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from . import llm_models as tiny

from expo_analysis.studies import STUDIES  # isort: skip (needs the environment of llm_models)
from expo_analysis import tasks  # isort: skip
from expo_analysis.cli import app  # isort: skip
from expo_analysis.studies.language_model import all_runs as experiment, one_run as sweep_run, world as worlds  # isort: skip
from expo_analysis.llm.data import sampling  # isort: skip
from expo_analysis.llm.models import load_model, load_tokenizer  # isort: skip
from expo_analysis.studies.language_model.sweep import SCALES, Method, Sweep  # isort: skip


WORDS = ["good", "bad", "food", "is", "the", "not"]
METHODS = (Method("dpo"), Method("expo", "token_kl"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A model whose next-token distributions are uneven, saved where processes find it."""
    folder = tmp_path_factory.mktemp("model")
    tiny.llama(0, len(WORDS) + 3, initializer_range=0.35).save_pretrained(folder / "model")
    tiny.tokenizer(WORDS).save_pretrained(folder / "model")
    (folder / "prompts.txt").write_text("the food is\nthe food\nis the food\nthe\n")
    return Sweep(
        model=str(folder / "model"), prompts=str(folder / "prompts.txt"), prompt_count=4, max_new_tokens=2,
        responses=4, pairs=3, lams=(0.1, 1.0), recorded=1.0, batch_size=2, learning_rate=1e-2, evaluated=8, records=3,
    )  # fmt: skip


class Here:
    """A pool without processes: what is submitted is done at once."""

    made: ClassVar[list[Here]] = []

    def __init__(self, workers: int, **how: Any) -> None:
        self.workers, self.how, self.ended = workers, how, list[dict[str, bool]]()
        Here.made.append(self)

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None: ...

    def submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, **how: bool) -> None:
        self.ended.append(how)


def run(sweep: Sweep, folder: Path, **given: Any) -> dict[str, pd.DataFrame]:
    """A sweep of two methods in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "METHODS", METHODS)
        patch.setattr(tasks, "ProcessPoolExecutor", Here)
        return experiment.run_sweep(sweep, folder, **given)


@pytest.fixture(scope="module")
def told() -> list[tuple[str, int, int]]:
    return []


@pytest.fixture(scope="module")
def ran(
    small: Sweep, told: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, pd.DataFrame]]:
    folder = tmp_path_factory.mktemp("runs") / "made" / "here"
    return folder, run(small, folder, progress=lambda done, total, /, *, what: told.append((what, done, total)))


def models(small: Sweep) -> tuple[Any, Any]:
    return load_model(small.model), load_tokenizer(small.model)


def test_every_run_has_its_rows(ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep) -> None:
    _, tables = ran
    key = ["loss", "estimator", "lam"]
    expected = [(loss, estimator or "", lam) for lam in small.lams for loss, estimator in METHODS]
    for name in ("lm_frontier", "lm_preservation"):
        assert list(tables[name][key].itertuples(index=False, name=None)) == expected
        assert not tables[name].isna().any(axis=None)
    moved = tables["lm_displacement"]
    assert set(moved["lam"]) == {small.recorded} and (moved.groupby(key)["step"].count() == small.records).all()
    start = moved[moved["step"] == 0][["chosen", "rejected", "other"]]
    assert np.abs(start).max(axis=None) < 1e-5  # at the start the policy is the reference, by both ways to its logs
    end = moved[(moved["step"] > 0) & (moved["loss"] == "dpo")].iloc[-1]
    assert end["chosen"] > end["rejected"] + 0.1
    frontier = tables["lm_frontier"]
    assert (frontier["steps"] == frontier["steps"].iloc[0]).all() and (frontier["last_loss"] > 0).all()
    # before the first step log(pi/pi_ref) is 0 for every response, and DPO's loss -log sigmoid(0)
    np.testing.assert_allclose(frontier["first_loss"][frontier["loss"] == "dpo"], np.log(2), rtol=1e-5)


def test_the_data_are_half_by_the_reward_and_half_by_the_reference(
    ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep
) -> None:
    world = worlds.World.read(ran[0] / "world.json")
    assert sorted(world.halves) == ["reference", "reference", "reward", "reward"]
    for row in world.rows:
        prompt = world.ids.index(row["prompt_ids"])
        assert row["labelled_by"] == world.halves[prompt]
        if row["labelled_by"] == "reference":
            gap = row["ref_logp_chosen"] - row["ref_logp_rejected"]
        else:
            gap = (row["score_chosen"] - row["score_rejected"]) / small.label_temperature
        assert row["label_probability"] == pytest.approx(1 / (1 + np.exp(-gap)), rel=1e-6)


def test_fresh_responses_are_others_than_those_trained_on(
    ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep
) -> None:
    """By other random numbers: with those of the data, the first responses to a prompt would be the compared ones."""
    model, tokenizer = models(small)
    world = worlds.World.read(ran[0] / "world.json")
    ends = sampling.end_tokens(model, tokenizer)
    rows = [(prompt, number) for prompt in range(4) for number in range(small.responses)]
    seen = sampling.draw(model, [world.ids[p] for p, _ in rows], rows, sampling.Sampling(2, seed=small.seed), ends)
    first = [one.ids for draws in world.draws for one in draws[: small.responses]]
    assert first != [one.ids for one in seen]


def test_the_reference_has_neither_drift_nor_gain(ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep) -> None:
    model, tokenizer = models(small)
    world = worlds.World.read(ran[0] / "world.json")
    for row in sweep_run.measure(small, world, model, model, tokenizer):
        assert row["gain"] == 0.0 and abs(row["kl"]) < 1e-6 and abs(row["reverse_kl"]) < 1e-6
        assert row["reward"] == row["ref_reward"] != 0.0


def test_measures_are_those_of_enumeration(ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep) -> None:
    """Another model as the policy: KL along samples is KL, each half by its own prompts."""
    reference, tokenizer = models(small)
    policy = tiny.llama(1, len(WORDS) + 3, initializer_range=0.35).eval()
    world = worlds.World.read(ran[0] / "world.json")
    many = dataclasses.replace(small, evaluated=80, watched=80)
    draws = worlds.fresh(reference, tokenizer, world.ids, many)
    world = dataclasses.replace(
        world, draws=draws, rewards=worlds.rewards_of(tokenizer, world.prompts, world.ids, draws).tolist()
    )
    for row in sweep_run.measure(many, world, policy, reference, tokenizer):
        ids = [own for own, half in zip(world.ids, world.halves, strict=True) if half == row["labelled_by"]]
        exact = np.mean([tiny_kl(reference, policy, own, sampling.end_tokens(reference, tokenizer)) for own in ids])
        assert abs(row["kl"] - exact) < 5 * row["kl_standard_error"]
        back = np.mean([tiny_kl(policy, reference, own, sampling.end_tokens(reference, tokenizer)) for own in ids])
        assert abs(row["reverse_kl"] - back) < 5 * row["reverse_kl_standard_error"]


def tiny_kl(p: Any, q: Any, prompt: list[int], ends: list[int], left: int = 2) -> float:
    """KL(p || q) of responses of at most ``left`` tokens: that of the next token, and what follows from each."""
    import torch

    with torch.no_grad():
        both = [one(torch.tensor([prompt])).logits[0, -1].double().log_softmax(-1) for one in (p, q)]
    total = float((both[0].exp() * (both[0] - both[1])).sum())
    if left > 1:
        for token, weight in enumerate(both[0].exp().tolist()):
            if token not in ends and weight > 1e-4:
                total += weight * tiny_kl(p, q, [*prompt, token], ends, left - 1)
    return total


def test_a_sweep_goes_on_where_it_was(ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep) -> None:
    folder, tables = ran
    lost, kept = folder / "dpo_0.1.json", folder / "expo_token_kl_1.json"
    before, age = json.loads(lost.read_text()), kept.stat().st_mtime_ns
    lost.unlink()
    told: list[tuple[str, int, int]] = []
    again = run(small, folder, progress=lambda done, total, /, *, what: told.append((what, done, total)))
    assert told == [("sampling", 0, 4), ("training", 3, 4), ("training", 4, 4)]
    assert kept.stat().st_mtime_ns == age
    assert json.loads(lost.read_text())["ends"] == before["ends"]
    pd.testing.assert_frame_equal(again["lm_preservation"], tables["lm_preservation"])


def test_other_settings_need_another_folder(ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep) -> None:
    with pytest.raises(ValueError, match=r"has runs with other settings: choose another folder"):
        experiment.run_sweep(dataclasses.replace(small, seed=1), ran[0])
    assert (ran[0] / "dpo_0.1.json").exists()


@pytest.mark.slow
def test_what_is_shown_comes_from_the_tables(ran: tuple[Path, dict[str, pd.DataFrame]], tmp_path: Path) -> None:
    study = STUDIES["language_model"]
    assert study.read(tmp_path) is None
    study.show(ran[1]).write(tmp_path)
    found = study.read(tmp_path)
    assert found is not None
    shown = study.show(found)
    assert list(shown.figures) == ["lm_frontier", "lm_preservation", "lm_kept_and_gained", "lm_displacement"]
    kept = found["lm_preservation"]
    assert f"{kept['drift'].iloc[0]:.2g}" in shown.text
    line = shown.figures["lm_preservation"].axes[0].lines[0]
    np.testing.assert_array_equal(line.get_ydata(), kept[kept["loss"] == "dpo"]["drift"])


@pytest.mark.parametrize("lam", [-1.0, 0.0, np.inf])
def test_one_bad_lambda_among_good_ones(lam: float) -> None:
    with pytest.raises(ValueError, match=f"^lams must be a finite number above 0, got {lam}"):
        Sweep(lams=(0.3, lam))


def test_bad_input_is_told(tmp_path: Path) -> None:
    for arguments, words in (
        (["--scale", "huge"], "scale must be one of ['small', 'large'], got 'huge'"),
        (["--lam", "2"], "lams must have the one at which displacement is recorded, 0.3"),
        (["--model", str(tmp_path / "none")], "there is no such folder"),
        (["--prompts", "nothing"], "prompts must be a file"),
    ):
        usual = ["--work", str(tmp_path / "work"), "-o", str(tmp_path), "--model", "smollm2"]
        result = CliRunner().invoke(app, ["experiment", *tiny.flags(usual, *arguments)])
        assert result.exit_code == 2, result.output
        assert words in " ".join(result.stderr.split()).replace("│ ", "")


def test_settings_are_whole_numbers_that_make_a_sweep() -> None:
    """Two halves of prompts, two responses of a pair, a start and an end; a standard error needs two numbers."""
    least = {"prompt_count": 2, "responses": 2, "pairs": 1, "reference_samples": 1, "max_new_tokens": 1, "epochs": 1}
    least |= {"batch_size": 1, "records": 2, "seed": 0, "watched": 2, "evaluated": 2}
    assert {name: getattr(dataclasses.replace(Sweep(), **least), name) for name in least} == least
    for name, value in least.items():
        with pytest.raises(ValueError, match=f"^{name} must"):
            dataclasses.replace(Sweep(), **{name: value - 1})
    with pytest.raises(ValueError, match=r"^evaluated must"):  # of which some are watched
        Sweep(watched=3, evaluated=2)


def test_the_figures_of_this_repository_are_of_the_default_sweep() -> None:
    kept = pd.read_csv(Path(__file__).parents[1] / "figures" / "lm_settings.csv", index_col="setting")["value"]
    default = dataclasses.asdict(SCALES["small"])
    assert {name: str(value) for name, value in default.items()} == kept[list(default)].to_dict()
    for sweep in SCALES.values():  # even steps on a logarithmic axis: powers of the root of 10, to one digit
        halves = np.round(2 * np.log10(sweep.lams))
        assert (np.diff(halves) == 1).all() and [f"{lam:.0e}" for lam in 10 ** (halves / 2)] == [
            f"{lam:.0e}" for lam in sweep.lams
        ]
        assert set(sweep.lams) >= set(SCALES["small"].lams)


def run_of(method: Method, lam: float, first: float) -> dict[str, Any]:
    """What a run leaves, each number another one."""
    names = [f"{name}{error}" for name in ("reward", "gain", "kl", "reverse_kl") for error in ("", "_standard_error")]
    numbers = iter(first + np.arange(100) / 64)
    return {
        **{"loss": method.loss, "estimator": method.estimator or "", "lam": lam},
        **{name: next(numbers) for name in ("steps", "first_loss", "last_loss", "training_seconds", "seconds")},
        "ends": [{"labelled_by": half} | {name: next(numbers) for name in names} for half in ("reward", "reference")],
        "displacement": [{"step": step, "chosen": next(numbers)} for step in (0, 8)],
    }


def test_tables_hold_what_runs_found_each_number_in_its_place(small: Sweep) -> None:
    rows = [{"labelled_by": half} for half in ("reward", "reference", "reward", "reward")]
    world = worlds.World({}, rows, [], [], [], [], [])
    runs = [run_of(METHODS[0], 0.1, 1), run_of(METHODS[1], 1.0, 5)]
    tables = experiment.tables(small, runs, world)
    for place, run in enumerate(runs):
        own = {name: run[name] for name in ("loss", "estimator", "lam")}
        reward, reference = run["ends"]
        seen = {name: run[name] for name in ("steps", "first_loss", "last_loss", "seconds")}
        frontier = own | {name: value for name, value in reward.items() if name != "labelled_by"} | seen
        assert tables["lm_frontier"].loc[place].to_dict() == frontier
        kept = {
            new: end[old]
            for end, old, new in (
                (reference, "kl", "drift"),
                (reference, "kl_standard_error", "drift_standard_error"),
                (reference, "reverse_kl", "reverse_drift"),
                (reference, "reverse_kl_standard_error", "reverse_drift_standard_error"),
                (reward, "gain", "gain"),
                (reward, "gain_standard_error", "gain_standard_error"),
            )
        }
        assert tables["lm_preservation"].loc[place].to_dict() == own | kept
        moved = tables["lm_displacement"].loc[2 * place : 2 * place + 1].to_dict("records")
        assert moved == [own | record for record in run["displacement"]]
    said = tables["lm_settings"].set_index("setting")["value"]
    assert said["pairs_labelled_by_reward"] == "3" and said["pairs_labelled_by_reference"] == "1"
    assert said["seconds_of_all_runs"] == str(round(runs[0]["seconds"] + runs[1]["seconds"]))
    assert said["max_new_tokens"] == str(small.max_new_tokens) and said["device"] == worlds.device()


def test_progress_counts_runs(ran: tuple[Path, dict[str, pd.DataFrame]], told: list[tuple[str, int, int]]) -> None:
    assert told == [("sampling", 0, 4), *(("training", count, 4) for count in range(5))]


@pytest.mark.parametrize(("cores", "workers", "threads"), [(8, 3, 2), (2, 4, 1), (None, 1, 1)])
def test_workers_share_the_cores(
    ran: tuple[Path, dict[str, pd.DataFrame]],
    small: Sweep,
    monkeypatch: pytest.MonkeyPatch,
    cores: int | None,
    workers: int,
    threads: int,
) -> None:
    monkeypatch.setattr(experiment.os, "cpu_count", lambda: cores)
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(tasks, "run", lambda *_, **given: asked.append(given))
    run(small, ran[0], workers=workers)
    assert asked[0]["workers"] == workers and asked[0]["prepared_with"] == (threads,)


def test_the_first_run_that_fails_ends_the_sweep_and_what_was_found_stays(
    ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "world.json").write_bytes((ran[0] / "world.json").read_bytes())

    def train(sweep: Sweep, method: Method, lam: float, world: Any, scratch: Path) -> dict[str, Any]:
        assert scratch.parent == tmp_path / "scratch"
        return {"seconds": 1.0 if (method.loss, lam) == ("dpo", 0.1) else np.nan}

    monkeypatch.setattr(experiment, "train_one", train)
    with pytest.raises(ValueError, match="not JSON compliant"):
        run(small, tmp_path)
    assert Here.made[-1].ended == [{"wait": False, "cancel_futures": True}]
    assert [path.name for path in tmp_path.glob("*_*.json")] == ["dpo_0.1.json"]


def logp(model: Any, prompt: list[int], response: list[int]) -> float:
    """log pi of a response, token by token."""
    import torch

    found = 0.0
    for place, token in enumerate(response):
        with torch.no_grad():
            next_one = model(torch.tensor([prompt + response[:place]])).logits[0, -1].double().log_softmax(-1)
        found += float(next_one[token])
    return found


def test_displacement_is_of_the_first_few_pairs_and_samples_that_the_reward_labelled(small: Sweep) -> None:
    """Three prompts, the middle one of the reference; means and standard errors by their definitions."""
    model, rng = tiny.llama(1, len(WORDS) + 3).eval(), np.random.default_rng(0)

    def words(count: int) -> list[int]:
        return [int(token) for token in rng.integers(3, 9, size=count)]

    ids, halves = [words(2), words(3), words(1)], ["reward", "reference", "reward"]
    rows = [
        {"prompt_index": prompt, "labelled_by": halves[prompt], "prompt_ids": ids[prompt], "chosen_ids": words(2),
         "rejected_ids": words(1), "ref_logp_chosen": -float(rng.random()), "ref_logp_rejected": -float(rng.random())}
        for prompt in (0, 1, 0, 2, 0, 1)
    ]  # fmt: skip
    draws = [[sampling.Draw(words(2), -float(rng.random()), False) for _ in range(3)] for _ in ids]
    watch = sweep_run.Displacement(worlds.World({}, rows, [], ids, halves, draws, []), records=3, watched=2)
    state = SimpleNamespace(max_steps=8, global_step=0)
    watch.on_train_begin(None, state, None, model)
    for step in range(1, 9):
        state.global_step = step
        watch.on_step_end(None, state, None, model)
    assert [record["step"] for record in watch.found] == [0, 4, 8]
    few = [rows[0], rows[2], rows[3]]
    moved = {
        side: [logp(model, row["prompt_ids"], row[f"{side}_ids"]) - row[f"ref_logp_{side}"] for row in few]
        for side in ("chosen", "rejected")
    }
    moved["other"] = [logp(model, ids[p], one.ids) - one.logp for p in (0, 2) for one in draws[p][:2]]
    for name, values in moved.items():
        mean, count = sum(values) / len(values), len(values)
        error = (sum((value - mean) ** 2 for value in values) / (count - 1) / count) ** 0.5
        for record in watch.found:
            assert record[name] == pytest.approx(mean, abs=1e-5)
            assert record[f"{name}_standard_error"] == pytest.approx(error, rel=1e-4)


class Told:
    """A trainer that says what it was given, and has trained at once."""

    def __init__(self, model: Any, **given: Any) -> None:
        self.model, self.given = model, given
        log = [{"loss": 3.0}, {"eval_loss": 9.0}, {"loss": 2.0}, {"loss": 1.5}, {"train_runtime": 7.0}]
        self.state = SimpleNamespace(log_history=log, global_step=3)

    def remove_callback(self, callback: Any) -> None: ...

    def train(self) -> None: ...


@pytest.mark.parametrize(
    ("method", "lam"), [(Method("dpo"), 1.0), (Method("expo", "token_kl"), 0.1), (Method("expo", "own_responses"), 1.0)]
)
def test_a_run_trains_as_the_sweep_says(
    small: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: Method, lam: float
) -> None:
    made: list[Told] = []
    clock = iter([10.0, 12.0, 15.0])
    monkeypatch.setattr(sweep_run, "PreferenceTrainer", lambda *a, **k: made.append(Told(*a, **k)) or made[-1])
    monkeypatch.setattr(sweep_run, "measure", lambda *given: [given])
    monkeypatch.setattr(sweep_run.time, "perf_counter", lambda: next(clock))
    columns = ["prompt", "chosen", "rejected", "prompt_ids", "chosen_ids", "rejected_ids", "reference_sample_ids"]
    row = {name: [1] for name in columns} | {"prompt_index": 0, "labelled_by": "reference", "unread": 0}
    world = worlds.World({}, [row], [], [], [], [], [])
    sweep = dataclasses.replace(small, epochs=3, seed=5)
    found = sweep_run.train_one(sweep, method, lam, world, tmp_path)
    (trainer,) = made
    args = trainer.given["args"]
    asked = (args.objective, args.beta, args.aggregation, args.regulariser_estimator)
    assert asked == (method.loss, lam, "sum", method.estimator)
    assert (args.num_train_epochs, args.per_device_train_batch_size, args.learning_rate) == (3, 2, 1e-2)
    assert args.lr_scheduler_type == "linear" and args.seed == 5 and args.max_length is None
    # what is measured must be of the very model that was sampled from: no rounding to 16 bits
    assert not args.bf16 and args.save_strategy == "no" and args.use_cpu == (worlds.device() == "cpu")
    # the sweep's own bar is the only one, every step is in the log, and nothing is computed twice
    assert args.disable_tqdm and args.logging_steps == 1 and args.report_to == []
    assert not args.gradient_checkpointing and not getattr(args, "activation_checkpointing", False)
    # of a loss without a token-wise regulariser no second model is in memory
    assert args.precompute_ref_log_probs == (method.loss == "dpo")
    assert (trainer.given["ref_model"] is not None) == (method.estimator == "token_kl")
    watching = trainer.given["callbacks"]
    assert [type(one) for one in watching or []] == ([sweep_run.Displacement] if lam == small.recorded else [])
    assert trainer.given["train_dataset"].column_names == columns
    assert (found["loss"], found["estimator"], found["lam"]) == (method.loss, method.estimator or "", lam)
    assert (found["steps"], found["first_loss"], found["last_loss"]) == (3, 3.0, 1.5)
    assert (found["training_seconds"], found["seconds"]) == (2.0, 5.0) and found["displacement"] == []


def test_gains_and_their_errors_are_of_the_samples_of_each_half(
    ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep
) -> None:
    _, tokenizer = models(small)
    policy, reference = tiny.llama(1, len(WORDS) + 3, initializer_range=0.35).eval(), models(small)[0]
    world = worlds.World.read(ran[0] / "world.json")
    own = worlds.rewards_of(tokenizer, world.prompts, world.ids, worlds.fresh(policy, tokenizer, world.ids, small))
    assert own.shape == (4, small.evaluated) == np.shape(world.rewards)
    for row in sweep_run.measure(small, world, policy, reference, tokenizer):
        half = [place for place, name in enumerate(world.halves) if name == row["labelled_by"]]
        gains = own[half] - np.array(world.rewards)[half]
        assert row["prompts"] == len(half) == 2
        assert row["gain"] == pytest.approx(gains.mean()) and row["reward"] == pytest.approx(own[half].mean())
        error = sum(np.var(gain, ddof=1) / small.evaluated for gain in gains) ** 0.5 / 2
        assert row["gain_standard_error"] == pytest.approx(error)


def test_a_world_is_what_the_sweep_asks_for_and_reads_back(
    ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep
) -> None:
    world = worlds.World.read(ran[0] / "world.json")
    assert world == worlds.World.read(ran[0] / "world.json") and world.settings == small.shared
    assert world.prompts == ["the food is", "the food", "is the food", "the"]
    assert all(len(draws) == small.evaluated for draws in world.draws)
    for row in world.rows:
        assert len(row["reference_sample_ids"]) == small.reference_samples
        assert max(row["chosen_index"], row["rejected_index"]) < small.responses
        assert len(row["chosen_ids"]) <= small.max_new_tokens
    per_prompt = pd.Series([row["prompt_index"] for row in world.rows]).value_counts()
    assert per_prompt.max() == small.pairs
    named = dataclasses.replace(world, prompts=["größer"])
    assert "größer" in named.to_json()  # for whoever reads the file
    with pytest.raises(ValueError, match="not JSON compliant"):
        dataclasses.replace(world, rewards=[[np.nan]]).to_json()


def test_prompts_without_a_pair_are_left_out_of_the_world(
    small: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As no two texts of theirs can be compared; the others keep their order, halves and tokens."""
    asked: list[Any] = []

    def make(model: Any, tokenizer: Any, found: Any, ids: Any, reward: Any, settings: Any, *_: Any, **more: Any) -> Any:
        asked.append((settings, found.rows, ids, more))
        rows = [{"prompt_index": 3, "labelled_by": "reference"}, {"prompt_index": 1, "labelled_by": "reward"}]
        return SimpleNamespace(rows=rows)

    monkeypatch.setattr(worlds, "make_preferences", make)
    sweep = dataclasses.replace(small, seed=4, reference_samples=2)
    world = worlds.make_world(sweep, tmp_path / "journal")
    ((settings, rows, ids, more),) = asked
    assert rows == [0, 1, 2, 3] and more == {"model_name": small.model}
    assert world.prompts == ["the food", "the"] and world.halves == ["reward", "reference"]
    assert world.ids == [ids[1], ids[3]] and [len(own) for own in world.draws] == [8, 8]
    assert np.shape(world.rewards) == (2, 8) and world.settings == sweep.shared
    assert (settings.responses, settings.reference_samples, settings.pairs) == (4, 2, 3)
    assert settings.sampling == sampling.Sampling(2, seed=4) and settings.label_temperature == sweep.label_temperature
    assert settings.reference_share == 0.5  # halves
    other = worlds.fresh(*models(small), world.ids, sweep)  # by other random numbers than those of the data
    assert other == world.draws != worlds.fresh(*models(small), world.ids, dataclasses.replace(sweep, seed=5))
