"""Losses as expressions: the traced formula and its derivatives against the loss itself and torch's autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import expo_analysis as ea
from expo_analysis import terms
from expo_analysis._autograd import derivatives
from expo_analysis.divergences import DIVERGENCES, Alpha, Divergence
from expo_analysis.explorer import NotCompiled, compile_loss
from expo_analysis.explorer import expression as ex
from expo_analysis.explorer.compiled import CompiledLoss
from expo_analysis.explorer.function import PAIR, Function
from expo_analysis.explorer.javascript import written
from expo_analysis.explorer.registry import DARK_GROUND, LIGHT_GROUND, registry
from expo_analysis.explorer.trace import NotTraceable, symbol
from expo_analysis.figures.colour import contrast

REGISTRY = registry()
ENTRIES = {entry.key: entry for entry in REGISTRY.entries}


def numbers(loss: CompiledLoss, count: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    found = {name: -rng.exponential(2.0, size=count) for name in PAIR}
    found["lam"] = np.exp(rng.normal(size=count))
    found |= {f"length_{slot}": np.ones(count) for slot in "wl"}
    return found | {name: rng.normal(size=count) for name in loss.data}


def evaluated(function: Any, at: dict[str, np.ndarray]) -> list[np.ndarray]:
    size = len(next(iter(at.values())))
    known = {ex.variable(name): at[name] for name in function.arguments}
    return [np.broadcast_to(ex.evaluate(root, known), (size,)) for root in function.results]


def test_the_whole_catalogue_compiles_but_two_and_says_why() -> None:
    catalogue = set(ea.CATALOGUE)
    assert catalogue - set(ENTRIES) == {"qpo", "aot"}
    assert "psi and mu" in REGISTRY.left_out["QPO"]
    assert "couples the pairs of a batch" in REGISTRY.left_out["AOT"]


@pytest.mark.parametrize("key", [key for key, entry in ENTRIES.items() if entry.loss.pair])
def test_value_and_derivatives_are_those_of_the_loss(key: str) -> None:
    """Values by the loss's own numpy code, derivatives by torch, at one lambda after the other."""
    loss = ENTRIES[key].loss
    assert loss.pair is not None and isinstance(loss.objective, ea.PairObjective)
    at = numbers(loss)
    found = evaluated(loss.pair, at)
    for k, lam in enumerate(at["lam"]):
        objective = loss.objective.with_lam(float(lam))
        rest = [torch.tensor([at[name][k]], dtype=torch.float64) for name in (*PAIR[3:], *objective.data)]
        kinks = [evaluated(kink, {name: x[[k]] for name, x in at.items()})[0][0] for kink in loss.kinks]
        assert all(abs(gap) > 1e-9 for gap in kinks)  # elsewhere there is no derivative to compare
        value, first, second = derivatives(
            lambda w, l, own=objective, given=rest: own.pair_loss(w, l, *given),  # noqa: E741
            *(at[x][[k]] for x in PAIR[1:3]),
        )
        want = [value, *first, second[0][0], second[0][1], second[1][1]]
        for have, (wanted,) in zip(found, want, strict=True):
            assert have[k] == pytest.approx(wanted, rel=1e-9, abs=1e-11), (key, k)


@pytest.mark.parametrize("divergence", [*(cls() for key, cls in DIVERGENCES.items() if key != "alpha"), Alpha(0.5)])
def test_divergences_mu_and_descent(divergence: Divergence) -> None:
    loss = compile_loss(ea.RLHF(1.0, divergence=divergence))
    rng = np.random.default_rng(1)
    log_u, gap = rng.normal(size=30), rng.exponential(0.3, size=30)
    assert loss.mu is not None
    mu, slope = evaluated(loss.mu, {"log_u": log_u})
    assert mu == pytest.approx(divergence.mu(log_u), rel=1e-13)
    assert slope == pytest.approx(divergence.mu_derivatives(log_u)[0], rel=1e-12)
    if divergence.name == "mixed_chi_square":
        assert loss.descend is None  # by Lambert's function, which the page does by Newton's method
    else:
        assert loss.descend is not None
        (lower,) = evaluated(loss.descend, {"log_u": log_u, "gap": gap})
        assert lower == pytest.approx(divergence.descend(log_u, gap), rel=1e-12)
    policy, reference = -rng.exponential(size=(2, 30))
    assert loss.divergence is not None
    value, first, second = evaluated(loss.divergence, {"logp": policy, "ref_logp": reference})
    assert value == pytest.approx(divergence.terms(policy, reference), rel=1e-12)
    assert np.stack([first, second]) == pytest.approx(np.stack(divergence.derivatives(policy, reference)), rel=1e-11)


@dataclass(frozen=True)
class InTorch(ea.PairObjective):
    name = "in_torch"

    def pair_loss(self, w: Any, l: Any, rw: Any, rl: Any) -> Any:  # noqa: E741
        return -F.logsigmoid(self.lam * ((w - l) - (rw - rl))) + 0.1 * torch.clamp(l - rl, min=0) ** 2


@dataclass(frozen=True)
class Branching(ea.PairObjective):
    name = "branching"

    def pair_loss(self, w: Any, l: Any, rw: Any, rl: Any) -> Any:  # noqa: E741
        return w - l if w[0] > l[0] else l - w


@dataclass(frozen=True)
class Random(ea.PairObjective):
    name = "random"

    def pair_loss(self, w: Any, l: Any, rw: Any, rl: Any) -> Any:  # noqa: E741
        return (l - w) * float(np.random.default_rng().normal())


@dataclass(frozen=True)
class Hidden(ea.PairObjective):
    name = "hidden"

    def pair_loss(self, w: Any, l: Any, rw: Any, rl: Any) -> Any:  # noqa: E741
        return self.lam * (np.asarray(l) - np.asarray(w))


def in_function(chosen_logps: Any, rejected_logps: Any, beta: float = 0.1) -> Any:
    return F.softplus(-beta * (chosen_logps - rejected_logps))


def test_losses_of_ones_own_in_torch() -> None:
    loss = compile_loss(InTorch(0.5))
    at = numbers(loss)
    assert loss.pair is not None and not loss.convex
    found = evaluated(loss.pair, at)
    objective = InTorch(torch.from_numpy(at["lam"]))
    _, (dw, dl), ((dww, _), (dlw, dll)) = derivatives(
        lambda w, l: objective.pair_loss(  # noqa: E741
            w, l, *map(torch.from_numpy, (at["ref_logp_w"], at["ref_logp_l"]))
        ),
        at["logp_w"],
        at["logp_l"],
    )
    for have, want in zip(found[1:], (dw, dl, dww, dlw, dll), strict=True):
        assert have == pytest.approx(want, rel=1e-9, abs=1e-12)
    function = compile_loss(ea.from_function(in_function, 0.1))
    assert function.pair is not None
    value = evaluated(function.pair, at)[0]
    assert value == pytest.approx(np.logaddexp(0, -at["lam"] * (at["logp_w"] - at["logp_l"])), rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (Branching(1.0), "takes single pairs out of a batch"),
        (Random(1.0), "computes something else when it is traced"),
        (Hidden(1.0), "a number of its own for every pair"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_the_reason(loss: ea.Objective, why: str) -> None:
    with pytest.raises(NotCompiled, match=why):
        compile_loss(loss)


def test_where_kinks_are_is_found_and_smooth_losses_have_none() -> None:
    assert {key for key, entry in ENTRIES.items() if entry.loss.kinks} == {"hinge", "slic", "dpop"}
    at = numbers(ENTRIES["slic"].loss)
    (gap,) = (evaluated(kink, at)[0] for kink in ENTRIES["slic"].loss.kinks)
    assert gap == pytest.approx(1 - (at["logp_w"] - at["logp_l"]), abs=1e-14)


@pytest.mark.parametrize("key", ["hinge", "slic", "dpop"])
def test_rounded_kinks_are_close_and_no_lower(key: str) -> None:
    """r width log(1 + e^(a/width)) is above r max(a, 0) by at most r width log 2."""
    loss = ENTRIES[key].loss
    assert loss.rounded is not None and loss.pair is not None
    at = numbers(loss)
    exact = evaluated(loss.pair, at)[0]
    for width in (1e-2, 1e-4):
        soft = evaluated(loss.rounded, at | {"width": np.full(len(exact), width)})[0]
        steep = 50 * at["lam"] if key == "dpop" else 1.0
        assert (soft - exact >= -1e-12 * (1 + abs(exact))).all()
        assert (soft - exact <= steep * width * math.log(2) + 1e-12 * (1 + abs(exact))).all()


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt, "tanh": np.tanh,
    "arctan": np.arctan, "sin": np.sin, "cos": np.cos, "square": np.square, "power": lambda x: x**1.7,
    "log sigmoid": ea.numerics.log_sigmoid, "softplus": ea.numerics.softplus, "sigmoid": ea.numerics.sigmoid,
    "quotient": lambda x: (1 + x) / (2 + x * x), "exponent": lambda x: np.power(2.0, x), "abs": lambda x: abs(x - 3),
    "where": lambda x: np.where(x > 0.7, x**3, x), "clip": lambda x: x.clip(0.5, 0.9) * x,
    "logaddexp": lambda x: np.logaddexp(x, 1 - x), "max": lambda x: np.maximum(x, 0.6) * x,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_traced_functions_and_their_derivatives(name: str) -> None:
    """Against numpy, and against central differences."""
    x = np.linspace(0.11, 1.93, 23)
    traced = FUNCTIONS[name](symbol("x", x))
    node, by = traced.expression, ex.variable("x")
    assert ex.evaluate(node, {by: x}) == pytest.approx(FUNCTIONS[name](x), rel=1e-14)
    step = 1e-5
    central = (FUNCTIONS[name](x + step) - FUNCTIONS[name](x - step)) / (2 * step)
    slope = ex.evaluate(ex.derivative(node, by), {by: x})
    assert np.broadcast_to(slope, x.shape) == pytest.approx(central, rel=1e-6, abs=1e-8)


def test_log_sigma_has_its_derivatives_at_zero() -> None:
    """min(x, 0) - log(1 + e^-|x|) has two kinks that cancel, and the first step of training is taken there."""
    by = ex.variable("x")
    node = terms.Logistic().value(symbol("x", np.linspace(-1, 1, 5))).expression
    slope = ex.derivative(node, by)
    assert ex.evaluate(slope, {by: np.zeros(1)}) == pytest.approx([-0.5])
    assert ex.evaluate(ex.derivative(slope, by), {by: np.zeros(1)}) == pytest.approx([0.25])


@pytest.mark.parametrize(
    "function",
    [np.sort, lambda x: x.mean(), lambda x: x.sum(), lambda x: x[0], lambda x: x if x[0] > 0 else -x, np.cumsum],
)
def test_what_mixes_the_pairs_of_a_batch_is_not_traced(function: Callable[[Any], Any]) -> None:
    with pytest.raises(NotTraceable):
        function(symbol("x", np.linspace(0.1, 1, 5)))


def test_numbers_and_signs_in_javascript() -> None:
    x = ex.variable("x")
    node = ex.subtract(ex.multiply(ex.number(-0.5), x), ex.number(1e-300))
    assert written(ex_function(node), out=False) == "(x)=>{return ((-.5)*x)-1e-300}"
    assert "t0" in written(ex_function(ex.multiply(ex.apply("exp", x), ex.apply("exp", x))), out=False)


def ex_function(node: ex.Node) -> Any:
    return Function(("x",), (node,))


def test_lines_and_names_can_be_read_on_both_grounds() -> None:
    for entry in ENTRIES.values():
        assert contrast(entry.colour, LIGHT_GROUND) >= 4.5 and contrast(entry.dark, DARK_GROUND) >= 4.5, entry.key
