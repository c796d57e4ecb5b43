"""Losses as figures, simulations and commands take them: objects, classes, functions and names, each with its look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .._errors import one_sentence
from ..losses import Objective
from ..losses.from_function import from_function
from ..losses.notation import full_name
from ..own_loss import make_loss
from .looks import Look, look_of, loss_label

Given = Objective | type[Objective] | Callable[..., Any] | str

LONGEST = 40
"""Labels are cut after so many characters."""


@dataclass(frozen=True)
class Named:
    """A loss under the name that its look goes by.

    name: the loss's own, with the options that are not the default's. objective: the loss. look: how it is drawn.
    """

    name: str
    objective: Objective
    look: Look


def named_losses(
    losses: Given | Iterable[Given] | Mapping[str, Given], lam: float | None = None, *, apart: bool = False
) -> list[Named]:
    """The losses that were given, in their order, with names that tell them apart.

    Args:
        losses: one or several of: an `Objective`, such as ``ea.DPO(0.1)`` or one of your own; a subclass of it, made
            with its defaults; a function or a class that `from_function` takes; a name of the catalogue,
            ``"FILE.py:NAME"`` or ``"MODULE:NAME"``. A mapping has the labels of the legends as its keys.
        lam: lambda of all losses; if None, an object's own, and 1 for classes, functions and names.
        apart: whether two losses may differ in lambda alone, which their labels then tell; else that is refused, as in
            a figure over all lambdas they are one line.

    Raises:
        ValueError, TypeError: naming the loss and what is wrong with it; or no loss is given, or one twice.

    Example:
        >>> import expo_analysis as ea
        >>> [one.look.label for one in named_losses([ea.DPO(1), "simpo", ea.DPO(1, label_smoothing=0.1)])]
        ['DPO', 'SimPO', 'DPO (label_smoothing=0.1)']
    """
    if isinstance(losses, Mapping):
        given: list[tuple[str | None, Given]] = [(str(key), loss) for key, loss in losses.items()]
    elif isinstance(losses, Objective | type | str) or callable(losses):
        given = [(None, losses)]
    else:
        try:
            given = [(None, loss) for loss in losses]
        except TypeError:
            raise TypeError(f"losses must be losses, or a list of them; got {type(losses).__name__}") from None
    if not given:
        raise ValueError("losses must have at least one loss, such as ea.DPO(1)")
    found: list[Named] = []
    for chosen, loss in given:
        made = _made(loss, lam)
        name = full_name(made)
        look = look_of(name, None if chosen is None else tidy(chosen))
        found.append(Named(name, made, replace(look, label=tidy(look.label))))
    return _told_apart(found, apart)


def tidy(text: str) -> str:
    """A label as it can be drawn: one line, not too long, and dollars that are no mathematics.

    >>> tidy("my  $loss$")
    'my \\\\$loss\\\\$'
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split()) or "unnamed"
    return (line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…").replace("$", r"\$")


def _made(loss: Any, lam: float | None) -> Objective:
    """The loss as an object."""
    if isinstance(loss, Objective):
        return loss if lam is None else loss.with_lam(lam)
    if isinstance(loss, str):
        return make_loss(loss, lam)
    what = getattr(loss, "__name__", type(loss).__name__)
    if isinstance(loss, type) and issubclass(loss, Objective):
        try:
            return loss(1.0 if lam is None else lam)
        except Exception as error:
            words = one_sentence(error) or f"{type(error).__name__}: {error}"
            raise ValueError(f"{what} cannot be made with lam alone: {words}; give an object") from None
    if not callable(loss):
        raise TypeError(f"losses must be losses, functions or names such as 'dpo'; got {type(loss).__name__}")
    try:
        return from_function(loss, 1.0 if lam is None else lam)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is not a loss: {one_sentence(error) or error}") from None


def _told_apart(found: list[Named], apart: bool) -> list[Named]:
    """With labels that differ, and looks that differ.

    Raises:
        ValueError: a loss is there twice.
    """
    seen: list[Named] = []
    for one in found:
        same = [other for other in seen if other.name == one.name]
        new = one
        if same:
            if _same(one.objective, same[0].objective):
                raise ValueError(f"losses must differ, and {one.look.label} is given twice")
            if not apart and _same(one.objective.with_lam(1.0), same[0].objective.with_lam(1.0)):
                raise ValueError(
                    f"losses must differ by more than lam, and {one.look.label} is given twice: the figure goes over "
                    "all lambdas"
                )
            name = f"{one.name} (λ = {one.objective.lam:g})" if apart else f"{one.name} #{len(same) + 1}"
            own = look_of(name, tidy(f"{one.look.label} (λ = {one.objective.lam:g})" if apart else name))
            new = Named(name, one.objective, own)
        if any(other.look.label == new.look.label for other in seen):
            new = replace(new, look=replace(new.look, label=f"{new.look.label} #{len(seen) + 1}"))
        seen.append(new)
    return seen


def _same(first: Objective, second: Objective) -> bool:
    try:
        return type(first) is type(second) and bool(first == second)
    except Exception:
        return first is second


__all__ = ["Given", "Named", "loss_label", "named_losses", "tidy"]
