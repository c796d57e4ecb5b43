"""The page as a file, and in a headless browser: states, own losses, downloads, accessibility."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis import __version__
from expo_analysis.cli import app
from expo_analysis.explorer import PAGE, counterexamples, write_page
from expo_analysis.explorer.page import BUILT, ROOM, page
from expo_analysis.explorer.registry import registry
from expo_analysis.own_loss import make_loss
from expo_analysis.studies.report_card.numbers import read as read_card

from .explorer_states import HARNESS, samples

ROOT = Path(__file__).parents[1]
WEB = ROOM / "web"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=60000"),
]
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")


def test_the_page_that_is_shipped_is_the_one_that_would_be_written() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(version=__version__)[0], "run docs/explorer_page.py"


def test_counterexamples_are_those_of_the_report_card() -> None:
    table = read_card(ROOT / "figures" / "report_card.csv")
    failing = table[table["verdict"] == "fails"]
    cases = counterexamples.read()["cases"]
    shown = {(loss, key) for loss, own in cases.items() for key in own}
    assert shown == set(zip(failing["loss"], failing["desideratum"], strict=True)), "run docs/explorer_page.py --card"


def test_counterexamples_are_taken_from_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails of it, with its statement and its problem; a card without losses is refused."""
    monkeypatch.setattr(counterexamples, "FILE", tmp_path / "counterexamples.json")
    asked = {"effort": 0.02, "only": ["first_step", "existence"]}
    cards = {loss.name: ea.audit(loss, **asked) for loss in (ea.DPO(1.0), ea.EXPO(1.0))}
    counterexamples.write({"losses": {name: card.to_dict() for name, card in cards.items()}})
    found, verdicts = counterexamples.read(), cards["dpo"].verdicts
    assert set(found["cases"]) == {"dpo"} and set(found["cases"]["dpo"]) == {"first_step", "existence"}
    for key, (statement, place, lam, *_) in found["cases"]["dpo"].items():
        example = verdicts[key].counterexample
        assert example is not None and statement == example.statement
        assert found["problems"][place]["ref"] == pytest.approx(example.numbers["reference"])
        assert lam == np.atleast_1d(example.numbers["lam"])[0]
    with pytest.raises(ValueError, match='card must have "losses"'):
        counterexamples.write({"dpo": {}})


def test_what_is_built_was_built_of_these_sources() -> None:
    stated = json.loads((BUILT / "sources.json").read_text())
    own = {path.name: sha256(path.read_bytes()).hexdigest() for path in (WEB / "src").iterdir()}
    assert stated == own, "run `npm run build` in expo_analysis/explorer/web"


def test_building_again_gives_the_same_files(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (WEB / "node_modules" / "esbuild").is_dir():
        pytest.skip("node and the packages of expo_analysis/explorer/web are not installed")
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=WEB, check=True)
    for path in BUILT.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_page_is_one_small_file_that_asks_for_nothing() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.encode()) <= 400_000
    outside = set(re.findall(r"""(?:https?:)?//[\w.-]+\.[a-z]{2,}""", text))
    assert outside <= {"http://www.w3.org"}  # the name of SVG, which nobody loads
    assert not re.search(r"<(?:script|img|iframe|link)[^>]*\b(?:src|href)=", text)
    assert not re.search(r"\b(?:fetch|XMLHttpRequest|WebSocket|import)\s*\(", text)
    assert text.count("</script>") == 2 and text.count("<script>") == 2


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    plain, mine = tmp_path / "explorer.html", tmp_path / "mine.html"
    found = CliRunner().invoke(app, ["explore", "-o", str(plain)])
    assert found.exit_code == 0 and plain.read_bytes() == PAGE.read_bytes()
    found = CliRunner().invoke(app, ["explore", "examples/exponential.py:Exponential", "-o", str(mine)])
    assert found.exit_code == 0 and '"own":["my_exponential"]' in mine.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dpo"], "LOSS must be FILE.py:NAME, got 'dpo'"),
        (["none.py:Mine"], "none.py: No such file"),
        (["examples/exponential.py:Exponential", "-o", "no/such/folder/page.html"], "no/such/folder"),
        (["--beta-name", "b"], "--beta-name is not used"),
    ],
)
def test_the_command_refuses_in_one_sentence(arguments: list[str], said: str, tmp_path: Path) -> None:
    arguments = arguments if "-o" in arguments else [*arguments, "-o", str(tmp_path / "page.html")]
    found = CliRunner().invoke(app, ["explore", *arguments])
    assert found.exit_code == 2 and said in found.output and "Traceback" not in found.output
    assert len(found.output.strip().splitlines()) == 1


def test_own_losses_that_do_not_compile_are_named(tmp_path: Path) -> None:
    file = tmp_path / "losses.py"
    file.write_text(
        "def branching(w, l):\n    return w - l if w[0] > l[0] else l - w\n\n\n"
        "def fine(w, l):\n    return (l - w).exp()\n"
    )
    arguments = ["explore", f"{file}:branching", f"{file}:fine", "-o", str(tmp_path / "page.html")]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0 and "branching cannot be written in JavaScript" in found.output
    found = CliRunner().invoke(app, [arguments[0], arguments[1], "-o", str(tmp_path / "none.html")])
    assert found.exit_code == 2 and not (tmp_path / "none.html").exists()


# ------------------------------------------------------------------------------------------------------------- browser


def run_in_browser(folder: Path, script: str, text: str | None = None, fragment: str = "") -> Any:
    """What an asynchronous JavaScript function returns in the page, as JSON; the console must have no error."""
    text = PAGE.read_text(encoding="utf-8") if text is None else text
    harness = f"""<script>
      const told=document.createElement("pre");told.id="told";
      addEventListener("error",(e)=>console.error("uncaught "+e.message));
      (async()=>{{let found;try{{found=await ({script})()}}catch(e){{console.error("uncaught "+e.stack);found=null}}
      told.textContent=JSON.stringify(found);document.body.append(told)}})();
    </script></body>"""
    file = folder / "page.html"
    file.write_text(text.replace("</body>", harness), encoding="utf-8")
    assert CHROMIUM is not None
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [CHROMIUM, *FLAGS, profile, "--enable-logging=stderr", "--dump-dom", f"{file.as_uri()}{fragment}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "uncaught" in line.lower()]
    assert not errors, errors
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


@in_browser
def test_a_thousand_random_states_in_a_browser(tmp_path: Path) -> None:
    proven = tuple(e for e in registry().entries if e.loss.convex or e.loss.scored or e.loss.reward)
    own = [one for one in samples(proven, 35, seed=2) if one.status == "optimal"]
    assert len(own) >= 1000
    states = json.dumps([one.state for one in own])
    engine = (BUILT / "engine.js").read_text()
    text = PAGE.read_text(encoding="utf-8").replace("</body>", f"<script>{engine}{HARNESS}</script></body>")
    found = run_in_browser(tmp_path, f"async()=>JSON.parse(optima({states}))", text)
    for one, shown in zip(own, found, strict=True):
        bound = 0.0 if np.isnan(one.bound) else one.bound
        assert np.abs(one.policy - shown["policy"]).max() <= 1e-9 + bound, (one.state, shown)


@in_browser
@pytest.mark.slow
def test_a_frame_of_eight_losses_takes_at_most_16_ms(tmp_path: Path) -> None:
    """Of CPU time, layout included, while lambda is dragged: other processes hardly change it."""
    usage = pytest.importorskip("resource")
    losses = json.dumps(["dpo", "ipo", "fdpo", "expo", "regression_expo", "spo", "chi_po", "hinge"])

    def spent(frames: int) -> float:
        script = f"""async()=>{{const e=window.explorer;
          for(let k=0;k<{frames};k++){{
            e.drawNow({{losses:{losses},lam:10**(-4+8*(k%97)/96)}});document.body.offsetHeight}}
          return e.model().drawn.length}}"""
        before = usage.getrusage(usage.RUSAGE_CHILDREN)
        assert run_in_browser(tmp_path, script) == 8
        after = usage.getrusage(usage.RUSAGE_CHILDREN)
        return float(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    few, many = spent(100), spent(700)
    assert 0.0 < (many - few) / 600 < 0.016


@in_browser
@pytest.mark.slow
def test_a_loss_of_ones_own_is_on_the_page_and_agrees(tmp_path: Path) -> None:
    """exp(-lambda hbar) has DPO's optimum at twice the lambda."""
    own = {"mine": make_loss("examples/exponential.py:Exponential")}
    write_page(tmp_path / "own.html", own, __version__)
    script = """async()=>{const e=window.explorer;e.drawNow({lam:0.6});const mine=e.model().drawn[0];
      const first=[mine.loss.label,mine.policy];e.drawNow({lam:1.2,losses:["dpo"]});
      return [first,e.model().drawn[0].policy]}"""
    (label, policy), dpo = run_in_browser(tmp_path, script, (tmp_path / "own.html").read_text(encoding="utf-8"))
    assert label == "mine" and np.abs(np.subtract(policy, dpo)).max() < 1e-12


STATES = [
    "",
    "#ref=0.2,0.5,0.3&opt=0.7,0.2,0.1&pairs=0.2,0.3,0.5&lam=0.03&losses=dpo,spo,kto,slic,wrpo,rlhf&focus=slic&show=field,train",
    "#ref=0.3,0.4,0.3&wins=0,2,1;0,0,1;0,1,0&lam=0.3&losses=dpo,ipo,expo&focus=dpo",
    "#ref=0.3,0.4,0.2,0.1&opt=0.1,0.2,0.3,0.4&flips=0.2&lam=2&losses=fdpo,ipo,expo,rlhf&focus=ipo",
    "#case=dpo.displacement",
    "#nonsense&lam=-3&losses=none&ref=1,x&pairs=",
]


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize("fragment", STATES)
def test_downloads_and_the_state_in_the_address(fragment: str, tmp_path: Path) -> None:
    """The Python runs with the package and asserts that it finds the page's optima; the rest is well-formed."""
    script = """async()=>{const e=window.explorer;await new Promise((f)=>setTimeout(f,400));
      e.set({lam:e.state().lam});await new Promise((f)=>setTimeout(f,600));
      return {python:e.python(),csv:e.csv(),svg:e.svg(),hash:location.hash,drawn:e.model().drawn.map((d)=>d.policy)}}"""
    found = run_in_browser(tmp_path, script, fragment=fragment)
    ran = subprocess.run([sys.executable, "-c", found["python"]], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr + found["python"]
    header, *rows = found["csv"].strip().splitlines()
    assert header.startswith("loss,lambda,pi_A") and len(rows) > 60 * len(found["drawn"])
    assert found["svg"].startswith("<?xml") and "var(" not in found["svg"]
    again = run_in_browser(tmp_path, script, fragment=found["hash"])
    assert again["hash"] == found["hash"]
    assert np.abs(np.subtract(again["drawn"], found["drawn"])).max() < 1e-8


@in_browser
@pytest.mark.slow
def test_every_counterexample_opens(tmp_path: Path) -> None:
    script = """async()=>{const wrong=[];let count=0;
      for(const [loss,own] of Object.entries(PAGE.cases.cases))for(const key of Object.keys(own)){
        if(!window.explorer.losses.has(loss))continue;
        const first=document.getElementById("case-loss");first.value=loss;first.dispatchEvent(new Event("change"));
        const pick=document.getElementById("case-key");pick.value=key;pick.dispatchEvent(new Event("change"));
        if(count++%7===0)await new Promise((f)=>setTimeout(f,30));
        else window.explorer.drawNow({});
        const drawn=window.explorer.model().drawn[0];
        const open=typeof PAGE.cases.cases[loss][key][1]==="number";
        const said=document.getElementById("told-text").textContent;
        if(!said.includes(PAGE.cases.cases[loss][key][0].slice(0,12).replaceAll("_",""))||(open&&(!drawn||drawn.loss.key!==loss||drawn.policy.some(Number.isNaN))))wrong.push([loss,key,said]);}
      return {count,wrong}}"""
    found = run_in_browser(tmp_path, script)
    assert found["count"] > 500 and not found["wrong"]


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize("fragment", ["", "#case=dpo.displacement", STATES[2]])
def test_axe_finds_no_violation(fragment: str, tmp_path: Path) -> None:
    axe = WEB / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.skip("axe-core is not installed: `npm ci` in expo_analysis/explorer/web")
    text = PAGE.read_text(encoding="utf-8").replace("</body>", f"<script>{axe.read_text()}</script></body>")
    script = """async()=>{document.querySelectorAll("details").forEach((d)=>{d.open=true});
      const found=await axe.run();return found.violations.map((v)=>[v.id,v.nodes.length])}"""
    assert run_in_browser(tmp_path, script, text, fragment) == []


@in_browser
@pytest.mark.slow
def test_the_keyboard_moves_policies(tmp_path: Path) -> None:
    script = """async()=>{const e=window.explorer,before=e.state().optimal;
      const handle=document.querySelector("#simplex .optimal");handle.focus();
      handle.dispatchEvent(new KeyboardEvent("keydown",{key:"ArrowUp",bubbles:true}));
      await new Promise((f)=>setTimeout(f,300));
      return [before,e.state().optimal,handle.getAttribute("aria-valuetext")]}"""
    before, after, told = run_in_browser(tmp_path, script)
    assert after[0] == pytest.approx(before[0] + 0.01) and told.startswith("A 61%")
