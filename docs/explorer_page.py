"""Writes expo_analysis/explorer/explorer.html anew; with --audit the counterexamples on it, too (docs/explorer.md)."""

from __future__ import annotations

import argparse

import expo_analysis
from expo_analysis.explorer import PAGE, write_page
from expo_analysis.explorer.counterexamples import collect


def told(done: float, total: float = 1.0, /, *, what: str = "", task: str = "") -> None:
    """A line for each loss that is audited."""
    print(f"{done / total:4.0%} {what}", flush=True)


def main() -> None:
    """Write the page that is shipped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audit", action="store_true", help="audit the catalogue first, which takes minutes")
    parser.add_argument("--effort", type=float, default=0.1, help="of the audits; 0.1 by default")
    options = parser.parse_args()
    if options.audit:
        collect(options.effort, told)
    found = write_page(PAGE, version=expo_analysis.__version__)
    print(f"wrote {PAGE}: {len(found.entries)} losses, {PAGE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
