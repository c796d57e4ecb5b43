"""The paper's Section 5 trained anew: it ends where the authors' script ended; its picture and its words."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import expo_analysis as ea
from expo_analysis import paper
from expo_analysis.figures.style import LOOKS
from expo_analysis.studies import STUDIES
from expo_analysis.studies.section5.figure import SOURCES
from expo_analysis.studies.section5.words import worst_miss

from .other_processor import unrounded

# the modules, which functions of the same names hide behind
module = import_module("expo_analysis.studies.section5.numbers")

LONG = {("interpolation", "fdpo"), ("preservation", "expo"), ("preservation", "fdpo")}
ENDS = [
    pytest.param(name, loss, id=f"{name}-{loss}", marks=[pytest.mark.slow] if (name, loss) in LONG else [])
    for name in ("interpolation", "preservation")
    for loss in module.LOSSES
]
RECORDED = 1e-6
"""The script's policies are recorded to six decimals."""


@pytest.mark.parametrize(("name", "loss"), ENDS)
@pytest.mark.slow
def test_training_with_the_authors_settings_ends_where_their_script_ended(name: str, loss: str) -> None:
    """On the same pairs in the same order, in every recorded probability.

    1e-3 and 5e-3 would do. The same steps in the same order leave rounding, which Adam amplifies, and torch's
    1e-6 in the clipped norm: 1e-5 holds, ten units of the record's last decimal.
    """
    experiment: paper.Experiment = getattr(paper, name)()
    ends = [end for end in experiment.ends if end.loss == loss]
    assert len(ends) == (2 if name == "interpolation" else 3)
    published = np.array([end.published_lam for end in ends])
    trained = module.trained(name, loss, published, True)
    for k, end in enumerate(ends):
        assert trained.steps[-1] == end.steps
        assert np.abs(trained.final[k, 0] - np.atleast_2d(end.policy)).max() < 10 * RECORDED
    path = ea.solve_path(module.LOSSES[loss](1.0), experiment.population, experiment.own_lam(loss, published))
    optima = path.policies.reshape(trained.final[:, 0].shape)
    assert np.abs(optima - trained.final[:, 0]).max() > 100 * RECORDED  # to end where the script did says something


def test_settings() -> None:
    """The authors', and those that differ from them in clipping and shuffling only."""
    for name in module.LAMS:
        for loss in module.LOSSES:
            authors, ought = (module.training(name, loss, who) for who in (True, False))
            assert (authors.clip_norm, authors.shuffle) == (10.0, False)
            assert (ought.clip_norm, ought.shuffle) == (None, True)
            same = ("optimiser", "epochs", "batch", "schedule", "average", "patience")
            assert all(getattr(authors, field) == getattr(ought, field) for field in same)
            assert module.training(name, loss, False, 10).epochs == 10 * ought.epochs


def test_pairs_are_the_papers() -> None:
    for name in module.LAMS:
        experiment = getattr(paper, name)()
        found = module.pairs(experiment)
        counts = experiment.data.counts.reshape(found.counts.shape[1:])
        np.testing.assert_array_equal(found.counts[0], counts)


# ------------------------------------------------------------------------------------- its tables, picture and words

NUDGES = {"dpo": 3e-4, "ipo": 1e-5, "fdpo": 2e-6, "expo": 5e-3}


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    """As the experiment makes them, with other policies: those that the script recorded, nudged, and random ones."""
    rng = np.random.default_rng(0)
    ends, steps = [], []
    for name, published in module.LAMS.items():
        experiment = getattr(paper, name)()
        prompts = len(np.atleast_2d(experiment.reference))
        for loss in module.LOSSES:
            for source in SOURCES:
                policies = rng.dirichlet(np.ones(3), (len(published), prompts))
                if source == "authors":
                    for end in experiment.ends:
                        if end.loss == loss:
                            k = np.abs(np.log(published / end.published_lam)).argmin()
                            policies[k] = np.abs(np.atleast_2d(end.policy) - [NUDGES[loss], 0, 0]) + 1e-300
                ends.append(module._rows(experiment, name, source, loss, published, np.log(policies)))
    for loss in module.LOSSES:
        for source in ("authors", "ought"):
            for lam in module.LAMS["interpolation"]:
                policies = rng.dirichlet(np.ones(3), 4)
                rows = {"loss": loss, "published_lam": lam, "step": [0, 1, 10, 100], "source": source}
                steps.append(pd.DataFrame({**rows, **{f"y{y}": policies[:, y] for y in range(3)}}))
    return {"section5": pd.concat(ends, ignore_index=True), "section5_steps": pd.concat(steps, ignore_index=True)}


def test_rows_hold_divergences_of_their_policies(tables: dict[str, pd.DataFrame]) -> None:
    ends = tables["section5"]
    assert len(ends) == 4 * 4 * (2 + 2 * 11)
    for row in ends[ends["source"] != "authors"].iloc[::17].to_dict("records"):
        optimal = np.atleast_2d(getattr(paper, row["experiment"])().optimal)[1 if row["prompt"] == "bad" else 0]
        policy = np.array([row["y0"], row["y1"], row["y2"]])
        assert row["kl_optimal_policy"] == pytest.approx((optimal * np.log(optimal / policy)).sum(), rel=1e-12)
        assert row["kl_policy_optimal"] == pytest.approx((policy * np.log(policy / optimal)).sum(), rel=1e-12)


def test_worst_miss_finds_what_is_off(tables: dict[str, pd.DataFrame]) -> None:
    found = worst_miss(tables["section5"])
    assert found == pytest.approx(NUDGES, rel=1e-6, abs=1e-12)


def test_words_have_the_tables_numbers(tables: dict[str, pd.DataFrame]) -> None:
    result = STUDIES["section5"].show(tables)
    text = " ".join(result.text.split())
    assert "5e-03 (EXPO), 1e-05 (IPO), 3e-04 (DPO) and 2e-06 (f-DPO)" in text
    kl = tables["section5"].set_index(["experiment", "source", "loss", "prompt", "published_lam"])["kl_optimal_policy"]
    lam = {k: module.LAMS["preservation"][k + 5] for k in (-5, 5)}
    good = {
        (source, loss, k): kl["preservation", source, loss, "good", lam[k]]
        for source in SOURCES
        for loss in ("dpo", "expo")
        for k in (-5, 5)
    }
    assert f"DPO's is {good['pairs', 'dpo', -5]:.2g} nats away" in text
    assert f"training stops at {good['ought', 'dpo', -5]:.2g}." in text
    assert f"({good['ought', 'expo', -5]:.4f} against {good['pairs', 'expo', -5]:.4f})" in text
    assert f"DPO ends {good['authors', 'dpo', 5]:.1e} nats" in text
    assert f"without clipping {good['ought', 'dpo', 5]:.1e}" in text
    assert f"DPO's minimiser on the pairs is {kl['preservation', 'pairs', 'dpo', 'bad', lam[-5]]:.2g} nats" in text
    assert list(result.tables) == ["section5", "section5_steps"]
    assert "nan" not in text and "**[ours]**" in text


def test_the_pictures_draw_the_tables(tables: dict[str, pd.DataFrame]) -> None:
    before = dict(mpl.rcParams)
    figures = STUDIES["section5"].draw(tables)
    assert dict(mpl.rcParams) == before and list(figures) == ["section5", "section5_bad", "section5_steps"]
    ends, steps = tables["section5"], tables["section5_steps"]
    for picture, prompt in (("section5", "good"), ("section5_bad", "bad")):
        assert f"{prompt} prompt" in figures[picture].get_suptitle()
        for panel, loss in zip(figures[picture].axes, module.LOSSES, strict=True):
            assert " ".join(panel.get_title().split()) == LOOKS[loss].label and panel.get_xlabel()
            for line, source in zip(panel.lines, SOURCES, strict=True):
                key = {"experiment": "preservation", "source": source, "loss": loss, "prompt": prompt}
                rows = ends[(ends[list(key)] == pd.Series(key)).all(axis=1)]
                np.testing.assert_allclose(line.get_xdata(), np.arange(-5, 6), atol=1e-12)
                np.testing.assert_array_equal(line.get_ydata(), rows["kl_optimal_policy"])
    for panel, loss in zip(figures["section5_steps"].axes, module.LOSSES, strict=True):
        drawn = [tuple(line.get_ydata()) for line in panel.lines if len(line.get_ydata()) == 3]
        key = {"loss": loss, "published_lam": 1e-5, "source": "ought"}
        own = steps[(steps[list(key)] == pd.Series(key)).all(axis=1) & (steps["step"] > 0)]
        assert drawn == [tuple(own[y]) for y in ("y0", "y1", "y2")]
    assert [len(figure.legends[0].get_texts()) for figure in figures.values()] == [len(SOURCES), len(SOURCES), 3 + 1]


def test_the_experiment_makes_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a few epochs: rows, columns, exact optima, progress; and twice the same numbers, of a loss alone too."""
    monkeypatch.setattr(module, "EPOCHS", {name: dict.fromkeys(module.LOSSES, 1) for name in module.LAMS})
    progress: list[float] = []
    study = STUDIES["section5"]
    with unrounded():
        made: dict[str, Any] = study.run(progress=progress.append)
    assert list(made) == ["section5", "section5_steps"]
    assert progress == sorted(progress) and progress[-1] == 1.0 and len(progress) == 8
    ends = made["section5"]
    assert not ends.duplicated(["experiment", "source", "loss", "published_lam", "prompt"]).any()
    assert len(ends) == 4 * 4 * (2 + 2 * 11) and not ends.isna().any(axis=None)
    exact = ea.solve(ea.DPO(1.0), paper.preservation().data).policy
    at = (ends["experiment"] == "preservation") & (ends["loss"] == "dpo") & np.isclose(ends["published_lam"], 1.0)
    written = ends[at & (ends["source"] == "pairs")][["y0", "y1", "y2"]]
    np.testing.assert_allclose(written, exact, rtol=0, atol=1e-12)
    monkeypatch.setattr(module, "LOSSES", {"dpo": module.LOSSES["dpo"]})
    with unrounded():
        again = study.run()
    for name, table in again.items():
        own = made[name][made[name]["loss"] == "dpo"].reset_index(drop=True)
        pd.testing.assert_frame_equal(table, own, check_exact=True)
    assert re.search(r"\?$", study.question)
