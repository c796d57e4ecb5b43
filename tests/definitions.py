"""Every divergence and every pair loss from its definition, in high precision: the tests' own copy of the formulas.

Nothing here is stable in floating point or means to be: mpmath carries enough digits for the plain formulas. Call the
functions inside `digits`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import array_api_compat
import mpmath as mp

import expo_analysis as ea
from expo_analysis._array import log_sigmoid

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
}

# ---------------------------------------------------------------------------------------------------- pair losses


@dataclass(frozen=True)
class Case:
    """An objective of the catalogue with its options, and its pair loss.

    loss(lam, logp_w, logp_l, ref_logp_w, ref_logp_l), and slopes(...), its derivatives in logp_w and logp_l.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    loss: Callable[..., mp.mpf] | None = None
    slopes: Callable[..., tuple[mp.mpf, mp.mpf]] | None = None

    def __call__(self, lam: Any) -> Any:
        return ea.objective(self.name, lam, **self.options)


def _family(
    name: str,
    options: dict[str, Any],
    psi: Callable[[mp.mpf, mp.mpf], mp.mpf],
    psi_slope: Callable[[mp.mpf, mp.mpf], mp.mpf],
    mu: Callable[[mp.mpf], mp.mpf] = mp.log,
    mu_bend: Callable[[mp.mpf], mp.mpf] = lambda u: mp.mpf(1),
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

    return Case(name, options, loss, slopes)


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


PAIR_CASES: dict[str, Case] = {
    "dpo": _logistic("dpo", {}),
    "dpo_conservative": _logistic("dpo", {"label_smoothing": 0.125}, 0.875, 0.125),
    "dpo_robust": _logistic(
        "dpo", {"label_smoothing": 0.125, "robust": True}, mp.mpf(0.875) / mp.mpf(0.75), -mp.mpf(0.125) / mp.mpf(0.75)
    ),
    "ipo": _family("ipo", {}, lambda lam, m: (m - 1 / (2 * lam)) ** 2, lambda lam, m: 2 * (m - 1 / (2 * lam))),
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
}
"""Every pair objective of the catalogue with every option."""

CASES: dict[str, Case] = {
    **{f"rlhf_{name}": Case("rlhf", g.options) for name, g in GENERATORS.items()},
    **PAIR_CASES,
}
"""Every objective of the catalogue with every option."""
