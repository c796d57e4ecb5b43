"""Report cards as SARIF 2.1.0, which code scanning shows beside the lines of a loss: a rule for each question, a result
for each that fails."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...losses import Objective
from ...losses.from_function import FunctionLoss
from ..verdict import DESIDERATA, FAILS, Verdict
from .baseline import Gate
from .layout import CONSTRUCTED, weight_of
from .provenance import VERSION
from .report_card import ReportCard, ReportCards
from .wording import one_line

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

SOUND = "sound"
"""The rule of a card's remarks: is the loss a loss at all?"""


def to_sarif(cards: ReportCards, gate: Gate = Gate(), folder: Path | None = None) -> str:  # noqa: B008
    """The document, as JSON.

    What the gate does not let through is an error, any other failure a warning, and one that takes a problem made for
    it a note. A loss of one's own has its file and line, relative to ``folder`` (by default where the command runs);
    one of the catalogue only its name.
    """
    root = (folder or Path.cwd()).resolve()
    results = [result for card in cards.values() for result in _results(card, gate, root)]
    keys = [key for key in DESIDERATA if any(key in card.verdicts for card in cards.values())]
    rules = _rules(keys)
    driver = {"name": "expo-analysis", "version": VERSION, "semanticVersion": VERSION, "rules": rules}
    numbers = {rule["id"]: k for k, rule in enumerate(rules)}
    for result in results:
        result["ruleIndex"] = numbers[result["ruleId"]]
    calls = dict.fromkeys(card.made.call for card in cards.values() if card.made is not None)
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "results": results,
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"uri": f"{root.as_uri()}/"}},
        "invocations": [{"commandLine": call, "executionSuccessful": True} for call in calls],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _rules(keys: Iterable[str]) -> list[dict[str, Any]]:
    rules = [
        {
            "id": key,
            "shortDescription": {"text": DESIDERATA[key].title},
            "fullDescription": {"text": DESIDERATA[key].question},
            "defaultConfiguration": {"level": "warning"},
            "properties": {"group": DESIDERATA[key].group},
        }
        for key in keys
    ]
    text = "Is it a loss: one number per pair, finite and differentiable, and is what it states true?"
    return [*rules, {"id": SOUND, "shortDescription": {"text": "sound"}, "fullDescription": {"text": text}}]


def _results(card: ReportCard, gate: Gate, root: Path) -> list[dict[str, Any]]:
    place = _location(card, root)
    found = []
    for key, verdict in card.verdicts.items():
        why = gate.why_not(card.name, verdict)
        if not why and verdict.decision != FAILS:
            continue
        level = "error" if why else "note" if weight_of(verdict) == CONSTRUCTED else "warning"
        text = why or f"{card.name}, {key}: {verdict.decision}: {one_line(verdict.summary)}"
        result = _result(card, key, level, text, verdict, place)
        before = gate.was(card.name, verdict)
        if before:
            result["baselineState"] = "unchanged" if before == verdict.decision else "new"
        found.append(result)
    how = card.objective.remarks if isinstance(card.objective, FunctionLoss) else ()  # how it was read is no fault
    faults = [f"{card.name}: {one_line(remark)}" for remark in card.remarks if remark not in how]
    return found + [_result(card, SOUND, "warning", fault, None, place) for fault in faults]


def _result(
    card: ReportCard, rule: str, level: str, text: str, verdict: Verdict | None, place: dict[str, Any]
) -> dict[str, Any]:
    fingerprint = f"{card.name}/{rule}" if verdict is not None else f"{card.name}/{rule}/{text}"
    result: dict[str, Any] = {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [place],
        "partialFingerprints": {"preferenceLoss/v1": fingerprint},
    }
    if verdict is not None:
        result["properties"] = {"verdict": verdict.decision, "basis": verdict.basis}
        if verdict.severity is not None:
            result["properties"]["severity"] = str(verdict.severity)
        if verdict.counterexample is not None:
            result["properties"]["counterexample"] = verdict.counterexample.statement
            result["properties"]["code"] = verdict.counterexample.code
    return result


def _location(card: ReportCard, root: Path) -> dict[str, Any]:
    """Where a loss is: its name, and file and line where it is somebody's own."""
    place: dict[str, Any] = {"logicalLocations": [{"name": card.name, "kind": "function"}]}
    source = source_of(card.objective)
    if source is not None:
        path, line = source
        place["physicalLocation"] = {"artifactLocation": _artifact(path, root), "region": {"startLine": line}}
    return place


def _artifact(path: Path, root: Path) -> dict[str, str]:
    if path.is_relative_to(root):
        return {"uri": quote(path.relative_to(root).as_posix()), "uriBaseId": "%SRCROOT%"}
    return {"uri": path.as_uri()}


def source_of(objective: Objective | None) -> tuple[Path, int] | None:
    """The file and line of a loss's function or class; None for the package's own, and where nothing is known."""
    found: Any = objective.call.f if isinstance(objective, FunctionLoss) else type(objective)
    found = getattr(found, "func", found)  # of a partial function
    package = __name__.partition(".")[0]
    if objective is None or str(getattr(found, "__module__", "")).partition(".")[0] == package:
        return None
    try:
        path, (_, line) = inspect.getsourcefile(found), inspect.getsourcelines(found)
    except (OSError, TypeError):
        return None
    return None if path is None else (Path(path).resolve(), max(1, line))
