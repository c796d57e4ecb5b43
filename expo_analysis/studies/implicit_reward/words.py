"""The reward that a policy implies, beside a reward model."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...figures.style import loss_label
from .numbers import HELD_OUT, LAMS, PAIRS, PROMPTS, SIZES, D, N

LAM = LAMS[-1]


def facts(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What the words say."""
    losses, sizes, decay, tokens = tables.values()
    return {**_setting(losses), **_others(losses, sizes), **_decay(decay), **_tokens(tokens)}


def _setting(losses: pd.DataFrame) -> dict[str, Any]:
    """Of the worlds, and what is known in them."""
    known: Any = losses[losses["lam"].isna()].set_index(["reward", "loss", "shift"])["accuracy"]
    return {
        "features": D,
        "pairs": PAIRS,
        "prompts": PROMPTS,
        "responses": N,
        "held_out": HELD_OUT,
        "worlds": losses["worlds"].max(),
        "known": lambda reward, loss, shift: known[reward, loss, shift],
        "largest_gap": losses[losses["loss"] == "dpo"]["largest_gap"].max(),
    }


def _others(losses: pd.DataFrame, sizes: pd.DataFrame) -> dict[str, Any]:
    """Of losses but DPO."""
    at: Any = losses[losses["reward"] == "linear"].dropna(subset="lam").set_index(["loss", "lam", "shift"]).sort_index()
    size: Any = sizes[sizes["reward"] == "linear"].set_index(["loss", "pairs", "shift"])["accuracy"]
    compared = losses[losses["lam"] == LAM]
    shifted = compared[(compared["reward"] == "linear") & (compared["shift"] == "prompts")]
    quadratic = compared[compared["reward"] == "quadratic"]

    def gap(loss: str, shift: str, lam: float = LAM, column: str = "gap") -> str:
        row = at.loc[(loss, lam, shift)]
        return f"{100 * row[column]:+.1f} ± {50 * (row[f'{column}_high'] - row[f'{column}_low']):.1f}"

    def behind(loss: str, pairs: int) -> str:
        return f"{100 * (size[loss, pairs, 'none'] - size['explicit', pairs, 'none']):+.1f}"

    return {
        "lam": LAM,
        "low": LAMS[0],
        "first": SIZES[0],
        "last": SIZES[-1],
        "gap": gap,
        "behind": behind,
        "wider": _names(shifted[shifted["wider_low"] > 0]),
        "narrower": _names(shifted[shifted["wider_high"] < 0]),
        "ahead": _names(quadratic[quadratic["gap_low"] > 0]),
    }


def _decay(decay: pd.DataFrame) -> dict[str, Any]:
    """Of weight decay, on other prompts."""
    shifted: Any = decay[(decay["reward"] == "linear") & (decay["shift"] == "prompts")].reset_index(drop=True)
    best: Any = shifted.loc[shifted.groupby(["loss", "lam"])["accuracy"].idxmax()].set_index(["loss", "lam"])
    lams = sorted(decay.loc[decay["loss"] == "dpo", "lam"].unique())
    ends = dict.fromkeys(f"{accuracy:.1%}" for accuracy in (best["accuracy"].min(), best["accuracy"].max()))
    return {
        "decay": lambda loss, lam: best.loc[(loss, lam), "decay"],
        "dpo_decays": [best.loc[("dpo", lam), "decay"] for lam in lams],
        "decay_lams": lams,
        "accuracies": " to ".join(ends),
    }


def _tokens(tokens: pd.DataFrame) -> dict[str, Any]:
    """Of policies over sequences."""
    at: Any = tokens.set_index(["truth", "loss", "lam", "shift"])["gap"]
    lams = sorted(tokens.loc[tokens["loss"] == "dpo", "lam"].unique())

    def gaps(truth: str, shift: str) -> str:
        return ", ".join(f"{100 * at[truth, 'dpo', lam, shift]:+.1f}" for lam in lams)

    return {"gaps": gaps, "token_lams": lams}


def _names(rows: pd.DataFrame) -> list[str]:
    return [loss_label(loss) for loss in dict.fromkeys(rows["loss"])]
