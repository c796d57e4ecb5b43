"""Figures of any losses: the numbers in them, and what an editor would measure."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

import expo_analysis as ea
from expo_analysis.divergences import kl
from expo_analysis.figures import kinds, looks
from expo_analysis.figures.colour import VISIONS, as_seen, contrast, difference
from expo_analysis.figures.kinds import frontier
from expo_analysis.figures.kinds.convergence import slopes_of
from expo_analysis.figures.saving import laid_out
from expo_analysis.figures.sheet import spread
from expo_analysis.figures.style import render, size_of
from expo_analysis.testing.strategies import bandits, count_bandits

from .cards import HOSTILE, cards, many

FEW = [0.01, 0.1, 1.0, 10.0, 100.0]
REFERENCE, OPTIMAL = np.array([0.4, 0.4, 0.2]), np.array([0.6, 0.3, 0.1])
PAPER = ea.Bandit(REFERENCE, OPTIMAL)


@dataclass(frozen=True)
class Mine(ea.PairObjective):
    """A user's own logistic loss, without a reference."""

    name = "my_loss"

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return ea.numerics.softplus(-self.lam * (logp_w - logp_l))


@dataclass(frozen=True)
class Raises(ea.PairObjective):
    name = "raises $a$\n very " + "long" * 20

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        raise RuntimeError("no $luck$ today\n" * 40)


@dataclass(frozen=True)
class Undefined(ea.PairObjective):
    name = "$"

    def pair_loss(self, logp_w, logp_l, ref_logp_w, ref_logp_l):
        return (logp_w - logp_l) * float("nan")


def function_loss(logp_w, logp_l, beta):
    return torch.nn.functional.softplus(-beta * (logp_w - logp_l))


def drawn(kind: str, losses, **options) -> Figure:
    given = {"steps": 60} if kind == "training" else {"lams": FEW}
    return getattr(ea.figures, kind)(losses, **{**given, **options})


def lines_of(axes, name: str) -> list:
    colour = mpl.colors.to_hex(looks.look_of(name).colour)
    return [
        line
        for line in axes.get_lines()
        if mpl.colors.to_hex(line.get_color()) == colour and line.get_linestyle() != "None"
    ]


# ------------------------------------------------------------------------------------------------- what is measured


KINDS = ["interpolation", "simplex", "preservation", "convergence", "training"]
BESIDE = [Mine, ea.DPO(1), ea.IPO(1), "expo", "kto", "aot"]
"""A loss of one's own, losses with optima, one without a minimiser, and one that cannot be solved at all."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_legible_at_column_width_and_shows_every_loss(kind):
    before = dict(mpl.rcParams)
    figure = drawn(kind, BESIDE)
    assert dict(mpl.rcParams) == before and not plt.get_fignums()
    assert figure.get_size_inches()[0] == pytest.approx(3.3)
    labels = [one.look.label for one in ea.figures.named_losses(BESIDE)]
    assert len(set(labels)) == 6 and labels[0] == "my_loss"
    assert ea.figures.faults(figure, labels) == []
    said = " ".join(" ".join(text.get_text().split()) for text in figure.texts)
    assert "KTO: no minimiser" in said and "AOT: cannot be" in said


@pytest.mark.slow
@pytest.mark.parametrize("width", ["page", "slide", 5.5])
@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_legible_at_other_widths(kind, width):
    labels = [one.look.label for one in ea.figures.named_losses(BESIDE)]
    figure = drawn(kind, BESIDE, width=width)
    assert ea.figures.faults(figure, labels, smallest=size_of(width).text) == []


@pytest.mark.parametrize(
    ("made", "width"),
    [(cards(), "column"), (cards("dpo"), "column"), (many(30), "page")],
    ids=["five", "one", "thirty, and a page"],
)
def test_report_cards_are_legible_and_have_every_verdict(made, width):
    frame = made.to_frame()
    if width == "page":  # of many losses, which stand in several blocks, some questions: five are asked all
        frame = frame[frame["desideratum"].isin(list(ea.DESIDERATA)[::3])]
        made = frame
    figure = ea.figures.report_card(made, width=width)
    assert ea.figures.faults(figure) == []
    cells = [patch for axes in figure.axes[:-1] for patch in axes.patches]
    assert len(cells) == len(frame)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    signs = {"holds": "✓", "fails": "✗", "cannot tell": "?", "not applicable": "–"}
    found = [text.get_text() for axes in figure.axes[:-1] for text in axes.texts]
    for decision, sign in signs.items():
        assert found.count(sign) == (frame["verdict"] == decision).sum()
    flat = " ".join(" ".join(text.split()) for text in texts)
    for name in frame["loss"].unique():
        if name != HOSTILE:
            assert looks.look_of(name).label in flat


def test_a_card_is_made_where_there_is_none():
    figure = ea.figures.report_card({"mine": Mine(1.0)}, only="first_step", effort=0.05)
    assert ea.figures.faults(figure, ["mine"]) == []
    assert [text.get_text() for text in figure.axes[0].texts][:3:2] == ["a good reference", "✗"]


@pytest.fixture(scope="module")
def sound():
    """A figure without faults, to be spoilt."""
    figure = drawn("interpolation", ["dpo", "expo"])
    assert ea.figures.faults(figure, ["DPO"]) == []
    return pickle.dumps(figure)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda figure: figure.axes[0].title.set_fontsize(7), "text of 7 pt"),
        (lambda figure: figure.text(0.02, 0.98, "above the title", va="top"), "text above text"),
        (lambda figure: figure.text(0.95, 0.5, "beyond the edge"), "text beyond the canvas: 'beyond the edge'"),
        (lambda figure: figure.axes[0].title.set_color("#cc78bc"), "text with contrast 3.0"),
        (lambda figure: lines_of(figure.axes[0], "dpo")[0].set_color("#de8f05"), "a line with contrast 2.6"),
        (lambda figure: lines_of(figure.axes[0], "dpo")[0].set_alpha(0.3), "a line with contrast 1.7"),
        (lambda figure: figure.add_axes((0.4, 0.9, 0.1, 0.05)), "a panel without anything in it"),
        (lambda figure: figure.axes[0].text(1.0, 0.4, "on the path"), "a line through text: 'on the path'"),
        (lambda figure: figure.axes[0].title.set_text("another"), "a loss without its label: 'DPO'"),
        (lambda figure: figure.axes[0].plot(1e30, 0.5, "k", marker="o", clip_on=False), "a marker beyond the canvas"),
        (
            lambda figure: [line.set_data([], []) for line in lines_of(figure.axes[0], "dpo")],
            "a loss without an artist in its colour: 'DPO'",
        ),
    ],
)
def test_each_fault_is_found(sound, spoil, words):
    figure = pickle.loads(sound)
    limits = figure.axes[0].get_xlim()
    spoil(figure)
    figure.axes[0].set_xlim(limits)
    assert any(words in fault for fault in ea.figures.faults(figure, ["DPO"]))


def test_turned_texts_overlap_where_their_letters_do():
    figure = Figure(figsize=(3, 3))
    for x in (0.2, 0.35):
        figure.text(x, 0.2, "a slanted line of text", rotation=50, fontsize=9)
    assert ea.figures.faults(figure) == []
    figure.text(0.23, 0.2, "another slanted line", rotation=50, fontsize=9)
    assert [fault for fault in ea.figures.faults(figure) if "text above text" in fault]


# ----------------------------------------------------------------------------------------------------- the numbers


def test_interpolation_draws_the_exact_optimum():
    """EXPO with two responses has the optimum (pi* + lambda pi_ref)/(1 + lambda)."""
    reference, optimal = np.array([0.3, 0.7]), np.array([0.8, 0.2])
    figure = drawn("interpolation", "expo", bandit=ea.Bandit(reference, optimal))
    lams = np.array(FEW)[:, None]
    expected = (optimal + lams * reference) / (1 + lams)
    for line, policy in zip(lines_of(figure.axes[0], "expo"), expected.T, strict=True):
        np.testing.assert_allclose(line.get_ydata(), policy, atol=1e-12)
    assert "TV 0.00" in figure.axes[0].get_title()


def test_the_total_variation_above_a_panel_is_that_of_the_smallest_lambda():
    """DPO's optimum is proportional to pi_ref pi*^(1/lambda)."""
    lam = 0.5
    policy = REFERENCE * OPTIMAL ** (1 / lam)
    policy /= policy.sum()
    figure = ea.figures.interpolation("dpo", lams=[lam, 10.0])
    assert figure.axes[0].get_title() == f"DPO\nTV {np.abs(policy - OPTIMAL).sum() / 2:.2f}"


def test_simplex_adds_up_what_is_beyond_three_responses():
    bandit = ea.Bandit([0.1, 0.3, 0.2, 0.25, 0.15], [0.4, 0.1, 0.2, 0.2, 0.1])
    figure = drawn("simplex", "dpo", bandit=bandit)
    axes = figure.axes[0]
    path = ea.solve_path(ea.DPO(1), bandit, FEW).policies
    corners = np.column_stack([path[:, 0], path[:, 1], path[:, 2:].sum(axis=1)])
    unit = axes.plot([1, 0, 0], [0, 1, 0], [0, 0, 1])[0]
    image = np.column_stack([unit.get_xdata(), unit.get_ydata()])
    unit.remove()
    (line,) = lines_of(axes, "dpo")
    np.testing.assert_allclose(np.column_stack([line.get_xdata(), line.get_ydata()]), corners @ image, atol=1e-12)
    assert [axes.get_tlabel(), axes.get_llabel(), axes.get_rlabel()] == ["$y_1$", "$y_2$", "rest"]


def test_preservation_of_one_prompt_makes_the_good_one():
    figure = drawn("preservation", ["dpo", "expo"], bandit=PAPER)
    good, bad = figure.axes
    (expo,) = lines_of(good, "expo")
    assert (expo.get_ydata() == 0.0).all()
    for axes, reference in ((good, OPTIMAL), (bad, REFERENCE)):
        logits = np.log(reference) + np.log(OPTIMAL) / np.array(FEW)[:, None]
        policies = torch.log_softmax(torch.from_numpy(logits), dim=-1).numpy()
        (line,) = lines_of(axes, "dpo")
        np.testing.assert_allclose(line.get_ydata(), kl(np.log(OPTIMAL), policies), rtol=1e-9)


def test_slopes_are_those_of_the_theory():
    """EXPO's errors are O(lambda) and O(1/lambda); DPO ends elsewhere (docs/theory.md)."""
    figure = ea.figures.convergence(["dpo", "expo"])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["DPO: 0.00, −1.00", "EXPO, compositional: +1.00, −1.00"]


def test_a_slope_is_that_of_a_power_and_nothing_is_fitted_to_rounding():
    lams = np.geomspace(1e-4, 1e4, 41)
    frame = pd.DataFrame(
        {"loss": "x", "lam": lams, "attained": True, "from_optimal": 3 * lams**0.7, "from_reference": 1e-15}
    )
    slopes = slopes_of(frame).set_index("target")["slope"]
    assert slopes["optimal"] == pytest.approx(0.7) and np.isnan(slopes["reference"])


def test_training_starts_at_the_reference_and_marks_the_exact_optimum():
    figure = ea.figures.training(["expo"], lam=1.0, steps=400)
    axes = figure.axes[0]
    (line,) = lines_of(axes, "expo")
    assert line.get_ydata()[0] == pytest.approx(kl(np.log(OPTIMAL), np.log(REFERENCE)))
    optimum = ea.solve(ea.EXPO(1.0), PAPER)
    exact = kl(np.log(OPTIMAL), optimum.log_policy)
    marks = [float(m.get_ydata()[0]) for m in axes.get_lines() if m.get_linestyle() == "None"]
    assert marks == [pytest.approx(exact)]
    assert line.get_ydata()[-1] == pytest.approx(exact, rel=1e-3)


def test_pi_star_of_counts_is_their_fit():
    counts = np.array([[0, 12, 9], [4, 0, 8], [2, 3, 0]])
    bandit = ea.Bandit.from_counts(REFERENCE, counts)
    figure = drawn("interpolation", "expo", bandit=bandit)
    stars = [float(line.get_ydata()[0]) for line in figure.axes[0].get_lines() if line.get_marker() == "*"]
    np.testing.assert_allclose(stars, ea.solve(ea.BradleyTerry(1.0), bandit).policy, atol=1e-9)
    assert any("Bradley–Terry fit to the counts" in text.get_text() for text in figure.texts)


def test_what_is_not_attained_is_thin_and_said():
    """On separable counts DPO has no minimiser, and EXPO has one for every lambda."""
    bandit = ea.Bandit.from_counts([0.5, 0.5], [[0, 3], [0, 0]])
    figure = drawn("interpolation", ["dpo", "expo"], bandit=bandit)
    thick = {
        name: {line.get_linewidth() for line in lines_of(axes, name)}
        for name, axes in zip(("dpo", "expo"), figure.axes, strict=True)
    }
    assert max(thick["dpo"]) == pytest.approx(min(thick["expo"]) / 2)
    said = " ".join(text.get_text() for text in figure.texts)
    assert "DPO: no minimiser (thin: the limit)" in said and "has no fit" in said


# -------------------------------------------------------------------------------------------------------- any loss


POOL = [*(name for name in ea.CATALOGUE if name != "qpo"), Raises, Undefined, Mine, function_loss]


def check_any(kind, which, bandit, width):
    losses = [POOL[k] for k in which]
    figure = drawn(kind, losses, bandit=bandit, width=width)
    assert figure.axes
    assert ea.figures.faults(figure, [one.look.label for one in ea.figures.named_losses(losses)]) == []


any_case = given(
    st.sampled_from(KINDS),
    st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=3, unique=True),
    st.one_of(bandits(5), count_bandits(5)),
    st.sampled_from(["column", "page"]),
)


@any_case
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_figure_is_empty_or_raises(kind, which, bandit, width):
    check_any(kind, which, bandit, width)


@pytest.mark.slow
@any_case
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_figure_is_empty_or_raises_whatever_is_drawn(kind, which, bandit, width):
    check_any(kind, which, bandit, width)


def test_losses_come_in_every_form(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("def loss(logp_w, logp_l, beta):\n    return -beta * (logp_w - logp_l)\n")
    given = [ea.DPO(2.0), ea.EXPO, "simpo", function_loss, f"{file}:loss", ea.DPO(1, label_smoothing=0.1)]
    found = ea.figures.named_losses(given, 0.5)
    assert [one.look.label for one in found] == [
        *("DPO", "EXPO, compositional", "SimPO", "function_loss", "loss", "DPO (label_smoothing=0.1)"),
    ]
    assert {float(one.objective.lam) for one in found} == {0.5}
    assert [one.look.label for one in ea.figures.named_losses({"ours": Mine(1.0), "theirs": "dpo"})] == [
        "ours",
        "theirs",
    ]


def test_lambda_tells_apart_what_else_is_the_same():
    found = ea.figures.named_losses([ea.DPO(0.1), ea.DPO(1.0)], apart=True)
    assert [one.look.label for one in found] == ["DPO", "DPO (λ = 1)"]
    assert found[0].look.colour != found[1].look.colour


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ea.figures.interpolation([]), "losses must have at least one loss"),
        (lambda: ea.figures.interpolation(3), "losses must be losses, or a list of them; got int"),
        (lambda: ea.figures.interpolation([3]), "losses must be losses, functions or names"),
        (lambda: ea.figures.interpolation([ea.DPO(1), ea.DPO(1)]), "DPO is given twice"),
        (lambda: ea.figures.interpolation([ea.DPO(1), ea.DPO(2)]), "losses must differ by more than lam"),
        (lambda: ea.figures.interpolation("dppo"), "did you mean 'dpo'"),
        (lambda: ea.figures.interpolation(ea.QPO), "QPO cannot be made with lam alone"),
        (lambda: ea.figures.interpolation("dpo", bandit=[1]), "bandit must be a Bandit, got list"),
        (lambda: ea.figures.interpolation("dpo", lams=[1.0]), "lams must be at least two different positive"),
        (lambda: ea.figures.interpolation("dpo", lams=[-1.0, 1]), "lams must be at least two different positive"),
        (lambda: ea.figures.interpolation("dpo", lams="x"), "lams must be positive numbers"),
        (lambda: ea.figures.interpolation("dpo", prompt=1), "prompt must be a number from 0 to 0, got 1"),
        (lambda: ea.figures.interpolation("dpo", width="wide"), "width must be one of"),
        (lambda: ea.figures.interpolation("dpo", width=1.0), "3 to 20 inches, got 1.0"),
        (lambda: ea.figures.training("dpo", steps=1), "steps"),
        (lambda: ea.figures.training("dpo", lr=-1.0), "lr"),
        (lambda: ea.figures.report_card(pd.DataFrame()), "a report card's table; it has no"),
        (lambda: ea.figures.report_card(cards("dpo"), only="nothing"), "only must name questions of the card"),
        (lambda: ea.figures.faults(3), "figure must be a matplotlib Figure, got int"),
        (lambda: render(Figure(), "jpg"), "kind must be one of"),
    ],
)
def test_bad_input_is_told_in_a_sentence(call, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------------ looks


def test_colours_are_seen_by_everybody_and_in_print():
    every = {name: looks.look_of(name) for name in ea.CATALOGUE}
    for name, look in every.items():
        assert contrast(look.colour) >= 4.5, name
    assert len({(look.colour, str(look.dashes), look.marker) for look in every.values()}) == len(every)
    named = list(looks.LOOKS.values())
    for vision in (None, "protanopia", "deuteranopia", "tritanopia"):
        for first, second in combinations(named, 2):
            assert difference(first.colour, second.colour, vision) >= 10, (vision, first.label, second.label)
    for first, second in combinations(named, 2):  # in grey, by the line and by the marker
        assert first.dashes != second.dashes and first.marker != second.marker


def test_a_loss_of_ones_own_keeps_its_look(monkeypatch):
    monkeypatch.setattr(looks, "_own", {})
    first = [looks.look_of(f"own_{k}") for k in range(40)]
    assert [looks.look_of(f"own_{k}") for k in range(40)] == first
    monkeypatch.setattr(looks, "_own", {})
    assert looks.look_of("own_0") == first[0]  # in another process: nothing but the name decides
    everything = [*first, *(looks.look_of(name) for name in ea.CATALOGUE)]
    assert len({(look.colour, str(look.dashes), look.marker) for look in everything}) == len(everything)
    assert len({look.colour for look in first[:6]}) == 6 and not {look.colour for look in first} & {
        look.colour for look in looks.LOOKS.values()
    }
    assert all(contrast(look.colour) >= 4.5 for look in first)


def test_a_look_can_be_chosen(monkeypatch):
    monkeypatch.setattr(looks, "_own", {})
    assert looks.set_look("my_loss", label="ours", colour="navy", dashes="-", marker="o").colour == "#000080"
    figure = drawn("convergence", [Mine(1.0)])
    assert [text.get_text().split(":")[0] for text in figure.legends[0].get_texts()] == ["ours"]
    assert {line.get_color() for line in figure.axes[1].get_lines()} == {"#000080"}
    for bad, words in (({"colour": "yellow"}, "contrast of at least 4.5"), ({"dashes": 3}, "dashes must be")):
        with pytest.raises(ValueError, match=words):
            looks.set_look("my_loss", **bad)
    with pytest.raises(ValueError, match="has its look for all figures"):
        looks.set_look("dpo", colour="navy")


def test_colour_vision_is_that_of_another_implementation():
    """colorspacious 1.1.2, "sRGB1+CVD" with severity 100 and "CIELab"."""
    red = {
        "protanopia": [0.426608, 0.372654, 0],
        "deuteranopia": [0.64006, 0.565807, 0],
        "tritanopia": [1, 0, 0.058386],
    }
    for vision, expected in red.items():
        np.testing.assert_allclose(as_seen([1.0, 0.0, 0.0], vision), expected, atol=1e-3)
    ours = [0.64, 0.035, 0.137]
    np.testing.assert_allclose(as_seen(ours, "deuteranopia"), [0.400772, 0.35827, 0.112122], atol=1e-3)
    lab = np.array([53.231, 80.114, 67.22]) - [34.235, 56.899, 31.06]
    assert difference((1.0, 0.0, 0.0), tuple(ours)) == pytest.approx(np.linalg.norm(lab), abs=0.05)
    for vision in VISIONS:  # greys stay as they are
        np.testing.assert_allclose(as_seen([0.3, 0.3, 0.3], vision), 0.3, atol=1e-4)
    with pytest.raises(ValueError, match="vision must be one of"):
        as_seen(ours, "x")


def test_places_are_apart_and_in_order():
    wanted = [0.5, 0.52, 0.1, 0.98]
    found = spread(wanted, 0.1, 0.0, 1.0)
    assert np.argsort(found).tolist() == np.argsort(wanted).tolist()
    assert np.diff(np.sort(found)).min() >= 0.1 - 1e-12 and found[2] == 0.1 and max(found) <= 1.0


# ------------------------------------------------------------------------------------------------------------ files


def test_files_have_their_fonts_and_the_same_bytes_each_time():
    figure = drawn("convergence", ["dpo", "expo"])
    pdf, svg = render(figure, "pdf"), render(figure, "svg")
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"/Title" in pdf
    assert b">DPO: 0.00, " in svg.replace(b"\xe2\x88\x92", b"-") and b"<title>How fast the optimum reaches" in svg
    assert (pdf, svg) == (render(drawn("convergence", ["dpo", "expo"]), "pdf"), render(figure, "svg"))
    assert kinds.__doc__


def test_a_figure_is_laid_out_once_for_all_its_files_and_anew_after_a_change():
    """The layout is that of the PNG, whatever is written first; matplotlib's is another one for each kind."""
    calls = []

    class Counted(ConstrainedLayoutEngine):
        def execute(self, fig):
            calls.append(fig.dpi)
            return super().execute(fig)

    def made():
        figure = Figure(figsize=(3, 2), layout=Counted())
        figure.subplots(1, 2)[0].set_ylabel("a label", fontsize=7.3)
        return figure

    figure = made()
    with laid_out(figure):
        pdf, png = render(figure, "pdf"), render(figure, "png")
    assert calls == [200] and (pdf, png) == (render(made(), "pdf"), render(made(), "png"))
    places = [axes.get_position().bounds for axes in figure.axes]
    figure.axes[0].set_ylabel("two\nlines", fontsize=30)
    assert render(figure, "png") != png and figure.axes[0].get_position().x0 > places[0][0] + 0.05
    assert isinstance(figure.get_layout_engine(), Counted) and figure.dpi == made().dpi
    with mpl.rc_context({"figure.constrained_layout.use": True}):
        assert render(made(), "pdf") == pdf


def test_fonts_in_a_pdf_have_no_rules_for_setting_text():
    figure = Figure(figsize=(1, 1))
    figure.text(0.1, 0.5, "fi", family="DejaVu Sans")
    with mpl.rc_context({"pdf.compression": 0, "pdf.fonttype": 42}):
        bare, usual = render(figure, "pdf"), io.BytesIO()
        figure.savefig(usual, format="pdf")
    for table in (b"GDEF", b"GPOS", b"GSUB"):
        assert table not in bare and table in usual.getvalue()
    assert b"glyf" in bare and len(bare) < len(usual.getvalue())


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.4), (0.3, 9.0), (1.5, 60.0), (2e-5, 3.0)])
def test_an_axis_of_what_was_paid_has_numbers_all_along(low, high):
    runs = pd.DataFrame({"lam": [0.1, 1.0], "x": [low, high], "y": [1.0, 0.0]})
    runs = runs.assign(x_standard_error=0.01 * low, y_standard_error=0.1)
    figure = frontier.draw([(looks.look_of("dpo"), runs)], "x", "y", size_of("page"), "", ("x", "y"))
    axis = figure.axes[0].xaxis
    written = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
    ticks = np.sort([tick for tick, text in written if text.get_text()])
    assert ticks[0] < 10 * low and ticks[-1] > high / 10 and (ticks[1:] / ticks[:-1] < 11).all()
    assert 2 <= len(ticks) <= 8
