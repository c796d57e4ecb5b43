"""The arguments of `solve` that restrict policies, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ..._checks import as_floats, check_number, check_shape, first_where
from ..._types import Floats
from ...bandit import Bandit


@dataclass(frozen=True, eq=False)
class LogLinearClass:
    """theta(x, y) = base(x, y) + features(x, y) w, and the decay of w."""

    features: Annotated[Floats, "prompts n d"]
    base: Annotated[Floats, "prompts n"]
    decay: float

    @classmethod
    def of(cls, bandit: Bandit, features: Any, base: Any, decay: Any) -> LogLinearClass | None:
        """None where there are no features.

        Raises:
            ValueError: naming the argument that is wrong, or that is of no use without features.
        """
        if features is None:
            for name, used in (("base", base is not None), ("decay", decay is not None and decay != 0)):
                if used:
                    raise ValueError(f"{name} is not used without features: it belongs to restricted policies")
            return None
        check_number("decay", decay, 0.0, low_too=True)
        shape = bandit.reference.shape
        prompts, n = bandit.prompts or 1, bandit.n
        array = as_floats("features", features)
        own = [(n,), (prompts, n)] if len(shape) == 2 else [(n,)]
        if array.ndim < 2 or array.shape[:-1] not in own or array.shape[-1] == 0:
            accepted = " or ".join(str((*one, "d")).replace("'", "") for one in own)
            raise ValueError(f"features must have shape {accepted}, d at least 1, got {array.shape}")
        logits = np.log(bandit.reference) if base is None else as_floats("base", base)
        check_shape("base", logits, shape)
        for name, values in (("features", array), ("base", logits)):
            if not np.isfinite(values).all():
                raise ValueError(f"{name} must hold finite numbers, got {first_where(values, ~np.isfinite(values))}")
        whole = np.broadcast_to(array, (prompts, n, array.shape[-1]))
        return cls(whole, logits.reshape(prompts, n), float(decay))
