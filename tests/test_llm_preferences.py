"""Preference data with known truth: labels, journal, files, bad input, and the command."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from typer.testing import CliRunner

from . import llm_models as tiny

from expo_analysis.cli import app  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm import models, smollm2  # isort: skip
from expo_analysis.llm.data import journal, labels, preferences, prompts, rewards, sampling  # isort: skip
from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip
from expo_analysis.llm.data.preferences import Settings  # isort: skip
from expo_analysis.llm.data.rewards import Reward  # isort: skip
from expo_analysis.llm.data.sampling import Sampling  # isort: skip

WORDS = tiny.WORDS[:6]
PROMPTS = ["w0 w1", "w2", "w3 w4 w5 w0", "w5 w5", "w1 w2 w3"]

LENGTH = Reward("length", lambda given, responses: [float(len(text.split())) for text in responses])
SETTINGS = Settings(responses=3, reference_samples=1, sampling=Sampling(5), batch_size=4)


def model(seed: int = 0) -> Any:
    return tiny.llama(seed, len(WORDS) + 3, initializer_range=0.35).eval()


def make(
    path: Path,
    given: list[Any] = PROMPTS,
    reward: Reward | None = LENGTH,
    settings: Settings = SETTINGS,
    policy: Any = None,
    **more: Any,
) -> preferences.Preferences:
    tokenizer = tiny.tokenizer(WORDS)
    found, ids = prompts.tokenize(prompts.check_prompts(given), tokenizer, None)
    policy = model() if policy is None else policy
    return preferences.make_preferences(policy, tokenizer, found, ids, reward, settings, path, **more)


def counts_of(made: preferences.Preferences) -> dict[str, Any]:
    return {key: value for key, value in made.counts.items() if key != "this_run"}


# --------------------------------------------------------------------------------------------------------------- labels


def test_labels_have_bradley_terrys_frequencies() -> None:
    values, temperature = np.array([0.3, -0.8, 1.1]), 0.7
    wins: Counter[tuple[int, int]] = Counter()
    for prompt in range(4000):
        for one in labels.draw_labels(["a", "b", "c"], values, temperature=temperature, prompt=prompt):
            wins[one.winner, one.loser] += 1
            difference = (values[one.winner] - values[one.loser]) / temperature
            assert math.isclose(one.p, 1 / (1 + math.exp(-difference)))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        p = 1 / (1 + math.exp((values[j] - values[i]) / temperature))
        assert wins[i, j] + wins[j, i] == 4000
        assert stats.binomtest(wins[i, j], 4000, p).pvalue > 1e-3
        assert stats.binomtest(wins[i, j], 4000, 0.5).pvalue < 1e-6  # it would see labels that are coin flips


def test_probabilities_at_their_ends() -> None:
    assert labels.win_probability(1e9, -1e9) == 1
    assert 0 <= labels.win_probability(-1e9, 1e9) < 1e-300
    assert labels.win_probability(2.0, 2.0) == 0.5
    small = labels.win_probability(-40.0, 0.0)
    assert math.isclose(small, math.exp(-40), rel_tol=1e-12)


def test_equal_and_empty_responses_are_skipped_and_counted() -> None:
    skipped = labels.SkippedPairs()
    texts = ["a", "b", "a", "  ", "a"]
    found = labels.draw_labels(texts, [1.0, 2.0, 3.0, 4.0, 5.0], skipped=skipped)
    assert {frozenset((one.winner, one.loser)) for one in found} == {frozenset(p) for p in ((0, 1), (1, 2), (1, 4))}
    assert (skipped.equal, skipped.empty) == (3, 4)


def test_some_pairs_are_chosen_evenly_and_never_twice() -> None:
    seen: Counter[tuple[int, ...]] = Counter()
    for prompt in range(3000):
        found = labels.draw_labels(list("abcd"), np.arange(4.0), pairs=2, prompt=prompt)
        chosen = [tuple(sorted((one.winner, one.loser))) for one in found]
        assert len(set(chosen)) == 2
        seen.update(chosen)
    assert len(seen) == 6 and stats.chisquare(list(seen.values())).pvalue > 1e-3
    assert len(labels.draw_labels(list("abcd"), np.arange(4.0), pairs=99)) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rewards": [1.0]}, "rewards must be 2 finite numbers"),
        ({"rewards": [1.0, math.inf]}, "rewards must be 2 finite numbers"),
        ({"rewards": [1.0, 2.0], "temperature": 0.0}, "label temperature must be a positive finite number, got 0.0"),
        ({"rewards": [1.0, 2.0], "pairs": 0}, "pairs must be a positive whole number"),
    ],
)
def test_bad_labels(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labels.draw_labels(["a", "b"], **arguments)


# ------------------------------------------------------------------------------------------------------------- data set


def test_rows_say_what_happened(tmp_path: Path) -> None:
    made = make(tmp_path / "j")
    tokenizer, policy = tiny.tokenizer(WORDS), model()
    assert len(made.responses) == 15 and made.rows
    for row in made.rows:
        assert row["prompt"] == PROMPTS[row["prompt_index"]]
        assert row["prompt_ids"] == tokenizer(row["prompt"])["input_ids"]
        assert row["labelled_by"] == "reward"
        assert math.isclose(
            row["label_probability"], 1 / (1 + math.exp(row["score_rejected"] - row["score_chosen"])), rel_tol=1e-12
        )
        assert len(row["reference_sample_ids"]) == 1
        for side in ("chosen", "rejected"):
            assert row[f"score_{side}"] == len(row[side].split())
            exact = sampling.response_logps(policy, [row["prompt_ids"]], [row[f"{side}_ids"]])[0]
            assert abs(row[f"ref_logp_{side}"] - exact) < 1e-4
            shown = tokenizer.decode(row["prompt_ids"] + row[f"{side}_ids"], skip_special_tokens=True)
            assert row["prompt"] + row[side] == shown
    counts = made.counts
    assert counts["pairs"] == len(made.rows) == 15 - counts["pairs_skipped_equal"] - counts["pairs_skipped_empty"]
    assert counts["expected_reward"] == pytest.approx(made.responses["score"].mean())
    assert counts["reward_standard_deviation"] == pytest.approx(np.std(made.responses["score"]), rel=1e-12)
    assert counts["reward_standard_deviation"] > 0
    probabilities = [row["label_probability"] for row in made.rows]
    assert 0 < counts["labels_for_the_less_probable"] < len(made.rows)
    assert counts["labels_for_the_less_probable"] == sum(p < 0.5 for p in probabilities)
    assert counts["mean_label_probability"] == pytest.approx(np.mean(probabilities), rel=1e-12)
    assert counts["tokens"] == sum(made.responses["tokens"])
    assert counts["this_run"]["responses_sampled"] == 20
    # the pad token may be drawn as any other, and leaves nothing in the text
    specials = {tokenizer.pad_token_id, tokenizer.unk_token_id}
    kept = journal.Journal(tmp_path / "j", json.loads((tmp_path / "j").read_text().splitlines()[0])["origin"])
    with_specials = sum(bool(specials & set(one.ids)) for (_, number), one in kept.draws.items() if number < 3)
    assert counts["responses_split_otherwise"] == with_specials > 0


def test_labels_by_the_reference_itself(tmp_path: Path) -> None:
    for reward, share in ((None, 0.0), (LENGTH, 0.4)):
        settings = Settings(responses=3, sampling=Sampling(5), reference_share=share, label_temperature=0.5)
        made = make(tmp_path / "j", reward=reward, settings=settings)
        own = {row["prompt_index"] for row in made.rows if row["labelled_by"] == "reference"}
        for row in made.rows:
            kind, t = ("ref_logp", 1.0) if row["prompt_index"] in own else ("score", 0.5)
            difference = (row[f"{kind}_chosen"] - row[f"{kind}_rejected"]) / t
            assert math.isclose(row["label_probability"], 1 / (1 + math.exp(-difference)), rel_tol=1e-12)
        assert made.counts["prompts_labelled_by_reference"] == (5 if reward is None else 2) >= len(own) > 0


@pytest.mark.parametrize("estimator", ["own_responses", "reference_samples", "token_kl"])
def test_the_trainer_sees_the_tokens_that_were_sampled(estimator: str, tmp_path: Path) -> None:
    """At the start the policy is the reference: what it gives chosen and rejected is what the data set says."""
    made = make(tmp_path / "j")
    data = tiny.Dataset.from_list(made.rows)
    config = PreferenceConfig(
        **tiny.settings(tmp_path / "out", max_steps=1, per_device_train_batch_size=len(data)),
        regulariser_estimator=estimator,
    )
    reference = {"ref_model": model()} if estimator == "token_kl" else {}
    trainer = PreferenceTrainer(
        model(), args=config, train_dataset=data, processing_class=tiny.tokenizer(WORDS), **reference
    )
    trainer.train()
    log = trainer.state.log_history[0]
    for side in ("chosen", "rejected"):
        assert log[f"logps/{side}"] == pytest.approx(np.mean([row[f"ref_logp_{side}"] for row in made.rows]), rel=1e-4)
    if estimator == "reference_samples":
        samples = [row["reference_sample_ids"][0] for row in made.rows]
        exact = sampling.response_logps(model(), [row["prompt_ids"] for row in made.rows], samples)
        assert log["loss/regulariser"] == pytest.approx(-exact.mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("prompt_ids", [3, 3, 3], "row 1, prompt_ids: they are not the prompt's tokens"),
        ("chosen_ids", [3, 9], "row 1, chosen_ids: it has a token that the tokenizer, with its 9 tokens, has not: 9"),
        ("rejected_ids", [], "row 1, rejected: it has no tokens"),
    ],
)
def test_tokens_of_another_tokenizer_are_refused(column: str, value: list[int], message: str, tmp_path: Path) -> None:
    made = make(tmp_path / "j")
    made.rows[1][column] = value
    config = PreferenceConfig(**tiny.settings(tmp_path / "out", max_steps=1))
    with pytest.raises(ValueError, match=message):
        PreferenceTrainer(
            model(),
            args=config,
            train_dataset=tiny.Dataset.from_list(made.rows),
            processing_class=tiny.tokenizer(WORDS),
        )


def test_conversations_are_answered(tmp_path: Path) -> None:
    given = [[{"role": "user", "content": text}] for text in PROMPTS]
    made = make(tmp_path / "j", given)
    assert made.rows
    for row in made.rows:
        assert row["prompt"] == given[row["prompt_index"]]
        (message,) = row["chosen"]
        assert message["role"] == "assistant" and message["content"].strip()
        assert row["prompt_ids"] == tiny.tokenizer(WORDS)(PROMPTS[row["prompt_index"]])["input_ids"]


# -------------------------------------------------------------------------------------------------------------- journal


def test_the_same_seed_gives_the_same_data_set_in_any_batches(tmp_path: Path) -> None:
    first = make(tmp_path / "a")
    for size in (1, 7):
        other = make(tmp_path / f"b{size}", settings=Settings(3, 1, Sampling(5), batch_size=size))
        pd.testing.assert_frame_equal(other.responses, first.responses, rtol=1e-5)
    second = make(tmp_path / "c", settings=Settings(3, 1, Sampling(5, seed=1), batch_size=4))
    assert list(second.responses["text"]) != list(first.responses["text"])


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """A journal that ends anywhere, within a line too, leads to the data set of a run that was not stopped."""
    whole = make(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    assert len(ends) == 11  # the origin; five batches of draws, and of scores
    for cut in [0, 7, *ends, *(end + 25 for end in ends[:-1]), ends[3] - 1]:
        path = tmp_path / f"cut{cut}"
        path.write_bytes(content[:cut])
        again = make(path)
        assert again.rows == whole.rows and counts_of(again) == counts_of(whole)
        assert path.read_bytes() == content or cut in ends or cut - 25 in ends  # scores may come in other lines
        lines = [json.loads(line) for line in content[:cut][: content[:cut].rfind(b"\n") + 1].splitlines()]
        kept = sum(len(line.get("sampled", ())) for line in lines)
        assert again.counts["this_run"]["responses_sampled"] == 20 - kept  # nothing is sampled twice


def test_nothing_is_scored_twice(tmp_path: Path) -> None:
    calls: list[str] = []

    def count(given: list[Any], responses: list[str]) -> list[float]:
        calls.extend(responses)
        return [1.0] * len(responses)

    make(tmp_path / "j", reward=Reward("counted", count))
    assert len(calls) == 15  # the further samples of the reference are not compared, and not scored
    make(tmp_path / "j", reward=Reward("counted", count))
    assert len(calls) == 15
    made = make(tmp_path / "j", reward=Reward("another", count))
    assert len(calls) == 30 and made.counts["this_run"]["responses_sampled"] == 0


def test_more_responses_keep_those_there_are(tmp_path: Path) -> None:
    few = make(tmp_path / "j", settings=Settings(2, 0, Sampling(5)))
    more = make(tmp_path / "j", settings=Settings(4, 0, Sampling(5)))
    assert more.counts["this_run"]["responses_sampled"] == 10
    kept = more.responses[more.responses["response"] < 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, few.responses, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"settings": Settings(3, 1, Sampling(5, seed=7))}, "seed 0 instead of 7"),
        ({"settings": Settings(3, 1, Sampling(6))}, "max_new_tokens 5 instead of 6"),
        ({"given": [*PROMPTS, "w0"]}, "prompts '"),
        ({"policy": 1}, "weights '"),
        ({"model_name": "other"}, "model '' instead of 'other'"),
    ],
)
def test_responses_of_other_settings_are_not_mixed(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    make(tmp_path / "j")
    if "policy" in change:
        change = {"policy": model(change["policy"])}
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(journal.JournalError, match=f"sampled otherwise: .*{named}.*--restart"):
        make(tmp_path / "j", **change)
    assert (tmp_path / "j").read_bytes() == before


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    make(tmp_path / "j")
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(b"".join([*lines[:2], b'{"sampled": [[0]]}\n', *lines[3:]]))
    with pytest.raises(journal.JournalError, match="line 3 is damaged"):
        make(tmp_path / "j")


# -------------------------------------------------------------------------------------------------------------- rewards


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda p, r: [1.0], r"one number for each of 2 responses, got shape \(1,\)"),
        (lambda p, r: [[1.0], [2.0]], r"got shape \(2, 1\)"),
        (lambda p, r: ["a", "b"], "must return a list of numbers"),
        (lambda p, r: None, r"one number for each of 2 responses, got shape \(\)"),
        (lambda p, r: [1.0, math.nan], "row 3, response 1: it must be finite, got nan for ''"),
        (lambda p, r: [math.inf, 1.0], "row 3, response 0: it must be finite, got inf for 'fine'"),
        (lambda p, r: r[5], "failed on responses to prompts of rows 3: IndexError"),
    ],
)
def test_a_reward_that_gives_something_else(function: Any, message: str) -> None:
    with pytest.raises(rewards.RewardError, match=f"reward mine: .*{message}"):
        Reward("mine", function)(["w0", "w0"], ["fine", ""], [(3, 0), (3, 1)])


def test_a_reward_that_fails_loses_no_responses(tmp_path: Path) -> None:
    def fails(given: list[Any], responses: list[str]) -> list[float]:
        return [math.nan if "w0" in text else 1.0 for text in responses]

    with pytest.raises(rewards.RewardError, match="must be finite, got nan"):
        make(tmp_path / "j", reward=Reward("fails", fails))
    kept = journal.Journal(tmp_path / "j", json.loads((tmp_path / "j").read_text().splitlines()[0])["origin"])
    made = make(tmp_path / "j")
    assert made.counts["this_run"]["responses_sampled"] == 20 - len(kept.draws) < 20


def test_a_rewards_name_says_what_it_reads() -> None:
    pytest.importorskip("vaderSentiment")
    names = [rewards.vader(what).name for what in ("response", "both")]
    assert names[0].endswith(" of the response") and names[1].endswith(" of prompt and response")


def test_vader_knows_good_from_bad() -> None:
    pytest.importorskip("vaderSentiment")
    good, bad, empty = rewards.vader()(["It is"] * 3, [" wonderful and great", " awful and bad", ""])
    assert bad < -0.5 < empty == 0 < 0.5 < good
    # with its prompt a response may say the opposite
    alone, together = (rewards.vader(what)(["It was not"], [" good."])[0] for what in ("response", "both"))
    assert together < 0 < alone
    chat = rewards.vader("both")([[{"role": "user", "content": "It was awful."}]], [""])[0]
    assert chat < 0


def test_classifiers(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    sizes = {"vocab_size": 9, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0, "initializer_range": 0.5}
    for outputs in (1, 3):
        config = LlamaConfig(**sizes, num_labels=outputs)
        if outputs == 3:
            config.id2label = {0: "bad", 1: "fair", 2: "good"}
            config.label2id = {"bad": 0, "fair": 1, "good": 2}
        LlamaForSequenceClassification(config).save_pretrained(tmp_path / str(outputs))
        tiny.tokenizer(WORDS).save_pretrained(tmp_path / str(outputs))
    texts = ["w0 w1 w2", "w3", "w5 w4"]
    name = str(tmp_path / "3")
    each = [rewards.classifier(name, label, batch_size=2)(["w0"] * 3, texts) for label in ("bad", "fair", "good")]
    assert np.allclose((1 / (1 + np.exp(-np.array(each)))).sum(axis=0), 1, atol=1e-5) and np.std(each) > 0.1
    both = rewards.classifier(name, "good", "both")(["w0 "] * 3, texts)
    assert np.allclose(both, rewards.classifier(name, "good")([""] * 3, [f"w0 {text}" for text in texts]), atol=1e-5)
    single = rewards.classifier(str(tmp_path / "1"))(["w0"] * 3, texts)
    assert single.max() - single.min() > 0.01
    with pytest.raises(ValueError, match=r"label must be one of \['bad', 'fair', 'good'\] of .*, got 'great'"):
        rewards.classifier(name, "great")
    with pytest.raises(ValueError, match="label is not used by"):
        rewards.classifier(str(tmp_path / "1"), "good")


# -------------------------------------------------------------------------------------------------------------- prompts


def test_prompts_of_every_kind_of_file(tmp_path: Path) -> None:
    rows = [{"prompt": text, "id": k} for k, text in enumerate(["a b", 'say "no", twice'])]
    wanted = [row["prompt"] for row in rows]
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "p.csv", index=False)
    frame.to_parquet(tmp_path / "p.parquet")
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "p.json").write_text(json.dumps(rows))
    (tmp_path / "p.txt").write_text("\n".join(wanted) + "\n")
    for ending in ("csv", "parquet", "jsonl", "json", "txt"):
        found = prompts.read_prompts(tmp_path / f"p.{ending}")
        assert found.prompts == wanted and found.rows == [0, 1] and not found.conversational
    chat = [{"role": "user", "content": "a"}]
    pd.DataFrame({"q": [chat, chat]}).to_parquet(tmp_path / "c.parquet")
    (tmp_path / "c.jsonl").write_text(json.dumps({"q": chat}) + "\n")
    for ending in ("parquet", "jsonl"):
        found = prompts.read_prompts(tmp_path / f"c.{ending}", "q")
        assert found.prompts[0] == chat and found.conversational


@pytest.mark.parametrize("name", prompts.shipped_prompts())
def test_the_shipped_prompts(name: str) -> None:
    found = prompts.read_prompts(name).prompts
    assert len(found) >= 60 and len(set(found)) == len(found)
    assert all(isinstance(text, str) and text == text.strip() and 15 < len(text) < 120 for text in found)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "p.jsonl",
            '{"promt": "a"}\n',
            r"column 'prompt', but its columns are \['promt'\]; is 'promt' meant to be it\? Name it with",
        ),
        ("p.jsonl", '{"prompt": "a"}\n{"text": "b"}\n', r"row 1 \(line 2\), prompt: it is missing"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt"\n', "line 2, column 10: it is not JSON"),
        ("p.jsonl", '{"prompt": "a"}\n["b"]\n', "line 2: it must be an object"),
        ("p.jsonl", "", "p.jsonl: it has no rows"),
        ("p.txt", "", "at least one prompt, but it is empty"),
        (
            "p.jsonl",
            '{"prompt": "a"}\n{"prompt": null}\n',
            r"row 1 \(line 2\), prompt: it is missing \(None\) \(1 of 2 rows",
        ),
        (
            "p.jsonl",
            '{"prompt": "a"}\n{"prompt": 3}\n',
            "prompt: it must be text or a list of messages, got a number, 3",
        ),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": []}\n', "prompt: it is a conversation without messages"),
        (
            "p.jsonl",
            '{"prompt": "a"}\n{"prompt": [{"role": "user"}]}\n',
            "prompt: the content of its message 0 is missing",
        ),
        (
            "p.jsonl",
            '{"prompt": "a"}\n{"prompt": [{"role": "user", "content": "b"}]}\n',
            "prompt: it is a conversation, while those of the rows before are plain text",
        ),
        (
            "p.jsonl",
            '{"prompt": [{"role": "assistant", "content": "b"}]}\n',
            r"row 0 \(line 1\), prompt: its last message is the assistant's",
        ),
        ("p.txt", "a\n\nb\n", r"row 1 \(line 2\), prompt: it is empty"),
        ("p.csv", "text\na\n", r"column 'prompt', but its columns are \['text'\]\. Name it with --column"),
        ("p.csv", "prompt,x\n,1\n", r"row 0 \(line 2\), prompt: it is empty"),
        ("p.json", '["a"]', "row 0 must be an object"),
        ("p.json", '"a"', "must be a list of objects"),
        ("p.doc", "a", "must end in one of .jsonl, .json, .csv, .tsv, .ndjson, .parquet, .txt"),
    ],
)
def test_bad_prompts(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        prompts.read_prompts(tmp_path / name)


def test_bad_prompts_may_be_left_out() -> None:
    found = prompts.check_prompts(["w0", "", "w1 w2 w3", None], on_bad_rows="drop")
    found, ids = prompts.tokenize(found, tiny.tokenizer(WORDS), 2, on_bad_rows="drop")
    assert found.rows == [0] and ids == [[3]]
    assert [(problem.row, problem.what) for problem in found.dropped] == [
        (1, "it is empty"),
        (3, "it is missing (None)"),
        (2, "it has more tokens than the limit of 2"),
    ]
    with pytest.raises(ValueError, match=r"cannot be used: row 0, prompt: it is empty \(1 of 1 rows"):
        prompts.check_prompts([""], on_bad_rows="drop")
    with pytest.raises(ValueError, match="row 1, prompt: it has more tokens than the limit of 2: 3"):
        prompts.tokenize(prompts.check_prompts(["w0", "w1 w2 w3"]), tiny.tokenizer(WORDS), 2)
    with pytest.raises(ValueError, match=r"on_bad_rows must be one of \['error', 'drop'\], got 'skip'"):
        prompts.check_prompts(["w0"], on_bad_rows="skip")


# -------------------------------------------------------------------------------------------------------------- command

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("tiny")
    model().save_pretrained(where)
    tiny.tokenizer(WORDS).save_pretrained(where)
    (where / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    (where / "mine.py").write_text(
        "def words(prompts, responses):\n    print('hello')\n    return [len(r.split()) for r in responses]\n"
        "def wrong(prompts, responses):\n    return [0.0]\n"
    )
    return where


def run(folder: Path, output: Path, *more: str) -> Any:
    usual = ["--model", str(folder), "--prompts", str(folder / "prompts.txt"), "-o", str(output)]
    usual += ["--max-new-tokens", "5", "--batch-size", "4"]
    return runner.invoke(app, ["preferences", *tiny.flags(usual, *more)])


def test_prompts_that_leave_the_model_no_room(folder: Path, tmp_path: Path) -> None:
    """Of its 128 positions 120 are for a response: eight tokens of a prompt are the most, and one prompt has nine."""
    texts = ["w1", " ".join(["w2"] * 8), " ".join(["w3"] * 9)]
    (tmp_path / "prompts.txt").write_text("".join(f"{text}\n" for text in texts))
    arguments = ["preferences", "--model", str(folder), "--prompts", str(tmp_path / "prompts.txt"), "--responses", "2"]
    arguments += ["-o", str(tmp_path / "p.jsonl"), "--max-new-tokens", "120", "--reward", f"{folder / 'mine.py'}:words"]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 2 and "row 2" in done.stderr and "more tokens than the limit of 8: 9" in done.stderr
    done = runner.invoke(app, [*arguments, "--on-bad-rows", "drop", "--json"])
    assert done.exit_code == 0, done.stderr
    sampled = [json.loads(line) for line in (tmp_path / "p.responses.jsonl").read_text().splitlines()]
    assert {prompt for record in sampled for prompt, *_ in record.get("sampled", ())} == {0, 1}


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_command(ending: str, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / f"pairs.{ending}"
    reward = f"{folder / 'mine.py'}:words"
    done = run(folder, output, "--reward", reward, "--reference-share", "0.4", "--pairs", "2", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    data = tiny.Dataset.from_json(str(output)) if ending == "jsonl" else tiny.Dataset.from_parquet(str(output))
    assert len(data) == document["counts"]["pairs"] <= 10
    assert set(data.column_names) == set(document["columns"])
    assert document["settings"] | {"seed": 0, "pairs": 2, "reference_share": 0.4} == document["settings"]
    assert document["settings"]["reward"].startswith(reward)
    written = json.loads(Path(document["files"]["settings"]).read_text())
    assert written == {key: value for key, value in document.items() if key != "files"}
    assert document["counts"]["prompts_labelled_by_reference"] == 2
    before = output.read_bytes()
    again = run(folder, output, "--reward", reward, "--reference-share", "0.4", "--pairs", "2", "--json")
    assert output.read_bytes() == before
    assert json.loads(again.stdout)["counts"]["this_run"]["responses_sampled"] == 0


def test_the_command_in_words(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "pairs.jsonl"
    done = run(folder, output, "--reward", "reference", "--chat", "--limit", "2")
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert f"pairs: {len(rows)}\n" in done.stdout and "wrote" in done.stderr
    assert rows[0]["prompt"] == [{"role": "user", "content": PROMPTS[0]}]
    assert {row["prompt_index"] for row in rows} <= {0, 1} and {row["labelled_by"] for row in rows} == {"reference"}
    refused = run(folder, output, "--reward", "reference", "--chat", "--limit", "2", "--seed", "5")
    assert refused.exit_code == 2 and "seed 0 instead of 5" in refused.stderr
    assert (
        run(folder, output, "--reward", "reference", "--chat", "--limit", "2", "--seed", "5", "--restart").exit_code
        == 0
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reward", "vadr"], "reward must be vader, reference, classifier:NAME or FILE.py:FUNCTION, got 'vadr'"),
        (["--reward", "{folder}/mine.py:nothing"], "it has no function 'nothing'"),
        (["--reward", "{folder}/mine.py:wrong"], "one number for each of 2 responses"),
        (["--reward", "nowhere.py:words"], "nowhere.py: No such file"),
        (["--reward-label", "good"], "reward-label is not used by the reward 'vader'"),
        (["--reward", "reference", "--scored", "both"], "scored is not used by the reward 'reference'"),
        (["--reward", "reference", "--reference-share", "0.5"], "reference-share is not used"),
        (["--reward", "reference", "--label-temperature", "2"], "label-temperature must be 1"),
        (["--scored", "all"], "scored must be one of"),
        (["--temperature", "0"], "temperature must be a positive finite number"),
        (["--label-temperature", "-1"], "label temperature must be a positive finite number"),
        (["--pairs", "few"], "pairs must be a positive whole number, or all; got 'few'"),
        (["--responses", "1"], "responses must be a whole number of at least 2"),
        (["--reference-share", "1.5"], "reference_share must be from 0 to 1"),
        (["--limit", "0"], "limit must be a positive whole number"),
        (["--dtype", "int8"], "dtype must be float32, bfloat16 or float16"),
        (["--device", "gpu"], "device must be one that torch has here, such as cpu, got 'gpu'"),
        (
            ["--prompts", "nothing"],
            "prompts must be a file .* or one of ['sentiment', .* got 'nothing'",
        ),
        (["--prompts", "nowhere.txt"], "nowhere.txt: No such file or directory"),
        (["--max-prompt-length", "2"], "rows 2 and 4, prompt: it has more tokens than the limit of 2: 4 in row 2"),
        (["--max-new-tokens", "126"], "rows 2 and 4, prompt: it has more tokens than the limit of 2: 4 in row 2"),
        (["-o", "pairs.csv"], "output must be a file whose name ends in .jsonl or .parquet"),
        (["--model", "./nowhere"], "there is no such folder"),
        (["--column", "q"], "column is not used by .* which has a prompt on each line; got 'q'"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, folder: Path, tmp_path: Path) -> None:
    done = run(folder, tmp_path / "pairs.jsonl", *(part.format(folder=folder) for part in arguments))
    assert done.exit_code == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert all(part in line for part in message.split(" .* "))
    assert not list(tmp_path.glob("pairs*"))  # nothing was begun


def test_responses_that_are_all_equal(tmp_path: Path, folder: Path) -> None:
    done = run(folder, tmp_path / "pairs.jsonl", "--temperature", "0.001", "--reward", "reference")
    assert done.exit_code == 2 and "no pair is left to write" in done.stderr
    assert not (tmp_path / "pairs.jsonl").exists()


def test_help_has_examples_and_needs_no_transformers() -> None:
    program = (
        "import sys, expo_analysis.cli as c\n"
        "try: c.app(['preferences', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "expo-analysis preferences --prompts sentiment" in done.stdout


# ----------------------------------------------------------------------------------------------------------------- slow


@pytest.mark.slow
def test_kill_minus_nine(folder: Path, tmp_path: Path) -> None:
    """A process that is killed while it samples, and started again until it is done."""
    command = [sys.executable, "-m", "expo_analysis", "preferences", "--model", str(folder), "--reward", "reference"]
    command += ["--prompts", str(folder / "prompts.txt"), "--responses", "300", "--batch-size", "2", "--pairs", "3"]
    command += ["--max-new-tokens", "8"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "-o", str(tmp_path / "whole.jsonl")], check=True, capture_output=True, env=environment)
    journal = tmp_path / "killed.responses.jsonl"
    for lines in (20, 200):
        process = subprocess.Popen(
            [*command, "-o", str(tmp_path / "killed.jsonl")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "killed.jsonl").exists()
    subprocess.run([*command, "-o", str(tmp_path / "killed.jsonl")], check=True, capture_output=True, env=environment)
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.slow
def test_smollm2_writes_reviews(tmp_path: Path) -> None:
    for package in (smollm2.PACKAGE, "gguf", "vaderSentiment"):
        pytest.importorskip("importlib.util").find_spec(package) or pytest.skip(f"{package} is not installed")
    output = tmp_path / "pairs.jsonl"
    arguments = [
        "preferences",
        "--prompts",
        "sentiment",
        "--limit",
        "3",
        "--responses",
        "3",
        "-o",
        str(output),
        "--json",
    ]
    done = runner.invoke(app, [*arguments, "--max-new-tokens", "12"])
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    reference = models.load_model("smollm2")
    for side in ("chosen", "rejected"):
        again = sampling.response_logps(
            reference, [row["prompt_ids"] for row in rows], [row[f"{side}_ids"] for row in rows]
        )
        assert np.abs(again - [row[f"ref_logp_{side}"] for row in rows]).max() < 1e-3
    assert json.loads(done.stdout)["counts"]["responses_split_otherwise"] <= 2
    per_token = np.mean([row["ref_logp_chosen"] / len(row["chosen_ids"]) for row in rows])
    assert -6 < per_token < -1.5  # nats: that of its own samples at temperature 1, far from the uniform -10.8
