"""``expo-analysis preferences``."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from .._files import writable
from ..own_file import load_file
from .errors import bad_input, language_models

if TYPE_CHECKING:  # transformers takes seconds to import, and is not needed for help
    from ..llm.data.rewards import Reward

REFERENCE = "reference"


def preferences(
    prompts: Annotated[
        str,
        typer.Option(metavar="FILE", help="Prompts: a .jsonl, .json, .csv, .parquet or .txt file, or 'sentiment'."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The data set to write, .jsonl or .parquet.")
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME", help="The reference: smollm2, a folder, or a model of the Hub.")
    ] = "smollm2",
    reward: Annotated[
        str, typer.Option(metavar="NAME", help="vader, classifier:NAME, FILE.py:FUNCTION, or reference.")
    ] = "vader",
    reward_label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Which label of the classifier is rewarded.")
    ] = None,
    scored: Annotated[
        str, typer.Option(metavar="WHAT", help="What vader and a classifier read: response or both (with its prompt).")
    ] = "response",
    responses: Annotated[int, typer.Option(metavar="K", help="Responses to compare, for each prompt.")] = 4,
    reference_samples: Annotated[
        int, typer.Option(metavar="N", help="Further responses for each prompt, for EXPO's estimator of that name.")
    ] = 0,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", help="Responses are cut after so many tokens.")] = 24,
    temperature: Annotated[
        float, typer.Option(metavar="NUMBER", help="Of sampling; 1 draws from the reference itself.")
    ] = 1.0,
    top_p: Annotated[
        float, typer.Option(metavar="NUMBER", help="Of sampling; 1 draws from the reference itself.")
    ] = 1.0,
    pairs: Annotated[str, typer.Option(metavar="N", help="Pairs to label, for each prompt: a number, or all.")] = "all",
    label_temperature: Annotated[
        float, typer.Option(metavar="NUMBER", help="Of the labels: the higher, the more of them are coin flips.")
    ] = 1.0,
    reference_share: Annotated[
        float, typer.Option(metavar="SHARE", help="Label this share of the prompts by the reference itself.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Of all random numbers.")] = 0,
    column: Annotated[str, typer.Option(metavar="NAME", help="The column with the prompts.")] = "prompt",
    chat: Annotated[bool, typer.Option("--chat", help="Take plain prompts for messages of a user.")] = False,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Use the first N prompts only.")] = None,
    max_prompt_length: Annotated[
        int | None, typer.Option(metavar="N", help="The most tokens of a prompt. Default: what the model has room for.")
    ] = None,
    on_bad_rows: Annotated[
        str, typer.Option(metavar="HOW", help="Prompts that cannot be used: error, or drop to leave them out.")
    ] = "error",
    batch_size: Annotated[int, typer.Option(metavar="N", help="Responses to sample at a time.")] = 16,
    dtype: Annotated[str, typer.Option(metavar="TYPE", help="Of the weights: float32, bfloat16, float16.")] = "float32",
    device: Annotated[str | None, typer.Option(metavar="NAME", help="Default: cuda where there is one.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what an earlier run has sampled.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print settings and counts as one JSON document.")] = False,
) -> None:
    """Preference data with known truth: sample from a model, score with a reward, draw labels.

    \b
    Examples:
      expo-analysis preferences --prompts sentiment --output sentiment_pairs.jsonl --label-temperature 0.25
      expo-analysis preferences --prompts sentiment -o half.jsonl --reference-share 0.5 --reference-samples 2
      expo-analysis preferences --prompts p.csv -o pairs.parquet --reward my.py:brevity --pairs 1
      expo-analysis preferences --prompts imdb.jsonl -o imdb.jsonl --model gpt2-large \\
        --reward classifier:lvwerra/distilbert-imdb --reward-label POSITIVE --scored both

    \b
    The labels are Bradley-Terry's: p(i > j) = sigma((r_i - r_j) / label temperature). FUNCTION
    takes a list of prompts and a list of responses, and returns a list of numbers. The reward
    'reference' is log pi_ref, at label temperature 1: the reference is optimal already.

    \b
    Beside the data set two files are written: .settings.json with settings, counts and the meaning
    of the columns, and .responses.jsonl with all that was sampled. The latter is written batch by
    batch: after a run was stopped, the same command goes on where it was. Another reward, other
    labels or more responses use it as well.

    \b
    --json prints {"files": {"data": ..., "settings": ..., "responses": ...}, "settings": {...},
    "counts": {"prompts": ..., "pairs": ..., ...}, "columns": {...}, "versions": {...}}.
    """
    with bad_input(), contextlib.redirect_stdout(sys.stderr):
        with language_models():
            from ..llm.data.journal import JournalError
            from ..llm.data.preferences import NoPairs, Settings, make_preferences, paths_of
            from ..llm.data.preferences import write_preferences as write
            from ..llm.data.prompts import Prompts, read_prompts, tokenize
            from ..llm.data.rewards import RewardError
            from ..llm.data.sampling import Sampling, context_length
            from ..llm.models import load_model, load_tokenizer, without_progress_bars
        without_progress_bars()
        settings = Settings(
            responses=responses,
            reference_samples=reference_samples,
            sampling=Sampling(max_new_tokens, temperature, top_p, seed),
            pairs=_pairs(pairs),
            label_temperature=label_temperature,
            reference_share=reference_share,
            batch_size=batch_size,
        )
        _check_options(reward, reward_label, scored, reference_share, label_temperature, limit, dtype)
        files = paths_of(output)
        writable(output.parent)
        found = read_prompts(prompts, column, on_bad_rows)
        if limit is not None:
            found = Prompts(found.prompts[:limit], found.rows[:limit], [p for p in found.dropped if p.row < limit])
        if chat and not found.conversational:
            messages = [[{"role": "user", "content": str(prompt)}] for prompt in found.prompts]
            found = Prompts([*messages], found.rows, found.dropped)
        scorer = _reward(reward, reward_label, scored, device)
        if scorer is not None:
            scorer.try_out(found.prompts)
        tokenizer = load_tokenizer(model)
        found, ids = tokenize(found, tokenizer, max_prompt_length, prompts, on_bad_rows)
        reference = load_model(model, dtype=dtype)
        room = context_length(reference)
        if room is not None and max(map(len, ids)) > room - max_new_tokens:
            found, ids = tokenize(found, tokenizer, room - max_new_tokens, prompts, on_bad_rows)
        reference = reference.to(device or _default_device())
        if restart:
            files["responses"].unlink(missing_ok=True)

    errors = Console(stderr=True)
    with (
        bad_input(lambda error: isinstance(error, JournalError | NoPairs | RewardError)),
        contextlib.redirect_stdout(sys.stderr),  # what libraries and the user's function print
        _progress(errors) as report,
    ):
        made = make_preferences(
            reference,
            tokenizer,
            found,
            ids,
            scorer,
            settings,
            files["responses"],
            model_name=model,
            on_progress=report,
        )
        document = write(
            output,
            made,
            {
                "model": model,
                "prompts": prompts,
                **{"reward": REFERENCE if scorer is None else scorer.name, "chat": chat, "limit": limit},
                "max_prompt_length": max_prompt_length,
                "on_bad_rows": on_bad_rows,
                **settings.to_dict(),
                **{"dtype": dtype, "device": str(reference.device)},
            },
        )
    names = {what: str(path) for what, path in files.items()}
    if as_json:
        typer.echo(json.dumps({"files": names} | document, indent=2, allow_nan=False, ensure_ascii=False))
        return
    for name, value in document["counts"].items():
        shown = ", ".join(f"{v} {k.replace('_', ' ')}" for k, v in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{name.replace('_', ' ')}: {f'{shown:.4g}' if isinstance(shown, float) else shown}")
    for row in made.rows[:2]:
        typer.echo(json.dumps({key: row[key] for key in ("prompt", "chosen", "rejected")}, ensure_ascii=False))
    for path in names.values():
        errors.print(Text(f"wrote {path}"), soft_wrap=True)


# --------------------------------------------------------------------------------------------------------------- input


def _pairs(text: str) -> int | None:
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"pairs must be a positive whole number, or all; got {text!r}") from None


def _check_options(
    reward: str,
    reward_label: str | None,
    scored: str,
    reference_share: float,
    label_temperature: float,
    limit: int | None,
    dtype: str,
) -> None:
    """Options that would be ignored, or that only the model would refuse after it was loaded."""
    if reward_label is not None and not reward.startswith("classifier:"):
        raise ValueError(f"reward-label is not used by the reward {reward!r}: it is for classifiers")
    if scored != "response" and not (reward == "vader" or reward.startswith("classifier:")):
        raise ValueError(f"scored is not used by the reward {reward!r}: it is for vader and classifiers")
    if reward == REFERENCE and reference_share:
        raise ValueError("reference-share is not used by the reward 'reference', which labels all prompts")
    if reward == REFERENCE and label_temperature != 1:
        raise ValueError("label-temperature must be 1 for the reward 'reference': else it is not optimal")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be a positive whole number, got {limit}")
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16, got {dtype!r}")


def _reward(name: str, label: str | None, scored: str, device: str | None) -> Reward | None:
    """The reward of this name; None for the reference's own log-probabilities."""
    from ..llm.data.rewards import classifier, vader

    kind, _, rest = name.rpartition(":")
    if name == REFERENCE:
        return None
    if name == "vader":
        return vader(scored)
    if name.startswith("classifier:"):
        return classifier(name.removeprefix("classifier:"), label, scored, device=device)
    if kind.endswith(".py"):
        return own_reward(Path(kind), rest)
    raise ValueError(f"reward must be vader, reference, classifier:NAME or FILE.py:FUNCTION, got {name!r}")


def own_reward(file: Path, name: str) -> Reward:
    """The reward that ``FILE.py:FUNCTION`` names.

    Raises:
        ValueError: naming the file or function and what is wrong with it.
    """
    from ..llm.data.rewards import Reward

    function: Callable[..., Any] | None = getattr(load_file(file), name, None)
    if not callable(function):
        raise ValueError(f"{file}: it has no function {name!r}")
    # a file that was changed has another name, so that its old scores are not taken for its new ones
    return Reward(f"{file}:{name} {sha256(file.read_bytes()).hexdigest()[:8]}", function)


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


# -------------------------------------------------------------------------------------------------------------- output


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int, int], None]]:
    """A bar of responses, with the time that is left and the speed of this run."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("responses", total=None, speed="")

        def report(done: int, total: int, tokens: int) -> None:
            elapsed = progress.tasks[0].elapsed
            speed = f"{tokens / elapsed:.0f} tokens/s" if tokens and elapsed else ""
            progress.update(task, completed=done, total=total, speed=speed)

        yield report
