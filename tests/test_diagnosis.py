"""`diagnose` on committed logs of tiny trainings, sound ones and ones with a planted fault (tests/diagnosed.py)."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import expo_analysis as ea
from expo_analysis.cli import app
from expo_analysis.diagnosis import NOTE, Log, Series, read_log
from expo_analysis.diagnosis.beside import parsed, settings_of
from expo_analysis.diagnosis.checks import CHECKS, HIDES
from expo_analysis.diagnosis.log import ALIASES, named
from expo_analysis.diagnosis.run import inferred_lam
from expo_analysis.diagnosis.shape import shape_of
from expo_analysis.diagnosis.thresholds import THRESHOLDS
from expo_analysis.diagnosis.usual import usual_of
from expo_analysis.figures import faults

ROOT = Path(__file__).parents[1]
RUNS = Path(__file__).parent / "files" / "diagnose"

OPTIONS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("wrong reference", "labels swapped", "learning rate too high", "nothing moves"), ("dpo", 0.3)),
    **{"wrong template": ("dpo", 0.3), "lambda too small": ("dpo", 0.001), "KL at its clamp": ("kto", 0.3)},
    **{"sound trl dpo": ("dpo", 0.3), "sound trl ipo": ("ipo", 0.3), "sound orpo": ("orpo", 0.2)},
}
"""What TRL's states do not say; this package's runs have it beside them."""

SOUND = ("sound dpo", "sound expo", "sound ipo", "sound trl dpo", "sound trl ipo", "sound orpo")
PLANTED = (
    *("wrong reference", "labels swapped", "noisy labels", "lambda too small", "lambda too large"),
    *("lambda too large (expo)", "learning rate too high", "nothing moves", "wrong template", "saturated", "overfit"),
    "KL at its clamp",
)
ALSO = {
    "lambda too small": {"displacement"},
    "lambda too large": {"saturated"},
    "learning rate too high": {"displacement", "saturated"},
    "saturated": {"displacement", "overfit"},
    "overfit": {"saturated", "displacement"},
    "noisy labels": {"displacement"},
    "KL at its clamp": {"displacement"},
}
"""What else is true of these runs: what the planted fault brings with it."""


def folder_of(name: str) -> Path:
    return RUNS / name.replace(" ", "_").replace("(", "").replace(")", "")


def diagnosed(name: str) -> ea.Diagnosis:
    objective, lam = OPTIONS.get(name, (None, None))
    return ea.diagnose(folder_of(name), objective=objective, lam=lam)


def serious(found: ea.Diagnosis) -> set[str]:
    return {one.name for one in found.findings if one.severity != NOTE}


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_wrong_with_sound_runs(name: str) -> None:
    found = diagnosed(name)
    assert not serious(found), str(found)
    assert {*found.clear, *found.unknown, *(one.name for one in found.findings)} == set(CHECKS)


@pytest.mark.parametrize("name", PLANTED)
def test_planted_faults_are_named(name: str) -> None:
    found = diagnosed(name)
    wanted = name.partition(" (")[0]
    assert wanted in serious(found), str(found)
    assert serious(found) <= {wanted} | ALSO.get(name, set()), str(found)
    one = next(own for own in found.findings if own.name == wanted)
    assert re.search(r"\d", one.shows) and one.theory and one.advice


def course(**series: Any) -> Log:
    """A log made by hand: values at steps 1, 2, ...; names of evaluation begin with eval_."""
    made = {
        name.replace("__", "/"): Series(np.arange(1.0, len(values) + 1), np.asarray(values, dtype=float))
        for name, values in series.items()
    }
    held = {name.removeprefix("eval_"): own for name, own in made.items() if name.startswith("eval_")}
    return Log("by hand", {name: own for name, own in made.items() if not name.startswith("eval_")}, held)


def names(log: Log, objective: Any = None, lam: float | None = None) -> set[str]:
    return {one.name for one in ea.diagnose(log, objective=objective, lam=lam).findings}


def test_a_log_without_evidence_has_no_findings() -> None:
    """A falling loss and nothing else: every check but those of the loss alone says what it lacks."""
    found = ea.diagnose(course(loss=np.linspace(0.69, 0.4, 20)))
    assert not found.findings
    assert set(found.clear) == {"not finite", "learning rate too high", "KL at its clamp"}
    assert all(lacks.startswith("the log has") for lacks in found.unknown.values())


def test_what_is_not_finite_is_told_by_its_step_and_the_rest_by_what_is_before() -> None:
    loss = np.r_[np.linspace(0.69, 0.5, 10), np.nan, 0.0, 0.0]
    found = ea.diagnose(course(loss=loss, grad_norm=np.r_[np.ones(10), np.nan, np.nan, np.nan]))
    assert [one.name for one in found.findings] == ["not finite"] and "step 11" in found.findings[0].summary
    assert found.run.log.steps == 10
    hidden = ea.diagnose(course(loss=np.r_[0.69, 0.0, 0.0], grad_norm=np.r_[1.0, np.nan, np.nan]))
    assert hidden.findings[0].summary == "grad_norm is no finite number from step 2 on"  # the loss is logged as 0


def test_the_weight_that_is_left_is_bounded_by_the_loss() -> None:
    """1 - exp(-E loss) >= E sigma(-margin), whatever the margins."""
    rng = np.random.default_rng(0)
    margins = rng.normal(2.0, 3.0, size=(50, 40))
    loss, weight = np.logaddexp(0, -margins).mean(axis=1), (1 / (1 + np.exp(margins))).mean(axis=1)
    assert (weight <= -np.expm1(-loss) + 1e-15).all()
    found = ea.diagnose(course(loss=np.r_[np.log(2), np.full(19, 0.01)]), objective="dpo", lam=0.1)
    assert [one.name for one in found.findings] == ["saturated"]
    assert not names(course(loss=np.r_[np.full(19, 0.3), 0.01]), "dpo", 0.1)  # at the end only


@pytest.mark.parametrize(
    ("objective", "lam", "start", "reach"),
    [
        ("dpo", 0.1, np.log(2), np.log(3) / 0.1),  # sigma(-lam h) = 1/4
        ("ipo", 0.1, 25.0, 1 / 0.4),  # half of the way to 1/(2 lam)
        ("hinge", 0.5, 1.0, 2.0),  # where it ends
    ],
)
def test_how_far_a_loss_pulls(objective: str, lam: float, start: float, reach: float) -> None:
    shape = shape_of(ea.objective(objective, lam))
    assert shape is not None
    assert shape.start == pytest.approx(start) and shape.reach == pytest.approx(reach, rel=0.06)
    assert (shape.logistic is not None) == (objective == "dpo")


def moving(lam: float, margin: float, entries: int = 20) -> Log:
    """A DPO run whose margin grows evenly to some nats, all of it off the rejected response."""
    nats = np.linspace(0, margin, entries)
    return course(
        loss=np.logaddexp(0, -lam * nats), rewards__chosen=0 * nats, rewards__rejected=-lam * nats,
        rewards__margins=lam * nats, logps__chosen=0 * nats - 20.0, logps__rejected=-25.0 - nats,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lam", "margin", "wanted"),
    [
        (0.1, 15.0, set()),
        (1e-3, 15.0, {"lambda too small"}),
        (1e-2, 15.0, {"lambda too small"}),  # pulls until 110 nats, where 20 are to be had
        (1e-2, 5.0, set()),  # and has not gone far
        (5.0, 0.5, {"lambda too large"}),
        (5.0, 9.0, set()),  # gone far all the same
        (0.1, 0.05, {"nothing moves"}),
    ],
)
def test_lambda_against_what_the_loss_wants(lam: float, margin: float, wanted: set[str]) -> None:
    found = names(moving(lam, margin), "dpo", lam) - {"saturated"}
    assert found == wanted


def test_the_factor_of_lambda_is_what_the_loss_wants_over_what_there_is() -> None:
    found = ea.diagnose(moving(1e-3, 15.0), objective="dpo", lam=1e-3).findings[0]
    assert found.factor == pytest.approx(np.log(3) / 1e-3 / 20.0, rel=0.06)


def test_displacement_is_usual_for_dpo_and_not_for_expo() -> None:
    nats = np.linspace(0, 3, 20)
    log = course(loss=0.7 - 0.1 * nats, mass__chosen=-nats / 2, mass__rejected=-nats, logps__chosen=-50 - nats / 2)
    for objective, word in (("dpo", "usual for dpo"), ("expo", "not usual for expo")):
        (found,) = [x for x in ea.diagnose(log, objective=objective, lam=0.1).findings if x.name == "displacement"]
        assert found.severity == NOTE and found.theory.startswith(word) and "-1.38" in found.shows
    risen = course(loss=0.7 - 0.1 * nats, mass__chosen=nats / 2, mass__rejected=-nats)
    assert not names(risen, "dpo", 0.1)


def test_without_a_theorem_the_terms_of_the_loss_say_what_is_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expo_analysis.desiderata.rules.RULES", ())
    assert usual_of(ea.CPO(0.1)).startswith("less usual for cpo")
    assert usual_of(ea.DPO(0.1)).endswith("expo-analysis audit dpo --only displacement searches")


def test_a_margin_that_falls_is_a_loss_turned_round() -> None:
    fall = -np.linspace(0, 2, 20)
    log = course(rewards__accuracies=np.r_[0, np.full(19, 0.2)], rewards__margins=fall, rewards__chosen=fall,
                 rewards__rejected=0 * fall, logps__chosen=fall - 30, logps__rejected=0 * fall - 30)  # fmt: skip
    assert "labels swapped" in names(log)


def test_noise_is_told_from_pairs_that_are_hard() -> None:
    """An accuracy of 0.75 is a ceiling of labels at margins of log 3 each way, and not at smaller ones."""
    flat = np.full(20, 0.75)
    for each, wanted in ((1.5, {"noisy labels"}), (0.5, set())):
        margins = np.full(20, each * (2 * 0.75 - 1))
        held = {"eval_rewards/accuracies": flat, "eval_rewards/margins": margins}
        log = course(rewards__accuracies=flat, rewards__margins=margins, loss=np.full(20, 0.6), **held)
        assert names(log, "dpo", 0.1) & {"noisy labels"} == wanted


def test_a_wrong_reference_hides_what_log_ratios_would_tell() -> None:
    found = diagnosed("wrong reference")
    for name in HIDES["wrong reference"][0]:
        assert "training starts from" in found.unknown[name]


@pytest.mark.parametrize("name", ["labels swapped", "sound trl dpo", "lambda too small"])
def test_lambda_shows_where_rewards_move_with_log_probabilities(name: str) -> None:
    """Evaluation is of the same pairs each time: there the slope is lambda."""
    found = inferred_lam(read_log(folder_of(name)))
    assert found is not None and found[0] == pytest.approx(OPTIONS[name][1], rel=0.01)


def test_rewards_without_a_reference_are_seen() -> None:
    found = ea.diagnose(folder_of("sound orpo"))
    assert found.run.relative is False and found.run.lam == pytest.approx(0.2)


# ------------------------------------------------------------------------------------------------------------- reading


def state() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder_of("labels swapped") / "trainer_state.json").read_text())
    return found


def same(found: Log, wanted: Log) -> None:
    for kind in ("train", "evaluation"):
        for name, series in getattr(wanted, kind).items():
            np.testing.assert_allclose(getattr(found, kind)[name].values, series.values, rtol=1e-6)
            np.testing.assert_array_equal(getattr(found, kind)[name].steps, series.steps)


def test_all_forms_of_one_log_read_the_same(tmp_path: Path) -> None:
    wanted = read_log(folder_of("labels swapped"))
    entries = state()["log_history"]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, entries)) + '\n{"step": 9')  # being written
    columns = list(dict.fromkeys(key for entry in entries for key in entry))
    with (tmp_path / "c.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(entries)
    for name in ("a.json", "b.jsonl", "c.csv"):
        same(read_log(tmp_path / name), wanted)


def test_events_of_tensorboard_read_the_same(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    wanted = read_log(folder_of("labels swapped"))
    with SummaryWriter(str(tmp_path / "runs")) as writer:
        writer.add_text("args", json.dumps({"beta": 0.3, "loss_type": ["sigmoid"], "learning_rate": 0.1}))
        for entry in state()["log_history"]:
            for key, value in entry.items():
                place = key.replace("eval_", "eval/", 1) if key.startswith("eval_") else f"train/{key}"
                writer.add_scalar(place, value, entry["step"])
    found = read_log(tmp_path)
    same(found, wanted)
    assert found.settings["objective"] == ea.DPO(0.3)


def test_without_tensorboard_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_accumulator", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        read_log(tmp_path)


def test_the_newest_state_of_a_folder_counts(tmp_path: Path) -> None:
    for step in (5, 40, 8):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        history = [{"step": k, "loss": 0.5} for k in range(1, step + 1)]
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": history}))
    (tmp_path / "checkpoint-50").mkdir()
    (tmp_path / "checkpoint-50" / "trainer_state.json").write_text('{"global_step": 50, "log_hist')  # cut off
    assert read_log(tmp_path).steps == 40


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ("rewards/chosen", ("train", "rewards/chosen")),
        ("train/rewards/chosen", ("train", "rewards/chosen")),
        ("rewards_train/chosen", ("train", "rewards/chosen")),
        ("loss/eval", ("evaluation", "loss")),
        ("eval_hard_rewards/margins", ("evaluation hard", "rewards/margins")),
        ("val/acc", ("evaluation", "rewards/accuracies")),
        ("chosen_reward", ("train", "rewards/chosen")),
        ("log_probs/rejected", ("train", "logps/rejected")),
        ("eval_runtime", None),
        ("trainable", None),
    ],
)
def test_names_of_other_trainers(column: str, wanted: tuple[str, str] | None) -> None:
    assert named(column) == wanted


TRL = {
    "dpo": (
        "aux_loss entropy logits/chosen logits/rejected logps/chosen logps/rejected mean_token_accuracy num_tokens "
        "rewards/accuracies rewards/chosen rewards/margins rewards/rejected"
    ),
    "kto": (
        "aux_loss entropy kl logits/chosen logits/rejected logps/chosen logps/rejected num_tokens rewards/chosen "
        "rewards/margins rewards/rejected"
    ),
    "cpo": (
        "logits/chosen logits/rejected logps/chosen logps/rejected nll_loss rewards/accuracies rewards/chosen "
        "rewards/margins rewards/rejected"
    ),
    "orpo": (
        "log_odds_chosen log_odds_ratio logits/chosen logits/rejected logps/chosen logps/rejected nll_loss "
        "rewards/accuracies rewards/chosen rewards/margins rewards/rejected"
    ),
}
"""What TRL's trainers log beside loss, grad_norm and learning_rate: the same in 1.12, 1.13, 1.14, 1.15 and 1.16."""


@pytest.mark.parametrize("trainer", TRL)
def test_the_names_of_trl(trainer: str) -> None:
    """All are read, but for what no check needs."""
    logged = {*TRL[trainer].split(), "loss", "grad_norm", "learning_rate"}
    unread = {name for name in logged if named(name) is None}
    assert unread <= {"aux_loss", "logits/chosen", "logits/rejected"}
    assert {named(name) for name in logged - unread} == {("train", name) for name in logged - unread}
    assert logged - unread <= set(ALIASES)


def test_settings_are_read_and_nothing_is_unpickled(tmp_path: Path) -> None:
    for text in ("DPO(lam=0.1, label_smoothing=0.0, robust=False)", "EXPO(lam=0.2)", "IPO(lam=0.3)"):
        made = parsed(text)
        assert made is not None and repr(made) == text
    assert parsed("0.5 DPO(lam=0.1) + 0.5 SFT(lam=1)") is None and parsed("__import__('os').getcwd()") is None
    assert settings_of({"beta": 0.2, "loss_type": ["ipo"]})["objective"] == ea.IPO(0.2)
    (tmp_path / "training_args.bin").write_bytes(b"cos\nsystem\n(S'touch here'\ntR.")
    (tmp_path / "trainer_state.json").write_text(json.dumps(state()))
    assert read_log(tmp_path).settings == {"train_batch_size": 8}
    (tmp_path / "README.md").write_text("This model was trained with DPO, a method introduced in ...")
    assert read_log(tmp_path).settings["trainer"] == "DPO"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("x.json", "{", "x.json: it is no JSON, or is cut off"),
        ("x.json", '{"a": 1}', "x.json: it has no log_history and is no list of entries"),
        ("x.jsonl", '{"step": 1}\nloss\n{"step": 2}', "x.jsonl, line 2: it is no JSON"),
        ("x.jsonl", "[1]", "x.jsonl, line 1: it is no entry such as"),
        ("x.csv", "step,speed\n1,2\n", "x.csv: it has no loss, rewards or log-probabilities"),
        ("x.txt", "loss", "x.txt: it is no log"),
    ],
)
def test_bad_files_are_named(name: str, text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        ea.diagnose(tmp_path / name)


def test_folders_without_one_log_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it has no log"):
        ea.diagnose(tmp_path)
    for name in ("a.csv", "b.jsonl"):
        (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=r"several tables, a\.csv, b\.jsonl: name one"):
        ea.diagnose(tmp_path)
    with pytest.raises(FileNotFoundError):
        ea.diagnose(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="lam must be"):
        ea.diagnose(folder_of("sound orpo"), lam=-1.0)


# ------------------------------------------------------------------------------------------------- command and picture


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["diagnose", *arguments], prog_name="expo-analysis")


def test_the_command_says_it_in_words_and_as_json(tmp_path: Path) -> None:
    folder, picture = str(folder_of("lambda too small")), tmp_path / "run.png"
    done = run(folder, "--objective", "dpo", "--beta", "0.001", "--figure", str(picture))
    assert done.exit_code == 0 and "WARNING, lambda too small" in done.stdout and picture.read_bytes()[1:4] == b"PNG"
    done = run(folder, "--json", "--exit-code")
    assert done.exit_code == 1 and json.loads(done.stdout)["findings"][0]["name"] == "lambda too small"
    assert run(str(folder_of("sound orpo")), "--exit-code").exit_code == 0
    done = run(str(tmp_path / "nowhere"))
    assert done.exit_code == 2 and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["saturated", "sound orpo", "nothing moves"])
@pytest.mark.parametrize("width", ["page", "column"])
def test_the_picture_is_one_that_a_journal_takes(name: str, width: str) -> None:
    figure = diagnosed(name).figure(width)
    assert not faults(figure)
    assert {axes.get_xlabel() for axes in figure.axes} == {"step"}


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("torch", "transformers", "pandas", "matplotlib"):
            raise ImportError(f"no {name}")

sys.meta_path.insert(0, Missing())
import expo_analysis as ea
found = ea.diagnose(sys.argv[1])
print(*(one.name for one in found.findings))
"""


def test_it_works_without_torch_and_transformers() -> None:
    command = [sys.executable, "-c", WITHOUT, str(folder_of("saturated"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("saturated"), done.stderr


def test_the_documents_have_every_threshold_with_its_reason() -> None:
    text = (ROOT / "docs" / "diagnose.md").read_text()
    for name, line in THRESHOLDS.items():
        assert f"| `{name}` | {line.value:g} {line.unit} | {line.reason} |" in text, name
    for name in CHECKS:
        assert f"**{name}**" in text, name


@pytest.mark.parametrize(("name", "stated", "own"), [("lambda too small", 0.1, 0.001), ("sound trl dpo", 0.1, 0.3)])
def test_a_lambda_that_is_not_the_run_s_is_a_fault(name: str, stated: float, own: float) -> None:
    """All that is told in nats would be off by the factor, and is not told."""
    found = ea.diagnose(folder_of(name), objective="dpo", lam=stated)
    (finding,) = [one for one in found.findings if one.name == "lambda not as stated"]
    assert finding.severity == "fault" and finding.factor == pytest.approx(own / stated, rel=0.02)
    assert f"the run's λ is {own:g}, not {stated:g}" in finding.summary
    assert {"lambda too small", "displacement", "saturated"} <= set(found.unknown)
    right = ea.diagnose(folder_of(name), objective="dpo", lam=own)
    assert "lambda not as stated" in right.clear
