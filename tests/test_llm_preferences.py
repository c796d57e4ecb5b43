"""Responses that are really drawn from the model, rewards, and labels with known probabilities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.cli import app

from . import llm_models as tiny

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.preferences import Labelling, make_pairs, read_prompts, win_probability  # isort: skip
from expo_analysis.llm.rewards import load_reward, score  # isort: skip
from expo_analysis.llm.sampling import Responses, SamplingSettings, sample_all, sample_batch  # isort: skip
from datasets import load_dataset  # isort: skip
from transformers import LlamaConfig, LlamaForSequenceClassification  # isort: skip

PROMPTS = ["w1 w2 w3 ", "w4 ", "w5 w6 w7 w8 ", "w9 w1 ", "w2 "]


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.llama(0, initializer_range=0.5)


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    made = tiny.tokenizer()
    made.chat_template = None
    made.save_pretrained(path)
    return path


# ------------------------------------------------------------------------------------------------------- sampling


def test_responses_are_drawn_from_the_model() -> None:
    """First tokens by their frequency, of prompts of different lengths in one batch, whatever the model's settings."""
    settings = SamplingSettings(samples=1500, max_new_tokens=1)
    model = tiny.llama(0, initializer_range=0.5)
    own = {"top_k": 2, "top_p": 0.5, "min_p": 0.3, "repetition_penalty": 3.0, "no_repeat_ngram_size": 1}
    model.generation_config.update(do_sample=True, **own)
    found = sample_batch(model, tiny.tokenizer(), PROMPTS[:2], settings, 0)
    for one in found:
        ids = torch.tensor([tiny.tokenizer()(one.prompt)["input_ids"]])
        p = model(input_ids=ids).logits[0, -1].softmax(-1).detach().double().numpy()
        counts = np.bincount([row[0] for row in one.ids], minlength=len(p))
        z = (counts - 1500 * p) / np.sqrt(1500 * p * (1 - p))
        assert abs(z).max() < 4.5
    assert {name: getattr(model.generation_config, name) for name in own} == own


def test_log_probabilities_and_ends(model: Any) -> None:
    """By hand, of the very tokens; a response that ends has its last token, and one that is cut is said to be."""
    settings = SamplingSettings(samples=40, max_new_tokens=12)
    end = tiny.tokenizer().eos_token_id
    found = sample_batch(model, tiny.tokenizer(), PROMPTS[:3], settings, 0)
    seen = set()
    for one in found:
        prompt = tiny.tokenizer()(one.prompt)["input_ids"]
        for ids, finished, logp, text in zip(one.ids, one.finished, one.logps, one.texts, strict=True):
            logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].double()
            expected = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum().item()
            assert logp == pytest.approx(expected, abs=1e-4)
            assert finished == (ids[-1] == end) and end not in ids[:-1]
            assert finished or len(ids) == 12
            assert "<eos>" not in text and len(text.split()) <= len(ids)
            seen.add(finished)
    assert seen == {True, False}


class Interrupted(Exception):
    pass


def test_an_interrupted_run_goes_on_where_it_was(model: Any, tmp_path: Path) -> None:
    settings = SamplingSettings(samples=2, max_new_tokens=5, batch_size=2)

    def sample(store: Path, until: int | None = None) -> list[Responses]:
        def progress(done: int) -> None:
            if done == until:
                raise Interrupted

        return sample_all("tiny", lambda: (model, tiny.tokenizer()), PROMPTS, settings, store, progress)

    whole = sample(tmp_path / "whole.jsonl")
    with pytest.raises(Interrupted):
        sample(tmp_path / "parts.jsonl", until=2)
    with (tmp_path / "parts.jsonl").open("a") as file:
        file.write('{"prompt": "w5 w6')  # a line that was being written
    with pytest.raises(Interrupted):
        sample(tmp_path / "parts.jsonl", until=4)
    assert sample(tmp_path / "parts.jsonl") == whole
    assert (tmp_path / "parts.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()

    def fail() -> Any:
        raise AssertionError("nothing is left to sample")

    assert sample_all("tiny", fail, PROMPTS, settings, tmp_path / "whole.jsonl") == whole
    for other in (
        {"settings": SamplingSettings(samples=2, max_new_tokens=5, batch_size=2, seed=1), "word": "seed is 0 there"},
        {"model_name": "another", "word": "model is 'tiny' there and 'another' here"},
        {"prompts": PROMPTS[1:], "word": "prompts is"},
    ):
        word = other.pop("word")
        given = {"model_name": "tiny", "load": fail, "prompts": PROMPTS, "settings": settings} | other
        with pytest.raises(ValueError, match=f"has responses of another run .{word}"):
            sample_all(**given, store=tmp_path / "whole.jsonl")


# --------------------------------------------------------------------------------------------------------- labels


def responses(count: int, prompts: int = 1) -> list[Responses]:
    texts = [f"r{k}" for k in range(count)]
    return [Responses("p", texts, [[k] for k in range(count)], [True] * count, [-1.0] * count)] * prompts


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_labels_follow_bradley_terry(temperature: float) -> None:
    rewards, n = [0.3, 1.1], 4000
    rows, _ = make_pairs(responses(2, n), [rewards] * n, Labelling(temperature=temperature))
    wins = sum(row["chosen"] == "r1" for row in rows)
    p = expit(0.8 / temperature)
    assert len(rows) == n and abs(wins - n * p) < 4 * np.sqrt(n * p * (1 - p))
    for row in rows[:20]:
        assert row["probability"] == pytest.approx(p if row["chosen"] == "r1" else 1 - p)
        assert row["chosen_reward"] == rewards[int(row["chosen"][1])]


def test_all_pairs_or_some_of_them() -> None:
    scores = [[0.0, 1.0, 2.0, 3.0]]
    rows, _ = make_pairs(responses(4), scores, Labelling(pairs=None, temperature=0))
    assert {(row["chosen"], row["rejected"]) for row in rows} == {
        (f"r{i}", f"r{j}") for i in range(4) for j in range(i)
    }
    some = [make_pairs(responses(4), scores, Labelling(pairs=2, seed=seed))[0] for seed in range(30)]
    assert all(len(rows) == 2 for rows in some)
    assert len({frozenset((row["chosen"], row["rejected"])) for rows in some for row in rows}) == 6
    assert some[3] == make_pairs(responses(4), scores, Labelling(pairs=2, seed=3))[0]


def test_equal_responses_and_ties_make_no_pair() -> None:
    same = Responses("p", ["a", "a", " ", "b"], [[1], [1], [2], [3]], [True] * 4, [-1.0] * 4)
    rows, left_out = make_pairs([same], [[0.0, 0.0, 1.0, 2.0]], Labelling(pairs=None, temperature=0))
    assert {(row["chosen"], row["rejected"]) for row in rows} == {("b", "a")} and len(rows) == 2
    rows, left_out = make_pairs(responses(2), [[1.0, 1.0]], Labelling(temperature=0))
    assert rows == [] and left_out == {"prompts without a pair": 1, "ties": 1}
    assert win_probability(1e4, 0.0, 1e-3) == 1.0


def test_reference_samples_are_in_no_pair() -> None:
    rows, _ = make_pairs(responses(5), [[0.0] * 5], Labelling(pairs=None, reference_samples=2))
    assert {row[name] for row in rows for name in ("chosen", "rejected")} == {"r0", "r1", "r2"}
    assert all(row["reference_sample_ids"] == [[3], [4]] for row in rows)


# -------------------------------------------------------------------------------------------------------- rewards


def test_vader() -> None:
    values = score(load_reward("vader"), ["p"] * 3, ["I love it, it is wonderful!", "It is a table.", "I hate it."])
    assert values[0] > 0.5 > values[1] == 0 > values[2]


def test_a_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        **{"vocab_size": 43, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "pad_token_id": 0},
        **{"num_attention_heads": 2, "num_labels": 3, "id2label": {0: "bad", 1: "so so", 2: "good"}},
    )
    made = LlamaForSequenceClassification(config)
    made.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    texts = [f"w{k} w{k + 1}" for k in range(20)]
    for label, place in ((None, 2), ("bad", 0), ("1", 1)):
        values = score(load_reward(str(tmp_path), label), ["p"] * 20, texts)
        for text, value in zip(texts, values, strict=True):
            p = made(**tiny.tokenizer()(text, return_tensors="pt")).logits[0].double().softmax(-1)[place].item()
            assert value == pytest.approx(np.log(p / (1 - p)), abs=1e-5)
    with pytest.raises(ValueError, match=r"reward_label must be one of \['bad', 'so so', 'good'\] or its number"):
        load_reward(str(tmp_path), "great")


BAD_REWARDS = {
    "no file": ("nowhere.py:f", None, "nowhere.py: No such file"),
    "no function": ("mine.py:g", None, "it has no function 'g'"),
    "broken": ("broken.py:f", None, "importing it failed: ZeroDivisionError"),
    "label": ("vader", "good", "reward_label is not used by the reward 'vader'"),
}


@pytest.mark.parametrize(("name", "label", "message"), BAD_REWARDS.values(), ids=BAD_REWARDS)
def test_bad_rewards(name: str, label: str | None, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(prompts, responses):\n    return [len(r) for r in responses]\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    where = name if name in ("vader", "nowhere.py:f") else str(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        load_reward(where, label)
    assert score(load_reward(f"{tmp_path}/mine.py:f"), ["p"], ["four"]) == [4.0]


def test_what_a_reward_gives_is_checked() -> None:
    with pytest.raises(ValueError, match="a number for each of 2 responses, but it gave 1"):
        score(lambda prompts, responses: [1.0], ["p", "p"], ["a", "b"])
    for value in (float("nan"), None, "high"):
        with pytest.raises(ValueError, match="must be a finite number, but that of response 1 is"):
            score(lambda prompts, responses, value=value: [1.0, value], ["p", "p"], ["a", "b"])


# ------------------------------------------------------------------------------------------------------ the command


def test_the_command_makes_data_that_can_be_trained_on(folder: Path, model: Any, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    (tmp_path / "mine.py").write_text("def length(prompts, responses):\n    return [len(r) for r in responses]\n")
    arguments = ["preferences", "--model", str(folder), "--prompts", str(tmp_path / "prompts.txt")]
    arguments += ["-o", str(tmp_path / "pairs.jsonl"), "--max-new-tokens", "6", "--reference-samples", "2", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--reward", f"{tmp_path}/mine.py:length", "--label-temperature", "0"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert summary["pairs"] == len(rows) <= summary["prompts"] == len(PROMPTS)
    for row in rows:
        assert row["chosen_reward"] == len(row["chosen"]) > len(row["rejected"]) == row["rejected_reward"]
        assert row["chosen_reward"] in row["rewards"] and len(row["rewards"]) == 6
        assert len(row["reference_sample_ids"]) == 2
    samples = (tmp_path / "pairs.samples.jsonl").read_text()
    done = CliRunner().invoke(app, [*arguments, "--reward", "reference"])  # the same responses with other labels
    assert done.exit_code == 0 and (tmp_path / "pairs.samples.jsonl").read_text() == samples
    relabelled = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    for row in relabelled:
        assert row["probability"] == pytest.approx(expit(row["chosen_logp"] - row["rejected_logp"]))

    data = load_dataset("json", data_files=str(tmp_path / "pairs.jsonl"))["train"]
    args = PreferenceConfig(**tiny.settings(tmp_path, max_steps=2, regulariser_estimator="reference_samples"))
    trainer = PreferenceTrainer(
        model, ea.EXPO(0.1), args, train_dataset=data, processing_class=tiny.tokenizer(), eval_dataset=data
    )
    trainer.train()
    assert trainer.state.global_step == 2


BAD_ARGUMENTS = {
    "samples": (["--samples", "1"], "samples must be at least 2"),
    "output": (["-o", "pairs.csv"], "output must be a .jsonl file, got 'pairs.csv'"),
    "temperature": (["--temperature", "0"], "temperature must be a finite number above 0"),
    "labels": (["--label-temperature", "-1"], "label_temperature must be a finite number of at least 0"),
    "prompts": (["--prompts", "nowhere.txt"], r"prompts must be a .txt or .jsonl file, or one of ['sentiment']"),
    "label": (["--reward-label", "good"], "reward_label is not used"),
    "limit": (["--limit", "0"], "limit must be a positive integer"),
}


@pytest.mark.parametrize(("flags", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_bad_arguments(flags: list[str], message: str, folder: Path, tmp_path: Path) -> None:
    arguments = ["--model", str(folder), "--prompts", "sentiment", "-o", str(tmp_path / "pairs.jsonl")]
    done = CliRunner().invoke(app, ["preferences", *arguments, *flags])
    assert done.exit_code == 2 and message in done.stderr, done.output
    assert not list(tmp_path.iterdir())


def test_prompts(tmp_path: Path) -> None:
    shipped = read_prompts("sentiment", chat=True)
    assert len(shipped) == 120 == len({str(prompt) for prompt in shipped})
    assert shipped[0] == [{"role": "user", "content": "Write one sentence about the weather today."}]
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "a"}\n\n{"prompt": [{"role": "user", "content": "b"}]}\n')
    assert read_prompts(str(file), chat=False) == ["a", [{"role": "user", "content": "b"}]]
    for line, message in (('{"text": "a"}', "must be a JSON object with the key"), ('{"prompt": 3}', "prompt must be")):
        file.write_text('{"prompt": "a"}\n' + line + "\n")
        with pytest.raises(ValueError, match=f"line 2: .*{message}|line 2: {message}"):
            read_prompts(str(file), chat=False)
    file.write_text("\n")
    with pytest.raises(ValueError, match="has no prompts"):
        read_prompts(str(file), chat=False)
