"""What is logged is a mean over all pairs, or tokens, that were seen: whatever the sizes of batches, sets and steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea

from . import llm_models as tiny
from .llm_trainers import LAM, first_log, logps_of, make

from expo_analysis.llm import PreferenceTrainer  # isort: skip
from expo_analysis.llm.training import best_metric  # isort: skip
from expo_analysis.llm.training.metrics import Sums  # isort: skip
from transformers import EarlyStoppingCallback  # isort: skip

TIMES = ("runtime", "per_second", "epoch", "step", "learning_rate", "model_preparation_time")


def numbers(log: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in log.items() if not any(part in name for part in TIMES)}


@pytest.mark.parametrize("estimator", [None, "token_kl", "own_responses"])
def test_micro_batches_do_not_change_what_is_logged(estimator: str | None, tmp_path: Path) -> None:
    """Six pairs in one step: at once, as 4 + 2, and as 2 + 2 + 2."""
    found = []
    for size, accumulation in ((6, 1), (4, 2), (2, 3)):
        trainer = make(
            ea.DPO(LAM) if estimator is None else ea.EXPO(LAM),
            tmp_path,
            model=tiny.llama().double(),
            data=tiny.pairs(6),
            ref_model=None if estimator == "own_responses" else tiny.llama(3).double(),
            regulariser_estimator=estimator,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=1,
        )
        trainer.train()
        found.append(numbers(first_log(trainer)))
    for other in found[1:]:
        assert set(other) == set(found[0])
        for name, value in found[0].items():
            close = {"rel": 2e-6} if name in ("loss", "grad_norm") else {"rel": 1e-9, "abs": 1e-12}  # these are float32
            assert other[name] == pytest.approx(value, **close), name
    if estimator is None:
        assert found[0]["loss"] == pytest.approx(found[0]["loss/preference"], rel=1e-6)


def test_steps_of_unequal_sizes_count_by_their_pairs(tmp_path: Path) -> None:
    """Five pairs in steps of 4 and 1, logged together: the mean over five pairs, not over two steps."""
    given = {"logging_steps": 10, "num_train_epochs": 1, "learning_rate": 0.0, "train_sampling_strategy": "sequential"}
    trainer = make(ea.DPO(LAM), tmp_path, data=tiny.pairs(5), ref_model=tiny.llama(1), **given)
    trainer.train()
    whole = trainer.data_collator(list(trainer.train_dataset))
    sums = [logps_of(model, whole) for model in (trainer.model, trainer.ref_model)]
    expected = ea.DPO(LAM).loss(*sums[0], *sums[1])
    log = first_log(trainer)
    assert log["step"] == 2  # the last step is logged, whatever logging_steps is
    assert log["loss"] == pytest.approx(expected.mean().item(), rel=1e-5)
    assert log["logps/chosen"] == pytest.approx(sums[0][0].mean().item(), rel=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8])
def test_evaluation_does_not_depend_on_its_batches(size: int, tmp_path: Path) -> None:
    """Seven pairs of unequal lengths; means over tokens too."""
    given = {"eval_dataset": tiny.pairs(7, seed=3), "ref_model": tiny.llama(1)}
    found = [
        numbers(make(ea.EXPO(LAM), tmp_path, per_device_eval_batch_size=each, **given).evaluate()) for each in (7, size)
    ]
    assert found[0] == pytest.approx(found[1], rel=2e-6, abs=1e-6)
    assert found[0]["eval_loss"] == pytest.approx(
        found[0]["eval_loss/preference"] + LAM * found[0]["eval_loss/regulariser"], rel=1e-6
    )


def test_each_evaluation_set_has_its_own_names(tmp_path: Path) -> None:
    sets = {"a": tiny.pairs(3, seed=1), "b": tiny.pairs(4, seed=2)}
    trainer = make(ea.DPO(LAM), tmp_path, ref_model=tiny.llama(1), eval_dataset=sets)
    both = trainer.evaluate()
    for key, data in sets.items():
        alone = make(ea.DPO(LAM), tmp_path, ref_model=tiny.llama(1), eval_dataset=data).evaluate()
        for name, value in numbers(alone).items():
            assert both[f"eval_{key}_{name.removeprefix('eval_')}"] == pytest.approx(value, rel=1e-6), name
    assert not any(name.startswith("eval_rewards") for name in both)
    assert both["eval_a_rewards/margins"] != both["eval_b_rewards/margins"]


def test_the_best_model_by_a_metric_of_one_set(tmp_path: Path) -> None:
    trainer = make(
        ea.DPO(LAM),
        tmp_path,
        eval_dataset={"a": tiny.pairs(4, seed=1), "b": tiny.pairs(4, seed=2)},
        max_steps=2,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_b_rewards/margins",
    )
    trainer.train()
    values = [log["eval_b_rewards/margins"] for log in trainer.state.log_history if "eval_b_loss" in log]
    assert trainer.state.best_metric == max(values)


def test_a_training_that_stops_early_logs_its_last_step(tmp_path: Path) -> None:
    """Stopped by a callback of evaluation, between two logs."""
    trainer = make(
        ea.DPO(LAM),
        tmp_path,
        eval_dataset=tiny.pairs(4, seed=1),
        max_steps=50,
        logging_steps=40,
        eval_strategy="steps",
        eval_steps=3,
        save_strategy="steps",
        save_steps=3,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        learning_rate=0.0,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=1)],
    )
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    assert trainer.state.global_step == 6 == logs[-1]["step"]
    assert logs[-1]["loss"] == pytest.approx(np.log(2), abs=1e-6)


def test_what_is_in_one_log_is_not_in_the_next(tmp_path: Path) -> None:
    given = {"learning_rate": 0.0, "max_steps": 2, "train_sampling_strategy": "sequential"}
    trainer = make(ea.DPO(LAM), tmp_path, data=tiny.pairs(8), ref_model=tiny.llama(1), **given)
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    rows = list(trainer.train_dataset)
    for log, part in zip(logs, (rows[:4], rows[4:]), strict=True):
        batch = trainer.data_collator(part)
        sums = [logps_of(model, batch) for model in (trainer.model, trainer.ref_model)]
        assert log["mass/chosen"] == pytest.approx((sums[0] - sums[1])[0].mean().item(), rel=1e-4)
    assert logs[0]["mass/chosen"] != logs[1]["mass/chosen"]


@pytest.mark.parametrize("seed", range(5))
def test_sums_do_not_depend_on_how_they_are_split(seed: int) -> None:
    rng = np.random.default_rng(seed)
    above, below = rng.normal(size=(6, 3)), rng.integers(0, 4, size=(6, 3)).astype(float)
    names = ["loss/preference", "loss/regulariser", "kl/a"]

    def total(parts: list[Any]) -> dict[str, float]:
        sums = Sums()
        for part in parts:
            a, b = above[part].sum(axis=0), below[part].sum(axis=0)
            sums.add({n: (torch.tensor(a[k]), torch.tensor(b[k])) for k, n in enumerate(names)})
        return sums.means(lambda tensor: tensor, 0.5, 0.0)

    whole = total([slice(0, 6)])
    assert total([slice(0, 1), slice(1, 4), slice(4, 6)]) == pytest.approx(whole, rel=1e-12)
    assert whole["loss"] == pytest.approx(whole["loss/preference"] + 0.5 * whole["loss/regulariser"])


# ------------------------------------------------------------------------------------------- predictions, weights


def test_predictions_and_compute_metrics(tmp_path: Path) -> None:
    """log-probabilities of every pair's responses, and the rows' numbers, in the order of the data."""
    seen: list[Any] = []

    def count(prediction: Any) -> dict[str, float]:
        seen.append(prediction)
        won = prediction.predictions["policy_chosen_logps"] > prediction.predictions["policy_rejected_logps"]
        return {"won": float(won.mean())}

    data = tiny.pairs(7, seed=3)
    given = {"eval_dataset": data, "ref_model": tiny.llama(1), "per_device_eval_batch_size": 3}
    trainer = make(ea.DPO(LAM), tmp_path, compute_metrics=count, **given)
    measured = trainer.evaluate()
    whole = trainer.data_collator(list(trainer.eval_dataset))
    expected = {"policy": logps_of(trainer.model, whole), "reference": logps_of(trainer.ref_model, whole)}
    predicted = trainer.predict(data)
    for found in (seen[0].predictions, predicted.predictions):
        assert list(found) == [f"{who}_{side}_logps" for who in expected for side in ("chosen", "rejected")]
        for who, (chosen, rejected) in expected.items():
            np.testing.assert_allclose(found[f"{who}_chosen_logps"], chosen, rtol=1e-5)
            np.testing.assert_allclose(found[f"{who}_rejected_logps"], rejected, rtol=1e-5)
    assert predicted.label_ids.tolist() == list(range(7))
    assert measured["eval_won"] == pytest.approx((expected["policy"][0] > expected["policy"][1]).float().mean().item())
    assert predicted.metrics["test_loss"] == pytest.approx(measured["eval_loss"])


def test_a_loss_that_a_subclass_makes_is_what_is_logged(tmp_path: Path) -> None:
    """It is trained on; the parts of the objective's are logged as they are."""

    class Doubled(PreferenceTrainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            loss, result = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
            return (2 * loss, result) if return_outputs else 2 * loss

    plain = make(ea.DPO(LAM), tmp_path, eval_dataset=tiny.pairs(5), ref_model=tiny.llama(1), max_steps=1)
    given = {"args": plain.args, "train_dataset": tiny.pairs(8), "eval_dataset": tiny.pairs(5)}
    twice = Doubled(tiny.llama(0), ea.DPO(LAM), **given, ref_model=tiny.llama(1), processing_class=tiny.tokenizer())
    for trainer in (plain, twice):
        trainer.train()
    logged, doubled = first_log(plain), first_log(twice)
    assert doubled["loss"] == pytest.approx(2 * logged["loss"], rel=1e-5)
    assert doubled["loss/preference"] == pytest.approx(logged["loss/preference"], rel=1e-6)
    made = make(ea.DPO(LAM), tmp_path, ref_model=tiny.llama(1))
    again = Doubled(tiny.llama(0), ea.DPO(LAM), **given, ref_model=tiny.llama(1), processing_class=tiny.tokenizer())
    rows = tiny.pairs(5)
    assert again.evaluate(rows)["eval_loss"] == pytest.approx(2 * made.evaluate(rows)["eval_loss"], rel=1e-5)


def test_a_weight_is_so_many_rows(tmp_path: Path) -> None:
    """Loss and gradient of weighted pairs are those of repeated rows, per row of the weighted data."""
    data, counts = tiny.pairs(4), [1, 3, 0, 2]
    repeated = data.select([row for row, count in enumerate(counts) for _ in range(count)])
    moved, losses = [], []
    for rows, rate in ((data.add_column("weight", [float(c) for c in counts]), 0.1), (repeated, 0.1 * 6 / 4)):
        trainer = make(
            ea.EXPO(LAM), tmp_path, data=rows, ref_model=tiny.llama(1), max_steps=1, optim="sgd", max_grad_norm=0.0,
            per_device_train_batch_size=8, learning_rate=rate,
        )  # fmt: skip
        trainer.train()
        moved.append(trainer.model.lm_head.weight.detach())
        losses.append(first_log(trainer)["loss"] * len(rows))
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-5, atol=1e-7)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_loss_that_is_not_finite_names_the_row_of_its_file(tmp_path: Path) -> None:
    """In evaluation too, by the numbers that the rows had before bad ones were left out."""
    from expo_analysis.llm import NonFiniteLoss

    model = tiny.llama(0)
    with torch.no_grad():
        model.model.embed_tokens.weight[3 + tiny.WORDS.index("w7")] = float("inf")
    rows = {"prompt": ["w1 "] * 3, "chosen": ["", "w3", "w4 w7"], "rejected": ["w3", "w4", "w5"]}
    given = {"eval_dataset": tiny.Dataset.from_dict(rows), "on_bad_rows": "drop"}
    words = [f"w{k}" for k in range(8, 20)]
    data = {"prompt": ["w1 "] * 6, "chosen": words[:6], "rejected": words[6:]}
    trainer = make(ea.DPO(LAM), tmp_path, model=model, data=tiny.Dataset.from_dict(data), **given)
    with pytest.raises(
        NonFiniteLoss,
        match=r"at eval_dataset: row 2 of the data set as it was given: nan \(chosen or rejected of eval_dataset\)",
    ):
        trainer.evaluate()


# ------------------------------------------------------------------------------------- the metric of the best model

KINDS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "pairs": (ea.DPO(LAM), "pairs", {}),
    "no reference": (ea.SimPO(LAM), "pairs", {}),
    "stored": (ea.SimPO(LAM), "pairs", {"precompute_ref_log_probs": True}),
    "whole distributions": (ea.EXPO(LAM), "pairs", {}),
    "own responses": (ea.EXPO(LAM), "pairs", {"regulariser_estimator": "own_responses"}),
    "another divergence": (ea.ExplicitPO(LAM, divergence="reverse_kl"), "pairs", {}),
    "likelihood": (ea.SFT(LAM), "pairs", {"aggregation": "token_mean"}),
    "triples": (ea.TPO(LAM), "triples", {}),
    "labels": (ea.KTO(LAM), "labels", {}),
    "scores": (ea.AStarPO(LAM), "scores", {}),
    "lists": (ea.DPO(LAM), "lists", {}),
}


@pytest.mark.parametrize(("objective", "kind", "given"), KINDS.values(), ids=KINDS)
def test_which_metrics_there_will_be_is_known_before(
    objective: Any, kind: str, given: dict[str, Any], tmp_path: Path
) -> None:
    data = tiny.pairs(8) if kind == "pairs" else tiny.feedback(kind, 8)
    trainer = make(objective, tmp_path, data=data, eval_dataset=data, **given)
    stored = bool(given.get("precompute_ref_log_probs"))
    names = best_metric.metrics_of(trainer.rules, trainer._room.known["eval_dataset"], stored)
    assert names == sorted(name.removeprefix("eval_") for name in numbers(trainer.evaluate()))


def test_a_metric_that_there_is_not_is_refused_before_training(tmp_path: Path) -> None:
    sets = {"a": tiny.pairs(4), "b": tiny.pairs(4, seed=1)}
    asked = {"eval_strategy": "steps", "eval_steps": 1, "max_steps": 1, "save_strategy": "best"}
    for name in ("rewards/margins", "eval_rewards/margins", "loss", "runtime"):
        made = make(ea.DPO(LAM), tmp_path / name, eval_dataset=sets["a"], metric_for_best_model=name, **asked)
        if name != "loss":  # test_llm_resume_finished.py trains by it
            made.train()
    make(ea.DPO(LAM), tmp_path / "two", eval_dataset=sets, metric_for_best_model="b_rewards/margins", **asked).train()
    message = (
        "metric_for_best_model must be a metric of an evaluation, one of .*kl_estimate/reference_policy, .*mass/chosen"
    )
    for wrong, given in (("rewards/margin", sets["a"]), ("eval_acc", sets["a"]), ("rewards/margins", sets)):
        with pytest.raises(ValueError, match=message) as caught:
            make(ea.DPO(LAM), tmp_path, eval_dataset=given, metric_for_best_model=wrong, **asked)
        assert f"; got {wrong!r}" in str(caught.value)
    with pytest.raises(ValueError, match="did you mean 'rewards/margins'"):
        make(ea.DPO(LAM), tmp_path, eval_dataset=sets["a"], metric_for_best_model="rewards/margin", **asked)
    own = {"metric_for_best_model": "mine", "compute_metrics": lambda predictions: {"mine": 1.0}}
    make(ea.DPO(LAM), tmp_path / "own", eval_dataset=sets["a"], **own, **asked).train()


def test_estimated_and_exact_divergences_have_names_of_their_own(tmp_path: Path) -> None:
    """Along the pair's own responses the one is an importance estimate, the other a sum over the vocabulary."""
    logs = {}
    for name, loss, given in (("dpo", ea.DPO(LAM), {}), ("expo", ea.EXPO(LAM), {})):
        trainer = make(loss, tmp_path, ref_model=tiny.llama(1), max_steps=1, **given)
        trainer.train()
        logs[name] = {part for part in first_log(trainer) if part.startswith("kl")}
    parts = {f"{who}{per}" for who in ("reference_policy", "policy_reference") for per in ("", "_per_token")}
    assert logs == {"dpo": {f"kl_estimate/{part}" for part in parts}, "expo": {f"kl/{part}" for part in parts}}
