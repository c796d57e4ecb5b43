"""One way to tell how far long work is, for everything that takes a ``progress``."""

from __future__ import annotations

import doctest
import inspect

import pytest

import expo_analysis as ea
from expo_analysis import _progress
from expo_analysis._progress import Progress, part, silent
from expo_analysis.simulators import train
from expo_analysis.studies import STUDIES
from expo_analysis.studies.reproduce import reproduce
from expo_analysis.studies.study import Study

from .planted.expo import Bare
from .recorder import Recorder

TAKES = {
    "audit": ea.audit,
    "audit_many": ea.audit_many,
    "train": train,
    "reproduce": reproduce,
    "study": Study.run,
    **{name: study.part("numbers").run for name, study in STUDIES.items()},
}


@pytest.mark.parametrize("function", TAKES.values(), ids=TAKES)
def test_all_take_the_same_kind_and_are_silent_without(function) -> None:
    """Under one name, of one type."""
    given = inspect.signature(function, eval_str=True).parameters["progress"]
    assert given.annotation is Progress and given.default is silent
    assert "on_progress" not in inspect.signature(function).parameters


def test_part_is_the_share_of_a_whole() -> None:
    whole = Recorder()
    share = part(whole, 0.5, 0.75)
    share(0.0, what="begin")
    share(1, 4, task="one")
    share(4, 4)
    assert whole.fractions == [0.5, 0.5625, 0.75]
    assert whole.what == ["begin", "", ""] and whole.task == ["", "one", ""]
    part(part(whole, 0.0, 0.5), 0.5, 1.0)(0.5)
    assert whole.fractions[-1] == 0.375


def test_examples() -> None:
    found = doctest.testmod(_progress)
    assert found.attempted >= 4 and not found.failed


def test_an_audit_tells_what_it_asks() -> None:
    told = Recorder()
    ea.audit(ea.DPO(0.1), effort=0.01, progress=told)
    assert told.fractions[0] == 0.0 and told.fractions[-1] == 1.0 and told.fractions == sorted(set(told.fractions))
    titles = [desideratum.title for desideratum in ea.DESIDERATA.values()]
    assert told.what[0] == "is it a loss?" and told.what[-1] == "its path" and sorted(told.what[1:-1]) == sorted(titles)
    assert set(told.task) == {""}


@pytest.mark.slow
def test_many_audits_tell_each_of_its_own() -> None:
    """Here and in processes: each loss is a task that ends at 1, and those that cannot be judged end at once."""
    told = Recorder()
    losses = {"ours": ea.DPO(0.1), "bad": ValueError("no"), "other": ea.IPO(0.1)}
    ea.audit_many(losses, workers=2, effort=0.01, progress=told)
    for name in losses:
        own = [f for f, task in zip(told.fractions, told.task, strict=True) if task == name]
        assert own == sorted(own) and own[-1] == 1.0
    assert set(told.task) == set(losses)
    assert told.what[told.task.index("bad")] == "not judged"
    alone = Recorder()
    ea.audit_many({"mine": Bare(0.1)}, workers=1, effort=0.01, progress=alone)
    assert set(alone.task) == {"mine"} and alone.what[-1] == "done" and alone.fractions[-1] == 1.0
