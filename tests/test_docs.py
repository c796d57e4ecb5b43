"""The code in the documents runs, and what it says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _python_blocks(document: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "README.md"])
def test_code_blocks_run(document: str) -> None:
    blocks = _python_blocks(document)
    assert blocks
    scope: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, document, "exec"), scope)


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "README.md", "docs/theory.md", "figures/README.md"])
def test_links_and_named_files_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    folder = (ROOT / document).parent
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (folder / target).exists(), target
    for name in re.findall(r"`(tests?_\w+\.py)`", text):
        assert (ROOT / "tests" / name).exists(), name


def test_adding_a_loss_takes_ten_lines() -> None:
    """As CONTRIBUTING promises: class body and decorator, without imports, blank lines and the docstring."""
    block = _python_blocks("CONTRIBUTING.md")[0]
    left_out = ("from", "import", '"""')
    lines = [line for line in block.splitlines() if line.strip() and not line.strip().startswith(left_out)]
    assert len(lines) <= 10


def test_the_example_of_a_loss_is_the_one_that_is_explained() -> None:
    block = _python_blocks("CONTRIBUTING.md")[0]
    assert block[block.index("@dataclass") :] in (ROOT / "examples" / "exponential.py").read_text(encoding="utf-8")
