"""What an adapter says of a loss of somebody's package."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..losses import CATALOGUE, PairObjective, objective
from ..losses.from_function import FunctionLoss, from_function
from .borrowed import check_installed, version


@dataclass(frozen=True)
class Ours:
    """A loss of the catalogue: its name and options, which may be functions of lambda.

    of_means: whether it is given log-probabilities that are divided by the numbers of tokens.

    Example:
        >>> Ours("simpo", gamma=0.5).at(2.0)
        SimPO(lam=2.0, gamma=0.5)
    """

    name: str
    options: Mapping[str, Any]
    of_means: bool

    def __init__(self, name: str, of_means: bool = False, **options: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "of_means", of_means)

    def at(self, lam: float) -> PairObjective:
        """The loss at one lambda."""
        return self._of_means.with_lam(lam) if self.of_means else self._of_sums(lam)

    def _of_sums(self, lam: float) -> Any:
        given = {key: value(lam) if callable(value) else value for key, value in self.options.items()}
        return objective(self.name, lam, **given)

    @cached_property
    def _of_means(self) -> FunctionLoss:
        def of_means(
            policy_chosen_logps: Any,
            policy_rejected_logps: Any,
            reference_chosen_logps: Any,
            reference_rejected_logps: Any,
            chosen_lengths: Any,
            rejected_lengths: Any,
            beta: float,
        ) -> Any:
            return self._of_sums(beta).loss(
                policy_chosen_logps / chosen_lengths,
                policy_rejected_logps / rejected_lengths,
                reference_chosen_logps / chosen_lengths,
                reference_rejected_logps / rejected_lengths,
            )

        return from_function(of_means, name=f"{self.name} of means")

    @property
    def is_plain(self) -> bool:
        """Whether its options are the same at every lambda."""
        return not any(callable(value) for value in self.options.values())

    def code(self, lam: float) -> str:
        """Python that makes ``at(lam)``."""
        given = "".join(f", {key}={value(lam) if callable(value) else value!r}" for key, value in self.options.items())
        if self.of_means:
            return f'Ours("{self.name}", of_means=True{given}).at({lam!r})'
        return f'ea.objective("{self.name}", {lam!r}{given})'

    def __str__(self) -> str:
        cls: Any = CATALOGUE[self.name]
        usual = {option.name: option.default for option in dataclasses.fields(cls)}
        own = {key: value for key, value in self.options.items() if not callable(value) and value != usual[key]}
        given = ", ".join(f"{key}={value}" for key, value in own.items())
        return f"{self.name}{f'({given})' if given else ''}{' of means' if self.of_means else ''}"


@dataclass(frozen=True)
class Pairs:
    """What an adapter is called with: log-probabilities of winners and losers, under the policy and the reference, and
    what else it said that it reads; arrays (pairs,) of the kind that the implementation takes."""

    w: Any
    l: Any  # noqa: E741
    ref_w: Any
    ref_l: Any
    length_w: Any = None
    length_l: Any = None
    reward_w: Any = None
    reward_l: Any = None

    @property
    def logps(self) -> tuple[Any, Any, Any, Any]:
        """As most implementations take them."""
        return self.w, self.l, self.ref_w, self.ref_l

    @property
    def ratios(self) -> tuple[Any, Any]:
        """log pi/pi_ref of winners and losers."""
        return self.w - self.ref_w, self.l - self.ref_l


def over_lengths(p: Pairs) -> Pairs:
    """The same pairs with means over tokens for sums; without lengths, as they are."""
    if p.length_w is None:
        return p
    return replace(p, w=p.w / p.length_w, l=p.l / p.length_l, ref_w=p.ref_w / p.length_w, ref_l=p.ref_l / p.length_l)


Adapter = Callable[[Pairs, float], Any]
"""A function of pairs and lambda that calls the implementation, and returns what that returns."""


def as_function(adapter: Adapter, reads: str = "") -> Callable[..., Any]:
    """An adapter as a function whose arguments `from_function` knows; ``reads``: "", "lengths" or "rewards"."""

    def function(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        reference_chosen_logps: Any,
        reference_rejected_logps: Any,
        beta: float,
    ) -> Any:
        pairs = Pairs(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
        return adapter(pairs, beta)

    def of_lengths(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        reference_chosen_logps: Any,
        reference_rejected_logps: Any,
        chosen_lengths: Any,
        rejected_lengths: Any,
        beta: float,
    ) -> Any:
        logps = (policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
        return adapter(Pairs(*logps, chosen_lengths, rejected_lengths), beta)

    def of_rewards(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        reference_chosen_logps: Any,
        reference_rejected_logps: Any,
        chosen_rewards: Any,
        rejected_rewards: Any,
        beta: float,
    ) -> Any:
        logps = (policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
        return adapter(Pairs(*logps, None, None, chosen_rewards, rejected_rewards), beta)

    found: dict[str, Callable[..., Any]] = {"": function, "lengths": of_lengths, "rewards": of_rewards}
    return found[reads]


@dataclass(frozen=True)
class Implementation:
    """A loss of somebody's package, as a function that `from_function` takes.

    Attributes:
        package: the distribution's name. name: its name here. title: what it is called there, with its settings.
        where: the object that is called. function: the adapter.
        ours: what it is to be. really: what it is instead, where that is known. note: how it differs, in a sentence.
        is_exact: whether log-probabilities reach it as they are; otherwise as logits, which have less range.
        by_batch: whether the loss of a pair depends on the batch that it is in.
        modules: what has to be imported before it is called.
    """

    package: str
    name: str
    title: str
    where: str
    function: Callable[..., Any]
    ours: Ours
    really: Callable[[float], PairObjective] | None = None
    note: str = ""
    is_exact: bool = True
    by_batch: bool = False
    modules: tuple[str, ...] = ()

    def loss(self, lam: float = 1.0) -> FunctionLoss:
        """It as a loss.

        Raises:
            Missing: the package is not installed, or what it needs.
        """
        check_installed(self.package, self.modules)
        return from_function(self.function, lam, name=self.name)


@dataclass
class Package:
    """The losses of one distribution.

    Attributes:
        name: of the distribution. pinned: the version that was read.
        needs: what else has to be installed for its losses to run, with dependencies; ``alone``: without them.
        modules: what its losses import.
        how: what of it is run: "imported", "one file alone" or "its definitions alone".
        remark: what a reader should know of all of them.
        losses: by their names here.
    """

    name: str
    pinned: str
    needs: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    how: str = "one file alone"
    remark: str = ""
    losses: dict[str, Implementation] = field(default_factory=dict)

    def add(
        self, name: str, title: str, where: str, adapter: Adapter, ours: Ours, reads: str = "", **more: Any
    ) -> None:
        """One more loss; ``reads`` as of `as_function`, the rest as of `Implementation`."""
        function = as_function(adapter, reads)
        function.__name__ = function.__qualname__ = name
        given = {"modules": self.modules, **more}
        self.losses[name] = Implementation(self.name, name, title, where, function, ours, **given)

    @property
    def version(self) -> str | None:
        """The installed version; None where it is not installed."""
        return version(self.name)

    def function(self, name: str) -> Callable[..., Any]:
        """For a module's ``__getattr__``: its adapters by name."""
        if name in self.losses:
            check_installed(self.name, self.modules)
            return self.losses[name].function
        raise AttributeError(f"{self.name} has no loss {name!r} here; it has {', '.join(self.losses)}")
