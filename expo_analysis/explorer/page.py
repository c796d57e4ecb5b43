"""The page: one HTML file with everything in it, written from the losses and the bundled program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .._files import replace
from ..losses import Objective
from .counterexamples import read
from .losses_script import losses_script
from .registry import Registry, registry

ROOM = Path(__file__).parent
BUILT = ROOM / "built"
PAGE = ROOM / "explorer.html"
"""The page with the catalogue's losses, as it is shipped."""


def page(own: dict[str, Objective] | None = None, version: str = "") -> tuple[str, Registry]:
    """The page as text, and what is on it.

    Args:
        own: losses of one's own by label; they stand first.
        version: of the package, for the foot of the page.
    """
    found = registry(own)
    about: dict[str, Any] = {
        **{"version": version, "leftOut": found.left_out, "cases": read()},
        "own": [entry.key for entry in found.entries if entry.own],
    }
    known = json.dumps(about, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    parts = {
        "/*CSS*/": _built("explorer.css"),
        "/*LOSSES*/": f"{losses_script(found.entries)}const PAGE={known};",
        "/*APP*/": _built("explorer.js").replace("</script", "<\\/script"),
    }
    text = _built("page.html")
    for place, part in parts.items():
        before, after = text.split(place)
        text = before + part + after
    return text, found


def _built(name: str) -> str:
    return (BUILT / name).read_text(encoding="utf-8").strip()


def write_page(path: str | Path, own: dict[str, Objective] | None = None, version: str = "") -> Registry:
    """Write the explorer as one HTML file that needs nothing else.

    Args:
        path: the file.
        own: losses of one's own by label, compiled from their code; they stand first.

    Returns:
        What is on the page, and what is left out, with the reasons.

    Raises:
        ValueError: none of one's own losses can be compiled; says why.
        OSError: the file cannot be written.

    Example:
        >>> import expo_analysis as ea
        >>> mine = {"mine": ea.DPO(1.0, label_smoothing=0.2)}
        >>> write_page("/tmp/explorer.html", mine).entries[0].label  # doctest: +SKIP
        'mine'
    """
    text, found = page(own, version)
    if own and not any(entry.own for entry in found.entries):
        raise ValueError("; ".join(f"{label} {found.left_out[label]}" for label in own))
    replace(Path(path), text.encode())
    return found
