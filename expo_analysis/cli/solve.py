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
from ..bandit_files import NamedBandit, read_named_bandit
from ..feature_files import NamedFeatures, read_features
from ..losses import AOT, CATALOGUE, QPO, Objective, objective
from ..optima import Path as Optima
from ..optima import solve_path
from .errors import bad_input

UNCHECKED = ("method ", "features ", "base ", "decay ")
"""How messages begin about input that only `solve_path` checks."""
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
            help="Reference policy, as 0.4,0.4,0.2; for a CSV file of win counts also 'uniform' or a CSV file.",
        ),
    ] = None,
    optimal: Annotated[str | None, typer.Option(metavar="POLICY", help="BT-optimal policy, as 0.6,0.3,0.1.")] = None,
    pairs: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which pairs are compared: uniform (default) or reference.")
    ] = None,
    bandit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read policies or win counts from a .json or .csv file.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Only policies pi_ref exp(features w), from a .csv or .json file."),
    ] = None,
    decay: Annotated[float, typer.Option(metavar="DECAY", help="Weight decay of w, beside --features.")] = 0.0,
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
      expo-analysis solve dpo --lam 1 --bandit examples/misspecified.json --features examples/features.csv

    \b
    FILE is one of
      JSON  {"reference": [...], "optimal": [...]}, if wished "pairs" ("uniform", "reference"
            or a matrix) and "prompt_weights"; policies of several prompts are lists of lists
      JSON  {"reference": [...], "counts": [[...]]}: counts[i][j] is how often i beat j
      CSV   response,reference,optimal and, for several prompts, prompt
      CSV   winner,loser and, if wished, count and prompt; needs --reference

    \b
    The FILE of --features is one of
      CSV   response and one column for each feature; also prompt, or else all prompts share them
      JSON  {"features": [[...]]}, of shape responses x d or prompts x responses x d, and if
            wished "base", the logits at w = 0, in place of those of the reference

    \b
    --json prints {"objective": NAME, "options": {"lam": ..., ...}, "policy": [...], "value": ...,
    "status": "optimal" | "best_found" | "no_minimiser" | "not_unique" | "failed", "message": ...,
    "error_bound": ..., "iterations": ..., "certificate": "error_bound" | "optimality_conditions" |
    "theorem" | "search" | "none"}; with several prompts each of the last seven is a list over
    prompts. "responses" and "prompts" are there where the file names them. Several lambdas
    give {"solutions": [...]}, one such object for each. What is not known is null. With --features
    there are "weights", w, their "weight_bounds", "total", the objective at w, and "direction", in
    which w runs to infinity where there is no minimiser; "parameters" where the file names them.
    """
    with bad_input():
        lams = parse_lams(lam)
        chosen = parse_objective(loss, lams[0], option or [])
        problem = parse_bandit(reference, optimal, pairs, bandit)
        restricted = None if features is None else read_features(features, problem)
    given: dict[str, Any] = {} if decay == 0 else {"decay": decay}
    if restricted is not None:
        given |= {"features": restricted.features, "base": restricted.base}
    with bad_input(lambda error: str(error).startswith(UNCHECKED)):
        optima = solve_path(chosen, problem.bandit, lams, method, **given)
    if as_json:
        documents = [to_document(optima, k, problem, restricted) for k in range(len(lams))]
        document = documents[0] if len(documents) == 1 else {"solutions": documents}
        typer.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        print_table(" ".join([loss, *(option or [])]), optima, problem)
        if restricted is not None:
            print_weights(optima, restricted)


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


def parse_bandit(reference: str | None, optimal: str | None, pairs: str | None, file: Path | None) -> NamedBandit:
    """The bandit of ``--bandit``, or of ``--reference`` and ``--optimal``."""
    if file is not None:
        for name, value in (("optimal", optimal), ("pairs", pairs)):
            if value is not None:
                raise ValueError(f"{name} is not used beside --bandit: put it in the file")
        if reference is None or reference == "uniform" or Path(reference).suffix.lower() == ".csv":
            return read_named_bandit(file, reference)
        return read_named_bandit(file, parse_policy("reference", reference, " (or uniform, or a .csv file)"))
    if reference is None or optimal is None:
        raise ValueError("give both --reference and --optimal, or --bandit FILE")
    if pairs not in (None, "uniform", "reference"):
        raise ValueError(f"pairs must be 'uniform' or 'reference' here (a matrix goes in a file), got {pairs!r}")
    policies = [np.array(parse_policy(*given)) for given in (("reference", reference), ("optimal", optimal))]
    return NamedBandit(Bandit(policies[0], policies[1], pairs or "uniform"))


def parse_policy(name: str, text: str, also: str = "") -> list[float]:
    """Probabilities separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{name} must be numbers separated by commas{also}, such as 0.4,0.4,0.2; got {text!r}"
        ) from None


def to_document(optima: Optima, k: int, problem: NamedBandit, restricted: NamedFeatures | None) -> dict[str, Any]:
    """`Solution.to_dict` of the k-th lambda, with the names that files gave."""
    names = {"responses": problem.responses, "prompts": problem.prompts}
    if restricted is not None:
        names["parameters"] = restricted.parameters
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


def print_weights(optima: Optima, restricted: NamedFeatures) -> None:
    """One row per lambda and parameter: w and how far it can be off, and where w runs if there is no minimiser."""
    assert optima.weights is not None and optima.weight_bounds is not None and optima.direction is not None
    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    heads = ("lambda", "parameter", "w", "error bound", "direction")
    for head in heads if np.isfinite(optima.direction).any() else heads[:-1]:
        table.add_column(head, justify="left" if head == "parameter" else "right", overflow="fold")
    for k, lam in enumerate(optima.lams):
        for d, (w, bound, along) in enumerate(
            zip(optima.weights[k], optima.weight_bounds[k], optima.direction[k], strict=True)
        ):
            name = str(d) if restricted.parameters is None else f"{d} {restricted.parameters[d]}"
            off = "none proven" if np.isnan(bound) else f"{bound:.1e}"
            row = (f"{lam:.6g}" if d == 0 else "", name, f"{w:.8g}", off, "" if np.isnan(along) else f"{along:.6g}")
            table.add_row(*map(Text, row[: len(table.columns)]), end_section=d + 1 == optima.weights.shape[1])
    Console(width=200).print(table)
