"""Gradient weight: how hard does a pair pull, by how well it is ranked already? [ours]

The weight of a pair is |dF/dh|, h = log pi_w/pi_l, along all policies of two responses with an even reference, F being
the loss of the pair alone: what scales its gradient in a batch. A practitioner wants it *bounded*, or else one outlier
takes the step, and *not fading* where the pair is badly ranked, or else gradient descent forgets the pairs it should
learn from (as a sigmoid loss does; some call it robust). Margins are looked at from -30/lam to 30/lam, as most losses
see lam h; growth to four times as far. That it fades on pairs that are well ranked is no fault.

The limits of the slope at both ends prove what fails: the weight is unbounded if one of them is infinite, and fades on
badly ranked pairs if that at -infinity is zero. Of a convex loss of the log-ratio the slope rises with h, and the
limits prove that the weight is bounded, too.
"""

from __future__ import annotations

import numpy as np
import torch

from ..._types import Floats
from ...bandit import Bandit
from ...losses import Facts, PairObjective
from ...losses.data import Data
from ...losses.psi import Slopes
from ...losses.statistics import SLOTS, Atom, Powered
from ..ordinary import measured, not_a_risk
from ..subject import Subject, facts_of, losses_of_pairs
from ..verdict import CANNOT_TELL, EVIDENCE, FAILS, HOLDS, NOT_APPLICABLE, PROVEN, Counterexample, Verdict

KEY = "gradient_weight"
LAMS = (0.1, 1.0, 0.01)
REACH = 30.0
"""lam times the largest margin that is looked at."""
FADED = 0.01
"""A weight below this share of the largest has faded."""
GROWS = 1.2
"""A weight that grows by more than this from 2 to 4 times the reach, and from the reach to 2 times, is unbounded."""
ONE_WIN = Bandit.from_counts([[0.5, 0.5]], [[[0, 1], [0, 0]]], rewards=np.log([[0.7, 0.3]]))


@np.errstate(all="ignore")
def weights(subject: Subject, lam: float, margins: Floats) -> Floats:
    """|dF/dh| at margins h (M,) of two responses, under an even reference, (M,)."""
    objective = subject.at(lam)
    assert isinstance(objective, PairObjective)
    h = torch.tensor(margins[:, None], requires_grad=True)
    ends = [torch.nn.functional.logsigmoid(x) for x in (h, -h)]
    even = torch.full_like(h, np.log(0.5))
    losses = losses_of_pairs(objective, ONE_WIN, ends, [even, even])
    (slope,) = torch.autograd.grad(losses.sum(), h)
    return np.asarray(np.abs(slope.numpy()[:, 0]))


def behaviour(subject: Subject, lam: float) -> tuple[str, Floats, Floats]:
    """``"bounded"``, ``"fades"``, ``"unbounded"``, ``"nothing"`` or ``"undefined"``; margins up to the reach, and the
    weights there."""
    far = REACH / lam * np.array([-4.0, -2.0, -1.0, 1.0, 2.0, 4.0])
    margins = np.linspace(-REACH, REACH, 241) / lam
    found = weights(subject, lam, np.concatenate([far, margins]))
    ends, inside = found[:6], found[6:]
    if np.isnan(found).any():
        return "undefined", margins, inside
    largest = inside.max()
    if not largest > 0:
        return "nothing", margins, inside
    for once, twice, four in (ends[2::-1], ends[3:]):
        if not np.isfinite(four) or (four > GROWS * twice and twice > GROWS * once and four > largest):
            return "unbounded", margins, inside
    return ("fades" if inside[0] < FADED * largest else "bounded"), margins, inside


def judge(subject: Subject) -> Verdict:
    """The weight along the margin, at three lambdas."""
    outside = not_a_risk(subject, KEY, pairs=True)
    if outside is not None:
        return outside
    conditions = (
        f"one pair of two responses, an even reference; margins log π_w/π_l from -{REACH:g}/λ to {REACH:g}/λ, growth "
        f"up to four times as far; λ = {', '.join(f'{lam:g}' for lam in sorted(LAMS))}"
    )
    found = {lam: behaviour(subject, lam) for lam in LAMS}
    kinds = {kind for kind, _, _ in found.values()}
    evidence = {
        f"λ = {lam:g}: weight at {name}": float(np.interp(x / lam, margins, inside))
        for lam, (_, margins, inside) in found.items()
        for name, x in (("-30/λ", -REACH), ("0", 0.0), ("30/λ", REACH))
    }
    if kinds == {"nothing"}:
        return Verdict(KEY, NOT_APPLICABLE, "the loss of a pair does not depend on its margin", conditions, evidence)
    if "undefined" in kinds:
        why = "its slope is not a number at some margins"
        return Verdict(KEY, CANNOT_TELL, why, conditions, evidence)
    for kind, fault in (("unbounded", "grows without bound"), ("fades", "fades where the pair is badly ranked")):
        lam = next((lam for lam in LAMS if found[lam][0] == kind), None)
        if lam is not None:
            example = _shown(subject, lam, kind, *found[lam][1:])
            _, margins, inside = found[lam]
            size = (
                measured("", (inside[margins < 0] < FADED * inside.max()).astype(float), of="badly ranked margins")
                if kind == "fades"
                else measured("times its weight at 0", _relative(margins, inside), least=2.0, of="margins up to 30/λ")
            )
            basis = PROVEN if _by_slopes(subject, lam) == kind else EVIDENCE
            return Verdict(
                KEY, FAILS, f"the weight of a pair {fault}", conditions, evidence, example, basis, "", size, kind
            )
    summary = "the weight of a pair is bounded, and does not fade where it is badly ranked"
    return Verdict(KEY, HOLDS, summary, conditions, evidence, answer="bounded")


def _relative(margins: Floats, inside: Floats) -> Floats:
    """The weights in units of that at 0, or of the median if it is zero there."""
    own = inside[np.argmin(np.abs(margins))]
    unit = own if own > 0 else float(np.median(inside))
    return np.asarray(inside / unit) if unit > 0 else np.full(len(inside), np.nan)


def _by_slopes(subject: Subject, lam: float) -> str:
    """What the limits of the slope in the log-ratio say; empty where they say nothing."""
    facts = facts_of(subject.at(lam))
    limits = facts.slopes if facts.log_ratio_only else _limits(facts)
    if limits is None:
        return ""
    left, right = (np.asarray(end) for end in limits)
    if np.isinf(left).any() or np.isinf(right).any():
        return "unbounded"
    if (left == 0).any():
        return "fades"
    return "bounded" if facts.log_ratio_only and facts.psis_convex else ""


def _limits(facts: Facts) -> Slopes | None:
    """Limits of dF/dh as pi_w -> 0 and pi_l -> 1, and the other way, of terms of single scores: nan for one that is not
    known, None for both.

    Of two responses log pi_w and log pi_l have the slopes pi_l and -pi_w in h. What the likely one adds to a statistic
    stays finite, and its slope tends to 0; what is left is psi's own limit times the step of the unlikely one.
    """
    ends = [0.0, 0.0]
    for term in facts.bound:
        scale, weight, slopes = term.statistic.scale, term.weight, term.psi.slopes
        if slopes is None or any(np.ndim(x) or isinstance(x, Data) for x in (scale, weight, *slopes)):
            return None
        if not {atom.slot for _, atom in term.statistic.parts} <= set(SLOTS):
            return None
        for k, slot in enumerate(SLOTS):
            steps = [c * scale * _steep(atom) for c, atom in term.statistic.parts if atom.slot == slot]
            step = sum(steps)
            if step != 0:  # the statistic runs to infinity, with psi to an end
                ends[k] += (1 - 2 * k) * weight * float(slopes[0] if step > 0 else slopes[1]) * step
    return ends[0], ends[1]


def _steep(atom: Atom) -> float:
    """The slope of a score in log pi as pi -> 0, where it runs to -infinity; nan where it is not known."""
    if isinstance(atom, Powered):
        return np.inf if atom.alpha > 0 else np.nan
    return 1.0 if atom.plain else np.nan


def _shown(subject: Subject, lam: float, kind: str, margins: Floats, inside: Floats) -> Counterexample:
    """Margins with the weights that tell."""
    objective = subject.at(lam)
    assert isinstance(objective, PairObjective)
    edge = REACH / lam
    if kind == "fades":
        shown = [-edge, float(margins[np.argmax(inside)])]
        check, said = f"weights[0] < {FADED:g} * weights[1]", "of a badly ranked pair, and the largest"
    else:
        far = weights(subject, lam, edge * np.array([-4.0, -1.0, 1.0, 4.0]))
        sign = -1.0 if not far[0] < far[3] else 1.0
        shown = [sign * edge, 2 * sign * edge, 4 * sign * edge]
        check, said = (
            f"weights[2] > {GROWS} * weights[1] > {GROWS**2:.3g} * weights[0]",
            "at margins farther and farther out",
        )
    found = weights(subject, lam, np.array(shown))
    reads = ", rewards=np.log([0.7, 0.3])" if objective.data else ""
    regulariser = " - lam * loss.regulariser(logs, torch.full_like(logs, np.log(0.5)))" if objective.regulariser else ""
    code = "\n".join(
        [
            f"import torch\n{subject.imports}",
            "",
            f"lam, margins = {lam!r}, torch.tensor({shown}, dtype=torch.float64, requires_grad=True)",
            f"loss = {subject.expression}",
            f"one_win = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]]{reads})",
            "logs = torch.nn.functional.logsigmoid(torch.stack([margins, -margins], dim=-1))",
            f"losses = ea.risk(loss, one_win, logs){regulariser}",
            "weights = torch.autograd.grad(losses.sum(), margins)[0].abs().tolist()",
            f"print('weights {said}:', weights)",
            f"assert {check}",
        ]
    )
    numbers = {"lam": lam, "margins": shown, "weights": found.tolist()}
    told = ", ".join(f"{weight:.3g} at {margin:g}" for weight, margin in zip(found, shown, strict=True))
    return Counterexample(f"the weight of a pair is {told} (λ = {lam:g})", numbers, code)
