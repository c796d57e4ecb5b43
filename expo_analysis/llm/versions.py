"""Which TRL this room was tested with: it builds on a few of its private names, so another one is refused."""

from __future__ import annotations

import importlib.metadata

from packaging.version import Version

from .._errors import INSTALL_LLM

TRL_RANGE = (Version("1.16"), Version("1.17"))
"""From the first version up to, and without, the second."""


def check_trl(version: str | None = None) -> None:
    """Raise unless TRL (the installed one, or ``version``) is within `TRL_RANGE`.

    Raises:
        ImportError: saying what was found and what is accepted.
    """
    low, high = TRL_RANGE
    accepted = f"trl>={low},<{high}"
    if version is None:
        try:
            version = importlib.metadata.version("trl")
        except importlib.metadata.PackageNotFoundError:
            raise ImportError(f"trl must be installed to train language models ({accepted}): {INSTALL_LLM}") from None
    if not low <= Version(version) < high:
        raise ImportError(
            f"trl must be of the version that this trainer was tested with ({accepted}), got {version}: it overrides "
            f"methods whose meaning may have changed. Install the tested one: {INSTALL_LLM}"
        )
