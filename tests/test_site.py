"""The site builds without a warning, asks nothing of the network, and its card leads where it says."""

from __future__ import annotations

import csv
import importlib.util
import logging
import re
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from expo_analysis.explorer import counterexamples

pytest.importorskip("mkdocs", reason="the site is built with the extra docs")
pytest.importorskip("latex2mathml")

ROOT = Path(__file__).parents[1]


class Told(logging.Handler):
    """What MkDocs warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the whole site is, built as `make docs` builds it: strictly, so that a warning is an error.

    In this process, which has loaded the package that the pages are about; without the index of the search.
    """
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder, told, log = tmp_path_factory.mktemp("site"), Told(), logging.getLogger("mkdocs")
    log.addHandler(told)
    try:
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what MkDocs loads
            patch.setenv("NO_MKDOCS_2_WARNING", "1")
            patch.chdir(ROOT)
            patch.setattr("material.plugins.search.plugin.SearchIndex.add_entry_from_context", lambda *_: None)
            config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
            assert config.strict
            config.plugins.on_startup(command="build", dirty=False)
            build(config)
            config.plugins.on_shutdown()
    finally:
        log.removeHandler(told)
    assert not told.lines
    return folder


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_asks_for_nothing_outside(built: Path) -> None:
    pages = list(built.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|iframe)[^>]*\bsrc="(?:https?:)?//', text), page
        assert not re.search(r'<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*href="(?:https?:)?//', text), page
        assert "sitemark" not in text.lower(), f"{page} has a mark that was not put back"


def test_formulas_are_formulas(built: Path) -> None:
    note = (built / "note" / "note.html").read_text(encoding="utf-8")
    assert note.count("<math") > 300 and "$" not in re.sub(r"<(script|code|pre).*?</\1>", "", note, flags=re.S)


def test_a_cell_of_the_card_leads_to_its_counterexample_or_to_its_proof(built: Path) -> None:
    page = (built / "card.html").read_text(encoding="utf-8")
    links = re.findall(r'<td style="[^"]*"><a href="([^"]+)"', page)
    with (ROOT / "figures" / "report_card.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(links) == len(rows)
    cases = counterexamples.read()["cases"]
    assert {f"app/explorer.html#case={loss}.{key}" for loss, own in cases.items() for key in own} >= {
        link for link in links if link.startswith("app/")
    }
    failing = [row for row in rows if row["verdict"] == "fails"]
    drawn = sum(row["desideratum"] in cases.get(row["loss"], {}) for row in failing)
    proven = sum(bool(row["rule"]) for row in rows if row["verdict"] != "fails")
    assert sum(link.startswith("app/") for link in links) == drawn > 0.9 * len(failing)
    assert sum(link.startswith("rules.html#") for link in links) >= proven
    rules, asked = ((built / name).read_text(encoding="utf-8") for name in ("rules.html", "desiderata.html"))
    for link in links:
        name, _, anchor = link.partition("#")
        assert name.startswith("app/") or f'id="{anchor}"' in (rules if name == "rules.html" else asked), link


def test_every_public_name_is_in_the_reference(built: Path) -> None:
    import expo_analysis as ea

    text = "".join(path.read_text(encoding="utf-8") for path in (built / "api").rglob("*.html"))
    text += (built / "api.html").read_text(encoding="utf-8")
    for name in dir(ea):
        thing = getattr(ea, name, None)
        if not name.startswith("_") and isinstance(thing, type):
            assert re.search(rf'id="[\w.]*\.{thing.__name__}"', text), name


def test_broken_links_are_found(
    hooks: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.html").write_text('<p id="here"><a href="b.html#there">b</a><a href="c.html">c</a></p>')
    (tmp_path / "b.html").write_text('<a href="a.html#here">a</a><a href="https://example.org">far</a>')
    hooks.on_post_build(config=SimpleNamespace(site_dir=str(tmp_path)))
    told = sorted(record.getMessage() for record in caplog.records)
    assert [re.sub(r"^\w+: ", "", one) for one in told] == [
        "a.html links to b.html#there, where nothing is called so",
        "a.html links to c.html, which is not there",
    ]


def test_links_and_formulas_in_code_are_left_alone(hooks: ModuleType) -> None:
    text = "see [x](../README.md#citing) and `[y](z.md)` and `$a$`\n\n```\n[y](z.md) $b$\n```\n"
    changed = hooks._outside_code(text, lambda part: hooks._with_links(part, "docs/losses.md", "losses.md"))
    assert changed == text.replace("../README.md", "index.md")
    assert hooks._outside_code("costs $5 and $6", hooks._with_math) == "costs $5 and $6"
    assert hooks._outside_code("`$a$` $b$", hooks._with_math).startswith("`$a$` sitemark")
