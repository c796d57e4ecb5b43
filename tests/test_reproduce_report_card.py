"""The main job and the report card: that an audit left one, of which version, and that what is none is refused."""

from __future__ import annotations

import pandas as pd
import pytest

from expo_analysis.desiderata.report.wording import SIGNS
from expo_analysis.desiderata.verdict import DESIDERATA
from expo_analysis.losses import CATALOGUE
from expo_analysis.studies import STUDIES
from expo_analysis.studies.report_card.numbers import COLUMNS, write_report_card
from expo_analysis.studies.reproduce import reproduce

from .cards import MADE, cards
from .test_reproduce import module

# ---------------------------------------------------------------------------------------------- the report card


@pytest.fixture
def only_the_report_card(monkeypatch):
    monkeypatch.setattr(module, "STUDIES", {"report_card": STUDIES["report_card"]})


@pytest.fixture
def unrendered(monkeypatch):
    """Pictures are drawn, and their files have nothing in them."""
    monkeypatch.setattr("expo_analysis.figures.style.render", lambda figure, kind: b"")


def test_the_study_asks_of_every_loss_that_lambda_alone_makes(monkeypatch):
    asked = {}

    def audit_many(losses, **settings):
        asked.update(losses)
        return cards()

    monkeypatch.setattr("expo_analysis.desiderata.audit_many", audit_many)
    assert set(STUDIES["report_card"].run(None)) == {"report_card"}
    assert set(asked) == set(CATALOGUE) - {"qpo"} and all(loss.lam == 1.0 for loss in asked.values())


def test_without_an_audit_there_is_no_report_card(only_the_report_card, tmp_path):
    assert STUDIES["report_card"].read(tmp_path) is None
    assert [path.name for path in reproduce(tmp_path)] == ["README.md"]
    assert "report_card" not in (tmp_path / "README.md").read_text()


def test_the_report_card_that_an_audit_left_is_shown_and_drawn_again(only_the_report_card, tmp_path):
    frame = cards().to_frame()
    written = write_report_card(frame, tmp_path / "new")
    assert [path.name for path in written] == ["report_card.csv", "report_card.png", "report_card.pdf"]
    before = {path.name: path.read_bytes() for path in written}
    (tmp_path / "new" / "report_card.png").unlink()
    again = reproduce(tmp_path / "new")
    assert [path.name for path in again] == [*before, "README.md"]
    assert {name: (tmp_path / "new" / name).read_bytes() for name in before} == before
    read = STUDIES["report_card"].read(tmp_path / "new")["report_card"]
    numbers = ["severity_share", "severity_typical", "severity_worst"]
    pd.testing.assert_frame_equal(read[numbers], frame[numbers])
    words = read.columns.difference(numbers)
    assert list(words) == sorted({*COLUMNS} - {*numbers})
    pd.testing.assert_frame_equal(read[words], frame[words].astype(str), check_dtype=False)
    text = (tmp_path / "new" / "README.md").read_text()
    assert "## Report card" in text and "![Report card](report_card.png)" in text
    assert "[report_card.pdf](report_card.pdf), [report_card.csv](report_card.csv)" in text
    counts = frame["verdict"].value_counts()
    assert f"5 losses, judged on {len(DESIDERATA)} desiderata" in text.replace("\n", " ")
    bases = {decision: rows["basis"].value_counts() for decision, rows in frame.groupby("verdict")}
    told = ", ".join(
        f"{counts[decision]} {sign} {decision}"
        + (f" ({bases[decision]['proven']} proven, {bases[decision]['evidence']} by search)" if sign in "✓✗" else "")
        for decision, sign in SIGNS.items()
    )
    flat = " ".join(text.split())
    assert f"`{MADE.call}` **[ours]**: {told}." in flat
    assert "2 of the failures are common and large: they show on a tenth of ordinary problems or more" in flat
    assert "11 are rarer, smaller or were not measured, and 2 show on problems made for them only." in flat
    assert max(map(len, text.splitlines())) < 160


def test_a_report_card_of_the_first_versions_is_shown_as_it_was(only_the_report_card, unrendered, tmp_path):
    """It knew neither what verdicts rest on nor how much failures weigh; its file stays the same."""
    old = cards().to_frame()[["loss", "desideratum", "verdict", "summary"]]
    old.to_csv(tmp_path / "report_card.csv", index=False, lineterminator="\n")
    before = (tmp_path / "report_card.csv").read_bytes()
    reproduce(tmp_path)
    assert (tmp_path / "report_card.csv").read_bytes() == before
    assert f"judged on {len(DESIDERATA)} desiderata by `ea.audit`" in " ".join(
        (tmp_path / "README.md").read_text().split()
    )


def test_names_and_summaries_that_look_like_missing_values_survive(only_the_report_card, unrendered, tmp_path):
    frame = cards("dpo").to_frame().assign(loss="nan", summary="")
    write_report_card(frame, tmp_path)
    before = (tmp_path / "report_card.csv").read_bytes()
    reproduce(tmp_path)
    assert (tmp_path / "report_card.csv").read_bytes() == before
    assert set(STUDIES["report_card"].read(tmp_path)["report_card"]["loss"]) == {"nan"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a table"),
        ("loss,verdict\ndpo,holds\n", "must have the columns loss, desideratum, verdict, summary"),
        ("loss,desideratum,verdict,summary\n", "a row per verdict"),
        ("loss,desideratum,verdict,summary\ndpo,existence,perhaps,x\n", "unknown verdict 'perhaps'"),
        ("loss,desideratum,verdict,summary\ndpo,beauty,holds,x\n", "unknown desideratum 'beauty'"),
        ("loss,desideratum,verdict,summary,colour\ndpo,existence,holds,x,red\n", "'colour' is none of them"),
        (
            "loss,desideratum,verdict,summary,severity_share\ndpo,existence,holds,x,much\n",
            "severity_share must be a number or empty, got 'much'",
        ),
    ],
)
def test_a_report_card_of_another_kind_is_refused_before_anything_is_written(tmp_path, content, message):
    (tmp_path / "report_card.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        reproduce(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report_card.csv"]
