"""The loss under audit, and its optima with what is proven of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from .._types import Array, Floats, Mask
from ..bandit import Bandit
from ..losses import Claims, Facts, Objective, PairObjective, RewardObjective, risk
from ..losses.base import NOTHING
from ..losses.responses import at_ends, response_data
from ..numerics import namespace
from ..optima import solve_path
from .falsify.problems import FAMILIES
from .verdict import Verdict

T = TypeVar("T")


@dataclass(frozen=True)
class Optima:
    """Optima of a batch: L lambdas by P problems with n responses.

    policies, log_policies: (L, P, n). bound: (L, P), proven 1-norm error, nan where none is proven. status: (L, P), as
    in `Solution`.
    """

    lams: Annotated[Floats, "lams"]
    policies: Annotated[Floats, "lams problems n"]
    log_policies: Annotated[Floats, "lams problems n"]
    bound: Annotated[Floats, "lams problems"]
    status: Annotated[NDArray[Any], "lams problems"]

    def problems(self, chosen: Any) -> Optima:
        """Those of some of the problems."""
        fields = (self.policies, self.log_policies, self.bound, self.status)
        return Optima(self.lams, *(x[:, chosen] for x in fields))

    def lambdas(self, chosen: Any) -> Optima:
        """Those at some of the lambdas."""
        return Optima(*(x[chosen] for x in (self.lams, self.policies, self.log_policies, self.bound, self.status)))

    @property
    def exists(self) -> Mask:
        """(L, P): whether the policy is a minimiser, as far as the solver can tell."""
        return np.isin(self.status, ("optimal", "best_found", "not_unique"))

    @property
    def single(self) -> Mask:
        """(L, P): whether it is the only one, as far as the solver can tell."""
        return np.isin(self.status, ("optimal", "best_found"))


def facts_of(objective: Objective) -> Facts:
    """What is known of an objective."""
    assert isinstance(objective, PairObjective | RewardObjective)
    return objective.facts_at(None)


@dataclass(frozen=True)
class Subject:
    """A loss as the judges see it.

    objective: what is solved; every lambda is tried, its own is not used.
    expression: Python that builds the loss at a lambda named ``lam``, and imports: what that needs.
    seed: of every random number.
    effort: multiplies the number of problems that are tried; 1 keeps an audit within seconds.
    verdicts: those reached so far, for questions that are answered by others.
    """

    objective: Objective
    expression: str = ""
    imports: str = "import expo_analysis as ea"
    seed: int = 0
    effort: float = 1.0
    remembered: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Any, compute: Callable[[], T]) -> T:
        """What ``compute`` returned when it was first asked for under this key; judges share what they can."""
        if key not in self.remembered:
            self.remembered[key] = compute()
        return cast(T, self.remembered[key])

    def at(self, lam: float) -> Objective:
        """The loss at one lambda."""
        return self.objective.with_lam(lam)

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose, the same in every run and whatever else was drawn before."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    def count(self, full: int, least: int = 4) -> int:
        """How many problems to try where a loss that is solved fast gets ``full``; others take far longer."""
        return max(least, round(full * self.effort * self.speed))

    @cached_property
    def speed(self) -> float:
        """1 for a loss that is solved fast, and far less for others, by the steps that their local searches take."""
        if self.fast:
            return 1.0
        bandit = FAMILIES["uneven"].draw(self.rng("speed"), 8, 3)
        with np.errstate(all="ignore"):
            steps = float(np.mean(solve_path(self.objective, bandit, [1e-3, 1.0, 1e3]).iterations))
        return min(0.02, 0.3 / steps) if steps > 0 else 0.01

    @cached_property
    def fast(self) -> bool:
        """Whether one run of Newton's method solves it, in place of many local searches."""
        facts = facts_of(self.objective)
        return facts.score_concordance is not None or (facts.convex and facts.self_concordance is not None)

    @cached_property
    def certified(self) -> bool:
        """Whether its optima come with proven error bounds on ordinary problems."""
        rng = self.rng("certified")
        bandit = Bandit(rng.dirichlet([2.0, 2.0, 2.0], 4), rng.dirichlet([2.0, 2.0, 2.0], 4))
        return bool(np.isfinite(self.optima(bandit, [0.1, 1.0]).bound).all())

    def optima(self, bandit: Bandit, lams: Any) -> Optima:
        """The optima on every prompt of a bandit at every lambda, all in one batch."""
        with np.errstate(all="ignore"):  # a loss may overflow where it has no minimiser
            path = solve_path(self.objective, bandit, lams)
        shape = (len(path), bandit.prompts or 1)
        policies, logs = (x.reshape(*shape, bandit.n) for x in (path.policies, path.log_policies))
        return Optima(path.lams, policies, logs, path.error_bound.reshape(shape), path.status.reshape(shape))

    def value(self, bandit: Bandit, lam: float, log_policy: Floats) -> Floats:
        """The objective at log-policies (..., n), which broadcast against the bandit's."""
        return risk(self.at(lam), bandit, torch.from_numpy(np.ascontiguousarray(log_policy))).numpy()

    def gradient(self, bandit: Bandit, lam: float, log_policy: Floats) -> Floats:
        """The objective's gradient in the logits at log-policies (..., n)."""
        theta = torch.tensor(log_policy, requires_grad=True)
        (gradient,) = torch.autograd.grad(risk(self.at(lam), bandit, torch.log_softmax(theta, -1)).sum(), theta)
        return np.asarray(gradient.numpy())


def losses_of_pairs(
    objective: PairObjective, bandit: Bandit, logp: Sequence[torch.Tensor], reference: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The loss of each of a bandit's ``edges``, with what else it reads of them; winners and losers (..., edges)."""
    winner, loser, _ = bandit.edges
    known = at_ends(objective, response_data(objective, bandit), (winner, loser))
    data = {name: torch.from_numpy(x.T.copy()).expand_as(logp[0]) for name, x in known.items()}
    data |= {"logp_t": logp[0], "ref_logp_t": reference[0]}  # of a third response, which pairs do not have
    return torch.as_tensor(objective.pair_loss(*logp, *reference, *(data[name] for name in objective.data)))


@dataclass(frozen=True)
class Unclaimed(PairObjective):
    """A loss stripped of its claims, so that nothing is concluded from them; lambda by lambda where it needs that.

    keeps_claims: a bare formula that needs lambda by lambda, and whose claims are true.
    """

    of: PairObjective
    one_lambda_at_a_time: bool = False
    keeps_claims: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.of.name

    def with_lam(self, lam: Any) -> Unclaimed:
        return dataclasses.replace(self, lam=lam)

    def _each(self) -> list[PairObjective]:
        """The loss at each of its lambdas, (lambdas,); one where lambda is a number."""
        return [self.of.with_lam(float(lam)) for lam in np.asarray(self.lam).reshape(-1)]

    @property
    def regulariser(self) -> Any:
        if not self.one_lambda_at_a_time:
            return self.of.with_lam(self.lam).regulariser
        first, *others = [self.of.with_lam(float(lam)).regulariser for lam in np.unique(np.asarray(self.lam))]
        if any(other != first for other in others):  # solvers take lambdas together at which it is the same
            raise ValueError(f"lam must be one number: the regulariser of {self.name} depends on it")
        return first

    @property
    def claims(self) -> Claims:
        if not self.keeps_claims:
            return NOTHING
        each = [one.claims for one in self._each()]
        known = [one.self_concordance for one in each]
        return Claims(
            convex=all(one.convex for one in each),
            closed_form=False,
            needs_reference=any(one.needs_reference for one in each),
            log_ratio_only=all(one.log_ratio_only for one in each),
            self_concordance=None if any(m is None for m in known) else self._by_lambda(known),
        )

    def ratio_slopes(self) -> tuple[Any, Any] | None:
        if not self.keeps_claims:
            return None
        ends = [one.ratio_slopes() for one in self._each()]
        known = [end for end in ends if end is not None]
        if len(known) < len(ends):
            return None
        return self._by_lambda([low for low, _ in known]), self._by_lambda([high for _, high in known])

    def _by_lambda(self, numbers: list[Any]) -> Any:
        return (
            float(numbers[0]) if np.ndim(self.lam) == 0 else np.array(numbers, dtype=float).reshape(np.shape(self.lam))
        )

    @property
    def data(self) -> tuple[str, ...]:
        return self.of.data

    def pair_loss(self, logp_w: Array, logp_l: Array, ref_logp_w: Array, ref_logp_l: Array, *data: Array) -> Array:
        given = (logp_w, logp_l, ref_logp_w, ref_logp_l, *data)
        if not self.one_lambda_at_a_time or np.ndim(self.lam) == 0:
            return self.of.with_lam(self.lam).pair_loss(*given)
        xp = namespace(logp_w)
        lams = np.broadcast_to(np.asarray(self.lam), tuple(logp_w.shape)[-1:])
        groups = [np.flatnonzero(lams == lam) for lam in np.unique(lams)]
        parts = []
        for group in groups:  # what a loss does not read may be left out
            own = [None if x is None else xp.take(x, xp.asarray(group), axis=-1) for x in given]
            parts.append(self.of.with_lam(float(lams[group[0]])).pair_loss(*own))
        return xp.take(xp.concat(parts, axis=-1), xp.asarray(np.argsort(np.concatenate(groups))), axis=-1)


def unclaimed(subject: Subject) -> Subject | None:
    """The subject without what its loss states of itself; None where it states nothing, or is no loss of pairs."""
    loss = subject.objective
    if not isinstance(loss, PairObjective) or facts_of(loss).claims() == NOTHING:
        return None
    of, one_by_one = (loss.of, loss.one_lambda_at_a_time) if isinstance(loss, Unclaimed) else (loss, False)
    return dataclasses.replace(subject, objective=Unclaimed(loss.lam, of, one_by_one), remembered={})
