"""Which versions of TRL and transformers this room was tested with: with another one it warns, and goes on."""

from __future__ import annotations

import importlib.metadata
import warnings

from packaging.version import Version

from ..._errors import INSTALL_LLM

TESTED = {"trl": ("1.12", "1.16"), "transformers": ("5.16", "5.24")}
"""The oldest and the newest minor release of each that the tests were run with (`make test-trl`)."""


class UntestedVersion(UserWarning):
    """A library of a version that this package was not tested with."""


def check_version(name: str, version: str | None = None) -> None:
    """Warn where a library (the installed one, or ``version``) is older or newer than what was tested.

    Raises:
        ImportError: where it is not installed, saying how to install it.
    """
    if version is None:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise ImportError(f"{name} must be installed to train language models: {INSTALL_LLM}") from None
    oldest, newest = TESTED[name]
    found = Version(version)
    if not Version(oldest) <= found or (found.major, found.minor) > Version(newest).release[:2]:
        warnings.warn(
            f"{name} {version} was not tested with this package, which knows {oldest} to {newest}: if something fails, "
            "`make test-trl` shows what",
            UntestedVersion,
            stacklevel=2,
        )
