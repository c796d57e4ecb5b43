"""Bad input to training: the message names the argument, and says what is accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import expo_analysis as ea
from expo_analysis.simulators import SGD, Adam, LogLinear, NGram, Pairs, Tabular, Training, draw_pairs, train

BANDIT = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
PAIRS = draw_pairs(BANDIT, 10, 2)
TABULAR = Tabular(BANDIT.reference)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"batch": 0}, "batch must be a whole number of at least 1"),
        ({"records": 1}, "records must be a whole number of at least 2"),
        ({"patience": 0}, "patience must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"seed": None}, "seed must be a whole number"),
        ({"schedule": "step"}, r"schedule must be one of \['constant', 'linear', 'cosine', 'exponential'\]"),
        ({"clip_norm": 0.0}, "clip_norm must be a finite number above 0"),
        ({"clip_norm": float("inf")}, "clip_norm must be a finite number above 0"),
        ({"average": 0.0}, r"average must be a share in \(0, 1\], got 0.0"),
        ({"average": 1.5}, "average must be a share"),
        ({"average": True}, "average must be a share"),
        ({"average": 0.5, "patience": 3}, "average is not used with patience"),
        ({"estimator": "none"}, "estimator must be one of .*'token_kl'"),
        ({"estimator": "token_kl", "prefixes": "all", "batch": 1}, "prefixes must be one of"),
        ({"prefixes": "own_responses"}, "prefixes is used by estimator 'token_kl' only"),
        ({"samples": 2}, "samples is not used"),
        ({"samples": 0, "estimator": "reference_samples", "batch": 1}, "samples must be a whole number of at least 1"),
        ({"estimator": "reference_samples"}, "batch must be given with an estimator that draws"),
    ],
)
def test_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Training(**options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(0.0), "lr must be a finite number above 0"),
        (lambda: Adam(float("nan")), "lr must be a finite number above 0"),
        (lambda: Adam(weight_decay=-1.0), "weight_decay must be a finite number of at least 0"),
        (lambda: SGD(momentum=1.0), r"momentum must be a number in \[0, 1\)"),
        (lambda: Adam(betas=(0.9, 1.0)), r"betas must be a number in \[0, 1\)"),
        (lambda: Adam(betas=(0.9,)), r"betas must be a pair of numbers in \[0, 1\)"),  # type: ignore[arg-type]
        (lambda: Adam(betas=0.9), "betas must be a pair"),  # type: ignore[arg-type]
        (lambda: Adam(eps=0.0), "eps must be a finite number above 0"),
    ],
)
def test_optimisers(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def given(**changes: Any) -> dict[str, Any]:
    return {"objectives": ea.EXPO(1.0), "policy": TABULAR, "data": BANDIT, "training": Training(epochs=2), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": []}, "objectives must hold at least one objective"),
        ({"objectives": ea.AOT(1.0)}, "couples the pairs of a batch"),
        ({"objectives": ea.EXPO(np.array([1.0, 2.0]))}, "objectives must have one lam each"),
        ({"policy": Tabular([0.5, 0.5])}, r"data must have the policy's 1 prompts and 2 responses, got \(1, 3\)"),
        ({"training": Training(batch=2)}, "batch needs data of single pairs"),
        ({"training": Training(patience=2)}, "validation and patience must be given together"),
        ({"validation": BANDIT}, "validation and patience must be given together"),
        (
            {"training": Training(patience=2), "validation": ea.Bandit([0.5, 0.5], [0.5, 0.5])},
            "validation must have the policy's 1 prompts and 3 responses",
        ),
        (
            {"data": PAIRS, "training": Training(patience=2), "validation": draw_pairs(BANDIT, 5, 3)},
            "validation must have one data set or as many as data, 2; got 3",
        ),
        (
            {"training": Training(patience=2), "validation": PAIRS},
            "validation must have one data set or as many as data, 1; got 2",
        ),
        ({"reward": [1.0, 2.0, 3.0]}, "reward is used by RLHF only"),
        (
            {"objectives": ea.RLHF(1.0), "reward": [1.0, 2.0]},
            r"reward must have shape \(n,\), \(prompts, n\) or \(1, 1, 3\)",
        ),
        ({"objectives": ea.RLHF(1.0), "data": PAIRS.bandit()}, "reward must be given for RLHF where pi"),
        (
            {"objectives": ea.DPO(1.0), "data": PAIRS, "training": Training(batch=2, estimator="own_responses")},
            "estimator 'own_responses' estimates KL.*not the regulariser of DPO",
        ),
        (
            {"objectives": ea.SPO(1.0), "data": PAIRS, "training": Training(batch=2, estimator="reference_samples")},
            "not the regulariser of SPO",
        ),
        (
            {"objectives": ea.RLHF(1.0), "data": PAIRS, "training": Training(batch=2, estimator="own_responses")},
            "estimator must be 'exact' for RLHF",
        ),
    ],
)
def test_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(**given(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": "dpo"}, "objectives must be RLHF or pair objectives, got str"),
        ({"objectives": [ea.DPO(1.0), None]}, "objectives must be RLHF or pair objectives, got NoneType"),
        ({"policy": BANDIT.reference}, "policy must be a Policy such as .* got ndarray"),
        ({"data": [(0, 1)]}, "data must be a Bandit or Pairs, got list"),
        ({"training": Adam()}, "training must be a Training, got Adam"),
        ({"training": Training(patience=1), "validation": 3}, "validation must be a Bandit or Pairs, got int"),
        (
            {"data": PAIRS, "training": Training(batch=2, estimator="token_kl")},
            "policy Tabular has no tokens; 'token_kl' needs an autoregressive policy",
        ),
    ],
)
def test_types(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        train(**given(**changes))


def test_an_optimiser_must_be_one() -> None:
    with pytest.raises(TypeError, match=r"optimiser must be Adam\(...\) or SGD\(...\), got 'adam'"):
        Training("adam")  # type: ignore[arg-type]


def test_good_input_of_every_kind_is_taken() -> None:
    """What the messages above say is accepted, is."""
    for changes in (
        {"objectives": [ea.EXPO(1.0), ea.RLHF(1.0)], "reward": [1.0, 2.0, 3.0], "data": PAIRS},
        {"data": PAIRS, "training": Training(epochs=2, patience=1), "validation": BANDIT},
        {"data": PAIRS, "training": Training(epochs=2, patience=1), "validation": draw_pairs(BANDIT, 5)},
        {"data": PAIRS, "training": Training(epochs=2, average=1, clip_norm=1, batch=3)},
        {"policy": NGram(3, 1), "data": PAIRS, "training": Training(epochs=2, batch=3, estimator="token_kl")},
    ):
        assert np.isfinite(train(**given(**changes)).final).all()


def test_padding_is_not_looked_at() -> None:
    """Beyond a data set's size a winner may be its own loser; within it may not."""
    ends = {"winner": [[0, 1, 0], [2, 1, 0]], "loser": [[1, 0, 0], [1, 0, 2]]}
    pairs = Pairs([0.4, 0.4, 0.2], **ends, size=[2, 3])
    expected = np.zeros((2, 1, 3, 3))
    expected[0, 0, 0, 1] = expected[0, 0, 1, 0] = expected[1, 0, 2, 1] = expected[1, 0, 1, 0] = expected[1, 0, 0, 2] = 1
    np.testing.assert_array_equal(pairs.counts, expected)
    with pytest.raises(ValueError, match="loser must differ from winner"):
        Pairs([0.4, 0.4, 0.2], **ends, size=[3, 3])


def test_inputs_are_copied_and_fields_are_frozen() -> None:
    """What a caller goes on to do with an array changes nothing, and what is kept cannot be written to."""
    policy = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    whole = {"winner": np.array([[0, 1]]), "loser": np.array([[1, 2]]), "prompt": np.array([[0, 1]])}
    size, features = np.array([2]), np.ones((2, 3, 4))
    made = {
        "pairs": (Pairs(policy, **whole, size=size, optimal=policy), {**whole, "size": size, "reference": policy}),
        "tabular": (Tabular(policy), {"initial_policy": policy}),
        "log-linear": (LogLinear(policy, features), {"base": policy, "features": features}),
        "n-gram": (NGram(3, 1, 2, initial_policy=policy), {"initial_policy": policy}),
    }
    for name, (holder, given) in made.items():
        for field, array in given.items():
            kept = getattr(holder, field)
            assert array.flags.writeable and not kept.flags.writeable, f"{name}.{field}"
            assert not np.shares_memory(kept, array), f"{name}.{field}"
            with pytest.raises(ValueError, match="read-only"):
                kept[...] = 0
        with pytest.raises(AttributeError):
            setattr(holder, next(iter(given)), policy)
