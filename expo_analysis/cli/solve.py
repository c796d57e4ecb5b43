"""``expo-analysis solve``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .errors import bad_input


def solve(
    loss: Annotated[
        str,
        typer.Argument(
            metavar="LOSS", help="A name in the catalogue, or FILE.py:CLASS; expo-analysis losses lists the names."
        ),
    ],
    lam: Annotated[
        list[str],
        typer.Option(
            "--lam",
            "--beta",
            metavar="LAMBDA",
            help="Lambda: a positive number, or START:STOP:COUNT for a range spaced evenly in log; repeatable.",
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
      expo-analysis solve examples/exponential.py:Exponential --lam 1 --bandit examples/wins.json

    \b
    A loss of your own is a subclass of ea.PairObjective in a Python file, or an instance of one.

    \b
    FILE is one of
      JSON  {"reference": [...], "optimal": [...]}, optionally with "pairs" ("uniform",
            "reference" or a matrix) and "prompt_weights"; policies of several prompts are
            lists of lists
      JSON  {"reference": [...], "counts": [[...]]}: counts[i][j] is how often i beat j
      CSV   response,reference,optimal and, for several prompts, prompt
      CSV   winner,loser and, optionally, count and prompt; needs --reference

    \b
    --json prints {"objective": NAME, "options": {"lam": ..., ...}, "policy": [...], "value": ...,
    "status": "optimal" | "best_found" | "no_minimiser" | "not_unique" | "failed", "message": ...,
    "error_bound": ..., "iterations": ..., "certificate": "error_bound" | "optimality_conditions" |
    "theorem" | "search" | "none"}; with several prompts each of the last seven is a list over
    prompts. "responses" and "prompts" are there where the file names them. Several lambdas
    give {"solutions": [...]}, one such object for each. What is not known is null.
    """
    with bad_input():
        from ..optima import solve_path
        from ..own_file import in_own_file
        from .parsing import parse_bandit, parse_lams, parse_loss

        lams = parse_lams(lam)
        chosen = parse_loss(loss, lams[0], option or [])
        problem = parse_bandit(reference, optimal, pairs, bandit)
    # the method is the only input that is not checked by now; a loss of one's own may raise anything
    with bad_input(lambda error: str(error).startswith("method ") or in_own_file(error) is not None):
        optima = solve_path(chosen, problem.bandit, lams, method)

    from .solution_table import print_table, to_document

    if as_json:
        documents = [to_document(optima, k, problem) for k in range(len(lams))]
        document = documents[0] if len(documents) == 1 else {"solutions": documents}
        typer.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        print_table(" ".join([chosen.name, *(option or [])]), optima, problem)
