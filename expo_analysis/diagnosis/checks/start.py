"""What can be seen before anything is learned: the reference, and whether the model knows this kind of text."""

from __future__ import annotations

import math

import numpy as np

from ..finding import FAULT, Clear, Finding, Outcome, lacking
from ..run import SIDES, Run
from ..thresholds import at


def wrong_reference(run: Run) -> Outcome:
    """Rewards relative to the reference are 0 before the first step."""
    if run.relative is False:
        return Clear("the loss reads no reference")
    rewards = {side: series for side in SIDES if (series := run.train(f"rewards/{side}")) is not None}
    begin = min((own.steps[0] for own in run.log.train.values()), default=0.0)
    rewards = {side: series for side, series in rewards.items() if series.steps[0] == begin}
    if not rewards:
        return lacking("rewards/chosen and rewards/rejected of the first entry")
    unit, scale = ("nats", run.lam) if run.lam is not None else ("of reward", None)
    limit = at("start") if scale is not None else 0.1 * at("start")
    found = {}
    for side, series in rewards.items():
        values = series.values / (scale or 1.0)
        if not run.single:
            if len(values) < at("entries"):
                return lacking("entry of the first step alone, and few others")
            limit = max(limit, at("start_growth") * float(np.abs(np.diff(values[:6])).max()))
        found[side] = float(values[0])
    if max(map(abs, found.values())) <= limit and not _odd_loss(run):
        return Clear(f"rewards begin at 0, to within {max(map(abs, found.values())):.2g} {unit}")
    step, loss = float(begin), run.train("loss")
    told = " and ".join(f"{value:+.3g} ({side})" for side, value in found.items())
    at_start = "" if loss is None else f", and the loss {loss.first:.3g}"
    expected = "" if run.shape is None or not run.shape.reads_reference else f" (a loss of {run.shape.start:.3g})"
    return Finding(
        "wrong reference",
        FAULT,
        "the reference is not the model that training starts from",
        f"at step {step:g} the log-ratios to the reference are {told} {unit}{at_start}",
        f"before the first step policy and reference are one model, and all rewards 0{expected}",
        "give the trainer the model that training starts from as its reference, in the same precision and with the "
        "same template, or compute stored log-probabilities again",
        tuple((f"rewards/{side}", step) for side in found),
    )


def _odd_loss(run: Run) -> bool:
    """Whether a logistic loss before the first step is not log 2: log-ratios may be 0 on average, and large."""
    loss, shape = run.train("loss"), run.shape
    if loss is None or shape is None or shape.logistic is None or not (shape.reads_reference and run.single):
        return False
    return abs(loss.first - shape.start) > shape.logistic / 2 * at("start")


def wrong_template(run: Run) -> Outcome:
    """Text that fits costs a model about its entropy."""
    cost, how, bound = _cost(run)
    entropy, hits = run.train("entropy"), run.train("mean_token_accuracy")
    known = None if entropy is None else entropy.first
    high = cost is not None and (
        cost > known + at("template_gap") and cost > 2 * known if known is not None else cost > at("template_plain")
    )
    if high and cost is not None:
        beside = "" if known is None else f", while the model expects {known:.2f} of its own text (its entropy)"
        return _unfit(
            f"responses cost {'at least ' if bound else ''}{cost:.2f} nats a token at the start ({how}){beside}"
        )
    if known is not None and hits is not None:
        least = math.exp(-known)
        if least < at("template_sure"):
            return lacking("model that is sure of anything at the start, by its entropy")
        if hits.first < at("template_hits") * least:
            return _unfit(
                f"at the start the model's likeliest token is right {hits.first:.1%} of the time, while at its "
                f"entropy, {known:.2f} nats a token, it takes it for right at least {least:.1%} of the time"
            )
        return Clear(f"the model's likeliest token is right {hits.first:.0%} of the time")
    if cost is None or bound:
        return lacking("log-probabilities per token (nll_loss, lengths), nor entropy and mean_token_accuracy")
    return Clear(f"responses cost {cost:.2f} nats a token at the start")


def _cost(run: Run) -> tuple[float | None, str, bool]:
    """Nats a token of the responses at the start, from what, and whether it is a lower bound only."""
    if (nll := run.train("nll_loss")) is not None:
        return nll.first, "nll_loss", False
    logps = [run.train(f"logps/{side}") for side in SIDES]
    if logps[0] is None or logps[1] is None:
        return None, "", False
    both = -(logps[0].first + logps[1].first) / 2
    if run.log.settings.get("averaged"):
        return both, "mean log-probabilities", False
    whole, each = (run.train(f"kl_estimate/reference_policy{end}") for end in ("", "_per_token"))
    if whole is not None and each is not None and len(whole) == len(each) and np.abs(each.values).max() > 1e-6:
        k = int(np.argmax(np.abs(each.values)))
        return both * each.values[k] / whole.values[k], "log-probabilities over lengths", False
    tokens, batch = run.train("num_tokens"), run.log.settings.get("train_batch_size")
    if tokens is not None and batch and tokens.first > 0:
        return 2 * both * batch * tokens.steps[0] / tokens.first, "log-probabilities over all tokens", True
    return None, "", False


def _unfit(shows: str) -> Finding:
    return Finding(
        "wrong template",
        FAULT,
        "the model does not know this kind of text: a wrong chat template or tokenizer, or the wrong model",
        shows,
        "text that a model would write itself costs it its entropy a token, other people's text little more",
        "print the first prompt and response as the trainer tokenizes them, special tokens included, and compare with "
        "what the model was trained on before; start from the fine-tuned model, not the base",
        (("logps/chosen", 0.0),),
    )


def other_lambda(run: Run) -> Outcome:
    """Rewards are lambda (log pi - log pi_ref): against log-probabilities they show which lambda."""
    if run.lam is None:
        return lacking("λ beside it, and none was given")
    if run.other_lam is None:
        return Clear("nothing in the log shows another λ than the one that is stated")
    shown, how = run.other_lam
    return Finding(
        "lambda not as stated",
        FAULT,
        f"the run's λ is {shown:g}, not {run.lam:g} as stated",
        f"{how} give {shown:g}",
        "a reward in the log is λ (log π - log π_ref): divided by another λ it is another number of nats",
        f"give --beta {shown:g}; or, if {run.lam:g} was meant, look where the trainer takes its λ from",
        factor=shown / run.lam,
    )
