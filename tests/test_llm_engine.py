"""What holds a training together, each piece between stubs: the engine, and where a run starts."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import expo_analysis as ea

from . import llm_models as tiny

from expo_analysis.llm.data import sampling  # isort: skip
from expo_analysis.llm.data.feedback import PAIRS  # isort: skip
from expo_analysis.llm.training import chunks, engine, head, identity, precomputed, step  # isort: skip
from expo_analysis.llm.training.collator import PreferenceCollator  # isort: skip
from expo_analysis.llm.training.links import Links  # isort: skip
from expo_analysis.llm.training.objectives import make_mixture  # isort: skip
from expo_analysis.llm.training.reference import ReferencePolicy  # isort: skip
from expo_analysis.llm.training.scores import Head, Reference  # isort: skip
from .llm_stubs import LAM, accelerator, batch, rules

# -------------------------------------------------------------------------------------------------------------- engine


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """Of each batch, whether its losses were given the reference's distributions, and its log-probabilities."""
    found: list[tuple[bool, bool]] = []
    monkeypatch.setattr(
        engine,
        "batch_losses",
        lambda r, m, b, way, reference, logps: found.append((reference is not None, bool(logps))),
    )
    monkeypatch.setattr(engine.LossEngine, "way", lambda self, role, model, batch: head.LOGITS)
    monkeypatch.setattr(engine.LossEngine, "_reference_states", lambda self, model, batch: Reference())
    return found


def test_an_engine_gives_each_loss_what_it_reads_and_checks_the_start_once(
    asked: list[tuple[bool, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for which, stored, expected in (
        (rules(ea.DPO(LAM)), False, (False, True)),
        (rules(ea.SimPO(LAM)), False, (False, False)),
        (rules(ea.SimPO(LAM)), True, (False, True)),  # for the metrics
        (rules(ea.EXPO(LAM), "token_kl"), False, (True, False)),
        (rules(ea.EXPO(LAM), "own_responses"), False, (False, False)),
        (rules(ea.EXPO(LAM), "own_responses"), True, (False, True)),
    ):
        checked: list[Any] = []
        monkeypatch.setattr(engine.LossEngine, "check_start", lambda self, m, b, checked=checked: checked.append(b))
        made = engine.LossEngine(which, ReferencePolicy("copy"), stored, accelerator(), False)
        made.losses(None, batch(), at_start=False)
        assert asked.pop() == expected and not checked
        made.losses(None, batch(), at_start=True)
        # with stored numbers the start is checked on a batch that has them
        assert len(checked) == (not stored)
        made.losses(None, batch(ref_chosen_logps=[0.0, 0.0]), at_start=True)
        made.losses(None, batch(ref_chosen_logps=[0.0, 0.0]), at_start=True)
        assert len(checked) == 1


def test_the_start_is_where_a_reference_that_is_the_model_gives_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by more than rounding it is an error; a reference that was given may be anything."""
    model = tiny.llama(0).eval()

    def check(reference: ReferencePolicy | None, stored: bool, off: float) -> None:
        made = engine.LossEngine(rules(ea.DPO(LAM)), reference, stored, accelerator(), False)
        made.ways["policy"] = head.LOGITS
        live = torch.tensor([-10.0, -20.0])
        monkeypatch.setattr(made, "live_ref_logps", lambda model, batch: live)
        monkeypatch.setattr(made, "_logps", lambda model, rows, way: live + torch.tensor([0.0, off]))
        stored_ones = batch(ref_chosen_logps=[-10.0, 1.0], ref_rejected_logps=[-20.0 + off, 1.0])
        made.check_start(model, stored_ones if stored else batch())

    for kind, stored in (("copy", False), ("copy", True), ("given", True), ("first adapter", False)):
        for off in (0.0, 1e-4, -1e-4):
            check(ReferencePolicy(kind), stored, off)
        for off in (0.1, -0.1):
            with pytest.raises(engine.NotTheReference, match=r"0\.1 nats"):
                check(ReferencePolicy(kind), stored, off)
    check(ReferencePolicy("given"), False, 5.0)
    check(None, False, 5.0)
    check(ReferencePolicy("adapter off"), False, 5.0)  # which is said, and no error


def test_of_columns_without_a_reference_the_largest_gap_of_the_batch_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = torch.tensor([-10.0, -1.0, -20.0, -2.0])  # chosen, chosen, rejected, rejected
    for off, expected in (
        (1e-4, "the model's own log-probabilities before the first step, to 0.0001 nats"),
        (-0.5, "0.5"),
    ):
        made = engine.LossEngine(rules(ea.DPO(LAM)), None, True, accelerator(), False)
        made.ways["policy"] = head.LOGITS
        monkeypatch.setattr(made, "_logps", lambda model, rows, way: now)
        caplog.clear()
        made.check_start(
            tiny.llama(0).eval(), batch(ref_chosen_logps=[-10.0, -1.0 + off], ref_rejected_logps=[-20.0, -2.0])
        )
        assert len(caplog.messages) == 1 and expected in caplog.messages[0]
        assert ("off by up to 0.5 nats" in caplog.messages[0]) == ("stale" in caplog.messages[0]) == (off < 0)


def test_stored_numbers_are_read_where_they_are_and_missed_where_not() -> None:
    made = engine.LossEngine(rules(ea.DPO(LAM)), None, True, accelerator(), False)
    known = batch(ref_chosen_logps=[-1.0, -2.0], ref_rejected_logps=[-3.0, -4.0])
    assert made.ref_logps(None, known).tolist() == [-1, -2, -3, -4]
    with pytest.raises(
        ValueError, match=r"the data must have the columns \['ref_chosen_logps', 'ref_rejected_logps'\]"
    ):
        made.ref_logps(None, batch())
    lists = {"feedback": "lists", "ref_responses_logps": [[-1.0, -2.0], [-3.0]]}
    assert step.stored_ref_logps(lists, torch.device("cpu")).tolist() == [-1, -2, -3]
    assert step.has_ref_logps(lists) and not step.has_ref_logps(batch())
    assert step.has_ref_logps(known)


# -------------------------------------------------------------------------------------------------------------- trainer


def test_a_step_of_several_processes_has_the_sum_of_their_losses() -> None:
    """Over which gradients are averaged; what is trained on is counted, and what is evaluated is not."""
    from expo_analysis.llm.training import NonFiniteLoss, PreferenceTrainer

    losses = torch.tensor([1.0, 2.0])
    for training in (True, False):
        for processes, totals, expected in ((1, None, 1.5), (2, None, 1.5), (2, "totals", 3.0), (3, "totals", 4.5)):
            counted: list[tuple[str, Any]] = []
            result = SimpleNamespace(
                loss=lambda strength, router, given, totals=totals: losses.mean() if given == totals else None,
                pairs=lambda strength: losses * math.nan,
                metrics=lambda: "metrics",
            )
            own: Any = SimpleNamespace(
                pair_losses=lambda model, inputs, result=result: result,
                mixture=SimpleNamespace(strength=0.5), rules=SimpleNamespace(router_coef=0.0),
                model=SimpleNamespace(training=training),
                sums=SimpleNamespace(add=lambda m, counted=counted: counted.append(("train", m))),
                _eval_sums=SimpleNamespace(add=lambda m, counted=counted: counted.append(("eval", m))),
                accelerator=SimpleNamespace(num_processes=processes), state=SimpleNamespace(global_step=3),
                _room=SimpleNamespace(place_in=lambda name: lambda row: f"{name} {row}"),
            )  # fmt: skip
            made = PreferenceTrainer.compute_loss(own, None, batch(), num_items_in_batch=totals)
            assert made.item() == pytest.approx(expected)
            assert counted == [("train" if training else "eval", "metrics")]
            both = PreferenceTrainer.compute_loss(own, None, batch(), True, totals)
            assert both[0].item() == pytest.approx(expected) and both[1] is result
            result.loss = lambda *given: torch.tensor(math.nan)
            name = "train_dataset" if training else "eval_dataset"
            with pytest.raises(NonFiniteLoss, match=rf"after step 3, at {name} 2: nan, {name} 2: nan"):
                PreferenceTrainer.compute_loss(own, None, batch())


def test_what_losses_read_of_lengths_and_labels() -> None:
    """A response of which nothing counts has length 1, so that its mean of nothing is 0."""
    from expo_analysis.llm.training import preference

    mixture, lengths = make_mixture(ea.KTO(LAM), None), torch.tensor([0.0, 3.0])
    links = Links.of_batch(batch()).to(torch.device("cpu"))
    assert preference._known(make_mixture(ea.DPO(LAM), None), links, torch.arange(4.0), {})["length"].tolist() == [
        1, 1, 2, 3,
    ]  # fmt: skip
    single = {"prompt_ids": [3], "completion_ids": [4], "label": 1.0}
    rows = PreferenceCollator(0)([single, single | {"label": 0.0}])
    for scored, liked, disliked in ((False, [1, 0], [0, 1]), (True, [1, 1], [1, 1])):
        own = Links.of_batch(rows, scored=scored).to(torch.device("cpu"))
        known = preference._known(mixture, own, lengths, rows)
        assert known["liked"].tolist() == liked and known["disliked"].tolist() == disliked
        assert known["length"].tolist() == [1, 3] and "reward" not in known


def test_each_use_of_a_seed_has_random_numbers_of_its_own() -> None:
    from expo_analysis.llm.data import preferences

    uses = (sampling.RESPONSES, sampling.LABELS, sampling.CHOICES, preferences.SHARE)
    numbers = {sampling.rng(seed, use).random() for seed in (0, 1) for use in uses}
    assert len(numbers) == 8 and sampling.rng(0, uses[0]).random() == sampling.rng(0, uses[0]).random()


def test_what_stored_numbers_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter where it is in the reference, and not where the reference is the model without it."""

    class Key(Exception):
        pass

    def key(**parts: Any) -> str:
        raise Key(parts)

    monkeypatch.setattr(precomputed, "cache_key", key)
    other = tiny.llama(1)

    def parts_of(kind: str, model: Any = None, **given: Any) -> dict[str, Any]:
        args = {"precompute_ref_batch_size": None, "max_length": 9, "pad_to_multiple_of": 4} | given
        trainer = SimpleNamespace(
            args=SimpleNamespace(**args),
            engine=SimpleNamespace(reference=ReferencePolicy(kind, model), rules=SimpleNamespace(ld_alpha=0.5)),
            accelerator=SimpleNamespace(mixed_precision="no", device=torch.device("cpu")),
            state=SimpleNamespace(global_step=given.get("step", 0)),
            identity=SimpleNamespace(weights="w", adapter="a"),
            model=tiny.llama(0),
        )
        data = SimpleNamespace(rows=tiny.pairs(2), name="d", feedback=PAIRS, fingerprint="f")
        with pytest.raises(Key) as caught:
            precomputed.precompute(trainer, data, 6)
        found: dict[str, Any] = caught.value.args[0]
        return found

    usual = parts_of("copy")
    assert (usual["weights"], usual["kind"], usual["adapter"], usual["data"]) == ("w", "copy", None, "f")
    assert (usual["max_length"], usual["ld_alpha"], usual["pad"], usual["device"]) == (9, 0.5, [4, 6], "cpu")
    assert usual["precision"][:2] == ["no", "torch.float32"] and '"vocab_size": 43' in usual["config"]
    assert parts_of("adapter off")["adapter"] is None and parts_of("first adapter")["adapter"] == "a"
    given = parts_of("given", other)
    assert given["weights"] == identity.weights_fingerprint(other) and given["adapter"] is None
    assert parts_of("copy", precompute_ref_batch_size=3)["pad"] == [4, 3]
    # after a step the model is no more what it was; a model of its own still is
    assert (
        parts_of("adapter off", step=1)["kind"] == "adapter off" and parts_of("copy", other, step=1)["kind"] == "copy"
    )


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A trainer that was not made, of a transformers' trainer that notes what it is asked for."""
    from transformers import Trainer

    from expo_analysis.llm.training import PreferenceTrainer, trainer

    noted: list[tuple[Any, ...]] = []
    for name in ("train", "log", "evaluate", "predict", "save_model"):
        monkeypatch.setattr(Trainer, name, lambda self, *given, name=name, **more: noted.append((name, given, more)))
    monkeypatch.setattr(trainer, "precompute", lambda own, data, size: (data, size))
    own: Any = object.__new__(PreferenceTrainer)
    own.noted = noted
    own.args = SimpleNamespace(
        per_device_train_batch_size=3, per_device_eval_batch_size=5, precompute_ref_log_probs=False, output_dir="out",
        world_size=2, dataloader_num_workers=0, should_save=True,
    )  # fmt: skip
    own.accelerator = SimpleNamespace(
        device=torch.device("cpu"), num_processes=2, reduce=lambda tensor, how: 2 * tensor
    )
    own.engine = SimpleNamespace(reference=None)
    own._room = SimpleNamespace(read=lambda name, rows: SimpleNamespace(rows=f"{name} {rows}"))
    return own


def test_a_copy_that_has_answered_is_let_go(bare: Any) -> None:
    """Under FSDP it was in parts; a reference that was given is kept for data that come later."""
    for reference, left in (
        (None, None), (ReferencePolicy("copy", "m"), None), (ReferencePolicy("given", "m"), "m"),
    ):  # fmt: skip
        bare.engine.reference, bare.data = reference, "train"
        bare._precompute({"a": "x"})
        assert bare.train_dataset == ("train", 3) and bare.eval_dataset == {"a": ("x", 5)}
        assert bare.ref_model == left


def test_data_that_are_given_later_are_checked_and_those_of_the_trainer_are_not(bare: Any) -> None:
    for rows, passed in ((None, None), ("a", "a"), ({"a": 1}, {"a": 1}), ([1], "eval_dataset [1]")):
        bare.evaluate(rows)
        assert bare.noted.pop() == ("evaluate", (passed, None, "eval"), {})
    bare.predict([2])
    assert bare.noted.pop() == ("predict", ("test_dataset [2]", None, "test"), {})
    bare.args.precompute_ref_log_probs = True
    (data, size) = bare._prepared("d", [3])
    assert data.rows == "d [3]" and size == 5


def test_the_gradient_on_what_is_optimal_is_measured_once_before_a_new_training(bare: Any) -> None:
    from expo_analysis.llm.training.metrics import Sums

    opened, measured = [], []
    bare.identity = SimpleNamespace(open=lambda trainer, folder: opened.append(folder) or folder)
    bare.first_step_gradient_norm = lambda rows: measured.append(rows) or 0.25
    for optimal, known, resumed, norm in (
        (None, None, None, None), ("rows", None, None, 0.25), ("rows", 0.5, None, 0.5),
        ("rows", None, "checkpoint", None),
    ):  # fmt: skip
        bare._optimal = None if optimal is None else SimpleNamespace(rows=optimal)
        bare.optimal_gradient_norm, bare.sums = known, Sums()
        bare.train(resumed, trial=1)
        assert bare.noted.pop() == ("train", (resumed,), {"trial": 1}) and opened.pop() == resumed
        assert bare.optimal_gradient_norm == norm and bool(bare.sums) == (norm == 0.25)
        if norm == 0.25:
            assert bare.sums.means(lambda tensor: tensor, 0.0, 0.0)["optimal/grad_norm"] == 0.25
    assert measured == ["rows"]


def test_metrics_are_added_to_logs_of_losses_and_begin_anew(bare: Any) -> None:
    from expo_analysis.llm.training.metrics import Sums

    bare.tokens_seen, bare.means = 7, lambda sums: {"kl": 0.5}
    for logs_given, some, expected in (
        ({"loss": 1.0}, True, {"loss": 1.0, "kl": 0.5, "num_tokens": 7}),  # which are those of all processes
        ({"loss": 1.0}, False, {"loss": 1.0}),
        ({"eval_loss": 1.0}, True, {"eval_loss": 1.0}),
    ):
        bare.sums = Sums()
        if some:
            bare.sums.add({"kl": (torch.tensor(1.0), torch.tensor(2.0))})
        bare.log(dict(logs_given), 3.0)
        assert bare.noted.pop() == ("log", (expected, 3.0), {})
        assert bool(bare.sums) == (some and "loss" not in logs_given)


def test_what_is_saved_says_what_it_is_of_where_it_is_saved(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from expo_analysis.llm.training import card

    written: list[Any] = []
    bare.tokens_seen = 7
    bare.identity = SimpleNamespace(write=lambda trainer, folder, count: written.append((folder, count)))
    monkeypatch.setattr(card, "write", lambda trainer, name, **more: written.append((name, more)))
    for first in (True, False):
        bare.is_world_process_zero = lambda first=first: first
        for saves, folder, expected in ((True, None, "out"), (True, "there", "there"), (False, "there", None)):
            bare.args.should_save = saves
            bare.save_model(folder, _internal_call=True)
            assert bare.noted.pop() == ("save_model", (folder,), {"_internal_call": True})
            assert written == [(expected, 7)] * saves + [(None, {})] * (saves and first)
            written.clear()
    bare.is_world_process_zero = lambda: True
    bare.create_model_card("mine", tags="a")
    assert written == [("mine", {"tags": "a"})]


def test_streams_are_filled_up_for_all_processes_and_data_sets_are_left(bare: Any) -> None:
    from datasets import IterableDataset

    from expo_analysis.llm.training import batches

    assert batches.filled(SimpleNamespace(rows=[1]), 3, bare.args) == [1]
    stream = IterableDataset.from_generator(lambda: iter([{"row_number": 0}]))
    made = batches.filled(SimpleNamespace(rows=stream), 3, bare.args)
    assert isinstance(made, batches.Filled) and made.size == 6 and len(list(made)) == 6
    bare.args.world_size = 1
    assert batches.filled(SimpleNamespace(rows=stream), 3, bare.args) is stream


@pytest.mark.parametrize("kind", ["pairs", "labels", "lists"])
def test_a_likelihood_per_token_is_a_sum_over_tokens_and_how_many_there_are(kind: str) -> None:
    """SFT of all tokens of a step together: -w log pi of the chosen, weighted by the data; lists by their shares."""
    from expo_analysis.llm.training import metrics, preference

    from .test_llm_parts import batch_of, comparisons, counts, place

    mixture = make_mixture([(2.0, ea.SFT(1.0))], "token_mean")
    made = batch_of(kind)
    links = Links.of_batch(made).to(torch.device("cpu"))
    total = sum(counts(kind))
    sums, lengths = -torch.arange(1.0, total + 1, dtype=torch.float64), torch.arange(2, total + 2)
    weights = torch.tensor([1.0, 0.5, 3.0, 2.0], dtype=torch.float64)
    for keep in ([0, 1, 2, 3], [1, 3], [2]):
        losses, likelihood = preference.preference_losses(
            mixture, links, torch.tensor(keep), 7 * sums, None, lengths, made, weights[keep], whole=sums
        )
        chosen = [(row, place(kind, row, w), share) for row in keep for w, _, _, _, share in comparisons(kind, row)]
        assert likelihood is not None and losses.tolist() == [0.0] * len(keep)
        above, below = (tensor.item() for tensor in likelihood)
        assert above == pytest.approx(2 * sum(weights[row].item() * share * (at + 1) for row, at, share in chosen))
        assert below == pytest.approx(sum(share * (at + 2) for _, at, share in chosen))
    result: Any = SimpleNamespace(values=None, likelihood=(torch.tensor(6.0), torch.tensor(4.0)))
    result.aux_loss, result.preference = torch.tensor(0.5), torch.zeros(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "batch_metrics", lambda values: {})
        found = step.StepResult.metrics(result)
    assert {name: (a.item(), b.item()) for name, (a, b) in found.items()} == {
        metrics.LIKELIHOOD: (6.0, 4.0), "aux_loss": (1.5, 3),
    }  # fmt: skip


def test_a_prompts_value_is_that_of_each_of_its_responses() -> None:
    from expo_analysis.llm.training.derived import derived_data, derived_kinds, rewards_in, suffices

    from .test_llm_parts import batch_of

    like = torch.zeros((), dtype=torch.float32)
    for kind in ("pairs", "lists"):
        made = batch_of(kind) | {"value": [1.0, 2.0, 4.0, 8.0]}
        links = Links.of_batch(made)
        found = derived_data(ea.AStarPO(LAM), links, made, like)
        assert list(found) == ["value"] and found["value"].dtype == torch.float32
        assert found["value"].tolist() == [2.0**owner for owner in links.owner.tolist()]
        assert derived_data(ea.DPO(LAM), links, made, like) == {}
    assert derived_kinds(ea.AStarPO(LAM)) == {"value"} and derived_kinds(ea.DPO(LAM)) == set()
    assert suffices(ea.AStarPO(LAM), ["value"]) and not suffices(ea.AStarPO(LAM), ["quantile"])
    assert suffices(ea.QRPO(LAM), ["quantile"]) and not suffices(ea.QRPO(LAM), ["value"])
    lists = {"feedback": "lists", "scores": [[1.0, 2.0], [3.0]]}
    known = rewards_in(lists, 3)
    assert known is not None and known.tolist() == [1, 2, 3] and rewards_in({"feedback": "lists"}, 0) is None
    singles = {"feedback": "single responses", "score": [1.0]}
    known = rewards_in(singles, 1)
    assert known is not None and known.tolist() == [1.0]
    # of a third response there is none
    three = {"feedback": "triples", "score_chosen": [1.0], "score_rejected": [2.0]}
    known = rewards_in(three, 3)
    assert known is not None and known[:2].tolist() == [1, 2] and known[2:].isnan().tolist() == [True]


@pytest.mark.parametrize("keep", [[0, 1, 2, 3], [3], []])
def test_a_ranking_is_a_choice_after_the_other_by_loops(keep: list[int]) -> None:
    """-log softmax of each choice among those that are left; where no list counts there is a gradient all the same."""
    from expo_analysis.llm.training import preference

    from .test_llm_parts import RANKINGS, SIZES, batch_of, place

    links = Links.of_batch(batch_of("lists")).to(torch.device("cpu")).only(torch.tensor(keep, dtype=torch.long))
    logps = -torch.rand(sum(SIZES), dtype=torch.float64, requires_grad=True)
    references = -torch.rand(sum(SIZES), dtype=torch.float64)
    for objective, ref in ((ea.PlackettLuceDPO(2.0), references), (ea.PlackettLuce(1.0), None)):
        (term,) = objective.facts.terms
        score = term.statistic.scale * (logps if ref is None else logps - ref)
        expected = []
        for row in keep:
            left = list(range(SIZES[row]))
            total = 0.0
            for choice in RANKINGS[row]:
                among = sum(math.exp(score[place("lists", row, k)].item()) for k in left)
                total -= math.log(math.exp(score[place("lists", row, choice)].item()) / among)
                left.remove(choice)
            expected.append(total)
        found = preference._choice_losses(objective, links, logps, ref)
        assert found.shape == (len(keep),) and found.requires_grad
        assert found.tolist() == pytest.approx(expected)


def test_a_references_head_is_copied_only_where_sharding_would_free_it() -> None:
    for bias in (True, False):
        linear = torch.nn.Linear(4, 9, bias=bias)
        model = SimpleNamespace(get_output_embeddings=lambda linear=linear: linear)
        for copied in (False, True):
            ask = head.Ask(head.Way("weight", 2.0, 5.0), as_reference=True, copy_head=copied)
            made = head._from_states(model, torch.zeros(3, 4), torch.zeros(3, dtype=torch.long), ask)
            assert (made.head.weight.data_ptr() == linear.weight.data_ptr()) != copied
            assert torch.equal(made.head.weight, linear.weight) and not made.head.weight.requires_grad
            assert (made.head.bias is None) != bias and (made.head.scale, made.head.cap) == (2.0, 5.0)
    assert not head.Ask(head.LOGITS).copy_head and not head.Ask(head.LOGITS).as_reference


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float64])
def test_a_heads_gradient_is_added_up_in_float32_at_the_least(low: torch.dtype) -> None:
    """Whatever it is computed in, and however many parts it comes in."""
    torch.manual_seed(0)
    exact_states, exact = torch.randn(64, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    targets, grads = torch.randint(6, (64,)), []
    for dtype in (low, torch.float64):
        states, weight, bias = (
            x.to(low).to(dtype).clone().requires_grad_() for x in (exact_states, exact, exact[:, 0])
        )
        chunks.token_scores(states, Head(weight, bias), targets, size=5)[0].sum().backward()
        grads.append([states.grad, weight.grad, bias.grad])
        assert weight.grad is not None and weight.grad.dtype == dtype
    close = 2e-2 if low == torch.bfloat16 else 1e-12
    for one, two in zip(*grads, strict=True):
        assert (one.double() - two).abs().max() < close * two.abs().max()


def test_rows_that_do_not_count_change_nothing_but_predictions(tmp_path: Path) -> None:
    """The losses of a batch with rows that only fill it up are those of the others; predictions are of all."""
    from .llm_trainers import batch_of, make

    for objective, given in ((ea.DPO(LAM), {}), (ea.EXPO(LAM), {"regulariser_estimator": "own_responses"})):
        trainer = make(objective, tmp_path, ref_model=tiny.llama(1) if objective.name == "dpo" else None, **given)
        own = batch_of(trainer)
        rows = len(own["rows"])
        kept = [row for row in range(rows) if row % 3 != 1]
        counted = torch.tensor([row in kept for row in range(rows)])
        whole, part = (
            trainer.engine.losses(trainer.model, one, at_start=False) for one in (own, own | {"counted": counted})
        )
        torch.testing.assert_close(part.pairs(0.5), whole.pairs(0.5)[kept])
        assert part.predictions()["policy_chosen_logps"].tolist() == whole.predictions()["policy_chosen_logps"].tolist()
        mean, count = part.metrics()["loss/preference"]
        assert count == len(kept) and mean.item() == pytest.approx(whole.preference[kept].sum().item())
