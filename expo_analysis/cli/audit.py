"""``expo-analysis audit``."""

from __future__ import annotations

import difflib
import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text

from .._files import from_home, writable
from .audit_options import (
    AsJson,
    Badge,
    BaselineFile,
    BetaName,
    Effort,
    Everything,
    Html,
    Junit,
    Keep,
    Limit,
    Losses,
    Only,
    Options,
    Picture,
    Quick,
    Require,
    Sarif,
    Seed,
    Workers,
)
from .audit_output import Outputs
from .errors import bad_input

if TYPE_CHECKING:
    from ..desiderata.report.baseline import Baseline, Comparison
    from ..desiderata.report.report_card import ReportCards

QUICK = 0.1
"""Effort of ``--quick``."""


def audit(
    losses: Losses = None,
    everything: Everything = False,
    option: Options = None,
    beta_name: BetaName = None,
    effort: Effort = None,
    quick: Quick = False,
    seed: Seed = 0,
    only: Only = None,
    require: Require = None,
    baseline: BaselineFile = None,
    time_limit: Limit = None,
    workers: Workers = 2,
    keep: Keep = None,
    as_json: AsJson = False,
    html: Html = None,
    figure: Picture = None,
    junit: Junit = None,
    sarif: Sarif = None,
    badge: Badge = None,
) -> None:
    """Judge losses by many desiderata, with counterexamples where they fail.

    \b
    Examples:
      expo-analysis audit expo dpo ipo
      expo-analysis audit dpo --option label_smoothing=0.1 --quick
      expo-analysis audit expo examples/exponential.py:Exponential --json
      expo-analysis audit expo --only preservation,existence --seed 3
      expo-analysis audit expo --quick --require preservation,existence
      expo-analysis audit expo --quick --require preservation --junit card.xml --badge card.svg
      expo-analysis audit --all --html report.html --figure figures

    \b
    One loss alone is shown in full, with the code of its counterexamples; several as a table of
    losses and desiderata, and a line for each failure. All lambdas are tried, so none is given.
    A loss of your own is a subclass of ea.PairObjective in a Python file, or any function or class
    that ea.from_function takes. Where it cannot be loaded, the other losses are audited nevertheless,
    and its card says what happened.

    \b
    A loss of your own that is slow ends after half a minute (times the effort, where that is above
    1), or after --time-limit: what was judged until then stays, the rest cannot be told.

    \b
    --only and --require take the names that --json has; docs/desiderata.md explains each. What is
    required is judged too, whatever --only says, and must hold: "not applicable" and "cannot tell"
    do not do. A line on standard error says which does not hold, and the exit code is 1. Without
    --require and --baseline the exit code is 0 whatever the verdicts are.

    \b
    --baseline reads what --json printed before. Where a verdict is worse now (holds, then not
    applicable and cannot tell, then fails), a line says which, and the exit code is 1. Losses and
    questions that are in one of the two only are named, and let through. --junit, --sarif and
    --badge write the same card in other forms; docs/ci.md shows them at work.

    \b
    --json prints {"losses": {NAME: {DESIDERATUM: {"verdict": "holds" | "fails" | "not applicable" |
    "cannot tell", "basis": "proven" | "evidence" | "", "rule": ..., "answer": ...,
    "severity": null | {"unit": ..., "share": ..., "of": ..., "typical": ..., "worst": ...},
    "summary": ..., "conditions": ..., "evidence": {...}, "counterexample": null |
    {"statement": ..., "numbers": {...}, "code": ...}}}}, "remarks": {NAME: [...]}, "made": {NAME: {"version": ...,
    "date": ..., "effort": ..., "seed": ..., "call": ...}}}, where NAME is the loss's own (for yours
    the class's attribute name; FILE.py:NAME is added where another has that name, and stands alone
    where it could not be loaded).
    """
    with bad_input():
        from .parsing import parse_losses

        work = effort_of(effort, quick)
        check_limit(time_limit)
        required = desiderata_of("--require", require)
        wanted = desiderata_of("--only", only)
        objectives = parse_losses(losses or [], everything, option or [], beta_name)
        saved = None if baseline is None else saved_card(baseline, objectives)
        outputs = Outputs(html, figure, junit, sarif, badge)
        outputs.check(len(objectives))
        keep = None if keep is None else writable(from_home(keep))
    from ..desiderata import audit_many
    from ..desiderata.report.baseline import Gate, compare
    from .card_table import progress_bars

    errors = Console(stderr=True)
    if everything:
        say_what_is_left_out(set(objectives), errors)
    with progress_bars(len(objectives), errors) as report:
        asked = None if wanted is None else {*wanted, *(required or ())}
        settings: dict[str, Any] = {"effort": work, "seed": seed, "only": asked, "time_limit": time_limit}
        cards = audit_many(objectives, workers=workers, keep=keep, progress=report, **settings)
    call = command(losses or [], everything, option or [], beta_name, work, seed, time_limit, wanted, required)
    cards = cards.with_call(call)
    gate = Gate(tuple(required or ()), None if saved is None else compare(cards, saved))
    for path in outputs.write(cards, gate):
        errors.print(Text(f"wrote {path}"), soft_wrap=True)
    show(cards, as_json)
    refused = gate.refused(cards)
    for sentence in [*told(gate.comparison), *refused]:
        errors.print(Text(sentence), soft_wrap=True)
    if refused:
        raise typer.Exit(1)


def say_what_is_left_out(audited: set[str], errors: Console) -> None:
    """A line for each loss that needs more than lambda."""
    from ..losses.catalogue import CATALOGUE, required_options

    for name in sorted(set(CATALOGUE) - audited):
        needs = ", ".join(required_options(CATALOGUE[name]))
        errors.print(Text(f"{name} is left out of --all: it needs {needs}"), soft_wrap=True)


def saved_card(file: Path, objectives: Mapping[str, Any]) -> Baseline:
    """The card of ``--baseline``, which has at least one of the losses."""
    from ..desiderata.report.baseline import read_baseline

    saved = read_baseline(file)
    if not set(saved.decisions) & set(objectives):
        raise ValueError(f"{file}: it has {', '.join(saved.decisions)}, and none of {', '.join(objectives)}")
    return saved


def told(comparison: Comparison | None) -> list[str]:
    """What is to be said of a comparison beside what got worse."""
    if comparison is None:
        return []
    return [*comparison.notes, *(str(change) for change in comparison.changes if not change.is_worse)]


def show(cards: ReportCards, as_json: bool) -> None:
    """The cards on standard output."""
    from .card_table import print_card, print_cards

    if as_json:
        typer.echo(json.dumps(cards.to_dict(), indent=2, allow_nan=False))
    elif len(cards) == 1:
        print_card(*cards.values())
    else:
        print_cards(cards)


def desiderata_of(option: str, texts: list[str] | None) -> list[str] | None:
    """The desiderata that an option names, in commas or again and again; None where it was not given."""
    from ..desiderata.verdict import DESIDERATA

    if texts is None or not texts:
        return None
    names = [name.strip() for text in texts for name in text.split(",")]
    for name in names:
        if name not in DESIDERATA:
            near = difflib.get_close_matches(name, DESIDERATA, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{option} must name desiderata among {', '.join(DESIDERATA)}; got {name!r}{hint}")
    return [name for name in DESIDERATA if name in names]


def command(
    losses: list[str],
    everything: bool,
    options: list[str],
    beta_name: str | None,
    effort: float,
    seed: int,
    time_limit: float | None,
    only: list[str] | None,
    required: list[str] | None,
) -> str:
    """The command with all that the verdicts depend on, and nothing else."""
    words = ["expo-analysis", "audit", *(["--all"] if everything else []), *losses]
    words += [word for option in options for word in ("--option", option)]
    words += [] if beta_name is None else ["--beta-name", beta_name]
    words += [] if effort == 1 else ["--effort", f"{effort:g}"]
    words += [] if seed == 0 else ["--seed", str(seed)]
    words += [] if time_limit is None else ["--time-limit", f"{time_limit:g}"]
    words += [] if only is None else ["--only", ",".join(only)]
    words += [] if required is None else ["--require", ",".join(required)]
    return shlex.join(words)


def effort_of(effort: float | None, quick: bool) -> float:
    """The effort that ``--effort`` or ``--quick`` asks for."""
    if quick and effort is not None:
        raise ValueError("quick is not used beside --effort: it means --effort 0.1")
    work = QUICK if quick else 1.0 if effort is None else effort
    if not 0 < work < math.inf:
        raise ValueError(f"effort must be a positive finite number, got {work}")
    return work


def check_limit(seconds: float | None) -> None:
    """Raise a ValueError unless ``--time-limit`` is a time, or was not given."""
    if seconds is not None and not 0 < seconds < math.inf:
        raise ValueError(f"--time-limit must be a positive finite number of seconds, got {seconds}")
