"""The report card's counterexamples as states of the page: which problem, at which lambda, and what the report says.

They come from an audit: ``expo-analysis audit --all --json > card.json`` and ``python docs/explorer_page.py --card
card.json`` write ``counterexamples.json``, which the page is made with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._files import replace
from ..desiderata.verdict import DESIDERATA
from ..losses import CATALOGUE, PairObjective, RewardObjective

FILE = Path(__file__).with_name("counterexamples.json")

NOT_DRAWN = {
    "constraint_robustness": "it is about policies of a few shared parameters on several prompts, and the page has all "
    "policies of one prompt",
    "restricted_improvement": "it is about policies of a few parameters, and the page has all policies",
    "gradient_weight": "it is about the loss of one pair at log-ratios that no picture of policies reaches",
    "consistency": "it is about many random samples",
}
"""What no state of the page can show, and why."""

FITTED = "rewards are fitted to the counts first, which the page does not do"

DIGITS = 12


def _reads_rewards(loss: str) -> bool:
    cls = CATALOGUE[loss]
    return issubclass(cls, RewardObjective) or (issubclass(cls, PairObjective) and cls(1.0).reads_rewards)


def packed(cards: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Cards, as ``ReportCard.to_dict`` has them, by loss: in the form that the page reads.

    Equal problems are listed once. A case is [statement, place of its problem or why there is none, lambda, policies].
    """
    problems: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    cases: dict[str, dict[str, list[Any]]] = {}
    for loss, card in cards.items():
        for key, verdict in card.items():
            example = verdict.get("counterexample") if isinstance(verdict, Mapping) else None
            if not example:
                continue
            numbers = example["numbers"]
            why = NOT_DRAWN.get(key) or (FITTED if "counts" in numbers and _reads_rewards(loss) else "")
            problem = None if why else _problem(numbers)
            where: Any = why or "it has no problem of one prompt to draw"
            if problem is not None:
                text = json.dumps(problem)
                if text not in places:
                    places[text] = len(problems)
                    problems.append(problem)
                where = places[text]
            own = [_statement(example["statement"]), where, _lam(numbers), _marks(numbers)]
            cases.setdefault(loss, {})[key] = own if own[3] else own[:3]
    used = {key for own in cases.values() for key in own}
    titles = {key: one.title for key, one in DESIDERATA.items() if key in used}
    return {"titles": titles, "problems": problems, "cases": cases}


def _statement(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _problem(numbers: Mapping[str, Any]) -> dict[str, Any] | None:
    """pi_ref, pi*, the weights of unordered pairs in order, or counts; None where it is no problem of one prompt."""
    reference = numbers.get("reference")
    if not isinstance(reference, list) or np.ndim(reference) != 1:
        return None
    found: dict[str, Any] = {"ref": _short(reference)}
    n = len(reference)
    if "counts" in numbers:
        return found | {"wins": [[float(x) for x in row] for row in numbers["counts"]]}
    optimal = numbers.get("optimal")
    if not isinstance(optimal, list) or np.ndim(optimal) != 1:
        return None
    found["opt"] = _short(optimal)
    pairs = numbers.get("uneven pairs", numbers.get("pairs", "uniform"))
    if not isinstance(pairs, str):
        upper = np.asarray(pairs, dtype=float)[np.triu_indices(n, 1)]
        found["pairs"] = _short(upper / upper.sum())
    if "flips" in numbers:
        found["flips"] = float(numbers["flips"])
    return found


def _short(values: Iterable[float]) -> list[float]:
    return [float(f"{float(x):.{DIGITS}g}") for x in values]


def _lam(numbers: Mapping[str, Any]) -> float:
    """The lambda that the case is shown at: where several are compared the first, as far as the slider goes."""
    lam = numbers.get("lam", 1.0)
    values = [float(x) for x in np.atleast_1d(lam)]
    return float(f"{min(max(values[0], 1e-4), 1e4):.{DIGITS}g}")


def _marks(numbers: Mapping[str, Any]) -> list[list[float]]:
    policies = numbers.get("policies") or ([numbers["policy"]] if "policy" in numbers else [])
    return [_short(policy) for policy in policies if np.ndim(policy) == 1 and all(map(math.isfinite, policy))]


def read() -> dict[str, Any]:
    """What was collected; nothing, where nothing was."""
    if not FILE.is_file():
        return {"titles": {}, "problems": [], "cases": {}}
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def write(card: Mapping[str, Any]) -> None:
    """Write the file anew, from a card as ``expo-analysis audit --all --json`` prints it.

    Raises:
        ValueError: the card has no losses.
    """
    cards = card.get("losses")
    if not cards:
        raise ValueError('card must have "losses", as `expo-analysis audit --all --json` prints it')
    own = {key: cards[key] for key in CATALOGUE if key in cards}
    replace(FILE, (json.dumps(packed(own), ensure_ascii=False, separators=(",", ":")) + "\n").encode())
