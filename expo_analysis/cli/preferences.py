"""``expo-analysis preferences``."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from .errors import bad_input


def preferences(
    model: Annotated[str, typer.Option(metavar="NAME", help="smollm2, a folder, or a model of the Hub.")],
    prompts: Annotated[
        str, typer.Option(metavar="FILE", help="sentiment, a .txt file (one prompt a line), or .jsonl with 'prompt'.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .jsonl file to write.")],
    reward: Annotated[
        str, typer.Option(metavar="NAME", help="vader, reference, a sequence classifier, or FILE.py:FUNCTION.")
    ] = "vader",
    reward_label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The classifier's label that is to be likely.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Responses for each prompt that pairs are made of.")] = 4,
    reference_samples: Annotated[int, typer.Option(help="Further responses, for EXPO's estimator of that name.")] = 0,
    pairs: Annotated[int, typer.Option(help="Pairs for each prompt; 0 takes all.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(help="Responses are cut there.")] = 64,
    temperature: Annotated[float, typer.Option(help="Of sampling; 1 samples from the model itself.")] = 1.0,
    label_temperature: Annotated[float, typer.Option(help="Of the Bradley-Terry labels; 0: higher reward wins.")] = 1.0,
    batch_size: Annotated[int, typer.Option(help="Prompts sampled at a time.")] = 4,
    limit: Annotated[int | None, typer.Option(help="Take the first so many prompts only.")] = None,
    seed: Annotated[int, typer.Option(help="Of responses and labels.")] = 0,
    plain: Annotated[bool, typer.Option("--plain", help="Do not use the model's chat template.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
) -> None:
    """Preference data with known truth: sample responses, score them, draw Bradley-Terry labels.

    Responses are kept in OUTPUT with the ending .samples.jsonl, batch by batch: the same command again goes on
    where it was stopped, and another reward or temperature of labels needs no new responses.

    \b
    Examples:
      expo-analysis preferences --model smollm2 --prompts sentiment -o sentiment_pairs.jsonl
      expo-analysis preferences --model smollm2 --prompts my.txt --reward my.py:length -o pairs.jsonl
      expo-analysis preferences --model smollm2 --prompts my.txt --reward reference -o optimal.jsonl

    \b
    FILE.py:FUNCTION takes a list of prompts and a list of responses, and returns a number for each.
    --reward reference labels by the model's own log-probabilities: the model is then already optimal.
    Each row has prompt, chosen, rejected; chosen_reward, rejected_reward, and the probability that
    chosen wins; chosen_logp and rejected_logp under the model; and the rewards of all its responses.
    """
    with bad_input(), contextlib.redirect_stdout(sys.stderr):
        try:
            from ..llm.models import load_model, load_tokenizer
            from ..llm.preferences import Labelling, make_pairs, read_prompts, write_pairs
            from ..llm.rewards import REFERENCE, load_reward, score
            from ..llm.sampling import SamplingSettings, sample_all
        except ImportError as error:
            raise ValueError(str(error)) from error
        if output.suffix != ".jsonl":
            raise ValueError(f"output must be a .jsonl file, got {str(output)!r}")
        if samples < 2:
            raise ValueError(f"samples must be at least 2, to make a pair, got {samples}")
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be a positive integer, got {limit}")
        if pairs < 0:
            raise ValueError(f"pairs must be a non-negative integer, got {pairs}")
        labelling = Labelling(pairs or None, label_temperature, reference_samples, seed)
        settings = SamplingSettings(samples + reference_samples, max_new_tokens, temperature, batch_size, seed)
        if reward == REFERENCE and reward_label is not None:
            raise ValueError("reward_label is not used by the reward 'reference'; it belongs to classifiers")
        scorer = None if reward == REFERENCE else load_reward(reward, reward_label)
        tokenizer = load_tokenizer(model)
        chat = tokenizer.chat_template is not None and not plain
        asked = read_prompts(prompts, chat)[:limit]
        output.parent.mkdir(parents=True, exist_ok=True)
        store = output.with_suffix(".samples.jsonl")
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("sampling", total=len(asked))
            responses = sample_all(
                model,
                lambda: (load_model(model), tokenizer),
                asked,
                settings,
                store,
                lambda done: progress.update(task, completed=done),
            )
        rewards = []
        if scorer is None:
            rewards = [one.logps for one in responses]
        else:
            flat = score(
                scorer,
                [one.prompt for one in responses for _ in one.texts],
                [text for one in responses for text in one.texts],
            )
            rewards = np.array(flat).reshape(len(responses), settings.samples).tolist()
        rows, left_out = make_pairs(responses, rewards, labelling)
        if not rows:
            raise ValueError(f"no pair could be made of {len(responses)} prompts: {left_out}")
        write_pairs(output, rows)
    summary = {
        "output": str(output),
        "prompts": len(responses),
        "pairs": len(rows),
        **{name.replace(" ", "_"): count for name, count in left_out.items()},
        "mean_reward": float(np.mean(rewards)),
        "mean_reward_of_chosen": float(np.mean([row["chosen_reward"] for row in rows])),
        "mean_reward_of_rejected": float(np.mean([row["rejected_reward"] for row in rows])),
        "mean_probability": float(np.mean([row["probability"] for row in rows])),
        "share_of_responses_cut": float(np.mean([not done for one in responses for done in one.finished])),
    }
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    for name, value in summary.items():
        typer.echo(f"{name.replace('_', ' ')}: {f'{value:.4g}' if isinstance(value, float) else value}")
