"""Judge losses on every desideratum."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..losses import Objective
from .report_card import ReportCard, ReportCards


def audit(
    objective: Objective,
    *,
    name: str | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    effort: float = 1.0,
) -> ReportCard:
    """The report card of one loss."""
    raise RuntimeError("audit is not there yet")


def audit_many(
    objectives: Mapping[str, Objective | Exception],
    *,
    workers: int = 2,
    on_progress: Callable[[str, str, float], None] | None = None,
    effort: float = 1.0,
) -> ReportCards:
    """The report cards of many losses, each in a process of its own."""
    raise RuntimeError("audit_many is not there yet")
