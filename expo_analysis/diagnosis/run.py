"""A log with its loss: what is needed of both to judge it, each worked out once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..losses import DPO, PairObjective
from ..own_loss import make_loss
from .log import Log, Series, finite
from .shape import Shape, shape_of

SIDES = ("chosen", "rejected")

FIT = 0.999
"""R^2 from which rewards count as a straight line in log-probabilities."""

SAME = 0.02
"""By how much two slopes may differ, relatively, to be one lambda."""


@dataclass(frozen=True)
class Run:
    """A log, and what is known of the loss: the objective, its lambda and where each comes from.

    other_lam: a lambda that the log's rewards show in the place of the stated one, and how they do.
    """

    log: Log
    objective: PairObjective | None = None
    lam: float | None = None
    known_by: str = ""
    other_lam: tuple[float, str] | None = None

    def train(self, name: str) -> Series | None:
        """A series of training, what is not finite left out; None where it is not logged."""
        return finite(self.log.train.get(name))

    def evaluation(self, name: str) -> Series | None:
        """The same of evaluation."""
        return finite(self.log.evaluation.get(name))

    def until(self, step: float) -> Run:
        """The run before a step."""
        return replace(self, log=self.log.until(step))

    @cached_property
    def shape(self) -> Shape | None:
        """What the loss wants, where it is known with its lambda."""
        return None if self.objective is None or self.lam is None else shape_of(self.objective)

    @cached_property
    def relative(self) -> bool | None:
        """Whether rewards are relative to the reference; None where nothing says so."""
        if self.objective is not None:
            return self.objective.facts.needs_reference
        if self.train("rewards/chosen") is None:
            return None
        return ratio_of(self.log) is None

    @property
    def in_nats(self) -> bool:
        """Whether rewards can be turned into log-ratios."""
        return bool(self.relative) and self.lam is not None

    def moved(self, side: str, evaluation: bool = False) -> Series | None:
        """log(pi/pi_ref) of a side's responses in nats; of a loss without a reference, since the start.

        The first of: ``mass/SIDE``; rewards over lambda; log-probabilities less those of the first evaluation, which is
        always of the same pairs, or of the first tenth of the log, whose pairs are others.
        """
        get = self.evaluation if evaluation else self.train
        if (mass := get(f"mass/{side}")) is not None:
            return mass
        rewards, logps = get(f"rewards/{side}"), get(f"logps/{side}")
        if rewards is not None and self.in_nats:
            return rewards.scaled(1 / (self.lam or 1.0))
        if logps is None or len(logps) < 2 or self.relative:
            return None
        own = self.evaluation(f"logps/{side}")
        if own is not None and len(own) > 2:
            return own.scaled(1.0, -own.first)
        begin = float(np.mean(logps.values[: max(1, len(logps) // 10)]))
        return logps.scaled(1.0, -begin)

    @cached_property
    def margin(self) -> Series | None:
        """By how much the log-ratio of chosen to rejected has moved, in nats."""
        rewards = self.train("rewards/margins")
        if rewards is not None and self.in_nats:
            return rewards.scaled(1 / (self.lam or 1.0))
        chosen, rejected = (self.moved(side) for side in SIDES)
        if chosen is None or rejected is None or not np.array_equal(chosen.steps, rejected.steps):
            return None
        return Series(chosen.steps, chosen.values - rejected.values)

    @cached_property
    def preference(self) -> Series | None:
        """The preference term of the loss, or the loss where it has no other."""
        part = self.train("loss/preference")
        if part is not None or (self.shape is not None and self.shape.explicit):
            return part
        return self.train("loss")

    @cached_property
    def capacity(self) -> float | None:
        """-log pi of a chosen response at the start, in nats: by so much it could rise, and by no more."""
        logps, averaged = self.train("logps/chosen"), self.log.settings.get("averaged")
        return None if logps is None or averaged else -logps.first

    @property
    def single(self) -> bool:
        """Whether the first entry of the log is of the first step alone, before anything was learned."""
        loss = self.train("loss") or self.train("rewards/chosen")
        return loss is not None and loss.steps[0] <= 1


def ratio_of(log: Log) -> float | None:
    """lambda, where rewards are lambda times log-probabilities, without a reference; None where they are not."""
    found = []
    for side in SIDES:
        rewards, logps = (finite(log.train.get(f"{what}/{side}")) for what in ("rewards", "logps"))
        if rewards is None or logps is None or len(rewards) != len(logps) or (logps.values == 0).any():
            return None
        found.append(rewards.values / logps.values)
    ratios = np.concatenate(found)
    middle = float(np.median(ratios))
    return middle if middle > 0 and np.ptp(ratios) <= 2e-2 * middle else None


def inferred_lam(log: Log) -> tuple[float, str] | None:
    """lambda as a log shows it, and how: by rewards over log-ratios, or where rewards move with log-probabilities."""
    rewards, mass = finite(log.train.get("rewards/rejected")), finite(log.train.get("mass/rejected"))
    if rewards is not None and mass is not None and len(rewards) == len(mass):
        at = int(np.argmax(np.abs(mass.values)))
        if abs(mass.values[at]) > 1e-3 and rewards.values[at] / mass.values[at] > 0:
            return float(rewards.values[at] / mass.values[at]), "rewards over log-ratios"
    plain = ratio_of(log)
    if plain is not None:
        return plain, "rewards over log-probabilities"
    for own, which in ((log.evaluation, "evaluation"), (log.train, "training")):
        slopes = [_slope(own.get(f"logps/{side}"), own.get(f"rewards/{side}")) for side in SIDES]
        first, second = slopes
        if first is not None and second is not None and abs(first - second) <= SAME * max(first, second):
            return (first + second) / 2, f"rewards against log-probabilities, in {which}"
    return None


def _slope(logps: Series | None, rewards: Series | None) -> float | None:
    logps, rewards = finite(logps), finite(rewards)
    if logps is None or rewards is None or len(logps) < 3 or not np.array_equal(logps.steps, rewards.steps):
        return None
    x, y = logps.values - logps.values.mean(), rewards.values - rewards.values.mean()
    if not (x @ x > 0 and y @ y > 0):
        return None
    slope = float(x @ y / (x @ x))
    return slope if slope > 0 and 1 - float(((y - slope * x) ** 2).sum() / (y @ y)) >= FIT else None


def run_of(
    log: Log, objective: str | PairObjective | None, lam: float | None, beta_name: str | None = None
) -> tuple[Run, list[str]]:
    """The run, and what a reader should be told: what was given counts first, then what lies beside, then the log.

    Raises:
        ValueError: for an objective that is none of pairs.
    """
    given = objective if objective is not None else log.settings.get("objective")
    said: list[str] = []
    shown = inferred_lam(log)
    if shown is not None:
        shown = float(f"{shown[0]:.3g}"), shown[1]
    if isinstance(given, str):
        given = make_loss(given, lam if lam is not None else (shown or (None, ""))[0], beta_name=beta_name)
        lam_known = lam is not None or shown is not None or ":" in str(objective)
    else:
        lam_known = given is not None
    if given is not None and not isinstance(given, PairObjective):
        raise ValueError(f"objective must be a loss of pairs, such as dpo, got {getattr(given, 'name', given)!r}")
    if given is None:
        lam = lam if lam is not None else log.settings.get("beta")
        lam, how = (lam, "settings") if lam is not None else (shown or (None, ""))
        assumed = _assumed(log, lam)
        if assumed is not None:
            said.append(
                f"the loss is not known, and is taken for DPO's at λ = {lam:g} ({how}): rewards are 0 at the start, "
                "and the loss is log 2; --objective says which it is"
            )
        return Run(log, assumed, lam, how), said
    if lam is not None:
        given = given.with_lam(lam)
    known = float(given.lam) if lam_known else None
    off = known is not None and shown is not None and abs(shown[0] / known - 1) > 0.1 and given.facts.needs_reference
    known_by = "given" if objective is not None else "beside the log"
    return Run(log, given, known, known_by, shown if off else None), said


def _assumed(log: Log, lam: float | None) -> PairObjective | None:
    """DPO, where a log begins as DPO's does."""
    loss, margins = finite(log.train.get("loss")), finite(log.train.get("rewards/margins"))
    if lam is None or loss is None or margins is None or ratio_of(log) is not None or "log_odds_ratio" in log.train:
        return None
    if "kl" in log.train or "loss/regulariser" in log.train:
        return None
    begins = abs(loss.first - math.log(2)) < 0.02 and abs(margins.first) < 0.1
    return DPO(lam) if begins and math.isfinite(lam) else None
