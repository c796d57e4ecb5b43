"""Writes expo_analysis/explorer/explorer.html anew; with --card the counterexamples on it, too (docs/explorer.md)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import expo_analysis
from expo_analysis.explorer import PAGE, write_page
from expo_analysis.explorer.counterexamples import write


def main() -> None:
    """Write the page that is shipped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--card", type=Path, help="JSON file of `expo-analysis audit --all --json`, to take them from")
    options = parser.parse_args()
    if options.card:
        write(json.loads(options.card.read_text(encoding="utf-8")))
    found = write_page(PAGE, version=expo_analysis.__version__)
    print(f"wrote {PAGE}: {len(found.entries)} losses, {PAGE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
