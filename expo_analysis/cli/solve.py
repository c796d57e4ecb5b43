"""``expo-analysis solve``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..bandit import Bandit
from ..bandit.files import NamedBandit, read_named_bandits
from ..bandit.formats import ending
from ..losses import AOT, CATALOGUE, QPO, Objective, objective
from ..optima import Path as Optima
from ..optima import solve_path
from .errors import bad_input, remarks

MAX_RANGE = 100_000
"""The most lambdas that one range may ask for."""

LOSSES = ", ".join(
    f"{name} ({', '.join(f.name for f in fields)})" if (fields := dataclasses.fields(CATALOGUE[name])[1:]) else name
    for name in CATALOGUE
    if name not in (QPO.name, AOT.name)
)
"""What can be asked for here, with the names of the options."""

COLUMNS = {
    "lam": ("lambda", "{:.6g}"),
    "prompt": ("prompt", "{}"),
    "status": ("status", "{}"),
    "error_bound": ("error bound", "{:.1e}"),
    "response": ("response", "{}"),
    "policy": ("policy", "{:.8g}"),
    "reference": ("reference", "{:.6g}"),
    "optimal": ("optimal", "{:.6g}"),
}
"""Header and format of what the table shows of `Solution.to_frame`."""
ONCE = ["lam", "prompt", "status", "error_bound"]
"""The columns that are the same for all responses, and are shown with the first."""


def solve(
    loss: Annotated[str, typer.Argument(metavar="LOSS", help=f"One of {LOSSES}; its options in brackets.")],
    lam: Annotated[
        list[str],
        typer.Option(
            metavar="LAMBDA",
            help="A positive number, or START:STOP:COUNT for a range spaced evenly in log; repeatable.",
        ),
    ],
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the loss; repeatable.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY",
            help="Reference policy, as 0.4,0.4,0.2; for comparisons and counts also 'uniform' or a file with a table.",
        ),
    ] = None,
    optimal: Annotated[str | None, typer.Option(metavar="POLICY", help="BT-optimal policy, as 0.6,0.3,0.1.")] = None,
    pairs: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which pairs are compared: uniform (default) or reference.")
    ] = None,
    bandit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Read policies, counts or comparisons from a .json, .jsonl, .csv, .tsv (also .gz) or .parquet file.",
        ),
    ] = None,
    ties: Annotated[
        str, typer.Option(metavar="NAME", help="What a tie counts: half (a win of each) or drop (nothing).")
    ] = "half",
    method: Annotated[str, typer.Option(metavar="NAME", help="auto, closed_form, newton or multistart.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """The exact optimum of a loss on a bandit, with a proven bound on its error.

    \b
    Examples, on files in the repository:
      expo-analysis solve expo --lam 0.1 --reference 0.4,0.4,0.2 --optimal 0.6,0.3,0.1
      expo-analysis solve dpo --lam 0.1 --lam 1 --option label_smoothing=0.1 --bandit examples/wins.json
      expo-analysis solve ipo --lam 1e-3:1e3:7 --bandit examples/two_prompts.csv --json
      expo-analysis solve dpo --lam 0.5 --bandit examples/wins.csv --reference examples/reference.csv
      expo-analysis solve expo --lam 0.01 --bandit tests/files/rankings.csv --reference uniform

    \b
    FILE is one of
      JSON  {"reference": [...], "optimal": [...]}, optionally with "pairs" ("uniform",
            "reference" or a matrix), "prompt_weights", "responses" and "prompts" (names),
            "rewards", "lengths"; policies of several prompts are lists of lists
      JSON  {"reference": [...], "counts": [[...]]}: counts[i][j] is how often i beat j;
            optionally with "ties"
      table response,reference,optimal and, for several prompts, prompt
      table of comparisons, which needs --reference and may have prompt, count and weight:
            winner,loser | model_a,model_b,winner (model_a, model_b or tie) | home_team,
            away_team,home_score,away_score | chosen,rejected (also with scores) |
            ranking,response,rank | ranking (as a > b = c); docs/bandits.md has all forms
      table of counts, a row for each winner and a column for each loser; needs --reference
    A table is CSV, TSV, Parquet, JSON Lines or a JSON array of objects.

    \b
    --json prints {"objective": NAME, "options": {"lam": ..., ...}, "policy": [...], "value": ...,
    "status": "optimal" | "no_minimiser" | "not_unique" | "failed", "message": ...,
    "error_bound": ..., "iterations": ...}; with several prompts each of the last six is a list
    over prompts. "responses" and "prompts" are there where the file names them. Several lambdas
    give {"solutions": [...]}, one such object for each, and so do prompts with different
    responses. What is not known is null.
    """
    with bad_input():
        lams = parse_lams(lam)
        chosen = parse_objective(loss, lams[0], option or [])
        with remarks():
            problems = parse_bandit(reference, optimal, pairs, bandit, ties)
    with bad_input(lambda error: str(error).startswith("method ")):  # the only input that is not checked by now
        solved = [(solve_path(chosen, problem.bandit, lams, method), problem) for problem in problems]
    if as_json:
        documents = [to_document(optima, k, problem) for k in range(len(lams)) for optima, problem in solved]
        document = documents[0] if len(documents) == 1 else {"solutions": documents}
        typer.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        for optima, problem in solved:
            print_table(" ".join([loss, *(option or [])]), optima, problem)


def parse_lams(texts: list[str]) -> list[float]:
    """The lambdas of every ``--lam``, in the order given."""
    lams: list[float] = []
    for text in texts:
        ends, count = [0.0], 1
        try:
            match text.split(":"):
                case [value]:
                    ends = [float(value)]
                case [start, stop, number]:
                    ends, count = [float(start), float(stop)], int(number)
        except ValueError:
            ends = [0.0]
        if not all(0 < end < np.inf for end in ends):
            raise ValueError(f"lam must be a positive finite number, or a range such as 1e-3:1e3:13; got {text!r}")
        if len(ends) == 2 and not 2 <= count <= MAX_RANGE:
            raise ValueError(f"lam must be a range of 2 to {MAX_RANGE} values, got {text!r}")
        lams += np.geomspace(ends[0], ends[-1], count).tolist()
    return lams


def parse_objective(name: str, lam: float, texts: list[str]) -> Objective:
    """The objective with its ``name=value`` options."""
    if name == QPO.name:
        raise ValueError("qpo is made of two Python functions, psi and mu: use ea.QPO(lam, psi, mu) in Python")
    if name == AOT.name:
        raise ValueError("aot couples the pairs of a batch, and has no optimum over weighted pairs")
    options = parse_options(texts)
    for needed in required_options(CATALOGUE[name]) if name in CATALOGUE else []:
        if needed not in options:
            raise ValueError(f"{name} needs --option {needed}=VALUE")
    return objective(name, lam, **options)


def required_options(cls: type[Objective]) -> list[str]:
    """What a loss must be given besides lambda."""
    missing = dataclasses.MISSING
    return [
        field.name
        for field in dataclasses.fields(cls)[1:]
        if field.init and field.default is missing and field.default_factory is missing
    ]


def parse_options(texts: list[str]) -> dict[str, Any]:
    """The options of a loss, from every ``name=value``."""
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ValueError(f"option must be NAME=VALUE such as label_smoothing=0.1, got {text!r}")
        if key in options:
            raise ValueError(f"option {key} is given twice")
        if key in ("lam", "name"):  # the other arguments of objective()
            raise ValueError(f"{key} is not an option of a loss")
        options[key] = parse_scalar(value)
    return options


def parse_scalar(text: str) -> bool | int | float | str:
    """true and false, numbers, and whatever else there is as a string."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def parse_bandit(
    reference: str | None, optimal: str | None, pairs: str | None, file: Path | None, ties: str = "half"
) -> list[NamedBandit]:
    """The bandit of ``--bandit``, or of ``--reference`` and ``--optimal``; several where prompts' responses differ."""
    if file is not None:
        for name, value in (("optimal", optimal), ("pairs", pairs)):
            if value is not None:
                raise ValueError(f"{name} is not used beside --bandit: put it in the file")
        if reference is None or reference == "uniform" or ending(reference) is not None:
            return read_named_bandits(file, reference, ties=ties)
        given = parse_policy("reference", reference, " (or uniform, or a .csv file)")
        return read_named_bandits(file, given, ties=ties)
    if reference is None or optimal is None:
        raise ValueError("give both --reference and --optimal, or --bandit FILE")
    if pairs not in (None, "uniform", "reference"):
        raise ValueError(f"pairs must be 'uniform' or 'reference' here (a matrix goes in a file), got {pairs!r}")
    policies = [np.array(parse_policy(*both)) for both in (("reference", reference), ("optimal", optimal))]
    return [NamedBandit(Bandit(policies[0], policies[1], pairs or "uniform"))]


def parse_policy(name: str, text: str, also: str = "") -> list[float]:
    """Probabilities separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{name} must be numbers separated by commas{also}, such as 0.4,0.4,0.2; got {text!r}"
        ) from None


def to_document(optima: Optima, k: int, problem: NamedBandit) -> dict[str, Any]:
    """`Solution.to_dict` of the k-th lambda, with the names that a file gave."""
    names = {"responses": problem.responses, "prompts": problem.prompts}
    return optima[k].to_dict() | {key: value for key, value in names.items() if value is not None}


def print_table(title: str, optima: Optima, problem: NamedBandit) -> None:
    """One row per lambda, prompt and response, and below them the messages."""
    bandit, frame = optima.bandit, optima.to_frame()
    absent = {"prompt": bandit.prompts is None, "optimal": bandit.optimal is None}
    shown = pd.DataFrame({c: frame[c].map(COLUMNS[c][1].format) for c in COLUMNS if not absent.get(c)})
    shown["error_bound"] = shown["error_bound"].replace("nan", "none proven")
    for column, names in (("prompt", problem.prompts), ("response", problem.responses)):
        if names is not None:  # beside the index, because the messages speak of indices
            shown[column] += " " + pd.Series(names)[frame[column]].to_numpy()

    table = Table(title=Text(title), title_justify="left", box=SIMPLE, pad_edge=False, collapse_padding=True)
    for column in map(str, shown):
        number = pd.api.types.is_float_dtype(frame[column])
        table.add_column(COLUMNS[column][0], justify="right" if number else "left", overflow="fold")
    heads = shown.iloc[:: bandit.n].assign(message=frame["message"])
    shown.loc[frame.index % bandit.n > 0, [c for c in ONCE if c in shown]] = ""
    for i, row in enumerate(shown.itertuples(index=False), start=1):
        table.add_row(*map(Text, row), end_section=i % bandit.n == 0)

    console = Console(width=200)  # room enough on any terminal: what folds or shortens numbers is worse than long lines
    console.print(table)
    for text, group in heads.groupby("message", sort=False):
        where = "lambda " + group["lam"] + (", prompt " + group["prompt"] if "prompt" in group else "")
        everywhere = len(group) == len(heads)
        console.print(Text(str(text) if everywhere else f"{'; '.join(where)}: {text}"), soft_wrap=True)
