"""Files are read as they are: no type is guessed, no line is split elsewhere, and what is wrong has a place."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import llm_models as tiny

from datasets import DatasetDict, Json, List, Value  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.data import read_split, read_splits, readers, table  # isort: skip (needs llm_models)
from expo_analysis.llm.data.splits import DataRecipe, load_pairs  # isort: skip
from expo_analysis.llm.data.files import read_file  # isort: skip
from expo_analysis.llm.data.report import Place  # isort: skip

COLUMNS = ("prompt", "chosen", "rejected")
ROWS = [dict(zip(COLUMNS, (f"q{k}", f"yes {k}", f"no {k}"), strict=True)) for k in range(3)]


def values(data: Any) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name != table.ORIGIN} for row in table.python_rows(data)]


def places(data: Any) -> list[Place]:
    return [table.place_of(row[table.ORIGIN]) for row in data]


# --------------------------------------------------------------------------------------------------- nothing is guessed

LOOKS_LIKE = [
    "None",
    "NA",
    "null",
    "nan",
    "007",
    "1e3",
    "2021-05-04",
    "2021-05-04T10:00:00",
    "true",
    "",
    " x ",
    '"',
    "=",
]
"""Texts that readers of tables take for something else."""


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode("utf-8", "surrogatepass")


def as_json_lines(rows: list[dict[str, Any]], ascii_only: bool = False) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    return pd.DataFrame(rows).to_parquet(index=False)


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "a.jsonl": as_json_lines,
    "b.jsonl": lambda rows: as_json_lines(rows, ascii_only=True),
    "c.json": lambda rows: json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass"),
    "d.json": as_json_lines,  # many files of that name are JSON Lines
    "e.json": lambda rows: json.dumps({"data": rows}).encode(),
    "f.csv": as_csv,
    "g.tsv": lambda rows: as_csv(rows, "\t"),
    "h.jsonl.gz": lambda rows: gzip.compress(as_json_lines(rows)),
    "i.csv.bz2": lambda rows: bz2.compress(as_csv(rows)),
    "j.json.xz": lambda rows: lzma.compress(json.dumps(rows).encode()),
    "k.ndjson": as_json_lines,
    "l.parquet": as_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_text_stays_text_in_every_kind_of_file(name: str, tmp_path: Path) -> None:
    rows = [dict(zip(COLUMNS, (text, f"{text}!", f"{text}?"), strict=True)) for text in LOOKS_LIKE]
    (tmp_path / name).write_bytes(WRITERS[name](rows))
    found = read_split(tmp_path / name)
    assert values(found) == rows
    numbers = [place.row for place in places(found)]
    assert numbers == list(range(len(rows))) and {place.file for place in places(found)} == {str(tmp_path / name)}
    stream = list(read_split(tmp_path / name, streaming=True))
    assert [{column: row[column] for column in COLUMNS} for row in stream] == rows
    assert [row[table.ORIGIN]["row"] for row in stream] == numbers


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_ends_of_lines_and_byte_order_marks(ending: str, mark: bytes, tmp_path: Path) -> None:
    lines = ["\n".join(json.dumps(row) for row in ROWS) + "\n\n", "prompt,chosen,rejected\nq0,yes 0,no 0\n"]
    for name, text in zip(("a.jsonl", "a.csv"), lines, strict=True):
        (tmp_path / name).write_bytes(mark + text.replace("\n", ending).encode())
    assert values(read_split(tmp_path / "a.jsonl")) == ROWS
    assert values(read_split(tmp_path / "a.csv")) == ROWS[:1]


SEPARATORS = ["\u2028", "\u2029", "\x85", "\x0c", "\x0b", "\x1c", "\x1e", "\r"]


@pytest.mark.parametrize("separator", SEPARATORS, ids=ascii)
def test_only_a_line_feed_ends_a_line(separator: str, tmp_path: Path) -> None:
    text = f"one{separator}line"
    row = {"prompt": text, "chosen": "a", "rejected": "b"}
    for name in ("a.jsonl", "f.csv", "g.tsv", "c.json"):
        (tmp_path / name).write_bytes(WRITERS[name]([row]))
        assert values(read_split(tmp_path / name)) == [row]


def test_lines_are_those_of_an_editor(tmp_path: Path) -> None:
    """Blank lines are no rows, and a text of several lines counts for all of them."""
    (tmp_path / "a.jsonl").write_text('{"prompt": 1}\n\n\n{"prompt": 2}\n')
    assert [place.line for place in places(read_split(tmp_path / "a.jsonl"))] == [1, 4]
    (tmp_path / "a.csv").write_text('prompt,chosen\n"a\nb",c\n\nd,e\n')
    assert [place.line for place in places(read_split(tmp_path / "a.csv"))] == [2, 5]


def test_columns_of_several_types_are_kept(tmp_path: Path) -> None:
    """What Arrow would make equal, or refuse: numbers beside text, mappings of different keys, missing values."""
    rows = [
        {"score": 1, "call": {"city": "Oslo"}, "deep": [[1, 2], [3]], "big": 2**70},
        {"score": "high", "call": {"unit": None}, "deep": [[]], "big": 1},
        {"score": None, "call": None, "deep": None, "extra": True, "number": 0.1},
    ]
    (tmp_path / "a.jsonl").write_bytes(as_json_lines(rows))
    names = {name for row in rows for name in row}
    assert values(read_split(tmp_path / "a.jsonl")) == [{name: row.get(name) for name in names} for row in rows]


def test_integers_beside_fractions_are_not_rounded(tmp_path: Path) -> None:
    rows = [{"x": 2**60 + 1}, {"x": 0.5}]
    assert values(table.to_dataset(rows)) == rows
    assert [type(row["x"]) for row in values(table.to_dataset(rows))] == [int, float]


def test_a_column_of_everything() -> None:
    rows = [{"x": value} for value in ("a", True, 1, 0.5, [1, "b", None], {"k": [0.5, 1]}, None)]
    found = values(table.to_dataset(rows))
    assert found == rows and [type(row["x"]) for row in found] == [type(row["x"]) for row in rows]


def test_a_late_change_of_type_is_no_error(tmp_path: Path) -> None:
    """`datasets` reads ten megabytes and trusts them."""
    rows: list[dict[str, Any]] = [{"prompt": "p" * 2000, "note": k} for k in range(6000)] + [
        {"prompt": "p", "note": "x"}
    ]
    (tmp_path / "a.jsonl").write_bytes(as_json_lines(rows))
    assert read_split(tmp_path / "a.jsonl")["note"][-1] == "x"


NASTY = "\ud800\udfff\ud83d\ude00\u2028\u2029\x85\x00\x0b\x0c\x1c\ufeff\r\n\t\"',;{[\\"
any_text = st.text(st.characters(codec="utf-8") | st.sampled_from(NASTY), max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.tuples(any_text, any_text, any_text), min_size=1, max_size=4), name=st.sampled_from(list(WRITERS))
)
def test_any_text_is_read_as_it_was_written_or_named(
    texts: list[tuple[str, str, str]], name: str, tmp_path: Path
) -> None:
    """Control characters, separators, half surrogates: each value comes back, or its row and field are named."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in texts]
    broken = [{column for column in COLUMNS if table.half_surrogate(row[column])} for row in rows]
    path = tmp_path / name
    try:
        path.write_bytes(WRITERS[name](rows))
    except UnicodeEncodeError:  # parquet cannot hold half surrogates
        assert any(broken)
        return
    try:
        found = read_split(path)
    except ValueError as error:  # bytes that are no UTF-8
        assert any(broken) and str(error).startswith(f"{path}, line ")
        return
    for row, columns, read in zip(rows, broken, found, strict=True):
        origin = read[table.ORIGIN]
        assert (origin["field"] in columns) if columns else origin["field"] is None
        for column in set(COLUMNS) - columns:
            assert read[column] == row[column]


def test_each_half_of_a_pair_is_named_in_its_own_row() -> None:
    rows = [{"a": "\ud800", "b": "x", "c": [{"d": "y"}]}, {"a": "x", "b": "y\udc00", "c": []}, {"a": "x", "b": "x"}]
    rows.append({"a": "x", "b": "x", "c": [{"d": "\udfff"}]})
    data = table.to_dataset(rows)
    found = [row[table.ORIGIN] for row in data]
    assert [origin["field"] for origin in found] == ["a", "b", None, "c"]
    assert [origin["row"] for origin in found] == [0, 1, 2, 3]
    assert "character 2 is half of a surrogate pair, \\udc00" in found[1]["problem"]
    assert data["b"][:] == ["x", "y\ufffd", "x", "x"]


def test_half_of_a_pair_in_a_key_is_named_too() -> None:
    """In rows that are no file's: of a column there is none to name, and a key within a value is a field's fault."""
    with pytest.raises(
        ValueError, match=r"^row 1: the key '\\ud800' is no text: its character 1 is half of a surrogate"
    ):
        table.to_dataset([{"a": "x"}, {"a": "x", "\ud800": 1}])
    data = table.to_dataset([{"a": {"b": 1}}, {"a": [{"x\udc00": 1}]}])
    assert data[0][table.ORIGIN]["problem"] is None
    assert data[1][table.ORIGIN]["field"] == "a" and "the key 'x\\udc00' is no text" in data[1][table.ORIGIN]["problem"]


# ----------------------------------------------------------------------------------------------------- what is no data

BAD: dict[str, tuple[str, bytes, str]] = {
    "cut": ("a.jsonl", b'{"a": 1}\n{"a": "x", "b": "y"\n', "a.jsonl, line 2, column 20: it is not JSON: Expecting"),
    "not closed": ("a.jsonl", b'{"a": "x}\n', "line 1, column 7: it is not JSON: Unterminated string"),
    "tab": ("a.jsonl", b'{"a": "x\ty"}\n', "line 1, column 9: it is not JSON: Invalid control character"),
    "not an object": ("a.jsonl", b'{"a": 1}\n[1]\n', "line 2: it must be an object"),
    "half a key": (
        "a.jsonl",
        b'{"a": 1}\n{"\\ud800b": 1}\n',
        "a.jsonl, line 2: the key '\\ud800b' is no text: its character 1",
    ),
    "half a key within": ("a.jsonl", b'{"a": [{"\\udfff": 1}]}\n', "a.jsonl, line 1: the key '\\udfff' is no text"),
    "json, half a key": (
        "a.json",
        b'[{"\\ud800": 1}]',
        "a.json: the key '\\ud800' is no text: its character 1 is half",
    ),
    "digits": (
        "a.jsonl",
        b'{"a": 1}\n{"a": -' + b"7" * 5000 + b"}\n",
        "line 2: it has a whole number of 5000 digits; at mo",
    ),
    "json, digits": (
        "a.json",
        b'[{"a": ' + b"7" * 5000 + b"}]",
        "a.json: it has a whole number of 5000 digits; at most",
    ),
    "array": ("a.jsonl", b'[\n{"a": 1}\n]\n', "is one JSON array must have a name that ends in .json"),
    "twice": ("a.jsonl", b'{"a": 1, "a": 2}\n', "line 1: the key 'a' stands twice in one object"),
    "deep": ("a.jsonl", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1: it is nested too deeply"),
    "empty": ("a.jsonl", b"", "a.jsonl: it has no rows"),
    "blank": ("a.jsonl", b"\n \r\n", "a.jsonl: it has no rows"),
    "latin-1": (
        "a.jsonl",
        '{"a": 1}\n{"a": "café"}\n'.encode("latin-1"),
        "line 2, column 11: the byte 0xe9 is not UTF-8",
    ),
    "utf-16": ("a.jsonl", '{"a": 1}\n'.encode("utf-16"), "line 1, column 1: it is UTF-16: save the file as UTF-8"),
    "json": ("a.json", b'[{"a": 1},\n {"a" 2}]', "a.json, line 2, column 7: it is not JSON: Expecting"),
    "json, no list": ("a.json", b"3", "it must be a list of objects"),
    "json, two lists": ("a.json", b'{"a": [{"b": 1}], "c": [{"b": 1}]}', "an object with one such list"),
    "json, no objects": ("a.json", b"[1, 2]", "row 0 must be an object"),
    "json, empty": ("a.json", b" \n", "a.json: it has no rows"),
    "json, empty list": ("a.json", b"[]", "a.json: it has no rows"),
    "json, latin-1": ("a.json", '[\n{"a": "é"}]'.encode("latin-1"), "line 2, column 8: the byte 0xe9 is not UTF-8"),
    "csv, too many": ("a.csv", b"a,b\n1,2\n1,2,3\n", "a.csv, line 3: it has 3 fields, and the header 2; text with"),
    "csv, too few": ("a.csv", b"a,b\n1\n", "a.csv, line 2: it has 1 fields, and the header 2"),
    "csv, quote": ("a.csv", b'a,b\n1,2\n"1,2\n', "a.csv, line 3: a quotation mark is out of place"),
    "csv, header twice": ("a.csv", b"a,b,a\n1,2,3\n", "line 1: the column 'a' stands twice in the header"),
    "csv, semicolons": ("a.csv", b"a;b\n1;2\n", "line 1: it is separated by semicolons"),
    "csv, tabs": ("a.csv", b"a\tb\n1\t2\n", "line 1: it is separated by tabs"),
    "csv, header only": ("a.csv", b"a,b\n", "a.csv: it has no rows"),
    "csv, latin-1": ("a.csv", "a,b\n1,é\n".encode("latin-1"), "a.csv, line 2, column 3: the byte 0xe9 is not UTF-8"),
    "tsv, commas": ("a.tsv", b"a,b\n1,2\n", "line 1: it is separated by commas"),
    "parquet": ("a.parquet", b"PAR1 and more", "a.parquet: it is not a parquet file"),
    "gzip": ("a.jsonl.gz", b'{"a": 1}\n', "a.jsonl.gz: it is not a whole .gz file"),
    "gzip, cut": ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999)[:-9], "a.jsonl.gz: it is not a whole .gz file"),
    "xz": ("a.csv.xz", b"a,b\n", "a.csv.xz: it is not a whole .xz file"),
    "other kind": ("a.txt", b"a\n", "a.txt: the name of a data file must end in one of .jsonl"),
    "parquet.gz": ("a.parquet.gz", b"", "a.parquet.gz: the name of a data file must end in one of"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD.values(), ids=BAD)
def test_what_is_no_data_is_named_by_file_line_and_column(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_split(tmp_path / name)
    said = str(caught.value)
    assert message in said and said.startswith(str(tmp_path / name)) and "\n" not in said
    with pytest.raises(ValueError):  # a stream ends in the same way, at the latest when that row passes
        list(read_split(tmp_path / name, streaming=True))


# ------------------------------------------------------------------------------------------------- where data come from


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names for which the Hub was asked, which never answers."""
    asked: list[str] = []

    def ask(self: Any, name: str, **options: Any) -> Any:
        asked.append(name)
        assert options["timeout"] <= 10
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", ask)
    monkeypatch.setattr(readers, "load_dataset", lambda name, **options: pytest.fail(f"loaded {name}"))
    return asked


def test_what_exists_is_never_looked_up_on_the_hub(no_hub: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("a\n")
    Path("org").mkdir()
    Path("org/name").write_text("a\n")
    for name in ("text.txt", "org/name", "org"):
        with pytest.raises(ValueError, match=f"{name}: (the name of a data file must end|the folder has no data file)"):
            read_splits(name)
    assert not no_hub


MISTYPED = {
    "paris.jsonl": r"paris.jsonl: No such file or folder; is 'pairs.jsonl' meant\?",
    "nowhere/pairs.jsonl": "No such file or folder: there is no folder 'nowhere'",
    "./pairs": r"No such file or folder; is 'pairs.jsonl' meant\?",
    "/nowhere": "/nowhere: No such file or folder",
    "~nobody/x": "No such file or folder",
    "a/b/c": "No such file or folder",
    "what is this": "No such file or folder",
}


@pytest.mark.parametrize(("name", "message"), MISTYPED.items(), ids=list(MISTYPED))
def test_a_mistyped_path_is_no_name_of_the_hub(
    name: str, message: str, no_hub: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_bytes(as_json_lines(ROWS))
    with pytest.raises(ValueError, match=message):
        read_splits(name)
    assert not no_hub


def test_a_name_is_asked_for_once(no_hub: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.csv").write_text("a\n1\n")
    message = r"pairs: no such file or folder here, and the Hub cannot be reached; is 'pairs.csv' meant\?"
    with pytest.raises(ValueError, match=message):
        read_splits("pairs")
    assert no_hub == ["pairs"]


def test_a_name_that_the_hub_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.errors as errors

    class Missing(errors.RepositoryNotFoundError):
        def __init__(self) -> None:
            Exception.__init__(self, "404")

    def ask(self: Any, name: str, **options: Any) -> Any:
        raise Missing

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", ask)
    with pytest.raises(ValueError, match="org/name: neither a file or folder here, nor a data set of the Hub"):
        read_splits("org/name")


def test_rows_of_the_hub_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny.Dataset.from_list(ROWS)
    monkeypatch.setattr(readers, "_ask_hub", lambda name: None)

    def load(path: str, name: str | None, streaming: bool) -> Any:
        return {"train": data.to_iterable_dataset() if streaming else data}

    monkeypatch.setattr(readers, "load_dataset", load)
    for streaming in (False, True):
        rows = list(read_split("org/name", streaming=streaming))
        assert [(row[table.ORIGIN]["file"], row[table.ORIGIN]["row"]) for row in rows] == [
            ("org/name[train]", k) for k in range(3)
        ]
    with pytest.raises(ValueError, match=r"org/name: it has no split 'test', only \['train'\]"):
        read_split("org/name", "test")


def test_a_folder_of_files(tmp_path: Path) -> None:
    for name, part in (("train-0.jsonl", 0), ("data/train-1.jsonl", 1), ("data/test.csv", 2)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(
            as_csv(ROWS[part : part + 1]) if name.endswith("csv") else as_json_lines(ROWS[part : part + 1])
        )
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "dataset_infos.json").write_text("{}")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "test.jsonl").write_text("no data")
    splits = read_splits(tmp_path)
    assert {name: len(part) for name, part in splits.items()} == {"train": 2, "test": 1}
    assert [place.row for place in places(splits["train"])] == [0, 0]
    assert {Path(place.file).name for place in places(splits["train"])} == {"train-0.jsonl", "train-1.jsonl"}
    streamed = read_splits(tmp_path, streaming=True)
    assert [row["prompt"] for row in streamed["train"]] == splits["train"]["prompt"][:]
    (tmp_path / "more.jsonl").write_bytes(as_json_lines(ROWS))
    with pytest.raises(ValueError, match=r"more.jsonl: its name says no split, while those of other files"):
        read_splits(tmp_path)


def test_names_that_say_more_than_a_split(tmp_path: Path) -> None:
    """UltraFeedback's train_prefs is not its train_sft; one that is alone goes by both names."""
    for name, count in (("train_prefs-00000-of-00002", 2), ("train_prefs-00001-of-00002", 1), ("test_prefs", 1)):
        (tmp_path / f"{name}.jsonl").write_bytes(as_json_lines(ROWS[:count]))
    splits = read_splits(tmp_path)
    assert {name: len(part) for name, part in splits.items()} == {
        **{"train": 3, "train_prefs": 3, "test": 1, "test_prefs": 1},
    }
    assert splits["train"] is splits["train_prefs"]
    (tmp_path / "train_sft.jsonl").write_bytes(as_json_lines(ROWS))
    splits = read_splits(tmp_path)
    assert {name: len(part) for name, part in splits.items()} == {
        **{"train_prefs": 3, "train_sft": len(ROWS), "test": 1, "test_prefs": 1},
    }
    with pytest.raises(
        ValueError, match=r"it has no split 'train', only \['test', .*'train_sft'\]; did you mean 'train"
    ):
        read_split(tmp_path)
    assert len(read_split(tmp_path, "train_prefs[:2]")) == 2
    asked = DataRecipe(str(tmp_path), train_split="train_prefs", test_split="tset", evaluated=True)
    message = (
        r"no split 'tset'; set test_split_size, or dataset_test_split to one of \['test', 'test_prefs', 'train_prefs'"
    )
    with pytest.raises(ValueError, match=message):
        load_pairs(asked, print)


def test_a_folder_that_preferences_wrote_to(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_bytes(as_json_lines(ROWS))
    (tmp_path / "pairs.settings.json").write_text('{"settings": {}}')
    (tmp_path / "pairs.responses.jsonl").write_text('{"origin": {}}\n')
    assert values(read_split(tmp_path)) == ROWS


def test_a_folder_without_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the folder has no data file, whose name ends in one of .jsonl"):
        read_splits(tmp_path)


def test_folders_that_datasets_saved(tmp_path: Path) -> None:
    data = tiny.Dataset.from_list(ROWS)
    data.save_to_disk(tmp_path / "one")
    DatasetDict({"train": data, "test": data.select([1])}).save_to_disk(tmp_path / "several")
    assert values(read_split(tmp_path / "one")) == ROWS
    assert places(read_split(tmp_path / "several", "test")) == [Place(0, f"{tmp_path / 'several'}[test]")]
    assert [row["prompt"] for row in read_split(tmp_path / "one", streaming=True)] == ["q0", "q1", "q2"]
    next((tmp_path / "one").glob("*.arrow")).unlink()
    with pytest.raises(ValueError, match="one: it is not a whole data set of `datasets`"):
        read_split(tmp_path / "one")


def test_a_saved_split_is_named_where_there_are_several(tmp_path: Path) -> None:
    one = tiny.Dataset.from_list([{"prompt": "q"}])
    one.save_to_disk(tmp_path / "one")
    DatasetDict({"train": one}).save_to_disk(tmp_path / "alone")
    DatasetDict({"train": one, "test": one}).save_to_disk(tmp_path / "two")
    for name, said in (("one", ""), ("alone", ""), ("two", "[train]")):
        (place,) = places(read_split(tmp_path / name))
        assert place.file == f"{tmp_path / name}{said}"


def test_what_belongs_to_the_hub_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_json_lines(ROWS))
    with pytest.raises(ValueError, match="dataset_config is not used for files and folders; got 'x'"):
        read_splits(tmp_path / "a.jsonl", "x")


@pytest.mark.parametrize(
    ("split", "rows"), [("train[:2]", [0, 1]), ("train[1:]", [1, 2]), ("train[-1:]", [2]), ("train[:67%]", [0, 1])]
)
def test_a_part_of_a_split_is_written_as_in_datasets(split: str, rows: list[int], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_json_lines(ROWS))
    assert [place.row for place in places(read_split(tmp_path / "a.jsonl", split))] == rows
    with pytest.raises(ValueError, match="is a part of a split, which a stream does not have"):
        read_split(tmp_path / "a.jsonl", split, streaming=True)


def test_a_part_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_json_lines(ROWS))
    with pytest.raises(ValueError, match=r"a.jsonl: 'train\[x\]' is no part of a split"):
        read_split(tmp_path / "a.jsonl", "train[x]")


@pytest.mark.parametrize("seed", range(3))
def test_rows_keep_their_numbers_whatever_is_done(seed: int, tmp_path: Path) -> None:
    """Shuffled, split, selected, and put together with another file: each row still says where it came from."""
    rng = np.random.default_rng(seed)
    for name in ("a.jsonl", "b.jsonl"):
        rows = [{"prompt": f"{name} {k}", "chosen": "a", "rejected": "b"} for k in range(12)]
        (tmp_path / name).write_bytes(as_json_lines(rows if name == "a.jsonl" else [row | {"x": 1} for row in rows]))
    both = readers.concatenated([read_split(tmp_path / name) for name in ("a.jsonl", "b.jsonl")])
    some = both.shuffle(seed=seed).select(rng.permutation(24)[:15]).train_test_split(0.5, seed=seed)
    for part in some.values():
        for row, place in zip(part, places(part), strict=True):
            assert row["prompt"] == f"{Path(place.file).name} {place.row}" and place.line == place.row + 1


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_file(tmp_path / "a.jsonl"))


CALL = {"role": "user", "content": "a"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Value("string")),
        (["007", None], Value("string")),
        ([True, None], Value("bool")),
        ([1, None, 2**63 - 1, -(2**63)], Value("int64")),
        ([1, 2**63], Json()),
        ([-(2**63) - 1], Json()),
        ([1, 2.5], Value("float64")),
        ([2**53, 2.5, None], Value("float64")),
        ([2**53 + 1, 2.5], Json()),
        (["a", 1], Json()),
        ([True, 1], Json()),
        ([[1, 2], None, [3]], List(Value("int64"))),
        ([[1, 2.5]], Json()),
        ([[1, None]], Json()),
        ([[CALL], [CALL, CALL]], List({"role": Value("string"), "content": Value("string")})),
        ([[CALL, {**CALL, "name": "b"}]], Json()),
        ([[{**CALL, "content": None}]], Json()),
        ([{"a": 1}], Json()),
        ([b"a"], None),
    ],
)
def test_the_type_of_a_column_is_that_of_its_values(values: list[Any], expected: Any) -> None:
    """The narrowest that holds each exactly."""
    assert table.feature_of(values) == expected
