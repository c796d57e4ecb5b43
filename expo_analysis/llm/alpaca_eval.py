r"""A model's answers to the instructions of AlpacaEval 2, in the form that its judge reads.

    python -m expo_analysis.llm.alpaca_eval MODEL alpaca_eval.json outputs.json

The instructions are a JSON list of objects with ``instruction`` (and ``dataset``); the answers one of objects with
``instruction``, ``output``, ``generator`` and ``dataset``. Responses are kept beside the output, so that a killed run
goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .models import load_model, load_tokenizer
from .sampling import Prompt, SamplingSettings, sample_all


def read_instructions(path: Path) -> list[dict[str, Any]]:
    """The instructions of a file.

    Raises:
        ValueError: naming the place in the list that has no instruction.
    """
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path} must be a JSON list of objects with the key 'instruction'")
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("instruction"), str):
            raise ValueError(f"{path}, item {place}: it must have the key 'instruction', a text")
    return rows


def answer(
    model: str,
    instructions: Sequence[dict[str, Any]],
    settings: SamplingSettings,
    store: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """One answer to each instruction, which is said by the user if the model has a chat template."""
    tokenizer = load_tokenizer(model)
    chat = tokenizer.chat_template is not None
    prompts: list[Prompt] = [
        [{"role": "user", "content": row["instruction"]}] if chat else row["instruction"] for row in instructions
    ]
    responses = sample_all(model, lambda: (load_model(model), tokenizer), prompts, settings, store, progress)
    return [
        {
            "instruction": row["instruction"],
            "output": one.texts[0],
            "generator": Path(model).name,
            "dataset": row.get("dataset", ""),
        }
        for row, one in zip(instructions, responses, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the answers; returns the exit code, 2 for bad input."""
    parser = argparse.ArgumentParser(description="Answers to AlpacaEval 2's instructions, for its judge.")
    parser.add_argument("model", help="a folder, a model of the Hub, or smollm2")
    parser.add_argument("instructions", type=Path, help="alpaca_eval.json")
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--max_new_tokens", type=int, default=2048)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        settings = SamplingSettings(1, given.max_new_tokens, given.temperature, given.batch_size, given.seed)
        rows = read_instructions(given.instructions)
        store = given.output.with_suffix(".samples.jsonl")
        answers = answer(given.model, rows, settings, store)
    except (OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    given.output.write_text(json.dumps(answers, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
