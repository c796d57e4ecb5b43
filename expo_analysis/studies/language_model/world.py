"""The data set that all runs of a sweep share, with known truth, and fresh samples to measure with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...llm.data.preferences import Settings, make_preferences
from ...llm.data.prompts import read_prompts, tokenize
from ...llm.data.rewards import vader
from ...llm.data.sampling import Draw, Sampling
from ...llm.evaluation import draw_each, texts_of
from ...llm.evaluation import rewards_of as sample_rewards
from ...llm.models import load_model, load_tokenizer
from .sweep import Sweep


@dataclass(frozen=True)
class World:
    """The data set of a sweep, and fresh samples of the reference: what all runs share.

    settings    of the sweep that it belongs to, all but the lambdas
    rows        those of `make_preferences`
    prompts     text of each prompt; ids: its tokens; halves: who labelled it
    draws       for each prompt, ``evaluated`` samples of the reference, none of which is in ``rows``
    rewards     theirs, (prompts, evaluated)
    """

    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    prompts: list[Any]
    ids: list[list[int]]
    halves: list[str]
    draws: list[list[Draw]]
    rewards: list[list[float]]

    @classmethod
    def read(cls, path: Path) -> World:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["draws"] = [[Draw(**one) for one in draws] for draws in found["draws"]]
        return cls(**found)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)


def device() -> str:
    """Where models are put."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_world(sweep: Sweep, journal: Path) -> World:
    """Sample, score and label; draw what is kept for evaluation."""
    found = read_prompts(sweep.prompts)
    tokenizer, model = load_tokenizer(sweep.model), load_model(sweep.model).to(device())
    found, ids = tokenize(found.first(sweep.prompt_count), tokenizer, None)
    settings = Settings(
        responses=sweep.responses,
        reference_samples=sweep.reference_samples,
        sampling=Sampling(sweep.max_new_tokens, seed=sweep.seed),
        pairs=sweep.pairs,
        label_temperature=sweep.label_temperature,
        reference_share=0.5,
    )
    made = make_preferences(model, tokenizer, found, ids, vader(), settings, journal, model_name=sweep.model)
    labelled = {row["prompt_index"]: row["labelled_by"] for row in made.rows}
    keep = [place for place, row in enumerate(found.rows) if row in labelled]  # some may have no two texts to compare
    prompts, ids = [found.prompts[place] for place in keep], [ids[place] for place in keep]
    draws = fresh(model, tokenizer, ids, sweep)
    return World(
        settings=sweep.shared,
        rows=made.rows,
        prompts=prompts,
        ids=ids,
        halves=[labelled[found.rows[place]] for place in keep],
        draws=draws,
        rewards=rewards_of(tokenizer, prompts, ids, draws).tolist(),
    )


def fresh(model: Any, tokenizer: Any, ids: Sequence[Sequence[int]], sweep: Sweep) -> list[list[Draw]]:
    """``evaluated`` responses to each prompt, by the same random numbers for every policy."""
    return draw_each(model, tokenizer, ids, sweep.evaluation, sweep.evaluated, 32)


def rewards_of(
    tokenizer: Any, prompts: Sequence[Any], ids: Sequence[Sequence[int]], draws: Sequence[Sequence[Draw]]
) -> np.ndarray:
    """Sentiments of responses, shape (prompts, responses to each)."""
    return sample_rewards(vader(), prompts, texts_of(tokenizer, ids, draws))
