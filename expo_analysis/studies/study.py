"""What a study is: a question, numbers that answer it, a picture of them, and words in which every number is theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .._errors import did_you_mean
from .._files import replace
from .._progress import Progress, silent
from .settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Tables: TypeAlias = "dict[str, pd.DataFrame]"


@dataclass(frozen=True)
class Shown:
    """A study with its numbers in, ready to be read and written.

    Attributes:
        tables: by file name. figures: by file name, empty where a table says it all.
        text: its section of a README, Markdown, with links to its files.
    """

    tables: Tables
    figures: dict[str, Figure]
    text: str

    @property
    def figure(self) -> Figure:
        """The first picture."""
        return next(iter(self.figures.values()))

    def write(self, directory: Path) -> list[Path]:
        """Write the tables (CSV) and the pictures (PNG and PDF), each file whole or not at all.

        Args:
            directory: must exist.

        Returns:
            The files written.
        """
        return [replace(directory / name, content) for name, content in self.files().items()]

    def files(self) -> dict[str, bytes]:
        """What is written, by file name."""
        from ..figures.saving import laid_out
        from ..figures.style import render

        found = {f"{name}.csv": to_csv(table) for name, table in self.tables.items()}
        for name, figure in self.figures.items():
            with laid_out(figure):
                found |= {f"{name}.{kind}": render(figure, kind) for kind in ("png", "pdf")}
        return found


def to_csv(table: pd.DataFrame) -> bytes:
    """A table as it is written: the same numbers give the same bytes."""
    return table.to_csv(index=False, float_format="%.12g", lineterminator="\n").encode()


@dataclass(frozen=True)
class Study:
    """The registry's entry of a folder, which has the three other parts beside it.

    ``numbers.py``: a frozen dataclass ``Settings``, and ``run(settings, progress) -> tables``, a pure function; if
    there is more to be had for more time, settings ``FULL``. ``figure.py``: ``draw(tables)``, a picture, or pictures by
    file name, which computes nothing; without this file there is no picture. ``words.md.j2``: the section of the README
    as a Jinja template, and ``words.py``: ``facts(tables)``, what the template calls by name.

    Args:
        package: the folder's, as ``__name__``.
        question: in one line.
        place: where in the README: sections come in rising order of it.
        tables: names of the files that ``run`` gives, its own first.
        seconds: of one core, about, without ``FULL``.
        kept: takes so long that `reproduce` shows the tables which are there, and does not run it.

    Example:
        >>> STUDY = Study("expo_analysis.studies.fusion", "Where does the mass go?", 90, ("fusion", "fusion_held"))
        >>> STUDY.name
        'fusion'
    """

    package: str
    question: str
    place: int
    tables: tuple[str, ...]
    seconds: float = 1.0
    kept: bool = field(default=False, kw_only=True)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.package.rpartition(".")[2]

    def part(self, name: str) -> Any:
        """A file of the folder as a module, None where there is none."""
        module = f"{self.package}.{name}"
        return import_module(module) if find_spec(module) else None

    def settings(self, full: bool = False, **changes: Any) -> Settings:
        """The defaults, or what is worth waiting for, with some of them changed.

        Raises:
            ValueError: there is no such setting; or as the setting itself says what it accepts.
        """
        numbers = self.part("numbers")
        start = getattr(numbers, "FULL", None) if full else None
        start = numbers.Settings() if start is None else start
        names = [one.name for one in dataclasses.fields(start)]
        for name in changes:
            if name not in names:
                raise ValueError(f"{name!r} is no setting of {self.name}{did_you_mean(name, names)}: it has {names}")
        return dataclasses.replace(start, **changes)

    def run(self, settings: Settings | None = None, progress: Progress = silent) -> Tables:
        """The numbers: tables by file name.

        Args:
            settings: of this study's ``Settings``; its defaults if not given.
            progress: called with the fraction done, from 0 to 1.
        """
        tables = self.part("numbers").run(self.settings() if settings is None else settings, progress)
        if tuple(tables) != self.tables:
            raise RuntimeError(f"{self.name} must give the tables {list(self.tables)}, got {list(tables)}")
        return dict(tables)

    def read(self, directory: Path | str) -> Tables | None:
        """The tables that an earlier run wrote, None where they are not all there.

        Raises:
            ValueError: a file is something else.
        """
        paths = {name: Path(directory) / f"{name}.csv" for name in self.tables}
        if not all(path.is_file() for path in paths.values()):
            return None
        return {name: self._parsed(path) for name, path in paths.items()}

    def _parsed(self, file: Path | BytesIO) -> pd.DataFrame:
        import pandas as pd

        read = getattr(self.part("numbers"), "read", None) or pd.read_csv
        table: pd.DataFrame = read(file)
        return table

    def draw(self, tables: Tables) -> dict[str, Figure]:
        """The pictures, by file name."""
        figure = self.part("figure")
        if figure is None:
            return {}
        drawn = figure.draw(tables)
        return drawn if isinstance(drawn, dict) else {self.name: drawn}

    def show(self, tables: Tables) -> Shown:
        """Numbers, pictures and words together; pictures and words know only the digits that are written."""
        tables = {name: self._parsed(BytesIO(to_csv(table))) for name, table in tables.items()}
        figures = self.draw(tables)
        return Shown(tables, figures, self.say(tables, figures))

    def say(self, tables: Tables, figures: Collection[str]) -> str:
        """The words alone, as of tables that were read, which link the pictures of these names."""
        from .words import section

        return section(self.package, self.part("words").facts(tables), tables, figures)
