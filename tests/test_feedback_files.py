"""Every kind of feedback from files: labels and scores of single responses, rankings, triples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

import expo_analysis as ea

REFERENCE = np.array([0.5, 0.3, 0.15, 0.05])

TABLES: dict[str, tuple[pd.DataFrame, str, str]] = {
    "labels": (
        pd.DataFrame({"response": ["a", "a", "b", "c", "c"], "label": ["up", "down", "down", "up", "down"]}),
        "label",
        "label must be true or false, 1 or 0, up or down, good or bad",
    ),
    "scores": (
        pd.DataFrame({"response": ["a", "b", "c"], "score": ["1.0", "-2", "0.5"]}),
        "score",
        "score must be a number",
    ),
    "rankings": (pd.DataFrame({"ranking": ["a > b > c", "c > a", "b > c"]}), "ranking", "ranking must be two distinct"),
    "triples": (
        pd.DataFrame({"third": ["a", "b", "c"], "winner": ["b", "c", "a"], "loser": ["c", "a", "b"]}),
        "third",
        "third must not be empty",
    ),
}
LOSSES = {
    "labels": ea.BCO(1.0),
    "scores": ea.AStarPO(1.0),
    "rankings": ea.PlackettLuceEXPO(1.0),
    "triples": ea.TPO(1.0),
}


def written(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(frame.to_dict("records")))
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
@pytest.mark.parametrize("kind", TABLES)
def test_each_kind_from_files(kind: str, ending: str, tmp_path: Path) -> None:
    frame, column, message = TABLES[kind]
    bandit = ea.read_bandit(written(frame, tmp_path / f"good{ending}"), "uniform")
    assert bandit.responses == ("a", "b", "c")
    made = {
        "labels": lambda: ea.Bandit.from_labels("uniform", [1, 0, 1], [1, 1, 1], responses=list("abc")),
        "scores": lambda: ea.Bandit.from_scores("uniform", [1, -2, 0.5], responses=list("abc")),
        "rankings": lambda: ea.Bandit.from_rankings(
            "uniform", [list("abc"), list("ca"), list("bc")], responses=list("abc")
        ),
        "triples": lambda: ea.Bandit.from_triples(
            "uniform", [list("abc"), list("bca"), list("cab")], responses=list("abc")
        ),
    }[kind]()
    log_policy = np.log([0.2, 0.3, 0.5])
    assert ea.risk(LOSSES[kind], bandit, log_policy) == pytest.approx(
        ea.risk(LOSSES[kind], made, log_policy), rel=1e-14
    )
    wrong = frame.copy()
    wrong.loc[1, column] = "" if kind == "triples" else "?"
    path = written(wrong, tmp_path / f"wrong{ending}")
    with pytest.raises(ValueError, match=message) as caught:
        ea.read_bandit(path, "uniform")
    row = 3 if ending == ".csv" else 2
    assert str(caught.value).startswith(f"{path}: row {row}: ") and "\n" not in str(caught.value)


def test_json_objects_of_each_kind(tmp_path: Path) -> None:
    path = tmp_path / "bandit.json"

    def read(**keys: Any) -> ea.Bandit:
        path.write_text(json.dumps({"reference": [0.5, 0.3, 0.2], **keys}))
        return ea.read_bandit(path)

    assert read(liked=[1, 2, 3], disliked=[1, 0, 1]).liked.tolist() == [1, 2, 3]
    assert read(rewards=[1, 2, 3]).rewards.tolist() == [1, 2, 3]
    ranked = read(rankings=[["a", "b"], ["c"]], sets=[["a", "b"], ["a", "c"]], responses=["a", "b", "c"])
    assert ranked.counts.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert read(triples=[[0, 1, 2]], weights=[2]).triples.third.tolist() == [0]
    for keys, message in (
        ({"liked": [1, 2, 3]}, "disliked"),
        ({"rankings": [[0, 1], 2]}, "rankings must be an array of arrays, but entry 1 is 2"),
        ({"rankings": [[0, 0.5]]}, r"hold names of responses, or numbers from 0 on, but holds 0\.5 at index \(0, 1\)"),
        ({"triples": [[0, 1]]}, r"triple 0 must be \(third, winner, loser\)"),
        ({"liked": [1, 2], "disliked": [1, 0]}, "liked must have shape"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            read(**keys)
        assert str(caught.value).startswith(f"{path}: ")


def test_triples_of_another_models_responses(tmp_path: Path) -> None:
    """The third never wins or loses: files have the responses of `from_triples`, and prompts their own if they may."""
    rows = [("m", "a", "b"), ("m", "b", "a"), ("n", "a", "b"), ("x", "y", "z"), ("w", "z", "y")]
    prompts = ["p", "p", "p", "q", "q"]
    log_policy = np.log(np.random.default_rng(0).dirichlet(np.ones(8)))
    made = ea.Bandit.from_triples("uniform", rows, responses=sorted("abmnwxyz"))
    frame = pd.DataFrame(rows, columns=["third", "winner", "loser"])
    for ending in (".csv", ".json", ".parquet"):
        read = ea.read_bandit(written(frame, tmp_path / f"t{ending}"), "uniform")
        assert read.responses == made.responses
        for loss in (ea.WRPO(1.0), ea.TPO(1.0), ea.DPO(1.0)):
            assert ea.risk(loss, read, log_policy) == pytest.approx(ea.risk(loss, made, log_policy), rel=1e-14)
        shared = ea.read_bandit(written(frame.assign(prompt=prompts), tmp_path / f"p{ending}"), "uniform")
        assert shared.responses == made.responses and shared.prompt_names == ("p", "q")
        own = frame.rename(columns={"winner": "chosen", "loser": "rejected"}).assign(prompt=prompts)
        parts = ea.read_ragged_bandit(written(own, tmp_path / f"o{ending}"), "uniform")
        assert [part.responses for part in parts] == [tuple("abmn"), tuple("wxyz")]
        for part, mine, at in zip(parts, (rows[:3], rows[3:]), (slice(0, 4), slice(4, 8)), strict=True):
            alone = ea.Bandit.from_triples("uniform", mine, responses=part.responses)
            policy = log_policy[at] - logsumexp(log_policy[at])
            assert ea.risk(ea.WRPO(1.0), part, policy)[0] == pytest.approx(
                ea.risk(ea.WRPO(1.0), alone, policy), rel=1e-14
            )


def test_ties_in_rankings_are_half_wins(tmp_path: Path) -> None:
    """A list in a ranking, in any of its forms, is what `a > b = c` is in a file; with sets, others come behind."""
    path = tmp_path / "r.csv"
    path.write_text("ranking,weight\na > b = c > d,2\nd = a > b,1\n")
    read = ea.read_bandit(path, "uniform")
    for one, other in ((["b", "c"], ["d", "a"]), (("b", "c"), {"a", "d"}), (np.array(["b", "c"]).tolist(), ("d", "a"))):
        listed = ea.Bandit.from_rankings(
            "uniform", [["a", one, "d"], [other, "b"]], weights=[2, 1], responses=list("abcd")
        )
        np.testing.assert_array_equal(listed.counts, read.counts)
        np.testing.assert_array_equal(listed.ties, read.ties)
        assert listed.choices is None
    names = [("x", 1), ("x", 2), ("x", 3)]  # a tuple that is a name is one response
    named = ea.Bandit.from_rankings("uniform", [names], responses=names)
    assert named.choices is not None and named.counts.sum() == 3
    behind = ea.Bandit.from_rankings(REFERENCE, [[[0, 1]]], sets=[range(4)])
    np.testing.assert_array_equal(behind.counts, [[0, 0.5, 1, 1], [0.5, 0, 1, 1], [0] * 4, [0] * 4])
    path = tmp_path / "r.json"
    path.write_text('{"reference": [0.5, 0.25, 0.25], "rankings": [[0, [1, 2]]]}')
    np.testing.assert_array_equal(ea.read_bandit(path).counts, [[0, 1, 1], [0, 0, 0.5], [0, 0.5, 0]])
