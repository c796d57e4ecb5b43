"""What an objective is: a loss of pairs, possibly lambda times a regulariser, or an expected reward with one."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import numpy as np

from .._autograd import tensor, values
from .._checks import check_number as check_number
from .._checks import check_option as check_option
from .._checks import check_same_shape
from .._checks import check_whole as check_whole
from .._symbols import Symbol
from .._types import Array
from ..divergences import Divergence, mu_is_slope
from ..numerics import exp, namespace
from .data import LOG_PROBABILITIES, RESPONSE_DATA, Datum
from .facts import Claims, Facts, StatedFacts, anything
from .psi import Logistic
from .statistics import linked
from .terms import Sum

Self = TypeVar("Self", bound="Objective")


@dataclass(frozen=True)
class Objective(ABC):
    """An objective with trade-off parameter ``lam`` (the paper's lambda; ``beta`` in TRL), a positive finite number.

    Inside the solvers and trainers ``lam`` may also be an array or a tensor that broadcasts against the pairs.
    """

    lam: Any
    name: ClassVar[str]

    def __post_init__(self) -> None:
        if isinstance(self.lam, Symbol):
            return
        if isinstance(self.lam, (bool, np.bool_, str)) or self.lam is None:
            raise TypeError(f"lam must be a positive finite number, got {self.lam!r}")
        if _is_tensor(self.lam) and self.lam.ndim:
            return  # torch may be transforming a function of it, and then it has no values to look at
        try:
            values = np.asarray(self.lam, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"lam must be a positive finite number, got {self.lam!r}") from None
        if not np.all((values > 0) & (values < np.inf)):
            raise ValueError(f"lam must be a positive finite number, got {self.lam!r}")
        if values.ndim == 0:  # a Python float never changes the dtype of what it meets
            object.__setattr__(self, "lam", float(values))

    def with_lam(self: Self, lam: Any) -> Self:
        """The same objective at another lambda."""
        return dataclasses.replace(self, lam=lam)

    @abstractmethod
    def facts_at(self, datum: Datum | None) -> Facts:
        """What is known of the objective on these data; over a wide range of data where there are none."""

    @property
    def facts(self) -> Facts:
        """What is known of the objective, whatever the data."""
        return self.facts_at(None)

    @property
    def claims(self) -> Claims:
        """The facts that `Claims` has fields for."""
        return self.facts.claims()


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "ndim")


@dataclass(frozen=True)
class RewardObjective(Objective):
    """E_{y~pi}[-r(y)] + lam * ``regulariser``(pi, pi_ref): a reward where other objectives have pairs."""

    @property
    @abstractmethod
    def regulariser(self) -> Divergence:
        """The divergence that keeps the policy near the reference."""

    def reward_terms(self, log_policy: Array, reward: Array) -> Array:
        """Summands of E_{y~pi}[-r(y)], one per response, shape of ``log_policy``."""
        return -exp(log_policy) * namespace(log_policy).asarray(reward)

    @property
    def claims(self) -> Claims:
        return Claims(convex=False, closed_form=True, needs_reference=True, log_ratio_only=False)

    def facts_at(self, datum: Datum | None) -> Facts:
        """What is known of the optimum: in the scores mu(pi/pi_ref) = r/lam + const, whose fit to pairs is logistic.

        Raises:
            TypeError: mu is not the slope of the divergence's terms, so that nothing is.
        """
        if not mu_is_slope(self.regulariser):
            raise TypeError(
                f"regulariser of {type(self).__name__} must have terms pi_ref f(u), u = pi/pi_ref, with f' - f'(1) for "
                f"its mu, by which it is solved; {type(self.regulariser).__name__} has others"
            )
        return Facts(Logistic()(self.lam * linked(self.regulariser)), None, datum)


@dataclass(frozen=True)
class PairObjective(Objective):
    """An objective whose preference term is a loss of (winner, loser) log-probabilities.

    risk = mean over pairs of ``loss`` + lam * ``regulariser``(pi, pi_ref); see `expo_analysis.losses.risk`.
    ``listwise``: whether -log sigma(s_w - s_l), the loss of a pair, becomes -log softmax(s)_w on choices among several.
    ``single``: whether its data are single responses, liked or disliked, and no pairs.
    ``auxiliary``: whether over restricted policies the loss has a variable for every response beside the policy's own.

    A loss says what it is in one of two ways. ``terms``, a sum of psi(statistic), is all that solvers, proofs and the
    trainer need: what is known of the loss is derived from it. ``pair_loss``, a bare formula, may be anything; of it
    nothing is assumed but what ``claims`` states.
    """

    listwise: ClassVar[bool] = False
    single: ClassVar[bool] = False
    auxiliary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self).terms is PairObjective.terms and type(self).pair_loss is PairObjective.pair_loss:
            raise TypeError(f"{type(self).__name__} must define terms or pair_loss")

    def __init_subclass__(cls, **options: Any) -> None:
        """A class that writes ``psi`` anew below one that is made of terms has the terms of that psi."""
        super().__init_subclass__(**options)
        own = vars(cls)
        anew = callable(own.get("psi")) and not {"terms", "pair_loss"} & set(own)
        if anew and not any("psi" in vars(parent) for parent in cls.__mro__[1:]):
            from .compat import terms_of_psi

            cls.terms = property(terms_of_psi)  # type: ignore[method-assign, assignment]

    @property
    def terms(self) -> Sum | None:
        """The loss as a sum of terms psi(statistic); None where there is a bare ``pair_loss`` instead."""
        return None

    @property
    def regulariser(self) -> Divergence | None:
        """The explicit divergence from the reference, weighted by lam; None where there is none."""
        return None

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array, *data: Array) -> Array:
        """The formula of `loss`, on checked arguments; that of ``terms``, where they are what the loss is made of.

        A formula of one's own that reads rewards or lengths has further arguments, some of `RESPONSE_DATA`.
        """
        terms = self.terms
        if terms is None:
            raise TypeError(f"terms of {type(self).__name__} must be a sum of terms, got None")
        if len(data) != len(self.data):
            reads = f"{type(self).__name__} reads {', '.join(self.data) or 'nothing'} beside log-probabilities"
            raise TypeError(f"{reads}, in this order; got {len(data)} of {len(self.data)}")
        named = zip((*LOG_PROBABILITIES, *self.data), (logp_w, logp_l, ref_logp_w, ref_logp_l, *data), strict=True)
        value = terms.value(dict(named))
        for slot, logp in (("logp_w", logp_w), ("logp_l", logp_l)):
            if slot not in terms.reads:  # so that torch finds a derivative, 0, in what the loss does not read
                value = value + 0.0 * logp
        return value

    @property
    def data(self) -> tuple[str, ...]:
        """What the loss reads beside log-probabilities, in `pair_loss`'s order, such as ``("reward_l", "reward_w")``.

        Raises:
            TypeError: ``pair_loss`` has an argument that is none of `RESPONSE_DATA`.
        """
        if self.states_terms:
            terms = self.terms
            return () if terms is None else tuple(sorted(terms.reads.difference(LOG_PROBABILITIES)))
        return _further_arguments(type(self))

    @property
    def reads_rewards(self) -> bool:
        """Whether the loss, or what it derives, reads rewards."""
        return any(name.startswith("reward_") for name in self.data)

    def derived(self, known: Mapping[str, Array]) -> Mapping[str, Array]:
        """Further numbers of responses that the loss computes of a prompt's, such as a prompt's value, by name.

        Args:
            known: ``"ref_logp"``, ``"length"``, and ``"reward"`` where ``reads_rewards``; (n, prompts), lam may be
                (prompts,).

        Returns:
            Arrays (n, prompts); the terms read ``NAME_w`` and ``NAME_l`` of them.
        """
        return {}

    @property
    def claims(self) -> Claims:
        """Derived from the terms; of a bare formula nothing is assumed, unless its author says so here."""
        return self.facts.claims() if self.is_made_of_terms else NOTHING

    def ratio_slopes(self) -> tuple[Any, Any] | None:
        """For a bare formula: limits of its slope in log pi_w/pi_l at -inf and +inf; they decide about separable data.

        None, where they are not known, leaves that to the search.
        """
        return None

    @property
    def is_made_of_terms(self) -> bool:
        """Whether ``terms`` say what the loss is.

        A subclass may write ``pair_loss`` anew; its parent's terms then count only if they give the same numbers.
        """
        return self.states_terms or (self.terms is not None and _agrees(self))

    @property
    def states_terms(self) -> bool:
        """Whether the class says in ``terms`` what the loss is, and nothing below or beside that says it anew."""
        source = next(cls for cls in type(self).__mro__ if {"terms", "pair_loss"} & set(vars(cls)))
        return source is not PairObjective and "pair_loss" not in vars(source)

    def facts_at(self, datum: Datum | None) -> Facts:
        """What is known of the objective: derived from its terms, or as far as its author claims it.

        datum: the data that parameters of the terms depend on; without any, what holds over a wide range of them.
        """
        if not self.is_made_of_terms:
            return StatedFacts(self)
        assert self.terms is not None
        return Facts(self.terms, self.regulariser, datum)

    def loss(
        self,
        logp_w: Array,
        logp_l: Array,
        ref_logp_w: Array | None = None,
        ref_logp_l: Array | None = None,
        **data: Array,
    ) -> Array:
        """One loss per pair, unreduced.

        Args:
            logp_w, logp_l: log pi(winner), log pi(loser): numpy arrays or torch tensors of one shape and dtype.
            ref_logp_w, ref_logp_l: the same under pi_ref; may be left out where ``facts.needs_reference`` is False.
            data: what else the loss reads (see ``data``), such as ``reward_w`` and ``reward_l``, of the same shape.
                Lengths may be left out: then log-probabilities are those of one token, or averages over the tokens.

        Returns:
            An array of the same kind, shape and dtype, differentiable by torch.

        Raises:
            TypeError, ValueError: naming the argument whose kind, dtype or shape is wrong, or that is missing.

        Example:
            >>> import numpy as np
            >>> from expo_analysis import DPO
            >>> DPO(lam=0.5).loss(*np.log([[0.6], [0.3], [0.4], [0.4]])).round(4)
            array([0.5348])
        """
        for name, value in (("ref_logp_w", ref_logp_w), ("ref_logp_l", ref_logp_l)):
            if value is None and self.facts.needs_reference:
                raise TypeError(f"{name} must be given: {type(self).__name__} compares with the reference")
        read = self.data
        lengths = {name for name in read if name.startswith("length_")}
        left_out = set() if lengths & set(data) else lengths
        missing, extra = sorted(set(read) - left_out - set(data)), sorted(set(data) - set(read))
        if missing or extra:
            wrong = f"{missing[0]} must be given" if missing else f"{extra[0]} is not read"
            raise TypeError(f"{wrong}: {type(self).__name__} reads {' and '.join(read) or 'log-probabilities alone'}")
        own = {"logp_w": logp_w, "logp_l": logp_l, "ref_logp_w": ref_logp_w, "ref_logp_l": ref_logp_l}
        check_same_shape(**{name: value for name, value in own.items() if value is not None}, **data)
        one = namespace(logp_w).ones_like(logp_w) if left_out else None
        return self.one_per_pair(logp_w, logp_l, ref_logp_w, ref_logp_l, *(data.get(name, one) for name in read))

    def one_per_pair(
        self,
        logp_w: Array,
        logp_l: Array,
        ref_logp_w: Array | None = None,
        ref_logp_l: Array | None = None,
        *data: Array,
    ) -> Array:
        """`pair_loss`, of which only the shape is checked: for callers that have checked their arguments."""
        try:
            result = self.pair_loss(logp_w, logp_l, ref_logp_w, ref_logp_l, *data)
        except (TypeError, AttributeError) as error:
            if ref_logp_w is not None:
                raise
            what = f"{type(self).__name__} states needs_reference=False, but its pair_loss reads the reference"
            raise TypeError(f"{what} ({error})") from error
        if getattr(result, "shape", None) != logp_w.shape:
            raise ValueError(
                f"{type(self).__name__} must return one loss per pair, shape {tuple(logp_w.shape)}; "
                f"got {tuple(getattr(result, 'shape', ()))}"
            )
        return result


NOTHING = Claims(convex=False, closed_form=False, needs_reference=True, log_ratio_only=False)
"""Nothing but that the loss may read all that it is given: true of every loss, and enough for every tool here."""


@lru_cache(maxsize=256)
def _further_arguments(kind: type[PairObjective]) -> tuple[str, ...]:
    """The names of what a formula of its own reads beside log-probabilities; what has a default is an option."""
    stated = list(inspect.signature(kind.pair_loss).parameters.values())[1 + len(LOG_PROBABILITIES) :]
    names = tuple(p.name for p in stated if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty)
    for name in names:
        if name not in RESPONSE_DATA:
            raise TypeError(
                f"pair_loss of {kind.__name__} has an argument {name!r}; beside log-probabilities a loss may read "
                f"{', '.join(RESPONSE_DATA)}"
            )
    return names


def _agrees(objective: PairObjective) -> bool:
    """Whether a class's own ``pair_loss`` gives the numbers of the terms that it inherits, to rounding.

    It is asked at the objective's own lambdas, of pairs from likely to hardly possible. Of a tensor, which torch may be
    transforming a function of, there are no values to look at, and others have to do.
    """
    lams = OTHER_LAMS if _is_tensor(objective.lam) else tuple(np.unique(np.asarray(objective.lam)).tolist())
    try:
        return _agree_at(objective.with_lam(1.0), lams)
    except TypeError:  # an option that cannot be hashed
        return _agree_at.__wrapped__(objective.with_lam(1.0), lams)


OTHER_LAMS = (0.1, 1.0, 10.0)


@lru_cache(maxsize=256)
def _agree_at(objective: PairObjective, lams: tuple[float, ...]) -> bool:
    objective = objective.with_lam(np.array(lams))
    terms = objective.terms
    assert terms is not None
    rng = np.random.default_rng(0)
    wide = anything()
    usual = {name: -rng.exponential(np.repeat([0.1, 1.0, 10.0], 70)[:, None]) for name in wide}
    usual |= {name: 1.0 - usual[name] for name in RESPONSE_DATA}
    read = (*LOG_PROBABILITIES, *objective.data)
    for datum in (wide, usual):
        ours = np.asarray(terms.value(datum)) + 0.0 * objective.lam
        try:
            theirs = values(
                objective.with_lam(tensor(objective.lam)).pair_loss, *(datum[name] + 0.0 * ours for name in read)
            )
        except Exception:  # a formula of somebody else's may raise anything, and will do so again where it is used
            return False
        size = 1 + np.abs(ours) + (1 + objective.lam) * sum(map(np.abs, datum.values()))
        if theirs.shape != ours.shape or not (np.abs(ours - theirs) <= 1e-14 * size).all():
            return False
    return True
