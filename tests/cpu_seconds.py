"""A pytest plugin (``-p cpu_seconds``) that writes the processor time of each test, and of what it started, as
the property ``cpu`` of its case in junit's file: unlike the clock, it does not depend on what else the machine does."""

import os
from collections.abc import Iterator

import pytest

STARTED = pytest.StashKey[float]()


def seconds() -> float:
    """The processor time of this process and of the children that have ended."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    item.stash[STARTED] = seconds()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    result = yield
    item.user_properties.append(("cpu", seconds() - item.stash[STARTED]))
    return result
