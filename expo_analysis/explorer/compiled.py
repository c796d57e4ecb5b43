"""A loss as functions of numbers: its pair loss and derivatives, its divergence, its link, each as expressions.

Nothing about a loss is written here. Its terms are run on traced arrays (`expo_analysis.explorer.trace`), psi by psi and
atom by atom, with the derivatives that they state; what states none is differentiated symbolically. What is known of it
(whether it is convex, whether it only reads log-ratios) is `Facts`, as solvers have it. What was traced is compared with
the loss itself before it is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..divergences import Divergence, ReverseKL
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
from .trace import NotTraceable, Traced, of_expression, stacked, symbol

RESPONSES = (2, 3, 4, 5)
"""Numbers of responses of the explorer's problems, for losses that compute something of all of a prompt's."""

POINTS = 24
"""Sample points that a trace runs on and is checked at."""

LAMS = (1e-4, 1e-2, 1.0, 1e2, 1e4)
"""Where facts are asked for: they must be the same at all of these."""


class NotCompiled(Exception):
    """A loss has no place in the explorer; the message says why, in a sentence that begins after its name."""


@dataclass(frozen=True)
class Function:
    """A function of numbers: names of its arguments in order, and the expressions that it returns."""

    arguments: tuple[str, ...]
    results: tuple[Node, ...]


@dataclass(frozen=True)
class CompiledLoss:
    """A loss, ready to be written in JavaScript.

    pair: of ``PAIR`` and what ``data`` names, lambda first: value, derivatives in log pi_w and log pi_l, and the second
    ones ww, wl, ll. scored: the same of scores in the place of log pi, where there is a link. mu, descend, divergence:
    of the link, or of the regulariser; see `expo_analysis.divergences`. derived: of lambda, ``r0..`` = log pi_ref and
    ``g0..`` = rewards of all responses: what the loss derives of them, by name and number of responses, one result for
    each response.
    slopes: the signs and sizes of the loss's slopes at both ends of the log-ratio, at lambda = 1, up to a factor; None
    where they are not known. kinks: of the arguments of pair, functions a that are 0 where its slope jumps, with the derivatives that
    pair has. rounded: pair with its kinks, where it has any, rounded off over one more argument, a width.
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


PAIR = ("lam", "logp_w", "logp_l", "ref_logp_w", "ref_logp_l")
"""Arguments of every pair loss."""


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
    link = objective.regulariser
    return CompiledLoss(
        objective, False, False, True, **_of_link(link), divergence=_of_divergence(link), data=("reward_w", "reward_l")
    )


def _of_pairs(objective: PairObjective) -> CompiledLoss:
    if objective.is_made_of_terms and can_be_of_pairs(objective):
        objective = OfPairs(objective.lam, objective)
    facts = [objective.with_lam(lam).facts_at(None) for lam in LAMS]
    if facts[0].couples_pairs:
        raise NotCompiled("couples the pairs of a batch, and has no loss of a single pair")
    data = tuple(name for name in objective.data if not name.startswith("length_"))
    inputs = _inputs(data)
    derived = {} if not objective.data else _derived(objective, data)
    made = objective.is_made_of_terms
    pair = _of_terms(objective, inputs) if made else _of_formula(objective, inputs)
    _check_pair(objective, pair, inputs)
    convex = all(one.convex for one in facts)
    link = facts[0].link
    linked: dict[str, Any] = {}
    if made and not convex and link is not None and type(link) is not ReverseKL and all(f.psis_convex for f in facts):
        linked = {**_of_link(link), "scored": _of_terms(objective, inputs, scores=True)}
    divergence, kinks = objective.regulariser, _kinks(pair)
    return CompiledLoss(
        objective,
        convex=convex,
        log_ratio_only=all(one.log_ratio_only for one in facts),
        reward=False,
        data=data,
        pair=pair,
        divergence=None if divergence is None else _of_divergence(divergence),
        derived=derived,
        slopes=_slopes(facts[2]) if made and (convex or linked) else None,
        kinks=kinks,
        rounded=_rounded(pair, kinks) if kinks else None,
        **linked,
    )


def _slopes(facts: Facts) -> tuple[float, float] | None:
    """The slopes at both ends, where they are numbers, and nothing else decides about existence."""
    known = facts.slopes
    if known is None or any(np.size(end) != 1 for end in known):
        return None
    left, right = (float(np.asarray(end).reshape(())) for end in known)
    return left, right


FAR, TINY = 100.0, 1e-100
"""Comparisons with numbers beyond these keep functions from overflowing, and are no kinks."""


def _kinks(pair: Function) -> tuple[Function, ...]:
    """Where the two sides of a comparison meet on which the loss depends, and its slope jumps there."""
    found: dict[Node, Function] = {}
    for node in ex.in_order([pair.results[0]]):
        if node.operation not in ("less", "less_equal", "minimum", "maximum", "abs"):
            continue
        first, second = node.on if len(node.on) == 2 else (ex.number(0.0), node.on[0])
        if any(x.operation == "number" and (abs(x.value) > FAR or 0 < abs(x.value) < TINY) for x in (first, second)):
            continue
        gap = ex.subtract(second, first)
        if {"logp_w", "logp_l"} & ex.reads(gap) and _jumps(pair, gap):
            found[gap] = Function(pair.arguments, _with_derivatives(gap))
    return tuple(found.values())


def _rounded(pair: Function, kinks: tuple[Function, ...]) -> Function:
    """A smooth loss close to one with kinks, of one more argument: ``width``, over which kinks are rounded off.

    What a comparison of a with 0 adds, r max(a, 0), becomes r width log(1 + e^(a / width)), which is convex where it
    was; where it is anything else, what is chosen between is blended by sigma(a / width).
    """
    gaps = {kink.results[0] for kink in kinks}
    width = ex.variable("width")
    by: dict[Node, Node] = {}
    for node in ex.in_order([pair.results[0]]):
        on = tuple(by.get(x, x) for x in node.on)
        same = node if on == node.on else ex.apply(node.operation, *on)
        sides = _sides(node)
        if sides is not None and sides[0] in gaps:
            gap, below, above = (ex.replaced(x, by) for x in sides)
            same = ex.add(below, _softened(gap, ex.subtract(above, below), width))
        if same is not node:
            by[node] = same
    value = by.get(pair.results[0], pair.results[0])
    return Function((*pair.arguments, "width"), _with_derivatives(value))


def _softened(gap: Node, rise: Node, width: Node) -> Node:
    """max(gap, 0) times rise / gap, rounded off."""
    soft = ex.negative(ex.multiply(width, ex.log_sigmoid(ex.negative(ex.divide(gap, width)))))
    if rise is gap:
        return soft
    if rise is ex.negative(gap):
        return ex.negative(soft)
    if rise is ex.add(gap, gap):
        return ex.multiply(ex.number(2.0), soft)
    return ex.multiply(rise, ex.sigmoid(ex.divide(gap, width)))


def _sides(node: Node) -> tuple[Node, Node, Node] | None:
    """Of a node that chooses: what it compares with 0, its value below, and its value above."""
    if node.operation == "where" and node.on[0].operation in ("less", "less_equal"):
        first, second = node.on[0].on
        return ex.subtract(second, first), node.on[2], node.on[1]
    if node.operation in ("minimum", "maximum"):
        first, second = node.on
        below, above = (second, first) if node.operation == "minimum" else (first, second)
        return ex.subtract(second, first), below, above
    if node.operation == "abs":
        return node.on[0], ex.negative(node.on[0]), node.on[0]
    return None


def _with_derivatives(value: Node) -> tuple[Node, ...]:
    """A function of log pi_w and log pi_l with its first and second derivatives, as ``pair`` has them."""
    w, l = ex.variable("logp_w"), ex.variable("logp_l")  # noqa: E741
    first = [ex.derivative(value, by) for by in (w, l)]
    return value, *first, ex.derivative(first[0], w), ex.derivative(first[0], l), ex.derivative(first[1], l)


def _jumps(pair: Function, gap: Node) -> bool:
    """Whether the loss has another slope on the one side of gap = 0 than on the other, close to it."""
    rng = np.random.default_rng(5)
    at = {ex.variable(name): -rng.exponential(3.0, size=POINTS) for name in pair.arguments}
    at[ex.variable("lam")] = np.exp(rng.normal(size=POINTS))
    by = next(ex.variable(name) for name in ("logp_w", "logp_l") if name in ex.reads(gap))
    slope, place = ex.derivative(gap, by), at[by]
    for _ in range(60):  # Newton's method, to where the sides meet
        with np.errstate(all="ignore"):
            place = place - ex.evaluate(gap, {**at, by: place}) / ex.evaluate(slope, {**at, by: place})
    own = pair.results[1 if by.value == "logp_w" else 2]
    step = 1e-6 * (1 + np.abs(place))
    above, below = (np.asarray(ex.evaluate(own, {**at, by: place + side * step})) for side in (1, -1))
    with np.errstate(all="ignore"):
        gaps = np.abs(above - below) / (np.abs(above) + np.abs(below) + 1e-300)
    return bool(np.any(gaps[np.isfinite(gaps)] > 1e-3)) if np.ndim(gaps) else bool(gaps > 1e-3)


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


def _function(arguments: tuple[str, ...], *results: Any) -> Function:
    nodes = tuple(_node_of(x) for x in results)
    strange = set().union(*map(ex.reads, nodes)) - set(arguments)
    if strange:
        raise NotTraceable(f"it reads {', '.join(sorted(strange))}")
    return Function(arguments, nodes)


def _node_of(value: Any) -> Node:
    if isinstance(value, Node):
        return value
    if isinstance(value, Traced):
        return value.expression
    array = np.asarray(value)
    if array.size and np.all(array == array.reshape(-1)[0]):
        return ex.number(float(array.reshape(-1)[0]))
    raise NotTraceable("it loses track of how its numbers were computed, as numpy.asarray(x) does")


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
    return _function((*PAIR, *(objective_data(inputs))), value, *first.values(), *second.values())


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
    scale, weight = (_node_of(evaluate(x, inputs)) for x in (statistic.scale, term.weight))
    first: dict[str, Node] = {}
    second: dict[str, Node] = {}
    for coefficient, atom in statistic.parts:
        d, dd = atom.derivatives_of(inputs)
        c = _node_of(coefficient)
        for at, own in ((first, d), (second, dd)):
            at[atom.slot] = ex.add(at.get(atom.slot, ex.number(0.0)), ex.multiply(c, _node_of(own)))
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
    at = _node_of(margin)
    value = _traced(psi.value, margin)
    if type(psi).derivatives is not Psi.derivatives:
        slope, bend = psi.derivatives(margin)
        return value, _node_of(slope), _node_of(bend)
    m = ex.variable("m")
    own = _traced(psi.value, symbol("m", margin.numbers))
    slope = ex.derivative(own, m)
    return value, ex.replaced(slope, {m: at}), ex.replaced(ex.derivative(slope, m), {m: at})


def _traced(function: Callable[[Any], Any], *arrays: Any) -> Node:
    """An elementwise function's expression: of numpy arrays, or of torch tensors, whichever it takes."""
    try:
        return _node_of(function(*arrays))
    except NotTraceable as reason:
        from .torch_trace import traced_by_torch

        try:
            return traced_by_torch(function, *arrays)
        except NotTraceable:
            raise reason from None
    except Exception:
        from .torch_trace import traced_by_torch

        return traced_by_torch(function, *arrays)


def _of_formula(objective: PairObjective, inputs: Mapping[str, Traced]) -> Function:
    """Value and derivatives of a bare formula, differentiated symbolically."""
    names = (*PAIR, *objective.data)
    arrays = [inputs[name] for name in names]

    def loss(lam: Any, *given: Any) -> Any:
        if isinstance(objective, FunctionLoss):
            return objective.call.losses(lam, dict(zip(objective_order(objective), given, strict=False)))
        return objective.with_lam(lam).pair_loss(*given)

    if isinstance(objective, FunctionLoss):
        from .torch_trace import traced_by_torch

        value = traced_by_torch(loss, inputs["lam"], *(inputs[name] for name in objective_order(objective)))
    else:
        value = _traced(loss, *arrays)
    return _function((*PAIR, *objective_data(inputs)), *_with_derivatives(value))


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


# ------------------------------------------------------------------------------------- divergences, and what is derived


def _log_u() -> Traced:
    return symbol("log_u", np.random.default_rng(1).normal(scale=2.0, size=POINTS))


def _of_link(link: Divergence) -> dict[str, Function]:
    """mu with its derivative, and descend, of log u and a gap."""
    log_u, gap = _log_u(), symbol("gap", np.abs(np.random.default_rng(2).normal(size=POINTS)))
    slope, _ = _of_divergences_own(link, log_u)
    found = {"mu": _function(("log_u",), link.mu(log_u), slope)}
    try:
        found["descend"] = _function(("log_u", "gap"), link.descend(log_u, gap))
    except NotTraceable:
        pass  # the page then inverts mu
    return found


def _of_divergences_own(link: Divergence, log_u: Traced) -> tuple[Any, Any]:
    if type(link).mu_derivatives is not Divergence.mu_derivatives:
        return link.mu_derivatives(log_u)
    value = _node_of(link.mu(log_u))
    slope = ex.derivative(value, log_u.expression)
    return slope, ex.derivative(slope, log_u.expression)


def _of_divergence(divergence: Divergence) -> Function:
    """A response's summand, and its first and second derivative in log pi but for those of a multiple of pi."""
    rng = np.random.default_rng(3)
    policy, reference = (symbol(name, -rng.exponential(2.0, size=POINTS)) for name in ("logp", "ref_logp"))
    value = _traced(divergence.terms, policy, reference)
    own = type(divergence).derivatives is not Divergence.derivatives
    try:
        first, second = divergence.derivatives(policy, reference) if own or _stated(divergence) else (None, None)
    except NotTraceable:
        first = None
    if first is None:
        first = ex.derivative(value, policy.expression)
        second = ex.derivative(first, policy.expression)
    return _function(("logp", "ref_logp"), value, first, second)


def _stated(divergence: Divergence) -> bool:
    from ..divergences import DIVERGENCES

    return type(divergence) in DIVERGENCES.values()


def _derived(objective: PairObjective, data: tuple[str, ...]) -> dict[str, dict[int, Function]]:
    """What the loss derives of all responses, by name and by how many these are."""
    kinds = sorted({name.rsplit("_", 1)[0] for name in data} - {"reward", "logp", "ref_logp"})
    made = {n: _derived_of(objective, n) for n in RESPONSES} if kinds else {}
    unknown = [kind for kind in kinds if kind not in made[RESPONSES[0]]]
    if unknown:
        raise NotCompiled(f"reads {', '.join(unknown)}, which the explorer does not have")
    return {kind: {n: own[kind] for n, own in made.items()} for kind in kinds}


def _derived_of(objective: PairObjective, n: int) -> dict[str, Function]:
    rng = np.random.default_rng(4)
    names = [f"{kind}{k}" for kind in "rg" for k in range(n)]
    numbers = {name: symbol(name, rng.normal(size=POINTS) - 1.0) for name in names}
    lam = symbol("lam", np.exp(rng.normal(size=POINTS)))
    known = {
        "ref_logp": stacked([numbers[f"r{k}"] for k in range(n)]),
        "reward": stacked([numbers[f"g{k}"] for k in range(n)]),
        "length": np.ones((n, POINTS)),
    }
    own = objective.with_lam(lam).derived(known)
    return {kind: _function(("lam", *names), *(values[k] for k in range(n))) for kind, values in own.items()}
