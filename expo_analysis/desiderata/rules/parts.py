"""Terms at one datum, with what they make of lambda."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...losses.data import RESPONSE_DATA, Data, Datum
from ...losses.psi import BernoulliKL, Psi, TargetKL
from ...losses.statistics import Atom
from ...losses.terms import Sum, Term
from .given import Given, as_given
from .in_lambda import InLambda, of_lambda


class CannotTell(Exception):
    """A formula does with lambda, or with data, what cannot be followed."""


@dataclass(frozen=True, eq=False)
class Part:
    """weight psi(sum_k c_k atom_k - offset): a term at one datum.

    psi has numbers for parameters; ``moving`` where they depend on lambda. Of a psi that is no function of lambda's
    quotients nothing is made.
    """

    psi: Psi
    weight: InLambda
    coefficients: tuple[tuple[InLambda, Atom], ...]
    offset: InLambda
    moving: tuple[tuple[str, InLambda], ...] = ()

    @property
    def is_fixed(self) -> bool:
        """Whether it does not depend on lambda."""
        used = (self.weight, self.offset, *(c for c, _ in self.coefficients))
        return not self.moving and all(x.constant is not None for x in used)

    @property
    def is_bounded_below(self) -> bool:
        """Whether it is, over all policies, for a part that does not depend on lambda."""
        weight = self.weight.constant
        if not self.is_fixed or weight is None or weight < 0:
            return False
        if weight == 0 or (self.psi.lower_bound is not None and bool(np.all(np.isfinite(self.psi.lower_bound)))):
            return True
        # log pi <= 0: a psi that never increases of c log pi, c >= 0, is at least its value at 0
        own = all(atom.plain and not atom.relative and c.sign > 0 for c, atom in self.coefficients)
        return self.psi.decreasing and own


def at_1(x: InLambda) -> float:
    """Its value at lambda = 1."""
    return float(sum(x.top) / sum(x.bottom))


def at_gap(gap: float, reward: float = 0.0, reference: tuple[float, float] = (-1.0, -1.0)) -> Datum:
    """A pair of responses of one token, whose winner has a reward of so much more than its loser."""
    datum: Datum = dict.fromkeys(RESPONSE_DATA, 1.0) | {"reward_w": reward + gap, "reward_l": reward}
    return {**datum, "ref_logp_w": reference[0], "ref_logp_l": reference[1]}


def probes() -> list[Datum]:
    """Data that parameters of terms are looked at on: rewards in both orders, and log-probabilities under pi_ref."""
    rng = np.random.default_rng(0)
    gaps = (0.3, -0.3, 1.0, -1.0, 4.0, -4.0, 0.0)
    return [at_gap(gap, rng.normal(), tuple((-rng.exponential(1.0, 2)).tolist())) for gap in gaps]


@dataclass(frozen=True, eq=False)
class DataRead:
    """What terms make of data, at all of them at once.

    places: where data enter: ``"weight"`` (of one sign then), ``"goal"`` of a psi, ``"shift"``. goals, shifts: by
    term, the goal of its psi (0 without one) and all that is subtracted from its statistic.
    """

    places: frozenset[str]
    goals: tuple[Given | InLambda, ...]
    shifts: tuple[Given | InLambda, ...]
    of_gap: bool
    """Whether only the gap of rewards is read."""


def data_read(terms: Sum) -> DataRead:
    """What is made of data, so that `probes` can stand for all of them.

    Of each parameter it is derived that it is a function of lambda times one of the data. A weight has to be of one
    sign by construction; a scale may not depend on data, nor may a psi but by its ``goal``. Beside others no term may
    have a weight or a goal that does: which of them is steeper would depend on the data.

    Raises:
        CannotTell: that is not so, or it cannot be derived.
    """
    try:
        found = [_read(term) for term in terms]
    except CannotTell:
        raise
    except Exception as error:  # functions of somebody else's may raise anything
        raise CannotTell from error
    named = [{"weight": weight, "goal": goal, "shift": shift} for weight, goal, shift in found]
    places = frozenset(name for one in named for name, value in one.items() if isinstance(value, Given))
    if len(found) > 1 and places & {"weight", "goal"}:
        raise CannotTell
    of_gap = all(value.of_gap for one in named for value in one.values() if isinstance(value, Given))
    _, goals, shifts = zip(*found, strict=True)
    return DataRead(places, goals, shifts, of_gap)


def _read(term: Term) -> tuple[Given | InLambda, ...]:
    """Weight, goal and shift of a term, whatever the data."""
    statistic, fields = term.statistic, {f.name: getattr(term.psi, f.name) for f in dataclasses.fields(term.psi)}
    weight, scale, centre, offset = map(as_given, (term.weight, statistic.scale, statistic.centre, statistic.offset))
    has_goal = type(term.psi) in (BernoulliKL, TargetKL)
    goal = as_given(fields.pop("goal")) if has_goal else InLambda.of_number(0.0)
    still = not isinstance(goal, Given) or goal.factor.constant is not None
    firm = not isinstance(weight, Given) or weight.sign in (1, -1)
    others = any(isinstance(value, Data) for value in fields.values())
    if isinstance(scale, Given) or others or not (firm and still):
        raise CannotTell
    return weight, goal, scale * centre + offset


def parts_of(terms: Sum, data: Sequence[Datum] | None = None) -> list[list[Part]]:
    """The terms at each of these data; by default at the `probes`, at one of them where they read no data.

    Raises:
        CannotTell: they do with lambda, or read, what cannot be followed; or by default what `data_read` cannot follow.
    """
    shifts = data_read(terms).shifts if data is None else ()
    reads = frozenset().union(*(_data_read(term) for term in terms))
    looked = probes() if data is None else list(data)
    if not reads <= set(looked[0]):
        raise CannotTell
    try:
        found = [[_part(term, datum) for term in terms] for datum in (looked if reads or data else looked[:1])]
        # a shift is lambda's factor times a number: what that factor is, is seen where the number is not 0
        given = [k for k, shift in enumerate(shifts) if isinstance(shift, Given)]
        if any(not any(any(at[k].offset.top) for at in found) for k in given):
            raise CannotTell
        return found
    except CannotTell:
        raise
    except Exception as error:  # functions of somebody else's may raise anything
        raise CannotTell from error


TRIED = (3.7e-13, 2.3e-6, 0.13, 1.7, 29.0, 4.1e6, 5.9e14)
"""Lambdas at which what a symbol tells of a formula is compared with its numbers."""

SAME = 1e-9
"""By how much of their size numbers may differ: by rounding."""


def agree(parts: Sequence[Sequence[Part]], terms: Sum, lam: float) -> bool:
    """Whether parts, as a symbol in the place of lambda gave them, are those of ``terms``, made with a number.

    Code that asks what kind of a thing lambda is gives one formula for symbols and another one for numbers.

    Raises:
        CannotTell: numbers do not give terms.
    """
    reads = frozenset().union(*(_data_read(term) for term in terms))
    numeric = parts_of(terms, probes() if reads else probes()[:1])
    return len(numeric) == len(parts) and all(
        len(one) == len(other) and all(_alike(a, b, lam) for a, b in zip(one, other, strict=True))
        for one, other in zip(parts, numeric, strict=True)
    )


def _alike(part: Part, numeric: Part, lam: float) -> bool:
    if [atom for _, atom in part.coefficients] != [atom for _, atom in numeric.coefficients]:
        return False
    pairs = [(part.weight, numeric.weight), (part.offset, numeric.offset)]
    pairs += [(a, b) for (a, _), (b, _) in zip(part.coefficients, numeric.coefficients, strict=True)]
    psi = dataclasses.replace(part.psi, **{name: x.at(lam) for name, x in part.moving}) if part.moving else part.psi
    same = all(np.isclose(a.at(lam), b.at(lam), rtol=SAME, atol=0.0) for a, b in pairs)
    with np.errstate(all="ignore"):
        one, other = psi.value(MARGINS), numeric.psi.value(MARGINS)
    return type(psi) is type(numeric.psi) and same and np.allclose(one, other, rtol=SAME, atol=SAME, equal_nan=True)


def _data_read(term: Term) -> frozenset[str]:
    """What its parameters read of a datum, beside what its atoms do."""
    values = (term.weight, term.statistic.scale, term.statistic.centre, term.statistic.offset)
    return frozenset(term.psi.reads).union(*(x.reads for x in values if isinstance(x, Data)))


def _part(term: Term, datum: Datum) -> Part:
    statistic = term.statistic
    weight, scale, centre, offset = (
        of_lambda(_evaluated(x, datum)) for x in (term.weight, statistic.scale, statistic.centre, statistic.offset)
    )
    psi, moving = _psi(term.psi, datum)
    coefficients = tuple((scale * of_lambda(c), atom) for c, atom in statistic.parts)
    return Part(psi, weight, coefficients, scale * centre + offset, moving)


def _evaluated(value: Any, datum: Datum) -> Any:
    """Data at a datum of single numbers, or of arrays of one, where a function wants arrays; others as they are."""
    if not isinstance(value, Data):
        return value
    try:
        return value({name: np.float64(x) for name, x in datum.items()})
    except Exception:
        found = value({name: np.array([x]) for name, x in datum.items()})
        return float(np.asarray(found, dtype=np.float64)[0])


def _psi(psi: Psi, datum: Datum) -> tuple[Psi, tuple[tuple[str, InLambda], ...]]:
    """The psi with numbers for parameters (at lambda = 1 where they move with it), and those that move."""
    moving: list[tuple[str, InLambda]] = []
    numbers: dict[str, float] = {}
    for field in dataclasses.fields(psi):
        value = _evaluated(getattr(psi, field.name), datum)
        if isinstance(value, InLambda):
            constant = value.constant
            numbers[field.name] = at_1(value) if constant is None else constant
            moving += [] if constant is not None else [(field.name, value)]
        elif isinstance(getattr(psi, field.name), Data):
            numbers[field.name] = float(value)
    bound = dataclasses.replace(psi, **numbers) if numbers else psi
    if not _is_numeric(bound.value):
        raise CannotTell
    return bound, tuple(moving)


def _is_numeric(function: Callable[[Any], Any]) -> bool:
    """Whether numbers come out where numbers go in: a function that holds lambda in itself raises, or gives others."""
    with np.errstate(all="ignore"):
        found = function(MARGINS)
    return isinstance(found, np.ndarray) and found.dtype.kind == "f" and found.shape == MARGINS.shape


SIZES = np.array([1e-9, 1e-4, 0.03, 0.4, 0.7, 1.5, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 60.0, 200.0, 800.0, 3e3, 1e5, 1e9])
MARGINS = np.concatenate([-SIZES[::-1], [0.0], SIZES])
"""Margins that psis are looked at on, the far ones too: code for these may be another one."""
