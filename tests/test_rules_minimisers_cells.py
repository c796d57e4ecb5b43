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
    **dict.fromkeys(("bco", "nca", "sppo", "pro", "cal_dpo", "qrpo"), "----+"),
    "apo_down": "----n",
    "a_star_po": "+---+",
    **dict.fromkeys(("kto", "apo_zero", "simper"), "----n"),
    "aot": "nnnnn",
}
OPEN_TO_RULES = {"constraint_robustness"}
"""Failures that a search shows, with proven optima: no rule says them beforehand."""


ONE_NUMBER = "dpo ipo fdpo hinge chi_po exo discopop dpop regression_expo aux_dpo length_normalised_dpo bradley_terry "
ONE_NUMBER += "simpo alpha_po plackett_luce plackett_luce_dpo reward_aware_po rebel reward_distillation odpo madpo wrpo"
"""Whose pair losses read s(pi_w) - s(pi_l) alone, but for DPOP's shortfalls."""

HELD = "expo explicit_po spo slic pessimistic_dpo plackett_luce_expo"
"""Bounded below beside a divergence."""

BEHIND = {
    "existence": {
        "a_divergence_holds": HELD,
        "gaps_close": "ipo exo regression_expo reward_aware_po rebel reward_distillation",
        "bounded_programs_attain": "hinge",
        "a_loss_of_zero": "a_star_po",
        "the_reward_is_fitted": "rlhf",
        "the_unseen_takes_the_mass": "apo_down nca",
        "no_stationary_policy": "cal_dpo pro qrpo sppo",
        "one_win_asks_for_more": None,
    },
    "uniqueness": {
        "strictly_convex": "expo explicit_po slic rpo pessimistic_dpo dpo_shift sft cpo plackett_luce_expo tpo",
        "one_number_leaves_masses_open": ONE_NUMBER,
        "two_wells": "cal_dpo apo_down bco nca sppo",
        "two_unseen_share_what_is_left": "pro a_star_po qrpo",
        "no_optimum_on_any_population": "kto apo_zero simper",
        "a_fitted_reward_is_open": "rlhf",
        "": "spo orpo",
    },
    "conservation": {
        "pair_gradients_cancel": "expo explicit_po slic pessimistic_dpo plackett_luce_expo",
        "only_the_forward_kl_conserves": "spo",
        "one_number_leaves_masses_open": ONE_NUMBER,
        "all_together_up_or_down": "rpo dpo_shift sft cpo orpo tpo apo_down",
        "a_minimum_elsewhere": "cal_dpo pro a_star_po qrpo bco nca sppo",
        "no_optimum_on_any_population": "kto apo_zero simper",
        "a_fitted_reward_is_open": "rlhf",
    },
    "constraint_robustness": {"between_the_ends": HELD, "it_is_rlhf": "rlhf", "": None},
}
"""Which theorem a card names, by the loss's formula; None for all others."""


def behind(key: str, name: str) -> str:
    others = [rule for rule, names in BEHIND[key].items() if names is None]
    found = [rule for rule, names in BEHIND[key].items() if names is not None and name in names.split()]
    return "not_a_risk" if name == "aot" else (found or others)[0]


def subject(name: str) -> Subject:
    objective = ea.objective(name, 1.0)
    return Subject(objective, *written(objective), effort=0.1)


def by_rule(name: str, key: str, one: Subject) -> str:
    """The sign; and the theorem is the one that it should be."""
    found = first(RULES, key, Known(one, {}))
    if key in BEHIND:
        assert ("" if found is None else found[0].name) == behind(key, name), (name, key)
    return "?" if found is None else SIGNS[found[1].decision]


def test_all_losses_have_cells():
    assert set(CELLS) == set(ea.CATALOGUE) - {"qpo"}


@pytest.mark.parametrize("name", CELLS)
def test_theorems_decide(name):
    """Without any search, but for consistency, whose rules solve and enclose."""
    one = subject(name)
    for key, expected in zip(KEYS[:-1], CELLS[name], strict=False):
        found = by_rule(name, key, one)
        if not (key in OPEN_TO_RULES and expected == "-"):
            assert found == expected, (name, key)


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_cells_and_their_code(name):
    """Rules and searches together; each failure is proven, and its code runs by itself."""
    one = subject(name)
    for key, expected in zip(KEYS, CELLS[name], strict=True):
        found = decide(key, JUDGES[key], one, {})
        assert SIGNS[found.decision] == expected, (name, key, found.summary)
        if expected == "-":
            assert found.basis == PROVEN, (name, key)
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
