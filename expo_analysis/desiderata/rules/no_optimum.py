r"""Losses without an optimum to speak of: those of a batch, and those that populations send to the boundary. [ours]

**Not a risk.** A loss that couples the pairs of a batch (AOT) has no value for a single pair, hence no risk over
weighted pairs and no optimum: no question about optima applies.

**A difference of single scores** (KTO, APO-zero, SimPER): the pair loss is a constant plus G(x_l) - G(x_w), G strictly
increasing in x = log pi or log u, or in a score that is infinite at probability 0. Then the risk is a constant minus
sum_i N_i G(x_i), N_i = how much oftener i wins than it loses, sum_i N_i = 0. If some N_i is not 0, some N_i > 0 > N_j;
moving mass from j to i lowers the risk, from any policy with positive probabilities, so none of these is a minimiser.
If all N_i are 0 the risk is constant, and all are. So there is no optimum to improve on pi_ref, to follow along
lambda, or to be consistent with; and where all win as often as they lose every policy is one, whatever its masses. No
limit is met: of two responses all minimising sequences tend to the better one's vertex, at every lambda, which is
neither pi_ref nor pi*; and of three on a path

    0 - 1 - 2, the first pair compared a tenth as often as the second,

0 is the mode of pi* and N_1 > N_0. Let pi_ref be equal on these two. Where pi_0 > pi_1, exchanging the two masses
lowers the risk by (N_1 - N_0)(G(x_0) - G(x_1)), which near the vertex of 0 is nearly the whole rise of G: so nothing
that comes near the infimum tends to that vertex, at any lambda.
"""

from __future__ import annotations

from collections.abc import Callable

from ...bandit import Bandit
from ...losses import PairObjective
from ..subject import Subject
from ..verdict import DESIDERATA, NOT_APPLICABLE, PROVEN, Counterexample, Verdict
from .examples import falling, program, risks, tied
from .rule import Conclusion, Known, Rule, refuted

NO_RISK = "its loss couples the pairs of a batch: it has no risk over single pairs, and no optimum"
NO_OPTIMUM = "it has no optimum: from every policy with positive probabilities mass can be moved to lower the risk"
LAMS = (1.0, 0.01, 10.0)


def couples_pairs(objective: object) -> bool:
    """Whether the loss is one of a whole batch, by what it states."""
    try:
        return isinstance(objective, PairObjective) and bool(objective.facts.couples_pairs)
    except Exception:  # a loss of somebody's may raise anything
        return False


def no_risk(asked: tuple[str, ...]) -> dict[str, Verdict]:
    """The verdicts on a loss of batches."""
    return {key: Verdict(key, NOT_APPLICABLE, NO_RISK, NOT_A_RISK, basis=PROVEN, rule="not_a_risk") for key in asked}


NOT_A_RISK = "A loss that couples the pairs of a batch is no sum over pairs."
DIFFERENCE = (
    "A pair loss G(x_l) - G(x_w) has the risk -Σ N_i G(x_i), N_i how much oftener i wins than it loses: no policy is a "
    "minimiser unless all N are 0, and then all are."
)


def _not_a_risk(known: Known) -> Conclusion | None:
    return Conclusion(NOT_APPLICABLE, NO_RISK) if couples_pairs(known.subject.objective) else None


def _difference(known: Known) -> bool:
    # a score that is finite at probability 0 has its optimum there
    return known.shape.alone and known.shape.is_a_difference and not known.shape.finite_scores


def _no_optimum(known: Known) -> Conclusion | None:
    return Conclusion(NOT_APPLICABLE, NO_OPTIMUM) if _difference(known) else None


def _fails(summary: str, example: Callable[[Subject], Counterexample | None]) -> Callable[[Known], Conclusion | None]:
    def conclude(known: Known) -> Conclusion | None:
        if not _difference(known):
            return None
        found = example(known.subject)
        return refuted(summary, found)

    return conclude


def _to_the_vertex(limit: str) -> Callable[[Subject], Counterexample | None]:
    def example(subject: Subject) -> Counterexample | None:
        bandit = Bandit([0.5, 0.5], [0.6, 0.4])
        winners = [0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1 - 1e-6]
        what = (
            "the risk falls strictly all the way to the vertex of the better response, at this λ as at every other, so "
            f"that nothing tends to {limit}"
        )
        policies = [[p, 1 - p] for p in winners]
        return next((x for lam in LAMS if (x := falling(subject, bandit, lam, policies, what)) is not None), None)

    return example


def _past_the_mode(subject: Subject) -> Counterexample | None:
    pairs = [[0.0, 0.1, 0.0], [0.1, 0.0, 1.0], [0.0, 1.0, 0.0]]
    bandit, optimal = Bandit([0.4, 0.4, 0.2], [0.5, 0.4, 0.1], pairs), [0.5, 0.4, 0.1]
    shares, splits = (0.6, 0.9, 0.99, 1 - 1e-9), (1 - 1e-9, 0.5, 1e-9)
    on_mode = [[a, (1 - a) * b, (1 - a) * (1 - b)] for a in shares for b in splits]
    exchanged = [[b, a, c] for a, b, c in on_mode]
    for lam in LAMS:
        before, after = (risks(subject, bandit, lam, x) for x in (on_mode, exchanged))
        if (after < before).all():
            break
    else:
        return None
    code = program(
        subject,
        [
            f"bandit = ea.Bandit({bandit.reference.tolist()}, {optimal}, {pairs})",
            f"lam, on_mode = {lam!r}, torch.tensor({on_mode}, dtype=torch.float64)",
            "exchanged = on_mode[:, [1, 0, 2]]",
            f"before, after = (ea.risk({subject.expression}, bandit, x.log()) for x in (on_mode, exchanged))",
            "print(before.tolist(), after.tolist())",
            "assert (after < before).all()",
        ],
    )
    numbers = {"reference": [0.4, 0.4, 0.2], "optimal": optimal, "pairs": pairs, "lam": lam}
    return Counterexample(
        f"near the vertex of π*'s mode the risk is {before[-1]:.6g}, and {after[-1]:.6g} where its mass and that of "
        "the second best are exchanged, which lowers the risk wherever the mode has more "
        f"(λ = {lam:g}, and at every other the same)",
        {**numbers, "policies": on_mode, "values": before.tolist(), "values with the two exchanged": after.tolist()},
        code,
    )


def _constant(subject: Subject) -> Counterexample | None:
    return tied(subject, "where responses win as often as they lose all policies have one value, whatever their masses")


RULES = (
    *(Rule("not_a_risk", key, NOT_A_RISK, _not_a_risk) for key in DESIDERATA),
    *(
        Rule("no_optimum_on_any_population", key, DIFFERENCE, _no_optimum)
        for key in ("improvement", "monotone_path", "consistency")
    ),
    *(
        Rule("no_optimum_on_any_population", key, DIFFERENCE, _fails(summary, example))
        for key, summary, example in (
            (
                "reference_limit",
                "there is no optimum, and what comes near the infimum does not tend to π_ref",
                _to_the_vertex("π_ref"),
            ),
            (
                "strong_interpolation",
                "there is no optimum, and what comes near the infimum does not tend to π*",
                _to_the_vertex("π*"),
            ),
            (
                "weak_interpolation",
                "there is no optimum, and what comes near the infimum need not tend to the mode of π*",
                _past_the_mode,
            ),
            ("uniqueness", "all policies are minimisers where all win as often as they lose, else none", _constant),
            ("conservation", "masses are left open where all win as often as they lose", _constant),
        )
    ),
)
"""First of all rules, as what has no optimum has nothing to ask of it."""
