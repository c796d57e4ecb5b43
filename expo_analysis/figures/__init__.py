"""Figures of any losses, yours among them: what their exact optima do, at the size of a journal's column.

    import expo_analysis as ea

    ea.figures.interpolation([mine, ea.DPO(1), ea.EXPO(1)]).savefig("interpolation.pdf")

`interpolation`, `simplex`, `preservation`, `convergence`, `training` and `report_card` take losses of every kind (see
`named_losses`), solve them, and return a matplotlib Figure; ``width`` is ``"column"``, ``"page"``, ``"slide"`` or
inches. A figure is never empty: where a loss has no optimum, or fails, it says so in words. `faults` measures any
figure as a journal would.
"""

from pathlib import Path as _Path

from .._lazy import attach as _attach

__getattr__, __dir__ = _attach(__name__, _Path(__file__).with_suffix(".pyi"))
