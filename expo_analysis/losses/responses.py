"""What a bandit knows of its responses beside their probabilities, for the losses that read it: rewards and lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from .._autograd import values
from .._types import Floats, Indices, Mask, Policies
from ..bandit import Bandit
from .base import Objective, PairObjective, RewardObjective
from .statistics import SLOTS, THIRD


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


def response_data(objective: Objective, bandit: Responses, prompts: Any = slice(None)) -> dict[str, Floats]:
    """What the loss reads of each response beside its probabilities, by name: (n, prompts) each.

    Names are ``"reward"``, ``"length"`` and those that the loss derives itself (`PairObjective.derived`). Rewards are
    those of `reward_of`. A bandit that states no lengths has responses of one token each.

    Args:
        prompts: indices of prompts; the objective's lambda is one number, or one for each of them.

    Raises:
        ValueError: the loss reads rewards, and the bandit has none.
    """
    if not (isinstance(objective, PairObjective) and objective.data):
        return {}
    shape = np.atleast_2d(bandit.reference).shape
    stated = {"ref_logp": np.log(bandit.reference)}
    stated["length"] = np.ones(shape) if bandit.lengths is None else bandit.lengths
    rewards = reward_of(bandit) if objective.reads_rewards else None
    if rewards is not None:
        stated["reward"] = rewards
    elif objective.reads_rewards:
        raise ValueError(_no_rewards(objective))
    known = {kind: np.array(values.reshape(shape)[prompts].T) for kind, values in stated.items()}
    if isinstance(bandit, Bandit):
        known |= {kind: share.reshape(shape)[prompts].T for kind, share in bandit.label_shares.items()}
    known |= objective.derived(known)
    return {kind: known[kind] for kind in {name.rsplit("_", 1)[0] for name in objective.data} - {"logp"}}


def at_ends(objective: Objective, values: Mapping[str, Any], ends: tuple[Any, ...]) -> dict[str, Any]:
    """The loss's ``data`` of pairs, in its order, from ``values`` of responses by name, (n, ...) each.

    Names without values are left out.

    Args:
        values: of `response_data`, and perhaps ``"logp"``.
        ends: indices of winners, losers and, where there are some, third responses on the first axis.
    """
    read = objective.data if isinstance(objective, PairObjective) else ()
    places = dict(zip((*SLOTS, THIRD), (*ends, ends[0])[:3], strict=True))
    parts = {name: name.rsplit("_", 1) for name in read}
    return {name: values[kind][places[slot]] for name, (kind, slot) in parts.items() if kind in values}


def reads_third(objective: Objective) -> bool:
    """Whether the loss reads a third response beside winner and loser."""
    return isinstance(objective, PairObjective) and any(name.endswith(f"_{THIRD}") for name in objective.data)


def edges_of(objective: Objective, bandit: Bandit) -> tuple[Indices, Indices, Indices, Floats]:
    """(winner, loser, third, weight) of a bandit's data, as `Bandit.edges`; the third is the winner on plain pairs."""
    if bandit.triples is not None and reads_third(objective):
        triples = bandit.triples
        return triples.winner, triples.loser, triples.third, triples.weight
    winner, loser, weight = bandit.edges
    return winner, loser, winner, weight


def refuse_undefined(
    objective: Objective, bandit: Responses, compared: Mask | tuple[Indices, Indices, Indices]
) -> None:
    """Raise where the bandit lacks what the loss reads, or where that is nothing that the loss has a value for.

    Args:
        compared: (..., n, n), whether i ever beats j; or the numbers of prompt, winner and loser of all that do.

    Raises:
        ValueError: there are no rewards, or one is not known; or the loss of such a pair is nan at the reference, and
            so everywhere.
    """
    labelled = isinstance(bandit, Bandit) and bandit.liked is not None
    if isinstance(objective, RewardObjective) and reward_of(bandit) is None and labelled:  # pairs are fitted
        raise ValueError(_no_rewards(objective))
    if not (isinstance(objective, PairObjective) and objective.data):
        return
    objective, n = objective.with_lam(1.0), bandit.reference.shape[-1]
    prompt, winner, loser = compared if isinstance(compared, tuple) else np.nonzero(compared.reshape(-1, n, n))
    log_reference = np.log(bandit.reference.reshape(-1, n).T)
    known = response_data(objective, bandit)
    ends = ((winner, prompt), (loser, prompt))
    data = at_ends(objective, {**known, "logp": log_reference, "ref_logp": log_reference}, ends)
    logs = [log_reference[end] for end in ends]
    with np.errstate(all="ignore"):  # functions of data in terms may take numpy's arrays only, formulas torch's
        given = (*logs, *logs, *data.values())
        loss = objective.one_per_pair
        undefined = np.isnan(loss(*given) if objective.states_terms else values(loss, *given))
    if undefined.any():
        k = int(np.argmax(undefined))
        one, other = (_called(bandit, "responses", int(i[k])) for i in (winner, loser))
        where = f" on prompt {_called(bandit, 'prompt_names', int(prompt[k]))}" if bandit.reference.ndim > 1 else ""
        found = " and ".join(f"{name} = {x[k]:g}" for name, x in data.items())
        raise ValueError(
            f"bandit must have {'s and '.join(known)}s that {_class_name(objective)} has a value for; it is nan where "
            f"response {one} beats {other}{where}, with {found}"
        )


def _no_rewards(objective: Objective) -> str:
    return f"bandit must state rewards, which {_class_name(objective)} reads: Bandit(..., rewards=[...])"


def _called(bandit: Responses, kind: str, index: int) -> str:
    """A response or a prompt by its name, else by its number."""
    names = getattr(bandit, kind, None)
    return str(index) if names is None else repr(names[index])


def _class_name(objective: Objective) -> str:
    """The class of the loss; of one that stands for another, that of the other."""
    of = getattr(objective, "of", None)
    return type(of if isinstance(of, Objective) else objective).__name__
