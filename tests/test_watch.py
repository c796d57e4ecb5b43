"""Nothing that a loss does ends an audit, or keeps it: what it raises, when it sleeps, where it kills its process."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass

import pytest

import expo_analysis as ea
from expo_analysis import _watch as watching
from expo_analysis._watch import TIME_UP, Watch
from expo_analysis.desiderata.audit import OWN_LIMIT, PREMISES, in_order, is_own, late, limit_of
from expo_analysis.desiderata.questions import JUDGES
from expo_analysis.desiderata.verdict import CANNOT_TELL, DESIDERATA, FAILS

from .planted.expo import Bare
from .test_cli import invoke

HANGS = 60.0


def hang() -> None:
    time.sleep(HANGS)


def stubborn() -> None:
    """Catches whatever ends it, twice."""
    for _ in range(2):
        with contextlib.suppress(BaseException):
            hang()
    hang()


def spin() -> None:
    while True:
        with contextlib.suppress(Exception):
            sum(range(100))


@pytest.mark.parametrize("endless", [hang, stubborn, spin])
def test_a_call_ends_with_its_time(endless, monkeypatch):
    monkeypatch.setattr(watching, "AGAIN", 0.1)
    started = time.monotonic()
    with Watch(0.3) as watch:
        assert watch.call(endless).timed_out
        assert watch.call(lambda: 1).timed_out, "there is no time left"
        if endless is not stubborn:
            assert watch.left > -0.6, "not counting what it waited for a processor"
    assert time.monotonic() - started < HANGS / 2


def test_a_call_has_its_own_share_of_the_time():
    with Watch(HANGS) as watch:
        assert watch.call(hang, 0.2).failure == TIME_UP
        assert watch.call(lambda: 1, 0.2).value == 1
        assert HANGS / 2 < watch.left < HANGS


@pytest.mark.skipif(sys.gettrace() is not None, reason="in a traced thread (coverage's) what is thrown loops for ever")
def test_in_a_thread_a_call_ends_at_its_next_step():
    found = []

    def work() -> None:
        with Watch(0.3) as watch:
            found.append(watch.call(spin).failure)
            found.append(watch.call(lambda: 1).failure)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(HANGS)
    assert found == [TIME_UP, TIME_UP]


def test_what_arrives_while_a_call_is_left_is_swallowed(monkeypatch):
    """The clock rings many times while `_disarm` is on its way: slowly, as beside a debugger or coverage."""
    monkeypatch.setattr(watching, "AGAIN", 5e-3)
    found, rounds = [], 10

    def slowly(frame, event, argument):
        if frame.f_code.co_filename == watching.__file__:
            time.sleep(2e-4)
        return slowly

    def work() -> None:
        sys.settrace(slowly)
        for _ in range(rounds):
            with Watch(HANGS) as watch:
                found.append(watch.call(spin, 0.06).failure)
        sys.settrace(None)

    before = threading.active_count()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(2 * HANGS)
    assert not thread.is_alive() and found == [TIME_UP] * rounds
    time.sleep(0.1)
    assert threading.active_count() <= before + 1, "no clock goes on"


@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), MemoryError(), ValueError("no")]
)
def test_what_is_raised_is_told(error):
    def fail() -> None:
        raise error

    with Watch() as watch:
        assert watch.call(fail).failure.startswith(type(error).__name__)
        assert watch.call(lambda: 1).value == 1


def test_the_user_may_interrupt():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt), Watch() as watch:
            watch.call(lambda: signal.raise_signal(signal.SIGINT))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_clock_of_somebody_else_goes_on():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with Watch(HANGS) as watch:
            assert watch.call(lambda: time.sleep(0.1)).failure == ""
            assert not rung
        deadline = time.monotonic() + HANGS
        while not rung and time.monotonic() < deadline:
            time.sleep(0.01)
        assert rung == [1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Slow(Bare):
    """EXPO that takes a second for each call."""

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        time.sleep(1.0)
        return super().pair_loss(logp_w, logp_l, ref_logp_w, ref_logp_l)


def test_a_slow_loss_comes_back_and_says_how_slow_it_is():
    card = ea.audit(Slow(1.0), time_limit=2.0)
    assert card.seconds < HANGS / 2
    assert {verdict.decision for verdict in card.verdicts.values()} == {CANNOT_TELL}
    (remark,) = card.remarks
    assert remark.startswith(f"{TIME_UP}, 2 s, before it was clear that it is a sound loss: one call of it takes 1 s")


def test_what_was_reached_until_then_stays(monkeypatch):
    monkeypatch.setitem(JUDGES, "existence", lambda subject: hang())
    card = ea.audit(ea.RLHF(1.0), only=["existence", "first_step"], effort=0.1, time_limit=2.0)
    assert card.verdicts["first_step"].decision == FAILS
    assert card.verdicts["existence"].summary == TIME_UP
    assert card.remarks == (f"{TIME_UP}, 2 s, and left out: existence; a longer time_limit judges these too",)


def test_what_a_judge_raises_takes_its_verdict_alone(monkeypatch):
    def leave(subject):
        raise SystemExit(3)

    monkeypatch.setitem(JUDGES, "label_noise", leave)  # of which no theorem speaks
    card = ea.audit(ea.RLHF(1.0), only=["label_noise", "first_step"], effort=0.1)
    assert card.verdicts["first_step"].decision == FAILS
    assert card.verdicts["label_noise"].summary == "the attempt to find out failed (SystemExit: 3)"


def test_who_has_a_limit():
    assert limit_of(ea.DPO(1.0), 100.0, None) == math.inf and not is_own(ea.DPO(1.0))
    assert limit_of(Bare(1.0), 0.1, None) == OWN_LIMIT and limit_of(Bare(1.0), 3.0, None) == 3 * OWN_LIMIT
    assert is_own(ea.QPO(1.0, psi=lambda margin, lam: lam * margin**2, mu=lambda u: u))
    assert limit_of(Bare(1.0), 1.0, math.inf) == math.inf and limit_of(ea.DPO(1.0), 1.0, 5.0) == 5.0
    for wrong in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match="time_limit must be a positive number of seconds"):
            ea.audit(ea.DPO(1.0), time_limit=wrong)


def test_what_is_fast_is_judged_first_and_premises_before_what_follows():
    order = in_order(sorted(DESIDERATA, key=late))
    assert order[0] == "first_step" and order[-1] == "monotone_path" and set(order) == set(DESIDERATA)
    for key, premises in PREMISES.items():
        assert all(order.index(premise) < order.index(key) for premise in premises)


OWN = """\
import os, sys
from dataclasses import dataclass
import expo_analysis as ea

@dataclass(frozen=True)
class Quits(ea.PairObjective):
    name = "quits"
    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        sys.exit(0)

@dataclass(frozen=True)
class Dies(ea.PairObjective):
    name = "dies"
    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("alone", [True, False])
def test_a_loss_that_ends_its_process_takes_its_own_card_alone(tmp_path, alone):
    """Neither is the command line's exit code the loss's, nor is what it prints lost."""
    (tmp_path / "own.py").write_text(OWN)
    losses = [f"{tmp_path / 'own.py'}:{name}" for name in (["Dies"] if alone else ["Quits", "Dies"])]
    result = invoke("audit", *losses, *([] if alone else ["sft"]), "--quick", "--json", "--time-limit", "60")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["remarks"]["dies"] == ["it ends the process that calls it (exit status 0)"]
    assert {verdict["verdict"] for verdict in found["losses"]["dies"].values()} == {CANNOT_TELL}
    if not alone:
        assert found["remarks"]["quits"] == ["it raises SystemExit: 0"]
        assert found["losses"]["sft"]["preservation"]["verdict"] == FAILS and not found["remarks"]["sft"]


def test_the_command_line_passes_the_limit_on(monkeypatch):
    given = {}

    def audit_many(objectives, **options):
        given.update(options)
        raise SystemExit(os.EX_OK)

    monkeypatch.setattr("expo_analysis.desiderata.audit_many", audit_many)
    invoke("audit", "dpo", "--time-limit", "2.5")
    assert given["time_limit"] == 2.5
    refused = invoke("audit", "dpo", "--time-limit", "0")
    assert refused.exit_code == 2 and "must be a positive finite number of seconds, got 0.0" in refused.stderr
