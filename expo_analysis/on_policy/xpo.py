r"""When XPO has a minimiser: a minimum cut of the comparison graph.

XPO (arXiv 2405.21046) adds to DPO's loss the expected log-probability of the reference's responses, to be made small:

    f(theta) = sum_ij w_ij softplus(-beta hbar_ij) + alpha sum_i pi_ref,i log pi_i,

w_ij the fixed weight of "i beats j". The second part is EXPO's regulariser with the sign turned; it pays to give up
responses of the reference, and nothing but lost comparisons holds them.

**Theorem** [ours]. For a set S of responses let cut(S) be the weight of the comparisons that members of S won against
others, sum of w_ij over i in S, j not in S. Then

    f is bounded below            iff   alpha pi_ref(S) <= beta cut(S) for every proper subset S,
    f has bounded sublevel sets   iff   alpha pi_ref(S) <  beta cut(S) for every proper nonempty subset S;

in the second case there is a minimiser. *Proof.* Let theta = log pi_ref + d, s = max d - d >= 0, and

    R(d) = beta sum_ij w_ij (s_i - s_j)+  -  alpha sum_i pi_ref,i s_i.

As max(0, z) <= softplus(z) <= max(0, z) + log 2, and max d - c <= log sum_i pi_ref,i e^d_i <= max d with c = -log min
pi_ref, f - R is bounded from both sides. R is positively homogeneous, so f is bounded below iff R >= 0, and has bounded
sublevel sets (in policies) iff R > 0 for all d but constants. With S_t = {i: s_i > t}, a proper subset since min s = 0,

    R(d) = integral over t > 0 of  beta cut(S_t) - alpha pi_ref(S_t)  dt,

as (s_i - s_j)+ is the measure of the t with i in S_t, j not in S_t. Both equivalences follow, "only if" by s the
indicator of S. QED. (At equality f is bounded, and a minimiser may or may not exist.)

For two responses, S = {2} and no comparison won by 2, the condition fails for every alpha > 0: XPO needs what EXPO does
not, that every response, or some member of every group, wins now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from .._checks import as_floats, check_number, check_policy
from .._types import Floats, Mask

ENUMERATED = 14
"""Up to so many responses all subsets are looked at; beyond, a linear program finds the worst."""


@dataclass(frozen=True, eq=False)
class Cut:
    """The subset of responses that XPO gives up first.

    members: mask of S, shape (n,). ratio: cut(S)/pi_ref(S), the least of all proper subsets. limit: beta ratio, the
    largest alpha at which XPO is bounded below. exists: whether alpha is smaller, so that there is a minimiser.
    """

    members: Mask
    ratio: float
    limit: float
    exists: bool


def xpo_cut(wins: ArrayLike, reference: ArrayLike, alpha: float, beta: float) -> Cut:
    """Whether XPO has a minimiser, and the worst subset of responses; see the module's docstring.

    Args:
        wins: w_ij >= 0, shape (n, n), the weight of "i beats j"; the diagonal is not read (`Bandit.wins`).
        reference: pi_ref, shape (n,), positive. alpha, beta: positive.

    Raises:
        ValueError: naming the argument that is wrong.

    Example:
        >>> from expo_analysis.on_policy import xpo_cut
        >>> cut = xpo_cut([[0, 0.8], [0.2, 0]], [0.5, 0.5], alpha=0.1, beta=0.1)
        >>> cut.members.tolist(), cut.limit, cut.exists
        ([False, True], 0.04, False)
    """
    w, policy = as_floats("wins", wins), check_policy("reference", reference)
    n = policy.size
    if policy.ndim != 1 or n < 2:
        raise ValueError(f"reference must have shape (n,), n at least 2, got {policy.shape}")
    if w.shape != (n, n):
        raise ValueError(f"wins must have shape {(n, n)}, got {w.shape}")
    np.fill_diagonal(w, 0.0)
    if not (np.isfinite(w) & (w >= 0)).all():
        raise ValueError("wins must be non-negative and finite")
    check_number("alpha", alpha, 0.0)
    check_number("beta", beta, 0.0)
    members = worst_subset(w, policy)
    ratio = float(w[np.ix_(members, ~members)].sum() / policy[members].sum())
    return Cut(members, ratio, beta * ratio, bool(alpha < beta * ratio))


def worst_subset(w: Floats, reference: Floats) -> Mask:
    """The proper nonempty S with the least cut(S)/pi_ref(S)."""
    return _enumerated(w, reference) if len(reference) <= ENUMERATED else _by_program(w, reference)


def _enumerated(w: Floats, reference: Floats) -> Mask:
    n = len(reference)
    inside = (np.arange(1, 2**n - 1)[:, None] >> np.arange(n)) % 2 == 1
    won = np.einsum("si,ij,sj->s", inside * 1.0, w, ~inside * 1.0, optimize=True)
    return np.asarray(inside[(won / (inside @ reference)).argmin()])


def _by_program(w: Floats, reference: Floats) -> Mask:
    """min sum w_ij u_ij over u_ij >= s_i - s_j, s, u >= 0, pi_ref's = 1, s_k = 0, for each k that may be left out of S.

    Its value is the least ratio (the theorem's integral), and the level set of s with the least ratio attains it.
    """
    n = len(reference)
    i, j = np.nonzero(w)
    m = len(i)
    rows = np.zeros((m, n + m))
    rows[np.arange(m), i], rows[np.arange(m), j], rows[np.arange(m), n + np.arange(m)] = 1.0, -1.0, -1.0
    equal = np.r_[reference, np.zeros(m)][None]
    best: tuple[float, Mask] | None = None
    for k in range(n):
        bounds = [(0.0, 0.0 if y == k else None) for y in range(n)] + [(0.0, None)] * m
        found: Any = linprog(np.r_[np.zeros(n), w[i, j]], rows, np.zeros(m), equal, [1.0], bounds)
        s = found.x[:n]
        for level in np.unique(s)[:-1]:
            members = s > level
            ratio = float(w[np.ix_(members, ~members)].sum() / reference[members].sum())
            if best is None or ratio < best[0]:
                best = ratio, members
    assert best is not None
    return best[1]
