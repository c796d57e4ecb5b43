"""How a bandit looks where it is printed: one line, or in a notebook a small table, however large it is."""

from __future__ import annotations

import numpy as np

from ._types import Floats, PairMatrices, Policies

FEW = 6
"""The line lists the probabilities of so many responses at the most."""
PROMPTS, RESPONSES = 3, 10
"""The table has the first of them only."""


def summary(reference: Policies, optimal: Policies | None, pairs: PairMatrices, counts: PairMatrices | None) -> str:
    """Sizes, where the preferences come from, which pairs are compared; and the policies, where they are short."""
    *prompts, n = reference.shape
    parts = [_count(n, "response"), *(_count(number, "prompt") for number in prompts)]
    if counts is not None:
        parts.append(f"win counts of {_count(int(counts.sum()), 'comparison')}")
    else:
        parts.append("stated preferences" if optimal is None else "Bradley-Terry preferences")
    line = ", ".join([*parts, _compared(pairs)])
    if not prompts and n <= FEW:
        named = {"reference": reference, "optimal": optimal}
        line += "; " + ", ".join(f"{name} {_numbers(policy)}" for name, policy in named.items() if policy is not None)
    return line


def table(reference: Policies, optimal: Policies | None, pairs: PairMatrices, counts: PairMatrices | None) -> str:
    """HTML: a row for each response, with its probabilities or its wins and losses, under the summary."""
    columns = {"reference": reference, "optimal": optimal}
    if counts is not None:
        columns |= {"wins": counts.sum(axis=-1), "losses": counts.sum(axis=-2)}
    shown = {name: np.atleast_2d(values) for name, values in columns.items() if values is not None}
    prompts, n = np.atleast_2d(reference).shape
    several = reference.ndim == 2
    width = several + 1 + len(shown)
    rows = []
    for x in range(min(prompts, PROMPTS)):
        label = [str(x)] if several else []
        for y in range(min(n, RESPONSES)):
            rows.append([*label, str(y), *(f"{values[x, y]:.6g}" for values in shown.values())])
        if n > RESPONSES:
            rows.append([*label, f"and {_count(n - RESPONSES, 'more response')}"])
    if prompts > PROMPTS:
        rows.append([f"and {_count(prompts - PROMPTS, 'more prompt')}"])
    head = _row("th", [*(["prompt"] if several else []), "response", *shown])
    body = "".join(_row("td", row + [""] * (width - len(row))) for row in rows)
    caption = f"<caption>Bandit: {summary(reference, optimal, pairs, counts)}</caption>"
    return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


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
        return f"{fewest:,} to {most:,} of {_count(every, 'pair')} compared"
    if most < every:
        return f"{most:,} of {_count(every, 'pair')} compared"
    weights = graphs[graphs > 0].reshape(-1, 2 * every)
    even = np.ptp(weights, axis=1).max() <= 1e-12 * weights.max()
    return f"all pairs compared{' equally often' if even else ', unevenly'}"


def _numbers(policy: Floats) -> str:
    return "[" + ", ".join(f"{p:.6g}" for p in policy) + "]"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
