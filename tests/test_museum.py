"""The museum: every bug is noticed without being told which, and no fixed twin raises an alarm."""

from __future__ import annotations

import pytest

from expo_analysis.testing import assert_equal_losses, assert_sound

from .museum import MUSEUM, Exhibit


@pytest.mark.parametrize("exhibit", MUSEUM, ids=lambda exhibit: exhibit.title)
def test_the_bug_is_noticed(exhibit: Exhibit) -> None:
    try:
        assert_sound(exhibit.bug, **exhibit.options)
        assert_equal_losses(exhibit.bug, exhibit.right)
    except (AssertionError, ValueError, TypeError) as told:
        assert "\n" not in str(told)
        return
    pytest.fail("nothing was noticed")


@pytest.mark.parametrize("exhibit", MUSEUM, ids=lambda exhibit: exhibit.title)
def test_the_fixed_twin_is_what_it_should_be(exhibit: Exhibit) -> None:
    assert_sound(exhibit.fixed, **exhibit.options)
    assert_equal_losses(exhibit.fixed, exhibit.right)
