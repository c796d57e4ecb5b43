"""A batch of small problems over one set of responses, in the form that solvers want, and its derivatives.

**Axes.** Outside of this room policies are (..., prompts, responses). A `Problem` has the responses first and the batch
last, (n, B), so that every step of a solver runs over contiguous problems; what belongs to ordered pairs that carry
weight is (E, B), what belongs to unordered pairs (n(n-1)/2, B), in the order of `laplacian.pairs`. `Problem.cut` is the
one transposition in, `solve` the one transposition out.

**Parts.** The terms of a loss fall into four kinds, each with its own derivatives:

    sum_e weight_e psi(slope (x_w - x_l) - shift)          pair parts: x are logits, logits less log pi_ref, or scores
    - sum_i target_i log pi_i                              a cross-entropy: forward KL, and likelihoods of winners
    sum_e weight_e loss(log pi_w, log pi_l)                anything else, term by term, or by torch for a bare formula
    strength D(pi, pi_ref)                                 any other divergence

The chain rule from there to the logits is written here, once, for all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ..bandit import Bandit
from ..divergences import Divergence, ForwardKL
from ..losses.base import Objective, PairObjective, RewardObjective
from ..losses.data import Datum, evaluate
from ..losses.facts import Facts, StatedFacts, is_likelihood, of_log_ratio
from ..losses.psi import Logistic, Psi
from ..losses.statistics import is_number
from ..losses.terms import Term, bound
from ..numerics import by_torch
from .laplacian import incidence, pairs

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Edges:
    """The ordered pairs (winner, loser), shape (E,) each, that carry weight among n responses.

    Its sparse matrices sum what belongs to edges, (E, B), over those that share an end or a pair.
    """

    n: int
    winner: Indices
    loser: Indices

    @classmethod
    def of(cls, support: NDArray[np.bool_]) -> Edges:
        """The edges where ``support`` (n, n) holds; the last ones are kept, with their matrices."""
        return _edges(len(support), support.tobytes())

    @property
    def ends(self) -> tuple[Indices, Indices]:
        return self.winner, self.loser

    @cached_property
    def to_winner(self) -> csr_array:
        """Sums over the edges of each winner, (n, E)."""
        return self._sums(self.winner, np.ones(len(self.winner)), self.n)

    @cached_property
    def to_loser(self) -> csr_array:
        """Sums over the edges of each loser, (n, E)."""
        return self._sums(self.loser, np.ones(len(self.loser)), self.n)

    @cached_property
    def to_pair(self) -> csr_array:
        """Sums over both directions of each of `laplacian.pairs`, (n(n-1)/2, E)."""
        return abs(self.net)

    @cached_property
    def net(self) -> csr_array:
        """The same, edges counting negative whose winner is the low end of the pair."""
        high, low = np.maximum(self.winner, self.loser), np.minimum(self.winner, self.loser)
        sign = np.where(self.winner > self.loser, 1.0, -1.0)
        return self._sums(high * (high - 1) // 2 + low, sign, self.n * (self.n - 1) // 2)

    @cached_property
    def upward(self) -> csr_array:
        """The same over the edges alone whose winner is the high end of the pair."""
        return self.net.maximum(0)

    @cached_property
    def downward(self) -> csr_array:
        """The same over the edges alone whose winner is the low end of the pair."""
        return self.upward - self.net

    def _sums(self, row: Indices, entry: Floats, rows: int) -> csr_array:
        return csr_array((entry, (row, np.arange(len(row)))), shape=(rows, len(row)))


@lru_cache(maxsize=16)
def _edges(n: int, support: bytes) -> Edges:
    return Edges(n, *np.nonzero(np.frombuffer(support, dtype=bool).reshape(n, n)))


@dataclass(frozen=True, eq=False)
class PairPart:
    """sum_e weight_e psi(slope (x_w - x_l) - shift).

    psi, slope, shift: with numbers, (B,) or (E, B). weight: (E, B), or (n(n-1)/2, B) where both directions of a pair
    are one. relative: whether x are the logits less log pi_ref.
    """

    psi: Psi
    slope: Any
    shift: Any
    weight: Floats
    relative: bool
    place: int

    def margin(self, difference: Floats) -> Floats:
        """m, from x_w - x_l."""
        scaled = difference if is_number(self.slope, 1) else self.slope * difference
        return scaled if is_number(self.shift, 0) else scaled - self.shift


@dataclass(frozen=True, eq=False)
class Merged:
    """A logistic part, both directions of each pair taken together: the same sigmas serve for both.

    logistic: with weights for kept and flipped, (n(n-1)/2, B), of slope (x_high - x_low). size: the sums of the moduli of
    what these are sums of.
    """

    logistic: Logistic
    slope: Any
    relative: bool
    size: Floats

    def margin(self, difference: Floats) -> Floats:
        """m, from x_high - x_low."""
        return difference if is_number(self.slope, 1) else self.slope * difference

    def derivatives(self, difference: Floats) -> tuple[Floats, Floats]:
        """First and second derivative in x_high - x_low, weighted."""
        first, second = self.logistic.derivatives(self.margin(difference))
        return (first, second) if is_number(self.slope, 1) else (self.slope * first, self.slope**2 * second)

    def take(self, columns: Any) -> Merged:
        """The same at these positions of the batch."""
        kept, flipped = (x.take(columns, axis=-1) for x in (self.logistic.kept, self.logistic.flipped))
        slope = self.slope if np.ndim(self.slope) == 0 else np.take(self.slope, columns, axis=-1)
        return Merged(Logistic(kept, flipped), slope, self.relative, self.size.take(columns, axis=-1))


@dataclass(frozen=True, eq=False)
class Problem:
    """min over x of the four kinds of parts in the module's docstring; x are logits, or scores mu(pi/pi_ref).

    objective: its ``lam`` has shape (B,). facts: what is known of it on these data.
    edges: the E ordered pairs that carry weight, among the n responses at hand. weight: (E, B), non-negative.
    log_reference: (n, B), normalised over the n responses.
    pull: (B,), lam times the mass of these responses under pi_ref, where forward KL is the regulariser; else None.
    likelihood: (n, B), the weights of -log pi_i; None where there are none.
    link: where x are scores, the divergence whose mu they are; None where x are logits.
    optimal: (n, B), pi* normalised over the n responses; None where it is not known.
    responses: (n, B), the numbers that the bandit has for them. exists: (B,), whether a minimiser is known to exist.
    """

    objective: Objective
    facts: Facts
    edges: Edges
    weight: Floats
    log_reference: Floats
    pull: Floats | None = None
    likelihood: Floats | None = None
    link: Divergence | None = None
    optimal: Floats | None = None
    responses: NDArray[np.intp] | None = None
    exists: NDArray[np.bool_] | None = None
    ARRAYS: ClassVar[tuple[str, ...]] = (
        *("weight", "log_reference", "pull", "likelihood", "optimal", "responses", "exists"),
    )
    """Fields with the batch as their last axis."""

    @property
    def n(self) -> int:
        return len(self.log_reference)

    @property
    def size(self) -> int:
        return self.log_reference.shape[1]

    @cached_property
    def reference(self) -> Floats:
        """exp of ``log_reference``."""
        return np.asarray(np.exp(self.log_reference))

    @cached_property
    def target(self) -> Floats | None:
        """The weights of -log pi_i, (n, B), from the regulariser and from likelihoods; None where there are none."""
        parts = [] if self.pull is None else [self.pull * self.reference]
        parts += [] if self.likelihood is None else [self.likelihood]
        return None if not parts else sum(parts[1:], start=parts[0])

    @property
    def divergence(self) -> Divergence | None:
        """A regulariser that is no cross-entropy."""
        return None if self.pull is not None or self.link is not None else self.facts.regulariser

    @property
    def lam(self) -> Floats:
        return np.asarray(self.objective.lam)

    @cached_property
    def datum(self) -> Datum:
        """What parameters of terms may depend on."""
        ends = dict(zip("wl", self.edges.ends, strict=True))
        return {f"ref_logp_{slot}": self.log_reference[end] for slot, end in ends.items()}

    @cached_property
    def parts(self) -> tuple[PairPart, ...]:
        """The pair parts, those apart that are `merged`."""
        return tuple(part for part in self._pair_parts() if not _merges(part))

    @cached_property
    def merged(self) -> tuple[Merged, ...]:
        """Logistic pair parts of the log-ratio itself."""
        return tuple(self._merge(part) for part in self._pair_parts() if _merges(part))

    @cached_property
    def general(self) -> tuple[Term, ...]:
        """Terms that are neither pair parts nor likelihoods."""
        known = self.likelihood is not None
        return tuple(
            term
            for term in self.facts.terms
            if not (self._is_pair(term) or (known and is_likelihood(term.psi, term.statistic)))
        )

    @property
    def is_formula(self) -> bool:
        """Whether the loss is a bare formula, differentiated by torch."""
        return isinstance(self.objective, PairObjective) and not self.facts.terms.terms

    @property
    def only_pairs(self) -> bool:
        """Whether parts of log-ratios and a cross-entropy are all there is."""
        formula = self.is_formula and not self.facts.log_ratio_only
        return not (formula or self.general or self.divergence is not None)

    @cached_property
    def concordance(self) -> Any:
        """M in x, as `Facts.self_concordance`; None where none is known."""
        return self.facts.self_concordance if self.link is None else self.facts.score_concordance

    def _is_pair(self, term: Term) -> bool:
        return self.link is not None or of_log_ratio(term.statistic) is not None

    def _pair_parts(self) -> list[PairPart]:
        return [self._part(place, term) for place, term in enumerate(self.facts.terms) if self._is_pair(term)]

    @cached_property
    def in_torch(self) -> tuple[Term, ...]:
        """The terms with tensors in the place of arrays, for those that torch has to differentiate."""
        objective = self.objective.with_lam(torch_of(self.lam))
        datum = {name: torch_of(x) for name, x in self.datum.items()}
        terms = objective.facts_at(datum).terms  # type: ignore[attr-defined]
        return tuple(dataclasses.replace(term, psi=bound(term.psi, datum)) for term in terms)

    def of_psi(self, part: PairPart, margin: Floats) -> tuple[Floats, Floats]:
        """psi' and psi'' of a part, as it states them, or by torch."""
        if type(part.psi).derivatives is not Psi.derivatives:
            return part.psi.derivatives(margin)
        return by_torch(self.in_torch[part.place].psi.value, margin)

    def _part(self, place: int, term: Term) -> PairPart:
        statistic, datum = term.statistic, self.datum
        scale, centre, offset = (evaluate(x, datum) for x in (statistic.scale, statistic.centre, statistic.offset))
        factor = sum(c for c, atom in statistic.parts if atom.slot == "w")
        shift = offset if is_number(centre, 0) else scale * centre + offset
        relative = {atom.relative for _, atom in statistic.parts}
        if self.link is None and len(relative) > 1:  # log pi_ref of one of them is data
            own = {c * atom.relative: atom.slot for c, atom in statistic.parts if atom.relative}
            shift = shift + scale * sum(c * datum[f"ref_logp_{slot}"] for c, slot in own.items())
        weight, data_weight = self.weight, evaluate(term.weight, datum)
        return PairPart(
            bound(term.psi, datum),
            scale if factor == 1 else scale * factor,
            shift,
            weight if is_number(data_weight, 1) else weight * data_weight,
            self.link is None and relative == {True},
            place,
        )

    def _merge(self, part: PairPart) -> Merged:
        assert isinstance(part.psi, Logistic)
        kept, flipped = part.weight * part.psi.kept, part.weight * part.psi.flipped
        up, down = self.edges.upward, self.edges.downward
        # what is kept for one direction of a pair is flipped for the other
        logistic = Logistic(up @ kept + down @ flipped, up @ flipped + down @ kept)
        size = self.edges.to_pair @ (np.abs(kept) + np.abs(flipped))
        return Merged(logistic, part.slope, part.relative, size)

    @classmethod
    def cut(
        cls,
        objective: Objective,
        bandit: Bandit,
        responses: Any,
        prompt: NDArray[np.intp],
        lam: Floats,
        likelihood: Floats | None,
        exists: NDArray[np.bool_] | None = None,
    ) -> Problem:
        """The problem of these ``responses``, given all others, at (prompt, lam) pairs of shape (B,).

        likelihood: (B, n), the weights of -log pi_i over the whole bandit, or None. In each problem the responses that
        are compared most come first, because rounding errors gather at the first (see `laplacian`), where they do the
        least harm.
        """
        members = np.asarray(responses)
        n, k, objective = bandit.n, len(members), objective.with_lam(lam)
        run = slice(prompt[0], prompt[0] + len(prompt))
        rows = run if np.array_equal(prompt, np.arange(run.start, run.stop)) else prompt  # a slice copies nothing

        def inside(pairwise: Floats) -> Floats:
            taken = np.moveaxis(pairwise.reshape(-1, n, n)[rows], 0, -1)
            return taken if k == n else taken[np.ix_(members, members)]

        wins, degree = inside(bandit.wins), inside(bandit.pairs).sum(axis=1)
        labels = members
        if (degree[:-1] < degree[1:]).any():
            order = np.argsort(-degree, axis=0, kind="stable")
            wins = np.take_along_axis(np.take_along_axis(wins, order[:, None], 0), order[None], 1)
            labels = members[order]

        def own(values: Floats) -> Floats:
            """(n, B) of the bandit, at these responses."""
            return values[labels] if labels.ndim == 1 else np.take_along_axis(values, labels, 0)

        def of_prompts(policy: Floats) -> Floats:
            return own(policy.reshape(-1, n)[rows].T)

        reference = of_prompts(bandit.reference)
        mass = reference.sum(axis=0)
        optimal = None if bandit.optimal is None else of_prompts(bandit.optimal)
        log_reference = np.asarray(np.log(reference / mass))
        edges = Edges.of(np.asarray((wins > 0).any(axis=-1)))
        problem = cls(
            objective,
            objective.facts_at(None),
            edges,
            wins[edges.winner, edges.loser],
            log_reference,
            pull=lam * mass if type(getattr(objective, "regulariser", None)) is ForwardKL else None,
            likelihood=None if likelihood is None else own(likelihood.T),
            optimal=None if optimal is None else optimal / optimal.sum(axis=0),
            responses=np.broadcast_to(labels[:, None] if labels.ndim == 1 else labels, degree.shape),
            exists=exists,
        )
        facts = objective.facts_at(problem.datum)
        pull = None if isinstance(objective, RewardObjective) else problem.pull
        link = facts.link if facts.psis_convex else None
        return dataclasses.replace(problem, facts=facts, pull=pull, link=link)

    def in_logits(self) -> Problem:
        """The same with logits for x, where they are scores."""
        return dataclasses.replace(self, link=None)

    def at(self, x: Floats, relative: bool) -> Floats:
        """x, or x less log pi_ref."""
        return x - self.log_reference if relative else x

    def take(self, columns: NDArray[Any]) -> Problem:
        """The problems at these positions of the batch (indices or a mask)."""
        columns = np.arange(self.size)[columns]  # take, unlike indexing, keeps rows contiguous
        arrays = {
            name: None if (value := getattr(self, name)) is None else value.take(columns, axis=-1)
            for name in self.ARRAYS
        }
        objective = self.objective.with_lam(self.lam[columns])
        taken = dataclasses.replace(self, objective=objective, **arrays)
        facts = StatedFacts(objective) if self.is_formula else objective.facts_at(taken.datum)  # type: ignore
        taken = dataclasses.replace(taken, facts=facts)
        for name in ("reference", "target"):  # what is known need not be computed again
            if vars(self).get(name) is not None:
                vars(taken)[name] = vars(self)[name].take(columns, axis=1)
        if "merged" in vars(self):
            vars(taken)["merged"] = tuple(part.take(columns) for part in self.merged)
        return taken


def _merges(part: PairPart) -> bool:
    return type(part.psi) is Logistic and is_number(part.shift, 0) and np.ndim(part.slope) < 2


@dataclass(frozen=True)
class Expansion:
    """Second-order expansion at x.

    gradient: (n, B), in x. curvature: (n(n-1)/2, B), the weights -H_ij of the Hessian, in the order of
    `laplacian.pairs`. slope: (n(n-1)/2, B), the pair parts' derivative in x_high - x_low.
    losses: of a bare formula's edges, (E, B), where they came with the derivatives.
    """

    gradient: Floats
    curvature: Floats
    slope: Floats
    losses: Floats | None = None


def log_softmax(theta: Floats) -> Floats:
    """theta - log sum exp theta over the first axis."""
    shifted = theta - theta.max(axis=0)
    return shifted - np.log(np.exp(shifted).sum(axis=0))


def softmax(theta: Floats) -> Floats:
    """exp(theta), normalised over the first axis."""
    odds = np.exp(theta - theta.max(axis=0))
    return np.asarray(odds / odds.sum(axis=0))


def value(problem: Problem, x: Floats, losses: Floats | None = None) -> Floats:
    """The objective of each problem of the batch at x (n, B), but for what does not depend on the policy; (B,).

    Log-ratios are those of x, without the rounding of log-softmax. losses: those of a bare formula's edges at x, where
    an `Expansion` there has them already.
    """
    edges, total = problem.edges, np.zeros(problem.size)
    high, low = pairs(problem.n)
    for merged in problem.merged:
        at = problem.at(x, merged.relative)
        total = total + merged.logistic.value(merged.margin(at[high] - at[low])).sum(axis=0)
    for part in problem.parts:
        at = problem.at(x, part.relative)
        psi = part.psi.value(part.margin(at[edges.winner] - at[edges.loser]))
        total = total + np.einsum("eb,eb->b", part.weight, psi)
    if problem.target is None and problem.only_pairs:
        return total
    log_policy = log_softmax(x)
    if problem.is_formula:
        logp = x if problem.facts.log_ratio_only else log_policy
        own = formula(problem, *(logp[end] for end in edges.ends)) if losses is None else losses
        total = total + np.einsum("eb,eb->b", problem.weight, own)
    for term in problem.general:
        total = total + (problem.weight * term.value(_datum(problem, log_policy))).sum(axis=0)
    if problem.pull is not None:
        total = total + problem.pull * forward_kl(problem.log_reference, log_policy)
    if problem.likelihood is not None:
        total = total - (problem.likelihood * log_policy).sum(axis=0)
    if problem.divergence is not None:
        total = total + problem.lam * problem.divergence.terms(log_policy, problem.log_reference).sum(axis=0)
    return np.asarray(total)


def forward_kl(log_reference: Floats, log_policy: Floats) -> Floats:
    """KL(pi_ref || pi) over the first axis: sum pi_ref (e^x - 1 - x), x = log pi/pi_ref, has no term that is negative.

    The terms of sum pi_ref (-x) cancel, and near pi_ref nothing would be left of their digits.
    """
    x = log_policy - log_reference
    near = np.abs(x) < 1e-2
    small = np.where(near, x, 0.0)
    series = small**2 * (1 / 2 + small * (1 / 6 + small * (1 / 24 + small * (1 / 120 + small / 720))))
    with np.errstate(over="ignore", invalid="ignore"):
        far = np.where(np.isneginf(x), np.inf, np.expm1(x) - x)
    return np.asarray((np.exp(log_reference) * np.where(near, series, far)).sum(axis=0))


def _datum(problem: Problem, log_policy: Floats) -> Datum:
    ends = dict(zip("wl", problem.edges.ends, strict=True))
    return {**problem.datum, **{f"logp_{slot}": log_policy[end] for slot, end in ends.items()}}


def expand(problem: Problem, x: Floats) -> Expansion:
    """Gradient and Hessian of the batch at x, shape (n, B).

    With a = dF/dlog pi and A = d2F/(dlog pi)2, the chain rule through log-softmax is
        g = a - pi sum(a),    H = A - pi r' - r pi' + sum(r) pi pi' - sum(a) (diag(pi) - pi pi'),    r = A 1.
    Per-pair sums are taken first, so what cancels (log-ratio losses have sum(a) = 0 and r = 0) cancels exactly.
    """
    high, low = pairs(problem.n)
    slope, curvature, losses = pair_derivatives(problem, x)
    gradient = incidence(problem.n) @ slope
    if not problem.only_pairs:
        first, rows, cross, total, losses = _policy_derivatives(problem, x)
        gradient, curvature = gradient + first, curvature - cross
        policy = softmax(x)
        gradient = gradient - policy * total
        shared = rows - (rows.sum(axis=0) + total) / 2 * policy
        curvature = curvature + policy[high] * shared[low] + shared[high] * policy[low]
    if problem.target is not None:
        # a cross-entropy, whose Hessian in the logits is the sum of its weights times diag(pi) - pi pi'
        policy = softmax(x)
        weight = np.zeros(problem.size)
        if problem.pull is not None:
            gradient = gradient + problem.pull * (policy - problem.reference)
            weight = weight + problem.pull
        if problem.likelihood is not None:
            seen = problem.likelihood.sum(axis=0)
            gradient = gradient + (seen * policy - problem.likelihood)
            weight = weight + seen
        curvature = curvature + (weight * policy)[high] * policy[low]
    return Expansion(gradient, curvature, slope, losses)


def pair_derivatives(problem: Problem, x: Floats) -> tuple[Floats, Floats, Floats | None]:
    """First and second derivative of the pair parts in x_high - x_low, each (n(n-1)/2, B); a bare formula's losses.

    The sum over both directions of a pair is taken first: at the optimum it nearly vanishes, and so does the rounding
    of what is summed from it.
    """
    high, low = pairs(problem.n)
    edges = problem.edges
    slope: Any = None
    bend: Any = None
    for merged in problem.merged:
        at = problem.at(x, merged.relative)
        first, second = merged.derivatives(at[high] - at[low])
        slope, bend = (first, second) if slope is None else (slope + first, bend + second)
    for part in problem.parts:
        at = problem.at(x, part.relative)
        first, second = problem.of_psi(part, part.margin(at[edges.winner] - at[edges.loser]))
        first = edges.net @ (part.weight * part.slope * first)
        second = edges.to_pair @ (part.weight * part.slope**2 * second)
        slope, bend = (first, second) if slope is None else (slope + first, bend + second)
    if problem.is_formula and problem.facts.log_ratio_only:
        losses, first, second = formula_of_log_ratio(problem, x)
        return edges.net @ (problem.weight * first), edges.to_pair @ (problem.weight * second), losses
    if slope is None:
        return np.zeros((len(high), problem.size)), np.zeros((len(high), problem.size)), None
    return slope, bend, None


def gradient_size(problem: Problem, x: Floats) -> Floats:
    """The sum of the moduli of what the gradient in x is a sum of, (n, B): its rounding is a few units of that."""
    high, low = pairs(problem.n)
    edges, weight = problem.edges, problem.weight
    to_ends = edges.to_winner + edges.to_loser
    size = np.zeros_like(x)
    for merged in problem.merged:
        at = problem.at(x, merged.relative)
        of_pairs = np.abs(merged.slope) * merged.logistic.slope_size(merged.margin(at[high] - at[low]))
        size = size + abs(incidence(problem.n)) @ of_pairs
    for part in problem.parts:
        at = problem.at(x, part.relative)
        margin = part.margin(at[edges.winner] - at[edges.loser])
        stated = type(part.psi).derivatives is not Psi.derivatives
        own = part.psi.slope_size(margin) if stated else np.abs(problem.of_psi(part, margin)[0])
        size = size + to_ends @ (np.abs(part.weight * part.slope) * own)
    if problem.is_formula and problem.facts.log_ratio_only:
        size = size + to_ends @ (weight * np.abs(formula_of_log_ratio(problem, x)[1]))
    if problem.target is not None:
        size = size + problem.target + problem.target.sum(axis=0) * softmax(x)
    if problem.only_pairs:
        return np.asarray(size)
    log_policy = log_softmax(x)
    own = np.zeros_like(x)
    if problem.is_formula and not problem.facts.log_ratio_only:
        first = torch_derivatives(torch_formula(problem), *(log_policy[end] for end in edges.ends))[1]
        own = own + edges.to_winner @ np.abs(weight * first[0]) + edges.to_loser @ np.abs(weight * first[1])
    for term in problem.general:
        dw, dl, *_ = _term_derivatives(problem, term, log_policy)
        own = own + edges.to_winner @ np.abs(weight * dw) + edges.to_loser @ np.abs(weight * dl)
    if problem.divergence is not None:
        own = own + problem.lam * np.abs(problem.divergence.derivatives(log_policy, problem.log_reference)[0])
    return np.asarray(size + own + softmax(x) * own.sum(axis=0))


def formula_of_log_ratio(problem: Problem, x: Floats) -> tuple[Floats, Floats, Floats]:
    """Losses of a bare formula that reads log-ratios only, and their derivatives in x_w - x_l, (E, B) each."""
    loss, loser = torch_formula(problem), torch_of(x[problem.edges.loser])
    losses, (first,), ((second,),) = torch_derivatives(lambda x_w: loss(x_w, loser), x[problem.edges.winner])
    return losses, first, second


def torch_of(array: Floats) -> Any:
    """A tensor that shares an array's memory where it can."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))


def _policy_derivatives(problem: Problem, x: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats | None]:
    """Of all but pair parts and cross-entropy: a (n, B), row sums r (n, B) of A, its entries A_ij of pairs, sum(a), and a
    bare formula's losses.
    """
    edges, weight, log_policy = problem.edges, problem.weight, log_softmax(x)
    high, low = pairs(problem.n)
    zero = np.zeros_like(x)
    a, rows, cross, total, losses = zero, zero, np.zeros((len(high), problem.size)), np.zeros(problem.size), None

    def add(dw: Floats, dl: Floats, dww: Floats, dwl: Floats, dll: Floats) -> None:
        nonlocal a, rows, cross, total
        a = a + (edges.to_winner @ (weight * dw) + edges.to_loser @ (weight * dl))
        rows = rows + (edges.to_winner @ (weight * (dww + dwl)) + edges.to_loser @ (weight * (dwl + dll)))
        cross = cross + edges.to_pair @ (weight * dwl)
        total = total + (weight * (dw + dl)).sum(axis=0)

    if problem.is_formula:
        losses, first, second = torch_derivatives(torch_formula(problem), *(log_policy[end] for end in edges.ends))
        add(first[0], first[1], second[0][0], second[0][1], second[1][1])
    for term in problem.general:
        add(*_term_derivatives(problem, term, log_policy))
    if problem.divergence is not None:
        lam = problem.lam
        first_d, second_d = problem.divergence.derivatives(log_policy, problem.log_reference)
        a, rows, total = a + lam * first_d, rows + lam * second_d, total + lam * first_d.sum(axis=0)
    return a, rows, cross, total, losses


def _term_derivatives(problem: Problem, term: Term, log_policy: Floats) -> tuple[Floats, ...]:
    """f_w, f_l, f_ww, f_wl and f_ll of weight psi(m), m a combination of atoms: the chain rule, (E, B) each."""
    datum = _datum(problem, log_policy)
    place = problem.facts.terms.terms.index(term)
    psi, margin = bound(term.psi, datum), term.statistic.value(datum)
    if type(psi).derivatives is Psi.derivatives:
        slope, bend = by_torch(problem.in_torch[place].psi.value, margin)
    else:
        slope, bend = psi.derivatives(margin)
    scale, weight = evaluate(term.statistic.scale, datum), evaluate(term.weight, datum)
    first = {"w": np.zeros_like(margin), "l": np.zeros_like(margin)}
    second = {"w": np.zeros_like(margin), "l": np.zeros_like(margin)}
    for coefficient, atom in term.statistic.parts:
        d, dd = atom.derivatives(datum[f"logp_{atom.slot}"], datum[f"ref_logp_{atom.slot}"])
        first[atom.slot] = first[atom.slot] + coefficient * d
        second[atom.slot] = second[atom.slot] + coefficient * dd
    slope, bend = weight * scale * slope, weight * scale**2 * bend
    w, l = first["w"], first["l"]  # noqa: E741
    return slope * w, slope * l, bend * w**2 + slope * second["w"], bend * w * l, bend * l**2 + slope * second["l"]


def torch_formula(problem: Problem) -> Callable[..., Any]:
    """A bare formula's loss of each edge as a function of log pi at its two ends, in torch."""
    objective = problem.objective
    assert isinstance(objective, PairObjective)
    read = problem.edges.ends if problem.facts.needs_reference else ()
    reference = [torch_of(problem.log_reference[end]) for end in read]
    loss = objective.with_lam(torch_of(problem.lam)).loss
    return lambda logp_w, logp_l: loss(logp_w, logp_l, *reference)


def formula(problem: Problem, *ends: Floats) -> Floats:
    """A bare formula's losses at log pi of its edges' two ends, (E, B) each."""
    import torch

    with torch.no_grad():
        return np.asarray(torch_formula(problem)(*map(torch_of, ends)).numpy())


def torch_derivatives(function: Callable[..., Any], *points: Floats) -> tuple[Floats, list[Floats], list[list[Floats]]]:
    """Values, first and second derivatives at the ``points`` of a function that torch applies element by element."""
    import torch

    inputs = [torch_of(x).requires_grad_(True) for x in points]
    values = function(*inputs)

    def gradients(outputs: Any, create_graph: bool) -> list[Any]:
        if not outputs.requires_grad:
            return [torch.zeros_like(x) for x in inputs]
        found = torch.autograd.grad(
            outputs.sum(), inputs, allow_unused=True, retain_graph=True, create_graph=create_graph
        )
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]

    first = gradients(values, True)
    second = [[g.detach().numpy() for g in gradients(slope, False)] for slope in first]
    return values.detach().numpy(), [g.detach().numpy() for g in first], second
