"""What a bandit knows of its responses beside their probabilities, for the losses that read it: rewards and lengths."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .._autograd import values
from .._types import Floats, Mask, Policies
from .base import Objective, PairObjective, RewardObjective


class Responses(Protocol):
    """What a `Bandit`, and pairs that were drawn from one, know of responses."""

    @property
    def reference(self) -> Policies: ...
    @property
    def optimal(self) -> Policies | None: ...
    @property
    def rewards(self) -> Policies | None: ...
    @property
    def lengths(self) -> Policies | None: ...


def reward_of(bandit: Responses) -> Policies | None:
    """r(x, y), (..., n): the rewards that the bandit states, else r* = log pi*; None where there are neither.

    Raises:
        ValueError: some rewards are stated, and some are not known.
    """
    if bandit.rewards is not None:
        unknown = np.argwhere(np.isnan(bandit.rewards))
        if len(unknown):
            at = tuple(unknown[0].tolist())
            raise ValueError(
                f"bandit must have a reward for every response, but that at {at if len(at) > 1 else at[0]} is not known"
            )
        return np.array(bandit.rewards)  # which may be written to, or torch warns of it
    return None if bandit.optimal is None else np.log(bandit.optimal)


def response_data(objective: Objective, bandit: Responses) -> dict[str, Floats]:
    """What the loss reads of each response beside its probabilities, ``"reward"`` or ``"length"``: (..., n) each.

    Rewards are those of `reward_of`. A bandit that states no lengths has responses of one token each.

    Raises:
        ValueError: the loss reads rewards, and the bandit has none.
    """
    read = {name.rsplit("_", 1)[0] for name in objective.data} if isinstance(objective, PairObjective) else set()
    found: dict[str, Floats] = {}
    if "length" in read:
        found["length"] = np.ones(bandit.reference.shape) if bandit.lengths is None else np.array(bandit.lengths)
    if "reward" in read:
        rewards = reward_of(bandit)
        if rewards is None:
            raise ValueError(
                f"bandit must state rewards, which {_class_name(objective)} reads: Bandit(..., rewards=[...])"
            )
        found["reward"] = rewards
    return found


def at_ends(objective: Objective, values: dict[str, Any], ends: tuple[Any, Any]) -> list[Any]:
    """The loss's ``data`` of pairs, in its order, from the ``values`` of `response_data`, (n, ...) each.

    ends: indices of winners and losers on the first axis.
    """
    read = objective.data if isinstance(objective, PairObjective) else ()
    places = dict(zip("wl", ends, strict=True))
    return [values[kind][places[slot]] for kind, slot in (name.rsplit("_", 1) for name in read)]


def pair_data(objective: Objective, bandit: Responses, ends: tuple[Any, Any]) -> list[Floats]:
    """The loss's ``data`` of pairs of responses, in its order: (..., pairs) each, for ``ends`` on the last axis."""
    values = {kind: np.moveaxis(x, -1, 0) for kind, x in response_data(objective, bandit).items()}
    return [np.moveaxis(x, 0, -1) for x in at_ends(objective, values, ends)]


def refuse_undefined(objective: Objective, bandit: Responses, compared: Mask) -> None:
    """Raise where the bandit lacks what the loss reads, or where that is nothing that the loss has a value for.

    Args:
        compared: (..., n, n), whether i ever beats j.

    Raises:
        ValueError: there are no rewards, or one is not known; or the loss of such a pair is nan at the reference, and
            so everywhere.
    """
    if isinstance(objective, RewardObjective):
        reward_of(bandit)
    if not (isinstance(objective, PairObjective) and objective.data):
        return
    n = bandit.reference.shape[-1]
    prompt, winner, loser = np.nonzero(compared.reshape(-1, n, n))
    own = {kind: np.atleast_2d(x) for kind, x in response_data(objective, bandit).items()}
    log_reference = np.log(np.atleast_2d(bandit.reference))
    ends = ((prompt, winner), (prompt, loser))
    data = at_ends(objective, own, ends)
    logs = [log_reference[end] for end in ends]
    loss = objective.with_lam(1.0).one_per_pair
    with np.errstate(all="ignore"):  # functions of data in terms may take numpy's arrays only, formulas torch's
        found = loss(*logs, *logs, *data) if objective.states_terms else values(loss, *logs, *logs, *data)
    undefined = np.isnan(found)
    if undefined.any():
        k = int(np.argmax(undefined))
        one, other = (_called(bandit, "responses", int(i[k])) for i in (winner, loser))
        where = f" on prompt {_called(bandit, 'prompt_names', int(prompt[k]))}" if bandit.reference.ndim > 1 else ""
        numbers = " and ".join(f"{name} = {x[k]:g}" for name, x in zip(objective.data, data, strict=True))
        raise ValueError(
            f"bandit must have {'s and '.join(own)}s that {_class_name(objective)} has a value for; it is nan where "
            f"response {one} beats {other}{where}, with {numbers}"
        )


def _called(bandit: Responses, kind: str, index: int) -> str:
    """A response or a prompt by its name, else by its number."""
    names = getattr(bandit, kind, None)
    return str(index) if names is None else repr(names[index])


def _class_name(objective: Objective) -> str:
    """The class of the loss; of one that stands for another, that of the other."""
    of = getattr(objective, "of", None)
    return type(of if isinstance(of, Objective) else objective).__name__
