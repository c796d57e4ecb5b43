"""The Python of the documents about language models runs, on a model of a few thousand parameters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from . import llm_models as tiny

import expo_analysis as ea  # isort: skip
from trl import DPOConfig  # isort: skip

ROOT = Path(__file__).parents[1]
PAGES = ("docs/llm.md", "docs/howto/expo.md")


@pytest.mark.parametrize("page", PAGES)
def test_its_python_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.llama().save_pretrained("model")
    tiny.tokenizer().save_pretrained("model")
    tiny.pairs(8).to_json("pairs.jsonl")
    given: dict[str, Any] = {"ea": ea, "data": tiny.pairs(8), "model": "model", "tokenizer": tiny.tokenizer()}
    given["dpo_config"] = DPOConfig("trl", use_cpu=True, bf16=False, report_to="none", save_strategy="no", max_steps=1)
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)
    assert blocks
    for block in blocks:
        source = block.replace('"out", max_steps=100', '"out", max_steps=1, use_cpu=True, bf16=False, report_to="none"')
        exec(compile(source, page, "exec"), given)
    if "trainer" in given:  # EXPO, at the page's lambda, and it trains
        assert given["trainer"].objective == ea.EXPO(0.03)
        assert given["trainer"].train().global_step == 1


RATIOS = (
    ("EXPO", "DPO (TRL)"), ("DPO", "DPO (TRL)"), ("EXPO", "DPO"), ("DPO, precomputed", "DPO, precomputed (TRL)"),
    ("EXPO", "DPO, precomputed (TRL)"), ("EXPO, LoRA", "DPO, LoRA (TRL)"), ("DPO, LoRA", "DPO, LoRA (TRL)"),
)  # fmt: skip
"""What docs/llm.md tells of step times, in its order."""


def test_step_times_are_those_of_the_benchmark() -> None:
    """The column of processor time, whenever the benchmark is run anew."""
    table = (ROOT / "benchmarks/RESULTS.md").read_text().split("## Step time and memory, two by two")[1].split("##")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.count("|") > 6]
    measured = {(row[0], row[1]): row for row in rows}
    said = (ROOT / "docs/llm.md").read_text().split("What was measured, in processor time")[1].split("##")[0]
    assert re.findall(r"0\.\d{3}", said) == [measured[pair][4] for pair in RATIOS]
    assert f"({measured[RATIOS[0]][5]} by resident memory)" in said
