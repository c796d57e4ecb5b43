"""Every kind of feedback: labels and scores of single responses, rankings, triples; against definitions and others."""

from __future__ import annotations

import itertools
from typing import Any

import choix
import mpmath as mp
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize
from scipy.special import expit, logsumexp
from sklearn.linear_model import LogisticRegression

import expo_analysis as ea
from expo_analysis import simulators

REFERENCE = np.array([0.5, 0.3, 0.15, 0.05])


def by_search(objective: ea.PairObjective, bandit: ea.Bandit) -> np.ndarray:
    """The lowest of `risk` that BFGS finds from three starts: to check policies, not to find them."""
    n = bandit.n

    def value(theta: np.ndarray) -> float:
        return float(ea.risk(objective, bandit, theta - logsumexp(theta)))

    starts = [np.log(bandit.reference), np.zeros(n), np.linspace(1, -1, n)]
    best = min((minimize(value, t, method="BFGS", options={"gtol": 1e-10}) for t in starts), key=lambda r: r.fun)
    return np.exp(best.x - logsumexp(best.x))


# ------------------------------------------------------------------------------------------------------ labels, scores


@pytest.mark.parametrize("name", ["kto", "bco", "nca", "apo_zero", "sppo", "sft"])
def test_labels_take_a_loss_apart(name: str) -> None:
    """f where liked, g where disliked: the risk from `loss` on pairs whose other end is held fixed."""
    liked, disliked = np.array([3.0, 1.0, 0.5, 2.0]), np.array([1.0, 2.0, 4.0, 0.25])
    bandit = ea.Bandit.from_labels(REFERENCE, liked, disliked)
    objective = ea.objective(name, 0.7)
    log_policy = np.log(np.random.default_rng(0).dirichlet(np.ones(4), 5))
    ref = np.log(REFERENCE)
    at = np.full(4, -1.0)

    def part(k: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        won = objective.loss(x, at, ref, at) - objective.loss(at, at, at, at)
        lost = objective.loss(at, x, at, ref) - objective.loss(at, at, at, at)
        return won, lost

    # f(w) + g(l), each up to a constant, which the constants of both at `at` restore
    constant_f = {"kto": 0.5, "apo_zero": 0.5}.get(name)
    found = ea.risk(objective, bandit, log_policy)
    parts = [part(k, x) for k, x in enumerate(log_policy)]
    expected = np.array([(liked * won + disliked * lost).sum() for won, lost in parts]) / (liked + disliked).sum()
    np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=1e-12, atol=1e-13)
    assert constant_f is None or np.isfinite(found).all()


def test_likelihood_of_liked_responses() -> None:
    bandit = ea.Bandit.from_labels(REFERENCE, [3, 1, 0.5, 2], [1, 2, 4, 7])
    solution = ea.solve(ea.SFT(1.0), bandit)
    np.testing.assert_allclose(solution.policy, np.array([3, 1, 0.5, 2]) / 6.5, rtol=1e-14)
    assert solution.message == "the minimiser"
    lost = ea.solve(ea.SFT(1.0), ea.Bandit.from_labels(REFERENCE, [3, 1, 0, 2], [1, 2, 4, 7]))
    assert lost.status == "no_minimiser" and lost.message.startswith("no minimiser: responses [2] were never liked, so")


def test_bco_on_labels_is_stationary() -> None:
    """d/dlog pi_i of the risk is the same multiple of pi_i for all i: the gradient in the logits is zero."""
    liked, disliked = np.array([3.0, 1.0, 0.5, 2.0]), np.array([1.0, 2.0, 4.0, 0.25])
    solution = ea.solve(ea.BCO(0.7), ea.Bandit.from_labels(REFERENCE, liked, disliked))
    m = 0.7 * np.log(solution.policy / REFERENCE)
    slope = 0.7 * (disliked * expit(m) - liked * expit(-m))
    np.testing.assert_allclose(slope, solution.policy * slope.sum(), atol=1e-9)


def test_losses_of_pairs_are_refused_on_labels() -> None:
    bandit = ea.Bandit.from_labels(REFERENCE, [1, 1, 1, 1], [1, 1, 1, 1])
    for objective in (ea.DPO(1.0), ea.EXPO(1.0), ea.CPO(1.0), ea.WRPO(1.0)):
        for call in (ea.solve, lambda o, b: ea.risk(o, b, np.log(REFERENCE))):
            with pytest.raises(ValueError, match=f"bandit must hold pairs for {type(objective).__name__}, which"):
                call(objective, bandit)


def test_labels_and_scores_are_not_taken_for_each_other() -> None:
    """Every loss of the catalogue, on scores: it reads them, or it is refused; and the reverse on labels."""
    scored = ea.Bandit.from_scores(REFERENCE, [0.3, -1.0, 2.0, 0.0])
    labelled = ea.Bandit.from_labels(REFERENCE, [1, 2, 1, 1], [1, 1, 3, 1])
    taken: dict[str, list[str]] = {"scores": [], "labels": []}
    for name in sorted(set(ea.losses.CATALOGUE) - {"qpo"}):
        objective = ea.objective(name, 1.0)
        for kind, bandit in (("scores", scored), ("labels", labelled)):
            try:
                ea.risk(objective, bandit, np.log(REFERENCE))
                taken[kind].append(name)
            except ValueError as error:
                assert "\n" not in str(error)
    assert taken["scores"] == ["a_star_po", "qrpo", "rlhf"]
    assert taken["labels"] == ["apo_zero", "bco", "kto", "nca", "sft", "simper", "sppo"]
    message = (
        r"^bandit must hold labels for KTO, which reads whether a response is good; it has scores, which .* AStarPO"
    )
    for call in (ea.solve, lambda o, b: ea.risk(o, b, np.log(REFERENCE))):
        with pytest.raises(ValueError, match=message):
            call(ea.KTO(1.0), scored)
    with pytest.raises(ValueError, match=r"^bandit must state rewards, which RLHF reads"):
        ea.solve(ea.RLHF(1.0), labelled)


@pytest.mark.parametrize("lam", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("pairs", [False, True])
def test_a_star_po_finds_the_tilted_reference(lam: float, pairs: bool) -> None:
    rewards = np.array([0.3, -1.0, 2.0, 0.0])
    bandit = ea.Bandit(REFERENCE, [0.25] * 4, rewards=rewards) if pairs else ea.Bandit.from_scores(REFERENCE, rewards)
    expected = np.log(REFERENCE) + rewards / lam
    expected = expected - logsumexp(expected)
    found = ea.solve(ea.AStarPO(lam), bandit)
    assert found.status == "optimal" and "every term is at its least" in found.message
    assert np.abs(found.policy - np.exp(expected)).sum() <= found.error_bound < 1e-11
    np.testing.assert_allclose(found.log_policy, expected, atol=1e-12 * max(1, 1 / lam))
    assert ea.risk(ea.AStarPO(lam), bandit, expected) < 1e-25
    other = ea.solve(ea.AStarPO(lam, beta=3 * lam), bandit)  # which is not self-consistent
    assert other.value > 1e-6 and other.status == "best_found"


def test_a_star_po_of_a_population_knows_its_lambdas() -> None:
    """The value V depends on lambda: a path solves each with its own."""
    bandit = ea.Bandit.from_scores(REFERENCE, [0.3, -1.0, 2.0, 0.0])
    path = ea.solve_path(ea.AStarPO(1.0), bandit, [0.3, 1.0, 3.0])
    for k, lam in enumerate((0.3, 1.0, 3.0)):
        np.testing.assert_allclose(path.policies[k], ea.solve(ea.AStarPO(lam), bandit).policy, atol=1e-9)


def test_qrpo_by_definition() -> None:
    rewards = np.array([0.3, -1.0, 2.0, -1.0])  # with a tie
    q = np.array([sum(r for r, other in zip(REFERENCE, rewards, strict=True) if other <= own) for own in rewards])
    bandit = ea.Bandit.from_scores(REFERENCE, rewards, counts=[1, 2, 3, 4])
    log_policy = np.log([0.1, 0.2, 0.3, 0.4])
    for lam in (0.2, 1.0, 5.0):
        with mp.workdps(40):
            z = float(mp.log(lam * (mp.exp(1 / mp.mpf(lam)) - 1)))
        gap = q - lam * z - lam * (log_policy - np.log(REFERENCE))
        assert ea.risk(ea.QRPO(lam), bandit, log_policy) == pytest.approx((gap**2 @ [1, 2, 3, 4]) / 10, rel=1e-12)
        exact = np.log(REFERENCE) + q / lam
        assert ea.risk(ea.QRPO(lam, "exact"), bandit, exact - logsumexp(exact)) < 1e-25
        found = ea.solve(ea.QRPO(lam, "exact"), bandit)
        assert np.abs(found.policy - np.exp(exact - logsumexp(exact))).sum() <= found.error_bound < 1e-11
    with mp.workdps(40):  # what public code takes for it is 0.46 too much at lam = 1
        assert 1.0 - float(mp.log(mp.e - 1)) == pytest.approx(0.4587, abs=1e-4)


def test_weights_of_labels_are_counts() -> None:
    """Twice the labels change nothing; prompts are solved one by one."""
    liked, disliked = np.array([[3.0, 1, 2, 1], [1, 1, 1, 5]]), np.array([[1.0, 2, 1, 1], [2, 2, 3, 1]])
    reference = np.stack([REFERENCE, REFERENCE[::-1]])
    both = ea.solve(ea.NCA(0.5), ea.Bandit.from_labels(reference, liked, disliked))
    for x in range(2):
        one = ea.solve(ea.NCA(0.5), ea.Bandit.from_labels(reference[x], 2 * liked[x], 2 * disliked[x]))
        np.testing.assert_allclose(both.policy[x], one.policy, atol=1e-8)


# ------------------------------------------------------------------------------------------------------------ rankings


def random_rankings(rng: np.random.Generator, n: int, count: int) -> list[list[int]]:
    """Rankings of random lengths, and one cycle so that everybody wins and loses."""
    found = [rng.permutation(n)[: rng.integers(2, n + 1)].tolist() for _ in range(count)]
    return [*found, list(range(n)), list(range(n))[::-1]]


def by_newton(rankings: list[list[int]], weights: list[float], reference: Any, kind: str, lam: float) -> list[mp.mpf]:
    """The minimiser in 50 digits, for PL likelihood ("own"), DPO ("relative") or EXPO ("held")."""
    n, total = len(reference), mp.fsum(weights)
    ref = [mp.mpf(float(r)) for r in reference]
    scale = mp.mpf(1) if kind == "held" else mp.mpf(lam)
    x = [mp.log(r) if kind == "relative" else mp.mpf(0) for r in ref]
    for _ in range(200):
        g, hessian = [mp.mpf(0)] * n, mp.zeros(n)
        score = [scale * (x[i] - (mp.log(ref[i]) if kind == "relative" else 0)) for i in range(n)]
        for ranking, weight in zip(rankings, weights, strict=True):
            for k in range(len(ranking) - 1):
                rest = ranking[k:]
                norm = mp.fsum(mp.exp(score[i]) for i in rest)
                p = {i: mp.exp(score[i]) / norm for i in rest}
                w = mp.mpf(weight) / total
                for i in rest:
                    g[i] += w * scale * (p[i] - (i == ranking[k]))
                    for j in rest:
                        hessian[i, j] += w * scale**2 * (p[i] * (i == j) - p[i] * p[j])
        if kind == "held":
            top = mp.fsum(mp.exp(t) for t in x)
            pi = [mp.exp(t) / top for t in x]
            for i in range(n):
                g[i] += lam * (pi[i] - ref[i])
                for j in range(n):
                    hessian[i, j] += lam * (pi[i] * (i == j) - pi[i] * pi[j])
        step = mp.lu_solve(hessian[1:, 1:], mp.matrix([-v for v in g[1:]]))
        reach = max(abs(s) for s in step)
        shorter = min(mp.mpf(1), 1 / (reach * scale)) if reach else mp.mpf(1)
        x = [x[0], *(x[k + 1] + shorter * step[k] for k in range(n - 1))]
        if reach < mp.mpf(10) ** -25:
            break
    top = mp.fsum(mp.exp(t) for t in x)
    return [mp.exp(t) / top for t in x]


LISTWISE = {"own": ea.PlackettLuce, "relative": ea.PlackettLuceDPO, "held": ea.PlackettLuceEXPO}


def check_bound(seed: int) -> None:
    rng = np.random.default_rng([3, seed])
    n = int(rng.integers(2, 6))
    rankings = random_rankings(rng, n, int(rng.integers(1, 12)))
    weights = rng.exponential(1.0, len(rankings)).tolist()
    reference = rng.dirichlet(np.full(n, 0.7)) + 1e-6
    bandit = ea.Bandit.from_rankings(reference / reference.sum(), rankings, weights=weights)
    kind = list(LISTWISE)[seed % 3]
    lam = float(10 ** rng.uniform(-2, 2))
    solution = ea.solve(LISTWISE[kind](lam), bandit)
    with mp.workdps(50):
        exact = by_newton(rankings, weights, bandit.reference, kind, lam)
        error = float(mp.fsum(abs(p - mp.mpf(float(q))) for p, q in zip(exact, solution.policy, strict=True)))
    assert solution.status == "optimal" and error <= solution.error_bound < 1e-9, (seed, kind, lam, error)


@pytest.mark.parametrize("seed", range(30))
def test_bounds_of_rankings_hold(seed: int) -> None:
    check_bound(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_bounds_of_many_rankings_hold(block: int) -> None:
    for seed in range(300 * block, 300 * (block + 1)):
        check_bound(1000 + seed)


def test_plackett_luce_is_choix() -> None:
    rng = np.random.default_rng(5)
    for n in (3, 5, 8):
        rankings = random_rankings(rng, n, 30)
        theirs = choix.opt_rankings(n, rankings, alpha=0.0, tol=1e-12)
        ours = ea.solve(ea.PlackettLuce(1.0), ea.Bandit.from_rankings("uniform", rankings))
        expected = np.exp(theirs - logsumexp(theirs))
        np.testing.assert_allclose(ours.policy, expected, atol=1e-6)
        # choix stops by its gradient: the likelihood is no worse at ours
        assert ours.value <= float(ea.risk(ea.PlackettLuce(1.0), ours.bandit, np.log(expected))) + 1e-14


def test_best_of_a_set_is_choix_top1() -> None:
    rng = np.random.default_rng(6)
    n, data = 5, []
    for _ in range(60):
        chosen, *rest = rng.permutation(n)[: rng.integers(2, n + 1)].tolist()
        data.append((chosen, rest))
    data += [(i, [j for j in range(n) if j != i]) for i in range(n)]
    theirs = choix.opt_top1(n, data, alpha=0.0, tol=1e-12)
    bandit = ea.Bandit.from_rankings("uniform", [[c] for c, _ in data], sets=[[c, *rest] for c, rest in data])
    ours = ea.solve(ea.PlackettLuce(1.0), bandit)
    np.testing.assert_allclose(ours.policy, np.exp(theirs - logsumexp(theirs)), atol=1e-6)


def test_rankings_of_two_are_pairs() -> None:
    """The same data as rankings and as counts, to rounding."""
    counts = np.array([[0, 3, 1.5, 1], [2, 0, 4, 1], [1, 1, 0, 2], [1, 2, 0.5, 0]])
    rows = [(i, j) for i, j in itertools.permutations(range(4), 2)]
    listed = ea.Bandit.from_rankings(REFERENCE, rows, weights=[counts[i, j] for i, j in rows])
    counted = ea.Bandit.from_counts(REFERENCE, counts)
    for one, other in (
        (ea.PlackettLuce, ea.BradleyTerry),
        (ea.PlackettLuceDPO, ea.DPO),
        (ea.PlackettLuceEXPO, ea.EXPO),
    ):
        for lam in (0.01, 0.5, 30.0):
            ours, theirs = ea.solve(one(lam), listed), ea.solve(other(lam), counted)
            np.testing.assert_allclose(ours.policy, theirs.policy, atol=1e-13)
            assert ours.value == pytest.approx(theirs.value, rel=1e-12)
            np.testing.assert_allclose(ea.solve(one(lam), counted).policy, theirs.policy, atol=1e-14)
            np.testing.assert_allclose(ea.solve(other(lam), listed).policy, theirs.policy, atol=1e-13)


def test_risk_of_rankings_by_definition() -> None:
    rankings, weights = [[2, 0, 1], [3], [1, 2, 3, 0]], [1.0, 2.0, 0.5]
    bandit = ea.Bandit.from_rankings(REFERENCE, rankings, sets=[[0, 1, 2], range(4), range(4)], weights=weights)
    log_policy = np.log([0.1, 0.2, 0.3, 0.4])
    s = 0.7 * (log_policy - np.log(REFERENCE))
    choices = [[(2, [0, 1, 2]), (0, [0, 1])], [(3, range(4))], [(1, range(4)), (2, [0, 2, 3]), (3, [0, 3])]]
    expected = sum(
        w / 3.5 * sum(logsumexp(s[list(among)]) - s[c] for c, among in own)
        for w, own in zip(weights, choices, strict=True)
    )
    assert ea.risk(ea.PlackettLuceDPO(0.7), bandit, log_policy) == pytest.approx(expected, rel=1e-14)
    kl = (REFERENCE * (np.log(REFERENCE) - log_policy)).sum()
    own = sum(
        w / 3.5 * sum(logsumexp(log_policy[list(among)]) - log_policy[c] for c, among in choice)
        for w, choice in zip(weights, choices, strict=True)
    )
    assert ea.risk(ea.PlackettLuceEXPO(0.3), bandit, log_policy) == pytest.approx(own + 0.3 * kl, rel=1e-14)


def test_rankings_by_prompt_and_by_name() -> None:
    names, reference = ["a", "b", "c"], np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    rows = {"x": [["a", "b", "c"], ["c", "a"], ["b", "a"]], "y": [["c", "b", "a"], ["a", "c", "b"]]}
    every, prompts = [r for own in rows.values() for r in own], [x for x, own in rows.items() for _ in own]
    bandit = ea.Bandit.from_rankings(reference, every, prompts=prompts, responses=names, prompt_names=["x", "y"])
    both = ea.solve(ea.PlackettLuceEXPO(0.2), bandit)
    for k, (own, ref) in enumerate(zip(rows.values(), reference, strict=True)):
        one = ea.solve(ea.PlackettLuceEXPO(0.2), ea.Bandit.from_rankings(ref, own, responses=names))
        np.testing.assert_allclose(both.policy[k], one.policy, atol=1e-13)
    np.testing.assert_allclose(bandit.prompt_weights, [3 / 5, 2 / 5])  # a ranking is a datum


def test_rankings_of_parts_that_differ_from_prompt_to_prompt() -> None:
    """Each part has the optimum that it has alone, at its share of the rankings and of the reference's mass."""
    rng = np.random.default_rng(11)
    parts = {"x": ([0, 1, 2], [3, 4, 5]), "y": ([3, 1, 5], [0, 2, 4]), "z": ([0, 1], [2, 4, 5, 3])}
    rows = [(x, rng.permutation(own).tolist()) for x, both in parts.items() for own in both for _ in range(7)]
    weights, reference = rng.uniform(0.02, 0.4, len(rows)), rng.dirichlet(np.full(6, 3.0), 3)
    prompts, every = zip(*rows, strict=True)
    bandit = ea.Bandit.from_rankings(reference, every, prompts=prompts, prompt_names=list(parts), weights=weights)
    lam = 0.2
    held, free = ea.solve(ea.PlackettLuceEXPO(lam), bandit), ea.solve(ea.PlackettLuceDPO(lam), bandit)
    assert (held.status == "optimal").all() and set(free.status) <= {"not_unique", "no_minimiser"}
    bounds = np.zeros(3)
    for k, (x, both) in enumerate(parts.items()):
        of_prompt = np.array([prompt == x for prompt in prompts])
        for own in both:
            inside = of_prompt & [set(row) == set(own) for row in every]
            mass, share = reference[k, own].sum(), weights[inside].sum() / weights[of_prompt].sum()
            ranked = [[own.index(i) for i in every[row]] for row in np.flatnonzero(inside)]
            alone = ea.Bandit.from_rankings(reference[k, own] / mass, ranked, weights=weights[inside])
            expected = ea.solve(ea.PlackettLuceEXPO(lam * mass / share), alone)
            np.testing.assert_allclose(held.policy[k, own], mass * expected.policy, atol=1e-12)
            bounds[k] += mass * expected.error_bound
            expected = ea.solve(ea.PlackettLuceDPO(lam), alone).policy
            np.testing.assert_allclose(free.policy[k, own], free.policy[k, own].sum() * expected, atol=1e-12)
    assert (held.error_bound >= 0.9 * bounds).all() and (held.error_bound <= 3 * bounds + 1e-14).all()


def test_what_always_loses_has_no_place() -> None:
    bandit = ea.Bandit.from_rankings(REFERENCE, [[0, 1, 2], [1, 0, 2], [0, 1, 3], [2, 3], [3, 2]])
    solution = ea.solve(ea.PlackettLuceDPO(1.0), bandit)
    assert solution.status == "no_minimiser" and (solution.policy[2:] == 0).all()
    assert "{0, 1} is above {2, 3}" in solution.message
    assert ea.solve(ea.PlackettLuceEXPO(0.1), bandit).status == "optimal"


@pytest.mark.parametrize(
    ("rankings", "more", "message"),
    [
        ([[0, 0]], {}, "ranking 0 must rank different responses of its set of at least two"),
        ([[0]], {}, "ranking 0 must rank different responses of its set of at least two"),
        (["01"], {}, "ranking 0 must be a sequence of responses, best first, got '01'"),
        ([[0, 1], [0, 9]], {}, r"ranking 1 has the response 9; accepted: \[0, 1, 2, 3\]"),
        ([[0, 1]], {"sets": [[0, 2]]}, "ranking 0 must rank different responses of its set"),
        (
            [[0], [1]],
            {"sets": [[0, 1], [0, 1, 1]]},
            "sets must have each response once, but that of ranking 1 has 1 twice",
        ),
        ([[0, [0, 1]]], {}, "ranking 0 must rank different responses of its set"),
        ([[0, [1, [2]]]], {}, r"ranking 0 has the response \[2\]; accepted: \[0, 1, 2, 3\]$"),
        (
            [["a", "b"]],
            {},
            "ranking 0 has the response 'a'; .*; names must be given by responses, in the order of refe",
        ),
        ([3], {}, "ranking 0 must be a sequence of responses, best first, got 3"),
        ([], {}, "rankings must hold at least one"),
        ([[0, 1]], {"weights": [-1]}, "weights must be non-negative, finite and not all zero"),
        ([[0, 1]], {"weights": [1, 2]}, r"weights must have shape \(1,\)"),
        ([[0, 1]], {"prompts": ["x"]}, "prompts must be given for a bandit with prompts, and for no other"),
    ],
)
def test_wrong_rankings(rankings: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ea.Bandit.from_rankings(REFERENCE, rankings, **more)


# ------------------------------------------------------------------------------------------------------------- triples


def test_wrpo_and_tpo_of_triples() -> None:
    triples = [(0, 1, 2), (0, 2, 1), (3, 1, 0), (1, 0, 3), (2, 3, 1), (3, 2, 0)]
    bandit = ea.Bandit.from_triples(REFERENCE, triples, weights=[3, 1, 1, 2, 1, 0.5])
    for objective in (ea.WRPO(0.8, 0.3), ea.WRPO(2.0, 0.05), ea.TPO(0.7, 0.4)):
        solution = ea.solve(objective, bandit)
        assert (solution.status, solution.certificate) == ("optimal", "error_bound") and solution.error_bound < 1e-11
        np.testing.assert_allclose(solution.policy, by_search(objective, bandit), atol=2e-7)
    np.testing.assert_allclose(
        ea.solve(ea.WRPO(0.8, 0.0), bandit).policy, ea.solve(ea.DPO(0.8), bandit).policy, atol=1e-9
    )


def test_risk_of_triples_by_definition() -> None:
    triples, weights = [(0, 1, 2), (3, 2, 1)], np.array([3.0, 1.0])
    bandit = ea.Bandit.from_triples(REFERENCE, triples, weights=weights)
    log_policy = np.log([0.1, 0.2, 0.3, 0.4])
    s = log_policy - np.log(REFERENCE)
    margins = np.array([0.5 * (0.2 * s[t] + 0.8 * s[w] - s[loser]) for t, w, loser in triples])
    expected = weights @ np.logaddexp(0, -margins) / 4
    assert ea.risk(ea.WRPO(0.5, 0.2), bandit, log_policy) == pytest.approx(expected, rel=1e-14)
    direct = ea.WRPO(0.5, 0.2).loss(
        *(log_policy[[1, 2]], log_policy[[2, 1]], np.log(REFERENCE)[[1, 2]], np.log(REFERENCE)[[2, 1]]),
        logp_t=log_policy[[0, 3]],
        ref_logp_t=np.log(REFERENCE)[[0, 3]],
    )
    np.testing.assert_allclose(direct, np.logaddexp(0, -margins), rtol=1e-14)


def test_what_no_triple_has_is_left_open() -> None:
    """Pieces of triples as pieces of pairs: [x, y, s] and [z], or two times three and one."""
    bandit = ea.Bandit.from_triples(
        [0.4, 0.3, 0.2, 0.1], [("s", "x", "y"), ("s", "y", "x")], weights=[2, 1], responses=list("sxyz")
    )
    solution = ea.solve(ea.WRPO(1.0), bandit)
    assert solution.status == "no_minimiser" and solution.policy[3] == pytest.approx(0.1, abs=1e-15)
    assert "components [s, x, y], [z]" in solution.message and "responses [x, y] tends to 0" in solution.message
    every = [t for names in ("abc", "def") for t in itertools.permutations(names, 3)]
    both = ea.Bandit.from_triples(np.full(7, 1 / 7), every, weights=np.arange(1, 13), responses=list("abcdefz"))
    found = ea.solve(ea.WRPO(1.0), both)
    assert found.status == "not_unique" and found.error_bound < 1e-11
    for k, names in enumerate(("abc", "def")):
        alone = ea.Bandit.from_triples(
            np.full(3, 1 / 3), every[6 * k : 6 * k + 6], weights=np.arange(1, 13)[6 * k : 6 * k + 6], responses=names
        )
        own = ea.solve(ea.WRPO(1.0), alone).policy * 3 / 7
        np.testing.assert_allclose(found.policy[3 * k : 3 * k + 3], own, atol=1e-12)


def test_triples_of_parts_that_differ_from_prompt_to_prompt() -> None:
    """Parts of one size, of other responses on each prompt: each has the optimum that it has alone."""
    parts = {"x": ("abc", "def"), "y": ("dbf", "ace"), "z": ("abc", "def")}
    rows = [(x, t) for x, both in parts.items() for own in both for t in itertools.permutations(own)]
    weights = np.random.default_rng(2).uniform(1, 3, len(rows))
    prompts, triples = zip(*rows, strict=True)
    bandit = ea.Bandit.from_triples(
        np.full((3, 6), 1 / 6),
        triples,
        prompts=prompts,
        prompt_names=[*"xyz"],
        weights=weights,
        responses=list("abcdef"),
    )
    found = ea.solve(ea.WRPO(1.0), bandit)
    assert (found.status == "not_unique").all() and (found.error_bound < 1e-11).all()
    for k, (x, both) in enumerate(parts.items()):
        for own in both:
            inside = [row for row, (prompt, t) in enumerate(rows) if prompt == x and set(t) == set(own)]
            alone = ea.Bandit.from_triples(
                "uniform", [triples[row] for row in inside], weights=weights[inside], responses=list(own)
            )
            policy = found.policy[k, ["abcdef".index(i) for i in own]]
            np.testing.assert_allclose(policy, ea.solve(ea.WRPO(1.0), alone).policy / 2, atol=1e-12)


def test_an_infimum_that_is_not_attained_is_no_optimum() -> None:
    """TPO's gold responses g and l never win a pair: d1 and d2 can lose all mass, as long as their ratio is 2 to 3."""
    triples = [("g", "d1", "d2"), ("g", "d2", "d1"), ("l", "d2", "d1")]
    bandit = ea.Bandit.from_triples("uniform", triples, weights=[6, 3, 1])
    solution = ea.solve(ea.TPO(1.0), bandit)
    assert solution.status == "best_found" and "responses [d1, d2] are next to impossible" in solution.message


@pytest.mark.parametrize(("of_three", "of_pairs"), [(ea.WRPO(0.7), ea.DPO(0.7)), (ea.TPO(0.7), ea.CPO(0.7))])
def test_on_plain_pairs_they_are_losses_of_pairs(of_three: ea.PairObjective, of_pairs: ea.PairObjective) -> None:
    uncompared = ea.Bandit.from_counts([0.4, 0.3, 0.3], [[0, 2, 0], [1, 0, 0], [0, 0, 0]])
    for bandit in (uncompared, ea.Bandit(REFERENCE, [0.1, 0.2, 0.3, 0.4])):
        one, other = ea.solve(of_three, bandit), ea.solve(of_pairs, bandit)
        assert (one.status, one.message) == (other.status, other.message)
        assert one.error_bound == pytest.approx(other.error_bound, abs=0.0, nan_ok=True)
        np.testing.assert_allclose(one.policy, other.policy, atol=1e-14)


def test_on_pairs_the_third_is_the_winner() -> None:
    bandit = ea.Bandit(REFERENCE, [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(
        ea.solve(ea.WRPO(0.5, 0.3), bandit).policy, ea.solve(ea.DPO(0.5), bandit).policy, atol=1e-9
    )
    np.testing.assert_allclose(
        ea.solve(ea.TPO(0.5, 0.3), bandit).policy, ea.solve(ea.CPO(0.5, 0.3), bandit).policy, atol=1e-9
    )


def test_wrong_triples() -> None:
    with pytest.raises(ValueError, match=r"triple 0 must be \(third, winner, loser\), got \(0, 1\)"):
        ea.Bandit.from_triples(REFERENCE, [(0, 1)])
    for triple, message in (
        ((7, 1, 2), "has the response 7"),
        ((0, 1, 9), "has the response 9"),
        ((0, 1, 1), r"must have a winner and a loser that differ, got \(0, 1, 1\)"),
    ):
        with pytest.raises(ValueError, match=f"triple 0 {message}"):
            ea.Bandit.from_triples(REFERENCE, [triple])


# ------------------------------------------------------------------------------------------------ others' fits of pairs


def season(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    teams, rows = list("abcde"), []
    for _ in range(80):
        one, other = rng.choice(teams, 2, replace=False)
        rows.append((one, other, int(rng.integers(0, 3)), int(rng.integers(0, 3)), float(rng.exponential())))
    return pd.DataFrame(rows, columns=["home_team", "away_team", "home_score", "away_score", "weight"])


def design(matches: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A row for each match and outcome: the difference of indicators, the outcome, its weight; a tie is half each."""
    teams = sorted({*matches.home_team, *matches.away_team})
    rows, won, weight = [], [], []
    for home, away, x, y, w in matches.itertuples(index=False):
        indicator = np.array([(t == home) - (t == away) for t in teams], dtype=float)
        for outcome, share in ((1, 0.5 + 0.5 * np.sign(x - y)), (0, 0.5 - 0.5 * np.sign(x - y))):
            if share:
                rows.append(indicator)
                won.append(outcome)
                weight.append(w * share)
    return np.array(rows), np.array(won), np.array(weight)


@pytest.mark.parametrize("seed", [0, 1])
def test_ties_and_weights_as_statsmodels_fits_them(seed: int) -> None:
    matches = season(seed)
    x, won, weight = design(matches)
    fit = sm.GLM(won, x[:, 1:], family=sm.families.Binomial(), freq_weights=weight).fit(tol=1e-14, maxiter=200)
    theirs = np.concatenate([[0.0], fit.params])
    ours = ea.solve(ea.BradleyTerry(1.0), ea.Bandit.from_comparisons("uniform", matches))
    np.testing.assert_allclose(ours.policy, np.exp(theirs - logsumexp(theirs)), atol=1e-9)


def test_ties_and_weights_as_sklearn_fits_them() -> None:
    matches = season(2)
    x, won, weight = design(matches)
    fit = LogisticRegression(C=np.inf, fit_intercept=False, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    theirs = np.concatenate([[0.0], fit.fit(x[:, 1:], won, sample_weight=weight).coef_[0]])
    ours = ea.solve(ea.BradleyTerry(1.0), ea.Bandit.from_comparisons("uniform", matches))
    np.testing.assert_allclose(ours.policy, np.exp(theirs - logsumexp(theirs)), atol=1e-9)


def test_expo_on_ties_and_weights_is_statsmodels_with_reference_wins() -> None:
    """EXPO's KL(pi_ref || pi) is a multinomial likelihood, here fitted as a Poisson model with an offset for pairs.

    -log pi_i with weights lam pi_ref,i is the likelihood of a choice among all; in a Poisson model with a free level
    these choices are counts lam pi_ref,i of cells with means exp(level + theta_i); each match is a cell of two.
    """
    matches = season(3)
    bandit = ea.Bandit.from_comparisons([0.4, 0.3, 0.1, 0.1, 0.1], matches, responses=list("abcde"))
    lam, n = 0.3, 5
    wins = bandit.wins
    rows, count = [], []
    pairs = list(itertools.combinations(range(n), 2))
    for k, (i, j) in enumerate(pairs):
        for own, value in ((i, wins[i, j]), (j, wins[j, i])):
            level = np.eye(len(pairs) + 1)[k]
            rows.append(np.concatenate([np.eye(n)[own][1:], level]))
            count.append(value)
    for i in range(n):
        rows.append(np.concatenate([np.eye(n)[i][1:], np.eye(len(pairs) + 1)[-1]]))
        count.append(lam * bandit.reference[i])
    fit = sm.GLM(np.array(count), np.array(rows), family=sm.families.Poisson()).fit(tol=1e-15, maxiter=500)
    theta = np.concatenate([[0.0], fit.params[: n - 1]])
    np.testing.assert_allclose(ea.solve(ea.EXPO(lam), bandit).policy, np.exp(theta - logsumexp(theta)), atol=1e-9)


# ------------------------------------------------------------------------------------------------------------ training

RANKED = ea.Bandit.from_rankings(REFERENCE, [[0, 1, 2], [2, 0, 1], [3, 1], [1, 3, 0]])
TRIPLED = ea.Bandit.from_triples(REFERENCE, [(0, 1, 2), (0, 2, 1), (3, 1, 0), (1, 0, 3), (2, 3, 1), (3, 2, 0)])
TRAINED: dict[str, tuple[list[Any], ea.Bandit]] = {
    "lists": ([ea.PlackettLuceEXPO(0.5), ea.PlackettLuceEXPO(0.1)], RANKED),
    "lists, relative": ([ea.PlackettLuceDPO(1.0)], RANKED),
    "pairs of lists": ([ea.EXPO(0.5), ea.DPO(1.0)], RANKED),
    "labels": ([ea.BCO(1.0), ea.BCO(0.5)], ea.Bandit.from_labels(REFERENCE, [3, 1, 0.5, 2], [1, 2, 4, 0.3])),
    "scores": ([ea.AStarPO(1.0), ea.AStarPO(0.5)], ea.Bandit.from_scores(REFERENCE, [1, 0, 2, -1])),
    "triples": ([ea.WRPO(1.0, 0.3), ea.WRPO(0.5, 0.3)], TRIPLED),
}


@pytest.mark.parametrize("kind", TRAINED)
def test_training_ends_where_solve_says(kind: str) -> None:
    """Several lambdas at once, on every kind of feedback: full gradients in a table."""
    objectives, bandit = TRAINED[kind]
    training = simulators.Training(simulators.SGD(1.0), epochs=4000)
    trajectory = simulators.train(objectives, simulators.Tabular(bandit.reference), bandit, training)
    for k, objective in enumerate(objectives):
        np.testing.assert_allclose(trajectory.final[k, 0, 0], ea.solve(objective, bandit).policy, atol=1e-7)
