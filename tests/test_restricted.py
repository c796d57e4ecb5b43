"""Optima over log-linear policies: closed forms, invariances, what exists, and batches of many problems."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import expit, log_softmax

import expo_analysis as ea
from expo_analysis import CATALOGUE, DPO, EXPO, IPO, RLHF, Bandit, BradleyTerry, risk, solve
from expo_analysis.losses import AOT, QPO, AuxDPO
from expo_analysis.optima import restricted_optima
from expo_analysis.optima.alike import alike
from expo_analysis.optima.structure import data_of
from expo_analysis.simulators import SGD, Tabular, Training, train

N, PROMPTS = 4, 2
NAMES = [name for name, cls in CATALOGUE.items() if cls not in (AOT, QPO, AuxDPO)]
"""AuxDPO is in test_optima_auxiliary.py."""
CONVEX = ["dpo", "ipo", "expo", "bradley_terry", "cpo", "rpo", "simpo", "sft", "slic", "dpop", "hinge"]


def objective(name: str, lam: float) -> ea.Objective:
    return ea.DPOP(lam, penalty=3.0) if name == "dpop" else ea.objective(name, lam)


@pytest.fixture(scope="module")
def problems():
    """Fifteen problems of two prompts: pi_ref, pi*, and as many random features as reach every policy."""
    rng = np.random.default_rng(0)
    reference, optimal = rng.dirichlet(np.full(N, 3.0), (2, 15, PROMPTS))
    return reference, optimal, rng.standard_normal((15, PROMPTS, N, PROMPTS * (N - 1)))


def together(problems, pairs="uniform"):
    """The bandit of all prompts of all problems."""
    return Bandit(*(p.reshape(-1, N) for p in problems[:2]), pairs)


# -------------------------------------------------------------------------------------------------- all policies


@pytest.mark.parametrize("cls", [DPO, IPO, EXPO, RLHF])
@pytest.mark.parametrize("pairs", ["uniform", "reference"])
def test_with_every_feature_it_is_the_optimum_over_all_policies(problems, cls, pairs):
    bandit, lam = together(problems, pairs), 0.3
    starts = [restricted_optima(DPO(lam), bandit, problems[2]).weights] if cls is RLHF else None
    found = restricted_optima(cls(lam), bandit, problems[2], starts=starts)  # Newton's method in w; RLHF is searched
    exact = solve(cls(lam), bandit)
    np.testing.assert_allclose(np.exp(found.log_policy).reshape(-1, N), exact.policy, atol=1e-8 if starts else 1e-12)
    np.testing.assert_allclose(found.value.reshape(-1), exact.value, atol=1e-11)
    if starts is None:
        assert (found.bound < 1e-10).all()


@pytest.mark.parametrize("name", NAMES)
def test_features_that_hold_all_policies_give_the_free_optimum_with_its_bound(name):
    rng = np.random.default_rng(1)
    bandit = Bandit(*rng.dirichlet(np.full(3, 3.0), (2, 2)))
    exact = solve(objective(name, 0.7), bandit)
    for features in (np.eye(6).reshape(2, 3, 6), rng.standard_normal((2, 3, 5))):
        found = solve(objective(name, 0.7), bandit, features=features)
        assert (found.status == exact.status).all()
        if (exact.status == "optimal").all():
            np.testing.assert_allclose(found.policy, exact.policy, atol=1e-12)
            np.testing.assert_array_equal(found.error_bound, exact.error_bound)
            moved = log_softmax(np.log(bandit.reference) + features @ found.weights, axis=-1)
            np.testing.assert_allclose(moved, exact.log_policy, atol=1e-9)


# --------------------------------------------------------------------------------------------------- closed forms


def test_two_responses_and_one_feature_by_hand():
    """log pi_0/pi_1 = log-odds of pi_ref + f w: DPO and IPO by their formulas, EXPO and decay by a root."""
    reference, optimal, f, lam = 0.6, 0.8, 1.7, 0.4
    bandit = Bandit([reference, 1 - reference], [optimal, 1 - optimal])
    features, prior = [[f], [0.0]], np.log(reference / (1 - reference))
    dpo = np.log(optimal / (1 - optimal)) / lam / f
    np.testing.assert_allclose(solve(DPO(lam), bandit, features=features).weights, [dpo], rtol=1e-14)
    ipo = (2 * optimal - 1) / (2 * lam) / f
    np.testing.assert_allclose(solve(IPO(lam), bandit, features=features).weights, [ipo], rtol=1e-14)
    for decay in (0.0, 0.3):

        def slope(w, decay=decay):
            first = expit(prior + f * w)
            return f * (first - optimal) + lam * f * (first - reference) + decay * w

        exact = brentq(slope, -20, 20, xtol=1e-15)
        found = solve(EXPO(lam), bandit, features=features, decay=decay)
        np.testing.assert_allclose(found.weights, [exact], rtol=1e-13)
        assert found.error_bound < 1e-13 and found.status == "optimal"


def test_the_gradient_vanishes_with_weight_decay_by_hand(problems):
    reference, optimal, features = problems
    decay, lam = np.linspace(0.01, 1.0, 15), 0.3
    some = features[..., :3]
    found = restricted_optima(EXPO(lam), together(problems), some, decay)
    policy = np.exp(found.log_policy)

    def winning(p):
        return p[..., :, None] / (p[..., :, None] + p[..., None, :])

    q = (1 - np.eye(N)) / (N * (N - 1))
    # stationarity in the logits, brought back to w
    logits = (2 * q * (winning(policy) - winning(optimal))).sum(axis=-1) + lam * (policy - reference)
    gradient = np.einsum("bxyd,bxy->bd", some, logits) / PROMPTS + decay[:, None] * found.weights
    np.testing.assert_allclose(gradient, 0.0, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_infinite_decay_leaves_the_reference_and_little_decay_the_undecayed_optimum(name):
    rng = np.random.default_rng(2)
    bandit = Bandit(*rng.dirichlet(np.full(3, 3.0), (2, 2)))
    features = rng.standard_normal((2, 3, 1))
    held = solve(objective(name, 1.0), bandit, features=features, decay=1e9)
    np.testing.assert_allclose(held.policy, bandit.reference, atol=1e-7)
    base = rng.standard_normal((2, 3))
    held = solve(objective(name, 1.0), bandit, features=features, base=base, decay=1e9)
    np.testing.assert_allclose(held.log_policy, log_softmax(base, axis=-1), atol=1e-6)
    free, nearly = (solve(objective(name, 1.0), bandit, features=features, decay=decay) for decay in (0.0, 1e-10))
    if (free.status == "optimal").all() and np.isfinite(free.error_bound).all() and name != "hinge":
        np.testing.assert_allclose(nearly.policy, free.policy, atol=1e-6)


@pytest.mark.parametrize("name", ["rlhf", "spo", "regression_expo", "exo", "orpo", "bco", "sppo", "fdpo", "nca"])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_with_one_parameter_it_is_what_looking_at_all_values_finds(problems, name, decay):
    """Losses that are not convex: no w on a fine grid is lower, and what is proven is proven of the lowest."""
    reference, optimal, features = problems
    grid = np.linspace(-30, 30, 6001)
    for k in range(3):
        bandit, one = Bandit(reference[k], optimal[k]), features[k, ..., :1]
        found = solve(objective(name, 0.3), bandit, features=one, decay=decay)
        assert (found.status == "optimal").all() and (found.certificate == "error_bound").all()
        log_policy = log_softmax(np.log(reference[k]) + grid[:, None, None] * one[..., 0], axis=-1)
        value = risk(objective(name, 0.3), bandit, log_policy).mean(axis=-1) + decay / 2 * grid**2
        assert found.total <= value.min() + 1e-12
        near = np.abs(grid[value.argmin()] - found.weights[0])
        assert near <= 0.011 or abs(found.weights[0]) > 30 or value.min() - found.total < 1e-9


# ---------------------------------------------------------------------------------------------------- invariances


@pytest.mark.parametrize("name", CONVEX)
def test_prompts_that_are_the_same_are_one_prompt(name):
    rng = np.random.default_rng(3)
    reference, optimal = rng.dirichlet(np.full(N, 3.0), 2)
    features = rng.standard_normal((N, 2))
    one = solve(objective(name, 0.5), Bandit(reference, optimal), features=features, decay=0.1)
    rows = Bandit(np.tile(reference, (3, 1)), np.tile(optimal, (3, 1)), prompt_weights=[0.5, 0.3, 0.2])
    for shared in (features, np.tile(features, (3, 1, 1))):
        many = solve(objective(name, 0.5), rows, features=shared, decay=0.1)
        np.testing.assert_allclose(many.weights, one.weights, atol=1e-10)
        np.testing.assert_allclose(many.policy, np.tile(one.policy, (3, 1)), atol=1e-10)
        np.testing.assert_allclose(many.total, one.total, atol=1e-13)


@pytest.mark.parametrize("name", [*CONVEX, "orpo", "spo"])
def test_policies_do_not_depend_on_the_coordinates_of_w(name):
    rng = np.random.default_rng(4)
    bandit = Bandit(*rng.dirichlet(np.full(N, 3.0), (2, 2)))
    features = rng.standard_normal((2, N, 2))
    change = np.array([[2.0, 1.0], [-0.5, 3.0]])
    shift = rng.standard_normal((2, 1, 2))  # a constant on all responses of a prompt does nothing
    one, other = (solve(objective(name, 0.5), bandit, features=f) for f in (features, features @ change + shift))
    tolerance = 1e-9 if (one.certificate == "error_bound").all() else 1e-6
    np.testing.assert_allclose(other.policy, one.policy, atol=tolerance)
    if name != "hinge":  # whose minimisers may be many
        np.testing.assert_allclose(change @ other.weights, one.weights, atol=tolerance * 1e3)


def test_w_that_the_data_leave_open_has_the_least_norm():
    """The second feature is the first one doubled; the third is seen on a prompt of weight 0 only."""
    rng = np.random.default_rng(5)
    bandit = Bandit(*rng.dirichlet(np.full(3, 3.0), (2, 2)), prompt_weights=[1.0, 0.0])
    f = rng.standard_normal((2, 3))
    features = np.stack([f, 2 * f, np.array([np.zeros(3), rng.standard_normal(3)])], axis=-1)
    found = solve(EXPO(1.0), bandit, features=features)
    one = solve(EXPO(1.0), bandit, features=f[..., None])
    np.testing.assert_allclose(found.weights, [one.weights[0] / 5, 2 * one.weights[0] / 5, 0.0], atol=1e-13)
    assert found.status.tolist() == ["optimal", "not_unique"]
    np.testing.assert_allclose(found.policy[0], one.policy[0], atol=1e-13)


# ------------------------------------------------------------------------------------------------------ existence


def separable() -> tuple[Bandit, np.ndarray]:
    """0 always beats 1, and 2 and 3 beat each other; the first feature raises 0 over 1 and leaves 2 and 3 alone."""
    wins = np.zeros((4, 4))
    wins[0, 1], wins[2, 3], wins[3, 2] = 5, 3, 1
    return Bandit.from_counts(np.full(4, 0.25), wins), np.array([[1.0, 0.0], [0, 0], [0, 1], [0, 0]])


@pytest.mark.parametrize("name", ["dpo", "bradley_terry", "simpo"])
def test_separable_restricted_data_have_no_minimiser_and_the_limit_is_told(name):
    bandit, features = separable()
    found = solve(objective(name, 1.0), bandit, features=features)
    assert found.status == "no_minimiser" and found.certificate == "theorem"
    np.testing.assert_allclose(found.direction, [1.0, 0.0], atol=1e-9)
    assert "no minimiser" in found.message and np.isnan(found.error_bound) and np.isnan(found.total)
    np.testing.assert_allclose(found.policy, [1, 0, 0, 0], atol=1e-12)
    # what runs away is what the loss falls along, for ever
    values = []
    for t in (0.0, 5.0, 10.0, 20.0):
        log_policy = log_softmax(np.log(bandit.reference) + features @ (found.weights + t * found.direction))
        values.append(float(risk(objective(name, 1.0), bandit, log_policy)))
    assert (np.diff(values) < 0).all()
    held = solve(objective(name, 1.0), bandit, features=features, decay=1e-3)
    assert held.status == "optimal" and held.error_bound < 1e-10


@pytest.mark.parametrize("name", ["expo", "ipo", "cpo", "rpo", "slic", "hinge"])
def test_separable_data_have_a_minimiser_where_the_loss_holds_them(name):
    bandit, features = separable()
    found = solve(objective(name, 1.0), bandit, features=features)
    assert found.status in ("optimal", "not_unique") and np.isfinite(found.total)


def test_data_that_are_separable_over_all_policies_need_not_be_over_restricted_ones():
    wins = np.zeros((3, 3))
    wins[0, 1], wins[1, 2] = 1, 1
    bandit = Bandit.from_counts(np.full(3, 1 / 3), wins)
    assert solve(DPO(1.0), bandit).status == "no_minimiser"
    bent = solve(DPO(1.0), bandit, features=[[1.0], [0.0], [2.0]])  # 0 over 1, and then 2 over 1
    assert bent.status == "optimal"
    np.testing.assert_allclose(expit(-bent.weights[0]), 2 * expit(2 * bent.weights[0]), rtol=1e-12)


def test_rewards_always_have_a_minimiser_over_restricted_policies():
    rng = np.random.default_rng(6)
    for _ in range(5):
        bandit = Bandit(*rng.dirichlet(np.full(4, 1.0), (2, 3)))
        found = solve(RLHF(0.03), bandit, features=rng.standard_normal((3, 4, 2)))
        assert (found.status != "no_minimiser").all()


def test_rlhf_of_counts_maximises_the_fitted_reward():
    counts = np.array([[0, 4, 6], [3, 0, 5], [2, 2, 0]])
    bandit = Bandit.from_counts([0.3, 0.3, 0.4], counts)
    fit = solve(BradleyTerry(1.0), bandit)
    features = [[1.0], [0.0], [-0.5]]
    known = solve(RLHF(0.5), Bandit([0.3, 0.3, 0.4], fit.policy), features=features)
    found = solve(RLHF(0.5), bandit, features=features)
    np.testing.assert_allclose(found.policy, known.policy, atol=1e-9)
    assert found.error_bound < 1e-9
    unfitted = Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    assert solve(RLHF(0.5), unfitted, features=[[1.0], [0.0]]).status == "failed"


# ------------------------------------------------------------------------------------------ paths, batches, input


def test_a_path_is_its_lambdas_one_by_one():
    rng = np.random.default_rng(7)
    bandit = Bandit(*rng.dirichlet(np.full(3, 3.0), (2, 2)))
    features, lams = rng.standard_normal((2, 3, 2)), [0.1, 1.0, 10.0]
    for name in ("dpo", "expo", "slic"):
        path = ea.solve_path(objective(name, 1.0), bandit, lams, features=features, decay=0.01)
        for k, lam in enumerate(lams):
            alone = solve(objective(name, lam), bandit, features=features, decay=0.01)
            np.testing.assert_allclose(path[k].policy, alone.policy, atol=1e-13)
            np.testing.assert_allclose(path[k].weights, alone.weights, atol=1e-11)
            assert path[k].to_dict().keys() == alone.to_dict().keys()


def test_a_batch_is_its_problems_one_by_one(problems):
    reference, optimal, features = problems
    decay = np.where(np.arange(15) % 2 == 0, 0.0, 0.1)
    for made in (DPO(0.5), ea.Hinge(0.5), ea.SLiC(0.5)):
        batch = restricted_optima(made, together(problems), features[..., :2], decay)
        for k in (0, 1, 7):
            one = solve(made, Bandit(reference[k], optimal[k]), features=features[k, ..., :2], decay=decay[k])
            assert batch.status[k].tolist() == one.status.tolist()
            np.testing.assert_allclose(np.exp(batch.log_policy[k]), one.policy, atol=1e-9)


def test_rlhf_has_several_local_optima_and_the_best_of_the_starts_is_taken(problems):
    bandit, few = together(problems), problems[2][..., :2]
    starts = [np.zeros((15, 2)), *(s * np.random.default_rng(1).standard_normal((15, 2)) for s in (3.0, 10.0) * 2)]
    single = np.stack([restricted_optima(RLHF(0.1), bandit, few, starts=[start]).total for start in starts])
    best = restricted_optima(RLHF(0.1), bandit, few, starts=starts)
    np.testing.assert_allclose(best.total, single.min(axis=0), atol=1e-9)
    assert (np.ptp(single, axis=0) > 1e-3).any()
    assert best.agreeing.min() < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((2, 2))}, "features must have shape"),
        ({"features": np.zeros((3, 0))}, "features must have shape"),
        ({"features": [["a"], ["b"], ["c"]]}, "features must be"),
        ({"features": [[np.inf], [0], [0]]}, "features must hold finite numbers, got inf"),
        ({"features": np.eye(3), "base": [0.0, 1.0]}, "base must have shape"),
        ({"features": np.eye(3), "base": [0.0, 1.0, np.nan]}, "base must hold finite numbers"),
        ({"features": np.eye(3), "decay": -1.0}, "decay must be"),
        ({"features": np.eye(3), "decay": "much"}, "decay must be"),
        ({"features": np.eye(3), "method": "closed_form"}, "method must be one of"),
        ({"features": np.ones((3, 1)) * [[1], [2], [3]], "method": "newton", "of": "spo"}, "method 'newton' is not"),
        ({"base": [0.0, 0.0, 0.0]}, "base is not used without features"),
        ({"decay": 1.0}, "decay is not used without features"),
    ],
)
def test_bad_input_is_named(change, message):
    made = objective(change.pop("of", "dpo"), 1.0)
    with pytest.raises((TypeError, ValueError), match=message):
        solve(made, Bandit(np.full(3, 1 / 3), [0.2, 0.3, 0.5]), **change)


def test_bad_batches_are_named(problems):
    for features, decay, message in ((problems[2][0], 0.0, "features"), (problems[2], -1.0, "decay")):
        with pytest.raises(ValueError, match=message):
            restricted_optima(DPO(1.0), together(problems), features, decay)


@pytest.mark.parametrize("name", [name for name, cls in CATALOGUE.items() if cls not in (AOT, QPO, RLHF)])
def test_every_loss_of_pairs_can_be_trained_at_several_lambdas(name):
    """One step of descent is the gradient of the risk, also where a loss looks at its lambda or hands it on."""
    bandit = Bandit([0.5, 0.3, 0.2], [0.2, 0.2, 0.6])
    objectives = [CATALOGUE[name](0.5), CATALOGUE[name](1.5)]
    run = train(objectives, Tabular(bandit.reference), bandit, Training(SGD(0.1), epochs=1))
    for k, made in enumerate(objectives):
        theta = torch.from_numpy(np.log(bandit.reference)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(risk(made, bandit, torch.log_softmax(theta, -1)), theta)
        stepped = torch.log_softmax(theta - 0.1 * gradient, -1).detach()
        np.testing.assert_allclose(run.log_final[k, 0, 0], stepped, atol=1e-12)


def test_what_is_known_of_a_loss_is_asked_once_a_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a problem: a batch of thousands has few lambdas. Groups hold every place once, equal ones together."""
    asked: list[float] = []
    facts_at = DPO.facts_at
    monkeypatch.setattr(DPO, "facts_at", lambda self, data: asked.append(self.lam) or facts_at(self, data))
    lams = np.array([3.0, 0.1, 3.0, 0.1, 0.1, 7.0])
    groups = alike(DPO(1.0), lams, data_of(DPO(1.0), Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])))
    assert sorted(asked) == [0.1, 3.0, 7.0]
    assert sorted(np.concatenate(groups).tolist()) == list(range(6))
    for group in groups:
        for lam in lams[group]:
            assert set(np.flatnonzero(lams == lam)) <= set(group)
