"""Settings: their defaults, what is refused in one sentence, and what comes from TRL."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from packaging.version import Version

import expo_analysis as ea

from . import llm_models as tiny
from .llm_trainers import LAM, first_log, make

from expo_analysis.llm import PreferenceConfig, PreferenceTrainer  # isort: skip
from expo_analysis.llm.training import _trl, accepted, logs as training_logs, modelling, versions  # isort: skip
import transformers  # isort: skip
from trl import DPOConfig  # isort: skip


def defaults(kind: Any) -> dict[str, Any]:
    fields = dataclasses.fields(kind)
    return {f.name: f.default for f in fields if f.init and f.default is not dataclasses.MISSING}


OTHER = {
    "beta": ("1.12", "2", "None means 0.1, or the objective's"),
    "logging_nan_inf_filter": ("1.12", "2", "a loss that is not finite is an error"),
    "pad_to_multiple_of": ("1.16", "2", "TRL's 'auto' pads on Trainium only"),
    "router_aux_loss_coef": ("1.12", "1.13", "the model's own coefficient, as in later releases"),
}
"""Settings with another default than TRL's: from which release on, before which one, and why."""


def test_shared_settings_have_trls_defaults() -> None:
    ours, theirs = defaults(PreferenceConfig), defaults(DPOConfig)
    shared, release = set(ours) & set(theirs), Version(importlib.metadata.version("trl"))
    other = {name for name, (since, before, _) in OTHER.items() if Version(since) <= release < Version(before)}
    assert {name for name in shared if ours[name] != theirs[name]} == other
    for name in ("max_length", "precompute_ref_log_probs", "precompute_ref_batch_size", "sync_ref_model",
                 "ref_model_mixup_alpha", "ref_model_sync_steps", "disable_dropout", "model_init_kwargs",
                 "dataset_num_proc", "router_aux_loss_coef", "ld_alpha", "use_weighting", "trust_remote_code",
                 "learning_rate", "logging_steps", "gradient_checkpointing", "bf16"):  # fmt: skip
        assert name in shared, name


def test_every_setting_has_help_and_is_documented() -> None:
    own = {f.name for f in dataclasses.fields(PreferenceConfig)} - {
        f.name for f in dataclasses.fields(tiny.TrainingArguments)
    }
    for field in dataclasses.fields(PreferenceConfig):
        if field.name in own:
            assert field.metadata["help"], field.name
            assert f"\n        {field.name} (" in str(PreferenceConfig.__doc__), field.name


def test_a_cpu_is_chosen_where_there_is_nothing_else(tmp_path: Path) -> None:
    """Without a setting, and then in float32; bfloat16 only where it is asked for."""
    if torch.accelerator.is_available():
        pytest.skip("there is an accelerator")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = PreferenceConfig(str(tmp_path))
        asked = PreferenceConfig(str(tmp_path), bf16=True)
    assert plain.use_cpu and not plain.bf16 and plain.device.type == "cpu"
    assert asked.use_cpu and asked.bf16
    assert plain.gradient_checkpointing and plain.learning_rate == 1e-6
    assert plain.logging_steps == 10 and plain.logging_nan_inf_filter is False


def test_importing_the_trainer_needs_no_trl_and_warns_of_another_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL is for the command line's recipes. The package is imported again, where there is none."""
    version = importlib.metadata.version
    for name in [name for name in sys.modules if name.split(".")[0] in ("expo_analysis", "trl")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "trl", None)
    monkeypatch.setattr(importlib.metadata, "version", lambda of: "99.0" if of == "transformers" else version(of))
    try:
        with pytest.warns(match=r"^transformers 99\.0 was not tested"):
            again = importlib.import_module("expo_analysis.llm")
        assert again.PreferenceConfig is not PreferenceConfig
        again.PreferenceConfig(str(tmp_path), use_cpu=True, bf16=False)
    finally:  # the tests go on with what they know
        for name in [name for name in sys.modules if name.split(".")[0] == "expo_analysis"]:
            del sys.modules[name]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "epochs": ({"num_train_epochs": -3}, "num_train_epochs must be a .*number.* got -3"),
    "no epochs": ({"num_train_epochs": 0}, "num_train_epochs must be a .*number.* got 0"),
    "rate": ({"learning_rate": float("nan")}, "learning_rate must be a .*number.* got nan"),
    "ld": ({"ld_alpha": 1.5}, r"ld_alpha must be a number in \[0, 1\], got 1.5"),
    "mixup": ({"ref_model_mixup_alpha": -0.1}, r"ref_model_mixup_alpha must be a number in \[0, 1\]"),
    "sync": ({"ref_model_sync_steps": 0}, "ref_model_sync_steps must be a positive integer, got 0"),
    "length": ({"max_length": 0}, "max_length must be a positive integer or None, got 0"),
    "padding": ({"pad_to_multiple_of": 1.5}, "pad_to_multiple_of must be a positive integer or None, got 1.5"),
    "optimiser": ({"optim": "adafactr"}, "optim must be one of adamw.*; got 'adafactr'; did you mean 'adafactor'"),
    "schedule": ({"lr_scheduler_type": "linaer"}, "lr_scheduler_type must be .*'linaer'; did you mean 'linear'"),
    "evaluations": ({"eval_strategy": "stesp"}, "eval_strategy must be one of no, steps, epoch; got 'stesp'; did you"),
    "saving": ({"save_strategy": "ever"}, "save_strategy must be one of no, steps, epoch, best; got 'ever'"),
    "compiler": ({"torch_compile_backend": "inductr"}, "torch_compile_backend must be .*; did you mean 'inductor'"),
    "optimiser's options": ({"optim_args": "x"}, "optim_args must be like 'rank=8,scale=0.5', got 'x'"),
    "router": ({"router_aux_loss_coef": -1.0}, "router_aux_loss_coef must be a finite number of at least 0"),
    "smoothing": ({"label_smoothing_factor": 0.1}, "label_smoothing_factor is not used by PreferenceTrainer: give"),
    "two references": ({"use_ref_columns": True, "precompute_ref_log_probs": True}, "give use_ref_columns or precomp"),
    "weights alone": ({"objective_weights": [1.0]}, "objective_weights belong to the objective that `objective` names"),
    "weights of one": ({"objective": "dpo", "objective_weights": [1.0]}, "objective_weights belong to several obj"),
    "too few weights": (
        {"objective": ["dpo", "ipo"], "objective_weights": [1.0]},
        "objective_weights must have one number for each of 2 objectives",
    ),
    "options of none": (
        {"objective": ["dpo", "ipo"], "objective_options": {"kto": {}}},
        r"objective_options of several objectives go by their names; \['kto'\] is none of",
    ),
    "init": ({"model_init_kwargs": "[1]"}, "model_init_kwargs must be a mapping"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "message"), BAD.values(), ids=BAD)
def test_bad_settings(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        PreferenceConfig(**tiny.settings(tmp_path, **given))


def test_every_word_that_transformers_takes_is_taken(tmp_path: Path) -> None:
    """As text, as the member that it stands for, and as others than ours write the names of compilers."""
    args = PreferenceConfig(**tiny.settings(tmp_path))
    for name, kind in accepted.CHOICES.items():
        for value in [form for member in kind for form in (member, member.value, str(member.value).lower())]:
            setattr(args, name, value)
            accepted.check_values(args)


def test_a_router_beside_no_mixture_of_experts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="router_aux_loss_coef is not used by LlamaForCausalLM, which is no mixture"):
        make(ea.DPO(LAM), tmp_path, router_aux_loss_coef=0.1)


def test_liger_leaves_the_forward_pass_alone(tmp_path: Path) -> None:
    """Its layers may be had, its cross-entropy would take the head's place."""
    from expo_analysis.llm.training.setup import own_args

    args = PreferenceConfig(**tiny.settings(tmp_path))
    args.use_liger_kernel = True
    assert own_args(args, "m").liger_kernel_config == {"fused_linear_cross_entropy": False}
    assert args.liger_kernel_config is None


# ------------------------------------------------------------------------------------------------ threads and signals


def test_trainers_are_made_and_used_in_any_thread(tmp_path: Path) -> None:
    found: list[Any] = []

    def work() -> None:
        try:
            trainer = make(ea.DPO(LAM), tmp_path, max_steps=1)
            trainer.train()
            found.append(first_log(trainer)["loss"])
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [pytest.approx(0.693147, abs=1e-5)]


def test_signals_are_left_alone(tmp_path: Path) -> None:
    """When a trainer is made, while it trains, and after a training that failed."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    during: list[bool] = []

    class Fails(tiny.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            during.append(all(signal.getsignal(number) == handler for number, handler in before.items()))
            raise RuntimeError("fails")

    trainer = make(ea.DPO(LAM), tmp_path, max_steps=1, callbacks=[Fails()])
    assert all(signal.getsignal(number) == handler for number, handler in before.items())
    with pytest.raises(RuntimeError, match="fails"):
        trainer.train()
    assert during == [True]
    assert all(signal.getsignal(number) == handler for number, handler in before.items())
    assert PreferenceConfig(**tiny.settings(tmp_path)).enable_jit_checkpoint is False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_trainer_of_ones_own_ends_by_signals(number: signal.Signals, tmp_path: Path) -> None:
    """In a program of one's own a signal is not swallowed."""
    program = f"""
import os, signal, sys
sys.path.insert(0, {os.getcwd()!r})
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's jobs in the background lack
from pathlib import Path
import expo_analysis as ea
from tests import llm_models as tiny
from tests.llm_trainers import make
class Kill(tiny.TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        os.kill(os.getpid(), {int(number)})
make(ea.DPO(0.3), Path({str(tmp_path)!r}), max_steps=3, callbacks=[Kill()]).train()
print("survived")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "survived" not in done.stdout and done.returncode in (-int(number), 1)


# ------------------------------------------------------------------------------------------------------------- TRL


@pytest.mark.parametrize("kind", ["ipo", "sigmoid_norm", "sigmoid"])
def test_a_divergence_of_averages_is_told_to_be_another_loss(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    given = DPOConfig("out", loss_type=[kind], f_divergence_type="forward_kl", use_cpu=True, bf16=False)
    PreferenceConfig.from_trl(given)
    assert ("TRL divides f' of the whole response by its length" in caplog.text) == (kind != "sigmoid")


def test_all_that_is_taken_from_trl_is_listed() -> None:
    """In one file, and each name is public."""
    import ast

    import trl

    source = Path(_trl.__file__).read_text()
    taken = {
        alias.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.module == "trl"
        for alias in node.names
    }  # fmt: skip
    assert taken == set(_trl.NAMES)
    for name in taken:
        assert not name.startswith("_") and hasattr(trl, name), name
    package = Path(ea.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text()
        nodes = ast.walk(ast.parse(text)) if "trl" in text else ()
        imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
        absolute = [node for node in imports if not getattr(node, "level", 0)]  # ours may be called so too
        names = {getattr(node, "module", None) or node.names[0].name for node in absolute}
        if any(name.split(".")[0] == "trl" for name in names):
            assert path.name in ("_trl.py",), f"{path} imports trl"


def test_trl_parser(tmp_path: Path) -> None:
    """YAML, overridden by flags, into dataclasses; what is left over is returned."""
    (tmp_path / "recipe.yaml").write_text("objective: dpo\nbeta: 0.3\nstrange: 1\nmodel_name_or_path: m\n")
    parser = _trl.TrlParser((_trl.ScriptArguments, PreferenceConfig, _trl.ModelConfig, _trl.DatasetMixtureConfig))
    arguments = ["--config", str(tmp_path / "recipe.yaml"), "--beta", "0.5", "--dataset_name", "d", "--output_dir", "o"]
    found = parser.parse_args_and_config(arguments, return_remaining_strings=True)
    script, config, model, mixture, rest = found[0], found[1], found[2], found[3], found[4:]
    assert config.make_objective() == ea.DPO(0.5) and script.dataset_name == "d" and model.model_name_or_path == "m"
    assert mixture.datasets == [] or mixture.datasets is None
    assert "strange" in str(rest)


def test_script_arguments() -> None:
    names = {field.name for field in dataclasses.fields(_trl.ScriptArguments)}
    assert {"dataset_name", "dataset_config", "dataset_train_split", "dataset_test_split"} <= names


def test_model_config_and_its_adapter() -> None:
    model = _trl.ModelConfig(model_name_or_path="m", use_peft=True, lora_r=3, lora_target_modules=["q_proj", "v_proj"])
    made = _trl.get_peft_config(model)
    assert made.r == 3 and set(made.target_modules) == {"q_proj", "v_proj"}
    assert _trl.get_peft_config(_trl.ModelConfig(model_name_or_path="m")) is None
    assert {"model_revision", "attn_implementation", "dtype"} <= set(vars(model))


def test_quantisation_config() -> None:
    assert _trl.get_quantization_config(_trl.ModelConfig(model_name_or_path="m")) is None


def test_mixture_of_data_sets(tmp_path: Path) -> None:
    tiny.pairs(3).to_json(tmp_path / "a.jsonl")
    part = {"path": "json", "data_files": str(tmp_path / "a.jsonl")}
    assert len(_trl.get_dataset(_trl.DatasetMixtureConfig(datasets=[part, part]))["train"]) == 6


@pytest.mark.parametrize(
    ("name", "version"), [("trl", "1.11.9"), ("trl", "1.17.0"), ("trl", "2.0"), ("transformers", "5.15.0")]
)
def test_a_version_that_was_not_tested_is_warned_of(name: str, version: str) -> None:
    """And goes on."""
    with pytest.warns(
        versions.UntestedVersion, match=f"{name} {version} was not tested with this package, which knows"
    ):
        versions.check_version(name, version)


def test_versions_that_were_tested() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, (oldest, newest) in versions.TESTED.items():
            versions.check_version(name, oldest)
            versions.check_version(name, f"{newest}.9")


def test_args_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="args must be a PreferenceConfig, got int"):
        PreferenceTrainer(tiny.llama(0), ea.DPO(LAM), 3, train_dataset=tiny.pairs(4))  # type: ignore[arg-type]


UNTESTED = """
import importlib.metadata, sys, warnings
{first}
version = importlib.metadata.version
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import torch, transformers, datasets
    importlib.metadata.version = lambda of: "99.0" if of == {name!r} else version(of)
    from {module} import *
print([str(one.message)[:40] for one in seen if type(one.message).__name__ == "UntestedVersion"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "module", "first"),
    [
        ("trl", "expo_analysis.llm.training._trl", ""),
        ("transformers", "expo_analysis.llm", "sys.modules['trl'] = None"),
    ],
)
def test_another_version_is_warned_of_where_it_is_imported(name: str, module: str, first: str) -> None:
    """In a process of its own, which has imported nothing before."""
    program = UNTESTED.format(name=name, module=module, first=first)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"{name} 99.0 was not tested" in done.stdout


@pytest.mark.parametrize("by_name", [False, True])
def test_rows_longer_than_learned_positions_are_refused_before_training(by_name: bool, tmp_path: Path) -> None:
    """GPT-2 has an embedding for each position; a Llama has none."""
    from .test_llm_reference import gpt2

    data = tiny.pairs(3, longest=80)
    model: Any = gpt2()
    if by_name:
        model.save_pretrained(tmp_path / "model")
        model = str(tmp_path / "model")
    with pytest.raises(ValueError, match=r"train_dataset has rows that cannot be trained on: .*64 positions"):
        make(ea.DPO(LAM), tmp_path, model=model, data=data)
    make(ea.DPO(LAM), tmp_path, model=model, data=data, max_length=64)
    make(ea.DPO(LAM), tmp_path, data=data)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (transformers.LlamaConfig(max_position_embeddings=32), None),
        (transformers.GPT2Config(n_positions=33), 33),
        (transformers.OPTConfig(max_position_embeddings=34), 34),
        (transformers.MambaConfig(), None),
        (transformers.FalconConfig(alibi=True, max_position_embeddings=35), None),
        (transformers.LlavaConfig(text_config=transformers.OPTConfig(max_position_embeddings=36)), 36),
    ],
    ids=["rotary", "n_positions", "max_position_embeddings", "states", "alibi", "text of a model that sees"],
)
def test_which_positions_are_learned(config: Any, expected: int | None) -> None:
    """A rotary model's max_position_embeddings is no limit of what it can compute."""
    args = PreferenceConfig("out", use_cpu=True, bf16=False)
    assert modelling.learned_positions(SimpleNamespace(config=config), args) == expected


@pytest.mark.parametrize("main", [True, False])
def test_one_process_speaks_for_all(
    main: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(training_logs, "PartialState", lambda: SimpleNamespace(is_main_process=main))
    training_logs.tell("once")
    assert [record.message for record in caplog.records] == ["once"] * main


def test_what_is_handed_from_part_to_part_is_frozen() -> None:
    """Nothing on the way changes it; those that gather something, or are a user's settings, are named."""
    import importlib
    import pkgutil

    import expo_analysis.cli
    import expo_analysis.llm

    thawed = set()
    for package in (expo_analysis.llm, expo_analysis.cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for name, kind in vars(importlib.import_module(module.name)).items():
                own = isinstance(kind, type) and kind.__module__ == module.name
                if own and "__dataclass_params__" in vars(kind) and not kind.__dataclass_params__.frozen:
                    thawed.add(name)
    assert thawed == {
        *("FinetuneArguments", "ReferencePolicy", "PreferenceConfig", "PreferenceCollator", "DataRoom"),
        *("DataReport", "RowMaker", "Example", "Tokens", "SkippedPairs", "Work"),
    }
