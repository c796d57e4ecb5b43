"""Training many settings at once: rows that do not see each other, recorded steps, batches, early stopping."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx

import expo_analysis as ea
from expo_analysis.losses.risk import risk
from expo_analysis.simulators import (
    SGD,
    Adam,
    NGram,
    Pairs,
    Tabular,
    Training,
    Transformer,
    draw_pairs,
    recording,
    rows,
    train,
    training,
)
from expo_analysis.simulators.batches import Batch, whole
from expo_analysis.simulators.replay import Replay
from expo_analysis.testing import strategies as own

from .definitions import CASES

REFERENCE, OPTIMAL = np.array([[0.4, 0.4, 0.2], [0.2, 0.3, 0.5]]), np.array([[0.6, 0.3, 0.1], [0.3, 0.4, 0.3]])
BANDIT = ea.Bandit(REFERENCE, OPTIMAL)
PAIRS = draw_pairs(BANDIT, 25, 3, seed=5)
TABULAR = Tabular(REFERENCE)


def one(pairs: Pairs, s: int) -> Pairs:
    """Data set s by itself."""
    size = np.asarray(pairs.size)[s]
    ends = (x[s, :size] for x in (pairs.winner, pairs.loser, np.asarray(pairs.prompt)))
    return Pairs(pairs.reference, *ends, optimal=pairs.optimal)


# ------------------------------------------------------------------------------------------------ batched = alone

ADAM = Adam(0.02, eps=1e-3)
"""With its usual eps Adam divides the rounding of a gradient that vanishes by 1e-8, and rows differ by up to 1e-9: seen
on the example below. This eps keeps what rounding can do to a parameter near to the last places, and so tests tell."""
SETTINGS = {
    "full gradients": Training(ADAM, epochs=40, records=5),
    "batches": Training(ADAM, epochs=4, batch=8, shuffle=False, records=5),
    "clipped": Training(SGD(0.1, momentum=0.5), epochs=4, batch=8, shuffle=False, clip_norm=0.2, records=5),
    "averaged": Training(replace(ADAM, weight_decay=0.1), epochs=4, batch=8, shuffle=False, average=0.5, records=5),
}
LAST_PLACES = 2e-14
"""Of log-probabilities up to 10, after some tens of steps."""


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.slow
def test_a_row_is_what_it_is_alone(setting: Training) -> None:
    """Over losses of one and of several kinds, lambdas and data sets. The order without shuffling is the data's."""
    objectives = [ea.DPO(0.1), ea.EXPO(1.0), ea.DPO(10.0), ea.IPO(0.5), ea.EXPO(0.1), ea.DPO(1.0, label_smoothing=0.2)]
    together = train(objectives, TABULAR, PAIRS, setting)
    assert together.log_policies.shape == (6, 3, 5, 2, 3)
    for k, objective in enumerate(objectives):
        for s in range(3):
            alone = train(objective, TABULAR, one(PAIRS, s), setting)
            for name in ("log_policies", "values", "log_final"):
                mine, its = getattr(together, name)[k, s], getattr(alone, name)[0, 0]
                np.testing.assert_allclose(mine, its, rtol=0, atol=LAST_PLACES, err_msg=f"{objective} {s} {name}")
            assert together.stopped[k, s] == alone.stopped[0, 0]


def test_the_first_data_sets_do_not_depend_on_those_that_follow() -> None:
    """Shuffled orders and samples included."""
    policy = NGram(3, 1, 2, initial_policy=REFERENCE)
    for name in ("exact", "reference_samples", "token_kl"):
        setting = Training(ADAM, epochs=3, batch=8, estimator=name, records=4)
        two = train(ea.EXPO(0.5), policy, draw_pairs(BANDIT, 25, 2, seed=5), setting)
        three = train(ea.EXPO(0.5), policy, PAIRS, setting)
        np.testing.assert_allclose(two.log_policies, three.log_policies[:, :2], rtol=0, atol=LAST_PLACES)


@settings(max_examples=5)
@given(data=st.data(), setting=st.sampled_from(list(SETTINGS)))
def test_rows_are_independent_on_any_data(data: st.DataObject, setting: str) -> None:
    n = data.draw(st.integers(2, 5))
    bandit = ea.Bandit(data.draw(own.policies(n, 1e-2)), data.draw(own.policies(n, 1e-2)))
    pairs = draw_pairs(bandit, data.draw(st.integers(1, 12)), 3, seed=data.draw(st.integers(0, 99)))
    lams = data.draw(st.lists(st.floats(0.05, 20.0), min_size=2, max_size=3))
    together = train([ea.EXPO(lam) for lam in lams], Tabular(bandit.reference), pairs, SETTINGS[setting])
    k, s = data.draw(st.integers(0, len(lams) - 1)), data.draw(st.integers(0, 2))
    alone = train(ea.EXPO(lams[k]), Tabular(bandit.reference), one(pairs, s), SETTINGS[setting])
    np.testing.assert_allclose(together.log_final[k, s], alone.log_final[0, 0], rtol=0, atol=LAST_PLACES)
    assert np.abs(together.policies.sum(axis=-1) - 1).max() < 1e-14


@pytest.mark.parametrize(("optimiser", "allowed"), [(ADAM, LAST_PLACES), (SGD(0.02), LAST_PLACES), (Adam(0.02), 1e-6)])
def test_rounding_of_a_gradient_that_vanishes(optimiser: Adam | SGD, allowed: float) -> None:
    """Of responses that one data set never compares: EXPO's gradient there is lam (pi - pi_ref), 0 at the start.

    By Adam with its usual eps the two may differ by steps * lr/eps * (rounding of the gradient, some last places of
    lam): 40 * 2e6 * 1e-15 * 8 is 6e-7.
    """
    reference = np.array([0.21019087537910902, *[0.25880084004259973] * 3, 0.013406604493091957])
    optimal = np.array([0.2133294217, 0.1756592247, 0.0277851327, 0.2963656448, 0.2868605741])
    pairs = draw_pairs(ea.Bandit(reference, optimal / optimal.sum()), 4, 3, seed=13)
    setting = Training(optimiser, epochs=40, records=5)
    lams = [18.233508561995937, 7.722174062077344, 19.999999999999996]
    together = train([ea.EXPO(lam) for lam in lams], Tabular(reference), pairs, setting)
    alone = train(ea.EXPO(lams[1]), Tabular(reference), one(pairs, 2), setting)
    np.testing.assert_allclose(together.log_final[1, 2], alone.log_final[0, 0], rtol=0, atol=allowed)


@dataclass(frozen=True)
class Bowl(ea.PairObjective):
    """lam (h - 1)^2: at a given learning rate a large lam diverges."""

    name = "bowl"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        return self.lam * (logp_w - logp_l - 1) ** 2


@pytest.mark.parametrize("average", [None, 0.5])
def test_whatever_diverges_is_nan_in_its_row_only(average: float | None) -> None:
    setting = Training(SGD(0.1), epochs=200, records=9, average=average)
    together = train([Bowl(1.0), Bowl(1e6), Bowl(0.5)], TABULAR, PAIRS, setting)
    assert np.isnan(together.final[1]).all() and np.isnan(together.values[1, :, -1]).all()
    assert not np.isnan(together.log_policies[1, :, 0]).any()
    for k, lam in ((0, 1.0), (2, 0.5)):
        np.testing.assert_allclose(together.final[k], train(Bowl(lam), TABULAR, PAIRS, setting).final[0], rtol=1e-12)


# ------------------------------------------------------------------------------------------------ recorded = eager


def eagerly(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(training, "recorded", lambda step, example: step)
        return train(*arguments)


@pytest.mark.parametrize(
    "name", ["dpo", "expo", "fdpo_alpha_small", "kto", "dpop", "cpo", "rlhf_jensen_shannon", "orpo", "odpo", "madpo"]
)
def test_the_recorded_step_is_the_step(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    objectives = [CASES[name](lam) for lam in (0.3, 3.0)]
    setting = Training(Adam(0.02), epochs=3, batch=10, clip_norm=0.5, schedule="cosine", records=7)
    recorded = train(objectives, TABULAR, PAIRS, setting)
    eager = eagerly(monkeypatch, objectives, TABULAR, PAIRS, setting)
    np.testing.assert_allclose(recorded.log_policies, eager.log_policies, rtol=0, atol=1e-13)


def operations(graph: Any) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("clip", [None, 0.5])
def test_nothing_idle_is_recorded(monkeypatch: pytest.MonkeyPatch, clip: float | None) -> None:
    """Of a loss only its slope is needed: its value and what is the same at every step go; not a bit changes."""
    graphs = []
    real = recording.without_idle_work

    def spied(graph: Any, example: Any) -> None:
        before = operations(graph)
        real(graph, example)
        graphs.append((before, operations(graph)))

    setting = Training(Adam(0.02), epochs=3, batch=10, clip_norm=clip, records=7)
    monkeypatch.setattr(recording, "without_idle_work", spied)
    lean = train(ea.EXPO(0.3), TABULAR, PAIRS, setting)
    monkeypatch.setattr(recording, "without_idle_work", lambda graph, example: None)
    whole = train(ea.EXPO(0.3), TABULAR, PAIRS, setting)
    np.testing.assert_array_equal(lean.log_policies, whole.log_policies)
    ((before, after),) = graphs
    assert len(after) < 0.75 * len(before)
    assert {"aten.ones_like.default", "aten.detach.default", "aten.exp.default"} <= set(before) - set(after)


def test_a_mode_for_all_shapes_changes_no_operation() -> None:
    def step(parameters: torch.Tensor, state: tuple[torch.Tensor, ...]) -> Any:
        with torch.enable_grad():
            x = parameters.detach().requires_grad_()
            (slope,) = torch.autograd.grad(torch.nn.functional.logsigmoid(x).sum() + (x.exp() * 2).prod(), x)
        return parameters - 0.1 * slope, state

    example = (torch.tensor([0.3, -1.0, 2.0]), (torch.zeros(3),))
    found, plain = recording.operations(step, example), make_fx(step)(*example)
    assert found.code == plain.code and len(operations(found)) > 5
    torch.testing.assert_close(found(*example)[0], step(*example)[0], rtol=0, atol=0)


REPLAYED = [name for name, case in CASES.items() if name != "odpo_log" and not case(1.0).claims.couples_pairs]


@pytest.mark.parametrize(
    "names",
    [
        ["expo", "fdpo_alpha_small", "rlhf_jensen_shannon", "orpo"],
        *(pytest.param(part, marks=pytest.mark.slow) for part in np.array_split(REPLAYED, 6)),
    ],
    ids=lambda names: names[0],
)
def test_memory_that_is_given_once_changes_no_bit(monkeypatch: pytest.MonkeyPatch, names: Any) -> None:
    """What is written where something is still to be read would show in a few steps."""
    objectives = [CASES[name](lam) for name in names for lam in (0.3, 3.0)]
    setting = Training(Adam(0.02), epochs=2, batch=10, clip_norm=0.5, schedule="cosine", records=2)
    replayed = train(objectives, TABULAR, PAIRS, setting)
    monkeypatch.setattr(recording, "Replay", lambda graph, example: graph)
    np.testing.assert_array_equal(replayed.log_policies, train(objectives, TABULAR, PAIRS, setting).log_policies)


@pytest.mark.parametrize("optimiser", [SGD(0.3), SGD(0.3, momentum=0.5, weight_decay=0.1), Adam(0.02)])
def test_memory_changes_no_bit_with_any_optimiser(monkeypatch: pytest.MonkeyPatch, optimiser: Any) -> None:
    arguments = ([ea.EXPO(0.3), ea.IPO(1.0)], TABULAR, PAIRS, Training(optimiser, epochs=9, records=9))
    replayed = train(*arguments)
    monkeypatch.setattr(recording, "Replay", lambda graph, example: graph)
    np.testing.assert_array_equal(replayed.log_policies, train(*arguments).log_policies)


@pytest.mark.parametrize("estimator", ["exact", "token_kl"])
def test_memory_changes_no_bit_of_a_transformer(monkeypatch: pytest.MonkeyPatch, estimator: str) -> None:
    """Some of whose operations give several results, of which one is None."""
    model = Transformer(2, 2, 2, width=4)
    pairs = draw_pairs(ea.Bandit(model.initial(), np.random.default_rng(0).dirichlet(np.ones(4), 2)), 20, 2)
    arguments = ([ea.EXPO(0.3)], model, pairs, Training(ADAM, epochs=2, batch=7, estimator=estimator, records=3))
    replayed = train(*arguments)
    monkeypatch.setattr(recording, "Replay", lambda graph, example: graph)
    np.testing.assert_array_equal(replayed.log_policies, train(*arguments).log_policies)


STEPS: dict[str, Any] = {
    "states change places": lambda x, s: (x + s[0], (s[1], s[0] * x)),
    "a view of an argument": lambda x, s: (s[0].flip(0).flip(0), (x[:], s[1] + 1)),
    "the same twice": lambda x, s: ((y := x * s[0]), (y, y + s[1])),
    "read after its place is free": lambda x, s: ((y := x + 1), (s[0] * x - y, s[1] + s[0])),
    "several results": lambda x, s: (torch.sort(x + s[0])[0], (torch.sort(s[0] - x)[0], s[1])),
    "a constant": lambda x, s: (torch.arange(4.0, dtype=torch.float64) + 0, (s[0] / x, s[1])),
    "broken off": lambda x, s: (x[:2].repeat(2) + x, (s[0], s[1] * x[1:2])),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_may_do_anything_with_its_arguments(name: str) -> None:
    """New numbers take the place of old ones, which is wrong if an old one is still to be read."""
    start = (
        torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64),
        (torch.arange(1.0, 5.0).double(), torch.ones(4).double()),
    )
    kept = [start[0].clone(), *(x.clone() for x in start[1])]
    with torch.no_grad(), np.errstate(all="ignore"):
        step = recording.recorded(STEPS[name], start)
        assert isinstance(step, Replay)
        mine, plain = start, start
        for _ in range(4):
            mine, plain = step(*mine), STEPS[name](*plain)
            for one_tensor, other in zip((mine[0], *mine[1]), (plain[0], *plain[1]), strict=True):
                torch.testing.assert_close(one_tensor, other, rtol=0, atol=0, equal_nan=True)
    for one_tensor, other in zip(kept, (start[0], *start[1]), strict=True):
        torch.testing.assert_close(one_tensor, other, rtol=0, atol=0)  # what was given is as it was


def test_what_has_no_fixed_shape_is_run_as_it_is() -> None:
    def step(x: torch.Tensor, state: tuple[torch.Tensor, ...]) -> Any:
        return x + x[x > 0].sum(), state

    start = torch.tensor([1.0, -2.0, 0.5])
    found = recording.recorded(step, (start, ()))
    for x in (start, -start):
        torch.testing.assert_close(found(x, ())[0], step(x, ())[0], rtol=0, atol=0)


@pytest.mark.parametrize("idle", [lambda x: x + torch.rand(2), lambda x: x + torch.zeros(2).add_(1)])
def test_steps_that_draw_or_write_are_left_as_they_are(idle: Any) -> None:
    """What draws must draw anew at every step, and what is written into must be made anew."""
    parameters = torch.zeros(2)
    graph = make_fx(lambda x, state: (idle(x), state))(parameters, ())
    before = operations(graph)
    recording.without_idle_work(graph, (parameters, ()))
    assert operations(graph) == before and len(before) >= 2


@pytest.mark.slow
def test_the_step_really_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every pair loss of the catalogue: its Python runs once, however many steps there are."""
    ran: list[str] = []
    original = training._Task.step

    def step(task: Any, *given: Any) -> Any:
        ran.append(task.objective.name)
        return original(task, *given)

    monkeypatch.setattr(training._Task, "step", step)
    one_sided = ("odpo_log",)  # has no value for pairs that are won both ways
    kept = [case(1.0) for name, case in CASES.items() if name not in one_sided]
    objectives = [objective for objective in kept if not objective.claims.couples_pairs]
    train(objectives, TABULAR, BANDIT, Training(Adam(0.01), epochs=12, records=2))
    assert len(ran) == len(objectives)


@dataclass(frozen=True)
class Branching(ea.PairObjective):
    """DPO's loss by the formula that suits each number, chosen by Python: it cannot be recorded."""

    name = "branching"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        margin = self.lam * ((logp_w - ref_logp_w) - (logp_l - ref_logp_l))
        if (margin > 0).all():
            return torch.log1p(torch.exp(-margin))
        if float(margin.detach().min()) < -1e-12:
            return torch.where(margin < 0, -margin + torch.log1p(torch.exp(margin)), torch.log1p(torch.exp(-margin)))
        return torch.log(1 + torch.exp(-margin))


def test_a_loss_that_branches_on_values_trains_to_the_same_result() -> None:
    setting = Training(SGD(0.5, momentum=0.5), epochs=6, batch=5, records=9)
    mine = train([Branching(0.3), Branching(3.0)], TABULAR, PAIRS, setting)
    plain = train([ea.DPO(0.3), ea.DPO(3.0)], TABULAR, PAIRS, setting)
    np.testing.assert_allclose(mine.log_policies, plain.log_policies, rtol=0, atol=1e-12)


@dataclass(frozen=True)
class Composed(ea.PairObjective):
    """A loss that makes another from its lam, and looks at lam with numpy, as some of the catalogue do."""

    name = "composed"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        assert (np.asarray(self.lam) > 0).all()
        return ea.IPO(self.lam).loss(logp_w, logp_l, ref_logp_w, ref_logp_l)


def test_a_loss_may_be_made_of_others() -> None:
    setting = Training(Adam(0.05), epochs=30, records=3)
    mine = train([Composed(0.3), Composed(3.0)], TABULAR, BANDIT, setting)
    np.testing.assert_array_equal(mine.final, train([ea.IPO(0.3), ea.IPO(3.0)], TABULAR, BANDIT, setting).final)


@dataclass(frozen=True)
class Small(ea.PairObjective):
    """Has an option of its own, and takes no lam above 1/2."""

    power: float = 2.0
    name = "small"

    def __post_init__(self) -> None:
        super().__post_init__()
        if np.any(np.asarray(self.lam) > 0.5):
            raise ValueError("lam must be at most 0.5")

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        return abs(logp_w - logp_l - self.lam) ** self.power


def test_settings_that_differ_in_more_than_lam_are_kept_apart() -> None:
    objectives = [Small(0.1), Small(0.1, power=4.0), Small(0.3), ea.IPO(0.1), Small(0.3, power=4.0)]
    setting = Training(Adam(0.05), epochs=30, records=3)
    mine = train(objectives, TABULAR, BANDIT, setting)
    for k, objective in enumerate(objectives):
        np.testing.assert_allclose(mine.final[k], train(objective, TABULAR, BANDIT, setting).final[0], rtol=1e-12)


class Reduced(ea.PairObjective):
    name = "reduced"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        return (logp_w - logp_l).mean()


def test_a_wrong_shape_is_reported_as_such_and_threads_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.raises(ValueError, match="must return one loss per pair"):
            train(Reduced(1.0), TABULAR, BANDIT, Training(epochs=2))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


# ----------------------------------------------------------------------------------------- a few prompts among many

MANY_REFERENCE = np.random.default_rng(0).dirichlet(np.ones(5), 60)
MANY = draw_pairs(ea.Bandit(MANY_REFERENCE, np.random.default_rng(1).dirichlet(np.ones(5), 60)), 47, 2, seed=3)
MANY_CASES: dict[str, tuple[Any, Training]] = {
    "sgd": (ea.EXPO(0.3), Training(SGD(0.3), epochs=3, batch=7, records=5)),
    "momentum": (ea.DPO(0.3), Training(SGD(0.3, momentum=0.7), epochs=3, batch=7, records=5)),
    "decay": (ea.IPO(0.3), Training(SGD(0.3, weight_decay=0.1), epochs=3, batch=7, records=5)),
    "adam": (ea.EXPO(0.3), Training(Adam(0.02), epochs=3, batch=7, records=5, average=0.5)),
    "adamw": (ea.EXPO(2.0), Training(Adam(0.02, weight_decay=0.1, decoupled=True), epochs=3, batch=7, records=5)),
    "samples": (ea.EXPO(0.3), Training(SGD(0.3), epochs=2, batch=7, estimator="reference_samples", samples=2)),
    "own": (ea.EXPO(0.3), Training(Adam(0.02), epochs=2, batch=7, estimator="own_responses")),
    "rlhf": (ea.RLHF(0.5), Training(Adam(0.02), epochs=2, batch=7)),
    "rewards": (ea.RewardAwarePO(0.5), Training(Adam(0.02), epochs=2, batch=7)),
    "branching": (Branching(0.3), Training(SGD(0.3), epochs=1, batch=7)),
}


@pytest.mark.parametrize("name", MANY_CASES)
def test_a_few_prompts_among_many_are_trained_as_all(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """To the last bit: a wrong row, a state that should have moved or a share of a wrong prompt would show."""
    objective, setting = MANY_CASES[name]
    objectives = [objective, objective.with_lam(1.0)]
    plain = train(objectives, Tabular(MANY_REFERENCE), MANY, setting)
    monkeypatch.setattr(rows, "MANY", 1)
    monkeypatch.setattr(rows, "BLOCK", 64)
    steps: list[int] = []
    call = rows.Update.__call__
    monkeypatch.setattr(
        rows.Update, "__call__", lambda self, g, r, rates: (steps.append(len(r)), call(self, g, r, rates))[1]
    )
    few = train(objectives, Tabular(MANY_REFERENCE), MANY, setting)
    assert steps and set(steps) == {14}  # 7 pairs of 2 data sets
    for field in ("log_policies", "values", "log_final", "parameters"):
        np.testing.assert_array_equal(getattr(few, field), getattr(plain, field), err_msg=field)


def test_clipping_of_a_few_is_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the order in which a norm adds up."""
    setting = Training(SGD(0.3), epochs=3, batch=7, clip_norm=0.05, records=5)
    plain = train(ea.EXPO(0.3), Tabular(MANY_REFERENCE), MANY, setting)
    monkeypatch.setattr(rows, "MANY", 1)
    few = train(ea.EXPO(0.3), Tabular(MANY_REFERENCE), MANY, setting)
    np.testing.assert_allclose(few.log_policies, plain.log_policies, rtol=0, atol=1e-14)


def test_no_table_of_all_pairs_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 prompts of 300 responses: a table of all pairs would be 0.7 GB, and it is asked for nowhere."""
    monkeypatch.setattr(Pairs, "counts", property(lambda self: pytest.fail("a table of all pairs")))
    monkeypatch.setattr(ea.Bandit, "preference", property(lambda self: pytest.fail("a table of all pairs")))
    rng = np.random.default_rng(0)
    bandit = ea.Bandit(rng.dirichlet(np.ones(300), 1000), rng.dirichlet(np.ones(300), 1000))
    pairs = draw_pairs(bandit, 2000, design="reference")
    trained = train(ea.EXPO(0.1), Tabular(bandit.reference), pairs, Training(SGD(20.0), epochs=3, batch=50, records=2))
    assert trained.values[0, 0, 1] < 0.8 * trained.values[0, 0, 0]
    won = np.zeros((1000, 300))
    np.add.at(won, (pairs.prompt[0], pairs.winner[0]), 1)
    np.testing.assert_array_equal(trained.won[0], won)
    assert (trained.mass("chosen")[0, 0, 1].mean() > 1.2 * trained.mass("chosen")[0, 0, 0].mean()).all()


# ------------------------------------------------------------------------------------------------------- batches


def batches(pairs: Pairs, setting: Training, epochs: int) -> list[list[Batch]]:
    return [list(found) for found in training._epochs(pairs, whole(pairs), replace(setting, epochs=epochs))]


def met(found: list[Batch], s: int) -> list[tuple[int, int]]:
    """(winner, loser) with a positive weight, in the order of the steps."""
    return [
        (int(w), int(loser))
        for batch in found
        for w, loser, weight in zip(batch.winner[s], batch.loser[s], batch.weight[s], strict=True)
        if weight > 0
    ]


def numbers(pairs: Pairs, s: int) -> list[tuple[int, int]]:
    one_set, n = one(pairs, s), pairs.reference.shape[1]
    prompt = np.asarray(one_set.prompt)[0] * n
    return list(zip((prompt + one_set.winner[0]).tolist(), (prompt + one_set.loser[0]).tolist(), strict=True))


@pytest.mark.parametrize(("batch", "steps", "last"), [(8, 4, 1), (25, 1, 25), (10, 3, 5), (1, 25, 1), (40, 1, 25)])
def test_an_epoch_meets_every_pair_once_with_a_ragged_last_batch(batch: int, steps: int, last: int) -> None:
    setting = Training(epochs=2, batch=batch)
    for found in batches(PAIRS, setting, 2):
        assert len(found) == steps
        for s in range(3):
            assert sorted(met(found, s)) == sorted(numbers(PAIRS, s))
        assert ((found[-1].weight > 0).sum(dim=1) == last).all()
        for one_batch in found:
            torch.testing.assert_close(one_batch.weight.sum(dim=1), torch.ones(3, dtype=torch.float64))
            torch.testing.assert_close(one_batch.prompts.sum(dim=1), torch.ones(3, dtype=torch.float64))
            in_prompt = torch.stack([((one_batch.winner // 3) == x) * one_batch.weight for x in range(2)], dim=-1)
            torch.testing.assert_close(one_batch.prompts, in_prompt.sum(dim=1))


def test_orders() -> None:
    """Without shuffling the data's, with it one of its own in each epoch and data set, drawn by the seed."""
    plain = batches(PAIRS, Training(batch=8, shuffle=False), 2)
    assert met(plain[0], 1) == met(plain[1], 1) == numbers(PAIRS, 1)
    shuffled, again, other = (batches(PAIRS, Training(batch=8, seed=seed), 2) for seed in (0, 0, 1))
    orders = [met(found, 1) for found in (*shuffled, *other, *plain)]
    assert [met(found, 1) for found in again] == orders[:2]
    assert len({tuple(order) for order in orders}) == 5


@pytest.mark.parametrize(
    ("changed", "same"),
    [({}, False), ({"shuffle": False}, True), ({"shuffle": False, "estimator": "reference_samples"}, False)],
)
def test_batches_are_made_once_only_where_all_epochs_have_the_same(changed: dict[str, Any], same: bool) -> None:
    setting = Training(batch=8, epochs=3, **changed)
    found = batches(PAIRS, setting, 3)
    assert (found[0][0] is found[2][0]) == same
    for epoch, those in enumerate(found):
        of_epoch = training.batches(PAIRS, epoch, 8, setting.seed, setting.shuffle, setting.draws)
        for one_batch, expected in zip(those, of_epoch, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(one_batch, expected, strict=True))


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_shorter_data_set_goes_on_where_it_was(shuffle: bool) -> None:
    """Sizes 5 and 7 in epochs of 7: after 5 of them the shorter set has been met exactly seven times.

    Starting over with every epoch would show its first pairs more often than its last.
    """
    pairs = draw_pairs(ea.Bandit(np.full(6, 1 / 6), np.full(6, 1 / 6)), 7, 2, seed=0)
    pairs = Pairs(pairs.reference, pairs.winner, pairs.loser, size=np.array([5, 7]))
    epochs = batches(pairs, Training(batch=7, shuffle=shuffle), 5)
    shown = [pair for found in epochs for pair in met(found, 0)]
    assert sorted(shown) == sorted(7 * numbers(pairs, 0))
    for start in range(0, 35, 5):  # pass after pass
        assert sorted(shown[start : start + 5]) == sorted(numbers(pairs, 0))
    alone = batches(one(pairs, 0), Training(batch=5, shuffle=shuffle), 7)
    assert shown == [pair for found in alone for pair in met(found, 0)]


def test_the_gradient_of_all_pairs_is_that_of_their_counts() -> None:
    """With two prompts in unequal numbers: a prompt weighs as much as it has pairs, in the regulariser too."""
    setting = Training(SGD(0.3), epochs=30, records=4)
    trained = train([ea.EXPO(0.3), ea.DPO(2.0)], TABULAR, PAIRS, setting)
    one_batch = Training(SGD(0.3), epochs=30, batch=25, records=4)
    np.testing.assert_allclose(
        trained.log_policies,
        train([ea.EXPO(0.3), ea.DPO(2.0)], TABULAR, PAIRS, one_batch).log_policies,
        rtol=0,
        atol=1e-12,
    )
    for s in range(3):
        counted = train([ea.EXPO(0.3), ea.DPO(2.0)], TABULAR, PAIRS.bandit(s), setting)
        np.testing.assert_allclose(trained.log_policies[:, s], counted.log_policies[:, 0], rtol=0, atol=1e-12)


def test_a_prompt_without_comparisons_is_regularised_by_its_weight() -> None:
    counts = np.array([[[0, 3, 1], [1, 0, 2], [2, 1, 0]], np.zeros((3, 3))], dtype=int)
    off = Tabular(OPTIMAL)  # away from the reference, so that there is something to pull back
    setting = Training(Adam(0.05), epochs=1500, schedule="cosine", records=2)
    kept = train(ea.EXPO(1.0), off, ea.Bandit.from_counts(REFERENCE, counts, prompt_weights=[1, 1]), setting)
    np.testing.assert_allclose(kept.final[0, 0, 1], REFERENCE[1], atol=1e-9)
    # by default weights follow the number of comparisons, and then nothing pulls
    left = train(ea.EXPO(1.0), off, ea.Bandit.from_counts(REFERENCE, counts), setting)
    np.testing.assert_allclose(left.final[0, 0, 1], OPTIMAL[1], rtol=1e-12)


def test_rlhf_uses_the_reward_that_it_is_given() -> None:
    """pi proportional to pi_ref exp(r / lam), for a reward of each data set, or of all."""
    reward = np.random.default_rng(0).normal(size=(3, 2, 3))
    setting = Training(Adam(0.05), epochs=2000, schedule="cosine", records=2)
    trained = train([ea.RLHF(1.0), ea.RLHF(2.0)], TABULAR, PAIRS, setting, reward=reward)
    for k, lam in enumerate((1.0, 2.0)):
        expected = REFERENCE * np.exp(reward / lam)
        np.testing.assert_allclose(trained.final[k], expected / expected.sum(axis=-1, keepdims=True), atol=1e-10)
    shared = train(ea.RLHF(1.0), TABULAR, PAIRS, setting, reward=reward[1])
    np.testing.assert_allclose(shared.final[0, 0], trained.final[0, 1], rtol=1e-9)


# ------------------------------------------------------------------------------------------ records and stopping


@pytest.mark.parametrize("log_spaced", [False, True])
@pytest.mark.parametrize(("steps", "records"), [(1, 2), (10, 3), (1000, 50), (7, 50)])
def test_record_steps(steps: int, records: int, log_spaced: bool) -> None:
    at = training.record_steps(steps, Training(records=records, log_spaced=log_spaced))
    assert (at[0], at[-1]) == (0, steps)
    assert (np.diff(at) > 0).all() and len(at) <= records
    if steps >= 2 * records and not log_spaced:
        assert len(at) == records and np.ptp(np.diff(at)) <= 1
    if steps == 1000 and log_spaced:
        ratio = at[-1] / at[-10]
        assert ratio == pytest.approx(1000 ** (9 / 48), rel=0.01)


def test_records_are_the_policies_on_the_way() -> None:
    """A run of k steps is the beginning of a longer one, and its end is the longer one's record at k."""
    long = train(ea.EXPO(0.3), TABULAR, PAIRS, Training(Adam(0.02), epochs=4, batch=5, records=21))
    short = train(ea.EXPO(0.3), TABULAR, PAIRS, Training(Adam(0.02), epochs=2, batch=5, records=2))
    assert list(long.steps) == list(range(21)) and list(short.steps) == [0, 10]
    np.testing.assert_allclose(long.policies[0, :, 0], np.stack(3 * [REFERENCE]), rtol=1e-15)
    np.testing.assert_array_equal(long.log_policies[:, :, 10], short.log_final)
    assert (long.stopped == 20).all()


def test_progress_goes_up_to_the_end() -> None:
    reports: list[tuple[int, int]] = []
    train(
        [ea.EXPO(0.3), ea.DPO(0.3)],
        TABULAR,
        BANDIT,
        Training(epochs=20, records=5),
        progress=lambda *at: reports.append(at),
    )
    done, totals = zip(*reports, strict=True)
    assert set(totals) == {40} and done[0] == 0 and done[-1] == 40 and list(done) == sorted(done)
    assert len(set(done)) == 9


def stopping(patience: int) -> tuple[Any, Any, Any]:
    held_out = draw_pairs(BANDIT, 40, 3, seed=99)
    setting = Training(Adam(0.05), epochs=100, records=101, patience=patience)
    objectives = [ea.DPO(0.05), ea.DPO(5.0)]
    stopped = train(objectives, TABULAR, PAIRS, setting, validation=held_out)
    return stopped, *unstopped()


@cache
def unstopped() -> tuple[Any, Any]:
    """The same training to its end, and the risk of each of its records on the other data."""
    held_out = draw_pairs(BANDIT, 40, 3, seed=99)
    objectives = [ea.DPO(0.05), ea.DPO(5.0)]
    full = train(objectives, TABULAR, PAIRS, Training(Adam(0.05), epochs=100, records=101))
    risks = np.array(
        [
            [
                [
                    risk(o, held_out.bandit(s), full.log_policies[k, s, r]) @ held_out.bandit(s).prompt_weights
                    for r in range(101)
                ]
                for s in range(3)
            ]
            for k, o in enumerate(objectives)
        ]
    )
    return full, risks


@pytest.mark.parametrize("patience", [1, 4, 200])
def test_early_stopping_keeps_the_record_of_lowest_validation_risk(patience: int) -> None:
    stopped, full, risks = stopping(patience)
    for k in range(2):
        for s in range(3):
            best = 0
            for step in range(101):  # the definition, one record after the other
                if step - best > patience:
                    break
                if risks[k, s, step] < risks[k, s, best]:
                    best = step
            assert stopped.stopped[k, s] == best
            np.testing.assert_allclose(stopped.log_final[k, s], full.log_policies[k, s, best], rtol=1e-12)
    if patience == 200:
        np.testing.assert_array_equal(stopped.stopped, risks.argmin(axis=-1))
    assert 0 < stopped.stopped.min() < 100


def test_after_all_have_stopped_records_are_nan_and_progress_is_complete() -> None:
    reports: list[tuple[int, int]] = []
    held_out = ea.Bandit(REFERENCE, REFERENCE[:, ::-1])  # against which training can only lose
    setting = Training(Adam(0.05), epochs=100, records=101, patience=3)
    trained = train(ea.DPO(0.1), TABULAR, BANDIT, setting, validation=held_out, progress=lambda *at: reports.append(at))
    seen = ~np.isnan(trained.values[0, 0])
    assert seen[:4].all() and not seen[4:].any()
    assert trained.stopped[0, 0] == 0
    np.testing.assert_allclose(trained.final[0, 0], REFERENCE, rtol=1e-15)
    assert reports[-1] == (100, 100)


# ---------------------------------------------------------------------------------------------------- estimators


def test_samples_are_drawn_from_the_reference_of_their_prompt() -> None:
    setting = Training(batch=25, estimator="reference_samples", samples=40)
    counts = np.zeros((2, 3))
    for found in batches(PAIRS, setting, 20):
        for batch in found:
            prompt, response = (batch.samples // 3).numpy(), (batch.samples % 3).numpy()
            assert batch.samples.shape == (3, 25, 40)
            np.testing.assert_array_equal(prompt, np.broadcast_to(batch.winner[..., None] // 3, prompt.shape))
            np.add.at(counts, (prompt, response), 1)
    total = counts.sum(axis=1, keepdims=True)
    z = (counts - total * REFERENCE) / np.sqrt(total * REFERENCE * (1 - REFERENCE))
    assert total.min() > 20_000 and np.abs(z).max() < 4.5
    once, twice = (batches(PAIRS, setting, 2) for _ in range(2))
    assert torch.equal(once[0][0].samples, twice[0][0].samples)
    assert not torch.equal(once[0][0].samples, once[1][0].samples)


def test_estimators_agree_where_they_must() -> None:
    """Along prefixes of one token, the token-wise KL is the exact one; own responses are a cross-entropy by hand."""
    policy = NGram(3, 1, 2, initial_policy=REFERENCE)
    common: dict[str, Any] = {"optimiser": Adam(0.02), "epochs": 4, "batch": 5, "shuffle": False, "records": 5}
    exact = train(ea.EXPO(0.7), policy, PAIRS, Training(**common))
    token = train(ea.EXPO(0.7), policy, PAIRS, Training(**common, estimator="token_kl", samples=2))
    np.testing.assert_allclose(token.log_policies, exact.log_policies, rtol=0, atol=1e-12)

    @dataclass(frozen=True)
    class ByHand(ea.PairObjective):
        name = "by_hand"

        def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
            return torch.nn.functional.softplus(logp_l - logp_w) - self.lam * (logp_w + logp_l) / 2

    mine = train(ea.EXPO(0.7), TABULAR, PAIRS, Training(**common, estimator="own_responses"))
    np.testing.assert_allclose(
        mine.log_policies, train(ByHand(0.7), TABULAR, PAIRS, Training(**common)).log_policies, rtol=0, atol=1e-12
    )
    assert np.abs(mine.final - exact.final).max() > 1e-3
