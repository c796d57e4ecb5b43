"""Which modules of a model an adapter is to change: names that no module has would be left out in silence."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from ..._errors import did_you_mean
from .logs import tell

SETTINGS = {"target_modules": "lora_target_modules", "modules_to_save": "lora_modules_to_save"}
"""Settings of PEFT's that name modules, and what they are called in a recipe."""

EVERY = "all-linear"
"""What PEFT takes for all linear modules."""


def check_modules(model: nn.Module, config: Any) -> None:
    """Raise where none of the names that a setting has is a module's, and tell of those that are none's.

    Args:
        config: of PEFT.

    Raises:
        ValueError: naming the setting, and the modules that the model has.
    """
    names = [name for name, _ in model.named_modules()]
    for setting, here in SETTINGS.items():
        given = getattr(config, setting, None)
        if not given or given == EVERY:
            continue
        if isinstance(given, str):
            missing = [] if any(re.fullmatch(given, name) for name in names) else [given]
        else:
            missing = sorted(one for one in given if not any(name == one or name.endswith(f".{one}") for name in names))
        if not missing:
            continue
        linear = sorted(
            {name.split(".")[-1] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        )
        shown = f"{', '.join(map(repr, missing))}; its linear modules are called {', '.join(linear)}"
        what = f"{here} ({setting} of peft_config)"
        if isinstance(given, str) or len(missing) == len(given):
            raise ValueError(f"{what}: the model has no module {shown}{did_you_mean(missing[0], linear)}")
        tell(f"{what}: the model has no module {shown}; the others are taken")
