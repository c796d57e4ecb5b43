"""Triples, single responses and lists: the trainer's loss of one-token responses is the tabular risk of the same data.

Each kind goes from its rows through `PreferenceTrainer.compute_loss` on its own batches, and is compared, with its
gradient, with `ea.risk` of a `Bandit` that was made of the same triples, labels, scores or rankings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.losses.responses import reads_third
from expo_analysis.losses.unpaired import stands_apart

from . import llm_models as tiny

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip (needs the environment of llm_models)

ARMS, LAM = 4, 0.7
REFERENCE = np.array([[0.4, 0.3, 0.2, 0.1], [0.15, 0.25, 0.35, 0.25]])
POLICY = np.random.default_rng(1).normal(size=(2, ARMS))
REWARDS = np.random.default_rng(2).normal(size=(2, ARMS))
SAMPLES = tiny.reference_scores(REWARDS, REFERENCE)

OPTIONS: dict[str, dict[str, Any]] = {"exo": {"label_smoothing": 0.01}, "fdpo": {}}
OBJECTIVES = {
    name: ea.objective(name, LAM, **OPTIONS.get(name, {}))
    for name, cls in ea.CATALOGUE.items()
    if issubclass(cls, ea.PairObjective) and not cls.auxiliary and name not in ("aot", "qpo")
}
WITH_REWARDS = {name: objective for name, objective in OBJECTIVES.items() if objective.reads_rewards}


def said(kind: str, number: int) -> list[dict[str, str]]:
    """A prompt or a response, as conversations: their template adds no token at the end."""
    return [{"role": "user" if kind == "prompt" else "assistant", "content": f"{kind}{number}"}]


def arm(number: int) -> list[dict[str, str]]:
    return said("arm", number)


Row = dict[str, Any]


def triples() -> tuple[list[Row], Callable[[], ea.Bandit]]:
    found = [(0, 1, 0, 2), (0, 3, 1, 0), (0, 3, 1, 0), (1, 2, 3, 1), (1, 0, 0, 1), (1, 1, 2, 3), (1, 3, 0, 2)]
    rows = [
        {"prompt": said("prompt", p), "third": arm(t), "chosen": arm(w), "rejected": arm(lost)}
        for p, t, w, lost in found
    ]
    prompts = [p for p, *_ in found]
    return rows, lambda: ea.Bandit.from_triples(
        REFERENCE, [tuple(t) for _, *t in found], prompts=prompts, prompt_names=[0, 1], responses=range(ARMS)
    )


def labels() -> tuple[list[Row], Callable[[], ea.Bandit]]:
    rng = np.random.default_rng(3)
    liked, disliked = rng.integers(0, 3, size=(2, ARMS)), rng.integers(0, 3, size=(2, ARMS))
    liked[0, 0], disliked[1, 2] = 0, 0  # sides that a response has not
    rows = [
        {"prompt": said("prompt", p), "completion": arm(a), "label": good}
        for counts, good in ((liked, True), (disliked, False))
        for (p, a), count in np.ndenumerate(counts)
        for _ in range(int(count))
    ]
    return rows, lambda: ea.Bandit.from_labels(REFERENCE, liked, disliked)


def scores() -> tuple[list[Row], Callable[[], ea.Bandit]]:
    counts = np.array([[1, 2, 0, 1], [3, 1, 1, 2]])
    rows = [
        {
            "prompt": said("prompt", p),
            "completion": arm(a),
            "score": REWARDS[p, a],
            "reference_scores": SAMPLES[p],
        }
        for (p, a), count in np.ndenumerate(counts)
        for _ in range(int(count))
    ]
    return rows, lambda: ea.Bandit.from_scores(REFERENCE, REWARDS, counts)


RANKINGS = [
    (0, [2, 0, 1], [0, 1, 2]),
    (0, [3, 1, 0], [0, 1, 3]),
    (1, [1, 3, 0, 2], [0, 1, 2, 3]),
    (1, [2, 3], [3, 2, 1, 0]),
]
"""Prompt, ranking, and the set that it was made from: 3, 3, 4 and 4 responses, the last one's best two alone."""


def lists(rankings: Any = RANKINGS) -> tuple[list[Row], Callable[[], ea.Bandit]]:
    rows = [
        {
            "prompt": said("prompt", p),
            "responses": [arm(a) for a in among],
            "ranking": [among.index(a) for a in ranking],
            "scores": [REWARDS[p, a] for a in among],
            "reference_scores": SAMPLES[p],
        }
        for p, ranking, among in rankings
    ]
    orders, sets = [ranking for _, ranking, _ in rankings], [among for *_, among in rankings]
    prompts = [p for p, *_ in rankings]
    return rows, lambda: ea.Bandit.from_rankings(
        REFERENCE, orders, sets=sets, prompts=prompts, prompt_names=[0, 1], responses=range(ARMS), rewards=REWARDS
    )


def make_trainer(objective: Any, rows: list[Row], folder: Path, **given: Any) -> PreferenceTrainer:
    divergence = objective.regulariser
    estimator = "token_kl" if type(divergence) is ea.ForwardKL else None
    reads = objective.claims.needs_reference or divergence is not None
    settings = {"regulariser_estimator": estimator, "per_device_train_batch_size": len(rows)} | given
    return PreferenceTrainer(
        tiny.one_token_model(POLICY, torch.float64),
        objective,
        PreferenceConfig(**tiny.settings(folder, **settings)),
        ref_model=tiny.one_token_model(np.log(REFERENCE), torch.float64) if reads else None,
        train_dataset=rows,
        processing_class=tiny.tokenizer(tiny.bandit_words(ARMS, len(REFERENCE))),
    )


def check_keystone(objective: Any, rows: list[Row], bandit: ea.Bandit, folder: Path) -> None:
    """Loss and gradient in the free logits, each prompt weighted by how many rows it has."""
    trainer = make_trainer(objective, rows, folder)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    (gradient,) = torch.autograd.grad(loss, trainer.model.head.weight)
    of_prompt = torch.tensor([sum(row["prompt"] == said("prompt", p) for row in rows) for p in (0, 1)]).double()
    logits = torch.tensor(POLICY, requires_grad=True)
    value = (of_prompt * ea.risk(objective, bandit, torch.log_softmax(logits, dim=-1))).sum() / len(rows)
    (slopes,) = torch.autograd.grad(value, logits)
    assert abs(loss.item() - value.item()) <= 1e-12 * max(1.0, abs(value.item()))
    size = max(1.0, float(slopes.abs().max()))
    np.testing.assert_allclose(gradient[3 : 3 + ARMS].T.numpy(), slopes.numpy(), rtol=0, atol=1e-12 * size)
    assert slopes.abs().max() > 1e-3  # there was something to compare


# ------------------------------------------------------------------------------------------------------- the keystone


@pytest.mark.parametrize("name", [name for name, objective in OBJECTIVES.items() if reads_third(objective)])
@pytest.mark.parametrize("alpha", [0.1, 0.75])
def test_triples_have_the_tabular_loss(name: str, alpha: float, tmp_path: Path) -> None:
    rows, bandit = triples()
    check_keystone(ea.objective(name, LAM, alpha=alpha), rows, bandit(), tmp_path)


APART = [n for n, x in OBJECTIVES.items() if stands_apart(x) and not x.reads_rewards and not reads_third(x)]


@pytest.mark.parametrize("name", APART)
def test_labels_have_the_tabular_loss(name: str, tmp_path: Path) -> None:
    rows, bandit = labels()
    check_keystone(OBJECTIVES[name], rows, bandit(), tmp_path)


SCORED: dict[str, Any] = {
    **{name: x for name, x in WITH_REWARDS.items() if stands_apart(x)},
    "a_star_po, beta": ea.AStarPO(LAM, beta=0.4),
    "qrpo, exact": ea.QRPO(LAM, partition="exact"),
}


@pytest.mark.parametrize("name", SCORED)
def test_scores_have_the_tabular_loss(name: str, tmp_path: Path) -> None:
    rows, bandit = scores()
    check_keystone(SCORED[name], rows, bandit(), tmp_path)


@pytest.mark.parametrize("name", [name for name, x in OBJECTIVES.items() if not reads_third(x)])
def test_lists_have_the_tabular_loss(name: str, tmp_path: Path) -> None:
    """A prompt's rankings have as many pairs each, so that a table, which weights pairs alike, weights rows alike."""
    alike = [*RANKINGS[:3], (1, [2, 3, 0, 1], [3, 2, 1, 0])]
    rows, bandit = lists(RANKINGS if OBJECTIVES[name].listwise else alike)
    check_keystone(OBJECTIVES[name], rows, bandit(), tmp_path)


# ------------------------------------------------------------------------------------------- responses of many tokens


def many_tokens(objective: Any, rows: list[Row], folder: Path, **given: Any) -> PreferenceTrainer:
    """A trainer of a small Llama, whose batch are all rows."""
    live = objective.claims.needs_reference and not {"precompute_ref_log_probs", "use_ref_columns"} & set(given)
    return PreferenceTrainer(
        tiny.llama(0).double(),
        objective,
        PreferenceConfig(**tiny.settings(folder, per_device_train_batch_size=len(rows)) | given),
        ref_model=tiny.llama(1).double() if live else None,
        train_dataset=rows,
        processing_class=tiny.tokenizer(),
    )


def result_of(trainer: PreferenceTrainer) -> Any:
    """Of one batch of all rows, in their order."""
    batch = trainer.data_collator(list(trainer.train_dataset))
    return trainer.pair_losses(trainer.model, batch)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.double(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("objective", [ea.DPO(0.5), ea.SimPO(0.5), ea.REBEL(0.5), ea.CPO(0.5)], ids=lambda x: x.name)
def test_a_list_is_all_of_its_pairs(objective: Any, tmp_path: Path) -> None:
    """Lists of two to four responses of unequal lengths: losses and metrics of their pairs, weighted."""
    rows, pairs = tiny.feedback("lists", 6), []
    for row in rows:
        score, said = row["scores"], row["responses"]
        ranked = sorted(range(len(score)), key=lambda k, score=score: -score[k])
        own = [(a, b) for place, a in enumerate(ranked) for b in ranked[place + 1 :]]
        pairs += [
            {"prompt": row["prompt"], "weight": 1 / len(own), "chosen": said[a], "rejected": said[b]}
            | {"score_chosen": score[a], "score_rejected": score[b]}
            for a, b in own
        ]
    whole, split = (result_of(many_tokens(objective, data, tmp_path)) for data in (rows, pairs))
    assert len(whole.pairs(1.0)) == 6 < len(split.pairs(1.0)) == sum({2: 1, 3: 3, 4: 6}[len(r["scores"])] for r in rows)
    close(whole.loss(1.0, 0.0) * 6, split.loss(1.0, 0.0) * len(pairs))
    links, one = whole.links, split.values
    weight = torch.tensor([pair["weight"] for pair in pairs], dtype=torch.float64)
    margins = one.rewards[: len(pairs)] - one.rewards[len(pairs) :]
    above, below = whole.metrics()["rewards/margins"]
    close(above / below, (weight * margins).sum() / 6)
    assert sum(links.share.tolist()) == pytest.approx(6)


def test_rankings_of_a_best_few(tmp_path: Path) -> None:
    """The best two of four: a choice among four and one among three; all but the pair of the others are pairs."""
    row = tiny.feedback("lists", 3)[2] | {"ranking": [3, 1]}
    del row["scores"]
    result = result_of(many_tokens(ea.PlackettLuceDPO(0.5), [row], tmp_path))
    scores = 0.5 * (result.logps["policy"] - result.logps["reference"])
    by_hand = torch.logsumexp(scores, 0) - scores[3] + torch.logsumexp(scores[[0, 1, 2]], 0) - scores[1]
    close(result.pairs(1.0), by_hand[None])
    assert sorted(zip(*result.links.ends[:2].tolist(), strict=True)) == [(1, 0), (1, 2), (3, 0), (3, 1), (3, 2)]


def test_metrics_of_labels_are_by_label(tmp_path: Path) -> None:
    rows = tiny.feedback("labels", 7)
    result = result_of(many_tokens(ea.KTO(0.5), rows, tmp_path))
    found = {name: (a / b).item() for name, (a, b) in result.metrics().items()}
    liked = torch.tensor([row["label"] for row in rows])
    assert len(result.logps["policy"]) == 7  # one row of the forward pass for each response
    moved = result.logps["policy"] - result.logps["reference"]
    for side, own in (("chosen", moved[liked]), ("rejected", moved[~liked])):
        assert found[f"mass/{side}"] == pytest.approx(own.mean().item(), rel=1e-12)
        assert found[f"rewards/{side}"] == pytest.approx(0.5 * own.mean().item(), rel=1e-12)
    assert not {"rewards/accuracies", "mass/both_fell", "rewards/third"} & set(found)


def test_labels_of_one_kind_have_no_other_metrics(tmp_path: Path) -> None:
    rows = [row | {"label": "good"} for row in tiny.feedback("labels", 4)]
    trainer = many_tokens(ea.KTO(0.5), rows, tmp_path, max_steps=1)
    trainer.train()
    (logged, _) = trainer.state.log_history
    assert "rewards/chosen" in logged
    assert not {"rewards/rejected", "logps/rejected", "mass/rejected", "rewards/margins"} & set(logged)


def test_margins_of_labels_are_the_difference_of_means(tmp_path: Path) -> None:
    trainer = many_tokens(ea.KTO(0.5), tiny.feedback("labels", 6), tmp_path, max_steps=1)
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["rewards/margins"] == pytest.approx(logged["rewards/chosen"] - logged["rewards/rejected"])


def test_a_third_response_counts_and_is_measured(tmp_path: Path) -> None:
    rows = tiny.feedback("triples", 5)
    result = result_of(many_tokens(ea.WRPO(0.5, alpha=0.3), rows, tmp_path))
    moved = (result.logps["policy"] - result.logps["reference"]).view(3, 5)  # chosen, rejected, third
    by_hand = -torch.nn.functional.logsigmoid(0.5 * (0.3 * moved[2] + 0.7 * moved[0] - moved[1]))
    close(result.pairs(1.0), by_hand)
    above, below = result.metrics()["mass/third"]
    close(above / below, moved[2].mean())


def test_a_third_response_that_no_loss_reads_costs_nothing(tmp_path: Path) -> None:
    trainer = many_tokens(ea.DPO(0.5), tiny.feedback("triples", 5), tmp_path)
    assert len(trainer.data_collator(list(trainer.train_dataset))["input_ids"]) == 10


KINDS: dict[str, Any] = {
    "triples": ea.WRPO(0.5),
    "labels": ea.BCO(0.5),
    "scores": ea.QRPO(0.5),
    "lists": ea.PlackettLuceDPO(0.5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_stored_references_are_the_live_ones(kind: str, tmp_path: Path) -> None:
    """Computed beforehand, in batches of two, and given in the columns of the data."""
    rows, names = tiny.feedback(kind, 5), {"lists": "responses", "triples": "chosen"}
    kept = {"precompute_ref_log_probs": True, "precompute_ref_batch_size": 2}
    ready = many_tokens(KINDS[kind], rows, tmp_path, **kept)
    columns = [name for name in ready.train_dataset.column_names if name.startswith("ref_")]
    assert f"ref_{names.get(kind, 'completion')}_logps" in columns and len(columns) == (3 if kind == "triples" else 1)
    found = result_of(ready)
    close(found.logps["reference"], found.logps["policy"])  # the reference is the model as it was given
    stored = [row | {name: ready.train_dataset[k][name] for name in columns} for k, row in enumerate(rows)]
    given = result_of(many_tokens(KINDS[kind], stored, tmp_path, use_ref_columns=True))
    close(given.pairs(1.0), found.pairs(1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_have_the_names_of_the_columns(kind: str, tmp_path: Path) -> None:
    rows = tiny.feedback(kind, 5)
    trainer = many_tokens(KINDS[kind], rows, tmp_path, per_device_eval_batch_size=2)
    found, logps = (
        trainer.predict(rows).predictions,
        result_of(trainer).links.by_side(result_of(trainer).logps["policy"]),
    )
    for side, expected in logps.items():
        values = found[f"policy_{side}_logps"]
        width = values.shape[1:] and slice(0, expected.shape[1])
        np.testing.assert_allclose(values[:, width] if width else values, expected.detach().numpy(), rtol=1e-10)
    if kind == "lists":
        counts = [len(row["responses"]) for row in rows]
        assert (found["policy_responses_logps"] != -100).sum(axis=1).tolist() == counts


def test_a_value_or_a_quantile_stands_for_scores_of_the_reference(tmp_path: Path) -> None:
    rows = tiny.feedback("scores", 6)

    def value(row: Row) -> float:
        return 0.8 * float(np.log(np.mean(np.exp(np.array(row["reference_scores"]) / 0.8))))

    def quantile(row: Row) -> float:
        return float(np.mean(np.array(row["reference_scores"]) <= row["score"]))

    for objective, made in ((ea.AStarPO(0.5, beta=0.8), value), (ea.QRPO(0.5), quantile)):
        own = [{k: v for k, v in row.items() if k != "reference_scores"} for row in rows]
        own = [row | {made.__name__: made(before)} for row, before in zip(own, rows, strict=True)]
        found, expected = (result_of(many_tokens(objective, data, tmp_path)).pairs(1.0) for data in (own, rows))
        close(found, expected)
        assert found.std() > 1e-3


def test_scores_of_the_reference_serve_pairs_and_lists(tmp_path: Path) -> None:
    """A pair, as a list of two, has the mean of both responses' losses."""
    rows = [row for row in tiny.feedback("lists", 9) if len(row["responses"]) == 2]
    ordered = [sorted(zip(row["scores"], row["responses"], strict=True), reverse=True) for row in rows]
    pairs = [
        {"prompt": row["prompt"], "reference_scores": row["scores"], "chosen": best[1], "rejected": worst[1]}
        | {"chosen_score": best[0], "rejected_score": worst[0]}
        for row, (best, worst) in zip(rows, ordered, strict=True)
    ]
    singles = [
        {"prompt": row["prompt"], "reference_scores": row["scores"], "completion": text, "score": score}
        for row in rows
        for text, score in zip(row["responses"], row["scores"], strict=True)
    ]
    for objective in (ea.AStarPO(0.5), ea.QRPO(0.5, partition="exact")):
        of = [result_of(many_tokens(objective, data, tmp_path)).pairs(1.0) for data in (rows, pairs, singles)]
        close(of[0], of[1])
        close(of[0], of[2].view(-1, 2).mean(dim=1))


def test_weights_of_lists_are_weights_of_rows(tmp_path: Path) -> None:
    rows = tiny.feedback("lists", 4)
    plain = result_of(many_tokens(ea.PlackettLuceDPO(0.5), rows, tmp_path)).pairs(1.0)
    given = [row | {"weight": float(k)} for k, row in enumerate(rows)]
    close(result_of(many_tokens(ea.PlackettLuceDPO(0.5), given, tmp_path)).pairs(1.0), plain * torch.arange(4))


@pytest.mark.parametrize("estimator", ["own_responses", "token_kl", "reference_samples"])
def test_a_regulariser_averages_over_a_list(estimator: str, tmp_path: Path) -> None:
    """Each of its responses counts alike, in whatever order they stand."""
    rows = [row | {"reference_samples": ["w1 w2", "w3"]} for row in tiny.feedback("lists", 6)]
    turned = [row | {name: row[name][::-1] for name in ("responses", "scores")} for row in rows]
    objective = ea.PlackettLuceEXPO(0.5)
    given = {"regulariser_estimator": estimator}
    found, other = (result_of(many_tokens(objective, data, tmp_path, **given)) for data in (rows, turned))
    close(found.regulariser, other.regulariser)
    if estimator == "own_responses":
        parts = found.logps["policy"].split([len(row["responses"]) for row in rows])
        close(found.regulariser, torch.stack([-part.mean() for part in parts]))


def test_a_value_of_few_scores_is_too_low_by_what_the_documents_say() -> None:
    """By beta Var/(2 m E^2) on average, to the next order in 1/m, over many draws of m scores."""
    m, beta = 40, 0.8
    rewards = np.random.default_rng(0).uniform(size=(m, 100_000))
    found = ea.AStarPO(0.5, beta=beta).derived({"reward": rewards, "ref_logp": np.full_like(rewards, -np.log(m))})
    first, second = (beta / k * np.expm1(k / beta) for k in (1, 2))  # E exp(r/beta) and E exp(2 r/beta)
    bias = beta * (second / first**2 - 1) / (2 * m)
    noise = beta * (np.mean(np.exp(rewards / beta), axis=0) / first - 1)  # of mean zero: what is left varies little
    gap = float(np.mean(beta * np.log(first) + noise - found["value"][0]))
    assert gap == pytest.approx(bias, rel=0.05)
