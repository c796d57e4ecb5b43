"""An evaluation as a document, as tables on a terminal, and as a picture."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._files import replace
from .._json import plain
from ..llm.intervals import LEVEL, RESAMPLED, RESAMPLES, Measure

WIDTH = 120
"""Columns of the terminal that tables keep to, however many models there are."""


def document(given: SimpleNamespace, work: Any, found: dict[str, dict[str, Measure]]) -> dict[str, Any]:
    """All there is, ready for JSON; nan becomes None."""
    optimal = work.optimal
    return {
        "data": given.data,
        "prompts": len(work.data.ids),
        "pairs": len(work.data.pairs),
        "optimal": None
        if optimal is None
        else {"data": given.optimal, "prompts": len(optimal.ids), "pairs": len(optimal.pairs)},
        "responses": given.responses,
        "max_new_tokens": given.max_new_tokens,
        "lam": given.lam,
        "reward": None if work.reward is None else work.reward.name,
        "seed": given.seed,
        "interval": {"level": LEVEL, "resampled": RESAMPLED, "resamples": RESAMPLES},
        "models": {
            name: {
                "reference": work.models[name],
                "measures": {
                    key: plain({"estimate": measure.estimate, "low": measure.low, "high": measure.high})
                    for key, measure in measures.items()
                },
            }
            for name, measures in found.items()
        },
    }


def print_table(made: dict[str, Any]) -> None:
    """A row a measure, a column a model; then what the numbers are of."""
    models = made["models"]
    table = Table(box=SIMPLE, pad_edge=False, title_justify="left")
    table.add_column("measure", no_wrap=True)
    for name, entry in models.items():
        table.add_column(Text(f"{name}\nbeside {entry['reference']}"), justify="right", overflow="fold")
    names = list(dict.fromkeys(key for entry in models.values() for key in entry["measures"]))
    for key in names:
        table.add_row(key, *(_cell(entry["measures"].get(key)) for entry in models.values()))
    console = Console(width=max(WIDTH, 40 + 36 * len(models)))
    console.print(table)
    pairs = f" and {made['pairs']} pairs" if made["pairs"] else ""
    lines = [
        f"{made['data']}: {made['prompts']} prompts{pairs}; {made['responses']} samples of each policy to each prompt, "
        f"of at most {made['max_new_tokens']} tokens. KLs are in nats, of a response.",
    ]
    if made["optimal"] is not None:
        own = made["optimal"]
        pairs = f" and {own['pairs']} pairs" if own["pairs"] else ""
        lines.append(f"optimal/...: {own['data']}, {own['prompts']} prompts{pairs}.")
    if made["reward"] is not None:
        lines.append(f"Reward: {made['reward']}.")
    interval = made["interval"]
    some = any(measure["low"] is not None for entry in models.values() for measure in entry["measures"].values())
    lines.append(
        f"In brackets: {interval['level']:.0%} bootstrap intervals; resampled are {interval['resampled']}."
        if some
        else "No intervals: there is one prompt, and prompts are what is resampled."
    )
    if len({entry["reference"] for entry in models.values()}) > 1:
        lines.append(
            "The references differ: KLs, win rates and implicit rewards of different references do not compare."
        )
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _cell(measure: dict[str, float | None] | None) -> Text:
    if measure is None:
        return Text("")
    text = f"{measure['estimate']:.4g}"
    if measure["low"] is not None:
        text += f" [{measure['low']:.3g}, {measure['high']:.3g}]"
    return Text(text)


def draw(made: dict[str, Any], path: Path) -> None:
    """Write the picture."""
    from ..figures.kinds.evaluation import evaluation
    from ..figures.style import render

    rows = [
        {"model": name, "measure": key, **measure}
        for name, entry in made["models"].items()
        for key, measure in entry["measures"].items()
    ]
    frame = pd.DataFrame(rows).astype({"low": float, "high": float})
    replace(path, render(evaluation(frame), path.suffix.removeprefix(".")))
