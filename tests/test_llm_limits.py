"""Where numbers, tokens, prompts and names are accepted no more: at the end itself, and one step beyond it."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from . import llm_models as tiny

from expo_analysis.cli import evaluate as evaluate_command, preferences as preferences_command  # isort: skip
from expo_analysis.llm import evaluation, models  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.data import feedback, preferences, rewards  # isort: skip
from expo_analysis.llm.data import labels, prompts, readers, report, rows, sampling  # isort: skip
from expo_analysis.llm.data import tokens  # isort: skip
from expo_analysis.llm.data.checks import check_samples  # isort: skip
from expo_analysis.llm.data.report import BadField, Place  # isort: skip
from .llm_turns import answer, user

# -------------------------------------------------------------------------------------------------------------- numbers


def test_sampling_and_labels_take_numbers_up_to_the_ends_of_their_ranges() -> None:
    for good in ({"temperature": 5e-324}, {"temperature": 1e300}, {"top_p": 1.0}, {"top_p": 5e-324}, {"seed": 0}):
        sampling.Sampling(max_new_tokens=1, **good)
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"^temperature must"):
            sampling.Sampling(temperature=bad)
        with pytest.raises(ValueError, match=r"^label temperature must"):
            labels.check_labels(bad, None)
    for share in (0.0, math.nextafter(1, 2), -0.5):
        with pytest.raises(ValueError, match=r"^top_p must"):
            sampling.Sampling(top_p=share)
    labels.check_labels(5e-324, 1)
    labels.check_labels(1.0, None)
    for pairs in (0, -1, 1.0, 1.5):
        with pytest.raises(ValueError, match=r"^pairs must be a positive whole number"):
            labels.check_labels(1.0, pairs)  # type: ignore[arg-type]
    own = sampling.Sampling()
    assert own.from_model_itself
    assert not any(dataclasses.replace(own, **{name: 0.5}).from_model_itself for name in ("temperature", "top_p"))
    assert not dataclasses.replace(own, temperature=2.0).from_model_itself


def test_settings_of_preferences_and_of_evaluations_have_ends() -> None:
    least = {"responses": 2, "reference_samples": 0, "batch_size": 1, "reference_share": 0, "pairs": 1}
    preferences.Settings(**least)
    preferences.Settings(reference_share=1)
    for name, value in [*((name, value - 1) for name, value in least.items()), ("reference_share", 1.0000001)]:
        with pytest.raises(ValueError, match=f"^{name} must"):
            preferences.Settings(**{name: value})
    assert preferences.Settings(responses=3, reference_samples=2).drawn == 5
    evaluation.Settings(sampling.Sampling(), responses=1, batch_size=1)
    for size, compared in ((1, 1), (8, 8), (9, 8), (64, 8)):
        assert evaluation.Settings(sampling.Sampling(), batch_size=size).compared == compared


def test_the_commands_have_the_defaults_of_the_settings_that_they_make() -> None:
    """What is said twice is said alike."""

    def defaults(command: Any) -> dict[str, Any]:
        return {name: one.default for name, one in inspect.signature(command).parameters.items()}

    for command, kinds in (
        (preferences_command.preferences, (preferences.Settings, sampling.Sampling)),
        (evaluate_command.evaluate, (evaluation.Settings,)),
    ):
        said = defaults(command)
        for field in [field for kind in kinds for field in dataclasses.fields(kind)]:
            own_number = field.name == "max_new_tokens"  # which each command has
            if field.name in said and not own_number and field.default not in (dataclasses.MISSING, None):
                assert said[field.name] == field.default, field.name


def test_quantiles_are_shares_and_other_numbers_are_finite() -> None:
    single = feedback.SINGLES
    for value in (0, 1, 0.5, "1"):
        assert feedback.checked(single, "quantile", value) == float(value)
    for value in (-1e-9, 1 + 1e-9, 2, -1):
        with pytest.raises(BadField, match="it must be between 0 and 1, got"):
            feedback.checked(single, "quantile", value)
    assert feedback.checked(single, "score", "-1.5") == -1.5 and feedback.checked(single, "weight", 0) == 0
    for value in (True, None, "x", math.inf, math.nan, [1]):
        with pytest.raises(BadField, match="it must be a finite number"):
            feedback.checked(single, "score", value)
    assert feedback.checked(single, "note", "anything") == "anything"
    assert [feedback.label_of(value) for value in (True, 1, 1.0, "Up", "good", False, 0, 0.0, "down", "BAD")] == [
        *[1.0] * 5,
        *[0.0] * 5,
    ]
    for value in (None, 2, 0.5, "yes?", [True]):
        with pytest.raises(BadField, match="it must be true or false"):
            feedback.label_of(value)
    with pytest.raises(BadField, match="it must have at least one number"):
        feedback.checked(feedback.LISTS, "scores", [])
    assert feedback.checked(feedback.LISTS, "scores", "[1, 2.5]") == [1.0, 2.5]


def test_rankings_name_each_response_once_and_scores_order_them_all() -> None:
    for given, count, ranking in (([1, 0], 2, [1, 0]), ([1.0], 2, [1]), ("[2]", 3, [2]), ([0], 1, [0])):
        assert feedback.ranking_of({"ranking": given}, count) == ranking
    for bad in ([], [2], [-1], [0, 0], [0.5], [True, 0], ["a"], [0, 1, 1]):
        with pytest.raises(BadField, match=r"^ranking: it must have numbers of responses"):
            feedback.ranking_of({"ranking": bad}, 2)
    assert feedback.ranking_of({"scores": [0.5, 3, -1, 2]}, 4) == [1, 3, 0, 2]
    with pytest.raises(BadField, match=r"those of responses 1 and 2$"):
        feedback.ranking_of({"scores": [5, 1, 1, 0, 0]}, 5)
    with pytest.raises(BadField, match=r"got 2 for 3$"):
        feedback.ranking_of({"scores": [5, 1]}, 3)


def test_a_reward_is_named_by_the_rows_it_failed_on() -> None:
    def fails(prompts: list[Any], responses: list[str]) -> list[float]:
        raise ZeroDivisionError("no")

    for where, span in (([(4, 0), (4, 1)], "rows 4:"), ([(7, 0), (3, 1)], "rows 3 to 7:"), (None, "rows 0 to 1:")):
        with pytest.raises(rewards.RewardError, match=f"{span} ZeroDivisionError: no"):
            rewards.Reward("r", fails)(["a", "b"], ["c", "d"], where)
    with pytest.raises(rewards.RewardError, match=r"row 1, response 5: it must be finite, got nan for 'd'"):
        rewards.Reward("r", lambda p, r: [0.0, math.nan])(["a", "b"], ["c", "d"], [(0, 0), (1, 5)])
    with pytest.raises(rewards.RewardError, match=r"row 0, response 1: it must be finite, got inf for ''"):
        rewards.Reward("r", lambda p, r: [0.0 if one else math.inf for one in r]).try_out(["first"])
    with pytest.raises(ValueError, match="zip"):
        rewards.Reward("r", lambda p, r: [0.0] * 2)(["a", "b"], ["c", "d"], [(0, 0)])
    with pytest.raises(ValueError, match="zip"):
        rewards._texts(["a"], ["b", "c"], "both")
    for count in (0, 1, 3):
        with pytest.raises(rewards.RewardError, match=rf"one number for each of 2 responses, got shape \({count},\)"):
            rewards.Reward("r", lambda p, r, count=count: [0.0] * count)(["a", "b"], ["c", "d"])
        with pytest.raises(ValueError, match=r"^rewards must be 2 finite numbers"):
            labels.draw_labels(["c", "d"], [0.0] * count)
    tried: list[tuple[list[Any], list[str]]] = []
    rewards.Reward("r", lambda p, r: tried.append((p, r)) or [0.0] * len(r)).try_out(["first", "second"])
    assert tried == [(["first"] * 2, ["It is good.", ""])]


def test_texts_for_a_classifier_end_where_it_and_its_tokenizer_end(tmp_path: Path) -> None:
    """Whichever knows the smaller limit; without a limit of the model's own that of the tokenizer counts."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=43, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=4, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    for limit in (1000, 2):
        model, tokenizer = LlamaForSequenceClassification(config), tiny.tokenizer()
        tokenizer.model_max_length = limit
        model.save_pretrained(tmp_path / str(limit))
        tokenizer.save_pretrained(tmp_path / str(limit))
        score = rewards.classifier(str(tmp_path / str(limit)))
        kept = min(limit, 4)
        words = tiny.WORDS[:8]
        whole, cut, shorter = score([""] * 3, [" ".join(words[:n]) for n in (8, kept, kept - 1)])
        assert whole == pytest.approx(cut) and abs(cut - shorter) > 1e-6


# --------------------------------------------------------------------------------------------------------------- tokens


def lengths_say(
    prompt: int, responses: list[int], masked: bool, max_length: int | None, positions: int | None
) -> tuple[str | None, bool]:
    """By the rules of `PreferenceData`: the field that is wrong, and whether a cut is remarked on. The responses are
    4 4 4 ... and 5 5 5 ..., none of whose first tokens counts where they are masked."""
    room = math.inf if max_length is None else max_length - prompt
    if not prompt or room <= 0:
        return "prompt", False
    for name, length in zip(("chosen", "rejected"), responses, strict=True):
        if not length or (masked and min(length, room) < 2):
            return name, False
    if positions is not None and (max_length is None or max_length > positions):
        for name, length in zip(("chosen", "rejected"), responses, strict=True):
            if prompt + length > positions:
                return name, False
    return None, max(responses) > room


def test_lengths_are_checked_against_every_limit() -> None:
    for prompt, one, other, masked in itertools.product(range(3), range(4), range(4), (False, True)):
        for max_length, positions in itertools.product((None, 1, 2, 3, 4, 6), (None, 2, 3, 4, 6)):
            ids = {"chosen": [4] * one, "rejected": [5] * other}
            masks = {name: [int(not (masked and k == 0)) for k in range(len(own))] for name, own in ids.items()}
            given = tokens.Tokens([3] * prompt, ids, masks)
            remarks: list[str] = []
            wrong = None
            try:
                tokens.check_lengths(given, max_length, positions, remarks.append)
            except BadField as bad:
                wrong = bad.field
            expected = lengths_say(prompt, [one, other], masked, max_length, positions)
            case = (prompt, one, other, masked, max_length, positions)
            assert (wrong, bool(remarks)) == expected, case


def test_responses_and_samples_that_differ_only_where_they_are_cut() -> None:
    def check(chosen: list[int], rejected: list[int], samples: list[list[int]], limit: int | None) -> list[str]:
        ids = {"chosen": chosen, "rejected": rejected}
        given = tokens.Tokens([3], ids, {name: [1] * len(own) for name, own in ids.items()}, samples)
        remarks: list[str] = []
        tokens.check_lengths(given, limit, None, remarks.append)
        return remarks

    assert check([4, 5], [4, 6], [[7, 8]], 3) == [] == check([4, 5], [4, 6], [[7] * 9], None)
    with pytest.raises(
        BadField, match="rejected: it is the same as chosen within max_length=2, and differs only after"
    ):
        check([4, 5], [4, 6], [], 2)
    with pytest.raises(BadField, match=r"rejected: it has the same tokens as chosen$"):
        check([4, 5], [4, 5], [], 2)
    assert check([4, 5], [5], [[7, 8], [7]], 2) == [
        "have a response that is cut at max_length=2",
        "have a reference sample that is cut at max_length=2",
    ]
    sample = tokens.Tokens([3], {"chosen": [4], "rejected": [5]}, {"chosen": [1], "rejected": [1]}, [[6, 7]])
    tokens.check_lengths(sample, None, 3, lambda text: None)
    with pytest.raises(
        BadField, match=r"reference_samples: with its prompt .* the model's 2 positions.*: it has 3 tok"
    ):
        tokens.check_lengths(sample, None, 2, lambda text: None)


def test_a_row_of_tokens_has_those_that_the_tokenizer_knows() -> None:
    encoder = SimpleNamespace(tokenizer=range(10))
    maker: Any = SimpleNamespace(encoder=encoder)
    for good in ([0, 9], []):
        assert rows.RowMaker._ids(maker, "chosen_ids", good) == good
    for bad, shown in (([10], ": 10"), ([3, -1], ": -1"), ([12, 3, 11], ": 12")):
        with pytest.raises(BadField, match=f"with its 10 tokens, has not{shown}$"):
            rows.RowMaker._ids(maker, "chosen_ids", bad)
    for bad in ([True], [1.0], "12", None, ["1"]):
        with pytest.raises(BadField, match="it must be a list of token numbers"):
            rows.RowMaker._ids(maker, "chosen_ids", bad)


def test_reference_samples_are_there_and_answer_the_prompt() -> None:
    def samples(row: dict[str, Any], prepared: bool = False, example: Any = None) -> Any:
        maker = rows.RowMaker(feedback.PAIRS, tokens.Encoder(tiny.tokenizer()), False, (), prepared, None, None, True)
        return maker._sample_ids(row, example, [3], lambda text: None)

    given = {"sample_ids": [[4]], "reference_sample_ids": [[5], [6]]}
    assert samples(given) == samples(given, prepared=True) == [[4]]  # which the others were prepared to be
    assert samples({"sample_ids": None, "reference_sample_ids": [[5]]}, prepared=True) == [[5]]
    for row, words in (
        ({"reference_sample_ids": []}, "reference_sample_ids: it must be a list of at least one response"),
        ({"reference_sample_ids": 5}, "reference_sample_ids: it must be a list of at least one response"),
        ({"reference_sample_ids": [[5], []]}, "reference_sample_ids: one of them has no tokens"),
        ({}, "reference_samples: it must be a list of at least one response"),
        ({"reference_samples": []}, "reference_samples: it must be a list of at least one response"),
        ({"reference_samples": ["w1"]}, "reference_samples: they are text, and there is no text of the prompt"),
    ):
        with pytest.raises(BadField, match=words):
            samples(row)
    for said, conversational, words in (
        (["a", "  "], False, "response 1: it is empty"),
        ([[answer("a")]], False, "response 0: it must be text or a conversation as the prompt is"),
        (["a"], True, "response 0: it must be text or a conversation as the prompt is"),
        ([[answer("a")], [user("b"), answer("c")]], True, "response 1: it must be the assistant's alone"),
        ([[answer("a"), answer(" ")]], True, "response 0: its last message is empty"),
    ):
        with pytest.raises(BadField, match=words):
            check_samples(said, conversational)
    check_samples(["a"], False)
    check_samples([[answer(""), answer("a")]], True)


# ----------------------------------------------------------------------------------------------------- reports, prompts


def test_reports_say_how_many_rows_and_which() -> None:
    def problem(row: int, what: str = "it is empty", **more: Any) -> report.Problem:
        return report.Problem(row, "chosen", what, **more)

    assert str(problem(3, file="f.jsonl", line=4)) == "f.jsonl: row 3 (line 4), chosen: it is empty"
    assert report.listed([problem(2)], 9) == "row 2, chosen: it is empty (1 of 9 rows of the data set as it was given)"
    assert report.listed([problem(2), problem(4)], 9).startswith("rows 2 and 4, chosen: it is empty")
    assert report.listed([problem(k) for k in range(5)], 9).startswith("rows 0, 1, 2, 3 and 4, chosen")
    assert report.listed([problem(k) for k in range(7)], 9).startswith("rows 0, 1, 2, 3, 4 and 2 more, chosen")
    assert report.listed([problem(k) for k in range(3)], 3).startswith("all 3 rows, chosen")
    several = [problem(k, f"kind {k}") for k in range(6)]
    assert "; ... (6 of 9 rows of" in report.listed(several, 9) and "kind 5" not in report.listed(several, 9)
    assert "; ..." not in report.listed(several[:5], 9) and "kind 4" in report.listed(several[:5], 9)
    lines = [problem(k, example=f", got {k}", file="f", line=k + 1) for k in (3, 5)]
    assert report.listed(lines, 9, "data") == (
        "f: rows 3 and 5 (the first in line 4), chosen: it is empty, got 3 in row 3 (2 of 9 rows)"
    )
    assert report.listed(lines, 9, "f").startswith("rows 3 and 5")
    assert Place(1, "f").beside("f") == "row 1" and Place(1, "f").beside("g") == "f: row 1"
    found = report.DataReport("data", rows=4)
    for row in (2, 3):
        found.remark(Place(row), "have a remark")
    report.settle(found, [problem(1)], "drop")
    assert found.lines() == [
        "data: 2 of 4 rows have a remark (first: row 2 of the data set as it was given)",
        "data: row 1, chosen: it is empty (1 of 4 rows of the data set as it was given); these rows are left out",
    ]
    with pytest.raises(report.BadRows, match="data has rows that cannot be trained on"):
        report.settle(found, [problem(0), problem(2), problem(3)], "drop")  # no row would be left
    with pytest.raises(report.BadRows, match="cannot be used: row 0"):
        report.settle(report.DataReport("data", rows=4), [problem(0)], "error", "used")
    report.settle(report.DataReport("data", rows=0), [], "error")


def test_first_prompts_take_with_them_what_was_left_out_before() -> None:
    made = prompts.check_prompts(["a", "", "b", " ", "c"], on_bad_rows="drop")
    assert made.prompts == ["a", "b", "c"] and made.rows == [0, 2, 4] and len(made.dropped) == 2
    for count, rows_kept, dropped in (
        (1, [0], 0),
        (2, [0, 2], 1),
        (3, [0, 2, 4], 2),
        (9, [0, 2, 4], 2),
        (None, [0, 2, 4], 2),
    ):
        first = made.first(count)
        assert first.rows == rows_kept and len(first.dropped) == dropped
        assert first.report.rows == len(rows_kept) + dropped
    turns = prompts.check_prompts([["one"], ["two", "three"]])
    assert turns.prompts == ["one", "two"] and list(turns.report.remarks.values()) == [1]
    with pytest.raises(
        ValueError, match="row 1, prompt: it is a conversation, while those of the rows before are plain"
    ):
        prompts.check_prompts(["a", [user("b")]])
    with pytest.raises(ValueError, match="row 1, prompt: it is plain text, while those of the rows before are a conv"):
        prompts.check_prompts([[user("b")], "a"])
    with pytest.raises(ValueError, match=r"row 0, prompt: it is missing \(None\)"):
        prompts.check_prompts([math.nan])
    with pytest.raises(ValueError, match="prompts must have at least one prompt"):
        prompts.check_prompts([])
    tokenizer = tiny.tokenizer()
    for limit, kept in ((None, 2), (3, 2), (2, 1)):
        some, ids = prompts.tokenize(prompts.check_prompts(["w1 w2", "w1 w2 w3"]), tokenizer, limit, "drop")
        assert len(some.prompts) == len(ids) == kept and len(some.dropped) == 2 - kept
    with pytest.raises(ValueError, match="row 1, prompt: it has more tokens than the limit of 2: 3"):
        prompts.tokenize(prompts.check_prompts(["w1 w2", "w1 w2 w3"]), tokenizer, 2)


# ---------------------------------------------------------------------------------------------------- names and recipes


def test_where_a_recipe_is_on_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from expo_analysis.llm.recipe_file import RECIPES, read_recipe, recipe_path

    monkeypatch.chdir(tmp_path)
    shipped = RECIPES / "smollm2_sentiment.yaml"
    (tmp_path / "my.yaml").write_text("beta: 1\n")
    (tmp_path / "smollm2_sentiment").mkdir()
    for words, path, rest in (
        ([], None, []),
        (["--beta", "1"], None, ["--beta", "1"]),
        (["--config", "my.yaml"], Path("my.yaml"), []),
        (["--beta=1", "--config=my.yaml", "--json"], Path("my.yaml"), ["--beta=1", "--json"]),
        (["--config", "smollm2_sentiment", "--json"], shipped, ["--json"]),
        (["--config", "smollm2_sentiment.yaml"], shipped, []),
    ):
        assert recipe_path(words) == (path, rest)
    for words in (["--config"], ["--json", "--config"]):
        with pytest.raises(ValueError, match="config must be followed by the path of a YAML file"):
            recipe_path(words)
    for name, hint in (("smollm2_sentimen", "smollm2_sentiment"), (str(tmp_path / "smollm2_sentiment"), "")):
        with pytest.raises(ValueError, match=f"config must be a YAML file, or one of the recipes .*{hint}"):
            recipe_path(["--config", name])
    (tmp_path / "my.yaml").write_text("eval_strategy: no\njson: no\n'no_strategy': 0\n")
    assert read_recipe(tmp_path / "my.yaml") == {"eval_strategy": "no", "json": False, "no_strategy": 0}
    for text, words in (
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "my.yaml, line 4: it is no YAML that can be read: 'c' is given a second time"),
        ("a: 1\n? [b]\n: 1\n", "my.yaml, line 2: it is no YAML that can be read: found unhashable key"),
        ("a: 1\nb: [\n", "my.yaml, line 3: it is no YAML"),
        ("", "a recipe must be settings, NAME: VALUE, one on a line; got nothing"),
        ("- a\n", "got list"),
    ):
        (tmp_path / "my.yaml").write_text(text)
        with pytest.raises(ValueError, match=words):
            read_recipe(tmp_path / "my.yaml")


def test_what_can_only_be_a_path_is_no_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the home of a user that there is none of, whose name is no error of Python's either."""
    monkeypatch.setattr(readers, "_hub", lambda name, config, streaming: {"asked": (name, config, streaming)})
    monkeypatch.chdir(tmp_path)
    for name in ("org/data", "data", "a.b-c_d/e.f", "x" * 96):
        assert readers.read_splits(name, "c", True) == {"asked": (name, "c", True)}
    for name in ("/none", "./none", "~none", "a\\b", "none.jsonl", "a/b/c", "x" * 97, "a b", "-a", "org/"):
        with pytest.raises(ValueError, match="No such file or folder"):
            readers.read_splits(name)
    (tmp_path / "pairs.jsonl").write_text("")
    for name, hint in (("./pairs", "pairs.jsonl"), ("./pars.jsonl", "pairs.jsonl")):
        with pytest.raises(ValueError, match=f"; is '{hint}' meant"):
            readers.read_splits(name)
    with pytest.raises(ValueError, match=": there is no folder '/none/of'"):
        readers.read_splits("/none/of/these")
    for name in ("~none", "~none/model", str(tmp_path / "none"), ".none", "a\\b"):
        with pytest.raises(ValueError, match=r"^model .*: there is no such folder"):
            models.resolve_model(name)
    assert models.resolve_model("org/none") == "org/none"


def test_settings_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    from expo_analysis.llm import recipe

    (tmp_path / "model").mkdir()
    given = ["--model", "org/model", "--dataset_name", "data", "--output_dir", str(tmp_path), "--bf16", "false"]

    def parse(*words: str) -> Any:
        return recipe.parse(tiny.flags(given, *words))

    made = parse("--lam", "0.5", "--model_revision", "v2")
    assert (made.config.beta, made.model_name, made.script.json) == (0.5, "org/model", False)
    assert parse("--beta", "0.25").config.beta == 0.25 and parse().config.beta is None
    for words, message in (
        (["--lam", "1", "--beta=1"], "give lam or beta, not both"),
        (["--model_name_or_path", "other"], r"model must be given, once, .*got \['org/model', 'other'\]"),
        (
            ["--model", str(tmp_path / "model"), "--model_revision", "v2"],
            "model_revision is not used for folders; got 'v2'",
        ),
        (["--model", str(tmp_path / "model"), "--model_revision", "abc"], "model_revision is not used for folders"),
        (["--lora_r", "64"], "lora_r is not used without use_peft; got 64"),
        (["--lora_r", "4"], "lora_r is not used without use_peft; got 4"),
        (["--bnb_4bit_quant_type", "fp4"], "bnb_4bit_quant_type is not used without load_in_4bit"),
        (["--label_smoothing_factor", "0.1"], "label_smoothing_factor is not used"),
        (["--per_device_train_batch_size", "0"], "per_device_train_batch_size must be a whole number of at least 1"),
        (["--gradient_accumulation_steps", "0"], "gradient_accumulation_steps must be a whole number of at least 1"),
        (["--per_device_eval_batch_size", "-1"], "per_device_eval_batch_size must be a whole number of at least 1"),
        (["--objectiv", "dpo"], "the command line has 'objectiv', which is no option.*objective"),
        (["--lam", "x"], "lam"),
    ):
        with pytest.raises(ValueError, match=message):
            parse(*words)
    assert parse("--use_peft", "--lora_r", "4").model.lora_r == 4
    for names in ((None, None), ("a", "b")):
        one, other = SimpleNamespace(model=names[0]), SimpleNamespace(model_name_or_path=names[1])
        with pytest.raises(ValueError, match=r"model must be given, once, as model or model_name_or_path; got"):
            _ = recipe.Recipe(one, made.config, other, None).model_name
    assert parse("--model_name_or_path", "org/model").model_name == "org/model"
    assert parse("--per_device_train_batch_size", "1").config.per_device_train_batch_size == 1
    (tmp_path / "r.yaml").write_text("datasets:\n  - path: a\n  - path: b\nmodel: org/model\nbf16: false\n")
    config = ["--config", str(tmp_path / "r.yaml"), "--output_dir", str(tmp_path)]
    assert [one.path for one in recipe.parse(config).mixture.datasets] == ["a", "b"]
    for flag in ("dataset_name", "dataset_config"):
        with pytest.raises(ValueError, match=f"{flag} is not used beside datasets, each of which has its own; got 'x'"):
            recipe.parse([*config, f"--{flag}", "x"])
    for text, message in (
        ("lam: 1\nbeta: 1\n", "give lam or beta, not both"),
        ("env: 3\n", "env must be variables of the environment"),
        ("objectiv: dpo\n", "has 'objectiv', which is no option.*objective"),
        ("objectiv: dpo\nbet: 1\n", "has 'objectiv', which is no option"),
    ):
        (tmp_path / "r.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            recipe.parse(config)
    for words, message in (
        ([], "give a model .* and data "),
        (["--model", "m"], "^give data "),
        (["--dataset_name", "d"], "^give a model .*, or a recipe that names them"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe.parse(words)


def test_where_converted_models_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from expo_analysis.llm import smollm2

    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(smollm2.CACHE_VARIABLE, raising=False)
    assert smollm2.cache_folder() == tmp_path / ".cache" / "expo_analysis"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert smollm2.cache_folder() == tmp_path / "x" / "expo_analysis"
    monkeypatch.setenv(smollm2.CACHE_VARIABLE, str(tmp_path / "own"))
    assert smollm2.cache_folder() == tmp_path / "own"


def test_a_tokenizers_digest_is_of_all_that_its_tokens_depend_on() -> None:
    """Of one without rules of its own its vocabulary is all there is."""
    base = tiny.tokenizer()
    own = tokens.tokenizer_digest(base)
    assert own == tokens.tokenizer_digest(tiny.tokenizer()) != tokens.tokenizer_digest(tiny.tokenizer(["other"]))
    base(["w1", "w2 w3"], padding=True, truncation=True, max_length=1)
    assert tokens.tokenizer_digest(base) == own
    base.chat_template = "{{ messages }}"
    assert tokens.tokenizer_digest(base) != own
    seen = set()
    pair = [("eos_token", "a"), ("pad_token", "b")]
    said = {"get_vocab": lambda self: [], "chat_template": None}
    orders = [type("One", (), said | {"special_tokens_map": dict(own)})() for own in (pair, pair[::-1])]
    assert tokens.tokenizer_digest(orders[0]) == tokens.tokenizer_digest(orders[1])
    for words in (["a"], ["a", "b"]):
        for special in ({}, {"eos_token": "a"}):
            for kind in ("One", "Other"):  # whose rules are those of its class
                said = {"get_vocab": lambda self, words=words: words, "special_tokens_map": special}
                seen.add(tokens.tokenizer_digest(type(kind, (), said | {"chat_template": None})()))
    assert len(seen) == 8
    fast = [type(kind, (type(base),), {}) for kind in ("One", "Other")]  # whose rules are told apart from its class
    assert tokens.tokenizer_digest(_as(base, fast[0])) == tokens.tokenizer_digest(_as(base, fast[1]))


def _as(made: Any, kind: type) -> Any:
    made.__class__ = kind
    return made


def test_a_gguf_file_is_read_in_full_precision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Or `save_pretrained` refuses the model as quantised; older releases of transformers dequantised anyway."""
    from expo_analysis.llm import smollm2

    given: list[dict[str, Any]] = []
    saved = SimpleNamespace(save_pretrained=lambda target: given.append({"target": target}))
    loader = SimpleNamespace(from_pretrained=lambda **how: given.append(how) or saved)
    where = {"pretrained_model_name_or_path": str(tmp_path), "gguf_file": "m.gguf"}
    for known in (True, False):
        given.clear()
        library: Any = ModuleType("transformers")
        library.AutoModelForCausalLM = library.AutoTokenizer = loader
        if known:
            library.GgufConfig = lambda **how: how
        monkeypatch.setitem(sys.modules, "transformers", library)
        smollm2.convert_gguf(tmp_path / "m.gguf", tmp_path / "out")
        more = {"quantization_config": {"dequantize": True}} if known else {}
        target = {"target": tmp_path / "out"}
        assert given == [where | more | {"dtype": "float32"}, target, where, target]


def test_an_adapter_that_names_no_base_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "adapter_config.json"
    for content in ('{"base_model_name_or_path": ""}', '{"base_model_name_or_path": 3}', "{}", "[]", "{"):
        file.write_text(content)
        with pytest.raises(ValueError, match=r"adapter_config.json: it names no base_model_name_or_path"):
            models.adapter_base(tmp_path)
    (tmp_path / "model.safetensors").write_text("")
    assert models.adapter_base(tmp_path) is None and models.adapter_base(tmp_path / "none") is None
