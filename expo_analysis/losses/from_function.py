"""Anyone's function, or class with ``forward``, as a loss: `from_function`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .._types import Array
from ..divergences import Divergence
from .base import PairObjective
from .data import LOG_PROBABILITIES
from .function_call import Call, in_order, probed
from .signatures import beta_of, name_of, own_lambda, parameters_of, read_from, roles_of


@dataclass(frozen=True)
class FunctionLoss(PairObjective):
    """A loss that is somebody's function; made by `from_function`."""

    call: Call = field(kw_only=True)
    title: str = field(default="", kw_only=True)
    divergence: Divergence | None = field(default=None, kw_only=True)
    name: ClassVar[str] = "function"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "name", self.title or name_of(self.call.f))

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

    def loss(
        self,
        logp_w: Array,
        logp_l: Array,
        ref_logp_w: Array | None = None,
        ref_logp_l: Array | None = None,
        **data: Array,
    ) -> Array:
        """As of `PairObjective`; what the function does not read of the reference may be left out."""
        given = {"ref_logp_w": ref_logp_w, "ref_logp_l": ref_logp_l}
        left_out = {name: logp_w for name, value in given.items() if value is None and name not in self.call.reads}
        return super().loss(logp_w, logp_l, **{**given, **left_out, **data})

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array, *data: Array) -> Array:
        """The function's losses, in the shape of its arguments; numpy arrays go in and out as tensors."""
        import torch

        given: dict[str, Any] = dict(
            zip((*LOG_PROBABILITIES, *self.data), (logp_w, logp_l, ref_logp_w, ref_logp_l, *data), strict=True)
        )
        shape = tuple(logp_w.shape)
        is_numpy = not isinstance(logp_w, torch.Tensor)
        flat = {name: torch.as_tensor(given[name]).expand(shape).reshape(-1) for name in in_order(self.call.reads)}
        lams = np.broadcast_to(_numbers(self.lam), shape).reshape(-1)
        each = np.unique(lams)
        if len(each) == 1:  # no copies, so that a function that changes what it is given is seen to do so
            total = self.call.losses(float(each[0]), flat)
        else:
            total = torch.zeros(lams.size, dtype=torch.as_tensor(logp_w).dtype)
            for lam in each:
                at = torch.from_numpy(np.flatnonzero(lams == lam))
                part = self.call.losses(float(lam), {name: value[at] for name, value in flat.items()})
                total = total.to(part.dtype).index_put((at,), part)
        total = total.reshape(shape)
        if total.requires_grad and not any(value.requires_grad for value in flat.values()):
            total = total.detach()  # of parameters of the function's own, which are constants here
        return total.detach().to(torch.as_tensor(logp_w).dtype).numpy() if is_numpy else total


def _numbers(lam: Any) -> Any:
    return lam.detach().numpy() if hasattr(lam, "detach") else np.asarray(lam)


def from_function(
    f: Callable[..., Any],
    lam: float | None = None,
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
            two, arguments of other names are these in this order. Further ones may be rewards, lengths, and ``labels``
            (1, as the first response is the winner); instead of log-probabilities it may take their differences, as
            ``pi_logratios`` and ``ref_logratios``, ``chosen_logratios`` ..., or all in one as ``logits``. It returns
            one loss per pair, a tuple that begins with them, or a mapping or an object with ``losses`` or ``loss``; one
            number for the batch is un-reduced by calling it with batches of one. Tensors or JAX arrays. What
            torch.compile made is called as it was written.
        lam: the trade-off parameter. It is handed over as ``beta`` or ``lam``, of f or of the class's initialiser. By
            default the number that `functools.partial` bound to that, or its own default; 1 where there is none.
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
    target = read_from(f)
    parameters = parameters_of(target, skip_self=is_class)
    beta, bound = beta_of(f, parameters, is_class, beta_name, options)
    own = [p for p in parameters if is_class or p.name not in {beta, *options, *bound}]
    roles = roles_of(f, own)
    by_place = tuple(p.name for p in own if p.kind is p.POSITIONAL_ONLY and p.name in roles)
    call = Call(f, roles, beta, options, is_class, by_place=by_place)
    if lam is None:
        lam = own_lambda(f, parameters_of(target, skip_self=False) if is_class else parameters, beta)
    return FunctionLoss(lam, call=probed(call), title=name or "", divergence=regulariser)
