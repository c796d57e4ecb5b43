"""Numbers as they are written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expo_analysis._rounding import all_rounded, rounded, significant


@given(st.floats(-1e300, 1e300), st.integers(1, 15))
def test_significant_digits(x: float, digits: int) -> None:
    """As near as that many digits allow, unchanged by a second time, and odd."""
    found = significant(x, digits)
    assert abs(found - x) <= 0.5000001 * 10.0 ** (1 - digits) * abs(x)
    assert significant(found, digits) == found
    assert significant(-x, digits) == -found


def test_a_table_is_rounded_in_its_floats_only() -> None:
    table = pd.DataFrame(
        {
            "x": [1.23456789012345, -1e-12, np.inf, np.nan, 123456789.123],
            "count": [1, 2, 3, 4, 10**12 + 1],
            "name": ["0.123456789012345"] * 5,
        }
    )
    found = rounded(table)
    assert found["x"].tolist()[:3] == [1.2345679, 0.0, np.inf]
    assert np.isnan(found["x"][3]) and found["x"][4] == 123456790.0
    assert not np.signbit(found["x"][1])
    pd.testing.assert_frame_equal(found[["count", "name"]], table[["count", "name"]])
    exact = rounded(table, decimals=13, digits=None)
    assert exact["x"].tolist()[:2] == [1.2345678901234, -1e-12]
    assert exact["x"][4] == 123456789.123
    assert table["x"][0] == 1.23456789012345  # the given one is as it was
    assert all_rounded({"a": table})["a"].equals(found)


@pytest.mark.parametrize(("decimals", "digits"), [(10, 8), (13, None), (2, 3)])
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5))
def test_rounding_again_changes_nothing(decimals: int, digits: int | None, values: list[float]) -> None:
    once = rounded(pd.DataFrame({"x": values}), decimals, digits)
    pd.testing.assert_frame_equal(rounded(once, decimals, digits), once)
