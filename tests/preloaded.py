"""Imports the libraries that the file named by ``WARM_LIBRARIES`` lists: as one module of warm.py's fork server.

Thousands of names are more than one argument of a command may hold.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path

LISTED = "WARM_LIBRARIES"

for name in Path(os.environ[LISTED]).read_text().split() if LISTED in os.environ else ():
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
