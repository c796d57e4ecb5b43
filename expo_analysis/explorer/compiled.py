"""A loss as functions of numbers: its pair loss and derivatives, its divergence, its link, each as expressions.

Nothing about a loss is written here. Its terms are run on traced arrays (`expo_analysis.explorer.trace`), psi by psi
and atom by atom, with the derivatives that they state; what states none is differentiated symbolically. What is known
of it (whether it is convex, whether it only reads log-ratios) is `Facts`, as solvers have it. What was traced is
compared with the loss itself before it is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..divergences import ReverseKL
from ..losses import Objective, PairObjective, RewardObjective
from ..losses.data import evaluate
from ..losses.facts import Facts
from ..losses.from_function import FunctionLoss
from ..losses.of_pairs import OfPairs, can_be_of_pairs
from ..losses.psi import Psi
from ..losses.statistics import Atom, Linked, of_means
from ..losses.terms import Sum, Term, bound
from ..own_file import in_words
from . import expression as ex
from .expression import Node
from .function import PAIR, POINTS, Function, NotCompiled, function_of, node_of, traced, with_derivatives
from .kinks import kinks_of, rounded_of
from .links import derived_of, of_divergence, of_link
from .torch_trace import traced_by_torch
from .trace import NotTraceable, Traced, of_expression, symbol

LAMS = (1e-4, 1e-2, 1.0, 1e2, 1e4)
"""Where facts are asked for: they must be the same at all of these."""


@dataclass(frozen=True)
class CompiledLoss:
    """A loss, ready to be written in JavaScript.

    pair: of ``PAIR`` and what ``data`` names, lambda first: value, derivatives in log pi_w and log pi_l, and the second
    ones ww, wl, ll. scored: the same of scores in the place of log pi, where there is a link. mu, descend, divergence:
    of the link, or of the regulariser; see `expo_analysis.divergences`. derived: of lambda, ``r0..`` = log pi_ref and
    ``g0..`` = rewards of all responses: what the loss derives of them, by name and number of responses, one result for
    each response. slopes: those of the loss at both ends of the log-ratio, at lambda = 1; None where they are not
    known. kinks: of the arguments of pair, functions a that are 0 where its slope jumps, with the derivatives that pair
    has. rounded: pair with its kinks, where it has any, rounded off over one more argument, a width.
    """

    objective: Objective
    convex: bool
    log_ratio_only: bool
    reward: bool
    data: tuple[str, ...] = ()
    pair: Function | None = None
    scored: Function | None = None
    mu: Function | None = None
    descend: Function | None = None
    divergence: Function | None = None
    derived: Mapping[str, Mapping[int, Function]] = field(default_factory=dict)
    slopes: tuple[float, float] | None = None
    kinks: tuple[Function, ...] = ()
    rounded: Function | None = None


def compile_loss(objective: Objective) -> CompiledLoss:
    """The loss as functions of numbers.

    Raises:
        NotCompiled: with the reason, a sentence without its subject, such as "couples the pairs of a batch".

    Example:
        >>> import expo_analysis as ea
        >>> compile_loss(ea.IPO(1.0)).pair.results[0]
        multiply(subtract(subtract(subtract(logp_w, logp_l), ...
    """
    try:
        if isinstance(objective, RewardObjective):
            return _of_reward(objective)
        if isinstance(objective, PairObjective):
            return _of_pairs(objective)
    except NotTraceable as reason:
        raise NotCompiled(f"cannot be written in JavaScript: {reason}") from reason
    except NotCompiled:
        raise
    except Exception as error:  # whatever a user's loss does with arrays that it did not expect
        raise NotCompiled(f"cannot be traced: {in_words(error)}") from error
    raise NotCompiled(f"is no loss of pairs, but a {type(objective).__name__}")


def _of_reward(objective: RewardObjective) -> CompiledLoss:
    link = of_link(objective.regulariser)
    return CompiledLoss(
        objective,
        convex=False,
        log_ratio_only=False,
        reward=True,
        data=("reward_w", "reward_l"),
        mu=link["mu"],
        descend=link.get("descend"),
        divergence=of_divergence(objective.regulariser),
    )


def _of_pairs(objective: PairObjective) -> CompiledLoss:
    if objective.is_made_of_terms and can_be_of_pairs(objective):
        objective = OfPairs(objective.lam, objective)
    facts = [objective.with_lam(lam).facts_at(None) for lam in LAMS]
    if facts[0].couples_pairs:
        raise NotCompiled("couples the pairs of a batch, and has no loss of a single pair")
    data = tuple(name for name in objective.data if not name.startswith("length_"))
    inputs = _inputs(data)
    derived = {} if not objective.data else derived_of(objective, data)
    made = objective.is_made_of_terms
    pair = _of_terms(objective, inputs) if made else _of_formula(objective, inputs)
    _check_pair(objective, pair, inputs)
    convex = all(one.convex for one in facts)
    link = facts[0].link
    linked: dict[str, Any] = {}
    if made and not convex and link is not None and type(link) is not ReverseKL and all(f.psis_convex for f in facts):
        linked = {**of_link(link), "scored": _of_terms(objective, inputs, scores=True)}
    divergence, kinks = objective.regulariser, kinks_of(pair)
    return CompiledLoss(
        objective,
        convex=convex,
        log_ratio_only=all(one.log_ratio_only for one in facts),
        reward=False,
        data=data,
        pair=pair,
        divergence=None if divergence is None else of_divergence(divergence),
        derived=derived,
        slopes=_slopes(facts[2]) if made and (convex or linked) else None,
        kinks=kinks,
        rounded=rounded_of(pair, kinks) if kinks else None,
        **linked,
    )


def _slopes(facts: Facts) -> tuple[float, float] | None:
    """The slopes at both ends, where they are numbers, and nothing else decides about existence."""
    known = facts.slopes
    if known is None or any(np.size(end) != 1 for end in known):
        return None
    left, right = (float(np.asarray(end).reshape(())) for end in known)
    return left, right


# -------------------------------------------------------------------------------------------------------------- tracing


def _inputs(data: tuple[str, ...]) -> dict[str, Traced]:
    """Symbols for all that a loss may read, at sample points from likely to hardly possible."""
    rng = np.random.default_rng(0)
    found = {"lam": symbol("lam", np.exp(rng.normal(scale=2.0, size=POINTS)))}
    for name in PAIR[1:]:
        found[name] = symbol(name, -rng.exponential(3.0, size=POINTS))
    for name in data:
        found[name] = symbol(name, rng.normal(size=POINTS))
    ones = np.ones(POINTS)
    return found | {f"length_{slot}": of_expression(ex.number(1.0), ones) for slot in "wl"}


def _of_terms(objective: PairObjective, inputs: Mapping[str, Traced], scores: bool = False) -> Function:
    """Value and derivatives of the sum of terms: the chain rule over psi, statistic and atoms, as each states them."""
    own = objective.with_lam(inputs["lam"])
    assert own.terms is not None
    means = (dataclasses.replace(term, statistic=of_means(term.statistic)) for term in own.terms)
    value: Node = ex.number(0.0)
    first = {slot: ex.number(0.0) for slot in "wl"}
    second = {slots: ex.number(0.0) for slots in ("ww", "wl", "ll")}
    for term in Sum(tuple(means)).merged:
        if scores:
            term = _in_scores(term)
        f, df, ddf = _of_term(term, inputs)
        value = ex.add(value, f)
        for slot, node in df.items():
            first[slot] = ex.add(first[slot], node)
        for slots, node in ddf.items():
            second[slots] = ex.add(second[slots], node)
    return function_of((*PAIR, *(objective_data(inputs))), value, *first.values(), *second.values())


def objective_data(inputs: Mapping[str, Traced]) -> tuple[str, ...]:
    """The names of inputs beside those of every pair loss, in order."""
    return tuple(name for name in inputs if name not in PAIR and not name.startswith("length_"))


def _in_scores(term: Term) -> Term:
    parts = tuple((c, Atom(atom.slot)) for c, atom in term.statistic.parts if isinstance(atom, Linked))
    return dataclasses.replace(term, statistic=dataclasses.replace(term.statistic, parts=parts))


def _of_term(term: Term, inputs: Mapping[str, Traced]) -> tuple[Node, dict[str, Node], dict[str, Node]]:
    psi, statistic = bound(term.psi, inputs), term.statistic
    margin = statistic.value(inputs)
    value, slope, bend = _of_psi(psi, margin)
    scale, weight = (node_of(evaluate(x, inputs)) for x in (statistic.scale, term.weight))
    first: dict[str, Node] = {}
    second: dict[str, Node] = {}
    for coefficient, atom in statistic.parts:
        d, dd = atom.derivatives_of(inputs)
        c = node_of(coefficient)
        for at, own in ((first, d), (second, dd)):
            at[atom.slot] = ex.add(at.get(atom.slot, ex.number(0.0)), ex.multiply(c, node_of(own)))
    slope = ex.multiply(ex.multiply(weight, scale), slope)
    bend = ex.multiply(ex.multiply(weight, ex.multiply(scale, scale)), bend)
    crossed: dict[str, Node] = {}
    for one, other in ("ww", "wl", "ll"):
        if one in first and other in first:
            crossed[one + other] = ex.multiply(bend, ex.multiply(first[one], first[other]))
            if one == other:
                crossed[one + other] = ex.add(crossed[one + other], ex.multiply(slope, second[one]))
    return ex.multiply(weight, value), {slot: ex.multiply(slope, d) for slot, d in first.items()}, crossed


def _of_psi(psi: Psi, margin: Any) -> tuple[Node, Node, Node]:
    """psi, psi' and psi'' at a margin: as it states them, or differentiated."""
    at = node_of(margin)
    value = traced(psi.value, margin)
    if type(psi).derivatives is not Psi.derivatives:
        slope, bend = psi.derivatives(margin)
        return value, node_of(slope), node_of(bend)
    m = ex.variable("m")
    own = traced(psi.value, symbol("m", margin.numbers))
    slope = ex.derivative(own, m)
    return value, ex.replaced(slope, {m: at}), ex.replaced(ex.derivative(slope, m), {m: at})


def _of_formula(objective: PairObjective, inputs: Mapping[str, Traced]) -> Function:
    """Value and derivatives of a bare formula, differentiated symbolically."""
    names = (*PAIR, *objective.data)
    arrays = [inputs[name] for name in names]

    def loss(lam: Any, *given: Any) -> Any:
        if isinstance(objective, FunctionLoss):
            return objective.call.losses(lam, dict(zip(objective_order(objective), given, strict=False)))
        return objective.with_lam(lam).pair_loss(*given)

    if isinstance(objective, FunctionLoss):
        value = traced_by_torch(loss, inputs["lam"], *(inputs[name] for name in objective_order(objective)))
    else:
        value = traced(loss, *arrays)
    return function_of((*PAIR, *objective_data(inputs)), *with_derivatives(value))


def objective_order(objective: FunctionLoss) -> list[str]:
    """What a function reads, log-probabilities first."""
    reads = objective.call.reads
    return [*(name for name in PAIR[1:] if name in reads), *sorted(reads - set(PAIR))]


def _check_pair(objective: PairObjective, pair: Function, inputs: Mapping[str, Traced]) -> None:
    """Raise unless the expression gives the loss's own numbers at the sample points."""
    own = {name: array.numbers for name, array in inputs.items()}
    at = {ex.variable(name): own[name] for name in pair.arguments}
    found = ex.evaluate(pair.results[0], at)
    lams = own["lam"]
    given = [own[name] for name in (*PAIR[1:], *objective.data)]
    want = np.array([_loss_at(objective.with_lam(float(lam)), [x[[k]] for x in given]) for k, lam in enumerate(lams)])
    if not np.allclose(found, want, rtol=1e-9, atol=1e-9, equal_nan=True):
        raise NotCompiled("computes something else when it is traced, as if it kept a state or drew random numbers")


def _loss_at(objective: PairObjective, given: list[np.ndarray]) -> float:
    if objective.is_made_of_terms:
        return float(np.asarray(objective.pair_loss(*given)).reshape(()))
    import torch

    with torch.no_grad():
        return float(objective.pair_loss(*map(torch.from_numpy, given)).reshape(()))
