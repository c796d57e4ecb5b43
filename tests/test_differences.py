"""`diff`: closed forms tell how far optima are apart; equal losses have no difference; code runs by itself."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch.nn.functional as F

import expo_analysis as ea
from expo_analysis.differences import Difference
from expo_analysis.differences.optima import COLUMNS, LAMS
from expo_analysis.differences.smallest import data_sets

from .elsewhere import run_elsewhere
from .test_cli import invoke

QUICK = {"effort": 0.2}


@pytest.fixture(scope="module")
def dpo_and_expo() -> Difference:
    return ea.diff("dpo", "expo", **QUICK)


def test_the_example_is_what_closed_forms_say(dpo_and_expo: Difference) -> None:
    """Of two responses: DPO's optimum is pi_ref pi*^(1/lam), EXPO's is (pi* + lam pi_ref)/(1 + lam)."""
    found = dpo_and_expo.example
    assert found is not None
    reference, optimal = np.array(found.numbers["reference"]), np.array(found.numbers["optimal"])
    lam = found.numbers["lam"]
    assert len(reference) == 2
    dpo = reference * optimal ** (1 / lam)
    dpo /= dpo.sum()
    expo = (optimal + lam * reference) / (1 + lam)
    assert found.numbers["first"] == pytest.approx(dpo, abs=1e-12)
    assert found.numbers["second"] == pytest.approx(expo, abs=1e-12)
    assert found.numbers["tv"] == pytest.approx(abs(dpo - expo).sum() / 2, abs=1e-12)
    assert found.numbers["nats"] == pytest.approx((dpo * np.log(dpo / expo)).sum(), abs=1e-12)
    assert all(len(f"{x:g}") <= 4 for x in (*reference, *optimal))  # round numbers
    assert "proven to" in found.statement


def test_the_table_has_a_row_for_each_lambda(dpo_and_expo: Difference) -> None:
    table = dpo_and_expo.table
    assert tuple(table) == COLUMNS and tuple(table["lam"]) == LAMS
    assert (table["share"] == 1).all() and (table["proven"] == 1).all()
    assert (table["tv"] <= table["tv_worst"]).all() and (table["nats"] <= table["nats_worst"]).all()
    assert table["tv"].iloc[-1] < 0.1 * table["tv"].iloc[0]  # both tend to pi_ref


def test_data_on_which_only_one_has_a_minimiser(dpo_and_expo: Difference) -> None:
    found = dpo_and_expo.existence
    assert found is not None and found.numbers["counts"].tolist() == [[0, 1], [0, 0]]  # of any, the smallest there is
    assert "dpo has no minimiser, and expo has one" in found.statement
    assert ea.diff("expo", "spo", **QUICK).existence is None
    sizes = [(len(counts), counts.sum()) for counts in data_sets()]
    assert all(a[0] <= b[0] for a, b in pairwise(sizes))


def test_code_runs_elsewhere(dpo_and_expo: Difference, tmp_path: Path) -> None:
    assert dpo_and_expo.example is not None and dpo_and_expo.existence is not None
    printed = run_elsewhere({"optima": dpo_and_expo.example.code, "data": dpo_and_expo.existence.code}, tmp_path)
    assert "this was" not in printed and "no_minimiser" in printed


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ea.DPO(1.0), ea.FDPO(1.0, "reverse_kl")),
        (ea.EXPO(1.0), ea.ExplicitPO(1.0, "forward_kl")),
        ("rlhf", "dpo"),  # [paper]
    ],
)
def test_what_has_one_optimum_does_not_differ(first, second) -> None:
    found = ea.diff(first, second, **QUICK)
    assert found.example is None and (found.table["share"] == 0).all() and (found.table["proven"] == 1).all()
    assert "no difference between their optima was found" in str(found) or found.existence is not None


def test_what_is_equal_up_to_lambda_is_said() -> None:
    """As losses of pairs 3 + 2 DPO at half of 1/lam is DPO; at one lambda their optima differ."""

    def halved(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
        gap = chosen_logps - rejected_logps - ref_chosen_logps + ref_rejected_logps
        return 3 + 2 * F.softplus(-gap / (2 * beta))

    found = ea.diff("dpo", halved, lams=[0.5, 2.0], effort=0.1)
    assert found.equality is not None and found.equality.equal and found.equality.lam == "0.5 / lam"
    assert found.example is not None and found.matched < 1e-5
    assert "with 0.5 / lam in the place of lam for halved, their optima are at most" in str(found)


def test_a_regulariser_makes_a_difference() -> None:
    """The losses of pairs are one, and only one of them is held to the reference."""
    found = ea.diff("expo", lambda chosen_logps, rejected_logps: F.softplus(rejected_logps - chosen_logps), effort=0.1)
    assert found.equality is not None and not found.equality.equal
    assert "expo adds lam forward_kl" in str(found.equality)
    assert found.example is not None and found.example.numbers["second"] == pytest.approx(
        np.array(found.example.numbers["optimal"]), abs=1e-4
    )


VERSION = """
import torch.nn.functional as F

def my_loss(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, tau=0.1):
    policy, reference = policy_chosen_logps - policy_rejected_logps, reference_chosen_logps - reference_rejected_logps
    return -F.logsigmoid(tau * {score})
"""


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, score in (("old", "(policy - reference)"), ("new", "policy - reference")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "my_loss.py").write_text(VERSION.format(score=score), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


OLD, NEW = "old/my_loss.py:my_loss", "new/my_loss.py:my_loss"
BETAS = ("--beta-name-a", "tau", "--beta-name-b", "tau")


@pytest.mark.slow
def test_one_loss_at_two_versions(versions: Path) -> None:
    ran = invoke("diff", OLD, NEW, *BETAS, "--lam", "0.1", "--exit-code", "--json")
    assert ran.exit_code == 1, ran.stderr
    document = json.loads(ran.stdout)
    assert document["losses"] == [OLD, NEW] and document["differ"] and not document["equality"]["equal"]
    assert document["example"]["numbers"]["lam"] == 0.1
    printed = run_elsewhere({"versions": document["example"]["code"]}, versions)
    assert "this was" not in printed and printed.count("my_loss") == 2


@pytest.mark.slow
def test_the_same_version_twice(versions: Path) -> None:
    ran = invoke("diff", OLD, OLD, *BETAS, "--lam", "0.1", "--exit-code")
    assert ran.exit_code == 0, ran.stderr
    assert f"{OLD} (A) and {OLD} (B) as losses of pairs: they are equal to 0e+00" in " ".join(ran.stdout.split())


def test_the_command_prints_sentences_a_table_and_code() -> None:
    ran = invoke("diff", "dpo", "dpo", "--option-b", "label_smoothing=0.1", "--lam", "0.1", "--effort", "0.1")
    assert ran.exit_code == 0, ran.stderr
    text = " ".join(ran.stdout.split())
    assert "dpo (A) and dpo (B) as losses of pairs: they differ by" in text
    assert "lambda problems differ TV worst nats worst proven only one exists" in text
    assert "first = ea.DPO(lam)" in ran.stdout and "second = ea.DPO(lam, label_smoothing=0.1)" in ran.stdout
    assert "their minimisers differ: of the comparisons in which 0 won 1 against 1" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("dpo", "no_such_loss"), "no_such_loss"),
        (("dpo", "ipo", "--lam", "-1"), "lam must be a positive finite number"),
        (("dpo", "ipo", "--effort", "0"), "effort must be a positive finite number, got 0.0"),
        (("dpo", "ipo", "--option-a", "gamma=1"), "gamma"),
        (("dpo", "ipo", "--beta-name-a", "tau"), "beta_name is not used for dpo"),
        (("dpo", "aot"), "aot couples the pairs of a batch"),
        (("dpo", OLD.replace("old", "no")), "No such file or directory"),
    ],
)
def test_bad_input_is_one_line(words, message) -> None:
    ran = invoke("diff", *words)
    assert ran.exit_code == 2 and message in " ".join(ran.stderr.split()) and len(ran.stderr.splitlines()) == 1


def test_a_loss_that_cannot_be_relied_on_is_refused() -> None:
    def detached(chosen_logps, rejected_logps):
        return F.softplus(rejected_logps - chosen_logps).detach()

    def leaves(chosen_logps, rejected_logps, beta):
        if beta == 0.05:
            raise SystemExit
        return F.softplus(beta * (rejected_logps - chosen_logps))

    with pytest.raises(ValueError, match="detached cannot be relied on: it is not differentiable"):
        ea.diff("dpo", detached, lams=[1.0])
    with pytest.raises(ValueError, match=r"dpo and leaves cannot be compared: .*SystemExit"):
        ea.diff("dpo", leaves, lams=[1.0])
