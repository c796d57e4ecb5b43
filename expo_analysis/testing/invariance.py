"""Metamorphic tests: what must not change when pairs are reordered, repeated, padded, swapped or shifted."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch

from ..divergences import Divergence
from ..losses import PairObjective
from ..losses.data import LOG_PROBABILITIES
from ..losses.from_function import FunctionLoss
from .apart import said, watched
from .as_loss import as_loss

LAMS = (0.3, 1.0, 4.0)
"""Lambdas at which losses are tried."""

PAIRS = 12
SHIFT = 0.7
TOLERANCE = 1e-9
SECONDS = 30.0

INVARIANCES = {
    "batch_size": "computing each pair alone",
    "order": "computing the pairs in another order",
    "duplicates": "giving every pair twice",
    "padding": "padding the batch with pairs of probability 1",
    "swap": "swapping the pair and flipping its label",
    "shift": f"adding {SHIFT} to both log-probabilities of the policy",
    "shift_with_reference": "adding a constant to a response's log-probability under the policy and the reference",
    "f_constant": f"adding {SHIFT} to f'",
}
"""What a loss may be invariant under, by name. The first four must hold of every loss; "swap" of one with labels or
label smoothing; "shift" of one that is of log-ratios, such as DPO; "shift_with_reference" of one that is of pi/pi_ref,
such as DPO and KTO; "f_constant" of one with an option that is a divergence or its derivative."""

NEEDS = {
    "swap": "labels, or a label_smoothing above 0 of which 1 - label_smoothing is one, too",
    "f_constant": "an option that is a divergence, or its derivative as a function",
}
"""What an invariance asks of a loss."""

ALWAYS = ("batch_size", "order", "duplicates", "padding")

Known = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Broken:
    """An invariance that does not hold. before, after: the loss, and what it is then."""

    name: str
    lam: float
    pair: Mapping[str, float]
    before: float
    after: float
    note: str = ""

    def __str__(self) -> str:
        where = ", ".join(f"{name} = {value:.4g}" for name, value in self.pair.items())
        what = f"the pair {where}" if where else "a batch"
        how = f"{self.before:.9g} before and {self.after:.9g} after"
        return f"{INVARIANCES[self.name]} changes it: at lam = {self.lam:g} {what} has {how}{self.note} ({self.name})"


def assert_invariant(loss: Any, *invariances: str, **options: Any) -> None:
    """Assert that a loss does not change where it must not.

    Args:
        loss, **options: see `expo_analysis.testing.assert_sound`.
        *invariances: names of `INVARIANCES`; by default those that hold of every loss, and those that this one has by
            what it claims and by its options.

    Raises:
        AssertionError: with the first that is broken, and numbers. ValueError: a name is not known, or asks for an
            argument that the loss does not have.

    Example:
        >>> import expo_analysis as ea
        >>> from expo_analysis.testing import assert_invariant
        >>> assert_invariant(ea.DPO(0.1), "shift", "shift_with_reference", "order")
    """
    made = as_loss(loss, **options)
    if not isinstance(made, PairObjective) or made.facts.couples_pairs:
        raise ValueError(f"{made.name} must be a loss of single pairs")
    unknown = [name for name in invariances if name not in INVARIANCES]
    if unknown:
        raise ValueError(f"invariances must be among {', '.join(INVARIANCES)}; got {unknown[0]!r}")
    for name in invariances:
        if (name == "swap" and _flipped(made) is None) or (name == "f_constant" and _shifted(made) is None):
            raise ValueError(f"{name} asks for {NEEDS[name]}, which {made.name} does not have")
    found = watched(lambda: [next(broken_ones(made, invariances or None), None)], SECONDS, made)
    if found.value is None:
        raise AssertionError(f"{made.name} is not invariant: {said(found)}")
    if found.value[0] is not None:
        raise AssertionError(f"{made.name} is not invariant: {found.value[0]}")


def broken_ones(loss: PairObjective, names: tuple[str, ...] | None = None) -> Iterator[Broken]:
    """The invariances that do not hold, of those named; by default of those that the loss must or claims to have."""
    known = _pairs(loss)
    for name in _claimed(loss) if names is None else names:
        for lam in LAMS:
            broken = _CHECKS[name](name, loss, lam, known)
            if broken is not None:
                yield broken
                break


def _claimed(loss: PairObjective) -> list[str]:
    """The invariances that every loss has, and this one by its options and claims."""
    found = list(ALWAYS)
    found += ["swap"] if _flipped(loss) is not None else []
    found += ["shift"] if loss.claims.log_ratio_only and not loss.data else []
    return [*found, *(["f_constant"] if _shifted(loss) is not None else [])]


def _pairs(loss: PairObjective) -> Known:
    """What the loss reads of so many pairs."""
    rng = np.random.default_rng(0)
    wide = np.geomspace(0.2, 8.0, PAIRS)
    found = {name: torch.from_numpy(-wide * rng.uniform(0.1, 1.0, PAIRS)) for name in LOG_PROBABILITIES}
    for name in loss.data:
        values = rng.integers(1, 9, PAIRS).astype(float) if "length" in name else rng.normal(size=PAIRS)
        found[name] = torch.from_numpy(values)
    return found


def _losses(loss: PairObjective, lam: float, known: Known) -> torch.Tensor:
    """One loss per pair; of a function that reduces, its one number."""
    if isinstance(loss, FunctionLoss) and loss.call.reduces and not loss.call.jax:
        given = {name: value for name, value in known.items() if name in loss.call.reads or name == "label"}
        return torch.as_tensor(loss.call.picked(loss.call.raw(lam, given))).reshape(1).detach()
    at = loss.with_lam(lam)
    own = [known[name].clone() for name in (*LOG_PROBABILITIES, *at.data)]
    return torch.as_tensor(at.pair_loss(*own)).detach()


def _picked(known: Known, index: Any) -> Known:
    return {name: value[index] for name, value in known.items()}


def _first_apart(
    name: str, lam: float, known: Known, before: torch.Tensor, after: torch.Tensor, note: str = ""
) -> Broken | None:
    """The pair on which losses are farthest apart; None where none is."""
    if torch.equal(before, after):
        return None
    scale = 1 + before.abs() + after.abs()
    gaps = torch.nan_to_num((before - after).abs() / scale, nan=float("inf"))
    k = int(gaps.argmax())
    if not gaps[k] > TOLERANCE:
        return None
    pair = {role: float(value[k]) for role, value in known.items()} if len(before) == PAIRS else {}
    return Broken(name, lam, pair, float(before[k]), float(after[k]), note)


# --------------------------------------------------------------------------------------------------------- the batch


def _batch_size(name: str, loss: PairObjective, lam: float, known: Known) -> Broken | None:
    alone = torch.cat([_losses(loss, lam, _picked(known, slice(k, k + 1))) for k in range(PAIRS)])
    whole = _losses(loss, lam, known)
    if len(whole) == PAIRS:
        return _first_apart(name, lam, known, whole, alone)
    ways = {"mean": alone.mean().reshape(1), "sum": alone.sum().reshape(1)}
    if any(_first_apart(name, lam, known, whole, way) is None for way in ways.values()):
        return None
    note = f", the mean of its {PAIRS} pairs computed alone (their sum is {float(ways['sum']):.9g})"
    return Broken(name, lam, {}, float(whole), float(ways["mean"]), note)


def _order(name: str, loss: PairObjective, lam: float, known: Known) -> Broken | None:
    turned = torch.arange(PAIRS - 1, -1, -1)
    after = _losses(loss, lam, _picked(known, turned))
    return _first_apart(name, lam, known, _losses(loss, lam, known), after[turned] if len(after) == PAIRS else after)


def _duplicates(name: str, loss: PairObjective, lam: float, known: Known) -> Broken | None:
    before = _losses(loss, lam, known)
    after = _losses(loss, lam, {role: value.repeat(2) for role, value in known.items()})
    if len(before) == PAIRS:
        halves = [after[:PAIRS], after[PAIRS:]]
        return next((b for half in halves if (b := _first_apart(name, lam, known, before, half))), None)
    if _first_apart(name, lam, known, 2 * before, after) is None:  # a sum
        return None
    return _first_apart(name, lam, known, before, after)


def _padding(name: str, loss: PairObjective, lam: float, known: Known) -> Broken | None:
    before = _losses(loss, lam, known)
    if len(before) != PAIRS:
        return None  # whoever reduces leaves padding out first
    rows = {role: torch.full((3,), 1.0 if "length" in role else 0.0, dtype=x.dtype) for role, x in known.items()}
    after = _losses(loss, lam, {role: torch.cat([value, rows[role]]) for role, value in known.items()})
    return _first_apart(name, lam, known, before, after[:PAIRS])


# ---------------------------------------------------------------------------------------------------------- the pair


def _swap(name: str, loss: PairObjective, lam: float, known: Known) -> Broken | None:
    flipped = _flipped(loss)
    assert flipped is not None
    other, label = flipped
    turned = {f"{role[:-1]}{'l' if role[-1] == 'w' else 'w'}": value for role, value in known.items()}
    turned = {role: turned[role] for role in known}
    if label:
        turned["label"] = torch.zeros(PAIRS, dtype=torch.float64)
        assert isinstance(loss, FunctionLoss)
        after = torch.as_tensor(loss.call.picked(loss.call.raw(lam, turned))).detach().reshape(-1)
    else:
        after = _losses(other, lam, turned)
    return _first_apart(name, lam, known, _losses(loss, lam, known), after)


def _flipped(loss: PairObjective) -> tuple[PairObjective, bool] | None:
    """The loss with the label flipped, and whether its pairs need a label for that; None where it has neither."""
    if isinstance(loss, FunctionLoss) and "label" in loss.call.roles.values():
        return loss, True
    smoothing = _options(loss).get("label_smoothing")
    if not isinstance(smoothing, float | int) or not 0 < smoothing < 1:
        return None
    try:
        return _with_option(loss, "label_smoothing", 1 - smoothing), False
    except (TypeError, ValueError):  # it takes less than a half
        return None


def _shift(name: str, loss: PairObjective, lam: float, known: Known) -> Broken | None:
    moved = {role: value + SHIFT if role in ("logp_w", "logp_l") else value for role, value in known.items()}
    return _first_apart(name, lam, known, _losses(loss, lam, known), _losses(loss, lam, moved))


def _shift_with_reference(name: str, loss: PairObjective, lam: float, known: Known) -> Broken | None:
    steps = {"w": SHIFT, "l": -2 * SHIFT}
    moved = {role: value + steps[role[-1]] if "logp_" in role else value for role, value in known.items()}
    return _first_apart(name, lam, known, _losses(loss, lam, known), _losses(loss, lam, moved))


def _f_constant(name: str, loss: PairObjective, lam: float, known: Known) -> Broken | None:
    other = _shifted(loss)
    assert other is not None
    return _first_apart(name, lam, known, _losses(loss, lam, known), _losses(other, lam, known))


def _shifted(loss: PairObjective) -> PairObjective | None:
    """The loss with a constant added to f'; None where no option of it is a divergence or a function."""
    for name, value in _options(loss).items():
        if isinstance(value, Divergence):
            return _with_option(loss, name, _with_constant(value))
        if isinstance(loss, FunctionLoss) and callable(value) and not isinstance(value, type):
            return _with_option(loss, name, lambda *given, value=value: value(*given) + SHIFT)
    return None


def _with_constant(divergence: Divergence) -> Divergence:
    """The same divergence, written with f(u) + c (u - 1)."""
    kind: Any = type(divergence)

    def mu(self: Any, log_u: Any) -> Any:
        return kind.mu(self, log_u) + SHIFT

    found = copy.copy(divergence)
    object.__setattr__(found, "__class__", type(kind.__name__, (kind,), {"mu": mu}))
    return found


def _options(loss: PairObjective) -> dict[str, Any]:
    """What a loss was given beside lambda, and the defaults of a function's other arguments."""
    if not isinstance(loss, FunctionLoss):
        return {f.name: getattr(loss, f.name) for f in fields(loss) if f.init and f.name != "lam"}
    stated = inspect.signature(loss.call.f).parameters.values()
    defaults = {p.name: p.default for p in stated if p.default is not p.empty and p.name not in loss.call.roles}
    return {**defaults, **loss.call.options}


def _with_option(loss: PairObjective, name: str, value: Any) -> PairObjective:
    if isinstance(loss, FunctionLoss):
        return replace(loss, call=replace(loss.call, options={**loss.call.options, name: value}))
    assert is_dataclass(loss)
    return replace(loss, **{name: value})


Check = Callable[[str, PairObjective, float, Known], Broken | None]

_CHECKS: dict[str, Check] = {
    "batch_size": _batch_size,
    "order": _order,
    "duplicates": _duplicates,
    "padding": _padding,
    "swap": _swap,
    "shift": _shift,
    "shift_with_reference": _shift_with_reference,
    "f_constant": _f_constant,
}
