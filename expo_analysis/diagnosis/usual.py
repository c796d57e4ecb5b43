"""Whether displacement is usual for a loss: the theorems of the report card, and else the terms of the loss."""

from __future__ import annotations

from ..losses import PairObjective


def usual_of(objective: PairObjective | None) -> str:
    """What theory says of this loss: a sentence or two."""
    if objective is None:
        return (
            "for a loss of the log-ratio alone, as DPO's and most others', that is usual: it asks that chosen "
            "responses gain on rejected ones, and nothing holds both up"
        )
    try:
        from ..desiderata.rules import RULES, Known, first
        from ..desiderata.subject import Subject
        from ..desiderata.verdict import HOLDS
    except ImportError:  # where there is no torch: logs are read without it
        return f"the report card says, which needs torch: expo-analysis audit {objective.name} --only displacement"
    found, name = first(RULES, "displacement", Known(Subject(objective), {})), objective.name
    if found is not None and found[1].decision == HOLDS:
        return (
            f"not usual for {name}: with a parameter for each response one of a pair that nobody else is compared with "
            f"gains (a theorem, {found[0].name}); parameters that responses share can break that, and so can a "
            "regulariser that is estimated on the pairs' own responses"
        )
    if found is not None:
        told = "training can take probability from both responses of a pair"
        return f"usual for {name}: {told} (a theorem, {found[0].name})"
    if objective.facts.likelihood:
        return f"less usual for {name}, which has a term for the likelihood of chosen responses, and possible"
    return f"not decided by a theorem for {name}: expo-analysis audit {name} --only displacement searches"
