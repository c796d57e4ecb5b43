"""What is minimised: a weighted sum of objectives, each with its own way from tokens to responses.

Most trainings have one objective with weight 1. Several at once are a mixture, such as MPO's. And some objectives are a
sum already, of parts that their papers aggregate in different ways: CPO and RPO sum the log-probabilities of their
preference term over tokens, and average those of their likelihood; so does any loss whose terms are of both kinds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ..._types import Array
from ...divergences import Divergence
from ...losses import IPO, SFT, PairObjective
from ...losses.base import check_number, check_option
from ...losses.facts import is_likelihood
from ...losses.responses import reads_third
from ...losses.statistics import PerToken, of_means
from ...losses.terms import Sum
from ...losses.unpaired import Unpaired
from .aggregation import AGGREGATIONS, TOKEN_MEAN

IPO_IS_AVERAGED = "its authors average log-ratios over tokens, says TRL; the paper's formula has none"


@dataclass(frozen=True)
class Term:
    """One summand: ``weight`` times the objective on log-probabilities that ``aggregation`` makes.

    aggregation: ``"sum"`` or ``"mean"``; for `SFT` also ``"token_mean"``, the mean over all tokens of all responses.
    label: what it is called where it is a part of an objective; empty where it is one.
    """

    weight: float
    objective: PairObjective
    aggregation: str
    label: str = ""

    def __post_init__(self) -> None:
        accepted = (*AGGREGATIONS, TOKEN_MEAN) if has_formula_of(self.objective, SFT) else AGGREGATIONS
        check_option("aggregation", self.aggregation, accepted)
        check_number("weight", self.weight, 0.0)


@dataclass(frozen=True)
class Mixture:
    """The sum of terms that is minimised, and what is known of it.

    given   the objectives as they were given, with their weights
    notes   what a user is told once: which aggregation was chosen, and why
    """

    terms: tuple[Term, ...]
    given: tuple[tuple[float, PairObjective], ...]
    notes: tuple[str, ...] = ()

    @property
    def objective(self) -> PairObjective:
        """The first objective, whose lambda scales the rewards that are logged."""
        return self.given[0][1]

    @property
    def needs_reference(self) -> bool:
        return any(term.objective.claims.needs_reference for term in self.terms)

    @property
    def data(self) -> frozenset[str]:
        """What is read beside log-probabilities, as `PairObjective.data`."""
        return frozenset().union(*(term.objective.data for term in self.terms))

    def values_of(self, rewards: Any) -> Any:
        """Losses of pairs of certain responses of one token with these rewards, (2, B): nan where they have none."""
        certain, one = 0.0 * rewards[0], 0.0 * rewards[0] + 1.0
        data = {"reward_w": rewards[0], "reward_l": rewards[1], "length_w": one, "length_l": one}
        read = [term.objective for term in self.terms if term.objective.data and data.keys() >= {*term.objective.data}]
        return sum((loss.one_per_pair(*[certain] * 4, *(data[n] for n in loss.data)) for loss in read), certain)

    @property
    def reads_rewards(self) -> bool:
        """Whether rewards are read, or what is derived of them."""
        return any(term.objective.reads_rewards for term in self.terms)

    @property
    def reads_third(self) -> bool:
        return any(reads_third(term.objective) for term in self.terms)

    @cached_property
    def unpaired(self) -> tuple[Term, ...]:
        """The terms on single responses; see `losses.unpaired`."""
        return tuple(
            term
            if term.aggregation == TOKEN_MEAN
            else dataclasses.replace(term, objective=Unpaired(term.objective.lam, term.objective))
            for term in self.terms
        )

    @property
    def couples_pairs(self) -> bool:
        return any(term.objective.claims.couples_pairs for term in self.terms)

    @property
    def regularised(self) -> PairObjective | None:
        """The one objective that has an explicit regulariser, or None."""
        return next((objective for _, objective in self.given if objective.regulariser is not None), None)

    @property
    def regulariser(self) -> Divergence | None:
        return None if self.regularised is None else self.regularised.regulariser

    @property
    def strength(self) -> float:
        """What multiplies the regulariser: weight times lambda."""
        return sum(weight * objective.lam for weight, objective in self.given if objective.regulariser is not None)

    def __str__(self) -> str:
        if len(self.given) == 1 and self.given[0][0] == 1:
            return describe(self.objective)
        return " + ".join(f"{weight:g} {describe(objective)}" for weight, objective in self.given)


def describe(objective: PairObjective) -> str:
    """The same as `repr`, and the same in every process: functions have names instead of addresses."""
    values = {field.name: getattr(objective, field.name) for field in dataclasses.fields(objective)}
    shown = (f"{name}={getattr(value, '__qualname__', None) or repr(value)}" for name, value in values.items())
    return f"{type(objective).__name__}({', '.join(shown)})"


def make_mixture(given: Any, aggregation: str | Sequence[str] | None) -> Mixture:
    """The mixture of what a trainer is given as its objective.

    Args:
        given: one objective, or a list of objectives, or of pairs (weight, objective).
        aggregation: for all objectives, or one for each; None takes each one's own (see `own_terms`).

    Raises:
        TypeError, ValueError: saying what is no objective, weight or aggregation.
    """
    pairs = tuple(_pairs(given))
    if not pairs:
        raise ValueError("objective must have at least one entry, got an empty list")
    if not any(weight for weight, _ in pairs):
        raise ValueError("the weight of an objective must be above 0 for one objective at least, and all are 0")
    one = isinstance(aggregation, str) or aggregation is None
    each: list[Any] = [aggregation] * len(pairs) if one else list(aggregation or ())
    if len(each) != len(pairs):
        raise ValueError(f"aggregation must be one for all objectives, or one for each of {len(pairs)}; got {each}")
    terms, notes = [], [f"{describe(loss)} has the weight 0, and is left out" for weight, loss in pairs if not weight]
    each = [how for how, (weight, _) in zip(each, pairs, strict=True) if weight]
    pairs = tuple(pair for pair in pairs if pair[0])
    names = [type(objective).__name__ for _, objective in pairs if objective.regulariser is not None]
    if len(names) > 1:
        raise ValueError(f"objective must have one explicit regulariser at most, but {names} have one each")
    for (weight, objective), how in zip(pairs, each, strict=True):
        terms += [dataclasses.replace(term, weight=weight * term.weight) for term in own_terms(objective, how)]
        notes += [] if how is not None else _notes(objective)
    return Mixture(tuple(terms), pairs, tuple(notes))


def _pairs(given: Any) -> Iterator[tuple[float, PairObjective]]:
    for entry in given if isinstance(given, (list, tuple)) else [given]:
        weight, objective = entry if isinstance(entry, (list, tuple)) and len(entry) == 2 else (1.0, entry)
        check_number("the weight of an objective", weight, 0.0, low_too=True)
        yield float(weight), check_pairwise(objective)


def own_terms(objective: PairObjective, aggregation: str | None) -> list[Term]:
    """The terms of one objective: those of its definition, unless an aggregation is asked for."""
    if averages(objective, partly=aggregation is not None):
        return [Term(1.0, OfMeans(objective.lam, objective), aggregation or "mean", objective.name)]
    if aggregation is not None:
        return [Term(1.0, objective, aggregation)]
    if has_formula_of(objective, IPO):
        return [Term(1.0, objective, "mean")]
    if not _both(objective):
        return [Term(1.0, objective, "sum")]
    assert objective.terms is not None
    of_likelihood = likelihood(objective)
    rest = (t for t, own in zip(objective.terms, of_likelihood, strict=True) if not own)
    averaged = (t for t, own in zip(objective.terms, of_likelihood, strict=True) if own)
    preference = Summands(objective.lam, objective, Sum(tuple(rest)), objective.regulariser)
    likelihoods, name = Summands(objective.lam, objective, Sum(tuple(averaged))), objective.name
    return [
        Term(1.0, preference, "sum", f"preference of {name}"),
        Term(1.0, likelihoods, "mean", f"likelihood of {name}"),
    ]


@dataclass(frozen=True)
class Part(PairObjective):
    """Something of an objective, which derives what that derives."""

    of: PairObjective

    @property
    def reads_rewards(self) -> bool:
        return self.of.reads_rewards

    def derived(self, known: Mapping[str, Array]) -> Mapping[str, Array]:
        return self.of.derived(known)


@dataclass(frozen=True)
class Summands(Part):
    """Some of the terms of an objective."""

    summands: Sum
    kept: Divergence | None = None
    name: ClassVar[str] = "summands"

    @property
    def terms(self) -> Sum:
        return self.summands

    @property
    def regulariser(self) -> Divergence | None:
        return self.kept


@dataclass(frozen=True)
class OfMeans(Part):
    """An objective that divides log-probabilities by lengths, as one of log-probabilities that are means already."""

    name: ClassVar[str] = "of_means"

    @property
    def terms(self) -> Sum:
        assert self.of.terms is not None
        return Sum(tuple(dataclasses.replace(t, statistic=of_means(t.statistic)) for t in self.of.terms))

    @property
    def regulariser(self) -> Divergence | None:
        return self.of.regulariser


def averages(objective: PairObjective, partly: bool = False) -> bool:
    """Whether its terms read log-probabilities divided by lengths, and no others; or ``partly`` such."""
    terms = objective.terms if objective.states_terms else None
    found = [] if terms is None else [isinstance(atom, PerToken) for t in terms for _, atom in t.statistic.parts]
    return bool(found) and (any(found) if partly else all(found))


def likelihood(objective: PairObjective) -> tuple[bool, ...]:
    """Of each of its terms, whether it is a likelihood, a straight line in log-probabilities; () of a bare formula."""
    if not objective.is_made_of_terms or objective.terms is None:
        return ()
    return tuple(is_likelihood(term.psi, term.statistic) for term in objective.terms)


def _both(objective: PairObjective) -> bool:
    """Whether it is made of likelihoods and of other terms, such as CPO."""
    return len(set(likelihood(objective))) == 2


def _notes(objective: PairObjective) -> list[str]:
    name = type(objective).__name__
    if averages(objective) or has_formula_of(objective, IPO):
        why = "so its formula has it" if averages(objective) else IPO_IS_AVERAGED
        return [f"{name} on means over tokens: {why}. aggregation='sum' takes sums instead"]
    if _both(objective):
        return [f"{name}: its preference term sums log-probabilities over tokens, its likelihood averages them"]
    if objective.name == "kto" and getattr(objective, "reference_point", None) == 0:
        return [f"{name} with reference_point = 0: it is not estimated from the batch"]
    if objective.name == "bco" and getattr(objective, "reference_point", None) == 0:
        return [f"{name} with reference_point = 0, as TRL has it; the paper's is a running mean of the rewards"]
    return []


def has_formula_of(objective: Any, kind: type[Any]) -> bool:
    """Whether an objective is of this class, and no class below it writes the formula anew."""
    own = type(objective)
    formula = ("terms", "pair_loss", "regulariser")
    return isinstance(objective, kind) and all(getattr(own, part) is getattr(kind, part) for part in formula)


def check_pairwise(objective: Any) -> PairObjective:
    """The objective, if it is one that a batch of pairs can train.

    Raises:
        TypeError: for anything else, among which RLHF, that has no loss of pairs.
        ValueError: for an objective with an array of lambdas.
    """
    if not isinstance(objective, PairObjective):
        rlhf = getattr(type(objective), "name", None) == "rlhf"
        shown = f"a {type(objective).__name__}" if len(repr(objective)) > 200 else repr(objective)
        raise TypeError(
            f"objective must be a loss of pairs, such as EXPO(lam=0.1) or DPO(lam=0.1); got {shown}"
            + (": RLHF has a reward instead of pairs" if rlhf else "")
        )
    if objective.auxiliary:
        raise TypeError(
            f"objective must have no variables beside the model's, got {type(objective).__name__}, which has one for "
            "every response; over all policies it is DPO(lam)"
        )
    if not isinstance(objective.lam, float):
        raise ValueError(f"objective must have one number as lam, got {objective.lam!r}")
    return objective
