"""The settings of `PreferenceTrainer`: transformers' TrainingArguments, and what preference training needs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments

from ...losses.base import check_number, check_option
from ..data import ON_BAD_ROWS
from .accepted import PREFIXES, check_values
from .aggregation import AGGREGATIONS, TOKEN_MEAN
from .named import named_objectives


def _option(default: Any, text: str, **more: Any) -> Any:
    """A field with a line of help."""
    return field(default=default, metadata={"help": text} | more)


@dataclass
class PreferenceConfig(TrainingArguments):
    r"""
    Configuration class for the [`PreferenceTrainer`].

    Beside its own parameters it has those of [`~transformers.TrainingArguments`]. Parameters that TRL's `DPOConfig` has
    too mean what they mean there.

    Parameters:
        > Parameters that control the objective

        objective (`str` or `list[str]`, *optional*):
            Name of the objective in the catalogue, such as `"expo"`, `"dpo"` or `"ipo"`, or names of several whose sum
            is minimised; `FILE.py:NAME` for a class, an instance or a function of your own. In Python, objectives such
            as `DPO(0.1)` too, or pairs of a weight and an objective. If `None`, the trainer's argument `objective` is
            used, and `"expo"` where that is not given either.
        objective_weights (`list[float]`, *optional*):
            Weights of several objectives, such as `[0.8, 0.2, 1.0]` in MPO. If `None`, 1 each.
        objective_options (`dict[str, Any]` or `str`, *optional*):
            Options of the objective named by `objective`, such as `{"label_smoothing": 0.1}`, or the `beta_name`
            of a function; of several, a mapping from their names to such options. A string is read as JSON.
        beta (`float`, *optional*):
            The trade-off parameter of what `objective` names, λ in the paper and `lam` elsewhere in this package. If
            `None`, `0.1`.
        aggregation (`str` or `list[str]`, *optional*):
            How the log-probabilities of tokens become that of a response: `"sum"`, or `"mean"`, which divides it by
            the response's length; of several objectives, one each. If `None`, that of the objective's definition:
            means for SimPO, ORPO and IPO, a sum and a mean in CPO and RPO, and sums for all others.

        > Parameters that control the regulariser of objectives that have an explicit one, such as EXPO

        regulariser_estimator (`str`, *optional*):
            `"token_kl"` (whole next-token distributions; needs the reference, which with PEFT is no second model),
            `"own_responses"` (the pair's own responses; no reference model), `"reference_samples"` (the column of that
            name; no reference model) or `"token_divergence"` (as token_kl, for other divergences than KL(pi_ref ‖ pi)).
            If `None`, `"token_kl"` for KL(pi_ref ‖ pi) and `"token_divergence"` for other divergences.
        token_prefixes (`str`, *optional*, defaults to `"responses"`):
            What the token-wise estimators are computed along: the pair's own `"responses"`, or `"reference_samples"`.
        token_chunk_size (`int`, *optional*, defaults to `256`):
            How many tokens have their logits over the whole vocabulary in memory at a time.

        > Parameters that control how pairs and tokens are weighted

        use_weighting (`bool`, *optional*, defaults to `False`):
            Whether to weight pairs by the policy's length-normalised probability of both responses (WPO). A column
            `weight` of the data is used whether or not this is set.
        ld_alpha (`float`, *optional*):
            Weight, in [0, 1], of the tokens beyond the length that both responses of a pair have (LD-DPO).
        router_aux_loss_coef (`float`, *optional*):
            Weight of the load-balancing loss of mixtures of experts. If `None`, that of the model's configuration.

        > Parameters that control the reference

        precompute_ref_log_probs (`bool`, *optional*, defaults to `False`):
            Whether to compute the reference's log-probabilities of all data before training. They are kept in a cache.
        precompute_ref_batch_size (`int`, *optional*):
            Batch size of that. If `None`, those of training and of evaluation.
        use_ref_columns (`bool`, *optional*, defaults to `False`):
            Whether to take the reference's log-probabilities, summed over tokens, from the columns `ref_chosen_logps`
            and `ref_rejected_logps` of the data.
        sync_ref_model (`bool`, *optional*, defaults to `False`):
            Whether the reference moves towards the policy while training (TR-DPO).
        ref_model_mixup_alpha (`float`, *optional*, defaults to `0.6`):
            How far it moves: `π_ref = (1 - α) * π_ref + α * π_θ`, in the weights.
        ref_model_sync_steps (`int`, *optional*, defaults to `512`):
            After how many steps it moves.

        > Parameters that control the model

        model_init_kwargs (`dict[str, Any]` or `str`, *optional*):
            Arguments of `from_pretrained`, for a model that is given by its name. Its `revision` is the tokenizer's
            too.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether to run code that comes with a model or a tokenizer.
        disable_dropout (`bool`, *optional*, defaults to `True`):
            Whether to switch dropout off. The reference never has any.

        > Parameters that control the data

        max_length (`int`, *optional*, defaults to `1024`):
            Longer sequences lose their end. `None` cuts nothing.
        pad_to_multiple_of (`int`, *optional*):
            The length of a batch is a multiple of this.
        dataset_num_proc (`int`, *optional*):
            Number of processes that split texts into tokens.
        on_bad_rows (`str`, *optional*, defaults to `"error"`):
            What to do about rows that cannot be trained on (see `expo_analysis.llm.data`): `"error"` refuses the data
            set, and `"drop"` leaves such rows out, and counts them in the log.

    > [!NOTE]
    > These parameters have default values different from [`~transformers.TrainingArguments`], as TRL has them:
    > - `learning_rate`: Defaults to `1e-6` instead of `5e-5`.
    > - `logging_steps`: Defaults to `10` instead of `500`.
    > - `gradient_checkpointing`: Defaults to `True` instead of `False`.
    > - `bf16`: Defaults to `True` where there is an accelerator and `fp16` is not set, instead of `False`.
    > and these for reasons of their own:
    > - `use_cpu`: Is set where there is no accelerator.
    > - `logging_nan_inf_filter`: Defaults to `False` instead of `True`: a loss that is not finite is an error.
    """

    objective: list[str] | None = _option(
        None,
        "A loss of the catalogue, such as 'expo' (the default), 'dpo' or 'ipo', or FILE.py:NAME; several are summed.",
    )
    objective_weights: list[float] | None = _option(None, "Weights of several objectives; 1 each if not set.")
    objective_options: dict[str, Any] | str | None = _option(
        None, "Options of the objective, as JSON: '{\"label_smoothing\": 0.1}'."
    )
    beta: float | None = _option(
        None, "The objective's trade-off parameter, lambda in the paper; 0.1 if not set.", aliases=["--lam"]
    )
    aggregation: list[str] | None = _option(
        None, "From tokens to responses: 'sum' or 'mean'; if not set, as the objective's paper has it."
    )
    regulariser_estimator: str | None = _option(
        None,
        "Estimator of the explicit regulariser: 'token_kl' (if not set; leaves the reference alone where it is "
        "optimal, but conserves no masses of whole responses), 'own_responses' (no reference in memory; mass moves "
        "onto the data), "
        "'reference_samples' or 'token_divergence'.",
    )
    token_prefixes: str = _option("responses", "What token-wise estimators are computed along.", choices=list(PREFIXES))
    token_chunk_size: int = _option(
        256, "How many tokens have their logits over the whole vocabulary in memory at a time."
    )
    use_weighting: bool = _option(False, "Whether to weight pairs by the policy's probability of them (WPO).")
    ld_alpha: float | None = _option(
        None, "Weight, in [0, 1], of tokens beyond the length that both responses have (LD-DPO)."
    )
    router_aux_loss_coef: float | None = _option(
        None, "Weight of the load-balancing loss of mixtures of experts; if not set, the model's own."
    )
    precompute_ref_log_probs: bool = _option(
        False, "Whether to compute the reference's log-probabilities of all data before training."
    )
    precompute_ref_batch_size: int | None = _option(None, "Batch size of precomputing; if not set, that of training.")
    use_ref_columns: bool = _option(
        False, "Whether to take the reference's log-probabilities from the data: ref_chosen_logps, ref_rejected_logps."
    )
    sync_ref_model: bool = _option(False, "Whether the reference moves towards the policy while training (TR-DPO).")
    ref_model_mixup_alpha: float = _option(0.6, "How far the reference moves, in (0, 1].")
    ref_model_sync_steps: int = _option(512, "After how many steps the reference moves.")
    model_init_kwargs: dict[str, Any] | str | None = _option(
        None,
        "Arguments of from_pretrained, for a model that is given by its name; its revision is the tokenizer's too.",
    )
    trust_remote_code: bool = _option(False, "Whether to run code that comes with a model or a tokenizer.")
    disable_dropout: bool = _option(True, "Whether to switch dropout off. The reference never has any.")
    max_length: int | None = _option(1024, "Longer sequences lose their end.")
    pad_to_multiple_of: int | None = _option(None, "The length of a batch is a multiple of this.")
    dataset_num_proc: int | None = _option(None, "Number of processes that split texts into tokens.")
    on_bad_rows: str = _option("error", "Rows that cannot be trained on: 'error' or 'drop'.", choices=list(ON_BAD_ROWS))

    learning_rate: float = _option(1e-6, "The initial learning rate.")
    logging_steps: float = _option(10, "Log every X steps; a part of all steps if smaller than 1.")
    gradient_checkpointing: bool = _option(True, "Recompute activations in the backward pass to save memory.")
    bf16: bool | None = _option(None, "Whether to compute in bfloat16; if not set, where there is an accelerator.")
    logging_nan_inf_filter: bool = _option(
        False, "Whether to log losses that are not finite as 0; training stops at them."
    )

    def __post_init__(self) -> None:
        self._choose_device()
        for name in ("objective_options", "model_init_kwargs"):
            setattr(self, name, _mapping(name, getattr(self, name)))
        self._check_objective()
        check_values(self)
        if getattr(self, "activation_checkpointing", True) is None:
            # the newer name of transformers, which warns where the older one is set
            self.activation_checkpointing = self.gradient_checkpointing
            self.gradient_checkpointing = None  # type: ignore[assignment]
        super().__post_init__()

    def _choose_device(self) -> None:
        """A CPU where there is nothing else, and bfloat16 elsewhere."""
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        if found is None:
            self.use_cpu = True
        if self.bf16 is None:
            self.bf16 = found is not None and found.type != "mps" and not (self.use_cpu or self.fp16)

    def _check_objective(self) -> None:
        self.objective = _unlisted(self.objective)
        self.aggregation = _unlisted(self.aggregation)
        for how in self.aggregation if isinstance(self.aggregation, list) else [self.aggregation]:
            check_option("aggregation", how, (*AGGREGATIONS, TOKEN_MEAN, None))
        if self.beta is not None:
            check_number("beta", self.beta, 0.0)
        if self.objective is not None:
            self.make_objective()
        else:
            for name in ("objective_options", "objective_weights"):
                if getattr(self, name):
                    raise ValueError(f"{name} belong to the objective that `objective` names, which is not set")

    def make_objective(self) -> Any:
        """What ``objective``, ``beta``, ``objective_options`` and ``objective_weights`` describe.

        Returns:
            An objective, or a list of pairs (weight, objective).
        """
        return named_objectives(self.objective, self.beta, self.objective_options or {}, self.objective_weights)

    def to_dict(self) -> dict[str, Any]:
        """As transformers has it, for loggers; objectives that are objects become text."""
        found: dict[str, Any] = super().to_dict()
        given: Any = self.objective
        if given is not None and not isinstance(given, str):
            listed = given if isinstance(given, list) else [given]
            found["objective"] = [name if isinstance(name, str) else repr(name) for name in listed]
        return found

    @classmethod
    def from_trl(cls, config: Any, **changes: Any) -> PreferenceConfig:
        """The settings of TRL's `DPOConfig`: objective and aggregation of its ``loss_type``, and everything else.

        Args:
            config: a `trl.DPOConfig`.
            **changes: settings of this class that are to be others.

        Raises:
            ValueError: naming a setting that has no counterpart here.

        Example:
            >>> PreferenceConfig.from_trl(DPOConfig("out", loss_type="ipo"))  # doctest: +SKIP
        """
        from .from_trl import settings_of

        return cls(**settings_of(config, {field.name for field in dataclasses.fields(cls) if field.init}) | changes)


def _unlisted(value: Any) -> Any:
    """A single name for a list of one, as command lines give it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _mapping(name: str, value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} must be a JSON object: {error}") from None
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{name} must be a mapping of names to values, got {value!r}")
    return value
