"""`diagnose`: a log in, what is going on out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._checks import check_number
from .._json import plain
from ..losses import PairObjective
from .checks import CHECKS, HIDES
from .checks.movement import weights
from .checks.stability import first_not_finite
from .finding import FAULT, NOTE, WARNING, Clear, Finding, Unknown
from .log import Log
from .readers import read_log
from .run import SIDES, Run, run_of

ORDER = {FAULT: 0, WARNING: 1, NOTE: 2}


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    run: the log, with its loss. findings: what is going on, the worst first. clear: what was looked at and is in order,
    by check, with what was seen. unknown: what the log does not allow to tell, by check, with what it lacks. remarks:
    what was assumed.
    """

    run: Run
    findings: tuple[Finding, ...]
    clear: Mapping[str, str]
    unknown: Mapping[str, str]
    remarks: tuple[str, ...]

    @property
    def faulty(self) -> bool:
        """Whether there is a fault or a warning, and not just notes."""
        return any(found.severity != NOTE for found in self.findings)

    def sentences(self) -> Iterator[str]:
        """All of it in words, a paragraph each."""
        log, loss = self.run.log, self.run.objective
        known = (
            "loss not known"
            if loss is None
            else repr(loss)
            if self.run.lam is not None
            else f"{loss.name}, λ not known"
        )
        yield f"{log.source}: {log.steps:g} steps; {known}."
        yield from (f"{remark}." for remark in self.remarks)
        if not self.faulty:
            yield (
                "Nothing is wrong that the log could show."
                if not self.findings
                else "Nothing is wrong; one thing to know:"
            )
        for found in self.findings:
            yield (
                f"{found.severity.upper()}, {found.name}: {found.summary}.\n  shown by: {found.shows}.\n  theory: "
                f"{found.theory}.\n  what to do: {found.advice}."
            )
        for name, lacks in self.unknown.items():
            yield f"Cannot tell ({name}): {lacks}."
        if self.clear:
            yield "In order: " + "; ".join(f"{name}: {seen}" for name, seen in self.clear.items()) + "."

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not known is None."""
        objective = self.run.objective
        found = {
            "log": self.run.log.source,
            "steps": self.run.log.steps,
            "objective": None if objective is None else objective.name,
            "lam": self.run.lam,
            "findings": [found.to_dict() for found in self.findings],
            "clear": dict(self.clear),
            "unknown": dict(self.unknown),
            "remarks": list(self.remarks),
        }
        made: dict[str, Any] = plain(found)
        return made

    def figure(self, width: str | float = "page", title: str | None = None) -> Any:
        """One picture: loss, log-ratios, accuracy and gradient weight over steps, with a mark where a finding is seen.

        Args:
            width: as of all figures, ``"column"``, ``"page"``, ``"slide"`` or inches. title: the findings by default.

        Returns:
            A matplotlib Figure.
        """
        from ..figures.kinds.diagnosis import diagnosis

        names = [found.name for found in self.findings if found.severity != NOTE]
        words = (
            "; ".join(f"{found.name}: {found.summary}" for found in self.findings[:2]) or "Nothing is wrong to be seen"
        )
        return diagnosis(panels(self.run), marks(self.findings), words if title is None else title, width, names)


def panels(run: Run) -> dict[str, dict[str, tuple[Any, Any]]]:
    """What a picture shows: by panel and line, steps and values."""
    log, lines = run.log, {}
    both = {"loss": (log.train.get("loss"), log.evaluation.get("loss"))}
    both["accuracy"] = (log.train.get("rewards/accuracies"), log.evaluation.get("rewards/accuracies"))
    for name, pair in both.items():
        lines[name] = {kind: series for kind, series in zip(("training", "evaluation"), pair, strict=True)}
    moved = {side: run.moved(side) for side in SIDES}
    if all(series is None for series in moved.values()):
        lines["rewards"] = {side: log.train.get(f"rewards/{side}") for side in SIDES}
    else:
        lines["moved"] = dict(moved)
    bound = weights(run)
    lines["gradient"] = {"weight": bound} if bound is not None else {"norm": log.train.get("grad_norm")}
    return {
        panel: {name: (series.steps, series.values) for name, series in own.items() if series is not None}
        for panel, own in lines.items()
        if any(series is not None for series in own.values())
    }


PANEL_OF = {
    "loss": "loss",
    "eval_loss": "loss",
    "rewards/accuracies": "accuracy",
    "weight": "gradient",
    "grad_norm": "gradient",
}


def marks(findings: tuple[Finding, ...]) -> list[tuple[str, float, str]]:
    """Panel, step and name of what the picture marks."""
    return [
        (PANEL_OF.get(series, "moved"), step, found.name)
        for found in findings
        if found.severity != NOTE
        for series, step in found.marks[:1]
    ]


def diagnose(
    path: str | Path | Log,
    *,
    objective: str | PairObjective | None = None,
    lam: float | None = None,
    beta_name: str | None = None,
) -> Diagnosis:
    """Say what is going on in a training run, from its log alone: no model is loaded, and nothing unpickled.

    Thresholds stand in one table with their reasons, `thresholds.THRESHOLDS` and docs/diagnose.md. Where the log has
    not what a check needs, that is said, and nothing is found.

    Args:
        path: see `read_log`; or a `Log`.
        objective: the loss, by its name or as an object; by default what lies beside the log says, or the log itself.
        lam: its lambda, positive (TRL's ``beta``); by default as for the objective.
        beta_name: what a function that is named as FILE.py:NAME calls it, see `expo_analysis.from_function`.

    Returns:
        A `Diagnosis`: ``findings``, each with its name, severity, what shows it, what theory says, and what to do.

    Raises:
        OSError, ValueError: naming the file or the argument, and what is accepted.

    Source: this package. Of gradient weights: for logistic losses E sigma(-m) <= 1 - exp(-E loss), by Jensen.

    Example:
        >>> import expo_analysis as ea
        >>> print(ea.diagnose("run", objective="dpo", lam=0.1))  # doctest: +SKIP
    """
    if lam is not None:
        check_number("lam", lam, 0.0)
    log = path if isinstance(path, Log) else read_log(path)
    run, said = run_of(log, objective, lam, beta_name)
    bad = first_not_finite(log)
    whole = run
    if bad is not None:
        run = run.until(bad[0])
    findings: list[Finding] = []
    clear: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for name, check in CHECKS.items():
        hidden = [HIDES[f.name][1] for f in findings if f.name in HIDES and name in HIDES[f.name][0]]
        if hidden:
            unknown[name] = hidden[0]
            continue
        outcome = check(whole if name == "not finite" else run)
        if isinstance(outcome, Finding):
            findings.append(outcome)
        elif isinstance(outcome, Unknown):
            unknown[name] = str(outcome)
        else:
            assert isinstance(outcome, Clear)
            clear[name] = str(outcome)
    findings.sort(key=lambda found: ORDER[found.severity])
    return Diagnosis(run, tuple(findings), clear, unknown, (*log.remarks, *said))
