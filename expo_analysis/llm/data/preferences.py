r"""Preference data with known truth: responses of a reference model, scored by a reward, compared by Bradley-Terry.

For each prompt x, responses y_1, ..., y_k are drawn from pi_ref(. | x) and scored by a reward r. A pair (i, j) is
labelled by p*(i > j | x) = sigma((r(x, y_i) - r(x, y_j)) / temperature). The optimal policy is then known up to its
constant, pi*(y | x) ∝ exp(r(x, y) / temperature), and so are expected rewards (`expo_analysis.llm.evaluation`).

Prompts may also be labelled by the reference itself, p*(i > j | x) = sigma(log pi_ref(y_i | x) - log pi_ref(y_j | x)):
there pi_ref is optimal already, and a loss that preserves has nothing to change.

What was sampled and scored is kept in a journal, ``NAME.responses.jsonl``, batch by batch: a run that was killed goes
on where it was, and a run with more responses, another reward or other labels samples nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...losses.base import check_whole
from .conversation import assistant
from .estimates import expected_reward
from .journal import Journal, OnProgress, origin_of, sample_missing
from .labels import SkippedPairs, check_labels, draw_labels
from .prompts import Prompts
from .rewards import Reward
from .sampling import Sampling, end_tokens, rng
from .texts import Texts

SHARE = 3
"""What the random numbers are for that choose the prompts labelled by the reference; see `sampling.RESPONSES`."""


@dataclass(frozen=True)
class Settings:
    """What to sample and how to label it.

    Args:
        responses: k, how many responses to each prompt are compared.
        reference_samples: how many more to draw for each prompt, for the column ``reference_sample_ids``.
        sampling: how responses are drawn.
        pairs: how many pairs of a prompt to label; None for all k (k - 1) / 2.
        label_temperature: of p* where labels are by the reward; those by the reference have temperature 1.
        reference_share: in [0, 1], the share of the prompts that is labelled by the reference itself.
        batch_size: how many responses are sampled at a time.

    Raises:
        ValueError: naming the argument and what is accepted.
    """

    responses: int = 4
    reference_samples: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    pairs: int | None = None
    label_temperature: float = 1.0
    reference_share: float = 0.0
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name, least in (("responses", 2), ("reference_samples", 0), ("batch_size", 1)):
            check_whole(name, getattr(self, name), least)
        if not 0 <= self.reference_share <= 1:
            raise ValueError(f"reference_share must be from 0 to 1, got {self.reference_share!r}")
        check_labels(self.label_temperature, self.pairs)

    @property
    def drawn(self) -> int:
        """How many responses to each prompt are drawn."""
        return self.responses + self.reference_samples

    def to_dict(self) -> dict[str, Any]:
        """One flat mapping of names to values."""
        found = asdict(self)
        sampling = found.pop("sampling")
        return {**found, **sampling}


@dataclass(frozen=True)
class Preferences:
    """The data set, the counts of what went into it, and every response that was drawn.

    rows        one for each labelled pair, with the columns of `preference_files.COLUMNS`
    counts      numbers to judge the data set by
    responses   for each prompt the texts of its k compared responses, with rewards and log pi_ref: frames of one row
                for each response, columns prompt_index, response, text, score, ref_logp, tokens, finished
    """

    rows: list[dict[str, Any]]
    counts: dict[str, Any]
    responses: pd.DataFrame


def make_preferences(
    model: Any,
    tokenizer: Any,
    prompts: Prompts,
    prompt_ids: Sequence[Sequence[int]],
    reward: Reward | None,
    settings: Settings,
    journal: Path,
    *,
    model_name: str = "",
    on_progress: OnProgress = lambda done, total, tokens: None,
) -> Preferences:
    """Sample, score and label; go on with what is in the journal.

    Args:
        model, tokenizer: the reference.
        prompts, prompt_ids: as `read_prompts` and `tokenize` return them.
        reward: None labels all prompts by the reference.
        journal: the file to keep responses and scores in; it is made if it is not there.
        model_name: for the journal.

    Raises:
        JournalError: if the journal has responses of another model, of other prompts or other sampling settings.
        RewardError: if the reward fails or is not finite; everything before that is in the journal.
    """
    ends = end_tokens(model, tokenizer)
    kept = Journal(journal, origin_of(model, tokenizer, model_name, prompts, prompt_ids, ends, settings.sampling))
    tokens_of = dict(zip(prompts.rows, prompt_ids, strict=True))
    text_of = dict(zip(prompts.rows, prompts.prompts, strict=True))
    all_rows = [(row, number) for row in prompts.rows for number in range(settings.drawn)]
    compared = {(row, number) for row in prompts.rows for number in range(settings.responses)}
    texts = Texts(tokenizer, tokens_of)

    def score(rows: list[tuple[int, int]]) -> None:
        scores = kept.scores.get(reward.name, {}) if reward is not None else {}
        wanted = [row for row in rows if row in compared and row not in scores]
        if reward is not None and wanted:
            responses = [texts(row, kept.draws[row]) for row in wanted]
            kept.add_scores(reward.name, wanted, reward([text_of[x] for x, _ in wanted], responses, wanted).tolist())

    work = sample_missing(
        kept, model, tokens_of, all_rows, settings.sampling, ends, settings.batch_size, score, on_progress
    )
    frame = _responses(kept, prompts, reward, settings, texts)
    made = label(frame, prompts, tokens_of, kept, settings, by_reward=reward is not None)
    split_otherwise = sum(texts.differs(text_of[row[0]], row, kept.draws[row]) for row in sorted(compared))
    made.counts["responses_split_otherwise"] = split_otherwise
    made.counts["this_run"] = work.to_dict()
    return made


def label(
    frame: pd.DataFrame,
    prompts: Prompts,
    tokens_of: dict[int, Sequence[int]],
    kept: Journal,
    settings: Settings,
    by_reward: bool,
) -> Preferences:
    """Draw the labels of scored responses, and count."""
    skipped, rows, without = SkippedPairs(), [], 0
    seed = settings.sampling.seed
    own = set(prompts.rows) if not by_reward else reference_labelled(prompts.rows, settings.reference_share, seed)
    groups = dict(list(frame.groupby("prompt_index", sort=False)))
    for row, prompt in zip(prompts.rows, prompts.prompts, strict=True):
        ids = [kept.draws[row, number].ids for number in range(settings.drawn)]
        asked = Asked(row, prompt, list(tokens_of[row]), ids, groups[row], by_reference=row in own)
        made = _pairs(asked, settings, skipped)
        without += not made
        rows += made
    counts = _counts(frame, prompts, rows, settings, skipped)
    counts |= {"prompts_labelled_by_reference": len(own), "prompts_without_pairs": without}
    return Preferences(rows, {name: counts[name] for name in COUNTS}, frame)


@dataclass(frozen=True)
class Asked:
    """A prompt with its responses: tokens of all that were drawn, and a frame of those that are compared."""

    row: int
    prompt: Any
    prompt_ids: list[int]
    ids: list[list[int]]
    responses: pd.DataFrame
    by_reference: bool


def _pairs(asked: Asked, settings: Settings, skipped: SkippedPairs) -> list[dict[str, Any]]:
    """The labelled pairs of a prompt."""
    texts, scores, logps = (asked.responses[name].tolist() for name in ("text", "score", "ref_logp"))
    labels = draw_labels(
        texts,
        logps if asked.by_reference else scores,
        temperature=1.0 if asked.by_reference else settings.label_temperature,
        pairs=settings.pairs,
        seed=settings.sampling.seed,
        prompt=asked.row,
        skipped=skipped,
    )
    further = {"reference_sample_ids": asked.ids[settings.responses :]} if settings.reference_samples else {}
    rows = []
    for one in labels:
        i, j = one.winner, one.loser
        said = [texts[k] if isinstance(asked.prompt, str) else [assistant(texts[k])] for k in (i, j)]
        rows.append(
            {
                **{"prompt": asked.prompt, "chosen": said[0], "rejected": said[1]},
                **{"prompt_index": asked.row, "chosen_index": i, "rejected_index": j},
                **{"score_chosen": scores[i], "score_rejected": scores[j], "label_probability": one.p},
                **{"labelled_by": "reference" if asked.by_reference else "reward"},
                **{"ref_logp_chosen": logps[i], "ref_logp_rejected": logps[j]},
                **{"prompt_ids": asked.prompt_ids, "chosen_ids": asked.ids[i], "rejected_ids": asked.ids[j]},
                **further,
            }
        )
    return rows


COUNTS = (
    *("prompts", "prompts_left_out", "prompts_labelled_by_reference", "prompts_without_pairs", "responses"),
    *("responses_cut_at_max_new_tokens", "tokens", "pairs", "pairs_labelled_by_reference", "pairs_skipped_equal"),
    *("pairs_skipped_empty", "labels_for_the_less_probable", "mean_label_probability", "expected_reward"),
    *("expected_reward_standard_error", "reward_standard_deviation"),
)
"""In the order in which they are shown."""


def _counts(
    frame: pd.DataFrame, prompts: Prompts, rows: Sequence[dict[str, Any]], settings: Settings, skipped: SkippedPairs
) -> dict[str, Any]:
    reward = expected_reward(frame["score"].to_numpy().reshape(len(prompts.rows), settings.responses))
    probabilities = [row["label_probability"] for row in rows]
    return {
        "prompts": len(prompts.rows),
        "prompts_left_out": len(prompts.dropped),
        "responses": len(frame),
        "responses_cut_at_max_new_tokens": int((~frame["finished"]).sum()),
        "tokens": int(frame["tokens"].sum()),
        "pairs": len(rows),
        "pairs_labelled_by_reference": sum(row["labelled_by"] == "reference" for row in rows),
        "pairs_skipped_equal": skipped.equal,
        "pairs_skipped_empty": skipped.empty,
        "labels_for_the_less_probable": sum(p < 0.5 for p in probabilities),
        "mean_label_probability": float(np.mean(probabilities)) if rows else None,
        "expected_reward": reward.mean,
        "expected_reward_standard_error": reward.standard_error,
        "reward_standard_deviation": float(frame["score"].std(ddof=0)),
    }


def reference_labelled(rows: Sequence[int], share: float, seed: int) -> set[int]:
    """The prompts that are labelled by the reference: this share of them, chosen at random."""
    order = rng(seed, SHARE).permutation(len(rows))
    return {rows[place] for place in order[: round(share * len(rows))]}


def _responses(
    kept: Journal, prompts: Prompts, reward: Reward | None, settings: Settings, texts: Texts
) -> pd.DataFrame:
    records = []
    for row in prompts.rows:
        for number in range(settings.responses):
            drawn = kept.draws[row, number]
            records.append(
                {
                    "prompt_index": row,
                    "response": number,
                    "text": texts((row, number), drawn),
                    "score": drawn.logp if reward is None else kept.scores[reward.name][row, number],
                    "ref_logp": drawn.logp,
                    "tokens": len(drawn.ids),
                    "finished": drawn.finished,
                }
            )
    return pd.DataFrame(records)
