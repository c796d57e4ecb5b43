"""The public assertions: they must let right losses pass and name what is wrong with others."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

import expo_analysis as ea
from expo_analysis.testing import assert_equal_losses, assert_holds, assert_sound, equality, strategies
from expo_analysis.testing.equal import drawn_pairs, pair_values, values_at

from .planted.broken import Broken

ROOT = Path(__file__).parents[1]


EXAMPLES = [
    *("own_loss", "_effects", "losses.from_function", "adapters.implementation", "differences.between"),
    *("testing.assertions", "testing.equal", "testing.invariance"),
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_docstrings_are_right(name: str) -> None:
    found = doctest.testmod(import_module(f"expo_analysis.{name}"))
    assert found.attempted and not found.failed


def halved(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    gap = chosen_logps - rejected_logps - ref_chosen_logps + ref_rejected_logps
    return 3 + 2 * F.softplus(-gap / (2 * beta))


def turned(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta):
    return -F.softplus(-beta * (chosen_logps - rejected_logps - ref_chosen_logps + ref_rejected_logps))


def without_reference(chosen_logps, rejected_logps, beta):
    return F.softplus(-beta * (chosen_logps - rejected_logps))


@pytest.mark.parametrize(
    ("mine", "theirs", "how"),
    [
        ("dpo", ea.DPO(3.0), "^they are equal to 0e.00$"),
        (ea.DPO(1.0), halved, r"with 0.5 / lam in the place of lam, times 2, plus 3$"),
        (ea.RewardAwarePO(1.0, distance="squared"), ea.REBEL(1.0), r"times 400, 11.1111, 1, 0.0625 at"),
        (ea.BradleyTerry(1.0), without_reference, "^they are equal"),
        (
            lambda chosen_logps, rejected_logps: F.softplus(rejected_logps - chosen_logps),
            "bradley_terry",
            "with 1 in the place",
        ),
        (ea.FDPO(1.0, "reverse_kl"), ea.DPO(1.0), "^they are equal"),
    ],
)
def test_equal_losses_are_found_equal_and_how(mine, theirs, how) -> None:
    import re

    assert re.search(how, str(assert_equal_losses(mine, theirs)))


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("dpo", "ipo"),
        ("dpo", ea.DPO(1.0, label_smoothing=1e-6)),
        ("dpo", ea.DPO(1.0, label_smoothing=0.1, robust=True)),
        ("dpo", without_reference),
        ("dpo", turned),
        ("kto", ea.KTO(1.0, reference_point=0.01)),
        ("orpo", "sft"),
        (ea.SimPO(1.0, gamma=0.0), without_reference),  # which does not divide by lengths
    ],
)
def test_losses_that_differ_are_told_apart_on_a_pair(mine, theirs) -> None:
    found = equality(mine, theirs)
    assert not found.equal
    if theirs is turned:
        return  # it is the same up to a factor of -1, which is not the same loss
    one, other = (ea.objective(x, 1.0) if isinstance(x, str) else x for x in (mine, theirs))
    pair = [np.array([found.pair[name]]) for name in ("logp_w", "logp_l", "ref_logp_w", "ref_logp_l")]
    if not callable(other) and not one.data:
        assert one.with_lam(found.pair["lam"]).one_per_pair(*pair)[0] == pytest.approx(found.pair["mine"], rel=1e-9)


def test_what_is_no_loss_of_pairs_is_refused() -> None:
    for name in ("rlhf", "aot"):
        with pytest.raises(TypeError, match=f"{name} must be a loss of single pairs"):
            equality(name, "dpo")


@pytest.mark.parametrize("how", ["float32", "reduces", "wrong gradient", "nan", "detached", "raises"])
def test_unsound_losses_are_named(how: str) -> None:
    with pytest.raises(AssertionError, match="is not sound: "):
        assert_sound(Broken(1.0, how))


def test_sound_ones_pass() -> None:
    assert_sound("dpo")
    assert_sound(without_reference)


def test_a_failure_is_code_that_runs() -> None:
    assert_holds("expo", "preservation", "first_step")
    with pytest.raises(AssertionError) as told:
        assert_holds("dpo", "reference_limit", "preservation")
    message = str(told.value)
    assert message.startswith("dpo does not have it: preservation\n") and "reference_limit" not in message
    code = message[message.index("import numpy") :]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_evidence_may_not_be_enough() -> None:
    assert_holds(ea.SPO(1.0), "strong_interpolation", evidence=False)
    with pytest.raises(AssertionError, match="label_noise is not proven"):
        assert_holds("dpo", "label_noise", evidence=False)


READERS = {
    "labels": ea.BCO(1.0),
    "scores": ea.AStarPO(1.0),
    "rankings": ea.PlackettLuceEXPO(1.0),
    "triples": ea.TPO(1.0),
}


@pytest.mark.parametrize("kind", strategies.FEEDBACK)
def test_every_kind_of_feedback_is_drawn_and_solved_by_a_loss_that_reads_it(kind: str) -> None:
    drawn: list[ea.Bandit] = []

    @settings(max_examples=5)
    @given(strategies.feedback(kinds=(kind,)), strategies.graphs(2))
    def solved(bandit: ea.Bandit, pairs: object) -> None:
        drawn.append(bandit)
        found = ea.solve(READERS.get(kind, ea.EXPO(1.0)), bandit)
        assert found.status in ("optimal", "best_found", "no_minimiser", "not_unique")
        assert ea.Bandit([0.5, 0.5], [0.4, 0.6], pairs).n == 2

    solved()
    assert all(3 <= bandit.n <= 5 for bandit in drawn)


LOSS = """
import torch.nn.functional as F

def mine(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, beta=0.1):
    gap = policy_chosen_logps - policy_rejected_logps - reference_chosen_logps + reference_rejected_logps
    return -F.logsigmoid(beta * gap)
"""


def plugin(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "my_loss.py").write_text(LOSS, encoding="utf-8")
    installed = any(point.name == "preference-losses" for point in entry_points(group="pytest11"))
    own = [] if installed else ["-p", "expo_analysis.testing.plugin"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *own, *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )


def clamped(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1):
    w, l, ref_w, ref_l = (  # noqa: E741
        x.clamp(min=-50) for x in (chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    )
    return -F.logsigmoid(beta * (w - l - ref_w + ref_l))


def clamped_far(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1):
    far = ref_chosen_logps.clamp(min=-400)
    return -F.logsigmoid(beta * (chosen_logps - rejected_logps - far + ref_rejected_logps))


def zero_where_wide(chosen_logps, rejected_logps, beta=0.1):
    z = beta * (chosen_logps - rejected_logps)
    return torch.where(z.abs() < 300, -F.logsigmoid(z), 0 * z)


@pytest.mark.parametrize(("f", "as_is"), [(clamped, "dpo"), (clamped_far, "dpo"), (zero_where_wide, "bradley_terry")])
def test_losses_of_long_responses_are_compared_too(f: Any, as_is: str) -> None:
    """A response of a hundred tokens has a log-probability of some -100 to -300."""
    assert equality(f, as_is, far=False).equal
    with pytest.raises(AssertionError, match=r"they differ by .* logp_w = -\d\d+"):
        assert_equal_losses(f, as_is)
    for name in ("dpo", "ipo", "cpo", "simpo", "orpo", "rpo", "kto"):
        assert equality(name, name).error < 1e-12


def test_losses_at_all_lambdas_at_once_are_those_at_each():
    """Of the catalogue they are computed at once, of any other one by one, which may branch on its lambda."""

    class Branching(ea.DPO):
        def pair_loss(self, *arrays: Any) -> Any:
            return super().pair_loss(*arrays) * (2.0 if self.lam > 1 else 1.0)

    lams, drawn = np.array([0.01, 0.7, 30.0]), drawn_pairs()
    made = [cls(1.0) for name, cls in ea.CATALOGUE.items() if name not in ("qpo", "rlhf", "aot")]
    for loss in (*made, Branching(1.0)):
        for lam, (values, added) in zip(lams.tolist(), values_at(loss, lams, drawn), strict=True):
            np.testing.assert_allclose(values, pair_values(loss, lam, drawn), rtol=1e-13, atol=1e-300)
            regulariser = loss.regulariser
            assert (added is None) == (regulariser is None)
            if regulariser is not None:
                alone = lam * regulariser(drawn["logp"].T.copy(), drawn["ref_logp"].T.copy())
                np.testing.assert_allclose(added, alone, rtol=1e-13)


@pytest.mark.slow
def test_the_plugin_makes_a_test_of_each_question(tmp_path: Path) -> None:
    ran = plugin(
        tmp_path, "--preference-loss", "my_loss.py:mine", "--preference-questions", "sound,preservation,uniqueness"
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "2 failed, 1 passed" in ran.stdout and "preservation fails: the optimum moves away" in ran.stdout
    assert "solutions = [ea.solve(" in ran.stdout


@pytest.mark.slow
def test_the_plugin_refuses_what_is_no_question(tmp_path: Path) -> None:
    ran = plugin(tmp_path, "--preference-loss", "my_loss.py:mine", "--preference-questions", "presevation")
    assert ran.returncode == 4 and "--preference-questions must be among sound, reference_limit" in ran.stderr


@pytest.mark.slow
def test_the_plugin_says_once_that_there_is_no_such_loss(tmp_path: Path) -> None:
    ran = plugin(tmp_path, "--preference-loss", "no.py:mine")
    assert ran.returncode == 4 and ran.stderr.count("ERROR") == 1 and "Traceback" not in ran.stderr, ran.stderr


def test_without_a_loss_the_plugin_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_one(): pass\n", encoding="utf-8")
    ran = plugin(tmp_path)
    assert ran.returncode == 0 and "1 passed" in ran.stdout
