"""Heads, data rooms, logs and evaluation, each between stubs."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea

from . import llm_models as tiny

from expo_analysis.llm import alpaca_eval, evaluation, held_out, run_record  # isort: skip (needs llm_models)
from expo_analysis.llm.data import sampling  # isort: skip
from expo_analysis.llm.data.estimates import estimate  # isort: skip
from expo_analysis.llm.data.feedback import PAIRS  # isort: skip
from expo_analysis.llm.training import chunks, head, identity, logs, precomputed, setup, step  # isort: skip
from expo_analysis.llm.training.links import Links  # isort: skip
from expo_analysis.llm.training.reference import ReferencePolicy  # isort: skip
from expo_analysis.llm.training.regulariser import TokenDivergence, per_response  # isort: skip
from expo_analysis.llm.training.scores import Head, Reference, measure  # isort: skip
from .llm_stubs import LAM, batch, rules

# --------------------------------------------------------------------------------------------------------------- heads


def test_ways_to_logits_begin_with_what_the_config_names() -> None:
    def ways(kind: type = torch.nn.Linear, hook: bool = False, **said: Any) -> list[tuple[str, float, float | None]]:
        made = kind(2, 3) if kind is torch.nn.Linear else torch.nn.Embedding(2, 3)
        if hook:
            made._hf_hook = None
        config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(**said))
        model = SimpleNamespace(get_output_embeddings=lambda: made, config=config, base_model=object())
        return [(way.kind, way.scale, way.cap) for way in head.candidates(model)]

    last = ("logits", 1.0, None)
    assert ways() == [("weight", 1.0, None), ("module", 1.0, None), last]
    assert ways(hook=True) == [("module", 1.0, None), last] == ways(torch.nn.Embedding)
    for same in (0, 1, None, "x"):
        assert ways(logit_scale=same) == ways()
    scaled = ways(logits_scaling=4.0, final_logit_softcapping=30.0)
    assert scaled[:2] == [("weight", 0.25, 30.0), ("weight", 0.25, None)] and scaled[-1] == last
    kinds = {("weight", scale, cap) for scale in (0.25, 4.0, 1.0) for cap in (30.0, None)}
    assert set(scaled[:6]) == kinds and len(scaled) == 13
    for none in (0, -1.0, None, "x"):
        assert ways(logits_soft_cap=none) == ways()
    bare: Any = SimpleNamespace(
        get_output_embeddings=lambda: None, config=SimpleNamespace(get_text_config=lambda: None)
    )
    bare.base_model = object()
    assert head.candidates(bare) == [head.LOGITS]
    own = SimpleNamespace(get_output_embeddings=lambda: 1, config=SimpleNamespace(get_text_config=lambda: None))
    own.base_model = own
    assert head.candidates(own) == [head.LOGITS]


@pytest.mark.parametrize("beside", [False, True])
def test_a_head_by_its_module_is_the_head_by_its_weight(beside: bool) -> None:
    """In parts that are computed again in the backward pass, or in one; also of no token."""
    torch.manual_seed(0)
    states, linear = torch.randn(7, 4, dtype=torch.float64), torch.nn.Linear(4, 9).double()
    targets = torch.randint(9, (7,))
    reference = Reference(logits=torch.randn(7, 9, dtype=torch.float64)) if beside else None
    divergence = TokenDivergence(ea.ForwardKL()) if beside else None
    model = SimpleNamespace(get_output_embeddings=lambda: linear)
    for count, scale in ((7, 0.5), (3, 0.5), (0, 0.5), (7, 2.0), (7, 1.0), (7, -1.0)):
        found = []
        few = None if reference is None else Reference(logits=reference.logits[:count])
        for kind, size in (("weight", 3), ("module", 3), ("module", 7)):
            own = states[:count].clone().requires_grad_(scale != -1)  # weights may be all that is trained
            ask = head.Ask(head.Way(kind, scale, 2.0), size, reference=few, divergence=divergence)
            scores = head._from_states(model, own, targets[:count], ask)
            assert [one.requires_grad for one in scores] == [
                True,
                *[False] * (len(scores) - 1 - beside),
                *[True] * beside,
            ]
            weights = torch.linspace(1, 2, count)
            loss = (scores[0] * weights).sum() + ((scores[-1] * weights).sum() if beside else 0.0)
            found.append(
                [*scores, *torch.autograd.grad(loss, [own] * own.requires_grad + [linear.weight, linear.bias])]
            )
        for other in found[1:]:
            for one, two in zip(found[0], other, strict=True):
                torch.testing.assert_close(one.double(), two.double())


def test_weights_that_are_gathered_for_the_forward_pass_are_caught_in_it() -> None:
    for bias in (True, False):
        linear = torch.nn.Linear(4, 9, bias=bias)
        weight, own = head._gathered(linear, torch.zeros(3, 4))
        assert torch.equal(weight, linear.weight) and weight.data_ptr() != linear.weight.data_ptr()
        assert (own is None) != bias and (own is None or torch.equal(own, linear.bias))
        assert not weight.requires_grad and not linear._forward_pre_hooks


def test_products_are_in_the_wider_dtype_of_states_and_head() -> None:
    torch.manual_seed(0)
    states, weight = torch.randn(5, 4), torch.randn(6, 4, dtype=torch.float64)
    targets = torch.arange(5)
    found = chunks.token_scores(states, Head(weight), targets, size=2)
    expected = measure(states.double() @ weight.T, targets)
    assert found[0].dtype == torch.float64
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two)
    alone = chunks.token_scores(states, Head(weight), targets, None, TokenDivergence(ea.ForwardKL()))
    assert len(alone) == len(found)  # a divergence from nothing is none


def test_outputs_of_tokens_are_without_virtual_ones_in_front() -> None:
    """Adapters of prompts put some there; what is no number of a token stays as it is."""
    made = batch()
    width = made["input_ids"].shape[1]

    def model(**given: Any) -> dict[str, torch.Tensor]:
        assert given["use_cache"] is False and given["labels"].shape == made["input_ids"].shape
        numbers = torch.arange(float(width + 2)).expand(4, width + 2)
        return {"log_probs": numbers, "aux_loss": torch.tensor(5.0)}

    found = step.token_outputs(model, step.plain_rows(made), head.Ask(head.LOGITS))
    assert found["log_probs"][0].tolist() == list(map(float, range(3, width + 2))) and found["aux_loss"] == 5.0
    assert found["log_probs"].shape == (4, width - 1)


def test_pairs_are_weighted_by_the_data_and_by_their_own_probability() -> None:
    """WPO's weight by hand: each response's probability relative to its distributions, per token, of both responses."""
    links = Links.of_batch(batch()).to(torch.device("cpu"))
    mask = batch()["completion_mask"][:, 1:] == 1
    log_probs = -torch.rand(mask.shape, dtype=torch.float64)
    squares = -torch.rand(mask.shape, dtype=torch.float64)
    outputs = {"log_probs": log_probs, "log_sum_squares": squares}
    for use, given in ((False, {}), (True, {}), (True, {"weight": [2.0, 0.5]}), (False, {"weight": [2.0, 0.5]})):
        found = step._weights(rules(ea.DPO(LAM), use_weighting=use), batch(**given), outputs, mask, links)
        assert found[0].tolist() == given.get("weight", [1.0, 1.0])
        for pair in range(2):
            mean = [(log_probs - squares)[row][mask[row]].mean().item() for row in (pair, pair + 2)]
            assert found[1, pair].item() == pytest.approx(math.exp(sum(mean)) if use else 1.0)


def test_estimates_of_the_regulariser_for_one_response() -> None:
    """From own responses and from samples -log pi, which is KL(pi_ref || pi) in expectation but for a constant."""
    numbers = torch.tensor([-1.0, -3.0])
    for estimator in ("own_responses", "reference_samples"):
        assert per_response(estimator, numbers).tolist() == [1.0, 3.0]
    for estimator in ("token_kl", "token_divergence"):
        assert per_response(estimator, -numbers).tolist() == [1.0, 3.0]


# ----------------------------------------------------------------------------------------------------- data rooms, logs


def test_data_sets_are_read_by_name_alone_or_several() -> None:
    class Read(str):
        rows = (1,)

    room: Any = SimpleNamespace(
        known={}, read=lambda name, rows: Read(f"{name}: {rows}"), _check_batches=lambda rows: None
    )
    room.read_all = lambda name, rows: setup.DataRoom.read_all(room, name, rows)
    assert setup.DataRoom.read_all(room, "eval_dataset", None) is None
    assert setup.DataRoom.read_all(room, "eval_dataset", [1]) == "eval_dataset: [1]"
    several = setup.DataRoom.read_all(room, "eval_dataset", {"a": 1, "b": 2})
    assert several == {"a": "eval_dataset['a']: 1", "b": "eval_dataset['b']: 2"}
    with pytest.raises(ValueError, match="train_dataset must be given"):
        setup.DataRoom.read_given(room, {"train_dataset": None})
    assert setup.DataRoom.read_given(room, {"train_dataset": [1], "eval_dataset": None}) == ["train_dataset: [1]", None]
    room.known["a"] = SimpleNamespace(where=lambda number: f"file, row {number}")
    assert setup.DataRoom.place_in(room, "a")(3) == "file, row 3" and setup.DataRoom.place_in(room, "b")(3) == "row 3"
    assert setup.each(None, str) is None and setup.each(3, str) == "3"  # type: ignore[arg-type]
    assert setup.each({"a": 1}, str) == {"a": "1"}  # type: ignore[arg-type]


def test_columns_of_stored_numbers_are_read_only_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logs, "PartialState", lambda: SimpleNamespace(is_main_process=True))
    from expo_analysis.llm.training import PreferenceConfig

    rows = [{"prompt": "w1 ", "chosen": "w2", "rejected": "w3", "more": 1}]
    numbers = {"ref_chosen_logps": -1.0, "ref_rejected_logps": -2.0}

    def read(rows: list[dict[str, Any]], everything: bool = False, **given: Any) -> list[str]:
        args = PreferenceConfig(**tiny.settings(Path("out"), **given))
        room = setup.DataRoom(rules(ea.DPO(LAM)), args, tiny.tokenizer(), None, everything)
        caplog.clear()
        found: list[str] = room.read("train_dataset", rows).rows.column_names
        return found

    with caplog.at_level(logging.WARNING):
        assert not set(numbers) & set(read(rows)) and not caplog.records
        assert not set(numbers) & set(read([rows[0] | numbers]))
        assert "ref_chosen_logps, ref_rejected_logps are not used; use_ref_columns=True takes them" in caplog.text
        assert set(numbers) <= set(read([rows[0] | numbers], use_ref_columns=True)) and not caplog.records
        assert "more" in read(rows, everything=True) and "more" not in read(rows)
    with pytest.raises(ValueError, match="must have the column 'ref_rejected_logps', which use_ref_columns asks for"):
        read([rows[0] | {"ref_chosen_logps": -1.0}], use_ref_columns=True)
    with pytest.raises(ValueError, match="must have the column 'ref_chosen_logps', which use_ref_columns asks for"):
        read(rows, use_ref_columns=True)


def test_the_last_step_is_logged_whoever_stops_the_training() -> None:
    told: list[dict[str, float]] = []
    trainer = SimpleNamespace(sums={}, log=told.append)
    companion = logs.Companion(trainer)
    for reached, stopping, expected in ((3, False, False), (4, False, True), (5, False, True), (2, True, True)):
        control = SimpleNamespace(should_log=False, should_training_stop=stopping)
        companion.on_step_end(None, SimpleNamespace(global_step=reached, max_steps=4), control)
        assert control.should_log == expected
    companion.on_train_end(None, None, None)
    assert told == []
    trainer.sums = {"loss": 1}
    companion.on_train_end(None, None, None)
    assert len(told) == 1 and set(told[0]) == {"loss"}


def test_numbers_are_stored_for_whole_data_sets_before_training() -> None:
    stream = SimpleNamespace(rows=iter([]), name="eval_dataset")
    with pytest.raises(ValueError, match="precompute_ref_log_probs is not used with a stream, and eval_dataset is one"):
        precomputed.precompute(None, stream, 4)
    data = SimpleNamespace(rows=tiny.pairs(2), name="eval_dataset", feedback=PAIRS)
    trainer = SimpleNamespace(
        args=SimpleNamespace(precompute_ref_batch_size=None),
        engine=SimpleNamespace(reference=ReferencePolicy("copy")),
        accelerator=None,
        state=SimpleNamespace(global_step=1),
    )
    with pytest.raises(ValueError, match="eval_dataset has no log-probabilities of the reference, which was the model"):
        precomputed.precompute(trainer, data, 4)


def test_tokens_that_were_seen_are_taken_up_by_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "latest_checkpoint", lambda folder: (tmp_path if folder == "out" else None, []))
    monkeypatch.setattr(identity, "whats_missing", lambda folder: None)
    (tmp_path / identity.IDENTITY_FILE).write_text(json.dumps({"objective": "DPO", "num_tokens": 7}))
    own = identity.Identity("abc", None, ReferencePolicy("copy"))
    monkeypatch.setattr(own, "parts", lambda trainer: {"objective": "DPO"})
    for resumed, seen in ((None, 3), (False, 3), (True, 7), (str(tmp_path), 7)):
        args = SimpleNamespace(output_dir="out", metric_for_best_model=None)
        trainer = SimpleNamespace(args=args, tokens_seen=3)  # no process's own: they count those of all
        assert own.open(trainer, resumed) == (str(tmp_path) if resumed else None)
        assert trainer.tokens_seen == seen
    own.write(trainer, tmp_path, 9)
    assert json.loads((tmp_path / identity.IDENTITY_FILE).read_text()) == {"objective": "DPO", "num_tokens": 9}


def test_parts_of_an_identity_that_are_not_known_are_left_out() -> None:
    def parts(estimator: str | None = None, on_samples: bool = False, data: str = "d", **given: Any) -> dict[str, Any]:
        made = rules(ea.EXPO(LAM), estimator, on_samples=on_samples)
        args = SimpleNamespace(max_length=given.pop("max_length", 8), objective=None)
        fingerprint = SimpleNamespace(fingerprint=data)
        trainer = SimpleNamespace(rules=made, args=args, mixture=made.mixture, data=fingerprint)
        usual = {"weights": "abc", "peft_config": None, "reference": None} | given
        return identity.Identity(**usual).parts(trainer)

    usual = parts()
    assert usual["adapter"] is None and usual["reference"] is None and usual["estimator"] is None
    assert usual["aggregation"] == ["sum"] and usual["model"] == "abc"
    assert usual["weighting"] == {"ld_alpha": None, "use_weighting": False, "router": 0.0}
    assert parts("token_kl")["estimator"] == "token_kl"
    assert parts("token_kl", True)["estimator"] == "token_kl on samples"
    assert "data" not in parts(data="") and "model" not in parts(weights="")
    assert parts(max_length=9)["data"] != usual["data"] != parts(data="e")["data"]
    assert parts(reference=ReferencePolicy("given"))["reference"] == "given"
    adapters = [parts(peft_config=SimpleNamespace(to_dict=lambda r=r: {"r": r}))["adapter"] for r in (1, 1, 2)]
    assert adapters[0] == adapters[1] != adapters[2] and adapters[0] is not None


def test_where_a_run_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {"latest": (None, []), "all": []}
    monkeypatch.setattr(run_record, "latest_checkpoint", lambda folder: found["latest"])
    monkeypatch.setattr(run_record, "checkpoints", lambda folder: found["all"])

    def start(resume: bool = False, overwrite: bool = False, model: str = "org/m") -> tuple[str | None, list[str]]:
        said: list[str] = []
        script = SimpleNamespace(resume=resume, overwrite=overwrite)
        recipe: Any = SimpleNamespace(config=SimpleNamespace(output_dir=str(tmp_path)), script=script, model_name=model)
        return run_record.where_to_start(recipe, said.append), said

    assert start() == (None, [])
    assert start(resume=True) == (None, [f"{tmp_path} has no complete checkpoint: starting afresh"])
    with pytest.raises(ValueError, match="give resume or overwrite, not both"):
        start(resume=True, overwrite=True)
    with pytest.raises(ValueError, match="output_dir must not be the folder of the model that is trained"):
        start(overwrite=True, model=str(tmp_path / "x" / ".."))
    found["latest"] = (tmp_path / "checkpoint-3", ["checkpoint-4: a is missing"])
    lines = ["not resumed from checkpoint-4: a is missing"]  # that it resumes is said once it does
    assert start(resume=True) == (str(tmp_path / "checkpoint-3"), lines)
    found["all"] = [tmp_path / "checkpoint-3"]
    with pytest.raises(ValueError, match="has checkpoints already: give --resume, or --overwrite"):
        start()
    assert start(overwrite=True) == (None, [])
    (tmp_path / "model.safetensors").write_text("")
    assert start(resume=True)[0] is not None and start(overwrite=True)[0] is None
    found["all"], found["latest"] = [], (None, [])
    with pytest.raises(ValueError, match=r"has a model already, model.safetensors"):
        start()
    with pytest.raises(ValueError, match=r"has a model, model.safetensors, and no complete checkpoint"):
        start(resume=True)


# ----------------------------------------------------------------------------------------------- evaluation, AlpacaEval


def test_progress_adds_up_to_all_that_is_sampled_and_compared() -> None:
    """Of two policies: samples of the reference once, then each policy's own, and both sets compared."""
    model, tokenizer = tiny.llama(0).eval(), tiny.tokenizer()
    data = held_out.HeldOut("data", ["w1", "w2 w3", "w4"], [[4], [5, 6], [7]], [])
    settings = evaluation.Settings(sampling.Sampling(2), responses=3, batch_size=4)
    done: list[int] = []
    sampled = evaluation.Reference.of(model, tokenizer, data, settings, None, done.append)
    assert done == [4, 4, 1] and [len(draws) for draws in sampled.draws] == [3, 3, 3] and sampled.rewards is None
    done.clear()
    evaluation.evaluate(model, model, tokenizer, data, settings, sampled=sampled, progress=done.append)
    assert sum(done) == 9 + 9 + 9 and done[-2:] == [9, 9]
    # each policy has the same random numbers for the same prompt and number, whatever comes with it
    few = evaluation.draw_each(model, tokenizer, data.ids[:2], settings.sampling, 2, 64)
    assert [[one.ids for one in own] for own in few] == [[one.ids for one in own[:2]] for own in sampled.draws[:2]]
    for size in (42, 44):
        with pytest.raises(ValueError, match=rf"reference must have the model's vocabulary of 43 tokens, got {size}"):
            sampling.compare(model, tiny.llama(0, size).eval(), [[3]], [[4]])
    with pytest.raises(ValueError, match="zip"):  # samples of other prompts
        evaluation.evaluate(model, model, tokenizer, data.first(2), settings, sampled=sampled)
    with pytest.raises(ValueError, match="zip"):
        sampling.compare(model, model, [[3]], [[4], [5]])
    for shape in ((3,), (2, 2, 2), (0, 2), (2, 0)):
        with pytest.raises(ValueError, match=r"values must be finite and of shape \(prompts, responses\), got shape"):
            estimate(np.zeros(shape))
    assert math.isnan(estimate(np.ones((3, 1))).standard_error) and estimate(np.ones((3, 2))).standard_error == 0


def test_the_alpaca_eval_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(alpaca_eval, "answer", lambda *given: asked.append(given) or [{"output": "größer"}])
    (tmp_path / "in.json").write_text('[{"instruction": "say"}]')
    files = [str(tmp_path / "in.json"), str(tmp_path / "out.json")]
    flags = ["--max_new_tokens", "5", "--temperature", "0.5", "--batch_size", "3", "--seed", "2"]
    assert alpaca_eval.main(["m", *files, *flags]) == 0
    ((model, rows, how, store, size),) = asked
    assert (model, rows, size) == ("m", [{"instruction": "say"}], 3)
    assert how == sampling.Sampling(5, 0.5, seed=2) and store == tmp_path / "out.samples.jsonl"
    assert "größer" in (tmp_path / "out.json").read_text(encoding="utf-8")
    for content, words in (
        ('[{"instruction": " "}]', "row 0, instruction: it must be text, and not empty"),
        ('[{"instruction": "a"}, {"instruction": 3}]', "row 1, instruction"),
        ('[{"other": "a"}]', "row 0, instruction"),
    ):
        (tmp_path / "in.json").write_text(content)
        assert alpaca_eval.main(["m", *files]) == 2
        assert words in capsys.readouterr().err
    assert alpaca_eval.main(["m", str(tmp_path / "none.json"), files[1]]) == 2 and len(asked) == 1
    assert alpaca_eval.main(["m", *files, "--temperature", "0"]) == 2
