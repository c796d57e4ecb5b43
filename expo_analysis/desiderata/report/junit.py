"""Report cards as JUnit XML, which every system of continuous integration shows: a suite for each loss, a test for
each question."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ..verdict import DESIDERATA, FAILS, HOLDS, Verdict
from .baseline import Gate
from .report_card import ReportCard, ReportCards
from .wording import decided, one_line

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may have."""


def to_junit(cards: ReportCards, gate: Gate = Gate()) -> str:  # noqa: B008
    """The document.

    A question fails as a test where the gate does not let it through; where the gate asks nothing, wherever the loss
    fails it. What cannot be told, does not apply, or fails and was not asked for is skipped, with the reason. A loss
    that could not be loaded is an error.
    """
    root = ElementTree.Element("testsuites", name="expo-analysis audit")
    for card in cards.values():
        root.append(_suite(card, gate))
    _count(root, [suite for suite in root])
    root.set("time", f"{sum(card.seconds for card in cards.values()):.3f}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(card: ReportCard, gate: Gate) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=_text(card.name), time=f"{card.seconds:.3f}")
    if card.made is not None:
        suite.set("timestamp", f"{card.made.date}T00:00:00")
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in card.made.to_dict().items():
            ElementTree.SubElement(properties, "property", name=name, value=_text(str(value)))
    for key, verdict in card.verdicts.items():
        case = ElementTree.SubElement(suite, "testcase", classname=_text(card.name), name=key)
        _outcome(case, card, verdict, gate)
    if card.objective is None:
        case = ElementTree.SubElement(suite, "testcase", classname=_text(card.name), name="loaded")
        message = one_line(card.remarks[0] if card.remarks else "it cannot be loaded")
        ElementTree.SubElement(case, "error", type="not judged", message=_text(message))
    if card.remarks:
        ElementTree.SubElement(suite, "system-out").text = _text("\n".join(map(one_line, card.remarks)))
    _count(suite, suite.findall("testcase"))
    return suite


def _outcome(case: ElementTree.Element, card: ReportCard, verdict: Verdict, gate: Gate) -> None:
    """What became of a question; nothing is said of one that holds."""
    why = gate.why_not(card.name, verdict)
    if why or (verdict.decision == FAILS and not gate.asks):
        message = why or f"{verdict.decision}: {one_line(verdict.summary)}"
        failure = ElementTree.SubElement(case, "failure", type=verdict.decision, message=_text(message))
        failure.text = _text(_told(verdict))
    elif verdict.decision != HOLDS:
        words = "fails, which was not asked for" if verdict.decision == FAILS else verdict.decision
        ElementTree.SubElement(case, "skipped", message=_text(f"{words}: {one_line(verdict.summary)}"))


def _told(verdict: Verdict) -> str:
    """A verdict in full, with code where there is some."""
    desideratum = DESIDERATA[verdict.desideratum]
    lines = [desideratum.question, f"{decided(verdict)}: {verdict.summary}", f"Conditions: {verdict.conditions}"]
    if verdict.severity is not None:
        lines.append(f"How much: {verdict.severity}")
    if verdict.counterexample is not None:
        lines += [verdict.counterexample.statement, "", verdict.counterexample.code]
    return "\n".join(lines)


def _count(element: ElementTree.Element, parts: list[ElementTree.Element]) -> None:
    """Write how many tests, failures, errors and skipped ones there are below."""
    tags = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    if element.tag == "testsuites":
        totals = {name: sum(int(part.get(name, "0")) for part in parts) for name in ("tests", *tags)}
    else:
        found = {name: sum(part.find(tag) is not None for part in parts) for name, tag in tags.items()}
        totals = {"tests": len(parts), **found}
    for name, total in totals.items():
        element.set(name, str(total))


def _text(text: str) -> str:
    """Text without what XML does not allow."""
    return NOT_XML.sub("\ufffd", text)
