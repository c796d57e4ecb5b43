"""The census as a page: a table for each package, and the report card of every loss that was found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .rows import QUESTIONS, Row

SIGNS = {"holds": "✓", "fails": "✗", "cannot tell": "?", "not applicable": "–"}

HEAD = """# The census: public implementations, run through one instrument

Written by `expo-analysis census --install --output docs` (`make census`) on {date}; do not edit it. Every package that
installs here was put into an environment of its own (Python {python}, torch {torch}, expo-analysis
{expo_analysis}), and each of its preference losses was called on the same {count} random pairs, at λ = {lams}, in
float64, beside the loss of [the catalogue](losses.md) that it is to be. The numbers are in
[census.json](census.json). What runs is the installed code;
[an adapter of a few lines](../expo_analysis/adapters) says how it is called. Nobody of these projects was asked: a
difference from our formula is a difference, and may be meant.

**Found**: {found}

{summary}

How to read it:

- **equal**: the same values to {equal:g} of a loss's size (absolute, where it is below 1), and the same derivatives; a
  factor, a constant, or another way in which λ enters are said. **single precision**: the same to {single:g}, which is
  what a loss shows that somewhere computes in float32. **differs**: it is none of the losses of the catalogue, at any
  λ, scale or constant, or it is explained.
- *error* is the largest difference. Where a loss differs and the table says how, that is checked too: a loss written
  here from those words agrees with the implementation to the error in brackets.
- *smallest pair*: the plainest numbers that tell the two losses apart, (log π_w, log π_l; log π_ref,w, log π_ref,l) and
  |w|, |l|, the numbers of tokens, where they are read; then theirs and ours. Each is a script of at most ten lines,
  which was run in the environment of its package.
- "of means" is said of a loss that is given log-probabilities divided by the number of tokens.
- An adapter starts where the code can be called: some at log-probabilities, some at logits. What a trainer does before
  that (truncation, templates, masks) is not looked at.
"""

CARDS = """## Report cards

Six questions of [the report card](desiderata.md), those that cost least, asked briefly (effort {effort:g}): ✓ holds,
✗ fails, ? cannot be told, – does not apply; bold where it is proven. A loss that is one of ours has our loss's
verdicts, of which most are theorems. Of a loss that is none of ours the row is that of the loss written here from the
words of its table, with which it agrees to the error in brackets there. That is audited as a bare function, of which
no formula is known, for {seconds:g} seconds at most: what fails is shown at a problem, what holds is not proven. One
that rounds to bfloat16 has no derivatives that could be judged.
"""


def page(document: dict[str, Any]) -> str:
    """The census in Markdown, from what `expo-analysis census --json` prints with cards."""
    rows = document["rows"]
    parts = [HEAD.format(**_counts(document), **document["settings"])]
    for package in document["packages"]:
        own = [row for row in rows if row["package"] == package["name"]]
        parts.append(_section(package, own))
    parts.append(_failed(document))
    if document.get("cards"):
        parts.append(_cards(document))
    return "\n".join(parts)


def _counts(document: dict[str, Any]) -> dict[str, str]:
    rows: list[Row] = document["rows"]
    kinds = {
        "equal": ("is equal", "are equal"),
        "equal up to": tuple(f"{verb} equal up to a factor, a constant or the way λ enters" for verb in ("is", "are")),
        "single precision": ("is equal in single precision", "are equal in single precision"),
        "differs": ("differs", "differ"),
        "cannot be run": ("cannot be run", "cannot be run"),
    }
    counts = {kind: sum(row["relation"] == kind for row in rows) for kind in kinds}
    found = f"{len(rows)} losses of {len(document['packages'])} packages. " + ", ".join(
        f"{count} {kinds[kind][count > 1]}" for kind, count in counts.items() if count
    )
    others = [row for row in rows if row["relation"] != "differs" and row.get("loss", row["ours"]) != row["ours"]]
    named = [f"{row['package']}'s {row['title']} is {row['loss']}" for row in others]
    told = f" Under another name: {'; '.join(named)}." if named else ""
    differing = [row for row in rows if row["relation"] == "differs"]
    lines = [f"- **{row['package']}**, {row['title']}: {row['note'] or 'not what it is to be'}" for row in differing]
    return {"found": f"{found}.{told}", "summary": "What differs:\n\n" + "\n".join(lines)}


def _section(package: dict[str, Any], rows: list[Row]) -> str:
    head = f"## {package['name']} {package['version']}\n\nRun: {package['how']}. {package['remark']}".strip()
    cells: list[tuple[str, ...]] = [
        ("loss", "is to be", "found", "error", "smallest pair that tells them apart"),
        ("---",) * 5,
    ]
    cells += [_cells(row) for row in rows]
    return f"{head}\n\n" + "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in cells) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    title = f"{row['title']} `{row['name']}`"
    if row["relation"] == "cannot be run":
        return title, row["ours"], f"cannot be run: {row['why']}", "", ""
    words = [f"**{row['relation']}**" if row["relation"] == "differs" else row["relation"]]
    if row["relation"] == "equal up to":
        words = [row["how"].replace("lam", "λ")]
    elif row["how"]:
        words.append(row["how"].replace("lam", "λ"))
    if row["loss"] != row["ours"]:
        words.insert(0, f"**is {row['loss']}**")
    if row["note"]:
        words.append(row["note"])
    error = _off(row["error"])
    if row["explained"] is not None and row["relation"] == "differs":
        error += f" ({_off(row['explained'])})"
    return title, row["ours"], "; ".join(words), error, _pairs(row)


def _off(error: float) -> str:
    return f"{error:.0e}" if error else "0"


def _pairs(row: Row) -> str:
    found = []
    for pair in row["pairs"]:
        logps = "({logp_w:g}, {logp_l:g}; {ref_logp_w:g}, {ref_logp_l:g})".format(**pair)
        further = [f"{_symbol(name)} = {pair[name]:g}" for name in pair if name.startswith(("length_", "reward_"))]
        at = f"λ = {pair['lam']:g}, {logps}{''.join(', ' + word for word in further)}"
        numbers = [_short(pair[whose]) for whose in ("theirs", "ours")]
        if numbers[0] == numbers[1]:
            numbers = [f"{pair[whose]:.12g}" for whose in ("theirs", "ours")]
        found.append(f"{at}: {numbers[0]}, ours {numbers[1]}")
    script = f"; [script](census/{file_of(row)})" if row["script"] else ""
    return "; ".join(found) + script


def _symbol(name: str) -> str:
    kind, _, side = name.partition("_")
    return f"|{side}|" if kind == "length" else f"r_{side}"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value if value is not None else "nan")


def file_of(row: Row) -> str:
    """The name of a row's script."""
    return f"{row['package'].replace('-', '_')}_{row['name']}.py"


def _failed(document: dict[str, Any]) -> str:
    """What is not there, and why."""
    lines = [f"- **{name}**, which did not install: {why}" for name, why in document["failed"].items()]
    lines += [f"- **{name}**: {why}" for name, why in document["without"].items()]
    head = f"Looked at on {document['settings']['looked']}, in the newest release that installs with this Python:"
    return "\n".join(["## Not in it", "", head, "", *lines, ""])


def _cards(document: dict[str, Any]) -> str:
    heads = ("loss", *(key.replace("_", " ") for key in QUESTIONS))
    cells: list[Iterable[str]] = [heads, ["---"] * len(heads)]
    for name, card in document["cards"].items():
        cells.append([name, *map(_sign, (card[key] for key in QUESTIONS))])
    for row in document["rows"]:
        if "card" in row:
            own = f"{row['package']}: {row['title']}"
            cells.append(
                [own, *map(_sign, (row["card"].get(key, {"verdict": "cannot tell", "basis": ""}) for key in QUESTIONS))]
            )
    table = "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in cells)
    return CARDS.format(**document["settings"]) + f"\n{table}\n"


def _sign(verdict: dict[str, str]) -> str:
    sign = SIGNS[verdict["verdict"]]
    return f"**{sign}**" if verdict["basis"] == "proven" else sign


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
