"""What every option of TRL's DPO trainer is here, in trl.md: `python docs/trl_table.py` writes it anew."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import expo_analysis as ea
from expo_analysis.llm import PreferenceConfig
from expo_analysis.llm.training.from_trl import AGGREGATION, HERE, NOT_HERE, OBJECTIVE
from expo_analysis.llm.trl_names import HERE as CALLED
from expo_analysis.losses.trl import TRL_DIVERGENCES, TRL_LOSSES, TRL_SMOOTHED, from_trl

FILE = Path(__file__).with_name("trl.md")
HEAD = """# TRL's options

What each option of TRL {version}'s `DPOConfig` is here. Written by trl_table.py (`make docs`) from the code that
translates them, `PreferenceConfig.from_trl(config)`, which refuses by name what it cannot do; do not edit it. All of
transformers' `TrainingArguments` are settings here too; ε is `label_smoothing`. [Language models](llm.md) has the
settings that TRL has not, and
[The catalogue](losses.md#where-trl-116-differs-from-the-papers-or-from-us) where TRL differs from the papers.
"""


def page() -> str:
    """The whole file.

    Raises:
        ModuleNotFoundError: TRL is not installed.
    """
    import transformers
    import trl

    common = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    own = {field.name: field for field in dataclasses.fields(PreferenceConfig) if field.init}
    parts = [HEAD.format(version=".".join(trl.__version__.split(".")[:2]))]
    for field in dataclasses.fields(trl.DPOConfig):
        if field.name not in common or field.name in HERE:
            parts.append(f"## `{field.name}`\n\nTRL's default: `{_default(field)}`. {_here(field.name, own)}\n")
            parts += [TABLES[field.name]()] if field.name in TABLES else []
    others = {name: here for name, here in CALLED.items() if f"## `{name}`" not in "\n".join(parts)}
    rows = [f"| `{name}` | `{here}` |" for name, here in others.items()]
    lines = ["## Of TRL's other trainers", "", "| option (KTO, CPO, ORPO) | here |", "|---|---|", *rows]
    return "\n".join([*parts, *lines]) + "\n"


def _default(field: Any) -> Any:
    return field.default if field.default is not dataclasses.MISSING else field.default_factory()


def _here(name: str, own: dict[str, Any]) -> str:
    if name in OBJECTIVE:
        if name == "beta":
            return "Here: `beta`, or `lam` on the command line; the objective's λ."
        what = {"loss_type": "which loss it is", "loss_weights": "how losses are mixed"}.get(
            name, "an argument of the loss"
        )
        return f"Here: `{CALLED[name]}`, {what}."
    if name in own:
        words = " ".join((own[name].metadata.get("help") or "").split())
        return f"Here: `{name}`. {words}".rstrip()
    kept = f" Its value `{HERE[name]}` needs nothing." if name in HERE else ""
    return f"Not here: {NOT_HERE.get(name, 'leave it out')}.{kept}"


def _losses() -> str:
    rows = []
    for kind in TRL_LOSSES:
        loss = from_trl(kind, 1.0, label_smoothing=0.1 if kind in TRL_SMOOTHED else 0.0)
        made = f"{type(loss).__name__}({', '.join(_options(loss))})"
        divided = "mean" if kind in AGGREGATION else "sum"
        rows.append(f"| `{kind}` | `{made}` | {_cell(ea.formula(loss))} | {divided} |")
    head = ["| `loss_type` | objective here | what it is | over tokens |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _options(loss: ea.PairObjective) -> list[str]:
    """λ, and what is not the default's."""
    shown = ["lam"]
    for field in dataclasses.fields(loss):
        value = getattr(loss, field.name)
        if field.name != "lam" and field.init and value != field.default:
            shown.append(f"{field.name}={'ε' if field.name == 'label_smoothing' else repr(value)}")
    return shown


def _divergences() -> str:
    rows = [f"| `{theirs}` | `{ours}` |" for theirs, ours in TRL_DIVERGENCES.items()]
    return "\n".join(["| `f_divergence_type` | `divergence` here |", "|---|---|", *rows]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


TABLES = {"loss_type": _losses, "f_divergence_type": _divergences}

if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
    print(f"wrote {FILE}")
