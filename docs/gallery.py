"""The pictures of some pages, from the code beside them: `python docs/gallery.py` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import expo_analysis as ea

PAGES = tuple(Path(__file__).with_name(name) for name in ("figures.md", "leaderboards.md"))


def pictures(page: Path) -> Iterator[tuple[str, Figure]]:
    """File names, and the figures that the blocks before them leave in the name ``figure``."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    text = page.read_text(encoding="utf-8")
    for block, name in re.findall(r"^```python\n(.*?)^```|^!\[[^]]*\]\((\S+)\)", text, flags=re.M | re.S):
        if block:
            exec(compile(block, str(page), "exec"), scope)
        else:
            yield name, scope["figure"]


if __name__ == "__main__":
    for name, figure in (picture for page in PAGES for picture in pictures(page)):
        path = PAGES[0].parent / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(ea.figures.render(figure, "png"))
        print(path)
