"""The first step: at pi = pi_ref, where the reference is already pi*, the gradient should be zero. [ours]

The cheapest test of preservation there is, as it needs no optimum, and one that a language model allows as well.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import log_softmax

from ...bandit import Bandit
from ...losses import Objective, PairObjective
from ..falsify.problems import FAMILIES, pi_star
from ..falsify.search import Case, case_code
from ..subject import Subject, losses_of_pairs
from ..verdict import CANNOT_TELL, FAILS, HOLDS, Counterexample, Verdict
from .outcome import case_numbers

KEY = "first_step"
LAMS = (1.0, 0.1, 10.0, 0.01, 100.0, 1e-4, 1e4, 1e-6, 1e6, 1e8)
ZERO, NOT_ZERO = 1e-11, 1e-9
"""A gradient, relative to the sum of its parts, is zero below the one, and not zero above the other."""


@np.errstate(all="ignore")  # a loss may overflow one nat away
def relative_gradient(subject: Subject, bandit: Bandit, lam: float) -> np.ndarray:
    """|gradient| at pi_ref by the sum of the moduli of its parts, per prompt: (P,).

    The parts are those of every ordered pair, and of the regulariser: so rounding has one size whatever lambda is.
    """
    log_reference = np.log(bandit.reference)
    gradient = np.abs(subject.gradient(bandit, lam, log_reference)).sum(axis=-1)
    objective = subject.at(lam)
    aside = log_softmax(log_reference + np.eye(bandit.n)[0], axis=-1)
    # a thousandth of what they are nearby, in case all of them vanish at pi_ref
    size = _parts(objective, bandit, log_reference) + 1e-3 * _parts(objective, bandit, aside)
    return gradient / np.maximum(size, 1e-300)


def _parts(objective: Objective, bandit: Bandit, log_policy: np.ndarray) -> np.ndarray:
    """Sum of the moduli of all that adds up to the gradient at log-policies (P, n), (P,).

    A hundredth of what the arguments' size adds to slopes by way of the curvature is counted too: a squared error has
    small slopes near its target, and yet rounding as large as its curvature.
    """
    if not isinstance(objective, PairObjective):
        return np.abs(np.log(pi_star(bandit)) * bandit.reference).sum(axis=-1) + objective.lam
    winner, loser, weight = bandit.edges
    log_reference = torch.from_numpy(np.log(bandit.reference))
    ends = [log_reference[:, end] for end in (winner, loser)]
    own = [torch.tensor(log_policy[:, end]).requires_grad_(True) for end in (winner, loser)]
    losses = losses_of_pairs(objective, bandit, own, ends)
    slopes = torch.autograd.grad(losses.sum(), own, allow_unused=True, create_graph=True)
    total = np.zeros(len(bandit.reference))
    for slope, end in zip(slopes, own, strict=True):
        if slope is not None:
            size = slope.detach().abs()
            if slope.requires_grad:
                (bend,) = torch.autograd.grad(slope.sum(), end, allow_unused=True, retain_graph=True)
                size = size + (0.0 if bend is None else 0.01 * bend.abs() * (1 - end.detach()))
            total += (weight * size.numpy()).sum(axis=-1)
    return np.asarray(total + (0.0 if objective.regulariser is None else 2 * objective.lam))


def judge(subject: Subject) -> Verdict:
    """The gradient at pi = pi_ref = pi*, on random problems and at every lambda."""
    rng = subject.rng(KEY)
    worst, tried = 0.0, 0
    where: tuple[float, Bandit, int] | None = None
    undecided = 0
    for n in (2, 3, 5):
        for family in FAMILIES.values():
            if n == 2 and family.pairs is not None:
                continue
            bandit = family.draw(rng, 20, n, preserved=True)
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
                one = Bandit(rounded[None], rounded[None], rounder.bandit.pairs)
                if relative_gradient(subject, one, tried)[0] > NOT_ZERO:
                    case = rounder
                    break
        else:
            continue
        break
    one = case.bandit
    gradient = subject.gradient(one, case.lams[0], np.log(one.reference))
    size = 0.9 * np.abs(gradient).sum()
    lines = [
        f"lam, theta = {case.lams[0]!r}, torch.tensor(np.log(bandit.reference), requires_grad=True)",
        f"ea.risk({subject.expression}, bandit, theta.log_softmax(-1)).backward()",
        "print(theta.grad)",
        f"assert theta.grad.abs().sum() > {size:.3g}",
    ]
    code = case_code(subject, case, lines).replace(subject.imports, f"import torch\n{subject.imports}")
    code = "\n".join(line for line in code.splitlines() if not line.startswith("solutions = "))
    return Counterexample(
        f"at π = π_ref = π* the gradient in the logits is {np.round(gradient, 6).tolist()} (λ = {case.lams[0]:g})",
        {**case_numbers(case), "gradient": gradient.tolist()},
        code,
    )
