"""Rewards and devices by name, as commands on language models read them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import did_you_mean
from ..own_file import load_file

if TYPE_CHECKING:  # transformers takes seconds to import, and is not needed for help
    from ..llm.data.rewards import Reward

REFERENCE = "reference"
"""The reward that is the reference's own log-probability."""


def parse_reward(
    name: str,
    label: str | None = None,
    scored: str = "response",
    device: str | None = None,
    others: tuple[str, ...] = (),
) -> Reward:
    """The reward of this name; ``others`` are further names that are accepted where it is called.

    Raises:
        ValueError: naming the reward, or the option that it does not use.
    """
    from ..llm.data.rewards import classifier, vader

    check_reward(name, label, scored)
    if name == "vader":
        return vader(scored)
    if name.startswith("classifier:"):
        return classifier(name.removeprefix("classifier:"), label, scored, device=device)
    file, _, function = name.rpartition(":")
    if file.endswith(".py"):
        return own_reward(Path(file), function)
    names = ("vader", *others)
    accepted = f"{', '.join(names)}, classifier:NAME or FILE.py:FUNCTION"
    raise ValueError(f"reward must be {accepted}, got {name!r}{did_you_mean(name, names)}")


def check_reward(name: str, label: str | None, scored: str) -> None:
    """Raise where an option would be ignored."""
    if label is not None and not name.startswith("classifier:"):
        raise ValueError(f"reward-label is not used by the reward {name!r}: it is for classifiers")
    if scored != "response" and not (name == "vader" or name.startswith("classifier:")):
        raise ValueError(f"scored is not used by the reward {name!r}: it is for vader and classifiers")


def own_reward(file: Path, name: str) -> Reward:
    """The reward that ``FILE.py:FUNCTION`` names.

    Raises:
        ValueError: naming the file or function and what is wrong with it.
    """
    from ..llm.data.rewards import Reward

    function: Callable[..., Any] | None = getattr(load_file(file), name, None)
    if not callable(function):
        raise ValueError(f"{file}: it has no function {name!r}")
    # a file that was changed has another name, so that its old scores are not taken for its new ones
    return Reward(f"{file}:{name} {sha256(file.read_bytes()).hexdigest()[:8]}", function)


def device_of(name: str | None) -> str:
    """Where models are put: the device of this name, or what there is.

    Raises:
        ValueError: there is no such device.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's for a name, a build, a number
        raise ValueError(f"device must be one that torch has here, such as cpu, got {name!r}") from error
    return name
