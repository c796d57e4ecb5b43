"""What is false of a psi, an atom or a divergence by little, and its true twin: both sides of what is believed, in
every unit and row."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.desiderata.suspicion.lines import refuted_on_lines, wrong_slopes
from expo_analysis.desiderata.suspicion.psi_statements import refuted_psi
from expo_analysis.desiderata.suspicion.statements import refuted_divergence, refuted_terms
from expo_analysis.losses import PairObjective
from expo_analysis.losses.psi import Logistic
from expo_analysis.losses.stated import Well
from expo_analysis.numerics import exp, log_sigmoid
from expo_analysis.terms import Atom, BernoulliKL, Stated

from .planted.expo import Explicit
from .planted.terms import statistic, written
from .test_soundness import DATUM

UNITS = (1e-3, 1.0, 1e3)


def of_unit(unit: float, **false: Any) -> Stated:
    """-log sigma(m / unit) with what is true of it, but for some."""
    true: dict[str, Any] = {
        **{"slopes": (-1 / unit, 0.0), "convex": True, "self_concordance": 1 / unit, "lower_bound": 0.0},
        **{"decay": (1 / unit, 1 / unit), "log_odds_scale": 1 / unit},
    }
    return Stated(lambda m: -log_sigmoid(m / unit), **{**true, **false})


# ----------------------------------------------------------------------------------------------------------------- psis


@pytest.mark.parametrize("unit", UNITS)
def test_what_is_false_of_a_psi_by_little(unit: float) -> None:
    """The nearest that can be told: M and log-odds to a hundredth or less, limits and rates to a third, and each end
    by itself."""
    assert refuted_psi(of_unit(unit)) == ""
    for false, message in (
        ({"self_concordance": 0.99 / unit}, "self_concordance"),
        ({"slopes": (-0.999 / unit, 0.0)}, "slopes|decay"),  # to which the slope comes nearer with a gap
        ({"slopes": (-1 / unit, -1e-6 / unit)}, "slopes"),
        ({"slopes": (-1.2 / unit, 0.0)}, "slopes"),
        ({"slopes": (-1 / unit, 0.2 / unit)}, "slopes"),
        ({"slopes": (-math.inf, 0.0)}, "slopes"),
        ({"slopes": (-1 / unit, math.inf)}, "slopes"),
        ({"lower_bound": 1e-6}, "lower_bound"),
        ({"decay": (1.4 / unit, 1 / unit)}, "decay"),
        ({"decay": (1 / unit, 1.4 / unit)}, "decay"),
        ({"decay": (1 / unit, math.inf)}, "decay = inf"),
        ({"log_odds_scale": 1.0001 / unit}, "log_odds_scale"),
        ({"log_odds_scale": 0.9999 / unit}, "log_odds_scale"),
    ):
        assert re.search(message, refuted_psi(of_unit(unit, **false))), false
    for true in (
        *({"self_concordance": 1.01 / unit}, {"self_concordance": 40 / unit}, {"lower_bound": -1e-6}),
        *({"decay": (0.9 / unit, 0.1 / unit)}, {"decay": (None, 0.0)}, {"lower_bound": -math.inf}),
    ):
        assert refuted_psi(of_unit(unit, **true)) == "", true


def test_slopes_far_out() -> None:
    """Either end by itself: a limit that is another one, or has another sign, or is finite where slopes grow."""
    line = Stated(lambda m: 2.2 * m, slopes=(2.2, 2.2), convex=True, lower_bound=-math.inf)
    assert refuted_psi(line) == ""
    assert "slopes = (2.2, 0)" in refuted_psi(Stated(line.function, slopes=(2.2, 0.0)))
    assert "slopes = (0, 2.2)" in refuted_psi(Stated(line.function, slopes=(0.0, 2.2)))

    def slowly(m: Any) -> Any:  # whose slope, 1/log(10 + m) and less, is 0.04 at 1e10, and on its way to 0
        return torch.log(10 + abs(m)) if isinstance(m, torch.Tensor) else np.log(10 + abs(m))

    assert refuted_psi(Stated(lambda m: m / slowly(m), slopes=(0.0, 0.0))) == ""
    assert "slopes" in refuted_psi(Stated(lambda m: 0.3 * m, slopes=(0.0, 0.0)))
    grows = Stated(lambda m: (1 + m**2) ** 0.55, slopes=(-math.inf, math.inf), convex=True)
    assert refuted_psi(grows) == ""
    assert "slopes" in refuted_psi(Stated(grows.function, slopes=(math.inf, math.inf)))
    assert "slopes" in refuted_psi(Stated(grows.function, slopes=(-math.inf, -math.inf)))


def test_a_straight_end_has_the_slope_that_it_is_said_to_have() -> None:
    """A hinge's slope is -1, not -1.05: as near as limits are told, and not where an end is said to be straight."""

    def hinge(m: Any) -> Any:
        return (1 - m).clip(min=0)

    assert refuted_psi(Stated(hinge, slopes=(-1.0, 0.0), convex=True, decay=(math.inf, math.inf))) == ""
    assert refuted_psi(Stated(hinge, slopes=(-1.05, 0.0))) == ""
    assert "decay = inf is false" in refuted_psi(Stated(hinge, slopes=(-1.05, 0.0), decay=(math.inf, None)))


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_psi_that_falls_far_out_only(side: float) -> None:
    """Below its bound at a million and nowhere near; a bound that holds, and one that holds at the start alone."""
    falling = Stated(lambda m: exp(-side * m * 1e-5), lower_bound=1e-3)
    assert "lower_bound = 0.001 is false" in refuted_psi(falling)
    assert refuted_psi(Stated(falling.function, lower_bound=0.0)) == ""


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("at", [3.0, 70.0, 2000.0])
def test_a_concave_kink_is_seen_wherever_it_is(side: float, at: float) -> None:
    """min(m, at) is concave, max(m, at) is convex."""

    def kinked(m: Any) -> Any:
        return -((at - side * m).clip(min=0))

    assert "convex is false" in refuted_psi(Stated(kinked, convex=True))
    assert refuted_psi(Stated(lambda m: -kinked(m), convex=True)) == ""


def test_a_psi_that_bends_by_little() -> None:
    for size in (1e-5, 1e-2, 1.0):
        assert "convex is false" in refuted_psi(Stated(lambda m, s=size: m - s * m**2, convex=True))
        assert refuted_psi(Stated(lambda m, s=size: m + s * m**2, convex=True)) == ""
    assert refuted_psi(Stated(lambda m: m - 1e-5 * m**2)) == "", "of which nothing is said"


class Rises(Logistic):
    """-log sigma(m) less a little of -log sigma(-m), or more of it, and what it says of its way."""

    way = 0

    @property
    def decreasing(self) -> bool:
        return self.way < 0

    @property
    def increasing(self) -> bool:
        return self.way > 0


def test_a_psi_that_rises_by_little() -> None:
    class Says(Rises):
        way = -1

    class SaysUp(Rises):
        way = 1

    assert "never increases" in refuted_psi(Says(1.0, 1e-6)) and refuted_psi(Says(1.0, 0.0)) == ""
    assert "never decreases" in refuted_psi(SaysUp(1e-6, 1.0)) and refuted_psi(SaysUp(0.0, 1.0)) == ""


@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0])
def test_curvature_that_jumps(size: float) -> None:
    """Huber's loss has no M, though its curvature has no slope at any point; and log cosh has 2."""

    def huber(m: Any) -> Any:
        inside = m.clip(-1.0, 1.0)
        return size * (inside**2 / 2 + (abs(m) - 1).clip(min=0))

    for m in (1.0, 10.0, 50.0):
        false = Stated(huber, slopes=(-size, size), convex=True, self_concordance=m, lower_bound=0.0)
        assert re.search("self_concordance|exact to rounding", refuted_psi(false)), m
    assert refuted_psi(Stated(huber, slopes=(-size, size), convex=True, lower_bound=0.0)) == ""

    def log_cosh(m: Any) -> Any:
        return -size * (log_sigmoid(2 * m) + log_sigmoid(-2 * m)) / 2

    true = Stated(log_cosh, slopes=(-size, size), convex=True, self_concordance=2.0, lower_bound=0.0)
    assert refuted_psi(true) == ""
    false = Stated(log_cosh, slopes=(-size, size), convex=True, self_concordance=1.98, lower_bound=0.0)
    assert "self_concordance = 1.98 is false" in refuted_psi(false)


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_curvature_that_jumps_once(side: float, turn: float) -> None:
    """Up or down, on either side: to a curvature of 2 from 1 there is no way at any rate."""

    def bent(m: Any) -> Any:
        return m**2 / 2 + (side * (m - turn * 3.0)).clip(min=0) ** 2 / 2

    for m in (0.5, 3.0):
        assert re.search("self_concordance", refuted_psi(Stated(bent, convex=True, self_concordance=m))), m
    assert refuted_psi(Stated(bent, convex=True, lower_bound=0.0)) == ""


def test_margins_at_a_maximum_are_no_log_odds() -> None:
    """log sigma(m) has p psi'(m) = (1-p) psi'(-m) at the log-odds too, where its mean is largest."""
    assert "least elsewhere" in refuted_psi(Stated(log_sigmoid, log_odds_scale=1.0))
    assert refuted_psi(Stated(lambda m: -log_sigmoid(m), log_odds_scale=1.0)) == ""
    assert refuted_psi(Stated(lambda m: exp(-m), log_odds_scale=2.0)) == ""
    assert "log_odds_scale is false" in refuted_psi(Stated(lambda m: exp(-m), log_odds_scale=1.999))


def test_pieces_to_a_billionth() -> None:
    """A maximum of three lines, one of which is off by little at either of its two numbers."""
    lines = ((-2.0, 1.0), (0.5, 0.0), (3.0, -20.0))

    def largest(m: Any) -> Any:
        first = (-2 * m + 1) + (2.5 * m - 1).clip(min=0)
        return first + (2.5 * m - 20).clip(min=0)

    assert refuted_psi(Stated(largest, convex=True, linear_pieces=lines)) == ""
    for k in range(3):
        for off in ((1e-6, 0.0), (0.0, 1e-6), (0.0, 0.5)):
            moved = [list(line) for line in lines]
            moved[k][0] += off[0]
            moved[k][1] += off[1]
            false = Stated(largest, convex=True, linear_pieces=tuple(map(tuple, moved)))  # type: ignore[arg-type]
            assert "linear_pieces is false" in refuted_psi(false), (k, off)


class ByHand(Logistic):
    """-log sigma(m) whose statements are multiplied by numbers."""

    first, second, size = 1.0, 1.0, 1.0

    def derivatives(self, m: Any) -> Any:
        first, second = super().derivatives(m)
        return self.first * first, self.second * second

    def slope_size(self, m: Any) -> Any:
        return self.size * super().slope_size(m)


@pytest.mark.parametrize(
    ("what", "factor", "message"),
    [
        *(("first", factor, "derivatives") for factor in (1 + 1e-5, 1 - 1e-5)),
        *(("second", factor, "derivatives") for factor in (1 + 1e-5, 1 - 1e-5)),
        ("size", 0.999, "slope_size"),
        *((what, 1.0, "") for what in ("first", "second", "size")),
        *((what, 1 + 1e-9, "") for what in ("first", "second")),
        ("size", 2.0, ""),
    ],
)
def test_derivatives_to_a_hundred_thousandth(what: str, factor: float, message: str) -> None:
    class Off(ByHand):
        pass

    setattr(Off, what, factor)
    found = refuted_psi(Off())
    assert message in found if message else found == ""


@pytest.mark.parametrize(
    ("well", "message"),
    [
        (lambda below, above: Well(0.0, 0.99 * below, 1.001 * above), ""),
        (lambda below, above: Well(0.0, 1.01 * below, above), "not so deep"),
        (lambda below, above: Well(0.0, below, 0.99 * above), "faster"),
        (lambda below, above: Well(0.1, 0.0, above), "not so deep"),
        (lambda below, above: Well(-0.1, 0.0, above), "not so deep"),
    ],
)
def test_a_well_to_a_hundredth(well: Any, message: str) -> None:
    """KL(1/2, sigma(m)) by its own numbers: at 1 from below, and at 0, where it is m^2/8, from above."""
    psi = BernoulliKL(0.0)
    values = psi.value(np.array([0.0, 1.0, 1e-3]))
    below, above = values[1] - values[0], (values[2] - values[0]) / 1e-6

    class Off(BernoulliKL):
        @property
        def well(self) -> Well:
            return Well(*well(below, above))

    found = refuted_psi(Off(0.0))
    assert message in found if message else found == ""


ROWS = np.array([0.1, 0.5, 0.9])


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_single_false_row_is_seen(row: int) -> None:
    """Parameters that are data are rows; what is false of one of them is false."""
    one = np.eye(3)[row]

    class Off(Logistic):
        what = ""

        @property
        def self_concordance(self) -> Any:
            return np.ones(3) - 0.5 * one if self.what == "self_concordance" else super().self_concordance

        @property
        def lower_bound(self) -> Any:
            low = np.asarray(super().lower_bound) * np.ones(3)
            return low + one if self.what == "lower_bound" else low

        @property
        def slopes(self) -> Any:
            low, high = super().slopes
            return (low - one, high + 0 * one) if self.what == "slopes" else (low, high)

    assert refuted_psi(Off(ROWS, 1 - ROWS)) == ""
    for name in ("self_concordance", "lower_bound", "slopes"):

        class Named(Off):
            what = name

        assert name in refuted_psi(Named(ROWS, 1 - ROWS)), name


# ------------------------------------------------------------------------------------------------ values against slopes


@dataclass(frozen=True)
class Step(Explicit):
    """EXPO whose values jump at a log-ratio, or at a mass of the pair, of which its gradient knows nothing."""

    at: float = 3.3
    size: float = 0.1
    of: str = "ratio"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        h = logp_w - logp_l
        x = h if self.of == "ratio" else torch.logaddexp(logp_w, logp_l)
        return -log_sigmoid(h) + self.size * (x > self.at)


@pytest.mark.parametrize("at", [-7.77, 49.5, -50.5, -900.0])
@pytest.mark.parametrize("lam", [1.0, 0.1, 30.0])
def test_a_jump_is_told_with_its_place_and_size(at: float, lam: float) -> None:
    found = wrong_slopes(Step(lam, at), lam, 0)
    assert found is not None and found.at == pytest.approx(at, abs=1e-3) and found.jump == pytest.approx(0.1, rel=1e-3)
    assert found.near == (abs(at) * max(1.0, lam) <= 50) and not found.small and "log-ratio" in found.where
    assert f"{found.at:.3g}" in found.where


def test_a_jump_far_out_in_units_of_lambda() -> None:
    """At 50,000 for lambda = 0.01, half way to the end of what is looked at, in units of 1/lambda; beyond it none."""
    found = wrong_slopes(Step(0.01, 50_000.0), 0.01, 0)
    assert found is not None and found.at == pytest.approx(50_000, rel=1e-6) and not found.near
    assert wrong_slopes(Step(1.0, 1001.0), 1.0, 0) is None


@pytest.mark.parametrize(("size", "small"), [(3e-8, True), (-3e-8, True), (5e-6, False), (-5e-6, False)])
def test_a_tiny_jump_is_small(size: float, small: bool) -> None:
    """A tenth of a millionth of a value of 30 or so, where slopes are straight; nearer by what bends hides as much."""
    found = wrong_slopes(Step(1.0, -30.2, size), 1.0, 0)
    assert found is not None and found.small is small and found.jump == pytest.approx(abs(size), rel=0.01)


@pytest.mark.parametrize(("size", "seen"), [(3e-11, True), (1e-13, False)])
def test_a_jump_of_a_rounding_is_none(size: float, seen: bool) -> None:
    """Where the loss is flat and near 0, so that nothing else hides it."""
    assert (wrong_slopes(Step(1.0, 900.2, size), 1.0, 0) is not None) == seen


@pytest.mark.parametrize("mass", [-0.5, -3.0, -30.0, -500.0])
def test_a_jump_in_the_mass_of_a_pair_is_told(mass: float) -> None:
    """Of two responses that have all mass nothing is seen: it takes the lines along which theirs falls."""
    found = wrong_slopes(Step(1.0, mass, 0.1, "mass"), 1.0, 0)
    assert found is not None and "mass" in found.where
    assert found.at == pytest.approx(mass, abs=0.02) and found.jump == pytest.approx(0.1, rel=1e-2)
    assert wrong_slopes(Step(1.0, 0.5, 0.1, "mass"), 1.0, 0) is None


@dataclass(frozen=True)
class WrongBetween(Explicit):
    """EXPO plus |h|/2 - ..., whose slopes are wrong by a part between two log-ratios."""

    low: float = 0.0
    high: float = 1.0
    part: float = 1e-3

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        h = logp_w - logp_l
        loss = -log_sigmoid(h)
        if not isinstance(h, torch.Tensor):
            return loss
        wrong = ((h > self.low) & (h < self.high)) * self.part
        return loss + wrong.detach() * (loss - loss.detach())


@pytest.mark.parametrize(("low", "high"), [(-300.0, -200.0), (-48.0, -41.0), (-80.0, -75.0)])
@pytest.mark.parametrize("part", [1e-3, -1e-3])
def test_slopes_that_are_wrong_on_a_stretch_are_told_with_the_place(low: float, high: float, part: float) -> None:
    found = wrong_slopes(WrongBetween(1.0, low, high, part), 1.0, 0)
    assert found is not None and low - 0.1 <= found.at <= high + 0.1 and not found.jump
    assert found.near == (high > -50) and found.part == pytest.approx(1e-3, rel=0.05)
    assert wrong_slopes(WrongBetween(1.0, low, high, 0.0), 1.0, 0) is None


@dataclass(frozen=True)
class ByRatio(Explicit):
    """log of 1 + u_l/u_w, whose exponential ends at a cap: that of numerics, or one whose backward goes on alike.

    At lambda = 1e-6 the log-ratios that matter are a million, and the values are those of the cap.
    """

    how: str = "numerics"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        fall = logp_l - logp_w
        if self.how == "numerics":
            return (1 + ea.numerics.exp(fall)).log()
        if self.how == "stacked":
            return ea.numerics.exp(torch.stack([fall, torch.zeros_like(fall)], -1)).sum(-1).log()
        return (1 + (fall + (fall.clamp(max=677.0) - fall).detach()).exp()).log()


@pytest.mark.parametrize(("how", "wrong"), [("numerics", False), ("stacked", False), ("by hand", True)])
def test_a_cap_of_numerics_is_no_wrong_slope_and_any_other_is(how: str, wrong: bool) -> None:
    for lam in (1.0, 1e-6):
        assert (wrong_slopes(ByRatio(lam, how), lam, 0) is not None) == wrong


# ------------------------------------------------------------------------------------------------ convexity along lines


@dataclass(frozen=True)
class Tilted(PairObjective):
    """A share of log sigma(h), which is concave, beside lam times a divergence; no claim but that it is convex."""

    share: float = 0.1
    divergence: Any = field(default_factory=ea.divergences.ForwardKL)
    name = "tilted"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        return self.share * log_sigmoid(logp_w - logp_l)

    @property
    def regulariser(self) -> Any:
        return self.divergence


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_a_divergence_counts_for_convexity_by_its_own_curvature(turn: int) -> None:
    """KL(pi_ref || pi) has the curvature pi_0 pi_1, log sigma(h) minus that: convex if and only if lam is above the
    share, whatever the reference."""
    for lam, convex in ((0.1001, True), (0.0999, False), (1e3, True)):
        assert (refuted_on_lines(Tilted(lam), lam, turn, None) == "") == convex, lam
    told = refuted_on_lines(Tilted(0.05), 0.05, turn, None)
    assert told.startswith("convex = True is false") and abs(float(told.split()[-1])) < 0.2, "nearest to 0"


# ------------------------------------------------------------------------------------------------ atoms and divergences


@dataclass(frozen=True)
class Nearly(Atom):
    """(1 + slant) log pi + bend pi, said to be what it is not."""

    slant: float = 0.0
    bend: float = 0.0
    first: float = 1.0
    says_plain: bool = True

    @property
    def plain(self) -> bool:  # type: ignore[override]
        return self.says_plain

    @property
    def curvature(self) -> Any:  # type: ignore[override]
        return "concave"

    def value(self, logp: Any, ref_logp: Any) -> Any:
        return (1 + self.slant) * logp + self.bend * exp(logp)

    def derivatives(self, logp: Any, ref_logp: Any) -> Any:
        return self.first * (1 + self.slant) + self.bend * np.exp(logp), self.bend * np.exp(logp)


@pytest.mark.parametrize(
    ("atom", "message"),
    [
        (Nearly("w", slant=1e-6), "log pi"),
        (Nearly("w", slant=1e-13), ""),
        (Nearly("w", slant=0.5, says_plain=False), ""),
        (Nearly("w", first=1 + 1e-5, says_plain=False), "derivatives"),
        (Nearly("w", first=1 - 1e-5, says_plain=False), "derivatives"),
        (Nearly("w", bend=3.0, says_plain=False), "concave"),
        (Nearly("w"), ""),
    ],
)
def test_what_is_false_of_an_atom_by_little(atom: Atom, message: str) -> None:
    """Of log pi + 3 pi the middle of some chord in the logits is below its ends: 3 pi bends up as log pi bends down."""
    found = refuted_terms(written(1.0, lambda lam: Logistic()(statistic(atom))), DATUM)
    assert message in found if message else found == ""


class Off:
    """Mixed into a divergence: statements that are off by a factor."""

    first, second, sign = 1.0, 1.0, 1.0

    def derivatives(self, log_policy: Any, log_reference: Any) -> Any:
        first, second = super().derivatives(log_policy, log_reference)  # type: ignore[misc]
        return self.first * first, self.second * second

    def mu(self, log_u: Any) -> Any:
        return self.sign * super().mu(log_u)  # type: ignore[misc]


@pytest.mark.parametrize("base", [ea.divergences.ForwardKL, ea.divergences.ReverseKL, ea.divergences.JensenShannon])
@pytest.mark.parametrize(
    ("false", "inverted", "message"),
    [
        ({}, False, ""),
        ({}, True, ""),
        ({"first": 1 + 1e-4}, False, "derivatives"),
        ({"first": 1 - 1e-4}, False, "derivatives"),
        ({"second": 0.99}, False, "derivatives"),
        ({"second": 1.01}, False, "derivatives"),
        ({"first": 1 + 1e-13}, False, ""),
        ({"sign": -1.0}, True, "mu of"),
        ({"sign": 1.001}, True, "descend of"),
        ({"sign": 0.999}, True, "descend of"),
        ({"sign": 1 + 1e-12}, True, ""),
    ],
)
def test_what_is_false_of_a_divergence_by_little(base: type, false: Any, inverted: bool, message: str) -> None:
    """But for the second derivative of the forward KL, which is 0, and any factor of it."""
    found = refuted_divergence(type("Made", (Off, base), false)(), inverted)
    if base is ea.divergences.ForwardKL and "second" in false:
        message = ""
    assert message in found if message else found == ""


@pytest.mark.parametrize(("m", "false"), [(0.9, True), (1.0, False), (1.1, False)])
def test_the_self_concordance_of_the_forward_kl_is_1(m: float, false: bool) -> None:
    made = type("Made", (ea.divergences.ForwardKL,), {"self_concordance": m})()
    assert ("self_concordance = 0.9" in refuted_divergence(made, False)) == false


def test_reverse_kl_is_not_convex_in_the_logits() -> None:
    class Says(ea.divergences.ReverseKL):
        convex_in_logits = True

    assert "convex in the logits" in refuted_divergence(Says(), False)
