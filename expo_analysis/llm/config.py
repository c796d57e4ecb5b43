"""The settings of `PreferenceTrainer`: TRL's DPOConfig, less what our losses do not read, plus what they need."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from trl import DPOConfig

from ..losses import QPO
from ..losses.base import PairObjective, check_number, check_option
from ..losses.catalogue import CATALOGUE, objective
from .aggregation import AGGREGATIONS
from .data import ON_BAD_ROWS
from .regulariser import ESTIMATORS

DEFAULT_OBJECTIVE, DEFAULT_BETA = "expo", 0.1

PREFIXES = ("responses", "reference_samples")
"""What token-wise divergences are computed along."""

IGNORED = {
    "loss_type": "the objective says which loss is minimised",
    "loss_weights": "the objective says which loss is minimised",
    "ld_alpha": "no objective here weights the tokens beyond the shared length",
    "use_weighting": "no objective here weights pairs by their probability",
    "f_divergence_type": "give the divergence to the objective, as in FDPO(lam, divergence=...)",
    "f_alpha_divergence_coef": "give alpha to the objective, as in FDPO(lam, divergence='alpha', alpha=...)",
    "label_smoothing": "give it to the objective, as in DPO(lam, label_smoothing=...)",
    "label_smoothing_factor": "give label_smoothing to the objective, as in DPO(lam, label_smoothing=...)",
    "discopop_tau": "give it to the objective, as in DiscoPOP(lam, tau=...)",
    "padding_free": "TRL itself ignores it at present",
    "truncation_mode": "responses are checked as 'keep_start' leaves them, and TRL is about to remove the other mode",
    "pad_token": "set the tokenizer's pad_token",
}
"""TRL's options that this trainer would silently ignore, and what to do instead: setting one is an error."""


@dataclass
class PreferenceConfig(DPOConfig):
    r"""
    Configuration class for the [`PreferenceTrainer`].

    This class includes only the parameters that are specific to it; it inherits the others from [`~trl.DPOConfig`]
    and [`~transformers.TrainingArguments`]. What `DPOConfig` has and this trainer would ignore is refused: `loss_type`,
    `loss_weights`, `ld_alpha`, `use_weighting`, `f_divergence_type`, `f_alpha_divergence_coef`, `label_smoothing`,
    `label_smoothing_factor`, `discopop_tau`, `padding_free`, `truncation_mode`, `pad_token`.

    Parameters:
        > Parameters that control the objective

        objective (`str`, *optional*):
            Name of the objective in the catalogue, such as `"expo"`, `"dpo"` or `"ipo"`. If `None`, the trainer's
            argument `objective` is used, and `"expo"` where that is not given either.
        objective_options (`dict[str, Any]` or `str`, *optional*):
            Options of the objective named by `objective`, such as `{"label_smoothing": 0.1}` for `"dpo"`. A string is
            read as JSON.
        beta (`float`, *optional*):
            The objective's trade-off parameter, λ in the paper and `lam` elsewhere in this package. If `None`, `0.1`.
        aggregation (`str`, *optional*, defaults to `"sum"`):
            How the log-probabilities of tokens become that of a response: `"sum"`, or `"mean"`, which divides it by
            the response's length, as TRL does for IPO and SimPO.

        > Parameters that control the regulariser of objectives that have an explicit one, such as EXPO

        regulariser_estimator (`str`, *optional*):
            `"own_responses"` (the pair's own responses; no reference model), `"reference_samples"` (the column of
            that name; no reference model), `"token_kl"` (whole next-token distributions; needs the reference) or
            `"token_divergence"` (the same for other divergences than KL(pi_ref ‖ pi)). If `None`, `"own_responses"`
            for KL(pi_ref ‖ pi) and `"token_divergence"` for other divergences.
        token_prefixes (`str`, *optional*, defaults to `"responses"`):
            What the token-wise estimators are computed along: the pair's own `"responses"`, or `"reference_samples"`.
        token_chunk_size (`int`, *optional*, defaults to `256`):
            How many tokens have their logits over the whole vocabulary in memory at a time: for token-wise estimators,
            for models in float64 and on a CPU. Elsewhere TRL's kernel decides.

        > Parameters that control the data

        on_bad_rows (`str`, *optional*, defaults to `"error"`):
            What to do about rows that cannot be trained on (see `expo_analysis.llm.data`): `"error"` refuses the data
            set, and `"drop"` leaves such rows out, and counts them in the log.

    > [!NOTE]
    > These parameters have default values different from [`~trl.DPOConfig`]:
    > - `enable_jit_checkpoint`: Defaults to `True` instead of `False`: SIGTERM saves a checkpoint first.
    > - `logging_nan_inf_filter`: Defaults to `False` instead of `True`: a loss that is not finite is an error.
    """

    beta: float | None = field(
        default=None,
        metadata={"help": "The objective's trade-off parameter, lambda in the paper. If not set, 0.1."},
    )
    objective: str | None = field(
        default=None,
        metadata={"help": "Name of the objective in the catalogue, such as 'expo', 'dpo' or 'ipo'."},
    )
    objective_options: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Options of the objective, as JSON: '{\"label_smoothing\": 0.1}'."},
    )
    aggregation: str = field(
        default="sum",
        metadata={"help": "From tokens to responses: 'sum' or 'mean'.", "choices": list(AGGREGATIONS)},
    )
    regulariser_estimator: str | None = field(
        default=None,
        metadata={"help": f"Estimator of the explicit regulariser, one of {', '.join(ESTIMATORS)}."},
    )
    token_prefixes: str = field(
        default="responses",
        metadata={"help": "What token-wise estimators are computed along.", "choices": list(PREFIXES)},
    )
    token_chunk_size: int = field(
        default=256,
        metadata={"help": "How many tokens have their logits over the whole vocabulary in memory at a time."},
    )
    on_bad_rows: str = field(
        default="error",
        metadata={"help": "Rows that cannot be trained on: 'error' or 'drop'.", "choices": list(ON_BAD_ROWS)},
    )
    enable_jit_checkpoint: bool = field(
        default=True,
        metadata={"help": "Whether SIGTERM saves a checkpoint before training stops."},
    )
    logging_nan_inf_filter: bool = field(
        default=False,
        metadata={"help": "Whether to log losses that are not finite as 0; training stops at them."},
    )

    _VALID_DICT_FIELDS = [*DPOConfig._VALID_DICT_FIELDS, "objective_options"]  # noqa: RUF012 (no field of ours)

    def __post_init__(self) -> None:
        for name, reason in IGNORED.items():
            if getattr(self, name) != _default(name):
                raise ValueError(f"{name} is not used by PreferenceTrainer: {reason}; got {getattr(self, name)!r}")
        if self.router_aux_loss_coef:
            raise ValueError("router_aux_loss_coef is not used by PreferenceTrainer: it adds no auxiliary loss")
        check_option("aggregation", self.aggregation, AGGREGATIONS)
        check_option("regulariser_estimator", self.regulariser_estimator, (*ESTIMATORS, None))
        check_option("token_prefixes", self.token_prefixes, PREFIXES)
        check_option("on_bad_rows", self.on_bad_rows, ON_BAD_ROWS)
        if type(self.token_chunk_size) is not int or self.token_chunk_size < 1:
            raise ValueError(f"token_chunk_size must be a positive integer, got {self.token_chunk_size!r}")
        if isinstance(self.objective_options, str):
            try:
                self.objective_options = json.loads(self.objective_options)
            except json.JSONDecodeError as error:
                raise ValueError(f"objective_options must be a JSON object: {error}") from None
        if self.objective_options is not None and not isinstance(self.objective_options, dict):
            raise ValueError(f"objective_options must be a mapping of names to values, got {self.objective_options!r}")
        if self.beta is not None:
            check_number("beta", self.beta, 0.0)
        if self.objective is not None:
            self.make_objective()
        elif self.objective_options:
            raise ValueError("objective_options belong to the objective that `objective` names, which is not set")
        super().__post_init__()

    def make_objective(self) -> PairObjective:
        """The objective that ``objective``, ``beta`` and ``objective_options`` describe."""
        name = self.objective or DEFAULT_OBJECTIVE
        if name == QPO.name:
            raise ValueError("objective qpo is made of two Python functions: pass QPO(lam, psi, mu) to the trainer")
        options = self.objective_options if isinstance(self.objective_options, dict) else {}
        check_option("objective", name, tuple(CATALOGUE))
        return check_pairwise(objective(name, DEFAULT_BETA if self.beta is None else self.beta, **options))


def _default(name: str) -> Any:
    found = DPOConfig.__dataclass_fields__[name]
    return found.default if found.default is not dataclasses.MISSING else found.default_factory()


def check_pairwise(objective: Any) -> PairObjective:
    """The objective, if it is one that a batch of pairs can train.

    Raises:
        TypeError: for anything else, among which RLHF, that has no loss of pairs.
        ValueError: for an objective with an array of lambdas.
    """
    if not isinstance(objective, PairObjective):
        raise TypeError(
            "objective must be a loss of pairs, such as EXPO(lam=0.1) or DPO(lam=0.1); "
            f"got {objective!r}" + (": RLHF has a reward in place of pairs" if _is_rlhf(objective) else "")
        )
    if not isinstance(objective.lam, float):
        raise ValueError(f"objective must have one number as lam, got {objective.lam!r}")
    return objective


def _is_rlhf(objective: Any) -> bool:
    return getattr(type(objective), "name", None) == "rlhf"
