"""The census as one document, in JSON and as a page with its scripts."""

from __future__ import annotations

import datetime
import json
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .._files import made, replace
from ..adapters import Missing, Package, packages
from ..adapters.without import LOOKED, WITHOUT
from ..losses import CATALOGUE
from ..testing.equal import LAMS
from .compare import EQUAL, SINGLE, random_pairs
from .environments import Failed, make_base, make_environment, run, run_script
from .page import file_of, page
from .rows import EFFORT, SECONDS, Row, is_explained, rows_of, verdicts

Progress = Callable[[str], None]


def document(rows: Iterable[Row], of: Iterable[Package], failed: Mapping[str, str], own_version: str) -> dict[str, Any]:
    """All that the census found, as JSON has it.

    Args:
        rows: of the packages that were run. of: those. failed: why others were not, by name.
        own_version: of this package.
    """
    found = list(rows)
    versions = {row["package"]: row["version"] for row in found}
    return {
        "settings": {
            "date": datetime.date.today().isoformat(),
            "python": platform.python_version(),
            "torch": version("torch"),
            "expo_analysis": own_version,
            "lams": ", ".join(f"{lam:g}" for lam in LAMS),
            "count": len(random_pairs()["logp_w"]),
            "equal": EQUAL,
            "single": SINGLE,
            "effort": EFFORT,
            "seconds": SECONDS,
            "looked": LOOKED,
        },
        "packages": [
            {"name": one.name, "version": versions[one.name], "how": one.how, "remark": one.remark}
            for one in of
            if one.name in versions
        ],
        "failed": dict(failed),
        "without": dict(WITHOUT),
        "rows": found,
    }


def here(of: Iterable[Package], progress: Progress) -> tuple[list[Row], dict[str, str]]:
    """Rows of the packages that are installed here, and why others have none."""
    rows: list[Row] = []
    failed = {}
    for package in of:
        try:
            rows += rows_of(package, lambda name, package=package: progress(f"{package.name}: {name}"))  # type: ignore[misc]
        except Missing as error:
            failed[package.name] = str(error)
    return rows, failed


def installed(of: Iterable[Package], folder: Path, progress: Progress) -> tuple[list[Row], dict[str, str]]:
    """Rows of packages that are put, one by one, into environments of their own below ``folder``; and why others have
    none. Every script of a row is run in its environment, and has to succeed there."""
    progress("base environment")
    base = make_base(folder / "base")
    rows: list[Row] = []
    failed = {}
    for package in of:
        progress(f"{package.name} {package.pinned}")
        place = folder / package.name
        try:
            python = make_environment(package, place, base)
            own = run(python, package.name)
            for row in own:
                if row.get("script"):
                    run_script(python, row["script"])
            rows += own
        except Failed as error:
            failed[package.name] = f"{package.pinned}: {error}"
        finally:
            shutil.rmtree(place, ignore_errors=True)
    return rows, failed


def added(found: dict[str, Any], earlier: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The document with what earlier ones have of packages that it has not, in the order of `packages`."""
    rows, kept, failed = list(found["rows"]), list(found["packages"]), dict(found["failed"])
    for other in earlier:
        known = {*(package["name"] for package in kept), *failed}
        kept += [package for package in other["packages"] if package["name"] not in known]
        rows += [row for row in other["rows"] if row["package"] not in known]
        failed |= {name: why for name, why in other["failed"].items() if name not in known}
    cards = {name: card for other in earlier for name, card in other.get("cards", {}).items()}
    order = {name: place for place, name in enumerate(packages())}
    kept.sort(key=lambda package: order.get(package["name"], len(order)))
    return {**found, "rows": rows, "packages": kept, "failed": failed, "cards": cards}


def with_cards(found: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The document with verdicts of all losses of ours that an implementation is equal to, and of those written here
    from an adapter's words that agree with an implementation that is none of ours; cards that are there stay."""
    cards = dict(found.get("cards", {}))
    known = packages()
    rows, used = [], set()
    for row in found["rows"]:
        if row["relation"] == "differs" and is_explained(row) and "card" not in row:
            really = known[row["package"]].losses[row["name"]].really
            if really is not None:
                progress(f"report card of {row['package']}: {row['name']}")
                row = {**row, "card": verdicts(really(1.0), SECONDS)}
        rows.append(row)
        if row["relation"] in ("differs", "cannot be run"):
            continue
        name = row["loss"].removesuffix(" of means")
        if name not in cards and not name.startswith("aot"):
            progress(f"report card of {name}")
            cards[name] = verdicts(_loss(name))
        used.add(name)
    return {**found, "rows": rows, "cards": {name: cards[name] for name in sorted(used & set(cards))}}


def _loss(text: str) -> Any:
    """A loss of ours by what `Ours` prints: its name, and options in parentheses."""
    name, _, given = text.removesuffix(")").partition("(")
    options = dict(part.split("=") for part in given.split(", ")) if given else {}
    return CATALOGUE[name](1.0, **{key: _value(value) for key, value in options.items()})


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower())
    except json.JSONDecodeError:
        return text


def write(found: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``census.json``, ``census.md`` and a script for each difference below ``census/``; returns the files."""
    scripts = made(folder / "census")
    for old in scripts.glob("*.py"):
        old.unlink()
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    written = [replace(folder / "census.json", text.encode()), replace(folder / "census.md", page(found).encode())]
    for row in found["rows"]:
        if row.get("script"):
            written.append(replace(scripts / file_of(row), row["script"].encode()))
    return written
