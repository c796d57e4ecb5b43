"""The theorems of the report card in rules.md, from the rules: `python docs/rules_table.py` writes it anew."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from expo_analysis.desiderata import DESIDERATA, rules
from expo_analysis.desiderata.rules import RULES

FILE = Path(__file__).with_name("rules.md")
HEAD = """# Theorems of the report card

Written from `expo_analysis/desiderata/rules` by rules_table.py (`make docs`); do not edit it. Each rule has its
premises and its proof in the docstring of its file, and tests that try to refute it (`test_rules.py`,
`test_rules_conclusions.py`, `test_rules_minimisers.py`, `test_questions.py`); [note/note.md](note/note.md) has the
longer proofs. Rules are tried in this order, the first that applies decides, and a search goes beside it as a check.
They speak of a loss's formula: of any loss made of such terms, yours too.
"""


def homes() -> dict[str, str]:
    """The file of each rule, by the rule's name and what it is about."""
    found = {}
    for module in pkgutil.iter_modules(rules.__path__):
        own = importlib.import_module(f"{rules.__name__}.{module.name}")
        for rule in getattr(own, "RULES", ()):
            found[rule.name, rule.about] = f"{module.name}.py"
    return found


def page() -> str:
    """The whole file."""
    where, parts = homes(), [HEAD]
    for key, desideratum in DESIDERATA.items():
        own = [rule for rule in RULES if rule.about == key]
        if own:
            rows = [f"| `{rule.name}` | {_cell(rule.theorem)} | {where[rule.name, key]} |" for rule in own]
            parts.append(f"## {_cell(desideratum.title)}\n\n*{_cell(desideratum.question)}*\n")
            parts.append("\n".join(["| rule | theorem | proof in |", "| --- | --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
    print(f"wrote {FILE}")
