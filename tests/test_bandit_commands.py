"""The commands of docs/bandits.md and howto/ties.md: each solves its file as `solve` does what is counted by hand."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.cli import app

ROOT = Path(__file__).parents[1]
FILES = Path(__file__).parent / "files"

TEXTS = [(ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("bandits.md", "howto/ties.md")]
COMMANDS = sorted({line for text in TEXTS for line in re.findall(r"^\$ expo-analysis (.+)$", text, flags=re.M)})


def test_the_docs_solve_every_file() -> None:
    shown = {word for line in COMMANDS for word in line.split() if word.startswith("tests/files/")}
    assert shown == {f"tests/files/{path.name}" for path in FILES.iterdir() if path.is_file()}
    assert len(shown) >= 6


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_docs_solves_its_file(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends well, and its policies are those of `solve` on the comparisons counted by hand, below."""
    monkeypatch.chdir(ROOT)
    words = line.split()
    result = CliRunner().invoke(app, [*words, *([] if "--json" in words else ["--json"])])
    assert result.exit_code == 0, result.stderr
    assert all(note.startswith("Note: ") and "not read" in note for note in result.stderr.splitlines())
    document = json.loads(result.stdout)
    solved = document.get("solutions", [document])
    file = words[words.index("--bandit") + 1]
    if Path(file).name in OTHERS:
        _check_others(solved, Path(file).name, ea.objective(words[1], float(words[words.index("--lam") + 1])))
        return
    objective = ea.objective(words[1], float(words[words.index("--lam") + 1]))
    by_hand = BY_HAND[Path(file).name]("drop" in words)
    assert len(solved) == len(by_hand)
    for given, (reference, wins, responses) in zip(solved, by_hand, strict=True):
        assert given["responses"] == responses
        expected = ea.solve(objective, ea.Bandit.from_counts(reference, wins))
        np.testing.assert_allclose(np.reshape(given["policy"], -1), expected.policy, rtol=1e-9, atol=1e-12)


def _check_others(solved: list[dict[str, Any]], file: str, objective: Any) -> None:
    bandits = OTHERS[file]()
    found = [policy for one in solved for policy in np.atleast_2d(one["policy"])]
    expected = [policy for bandit in bandits for policy in np.atleast_2d(ea.solve(objective, bandit).policy)]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def cells(file: str) -> list[list[str]]:
    return [line.split(",") for line in (FILES / file).read_text().splitlines()[1:]]


def tastings() -> list[ea.Bandit]:
    orders = [ranking.split(" > ") for _, ranking in cells("tastings.csv")]
    return [ea.Bandit.from_rankings("uniform", orders, responses=sorted({name for one in orders for name in one}))]


def fused() -> list[ea.Bandit]:
    rows = cells("fused.csv")
    names = sorted({name for row in rows for name in row[:3]})
    return [
        ea.Bandit.from_triples("uniform", [r[:3] for r in rows], weights=[int(r[3]) for r in rows], responses=names)
    ]


def thumbs() -> list[ea.Bandit]:
    rows = cells("thumbs.csv")
    found = []
    for prompt in dict.fromkeys(row[0] for row in rows):
        labels = [(row[1], row[2]) for row in rows if row[0] == prompt]
        names = sorted({name for name, _ in labels})
        ups, downs = ([labels.count((name, label)) for name in names] for label in ("True", "False"))
        found.append(ea.Bandit.from_labels("uniform", ups, downs, responses=names))
    return found


def scores() -> list[ea.Bandit]:
    rows = cells("scores.csv")
    found = []
    for prompt in dict.fromkeys(row[0] for row in rows):
        own = {row[1]: float(row[2]) for row in rows if row[0] == prompt}
        found.append(ea.Bandit.from_scores("uniform", [own[name] for name in sorted(own)], responses=sorted(own)))
    return found


OTHERS: dict[str, Callable[[], list[ea.Bandit]]] = {
    **{"tastings.csv": tastings, "fused.csv": fused, "thumbs.csv": thumbs, "scores.csv": scores}
}

By = list[tuple[Any, np.ndarray, list[str]]]


def tally(games: list[tuple[str, str, float]]) -> By:
    """Wins (the score of the first) of each over each, in alphabetical order."""
    names = sorted({name for first, second, _ in games for name in (first, second)})
    wins = np.zeros((len(names), len(names)))
    for first, second, score in games:
        wins[names.index(first), names.index(second)] += score
        wins[names.index(second), names.index(first)] += 1 - score
    return [(np.full(len(names), 1 / len(names)), wins, names)]


def arena(drop: bool) -> By:
    rows = [json.loads(line) for line in (FILES / "arena.jsonl").read_text().splitlines()]
    scores = {"model_a": 1.0, "model_b": 0.0}
    kept = [row for row in rows if row["winner"] in scores or not drop]
    assert len(kept) < len(rows) or not drop
    return tally([(row["model_a"], row["model_b"], scores.get(row["winner"], 0.5)) for row in kept])


def season(drop: bool) -> By:
    games = []
    for line in (FILES / "season.csv").read_text().splitlines()[1:]:
        _, home, away, scored, against = line.split(",")
        games.append((home, away, 1.0 if int(scored) > int(against) else 0.5 if scored == against else 0.0))
    assert any(score == 0.5 for _, _, score in games)
    return tally(games)


def crosstab(drop: bool) -> By:
    header, *lines = (line.split(",") for line in (FILES / "crosstab.csv").read_text().splitlines())
    won = [
        (line[0], loser)
        for line in lines
        for loser, cell in zip(header[1:], line[1:], strict=True)
        for _ in range(int(cell))
    ]
    assert len(lines) < len(header) - 1
    return tally([(winner, loser, 1.0) for winner, loser in won])


def rankings(drop: bool) -> By:
    ballots: dict[str, list[tuple[str, int]]] = {}
    for line in (FILES / "rankings.csv").read_text().splitlines()[1:]:
        voter, response, rank = line.split(",")
        ballots.setdefault(voter, []).append((response, int(rank)))
    games = []
    for ballot in ballots.values():
        for (one, place), (other, second) in itertools.combinations(ballot, 2):
            games.append((one, other, 0.5 if place == second else float(place < second)))
    assert any(score == 0.5 for _, _, score in games)
    return tally(games)


def scored_pairs(drop: bool) -> By:
    rows = [json.loads(line) for line in (FILES / "scored_pairs.jsonl").read_text().splitlines()]
    prompts = list(dict.fromkeys(row["prompt"] for row in rows))
    return [
        part
        for prompt in prompts
        for part in tally([(row["chosen"], row["rejected"], 1.0) for row in rows if row["prompt"] == prompt])
    ]


def policies(drop: bool) -> By:
    """Wins in the proportions of pi*: of each pair with weight 1, pi*_i / (pi*_i + pi*_j)."""
    found: By = []
    lines = [line.split(",") for line in (FILES / "prompts.csv").read_text().splitlines()[1:]]
    for prompt in dict.fromkeys(line[0] for line in lines):
        own = [line for line in lines if line[0] == prompt]
        optimal = np.array([float(line[3]) for line in own])
        wins = optimal[:, None] / (optimal[:, None] + optimal)
        np.fill_diagonal(wins, 0)
        found.append((np.array([float(line[2]) for line in own]), wins, [line[1] for line in own]))
    return found


BY_HAND: dict[str, Callable[[bool], By]] = {
    "arena.jsonl": arena,
    "season.csv": season,
    "crosstab.csv": crosstab,
    "rankings.csv": rankings,
    "scored_pairs.jsonl": scored_pairs,
    "prompts.csv": policies,
}


def test_thumbs_by_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = ["--lam", "1", "--bandit", "tests/files/thumbs.csv", "--reference", "uniform"]
    result = CliRunner().invoke(app, ["solve", "nca", *command, "--json"])
    assert result.exit_code == 0 and len(json.loads(result.stdout)["policy"]) == 2
    result = CliRunner().invoke(app, ["solve", "dpo", *command])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: bandit must hold pairs for DPO, which compares two responses; on labels or scores of single responses "
        "there are losses such as KTO, BCO, SFT, AStarPO and QRPO\n"
    )


def test_prompts_with_different_responses_have_a_table_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["solve", "expo", "--lam", "1", "--bandit", "tests/files/prompts.csv"])
    assert result.exit_code == 0
    assert [len(re.findall(name, result.stdout)) for name in ("short", "open", "refusal", "the minimiser")] == [
        1,
        1,
        1,
        2,
    ]
    wrong = ["solve", "expo", "--lam", "1", "--bandit", "tests/files/arena.jsonl", "--reference", "uniform"]
    result = CliRunner().invoke(app, [*wrong, "--ties", "win"])
    assert result.exit_code == 2 and "ties must be one of ['half', 'drop'], got 'win'" in result.stderr
