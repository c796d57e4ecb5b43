"""The museum: every bug is noticed without being told which, and no fixed twin raises an alarm."""

from __future__ import annotations

import pytest

from expo_analysis.testing import assert_equal_losses, assert_sound

from .museum import MUSEUM, Exhibit

QUICK = ("IPO's sign", "log-odds in low precision", "a constant that does not cancel", "mean over the wrong axis")
each_exhibit = pytest.mark.parametrize(
    "exhibit", [pytest.param(x, id=x.title, marks=() if x.title in QUICK else pytest.mark.slow) for x in MUSEUM]
)


@each_exhibit
def test_the_bug_is_noticed(exhibit: Exhibit) -> None:
    try:
        assert_sound(exhibit.bug, **exhibit.options)
        assert_equal_losses(exhibit.bug, exhibit.right)
    except (AssertionError, ValueError, TypeError) as told:
        assert "\n" not in str(told)
        return
    pytest.fail("nothing was noticed")


@each_exhibit
def test_the_fixed_twin_is_what_it_should_be(exhibit: Exhibit) -> None:
    assert_sound(exhibit.fixed, **exhibit.options)
    assert_equal_losses(exhibit.fixed, exhibit.right)
