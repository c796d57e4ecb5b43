"""lambda, against what the loss then wants and what the run has done."""

from __future__ import annotations

import numpy as np

from ..finding import WARNING, Clear, Finding, Outcome, lacking, one_digit
from ..log import Series
from ..run import Run
from ..thresholds import at

NO_LOSS = "loss and λ: say --objective and --lam"
NO_MARGIN = "margins in nats"


def too_small(run: Run) -> Outcome:
    """The loss wants more than a response can give."""
    shape, margin, capacity = run.shape, run.margin, run.capacity
    if shape is None or run.lam is None:
        return lacking(NO_LOSS)
    if shape.explicit:
        return Clear("λ stands beside the loss, where it hardly matters how small it is")
    if not shape.reads_reference or not np.isfinite(shape.reach):
        return Clear("the loss has no scale that λ sets against a reference")
    if margin is None or capacity is None or len(margin) < at("entries"):
        return lacking(f"{NO_MARGIN}, or logps/chosen")
    ratio, end = shape.reach / capacity, margin.last
    past = ratio > at("want_more") and capacity / 2 < end < shape.reach
    straight = ratio > at("straight") and 1.0 < end < shape.reach / 10
    if not (past or straight):
        return Clear(f"the loss pulls until {shape.reach:.3g} nats, and a chosen response had {capacity:.3g} to gain")
    return Finding(
        "lambda too small",
        WARNING,
        f"λ = {run.lam:g} is too small, by a factor of {one_digit(ratio)} or more: it holds the policy nowhere",
        f"the margin is {end:.3g} nats at the end, {end / shape.reach:.1%} of the {shape.reach:.3g} at which the pull "
        f"of the loss has halved; a chosen response had {capacity:.3g} nats to gain",
        "a chosen response can gain −log π_ref and no more; what the loss wants beyond that comes from pushing "
        "rejected responses down, without end, and chosen ones with them: the number of steps decides where it stops",
        f"λ of {one_digit(run.lam * ratio)} or more, or far fewer steps",
        (("margin", float(margin.steps[-1])),),
        ratio,
    )


def too_large(run: Run) -> Outcome:
    """The loss is content with next to nothing."""
    shape, margin = run.shape, run.margin
    if shape is None or run.lam is None:
        return lacking(NO_LOSS)
    if shape.explicit:
        return _explicit(run, run.lam, margin)
    if not shape.reads_reference or not np.isfinite(shape.reach):
        return Clear("the loss has no scale that λ sets against a reference")
    if margin is None or len(margin) < at("entries"):
        return lacking(NO_MARGIN)
    end, want = margin.last, at("want_less")
    if shape.reach >= want or not shape.reach / 2 < end < 2 * want:
        return Clear(f"the loss pulls until {shape.reach:.3g} nats, and the margin ends at {end:.3g}")
    factor = want / shape.reach
    return Finding(
        "lambda too large",
        WARNING,
        f"λ = {run.lam:g} is too large, by a factor of {one_digit(factor)} or more: the loss asks for next to nothing",
        f"the margin ends at {end:.2g} nats, where the pull of the loss has halved at {shape.reach:.2g}",
        "a response that is a factor exp(margin) likelier against another one is what samples show; inside of the "
        "loss λ multiplies the log-ratio, and a large one is done after a small change",
        f"λ of {one_digit(run.lam / factor)} or less; 0.01 to 0.5 are usual",
        (("margin", float(margin.steps[-1])),),
        factor,
    )


def _explicit(run: Run, lam: float, margin: Series | None) -> Outcome:
    """Of a loss with a regulariser beside it."""
    if lam < at("explicit_large"):
        return Clear(f"with λ = {lam:g} an optimum of two answers goes {1 / (1 + lam):.0%} of the way")
    loss = run.train("loss/preference")
    if loss is None or len(loss) < at("entries"):
        return lacking("loss/preference")
    if loss.last < at("kept") * float(loss.values[: max(3, len(loss) // 10)].mean()):
        return Clear(f"the preference term falls to {loss.last:.3g}, for all that λ = {lam:g} is large")
    moved = "" if margin is None else f"; the margin has moved by {margin.last:.2g} nats"
    told = f"the preference term goes from {loss.first:.3g} to {loss.last:.3g}"
    return Finding(
        "lambda too large",
        WARNING,
        f"λ = {lam:g} is too large, by a factor of {one_digit(lam)} or more: the regulariser keeps the policy at its "
        "reference",
        f"{told}{moved}",
        f"of two answers the optimum is (π* + λ π_ref)/(1 + λ): {1 / (1 + lam):.0%} of the way to the preferences",
        "any λ up to N^(−1/2), N the comparisons of a prompt, is about as good as the best; 0.1 to begin with",
        (("margin", run.log.steps),),
        lam,
    )
