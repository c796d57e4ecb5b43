"""Words from templates: Markdown that can be read as it is, in which every number is computed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from textwrap import fill
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

TEMPLATE = "words.md.j2"
WIDTH = 116
VERBATIM = ("#", "|", "- ", "![", "Files: ")
"""What begins like this is no running text: it is not wrapped."""


@cache
def environment(package: str) -> Environment:
    """Jinja for the templates of a package; ``{{ x|f(".2f") }}`` is Python's ``f"{x:.2f}"``, and `each` has several."""
    made = Environment(
        loader=PackageLoader(package, "."),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown, of our own numbers
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["f"] = format
    made.filters["each"] = each
    return made


def each(values: Iterable[Any], spec: str, between: str = ", ") -> str:
    """Several numbers in one format.

    Example:
        >>> each([0.25, 1.0], ".1f")
        '0.2, 1.0'
    """
    return between.join(format(value, spec) for value in values)


def section(package: str, facts: Mapping[str, Any], tables: Collection[str], figures: Collection[str]) -> str:
    """A study's section of the README.

    The template calls the facts by name, and ``picture()`` and ``files()``: those of the study, or those named.

    Raises:
        ValueError: a fact has the name of one of these; a table or a picture is not linked.
    """
    template = environment(package).get_template(TEMPLATE)

    def picture(name: str = "") -> str:
        name = name or next(iter(figures))
        return f"![{titles[name]}]({name}.png)"

    def files(*names: str) -> str:
        chosen = names or tuple(tables)
        linked = [f"{name}.pdf" for name in figures if name in chosen]
        linked += [f"{name}.csv" for name in chosen if name in tables]
        return f"Files: {', '.join(f'[{file}]({file})' for file in linked)}"

    own = {"picture": picture, "files": files}
    if clash := sorted(own.keys() & facts.keys()):
        raise ValueError(f"{package}: facts must not be called {clash[0]!r}, which is what templates call")
    titles = _titles(environment(package), figures)
    text = wrapped(template.render(**facts, **own))
    linked = set(re.findall(r"\]\((\w+\.\w+)\)", text))
    wanted = {f"{name}.csv" for name in tables} | {f"{name}.{kind}" for name in figures for kind in ("png", "pdf")}
    if missing := sorted(wanted - linked):
        raise ValueError(f"{package}: {TEMPLATE} does not link {', '.join(missing)}")
    return text


def _titles(made: Environment, figures: Collection[str]) -> dict[str, str]:
    """The heading above each picture, which is what the picture is called."""
    assert made.loader is not None
    source = made.loader.get_source(made, TEMPLATE)[0]
    headings = re.findall(r"^## (.+)$", source, flags=re.MULTILINE)
    return dict(zip(figures, headings, strict=False))


def wrapped(text: str) -> str:
    """Paragraphs in lines of at most `WIDTH` characters; headings, tables, lists, pictures and files as they are."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text.strip())]
    return "\n\n".join(block if block.startswith(VERBATIM) else _filled(block) for block in blocks)


def _filled(paragraph: str) -> str:
    return fill(" ".join(paragraph.split()), WIDTH, break_on_hyphens=False, break_long_words=False)
