"""Data as people have them: fractions, ties, names, pandas objects, rewards, lengths, prompts of several sizes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import expo_analysis as ea
from expo_analysis.testing import strategies as own

REFERENCE, OPTIMAL = [0.4, 0.4, 0.2], [0.6, 0.3, 0.1]
ABC = ["a", "b", "c"]
GAMES = pd.DataFrame({"w": ["A", "A", "B", "D", "D"], "l": ["B", "C", "A", "A", "B"]})
CROSS = pd.crosstab(GAMES.w, GAMES.l)
"""Rows A, B, D and columns A, B, C: D was never beaten, C never won."""
ALIGNED = [[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]


# ----------------------------------------------------------------------------------------------- fractions and ties


def bradley_terry(loss: Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]], n: int) -> np.ndarray:
    """The fit by scipy: Newton's method in trust regions on all strengths but the first, which is 0."""

    def part(k: int) -> Callable[[np.ndarray], Any]:
        return lambda theta: loss(np.concatenate([[0.0], theta]))[k]

    found = minimize(
        part(0),
        np.zeros(n - 1),
        jac=lambda theta: part(1)(theta)[1:],
        hess=lambda theta: part(2)(theta)[1:, 1:],
        method="trust-exact",
        options={"gtol": 1e-12},
    )
    strength = np.concatenate([[0.0], found.x])
    for _ in range(3):  # where the loss itself has no digits left, its gradient has some
        _, slope, curvature = loss(strength)
        strength[1:] -= np.linalg.solve(curvature[1:, 1:], slope[1:])
    return strength


def of_data(first: np.ndarray, second: np.ndarray, score: np.ndarray, weight: np.ndarray, n: int) -> Any:
    """-sum weight (score log sigma(d) + (1 - score) log sigma(-d)), d = theta_first - theta_second, datum by datum."""
    rows = np.zeros((len(first), n))
    rows[np.arange(len(first)), first] += 1
    rows[np.arange(len(first)), second] -= 1

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        d = rows @ theta
        p = 1 / (1 + np.exp(-d))
        value = np.sum(weight * (score * np.logaddexp(0, -d) + (1 - score) * np.logaddexp(0, d)))
        return float(value), rows.T @ (weight * (p - score)), rows.T @ ((weight * p * (1 - p))[:, None] * rows)

    return loss


@pytest.mark.parametrize("seed", range(4))
def test_weights_fractions_and_ties_have_the_fit_of_their_likelihood(seed: int) -> None:
    """scipy on the sum over data, against `solve` on the table that they add up to: 1e-9 in log-odds."""
    rng = np.random.default_rng(seed)
    n, size = 6, 400
    first = rng.integers(n, size=size)
    second = (first + rng.integers(1, n, size=size)) % n
    score = rng.choice([0.0, 0.5, 1.0], size=size, p=[0.35, 0.25, 0.4])
    weight = rng.exponential(size=size)
    names = np.array([f"player {k}" for k in range(n)])
    words = {0.0: "model_b", 0.5: "tie", 1.0: "model_a"}
    frame = pd.DataFrame(
        {"model_a": names[first], "model_b": names[second], "winner": [words[s] for s in score], "weight": weight}
    )
    expected = bradley_terry(of_data(first, second, score, weight, n), n)
    bandit = ea.Bandit.from_comparisons("uniform", frame)
    assert bandit.responses == tuple(names)
    fitted = ea.solve(ea.BradleyTerry(1.0), bandit).log_policy
    np.testing.assert_allclose(fitted - fitted[0], expected, rtol=0, atol=1e-9)
    without = ea.solve(ea.BradleyTerry(1.0), ea.Bandit.from_comparisons("uniform", frame, ties="drop")).log_policy
    dropped = bradley_terry(of_data(first, second, score, weight * (score != 0.5), n), n)
    np.testing.assert_allclose(without - without[0], dropped, rtol=0, atol=1e-9)
    assert np.abs(expected - dropped).max() > 1e-3  # so that they are told apart


@given(own.count_bandits(max_n=5), st.integers(1, 7))
def test_counts_are_weights(bandit: ea.Bandit, times: int) -> None:
    """Only their proportions matter; a tie is half a win each; counts in halves are counts doubled."""
    counts = np.asarray(bandit.counts)
    less = ea.Bandit.from_counts(bandit.reference, counts / times)
    np.testing.assert_allclose(less.wins, bandit.wins, rtol=1e-14)
    ties = np.triu(counts, 1) + np.triu(counts, 1).T
    tied = ea.Bandit.from_counts(bandit.reference, counts, ties=ties)
    np.testing.assert_array_equal(tied.counts, counts + ties / 2)
    np.testing.assert_array_equal(tied.ties, ties)
    np.testing.assert_array_equal(tied.wins, ea.Bandit.from_counts(bandit.reference, 2 * counts + ties).wins)
    assert np.sum(tied.counts) == pytest.approx(np.sum(counts) + np.sum(np.triu(ties)))  # a tie is one comparison


def test_ties_alone_and_shared_by_prompts() -> None:
    only = ea.Bandit.from_counts("uniform", np.zeros((2, 2)), ties=[[0, 3], [3, 0]])
    assert only.wins.tolist() == [[0, 0.5], [0.5, 0]]
    shared = ea.Bandit.from_counts(np.full((2, 2), 0.5), [[[0, 1], [0, 0]], [[0, 0], [1, 0]]], ties=[[0, 1], [1, 0]])
    assert shared.ties is not None and shared.ties.shape == (2, 2, 2)
    np.testing.assert_allclose(shared.wins, [[[0, 0.75], [0.25, 0]], [[0, 0.25], [0.75, 0]]])
    assert "2 responses, win counts of 8 comparisons (3 ties among them)" in repr(
        ea.Bandit.from_counts("uniform", [[0, 5], [0, 0]], ties=[[0, 3], [3, 0]])
    )


def test_a_uniform_reference_needs_no_numbers() -> None:
    counts = [[0, 1, 2], [1, 0, 1], [1, 1, 0]]
    for uniform in ("uniform", None):
        for bandit in (
            ea.Bandit(uniform, OPTIMAL),
            ea.Bandit.from_counts(uniform, counts),
            ea.Bandit.from_preferences(uniform, np.full((3, 3), 0.5)),
        ):
            np.testing.assert_array_equal(bandit.reference, np.full(3, 1 / 3))
        assert ea.Bandit.from_counts(uniform, [counts, counts]).reference.shape == (2, 3)


# ------------------------------------------------------------------------------------------------------------- names


def test_names_are_kept_and_shown() -> None:
    bandit = ea.Bandit(
        [REFERENCE] * 2,
        [OPTIMAL] * 2,
        responses=ABC,
        prompt_names=["x", "y"],
        rewards=[1, np.nan, -2],
        lengths=[5, 6, 7],
    )
    assert (bandit.responses, bandit.prompt_names) == (("a", "b", "c"), ("x", "y"))
    np.testing.assert_array_equal(bandit.rewards, [[1, np.nan, -2]] * 2)
    np.testing.assert_array_equal(bandit.lengths, [[5, 6, 7]] * 2)
    assert "responses a, b, c" in repr(bandit)
    assert "<td>y</td><td>c</td><td>0.2</td><td>0.1</td><td>-2</td><td>7</td>" in bandit._repr_html_()
    one = ea.Bandit(REFERENCE, OPTIMAL, responses=ABC, rewards=[1, 2, 3])
    assert repr(one).endswith(
        "responses a, b, c, reference [0.4, 0.4, 0.2], optimal [0.6, 0.3, 0.1], rewards [1, 2, 3]>"
    )
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), dataclasses.replace(one, pairs="reference")):
        assert other.responses == ("a", "b", "c")
        np.testing.assert_array_equal(other.rewards, [1, 2, 3])
    with pytest.raises(ValueError, match="read-only"):
        one.rewards[0] = 5  # type: ignore[index]
    markup = ea.Bandit([0.5, 0.5], [0.5, 0.5], responses=["<b>", "&"])
    assert "<td>&lt;b&gt;</td>" in markup._repr_html_() and "<b>" not in markup._repr_html_()


def test_a_crosstab_with_different_rows_and_columns_is_aligned() -> None:
    uniform = ea.Bandit.from_counts("uniform", CROSS)
    assert uniform.responses == ("A", "B", "C", "D")
    np.testing.assert_array_equal(uniform.counts, ALIGNED)
    back = ea.Bandit.from_counts([0.4, 0.3, 0.2, 0.1], CROSS, responses=["D", "C", "B", "A"])
    np.testing.assert_array_equal(np.asarray(back.counts)[::-1, ::-1], ALIGNED)
    by_name = pd.Series([0.1, 0.2, 0.3, 0.3, 0.1], index=["D", "E", "A", "B", "C"])
    wider = ea.Bandit.from_counts(by_name, CROSS)
    assert wider.responses == tuple(by_name.index)
    np.testing.assert_array_equal(np.asarray(wider.counts)[np.ix_([2, 3, 4, 0], [2, 3, 4, 0])], ALIGNED)
    assert np.sum(wider.counts) == 5
    numbered = pd.crosstab(pd.Series([0, 1, 3]), pd.Series([1, 2, 0]))  # three rows and columns of four players
    assert ea.Bandit.from_counts("uniform", numbered).responses is None
    np.testing.assert_array_equal(
        ea.Bandit.from_counts("uniform", numbered).counts, [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    )
    wide = np.ones((3, 4))
    np.fill_diagonal(wide, 0)  # the last of four, 0 ... 3, never won
    assert ea.Bandit.from_counts("uniform", pd.DataFrame(wide)).n == 4


@given(st.permutations(ABC), st.permutations(ABC), st.permutations(ABC))
def test_labels_in_any_order_mean_the_same(rows: list[str], columns: list[str], policies: list[str]) -> None:
    counts = pd.DataFrame([[0, 1, 2], [3, 0, 4], [5, 6, 0]], index=ABC, columns=ABC)
    rewards, lengths = pd.Series([0.1, 0.2, 0.3], index=ABC), pd.Series([1, 2, 3], index=ABC)
    plain = ea.Bandit.from_counts(REFERENCE, counts.to_numpy(), rewards=rewards.to_numpy(), lengths=[1, 2, 3])
    shuffled = ea.Bandit.from_counts(
        pd.Series(REFERENCE, index=ABC)[policies],
        counts.loc[rows, columns],
        rewards=rewards[columns],
        lengths=lengths[rows],
    )
    assert shuffled.responses == tuple(policies)
    order = [policies.index(label) for label in ABC]
    for name in ("reference", "rewards", "lengths"):
        np.testing.assert_array_equal(getattr(shuffled, name)[order], getattr(plain, name))
    for name in ("counts", "wins", "pairs"):
        np.testing.assert_array_equal(getattr(shuffled, name)[np.ix_(order, order)], getattr(plain, name))
    by_rows = ea.Bandit.from_counts([0.5, 0.3, 0.2], counts.loc[rows, columns])  # an array is in the order of the rows
    assert by_rows.responses == tuple(rows)
    population = ea.Bandit(
        pd.Series(REFERENCE, index=ABC)[policies],
        pd.Series(OPTIMAL, index=ABC)[rows],
        (counts + counts.T).loc[rows, columns],
    )
    plainly = ea.Bandit(REFERENCE, OPTIMAL, (counts + counts.T).to_numpy())
    np.testing.assert_allclose(population.wins[np.ix_(order, order)], plainly.wins, rtol=1e-15)
    stated = pd.DataFrame(plainly.preference, index=ABC, columns=ABC).loc[rows, columns]
    again = ea.Bandit.from_preferences(pd.Series(REFERENCE, index=ABC)[policies], stated)
    np.testing.assert_array_equal(again.preference[np.ix_(order, order)], plainly.preference)


def test_frames_over_prompts() -> None:
    reference = pd.DataFrame([REFERENCE, [0.2, 0.3, 0.5]], index=["p", "q"], columns=ABC)
    optimal = reference.loc[["q", "p"], ["c", "a", "b"]]
    weights = pd.Series([3, 1], index=["q", "p"])
    bandit = ea.Bandit(reference, optimal, prompt_weights=weights)
    np.testing.assert_array_equal(bandit.optimal, bandit.reference)
    assert bandit.prompt_weights.tolist() == [0.25, 0.75] and bandit.prompt_names == ("p", "q")
    tables = [CROSS, CROSS.T]
    both = ea.Bandit.from_counts("uniform", tables, prompt_names=["home", "away"])
    np.testing.assert_array_equal(both.counts, [ALIGNED, np.transpose(ALIGNED)])
    assert both.responses == ("A", "B", "C", "D") and both.prompt_names == ("home", "away")


def test_labels_that_are_positions_are_no_names() -> None:
    reference = pd.Series(REFERENCE, index=[2, 0, 1])
    bandit = ea.Bandit(reference, pd.Series(OPTIMAL))
    assert bandit.responses is None
    np.testing.assert_array_equal(bandit.reference, [0.4, 0.2, 0.4])
    named = ea.Bandit(pd.Series(REFERENCE), pd.Series(OPTIMAL), responses=ABC)
    np.testing.assert_array_equal(named.reference, REFERENCE)
    assert named.responses == ("a", "b", "c")


MATRIX = [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
SERIES = pd.Series(REFERENCE, index=ABC)
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "crosstab under an array": (
        lambda: ea.Bandit.from_counts(np.full(3, 1 / 3), CROSS),
        "counts has a row and no column for 'D': missing entries are 0 where it is said in which order",
    ),
    "crosstab with a stranger": (
        lambda: ea.Bandit.from_counts(SERIES.rename({"a": "A", "b": "B", "c": "C"}), CROSS),
        "counts has a row 'D', which is no response: they are 'A', 'B', 'C'",
    ),
    "the diagonal of a frame": (
        lambda: ea.Bandit.from_counts("uniform", pd.DataFrame([[0, 2], [1, 0]], index=["A", "B"], columns=["B", "A"])),
        r"counts must have a zero diagonal: .*, got 2\.0 at index \(0, 0\) \('A' over 'A'\)",
    ),
    "totals": (
        lambda: ea.Bandit.from_counts("uniform", pd.crosstab(GAMES.w, GAMES.l, margins=True)),
        r"counts must hold responses alone, but 'All' is a total of the others: leave out its row and its column",
    ),
    "totals of one side": (
        lambda: ea.Bandit.from_counts("uniform", pd.crosstab(GAMES.w, GAMES.l, margins=True).drop(columns="All")),
        "counts must hold responses alone, but 'All' is a total of the others",
    ),
    "negative, by name": (
        lambda: ea.Bandit.from_counts("uniform", [[0, 1], [-1, 0]], responses=["anna", "bob"]),
        r"counts must be non-negative and finite .*, got -1\.0 at index \(1, 0\) \('bob' over 'anna'\)",
    ),
    "names on columns only": (
        lambda: ea.Bandit.from_counts("uniform", pd.DataFrame(MATRIX, columns=ABC)),
        "counts has names for its columns only: name its rows too",
    ),
    "names on rows only": (
        lambda: ea.Bandit.from_counts(REFERENCE, pd.DataFrame(MATRIX, index=ABC)),
        "counts has names for its rows only: name its columns too",
    ),
    "ties with different rows and columns": (
        lambda: ea.Bandit.from_counts(
            REFERENCE,
            pd.DataFrame(MATRIX, index=ABC, columns=ABC),
            ties=pd.DataFrame([[1]], index=["a"], columns=["b"]),
        ),
        "ties has a row and no column for 'a'",
    ),
    "ties in one order": (
        lambda: ea.Bandit.from_counts("uniform", [[0, 1], [1, 0]], ties=[[0, 1], [0, 0]], responses=["x", "y"]),
        r"ties must be symmetric, .* \(ties \+ ties\.T where .*\), got 1\.0 at index \(0, 1\) \('x' over 'y'\)",
    ),
    "ties with itself": (
        lambda: ea.Bandit.from_counts("uniform", [[0, 1], [1, 0]], ties=np.eye(2)),
        "ties must have a zero diagonal: a response does not tie with itself",
    ),
    "negative ties": (
        lambda: ea.Bandit.from_counts("uniform", [[0, 1], [1, 0]], ties=[[0, -1], [-1, 0]]),
        "ties must be non-negative and finite",
    ),
    "ties of another size": (
        lambda: ea.Bandit.from_counts("uniform", [[0, 1], [1, 0]], ties=MATRIX),
        r"ties must have shape \(2, 2\), got \(3, 3\)",
    ),
    "optimal of others": (
        lambda: ea.Bandit(SERIES, pd.Series(OPTIMAL, index=["a", "b", "d"])),
        "optimal names 'd', which is no response: they are 'a', 'b', 'c'",
    ),
    "optimal of fewer": (
        lambda: ea.Bandit(SERIES, pd.Series([0.5, 0.5], index=["a", "b"])),
        "optimal has no entry for the response 'c'",
    ),
    "pairs of fewer": (
        lambda: ea.Bandit(SERIES, OPTIMAL, pd.DataFrame([[0, 1], [1, 0]], index=["a", "b"], columns=["a", "b"])),
        "pairs has no row for 'c'",
    ),
    "prompts of others": (
        lambda: ea.Bandit(
            pd.DataFrame([REFERENCE], index=["p"], columns=ABC), pd.DataFrame([OPTIMAL], index=["q"], columns=ABC)
        ),
        "optimal names 'q', which is no prompt: they are 'p'",
    ),
    "names that repeat": (
        lambda: ea.Bandit.from_counts("uniform", pd.DataFrame(MATRIX, index=list("aab"), columns=list("aab"))),
        "counts must have distinct names, got 'a' twice",
    ),
    "names that are missing": (
        lambda: ea.Bandit(REFERENCE, OPTIMAL, responses=["a", None, "c"]),
        "responses must have no missing names, got None",
    ),
    "a name that is nan": (
        lambda: ea.Bandit(REFERENCE, OPTIMAL, responses=["a", float("nan"), "c"]),
        "responses must have no missing names, got nan",
    ),
    "two levels": (
        lambda: ea.Bandit.from_counts("uniform", pd.crosstab([GAMES.w, GAMES.l], GAMES.l)),
        r"counts must have one level of labels, got the levels \['w', 'l'\]",
    ),
    "a word for names": (
        lambda: ea.Bandit(REFERENCE, OPTIMAL, responses="abc"),
        "responses must be a sequence of names, got 'abc'",
    ),
    "too few names": (
        lambda: ea.Bandit(REFERENCE, OPTIMAL, responses=["a", "b"]),
        "reference must have a probability for each of the 2 responses 'a', 'b'; got 3",
    ),
    "names of no prompts": (
        lambda: ea.Bandit(REFERENCE, OPTIMAL, prompt_names=["p"]),
        r"reference must have a row for each of the 1 prompts 'p'; got shape \(3,\)",
    ),
    "infinite rewards": (
        lambda: ea.Bandit(REFERENCE, OPTIMAL, rewards=[0, np.inf, 1]),
        "rewards must be finite, or nan where one is not known, got inf at index 1",
    ),
    "rewards of another size": (
        lambda: ea.Bandit([REFERENCE] * 2, [OPTIMAL] * 2, rewards=[0, 1]),
        r"rewards must have shape \(3,\) or \(2, 3\), got \(2,\)",
    ),
    "lengths of 0": (
        lambda: ea.Bandit(REFERENCE, OPTIMAL, lengths=[0, 1, 2]),
        r"lengths must be positive and finite, got 0\.0 at index 0",
    ),
    "uniform over nothing": (
        lambda: ea.Bandit.from_counts("uniform", [[1]]),
        r"reference can be uniform over two responses or more, got the shape \(1,\)",
    ),
    "rows of several lengths": (
        lambda: ea.Bandit([[0.5, 0.5], REFERENCE], [[0.5, 0.5], OPTIMAL]),
        "reference must be an array of numbers with as many responses on every prompt, got 2 to 3: make a Bandit of "
        "each prompt, and a RaggedBandit",
    ),
    "preferences that do not add up, by name": (
        lambda: ea.Bandit.from_preferences("uniform", [[0.5, 0.9], [0.9, 0.5]], responses=["x", "y"]),
        r"got a sum of 1\.8 \('x' over 'y'\)",
    ),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_what_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------- prompts of several sizes


def test_prompts_with_different_responses_are_solved_part_by_part() -> None:
    two = ea.Bandit([0.5, 0.5], [0.6, 0.4])
    three = ea.Bandit([REFERENCE, REFERENCE], [OPTIMAL, [0.1, 0.2, 0.7]])
    ragged = ea.RaggedBandit([two, three], weights=[2, 1, 1])
    assert (len(ragged), ragged.prompts, ragged.weights.tolist()) == (2, 3, [0.5, 0.25, 0.25])
    assert [part.n for part in ragged] == [2, 3]
    assert repr(ragged) == "<RaggedBandit: 3 prompts, 2 to 3 responses, 2 sets of responses>"
    np.testing.assert_array_equal(ea.RaggedBandit([two, three]).weights, np.full(3, 1 / 3))
    counted = [ea.Bandit.from_counts("uniform", [[0, 3], [0, 0]]), ea.Bandit.from_counts("uniform", [MATRIX, MATRIX])]
    np.testing.assert_allclose(ea.RaggedBandit(counted).weights, [3 / 15, 6 / 15, 6 / 15])


def test_what_takes_one_bandit_says_what_to_do_with_several() -> None:
    ragged = ea.RaggedBandit([ea.Bandit([0.5, 0.5], [0.6, 0.4])])
    with pytest.raises(
        AttributeError, match=r"a RaggedBandit has no 'reference', .* take its parts, each of which is a"
    ):
        _ = ragged.reference
    with pytest.raises(AttributeError, match="take its parts"):
        ea.risk(ea.DPO(1.0), ragged, np.log([0.5, 0.5]))  # type: ignore[arg-type]
    for parts, weights, message in (
        ([], None, "parts must be a sequence of at least one Bandit"),
        ([1], None, "parts must be a sequence of at least one Bandit"),
        (ragged.parts, [1, 2], r"weights must have shape \(1,\), got \(2,\)"),
        (ragged.parts, [-1], "weights must be non-negative, finite and not all zero"),
        (ragged.parts, [0], "weights must be non-negative, finite and not all zero"),
    ):
        with pytest.raises(ValueError, match=message):
            ea.RaggedBandit(parts, weights)
    assert pickle.loads(pickle.dumps(ragged)).prompts == 1
