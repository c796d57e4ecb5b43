"""The estimators of EXPO's regulariser: bias, variance, and where they lead."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .. import plots
from .._types import Floats
from ..results import Result
from ..simulators.experiments import estimators
from .simulation import Simulation


def show(tables: dict[str, pd.DataFrame]) -> Result:
    moments, paths, optima, steps = tables.values()
    ends = steps[steps["step"] == steps.groupby("world")["step"].transform("max")]
    noisy = moments[moments["sd_along"] > 0]
    inside = (noisy["drawn_low"] <= noisy["expectation"]) & (noisy["expectation"] <= noisy["drawn_high"])

    def gradient(policy: str, estimator: str, column: str, design: str = "any") -> float:
        where = {"policy": policy, "quantity": "gradient", "estimator": estimator, "design": design}
        return float(_column(moments, column, **where)[0])

    def end(world: str, estimator: str, column: str) -> float:
        return float(_column(ends, column, world=world, estimator=estimator).mean())

    target = gradient("trained", "token_kl", "target")
    table_ratio = _column(paths[paths["path"] != "weights"], "gradient").max()
    rare_kl, rare_ratio = (_column(paths, column, path="one_sequence") for column in ("kl", "value"))
    kept = _column(optima, "unseen_reference", data="pairs", estimator="token_kl_own")
    change = _column(optima, "unseen", data="pairs", estimator="token_kl_own") - kept
    before, after = (
        _column(optima, column, data="part", estimator="token_kl_own")[0] for column in ("unseen_reference", "unseen")
    )
    last_step = _column(ends, "step", world="transformer").max()
    return Result(
        "Estimators of EXPO's regulariser",
        tables,
        (
            f"""EXPO's KL(π_ref ‖ π) is a sum over all sequences; training sees few. Each estimate here is the mean over
            two sequences, fresh from π_ref or the pair's own, of -log π(y) or of the KL between next-token
            distributions along y. *Bias* (top left and middle: exact expectations; black, drawn pairs, where
            {inside.sum()} of {len(noisy)} intervals (95%) hold the exact expectation): both estimators on fresh samples
            are unbiased. The likelihood of own responses is not, even where they come from π_ref, since pairs of equal
            ones are thrown away: its gradient is off by
            {gradient("trained", "own_responses", "bias", "reference") / target:.1%} of the exact one at EXPO's optimum,
            and its own optimum by
            {_column(optima, "from_exact", data="reference", estimator="own_responses")[0]:.4f} in total variation.
            Where pairs cover some of the sequences only, it has component
            {gradient("trained", "own_responses", "expectation", "part"):.2f} along the exact gradient, whose norm is
            {target:.2f}. The token KL along own responses is biased too, but it and its gradient vanish at π_ref
            whatever the pairs are: unlike the likelihood it stays at π\\* where π_ref = π\\* **[ours]**.""",
            f"""*Variance:* at π_ref the token KL has none, while the likelihood's gradient has a standard deviation of
            {gradient("reference", "reference_samples", "sd"):.2f} a pair; at EXPO's optimum they are at
            {gradient("trained", "token_kl", "sd"):.2f} and {gradient("trained", "reference_samples", "sd"):.2f}. That
            the token KL has the least variance is no theorem, though. It is called Rao–Blackwellised, but a sum of
            expectations given *different* prefixes is no conditional expectation of the sum. In a table with a row for
            every prefix each coordinate of the gradient belongs to one position, and there it is one: the variance is
            never larger (dashed, top right; at most {table_ratio:.2f} of the likelihood's standard deviation). The
            *value* can be worse off: towards one rare sequence log(π_ref/π) is the same number on all the others, while
            the token KL changes where the prefixes part, and has up to {rare_ratio.max():.1f} times the standard
            deviation (more than once from KL = {rare_kl[rare_ratio > 1].min():.2f} on). So can the gradient, with
            parameters that positions share: a Markov chain over two tokens is enough **[ours]**.""",
            f"""*Where they lead* (below, one data set; dashed, the exact optima). With a few pairs drawn
            from π_ref, a mass of {kept.mean():.2f} is on sequences in no pair, on average. EXPO keeps it there, and so
            do both estimators on fresh samples. The likelihood of own responses is EXPO towards the *data's*
            distribution instead of π_ref, with no mass on all the rest, although the pairs came from π_ref: training
            goes over the same pairs again. At the end it has left {end("table", "own_responses", "unseen"):.3f} there
            in the table and {end("transformer", "own_responses", "unseen"):.3f} in the transformer. The token KL along
            own responses does not conserve either: the probabilities of all next tokens never seen after a prefix c are
            multiplied by m(c)/(m(c) + D(c)), with m(c) the data's weight on c and D(c) what preferences add to the mass
            of c. Unseen mass changes by {change.min():+.3f} to {change.max():+.3f} between data sets. Where only some
            sequences are ever compared it goes from {before:.3f} to {after:.3f}: compared responses lose mass to the
            others, which EXPO itself rules out **[ours]**.""",
            f"""*Noise:* in the table, training ends at a mean total variation of
            {end("table", "token_kl", "distance"):.4f} from its optimum with the token KL on fresh samples,
            {end("table", "reference_samples", "distance"):.4f} with their likelihood, and
            {end("table", "exact", "distance"):.4f} with the exact regulariser, where only the batches of pairs are
            random. {last_step:.0f} steps bring the transformer to {end("transformer", "token_kl", "distance"):.3f},
            {end("transformer", "reference_samples", "distance"):.3f} and
            {end("transformer", "exact", "distance"):.3f}.""",
        ),
        plots.estimators(moments, paths, optima, steps),
    )


def _column(frame: pd.DataFrame, column: str, **where: str) -> Floats:
    """The numbers of a column in the rows where other columns have given values."""
    rows = np.ones(len(frame), dtype=bool)
    for name, value in where.items():
        rows &= (frame[name] == value).to_numpy()
    return frame[column].to_numpy(dtype=np.float64)[rows]


SIMULATION = Simulation(
    "The estimators of EXPO's regulariser: bias, variance, and the optimum that each one really has", estimators, show
)
