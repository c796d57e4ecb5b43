"""How losses are written: their terms as formulas, in the notation of docs/losses.md.

h = log pi_w/pi_l, h̄ is h minus the same under pi_ref, u = pi/pi_ref, [x]₊ = max(0, x), and h_ref is the reference's own
log-ratio. ``str()`` of terms and of statistics writes their numbers; `formula` puts symbols for lambda and for options.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from .._symbols import PRODUCT, Symbol, symbol
from ..divergences import Divergence, ForwardKL, JensenShannon, ReverseKL
from .base import Objective, PairObjective, RewardObjective
from .data import Data
from .psi import (
    BernoulliKL,
    Exponential,
    Hinge,
    Linear,
    Logistic,
    Modulated,
    Psi,
    Sigmoid,
    Square,
    SquaredSigmoid,
    Stated,
    TargetKL,
)
from .statistics import (
    SLOTS,
    THIRD,
    Atom,
    Linked,
    LogOdds,
    LogRatioToReference,
    PerToken,
    Powered,
    Shortfall,
    Statistic,
)
from .terms import Sum, Term, bound

GREEK = {
    **{"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "theta": "θ", "kappa": "κ"},
    **{"mu": "μ", "nu": "ν", "rho": "ρ", "tau": "τ", "phi": "φ", "chi": "χ", "omega": "ω"},
}

SYMBOLS = {
    **GREEK,
    **{"lam": "λ", "label_smoothing": "ε", "margin": "δ", "reference_point": "z₀"},
    **{"desirable_weight": "λ_D", "undesirable_weight": "λ_U"},
}
"""Symbols of options, by their names; any other option is written by its name."""

REFERENCE_RATIO = Symbol("h_ref")


def full_name(objective: Objective) -> str:
    """The loss's name, with those of its options that are not the default's and can be told in a word.

    Example:
        >>> from expo_analysis.losses import DPO
        >>> full_name(DPO(1.0, label_smoothing=0.1))
        'dpo(label_smoothing=0.1)'
    """
    name = str(getattr(objective, "name", type(objective).__name__))
    options = []
    for field in dataclasses.fields(objective):
        value = getattr(objective, field.name, field.default)
        word = getattr(value, "name", value)
        is_option = field.init and field.name != "lam" and isinstance(word, bool | int | float | str)
        if not is_option or word in ("", name):
            continue
        if value is not field.default and value != field.default:
            options.append(f"{field.name}={word}")
    return f"{name}({', '.join(options)})" if options else name


def formula(objective: Objective) -> str:
    """An objective as the documents write it, with symbols for lambda and for every option that is not 0.

    What is a bare formula is written as a function of the four log-probabilities, and so is a psi that is given as a
    function: `ψ(h̄)`. A psi of one's own goes by the name of its class.

    Example:
        >>> import expo_analysis as ea
        >>> ea.losses.formula(ea.RPO(lam=0.1))
        '-log σ(λh̄) - α log π_w'
        >>> ea.losses.formula(ea.EXPO(lam=0.1))
        '-log σ(h) + λ KL(π_ref ‖ π)'
    """
    lam, written = _symbols(objective)
    if isinstance(written, RewardObjective):
        return f"E_π[-log π*] + {lam * _divergence(written)}"
    assert isinstance(objective, PairObjective) and isinstance(written, PairObjective)
    if not objective.is_made_of_terms or written.terms is None:
        parts = ["ℓ(log π_w, log π_l, log π_ref,w, log π_ref,l)"]
    else:
        parts = [str(written.terms)]
    if written.regulariser is not None:
        parts.append(str(lam * _divergence(written)))
    return " + ".join(parts) + _link(objective)


def _symbols(objective: Objective) -> tuple[Symbol, Objective]:
    """Lambda, and the objective with symbols for its numbers: for lambda alone, where its terms take no more."""
    lam = Symbol(SYMBOLS["lam"])
    options = {
        field.name: Symbol(SYMBOLS.get(field.name, field.name))
        for field in dataclasses.fields(objective)
        if field.name != "lam" and _is_number(getattr(objective, field.name))
    }
    for own in (options, {}):
        try:
            written = dataclasses.replace(objective, lam=lam, **own)
            if isinstance(written, PairObjective):
                str(written.terms)
            return lam, written
        except Exception:  # somebody's terms may do anything with a number that no symbol can do
            continue
    return symbol(objective.lam), objective


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value != 0


def _divergence(objective: Any) -> Symbol:
    """The regulariser of an objective; D_f, where it may be chosen."""
    divergence = objective.regulariser
    if hasattr(objective, "divergence"):
        return Symbol("D_f(π ‖ π_ref)")
    if type(divergence) is ForwardKL:
        return Symbol("KL(π_ref ‖ π)")
    name = {ReverseKL: "KL", JensenShannon: "JS"}.get(type(divergence), divergence.name)
    return Symbol(f"{name}(π ‖ π_ref)")


LINKS = {
    "mixed_chi_square": "u + log u",
    "chi_square": "2u",
    "jensen_shannon": "log (2u/(1 + u))",
    "forward_kl": "-1/u",
}


def _link(objective: PairObjective) -> str:
    """What f' is, where it is not one that may be chosen."""
    link = objective.facts.link if objective.is_made_of_terms and not hasattr(objective, "divergence") else None
    return f", f'(u) = {LINKS[link.name]}" if isinstance(link, Divergence) and link.name in LINKS else ""


# ------------------------------------------------------------------------------------------------- terms and statistics


def written_sum(terms: Sum) -> str:
    """Terms one after the other, with their signs."""
    first, *others = (written_term(term) for term in terms)
    return str(first) + "".join(f" - {text[1:]}" if (text := str(term))[0] == "-" else f" + {text}" for term in others)


def written_term(term: Term) -> Symbol:
    """weight psi(statistic); a psi of several summands in parentheses, if it is weighted."""
    psi = term.psi if not term.psi.reads else bound(term.psi, _DATUM)
    return _times(written_data(term.weight), written_psi(psi, written_statistic(term.statistic)))


def _times(factor: Symbol, function: Symbol) -> Symbol:
    """A product with a function, whose factor stands in front of it but for 1/x."""
    half = factor.text == "1" and factor.under in HALVES
    if function.text[0].isdigit() or not (half or (factor.under and factor.text != "1")):
        return factor * function
    in_front = Symbol(HALVES[factor.under]) if half else abs(factor)
    return Symbol(f"{in_front} {abs(function)}", PRODUCT, factor.minus != function.minus)


HALVES = {"2": "½", "4": "¼"}


def written_statistic(statistic: Statistic) -> Symbol:
    """scale (sum_k c_k atom_k - centre) - offset, with h and h̄ by their names; what is positive comes first."""
    left = dict((atom, coefficient) for coefficient, atom in statistic.parts)
    found: list[Symbol] = []
    for kind, name in ((LogRatioToReference, "h̄"), (Atom, "h")):
        won, lost = kind("w"), kind("l")
        if won in left and lost in left and _opposite(left[won], left[lost]):
            found.append(symbol(left.pop(won)) * Symbol(name))
            del left[lost]
    found += [symbol(coefficient) * written_atom(atom) for atom, coefficient in left.items()]
    inside = _added(*found, -written_data(statistic.centre))
    return _added(written_data(statistic.scale) * inside, -written_data(statistic.offset))


def _opposite(a: Any, b: Any) -> bool:
    return bool(a == -b) if not (isinstance(a, Symbol) or isinstance(b, Symbol)) else str(a) == str(-b)


def _added(*parts: Symbol) -> Symbol:
    """Their sum, positive ones first."""
    total = symbol(0)
    for part in sorted(parts, key=lambda part: part.minus):
        total = total + part
    return total


class _Reference(Symbol):
    """log pi_ref of a response, which has a name for differences of two."""

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, _Reference):
            return REFERENCE_RATIO if self.text.endswith("w") else -REFERENCE_RATIO
        return super().__sub__(other)


_DATUM: Any = {
    **{f"logp_{slot}": Symbol(f"log π_{slot}") for slot in (*SLOTS, THIRD)},
    **{f"ref_logp_{slot}": _Reference(f"log π_ref,{slot}") for slot in (*SLOTS, THIRD)},
    **{f"reward_{slot}": Symbol(f"r_{slot}") for slot in SLOTS},
    **{f"length_{slot}": Symbol(f"|{slot}|") for slot in SLOTS},
    **{f"{kind}_{slot}": Symbol(f"{kind}_{slot}") for kind in ("value", "goal", "liked", "disliked") for slot in SLOTS},
}


def written_data(value: Any) -> Symbol:
    """A number, a symbol, or what `Data` makes of the symbols of a datum."""
    if not isinstance(value, Data):
        return symbol(value)
    try:
        return symbol(value(_DATUM))
    except Exception:  # a function of somebody's own, which takes arrays only
        return Symbol(f"data({', '.join(sorted(value.reads))})")


def written_atom(atom: Atom) -> Symbol:
    """An atom; one of somebody's own by the name of its class."""
    return ATOMS.get(type(atom), _named)(atom)


def _named(atom: Atom) -> Symbol:
    return Symbol(f"{type(atom).__name__}_{atom.slot}")


ATOMS: dict[type[Atom], Callable[[Any], Symbol]] = {
    Atom: lambda atom: Symbol(f"log π_{atom.slot}"),
    LogRatioToReference: lambda atom: Symbol(f"log u_{atom.slot}"),
    Linked: lambda atom: Symbol(f"f'(u_{atom.slot})"),
    LogOdds: lambda atom: Symbol(f"log odds_{atom.slot}"),
    Shortfall: lambda atom: -Symbol(f"[-log u_{atom.slot}]₊"),
    Powered: lambda atom: _powered(atom, symbol(1)),
    PerToken: lambda atom: _per_token(atom.atom),
}


def _per_token(atom: Atom) -> Symbol:
    """An atom of log π/|y|."""
    length = Symbol(f"|{atom.slot}|")
    if type(atom) is Powered:
        return _powered(atom, length)
    if type(atom) is LogOdds:
        return Symbol(f"log odds(π_{atom.slot}^(1/{length}))")
    if type(atom) is Linked:
        return Symbol(f"f'(u_{atom.slot}^(1/{length}))")
    if type(atom) in (Atom, LogRatioToReference, Shortfall):  # which take a factor out
        return written_atom(atom) / length
    return written_atom(atom).of("per_token")


def _powered(atom: Powered, length: Symbol) -> Symbol:
    return 1 / symbol(atom.alpha) * (1 - Symbol(f"π_{atom.slot}^({-symbol(atom.alpha) / length})"))


# ----------------------------------------------------------------------------------------------------------------- psis


def written_psi(psi: Psi, m: Symbol) -> Symbol:
    """psi(m); one of somebody's own, a subclass too, by the name of its class."""
    if type(psi) not in PSIS:
        return m.of("ψ" if type(psi) is Stated else type(psi).__name__)
    return PSIS[type(psi)](m, **{f.name: symbol(getattr(psi, f.name)) for f in dataclasses.fields(psi)})


PSIS: dict[type[Psi], Callable[..., Symbol]] = {
    Logistic: lambda m, kept, flipped: _times(-kept, m.of("log σ")) + _times(-flipped, (-m).of("log σ")),
    Square: lambda m: m**2,
    Hinge: lambda m, at: Symbol(f"[{_added(at, -m)}]₊"),
    Linear: lambda m, slope: slope * m,
    Sigmoid: lambda m: m.of("σ"),
    Exponential: lambda m: (-m).of("exp"),
    SquaredSigmoid: lambda m, target, miss: (m.of("σ") - target) ** 2,
    BernoulliKL: lambda m, goal: Symbol(f"KL({m.of('σ')} ‖ {goal.of('σ')})"),
    TargetKL: lambda m, goal: Symbol(f"KL({goal.of('σ')} ‖ {m.of('σ')})"),
    Modulated: lambda m, tau: -(-m / tau).of("σ") * m.of("log σ") + (m / tau).of("σ") * (-m).of("exp"),
}
