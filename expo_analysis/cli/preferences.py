"""``expo-analysis preferences``."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from .._files import writable
from . import preferences_options as option
from .errors import bad_input, language_models
from .rewards import REFERENCE, check_reward, device_of, parse_reward

if TYPE_CHECKING:  # transformers takes seconds to import, and is not needed for help
    from ..llm.data.preferences import Settings


def preferences(
    prompts: option.PromptFile,
    output: option.Output,
    model: option.Model = "smollm2",
    reward: option.RewardName = "vader",
    reward_label: option.RewardLabel = None,
    scored: option.Scored = "response",
    responses: option.Responses = 4,
    reference_samples: option.ReferenceSamples = 0,
    max_new_tokens: option.MaxNewTokens = 24,
    temperature: option.Temperature = 1.0,
    top_p: option.TopP = 1.0,
    pairs: option.Pairs = "all",
    label_temperature: option.LabelTemperature = 1.0,
    reference_share: option.ReferenceShare = 0.0,
    seed: option.Seed = 0,
    column: option.Column = "prompt",
    chat: option.Chat = False,
    limit: option.Limit = None,
    max_prompt_length: option.MaxPromptLength = None,
    on_bad_rows: option.OnBadRows = "error",
    batch_size: option.BatchSize = 16,
    dtype: option.DType = "float32",
    device: option.Device = None,
    restart: option.Restart = False,
    as_json: option.AsJson = False,
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
    Two files are written beside the data set: .settings.json with settings, counts and the meaning
    of the columns, and .responses.jsonl with all that was sampled. The latter is written batch by
    batch: after a run was stopped, the same command resumes it. Another reward, other labels or
    more responses use it as well.

    \b
    --json prints {"files": {"data": ..., "settings": ..., "responses": ...}, "settings": {...},
    "counts": {"prompts": ..., "pairs": ..., ...}, "columns": {...}, "versions": {...}}.
    """
    given = SimpleNamespace(**locals())
    with bad_input(), contextlib.redirect_stdout(sys.stderr):
        with language_models():
            from ..llm.data.journal import JournalError
            from ..llm.data.preference_files import NoPairs
            from ..llm.data.rewards import RewardError
            from ..llm.data.sampling import NotFinite
        work = _prepare(given)
    errors = Console(stderr=True)
    for line in work.prompts.report.lines():
        errors.print(Text(line), soft_wrap=True)
    with (
        bad_input(lambda error: isinstance(error, JournalError | NoPairs | NotFinite | RewardError)),
        contextlib.redirect_stdout(sys.stderr),  # what libraries and the user's function print
        _progress(errors) as report,
    ):
        rows, document = _make(given, work, report)
    _show(rows, document, work.files, errors, as_json)


# ---------------------------------------------------------------------------------------------------------------- work


def _settings(given: SimpleNamespace) -> Settings:
    from ..llm.data.preferences import Settings
    from ..llm.data.sampling import Sampling

    return Settings(
        responses=given.responses,
        reference_samples=given.reference_samples,
        sampling=Sampling(given.max_new_tokens, given.temperature, given.top_p, given.seed),
        pairs=_pairs(given.pairs),
        label_temperature=given.label_temperature,
        reference_share=given.reference_share,
        batch_size=given.batch_size,
    )


def _prepare(given: SimpleNamespace) -> SimpleNamespace:
    """Everything that can go wrong by bad input: settings, prompts, reward, tokenizer and model, in this order."""
    from ..llm.data.preference_files import paths_of
    from ..llm.data.prompts import read_prompts, tokenize
    from ..llm.models import find_model, load_model, load_tokenizer, without_progress_bars

    without_progress_bars()
    work = SimpleNamespace(settings=_settings(given))
    _check_options(given)
    work.files = paths_of(given.output)
    writable(given.output.parent)
    prompts = read_prompts(given.prompts, given.column, given.on_bad_rows).first(given.limit)
    if given.chat:
        prompts = prompts.said_by_user()
    work.reward, device = None, device_of(given.device)
    if given.reward != REFERENCE:
        work.reward = parse_reward(given.reward, given.reward_label, given.scored, given.device, others=(REFERENCE,))
    if work.reward is not None:
        work.reward.try_out(prompts.prompts)
    find_model(given.model)
    work.tokenizer = load_tokenizer(given.model)
    work.prompts, work.ids = tokenize(prompts, work.tokenizer, given.max_prompt_length, given.on_bad_rows)
    work.model = load_model(given.model, dtype=given.dtype)
    _leave_room(work, given)
    work.model = work.model.to(device)
    if given.restart:
        work.files["responses"].unlink(missing_ok=True)
    return work


def _leave_room(work: SimpleNamespace, given: SimpleNamespace) -> None:
    """Refuse prompts, or leave them out, that leave the model no room for a response."""
    from ..llm.data.prompts import tokenize
    from ..llm.data.sampling import context_length
    from ..llm.held_out import check_room

    room = context_length(work.model)
    check_room(room, given.max_new_tokens)
    if room is not None and max(map(len, work.ids)) > room - given.max_new_tokens:
        limit = room - given.max_new_tokens
        work.prompts, work.ids = tokenize(work.prompts, work.tokenizer, limit, given.on_bad_rows)


def _make(
    given: SimpleNamespace, work: SimpleNamespace, report: Callable[[int, int, int], None]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Sample, score, label and write; returns the rows, and what stands beside them."""
    from ..llm.data.preference_files import write_preferences
    from ..llm.data.preferences import make_preferences

    made = make_preferences(
        work.model,
        work.tokenizer,
        work.prompts,
        work.ids,
        work.reward,
        work.settings,
        work.files["responses"],
        model_name=given.model,
        on_progress=report,
    )
    settings = {
        **{"model": given.model, "prompts": given.prompts},
        **{"reward": REFERENCE if work.reward is None else work.reward.name},
        **{"chat": given.chat, "limit": given.limit, "max_prompt_length": given.max_prompt_length},
        **{"on_bad_rows": given.on_bad_rows, **work.settings.to_dict()},
        **{"dtype": given.dtype, "device": str(work.model.device)},
    }
    return made.rows, write_preferences(given.output, made, settings)


def _show(
    rows: list[dict[str, Any]], document: dict[str, Any], files: dict[str, Path], errors: Console, as_json: bool
) -> None:
    names = {what: str(path) for what, path in files.items()}
    if as_json:
        typer.echo(json.dumps({"files": names} | document, indent=2, allow_nan=False, ensure_ascii=False))
        return
    for name, value in document["counts"].items():
        shown = ", ".join(f"{v} {k.replace('_', ' ')}" for k, v in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{name.replace('_', ' ')}: {f'{shown:.4g}' if isinstance(shown, float) else shown}")
    for row in rows[:2]:
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


def _check_options(given: SimpleNamespace) -> None:
    """Options that would be ignored, or that only the model would refuse after it was loaded."""
    reward = given.reward
    check_reward(reward, given.reward_label, given.scored)
    if reward == REFERENCE and given.reference_share:
        raise ValueError("reference-share is not used by the reward 'reference', which labels all prompts")
    if reward == REFERENCE and given.label_temperature != 1:
        raise ValueError("label-temperature must be 1 for the reward 'reference': else it is not optimal")
    if given.limit is not None and given.limit < 1:
        raise ValueError(f"limit must be a positive whole number, got {given.limit}")
    if given.dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16, got {given.dtype!r}")


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
