"""What the site has beyond the Markdown in docs/: hooks of MkDocs, for `make docs`.

Documents stay where GitHub shows them. These hooks bring the README, the change log, the studies and the notebooks in,
turn links between files of the repository into links of the site, put whatever else is linked beside it, and write
three kinds of pages: the report card, from figures/report_card.csv; the functions and classes, from the package; and
the notebooks, as they were executed. Formulas become MathML, so that no page loads a script from elsewhere.
"""

from __future__ import annotations

import base64
import csv
import html
import inspect
import json
import posixpath
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

from latex2mathml.converter import convert
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files

import expo_analysis as ea
from expo_analysis.desiderata import DESIDERATA
from expo_analysis.desiderata.report.layout import grouped
from expo_analysis.desiderata.report.wording import SIGNS
from expo_analysis.desiderata.rules import RULES
from expo_analysis.explorer import PAGE as EXPLORER
from expo_analysis.explorer import counterexamples
from expo_analysis.figures.cells import cell
from expo_analysis.figures.looks import loss_label

ROOT = Path(__file__).resolve().parents[1]
LOG = get_plugin_logger("site")

BROUGHT = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "figures/README.md": "studies.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
}
"""Documents outside docs/, by their path in the repository: where they stand on the site."""

APP = "app/explorer.html"
"""The explorer itself; explorer.md is about it."""

STATIC = "repository"
"""Folder of files that documents link to and that are no pages."""

FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.M | re.S)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s]+)(?=[)\s])")
MATH = re.compile(r"\$\$(.+?)\$\$|(?<![\\$\w])\$(?![\s$])([^$\n]*(?:\n[^$\n]+)*?)(?<![\s\\])\$(?![\d$])", re.S)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
MARK = re.compile(r"\bsitemark(\d+)x")

kept: list[str] = []
"""HTML that Markdown shall not touch, by the number of the mark that stands for it."""

written: set[str] = set()
"""Where pages and pictures stand that are files of no repository."""


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are not in docs/, and whatever pages link to."""
    kept.clear()
    for source, uri in BROUGHT.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    pages: dict[str, str | bytes] = {"card.md": card(), **reference()}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        pages |= notebook(path)
    written.update(pages)
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    files.append(File.generated(config, APP, abs_src_path=str(EXPLORER)))
    for uri in {uri for file in files.documentation_pages() for _, uri in _targets(file) if uri.startswith(STATIC)}:
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / uri.removeprefix(f"{STATIC}/"))))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Links between files of the repository, and formulas."""
    home = _home(page.file.src_uri)
    if page.file.src_uri in ("rules.md", "desiderata.md"):
        markdown = _with_anchors(markdown, page.file.src_uri)
    if page.file.src_uri == "note/note.md":  # a paper's sections are its first headings
        markdown = f"# {page.meta['title']}\n\n" + re.sub(r"^#", "##", markdown, flags=re.M)
    return _outside_code(markdown, lambda text: _with_math(_with_links(text, home, page.file.src_uri)))


def on_page_content(text: str, *, page: Any, config: Any, files: Files) -> str:
    """What was kept from Markdown comes back."""
    return _restored(text)


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Also in titles and tables of contents."""
    return _restored(output)


def on_post_build(*, config: Any) -> None:
    """Follow every link within the site, those in tables that Markdown never saw included."""
    site = Path(config.site_dir)
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html") if path != site / APP}
    names = {path: set(re.findall(r'\b(?:id|name)="([^"]+)"', text)) for path, text in pages.items()}
    for path, text in pages.items():
        for link in set(re.findall(r'\b(?:href|src)="([^"]+)"', text)):
            file, _, anchor = html.unescape(link).partition("#")
            if re.match(r"[a-z]+:", file) or file.startswith("/"):  # elsewhere; the page of what is not found
                continue
            target = (path.parent / unquote(file)).resolve() if file else path
            if not target.is_file():
                LOG.warning("%s links to %s, which is not there", path.relative_to(site), link)
            elif anchor and target in names and unquote(anchor) not in names[target]:
                LOG.warning("%s links to %s, where nothing is called so", path.relative_to(site), link)


def _restored(text: str) -> str:
    return MARK.sub(lambda mark: kept[int(mark[1])], text)


def _keep(markup: str) -> str:
    kept.append(markup)
    return f"sitemark{len(kept) - 1}x"


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Change what is neither a block of code nor code within a line."""
    parts, end = [], 0
    for block in FENCE.finditer(text):
        parts += [_outside(text[end : block.start()], change), block[0]]
        end = block.end()
    return "".join([*parts, _outside(text[end:], change)])


def _outside(text: str, change: Callable[[str], str]) -> str:
    code: list[str] = []

    def hide(found: re.Match[str]) -> str:
        code.append(found[0])
        return f"\0{len(code) - 1}\0"

    return re.sub(r"\0(\d+)\0", lambda found: code[int(found[1])], change(CODE.sub(hide, text)))


def _with_math(text: str) -> str:
    def written(found: re.Match[str]) -> str:
        display, inline = found.groups()
        if display is not None:
            return _keep(convert(display, display="block"))
        return _keep(convert(inline))

    return MATH.sub(written, text)


# ------------------------------------------------------------------------------------------------------------- links


def _home(uri: str) -> str:
    """Where a page's source stands in the repository."""
    back = {uri: source for source, uri in BROUGHT.items()}
    if uri in back:
        return back[uri]
    return uri if uri.startswith(("notebooks/", "api/")) or uri == "api.md" else f"docs/{uri}"


def _uri(target: str) -> str | None:
    """Where on the site a file of the repository is; None where there is no such file."""
    if target in BROUGHT:
        return BROUGHT[target]
    if target == EXPLORER.relative_to(ROOT).as_posix():
        return APP
    if target.removeprefix("docs/") in written:
        return target.removeprefix("docs/")
    path = ROOT / target
    if path.is_dir():
        inside = [name for name in (f"{path.name}.md", "README.md", "__init__.py") if (path / name).is_file()]
        return _uri(f"{target}/{inside[0]}") if inside else None
    if not path.is_file():
        return None
    if target.startswith("notebooks/"):
        return f"{target.removesuffix('.ipynb')}.md"
    within = target.removeprefix("docs/")
    return within if within != target and path.suffix != ".py" else f"{STATIC}/{target}"


def _with_links(text: str, home: str, uri: str) -> str:
    """Links as they are between pages of the site."""

    def placed(found: re.Match[str]) -> str:
        path, hash_, anchor = found[1].partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(home), path))
        place = _uri(target)
        if place is None:
            LOG.warning("%s links to %s, which is not there", home, found[1])
            return found[1]
        return posixpath.relpath(place, posixpath.dirname(uri) or ".") + hash_ + anchor

    return LINK.sub(placed, text)


def _targets(file: File) -> Iterator[tuple[str, str]]:
    """Links of a page, and where they lead."""
    home = _home(file.src_uri)
    found: list[str] = []
    _outside_code(file.content_string, lambda text: found.extend(link[1] for link in LINK.finditer(text)) or text)
    for link in found:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(home), link.partition("#")[0]))
        place = _uri(target)
        if place is not None:
            yield link, place


# --------------------------------------------------------------------------------------------------------- notebooks


def notebook(path: Path) -> dict[str, str | bytes]:
    """The page of an executed notebook, and its pictures, by where they stand on the site."""
    uri = f"notebooks/{path.stem}.md"
    files: dict[str, str | bytes] = {}
    parts = []
    for cell_ in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell_["source"])
        if cell_["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell_.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}_{len(files)}.png"
                files[f"notebooks/{name}"] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![What the cell above draws]({name})")
            elif "text/html" in data:
                parts.append(_keep(f'<div class="output">{"".join(data["text/html"])}</div>'))
            else:
                text = "".join(output.get("text", data.get("text/plain", "")))
                parts.append(_keep(f'<pre class="output">{html.escape(text)}</pre>'))
    return {uri: "\n\n".join(parts) + "\n", **files}


# ---------------------------------------------------------------------------------------------------- the report card


def _with_anchors(page: str, uri: str) -> str:
    """Tables of theorems and of questions, in which each row can be linked to."""
    if uri == "desiderata.md":
        return re.sub(r"(?m)^\| `(\w+)` ", r'| <span id="\1"></span>`\1` ', page)
    parts = re.split(r"(?m)^(?=## )", page)
    keys = [key for key in DESIDERATA if any(rule.about == key for rule in RULES)]
    sections = zip(keys, parts[1:], strict=True)
    marked = [re.sub(r"(?m)^\| `(\w+)` ", rf'| <span id="{key}-\1"></span>`\1` ', part) for key, part in sections]
    return "".join([parts[0], *marked])


def card() -> str:
    """The report card as a page: every cell leads to its proof, or to its counterexample in the explorer."""
    with (ROOT / "figures" / "report_card.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    cells = {(row["loss"], row["desideratum"]): row for row in rows}
    losses = list(dict.fromkeys(row["loss"] for row in rows))
    asked = [key for keys in grouped({row["desideratum"] for row in rows}).values() for key in keys]
    cases = counterexamples.read().get("cases", {})
    head = "".join(f'<th scope="col"><span>{_title(key)}</span></th>' for key in asked)
    body = []
    for loss in losses:
        own = "".join(_cell(loss, key, cells.get((loss, key)), cases) for key in asked)
        body.append(f'<tr><th scope="row">{html.escape(loss_label(loss))}</th>{own}</tr>')
    table = f'<table class="card"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    first = rows[0]
    made = f"expo_analysis {first['version']}, {first['date']}, effort {first['effort']}, seed {first['seed']}"
    return CARD.format(table=_keep(f'<div class="card">{table}</div>'), made=made, call=first["call"])


CARD = """---
hide: [navigation, toc]
---

# The report card

What the exact optima of each loss do. **A cell is a link**: ✗ leads to its counterexample, which the explorer opens, ✓
to the theorem that proves it, and what was found by search (in a ring) to how the question is decided. The darker a
failure, the more it weighs. Rest the pointer on a cell for a sentence. [What the questions mean](desiderata.md) ·
[the theorems](rules.md) · [the table as CSV](../figures/report_card.csv)

{table}

Made by {made}: `{call}`.
"""


def _title(key: str) -> str:
    return html.escape(DESIDERATA[key].title)


def _cell(loss: str, key: str, row: dict[str, str] | None, cases: dict[str, Any]) -> str:
    """A cell, with where it leads."""
    if row is None:
        return "<td></td>"
    verdict: Any = row["verdict"]
    share, typical = (float(row[f"severity_{name}"] or "nan") for name in ("share", "typical"))
    shown = cell(verdict, row["basis"], share, typical, row["severity_unit"])
    fill, ink = shown.colours
    words = f"{loss_label(loss)}, {DESIDERATA[key].title}: {verdict}. {row['summary']} {row['severity']}".strip()
    sign = f'<span class="{shown.basis}">{SIGNS[verdict]}</span>'
    link = f'<a href="{_leads_to(loss, key, row, cases)}" title="{html.escape(words)}">{sign}</a>'
    return f'<td style="background:{fill};color:{ink}">{link}</td>'


def _leads_to(loss: str, key: str, row: dict[str, str], cases: dict[str, Any]) -> str:
    """The counterexample in the explorer, else the theorem, else how the question is decided."""
    if row["verdict"] == "fails" and key in cases.get(loss, {}):
        return f"{APP}#case={loss}.{key}"
    about = [rule.about for rule in RULES if rule.name == row["rule"]]  # of another question, where one follows from it
    if about:
        return f"rules.html#{key if key in about else about[0]}-{row['rule']}"
    return f"desiderata.html#{key}"


# ------------------------------------------------------------------------------------------------------- the reference

ROOMS = {
    "figures": "Figures of any losses, at a journal's width",
    "testing": "Tests of your own loss",
    "simulators": "Training of small policies",
    "llm": "Language models",
    "on_policy": "Pairs that the policy draws itself",
    "terms": "Terms, to write a loss of your own",
    "numerics": "Numerics that do not overflow",
    "divergences": "Divergences",
    "explorer": "The explorer, from Python",
    "paper": "The paper's experiments as data",
}
"""Namespaces with pages of their own."""


def reference() -> dict[str, str]:
    """A page for the package's face, and one for each of its namespaces, by where they stand; each thing once."""
    shown: set[Any] = set()

    def entries(owner: Any, prefix: str, home: str = "expo_analysis") -> str:
        """Of what is defined below ``home`` and stands on no page yet."""
        found = []
        for name in sorted(dir(owner), key=str.lower):
            thing = getattr(owner, name, None)
            if name.startswith("_") or not (inspect.isclass(thing) or inspect.isfunction(thing)) or thing in shown:
                continue
            if f"{thing.__module__}.".startswith(f"{home}."):
                shown.add(thing)
                path = f"{thing.__module__}.{thing.__qualname__}"
                title = f"{prefix}.{name}"
                options = f"heading: {title}\n      toc_label: {title}"
                found.append(f"::: {path}\n    options:\n      {options}\n")
        return "\n".join(found)

    losses = entries(SimpleNamespace(**{cls.__name__: cls for cls in ea.CATALOGUE.values()}), "ea")
    pages = {
        "api/losses.md": f"# Losses\n\nWhat they are, in one table: [The catalogue](../docs/losses.md).\n\n{losses}"
    }
    modules = {room: import_module(f"expo_analysis.{room}") for room in ROOMS}
    homes = {room: f"expo_analysis.{room}" for room in ROOMS if room != "terms"}
    defined = {room: entries(modules[room], f"ea.{room}", home) for room, home in homes.items()}
    defined["terms"] = entries(modules["terms"], "ea.terms", "expo_analysis.losses")
    for room, words in ROOMS.items():
        pages[f"api/{room}.md"] = f"# {words}\n\n{_prose(inspect.getdoc(modules[room]) or '')}\n\n{defined[room]}"
    rooms = "\n".join(f"- [`ea.{room}`](api/{room}.md): {words}" for room, words in ROOMS.items())
    pages["api.md"] = f"{FACE}- [Losses](api/losses.md): the catalogue\n{rooms}\n\n{entries(ea, 'ea')}"
    return pages


FACE = "# Functions and classes\n\nAll names are those of `import expo_analysis as ea`.\n\n"


def _prose(text: str) -> str:
    """A module's docstring; what is indented there is shown as it stands."""
    return re.sub(r"``([^`]+)``", r"`\1`", text)
