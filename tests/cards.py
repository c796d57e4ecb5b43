"""Made-up report cards, as long-winded as real ones, for the tests of what shows them."""

from __future__ import annotations

import numpy as np
import pandas as pd

import expo_analysis as ea
from expo_analysis.desiderata.report.provenance import Provenance
from expo_analysis.desiderata.report.report_card import ReportCard, ReportCards
from expo_analysis.desiderata.verdict import (
    CANNOT_TELL,
    DESIDERATA,
    FAILS,
    HOLDS,
    NOT_APPLICABLE,
    Counterexample,
    Decision,
    Desideratum,
    Severity,
    Verdict,
)

OPTIMAL, REFERENCE = np.array([0.6, 0.3, 0.1]), np.array([0.4, 0.4, 0.2])
LAMS = 10.0 ** np.arange(-5, 5.5, 0.5)

HOSTILE = "<script>alert('&')</script> | [red]*x*[/red] $y$"
"""A name that is markup in HTML, Markdown, rich and matplotlib at once."""

CODE = """\
import numpy as np
import expo_analysis as ea

reference, optimal = np.array([0.4, 0.4, 0.2]), np.array([0.6, 0.3, 0.1])
bandit = ea.Bandit(reference, optimal)
solution = ea.solve(ea.DPO(lam=1e-05), bandit)  # a comment that goes on for so long that a narrow screen cannot hold it
print("optimum", solution.policy, "at a distance of", np.abs(solution.policy - optimal).sum(), "from pi*")
assert np.abs(solution.policy - optimal).sum() > 0.1 and solution.error_bound < 1e-12
"""

FAILED = {
    "dpo": {"strong_interpolation", "preservation", "improvement", "existence", "uniqueness", "conservation"},
    "expo": {"weak_interpolation"},
    "regression_expo": {"weak_interpolation", "conservation"},
}
"""Which desiderata fail; of the others consistency cannot be told, `IDLE` does not apply, and the rest hold."""

IDLE = ("regression_expo", "monotone_path")
"""A loss and a desideratum that does not apply to it."""

SIZES = {
    "preservation": Severity("TV", 0.9, 0.31, 1.2),
    "improvement": Severity("nats", 0.0, 0.0, 2e-7),
    "existence": Severity("share of data sets", 0.03, 0.5, 0.8),
    "conservation": Severity("TV", 0.5, 2e-5, 0.01),
}
"""How much failures weigh: often, constructed, and twice seldom; of others nobody knows."""

SEARCHED = ("existence", "uniqueness")
"""Decided by search alone; of the rest what holds is proven by "a_theorem"."""

MADE = Provenance("0.1.0", "2026-01-31", 0.5, 3, "expo-analysis audit --all | tee <x>")


def counterexample(key: str) -> Counterexample:
    return Counterexample(
        f"On π* = (0.6, 0.3, 0.1) & π_ref = (0.4, 0.4, 0.2) with λ = 1e-05 the optimum is (1, 0, 0), at a 1-norm "
        f"distance of 0.8 from π*: {DESIDERATA[key].title} < fails.",
        {"reference": REFERENCE, "optimal": OPTIMAL, "lambda": 1e-5, "optimum": np.array([1.0, 0.0, 0.0])},
        CODE,
    )


def verdict(key: str, decision: Decision, summary: str | None = None) -> Verdict:
    summaries = {
        NOT_APPLICABLE: "Its optimum does not depend on λ, so that there is no path to speak of.",
        HOLDS: "No problem was found on which it is violated, and the worst of them stays within its error bound.",
        FAILS: "It fails on the paper's own bandit already, and the farther λ falls the farther away it moves.",
        CANNOT_TELL: "The solver proves no error bound for this loss, so that the optima found decide nothing.",
    }
    return Verdict(
        key,
        decision,
        summary or summaries[decision],
        "240 random problems with n = 2 to 6 responses, uniform and uneven pairs, connected graphs; λ from 1e-6 to "
        "1e6; every optimum proven to within 1e-9.",
        {
            "problems tried": 12000,
            "largest 1-norm distance from π*": np.float64(0.80000000000001),
            "largest error bound": 2.3456789e-13,
            "policy at the smallest λ": np.array([0.6, 0.3, 0.1]),
            "slope of log distance": float("nan"),
            "proven": True,
        },
        counterexample(key) if decision == FAILS else None,
        basis="" if decision == CANNOT_TELL else "evidence" if key in SEARCHED else "proven",
        rule="a_theorem" if decision == HOLDS and key not in SEARCHED else "",
        severity=SIZES.get(key) if decision == FAILS else None,
        answer="its <mode>" if key == "weak_interpolation" else "",
    )


def path(loss: str) -> pd.DataFrame:
    """DPO's closed form, or the way of EXPO from the reference to pi*."""
    if loss == "dpo":
        logits = np.log(REFERENCE) + np.log(OPTIMAL) / LAMS[:, None]
        policies = np.exp(logits - logits.max(axis=1, keepdims=True))
    else:
        policies = (OPTIMAL + LAMS[:, None] * REFERENCE) / (1 + LAMS[:, None])
    policies = policies / policies.sum(axis=1, keepdims=True)
    return pd.DataFrame(np.column_stack([LAMS, policies]), columns=["lam", "y1", "y2", "y3"])


def card(name: str, like: str | None = None) -> ReportCard:
    """A card called ``name`` with the verdicts of a loss in `FAILED`."""
    like = like or name
    decisions: dict[str, Decision] = {key: FAILS if key in FAILED[like] else HOLDS for key in DESIDERATA}
    decisions["consistency"] = CANNOT_TELL
    if like == IDLE[0]:
        decisions[IDLE[1]] = NOT_APPLICABLE
    remarks = ("It claims to be convex, and is not: the least eigenvalue found is -0.02.",) if name == HOSTILE else ()
    verdicts = {key: verdict(key, decision) for key, decision in decisions.items()}
    return ReportCard(name, ea.objective(like, 1.0), verdicts, remarks, path(like), 12.3, MADE)


def broken(name: str, message: str) -> ReportCard:
    """The card of a loss that could not even be made."""
    verdicts = {
        key: Verdict(key, CANNOT_TELL, "The loss could not be evaluated.", "nothing was tried") for key in DESIDERATA
    }
    return ReportCard(name, None, verdicts, (message,), path("dpo").iloc[:0], 0.0)


def cards(*names: str) -> ReportCards:
    """DPO, both forms of EXPO, one with a hostile name, and a broken one; or the named of them."""
    made = [
        *(card(name) for name in FAILED),
        card(HOSTILE, "dpo"),
        broken("broken", "ValueError: it returns one number for 7 pairs, shape (); it must not reduce."),
    ]
    return ReportCards(one for one in made if not names or one.name in names)


def many(count: int = 30) -> ReportCards:
    """A table as large as that of the whole catalogue."""
    likes = list(FAILED)
    return ReportCards(
        [card(f"{likes[k % 3]}_variant_{k}", likes[k % 3]) for k in range(count - 1)] + [broken("x", "y")]
    )


def more_desiderata() -> dict[str, Desideratum]:
    """More than there are, in an old group and in a new one: nothing that shows a card may count on a number."""
    groups = {"question_1": "where λ leads", "question_2": "a group of one"}
    return {key: Desideratum(f"a new {key}", f"Is it so, {key}?", group) for key, group in groups.items()}
