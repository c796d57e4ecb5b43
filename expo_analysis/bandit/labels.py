"""Names of responses and prompts: stated, or the labels of pandas objects, which are checked, put in order and kept.

A Series of policies has responses as its index; a DataFrame of policies has prompts as its index and responses as its
columns; a DataFrame of pairs, such as counts, has the winner as its index and the loser as its columns. Labels that are
exactly 0 ... n-1 are positions and no names. pandas is never imported here: who has a frame has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Labels", "Names", "listed"]

Labels = tuple[Hashable, ...]


@dataclass(frozen=True)
class Names:
    """The names of responses and prompts in their order; None where nothing names them."""

    responses: Labels | None = None
    prompts: Labels | None = None

    @classmethod
    def found(
        cls,
        responses: Iterable[Hashable] | None,
        prompts: Iterable[Hashable] | None,
        policies: Mapping[str, Any],
        matrices: Mapping[str, Any],
        prompt_weights: Any = None,
    ) -> Names:
        """The names that are stated, else those of the first labelled argument; of matrices those of rows and columns.

        Args:
            policies: arguments of the shape of policies, by name; the reference first, which may be ``"uniform"``.
            matrices: arguments of the shape of pairs, by name.

        Raises:
            ValueError: names that repeat or are missing; or rows and columns name different responses, and nothing
                says in which order an array of the reference has them.
        """
        names = None if responses is None else _checked("responses", responses)
        asked = None if prompts is None else _checked("prompt_names", prompts)
        for name, value in policies.items():
            for item in _labelled(value):
                names = names or _axis(name, item.columns if item.ndim == 2 else item.index)
                if asked is None and item.ndim == 2:
                    asked = _axis(name, item.index)
        if asked is None and _is_pandas(prompt_weights):
            asked = _axis("prompt_weights", prompt_weights.index)
        if names is None:
            axes = {name: _axes(name, value) for name, value in matrices.items()}
            if any(axes.values()):
                if not _says_nothing(next(iter(policies.values()))):
                    for name, pairs in axes.items():
                        _check_same(name, pairs)
                names = _union([list(labels) for pairs in axes.values() for pair in pairs for labels in pair])
        return cls(names, asked)

    def shown(self) -> Names:
        """Without labels that are positions: 0 ... n-1."""
        return Names(*(None if _are_positions(labels) else labels for labels in (self.responses, self.prompts)))

    def policies(self, name: str, value: Any) -> Any:
        """An argument of the shape of policies as a plain array, its responses and prompts in the order of the names.

        Raises:
            ValueError: it names others, or lacks one.
        """
        return self._each(name, value, self._policy)

    def matrices(self, name: str, value: Any, fill: float | None = None) -> Any:
        """An argument of the shape of pairs as a plain array; ``fill`` stands where a pair has no entry.

        Raises:
            ValueError: it names others, or lacks one and there is no ``fill``.
        """
        return self._each(name, value, lambda name, item: self._matrix(name, item, fill))

    def per_prompt(self, name: str, value: Any) -> Any:
        """An argument with one number for each prompt as a plain array in the order of the names."""
        if not _is_pandas(value):
            return value
        order = None if self.prompts is None else _positions(name, value.index, self.prompts, "prompt")
        return value.to_numpy() if order is None else value.to_numpy()[order]

    def check_sizes(self, shape: tuple[int, ...]) -> None:
        """Raise unless there is a name for each response, and for each prompt, of policies of a shape (*prompts, n)."""
        if self.responses is not None and len(self.responses) != shape[-1]:
            raise ValueError(
                f"reference must have a probability for each of the {len(self.responses)} responses "
                f"{listed(self.responses)}; got {shape[-1]}"
            )
        if self.prompts is not None and (len(self.prompts),) != shape[:-1]:
            raise ValueError(
                f"reference must have a row for each of the {len(self.prompts)} prompts {listed(self.prompts)}; got "
                f"shape {shape}"
            )

    def place(self, index: Sequence[int]) -> str:
        """What an index into policies or pairs means, for the end of a message; nothing where there are no names."""
        pair = [] if self.responses is None else [repr(self.responses[i]) for i in index[-2:]]
        return f" ({' over '.join(pair)})" if len(pair) == 2 and len(index) >= 2 else ""

    def _each(self, name: str, value: Any, one: Callable[[str, Any], Any]) -> Any:
        if _is_pandas(value):
            return one(name, value)
        if isinstance(value, (list, tuple)) and any(_is_pandas(item) for item in value):
            return [one(name, item) if _is_pandas(item) else item for item in value]
        return value

    def _policy(self, name: str, item: Any) -> Any:
        array = item.to_numpy()
        for axis, labels, kind in ((0, self.prompts, "prompt"), (-1, self.responses, "response")):
            if labels is not None and (axis == -1 or item.ndim == 2):
                index = item.index if axis == 0 or item.ndim == 1 else item.columns
                array = np.take(array, _positions(name, index, labels, kind), axis=axis)
        return array

    def _matrix(self, name: str, item: Any, fill: float | None) -> Any:
        n = len(self.responses or ())
        positions = item.shape == (n, n) and _axis(name, item.index) is None and _axis(name, item.columns) is None
        if self.responses is None or item.ndim != 2 or positions:
            return item.to_numpy()
        order = list(self.responses)
        given = [_given(index) for index in (item.index, item.columns)]
        for side, labels in zip(("row", "column"), given, strict=True):
            for label in labels:
                if label not in self.responses:
                    raise ValueError(f"{name} has a {side} {label!r}, which is no response: they are {listed(order)}")
            missing = [label for label in order if label not in labels]
            if missing and fill is None:
                raise ValueError(f"{name} has no {side} for {listed(missing)}")
        if fill is None:
            return item.loc[order, order].to_numpy()
        return item.reindex(index=order, columns=order, fill_value=fill).to_numpy()


def listed(labels: Iterable[Hashable]) -> str:
    """Names as a message has them: 'a', 'b', 'c'; of many the first eight.

    Example:
        >>> listed("ab")
        "'a', 'b'"
    """
    first = [repr(label) for label in labels]
    return ", ".join(first if len(first) <= 8 else [*first[:8], f"... ({len(first) - 8} more)"])


# ---------------------------------------------------------------------------------------------------- labels of an axis


def _is_pandas(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.Series, pandas.DataFrame))


def _labelled(value: Any) -> list[Any]:
    """The pandas objects of an argument, which is one, or a list of one for each prompt."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return [item for item in items if _is_pandas(item)]


def _given(index: Any) -> list[Hashable]:
    return list(index.tolist())


def _axis(name: str, index: Any) -> Labels | None:
    """The labels of an axis, None where they are its positions in order, as pandas counts what has no labels."""
    if index.nlevels > 1:
        raise ValueError(f"{name} must have one level of labels, got the levels {list(index.names)}")
    labels = _given(index)
    if labels == list(range(len(labels))):
        return None
    return _checked(name, labels)


def _axes(name: str, value: Any) -> list[tuple[Labels, Labels]]:
    """Rows and columns of the frames among the matrices of an argument; none where their labels are positions."""
    found = []
    for item in _labelled(value):
        if item.ndim == 2:
            rows, columns = _axis(name, item.index), _axis(name, item.columns)
            for own, other, sides in ((rows, columns, ("rows", "columns")), (columns, rows, ("columns", "rows"))):
                if own is not None and other is None and not all(isinstance(label, int) for label in own):
                    raise ValueError(f"{name} has names for its {sides[0]} only: name its {sides[1]} too")
            if rows is not None or columns is not None or item.shape[0] != item.shape[1]:
                found.append((_or_positions(rows, item.shape[0]), _or_positions(columns, item.shape[1])))
    return found


def _or_positions(labels: Labels | None, size: int) -> Labels:
    return tuple(range(size)) if labels is None else labels


def _says_nothing(reference: Any) -> bool:
    """Whether a reference is the same for all responses, whatever their order."""
    return reference is None or (isinstance(reference, str) and reference == "uniform")


def _check_same(name: str, axes: list[tuple[Labels, Labels]]) -> None:
    """Raise where rows and columns name different responses, of which an array of the reference cannot say which."""
    for pair in axes:
        for labels, other, sides in ((pair[0], pair[1], ("row", "column")), (pair[1], pair[0], ("column", "row"))):
            alone = [label for label in labels if label not in other]
            if alone:
                raise ValueError(
                    f"{name} has a {sides[0]} and no {sides[1]} for {listed(alone)}: missing entries are 0 where it is "
                    "said in which order reference has the responses, by responses=[...] or as a Series, or where it "
                    "is 'uniform'"
                )


def _checked(name: str, labels: Iterable[Hashable]) -> Labels:
    """Distinct labels, of which none is missing."""
    if isinstance(labels, str):
        raise ValueError(f"{name} must be a sequence of names, got {labels!r}")
    found = tuple(label.item() if isinstance(label, np.generic) else label for label in labels)
    seen: set[Hashable] = set()
    for label in found:
        if label is None or label != label:
            raise ValueError(f"{name} must have no missing names, got {label!r}")
        if label in seen:
            raise ValueError(f"{name} must have distinct names, got {label!r} twice")
        seen.add(label)
    return tuple(range(len(found))) if seen == set(range(len(found))) else found


def _union(axes: list[list[Any]]) -> Labels:
    """All names of rows and columns: sorted where each axis was, else as they appear."""
    every = list(dict.fromkeys(label for axis in axes for label in axis))
    try:
        if all(axis == sorted(axis) for axis in axes):
            every = sorted(every)
    except TypeError:  # names of several kinds have no order
        pass
    return _checked("the labels", every)


def _are_positions(labels: Labels | None) -> bool:
    return labels is not None and labels == tuple(range(len(labels)))


def _positions(name: str, index: Any, labels: Labels, kind: str) -> list[int]:
    """Where each of the labels stands in an index that has all of them and no other."""
    given = _axis(name, index)
    if given is None and len(index) == len(labels):
        return list(range(len(labels)))  # nothing is named, so that the order is what is meant
    own = list(range(len(index))) if given is None else list(given)
    for label in own:
        if label not in labels:
            raise ValueError(f"{name} names {label!r}, which is no {kind}: they are {listed(labels)}")
    missing = [label for label in labels if label not in own]
    if missing:
        raise ValueError(f"{name} has no entry for the {kind} {listed(missing)}")
    where = {label: k for k, label in enumerate(_given(index))}
    return [where[label] for label in labels]


def called(responses: Iterable[int], names: Labels | None) -> str:
    """Responses in a message: ``[0, 2]``, or ``[anna, carl]`` where they have names."""
    return "[" + ", ".join(str(i if names is None else names[i]) for i in responses) + "]"
