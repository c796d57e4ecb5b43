"""No verdict contradicts what is known of a planted loss; whatever is wrong with a loss is said; code runs."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from dataclasses import dataclass

import pytest
import torch

import expo_analysis as ea
from expo_analysis.desiderata.verdict import CANNOT_TELL, DESIDERATA, FAILS

from .planted import PLANTED, Planted
from .planted.expo import Bare
from .planted.known import ALL

CARDS: dict[str, ea.ReportCard] = {}


QUICK = [planted.name for planted in PLANTED if not planted.slow][::24]
"""An audit takes seconds: these on every run, all of them among the slow tests."""


def cases():
    return [
        pytest.param(planted, id=planted.name, marks=[] if planted.name in QUICK else [pytest.mark.slow])
        for planted in PLANTED
    ]


def card_of(planted: Planted) -> ea.ReportCard:
    if planted.name not in CARDS:
        CARDS[planted.name] = ea.audit(planted.objective, name=planted.name, effort=planted.effort, time_limit=math.inf)
    return CARDS[planted.name]


def test_every_planted_loss_has_a_name_of_its_own():
    assert max(Counter(planted.name for planted in PLANTED).values()) == 1
    assert len(PLANTED) >= 36 and list(DESIDERATA) == ALL


@pytest.mark.parametrize("planted", cases())
def test_verdicts(planted):
    card = card_of(planted)
    found = {key: verdict.decision for key, verdict in card.verdicts.items()}
    wrong = {
        key: (found[key], card.verdicts[key].summary)
        for key, known in planted.known.items()
        if found[key] not in (known, CANNOT_TELL)
    }
    assert not wrong, f"{planted.why}, yet {wrong}"
    undecided = [key for key in planted.decided.split() if found[key] == CANNOT_TELL]
    assert not undecided, {key: card.verdicts[key].summary for key in undecided}
    if planted.remark:
        assert any(re.search(planted.remark, remark) for remark in card.remarks), card.remarks
    if planted.name.startswith("broken: raises"):
        return  # wherever the loss raises, the judges cannot but fail
    failed = [
        verdict.summary for verdict in card.verdicts.values() if "the attempt to find out failed" in verdict.summary
    ]
    assert not failed


@pytest.mark.parametrize("planted", cases())
def test_counterexamples_run(planted, capsys):
    """Each is a program by itself: its assertions state the failure."""
    for key, verdict in card_of(planted).verdicts.items():
        assert (verdict.counterexample is not None) == (verdict.decision == FAILS)
        if verdict.counterexample is not None:
            exec(compile(verdict.counterexample.code, key, "exec"), {"__name__": key})
            assert capsys.readouterr().out, "it prints what it found"


@dataclass(frozen=True)
class Crashing(Bare):
    """Ends its process the first time it is used, without so much as an exception."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        os._exit(3)


@pytest.mark.slow
def test_a_crash_takes_no_other_card_with_it():
    cards = ea.audit_many({"crashing": Crashing(1.0), "dpo": ea.DPO(1.0)}, effort=0.1)
    assert list(cards) == ["crashing", "dpo"]
    assert cards["crashing"].remarks == ("it ends the process that calls it (exit status 3)",)
    assert {verdict.decision for verdict in cards["crashing"].verdicts.values()} == {CANNOT_TELL}
    assert cards["dpo"].verdicts["preservation"].decision == FAILS and not cards["dpo"].remarks


def test_planted_losses_are_what_they_say():
    """The plants' own mistakes would be blamed on the report card: those that must equal a loss of the catalogue do."""
    points = [-torch.rand(4, 5, dtype=torch.float64) - 0.1 for _ in range(4)]
    by_name = {planted.name: planted.objective for planted in PLANTED}
    for name, other in (
        ("EXPO by a user", ea.EXPO(1.0)),
        ("EXPO as SLiC", ea.EXPO(1.0)),
        ("DPO as QPO", ea.DPO(1.0)),
        ("DPO as DPOP", ea.DPO(1.0)),
        ("IPO as QPO", ea.IPO(1.0)),
        ("IPO with twice the target", ea.IPO(0.5)),
        ("DPO without its reference", ea.BradleyTerry(1.0)),
    ):
        torch.testing.assert_close(by_name[name].pair_loss(*points), other.pair_loss(*points))
