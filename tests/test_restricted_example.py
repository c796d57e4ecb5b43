"""Three responses, one parameter: the example on which every loss that sees pairs only reverses the order.

Policies in proportion to (e^t, e^-t, 1), rewards (1, 2, 0), a uniform reference, and nearly all comparisons between the
first and the third response: the example of "Why DPO is a Misspecified Estimator and How to Fix It" (arXiv 2510.20413).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import mpmath as mp
import numpy as np
import pytest
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.cli import app
from expo_analysis.terms import Square, hbar

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = ["--bandit", str(EXAMPLES / "misspecified.json"), "--features", str(EXAMPLES / "features.csv")]
REWARD = np.array([1.0, 2.0, 0.0])
FEATURES = np.array([[1.0], [-1.0], [0.0]])
LAMS = (0.1, 1.0, 10.0)

# E[r*] where a grid of t with steps of 0.01 has its lowest point
ON_A_GRID = {
    "rlhf": (2.000, 1.421, 1.017),
    "dpo": (1.000, 0.846, 0.971),
    "ipo": (0.907, 0.938, 0.993),
    "expo": (0.856, 0.930, 0.990),
    "spo": (0.854, 0.930, 0.990),
}
# and where the optimum is
EXACT = {
    "rlhf": (2.0000, 1.4185, 1.0180),
    "dpo": (0.9999, 0.8463, 0.9711),
    "ipo": (0.9067, 0.9374, 0.9930),
    "expo": (0.8560, 0.9308, 0.9897),
    "spo": (0.8541, 0.9299, 0.9897),
}


def bandit() -> ea.Bandit:
    optimal = np.exp(REWARD) / np.exp(REWARD).sum()
    return ea.Bandit(np.full(3, 1 / 3), optimal, np.array([[0, 0.01, 0.98], [0.01, 0, 0.01], [0.98, 0.01, 0]]))


def policy_at(t: float) -> np.ndarray:
    weight = np.exp(t * FEATURES[:, 0])
    return weight / weight.sum()


@pytest.mark.parametrize("name", EXACT)
def test_the_optimum_has_a_proof_and_the_rewards_that_are_printed(name: str) -> None:
    for lam, on_a_grid, exact in zip(LAMS, ON_A_GRID[name], EXACT[name], strict=True):
        found = ea.solve(ea.objective(name, lam), bandit(), features=FEATURES)
        assert (found.status, found.certificate) == ("optimal", "error_bound") and found.error_bound < 1e-12
        np.testing.assert_allclose(found.policy @ REWARD, exact, atol=5.001e-5)
        rounded = policy_at(round(float(found.weights[0]), 2))
        np.testing.assert_allclose(rounded @ REWARD, on_a_grid, atol=5.001e-4)
        reversed_order = found.policy[0] > found.policy[2] > found.policy[1]
        assert reversed_order == (name != "rlhf")
        if name == "expo":
            divergence = {0.1: (0.6015, 0.602), 1.0: (0.3968, 0.398), 10.0: (0.3197, 0.319)}[lam]
            for policy, known, digits in zip((found.policy, rounded), divergence, (4, 3), strict=True):
                gap = float(np.sum(policy * np.log(policy / bandit().optimal)))
                np.testing.assert_allclose(gap, known, atol=0.5001 * 10**-digits)


def test_w_in_50_digits() -> None:
    """Stationary points of RLHF, DPO, IPO and EXPO in t, from the definitions; w is within its bound of them."""
    mp.mp.dps = 50
    q = [(0, 2, mp.mpf("0.98")), (0, 1, mp.mpf("0.01")), (1, 2, mp.mpf("0.01"))]
    f, r = [1, -1, 0], [1, 2, 0]

    def policy(t: mp.mpf) -> list[mp.mpf]:
        weight = [mp.exp(t * k) for k in f]
        return [x / sum(weight) for x in weight]

    def mean(t: mp.mpf, values: list) -> mp.mpf:
        return sum(p * v for p, v in zip(policy(t), values, strict=True))

    def slope(name: str, lam: mp.mpf, t: mp.mpf) -> mp.mpf:
        if name == "rlhf":  # KL(pi || uniform) has the slope t Var[f]
            variance = mean(t, [k * k for k in f]) - mean(t, f) ** 2
            covariance = mean(t, [a * b for a, b in zip(f, r, strict=True)]) - mean(t, f) * mean(t, r)
            return lam * t * variance - covariance
        total = lam * (mean(t, f) - mp.mpf(sum(f)) / 3) if name == "expo" else mp.mpf(0)
        for i, j, weight in q:
            wins, step = 1 / (1 + mp.exp(r[j] - r[i])), f[i] - f[j]
            if name == "ipo":
                total += weight * step * 2 * (t * step - (2 * wins - 1) / (2 * lam))
            else:
                scale = lam if name == "dpo" else 1
                total += weight * step * scale * (1 / (1 + mp.exp(-scale * t * step)) - wins)
        return total

    for name in ("rlhf", "dpo", "ipo", "expo"):
        for lam in LAMS:
            found = ea.solve(ea.objective(name, lam), bandit(), features=FEATURES)
            start = mp.mpf(float(found.weights[0]))
            ends = (start, start + mp.mpf("1e-9"))
            exact = mp.findroot(lambda t, name=name, lam=lam: slope(name, mp.mpf(lam), t), ends)
            # the bandit's numbers are rounded before the solver sees them; the bound is about these
            assert abs(float(start - exact)) <= found.weight_bounds[0] + 1e-14 * abs(float(exact)) + 1e-15


@dataclass(frozen=True)
class LeastSquares(ea.losses.PairObjective):
    """(h - what log pi_ref says)^2."""

    name: ClassVar[str] = "least_squares"

    @property
    def terms(self) -> Any:
        return Square()(hbar)


def test_rewards_by_least_squares_do_not_help_either() -> None:
    """(h - (r_w - r_l))^2: log pi* in the place of the reference, and the uniform policy for a base."""
    pi_star = bandit().optimal
    assert pi_star is not None
    by_rewards = ea.Bandit(pi_star, pi_star, bandit().pairs)
    found = ea.solve(LeastSquares(1.0), by_rewards, features=FEATURES, base=np.zeros(3))
    assert (found.status, found.certificate) == ("optimal", "error_bound")
    assert found.policy.round(2).tolist() == [0.64, 0.10, 0.26]
    np.testing.assert_allclose(found.policy @ REWARD, 0.846, atol=5e-4)
    # least squares by hand: t = sum q f_ij r_ij / sum q f_ij^2
    moves, gains = np.array([1.0, 2.0, -1.0]), np.array([1.0, -1.0, 2.0])  # of pairs (0, 2), (0, 1), (1, 2)
    q = np.array([0.98, 0.01, 0.01])
    np.testing.assert_allclose(found.weights, [(q * moves * gains).sum() / (q * moves**2).sum()], rtol=1e-13)


@pytest.mark.parametrize("name", EXACT)
def test_from_the_command_line(name: str) -> None:
    result = CliRunner().invoke(app, ["solve", name, "--lam", "0.1:10:3", *FILES, "--json"])
    assert result.exit_code == 0, result.output
    for solution, exact in zip(json.loads(result.stdout)["solutions"], EXACT[name], strict=True):
        assert (solution["status"], solution["certificate"]) == ("optimal", "error_bound")
        np.testing.assert_allclose(np.array(solution["policy"]) @ REWARD, exact, atol=5.001e-5)
        assert solution["parameters"] == ["t"] and solution["weight_bounds"][0] < 1e-11
        assert solution["direction"] == [None]


def test_the_table_shows_w() -> None:
    shown = CliRunner().invoke(app, ["solve", "expo", "--lam", "1", *FILES]).stdout
    assert "0.23784117" in shown and "0 t" in shown and "direction" not in shown


def features_file(tmp_path: Path, name: str, text: str) -> list[str]:
    path = tmp_path / name
    path.write_text(text)
    return ["solve", "expo", "--lam", "1", "--bandit", str(EXAMPLES / "two_prompts.csv"), "--features", str(path)]


def test_files_of_features_say_the_same(tmp_path: Path) -> None:
    """By prompt and response with names in any order, shared by all prompts, and as JSON."""
    rows = [(p, r, x) for x, (p, r) in enumerate((p, r) for p in ("good", "bad") for r in "ABC")]
    table = "prompt,response,a,b\n" + "".join(f"{p},{r},{x},{x * x}\n" for p, r, x in reversed(rows))
    array = [[[x, x * x] for q, _, x in rows if q == p] for p in ("good", "bad")]
    found = []
    for name, text in (("f.csv", table), ("f.json", json.dumps({"features": array}))):
        result = CliRunner().invoke(app, [*features_file(tmp_path, name, text), "--decay", "0.1", "--json"])
        assert result.exit_code == 0, result.output
        found.append(json.loads(result.stdout))
    assert found[0].pop("parameters") == ["a", "b"]
    assert found[0] == found[1]
    policies = np.array([[0.6, 0.3, 0.1], [0.4, 0.2, 0.4]]), np.array([[0.6, 0.3, 0.1], [0.6, 0.2, 0.2]])
    own = ea.solve(ea.EXPO(1.0), ea.Bandit(*policies), features=array, decay=0.1)
    np.testing.assert_allclose(found[0]["weights"], own.weights, atol=1e-14)
    shared = CliRunner().invoke(app, [*features_file(tmp_path, "s.csv", "response,a\nA,1\nB,2\nC,0\n"), "--json"])
    same = ea.solve(ea.EXPO(1.0), ea.Bandit(*policies), features=[[1.0], [2.0], [0.0]])
    np.testing.assert_allclose(json.loads(shared.stdout)["weights"], same.weights, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("f.txt", "a", "must end in one of '.json', '.jsonl', '.csv'"),
        ("f.csv", "a,b\n1,2\n", "the column 'response' is missing"),
        ("f.csv", "response\nA\nB\nC\n", "there is no feature"),
        (
            "f.csv",
            "response,a\nA,1\nB,2\nD,0\n",
            "row 4: response must be one of 'A', 'B', 'C', as in the bandit, got 'D'",
        ),
        ("f.csv", "response,a\nA,1\nB,2\nB,0\n", "row 4: a row with this response came before"),
        ("f.csv", "response,a\nA,1\nB,2\n", "there is no row for response 'C'"),
        ("f.csv", "response,a\nA,1\nB,x\nC,0\n", "row 3: a must be a number, got 'x'"),
        ("f.csv", "response,a\nA,1\nB,inf\nC,0\n", "f.csv: row 3: a must be a finite number, got 'inf'"),
        ("f.json", "[1]", "row 1: must be an object, a comparison or a response, got 1"),
        ("f.json", '{"feature": [[1]]}', "unknown key 'feature'"),
        ("f.json", '{"base": [1]}', "the key 'features' is missing"),
        ("f.json", '{"features": [[1], [2]]}', "features must have shape"),
        ("f.json", '{"features": [[1], [2, 3], [0]]}', "features must be"),
        ("f.json", '{"features": [["1"]]}', "features must be an array of numbers"),
        ("f.json", '{"features": [[1], [2], [0]], "base": [1, 2]}', "base must have shape"),
    ],
)
def test_bad_files_are_named_in_one_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    result = CliRunner().invoke(app, features_file(tmp_path, name, text))
    assert result.exit_code == 2 and result.stdout == ""
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_options_that_are_of_no_use_are_refused(tmp_path: Path) -> None:
    bare = ["solve", "expo", "--lam", "1", *FILES[:2]]
    for extra, message in (
        (["--decay", "1"], "decay is not used without features"),
        ([*FILES[2:], "--decay", "-1"], "decay must be"),
        ([*FILES[2:], "--method", "closed_form"], "method must be one of"),
        (["--features", str(tmp_path / "none.csv")], "No such file"),
    ):
        result = CliRunner().invoke(app, [*bare, *extra])
        assert result.exit_code == 2 and message in result.stderr, result.output
