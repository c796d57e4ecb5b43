"""What premises of theorems read off a loss's formula, at every lambda at once.

Terms are made with a lambda that remembers how it is used (`InLambda`): what has numbers only is the same for all
lambdas, and what reads lambda times scores only is told by its coefficients. Populations are of pairs, with responses
of one token each: a third response is the winner, and means over tokens are what they are means of.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ...divergences import DIVERGENCES, Alpha, Divergence, ForwardKL
from ...losses import Facts, Objective, PairObjective, RewardObjective
from ...losses.data import Datum
from ...losses.of_pairs import OfPairs, can_be_of_pairs
from ...losses.psi import Logistic
from ...losses.statistics import h, linked, of_means
from ...losses.terms import Sum, Term
from ..subject import facts_of
from .in_lambda import InLambda
from .parts import TRIED, CannotTell, DataRead, Part, agree, data_read, parts_of
from .scores import Link, UnitTerm, link_of, rises, score_weight
from .signs import Sign, Unknown


class Formula:
    """The formula of a loss as theorems see it. Every property is False, or None, where it cannot be told."""

    def __init__(self, objective: Objective) -> None:
        third = isinstance(objective, PairObjective) and can_be_of_pairs(objective)
        self.objective: Objective = OfPairs(objective.lam, objective) if third else objective  # type: ignore[arg-type]

    @cached_property
    def facts(self) -> Facts:
        """What is known at the loss's own lambda, which is what is known at every other."""
        return facts_of(self.objective)

    @cached_property
    def facts_at_1(self) -> Facts:
        """What is known at lambda = 1."""
        return facts_of(self.objective.with_lam(1.0))

    @cached_property
    def is_reward_objective(self) -> bool:
        """Whether it is an expected reward with a divergence, whose formula below is that of the fit to pairs."""
        return isinstance(self.objective, RewardObjective)

    @cached_property
    def symbolic(self) -> tuple[Sum, Divergence | None] | None:
        """The terms and the divergence with a lambda that remembers; None for a loss that is no sum of terms."""
        if isinstance(self.objective, RewardObjective):
            if type(self.objective).reward_terms is not RewardObjective.reward_terms:
                return None
            divergence = self.objective.regulariser
            if type(divergence) not in DIVERGENCES.values() or not self._has_one_divergence:
                return None  # one of somebody's own need not have mu for its f'
            return Logistic()(InLambda.itself() * linked(divergence)), None
        if not (isinstance(self.objective, PairObjective) and self.objective.states_terms):
            return None
        try:
            anywhere = self.objective.with_lam(InLambda.itself())
            terms, regulariser = anywhere.terms, anywhere.regulariser
        except Exception:  # somebody's terms may do anything with lambda
            return None
        if terms is None or regulariser != self.objective.regulariser:
            return None
        return Sum(tuple(Term(t.psi, of_means(t.statistic), t.weight) for t in terms)), regulariser

    @cached_property
    def _has_one_divergence(self) -> bool:
        """Whether a reward objective's divergence is the same at all lambdas."""
        assert isinstance(self.objective, RewardObjective)
        try:
            anywhere = self.objective.with_lam(InLambda.itself())
        except Exception:  # somebody's class may do anything with lambda
            return False
        return bool(anywhere.regulariser == self.objective.regulariser)

    @cached_property
    def regulariser(self) -> Divergence | None:
        """The divergence that lambda weighs."""
        return None if self.symbolic is None else self.symbolic[1]

    @cached_property
    def derives(self) -> bool:
        """Whether the loss computes further numbers of the responses, which may depend on anything."""
        objective = getattr(self.objective, "of", self.objective)
        return isinstance(objective, PairObjective) and type(objective).derived is not PairObjective.derived

    @cached_property
    def parts(self) -> list[list[Part]] | None:
        """The terms at various data, by datum; None where what they do with lambda cannot be told."""
        if self.symbolic is None or self.derives:
            return None
        try:
            found = parts_of(self.symbolic[0])
            return found if all(agree(found, self.terms_at(lam), lam) for lam in TRIED) else None
        except CannotTell:
            return None

    @cached_property
    def data_read(self) -> DataRead | None:
        """What the terms make of data at lambda = 1; None where that cannot be told."""
        try:
            return None if self.parts is None else data_read(self.terms_at(1.0))
        except CannotTell:
            return None

    @cached_property
    def numeric(self) -> list[list[Part]]:
        """The terms at lambda = 1, at the same data: what their psis state of themselves is read off these."""
        return parts_of(self.terms_at(1.0))

    def numeric_at(self, datum: Datum) -> list[Part]:
        """The terms at lambda = 1 at one datum."""
        (found,) = parts_of(self.terms_at(1.0), [datum])
        return found

    def terms_at(self, lam: float) -> Sum:
        """The terms at one lambda."""
        objective = self.objective.with_lam(lam)
        if isinstance(objective, RewardObjective):
            return Logistic()(lam * linked(objective.regulariser))
        assert isinstance(objective, PairObjective) and objective.terms is not None
        return Sum(tuple(Term(t.psi, of_means(t.statistic), t.weight) for t in objective.terms))

    # ------------------------------------------------------------------------------- terms that do not see lambda

    @cached_property
    def is_fixed(self) -> bool:
        """Whether no term depends on lambda."""
        return self.parts is not None and all(part.is_fixed for at in self.parts for part in at)

    @cached_property
    def reads_reference(self) -> bool:
        """Whether the optimum may depend on the reference, at any lambda."""
        if self.derives or self.facts.needs_reference or self.facts.regulariser is not None:
            return True
        assert isinstance(self.objective, PairObjective)
        try:  # as it is made with any lambda, by what it is made of, or claims
            anywhere = self.objective.with_lam(Sign(1))
            terms = anywhere.terms if self.objective.states_terms else None
            reads = anywhere.claims.needs_reference if terms is None else Facts(terms, None).needs_reference
            return bool(reads) or anywhere.regulariser is not None
        except Unknown:  # that depends on lambda
            return True
        except Exception:  # somebody's code, which may want a number
            return any(facts_of(self.objective.with_lam(lam)).needs_reference for lam in TRIED)

    @cached_property
    def is_bounded_below(self) -> bool:
        """Whether every term is bounded below over all policies."""
        return self.is_fixed and all(part.is_bounded_below for at in self.numeric for part in at)

    @cached_property
    def has_catalogued_divergence(self) -> bool:
        """Whether lambda weighs a divergence of this package: 0 at pi_ref, and positive elsewhere."""
        return type(self.regulariser) in DIVERGENCES.values() and not self.is_reward_objective

    @cached_property
    def is_explicit(self) -> bool:
        """Whether it is a loss of h with Bradley-Terry's margins, least at pi* alone, and lambda times a divergence."""
        if not (self.is_fixed and self.has_catalogued_divergence and self.symbolic is not None):
            return False
        if any(term.statistic.base not in (h.base, (-h).base) for term in self.symbolic[0]):
            return False
        scale = self.facts.log_odds_scale
        return scale is not None and bool(np.all(np.asarray(scale) == 1.0)) and self._rises_in_h

    @cached_property
    def _rises_in_h(self) -> bool:
        return all(rises([UnitTerm.of(part) for part in at]) for at in self.numeric)

    @cached_property
    def is_expo(self) -> bool:
        """Whether it is explicit, with a convex loss of pairs and the forward KL."""
        forward = type(self.regulariser) is ForwardKL or self.regulariser == Alpha(1.0)
        return self.is_explicit and forward and self.facts.psis_convex

    # -------------------------------------------------------------------------------- terms of lambda times scores

    @cached_property
    def score_parts(self) -> list[list[Part]] | None:
        """The terms that depend on lambda, by datum, if these read lambda times scores and nothing else; else None.

        They are w(lambda), of one sign, times a function of lambda mu(u), or lambda g(pi). Where there are further
        terms, which then do not see lambda, w is a constant. None also where lambda weighs a divergence.
        """
        if self.parts is None or self.regulariser is not None:
            return None
        if _are_scores(self.parts, alone=True):
            return self.parts
        moving = [[part for part in at if not part.is_fixed] for at in self.parts]
        return moving if _are_scores(moving, alone=False) else None

    @cached_property
    def link(self) -> Link | None:
        """The one function whose values at u, or at pi, are the scores."""
        if self.score_parts is None:
            return None
        found = {link_of(atom) for at in self.score_parts for part in at for _, atom in part.coefficients}
        return found.pop() if len(found) == 1 else None

    @cached_property
    def unit(self) -> list[list[UnitTerm]] | None:
        """The terms of scores at lambda = 1, by datum."""
        if self.score_parts is None or self.parts is None:
            return None
        chosen = [[part in own for part in at] for at, own in zip(self.parts, self.score_parts, strict=True)]
        numeric = zip(self.numeric, chosen, strict=True)
        return [[UnitTerm.of(p) for p, is_score in zip(at, own, strict=True) if is_score] for at, own in numeric]

    @cached_property
    def rest(self) -> list[list[Part]]:
        """The other terms, by datum, which do not depend on lambda."""
        if self.parts is None or self.score_parts is None:
            return []
        chosen = [[part not in own for part in at] for at, own in zip(self.parts, self.score_parts, strict=True)]
        numeric = zip(self.numeric, chosen, strict=True)
        return [[p for p, is_other in zip(at, others, strict=True) if is_other] for at, others in numeric]

    @cached_property
    def leading(self) -> tuple[Link, list[list[UnitTerm]]] | None:
        """The score, and the terms at lambda = 1, by datum, of those that outweigh all others as lambda -> 0.

        They are w(lambda) psi(lambda scores - constant) with one w > 0, up to constants. The others read the same
        scores, with slopes in lambda scores that are bounded and, divided by w, tend to 0: so beside squares of
        log u - 1/(2 lambda), where w = 1/lambda^2, -log sigma(hbar), whose slope is at most 1/lambda.
        """
        if self.parts is None or self.regulariser is not None:
            return None
        chosen = [_leading(at) for at in self.parts]
        if any(own is None for own in chosen):
            return None
        parts = [[part for part in at if part in own] for at, own in zip(self.parts, chosen, strict=True) if own]
        if len(parts) != len(self.parts) or not _are_scores(parts, alone=True):
            return None
        (link,) = {link_of(atom) for at in parts for part in at for _, atom in part.coefficients}
        numeric = [
            [UnitTerm.of(n) for n, part in zip(own, at, strict=True) if part in kept]
            for own, at, kept in zip(self.numeric, self.parts, parts, strict=True)
        ]
        return None if link is None else (link, numeric)

    @cached_property
    def is_of_scores(self) -> bool:
        """Whether the whole loss reads lambda times scores only, with a score that tends to -inf where pi does to 0."""
        return self.unit is not None and not any(self.rest) and self.link is not None and self.link.lowest == -np.inf

    @cached_property
    def is_of_score_differences(self) -> bool:
        """Whether it also reads differences of scores only, of winner and loser."""
        return self.is_of_scores and self.unit is not None and all(t.is_difference for at in self.unit for t in at)

    @cached_property
    def has_bradley_terry_margins(self) -> bool:
        """Whether it reads differences of scores, and every pair is content at a positive multiple of its log-odds."""
        scale = self.facts_at_1.log_odds_scale
        return self.is_of_score_differences and scale is not None and bool(np.all(np.asarray(scale) > 0))


def _leading(parts: list[Part]) -> list[Part] | None:
    """The parts that outweigh the others as lambda -> 0; None where there are none, or that cannot be told."""
    weights = [(part, score_weight(part)) for part in parts]
    of_scores = [(part, w) for part, w in weights if w is not None]
    for _, most in of_scores:
        kept = [part for part, w in of_scores if (w / most).constant is not None]
        others = [part for part in parts if part not in kept]
        atoms = {link_of(atom) for part in parts for _, atom in part.coefficients}
        if len(atoms) == 1 and all(_vanishes(part, most) for part in others):
            return kept
    return None


def _vanishes(part: Part, weight: InLambda) -> bool:
    """Whether the slopes of a part in lambda scores are bounded and, divided by a weight, tend to 0 as lambda does."""
    slopes = part.psi.slopes
    if slopes is None or part.moving or not part.psi.convex or not np.isfinite(slopes).all():
        return False
    sizes = (part.weight * c / (weight * InLambda.itself()) for c, _ in part.coefficients)
    limits = [size.limit("zero") for size in sizes]
    return all(limit is not None and limit.constant == 0 for limit in limits)


def _are_scores(parts: list[list[Part]], alone: bool) -> bool:
    """Whether parts read lambda times one score, each with the same function of lambda, but for constants, as a factor;
    that is a constant where they are not alone."""
    weights = [score_weight(part) for at in parts for part in at]
    links = {link_of(atom) for at in parts for part in at for _, atom in part.coefficients}
    if not weights or any(w is None for w in weights) or len(links) != 1:
        return False
    first = weights[0]
    assert first is not None
    same = all(w is not None and (w / first).constant is not None for w in weights)
    return same and (alone or first.constant is not None)
