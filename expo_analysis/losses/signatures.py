"""What the arguments of somebody's function are: by the names that public libraries use, or by their places."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from .data import LOG_PROBABILITIES

CONTRACT = (
    "a loss takes (policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps), or "
    "the first two of these alone, as tensors of one number per pair, further chosen_rewards, rejected_rewards, "
    "chosen_lengths, rejected_lengths if it reads them, and its lambda as beta, or as beta_name says; it returns one "
    "loss per pair, or a tuple that begins with them"
)
"""What `from_function` accepts, in one sentence."""

BETAS = ("beta", "lam", "lambda_", "lmbda", "reg_coef")
"""Names under which libraries have lambda, the first that is there."""

SIDES = {
    "w": {"chosen", "w", "win", "winner", "winning", "preferred", "accepted", "positive", "pos", "yw"},
    "l": {"rejected", "l", "lose", "loser", "losing", "dispreferred", "negative", "neg", "reject", "yl"},
}
KINDS = {
    "reward": {"reward", "rewards", "score", "scores"},
    "length": {"length", "lengths", "len", "lens"},
}
REFERENCE = {"ref", "reference", "refs", "base", "initial", "sft"}
LOG = re.compile(r"log_?p(rob|robs|s|i)?$|log_?probs?$|logps?$")
LOG_RATIO = re.compile(r"log_?ratios?$")

OF_BOTH = {"policy": ("logp_w", "logp_l"), "reference": ("ref_logp_w", "ref_logp_l")}
"""Roles of objects with attributes for winner and loser."""

DERIVED = {
    "log_ratio": ("logp_w", "logp_l"),
    "ref_log_ratio": ("ref_logp_w", "ref_logp_l"),
    "log_ratio_w": ("logp_w", "ref_logp_w"),
    "log_ratio_l": ("logp_l", "ref_logp_l"),
    "logits": LOG_PROBABILITIES,
    "label": ("logp_w",),
}
"""Roles of what is computed from log-probabilities, and from which: differences, (w - l) - (ref_w - ref_l), and 1 for a
pair whose first response is the winner."""

ROLE_WORDS = {
    **{"logp_w": "log π_w", "logp_l": "log π_l", "ref_logp_w": "log π_ref,w", "ref_logp_l": "log π_ref,l"},
    **{"reward_w": "r_w", "reward_l": "r_l", "length_w": "|w|", "length_l": "|l|"},
    **{"policy": "both log π", "reference": "both log π_ref", "logits": "h̄", "label": "1 (the first one won)"},
    **{"log_ratio": "h", "ref_log_ratio": "h of the reference"},
    **{"log_ratio_w": "log π_w/π_ref,w", "log_ratio_l": "log π_l/π_ref,l"},
}
"""Roles in the symbols of the docs."""


def name_of(f: Any) -> str:
    """What to call a function, a class, or an object that can be called."""
    f = _inner(f)
    own = getattr(f, "__qualname__", None)
    return (own if isinstance(own, str) and own else type(f).__name__).rpartition(".")[2]


def _inner(f: Any) -> Any:
    """What a partial function is of, and the module below one that torch.compile made."""
    while isinstance(f, partial) or type(f).__module__.startswith("torch._dynamo"):
        f = f.func if isinstance(f, partial) else f._orig_mod
    return f


def read_from(f: Any) -> Any:
    """The function whose parameters are those of f: itself, or its ``forward`` or ``__call__``.

    Raises:
        TypeError: there is none.
    """
    f = f if isinstance(f, partial) else _inner(f)  # whose signature lacks what is bound
    if isinstance(f, type):
        calls = [cls for cls in f.__mro__ if "__call__" in vars(cls)]
        found = getattr(f, "forward", None) or (f.__call__ if calls else None)
    else:
        found = (getattr(f, "forward", None) if not inspect.isroutine(f) else None) or (f if callable(f) else None)
    if found is None:
        what = f"the class {f.__name__}, which has neither" if isinstance(f, type) else type(f).__name__
        raise TypeError(f"f must be a function or a class with forward or __call__, got {what}: {CONTRACT}")
    return found


def parameters_of(f: Any, skip_self: bool) -> list[inspect.Parameter]:
    """The parameters of a function.

    Raises:
        TypeError: it has no signature.
    """
    try:
        own = list(inspect.signature(f).parameters.values())
    except Exception:  # what somebody's __signature__ raises
        raise TypeError(f"{name_of(f)} has no signature that can be read: {CONTRACT}") from None
    return own[1:] if skip_self else own


def beta_of(
    f: Any, parameters: list[inspect.Parameter], is_class: bool, stated: str | None, options: Mapping[str, Any]
) -> tuple[str, set[str]]:
    """The name of lambda, and what a partial function has bound already.

    Raises:
        TypeError: ``stated``, or an option, is no argument.
    """
    own = parameters_of(f, skip_self=False) if is_class else parameters
    names = [p.name for p in own if p.kind is not p.VAR_KEYWORD and p.name not in options]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in own)
    unknown = [key for key in options if key not in {p.name for p in own} and not takes_any]
    if unknown:
        raise TypeError(f"{unknown[0]} is no argument of {name_of(f)}, which has {', '.join(p.name for p in own)}")
    bound = set(getattr(f, "keywords", {}) or {}) if isinstance(f, partial) else set()
    if stated is not None:
        if stated and stated not in names:
            raise TypeError(
                f"beta_name must be an argument of {name_of(f)}, which has {', '.join(names) or 'none'}; got {stated!r}"
            )
        return stated, bound
    return next((name for name in BETAS if name in names), ""), bound


def own_lambda(f: Any, parameters: list[inspect.Parameter], beta: str) -> float:
    """The number that f has for lambda: bound by a partial function, or its default; 1 where it has none."""
    bound = (getattr(f, "keywords", None) or {}) if isinstance(f, partial) else {}
    stated = bound.get(beta, next((p.default for p in parameters if p.name == beta), None))
    if isinstance(stated, int | float) and not isinstance(stated, bool) and 0 < stated < math.inf:
        return float(stated)
    return 1.0


def roles_of(f: Any, parameters: list[inspect.Parameter]) -> dict[str, str]:
    """What each argument is, by its name, or by its place.

    Raises:
        TypeError: an argument is not known, or there is no pair among them.
    """
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    own = [p for p in parameters if p.kind not in kinds]
    roles = {p.name: role for p in own if (role := role_of(p.name)) is not None}
    needed = [p for p in own if p.default is p.empty]
    if not any(_is_of_policy(role) for role in roles.values()) and len(needed) in (2, 4):
        roles = dict(zip((p.name for p in needed), LOG_PROBABILITIES, strict=False))
    roles = {p.name: roles[p.name] for p in own if p.name in roles and (p.default is p.empty or not _is_flag(p))}
    strange = [p.name for p in needed if p.name not in roles]
    found = set(roles.values())
    twice = len(found) < len(roles)
    if strange or twice or not {"logp_w", "logp_l"} <= read_by(found):
        odd = strange[4 if len(strange) == len(needed) == 5 else 0] if strange else ""  # four are read in their order
        what = f"{odd} is not known" if odd else "two of them are the same" if twice else "no pair among them"
        listed = ", ".join(str(p.replace(default=p.empty, annotation=p.empty)) for p in parameters) or "none"
        raise TypeError(f"{name_of(f)} has the arguments {listed} ({what}): {CONTRACT}")
    return roles


def read_by(roles: set[str]) -> set[str]:
    """Log-probabilities, rewards and lengths that arguments of these roles are made of."""
    made = {**OF_BOTH, **DERIVED}
    return {one for role in roles for one in made.get(role, (role,))}


def _is_of_policy(role: str) -> bool:
    return role.endswith(("logp_w", "logp_l", "policy")) or role in ("logits", "log_ratio", "log_ratio_w")


def _is_flag(parameter: inspect.Parameter) -> bool:
    """Whether a default is a number or a switch, which no tensor would have."""
    return isinstance(parameter.default, bool | int | float | str)


def role_of(name: str) -> str | None:
    """The role of an argument of this name; None for any other."""
    words = set(re.split(r"[_\W]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    reference = "ref_" if words & REFERENCE else ""
    side = next((side for side, names in SIDES.items() if words & names), None)
    if side is None:
        if words & {"inputs", "outputs"} and (reference or "policy" in words):
            return "reference" if reference else "policy"
        if LOG_RATIO.search(name.lower()):
            return f"{reference}log_ratio"
        return {"logits": "logits", "label": "label", "labels": "label"}.get(name.lower())
    for kind, names in KINDS.items():
        if words & names:
            return f"{kind}_{side}" if not reference else None
    if LOG_RATIO.search(name.lower()):
        return f"log_ratio_{side}" if not reference else None
    return f"{reference}logp_{side}" if LOG.search(name.lower()) or words & {"logps", "logp"} else None
