"""Where a report card comes from: without it a table of verdicts cannot be made again."""

from __future__ import annotations

import datetime
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any

VERSION: str = sys.modules[__name__.partition(".")[0]].__version__


@dataclass(frozen=True)
class Provenance:
    """How a report card was made.

    version: of expo_analysis. date: as 2026-01-31, in UTC; that of ``SOURCE_DATE_EPOCH`` where it is set. effort, seed:
    those of the audit. call: the Python or the command that makes the card again.
    """

    version: str
    date: str
    effort: float
    seed: int
    call: str

    def __str__(self) -> str:
        """In one line."""
        settings = f"effort {self.effort:g}, seed {self.seed}"
        return f"expo_analysis {self.version}, {self.date}, {settings}: {self.call}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def provenance(call: str, effort: float, seed: int) -> Provenance:
    """That of an audit made now, by this version."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = datetime.datetime.now(datetime.UTC)
    if epoch.isdecimal():
        now = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
    return Provenance(VERSION, now.date().isoformat(), float(effort), seed, call)
