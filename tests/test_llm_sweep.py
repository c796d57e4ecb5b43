"""The sweep over a language model on a tiny one: what is measured, what is kept, and what is shown."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from . import llm_models as tiny

from expo_analysis import language_models, plots  # isort: skip (needs the environment of llm_models)
from expo_analysis.cli import app  # isort: skip
from expo_analysis.llm import experiment, sweep_run, world as worlds  # isort: skip
from expo_analysis.llm.data import sampling  # isort: skip
from expo_analysis.llm.models import load_model, load_tokenizer  # isort: skip
from expo_analysis.llm.sweep import Method, Sweep  # isort: skip
from expo_analysis.results import write_result  # isort: skip


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
        model=str(folder / "model"), prompts=str(folder / "prompts.txt"), prompt_count=4, max_new_tokens=4,
        lams=(0.1, 1.0), recorded=1.0, batch_size=4, learning_rate=1e-2, evaluated=40, records=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def ran(small: Sweep, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, pd.DataFrame]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "METHODS", METHODS)
        folder = tmp_path_factory.mktemp("runs")
        return folder, experiment.run_sweep(small, folder)


def models(small: Sweep) -> tuple[Any, Any]:
    return load_model(small.model), load_tokenizer(small.model)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_fresh_responses_are_others_than_those_trained_on(
    ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep
) -> None:
    """By other random numbers: with those of the data, the first responses to a prompt would be the compared ones."""
    model, tokenizer = models(small)
    world = worlds.World.read(ran[0] / "world.json")
    ends = sampling.end_tokens(model, tokenizer)
    rows = [(prompt, number) for prompt in range(4) for number in range(small.responses)]
    seen = sampling.draw(model, [world.ids[p] for p, _ in rows], rows, sampling.Sampling(4, seed=small.seed), ends)
    first = [one.ids for draws in world.draws for one in draws[: small.responses]]
    assert first != [one.ids for one in seen]


@pytest.mark.slow
def test_the_reference_has_neither_drift_nor_gain(ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep) -> None:
    model, tokenizer = models(small)
    world = worlds.World.read(ran[0] / "world.json")
    for row in sweep_run.measure(small, world, model, model, tokenizer):
        assert row["gain"] == 0.0 and abs(row["kl"]) < 1e-6 and abs(row["reverse_kl"]) < 1e-6
        assert row["reward"] == row["ref_reward"] != 0.0


@pytest.mark.slow
def test_measures_are_those_of_enumeration(ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep) -> None:
    """Another model as the policy: KL along samples is KL, each half by its own prompts."""
    reference, tokenizer = models(small)
    policy = tiny.llama(1, len(WORDS) + 3, initializer_range=0.35).eval()
    world = worlds.World.read(ran[0] / "world.json")
    many = dataclasses.replace(small, evaluated=400, watched=400)
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


def tiny_kl(p: Any, q: Any, prompt: list[int], ends: list[int], left: int = 4) -> float:
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


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_was(
    ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tables = ran
    monkeypatch.setattr(experiment, "METHODS", METHODS)
    lost, kept = folder / "dpo_0.1.json", folder / "expo_token_kl_1.json"
    before, age = json.loads(lost.read_text()), kept.stat().st_mtime_ns
    lost.unlink()
    again = experiment.run_sweep(small, folder)
    assert kept.stat().st_mtime_ns == age
    assert json.loads(lost.read_text())["ends"] == before["ends"]
    pd.testing.assert_frame_equal(again["lm_preservation"], tables["lm_preservation"])


@pytest.mark.slow
def test_other_settings_need_another_folder(ran: tuple[Path, dict[str, pd.DataFrame]], small: Sweep) -> None:
    with pytest.raises(ValueError, match=r"has runs with other settings: choose another folder"):
        experiment.run_sweep(dataclasses.replace(small, seed=1), ran[0])
    assert (ran[0] / "dpo_0.1.json").exists()


@pytest.mark.slow
def test_what_is_shown_comes_from_the_tables(ran: tuple[Path, dict[str, pd.DataFrame]], tmp_path: Path) -> None:
    assert language_models.read_language_models(tmp_path) is None
    for result in language_models.show(ran[1]):
        write_result(tmp_path, result)
    found = language_models.read_language_models(tmp_path)
    assert found is not None
    results = language_models.show(found)
    assert [one.name for one in results] == ["lm_frontier", "lm_preservation", "lm_displacement"]
    kept = found["lm_preservation"]
    assert f"{kept['drift'].iloc[0]:.2g}" in results[1].to_markdown()
    line = plots.lm_preservation(kept).axes[0].lines[0]
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
        result = CliRunner().invoke(
            app, ["experiment", "--work", str(tmp_path / "work"), "-o", str(tmp_path), "--model", "smollm2", *arguments]
        )
        assert result.exit_code == 2, result.output
        assert words in " ".join(result.stderr.split()).replace("│ ", "")
