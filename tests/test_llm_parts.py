"""The parts of a training, each by itself and written again by loops: links, metrics, batches, checks, checkpoints."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import expo_analysis as ea

from . import llm_models as tiny

from expo_analysis.llm import interrupt  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.data.feedback import LISTS, PAIRS, SINGLES, TRIPLES  # isort: skip
from expo_analysis.llm.training import checkpoints, checks, engine, identity, metrics, optimal  # isort: skip
from expo_analysis.llm.training.aggregation import aggregate  # isort: skip
from expo_analysis.llm.training.collator import PreferenceCollator, kind_of, rewards_of, with_samples  # isort: skip
from expo_analysis.llm.training.links import MISSING, Links  # isort: skip
from expo_analysis.llm.training.named import named_objectives  # isort: skip
from expo_analysis.llm.training.needs import columns_for, feedback_for  # isort: skip
from expo_analysis.llm.training.objectives import make_mixture  # isort: skip
from expo_analysis.llm.training.reference import ReferencePolicy, SyncReference  # isort: skip
from expo_analysis.llm.training.step import StepResult, sequence_logps  # isort: skip

LAM = 0.3
KINDS = ("pairs", "triples", "labels", "scores", "lists")
RANKINGS = [[1, 0], [2, 0, 1], [3], [0, 2]]
SIZES = [2, 3, 4, 3]


def batch_of(kind: str, rows: int = 4) -> dict[str, Any]:
    """A batch of a kind, by the collator: row k has a prompt of 1 + k % 2 tokens."""
    examples = []
    for row in range(rows):
        example: dict[str, Any] = {"prompt_ids": [3] * (1 + row % 2), "row_number": 10 + row}
        if kind == "lists":
            example["responses_ids"] = [[4 + place] * (1 + (row + place) % 3) for place in range(SIZES[row])]
            example["ranking"] = RANKINGS[row]
        else:
            sides = {"pairs": PAIRS, "triples": TRIPLES}.get(kind, SINGLES).sides
            example |= {f"{side}_ids": [4 + k] * (1 + (row + k) % 3) for k, side in enumerate(sides)}
            example |= {"label": float(row % 3 == 0)} if kind == "labels" else {}
        examples.append(example)
    made: dict[str, Any] = PreferenceCollator(0)(examples)
    return made


def comparisons(kind: str, row: int) -> list[tuple[int, int, int, float, float]]:
    """What is compared in a row: winner, loser and third by their number, share, how much the winner counts."""
    if kind == "lists":
        order = [*RANKINGS[row], *(k for k in range(SIZES[row]) if k not in RANKINGS[row])]
        pairs = [(a, b) for at, a in enumerate(order) for b in order[at + 1 :] if a in RANKINGS[row]]
        return [(a, b, a, 1 / len(pairs), 1 / len(pairs)) for a, b in pairs]
    if kind in ("labels", "scores"):
        return [(0, 0, 0, 1.0, float(row % 3 == 0) if kind == "labels" else 1.0)]
    return [(0, 1, 2 if kind == "triples" else 0, 1.0, 1.0)]


def counts(kind: str, rows: int = 4) -> list[int]:
    return SIZES[:rows] if kind == "lists" else [{"pairs": 2, "triples": 3}.get(kind, 1)] * rows


def place(kind: str, row: int, number: int) -> int:
    """Where a response stands in a batch of 4 rows: one list after another, or one side after another."""
    return sum(SIZES[:row]) + number if kind == "lists" else 4 * number + row


@pytest.mark.parametrize("keep", [None, [0, 2, 3], [1], []])
def test_links_by_loops(keep: list[int] | None) -> None:
    """Of a whole batch, and of the examples that count, which are numbered anew."""
    for kind in KINDS:
        links = Links.of_batch(batch_of(kind), scored=kind == "scores").to(torch.device("cpu"))
        total = sum(counts(kind))
        values = torch.arange(total, dtype=torch.float64).square()
        sides = links.by_side(values)
        if kind == "lists":
            for row in range(4):
                own = [values[place(kind, row, k)].item() for k in range(SIZES[row])]
                assert sides["responses"][row].tolist() == own + [MISSING] * (4 - SIZES[row])
        else:
            for number, side in enumerate(links.feedback.sides):
                assert sides[side].tolist() == [values[place(kind, row, number)].item() for row in range(4)]
        kept = list(range(4)) if keep is None else keep
        if keep is not None:
            links = links.only(torch.tensor(keep, dtype=torch.long))
        assert links.examples == len(kept)
        made = [(new, row, one) for new, row in enumerate(kept) for one in comparisons(kind, row)]
        found = sorted(
            (of, *ends, share, chosen)
            for of, ends, share, chosen in zip(
                links.of.tolist(), links.ends.T.tolist(), links.share.tolist(), links.chosen.tolist(), strict=True
            )
        )
        expected = sorted((new, *(place(kind, row, number) for number in one[:3]), *one[3:]) for new, row, one in made)
        assert found == expected, kind
        rows = [(new, place(kind, row, k)) for new, row in enumerate(kept) for k in range(counts(kind)[row])]
        assert sorted(zip(links.owner.tolist(), links.rows.tolist(), strict=True)) == sorted(rows)
        means = [np.mean([values[place(kind, row, k)] for k in range(counts(kind)[row])]) for row in kept]
        np.testing.assert_allclose(links.mean_of(values).numpy(), means)
        each = torch.arange(1.0, len(made) + 1, dtype=torch.float64)
        sums = [0.0] * len(kept)
        for of, share, value in zip(links.of.tolist(), links.share.tolist(), each.tolist(), strict=True):
            sums[of] += share * value
        np.testing.assert_allclose(links.sum_of(each).numpy(), sums)
        if kind == "lists":
            orders = [(order.tolist(), ranked) for order, ranked in links.orders]
            for (order, ranked), row in zip(orders, kept, strict=True):
                rest = [k for k in range(SIZES[row]) if k not in RANKINGS[row]]
                assert ranked == len(RANKINGS[row])
                assert order == [place(kind, row, k) for k in [*RANKINGS[row], *rest]]


def test_tables_of_lists_are_filled_up_as_transformers_fills_up_predictions() -> None:
    import inspect

    from transformers.trainer_pt_utils import nested_concat

    assert inspect.signature(nested_concat).parameters["padding_index"].default == MISSING


def values_of(kind: str, reads: bool, with_reference: bool, lam: float = 2.0) -> metrics.BatchValues:
    rng = np.random.default_rng(1)
    links = Links.of_batch(batch_of(kind), scored=kind == "scores").to(torch.device("cpu"))
    total, width = sum(counts(kind)), 5

    def numbers(*shape: int) -> torch.Tensor:
        return torch.tensor(rng.normal(size=shape))

    lengths = torch.tensor(rng.integers(1, width, size=total))
    mask = torch.arange(width)[None] < lengths[:, None]
    return metrics.BatchValues(
        links=links, losses=numbers(4), regulariser=numbers(4) if with_reference else None, logps=numbers(total),
        ref_logps=numbers(total) if with_reference else None, reads_reference=reads, lam=lam,
        sequence_logps=numbers(total), sequence_ref_logps=numbers(total) if with_reference else None, lengths=lengths,
        entropy=numbers(total, width), mean_logits=numbers(total, width), is_top1=numbers(total, width) > 0, mask=mask,
        token_kls=None,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_by_loops(kind: str) -> None:
    """Each is a ratio of sums over comparisons, responses or tokens, whatever the kind of feedback."""
    for reads, known in ((True, True), (False, True), (True, False)):
        v = values_of(kind, reads, known)
        sums = metrics.Sums()
        sums.add(metrics.batch_metrics(v))
        found = sums.means(lambda tensor: tensor, 0.5, 0.0)
        relative = reads and known
        rewards = [2.0 * (float(v.logps[r]) - (float(v.ref_logps[r]) if relative else 0)) for r in range(len(v.logps))]
        moved = [float(v.sequence_logps[r] - v.sequence_ref_logps[r]) for r in range(len(v.logps))] if known else []
        one_by_one = kind in ("labels", "scores")
        weighted: dict[str, list[tuple[int, float]]] = {}
        margins: list[tuple[float, float, bool]] = []
        for row in range(4):
            for winner, loser, third, share, chosen in comparisons(kind, row):
                w, y, t = (place(kind, row, number) for number in (winner, loser, third))
                if kind == "scores":
                    weighted.setdefault("completion", []).append((w, share))
                    continue
                weighted.setdefault("chosen", []).append((w, chosen))
                weighted.setdefault("rejected", []).append((y, 1 - chosen if one_by_one else share))
                if kind == "triples":
                    weighted.setdefault("third", []).append((t, share))
                fell = known and moved[w] < 0 and moved[y] < 0
                margins.append((rewards[w] - rewards[y], share, fell))

        def mean(pairs: list[tuple[float, float]]) -> float:
            return sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs)

        expected: dict[str, float] = {}
        for side, own in weighted.items():
            expected[f"rewards/{side}"] = mean([(rewards[r], weight) for r, weight in own])
            expected[f"logps/{side}"] = mean([(float(v.logps[r]), weight) for r, weight in own])
            tokens = [(r, t, weight) for r, weight in own for t in range(int(v.lengths[r]))]
            expected[f"logits/{side}"] = mean([(float(v.mean_logits[r, t]), weight) for r, t, weight in tokens])
            if known:
                expected[f"mass/{side}"] = mean([(moved[r], weight) for r, weight in own])
            if side in ("chosen", "completion"):
                expected["mean_token_accuracy"] = mean([(float(v.is_top1[r, t]), w) for r, t, w in tokens])
        if not one_by_one:
            expected["rewards/margins"] = mean([(gap, share) for gap, share, _ in margins])
            expected["rewards/accuracies"] = mean([(float(gap > 0), share) for gap, share, _ in margins])
            if known:
                expected["mass/both_fell"] = mean([(float(fell), share) for _, share, fell in margins])
        elif kind == "labels":
            expected["rewards/margins"] = expected["rewards/chosen"] - expected["rewards/rejected"]
        every = [(r, t) for r in range(len(v.logps)) for t in range(int(v.lengths[r]))]
        expected["entropy"] = sum(float(v.entropy[r, t]) for r, t in every) / len(every)
        expected["loss/preference"] = float(v.losses.mean())
        expected["loss"] = expected["loss/preference"]
        if known:
            expected["loss/regulariser"] = float(v.regulariser.mean())
            expected["loss"] += 0.5 * expected["loss/regulariser"]
            forward = [-one for one in moved]
            reverse = [one * math.exp(one) - math.exp(one) + 1 for one in moved]
            for name, own_kls in (("reference_policy", forward), ("policy_reference", reverse)):
                expected[f"kl_estimate/{name}"] = sum(own_kls) / len(own_kls)
                expected[f"kl_estimate/{name}_per_token"] = sum(own_kls) / len(every)
        assert found == pytest.approx(expected)


def test_sums_are_ratios_of_all_that_was_added_and_make_the_loss() -> None:
    sums = metrics.Sums()
    assert not sums
    one, two = torch.tensor(1.0), torch.tensor(2.0)
    sums.add({"loss/preference": (one, two), "aux_loss": (two, one), "none": (one, 0 * one)})
    sums.add({"loss/preference": (two, one), metrics.LIKELIHOOD: (torch.tensor(6.0), two)})
    sums.add({"loss/regulariser": (one, one)})
    assert sums
    # of two processes that have seen the same
    found = sums.means(lambda tensor: 2 * tensor, 0.25, 0.5)
    assert found == {
        "loss/preference": 1.0 + 3.0, "aux_loss": 2.0, "loss/regulariser": 1.0, "loss": 4.0 + 0.25 * 1.0 + 0.5 * 2.0,
    }  # fmt: skip
    alone = metrics.Sums()
    alone.add({metrics.LIKELIHOOD: (torch.tensor(6.0), two), "loss/preference": (one, 0 * one)})
    assert alone.means(lambda tensor: tensor, 0.25, 0.5) == {"loss/preference": 3.0, "loss": 3.0}
    total, count = metrics.mean(torch.tensor([math.inf, 2.0, 4.0]), torch.tensor([0.0, 0.5, 0.25]))
    assert (total.item(), count.item()) == (2.0, 0.75)  # at weight 0 anything may stand
    total, count = metrics.mean(torch.tensor([1.0, 2.0]))
    assert (total.item(), count.item()) == (3.0, 2)


def test_a_steps_loss_is_a_mean_of_pairs_of_tokens_and_a_part_of_the_routers() -> None:
    def result(**given: Any) -> Any:
        usual: dict[str, Any] = {"regulariser": None, "likelihood": None, "aux_loss": None}
        own: Any = {"values": None, "links": None, "logps": {}}
        return StepResult(torch.tensor([1.0, 2.0]), **usual | given, **own)

    totals = SimpleNamespace(pairs=8, tokens=10)
    likelihood, regulariser = (torch.tensor(6.0), torch.tensor(4.0)), torch.tensor([1.0, 3.0])
    for given, alone, part in (
        ({}, 1.5, 3 / 8),
        ({"regulariser": regulariser}, 1.5 + 0.5 * 2, (3 + 0.5 * 4) / 8),
        ({"likelihood": likelihood}, 1.5 + 6 / 4, 3 / 8 + 6 / 10),
        ({"likelihood": (torch.tensor(0.0), torch.tensor(0.0))}, 1.5, 3 / 8),
        ({"aux_loss": torch.tensor(2.0)}, 1.5 + 0.25 * 2, 3 / 8 + 0.25 * 2 * 2 / 8),
    ):
        made = result(**given)
        assert made.loss(0.5, 0.25).item() == pytest.approx(alone)
        assert made.loss(0.5, 0.25, totals).item() == pytest.approx(part)
    assert result(regulariser=regulariser).pairs(0.5).tolist() == [1.5, 3.5]
    for rows, expected in ((torch.zeros(0), 0), (torch.tensor([3.0]), 3)):
        few = StepResult(rows, None, None, None, None, None, {})  # type: ignore[arg-type]
        assert few.loss(0.5, 0.25).item() == expected


def test_aggregates_of_masked_tokens() -> None:
    values = torch.tensor([[-1.0, -2.0, -math.inf], [-4.0, 9.0, 9.0], [7.0, 7.0, 7.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert aggregate(values, mask, "sum").tolist() == [-3, -4, 0]
    assert aggregate(values, mask, "mean").tolist() == [-1.5, -4, 0]
    pair = torch.tensor([[-1.0, -2.0, -4.0], [-8.0, 0.0, 0.0]])
    own = torch.tensor([[True, True, True], [True, False, False]])
    # the first token is one that both have; those beyond it count half
    assert sequence_logps(pair, own, 0.5).tolist() == [-4, -8] and sequence_logps(pair, own, None).tolist() == [-7, -8]
    assert sequence_logps(pair, own, 0.0).tolist() == [-1, -8]


# -------------------------------------------------------------------------------------------------------------- batches


def test_batches_are_padded_cut_and_masked_by_loops() -> None:
    rows = [
        {"prompt_ids": [5], "chosen_ids": [6, 7, 8], "rejected_ids": [9], "row_number": 3, "weight": 2,
         "chosen_mask": [1, 0, 1], "rejected_mask": [1], "sample_ids": [[6], [7, 7]], "counted": True},
        {"prompt_ids": [5, 5], "chosen_ids": [6], "rejected_ids": [9, 9], "row_number": 4, "weight": 0.5,
         "chosen_mask": [1], "rejected_mask": [0, 1], "sample_ids": [[8], [8]], "counted": False},
    ]  # fmt: skip
    for limit in (None, 3, 2):
        for multiple in (None, 1, 3, 4):
            made = PreferenceCollator(0, max_length=limit, pad_to_multiple_of=multiple)(rows)
            sides = [(row, side) for side in ("chosen", "rejected") for row in rows]
            sequences = [
                ([*row["prompt_ids"], *row[f"{side}_ids"]], [0] * len(row["prompt_ids"]) + row[f"{side}_mask"])
                for row, side in sides
            ]
            sequences = [(ids[:limit], mask[:limit]) for ids, mask in sequences]
            width = max(len(ids) for ids, _ in sequences)
            while multiple is not None and width % multiple:
                width += 1
            assert made["input_ids"].tolist() == [ids + [0] * (width - len(ids)) for ids, _ in sequences]
            assert made["completion_mask"].tolist() == [mask + [0] * (width - len(mask)) for _, mask in sequences]
            attention = [[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in sequences]
            assert made["attention_mask"].tolist() == attention
            assert made["rows"].tolist() == [3, 4] and made["weight"] == [2.0, 0.5]
            assert made["counted"].tolist() == [True, False] and "feedback" not in made
            samples = [(row["prompt_ids"], one) for row in rows for one in row["sample_ids"]]
            shown = [[token for token in own if token] for own in made["sample_input_ids"].tolist()]
            assert shown == [[*prompt, *one][:limit] for prompt, one in samples]
            joined = with_samples(made, 0)
            assert joined["input_ids"].shape[0] == 8 == len(joined["attention_mask"])
            assert joined["attention_mask"].sum() == made["attention_mask"].sum() + made["sample_attention_mask"].sum()
    assert PreferenceCollator(0)([{k: v for k, v in rows[0].items() if k != "row_number"}])["rows"].tolist() == [-1]
    third = rows[0] | {"third_ids": [4]}
    assert kind_of(rows[0]) == PAIRS and kind_of(third) == TRIPLES
    assert kind_of({"prompt_ids": [], "responses_ids": []}) == LISTS
    assert kind_of({"prompt_ids": [], "completion_ids": []}) == SINGLES
    like = torch.zeros(0, dtype=torch.float64)
    assert rewards_of({"margin": [0.5, -1.0]}, like).tolist() == [[0.5, -1.0], [0.0, 0.0]]
    assert rewards_of({"score_chosen": [1.0], "score_rejected": [2.0]}, like).tolist() == [[1.0], [2.0]]


def test_what_is_checked_first_is_small_and_of_the_first_example() -> None:
    for kind in KINDS:
        batch = batch_of(kind) | {"ref_chosen_logps": [1.0, 2.0, 3.0, 4.0]}
        first = checks.first_example(batch)
        places_of_first = [place(kind, 0, number) for number in range(counts(kind)[0])]
        assert torch.equal(first["input_ids"], batch["input_ids"][places_of_first])
        assert len(first["rows"]) == 1 and first.get("ref_chosen_logps", [1.0]) == [1.0]
    long = {"prompt_ids": [3] * 40, "chosen_ids": [4] * 30, "rejected_ids": [5] * 2}
    few = checks.beginnings(PreferenceCollator(0)([long, long | {"prompt_ids": [3]}]))
    around = checks.AROUND
    assert few["input_ids"].tolist() == [[3] * around + [4] * around, [3] * around + [5, 5] + [0] * (around - 2)]
    short = {"prompt_ids": [3], "chosen_ids": [4, 4], "rejected_ids": [5]}
    assert checks.beginnings(PreferenceCollator(0)([short]))["input_ids"].tolist() == [[3, 4, 4], [3, 5, 0]]
    labels = checks.labels_of(PreferenceCollator(0)([short]))
    assert labels.tolist() == [[-100, 4, 4], [-100, 5, -100]]


def test_a_loss_that_is_not_finite_is_told_with_its_rows() -> None:
    batch = {"rows": torch.tensor([7, 8, 9])}

    def where(row: int) -> str:
        return f"row {row}"

    told = checks.explain(torch.tensor([1.0, math.nan, -math.inf]), batch, 5, "train_dataset", where)
    assert "after step 5, at row 8: nan, row 9: -inf (chosen or rejected of train_dataset)" in told
    told = checks.explain(torch.tensor([1.0, 2.0, 3.0]), batch, 5, "d", where)
    assert "at rows [7, 8, 9], whose losses are finite and whose mean is not (" in told
    many = {"rows": torch.arange(9)}
    assert checks.explain(torch.full((9,), math.nan), many, 0, "d", where).count("row ") == 5 + 0


def test_tolerances_grow_with_rounding_and_with_what_is_rounded() -> None:
    for size in (0.0, 10.0, 1000.0):
        for rounding in (1e-7, 1e-2):
            allowed = checks.start_tolerance(torch.tensor([-size, size / 2]), rounding)
            assert size * rounding < allowed < 2 * (size + 1) * (rounding + 1e-4)

    def rounding_of(mixed: str, *dtypes: torch.dtype) -> float:
        model = torch.nn.Module()
        for at, dtype in enumerate(dtypes):
            model.register_parameter(f"p{at}", torch.nn.Parameter(torch.zeros(1).to(dtype), requires_grad=False))
        made: Any = SimpleNamespace(accelerator=SimpleNamespace(mixed_precision=mixed))
        return engine.LossEngine._rounding(made, model)

    eps = {dtype: torch.finfo(dtype).eps for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}
    assert rounding_of("no", torch.float32) == eps[torch.float32]
    assert rounding_of("no", torch.float64) == eps[torch.float64]
    assert rounding_of("no", torch.float64, torch.bfloat16) == eps[torch.bfloat16]
    assert rounding_of("bf16", torch.float32) == eps[torch.bfloat16]
    assert rounding_of("fp16", torch.float64) == eps[torch.float16]
    # quantised weights are computed with in float32 at the least
    assert rounding_of("no", torch.uint8) == rounding_of("no", torch.float8_e4m3fn) == eps[torch.float32]


def test_what_a_model_that_is_not_its_reference_is_told() -> None:
    def complain(stored: bool, kind: str) -> None:
        made: Any = SimpleNamespace(stored=stored, reference=ReferencePolicy(kind))
        engine.LossEngine._complain(made, 0.12345)

    with pytest.raises(engine.NotTheReference, match=r"stored log-probabilities .* are off by 0.123 nats"):
        complain(True, "copy")
    with pytest.raises(engine.NotTheReference, match=r"a log-ratio is 0.123 nats instead of 0"):
        complain(False, "copy")
    complain(False, "adapter off")  # an adapter that does not begin at zero is no error


def test_a_reference_moves_every_few_steps_part_of_the_way() -> None:
    for alpha in (0.25, 1.0):
        policy, reference = tiny.llama(0), tiny.llama(1)
        start = [parameter.detach().clone() for parameter in reference.parameters()]
        sync = SyncReference(reference, lambda model: model, alpha, 3)
        for step in range(1, 4):
            sync.on_step_end(None, SimpleNamespace(global_step=step), None, model=policy)
            for before, now, mine in zip(start, reference.parameters(), policy.parameters(), strict=True):
                expected = before if step < 3 else (1 - alpha) * before + alpha * mine
                torch.testing.assert_close(now, expected, rtol=1e-5, atol=1e-6)
    deeper = SyncReference(tiny.llama(0, num_hidden_layers=3), lambda model: model, 1.0, 1)
    with pytest.raises((ValueError, RuntimeError)):  # and no part of it alone
        deeper.on_step_end(None, SimpleNamespace(global_step=1), None, model=tiny.llama(0))


# ------------------------------------------------------------------------------------------ names, needs, what is asked


def test_objectives_by_name_with_weights_options_and_lambda() -> None:
    assert named_objectives(None, None, {}, None) == ea.EXPO(0.1)
    assert named_objectives("dpo", 0.5, {"label_smoothing": 0.1}, None) == ea.DPO(0.5, label_smoothing=0.1)
    own = ea.IPO(0.7)
    assert named_objectives(own, None, {}, None) == own
    two = named_objectives(["dpo", (3.0, own)], None, {"dpo": {"label_smoothing": 0.1}}, [0.5, 2.0])
    assert two == [(0.5, ea.DPO(0.1, label_smoothing=0.1)), (6.0, own)]
    assert named_objectives(["dpo", own], 0.2, {}, None) == [(1.0, ea.DPO(0.2)), (1.0, own)]
    for given, options, weights, words in (
        ("dpo", {}, [1.0], "objective_weights belong to several objectives"),
        (["dpo"], {}, [1.0, 2.0], "objective_weights must have one number for each of 1 objectives"),
        (["dpo", own], {"ipo": {}}, None, r"\['ipo'\] is none of"),
        ("qpo", {}, None, "objective qpo is made of two Python functions"),
    ):
        with pytest.raises(ValueError, match=words):
            named_objectives(given, None, options, weights)


def test_a_function_of_a_file_is_an_objective(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def f(chosen, rejected, tau=9.0):\n    return -tau * (chosen - rejected)\n")
    made = named_objectives(f"{file}:f", 0.5, {"beta_name": "tau"}, None)
    assert made.loss(*torch.tensor([[-1.0], [-3.0], [0.0], [0.0]])).tolist() == [-1.0]


def test_losses_of_certain_responses_are_of_their_rewards_alone() -> None:
    """Where log-ratios are 0 ODPO's loss is softplus(log of the gap); rewards may be 0, and other losses read none."""
    rewards = torch.tensor([[0.0, 1.0, 3.0], [-2.0, 0.0, -1.0]], dtype=torch.float64)
    expected = torch.nn.functional.softplus((rewards[0] - rewards[1]).log())
    odpo = ea.ODPO(LAM, scale="log")
    for mixture in ([odpo], [odpo, ea.DPO(LAM)]):
        torch.testing.assert_close(make_mixture(mixture, None).values_of(rewards), expected)
    assert make_mixture(ea.DPO(LAM), None).values_of(rewards).tolist() == [0, 0, 0]
    assert make_mixture(odpo, None).values_of(-rewards).isnan().all()


def rules(*objectives: Any, **given: Any) -> Any:
    usual = {"ld_alpha": None, "use_weighting": False}
    return SimpleNamespace(mixture=make_mixture(list(objectives), None), **usual | given)


def test_which_feedback_a_loss_can_be_trained_on() -> None:
    pairs, triples = ["prompt", "chosen", "rejected"], ["prompt", "chosen", "rejected", "third"]
    labels, scores, lists = (
        ["prompt", "completion", "label"],
        ["prompt", "completion", "score"],
        ["prompt", "responses"],
    )
    dpo, kto, apo = ea.DPO(LAM), ea.KTO(LAM), ea.AStarPO(LAM)
    for columns, which, kind in (
        (pairs, rules(dpo), PAIRS), (triples, rules(dpo), PAIRS), (labels, rules(kto), SINGLES),
        (labels, rules(kto, ea.SFT(1.0)), SINGLES), (scores, rules(apo), SINGLES), (lists, rules(dpo), LISTS),
        (pairs, rules(dpo, ld_alpha=0.5, use_weighting=True), PAIRS), (pairs, rules(ea.AOT(LAM)), PAIRS),
        (triples, rules(ea.WRPO(LAM)), TRIPLES), (triples, rules(ea.WRPO(LAM), use_weighting=True), TRIPLES),
    ):  # fmt: skip
        assert feedback_for("data", columns, which) == kind
    for columns, which, words in (
        (labels, rules(dpo), "data must hold pairs for DPO.*which compares two responses"),
        (labels, rules(kto, apo), "of which a part reads scores and another one labels"),
        (lists, rules(ea.AOT(LAM)), "which couples the pairs of a batch: no lists"),
        (labels, rules(kto, ld_alpha=0.5), "ld_alpha is for pairs, and data holds single responses"),
        (lists, rules(dpo, use_weighting=True), "use_weighting is for pairs, and data holds lists"),
        (triples, rules(ea.WRPO(LAM), ld_alpha=0.5), "ld_alpha is for pairs, and data holds triples"),
        (pairs, rules(ea.WRPO(LAM)), "data must have the column 'third'"),
        (lists, rules(ea.WRPO(LAM)), "data must hold pairs and a third response"),
    ):
        with pytest.raises(ValueError, match=words):
            feedback_for("data", columns, which)


def test_which_columns_a_loss_reads() -> None:
    def read(columns: list[str], kind: Any, *objectives: Any) -> list[str]:
        return columns_for("data", columns, kind, make_mixture(list(objectives), None))

    assert read(["weight", "label", "score"], SINGLES, ea.KTO(LAM)) == ["weight", "label"]
    assert read(["chosen", "score_chosen", "score_rejected"], PAIRS, ea.DPO(LAM)) == []
    apo = ea.AStarPO(LAM)
    assert read(["score", "value", "reference_scores"], SINGLES, apo) == ["value", "score"]
    assert read(["score", "reference_scores"], SINGLES, apo) == ["reference_scores", "score"]
    assert read(["scores", "reference_scores"], LISTS, apo) == ["reference_scores", "scores"]
    qrpo = ea.QRPO(LAM)
    assert read(["quantile"], SINGLES, qrpo) == ["quantile"]
    for columns, kind, objective, words in (
        (["score"], SINGLES, apo, "data must have the column 'value' or 'reference_scores', from which AStarPO"),
        (["score"], LISTS, apo, "data must have the column 'value' or 'reference_scores'"),
        (["score"], SINGLES, ea.KTO(LAM), "data must have the column 'label', which KTO"),
        (["value"], SINGLES, apo, "data must have the column 'score', which AStarPO"),
        (["margin", "reference_scores"], PAIRS, qrpo, "its column 'margin' has no more than their difference"),
    ):
        with pytest.raises(ValueError, match=words):
            read(columns, kind, objective)


def test_the_gradient_on_what_is_optimal_is_asked_of_pairs_in_one_place() -> None:
    def trainer(objective: Any, **given: Any) -> Any:
        usual = {"is_fsdp_enabled": False, "is_deepspeed_enabled": False}
        return SimpleNamespace(mixture=make_mixture(objective, None), **usual | given)

    pairs = SimpleNamespace(column_names=["prompt_ids", "chosen_ids", "rejected_ids"])
    single = SimpleNamespace(column_names=["prompt_ids", "completion_ids"])
    for made, rows, words in (
        (trainer(ea.AOT(LAM)), pairs, "optimal_dataset is not used by AOT.*which couples pairs"),
        (trainer(ea.DPO(LAM), is_fsdp_enabled=True), pairs, "optimal_dataset must be left out under FSDP"),
        (trainer(ea.DPO(LAM), is_deepspeed_enabled=True), pairs, "optimal_dataset must be left out under FSDP"),
        (trainer(ea.DPO(LAM)), single, "optimal_dataset must hold pairs"),
        (trainer(ea.WRPO(LAM)), pairs, "optimal_dataset must hold pairs"),
    ):
        with pytest.raises(ValueError, match=words):
            optimal.first_step_gradient_norm(made, rows)
    given = {
        "prompt_ids": [1],
        "chosen_ids": [2],
        "rejected_ids": [3],
        "score_chosen": 4,
        "score_rejected": 5,
        "margin": 6,
    }
    assert optimal._swapped(given) == {
        "prompt_ids": [1], "rejected_ids": [2], "chosen_ids": [3], "score_rejected": 4, "score_chosen": 5, "margin": -6,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------- identities and checkpoints


def test_checkpoints_say_what_they_are_of(tmp_path: Path) -> None:
    assert identity.check(tmp_path, {"objective": "DPO"}) == {}
    own = {"objective": "DPO", "data": "abc", "model": "def", "num_tokens": 5}
    (tmp_path / identity.IDENTITY_FILE).write_text(json.dumps(own))
    assert identity.check(tmp_path, {"objective": "DPO", "data": "abc", "reference": "copy"}) == own
    for now, words in (
        ({"objective": "IPO"}, "its objective is DPO, and here it is IPO. Give"),
        ({"objective": "BCO"}, "its objective is DPO, and here it is BCO. Give"),
        ({"data": "xyz"}, "its training data, tokenizer or max_length is another one. Give"),
        (
            {"objective": "IPO", "model": "x"},
            "its objective is DPO, and here it is IPO; its initial model is another one",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            identity.check(tmp_path, now)
    assert identity.fingerprint({"a": 1, "b": 2}) == identity.fingerprint({"b": 2, "a": 1}) != identity.fingerprint({})


def test_a_hash_of_weights_is_of_every_number_name_and_type() -> None:
    model = tiny.llama(0)
    own = identity.weights_fingerprint(model)
    assert own == identity.weights_fingerprint(tiny.llama(0)) != identity.weights_fingerprint(tiny.llama(1))
    assert own != identity.weights_fingerprint(tiny.llama(0).double())
    for parameter in (model.lm_head.weight, model.model.norm.weight):
        with torch.no_grad():
            kept = parameter.flatten()[-1].item()
            parameter.view(-1)[-1] += 1e-3
            assert identity.weights_fingerprint(model) != own
            parameter.view(-1)[-1] = kept
    assert identity.weights_fingerprint(model) == own
    scalar = torch.nn.Module()
    scalar.register_buffer("kept", torch.tensor(1.0))
    scalar.register_buffer("lost", torch.tensor(1.0), persistent=False)
    before = identity.weights_fingerprint(scalar)
    scalar.lost += 1
    assert identity.weights_fingerprint(scalar) == before
    scalar.kept += 1
    assert identity.weights_fingerprint(scalar) != before


def test_a_checkpoint_is_whole_if_all_it_needs_is_there(tmp_path: Path) -> None:
    def make(number: int) -> Path:
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        save_file({"a": torch.zeros(2)}, folder / "model.safetensors")
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            torch.save({"a": 1}, folder / name)
        (folder / "trainer_state.json").write_text('{"global_step": 3}')
        return folder

    folder = make(9)
    assert checkpoints.whats_missing(folder) is None
    damages: dict[str, tuple[str, Any]] = {
        "it was being written when the process ended": (checkpoints.SENTINEL, ""),
        "its trainer_state.json has no global_step": ("trainer_state.json", "{}"),
        "its trainer_state.json is missing or cut off": ("trainer_state.json", '{"global'),
        "weights are missing": ("model.safetensors", None),
        "the optimiser's state is missing": ("optimizer.pt", None),
        "the schedule's state is missing": ("scheduler.pt", None),
        "the state of random numbers is missing": ("rng_state.pth", None),
        "model.safetensors is cut off": ("model.safetensors", "x"),
        "scheduler.pt is cut off": ("scheduler.pt", "PK"),
        "b.safetensors is missing": (
            "model.safetensors.index.json",
            '{"weight_map": {"x": "c.safetensors", "y": "b.safetensors", "z": "model.safetensors"}}',
        ),
    }
    for words, (name, content) in damages.items():
        path = folder / name
        before = path.read_bytes() if path.exists() else None
        path.unlink() if content is None else path.write_text(content)
        assert checkpoints.whats_missing(folder) == words
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
    assert checkpoints.whats_missing(folder) is None
    (folder / "global_step3").mkdir()  # DeepSpeed's, where nothing may be missing
    assert checkpoints.whats_missing(folder) == "global_step3 is cut off"
    (folder / "global_step3" / "a").write_text("a")
    assert checkpoints.whats_missing(folder) is None
    make(10)
    (make(11) / "scheduler.pt").unlink()
    (tmp_path / "checkpoint-99").write_text("no folder")
    (tmp_path / "checkpoint-x").mkdir()
    assert [path.name for path in checkpoints.checkpoints(tmp_path)] == [f"checkpoint-{n}" for n in (11, 10, 9)]
    passed = ["checkpoint-11: the schedule's state is missing"]
    assert checkpoints.latest_checkpoint(tmp_path) == (tmp_path / "checkpoint-10", passed)
    assert checkpoints.latest_checkpoint(tmp_path / "none") == (None, [])


def test_all_processes_obey_the_signal_that_any_of_them_got(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest number of all: whoever got none stops too."""
    seen = []
    for initialized, others, received in ((False, 15, None), (True, 0, None), (True, 15, 15), (True, 2, 2)):

        def reduce(tensor: torch.Tensor, how: Any, others: int = others) -> None:
            assert how == torch.distributed.ReduceOp.MAX
            seen.append(int(tensor))
            tensor.fill_(max(int(tensor), others))

        monkeypatch.setattr(torch.distributed, "is_initialized", lambda initialized=initialized: initialized)
        monkeypatch.setattr(torch.distributed, "all_reduce", reduce)
        stop = interrupt.StopAndSave()
        control = SimpleNamespace(should_save=False, should_training_stop=False)
        stop.on_step_end(SimpleNamespace(device=torch.device("cpu")), None, control)
        assert stop.received == received
        assert control.should_save == control.should_training_stop == (received is not None)
    assert seen == [0, 0, 0]
