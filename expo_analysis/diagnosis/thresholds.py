"""Where each check draws its line, and why there; docs/diagnose.md shows this table."""

from __future__ import annotations

from typing import NamedTuple


class Threshold(NamedTuple):
    """value: in ``unit``. reason: why it is drawn there."""

    value: float
    unit: str
    reason: str


THRESHOLDS = {
    "start": Threshold(
        0.25,
        "nats",
        "before the first step policy and reference are one model; bfloat16 moves one response by up to 0.35",
    ),
    "start_growth": Threshold(
        3.0, "entry-to-entry changes", "a first entry that is a mean over steps has half a change in it, noise aside"
    ),
    "template_gap": Threshold(
        1.5,
        "nats a token",
        "text as the model would write it costs its entropy a token; other people's texts up to 1 more",
    ),
    "template_plain": Threshold(
        5.0, "nats a token", "perplexity 150: small models have 30 to 50 on web text; for logs without entropy"
    ),
    "template_hits": Threshold(
        0.5,
        "of exp(-entropy)",
        "the likeliest token has at least exp(-entropy) on average, and is right as often, if fitting",
    ),
    "template_sure": Threshold(
        0.1, "exp(-entropy)", "below it a batch has too few hits to count, as with untrained models"
    ),
    "still": Threshold(
        0.1, "nats", "10% in how likely a whole response is: less than sampling 100 responses could show"
    ),
    "still_reward": Threshold(0.01, "of reward", "the same at λ = 0.1, where λ is not known"),
    "weight": Threshold(0.05, "mean gradient weight", "a tenth of what every pair has at the start, 1/2"),
    "saturated_for": Threshold(0.5, "of the steps", "half of the compute has done a tenth of the work, or less"),
    "want_less": Threshold(
        1.0, "nats", "a factor e in how likely a whole response is: hardly to be told from the reference by samples"
    ),
    "want_more": Threshold(
        1.0,
        "of -log π of a chosen response at the start",
        "it can rise by no more: the rest is pushed off the rejected",
    ),
    "straight": Threshold(
        10.0,
        "of the same",
        "all margins stay below a tenth of the scale: the loss is a straight line, and λ holds nothing",
    ),
    "explicit_large": Threshold(3.0, "λ", "of two answers EXPO's optimum goes 1/(1 + λ) of the way: a quarter at 3"),
    "kept": Threshold(
        0.5, "of the preference term at the start", "less than half of it is gone: the pairs are hardly followed"
    ),
    "fall": Threshold(0.5, "nats", "less may be the noise of one log entry; 3 standard errors as well"),
    "deep_fall": Threshold(
        0.2, "of -log π at the start", "every token's probability p has become about p to the 1.2: samples will show it"
    ),
    "clamp": Threshold(0.8, "of the entries", "of the second half: an estimate that is 0 that often carries nothing"),
    "below_half": Threshold(
        0.45, "accuracy", "below chance by more than the noise of 400 pairs, and margins below 0 too"
    ),
    "contradiction": Threshold(0.55, "accuracy in training", "training has learned the opposite"),
    "ceiling": Threshold(0.9, "accuracy", "a tenth of the labels against the rest; less is common, and harmless"),
    "floor": Threshold(0.55, "accuracy", "below it nothing has been learned, and there is no ceiling to see"),
    "flat": Threshold(0.03, "accuracy", "between the last two quarters; 2 standard errors as well"),
    "gap": Threshold(0.1, "accuracy", "between training and evaluation: pairs are known by heart"),
    "rise": Threshold(1.1, "of the lowest evaluation loss", "evaluation gets worse while training gets better"),
    "spike": Threshold(2.0, "of the loss at the start", "a batch twice as bad as no training at all"),
    "spikes": Threshold(2, "entries", "one may be an odd batch"),
    "diverged": Threshold(1.2, "of the loss at the start", "training has made it worse, at the end"),
    "gradient": Threshold(10.0, "of the gradient's norm at the start", "with a loss above that of the start"),
    "leap": Threshold(1.0, "of what the loss asks for, a step", "one step overshoots everything that there was to go"),
    "lost": Threshold(1.0, "of -log π at the start", "with that too: every token's probability p has become p squared"),
    "entries": Threshold(4, "entries", "fewer have no course"),
}


def at(name: str) -> float:
    """The value of a threshold."""
    return float(THRESHOLDS[name].value)
