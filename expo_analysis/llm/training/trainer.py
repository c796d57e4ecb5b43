r"""Train a language model with any pairwise objective of the catalogue, on transformers' `Trainer`.

transformers does what a trainer does; what a batch's loss is, is in `step` and `engine`:

    loss = mean over pairs of  objective.loss(log pi_w, log pi_l, log pi_ref,w, log pi_ref,l)  +  lam * regulariser

the very objective that `expo_analysis.solve` solves. For a model of one-token responses it is the tabular risk, to
rounding (tests/test_llm_keystone.py).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from ..data import DataReport
from . import card, modelling, policies, setup
from .batches import StepTotals, add_up, filled, mark_repeated, real_predictions
from .best_metric import check_best_metric
from .checks import NonFiniteLoss, explain
from .collator import PreferenceCollator
from .config import PreferenceConfig
from .engine import LossEngine
from .head import add_scores, base_of
from .identity import Identity
from .logs import Companion
from .metrics import Sums
from .optimal import first_step_gradient_norm
from .precomputed import precompute
from .reference import COPY, SyncReference, prepare
from .restoring import RestoringTrainer
from .step import Batch, StepResult
from .whole_evaluation import WholeEvaluation


class PreferenceTrainer(WholeEvaluation, RestoringTrainer):
    r"""Trainer for pairwise preference objectives.

    Args:
        model: name, folder (of a model or of an adapter), `PreTrainedModel` or `PeftModel`.
        objective: a pairwise objective, such as ``EXPO(lam=0.1)``, or a list of objectives, or of pairs (weight,
            objective), whose sum is minimised; if None, what ``args`` name.
        args: `PreferenceConfig`. It is copied: the same one serves many trainers.
        ref_model: the reference, or its name. It is an error where nothing reads it. If None and it is needed, it is
            ``model`` as it is given (see `reference`): without the adapter that ``peft_config`` adds, with the adapter
            that it has as that is now, or a copy in memory. Where it is not needed there is none.
        train_dataset, eval_dataset: `PreferenceData`, or what `PreferenceData.from_rows` takes; checked first.
            ``eval_dataset`` may be a dictionary of several. A column ``weight`` multiplies the losses of its rows.
        optimal_dataset: pairs of prompts whose reference is to count as already optimal. Before the first step the
            norm of the objective's gradient on them is measured and logged as ``optimal/grad_norm``; see `optimal`.
        processing_class: the tokenizer, or a processor that has one; if None, the one that is stored with the model.
        data_collator: a `PreferenceCollator`, or a subclass of it.
        compute_metrics: as in `transformers.Trainer`; its predictions are a dictionary of arrays (rows,), summed over
            tokens: ``policy_chosen_logps`` and so on by column, and ``reference_...`` where they are known, (rows, K)
            of lists, -100 beyond their ends; its labels are the rows' numbers. So with `predict`.
        quantization_config, peft_config: of `from_pretrained`, for a model given by name, and of PEFT.
        **kwargs: ``callbacks``, ``optimizers`` and others of `transformers.Trainer`.

    Attributes:
        mixture, objective: what is minimised, and its first objective.
        data, data_reports: the training data, and the `DataReport` of each data set by name.

    Raises:
        ValueError, TypeError: naming the argument, or the row and field, that cannot be trained on.
        NonFiniteLoss: while training, naming the step and the rows of the batch.

    Example:
        >>> trainer = PreferenceTrainer(model, EXPO(lam=0.1), args=args, train_dataset=dataset)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """

    loss_is_scaled_for_ga = True  # by the number of pairs of a whole step
    nothing_left = False  # of the steps of a training that is resumed

    def __init__(
        self,
        model: Any,
        objective: Any = None,
        args: PreferenceConfig | None = None,
        *,
        ref_model: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        optimal_dataset: Any = None,
        processing_class: Any = None,
        data_collator: Any = None,
        compute_metrics: Any = None,
        quantization_config: Any = None,
        peft_config: Any = None,
        **kwargs: Any,
    ) -> None:
        modelling.check_given(model, ref_model, kwargs)
        read_by = {"ref_model": ref_model, "compute_metrics": compute_metrics, "data_collator": data_collator}
        args = setup.own_args(args, model, **read_by)
        model, ref_model = modelling.find(model, args), modelling.find(ref_model, args)
        self.mixture = setup.choose_mixture(objective, args)
        rules = setup.make_rules(self.mixture, args)
        setup.check_reference(rules, ref_model, args, model)
        processing_class, tokenizer = modelling.choose_tokenizer(processing_class, model, args)
        self._room = setup.DataRoom.of(rules, args, model, tokenizer)
        given = {"train_dataset": train_dataset, "eval_dataset": eval_dataset, "optimal_dataset": optimal_dataset}
        self.data, evaluated, self._optimal = self._room.read_given(given)
        made = policies.make_models(rules, args, model, ref_model, tokenizer, peft_config, quantization_config)
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        rules = dataclasses.replace(rules, router_coef=modelling.router_coefficient(made.model, args), pad_token_id=pad)
        check_best_metric(args, rules, None if compute_metrics else evaluated)  # which may add to them
        add_scores(base_of(made.model))
        collator = PreferenceCollator(pad, max_length=args.max_length, pad_to_multiple_of=args.pad_to_multiple_of)
        super().__init__(
            model=made.model,
            args=args,
            data_collator=data_collator or collator,
            train_dataset=filled(self.data, args.per_device_train_batch_size, args),
            eval_dataset=setup.each(evaluated, lambda data: filled(data, args.per_device_eval_batch_size, args)),
            processing_class=processing_class,
            compute_metrics=None if compute_metrics is None else real_predictions(compute_metrics),
            **kwargs,
        )
        self.model_accepts_loss_kwargs = True  # what loss_is_scaled_for_ga was called before transformers 5.19
        self._attach(made, rules, peft_config)
        if args.precompute_ref_log_probs:
            self._precompute(evaluated)
        setup.say(rules)

    def _attach(self, made: policies.Models, rules: Any, peft_config: Any) -> None:
        """What computes losses and keeps count, beside what transformers has."""
        args, reference = self.args, made.reference
        if reference is not None and reference.model is not None:
            add_scores(base_of(reference.model))
            reference.model = prepare(reference.model, self.accelerator)
        stored = args.precompute_ref_log_probs or args.use_ref_columns
        self.engine = LossEngine(rules, reference, stored, self.accelerator, self.is_fsdp_enabled)
        self.identity = Identity(made.weights, peft_config, reference, getattr(made.model, "dtype", None))
        self.sums, self._eval_sums, self.tokens_seen = Sums(), Sums(), 0
        self.optimal_gradient_norm: float | None = None
        self.add_callback(Companion(self))
        if args.sync_ref_model:
            unwrap, alpha, every = self.accelerator.unwrap_model, args.ref_model_mixup_alpha, args.ref_model_sync_steps
            self.add_callback(SyncReference(self.ref_model, unwrap, alpha, every))
        base_of(self.model).add_model_tags(card.tags(self.mixture))

    def _precompute(self, evaluated: Any) -> None:
        args, reference = self.args, self.engine.reference
        self.train_dataset = precompute(self, self.data, args.per_device_train_batch_size)
        self.eval_dataset = setup.each(evaluated, lambda data: precompute(self, data, args.per_device_eval_batch_size))
        if reference is not None and reference.kind == COPY:
            reference.model = None  # which FSDP had in parts; before training the model itself answers as well

    # ------------------------------------------------------------------------------------------------- what it is of

    @property
    def rules(self) -> Any:
        """What decides about a batch's loss; see `step.Rules`."""
        return self.engine.rules

    @property
    def objective(self) -> Any:
        """The objective, the first one of several."""
        return self.mixture.objective

    @property
    def estimator(self) -> str | None:
        """The estimator of the explicit regulariser, or None."""
        return self.engine.rules.estimator

    @property
    def ref_model(self) -> Any:
        """The reference's own model; None where it has none."""
        return None if self.engine.reference is None else self.engine.reference.model

    @property
    def data_reports(self) -> dict[str, DataReport]:
        """What was found in each data set, by name."""
        return {name: data.report for name, data in self._room.known.items()}

    # ------------------------------------------------------------------------------------------------------- the loss

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """The micro-batches of a step, and the `StepTotals` of all processes; none after the last step."""
        left = self.state.global_step < self.state.max_steps
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches if left else 0, device)
        if not batches:
            return batches, None
        mark_repeated(batches[-1], self.accelerator, self.args.dataloader_drop_last)
        totals = StepTotals.of(batches, self.accelerator, device, self.rules.links)
        self.tokens_seen += int(totals.seen)
        return batches, totals

    def pair_losses(self, model: Any, inputs: Batch) -> StepResult:
        """Loss and metrics of the pairs of a batch, not reduced. The batch is one of `PreferenceCollator`."""
        return self.engine.losses(model, inputs, at_start=self.state.global_step == 0)

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The objective on a batch of pairs; ``num_items_in_batch`` are the `StepTotals` of the step."""
        result = self.pair_losses(model, inputs)
        loss = result.loss(self.mixture.strength, self.rules.router_coef, num_items_in_batch)
        training = self.model.training
        if not torch.isfinite(loss.detach()):
            name = "train_dataset" if training else "eval_dataset"
            losses, where = result.pairs(self.mixture.strength).detach(), self._room.place_in(name)
            raise NonFiniteLoss(explain(losses, inputs, self.state.global_step, name, where))
        (self.sums if training else self._eval_sums).add(result.metrics())
        if num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # over which gradients are averaged
        return (loss, result) if return_outputs else loss

    # ----------------------------------------------------------------------------------------- evaluation, prediction

    def prediction_step(
        self, model: Any, inputs: Batch, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None, Tensor | None]:
        """Loss, log-probabilities of the pairs' responses, and the rows' numbers."""
        inputs = send_to_device(inputs, self.accelerator.device)
        mark_repeated(inputs, self.accelerator, drop_last=False)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, result = self.compute_loss(model, inputs, return_outputs=True)
        return (loss, None, None) if prediction_loss_only else (loss, result.predictions(), inputs["rows"])

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """As in `Trainer`, with the metrics of everything that was seen."""
        self._eval_sums = Sums()
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        if self._eval_sums:
            output.metrics.update({f"{metric_key_prefix}_{k}": v for k, v in self.means(self._eval_sums).items()})
        return output

    def means(self, sums: Sums) -> dict[str, float]:
        """What sums come to, over all processes; without the loss where a subclass makes another of it."""
        found = sums.means(partial(add_up, accelerator=self.accelerator), self.mixture.strength, self.rules.router_coef)
        if type(self).compute_loss is not PreferenceTrainer.compute_loss:
            found.pop("loss", None)  # transformers logs what was trained on
        return found

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As in `Trainer`, with the metrics of what was trained on since the last log."""
        if "loss" in logs and self.sums:
            logs |= self.means(self.sums) | {"num_tokens": self.tokens_seen}
            self.sums = Sums()
        if self.nothing_left:
            logs.pop("train_loss", None)  # a mean of no losses, which transformers has as 0
        super().log(logs, *args, **kwargs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """As in `Trainer`; a data set that is given here is checked and prepared like those of the trainer."""
        if setup.is_one(eval_dataset):
            eval_dataset = self._prepared("eval_dataset", eval_dataset)
        found: dict[str, float] = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        return found

    def predict(self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test") -> Any:
        """As in `Trainer`; the predictions are what ``compute_metrics`` is given."""
        return super().predict(self._prepared("test_dataset", test_dataset), ignore_keys, metric_key_prefix)

    def _prepared(self, name: str, rows: Any) -> Any:
        data, size = self._room.read(name, rows), self.args.per_device_eval_batch_size
        stored = self.args.precompute_ref_log_probs
        return precompute(self, data, size) if stored else filled(data, size, self.args)

    # --------------------------------------------------------------------------------------------- training, saving

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer`, after the gradient on the optimal data set, if there is one, is measured.

        Raises:
            ValueError: for a checkpoint of another objective, model or data set, of other settings, or of more steps.
        """
        resume_from_checkpoint = self.identity.open(self, resume_from_checkpoint)
        if self._optimal is not None and self.optimal_gradient_norm is None and not resume_from_checkpoint:
            norm = self.optimal_gradient_norm = self.first_step_gradient_norm(self._optimal.rows)
            one = torch.ones((), device=self.accelerator.device)
            self.sums.add({"optimal/grad_norm": (one * norm, one)})
        found = super().train(resume_from_checkpoint, *args, **kwargs)
        return found._replace(training_loss=math.nan) if self.nothing_left else found

    def first_step_gradient_norm(self, rows: Any) -> float:
        """See `optimal.first_step_gradient_norm`."""
        return first_step_gradient_norm(self, rows)

    def save_model(self, output_dir: str | None = None, *args: Any, **kwargs: Any) -> None:
        """As in `Trainer`, with a model card, and with what the training is of."""
        super().save_model(output_dir, *args, **kwargs)
        if self.args.should_save:
            self.identity.write(self, output_dir or self.args.output_dir, self.tokens_seen)
            self.create_model_card()

    def create_model_card(self, model_name: str | None = None, **kwargs: Any) -> None:
        """Write README.md: loss, lambda, estimator, aggregation, data and versions. Arguments as in `card.write`."""
        if self.is_world_process_zero():
            card.write(self, model_name, **kwargs)
