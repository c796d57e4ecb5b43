"""Gradient training against the exact optima: with gradients of the whole population or data set both agree."""

from __future__ import annotations

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.losses.risk import risk
from expo_analysis.simulators import SGD, Adam, LogLinear, Tabular, Training, train

from .definitions import CASES, Case

pytestmark = pytest.mark.slow

LAMS = (0.3, 1.0, 3.0)
KINKED = ("hinge", "slic", "dpop", "dpop_light")
"""Losses with kinks: a subgradient does not vanish at the minimiser, and steps of a given length jump about it."""
SLOWEST = ("slic", "counts")
"""The loss and problem that take the most steps at the smallest lambda; at the others they are as the rest."""
COSINE = Training(Adam(0.05), epochs=2200, schedule="cosine", records=2)


def exponential(epochs: int, beta: float) -> Training:
    """For losses with kinks. Momentum over a small part of the run, 1 / (1 - beta) steps, makes the jumps smaller."""
    return Training(Adam(0.02, betas=(beta, 0.999)), epochs=epochs, schedule="exponential", records=2)


def _problems() -> dict[str, ea.Bandit]:
    """Four prompts with four responses: a population, whose prompts have four comparison graphs, and win counts."""
    rng = np.random.default_rng(4)
    n = 4
    reference, optimal = rng.dirichlet(np.full(n, 4.0), 4), rng.dirichlet(np.full(n, 4.0), 4)
    uniform = 1 - np.eye(n)
    by_reference = reference[1][:, None] * reference[1] * uniform
    uneven = np.triu(rng.uniform(0.2, 1.0, (n, n)), 1)
    chain = np.diag(np.ones(n - 1), 1)
    pairs = np.stack([uniform, by_reference, chain + chain.T, uneven + uneven.T])
    return {
        "population": ea.Bandit(reference, optimal, pairs, prompt_weights=[4, 3, 2, 1]),
        "counts": ea.Bandit.from_counts(
            reference, rng.integers(1, 9, (4, n, n)) * (1 - np.eye(n, dtype=int)), rewards=rng.normal(size=(4, n))
        ),
    }


PROBLEMS = _problems()
each_problem = pytest.mark.parametrize("bandit", PROBLEMS.values(), ids=PROBLEMS)


def cases(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [CASES[name] for name in names], ids=names)


CONVEX = [name for name, case in CASES.items() if case(1.0).claims.convex and name != "odpo_log"]
PROVEN = [
    *(f"fdpo_{name}" for name in ("forward_kl", "jensen_shannon", "alpha_small", "alpha_large", "mixed_chi_square")),
    *("chi_po", "regression_expo"),
]
"""Not convex in the logits, but with a proven minimiser and no other stationary point on the way there."""


def misses(
    case: Case, bandit: ea.Bandit, lams: tuple[float, ...], training: Training
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1-norm distances of trained policies from the optima, excess values, and error bounds; one per lambda, prompt."""
    objectives = [case(lam) for lam in lams]
    solutions = [ea.solve(objective, bandit) for objective in objectives]
    assert all((solution.status == "optimal").all() for solution in solutions)
    trained = train(objectives, Tabular(bandit.reference), bandit, training)
    distance = np.abs(trained.final[:, 0] - [solution.policy for solution in solutions]).sum(axis=-1)
    values = [risk(objective, bandit, trained.log_final[k, 0]) for k, objective in enumerate(objectives)]
    excess = np.array(values) - [solution.value for solution in solutions]
    return distance, excess, np.array([solution.error_bound for solution in solutions])


@each_problem
@cases([name for name in CONVEX if name not in KINKED])
def test_smooth_convex_losses_reach_the_optimum(case: Case, bandit: ea.Bandit) -> None:
    """A step size that goes down to zero gets to rounding."""
    distance, excess, _ = misses(case, bandit, LAMS, COSINE)
    assert distance.max() < 1e-12
    assert np.abs(excess).max() < 1e-13


@cases(PROVEN)
def test_losses_that_are_not_convex_reach_the_proven_optimum(case: Case) -> None:
    distance, excess, bound = misses(case, PROBLEMS["population"], LAMS, COSINE)
    assert bound.max() < 1e-12
    assert distance.max() < 1e-12
    assert np.abs(excess).max() < 1e-13


@cases([name for name in CASES if name.startswith("rlhf_")])
def test_rlhf_reaches_its_optimum_in_the_interior(case: Case) -> None:
    distance, _, bound = misses(case, PROBLEMS["population"], (1.0, 3.0), COSINE)
    assert bound.max() < 1e-12
    assert distance.max() < 1e-12


def test_an_optimum_on_the_boundary_is_out_of_reach() -> None:
    """Chi-square at small lambda gives some responses no mass; softmax's gradient dies with the mass that is left."""
    case, bandit = CASES["rlhf_chi_square"], PROBLEMS["population"]
    assert (ea.solve(case(0.3), bandit).policy == 0).any()
    distance, excess, _ = misses(case, bandit, (0.3,), COSINE)
    assert 1e-4 < distance.max() < 5e-3
    assert (excess > 0).any() and excess.max() < 2e-4


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param(name, problem, marks=[] if problem == "counts" else pytest.mark.slow)
        for name in KINKED
        for problem in PROBLEMS
    ],
)
def test_losses_with_kinks_reach_the_optimum(name: str, problem: str) -> None:
    """To 1e-6: to 1e-8 where kinks fix the optimum, and 2e-7 for `DPOP` with a small penalty.

    Across a kink the iterates jump by what the rate allows, so it must fall by decades. Along it they stop once the
    rate is below about 1 / (mu steps), mu the curvature that is left there, and keep what the jumps did until then.
    """
    lams = LAMS[1:] if (name, problem) == SLOWEST else LAMS
    distance, excess, _ = misses(CASES[name], PROBLEMS[problem], lams, exponential(40_000, beta=0.998))
    assert distance.max() < 1e-6
    assert excess.min() > -1e-12 and excess.max() < 1e-6


@pytest.mark.slow
def test_the_slowest_of_them_takes_ten_times_the_steps() -> None:
    """Prompt 0: two kinks side by side, and mu = 0.05 along them."""
    name, problem = SLOWEST
    distance, excess, _ = misses(CASES[name], PROBLEMS[problem], LAMS[:1], exponential(400_000, beta=0.9995))
    assert distance.max() < 1e-6
    assert excess.min() > -1e-12 and excess.max() < 1e-6


@pytest.mark.parametrize("optimiser", [SGD(1.0), SGD(0.3, momentum=0.9), Adam(0.02)], ids=lambda o: type(o).__name__)
def test_constant_rates_converge_to_the_same_place(optimiser: SGD | Adam) -> None:
    """With full gradients of a smooth loss no schedule is needed."""
    bandit = PROBLEMS["population"]
    trained = train(ea.EXPO(1.0), Tabular(bandit.reference), bandit, Training(optimiser, epochs=4000, records=2))
    assert np.abs(trained.final[0, 0] - ea.solve(ea.EXPO(1.0), bandit).policy).sum(axis=-1).max() < 1e-6


def test_the_start_does_not_matter_where_the_loss_is_convex() -> None:
    bandit = PROBLEMS["population"]
    reference = np.roll(np.asarray(bandit.reference), 1, axis=1)
    trained = train([ea.EXPO(0.3), ea.EXPO(3.0)], Tabular(reference), bandit, COSINE)
    for k, lam in enumerate((0.3, 3.0)):
        assert np.abs(trained.final[k, 0] - ea.solve(ea.EXPO(lam), bandit).policy).sum(axis=-1).max() < 1e-12


def test_enough_features_reach_the_optimum_and_too_few_do_not() -> None:
    bandit = PROBLEMS["population"]
    every = np.zeros((4, 4, 16))
    every[np.repeat(np.arange(4), 4), np.tile(np.arange(4), 4), np.arange(16)] = 1.0
    optimum = ea.solve(ea.EXPO(1.0), bandit)
    full = train(ea.EXPO(1.0), LogLinear(bandit.reference, every), bandit, COSINE)
    assert np.abs(full.final[0, 0] - optimum.policy).sum(axis=-1).max() < 1e-12
    few = train(ea.EXPO(1.0), LogLinear(bandit.reference, every[..., :5]), bandit, COSINE)
    np.testing.assert_allclose(few.final[0, 0, 2:], bandit.reference[2:], rtol=1e-14)  # no feature reaches these
    assert few.values[0, 0, -1] > full.values[0, 0, -1] + 1e-4


def test_recorded_values_are_risks() -> None:
    """Weighted over prompts by rho, at the start and at the end."""
    for bandit in PROBLEMS.values():
        for objective in (ea.EXPO(0.3), ea.DPO(0.3), ea.RPO(2.0)):
            trained = train(objective, Tabular(bandit.reference), bandit, Training(Adam(0.05), epochs=20, records=3))
            for k in range(3):
                value = risk(objective, bandit, trained.log_policies[0, 0, k]) @ bandit.prompt_weights
                assert trained.values[0, 0, k] == pytest.approx(value, rel=1e-13)
