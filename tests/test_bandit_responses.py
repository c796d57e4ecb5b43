"""What tables say of responses: those of each prompt, their scores, margins and labels, and names."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import expo_analysis as ea
from expo_analysis.bandit.comparisons import REWARDS
from expo_analysis.bandit.files import read_named_bandits

from .table_files import FORMATS, Write, frame, writer

ROOT = Path(__file__).parents[1]
FILES = Path(__file__).parent / "files"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


def test_scored_pairs_have_prompts_with_their_own_responses() -> None:
    parts = ea.read_ragged_bandit(FILES / "scored_pairs.jsonl", "uniform")
    assert [part.n for part in parts] == [3, 2, 3, 2] and parts.prompts == 4
    first = parts.parts[0]
    assert first.prompt_names == ("Write a haiku about rain.",)
    assert first.responses is not None and first.responses[0] == "I cannot write poems."
    np.testing.assert_array_equal(first.rewards, [[1.0, 4.0, 8.5]])
    with pytest.raises(ValueError, match="prompts have different responses: use read_ragged_bandit"):
        ea.read_bandit(FILES / "scored_pairs.jsonl", "uniform")
    given = pd.read_json(FILES / "scored_pairs.jsonl", lines=True)
    with pytest.raises(ValueError, match=r"prompts have different responses: use RaggedBandit\.from_comparisons"):
        ea.Bandit.from_comparisons("uniform", given)
    again = ea.RaggedBandit.from_comparisons("uniform", given)
    for part, other in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part.counts, other.counts)
        np.testing.assert_array_equal(part.rewards, other.rewards)
        assert part.responses == other.responses
    np.testing.assert_allclose(again.weights, [12 / 32, 4 / 32, 12 / 32, 4 / 32])


def test_scores_are_averaged_and_may_be_missing() -> None:
    header = "chosen,rejected,chosen_score,rejected_score,weight"
    rows = [("a", "b", 1.0, 0.0, 1), ("b", "a", 3.0, None, 1), ("a", "c", 2.0, None, 3)]
    bandit = ea.Bandit.from_comparisons("uniform", frame(header, *rows))
    np.testing.assert_allclose(bandit.rewards, [(1 + 3 * 2) / 4, 1.5, np.nan])


def test_policies_of_prompts_with_different_responses() -> None:
    short, long = ea.read_ragged_bandit(FILES / "prompts.csv")
    assert (short.responses, long.responses) == (("yes", "no"), ("essay", "list", "refusal"))
    assert (short.prompt_names, long.prompt_names) == (("short",), ("open",))
    np.testing.assert_array_equal(long.rewards, [[2.0, 2.5, -1.0]])
    np.testing.assert_array_equal(long.lengths, [[310, 120, 12]])
    np.testing.assert_array_equal(long.optimal, [[0.2, 0.5, 0.3]])


def test_as_many_responses_are_not_the_same_responses(write: Write) -> None:
    rows = [("p", "a", 0.5, 0.6), ("p", "b", 0.5, 0.4), ("q", "a", 0.3, 0.2), ("q", "c", 0.7, 0.8)]
    first, second = ea.read_ragged_bandit(write("b.csv", frame("prompt,response,reference,optimal", *rows)))
    assert (first.responses, second.responses) == (("a", "b"), ("a", "c"))
    np.testing.assert_array_equal(second.optimal, [[0.2, 0.8]])


def test_a_reference_of_prompts_with_different_responses(write: Write) -> None:
    rows = [
        ("p", "a", 0.5),
        ("p", "b", 0.5),
        ("q", "a", 0.2),
        ("q", "b", 0.3),
        ("q", "c", 0.5),
        ("r", "b", 0.6),
        ("r", "a", 0.4),
    ]
    reference = write("r.csv", frame("prompt,response,reference", *rows))
    wins = frame("prompt,winner,loser", ("q", "c", "a"), ("p", "a", "b"), ("r", "b", "a"), ("r", "b", "a"))
    two, three = ea.read_ragged_bandit(write("w.csv", wins), reference)
    assert (two.prompt_names, two.responses) == (("p", "r"), ("a", "b"))
    np.testing.assert_array_equal(two.reference, [[0.5, 0.5], [0.4, 0.6]])
    np.testing.assert_array_equal(two.counts, [[[0, 1], [0, 0]], [[0, 0], [2, 0]]])
    np.testing.assert_array_equal(three.counts, [[[0, 0, 0], [0, 0, 0], [1, 0, 0]]])
    battles = frame("prompt,model_a,model_b,winner", ("p", "a", "b", "tie"), ("q", "a", "b", "model_a"))
    tied, won = ea.read_ragged_bandit(write("w.csv", battles), reference)  # a tie alone is a comparison
    np.testing.assert_array_equal(tied.counts, [[[0, 0.5], [0.5, 0]], np.zeros((2, 2))])
    assert np.sum(won.counts) == 1
    with pytest.raises(ValueError, match=r"w\.csv: prompt 'p', 'r' has no comparison"):
        ea.read_ragged_bandit(write("w.csv", battles), reference, ties="drop")
    stray = pd.concat([wins, frame("prompt,winner,loser", ("p", "c", "a"))])
    with pytest.raises(ValueError, match=r"w\.csv: row 6: winner must be one of 'a', 'b', as in .*r\.csv, got 'c'"):
        ea.read_ragged_bandit(write("w.csv", stray), reference)
    with pytest.raises(ValueError, match=r"w\.csv: prompt 'q' has no comparison: leave it out of the reference"):
        ea.read_ragged_bandit(write("w.csv", wins[1:]), reference)
    short = write("r.csv", frame("prompt,response,reference", *rows[:4], *rows[5:]))
    with pytest.raises(
        ValueError, match=r"r\.csv: prompt 'q': reference must sum to one within 1e-06, got a sum of 0\.5"
    ):
        ea.read_ragged_bandit(write("w.csv", wins), short)


def battles(prompts: int, seed: int = 0) -> pd.DataFrame:
    """Battles with weights and ties, on prompts of two to five players out of seven; rows in no order."""
    rng = np.random.default_rng(seed)
    rows = []
    for x in range(prompts):
        players = rng.choice(list("abcdefg"), size=rng.integers(2, 6), replace=False)
        for _ in range(6):
            winner, loser = rng.choice(players, size=2, replace=False)
            rows.append((f"prompt {x}", winner, loser, float(rng.integers(1, 4)), bool(rng.random() < 0.3)))
    return frame("prompt,winner,loser,weight,tie", *rows).sample(frac=1, random_state=seed)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl.gz", ".parquet"])
def test_battles_with_prompts_are_among_those_who_fought_on_them(write: Write, suffix: str) -> None:
    """Each prompt is what its rows alone are: a wrong row, a lost weight or tie, or a wrong prompt would show."""
    given = battles(20)
    path = write(f"battles{suffix}", given)
    for ragged in (ea.RaggedBandit.from_comparisons("uniform", given), ea.read_ragged_bandit(path, "uniform")):
        prompts = [name for part in ragged for name in part.prompt_names or ()]
        assert sorted(prompts) == sorted(set(given["prompt"])) and len(ragged) > 5
        weights = dict(zip(prompts, ragged.weights, strict=True))
        for part in ragged:
            for x, name in enumerate(part.prompt_names or ()):
                rows = given[given["prompt"] == name].drop(columns="prompt")
                alone = ea.Bandit.from_comparisons("uniform", rows)
                assert part.responses == alone.responses
                np.testing.assert_array_equal(part.counts[x], alone.counts)
                tied = np.zeros_like(alone.counts) if part.ties is None else part.ties[x]
                np.testing.assert_array_equal(tied, 0 if alone.ties is None else alone.ties)
                assert weights[name] == pytest.approx(rows["weight"].sum() / given["weight"].sum(), rel=1e-12)


def test_rankings_with_prompts_keep_their_own(write: Write) -> None:
    rows = [("p", "a > b > c", 2), ("q", "b > a", 1), ("p", "c > a > b", 1), ("r", "b > d", 5)]
    path = write("r.csv", frame("prompt,ranking,weight", *rows))
    parts = ea.read_ragged_bandit(path, "uniform")
    assert [(part.prompt_names, part.responses) for part in parts] == [
        (("p",), ("a", "b", "c")),
        (("q",), ("a", "b")),
        (("r",), ("b", "d")),
    ]
    for part, name in zip(parts, "pqr", strict=True):
        own = [(ranking.split(" > "), weight) for prompt, ranking, weight in rows if prompt == name]
        lists, weights = [one for one, _ in own], [float(weight) for _, weight in own]
        alone = ea.Bandit.from_rankings("uniform", lists, weights=weights, responses=part.responses)
        np.testing.assert_array_equal(part.counts[0], alone.counts)
        loss = ea.PlackettLuceEXPO(0.3)
        np.testing.assert_allclose(ea.solve(loss, part).policy[0], ea.solve(loss, alone).policy, rtol=1e-12)


def test_a_bandit_and_a_reference_give_all_prompts_the_same_responses() -> None:
    given = battles(10)
    shared = ea.Bandit.from_comparisons("uniform", given)
    assert shared.prompts == 10 and shared.n == 7
    listed = pd.Series(np.full(7, 1 / 7), index=list("abcdefg"))
    [part] = ea.RaggedBandit.from_comparisons(listed, given)
    np.testing.assert_array_equal(part.counts, shared.counts)


def test_battles_with_prompts_that_are_wrong(write: Write) -> None:
    rows = [("p", "a", "b", 1, True), ("q", "a", "b", 1, False), ("q", "b", "c", 1, False)]
    given = frame("prompt,winner,loser,weight,tie", *rows)
    make = ea.RaggedBandit.from_comparisons
    with pytest.raises(ValueError, match=r"prompt 'p' has no comparison, as ties are dropped: leave out its rows"):
        make("uniform", given, ties="drop")
    with pytest.raises(ValueError, match=r"prompt 'p' has no comparison: leave out its rows"):
        make("uniform", given.assign(weight=[0, 1, 1]))
    with pytest.raises(ValueError, match=r"w\.csv: row 3: prompt must not be empty"):
        ea.read_ragged_bandit(write("w.csv", given.assign(prompt=["p", "", "q"])), "uniform")
    with pytest.raises(ValueError, match=r"comparisons have no prompt: RaggedBandit\.from_comparisons"):
        ea.Comparisons.from_frame(given)
    with pytest.warns(UserWarning, match="not read: 'question'"):  # a column by another name is not silently left out
        ea.Comparisons.from_frame(given.rename(columns={"prompt": "question"}))


def test_tables_that_no_memory_holds_are_refused_before_they_are_made() -> None:
    many = np.arange(5_001)
    wide = pd.DataFrame({"prompt": "p", "winner": many, "loser": (many + 1) % 5_001})
    with pytest.raises(ValueError, match=r"prompt 'p' has 5,001 responses, too many for a Bandit, which takes 5,000: "):
        ea.RaggedBandit.from_comparisons("uniform", wide)
    with pytest.raises(ValueError, match=r"there are 5,001 responses, too many for a .*: make Comparisons of them"):
        ea.Bandit.from_comparisons("uniform", wide.drop(columns="prompt"))
    x = np.repeat(np.arange(4_000), 2)
    winner = np.arange(8_000) % 1_000
    sparse = pd.DataFrame({"prompt": x, "winner": winner, "loser": winner ^ 1})
    with pytest.raises(ValueError, match=r"1,000 responses on each of 4,000 prompts are too many: a RaggedBandit has"):
        ea.Bandit.from_comparisons("uniform", sparse)
    assert ea.RaggedBandit.from_comparisons("uniform", sparse).prompts == 4_000


def test_json_of_every_key(tmp_path: Path) -> None:
    path = tmp_path / "b.json"

    def read(value: Any) -> ea.RaggedBandit:
        path.write_text(json.dumps(value))
        return ea.read_ragged_bandit(path)

    names = {"responses": ["x", "007"], "rewards": [1, None], "lengths": [3, 4]}
    [counted] = read({"reference": "uniform", "counts": [[0, 1.5], [1, 0]], "ties": [[0, 1], [1, 0]], **names})
    np.testing.assert_array_equal(counted.counts, [[0, 2], [1.5, 0]])
    np.testing.assert_array_equal(counted.rewards, [1, np.nan])
    assert counted.responses == ("x", "007") and counted.lengths is not None and counted.lengths.tolist() == [3, 4]
    [stated] = read({"reference": [0.5, 0.5], "preference": [[0.5, 0.9], [0.1, 0.5]], "pairs": "reference"})
    np.testing.assert_array_equal(stated.preference, [[0.5, 0.9], [0.1, 0.5]])
    two, three = read(
        {
            "reference": [[0.5, 0.5], [0.2, 0.3, 0.5]],
            "optimal": [[0.6, 0.4], [0.1, 0.1, 0.8]],
            "responses": [["yes", "no"], ["a", "b", "c"]],
            "prompts": ["short", "long"],
            "prompt_weights": [3, 1],
            "pairs": "uniform",
        }
    )
    assert two.responses == ("yes", "no") and three.prompt_names == ("long",)
    np.testing.assert_array_equal(three.optimal, [[0.1, 0.1, 0.8]])
    same_size = {"reference": [[0.5, 0.5]] * 2, "optimal": [[0.6, 0.4]] * 2, "responses": [["a", "b"], ["c", "d"]]}
    assert [part.responses for part in read(same_size)] == [("a", "b"), ("c", "d")]
    ragged = {"reference": [[0.5, 0.5], [0.2, 0.3, 0.5]]}
    for value, message in (
        ({**ragged, "optimal": [[0.6, 0.4]]}, "optimal must have an entry for each of 2 prompts, got 1"),
        (
            {**ragged, "optimal": [[0.6, 0.4], [0.5, 0.5]]},
            r"prompt '1': optimal must have the shape of reference, \(1, 3\); got \(1, 2\)",
        ),
        (
            {**ragged, "optimal": ragged["reference"], "prompts": ["p"]},
            "json: prompts must have an entry for each of 2",
        ),
        ({"reference": "uniform", "responses": ["a", "b"]}, r"the key 'optimal' \(or counts\) is missing"),
        (
            {"reference": "even", "optimal": [0.5, 0.5]},
            "reference must be an array of numbers or 'uniform', got 'even'",
        ),
        (
            {"reference": [0.5, 0.5], "optimal": [0.5, 0.5], "responses": [1, True]},
            "responses must be an array of names, but holds true at index 1",
        ),
        (
            {"reference": [0.5, 0.5], "counts": [[0, 1], ["3", 0]]},
            r'counts .* numbers, but holds "3" at index \(1, 0\)',
        ),
        ({"reference": [0.5, 0.25, 0.25], "rewards": [1, 2]}, r"rewards must have shape \(3,\), got \(2,\)"),
        (
            {"reference": [0.5, 0.5], "rankings": [[0, 1], [0, -1]]},
            r"numbers from 0 on, but holds -1 at index \(1, 1\)",
        ),
        ({"reference": [[0.5, 0.5]], "rankings": [[0, 1]]}, "ranking_prompts must be given for a bandit with prompts"),
        (
            {"reference": [0.5, 0.5], "triples": [[0, 1, 1]]},
            r"triple 0 must have a winner and a loser that differ, got",
        ),
        (
            {"reference": [0.5, 0.5], "optimal": [0.5, 0.5], "lengths": [1, None]},
            "lengths must be an array of numbers, but",
        ),
        (
            {"reference": [0.5, 0.5], "optimal": [0.5, 0.5], "ties": [[0, 1], [1, 0]]},
            "unknown key 'ties' beside optimal",
        ),
        (
            {"reference": [0.5, 0.5], "optimal": [0.5, 0.5], "responses": ["a", "a"]},
            "must have distinct names, got 'a'",
        ),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            read(value)
        assert str(caught.value).startswith(f"{path}: ")


# --------------------------------------------------------------------------------------------------- thumbs up or down


def test_labels_of_single_responses_are_read(write: Write) -> None:
    found = ea.read_bandit(FILES / "thumbs.csv", "uniform")
    given = pd.read_csv(FILES / "thumbs.csv")
    assert set(found.prompt_names) == set(given.prompt) and set(found.responses) == set(given.completion)
    for x, prompt in enumerate(found.prompt_names):
        for y, response in enumerate(found.responses):
            own = given[(given.prompt == prompt) & (given.completion == response)].label
            assert (found.liked[x, y], found.disliked[x, y]) == (own.sum(), (~own).sum())
    rows = [("a", True), ("a", False), ("b", True)]
    for kind in FORMATS:
        for labelled in (rows, [(name, float(good)) for name, good in rows]):  # as pandas keeps them beside a gap
            labels = ea.read_bandit(write(f"t{kind}", frame("response,label", *labelled)), "uniform")
            assert (labels.liked.tolist(), labels.disliked.tolist()) == ([1, 1], [1, 0])
    weighted = frame("response,label,weight", ("a", "up", 0.5), ("a", "Bad", 2), ("b", "up", 1))
    labels = ea.read_bandit(write("t.csv", weighted), "uniform")
    assert (labels.liked.tolist(), labels.disliked.tolist()) == ([0.5, 1], [2, 0])


def test_names_of_parts_reach_the_command_line() -> None:
    named = read_named_bandits(FILES / "prompts.csv")
    assert [(one.prompts, one.responses) for one in named] == [
        (("short",), ("yes", "no")),
        (("open",), ("essay", "list", "refusal")),
    ]
    [alone] = read_named_bandits(ROOT / "examples" / "policies.json")
    assert alone.responses is None and alone.prompts is None


@pytest.mark.parametrize("seed", range(5))
def test_margins_are_differences_of_rewards(seed: int, write: Write) -> None:
    """Of any rewards: given back up to their mean over the responses that margins join, whichever rows come first."""
    rng = np.random.default_rng([7, seed])
    scale = 10.0 ** rng.uniform(-6, 6)
    known = {prompt: dict(zip("abcdef", scale * rng.normal(size=6), strict=True)) for prompt in ("p", "q")}
    joined = {"p": ["abcdef"], "q": ["abc", "de"]}  # f is not compared on q
    rows = [
        (x, one, other, known[x][one] - known[x][other])
        for x, parts in joined.items()
        for part in parts
        for one, other in [*pairwise(part), *(rng.permutation(list(part))[:2] for _ in range(6))]
    ]
    rows = [rows[k] for k in rng.permutation(len(rows))]
    given = frame("prompt,winner,loser,margin", *rows)
    with pytest.warns(UserWarning, match="no margin tells .* on prompt 'q': each of 2 parts has rewards of mean 0"):
        bandit = ea.read_bandit(write("m.parquet", given), "uniform")
    expected = {
        (x, y): known[x][y] - np.mean([known[x][z] for z in part])
        for x, parts in joined.items()
        for part in parts
        for y in part
    }
    wanted = [[expected.get((x, y), np.nan) for y in "abcdef"] for x in bandit.prompt_names or ()]
    np.testing.assert_allclose(bandit.rewards, wanted, rtol=1e-12, atol=1e-12 * scale)
    # each prompt alone, with responses of its own, and a loss that reads differences
    one = given[given.prompt == "p"].rename(columns={"winner": "chosen", "loser": "rejected"})
    [part] = ea.RaggedBandit.from_comparisons("uniform", one)
    ours = part.rewards / scale
    scored = ea.Bandit.from_counts("uniform", part.counts, rewards=[[known["p"][y] / scale for y in "abcdef"]])
    halved = ea.Bandit.from_counts("uniform", part.counts, rewards=ours)
    np.testing.assert_allclose(
        ea.solve(ea.REBEL(1.0), halved).policy, ea.solve(ea.REBEL(1.0), scored).policy, rtol=1e-9
    )
    # a row without a margin, or without weight, says nothing of rewards
    more = pd.concat([one, one.iloc[:1].assign(margin=np.nan)]).assign(weight=1.0)
    more = pd.concat([more, more.iloc[:1].assign(margin=99 * scale, weight=0.0)])
    [again] = ea.RaggedBandit.from_comparisons("uniform", more)
    np.testing.assert_allclose(again.rewards, part.rewards, rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("names", REWARDS, ids=" ".join)
def test_rewards_by_each_of_their_names(names: tuple[str, str]) -> None:
    bandit = ea.Bandit.from_comparisons(
        "uniform", frame(",".join(("chosen", "rejected", *names)), ("x", "y", 2.5, -1.0))
    )
    np.testing.assert_array_equal(bandit.rewards, [2.5, -1.0])
