"""Report cards of losses that read rewards, or lengths: what they are judged on, and that the verdicts are sane."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.desiderata import subject
from expo_analysis.desiderata.falsify.problems import counted
from expo_analysis.desiderata.questions.consistency import judge as consistency
from expo_analysis.desiderata.questions.existence import judge as existence

DPO_LIKE = {
    # with r = log pi* a population's optimum is that of DPO: from pi_ref at large lambda to the mode of pi*, past pi*
    **{"reference_limit": "holds", "weak_interpolation": "holds", "strong_interpolation": "fails"},
    **{"preservation": "fails", "improvement": "fails", "monotone_path": "fails", "consistency": "holds"},
}
EVERY: dict[str, tuple[Any, dict[str, str]]] = {
    # a regression on rewards has a minimiser on every data set, separable ones too, which DPO has not
    "rebel": (ea.REBEL, DPO_LIKE | {"existence": "holds", "uniqueness": "fails"}),
    "distillation": (ea.RewardDistillation, DPO_LIKE | {"existence": "holds", "uniqueness": "fails"}),
    "rpo": (ea.RewardAwarePO, DPO_LIKE | {"existence": "holds", "uniqueness": "fails"}),
    "rpo squared": (lambda lam: ea.RewardAwarePO(lam, "squared"), DPO_LIKE | {"existence": "holds"}),
    # in the logits it is bounded, and nothing is proven by convexity
    "rpo forward": (
        lambda lam: ea.RewardAwarePO(lam, "forward_kl"),
        {"existence": "cannot tell", "consistency": "cannot tell", "preservation": "fails"},
    ),
    # logistic losses of labels: no minimiser on separable data
    "odpo": (ea.ODPO, DPO_LIKE | {"existence": "fails"}),
    "madpo": (ea.MADPO, {"reference_limit": "holds", "existence": "fails", "consistency": "holds"}),
    "length-normalised dpo": (ea.LengthNormalisedDPO, DPO_LIKE | {"existence": "fails"}),
    "pessimistic dpo": (
        ea.PessimisticDPO,
        {
            **{"reference_limit": "holds", "existence": "holds", "uniqueness": "holds", "conservation": "holds"},
            **{"constraint_robustness": "holds", "preservation": "fails", "weak_interpolation": "fails"},
        },
    ),
    "dpo-shift": (ea.DPOShift, {"existence": "fails", "preservation": "fails"}),
    "cal-dpo": (ea.CalDPO, {"reference_limit": "fails", "preservation": "fails"}),
    "pro": (ea.PRO, {"preservation": "fails", "existence": "cannot tell"}),
    "alpha-po": (ea.AlphaPO, {"reference_limit": "fails", "existence": "fails", "preservation": "fails"}),
    "simper": (ea.SimPER, {"existence": "fails", "consistency": "cannot tell"}),
    "simpo": (ea.SimPO, {"reference_limit": "fails", "existence": "fails", "consistency": "holds"}),
    "orpo": (ea.ORPO, {"preservation": "fails"}),
}
FAST = ("rebel", "pessimistic dpo")


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in EVERY])
def test_verdicts(name: str) -> None:
    """No claim is refuted, every judge answers, and counterexamples run by themselves in another process."""
    make, expected = EVERY[name]
    card = ea.audit(make(1.0), effort=0.05)
    assert card.remarks == ()
    found = {key: verdict.decision for key, verdict in card.verdicts.items()}
    assert set(found) == set(ea.DESIDERATA)
    assert {key: found[key] for key in expected} == expected
    codes = [v.counterexample.code for v in card.verdicts.values() if v.counterexample is not None]
    for code in codes if name == "odpo" else codes[:1]:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr


def test_a_loss_without_a_value_for_most_pairs_is_told_so() -> None:
    """ODPO's logarithm: the card says why it has no verdicts, and has none."""
    card = ea.audit(ea.ODPO(1.0, scale="log"), effort=0.02)
    assert card.remarks == ("it is NaN at ordinary log-probabilities",)
    assert {verdict.decision for verdict in card.verdicts.values()} == {"cannot tell"}


def test_win_counts_of_an_audit_state_rewards_for_those_that_read_them() -> None:
    counts = np.array([[0.0, 2.0], [1.0, 0.0]])
    assert counted(ea.DPO(1.0), [0.5, 0.5], counts).rewards is None
    assert counted(ea.RLHF(1.0), [0.5, 0.5], counts).rewards is None  # its reward is fitted
    assert counted(ea.SimPO(1.0), [0.5, 0.5], counts).rewards is None
    np.testing.assert_array_equal(counted(ea.REBEL(1.0), [0.5, 0.5], counts).rewards, [0.0, -1.0])


def test_what_is_proven_on_every_data_set() -> None:
    """Of a regression each of hundreds of small data sets is solved with a proof, and samples have no error at all."""
    judged = subject.Subject(ea.REBEL(1.0), "ea.REBEL(lam)", effort=0.2)
    found = existence(judged)
    assert found.evidence["with a proven minimiser"] == found.evidence["problems"] > 500
    assert consistency(judged).summary.startswith("the optimum on every sample is the population's")
