"""What the experiment on a real language model runs: losses, lambdas, and the settings they share."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ...losses.base import check_number, check_whole

if TYPE_CHECKING:
    from ...llm.data.sampling import Sampling

HALVES = ("reward", "reference")
"""Who labelled a prompt."""


class Method(NamedTuple):
    """A loss, by its name in the catalogue, and how its regulariser is estimated."""

    loss: str
    estimator: str | None = None


METHODS = (
    Method("dpo"),
    Method("ipo"),
    Method("expo", "own_responses"),
    Method("expo", "reference_samples"),
    Method("expo", "token_kl"),
)


@dataclass(frozen=True)
class Sweep:
    """What to run.

    Args:
        model, prompts: as in ``expo-analysis preferences``; the first ``prompt_count`` prompts are used.
        responses, pairs: for each prompt, how many responses are compared, and in how many pairs.
        reference_samples: for each prompt, how many samples EXPO's estimator of that name has.
        max_new_tokens: of a response.
        label_temperature: of the Bradley-Terry labels where the reward gives them.
        lams, recorded: the trade-offs, and the one of them at which displacement is recorded.
        epochs, batch_size, learning_rate: of AdamW, with a rate that falls linearly to 0.
        evaluated: fresh responses to each prompt, of every policy and of the reference.
        records, watched: how often displacement is recorded, the start and the end included, and on how many pairs and
            fresh responses of each prompt; KLs are measured along as many.
        seed: of everything random.

    Raises:
        ValueError: naming the argument and what is accepted.
    """

    model: str = "smollm2"
    prompts: str = "sentiment"
    prompt_count: int = 32
    responses: int = 8
    pairs: int = 8
    reference_samples: int = 1
    max_new_tokens: int = 12
    label_temperature: float = 0.1
    lams: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    recorded: float = 0.3
    epochs: int = 1
    batch_size: int = 8
    learning_rate: float = 5e-5
    evaluated: int = 12
    records: int = 5
    watched: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("prompt_count", 2), ("responses", 2), ("pairs", 1), ("reference_samples", 1)):
            check_whole(name, getattr(self, name), least)
        for name, least in (("max_new_tokens", 1), ("epochs", 1), ("batch_size", 1), ("records", 2), ("seed", 0)):
            check_whole(name, getattr(self, name), least)
        check_whole("watched", self.watched, 2)
        check_whole("evaluated", self.evaluated, self.watched)
        for lam in self.lams:
            check_number("lams", lam, 0.0)
        if self.recorded not in self.lams:
            raise ValueError(f"lams must have the one at which displacement is recorded, {self.recorded:g}")

    @property
    def shared(self) -> dict[str, Any]:
        """All settings but the lambdas: others are more runs of the same sweep."""
        return {name: value for name, value in asdict(self).items() if name != "lams"}

    @property
    def evaluation(self) -> Sampling:
        """How responses are drawn that no run is trained on."""
        from ...llm.data.sampling import Sampling  # which loads transformers: to draw tables takes none

        return Sampling(self.max_new_tokens, seed=self.seed + 1)


SCALES = {
    "small": Sweep(),
    "large": Sweep(
        prompt_count=64, responses=8, pairs=16, reference_samples=4, max_new_tokens=32, epochs=3, evaluated=16,
        lams=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0), records=12, watched=8,
    ),
}  # fmt: skip
"""``small`` takes an hour on two cores; ``large`` is for a GPU."""


def at_scale(name: str, **changes: Any) -> Sweep:
    """A `Sweep` of `SCALES`, with some settings changed."""
    if name not in SCALES:
        raise ValueError(f"scale must be one of {list(SCALES)}, got {name!r}")
    return dataclasses.replace(SCALES[name], **changes)
