"""The study of predictions: the published predictors, the scores, and what is written of them."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from expo_analysis._progress import silent
from expo_analysis.simulators import SGD, Pairs, PromptedTransformer, Training, train
from expo_analysis.studies import STUDIES
from expo_analysis.studies.prediction import numbers, published, words
from expo_analysis.studies.small_transformer import numbers as trained
from expo_analysis.studies.small_transformer import world as worlds
from expo_analysis.studies.small_transformer.questions import CONFIDENCE, interval

COMMITTED = Path(__file__).parents[1] / "figures"
STUDY = STUDIES["prediction"]


def small_model(seed: int = 2) -> PromptedTransformer:
    return PromptedTransformer(3, 2, [[0, 1], [1, 1], [2, 0]], 3, width=8, seed=seed)


def some_pairs(model: PromptedTransformer, count: int = 12) -> Pairs:
    rng = np.random.default_rng(1)
    prompt, winner = rng.integers(model.prompts, size=(1, count)), rng.integers(model.n, size=(1, count))
    loser = (winner + rng.integers(1, model.n, size=(1, count))) % model.n
    return Pairs(model.initial(), winner, loser, prompt)


# ------------------------------------------------------------------------------------------------ the published ones


def test_ches_is_that_of_a_plain_pass_over_each_response() -> None:
    model = small_model()
    pairs = some_pairs(model)
    module = model._module
    read: list[torch.Tensor] = []
    module.output.register_forward_pre_hook(lambda _, given: read.append(given[0]))

    def embedding(prompt: int, response: int) -> np.ndarray:
        first = response // 3  # the last token is read by nothing
        module(torch.tensor([[*(3 + model.texts[prompt]), first]]))
        return read[-1][0, 1:].sum(dim=0).numpy()

    for k, found in enumerate(published.ches(model, pairs)[0]):
        prompt = int(pairs.prompt[0, k])
        chosen, rejected = (embedding(prompt, int(end[0, k])) for end in (pairs.winner, pairs.loser))
        assert found == pytest.approx(chosen @ rejected - chosen @ chosen, rel=1e-4, abs=1e-5)


def test_the_band_says_what_a_short_step_on_one_pair_does() -> None:
    """Along s_w d_w - s_l d_l the chosen response rises above the lower edge and the rejected falls below the upper."""
    model = small_model()
    pairs, start = some_pairs(model), small_model().start()
    products = published.gram(model)
    signs = set()
    for ratio in (0.2, 1.0, 5.0):
        above, below = published.band(products, pairs, ratio)
        for k in range(pairs.winner.shape[1]):
            at = [int(pairs.prompt[0, k]) * model.n + int(end[0, k]) for end in (pairs.winner, pairs.loser)]
            own = start.clone().requires_grad_()
            logp = model.log_policy(own).flatten()[at]
            chosen, rejected = (torch.autograd.grad(x, own, retain_graph=True)[0] for x in logp)
            step = ratio * chosen - rejected
            assert np.sign(above[0, k]) == np.sign(float(step @ chosen))
            assert np.sign(below[0, k]) == -np.sign(float(step @ rejected))
            signs |= {(np.sign(above[0, k]), np.sign(below[0, k]))}
    assert {(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0)} <= signs


# ------------------------------------------------------------------------------------------------------- the scores


def test_scores_are_those_of_the_textbooks() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 50)), rng.random((4, 50))
    y = x + rng.normal(size=(4, 50))
    assert numbers.ranked(x, y) == pytest.approx(spearmanr(x.ravel(), y.ravel()).statistic)
    assert numbers.explained(y, y, w) == pytest.approx(1)
    assert numbers.explained(np.full_like(y, y.mean()), y) == pytest.approx(0)
    twice = np.repeat(x.ravel(), 2)[:-1], np.repeat(y.ravel(), 2)[:-1]  # all but the last one count twice
    weight = np.append(np.full(199, 2.0), 1.0).reshape(4, 50)
    assert numbers.explained(*twice) == pytest.approx(numbers.explained(x, y, weight))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("dpoo",)}, "methods must be one of .*, got 'dpoo'; did you mean 'dpo'"),
        ({"first": 2}, "first must leave out world 4"),
        ({"seeds": 0}, "seeds must be a whole number of at least 1, got 0"),
    ],
)
def test_settings_that_make_no_prediction_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        STUDY.settings(**changes)


def test_short_training_is_predicted_and_the_longer_it_is_the_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tangent features are those of the start: the error is of the second order in how far the weights go."""
    learned = worlds.learn(worlds.make_world(2), 2, steps=3, batch=32, temperature=0.5)
    compared = worlds.compare(learned, 2, 1, pairs=2)
    monkeypatch.setattr(numbers, "Adam", SGD)
    errors = []
    for lr in (0.01, 0.1):
        given = trained.Settings(lr=lr, lams=(0.3,))
        found, again, guess = numbers.trained_three_ways(given, learned, compared, 2, ("dpo", ""))
        moved = found.log_policies[0, 0, -1] - np.log(learned.reference)
        told = numbers.predicted_moves(guess, learned)[0, 0]
        errors.append(np.abs(told - moved).max() / np.abs(moved).max())
        assert np.abs(again.log_policies - found.log_policies).max() > 0
    assert errors[0] < 0.02 and errors[1] / errors[0] > 3


def test_the_last_parameters_are_those_of_the_last_policies() -> None:
    model = small_model()
    pairs = some_pairs(model)
    objectives = [trained.LOSSES[name](0.5) for name in ("dpo", "ipo")]
    training = Training(SGD(0.1), epochs=3, batch=4, records=2)
    found = train(objectives, model, pairs, training)
    assert found.parameters.shape == (2, 1, len(model.start()))
    again = model.log_policy(torch.from_numpy(found.parameters)).numpy()
    np.testing.assert_allclose(again, found.log_policies[:, :, -1], atol=1e-6)
    assert np.abs(again[0] - again[1]).max() > 1e-3


# ---------------------------------------------------------------------------------------------------------- the run


def test_a_run_is_kept_by_seed_and_its_tables_are_written_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = trained.Settings(lams=(0.1, 1.0), text_steps=2, text_batch=8, batch=512)
    monkeypatch.setattr(numbers, "Trained", lambda: tiny)
    settings = numbers.Settings(seeds=1, data_sets=2, methods=("dpo", "expo:reference_samples"))
    one = numbers.one_seed(settings, 4, progress=silent)
    assert len(one["scores"]) == 2 * 2 and len(one["measured"]) == 2 * 2 * 2
    asked: list[int] = []

    def counted(settings: numbers.Settings, seed: int, **more: Any) -> dict[str, Any]:
        asked.append(seed)
        scores = [row | {"seed": seed} for row in one["scores"]]
        return one | {"scores": scores, "measured": [row | {"seed": seed} for row in one["measured"]]}

    monkeypatch.setattr(numbers, "one_seed", counted)
    with ThreadPoolExecutor(1) as threads:
        numbers.run(settings, folder=tmp_path, executor=threads)
        tables = numbers.run(dataclasses.replace(settings, seeds=3), folder=tmp_path, executor=threads)
    assert asked == [4, 5, 6] and tuple(tables) == STUDY.tables
    measured = tables["prediction_measures"]
    for name in numbers.MEASURES:
        assert np.isfinite(measured[[name, f"{name}_predicted"]].to_numpy()).all()
    shown = STUDY.show(tables)
    assert set(shown.figures) == {"prediction"} and "24 runs of 2 ways to train" in " ".join(shown.text.split())


def test_committed_words_follow_from_intervals_over_worlds() -> None:
    tables = STUDY.read(COMMITTED)
    assert tables is not None
    scores = tables["prediction"]
    each = scores.groupby("seed")["r2_drawn"].mean().to_numpy(dtype=float)
    low, high = interval(each, CONFIDENCE)
    said = words.facts(tables)
    assert said["answer"] == ("yes" if low > words.AIM else "no" if high < words.AIM else "undecided")
    assert said["said"]("r2_drawn") == f"{each.mean():.2f} [{low:.2f}, {high:.2f}]"
    page = " ".join((COMMITTED.parent / "docs" / "predict.md").read_text().split())
    assert f"R² is {said['said']('r2_drawn')}, the mean over losses and λ: whether it is above {words.AIM}" in page
    assert said["answer"] == "undecided" and "is undecided. All numbers" in page
    assert set(scores["seed"]) == set(tables["prediction_measures"]["seed"])
    assert numbers.CHOSEN_ON - 1 not in set(scores["seed"])  # counted from 1
    assert isinstance(scores, pd.DataFrame) and (scores["r2_drawn"] <= 1).all()
