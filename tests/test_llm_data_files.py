"""Files as people have them: trained on, converted with a count, or refused by file, line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .llm_files import FILES, File
from .llm_texts import byte_tokenizer, model_for

from expo_analysis.llm import finetune  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.data import PreferenceData  # isort: skip
from expo_analysis.llm.data.splits import DataRecipe, load_pairs  # isort: skip

TOKENIZER = byte_tokenizer()
LENGTH = 200


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model_for(TOKENIZER).save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


def check_message(message: str, path: Path, file: File) -> None:
    """One sentence or two, in one line, with the file's name and all that was to be said of it."""
    assert file.message in message and str(path) in message
    assert "\n" not in message and "Traceback" not in message


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    file, path = FILES[name], tmp_path / name
    path.write_bytes(file.content)
    told: list[str] = []
    try:
        recipe = DataRecipe(str(path), preparation=file.flags.get("preparation"), columns=file.flags.get("columns"))
        rows, _ = load_pairs(recipe, told.append)
        data = PreferenceData.from_rows(rows, TOKENIZER, name=str(path), max_length=LENGTH)
    except ValueError as error:
        assert not file.rows
        check_message(str(error), path, file)
        return
    assert len(data) == file.rows
    first = data.rows[0]
    assert (TOKENIZER.decode(first["prompt_ids"]), TOKENIZER.decode(first["chosen_ids"])) == file.first
    found = "\n".join(data.report.lines())
    assert file.remark in found if file.remark else not found
    assert sorted(data.rows["row_number"][:]) == list(range(file.rows))


def run(path: Path, model: Path, folder: Path, **flags: Any) -> int:
    given = {
        **{"model": model, "dataset_name": path, "output_dir": folder / "out", "max_steps": 1, "max_length": LENGTH},
        **{"objective": "dpo", "precompute_ref_log_probs": "true", "use_cpu": "true", "bf16": "false"},
        **{"gradient_checkpointing": "false", "report_to": "none", "save_strategy": "no", "logging_steps": 1},
        **{"per_device_train_batch_size": 4, "disable_tqdm": "true"},
        **flags,
    }
    return finetune.main([word for name, value in given.items() for word in (f"--{name}", str(value))])


TRAINED = [name for name, file in FILES.items() if file.rows]
# All files are read above; the command has another way of refusing them, and one of training on them.
SLOW = {name for place, name in enumerate(TRAINED) if place % 4 and not FILES[name].flags}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in FILES])
def test_the_command_trains_on_each_file_or_refuses_it(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, path = FILES[name], tmp_path / name
    path.write_bytes(file.content)
    code = run(path, model, tmp_path, **file.flags)
    said = capsys.readouterr().err
    if file.rows:
        assert code == 0
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["steps"] == 1 and summary["rows"] == file.rows and summary["rows_left_out"] == 0
        assert file.remark in said
    else:
        assert code == 2 and not (tmp_path / "out" / "summary.json").exists()
        check_message(said.strip().splitlines()[-1], path, file)


def test_what_is_skipped_is_named(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Preparation skips the first two, and what is left out after it has the file's numbers."""
    path = tmp_path / "hh.jsonl"
    path.write_bytes(FILES["hh_prepared.jsonl"].content)
    assert run(path, model, tmp_path, preparation="hh", on_bad_rows="drop") == 0
    said = capsys.readouterr().err
    place = f"{path}: row 0 (line 1)"
    assert f"2 rows of the train data are skipped: chosen says nothing in the last turn (first: {place})" in said
    assert f"{path}: row 4 (line 5), rejected: it is the same as chosen" in said
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["rows_left_out"] == 1


def test_the_command_streams(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ok.jsonl"
    path.write_bytes(FILES["ok.jsonl"].content)
    options = {"precompute_ref_log_probs": "false", "dataset_streaming": "true", "max_steps": 2}
    assert run(path, model, tmp_path, **options) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["steps"] == 2


def test_a_model_with_learned_positions_has_no_room_beyond_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found before training, not by an index out of range in the midst of it; `max_length` cuts such rows."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=len(TOKENIZER), n_embd=16, n_layer=1, n_head=2, n_positions=64)
    config.eos_token_id = config.bos_token_id = TOKENIZER.eos_token_id
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "model")
    TOKENIZER.save_pretrained(tmp_path / "model")
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "p" * 60, "chosen": "a" * length, "rejected": "b"} for length in (3, 4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(path, tmp_path / "model", tmp_path, max_length=1024) == 2
    said = capsys.readouterr().err
    assert f"{path}: row 1 (line 2), chosen: with its prompt it is longer than the model's 64 positions" in said
    assert "set max_length=64: it has 65 tokens" in said
    assert run(path, tmp_path / "model", tmp_path, max_length=64) == 0


def test_a_mixture_keeps_the_numbers_of_its_files(tmp_path: Path) -> None:
    from trl.scripts.utils import DatasetConfig

    rows = [{"prompt": "p", "chosen": f"a{k}", "rejected": "b"} for k in range(4)]
    for name, extra in (("a", {}), ("b", {"note": 1}), ("c", {"note": "x"})):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row | extra) + "\n" for row in rows))
    entries = [
        DatasetConfig(path=str(tmp_path / "a.jsonl"), split="train[2:]"),
        DatasetConfig(path="json", data_files=str(tmp_path / "[b]*.jsonl"), columns=["prompt", "chosen", "rejected"]),
        DatasetConfig(path="json", data_files={"train": [str(tmp_path / "c.jsonl")]}),
    ]
    train, test = load_pairs(DataRecipe(mixture=entries), print)
    assert test is None
    data = PreferenceData.from_rows(train, TOKENIZER, name="train_dataset", max_length=None)
    names = [TOKENIZER.decode(row["chosen_ids"])[:2] for row in data.rows]
    assert names == [f"a{k}" for k in (2, 3, 0, 1, 2, 3, 0, 1, 2, 3)]
    assert data.rows["row_number"][:] == [2, 3, 0, 1, 2, 3, 0, 1, 2, 3]
    assert data.where(1) == f"{tmp_path / 'b.jsonl'}: row 1 (line 2) or {tmp_path / 'c.jsonl'}: row 1 (line 2)"


def test_shares_of_a_mixture(tmp_path: Path) -> None:
    """As in TRL: as many rows as there may be without one being repeated."""
    from trl.scripts.utils import DatasetConfig

    for name, count in (("a", 30), ("b", 10)):
        rows = [{"prompt": name, "chosen": f"a{k}", "rejected": "b"} for k in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def mix(*fractions: float | None) -> Any:
        files = (str(tmp_path / f"{name}.jsonl") for name in "ab")
        return DataRecipe(mixture=[DatasetConfig(path=f, fraction=x) for f, x in zip(files, fractions, strict=True)])

    prompts = load_pairs(mix(1.0, 1.0), print)[0]["prompt"][:]
    assert prompts == ["a"] * 10 + ["b"] * 10
    assert len(load_pairs(mix(3.0, 0.5), print)[0]) == 35 and len(load_pairs(mix(None, None), print)[0]) == 40
    for wrong in ((1.0, None), (1.0, 0.0), (1.0, -1.0)):
        with pytest.raises(ValueError, match="fraction must be a positive number for every one of datasets"):
            load_pairs(mix(*wrong), print)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (DataRecipe(), "give either dataset_name or datasets"),
        (DataRecipe("x.jsonl", mixture=[1]), "give either dataset_name or datasets"),
        (DataRecipe("{ok}", test_split_size=1.5), "test_split_size must be a number between 0 and 1, got 1.5"),
        (
            DataRecipe("{ok}", evaluated=True),
            "the data have no split 'test'; set test_split_size, or dataset_test_split",
        ),
        (DataRecipe("{ok}", train_split="training"), r"dataset_train_split must be one of \['train'\], got 'training'"),
        (DataRecipe("{ok}", max_train_rows=0), "max_train_rows must be a whole number of at least 1, got 0"),
        (DataRecipe("{ok}", preparation="shp"), "preparation must be one of"),
    ],
)
def test_settings_of_data_that_are_wrong(recipe: DataRecipe, message: str, tmp_path: Path) -> None:
    from dataclasses import replace

    (tmp_path / "ok.jsonl").write_bytes(FILES["ok.jsonl"].content)
    named = replace(recipe, name=recipe.name and recipe.name.format(ok=tmp_path / "ok.jsonl"))
    with pytest.raises(ValueError, match=message):
        load_pairs(named, print)


def test_some_rows_of_a_stream_and_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ok.jsonl"
    path.write_bytes(FILES["ok.jsonl"].content)
    for streaming in (False, True):
        train, _ = load_pairs(DataRecipe(str(path), max_train_rows=3, streaming=streaming), print)
        assert [row["prompt"] for row in train] == [f"Name a city, {k}." for k in range(3)]
    tested, test = load_pairs(
        DataRecipe(str(path), train_split="train[:3]", test_split="train[3:]", evaluated=True), print
    )
    assert len(tested) == 3 and test["prompt"][:] == ["Name a city, 3."]
