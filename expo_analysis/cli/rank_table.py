"""A ranking on a terminal."""

from __future__ import annotations

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..bandit.display import count
from ..optima import LambdaChoice, Solution


def print_ranking(solution: Solution, chosen: LambdaChoice | None, frame: pd.DataFrame, alpha: float) -> None:
    """One row a response, and below them what they rest on."""
    share = f"{100 * (1 - alpha):g}%"
    columns: dict[str, list[str]] = {
        "place": [str(place) for place in frame.index],
        "response": [str(name) for name in frame["response"]],
        "policy": [f"{p:.4g}" for p in frame["policy"]],
    }
    if "score" in frame:
        columns["score"] = [f"{x:.3f}" for x in frame["score"]]
        columns[share] = _between(frame, "low", "high")
        columns[f"{share}, all together"] = _between(frame, "low_all", "high_all")
    if "best" in frame:
        columns["places"] = [
            f"{best}" if best == worst else f"{best}–{worst}"
            for best, worst in zip(frame["best"], frame["worst"], strict=True)
        ]
    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    for name in columns:
        table.add_column(name, justify="left" if name == "response" else "right", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, row))
    console = Console(width=200)
    console.print(table)
    for sentence in sentences(solution, chosen, len(frame), "score" in frame):
        console.print(Text(sentence), soft_wrap=True)


def _between(frame: pd.DataFrame, low: str, high: str) -> list[str]:
    return [f"{a:.3f} to {b:.3f}" for a, b in zip(frame[low], frame[high], strict=True)]


def sentences(solution: Solution, chosen: LambdaChoice | None, shown: int, intervals: bool) -> list[str]:
    """What was solved, how lambda was chosen, and what is not shown."""
    games, n = solution.bandit, solution.bandit.n
    total = count(float(games.weight.sum()), "comparison")  # type: ignore[union-attr]
    bound = "" if solution.error_bound != solution.error_bound else f", error bound {solution.error_bound:.1e}"
    objective = solution.objective
    lam = f"lambda {objective.lam:.4g}" + ("" if chosen is None else ", chosen by cross-validation")
    said = [f"{objective.name}, {lam}: {total} of {count(n, 'response')}; {solution.status}{bound}."]
    if shown < n:
        said.append(f"The first {shown:,} of {n:,}.")
    if not intervals:
        said.append(f"No intervals: {solution.message}.")
    elif solution.message.startswith("the comparison graph has"):
        said.append(f"Between components the reference decides, and no comparison: {solution.message}.")
    if solution.status == "no_minimiser":
        said.append("--objective expo --choose-lambda has an optimum here.")
    return said
