"""Whatever somebody's function does ends in one sentence, and leaves everything around it as it was."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis import _child
from expo_analysis.testing import assert_equal_losses, assert_sound

from .broken_functions import BROKEN, HARMLESS, Broken
from .test_cli import invoke

ROOT = Path(__file__).parents[1]
FILE = "tests/broken_functions.py"

ALONE = ["starts_endless_threads"]
"""Of the command line only."""

SAFE = [name for name, given in BROKEN.items() if _child.COPIES or not given.copies]
each_broken = pytest.mark.parametrize("name", SAFE)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Others have time to do what they do; what never returns is not waited for as long."""
    called = getattr(request.node, "callspec", None)
    given = BROKEN.get(called.params.get("name")) if called else None
    hangs = given is not None and "does not return" in given.words
    monkeypatch.setattr("expo_analysis.losses.function_call.SECONDS", 0.2 if hangs else 0.5)
    monkeypatch.setattr("expo_analysis.testing.apart.GRACE", 0.5)


def around() -> dict[str, Any]:
    """What a loss must leave as it is."""
    return {
        "random": random.getstate(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "errors": np.geterr(),
        "filters": list(warnings.filters),
        "folder": os.getcwd(),
        "streams": (sys.stdout, sys.stderr, os.fstat(1).st_ino, os.fstat(2).st_ino),
        "alarm": threading.active_count() - sum(t.name.startswith("Thread-") for t in threading.enumerate()),
    }


def test_there_are_fifty() -> None:
    assert len(BROKEN) >= 50


@pytest.mark.parametrize("name", ["seeds_numpy", "seeds_python"])
def test_a_seed_is_told_of_where_it_was_the_seed_before(name: str) -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    told(BROKEN[name], lambda f: assert_sound(f, time_limit=2.0), AssertionError)


def skip_beside_jax(given: Broken) -> None:
    if given.copies and "jax" in sys.modules:
        pytest.skip("a process with JAX's threads is not copied")


def told(given: Broken, refuses: Any, kind: type[BaseException]) -> str:
    skip_beside_jax(given)
    before = around()
    with pytest.raises(kind, match=given.words) as error:
        refuses(given.f)
    assert around() == before
    sentence = str(error.value)
    assert "\n" not in sentence and len(sentence) < 1500
    return sentence


@each_broken
def test_it_ends_in_one_sentence(name: str) -> None:
    """Where it cannot be called at all, of from_function; otherwise of assert_sound."""
    given = BROKEN[name]
    if given.refused:
        sentence = told(given, ea.from_function, (TypeError, ValueError))  # type: ignore[arg-type]
        assert name in sentence and sentence.endswith("tuple that begins with them")
    else:
        limit = 1.0 if "are not enough" in given.words else 2.0
        sentence = told(given, lambda f: assert_sound(f, time_limit=limit), AssertionError)
        assert sentence.startswith(f"{name} is not sound: ")


KILLS = [name for name, given in BROKEN.items() if given.kills]

WITH_JAX = """
import os
import jax.numpy as jnp
import expo_analysis as ea
from tests.broken_functions import BROKEN
assert float(jnp.ones(3).sum()) == 3  # its threads are there from here on

def exits_after_jax(chosen_logps, rejected_logps, beta):
    loss = jnp.logaddexp(beta * (jnp.asarray(rejected_logps) - jnp.asarray(chosen_logps)), 0.0)
    os._exit(4)

def is_right(chosen_logps, rejected_logps, beta):
    return jnp.logaddexp(beta * (rejected_logps - chosen_logps), 0.0)

assert ea.from_function(is_right).call.jax
for f in (exits_after_jax, *(given.f for given in BROKEN.values() if given.kills)):
    try:
        ea.from_function(f)
    except ValueError as error:
        print(error)
"""


def test_what_ends_the_process_is_told_of_where_jax_is_loaded() -> None:
    pytest.importorskip("jax")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WITH_JAX]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert re.findall(r"^(\w+) ends the process", ran.stdout, re.M) == ["exits_after_jax", *KILLS], ran.stderr


@pytest.mark.filterwarnings("ignore:this loss is deprecated")
@pytest.mark.parametrize("name", HARMLESS)
def test_bad_manners_are_no_fault(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = around()
    assert_sound(HARMLESS[name])
    assert_equal_losses(HARMLESS[name], ea.BradleyTerry(1.0))
    after = around()
    assert {key: after[key] for key in before} == before


POLICIES = ("--reference", ".4,.4,.2", "--optimal", ".6,.3,.1")


@pytest.mark.parametrize("name", ["leaves_at_small_lambda", "raises_at_large_lambda"])
def test_what_goes_wrong_while_solving_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ran = invoke("solve", f"{FILE}:{name}", "--lam", "1e-4:1e4:3", *POLICIES)
    assert ran.exit_code == 2 and not ran.stdout and len(ran.stderr.splitlines()) == 1, ran.stderr
    assert re.search(r"broken_functions.py, line \d+: (SystemExit|ArithmeticError)", ran.stderr)


CARDS = ("detached", "sets_the_default_dtype", "leaves_at_small_lambda", "forks", "prints")
CARDS += ("exits_in_its_backward",) if _child.COPIES else ()


@pytest.mark.parametrize("name", CARDS)
def test_an_audit_says_it_in_a_remark(name: str) -> None:
    if name in BROKEN:
        skip_beside_jax(BROKEN[name])
    before = around()
    f = BROKEN[name].f if name in BROKEN else HARMLESS[name]
    card = ea.audit(ea.from_function(f), only="first_step", effort=0.1)
    assert around() == before
    words = BROKEN[name].words if name in BROKEN else "it prints: 'losses tensor"
    assert any(re.search(words, remark) for remark in card.remarks), card.remarks


REFUSED = [name for name in SAFE if BROKEN[name].refused]


@pytest.mark.parametrize("name", REFUSED)
def test_the_command_line_refuses_it_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ran = invoke("audit", f"{FILE}:{name}", "--json")
    assert ran.exit_code == 2 and not ran.stdout and len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith(f"Error: {FILE}:{name}: it is not a loss: ")
    assert re.search(BROKEN[name].words, " ".join(ran.stderr.split()))


SLOW = [name for name in SAFE if name not in REFUSED] + [name for name in HARMLESS if name.isidentifier()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exits", "leaves", "loops", *SLOW, *ALONE])
def test_the_command_line_says_it_too(name: str) -> None:
    """One document or one line; no traceback of ours, and it ends."""
    command = [sys.executable, "-m", "expo_analysis", "audit", f"{FILE}:{name}", "--only", "first_step"]
    command += ["--quick", "--time-limit", "5", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert "Traceback" not in ran.stderr
    refused = name in BROKEN and BROKEN[name].refused
    assert ran.returncode == (2 if refused else 0), ran.stderr
    if refused:
        assert not ran.stdout and len(ran.stderr.strip().splitlines()) == 1
        assert ran.stderr.startswith(f"Error: {FILE}:{name}: it is not a loss: ")
    else:
        document = json.loads(ran.stdout)
        assert list(document["losses"]) == [name]
        assert name in HARMLESS or document["remarks"][name]
        if name in BROKEN:  # said in a remark; and where it is why nothing could be judged, there, too
            words = f"{BROKEN[name].words}|the time limit was reached"
            assert any(re.search(words, remark) for remark in document["remarks"][name])
            assert "read as a function" not in document["losses"][name]["first_step"]["summary"]
