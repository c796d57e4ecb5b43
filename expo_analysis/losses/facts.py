r"""What is known of an objective: derived from its terms, or stated by its author where it is a bare formula.

**Convexity.** Terms are composed as in disciplined convex programming (Grant, Boyd and Ye 2006): a convex psi of a
statistic that is affine in the logits is convex; so is a convex psi that never increases of a concave statistic, and
one that never decreases of a convex statistic; sums with non-negative weights of such are convex.

**Self-concordance.** |D3 f[v,v,u]| <= M range(u) D2 f[v,v], the condition of the error bounds. For psi(s), s affine
with derivative c along the logits, sum c = 0, D3 = psi''' (c'v)^2 (c'u) and |c'u| <= range(u) sum_{c_k > 0} c_k, so
that M = M_psi sum_{c_k > 0} c_k. A log-probability is a logit minus a log-sum-exp, which has M = 1 (a third cumulant is
at most the range times the variance); a straight line in it has the same. Sums with non-negative weights take the
largest. A psi that never increases, of a concave statistic s = sum c_k log pi_k, C = sum c > 0, has

    D3[v,v,u] = psi''' s_v^2 s_u + psi'' (s_vv s_u + 2 s_vu s_v) + psi' s_vvu

with s_vv = -C Var(v), |s_vu| <= C sd(v) range(u)/2, |s_vvu| <= C Var(v) range(u) and |s_u| <= P range(u), P the sum of
the positive coefficients; and psi'' <= M_psi |psi'|, as psi'' falls by no more than exp(-M_psi) a unit and |psi'| is at
least its integral. So M = M_psi P + 1 + sqrt(M_psi C)/2 will do: the last part is 2ab <= a^2 + b^2 for psi'' s_vu s_v.
The same holds for a psi that never decreases of a convex statistic. [ours]

**Scores.** Where all terms read mu(u_w) - mu(u_l) for one mu = f', and there is no regulariser, the objective is convex
in the scores s = mu(u) if its psis are, for whatever mu.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from .._types import Floats
from ..divergences import Divergence, ReverseKL
from .data import LOG_PROBABILITIES, Data, Datum, evaluate
from .psi import Linear, Psi, Slopes, Square
from .stated import seen_decay
from .statistics import SLOTS, Linked, Statistic, is_number, of_even_lengths
from .terms import Sum, Term, bound

if TYPE_CHECKING:
    from .base import PairObjective


@dataclass(frozen=True)
class Claims:
    """What the author of a bare formula states of it; solvers rely on it, and the audit tries to refute it.

    An objective that is made of terms states nothing: its ``claims`` are derived. At the policy that it finds `solve`
    checks what a few calls tell: couples_pairs and log_ratio_only on the pairs, and convexity between there and the
    reference or the even policy. It trusts the rest: convex elsewhere, self_concordance, and ``ratio_slopes``.

    convex            convex in the logits of a softmax policy, whatever the pairs
    closed_form       not read any more
    needs_reference   the pair loss reads the reference's log-probabilities
    log_ratio_only    the pair loss depends on log pi_w - log pi_l alone, not on how much mass the pair has
    self_concordance  the least known M with |D3 f[v,v,u]| <= M range(u) D2 f[v,v] in the logits, the condition of the
                      error bounds; 0 for quadratics, None where no such M is known
    couples_pairs     the loss is one of a whole batch, and no sum over its pairs: it has no risk and no optimum here
    """

    convex: bool
    closed_form: bool
    needs_reference: bool
    log_ratio_only: bool
    self_concordance: Any = None
    couples_pairs: bool = False


class BoundTerm(NamedTuple):
    """A term with its parameters evaluated: weight psi(scale (sum c atom - centre) - offset)."""

    psi: Psi
    weight: Any
    scale: Any
    statistic: Statistic

    @classmethod
    def of(cls, term: Term, datum: Datum) -> BoundTerm:
        """At these data."""
        weight, scale = evaluate(term.weight, datum), evaluate(term.statistic.scale, datum)
        return cls(bound(term.psi, datum), weight, scale, term.statistic)

    @property
    def is_likelihood(self) -> bool:
        """Whether it is a straight line in log-probabilities that do not add up to a log-ratio."""
        return is_likelihood(self.psi, self.statistic)


class Facts:
    """What is known of an objective of pairs; every consumer of an objective reads this, and nothing else.

    Facts of terms are derived. ``datum`` gives the data that parameters depend on; without it they are looked at over a
    wide range of data.
    """

    couples_pairs = False

    def __init__(self, terms: Sum, regulariser: Divergence | None, datum: Datum | None = None) -> None:
        self.datum = anything() if datum is None else datum
        even = (dataclasses.replace(t, statistic=of_even_lengths(t.statistic, self.datum)) for t in terms)
        self.terms, self.regulariser, self.reads = Sum(tuple(even)).merged, regulariser, terms.reads

    @cached_property
    def needs_reference(self) -> bool:
        """Whether the pair loss reads the reference's log-probabilities."""
        return any(name.startswith("ref_") for name in self.reads)

    @cached_property
    def log_ratio_only(self) -> bool:
        """Whether the pair loss depends on the policy through log pi_w - log pi_l alone."""
        return all(of_log_ratio(term.statistic) is not None for term in self.terms)

    @cached_property
    def link(self) -> Divergence | None:
        """The divergence whose mu all terms read, as mu(u_w) - mu(u_l); None where there is none, or a regulariser."""
        found = {of_link(term.statistic) for term in self.terms}
        return found.pop() if len(found) == 1 and self.regulariser is None else None

    @cached_property
    def bound(self) -> tuple[BoundTerm, ...]:
        """The terms at the data."""
        return tuple(BoundTerm.of(term, self.datum) for term in self.terms)

    @cached_property
    def psis_convex(self) -> bool:
        """Whether every psi is convex and has a weight that is not negative."""
        return all(term.psi.convex and _at_least_0(term.weight) for term in self.bound)

    @cached_property
    def convex(self) -> bool:
        """Whether the objective is known to be convex in the logits, whatever the pairs."""
        regulariser = self.regulariser is None or self.regulariser.convex_in_logits
        return regulariser and self.psis_convex and all(map(_composes, self.bound))

    @cached_property
    def self_concordance(self) -> Any:
        """The least known M in the logits; None where there is none."""
        if not self.convex:
            return None
        known = [_concordance(term) for term in self.bound]
        known += [] if self.regulariser is None else [self.regulariser.self_concordance]
        return None if any(m is None for m in known) else largest([*known, 0.0])

    @cached_property
    def score_concordance(self) -> Any:
        """The least known M in the scores, where ``link`` is one and the psis are convex; None where there is none."""
        if self.link is None or not self.psis_convex or any(t.psi.self_concordance is None for t in self.bound):
            return None
        return largest([t.psi.self_concordance * abs(t.scale) * _steepness(t.statistic) for t in self.bound])

    @cached_property
    def likelihood(self) -> dict[str, Any]:
        """a by slot, where terms add up to -sum_slot a log pi_slot with a >= 0, beside terms of log-ratios."""
        found: dict[str, Any] = {}
        for term in self.bound:
            if term.is_likelihood:
                for c, atom in term.statistic.parts:
                    assert isinstance(term.psi, Linear)
                    found[atom.slot] = found.get(atom.slot, 0.0) - term.weight * term.psi.slope * term.scale * c
        return found if all(map(_at_least_0, found.values())) else {}

    @cached_property
    def general(self) -> bool:
        """Whether there is more to the pair loss than terms of log-ratios and a likelihood."""
        return any(of_log_ratio(t.statistic) is None and not (t.is_likelihood and self.likelihood) for t in self.bound)

    @cached_property
    def _steps(self) -> list[tuple[BoundTerm, Any]] | None:
        """The terms of log-ratios, or of scores' differences, and dm/d(x_w - x_l) of each; None beside other terms."""
        if self.link is not None:
            return [(term, term.scale * _winner_coefficient(term.statistic)) for term in self.bound]
        if self.general:
            return None
        ratios = [(term, of_log_ratio(term.statistic)) for term in self.bound]
        return [(term, term.scale * step) for term, step in ratios if step is not None]

    @cached_property
    def slopes(self) -> Slopes | None:
        """Limits at -inf and +inf of the slope in the log-ratio, or in the scores' difference, beside a likelihood."""
        left: Any = 0.0
        right: Any = 0.0
        if self._steps is None or any(term.psi.slopes is None for term, _ in self._steps):
            return None
        with np.errstate(invalid="ignore"):  # inf - inf, of which nothing is known
            for term, step in self._steps:
                assert term.psi.slopes is not None
                size = np.asarray(term.weight * abs(step))
                # what does not move the statistic has no slope, even where psi's is infinite
                ends = [np.where(size == 0, 0.0, size * np.asarray(end)) for end in term.psi.slopes]
                forward = np.asarray(step) >= 0
                left = left + np.where(forward, ends[0], -ends[1])
                right = right + np.where(forward, ends[1], -ends[0])
        return None if np.isnan(left).any() or np.isnan(right).any() else (left, right)

    @cached_property
    def decay(self) -> tuple[float, float] | None:
        """Rates in the log-ratio (or scores' difference) at which the loss nears straight lines at -inf and +inf."""
        left, right = math.inf, math.inf
        if self._steps is None or any(None in term.psi.decay for term, _ in self._steps):
            return None
        for term, step in self._steps:
            slowest = float(np.min(np.abs(step)))
            low, high = (math.inf if rate == math.inf else (rate or 0.0) * slowest for rate in term.psi.decay)
            if not _at_least_0(step):  # turned over, somewhere at least
                low, high = (high, low) if _at_least_0(-step) else (min(low, high),) * 2
            left, right = min(left, low), min(right, high)
        return left, right

    @cached_property
    def lower_bound(self) -> Any:
        """A number below every value of the pair loss; None where none is known."""
        if any(t.psi.lower_bound is None or not _at_least_0(t.weight) for t in self.bound):
            return None
        return sum(t.weight * t.psi.lower_bound for t in self.bound)

    @cached_property
    def log_odds_scale(self) -> Any:
        """c, where c (x_w - x_l) = log p/(1-p) and nothing else minimises the expected loss of every pair; or None."""
        if self._steps is None or self.likelihood or len({_reads_reference(t.statistic) for t in self.bound}) != 1:
            return None
        if any(isinstance(t.weight, Data) or t.psi.reads or isinstance(t.statistic.scale, Data) for t in self.terms):
            return None  # what differs between the two directions of a pair moves its minimum
        found: list[Any] = []
        for term, step in self._steps:
            plain = is_number(term.statistic.centre, 0) and is_number(term.statistic.offset, 0)
            known = term.psi.is_least_at_log_odds_alone and bool(np.all(np.asarray(term.weight) > 0))
            if not (plain and known and np.all(step != 0)) or _reads_reference(term.statistic) is None:
                return None
            found.append(term.psi.log_odds_scale * step)
        return found[0] if all(np.array_equal(found[0], other) for other in found) else None

    @cached_property
    def closed_form(self) -> bool:
        """Whether a Bradley-Terry population's optimum is known up to a root, over connected pairs."""
        if self.regulariser is not None:
            return False
        if self.likelihood:
            return all(term.is_likelihood for term in self.bound)
        reached = self.log_ratio_only or (self.link is not None and self.link.mu_at_zero == -math.inf)
        squares = all(type(term.psi) is Square for term in self.bound)
        return bool(reached and (squares or self.log_odds_scale is not None))

    def claims(self) -> Claims:
        """The facts that `Claims` has fields for."""
        return Claims(
            self.convex, self.closed_form, self.needs_reference, self.log_ratio_only, self.self_concordance, False
        )


class StatedFacts(Facts):
    """Facts of a bare formula: what its author claims, and nothing else."""

    def __init__(self, objective: PairObjective) -> None:
        self.terms, self.regulariser, self.stated = Sum(()), objective.regulariser, objective.claims
        self.objective = objective

    needs_reference = property(lambda self: self.stated.needs_reference)
    log_ratio_only = property(lambda self: self.stated.log_ratio_only)
    couples_pairs = property(lambda self: self.stated.couples_pairs)
    convex = property(lambda self: self.stated.convex)
    self_concordance = property(lambda self: self.stated.self_concordance)
    slopes = property(lambda self: self.objective.ratio_slopes())
    link = score_concordance = lower_bound = log_odds_scale = None
    psis_convex = closed_form = False
    likelihood: ClassVar[dict[str, Any]] = {}
    general = True

    @cached_property
    def decay(self) -> tuple[float, float] | None:
        """As seen: flat far out, or not."""
        ends = self.objective.ratio_slopes()
        if ends is None:
            return None
        one = self.objective.with_lam(1.0)
        others = range(len(LOG_PROBABILITIES) - 1 + len(one.data))
        return seen_decay(lambda x: one.pair_loss(x, *(0.0 * x + (k > 2) for k in others)), ends)


def anything() -> Datum:
    """Log-probabilities of a few pairs, from likely to hardly possible, in every order, and as varied rewards.

    The shape is (pairs, 1). Responses are of one token: log-probabilities are then what a loss takes them for, even if
    somebody has averaged them before.
    """
    return {name: values.copy() for name, values in _anything().items()}


@cache
def _anything() -> dict[str, Floats]:
    levels = -np.array([1e-3, 1.0, 30.0, 700.0])
    grid = np.stack(np.meshgrid(levels, levels), axis=0).reshape(2, -1, 1)
    rewards, one = grid[::-1], np.ones_like(grid[0])
    return {
        **{"logp_w": grid[0], "logp_l": grid[1], "ref_logp_w": grid[1], "ref_logp_l": grid[0]},
        **{"length_l": one, "length_w": one, "reward_l": rewards[0], "reward_w": rewards[1]},
        **{"liked_w": 0.5 * one, "disliked_l": 0.5 * one},
        **{"logp_t": grid[0][::-1], "ref_logp_t": grid[1][::-1]},
    }


def largest(values: list[Any]) -> Any:
    """The largest of numbers and arrays, by position."""
    top = values[0]
    for value in values[1:]:
        top = np.maximum(top, value)
    return top


def is_likelihood(psi: Psi, statistic: Statistic) -> bool:
    """Whether psi(statistic) is a straight line in a pair's log-probabilities that do not add up to a log-ratio."""
    plain = all(atom.plain and atom.slot in SLOTS for _, atom in statistic.parts)
    return isinstance(psi, Linear) and plain and of_log_ratio(statistic) is None


def of_log_ratio(statistic: Statistic) -> float | None:
    """c of a statistic that is c log pi_w/pi_l but for what does not depend on the policy; None for any other."""
    pair = all(atom.slot in SLOTS for _, atom in statistic.parts)
    return _winner_coefficient(statistic) if pair and is_affine(statistic) else None


def is_affine(statistic: Statistic) -> bool:
    """Whether it is affine in the logits, whose normaliser cancels."""
    if not all(atom.plain for _, atom in statistic.parts):
        return False
    total, size = (sum(f(c) for c, _ in statistic.parts) for f in (float, abs))
    return abs(total) <= 1e-15 * size  # coefficients such as 0.1 and 1 - 0.1 are rounded


def of_link(statistic: Statistic) -> Divergence | None:
    """The divergence of a statistic that is c (mu(u_w) - mu(u_l)), c > 0; None for any other."""
    if of_log_ratio(statistic) is not None:
        return ReverseKL() if all(atom.relative for _, atom in statistic.parts) else None
    links = {atom.divergence for _, atom in statistic.parts if isinstance(atom, Linked)}
    plain = all(isinstance(atom, Linked) for _, atom in statistic.parts)
    return links.pop() if plain and len(links) == 1 and sum(c for c, _ in statistic.parts) == 0 else None


def _steepness(statistic: Statistic) -> float:
    """The sum of the positive coefficients."""
    return sum(c for c, _ in statistic.parts if c > 0)


def _winner_coefficient(statistic: Statistic) -> float:
    return sum(c for c, atom in statistic.parts if atom.slot == "w")


def _reads_reference(statistic: Statistic) -> bool | None:
    """Whether its atoms are relative to the reference; None where some are and some are not."""
    found = {atom.relative for _, atom in statistic.parts}
    return found.pop() if len(found) == 1 else None


def bend(statistic: Statistic, scale: Any) -> str:
    """``"affine"``, ``"concave"``, ``"convex"`` or ``"unknown"``: a statistic as a function of the logits."""
    if is_affine(statistic):
        return "affine"
    plain = sum(c for c, atom in statistic.parts if atom.plain)
    others = [c for c, atom in statistic.parts if not atom.plain]
    if any(atom.curvature != "concave" for _, atom in statistic.parts):
        return "unknown"
    if plain >= 0 and all(c >= 0 for c in others):
        kind = "concave"
    elif plain <= 0 and all(c <= 0 for c in others):
        kind = "convex"
    else:
        return "unknown"
    if _at_least_0(scale):
        return kind
    return {"concave": "convex", "convex": "concave"}[kind] if _at_least_0(-scale) else "unknown"


def _composes(term: BoundTerm) -> bool:
    """Whether a convex psi of the statistic is convex in the logits."""
    kind = bend(term.statistic, term.scale)
    falls_of_concave = kind == "concave" and term.psi.decreasing
    return kind == "affine" or falls_of_concave or (kind == "convex" and term.psi.increasing)


def _concordance(term: BoundTerm) -> Any:
    """M of a convex term in the logits; None where none is known."""
    psi, statistic = term.psi, term.statistic
    if bend(statistic, term.scale) == "affine":
        return None if psi.self_concordance is None else psi.self_concordance * abs(term.scale) * _steepness(statistic)
    if not all(atom.plain for _, atom in statistic.parts):
        return None
    if isinstance(psi, Linear):
        return 1.0
    if psi.self_concordance is None:
        return None
    m, size = psi.self_concordance, abs(term.scale)
    total, positive = sum(c for c, _ in statistic.parts), _steepness(statistic)
    return m * size * max(positive, positive - total) + 1 + (m * size * abs(total)) ** 0.5 / 2


def _at_least_0(value: Any) -> bool:
    return bool(np.all(np.asarray(value) >= 0))
