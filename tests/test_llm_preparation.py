"""The paper's data sets, on small files of the same form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from . import llm_models as tiny

from expo_analysis.llm import alpaca_eval  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.data import Place  # isort: skip
from expo_analysis.llm.data.columns import COLUMNS  # isort: skip
from expo_analysis.llm.data.table import ORIGIN  # isort: skip
from expo_analysis.llm.data.preparation import SkippedRow, imdb_prompts, prepare, split_transcript  # isort: skip

TURNS = "\n\nHuman: What is a bee?\n\nAssistant: An insect.\n\nHuman: Does it sting?\n\nAssistant:"


def test_a_transcript_is_split_before_its_last_answer() -> None:
    assert split_transcript(TURNS + " Yes.", TURNS + " I do not know.") == {
        "prompt": TURNS,
        "chosen": " Yes.",
        "rejected": " I do not know.",
    }


SKIPPED: dict[str, tuple[str, str, str]] = {
    "no transcript": ("Yes.", "No.", "not a transcript"),
    "other history": (TURNS + " Yes.", TURNS.replace("bee", "wasp") + " Yes.", "differ before their last turn"),
    "silence": (TURNS + " Yes.", TURNS + " ", "rejected says nothing"),
    "longer": (TURNS + " Yes.", TURNS + " No.\n\nHuman: Why?", "rejected goes on after"),
}


@pytest.mark.parametrize(("chosen", "rejected", "reason"), SKIPPED.values(), ids=SKIPPED)
def test_transcripts_that_make_no_pair(chosen: str, rejected: str, reason: str) -> None:
    with pytest.raises(SkippedRow, match=reason):
        split_transcript(chosen, rejected)


def test_hh() -> None:
    rows = [{"chosen": a, "rejected": b} for a, b, _ in SKIPPED.values()]
    rows.insert(1, {"chosen": TURNS + " Yes.", "rejected": TURNS + " No."})
    pairs, skipped = prepare("hh", tiny.Dataset.from_list(rows))
    (pair,) = pairs.to_list()
    assert {name: pair[name] for name in COLUMNS} == {"prompt": TURNS, "chosen": " Yes.", "rejected": " No."}
    assert pair[ORIGIN]["row"] == 1
    assert {place.row for places in skipped.values() for place in places} == {0, 2, 3, 4} and len(skipped) == 4
    with pytest.raises(ValueError, match="finds no pair in 4 rows"):
        prepare("hh", tiny.Dataset.from_list(rows[:1] + rows[2:]))


def completion(response: str, score: float) -> dict[str, Any]:
    return {"response": response, "overall_score": score}


def test_ultrafeedback_is_binarised() -> None:
    """The best against a random worse one; which one is the seed's choice."""
    row = {"instruction": "Say something.", "completions": [completion(f"r{k}", k) for k in (3, 9, 5, 1)]}
    ties = {"instruction": "Say something.", "completions": [completion("a", 2.0), completion("b", 2.0)]}
    rejected = set()
    for seed in range(20):
        pairs, skipped = prepare("ultrafeedback", tiny.Dataset.from_list([row, ties]), seed)
        (pair,) = pairs.to_list()
        assert pair["prompt"] == [{"role": "user", "content": "Say something."}]
        assert pair["chosen"] == [{"role": "assistant", "content": "r9"}] and pair["score_chosen"] == 9
        rejected.add(pair["rejected"][0]["content"])
        assert pair["rejected"][0]["content"] == f"r{pair['score_rejected']:.0f}"
        assert skipped == {"all completions have the same score": [Place(1)]}
    assert rejected == {"r3", "r5", "r1"}


def test_ultrafeedback_in_its_binarised_form() -> None:
    def talk(answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": answer}]

    rows = [
        {"chosen": talk("a"), "rejected": talk("b"), "score_chosen": 8.0, "score_rejected": 5.0},
        {"chosen": talk("c"), "rejected": talk("d"), "score_chosen": 7.0, "score_rejected": 7.0},
    ]
    pairs, skipped = prepare("ultrafeedback", tiny.Dataset.from_list(rows))
    assert pairs["prompt"][:] == [[{"role": "user", "content": "Hello"}]]
    assert pairs["chosen"][0][0]["content"] == "a" and pairs["rejected"][0][0]["content"] == "b"
    assert skipped == {"chosen has no higher score than rejected": [Place(1)]}


def test_columns_of_another_data_set() -> None:
    data = tiny.Dataset.from_list([{"prompt": "a", "chosen": "b"}])
    with pytest.raises(ValueError, match="data set for preparation 'hh' must have the column 'rejected'"):
        prepare("hh", data)
    with pytest.raises(ValueError, match="preparation must be one of"):
        prepare("shp", data)
    with pytest.raises(ValueError, match="IMDb data set must have the column 'text'"):
        imdb_prompts(data, tiny.tokenizer())


def test_imdb_prompts_are_beginnings_of_reviews() -> None:
    reviews = [" ".join(f"w{(k + shift) % 40}" for k in range(20)) for shift in range(30)] + ["w1"]
    data = tiny.Dataset.from_dict({"text": reviews})
    prompts = imdb_prompts(data, tiny.tokenizer(), seed=3)["prompt"][:]
    assert len(prompts) == 30  # the last review is too short
    assert all(review.startswith(prompt) for review, prompt in zip(reviews, prompts, strict=False))
    lengths = {len(prompt.split()) for prompt in prompts}
    assert lengths == set(range(2, 9))
    assert prompts == imdb_prompts(data, tiny.tokenizer(), seed=3)["prompt"][:]
    with pytest.raises(ValueError, match="low and high must be numbers of tokens"):
        imdb_prompts(data, tiny.tokenizer(), low=5, high=2)


def test_answers_for_alpaca_eval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.llama(0).save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    asked = [{"instruction": f"w{k} w2", "dataset": "helpful_base"} for k in range(3)]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    arguments = [str(tmp_path / name) for name in ("model", "asked.json", "outputs.json")]
    assert alpaca_eval.main([*arguments, "--max_new_tokens", "5"]) == 0
    answers = json.loads((tmp_path / "outputs.json").read_text())
    assert [(row["instruction"], row["generator"], row["dataset"]) for row in answers] == [
        (row["instruction"], "model", "helpful_base") for row in asked
    ]
    assert all(1 <= len(row["output"].split()) <= 5 for row in answers)
    (tmp_path / "asked.json").write_text(json.dumps([*asked, {"prompt": "w1"}]))
    assert alpaca_eval.main(arguments) == 2
    assert "asked.json: row 3, instruction: it must be text" in capsys.readouterr().err
