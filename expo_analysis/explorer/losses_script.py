"""The losses of the page as one JavaScript array."""

from __future__ import annotations

import json
import math
from typing import Any

from .compiled import CompiledLoss
from .javascript import ERF, HELPERS, written
from .registry import Entry, formula_of


def losses_script(entries: tuple[Entry, ...]) -> str:
    """``const LOSSES=[...]``: each with its names, its looks, what is known of it, and its functions."""
    body = ",\n".join(_entry(entry) for entry in entries)
    helpers = HELPERS + (ERF if "erf(" in body else "")
    return f"{helpers}const LOSSES=[\n{body}\n];\n"


def _entry(entry: Entry) -> str:
    loss = entry.loss
    known: dict[str, Any] = {
        **{"key": entry.key, "label": entry.label, "formula": formula_of(loss.objective)},
        **{"python": _python(loss), "summary": _summary(loss)},
        **{"colour": entry.colour, "dark": entry.dark, "dashes": entry.dashes, "marker": entry.marker},
        **{"own": entry.own, "convex": loss.convex, "ratio": loss.log_ratio_only, "reward": loss.reward},
        **{"kinked": bool(loss.kinks), "data": list(loss.data)},
    }
    parts = [f"{name}:{_value(value)}" for name, value in known.items()]
    parts.append(f"slopes:{_slopes(loss)}")
    for name in ("pair", "scored", "rounded", "mu", "descend", "divergence"):
        function = getattr(loss, name)
        if function is not None:
            parts.append(f"{name}:{written(function)}")
    if loss.derived:
        own = [
            f"{kind}:{{{','.join(f'{n}:{written(function)}' for n, function in by_number.items())}}}"
            for kind, by_number in loss.derived.items()
        ]
        parts.append(f"derived:{{{','.join(own)}}}")
    if loss.kinks:
        parts.append(f"kinks:[{','.join(written(function) for function in loss.kinks)}]")
    return "{" + ",".join(parts) + "}"


def _value(value: Any) -> str:
    # a page ends its script at the first "</script"
    return json.dumps(value, ensure_ascii=False).replace("</", "<\\/")


def _slopes(loss: CompiledLoss) -> str:
    if loss.slopes is None:
        return "null"
    ends = [str(x) if math.isfinite(x) else ("Infinity" if x > 0 else "-Infinity") for x in loss.slopes]
    return f"[{','.join(ends)}]"


def _python(loss: CompiledLoss) -> str:
    """Python that builds the loss at ``lam``, with the imports that it needs, one a line."""
    from ..desiderata.code import written as python
    from ..losses.of_pairs import OfPairs

    objective = loss.objective
    expression, imports = python(objective.of if isinstance(objective, OfPairs) else objective)
    return f"{imports}\n{expression}"


def _summary(loss: CompiledLoss) -> str:
    """What the loss is, from its docstring: the first sentence, without formula and sources."""
    from ..losses.of_pairs import OfPairs

    objective = loss.objective.of if isinstance(loss.objective, OfPairs) else loss.objective
    first = " ".join((type(objective).__doc__ or "").split("\n\n")[0].split())
    return first.partition(" TRL: ")[0]
