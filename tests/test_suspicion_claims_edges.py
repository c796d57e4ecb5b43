"""What a loss claims that is false by little, and faces that a loss shows: numbers, arrays, lambdas, prompts."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import expo_analysis as ea
from expo_analysis.desiderata.subject import Subject, Unclaimed
from expo_analysis.desiderata.suspicion.claims import misled, refuted_claims
from expo_analysis.desiderata.suspicion.faces import couples, numpy_differs, other_lambda, overridden
from expo_analysis.desiderata.suspicion.points import SHAPE, pairs_to_try
from expo_analysis.desiderata.suspicion.soundness import COUPLES, inspect
from expo_analysis.desiderata.verdict import CANNOT_TELL, HOLDS, NOT_APPLICABLE
from expo_analysis.losses import Claims, PairObjective
from expo_analysis.numerics import log_sigmoid

from .planted.broken import Broken
from .planted.expo import Explicit, SaysBatch, WrongInverse

# --------------------------------------------------------------------------------------------------------------- claims


def claims_of(objective: PairObjective, lams: Any = (0.3,)) -> list[str]:
    return refuted_claims(Unclaimed(1.0, objective), objective, np.array(lams))


@dataclass(frozen=True)
class Claiming(Explicit):
    """EXPO plus a little of what it is said not to read."""

    size: float = 0.0
    reads: str = ""

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        more = {
            "reference": ref_logp_w - ref_logp_l,
            "w": ref_logp_w,
            "l": ref_logp_l,
            "mass": logp_w,
            "": 0.0 * logp_w,
        }
        return -log_sigmoid(logp_w - logp_l) + self.size * more[self.reads]


@pytest.mark.parametrize("size", [1e-9, -1e-9, 1.0])
@pytest.mark.parametrize(
    ("reads", "message"),
    [(x, "needs_reference = False is false") for x in ("reference", "w", "l")] + [("mass", "log_ratio_only")],
)
def test_a_little_of_what_is_said_not_to_be_read(reads: str, message: str, size: float) -> None:
    assert any(message in one for one in claims_of(Claiming(1.0, size, reads)))
    assert claims_of(Claiming(1.0, 0.0, reads)) == []


def test_a_link_whose_inverse_is_false_is_refuted_of_the_loss() -> None:
    assert any("descend of WrongInverse" in one for one in claims_of(ea.FDPO(1.0, divergence=WrongInverse())))
    assert claims_of(ea.FDPO(1.0, divergence="jensen_shannon")) == []


@dataclass(frozen=True)
class Ends(PairObjective):
    """-log sigma(lam hbar), with the limits of its slope that are claimed, in units of lam."""

    ends: tuple[float, float] = (-1.0, 0.0)
    name = "ends"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        return -log_sigmoid(self.lam * (logp_w - logp_l - ref_logp_w + ref_logp_l))

    @property
    def claims(self) -> Any:
        return ea.losses.Claims(convex=False, closed_form=False, needs_reference=True, log_ratio_only=True)

    def ratio_slopes(self) -> Any:
        return self.ends[0] * self.lam, self.ends[1] * self.lam


@pytest.mark.parametrize(
    ("ends", "true"),
    [
        ((-1.0, 0.0), True),
        ((-1.05, 0.0), True),
        ((-1.2, 0.0), False),
        ((-0.8, 0.0), False),
        ((-1.0, 0.2), False),
        ((-1.0, -0.2), False),
        ((-math.inf, 0.0), False),
        ((-1.0, math.inf), False),
        ((1.0, 0.0), False),
    ],
)
def test_claimed_limits_of_slopes(ends: tuple[float, float], true: bool) -> None:
    found = claims_of(Ends(1.0, ends), (1.0,))
    told = f"ratio_slopes = ({ends[0]:g}, {ends[1]:g}) is false at lambda = 1"
    assert found == ([] if true else [told])


@pytest.mark.parametrize(("size", "wrong"), [(0.1, True), (-0.1, True), (1e-10, False)])
def test_a_proven_optimum_with_lower_values_beside_it_is_none(
    size: float, wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the solver to return policies beside the optimum, with a bound. Gradients at kinks are no fault."""
    losses = (ea.DPO(1.0), ea.EXPO(1.0))
    for sound in (*losses, ea.DPOP(1.0), ea.Hinge(1.0), ea.SLiC(1.0)):
        assert not misled(sound)
    solved = Subject.optima

    def beside(self: Subject, bandit: ea.Bandit, lams: Any) -> Any:
        found = solved(self, bandit, lams)
        moved = found.log_policies + size * np.eye(bandit.n)[-1]
        moved = moved - np.logaddexp.reduce(moved, axis=-1, keepdims=True)
        return dataclasses.replace(found, log_policies=moved, policies=np.exp(moved))

    monkeypatch.setattr(Subject, "optima", beside)
    for sound in losses:
        assert misled(sound) == wrong, sound


# ---------------------------------------------------------------------------------------------------------------- faces


@dataclass(frozen=True)
class Faces(Explicit):
    """EXPO that is another loss for arrays, in shape or by a part, or has another lambda than it is given."""

    part: float = 0.0
    shape: bool = False
    another: float = 0.0

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        loss = -log_sigmoid(logp_w - logp_l)
        if isinstance(loss, torch.Tensor):
            return loss
        return loss[None] if self.shape else loss * (1 + self.part)

    def with_lam(self, lam: Any) -> Any:
        return super().with_lam(lam + self.another)


def test_other_numbers_for_arrays_to_a_part_in_a_hundred_million() -> None:
    assert numpy_differs(Faces(1.0), np.array([1.0, 3.0])) == ""
    assert numpy_differs(Faces(1.0, 1e-11), np.array([1.0])) == ""
    for part in (1e-7, -1e-7, 0.5):
        told = numpy_differs(Faces(1.0, part), np.array([1.0, 3.0]))
        assert "other numbers for numpy arrays" in told and "lambda = 1:" in told
    assert "(1, 3, 15) for numpy arrays of shape (3, 15)" in numpy_differs(Faces(1.0, shape=True), np.array([1.0]))


def test_a_lambda_that_is_not_the_one_asked_for() -> None:
    assert other_lambda(Faces(1.0)) == ""
    assert other_lambda(Faces(1.0, another=1e-9)) != "" and "lambda 2.5" in other_lambda(Faces(1.0, another=0.5))
    assert "with_lam(2.0)" in inspect(Faces(1.0, another=0.5)).remarks[0]


@dataclass(frozen=True)
class Public(ea.EXPO):
    """EXPO whose ``loss`` is another one, or the same."""

    part: float = 0.0

    def loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any = None, ref_logp_l: Any = None, **data: Any) -> Any:
        return (1 + self.part) * -log_sigmoid(logp_w - logp_l)


def test_a_loss_of_its_own_must_be_the_same() -> None:
    points = pairs_to_try(ea.EXPO(1.0), SHAPE[0])
    assert overridden(ea.EXPO(1.0), points) == "" and overridden(Public(1.0), points) == ""
    for part in (1e-9, -1e-9):
        assert overridden(Public(1.0, part=part), points).startswith("it overrides loss")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("nan", "it is NaN at ordinary"),
        ("shape", "shape (3, 15, 1) for pairs of shape (3, 15)"),
        ("reduces", "it reduces"),
        ("float", "it returns float"),
        ("nothing", "it returns NoneType"),
        ("detached", "not differentiable"),
        ("rounds", "its gradient is zero wherever"),
        ("random", "different values for the same pairs"),
        ("batch", "depends on which other pairs"),
        ("position", "depends on which other pairs"),
        ("modifies", "changes the log-probabilities"),
        ("wrong gradient", "is not the slope of its values"),
        ("float32", "returns torch.float32 where it is given torch.float64"),
        ("raises", "it raises RuntimeError: no such thing"),
    ],
)
def test_what_is_broken_is_said_and_nothing_is_left_to_judge(how: str, told: str) -> None:
    found = inspect(Broken(1.0, how))
    assert found.objective is None and len(found.remarks) == 1 and told in found.remarks[0]


@dataclass(frozen=True)
class Strange(Explicit):
    """EXPO that is infinite, or has an infinite slope, at some ordinary pairs; or is constant."""

    how: str = ""

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        h = logp_w - logp_l
        if self.how == "infinite":
            return -log_sigmoid(h) + torch.where(logp_w < -1, torch.inf, 0.0)
        if self.how == "infinite slope":
            kink = (logp_w - logp_w.detach()).clip(min=0) ** 0.5
            return -log_sigmoid(h) + kink
        return 0.0 * h


def test_what_is_infinite_is_said_and_a_constant_is_no_fault() -> None:
    assert "it is infinite at ordinary log-probabilities" in inspect(Strange(1.0, "infinite")).remarks[0]
    assert "its gradient is not finite" in inspect(Strange(1.0, "infinite slope")).remarks[0]
    assert inspect(Strange(1.0, "constant")).objective is not None


class Uneven(ea.divergences.ForwardKL):
    """A divergence with a mistake: of other responses, of the axis, or of the sum."""

    how = ""

    def terms(self, log_policy: Any, log_reference: Any) -> Any:
        found = super().terms(log_policy, log_reference)
        if self.how == "others":
            return found + 1e-9 * log_policy.sum(-1, keepdim=True)
        return found

    def __call__(self, log_policy: Any, log_reference: Any) -> Any:
        return super().__call__(log_policy, log_reference) * (1 + 1e-9 * (self.how == "sum"))


@pytest.mark.parametrize(("how", "told"), [("others", "depends on which other"), ("sum", "is not the sum"), ("", "")])
def test_a_divergence_is_a_sum_over_responses(how: str, told: str) -> None:
    made = type("Made", (Uneven,), {"how": how})()

    @dataclass(frozen=True)
    class Held(PairObjective):
        name = "held"

        def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
            return -log_sigmoid(logp_w - logp_l)

        @property
        def regulariser(self) -> Any:
            return made

    remarks = inspect(Held(1.0)).remarks
    assert (told in " ".join(remarks)) if told else remarks == ()


def test_pairs_to_try_are_plain_first_and_as_long_as_lambdas() -> None:
    plain, _, unlikely = pairs_to_try(ea.DPO(1.0), 3)[0]
    assert plain.shape == (15,) and plain.min() > -3 and unlikely.min() < -10
    again = pairs_to_try(ea.DPO(1.0), 3)
    assert all(map(torch.equal, again, pairs_to_try(ea.DPO(1.0), 3)))
    assert not torch.equal(again[0], pairs_to_try(ea.DPO(1.0), 3, seed=1)[0])
    rewards = dict(zip(ea.RewardAwarePO(1.0).data, pairs_to_try(ea.RewardAwarePO(1.0), 3)[4:], strict=True))
    for name, given in rewards.items():
        whole = "logp" in name or torch.equal(given, given.round())
        assert whole and ("logp" in name or (given >= 1).all()), name


@dataclass(frozen=True)
class Batch(SaysBatch):
    """EXPO that is a loss of batches in some way, or no loss of pairs."""

    how: str = ""

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        h = logp_w - logp_l
        if self.how == "centred":
            h = h - h.mean()
        elif self.how == "centred at one lambda" and self.lam == 1e8:
            h = h - 1e-9 * h.mean()
        elif self.how == "beyond -15":  # unlikely pairs alone
            h = h - (h < -15).sum()
        elif self.how == "in place of others" and h.ndim == 1:
            h = h.flip(0)
        elif self.how == "alone" and h.numel() == 1:
            raise ValueError("a batch has more than one pair")
        value = -log_sigmoid(h)
        return value.mean() if self.how == "reduces" else value


@pytest.mark.parametrize("how", ["centred", "centred at one lambda", "beyond -15", "in place of others", "alone"])
def test_a_loss_of_batches_may_say_so(how: str) -> None:
    found = inspect(Batch(1.0, how))
    assert found.objective is None and found.remarks == (COUPLES,)


@pytest.mark.parametrize("loss", [ea.AOT(1.0), ea.AOT(1.0, unpaired=True)], ids=["paired", "unpaired"])
def test_aot_couples_pairs(loss: PairObjective) -> None:
    assert couples(loss) and inspect(loss).remarks == (COUPLES,)
    card = ea.audit(loss, only=["first_step"])
    assert card.verdicts["first_step"].decision == NOT_APPLICABLE


def test_a_loss_of_pairs_that_says_it_is_one_of_batches_is_judged() -> None:
    """It would be asked nothing, and have nothing that fails."""
    assert not couples(SaysBatch(1.0)) and not couples(ea.DPO(1.0))
    found = inspect(SaysBatch(1.0))
    assert isinstance(found.objective, Unclaimed) and not found.objective.claims.couples_pairs
    assert found.remarks[0].startswith("its claim couples_pairs = True is false") and len(found.remarks) == 2
    card = ea.audit(SaysBatch(1.0), only=["first_step"], effort=0.05)
    assert card.verdicts["first_step"].decision == HOLDS
    reduces = ea.audit(Batch(1.0, "reduces"), only=["first_step"])
    assert reduces.verdicts["first_step"].decision == CANNOT_TELL and "it reduces" in reduces.remarks[0]


@dataclass(frozen=True)
class Mass(PairObjective):
    """-log sigma(h) - log sigma(-h) - log(pi_w)/10: no function of h alone, and convex; h may state other slopes."""

    end: float = 1.0
    name = "mass"

    def pair_loss(self, logp_w: Any, logp_l: Any, ref_logp_w: Any, ref_logp_l: Any) -> Any:
        h = logp_w - logp_l
        return -log_sigmoid(h) - log_sigmoid(-h) - 0.1 * logp_w

    @property
    def claims(self) -> Claims:
        return Claims(convex=True, closed_form=False, needs_reference=False, log_ratio_only=False)

    def ratio_slopes(self) -> Any:
        return -1.1, self.end


def test_slopes_of_what_is_no_function_of_the_log_ratio_are_asked_for_too() -> None:
    """By a false one the solver finds no minimiser where there is one, and nothing is asked of optima."""
    one_win = ea.Bandit.from_counts([0.5, 0.5], [[0, 1], [0, 0]])
    assert ea.solve(Mass(1.0), one_win).status != "no_minimiser"
    assert ea.solve(Mass(1.0, 0.0), one_win).status == "no_minimiser"
    assert inspect(Mass(1.0)).remarks == ()
    (told, bare) = inspect(Mass(1.0, 0.0)).remarks
    assert told == "its claim ratio_slopes = (-1.1, 0) is false at lambda = 1e-06" and "without its claims" in bare
