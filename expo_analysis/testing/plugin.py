"""The pytest plugin: ``pytest --preference-loss my_loss.py:MyLoss`` makes one test of each question of the report card.

    pytest --preference-loss my_loss.py:MyLoss --preference-questions preservation,existence

Every question is a test of its own, so that pytest-xdist may share them out; ``-m preference_loss`` selects them. A
question that does not apply, or cannot be told, is skipped with the reason; one that fails shows code that reproduces
it. The first test asks whether the loss is sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..losses import Objective


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("preference losses", "report cards of preference losses")
    what = "audit this loss: a name in the catalogue, FILE.py:NAME or MODULE:NAME; repeatable"
    group.addoption("--preference-loss", action="append", default=[], metavar="LOSS", help=what)
    group.addoption(
        "--preference-questions", default="", metavar="KEYS", help="only these questions, separated by commas"
    )
    name = "which argument of a function is lambda, where its name does not say so"
    group.addoption("--preference-beta-name", default=None, metavar="NAME", help=name)
    group.addoption("--preference-effort", type=float, default=0.1, metavar="NUMBER", help="as of expo-analysis audit")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "preference_loss: a question of the report card, asked of a loss")


def pytest_collection(session: pytest.Session) -> None:
    if session.config.getoption("--preference-loss"):
        session.config.pluginmanager.register(_Collector(session.config), "preference-losses-collector")


class _Collector:
    """Adds the tests of the losses after those that were collected."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> Iterator[None]:
        for name in self.config.getoption("--preference-loss"):
            items += LossFile.from_parent(session, path=Path(str(name).partition(":")[0]), name=name).collect()
        yield


class LossFile(pytest.File):
    """The questions that are asked of one loss."""

    def collect(self) -> list[pytest.Item]:
        from ..desiderata import DESIDERATA

        stated = str(self.config.getoption("--preference-questions"))
        asked = [key for key in stated.split(",") if key] or ["sound", *DESIDERATA]
        unknown = [key for key in asked if key != "sound" and key not in DESIDERATA]
        if unknown:
            raise pytest.UsageError(
                f"--preference-questions must be among sound, {', '.join(DESIDERATA)}; got {unknown[0]}"
            )
        try:
            self.loss()
        except (TypeError, ValueError, OSError) as error:  # once, and not for every question
            raise pytest.UsageError(f"--preference-loss {self.name}: {error}") from None
        return [Question.from_parent(self, name=key) for key in asked]

    def loss(self) -> Objective:
        """The loss that was named."""
        from .as_loss import as_loss

        beta_name = self.config.getoption("--preference-beta-name")
        return as_loss(self.name, **({} if beta_name is None else {"beta_name": beta_name}))


class Question(pytest.Item):
    """One question."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.add_marker("preference_loss")

    def runtest(self) -> None:
        from ..desiderata import audit
        from ..desiderata.verdict import CANNOT_TELL, NOT_APPLICABLE
        from .assertions import assert_sound, assert_verdict

        assert isinstance(self.parent, LossFile)
        loss = self.parent.loss()
        if self.name == "sound":
            assert_sound(loss)
            return
        verdict = audit(loss, only=self.name, effort=self.config.getoption("--preference-effort")).verdicts[self.name]
        if verdict.decision in (CANNOT_TELL, NOT_APPLICABLE):
            pytest.skip(f"{verdict.decision}: {verdict.summary}")
        assert_verdict(verdict)

    def repr_failure(self, excinfo: Any, style: Any = None) -> str:
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        assert self.parent is not None
        return self.path, None, f"{self.parent.name}: {self.name}"
