"""``expo-analysis preferences``."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from .._files import writable
from .errors import bad_input, language_models
from .rewards import REFERENCE, check_reward, default_device, parse_reward

if TYPE_CHECKING:  # transformers takes seconds to import, and is not needed for help
    from ..llm.data.preferences import Settings


def _option(help: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, metavar=metavar, help=help)


PromptFile = Annotated[
    str,
    _option("Prompts: a file of JSON, CSV, TSV, parquet or one a line (.txt), or 'sentiment'.", metavar="FILE"),
]
Output = Annotated[Path, _option("The data set to write, .jsonl or .parquet.", "--output", "-o", metavar="FILE")]
Model = Annotated[str, _option("The reference: smollm2, a folder, or a model of the Hub.", metavar="NAME")]
RewardName = Annotated[str, _option("vader, classifier:NAME, FILE.py:FUNCTION, or reference.", metavar="NAME")]
RewardLabel = Annotated[str | None, _option("Which label of the classifier is rewarded.", metavar="LABEL")]
Scored = Annotated[
    str, _option("What vader and a classifier read: response or both (with its prompt).", metavar="WHAT")
]
Responses = Annotated[int, _option("Responses to compare, for each prompt.", metavar="K")]
ReferenceSamples = Annotated[
    int, _option("Further responses for each prompt, for EXPO's estimator of that name.", metavar="N")
]
MaxNewTokens = Annotated[int, _option("Responses are cut after this many tokens.", metavar="N")]
Temperature = Annotated[float, _option("Temperature of sampling; 1 draws from the reference itself.", metavar="NUMBER")]
TopP = Annotated[
    float, _option("Draw from the fewest tokens with this probability; 1 draws from all.", metavar="NUMBER")
]
Pairs = Annotated[str, _option("Pairs to label, for each prompt: a number, or all.", metavar="N")]
LabelTemperature = Annotated[
    float, _option("Temperature of the labels: the higher, the nearer they are to coin flips.", metavar="NUMBER")
]
ReferenceShare = Annotated[float, _option("Label this share of the prompts by the reference itself.", metavar="SHARE")]
Seed = Annotated[int, _option("Seed of all random numbers.", metavar="N")]
Column = Annotated[str, _option("The column with the prompts.", metavar="NAME")]
Chat = Annotated[bool, _option("Take plain prompts for messages of a user.", "--chat")]
Limit = Annotated[int | None, _option("Use the first N prompts only.", metavar="N")]
MaxPromptLength = Annotated[
    int | None, _option("The most tokens of a prompt. Default: what the model has room for.", metavar="N")
]
OnBadRows = Annotated[str, _option("Prompts that cannot be used: error, or drop to leave them out.", metavar="HOW")]
BatchSize = Annotated[int, _option("Responses to sample at a time.", metavar="N")]
DType = Annotated[str, _option("Type of the weights: float32, bfloat16, float16.", metavar="TYPE")]
Device = Annotated[str | None, _option("Default: cuda where there is one.", metavar="NAME")]
Restart = Annotated[bool, _option("Throw away what an earlier run has sampled.", "--restart")]
AsJson = Annotated[bool, _option("Print settings and counts as one JSON document.", "--json")]


def preferences(
    prompts: PromptFile,
    output: Output,
    model: Model = "smollm2",
    reward: RewardName = "vader",
    reward_label: RewardLabel = None,
    scored: Scored = "response",
    responses: Responses = 4,
    reference_samples: ReferenceSamples = 0,
    max_new_tokens: MaxNewTokens = 24,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    pairs: Pairs = "all",
    label_temperature: LabelTemperature = 1.0,
    reference_share: ReferenceShare = 0.0,
    seed: Seed = 0,
    column: Column = "prompt",
    chat: Chat = False,
    limit: Limit = None,
    max_prompt_length: MaxPromptLength = None,
    on_bad_rows: OnBadRows = "error",
    batch_size: BatchSize = 16,
    dtype: DType = "float32",
    device: Device = None,
    restart: Restart = False,
    as_json: AsJson = False,
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
        work = _prepare(given)
    errors = Console(stderr=True)
    for line in work.prompts.report.lines():
        errors.print(Text(line), soft_wrap=True)
    with (
        bad_input(lambda error: isinstance(error, JournalError | NoPairs | RewardError)),
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
    work.reward = None
    if given.reward != REFERENCE:
        work.reward = parse_reward(given.reward, given.reward_label, given.scored, given.device, others=(REFERENCE,))
    if work.reward is not None:
        work.reward.try_out(prompts.prompts)
    find_model(given.model)
    work.tokenizer = load_tokenizer(given.model)
    work.prompts, work.ids = tokenize(prompts, work.tokenizer, given.max_prompt_length, given.on_bad_rows)
    work.model = load_model(given.model, dtype=given.dtype)
    _leave_room(work, given)
    work.model = work.model.to(given.device or default_device())
    if given.restart:
        work.files["responses"].unlink(missing_ok=True)
    return work


def _leave_room(work: SimpleNamespace, given: SimpleNamespace) -> None:
    """Refuse prompts, or leave them out, that leave the model no room for a response."""
    from ..llm.data.prompts import tokenize
    from ..llm.data.sampling import context_length

    room = context_length(work.model)
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
