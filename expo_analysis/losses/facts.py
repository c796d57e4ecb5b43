r"""What is known of an objective: derived from its terms, or stated by its author where it is a bare formula.

**Convexity.** Terms are composed as in disciplined convex programming (Grant, Boyd and Ye 2006): a convex psi of a
statistic that is affine in the logits is convex; so is a convex psi that never increases of a concave statistic, and
one that never decreases of a convex statistic; sums with non-negative weights of such are convex.

**Self-concordance.** |D3 f[v,v,u]| <= M range(u) D2 f[v,v], the condition of the error bounds. For psi(s), s affine
with derivative c along the logits, sum c = 0, D3 = psi''' (c'v)^2 (c'u) and |c'u| <= range(u) sum_{c_k > 0} c_k, so
that M = M_psi sum_{c_k > 0} c_k. A log-probability is a logit minus a log-sum-exp, which has M = 1 (a third cumulant is
at most the range times the variance); a straight line in it has the same. Sums with non-negative weights take the
largest.

**Scores.** Where all terms read mu(u_w) - mu(u_l) for one mu = f', and there is no regulariser, the objective is convex
in the scores s = mu(u) if its psis are, for whatever mu.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..divergences import Divergence, ForwardKL, ReverseKL
from .data import Datum, evaluate
from .psi import Linear, Psi, Slopes, Square
from .stated import seen_decay
from .statistics import Linked, Shortfall, Statistic, is_number
from .terms import Sum, bound

if TYPE_CHECKING:
    from .base import PairObjective


@dataclass(frozen=True)
class Claims:
    """What the author of a bare formula states of it; solvers rely on it, and the audit tries to refute it.

    An objective that is made of terms states nothing: its ``claims`` are derived.

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


class Facts:
    """What is known of an objective of pairs; every consumer of an objective reads this, and nothing else.

    Facts of terms are derived. ``datum`` gives the data that parameters depend on; without it they are looked at over a
    wide range of data.
    """

    couples_pairs = False

    def __init__(self, terms: Sum, regulariser: Divergence | None, datum: Datum | None = None) -> None:
        self.terms, self.regulariser = terms.merged, regulariser
        self.datum = anything() if datum is None else datum

    @cached_property
    def needs_reference(self) -> bool:
        """Whether the pair loss reads the reference's log-probabilities."""
        return any(name.startswith("ref_") for name in self.terms.reads)

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
    def bound(self) -> tuple[tuple[Psi, Any, Any, Statistic], ...]:
        """psi, weight and scale of each term at the data, and its statistic."""
        return tuple(
            (
                bound(t.psi, self.datum),
                evaluate(t.weight, self.datum),
                evaluate(t.statistic.scale, self.datum),
                t.statistic,
            )
            for t in self.terms
        )

    @cached_property
    def psis_convex(self) -> bool:
        """Whether every psi is convex and has a weight that is not negative."""
        return all(psi.convex and _everywhere_at_least_0(weight) for psi, weight, *_ in self.bound)

    @cached_property
    def convex(self) -> bool:
        """Whether the objective is known to be convex in the logits, whatever the pairs."""
        regulariser = self.regulariser is None or self.regulariser.convex_in_logits
        return regulariser and self.psis_convex and all(_composes(psi, s, stat) for psi, _, s, stat in self.bound)

    @cached_property
    def self_concordance(self) -> Any:
        """The least known M in the logits; None where there is none."""
        if not self.convex:
            return None
        known = [_concordance(psi, scale, statistic) for psi, _, scale, statistic in self.bound]
        known += [] if self.regulariser is None else [self.regulariser.self_concordance]
        return None if any(m is None for m in known) else largest([*known, 0.0])

    @cached_property
    def score_concordance(self) -> Any:
        """The least known M in the scores, where ``link`` is one and the psis are convex; None where there is none."""
        if self.link is None or not self.psis_convex:
            return None
        known = [psi.self_concordance for psi, *_ in self.bound]
        if any(m is None for m in known):
            return None
        return largest([m * abs(s) * _steepness(stat) for m, (_, _, s, stat) in zip(known, self.bound, strict=True)])

    @cached_property
    def slopes(self) -> Slopes | None:
        """Limits at -inf and +inf of the pair loss's slope in the log-ratio, or in the scores' difference."""
        left: Any = 0.0
        right: Any = 0.0
        for psi, weight, scale, statistic in self.bound:
            step = (
                of_log_ratio(statistic) if self.log_ratio_only else of_link(statistic) and _steepness(statistic, True)
            )
            if step is None or psi.slopes is None:
                return None
            ends = [weight * abs(scale * step) * np.asarray(end) for end in psi.slopes]
            forward = np.asarray(scale * step) >= 0
            left = left + np.where(forward, ends[0], -ends[1])
            right = right + np.where(forward, ends[1], -ends[0])
        return left, right

    def _step(self, statistic: Statistic) -> float | None:
        """The factor of a statistic's log-ratio, or of its scores' difference."""
        if self.log_ratio_only:
            return of_log_ratio(statistic)
        return _steepness(statistic, True) if of_link(statistic) is not None else None

    @cached_property
    def likelihood(self) -> dict[str, Any]:
        """a by slot, where terms add up to -sum_slot a log pi_slot with a >= 0, beside terms of log-ratios."""
        found: dict[str, Any] = {}
        for psi, weight, scale, stat in self.bound:
            if is_likelihood(psi, stat):
                for coefficient, atom in stat.parts:
                    found[atom.slot] = found.get(atom.slot, 0.0) - weight * psi.slope * scale * coefficient  # type: ignore[attr-defined]
        return found if all(_everywhere_at_least_0(a) for a in found.values()) else {}

    @cached_property
    def general(self) -> bool:
        """Whether there is more to the pair loss than terms of log-ratios and a likelihood."""
        return not all(
            of_log_ratio(stat) is not None or (is_likelihood(psi, stat) and self.likelihood)
            for psi, *_, stat in self.bound
        )

    @cached_property
    def decay(self) -> tuple[float, float] | None:
        """Rates in the log-ratio (or scores' difference) at which the loss nears straight lines at -inf and +inf."""
        left, right = math.inf, math.inf
        for psi, _, scale, statistic in self.bound:
            step = self._step(statistic)
            if step is None or None in psi.decay:
                return None
            rates = [(rate or 0.0) * float(np.min(np.abs(scale * step))) for rate in psi.decay]
            low, high = rates if np.all(np.asarray(scale * step) >= 0) else rates[::-1]
            left, right = min(left, low), min(right, high)
        return left, right

    @cached_property
    def lower_bound(self) -> Any:
        """A number below every value of the pair loss; None where none is known."""
        known = [psi.lower_bound for psi, *_ in self.bound]
        if any(low is None for low in known) or not all(_everywhere_at_least_0(weight) for _, weight, *_ in self.bound):
            return None
        return sum(weight * low for low, (_, weight, *_) in zip(known, self.bound, strict=True))

    @cached_property
    def log_odds_scale(self) -> Any:
        """c, where c (x_w - x_l) = log p/(1-p) minimises the expected loss of every pair, or None."""
        found: list[Any] = []
        for psi, weight, scale, stat in self.bound:
            step = self._step(stat)
            plain = is_number(stat.centre, 0) and is_number(stat.offset, 0)
            if step is None or not plain or psi.log_odds_scale is None or not _everywhere_at_least_0(weight):
                return None
            found.append(psi.log_odds_scale * step * scale)
        same = all(np.array_equal(found[0], other) for other in found)
        return found[0] if same else None

    @cached_property
    def smooth(self) -> bool:
        """Whether no psi and no atom has a kink."""
        kinks = any(isinstance(atom, Shortfall) for _, _, _, stat in self.bound for _, atom in stat.parts)
        return not kinks and all(psi.linear_pieces is None or isinstance(psi, Linear) for psi, *_ in self.bound)

    @cached_property
    def closed_form(self) -> bool:
        """Whether a Bradley-Terry population's optimum is known up to a root, over connected pairs."""
        if self.regulariser is not None:
            return False
        if self.likelihood:
            return all(is_likelihood(psi, stat) for psi, *_, stat in self.bound)
        reached = self.log_ratio_only or (self.link is not None and self.link.mu_at_zero == -math.inf)
        squares = all(type(psi) is Square for psi, *_ in self.bound)
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
    psis_convex = smooth = closed_form = False
    likelihood: ClassVar[dict[str, Any]] = {}
    general = True

    @cached_property
    def decay(self) -> tuple[float, float] | None:
        """As seen: flat far out, or not."""
        ends = self.objective.ratio_slopes()
        if ends is None:
            return None
        one = self.objective.with_lam(1.0)
        return seen_decay(lambda x: one.pair_loss(x, 0.0 * x, 0.0 * x, 0.0 * x), ends)


def anything() -> Datum:
    """Log-probabilities of a few pairs, from likely to hardly possible, in every order; shape (pairs, 1)."""
    levels = -np.array([1e-3, 1.0, 30.0, 700.0])
    grid = np.stack(np.meshgrid(levels, levels), axis=0).reshape(2, -1, 1)
    return {"logp_w": grid[0], "logp_l": grid[1], "ref_logp_w": grid[1], "ref_logp_l": grid[0]}


def largest(values: list[Any]) -> Any:
    """The largest of numbers and arrays, by position."""
    top = values[0]
    for value in values[1:]:
        top = np.maximum(top, value)
    return top


def is_likelihood(psi: Psi, statistic: Statistic) -> bool:
    """Whether psi(statistic) is a straight line in log-probabilities that do not add up to a log-ratio."""
    plain = all(atom.plain for _, atom in statistic.parts)
    return isinstance(psi, Linear) and plain and of_log_ratio(statistic) is None


def of_log_ratio(statistic: Statistic) -> float | None:
    """c of a statistic that is c log pi_w/pi_l but for what does not depend on the policy; None for any other."""
    if not all(atom.plain for _, atom in statistic.parts) or sum(c for c, _ in statistic.parts) != 0:
        return None
    return sum(c for c, atom in statistic.parts if atom.slot == "w")


def of_link(statistic: Statistic) -> Divergence | None:
    """The divergence of a statistic that is c (mu(u_w) - mu(u_l)), c > 0; None for any other."""
    if of_log_ratio(statistic) is not None:
        return ReverseKL() if all(atom.relative for _, atom in statistic.parts) else None
    links = {atom.divergence for _, atom in statistic.parts if isinstance(atom, Linked)}
    plain = all(isinstance(atom, Linked) for _, atom in statistic.parts)
    return links.pop() if plain and len(links) == 1 and sum(c for c, _ in statistic.parts) == 0 else None


def _steepness(statistic: Statistic, signed: bool = False) -> float:
    """The sum of the positive coefficients; with ``signed``, the winner's coefficient."""
    if signed:
        return sum(c for c, atom in statistic.parts if atom.slot == "w")
    return sum(c for c, _ in statistic.parts if c > 0)


def bend(statistic: Statistic, scale: Any) -> str:
    """``"affine"``, ``"concave"``, ``"convex"`` or ``"unknown"``: a statistic as a function of the logits."""
    if of_log_ratio(statistic) is not None:
        return "affine"
    plain = sum(c for c, atom in statistic.parts if atom.plain)
    others = [c for c, atom in statistic.parts if not atom.plain and atom.curvature == "concave"]
    known = all(atom.curvature == "concave" for _, atom in statistic.parts)
    if known and plain >= 0 and all(c >= 0 for c in others):
        kind = "concave"
    elif known and plain <= 0 and all(c <= 0 for c in others):
        kind = "convex"
    else:
        return "unknown"
    if _everywhere_at_least_0(scale):
        return kind
    return {"concave": "convex", "convex": "concave"}[kind] if _everywhere_at_least_0(-scale) else "unknown"


def _composes(psi: Psi, scale: Any, statistic: Statistic) -> bool:
    kind = bend(statistic, scale)
    return kind == "affine" or (kind == "concave" and psi.decreasing) or (kind == "convex" and psi.increasing)


def _concordance(psi: Psi, scale: Any, statistic: Statistic) -> Any:
    """M of a convex term in the logits; None where none is known."""
    if bend(statistic, scale) == "affine":
        return None if psi.self_concordance is None else psi.self_concordance * abs(scale) * _steepness(statistic)
    plain = all(atom.plain for _, atom in statistic.parts)
    return 1.0 if plain and isinstance(psi, Linear) else None


def _everywhere_at_least_0(value: Any) -> bool:
    return bool(np.all(np.asarray(value) >= 0))
