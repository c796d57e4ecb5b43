"""The optima of two losses on the same problems, and how far apart they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._types import Floats, Mask
from ..bandit import Bandit
from ..desiderata.falsify.cases import Measure
from ..desiderata.subject import Optima, Subject

LAMS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Lambdas at which losses are compared by default."""

ROUNDING = 1e-9
"""Optima that are no farther apart than this, beyond their error bounds, are called the same: in TV."""

UNPROVEN = 1e-5
"""The same, where an error bound is not known: what a search leaves."""

COLUMNS = ("lam", "problems", "share", "tv", "tv_worst", "nats", "nats_worst", "proven", "one_exists")
"""The columns of a comparison; see `Apart.to_frame`."""


@dataclass(frozen=True)
class Apart:
    """Two losses' optima: L lambdas by P problems.

    tv: total variation, nan where either has no single optimum. nats: KL(first | second), the same. excess: TV beyond
    what error bounds and rounding explain. proven: whether both bounds are known. one_exists: whether exactly one of
    the losses has a minimiser.
    """

    lams: Floats
    tv: Floats
    nats: Floats
    excess: Floats
    proven: Mask
    one_exists: Mask

    def to_frame(self) -> pd.DataFrame:
        """One row per lambda, with the columns `COLUMNS`.

        problems: how many were compared. share: of these, on which the optima differ. tv, nats: the median where they
        do, tv_worst and nats_worst the largest; 0 where they never do. proven: the share of problems on which both
        optima have proven bounds. one_exists: on how many more only one of the losses has a minimiser.
        """
        rows = []
        for k, lam in enumerate(self.lams):
            compared = np.isfinite(self.tv[k])
            apart = compared & (self.excess[k] > 0)
            sizes = {name: getattr(self, name)[k][apart] for name in ("tv", "nats")}
            row: dict[str, Any] = {"lam": float(lam), "problems": int(compared.sum())}
            row["share"] = float(apart.sum() / compared.sum()) if compared.any() else float("nan")
            for name, found in sizes.items():
                row |= {
                    name: float(np.median(found)) if len(found) else 0.0,
                    f"{name}_worst": float(found.max(initial=0.0)),
                }
            row["proven"] = float(self.proven[k][compared].mean()) if compared.any() else float("nan")
            row["one_exists"] = int(self.one_exists[k].sum())
            rows.append(row)
        return pd.DataFrame(rows, columns=list(COLUMNS))


@dataclass(frozen=True)
class Two:
    """Two losses as the judges of a report card see them."""

    first: Subject
    second: Subject
    names: tuple[str, str]

    def apart(self, bandit: Bandit, lams: Any, other_lams: Any = None) -> Apart:
        """The optima of both on every prompt of a bandit; the second's at other lambdas, where they are given."""
        one = self.first.optima(bandit, lams)
        other = self.second.optima(bandit, lams if other_lams is None else other_lams)
        return between(one, other)

    def measure(self) -> Measure:
        """How far the second's optima are from the first's, for the search and what makes cases small."""

        def excess(optima: Optima, bandit: Bandit) -> Floats:
            found = between(optima, self.second.optima(bandit, optima.lams))
            return np.nan_to_num(found.excess, nan=-np.inf)

        return Measure(excess)


def between(one: Optima, other: Optima) -> Apart:
    """How far two batches of optima are apart."""
    both = one.single & other.single
    with np.errstate(all="ignore"):
        tv = np.where(both, np.abs(one.policies - other.policies).sum(-1) / 2, np.nan)
        logs = np.where(one.policies > 0, one.log_policies - other.log_policies, 0.0)
        nats = np.where(both, np.maximum((one.policies * logs).sum(-1), 0.0), np.nan)
    bounds = one.bound + other.bound
    proven = np.isfinite(bounds)
    slack = np.where(proven, np.nan_to_num(bounds) / 2 + ROUNDING, UNPROVEN)
    settled = (one.status != "failed") & (other.status != "failed")
    return Apart(one.lams, tv, nats, tv - slack, proven & both, settled & (one.exists != other.exists))
