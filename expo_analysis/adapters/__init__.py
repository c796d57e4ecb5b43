"""Losses of packages that people install, as losses of this one: adapters of a few lines each.

    from expo_analysis.adapters import adapter

    adapter("torchtune", "rso", lam=0.5)             # an objective: solve it, train with it, audit it

    expo-analysis audit expo_analysis.adapters.torchtune:rso
    expo-analysis census                             # every loss of every package that is installed, beside ours

An adapter says where a package has a loss, how it is called, and which of ours it is to be. Nothing of a package is
copied: its installed code is run, on stand-ins for trainers, models and batches where it takes those. A loss that
takes log-probabilities as most do needs no adapter: `from_function`, or ``MODULE:NAME`` on the command line, takes it
as it is.
"""

from __future__ import annotations

import importlib
from typing import Any

from .borrowed import Missing
from .implementation import Implementation, Ours, Package, Pairs

__all__ = ["MODULES", "Implementation", "Missing", "Ours", "Package", "Pairs", "adapter", "implementation", "packages"]

MODULES = (
    *("trl", "torchtune", "openrlhf", "llamafactory", "ms_swift", "unsloth", "axolotl", "liger", "mlx_lm_lora"),
    *("mlx_tune", "mlxsmith", "opake", "turbo", "easydel", "tunix", "agilerl", "areal", "knowlyr", "tinker"),
    *("nemo_aligner", "xtuner", "ludwig", "oat", "fairseq2", "paddle"),
)
"""The modules of this package that adapt another one."""


def packages() -> dict[str, Package]:
    """All packages that there are adapters for, by the names of their distributions, installed or not."""
    found = [importlib.import_module(f".{module}", __name__).PACKAGE for module in MODULES]
    return {package.name: package for package in found}


def implementation(package: str, loss: str) -> Implementation:
    """What is known of a loss of a package.

    Raises:
        ValueError: there is no adapter for this package, or none for this loss of it; says which there are.

    Example:
        >>> implementation("torchtune", "rso").ours
        Ours(name='hinge', options={}, of_means=False)
    """
    known = packages()
    if package not in known:
        raise ValueError(f"package must be one of {', '.join(known)}, got {package!r}")
    if loss not in known[package].losses:
        raise ValueError(f"loss must be one of {package}'s {', '.join(known[package].losses)}, got {loss!r}")
    return known[package].losses[loss]


def adapter(package: str, loss: str, lam: float = 1.0) -> Any:
    """A loss of an installed package, as an objective.

    Args:
        package, loss: names, as in `packages`. lam: its trade-off parameter, whatever it is called there.

    Raises:
        ValueError: there is no such adapter. Missing: the package is not installed.
    """
    return implementation(package, loss).loss(lam)
