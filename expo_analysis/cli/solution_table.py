"""Solutions as a table on a terminal, or as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..bandit.features import NamedFeatures
from ..bandit.files import NamedBandit
from ..optima import Path as Optima

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
