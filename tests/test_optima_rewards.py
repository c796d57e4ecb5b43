"""Optima of losses that read rewards: what they share with RLHF, their closed forms, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.cli import app
from expo_analysis.terms import (
    BernoulliKL,
    Hinge,
    Linear,
    Logistic,
    Square,
    hbar,
    length_l,
    length_w,
    linked,
    log_pi_w,
    per_token,
    reward_gap,
    reward_w,
)
from expo_analysis.testing import strategies as own

from . import oracles, problems
from .definitions import madpo_amplification, madpo_weight

REGRESSIONS: dict[str, tuple[Any, float]] = {
    # what fits lam hbar to the rewards' differences, whoever won, and the eta of these
    "rpo squared": (lambda lam: ea.RewardAwarePO(lam, "squared", eta=0.5), 0.5),
    "rpo backward": (lambda lam: ea.RewardAwarePO(lam, "backward_kl", eta=2.0), 2.0),
    "rpo forward": (lambda lam: ea.RewardAwarePO(lam, "forward_kl"), 1.0),
    "rebel": (ea.REBEL, 1.0),
    "distillation": (ea.RewardDistillation, 1.0),
    "rlhf": (ea.RLHF, 1.0),
}
each_regression = pytest.mark.parametrize(("make", "eta"), REGRESSIONS.values(), ids=REGRESSIONS)


def tilted(bandit: ea.Bandit, scale: float) -> np.ndarray:
    """pi_ref exp(scale r), normalised, in 50 digits."""
    rewards = np.log(bandit.optimal) if bandit.rewards is None else bandit.rewards
    rows = zip(np.atleast_2d(bandit.reference), np.atleast_2d(rewards), strict=True)
    with mp.workdps(50):
        found = [
            oracles.normalised([mp.log(mp.mpf(p)) + mp.mpf(scale) * mp.mpf(r) for p, r in zip(*row, strict=True)])
            for row in rows
        ]
    return np.array(found, dtype=float).reshape(bandit.reference.shape)


def random_bandits() -> dict[str, ea.Bandit]:
    """Connected ones, with rewards that have nothing to do with pi* or with who won."""
    rng = np.random.default_rng(3)
    policies = [problems.policy(rng, 4, 0.02) for _ in range(4)]
    counts = problems.strongly_connected_counts(rng, 5, 30)
    one_sided = np.triu(np.ones((4, 4)), 1)
    return {
        "population": ea.Bandit(*policies[:2], rewards=rng.normal(size=4)),
        "its own pi*": ea.Bandit(*policies[2:]),
        "a chain": ea.Bandit(*policies[:2], problems.pairs(rng, 4, "sparse", decades=2.0), rewards=rng.normal(size=4)),
        "prompts": ea.Bandit(np.stack(policies[:2]), np.stack(policies[2:]), rewards=rng.normal(size=(2, 4))),
        "one row for all prompts": ea.Bandit(
            np.stack(policies[:2]), np.stack(policies[2:]), rewards=rng.normal(size=4)
        ),
        "counts": ea.Bandit.from_counts(problems.policy(rng, 5, 0.02), counts, rewards=rng.normal(size=5)),
        "the lower reward always wins": ea.Bandit.from_counts(policies[0], one_sided, rewards=[0.0, 0.5, 1.0, 2.0]),
        "large rewards": ea.Bandit(*policies[:2], rewards=[1000.0, 1003.0, 1001.0, 999.0]),
        "preferences of their own": ea.Bandit.from_preferences(policies[1], _cyclic(), rewards=rng.normal(size=4)),
    }


def _cyclic() -> np.ndarray:
    above = np.triu(np.random.default_rng(4).random((4, 4)), 1)
    return above + np.tril(1 - above.T, -1) + 0.5 * np.eye(4)


BANDITS = random_bandits()


@pytest.mark.parametrize("bandit", BANDITS.values(), ids=BANDITS)
@each_regression
def test_all_share_the_tilted_reference(make: Any, eta: float, bandit: ea.Bandit) -> None:
    """pi_ref exp(eta r/lam), within the bound, at every lambda; the policy first is not convex, and is proven too."""
    for lam in (0.3, 1.0, 8.0):
        found = ea.solve(make(lam), bandit)
        distance = np.abs(found.policy - tilted(bandit, eta / lam)).sum(axis=-1)
        assert (np.asarray(found.status) == "optimal").all()
        assert (distance <= found.error_bound).all() and np.max(found.error_bound) < 1e-9


@pytest.mark.parametrize("name", ["rpo squared", "rpo backward", "rpo forward", "rebel", "distillation"])
@settings(max_examples=40)
@given(data=st.data(), lam=st.floats(0.05, 20.0))
def test_on_random_connected_bandits(name: str, data: st.DataObject, lam: float) -> None:
    graphs = ("uniform", "reference", "uneven", "sparse")
    bandit = data.draw(own.bandits(max_n=6, graphs=graphs, smallest=1e-3))
    rewards = data.draw(st.lists(st.floats(-4.0, 4.0), min_size=bandit.n, max_size=bandit.n))
    bandit = ea.Bandit(bandit.reference, bandit.optimal, bandit.pairs, rewards=rewards)
    make, eta = REGRESSIONS[name]
    found = ea.solve(make(lam), bandit)
    assert found.status == "optimal"
    assert np.abs(found.policy - tilted(bandit, eta / lam)).sum() <= found.error_bound


@pytest.mark.parametrize("cubed", [0.0, 1e-13, 1e-9, 1e-3, 1.0])
def test_margins_that_nearly_fit_together(cubed: float) -> None:
    """Goals g + cubed g^3 do not add up around a triangle: a bound only where they hardly differ, and one that holds.

    The oracle is Newton's method on the bounded losses, in 50 digits, from where the goals add up.
    """

    @dataclass(frozen=True)
    class Mine(ea.PairObjective):
        name = "mine"

        @property
        def terms(self) -> Any:
            return BernoulliKL(reward_gap.map(goal))(hbar)

    def goal(gap: Any) -> Any:
        return gap + cubed * gap**3

    rewards = [0.0, -0.4, 0.7]
    bandit = ea.Bandit([0.5, 0.3, 0.2], [0.2, 0.3, 0.5], np.ones((3, 3)) - np.eye(3), rewards=rewards)
    found = ea.solve(Mine(1.0), bandit)
    with mp.workdps(50):
        ends = ((0, 1), (1, 2), (0, 2))
        goals = [goal(mp.mpf(rewards[i]) - mp.mpf(rewards[j])) for i, j in ends]

        def slopes(a: Any, b: Any) -> list[Any]:
            first, second, both = (
                (m - g) / ((1 + mp.exp(m)) * (1 + mp.exp(-m))) for m, g in zip((a, b, a + b), goals, strict=True)
            )
            return [first + both, second + both]

        a, b = mp.findroot(slopes, (mp.mpf("0.4"), mp.mpf("-1.1")))
        moved = zip(bandit.reference.tolist(), (a, mp.mpf(0), -b), strict=True)
        least = np.array(oracles.normalised([mp.log(p) + t for p, t in moved]), dtype=float)
    distance = np.abs(found.policy - least).sum()
    if cubed <= 1e-9:
        assert found.status == "optimal" and distance <= found.error_bound < 1e-11 + 20 * cubed
    else:
        assert found.status == "best_found" and distance < 1e-6


def test_islands_have_each_their_own_tilt() -> None:
    """Between islands nothing is said: not unique, and within each as everywhere."""
    rng = np.random.default_rng(0)
    pairs = np.zeros((5, 5))
    pairs[:3, :3] = pairs[3:, 3:] = 1.0
    np.fill_diagonal(pairs, 0.0)
    bandit = ea.Bandit(rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5)), pairs, rewards=rng.normal(size=5))
    whole = tilted(bandit, 1 / 0.7)
    for make in (ea.REBEL, ea.RewardDistillation, ea.RewardAwarePO):
        found = ea.solve(make(0.7), bandit)
        assert found.status == "not_unique"
        for island in (slice(0, 3), slice(3, 5)):
            own_share = found.policy[island] / found.policy[island].sum()
            np.testing.assert_allclose(own_share, whole[island] / whole[island].sum(), atol=1e-12)


def test_reward_distillation_is_rebel() -> None:
    for bandit in BANDITS.values():
        first, second = ea.solve(ea.REBEL(0.4), bandit), ea.solve(ea.RewardDistillation(0.4), bandit)
        assert (np.abs(first.policy - second.policy).sum(axis=-1) <= first.error_bound + second.error_bound).all()
        np.testing.assert_allclose(0.4**2 * np.asarray(first.value), second.value, rtol=1e-9, atol=1e-25)


def test_reward_aware_po_tends_to_dpo_of_the_higher_reward() -> None:
    """eta -> inf: who has the higher reward wins, whatever the labels, and DPO has no minimiser on such data."""
    bandit = BANDITS["population"]
    policies = [ea.solve(ea.RewardAwarePO(1.0, eta=eta), bandit).policy for eta in (1.0, 10.0, 100.0)]
    best = int(np.argmax(bandit.rewards))
    assert policies[0][best] < policies[1][best] < policies[2][best] and policies[2][best] > 1 - 1e-6


# ---------------------------------------------------------------------------------------------------- closed forms


def two(p: float, gap: float, reference: float = 0.3) -> ea.Bandit:
    """Two responses with p = p*(0 > 1) and r_0 - r_1 = gap."""
    return ea.Bandit([reference, 1 - reference], [p, 1 - p], rewards=[gap, 0.0])


def _hbar(solution: ea.Solution) -> float:
    """hbar at the optimum of two responses."""
    ratio = np.log(solution.policy / solution.bandit.reference)
    return float(ratio[0] - ratio[1])


@settings(max_examples=60)
@given(gap=st.floats(-2.0, 2.0), lam=st.floats(0.2, 5.0), options=st.sampled_from(({}, {"most": 3.0, "least": 0.25})))
def test_madpo_amplifies_the_gap(gap: float, lam: float, options: dict[str, float]) -> None:
    """|g| <= tau = 2 and p = sigma(g): the optimum of a pair is lam hbar = c(|g|) g."""
    p = 1 / (1 + math.exp(-gap))
    found = ea.solve(ea.MADPO(lam, **options), two(p, gap))
    with mp.workdps(40):
        own_options = (2, mp.mpf(options.get("most", 2.0)), mp.mpf(options.get("least", 0.5)), 1)
        expected = float(madpo_amplification(mp.mpf(gap), *own_options) * mp.mpf(gap))
    assert lam * _hbar(found) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=60)
@given(p=st.floats(0.02, 0.98), gap=st.floats(-6.0, 6.0), lam=st.floats(0.2, 5.0))
def test_madpo_beyond_its_closed_form(p: float, gap: float, lam: float) -> None:
    """Any p and g: lam hbar = log(p w_ij / ((1-p) w_ji)), w the weights of both orders."""
    bandit = two(p, gap)
    found = ea.solve(ea.MADPO(lam), bandit)
    with mp.workdps(40):
        ahead, back = (madpo_weight(sign * mp.mpf(gap), 2, 2, mp.mpf(0.5), 1) for sign in (1, -1))
        first, second = (mp.mpf(float(x)) for x in bandit.optimal)
        expected = float(mp.log(first * ahead / (second * back)))
    assert lam * _hbar(found) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=60)
@given(p=st.floats(0.02, 0.98), gap=st.floats(-4.0, 4.0), lam=st.floats(0.2, 5.0))
def test_odpo_moves_the_margin_by_the_gap(p: float, gap: float, lam: float) -> None:
    """The offset r_w - r_l is that of the pair's order: antisymmetric, and lam hbar = log p/(1-p) + alpha (r_i - r_j).

    With an offset D that is the same whoever wins, x = e^(lam hbar) would be the positive root of
    (1-p) x^2 + (1-2p) e^D x - p = 0; a formula of one's own has that one.
    """
    bandit = two(p, gap)
    odds = math.log(bandit.optimal[0]) - math.log(bandit.optimal[1])
    assert lam * _hbar(ea.solve(ea.ODPO(lam, alpha=0.5), bandit)) == pytest.approx(odds + gap / 2, rel=1e-9, abs=1e-9)

    @dataclass(frozen=True)
    class Margin(ea.PairObjective):
        name = "margin"

        @property
        def terms(self) -> Any:
            return Logistic()(self.lam * hbar - reward_gap.map(abs))

    a, (p, q) = math.exp(abs(gap)), bandit.optimal
    root = ((p - q) * a + math.sqrt(((p - q) * a) ** 2 + 4 * p * q)) / (2 * q)
    found = ea.solve(Margin(lam), bandit)
    assert found.status == "optimal"
    assert lam * _hbar(found) == pytest.approx(math.log(root), rel=1e-9, abs=1e-9)


# ---------------------------------------------------------------------------------------------------- which rewards


def test_a_population_without_rewards_has_those_of_pi_star() -> None:
    plain = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    stated = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1], rewards=np.log(plain.optimal))
    for make in (ea.RLHF, ea.REBEL, ea.RewardAwarePO, ea.ODPO, ea.MADPO):
        first, second = ea.solve(make(0.7), plain), ea.solve(make(0.7), stated)
        assert np.abs(first.policy - second.policy).sum() <= first.error_bound + second.error_bound < 1e-12
        logs = np.log([0.3, 0.3, 0.4])
        assert ea.risk(make(0.7), plain, logs) == pytest.approx(ea.risk(make(0.7), stated, logs), rel=1e-15)
    for make in (ea.REBEL, ea.RewardAwarePO, ea.RewardDistillation):
        np.testing.assert_allclose(ea.solve(make(0.7), plain).policy, ea.solve(ea.DPO(0.7), plain).policy, atol=1e-12)


def test_rlhf_takes_the_bandits_own_rewards() -> None:
    """Of counts it needs no fit then, and a reward that is given to `risk` wins."""
    counted = ea.Bandit.from_counts([0.5, 0.5], [[0, 3], [0, 0]], rewards=[0.0, 1.0])
    found = ea.solve(ea.RLHF(2.0), counted)
    assert found.status == "optimal"  # separable: the fit of a reward has no optimum
    np.testing.assert_allclose(found.policy, 1 / (1 + np.exp([0.5, -0.5])), rtol=1e-14)
    logs = np.log([0.3, 0.7])
    kl = 0.3 * math.log(0.6) + 0.7 * math.log(1.4)
    assert ea.risk(ea.RLHF(2.0), counted, logs) == pytest.approx(-0.7 + 2 * kl)
    assert ea.risk(ea.RLHF(2.0), counted, logs, np.array([1.0, 0.0])) == pytest.approx(-0.3 + 2 * kl)


def test_a_risk_of_many_policies_is_that_of_each() -> None:
    """As many policies as there are pairs, or prompts, so that a reward of the wrong pair would have a place."""
    rng = np.random.default_rng(5)
    bandit = BANDITS["prompts"]
    for name in ("rebel", "rpo backward", "rlhf"):
        objective = REGRESSIONS[name][0](0.6)
        for shape in ((12,), (2,), (12, 2), (3, 12)):
            log_policies = np.log(rng.dirichlet(np.ones(4), (*shape, 2)))
            together = ea.risk(objective, bandit, log_policies)
            each = [ea.risk(objective, bandit, x) for x in log_policies.reshape(-1, 2, 4)]
            np.testing.assert_allclose(together.reshape(-1, 2), each, rtol=1e-13)
            in_torch = ea.risk(objective, bandit, torch.from_numpy(log_policies))
            np.testing.assert_allclose(in_torch.numpy(), together, rtol=1e-13)


# ---------------------------------------------------------------------------------------------------- refused


NEED_REWARDS = (ea.REBEL, ea.RewardDistillation, ea.RewardAwarePO, ea.ODPO, ea.MADPO)


@pytest.mark.parametrize("make", NEED_REWARDS, ids=lambda make: make.name)
def test_counts_without_rewards(make: Any) -> None:
    counted = ea.Bandit.from_counts([0.5, 0.5], [[0, 3], [1, 0]])
    message = rf"^bandit must state rewards, which {make.__name__} reads: Bandit\(\.\.\., rewards=\[\.\.\.\]\)$"
    for use in (
        lambda: ea.solve(make(1.0), counted),
        lambda: ea.solve_path(make(1.0), counted, [1.0]),
        lambda: ea.solve(make(1.0), counted, features=[[1.0], [0.0]]),
        lambda: ea.risk(make(1.0), counted, np.log([0.5, 0.5])),
    ):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.parametrize("make", [*NEED_REWARDS, ea.RLHF], ids=lambda make: make.name)
def test_a_reward_that_is_not_known(make: Any) -> None:
    one = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1], rewards=[0.0, math.nan, 1.0])
    several = ea.Bandit([[0.5, 0.5]] * 2, [[0.7, 0.3]] * 2, rewards=[[0.0, 1.0], [2.0, math.nan]])
    for bandit, place in ((one, "1"), (several, r"\(1, 1\)")):
        message = f"^bandit must have a reward for every response, but that at {place} is not known$"
        with pytest.raises(ValueError, match=message):
            ea.solve(make(1.0), bandit)
        with pytest.raises(ValueError, match=message):
            ea.risk(make(1.0), bandit, np.log(bandit.reference))
    assert ea.solve(ea.DPO(1.0), one).status == "optimal"  # which reads none


def test_a_pair_that_the_loss_has_no_value_for() -> None:
    """ODPO's logarithm needs winners with the higher reward: one sentence, with the pair, wherever it is met."""
    objective = ea.ODPO(1.0, scale="log")
    rewards = [[1.0, 0.5, 0.25], [0.0, 2.0, 1.0]]
    counts = [[[0, 2, 1], [0, 0, 1], [0, 0, 0]], [[0, 0, 0], [1, 0, 0], [1, 1, 0]]]
    named = ea.Bandit.from_counts(
        [[0.4, 0.4, 0.2]] * 2, counts, rewards=rewards, responses=["a", "b", "c"], prompt_names=["x", "y"]
    )
    message = (
        "bandit must have rewards that ODPO has a value for; it is nan where response 'c' beats 'b' on prompt 'y', "
        "with reward_l = 2 and reward_w = 1"
    )
    uses = (
        lambda: ea.solve(objective, named),
        lambda: ea.solve_path(objective, named, [0.5, 1.0]),
        lambda: ea.solve(objective, named, features=np.ones((2, 3, 1)) * [[1.0], [0.0], [-1.0]]),
        lambda: ea.risk(objective, named, np.log(named.reference)),
        lambda: ea.risk(objective, named, torch.from_numpy(np.log(named.reference))),
    )
    for use in uses:
        with pytest.raises(ValueError) as caught:
            use()
        assert str(caught.value) == message
    plain = ea.Bandit([0.5, 0.5], [0.7, 0.3], rewards=[0.5, 0.5])
    with pytest.raises(
        ValueError, match=r"it is nan where response 0 beats 1, with reward_l = 0\.5 and reward_w = 0.5$"
    ):
        ea.solve(objective, plain)


COUNTS = {"reference": [0.5, 0.5], "counts": [[0, 3], [1, 0]]}
COMMANDS: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "no rewards": (["rebel"], COUNTS, "bandit must state rewards, which REBEL reads"),
    "one is not known": (["rlhf"], COUNTS | {"rewards": [1.0, None]}, "bandit must have a reward for every response"),
    "no value": (
        ["odpo", "--option", "scale=log"],
        COUNTS | {"rewards": [1.0, 0.5]},
        "bandit must have rewards that ODPO has a value for; it is nan where response 1 beats 0",
    ),
}


@pytest.mark.parametrize(("loss", "file", "message"), COMMANDS.values(), ids=COMMANDS)
def test_the_command_says_it_in_one_sentence(
    loss: list[str], file: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Which names the file, and there is no traceback."""
    path = tmp_path / "bandit.json"
    path.write_text(json.dumps(file))
    done = CliRunner().invoke(app, ["solve", *loss, "--lam", "0.5", "--bandit", str(path)])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {path}: {message}") and done.stderr.count("\n") == 1


def test_the_command_takes_rewards_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "bandit.json"
    path.write_text(json.dumps(COUNTS | {"rewards": [0.0, 1.0]}))
    done = CliRunner().invoke(app, ["solve", "rebel", "--lam", "2", "--bandit", str(path), "--json"])
    assert done.exit_code == 0
    expected = [1 / (1 + math.exp(x)) for x in (0.5, -0.5)]
    assert json.loads(done.stdout)["policy"] == pytest.approx(expected, rel=1e-12)


def test_a_pair_that_is_never_compared_may_have_any_rewards() -> None:
    """Only 0 beats 1 and 1 beats 2: the logarithm of the other orders is not asked for."""
    counts = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    bandit = ea.Bandit.from_counts([0.4, 0.4, 0.2], counts, rewards=[3.0, 2.0, 0.0])
    assert ea.solve(ea.ODPO(1.0, scale="log"), bandit).status == "no_minimiser"
    logs = np.log([0.5, 0.3, 0.2])
    margins = logs[:2] - logs[1:] - np.log(bandit.reference[:2] / bandit.reference[1:])
    expected = np.log1p(np.exp(np.log([1.0, 2.0]) - margins)).mean()
    assert ea.risk(ea.ODPO(1.0, scale="log"), bandit, logs) == pytest.approx(expected)


def test_a_formula_without_a_value_is_refused_too() -> None:
    @dataclass(frozen=True)
    class Root(ea.PairObjective):
        name = "root"

        def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any, reward_w: Any) -> Any:
            return reward_w**0.5 * (logp_l - logp_w)

    bandit = ea.Bandit([0.5, 0.5], [0.7, 0.3], rewards=[4.0, -1.0])
    with pytest.raises(
        ValueError, match="Root has a value for; it is nan where response 1 beats 0, with reward_w = -1"
    ):
        ea.solve(Root(1.0), bandit)


# ---------------------------------------------------------------------------------------------------- other losses


def test_dpo_shift_has_the_optimum_of_another_method() -> None:
    """Convex, of a margin that is concave: optimal, with a bound, where the gradient in the logits vanishes."""
    rng = np.random.default_rng(2)
    for lam in (0.2, 1.0, 4.0):
        bandit = ea.Bandit(rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4)))
        objective = ea.DPOShift(lam, shift=0.6)
        found = ea.solve(objective, bandit)
        assert objective.facts.convex and found.certificate == "error_bound" and found.error_bound < 1e-11
        theta = torch.tensor(found.log_policy, requires_grad=True)
        value = ea.risk(objective, bandit, torch.log_softmax(theta, -1))
        (gradient,) = torch.autograd.grad(value, theta)
        assert gradient.abs().max() < 1e-9 * (1 + lam)
        for _ in range(20):
            other = np.log(rng.dirichlet(np.ones(4)))
            assert ea.risk(objective, bandit, other) >= found.value - 1e-13


def test_pessimism_has_a_minimiser_for_separable_data() -> None:
    separable = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 5, 3], [0, 0, 2], [0, 0, 0]])
    assert ea.solve(ea.DPO(0.1), separable).status == "no_minimiser"
    found = ea.solve(ea.PessimisticDPO(0.3), separable)
    assert found.status == "optimal" and found.error_bound < 1e-9


def test_simper_is_linear_in_the_policy() -> None:
    """Those that win most beyond what they lose, here two, have all the mass, however they share it."""
    bandit = ea.Bandit.from_counts([0.2, 0.5, 0.3], [[0, 1, 4], [3, 0, 0], [1, 1, 0]])
    net = np.asarray(bandit.wins.sum(axis=1) - bandit.wins.sum(axis=0))
    logs = np.log(np.random.default_rng(0).dirichlet(np.ones(3), 50))
    np.testing.assert_allclose(ea.risk(ea.SimPER(1.0), bandit, logs), -np.exp(logs) @ net, rtol=1e-12, atol=1e-15)
    found = ea.solve(ea.SimPER(1.0), bandit)
    assert (net == net.max()).sum() == 2 and found.policy[net == net.max()].sum() > 1 - 1e-6


def test_weighted_likelihoods_and_rewards_in_every_place_of_a_term() -> None:
    """Rewards as a weight of a likelihood, a scale, an offset and a parameter: each as if numbers stood there."""

    @dataclass(frozen=True)
    class Weighted(ea.PairObjective):
        """-e^(r_w) log pi_w, as in reward-weighted regression: pi_i is the share of wins, each by its weight."""

        name = "weighted"

        @property
        def terms(self) -> Any:
            return reward_w.map(np.exp) * Linear(-1.0)(log_pi_w)

    bandit = BANDITS["counts"]
    won = bandit.wins.sum(axis=1) * np.exp(bandit.rewards)
    found = ea.solve(Weighted(1.0), bandit)
    assert found.status == "optimal"
    np.testing.assert_allclose(found.policy, won / won.sum(), atol=1e-10)

    @dataclass(frozen=True)
    class Scaled(ea.PairObjective):
        """-log sigma(|r_w - r_l| lam hbar): a steepness for each pair."""

        name = "scaled"

        @property
        def terms(self) -> Any:
            return Logistic()(reward_gap.map(abs) * (self.lam * hbar))

    found = ea.solve(Scaled(0.5), two(0.8, 1.7))
    assert found.status == "optimal" and found.error_bound < 1e-12
    assert 1.7 * 0.5 * _hbar(found) == pytest.approx(math.log(4.0))


GAP = reward_gap.map(abs)
FORMS: dict[str, Any] = {
    "a hinge of its own steepness": lambda lam: Hinge()(GAP * (lam * hbar)),
    "a hinge with an offset": lambda lam: Hinge()(lam * hbar - reward_gap),
    "a square of its own steepness": lambda lam: Square()(GAP * (lam * hbar) - 1.0),
    "scores of another divergence": lambda lam: Logistic()(GAP * (lam * linked(ea.JensenShannon()))),
    "a weighted likelihood beside": lambda lam: Logistic()(lam * hbar) + GAP * Linear(-1.0)(log_pi_w),
    "lengths in an offset": lambda lam: Logistic()(lam * hbar - 0.3 * (length_w / length_l).map(np.log)),
    "means over tokens": lambda lam: Square()(lam * per_token(hbar) - reward_gap),
    "a weight of either sign": lambda lam: Logistic()(lam * hbar) + 0.2 * reward_gap.map(np.tanh) * Logistic()(hbar),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_users_own_way_with_rewards(form: Any) -> None:
    """Whatever place rewards or lengths have in a term: an optimum that no policy that was tried improves on."""

    @dataclass(frozen=True)
    class Mine(ea.PairObjective):
        name = "mine"

        @property
        def terms(self) -> Any:
            return form(self.lam)

    rng = np.random.default_rng(8)
    for k in range(4):
        lengths = [2, 2, 2, 2] if k % 2 else [1, 2, 3, 4]
        own_data = {"rewards": rng.normal(size=4), "lengths": lengths}
        bandit = ea.Bandit(rng.dirichlet(np.ones(4) * 2), rng.dirichlet(np.ones(4) * 2), **own_data)
        found = ea.solve(Mine(0.7), bandit)
        assert found.status in ("optimal", "best_found", "not_unique")
        for width in (1e-3, 0.1, 1.0):
            moved = found.log_policy + width * rng.normal(size=(40, 4))
            moved -= np.logaddexp.reduce(moved, axis=1, keepdims=True)
            assert (ea.risk(Mine(0.7), bandit, moved) >= found.value - 1e-12).all()


# ---------------------------------------------------------------------------------------------------- over features


@pytest.mark.parametrize("name", ["rpo squared", "rpo backward", "rebel", "distillation"])
def test_over_features_that_hold_the_tilt(name: str) -> None:
    """The reward itself as the one feature: w = eta/lam, and the optimum over all policies."""
    make, eta = REGRESSIONS[name]
    for bandit in (BANDITS["population"], BANDITS["counts"], BANDITS["prompts"]):
        found = ea.solve(make(0.7), bandit, features=np.asarray(bandit.rewards)[..., None])
        assert (np.asarray(found.status) == "optimal").all()
        assert found.weights == pytest.approx([eta / 0.7], rel=1e-9)
        np.testing.assert_allclose(found.policy, tilted(bandit, eta / 0.7), atol=1e-10)


@pytest.mark.parametrize("make", [ea.REBEL, ea.RewardAwarePO, ea.ODPO, ea.MADPO], ids=lambda make: make.name)
def test_over_features_that_do_not(make: Any) -> None:
    """A stationary point in w, by torch, of the risk over both prompts; and none of other weights is lower."""
    rng = np.random.default_rng(6)
    bandit, features = BANDITS["prompts"], rng.normal(size=(2, 4, 2))
    objective = make(0.7)
    found = ea.solve(objective, bandit, features=features)
    assert (np.asarray(found.status) == "optimal").all()

    def total(w: torch.Tensor) -> torch.Tensor:
        logits = torch.tensor(np.log(bandit.reference)) + torch.tensor(features) @ w
        return (ea.risk(objective, bandit, torch.log_softmax(logits, -1)) * torch.tensor(bandit.prompt_weights)).sum()

    w = torch.tensor(found.weights, requires_grad=True)
    (gradient,) = torch.autograd.grad(total(w), w)
    assert gradient.abs().max() < 1e-9
    for _ in range(20):
        assert total(torch.tensor(found.weights + rng.normal(size=2))) >= total(w).detach() - 1e-13
