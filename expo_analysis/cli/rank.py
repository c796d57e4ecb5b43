"""``expo-analysis rank``."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import bad_input, remarks
from .solve import BetaName, Options, Ties

if TYPE_CHECKING:
    import pandas as pd

    from ..bandit.paired import Comparisons
    from ..losses import Objective
    from ..optima import LambdaChoice, Solution

MOST, FIRST = 2_000, 20
"""Responses up to which all have intervals, and of how many there are some beyond, where nothing is said."""
LIKELIHOOD = "bradley_terry"
COLUMNS = (
    *("response", "policy", "score", "standard_error"),
    *("low", "high", "low_all", "high_all", "best", "worst"),
)
"""Of a ranking as JSON."""
UNCHECKED = ("objective must ", "data must ", "every one of lams ", "lams must ")
"""How messages begin about input that only `solve` and `choose_lambda` check."""

NO_INTERVALS = "solution must "
"""How the message begins where there is no one optimum, or no intervals of it."""

File = Annotated[Path, typer.Argument(metavar="FILE", help="Comparisons: .csv, .tsv, .jsonl (also .gz) or .parquet.")]
Loss = Annotated[
    str,
    typer.Option("--objective", metavar="LOSS", help="A convex loss of log-ratios: a name, or FILE.py:NAME."),
]
Lambda = Annotated[
    float | None,
    typer.Option("--lam", "--beta", metavar="LAMBDA", help="Lambda; bradley_terry has 1 where none is given."),
]
Choose = Annotated[bool, typer.Option("--choose-lambda", help="Choose lambda on the data, by cross-validation.")]
ReferenceFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A table response,reference. [default: all are equal]"),
]
Alpha = Annotated[float, typer.Option(metavar="ALPHA", help="With which probability an interval may miss.")]
Top = Annotated[int | None, typer.Option(metavar="N", help="Show the first N. [default: all up to 2,000, then 20]")]
Picture = Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw it; .png, .pdf or .svg.")]


def rank(
    file: File,
    objective: Loss = LIKELIHOOD,
    lam: Lambda = None,
    choose: Choose = False,
    option: Options = None,
    beta_name: BetaName = None,
    ties: Ties = "half",
    reference: ReferenceFile = None,
    alpha: Alpha = 0.05,
    top: Top = None,
    figure: Picture = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Rank models, teams or players by who beat whom, with intervals and a proven bound.

    \b
    Examples, on files in the repository:
      expo-analysis rank examples/arena.csv --figure arena.png
      expo-analysis rank examples/premier_league_2015_16.csv --objective expo --choose-lambda
      expo-analysis rank tests/files/arena.jsonl --ties drop --objective expo --lam 0.1 --json

    \b
    FILE has a comparison in each row, in any of these forms; it may be of any length:
      winner,loser | winner,loser,tie (tie: true or false) | model_a,model_b,winner (model_a,
      model_b or tie) | home_team,away_team,home_score,away_score | chosen,rejected and others, in
      docs/bandits.md; each also with count and weight, which multiply a row

    \b
    The score is log pi less its mean over all: the log-odds against an average one. It has the
    interval of each, and one that is wider so that all hold together. "places" are between which
    the true place is, all together with 1 - ALPHA. Where somebody won everything there is no
    Bradley-Terry fit: the order is said, and --objective expo has an optimum on all data.

    \b
    --json prints {"objective": NAME, "options": {"lam": ..., ...}, "comparisons": ..., "responses":
    ..., "status": ..., "message": ..., "certificate": ..., "error_bound": ..., "alpha": ...,
    "chosen": null or {"lams": [...], "scores": [...]}, "ranking": [{"place": 1, "response": ...,
    "policy": ..., "score": ..., "standard_error": ..., "low": ..., "high": ..., "low_all": ...,
    "high_all": ..., "best": ..., "worst": ...}, ...]}; what is not known is null.
    """
    with bad_input():
        from .._checks import check_number, check_whole
        from .parsing import parse_loss

        check_number("alpha", alpha, 0.0, 1.0)
        if top is not None:
            check_whole("top", top, 1)
        if lam is not None and choose:
            raise ValueError("give --lam or --choose-lambda, not both")
        loss = parse_loss(objective, 1.0 if lam is None else lam, option or [], beta_name)
        if lam is None and not choose and objective != LIKELIHOOD:
            raise ValueError(f"lam must be given for {objective}, by --lam LAMBDA or --choose-lambda")
        if figure is not None:
            _check_picture(figure)
        with remarks():
            games = _comparisons(file, ties, reference)
    from ..own_file import in_own_file

    with bad_input(lambda error: str(error).startswith(UNCHECKED) or in_own_file(error) is not None):
        solution, chosen = _solved(loss, games, choose)
    frame = ranking_of(solution, alpha, top)
    if figure is not None:
        with bad_input(lambda error: str(error).startswith(NO_INTERVALS)):
            _draw(solution, alpha, len(frame), figure)
    if as_json:
        typer.echo(json.dumps(_document(solution, chosen, frame, alpha), indent=2, allow_nan=False))
        return
    from .rank_table import print_ranking

    print_ranking(solution, chosen, frame, alpha)
    if figure is not None:
        typer.echo(f"wrote {figure}", err=True)


def _check_picture(figure: Path) -> None:
    from .._files import writable

    if figure.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"figure must be a file whose name ends in .png, .pdf or .svg, got {str(figure)!r}")
    writable(figure.parent)


def _comparisons(file: Path, ties: str, reference: Path | None) -> Comparisons:
    from ..bandit.chunks import read_comparisons
    from ..bandit.files import read_reference

    for path in (file, reference):
        if path is not None and not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    known = None if reference is None else read_reference(reference)
    try:
        return read_comparisons(file, ties=ties, reference=known, responses=None if known is None else known.index)
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(f"{file}: ") else f"{file}: {error}") from None


def _solved(loss: Objective, games: Comparisons, choose: bool) -> tuple[Solution, LambdaChoice | None]:
    from ..optima import choose_lambda, solve

    if not choose:
        return solve(loss, games), None
    chosen = choose_lambda(loss, games)
    return chosen.solution, chosen


def ranking_of(solution: Solution, alpha: float, top: int | None) -> pd.DataFrame:
    """`Solution.ranking`; where no optimum is proven, or it is not the only one, the order without intervals."""
    import numpy as np
    import pandas as pd

    n, names = solution.bandit.n, solution.bandit.responses
    kept = min(n, top or (n if n <= MOST else FIRST))
    try:
        return solution.ranking(alpha, top=None if n <= MOST else kept).head(kept)
    except ValueError as error:
        if not str(error).startswith(NO_INTERVALS):
            raise
    order = np.argsort(-solution.log_policy, kind="stable")[:kept]
    labels = order.tolist() if names is None else [names[i] for i in order]
    index = pd.RangeIndex(1, kept + 1, name="place")
    return pd.DataFrame({"response": labels, "policy": solution.policy[order]}, index=index)


def _draw(solution: Solution, alpha: float, rows: int, figure: Path) -> None:
    from .._files import replace
    from ..figures.kinds.ranking import ranking
    from ..figures.style import render

    drawn = ranking(solution, alpha=alpha, top=min(rows, 60))
    replace(figure, render(drawn, figure.suffix.removeprefix(".")))


def _document(solution: Solution, chosen: LambdaChoice | None, frame: pd.DataFrame, alpha: float) -> dict[str, Any]:
    from .._json import plain

    told = solution.to_dict()
    kept = {name: told[name] for name in ("objective", "options", "status", "message", "certificate", "error_bound")}
    weight: Any = solution.bandit.weight  # type: ignore[union-attr]
    sizes = {"comparisons": float(weight.sum()), "responses": solution.bandit.n}
    choice = None if chosen is None else {"lams": plain(chosen.lams), "scores": plain(chosen.scores)}
    rows = [
        {"place": place} | {name: plain(row[name]) if name in row else None for name in COLUMNS}
        for place, row in zip(frame.index.tolist(), frame.to_dict("records"), strict=True)
    ]
    return kept | sizes | {"alpha": alpha, "chosen": choice, "ranking": rows}
