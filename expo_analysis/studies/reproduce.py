"""All studies at once: every picture beside its numbers, and a README that shows them."""

from __future__ import annotations

from pathlib import Path

from .._files import made, replace
from .._progress import Progress, silent
from .registry import STUDIES
from .running import run_all
from .words import environment, wrapped

__all__ = ["reproduce"]


def reproduce(directory: Path, progress: Progress = silent, *, full: bool = False) -> list[Path]:
    """Write every study's figures (PNG and PDF), its numbers (CSV), and a README.md that shows them.

    Files of the same names are replaced, each one only when its successor is complete. Running again writes the same
    CSV files byte for byte. Studies that take hours are not run: their tables are shown where an earlier run has left
    them, and drawn again.

    Args:
        directory: made if it does not exist.
        progress: called with the fraction done, from 0 to 1, and what is being done; each study is a task besides.
        full: as many steps, seeds and settings as are worth waiting for.

    Returns:
        The files written.

    Raises:
        NotADirectoryError: ``directory`` is a file.
        ValueError: a table that a study is to be shown from is something else.
    """
    directory = made(directory)
    kept = {name: study.read(directory) for name, study in STUDIES.items() if study.kept}
    shown = {name: study for name, study in STUDIES.items() if not study.kept or kept[name] is not None}
    sections = run_all(shown, {name: own for name, own in kept.items() if own is not None}, full, progress)
    written = [replace(directory / name, content) for files, _ in sections for name, content in files.items()]
    written.append(replace(directory / "README.md", readme([text for _, text in sections]).encode()))
    progress(1.0, what="done")
    return written


def readme(sections: list[str]) -> str:
    """The page: what it is, and the sections."""
    template = environment(__package__).get_template("readme.md.j2")
    return "\n\n".join([wrapped(template.render()), *sections]) + "\n"
