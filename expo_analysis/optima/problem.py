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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from .._autograd import slope_and_bend, tensor
from .._types import Floats, Indices, Mask
from ..bandit import Bandit
from ..bandit.labels import Labels
from ..divergences import Divergence, ForwardKL
from ..losses.base import Objective, PairObjective, RewardObjective
from ..losses.data import Datum, evaluate
from ..losses.facts import Facts, StatedFacts, is_likelihood, of_log_ratio
from ..losses.psi import Logistic, Psi
from ..losses.responses import at_ends, reads_third, response_data, reward_of
from ..losses.statistics import is_number
from ..losses.terms import Term, bound
from .choices import ChoicePart, choices_among
from .edges import Edges, edges_of_triples, edges_of_wins
from .parts import Merged, PairPart, merges


@dataclass(frozen=True, eq=False)
class Problem:
    """min over x of the four kinds of parts in the module's docstring; x are logits, or scores mu(pi/pi_ref).

    objective: its ``lam`` has shape (B,). facts: what is known of it on these data.
    edges: the E ordered pairs that carry weight, among the n responses at hand. weight: (E, B), non-negative.
    log_reference: (n, B), normalised over the n responses. log_mass: (B,), the logarithm of what they are normalised
    by; None where they are all responses. pull: (B,), lam times the mass of these responses under pi_ref, where forward
    KL is the regulariser; else None. likelihood: (n, B), the weights of -log pi_i; None where there are none. link:
    where x are scores, the divergence whose mu they are; None where x are logits. log_optimal: (n, B), log pi*
    normalised over the n responses, or of `RLHF` the reward; None where it is not known. responses: (n, B), the numbers
    that the bandit has for them. exists: (B,), whether a minimiser is known to exist. of_responses: what else the loss
    reads of each response (see `losses.responses`), (n, B) each. choices: of one response among several, in the place
    of pairs. names: of the bandit's responses, for messages.
    """

    objective: Objective
    facts: Facts
    edges: Edges
    weight: Floats
    log_reference: Floats
    log_mass: Floats | None = None
    pull: Floats | None = None
    likelihood: Floats | None = None
    link: Divergence | None = None
    log_optimal: Floats | None = None
    responses: Indices | None = None
    exists: Mask | None = None
    of_responses: Mapping[str, Floats] = dataclasses.field(default_factory=dict)
    choices: ChoicePart | None = None
    names: Labels | None = None
    ARRAYS: ClassVar[tuple[str, ...]] = (
        *("weight", "log_reference", "log_mass", "pull", "likelihood", "log_optimal", "responses", "exists"),
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
        return _datum(self.objective, self.edges, self.log_reference, self.log_mass, self.of_responses)

    @cached_property
    def parts(self) -> tuple[PairPart, ...]:
        """The pair parts, those apart that are `merged`."""
        return tuple(part for part in self.pair_parts() if not merges(part))

    @cached_property
    def merged(self) -> tuple[Merged, ...]:
        """Logistic pair parts of the log-ratio itself."""
        return tuple(self._merge(part) for part in self.pair_parts() if merges(part))

    @cached_property
    def likelihoods(self) -> tuple[Term, ...]:
        """The terms whose weights are in ``likelihood``."""
        known = self.likelihood is not None and self.link is None
        return tuple(term for term in self.facts.terms if known and is_likelihood(term.psi, term.statistic))

    @cached_property
    def general(self) -> tuple[Term, ...]:
        """Terms that are neither pair parts nor likelihoods."""
        return tuple(term for term in self.facts.terms if not (self._is_pair(term) or term in self.likelihoods))

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
        """M in x, as `Facts.self_concordance`, the largest of all pairs; None where none is known."""
        known = self.facts.self_concordance if self.link is None else self.facts.score_concordance
        return known.max(axis=0) if np.ndim(known) == 2 else known

    def _is_pair(self, term: Term) -> bool:
        return self.link is not None or of_log_ratio(term.statistic) is not None

    def pair_parts(self) -> list[PairPart]:
        """All pair parts, also those that `merged` has."""
        if self.choices is not None:
            return []
        return [self._part(place, term) for place, term in enumerate(self.facts.terms) if self._is_pair(term)]

    @cached_property
    def in_torch(self) -> tuple[Term, ...]:
        """The terms with tensors in the place of arrays, for those that torch has to differentiate."""
        objective = self.objective.with_lam(tensor(self.lam))
        datum = {name: tensor(x) for name, x in self.datum.items()}
        terms = objective.facts_at(datum).terms
        return tuple(dataclasses.replace(term, psi=bound(term.psi, datum)) for term in terms)

    def of_psi(self, psi: Psi, place: int, margin: Floats) -> tuple[Floats, Floats]:
        """psi' and psi'' of the term at this place, as its psi states them, or by torch."""
        return (
            psi.derivatives(margin)
            if states_derivatives(psi)
            else slope_and_bend(self.in_torch[place].psi.value, margin)
        )

    def _part(self, place: int, term: Term) -> PairPart:
        statistic, datum = term.statistic, self.datum
        scale, centre, offset = (evaluate(x, datum) for x in (statistic.scale, statistic.centre, statistic.offset))
        factor = sum(c for c, atom in statistic.parts if atom.slot == "w")
        shift = offset if is_number(centre, 0) else scale * centre + offset
        relative = {atom.relative for _, atom in statistic.parts}
        if self.link is None and len(relative) > 1:  # log pi_ref of one of them is data
            shift = shift + scale * sum(
                c * datum[f"ref_logp_{atom.slot}"] for c, atom in statistic.parts if atom.relative
            )
        weight, data_weight = self.weight, evaluate(term.weight, datum)
        return PairPart(
            slope=scale if factor == 1 else scale * factor,
            relative=self.link is None and relative == {True},
            psi=bound(term.psi, datum),
            shift=shift,
            weight=weight if is_number(data_weight, 1) else weight * data_weight,
            place=place,
        )

    def _merge(self, part: PairPart) -> Merged:
        assert isinstance(part.psi, Logistic)
        kept, flipped = part.weight * part.psi.kept, part.weight * part.psi.flipped
        up, down = self.edges.upward, self.edges.downward
        # what is kept for one direction of a pair is flipped for the other
        logistic = Logistic(up @ kept + down @ flipped, up @ flipped + down @ kept)
        size = self.edges.to_pair @ (np.abs(kept) + np.abs(flipped))
        return Merged(part.slope, part.relative, logistic, size)

    @classmethod
    def cut(
        cls,
        objective: Objective,
        bandit: Bandit,
        responses: Any,
        prompt: Indices,
        lam: Floats,
        likelihood: Floats | None = None,
        exists: Mask | None = None,
    ) -> Problem:
        """The problem of these ``responses``, (k,) or (k, B), given all others, at (prompt, lam) pairs of shape (B,).

        likelihood: (B, n), the weights of -log pi_i over the whole bandit, or None. In each problem the responses that
        are compared most come first, because rounding errors gather at the first (see `laplacian`), where they do the
        least harm.
        """
        members = np.asarray(responses)
        n, k, objective = bandit.n, len(members), objective.with_lam(lam)
        run = slice(prompt[0], prompt[0] + len(prompt))
        rows = run if np.array_equal(prompt, np.arange(run.start, run.stop)) else prompt  # a slice copies nothing
        wins, pairs = (_inside(of_pairs.reshape(-1, n, n)[rows], members) for of_pairs in (bandit.wins, bandit.pairs))
        degree = pairs.sum(axis=1)
        labels = members
        triples = bandit.triples if reads_third(objective) else None
        if triples is None and (degree[:-1] < degree[1:]).any():
            order = np.argsort(-degree, axis=0, kind="stable")
            wins = np.take_along_axis(np.take_along_axis(wins, order[:, None], 0), order[None], 1)
            labels = members[order] if members.ndim == 1 else np.take_along_axis(members, order, 0)

        def own(values: Floats) -> Floats:
            """(n, B) of the bandit, at these responses."""
            return values[labels] if labels.ndim == 1 else np.take_along_axis(values, labels, 0)

        reference = own(bandit.reference.reshape(-1, n)[rows].T)
        mass = reference.sum(axis=0)
        of_responses = {kind: own(values) for kind, values in response_data(objective, bandit, rows).items()}
        log_reference, log_mass = np.asarray(np.log(reference / mass)), None if k == n else np.log(mass)
        edges, weight = edges_of_wins(wins) if triples is None else edges_of_triples(triples, n, members, rows)
        facts = objective.facts_at(_datum(objective, edges, log_reference, log_mass, of_responses))
        pulls = isinstance(objective, PairObjective) and type(facts.regulariser) is ForwardKL
        return cls(
            objective,
            facts,
            edges,
            weight,
            log_reference,
            log_mass,
            pull=lam * mass if pulls else None,
            likelihood=None if likelihood is None else own(likelihood.T),
            link=facts.link if facts.psis_convex else None,
            log_optimal=_log_optimal(objective, bandit, lambda values: own(values.reshape(-1, n)[rows].T)),
            responses=np.broadcast_to(labels[:, None] if labels.ndim == 1 else labels, degree.shape),
            exists=exists,
            of_responses=of_responses,
            names=bandit.responses,
            choices=choices_among(objective, facts, bandit, rows, labels, degree.shape),
        )

    def in_logits(self) -> Problem:
        """The same with logits for x, where they are scores."""
        return dataclasses.replace(self, link=None)

    def at(self, x: Floats, relative: bool) -> Floats:
        """x, or x less log pi_ref."""
        return x - self.log_reference if relative else x

    def take(self, columns: Any) -> Self:
        """The problems at these positions of the batch (indices or a mask)."""
        columns = np.arange(self.size)[columns]  # take, unlike indexing, keeps rows contiguous
        changes: dict[str, Any] = {
            name: None if (value := getattr(self, name)) is None else value.take(columns, axis=-1)
            for name in self.ARRAYS
        }
        objective = self.objective.with_lam(self.lam[columns])
        of_responses = {kind: values.take(columns, axis=-1) for kind, values in self.of_responses.items()}
        datum = _datum(objective, self.edges, changes["log_reference"], changes["log_mass"], of_responses)
        # whether a formula agrees with terms is not to be found out once more
        stated = StatedFacts(objective) if isinstance(objective, PairObjective) and self.is_formula else None
        facts = stated or objective.facts_at(datum)
        choices = None if self.choices is None else self.choices.take(columns)
        taken = dataclasses.replace(
            self, objective=objective, facts=facts, of_responses=of_responses, choices=choices, **changes
        )
        for name in ("reference", "target"):  # what is known need not be computed again
            if vars(self).get(name) is not None:
                vars(taken)[name] = vars(self)[name].take(columns, axis=1)
        if "merged" in vars(self):
            vars(taken)["merged"] = tuple(part.take(columns) for part in self.merged)
        return taken


def _inside(pairwise: Floats, members: Indices) -> Floats:
    """Numbers of pairs (B, n, n) among the members, (k,) or (k, B), as (k, k, B)."""
    taken = np.moveaxis(pairwise, 0, -1)
    if len(members) == len(taken):
        return taken
    if members.ndim == 1:
        return taken[np.ix_(members, members)]
    return np.take_along_axis(np.take_along_axis(taken, members[:, None], 0), members[None], 1)


def _datum(
    objective: Objective,
    edges: Edges,
    log_reference: Floats,
    log_mass: Floats | None,
    of_responses: Mapping[str, Floats],
) -> Datum:
    """What parameters of terms may depend on, (E, B) each: log pi_ref over all responses, of a part of them too."""
    whole = log_reference if log_mass is None else log_reference + log_mass
    datum = {f"ref_logp_{slot}": whole[end] for slot, end in zip("wl", edges.ends, strict=True)}
    return datum | at_ends(objective, {**of_responses, "ref_logp": whole}, tuple(edges.by_slot.values()))


def _log_optimal(objective: Objective, bandit: Bandit, own: Callable[[Floats], Floats]) -> Floats | None:
    """Of RLHF the reward, and of others log pi*, of the responses that ``own`` takes; None where it is not known."""
    if isinstance(objective, RewardObjective) and bandit.rewards is not None:
        reward = reward_of(bandit)
        assert reward is not None
        return own(reward)
    if bandit.optimal is None:
        return None
    optimal = own(bandit.optimal)
    return np.asarray(np.log(optimal / optimal.sum(axis=0)))


def states_derivatives(psi: Psi) -> bool:
    """Whether a psi has derivatives of its own; else they are torch's."""
    return type(psi).derivatives is not Psi.derivatives
