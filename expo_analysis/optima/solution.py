"""What `solve` and `solve_path` return."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike

from .._json import plain
from .._types import Floats, Indices, Mask
from ..bandit import Bandit
from ..bandit.paired import Comparisons
from ..losses.base import Objective
from . import display

if TYPE_CHECKING:
    import pandas as pd

    from .implicit import Gradients
    from .likelihood_ratio import LikelihoodRatio


class Status(StrEnum):
    """What was found. A member equals its string: ``solution.status == "optimal"``."""

    OPTIMAL = "optimal"
    """The minimiser, proven: by an error bound, or by the conditions for a minimum of a convex problem."""
    BEST_FOUND = "best_found"
    """The lowest of many searches, of which nothing proves that there is nothing lower; or a minimum to rounding, which
    hides how far the minimiser is."""
    NO_MINIMISER = "no_minimiser"
    """No policy that counts has the infimum; ``certificate`` tells whether that is proven. All policies with positive
    probabilities count, and those without some responses where the objective is finite there: beside a divergence with
    a finite slope at 0, or if all it reads is finite at probability 0, as chi-square's scores are."""
    NOT_UNIQUE = "not_unique"
    """Several policies have the lowest value; the message says which masses or log-ratios are open."""
    FAILED = "failed"
    """The solver found no point of which anything can be said; the policy is where it stopped."""


class Certificate(StrEnum):
    """What a status rests on. A member equals its string."""

    ERROR_BOUND = "error_bound"
    """A proven bound on the distance from the minimiser, rounding included."""
    CONDITIONS = "optimality_conditions"
    """The conditions for a minimum of a convex problem hold to rounding."""
    THEOREM = "theorem"
    """What is known of existence and uniqueness from the comparison graph and the loss."""
    SEARCH = "search"
    """Many searches, and no proof."""
    NONE = "none"
    """Nothing."""


RESTRICTED = ("weights", "weight_bounds", "total", "direction")
"""What solutions over restricted policies have, and others have not."""


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """The optimum of one objective on a bandit; fields have one entry per prompt where the bandit has prompts.

    policy: (n,) or (prompts, n), the minimiser; where none exists the limit of minimising sequences, and where it is
        not unique the member that ``message`` describes.
    log_policy: its logarithm, which does not underflow.
    value: the objective there (per prompt); nan where no minimiser exists.
    status: a `Status`, equal to its string: ``"optimal"`` (proven), ``"best_found"``, ``"no_minimiser"``,
        ``"not_unique"`` or ``"failed"``.
    certificate: a `Certificate`: what the status rests on.
    message: why, naming responses by their indices.
    error_bound: a proven bound on the 1-norm distance of ``policy`` from the true minimiser (from the described member
        where it is not unique), rounding included; nan where none is proven.
    iterations: Newton steps taken; 0 for closed forms.

    Over restricted policies, theta = base + features w (None for all policies):

    weights: w, (d,); where it is not unique, the one of least norm.
    weight_bounds: proven bounds on the errors of w, (d,); nan where none is proven.
    total: the objective that w minimises, the sum over prompts of prompt_weights * value, and decay |w|^2/2.
    direction: of w, (d,), along which the loss falls for ever where there is no minimiser; nan where there is one.
    """

    objective: Objective
    bandit: Bandit | Comparisons
    policy: Floats
    log_policy: Floats
    value: Any
    status: Any
    message: Any
    error_bound: Any
    iterations: Any
    certificate: Any = None
    weights: Floats | None = None
    weight_bounds: Floats | None = None
    total: Any = None
    direction: Floats | None = None

    def to_frame(self) -> pd.DataFrame:
        """One row per prompt and response: lam, prompt, response, policy, reference, optimal, status, ..."""
        return _frame(self, np.asarray(self.objective.lam).reshape(1))

    def covariance(
        self,
        responses: Iterable[Hashable] | None = None,
        against: Hashable | None = None,
        kind: str = "sandwich",
    ) -> Floats:
        """Covariances (k, k) of log pi_i/pi_0, the comparisons being a sample; of counts of pairs on one prompt.

        Square roots of the diagonal are standard errors. They are of the estimate around what it estimates: a
        regulariser's pull to the reference is not in them. A tie is one comparison, whose slope is the mean of a win's
        and of a loss's. Responses that never met, directly or through others, have covariances beside
        lam KL(pi_ref || pi), as `EXPO` has it, which holds the mass of each component at the reference's.

        Args:
            responses: the k of them, by name or position; by default all.
            against: 0, by name or position; by default the mean of log pi over all responses.
            kind: ``"sandwich"``, whatever the truth is, or ``"model"``, of a likelihood whose model is true.

        Raises:
            ValueError: the optimum is not proven or not unique, or the data are no counts of pairs on one prompt.

        Example:
            >>> import expo_analysis as ea
            >>> games = ea.Comparisons(["anna", "bob"], ["bob", "anna"], [30, 10])
            >>> solution = ea.solve(ea.BradleyTerry(1.0), games)
            >>> solution.covariance(["anna"], against="bob", kind="model").round(6)  # 1/30 + 1/10
            array([[0.133333]])
        """
        from .inference import covariance

        return covariance(self, responses, against, kind)

    def conf_int(
        self,
        alpha: float = 0.05,
        responses: Iterable[Hashable] | None = None,
        against: Hashable | None = None,
        kind: str = "sandwich",
        simultaneous: bool = False,
    ) -> Floats:
        """Confidence intervals (k, 2) of log pi_i/pi_0, estimate -+ z standard error, from `covariance`.

        Args:
            alpha: the probability with which an interval may miss, in (0, 1); with ``simultaneous`` that any may.
            responses, against, kind: as in `covariance`.
            simultaneous: z is the 1 - alpha quantile of the largest of k correlated normal variables, at most Sidak's
                for independent ones (Sidak 1967; Hothorn, Bretz and Westfall 2008).

        Raises:
            ValueError: as in `covariance`, or alpha is no probability.

        Example:
            >>> import expo_analysis as ea
            >>> games = ea.Comparisons(["anna", "bob"], ["bob", "anna"], [30, 10])
            >>> ea.solve(ea.BradleyTerry(1.0), games).conf_int(responses=["anna"], against="bob").round(3)
            array([[0.383, 1.814]])
        """
        from .intervals import conf_int

        return conf_int(self, alpha, responses, against, kind, simultaneous)

    def ranking(self, alpha: float = 0.05, top: int | None = None, kind: str = "sandwich") -> pd.DataFrame:
        """Responses from the highest on, with intervals and the places that each may have; of counts on one prompt.

        A row for each, by its place from 1: ``response``; ``policy``; ``score``, log pi less its mean over all;
        ``standard_error``; ``low``, ``high``, the interval of each; ``low_all``, ``high_all``, intervals that all hold
        together; ``best``, ``worst``, between which all true places are with 1 - alpha: one more than the number of
        those surely above, and so on, from intervals of all differences that hold together.

        Args:
            alpha: the probability with which an interval may miss, in (0, 1).
            top: of how many to have a row. Needed beyond 2,000 responses; then there are no places.
            kind: as in `covariance`.

        Raises:
            ValueError: as in `covariance`, or naming the argument.

        Example:
            >>> import expo_analysis as ea
            >>> games = ea.Comparisons(["anna", "bob", "bob", "carl"], ["bob", "anna", "carl", "bob"], [30, 10, 22, 20])
            >>> ea.solve(ea.BradleyTerry(1.0), games).ranking()[["response", "score", "best", "worst"]].round(2)
                  response  score  best  worst
            place
            1         anna   0.70     1      1
            2          bob  -0.40     2      3
            3         carl  -0.30     2      3
        """
        from .ranks import ranking

        return ranking(self, alpha, top, kind)

    def gradients(self, weights: ArrayLike) -> Gradients:
        """The gradient of sum(weights * policy) in pi_ref, pi*, q, counts and lam, by the implicit function theorem.

        Of counts it is what one more comparison does to that number: its influence. `ea.optimum` is the same for torch.

        Args:
            weights: of the shape of ``policy``.

        Returns:
            `Gradients`: ``reference``, ``lam``, and ``optimal`` and ``pairs``, or ``counts``, of the shapes of the
            bandit's; of `Comparisons` ``counts`` has one number for each (winner, loser).

        Raises:
            ValueError: the optimum is not proven or not the only one, the loss reads more than log-probabilities, or
                has no curvature there.

        Example:
            >>> import expo_analysis as ea
            >>> bandit = ea.Bandit.from_counts([0.4, 0.4, 0.2], [[0, 5, 4], [2, 0, 3], [1, 2, 0]])
            >>> found = ea.solve(ea.EXPO(0.1), bandit).gradients([1, 0, 0])
            >>> bool(found.counts[0, 1] > 0 > found.counts[1, 0])  # of the first's probability, in wins and losses
            True
        """
        from .implicit import gradients

        return gradients(self, weights)

    def compare_lr_test(self, restricted: Any, df: int | None = None) -> LikelihoodRatio:
        """The likelihood-ratio test of restricted policies against all, of `BradleyTerry` or `DPO` on counts.

        statistic = 2 (log L(all policies) - log L(restricted)), asymptotically chi-square with ``df`` degrees of
        freedom where the restriction is true (Wilks 1938). (The name is statsmodels'.)

        Args:
            restricted: a `Solution` of the same loss on the same counts with ``features``, and without ``decay``; or a
                policy (n,) that is stated beforehand.
            df: by default n less the components of the comparison graph, less the number of features.

        Returns:
            ``statistic``, ``pvalue`` and ``df``, a named tuple.

        Raises:
            ValueError: the loss is no likelihood, the data are no counts, or the two do not belong together.

        Example:
            >>> import expo_analysis as ea
            >>> fit = ea.solve(ea.BradleyTerry(1.0), ea.Comparisons([0, 1], [1, 0], [30, 10]))
            >>> fit.compare_lr_test([0.5, 0.5]).pvalue < 0.01  # they are not equally strong
            True
        """
        from .likelihood_ratio import compare_lr_test

        return compare_lr_test(self, restricted, df)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values of every field but the data, for JSON; what is not finite becomes None."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields.pop("bandit")
        for name in RESTRICTED:
            if fields[name] is None:
                del fields[name]
        objective = fields.pop("objective")
        options = {k: v for k, v in dataclasses.asdict(objective).items() if isinstance(v, (int, float, str))}
        return {"objective": objective.name, "options": options, **{k: plain(v) for k, v in fields.items()}}

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], bandit: Bandit | Comparisons, objective: Objective | None = None
    ) -> Solution:
        """The solution of which `to_dict` made ``values``, on the same data.

        Args:
            objective: of a loss of one's own; by default the one of the catalogue that ``values`` names.

        Raises:
            ValueError: values lack a field or have another one, or are of another shape than the bandit's policies.

        Example:
            >>> import json, expo_analysis as ea
            >>> bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
            >>> written = json.dumps(ea.solve(ea.EXPO(1.0), bandit).to_dict())
            >>> ea.Solution.from_dict(json.loads(written), bandit).policy.round(3)
            array([0.471, 0.376, 0.153])
        """
        from .read_back import solution_of

        return solution_of(values, bandit, objective)

    def __repr__(self) -> str:
        return display.line(self)

    def _repr_html_(self) -> str:
        return display.table(self)


@dataclass(frozen=True, eq=False, repr=False)
class Path:
    """Optima for each of ``lams``, shape (L,): the fields of `Solution` with a leading axis of length L."""

    objective: Objective
    bandit: Bandit | Comparisons
    lams: Floats
    policies: Floats
    log_policies: Floats
    value: Floats
    status: Any
    message: Any
    error_bound: Floats
    iterations: Any
    certificate: Any = None
    weights: Floats | None = None
    weight_bounds: Floats | None = None
    total: Any = None
    direction: Floats | None = None

    def __len__(self) -> int:
        return len(self.lams)

    @overload
    def __getitem__(self, index: int) -> Solution: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | Indices | Mask) -> Path: ...

    def __getitem__(self, index: Any) -> Solution | Path:
        """The `Solution` at ``lams[index]``; of a slice, a list of positions or a mask, the `SolutionPath` there."""
        if not isinstance(index, (int, np.integer)):
            place = np.arange(len(self.lams))[index]
            kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
            return Path(
                **{k: v if k in ("objective", "bandit") or v is None else np.asarray(v)[place] for k, v in kept.items()}
            )
        rows = (self.policies, self.log_policies, self.value, self.status, self.message, self.error_bound)
        objective = self.objective.with_lam(float(self.lams[index]))
        own = [None if (row := getattr(self, name)) is None else row[index] for name in RESTRICTED]
        found = (row[index] for row in (*rows, self.iterations, self.certificate))
        return Solution(objective, self.bandit, *found, *own)

    def to_frame(self) -> pd.DataFrame:
        """One row per lambda, prompt and response, with the columns of `Solution.to_frame`."""
        return _frame(self, self.lams)

    def __repr__(self) -> str:
        return display.path_line(self)


def path_of(solutions: list[Solution]) -> Path:
    """Solutions over all policies of one objective at several lambdas, on the same data."""
    first = solutions[0]
    lams = np.array([solution.objective.lam for solution in solutions])
    policies, log_policies = (np.stack([getattr(one, name) for one in solutions]) for name in ("policy", "log_policy"))
    told: dict[str, Any] = {
        name: np.array([getattr(one, name) for one in solutions], dtype=kind)
        for kind, names in (
            (None, ("value", "error_bound", "iterations")),
            (object, ("status", "message", "certificate")),
        )
        for name in names
    }
    return Path(first.objective, first.bandit, lams, policies, log_policies, **told)


def _frame(result: Solution | Path, lams: Floats) -> pd.DataFrame:
    import pandas as pd

    bandit = result.bandit
    policy = result.policy if isinstance(result, Solution) else result.policies
    prompts, n = bandit.prompts or 1, bandit.n
    shape = (len(lams), prompts, n)

    def per_prompt(values: Any) -> Any:
        return np.repeat(np.asarray(values).reshape(len(lams), prompts), n)

    unknown = np.full(bandit.reference.shape, np.nan)
    frame = {
        "objective": result.objective.name,
        "lam": np.repeat(lams, prompts * n),
        "prompt": np.tile(np.repeat(np.arange(prompts), n), len(lams)),
        "response": np.tile(np.arange(n), len(lams) * prompts),
        "policy": policy.reshape(-1),
        "reference": np.broadcast_to(bandit.reference, shape).reshape(-1),
        "optimal": np.broadcast_to(unknown if bandit.optimal is None else bandit.optimal, shape).reshape(-1),
    }
    for name in ("value", "status", "certificate", "error_bound", "iterations", "message"):
        frame[name] = per_prompt(getattr(result, name))
    return pd.DataFrame(frame)
