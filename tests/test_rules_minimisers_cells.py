"""What is proven of the whole catalogue's minimisers, masses, constraints and data: each cell by its theorem, in the
order existence, uniqueness, conservation, constraints, consistency (+ holds, - fails, n does not apply, ? open)."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import pytest

import expo_analysis as ea
from expo_analysis.desiderata.code import written
from expo_analysis.desiderata.decide import decide
from expo_analysis.desiderata.questions import JUDGES
from expo_analysis.desiderata.rules import RULES, Known, first
from expo_analysis.desiderata.subject import Subject
from expo_analysis.desiderata.verdict import CANNOT_TELL, DESIDERATA, FAILS, HOLDS, NOT_APPLICABLE, PROVEN

SIGNS = {HOLDS: "+", FAILS: "-", NOT_APPLICABLE: "n", CANNOT_TELL: "?"}
KEYS = ("existence", "uniqueness", "conservation", "constraint_robustness", "consistency")

CELLS = {
    **dict.fromkeys(("expo", "explicit_po", "plackett_luce_expo", "pessimistic_dpo", "slic"), "+++++"),
    "spo": "+?-++",
    "rlhf": "---++",
    **dict.fromkeys(("dpo", "aux_dpo", "length_normalised_dpo", "plackett_luce_dpo", "wrpo", "odpo"), "----+"),
    **dict.fromkeys(("madpo", "bradley_terry", "plackett_luce", "simpo", "fdpo", "chi_po", "alpha_po"), "----+"),
    **dict.fromkeys(("discopop", "dpop"), "----+"),
    **dict.fromkeys(("ipo", "rebel", "reward_distillation", "reward_aware_po"), "+---+"),
    **dict.fromkeys(("exo", "regression_expo", "hinge"), "+---+"),
    **dict.fromkeys(("sft", "rpo", "cpo", "tpo", "dpo_shift"), "-+--+"),
    "orpo": "-?--+",
    **dict.fromkeys(("bco", "nca", "sppo", "apo_down", "pro", "cal_dpo", "qrpo"), "----+"),
    "a_star_po": "+---+",
    **dict.fromkeys(("kto", "apo_zero", "simper"), "----n"),
    "aot": "nnnnn",
}
OPEN_TO_RULES = {"constraint_robustness"}
"""Failures that a search shows, with proven optima: no rule says them beforehand."""


def subject(name: str) -> Subject:
    objective = ea.objective(name, 1.0)
    return Subject(objective, *written(objective), effort=0.1)


def by_rule(name: str, key: str, one: Subject) -> str:
    found = first(RULES, key, Known(one, {}))
    return "?" if found is None else SIGNS[found[1].decision]


def test_all_losses_have_cells():
    assert set(CELLS) == set(ea.CATALOGUE) - {"qpo"}


@pytest.mark.parametrize("name", CELLS)
def test_theorems_decide(name):
    """Without any search, but for consistency, whose rules solve and enclose."""
    one = subject(name)
    for key, expected in zip(KEYS[:-1], CELLS[name], strict=False):
        if not (key in OPEN_TO_RULES and expected == "-"):
            assert by_rule(name, key, one) == expected, (name, key)


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_cells_and_their_code(name):
    """Rules and searches together; each failure is proven, and its code runs by itself."""
    one = subject(name)
    for key, expected in zip(KEYS, CELLS[name], strict=True):
        found = decide(key, JUDGES[key], one, {})
        assert SIGNS[found.decision] == expected, (name, key, found.summary)
        if expected == "-":
            assert found.basis == PROVEN or (name, key) in {("alpha_po", KEYS[3]), ("simper", KEYS[3])}
            assert found.counterexample is not None
            with redirect_stdout(io.StringIO()):
                exec(found.counterexample.code, {})


@pytest.mark.parametrize("name", ["kto", "apo_zero", "simper"])
def test_limits_of_what_has_no_optimum(name):
    one = subject(name)
    limits = ("reference_limit", "strong_interpolation", "weak_interpolation")
    first_limit = "n" if name == "simper" else "-"  # which never reads the reference
    assert [by_rule(name, key, one) for key in limits] == [first_limit, "-", "-"]
    assert [by_rule(name, key, one) for key in ("improvement", "monotone_path", "consistency")] == ["n", "n", "n"]


def test_nothing_is_asked_of_a_loss_of_batches():
    card = ea.audit(ea.AOT(0.5), effort=0.1)
    assert {key: v.decision for key, v in card.verdicts.items()} == dict.fromkeys(DESIDERATA, NOT_APPLICABLE)
    assert all(v.basis == PROVEN for v in card.verdicts.values())
