"""Runs the code of counterexamples as readers do: in fresh interpreters, in a folder that has nothing to do with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]

HARNESS = """\
import json, os, sys, traceback
import expo_analysis, torch  # once: what follows is forked, each from an interpreter that knows nothing else
expo_analysis.solve(expo_analysis.DPO(1.0), expo_analysis.Bandit([0.5, 0.5], [0.6, 0.4]))
for name, code in json.load(open(sys.argv[1])).items():
    sys.stdout.flush()
    if child := os.fork():
        if os.waitpid(child, 0)[1]:
            print(f"-- this was {name}", flush=True)
        continue
    status = 1
    try:
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
        status = 0
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        print(code)
    finally:
        sys.stdout.flush()
        os._exit(status)
"""


def run_elsewhere(codes: Mapping[str, str], folder: Path) -> str:
    """What programs print, one after the other, each by itself; what went wrong with one is under "-- this was"."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "codes.json").write_text(json.dumps(dict(codes)))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", HARNESS, "codes.json"]
    done = subprocess.run(
        command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
