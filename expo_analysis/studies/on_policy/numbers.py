"""Pairs that the policy draws itself: where training rests, how rounds of games move, and when XPO has a minimiser.

Two populations of three responses: one with pi*, one whose preferences go round (y1 > y2 > y3 > y1, by unequal
margins). Everything is exact: fixed points by `on_policy.fixed_points`, optima on uniform pairs by `solve`, rounds on
the population. XPO's criterion is asked of random problems, for data that pi_ref drew and for uniform pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..._progress import Progress, silent
from ..._rounding import all_rounded
from ..._types import Floats
from ...bandit import Bandit
from ...losses import DPO, EXPO, IPO, PairObjective
from ...on_policy import fixed_points, nash_md, nash_policy, sppo, xpo_cut
from ...optima import solve
from ...simulators.optimisers import SGD
from ...simulators.policies import Tabular
from ...simulators.training import Training, train
from ..settings import Settings as StudySettings

REFERENCE = np.array([0.5, 0.3, 0.2])
OPTIMAL = np.array([0.2, 0.2, 0.6])
CYCLE = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.7], [0.8, 0.3, 0.5]])
LOSSES: tuple[type[PairObjective], ...] = (DPO, IPO, EXPO)
LAMS = 10.0 ** np.linspace(-2, 2, 17)
TRAINED = (DPO(0.3), IPO(0.3), EXPO(0.3))
ROUNDS, ETA, TAU = 400, 0.3, 0.3
"""Of SPPO and Nash-MD; TAU is the price of Nash-MD, and the lambda of online IPO that has its equilibrium."""
RATIOS = 10.0 ** np.linspace(-2, 1, 25)
SIZES = (2, 3, 5, 8)


def populations() -> dict[str, Bandit]:
    """By name: ``bradley_terry`` has pi*, ``cycle`` has none."""
    return {
        "bradley_terry": Bandit(REFERENCE, OPTIMAL),
        "cycle": Bandit.from_preferences(REFERENCE, CYCLE),
    }


@dataclass(frozen=True)
class Settings(StudySettings):
    """starts: of the search for fixed points. problems: random ones of each size and kind of pairs."""

    starts: int = 2
    problems: int = 500


FULL = Settings(10, 5000)


def run(settings: Settings, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Tables by file name.

    ``on_policy``: one row per population, loss, lambda and kind of pairs ("uniform": the optimum; "own": the fixed
    point), with the policy, TV from pi* (nan for the cycle), the win rate against the worst opponent, the number of
    fixed points that searches found, and whether gradient descent returns to it. ``on_policy_rounds``: the policy and
    its win rate by step, for on-policy training of three losses on the cycle, and for SPPO, its mean, and Nash-MD.
    ``on_policy_xpo``: the share of random problems on which XPO has a minimiser, by alpha/beta, number of responses and
    kind of pairs.
    """
    points = points_table(settings.starts)
    progress(0.6)
    rounds = rounds_table()
    progress(0.8)
    xpo = xpo_table(settings.problems)
    progress(1.0)
    return all_rounded({"on_policy": points, "on_policy_rounds": rounds, "on_policy_xpo": xpo})


def worst_win_rate(policy: Floats, preference: Floats) -> Floats:
    """The least probability, over opponents, with which a response of the policy is preferred."""
    return np.asarray((policy @ preference).min(axis=-1))


def points_table(starts: int) -> pd.DataFrame:
    """``on_policy``."""
    rows = []
    for name, bandit in populations().items():
        for cls in LOSSES:
            for lam in LAMS:
                found = fixed_points(cls(float(lam)), bandit, starts)
                optimum = solve(cls(float(lam)), bandit)
                for pairs, policy in (("uniform", optimum.policy), ("own", found[0].policy)):
                    own = pairs == "own"
                    rows.append(
                        {
                            "population": name,
                            "loss": cls.name,
                            "lam": lam,
                            "pairs": pairs,
                            **{f"y{y}": policy[y] for y in range(3)},
                            "tv_optimal": np.abs(policy - OPTIMAL).sum() / 2 if bandit.optimal is not None else np.nan,
                            "worst_win_rate": float(worst_win_rate(policy, bandit.preference)),
                            "fixed_points": len(found) if own else 1,
                            "stable": found[0].stable if own else True,
                        }
                    )
    return pd.DataFrame(rows)


def rounds_table() -> pd.DataFrame:
    """``on_policy_rounds``: on the cycle."""
    bandit = populations()["cycle"]
    training = Training(SGD(0.5), epochs=ROUNDS, on_policy=True, records=ROUNDS + 1)
    run = train(TRAINED, Tabular(REFERENCE), bandit, training)
    paths = {f"online_{o.name}": np.exp(run.log_policies[k, 0, :, 0]) for k, o in enumerate(TRAINED)}
    paths["sppo"] = sppo(CYCLE, REFERENCE, ETA, ROUNDS)
    paths["sppo_mean"] = np.cumsum(paths["sppo"], axis=0) / np.arange(1, ROUNDS + 2)[:, None]
    paths["nash_md"] = nash_md(CYCLE, REFERENCE, TAU, ETA, ROUNDS)
    nash = nash_policy(CYCLE).policy
    frames = [
        pd.DataFrame(
            {
                "method": method,
                "step": np.arange(len(path)),
                **{f"y{y}": path[:, y] for y in range(3)},
                "worst_win_rate": worst_win_rate(path, CYCLE),
                "tv_nash": np.abs(path - nash).sum(axis=1) / 2,
            }
        )
        for method, path in paths.items()
    ]
    return pd.concat(frames, ignore_index=True)


def xpo_table(problems: int) -> pd.DataFrame:
    """``on_policy_xpo``: pi* and pi_ref uniform over the simplex."""
    rows = []
    for n in SIZES:
        for pairs in ("uniform", "reference"):
            rng = np.random.default_rng([11, n])
            limits = np.empty(problems)
            for k in range(problems):
                reference, optimal = np.maximum(rng.dirichlet(np.ones(n), 2), 1e-9)
                bandit = Bandit(reference / reference.sum(), optimal / optimal.sum(), pairs)
                limits[k] = xpo_cut(bandit.wins, bandit.reference, 1.0, 1.0).limit
            rows += [
                {"n": n, "pairs": pairs, "ratio": r, "problems": problems, "exists": (limits > r).mean()}
                for r in RATIOS
            ]
    return pd.DataFrame(rows)
