"""Makes examples/arena.csv: battles of models that do not exist, of known strength: `python examples/make_arena.py`.

Twenty models with scores around 0, of which the newest have few battles. Of two with scores that differ by d the first
wins with probability s - t/2 and ties with t = 1.2 s (1 - s), s = 1/(1 + exp(-d)): a tie being half a win, it has the
share s of the points, as Bradley and Terry say. Equal rows are counted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

SEED = 2026
BATTLES = 6_000
SCORES = {
    "heron-xl": 1.05,
    "kestrel-4": 0.98,
    "heron-large": 0.90,
    "osprey-2": 0.86,
    "kestrel-3": 0.70,
    "avocet-72b": 0.62,
    "curlew-max": 0.55,
    "heron-base": 0.33,
    "avocet-34b": 0.30,
    "dunlin-70b": 0.28,
    "osprey-1": 0.25,
    "kestrel-2": 0.10,
    "curlew-mini": -0.05,
    "avocet-14b": -0.22,
    "dunlin-13b": -0.48,
    "heron-small": -0.60,
    "plover-8b": -0.85,
    "avocet-7b": -1.02,
    "dunlin-7b": -1.30,
    "plover-3b": -1.60,
}
NEW = {"osprey-2": 0.06, "curlew-max": 0.1, "heron-xl": 0.25}
"""How often these meet others, beside 1."""


def battles(rng: np.random.Generator) -> pd.DataFrame:
    """A row for each pair and outcome that occurred, with its count."""
    names, score = list(SCORES), np.array(list(SCORES.values()))
    often = np.array([NEW.get(name, 1.0) for name in names])
    chance = np.triu(np.outer(often, often), 1).ravel()
    first, second = np.unravel_index(rng.choice(chance.size, BATTLES, p=chance / chance.sum()), (len(names),) * 2)
    swapped = rng.random(BATTLES) < 0.5
    first, second = np.where(swapped, second, first), np.where(swapped, first, second)
    share = 1 / (1 + np.exp(score[second] - score[first]))
    tie, draw = 1.2 * share * (1 - share), rng.random(BATTLES)
    winner = np.where(draw < share - tie / 2, "model_a", np.where(draw < share + tie / 2, "tie", "model_b"))
    labels = np.array(names)
    frame = pd.DataFrame({"model_a": labels[first], "model_b": labels[second], "winner": winner})
    return frame.value_counts(sort=False).rename("count").reset_index()


if __name__ == "__main__":
    battles(np.random.default_rng(SEED)).to_csv(Path(__file__).with_name("arena.csv"), index=False)
