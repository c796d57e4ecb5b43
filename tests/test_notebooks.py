"""The notebooks run from top to bottom in a fresh kernel, and show what is committed with them."""

from __future__ import annotations

import ast
import asyncio
import base64
import contextlib
import io
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.figure
import matplotlib.image
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from traitlets import default

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 1_500_000
MOST_WORK = 300.0
"""Seconds of CPU after which a notebook is given up: however busy the machine is, it gets no more of them for that."""
LONGEST_REST = 120.0
"""Seconds of wall time without any work after which it is given up."""

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
TOLERANCE = 1e-6
PICTURE_TOLERANCE = 0.002
"""Root mean square difference of pixels, of a range of 1: room for another machine's arithmetic, and no more."""


class ThisInterpreter(AsyncKernelManager):
    """Starts kernels of the interpreter that runs the tests, whatever other kernels are installed."""

    @default("kernel_spec_manager")
    def _no_directories(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])


def execute(path: Path, most_work: float = MOST_WORK, longest_rest: float = LONGEST_REST) -> Any:
    """The notebook after a run from an empty kernel of this interpreter, in its own folder as by ``make notebooks``."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        kernel_manager_class=ThisInterpreter,
        record_timing=False,
        resources={"metadata": {"path": str(FOLDER)}},
    )
    asyncio.run(_watched(client, most_work, longest_rest))
    return notebook


async def _watched(client: NotebookClient, most_work: float, longest_rest: float) -> None:
    """Run to the end, unless the kernel works for too long, or waits for too long with nothing to wait for."""
    run = asyncio.ensure_future(client.async_execute())
    work = rest = 0.0
    while not run.done():
        await asyncio.wait({run}, timeout=1.0)
        before, work = work, max(work, _cpu_seconds(client))
        rest = 0.0 if work > before else rest + 1.0
        if work > most_work or rest > longest_rest:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            raise TimeoutError(f"given up after {work:.0f} s of work, of which the last {rest:.0f} s were none")
    await run


def _cpu_seconds(client: NotebookClient) -> float:
    """Of the kernel and the processes that it has started; 0 before it is there, and when it has gone."""
    kernel = getattr(client.km, "provisioner", None)
    if kernel is None or kernel.pid is None:
        return 0.0
    try:
        family = [psutil.Process(kernel.pid), *psutil.Process(kernel.pid).children(recursive=True)]
        return float(sum(sum(one.cpu_times()[:4]) for one in family))
    except psutil.Error:
        return 0.0


ROUNDING = "rounding"
"""Tag of cells whose picture shows rounding errors, which differ from one processor to the next."""


@pytest.fixture(scope="module", params=[pytest.param(path, id=path.stem) for path in NOTEBOOKS])
def committed(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Any]]:
    yield request.param, nbformat.read(request.param, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any) -> list[tuple[str, str]]:
    """(kind, content) of everything that a cell shows; neighbouring pieces of printed text count as one."""
    found: list[tuple[str, str]] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            if output.name == "stderr":  # such as matplotlib's note that it builds its font cache
                continue
            if found and found[-1][0] == "printed":
                found[-1] = ("printed", found[-1][1] + output.text)
            else:
                found.append(("printed", output.text))
        elif output.output_type == "error":
            found.append(("error", f"{output.ename}: {output.evalue}"))
        else:
            found += [(kind, output.data[kind]) for kind in ("text/plain", "image/png") if kind in output.data]
    return found


def same_text(one: str, other: str) -> bool:
    """Whether words agree exactly, apart from spacing, and numbers to `TOLERANCE`."""
    words = [NUMBER.sub("#", text).split() for text in (one, other)]
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (one, other)]
    return words[0] == words[1] and np.allclose(*numbers, rtol=TOLERANCE, atol=TOLERANCE)


def same_picture(one: str, other: str) -> bool:
    first, second = (matplotlib.image.imread(io.BytesIO(base64.b64decode(picture))) for picture in (one, other))
    return first.shape == second.shape and float(np.sqrt(np.mean((first - second) ** 2))) <= PICTURE_TOLERANCE


def same(one: tuple[str, str], other: tuple[str, str]) -> bool:
    if one[0] != other[0]:
        return False
    return same_picture(one[1], other[1]) if one[0] == "image/png" else same_text(one[1], other[1])


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS[:2]] == ["01_losses", "02_exact_optima"]


@pytest.mark.slow
def test_runs_and_shows_what_is_committed(committed: tuple[Path, Any]) -> None:
    path, notebook = committed
    fresh = execute(path)  # raises on an error in a cell
    for old, new in zip(code_cells(notebook), code_cells(fresh), strict=True):
        where = f"{path.name}, cell {old.id!r}"
        assert old.execution_count == new.execution_count, f"{where}: not committed as run from top to bottom"
        before, after = shown(old), shown(new)
        assert [kind for kind, _ in before] == [kind for kind, _ in after], f"{where}: shows other things when run"
        for (kind, was), (_, now) in zip(before, after, strict=True):
            if kind == "image/png" and ROUNDING in old.metadata.get("tags", []):
                continue
            detail = "" if kind == "image/png" else f"\ncommitted:\n{was}\nfresh:\n{now}"
            assert same((kind, was), (kind, now)), f"{where}: {kind} is stale; run `make notebooks`{detail}"


def test_the_first_runs_here_and_says_what_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the slow test finds in minutes, less pictures: its code without a kernel, and the text that it shows."""
    monkeypatch.chdir(FOLDER)
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    scope: dict[str, Any] = {"__name__": "__main__"}
    compared = 0
    as_in_a_kernel = pd.option_context("display.max_columns", 20, "display.width", 80)
    with matplotlib.rc_context(), warnings.catch_warnings(), as_in_a_kernel:
        warnings.simplefilter("ignore")
        monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
        for cell in code_cells(notebook):
            lines = [line for line in cell.source.splitlines() if not line.startswith("%")]
            tree = ast.parse("\n".join(lines))
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) and not lines[-1].endswith(";") else None
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(tree, cell.id, "exec"), scope)
                value = None if last is None else eval(compile(ast.Expression(last.value), cell.id, "eval"), scope)
            now = [("printed", printed.getvalue())] * bool(printed.getvalue())
            now += [("text/plain", repr(value))] * (value is not None)
            was = [(kind, text) for kind, text in shown(cell) if kind != "image/png" and not text.startswith("<Figure")]
            assert len(was) == len(now) and all(map(same, was, now)), f"cell {cell.id!r}: {was} and {now}"
            compared += len(now)
    assert compared >= 8


def test_the_kernel_is_the_one_that_runs_the_tests(tmp_path: Path) -> None:
    """Otherwise the notebooks would be tested against some other installation of the package."""
    path = tmp_path / "where.ipynb"
    cell = nbformat.v4.new_code_cell("import sys, os\nprint(sys.executable, os.getcwd(), sep='\\n')")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    ((_, text),) = shown(execute(path).cells[0])
    interpreter, folder = text.splitlines()
    assert interpreter == sys.executable
    assert FOLDER.samefile(folder)


@pytest.mark.parametrize(
    ("source", "limits"),
    [("while True:\n    pass", {"most_work": 3.0}), ("import time\ntime.sleep(600)", {"longest_rest": 2.0})],
    ids=["never done", "asleep"],
)
@pytest.mark.slow
def test_a_notebook_that_hangs_is_given_up(tmp_path: Path, source: str, limits: dict[str, float]) -> None:
    """By the work it does, or does not do, and not by the time that passes, of which a busy machine takes more."""
    path = tmp_path / "hangs.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), path)
    with pytest.raises(TimeoutError, match="given up after"):
        execute(path, **limits)


def test_is_clean(committed: tuple[Path, Any]) -> None:
    """Valid, small, and without anything that belongs to the machine or the moment of its last run."""
    path, notebook = committed
    nbformat.validate(notebook)
    assert path.stat().st_size < LARGEST
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert cell.source.strip()
        assert not set(cell.metadata) & {"execution", "ExecuteTime", "collapsed", "scrolled"}
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            text = output.get("text", "") + "".join(str(v) for k, v in output.get("data", {}).items() if "text" in k)
            assert not re.search(r"(?<![\w.])/(home|root|tmp|usr|Users|work)/|\bat 0x[0-9a-f]+", text)


def test_every_figure_is_followed_by_what_to_see(committed: tuple[Path, Any]) -> None:
    _, notebook = committed
    for cell, following in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code" and any(kind == "image/png" for kind, _ in shown(cell)):
            while following.cell_type == "code":  # a table that belongs to the figure may stand between
                following = notebook.cells[notebook.cells.index(following) + 1]
            assert "*What to see.*" in following.source


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("y1  0.600000\ny2  0.4", "y1 0.6000004\ny2 0.4", True),
        ("error bound 2e-14", "error bound 7.5e-13", True),
        ("y1 0.60000", "y1 0.60001", False),
        ("[0.6 0.4]", "[0.4 0.6]", False),
        ("0.5", "-0.5", False),
        ("0.5", "nan", False),
        ("optimal 0.5", "not_unique 0.5", False),
        ("0.5 0.5", "0.5", False),
        ("1e-3", "1e-4", False),
    ],
)
def test_texts_are_compared_by_their_numbers(one: str, other: str, equal: bool) -> None:
    assert same_text(one, other) is equal


def test_pictures_are_compared_by_what_is_drawn() -> None:
    """Another line is another picture; another rendering of the same pixels is not."""

    def picture(slope: float, compression: int = 6) -> str:
        figure = matplotlib.figure.Figure(figsize=(4, 3))
        figure.add_subplot().plot([0, 1], [0, slope], label=f"{slope}")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", pil_kwargs={"compress_level": compression})
        return base64.b64encode(buffer.getvalue()).decode()

    assert picture(1.0) != picture(1.0, compression=1)
    assert same_picture(picture(1.0), picture(1.0, compression=1))
    assert not same_picture(picture(1.0), picture(1.1))
