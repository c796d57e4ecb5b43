"""Docstrings as mkdocstrings reads them.

It knows "Examples:", the package writes "Example:"; and headings among arguments are no arguments.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension


class Docstrings(Extension):
    """Changes docstrings before they are read."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Called for whatever griffe has found."""
        if obj.docstring:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.M)
            obj.docstring.value = re.sub(r"^ +> .*\n\n?", "", text, flags=re.M)
