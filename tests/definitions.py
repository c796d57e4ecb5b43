"""Every divergence and every pair loss from its definition, in high precision: the tests' own copy of the formulas.

Nothing here is stable in floating point or means to be: mpmath carries enough digits for the plain formulas. Call the
functions inside `digits`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import array_api_compat
import mpmath as mp

import expo_analysis as ea
from expo_analysis.numerics import log_sigmoid

digits = mp.workdps(60)


def softplus(x: mp.mpf) -> mp.mpf:
    """log(1 + e^x)."""
    return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


def sigma(x: mp.mpf) -> mp.mpf:
    return 1 / (1 + mp.exp(-x))


# ---------------------------------------------------------------------------------------------------- divergences


@dataclass(frozen=True)
class Generator:
    """f(u), its derivative f'(u), and u f''(u), which is the derivative of f' in log u."""

    divergence: ea.Divergence
    options: dict[str, Any]
    f: Callable[[mp.mpf], mp.mpf]
    slope: Callable[[mp.mpf], mp.mpf]
    bend: Callable[[mp.mpf], mp.mpf]

    def sum(self, policy: list[mp.mpf], reference: list[mp.mpf]) -> mp.mpf:
        """D_f = sum pi_ref f(pi / pi_ref)."""
        return mp.fsum(r * self.f(p / r) for p, r in zip(policy, reference, strict=True))


def _alpha(alpha: float) -> Generator:
    a = mp.mpf(alpha)
    return Generator(
        ea.Alpha(alpha),
        {"divergence": "alpha", "alpha": alpha},
        lambda u: (u ** (1 - a) - (1 - a) * u - a) / (a * (a - 1)),
        lambda u: (1 - u**-a) / a,
        lambda u: u**-a,
    )


GENERATORS: dict[str, Generator] = {
    "reverse_kl": Generator(
        ea.ReverseKL(),
        {"divergence": "reverse_kl"},
        lambda u: u * mp.log(u),
        lambda u: mp.log(u) + 1,
        lambda u: mp.mpf(1),
    ),
    "forward_kl": Generator(
        ea.ForwardKL(), {"divergence": "forward_kl"}, lambda u: -mp.log(u), lambda u: -1 / u, lambda u: 1 / u
    ),
    "jensen_shannon": Generator(
        ea.JensenShannon(),
        {"divergence": "jensen_shannon"},
        lambda u: u * mp.log(u) - (1 + u) * mp.log((1 + u) / 2),
        lambda u: mp.log(2 * u / (1 + u)),
        lambda u: 1 / (1 + u),
    ),
    "alpha_small": _alpha(0.3),
    "alpha_large": _alpha(2.0),
    "chi_square": Generator(
        ea.ChiSquare(),
        {"divergence": "chi_square"},
        lambda u: (u - 1) ** 2,
        lambda u: 2 * (u - 1),
        lambda u: 2 * u,
    ),
    "mixed_chi_square": Generator(
        ea.MixedChiSquare(),
        {"divergence": "mixed_chi_square"},
        lambda u: u * mp.log(u) + (u - 1) ** 2 / 2,
        lambda u: mp.log(u) + u,
        lambda u: 1 + u,
    ),
}

# ---------------------------------------------------------------------------------------------------- pair losses


@dataclass(frozen=True)
class Case:
    """An objective of the catalogue with its options, and its pair loss.

    loss(lam, logp_w, logp_l, ref_logp_w, ref_logp_l), and slopes(...), its derivatives in logp_w and logp_l.
    steep: whether lam multiplies a margin, so that slopes and what rounding does to them grow with it.
    highest: the largest log-probability at which the plain formula is not infinite.
    kinks: whether the slopes jump where pi = pi_ref.
    bend: the size that second derivatives reach at lam = 1/2, where it is more than 1.
    rewards: whether loss and slopes have two further arguments, reward_l and reward_w.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    loss: Callable[..., mp.mpf] | None = None
    slopes: Callable[..., tuple[mp.mpf, mp.mpf]] | None = None
    steep: bool = False
    highest: float = 0.0
    kinks: bool = False
    bend: float = 1.0
    rewards: bool = False

    def __call__(self, lam: Any) -> Any:
        return ea.objective(self.name, lam, **self.options)


def _family(
    name: str,
    options: dict[str, Any],
    psi: Callable[[mp.mpf, mp.mpf], mp.mpf],
    psi_slope: Callable[[mp.mpf, mp.mpf], mp.mpf],
    mu: Callable[[mp.mpf], mp.mpf] = mp.log,
    mu_bend: Callable[[mp.mpf], mp.mpf] = lambda u: mp.mpf(1),
    steep: bool = True,
) -> Case:
    """psi(mu(u_w) - mu(u_l)), u = pi / pi_ref; mu_bend is the derivative of mu in log u."""

    def ratios(*logs: Any) -> tuple[mp.mpf, mp.mpf]:
        logp_w, logp_l, ref_w, ref_l = (mp.mpf(x) for x in logs)
        return mp.exp(logp_w - ref_w), mp.exp(logp_l - ref_l)

    def loss(lam: Any, *logs: Any) -> mp.mpf:
        u_w, u_l = ratios(*logs)
        return psi(mp.mpf(lam), mu(u_w) - mu(u_l))

    def slopes(lam: Any, *logs: Any) -> tuple[mp.mpf, mp.mpf]:
        u_w, u_l = ratios(*logs)
        slope = psi_slope(mp.mpf(lam), mu(u_w) - mu(u_l))
        return slope * mu_bend(u_w), -slope * mu_bend(u_l)

    return Case(name, options, loss, slopes, steep)


def _logistic(
    name: str, options: dict[str, Any], kept: float = 1.0, flipped: float = 0.0, **link: Callable[[mp.mpf], mp.mpf]
) -> Case:
    """-kept log sigma(lam m) - flipped log sigma(-lam m)."""
    return _family(
        name,
        options,
        lambda lam, m: kept * softplus(-lam * m) + flipped * softplus(lam * m),
        lambda lam, m: lam * (flipped * sigma(lam * m) - kept * sigma(-lam * m)),
        **link,
    )


def _own(
    name: str,
    options: dict[str, Any],
    value: Callable[[mp.mpf, mp.mpf, mp.mpf], mp.mpf],
    slope: Callable[[mp.mpf, mp.mpf, mp.mpf], mp.mpf],
) -> Case:
    """A function of lam, h = log pi_w/pi_l and p_ref = sigma(log pi_ref,w/pi_ref,l), with its derivative in h."""

    def arguments(lam: Any, *logs: Any) -> tuple[mp.mpf, mp.mpf, mp.mpf]:
        logp_w, logp_l, ref_w, ref_l = (mp.mpf(x) for x in logs)
        return mp.mpf(lam), logp_w - logp_l, sigma(ref_w - ref_l)

    def slopes(*args: Any) -> tuple[mp.mpf, mp.mpf]:
        s = slope(*arguments(*args))
        return s, -s

    return Case(name, options, lambda *args: value(*arguments(*args)), slopes)


Two = Callable[[mp.mpf, mp.mpf, mp.mpf], mp.mpf]


def _one_by_one(
    name: str,
    options: dict[str, Any],
    value: Two,
    slope_w: Two,
    slope_l: Two,
    relative: bool = True,
    **more: Any,
) -> Case:
    """A function of lam, x = log u_w and y = log u_l (log pi where not ``relative``), and its two derivatives."""

    def arguments(lam: Any, *logs: Any) -> tuple[mp.mpf, mp.mpf, mp.mpf]:
        logp_w, logp_l, ref_w, ref_l = (mp.mpf(x) for x in logs)
        return (mp.mpf(lam), logp_w - ref_w, logp_l - ref_l) if relative else (mp.mpf(lam), logp_w, logp_l)

    def slopes(*args: Any) -> tuple[mp.mpf, mp.mpf]:
        given = arguments(*args)
        return slope_w(*given), slope_l(*given)

    return Case(name, options, lambda *args: value(*arguments(*args)), slopes, **{"steep": True, **more})


def _bell(x: mp.mpf) -> mp.mpf:
    """The derivative of sigma."""
    return sigma(x) * sigma(-x)


def _kto(name: str, options: dict[str, Any], good: float = 1.0, bad: float = 1.0, z0: float = 0.0) -> Case:
    """lambda_D (1 - sigma(lam (x - z0))) + lambda_U (1 - sigma(lam (z0 - y)))."""
    return _one_by_one(
        name,
        options,
        lambda lam, x, y: good * (1 - sigma(lam * (x - z0))) + bad * (1 - sigma(lam * (z0 - y))),
        lambda lam, x, y: -good * lam * _bell(lam * (x - z0)),
        lambda lam, x, y: bad * lam * _bell(lam * (z0 - y)),
    )


def _bco(delta: float, options: dict[str, Any]) -> Case:
    return _one_by_one(
        "bco",
        options,
        lambda lam, x, y: softplus(delta - lam * x) + softplus(lam * y - delta),
        lambda lam, x, y: -lam * sigma(delta - lam * x),
        lambda lam, x, y: lam * sigma(lam * y - delta),
    )


def _with_likelihood(name: str, options: dict[str, Any], alpha: float, relative: bool) -> Case:
    """-log sigma(lam m) - alpha log pi_w."""

    def margin(logs: Any) -> tuple[mp.mpf, mp.mpf]:
        logp_w, logp_l, ref_w, ref_l = (mp.mpf(x) for x in logs)
        return logp_w, logp_w - logp_l - ((ref_w - ref_l) if relative else 0)

    def loss(lam: Any, *logs: Any) -> mp.mpf:
        logp_w, m = margin(logs)
        return softplus(-mp.mpf(lam) * m) - alpha * logp_w

    def slopes(lam: Any, *logs: Any) -> tuple[mp.mpf, mp.mpf]:
        _, m = margin(logs)
        pull = mp.mpf(lam) * sigma(-mp.mpf(lam) * m)
        return -pull - alpha, pull

    return Case(name, options, loss, slopes, steep=True)


def _dpop(options: dict[str, Any], penalty: float) -> Case:
    def margin(x: mp.mpf, y: mp.mpf) -> mp.mpf:
        return x - y - penalty * max(-x, mp.mpf(0))

    return _one_by_one(
        "dpop",
        options,
        lambda lam, x, y: softplus(-lam * margin(x, y)),
        lambda lam, x, y: -lam * sigma(-lam * margin(x, y)) * (1 + (penalty if x < 0 else 0)),
        lambda lam, x, y: lam * sigma(-lam * margin(x, y)),
        kinks=True,
    )


def _exo(options: dict[str, Any], eps: float) -> Case:
    """q log(q/(1-eps)) + (1-q) log((1-q)/eps), whose derivative in the logit is q (1-q) (logit q - logit (1-eps))."""

    def divergence(lam: mp.mpf, m: mp.mpf) -> mp.mpf:
        e, q, p = mp.mpf(eps), sigma(lam * m), sigma(-lam * m)
        return -q * (softplus(-lam * m) + mp.log(1 - e)) - p * (softplus(lam * m) + mp.log(e))

    def slope(lam: mp.mpf, m: mp.mpf) -> mp.mpf:
        return lam * _bell(lam * m) * (lam * m - mp.log((1 - mp.mpf(eps)) / eps))

    return _family("exo", options, divergence, slope)


def _discopop(options: dict[str, Any], tau: float) -> Case:
    def blend(lam: mp.mpf, m: mp.mpf) -> mp.mpf:
        x = lam * m
        k = sigma(x / tau)
        return (1 - k) * softplus(-x) + k * mp.exp(-x)

    def slope(lam: mp.mpf, m: mp.mpf) -> mp.mpf:
        x = lam * m
        k = sigma(x / tau)
        return lam * (_bell(x / tau) / tau * (mp.exp(-x) - softplus(-x)) - (1 - k) * sigma(-x) - k * mp.exp(-x))

    case = _family("discopop", options, blend, slope)
    return replace(case, bend=float(max(1, 0.5 / tau)))


def _log_odds(x: mp.mpf) -> mp.mpf:
    return x - mp.log(1 - mp.exp(x))


def _orpo() -> Case:
    def pull(lam: mp.mpf, x: mp.mpf, y: mp.mpf) -> mp.mpf:
        return lam * sigma(_log_odds(y) - _log_odds(x))

    return _one_by_one(
        "orpo",
        {},
        lambda lam, x, y: -x + lam * softplus(_log_odds(y) - _log_odds(x)),
        lambda lam, x, y: -1 - pull(lam, x, y) / (1 - mp.exp(x)),
        lambda lam, x, y: pull(lam, x, y) / (1 - mp.exp(y)),
        relative=False,
        highest=-1e-9,
    )


def _cal_dpo(options: dict[str, Any], c: float) -> Case:
    return _one_by_one(
        "cal_dpo",
        options,
        lambda lam, x, y: softplus(y - x) + c * ((x - 1 / (2 * lam)) ** 2 + (y + 1 / (2 * lam)) ** 2),
        lambda lam, x, y: -sigma(y - x) + 2 * c * (x - 1 / (2 * lam)),
        lambda lam, x, y: sigma(y - x) + 2 * c * (y + 1 / (2 * lam)),
        steep=False,
        bend=2 * c,
    )


def _dpo_shift(options: dict[str, Any], f: float) -> Case:
    return _one_by_one(
        "dpo_shift",
        options,
        lambda lam, x, y: softplus(-lam * (x - f * y)),
        lambda lam, x, y: -lam * sigma(-lam * (x - f * y)),
        lambda lam, x, y: lam * f * sigma(-lam * (x - f * y)),
    )


def _alpha_po(alpha: float, gamma: float) -> Case:
    def pull(lam: mp.mpf, x: mp.mpf, y: mp.mpf) -> mp.mpf:
        """sigma(gamma - lam (g(x) - g(y))), g(x) = (1 - e^(-alpha x))/alpha, whose derivative is e^(-alpha x)."""
        return sigma(gamma - lam * (mp.exp(-alpha * y) - mp.exp(-alpha * x)) / alpha)

    return _one_by_one(
        "alpha_po",
        {"alpha": alpha, "gamma": gamma},
        lambda lam, x, y: softplus(gamma - lam * (mp.exp(-alpha * y) - mp.exp(-alpha * x)) / alpha),
        lambda lam, x, y: -lam * mp.exp(-alpha * x) * pull(lam, x, y),
        lambda lam, x, y: lam * mp.exp(-alpha * y) * pull(lam, x, y),
        relative=False,
    )


def _explicit(name: str, options: dict[str, Any]) -> Case:
    return _own(name, options, lambda lam, h, p_ref: softplus(-h), lambda lam, h, p_ref: -sigma(-h))


def _target(lam: mp.mpf, p_ref: mp.mpf) -> mp.mpf:
    return (1 + lam * p_ref) / (1 + lam)


def _softplus_of(margin: Any, lam: Any) -> Any:
    return -log_sigmoid(lam * margin)


def _squared_hinge_of(margin: Any, lam: Any) -> Any:
    return array_api_compat.array_namespace(margin).clip(1 - lam * margin, 0.0, None) ** 2


def _log_of(u: Any) -> Any:
    return array_api_compat.array_namespace(u).log(u)


def _hinge_slope(lam: mp.mpf, m: mp.mpf) -> mp.mpf:
    return -lam if lam * m < 1 else mp.mpf(0)


PAIR_CASES: dict[str, Case] = {
    "dpo": _logistic("dpo", {}),
    "dpo_conservative": _logistic("dpo", {"label_smoothing": 0.125}, 0.875, 0.125),
    "dpo_robust": _logistic(
        "dpo", {"label_smoothing": 0.125, "robust": True}, mp.mpf(0.875) / mp.mpf(0.75), -mp.mpf(0.125) / mp.mpf(0.75)
    ),
    "ipo": _family(
        "ipo", {}, lambda lam, m: (m - 1 / (2 * lam)) ** 2, lambda lam, m: 2 * (m - 1 / (2 * lam)), steep=False
    ),
    **{f"fdpo_{name}": _logistic("fdpo", g.options, mu=g.slope, mu_bend=g.bend) for name, g in GENERATORS.items()},
    "qpo_chi_po": _logistic(
        "qpo",
        {"psi": _softplus_of, "mu": lambda u: u + _log_of(u)},
        mu=lambda u: u + mp.log(u),
        mu_bend=lambda u: u + 1,
    ),
    "qpo_squared_hinge": _family(
        "qpo",
        {"psi": _squared_hinge_of, "mu": _log_of},
        lambda lam, m: max(1 - lam * m, mp.mpf(0)) ** 2,
        lambda lam, m: -2 * lam * max(1 - lam * m, mp.mpf(0)),
    ),
    "expo": _explicit("expo", {}),
    **{f"explicit_po_{name}": _explicit("explicit_po", g.options) for name, g in GENERATORS.items()},
    "regression_expo": _own(
        "regression_expo",
        {},
        lambda lam, h, p_ref: (sigma(h) - _target(lam, p_ref)) ** 2,
        lambda lam, h, p_ref: 2 * (sigma(h) - _target(lam, p_ref)) * sigma(h) * sigma(-h),
    ),
    "regression_expo_cross_entropy": _own(
        "regression_expo",
        {"criterion": "cross_entropy"},
        lambda lam, h, p_ref: _target(lam, p_ref) * softplus(-h) + (1 - _target(lam, p_ref)) * softplus(h),
        lambda lam, h, p_ref: sigma(h) - _target(lam, p_ref),
    ),
    "spo": _own("spo", {}, lambda lam, h, p_ref: softplus(-h), lambda lam, h, p_ref: -sigma(-h)),
    "spo_soft": _own(
        "spo", {"alpha": 0.25}, lambda lam, h, p_ref: 4 * softplus(-h / 4), lambda lam, h, p_ref: -sigma(-h / 4)
    ),
    "hinge": _family("hinge", {}, lambda lam, m: max(1 - lam * m, mp.mpf(0)), _hinge_slope),
    "slic": _own(
        "slic",
        {"margin": 1.75},
        lambda lam, h, p_ref: max(mp.mpf(1.75) - h, mp.mpf(0)),
        lambda lam, h, p_ref: mp.mpf(-1 if h < 1.75 else 0),
    ),
    "chi_po": _logistic("chi_po", {}, mu=lambda u: u + mp.log(u), mu_bend=lambda u: u + 1),
    "exo": _exo({"label_smoothing": 0.125}, 0.125),
    "exo_sharp": _exo({}, 1e-3),
    "discopop": _discopop({}, mp.mpf(0.05)),
    "discopop_wide": _discopop({"tau": 1.0}, mp.mpf(1)),
    "dpop": _dpop({}, 50.0),
    "dpop_light": _dpop({"penalty": 0.5}, 0.5),
    "rpo": _with_likelihood("rpo", {"alpha": 0.25}, 0.25, True),
    "aux_dpo": _logistic("aux_dpo", {}),
    "pessimistic_dpo": _family(
        "pessimistic_dpo",
        {"beta": 0.5},
        lambda lam, m: softplus(-m / 2),
        lambda lam, m: -sigma(-m / 2) / 2,
        steep=False,
    ),
    "length_normalised_dpo": _logistic("length_normalised_dpo", {}),
    "dpo_shift": _dpo_shift({"shift": 0.5}, 0.5),
    "dpo_shift_none": _dpo_shift({"shift": 1.0}, 1.0),
    "cal_dpo": _cal_dpo({}, 0.5),
    "cal_dpo_strong": _cal_dpo({"strength": 2.0}, 2.0),
    "pro": _one_by_one(
        "pro",
        {},
        lambda lam, x, y: (
            softplus(lam * (y - x))
            + (softplus(lam * x) + softplus(-lam * x) + softplus(lam * y) + softplus(-lam * y)) / 2
        ),
        lambda lam, x, y: lam * (-sigma(lam * (y - x)) + (sigma(lam * x) - sigma(-lam * x)) / 2),
        lambda lam, x, y: lam * (sigma(lam * (y - x)) + (sigma(lam * y) - sigma(-lam * y)) / 2),
    ),
    "sft": _one_by_one(
        "sft",
        {},
        lambda lam, x, y: -x,
        lambda lam, x, y: mp.mpf(-1),
        lambda lam, x, y: mp.mpf(0),
        relative=False,
        steep=False,
    ),
    "bradley_terry": _one_by_one(
        "bradley_terry",
        {},
        lambda lam, x, y: softplus(lam * (y - x)),
        lambda lam, x, y: -lam * sigma(lam * (y - x)),
        lambda lam, x, y: lam * sigma(lam * (y - x)),
        relative=False,
    ),
    "plackett_luce": _one_by_one(
        "plackett_luce",
        {},
        lambda lam, x, y: softplus(lam * (y - x)),
        lambda lam, x, y: -lam * sigma(lam * (y - x)),
        lambda lam, x, y: lam * sigma(lam * (y - x)),
        relative=False,
    ),
    "plackett_luce_dpo": _logistic("plackett_luce_dpo", {}),
    "plackett_luce_expo": _explicit("plackett_luce_expo", {}),
    "cpo": _with_likelihood("cpo", {"alpha": 2.0}, 2.0, False),
    "simpo": _one_by_one(
        "simpo",
        {"gamma": 1.5},
        lambda lam, x, y: softplus(lam * (y - x) + 1.5),
        lambda lam, x, y: -lam * sigma(lam * (y - x) + 1.5),
        lambda lam, x, y: lam * sigma(lam * (y - x) + 1.5),
        relative=False,
    ),
    "alpha_po": _alpha_po(0.25, 0.5),
    "alpha_po_negative": _alpha_po(-0.5, 0.0),
    "simper": _one_by_one(
        "simper",
        {},
        lambda lam, x, y: mp.exp(y) - mp.exp(x),
        lambda lam, x, y: -mp.exp(x),
        lambda lam, x, y: mp.exp(y),
        relative=False,
        steep=False,
    ),
    "orpo": _orpo(),
    "kto": _kto("kto", {}),
    "kto_weighted": _kto(
        "kto", {"desirable_weight": 1.5, "undesirable_weight": 0.5, "reference_point": 0.25}, 1.5, 0.5, 0.25
    ),
    "apo_zero": _kto("apo_zero", {}),
    "apo_down": _one_by_one(
        "apo_down",
        {},
        lambda lam, x, y: sigma(lam * x) + 1 - sigma(lam * (x - y)),
        lambda lam, x, y: lam * _bell(lam * x) - lam * _bell(lam * (x - y)),
        lambda lam, x, y: lam * _bell(lam * (x - y)),
    ),
    "bco": _bco(0.0, {}),
    "bco_shifted": _bco(-0.75, {"reference_point": -0.75}),
    "nca": _one_by_one(
        "nca",
        {},
        lambda lam, x, y: softplus(-lam * x) + softplus(lam * x) / 2 + softplus(lam * y) / 2,
        lambda lam, x, y: -lam * sigma(-lam * x) + lam * sigma(lam * x) / 2,
        lambda lam, x, y: lam * sigma(lam * y) / 2,
    ),
    "sppo": _one_by_one(
        "sppo",
        {},
        lambda lam, x, y: (x - 1 / (2 * lam)) ** 2 + (y + 1 / (2 * lam)) ** 2,
        lambda lam, x, y: 2 * (x - 1 / (2 * lam)),
        lambda lam, x, y: 2 * (y + 1 / (2 * lam)),
        steep=False,
    ),
}
"""Every objective of the catalogue that is a loss of single pairs and their log-probabilities, with every option."""

# ------------------------------------------------------------------------------------- pair losses that read rewards

Gap = Callable[[mp.mpf, mp.mpf, mp.mpf], mp.mpf]


def _of_rewards(
    name: str, options: dict[str, Any], value: Gap, slope: Gap, steep: bool = True, bend: float = 1.0
) -> Case:
    """A function of lam, hbar and g = r_w - r_l, and its derivative in hbar; loss(lam, *logs, reward_l, reward_w)."""

    def arguments(lam: Any, *given: Any) -> tuple[mp.mpf, mp.mpf, mp.mpf]:
        logp_w, logp_l, ref_w, ref_l, reward_l, reward_w = (mp.mpf(x) for x in given)
        return mp.mpf(lam), logp_w - logp_l - (ref_w - ref_l), reward_w - reward_l

    def slopes(*args: Any) -> tuple[mp.mpf, mp.mpf]:
        s = slope(*arguments(*args))
        return s, -s

    return Case(name, options, lambda *args: value(*arguments(*args)), slopes, steep, bend=bend, rewards=True)


def bernoulli_kl(a: mp.mpf, b: mp.mpf) -> mp.mpf:
    """KL(Bernoulli(sigma(a)) || Bernoulli(sigma(b)))."""
    return sigma(a) * (softplus(-b) - softplus(-a)) + sigma(-a) * (softplus(b) - softplus(a))


def _squared(name: str, options: dict[str, Any], eta: float = 1.0, by: str = "lam") -> Case:
    """(lam m - eta g)^2, or that divided by lam^2."""
    one = (lambda lam: lam**2) if by == "hbar" else (lambda lam: mp.mpf(1))
    return _of_rewards(
        name,
        options,
        lambda lam, m, g: (lam * m - eta * g) ** 2 / one(lam),
        lambda lam, m, g: 2 * lam * (lam * m - eta * g) / one(lam),
    )


def madpo_amplification(gap: Any, tau: Any, most: Any, least: Any, rate: Any) -> mp.mpf:
    """c(|g|), 1 at tau."""
    k = (most - 1) / (1 - least)
    return least + (most - least) / (1 + k * mp.exp(rate * (abs(gap) - tau)))


def madpo_weight(gap: Any, tau: Any, most: Any, least: Any, rate: Any) -> mp.mpf:
    if gap <= -tau:
        return mp.mpf(1)
    return sigma(madpo_amplification(gap, tau, most, least, rate) * gap) / sigma(gap)


def _madpo(options: dict[str, Any], tau: float, most: float, least: float, rate: float) -> Case:
    own = tuple(map(mp.mpf, (tau, most, least, rate)))
    return _of_rewards(
        "madpo",
        options,
        lambda lam, m, g: madpo_weight(g, *own) * softplus(-lam * m),
        lambda lam, m, g: -madpo_weight(g, *own) * lam * sigma(-lam * m),
    )


def _odpo(options: dict[str, Any], alpha: float, f: Callable[[mp.mpf], mp.mpf] = lambda g: g) -> Case:
    return _of_rewards(
        "odpo",
        options,
        lambda lam, m, g: softplus(alpha * f(g) - lam * m),
        lambda lam, m, g: -lam * sigma(alpha * f(g) - lam * m),
    )


REWARD_CASES: dict[str, Case] = {
    "reward_aware_po": _of_rewards(
        "reward_aware_po",
        {"eta": 0.75},
        lambda lam, m, g: bernoulli_kl(mp.mpf(0.75) * g, lam * m),
        lambda lam, m, g: lam * (sigma(lam * m) - sigma(mp.mpf(0.75) * g)),
    ),
    "reward_aware_po_squared": _squared("reward_aware_po", {"distance": "squared", "eta": 1.5}, 1.5),
    "reward_aware_po_forward": _of_rewards(
        "reward_aware_po",
        {"distance": "forward_kl"},
        lambda lam, m, g: bernoulli_kl(lam * m, g),
        lambda lam, m, g: lam * _bell(lam * m) * (lam * m - g),
    ),
    "rebel": _squared("rebel", {}, by="hbar"),
    "reward_distillation": _squared("reward_distillation", {}),
    "odpo": _odpo({"alpha": 0.5}, 0.5),
    "odpo_log": _odpo({"scale": "log", "alpha": 2.0}, 2.0, mp.log),
    "madpo": _madpo({}, 2.0, 2.0, 0.5, 1.0),
    "madpo_other": _madpo({"tau": 1.0, "most": 3.0, "least": 0.25, "rate": 4.0}, 1.0, 3.0, 0.25, 4.0),
}
"""Every loss of the catalogue that reads rewards, with every option."""

BATCH_CASES: dict[str, Case] = {
    "aot": Case("aot", {"label_smoothing": 0.125}),
    "aot_unpaired": Case("aot", {"unpaired": True}),
}
"""Losses that couple the pairs of a batch: they have no formula for one pair."""

CASES: dict[str, Case] = {
    **{f"rlhf_{name}": Case("rlhf", g.options) for name, g in GENERATORS.items()},
    **PAIR_CASES,
    **REWARD_CASES,
    **BATCH_CASES,
}
"""Every objective of the catalogue with every option."""

OF_MORE_THAN_PAIRS = {"a_star_po", "qrpo", "wrpo", "tpo"}
"""Losses that read a prompt's other responses or a third one: test_feedback.py has their definitions."""
