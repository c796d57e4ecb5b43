"""Gradient training of many settings at once: every (objective, data set) pair is one row of the same tensors.

One step (loss, gradient, clipping, optimiser) is recorded once for each kind of loss as a list of tensor operations and
replayed from then on. Batches of a few of many prompts read their parameters alone (see `rows`), and no table of all
pairs is made of `Pairs`. Rows of settings do not see each other: each gives what it would give if trained alone, except
that data sets of several sizes share one number of steps, and to rounding, as sums over pairs may run in another order.
Where a gradient vanishes Adam divides its rounding by ``eps``: a last place of 1e-16 can then move a parameter by 1e-16
lr/eps a step, 1e-10 with usual settings, while with SGD rows agree to the last places.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .._checks import check_number, check_option, check_whole
from .._progress import Progress, silent
from .._threads import one_thread
from .._types import Floats, Indices
from ..bandit import Bandit
from ..losses import Objective, PairObjective, RewardObjective
from ..losses.estimators import ESTIMATORS, check_estimator, own_responses, reference_samples
from ..losses.responses import at_ends, reads_third, refuse_undefined, response_data, reward_of
from ..losses.risk import loss_of_choices, refuse_coupled
from ..losses.unpaired import on
from .batches import Batch, batches, is_same_every_epoch, steps_per_epoch, whole
from .optimisers import Adam, Optimiser
from .policies import Policy, Tabular
from .recording import recorded
from .rows import Some, Update, are_few
from .sampling import Pairs
from .trajectory import Trajectory

SCHEDULES = ("constant", "linear", "cosine", "exponential")
LAST_RATE = 1e-6
"""Where the schedule ``"exponential"`` ends, as a share of the first learning rate."""
PREFIXES = ("reference_samples", "own_responses")


@dataclass(frozen=True)
class Training:
    """How to train.

    Args:
        optimiser: `Adam` or `SGD`, with learning rate and weight decay.
        epochs: passes over the data; without ``batch`` each is one step.
        batch: pairs in a step, the last of an epoch with what is left; None for the gradient of all the data. With data
            sets of several sizes an epoch is a pass over the largest, while smaller ones start over again and again.
        shuffle: whether each pass over a data set has an order of its own.
        clip_norm: the gradient of each setting is scaled down to this 2-norm where it is longer; None for never.
        schedule: of the learning rate: ``"constant"``; ``"linear"`` or ``"cosine"`` down to zero; or ``"exponential"``,
            lr LAST_RATE^(t / steps) at step t = 0, 1, ... It suits losses with kinks, where gradients do not vanish at
            the minimiser and steps are no shorter than the rate makes them: on sharp functions the distance falls in
            proportion to the rate (Goffin 1977, "On convergence rates of subgradient optimization methods"; Davis,
            Drusvyatskiy et al. 2018, arXiv 1803.02461).
        average: the share of the last steps whose parameters are averaged for the result; None for the last iterate.
        patience: stop a setting early when its validation risk has not fallen for so many records, and take the record
            where it was lowest; None for never.
        estimator: of the regulariser, see `losses.estimators`; ``"exact"`` sums over all responses.
        samples: responses drawn from pi_ref for each pair of a batch, for the estimators that need them. Default: 1.
        prefixes: what ``"token_kl"`` runs along: ``"reference_samples"``, its default, or ``"own_responses"``.
        on_policy: whether pairs are drawn from the policy itself, q_ij proportional to pi_i pi_j among those that are
            compared, the gradient taking q as constant; for full gradients on a bandit that states its preferences. See
            `expo_analysis.on_policy` for where this rests.
        records: about how many times the policies are looked at, the start and the end included.
        log_spaced: whether the records are spaced evenly in the logarithm of the step.
        seed: of orders and samples. A data set meets the same ones whatever is trained beside it.
    """

    optimiser: Optimiser = field(default_factory=Adam)
    epochs: int = 1000
    batch: int | None = None
    shuffle: bool = True
    clip_norm: float | None = None
    schedule: str = "constant"
    average: float | None = None
    patience: int | None = None
    estimator: str = "exact"
    samples: int | None = None
    prefixes: str | None = None
    on_policy: bool = False
    records: int = 50
    log_spaced: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("records", 2), ("seed", 0)):
            check_whole(name, getattr(self, name), least)
        for name in ("batch", "patience", "samples"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 0.0)
        if self.average is not None:
            check_number("average", self.average, 0.0, 1.0, high_too=True, kind="share")
        if not isinstance(self.optimiser, Optimiser):
            raise TypeError(f"optimiser must be Adam(...) or SGD(...), got {self.optimiser!r}")
        check_option("schedule", self.schedule, SCHEDULES)
        check_option("estimator", self.estimator, ESTIMATORS)
        check_option("prefixes", self.prefixes, (None, *PREFIXES))
        self._check_together()

    def _check_together(self) -> None:
        """What is given must be used."""
        if self.prefixes is not None and self.estimator != "token_kl":
            raise ValueError(f"prefixes is used by estimator 'token_kl' only, and estimator is {self.estimator!r}")
        if self.samples is not None and not self.draws:
            raise ValueError(f"samples is not used: estimator {self.estimator!r} draws nothing from pi_ref here")
        if self.average is not None and self.patience is not None:
            raise ValueError("average is not used with patience: give one of the two")
        if self.on_policy and (self.batch is not None or self.estimator != "exact" or self.patience is not None):
            raise ValueError("on_policy is for full gradients: it is not used with batch, patience or an estimator")
        if self.draws and self.batch is None:
            raise ValueError("batch must be given with an estimator that draws responses from pi_ref")

    @property
    def draws(self) -> int:
        """How many responses are drawn from pi_ref for each pair."""
        needed = self.estimator == "reference_samples"
        needed |= self.estimator == "token_kl" and self.prefixes != "own_responses"
        return (self.samples or 1) if needed else 0


def train(
    objectives: Objective | Sequence[Objective],
    policy: Policy,
    data: Bandit | Pairs,
    training: Training | None = None,
    *,
    reward: ArrayLike | None = None,
    validation: Bandit | Pairs | None = None,
    progress: Progress = silent,
) -> Trajectory:
    r"""Train a policy with every objective on every data set, all from the same start.

    Minimises mean over pairs of loss + lam * regulariser, and for `RLHF` E_pi[-r] + lam D_f(pi || pi_ref).

    Args:
        objectives: any of the catalogue but AOT, or one's own; those that differ in lam only share one computation.
        policy: what is trained, see `simulators.policies`.
        data: a `Bandit`, exact or counted, for full gradients; `Pairs` for batches of pairs, or full gradients too.
        reward: r for `RLHF`, shape (n,), (prompts, n) or (data sets, prompts, n). Default: the data's, else log pi*.
        validation: data of the same kind for ``patience``.
        progress: called as ``progress(done, total)`` with numbers of steps.

    Returns:
        A `Trajectory` over (objective, data set). A setting that diverges has nan from there on, the others go on.

    Raises:
        TypeError, ValueError: naming the argument that is wrong and what is accepted.
    """
    given = [objectives] if isinstance(objectives, Objective) else list(objectives)
    training = Training() if training is None else training
    _check(given, policy, data, training, validation)
    chosen = [on(data, x) if isinstance(data, Bandit) and isinstance(x, PairObjective) else x for x in given]
    sets = data.data_sets if isinstance(data, Pairs) else 1
    held_out = None if validation is None else whole(validation)
    reference = np.atleast_2d(data.reference)
    optimal = None if data.optimal is None else np.atleast_2d(data.optimal)
    rewards = _rewards(chosen, reward, data, (sets, *reference.shape))

    groups = _groups(chosen)
    compared = data.compared[:3] if isinstance(data, Pairs) else data.wins > 0
    for group in groups:
        refuse_undefined(chosen[group[0]], data, compared)
    won, lost = _won_and_lost(data)
    steps = training.epochs
    if isinstance(data, Pairs) and training.batch is not None:
        steps *= steps_per_epoch(data, training.batch)
    looks = record_steps(steps, training)
    shape = (len(chosen), sets)
    log_policies = np.full((*shape, len(looks), *reference.shape), np.nan)
    values = np.full((*shape, len(looks)), np.nan)
    final = np.full((*shape, *reference.shape), np.nan)
    parameters = np.full((*shape, len(policy.start())), np.nan)
    stopped = np.full(shape, steps)
    done = 0
    with one_thread():
        for group in groups:
            task = _Task([chosen[i] for i in group], policy, reference, rewards, data, sets, training)
            base = done

            def advance(step: int, base: int = base) -> None:
                progress(base + step, steps * len(groups))

            run = _run(task, data, held_out, looks, steps, advance)
            log_policies[group], values[group], final[group], stopped[group], parameters[group] = run
            done += steps
    return Trajectory(
        objectives=tuple(given),
        steps=looks,
        log_policies=log_policies,
        values=values,
        log_final=final,
        stopped=stopped,
        parameters=parameters,
        reference=reference,
        optimal=optimal,
        won=won,
        lost=lost,
    )


def _won_and_lost(data: Bandit | Pairs) -> tuple[Floats, Floats]:
    """How often each response won and lost, (data sets, prompts, n)."""
    shape = np.atleast_2d(data.reference).shape
    if isinstance(data, Bandit):
        wins = data.wins.reshape(1, *shape, data.n)
        return wins.sum(axis=-1), wins.sum(axis=-2)
    prompt, winner, loser, counts = data.compared

    def total(end: Indices) -> Floats:
        place, size = prompt * shape[1] + end, shape[0] * shape[1]
        return np.asarray(np.stack([np.bincount(place, own, size) for own in counts]).reshape(-1, *shape), np.float64)

    return total(winner), total(loser)


def record_steps(steps: int, training: Training) -> Indices:
    """The steps at which policies are recorded, from 0 to ``steps``."""
    if training.log_spaced:
        at = np.r_[0, np.geomspace(1, steps, training.records - 1)]
    else:
        at = np.linspace(0, steps, training.records)
    return np.unique(at.round().astype(np.intp))


class _Task:
    """The objectives of one kind over all data sets: parameters (O, S, size)."""

    def __init__(
        self,
        objectives: list[Objective],
        policy: Policy,
        reference: Floats,
        rewards: Tensor,
        data: Bandit | Pairs,
        sets: int,
        training: Training,
    ) -> None:
        self.shape = (len(objectives), sets)
        lams = torch.tensor([objective.lam for objective in objectives], dtype=torch.float64)
        self.lam = lams[:, None].expand(self.shape)
        self.objective = objectives[0].with_lam(lams[:, None, None])
        self.policy = policy
        self.training = training
        self.choices = data.choices if isinstance(data, Bandit) else None
        self.log_reference = torch.from_numpy(np.log(reference))
        self.rewards = rewards
        each = [response_data(objective, data) for objective in objectives]
        # (responses of all prompts, O): what a loss derives may depend on lambda
        self.of_responses = {k: torch.from_numpy(np.stack([x[k].T.reshape(-1) for x in each], -1)) for k in each[0]}
        self.parameters = policy.start().expand(*self.shape, -1).clone()
        if training.estimator == "token_kl":
            self.conditionals = policy.conditionals(self.log_reference)

    def risk(
        self, parameters: Tensor, batch: Batch, estimator: str = "exact", log_policy: Tensor | None = None
    ) -> Tensor:
        """The objective of each setting on a batch, shape (O, S); parameters (O, S, size).

        ``log_policy`` is that of the parameters, where it is known.
        """
        objective, policy = self.objective, self.policy
        if isinstance(objective, RewardObjective):
            log_policy = policy.log_policy(parameters) if log_policy is None else log_policy
            value = objective.reward_terms(log_policy, self.rewards.expand_as(log_policy)).sum(dim=-1)
            kept = objective.regulariser(log_policy, self.log_reference.expand_as(log_policy))
            return (batch.prompts * (value + self.lam[..., None] * kept)).sum(dim=-1)

        assert isinstance(objective, PairObjective)
        if self.choices is not None and objective.listwise:
            return self._of_choices(policy.log_policy(parameters) if log_policy is None else log_policy, batch)
        regulariser = objective.regulariser
        ends = batch.ends
        if regulariser is not None and estimator == "exact" and log_policy is None:
            log_policy = policy.log_policy(parameters)
        if estimator == "exact" and log_policy is not None:
            read = list(log_policy.flatten(-2).gather(-1, ends.expand(*self.shape, -1)).chunk(2, dim=-1))
        elif regulariser is not None:
            *read, estimate = self._estimated(parameters, batch, estimator)
        else:
            read = list(policy.log_probs(parameters, ends.expand(*self.shape, -1)).chunk(2, dim=-1))
        if objective.facts.needs_reference:
            read += self.log_reference.take(ends).expand(*self.shape, -1).chunk(2, dim=-1)
        weight = self._own(batch, read) if self.training.on_policy else batch.weight
        data = at_ends(objective, self.of_responses, (batch.winner, batch.loser))
        own = {name: value.movedim(-1, 0).expand(*self.shape, -1) for name, value in data.items()}
        if reads_third(objective):
            third = batch.third.expand(*self.shape, -1)
            known = {"logp_t": policy.log_probs(parameters, third), "ref_logp_t": self.log_reference.take(third)}
            own |= {name: value for name, value in known.items() if name in objective.data}
        total = (weight * objective.loss(*read, **own)).sum(dim=-1)
        if regulariser is None:
            return total
        if estimator == "exact":
            assert log_policy is not None
            divergence = regulariser(log_policy, self.log_reference.expand_as(log_policy))
            return total + self.lam * (batch.prompts * divergence).sum(dim=-1)
        return total + self.lam * (batch.weight * estimate).sum(dim=-1)

    def _of_choices(self, log_policy: Tensor, batch: Batch) -> Tensor:
        """The objective of rankings, read as they are, (O, S); log_policy (O, S, prompts, n)."""
        assert self.choices is not None and isinstance(self.objective, PairObjective)
        lam = self.lam[..., None]
        reference = self.log_reference.expand_as(log_policy)
        value = loss_of_choices(self.objective.with_lam(lam[..., None]), self.choices, log_policy, reference)
        if self.objective.regulariser is not None:
            value = value + lam * self.objective.regulariser(log_policy, reference)
        return (batch.prompts * value).sum(dim=-1)

    def _own(self, batch: Batch, read: list[Tensor]) -> Tensor:
        """The weights of pairs that the policy draws, (O, S, B), each prompt's adding up to its share; constants."""
        prompt = (batch.winner // self.log_reference.shape[-1]).expand(*self.shape, -1)
        drawn = batch.weight * (read[0] + read[1]).detach().exp()
        total = torch.zeros(*self.shape, batch.prompts.shape[-1], dtype=drawn.dtype).scatter_add(-1, prompt, drawn)
        return drawn * (batch.prompts / total).gather(-1, prompt)

    def _estimated(self, parameters: Tensor, batch: Batch, estimator: str) -> tuple[Tensor, Tensor, Tensor]:
        """log pi of winners and losers, and what stands for the regulariser in the mean over pairs: each (O, S, B)."""
        pairs, draws = batch.winner.shape[-1], self.training.draws
        response = torch.cat([batch.ends, batch.samples.flatten(-2)], dim=-1).expand(*self.shape, -1)
        if estimator == "token_kl":
            logp, kl = self.policy.log_probs_and_kl(parameters, self.conditionals, response)
        else:
            logp = self.policy.log_probs(parameters, response)
        logp_w, logp_l, logp_samples = logp.split([pairs, pairs, pairs * draws], dim=-1)
        if estimator == "own_responses":
            return logp_w, logp_l, own_responses(logp_w, logp_l)
        if estimator == "reference_samples":
            return logp_w, logp_l, reference_samples(logp_samples.unflatten(-1, (pairs, draws)))
        if draws:
            return logp_w, logp_l, kl[..., 2 * pairs :].unflatten(-1, (pairs, draws)).mean(dim=-1)
        return logp_w, logp_l, (kl[..., :pairs] + kl[..., pairs:]) / 2

    def step(
        self, parameters: Tensor, state: tuple[Tensor, ...], rates: Tensor, *batch: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step of training."""
        gradient = self.gradient(parameters, Batch(*batch))
        return self.training.optimiser.update(parameters.detach(), gradient, state, rates)

    def gradient(self, parameters: Tensor, batch: Batch) -> Tensor:
        """That of each setting's objective on a batch, clipped, (O, S, size)."""
        with torch.enable_grad():
            parameters = parameters.detach().requires_grad_()
            risk = self.risk(parameters, batch, self.training.estimator)
            # rows are independent: the gradient of their sum has each one's own
            (gradient,) = torch.autograd.grad(risk, parameters, torch.ones_like(risk))
        if self.training.clip_norm is not None:
            norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
            gradient = gradient * (self.training.clip_norm / norm.clamp(min=self.training.clip_norm))
        return gradient

    def gradient_of_rows(
        self, parameters: Tensor, state: tuple[Tensor, ...], *batch: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The gradient in the parameters of a batch's ``rows``, in the form of a step."""
        given = Batch(*batch)
        n = self.log_reference.shape[-1]
        some = copy.copy(self)
        some.policy = Some(len(given.rows), n)
        some.log_reference = self.log_reference.index_select(0, given.rows)
        some.rewards = self.rewards.index_select(-2, given.rows) if self.rewards.numel() else self.rewards
        some.of_responses = {
            name: table.unflatten(0, (-1, n)).index_select(0, given.rows).flatten(0, 1)
            for name, table in self.of_responses.items()
        }
        return some.gradient(parameters, given), state


def _run(
    task: _Task,
    data: Bandit | Pairs,
    held_out: Batch | None,
    looks: Indices,
    steps: int,
    advance: Callable[[int], None],
) -> tuple[Floats, Floats, Floats, Indices, Floats]:
    """Train one kind of objective: log-policies at the records, values there, the result and when it was taken, and the
    last parameters."""
    training = task.training
    everything = whole(evenly_compared(data) if training.on_policy else data)
    parameters = task.parameters
    state: tuple[Tensor, ...] = tuple(torch.zeros_like(parameters) for _ in range(training.optimiser.states))
    rates = training.optimiser.rates(_learning_rates(training, steps)).unbind(0)
    average_from = steps if training.average is None else steps - max(1, round(training.average * steps))
    mean = torch.zeros_like(parameters) if training.average is not None else parameters
    best = _Best(task, held_out)
    few = (
        isinstance(data, Pairs) and training.batch is not None and are_few(task.policy, training.batch * data.data_sets)
    )
    log_policies = np.full((*task.shape, len(looks), task.policy.prompts, task.policy.n), np.nan)
    values = np.full((*task.shape, len(looks)), np.nan)
    take = _Few(task, parameters, state) if few else _Recorded(task, everything)
    due = set(looks.tolist())

    def record(step: int) -> None:
        log_policy = task.policy.log_policy(parameters)
        k = int(np.searchsorted(looks, step))
        log_policies[:, :, k] = log_policy.numpy()
        values[:, :, k] = task.risk(parameters, everything, log_policy=log_policy).numpy()
        best.see(step, parameters, log_policy)
        advance(step)

    with torch.no_grad(), np.errstate(all="ignore"):
        record(0)
        step = 0
        for epoch in _epochs(data, everything, training, few):
            for batch in epoch:
                parameters, state = take(parameters, state, rates[step], batch)
                step += 1
                if step > average_from:
                    mean += (parameters - mean) / (step - average_from)
                if step in due:
                    record(step)
            if best.all_stopped:
                advance(steps)
                break
    final = task.policy.log_policy(mean).numpy() if training.average is not None else best.log_policy.numpy()
    return log_policies, values, final, best.step.numpy(), parameters.numpy()


class _Recorded:
    """Steps over all parameters, recorded at the first."""

    def __init__(self, task: _Task, everything: Batch) -> None:
        self.task, self.everything = task, everything
        self.replay: Callable[..., Any] | None = None

    def __call__(
        self, parameters: Tensor, state: tuple[Tensor, ...], rates: Tensor, batch: Batch
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        # what is the same at every step is no argument, so that what follows from it is computed once
        given = () if batch is self.everything else tuple(batch)
        if self.replay is None:
            step = self.task.step if given else partial(_step_on, self.task, batch)
            recorded_step = self.task.policy.replayed
            self.replay = recorded(step, (parameters, state, rates, *given)) if recorded_step else step
        found: tuple[Tensor, tuple[Tensor, ...]] = self.replay(parameters, state, rates, *given)
        return found


class _Few:
    """Steps that read a few prompts, and change parameters and state in place."""

    def __init__(self, task: _Task, parameters: Tensor, state: tuple[Tensor, ...]) -> None:
        self.task = task
        self.replay: Callable[..., Any] | None = None
        self.update = Update(task.training.optimiser, parameters, state, task.policy.prompts)

    def __call__(
        self, parameters: Tensor, state: tuple[Tensor, ...], rates: Tensor, batch: Batch
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        shown = self.update.rows(batch.rows)
        if self.replay is None:
            self.replay = recorded(self.task.gradient_of_rows, (shown, (), *batch))
        gradient, _ = self.replay(shown, (), *batch)
        self.update(gradient, batch.rows, rates)
        return parameters, state


def _step_on(
    task: _Task, batch: Batch, parameters: Tensor, state: tuple[Tensor, ...], rates: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    return task.step(parameters, state, rates, *batch)


def evenly_compared(data: Bandit | Pairs) -> Bandit:
    """The same preferences over the same comparison graph, every pair as often: what on-policy weights multiply."""
    assert isinstance(data, Bandit)
    return Bandit.from_preferences(data.reference, data.preference, (data.pairs > 0) * 1.0, data.prompt_weights)


def _epochs(
    data: Bandit | Pairs, everything: Batch, training: Training, few: bool = False
) -> Iterator[Iterable[Batch]]:
    """The batches of each epoch, in order; ``few`` as for `batches`."""
    if training.batch is None or isinstance(data, Bandit):
        return repeat([everything], training.epochs)
    own = (training.batch, training.seed, training.shuffle, training.draws, few)
    if is_same_every_epoch(data, training.shuffle, training.draws):
        return repeat(list(batches(data, 0, *own)), training.epochs)
    return (batches(data, epoch, *own) for epoch in range(training.epochs))


class _Best:
    """What early stopping keeps; without validation data, the latest."""

    def __init__(self, task: _Task, held_out: Batch | None) -> None:
        self.task, self.held_out = task, held_out
        self.risk = torch.full(task.shape, torch.inf, dtype=torch.float64)
        self.step = torch.zeros(task.shape, dtype=torch.int64)
        self.waited = torch.zeros(task.shape, dtype=torch.int64)
        self.log_policy = torch.empty(0)

    def see(self, step: int, parameters: Tensor, log_policy: Tensor) -> None:
        """Take note of a record."""
        patience = self.task.training.patience
        if self.held_out is None or patience is None:
            self.log_policy = log_policy
            self.step.fill_(step)
            return
        risk = self.task.risk(parameters, self.held_out)
        better = (risk < self.risk) & (self.waited < patience)
        self.risk = torch.where(better, risk, self.risk)
        self.step = torch.where(better, step, self.step)
        self.waited = torch.where(better, 0, self.waited + 1)
        kept = self.log_policy if self.log_policy.numel() else log_policy
        self.log_policy = torch.where(better[..., None, None], log_policy, kept)

    @property
    def all_stopped(self) -> bool:
        """Whether no setting can become better any more."""
        patience = self.task.training.patience
        return patience is not None and bool((self.waited >= patience).all())


def _learning_rates(training: Training, steps: int) -> Tensor:
    done = torch.arange(steps, dtype=torch.float64) / steps
    left = 1 - done
    factor = {
        "constant": torch.ones_like(left),
        "linear": left,
        "cosine": (1 - torch.cos(torch.pi * left)) / 2,
        "exponential": LAST_RATE**done,
    }
    return training.optimiser.lr * factor[training.schedule]


def _groups(objectives: list[Objective]) -> list[list[int]]:
    """Positions of objectives that differ in lam only."""
    groups: list[tuple[Objective, list[int]]] = []
    for i, objective in enumerate(objectives):
        for other, members in groups:
            if type(other) is type(objective) and other.with_lam(objective.lam) == objective:
                members.append(i)
                break
        else:
            groups.append((objective, [i]))
    return [members for _, members in groups]


def _rewards(
    objectives: list[Objective], reward: ArrayLike | None, data: Bandit | Pairs, shape: tuple[int, ...]
) -> Tensor:
    """r, in a shape that broadcasts to (data sets, prompts, n); empty where no objective reads it."""
    if not any(isinstance(objective, RewardObjective) for objective in objectives):
        if reward is not None:
            raise ValueError("reward is used by RLHF only, and no objective is RLHF")
        return torch.empty(0)
    if reward is None:
        stated = reward_of(data)
        if stated is None:
            raise ValueError("reward must be given for RLHF where pi* is not known")
        return torch.from_numpy(np.atleast_2d(stated))
    values = np.asarray(reward, dtype=np.float64)
    try:
        return torch.from_numpy(np.broadcast_to(values, shape).copy())
    except ValueError:
        raise ValueError(f"reward must have shape (n,), (prompts, n) or {shape}, got {values.shape}") from None


def _check(
    objectives: list[Objective],
    policy: Policy,
    data: Bandit | Pairs,
    training: Training,
    validation: Bandit | Pairs | None,
) -> None:
    if not objectives:
        raise ValueError("objectives must hold at least one objective")
    if not isinstance(policy, Policy):
        raise TypeError(f"policy must be a Policy such as Tabular(reference), got {type(policy).__name__}")
    if not isinstance(training, Training):
        raise TypeError(f"training must be a Training, got {type(training).__name__}")
    for objective in objectives:
        if not isinstance(objective, (PairObjective, RewardObjective)):
            raise TypeError(f"objectives must be RLHF or pair objectives, got {type(objective).__name__}")
        refuse_coupled(objective)
        if isinstance(objective, PairObjective) and objective.auxiliary and not isinstance(policy, Tabular):
            raise TypeError(
                f"policy must be Tabular for {type(objective).__name__}, whose auxiliary variables no restricted "
                f"policy holds, got {type(policy).__name__}; solve(..., features=...) has them"
            )
        if np.ndim(objective.lam) != 0:
            raise ValueError("objectives must have one lam each: give a list of objectives for several")
        if training.estimator != "exact":
            if isinstance(objective, RewardObjective):
                raise ValueError("estimator must be 'exact' for RLHF")
            check_estimator(objective, training.estimator)
    for name, given in (("data", data), ("validation", validation)):
        if given is None:
            continue
        if not isinstance(given, (Bandit, Pairs)):
            raise TypeError(f"{name} must be a Bandit or Pairs, got {type(given).__name__}")
        shape = np.atleast_2d(given.reference).shape
        if shape != (policy.prompts, policy.n):
            raise ValueError(
                f"{name} must have the policy's {policy.prompts} prompts and {policy.n} responses, got {shape}"
            )
    sets = data.data_sets if isinstance(data, Pairs) else 1
    if isinstance(data, Bandit) and training.batch is not None:
        raise ValueError("batch needs data of single pairs: draw_pairs(bandit, ...) makes them")
    if training.on_policy and (isinstance(data, Pairs) or data.counts is not None):
        raise ValueError(
            "data must be a Bandit that states preferences where training is on_policy: it draws new pairs"
        )
    if isinstance(validation, Pairs) and validation.data_sets not in (1, sets):
        raise ValueError(f"validation must have one data set or as many as data, {sets}; got {validation.data_sets}")
    if (training.patience is None) != (validation is None):
        raise ValueError("validation and patience must be given together")
