"""``expo-analysis diagnose``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .audit_options import BetaName
from .errors import bad_input


def diagnose(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A folder of a run, or the file of its log.")],
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The loss: a name of the catalogue, or FILE.py:NAME. [default: what lies beside the log]",
        ),
    ] = None,
    lam: Annotated[
        float | None,
        typer.Option(
            "--lam", "--beta", metavar="LAMBDA", help="Its lambda. [default: what lies beside the log, or the log]"
        ),
    ] = None,
    beta_name: BetaName = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw it; .png, .pdf or .svg.")] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if there is a fault or a warning.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of sentences.")] = False,
) -> None:
    """Say what is going on in a training run, from its log.

    \b
    Examples:
      expo-analysis diagnose smollm2_sentiment
      expo-analysis diagnose run/checkpoint-500/trainer_state.json --objective dpo --beta 0.1
      expo-analysis diagnose wandb_export.csv --objective ipo --lam 0.05 --figure run.png

    \b
    Logs: trainer_state.json of this package, of TRL (DPO, CPO, KTO, ORPO) and of transformers; .json,
    .jsonl and .csv with a row an entry; TensorBoard's event files; a folder with one of these, of which
    the newest state counts. Of the settings, what lies beside as JSON is read; nothing is unpickled.

    \b
    Looked for: numbers that are not finite, a wrong reference, a wrong template, a lambda that is not the
    stated one, a learning rate too high, nothing that moves, labels swapped, noisy labels, overfitting,
    lambda too small and too large and by what factor, saturated margins, a KL at its clamp, displacement.
    Each with what shows it, what theory says, and what to do; where the log has not what that needs, it
    says so and finds nothing.

    \b
    --json prints {"log": ..., "steps": ..., "objective": ..., "lam": ..., "findings": [{"name": ...,
    "severity": "fault" | "warning" | "note", "summary": ..., "shows": ..., "theory": ..., "advice": ...,
    "marks": [...], "factor": ...}, ...], "clear": {...}, "unknown": {...}, "remarks": [...]}; what is
    not known is null.
    """
    with bad_input():
        from .._files import replace, writable
        from ..diagnosis import diagnose as examine

        if figure is not None:
            if figure.suffix not in (".png", ".pdf", ".svg"):
                raise ValueError(f"figure must be a file whose name ends in .png, .pdf or .svg, got {str(figure)!r}")
            writable(figure.parent)
        if beta_name is not None and objective is None:
            raise ValueError("--beta-name is not used without --objective")
        found = examine(run, objective=objective, lam=lam, beta_name=beta_name)
    if figure is not None:
        from ..figures.style import render

        replace(figure, render(found.figure(), figure.suffix.removeprefix(".")))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False, ensure_ascii=False))
    else:
        for sentence in found.sentences():
            typer.echo(sentence)
        if figure is not None:
            typer.echo(f"wrote {figure}", err=True)
    if exit_code and found.faulty:
        raise typer.Exit(1)
