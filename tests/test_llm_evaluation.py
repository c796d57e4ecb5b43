"""Trained models beside their references: measures against enumeration, intervals, data, the command, its picture."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from . import llm_models as tiny
from .test_llm_sampling import EOS, exact_kl, model, next_token

from expo_analysis.cli import app  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm import finetune  # isort: skip
from expo_analysis.llm.data.rewards import Reward  # isort: skip
from expo_analysis.llm.data.sampling import Sampling  # isort: skip
from expo_analysis.llm.evaluation import Settings, evaluate  # isort: skip
from expo_analysis.llm.held_out import Given, HeldOut, read_held_out  # isort: skip
from expo_analysis.llm.intervals import Sums, measures  # isort: skip
from expo_analysis.llm.run_record import model_digest, reference_of  # isort: skip
from expo_analysis.figures.kinds.evaluation import evaluation  # isort: skip

WORDS = tiny.WORDS[:6]
PROMPTS = [[3, 4], [5], [6, 7, 8]]
PAIRS = [Given(0, [5], [6], [1], [1]), Given(0, [7], [8], [1], [1]), Given(2, [3], [EOS], [1], [1])]
DATA = HeldOut("data", ["w0 w1", "w2", "w3 w4 w5"], PROMPTS, PAIRS)
LENGTHS = Reward("length", lambda prompts, responses: [float(len(text.split())) for text in responses])
LETTERS = Reward("digit", lambda prompts, responses: [int(text.strip()[-1:] or 0) % 3 for text in responses])


def found(policy: Any, reference: Any, tokens: int, responses: int, **given: Any) -> dict[str, float]:
    settings = Settings(Sampling(tokens), responses, batch_size=300, lam=given.pop("lam", 1.0))
    data = given.pop("data", DATA)
    sums = evaluate(policy, reference, tiny.tokenizer(WORDS), data, settings, **given)
    return {name: float(above.sum() / below.sum()) for name, (above, below) in sums.items()}


def test_one_token_responses_against_enumeration() -> None:
    """All that does not rest on a reward of samples is exact then, whatever was sampled."""
    policy, reference = model(1), model(0)
    p, q = (np.array([next_token(one, ids) for ids in PROMPTS]) for one in (policy, reference))
    ours = found(policy, reference, 1, 2, lam=0.3)
    forward, reverse = (q * np.log(q / p)).sum(axis=1).mean(), (p * np.log(p / q)).sum(axis=1).mean()
    assert abs(forward - reverse) > 0.02  # the two are not mistaken for each other
    for name in ("kl/reference_policy", "kl/reference_policy_per_token"):
        assert ours[name] == pytest.approx(forward, rel=1e-4)
    for name in ("kl/policy_reference", "kl/policy_reference_per_token"):
        assert ours[name] == pytest.approx(reverse, rel=1e-4)
    ratios = np.log(p / q)
    margins = np.array([ratios[g.prompt, g.chosen[0]] - ratios[g.prompt, g.rejected[0]] for g in PAIRS])
    assert 0 < (margins > 0).mean() < 1
    assert ours["implicit/accuracy"] == pytest.approx((margins > 0).mean())
    assert ours["implicit/margin"] == pytest.approx(0.3 * margins.mean(), rel=1e-4)
    assert set(ours) == {
        *(f"kl/{who}{per}" for who in ("reference_policy", "policy_reference") for per in ("", "_per_token")),
        *("implicit/accuracy", "implicit/margin"),
    }


def test_rewards_of_one_token_responses_against_enumeration() -> None:
    policy, reference = model(1), model(0)
    ours = found(policy, reference, 1, 1000, reward=LETTERS)
    p, q = (np.array([next_token(one, ids) for ids in PROMPTS]) for one in (policy, reference))
    values = np.array([0, 0, 0, *(int(word[-1]) % 3 for word in WORDS)], dtype=float)
    wins = (np.sign(values[:, None] - values[None]) + 1) / 2
    assert ours["reward/policy"] == pytest.approx((p @ values).mean(), abs=0.04)
    assert ours["reward/reference"] == pytest.approx((q @ values).mean(), abs=0.04)
    exact = np.einsum("xa,ab,xb->x", p, wins, q).mean()
    assert abs(exact - 0.5) > 0.05 and ours["win_rate"] == pytest.approx(exact, abs=0.02)
    gaps = np.array([values[g.chosen[0]] - values[g.rejected[0]] for g in PAIRS])
    assert ours["explicit/accuracy"] == pytest.approx(((np.sign(gaps) + 1) / 2).mean())
    ratios = np.log(p / q)
    margins = np.array([ratios[g.prompt, g.chosen[0]] - ratios[g.prompt, g.rejected[0]] for g in PAIRS])
    assert ours["explicit/agreement"] == pytest.approx(((np.sign(gaps * margins) + 1) / 2).mean())


@pytest.mark.slow
def test_longer_responses_against_enumeration() -> None:
    policy, reference = model(1), model(0)
    ours = found(policy, reference, 2, 1500)
    for name, first, other in (("reference_policy", reference, policy), ("policy_reference", policy, reference)):
        exact = float(np.mean([exact_kl(first, other, ids, 2) for ids in PROMPTS]))
        lengths = np.mean([2 - next_token(first, ids)[EOS] for ids in PROMPTS])
        assert ours[f"kl/{name}"] == pytest.approx(exact, rel=0.03)
        assert ours[f"kl/{name}_per_token"] == pytest.approx(exact / lengths, rel=0.03)


def test_a_policy_that_is_its_reference() -> None:
    """Nothing is between them, and what ties counts half."""
    ours = found(model(), model(), 4, 4, reward=LETTERS)
    assert all(ours[name] == 0 for name in ours if name.startswith("kl/")) and ours["implicit/margin"] == 0
    assert ours["implicit/accuracy"] == ours["explicit/agreement"] == ours["win_rate"] == 0.5
    assert ours["reward/policy"] == ours["reward/reference"]


def test_where_the_reference_was_optimal_all_is_drift() -> None:
    policy, reference = model(1), model(0)
    plain, drift = found(policy, reference, 3, 4, lam=2.0), found(policy, reference, 3, 4, lam=2.0, optimal=True)
    for name in ("kl/reference_policy", "kl/policy_reference", "kl/policy_reference_per_token"):
        assert drift[f"optimal/{name}"] == plain[name]
    p, q = (np.array([next_token(one, ids) for ids in PROMPTS]) for one in (policy, reference))
    ratios = np.log(p / q)
    margins = [2 * (ratios[g.prompt, g.chosen[0]] - ratios[g.prompt, g.rejected[0]]) for g in PAIRS]
    assert drift["optimal/margin"] == pytest.approx(np.abs(margins).mean(), rel=1e-4)
    assert all(name.startswith("optimal/") for name in drift)


def test_without_pairs_there_is_nothing_of_pairs() -> None:
    ours = found(model(1), model(0), 2, 2, reward=LENGTHS, data=HeldOut("d", ["w0"], [[3]], []))
    assert set(ours) == {
        *(f"kl/{who}{per}" for who in ("reference_policy", "policy_reference") for per in ("", "_per_token")),
        *("reward/policy", "reward/reference", "win_rate"),
    }


def test_tokens_of_others_turns_do_not_count() -> None:
    policy, reference = model(1), model(0)
    whole = HeldOut("d", ["w0"], [[3]], [Given(0, [4, 5, 6], [7], [1, 0, 1], [1])])
    ours = found(policy, reference, 1, 1, data=whole)

    def ratio(ids: list[int], token: int) -> float:
        return float(np.log(next_token(policy, ids)[token] / next_token(reference, ids)[token]))

    expected = ratio([3], 4) + ratio([3, 4, 5], 6) - ratio([3], 7)
    assert ours["implicit/margin"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampling": Sampling(4, temperature=0.7)}, "sampling must have temperature 1 and top_p 1"),
        ({"sampling": Sampling(4, top_p=0.9)}, "sampling must have temperature 1 and top_p 1"),
        ({"sampling": Sampling(4), "responses": 0}, "responses must be a whole number of at least 1, got 0"),
        ({"sampling": Sampling(4), "batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_settings(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**given)


# ----------------------------------------------------------------------------------------------------------- intervals


def test_two_prompts_are_resampled_as_two_coins() -> None:
    """Means 0, 1/2, 1 with chances 1/4, 1/2, 1/4: their 2.5 % and 97.5 % quantiles are 0 and 1, the quartiles' rank."""
    sums = Sums(np.array([0.0, 1.0]), np.ones(2))
    ours = measures({"a": sums})["a"]
    assert (ours.estimate, ours.low, ours.high) == (0.5, 0.0, 1.0)
    narrow = measures({"a": sums}, level=0.4)["a"]
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_intervals_are_those_of_the_mean() -> None:
    values = np.random.default_rng(0).standard_normal(400)
    ours = measures({"a": Sums(values, np.ones(400))}, resamples=8000)["a"]
    error = values.std() / np.sqrt(400)
    assert ours.estimate == pytest.approx(values.mean())
    assert_allclose([ours.low, ours.high], values.mean() + 1.96 * error * np.array([-1, 1]), atol=0.1 * error)


def test_what_is_resampled_are_prompts() -> None:
    """Fifty equal pairs of a prompt say no more than one; a prompt without pairs nothing; many pairs weigh more."""
    rng = np.random.default_rng(1)
    values = rng.random(30)
    one = measures({"a": Sums(values, np.ones(30))})["a"]
    fifty = measures({"a": Sums(50 * values, np.full(30, 50.0))})["a"]
    assert_allclose([fifty.estimate, fifty.low, fifty.high], [one.estimate, one.low, one.high], rtol=1e-12)
    more = measures({"a": Sums(np.append(values, np.zeros(9)), np.append(np.ones(30), np.zeros(9)))})["a"]
    assert more == one
    uneven = measures({"a": Sums(np.array([3.0, 0.0]), np.array([3.0, 1.0]))})["a"]
    assert uneven.estimate == 0.75


def test_one_prompt_has_no_interval() -> None:
    ours = measures({"a": Sums(np.array([2.0, 0.0]), np.array([4.0, 0.0]))})["a"]
    assert ours.estimate == 0.5 and math.isnan(ours.low) and math.isnan(ours.high)


@pytest.mark.parametrize("sums", [Sums(np.array([np.nan, 1.0]), np.ones(2)), Sums(np.zeros(2), np.zeros(2))])
def test_what_has_no_estimate_is_an_error(sums: Sums) -> None:
    with pytest.raises(ValueError, match=r"^name must be made of finite numbers, and of at least one$"):
        measures({"name": sums})


def test_measures_share_their_resamples() -> None:
    """So that the same numbers under two names have the same interval."""
    sums = Sums(np.random.default_rng(2).standard_normal(50), np.ones(50))
    ours = measures({"a": sums, "b": sums}, seed=3)
    assert ours["a"] == ours["b"] != measures({"a": sums}, seed=4)["a"]


# ---------------------------------------------------------------------------------------------------------------- data


def lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_pairs_are_grouped_by_their_prompts(tmp_path: Path) -> None:
    rows = [
        {"prompt": "w0 ", "chosen": "w1", "rejected": "w2"},
        {"prompt": "w3 ", "chosen": "w1", "rejected": "w2 w4"},
        {"prompt": "w0 ", "chosen": "w5", "rejected": "w1"},
    ]
    ours, remarks = read_held_out(lines(tmp_path / "p.jsonl", rows), tiny.tokenizer(WORDS))
    assert ours.prompts == ["w0 ", "w3 "] and ours.ids == [[3], [6]] and not remarks
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in ours.pairs] == [
        (0, [4, EOS], [5, EOS]),
        (1, [4, EOS], [5, 7, EOS]),
        (0, [8, EOS], [4, EOS]),
    ]
    first = ours.first(1)
    assert first.prompts == ["w0 "] and [pair.chosen for pair in first.pairs] == [[4, EOS], [8, EOS]]
    assert ours.first(None) is ours and ours.first(9).ids == ours.ids
    second = ours.only([1])
    assert second.ids == [[6]] and [(pair.prompt, pair.rejected) for pair in second.pairs] == [(0, [5, 7, EOS])]


def test_conversations_stay_conversations(tmp_path: Path) -> None:
    """As rewards are to read them, also where the prompt is implicit."""
    asked, answers = [{"role": "user", "content": "w0"}], [[{"role": "assistant", "content": w}] for w in ("w1", "w2")]
    for row in (
        {"prompt": asked, "chosen": answers[0], "rejected": answers[1]},
        {"chosen": asked + answers[0], "rejected": asked + answers[1]},
    ):
        ours, _ = read_held_out(lines(tmp_path / "p.jsonl", [row]), tiny.tokenizer(WORDS))
        assert ours.prompts == [asked] and ours.ids == [[3]]
        assert [pair.chosen for pair in ours.pairs] == [[4]]


def test_prompts_alone(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("w0\nw1 w2\nw0\n")
    ours, _ = read_held_out(str(tmp_path / "p.txt"), tiny.tokenizer(WORDS))
    assert (ours.prompts, ours.ids, ours.pairs) == (["w0", "w1 w2"], [[3], [4, 5]], [])
    name = lines(tmp_path / "p.jsonl", [{"prompt": "w4"}, {"prompt": "w4"}])
    assert read_held_out(name, tiny.tokenizer(WORDS))[0].ids == [[7]]
    assert len(read_held_out("sentiment", tiny.tokenizer())[0].ids) >= 1


def test_prompts_that_leave_no_room(tmp_path: Path) -> None:
    rows = [{"prompt": text, "chosen": "w1", "rejected": "w2"} for text in ("w0 ", "w0 w1 w2 w3 ")]
    name = lines(tmp_path / "p.jsonl", rows)
    with pytest.raises(ValueError, match=r"p\.jsonl: 1 of 2 prompts have more than 2 tokens.*--on-bad-rows drop$"):
        read_held_out(name, tiny.tokenizer(WORDS), room=10, new_tokens=8)
    ours, remarks = read_held_out(name, tiny.tokenizer(WORDS), room=10, new_tokens=8, on_bad_rows="drop")
    assert ours.ids == [[3]] and len(ours.pairs) == 1
    assert remarks[-1].endswith("the model no room; they are left out")
    with pytest.raises(
        ValueError, match=r"max-new-tokens must be less than the 10 tokens that the model reads, .*got 10$"
    ):
        read_held_out(name, tiny.tokenizer(WORDS), room=10, new_tokens=10, on_bad_rows="drop")
    with pytest.raises(ValueError, match="1 of 1 prompts"):
        read_held_out(
            lines(tmp_path / "q.jsonl", rows[1:]), tiny.tokenizer(WORDS), room=10, new_tokens=8, on_bad_rows="drop"
        )
    some, remarks = read_held_out(name, tiny.tokenizer(WORDS), room=10, new_tokens=8, limit=1)
    assert some.ids == [[3]] and not remarks  # the others are not asked for
    assert read_held_out(name, tiny.tokenizer(WORDS), room=12, new_tokens=8)[0].ids == [[3], [3, 4, 5, 6]]


def test_data_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on_bad_rows must be one of"):
        read_held_out("p.jsonl", tiny.tokenizer(WORDS), on_bad_rows="skip")
    with pytest.raises((OSError, ValueError), match=r"none\.jsonl: No such file"):
        read_held_out(str(tmp_path / "none.jsonl"), tiny.tokenizer(WORDS))
    with pytest.raises(ValueError, match=r"p\.jsonl must have the column 'rejected'"):
        read_held_out(lines(tmp_path / "p.jsonl", [{"chosen": "a"}]), tiny.tokenizer(WORDS))
    rows = [{"prompt": "w0 ", "chosen": "w1", "rejected": "w1"}, {"prompt": "w0 ", "chosen": "w1", "rejected": "w2"}]
    name = lines(tmp_path / "p.jsonl", rows)
    with pytest.raises(ValueError, match=r"row 0 \(line 1\), rejected: it is the same as chosen"):
        read_held_out(name, tiny.tokenizer(WORDS))
    assert len(read_held_out(name, tiny.tokenizer(WORDS), on_bad_rows="drop")[0].pairs) == 1


# ------------------------------------------------------------------------------------------------------------- command


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, a model and an adapter that were trained from it, data, and rewards."""
    folder = tmp_path_factory.mktemp("evaluated")
    tiny.llama(0).save_pretrained(folder / "base")
    tiny.tokenizer().save_pretrained(folder / "base")
    tiny.pairs(8).to_json(folder / "pairs.jsonl")
    tiny.pairs(4, seed=5).to_json(folder / "heldout.jsonl")
    (folder / "prompts.txt").write_text("w1 w2\nw3\n")
    (folder / "one.txt").write_text("w1 w2\n")
    (folder / "asked.jsonl").write_text(
        "".join(json.dumps({"question": q, "system": "w4"}) + "\n" for q in ("w1 w2", "w3"))
    )
    (folder / "my.py").write_text(
        "def words(prompts, responses):\n    return [len(text.split()) for text in responses]\n\n"
        "def broken(prompts, responses):\n    return [float('nan')] * len(responses)\n\n"
        "def raises(prompts, responses):\n    raise KeyError('no')\n\n"
        "def same(prompts, responses):\n    return [1] * len(responses)\n"
    )
    flags = {
        **{"model": str(folder / "base"), "dataset_name": str(folder / "pairs.jsonl"), "objective": "dpo"},
        **{"max_steps": "4", "learning_rate": "1e-2", "report_to": "none", "save_strategy": "no", "use_cpu": "true"},
        **{"bf16": "false"},
    }
    arguments = [word for name, value in flags.items() for word in (f"--{name}", value)]
    assert finetune.main([*arguments, "--output_dir", str(folder / "full"), "--json"]) == 0
    assert finetune.main([*arguments, "--output_dir", str(folder / "lora"), "--use_peft", "--json"]) == 0
    return folder


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["evaluate", *tiny.flags(["--max-new-tokens", "4"], *map(str, arguments))])


def fails(*arguments: Any) -> str:
    """The one line that tells why a command ends with exit code 2."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and "Traceback" not in result.stderr
    return lines[0]


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_json_of_a_model_and_an_adapter(made: Path) -> None:
    """The references are what each was trained from: as run.json says, and without it the adapter's base."""
    shutil.copytree(made / "lora", made / "bare", dirs_exist_ok=True)
    (made / "bare" / "run.json").unlink()
    result = invoke(made / "full", made / "bare", "--data", made / "heldout.jsonl", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout, parse_constant=refuse)
    assert document["prompts"] == document["pairs"] == 4 and document["responses"] == 4
    assert document["reward"] is None and document["optimal"] is None
    assert document["interval"] == {
        "level": 0.95,
        "resampled": "prompts, each with all of its samples and pairs",
        "resamples": 2000,
    }
    assert [entry["reference"] for entry in document["models"].values()] == [str(made / "base")] * 2
    for entry in document["models"].values():
        ours = entry["measures"]
        for name in ("kl/reference_policy", "kl/policy_reference", "implicit/accuracy"):
            assert ours[name]["low"] <= ours[name]["estimate"] <= ours[name]["high"]
        assert ours["kl/reference_policy"]["estimate"] > 0.001


def test_a_model_beside_itself(made: Path) -> None:
    """--reference is obeyed; --lam multiplies margins; ties count half."""
    result = invoke(made / "full", "--reference", made / "full", "--data", made / "heldout.jsonl", "--json")
    ours = json.loads(result.stdout)["models"][str(made / "full")]["measures"]
    assert ours["kl/reference_policy"]["estimate"] == ours["implicit/margin"]["estimate"] == 0
    assert ours["implicit/accuracy"] == {"estimate": 0.5, "low": 0.5, "high": 0.5}
    margins = []
    for lam in ("1", "0.5"):
        result = invoke(made / "full", "--data", made / "heldout.jsonl", "--json", "--beta", lam)
        margins.append(json.loads(result.stdout)["models"][str(made / "full")]["measures"]["implicit/margin"])
    for key in ("estimate", "low", "high"):
        assert margins[1][key] == pytest.approx(0.5 * margins[0][key])


def test_the_table_says_what_the_numbers_are_of(made: Path, tmp_path: Path) -> None:
    files = {"--data": made / "prompts.txt", "--optimal": made / "heldout.jsonl", "--reward": f"{made}/my.py:words"}
    figure = tmp_path / "new" / "f.png"
    flags = [word for pair in files.items() for word in pair]
    result = invoke(made / "full", made / "lora", *flags, "--figure", figure, "--responses", 2)
    assert result.exit_code == 0, result.output
    text = result.stdout
    for name in ("kl/reference_policy_per_token", "reward/policy", "win_rate", "optimal/kl/policy_reference"):
        assert re.search(rf"^ ?{name} +\S+ \[\S+, \S+\] +\S+ \[\S+, \S+\]", text, flags=re.M), name
    assert "implicit/accuracy" not in text  # prompts have no pairs
    assert re.search(r"prompts\.txt: 2 prompts; 2 samples of each policy to each prompt, of at most 4 tokens\.", text)
    assert re.search(r"optimal/\.\.\.: .*heldout\.jsonl, 4 prompts and 4 pairs\.", text)
    assert re.search(r"Reward: .*my\.py:words \w{8}\.", text)
    assert (
        "In brackets: 95% bootstrap intervals; resampled are prompts, each with all of its samples and pairs." in text
    )
    assert "references differ" not in text
    assert figure.read_bytes().startswith(b"\x89PNG") and f"wrote {figure}" in result.stderr
    assert invoke(made / "full", "--data", made / "one.txt", "--figure", tmp_path / "f.pdf").exit_code == 0
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")


def test_one_prompt_is_said_to_have_no_interval(made: Path) -> None:
    result = invoke(made / "full", "--data", made / "one.txt")
    assert (
        result.exit_code == 0
        and "No intervals: there is one prompt, and prompts are what is resampled." in result.stdout
    )
    document = json.loads(invoke(made / "full", "--data", made / "heldout.jsonl", "--limit", 1, "--json").stdout)
    assert document["prompts"] == 1
    assert document["models"][str(made / "full")]["measures"]["implicit/accuracy"]["low"] is None


def test_references_that_differ_are_not_compared_in_silence(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "full", tmp_path / "next")
    record = json.loads((tmp_path / "next" / "run.json").read_text())
    record["names"]["model"], record["is"]["model"] = str(made / "full"), model_digest(str(made / "full"))
    (tmp_path / "next" / "run.json").write_text(json.dumps(record))
    result = invoke(made / "full", tmp_path / "next", "--data", made / "one.txt")
    assert (
        "The references differ: KLs, win rates and implicit rewards of different references do not compare."
        in result.stdout
    )


@pytest.fixture
def moved(made: Path, tmp_path: Path) -> Path:
    """Copies of what was trained and of its base, where the records name the copy."""
    for name in ("base", "full", "lora"):
        shutil.copytree(made / name, tmp_path / name)
    for file in ("full/run.json", "lora/run.json", "lora/adapter_config.json"):
        (tmp_path / file).write_text((tmp_path / file).read_text().replace(str(made / "base"), str(tmp_path / "base")))
    return tmp_path


def test_a_reference_that_is_another_model_now_is_refused(made: Path, moved: Path) -> None:
    data = ("--data", made / "one.txt")
    assert invoke(moved / "full", moved / "lora", *data).exit_code == 0  # a copy is the same model
    was = model_digest(str(moved / "base"))
    tiny.llama(7).save_pretrained(moved / "base")
    now = model_digest(str(moved / "base"))
    for name in ("full", "lora"):
        assert (
            f"model '{moved / name}': it was trained from {moved / 'base'}, and what lies there now is another model "
            f"(its digest was {was}, and is {now}): give --reference with what it was trained from, or --reference "
            f"{moved / 'base'} for what lies there now"
        ) in fails(moved / name, *data)
    assert invoke(moved / "full", "--reference", moved / "base", *data).exit_code == 0


def test_a_reference_that_is_an_adapter_is_told_by_its_base_too(moved: Path) -> None:
    record = json.loads((moved / "full" / "run.json").read_text())
    record["names"]["model"], record["is"]["model"] = str(moved / "lora"), model_digest(str(moved / "lora"))
    (moved / "full" / "run.json").write_text(json.dumps(record))
    assert reference_of(str(moved / "full")) == str(moved / "lora")
    tiny.llama(7).save_pretrained(moved / "base")
    with pytest.raises(ValueError, match="lora, and what lies there now is another model"):
        reference_of(str(moved / "full"))


def test_a_reference_that_is_a_revision_is_refused(moved: Path) -> None:
    record = json.loads((moved / "full" / "run.json").read_text())
    for revision in ("main", "v1"):
        record["names"]["model"], record["is"]["model"] = "org/model", revision
        (moved / "full" / "run.json").write_text(json.dumps(record))
        if revision == "main":
            assert reference_of(str(moved / "full")) == "org/model"
    with pytest.raises(
        ValueError, match="trained from org/model, v1, and what would be loaded is the Hub's main: give"
    ):
        reference_of(str(moved / "full"))
    (moved / "lora" / "run.json").unlink()
    settings = json.loads((moved / "lora" / "adapter_config.json").read_text())
    settings |= {"base_model_name_or_path": "org/model", "revision": "v2"}
    (moved / "lora" / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="trained from org/model, v2, and what would be loaded is the Hub's main"):
        reference_of(str(moved / "lora"))


def test_a_reward_that_is_the_same_everywhere(made: Path) -> None:
    reward = f"{made}/my.py:same"
    result = invoke(made / "full", "--data", made / "heldout.jsonl", "--reward", reward, "--json")
    ours = json.loads(result.stdout)["models"][str(made / "full")]["measures"]
    for name in ("win_rate", "explicit/accuracy", "explicit/agreement"):
        assert ours[name] == {"estimate": 0.5, "low": 0.5, "high": 0.5}


BAD: dict[str, tuple[list[str], str]] = {
    "model": (["{}/nowhere"], "model '.*/nowhere': there is no such folder"),
    "second model": (["{}/full", "{}/base/x"], "model '.*/base/x': there is no such folder"),
    "twice": (["{}/full", "{}/full"], "full is given twice"),
    "reference": (["{}/full", "--reference", "{}/nowhere"], "model '.*/nowhere': there is no such folder"),
    "no reference": (["{}/base"], r"base': it has no run\.json that says what it was trained from; give --reference"),
    "vocabulary": (
        ["{}/small", "--reference", "{}/base"],
        "base: its tokenizer has other tokens than that of .*/small",
    ),
    "data": (["{}/full", "--data", "{}/none.jsonl"], r"none\.jsonl: No such file"),
    "optimal": (["{}/full", "--optimal", "{}/none.jsonl"], r"none\.jsonl: No such file"),
    "reward": (["{}/full", "--reward", "vadr"], r"got 'vadr'; did you mean 'vader'\?"),
    "reward's function": (["{}/full", "--reward", "{}/my.py:size"], r"my\.py: it has no function 'size'"),
    "reward's error": (
        ["{}/full", "--reward", "{}/my.py:raises"],
        "it failed on responses to prompts of rows 0: KeyError",
    ),
    "reward's value": (["{}/full", "--reward", "{}/my.py:broken"], "row 0, response 0: it must be finite, got nan"),
    "unused label": (["{}/full", "--reward-label", "x"], "reward-label and scored are not used without --reward"),
    "label": (
        ["{}/full", "--reward", "vader", "--reward-label", "x"],
        "reward-label is not used by the reward 'vader'",
    ),
    "figure": (
        ["{}/full", "--figure", "f.jpg"],
        r"figure must be a file whose name ends in \.png or \.pdf, got 'f\.jpg'",
    ),
    "lambda": (["{}/full", "--lam", "0"], "lam must be a finite number above 0, got 0"),
    "device": (["{}/full", "--device", "gpu"], "device must be one that torch has here, such as cpu, got 'gpu'"),
    "no such number": (["{}/full", "--device", "cuda:99"], "device must be one that torch has here, such as cpu, got"),
    "type": (["{}/full", "--dtype", "int8"], "dtype must be float32, bfloat16 or float16, got 'int8'"),
    "rows": (["{}/full", "--on-bad-rows", "skip"], "on_bad_rows must be one of"),
    "room": (["{}/full", "--max-new-tokens", "127"], "2 of 4 prompts have more than 1 tokens"),
    "room, some": (["{}/full", "--max-new-tokens", "127", "--limit", "3"], "1 of 3 prompts have more than 1 tokens"),
    "no room": (
        ["{}/full", "--max-new-tokens", "4000"],
        "max-new-tokens must be less than the 128 tokens that the model reads, prompt and response together; got 4000",
    ),
    "no room at all": (["{}/full", "--max-new-tokens", "128"], "max-new-tokens must be less than the 128 tokens"),
    "columns": (
        ["{}/full", "--columns", "prompt=promt"],
        r"its columns are \['prompt', 'chosen', 'rejected'\]; is 'prompt'",
    ),
    "columns of lines": (
        ["{}/full", "--data", "{}/prompts.txt", "--columns", "prompt=question"],
        r"columns is not used by .*prompts\.txt, which has a prompt on each line; got 'prompt=question'",
    ),
    "columns of prompts": (
        ["{}/full", "--data", "{}/asked.jsonl", "--columns", "prompt=question,system=system"],
        r"columns must be prompt=COLUMN for .*asked\.jsonl, which has prompts without pairs; got 'prompt=question,sys",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], message: str, made: Path) -> None:
    if not (made / "small").exists():
        tiny.llama(0, 9).save_pretrained(made / "small")
        tiny.tokenizer(WORDS).save_pretrained(made / "small")
    words = [word.replace("{}", str(made)) for word in arguments]
    assert re.search(message, fails(*tiny.flags(["--data", str(made / "heldout.jsonl")], *words)))


def test_prompts_of_a_column_of_another_name(made: Path) -> None:
    found = [
        json.loads(invoke(made / "full", "--data", made / name, "--json", *more).stdout)
        for name, more in (("prompts.txt", []), ("asked.jsonl", ["--columns", "prompt=question"]))
    ]
    assert found[0]["models"] == found[1]["models"] and found[0]["prompts"] == 2


def test_lambda_is_of_pairs(made: Path) -> None:
    said = "lam has no effect without pairs, of which implicit rewards are measured"
    for data, more, expected in (
        ("prompts.txt", ["--lam", "2"], True),
        ("prompts.txt", [], False),
        ("heldout.jsonl", ["--lam", "2"], False),
        ("prompts.txt", ["--lam", "2", "--optimal", str(made / "heldout.jsonl")], False),
    ):
        assert (said in invoke(made / "full", "--data", made / data, "--responses", 1, *more).stderr) == expected


def test_a_reward_that_fails_late_is_one_line(made: Path, tmp_path: Path) -> None:
    """On samples, after the trial that is made beforehand."""
    (tmp_path / "late.py").write_text(
        "calls = []\n\ndef reward(prompts, responses):\n    calls.append(1)\n"
        "    return [float('nan') if len(calls) > 1 else 1.0] * len(responses)\n"
    )
    line = fails(made / "full", "--data", made / "heldout.jsonl", "--reward", f"{tmp_path}/late.py:reward")
    assert re.search(r"row 0, response 0: it must be finite, got nan", line)


def test_examples_in_the_help_are_commands(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CliRunner().invoke(app, ["evaluate", "--help"]).stdout
    shown = re.findall(r"^ +expo-analysis evaluate (.+)$", text, flags=re.M)
    assert len(shown) >= 4
    options = {name for line in shown for name in re.findall(r"--[\w-]+", line)}
    assert options <= set(re.findall(r"^  (--[\w-]+)", text, flags=re.M))


# ------------------------------------------------------------------------------------------------------------- picture


def frame(**measured: list[tuple[float, float, float]]) -> pd.DataFrame:
    names = ["runs/a", "runs/b"]
    return pd.DataFrame(
        [
            {"model": model, "measure": name.replace("__", "/"), "estimate": e, "low": low, "high": high}
            for name, values in measured.items()
            for model, (e, low, high) in zip(names, values, strict=False)
        ]
    )


def texts(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes]


def test_the_picture_has_the_panels_that_the_measures_allow() -> None:
    nan = math.nan
    figure = evaluation(
        frame(kl__reference_policy=[(1, nan, nan), (2, nan, nan)], implicit__accuracy=[(0.7, 0.6, 0.8)])
    )
    assert texts(figure) == ["distance from the reference", "held-out pairs put in order"]
    left, right = figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["a", "b"]
    points = [line for line in left.lines if line.get_marker() == "o"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in points] == [(1, 0), (2, 1)]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first model on top
    bars = [
        tuple(line.get_xdata()) for line in right.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"
    ]
    assert bars == [(0.6, 0.8)] and right.get_xlabel() == "share of pairs, by the implicit reward"
    every = {
        name: [(0.5, 0.4, 0.6)] * 2
        for name in (
            *("kl__reference_policy", "kl__policy_reference", "optimal__kl__reference_policy"),
            *("explicit__accuracy", "implicit__accuracy", "reward__policy", "reward__reference", "win_rate"),
        )
    }
    assert len(evaluation(frame(**every)).axes) == 5
