"""Policies over finitely many responses: from parameters to the log-probability of every response.

Parameters are one flat vector, on the last axis of a torch tensor; all axes before it are independent settings that are
trained at once. Responses of all prompts are numbered together: response y of prompt x is x * n + y.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .._checks import as_floats, check_policy
from .._frozen import set_fields
from .._types import Floats


class Policy(ABC):
    """A family of policies pi(y|x), with ``prompts`` prompts and ``n`` responses to each."""

    prompts: int
    n: int
    replayed: ClassVar[bool] = True
    """Whether a step of training is recorded and replayed: a second's work, which pays where operations are small."""

    @abstractmethod
    def start(self) -> Tensor:
        """The parameters that training starts from, shape (size,), float64."""

    @abstractmethod
    def log_policy(self, parameters: Tensor) -> Tensor:
        """log pi(y|x) of all responses: parameters (..., size) to (..., prompts, n)."""

    def log_probs(self, parameters: Tensor, response: Tensor) -> Tensor:
        """log pi of some responses, by their numbers (..., B): parameters (..., size) to (..., B)."""
        return self.log_policy(parameters).flatten(-2).gather(-1, response)

    def conditionals(self, log_reference: Tensor) -> Tensor:
        """log pi_ref(. | x, y_<t) of every prefix, from log pi_ref(y|x) of every response (prompts, n)."""
        raise TypeError(f"policy {type(self).__name__} has no tokens; 'token_kl' needs an autoregressive policy")

    def log_probs_and_kl(self, parameters: Tensor, conditionals: Tensor, response: Tensor) -> tuple[Tensor, Tensor]:
        """`log_probs`, and `losses.estimators.token_kl` from the reference of `conditionals`, in one pass."""
        raise TypeError(f"policy {type(self).__name__} has no tokens; 'token_kl' needs an autoregressive policy")

    def initial(self) -> np.ndarray:
        """The policy at `start`, shape (prompts, n)."""
        return np.asarray(torch.exp(self.log_policy(self.start())).numpy())


@dataclass(frozen=True, eq=False, init=False)
class Tabular(Policy):
    """One logit for each prompt and response: pi = softmax(theta), from ``initial_policy``, (n,) or (prompts, n)."""

    initial_policy: Annotated[Floats, "prompts n"]

    def __init__(self, initial_policy: ArrayLike) -> None:
        policy = np.atleast_2d(check_policy("initial_policy", initial_policy))
        set_fields(self, initial_policy=policy, prompts=policy.shape[0], n=policy.shape[1])

    def start(self) -> Tensor:
        return torch.from_numpy(np.log(self.initial_policy).reshape(-1))

    def log_policy(self, parameters: Tensor) -> Tensor:
        return torch.log_softmax(parameters.unflatten(-1, (self.prompts, self.n)), dim=-1)


@dataclass(frozen=True, eq=False, init=False)
class LogLinear(Policy):
    """theta(x, y) = log base(y|x) + features(x, y) . w: parameters w that all prompts share, 0 at the start.

    Args:
        base: the policy at w = 0, usually pi_ref; shape (n,) or (prompts, n).
        features: shape (prompts, n, d), or (n, d) with one prompt. Prompts interfere where their features overlap, and
            with fewer than prompts * (n - 1) of them not every policy can be reached.
    """

    base: Annotated[Floats, "prompts n"]
    features: Annotated[Floats, "prompts n d"]

    def __init__(self, base: ArrayLike, features: ArrayLike) -> None:
        policy = np.atleast_2d(check_policy("base", base))
        of_responses = as_floats("features", features)
        of_responses = of_responses[None] if of_responses.ndim == 2 else of_responses
        shape = of_responses.shape
        if len(shape) != 3 or shape[:2] != policy.shape or not np.isfinite(of_responses).all():
            raise ValueError(f"features must be finite, of shape {(*policy.shape, 'd')}; got {shape}")
        set_fields(self, base=policy, features=of_responses, prompts=policy.shape[0], n=policy.shape[1])

    def start(self) -> Tensor:
        return torch.zeros(self.features.shape[-1], dtype=torch.float64)

    def log_policy(self, parameters: Tensor) -> Tensor:
        features = torch.tensor(self.features).to(parameters.dtype)
        theta = torch.from_numpy(np.log(self.base)).to(parameters.dtype) + torch.einsum(
            "xyd,...d->...xy", features, parameters
        )
        return torch.log_softmax(theta, dim=-1)
