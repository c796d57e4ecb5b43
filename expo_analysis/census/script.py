"""A script of at most ten lines that shows on a pair, or two, what a row of the census says."""

from __future__ import annotations

import math
from typing import Any

from ..adapters import Implementation, Package
from .compare import LOGPS

LINES = 10
"""The most that a script has."""


def script(one: Implementation, package: Package, pairs: list[dict[str, Any]], what: str) -> str:
    """Python that prints the implementation's losses of pairs and those of ours, and fails where they agree.

    Args:
        pairs: as of `smallest` and `extreme`, at one lambda. what: how the losses differ.
    """
    lam = pairs[0]["lam"]
    off = [abs(pair["theirs"] - pair["ours"]) for pair in pairs if math.isfinite(pair["theirs"])]
    near = min(off, default=1.0) / 2
    needs = " ".join((f"{package.name}=={package.pinned}", *package.needs, *package.alone))
    own = one.ours.code(lam)
    further = _further(pairs)
    lines = [
        f'"""{package.name} {package.pinned}, {one.title}: {what}"""',
        f"# needs {needs}",
        "import numpy as np",
        "import expo_analysis as ea",
        f"from expo_analysis.adapters import {'Ours, ' if one.ours.of_means else ''}adapter",
        f"pairs = np.array({[[pair[name] for pair in pairs] for name in LOGPS]})",
        f'theirs = adapter("{one.package}", "{one.name}", {lam!r}).loss(*pairs{_given(further, further)})',
        f"ours = {own}.loss(*pairs{_given(further, one.ours.at(lam).data)})",
        'print("theirs", theirs, "ours", ours, "difference", theirs - ours)',
        f"assert not (abs(theirs - ours) <= {near:.1g}).any()",
    ]
    if one.ours.of_means:
        lines.remove("import expo_analysis as ea")
    return "\n".join(lines) + "\n"


def _further(pairs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """What is read beside log-probabilities, by name."""
    names = [name for name in pairs[0] if name.startswith(("length_", "reward_"))]
    return {name: [pair[name] for pair in pairs] for name in names}


def _given(known: dict[str, list[float]], read: Any) -> str:
    return "".join(f", {name}=np.array({known[name]})" for name in read if name in known)
