"""What a trainer is made of, in the order in which it can be refused: settings, data, model, reference."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset

from ..data import PreferenceData
from ..data.given import check_rows
from ..data.in_memory import as_rows
from . import modelling
from .checks import check_settings
from .config import PreferenceConfig
from .logs import tell
from .needs import check_rewards, columns_for, feedback_for
from .objectives import Mixture, make_mixture
from .regulariser import CONSERVES, resolve_estimator
from .step import Rules
from .unused import tell_of_unused


def own_args(args: Any, model: Any, **given: Any) -> PreferenceConfig:
    """A copy of the settings, which the trainer may change: the caller's serve for the next trainer too.

    Args:
        **given: what else the trainer is given that decides which settings are read; see `unused.tell_of_unused`.

    Raises:
        TypeError: for settings of another class.
        ValueError: for settings of transformers' that have no meaning here.
    """
    if args is None:
        name = model if isinstance(model, str) else getattr(model.config, "_name_or_path", "") or "model"
        args = PreferenceConfig(f"{name.rstrip('/').split('/')[-1]}-preference")
    if not isinstance(args, PreferenceConfig):
        hint = "; PreferenceConfig.from_trl(args) makes one of it" if hasattr(args, "loss_type") else ""
        raise TypeError(f"args must be a PreferenceConfig, got {type(args).__name__}{hint}")
    args = copy.copy(args)
    check_settings(args)
    tell_of_unused(args, model, **given)
    args.accelerator_config = copy.copy(args.accelerator_config)
    args.accelerator_config.dispatch_batches = False  # one process would cut batches up by rows, and pairs have two
    if args.use_liger_kernel:  # its cross-entropy would replace the forward pass that scores tokens here
        args.liger_kernel_config = (args.liger_kernel_config or {}) | {"fused_linear_cross_entropy": False}
    return args


def choose_mixture(objective: Any, args: PreferenceConfig) -> Mixture:
    """What is minimised: the trainer's argument, or what the settings name."""
    if objective is None:
        return make_mixture(args.make_objective(), args.aggregation)
    mixture = make_mixture(objective, args.aggregation)
    for name in ("objective", "objective_options", "objective_weights"):
        if getattr(args, name) is not None:
            raise ValueError(f"{name} must be given once, to the trainer or in args; args have {getattr(args, name)!r}")
    if args.beta is not None and any(args.beta != given.lam for _, given in mixture.given):
        raise ValueError(f"beta must be the objective's lam, {mixture.objective.lam}, or not be set; got {args.beta}")
    return mixture


def make_rules(mixture: Mixture, args: PreferenceConfig) -> Rules:
    """What decides about a batch's loss, but for what depends on the model.

    Raises:
        ValueError: for settings that do not go together.
    """
    estimator = resolve_estimator(mixture.regularised or mixture.objective, args.regulariser_estimator)
    rules = Rules(
        mixture,
        estimator,
        on_samples=args.token_prefixes == "reference_samples",
        ld_alpha=args.ld_alpha,
        use_weighting=args.use_weighting,
        chunk=args.token_chunk_size,
    )
    if rules.on_samples and not rules.token_wise:
        raise ValueError(f"token_prefixes is not used by the estimator {estimator}; it belongs to token_kl")
    if rules.use_weighting and mixture.couples_pairs:
        raise ValueError("use_weighting is not used by a loss that couples pairs: it has no loss of a single pair")
    return rules


def check_reference(rules: Rules, ref_model: Any, args: PreferenceConfig, model: Any) -> None:
    """Raise where a reference is given that nothing reads, or asked for in two ways."""
    name = str(rules.mixture) + (f" with the estimator {rules.estimator}" if rules.estimator else "")
    stored = [x for x in ("precompute_ref_log_probs", "use_ref_columns") if getattr(args, x)]
    if not rules.reads_reference:
        if ref_model is not None and not args.precompute_ref_log_probs:
            raise ValueError(f"ref_model is not used by {name}, which reads no reference")
        if args.sync_ref_model:
            raise ValueError(f"sync_ref_model is not used by {name}, which reads no reference")
    if ref_model is not None and ref_model is model and not isinstance(model, str):
        raise ValueError("ref_model must be another object than model: leave it out, and it is a copy of the model")
    if ref_model is not None and args.use_ref_columns:
        raise ValueError("ref_model is not used with use_ref_columns, which takes its log-probabilities from the data")
    if args.ld_alpha is not None and args.use_ref_columns and rules.reads_reference:
        raise ValueError(
            "ld_alpha is not used with use_ref_columns, whose sums are over all tokens of a response; set "
            "precompute_ref_log_probs"
        )
    if rules.token_wise and stored:
        raise ValueError(
            f"{stored[0]} is not used by the estimator {rules.estimator}, which reads the reference's whole next-token "
            "distributions; they are too large to be stored. regulariser_estimator='own_responses' reads none"
        )
    if args.sync_ref_model and stored:
        raise ValueError(f"sync_ref_model is not used with {stored[0]}: what is stored does not move")


def say(rules: Rules) -> None:
    """What a user is told once: the estimator and what it does not conserve, and how tokens become responses."""
    for note in rules.mixture.notes:
        tell(note)
    if rules.estimator is not None:
        tell(f"regulariser estimated by {rules.estimator}: {CONSERVES[rules.estimator]} (docs/llm.md)")


# ---------------------------------------------------------------------------------------------------------------- data


@dataclass
class DataRoom:
    """Makes `PreferenceData` of whatever a trainer is given, and keeps what was found by name."""

    rules: Rules
    args: PreferenceConfig
    tokenizer: Any
    positions: int | None
    all_columns: bool
    known: dict[str, PreferenceData] = field(default_factory=dict)
    rotary: int | None = None

    @classmethod
    def of(cls, rules: Rules, args: PreferenceConfig, model: Any, tokenizer: Any) -> DataRoom:
        """Raises where the model has no room for the tokenizer's tokens; columns are chosen here from now on."""
        if not isinstance(model, str):
            modelling.check_vocabulary(model, None, tokenizer)
        learned, rotary = modelling.learned_positions(model, args), modelling.rotary_positions(model, args)
        room = cls(rules, args, tokenizer, learned, not args.remove_unused_columns, rotary=rotary)
        args.remove_unused_columns = False  # nothing unused is left for transformers to remove
        return room

    def read_given(self, given: Mapping[str, Any]) -> list[Any]:
        """All data sets that a trainer is given, each `PreferenceData`, a dictionary of them, or None.

        Raises:
            TypeError, ValueError: without training data, with several, or with such that nothing can be learned from.
        """
        if given["train_dataset"] is None:
            raise ValueError("train_dataset must be given")
        given = {name: as_rows(rows, name) for name, rows in given.items()}
        for name, rows in given.items():
            if isinstance(rows, Mapping) and not rows:
                raise ValueError(f"{name} must have a data set, but it is empty")
            if isinstance(rows, Mapping) and name != "eval_dataset":
                raise TypeError(f"{name} must be one data set, got several; give one of {', '.join(map(repr, rows))}")
        read = [self.read_all(name, rows) for name, rows in given.items()]
        self._check_batches(read[0].rows)
        return read

    def _check_batches(self, rows: Any) -> None:
        """Raise where training on these rows would change nothing."""
        batch = self.args.train_batch_size * self.args.world_size
        if not isinstance(rows, Dataset):
            if self.args.max_steps <= 0:
                raise ValueError(
                    "max_steps must be set for a stream (dataset_streaming), whose rows are not counted beforehand"
                )
            return
        if self.args.dataloader_drop_last and len(rows) < batch:
            raise ValueError(
                f"train_dataset must have at least the {batch} rows of a batch, as dataloader_drop_last leaves out "
                f"what is less; it has {len(rows)}"
            )
        if "weight" in rows.column_names and not any(rows["weight"]):
            raise ValueError("train_dataset must have a row whose weight is not 0: nothing would be learned from it")

    def place_in(self, name: str) -> Callable[[int], str]:
        """What gives the place of a row of a data set, by its number."""
        data = self.known.get(name)
        return (lambda number: f"row {number}") if data is None else data.where

    def read(self, name: str, rows: Any) -> PreferenceData:
        """One data set, checked and split into tokens.

        Raises:
            TypeError, ValueError: naming the data set, and the rows that cannot be trained on.
        """
        rows = as_rows(rows, name)
        if not isinstance(rows, PreferenceData):
            check_rows(rows, name)
        columns = PreferenceData.columns_of(rows)
        called = PreferenceData.called(name, rows)
        kind = feedback_for(called, columns, self.rules)
        kept = columns_for(called, columns, kind, self.rules.mixture)
        if self.args.use_ref_columns:
            missing = [column for column in kind.ref_columns if column not in columns]
            if missing:
                raise ValueError(f"{called} must have the column {missing[0]!r}, which use_ref_columns asks for")
            kept += kind.ref_columns
        elif any(column in columns for column in kind.ref_columns):
            tell(f"{name}: its columns {', '.join(kind.ref_columns)} are not used; use_ref_columns=True takes them")
        if self.all_columns:
            kept += [column for column in columns if column not in kept]
        data = PreferenceData.from_rows(
            rows,
            self.tokenizer,
            name=name,
            max_length=self.args.max_length,
            max_positions=self.positions,
            on_bad_rows=self.args.on_bad_rows,
            reference_samples="needed" if self.rules.uses_samples else "no",
            feedback=kind.name,
            keep_columns=kept,
            num_proc=self.args.dataset_num_proc,
        )
        check_rewards(name, data, self.rules.mixture)
        modelling.tell_of_positions(name, data, self.rotary, self.args.max_length)
        self.known[name] = data
        for line in data.report.lines():
            tell(line)
        return data

    def read_all(self, name: str, given: Any) -> Any:
        """One data set, or a dictionary of them; None stays None."""
        if given is None:
            return None
        if isinstance(given, Mapping) and not isinstance(given, PreferenceData):
            return {key: self.read(f"{name}[{key!r}]", rows) for key, rows in given.items()}
        return self.read(name, given)


def is_one(given: Any) -> bool:
    """Whether something is one data set, and neither nothing, nor the name of one, nor several in a mapping."""
    return given is not None and not isinstance(as_rows(given, "eval_dataset"), str | Mapping)


def each(given: Any, make: Callable[[PreferenceData], Any]) -> Any:
    """The same made of one data set, or of each in a dictionary of them."""
    if isinstance(given, dict):
        return {key: make(data) for key, data in given.items()}
    return None if given is None else make(given)
