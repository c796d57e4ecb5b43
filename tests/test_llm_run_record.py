"""What a run was begun with: it is resumed under the same only, and what it has left is not written over."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from . import llm_models as tiny

from expo_analysis.llm import finetune, models, run_record  # isort: skip (needs the environment of llm_models)
from expo_analysis.llm.training import PreferenceConfig, identity  # isort: skip

OWN = """\
from dataclasses import dataclass
from expo_analysis import PairObjective

@dataclass(frozen=True)
class Mine(PairObjective):
    name = "mine"
    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return (1 - logp_w + logp_l) ** 2
"""


def arguments(folder: Path, *flags: str) -> list[str]:
    settings = {
        **{"model": str(folder / "model"), "dataset_name": str(folder / "pairs.jsonl"), "max_steps": "2"},
        **{"output_dir": str(folder / "out"), "use_cpu": "true", "bf16": "false", "report_to": "none"},
        **{"save_steps": "1", "save_strategy": "steps", "objective": "dpo", "per_device_train_batch_size": "4"},
    }
    return tiny.flags([word for name, value in settings.items() for word in (f"--{name}", value)], *flags)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models, data, and a run of two steps."""
    folder = tmp_path_factory.mktemp("begun")
    for name, seed in (("model", 0), ("other", 1)):
        tiny.llama(seed).save_pretrained(folder / name)
        tiny.tokenizer().save_pretrained(folder / name)
    tiny.pairs(8).to_json(folder / "pairs.jsonl")
    tiny.pairs(8, seed=1).to_json(folder / "others.jsonl")
    assert finetune.main([*arguments(folder), "--json"]) == 0
    return folder


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    shutil.copytree(begun, tmp_path / "run")
    record = tmp_path / "run" / "out" / "run.json"
    record.write_text(record.read_text().replace(str(begun), str(tmp_path / "run")))
    return tmp_path / "run"


def says(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that must end with exit code 2."""
    capsys.readouterr()
    assert finetune.main(arguments) == 2
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and "resuming from" not in said
    return lines[0]


def test_the_same_is_resumed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "out" / "run.json").read_text()
    assert finetune.main(arguments(run, "--resume", "--max_steps", "4")) == 0
    assert capsys.readouterr().err.count(f"resuming from {run / 'out' / 'checkpoint-2'}") == 1
    assert json.loads((run / "out" / "summary.json").read_text())["steps"] == 4
    assert (run / "out" / "run.json").read_text() == before


def test_what_was_moved_is_still_the_same(run: Path) -> None:
    """Model and data are told by their content."""
    shutil.move(run / "model", run / "moved")
    shutil.move(run / "pairs.jsonl", run / "moved.jsonl")
    flags = ["--model", str(run / "moved"), "--dataset_name", str(run / "moved.jsonl"), "--max_steps", "3"]
    assert finetune.main(arguments(run, "--resume", *flags)) == 0


OTHERS: dict[str, tuple[list[str], str]] = {
    "loss": (["--objective", "ipo"], r"the objective DPO\(lam=0\.1, .*\), and this is IPO\(lam=0\.1\)"),
    "lambda": (["--lam", "0.5"], r"the objective DPO\(lam=0\.1, .*\), and this is DPO\(lam=0\.5, .*\)"),
    "option": (["--objective_options", '{"label_smoothing": 0.1}'], r"and this is DPO\(lam=0\.1, label_smoothing=0\.1"),
    "aggregation": (["--aggregation", "mean"], r"the aggregation "),
    "model": (["--model", "{}/other"], r"the initial model .*/model, and this is .*/other"),
    "data": (["--dataset_name", "{}/others.jsonl"], r"the data .*/pairs\.jsonl, and this is .*/others\.jsonl"),
    "part": (["--max_train_rows", "6"], r"the data .*/pairs\.jsonl with another content"),
    "length": (["--max_length", "9"], r"begun with the max_length 1024, and this is 9: "),
    "adapter": (
        ["--use_peft"],
        r"was begun without an adapter, and this has one; with the reference copy, and this is adapter off: ",
    ),
    "seed": (["--seed", "3"], "begun with seed 42, and this is 3"),
    "rate": (["--learning_rate", "0.25"], r"begun with learning_rate 1e-06, and this is 0\.25: resume with the same"),
    "several": (
        ["--weight_decay", "0.1", "--adam_beta2", "0.9", "--lr_scheduler_type", "cosine", "--max_grad_norm", "2"],
        r"lr_scheduler_type 'linear', and this is 'cosine'; with weight_decay 0\.0, and this is 0\.1; with adam_beta2 "
        r"0\.999, and this is 0\.9; with max_grad_norm 1\.0, and this is 2\.0: resume",
    ),
    "optimiser": (["--optim", "sgd"], r"begun with optim 'adamw_torch(_fused)?', and this is 'sgd': resume"),
    "batch": (
        ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"],
        "per_device_train_batch_size 4, and this is 2; with gradient_accumulation_steps 1, and this is 2: resume",
    ),
    "warm-up": (["--warmup_steps", "1"], r"begun with warmup_steps 0(\.0)?, and this is 1(\.0)?: resume"),
    "weighting": (["--use_weighting"], "begun with use_weighting False, and this is True: resume"),
    "type": (["--dtype", "bfloat16"], "begun with dtype 'float32', and this is 'bfloat16': resume"),
    "dropout": (["--disable_dropout", "false"], "begun with disable_dropout True, and this is False: resume"),
}


@pytest.mark.parametrize(("flags", "message"), OTHERS.values(), ids=OTHERS)
def test_under_anything_else_it_is_not(
    flags: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (run / "out").rglob("*") if path.is_file()}
    line = says(arguments(run, "--resume", *(flag.replace("{}", str(run)) for flag in flags)), capsys)
    assert f"resume: {run / 'out'} was begun with" in line and "or choose another output_dir" in line
    assert re.search(message, line)
    assert {path: path.stat().st_mtime_ns for path in (run / "out").rglob("*") if path.is_file()} == before


def test_what_only_says_when_to_save_and_log_may_change(run: Path) -> None:
    flags = ["--logging_steps", "1", "--save_steps", "3", "--save_total_limit", "1", "--max_steps", "3"]
    flags += ["--per_device_eval_batch_size", "3", "--dataloader_num_workers", "0", "--token_chunk_size", "7"]
    assert finetune.main(arguments(run, "--resume", *flags)) == 0


def test_fewer_steps_than_were_done_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = says(arguments(run, "--resume", "--max_steps", "1"), capsys)
    assert "max_steps is 1, and the checkpoint that is resumed from has done 2 steps already: raise it, or give" in line
    line = says(arguments(run, "--resume", "--max_steps", "-1", "--num_train_epochs", "0.5"), capsys)
    assert "num_train_epochs=0.5 comes to 1, and the checkpoint that is resumed from has done 2 steps already" in line
    assert finetune.main(arguments(run, "--resume")) == 0  # as many: there is nothing left to do
    assert json.loads((run / "out" / "summary.json").read_text())["steps"] == 2


def test_a_checkpoint_knows_its_settings_without_a_record(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "out" / "run.json").unlink()
    line = says(arguments(run, "--resume", "--learning_rate", "0.25"), capsys)
    assert (
        "belongs to another training: its learning_rate is 1e-06, and here it is 0.25. Give another output_dir" in line
    )
    for file in (run / "out").glob("checkpoint-*/preference_training.json"):  # as an earlier release wrote it
        found = json.loads(file.read_text())
        del found["settings"]
        file.write_text(json.dumps(found))
    assert finetune.main(arguments(run, "--resume", "--learning_rate", "0.25", "--max_steps", "3")) == 0


FREE = """
    output_dir num_train_epochs max_steps average_tokens_across_devices label_smoothing_factor bf16_full_eval
    fp16_full_eval tf32 activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing
    gradient_checkpointing_kwargs torch_compile torch_compile_backend torch_compile_mode use_liger_kernel
    liger_kernel_config use_cache torch_empty_cache_steps auto_find_batch_size logging_strategy logging_steps
    logging_first_step log_on_each_node logging_nan_inf_filter include_num_input_tokens_seen log_level log_level_replica
    logging_dir disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id trackio_static_space_id
    eval_strategy eval_steps eval_delay per_device_eval_batch_size prediction_loss_only eval_on_start
    eval_do_concat_batches eval_use_gather_object eval_accumulation_steps include_for_metrics batch_eval_metrics
    save_only_model save_strategy save_steps save_on_each_node save_total_limit enable_jit_checkpoint push_to_hub
    hub_token hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision load_best_model_at_end
    metric_for_best_model greater_is_better ignore_data_skip restore_callback_states_from_checkpoint full_determinism
    use_cpu accelerator_config parallelism_config dataloader_num_workers dataloader_pin_memory
    dataloader_persistent_workers dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order
    remove_unused_columns label_names ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers
    ddp_static_graph ddp_backend ddp_timeout fsdp fsdp_config deepspeed debug skip_memory_metrics do_train do_eval
    do_predict resume_from_checkpoint local_rank
    objective objective_weights objective_options beta aggregation regulariser_estimator token_prefixes token_chunk_size
    use_weighting ld_alpha router_aux_loss_coef precompute_ref_log_probs precompute_ref_batch_size use_ref_columns
    model_init_kwargs trust_remote_code max_length pad_to_multiple_of dataset_num_proc on_bad_rows
"""
"""Settings that may change, or that other parts of an identity are made of (what belongs to the loss)."""


def test_every_setting_is_known_to_change_a_run_or_not_to() -> None:
    """A new one of transformers is to be put into one of the two lists."""
    names = {field.name for field in dataclasses.fields(PreferenceConfig) if field.init}
    assert not {*identity.SETTINGS} & {*FREE.split()}
    assert names <= {*identity.SETTINGS, *FREE.split()}


def test_another_estimator_is_another_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expo = ["--objective", "expo", "--output_dir", str(run / "expo")]
    assert finetune.main(arguments(run, *expo, "--regulariser_estimator", "own_responses")) == 0
    line = says(arguments(run, *expo, "--regulariser_estimator", "token_kl", "--resume"), capsys)
    assert "the estimator of the regulariser own_responses, and this is token_kl" in line


def test_weights_that_changed_under_the_same_name(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(run / "other" / "model.safetensors", run / "model" / "model.safetensors")
    line = says(arguments(run, "--resume"), capsys)
    assert f"begun with the initial model {run / 'model'} with another content" in line


def test_a_loss_of_ones_own_that_changed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "mine.py").write_text(OWN)
    mine = ["--objective", f"{run}/mine.py:Mine", "--output_dir", str(run / "mine")]
    assert finetune.main(arguments(run, *mine)) == 0
    assert finetune.main(arguments(run, *mine, "--resume", "--max_steps", "3")) == 0
    (run / "mine.py").write_text(OWN.replace("(1 -", "(2 -"))
    assert "was begun with another code of the loss" in says(arguments(run, *mine, "--resume"), capsys)


def test_a_run_without_a_record_is_resumed_and_gets_one(run: Path) -> None:
    (run / "out" / "run.json").unlink()
    assert finetune.main(arguments(run, "--resume", "--max_steps", "3")) == 0
    assert json.loads((run / "out" / "run.json").read_text())["is"]["objective"].startswith("DPO(lam=0.1")


def test_a_damaged_record(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in ("{", "[]", '{"is": 3}'):
        (run / "out" / "run.json").write_text(content)
        assert "run.json: it is damaged; remove it to resume without it" in says(arguments(run, "--resume"), capsys)


def test_what_is_there_is_not_written_over(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has checkpoints already: give --resume, or --overwrite" in says(arguments(run), capsys)
    for path in (run / "out").glob("checkpoint-*"):
        shutil.rmtree(path)
    line = says(arguments(run), capsys)
    assert "has a model already, model.safetensors: give another output_dir, or --overwrite" in line
    assert finetune.main(arguments(run, "--resume")) == 0  # it is finished all the same
    assert "is finished, with all of its 2 steps: nothing in it was changed" in capsys.readouterr().err
    (run / "out" / "summary.json").unlink()
    line = says(arguments(run, "--resume"), capsys)
    assert "has a model, model.safetensors, and no complete checkpoint" in line


def test_a_record_is_of_the_run_whose_steps_are_there(run: Path) -> None:
    """Also where another run had begun in the folder, and had been killed before it saved anything."""
    for more, lam in (([], 0.3), (["--resume"], 0.4)):
        out = run / f"out{lam}"
        out.mkdir()
        shutil.copy(run / "out" / "run.json", out / "run.json")
        given = arguments(run, "--output_dir", str(out), "--lam", str(lam), *more)
        assert finetune.main(given) == 0
        assert json.loads((out / "run.json").read_text())["is"]["objective"].startswith(f"DPO(lam={lam}")
        assert finetune.main([*given, *({"--resume"} - set(more))]) == 0


def test_overwriting_leaves_nothing_of_the_run_before(run: Path) -> None:
    """Or a shorter run would later be resumed from the longer one's last checkpoint; also where each step is saved."""
    assert finetune.main(arguments(run, "--overwrite", "--max_steps", "1", "--objective", "ipo")) == 0
    assert [path.name for path in (run / "out").glob("checkpoint-*")] == ["checkpoint-1"]
    assert json.loads((run / "out" / "run.json").read_text())["is"]["objective"] == "IPO(lam=0.1)"


def test_a_full_model_over_an_adapter_can_be_loaded(run: Path) -> None:
    """An adapter_config.json that stays would make an adapter of it, whose weights are gone."""
    out = run / "out"
    for name in ("adapter_config.json", "adapter_model.safetensors", "generation_config.json"):
        (out / name).write_text("{}")
    assert finetune.main(arguments(run, "--overwrite", "--max_steps", "1")) == 0
    assert not list(out.glob("adapter_*"))
    models.load_model(str(out))


def test_nothing_is_removed_before_the_input_is_checked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted((run / "out").rglob("*"))
    says(arguments(run, "--overwrite", "--dataset_name", str(run / "none.jsonl")), capsys)
    says(arguments(run, "--overwrite", "--optimal_dataset", str(run / "none.jsonl")), capsys)
    says(arguments(run, "--overwrite", "--adam_beta1", "2"), capsys)  # which is found when training begins
    assert sorted((run / "out").rglob("*")) == before


def test_a_model_is_not_trained_into_its_own_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = says(arguments(run, "--overwrite", "--output_dir", f"{run}/out/../model"), capsys)
    assert "output_dir must not be the folder of the model that is trained" in line
    assert (run / "model" / "model.safetensors").is_file()


def test_digests_of_models(begun: Path, tmp_path: Path) -> None:
    """A change anywhere that training could make is seen; a model of the Hub has none."""
    assert run_record.model_digest("org/model") == ""
    first = run_record.model_digest(str(begun / "model"))
    assert first == run_record.model_digest(str(begun / "model"))
    assert first != run_record.model_digest(str(begun / "other"))
    shutil.copytree(begun / "model", tmp_path / "m")
    file: Any = tmp_path / "m" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert run_record.model_digest(str(tmp_path / "m")) != first
