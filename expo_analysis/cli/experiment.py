"""``expo-analysis experiment``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .._files import writable
from .errors import bad_input, language_models
from .output import report_files


def experiment(
    model: Annotated[
        str, typer.Option(metavar="NAME", help="smollm2, a folder, or a model of the Hub; it is the reference too.")
    ] = "smollm2",
    prompts: Annotated[
        str, typer.Option(metavar="FILE", help="A file of prompts, or 'sentiment', as in expo-analysis preferences.")
    ] = "sentiment",
    scale: Annotated[
        str | None, typer.Option(metavar="SCALE", help="small or large. [default: large where there is a GPU]")
    ] = None,
    lam: Annotated[
        list[str] | None,
        typer.Option(
            "--lam",
            "--beta",
            metavar="LAMBDA",
            help="A positive number or a range, as in expo-analysis solve; repeatable. [default: the scale's]",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where to write; made if missing.")
    ] = Path("figures"),
    work: Annotated[
        Path,
        typer.Option(
            metavar="DIRECTORY", help="Where samples and runs are kept: a sweep that was stopped resumes there."
        ),
    ] = Path("lm_runs"),
    workers: Annotated[int, typer.Option(min=1, help="How many runs to do at a time; they share the cores.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of file names.")] = False,
) -> None:
    """Fine-tune a real language model with DPO, IPO and EXPO over lambda: reward, preservation, displacement.

    The study language_model, with options of its own.

    One sweep, four figures, with their CSV files, all called lm_*. On two cores it takes about an hour. A
    sweep that was stopped resumes where it was, and one with more lambdas runs what is missing.

    \b
    Examples:
      expo-analysis experiment --workers 2
      expo-analysis experiment --workers 2 --lam 0.03 --lam 0.3
      expo-analysis experiment --scale large --model Qwen/Qwen3-0.6B --output large
    """
    with bad_input(), contextlib.redirect_stdout(sys.stderr):
        sweep = _sweep(model, prompts, scale, lam, seed)
        writable(output)
        from ..studies import STUDIES
        from ..studies.language_model.all_runs import run_sweep
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        bad_input(lambda error: isinstance(error, OSError | ValueError)),  # of the model, the prompts and the folder
        contextlib.redirect_stdout(sys.stderr),
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        bar = progress.add_task("sampling", total=None)
        tables = run_sweep(
            sweep,
            work,
            workers=workers,
            progress=lambda done, total=1.0, /, *, what="", task="": progress.update(
                bar, description=what, completed=done, total=total
            ),
        )
    report_files(STUDIES["language_model"].show(tables).write(output), tables, as_json)


def _sweep(model: str, prompts: str, scale: str | None, lam: list[str] | None, seed: int) -> Any:
    """The sweep that was asked for, its model and its prompts looked up."""
    with language_models():
        from ..llm.data.prompts import read_prompts
        from ..llm.models import find_model
        from ..studies.language_model.sweep import at_scale
        from ..studies.language_model.world import device
    from .parsing import parse_lams

    changes: dict[str, Any] = {"model": model, "prompts": prompts, "seed": seed}
    if lam:
        changes["lams"] = tuple(parse_lams(lam))
    sweep = at_scale(scale or ("small" if device() == "cpu" else "large"), **changes)
    read_prompts(prompts)
    find_model(model)
    return sweep
