"""The losses of batches, and everything about models that they need: reference, ways to logits, first checks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..data.logps import of_products, without_dropout
from .checks import beginnings, check_whole_sequences, choose_way, first_example, start_tolerance
from .head import Ask, Way
from .links import feedback_in
from .logs import tell
from .reference import ADAPTER_OFF, ReferencePolicy
from .scores import Reference
from .step import (
    Batch,
    Rules,
    StepResult,
    batch_losses,
    has_ref_logps,
    plain_rows,
    reference_states,
    rows_of,
    sequence_logps,
    stored_ref_logps,
    token_outputs,
)


class NotTheReference(ValueError):
    """A reference that is derived from the model, and is another one before the first step."""


class LossEngine:
    """Losses of batches under one policy and its reference.

    Args:
        rules: what decides about a batch's loss, but for the models.
        reference: the reference policy, or None where there is none or its log-probabilities are in the data.
        stored: whether the reference's log-probabilities come with the batches, which have them only if asked for.
        accelerator: gathers from all processes, and unwraps models.
        sharded: whether weights are in parts between forward passes.

    Raises:
        ValueError: where sequences are cut into parts.
    """

    def __init__(
        self, rules: Rules, reference: ReferencePolicy | None, stored: bool, accelerator: Any, sharded: bool
    ) -> None:
        check_whole_sequences(accelerator)
        self.rules, self.reference, self.stored = rules, reference, stored
        self.accelerator, self.sharded = accelerator, sharded
        self.ways: dict[str, Way] = {}
        self._checked = False

    def losses(self, model: Any, batch: Batch, *, at_start: bool) -> StepResult:
        """Loss and metrics of the pairs of a batch, not reduced.

        Args:
            at_start: whether no step was taken yet.

        Raises:
            NotTheReference: at the start, where the reference should be the model and is not.
        """
        way = self.way("policy", model, batch)
        if at_start and not self._checked and (has_ref_logps(batch) or not self.stored):
            self._checked = True
            self.check_start(model, batch)
        reference = self._reference_states(model, batch) if self.rules.token_wise else None
        known = self.stored or self.rules.mixture.needs_reference
        logps = partial(self.ref_logps, model, batch) if known else None
        return batch_losses(self.rules, model, batch, way, reference, logps)

    def ref_logps(self, model: Any, batch: Batch) -> Tensor:
        """log pi_ref of all responses, (R,), summed over their tokens."""
        if has_ref_logps(batch):
            return stored_ref_logps(batch, batch["input_ids"].device)
        return self.live_ref_logps(model, batch)

    def live_ref_logps(self, model: Any, batch: Batch) -> Tensor:
        """The same from the reference's own forward pass."""
        if self.reference is None:
            columns = list(feedback_in(batch).ref_columns)
            raise ValueError(f"the data must have the columns {columns}: there is no reference model beside them")
        with self.reference.answering(model, self.accelerator.unwrap_model) as answering, self.accelerator.autocast():
            return self._logps(answering, plain_rows(batch), self.way("reference", answering, batch))

    def _logps(self, model: Any, rows: Batch, way: Way) -> Tensor:
        found = token_outputs(model, rows, Ask(way, self.rules.chunk))["log_probs"]
        mask = rows["completion_mask"][:, 1:].to(found.device) == 1
        return sequence_logps(found, mask, self.rules.ld_alpha)

    def _reference_states(self, model: Any, batch: Batch) -> Reference:
        assert self.reference is not None
        rows = rows_of(self.rules, batch)
        with self.reference.answering(model, self.accelerator.unwrap_model) as answering, self.accelerator.autocast():
            return reference_states(answering, rows, self.way("reference", answering, batch), self.sharded)

    # ------------------------------------------------------------------------------------------ checks on first sight

    def way(self, role: str, model: Any, batch: Batch) -> Way:
        """How a model's logits are made, found out on the first batch that it sees."""
        if role not in self.ways:
            inner, gather = self.accelerator.unwrap_model(model), self.accelerator.gather
            self.ways[role] = choose_way(model, inner, beginnings(batch), gather, self._rounding(inner))
        return self.ways[role]

    def _rounding(self, model: Any) -> float:
        """The relative error of one rounding in a forward pass."""
        mixed = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.accelerator.mixed_precision)
        kinds = {p.dtype for p in model.parameters() if p.is_floating_point() and p.dtype.itemsize > 1}
        kinds = {*(kinds or {torch.float32}), *([mixed] if mixed else [])}
        return max(of_products(), *(torch.finfo(kind).eps for kind in kinds))

    def check_start(self, model: Any, batch: Batch) -> None:
        """Raise unless a reference that is the model itself gives the model's log-probabilities, on one example.

        Of columns of the data nobody knows whether they are to be the model's: of these it is said how far they are.

        Raises:
            NotTheReference: with the largest difference, and what may have caused it.
        """
        if self.reference is None and self.stored:
            self._tell_gap(model, batch)
        if self.reference is None or not (self.stored or self.reference.derived):
            return
        first = first_example(batch)
        live = self.live_ref_logps(model, first)
        if self.stored:
            expected = stored_ref_logps(first, live.device)
        else:
            with torch.no_grad(), without_dropout(model):
                expected = self._logps(model, plain_rows(first), self.ways["policy"])
        gap = (live.double() - expected.double()).abs().max()
        close = start_tolerance(live, self._rounding(self.accelerator.unwrap_model(model)))
        excess = self.accelerator.gather((gap - close).reshape(1)).max()
        if float(excess) > 0:
            self._complain(float(gap))

    def _tell_gap(self, model: Any, batch: Batch) -> None:
        """Say how far the data's own numbers are from the model: they may be another model's on purpose, or stale."""
        with torch.no_grad(), without_dropout(model):
            now = self._logps(model, plain_rows(batch), self.ways["policy"])
        gaps = (now.double() - stored_ref_logps(batch, now.device).double()).abs()
        close = start_tolerance(now, self._rounding(self.accelerator.unwrap_model(model)))
        gap, excess = (self.accelerator.gather(x.max().reshape(1)).max().item() for x in (gaps, gaps - close))
        columns = ", ".join(feedback_in(batch).ref_columns)
        if excess <= 0:
            tell(
                f"the columns {columns} are the model's own log-probabilities before the first step, to {gap:.2g} nats"
            )
        else:
            tell(
                f"the columns {columns} are off by up to {gap:.3g} nats from the model's own log-probabilities before "
                "the first step: they are another model's, or, if they were meant to be this one's, stale (made with "
                "other weights, tokens, chat template or max_length)"
            )

    def _complain(self, gap: float) -> None:
        assert self.reference is not None
        if self.stored:
            raise NotTheReference(
                f"stored log-probabilities of the reference are off by {gap:.3g} nats from those of the model now: "
                "other weights, tokens or settings have made them. Remove them, or give the model that made them"
            )
        if self.reference.kind == ADAPTER_OFF:  # what is without the adapter was compared when that was added
            tell(
                f"the adapter does not start at its reference, the model without it: log-ratios of {gap:.3g} nats "
                "before the first step"
            )
            return
        raise NotTheReference(
            f"the model is not its reference before the first step: a log-ratio is {gap:.3g} nats instead of 0. Was it "
            "changed after the trainer was made, or is its forward pass random in evaluation mode?"
        )
