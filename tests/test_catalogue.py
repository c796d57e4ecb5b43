"""The catalogue, and every field of `Claims` against the numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.functional import hessian as _hessian

import expo_analysis as ea
from expo_analysis.losses.base import Claims
from expo_analysis.testing import strategies as own

from .definitions import BATCH_CASES, CASES, GENERATORS, OF_MORE_THAN_PAIRS, PAIR_CASES, REWARD_CASES, Case

EPS = float(np.finfo(np.float64).eps)
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
QUASICONVEX = {
    name: case for name, case in PAIR_CASES.items() if case(1.0).facts.link is not None and case(1.0).facts.psis_convex
}
"""The paper's QPO family: convex psis of mu(u_w) - mu(u_l)."""
SMOOTH = {name: case for name, case in QUASICONVEX.items() if case(1.0).facts.score_concordance is not None}
each_psi = pytest.mark.parametrize("case", QUASICONVEX.values(), ids=QUASICONVEX)


def chosen(condition: Callable[[Claims], bool]) -> dict[str, Case]:
    """The cases whose claims satisfy a condition."""
    return {name: case for name, case in CASES.items() if condition(case(1.0).claims)}


def where(condition: Callable[[Claims], bool]) -> Any:
    """A test for each of these cases."""
    cases = chosen(condition)
    return pytest.mark.parametrize("case", cases.values(), ids=cases)


# ---------------------------------------------------------------------------------------------------- catalogue


def test_every_objective_and_every_option_is_a_case() -> None:
    """What is in no case is in no test of this file or of test_losses."""
    missing = set(ea.CATALOGUE) - {case.name for case in CASES.values()} - OF_MORE_THAN_PAIRS
    assert not missing, f"give {sorted(missing)} an entry in tests/definitions.py"
    for name, cls in ea.CATALOGUE.items():
        if name in OF_MORE_THAN_PAIRS:
            continue
        options = {field.name for field in dataclasses.fields(cls)} - {"lam"}
        tried = {option for case in CASES.values() if case.name == name for option in case.options}
        assert tried == options, f"let a case in tests/definitions.py use {sorted(options - tried)} of {name}"


def test_names() -> None:
    for name, cls in ea.CATALOGUE.items():
        assert cls.name == name
        assert getattr(ea, cls.__name__) is cls
        assert cls.__doc__


@each_case
def test_objective_by_name(case: Case) -> None:
    built = ea.objective(case.name, 0.5, **case.options)
    assert built == ea.CATALOGUE[case.name](0.5, **case.options)
    assert built.lam == 0.5
    assert built.with_lam(2.0) == ea.objective(case.name, 2.0, **case.options)
    assert isinstance(built.claims, Claims)
    with pytest.raises(dataclasses.FrozenInstanceError):
        built.lam = 1.0


@pytest.mark.parametrize("name", ["DPO", "", "ppo", None])
def test_unknown_names(name: Any) -> None:
    with pytest.raises(ValueError, match=r"objective must be one of \['a_star_po', .*'wrpo'\], got"):
        ea.objective(name, 1.0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("expo", {"label_smoothing": 0.1}, r"label_smoothing is not an option of 'expo'; accepted: none"),
        ("ipo", {"beta": 0.1}, r"beta is not an option of 'ipo'; accepted: none"),
        ("dpo", {"alpha": 0.1}, r"alpha is not an option of 'dpo'; accepted: \['label_smoothing', 'robust'\]"),
        ("fdpo", {"criterion": "x"}, r"criterion is not an option of 'fdpo'; accepted: \['divergence', 'alpha'\]"),
        ("regression_expo", {"divergence": "forward_kl"}, r"divergence is not an option of 'regression_expo'"),
        ("fdpo", {"alpha": 0.1}, r"alpha is not used by divergence 'jensen_shannon'"),
        ("dpo", {"robust": True}, r"robust=True is not used without label_smoothing"),
    ],
)
def test_options_that_are_not_used_are_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ea.objective(name, 1.0, **options)


def test_a_new_loss_is_a_formula_and_its_claims() -> None:
    """One formula and, for speed and proofs, its claims make an objective that `risk` and `solve` accept."""

    @dataclasses.dataclass(frozen=True)
    class SquaredHinge(ea.PairObjective):
        name = "squared_hinge"

        def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
            return (1 - self.lam * (logp_w - logp_l - ref_logp_w + ref_logp_l)).clip(0.0) ** 2

        @property
        def claims(self) -> Claims:
            return Claims(convex=True, closed_form=False, needs_reference=True, log_ratio_only=True)

    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    solution = ea.solve(SquaredHinge(0.5), bandit)
    assert solution.status == "optimal"
    value = float(ea.risk(SquaredHinge(0.5), bandit, np.log(solution.policy)))
    rng = np.random.default_rng(0)
    for _ in range(20):
        nearby = solution.policy * np.exp(1e-3 * rng.standard_normal(3))
        assert value <= float(ea.risk(SquaredHinge(0.5), bandit, np.log(nearby / nearby.sum())))


def test_a_new_loss_may_leave_its_claims_out() -> None:
    """Then nothing is assumed: DPO, written anew, gets its optimum from many starts, and no proof."""

    @dataclasses.dataclass(frozen=True)
    class Again(ea.PairObjective):
        name = "again"

        def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
            return ea.DPO(self.lam).pair_loss(logp_w, logp_l, ref_logp_w, ref_logp_l)

    assert Again(1.0).claims == Claims(False, False, True, False, None, False)
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    solution = ea.solve(Again(0.5), bandit)
    assert (solution.status, math.isnan(solution.error_bound)) == ("best_found", True)
    np.testing.assert_allclose(solution.policy, ea.solve(ea.DPO(0.5), bandit).policy, atol=1e-9)


def one_sided(bandit: ea.Bandit) -> ea.Bandit:
    """Counts in which whoever comes first wins, and has the higher reward."""
    counts = np.triu(np.ones((bandit.n, bandit.n)), 1)
    shape = bandit.reference.shape
    rewards = np.broadcast_to(-np.arange(bandit.n), shape)
    return ea.Bandit.from_counts(bandit.reference, np.broadcast_to(counts, (*shape, bandit.n)), rewards=rewards)


SOLVED = {name: case for name, case in CASES.items() if not case(1.0).claims.couples_pairs}


@pytest.mark.parametrize("case", SOLVED.values(), ids=SOLVED)
def test_a_path_is_its_solutions(case: Case) -> None:
    """Formulas take an array of lambdas; and nothing is optimal that a small step improves on."""
    bandit = ea.Bandit([[0.4, 0.4, 0.2], [0.3, 0.3, 0.4]], [[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    if case is REWARD_CASES["odpo_log"]:  # of rewards that go with the labels
        bandit = one_sided(bandit)
    lams = [0.3, 2.0]
    path = ea.solve_path(case(1.0), bandit, lams)
    rng = np.random.default_rng(0)
    for k, lam in enumerate(lams):
        alone = ea.solve(case(lam), bandit)
        assert (alone.status == path.status[k]).all()
        np.testing.assert_allclose(path.policies[k], alone.policy, atol=1e-7)
        for _ in range(10 if (path.status[k] == "optimal").any() else 0):
            moved = path.log_policies[k] + 1e-3 * rng.standard_normal((2, 3))
            moved -= np.logaddexp.reduce(moved, axis=1, keepdims=True)
            values = ea.risk(case(lam), bandit, moved)
            assert (values >= path.value[k] - 1e-10)[path.status[k] == "optimal"].all()


# ---------------------------------------------------------------------------------------------------- convexity


def in_logits(objective: ea.Objective, bandit: ea.Bandit, theta: torch.Tensor) -> torch.Tensor:
    if getattr(objective, "scale", "") == "log":
        bandit = one_sided(bandit)
    return ea.risk(objective, bandit, torch.log_softmax(theta, dim=-1))


def hessian(objective: ea.Objective, bandit: ea.Bandit, theta: list[float]) -> np.ndarray:
    return _hessian(lambda x: in_logits(objective, bandit, x), torch.tensor(theta, dtype=torch.float64)).numpy()


@st.composite
def problems(draw: st.DrawFn, max_n: int = 6) -> tuple[ea.Bandit, list[float]]:
    """A bandit (any graph, or counts with rewards) and logits."""
    bandit = draw(st.one_of(own.bandits(max_n=max_n, smallest=1e-4), own.count_bandits(max_n=max_n, rewards=True)))
    return bandit, draw(st.lists(st.floats(-8.0, 8.0), min_size=bandit.n, max_size=bandit.n))


CONVEX = chosen(lambda claims: claims.convex)
SELF_CONCORDANT = chosen(lambda claims: claims.self_concordance is not None)
"""All are looked at on the same problems, as a problem takes longer to draw than to look at."""


@settings(max_examples=20)
@given(problem=problems(), lam=own.lams)
def test_convex(problem: tuple[ea.Bandit, list[float]], lam: float) -> None:
    for name, case in CONVEX.items():
        h = hessian(case(lam), *problem)
        rounding = 1e-12 * (np.abs(h).max() + lam + lam**2)
        assert np.linalg.eigvalsh(h)[0] >= -rounding, name
        assert np.abs(h.sum(axis=1)).max() <= rounding, name  # shifts of all logits


NOT_CONVEX = {
    # pi_ref,0, pi*_0, theta_0 - theta_1, lam: the second derivative there is negative
    "rlhf_reverse_kl": (0.1, 0.1, 2.0, 1.0),
    "rlhf_forward_kl": (0.1, 0.9, -1.0, 0.1),
    "rlhf_jensen_shannon": (0.1, 0.1, 2.0, 1.0),
    "rlhf_alpha_small": (0.1, 0.1, 2.0, 1.0),
    "rlhf_alpha_large": (0.1, 0.9, -1.0, 0.1),
    "rlhf_chi_square": (0.1, 0.1, 2.0, 1.0),
    "fdpo_forward_kl": (0.1, 0.1, -2.0, 1.0),
    "fdpo_jensen_shannon": (0.1, 0.1, -2.0, 1.0),
    "fdpo_alpha_small": (0.9, 0.9, 4.0, 0.1),
    "fdpo_alpha_large": (0.1, 0.1, -2.0, 1.0),
    "fdpo_chi_square": (0.9, 0.9, -1.0, 1.0),
    "qpo_chi_po": (0.9, 0.9, -1.0, 1.0),
    "explicit_po_reverse_kl": (0.1, 0.1, 2.0, 1.0),
    "explicit_po_jensen_shannon": (0.9, 0.1, -4.0, 1.0),
    "explicit_po_alpha_small": (0.9, 0.1, -4.0, 1.0),
    "explicit_po_chi_square": (0.1, 0.3, 2.0, 1.0),
    "regression_expo": (0.9, 0.9, -2.0, 1.0),
    "rlhf_mixed_chi_square": (0.9, 0.9, -2.0, 2.0),
    "fdpo_mixed_chi_square": (0.9, 0.9, -1.0, 2.0),
    "explicit_po_mixed_chi_square": (0.1, 0.3, 2.0, 2.0),
    "chi_po": (0.9, 0.9, -1.0, 2.0),
    "spo": (0.1, 0.1, 2.0, 2.0),
    "spo_soft": (0.1, 0.1, 2.0, 2.0),
    "exo": (0.5, 0.9, -1.0, 2.0),
    "exo_sharp": (0.5, 0.9, -1.0, 2.0),
    "discopop": (0.1, 0.9, -2.0, 1.0),
    "discopop_wide": (0.5, 0.9, -3.3, 1.0),
    "kto": (0.5, 0.9, -1.0, 2.0),
    "kto_weighted": (0.5, 0.1, 1.0, 2.0),
    "apo_zero": (0.5, 0.9, -1.0, 2.0),
    "apo_down": (0.1, 0.1, -1.0, 2.0),
    "bco": (0.999, 0.01, 2.0, 3.0),
    "bco_shifted": (0.99, 0.1, 2.0, 3.0),
    "nca": (0.9, 0.1, -1.0, 2.0),
    "sppo": (0.001, 0.01, 0.0, 3.0),
    "cal_dpo": (0.001, 0.01, 0.0, 3.0),
    "cal_dpo_strong": (0.001, 0.01, 0.0, 3.0),
    "pro": (0.999, 0.01, 2.0, 3.0),
    "alpha_po_negative": (0.5, 0.5, 3.0, 3.0),
    "simper": (0.5, 0.9, -2.0, 1.0),
    "reward_aware_po_forward": (0.5, 0.9, -2.0, 1.0),
}


def test_whatever_is_not_claimed_convex_has_a_witness() -> None:
    """QPO makes no claim for any psi and mu; the squared hinge with mu = log is in fact convex.

    ORPO and AlphaPO are convex for two responses and not for three, see below; what couples pairs has no risk at all.
    """
    assert set(NOT_CONVEX) | {"qpo_squared_hinge", "orpo", "alpha_po"} | set(BATCH_CASES) == {
        name for name, case in CASES.items() if not case(1.0).claims.convex
    }


@pytest.mark.parametrize(
    ("name", "optimal", "theta"),
    [("orpo", [0.1, 0.1, 0.8], [4.0, 0.0, 0.0]), ("alpha_po", [0.1, 0.6, 0.3], [-2.0, 4.0, -4.0])],
)
def test_not_convex_with_three_responses(name: str, optimal: list[float], theta: list[float]) -> None:
    h = hessian(CASES[name](10.0), ea.Bandit([1 / 3] * 3, optimal), theta)
    assert np.linalg.eigvalsh(h)[0] < -0.5


@pytest.mark.parametrize("name", NOT_CONVEX)
def test_not_convex(name: str) -> None:
    reference, optimal, theta, lam = NOT_CONVEX[name]
    bandit = ea.Bandit([reference, 1 - reference], [optimal, 1 - optimal])
    assert hessian(CASES[name](lam), bandit, [theta, 0.0])[0, 0] < -5e-3


@pytest.mark.parametrize(("alpha", "convex"), [(0.9, False), (1.0, True), (1.5, True), (4.0, True)])
def test_alpha_divergences_are_convex_from_one_on(alpha: float, convex: bool) -> None:
    assert ea.Alpha(alpha).convex_in_logits == convex
    log_reference = torch.log(torch.tensor([0.9, 0.1], dtype=torch.float64))
    lowest = min(
        float(_hessian(lambda x: ea.Alpha(alpha)(torch.log_softmax(x, -1), log_reference), theta)[0, 0])
        for theta in torch.tensor([[t, 0.0] for t in range(-60, 61, 4)], dtype=torch.float64)
    )
    assert (lowest >= -1e-15) == convex


# ---------------------------------------------------------------------------------------------------- self-concordance


def directional(
    objective: ea.Objective, bandit: ea.Bandit, theta: np.ndarray, v: np.ndarray, u: np.ndarray
) -> tuple[float, float]:
    """D2 f[v, v] and D3 f[v, v, u] in the logits."""
    x = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    value = in_logits(objective, bandit, x)
    for direction in (v, v, u):
        if not value.requires_grad:
            return float(value), 0.0
        second = value
        (gradient,) = torch.autograd.grad(value, x, create_graph=True)
        value = gradient @ torch.tensor(direction)
    return float(second.detach()), float(value.detach())


@settings(max_examples=25)
@given(problem=problems(), lam=own.lams, data=st.data())
def test_self_concordance(problem: tuple[ea.Bandit, list[float]], lam: float, data: st.DataObject) -> None:
    """|D3 f[v, v, u]| <= M range(u) D2 f[v, v]."""
    bandit, theta = problem
    vectors = st.lists(st.integers(-4, 4).map(float), min_size=bandit.n, max_size=bandit.n).map(np.array)
    v, u = data.draw(vectors), data.draw(vectors)
    rounding = 1e-11 * np.abs(v).max() ** 2 * np.abs(u).max() * (1 + lam + lam**3)
    for name, case in SELF_CONCORDANT.items():
        m = case(lam).claims.self_concordance
        second, third = directional(case(lam), bandit, np.array(theta), v, u)
        assert abs(third) <= m * np.ptp(u) * second + rounding, name


@pytest.mark.parametrize("case", SELF_CONCORDANT.values(), ids=SELF_CONCORDANT)
def test_self_concordance_is_the_least(case: Case) -> None:
    """Far out on two responses the ratio comes within 2% of the claim, or for likelihoods on a third beside a pair."""
    lam = 0.5
    objective = case(lam)
    m = objective.claims.self_concordance
    pair = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    reached = 0.0
    for theta, (bandit, moved) in itertools.product(
        np.linspace(-30.0, 30.0, 13),
        ((ea.Bandit([0.5, 0.5], [0.5, 0.5]), 0), (ea.Bandit([0.4, 0.4, 0.2], [0.4, 0.4, 0.2], pair), 2)),
    ):
        direction = np.eye(bandit.n)[moved]
        second, third = directional(objective, bandit, theta / max(m, 0.5) * direction, direction, direction)
        if second > 1e-9:
            reached = max(reached, abs(third) / second)
    assert reached <= m * (1 + 1e-6)
    # of a psi of what is concave an upper bound is known, of which more than psi's own M lambda is needed
    assert reached >= (0.51 if case is CASES["dpo_shift"] else 0.98 * m)


def test_self_concordance_comes_with_convexity() -> None:
    for case in CASES.values():
        claims = case(1.0).claims
        assert claims.self_concordance is None or claims.convex


# ---------------------------------------------------------------------------------------------------- what a loss reads

POINT = tuple(np.array([x]) for x in (-1.25, -0.5, -0.75, -2.5))


DATA = {"reward_w": np.array([1.5]), "reward_l": np.array([0.25]), "length_w": np.ones(1), "length_l": np.ones(1)}


def loss_at(objective: ea.PairObjective, *logs: np.ndarray) -> np.ndarray:
    """With what else the loss reads."""
    return objective.loss(*logs, **{name: DATA[name] for name in objective.data})


@each_case
def test_needs_reference(case: Case) -> None:
    objective = case(0.7)
    other = (*POINT[:2], POINT[3], POINT[2])
    if not isinstance(objective, ea.PairObjective):  # RLHF: no pairs, and always a divergence from the reference
        values = [ea.risk(objective, ea.Bandit(r, [0.6, 0.4]), np.log([0.5, 0.5])) for r in ([0.5, 0.5], [0.9, 0.1])]
        assert values[0] != values[1]
        assert objective.claims.needs_reference
    elif objective.claims.needs_reference:
        assert loss_at(objective, *POINT) != loss_at(objective, *other)
    else:
        assert loss_at(objective, *POINT) == loss_at(objective, *other) == loss_at(objective, *POINT[:2])


@each_case
def test_log_ratio_only(case: Case) -> None:
    """Exactly: the numbers are dyadic. `test_losses` has the property over many points."""
    objective = case(0.5)
    if not isinstance(objective, ea.PairObjective):
        assert not objective.claims.log_ratio_only
        return
    moved = loss_at(objective, POINT[0] - 1, POINT[1] - 1, *POINT[2:])
    if objective.claims.log_ratio_only:
        assert moved == loss_at(objective, *POINT)
    elif case is not PAIR_CASES["qpo_squared_hinge"] and not objective.claims.couples_pairs:
        assert abs(moved - loss_at(objective, *POINT)) > 1e-3


@each_case
def test_regulariser(case: Case) -> None:
    """The explicit family and RLHF have the divergence they were given; nothing else has one."""
    objective = case(0.5)
    if case.name in ("rlhf", "explicit_po"):
        (generator,) = (g for g in GENERATORS.values() if g.options == case.options)
        assert objective.regulariser == generator.divergence
    elif case.name in ("expo", "slic", "pessimistic_dpo", "plackett_luce_expo"):
        assert objective.regulariser == ea.ForwardKL()
    elif case.name == "spo":
        assert objective.regulariser == ea.ReverseKL()
    else:
        assert objective.regulariser is None


# ---------------------------------------------------------------------------------------------------- closed forms


@where(lambda claims: claims.closed_form)
@settings(max_examples=15)
@given(own.bandits(max_n=6, graphs=("uniform", "reference", "uneven", "sparse"), smallest=1e-3), st.floats(0.05, 20.0))
def test_closed_form_is_stationary(case: Case, bandit: ea.Bandit, lam: float) -> None:
    """Without an iteration, to a point where the gradient in the logits of a softmax vanishes."""
    solution = ea.solve(case(lam), bandit, method="closed_form")
    assert solution.iterations == 0
    assert solution.status == "optimal"
    if np.isneginf(solution.log_policy).any():
        assert case is CASES["rlhf_chi_square"]
        return
    theta = torch.tensor(solution.log_policy, requires_grad=True)
    (gradient,) = torch.autograd.grad(in_logits(case(lam), bandit, theta), theta)
    h = hessian(case(lam), bandit, solution.log_policy.tolist())
    size = 1 + np.abs(solution.log_policy).max() + np.abs(np.log(bandit.reference)).max()
    assert np.abs(gradient.numpy()).max() <= 64 * EPS * size * (np.abs(h).sum(axis=1).max() + lam + 1)


@where(lambda claims: not claims.closed_form and not claims.couples_pairs)
def test_without_a_closed_form_none_is_taken(case: Case) -> None:
    """Where a closed form is not claimed, one is refused or Newton's method has to help.

    f-DPO with chi-square is the borderline: its scores give the optimum as long as that lies inside the simplex.
    """
    bandit = ea.Bandit([0.4, 0.4, 0.2], [0.6, 0.3, 0.1])
    bandit = one_sided(bandit) if case is REWARD_CASES["odpo_log"] else bandit
    try:
        solution = ea.solve(case(0.05), bandit, method="closed_form")
    except ValueError as error:
        assert "method 'closed_form' is not available" in str(error)
    else:
        fits = solution.message == "the minimiser, as every term is at its least there"  # these rewards are of a model
        assert solution.iterations > 0 or solution.status == "no_minimiser" or fits


# ---------------------------------------------------------------------------------------------------- psi


def psi_of(objective: Any, margin: Any) -> Any:
    """psi as a function of mu(u_w) - mu(u_l), from the one term that these losses have."""
    (term,) = objective.facts.terms
    statistic = term.statistic
    return term.weight * term.psi.value(statistic.scale * (margin - statistic.centre) - statistic.offset)


def slope_of_psi(objective: Any, margin: float) -> float:
    m = torch.tensor([margin], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(psi_of(objective, m).sum(), m)
    return float(slope)


def test_the_family_is_as_large_as_it_was() -> None:
    """What is derived may become too timid, and then the tests below would be of nothing."""
    names = {case.name for case in QUASICONVEX.values()}
    with_dpo = {"dpo", "aux_dpo", "length_normalised_dpo", "dpo_shift", "plackett_luce_dpo"}
    assert names == {*with_dpo, "ipo", "fdpo", "hinge", "chi_po"}
    assert "dpo_shift_none" in QUASICONVEX and "dpo_shift" not in QUASICONVEX  # DPO, without a shift
    assert set(QUASICONVEX) - set(SMOOTH) == {"hinge"}


@each_psi
@given(margin=st.floats(-30.0, 30.0), lam=own.lams)
def test_psi_is_the_loss_and_convex(case: Case, margin: float, lam: float) -> None:
    objective = case(lam)
    mu = objective.facts.link.mu
    arrays = [np.array([x]) for x in (-0.5, -1.5, -1.0, -0.25)]
    assert objective.loss(*arrays) == psi_of(objective, mu(arrays[0] - arrays[2]) - mu(arrays[1] - arrays[3]))
    assert slope_of_psi(objective, margin + 0.1) >= slope_of_psi(objective, margin) - 4 * EPS * (lam + abs(margin))


@each_psi
@pytest.mark.parametrize("lam", [0.01, 0.5, 3.0])
def test_psi_slopes(case: Case, lam: float) -> None:
    """The limits of psi' at -inf and +inf; an infinite one is grown towards."""
    objective = case(lam)
    for limit, sign in zip(objective.facts.slopes, (-1.0, 1.0), strict=True):
        near, far = (slope_of_psi(objective, sign * scale / lam) for scale in (1e3, 1e6))
        if math.isfinite(limit):
            assert near == pytest.approx(limit, rel=1e-14, abs=1e-300)
            assert far == pytest.approx(limit, rel=1e-14, abs=1e-300)
        else:
            assert abs(far) > 100 * abs(near) > 0
            assert limit * far > 0
            assert limit * near > 0


@pytest.mark.parametrize("case", SMOOTH.values(), ids=SMOOTH)
@pytest.mark.parametrize("lam", [0.01, 0.5, 3.0])
def test_psi_self_concordance(case: Case, lam: float) -> None:
    """|psi'''| <= M psi'', attained in the limit."""
    objective = case(lam)
    m = objective.facts.score_concordance
    margin = torch.linspace(-20.0, 20.0, 81, dtype=torch.float64) / lam
    margin.requires_grad_(True)
    derivative = psi_of(objective, margin)
    derivatives = []
    for _ in range(3):
        derivative = (
            torch.autograd.grad(derivative.sum(), margin, create_graph=True)[0]
            if derivative.requires_grad
            else torch.zeros_like(margin)
        )
        derivatives.append(derivative.detach().numpy())
    _, second, third = derivatives
    assert (second > 0).all()
    left = margin.detach().numpy() < 0  # on the right psi'' is a difference from 1, and loses digits
    assert (np.abs(third) <= m * second + 1e-14 * lam**3).all()
    assert np.abs(third[left] / second[left]).max() == pytest.approx(m, rel=1e-6, abs=1e-15)


@each_psi
def test_bradley_terry_margin(case: Case) -> None:
    """Whether lam m = log p/(1-p) minimises p psi(m) + (1-p) psi(-m)."""
    objective = case(0.5)
    slopes = []
    for p in (0.6, 0.9, 0.999):
        margin = math.log(p / (1 - p)) / 0.5
        slopes.append(p * slope_of_psi(objective, margin) - (1 - p) * slope_of_psi(objective, -margin))
    if objective.facts.log_odds_scale is not None:
        assert objective.facts.log_odds_scale == 0.5
        assert np.abs(slopes).max() <= 4 * EPS
    else:
        assert np.abs(slopes).max() > 1e-2


@pytest.mark.parametrize("name", sorted(set(QUASICONVEX) - set(SMOOTH)))
@given(margin=st.floats(-50.0, 50.0), lam=own.lams)
def test_linear_pieces(name: str, margin: float, lam: float) -> None:
    """A psi with kinks is the maximum of its pieces, and the outer ones have its slopes at infinity."""
    objective = QUASICONVEX[name](lam)
    (term,) = objective.facts.bound
    pieces = [(slope * term.scale, intercept) for slope, intercept in term.psi.linear_pieces]
    highest = max(slope * margin + intercept for slope, intercept in pieces)
    assert psi_of(objective, np.array([margin]))[0] == pytest.approx(highest, rel=4 * EPS, abs=4 * EPS)
    slopes = [slope for slope, _ in pieces]
    assert objective.facts.slopes == (min(slopes), max(slopes))
    for smooth in SMOOTH.values():
        assert all(one.psi.linear_pieces is None for one in smooth(lam).facts.bound)


@each_psi
def test_link(case: Case) -> None:
    expected = next((g.divergence for g in GENERATORS.values() if g.options == case.options), ea.ReverseKL())
    links = {"fdpo": expected, "chi_po": ea.MixedChiSquare()}
    assert case(1.0).facts.link == links.get(case.name, ea.ReverseKL())
