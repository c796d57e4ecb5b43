"""Optimisers as pure functions of tensors, so that a whole training step can be recorded and replayed.

They compute what torch.optim computes, and the tests compare the two; torch's own keep their state in Python objects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from .._checks import check_number


@dataclass(frozen=True)
class Optimiser(ABC):
    """lr: learning rate. weight_decay: w adds w * parameters to the gradient, the L2 penalty (w/2) |parameters|^2."""

    lr: float = 1e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_number("lr", self.lr, 0.0)
        check_number("weight_decay", self.weight_decay, 0.0, low_too=True)

    @property
    @abstractmethod
    def states(self) -> int:
        """How many tensors of the parameters' shape it keeps from step to step, all zero at first."""

    @abstractmethod
    def rates(self, lr: Tensor) -> Tensor:
        """What `update` takes besides the gradient: learning rates (steps,) to (steps, numbers per step)."""

    @abstractmethod
    def update(
        self, parameters: Tensor, gradient: Tensor, state: tuple[Tensor, ...], rates: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The next parameters and state."""

    def decayed(self, parameters: Tensor, gradient: Tensor) -> Tensor:
        """The gradient with weight decay."""
        return gradient + self.weight_decay * parameters if self.weight_decay else gradient


@dataclass(frozen=True)
class SGD(Optimiser):
    """parameters - lr b, b = momentum b + gradient."""

    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("momentum", self.momentum, 0.0, 1.0, low_too=True)

    @property
    def states(self) -> int:
        return 1 if self.momentum else 0

    def rates(self, lr: Tensor) -> Tensor:
        return lr[:, None]

    def update(
        self, parameters: Tensor, gradient: Tensor, state: tuple[Tensor, ...], rates: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        step = self.decayed(parameters, gradient)
        if self.momentum:
            step = self.momentum * state[0] + step
            state = (step,)
        return parameters - rates[0] * step, state


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), or AdamW (arXiv 1711.05101) with ``decoupled`` weight decay."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    decoupled: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise ValueError(f"betas must be a pair of numbers in [0, 1), got {self.betas!r}")
        for beta in self.betas:
            check_number("betas", beta, 0.0, 1.0, low_too=True)
        check_number("eps", self.eps, 0.0)

    @property
    def states(self) -> int:
        return 2

    def rates(self, lr: Tensor) -> Tensor:
        steps = torch.arange(1, len(lr) + 1, dtype=torch.float64)
        first, second = (1 - beta**steps for beta in self.betas)
        return torch.stack([lr / first, second.rsqrt(), lr], dim=1)

    def update(
        self, parameters: Tensor, gradient: Tensor, state: tuple[Tensor, ...], rates: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if self.decoupled:
            if self.weight_decay:
                parameters = parameters * (1 - rates[2] * self.weight_decay)
        else:
            gradient = self.decayed(parameters, gradient)
        mean = torch.lerp(state[0], gradient, 1 - self.betas[0])
        square = torch.addcmul(self.betas[1] * state[1], gradient, gradient, value=1 - self.betas[1])
        return parameters - rates[0] * mean / (square.sqrt() * rates[1] + self.eps), (mean, square)
