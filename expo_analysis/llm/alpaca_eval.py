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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .._files import replace
from .data.files import read_file
from .data.journal import Journal, origin_of, sample_missing
from .data.prompts import Prompt, check_prompts, tokenize
from .data.report import Place
from .data.sampling import Sampling, end_tokens
from .data.texts import Texts
from .models import load_model, load_tokenizer
from .recipe_file import check_repeated


def read_instructions(path: Path) -> list[dict[str, Any]]:
    """The instructions of a file, in any form that `files.read_file` knows.

    Raises:
        OSError: the file cannot be read.
        ValueError: naming the file, and the row that has no instruction.
    """
    rows = []
    for number, (row, line) in enumerate(read_file(path)):
        if not isinstance(row.get("instruction"), str) or not row["instruction"].strip():
            raise ValueError(f"{Place(number, str(path), line)}, instruction: it must be text, and not empty")
        rows.append(row)
    return rows


def answer(
    model: str,
    instructions: Sequence[dict[str, Any]],
    sampling: Sampling,
    store: Path,
    batch_size: int,
) -> list[dict[str, Any]]:
    """One answer to each instruction, which is said by the user if the model has a chat template.

    Raises:
        ValueError: naming the instruction that is empty; `JournalError` if ``store`` has other answers.
    """
    tokenizer, policy = load_tokenizer(model), load_model(model)
    if torch.cuda.is_available():
        policy = policy.to("cuda")
    chat = tokenizer.chat_template is not None
    asked: list[Prompt] = [
        [{"role": "user", "content": row["instruction"]}] if chat else row["instruction"] for row in instructions
    ]
    prompts, ids = tokenize(check_prompts(asked, "instructions"), tokenizer, None)
    tokens_of = dict(zip(prompts.rows, ids, strict=True))
    ends = end_tokens(policy, tokenizer)
    kept = Journal(store, origin_of(policy, tokenizer, model, prompts, ids, ends, sampling))
    rows = [(row, 0) for row in prompts.rows]
    sample_missing(kept, policy, tokens_of, rows, sampling, ends, batch_size)
    texts = Texts(tokenizer, tokens_of)
    return [
        {
            "instruction": row["instruction"],
            "output": texts(one, kept.draws[one]),
            "generator": Path(model).name,
            "dataset": row.get("dataset", ""),
        }
        for row, one in zip(instructions, rows, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the answers; returns the exit code, 2 for bad input."""
    about = "Answers to AlpacaEval 2's instructions, for its judge."
    parser = argparse.ArgumentParser(description=about, allow_abbrev=False)
    parser.add_argument("model", help="a folder, a model of the Hub, or smollm2")
    parser.add_argument("instructions", type=Path, help="alpaca_eval.json")
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--max_new_tokens", type=int, default=2048)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(arguments)
    try:
        check_repeated(list(arguments), parser._actions)
        sampling = Sampling(given.max_new_tokens, given.temperature, seed=given.seed)
        rows = read_instructions(given.instructions)
        store = given.output.with_suffix(".samples.jsonl")
        answers = answer(given.model, rows, sampling, store, given.batch_size)
    except (OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    replace(given.output, (json.dumps(answers, indent=2, ensure_ascii=False) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
