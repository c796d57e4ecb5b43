"""Formulas of losses: read back as mathematics, they give the loss's own numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import add, mul, sub, truediv

import numpy as np
import pytest
from scipy.special import expit, log_expit

import expo_analysis as ea
from expo_analysis._symbols import Symbol
from expo_analysis.divergences import ForwardKL, resolve_divergence
from expo_analysis.losses.notation import LINKS, SYMBOLS
from expo_analysis.terms import (
    Atom,
    Data,
    Linear,
    Logistic,
    Psi,
    Square,
    Stated,
    Statistic,
    formula,
    h,
    hbar,
    log_pi_w,
    log_u_w,
    reference_log_ratio,
)

FUNCTIONS = {
    **{"log σ": log_expit, "σ": expit, "exp": np.exp, "log": np.log},
    **{"log odds": lambda p: np.log(p / (1 - p)), "log_weight": ea.MADPO(1.0).log_weight},
}


class Reader:
    """Reads a formula: sums of products, in which a factor may stand beside the next without a sign."""

    def __init__(self, text, values):
        names = sorted([*FUNCTIONS, *values], key=len, reverse=True)
        pattern = "|".join(map(re.escape, [*names, "KL("]))
        self.tokens = re.findall(rf"{pattern}|\d+\.?\d*|[½¼]|\]₊|\^\(|[-+*/()\[\],²‖]", text)
        assert "".join(self.tokens).replace(" ", "") == text.replace(" ", ""), (text, self.tokens)
        self.values = values

    @property
    def next(self):
        return self.tokens[0] if self.tokens else ""

    def take(self, token=None):
        assert token is None or self.next == token, (token, self.tokens)
        return self.tokens.pop(0)

    def sum(self):
        sign = -1 if self.next == "-" and self.take() else 1
        total = sign * self.product()
        while self.next in ("+", "-"):
            total = total + (1 if self.take() == "+" else -1) * self.product()
        return total

    def product(self):
        value = self.factor()
        while self.next and self.next not in ("+", "-", ")", "]₊", ",", "‖"):
            value = value / self.factor() if self.next == "/" and self.take() else value * self.factor()
        return value

    def factor(self):
        token = self.take()
        if token == "(":
            value = self.sum()
            self.take(")")
        elif token == "[":
            value = np.maximum(0, self.sum())
            self.take("]₊")
        elif token == "KL(":
            value = self.divergence()
        elif token in FUNCTIONS:
            self.take("(")
            value = FUNCTIONS[token](self.sum())
            self.take(")")
        elif token in "½¼":
            value = {"½": 0.5, "¼": 0.25}[token]
        else:
            value = self.values[token] if token in self.values else float(token)
        if self.next == "^(" and self.take():
            value = value ** self.sum()
            self.take(")")
        return value**2 if self.next == "²" and self.take() else value

    def divergence(self):
        """KL of two probabilities, each with its complement."""
        p = self.sum()
        self.take("‖")
        q = self.sum()
        self.take(")")
        return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def read(text, **values):
    reader = Reader(text, values)
    value = reader.sum()
    assert not reader.tokens, reader.tokens
    return value


RNG = np.random.default_rng(0)
POINTS = np.log(RNG.uniform(0.05, 0.9, (4, 200)))
DATA = {
    **{"length_l": RNG.integers(1, 6, 200).astype(float), "length_w": RNG.integers(1, 6, 200).astype(float)},
    **dict(zip(("reward_l", "reward_w"), np.sort(RNG.normal(size=(2, 200)), axis=0), strict=True)),
}
"""Lengths that differ, and rewards of which the winner's is the higher one, as their logarithm needs."""
DATA |= {"logp_t": np.log(RNG.uniform(0.05, 0.9, 200)), "ref_logp_t": np.log(RNG.uniform(0.05, 0.9, 200))}
DATA |= {name: RNG.normal(size=200) for name in ("value_w", "value_l", "goal_w", "goal_l")}
LAM = 0.7


def values(objective, points=POINTS):
    """What the symbols of an objective's formula stand for, at pairs."""
    won, lost, ref_won, ref_lost = points
    found = {"λ": LAM, "h": won - lost, "h̄": won - lost - ref_won + ref_lost, "h_ref": ref_won - ref_lost}
    for slot, logp, ref in (("w", won, ref_won), ("l", lost, ref_lost)):
        found |= {f"log π_{slot}": logp, f"log u_{slot}": logp - ref, f"-log u_{slot}": ref - logp}
        found |= {f"π_{slot}": np.exp(logp), f"|{slot}|": DATA[f"length_{slot}"], f"r_{slot}": DATA[f"reward_{slot}"]}
        link = objective.facts.link
        if link is not None:
            found[f"f'(u_{slot})"] = link.mu(logp - ref)
    found |= {"log π_t": DATA["logp_t"], "log u_t": DATA["logp_t"] - DATA["ref_logp_t"]}
    found |= {name: DATA[name] for name in ("value_w", "value_l", "goal_w", "goal_l")}
    options = {name: value for name, value in vars(objective).items() if isinstance(value, float) and name != "lam"}
    return found | {SYMBOLS.get(name, name): value for name, value in options.items()}


OPTIONS = {
    "dpo": ({}, {"label_smoothing": 0.1}, {"label_smoothing": 0.2, "robust": True}),
    "fdpo": ({}, {"divergence": "forward_kl"}, {"divergence": "alpha", "alpha": 0.5}),
    "regression_expo": ({}, {"criterion": "cross_entropy"}),
    "spo": ({"alpha": 1.7},),
    "slic": ({"margin": 0.6},),
    "exo": ({"label_smoothing": 0.2},),
    "discopop": ({"tau": 0.3},),
    "dpop": ({"penalty": 3.0},),
    "rpo": ({"alpha": 0.3},),
    "pessimistic_dpo": ({"beta": 0.3},),
    "dpo_shift": ({}, {"shift": 0.4}, {"shift": 1.0}),
    "cal_dpo": ({}, {"strength": 2.5}),
    "alpha_po": ({}, {"alpha": -0.7, "gamma": 0.4}, {"alpha": 0.0}),
    "reward_aware_po": ({}, {"eta": 0.3}, {"distance": "forward_kl", "eta": 0.3}, {"distance": "squared", "eta": 2.0}),
    "odpo": ({}, {"alpha": 0.3}, {"scale": "log"}),
    "cpo": ({"alpha": 2.5},),
    "wrpo": ({}, {"alpha": 0.3}),
    "tpo": ({"alpha": 0.6},),
    "simpo": ({}, {"gamma": 0.0}, {"gamma": 1.3}),
    "kto": ({}, {"desirable_weight": 2.0, "undesirable_weight": 0.4, "reference_point": 0.3}),
    "bco": ({}, {"reference_point": -0.8}),
}
CASES = [(name, options) for name in ea.CATALOGUE for options in OPTIONS.get(name, ({},))]
MADE_OF_TERMS = [case for case in CASES if case[0] not in ("rlhf", "qpo", "aot")]


@pytest.mark.parametrize(("name", "options"), MADE_OF_TERMS, ids=str)
def test_a_formula_is_the_loss(name, options):
    """With symbols, and with numbers; whatever stands behind the loss of a pair names the divergence."""
    objective = ea.objective(name, LAM, **options)
    expected = objective.loss(*POINTS, **{name: DATA[name] for name in objective.data})
    pair, _, divergence = formula(objective).partition(" + λ KL" if name != "explicit_po" else " + λ D_f")
    pair = pair.partition(", f'")[0]
    np.testing.assert_allclose(read(pair, **values(objective)), expected, rtol=1e-12, atol=1e-12)
    assert bool(divergence) == (objective.regulariser is not None)
    plain = str(objective.terms)
    assert "λ" not in plain
    rounded = 1e-5  # numbers are written with six digits
    np.testing.assert_allclose(read(plain, **values(objective)), expected, rtol=rounded, atol=rounded)


def test_the_reader_sees_a_wrong_formula():
    """It would be no test if signs, factors or brackets made no difference."""
    at = values(ea.DPO(LAM))
    right = read("-log σ(λh̄)", **at)
    for wrong in ("log σ(λh̄)", "-log σ(λh)", "-log σ(-λh̄)", "-λ log σ(h̄)", "-σ(λh̄)", "-log σ(λh̄)/2", "-log σ(λh̄ - 1)"):
        assert abs(read(wrong, **at) - right).max() > 1e-3


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("-log σ(λh̄)", ea.DPO(0.1)),
        ("(h̄ - 1/(2λ))²", ea.IPO(0.1)),
        ("-log σ(h) + λ KL(π_ref ‖ π)", ea.EXPO(0.1)),
        ("-log σ(h) + λ D_f(π ‖ π_ref)", ea.ExplicitPO(0.1, "jensen_shannon")),
        ("-log σ(αh)/α + λ KL(π ‖ π_ref)", ea.SPO(0.1)),
        ("-log σ(λh̄) - α log π_w", ea.RPO(0.1)),
        ("[δ - h]₊ + λ KL(π_ref ‖ π)", ea.SLiC(0.1)),
        ("-log σ(λ(h̄ - penalty [-log u_w]₊))", ea.DPOP(0.1)),
        ("-log σ(λ(f'(u_w) - f'(u_l))), f'(u) = u + log u", ea.ChiPO(0.1)),
        ("E_π[-log π*] + λ D_f(π ‖ π_ref)", ea.RLHF(0.1)),
        ("ℓ(log π_w, log π_l, log π_ref,w, log π_ref,l)", ea.QPO(0.1, abs, abs)),
        ("-log σ(βh̄) + λ KL(π_ref ‖ π)", ea.PessimisticDPO(0.1)),
        ("-log σ(λ(log u_w/|w| - log u_l/|l|))", ea.LengthNormalisedDPO(0.1)),
        ("(λh̄ - (r_w - r_l))²", ea.RewardDistillation(0.1)),
        ("-log σ(λh̄ - α log(r_w - r_l))", ea.ODPO(0.1, scale="log")),
        ("KL(σ(η(r_w - r_l)) ‖ σ(λh̄))", ea.RewardAwarePO(0.1)),
        ("(f'(u_w) - f'(u_l) - 1/(2λ))²", ea.with_divergence(ea.IPO(0.1), "forward_kl")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_in_the_notation_of_the_documents(text, objective):
    assert formula(objective) == text


@pytest.mark.parametrize("name", ["mixed_chi_square", "chi_square", "jensen_shannon", "forward_kl"])
def test_what_f_prime_is(name):
    """As it is written behind a formula, up to a constant, which a difference does not see."""
    u = np.linspace(0.2, 3.0, 40)
    logs = {"log u": np.log(u), "log (2u/(1 + u))": np.log(2 * u / (1 + u))}
    gap = resolve_divergence(name).mu(np.log(u)) - read(LINKS[name], u=u, **logs)
    assert np.ptp(gap) < 1e-12


def test_symbols_are_numbers_in_writing():
    """Random arithmetic on symbols reads back as the same arithmetic on numbers."""
    rng = np.random.default_rng(1)
    for _ in range(500):
        at = {"λ": rng.uniform(0.5, 2), "α": rng.uniform(0.5, 2), "h": rng.normal(), "log u_w": rng.normal()}
        written, number = 1.0, 1.0
        for _ in range(rng.integers(1, 6)):
            name = str(rng.choice(list(at)))
            operator, left = rng.choice([add, sub, mul, truediv]), rng.random() < 0.5
            factor = rng.choice([1.0, 2.0, 0.5, -1.0, 0.25, 0.3])
            one, other = (written, factor * Symbol(name)), (number, factor * at[name])
            (a, b), (x, y) = (one, other) if left else (one[::-1], other[::-1])
            if operator in (add, sub, mul) or abs(y) > 0.05:
                written, number = operator(a, b), operator(x, y)
        assert read(str(written), **at) == pytest.approx(number, rel=1e-9), str(written)


# ------------------------------------------------------------------------------------------------------- a user's loss


@dataclass(frozen=True)
class Mine(ea.PairObjective):
    """A likelihood, a margin that comes with the pair, and forward KL."""

    eta: float = 0.3
    strange: float = 2.0

    @property
    def terms(self):
        return Logistic()(self.lam * hbar - self.eta * reference_log_ratio) + self.strange * Linear()(log_pi_w)

    @property
    def regulariser(self):
        return ForwardKL()


def test_the_formula_of_a_users_loss():
    assert formula(Mine(1.0)) == "-log σ(λh̄ - η h_ref) - strange log π_w + λ KL(π_ref ‖ π)"
    assert str(Mine(0.5).terms) == "-log σ(h̄/2 - 0.3 h_ref) - 2 log π_w"


class Cubic(Psi):
    def value(self, m):
        return m**3


class Steeper(Square):
    """A subclass with another formula, which must not be written as its parent's."""

    def value(self, m):
        return 2 * m**2


@dataclass(frozen=True)
class Entropy(Atom):
    def value(self, logp, ref_logp):
        return logp**2


def test_what_has_no_notation_goes_by_its_name():
    assert str(Cubic()(2 * h)) == "Cubic(2h)" and str(Steeper()(h)) == "Steeper(h)"
    assert str(Stated(lambda m: m**4)(hbar)) == "ψ(h̄)"
    assert str(Linear(1.0)(Statistic(((1.0, Entropy("l")),)))) == "Entropy_l"
    own = Data(lambda datum: np.sort(datum["ref_logp_w"]), frozenset({"ref_logp_w"}))
    assert str(Square()(h - own)) == "(h - data(ref_logp_w))²"


@dataclass(frozen=True)
class Careless(ea.PairObjective):
    """Terms that take numbers only, of one option or of all."""

    option: float = 2.0
    everything: bool = False

    @property
    def terms(self):
        lam = float(self.lam) if self.everything else self.lam
        return Square()(lam * log_u_w - max(self.option, 1.0))


def test_numbers_where_terms_take_no_symbols():
    assert formula(Careless(0.1)) == "(λ log u_w - 2)²"
    assert formula(Careless(0.1, everything=True)) == "(0.1 log u_w - 2)²"


def test_arrays_in_short():
    assert str(ea.DPO(0.1).with_lam(np.array([0.1, 0.2])).terms) == "-log σ([0.1, 0.2] h̄)"
    assert str(ea.DPO(0.1).with_lam(np.linspace(0, 1, 99) + 1).terms) == "-log σ([1., ..., 2.] h̄)"


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        (0.5 * Square()(h), "½ h²"),
        (-0.5 * Square()(h), "-½ h²"),
        (2 * Square()(h), "2 h²"),
        (Logistic()(0.5 * h) / 0.5, "-2 log σ(h/2)"),
    ],
)
def test_a_weight_stands_in_front(terms, text):
    assert str(terms) == text
