r"""Preference data with known truth: responses of a reference model, scored by a reward, compared by Bradley-Terry.

For each prompt x, responses y_1, ..., y_k are drawn from pi_ref(. | x) and scored by a reward r. A pair (i, j) is
labelled by p*(i > j | x) = sigma((r(x, y_i) - r(x, y_j)) / temperature). The optimal policy is then known up to its
constant, pi*(y | x) ∝ exp(r(x, y) / temperature), and so are expected rewards (`expo_analysis.llm.truth`).

Prompts may also be labelled by the reference itself, p*(i > j | x) = sigma(log pi_ref(y_i | x) - log pi_ref(y_j | x)):
there pi_ref is optimal already, and a loss that preserves has nothing to change.

What was sampled and scored is kept in a journal, ``NAME.responses.jsonl``, batch by batch: a run that was killed goes
on where it was, and a run with more responses, another reward or other labels samples nothing twice.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .labels import Skipped, check_labels, draw_labels
from .prompts import Prompts
from .rewards import Reward
from .sampling import Draw, Sampling, draw, end_tokens, rng
from .texts import Texts
from .truth import expected_reward

SHARE = 3
"""What the random numbers are for that choose the prompts labelled by the reference; see `sampling.RESPONSES`."""

FORMATS = (".jsonl", ".parquet")
PACKAGES = ("numpy", "torch", "transformers")

OnProgress = Callable[[int, int, int], None]
"""Called with how many responses there are, how many there will be, and how many tokens this run has sampled."""


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
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number from {least} on, got {value!r}")
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


class JournalError(ValueError):
    """A journal that is damaged, or was written with other settings."""


class NoPairs(ValueError):
    """Nothing to write: no two responses to a prompt can be compared."""


class Journal:
    """What was sampled and scored, in a file that is only ever appended to, one batch a line.

    The first line has what the responses depend on. A last line that is not whole, which a killed process may leave,
    is cut off; all lines before it count.

    Raises:
        JournalError: if the file was written with another ``origin``, naming the differences, or a line that ends is
            damaged.
    """

    def __init__(self, path: Path, origin: dict[str, Any]) -> None:
        self.path = path
        self.draws: dict[tuple[int, int], Draw] = {}
        self.scores: dict[str, dict[tuple[int, int], float]] = {}
        if not path.exists() or not self._read(origin):
            path.write_bytes(b"")
            self._append({"origin": origin})

    def _read(self, origin: dict[str, Any]) -> bool:
        """Take the lines in; whether there were any."""
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = json.loads(line)
                if number == 1:
                    _check_origin(self.path, record["origin"], origin)
                elif "sampled" in record:
                    for prompt, response, ids, logp, finished in record["sampled"]:
                        self.draws[prompt, response] = Draw(ids, logp, finished)
                else:
                    known = self.scores.setdefault(record["reward"], {})
                    known |= {(prompt, response): value for prompt, response, value in record["scored"]}
            except JournalError:
                raise
            except (KeyError, TypeError, ValueError):
                raise JournalError(f"{self.path}: line {number} is damaged: mend it, or remove the file") from None
        return bool(whole)

    def add_draws(self, rows: Sequence[tuple[int, int]], draws: Sequence[Draw]) -> None:
        self.draws.update(zip(rows, draws, strict=True))
        self._append({"sampled": [[*row, d.ids, d.logp, d.finished] for row, d in zip(rows, draws, strict=True)]})

    def add_scores(self, reward: str, rows: Sequence[tuple[int, int]], values: Sequence[float]) -> None:
        self.scores.setdefault(reward, {}).update(zip(rows, values, strict=True))
        self._append(
            {"reward": reward, "scored": [[*row, value] for row, value in zip(rows, values, strict=True)]},
        )

    def _append(self, record: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True)
class Preferences:
    """The data set, the counts of what went into it, and every response that was drawn.

    rows        one for each labelled pair, with the columns of `COLUMNS`
    counts      numbers to judge the data set by
    responses   for each prompt the texts of its k compared responses, with rewards and log pi_ref: frames of one row
                for each response, columns prompt_index, response, text, score, ref_logp, tokens, finished
    """

    rows: list[dict[str, Any]]
    counts: dict[str, Any]
    responses: pd.DataFrame


COLUMNS = {
    "prompt": "as given: plain text or a conversation",
    "chosen": "the response that won, text or a conversation of one message",
    "rejected": "the response that lost",
    "prompt_index": "the prompt's row in its file, from 0 on",
    "chosen_index": "the number of the response among those to its prompt",
    "rejected_index": "the same of the other",
    "score_chosen": "the reward; log pi_ref(y | x) where there is no other",
    "score_rejected": "the same of the other",
    "label_probability": "p*(chosen > rejected | x), with which this label was drawn",
    "labelled_by": "'reward', or 'reference' where p* is the reference's own",
    "ref_logp_chosen": "log pi_ref(y | x) in nats, of the tokens in chosen_ids, at temperature 1",
    "ref_logp_rejected": "the same of the other",
    "prompt_ids": "the prompt's tokens",
    "chosen_ids": "the tokens that were sampled, with an end token unless the response was cut",
    "rejected_ids": "the same of the other",
    "reference_sample_ids": "tokens of further samples of the reference, where they were asked for",
}


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
    kept = Journal(journal, origin_of(model, model_name, prompt_ids, ends, settings.sampling))
    tokens_of = dict(zip(prompts.rows, prompt_ids, strict=True))
    text_of = dict(zip(prompts.rows, prompts.prompts, strict=True))
    total = len(prompts.rows) * settings.drawn
    all_rows = [(row, number) for row in prompts.rows for number in range(settings.drawn)]
    compared = {(row, number) for row in prompts.rows for number in range(settings.responses)}
    texts = Texts(tokenizer, tokens_of)

    def score(rows: list[tuple[int, int]]) -> None:
        scores = kept.scores.get(reward.name, {}) if reward is not None else {}
        wanted = [row for row in rows if row in compared and row not in scores]
        if reward is not None and wanted:
            responses = [texts(row, kept.draws[row]) for row in wanted]
            kept.add_scores(reward.name, wanted, reward([text_of[x] for x, _ in wanted], responses, wanted).tolist())

    known = [row for row in all_rows if row in kept.draws]
    seconds, sampled, new_tokens, done = 0.0, 0, 0, len(known)
    on_progress(done, total, 0)
    for batch in _batches(known, settings.batch_size):
        score(batch)
    # prompts of similar length go together, so that little of a batch is padding
    missing = sorted((row for row in all_rows if row not in kept.draws), key=lambda row: (len(tokens_of[row[0]]), row))
    for batch in _batches(missing, settings.batch_size):
        start = time.perf_counter()
        draws = draw(model, [tokens_of[row] for row, _ in batch], batch, settings.sampling, ends)
        seconds += time.perf_counter() - start
        kept.add_draws(batch, draws)
        sampled += len(batch)
        new_tokens += sum(len(one.ids) for one in draws)
        on_progress(done + sampled, total, new_tokens)
        score(batch)
    frame = _responses(kept, prompts, reward, settings, texts)
    made = label(frame, prompts, tokens_of, kept, settings, by_reward=reward is not None)
    split_otherwise = sum(texts.differs(text_of[row[0]], row, kept.draws[row]) for row in sorted(compared))
    made.counts["responses_split_otherwise"] = split_otherwise
    made.counts["this_run"] = {
        "responses_sampled": sampled,
        "tokens_sampled": new_tokens,
        "sampling_seconds": round(seconds, 2),
        "tokens_per_second": round(new_tokens / seconds, 1) if seconds else None,
    }
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
    skipped, rows, without = Skipped(), [], 0
    seed = settings.sampling.seed
    own = set(prompts.rows) if not by_reward else reference_labelled(prompts.rows, settings.reference_share, seed)
    groups = dict(list(frame.groupby("prompt_index", sort=False)))
    for row, prompt in zip(prompts.rows, prompts.prompts, strict=True):
        group = groups[row]
        texts, scores, logps = (group[name].tolist() for name in ("text", "score", "ref_logp"))
        labels = draw_labels(
            texts,
            logps if row in own else scores,
            temperature=1.0 if row in own else settings.label_temperature,
            pairs=settings.pairs,
            seed=seed,
            prompt=row,
            skipped=skipped,
        )
        without += not labels
        ids = [kept.draws[row, number].ids for number in range(settings.drawn)]
        further = {"reference_sample_ids": ids[settings.responses :]} if settings.reference_samples else {}
        for one in labels:
            i, j = one.winner, one.loser
            chosen, rejected = (
                [{"role": "assistant", "content": texts[k]}] if prompts.conversational else texts[k] for k in (i, j)
            )
            rows.append(
                {
                    **{"prompt": prompt, "chosen": chosen, "rejected": rejected},
                    **{"prompt_index": row, "chosen_index": i, "rejected_index": j},
                    **{"score_chosen": scores[i], "score_rejected": scores[j]},
                    **{"label_probability": one.p, "labelled_by": "reference" if row in own else "reward"},
                    **{"ref_logp_chosen": logps[i], "ref_logp_rejected": logps[j]},
                    **{"prompt_ids": list(tokens_of[row]), "chosen_ids": ids[i], "rejected_ids": ids[j]},
                    **further,
                }
            )
    reward = expected_reward(frame["score"].to_numpy().reshape(len(prompts.rows), settings.responses))
    by_own = sum(row["labelled_by"] == "reference" for row in rows)
    counts = {
        "prompts": len(prompts.rows),
        "prompts_left_out": len(prompts.dropped),
        "prompts_labelled_by_reference": len(own),
        "prompts_without_pairs": without,
        "responses": len(frame),
        "responses_cut_at_max_new_tokens": int((~frame["finished"]).sum()),
        "tokens": int(frame["tokens"].sum()),
        "pairs": len(rows),
        "pairs_labelled_by_reference": by_own,
        "pairs_skipped_equal": skipped.equal,
        "pairs_skipped_empty": skipped.empty,
        "labels_for_the_less_probable": sum(row["label_probability"] < 0.5 for row in rows),
        "mean_label_probability": float(np.mean([row["label_probability"] for row in rows])) if rows else None,
        "expected_reward": reward.mean,
        "expected_reward_standard_error": reward.standard_error,
        "reward_standard_deviation": float(frame["score"].std(ddof=0)),
    }
    return Preferences(rows, counts, frame)


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


# --------------------------------------------------------------------------------------------------------------- files


def paths_of(output: Path) -> dict[str, Path]:
    """The files that belong to a data set: itself, its settings, and the journal.

    Raises:
        ValueError: if its name ends in neither .jsonl nor .parquet.
    """
    if output.suffix not in FORMATS or not output.stem:
        raise ValueError(f"output must be a file whose name ends in {' or '.join(FORMATS)}, got {str(output)!r}")
    return {
        "data": output,
        "settings": output.with_suffix(".settings.json"),
        "responses": output.with_suffix(".responses.jsonl"),
    }


def write_preferences(output: Path, made: Preferences, settings: dict[str, Any]) -> dict[str, Any]:
    """Write the data set and beside it ``NAME.settings.json``, each whole or not at all; returns the latter.

    Args:
        output: its ending says whether JSON lines or parquet is written.
        settings: to be written with the counts, the columns' meaning and the versions of packages.
    """
    if not made.rows:
        raise NoPairs(
            "no pair is left to write: every two responses to a prompt are equal, or one is empty "
            f"({made.counts['pairs_skipped_equal']} and {made.counts['pairs_skipped_empty']} pairs)"
        )
    files = paths_of(output)
    document = {
        "settings": settings,
        "counts": made.counts,
        "columns": {name: meaning for name, meaning in COLUMNS.items() if name in made.rows[0]},
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    if output.suffix == ".jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in made.rows)
        _replace(output, lambda path: path.write_text(text, encoding="utf-8"))
    else:
        _replace(output, lambda path: pd.DataFrame(made.rows).to_parquet(path, index=False))
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _replace(files["settings"], lambda path: path.write_text(text, encoding="utf-8"))
    return document


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    partial.replace(path)


def origin_of(
    model: Any, name: str, prompt_ids: Sequence[Sequence[int]], ends: Sequence[int], sampling: Sampling
) -> dict[str, Any]:
    """All that responses depend on, besides their numbers."""
    return {
        "model": name,
        "weights": weights_digest(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "prompts": sha256(json.dumps([list(ids) for ids in prompt_ids]).encode()).hexdigest()[:16],
        "end_tokens": list(ends),
        **asdict(sampling),
    }


def weights_digest(model: Any) -> str:
    """Tells models apart by up to 64 entries of every parameter, as hashing billions of them would take long."""
    digest = sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().flatten()
        some = flat[:: max(1, len(flat) // 64)][:64].double().cpu().numpy()
        digest.update(f"{name} {tuple(parameter.shape)}".encode() + some.tobytes())
    return digest.hexdigest()[:16]


def _check_origin(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    different = [
        f"{name} {found.get(name)!r} instead of {wanted.get(name)!r}"
        for name in {**wanted, **found}
        if found.get(name) != wanted.get(name)
    ]
    if different:
        raise JournalError(
            f"{path}: it has responses that were sampled otherwise: {', '.join(different)}. Choose another output, or "
            "start afresh with --restart, which removes them"
        )


def _batches(rows: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
