"""Existence and uniqueness: separable counts, disconnected graphs, unseen responses, and what is returned then."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse.csgraph import connected_components
from scipy.special import log_expit

import expo_analysis as ea
from expo_analysis.losses.facts import Facts
from expo_analysis.losses.psi import Hinge, Linear, Logistic, Square, Stated
from expo_analysis.losses.statistics import h, log_pi_w
from expo_analysis.optima.recession import WARSHALL, Structure, labels_of, with_recession, with_signed_recession
from expo_analysis.optima.structure import data_of, held_inside, structures

from . import problems
from .own_losses import own

SEPARABLE = np.array([[0, 5, 3], [0, 0, 2], [0, 1, 0]])
REFERENCE = np.array([0.4, 0.4, 0.2])


@pytest.mark.parametrize(
    "objective", [ea.DPO(0.3), ea.FDPO(0.3), ea.FDPO(0.3, "forward_kl"), ea.RLHF(0.3), ea.DPO(0.3, 0.1, robust=True)]
)
def test_separable_counts_have_no_minimiser(objective: ea.Objective) -> None:
    """Response 0 never loses: the loss falls as its probability tends to 1, which is the limit returned."""
    solution = ea.solve(objective, ea.Bandit.from_counts(REFERENCE, SEPARABLE))
    assert solution.status == "no_minimiser"
    assert "[1, 2]" in solution.message
    np.testing.assert_array_equal(solution.policy, [1.0, 0.0, 0.0])
    assert math.isnan(solution.error_bound)
    assert math.isnan(solution.value)


@pytest.mark.parametrize(
    "objective",
    [ea.EXPO(1e-4), ea.IPO(0.3), ea.DPO(0.3, label_smoothing=0.1), ea.RegressionEXPO(0.3, criterion="cross_entropy")],
)
def test_losses_that_have_one_on_separable_counts(objective: ea.Objective) -> None:
    solution = ea.solve(objective, ea.Bandit.from_counts(REFERENCE, SEPARABLE))
    assert solution.status == "optimal"
    assert solution.error_bound < 1e-8
    assert (solution.policy > 0).all()


def test_the_loss_really_falls_towards_the_limit() -> None:
    bandit, objective = ea.Bandit.from_counts(REFERENCE, SEPARABLE), ea.DPO(0.3)
    values = []
    for t in (1.0, 3.0, 10.0, 30.0):
        logits = np.log(REFERENCE) + np.array([t, 0.0, np.log(2) / 0.3 * 0])
        values.append(float(ea.risk(objective, bandit, logits - np.logaddexp.reduce(logits))))
    assert all(later < earlier for earlier, later in itertools.pairwise(values))


def test_two_groups_of_winners_that_never_meet_share_as_the_reference_does() -> None:
    wins = np.zeros((4, 4))
    wins[0, 2] = wins[1, 2] = 3  # 0 and 1 only ever beat 2; 2 and 3 beat each other
    wins[2, 3] = wins[3, 2] = 1
    solution = ea.solve(ea.DPO(1.0), ea.Bandit.from_counts([0.1, 0.3, 0.3, 0.3], wins))
    assert solution.status == "no_minimiser"
    np.testing.assert_allclose(solution.policy, [0.25, 0.75, 0, 0], rtol=1e-14)
    assert "[2, 3]" in solution.message
    assert "[0], [1]" in solution.message


PAIRS = np.zeros((5, 5))
PAIRS[0, 1] = PAIRS[1, 0] = PAIRS[2, 3] = PAIRS[3, 2] = 1


@pytest.mark.parametrize("objective", [ea.DPO(0.3), ea.IPO(0.3), ea.FDPO(0.3), ea.RegressionEXPO(0.3)])
def test_disconnected_graphs_leave_masses_open(objective: ea.Objective) -> None:
    bandit = ea.Bandit([0.1, 0.3, 0.2, 0.25, 0.15], [0.35, 0.15, 0.2, 0.1, 0.2], PAIRS)
    solution = ea.solve(objective, bandit)
    assert solution.status == "not_unique"
    assert "[0, 1], [2, 3], [4]" in solution.message
    assert "[4] are in no comparison" in solution.message
    masses = [solution.policy[:2].sum(), solution.policy[2:4].sum(), solution.policy[4]]
    np.testing.assert_allclose(masses, [0.4, 0.45, 0.15], rtol=1e-14)
    # another member of the same set of minimisers: mass moved between components, which f-DPO does by its own root
    if not isinstance(objective, ea.FDPO):
        moved = solution.policy * np.array([1.5, 1.5, 1.0, 1.0, 1.0])
        value = ea.risk(objective, bandit, np.log(moved / moved.sum()))
        assert float(value) == pytest.approx(float(solution.value), rel=1e-12)


def test_a_disconnected_member_minimises_f_dpo_too() -> None:
    """Any feasible change of the policy returned raises the risk or keeps it."""
    bandit = ea.Bandit([0.1, 0.3, 0.2, 0.25, 0.15], [0.35, 0.15, 0.2, 0.1, 0.2], PAIRS)
    objective = ea.FDPO(0.3)
    solution = ea.solve(objective, bandit)
    rng = np.random.default_rng(0)
    for _ in range(200):
        logits = solution.log_policy + 10 ** rng.uniform(-4, 0) * rng.standard_normal(5)
        other = ea.risk(objective, bandit, logits - np.logaddexp.reduce(logits))
        assert float(other) >= float(solution.value) - 1e-14


def test_expo_names_the_components_it_conserves() -> None:
    bandit = ea.Bandit([0.1, 0.3, 0.2, 0.25, 0.15], [0.35, 0.15, 0.2, 0.1, 0.2], PAIRS)
    solution = ea.solve(ea.EXPO(0.3), bandit)
    assert solution.status == "optimal"
    assert "each keeps its mass" in solution.message
    assert solution.error_bound < 1e-13


def test_an_unseen_response_in_counts() -> None:
    wins = np.zeros((3, 3))
    wins[0, 1], wins[1, 0] = 3, 1
    bandit = ea.Bandit.from_counts(REFERENCE, wins)
    dpo, expo = ea.solve(ea.DPO(1.0), bandit), ea.solve(ea.EXPO(1.0), bandit)
    assert dpo.status == "not_unique"
    assert "[2] are in no comparison" in dpo.message
    assert expo.status == "optimal"
    assert expo.policy[2] == pytest.approx(0.2, rel=1e-15)


def of_one(cost: np.ndarray, linked: np.ndarray, held: np.ndarray) -> Structure:
    """The structure of one prompt."""
    ((structure, places),) = with_recession(cost[None], linked[None], held[None])
    assert places.tolist() == [0]
    return structure


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, WARSHALL, WARSHALL + 1])
@pytest.mark.parametrize("strong", [False, True])
def test_parts_of_many_graphs_at_a_time(n: int, strong: bool) -> None:
    """Against scipy's, graph by graph, named by their first vertices."""
    rng = np.random.default_rng(n)
    graphs = rng.random((40, n, n)) < rng.uniform(0, 3 / n, (40, 1, 1))
    for graph, label in zip(graphs, labels_of(graphs, strong), strict=True):
        count, theirs = connected_components(graph, directed=strong, connection="strong")
        assert len(set(label.tolist())) == count
        for k in range(n):
            assert label[k] == np.flatnonzero(theirs == theirs[k])[0]


@pytest.mark.parametrize("n", [2, 4, 8, 9, 12])
def test_structures_of_many_prompts_are_those_of_each(n: int) -> None:
    """Also where labels no longer fit into one number; every prompt once."""
    rng = np.random.default_rng(n)
    cost = rng.random((300, n, n)) < rng.uniform(0, 2 / n, (300, 1, 1))
    cost &= ~np.eye(n, dtype=bool)
    linked = cost | np.swapaxes(cost, 1, 2)
    held = rng.random((300, n)) < rng.choice([0.0, 0.3], (300, 1))
    found = with_recession(cost, linked, held)
    assert sorted(np.concatenate([places for _, places in found]).tolist()) == list(range(300))
    assert len({structure for structure, _ in found}) == len(found)
    for structure, places in found:
        for k in places:
            assert structure == of_one(cost[k], linked[k], held[k])
            inside = [set(c) for c in structure.components]
            for piece in structure.pieces:
                (component,) = [c for c in inside if set(piece) <= c]
                rest = sorted(component - set(piece))
                assert not cost[k][np.ix_(piece, rest)].any() and not held[k][rest].any()  # nothing holds the rest up
            assert sorted({*sum(structure.pieces, ()), *structure.lost}) == list(range(n))


def _brute_force_exists(cost: np.ndarray) -> bool:
    """Every cut of the (connected) graph costs something: by enumeration of all subsets."""
    n = len(cost)
    for size in range(1, n):
        for subset in itertools.combinations(range(n), size):
            rest = [i for i in range(n) if i not in subset]
            if cost[np.ix_(subset, rest)].sum() <= 1e-12:
                return False
    return True


@pytest.mark.parametrize("robust", [False, True])
def test_existence_against_enumeration_of_cuts(robust: bool) -> None:
    rng = np.random.default_rng(1)
    verdicts = set()
    for _ in range(70):
        n = int(rng.integers(2, 6))
        wins = rng.poisson(rng.choice([0.4, 1.0, 3.0]), (n, n)) * (1 - np.eye(n))
        linked = (wins + wins.T) > 0
        nowhere = np.zeros(n)
        if len(of_one(linked, linked, nowhere > 0).components) > 1:
            continue
        eps = 0.2
        cost = ((1 - eps) * wins.T - eps * wins) / (1 - 2 * eps) if robust else wins.T.copy()
        signed = with_signed_recession(cost, linked, nowhere)
        structure = signed if robust else of_one(cost > 0, linked, nowhere > 0)
        exists = structure.pieces == (tuple(range(n)),)
        assert exists == (signed.pieces == (tuple(range(n)),))  # linear programs tell what the graph tells
        assert exists == _brute_force_exists(cost)
        verdicts.add(exists)
        objective = ea.DPO(0.7, label_smoothing=eps, robust=True) if robust else ea.DPO(0.7)
        solution = ea.solve(objective, ea.Bandit.from_counts(np.full(n, 1 / n), wins))
        assert solution.status == ("optimal" if exists else "no_minimiser")
        assert np.isfinite(solution.error_bound) == exists  # the certificate proves existence a second time
    assert verdicts == {True, False}


def test_the_limit_is_where_a_vanishing_penalty_leads() -> None:
    """Add a tiny ridge on the scores, which makes a minimiser, and let scipy find it: it lies near the limit."""
    rng = np.random.default_rng(2)
    tried = 0
    while tried < 12:
        n = int(rng.integers(3, 5))
        wins = rng.poisson(1.0, (n, n)) * (1 - np.eye(n))
        structure = of_one(wins.T > 0, (wins + wins.T) > 0, np.zeros(n, dtype=bool))
        if not structure.lost or len(structure.pieces) > 1:
            continue
        tried += 1
        reference, lam = rng.dirichlet(np.full(n, 5.0)), 0.2
        solution = ea.solve(ea.DPO(lam), ea.Bandit.from_counts(reference, wins))

        def penalised(s: np.ndarray, wins: np.ndarray = wins) -> float:
            return float(-np.sum(wins * log_expit(s[:, None] - s)) + 1e-7 * s @ s)

        scores = minimize(penalised, np.zeros(n), method="BFGS", options={"gtol": 1e-10}).x
        policy = reference * np.exp((scores - scores.max()) / lam)
        np.testing.assert_allclose(policy / policy.sum(), solution.policy, atol=1e-3)


def test_prompts_of_different_structure_in_one_batch() -> None:
    rng = np.random.default_rng(3)
    reference = np.stack([problems.policy(rng, 4, 0.05) for _ in range(15)])
    wins = rng.poisson(0.6, (15, 4, 4)) * (1 - np.eye(4))
    batch = ea.Bandit.from_counts(reference, wins)
    lams = np.array([0.1, 1.0, 10.0])
    for objective in (ea.DPO(1.0), ea.EXPO(1.0), ea.IPO(1.0), ea.RLHF(1.0, "jensen_shannon"), ea.RegressionEXPO(1.0)):
        path = ea.solve_path(objective, batch, lams)
        assert len(set(path.status.ravel())) > 1 or isinstance(objective, ea.EXPO)
        for x in range(15):
            if not wins[x].any():
                np.testing.assert_allclose(path.policies[:, x], np.broadcast_to(reference[x], (3, 4)), rtol=1e-12)
                continue
            for k, lam in enumerate(lams):
                alone = ea.solve(objective.with_lam(lam), ea.Bandit.from_counts(reference[x], wins[x]))
                np.testing.assert_allclose(path.policies[k, x], alone.policy, atol=1e-9)
                assert path.status[k, x] == alone.status
                assert path.message[k, x].split("(")[0] == alone.message.split("(")[0]


@pytest.mark.parametrize("made", [ea.EXPO, ea.DPO, ea.IPO, ea.Hinge, ea.DPOP, ea.SLiC, ea.CPO, ea.RLHF, ea.KTO])
def test_pieces_of_one_size_are_one_batch(made: type[ea.Objective]) -> None:
    """Six responses in up to three pieces of two: what is said of each piece, and its error, are the problem's."""
    rng = np.random.default_rng(4)
    wins = np.zeros((16, 6, 6))
    for x in range(16):
        order = rng.permutation(6)
        for i, j in (order[:2], order[2:4], order[4:], order[1:3])[: 3 + x % 2]:
            wins[x, i, j], wins[x, j, i] = rng.poisson(1.5, 2)
    reference = rng.dirichlet(np.full(6, 4.0), 16)
    together = ea.solve(made(0.5), ea.Bandit.from_counts(reference, wins))
    for x in range(16):
        alone = ea.solve(made(0.5), ea.Bandit.from_counts(reference[x], wins[x]))
        np.testing.assert_allclose(together.policy[x], alone.policy, atol=1e-6 if made is ea.KTO else 1e-9)
        assert together.status[x] == alone.status
        said = (re.sub(r"[0-9]+ of [0-9]+ starts", "", text) for text in (together.message[x], alone.message))
        assert len({tuple(sorted(text.split("; "))) for text in said}) == 1
        np.testing.assert_allclose(together.error_bound[x], alone.error_bound, rtol=1, atol=1e-14)


def test_a_prompt_without_comparisons_beside_one_that_has_some() -> None:
    bandit = ea.Bandit.from_counts([[0.4, 0.6], [0.5, 0.5]], [[[0, 1], [2, 0]], [[0, 0], [0, 0]]])
    solution = ea.solve(ea.ExplicitPO(1.0, divergence="reverse_kl"), bandit)
    np.testing.assert_allclose(solution.policy[1], [0.5, 0.5], atol=1e-8)


def test_chi_square_far_into_the_boundary() -> None:
    """f-DPO with chi-square at a tiny lambda: a proof by KKT even where probabilities underflow."""
    bandit = ea.Bandit.from_counts([0.1, 0.3, 0.5, 0.1], [[0, 2, 0, 2], [4, 0, 1, 0], [2, 1, 0, 3], [0, 1, 2, 0]])
    solution = ea.solve(ea.FDPO(1e-5, divergence="chi_square"), bandit)
    assert solution.status == "optimal"
    assert "KKT" in solution.message
    # convex in the policy: no vertex or random policy does better
    rng = np.random.default_rng(0)
    for policy in [*np.eye(4), *rng.dirichlet(np.ones(4) * 0.3, 300)]:
        other = ea.risk(ea.FDPO(1e-5, divergence="chi_square"), bandit, np.log(np.maximum(policy, 1e-300)))
        assert float(other) >= float(solution.value) - 1e-14


@pytest.mark.parametrize("objective", [ea.BradleyTerry(0.5), ea.SimPO(0.5)], ids=repr)
def test_losses_of_the_own_ratio_have_no_minimiser_on_separable_data(objective: ea.PairObjective) -> None:
    """As for DPO: all mass goes to what never loses, and inside the rest nothing is left."""
    bandit = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 5, 3], [0, 0, 2], [0, 1, 0]])
    solution = ea.solve(objective, bandit)
    assert solution.status == ea.solve(ea.DPO(0.5), bandit).status == "no_minimiser"
    np.testing.assert_array_equal(solution.policy, [1.0, 0.0, 0.0])
    assert np.isnan(solution.error_bound)


def test_a_convex_loss_whose_slopes_are_not_known_is_not_called_optimal_far_out() -> None:
    """On separable data Newton's method may stop where rounding hides that the loss still falls."""

    class Again(ea.BradleyTerry):
        def ratio_slopes(self) -> None:
            return None

    bandit = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 5, 3], [0, 0, 2], [0, 1, 0]])
    assert ea.solve(Again(0.5), bandit).status in ("no_minimiser", "failed")


def test_what_a_regulariser_holds_inside() -> None:
    """Losses of log-ratios bounded below, that near their infimum at a rate of 1 or more; for alpha above 1 - alpha."""
    js, mixed, kl = ea.JensenShannon(), ea.MixedChiSquare(), ea.ReverseKL()
    for step in (0.3, 0.5, 0.7, 1.0, 2.0):
        facts = {d: Facts(Logistic()(step * h), d) for d in (js, mixed, kl, ea.Alpha(0.5), ea.Alpha(0.25))}
        for divergence, known in facts.items():
            alpha = divergence.alpha if isinstance(divergence, ea.Alpha) else None
            assert held_inside(known) == (step >= 1 if alpha is None else step > 1 - alpha), (divergence, step)
        assert held_inside(Facts(Logistic()(h) + Logistic()(step * h), kl)) == (step >= 1)
        for divergence in (None, ea.ChiSquare(), ea.ForwardKL()):
            assert not held_inside(Facts(Logistic()(step * h), divergence))
    for terms in (Logistic()(2.0 * h) + Linear(-1.0)(h), Logistic()(2.0 * h) + Linear(-1.0)(log_pi_w)):
        assert not held_inside(Facts(terms, kl))
    assert not held_inside(Facts(Stated(lambda m: m**2, convex=True, lower_bound=0.0)(h), kl))
    assert held_inside(Facts(Hinge()(0.1 * h), kl)) and not held_inside(Facts(Square()(3.0 * h), kl))


def test_where_a_minimiser_is_known_to_exist() -> None:
    """Convex ones wherever pieces are found; others where slopes hold all that is compared; else it is not known."""
    ring = np.zeros((3, 3))
    ring[[0, 1, 2], [1, 2, 0]] = 1
    chain = np.zeros((3, 3))
    chain[[0, 1], [1, 2]] = 1
    bandit = ea.Bandit.from_counts(np.full((2, 3), 1 / 3), [ring, chain])
    rises = Stated(lambda m: 0.25 * (abs(1 - m) + 1 - m) ** 2, slopes=(-1.0, 0.0), lower_bound=0.0)
    for objective, exists, pieces in (
        (ea.DPO(0.5), [True, True], {((0, 1, 2),): [0], ((0,),): [1]}),
        (ea.IPO(0.5), [True, True], {((0, 1, 2),): [0, 1]}),
        (own(lambda lam: rises(h)), [True, False], {((0, 1, 2),): [0, 1]}),
        (own(lambda lam: Stated(lambda m: m**4)(h)), [False, False], {((0, 1, 2),): [0, 1]}),
        (own(lambda lam: Logistic()(h), ea.ReverseKL()), [True, True], {((0, 1, 2),): [0, 1]}),
        (own(lambda lam: Logistic()(0.5 * h), ea.ReverseKL()), [False, False], {((0, 1, 2),): [0, 1]}),
    ):
        found = structures(objective, bandit, np.array([0.5, 0.7]), data_of(objective, bandit))
        assert found.exists.tolist() == exists * 2, objective
        groups = {structure.pieces: at.tolist() for structure, at in found.groups}
        assert groups == {own_: [*at, *(k + 2 for k in at)] for own_, at in pieces.items()}, objective
