r"""Preference data with known truth: pairs of a reference's own responses, labelled by Bradley-Terry on known rewards.

    P(i beats j) = sigma((r_i - r_j) / temperature)

The reward says what the optimum is: pi*(y|x) ∝ exp(r(x, y) / temperature) in the sense of THEORY section 1, over all
responses. With the reward ``reference``, log pi_ref(y|x) at temperature 1, the reference itself is optimal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from ..losses.base import check_number
from .sampling import Prompt, Responses, write_lines

PROMPTS = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class Labelling:
    """How pairs are made of scored responses.

    pairs              pairs for each prompt, drawn without repetition from all pairs of responses that differ; None
                       takes every one of them
    temperature        of the Bradley-Terry model; 0 lets the higher reward win, and leaves out ties
    reference_samples  how many of the responses, the last ones, are in no pair: the column reference_sample_ids
    seed               of the random numbers
    """

    pairs: int | None = 1
    temperature: float = 1.0
    reference_samples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pairs is not None and (type(self.pairs) is not int or self.pairs < 1):
            raise ValueError(f"pairs must be a positive integer or None, got {self.pairs!r}")
        check_number("label_temperature", self.temperature, 0.0, low_too=True)
        if type(self.reference_samples) is not int or self.reference_samples < 0:
            raise ValueError(f"reference_samples must be a non-negative integer, got {self.reference_samples!r}")


def win_probability(reward: float, other: float, temperature: float) -> float:
    """P(a response of this reward beats one of the other): sigma of their difference; a step at temperature 0."""
    if temperature == 0:
        return float(np.heaviside(reward - other, 0.5))
    return float(expit((reward - other) / temperature))


def make_pairs(
    responses: Sequence[Responses], rewards: Sequence[Sequence[float]], labelling: Labelling
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Rows of prompt, chosen, rejected and their scores, and how many prompts made no pair.

    Args:
        rewards: for each prompt the reward of each of its responses.

    Returns:
        The rows, with the columns ``prompt_id``, ``chosen_reward``, ``rejected_reward``, ``probability`` (that the
        chosen one wins), ``chosen_logp``, ``rejected_logp`` (under the reference), ``rewards`` (of all responses) and,
        if wanted, ``reference_sample_ids``; and counts of what was left out.
    """
    rows: list[dict[str, Any]] = []
    left_out = {"prompts without a pair": 0, "ties": 0}
    for number, (one, scores) in enumerate(zip(responses, rewards, strict=True)):
        rng = np.random.default_rng((labelling.seed, number))  # of its own, so that prompts can be added
        paired = len(one.texts) - labelling.reference_samples
        candidates = [
            (i, j)
            for i in range(paired)
            for j in range(i + 1, paired)
            if one.texts[i].strip() and one.texts[j].strip() and one.texts[i] != one.texts[j]
        ]
        rng.shuffle(candidates)
        made = 0
        for i, j in candidates:
            if labelling.pairs is not None and made == labelling.pairs:
                break
            probability = win_probability(scores[i], scores[j], labelling.temperature)
            if labelling.temperature == 0 and probability == 0.5:
                left_out["ties"] += 1
                continue
            if rng.random() >= probability:
                i, j, probability = j, i, 1 - probability
            rows.append(_row(number, one, scores, i, j, probability, paired))
            made += 1
        left_out["prompts without a pair"] += made == 0
    return rows, left_out


def _row(
    number: int, one: Responses, scores: Sequence[float], chosen: int, rejected: int, probability: float, paired: int
) -> dict[str, Any]:
    def response(place: int) -> Prompt:
        text = one.texts[place]
        return text if isinstance(one.prompt, str) else [{"role": "assistant", "content": text}]

    row: dict[str, Any] = {
        "prompt": one.prompt,
        "chosen": response(chosen),
        "rejected": response(rejected),
        "prompt_id": number,
        "chosen_reward": scores[chosen],
        "rejected_reward": scores[rejected],
        "probability": probability,
        "chosen_logp": one.logps[chosen],
        "rejected_logp": one.logps[rejected],
        "rewards": list(scores),
    }
    if paired < len(one.texts):
        row["reference_sample_ids"] = one.ids[paired:]
    return row


def read_prompts(name: str, chat: bool) -> list[Prompt]:
    """Prompts from a list of this package, a text file (one a line), or a .jsonl file with the column prompt.

    Args:
        chat: make a conversation of each plain prompt, with the user saying it.

    Raises:
        ValueError: naming the file, and the line that is not a prompt.
    """
    path = Path(name)
    shipped = PROMPTS / f"{name}.txt"
    if not path.exists() and path.name == name and shipped.exists():
        path = shipped
    if not path.is_file():
        names = sorted(file.stem for file in PROMPTS.glob("*.txt"))
        raise ValueError(f"prompts must be a .txt or .jsonl file, or one of {names}; got {name!r}")
    lines = path.read_text(encoding="utf-8").splitlines()
    found: list[Prompt] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        prompt: Any = line
        if path.suffix in (".jsonl", ".json"):
            try:
                prompt = json.loads(line)["prompt"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{name}, line {number}: it must be a JSON object with the key 'prompt'") from None
        if not _is_prompt(prompt):
            raise ValueError(f"{name}, line {number}: prompt must be text or a list of messages, got {prompt!r:.60}")
        found.append([{"role": "user", "content": prompt}] if chat and isinstance(prompt, str) else prompt)
    if not found:
        raise ValueError(f"{name} has no prompts")
    return found


def _is_prompt(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(m, dict) and {"role", "content"} <= set(m) for m in value)
    return isinstance(value, str) and bool(value.strip())


def write_pairs(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """The rows as JSON lines, which `expo-analysis finetune` and `datasets.load_dataset` read."""
    write_lines(path, rows)
