"""The first step: at pi = pi_ref, where the reference is already pi*, the gradient should be zero. [ours]

The cheapest test of preservation there is, as it needs no optimum, and one that a language model allows as well.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax

from ..._types import Floats
from ...bandit import Bandit
from ...losses import PairObjective
from ..falsify.problems import FAMILIES, pi_star
from ..falsify.search import Case, case_code
from ..subject import Subject, losses_of_pairs
from ..verdict import CANNOT_TELL, FAILS, HOLDS, PROVEN, Counterexample, Verdict
from .outcome import case_numbers

KEY = "first_step"
LAMS = (1.0, 0.1, 10.0, 0.01, 100.0, 1e-4, 1e4, 1e-6, 1e6, 1e8)
ZERO, NOT_ZERO = 1e-11, 1e-9
"""A gradient, relative to the sum of its parts, is zero below the one, and not zero above the other."""

JUMP, BESIDE = 1e-2, 1e-12
"""A gradient that changes by more of its parts within so short a step has a kink there."""

DESCENT = 1e-3
"""At a kink the loss must fall by so much of its parts for each unit of a step."""


@np.errstate(all="ignore")  # a loss may overflow one nat away
def relative_gradient(subject: Subject, bandit: Bandit, lam: float) -> Floats:
    """|gradient| at pi_ref by twice the sum of the moduli of its parts, per prompt: (P,), from 0 to 1.

    The parts are those of every ordered pair, and of the regulariser: so rounding has one size whatever lambda is. At a
    kink the gradient is one of many; it counts as zero there unless the loss falls in some direction.
    """
    log_reference = np.log(bandit.reference)
    gradient, size = _slopes(subject, bandit, lam, log_reference)
    aside = log_softmax(log_reference + np.eye(bandit.n)[0], axis=-1)
    # a thousandth of what they are nearby, in case all of them vanish at pi_ref
    size = np.maximum(size + 1e-3 * _slopes(subject, bandit, lam, aside)[1], 1e-300)
    found = np.abs(gradient).sum(axis=-1) / (2 * size)
    kink = (found > ZERO) & _bent(subject, bandit, lam, gradient, size)
    if not kink.any():
        return found
    return np.where(kink & ~(_steepest(subject, bandit, lam, gradient)[0] > DESCENT * size), 0.0, found)


def _bent(subject: Subject, bandit: Bandit, lam: float, gradient: Floats, size: Floats) -> NDArray[np.bool_]:
    """Whether the loss has a kink at pi_ref: its gradient is another one right beside it; (P,)."""
    step = BESIDE * gradient / np.maximum(np.abs(gradient).sum(axis=-1, keepdims=True), 1e-300)
    beside = [log_softmax(np.log(bandit.reference) + x, axis=-1) for x in (step, -step)]
    jumps = [np.abs(_slopes(subject, bandit, lam, x)[0] - gradient).sum(axis=-1) for x in beside]
    return np.asarray(np.max(jumps, axis=0) > JUMP * size)


def _slopes(subject: Subject, bandit: Bandit, lam: float, log_policy: Floats) -> tuple[Floats, Floats]:
    """The gradient in the logits at log-policies (P, n), and the sum of the moduli of all that it adds up from, (P,).

    A hundredth of what the arguments' size adds to slopes by way of the curvature is counted too: a squared error has
    small slopes near its target, and yet rounding as large as its curvature.
    """
    objective = subject.at(lam)
    if not isinstance(objective, PairObjective):
        parts = np.abs(np.log(pi_star(bandit)) * bandit.reference).sum(axis=-1) + objective.lam
        return subject.gradient(bandit, lam, log_policy), parts
    winner, loser, weight = bandit.edges
    log_reference = torch.from_numpy(np.log(bandit.reference))
    ends = [log_reference[:, end] for end in (winner, loser)]
    own = [torch.tensor(log_policy[:, end]).requires_grad_(True) for end in (winner, loser)]
    losses = losses_of_pairs(objective, bandit, own, ends)
    slopes = torch.autograd.grad(losses.sum(), own, allow_unused=True, create_graph=True)
    total, gradient = np.zeros(len(bandit.reference)), np.zeros(bandit.reference.shape)
    for slope, end, of in zip(slopes, own, (winner, loser), strict=True):
        if slope is not None:
            size = slope.detach().abs()
            if slope.requires_grad:
                (bend,) = torch.autograd.grad(slope.sum(), end, allow_unused=True, retain_graph=True)
                size = size + (0.0 if bend is None else 0.01 * bend.abs() * (1 - end.detach()))
            weighted = weight * slope.detach().numpy()
            total += (weight * size.numpy()).sum(axis=-1)
            np.add.at(gradient.T, of, weighted.T)
    gradient -= np.exp(log_policy) * gradient.sum(axis=-1, keepdims=True)
    if objective.regulariser is not None:
        theta = torch.tensor(log_policy, requires_grad=True)
        value = objective.lam * objective.regulariser(torch.log_softmax(theta, -1), log_reference)
        (pull,) = torch.autograd.grad(value.sum(), theta)
        gradient += pull.numpy()
        total += 2 * objective.lam + np.abs(pull.numpy()).sum(axis=-1)
    return gradient, total


def _steepest(subject: Subject, bandit: Bandit, lam: float, gradient: Floats) -> tuple[Floats, Floats]:
    """The steepest descent from pi_ref, by the fall of the values over the step, (P,), and log-policies there, (P, n).

    A descent must show at two sizes of step at least. Directions are those of each response, up and down, down the
    gradient, and some at random.
    """
    shape = bandit.reference.shape
    down = -gradient / np.maximum(np.abs(gradient).max(axis=-1, keepdims=True), 1e-300)
    each = np.broadcast_to(np.eye(shape[1])[:, None], (shape[1], *shape))
    others = subject.rng("directions").uniform(-1.0, 1.0, (8, *shape))
    directions = np.concatenate([each, -each, down[None], others])
    steps = np.array([1e-2, 1e-3, 1e-4, 1e-5]) / max(1.0, lam)
    log_reference = np.log(bandit.reference)
    there = log_softmax(log_reference + steps[:, None, None, None] * directions, axis=-1)
    fall = subject.value(bandit, lam, log_reference) - subject.value(bandit, lam, there)
    slope = np.sort(fall / steps[:, None, None], axis=0)[-2]  # the second largest over the steps
    best = np.argmax(slope, axis=0)
    prompt = np.arange(shape[0])
    longest = np.argmax(fall[:, best, prompt] > 0, axis=0)
    return slope[best, prompt], there[longest, best, prompt]


def judge(subject: Subject) -> Verdict:
    """The gradient at pi = pi_ref = pi*, on random problems and at every lambda."""
    rng = subject.rng(KEY)
    worst, tried = 0.0, 0
    where: tuple[float, Bandit, int] | None = None
    undecided = 0
    for n in (2, 3, 5):
        for family in FAMILIES.values() if where is None else ():
            if n == 2 and family.pairs is not None:
                continue
            bandit = family.draw(rng, 12, n, preserved=True)
            for lam in LAMS:
                found = relative_gradient(subject, bandit, float(lam))
                tried += len(found)
                undecided += int((~(found <= ZERO)).sum())
                if np.fmax.reduce(found) > worst:
                    worst = float(np.fmax.reduce(found))
                    if worst > NOT_ZERO and where is None:
                        where = (float(lam), bandit, int(np.nanargmax(found)))
    conditions = f"π = π_ref = π*; 2 to 5 responses; λ from 1e-6 to 1e8; {tried} problems"
    evidence = {"largest gradient, relative to its parts": worst, "problems": tried}
    if where is not None:
        return Verdict(
            KEY,
            FAILS,
            "the first step leaves a reference that is already π*",
            conditions,
            evidence,
            _example(subject, *where),
            PROVEN,
        )
    if undecided == 0:
        return Verdict(KEY, HOLDS, "the first step stays at a reference that is already π*", conditions, evidence)
    return Verdict(KEY, CANNOT_TELL, "some gradients are neither zero nor clearly not zero", conditions, evidence)


def _example(subject: Subject, lam: float, bandit: Bandit, p: int) -> Counterexample:
    """The problem, with rounded policies where these will do."""
    case, policy = Case.of(bandit, p, (lam,)), bandit.reference[p]
    for digits in (1, 2, 3):
        rounded = np.round(policy, digits)
        rounded[rounded.argmax()] = np.round(rounded[rounded.argmax()] + 1 - rounded.sum(), digits)
        for tried in (1.0, lam):
            if (rounded > 0).all():
                rounder = Case(rounded, rounded, case.pairs, (tried,))
                if relative_gradient(subject, _one(rounder), tried)[0] > NOT_ZERO:
                    case = rounder
                    break
        else:
            continue
        break
    one, (lam,) = _one(case), case.lams
    gradient, size = _slopes(subject, one, lam, np.log(one.reference))
    if _bent(subject, one, lam, gradient, size)[0]:
        return _lower_beside(subject, case, np.exp(_steepest(subject, one, lam, gradient)[1][0]))
    gradient = gradient[0]
    size = 0.9 * np.abs(gradient).sum()
    lines = [
        f"lam, theta = {case.lams[0]!r}, torch.tensor(np.log(bandit.reference), requires_grad=True)",
        f"ea.risk({subject.expression}, bandit, theta.log_softmax(-1)).backward()",
        "print(theta.grad)",
        f"assert theta.grad.abs().sum() > {size:.3g}",
    ]
    return Counterexample(
        f"at π = π_ref = π* the gradient in the logits is {np.round(gradient, 6).tolist()} (λ = {lam:g})",
        {**case_numbers(case), "gradient": gradient.tolist()},
        _code(subject, case, lines).replace(subject.imports, f"import torch\n{subject.imports}"),
    )


def _one(case: Case) -> Bandit:
    """A case as a batch of one."""
    return Bandit(case.reference[None], case.optimal[None], case.bandit.pairs)


def _code(subject: Subject, case: Case, lines: list[str]) -> str:
    """Python that builds the case, and goes on with ``lines``: no optimum is asked for."""
    code = case_code(subject, case, lines).splitlines()
    return "\n".join(line for line in code if not line.startswith("solutions = "))


def _lower_beside(subject: Subject, case: Case, policy: Floats) -> Counterexample:
    """At a kink, where a gradient says little: a policy beside pi* with a lower value."""
    (lam,) = case.lams
    here, there = (float(subject.value(case.bandit, lam, np.log(p))) for p in (case.optimal, policy))
    lines = [
        f"lam, beside = {lam!r}, np.array({policy.tolist()})",
        "policies = (bandit.optimal, beside / beside.sum())",
        f"values = [float(ea.risk({subject.expression}, bandit, np.log(p))) for p in policies]",
        "print(values)",
        "assert values[1] < values[0]",
    ]
    return Counterexample(
        f"at π = π_ref = π* the loss has a kink, and falls: it is {here:.9g} there and {there:.9g} at "
        f"{np.round(policy, 6).tolist()} beside it (λ = {lam:g})",
        {**case_numbers(case), "policy": policy.tolist(), "values": [here, there]},
        _code(subject, case, lines),
    )
