"""What TRL's settings are called here: said to whoever gives one of them, as no other name is nearly like it."""

from __future__ import annotations

from typing import Any

from ..losses import CATALOGUE
from ..losses.trl import TRL_LOSSES, from_trl

HERE = {
    "loss_type": "objective",
    "loss_weights": "objective_weights",
    **dict.fromkeys(
        ("label_smoothing", "f_divergence_type", "f_alpha_divergence_coef", "discopop_tau", "simpo_gamma", "cpo_alpha"),
        "objective_options",
    ),
    **dict.fromkeys(("desirable_weight", "undesirable_weight"), "objective_options"),
    **dict.fromkeys(("max_prompt_length", "max_completion_length"), "max_length"),
}
"""Settings of TRL's DPO, KTO, CPO and ORPO trainers, and the one here that does what they do."""


def called_here(name: str, value: Any, form: str) -> str:
    """The end of a message about a setting that is TRL's; empty for any other.

    Args:
        value: what it was given; of a ``loss_type`` the objective is named.
        form: how a setting is written, such as ``"--{} {}"``.

    Example:
        >>> called_here("loss_type", "sigmoid", "--{} {}")
        '; TRL calls it so, and here it is --objective dpo'
    """
    if name not in HERE:
        return ""
    what = "..."
    if name == "loss_type":
        what = " ".join(map(objective_of, value)) if isinstance(value, list) else objective_of(value)
    elif HERE[name] == "objective_options":
        what = f"'{{\"{name}\": ...}}'"
    return f"; TRL calls it so, and here it is {form.format(HERE[name], what)}"


def objective_of(loss_type: Any) -> str:
    """The name in the catalogue of a ``loss_type``; ``"NAME"`` for what is none of TRL's DPO trainer."""
    if loss_type in TRL_LOSSES:
        return str(from_trl(str(loss_type), 0.1).name)
    return str(loss_type) if isinstance(loss_type, str) and loss_type in CATALOGUE else "NAME"
