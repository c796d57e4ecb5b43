"""Optima over restricted policies: all features give `solve`'s, one parameter is looked at by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from expo_analysis import CATALOGUE, DPO, EXPO, IPO, RLHF, Bandit, BradleyTerry, risk, solve
from expo_analysis.losses import AOT, QPO
from expo_analysis.simulators import SGD, Tabular, Training, train
from expo_analysis.simulators.restricted import Restrictions, restricted_optima

N, PROMPTS = 4, 2


@pytest.fixture(scope="module")
def problems():
    """Fifteen problems of two prompts: pi_ref, pi*, and as many random features as reach every policy."""
    rng = np.random.default_rng(0)
    reference, optimal = rng.dirichlet(np.full(N, 3.0), (2, 15, PROMPTS))
    return reference, optimal, rng.standard_normal((15, PROMPTS, N, PROMPTS * (N - 1)))


@pytest.mark.parametrize("cls", [DPO, IPO, EXPO, RLHF])
@pytest.mark.parametrize("lam", [0.1, 1.0])
@pytest.mark.parametrize("pairs", ["uniform", "reference"])
def test_with_every_feature_it_is_the_optimum_over_all_policies(problems, cls, lam, pairs):
    reference, optimal, features = problems
    problem = Restrictions(reference, optimal, features, pairs)
    # RLHF's optimum is DPO's; from elsewhere it may lose a response for good
    starts = [0.0, restricted_optima(DPO(lam), problem).w] if cls is RLHF else [0.0]
    found = restricted_optima(cls(lam), problem, starts)
    exact = solve(cls(lam), Bandit(reference.reshape(-1, N), optimal.reshape(-1, N), pairs))
    assert found.converged.all()
    np.testing.assert_allclose(np.exp(found.log_policy).reshape(-1, N), exact.policy, atol=1e-8)
    np.testing.assert_allclose(found.value, exact.value.reshape(-1, PROMPTS).mean(axis=1), atol=1e-11)


@pytest.mark.parametrize("lam", [0.1, 1.0])
def test_with_one_parameter_it_is_what_looking_at_all_values_finds(problems, lam):
    reference, optimal, features = problems
    one = Restrictions(reference, optimal, features[..., :1], decay=0.01)
    grid = np.linspace(-40, 40, 8001)
    starts = [0.0, *np.linspace(-12, 12, 7)]
    for objective in (RLHF(lam), DPO(lam), EXPO(lam)):
        found = restricted_optima(objective, one, starts)
        for k in range(len(reference)):
            log_policy = log_softmax(np.log(reference[k]) + grid[:, None, None] * features[k, ..., :1][..., 0], axis=-1)
            value = risk(objective, Bandit(reference[k], optimal[k]), log_policy).mean(axis=-1) + 0.005 * grid**2
            # the grid cannot be lower than the optimum, nor miss it by more than its spacing allows
            assert -4e-4 < found.value[k] - value.min() <= 1e-12


def test_rlhf_has_several_local_optima_and_the_best_of_the_starts_is_taken(problems):
    few = Restrictions(problems[0], problems[1], problems[2][..., :2])
    starts = [0.0, *(s * np.random.default_rng(1).standard_normal((15, 2)) for s in (3.0, 10.0) * 2)]
    single = np.stack([restricted_optima(RLHF(0.1), few, [start]).value for start in starts])
    together = restricted_optima(RLHF(0.1), few, starts)
    np.testing.assert_allclose(together.value, single.min(axis=0), atol=1e-12)
    assert (np.ptp(single, axis=0) > 1e-3).any()
    assert together.agreeing.min() < 1
    for cls in (DPO, EXPO, BradleyTerry):  # convex: all starts end at the same place
        assert (restricted_optima(cls(0.1), few, starts[:3]).agreeing == 1).all()


def test_the_gradient_vanishes_with_weight_decay_by_hand(problems):
    reference, optimal, features = problems
    decay, lam = np.linspace(0.01, 1.0, 15), 0.3
    some = features[..., :3]
    found = restricted_optima(EXPO(lam), Restrictions(reference, optimal, some, "uniform", decay))
    policy = np.exp(found.log_policy)

    def winning(p):
        return p[..., :, None] / (p[..., :, None] + p[..., None, :])

    q = (1 - np.eye(N)) / (N * (N - 1))
    # stationarity in the logits, brought back to w
    logits = (2 * q * (winning(policy) - winning(optimal))).sum(axis=-1) + lam * (policy - reference)
    gradient = np.einsum("bxyd,bxy->bd", some, logits) / PROMPTS + decay[:, None] * found.w
    np.testing.assert_allclose(gradient, 0.0, atol=1e-10)


def test_parameters_that_are_not_free_stay_where_they_are(problems):
    reference, optimal, features = problems
    free = np.arange(6) < np.arange(15)[:, None] % 6 + 1
    lam = np.linspace(0.1, 2.0, 15)
    found = restricted_optima(DPO(lam), Restrictions(reference, optimal, features, free=free))
    assert (found.w[~free] == 0).all()
    for k in range(6):
        alone = Restrictions(*(x[k : k + 1] for x in (reference, optimal)), features[k : k + 1, ..., : k + 1])
        np.testing.assert_allclose(found.w[k, : k + 1], restricted_optima(DPO(lam[k]), alone).w[0], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"optimal": np.full((2, 1, 3), 1 / 3)}, "reference and optimal"),
        ({"features": np.zeros((1, 1, 2, 2))}, "features"),
        ({"decay": -1.0}, "decay"),
        ({"decay": np.ones(3)}, "decay"),
        ({"free": np.ones((1, 2))}, "free"),
    ],
)
def test_bad_input_is_named(change, named):
    good = {"reference": np.full((1, 1, 3), 1 / 3), "optimal": np.full((1, 1, 3), 1 / 3)}
    good["features"] = np.zeros((1, 1, 3, 2))
    with pytest.raises(ValueError, match=named):
        Restrictions(**(good | change))


@pytest.mark.parametrize("name", [name for name, cls in CATALOGUE.items() if cls not in (AOT, QPO, RLHF)])
def test_every_loss_of_pairs_can_be_trained_at_several_lambdas(name):
    """One step of descent is the gradient of the risk, also where a loss looks at its lambda or hands it on."""
    bandit = Bandit([0.5, 0.3, 0.2], [0.2, 0.2, 0.6])
    objectives = [CATALOGUE[name](0.5), CATALOGUE[name](1.5)]
    run = train(objectives, Tabular(bandit.reference), bandit, Training(SGD(0.1), epochs=1))
    for k, objective in enumerate(objectives):
        theta = torch.from_numpy(np.log(bandit.reference)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(risk(objective, bandit, torch.log_softmax(theta, -1)), theta)
        stepped = torch.log_softmax(theta - 0.1 * gradient, -1).detach()
        np.testing.assert_allclose(run.log_final[k, 0, 0], stepped, atol=1e-12)
