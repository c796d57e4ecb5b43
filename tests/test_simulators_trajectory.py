"""What a trajectory says of its policies, against plain numpy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import expo_analysis as ea
from expo_analysis.losses.notation import full_name
from expo_analysis.simulators import SGD, Pairs, Tabular, Training, Trajectory, train

REFERENCE = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
OPTIMAL = np.array([[0.1, 0.2, 0.3, 0.4], [0.3, 0.3, 0.2, 0.2]])
OBJECTIVES = [ea.DPO(0.5), ea.EXPO(2.0), ea.ExplicitPO(0.1, divergence="jensen_shannon")]
PAIRS = Pairs(
    REFERENCE,
    winner=np.array([[0, 0, 1, 2, 0], [2, 1, 1, 3, 3]]),
    loser=np.array([[1, 1, 0, 0, 2], [3, 0, 2, 1, 1]]),
    prompt=np.array([[0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]),
    size=np.array([5, 4]),
    optimal=OPTIMAL,
)


@pytest.fixture(scope="module")
def trajectory() -> Trajectory:
    return train(OBJECTIVES, Tabular(REFERENCE), PAIRS, Training(SGD(0.5), epochs=12, records=4))


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (p * np.log(p / q)).sum(axis=-1)


def test_shapes_and_masses(trajectory: Trajectory) -> None:
    assert trajectory.policies.shape == (3, 2, 4, 2, 4)
    assert trajectory.values.shape == (3, 2, 4) and trajectory.final.shape == (3, 2, 2, 4)
    assert np.abs(trajectory.policies.sum(axis=-1) - 1).max() < 1e-14
    total = sum(trajectory.mass(kind) for kind in ("chosen", "rejected", "unseen"))
    assert np.abs(total - 1).max() < 1e-14
    np.testing.assert_array_equal(trajectory.final, trajectory.policies[:, :, -1])


def test_kinds_of_responses(trajectory: Trajectory) -> None:
    """Worked by hand from the pairs; a tie counts as rejected, and padding counts for nothing."""
    kinds = {name: [set(np.flatnonzero(row)) for row in mask.reshape(4, 4)] for name, mask in trajectory.kinds.items()}
    # data set 0: prompt 0 has 0>1, 0>1, 1>0; prompt 1 has 2>0, 0>2, a tie. Data set 1: 2>3, 1>0, 1>2; then 3>1.
    assert kinds["chosen"] == [{0}, set(), {1}, {3}]
    assert kinds["rejected"] == [{1}, {0, 2}, {0, 2, 3}, {1}]
    assert kinds["unseen"] == [{2, 3}, {1, 3}, set(), {0, 2}]
    assert sum(mask.astype(int) for mask in trajectory.kinds.values()).tolist() == np.ones((2, 2, 4)).tolist()
    np.testing.assert_allclose(trajectory.mass("chosen")[:, 1, :, 0], trajectory.policies[:, 1, :, 0, 1], rtol=1e-15)
    np.testing.assert_allclose(
        trajectory.mass("unseen")[:, 0, :, 0], trajectory.policies[:, 0, :, 0, 2:].sum(axis=-1), rtol=1e-15
    )


def test_ties_of_a_population_are_ties_whatever_the_rounding() -> None:
    bandit = ea.Bandit(np.full(7, 1 / 7), np.full(7, 1 / 7), pairs="reference")
    trained = train(ea.EXPO(1.0), Tabular(bandit.reference), bandit, Training(epochs=2))
    assert not trained.kinds["chosen"].any() and trained.kinds["rejected"].all()


def test_divergences(trajectory: Trajectory) -> None:
    pi = trajectory.policies
    expected = {
        "kl_reference_policy": kl(REFERENCE, pi),
        "kl_policy_reference": kl(pi, REFERENCE),
        "kl_optimal_policy": kl(OPTIMAL, pi),
        "kl_policy_optimal": kl(pi, OPTIMAL),
        "tv": np.maximum(pi - OPTIMAL, 0).sum(axis=-1),
    }
    assert trajectory.divergences == tuple(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(trajectory.divergence(name), values, rtol=1e-12, atol=1e-15)
    assert trajectory.divergence("kl_reference_policy")[:, :, 0].max() < 1e-15


def test_frame(trajectory: Trajectory) -> None:
    frame = trajectory.to_frame(policies=True)
    divergences = ["kl_reference_policy", "kl_policy_reference", "kl_optimal_policy", "kl_policy_optimal", "tv"]
    keys = ["loss", "lam", "data_set", "step", "prompt"]
    masses = ["chosen", "rejected", "unseen"]
    assert list(frame) == [*keys, "value", *divergences, *masses, "y0", "y1", "y2", "y3"]
    assert len(frame) == 3 * 2 * 4 * 2 and not frame.isna().any(axis=None) and not frame.duplicated(keys).any()
    names = ["dpo", "expo", "explicit_po(divergence=jensen_shannon)"]
    for k, (name, objective) in enumerate(zip(names, OBJECTIVES, strict=True)):
        for s in range(2):
            for r, step in enumerate(trajectory.steps):
                for x in range(2):
                    at = (frame["loss"] == name) & (frame["data_set"] == s) & (frame["step"] == step)
                    [row] = frame[at & (frame["prompt"] == x)].to_dict("records")
                    assert row["lam"] == objective.lam and row["value"] == trajectory.values[k, s, r]
                    np.testing.assert_array_equal([row[f"y{y}"] for y in range(4)], trajectory.policies[k, s, r, x])
                    assert row["tv"] == trajectory.divergence("tv")[k, s, r, x]
                    assert row["unseen"] == trajectory.mass("unseen")[k, s, r, x]
    pd.testing.assert_frame_equal(trajectory.to_frame(), frame.drop(columns=["y0", "y1", "y2", "y3"]))


def test_labels_name_options_and_nothing_else() -> None:
    assert full_name(ea.DPO(0.3)) == "dpo"
    assert full_name(ea.DPO(0.3, label_smoothing=0.1)) == "dpo(label_smoothing=0.1)"
    assert full_name(ea.FDPO(2.0, divergence=ea.ChiSquare())) == "fdpo(divergence=chi_square)"
    assert full_name(ea.DPO(1.0, label_smoothing=0.2, robust=True)) == "dpo(label_smoothing=0.2, robust=True)"

    def mine(logp_w, logp_l, ref_logp_w, ref_logp_l, beta=0.1):  # type: ignore[no-untyped-def]
        return beta * (logp_l - logp_w + ref_logp_w - ref_logp_l)

    assert full_name(ea.from_function(mine)) == "mine"  # how it is called is no option of the loss
    assert full_name(ea.QPO(1.0, psi=lambda s: s, mu=lambda z: z)) == "qpo"


def test_what_is_not_known_is_not_offered() -> None:
    counted = train(ea.EXPO(1.0), Tabular(REFERENCE), PAIRS.bandit(0), Training(epochs=2, records=2))
    assert counted.optimal is None
    assert counted.divergences == ("kl_reference_policy", "kl_policy_reference")
    assert not {"tv", "kl_optimal_policy"} & set(counted.to_frame())
    with pytest.raises(ValueError, match=r"name must be one of \['kl_reference_policy', 'kl_policy_reference'\]"):
        counted.divergence("tv")
    with pytest.raises(ValueError, match=r"kind must be one of \['chosen', 'rejected', 'unseen'\], got 'won'"):
        counted.mass("won")


def test_nan_stays_where_it_is(trajectory: Trajectory) -> None:
    log_policies = trajectory.log_policies.copy()
    log_policies[0, 1, 2:] = np.nan
    lost = dataclasses.replace(trajectory, log_policies=log_policies)
    for values in (lost.divergence("tv"), lost.divergence("kl_policy_optimal"), lost.mass("chosen")):
        missing = np.isnan(values)
        assert missing[0, 1, 2:].all() and missing.sum() == 4
    frame = lost.to_frame()
    assert frame["tv"].isna().sum() == 4 and frame["kl_reference_policy"].isna().sum() == 4


def test_a_policy_that_underflows_has_finite_logarithms_and_divergences() -> None:
    """log-probabilities of -1000 are kept, although the probability is 0."""
    log_policies = np.array([[[[[-1000.0, 0.0]]]]])
    one = Trajectory(
        (ea.DPO(1.0),), np.array([0]), log_policies, np.zeros((1, 1, 1)), log_policies[:, :, 0], np.zeros((1, 1), int),
        np.zeros((1, 1, 2)), np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]]), np.ones((1, 1, 2)), np.ones((1, 1, 2)),
    )  # fmt: skip
    assert one.divergence("kl_reference_policy").item() == pytest.approx(500 - np.log(2))
    assert one.divergence("kl_policy_reference").item() == pytest.approx(np.log(2))
    assert one.divergence("kl_optimal_policy").item() == pytest.approx(
        250 + (0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    )
    assert one.divergence("tv").item() == pytest.approx(0.25)
