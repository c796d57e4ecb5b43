"""The table of losses in losses.md, from the losses themselves: `python docs/losses_table.py` writes it anew."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from pathlib import Path
from typing import Any

import expo_analysis as ea
from expo_analysis.losses.trl import TRL_LOSSES, TRL_SMOOTHED
from expo_analysis.terms import formula, hbar

FILE = Path(__file__).with_name("losses.md")
BEGIN, END = "<!-- The table is written by losses_table.py; do not edit it. -->", "<!-- The table ends here. -->"

FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "dpo": {
        "": {},
        " with label smoothing": {"label_smoothing": 0.1},
        ", robust": {"label_smoothing": 0.1, "robust": True},
    },
    "regression_expo": {"": {}, " by cross-entropy": {"criterion": "cross_entropy"}},
    "reward_aware_po": {
        "": {},
        " with distance forward_kl": {"distance": "forward_kl"},
        " with squared": {"distance": "squared"},
    },
    "odpo": {"": {}, " with scale log": {"scale": "log"}},
    "kto": {"": {"reference_point": 1.0}},
    "bco": {"": {"reference_point": 1.0}},
}
"""Options with which a loss is shown, by what is said of them, where there is more to see than under the defaults."""

BY_HAND = {
    "qpo": "ψ(μ(u_w) - μ(u_l), λ), yours",
    "aot": "-log σ(λ(a₍ₖ₎ - b₍ₖ₎)), a and b sorted over the batch",
}
"""Bare formulas, of which nothing is known but that they are functions."""

OTHER_TRAINERS = {
    **dict.fromkeys(("cpo", "simpo", "alpha_po"), "(CPO trainer)"),
    **{"orpo": "(ORPO trainer)", "kto": "(KTO trainer)"},
}

M_OF_LAMBDA = {
    "0": lambda lam: 0.0,
    "1": lambda lam: 1.0,
    "λ": lambda lam: lam,
    "max(1, λ)": lambda lam: max(1.0, lam),
    "1 + λ + √(λ(1 - shift))/2": lambda lam: 1 + lam + math.sqrt(lam * (1 - ea.DPOShift.shift)) / 2,
}

HEAD = ("name", "class, options", "per pair", "TRL", "reads", "convex", "M", "source")


def table() -> str:
    """The rows, in the order of the catalogue."""
    lines = [HEAD, tuple("---" for _ in HEAD), *(row(name) for name in ea.CATALOGUE)]
    escaped = ([cell.replace("*", r"\*").replace("|", r"\|") for cell in cells] for cells in lines)
    return "\n".join(f"| {' | '.join(cells)} |".replace("  ", " ") for cells in escaped)


def row(name: str) -> tuple[str, ...]:
    """The cells of one loss."""
    cls = ea.CATALOGUE[name]
    options = [field.name for field in dataclasses.fields(cls) if field.name != "lam"]
    objective = make(name)
    convex = "yes" if objective.claims.convex else "no"
    return (
        f"`{name}`",
        ", ".join([f"`{cls.__name__}`", *options]),
        formulas(name),
        in_trl(name),
        reads(objective),
        convex,
        concordance(name),
        source(cls),
    )


def make(name: str, lam: float = 1.0, **options: Any) -> Any:
    """A loss; a placeholder for the functions of the one that is made of the user's own."""
    if name == "qpo":
        options = {"psi": abs, "mu": abs}
    return ea.objective(name, lam, **options)


def formulas(name: str) -> str:
    """What a pair costs."""
    if name in BY_HAND:
        return BY_HAND[name]
    forms = FORMS.get(name, {"": {}})
    return "; ".join(f"{formula(make(name, **options))}{said}" for said, options in forms.items())


def in_trl(name: str) -> str:
    """What TRL's DPO trainer calls it, or which other trainer has it."""
    names = [
        f"`{loss_type}`"
        for loss_type in TRL_LOSSES
        if ea.from_trl(loss_type, 1.0, label_smoothing=0.1 if loss_type in TRL_SMOOTHED else 0.0).name == name
    ]
    if name == "fdpo":
        names = ["`sigmoid` with `f_divergence_type`"]
    return ", ".join(names) or OTHER_TRAINERS.get(name, "")


def reads(objective: Any) -> str:
    """Which log-probabilities the loss of a pair reads, and whether as log-ratios."""
    claims = objective.claims
    if not claims.needs_reference:
        return "own ratio" if claims.log_ratio_only else "policy"
    if isinstance(objective, ea.PairObjective) and objective.is_made_of_terms:
        relative = all(term.statistic.base in (hbar.base, (-hbar).base) for term in objective.terms)
        return "ratio" if relative else "all"
    return "ratio" if claims.log_ratio_only else "all"


def concordance(name: str) -> str:
    """M as a function of lambda: the one in `M_OF_LAMBDA` that agrees wherever it is tried."""
    lams = (0.01, 0.3, 1.0, 2.0, 50.0)
    values = [make(name, lam).claims.self_concordance for lam in lams]
    if all(value is None for value in values):
        return "–"
    return next(text for text, m in M_OF_LAMBDA.items() if values == [m(lam) for lam in lams])


def source(cls: type) -> str:
    """Numbers of papers, and of equations, from the class's docstring."""
    text = " ".join((inspect.getdoc(cls) or "").partition("Source")[2].split()).partition(": ")[2]
    papers = re.findall(r"arXiv (\d{4}\.\d{5})\)(?:, (eqs?\. [\d.]*\d(?: to \d+)?))?", text)
    found = [f"{number} {equation}".strip() for number, equation in papers] or [text.partition(",")[0]]
    return ", ".join([*found, "our formulation"] if "own formulation" in text else found)


def in_file() -> tuple[str, str, str]:
    """What the file has before the table, the table, and what comes after it."""
    text = FILE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    found, _, after = rest.partition(END)
    return before + BEGIN, found.strip("\n"), END + after


if __name__ == "__main__":
    before, _, after = in_file()
    FILE.write_text(f"{before}\n\n{table()}\n\n{after}", encoding="utf-8")
