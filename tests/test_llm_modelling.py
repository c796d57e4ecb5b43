"""What fits together before anything is trained: models, tokenizers, adapters and settings, each part by itself."""

from __future__ import annotations

import copy
import dataclasses
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

import expo_analysis as ea

from . import llm_architectures
from . import llm_models as tiny

from peft import LoraConfig  # isort: skip
from transformers import AutoProcessor, PreTrainedTokenizerBase  # isort: skip
from expo_analysis.llm.training import PreferenceConfig  # isort: skip (needs llm_models' environment)
from expo_analysis.llm.training import modelling, policies, setup  # isort: skip
from expo_analysis.llm.training.accepted import PREFIXES  # isort: skip
from expo_analysis.llm.training.objectives import Mixture, make_mixture  # isort: skip
from expo_analysis.llm.training.reference import ReferencePolicy, copy_of, prepare  # isort: skip
from expo_analysis.llm.training.step import Rules  # isort: skip

from .llm_trainers import make  # isort: skip

LAM = 0.3


def config(**given: Any) -> PreferenceConfig:
    return PreferenceConfig(**tiny.settings(Path("out"), **given))


# ------------------------------------------------------------------------------------------------------------- settings


def test_settings_are_accepted_up_to_the_ends_of_their_ranges() -> None:
    for name in ("ld_alpha", "ref_model_mixup_alpha"):  # shares
        for value in (0, 0.5, 1):
            assert getattr(config(**{name: value}), name) == value
        for value in (-0.5, -1e-9, 1 + 1e-9, 2):
            with pytest.raises(ValueError, match=f"^{name} must be a number in"):
                config(**{name: value})
    for name in ("token_chunk_size", "ref_model_sync_steps", "max_length", "pad_to_multiple_of"):
        assert getattr(config(**{name: 1}), name) == 1
        for value in (0, -1, 1.0, True):
            with pytest.raises(ValueError, match=f"^{name} must be a positive integer"):
                config(**{name: value})
        if name in ("max_length", "pad_to_multiple_of"):
            assert getattr(config(**{name: None}), name) is None
        else:
            with pytest.raises(ValueError, match=f"^{name} must be a positive integer, got None"):
                config(**{name: None})
    assert config(router_aux_loss_coef=0.0).router_aux_loss_coef == 0
    with pytest.raises(ValueError, match="router_aux_loss_coef"):
        config(router_aux_loss_coef=-1e-9)
    for prefix in PREFIXES:
        assert config(token_prefixes=prefix).token_prefixes == prefix
    # which of two ways to the reference's numbers is asked for, if any
    for columns, stored in ((False, False), (True, False), (False, True)):
        assert config(use_ref_columns=columns, precompute_ref_log_probs=stored).use_ref_columns == columns


def test_mappings_are_json_or_mappings_or_left_out() -> None:
    assert config(model_init_kwargs='{"revision": "a"}').model_init_kwargs == {"revision": "a"}
    assert config(model_init_kwargs={"revision": "a"}).model_init_kwargs == {"revision": "a"}
    assert config().model_init_kwargs is None and config(model_init_kwargs="null").model_init_kwargs is None
    for bad in ("[1]", "3", [1]):
        with pytest.raises(ValueError, match="model_init_kwargs must be a mapping"):
            config(model_init_kwargs=bad)


def test_a_list_of_one_is_that_one_and_loggers_are_told_texts() -> None:
    assert config(objective=["dpo"], aggregation=["mean"]).objective == "dpo"
    assert config(objective=["dpo"], aggregation=["mean"]).aggregation == "mean"
    two = config(objective=["dpo", "ipo"], aggregation=["sum", "mean"])
    assert (two.objective, two.aggregation) == (["dpo", "ipo"], ["sum", "mean"])
    assert two.to_dict()["objective"] == ["dpo", "ipo"] and config(objective="dpo").to_dict()["objective"] == "dpo"
    own: Any = ea.DPO(LAM)
    assert config(objective=own).to_dict()["objective"] == [repr(own)]
    assert config(objective=[own, "ipo"]).to_dict()["objective"] == [repr(own), "ipo"]
    assert config().to_dict()["objective"] is None


def test_bfloat16_is_chosen_where_an_accelerator_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on a Mac's, nor where the CPU or float16 is asked for; what is set stays."""

    def chosen(device: str | None, **given: Any) -> tuple[bool, bool]:
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: device is not None)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(device or "meta"))
        made: Any = SimpleNamespace(**{"use_cpu": False, "bf16": None, "fp16": False} | given)
        PreferenceConfig._choose_device(made)
        return made.use_cpu, made.bf16

    assert chosen("cuda") == (False, True) and chosen("mps") == (False, False) and chosen(None) == (True, False)
    assert chosen("cuda", use_cpu=True) == (True, False) and chosen("cuda", fp16=True) == (False, False)
    assert chosen("cuda", bf16=False) == (False, False) and chosen(None, bf16=True) == (True, True)


def test_settings_of_a_trainers_own_are_named_after_its_model() -> None:
    for model, name in (("org/some-model/", "some-model"), (SimpleNamespace(config=SimpleNamespace()), "model")):
        assert setup.own_args(None, model).output_dir == f"{name}-preference"
    here = SimpleNamespace(config=SimpleNamespace(_name_or_path="a/b"))
    assert setup.own_args(None, here).output_dir == "b-preference"
    given = config()
    made = setup.own_args(given, here)
    # what a trainer changes is its own: one process that cut batches up by rows would part pairs
    assert made is not given and made.accelerator_config is not given.accelerator_config
    assert made.accelerator_config.dispatch_batches is False and given.accelerator_config.dispatch_batches is None
    with pytest.raises(TypeError, match=r"got SimpleNamespace; PreferenceConfig.from_trl\(args\) makes one of it"):
        setup.own_args(SimpleNamespace(loss_type="ipo"), here)
    with pytest.raises(TypeError, match=r"got SimpleNamespace$"):
        setup.own_args(SimpleNamespace(), here)


# -------------------------------------------------------------------------------------------- objectives and references


def test_what_is_said_of_a_reference_point_is_true_of_it() -> None:
    for objective, words in (
        (ea.KTO(LAM), "it is not estimated from the batch"),
        (ea.BCO(LAM), "as TRL has it"),
        (ea.KTO(LAM, reference_point=1.0), None),
        (ea.BCO(LAM, reference_point=-1.0), None),
        (ea.DPO(LAM), None),
    ):
        notes = make_mixture(objective, None).notes
        assert len(notes) == (words is not None) and (words is None or words in notes[0])
        assert make_mixture(objective, "sum").notes == ()


def test_a_mixture_is_called_by_its_parts_and_weights() -> None:
    assert str(make_mixture(ea.DPO(0.1), None)) == str(make_mixture([(1.0, ea.DPO(0.1))], None))
    assert not str(make_mixture(ea.DPO(0.1), None)).startswith("1 ")
    assert str(make_mixture([(2.0, ea.DPO(0.1))], None)).startswith("2 DPO(")
    two = str(make_mixture([ea.DPO(0.1), (0.5, ea.SFT(1.0))], None))
    assert two.startswith("1 DPO(") and " + 0.5 SFT(" in two
    long = SimpleNamespace(x="y" * 150)
    for thing, shown in ((long, repr(long)), (SimpleNamespace(x="y" * 300), "a SimpleNamespace")):
        with pytest.raises(TypeError, match="must be a loss of pairs") as caught:
            make_mixture(thing, None)
        assert f"got {shown}" in str(caught.value) and "RLHF" not in str(caught.value)


def rules(mixture: Mixture, estimator: str | None = None) -> Rules:
    return setup.make_rules(mixture, config(regulariser_estimator=estimator))


def test_references_that_nothing_reads_or_that_are_asked_for_twice_are_refused() -> None:
    reads, own = rules(make_mixture(ea.DPO(LAM), None)), rules(make_mixture(ea.EXPO(LAM), None), "own_responses")
    wise = rules(make_mixture(ea.EXPO(LAM), None))
    model, other = object(), object()
    assert reads.reads_reference and wise.reads_reference and not own.reads_reference
    for which, ref, given, words in (
        (own, other, {}, "ref_model is not used by EXPO"),
        (own, None, {"sync_ref_model": True}, "sync_ref_model is not used by EXPO"),
        (reads, model, {}, "ref_model must be another object than model"),
        (reads, other, {"use_ref_columns": True}, "ref_model is not used with use_ref_columns"),
        (wise, None, {"use_ref_columns": True}, "use_ref_columns is not used by the estimator token_kl"),
        (wise, None, {"precompute_ref_log_probs": True}, "precompute_ref_log_probs is not used by the estimator"),
        (reads, None, {"sync_ref_model": True, "use_ref_columns": True}, "sync_ref_model is not used with use_ref"),
        (reads, other, {}, None),
        (reads, None, {"sync_ref_model": True}, None),
        (reads, None, {"use_ref_columns": True}, None),
        (own, other, {"precompute_ref_log_probs": True}, None),  # whose numbers are logged
        (own, None, {}, None),
        (wise, other, {}, None),
    ):
        if words is None:
            setup.check_reference(which, ref, config(**given), model)
            continue
        with pytest.raises(ValueError, match=f"^{words}"):
            setup.check_reference(which, ref, config(**given), model)


def test_estimators_belong_to_their_divergences() -> None:
    """KL(pi_ref || pi) has one of its own; others have a token-wise one alone."""
    with pytest.raises(ValueError, match="regulariser_estimator must be 'token_kl' for EXPO"):
        rules(make_mixture(ea.EXPO(LAM), None), "token_divergence")
    assert rules(make_mixture(ea.SPO(LAM), None), "token_divergence").estimator == "token_divergence"
    assert rules(make_mixture(ea.SPO(LAM), None)).estimator == "token_divergence"
    assert rules(make_mixture(ea.EXPO(LAM), None)).estimator == "token_kl"
    for estimator, wise in (("token_kl", True), ("own_responses", False), ("reference_samples", False)):
        assert rules(make_mixture(ea.EXPO(LAM), None), estimator).token_wise == wise


# --------------------------------------------------------------------------------------------------- models, tokenizers


def model_of(size: int) -> Any:
    return SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=size)))


def test_vocabularies_fit_where_the_model_has_each_token_and_the_reference_the_models() -> None:
    modelling.check_vocabulary(model_of(5), None, range(5))
    modelling.check_vocabulary(model_of(5), model_of(5), range(4))
    modelling.check_vocabulary(model_of(5), object(), range(5))  # a module around a model may say nothing of it
    with pytest.raises(ValueError, match="at most the model's 5 tokens, but it has 6"):
        modelling.check_vocabulary(model_of(5), None, range(6))
    for size in (4, 6):
        with pytest.raises(ValueError, match=f"the model's vocabulary of 5 tokens, but it has {size}"):
            modelling.check_vocabulary(model_of(5), model_of(size), range(4))


def test_learned_positions_are_what_a_config_says_of_them() -> None:
    for said, expected in (
        ({"n_positions": 33}, 33),
        ({"max_position_embeddings": 34}, 34),
        ({"n_positions": 33, "max_position_embeddings": 99}, 33),
        ({"n_positions": None, "max_position_embeddings": 34}, 34),
        ({}, None),
        ({"max_position_embeddings": 34, "rope_theta": 1e4}, None),
        ({"max_position_embeddings": 34, "rope_parameters": {"a": 1}}, None),
        ({"max_position_embeddings": 34, "alibi": True}, None),
        ({"max_position_embeddings": 34, "alibi": False, "rope_scaling": None}, 34),
    ):
        text = SimpleNamespace(**said)
        model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda text=text: text))
        assert modelling.learned_positions(model, None) == expected, said


class Loaded:
    """In the place of a class of transformers."""

    given: dict[str, Any]

    @classmethod
    def from_pretrained(cls, name: str, output_loading_info: bool = False, **given: Any) -> Any:
        cls.given = given
        return (cls, {"missing_keys": set()}) if output_loading_info else cls


def loader(monkeypatch: pytest.MonkeyPatch, **config: Any) -> type:
    """A model's own class, which its config names, beside that of any causal language model."""
    own, any_model = type("Own", (Loaded,), {}), type("AnyModel", (Loaded,), {})
    said = SimpleNamespace(**{"architectures": ["NoClass", "Own"], "auto_map": None} | config)
    monkeypatch.setattr(modelling, "_config", lambda name, args: said)
    monkeypatch.setattr(modelling.transformers, "Own", own, raising=False)
    monkeypatch.setattr(modelling, "AutoModelForCausalLM", any_model)
    return any_model


def arguments(**given: Any) -> Any:
    usual = {"trust_remote_code": False, "model_init_kwargs": None, "parallel_mode": SimpleNamespace(value="none")}
    return SimpleNamespace(**usual | {"fsdp": None} | given)


def test_a_model_is_loaded_by_the_class_that_its_config_names(monkeypatch: pytest.MonkeyPatch) -> None:
    any_model = loader(monkeypatch)
    assert modelling.load("m", arguments()).__name__ == "Own"
    assert modelling.load("m", arguments(trust_remote_code=True)).__name__ == "Own"
    loader(monkeypatch, auto_map={"AutoModelForCausalLM": "x"})
    assert modelling.load("m", arguments()).__name__ == "Own"
    # whose code comes with it
    assert modelling.load("m", arguments(trust_remote_code=True)).__name__ == "AnyModel"
    any_model = loader(monkeypatch, architectures=None)
    assert modelling.load("m", arguments()) is any_model


def test_dtype_device_and_quantisation_of_a_model_that_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loader(monkeypatch)

    def given(quantization: Any = None, **settings: Any) -> dict[str, Any]:
        found: dict[str, Any] = modelling.load("m", arguments(**settings), quantization).given
        return found

    assert given() == {"dtype": torch.float32, "trust_remote_code": False}
    for said, dtype in (("bfloat16", torch.bfloat16), ("auto", "auto"), (torch.float16, torch.float16)):
        assert given(model_init_kwargs={"dtype": said})["dtype"] == dtype
    for bad in ("float33", "nn", "abs"):
        with pytest.raises(
            ValueError, match=f"dtype in model_init_kwargs must be a dtype of torch or 'auto', got '{bad}"
        ):
            given(model_init_kwargs={"dtype": bad})
    four = object()
    assert given(four)["quantization_config"] is four and "device_map" not in given()
    with pytest.raises(ValueError, match="quantization_config must be given once"):
        given(four, model_init_kwargs={"quantization_config": four})
    # of several processes each has the model on a device of its own, whatever is asked for
    alone = {"device_map": "auto"}
    assert given(model_init_kwargs=alone)["device_map"] == "auto"
    shared = SimpleNamespace(value="distributed")
    assert given(model_init_kwargs=alone, parallel_mode=shared)["device_map"] is None


def test_a_revision_is_the_adapters_and_not_its_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, configuration and tokenizer of an adapter come from its base, as that is now."""
    seen: list[tuple[str, Any]] = []

    def read(name: str, **given: Any) -> Any:
        seen.append((name, given.get("revision")))
        return tiny.tokenizer()

    for kind in (AutoProcessor, modelling.AutoConfig):
        monkeypatch.setattr(kind, "from_pretrained", read)
    monkeypatch.setattr(modelling, "adapter_base", {"adapter": "base"}.get)
    monkeypatch.setattr(modelling, "folder_of_tokenizer", lambda name: {"adapter": "base"}.get(name, name))
    monkeypatch.setattr(modelling, "with_adapter", lambda model, name, **how: (model, name, how))
    args = arguments(model_init_kwargs={"revision": "r"})
    for name in ("adapter", "m"):
        modelling.load_processing_class(name, args)
        modelling._config(name, args)
    assert seen == [("base", None), ("base", None), ("m", "r"), ("m", "r")]
    loader(monkeypatch)
    assert modelling.load("m", args).given["revision"] == "r"
    model, name, how = modelling.load("adapter", args)
    assert name == "adapter" and how == {"is_trainable": True, "autocast_adapter_dtype": True}
    assert "revision" not in model.given
    monkeypatch.setattr(modelling, "is_deepspeed_zero3_enabled", lambda: True)
    assert modelling.load("adapter", args)[2] == {"is_trainable": True, "autocast_adapter_dtype": False}


def test_a_processor_is_taken_only_where_it_has_a_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny.tokenizer()
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(modelling, "AutoTokenizer", SimpleNamespace(from_pretrained=lambda name, **k: seen.append(k)))
    sees, hears = SimpleNamespace(tokenizer=tokenizer), SimpleNamespace(feature_extractor=1)
    for found, taken in ((tokenizer, True), (sees, True), (hears, False), (OSError("none"), False)):

        def read(name: str, found: Any = found, **given: Any) -> Any:
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(AutoProcessor, "from_pretrained", read)
        args = arguments(model_init_kwargs={"revision": "r", "dtype": "auto"})
        assert (modelling.load_processing_class("m", args) is found) == taken
    assert seen == [{"trust_remote_code": False, "revision": "r"}] * 2
    assert modelling.tokenizer_of(sees) is tokenizer is modelling.tokenizer_of(tokenizer)
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    with pytest.raises(TypeError, match="processing_class must be a tokenizer, or have one, got SimpleNamespace"):
        modelling.tokenizer_of(hears)


# ------------------------------------------------------------------------------------------------------------- adapters


def test_adapters_are_added_once_by_a_config_of_peft() -> None:
    args = arguments()
    with pytest.raises(TypeError, match="peft_config must be a configuration of PEFT, such as LoraConfig, got dict"):
        modelling.add_adapter(tiny.llama(), {"r": 2}, args)
    lora = LoraConfig(r=2, target_modules=["q_proj"])
    made, same = modelling.add_adapter(tiny.llama(), lora, args)
    assert same and modelling.is_peft(made) and not modelling.is_peft(tiny.llama())
    by_name = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="gaussian")
    assert not modelling.add_adapter(tiny.llama(), by_name, arguments())[1]  # which may begin elsewhere than at nothing
    with pytest.raises(ValueError, match="peft_config must be left out for a model that has an adapter already"):
        modelling.add_adapter(made, lora, args)
    half: tuple[Any, ...] = (SimpleNamespace(peft_config={}), SimpleNamespace(get_base_model=lambda: None))
    assert not any(map(modelling.is_peft, half))  # transformers' own adapters have the former
    with torch.device("meta"):
        far = tiny.llama()
    assert modelling._sums(next(far.parameters())) == modelling._sums(next(tiny.llama().to("meta").parameters()))


def test_two_sums_of_a_parameter_tell_changes_that_one_does_not() -> None:
    """Moving numbers about changes the second, and adding to some what others lose."""
    before = torch.arange(50.0)
    swapped, shifted = before.clone(), before.clone()
    swapped[[7, 8]] = before[[8, 7]]
    shifted[14] += 1
    assert modelling._sums(before) == modelling._sums(before.clone())
    assert modelling._sums(before) not in (modelling._sums(swapped), modelling._sums(shifted))


def test_zero_3_gathers_adapters_of_one_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    import peft

    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(peft, "get_peft_model", lambda model, config, **more: seen.append(more) or model)
    lora = LoraConfig(r=2, target_modules=["q_proj"])
    for stage in (None, 2, 3):
        plugin = None if stage is None else SimpleNamespace(zero_stage=stage)
        modelling.add_adapter(tiny.llama(), lora, arguments(deepspeed_plugin=plugin))
    assert seen == [{}, {}, {"autocast_adapter_dtype": False}]


def test_adapters_beside_quantised_weights_are_in_bfloat16() -> None:
    """But for DoRA's magnitudes, and weights that are not trained; an input's gradient is for checkpointed layers."""

    class Quantised(torch.nn.Module):
        def __init__(self, **said: bool) -> None:
            super().__init__()
            for name in ("lora_A", "lora_magnitude_vector", "base"):
                self.register_parameter(name, torch.nn.Parameter(torch.ones(2), requires_grad=name != "base"))
            vars(self).update(said)
            self.asked, self.peft_config = 0, {}

        def get_base_model(self) -> Any:  # by which PEFT's models are known
            return self

        def enable_input_require_grads(self) -> None:
            self.asked += 1

    for said, dtype in (
        ({}, torch.float32),
        ({"is_loaded_in_4bit": True}, torch.bfloat16),
        ({"is_loaded_in_8bit": True}, torch.bfloat16),
        ({"is_loaded_in_4bit": False}, torch.float32),
    ):
        for checkpointing in (False, True):
            model = Quantised(**said)
            modelling.prepare_to_train(model, SimpleNamespace(gradient_checkpointing=checkpointing))
            kinds = {name: parameter.dtype for name, parameter in model.named_parameters()}
            assert kinds == {"lora_A": dtype, "lora_magnitude_vector": torch.float32, "base": torch.float32}
            assert model.asked == checkpointing


def test_a_model_of_which_nothing_is_trained_is_refused() -> None:
    """Training would go on, and change nothing; one number that is trained is enough, and so is an adapter."""
    model, args = tiny.llama(), SimpleNamespace(gradient_checkpointing=True)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="model has nothing to train: none of its parameters requires a gradient"):
        modelling.prepare_to_train(model, args)
    model.model.norm.weight.requires_grad_()
    modelling.prepare_to_train(model, args)
    model.requires_grad_(False)
    adapted, _ = modelling.add_adapter(model, LoraConfig(r=2, target_modules=["q_proj"]), arguments())
    modelling.prepare_to_train(adapted, args)


def test_the_routers_weight_is_the_models_own_unless_another_is_given() -> None:
    def weight(given: float | None, **said: Any) -> float:
        text = SimpleNamespace(**said)
        model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text))
        return modelling.router_coefficient(model, SimpleNamespace(router_aux_loss_coef=given))

    experts = {"output_router_logits": False, "router_aux_loss_coef": 0.25}
    assert weight(None, **experts) == 0.25 and weight(0.5, **experts) == 0.5 and weight(0.0, **experts) == 0
    assert weight(None, output_router_logits=False) == 0 and weight(None) == 0 == weight(0.0)
    assert weight(None, router_aux_loss_coef=0.25) == 0  # of a model that returns no router's logits
    with pytest.raises(ValueError, match="router_aux_loss_coef is not used by SimpleNamespace"):
        weight(0.5)


def test_dropout_is_switched_off_in_modules_and_where_layers_keep_a_number() -> None:
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention_dropout, self.dropped, self.drops, self.rate = 0.3, True, 2, 0.5
            kinds = (torch.nn.Dropout, torch.nn.Dropout1d, torch.nn.Dropout2d, torch.nn.Dropout3d)
            self.inner = torch.nn.ModuleList([kind(0.4) for kind in (*kinds, torch.nn.AlphaDropout)])

    layer = Layer()
    modelling.disable_dropout(layer)
    assert all(one.p == 0 for one in layer.inner) and layer.attention_dropout == 0
    assert (layer.dropped, layer.drops, layer.rate) == (True, 2, 0.5)


# --------------------------------------------------------------------------------- references in parts, played by stubs


@pytest.fixture
def deepspeed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """A DeepSpeed that notes what it is asked for."""
    noted: list[tuple[str, Any]] = []

    class Within:
        def __init__(self, name: str, given: Any) -> None:
            self.name, self.given = name, given

        def __enter__(self) -> None:
            noted.append((self.name, self.given))

        def __exit__(self, *error: Any) -> None:
            noted.append((f"after {self.name}", None))

    def initialize(model: Any, config: Any) -> tuple[Any, ...]:
        noted.append(("initialize", config))
        return SimpleNamespace(module=model, eval=lambda: noted.append(("eval", None))), None, None, None

    def gathered(parameters: Any, modifier_rank: int | None = None) -> Within:
        return Within(f"gathered by {modifier_rank}", parameters)

    module: Any = ModuleType("deepspeed")
    module.initialize = initialize
    module.zero = SimpleNamespace(GatheredParameters=gathered, Init=lambda enabled: Within("init", enabled))
    monkeypatch.setitem(sys.modules, "deepspeed", module)
    return noted


def test_a_reference_under_deepspeed_has_no_optimiser_and_is_in_parts_under_stage_3(
    deepspeed: list[tuple[str, Any]],
) -> None:
    """Lower stages share what training adds to the weights, which a reference has not."""
    model = tiny.llama()
    for stage, kept in ((1, 0), (2, 0), (3, 3)):
        deepspeed.clear()
        own = {"optimizer": 1, "scheduler": 2, "bf16": {"enabled": True}}
        own["zero_optimization"] = {"stage": stage, "offload_optimizer": 1, "offload_param": 2}
        before = copy.deepcopy(own)
        state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(deepspeed_config=own))
        prepared = prepare(model, SimpleNamespace(distributed_type="DistributedType.DEEPSPEED", state=state))
        zero = {"stage": kept, "offload_param": 2}
        assert deepspeed == [("initialize", {"bf16": {"enabled": True}, "zero_optimization": zero}), ("eval", None)]
        assert prepared.module is model and own == before  # the policy's own settings are left alone


def test_a_copy_under_zero_3_is_made_of_gathered_weights(
    deepspeed: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from expo_analysis.llm.training import reference

    monkeypatch.setattr(reference, "is_deepspeed_zero3_enabled", lambda: True)
    model = tiny.llama(3).double()
    copied = copy_of(model, share=True)
    assert [name for name, _ in deepspeed] == ["gathered by None", "after gathered by None", "init", "after init"]
    assert deepspeed[2][1] is False and len(deepspeed[0][1]) == len(list(model.parameters()))
    assert copied.dtype == torch.float64 and not copied.training
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    for mine, theirs in zip(model.parameters(), copied.parameters(), strict=True):
        assert torch.equal(mine, theirs) and mine.data_ptr() != theirs.data_ptr()
    with reference._gathered_for_writing([1, 2]):
        pass
    assert deepspeed[-2:] == [("gathered by 0", [1, 2]), ("after gathered by 0", None)]


def test_a_reference_under_fsdp_is_in_parts_as_the_policy_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.distributed.fsdp as fsdp

    seen: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(fsdp, "fully_shard", lambda model, **how: seen.append((model, how)))
    monkeypatch.setattr(fsdp, "FullyShardedDataParallel", lambda model, **how: seen.append((model, how)) or model)
    model, precision = tiny.llama().train(), object()
    second = SimpleNamespace(fsdp_version=2, reshard_after_forward=1, mixed_precision_policy=precision)
    kind = {"distributed_type": "DistributedType.FSDP", "device": "cpu"}
    assert prepare(model, SimpleNamespace(**kind, state=SimpleNamespace(fsdp_plugin=second))) is model
    assert seen.pop() == (model, {"reshard_after_forward": True, "mp_policy": precision}) and not model.training
    second.mixed_precision_policy = None
    prepare(model, SimpleNamespace(**kind, state=SimpleNamespace(fsdp_plugin=second)))
    assert seen.pop()[1]["mp_policy"] == fsdp.MixedPrecisionPolicy()
    first: Any = SimpleNamespace(
        sharding_strategy="full", reshard_after_forward="other", cpu_offload=1, auto_wrap_policy=None,
        mixed_precision_policy=precision, use_orig_params=True,
    )  # fmt: skip
    first.set_auto_wrap_policy = lambda model: setattr(first, "auto_wrap_policy", "layers")
    model.train()
    prepare(model, SimpleNamespace(**kind, state=SimpleNamespace(fsdp_plugin=first)))
    wrapped, how = seen.pop()
    assert wrapped is model and not model.training and how == {
        "sharding_strategy": "full", "cpu_offload": 1, "auto_wrap_policy": "layers", "mixed_precision": precision,
        "use_orig_params": True, "device_id": "cpu",
    }  # fmt: skip
    first.sharding_strategy = None
    prepare(model, SimpleNamespace(**kind, state=SimpleNamespace(fsdp_plugin=first)))
    assert seen.pop()[1]["sharding_strategy"] == "other"


def test_models_that_are_placed_stay_where_they_are() -> None:
    class Model:
        moved = False

        def to(self, device: str) -> Model:
            self.moved = device == "there"
            return self

    for said, moves in (
        ({}, True),
        ({"hf_device_map": None, "is_quantized": False}, True),
        ({"hf_device_map": {"": 0}}, False),
        ({"is_quantized": True}, False),
    ):
        model = Model()
        vars(model).update(said)
        prepare(model, SimpleNamespace(distributed_type="DistributedType.NO", device="there"))
        assert model.moved == moves


def test_a_copy_shares_what_is_not_trained_unless_that_is_moved() -> None:
    model = tiny.llama()
    model.lm_head.weight.requires_grad_(False)
    for share in (True, False):
        copied = copy_of(model, share=share)
        assert (copied.lm_head.weight is model.lm_head.weight) == share
        assert copied.model.norm.weight is not model.model.norm.weight
    with pytest.raises(ValueError, match="the reference is a copy of the model, whose weights are in another process"):
        copy_of(model.to("meta"), share=True)


def test_a_given_reference_is_the_only_one_that_is_not_derived() -> None:
    kinds = ("given", "copy", "adapter off", "first adapter")
    assert [ReferencePolicy(kind).derived for kind in kinds] == [False, True, True, True]


def test_only_full_trainings_move_a_copied_reference(tmp_path: Path) -> None:
    which = rules(make_mixture(ea.DPO(LAM), None))

    def made(model: Any = None, ref: Any = None, peft: Any = None, quantization: Any = None, **given: Any) -> Any:
        args = config(**given)
        return policies.make_models(which, args, model or tiny.llama(), ref, range(43), peft, quantization)

    lora = LoraConfig(r=2, target_modules=["q_proj"])
    with pytest.raises(ValueError, match="sync_ref_model is not used with an adapter, whose reference is no model of"):
        made(peft=lora, sync_ref_model=True)
    with pytest.raises(ValueError, match="quantization_config is not used by a model that is in memory already"):
        made(quantization=object())
    pissa = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa")
    with pytest.raises(ValueError, match=r"sync_ref_model is not used with an adapter, whose reference is no model of"):
        made(peft=pissa, sync_ref_model=True)
    moving = made(sync_ref_model=True).reference
    assert moving.kind == "copy" and moving.model is not None
    assert made(peft=lora).reference == ReferencePolicy("adapter off")
    assert made(peft=pissa).reference == ReferencePolicy("first adapter", adapter="ref")
    assert made(use_ref_columns=True).reference is None
    # before training the model answers for itself; under FSDP it is in parts only then
    assert made(precompute_ref_log_probs=True).reference == ReferencePolicy("copy")
    other = tiny.llama(1)
    assert made(ref=other).reference.model is other and not other.training
    assert not any(parameter.requires_grad for parameter in other.parameters())
    # a hash of the weights is made where something is kept that belongs to them
    weights = [made(save_strategy=how).weights for how in ("no", "steps")]
    assert made(save_strategy="epoch").weights == weights[1]
    stored = made(precompute_ref_log_probs=True).weights
    assert weights[0] == "" != weights[1] == stored


def test_settings_of_a_batchs_loss_are_those_of_the_config() -> None:
    mixture = make_mixture(ea.EXPO(LAM), None)
    given = {"ld_alpha": 0.25, "use_weighting": True, "token_chunk_size": 7, "token_prefixes": "reference_samples"}
    made = setup.make_rules(mixture, config(**given))
    assert (made.ld_alpha, made.use_weighting, made.chunk, made.on_samples) == (0.25, True, 7, True)
    assert made.uses_samples and not setup.make_rules(mixture, config()).uses_samples
    assert setup.make_rules(mixture, config(regulariser_estimator="reference_samples")).uses_samples
    plain = setup.make_rules(mixture, config())
    assert dataclasses.replace(plain, ld_alpha=0.25, use_weighting=True, chunk=7, on_samples=True) == made
    with pytest.raises(ValueError, match="use_weighting is not used by a loss that couples pairs"):
        setup.make_rules(make_mixture(ea.AOT(LAM), None), config(use_weighting=True))


def test_unused_parameters_are_looked_for_where_texts_leave_some() -> None:
    """A model that sees has eyes without gradients; what is asked for stays."""
    which = rules(make_mixture(ea.EXPO(LAM), None), "own_responses")
    for sees in (False, True):
        for asked in (None, False, True):
            model = tiny.llama()
            if sees:
                text = copy.copy(model.config)
                vars(model.config)["get_text_config"] = lambda text=text, **how: text
            args = config()
            args.ddp_find_unused_parameters = asked
            policies.make_models(which, args, model, None, range(43), None, None)
            assert args.ddp_find_unused_parameters == (True if sees and asked is None else asked)


def test_weights_in_parts_are_gathered_to_be_hashed_and_to_give_a_reference(
    deepspeed: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under ZeRO-3 a plain head's weight is caught in its own forward pass; any other gives its logits."""
    from expo_analysis.llm.training import head, identity

    model = tiny.llama(0)
    plain = identity.weights_fingerprint(model)
    for module in (head, identity):
        monkeypatch.setattr(module, "is_deepspeed_zero3_enabled", lambda: True)
    assert identity.weights_fingerprint(model) == plain and not deepspeed
    model.lm_head.weight.ds_id = 1
    assert identity.weights_fingerprint(model) == plain
    assert deepspeed[0][0] == "gathered by None" and deepspeed[0][1][0] is model.lm_head.weight
    assert {way.kind for way in head.candidates(model)} == {"module", "logits"}
    states, ask = torch.randn(3, 16), head.Ask(head.Way("module", 2.0), as_reference=True)
    kept = head._from_states(model, states, torch.zeros(3, dtype=torch.long), ask)
    assert kept.logits is None and torch.equal(kept.head.weight, model.lm_head.weight) and kept.head.scale == 2
    model.lm_head = torch.nn.Sequential(model.lm_head)
    made = head._from_states(model, states, torch.zeros(3, dtype=torch.long), ask)
    assert made.head is None and torch.allclose(made.logits, kept.part(slice(None)))


def test_transformers_is_told_that_a_step_is_divided_by_its_pairs_here(tmp_path: Path) -> None:
    """Under both names that it has had for this: it would divide by the number of micro-batches once more."""
    trainer = make(ea.DPO(LAM), tmp_path)
    assert trainer.model_accepts_loss_kwargs is trainer.loss_is_scaled_for_ga is True


def test_batches_are_filled_up_with_the_tokenizers_own_token_or_its_end(tmp_path: Path) -> None:
    own, none = tiny.tokenizer(), tiny.tokenizer()
    none.pad_token = None
    for tokenizer, token in ((own, own.pad_token_id), (none, none.eos_token_id)):
        trainer = make(ea.DPO(LAM), tmp_path, processing_class=tokenizer)
        assert trainer.data_collator.pad_token_id == trainer.rules.pad_token_id == token
    assert own.pad_token_id != own.eos_token_id


def test_arguments_can_be_named() -> None:
    """None of the room's functions and methods takes one by its place alone."""
    import importlib
    import inspect
    import pkgutil

    import expo_analysis.llm as room

    seen = 0
    for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
        own = importlib.import_module(module.name)
        owners: list[Any] = [own, *(kind for kind in vars(own).values() if isinstance(kind, type))]
        for owner in owners:
            for made in vars(owner).values():
                function = made.__func__ if isinstance(made, classmethod | staticmethod) else made
                if inspect.isfunction(function) and function.__module__ == module.name:
                    kinds = {one.kind for one in inspect.signature(function).parameters.values()}
                    assert inspect.Parameter.POSITIONAL_ONLY not in kinds, function
                    seen += 1
    assert seen > 300


# ----------------------------------------------------------------------------------------------- what is no such model


def test_what_is_no_causal_model_is_refused_by_name(tmp_path: Path) -> None:
    """An encoder beside it, a model that sees what it predicts, one without a head, one of classes, broken weights."""
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    size |= {"vocab_size": len(tiny.WORDS) + 3, "pad_token_id": 0}
    t5 = transformers.T5Config(
        **{"vocab_size": size["vocab_size"], "d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    )
    broken = tiny.llama(0)
    with torch.no_grad():
        broken.lm_head.weight[0, 0] = float("nan")
    for model, message in (
        (
            transformers.T5ForConditionalGeneration(t5),
            "model T5ForConditionalGeneration has an encoder beside its decod",
        ),
        (
            transformers.BertForMaskedLM(transformers.BertConfig(**size)),
            "model BertForMaskedLM sees the tokens that it",
        ),
        (
            transformers.LlamaModel(transformers.LlamaConfig(**size)),
            "model LlamaModel has no logits of next tokens, so",
        ),
        (
            transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**size)),
            "model LlamaForSequenceClassification has no logits of next tokens",
        ),
        (broken, "model LlamaForCausalLM gives log-probabilities that are not finite on its first batch"),
    ):
        with pytest.raises(ValueError, match=message):
            make(ea.SimPO(0.1), tmp_path, model=model).train()


@pytest.mark.parametrize("name", ["OpenAIGPTLMHeadModel", "CTRLLMHeadModel"])
def test_a_model_that_keeps_all_activations_trains(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whether they are computed anew changes no number: the default is no reason to refuse it."""
    trainer = make(ea.DPO(LAM), tmp_path, model=llm_architectures.build(name), gradient_checkpointing=True, max_steps=1)
    assert f"gradient_checkpointing has no effect on {name}, which has none" in caplog.text
    trainer.train()
    assert trainer.state.global_step == 1
    make(ea.DPO(LAM), tmp_path, gradient_checkpointing=True)
    assert "LlamaForCausalLM" not in caplog.text


def test_a_mixture_without_a_router_is_refused_by_name(tmp_path: Path) -> None:
    model = llm_architectures.build("Qwen3MoeForCausalLM", num_hidden_layers=1)
    model.config.mlp_only_layers = [0]  # a family of experts, and no layer that has any
    model = type(model)(model.config)
    with pytest.raises(ValueError, match=r"model Qwen3MoeForCausalLM has no router in any of its layers, .*coef=0"):
        make(ea.DPO(LAM), tmp_path, model=model, max_steps=1, router_aux_loss_coef=0.1).train()
    make(ea.DPO(LAM), tmp_path, model=model, max_steps=1, router_aux_loss_coef=0).train()


def test_a_rate_of_nothing_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(ea.DPO(LAM), tmp_path, learning_rate=0.0)
    assert "learning_rate is 0: no step changes a weight" in caplog.text
