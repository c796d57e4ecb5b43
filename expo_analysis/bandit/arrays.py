"""The arrays of a bandit: each is converted, checked and normalised here, and its messages name responses."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._checks import SUM_TOLERANCE, as_floats, check_policy, check_shape, first_where
from .._types import Floats, Mask, PairMatrices, PerPrompt, Policies
from .labels import Names

UNIFORM = "uniform"
"""The reference that is the same for all responses; None means it too."""


def reference_policy(
    value: Any, names: Names, *, policies: dict[str, Any] | None = None, matrices: dict[str, Any] | None = None
) -> Policies:
    """pi_ref, of shape (n,) or (prompts, n); a uniform one has the sizes of the argument beside it."""
    if value is None or (isinstance(value, str) and value == UNIFORM):
        shape: tuple[int, ...] = ()
        for name, other in (policies or {}).items():
            check_even(name, other)
            shape = as_floats(name, names.policies(name, other)).shape
        for name, other in (matrices or {}).items():
            shape = as_floats(name, names.matrices(name, other, fill=0.0)).shape[:-1]
        if len(shape) not in (1, 2) or 0 in shape or shape[-1] < 2:
            raise ValueError(f"reference can be uniform over two responses or more, got the shape {shape}")
        policy = np.full(shape, 1 / shape[-1])
    else:
        check_even("reference", value)
        policy = check_policy("reference", names.policies("reference", value), least=2)
    names.check_sizes(policy.shape)
    return policy


def check_even(name: str, value: Any) -> None:
    """Raise for rows of several lengths, which are no array."""
    rows = value if isinstance(value, (list, tuple)) else ()
    lengths = [len(row) for row in rows if isinstance(row, (list, tuple, np.ndarray))]
    if len(set(lengths)) > 1 and len(lengths) == len(rows):
        raise ValueError(
            f"{name} must be an array of numbers with as many responses on every prompt, got {min(lengths)} to "
            f"{max(lengths)}: make a Bandit of each prompt, and a RaggedBandit of them"
        )


def policy_like(name: str, value: Any, names: Names, shape: tuple[int, ...]) -> Policies:
    """Another policy, of the shape of the reference."""
    check_even(name, value)
    policy = check_policy(name, names.policies(name, value))
    if policy.shape != shape:
        raise ValueError(f"{name} must have the shape of reference, {shape}; got {policy.shape}")
    return policy


def pair_distribution(pairs: Any, reference: Policies, names: Names) -> PairMatrices:
    """q, which sums to one over each prompt; what all prompts share is kept once."""
    n = reference.shape[-1]
    if isinstance(pairs, str):
        if pairs == "uniform":
            q = 1.0 - np.eye(n)
        elif pairs == "reference":
            q = reference[..., :, None] * reference[..., None, :] * (1.0 - np.eye(n))
        else:
            raise ValueError(f"pairs must be 'uniform', 'reference' or an array (n, n), got {pairs!r}")
        return np.broadcast_to(normalise(q), (*reference.shape, n))
    q = as_floats("pairs", names.matrices("pairs", pairs))
    _check_square("pairs", q, reference.shape)
    refuse("pairs must be non-negative and finite", q, ~(np.isfinite(q) & (q >= 0)), names)
    refuse("pairs must be symmetric: q(i, j) = q(j, i)", q, q != np.swapaxes(q, -1, -2), names)
    on_diagonal = (q != 0) & _diagonal(n)
    refuse("pairs must have a zero diagonal: a response is not compared with itself", q, on_diagonal, names)
    if (q == 0).all(axis=(-1, -2)).any():
        raise ValueError("pairs must not be empty: at least one pair of every prompt needs a positive weight")
    _check_sum("pairs", q, axis=(-1, -2))
    return np.broadcast_to(normalise(q), (*reference.shape, n))


def win_counts(value: Any, ties: Any, shape: tuple[int, ...], names: Names) -> tuple[PairMatrices, PairMatrices | None]:
    """Counts in which a tie is half a win each, and the ties."""
    n = shape[-1]
    counts = _weights("counts", value, shape, names, "a win of j over i is counts[j, i]")
    drawn = None
    if ties is not None:
        drawn = _weights("ties", ties, shape, names, "a tie is neither's loss")
        refuse(
            "ties must be symmetric, ties[i, j] = ties[j, i] being how often i and j tied (ties + ties.T where each "
            "tie stands in one order only)",
            drawn,
            drawn != np.swapaxes(drawn, -1, -2),
            names,
        )
    total = counts if drawn is None else counts + drawn / 2
    if not total.any():
        raise ValueError("counts must hold at least one comparison")
    total = np.broadcast_to(total, (*shape, n)).copy()
    _check_sum("counts", total)
    return total, None if drawn is None else np.broadcast_to(drawn, (*shape, n)).copy()


def _weights(name: str, value: Any, shape: tuple[int, ...], names: Names, way_out: str) -> Floats:
    array = as_floats(name, names.matrices(name, value, fill=0.0))
    _check_square(name, array, shape)
    _check_no_total(name, array, names.responses or ())
    refuse(f"{name} must be non-negative and finite ({way_out})", array, ~(np.isfinite(array) & (array >= 0)), names)
    on_diagonal = (array != 0) & _diagonal(shape[-1])
    itself = "beat itself" if name == "counts" else "tie with itself"
    refuse(f"{name} must have a zero diagonal: a response does not {itself}", array, on_diagonal, names)
    return array


NO_MARGINS = "leave out its row and its column (pd.crosstab with margins=False)"


def totals(counts: Floats, labels: Sequence[Hashable]) -> list[int]:
    """Which of the labels of counts (n, n) is no response: its row or column has the sums of the others'.

    Where both meet there is the sum of all; a margin that has lost its other half is known by pandas' name, "All".
    """
    found = []
    for k, label in enumerate(labels):
        own = counts[k, k]
        if own > 0 or label == "All":
            others = np.delete(np.delete(counts, k, 0), k, 1)
            row, column = (np.allclose(np.delete(x, k), others.sum(i)) for i, x in ((0, counts[k]), (1, counts[:, k])))
            if others.any() and (row or column) and (own == 0 or np.isclose(own, others.sum(), rtol=1e-9)):
                found.append(k)
    return found


def _check_no_total(name: str, array: Floats, labels: Sequence[Hashable]) -> None:
    """Raise for counts of a crosstab with its margins."""
    for k in (k for counts in array.reshape(-1, *array.shape[-2:]) for k in totals(counts, labels)):
        raise ValueError(f"{name} must hold responses alone, but {labels[k]!r} is a total of the others: {NO_MARGINS}")


def stated_preferences(value: Any, shape: tuple[int, ...], names: Names) -> PairMatrices:
    """p*(i > j), which sums to one over both orders; 1/2 on the diagonal, whatever stands there."""
    preference = as_floats("preference", names.matrices("preference", value))
    _check_square("preference", preference, shape)
    preference = np.broadcast_to(preference, (*shape, shape[-1])).copy()
    preference[..., _diagonal(shape[-1])] = 0.5
    unlikely = ~((preference >= 0) & (preference <= 1))  # nan included
    refuse("preference must hold probabilities, from 0 to 1", preference, unlikely, names)
    total = preference + np.swapaxes(preference, -1, -2)
    off = np.abs(total - 1)
    if (off > SUM_TOLERANCE).any():
        where = np.unravel_index(off.argmax(), off.shape)
        raise ValueError(
            f"preference must have p(i > j) + p(j > i) = 1 within {SUM_TOLERANCE:g}, got a sum of "
            f"{total[where]:.9g}{names.place([int(i) for i in where])}"
        )
    return np.asarray(preference / total)


def prompt_distribution(value: Any, shape: tuple[int, ...], default: PerPrompt | None, names: Names) -> PerPrompt:
    """rho, which sums to one; by default the prompts are equal, or as ``default`` has them."""
    if value is None:
        weights = np.ones(shape) if default is None else np.asarray(default)
    else:
        weights = as_floats("prompt_weights", names.per_prompt("prompt_weights", value))
        check_shape("prompt_weights", weights, shape)
        bad = ~(np.isfinite(weights) & (weights >= 0))
        refuse("prompt_weights must be non-negative, finite and not all zero", weights, bad, Names())
        if not weights.any():
            raise ValueError("prompt_weights must be non-negative, finite and not all zero")
        _check_sum("prompt_weights", weights)
    return np.asarray(weights / weights.sum())


def of_responses(
    name: str, value: ArrayLike | None, shape: tuple[int, ...], names: Names, zero: bool = False
) -> Policies | None:
    """Rewards (finite, or nan where one is not known) or lengths (positive), one for each response; None as given.

    zero: whether other numbers than rewards may be 0.
    """
    if value is None:
        return None
    check_even(name, value)
    array = as_floats(name, names.policies(name, value))
    check_shape(name, array, *([shape] if len(shape) == 1 else [shape[1:], shape]))
    if name == "rewards":
        refuse("rewards must be finite, or nan where one is not known", array, np.isinf(array), names)
    else:
        fits = np.isfinite(array) & ((array >= 0) if zero else (array > 0))
        refuse(f"{name} must be {'non-negative' if zero else 'positive'} and finite", array, ~fits, names)
    return np.broadcast_to(array, shape).copy()


def normalise(weights: PairMatrices) -> PairMatrices:
    """Divided by the sum over each prompt; a prompt without weights keeps none."""
    total = weights.sum(axis=(-1, -2), keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1.0))


def refuse(rule: str, array: Floats, bad: Mask, names: Names) -> None:
    """Raise for the first entry that breaks a rule, with the names of its responses."""
    if bad.any():
        index = [int(i) for i in np.argwhere(bad)[0]]
        raise ValueError(f"{rule}, got {first_where(array, bad)}{names.place(index)}")


def _diagonal(n: int) -> Mask:
    return np.eye(n, dtype=bool)


def _check_square(name: str, array: Floats, shape: tuple[int, ...]) -> None:
    n = shape[-1]
    check_shape(name, array, *([(n, n)] if len(shape) == 1 else [(n, n), (*shape, n)]))


def _check_sum(name: str, array: Floats, axis: tuple[int, ...] | None = None) -> None:
    """Raise where weights cannot be divided by their sum; twice the sum is what the two orders of a pair come to."""
    with np.errstate(over="ignore"):
        total = 2 * array.sum(axis=axis)
    if not np.isfinite(total).all():
        raise ValueError(f"{name} must have a sum that is finite in floating point, got entries up to {array.max():g}")
