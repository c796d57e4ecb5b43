"""The types of the package's arrays, and the one convention for their axes.

**The convention.** Responses are the *last* axis of a policy wherever a person meets one: (n,), or (prompts, n). What
there is more of stands in front, the outermost loop first: (lams, prompts, n) for a path, (objectives, data_sets,
records, prompts, n) for training. In a matrix over pairs the winner comes first: wins[..., i, j] is "i beats j".

Inside the solvers, and nowhere else, responses are the *first* axis and the problems of a batch the last: (n, batch).
Each step of an algorithm over responses then runs over contiguous numbers of all problems. A problem is transposed once
on its way in and its policy once on its way out, both in `optima`.

**The notation.** A type says in a string what its axes are, in jaxtyping's words: names stand for sizes, one name for
one size within an object; * for any number of axes, none included, so that "*prompts n" is (n,) or (prompts, n); # for
a size that may also be 1. Type checkers see `NDArray`; `axes` gives the names back, and the tests hold arrays to them.

* n: responses. prompts: prompts; none where there is one and policies are (n,).
* batch, problems: problems that are solved at once. d: parameters.
* lams, objectives, data_sets, records: of a path, of a training. pairs: comparisons, one by one.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any
"""A numpy array or a torch tensor of floats; functions of such arrays return the kind and the dtype they are given."""

Floats: TypeAlias = NDArray[np.float64]
"""Numbers, of whatever shape the name of the argument or its docstring says."""

Indices: TypeAlias = NDArray[np.intp]
"""Positions, counted from 0."""

Mask: TypeAlias = NDArray[np.bool_]
"""Yes or no."""

Policies: TypeAlias = Annotated[Floats, "*prompts n"]
"""A policy, or one for each prompt: probabilities that sum to one over the last axis, or their logarithms."""

PairMatrices: TypeAlias = Annotated[Floats, "*prompts n n"]
"""A number for each ordered pair (i, j), of one prompt or of each."""

PerPrompt: TypeAlias = Annotated[Floats, "*prompts"]
"""A number, or one for each prompt."""

PolicyPaths: TypeAlias = Annotated[Floats, "lams *prompts n"]
"""Policies for each lambda of a path."""

Batch: TypeAlias = Annotated[Floats, "n batch"]
"""Logits or policies inside the solvers: responses first, problems last."""


def axes(annotation: Any) -> tuple[str, ...] | None:
    """The names of a type's axes, None where it says nothing of them.

    Example:
        >>> axes(Policies)
        ('*prompts', 'n')
    """
    named = [item for item in get_args(annotation)[1:] if isinstance(item, str)]
    return tuple(named[0].split()) if named else None
