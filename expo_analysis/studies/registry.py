"""The one registry: every folder beside this file that has an entry."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from .study import Study


def find_studies(folders: Iterable[str], package: str = __package__) -> dict[str, Study]:
    """The studies of some folders, by name, in their order.

    Args:
        folders: paths to look in, as a package's ``__path__``.
        package: the name that their folders are imported under.
    """
    entries = [import_module(f"{package}.{found.name}").STUDY for found in iter_modules(list(folders)) if found.ispkg]
    return {study.name: study for study in sorted(entries, key=lambda study: (study.place, study.name))}


STUDIES = MappingProxyType(find_studies(import_module(__package__).__path__))
