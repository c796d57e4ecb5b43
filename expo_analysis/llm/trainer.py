r"""Train a language model with any pairwise objective of the catalogue, on TRL's DPO trainer.

TRL prepares the data, the reference and PEFT, and transformers' Trainer does the rest; what a batch's loss is, is here:

    loss = mean over pairs of  objective.loss(log pi_w, log pi_l, log pi_ref,w, log pi_ref,l)  +  lam * regulariser

the very objective that `expo_analysis.solve` solves. For a model of one-token responses it is the tabular risk, to
rounding (tests/test_llm_keystone.py).
"""

from __future__ import annotations

import contextlib
import copy
import textwrap
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from accelerate.logging import get_logger
from accelerate.utils import is_peft_model
from datasets import Dataset, IterableDataset
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.integrations import is_deepspeed_zero3_enabled
from trl import DPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import get_config_model_id, use_adapter

from ..losses import EXPO
from ..losses.base import PairObjective
from .aggregation import aggregate, scale
from .collator import PreferenceCollator, with_samples
from .config import PreferenceConfig, check_pairwise
from .data import (
    SAMPLE_COLUMNS,
    DataReport,
    check_columns,
    check_given_tokens,
    check_rows,
    check_tokens,
    has_tokens,
    sample_tokens,
    settle,
)
from .head import ReferenceStates, add_response_head, head_of, scaling_of
from .metrics import BatchValues, batch_metrics
from .regulariser import TOKEN_WISE, TokenDivergence, per_pair, resolve_estimator

logger = get_logger(__name__)

EXPO_PAPER = {
    "title": "Explicit Preference Optimization: No Need for an Implicit Reward Model",
    "id": "2506.07492",
    "citation": textwrap.dedent("""\
        @inproceedings{hu2025explicit,
            title     = {{Explicit Preference Optimization: No Need for an Implicit Reward Model}},
            author    = {Xiangkun Hu and Lemin Kong and Tong He and David Wipf},
            year      = 2025,
            booktitle = {Proceedings of the 42nd International Conference on Machine Learning, ICML 2025},
        }"""),
}


class NonFiniteLoss(FloatingPointError):
    """A loss that is not a number or infinite: training stops before it reaches the weights."""


class NoReference(nn.Module):
    """Stands where TRL would load a second copy of the model, while its trainer is made, and is then thrown away."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.nothing = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("this objective reads no reference")


class PreferenceTrainer(DPOTrainer):
    r"""Trainer for pairwise preference objectives.

    Args:
        model: name, folder, `PreTrainedModel` or `PeftModel`, as in `trl.DPOTrainer`.
        objective: a pairwise objective, such as ``EXPO(lam=0.1)``; if None, the one that ``args`` name.
        args: `PreferenceConfig`.
        ref_model: the reference, as in `trl.DPOTrainer`. It is an error where nothing reads it. If None and it is
            needed, the reference is ``model`` as it is now: with the adapter disabled for PEFT, precomputed with
            ``precompute_ref_log_probs``, and a second copy in memory otherwise. Where it is not needed, as for `EXPO`
            with its own responses or with reference samples, none is loaded.
        train_dataset, eval_dataset: see `expo_analysis.llm.data`; checked before training.
        optimal_dataset: pairs of prompts whose reference is to count as already optimal. Before the first step the
            norm of the objective's gradient on them is measured and logged as ``optimal/grad_norm``; see
            `first_step_gradient_norm`.
        processing_class: the tokenizer; if None, the one that is stored with the model.
        **kwargs: ``callbacks``, ``optimizers``, ``quantization_config``, ``peft_config``, as in `trl.DPOTrainer`.

    Attributes:
        estimator: the estimator of the regulariser, or None.
        data_reports: `DataReport` of each data set, by name.

    Raises:
        ValueError, TypeError: naming the argument, or the row and field, that cannot be trained on.
        NonFiniteLoss: while training, naming the step and the rows of the batch.

    Example:
        >>> trainer = PreferenceTrainer(model, EXPO(lam=0.1), args=args, train_dataset=dataset)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """

    _tag_names: ClassVar[list[str]] = ["trl", "expo-analysis"]
    _name = "preference optimisation"
    _paper: ClassVar[dict[str, str]] = {}

    def __init__(
        self,
        model: Any,
        objective: PairObjective | None = None,
        args: PreferenceConfig | None = None,
        *,
        ref_model: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        optimal_dataset: Dataset | None = None,
        processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        for name in ("compute_metrics", "data_collator"):
            if kwargs.pop(name, None) is not None:
                raise ValueError(f"{name} is not used by PreferenceTrainer")
        if args is None:
            name = model if isinstance(model, str) else get_config_model_id(model.config) or "model"
            args = PreferenceConfig(f"{name.split('/')[-1]}-preference")
        if not isinstance(args, PreferenceConfig):
            raise TypeError(f"args must be a PreferenceConfig, got {type(args).__name__}")
        self.objective = self._choose_objective(objective, args)
        args.beta = self.objective.lam  # TRL copies it, and shows it
        self.estimator = resolve_estimator(self.objective, args.regulariser_estimator)
        self._token_wise = self.estimator in TOKEN_WISE
        self._uses_samples = self.estimator == "reference_samples" or (
            self._token_wise and args.token_prefixes == "reference_samples"
        )
        if args.token_prefixes != "responses" and not self._token_wise:
            raise ValueError(f"token_prefixes is not used by the estimator {self.estimator}; it belongs to token_kl")
        self._check_reference(ref_model, args)

        if processing_class is None:
            processing_class = AutoTokenizer.from_pretrained(
                model if isinstance(model, str) else get_config_model_id(model.config),
                trust_remote_code=args.trust_remote_code,
            )
        if not isinstance(processing_class, PreTrainedTokenizerBase):
            raise TypeError(f"processing_class must be a tokenizer, got {type(processing_class).__name__}")
        self.data_reports: dict[str, DataReport] = {}
        self._check_raw(train_dataset, eval_dataset, args, processing_class)
        if not isinstance(model, str):
            check_vocabulary(model, ref_model, processing_class)
            _refuse_auxiliary_loss(model, args)

        self.ref_model: Any = None
        unneeded = not self.reads_reference and not args.precompute_ref_log_probs
        if unneeded:  # TRL would load a second copy of the model where it finds none
            by_name = isinstance(model, str)
            ref_model = NoReference(
                AutoConfig.from_pretrained(model, trust_remote_code=args.trust_remote_code) if by_name else model.config
            )
        self._own_head = False  # it is added below; TRL precomputes the reference's log-probabilities before
        pad = processing_class.pad_token_id
        super().__init__(
            model=model,
            ref_model=ref_model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            data_collator=PreferenceCollator(
                pad_token_id=processing_class.eos_token_id if pad is None else pad,
                max_length=args.max_length,
                pad_to_multiple_of=args.pad_to_multiple_of,
            ),
            **kwargs,
        )
        if unneeded:
            self.ref_model = None
        if isinstance(model, str):
            check_vocabulary(self.model, self.ref_model, processing_class)
            _refuse_auxiliary_loss(self.model, args)
        if type(self.objective) is EXPO:
            self._name, self._paper = "EXPO", EXPO_PAPER  # type: ignore[misc]
        self._own_head = self._token_wise or self._double or self._scores_faster()
        if self._own_head:
            add_response_head(self._base_model(), args.token_chunk_size)
            if self.ref_model is not None:
                add_response_head(self.accelerator.unwrap_model(self.ref_model), args.token_chunk_size)
        if args.precompute_ref_log_probs and self._double:
            raise ValueError("precompute_ref_log_probs is not supported for a model in float64: TRL stores float32")
        self.optimal_gradient_norm: float | None = None
        self._optimal_dataset = None
        if optimal_dataset is not None:
            self._optimal_dataset = self._prepare_dataset(optimal_dataset, processing_class, args, "optimal")

    # ------------------------------------------------------------------------------------------------ what is needed

    @property
    def reads_reference(self) -> bool:
        """Whether the loss, or its regulariser, reads the reference's log-probabilities while training."""
        return self.objective.claims.needs_reference or self._token_wise

    @staticmethod
    def _choose_objective(objective: PairObjective | None, args: PreferenceConfig) -> PairObjective:
        if objective is None:
            return args.make_objective()
        check_pairwise(objective)
        for name, value in (("objective", args.objective), ("objective_options", args.objective_options)):
            if value is not None:
                raise ValueError(f"{name} must be given once, to the trainer or in args; args have {value!r}")
        if args.beta is not None and args.beta != objective.lam:
            raise ValueError(f"beta must be the objective's lam, {objective.lam}, or not be set; got {args.beta}")
        return objective

    def _check_reference(self, ref_model: Any, args: PreferenceConfig) -> None:
        name = type(self.objective).__name__
        if not self.reads_reference:
            how = f" with the estimator {self.estimator}" if self.estimator else ""
            if ref_model is not None and not args.precompute_ref_log_probs:
                raise ValueError(f"ref_model is not used by {name}{how}, which reads no reference")
            if args.sync_ref_model:
                raise ValueError(f"sync_ref_model is not used by {name}{how}, which reads no reference")
        if self._token_wise and args.precompute_ref_log_probs:
            raise ValueError(
                f"precompute_ref_log_probs is not used by the estimator {self.estimator}, which reads the reference's "
                "whole next-token distributions; they are too large to be stored"
            )

    @property
    def _double(self) -> bool:
        return bool(self._base_model().dtype == torch.float64)

    def _scores_faster(self) -> bool:
        """Whether TRL's head would score prompts and padding too, and ours can take its place (not under ZeRO-3)."""
        whole = not is_deepspeed_zero3_enabled()
        return whole and self.accelerator.device.type == "cpu" and scaling_of(self._base_model()) is None

    def _base_model(self) -> Any:
        return self.model.get_base_model() if is_peft_model(self.model) else self.model

    # ----------------------------------------------------------------------------------------------------------- data

    def _check_raw(self, train: Any, evaluation: Any, args: PreferenceConfig, tokenizer: Any) -> None:
        """Columns and rows, before anything is loaded."""
        if isinstance(evaluation, dict):
            others = {f"eval_dataset[{key!r}]": value for key, value in evaluation.items()}
        else:
            others = {} if evaluation is None else {"eval_dataset": evaluation}
        for name, dataset in ({"train_dataset": train} | others).items():
            if isinstance(dataset, Dataset) and not _is_prepared(dataset):
                self._check_one(name, dataset, args, tokenizer)

    def _check_one(self, name: str, dataset: Dataset, args: PreferenceConfig, tokenizer: Any) -> tuple[Any, Any]:
        for column in ("image", "images"):
            if column in dataset.column_names:
                raise ValueError(f"{name} must hold text only, but it has the column {column!r}")
        problems, report = check_rows(name, dataset, tokenizer.all_special_tokens)
        if self._uses_samples and not set(SAMPLE_COLUMNS) & set(dataset.column_names):
            check_columns(name, dataset.column_names, SAMPLE_COLUMNS[:1])
        left_out = settle(report, problems, args.on_bad_rows)
        return report, left_out

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        """TRL's tokens, with the row's number, the reference samples, and no row that cannot be trained on."""
        if isinstance(dataset, IterableDataset):
            raise TypeError(
                f"{dataset_name} data must be a Dataset: rows that cannot be trained on are to be found before "
                "training, which a stream does not allow"
            )
        if _is_prepared(dataset):
            return dataset
        name = {"train": "train_dataset", "eval": "eval_dataset", "optimal": "optimal_dataset"}.get(
            dataset_name, f"eval_dataset[{dataset_name!r}]"
        )
        report, left_out = self._check_one(name, dataset, args, processing_class)
        self.data_reports[name] = report
        keep = [row for row in range(len(dataset)) if row not in left_out]
        dataset = dataset.add_column("row", list(range(len(dataset)))).select(keep)
        problems = []
        if has_tokens(dataset):
            prepared = dataset
            problems += check_given_tokens(dataset, processing_class, keep)
        else:
            whole = copy.copy(args)
            whole.max_length = None  # TRL would drop prompts that are too long without a word
            prepared = super()._prepare_dataset(dataset, processing_class, whole, dataset_name)
        if self._uses_samples:
            prepared = prepared.map(sample_tokens, fn_kwargs={"tokenizer": processing_class})
        problems += check_tokens(report, prepared, args.max_length, keep)
        left_out = settle(report, problems, args.on_bad_rows)
        if left_out:
            prepared = prepared.select([place for place, row in enumerate(keep) if row not in left_out])
        for line in report.lines():
            logger.warning(line)
        return prepared

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        for column in ("row", "sample_ids"):
            if column not in self._signature_columns:
                self._signature_columns.append(column)

    # ------------------------------------------------------------------------------------------------------- the loss

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """The micro-batches of a step, and how many pairs they have together in this process."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, sum(len(batch["input_ids"]) // 2 for batch in batches) or None

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The objective on a batch of pairs; ``num_items_in_batch`` is the number of pairs of all micro-batches."""
        if return_outputs:
            raise NotImplementedError("return_outputs is not supported by PreferenceTrainer: it computes no logits")
        losses, regulariser, values = self.pair_losses(model, inputs)
        total = losses if regulariser is None else losses + self.objective.lam * regulariser
        loss = reduce_pairs(total, num_items_in_batch)
        mode = "train" if self.model.training else "eval"
        if not torch.isfinite(loss.detach()):
            raise NonFiniteLoss(self._explain(total.detach(), inputs, mode))
        self._record(values, inputs, mode)
        if mode == "train" and num_items_in_batch is not None:
            loss = loss * self.current_gradient_accumulation_steps  # by which transformers then divides
        return loss

    def pair_losses(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor | None, BatchValues]:
        """The preference loss and the regulariser of each pair, (B,), neither reduced nor weighted; and metrics.

        The batch is one of `PreferenceCollator`: chosen responses, then rejected ones.
        """
        pairs = len(inputs["input_ids"]) // 2
        count = 2 * pairs
        batch = with_samples(inputs, self._tokenizer.pad_token_id) if self._uses_samples else inputs
        rows = {name: batch[name] for name in ("input_ids", "attention_mask", "completion_mask")}
        mask = rows["completion_mask"][:, 1:] == 1
        outputs = self._token_outputs(model, rows, self._reference_states(rows) if self._token_wise else None)
        how = self.args.aggregation
        log_probs = outputs["log_probs"]
        sums = (log_probs * mask).sum(dim=1)
        logps = scale(sums, mask, how)
        chosen, rejected = logps[:count].view(2, pairs)

        ref_sums: Tensor | None = None
        if "ref_chosen_logps" in inputs:
            ref_sums = torch.stack([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]]).to(sums.dtype)
        elif self.objective.claims.needs_reference:
            ref_sums = torch.stack(self.compute_ref_log_probs(self.ref_model or self.model, inputs)).to(sums.dtype)
        references: tuple[Tensor, ...] = ()
        if self.objective.claims.needs_reference:
            assert ref_sums is not None
            references = tuple(scale(ref_sums.view(count), mask[:count], how).view(2, pairs))
        losses = self.objective.loss(chosen, rejected, *references)

        samples = logps[count:].view(pairs, -1) if self._uses_samples else None
        regulariser, token_kls = None, None
        if self.estimator is not None:
            divergence = None
            if self._token_wise:
                # rows of the prefixes that are compared, and for each pair K of them
                prefixes = slice(count, None) if self._uses_samples else slice(0, count)
                per_row = aggregate(outputs["divergence"][prefixes], mask[prefixes], how)
                divergence = per_row.view(pairs, -1) if self._uses_samples else per_row.view(2, pairs).T
                summed = [(outputs[name][prefixes] * mask[prefixes]).sum(dim=1).detach() for name in KL_NAMES]
                token_kls = (summed[0] if self.estimator == "token_kl" else None, summed[1], mask[prefixes].sum(dim=1))
            regulariser = per_pair(self.estimator, chosen, rejected, samples, divergence)

        rewards = torch.stack([chosen, rejected]).detach()
        if references:
            rewards = rewards - torch.stack(references)
        values = BatchValues(
            losses=losses.detach(),
            regulariser=None if regulariser is None else regulariser.detach(),
            logps=torch.stack([chosen, rejected]).detach(),
            rewards=self.objective.lam * rewards,
            sequence_logps=sums[:count].view(2, pairs).detach(),
            sequence_ref_logps=ref_sums,
            lengths=mask[:count].sum(dim=1).view(2, pairs),
            mask=mask[:count],
            token_kls=token_kls,
            **{name: outputs[name][:count].detach() for name in ("entropy", "mean_logits", "is_top1")},
        )
        return losses, regulariser, values

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """log pi_ref of chosen and rejected responses, (B,) each, summed over their tokens whatever the aggregation."""
        rows = {name: inputs[name] for name in ("input_ids", "attention_mask", "completion_mask")}
        with self._as_reference():
            log_probs = self._token_outputs(model, rows, None)["log_probs"]
        chosen, rejected = aggregate(log_probs, rows["completion_mask"][:, 1:] == 1, "sum").chunk(2)
        return chosen, rejected

    def _token_outputs(
        self, model: Any, rows: dict[str, Tensor], reference: ReferenceStates | None
    ) -> dict[str, Tensor]:
        """What a model says of the tokens of responses; each of shape (rows, positions - 1)."""
        arguments = {"input_ids": rows["input_ids"], "attention_mask": rows["attention_mask"], "use_cache": False}
        labels = rows["input_ids"].masked_fill(rows["completion_mask"] == 0, -100)
        length = labels.shape[1] - 1
        if self._own_head:
            beside: dict[str, Any] = {}
            if reference is not None:
                assert self.objective.regulariser is not None
                beside = {"reference": reference, "divergence": TokenDivergence(self.objective.regulariser)}
            found = model(**arguments, labels=labels, response_head=True, **beside)
        else:
            found = model(**arguments, labels=labels, fused_lm_head=True)
        # prompt-learning adapters put virtual tokens in front
        return {
            name: found[name][:, -length:]
            for name in found
            if isinstance(found[name], Tensor) and found[name].ndim == 2
        }

    def _reference_states(self, rows: dict[str, Tensor]) -> ReferenceStates:
        """The reference's states at the positions that predict the tokens of responses, and its head."""
        model = self.ref_model or self.model
        labels = rows["input_ids"].masked_fill(rows["completion_mask"] == 0, -100)
        arguments = {"input_ids": rows["input_ids"], "attention_mask": rows["attention_mask"], "use_cache": False}
        with self._as_reference():
            states = model(**arguments, labels=labels, response_states=True)
            unwrapped = self.accelerator.unwrap_model(model)
            weight, bias = head_of(unwrapped)
        return ReferenceStates(states, weight.detach(), None if bias is None else bias.detach())

    @contextlib.contextmanager
    def _as_reference(self) -> Iterator[None]:
        """No gradients, and the adapter disabled where the reference is the model without it."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs))
            stack.enter_context(self.accelerator.autocast())
            if self.ref_model is None and is_peft_model(self.model):
                unwrapped = self.accelerator.unwrap_model(self.model)
                name = "ref" if "ref" in unwrapped.peft_config else None
                stack.enter_context(use_adapter(unwrapped, adapter_name=name))
            yield

    def _explain(self, losses: Tensor, inputs: dict[str, Tensor], mode: str) -> str:
        bad = (~torch.isfinite(losses)).nonzero().flatten().tolist()
        rows = inputs["rows"].tolist() if "rows" in inputs else list(range(len(losses)))
        name = "train_dataset" if mode == "train" else "eval_dataset"
        shown = ", ".join(f"row {rows[place]}: {losses[place].item()}" for place in bad[:5])
        where = shown or f"rows {rows}, whose losses are finite and whose mean is not"
        return (
            f"the loss is not finite after step {self.state.global_step}, at {where} (chosen or rejected of {name}). "
            "The weights are as they were before this step. Look at these rows, lower the learning rate or raise beta"
        )

    def _record(self, values: BatchValues, inputs: dict[str, Tensor], mode: str) -> None:
        """Metrics of this batch, over all processes, to TRL's log; it averages them over micro-batches and steps."""
        ratios = batch_metrics(values)
        tokens = inputs["attention_mask"].sum().to(values.logps.dtype)
        flat = torch.stack([*(part for ratio in ratios.values() for part in ratio), tokens])
        if self.accelerator.num_processes > 1:
            flat = self.accelerator.reduce(flat, "sum")
        *parts, seen = flat.tolist()
        log = self._metrics[mode]
        for place, name in enumerate(ratios):
            over = parts[2 * place + 1]
            log[name].append(parts[2 * place] / over if over else 0.0)
        if mode == "train":
            self._total_train_tokens += int(seen) // self._tp_size
        log["num_tokens"] = [self._total_train_tokens]

    # ----------------------------------------------------------------------------------------------------- first step

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As `transformers.Trainer.train`, after the gradient on the optimal data set, if there is one, is measured."""
        if self._optimal_dataset is not None and self.optimal_gradient_norm is None and self.state.global_step == 0:
            self.optimal_gradient_norm = self.first_step_gradient_norm(self._optimal_dataset)
            self._metrics["train"]["optimal/grad_norm"].append(self.optimal_gradient_norm)
        return super().train(*args, **kwargs)

    def first_step_gradient_norm(self, dataset: Dataset) -> float:
        r"""Norm of the objective's gradient at the model as it is, if its own preferences were the truth.

        Every pair is taken in both orders, weighted by p(i > j) = sigma(log pi_i - log pi_j) under the model itself: at
        the start the reference is then optimal, and there is nothing to learn. EXPO's preference term has gradient
        zero there, and its regulariser too where it is token-wise (`own_responses` and `reference_samples` are sampled:
        zero in expectation only). That of DPO and IPO is not zero. [ours]

        Raises:
            ValueError: for losses that couple the pairs of a batch, and for sharded models, whose gradients are not
                in one place.
        """
        if self.objective.claims.couples_pairs:
            raise ValueError(f"optimal_dataset is not used by {type(self.objective).__name__}, which couples pairs")
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError("optimal_dataset must be left out under FSDP and DeepSpeed: gradients are sharded there")
        model = self.model
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        before = [parameter.grad for parameter in trained]
        was_training = model.training
        model.train()
        model.zero_grad()
        size = self.args.per_device_train_batch_size
        columns = [c for c in ("prompt_ids", "chosen_ids", "rejected_ids", "sample_ids") if c in dataset.column_names]
        for start in range(0, len(dataset), size):
            examples = list(dataset.select_columns(columns).select(range(start, min(start + size, len(dataset)))))
            swapped = [e | {"chosen_ids": e["rejected_ids"], "rejected_ids": e["chosen_ids"]} for e in examples]
            batch = self._prepare_inputs(self.data_collator(examples + swapped))
            with self.compute_loss_context_manager():
                losses, regulariser, values = self.pair_losses(model, batch)
            weights = torch.sigmoid(values.logps[0] - values.logps[1])
            total = losses if regulariser is None else losses + self.objective.lam * regulariser
            ((weights * total).sum() / len(dataset)).backward()
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
        for parameter, gradient in zip(trained, before, strict=True):
            parameter.grad = gradient
        model.train(was_training)
        return float(norm)


def _is_prepared(dataset: Any) -> bool:
    """Whether `PreferenceTrainer._prepare_dataset` has made it."""
    return has_tokens(dataset) and "row" in dataset.column_names


KL_NAMES = ("divergence", "reverse_kl")


def reduce_pairs(losses: Tensor, pairs: int | None = None) -> Tensor:
    """The one reduction: the sum over a batch's pairs, divided by their number in the whole step.

    Args:
        losses: one loss per pair, (B,).
        pairs: the number of pairs of all micro-batches of an optimiser step in this process; B if None. Every process
            has as many, so that the average over processes is the mean over all pairs.
    """
    return losses.sum() / (len(losses) if pairs is None else pairs)


def check_vocabulary(model: Any, ref_model: Any, tokenizer: Any) -> None:
    """Raise if the reference has another vocabulary than the model, or the tokenizer more tokens than either."""
    size = model.config.get_text_config().vocab_size
    if len(tokenizer) > size:
        raise ValueError(f"processing_class must have at most the model's {size} tokens, but it has {len(tokenizer)}")
    if ref_model is not None and hasattr(ref_model, "config"):
        other = ref_model.config.get_text_config().vocab_size
        if other != size:
            raise ValueError(f"ref_model must have the model's vocabulary of {size} tokens, but its has {other}")


def _refuse_auxiliary_loss(model: Any, args: PreferenceConfig) -> None:
    config = model.config.get_text_config()
    if getattr(config, "output_router_logits", False) and args.router_aux_loss_coef != 0.0:
        raise ValueError(
            "model is a mixture of experts with an auxiliary loss, which PreferenceTrainer does not add: set "
            "router_aux_loss_coef=0.0 to train without it"
        )
