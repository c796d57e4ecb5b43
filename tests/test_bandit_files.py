"""Reading bandits: what files mean, and what is said of files that mean nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expo_analysis import Bandit
from expo_analysis.bandit_files import read_bandit, read_named_bandit

EXAMPLES = Path(__file__).parent.parent / "examples"
REFERENCE = [0.4, 0.4, 0.2]
OPTIMAL = [0.6, 0.3, 0.1]


@pytest.fixture
def write(tmp_path):
    """Write a file, text or bytes, and return its path."""

    def write(name, contents):
        path = tmp_path / name
        path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
        return path

    return write


def same(one: Bandit, other: Bandit) -> bool:
    def equal(name):
        a, b = getattr(one, name), getattr(other, name)
        return (a is None and b is None) or np.array_equal(a, b)

    return all(equal(name) for name in ("reference", "optimal", "pairs", "counts", "prompt_weights"))


# ---------------------------------------------------------------------------------------------------------------- JSON


def test_json_policies_on_one_prompt_and_on_several(write):
    assert same(read_bandit(EXAMPLES / "policies.json"), Bandit(np.array(REFERENCE), np.array(OPTIMAL)))

    data = {"reference": [REFERENCE, [0.2, 0.3, 0.5]], "optimal": [OPTIMAL, REFERENCE], "prompt_weights": [1, 3]}
    expected = Bandit(*(np.array(data[name]) for name in ("reference", "optimal")), prompt_weights=[1, 3])
    assert same(read_bandit(write("b.json", json.dumps(data))), expected)
    assert expected.prompt_weights.tolist() == [0.25, 0.75]


@pytest.mark.parametrize("pairs", ["reference", [[0, 1, 0], [1, 0, 2], [0, 2, 0]]])
def test_json_pairs(write, pairs):
    path = write("b.json", json.dumps({"reference": REFERENCE, "optimal": OPTIMAL, "pairs": pairs}))
    assert same(read_bandit(path), Bandit(np.array(REFERENCE), np.array(OPTIMAL), pairs))
    assert not same(read_bandit(path), Bandit(np.array(REFERENCE), np.array(OPTIMAL)))


def test_json_counts_as_a_matrix_and_as_a_list_of_matrices(write):
    counts = [[0, 7, 9], [3, 0, 6], [1, 4, 0]]
    assert same(read_bandit(EXAMPLES / "wins.json"), Bandit.from_counts(REFERENCE, counts))

    several = {"reference": [REFERENCE, OPTIMAL], "counts": [counts, np.transpose(counts).tolist()]}
    assert same(read_bandit(write("b.json", json.dumps(several))), Bandit.from_counts(**several))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ('{"reference": [0.5, 0.5],\n "optimal": }', r"malformed JSON: .*line 2 column 13"),
        ("[" * 100_000, "malformed JSON: nested too deeply"),
        (b'{"reference": "\xff"}', "is not UTF-8 text.*byte 15"),
        ("[0.5, 0.5]", "must hold one JSON object.*got an array"),
        ("true", "must hold one JSON object.*got true"),
        ('{"reference": [0.5, 0.5], "reference": [0.4, 0.6]}', "the key 'reference' is given twice"),
        ('{"reference": [0.5, 0.5], "optmal": [0.5, 0.5]}', "unknown key 'optmal'; accepted: .*'optimal'"),
        (
            '{"reference": [0.5, 0.5], "optimal": [0.5, 0.5], "counts": [[0, 1], [1, 0]]}',
            "unknown key 'optimal' beside",
        ),
        ('{"reference": [0.5, 0.5], "counts": [[0, 1], [1, 0]], "pairs": "uniform"}', "unknown key 'pairs' beside"),
        ('{"reference": [0.5, 0.5]}', r"the key 'optimal' \(or counts\) is missing"),
        ('{"counts": [[0, 1], [1, 0]]}', "the key 'reference' is missing"),
        ('{"reference": [0.5, 0.5], "optimal": null}', "optimal must be an array of numbers, got null"),
        ('{"reference": 0.5, "optimal": [0.5, 0.5]}', r"reference must be an array of numbers, got 0\.5"),
        ('{"reference": [0.5, "0.5"], "optimal": [0.5, 0.5]}', r'reference must be an array of numbers.* "0\.5"'),
        ('{"reference": [0.5, 0.5], "counts": [[0, true], [1, 0]]}', "counts must be an array of numbers.* true"),
        ('{"reference": [0.5, 0.5], "optimal": [0.5, {}]}', "optimal must be an array of numbers.* an object"),
        ('{"reference": [[0.5, 0.5], [1]], "optimal": [0.5, 0.5]}', "reference must be an array of numbers"),
        ('{"reference": [0.5, 0.6], "optimal": [0.5, 0.5]}', r"reference must sum to one.*got a sum of 1\.1"),
        ('{"reference": [0.5, 0.5], "optimal": [NaN, 0.5]}', "optimal must hold positive finite .* nan at index 0"),
        ('{"reference": [0.5, 0.5], "optimal": [0.5, 0.5], "pairs": "all"}', "pairs must be 'uniform', 'reference'"),
        ('{"reference": [0.5, 0.5], "counts": [[0, -1.5], [1, 0]]}', "counts must be non-negative and finite"),
        pytest.param(
            '{"reference": [0.5, 0.5], "counts": [[0, 1' + 400 * "0" + "], [1, 0]]}", "counts must be", id="400 digits"
        ),
    ],
)
def test_json_errors_name_the_file_and_the_key(write, text, message):
    path = write("b.json", text)
    with pytest.raises(ValueError, match=message) as caught:
        read_bandit(path)
    assert str(caught.value).startswith(f"{path}: ")


# ------------------------------------------------------------------------------------------------------------ policies


def test_csv_policies_with_prompts():
    named = read_named_bandit(EXAMPLES / "two_prompts.csv")
    assert named.responses == ("A", "B", "C")
    assert named.prompts == ("good", "bad")
    reference, optimal = np.array([[0.6, 0.3, 0.1], [0.4, 0.2, 0.4]]), np.array([[0.6, 0.3, 0.1], [0.6, 0.2, 0.2]])
    assert same(named.bandit, Bandit(reference, optimal))


def test_integers_are_indices_and_names_keep_the_order_of_the_file(write):
    rows = "\n".join(["{2},0.1,0.2", "{0},0.6,0.4", "{1},0.3,0.4"])
    header = "response,optimal,reference\n"
    indices = read_named_bandit(write("i.csv", header + rows.format(0, 1, 2)))
    assert indices.responses is None
    assert same(indices.bandit, Bandit(np.array(REFERENCE), np.array(OPTIMAL)))

    for labels in (("x", "y", "z"), ("1", "2", "3"), ("0", "1", "b")):
        named = read_named_bandit(write("n.csv", header + rows.format(*labels)))
        assert named.responses == (labels[2], labels[0], labels[1])
        assert_allclose(named.bandit.optimal, [0.1, 0.6, 0.3], rtol=1e-15)


def test_spreadsheet_habits_are_understood(write):
    text = "\ufeffresponse , reference, optimal\r\n x, 0.4, 0.6\r\n\r\n y, 0.6, 4e-1\r\n\r\n\r\n"
    named = read_named_bandit(write("B.CSV", text))
    assert named.responses == ("x", "y")
    assert same(named.bandit, Bandit(np.array([0.4, 0.6]), np.array([0.6, 0.4])))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("response,reference,optimal\n", "has a header and no rows"),
        (b"response,reference,optimal\n\xe9,0.5,0.5\n", "is not UTF-8 text"),
        ("response,reference\na,0.5\nb,0.5", "the column 'optimal' is missing; the header has 'response', 'reference'"),
        ("response;reference;optimal\na;0.5;0.5", "cells must be separated by commas, and these are by semicolons"),
        ("response\treference\toptimal\na\t0.5\t0.5", "cells must be separated by commas, and these are by tabs"),
        ("name,prior\na,0.5\nb,0.5", "must have the columns 'winner', 'loser' .* the header has 'name', 'prior'"),
        (
            "response,reference,optimal,promt\na,0.5,0.5,x\nb,0.5,0.5,y",
            "unknown column 'promt'; accepted: 'response', 'reference', 'optimal', 'prompt', 'reward', 'length'; did "
            "you mean 'prompt'",
        ),
        ("response,reference,optimal,optimal\na,0.5,0.5,0.5\nb,0.5,0.5,0.5", "the column 'optimal' is given twice"),
        ("response,reference,optimal, optimal\na,0.5,0.5,0.5\nb,0.5,0.5,0.5", "the column 'optimal' is given twice"),
        ("response,reference,optimal\na,0.5,0.5\nb,half,0.5", "row 3: reference must be a number, got 'half'"),
        ("response,reference,optimal\na,0.5,0.5\n\nb,0.5,nan", "row 4: optimal must be a number, got 'nan'"),
        ("response,reference,optimal\na,0.5,0.5\nb,0.5", "row 3: optimal must not be empty"),
        ("response,reference,optimal\n,0.5,0.5\nb,0.5,0.5", "row 2: response must not be empty"),
        ("response,reference,optimal\na,0.5,0.5,1\nb,0.5,0.5,1", r"row 2: has 4 cells, and the header has 3 \('resp"),
        ("response,reference,optimal\na,0.5,0.5\nb,0.5,0.5,1", "row 3: has 4 cells, .* cell with commas in it must be"),
        ('response,reference,optimal\na,0.5,0.5\n"b,0.5,0.5', "row 3: has a cell whose quotation mark is not closed$"),
        ("response,reference,optimal\na,0.5,0.5\na,0.5,0.5", "row 3: a row with this response came before"),
        ("response,reference,optimal\na,0.5,0.5\nb,0.6,0.5", r"reference must sum to one.*1\.1"),
        (
            "response,reference,optimal\na,1.5,0.5\nb,-0.5,0.5",
            "row 3: reference must be a positive finite number, got '-0.5'",
        ),
        (
            "prompt,response,reference,optimal\np,a,0.5,0.5\np,b,0.5,0.5\nq,a,0.5,0.5",
            "prompt 'q' has no row for response 'b'",
        ),
        (
            "prompt,response,reference,optimal\np,a,0.5,0.5\np,b,0.5,0.5\np,a,0.5,0.5",
            "row 4: a row with this prompt, response came before",
        ),
    ],
)
def test_csv_policies_errors_name_the_file_and_the_place(write, text, message):
    path = write("b.csv", text)
    with pytest.raises(ValueError, match=message) as caught:
        read_bandit(path)
    assert str(caught.value).startswith(f"{path}: ")


# ---------------------------------------------------------------------------------------------------------------- wins


def test_csv_wins_with_each_kind_of_reference(write):
    counts = np.array([[0, 7, 9], [3, 0, 6], [0, 0, 0]])
    named = read_named_bandit(EXAMPLES / "wins.csv", EXAMPLES / "reference.csv")
    assert named.responses == ("concise", "detailed", "evasive")
    assert named.prompts is None
    assert same(named.bandit, Bandit.from_counts(REFERENCE, counts))

    uniform = read_named_bandit(EXAMPLES / "wins.csv", "uniform")
    assert uniform.responses == ("concise", "detailed", "evasive")
    assert same(uniform.bandit, Bandit.from_counts(np.full(3, 1 / 3), counts))

    path = write("wins.csv", "winner,loser\n2,0\n0,2\n2,0\n")  # response 1 was never compared
    assert same(read_bandit(path, REFERENCE), Bandit.from_counts(REFERENCE, [[0, 0, 1], [0, 0, 0], [2, 0, 0]]))


def test_the_reference_file_sets_the_order_and_may_hold_policies(write):
    reference = write("r.csv", "response,reference,optimal\nb,0.3,0.5\na,0.7,0.5\n")
    named = read_named_bandit(write("wins.csv", "winner,loser,count\na,b,5\n"), reference)
    assert named.responses == ("b", "a")
    assert same(named.bandit, Bandit.from_counts([0.3, 0.7], [[0, 0], [5, 0]]))


def test_csv_wins_with_prompts(write):
    wins = write("wins.csv", "prompt,winner,loser,count\nq,a,b,5\np,b,a,2\nq,b,a,1\n")
    shared = read_named_bandit(wins, write("r.csv", "response,reference\na,0.3\nb,0.7\n"))
    assert shared.prompts == ("q", "p")
    assert same(shared.bandit, Bandit.from_counts([[0.3, 0.7]] * 2, [[[0, 5], [1, 0]], [[0, 0], [2, 0]]]))

    rows = "p,a,0.3\np,b,0.7\nq,a,0.6\nq,b,0.4\nunseen,a,0.5\nunseen,b,0.5\n"
    own = read_named_bandit(wins, write("r.csv", "prompt,response,reference\n" + rows))
    assert own.prompts == ("p", "q", "unseen")
    counts = [[[0, 0], [2, 0]], [[0, 5], [1, 0]], [[0, 0], [0, 0]]]
    assert same(own.bandit, Bandit.from_counts([[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]], counts))


@pytest.mark.parametrize(
    ("text", "reference", "message"),
    [
        ("winner,loser\n0,1", None, "win counts need a reference"),
        ("winner,count\n0,1", "uniform", "the column 'loser' is missing"),
        ("winner,loser,n\n0,1,2", "uniform", "unknown column 'n', which holds whole numbers: name it 'count' if"),
        ("winner,loser,cuont\n0,1,2", "uniform", "unknown column 'cuont'; accepted: .*; did you mean 'count'"),
        ("winner;loser\na;b", "uniform", "cells must be separated by commas, and these are by semicolons"),
        ("winner;loser\na;b", None, "cells must be separated by commas, and these are by semicolons"),
        ("winner|loser\na|b", "uniform", "cells must be separated by commas, and these are by bars"),
        ("name,rank\na,1", "uniform", "must have the columns 'winner', 'loser' .* the header has 'name', 'rank'"),
        ("winner,loser,count\n0,1,2\n1,0,many", "uniform", "row 3: count must be a number, got 'many'"),
        (
            "winner,loser,count\n0,1,2\n1,0,-1",
            "uniform",
            "row 3: count must be a finite number of at least 0, got '-1'",
        ),
        ("winner,loser,count\n0,1,inf", "uniform", "row 2: count must be a finite number of at least 0, got 'inf'"),
        ("winner,loser,count\n0,1,2\n1,0,1\n0,1,2", "uniform", "row 4: a row with this winner, loser came before"),
        ("winner,loser,count\n0,1,0", "uniform", "counts must hold at least one comparison"),
        ("winner,loser\n0,0", "uniform", "row 2: winner and loser must differ"),
        ("winner,loser\n0,1\n,1", "uniform", "row 3: winner must not be empty"),
        ("winner,loser\n0,2", "uniform", r"uniform reference needs responses 0 ... n-1 or 1 ... n.*got '0', '2'"),
        ("winner,loser\n1,3\n3,10", "uniform", "uniform reference needs responses .* names; got '1', '3', '10'"),
        (
            "winner,loser\n0,1\n1,2",
            [0.5, 0.5],
            "row 3: loser must be one of '0', '1', as in a reference of 2 probabilities, .* numbered from 0, got",
        ),
        ("winner,loser\na,b", [0.5, 0.5], "row 2: winner must be one of '0', '1',.* got 'a'"),
    ],
)
def test_csv_wins_errors_name_the_file_and_the_place(write, text, reference, message):
    path = write("wins.csv", text)
    with pytest.raises(ValueError, match=message) as caught:
        read_bandit(path, reference)
    assert str(caught.value).startswith(f"{path}: ")


def test_players_may_be_numbered_from_1(write):
    """They are names then, in the order of their numbers; with 0 among them they are indices, as ever."""
    rows = "".join(f"{i % 12 + 1},{(i + 1) % 12 + 1}\n" for i in range(12))
    named = read_named_bandit(write("wins.csv", "winner,loser\n" + rows), "uniform")
    assert named.responses == tuple(str(i + 1) for i in range(12))
    counts = np.zeros((12, 12))
    counts[np.arange(12), (np.arange(12) + 1) % 12] = 1
    assert same(named.bandit, Bandit.from_counts(np.full(12, 1 / 12), counts))
    assert read_named_bandit(write("wins.csv", "winner,loser\n1,0\n"), "uniform").responses is None


def test_a_column_that_says_nothing_of_wins_is_not_read(write):
    """Such as a date. It tells rows apart, though: two days with counts of their own add up."""
    days = "winner,loser,date,count\na,b,2026-01-01,2\na,b,2026-01-02,3\n"
    with pytest.warns(UserWarning, match=r"wins\.csv: not read: 'date'; read: 'winner', 'loser', 'count', 'prompt'"):
        bandit = read_bandit(write("wins.csv", days), "uniform")
    assert same(bandit, Bandit.from_counts([0.5, 0.5], [[0, 5], [0, 0]]))
    with pytest.warns(UserWarning, match="not read: 'date'"):
        bandit = read_bandit(write("wins.csv", "winner,loser,date\na,b,2026-01-01\na,b,\n"), "uniform")
    assert same(bandit, Bandit.from_counts([0.5, 0.5], [[0, 2], [0, 0]]))
    with pytest.raises(ValueError, match="row 4: a row with this winner, loser came before"):
        read_bandit(write("wins.csv", days + "a,b,2026-01-02,3\n"), "uniform")
    with pytest.warns(UserWarning, match="not read: 'text'"):
        named = read_named_bandit(write("b.csv", "response,text,reference,optimal\nx,Hi,0.4,0.6\ny,Bye,0.6,0.4\n"))
    assert named.responses == ("x", "y") and same(named.bandit, Bandit([0.4, 0.6], [0.6, 0.4]))


def test_faults_of_the_reference_are_blamed_on_the_reference(write):
    wins = write("wins.csv", "winner,loser\na,b\n")
    for text, message in {
        "response,reference\na,0.3\nb,0.6": "reference must sum to one",
        "response,reference\na,0.3\na,0.7": "row 3: a row with this response came before",
        "response\na\nb": "the column 'reference' is missing",
    }.items():
        reference = write("r.csv", text)
        with pytest.raises(ValueError, match=message) as caught:
            read_bandit(wins, reference)
        assert str(caught.value).startswith(f"{reference}: ")
    with pytest.raises(ValueError, match=r"^reference must sum to one"):
        read_bandit(wins, [0.3, 0.6])
    with pytest.raises(ValueError, match=r"^reference must have shape \(n,\)"):
        read_bandit(wins, [[0.3, 0.7]])

    reference = write("r.csv", "response,reference\na,0.3\nc,0.7")
    with pytest.raises(ValueError, match=r"wins.csv: row 2: loser must be one of 'a', 'c', as in .*r.csv, got 'b'"):
        read_bandit(wins, reference)
    reference = write("r.csv", "prompt,response,reference\np,a,0.3\np,b,0.7")
    with pytest.raises(ValueError, match=r"wins.csv: the column 'prompt' is missing, though .*r.csv has it"):
        read_bandit(wins, reference)


# -------------------------------------------------------------------------------------------------------------- either


@pytest.mark.parametrize("name", ["policies.json", "wins.json", "two_prompts.csv"])
def test_a_second_reference_is_refused(name):
    with pytest.raises(ValueError, match="reference is not used, as this file has its own"):
        read_bandit(EXAMPLES / name, "uniform")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.csv", "response;reference\na;1", "cells must be separated by commas"),
        ("b.csv", "a,b\n1,2", "must have the columns"),
        ("b.csv", "response,optimal\na,1", "the column 'reference' is missing"),
        ("b.json", "{", "malformed JSON"),
        ("b.json", '{"optimal": [0.5, 0.5]}', "the key 'reference' is missing"),
    ],
)
def test_a_file_is_said_to_have_its_own_reference_only_where_it_has_one(write, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_bandit(write(name, text), "uniform")


def test_the_former_name_still_imports():
    from expo_analysis import bandit_io

    assert bandit_io.read_bandit is read_bandit and bandit_io.read_named_bandit is read_named_bandit


def test_files_that_cannot_be_read(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"missing\.json"):
        read_bandit(tmp_path / "missing.json")
    (tmp_path / "directory.csv").mkdir()
    with pytest.raises(IsADirectoryError, match=r"directory\.csv"):
        read_bandit(tmp_path / "directory.csv")
    with pytest.raises(ValueError, match=r"b\.txt: the name of a bandit's file must end in \.json, .* or \.parquet"):
        read_bandit(write("b.txt", "{}"))
