"""Settings of hypothesis: the same examples every time, here and in continuous integration.

``pytest --hypothesis-profile=explore`` draws others, and more of them; what it finds is printed as an example to add.
"""

import functools
import gc
import os
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from expo_analysis import _child

if os.environ.get("WITHOUT_COPIES"):  # mutation.py looks which lines run, and would not see those of a copy
    _child.COPIES = False

# this process's share of the cores: the others start processes, too
cores = max((os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")), 1)
os.cpu_count = lambda: cores

settings.register_profile(
    "fixed",
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
    print_blob=True,
)
settings.register_profile("explore", settings.get_profile("fixed"), derandomize=False, max_examples=500)
settings.load_profile("fixed")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what the imports made, which stays anyway, out of all later garbage collections: transformers
    asks for one after each training, and it took as long as the training of a tiny model."""
    gc.collect()
    gc.freeze()
    if mathtext := sys.modules.get("matplotlib.mathtext"):
        remember_formulas(mathtext.MathTextParser)


def remember_formulas(parser: Any) -> None:
    """Let all figures share what matplotlib computes for each formula: each has fifty of its own, and a formula takes
    milliseconds."""
    real = parser._parse_cached.__wrapped__
    shared = {made._output_type: made for made in map(parser, ("path", "agg"))}

    @functools.lru_cache(4000)
    def computed(kind: str, *given: Any) -> Any:
        return real(shared[kind], *given)

    parser._parse_cached = lambda self, *given: computed(self._output_type, *given)
