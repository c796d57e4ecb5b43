"""What accuracies and margins say of the labels."""

from __future__ import annotations

import math

import numpy as np

from ..finding import FAULT, WARNING, Clear, Finding, Outcome, lacking
from ..log import Series
from ..run import Run
from ..thresholds import at


def swapped(run: Run) -> Outcome:
    """Training and evaluation disagree on which response is chosen; or margins go the wrong way."""
    train, held = run.train("rewards/accuracies"), run.evaluation("rewards/accuracies")
    margins, held_margins = run.train("rewards/margins"), run.evaluation("rewards/margins")
    if train is None and held is None:
        return lacking("rewards/accuracies")
    if train is not None and margins is not None and len(train) >= at("entries"):
        half = margins.values[len(margins) // 2 :]
        if run.relative and train.last < at("below_half") and half.mean() < 0 and half[-1] < margins.values[0]:
            return _wrong_way(train, margins)
    if held is None:
        return lacking("evaluation: pairs that are all swapped look like good ones")
    if train is None or train.last <= at("contradiction") or held.last >= at("below_half"):
        return Clear(f"of evaluation pairs {held.last:.0%} are put in order")
    if held_margins is not None and held_margins.last >= 0:
        return Clear(f"of evaluation pairs {held.last:.0%} are put in order, with a margin above 0")
    told = "" if held_margins is None else f", with a mean margin of {held_margins.last:.2g}"
    return Finding(
        "labels swapped",
        FAULT,
        "training and evaluation contradict each other: chosen and rejected are swapped in one of them",
        f"accuracy is {train.last:.0%} in training and {held.last:.0%} in evaluation{told}, at step {held.steps[-1]:g}",
        "what is learned from pairs holds for others of their kind, if less often; below one half it is the opposite "
        "that holds",
        "read ten pairs of each set; look at the columns' names where they are loaded",
        (("rewards/accuracies", float(held.steps[-1])),),
    )


def _wrong_way(accuracy: Series, margins: Series) -> Finding:
    return Finding(
        "labels swapped",
        FAULT,
        "training lowers the margin: the loss has chosen and rejected the wrong way round",
        f"accuracy ends at {accuracy.last:.0%} in training, and the margin goes from {margins.first:.2g} to "
        f"{margins.last:.2g}",
        "a descent on pairs raises the margin of the pairs that it is on",
        "compare the loss with one of the catalogue (expo_analysis.testing.assert_equal_losses), and the columns' "
        "names",
        (("rewards/margins", float(margins.steps[-1])),),
    )


def noisy(run: Run) -> Outcome:
    """An accuracy that rises no more, at margins that are as large as such an accuracy allows."""
    train, held = run.train("rewards/accuracies"), run.evaluation("rewards/accuracies")
    outcomes: list[Outcome] = []
    if held is not None and len(held) >= at("entries"):
        by_heart = train is not None and train.last - held.last > at("gap")
        outcomes.append(
            lacking("ceiling of labels: pairs are known by heart, and evaluation is limited by how many there are")
            if by_heart
            else _ceiling(run, held, "evaluation")
        )
    if train is not None and len(train) >= at("entries") and run.log.epochs is not None and run.log.epochs <= 1.05:
        outcomes.append(_ceiling(run, train, "training"))
    named = [found for found in outcomes if isinstance(found, Finding)]
    nothing = lacking("evaluation of several entries, nor a training that sees each pair once")
    return (named or outcomes or [nothing])[0]


def _ceiling(run: Run, accuracy: Series, kind: str) -> Outcome:
    """The same of one of the two."""
    a, scale = accuracy.last, _confidence(run, kind)
    if scale is None:
        return lacking("margins on the scale of the loss: say --objective and --lam")
    if not at("floor") < a < at("ceiling"):
        return Clear(f"accuracy in {kind} ends at {a:.0%}")
    if not _flat(accuracy):
        return Clear(f"accuracy in {kind}, {a:.0%} at the end, still changes")
    margin, needed = scale.last / (2 * a - 1), math.log(a / (1 - a))
    if margin < needed:
        return Clear(f"accuracy in {kind} is {a:.0%}, at margins of {margin:.2g}: hard pairs, or not learned yet")
    return Finding(
        "noisy labels",
        WARNING,
        f"about {1 - a:.0%} of the labels contradict the others",
        f"accuracy in {kind} stays at {a:.0%}, while margins are at {margin:+.2g} for what is in order and "
        f"{-margin:+.2g} for the rest, a mean of {scale.last:.2g}",
        f"a policy that takes {a:.0%} for the odds has margins of {needed:.2g}; one this sure knows the pairs "
        "apart, and what it gets wrong are labels against the rule of the others",
        "label_smoothing of about that share in DPO (robust), a look at pairs with the most negative margins, or EXPO, "
        "whose optimum stays at the frequencies of the labels",
        (("rewards/accuracies", float(accuracy.steps[-1])),),
        1 - a,
    )


def _confidence(run: Run, kind: str) -> Series | None:
    """Mean log-odds that the policy gives the labels, where the loss has such."""
    if run.shape is None or run.shape.logistic is None or not run.shape.reads_reference or run.lam is None:
        return None
    margins = run.evaluation("rewards/margins") if kind == "evaluation" else run.train("rewards/margins")
    return None if margins is None else margins.scaled(run.shape.logistic / run.lam)


def _flat(accuracy: Series) -> bool:
    """Whether the last two quarters have one mean, to within two standard errors and `flat`."""
    quarter = max(1, len(accuracy) // 4)
    last, before = accuracy.values[-quarter:], accuracy.values[-2 * quarter : -quarter]
    error = 0.0 if quarter < 3 else float(np.hypot(np.std(last, ddof=1), np.std(before, ddof=1)) / np.sqrt(quarter))
    return bool(last.mean() - before.mean() <= max(at("flat"), 2 * error))


def overfit(run: Run) -> Outcome:
    """Evaluation gets worse while training gets better."""
    held, train = run.evaluation("loss"), run.train("loss")
    if held is None or len(held) < 3 or train is None:
        return lacking("evaluation loss of three entries or more")
    low = int(np.argmin(held.values))
    end, least = held.values[-1], held.values[low]
    if least <= 0 or end < at("rise") * least or train.last > 0.9 * end:
        return Clear(f"the evaluation loss ends at {end:.3g}, and was {least:.3g} at best")
    accuracies = [series for own in (run.train, run.evaluation) if (series := own("rewards/accuracies")) is not None]
    gap = f"; accuracy {accuracies[0].last:.0%} in training, {accuracies[1].last:.0%} in evaluation" * (
        len(accuracies) == 2
    )
    return Finding(
        "overfit",
        WARNING,
        f"evaluation gets worse from step {held.steps[low]:g} on, while training gets better",
        f"the evaluation loss rises from {least:.3g} at step {held.steps[low]:g} to {end:.3g}, while the training "
        f"loss goes down to {train.last:.3g}{gap}",
        "after the first pass pairs are known, and margins grow on what is wrong in evaluation, too; noisy labels are "
        "learned by heart last",
        f"the checkpoint of step {held.steps[low]:g}; fewer epochs, more pairs, or a loss with label smoothing",
        (("eval_loss", float(held.steps[low])),),
    )
