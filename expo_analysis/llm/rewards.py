"""Rewards of responses: VADER's sentiment, a sequence classifier, the reference itself, or a function of one's own.

A reward is a callable: (prompts, responses) -> one number each, as many as there are responses.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .sampling import Prompt

Reward = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float]]

REFERENCE = "reference"
"""The reward log pi_ref(y|x): labels by the reference itself, under which it is already optimal."""


def load_reward(name: str, label: str | None = None) -> Reward:
    """The reward called ``"vader"``, ``FILE.py:FUNCTION``, or by the name or folder of a sequence classifier.

    Args:
        label: the class whose log-odds a classifier's reward is, by name or number; the last one if None.

    Raises:
        ValueError: for a file, function or package that is not there.
    """
    if label is not None and (name == "vader" or ".py:" in name):
        raise ValueError(f"reward_label is not used by the reward {name!r}; it belongs to classifiers")
    if name == "vader":
        return vader()
    if ".py:" in name:
        return own_function(name)
    return classifier(name, label)


def vader() -> Reward:
    """VADER's compound sentiment of a response, from -1 to 1."""
    if importlib.util.find_spec("vaderSentiment") is None:
        raise ValueError("reward 'vader' needs the package vaderSentiment: pip install 'expo-analysis[llm]'")
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyser = SentimentIntensityAnalyzer()

    def reward(prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        return [float(analyser.polarity_scores(response)["compound"]) for response in responses]

    return reward


def classifier(name: str, label: str | None = None, batch_size: int = 16) -> Reward:
    """log p/(1 - p) of a class, from a sequence classifier that reads the response."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(name)
    tokenizer = AutoTokenizer.from_pretrained(name)
    model.eval()
    if torch.cuda.is_available():
        model.to("cuda")
    names = model.config.id2label
    place = len(names) - 1 if label is None else _class_of(label, names)

    @torch.no_grad()
    def reward(prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(responses), batch_size):
            texts = list(responses[start : start + batch_size])
            batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            batch.pop("token_type_ids", None)
            logits = model(**batch.to(model.device)).logits.double()
            others = torch.cat([logits[:, :place], logits[:, place + 1 :]], dim=1)
            rest = others.logsumexp(dim=1) if others.shape[1] else torch.zeros(len(texts), device=logits.device)
            found += (logits[:, place] - rest).tolist()
        return found

    return reward


def _class_of(label: str, names: dict[int, str]) -> int:
    for number, name in names.items():
        if label == name or label == str(number):
            return int(number)
    raise ValueError(f"reward_label must be one of {list(names.values())} or its number, got {label!r}")


def own_function(text: str) -> Reward:
    """A function in a file of the user's, from ``FILE.py:FUNCTION``."""
    file, _, name = text.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"reward must be vader, a classifier, or FILE.py:FUNCTION; {file}: No such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file}: it is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{file}: importing it failed: {type(error).__name__}: {error}") from error
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{file}: it has no function {name!r}")
    return function


def score(reward: Reward, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
    """A reward's numbers, checked.

    Raises:
        ValueError: if they are not as many as the responses, or one is not a finite number.
    """
    found = list(reward(prompts, responses))
    if len(found) != len(responses):
        raise ValueError(f"reward must give a number for each of {len(responses)} responses, but it gave {len(found)}")
    for place, value in enumerate(found):
        try:
            found[place] = float(value)
        except (TypeError, ValueError):
            found[place] = math.nan
        if not math.isfinite(found[place]):
            raise ValueError(f"reward must be a finite number, but that of response {place} is {value!r}")
    return found
