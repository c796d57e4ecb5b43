"""What a check returns: a finding, or the reason for which the log cannot tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

FAULT, WARNING, NOTE = "fault", "warning", "note"
"""A mistake; something to change; something that is so and may be meant."""


@dataclass(frozen=True)
class Finding:
    """What is going on in a run.

    name: of the check, one of `diagnosis.CHECKS`. severity: ``"fault"``, ``"warning"`` or ``"note"``.
    summary: it in one sentence. shows: what in the log shows it, with numbers and steps. theory: what is to be
    expected, and why. advice: what to do. marks: the series and steps at which a picture shows it. factor: by how much
    the setting is off, at least; None where that is not known.
    """

    name: str
    severity: str
    summary: str
    shows: str
    theory: str
    advice: str
    marks: tuple[tuple[str, float], ...] = ()
    factor: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"marks": [{"series": name, "step": step} for name, step in self.marks]}


class Clear(str):
    """A check that found nothing: what it looked at, in a few words."""


class Unknown(str):
    """A check that cannot be made: what the log lacks, as "the log has no ..."."""


def lacking(what: str) -> Unknown:
    """A check that cannot be made for want of this."""
    return Unknown(f"the log has no {what}")


FEW = Unknown("the log has too few entries to have a course")


Outcome = Finding | Clear | Unknown


def one_digit(factor: float) -> str:
    """A factor in one digit: it is no more exact.

    >>> one_digit(123.0), one_digit(3.4), one_digit(0.0972)
    ('100', '3', '0.1')
    """
    return f"{float(f'{factor:.0e}'):g}"
