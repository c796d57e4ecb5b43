r"""Whether every data set has a minimiser. [ours]

**Which policies count.** A loss of log-probabilities alone lives on the open simplex: its margins are infinite on the
boundary, and a policy there is none that any logits have. An objective with an explicit divergence, or with margins
that stay finite at probability 0 (f-DPO with chi-square), is a function on the closed simplex, where -log sigma(inf) =
0; an optimum on its boundary is one.

**A divergence holds** (L bounded below, D an f-divergence that keeps all minimising sequences of F = L + lam D off the
boundary). On compact sets of the open simplex F is continuous, so that it is least somewhere. Where D is infinite on
the boundary (forward KL, alpha >= 1) F tends to infinity there, as L is bounded below. For f'(0+) = -inf it is enough
that L does not see lambda, reads log-ratios only and nears straight lines at a rate r >= 1, that is |psi'(h)| <= C
exp(-r |h|) where raising the loser costs (reverse KL, Jensen-Shannon, KL + chi-square beside a logistic loss; r > 1 -
alpha for alpha < 1). For let Z be what tends to 0 along a sequence with F -> inf F, m its mass. Multiply all of Z by
1 + s and the rest by what keeps the sum. Ratios inside Z and inside the rest stay; those between change by a factor of
1 + O(s), which costs at most C s m; and lam D changes by at most s m (C + lam max_Z f'(u)). As f'(u) -> -inf on Z that
is below -s m: scaling Z up to a fixed small mass lowers F by a fixed amount, so the sequence was no minimising one.

For chi-square this says nothing, and it may be false: where both of a pair tend to 0 L has no value, and F is not lower
semicontinuous (see `vertex`).

**Gaps close** (log-ratios only, and no divergence; each psi falls up to some finite margin and rises from some finite
margin on, or all are convex and their sum does). Then a pair's risk, with any numbers of wins both ways, falls in h up
to some -c and rises from some c on, c the largest over all data of this lambda and reference. Order the logits of a
connected component. If two neighbours are farther apart than c, move all above down until they are c apart: every pair
across was farther apart than c, comes closer, stays at least c apart, and so loses nothing. So the risk over policies
whose gaps are at most c, a compact set but for shifts, has the infimum of all. (IPO, EXO, regression EXPO, smoothing.)

**A bounded linear program attains** (log-ratios only, each psi a maximum of straight lines, bounded below). The risk is
the value of a linear program that is bounded below, and one that is attains its infimum (hinge).

**One comparison asks for more** (the pair loss strictly falls as the winner gains on the loser, and no divergence).
With two responses and one comparison the risk falls strictly in log pi_w/pi_l, all the way: the infimum is attained
nowhere. So it is for a psi that is positive everywhere and tends to 0 (DiscoPOP).

**An unseen response takes the mass** (the pair loss strictly rises in the loser's log-probability, or falls in the
winner's, the other given; no divergence). Let the third of three responses be in no comparison, and one comparison be
all the data. From any policy with positive probabilities move some of the loser's mass to the third, or some of the
third's to the winner: the loss falls. So none is a minimiser.

**No stationary policy** (psis convex, of single log-probabilities or differences of them; no divergence). With the same
data the log-probabilities x of winner and loser range over the open set exp x_w + exp x_l < 1, the third takes what is
left, and a minimiser is a stationary point of G(x). As psi' never falls, intervals of x give intervals of the
gradient; boxes that cover the set, on each of which one partial derivative keeps a sign, prove that there is none.
(SPPO, Cal-DPO, PRO at small lambda: the winner wants more than all mass.)

**Finite on the boundary** (all margins are finite where probabilities are 0): the loss is continuous on the closed
simplex, which is compact. (f-DPO with chi-square.)

**A loss of 0** (A*-PO with beta = lam, QRPO with the exact partition function): a sum of squares is 0 at the policy
pi_ref exp(r/lam)/Z, whatever is compared.

**A reward that is fitted** (RLHF): as in RLHF's first stage the reward is the Bradley-Terry likelihood's, which has no
maximum where some response never loses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax

from ...divergences import DIVERGENCES, Alpha, ForwardKL
from ...losses import QRPO, AStarPO, BradleyTerry, RewardObjective
from ...optima.structure import held_inside
from ..falsify.problems import counted, rewards_written
from ..subject import Subject
from ..verdict import FAILS, HOLDS, Counterexample
from .boxes import SingleScores
from .rule import Conclusion, Known, Rule, refuted

ONE_WIN = [[0, 1], [0, 0]]
ONE_WIN_OF_THREE = [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
RATIOS = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0]
LAMS = (1.0, 0.1, 0.03, 10.0)


def _divergence_holds(known: Known) -> Conclusion | None:
    shape, divergence = known.shape, known.shape.regulariser
    if type(divergence) not in DIVERGENCES.values() or not shape.bounded_below:
        return None
    infinite = type(divergence) is ForwardKL or (isinstance(divergence, Alpha) and divergence.alpha >= 1)
    if not (infinite or (known.formula.is_fixed and held_inside(known.formula.facts_at_1))):
        return None
    return Conclusion(HOLDS, "every data set has a minimiser: the divergence holds what the pairs do not")


def _gaps_close(known: Known) -> Conclusion | None:
    if not (known.shape.alone and known.shape.of_log_ratios and known.shape.has_wells):
        return None
    return Conclusion(HOLDS, "every data set has a minimiser: no pair wants its log-ratio beyond a finite number")


def _program_attains(known: Known) -> Conclusion | None:
    shape = known.shape
    if not (shape.alone and shape.of_log_ratios and shape.polyhedral and shape.bounded_below):
        return None
    return Conclusion(HOLDS, "every data set has a minimiser: a linear program that is bounded below has one")


def _finite_everywhere(known: Known) -> Conclusion | None:
    if not (known.shape.alone and known.shape.finite_everywhere):
        return None
    return Conclusion(HOLDS, "every data set has a minimiser on the closed simplex, where all margins are finite")


def _loss_of_zero(known: Known) -> Conclusion | None:
    objective = known.subject.objective
    exact = (type(objective) is AStarPO and objective.beta is None) or (
        type(objective) is QRPO and objective.partition == "exact"
    )
    return Conclusion(HOLDS, "every data set has a minimiser: one policy has a loss of 0, always") if exact else None


def _asks_for_more(known: Known) -> Conclusion | None:
    shape = known.shape
    falls = shape.falls_with_each_win and not shape.finite_scores
    if not (shape.alone and (falls or shape.approaches_zero)):
        return None
    example = one_win(known.subject, "falls strictly" if falls else "is positive and tends to 0")
    return refuted("some data sets have no minimiser", example)


def one_win(subject: Subject, how: str = "falls strictly") -> Counterexample | None:
    """The risk of one comparison of two responses, which falls all the way; None where numbers do not show it."""
    reference = [0.5, 0.5]
    for lam in LAMS:
        bandit = counted(subject.objective, reference, np.array(ONE_WIN))
        lines = [f"paths = np.log(bandit.reference) + np.outer({RATIOS}, [1.0, 0.0])"]
        start = np.log(reference) + np.outer(RATIOS, [1.0, 0.0])
        values = _values(subject, bandit, lam, start)
        far = _values(subject, bandit, lam, np.log(reference) + np.outer([300.0 / lam, 1e9 / lam], [1.0, 0.0]))
        if not (np.diff(values) < 0).all():
            continue
        bounded = np.isclose(far[0], far[1], rtol=1e-6, atol=1e-6)
        end = f"has the infimum {far[1]:.4g}, which no policy has" if bounded else "has no lower bound"
        return Counterexample(
            f"with one comparison of two responses the loss {how} as log(π_w/π_l) grows: it {end} (λ = {lam:g})",
            {
                "reference": reference,
                "counts": ONE_WIN,
                "lam": lam,
                "log-ratio added": RATIOS,
                "values": values.tolist(),
                "far out": far[1],
            },
            _code(subject, bandit, ONE_WIN, lam, lines),
        )
    return None


def _mass_of_the_unseen(known: Known) -> Conclusion | None:
    shape = known.shape
    wants = shape.wants_the_loser_lower or shape.wants_the_winner_higher
    if not (shape.alone and wants) or shape.finite_scores:
        return None
    subject, reference, lam = known.subject, [0.4, 0.4, 0.2], 1.0
    bandit = counted(subject.objective, reference, np.array(ONE_WIN_OF_THREE))
    shares = np.array([1.0, 0.5, 0.1, 1e-2, 1e-3])
    if shape.wants_the_loser_lower:
        policies = np.stack([0.4 + 0 * shares, 0.4 * shares, 0.6 - 0.4 * shares], axis=1)
        how = "the loss falls whenever mass goes from the loser to a response that nobody judged"
    else:
        policies = np.stack([0.6 - 0.2 * shares, 0.4 + 0 * shares, 0.2 * shares], axis=1)
        how = "the loss falls whenever mass goes to the winner from a response that nobody judged"
    example = _shown(subject, bandit, reference, lam, policies, f"with one comparison of three responses {how}")
    return refuted("some data sets have no minimiser", example)


def _no_stationary_policy(known: Known) -> Conclusion | None:
    shape, subject = known.shape, known.subject
    if not (shape.alone and shape.psis_convex) or shape.finite_scores:
        return None
    reference = [0.4, 0.4, 0.2]
    bandit = counted(subject.objective, reference, np.array(ONE_WIN_OF_THREE))
    for lam in LAMS:
        scores = SingleScores.of(subject.objective, bandit, lam)
        if scores is None or not scores.none_stationary():
            continue
        shares = np.array([1.0, 0.3, 0.1, 1e-2, 1e-4, 1e-6])
        best = scores.lowest(1.0)
        policies = np.stack([best[0] * (1 - 0.2 * shares), best[1] * (1 - 0.2 * shares), 0.2 * shares], axis=1)
        policies = policies / policies.sum(axis=1, keepdims=True)
        what = (
            "with one comparison of three responses no policy with positive probabilities is stationary (intervals "
            "cover all of them): the loss falls as the mass of the response that nobody judged tends to 0"
        )
        example = _shown(subject, bandit, reference, lam, policies, what)
        if example is not None:
            return Conclusion(FAILS, "some data sets have no minimiser", example, settled=True)
    return None


def _shown(
    subject: Subject, bandit: Any, reference: list[float], lam: float, policies: Any, what: str
) -> Counterexample | None:
    """A path of policies along which the loss falls strictly; None where numbers do not show it."""
    values = _values(subject, bandit, lam, np.log(policies))
    if not (np.isfinite(values).all() and (np.diff(values) < 0).all()):
        return None
    lines = [f"paths = np.log({policies.tolist()})"]
    return Counterexample(
        f"{what} (λ = {lam:g})",
        {
            "reference": reference,
            "counts": ONE_WIN_OF_THREE,
            "lam": lam,
            "policies": policies.tolist(),
            "values": values.tolist(),
        },
        _code(subject, bandit, ONE_WIN_OF_THREE, lam, lines),
    )


def _fitted_reward(known: Known) -> Conclusion | None:
    objective = known.subject.objective
    if not isinstance(objective, RewardObjective) or type(objective).reward_terms is not RewardObjective.reward_terms:
        return None
    likelihood = Subject(BradleyTerry(1.0), "ea.BradleyTerry(1.0)", known.subject.imports)
    example = one_win(likelihood)
    assert example is not None
    told = Counterexample(
        "with one comparison of two responses the likelihood of the reward rises strictly in r_w - r_l, here written "
        "as log(π_w/π_l): it has no maximum, and RLHF no reward",
        example.numbers,
        example.code,
    )
    return Conclusion(FAILS, "some data sets have no reward: its likelihood has no maximum", told, settled=True)


def _values(subject: Subject, bandit: Any, lam: float, scores: Any) -> Any:
    with np.errstate(all="ignore"):
        return subject.value(bandit, lam, log_softmax(scores, axis=1))


def _code(subject: Subject, bandit: Any, counts: list[list[int]], lam: float, lines: Sequence[str]) -> str:
    return "\n".join(
        [
            f"import torch\n{subject.imports}",
            "",
            f"lam = {lam!r}",
            f"bandit = ea.Bandit.from_counts({bandit.reference.tolist()}, {counts}{rewards_written(bandit)})",
            *lines,
            "paths = torch.tensor(paths).log_softmax(-1)",
            f"values = ea.risk({subject.expression}, bandit, paths).tolist()",
            "print(values)",
            "assert all(later < earlier for earlier, later in zip(values, values[1:]))",
        ]
    )


def _rule(name: str, theorem: str, conclude: Any) -> Rule:
    return Rule(name, "existence", theorem, conclude)


RULES = (
    _rule(
        "a_divergence_holds",
        "A divergence that is infinite at the boundary, or has an infinite slope there that a loss of log-ratios has "
        "not, keeps all that comes near the infimum off it.",
        _divergence_holds,
    ),
    _rule(
        "gaps_close",
        "Where each pair's risk rises beyond finite log-ratios on both sides, larger gaps can be closed at no cost.",
        _gaps_close,
    ),
    _rule(
        "bounded_programs_attain",
        "A piecewise linear loss of log-ratios that is bounded below attains its infimum, as linear programs do.",
        _program_attains,
    ),
    _rule(
        "finite_on_the_boundary",
        "A continuous function on the closed simplex, which is compact, is least somewhere.",
        _finite_everywhere,
    ),
    _rule("a_loss_of_zero", "π_ref exp(r/λ)/Z has a loss of 0, whatever is compared.", _loss_of_zero),
    _rule(
        "one_win_asks_for_more",
        "A loss that strictly falls as the winner gains on the loser has no minimiser on one comparison.",
        _asks_for_more,
    ),
    _rule(
        "the_unseen_takes_the_mass",
        "A loss that strictly rises in the loser's probability has no minimiser where another response is not judged.",
        _mass_of_the_unseen,
    ),
    _rule(
        "no_stationary_policy",
        "A minimiser with positive probabilities is a stationary point, and intervals of the gradient exclude all.",
        _no_stationary_policy,
    ),
    _rule(
        "the_reward_is_fitted",
        "RLHF's reward is a Bradley-Terry fit, whose likelihood has no maximum on one-sided data.",
        _fitted_reward,
    ),
)
