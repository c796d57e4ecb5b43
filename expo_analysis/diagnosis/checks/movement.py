"""Where the policy has gone from its reference: nowhere, too far, or with both responses down."""

from __future__ import annotations

import numpy as np

from ..finding import FEW, NOTE, WARNING, Clear, Finding, Outcome, lacking, one_digit
from ..log import Series
from ..run import SIDES, Run
from ..thresholds import at
from ..usual import usual_of

NO_NATS = "log-ratios in nats: rewards with their λ (--lam), or mass/..."


def nothing_moves(run: Run) -> Outcome:
    """After many steps the policy is still the reference."""
    if run.margin is not None:
        return _judge_still(run, run.margin, "nats", at("still"))
    rewards = run.train("rewards/margins")
    if rewards is None or not run.relative:
        return lacking("rewards, nor log-probabilities of chosen and rejected")
    return _judge_still(run, rewards, "of reward", at("still_reward"))


def _judge_still(run: Run, margin: Series, unit: str, limit: float) -> Outcome:
    if len(margin) < at("entries"):
        return FEW
    sides = [series.last for side in SIDES if (series := run.moved(side)) is not None]
    if max(map(abs, [margin.last, *(sides if unit == "nats" else [])])) > limit:
        return Clear(f"the margin has moved by {margin.last:.3g} {unit}")
    reach = None if run.shape is None or not np.isfinite(run.shape.reach) else run.shape.reach
    if reach is not None and abs(margin.last) > reach / 2:
        return Clear(f"little has moved, but as much as the loss wants ({reach:.2g} nats)")
    factor = None if reach is None else min(reach, 1.0) / max(abs(margin.last), 1e-9)
    rate = run.train("learning_rate")
    at_most = "" if rate is None else f", at learning rates up to {rate.values.max():.3g}"
    times = "" if factor is None else f", by a factor of about {one_digit(factor)} to begin with"
    return Finding(
        "nothing moves",
        WARNING,
        "the policy is still its reference",
        f"after {run.log.steps:g} steps the margin has moved by {margin.last:.2g} {unit}{at_most}",
        "at first the margin grows in proportion to learning rate and steps",
        f"a higher learning rate{times}, or more steps; see too that the weights (or the adapter) take gradients",
        (("rewards/margins", float(margin.steps[-1])),),
        factor,
    )


def weights(run: Run) -> Series | None:
    """A bound on the mean weight sigma(-margin) of pairs: 1 - exp(-loss), which is concave in the loss of a pair."""
    if run.shape is None or run.shape.logistic is None or run.preference is None:
        return None
    loss = run.preference
    return Series(loss.steps, -np.expm1(-np.maximum(loss.values, 0.0)))


def saturated(run: Run) -> Outcome:
    """Most pairs have no weight any more in the gradient."""
    bound = weights(run)
    if bound is None:
        what = (
            "logistic loss of known λ (--objective, --lam)" if run.shape is None else "logistic loss: it is another one"
        )
        return lacking(what)
    if len(bound) < at("entries"):
        return FEW
    width = min(5, len(bound) // 2) | 1
    middle = np.array([np.median(bound.values[max(0, k - width + 1) : k + 1]) for k in range(len(bound))])
    above = np.flatnonzero(middle > at("weight"))
    begin = 0 if not len(above) else int(above[-1]) + 1
    share = 0.0 if begin >= len(bound) else 1 - (bound.steps[begin] - bound.steps[0]) / max(np.ptp(bound.steps), 1.0)
    if share < at("saturated_for"):
        return Clear(f"pairs have a mean weight of up to {bound.last:.2g} at the end, of 0.5 at the start")
    step = float(bound.steps[begin])
    return Finding(
        "saturated",
        WARNING,
        f"nearly all pairs have lost their weight in the gradient, from step {step:g} on",
        f"the mean of σ(−margin) is at most 1 − exp(−loss): {bound.last:.2g} at the end, 0.5 at the start, below "
        f"{at('weight'):g} for the last {share:.0%} of the steps",
        "a pair pulls with σ(−margin); where that is gone only the few pairs that are still wrong train the model, "
        "and margins grow without anything left to learn",
        "stop there, or keep an earlier checkpoint; fewer epochs, harder pairs, or a smaller λ",
        (("weight", step),),
    )


def clamped(run: Run) -> Outcome:
    """KTO's estimate of the KL is cut off at 0."""
    kl = run.train("kl")
    if kl is None:
        is_kto = run.objective is not None and run.objective.name == "kto"
        return lacking("kl, which KTO's trainers log") if is_kto else Clear("the loss has no estimate of the KL")
    if len(kl) < at("entries"):
        return FEW
    late = kl.values[len(kl) // 2 :]
    share = float((late <= 0).mean())
    if share < at("clamp"):
        return Clear(f"kl is at its clamp in {share:.0%} of the entries")
    rewards = [series.last for side in SIDES if (series := run.train(f"rewards/{side}")) is not None]
    beside = f", while rewards have gone to {' and '.join(f'{x:+.2g}' for x in rewards)}" if rewards else ""
    return Finding(
        "KL at its clamp",
        WARNING,
        "the estimate of the KL is at its clamp, 0, and takes no part in the loss",
        f"kl is 0 in {share:.0%} of the entries of the second half{beside}",
        "KTO compares rewards with max(0, mean log-ratio of prompts with other prompts' responses): these grow less "
        "likely in training, and the mean stays below 0, though no KL is",
        "do not read it as a KL of 0; larger batches a device, a lower learning rate, or a loss of pairs if there are "
        "pairs",
        (("kl", float(kl.steps[len(kl) // 2])),),
    )


def displacement(run: Run) -> Outcome:
    """Chosen and rejected have both become less likely."""
    chosen, rejected = (run.moved(side) for side in SIDES)
    if chosen is None or rejected is None:
        return lacking(NO_NATS)
    if len(chosen) < at("entries"):
        return FEW
    ends = chosen.last, rejected.last
    limits = [-max(at("fall"), 3 * _error(series)) for series in (chosen, rejected)]
    if not (ends[0] < limits[0] and ends[1] < limits[1]):
        return Clear(f"at the end chosen responses have moved by {ends[0]:+.2g} nats, rejected ones by {ends[1]:+.2g}")
    capacity, both = run.capacity, run.train("mass/both_fell")
    deep = capacity is not None and -ends[0] > at("deep_fall") * capacity
    told = f"at the end chosen responses are at {ends[0]:+.3g} nats, rejected ones at {ends[1]:+.3g}"
    told += "" if capacity is None else f"; a chosen one had {-capacity:.3g} at the start"
    told += "" if both is None else f"; of {both.last:.0%} of the pairs both have fallen"
    usual = usual_of(run.objective)
    if ends[0] <= ends[1]:
        advice = "the margin falls too, which no loss of pairs wants: see whether chosen and rejected are swapped"
    elif deep:
        advice = (
            "read samples; a lower learning rate, fewer steps, a larger λ, a term for chosen responses (RPO), or EXPO"
        )
    else:
        advice = "watch the margin and samples, not log-probabilities of chosen responses; there is nothing to repair"
    return Finding(
        "displacement",
        WARNING if deep or ends[0] <= ends[1] else NOTE,
        f"chosen and rejected responses have both become less likely{', chosen ones far less' if deep else ''}",
        told,
        usual,
        advice,
        (("moved", float(chosen.steps[-1])),),
    )


def _error(series: Series) -> float:
    """The standard error of the mean of the last fifth."""
    tail = series.tail()
    return 0.0 if len(tail) < 3 else float(np.std(tail, ddof=1) / np.sqrt(len(tail)))
