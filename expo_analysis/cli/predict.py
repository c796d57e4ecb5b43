"""``expo-analysis predict``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .errors import bad_input, language_models
from .rewards import device_of

if TYPE_CHECKING:  # transformers takes seconds to import, and is not needed for help
    from ..llm.prediction import Said, Sample

COLUMNS = {
    "chosen": "chosen",
    "rejected": "rejected",
    "chosen_held": "chosen,\nheld out",
    "rejected_held": "rejected,\nheld out",
    "accuracy_held": "accuracy,\nheld out",
    "drift": "drift,\nheld out",
}


def predict(
    others: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Further losses.")] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="A folder of a model, or a model of the Hub.")] = "",
    data: Annotated[
        str, typer.Option("--dataset_name", metavar="NAME", help="Pairs: a file, a folder, or a data set of the Hub.")
    ] = "",
    objective: Annotated[list[str] | None, typer.Option(metavar="NAME...", help="Losses of the catalogue.")] = None,
    lam: Annotated[
        list[str] | None,
        typer.Option("--lam", "--beta", metavar="LAMBDA", help="Lambda; repeatable. [default: 0.1]"),
    ] = None,
    pairs: Annotated[int, typer.Option(metavar="N", min=1, help="Pairs to train on, and held-out ones.")] = 32,
    samples: Annotated[int, typer.Option(metavar="K", min=0, help="Samples to a held-out prompt, for the drift.")] = 2,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Samples are cut after N tokens.")] = 64,
    max_steps: Annotated[int, typer.Option("--max_steps", metavar="N", min=1, help="Steps of training.")] = 100,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Pairs in a step.")] = 8,
    learning_rate: Annotated[float, typer.Option("--learning_rate", metavar="RATE", help="Adam's, at first.")] = 1e-6,
    orders: Annotated[int, typer.Option(metavar="N", min=1, help="Orders of the pairs that are averaged.")] = 8,
    memory: Annotated[float, typer.Option(metavar="GB", help="The most that gradients may take.")] = 8.0,
    split: Annotated[str, typer.Option(metavar="NAME", help="Which split of a folder or of the Hub's data.")] = "train",
    columns: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Which column is what: prompt=question,chosen=a,rejected=b.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of pairs, of their order and of samples.")] = 0,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the model is put. [default: cuda where there is one]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Predict what training on pairs would do, from gradients at the reference; nothing is trained.

    \b
    Examples:
      expo-analysis predict --model smollm2 --dataset_name pairs.jsonl --objective expo dpo ipo
      expo-analysis predict --model m --dataset_name pairs.jsonl --objective dpo --beta 0.1 --beta 1 --json

    \b
    Half of the prompts are held out. The gradient of log pi of every response that is trained on is
    computed once; log pi, taken to be linear in the weights, is trained with Adam at a rate that falls
    linearly to zero, for every loss and lambda, on the pairs in several orders; the network is then
    looked at with the mean of the weights that this ends with. docs/predict.md says how well that did
    where the truth is known.

    \b
    Means, in nats:
      chosen, rejected      log pi/pi_ref of the pairs' responses, and of held-out pairs
      accuracy              how often the chosen response gains more than the rejected one
      drift                 KL(pi_ref || pi), on samples of the reference to held-out prompts

    \b
    --json prints {"model": ..., "data": ..., "pairs": ..., "held_out": ..., "steps": {...},
    "predictions": [{"objective": ..., "lam": ..., "chosen": ..., "rejected": ..., "chosen_held": ...,
    "rejected_held": ..., "accuracy_held": ..., "drift": ...}, ...]}; what is not known is null.
    """
    _run(SimpleNamespace(**locals()))


def _run(given: SimpleNamespace) -> None:
    """Check, compute and show; ``given`` has the command's arguments by name."""
    errors = Console(stderr=True)
    with bad_input(), contextlib.redirect_stdout(sys.stderr):
        from ..losses.base import check_number
        from .parsing import parse_lams, parse_loss

        names = [*(given.objective or []), *(given.others or [])]
        for name, value in (("model", given.model), ("dataset_name", given.data), ("objective", names)):
            if not value:
                raise ValueError(f"{name} must be given: --{name}")
        lams = parse_lams(given.lam or ["0.1"])
        objectives = [parse_loss(name, lam, []) for name in names for lam in lams]
        check_number("learning_rate", given.learning_rate, 0.0)
        check_number("memory", given.memory, 0.0)
        with language_models():
            from ..llm.prediction import Steps, check_objective
        steps = Steps(given.max_steps, given.batch_size, given.learning_rate, given.orders, given.seed)
        for one in objectives:
            check_objective(one)
        model, tokenizer, sample = _prepare(given)
    with contextlib.redirect_stdout(sys.stderr), _progress(errors, 2 * len(sample.trained) + len(objectives)) as tell:
        from ..llm.prediction import predict as compute

        found = compute(model, _with_samples(given, model, tokenizer, sample), objectives, steps, tell)  # type: ignore[arg-type]
    made = _document(given, sample, [(one.name, one.lam) for one in objectives], found)
    if given.as_json:
        typer.echo(json.dumps(made, indent=2, allow_nan=False, ensure_ascii=False))
    else:
        _print(made)


def _prepare(given: SimpleNamespace) -> tuple[Any, Any, Sample]:
    """The model, its tokenizer and the pairs."""
    from ..llm.held_out import read_held_out
    from ..llm.models import context_of, find_model, load_model, load_tokenizer, without_progress_bars
    from ..llm.prediction import Sample, split_pairs

    without_progress_bars()
    device = device_of(given.device)
    find_model(given.model)
    tokenizer = load_tokenizer(given.model)
    options: dict[str, Any] = {"split": given.split, "columns": given.columns}
    data, _ = read_held_out(
        given.data, tokenizer, room=context_of(given.model), new_tokens=given.max_new_tokens, **options
    )
    trained, held = split_pairs(data, given.pairs, given.seed)
    model = load_model(given.model, dtype="float32").to(device)
    weights = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    most = int(given.memory * 1e9 / (8 * weights))
    if most < len(trained):
        raise ValueError(
            f"pairs must be at most {most} for {weights:,} weights and {given.memory:g} GB, got {len(trained)}: "
            "give fewer with --pairs, or more with --memory"
        )
    return model, tokenizer, Sample(data, trained, held, [])


def _with_samples(given: SimpleNamespace, model: Any, tokenizer: Any, sample: Sample) -> Sample:
    """With responses that the reference itself gives to held-out prompts."""
    if not given.samples:
        return sample
    from ..llm.data.sampling import Sampling
    from ..llm.evaluation import draw_each

    prompts = list({pair.prompt: None for pair in sample.held})
    ids = [sample.data.ids[prompt] for prompt in prompts]
    draws = draw_each(model, tokenizer, ids, Sampling(given.max_new_tokens, seed=given.seed), given.samples, 16)
    drawn = [(prompt, list(one.ids)) for prompt, own in zip(prompts, draws, strict=True) for one in own]
    return dataclasses.replace(sample, samples=drawn)


def _document(
    given: SimpleNamespace, sample: Sample, losses: list[tuple[str, float]], found: list[Said]
) -> dict[str, Any]:
    from .._json import plain

    return {
        "model": given.model,
        "data": given.data,
        "pairs": len(sample.trained),
        "held_out": len(sample.held),
        "samples": given.samples,
        "steps": {
            "max_steps": given.max_steps,
            "batch_size": given.batch_size,
            "learning_rate": given.learning_rate,
            "orders": given.orders,
            "seed": given.seed,
        },
        "predictions": [
            {"objective": name, "lam": lam} | plain(dataclasses.asdict(one))
            for (name, lam), one in zip(losses, found, strict=True)
        ],
    }


def _print(made: dict[str, Any]) -> None:
    table = Table(box=SIMPLE, pad_edge=False)
    for name in ("loss", "lambda", *COLUMNS.values()):
        table.add_column(name, justify="left" if name == "loss" else "right", no_wrap=True)
    for row in made["predictions"]:
        cells = ("" if row[name] is None else f"{row[name]:.3g}" for name in COLUMNS)
        table.add_row(row["objective"], f"{row['lam']:g}", *cells)
    console, steps = Console(width=110), made["steps"]
    console.print(table)
    line = (
        f"Before training: {steps['max_steps']} steps of {steps['batch_size']} of {made['pairs']} pairs at "
        f"{steps['learning_rate']:g}; {made['held_out']} pairs are held out. Log-ratios to the reference, in nats."
    )
    console.print(Text(line), soft_wrap=True)


@contextlib.contextmanager
def _progress(console: Console, amount: int) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("gradients", total=amount)
        yield lambda: progress.update(task, advance=1)
