"""How a bandit looks where it is printed: one line, or in a notebook a small table, however large it is."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np

from .._types import Floats, PairMatrices
from .labels import Labels

if TYPE_CHECKING:
    from .bandit import Bandit

FEW = 6
"""The line lists the probabilities of so many responses at the most."""
PROMPTS, RESPONSES = 3, 10
"""The table has the first of them only."""


def summary(bandit: Bandit) -> str:
    """Sizes, where the preferences come from, which pairs are compared; names and policies, where they are short."""
    parts = [count(bandit.n, "response"), *([] if bandit.prompts is None else [count(bandit.prompts, "prompt")])]
    if bandit.liked is not None:
        seen = count(float(bandit.counts.sum()) if bandit.counts is not None else 0.0, "single response")
        return f"{', '.join(parts)}, {seen} with a {'score' if bandit.scored else 'label'} each"
    if bandit.counts is not None:
        parts.append(f"win counts of {count(float(bandit.counts.sum()), 'comparison')}{_ties(bandit)}")
    else:
        parts.append("stated preferences" if bandit.optimal is None else "Bradley-Terry preferences")
    line = ", ".join([*parts, _compared(bandit.pairs)])
    shown = []
    if bandit.responses is not None and bandit.n <= FEW:
        shown.append("responses " + ", ".join(map(str, bandit.responses)))
    if bandit.prompts is None and bandit.n <= FEW:
        columns = {"reference": bandit.reference, "optimal": bandit.optimal}
        columns |= {"rewards": bandit.rewards, "lengths": bandit.lengths}
        shown += [f"{name} {_numbers(values)}" for name, values in columns.items() if values is not None]
    return "; ".join([line, ", ".join(shown)]) if shown else line


def table(bandit: Bandit) -> str:
    """HTML: a row for each response, with its probabilities or its wins and losses, under the summary."""
    columns = {"reference": bandit.reference, "optimal": bandit.optimal}
    if bandit.liked is not None:
        columns |= {"liked": bandit.liked, "disliked": bandit.disliked}
    elif bandit.counts is not None:
        columns |= {"wins": bandit.counts.sum(axis=-1), "losses": bandit.counts.sum(axis=-2)}
        columns |= {"ties": None if bandit.ties is None else bandit.ties.sum(axis=-1)}
    columns |= {"rewards": bandit.rewards, "lengths": bandit.lengths}
    shown = {name: np.atleast_2d(values) for name, values in columns.items() if values is not None}
    prompts, n = np.atleast_2d(bandit.reference).shape
    several = bandit.reference.ndim == 2
    width = several + 1 + len(shown)
    rows = []
    for x in range(min(prompts, PROMPTS)):
        label = [_name(bandit.prompt_names, x)] if several else []
        for y in range(min(n, RESPONSES)):
            numbers = (f"{values[x, y]:.6g}" for values in shown.values())
            rows.append([*label, _name(bandit.responses, y), *numbers])
        if n > RESPONSES:
            rows.append([*label, f"and {count(n - RESPONSES, 'more response')}"])
    if prompts > PROMPTS:
        rows.append([f"and {count(prompts - PROMPTS, 'more prompt')}"])
    head = _row("th", [*(["prompt"] if several else []), "response", *shown])
    body = "".join(_row("td", row + [""] * (width - len(row))) for row in rows)
    caption = f"<caption>Bandit: {html.escape(summary(bandit), quote=False)}</caption>"
    return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


def count(number: float, noun: str) -> str:
    """A number, whole or not, and what is counted: "1 prompt", "2.5 comparisons"."""
    text = f"{int(number):,}" if number == int(number) else f"{number:,.6g}"
    return f"{text} {noun}{'' if number == 1 else 's'}"


def _name(names: Labels | None, index: int) -> str:
    return str(index) if names is None else html.escape(str(names[index]), quote=False)


def _ties(bandit: Bandit) -> str:
    if bandit.ties is None:
        return ""
    return f" ({count(float(bandit.ties.sum()) / 2, 'tie')} among them)"  # each stands in both orders


def _row(cell: str, texts: list[str]) -> str:
    return "<tr>" + "".join(f"<{cell}>{text}</{cell}>" for text in texts) + "</tr>"


def _compared(pairs: PairMatrices) -> str:
    """How many pairs of responses are compared, and whether equally often."""
    every = pairs.shape[-1] * (pairs.shape[-1] - 1) // 2
    graphs = pairs[None] if pairs.ndim == 2 else pairs
    if graphs.strides[0] == 0:  # what all prompts share is kept once, and looked at once
        graphs = graphs[:1]
    compared = np.count_nonzero(graphs, axis=(-1, -2)) // 2
    fewest, most = int(np.min(compared)), int(np.max(compared))
    if fewest < most:
        return f"{fewest:,} to {most:,} of {count(every, 'pair')} compared"
    if most < every:
        return f"{most:,} of {count(every, 'pair')} compared"
    weights = graphs[graphs > 0].reshape(-1, 2 * every)
    even = np.ptp(weights, axis=1).max() <= 1e-12 * weights.max()
    return f"all pairs compared{' equally often' if even else ', unevenly'}"


def _numbers(policy: Floats) -> str:
    return "[" + ", ".join(f"{p:.6g}" for p in policy) + "]"
