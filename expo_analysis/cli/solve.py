"""``expo-analysis solve``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import bad_input, remarks

UNCHECKED = ("method ", "features ", "base ", "decay ", "bandit must ")
"""How messages begin about input that only `solve_path` checks."""


Loss = Annotated[
    str,
    typer.Argument(
        metavar="LOSS", help="A name in the catalogue, or FILE.py:NAME; expo-analysis losses lists the names."
    ),
]
Lambdas = Annotated[
    list[str],
    typer.Option(
        "--lam",
        "--beta",
        metavar="LAMBDA",
        help="Lambda: a positive number, or START:STOP:COUNT for a range spaced evenly in log; repeatable.",
    ),
]
Options = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the loss; repeatable.")]
BetaName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which argument of a function is lambda, where it has no name that says so."),
]
Reference = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help="Reference policy, as 0.4,0.4,0.2; for comparisons and counts also 'uniform' or a file with a table.",
    ),
]
Optimal = Annotated[str | None, typer.Option(metavar="POLICY", help="BT-optimal policy, as 0.6,0.3,0.1.")]
Pairs = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which pairs are compared: uniform (default) or reference.")
]
BanditFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Read policies, counts or comparisons from a .json, .jsonl, .csv, .tsv (also .gz) or .parquet file.",
    ),
]
Ties = Annotated[str, typer.Option(metavar="NAME", help="What a tie counts: half (a win of each) or drop (nothing).")]
FeaturesFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Only policies pi_ref exp(features w), from a table or a .json file."),
]
Decay = Annotated[float, typer.Option(metavar="DECAY", help="Weight decay of w, beside --features.")]
Method = Annotated[str, typer.Option(metavar="NAME", help="auto, closed_form, newton or multistart.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


def solve(
    loss: Loss,
    lam: Lambdas,
    option: Options = None,
    beta_name: BetaName = None,
    reference: Reference = None,
    optimal: Optimal = None,
    pairs: Pairs = None,
    bandit: BanditFile = None,
    ties: Ties = "half",
    features: FeaturesFile = None,
    decay: Decay = 0.0,
    method: Method = "auto",
    as_json: AsJson = False,
) -> None:
    """The exact optimum of a loss on a bandit, with a proven bound on its error.

    \b
    Examples, on files in the repository:
      expo-analysis solve expo --lam 0.1 --reference 0.4,0.4,0.2 --optimal 0.6,0.3,0.1
      expo-analysis solve dpo --lam 0.1 --lam 1 --option label_smoothing=0.1 --bandit examples/wins.json
      expo-analysis solve ipo --lam 1e-3:1e3:7 --bandit examples/two_prompts.csv --json
      expo-analysis solve dpo --lam 0.5 --bandit examples/wins.csv --reference examples/reference.csv
      expo-analysis solve expo --lam 0.01 --bandit tests/files/rankings.csv --reference uniform
      expo-analysis solve dpo --lam 1 --bandit examples/misspecified.json --features examples/features.csv
      expo-analysis solve examples/exponential.py:Exponential --lam 1 --bandit examples/wins.json

    \b
    A loss of your own is a subclass of ea.PairObjective in a Python file, an instance of one, or any
    function or class that ea.from_function takes.

    \b
    FILE is one of
      JSON  {"reference": [...], "optimal": [...]}, optionally with "pairs" ("uniform",
            "reference" or a matrix), "prompt_weights", "responses" and "prompts" (names),
            "rewards", "lengths"; policies of several prompts are lists of lists
      JSON  {"reference": [...], "counts": [[...]]}: counts[i][j] is how often i beat j;
            optionally with "ties"; or instead of counts "rankings" (lists, best first), "triples"
            (third, winner, loser), "liked" and "disliked" of single responses, or "rewards" alone
      table response,reference,optimal and, for several prompts, prompt
      table of comparisons, which needs --reference and may have prompt, count and weight:
            winner,loser | model_a,model_b,winner (model_a, model_b or tie) | home_team,
            away_team,home_score,away_score | chosen,rejected (also with scores) |
            ranking,response,rank | ranking (as a > b = c) | third,winner,loser; and single
            responses with a label or a score: response,label | response,score;
            docs/bandits.md has all forms
      table of counts, a row for each winner and a column for each loser; needs --reference
    A table is CSV, TSV, Parquet, JSON Lines or a JSON array of objects.

    \b
    The FILE of --features is one of
      table response and one column for each feature; also prompt, or else all prompts share them
      JSON  {"features": [[...]]}, of shape responses x d or prompts x responses x d, and optionally
            "base", the logits at w = 0, in place of those of the reference

    \b
    --json prints {"objective": NAME, "options": {"lam": ..., ...}, "policy": [...], "value": ...,
    "status": "optimal" | "best_found" | "no_minimiser" | "not_unique" | "failed", "message": ...,
    "error_bound": ..., "iterations": ..., "certificate": "error_bound" | "optimality_conditions" |
    "theorem" | "search" | "none"}; with several prompts each of the last seven is a list over
    prompts. "responses" and "prompts" are there where the file names them. Several lambdas
    give {"solutions": [...]}, one such object for each, and so do prompts with different
    responses. What is not known is null. With --features there are "weights", w, their
    "weight_bounds", "total", the objective at w, and "direction", in which w runs to infinity
    where there is no minimiser; "parameters" where the file names them.
    """
    with bad_input():
        from ..losses.responses import refuse_undefined
        from ..optima import solve_path
        from ..own_file import in_own_file
        from .parsing import parse_bandit, parse_features, parse_lams, parse_loss

        lams = parse_lams(lam)
        chosen = parse_loss(loss, lams[0], option or [], beta_name)
        with remarks():
            problems = parse_bandit(reference, optimal, pairs, bandit, ties)
            restricted = parse_features(features, problems)
        for one in problems:
            try:
                refuse_undefined(chosen, one.bandit, one.bandit.wins > 0)
            except ValueError as error:
                raise ValueError(f"{bandit}: {error}" if bandit else str(error)) from None
        given: dict[str, Any] = {} if decay == 0 else {"decay": decay}
        given |= {} if restricted is None else {"features": restricted.features, "base": restricted.base}
    # a loss of one's own may raise anything
    with bad_input(lambda error: str(error).startswith(UNCHECKED) or in_own_file(error) is not None):
        solved = [(solve_path(chosen, one.bandit, lams, method, **given), one) for one in problems]

    from .solution_table import print_table, print_weights, to_document

    if as_json:
        documents = [to_document(one, k, of, restricted) for k in range(len(lams)) for one, of in solved]
        document = documents[0] if len(documents) == 1 else {"solutions": documents}
        typer.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        for optima, problem in solved:
            print_table(" ".join([chosen.name, *(option or [])]), optima, problem)
            if restricted is not None:
                print_weights(optima, restricted)
