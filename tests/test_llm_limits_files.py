"""Where files, columns and journals are accepted no more: at the end itself, and one step beyond it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from . import llm_models as tiny

from expo_analysis.llm import held_out  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.data import columns, files, preparation, splits  # isort: skip
from expo_analysis.llm.data import journal, passing, readers, rows, sampling  # isort: skip
from expo_analysis.llm.data import table, texts  # isort: skip
from expo_analysis.llm.data.conversation import kind_of  # isort: skip
from .llm_turns import answer, user

# ------------------------------------------------------------------------------------------------------- files, columns


def test_parts_of_files_that_are_no_data(tmp_path: Path) -> None:
    deep = "[" * 100_000
    for name, content, words in (
        ("a.json", '{"rows": [{"prompt": "x"}], "more": [1]}', "it must be a list of objects"),
        ("b.json", '[{"prompt": "x"}, 3]', "row 1 must be an object"),
        ("c.json", deep, "it is nested too deeply"),
        ("d.jsonl", '{"a": ' + deep, "line 1: it is nested too deeply"),
        (
            "e.jsonl",
            '[{"prompt": "x"}]',
            "a file that is one JSON array must have a name that ends in .json|must be an",
        ),
        ("f.jsonl", '{"a": 1}\n[', "line 2, column 2: it is not JSON: Expecting value$"),
        ("g.csv", "a;b\n1;2\n", "line 1: it is separated by semicolons"),
        ("h.csv", "a\tb\n1\t2\n", "line 1: it is separated by tabs"),
        ("i.tsv", "a,b\n1,2\n", "line 1: it is separated by commas"),
        ("j.csv", "\na,a\n", "line 2: the column 'a' stands twice in the header"),
        ("k.csv", "a,b\n1,2\n\n1\n", "line 4: it has 1 fields, and the header 2$"),
        ("l.csv", 'a,b\n"1\n2",3\n1,2,3\n', "line 4: it has 3 fields, and the header 2; text with separators"),
        ("m.jsonl", '{"a": 1, "b": {"c": 1, "c": 2}}', "line 1: the key 'c' stands twice in one object"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=words):
            list(files.read_file(tmp_path / name))
    (tmp_path / "n.json").write_text('{"version": 1, "rows": [{"prompt": "x"}]}')
    assert list(files.read_file(tmp_path / "n.json")) == [({"prompt": "x"}, None)]
    (tmp_path / "o.json").write_text(' \n{"prompt": "x"}\n')
    assert list(files.read_file(tmp_path / "o.json")) == [({"prompt": "x"}, None)]
    (tmp_path / "p.csv").write_text('a\n"x\n\ny"\nz\n')
    assert list(files.read_file(tmp_path / "p.csv")) == [({"a": "x\n\ny"}, 2), ({"a": "z"}, 5)]


def test_formats_are_told_by_the_last_endings() -> None:
    for name, ending in (
        *(("a.jsonl", ".jsonl"), ("a.JSONL.GZ", ".jsonl"), ("a.b.csv.xz", ".csv"), ("a.parquet", ".parquet")),
        *(
            ("a.parquet.gz", None),
            ("a.gz", None),
            ("a", None),
            ("jsonl", None),
            ("a.csv.zip", None),
            ("a.json.b", None),
        ),
    ):
        assert files.format_of(Path(name)) == ending, name


def test_what_is_no_utf_8_is_named_by_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"prompt\nab\xff\n")
    with pytest.raises(ValueError, match=r"line 2, column 3: the byte 0xff is not UTF-8"):
        list(files.read_file(tmp_path / "a.csv"))
    (tmp_path / "a.jsonl").write_bytes('{"a": "ä"}\n{"ää\xfe'.encode("latin-1").replace(b"\xe4", "ä".encode()))
    with pytest.raises(ValueError, match=r"line 2, column 5: the byte 0xfe is not UTF-8"):
        list(files.read_file(tmp_path / "a.jsonl"))
    (tmp_path / "b.csv").write_bytes("prompt\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"line 1, column 1: it is UTF-16: save the file as UTF-8"):
        list(files.read_file(tmp_path / "b.csv"))


def test_a_share_for_evaluation_is_a_share(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"prompt": f"p{k}"}) + "\n" for k in range(10)))
    path = str(tmp_path / "a.jsonl")
    for size in (0.0, 1.0, -0.1, 1.5):
        with pytest.raises(ValueError, match=f"test_split_size must be a number between 0 and 1, got {size}"):
            splits.load_pairs(splits.DataRecipe(path, test_split_size=size), print)
    told: list[str] = []
    train, test = splits.load_pairs(splits.DataRecipe(path, test_split_size=0.3, evaluated=True), told.append)
    assert (len(train), len(test), told) == (7, 3, [])
    assert sorted([*train["prompt"], *test["prompt"]]) == [f"p{k}" for k in range(10)]
    again, none = splits.load_pairs(splits.DataRecipe(path, test_split_size=0.3), print)
    assert again["prompt"] == train["prompt"] and none is None
    other, _ = splits.load_pairs(splits.DataRecipe(path, test_split_size=0.3, seed=1), print)
    assert other["prompt"] != train["prompt"]
    with pytest.raises(ValueError, match="test_split_size is not used for streams"):
        splits.load_pairs(splits.DataRecipe(path, test_split_size=0.3, streaming=True), print)
    with pytest.raises(ValueError, match="preparation is not used for streams"):
        splits.load_pairs(splits.DataRecipe(path, preparation="hh", streaming=True), print)
    assert splits.load_pairs(splits.DataRecipe(path, max_train_rows=1), print)[0]["prompt"][:] == ["p0"]
    said = "\n\nHuman: q\n\nAssistant:"
    lines = [{"chosen": f"{said} a", "rejected": f"{said} b"}, *[{"chosen": "a", "rejected": "b"}] * 2]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    prepared = splits.DataRecipe(str(tmp_path / "b.jsonl"), preparation="hh")
    assert len(splits.load_pairs(prepared, told.append)[0]) == 1
    (line,) = told
    assert (
        line.startswith("2 rows of the train data are skipped: not a transcript") and "b.jsonl: row 1 (line 2)" in line
    )


def entry(path: str, **given: Any) -> Any:
    usual = {"data_files": None, "data_dir": None, "split": "train", "name": None, "columns": None, "fraction": None}
    return SimpleNamespace(path=path, **usual | given)


def test_mixtures_take_files_by_pattern_and_shares_of_rows(tmp_path: Path) -> None:
    for name, count in (("a", 4), ("b", 8)):
        lines = [json.dumps({"prompt": f"{name}{k}", "more": k}) + "\n" for k in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    one, two = (str(tmp_path / f"{name}.jsonl") for name in "ab")

    def read(*entries: Any, **how: Any) -> list[str]:
        found: list[str] = splits.read_mixture(entries, **{"streaming": False} | how)["prompt"][:]
        return found

    assert len(read(entry("json", data_files=str(tmp_path / "*.jsonl")))) == 12
    assert len(read(entry("json", data_files={"train": [one]}))) == 4
    assert len(read(entry(str(tmp_path), data_dir="."), entry(one))) == 16
    # three parts of one to one part of the other: as many as there are in the smaller
    assert read(entry(one, fraction=1.0), entry(two, fraction=1.0)) == [f"a{k}" for k in range(4)] + [
        f"b{k}" for k in range(4)
    ]
    assert len(read(entry(one, fraction=0.5), entry(two, fraction=1.5))) == 3 + 8
    for bad, words in (
        ([entry(one, fraction=0.0), entry(two, fraction=1.0)], "fraction must be a positive number"),
        ([entry(one), entry(two, fraction=1.0)], "fraction must be a positive number for every one"),
        ([entry(one, data_files=two)], "data_files must be left out for"),
        ([entry("json", data_files=str(tmp_path / "none*.jsonl"))], r"none\*.jsonl: No such file"),
        ([entry(one, columns=["prompt", "mor"])], "must have the column 'mor'.*is 'more' meant to be it"),
    ):
        with pytest.raises(ValueError, match=words):
            read(*bad)
    assert splits.read_mixture([entry(one, columns=["prompt"])], False).column_names == ["prompt", table.ORIGIN]
    with pytest.raises(ValueError, match="is not for streams"):
        splits.read_mixture([entry(one, fraction=1.0)], True)


def test_parts_of_splits_and_their_names(tmp_path: Path) -> None:
    for name in ("train", "validation", "x-dev"):
        (tmp_path / f"{name}.jsonl").write_text("".join(f'{{"prompt": "{name}{k}"}}\n' for k in range(10)))
    assert set(readers.read_splits(tmp_path)) == {"train", "validation"}
    assert readers.read_split(tmp_path, "train[:20%]")["prompt"][:] == ["train0", "train1"]
    assert readers.read_split(tmp_path, "train[8:]")["prompt"][:] == ["train8", "train9"]
    for split, words in (("test", "it has no split 'test', only"), ("train[x]", "is no part of a split")):
        with pytest.raises(ValueError, match=words):
            readers.read_split(tmp_path, split)
    with pytest.raises(ValueError, match="is a part of a split, which a stream does not have"):
        readers.read_split(tmp_path, "train[:2]", streaming=True)
    assert len(readers.some_rows(readers.read_split(tmp_path), 99)) == 10
    assert len(readers.some_rows(readers.read_split(tmp_path), 3)) == 3
    for name in ("other.jsonl", "notes.jsonl"):
        (tmp_path / name).write_text('{"prompt": "x"}\n')
    with pytest.raises(ValueError, match=r"notes.jsonl: its name says no split, while those of other files"):
        readers.read_splits(tmp_path)
    with pytest.raises(ValueError, match="dataset_config is not used for files and folders; got 'c'"):
        readers.read_splits(tmp_path, "c")


def test_columns_are_guessed_by_what_other_data_sets_call_them() -> None:
    for names, words in (
        (["instruction", "input", "chosen", "rejected"], "set columns to prompt=instruction.input$"),
        (["instruction", "chosen", "rejected"], "set columns to prompt=instruction$"),
        (["instruction", "question", "chosen", "rejected"], "set columns to prompt=question$"),
        (["x", "chosen_response", "preferred", "rejected_response", "prompt"], "chosen=chosen_response,rejected=rejec"),
        (
            ["question", "system", "accepted", "dispreferred"],
            "prompt=question,chosen=accepted,rejected=dispreferred,sys",
        ),
        (["prompt", "completion", "label"], "they are single responses with a label, and no pairs"),
        (["prompt", "a", "b", "winner"], "put the response that won into chosen, and the other into rejected"),
        (["prompt", "a", "b", "preference"], "put the response that won into chosen"),
        (["prompt", "a", "label"], "put the response that won into chosen"),
        (["prompt", "output"], "they are single responses, and no pairs"),
        (["prompt", "rejected", "chsen"], "is 'chsen' meant to be it"),
        (["prompt", "rejected", "zz"], r"\['prompt', 'rejected', 'zz'\]; columns='chosen=\.\.\.' says which one is$"),
    ):
        with pytest.raises(ValueError, match=words):
            columns.check_columns("data", names)
    columns.check_columns("data", ["prompt_ids", "chosen_ids", "rejected_ids"])
    columns.check_columns("data", ["chosen", "rejected"])
    with pytest.raises(ValueError, match="must have the column 'prompt', but its columns are"):
        columns.check_columns("data", ["completion", "label"], ("completion",))
    for text in ("prompt", "prompt=", "=a", "prompt=a,,chosen=b"):
        with pytest.raises(ValueError, match="columns must be like"):
            columns.parse_columns(text)
    assert columns.parse_columns("prompt = a + b ,chosen=c=d") == {"prompt": "a + b", "chosen": "c=d"}
    joined = columns.Joined(["a", "b", "c"])
    assert joined({"a": "x", "b": "", "c": 3}) == {columns.JOINED: "x\n3"}
    assert joined({"a": None}) == {columns.JOINED: ""}


def test_rewards_are_of_both_responses_or_of_their_difference() -> None:
    for names, found in (
        (["score_chosen", "score_rejected", "margin"], ("score_chosen", "score_rejected")),
        (["margin", "chosen_reward"], ("margin",)),
    ):
        assert columns.score_columns("data", names, "BPO") == found
    with pytest.raises(ValueError, match=r"it has 'score_rejected' alone$"):
        columns.score_columns("data", ["prompt", "score_rejected"], "BPO")
    with pytest.raises(ValueError, match=r"its columns are \['prompt'\]$"):
        columns.score_columns("data", ["prompt"], "BPO")


def test_what_values_are_in_words() -> None:
    import datetime

    said = {
        "a truth value": [True], "a number": [1, 2.5], "a list of text": [["a"]], "a list": [[], [1], ["a", 1]],
        "a date": [datetime.date(2026, 1, 1)], "text": ["a"], "a mapping": [{}], "nothing": [None], "set": [{1}],
    }  # fmt: skip
    for words, values in said.items():
        assert [kind_of(value) for value in values] == [words] * len(values)


def test_types_of_columns_change_no_value() -> None:
    """As JSON where Arrow would round or convert; dates, which JSON has not, as Arrow has them."""
    import datetime

    values = [
        [1, 2], [1, 2.5], [2**53, 0.5], [2**53 + 1, 0.5], [-(2**63), 2**63 - 1], [2**63, 0], [-(2**63) - 1],
        [True, None],
        [True, 1], ["a", None], ["a", 1], [[1, 2], None], [[1, 2.5]], [[1, "a"]], [[None]], [[], [1]], [[[1], [2]]],
        [{"a": 1}, {"b": 2}], [[{"role": "r", "content": "c"}]], [[{"role": "r", "content": None}]], [[{"a": 1}]],
        [[True, False]], [None, None], [[["a"], []]], [[1, True]],
    ]  # fmt: skip
    for own in values:
        made = table.to_dataset([{"x": value} for value in own])
        again = [row["x"] for row in table.python_rows(made)]
        assert repr(again) in (repr(own), repr([float(v) if isinstance(v, int) else v for v in own])), own
        if again != own or repr(again) != repr(own):
            assert {type(v) for v in own} == {int, float} and again == own  # numbers, exact as floats
    day = datetime.date(2026, 1, 1)
    assert table.to_dataset([{"x": day}])["x"][:] == [day]
    with pytest.raises(ValueError, match="the column 'x' has values of types that do not go together"):
        table.to_dataset([{"x": day}, {"x": "a"}])
    with pytest.raises(ValueError, match="the column 'x' has a value that is no JSON"):
        table.to_dataset([{"x": {"a": day}}])


# --------------------------------------------------------------------------------------------- preparation and journals


def test_transcripts_and_completions_that_make_no_pair() -> None:
    rng = np.random.default_rng(0)

    def chat(*said: str) -> list[dict[str, str]]:
        return [(user if place % 2 == 0 else answer)(text) for place, text in enumerate(said)]

    scores = {"score_chosen": 2.0, "score_rejected": 1.0}
    good = {"chosen": chat("q", "a"), "rejected": chat("q", "b")} | scores
    assert preparation.from_ultrafeedback(good, rng)["score_rejected"] == 1.0
    for change, words in (
        ({"chosen": "q"}, "chosen or rejected is no conversation"),
        ({"rejected": []}, "chosen or rejected is no conversation"),
        ({"rejected": chat("p", "b")}, "the conversations differ before their last message"),
        ({"score_chosen": None}, "a score is missing"),
        ({"score_rejected": 2.0}, "chosen has no higher score than rejected"),
        ({"score_rejected": 3.0}, "chosen has no higher score than rejected"),
    ):
        with pytest.raises(preparation.SkippedRow, match=words):
            preparation.from_ultrafeedback(good | change, rng)
    said = [{"response": r, "overall_score": s} for r, s in (("a", 3), ("", 9), ("b", "1.5"), ("c", "N/A"), ("d", 3))]
    for seed in range(4):
        made = preparation.from_ultrafeedback({"instruction": "i", "completions": said}, np.random.default_rng(seed))
        assert (made["score_chosen"], made["score_rejected"]) == (3, 1.5)
        assert made["rejected"][0]["content"] == "b" and made["prompt"] == [user("i")]
    for completions, words in (
        (said[1:2] + said[3:4], "no completion says anything and has a score"),
        (said[:1] + said[4:], "all completions have the same score"),
    ):
        with pytest.raises(preparation.SkippedRow, match=words):
            preparation.from_ultrafeedback({"instruction": "i", "completions": completions}, rng)
    for row in ({"chosen": 1, "rejected": "a"}, {"chosen": "a", "rejected": None}):
        with pytest.raises(preparation.SkippedRow, match="chosen or rejected is no text"):
            preparation.from_hh(row, rng)
    data = tiny.Dataset.from_dict({"text": [" ".join(tiny.WORDS[:20]), "w1 w2", "w1"] * 40})
    for low, high in ((2, 8), (1, 1), (2, 2)):
        given = {} if (low, high) == (2, 8) else {"low": low, "high": high}
        found = preparation.imdb_prompts(data, tiny.tokenizer(), **given)["prompt"][:]
        lengths = {len(prompt.split()) for prompt in found}
        assert lengths == set(range(low, high + 1)) if high > 1 else lengths == {1}
    for low, high in ((0, 1), (3, 2)):
        with pytest.raises(ValueError, match="low and high must be numbers of tokens with 1 <= low <= high"):
            preparation.imdb_prompts(data, tiny.tokenizer(), low, high)


def test_rows_differ_from_those_before_in_kind_or_number_of_samples() -> None:
    like = passing.Alike()
    first = {rows.KIND: None, "sample_ids": [[1], [2]]}
    assert like.differs(first) is None and like.differs(first | {rows.KIND: "plain text"}) is None
    bad = like.differs(first | {rows.KIND: "a conversation"})
    assert bad is not None and str(bad) == "prompt: it is a conversation, while that of the rows before is plain text"
    bad = like.differs({rows.KIND: None, "sample_ids": [[1]]})
    assert bad is not None and bad.example == ", got 1" and "the first row has 2 responses" in bad.what
    bad = like.differs({rows.KIND: None, "sample_ids": None})
    assert bad is not None and bad.example == ", got 0"
    bad = like.differs({rows.KIND: None, "sample_ids": [[1]] * 3})
    assert bad is not None and bad.example == ", got 3"
    chat = passing.Alike()
    assert chat.differs({rows.KIND: "a conversation"}) is None and chat.differs({rows.KIND: "plain text"}) is not None
    assert passing.Alike().differs({rows.KIND: "plain text"}) is None


def test_work_is_counted_in_responses_tokens_and_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert journal.Work().to_dict() == {
        "responses_sampled": 0, "tokens_sampled": 0, "sampling_seconds": 0.0, "tokens_per_second": None,
    }  # fmt: skip
    made = journal.Work(3, 30, 4.004).to_dict()
    assert (made["sampling_seconds"], made["tokens_per_second"]) == (4.0, 7.5)
    clock = itertools.count()
    monkeypatch.setattr(journal.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(
        journal,
        "Sampler",
        lambda *how: lambda prompts, batch: [sampling.Draw([7] * (1 + n), -1.0, True) for _, n in batch],
    )
    kept = journal.Journal(tmp_path / "j", {"a": 1})
    kept.add_draws([(0, 0)], [sampling.Draw([5], -2.0, False)])
    told: list[tuple[int, int, int]] = []
    batches: list[list[tuple[int, int]]] = []
    wanted = [(p, n) for p in range(2) for n in range(2)]
    work = journal.sample_missing(
        kept, None, {0: [1, 2], 1: [1]}, wanted, sampling.Sampling(), [1], 2, batches.append, lambda *x: told.append(x)
    )
    # the shorter prompt first; two seconds by a clock that goes by one at each look
    assert batches == [[(0, 0)], [(1, 0), (1, 1)], [(0, 1)]]
    assert told == [(1, 4, 0), (3, 4, 3), (4, 4, 5)] and (work.responses, work.tokens, work.seconds) == (3, 5, 2)
    again = journal.Journal(tmp_path / "j", {"a": 1})
    assert again.draws == kept.draws and again.draws[0, 0] == sampling.Draw([5], -2.0, False)
    with pytest.raises(ValueError, match="zip"):  # and no part of it is kept
        again.add_draws([(5, 0)], [])
    with pytest.raises(ValueError, match="zip"):
        again.add_scores("r", [(5, 0)], [])
    assert journal._digest({"a": 1, "b": 2}) == journal._digest({"b": 2, "a": 1}) != journal._digest({"a": 1})
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole + b'{"samp')
    assert journal.Journal(tmp_path / "j", {"a": 1}).draws == kept.draws and (tmp_path / "j").read_bytes() == whole
    (tmp_path / "j").write_bytes(whole.replace(b"sampled", b"smpled", 1))
    with pytest.raises(journal.JournalError, match="line 2 is damaged: mend it, or remove the file"):
        journal.Journal(tmp_path / "j", {"a": 1})
    (tmp_path / "j").write_bytes(whole)
    with pytest.raises(journal.JournalError, match=r"a 1 instead of 0\. Choose"):
        journal.Journal(tmp_path / "j", {"a": 0})
    with pytest.raises(journal.JournalError, match="a 1 instead of 2, b None instead of 3"):
        (tmp_path / "j").write_bytes(whole)
        journal.Journal(tmp_path / "j", {"a": 2, "b": 3})


def test_texts_are_what_decoding_adds_to_the_prompt() -> None:
    tokenizer = tiny.tokenizer()
    made = texts.Texts(tokenizer, {4: tokenizer("w1 w2")["input_ids"]})
    own = tokenizer("w3 w4")["input_ids"]
    drawn = sampling.Draw([*own, tokenizer.eos_token_id], -1.0, True)
    assert made((4, 0), drawn) == " w3 w4" and not made.differs("w1 w2", (4, 0), drawn)
    assert not made.differs("w1 w2", (4, 0), sampling.Draw(own, -1.0, False))
    dotted = tiny.tokenizer([*tiny.WORDS, "."])
    sentence = sampling.Draw(dotted("w3 . w4")["input_ids"], -1.0, False)
    assert texts.Texts(dotted, {0: dotted("w1")["input_ids"]})((0, 0), sentence) == " w3 . w4"  # spaces are as they are
    assert held_out._prompt({}, dotted("w3 . w4")["input_ids"], dotted) == "w3 . w4"
    reviews = preparation.imdb_prompts(tiny.Dataset.from_dict({"text": ["w3 . w4"]}), dotted, 2, 2)
    assert reviews["prompt"][:] == ["w3 ."]
    strange = sampling.Draw([own[0], tokenizer.pad_token_id, own[1]], -1.0, False)  # which no text is split into
    assert made.differs("w1 w2", (4, 0), strange)


def test_held_out_prompts_keep_their_pairs() -> None:
    pairs = [held_out.Given(place, [7], [8], [1], [1]) for place in (0, 2, 2, 1)]
    data = held_out.HeldOut("data", ["a", "b", "c"], [[1], [1, 2], [1, 2, 3]], pairs)
    assert data.first(None) is data and data.first(9) == data
    assert data.first(2).prompts == ["a", "b"] and [pair.prompt for pair in data.first(2).pairs] == [0, 1]
    some = data.only([2, 0])
    assert some.prompts == ["c", "a"] and [pair.prompt for pair in some.pairs] == [1, 0, 0]
    for longest, kept in ((3, 3), (2, 2), (1, 1)):
        found, remarks = data.with_room(longest, "drop")
        assert len(found.prompts) == kept and len(remarks) == (kept < 3)
        if kept < 3:
            words = f"data: {3 - kept} of 3 prompts have more than {longest} tokens"
            assert remarks[0].startswith(words) and remarks[0].endswith("; they are left out")
            with pytest.raises(ValueError, match=words):
                data.with_room(longest, "error")
    with pytest.raises(ValueError, match="data: 3 of 3 prompts have more than 0 tokens"):
        data.with_room(0, "drop")
