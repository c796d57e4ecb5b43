r"""What happens to the mass of what was never compared. [ours]

**Pair gradients cancel** (log-ratios only, plus lam KL(pi_ref || pi)). Move all logits of a component C up together. No
pair loss changes, as no pair leaves C; KL(pi_ref || pi) has the derivative pi(C) - pi_ref(C). At any minimiser that is
0 (the divergence is differentiable, and a minimum along this line too): every component, and every response in no
pair, keeps its mass. No convexity is needed.

**One number for two probabilities** (the pair loss reads s(pi_w) - s(pi_l) for one increasing s, and no divergence). Of
three responses let two be compared. The risk is a function E of d = s(pi_0) - s(pi_1), and if d is attained by one
policy it is by a curve of them: raising both probabilities so that d stays takes mass from the third. With convex psis
and both winning equally often E is even and convex, so least at d = 0. All policies with pi_0 = pi_1 are minimisers.
(A penalty on shortfalls, as DPOP has it, can but raise the loss, and is 0 where neither falls short.)

**All together up, or down** (every term rises, or none does, and one strictly, as the log-probabilities of a pair rise
together; no divergence). Then mass always goes from those compared to a response in no pair, or from that to them,
from any policy with positive probabilities: none keeps the mass of the unseen at a minimum, and all of it moves.
The same for -log pi_w beside convex psis of s(pi_w) - s(pi_l) (ORPO), where both win equally often: at any mass m of
the two, the risk is least where they are equal, and there it falls in m as -log m does.

**A stationary point elsewhere** (psis convex, of single log-probabilities or differences of them; no divergence). With
two of three responses compared, intervals enclose the minimum of G over the log-probabilities of the two (see
`boxes`); it is the minimiser, as the third takes what is left; and the mass in the enclosure is not the reference's.

**A reward that is fitted** (RLHF) is known on each component up to a constant of its own, and that constant moves mass
between components.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...bandit import Bandit
from ...divergences import ForwardKL
from ...losses import RewardObjective
from ...optima import solve
from ..verdict import FAILS, HOLDS, Counterexample
from .boxes import SingleScores
from .examples import ONE_PAIR, TIED, bandit_lines, falling, program, risks, tied
from .rule import Conclusion, Known, Rule, refuted

LAMS = (1.0, 3.0, 10.0, 0.3)

APART = 1e-6
"""In 1-norm, by how much two optima differ at least."""


def _cancel(known: Known) -> Conclusion | None:
    if not (known.shape.of_log_ratios and type(known.shape.regulariser) is ForwardKL):
        return None
    return Conclusion(HOLDS, "every component, and every response in no pair, keeps its mass under the reference")


def left_open(summary: str, statement: str) -> Callable[[Known], Conclusion | None]:
    """What follows where the policy enters by one number alone: the mass of a response in no pair is left open."""

    def conclude(known: Known) -> Conclusion | None:
        shape = known.shape
        if not (shape.alone and (shape.of_one_number or shape.only_shortfalls_beside_it)):
            return None
        if shape.psis_convex or shape.only_shortfalls_beside_it:
            return refuted(summary, tied(known.subject, statement))
        return Conclusion(FAILS, summary) if shape.attained_both_ways else None

    return conclude


def _all_together(known: Known) -> Conclusion | None:
    shape = known.shape
    way = shape.along_both or (-1 if shape.likelihood_beside_one_number else 0)
    if not shape.alone or not way or shape.finite_scores:
        return None
    shares = [0.5, 0.6, 0.8, 0.95, 0.999] if way < 0 else [0.5, 0.4, 0.2, 0.05, 1e-3]
    policies = [[x / 2, x / 2, 1 - x] for x in shares]
    where = "to those that are compared" if way < 0 else "from those that are compared"
    statement = f"the risk falls whenever mass goes {where}: the response in no pair keeps its mass in no minimum"
    bandit = Bandit(*TIED, ONE_PAIR)
    example = falling(known.subject, bandit, 1.0, policies, statement)
    summary = f"the mass of a response in no pair goes {'to the others' if way < 0 else 'up'}, all the way"
    return refuted(summary, example)


def _elsewhere(known: Known) -> Conclusion | None:
    shape, subject = known.shape, known.subject
    if not (shape.alone and shape.psis_convex) or shape.finite_scores or shape.of_one_number:
        return None
    bandit = Bandit([0.2, 0.2, 0.6], [0.3, 0.2, 0.5], ONE_PAIR)
    for lam in LAMS:
        scores = SingleScores.of(subject.objective, bandit, lam)
        box = None if scores is None else scores.minimum_inside()
        if box is None:
            continue
        low, high = (np.exp(x) for x in box)
        before = float(bandit.reference[:2].sum())
        if not (high.sum() < before - 1e-6 or low.sum() > before + 1e-6):
            continue
        first, second = (low + high) / 2
        best = [first, second, 1 - first - second]
        shares = np.linspace(1e-3, 1 - 1e-3, 999)
        keeping = np.stack([before * shares, before * (1 - shares), 1 - before + 0 * shares], axis=1)
        values, kept = risks(subject, bandit, lam, [best])[0], risks(subject, bandit, lam, keeping).min()
        if not kept > values:
            continue
        code = program(
            subject,
            [
                *bandit_lines(bandit, lam, [best]),
                "share = torch.linspace(1e-3, 1 - 1e-3, 999, dtype=torch.float64)",
                f"keeping = torch.stack([{before} * share, {before} * (1 - share), {1 - before} + 0 * share], 1)",
                f"best, kept = (ea.risk({subject.expression}, bandit, x.log()).min() for x in (policies, keeping))",
                f"print('masses', policies[0, :2].sum().item(), 'before', {before}, 'risks', best.item(), kept.item())",
                f"assert best < kept and abs(policies[0, :2].sum() - {before}) > 1e-6",
            ],
        )
        example = Counterexample(
            f"the two responses that are compared go from a mass of {before:g} to {first + second:.6g}, at a minimum "
            f"that intervals enclose (λ = {lam:g})",
            {
                "reference": bandit.reference.tolist(),
                "optimal": [0.3, 0.2, 0.5],
                "pairs": ONE_PAIR,
                "lam": lam,
                "policy": best,
                "mass before": before,
                "mass after": first + second,
                "value": float(values),
                "lowest value with the masses kept": float(kept),
            },
            code,
        )
        summary = "mass moves between what was never compared (a response in no pair)"
        return Conclusion(FAILS, summary, example, settled=True)
    return None


def _fitted(known: Known) -> Conclusion | None:
    example = open_reward(known)
    summary = "the mass of what was never compared is left open: its reward is not known"
    return refuted(summary, example)


def open_reward(known: Known) -> Counterexample | None:
    """Two rewards of one likelihood, and RLHF's optima for them."""
    objective, subject = known.subject.objective, known.subject
    if not isinstance(objective, RewardObjective) or type(objective).reward_terms is not RewardObjective.reward_terms:
        return None
    counts, reference, rewards = [[0, 1, 0], [1, 0, 0], [0, 0, 0]], [0.25, 0.25, 0.5], [[0.0] * 3, [0.0, 0.0, 1.0]]
    known_rewards = [Bandit.from_counts(reference, counts, rewards=r) for r in rewards]
    found = [solve(subject.at(1.0), one) for one in known_rewards]
    apart = float(np.abs(found[0].policy - found[1].policy).sum())
    if not apart > APART:
        return None
    code = program(
        subject,
        [
            f"lam, reference, counts = 1.0, {reference}, {counts}",
            "rewards = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)",
            "bandit = ea.Bandit.from_counts(reference, counts)",
            "fits = ea.risk(ea.BradleyTerry(1.0), bandit, rewards.log_softmax(-1)).tolist()",
            "known = [ea.Bandit.from_counts(reference, counts, rewards=r) for r in rewards.numpy()]",
            f"policies = [ea.solve({subject.expression}, one).policy for one in known]",
            "print('one likelihood:', fits, 'two optima:', policies)",
            f"assert abs(fits[0] - fits[1]) < 1e-14 and abs(policies[0] - policies[1]).sum() > {apart / 2:.2g}",
            f"assert ea.solve({subject.expression}, bandit).status == 'not_unique'",
        ],
    )
    return Counterexample(
        "the reward of a response in no pair may be anything: fitted rewards (0, 0, 0) and (0, 0, 1) have one "
        "likelihood and different optima (λ = 1)",
        {"reference": reference, "counts": counts, "lam": 1.0, "rewards": rewards},
        code,
    )


RULES = (
    Rule(
        "pair_gradients_cancel",
        "conservation",
        "Beside losses of log-ratios KL(π_ref ‖ π) has, along all logits of a component, the slope π(C) - π_ref(C).",
        _cancel,
    ),
    Rule(
        "one_number_leaves_masses_open",
        "conservation",
        "A pair loss of s(π_w) - s(π_l) alone does not say how much mass the pair has.",
        left_open(
            "the mass of what was never compared is left open (a response in no pair)",
            "two policies with different masses for the response in no pair both have the lowest value",
        ),
    ),
    Rule(
        "all_together_up_or_down",
        "conservation",
        "A pair loss that strictly rises, or falls, as both probabilities rise moves the mass of unseen responses.",
        _all_together,
    ),
    Rule(
        "a_minimum_elsewhere",
        "conservation",
        "Intervals enclose the minimum, at which the masses are not the reference's.",
        _elsewhere,
    ),
    Rule(
        "a_fitted_reward_is_open",
        "conservation",
        "A fitted reward is known on each component up to a constant of its own, which moves mass between them.",
        _fitted,
    ),
)
