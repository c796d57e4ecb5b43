"""What TRL's own tests of its DPO trainer ask for, of ours: the names of the tests are TRL's where there is one.

Its tests of losses, weights and f-divergences are those of test_llm_trl_equality.py; of references and adapters, those
of test_llm_reference.py and test_llm_heads.py; of tags, those of test_llm_card.py. Its tests of images are refused
(docs/llm.md), those of the kernels of Liger and of 4-bit weights need a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import DatasetDict, IterableDatasetDict

import expo_analysis as ea

from . import llm_architectures
from . import llm_models as tiny
from .llm_trainers import LAM, batch_of, first_log, logps_of, make, saved

from expo_analysis.llm import PreferenceCollator, PreferenceConfig, PreferenceTrainer  # isort: skip
from expo_analysis.llm.training.collator import with_samples  # isort: skip
from peft import LoraConfig  # isort: skip
from transformers import (  # isort: skip
    CLIPVisionConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

STEPS = {"max_steps": 3, "learning_rate": 5e-3}


def has_moved(trainer: PreferenceTrainer, before: dict[str, torch.Tensor], among: str = "") -> None:
    """Every parameter that is trained, and only these."""
    for name, parameter in trainer.model.named_parameters():
        if among in name and parameter.requires_grad and parameter.grad is not None:
            assert not torch.equal(parameter, before[name]), name


def parameters(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


# -------------------------------------------------------------------------------------------------------- collator


def test_padding_and_masks() -> None:
    rows = [
        {"prompt_ids": [1, 2, 3], "chosen_ids": [4, 5], "rejected_ids": [6], "row_number": 7},
        {"prompt_ids": [7, 8], "chosen_ids": [9], "rejected_ids": [10, 11, 12], "row_number": 2},
    ]
    batch = PreferenceCollator(pad_token_id=0)(rows)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [7, 8, 9, 0, 0], [1, 2, 3, 6, 0], [7, 8, 10, 11, 12]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert batch["completion_mask"].tolist() == [[0, 0, 0, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 1, 1, 1]]
    assert batch["rows"].tolist() == [7, 2]
    assert not set(batch) - {"rows", "input_ids", "attention_mask", "completion_mask"}


def test_optional_reference_logps_and_weights() -> None:
    rows = [{"prompt_ids": [1], "chosen_ids": [4], "rejected_ids": [6], "ref_chosen_logps": 0.1 + k,
             "ref_rejected_logps": 0.2, "weight": 2.0} for k in range(2)]  # fmt: skip
    batch = PreferenceCollator(pad_token_id=0)(rows)
    assert batch["ref_chosen_logps"] == [0.1, 1.1] and batch["ref_rejected_logps"] == [0.2, 0.2]
    assert batch["weight"] == [2.0, 2.0]


def test_with_pad_to_multiple_of() -> None:
    rows = [{"prompt_ids": [1, 2], "chosen_ids": [4, 5, 6], "rejected_ids": [6]}]
    assert PreferenceCollator(pad_token_id=0, pad_to_multiple_of=4)(rows)["input_ids"].shape == (2, 8)


def test_cut_and_masked() -> None:
    """The end is lost; turns of others inside of a response do not count; a token may be the padding too."""
    row = {"prompt_ids": [5, 6], "chosen_ids": [7, 8, 9], "rejected_ids": [5, 5, 7, 8],
           "chosen_mask": [1, 0, 1], "rejected_mask": [1, 1, 0, 1]}  # fmt: skip
    batch = PreferenceCollator(pad_token_id=5, max_length=5)([row])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [5, 6, 5, 5, 7]]
    assert batch["completion_mask"].tolist() == [[0, 0, 1, 0, 1], [0, 0, 1, 1, 0]]
    assert batch["attention_mask"].tolist() == [[1] * 5] * 2


def test_samples_are_rows_of_their_own() -> None:
    rows = [
        {"prompt_ids": [1] * n, "chosen_ids": [4], "rejected_ids": [6], "sample_ids": [[7] * n, [8]]} for n in (1, 2)
    ]
    batch = PreferenceCollator(pad_token_id=0)(rows)
    assert batch["sample_input_ids"].tolist() == [[1, 7, 0, 0], [1, 8, 0, 0], [1, 1, 7, 7], [1, 1, 8, 0]]
    assert batch["sample_completion_mask"].tolist() == [[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]]


def test_pairs_and_samples_in_one_batch_begin_at_one_place() -> None:
    """Whichever are longer, what is shorter is filled up at its end."""
    for long, short in (("", "sample_"), ("sample_", "")):
        batch = {
            f"{prefix}{name}": torch.ones(2, size, dtype=torch.long)
            for prefix, size in ((long, 3), (short, 1))
            for name in ("input_ids", "attention_mask", "completion_mask")
        }
        joined = with_samples(batch, 7)
        whole, cut = [[1, 1, 1]] * 2, [[1, 0, 0]] * 2
        assert joined["input_ids"].tolist() == (whole + [[1, 7, 7]] * 2 if not long else [[1, 7, 7]] * 2 + whole)
        for name in ("attention_mask", "completion_mask"):
            assert joined[name].tolist() == (whole + cut if not long else cut + whole)


def test_padding_is_on_the_right_where_positions_are_learned(tmp_path: Path) -> None:
    """GPT-2's positions count from the left: in a batch a row has the log-probabilities that it has alone."""
    from .test_llm_reference import gpt2

    trainer = make(ea.DPO(LAM), tmp_path, model=gpt2(), ref_model=gpt2(1), data=tiny.pairs(6))
    rows = list(trainer.train_dataset)
    batch = trainer.data_collator(rows)
    whole = trainer.engine.losses(trainer.model, batch, at_start=False).logps["policy"].view(2, -1)
    for place, row in enumerate(rows):
        alone = logps_of(trainer.model, trainer.data_collator([row]))[:, 0]
        torch.testing.assert_close(whole[:, place].double(), alone, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize(
    "name",
    [
        *("Cohere2ForCausalLM", "Glm4MoeForCausalLM", "GptOssForCausalLM", "Qwen2ForCausalLM", "Qwen3MoeForCausalLM"),
        *("NemotronHForCausalLM", "Olmo3ForCausalLM", "Lfm2ForCausalLM", "MixtralForCausalLM"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_train(name: str, tmp_path: Path) -> None:
    model = llm_architectures.build(name)
    before = parameters(model)
    trainer = make(ea.DPO(LAM), tmp_path, model=model, **STEPS)
    trainer.train()
    has_moved(trainer, before)
    own = hasattr(model.config, "output_router_logits") and getattr(model.config, "router_aux_loss_coef", 0) != 0
    assert (
        ("aux_loss" in first_log(trainer))
        == own
        == (name in ("GptOssForCausalLM", "Qwen3MoeForCausalLM", "MixtralForCausalLM"))
    )


def test_train_by_name_and_by_instance(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    args = PreferenceConfig(**tiny.settings(tmp_path / "out", **STEPS))
    found = []
    for model in (folder, LlamaForCausalLM.from_pretrained(folder)):
        trainer = PreferenceTrainer(model, ea.DPO(LAM), args, train_dataset=tiny.pairs(8))
        trainer.train()
        found.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "auto"])
def test_train_model_dtype(dtype: str, tmp_path: Path) -> None:
    args = PreferenceConfig(**tiny.settings(tmp_path / "out", model_init_kwargs={"dtype": dtype}, **STEPS))
    trainer = PreferenceTrainer(saved(tmp_path / "model"), ea.DPO(LAM), args, train_dataset=tiny.pairs(8))
    expected = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {expected}
    assert {parameter.dtype for parameter in trainer.ref_model.parameters()} == {expected}
    trainer.train()
    assert first_log(trainer)["loss"] == pytest.approx(0.693147, abs=1e-4)
    with pytest.raises(ValueError, match="dtype in model_init_kwargs must be a dtype of torch or 'auto', got 'floaty'"):
        args.model_init_kwargs = {"dtype": "floaty"}
        PreferenceTrainer(str(tmp_path / "model"), ea.DPO(LAM), args, train_dataset=tiny.pairs(8))


def test_trust_remote_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passed to everything that is loaded."""
    from expo_analysis.llm.training import modelling

    seen = []
    for kind in (modelling.AutoConfig, modelling.AutoProcessor, LlamaForCausalLM):
        original = kind.from_pretrained

        def watched(*args: Any, original: Any = original, **kwargs: Any) -> Any:
            seen.append(kwargs.get("trust_remote_code"))
            return original(*args, **kwargs)

        monkeypatch.setattr(kind, "from_pretrained", watched)
    folder = saved(tmp_path / "model")
    for trusted in (True, False):
        seen.clear()
        args = PreferenceConfig(**tiny.settings(tmp_path / "out", trust_remote_code=trusted))
        PreferenceTrainer(folder, ea.DPO(LAM), args, train_dataset=tiny.pairs(4))
        assert trusted in seen and (not trusted) not in seen


@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
@pytest.mark.filterwarnings("ignore")
def test_train_with_gradient_checkpointing(peft: bool, tmp_path: Path) -> None:
    """The same losses as without."""

    def losses(**given: Any) -> list[float]:
        lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") if peft else None
        trainer = make(ea.EXPO(LAM), tmp_path, peft_config=lora, **given, **STEPS)
        trainer.train()
        saves = any(getattr(module, "gradient_checkpointing", False) for module in trainer.model.modules())
        assert saves == given["gradient_checkpointing"]
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    without = losses(gradient_checkpointing=False)
    for kwargs in (None, {"use_reentrant": True}, {"use_reentrant": False}):
        found = losses(gradient_checkpointing=True, gradient_checkpointing_kwargs=kwargs)
        assert found == pytest.approx(without, rel=1e-5), kwargs


@pytest.mark.filterwarnings("ignore")
def test_train_moe_with_peft_config(tmp_path: Path) -> None:
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = llm_architectures.build("MixtralForCausalLM")
    trainer = make(ea.DPO(LAM), tmp_path, model=model, peft_config=lora, **STEPS)
    before = parameters(trainer.model)
    trainer.train()
    has_moved(trainer, before, "lora_B")
    assert "aux_loss" in first_log(trainer)


# ------------------------------------------------------------------------------------------------------------ data


def forms(data: Any) -> dict[str, Any]:
    stream = data.to_iterable_dataset()
    return {
        "dataset": data,
        "iterable_dataset": stream,
        "dataset_dict": DatasetDict({"data1": data, "data2": data}),
        "iterable_dataset_dict": IterableDatasetDict({"data1": stream, "data2": stream}),
        "dict_of_dataset": {"data1": data, "data2": data},
        "dict_of_iterable_dataset": {"data1": stream, "data2": stream},
    }


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """What is to come of five pairs, however they are given."""
    return make(ea.DPO(LAM), tmp_path_factory.mktemp("evaluated")).evaluate(tiny.pairs(5, seed=2))


@pytest.mark.parametrize("precompute", [False, True])
@pytest.mark.parametrize("form", forms(tiny.pairs(4)))
def test_evaluate_with_eval_dataset(form: str, precompute: bool, evaluated: dict[str, float], tmp_path: Path) -> None:
    """Given when the trainer is made, and to `evaluate`; streams have no log-probabilities beforehand."""
    data = forms(tiny.pairs(5, seed=2))[form]
    given = {"precompute_ref_log_probs": precompute}
    if precompute and "iterable" in form:
        with pytest.raises(ValueError, match="precompute_ref_log_probs is not used with a stream, and eval_dataset"):
            make(ea.DPO(LAM), tmp_path, eval_dataset=data, **given)
        with pytest.raises(ValueError, match="precompute_ref_log_probs is not used with a stream, and eval_dataset"):
            make(ea.DPO(LAM), tmp_path, **given).evaluate(data)
        return
    at_once = make(ea.DPO(LAM), tmp_path, eval_dataset=data, **given)
    found = [at_once.evaluate(), make(ea.DPO(LAM), tmp_path, **given).evaluate(data)]
    for measured in found:
        for prefix in ["eval_data1_", "eval_data2_"] if "dict" in form else ["eval_"]:
            assert measured[f"{prefix}loss"] == pytest.approx(evaluated["eval_loss"], rel=1e-5)
            assert measured[f"{prefix}logps/chosen"] == pytest.approx(evaluated["eval_logps/chosen"], rel=1e-5)
    names = {name for name in at_once.data_reports if name != "train_dataset"}
    assert names == ({"eval_dataset['data1']", "eval_dataset['data2']"} if "dict" in form else {"eval_dataset"})


def test_an_evaluation_set_called_train_has_a_report_of_its_own(tmp_path: Path) -> None:
    blank = tiny.Dataset.from_dict({"prompt": ["w1 ", "w2 "], "chosen": ["w3", ""], "rejected": ["w4", "w5"]})
    trainer = make(ea.DPO(LAM), tmp_path, eval_dataset={"train": blank}, on_bad_rows="drop")
    assert trainer.data_reports["train_dataset"].rows == 8 and not trainer.data_reports["train_dataset"].dropped
    assert len(trainer.data_reports["eval_dataset['train']"].dropped) == 1


def test_evaluate_precompute_ref_log_probs_at_init_after_training(tmp_path: Path) -> None:
    trainer = make(ea.DPO(LAM), tmp_path, eval_dataset=tiny.pairs(4, seed=2), precompute_ref_log_probs=True, **STEPS)
    trainer.train()
    live = make(ea.DPO(LAM), tmp_path, eval_dataset=tiny.pairs(4, seed=2), **STEPS)
    live.train()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(live.evaluate()["eval_loss"], rel=1e-5)


@pytest.mark.parametrize("chat", [False, True], ids=["standard", "conversational"])
@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit prompt"])
def test_train_dataset_format(implicit: bool, chat: bool, tmp_path: Path) -> None:
    data = tiny.pairs(8, chat=chat)
    expected = make(ea.DPO(LAM), tmp_path, data=data).train_dataset
    if implicit:
        joined = {
            side: [p + r for p, r in zip(data["prompt"], data[side], strict=True)] for side in ("chosen", "rejected")
        }
        data = tiny.Dataset.from_dict(joined)
    trainer = make(ea.DPO(LAM), tmp_path, data=data, **STEPS)
    trainer.train()
    for column in ("prompt_ids", "chosen_ids", "rejected_ids"):
        assert trainer.train_dataset[column][:] == expected[column][:]


@pytest.mark.parametrize("evaluated", [False, True])
def test_train_with_iterable_dataset(evaluated: bool, tmp_path: Path) -> None:
    """The same losses as from the data set that the stream is of; rows are checked as they pass."""
    given = {"train_sampling_strategy": "sequential", **STEPS}
    found = []
    for stream in (False, True):
        data, test = tiny.pairs(12), tiny.pairs(5, seed=2)
        if stream:
            data, test = data.to_iterable_dataset(), test.to_iterable_dataset()
        more = {"eval_dataset": test, "eval_strategy": "steps", "eval_steps": 2} if evaluated else {}
        trainer = make(ea.EXPO(LAM), tmp_path, data=data, **given, **more)
        trainer.train()
        keys = ("loss", "eval_loss", "logps/chosen", "eval_logps/chosen")
        found.append([entry[key] for entry in trainer.state.log_history for key in keys if key in entry])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_a_stream_needs_a_number_of_steps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_steps"):
        make(ea.DPO(LAM), tmp_path, data=tiny.pairs(4).to_iterable_dataset())


def test_train_with_chat_template_kwargs(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% if loud %}w39 {% endif %}{% endfor %}"
    data = tiny.pairs(4, chat=True)
    loud = data.add_column("chat_template_kwargs", [{"loud": True}] * 4)
    lengths = []
    for rows in (data, loud):
        trainer = make(ea.DPO(LAM), tmp_path, data=rows, processing_class=tokenizer, **STEPS)
        trainer.train()
        lengths.append(sum(len(ids) for ids in trainer.train_dataset["chosen_ids"]))
    assert lengths[1] == lengths[0] + 4


def test_fully_truncated_completion_examples_dropped(tmp_path: Path) -> None:
    rows = {"prompt": ["w1 ", "w2 " * 40], "chosen": ["w3", "w4"], "rejected": ["w5", "w6"]}
    trainer = make(ea.DPO(LAM), tmp_path, data=tiny.Dataset.from_dict(rows), max_length=32, on_bad_rows="drop", **STEPS)
    assert len(trainer.train_dataset) == 1
    trainer.train()


def test_train_toolcall_data(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['content'] %}{{ m['content'] }} {% endif %}"
        "{% for call in m['tool_calls'] or [] %}{{ call['function']['name'] }} {% endfor %}{% endfor %}"
    )

    def call(name: str) -> list[dict[str, Any]]:
        function = {"name": name, "arguments": {}}
        return [{"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}]

    rows = {"prompt": [[{"role": "user", "content": "w1"}]] * 2, "chosen": [call("w3"), call("w4")],
            "rejected": [call("w5"), call("w6")]}  # fmt: skip
    trainer = make(ea.DPO(LAM), tmp_path, data=tiny.Dataset.from_dict(rows), processing_class=tokenizer, **STEPS)
    trainer.train()
    words = [tokenizer.decode(ids).split()[0] for ids in trainer.train_dataset["chosen_ids"]]
    assert words == ["w3", "w4"]


def test_train_dataset_required(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train_dataset must be given"):
        PreferenceTrainer(tiny.llama(0), ea.DPO(LAM), PreferenceConfig(**tiny.settings(tmp_path)),
                          processing_class=tiny.tokenizer())  # fmt: skip


def test_a_collator_of_ones_own_adds_columns(tmp_path: Path) -> None:
    seen: list[float] = []

    class WithScores(PreferenceCollator):
        def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            seen.extend(row["score"] for row in examples)
            return super().__call__(examples)

    data = tiny.pairs(4).add_column("score", [0.5, 1.5, 2.5, 3.5])
    trainer = make(
        ea.DPO(LAM), tmp_path, data=data, data_collator=WithScores(pad_token_id=0), remove_unused_columns=False, **STEPS
    )
    trainer.train()
    assert set(seen) == {0.5, 1.5, 2.5, 3.5}
    with pytest.raises(KeyError, match="score"):
        make(ea.DPO(LAM), tmp_path, data=data, data_collator=WithScores(pad_token_id=0), **STEPS).train()


# ------------------------------------------------------------------------------------- the text of a model with eyes


def llava(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                              image_size=8, patch_size=4)  # fmt: skip
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=tiny.llama(seed).config))


@pytest.mark.parametrize("chat", [False, True], ids=["standard", "conversational"])
@pytest.mark.parametrize("loss", [ea.DPO(LAM), ea.EXPO(LAM)], ids=["dpo", "expo"])
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_train_vlm_text_only_data(loss: Any, chat: bool, tmp_path: Path) -> None:
    """The losses of its language model alone."""
    found = []
    for eyes in (True, False):
        model = llava()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(5)
        if not eyes:
            alone = tiny.llama(0)
            alone.model.load_state_dict(model.model.language_model.state_dict())
            alone.lm_head.load_state_dict(model.lm_head.state_dict())
            model = alone
        trainer = make(loss, tmp_path, model=model, data=tiny.pairs(8, chat=chat), **STEPS)
        trainer.train()
        found.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_processor_is_kept_beside_the_model(tmp_path: Path) -> None:
    """Its tokenizer splits the texts; it is saved whole."""
    from transformers import ProcessorMixin

    class Processor(ProcessorMixin):
        attributes = ["tokenizer"]  # noqa: RUF012
        tokenizer_class = "AutoTokenizer"

        def __init__(self, tokenizer: Any, **kwargs: Any) -> None:
            super().__init__(tokenizer, **kwargs)

    trainer = make(ea.DPO(LAM), tmp_path, processing_class=Processor(tiny.tokenizer()), max_steps=1)
    trainer.train()
    trainer.save_model(str(tmp_path / "out"))
    assert (tmp_path / "out" / "processor_config.json").is_file() and (tmp_path / "out" / "tokenizer.json").is_file()


def test_a_processing_class_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="processing_class must be a tokenizer, or have one, got int"):
        make(ea.DPO(LAM), tmp_path, processing_class=3)


def test_images_are_refused(tmp_path: Path) -> None:
    """By name, whatever the model: the first of the tests of TRL that have no counterpart."""
    data = tiny.pairs(2).add_column("image", [None, None]).add_column("images", [[], []])
    image = data.map(lambda row: {"images": ["x.png"]})
    with pytest.raises(ValueError, match="image"):
        make(ea.DPO(LAM), tmp_path, data=image)


def test_one_batch_is_what_the_trainer_sees(tmp_path: Path) -> None:
    trainer = make(ea.DPO(LAM), tmp_path, max_steps=1)
    batch = batch_of(trainer)
    assert next(iter(batch)) == "rows" and len(batch["rows"]) == len(batch["input_ids"]) // 2
