"""How somebody's function is called, found out by calling it once: under a watch, since it may do anything."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .._child import LATE, ends_process
from .._watch import Watch
from .data import LOG_PROBABILITIES
from .signatures import CONTRACT, DERIVED, OF_BOTH, ROLE_WORDS, name_of, read_by

if TYPE_CHECKING:
    import torch

SECONDS = 10.0
"""How long one call of three pairs may take: JAX may compile in it."""

PAIRS = 3


@dataclass(frozen=True, eq=False)
class Call:
    """How a function is called.

    f: the function, or the class that makes one. roles: what each argument is, by its name: ``"logp_w"``,
    ``"ref_logp_l"``, ``"reward_w"``, ``"logits"``, ``"label"``, ``"policy"`` and ``"reference"`` (objects with the
    attributes ``chosen_logps`` and ``rejected_logps``) ... beta: the name of lambda, of the class's initialiser where f
    is a class; empty where it has none. options: further arguments. is_class: whether f is a class. source: the file or
    module and the name that it was loaded by, for other processes; empty where it was not. by_place: the arguments that
    it takes by their places alone. picks: which part of its result the losses are: None for all of it, the place in a
    tuple, a key of a mapping, or an attribute as ``".loss"``. reduces: whether it returns one number for a batch. jax:
    whether its arrays are JAX's.
    """

    f: Callable[..., Any]
    roles: Mapping[str, str]
    beta: str
    options: Mapping[str, Any]
    is_class: bool = False
    source: str = ""
    by_place: tuple[str, ...] = ()
    picks: int | str | None = None
    reduces: bool = False
    jax: bool = False

    @property
    def reads(self) -> set[str]:
        """The log-probabilities, rewards and lengths that it has arguments for."""
        return read_by(set(self.roles.values()))

    def at(self, lam: float) -> Callable[..., Any]:
        """The function at one lambda, of the arguments in ``roles``."""
        own = {self.beta: lam} if self.beta else {}
        if self.is_class:
            made: Callable[..., Any] = self.f(**own, **self.options)
            return made
        return partial(self.f, **own, **self.options)

    def raw(self, lam: float, known: Mapping[str, Any]) -> Any:
        """What it returns for a batch, whatever that is. ``known``: arrays by their roles; ``"label"`` may be given."""
        given = {name: _argument(role, known) for name, role in self.roles.items()}
        places = [given.pop(name) for name in self.by_place]
        with _uncompiled():
            return self.at(lam)(*places, **given)

    def losses(self, lam: float, known: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """One loss per pair, of tensors (pairs,)."""
        import torch

        if self.jax:
            from .from_jax import as_torch, one_by_one

            def of_arrays(*arrays: Any) -> Any:
                return self.picked(self.raw(lam, dict(zip(known, arrays, strict=True))))

            return as_torch(one_by_one(of_arrays) if self.reduces else of_arrays)(*known.values())
        if not self.reduces:
            return torch.as_tensor(self.picked(self.raw(lam, known)))

        def alone(*values: torch.Tensor) -> torch.Tensor:
            given = {name: value.reshape(1) for name, value in zip(known, values, strict=True)}
            return torch.as_tensor(self.picked(self.raw(lam, given))).reshape(())

        try:  # all at once, where the function does nothing that depends on its values
            return torch.func.vmap(alone)(*known.values())
        except (RuntimeError, ValueError):
            return torch.stack([alone(*pair) for pair in zip(*known.values(), strict=True)])

    def picked(self, result: Any) -> Any:
        """The loss among all that it returns."""
        if self.picks is None:
            return result
        is_attribute = isinstance(self.picks, str) and self.picks.startswith(".")
        return getattr(result, str(self.picks)[1:]) if is_attribute else result[self.picks]

    def describe(self) -> list[str]:
        """What was found, in sentences for the report."""
        words = ", ".join(f"{name} is {ROLE_WORDS[role]}" for name, role in self.roles.items())
        found = [f"read as a function: {words}"]
        if self.beta:
            found.append(f"its {self.beta} is lambda")
        else:
            found.append("it has no lambda: it is the same loss at every lambda")
        if self.picks is not None:
            part = {0: "the first part", "loss": "'loss'", "losses": "'losses'"}.get(self.picks, self.picks)
            found.append(f"{part} of what it returns is the loss")
        if self.reduces:
            found.append("it reduces a batch to one number, so it is called with batches of one pair")
        return found


def _uncompiled() -> AbstractContextManager[object]:
    """Within it what torch.compile made runs as it was written: with derivatives of derivatives, without a compiler."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    import torch

    return torch.compiler.set_stance("force_eager")


def _argument(role: str, known: Mapping[str, Any]) -> Any:
    """What an argument of this role is given."""
    if role in OF_BOTH:
        return _pair_of_outputs(*(known[name] for name in OF_BOTH[role]))
    if role == "label":
        return known["label"] if "label" in known else known["logp_w"] * 0 + 1
    if role == "logits":
        logp_w, logp_l, ref_logp_w, ref_logp_l = (known[name] for name in LOG_PROBABILITIES)
        return logp_w - logp_l - (ref_logp_w - ref_logp_l)
    if role in DERIVED:
        first, second = DERIVED[role]
        return known[first] - known[second]
    return known[role]


def _pair_of_outputs(chosen: torch.Tensor, rejected: torch.Tensor) -> SimpleNamespace:
    """What torchtune's losses take: log-probabilities of both, and logits, which losses of pairs do not use."""
    return SimpleNamespace(
        chosen_logps=chosen,
        rejected_logps=rejected,
        chosen_logits=chosen[..., None],
        rejected_logits=rejected[..., None],
    )


def in_order(reads: set[str]) -> list[str]:
    """Log-probabilities first, in their order."""
    first = [name for name in LOG_PROBABILITIES if name in reads]
    return [*first, *sorted(reads.difference(first))]


def probed(call: Call) -> Call:
    """The call, with what its results are: found by calling it.

    Raises:
        ValueError: what it does instead of returning losses.
    """
    import torch

    name = name_of(call.f)
    known = {
        role: torch.linspace(-1.0 - 0.1 * k, -0.4, PAIRS, dtype=torch.float64) * (1 if "logp" in role else -2)
        for k, role in enumerate(in_order(call.reads))
    }
    ended = _ended(call, known)
    if ended == LATE:
        raise ValueError(f"{name} does not return within {SECONDS:g} s for {PAIRS} pairs: {CONTRACT}")
    if ended:
        raise ValueError(f"{name} ends the process that calls it ({ended}): {CONTRACT}")
    with Watch(2 * SECONDS, guarded=True) as watch:
        found = watch.call(lambda: _seen(call, known), SECONDS)
        if found.value is None and not found.timed_out and "jax" in sys.modules:
            arrays = watch.call(lambda: _seen_by_jax(call, known), SECONDS)
            found = arrays if arrays.value is not None else found
    if found.timed_out:
        raise ValueError(f"{name} does not return within {SECONDS:g} s for {PAIRS} pairs: {CONTRACT}")
    if found.value is None:
        kind, _, said = found.failure.partition(": ")
        raise ValueError(f"{name} raises {kind} for {PAIRS} pairs{f' ({said})' if said else ''}: {CONTRACT}")
    if found.value.wrong:
        raise ValueError(f"{name} returns {found.value.wrong}: {CONTRACT}")
    return found.value.call


_TRIED: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()
"""How functions end the process that calls them, empty where they do not: each is tried once."""


def _ended(call: Call, known: Mapping[str, Any]) -> str:
    """How a call ends this process; with tensors and, where JAX is loaded, with its arrays."""

    def tried() -> None:
        with suppress(Exception):
            call.raw(1.0, known)
        if "jax" in sys.modules:
            call.raw(1.0, _arrays_of_jax(known))

    with suppress(Exception):  # of objects without a hash, and those that cannot be referred to weakly
        if call.f in _TRIED and not call.options:  # with options it may do something else
            return _TRIED[call.f]
    ended = ends_process(tried, 2 * SECONDS)
    with suppress(Exception):
        if not call.options:
            _TRIED[call.f] = ended
    return ended


@dataclass(frozen=True)
class _Seen:
    """What a call returned. wrong: what that is instead of losses; empty where it is losses."""

    call: Call
    wrong: str = ""


def _seen(call: Call, known: Mapping[str, Any]) -> _Seen:
    """Look at what it returns; whatever that does is done under the watch, too."""
    result = call.raw(1.0, known)
    if not call.jax and _is_jax(result):
        raise TypeError("it returns JAX arrays for tensors")
    picks: int | str | None = None
    begins = ""
    if isinstance(result, Mapping):
        picks = next((key for key in ("losses", "loss") if key in result), None)
        if picks is None:
            return _Seen(call, f"a mapping of {', '.join(map(str, result)) or 'nothing'}")
    elif isinstance(result, tuple | list) and len(result) > 0:
        picks, begins = 0, f"a {type(result).__name__} that begins with "
    elif not hasattr(result, "shape"):
        picks = next((f".{name}" for name in ("losses", "loss") if hasattr(result, name)), None)
    call = replace(call, picks=picks)
    losses = call.picked(result)
    if inspect.iscoroutine(losses):
        losses.close()
        return _Seen(call, "a coroutine, as an async function does")
    shape = getattr(losses, "shape", None)
    if shape is None:
        return _Seen(call, f"{begins}{type(losses).__name__} for {PAIRS} pairs")
    shape = tuple(shape)
    if shape not in ((PAIRS,), (), (1,)):
        return _Seen(call, f"shape {_in_short(shape)} for {PAIRS} pairs")
    dtype = str(getattr(losses, "dtype", ""))
    if any(kind in dtype for kind in ("int", "bool", "complex", "object", "str")):
        return _Seen(call, f"{dtype} for {PAIRS} pairs, where losses are real numbers")
    return _Seen(replace(call, reduces=shape != (PAIRS,)))


def _seen_by_jax(call: Call, known: Mapping[str, Any]) -> _Seen:
    """The same with JAX arrays in the place of tensors."""
    return _seen(replace(call, jax=True), _arrays_of_jax(known))


def _arrays_of_jax(known: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors as JAX's arrays."""
    import jax.numpy as jnp

    return {name: jnp.asarray(value.numpy()) for name, value in known.items()}


def _in_short(shape: tuple[Any, ...]) -> str:
    words = str(shape)
    return words if len(words) < 60 else f"{words[:60]} ..."


def _is_jax(result: Any) -> bool:
    several = result.values() if isinstance(result, Mapping) else result
    parts = several if isinstance(result, Mapping | tuple | list) else [result]
    return any(type(part).__module__.startswith("jax") for part in parts)
