"""How optima look where they are printed: one line, or in a notebook a small table, however large they are."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bandit.display import count

if TYPE_CHECKING:
    from .solution import Path, Solution

FEW, ROWS = 6, 10
"""Probabilities in a line, and rows of a table, at most."""


def line(solution: Solution) -> str:
    """``<Solution: EXPO(lam=0.1), 3 responses: optimal, error bound 2e-14, policy [0.5, 0.3, 0.2]>``."""
    policy = np.asarray(solution.policy)
    sizes = [] if policy.ndim == 1 else [count(len(policy), "prompt")]
    shown = [*sizes, count(policy.shape[-1], "response")]
    few = f", policy [{', '.join(f'{p:.4g}' for p in policy)}]" if policy.ndim == 1 and len(policy) <= FEW else ""
    return f"<Solution: {solution.objective!r}, {', '.join(shown)}: {_found(solution)}{few}>"


def path_line(path: Path) -> str:
    """``<SolutionPath: EXPO at 5 lambdas from 0.01 to 100, 3 responses: optimal, error bound up to 2e-14>``."""
    lams, shape = path.lams, np.shape(path.policies)
    sizes = [count(shape[1], "prompt")] if len(shape) == 3 else []
    at = f"{count(len(lams), 'lambda')} from {lams.min():.4g} to {lams.max():.4g}" if len(lams) else "no lambda"
    what = ", ".join([f"{type(path.objective).__name__} at {at}", *sizes, count(shape[-1], "response")])
    return f"<SolutionPath: {what}: {_found(path)}>"


def table(solution: Solution) -> str:
    """HTML: a row for each response with its probabilities, of the first prompts and responses, under the line."""
    bandit = solution.bandit
    columns = {"policy": solution.policy, "reference": bandit.reference, "optimal": bandit.optimal}
    shown = {name: np.atleast_2d(values) for name, values in columns.items() if values is not None}
    several, names = np.ndim(solution.policy) == 2, bandit.responses
    prompts, n = shown["policy"].shape
    rows: list[list[str]] = []
    for x, y in np.ndindex(prompts, n):
        if len(rows) == ROWS:
            rows.append([f"and {prompts * n - ROWS:,} more"])
            break
        label = str(y) if names is None else html.escape(str(names[y]), quote=False)
        numbers = [f"{values[x, y]:.6g}" for values in shown.values()]
        rows.append([*([str(x)] if several else []), label, *numbers])
    head = [*(["prompt"] if several else []), "response", *shown]
    body = "".join(_row("td", row + [""] * (len(head) - len(row))) for row in rows)
    caption = html.escape(line(solution).strip("<>"), quote=False)
    return f"<table><caption>{caption}</caption><thead>{_row('th', head)}</thead><tbody>{body}</tbody></table>"


def _row(cell: str, texts: list[str]) -> str:
    return "<tr>" + "".join(f"<{cell}>{text}</{cell}>" for text in texts) + "</tr>"


def _found(result: Solution | Path) -> str:
    statuses = list(dict.fromkeys(str(status) for status in np.ravel(result.status)))
    bounds: Any = np.ravel(np.asarray(result.error_bound, dtype=np.float64))
    proven = bounds[np.isfinite(bounds)]
    if not len(proven):
        return f"{' or '.join(statuses)}, no error bound"
    return f"{' or '.join(statuses)}, error bound {'up to ' if len(bounds) > 1 else ''}{proven.max():.1e}"
