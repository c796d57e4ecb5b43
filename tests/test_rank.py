"""Who is above whom: `Solution.ranking`, its figure, and ``expo-analysis rank`` on files of every form."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.cli import app, rank
from expo_analysis.optima import choose, inference, ranks
from expo_analysis.optima.intervals import MOST

ROOT = Path(__file__).parents[1]
ARENA, SEASON = ROOT / "examples" / "arena.csv", ROOT / "examples" / "premier_league_2015_16.csv"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["rank", *map(str, arguments)])


def battles(score: np.ndarray, size: int, rng: np.random.Generator, ties: float = 0.0) -> ea.Comparisons:
    """Battles of pairs at random; of those that could go either way, a share are ties."""
    n = len(score)
    one = rng.integers(0, n, size)
    other = (one + rng.integers(1, n, size)) % n
    share = expit(score[one] - score[other])
    draw = 2 * ties * share * (1 - share)
    u = rng.random(size)
    won = u < share - draw / 2
    tie = ~won & (u < share + draw / 2)
    return ea.Comparisons(np.where(won | tie, one, other), np.where(won | tie, other, one), tie=tie)


# ------------------------------------------------------------------------------------------------------------ in Python


def test_a_ranking_is_what_the_solution_says_elsewhere() -> None:
    games = battles(np.linspace(-1, 1, 6), 900, np.random.default_rng(0), ties=0.5)
    fit = ea.solve(ea.EXPO(0.05), games)
    table = fit.ranking(0.1)
    order = table["response"].to_numpy()
    assert list(table.index) == [1, 2, 3, 4, 5, 6] and (np.diff(table["policy"]) <= 0).all()
    assert np.array_equal(table["policy"], fit.policy[order])
    assert np.allclose(table["standard_error"], np.sqrt(np.diag(fit.covariance()))[order])
    assert np.allclose(table[["low", "high"]], fit.conf_int(0.1)[order])
    assert np.allclose(table[["low_all", "high_all"]], fit.conf_int(0.1, simultaneous=True)[order])
    assert (table["best"] <= table.index).all() and (table.index <= table["worst"]).all()
    first = fit.ranking(0.1, top=2)
    assert list(first["response"]) == list(order[:2]) and "best" not in first
    # of two responses together fewer are to hold than of six
    assert (first["high_all"].to_numpy() < table["high_all"].to_numpy()[:2]).all()


@pytest.mark.parametrize("k", [3, 10, 25])
def test_the_largest_difference_is_the_studentised_range(k: int) -> None:
    """Of independent ones with one variance; and a shift that all share changes nothing."""
    wanted = stats.studentized_range.ppf(0.9, k, np.inf) / np.sqrt(2)
    for covariances in (2 * np.eye(k), 2 * np.eye(k) + 7.0):
        errors = ranks.errors_of_differences(covariances)
        assert np.allclose(errors[~np.eye(k, dtype=bool)], 2.0)
        assert ranks.value_of_differences(covariances, errors, 0.1) == pytest.approx(wanted, rel=0.015)


def test_of_very_many_differences_it_is_sidaks() -> None:
    for k, pairs in ((2, 1), (MOST + 1, (MOST + 1) * MOST // 2)):
        found = ranks.value_of_differences(np.eye(k), ranks.errors_of_differences(np.eye(k)), 0.05)
        assert found == pytest.approx(stats.norm.ppf(1 - (1 - 0.95 ** (1 / pairs)) / 2))


def test_places_are_counted_by_hand() -> None:
    """Differences of 3 and 10 at a standard error of sqrt 2: a and b may be either, c is the last."""
    best, worst = ranks.places(np.array([10.0, 7.0, 0.0]), np.eye(3), 0.05)
    assert list(best) == [1, 1, 3] and list(worst) == [2, 2, 3]
    best, worst = ranks.places(np.array([0.0, 7.0, 10.0]), np.eye(3) / 100, 0.05)
    assert list(best) == list(worst) == [3, 2, 1]


@pytest.mark.slow
def test_places_cover() -> None:
    """All true places at once, on 600 data sets: in 95% or more, less what so few tell."""
    rng, hit = np.random.default_rng(0), 0
    for _ in range(600):
        score = rng.uniform(-1, 1, 6)
        table = ea.solve(ea.BradleyTerry(1.0), battles(score, 500, rng, ties=0.5)).ranking()
        true = stats.rankdata(-score)[table["response"]]
        hit += bool(((table["best"] <= true) & (true <= table["worst"])).all())
    assert hit / 600 > 0.93


def test_of_thousands_some_are_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    games = battles(np.zeros(8), 300, np.random.default_rng(1))
    fit = ea.solve(ea.EXPO(0.1), games)
    wanted = fit.ranking(top=3)
    for module in (ranks, inference):
        monkeypatch.setattr(module, "DENSE", 7)
    assert np.allclose(fit.ranking(top=3)["standard_error"], wanted["standard_error"], rtol=1e-7)
    with pytest.raises(ValueError, match="top must say of how many of 8 responses to have intervals"):
        fit.ranking()
    with pytest.raises(ValueError, match="top must be a whole number"):
        fit.ranking(top=0)
    with pytest.raises(ValueError, match="alpha must be a number"):
        fit.ranking(alpha=0)


# ----------------------------------------------------------------------------------------------------------------- ties


def test_a_tie_is_one_comparison() -> None:
    """As a logistic regression on 1, 0 and 1/2 has it, whatever the form of the data; as halves it is not."""
    rng = np.random.default_rng(2)
    n, size = 5, 400
    one = rng.integers(0, n, size)
    other = (one + rng.integers(1, n, size)) % n
    points = rng.choice([0.0, 0.5, 1.0], size)
    design = np.zeros((size, n))
    design[np.arange(size), one], design[np.arange(size), other] = 1.0, -1.0
    theirs = sm.GLM(points, design[:, 1:], family=sm.families.Binomial()).fit(cov_type="HC0", tol=1e-14).cov_params()
    games = ea.Comparisons(np.where(points > 0, one, other), np.where(points > 0, other, one), tie=points == 0.5)
    frame = pd.DataFrame({"player1": one, "player2": other, "score1": points, "score2": 1 - points})
    for data in (games, games.bandit(), ea.Comparisons.from_frame(frame), ea.Bandit.from_comparisons("uniform", frame)):
        fit = ea.solve(ea.BradleyTerry(1.0), data)
        assert np.allclose(fit.covariance(range(1, n), 0), theirs, rtol=1e-7)
    assert games.tied is not None and games.tied.sum() == (points == 0.5).sum()
    halves = ea.Comparisons(games.winner, games.loser, games.weight)
    wider = ea.solve(ea.BradleyTerry(1.0), halves).covariance(range(1, n), 0)
    assert halves.tied is None and (np.diag(wider) > 1.2 * np.diag(theirs)).all()


def test_samples_draw_ties_as_ties() -> None:
    games = battles(np.array([0.5, 0.0, -0.5]), 600, np.random.default_rng(3), ties=0.9)
    fit = ea.solve(ea.BradleyTerry(1.0), games)
    scatter = ea.bootstrap(fit, 400, rng=0).standard_error
    assert np.allclose(scatter, np.sqrt(np.diag(fit.covariance())), rtol=0.12)
    halves = ea.solve(ea.BradleyTerry(1.0), ea.Comparisons(games.winner, games.loser, games.weight))
    assert (np.sqrt(np.diag(halves.covariance())) > 1.2 * scatter).all()
    assert np.allclose(halves.policy, fit.policy, rtol=1e-12)


def test_a_column_says_what_is_a_tie() -> None:
    frame = pd.DataFrame({"winner": ["a", "b", "c"], "loser": ["b", "c", "a"], "tie": [True, False, False]})
    found = ea.Comparisons.from_frame(frame)
    assert found.weight.tolist() == [0.5, 0.5, 1.0, 1.0] and found.tied.tolist() == [0.5, 0.5, 0.0, 0.0]
    bandit = ea.Bandit.from_comparisons("uniform", frame.assign(tie=["yes", "0", "FALSE"]))
    assert bandit.ties is not None and bandit.ties[0, 1] == 1 and bandit.counts[1, 2] == 1
    with pytest.raises(ValueError, match="row 1: tie must be true or false, got 'perhaps'"):
        ea.Comparisons.from_frame(frame.assign(tie=["no", "perhaps", "no"]))
    with pytest.raises(ValueError, match="'tie' is not used beside 'margin'"):
        ea.Bandit.from_comparisons("uniform", frame.assign(margin=1.0))
    dropped = ea.Comparisons.from_frame(frame, ties="drop")
    assert dropped.weight.sum() == 2 and dropped.tied is None


# --------------------------------------------------------------------------------------------------------- the examples


def test_the_season_is_the_one_that_was_played() -> None:
    """By the final table: 380 matches, three points for a win."""
    results = pd.read_csv(SEASON)
    goals = results["home_score"] - results["away_score"]
    points = pd.concat(
        [
            pd.Series(np.select([goals > 0, goals == 0], [3, 1]), index=results["home_team"]),
            pd.Series(np.select([goals < 0, goals == 0], [3, 1]), index=results["away_team"]),
        ]
    )
    table = points.groupby(level=0).sum().sort_values()
    assert len(results) == 380 and not results.duplicated(["home_team", "away_team"]).any()
    assert table[["Leicester City", "Arsenal", "Tottenham Hotspur", "Aston Villa"]].tolist() == [81, 71, 70, 17]
    assert table.tolist() == [17, 34, 37, 39, 42, 42, 43, 45, 47, 47, 50, 51, 60, 62, 63, 66, 66, 70, 71, 81]


def test_the_arena_is_what_its_script_makes() -> None:
    script = runpy.run_path(str(ROOT / "examples" / "make_arena.py"))
    made = script["battles"](np.random.default_rng(script["SEED"]))
    pd.testing.assert_frame_equal(made, pd.read_csv(ARENA), check_dtype=False)
    assert made["count"].sum() == 6000


# -------------------------------------------------------------------------------------------------------------- figures


def test_the_figure_has_what_the_table_has() -> None:
    games = battles(np.linspace(-2, 2, 7), 900, np.random.default_rng(4))
    fit = ea.solve(ea.BradleyTerry(1.0), games)
    figure = ea.figures.ranking(fit, truth=np.linspace(8, 12, 7), top=5)
    table = fit.ranking()
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [str(r) for r in table["response"][:5]]
    points = {len(line.get_xdata()): line.get_xdata() for line in axes.get_lines() if line.get_marker() == "o"}
    assert np.allclose(points[5], table["score"][:5])
    known = next(line for line in axes.get_lines() if line.get_marker() == "D")
    assert np.allclose(known.get_xdata(), (np.linspace(-2, 2, 7))[table["response"][:5]])
    words = {text.get_text() for text in axes.texts}
    between = zip(table["best"][:5], table["worst"][:5], strict=True)
    both = {f"{best}" if best == worst else f"{best}–{worst}" for best, worst in between}
    assert both | {"places"} == words
    assert ea.figures.faults(figure) == []


@pytest.mark.parametrize("width", ["column", "page", "slide"])
def test_long_names_and_many_rows_stay_in_the_figure(width: str) -> None:
    score = np.linspace(-3, 3, 12)
    games = battles(score, 4000, np.random.default_rng(5))
    names = [f"a model with a very long name $n_{k}$, and more" for k in range(12)]
    named = ea.Comparisons(games.winner, games.loser, games.weight, responses=range(12))
    fit = ea.solve(ea.BradleyTerry(1.0), ea.Comparisons.from_counts(named.bandit().counts, responses=names))
    assert ea.figures.faults(ea.figures.ranking(fit, width=width)) == []


def test_the_choice_is_drawn_where_it_is() -> None:
    games = battles(np.array([0.8, 0.0, -0.8]), 200, np.random.default_rng(6))
    chosen = ea.choose_lambda(ea.EXPO(1.0), games, np.geomspace(0.001, 1.0, 7))
    figure = ea.figures.lambda_choice(chosen, truth=[0.6, 0.3, 0.1])
    upper, lower = figure.axes
    assert np.allclose(upper.get_lines()[0].get_ydata(), chosen.scores - chosen.scores.min())
    assert upper.get_lines()[1].get_xdata()[0] == chosen.lam
    apart = abs(chosen.solution.policy - [0.6, 0.3, 0.1]).sum() / 2
    mark = next(line for line in lower.get_lines() if line.get_marker() == "D")
    assert mark.get_ydata()[0] == pytest.approx(apart)
    assert ea.figures.faults(figure) == []


# ------------------------------------------------------------------------------------------------------- on the command


def test_the_command_says_what_python_says(tmp_path: Path) -> None:
    picture = tmp_path / "season.svg"
    done = run(SEASON, "--json", "--top", 3, "--alpha", 0.1, "--figure", picture)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    fit = ea.solve(ea.BradleyTerry(1.0), ea.read_comparisons(SEASON))
    table = fit.ranking(0.1)
    assert told["status"] == "optimal" and told["error_bound"] == fit.error_bound and told["chosen"] is None
    assert told["comparisons"] == 380 and told["responses"] == 20 and told["options"] == {"lam": 1.0}
    assert [row["place"] for row in told["ranking"]] == [1, 2, 3]
    for name in table:
        assert [row[name] for row in told["ranking"]] == table[name].tolist()[:3]
    assert ">Leicester City<" in picture.read_text(encoding="utf-8")
    shown = run(SEASON, "--top", 3).stdout
    assert "Leicester City" in shown and "1–11" in shown and "The first 3 of 20." in shown


def test_lambda_is_chosen_or_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "STRENGTHS", choose.STRENGTHS[::6])  # which lambdas are tried has tests of its own
    chosen = json.loads(run(ARENA, "--objective", "expo", "--choose-lambda", "--json").stdout)
    found = ea.choose_lambda(ea.EXPO(1.0), ea.read_comparisons(ARENA))
    assert chosen["options"]["lam"] == found.lam and chosen["chosen"]["lams"] == found.lams.tolist()
    given = json.loads(run(ARENA, "--objective", "ipo", "--beta", 0.5, "--ties", "drop", "--json").stdout)
    fit = ea.solve(ea.IPO(0.5), ea.read_comparisons(ARENA, ties="drop"))
    assert [row["policy"] for row in given["ranking"]] == sorted(fit.policy, reverse=True)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "csv.gz", "parquet"])
def test_files_of_every_form_are_one(tmp_path: Path, form: str) -> None:
    frame = pd.DataFrame(
        {
            "winner": ["a", "b", "c", "a", "b"],
            "loser": ["b", "c", "a", "c", "a"],
            "weight": [2.0, 1.5, 1.0, 3.0, 1.0],
            "tie": [False, False, False, True, False],
        }
    )
    path = tmp_path / f"games.{form}"
    match form:
        case "parquet":
            pytest.importorskip("pyarrow")
            frame.to_parquet(path)
        case "jsonl":
            frame.to_json(path, orient="records", lines=True)
        case _:
            frame.to_csv(path, index=False, sep="\t" if form == "tsv" else ",")
    (tmp_path / "reference.csv").write_text("response,reference\nc,0.2\na,0.5\nb,0.3\n")
    done = run(path, "--objective", "expo", "--lam", 0.3, "--reference", tmp_path / "reference.csv", "--json")
    assert done.exit_code == 0, done.output
    data = ea.Comparisons(frame.winner, frame.loser, frame.weight, tie=frame.tie, reference=[0.5, 0.3, 0.2])
    fit = ea.solve(ea.EXPO(0.3), data)
    policy = {row["response"]: row["policy"] for row in json.loads(done.stdout)["ranking"]}
    assert np.allclose([policy[name] for name in "abc"], fit.policy, rtol=0, atol=1e-12)


def test_without_a_fit_the_order_is_said(tmp_path: Path) -> None:
    path = tmp_path / "games.csv"
    path.write_text("winner,loser\na,b\nb,c\nc,b\n")
    done = run(path)
    assert done.exit_code == 0 and "No intervals: " in done.stdout and "--choose-lambda has an optimum" in done.stdout
    rows = json.loads(run(path, "--json").stdout)
    assert rows["status"] == "no_minimiser" and rows["error_bound"] is None
    assert rows["ranking"][0] == {**dict.fromkeys(rank.COLUMNS), "place": 1, "response": "a", "policy": 1.0}
    held = json.loads(run(path, "--objective", "expo", "--lam", 0.1, "--json").stdout)
    assert held["status"] == "optimal" and held["ranking"][0]["low"] is not None
    path.write_text("winner,loser\na,b\nb,a\nc,d\nd,c\n")  # two leagues that never met
    apart = run(path, "--objective", "expo", "--lam", 0.1)
    assert apart.exit_code == 0 and "No intervals" not in apart.stdout
    assert "Between components the reference decides, and no comparison: the comparison graph has 2" in apart.stdout
    assert "Between components" not in run(ROOT / "examples" / "arena.csv", "--objective", "expo", "--lam", 0.1).stdout
    drawn = run(path, "--figure", tmp_path / "x.png")
    assert drawn.exit_code == 2 and "solution must be the one optimum" in drawn.stderr
    assert not (tmp_path / "x.png").exists()


def test_of_thousands_twenty_are_shown(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    n = rank.MOST + 500
    one = np.arange(10 * n) % n
    other = (one + rng.integers(1, n, len(one))) % n
    path = tmp_path / "games.csv"
    pd.DataFrame({"winner": one, "loser": other}).to_csv(path, index=False)
    told = json.loads(run(path, "--objective", "expo", "--lam", 0.01, "--json").stdout)
    assert told["responses"] == n and len(told["ranking"]) == rank.FIRST
    assert told["ranking"][0]["low"] is not None and told["ranking"][0]["best"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.csv"], "nowhere.csv: No such file or directory"),
        ([ARENA, "--objective", "expo"], "lam must be given for expo, by --lam LAMBDA or --choose-lambda"),
        ([ARENA, "--lam", "1", "--choose-lambda"], "give --lam or --choose-lambda, not both"),
        ([ARENA, "--lam", "-1"], "lam"),
        ([ARENA, "--objective", "exppo", "--lam", "1"], "did you mean"),
        ([ARENA, "--objective", "exppo"], "did you mean"),
        ([ARENA, "--objective", "slic", "--lam", "1"], "objective must be a convex loss of log-ratios"),
        ([ARENA, "--objective", "kto", "--lam", "1"], "objective must be a convex loss of log-ratios"),
        ([ARENA, "--alpha", "1.5"], "alpha must be a number in (0, 1)"),
        ([ARENA, "--top", "0"], "top must be a whole number"),
        ([ARENA, "--ties", "keep"], "ties must be one of"),
        ([ARENA, "--figure", "x.jpg"], "figure must be a file whose name ends in"),
        ([ARENA, "--reference", "nowhere.csv"], "nowhere.csv: No such file or directory"),
        ([ARENA, "--reference", ROOT / "examples" / "reference.csv"], "responses must have every name that occurs"),
        ([ROOT / "examples" / "wins.json"], "the name of a file of comparisons must end in"),
        ([ROOT / "tests" / "files" / "prompts.csv"], "must have the columns 'winner', 'loser'"),
        ([ROOT / "tests" / "files" / "scored_pairs.jsonl"], "comparisons have no prompt"),
    ],
)
def test_bad_input_is_one_line(arguments: list[object], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2 and done.stdout == ""
    assert words in done.stderr and done.stderr.strip().count("\n") == 0, done.stderr
