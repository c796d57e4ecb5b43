"""The bandit: prompts, a reference policy, and preferences over pairs, exact or counted.

Everything downstream sees one thing, the weights ``wins[x, i, j]`` of the ordered pairs "i beats j": they sum to one
over each prompt, and are 2 q(i,j|x) p*(i > j|x) over i != j for a population, and observed frequencies for counts.
The preferences p* of a population follow from pi*, or are any others, which no policy may reproduce.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .._frozen import set_fields
from .._types import Floats, Indices, PairMatrices, PerPrompt, Policies
from .arrays import (
    normalise,
    of_responses,
    pair_distribution,
    policy_like,
    prompt_distribution,
    reference_policy,
    stated_preferences,
    win_counts,
)
from .display import summary, table
from .labels import Labels, Names
from .rankings import Choices, Triples, choices_of, named, places_of, rows_of, triples_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Bandit"]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Bandit:
    """Prompts with a reference policy and preferences; p*(i > j) = pi*_i / (pi*_i + pi*_j) where pi* is given.

    Args:
        reference: pi_ref, shape (n,) or (prompts, n): positive, each row summing to one within 1e-6. ``"uniform"``
            or None: the same for all responses.
        optimal: pi*, the Bradley-Terry-optimal policy, the same shape and conditions. For win counts there is
            `from_counts`, for rows of comparisons `from_comparisons`, for other preferences `from_preferences`.
        pairs: q, how often each pair is compared: ``"uniform"`` over distinct pairs, ``"reference"`` (pi_ref x pi_ref,
            i != j), or an array (n, n) or (prompts, n, n): symmetric, non-negative, zero diagonal, not all zero. It is
            divided by its sum, so that an adjacency matrix of the comparison graph will do.
        prompt_weights: rho, shape (prompts,), non-negative; divided by its sum. Default: equal, or for counts in
            proportion to the number of comparisons.
        responses, prompt_names: their names, distinct, of any type that hashes.
        rewards: r(x, y) of each response, known or a noisy score, the shape of ``reference`` or (n,) for all prompts;
            nan where one is not known. Losses that read rewards take these, `RLHF` too, and without any log pi*.
        lengths: of each response, in tokens; positive, the same shapes. Without, responses have one token each.

    pandas objects are taken by their labels: a Series of policies has responses as its index, a DataFrame of policies
    prompts as its index and responses as its columns, a DataFrame of pairs winners as its index and losers as its
    columns. Labels in another order are put in order, others are refused, and the names are kept. Their order is that
    of ``responses``, else of the first argument that has labels (of a frame of pairs, of its rows); arrays without
    labels are in this order.

    Attributes, arrays that cannot be written to:
        reference, pairs, prompt_weights: as above, normalised. optimal: as above; None for counts and for preferences
            that are stated. counts, ties: for `from_counts`, else None; in ``counts`` a tie is half a win each.
            stated_preference: for `from_preferences`, else None. responses, prompt_names: tuples, or None where
            nothing names them (labels that are 0 ... n-1 are no names). rewards, lengths: as given, or None. liked,
            disliked: for `from_labels` and `from_scores`, else None; ``counts`` and ``pairs`` are then diagonal.
            choices: for `from_rankings`, triples: for `from_triples`; else None.

    Raises:
        ValueError: naming the argument, what was wrong with it and what is accepted.

    Example:
        >>> import expo_analysis as ea
        >>> ea.Bandit(reference=[0.4, 0.4, 0.2], optimal=[0.6, 0.3, 0.1]).preference[0].round(3)
        array([0.5  , 0.667, 0.857])
    """

    reference: Policies
    optimal: Policies | None
    pairs: PairMatrices
    prompt_weights: PerPrompt
    responses: Labels | None
    prompt_names: Labels | None
    rewards: Policies | None
    lengths: Policies | None
    liked: Policies | None = field(init=False)
    disliked: Policies | None = field(init=False)
    choices: Choices | None = field(init=False)
    triples: Triples | None = field(init=False)
    counts: PairMatrices | None = field(init=False)
    ties: PairMatrices | None = field(init=False)
    stated_preference: PairMatrices | None = field(init=False)

    def __init__(
        self,
        reference: ArrayLike | None,
        optimal: ArrayLike,
        pairs: str | ArrayLike = "uniform",
        prompt_weights: ArrayLike | None = None,
        *,
        responses: Iterable[Hashable] | None = None,
        prompt_names: Iterable[Hashable] | None = None,
        rewards: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> None:
        own = {"rewards": rewards, "lengths": lengths}
        policies = {"reference": reference, "optimal": optimal, **own}
        names = Names.found(responses, prompt_names, policies, {"pairs": pairs}, prompt_weights)
        if optimal is None:
            raise ValueError("optimal must be given: positive probabilities (for win counts use Bandit.from_counts)")
        policy = reference_policy(reference, names, policies={"optimal": optimal})
        best = policy_like("optimal", optimal, names, policy.shape)
        self._settle(names, policy, pair_distribution(pairs, policy, names), prompt_weights, own, optimal=best)

    @classmethod
    def from_counts(
        cls,
        reference: ArrayLike | None,
        counts: ArrayLike,
        prompt_weights: ArrayLike | None = None,
        *,
        ties: ArrayLike | None = None,
        responses: Iterable[Hashable] | None = None,
        prompt_names: Iterable[Hashable] | None = None,
        rewards: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        choices: Choices | None = None,
        triples: Triples | None = None,
    ) -> Bandit:
        """A data set: ``counts[..., i, j]`` is how often i beat j, or the sum of the weights of these comparisons.

        Shapes (n, n) or (prompts, n, n), beside a reference of shape (n,) or (prompts, n): non-negative, fractions
        too, with a zero diagonal. A prompt without any comparison is allowed as long as another one has some. No
        ``optimal`` is known then. A DataFrame whose rows and columns name different responses, as `pandas.crosstab`
        makes it, has all of them, with 0 where there was no entry.

        A tie counts as half a win of each, the convention of the Chatbot Arena leaderboard, R's BradleyTerry2 and
        evalica: the likelihood of a score of 1/2, of which a loss of pairs is the expectation. (The models of Rao and
        Kupper, 1967, and of Davidson, 1970, have a parameter for ties; a policy has none.)

        Args:
            ties: ``ties[..., i, j]`` = ``ties[..., j, i]`` is how often i and j tied; the shapes of ``counts``.
            choices, triples: what the counts are made of, for losses that read it; see `from_rankings` and
                `from_triples`.

        Example:
            >>> import expo_analysis as ea
            >>> ea.Bandit.from_counts("uniform", [[0, 5], [2, 0]], ties=[[0, 1], [1, 0]], responses=["a", "b"]).counts
            array([[0. , 5.5],
                   [2.5, 0. ]])
        """
        own = {"rewards": rewards, "lengths": lengths}
        matrices = {"counts": counts, "ties": ties}
        names = Names.found(responses, prompt_names, {"reference": reference, **own}, matrices, prompt_weights)
        policy = reference_policy(reference, names, matrices={"counts": counts})
        won, drawn = win_counts(counts, ties, policy.shape, names)
        pairs = normalise(won + np.swapaxes(won, -1, -2))
        made = cls.__new__(cls)
        made._settle(
            names,
            policy,
            pairs,
            prompt_weights,
            own,
            won.sum(axis=(-1, -2)),
            counts=won,
            ties=drawn,
            choices=choices,
            triples=triples,
        )
        return made

    @classmethod
    def from_comparisons(
        cls,
        reference: ArrayLike | None,
        comparisons: pd.DataFrame,
        *,
        ties: Literal["half", "drop"] = "half",
        responses: Iterable[Hashable] | None = None,
        prompt_weights: ArrayLike | None = None,
    ) -> Bandit:
        """A data set with a comparison, a match, a battle or a ranking in each row of a DataFrame.

        The columns say what the rows are; `expo_analysis.bandit.comparisons` lists the forms: ``winner, loser``; a
        pair such as ``model_a, model_b`` with ``winner`` (with ties) or with two scores; ``chosen, rejected``;
        rankings. Columns ``count`` and ``weight`` multiply a row, ``prompt`` has a bandit with prompts. Other columns
        are not read, which a warning says.

        Args:
            reference: pi_ref: ``"uniform"`` or None, over the responses that occur; a Series with the responses'
                names as its index, or an array in the order of ``responses``. With prompts it holds on each.
            ties: ``"half"`` a win of each, as for `from_counts`, or ``"drop"``: left out.
            responses: names of all responses in their order. Default: those of the reference, else those that occur,
                sorted.

        Raises:
            ValueError: naming the row and the column; or each prompt has responses of its own (see `RaggedBandit`).

        Example:
            >>> import expo_analysis as ea, pandas as pd
            >>> games = pd.DataFrame({"model_a": ["x", "x"], "model_b": ["y", "y"], "winner": ["model_a", "tie"]})
            >>> ea.Bandit.from_comparisons("uniform", games).counts
            array([[0. , 1.5],
                   [0.5, 0. ]])
        """
        from .counting import from_frame

        found = from_frame(comparisons, reference, responses, ties, prompt_weights, cls)
        if not isinstance(found, cls):
            raise ValueError(
                "comparisons: prompts have different responses: use RaggedBandit.from_comparisons, or name all by "
                "responses=[...]"
            )
        return found

    @classmethod
    def from_labels(
        cls,
        reference: ArrayLike | None,
        liked: ArrayLike,
        disliked: ArrayLike,
        prompt_weights: ArrayLike | None = None,
        *,
        responses: Iterable[Hashable] | None = None,
        prompt_names: Iterable[Hashable] | None = None,
        rewards: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> Bandit:
        """Single responses with a label, thumbs up or down, instead of pairs: how often each was liked and disliked.

        For losses in which winner and loser stand apart, f(winner) + g(loser), such as KTO and BCO: they become the
        mean over labels of f where a response was liked and of g where it was not.

        Args:
            liked, disliked: counts or weights, the shape of ``reference``, non-negative.

        Example:
            >>> import expo_analysis as ea
            >>> thumbs = ea.Bandit.from_labels([0.5, 0.3, 0.2], liked=[8, 1, 1], disliked=[2, 4, 5])
            >>> ea.solve(ea.BCO(1.0), thumbs).policy.round(3)
            array([0.898, 0.065, 0.037])
        """
        return cls._of_singles(
            reference,
            {"liked": liked, "disliked": disliked},
            prompt_weights,
            responses,
            prompt_names,
            {"rewards": rewards, "lengths": lengths},
        )

    @classmethod
    def from_scores(
        cls,
        reference: ArrayLike | None,
        rewards: ArrayLike,
        counts: ArrayLike | None = None,
        prompt_weights: ArrayLike | None = None,
        *,
        responses: Iterable[Hashable] | None = None,
        prompt_names: Iterable[Hashable] | None = None,
        lengths: ArrayLike | None = None,
    ) -> Bandit:
        """Single responses with a score each, for losses that fit a policy to rewards response by response.

        Args:
            rewards: of each response, the shape of ``reference``.
            counts: how often each response is among the data; by default once.

        Example:
            >>> import expo_analysis as ea
            >>> scored = ea.Bandit.from_scores([0.5, 0.3, 0.2], rewards=[1.0, 0.0, 2.0])
            >>> ea.solve(ea.AStarPO(1.0), scored).policy.round(3)
            array([0.433, 0.096, 0.471])
        """
        return cls._of_singles(
            reference,
            {} if counts is None else {"counts": counts},
            prompt_weights,
            responses,
            prompt_names,
            {"rewards": rewards, "lengths": lengths},
        )

    @classmethod
    def from_rankings(
        cls,
        reference: ArrayLike | None,
        rankings: Sequence[Sequence[Hashable]],
        *,
        sets: Sequence[Iterable[Hashable]] | None = None,
        weights: ArrayLike | None = None,
        prompts: Sequence[Hashable] | None = None,
        prompt_weights: ArrayLike | None = None,
        responses: Iterable[Hashable] | None = None,
        prompt_names: Iterable[Hashable] | None = None,
        rewards: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> Bandit:
        """Rankings of several responses, best first; or the best few, or the best one, of a set.

        Listwise losses (`PlackettLuceDPO` ...) read them as they are; losses of pairs read all pairs of a ranking, each
        with the ranking's weight.

        Args:
            rankings: of names, or of numbers where nothing names responses. A list, a tuple or a set in a ranking is a
                tie: ``["a", ["b", "c"]]``. Where any has ties, all are read as pairs, and a tie is half a win each.
            sets: for each ranking the responses that it was made from, each once; those that it does not list come
                behind all that it does, in no order. Default: those that it lists.
            weights: of each ranking; default 1.
            prompts: of each ranking, a name or a number, for a bandit with prompts.

        Example:
            >>> import expo_analysis as ea
            >>> tastes = ea.Bandit.from_rankings([0.5, 0.3, 0.2], [[0, 1, 2], [2, 0, 1], [1], [2]], sets=4 * [range(3)])
            >>> ea.solve(ea.PlackettLuceEXPO(0.1), tastes).policy.round(3)
            array([0.371, 0.282, 0.347])
        """
        rows, among = rows_of("ranking", rankings), None if sets is None else rows_of("set", sets)
        seen = [one for row in rows for place in places_of(row) for one in place]
        seen += [one for row in among or [] for one in row]
        names, policy, own_names, own_prompts = named(reference, seen, responses, prompt_names, prompt_weights)
        choices, above, tied = choices_of(rows, among, weights, prompts, own_names, own_prompts)
        own = {"rewards": rewards, "lengths": lengths}
        return cls._of_wins(names, policy, above, prompt_weights, own, choices=choices, ties=tied)

    @classmethod
    def from_triples(
        cls,
        reference: ArrayLike | None,
        triples: Sequence[Sequence[Hashable]],
        *,
        weights: ArrayLike | None = None,
        prompts: Sequence[Hashable] | None = None,
        prompt_weights: ArrayLike | None = None,
        responses: Iterable[Hashable] | None = None,
        prompt_names: Iterable[Hashable] | None = None,
        rewards: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> Bandit:
        """A third response beside each winner and loser: (third, winner, loser), which `WRPO` and `TPO` read.

        Losses of pairs read winner and loser. Other arguments are those of `from_rankings`.

        Example:
            >>> import expo_analysis as ea
            >>> fused = ea.Bandit.from_triples([0.1, 0.5, 0.4], [(0, 1, 2), (0, 2, 1)], weights=[3, 1])
            >>> ea.solve(ea.DPO(1.0), fused).policy.round(3)
            array([0.1  , 0.711, 0.189])
        """
        rows = rows_of("triple", triples)
        seen = [one for row in rows for one in row]
        names, policy, own_names, own_prompts = named(reference, seen, responses, prompt_names, prompt_weights)
        found, wins = triples_of(rows, weights, prompts, own_names, own_prompts)
        own = {"rewards": rewards, "lengths": lengths}
        return cls._of_wins(names, policy, wins, prompt_weights, own, triples=found)

    @classmethod
    def _of_wins(
        cls,
        names: Names,
        policy: Policies,
        wins: PairMatrices,
        prompt_weights: ArrayLike | None,
        own: dict[str, ArrayLike | None],
        **data: Any,
    ) -> Bandit:
        made = cls.__new__(cls)
        pairs = normalise(wins + np.swapaxes(wins, -1, -2))
        choices = data.get("choices")
        shares = wins.sum(axis=(-1, -2)) if choices is None else choices.total
        made._settle(names, policy, pairs, prompt_weights, own, shares, counts=wins, **data)
        return made

    @classmethod
    def _of_singles(
        cls,
        reference: ArrayLike | None,
        weights: dict[str, ArrayLike],
        prompt_weights: ArrayLike | None,
        responses: Iterable[Hashable] | None,
        prompt_names: Iterable[Hashable] | None,
        own: dict[str, ArrayLike | None],
    ) -> Bandit:
        """A bandit of single responses; weights: those of liked and disliked ones, or one for both, or none for 1."""
        names = Names.found(responses, prompt_names, {"reference": reference, **weights, **own}, {}, prompt_weights)
        policy = reference_policy(
            reference, names, policies=weights if "liked" in weights else {"rewards": own["rewards"]}
        )
        given = [of_responses(name, value, policy.shape, names, zero=True) for name, value in weights.items()]
        given = given or [np.ones(policy.shape)]
        seen = np.asarray(sum(x for x in given if x is not None))
        if not seen.any():
            raise ValueError(f"{' and '.join(weights)} must hold at least one response")
        diagonal = seen[..., None] * np.eye(policy.shape[-1])
        made = cls.__new__(cls)
        made._settle(
            names,
            policy,
            normalise(diagonal),
            prompt_weights,
            own,
            seen.sum(axis=-1),
            counts=diagonal,
            singles=(given[0], given[-1]),
        )
        return made

    @classmethod
    def from_preferences(
        cls,
        reference: ArrayLike | None,
        preference: ArrayLike,
        pairs: str | ArrayLike = "uniform",
        prompt_weights: ArrayLike | None = None,
        *,
        responses: Iterable[Hashable] | None = None,
        prompt_names: Iterable[Hashable] | None = None,
        rewards: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> Bandit:
        """A population with any preferences, Bradley-Terry or not: ``preference[..., i, j]`` is p*(i > j).

        Shapes (n, n) or (prompts, n, n): in [0, 1], with p*(i > j) + p*(j > i) = 1 within 1e-6 off the diagonal, which
        is not read. Cycles are allowed. No ``optimal`` is known then, even where there is one.

        Example:
            >>> import expo_analysis as ea
            >>> rock_paper_scissors = [[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]]
            >>> ea.solve(ea.EXPO(1.0), ea.Bandit.from_preferences([1 / 3] * 3, rock_paper_scissors)).policy.round(3)
            array([0.333, 0.333, 0.333])
        """
        own = {"rewards": rewards, "lengths": lengths}
        matrices = {"preference": preference, "pairs": pairs}
        names = Names.found(responses, prompt_names, {"reference": reference, **own}, matrices, prompt_weights)
        policy = reference_policy(reference, names, matrices={"preference": preference})
        stated = stated_preferences(preference, policy.shape, names)
        made = cls.__new__(cls)
        q = pair_distribution(pairs, policy, names)
        made._settle(names, policy, q, prompt_weights, own, stated_preference=stated)
        return made

    def _settle(
        self,
        names: Names,
        reference: Policies,
        pairs: PairMatrices,
        prompt_weights: ArrayLike | None,
        own: dict[str, ArrayLike | None],
        default_weights: PerPrompt | None = None,
        *,
        optimal: Policies | None = None,
        counts: PairMatrices | None = None,
        ties: PairMatrices | None = None,
        stated_preference: PairMatrices | None = None,
        singles: tuple[Policies | None, Policies | None] = (None, None),
        choices: Choices | None = None,
        triples: Triples | None = None,
    ) -> None:
        """What every constructor ends with: fields that are converted and checked, and the prompts' weights."""
        weights = prompt_distribution(prompt_weights, reference.shape[:-1], default_weights, names)
        kept = names.shown()
        set_fields(
            self,
            reference=reference,
            optimal=optimal,
            pairs=pairs,
            prompt_weights=weights,
            responses=kept.responses,
            prompt_names=kept.prompts,
            **{name: of_responses(name, value, reference.shape, names) for name, value in own.items()},
            liked=singles[0],
            disliked=singles[1],
            choices=choices,
            triples=triples,
            counts=counts,
            ties=ties,
            stated_preference=stated_preference,
        )

    @property
    def n(self) -> int:
        """Number of responses."""
        return int(self.reference.shape[-1])

    @property
    def prompts(self) -> int | None:
        """Number of prompts, or None where policies have the shape (n,); `prompt_names` has their names."""
        return int(self.reference.shape[0]) if self.reference.ndim == 2 else None

    @cached_property
    def preference(self) -> PairMatrices:
        """p*(i > j), shape (..., n, n); 1/2 on the diagonal. Raises ValueError for counts, where it is not known."""
        if self.stated_preference is not None:
            return self.stated_preference
        if self.optimal is None:
            raise ValueError("preference is not known for win counts; see wins for the observed frequencies")
        loser = np.moveaxis(self.optimal, -1, 0).copy()  # with prompts last, every step runs over contiguous numbers
        winner = loser[:, None]
        preference = winner + loser
        np.divide(winner, preference, out=preference)
        return np.moveaxis(preference, (0, 1), (-2, -1))

    @cached_property
    def wins(self) -> PairMatrices:
        """Weight of "i beats j", shape (..., n, n), summing to one over each prompt (to zero without comparisons)."""
        if self.counts is not None:
            return normalise(self.counts)
        wins = 2 * self.preference
        wins *= self.pairs
        return wins

    @property
    def scored(self) -> bool:
        """Whether single responses have scores, of `from_scores`, and no labels."""
        return self.liked is not None and self.liked is self.disliked

    @property
    def label_shares(self) -> dict[str, Floats]:
        """``"liked"`` and ``"disliked"``, the shares of each response's labels, (..., n); empty without labels."""
        if self.liked is None or self.disliked is None or self.counts is None:
            return {}
        seen = np.diagonal(self.counts, axis1=-2, axis2=-1)
        parts = {"liked": self.liked, "disliked": self.disliked}
        return {name: part / np.where(seen > 0, seen, 1.0) for name, part in parts.items()}

    @cached_property
    def edges(self) -> tuple[Indices, Indices, Floats]:
        """(winner, loser, weight): the ordered pairs with weight on any prompt, and weights of shape (..., edges)."""
        winner, loser = np.nonzero(np.einsum("xij->ij", self.wins.reshape(-1, self.n, self.n)) > 0)
        flat = self.wins.reshape(*self.reference.shape[:-1], -1)
        return winner, loser, flat.take(winner * self.n + loser, axis=-1)

    @cached_property
    def components(self) -> Indices:
        """Connected component of each response in the comparison graph, shape (..., n), numbered from 0."""
        from scipy.sparse import coo_array  # these take longer to load than most bandits to solve
        from scipy.sparse.csgraph import connected_components

        graphs = (self.pairs > 0).reshape(-1, self.n, self.n)
        labels = np.zeros((len(graphs), self.n), dtype=np.intp)
        off_diagonal = ~np.eye(self.n, dtype=bool)
        sparse = ~graphs[:, off_diagonal].all(axis=1)
        if sparse.any():
            distinct, which = np.unique(np.packbits(graphs[sparse], axis=-1), axis=0, return_inverse=True)
            unpacked = np.unpackbits(distinct, axis=-1, count=self.n)
            graph, high, low = np.nonzero(unpacked)
            size = len(unpacked) * self.n  # the graphs beside each other, in one that falls apart into them
            ends = (graph * self.n + high, graph * self.n + low)
            whole = coo_array((np.ones(len(graph), dtype=np.int8), ends), shape=(size, size))
            found = connected_components(whole, directed=False)[1].reshape(len(unpacked), self.n)
            labels[sparse] = (found - found.min(axis=1, keepdims=True))[which.reshape(-1)]
        return labels.reshape(self.reference.shape)

    def __repr__(self) -> str:
        return f"<Bandit: {summary(self)}>"

    def _repr_html_(self) -> str:
        return table(self)
