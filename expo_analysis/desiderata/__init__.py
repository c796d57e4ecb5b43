"""Desiderata of preference losses, one a file, each judged with evidence; together they make the report card."""

from .audit import audit
from .processes import audit_many
from .report.report_card import ReportCard, ReportCards
from .verdict import DESIDERATA, Counterexample, Verdict

__all__ = ["DESIDERATA", "Counterexample", "ReportCard", "ReportCards", "Verdict", "audit", "audit_many"]
