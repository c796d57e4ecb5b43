"""``expo-analysis evaluate``."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from .._files import writable
from .errors import bad_input, language_models
from .rewards import device_of, parse_reward

if TYPE_CHECKING:  # transformers takes seconds to import, and is not needed for help
    from ..llm.evaluation import Settings
    from ..llm.held_out import HeldOut
    from ..llm.intervals import Measure, Sums


def evaluate(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Folders of models or adapters, or models of the Hub.")
    ],
    data: Annotated[
        str, typer.Option(metavar="NAME", help="Held-out pairs or prompts: a file, a folder, or a data set of the Hub.")
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The reference. [default: what finetune began with, or an adapter's base model]"
        ),
    ] = None,
    reward: Annotated[
        str | None, typer.Option(metavar="NAME", help="vader, classifier:NAME, or FILE.py:FUNCTION.")
    ] = None,
    reward_label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Which label of the classifier is rewarded.")
    ] = None,
    scored: Annotated[
        str, typer.Option(metavar="WHAT", help="What vader and a classifier read: response or both (with its prompt).")
    ] = "response",
    optimal: Annotated[
        str | None, typer.Option(metavar="NAME", help="Further data, on which the reference was optimal already.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Which split of a folder or of the Hub's data.")] = "train",
    columns: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Which column is what: prompt=question,chosen=a,rejected=b.")
    ] = None,
    on_bad_rows: Annotated[
        str, typer.Option(metavar="HOW", help="Rows that cannot be used: error, or drop to leave them out.")
    ] = "error",
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Use the first N prompts only.")] = None,
    responses: Annotated[int, typer.Option(metavar="K", min=1, help="Samples of each policy to each prompt.")] = 4,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Samples are cut after N tokens.")] = 64,
    lam: Annotated[
        float, typer.Option("--lam", "--beta", metavar="LAMBDA", help="Implicit rewards are lambda log pi/pi_ref.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of samples and resamples.")] = 0,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Responses to sample at a time.")] = 16,
    dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="Type of the weights: float32, bfloat16 or float16.")
    ] = "float32",
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the models are put. [default: cuda where there is one]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the measures; .png or .pdf.")] = None,
) -> None:
    """Compare trained models with their references: KLs, rewards, win rates, drift, each with an interval.

    \b
    Examples:
      expo-analysis evaluate smollm2_sentiment --data heldout.jsonl
      expo-analysis evaluate dpo expo --data heldout.jsonl --reward vader --figure compared.png
      expo-analysis evaluate dpo --reference smollm2 --data prompts.txt --reward my.py:brevity --json
      expo-analysis evaluate dpo expo --data heldout.jsonl --optimal optimal.jsonl --responses 8

    \b
    Measured on held-out prompts, by samples at temperature 1 of the model and of its reference:
      kl/reference_policy, kl/policy_reference      both KLs of a response, in nats; _per_token
      reward/policy, reward/reference, win_rate     with --reward; ties count half
    and on held-out pairs, if the data have the columns chosen and rejected:
      implicit/accuracy, implicit/margin            of lambda log pi/pi_ref; ties count half
      explicit/accuracy, explicit/agreement         with --reward: how often it prefers the chosen
                                                    response, and what the implicit reward prefers
    and where the reference was optimal already (--optimal):
      optimal/kl/..., optimal/margin                all of it is drift

    \b
    Intervals are 95 % percentile intervals of the bootstrap over prompts: each resampled prompt
    comes with all of its samples and pairs. One prompt has no interval.

    \b
    --json prints {"data": ..., "prompts": ..., "pairs": ..., "responses": ..., "interval": {...},
    "models": {MODEL: {"reference": ..., "measures": {NAME: {"estimate": ..., "low": ...,
    "high": ...}}}}, ...}; what is not known is null.
    """
    _compare(SimpleNamespace(**locals()))


# ---------------------------------------------------------------------------------------------------------------- work


def _compare(given: SimpleNamespace) -> None:
    """Check, measure and show; ``given`` has the command's arguments by name."""
    errors = Console(stderr=True)
    with bad_input(), contextlib.redirect_stdout(sys.stderr):
        with language_models():
            from ..llm.data.rewards import RewardError
        work = _prepare(given)
    for line in work.remarks:
        errors.print(Text(line), soft_wrap=True)
    with (
        bad_input(lambda error: isinstance(error, RewardError | OSError | ValueError)),  # a model, or the reward
        contextlib.redirect_stdout(sys.stderr),  # what libraries and the user's function print
        _progress(errors, work.amount) as report,
    ):
        found = _evaluate_all(work, report)
    _show(given, work, found, errors)


@dataclass(frozen=True)
class Work:
    """All that was asked for, checked: models with their references, tokenizer, data, settings."""

    models: dict[str, str]
    tokenizer: Any
    data: HeldOut
    optimal: HeldOut | None
    reward: Any
    settings: Settings
    device: str
    dtype: str
    remarks: list[str]

    @property
    def amount(self) -> int:
        """How many responses are sampled or scored: of each reference once, of each model three times."""
        prompts = len(self.data.ids) + (0 if self.optimal is None else len(self.optimal.ids))
        return prompts * self.settings.responses * (3 * len(self.models) + len(set(self.models.values())))


def _prepare(given: SimpleNamespace) -> Work:
    """Everything that can go wrong by bad input, before a model is loaded."""
    from ..llm.data.sampling import Sampling
    from ..llm.evaluation import Settings
    from ..llm.held_out import read_held_out
    from ..llm.models import context_of, load_tokenizer, without_progress_bars
    from ..losses.base import check_number

    without_progress_bars()
    if given.dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16, got {given.dtype!r}")
    check_number("lam", given.lam, 0.0)
    if given.figure is not None:
        if given.figure.suffix not in (".png", ".pdf"):
            raise ValueError(f"figure must be a file whose name ends in .png or .pdf, got {str(given.figure)!r}")
        writable(given.figure.parent)
    if given.reward is None and (given.reward_label is not None or given.scored != "response"):
        raise ValueError("reward-label and scored are not used without --reward")
    device = device_of(given.device)
    models = _references(given.models, given.reference)
    reward = None
    if given.reward is not None:
        reward = parse_reward(given.reward, given.reward_label, given.scored, given.device)
    settings = Settings(Sampling(given.max_new_tokens, seed=given.seed), given.responses, given.lam, given.batch_size)
    names = list(dict.fromkeys([*models, *models.values()]))
    tokenizer = load_tokenizer(names[0])
    for name in names[1:]:
        if load_tokenizer(name).get_vocab() != tokenizer.get_vocab():
            raise ValueError(f"{name}: its tokenizer has other tokens than that of {names[0]}: they cannot be compared")
    room = min((size for size in map(context_of, names) if size is not None), default=None)
    options: dict[str, Any] = {
        **{"room": room, "new_tokens": given.max_new_tokens, "split": given.split, "columns": given.columns},
        **{"on_bad_rows": given.on_bad_rows, "limit": given.limit},
    }
    data, remarks = read_held_out(given.data, tokenizer, **options)
    optimal = None
    if given.optimal is not None:
        optimal, more = read_held_out(given.optimal, tokenizer, **options)
        remarks += more
    if given.lam != 1 and not data.pairs and not (optimal is not None and optimal.pairs):
        remarks.append("lam has no effect without pairs, of which implicit rewards are measured")
    if reward is not None:
        reward.try_out(data.prompts)
    return Work(models, tokenizer, data, optimal, reward, settings, device, given.dtype, remarks)


def _references(models: list[str], reference: str | None) -> dict[str, str]:
    """What each model is compared with."""
    from ..llm.models import find_model
    from ..llm.run_record import reference_of

    found: dict[str, str] = {}
    for name in models:
        if name in found:
            raise ValueError(f"{name} is given twice")
        find_model(name)
        found[name] = reference or reference_of(name)
    for name in set(found.values()):
        find_model(name)
    return found


def _evaluate_all(work: Work, report: Callable[[str, int], None]) -> dict[str, dict[str, Measure]]:
    """The measures of each model; a reference is loaded once for all models that are compared with it."""
    from ..llm.evaluation import Reference, evaluate
    from ..llm.intervals import measures
    from ..llm.models import load_model

    found: dict[str, dict[str, Measure]] = {}
    for base in dict.fromkeys(work.models.values()):
        reference = load_model(base, dtype=work.dtype).to(work.device)
        common = {"settings": work.settings, "tokenizer": work.tokenizer}
        sets = [(work.data, False, work.reward)] + ([] if work.optimal is None else [(work.optimal, True, None)])
        sampled = [
            Reference.of(reference, data=data, reward=reward, progress=lambda n: report(base, n), **common)  # noqa: B023
            for data, _, reward in sets
        ]
        for name in (name for name, its in work.models.items() if its == base):
            model = load_model(name, dtype=work.dtype).to(work.device)
            sums: dict[str, Sums] = {}
            for (data, optimal, reward), own in zip(sets, sampled, strict=True):
                sums |= evaluate(
                    model,
                    reference,
                    data=data,
                    sampled=own,
                    reward=reward,
                    optimal=optimal,
                    progress=lambda n: report(name, n),  # noqa: B023
                    **common,
                )
            found[name] = measures(sums, work.settings.sampling.seed)
    return {name: found[name] for name in work.models}


# -------------------------------------------------------------------------------------------------------------- output


def _show(given: SimpleNamespace, work: Work, found: dict[str, dict[str, Measure]], errors: Console) -> None:
    from .evaluation_output import document, draw, print_table

    made = document(given, work, found)
    if given.figure is not None:
        draw(made, given.figure)
        errors.print(Text(f"wrote {given.figure}"), soft_wrap=True)
    if given.as_json:
        typer.echo(json.dumps(made, indent=2, allow_nan=False, ensure_ascii=False))
    else:
        print_table(made)


@contextlib.contextmanager
def _progress(console: Console, amount: int) -> Iterator[Callable[[str, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("loading", total=amount)
        yield lambda name, more: progress.update(task, description=name, advance=more)
