"""The figures, on small tables: what is drawn is what was given, and it is labelled."""

from __future__ import annotations

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from expo_analysis import CATALOGUE, paper
from expo_analysis.desiderata.report.layout import grouped, weight
from expo_analysis.desiderata.report.wording import ORDINARY, SIGNS, WEIGHTS, shown_size
from expo_analysis.desiderata.verdict import DESIDERATA, FAILS, HOLDS
from expo_analysis.figures import faults, look_of
from expo_analysis.figures.cells import written
from expo_analysis.figures.saving import laid_out
from expo_analysis.figures.style import END_POINTS, LOOKS, looks_in, render
from expo_analysis.studies.convergence.figure import convergence
from expo_analysis.studies.interpolation.figure import interpolation
from expo_analysis.studies.preservation.figure import preservation
from expo_analysis.studies.report_card.figure import COLOURS, COLUMN, FAILURES, STRIP, report_table
from expo_analysis.studies.simplex.figure import simplex

from .cards import HOSTILE, cards, many, more_desiderata
from .committed import FOLDER, committed

LAMS = 10.0 ** np.arange(-5, 4)
RESPONSES = ["y1", "y2", "y3"]
OPTIMAL, REFERENCE = [0.6, 0.3, 0.1], [0.4, 0.4, 0.2]


def mixture(share):
    return share * np.array(REFERENCE) + (1 - share) * np.array(OPTIMAL)


@pytest.fixture(scope="module")
def interpolation_frame():
    rows = [
        (source, loss, lam, *triple)
        for source, lams in (("exact", LAMS), ("script", [1e-5, 100.0]))
        for loss in (LOOKS if source == "exact" else ["dpo", "expo"])
        for lam in lams
        for triple in zip(RESPONSES, mixture(lam / (1 + lam)), OPTIMAL, REFERENCE, strict=True)
    ]
    return pd.DataFrame(rows, columns=["source", "loss", "lam", "response", "policy", "optimal", "reference"])


@pytest.fixture(scope="module")
def simplex_frame():
    rows = [(loss, lam, *mixture(lam / (1 + lam))) for loss in LOOKS for lam in LAMS]
    rows += [("optimal", np.nan, *OPTIMAL), ("reference", np.nan, *REFERENCE)]
    return pd.DataFrame(rows, columns=["loss", "lam", *RESPONSES])


def divergence(loss, prompt, log_lam):
    return 0.0 if (loss, prompt) == ("expo", "good") else np.exp(-log_lam - list(LOOKS).index(loss))


@pytest.fixture(scope="module")
def preservation_frame():
    rows = [
        (source, data, prompt, loss, log_lam, divergence(loss, prompt, log_lam), (source, loss) == ("script", "fdpo"))
        for source, data in (("exact", "population"), ("exact", "pairs"), ("script", "pairs"))
        for prompt in paper.PROMPTS
        for loss in LOOKS
        for log_lam in (np.linspace(-5, 5, 11) if source == "exact" else [-5.0, 0.0, 5.0])
        if source == "exact" or loss != "regression_expo"
    ]
    return pd.DataFrame(rows, columns=["source", "data", "prompt", "loss", "log_lam", "kl_optimal_policy", "at_least"])


@pytest.fixture(scope="module")
def convergence_frames():
    frame = pd.DataFrame(
        [
            (loss, lam, 0.1 * lam / (1 + lam) * (k + 1), 0.1 / (1 + lam) * (k + 1))
            for k, loss in enumerate(LOOKS)
            for lam in LAMS
        ],
        columns=["loss", "lam", "from_optimal", "from_reference"],
    )
    slopes = pd.DataFrame(
        [(loss, *fit) for loss in LOOKS for fit in (("optimal", 1e-5, 1e-3, 0.8765), ("reference", 1e1, 1e3, -0.4321))],
        columns=["loss", "target", "lam_min", "lam_max", "slope"],
    )
    slopes.loc[0, "slope"] = -1e-9
    return frame, slopes


@pytest.fixture(scope="module")
def figures(interpolation_frame, simplex_frame, preservation_frame, convergence_frames):
    before = dict(mpl.rcParams)
    made = {
        "interpolation": interpolation(interpolation_frame),
        "simplex": simplex(simplex_frame),
        "preservation": preservation(preservation_frame),
        "convergence": convergence(*convergence_frames),
    }
    assert dict(mpl.rcParams) == before, "drawing must leave matplotlib's settings alone"
    return made


NAMES = ["interpolation", "simplex", "preservation", "convergence"]


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_figures_with_titles_and_labels(figures, name):
    figure = figures[name]
    assert isinstance(figure, Figure)
    assert figure.get_suptitle()
    for axes in panels(figure):
        if name == "simplex":
            assert [axes.get_tlabel(), axes.get_llabel(), axes.get_rlabel()] == ["$y_1$", "$y_2$", "$y_3$"]
        else:
            assert axes.get_title()
    if name != "simplex":  # panels that share an axis say only once what it is
        across, up = ({axes.get_xlabel() for axes in panels(figure)}, {axes.get_ylabel() for axes in panels(figure)})
        assert all("lambda" in text for text in across if text) and any(across) and any(up)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_is_named(figures, name):
    found = " ".join(" ".join(text.split()) for text in texts(figures[name]))
    for look in LOOKS.values():
        assert look.label in found


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cropped(figures, name):
    figure = figures[name]
    with laid_out(figure):  # as in a file, of which nobody looks at the dots
        figure.draw_without_rendering()
    extent = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    slack = 0.01
    assert extent.x0 >= -slack and extent.y0 >= -slack and extent.x1 <= width + slack and extent.y1 <= height + slack


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_that_cuts_a_picture_leaves_its_title(figures, name):
    figure = figures[name]
    figure.draw_without_rendering()
    title = next(text for text in figure.findobj(mpl.text.Text) if text.get_text() == figure.get_suptitle())
    assert figure.get_tightbbox().y1 * figure.dpi >= title.get_window_extent().y1 - 1


@pytest.mark.parametrize("kind", ["png", "pdf"])
@pytest.mark.slow
def test_rendering_again_gives_the_same_bytes(convergence_frames, kind):
    first, second = (render(convergence(*convergence_frames), kind) for _ in range(2))
    assert first == second


def test_pyplot_knows_nothing_of_the_figures(figures):
    assert plt.get_fignums() == []


def test_looks_tell_losses_apart():
    for feature in ("label", "colour", "dashes", "marker"):
        values = [getattr(look, feature) for look in LOOKS.values()]
        assert len({str(value) for value in values}) == len(LOOKS), feature


@pytest.mark.parametrize("name", ["simplex", "preservation", "convergence"])
def test_a_loss_has_one_colour_and_one_line_style_everywhere(figures, name):
    styles = {loss: set() for loss in LOOKS}
    for axes in panels(figures[name]):
        for line in axes.get_lines():
            for loss, look in LOOKS.items():
                if to_hex(line.get_color()) == to_hex(look.colour) and line.get_linestyle() != "None":
                    styles[loss].add(str(line._unscaled_dash_pattern))
    assert all(len(found) == 1 for found in styles.values()), styles
    assert len(set.union(*styles.values())) == len(LOOKS)


def test_losses_come_in_the_order_of_the_looks():
    """And none is left out, whatever its name: what a figure silently leaves out, nobody misses."""
    frame = pd.DataFrame({"loss": ["unheard_of", "kto", "expo", "optimal", "dpo"]})
    assert list(looks_in(frame)) == ["dpo", "expo", "unheard_of", "kto"]


def lines_through(axes, x, y):
    """Lines that go through exactly these points."""
    return [
        line for line in axes.get_lines() if np.array_equal(line.get_xdata(), x) and np.array_equal(line.get_ydata(), y)
    ]


def test_interpolation_draws_the_given_numbers(figures, interpolation_frame):
    by_title = {" ".join(axes.get_title().split()).split(" TV ")[0]: axes for axes in panels(figures["interpolation"])}
    assert len(by_title) == len(LOOKS)
    for (loss, source, _), rows in interpolation_frame.groupby(["loss", "source", "response"]):
        lines = lines_through(by_title[LOOKS[loss].label], rows["lam"], rows["policy"])
        assert len(lines) == 1
        assert (lines[0].get_marker() == "None") == (source == "exact")
    for axes in by_title.values():
        assert axes.get_xscale() == "log"
        stars, pentagons = (
            [float(line.get_ydata()[0]) for line in axes.get_lines() if line.get_marker() == END_POINTS[name].shape]
            for name in ("optimal", "reference")
        )
        assert (stars, pentagons) == (OPTIMAL, REFERENCE)


def test_simplex_draws_the_given_numbers(figures, simplex_frame):
    # the Cartesian points are an affine image of (y1, y2, y3): recover it from the corners, then compare
    for axes in panels(figures["simplex"]):
        corners = axes.plot(np.array([1, 0, 0]), np.array([0, 1, 0]), np.array([0, 0, 1]), alpha=0.0)[0]
        image = np.column_stack([corners.get_xdata(), corners.get_ydata()])
        corners.remove()
        for loss, rows in simplex_frame.groupby("loss"):
            x, y = (rows[RESPONSES].to_numpy() @ image).T
            drawn = [line for line in axes.get_lines() if len(line.get_xdata()) == len(x)]
            assert any(
                np.allclose(line.get_xdata(), x, atol=1e-12) and np.allclose(line.get_ydata(), y, atol=1e-12)
                for line in drawn
            ), loss


def test_preservation_draws_the_given_numbers(figures, preservation_frame):
    grid = panels(figures["preservation"])
    assert len(grid) == 4
    for axes, (data, prompt) in zip(
        grid, [(data, prompt) for data in ("population", "pairs") for prompt in ("good", "bad")], strict=True
    ):
        assert prompt in axes.get_title() and data in axes.get_title()
        assert axes.get_yscale() == "symlog"
        here = preservation_frame[(preservation_frame["data"] == data) & (preservation_frame["prompt"] == prompt)]
        for (_, source), rows in here.groupby(["loss", "source"]):
            lines = lines_through(axes, rows["log_lam"], rows["kl_optimal_policy"])
            assert len(lines) == 1 and (lines[0].get_linestyle() != "None") == (source == "exact")
    written = " ".join(" ".join(text.get_text().split()) for text in figures["preservation"].texts)
    for prompt in ("Good", "Bad"):
        stops = written.partition(f"{prompt} prompt")[2].partition(" prompt,")[0]
        look, at = LOOKS["fdpo"].label, divergence("fdpo", prompt.lower(), -5.0)
        assert f"{look} ≥ {at:.2g} and {at:.2g}" in stops and LOOKS["dpo"].label in stops


def test_convergence_draws_the_given_numbers_and_writes_the_given_slopes(figures, convergence_frames):
    frame, _ = convergence_frames
    figure = figures["convergence"]
    for axes, target in zip(figure.axes, ("optimal", "reference"), strict=True):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        for _, rows in frame.groupby("loss"):
            assert len(lines_through(axes, rows["lam"], rows[f"from_{target}"])) == 1
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "DPO: 0.00, −0.43" in labels  # what rounds to zero has no sign
    assert sum(label.endswith(": +0.88, −0.43") for label in labels) == len(LOOKS) - 1


@pytest.mark.parametrize("name", [pytest.param("kto", marks=pytest.mark.slow), "odpo_const"])
def test_a_loss_without_a_look_of_its_own_is_drawn_too(
    interpolation_frame, simplex_frame, preservation_frame, convergence_frames, name
):
    """Figures of these were empty, or raised."""
    tables = interpolation_frame, simplex_frame, preservation_frame, *convergence_frames
    one, two, three, four, slopes = (t.assign(loss=t["loss"].replace("dpo", name)) for t in tables)
    only = [t[t["loss"].isin([name, "optimal", "reference"])] for t in (one, two, three, four, slopes)]
    drawn = (
        interpolation(only[0]),
        simplex(only[1]),
        preservation(only[2]),
        convergence(*only[3:]),
    )
    for figure in drawn:
        assert faults(figure, [look_of(name).label]) == []


# --------------------------------------------------------------------------------------------------- the report card


def cells(figure):
    """By (x, y) of the middle: the cell's colour, the texts in it, colours of its disc and of the disc's edge."""
    axes = figure.axes[0]
    boxes = {}
    for patch in axes.patches:
        middle = (patch.get_x() + patch.get_width() / 2, patch.get_y() + patch.get_height() / 2)
        boxes[tuple(np.round(middle, 6))] = (to_hex(patch.get_facecolor()), [], [])
    assert len(boxes) == len(axes.patches)

    def cell_at(x, y):
        found = [k for k in boxes if abs(k[0] - x) < COLUMN / 2 and abs(k[1] - y) < 0.01]
        assert len(found) == 1
        return boxes[found[0]]

    for text in axes.texts:
        x, y = text.get_position()
        if y > 0:  # above are the groups' names
            cell_at(x, y)[1].append(text.get_text())
    for discs in axes.collections:
        for (x, y), face, edge in zip(discs.get_offsets(), discs.get_facecolors(), discs.get_edgecolors(), strict=True):
            cell_at(x, y)[2].append((to_hex(face), to_hex(edge)))
    return boxes


@pytest.fixture
def more(monkeypatch):
    for key, desideratum in more_desiderata().items():
        monkeypatch.setitem(DESIDERATA, key, desideratum)


@pytest.mark.parametrize("made", [cards(), many(8), cards("dpo")], ids=["five", "eight", "one"])
def test_report_table_has_a_cell_per_verdict_where_its_labels_are(made):
    frame = made.to_frame()
    figure = report_table(frame)
    axes = figure.axes[0]
    found = cells(figure)
    assert len(found) == len(frame)
    columns = dict(zip([text.get_text() for text in axes.get_xticklabels()], axes.get_xticks(), strict=True))
    rows = dict(zip([text.get_text() for text in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    assert list(columns) == [written(DESIDERATA[key].title) for keys in grouped().values() for key in keys]
    names = {card.name: look_of(card.name).label if card.name in CATALOGUE else card.name for card in made.ranked()}
    assert [" ".join(name.split()) for name in rows] == list(names.values())
    rows = {" ".join(name.split()): y for name, y in rows.items()}
    for row in frame.itertuples():
        colour, texts, discs = found[tuple(np.round((columns[written(row.title)], rows[names[row.loss]]), 6))]
        how = weight(row.severity_share, row.severity_typical)
        fill, ink = FAILURES[how] if row.verdict == FAILS else COLOURS[row.verdict]
        size = (row.severity_share, row.severity_typical, row.severity_unit)
        number = shown_size(*size) if row.verdict == FAILS else ""
        assert (colour, texts) == (fill, [SIGNS[row.verdict], *([number] if number else [])])
        if row.verdict in (HOLDS, FAILS):
            assert discs == [(ink if row.basis == "proven" else "#ffffff", ink)]
        else:
            assert discs == []


@pytest.mark.parametrize("made", [cards(), many(30), cards("dpo")], ids=["five", "thirty", "one"])
def test_nothing_of_the_report_table_is_cropped_or_overlaps(made):
    uncropped(report_table(made.to_frame()))


def test_report_table_has_as_many_columns_as_there_are_desiderata(more):
    figure = report_table(many(6).to_frame())
    assert len(figure.axes[0].get_xticks()) == len(DESIDERATA)
    names = [" ".join(text.get_text().split()) for text in figure.axes[0].texts if text.get_position()[1] < 0]
    assert names == list(grouped())
    uncropped(figure)


def uncropped(figure):
    with laid_out(figure):
        figure.draw_without_rendering()
    extent, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert extent.x0 >= -0.01 and extent.y0 >= -0.01 and extent.x1 <= width + 0.01 and extent.y1 <= height + 0.01
    table, key = figure.axes
    names = [label.get_window_extent() for label in table.get_yticklabels()]
    for above, below in pairwise(names):
        assert above.y0 > below.y1
    for label in names:
        assert label.x0 > 0 and label.x1 < table.get_window_extent().x0
    groups = [text.get_window_extent() for text in table.texts if text.get_position()[1] < 0]
    for left, right in pairwise(groups):
        assert left.x1 < right.x0
    heads = min(label.get_window_extent().y0 for label in table.get_xticklabels())
    assert max(box.y1 for box in groups) < heads
    words = [text.get_window_extent() for text in key.texts]
    assert max(box.y1 for box in words) < table.get_window_extent().y0
    assert max(box.x1 for box in words) < width * figure.dpi
    rows = [patch.get_height() for patch in table.patches if patch.get_x() == 0]
    row = table.get_window_extent().height / (sum(rows) + STRIP) / figure.dpi
    assert row == pytest.approx(1, abs=0.01), "one unit is an inch, however many rows and columns there are"


def contrast(first, second):
    low, high = sorted(
        np.dot([0.2126, 0.7152, 0.0722], [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb])
        for rgb in (mpl.colors.to_rgb(first), mpl.colors.to_rgb(second))
    )
    return (high + 0.05) / (low + 0.05)


def test_verdicts_differ_in_sign_and_failures_in_lightness():
    for fill, ink in [*COLOURS.values(), *FAILURES.values()]:
        assert contrast(fill, ink) >= 4.5  # the number, and a sign without a disc
        assert contrast("white", ink) >= 4.5  # a sign in its disc or ring
    often, seldom, constructed = (contrast("white", fill) for fill, _ in FAILURES.values())
    assert often > 1.3 * seldom > 1.3 * 1.2 * constructed, "the more a failure weighs the darker, in grey too"


def test_the_legend_shows_every_kind_of_cell_and_what_it_means():
    frame = cards("dpo").to_frame()
    key = report_table(frame).axes[1]
    words = "\n".join(text.get_text() for text in key.texts)
    for meaning in (
        "proven by a theorem",
        "found no counterexample",
        "not applicable",
        "cannot tell",
        *WEIGHTS.values(),
    ):
        assert meaning in words
    shown = [text.get_text() for text in key.texts if text.get_text() in SIGNS.values()]
    assert set(shown) == set(SIGNS.values())
    colours = {to_hex(patch.get_facecolor()) for patch in key.patches}
    assert colours == {fill for fill, _ in [*COLOURS.values(), *FAILURES.values()]}
    assert ORDINARY in " ".join(words.split())


def test_the_picture_says_how_it_was_made_where_the_frame_does():
    frame = cards("dpo").to_frame()
    told = [text.get_text() for text in report_table(frame).texts]
    assert "expo_analysis 0.1.0, 2026-01-31, effort 0.5, seed 3" in told
    bare = frame[["loss", "desideratum", "verdict"]]  # as the first versions wrote it
    figure = report_table(bare)
    assert not any("effort" in text.get_text() for text in figure.texts)
    assert all(not discs for _, _, discs in cells(figure).values())


def test_report_table_shows_names_as_they_are_and_missing_verdicts_as_nothing():
    frame = cards("dpo", HOSTILE).to_frame()
    frame = frame[~((frame["loss"] == "dpo") & (frame["desideratum"] == "existence"))]
    figure = report_table(frame)
    assert len(cells(figure)) == 2 * len(DESIDERATA) - 1
    render(figure, "pdf")  # dollars in a name are not mathematics
    assert HOSTILE in [" ".join(text.get_text().split()) for text in figure.axes[0].get_yticklabels()]


# ------------------------------------------------------------------------------------------------ studies as committed


@pytest.mark.parametrize(
    "name",
    [
        "constraints",
        "displacement",
        "estimators",
        "finite_data",
        "fusion",
        "implicit_reward",
        "language_model",
        "misspecified",
        "on_policy",
        "restricted_reversal",
        "reward_aware",
        "section5",
    ],
)
def test_pictures_of_a_study_can_be_read_at_a_pages_width(name):
    """Drawn from the numbers that are kept: one message each, text of 8 pt, nothing above anything else."""
    drawn = committed(name).figures
    assert {f"{picture}.png" for picture in drawn} <= {path.name for path in FOLDER.glob("*.png")}
    for picture, figure in drawn.items():
        assert figure.get_size_inches()[0] == pytest.approx(6.9) and faults(figure) == [], picture
