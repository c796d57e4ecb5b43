"""One process with 8 rows and two with 4 each take the same steps: DDP, FSDP2, and DeepSpeed ZeRO-2 (slow)."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import llm_distributed, llm_models

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
"""Of the processes: one that torch aborts, which has been seen once, says where it was."""
OBJECTIVES = (
    *("own_responses", "reference_samples", "token_kl", "dpo", "mpo", "stream", "derived", "precomputed", "rewards"),
    *llm_distributed.KINDS,
)


def launch(folder: Path, how: str, names: tuple[str, ...], **environment: str) -> dict[str, Any]:
    """What two processes made of it. Launch lines that silently run one process are known: the test asks for two."""
    out = folder / "out.json"
    command = [
        "--nproc_per_node",
        "2",
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "localhost:0",
        "-m",
        "tests.llm_distributed",
        str(out),
        how,
        "4",
        *names,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *command],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    return json.loads(out.read_text())


SIGNS = ("rewards/accuracies", "mass/both_fell")
TIMES = ("runtime", "per_second", "preparation_time", "epoch")


def compare(two: dict[str, Any], one: dict[str, Any], kind: str, close: float = 1e-9) -> None:
    """Every metric, of uneven data in float64: rows that only fill up a batch are counted by none."""
    for name, found in two.items():
        expected = one[name]
        assert found["world_size"] == 2 and expected["world_size"] == 1
        assert kind in found["kind"], f"the model was wrapped as {found['kind']}"
        assert found["has_reference"] == (name in llm_distributed.HAVE_REFERENCE)
        assert len(found["log"]) == llm_distributed.STEPS
        assert found["evaluation"]["eval_seen"] == llm_distributed.EVALUATED
        for mine, theirs in zip(
            [*found["log"], found["evaluation"]], [*expected["log"], expected["evaluation"]], strict=True
        ):
            assert set(mine) == set(theirs)
            tied = abs(theirs.get("rewards/margins", 1)) < 1e-6  # the signs of zeros are those of rounding
            for key in theirs:
                if not any(part in key for part in TIMES) and not (tied and key in SIGNS):
                    # norms of gradients are sums over all parameters, in another order
                    loose = 20 * close if key == "grad_norm" else close
                    assert mine[key] == pytest.approx(theirs[key], rel=loose, abs=close), (name, key)
        if found["gradient"] is not None:
            scale = np.abs(expected["gradient"]).max()
            np.testing.assert_allclose(found["gradient"], expected["gradient"], rtol=0, atol=1e-5 * scale)


def fork(folder: Path, how: str, names: tuple[str, ...]) -> dict[str, Any]:
    """What two forks of one server, which has loaded everything once, made of it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.llm_killed", "tests.llm_distributed", "tests.frozen"])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    out, errors = str(folder / "out.json"), [folder / f"errors{rank}" for rank in (0, 1)]
    processes = [
        context.Process(
            target=llm_distributed.in_one_of_two, args=(rank, port, str(errors[rank]), out, how, "4", *names)
        )
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=600)
    said = "".join(file.read_text()[-4000:] for file in errors)
    assert [process.exitcode for process in processes] == [0, 0], said
    return json.loads(Path(out).read_text())


@pytest.mark.parametrize("names", [("token_kl", "mpo", "stream"), pytest.param(OBJECTIVES, marks=pytest.mark.slow)])
def test_ddp(names: tuple[str, ...], tmp_path: Path) -> None:
    found = fork(tmp_path, "plain", names)
    assert set(found) == set(names) and all(value["gradient"] is not None for value in found.values())
    compare(found, {name: llm_distributed.train("plain", 8, name) for name in names}, "DistributedDataParallel")


@pytest.mark.slow
def test_fsdp2(tmp_path: Path) -> None:
    found = launch(tmp_path, "fsdp2", OBJECTIVES)
    assert all(value["gradient"] is not None for value in found.values())
    compare(found, {name: llm_distributed.train("plain", 8, name) for name in OBJECTIVES}, "FSDP")


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed(stage: int, tmp_path: Path) -> None:
    """Gradients live in its optimiser; their norms are compared, which the log has. Token-wise KL too, under ZeRO-3."""
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: pip install 'expo-analysis[deepspeed]'")
    names = ("own_responses", "dpo", "token_kl", "derived", "precomputed")
    found = launch(tmp_path, f"zero{stage}", names, DS_ACCELERATOR="cpu")
    alone = {name: llm_distributed.train("plain32", 8, name) for name in names}
    compare(found, alone, "DeepSpeedEngine", close=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "kind"),
    [("plain", "DistributedDataParallel"), ("fsdp2", "FSDP"), ("zero2", "DeepSpeed"), ("zero3", "DeepSpeed")],
)
def test_resumed_in_two_processes(how: str, kind: str, tmp_path: Path) -> None:
    """Weights and the optimiser's state, whole or in parts: the steps after a checkpoint are those of the whole."""
    if how.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: pip install 'expo-analysis[deepspeed]'")
    names = tuple(f"resumed {name}" for name in ("token_kl", "stream", "derived", "labels"))
    found = launch(tmp_path, how, names, **({"DS_ACCELERATOR": "cpu"} if how.startswith("zero") else {}))
    for name in names:
        whole, resumed = found[name]["whole"], found[name]["resumed"]
        assert kind in found[name]["kind"] and list(whole["losses"]) == ["1", "2", "3", "4"]
        assert resumed == whole and len(whole["num_tokens"]) == 4 and len(set(whole["losses"].values())) == 4, name


@pytest.mark.slow
def test_the_recipe_in_two_processes(tmp_path: Path) -> None:
    """`accelerate launch` with the shipped file for DDP, which serves CPUs too; the same losses as in one process."""
    model, data = llm_models.llama(0), llm_models.pairs(16)
    model.save_pretrained(tmp_path / "model")
    llm_models.tokenizer().save_pretrained(tmp_path / "model")
    data.to_json(tmp_path / "pairs.jsonl")
    recipe = f"""\
model: {tmp_path / "model"}
dataset_name: {tmp_path / "pairs.jsonl"}
objective: expo
max_steps: 2
bf16: false
gradient_checkpointing: false
use_cpu: true
logging_steps: 1
learning_rate: 1.0e-3
train_sampling_strategy: sequential
save_strategy: "no"
report_to: none
"""
    (tmp_path / "recipe.yaml").write_text(recipe)
    common = ["-m", "expo_analysis.llm.finetune", "--config", str(tmp_path / "recipe.yaml"), "--json"]
    shipped = ROOT / "expo_analysis" / "llm" / "recipes" / "accelerate" / "ddp.yaml"
    two = ["-m", "accelerate.commands.launch", "--config_file", str(shipped), "--num_processes", "2"]
    two += ["--main_process_port", "0"]
    found = []
    for launcher, size in ((two, "4"), ([], "8")):
        out = tmp_path / f"out{size}"
        flags = ["--per_device_train_batch_size", size, "--output_dir", str(out)]
        done = subprocess.run(
            [sys.executable, *launcher, *common, *flags],
            cwd=ROOT,
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-8000:]
        found.append(json.loads((out / "summary.json").read_text()))
    assert [summary["processes"] for summary in found] == [2, 1]
    for name, row in found[1]["metrics"].items():
        for key in ("first", "last"):
            assert found[0]["metrics"][name][key] == pytest.approx(row[key], rel=1e-5, abs=1e-5), (name, key)
