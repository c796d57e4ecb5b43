"""The study of a small transformer: its world, its measures, and how its questions are decided."""

from __future__ import annotations

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

import expo_analysis as ea
from expo_analysis._progress import silent
from expo_analysis.simulators import Adam, PromptedTransformer, Tabular, Training, train
from expo_analysis.studies import STUDIES
from expo_analysis.studies.small_transformer import measures as measuring
from expo_analysis.studies.small_transformer import numbers, questions
from expo_analysis.studies.small_transformer import world as worlds
from expo_analysis.studies.small_transformer.figure import SHOWN
from expo_analysis.studies.small_transformer.questions import QUESTIONS, answers, decide, interval

COMMITTED = Path(__file__).parents[1] / "figures"
STUDY = STUDIES["small_transformer"]
TOKENS = np.array(list(itertools.product(range(worlds.VOCABULARY), repeat=worlds.LENGTH)))


def learned_without_training(seed: int = 5) -> worlds.Learned:
    """A world whose reference is the grammar itself."""
    world = worlds.make_world(seed)
    optimal = np.exp(2 * world.reward)
    optimal = np.where(world.by_reward[:, None], optimal / optimal.sum(axis=1, keepdims=True), world.truth)
    model = PromptedTransformer(worlds.VOCABULARY, worlds.LENGTH, world.texts, world.words, width=8)
    return worlds.Learned(world, model, world.truth, optimal, (0.0, 0.0))


# ------------------------------------------------------------------------------------------------------- the world


def test_the_grammar_is_a_markov_chain_of_the_words_that_it_reads() -> None:
    world = worlds.make_world(3)
    shape = (worlds.VOCABULARY,) * worlds.LENGTH
    truth = world.truth.reshape(-1, *shape)
    np.testing.assert_allclose(world.truth.sum(axis=1), 1, rtol=1e-12)
    second = truth.sum(axis=3) / truth.sum(axis=(2, 3))[..., None]
    third = truth / truth.sum(axis=3, keepdims=True)
    # the third token depends on the second in the way in which the second depends on the first, and on nothing else
    np.testing.assert_allclose(third, np.broadcast_to(second[:, None], third.shape), rtol=1e-9)
    for a, b in itertools.combinations(range(len(truth)), 2):
        topics, firsts, seconds = (world.texts[a] == world.texts[b]).tolist()
        assert np.allclose(truth[a].sum((1, 2)), truth[b].sum((1, 2))) == (topics and firsts)
        assert np.allclose(second[a], second[b]) == (topics and seconds)


def test_rewards_are_standardised_and_of_tokens_and_neighbours_only() -> None:
    world = worlds.make_world(3)
    np.testing.assert_allclose((world.truth * world.reward).sum(axis=1), 0, atol=1e-12)
    assert (world.truth * world.reward**2).sum(axis=1).mean() == pytest.approx(1)
    r = world.reward.reshape(-1, *(worlds.VOCABULARY,) * 3)
    # no interaction of the first token with the third at a given second
    crossed = r[:, 1:, :, 1:] - r[:, :1, :, 1:] - r[:, 1:, :, :1] + r[:, :1, :, :1]
    np.testing.assert_allclose(crossed, 0, atol=1e-12)
    assert np.abs(worlds.make_world(4).reward - world.reward).max() > 0.1
    np.testing.assert_array_equal(worlds.make_world(3).truth, world.truth)


def test_what_is_kept_is_optimal_and_what_is_learned_is_tilted() -> None:
    found = worlds.learn(worlds.make_world(1), 1, steps=3, batch=16, temperature=0.5)
    keep = ~found.world.by_reward
    np.testing.assert_array_equal(found.optimal[keep], found.reference[keep])
    np.testing.assert_allclose(found.reference, found.model.initial(), rtol=1e-12)
    r = found.world.reward[~keep]
    np.testing.assert_allclose(
        np.log(found.optimal[~keep] / found.optimal[~keep][:, :1]), 2 * (r - r[:, :1]), rtol=1e-9
    )
    assert keep.sum() == len(keep) / 2
    assert found.fit[0] > 0


def test_data_sets_have_half_of_each_topic_and_labels_by_the_optimum() -> None:
    learned = learned_without_training()
    compared = worlds.compare(learned, 5, 2, pairs=200)
    pairs = compared.pairs
    for s in range(2):
        assert set(pairs.prompt[s].tolist()) == set(np.flatnonzero(compared.trained[s]).tolist())
        for topic in range(worlds.TOPICS):
            own = compared.trained[s][learned.world.texts[:, 0] == topic]
            assert own.sum() == len(own) // 2
    assert (compared.trained[0] != compared.trained[1]).any()
    p = learned.optimal[pairs.prompt, pairs.winner], learned.optimal[pairs.prompt, pairs.loser]
    c = p[0] / (p[0] + p[1])
    likelier = np.maximum(c, 1 - c)  # how often the likelier winner wins is the mean of its probability
    assert abs((c > 0.5).mean() - likelier.mean()) < 5 * np.sqrt((likelier * (1 - likelier)).mean() / c.size)
    fewer = worlds.compare(learned, 5, 1, pairs=200)
    np.testing.assert_array_equal(fewer.pairs.winner[0], pairs.winner[0])


# ---------------------------------------------------------------------------------------------------- the measures


@pytest.mark.parametrize("loss", ["dpo", "ipo", "expo"])
def test_measures_are_those_of_a_plain_loop(loss: str) -> None:
    learned = learned_without_training()
    compared = worlds.compare(learned, 5, 2, pairs=4)
    lams = (0.3, 2.0)
    training = Training(Adam(0.05), epochs=4, records=2)
    found = train([numbers.LOSSES[loss](lam) for lam in lams], Tabular(learned.reference), compared.pairs, training)
    means = measuring.measures(found, learned, compared, loss, seed=5)
    for o, s in itertools.product(range(2), range(2)):
        policy = found.policies[o, s, -1]
        expected: dict[str, list[float]] = {name: [] for name in means}
        for x in range(len(policy)):
            p, r, best = policy[x], learned.reference[x], learned.optimal[x]
            held = "" if compared.trained[s, x] else "_held"
            if not learned.world.by_reward[x]:
                expected[f"tv{held}"].append(abs(p - r).sum() / 2)
                expected[f"kl{held}"].append((r * np.log(r / p)).sum())
                expected[f"reverse_kl{held}"].append((p * np.log(p / r)).sum())
                continue
            expected[f"gain{held}"].append(((p - r) * learned.world.reward[x]).sum())
            if held:
                continue
            mine = compared.pairs.prompt[s] == x
            seen = sorted({*compared.pairs.winner[s][mine].tolist(), *compared.pairs.loser[s][mine].tolist()})
            expected["mass"].append(p[seen].sum() - r[seen].sum())
            expected["learned_kl"].append((r * np.log(r / p)).sum())
            expected["learned_reverse_kl"].append((p * np.log(p / r)).sum())
            expected["closer"].append((r * np.log(r / best)).sum() - (p * np.log(p / best)).sum())
            for name, end in (("chosen", compared.pairs.winner), ("rejected", compared.pairs.loser)):
                expected[name] += np.log(p / r)[end[s][mine]].tolist()
        for name, values in expected.items():
            if name != "calibration":
                assert means[name][o, s, -1] == pytest.approx(np.mean(values), rel=1e-9, abs=1e-12), name
    assert {name for name, x in means.items() if x.shape != (2, 2, len(found.steps))} == set()
    np.testing.assert_allclose(means["gain"][:, :, 0], 0, atol=1e-12)
    np.testing.assert_allclose(means["gain_held"], 0, atol=1e-12)  # nothing of a table is shared


@pytest.mark.parametrize(
    ("loss", "policy"),
    [
        ("expo", lambda learned, lam: learned.optimal),
        ("dpo", lambda learned, lam: learned.reference * learned.optimal ** (1 / lam)),
    ],
)
def test_the_exact_optimum_of_each_loss_is_calibrated(loss: str, policy: Any) -> None:
    """EXPO's preferences are the policy's own, DPO's those of lam log(pi/pi_ref); mixed up neither would be zero."""
    learned = learned_without_training()
    compared = worlds.compare(learned, 5, 1, pairs=2)
    lam = 2.0
    optimum = policy(learned, lam)
    optimum = optimum / optimum.sum(axis=1, keepdims=True)
    found = train(numbers.LOSSES[loss](lam), Tabular(learned.reference), compared.pairs, Training(epochs=1, records=2))
    exact = dataclasses.replace(found, log_policies=np.log(optimum)[None, None, None])
    assert measuring.measures(exact, learned, compared, loss, 5)["calibration"] == pytest.approx(0, abs=1e-9)
    assert measuring.measures(found, learned, compared, loss, 5)["calibration"].min() > 0.05


def test_at_equal_gain_is_between_the_two_lambdas_that_enclose_it() -> None:
    lams = np.array([0.1, 1.0, 10.0, 100.0])
    ends = {"gain": np.array([1.0, 0.5, 0.6, 0.0]), "tv": np.array([0.8, 0.4, 0.2, 0.1])}
    found = measuring.at_gain(ends, lams, 0.3)  # half way between the last two
    assert found == pytest.approx({"gain": 0.3, "tv": 0.15, "lam": 10**1.5})
    # three pairs of neighbours may enclose a level where gains do not fall: that of the largest lambdas is taken
    assert measuring.at_gain(ends, lams, 0.55)["lam"] > 10
    assert measuring.at_gain(ends, lams, 0.75) == pytest.approx({"gain": 0.75, "tv": 0.6, "lam": 10**-0.5})
    for never in (1.1, -0.1):
        assert np.isnan(list(measuring.at_gain(ends, lams, never).values())).all()


def test_losses_are_compared_at_the_gain_of_the_anchor() -> None:
    """The anchor itself is found at its own lambda, and a loss with the same path at another lambda there."""
    lams = numbers.Settings().lams
    rows = []
    for model, (loss, estimator), (k, lam) in itertools.product(
        ("transformer", "table"), (questions.DPO, questions.TOKENS), enumerate(lams)
    ):
        for step in (0, 64):
            gain = (0 if step == 0 else 0.5 - 0.1 * k) * (0.5 if model == "table" else 1.0)
            where = {"model": model, "pairs": questions.MANY, "loss": loss, "estimator": estimator, "seed": 4}
            tv = gain if loss == "expo" else 2 * gain
            rows.append(where | {"lam": lam, "step": step, "gain": gain, "tv": tv})
    found = numbers.compared_at(pd.DataFrame(rows), numbers.Settings())
    at = found.set_index(["model", "loss", "at"])
    assert at.loc[("transformer", "expo", "own"), "lam"] == pytest.approx(questions.ANCHOR)
    assert at.loc[("transformer", "dpo", "own"), "gain"] == pytest.approx(0.4)
    assert at.loc[("transformer", "dpo", "own"), "tv"] == pytest.approx(0.8)
    assert at.loc[("table", "dpo", "own"), "gain"] == pytest.approx(0.2)
    assert at.loc[("transformer", "expo", "table"), "gain"] == pytest.approx(0.2)
    assert at.loc[("transformer", "expo", "table"), "tv"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("dpo",)}, "methods must have expo:token_kl_own, at whose gain losses are compared"),
        ({"methods": ("dpoo", "expo:token_kl_own")}, "methods must be one of .*, got 'dpoo'; did you mean 'dpo'"),
        ({"lams": (1.0, 0.1)}, "lams must rise, and enclose 0.3"),
        ({"lams": (1.0, 10.0)}, "lams must rise, and enclose 0.3"),
        ({"first": 0}, "first must be a whole number of at least 1, got 0"),
    ],
)
def test_settings_that_cannot_be_compared_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        STUDY.settings(**changes)


def test_the_full_run_begins_after_the_worlds_that_had_been_seen() -> None:
    assert STUDY.settings(full=True) == numbers.FULL and STUDY.settings() == numbers.Settings()
    assert list(numbers.FULL.worlds) == list(range(questions.SEEN, questions.SEEN + 20))
    assert numbers.Settings().worlds[0] == 0 and len(numbers.FULL.jobs) == 21


# --------------------------------------------------------------------------------------------------- the decisions


def test_intervals_are_students() -> None:
    values = np.array([0.1, 0.4, 0.2, 0.25])
    expected = ttest_1samp(values, 0.0).confidence_interval(0.99)
    assert interval(values, 0.99) == pytest.approx(tuple(expected))
    assert np.isnan(interval(values[:2], 0.99)).all()


@pytest.mark.parametrize(
    ("low", "high", "more", "still"),
    [
        (0.03, 0.05, "for", "against"),
        (0.01, 0.05, "undecided", "undecided"),
        (-0.01, 0.01, "against", "for"),
        (-0.05, -0.03, "against", "against"),
        (-0.05, 0.0, "against", "undecided"),
        (np.nan, np.nan, "undecided", "undecided"),
    ],
)
def test_an_interval_decides_only_beyond_what_matters(low: float, high: float, more: str, still: str) -> None:
    assert decide(low, high, "more") == more and decide(low, high, "still") == still


def test_a_question_is_a_paired_difference_over_the_seeds_that_both_have() -> None:
    rows = []
    for (model, pairs), (loss, estimator), seed in itertools.product(questions.DESIGNS, questions.METHODS, range(5)):
        for at in ("own", "table"):
            tv = 0.1 * seed + (0.3 + 0.001 * seed if loss == "dpo" else 0.2)
            missing = loss == "ipo" and seed == 4
            rows.append({"model": model, "pairs": pairs, "loss": loss, "estimator": estimator, "at": at, "seed": seed,
                         "tv": np.nan if missing else tv, "tv_held": tv, "mass": 0.0})  # fmt: skip
    found = answers(pd.DataFrame(rows)).set_index("question")
    assert list(found.index) == [asked.name for asked in QUESTIONS] == list(SHOWN)
    dpo = found.loc["dpo"]
    assert dpo["estimate"] == pytest.approx(0.102) and dpo["seeds"] == 5 and dpo["decision"] == "for"
    expected = interval(0.1 + 0.001 * np.arange(5, dtype=np.float64), 1 - 0.05 / len(QUESTIONS))
    assert (dpo["low"], dpo["high"]) == pytest.approx(expected)  # seeds are paired: their own spread is not in it
    assert found.loc["ipo", "seeds"] == 4 and found.loc["ipo", "decision"] == "against"
    assert found.loc["mass_dpo", "decision"] == "for"


def test_committed_answers_are_those_of_the_committed_seeds() -> None:
    tables = STUDY.read(COMMITTED)
    assert tables is not None
    ends = tables["small_transformer"].fillna({"estimator": ""})
    again, written = answers(ends), tables["small_transformer_answers"]
    assert again["decision"].tolist() == written["decision"].tolist()
    assert again["seeds"].tolist() == written["seeds"].tolist()
    for column in ("estimate", "low", "high"):
        np.testing.assert_allclose(again[column], written[column], rtol=6e-4)  # written with four digits


# --------------------------------------------------------------------------------------------------------- the run

TINY = numbers.Settings(
    seeds=3,
    methods=("dpo", "expo:token_kl_own"),
    data_sets=1,
    lams=(0.1, 1.0),
    records=2,
    text_steps=2,
    text_batch=8,
    batch=512,
)


def test_a_run_is_kept_by_seed_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    one = numbers.one_seed(TINY, 0, progress=silent)

    def counted(settings: numbers.Settings, seed: int, **more: Any) -> dict[str, Any]:
        asked.append(seed)
        return one | {"path": [row | {"seed": seed} for row in one["path"]]}

    monkeypatch.setattr(numbers, "one_seed", counted)
    with ThreadPoolExecutor(1) as threads:
        fewer = dataclasses.replace(TINY, seeds=2)
        numbers.run(fewer, folder=tmp_path, executor=threads)
        tables = numbers.run(TINY, folder=tmp_path, executor=threads)
        assert asked == [0, 1, 2]
        numbers.run(dataclasses.replace(fewer, lr=1e-3), folder=tmp_path, executor=threads)
        assert asked == [0, 1, 2, 0, 1]
    assert tuple(tables) == STUDY.tables
    ends = tables["small_transformer"]
    assert (
        len(ends) == 3 * 2 * len(TINY.jobs)
        and not ends.duplicated(["model", "pairs", "loss", "estimator", "at", "seed"]).any()
    )
    shown = STUDY.show(tables)
    assert set(shown.figures) == {"small_transformer", "small_transformer_answers"}
    assert "undecided" in shown.text


def test_every_estimator_of_the_study_trains_and_losses_are_the_catalogues() -> None:
    assert {ea.DPO, ea.IPO, ea.EXPO} < set(numbers.LOSSES.values())
    assert {loss for loss, _ in questions.METHODS} == set(numbers.LOSSES)
    assert {estimator for _, estimator in questions.METHODS} == set(numbers.ESTIMATORS)
    assert not set(TOKENS.reshape(-1).tolist()) - set(range(worlds.VOCABULARY))
