"""The files that ``expo-analysis audit`` writes."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import replace, writable

if TYPE_CHECKING:
    from ..desiderata.report.baseline import Gate
    from ..desiderata.report.report_card import ReportCards


@dataclass(frozen=True)
class Outputs:
    """Where to write what; None for what was not asked for. figure is a directory, the others are files."""

    html: Path | None = None
    figure: Path | None = None
    junit: Path | None = None
    sarif: Path | None = None
    badge: Path | None = None

    def check(self, count: int) -> None:
        """See, before an audit of so many losses that takes long, that the files can be written.

        Raises:
            OSError: one cannot. ValueError: a badge is asked of several losses.
        """
        if self.badge is not None and count != 1:
            raise ValueError("--badge shows one loss: name that loss alone")
        if self.figure is not None:
            self.figure.mkdir(parents=True, exist_ok=True)
            writable(self.figure)
        for file in (self.html, self.junit, self.sarif, self.badge):
            if file is None:
                continue
            if file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
            if not file.parent.is_dir():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file.parent))
            writable(file.parent)

    def write(self, cards: ReportCards, gate: Gate) -> list[Path]:
        """Write them; returns the files."""
        from ..desiderata.report.badge import HEADLINE, to_badge
        from ..desiderata.report.junit import to_junit
        from ..desiderata.report.sarif import to_sarif

        written = []
        if self.html is not None:
            written.append(replace(self.html, cards.to_html().encode()))
        if self.junit is not None:
            written.append(replace(self.junit, to_junit(cards, gate).encode()))
        if self.sarif is not None:
            written.append(replace(self.sarif, to_sarif(cards, gate).encode()))
        if self.badge is not None:
            (card,) = cards.values()
            written.append(replace(self.badge, to_badge(card, gate.required or HEADLINE).encode()))
        if self.figure is not None:
            # matplotlib is loaded only where something is drawn
            from ..studies.report_card.numbers import write_report_card

            written += write_report_card(cards.to_frame(), self.figure)
        return written
