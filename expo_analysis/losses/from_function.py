"""Anyone's function, or class with ``forward``, as a loss: `from_function`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._types import Array
from ..divergences import Divergence
from .base import PairObjective
from .data import LOG_PROBABILITIES

if TYPE_CHECKING:
    import torch

CONTRACT = (
    "a loss takes (policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps), or "
    "the first two of these alone, as tensors of one number per pair, further chosen_rewards, rejected_rewards, "
    "chosen_lengths, rejected_lengths if it reads them, and its lambda as beta; it returns one loss per pair, or a "
    "tuple that begins with them"
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


@dataclass(frozen=True, eq=False)
class Call:
    """How a function is called.

    f: the function, or the class that makes one. roles: what each argument is, by its name: ``"logp_w"``,
    ``"ref_logp_l"``, ``"reward_w"``, ``"policy"`` and ``"reference"`` (objects with the attributes ``chosen_logps``
    and ``rejected_logps``). beta: the name of lambda, of the class's initialiser where f is a class; empty where it
    has none. options: further arguments. is_class: whether f is a class. source: the file or module and the name that
    it was loaded by, for other processes; empty where it was not. picks: what its result is: ``"losses"``,
    ``"first"`` of a tuple, or a key of a mapping. reduces: whether it returns one number for a batch. jax: whether
    its arrays are JAX's.
    """

    f: Callable[..., Any]
    roles: Mapping[str, str]
    beta: str
    options: Mapping[str, Any]
    is_class: bool = False
    source: str = ""
    picks: str = "losses"
    reduces: bool = False
    jax: bool = False

    @property
    def reads(self) -> set[str]:
        """The roles that it has arguments for."""
        both = {"policy": ("logp_w", "logp_l"), "reference": ("ref_logp_w", "ref_logp_l")}
        return {one for role in self.roles.values() for one in both.get(role, (role,))}

    def at(self, lam: float) -> Callable[..., Any]:
        """The function at one lambda, of the arguments in ``roles``."""
        own = {self.beta: lam} if self.beta else {}
        if self.is_class:
            made: Callable[..., Any] = self.f(**own, **self.options)
            return made
        return partial(self.f, **own, **self.options)

    def raw(self, lam: float, known: Mapping[str, torch.Tensor]) -> Any:
        """What it returns for a batch, whatever that is."""
        given: dict[str, Any] = {}
        for name, role in self.roles.items():
            if role in ("policy", "reference"):
                given[name] = _pair_of_outputs(*(known[f"{PREFIX[role]}logp_{side}"] for side in "wl"))
            else:
                given[name] = known[role]
        return self.at(lam)(**given)

    def losses(self, lam: float, known: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """One loss per pair, of tensors (pairs,)."""
        import torch

        if self.jax:
            from .from_jax import as_torch, one_by_one

            def of_arrays(*arrays: Any) -> Any:
                return self._picked(self.raw(lam, dict(zip(known, arrays, strict=True))))

            return as_torch(one_by_one(of_arrays) if self.reduces else of_arrays)(*known.values())
        if not self.reduces:
            return torch.as_tensor(self._picked(self.raw(lam, known)))

        def alone(*values: torch.Tensor) -> torch.Tensor:
            given = {name: value.reshape(1) for name, value in zip(known, values, strict=True)}
            return torch.as_tensor(self._picked(self.raw(lam, given))).reshape(())

        try:  # all at once, where the function does nothing that depends on its values
            return torch.func.vmap(alone)(*known.values())
        except (RuntimeError, ValueError):
            return torch.stack([alone(*pair) for pair in zip(*known.values(), strict=True)])

    def _picked(self, result: Any) -> Any:
        if self.picks == "losses":
            return result
        return result[0] if self.picks == "first" else result[self.picks]

    def describe(self) -> list[str]:
        """What was found, in sentences for the report."""
        words = ", ".join(f"{name} is {WORDS[role]}" for name, role in self.roles.items())
        found = [f"read as a function: {words}"]
        if self.beta:
            found.append(f"its {self.beta} is lambda")
        else:
            found.append("it has no lambda: it is the same loss at every lambda")
        if self.picks != "losses":
            part = "the first part" if self.picks == "first" else repr(self.picks)
            found.append(f"{part} of what it returns is the loss")
        if self.reduces:
            found.append("it reduces a batch to one number, so it is called with batches of one pair")
        return found


PREFIX = {"policy": "", "reference": "ref_"}
WORDS = {
    **{"logp_w": "log π_w", "logp_l": "log π_l", "ref_logp_w": "log π_ref,w", "ref_logp_l": "log π_ref,l"},
    **{"reward_w": "r_w", "reward_l": "r_l", "length_w": "|w|", "length_l": "|l|"},
    **{"policy": "both log π", "reference": "both log π_ref"},
}


def _pair_of_outputs(chosen: torch.Tensor, rejected: torch.Tensor) -> SimpleNamespace:
    """What torchtune's losses take: log-probabilities of both, and logits, which losses of pairs do not use."""
    return SimpleNamespace(
        chosen_logps=chosen,
        rejected_logps=rejected,
        chosen_logits=chosen[..., None],
        rejected_logits=rejected[..., None],
    )


@dataclass(frozen=True)
class FunctionLoss(PairObjective):
    """A loss that is somebody's function; made by `from_function`."""

    call: Call = field(kw_only=True)
    title: str = field(default="", kw_only=True)
    divergence: Divergence | None = field(default=None, kw_only=True)
    name: ClassVar[str] = "function"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "name", self.title or _name_of(self.call.f))

    @property
    def regulariser(self) -> Divergence | None:
        return self.divergence

    @property
    def data(self) -> tuple[str, ...]:
        return tuple(sorted(self.call.reads.difference(LOG_PROBABILITIES)))

    @property
    def remarks(self) -> tuple[str, ...]:
        """How the function was read."""
        return tuple(self.call.describe())

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array, *data: Array) -> Array:
        """The function's losses, in the shape of its arguments; numpy arrays go in and out as tensors."""
        import torch

        given: dict[str, Any] = dict(
            zip((*LOG_PROBABILITIES, *self.data), (logp_w, logp_l, ref_logp_w, ref_logp_l, *data), strict=True)
        )
        shape = tuple(logp_w.shape)
        is_numpy = not isinstance(logp_w, torch.Tensor)
        flat = {name: torch.as_tensor(given[name]).expand(shape).reshape(-1) for name in _order(self.call.reads)}
        lams = np.broadcast_to(_numbers(self.lam), shape).reshape(-1)
        total = torch.zeros(lams.size, dtype=torch.as_tensor(logp_w).dtype)
        for lam in np.unique(lams):
            at = torch.from_numpy(np.flatnonzero(lams == lam))
            part = self.call.losses(float(lam), {name: value[at] for name, value in flat.items()})
            total = total.to(part.dtype).index_put((at,), part)
        for name in ("logp_w", "logp_l"):  # so that torch finds a derivative, 0, in what the loss does not read
            if name not in flat:
                total = total + 0.0 * torch.as_tensor(given[name]).reshape(-1)
        total = total.reshape(shape)
        return total.detach().to(torch.as_tensor(logp_w).dtype).numpy() if is_numpy else total


def _numbers(lam: Any) -> Any:
    return lam.detach().numpy() if hasattr(lam, "detach") else np.asarray(lam)


def _order(reads: set[str]) -> list[str]:
    first = [name for name in LOG_PROBABILITIES if name in reads]
    return [*first, *sorted(reads.difference(first))]


def _name_of(f: Any) -> str:
    return str(getattr(f, "__qualname__", None) or type(f).__name__).rpartition(".")[2]


def from_function(
    f: Callable[..., Any],
    lam: float = 1.0,
    *,
    beta_name: str | None = None,
    regulariser: Divergence | None = None,
    name: str | None = None,
    **options: Any,
) -> FunctionLoss:
    """A loss that is a function, or a class with ``forward`` or ``__call__``, as public libraries write them.

    Args:
        f: takes log-probabilities of a batch of pairs, shape (pairs,), under the names that libraries use, such as
            ``(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)``; four, or
            two, arguments of other names are these in this order. Further ones may be rewards and lengths. It returns
            one loss per pair, a tuple that begins with them, or a mapping with ``loss`` or ``losses``; one number for
            the batch is un-reduced by calling it with batches of one. Tensors or JAX arrays.
        lam: the trade-off parameter. It is handed over as ``beta`` or ``lam``, of f or of the class's initialiser.
        beta_name: the name of that argument, where it has another one; ``""`` for a loss without lambda.
        regulariser: a divergence from the reference, that is added lam times. f itself is a loss of pairs only.
        name: what to call the loss.
        **options: further arguments of f, or of the class's initialiser.

    Raises:
        TypeError: f cannot be called so; says what was found and what is accepted.
        ValueError: it raises, or returns what is no loss.

    Example:
        >>> import numpy as np, torch
        >>> import expo_analysis as ea
        >>> def my_loss(policy_chosen_logps, policy_rejected_logps, beta=0.1):
        ...     return -torch.nn.functional.logsigmoid(beta * (policy_chosen_logps - policy_rejected_logps))
        >>> ea.from_function(my_loss, 2.0).loss(*np.log([[0.6], [0.3]])).round(4)
        array([0.2231])
    """
    is_class = isinstance(f, type)
    if not callable(f):
        raise TypeError(f"f must be a function or a class with forward, got {type(f).__name__}: {CONTRACT}")
    target: Any = f
    if is_class:
        target = getattr(f, "forward", None) or getattr(f, "__call__", None)  # noqa: B004
    parameters = _parameters(target, skip_self=is_class)
    beta, bound = _beta(f, parameters, is_class, beta_name, options)
    roles = _roles(f, [p for p in parameters if is_class or p.name not in {beta, *options, *bound}])
    call = Call(f, roles, beta, options, is_class)
    return FunctionLoss(lam, call=_probed(call), title=name or "", divergence=regulariser)


def _parameters(f: Any, skip_self: bool) -> list[inspect.Parameter]:
    try:
        own = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        raise TypeError(f"{_name_of(f)} has no signature that can be read: {CONTRACT}") from None
    return own[1:] if skip_self else own


def _beta(
    f: Any, parameters: list[inspect.Parameter], is_class: bool, stated: str | None, options: Mapping[str, Any]
) -> tuple[str, set[str]]:
    """The name of lambda, and what a partial function has bound already."""
    own = _parameters(f, skip_self=False) if is_class else parameters
    names = [p.name for p in own if p.kind is not p.VAR_KEYWORD and p.name not in options]
    unknown = [
        key for key in options if key not in {p.name for p in own} and not any(p.kind is p.VAR_KEYWORD for p in own)
    ]
    if unknown:
        raise TypeError(f"{unknown[0]} is no argument of {_name_of(f)}, which has {', '.join(p.name for p in own)}")
    bound = set(getattr(f, "keywords", {}) or {}) if isinstance(f, partial) else set()
    if stated is not None:
        if stated and stated not in names:
            raise TypeError(
                f"beta_name must be an argument of {_name_of(f)}, which has {', '.join(names)}; got {stated!r}"
            )
        return stated, bound
    return next((name for name in BETAS if name in names), ""), bound


def _roles(f: Any, parameters: list[inspect.Parameter]) -> dict[str, str]:
    """What each argument is, by its name, or by its place."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    own = [p for p in parameters if p.kind not in kinds]
    roles = {p.name: role for p in own if (role := _role(p.name)) is not None}
    needed = [p for p in own if p.default is p.empty]
    positional = not any(role.endswith(("logp_w", "logp_l", "policy")) for role in roles.values())
    if positional and len(needed) in (2, 4):
        roles = dict(zip((p.name for p in needed), LOG_PROBABILITIES, strict=False))
    roles = {p.name: roles[p.name] for p in own if p.name in roles and (p.default is p.empty or not _is_flag(p))}
    strange = [p.name for p in needed if p.name not in roles]
    found = set(roles.values())
    twice = len(found) < len(roles)
    if strange or twice or not ({"logp_w", "logp_l"} <= found or "policy" in found):
        what = (
            f"{strange[0]} is not known" if strange else "two of them are the same" if twice else "no pair among them"
        )
        listed = ", ".join(p.name for p in own) or "none"
        raise TypeError(f"{_name_of(f)} has the arguments {listed} ({what}): {CONTRACT}")
    return roles


def _is_flag(parameter: inspect.Parameter) -> bool:
    """Whether a default is a number or a switch, which no tensor would have."""
    return isinstance(parameter.default, bool | int | float | str)


def _role(name: str) -> str | None:
    """The role of an argument of this name; None for any other."""
    words = set(re.split(r"[_\W]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    reference = "ref_" if words & REFERENCE else ""
    side = next((side for side, names in SIDES.items() if words & names), None)
    if side is None:
        if words & {"inputs", "outputs"} and (reference or "policy" in words):
            return "reference" if reference else "policy"
        return None
    for kind, names in KINDS.items():
        if words & names:
            return f"{kind}_{side}" if not reference else None
    return f"{reference}logp_{side}" if LOG.search(name.lower()) or words & {"logps", "logp"} else None


def _probed(call: Call) -> Call:
    """The call, with what its results are: found by calling it."""
    import torch

    known = {
        name: torch.linspace(-1.0 - 0.1 * k, -0.4, 3, dtype=torch.float64) * (1 if "logp" in name else -2)
        for k, name in enumerate(_order(call.reads))
    }
    result, jax = _called(call, known)
    picks = _picks(result)
    if not picks:
        raise ValueError(
            f"{_name_of(call.f)} returns a mapping of {', '.join(map(str, result)) or 'nothing'}: {CONTRACT}"
        )
    call = replace(call, picks=picks, jax=jax)
    losses = call._picked(result)
    shape = getattr(losses, "shape", None)
    if shape is None or tuple(shape) not in ((3,), (), (1,)):
        got = f"shape {tuple(shape)}" if shape is not None else type(losses).__name__
        raise ValueError(f"{_name_of(call.f)} returns {got} for 3 pairs: {CONTRACT}")
    return replace(call, reduces=tuple(shape) != (3,))


def _called(call: Call, known: Mapping[str, torch.Tensor]) -> tuple[Any, bool]:
    """What it returns, and whether it took JAX arrays for it."""
    try:
        result = call.raw(1.0, known)
        if not _is_jax(result):
            return result, False
    except Exception as error:
        failed = error
    else:
        failed = TypeError("it returns JAX arrays for tensors")
    try:
        import jax.numpy as jnp

        arrays: dict[str, Any] = {name: jnp.asarray(value.numpy()) for name, value in known.items()}
        return call.raw(1.0, arrays), True
    except Exception:
        said = " ".join(str(failed).split())
        raise ValueError(
            f"{_name_of(call.f)} raises {type(failed).__name__} for 3 pairs ({said}): {CONTRACT}"
        ) from None


def _is_jax(result: Any) -> bool:
    parts: Iterator[Any] = iter(result if isinstance(result, tuple | list) else [result])
    return any(type(part).__module__.startswith("jax") for part in parts)


def _picks(result: Any) -> str:
    if isinstance(result, Mapping):
        return next((key for key in ("losses", "loss") if key in result), "")
    return "first" if isinstance(result, tuple | list) and len(result) > 0 else "losses"
