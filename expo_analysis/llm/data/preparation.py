r"""From the raw data of the paper's experiments to the columns prompt, chosen and rejected.

===============  ==================================================================================================
hh               Anthropic HH: transcripts ``chosen`` and ``rejected`` that share all turns but the last one
ultrafeedback    UltraFeedback: ``instruction`` and scored ``completions``, or the binarised form, whose ``chosen``
                 and ``rejected`` are conversations with a score each
===============  ==================================================================================================

IMDb has reviews and no pairs: `imdb_prompts` makes prompts of their beginnings, for ``expo-analysis preferences`` to
sample responses to, and to score these with a sentiment classifier.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Dataset

from ...losses.base import check_option
from .columns import require
from .report import Place
from .table import origin_in, place_of, python_rows, to_dataset

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


class SkippedRow(Exception):
    """A row that makes no pair, and why."""


def split_transcript(chosen: str, rejected: str) -> dict[str, str]:
    """Prompt and responses of two transcripts of Anthropic HH.

    The prompt is all up to and including the last ``Assistant:`` of the chosen one, as in the DPO authors' code; here
    the rejected transcript has to begin with it too.

    Raises:
        SkippedRow: where that is not so, or where nothing is said.
    """
    end = chosen.rfind(ASSISTANT)
    if end < 0 or not chosen.lstrip().startswith(HUMAN.strip()):
        raise SkippedRow("not a transcript of Human and Assistant")
    prompt = chosen[: end + len(ASSISTANT)]
    if not rejected.startswith(prompt):
        raise SkippedRow("the transcripts differ before their last turn")
    responses = {"chosen": chosen[len(prompt) :], "rejected": rejected[len(prompt) :]}
    for name, response in responses.items():
        if not response.strip():
            raise SkippedRow(f"{name} says nothing in the last turn")
        if HUMAN in response:
            raise SkippedRow(f"{name} goes on after the last turn of the other")
    return {"prompt": prompt, **responses}


def from_hh(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A row of Anthropic HH."""
    if not all(isinstance(row[side], str) for side in ("chosen", "rejected")):
        raise SkippedRow("chosen or rejected is no text")
    return split_transcript(row["chosen"], row["rejected"])


def from_ultrafeedback(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A row of UltraFeedback: the completion with the best score against a random one of those with a lower score.

    Of the binarised form, whose choice is made, prompt and responses are taken apart; pairs of equal score are skipped.
    """
    if "completions" not in row:
        chosen, rejected = row["chosen"], row["rejected"]
        if not all(isinstance(side, list) and side for side in (chosen, rejected)):
            raise SkippedRow("chosen or rejected is no conversation")
        if chosen[:-1] != rejected[:-1]:
            raise SkippedRow("the conversations differ before their last message")
        scores = {"score_chosen": row["score_chosen"], "score_rejected": row["score_rejected"]}
        if None in scores.values():
            raise SkippedRow("a score is missing")
        if not scores["score_chosen"] > scores["score_rejected"]:
            raise SkippedRow("chosen has no higher score than rejected")
        return {"prompt": chosen[:-1], "chosen": chosen[-1:], "rejected": rejected[-1:], **scores}
    scored = [
        (score, one["response"])
        for one in row["completions"] or ()
        if (one.get("response") or "").strip() and (score := _score(one.get("overall_score"))) is not None
    ]
    if not scored:
        raise SkippedRow("no completion says anything and has a score")
    best, response = max(scored, key=lambda pair: pair[0])
    worse = [pair for pair in scored if pair[0] < best]
    if not worse:
        raise SkippedRow("all completions have the same score")
    score, other = worse[int(rng.integers(len(worse)))]
    return {
        "prompt": [{"role": "user", "content": row["instruction"]}],
        "chosen": [{"role": "assistant", "content": response}],
        "rejected": [{"role": "assistant", "content": other}],
        "score_chosen": best,
        "score_rejected": score,
    }


def _score(value: Any) -> float | None:
    """A score as a number; None for those that UltraFeedback does not have, such as "N/A"."""
    try:
        score = float(value)
    except (TypeError, ValueError):
        return None
    return score if math.isfinite(score) else None


PREPARATIONS: dict[str, Callable[[dict[str, Any], np.random.Generator], dict[str, Any]]] = {
    "hh": from_hh,
    "ultrafeedback": from_ultrafeedback,
}


def prepare(name: str, dataset: Dataset, seed: int = 0) -> tuple[Dataset, dict[str, list[Place]]]:
    """A raw data set as prompt, chosen and rejected, and which rows were skipped for which reason.

    Rows keep the number that they had before.

    Raises:
        ValueError: for an unknown preparation, for missing columns, or where no pair is left.
    """
    check_option("preparation", name, tuple(PREPARATIONS))
    raw = name == "ultrafeedback" and "completions" in dataset.column_names
    binarised = ("chosen", "rejected", *(("score_chosen", "score_rejected") if name == "ultrafeedback" else ()))
    require(f"the data set for preparation {name!r}", dataset.column_names, ("instruction",) if raw else binarised)
    rng, rows, places = np.random.default_rng(seed), [], []
    skipped: dict[str, list[Place]] = {}
    for number, row in enumerate(python_rows(dataset)):
        found = origin_in(row)
        place = place_of(found) if found else Place(number)
        try:
            rows.append(PREPARATIONS[name](row, rng))
            places.append(place)
        except SkippedRow as reason:
            skipped.setdefault(str(reason), []).append(place)
    if not rows:
        counts = {reason: len(where) for reason, where in skipped.items()}
        raise ValueError(f"preparation {name!r} finds no pair in {len(dataset)} rows: {counts}")
    return to_dataset(rows, places), skipped


def imdb_prompts(dataset: Dataset, tokenizer: Any, low: int = 2, high: int = 8, seed: int = 0) -> Dataset:
    """The first few tokens of each review of ``text``, ``low`` to ``high`` of them at random, as the column prompt.

    Reviews that have no more tokens than that are left out. The DPO paper's sentiment experiment has the same form.
    """
    require("the IMDb data set", dataset.column_names, ("text",))
    if not 1 <= low <= high:
        raise ValueError(f"low and high must be numbers of tokens with 1 <= low <= high, got {low} and {high}")
    rng, prompts = np.random.default_rng(seed), []
    for text in dataset["text"]:
        length = int(rng.integers(low, high + 1))
        ids = tokenizer(text, truncation=True, max_length=high + 1, add_special_tokens=False)["input_ids"]
        if len(ids) > length:
            prompts.append(tokenizer.decode(ids[:length], clean_up_tokenization_spaces=False))
    return Dataset.from_dict({"prompt": prompts})
